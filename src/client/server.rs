//! Which server, and the connection to it.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::reply::{Gone, shown};
use crate::texts::{self, Language, Text};
use crate::{EXIT_UNAVAILABLE, Stop};

const DEFAULT_PORT: u16 = 12345;

/// How long one address may take. A host that swallows packets would hold us for minutes;
/// a live one answers within a second even from the other side of the world, a lost SYN
/// included after three.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server as its user named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
}

impl Server {
    /// `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT` or a bare IPv6 address. `None` for
    /// anything else.
    pub fn parse(name: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = name.strip_prefix('[') {
            let (host, after) = rest.split_once(']')?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (host, port)
        } else if is_bare_ipv6(name) {
            (name, None)
        } else {
            name.split_once(':').map_or((name, None), |(host, port)| (host, Some(port)))
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let port = port.map_or(Some(DEFAULT_PORT), parse_port)?;
        Some(Server { host: host.to_owned(), port })
    }

    /// Connects to the first address that accepts. Returns that address, and all of them.
    fn connect(
        &self,
        language: Language,
        timeout: Duration,
    ) -> Result<(TcpStream, SocketAddr, Vec<SocketAddr>), Stop> {
        let refused = |text, why: &str| unavailable(language.say(text, &[&self.to_string(), why]));
        let addresses = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| refused(texts::UNRESOLVED, &error.to_string()))?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        let mut failures = Vec::new();
        for address in addresses.iter().copied() {
            match connect_to(&address, timeout.min(CONNECT_TIMEOUT)) {
                Ok(stream) => return Ok((stream, address, addresses)),
                Err(error) => failures.push(self.failure(&address, &language.reason(&error))),
            }
        }
        if failures.is_empty() {
            return Err(refused(texts::UNRESOLVED, language.plain(texts::NO_ADDRESS)));
        }
        Err(refused(texts::UNREACHABLE, &failures.join("; ")))
    }

    /// One failed attempt; the address is told where it is not what the user wrote.
    fn failure(&self, address: &SocketAddr, reason: &str) -> String {
        if address.to_string() == self.to_string() {
            reason.to_owned()
        } else {
            format!("{address}: {reason}")
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An IPv6 address without brackets, perhaps with a zone (`fe80::1%eth0`). No port fits in it.
fn is_bare_ipv6(name: &str) -> bool {
    let address = name.split_once('%').map_or(name, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

/// A port that can be connected to. (`parse` alone would take `+1`.)
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn connect_to(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, timeout)?;
    // A port of this machine where nobody listens can, by the luck of the ephemeral port, be
    // joined to itself: it would answer us with our own words.
    if stream.local_addr()? == *address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Each line is whole when it is written; there is nothing for Nagle to gather. Without it
    // things are only slower, so a failure is none.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn unavailable(text: String) -> Stop {
    Stop::Error { code: EXIT_UNAVAILABLE, text }
}

/// An open connection, and what is needed to speak about it.
pub struct Link {
    pub stream: TcpStream,
    pub language: Language,
    /// The server as its user named it.
    name: String,
    /// The one of its addresses that took us. Kept, because a lost connection does not tell it.
    address: SocketAddr,
    /// All addresses of the host name.
    pub addresses: Vec<SocketAddr>,
}

impl Link {
    /// Connects. The timeout applies to each address.
    pub fn open(server: &Server, language: Language, timeout: Duration) -> Result<Self, Stop> {
        let (stream, address, addresses) = server.connect(language, timeout)?;
        Ok(Link { stream, language, name: server.to_string(), address, addresses })
    }

    /// Wraps a connection to this address of a server.
    pub fn of(stream: TcpStream, language: Language, name: String, address: SocketAddr) -> Self {
        Link { stream, language, name, address, addresses: Vec::new() }
    }

    /// Closes the connection, even if another process has it open as well.
    pub fn hang_up(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits for input until `limit` at most. Returns whether there is some.
    pub fn wait_readable(&self, limit: Option<Instant>) -> bool {
        loop {
            let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut polled = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut polled, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                // Reading finds the error.
                Err(_) => return true,
                Ok(ready) => return ready > 0,
            }
        }
    }

    /// The server for a person: as it was named, and the address behind the name.
    pub fn name(&self) -> String {
        if self.address.to_string() == self.name {
            self.name.clone()
        } else {
            format!("{} ({})", self.name, self.address)
        }
    }

    /// The end for a connection that was lost; `text` has holes for the server and the reason.
    pub fn lost(&self, text: Text, gone: &Gone) -> Stop {
        self.unavailable(text, &[&self.reason(gone)])
    }

    /// The end for a server that is none of ours; `said` is the line that gave it away.
    pub fn foreign(&self, said: &[u8]) -> Stop {
        const SHOWN_CHARS: usize = 64;
        let said: String = shown(said).chars().take(SHOWN_CHARS).collect();
        self.unavailable(texts::FOREIGN, &[&said])
    }

    /// The end with 69 and a text whose first hole is the server.
    pub fn unavailable(&self, text: Text, rest: &[&str]) -> Stop {
        let name = self.name();
        let values: Vec<&str> = [name.as_str()].iter().chain(rest).copied().collect();
        unavailable(self.language.say(text, &values))
    }

    pub fn reason(&self, gone: &Gone) -> String {
        match gone {
            Gone::Silent => self.language.plain(texts::TIMED_OUT).to_owned(),
            Gone::Closed => self.language.plain(texts::CLOSED).to_owned(),
            Gone::Endless => self.language.plain(texts::ENDLESS).to_owned(),
            Gone::Failed(error) => self.language.reason(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_in_many_ways() {
        let rows = [
            ("localhost", Some("localhost:12345")),
            ("localhost:1", Some("localhost:1")),
            ("127.0.0.1", Some("127.0.0.1:12345")),
            ("127.0.0.1:65535", Some("127.0.0.1:65535")),
            ("[::1]", Some("[::1]:12345")),
            ("[::1]:80", Some("[::1]:80")),
            ("::1", Some("[::1]:12345")),
            ("fe80::1%eth0", Some("[fe80::1%eth0]:12345")),
            ("", None),
            (":80", None),
            ("[]:80", None),
            ("[::1", None),
            ("[::1]80", None),
            ("host:", None),
            ("host:0", None),
            ("host:+1", None),
            ("host:65536", None),
            ("host:http", None),
            ("a b:80", None),
            ("a:b:80", None),
            ("http://host:80", None),
        ];
        for (name, expected) in rows {
            let got = Server::parse(name).map(|server| server.to_string());
            assert_eq!(got.as_deref(), expected, "{name}");
        }
    }
}

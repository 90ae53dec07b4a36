//! The address of the server and the connection to it.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::client::reply::{Disconnect, escape_for_terminal};
use crate::client::texts::{self, Lang, Text};
use crate::{EXIT_UNAVAILABLE, Exit};

const DEFAULT_PORT: u16 = 12345;

/// Limit for connecting to one address. Without it, a host that drops packets would block for
/// minutes. Five seconds are enough for a distant host, even if the first SYN is lost.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server as given by the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

impl ServerAddress {
    /// Parses `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT` or an IPv6 address without brackets.
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
        Some(ServerAddress { host: host.to_owned(), port })
    }

    /// Connects to the first address that accepts. Returns that address, and all addresses.
    fn connect(
        &self,
        language: Lang,
        timeout: Duration,
    ) -> Result<(TcpStream, SocketAddr, Vec<SocketAddr>), Exit> {
        let failed = |text: Text, reason: &str| {
            unavailable(text.format(language, &[&self.to_string(), reason]))
        };
        let addresses = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| failed(texts::UNRESOLVED, &error.to_string()))?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        let mut failures = Vec::new();
        for address in addresses.iter().copied() {
            match connect_to(&address, timeout.min(CONNECT_TIMEOUT)) {
                Ok(stream) => return Ok((stream, address, addresses)),
                Err(error) => {
                    failures.push(self.failure(&address, &texts::reason(language, &error)))
                }
            }
        }
        if failures.is_empty() {
            return Err(failed(texts::UNRESOLVED, texts::NO_ADDRESS.get(language)));
        }
        Err(failed(texts::UNREACHABLE, &failures.join("; ")))
    }

    /// Describes a failed attempt. The address is included if the user gave a name.
    fn failure(&self, address: &SocketAddr, reason: &str) -> String {
        if address.to_string() == self.to_string() {
            reason.to_owned()
        } else {
            format!("{address}: {reason}")
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Returns whether a name is an IPv6 address without brackets, perhaps with a zone
/// (`fe80::1%eth0`). Such a name contains no port.
fn is_bare_ipv6(name: &str) -> bool {
    let address = name.split_once('%').map_or(name, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

/// Parses the port of a server. `parse` alone would accept `+1` and 0.
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn connect_to(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    prepare(TcpStream::connect_timeout(address, timeout)?, address)
}

/// Checks a new connection and disables Nagle's algorithm, because lines are written whole.
///
/// If no process listens on a local port and the kernel chooses the same port as the local one, TCP
/// connects the socket to itself, and the client would read its own commands.
pub fn prepare(stream: TcpStream, address: &SocketAddr) -> io::Result<TcpStream> {
    if stream.local_addr()? == *address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // A failure only costs time.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn unavailable(message: String) -> Exit {
    Exit::Failure { code: EXIT_UNAVAILABLE, message }
}

/// An open connection, with the names needed for messages about it.
pub struct Connection {
    pub stream: TcpStream,
    pub language: Lang,
    /// The server as given by the user.
    name: String,
    /// The address of the peer. Kept, because a lost connection does not report it.
    address: SocketAddr,
    /// All addresses of the host.
    pub addresses: Vec<SocketAddr>,
}

impl Connection {
    /// Connects to the server. The timeout applies to each address.
    pub fn open(server: &ServerAddress, language: Lang, timeout: Duration) -> Result<Self, Exit> {
        let (stream, address, addresses) = server.connect(language, timeout)?;
        Ok(Connection { stream, language, name: server.to_string(), address, addresses })
    }

    /// Wraps a stream that is connected to this address of a server.
    pub fn from_stream(
        stream: TcpStream,
        language: Lang,
        name: String,
        address: SocketAddr,
    ) -> Self {
        Connection { stream, language, name, address, addresses: Vec::new() }
    }

    /// Closes the connection, even if another process has a copy of the descriptor.
    pub fn shut_down(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits until there is input or the deadline has passed. Returns whether there is input.
    pub fn wait_readable(&self, deadline: Option<Instant>) -> bool {
        loop {
            let left = deadline.map(|time| time.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut polled = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut polled, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                // The next read reports the error.
                Err(_) => return true,
                Ok(ready) => return ready > 0,
            }
        }
    }

    /// Returns the server for messages: as given by the user, followed by its address if the two differ.
    pub fn name(&self) -> String {
        if self.address.to_string() == self.name {
            self.name.clone()
        } else {
            format!("{} ({})", self.name, self.address)
        }
    }

    /// Returns the exit for a lost connection. The text has placeholders for server and reason.
    pub fn lost(&self, text: Text, reason: &Disconnect) -> Exit {
        self.unavailable(text, &[&reason.text(self.language)])
    }

    /// Returns the exit for a server of another kind, which has sent this line.
    pub fn not_reservad(&self, line: &[u8]) -> Exit {
        const SHOWN_CHARS: usize = 64;
        let line: String = escape_for_terminal(line).chars().take(SHOWN_CHARS).collect();
        self.unavailable(texts::NOT_RESERVAD, &[&line])
    }

    /// Returns the exit with code 69 and a text whose first placeholder is the server.
    pub fn unavailable(&self, text: Text, rest: &[&str]) -> Exit {
        let name = self.name();
        let values: Vec<&str> = [name.as_str()].iter().chain(rest).copied().collect();
        unavailable(text.format(self.language, &values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses_are_parsed() {
        let cases = [
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
        for (name, expected) in cases {
            let got = ServerAddress::parse(name).map(|server| server.to_string());
            assert_eq!(got.as_deref(), expected, "{name}");
        }
    }
}

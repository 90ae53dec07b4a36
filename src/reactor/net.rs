//! Listening sockets, their options, and accepting connections even when descriptors run out.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use crate::commands::RejectReason;
use crate::inventory::Origin;
use crate::limits::{
    BACKLOG, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES, USER_TIMEOUT_MS,
};
use crate::service::{Stream, reject};

/// Binds a socket and listens. The options of its connections are set here, because accepted
/// sockets inherit them, which saves a system call for each option of each client.
///
/// With `only_v6`, an IPv6 wildcard address does not take the IPv4 port too.
///
/// # Errors
/// The address is in use, does not belong to this host, or is not permitted.
pub fn bind(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A restart must not wait until the connections of the last run have timed out.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_v6)?;
    }
    rustix::net::bind(&socket, &address)?;
    set_liveness(&socket)?;
    // Telnet sends the DM of its Synch as urgent data. Out of line, it would be missing from the
    // stream, and the byte after it would be parsed as the command that follows IAC (RFC 6093).
    sockopt::set_socket_oobinline(&socket, true)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Disables delays of short replies, and detects a lost peer within minutes, because the peer may
/// hold a reservation with `hasta=salir`.
fn set_liveness(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, Duration::from_secs(KEEPALIVE_IDLE_S))?;
    sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(KEEPALIVE_INTERVAL_S))?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT_MS)?;
    Ok(())
}

impl Stream for TcpStream {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }

    /// Sends a byte of urgent data, which is not part of the text that a peer reads (RFC 6093).
    fn probe(&mut self) {
        let flags = SendFlags::OOB | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // The poll reports an error, too.
        let _ = rustix::net::send(&*self, &[0], flags);
    }
}

/// A listening socket.
pub struct Listener {
    socket: mio::net::TcpListener,
    /// Whether a connection may be waiting. The poll reports it once, and it holds until an accept
    /// would block.
    ready: bool,
    /// A descriptor in reserve. Closing it makes room to accept and reject one client.
    spare: Option<File>,
}

/// The result of an accept.
pub enum Accepted {
    Client(TcpStream, Origin),
    Nobody,
    /// No descriptor is left, and a client was rejected.
    Rejected,
    /// A client could not be accepted, and the poll will not report it again. Descriptors are
    /// missing, or the reason is unknown.
    OutOfDescriptors,
}

impl Listener {
    /// Adds a listening socket to the poll.
    pub fn register(socket: TcpListener, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = mio::net::TcpListener::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener { socket, ready: true, spare: spare() })
    }

    /// Returns the address, with the actual port if port 0 was requested.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Records that a connection may be waiting.
    pub fn set_ready(&mut self) {
        self.ready = true;
    }

    /// Returns whether a connection may be waiting.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Accepts one client.
    pub fn accept(&mut self) -> Accepted {
        while self.ready {
            match self.socket.accept() {
                Ok((stream, from)) => return Accepted::Client(stream, origin(from.ip())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
                Err(error) if is_out_of_descriptors(&error) => return self.reject(),
                Err(error) if is_caused_by_client(&error) => {}
                // An unknown error may last long.
                Err(_) => return Accepted::OutOfDescriptors,
            }
        }
        Accepted::Nobody
    }

    /// Rejects one client with the spare descriptor.
    fn reject(&mut self) -> Accepted {
        if self.spare.take().is_none() {
            self.spare = spare();
            return Accepted::OutOfDescriptors;
        }
        let outcome = match self.socket.accept() {
            Ok((stream, _)) => {
                reject(stream, RejectReason::Full);
                Accepted::Rejected
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.ready = false;
                Accepted::Nobody
            }
            Err(_) => Accepted::OutOfDescriptors,
        };
        self.spare = spare();
        outcome
    }
}

/// Returns the unit by which connections are counted: this host, an IPv4 address, or the /64
/// network of an IPv6 address, which is the smallest network that a site gets. They cannot collide,
/// because no network begins with the bits that mark an IPv4 address.
fn origin(address: IpAddr) -> Origin {
    const IPV4: u64 = 0xFFFF << 32;
    match address.to_canonical() {
        address if address.is_loopback() => Origin::LOCAL,
        IpAddr::V4(address) => Origin(IPV4 | u64::from(address.to_bits())),
        IpAddr::V6(address) => match (address.to_bits() >> 64) as u64 {
            // 0 is `Origin::LOCAL`. No client has an address in this network.
            0 => Origin(u64::MAX),
            network => Origin(network),
        },
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Returns whether the client or its network is gone again. The next client may be accepted.
fn is_caused_by_client(error: &io::Error) -> bool {
    use ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    let kinds = [
        ConnectionAborted,
        ConnectionReset,
        HostUnreachable,
        Interrupted,
        NetworkDown,
        NetworkUnreachable,
        TimedOut,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(Errno::PROTO.raw_os_error())
}

/// Returns whether descriptors or memory are missing, for which `ErrorKind` has no names.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|known| errno == Some(known.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_host_are_local_and_others_count_by_address_or_network() {
        let of = |text: &str| origin(text.parse().unwrap());
        for local in ["127.0.0.1", "127.0.0.2", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(local), Origin::LOCAL, "{local}");
        }
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        let all = ["192.0.2.1", "192.0.2.2", "2001:db8:1:2::1", "2001:db8:1:3::1", "fe80::1"];
        let different: std::collections::BTreeSet<_> = all.iter().map(|text| of(text)).collect();
        assert_eq!(different.len(), all.len());
        assert!(!different.contains(&Origin::LOCAL));
    }

    #[test]
    fn accepted_sockets_inherit_the_options_of_the_listener() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert!(sockopt::socket_oobinline(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap().as_secs(), KEEPALIVE_IDLE_S);
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), KEEPALIVE_PROBES);
        assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), USER_TIMEOUT_MS);
    }
}

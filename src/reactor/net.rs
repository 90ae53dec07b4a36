//! Sockets: listening with a backlog of our own, and accepting in a way that
//! survives running out of descriptors.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use crate::commands::NoRoom;
use crate::limits::{
    BACKLOG, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES, USER_TIMEOUT_MS,
};
use crate::service::{Peer, Stream, reject};

/// Binds and listens. Options that its connections shall have are set here:
/// Linux hands them on, which saves a system call each for every client.
///
/// `only_v6` keeps an IPv6 wildcard from taking the IPv4 port too.
///
/// # Errors
/// As the system says: the address is taken, not ours, or not allowed.
pub fn bind(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A restart must not wait for the connections of the last run to time out.
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

/// No delay for short replies; a peer that is gone without a word is known
/// within minutes, for it may hold something with `hasta=salir`.
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

    /// A byte of urgent data is not part of what a peer reads (RFC 6093).
    fn probe(&mut self) {
        let flags = SendFlags::OOB | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // An error shows as an event, too.
        let _ = rustix::net::send(&*self, &[0], flags);
    }
}

/// A listening socket and whether somebody may be waiting at it. The poll
/// says so once; it stays so until an accept finds nobody.
pub struct Listener {
    socket: mio::net::TcpListener,
    ready: bool,
    /// A descriptor in reserve: given up for a moment, it lets a client be
    /// told that there are none.
    spare: Option<File>,
}

/// What an accept has brought.
pub enum Accepted {
    Client(TcpStream, Peer),
    Nobody,
    /// A client was told that the server is full: no descriptor is left.
    Refused,
    /// Not even that could be done, for want of descriptors or for a reason
    /// that is not known. Somebody still waits, and the poll will not say so
    /// again.
    OutOfDescriptors,
}

impl Listener {
    /// Puts a listening socket into the poll.
    pub fn register(socket: TcpListener, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = mio::net::TcpListener::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener { socket, ready: true, spare: spare() })
    }

    /// Where it listens; the real port where 0 was asked.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The poll says that somebody waits.
    pub fn set_ready(&mut self) {
        self.ready = true;
    }

    /// Whether an accept makes sense now.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Accepts one client.
    pub fn accept(&mut self) -> Accepted {
        while self.ready {
            match self.socket.accept() {
                Ok((stream, from)) => return Accepted::Client(stream, peer(from.ip())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
                Err(error) if is_out_of_descriptors(&error) => return self.refuse(),
                Err(error) if is_of_the_client(&error) => {}
                // Not known here; it might stay so for long.
                Err(_) => return Accepted::OutOfDescriptors,
            }
        }
        Accepted::Nobody
    }

    /// Uses the spare descriptor to tell one client that there is no room.
    fn refuse(&mut self) -> Accepted {
        if self.spare.take().is_none() {
            self.spare = spare();
            return Accepted::OutOfDescriptors;
        }
        let refused = match self.socket.accept() {
            Ok((stream, _)) => {
                reject(stream, NoRoom::Full);
                Accepted::Refused
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.ready = false;
                Accepted::Nobody
            }
            Err(_) => Accepted::OutOfDescriptors,
        };
        self.spare = spare();
        refused
    }
}

/// Returns the unit by which connections are counted: an IPv4 address, or the /64 network of an
/// IPv6 address, which is the smallest network that a site gets. The two cannot collide, because no
/// network begins with the bits that mark an IPv4 address.
fn peer(address: IpAddr) -> Peer {
    const IPV4: u64 = 0xFFFF << 32;
    match address.to_canonical() {
        address if address.is_loopback() => Peer::Local,
        IpAddr::V4(address) => Peer::address(IPV4 | u64::from(address.to_bits())),
        IpAddr::V6(address) => Peer::address((address.to_bits() >> 64) as u64),
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The client has gone again, or its network has: the next one may do.
fn is_of_the_client(error: &io::Error) -> bool {
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

/// ErrorKind has no name for these.
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
        let of = |text: &str| peer(text.parse().unwrap());
        for local in ["127.0.0.1", "127.0.0.2", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(local), Peer::Local, "{local}");
        }
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        let all = ["192.0.2.1", "192.0.2.2", "2001:db8:1:2::1", "2001:db8:1:3::1", "fe80::1"];
        let different: std::collections::BTreeSet<_> = all.iter().map(|text| of(text)).collect();
        assert_eq!(different.len(), all.len());
        assert!(!different.contains(&Peer::Local));
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

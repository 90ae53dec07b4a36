//! The session with the server: the current connection, the queries without a reply, and
//! reconnecting after the connection is lost.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::clock::BootTime;
use crate::client::connection::{Connection, prepare};
use crate::client::reply::{Disconnect, LineKind, ReplyReader};
use crate::client::texts::Lang;

/// A peer that vanished is detected after 30 seconds. The server takes 120 seconds, so a
/// reservation that is bound to the connection still exists when the program has been ended.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 4;
const USER_TIMEOUT_MS: u32 = 30_000;

/// Limit for one attempt to connect again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The delay before the first attempt to connect again. It doubles with each attempt.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(50);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// A kind of query to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    Identify,
    Reserve,
    Watch,
    Status,
    Renew,
    Verify,
    Cancel,
    Quit,
}

/// A query without a reply.
#[derive(Debug, Clone, Copy)]
pub struct PendingQuery {
    pub query: Query,
    pub sent: BootTime,
}

/// The lines received on a connection, and its end if it has ended after them.
#[derive(Default)]
pub struct Received {
    pub lines: Vec<(LineKind, Vec<u8>)>,
    pub disconnect: Option<Disconnect>,
}

pub struct Session {
    language: Lang,
    server_name: String,
    /// The addresses of the server.
    addresses: Vec<SocketAddr>,
    /// Index of the address for the next attempt, modulo their number.
    next_address: usize,
    connection: Option<(Connection, ReplyReader<TcpStream>)>,
    /// Counts how often a connection was attached or lost, so it is 1 during the first connection.
    generation: u64,
    /// Queries on the current connection, in the order of their replies.
    pending: VecDeque<PendingQuery>,
    /// The items received so far of an incomplete list.
    items: Vec<String>,
    reconnect: Option<Reconnect>,
    reconnect_delay: Duration,
}

/// The progress of connecting again.
enum Reconnect {
    /// The next attempt starts at this time.
    Waiting(BootTime),
    /// An attempt is in progress and fails at the deadline.
    Connecting(ConnectingSocket, BootTime),
}

impl Session {
    pub fn new(language: Lang, server_name: String, addresses: Vec<SocketAddr>) -> Self {
        Session {
            language,
            server_name,
            addresses,
            next_address: 0,
            connection: None,
            generation: 0,
            pending: VecDeque::new(),
            items: Vec::new(),
            reconnect: None,
            reconnect_delay: MIN_RECONNECT_DELAY,
        }
    }

    /// Makes a new connection the current one. Fails if there is no descriptor left.
    pub fn attach(&mut self, connection: Connection) -> io::Result<()> {
        set_socket_options(&connection.stream);
        connection.stream.set_nonblocking(true)?;
        let stream = connection.stream.try_clone()?;
        self.generation += 1;
        self.pending.clear();
        self.items.clear();
        self.connection = Some((connection, ReplyReader::new(stream)));
        Ok(())
    }

    /// Closes the current connection and returns it. Its queries will get no reply.
    pub fn detach(&mut self) -> Option<Connection> {
        let (connection, _) = self.connection.take()?;
        connection.shut_down();
        self.generation += 1;
        self.pending.clear();
        Some(connection)
    }

    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref().map(|(connection, _)| connection)
    }

    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Returns a number that changes when the connection is replaced or lost.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns whether the current connection is the one on which the reservation was requested.
    pub fn is_first_connection(&self) -> bool {
        self.generation == 1
    }

    /// Sends bytes. A failure is ignored here, because reading finds the end of the connection, and
    /// the lines that arrived before it.
    pub fn send_bytes(&self, bytes: &[u8]) {
        if let Some(connection) = self.connection() {
            let _ = (&connection.stream).write_all(bytes);
        }
    }

    /// Sends a query.
    pub fn send(&mut self, query: Query, line: &str) {
        self.pending.push_back(PendingQuery { query, sent: BootTime::now() });
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// Returns whether one of these queries has no reply yet.
    pub fn is_pending(&self, queries: &[Query]) -> bool {
        self.pending.iter().any(|pending| queries.contains(&pending.query))
    }

    /// Returns the oldest query without a reply.
    pub fn oldest_pending(&self) -> Option<PendingQuery> {
        self.pending.front().copied()
    }

    /// Returns the query that a reply belongs to. `None` if the server replied without a query, as
    /// a full server does.
    pub fn take_pending(&mut self) -> Option<PendingQuery> {
        self.pending.pop_front()
    }

    /// Adds an item to the incomplete list.
    pub fn add_item(&mut self, line: &[u8]) {
        self.items.push(String::from_utf8_lossy(line).into_owned());
    }

    /// Returns the items of the list, which is complete now.
    pub fn take_items(&mut self) -> Vec<String> {
        std::mem::take(&mut self.items)
    }

    /// Reads from the connection, after it has become readable.
    pub fn receive(&mut self) -> Received {
        let Some((_, replies)) = &mut self.connection else {
            return Received::default();
        };
        let disconnect = replies.fill().err();
        let mut lines = Vec::new();
        while let Some((kind, line)) = replies.next() {
            lines.push((kind, line.to_vec()));
        }
        Received { lines, disconnect }
    }

    /// Schedules the next attempt to connect.
    pub fn schedule_reconnect(&mut self) {
        self.reconnect = Some(Reconnect::Waiting(BootTime::now() + self.reconnect_delay));
        self.reconnect_delay = (self.reconnect_delay * 2).min(MAX_RECONNECT_DELAY);
    }

    /// Abandons connecting.
    pub fn stop_reconnecting(&mut self) {
        self.reconnect = None;
    }

    /// Resets the delay between attempts, after the server has confirmed the reservation.
    pub fn reset_reconnect_delay(&mut self) {
        self.reconnect_delay = MIN_RECONNECT_DELAY;
    }

    /// Returns when [`continue_reconnect`](Self::continue_reconnect) is due.
    pub fn reconnect_at(&self) -> Option<BootTime> {
        match self.reconnect {
            Some(Reconnect::Waiting(at) | Reconnect::Connecting(_, at)) => Some(at),
            None => None,
        }
    }

    /// Starts an attempt that is due, or continues one. Returns a new connection, which is not the
    /// current one yet.
    pub fn continue_reconnect(&mut self) -> Option<Connection> {
        let now = BootTime::now();
        match self.reconnect.take() {
            Some(Reconnect::Waiting(at)) if at <= now => self.start_connecting(),
            Some(Reconnect::Connecting(socket, deadline)) => match socket.result() {
                Some(Ok(stream)) => {
                    let name = self.server_name.clone();
                    let address = socket.address;
                    return Some(Connection::from_stream(stream, self.language, name, address));
                }
                None if now < deadline => {
                    self.reconnect = Some(Reconnect::Connecting(socket, deadline));
                }
                Some(Err(_)) | None => self.schedule_reconnect(),
            },
            waiting => self.reconnect = waiting,
        }
        None
    }

    fn start_connecting(&mut self) {
        let address = self.addresses[self.next_address % self.addresses.len()];
        self.next_address += 1;
        match ConnectingSocket::start(address) {
            Ok(socket) => {
                let deadline = BootTime::now() + CONNECT_TIMEOUT;
                self.reconnect = Some(Reconnect::Connecting(socket, deadline));
            }
            Err(_) => self.schedule_reconnect(),
        }
    }

    /// Returns the socket of the current connection.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.connection().map(|connection| connection.stream.as_fd())
    }

    /// Returns the socket that is connecting. It becomes writable when the result is known.
    pub fn connecting_socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.reconnect {
            Some(Reconnect::Connecting(socket, _)) => Some(socket.stream.as_fd()),
            _ => None,
        }
    }
}

/// Sets options so that each end detects the loss of the other in time. Failures only delay the
/// detection.
///
/// If this process is killed, the connection must be reset. Without the linger option, the kernel
/// would send a FIN. The server treats that as a half-close, after which a watch continues, and
/// with it a reservation that is bound to the connection.
fn set_socket_options(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES);
    let _ = sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MS);
}

/// A socket that is connecting.
struct ConnectingSocket {
    stream: TcpStream,
    address: SocketAddr,
}

impl ConnectingSocket {
    fn start(address: SocketAddr) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(ConnectingSocket { stream: TcpStream::from(socket), address })
    }

    /// Returns the result, once it is known.
    fn result(&self) -> Option<io::Result<TcpStream>> {
        let mut polled = [PollFd::new(&self.stream, PollFlags::OUT)];
        let immediately = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut polled, Some(&immediately)).is_ok_and(|ready| ready == 0) {
            return None;
        }
        Some(self.connected_stream())
    }

    fn connected_stream(&self) -> io::Result<TcpStream> {
        sockopt::socket_error(&self.stream)??;
        prepare(self.stream.try_clone()?, &self.address)
    }
}

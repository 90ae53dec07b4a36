//! The loop: one thread, one poll, and everything in it.
//!
//! A turn does, in this order:
//!
//! 1. Poll, without waiting if there is work, otherwise until the next deadline.
//! 2. Read the clocks, once.
//! 3. Record which connections are ready. Nothing is served yet.
//! 4. End reservations and waits that are due, so that a command at time t does not see any that
//!    ended by t.
//! 5. Serve each queued connection within its budget: read, run lines, append replies. If a sync
//!    follows, repeat this while more arrives. Then append the outcomes of waits.
//! 6. Commit, with one write and one sync for the whole turn.
//! 7. Send replies, and after them notices, so that no client sees changes that could still be
//!    lost. While there is nothing to sync first, steps 5 to 7 are done for one batch of
//!    connections after the other.
//! 8. Remove closed connections.
//! 9. Accept new connections, last, so that no event of this turn can be taken for one of theirs.
//! 10. Do a piece of maintenance, and set the alarm for the next end.
//!
//! The [`Service`] does steps 4 to 8 and the maintenance. It knows no poll.
//!
//! Architecture invariants: no thread, no lock, no busy wait, and no mio type outside this module.
//! A connection's interest is registered once. Only `Conn` remembers readiness.

mod net;
mod wake;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use log::{error, info, warn};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::inventory::{Origin, SessionId};
use crate::inventory_file::InventoryFile;
use crate::journal::{self, DiskStorage};
use crate::limits::{ACCEPT_BUDGET, ACCEPT_RETRY_MS, GATHER_MS, GATHER_ROUNDS, LISTENERS_MAX};
use crate::service::{Key, Ready, Service};
use crate::text::escape_for_log;
use crate::time::{self, MonotonicMs};
use net::{Accepted, Listener};
use wake::{Alarm, Signal, Signals};

pub use net::bind;
pub use wake::outlive_file_size_limit;

/// The maximal number of connections that tokens can distinguish.
pub const CLIENTS_MAX: usize = 1 << KEY_BITS;
const KEY_BITS: u32 = 20;

const SIGNALS: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);
const LISTENERS: usize = usize::MAX - 1 - LISTENERS_MAX;

/// The server: a poll and the service on its sockets.
pub struct Reactor {
    poll: Poll,
    listeners: Vec<Listener>,
    signals: Signals,
    alarm: Alarm,
    service: Service<TcpStream, DiskStorage>,
    /// When to accept again after descriptors ran out.
    retry_accept_at: Option<MonotonicMs>,
    /// The file to reload on SIGHUP.
    inventory_file: Option<PathBuf>,
}

impl Reactor {
    /// Creates a poll, and adds the listening sockets, signals and the alarm to it.
    ///
    /// # Errors
    /// The system has no descriptors or memory left.
    pub fn new(
        sockets: Vec<std::net::TcpListener>,
        service: Service<TcpStream, DiskStorage>,
        inventory_file: Option<PathBuf>,
    ) -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let signals = Signals::register(poll.registry(), SIGNALS)?;
        let alarm = Alarm::register(poll.registry(), ALARM)?;
        let mut listeners = Vec::new();
        for (at, socket) in sockets.into_iter().enumerate() {
            listeners.push(Listener::register(socket, poll.registry(), Token(LISTENERS + at))?);
        }
        let retry_accept_at = None;
        Ok(Reactor { poll, listeners, signals, alarm, service, retry_accept_at, inventory_file })
    }

    /// Returns the addresses of the listening sockets.
    ///
    /// # Errors
    /// The system does not return the address of a socket.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// The journal could not be written, or the poll failed. No reply was sent for anything that is
    /// not in the journal.
    pub fn run(&mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(1024);
        self.service.prepare()?;
        while !self.is_over() {
            let timeout = self.poll_timeout();
            self.poll(&mut events, timeout)?;
            self.turn(&mut events)?;
        }
        Ok(self.service.finish()?)
    }

    fn turn(&mut self, events: &mut Events) -> Result<(), Error> {
        let (wall, now) = time::read_clocks();
        if self.service.is_clock_unconfirmed() && time::is_synchronized(self.service.time(), wall) {
            self.service.confirm_clock();
        }
        self.service.start_turn(wall, now);
        let has_signal = self.set_ready(events);
        if self.service.expire_due() {
            self.alarm.forget();
        }
        if has_signal {
            self.handle_signals();
        }
        self.service.serve_queue()?;
        self.gather(events, now)?;
        if self.service.finish_turn()? {
            // Descriptors are free again.
            self.retry_accept_at = None;
        }
        self.accept(now);
        self.service.maintain()?;
        self.set_alarm();
        Ok(())
    }

    /// Serves requests that arrive while others are served, so that one sync covers all of them. It
    /// costs a lone client one call of the poll.
    fn gather(&mut self, events: &mut Events, started: MonotonicMs) -> Result<(), Error> {
        for _ in 0..GATHER_ROUNDS {
            if !self.service.may_gather() || MonotonicMs::now() > started.plus_ms(GATHER_MS) {
                break;
            }
            self.poll(events, Some(Duration::ZERO))?;
            if events.is_empty() {
                break;
            }
            if self.set_ready(events) {
                self.handle_signals();
            }
            self.service.serve_queue()?;
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Error> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result.map_err(Error::Poll)?,
        }
        Ok(())
    }

    /// Returns how long the poll may wait: not at all if there is work, otherwise until the next
    /// deadline on the monotonic clock; `None` without a deadline. The alarm reports the ends of
    /// reservations.
    fn poll_timeout(&mut self) -> Option<Duration> {
        let may_accept =
            self.retry_accept_at.is_none() && self.listeners.iter().any(Listener::is_ready);
        if self.alarm.take_clock_set() || may_accept || self.service.has_work() {
            return Some(Duration::ZERO);
        }
        let next = time::earlier(self.service.next_deadline(), self.retry_accept_at)?;
        Some(MonotonicMs::now().until(next))
    }

    /// Passes events to listeners, the alarm and the service. Returns whether there was a signal.
    fn set_ready(&mut self, events: &Events) -> bool {
        let mut has_signal = false;
        for event in events {
            match event.token() {
                SIGNALS => has_signal = true,
                ALARM => self.alarm.acknowledge(),
                Token(at) if at >= LISTENERS => {
                    if let Some(listener) = self.listeners.get_mut(at - LISTENERS) {
                        listener.set_ready();
                    }
                }
                token => {
                    let (key, session) = untoken(token);
                    self.service.set_ready(key, session, ready(event));
                }
            }
        }
        has_signal
    }

    /// Handles signals. This follows the ends, because names added by a reload get the time of this
    /// turn.
    fn handle_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Stop => self.stop(),
                Signal::Reload => self.reload(),
            }
        }
    }

    fn accept(&mut self, now: MonotonicMs) {
        if self.retry_accept_at.is_some_and(|when| when > now) {
            return;
        }
        self.retry_accept_at = None;
        for at in 0..self.listeners.len() {
            self.accept_from(at, now);
        }
        if self.service.is_stopping() {
            let may_accept = self.retry_accept_at.is_none();
            self.listeners.retain(|listener| may_accept && listener.is_ready());
        }
    }

    /// Accepts the connections of one listener that are waiting.
    fn accept_from(&mut self, at: usize, now: MonotonicMs) {
        for _ in 0..ACCEPT_BUDGET {
            match self.listeners[at].accept() {
                Accepted::Client(stream, origin) => self.add_client(stream, origin),
                Accepted::Nobody => return,
                Accepted::Rejected => self.service.log_rejection("no descriptors are left"),
                Accepted::OutOfDescriptors => {
                    self.service.log_rejection("no descriptors are left");
                    self.retry_accept_at = Some(now.plus_ms(ACCEPT_RETRY_MS));
                    return;
                }
            }
        }
    }

    fn add_client(&mut self, stream: TcpStream, origin: Origin) {
        let registry = self.poll.registry();
        self.service.add_client(stream, origin, |stream, key, session| {
            let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
            registry.register(stream, token(key, session), interest)
        });
    }

    fn set_alarm(&mut self) {
        if let Err(error) = self.alarm.set(self.service.next_end()) {
            error!("cannot set the alarm: {error}");
        }
    }

    /// Starts to stop the server.
    fn stop(&mut self) {
        if self.service.stop() {
            info!("stopping: answering requests that have arrived; a second signal ends at once");
            // Connections that were not accepted yet may have sent something, too.
            self.listeners.iter_mut().for_each(Listener::set_ready);
        }
    }

    fn is_over(&self) -> bool {
        self.service.is_over(self.listeners.is_empty())
    }

    /// Starts to reload the inventory file.
    fn reload(&mut self) {
        let Some(path) = &self.inventory_file else {
            return warn!("SIGHUP: there is no --inventory file to reload");
        };
        // Only one descriptor is reserved for the file.
        self.service.abandon_reload();
        match InventoryFile::open(path) {
            Ok(file) => self.service.reload(Box::new(file)),
            Err(error) => {
                error!(
                    "SIGHUP: {}; nothing was added from the file",
                    escape_for_log(&error.to_string())
                )
            }
        }
    }
}

/// The reason why the loop ended early.
#[derive(Debug)]
pub enum Error {
    Poll(io::Error),
    Journal(journal::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Poll(error) => write!(f, "cannot poll: {error}"),
            Error::Journal(error) => write!(f, "{error}"),
        }
    }
}

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Error {
        Error::Journal(error)
    }
}

/// Returns the token of a connection. It contains the session, so that an event for a closed
/// connection is not taken for one of the connection that has its key now.
fn token(key: Key, session: SessionId) -> Token {
    Token((session.0 as usize) << KEY_BITS | key)
}

fn untoken(Token(at): Token) -> (Key, SessionId) {
    (at & (CLIENTS_MAX - 1), SessionId((at >> KEY_BITS) as u64))
}

fn ready(event: &Event) -> Ready {
    Ready {
        readable: event.is_readable(),
        writable: event.is_writable(),
        urgent: event.is_priority(),
        read_closed: event.is_read_closed(),
        write_closed: event.is_write_closed(),
        error: event.is_error(),
    }
}

//! The loop: one thread, one poll, everything in it.
//!
//! One turn, always in this order:
//!
//! 1. poll, without waiting if there is work, else until the next deadline;
//! 2. read the clocks, once;
//! 3. mark what is ready and queue it, no work yet;
//! 4. end what is due, so that a command at *t* sees ends ≤ *t* as gone;
//! 5. serve each queued connection within its budget: read, lines, decide, apply, reply;
//!    where a sync follows, as often as more has come meanwhile;
//!    then tell those who wait what has become of it;
//! 6. commit: one write and one sync for the whole turn;
//! 7. flush replies, and after them notices: nobody, not even a reader, learns what could still vanish;
//!    while there is nothing to sync first, 5 to 7 are done for one share of the connections
//!    after the other;
//! 8. reap what is closed;
//! 9. accept, last, so that no event of this turn can be for a newcomer;
//!    then a piece of a compaction, if one is due, and the alarm for the next end.
//!
//! Steps 4 to 8 are the [`Service`]'s, which knows no poll.
//!
//! Architecture invariants: no thread, no lock, no busy wait, no mio type
//! outside this folder. A connection's interest follows from its state;
//! nothing but `Conn` remembers readiness.

mod net;
mod wake;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::{error, info, warn};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::commands::words::escape_for_log;
use crate::inventory::SessionId;
use crate::journal::{self, DiskStorage};
use crate::limits::{ACCEPT_BUDGET, ACCEPT_RETRY_MS, GATHER_MS, GATHER_ROUNDS, LISTENERS_MAX};
use crate::service::{Key, Peer, Ready, Service};
use crate::store::InventoryFile;
use crate::time::{self, MonotonicMs};
use net::{Accepted, Listener};
use wake::{Alarm, Foretick, Signal, Signals};

pub use net::bind;
pub use wake::outlive_file_size_limit;

/// Connections at the most, as the tokens have it.
pub const CLIENTS_MAX: usize = 1 << KEY_BITS;
const KEY_BITS: u32 = 20;

const SIGNALS: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);
const LISTENERS: usize = usize::MAX - 1 - LISTENERS_MAX;

/// Key and generation: an event for a connection that is gone must not be
/// taken for the one that has its place now.
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

/// The server.
pub struct Reactor {
    poll: Poll,
    listeners: Vec<Listener>,
    signals: Signals,
    alarm: Alarm,
    foretick: Foretick,
    service: Service<TcpStream, DiskStorage>,
    /// No descriptors are left: when to look again.
    accept_again: Option<MonotonicMs>,
    /// Read again on SIGHUP.
    inventory_file: Option<PathBuf>,
}

impl Reactor {
    /// Registers everything with a new poll.
    ///
    /// # Errors
    /// The system has no descriptors or memory for it.
    pub fn new(
        sockets: Vec<std::net::TcpListener>,
        service: Service<TcpStream, DiskStorage>,
        inventory_file: Option<PathBuf>,
    ) -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let signals = Signals::register(poll.registry(), SIGNALS)?;
        let alarm = Alarm::register(poll.registry(), ALARM)?;
        let foretick = Foretick::new()?;
        let mut listeners = Vec::new();
        for (at, socket) in sockets.into_iter().enumerate() {
            listeners.push(Listener::register(socket, poll.registry(), Token(LISTENERS + at))?);
        }
        let accept_again = None;
        Ok(Reactor {
            poll,
            listeners,
            signals,
            alarm,
            foretick,
            service,
            accept_again,
            inventory_file,
        })
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// The journal could not be written, or the poll failed: the reason.
    /// Nothing was replied that is not in the journal.
    pub fn run(&mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        self.service.prepare().map_err(journal_error)?;
        while !self.is_over() {
            let patience = self.patience();
            self.foretick.waits();
            self.poll(&mut events, patience)?;
            self.turn(&mut events)?;
        }
        self.service.finish().map_err(journal_error)
    }

    fn turn(&mut self, events: &mut Events) -> Result<(), String> {
        let (wall, now) = time::read_clocks();
        if self.service.is_clock_unconfirmed() && time::is_synchronized(self.service.time(), wall) {
            self.service.confirm_clock();
        }
        let mut all = events.iter();
        if all.next().is_some() && all.next().is_none() {
            self.foretick.lone_event(now);
        }
        self.service.start_turn(wall, now);
        let signalled = self.mark(events);
        if self.service.expire_due() {
            self.alarm.forget();
        }
        if signalled {
            self.heed_signals();
        }
        self.service.serve_queue().map_err(journal_error)?;
        self.gather(events, now)?;
        if self.service.finish_turn().map_err(journal_error)? {
            // A descriptor is free again.
            self.accept_again = None;
        }
        self.accept(now);
        self.service.maintain().map_err(journal_error)?;
        self.set_alarm();
        Ok(())
    }

    /// Serves what has come while others were served, as long as more comes: one
    /// sync is for all of it. Who is alone pays a look at the poll.
    fn gather(&mut self, events: &mut Events, begun: MonotonicMs) -> Result<(), String> {
        for _ in 0..GATHER_ROUNDS {
            if !self.service.may_gather() || MonotonicMs::now() > begun.plus_ms(GATHER_MS) {
                break;
            }
            self.poll(events, Some(Duration::ZERO))?;
            if events.is_empty() {
                break;
            }
            if self.mark(events) {
                self.heed_signals();
            }
            self.service.serve_queue().map_err(journal_error)?;
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, patience: Option<Duration>) -> Result<(), String> {
        match self.poll.poll(events, patience) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            done => done.map_err(|error| format!("poll: {error}"))?,
        }
        Ok(())
    }

    /// How long the poll may wait: not at all if there is work, else until the
    /// next deadline on the monotonic clock; for ever if there is none. Ends
    /// of reservations are the alarm's.
    fn patience(&mut self) -> Option<Duration> {
        let may_accept =
            self.accept_again.is_none() && self.listeners.iter().any(Listener::is_ready);
        if self.alarm.take_clock_set() || may_accept || self.service.has_work() {
            return Some(Duration::ZERO);
        }
        let next = time::earlier(self.service.next_deadline(), self.accept_again)?;
        Some(MonotonicMs::now().until(next))
    }

    /// Returns whether there was a signal.
    fn mark(&mut self, events: &Events) -> bool {
        let mut signalled = false;
        for event in events {
            match event.token() {
                SIGNALS => signalled = true,
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
        signalled
    }

    /// After the ends, for what a reload adds is stamped with this turn's time.
    fn heed_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Stop => self.stop(),
                Signal::Reload => self.reload(),
            }
        }
    }

    fn accept(&mut self, now: MonotonicMs) {
        if self.accept_again.is_some_and(|when| when > now) {
            return;
        }
        self.accept_again = None;
        for at in 0..self.listeners.len() {
            for _ in 0..ACCEPT_BUDGET {
                match self.listeners[at].accept() {
                    Accepted::Client(stream, peer) => self.welcome(stream, peer),
                    Accepted::Nobody => break,
                    Accepted::OutOfDescriptors => {
                        self.service.note_full("no descriptors are left");
                        self.accept_again = Some(now.plus_ms(ACCEPT_RETRY_MS));
                        break;
                    }
                    Accepted::Refused => self.service.note_full("no descriptors are left"),
                }
            }
        }
        if self.service.is_stopping() {
            let waits = self.accept_again.is_none();
            self.listeners.retain(|listener| waits && listener.is_ready());
        }
    }

    fn welcome(&mut self, stream: TcpStream, peer: Peer) {
        let registry = self.poll.registry();
        self.service.add_client(stream, peer, |stream, key, session| {
            let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
            registry.register(stream, token(key, session), interest)
        });
    }

    fn set_alarm(&mut self) {
        if let Err(error) = self.alarm.set(self.service.next_end()) {
            error!("the alarm could not be set: {error}");
        }
    }

    /// Answers what was received, then ends.
    fn stop(&mut self) {
        if self.service.stop() {
            info!("stopping: answering what was received; a second signal ends at once");
            // Who has connected by now has perhaps said something, too.
            self.listeners.iter_mut().for_each(Listener::set_ready);
        }
    }

    fn is_over(&self) -> bool {
        self.service.is_over(self.listeners.is_empty())
    }

    /// Starts to reload the inventory file.
    fn reload(&mut self) {
        let Some(path) = &self.inventory_file else {
            return warn!("SIGHUP: there is no --inventory file to read again");
        };
        // Only one descriptor is reserved for the file.
        self.service.give_up_reload();
        match InventoryFile::open(path) {
            Ok(file) => self.service.reload(Box::new(file)),
            Err(error) => {
                error!(
                    "SIGHUP: {}; nothing of that file was taken",
                    escape_for_log(&error.to_string())
                )
            }
        }
    }
}

fn journal_error(error: journal::Error) -> String {
    error.to_string()
}

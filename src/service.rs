//! The work of a turn: reads lines, commits their changes to the journal, and sends replies.
//!
//! The reactor passes in the time, the sockets that are ready, and new connections. Nothing here
//! polls, reads a clock or names a socket, so a test can run the whole service on streams, a disk
//! and a clock of its own.
//!
//! A turn calls, in this order: [`Service::start_turn`], [`Service::set_ready`] for each connection
//! that is ready, [`Service::expire_due`], [`Service::serve_queue`], [`Service::finish_turn`],
//! [`Service::add_client`] for each new connection, and [`Service::maintain`].
//!
//! Architecture invariants: no mio type, no clock, no file. Nothing is sent before the commit of
//! the changes that it reports.

mod admission;
mod client;
mod clients;
mod crowd;
mod deadlines;
mod engine;
mod flush;
mod leaving;
mod maintenance;
mod memory;
mod observer;
mod reload;
mod scheduler;
mod serve;
mod throttle;
mod timers;
mod waiting;
mod watching;

use std::io::{self, Read, Write};

use crate::inventory::{Inventory, SessionId};
use crate::journal::{self, Storage};
use crate::limits::{COMPACT_MIN_BYTES, COMPACT_PIECE_BYTES, STOP_GRACE_MS};
use crate::store::{AddNamesError, State};
use crate::time::{Clock, MonotonicMs, Time, Zone, earlier};
use client::Phase;
use clients::Clients;
use crowd::Crowd;
use engine::Engine;
use flush::Flusher;
use leaving::Departures;
use memory::Memory;
use reload::Source;
use scheduler::Scheduler;
use throttle::{Kind, ThrottledLog};
use timers::Timers;
use watching::Watchers;

pub use admission::reject;
pub use crowd::CrowdLimits;
pub use observer::{Observer, Step};

/// The index of a connection. It is used again after the connection is removed.
pub type Key = usize;

/// The stream of a connection, non-blocking.
pub trait Stream: Read + Write {
    /// Shuts down our side. The peer reads the end after everything that was written.
    ///
    /// # Errors
    /// The connection is lost.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Sends something that is not part of the text to a half-closed peer. The host of a peer that
    /// is gone answers with a reset.
    fn probe(&mut self);
}

/// The readiness of a socket as reported by a poll. Only `read_closed` is certain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ready {
    pub readable: bool,
    pub writable: bool,
    /// Whether urgent data (telnet's Synch) has arrived.
    pub urgent: bool,
    /// Whether the peer has closed its side.
    pub read_closed: bool,
    /// Whether nothing can be written any more.
    pub write_closed: bool,
    pub error: bool,
}

/// The configuration of a service.
pub struct Config {
    pub max_clients: usize,
    pub crowd: CrowdLimits,
    /// Maximal number of bytes that all connections together may keep in buffers and lists.
    pub max_output_memory: u64,
    pub idle_timeout_ms: Option<u64>,
    pub stall_timeout_ms: u64,
    /// The sync policy as `ESTADO` shows it.
    pub fsync: String,
    pub compaction: Compaction,
    /// The number of clients that are answered together while there is nothing to sync first. At
    /// least 1.
    pub flush_batch: usize,
}

/// When the journal is compacted, and in which pieces.
#[derive(Clone, Copy, Debug)]
pub struct Compaction {
    /// The growth in bytes after which the journal is compacted.
    pub min_bytes: u64,
    /// The bytes of the snapshot that are written in a turn.
    pub piece_bytes: usize,
}

impl Default for Compaction {
    fn default() -> Compaction {
        Compaction { min_bytes: COMPACT_MIN_BYTES, piece_bytes: COMPACT_PIECE_BYTES }
    }
}

/// The clients and the state that they work on. `O` observes the steps of a turn in tests.
pub struct Service<T: Stream, S: Storage, O: Observer = ()> {
    clients: Clients<T>,
    scheduler: Scheduler,
    timers: Timers,
    flusher: Flusher,
    watchers: Watchers,
    departures: Departures,
    memory: Memory,
    crowd: Crowd,
    engine: Engine<S, O>,
    log: ThrottledLog,
    /// The latest end of the server, once it was asked to stop.
    stop_by: Option<MonotonicMs>,
    config: Config,
}

impl<T: Stream, S: Storage, O: Observer + Default> Service<T, S, O> {
    /// Returns a service without clients, for a state after [`State::catch_up`]. `clocks` are
    /// readings of the wall clock and the monotonic clock.
    pub fn new(
        mut state: State<S>,
        clock: Clock,
        clocks: (Time, MonotonicMs),
        zone: Zone,
        config: Config,
    ) -> Service<T, S, O> {
        state.store.compact_from(config.compaction.min_bytes);
        Service {
            clients: Clients::new(),
            scheduler: Scheduler::default(),
            timers: Timers::default(),
            flusher: Flusher::default(),
            watchers: Watchers::default(),
            departures: Departures::default(),
            memory: Memory::new(config.max_output_memory),
            crowd: Crowd::new(config.crowd),
            engine: Engine::new(state, clock, clocks, zone, O::default()),
            log: ThrottledLog::new(),
            stop_by: None,
            config,
        }
    }
}

/// The parts of a turn, and queries of the loop between turns.
impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Commits the events of the start, and prepares the journal for the first client.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn prepare(&mut self) -> Result<(), journal::Error> {
        self.engine.prepare()
    }

    /// Starts a turn at these readings of the wall clock and the monotonic clock. Everything in the
    /// turn happens at that time.
    pub fn start_turn(&mut self, wall: Time, instant: MonotonicMs) {
        self.engine.start_turn(wall, instant);
        self.scheduler.start_turn();
        self.memory.start_turn();
    }

    /// Records that a connection may be ready, and queues it. Nothing is served yet, because a
    /// connection reported later in this turn may be lost and must leave the waiting list before
    /// anything is granted. Events for closed connections are ignored.
    pub fn set_ready(&mut self, key: Key, session: SessionId, ready: Ready) {
        let Some(client) = self.clients.of_session(key, session) else { return };
        let is_lost = ready.error || ready.write_closed;
        if ready.readable || ready.read_closed || ready.error {
            client.conn.set_readable(ready.read_closed || ready.error);
        }
        if ready.urgent {
            client.conn.set_urgent();
        }
        // After a half-close, no read will report the reset, nor does one happen during a wait.
        if is_lost && (client.conn.is_eof() || client.session.is_waiting()) {
            return self.close(key);
        }
        if is_lost {
            client.conn.set_write_closed();
        } else if ready.writable {
            client.conn.set_writable();
        }
        let is_watcher = client.session.is_watching() && client.phase == Phase::Open;
        if is_watcher && ready == (Ready { writable: true, ..Ready::default() }) {
            // Watchers that can be sent more do not need a turn of their own, even if there are a
            // thousand.
            return self.watchers.notify_all();
        }
        self.scheduler.enqueue(&mut client.slot, key);
    }

    /// Ends reservations and waits that are due, each at its own time, so that a command at time t
    /// does not see any that ended by t. Returns whether the clock was set or its state has
    /// changed, so that an alarm for [`Service::next_end`] may be wrong.
    pub fn expire_due(&mut self) -> bool {
        self.engine.expire_due()
    }

    /// Returns whether further lines may join the commit of this turn, so that they share one sync.
    /// A sync takes as long as dozens of requests.
    pub fn may_gather(&self) -> bool {
        self.engine.may_gather()
    }

    /// Commits the events of the turn, sends the replies, and removes closed connections. Returns
    /// whether any were removed.
    ///
    /// # Errors
    /// The journal cannot be written. Nothing that depends on it was sent, and the caller must
    /// stop.
    pub fn finish_turn(&mut self) -> Result<bool, journal::Error> {
        self.commit()?;
        self.watchers.notify_news();
        self.engine.sync_if_due()?;
        self.flush_served();
        if self.watchers.unserved() > 0 {
            self.notify_watchers();
        }
        self.flush_lists();
        self.engine.maintenance.finish_turn();
        self.check_deadlines();
        Ok(self.reap())
    }

    /// Commits the events so far, with the outcomes of waits that they have caused.
    fn commit(&mut self) -> Result<(), journal::Error> {
        self.notify_waiters();
        if self.engine.commit(self.flusher.len())? {
            self.watchers.note_events();
        }
        Ok(())
    }

    /// Does maintenance that can wait until all clients are served.
    ///
    /// # Errors
    /// The journal can no longer be trusted, and the caller must stop.
    pub fn maintain(&mut self) -> Result<(), journal::Error> {
        let is_idle = !self.engine.store.is_compacting() && self.engine.batch.is_empty();
        if is_idle && self.close_readers_of_old_names() {
            self.engine.inventory.compact_ids();
        }
        self.engine.maintain(self.config.compaction.piece_bytes)
    }

    /// Closes clients that still read a list of names that were replaced by an earlier compaction
    /// of ids, if another compaction is due. Returns whether it may start. So there is at most one
    /// table of old names.
    fn close_readers_of_old_names(&mut self) -> bool {
        if !self.engine.inventory.wants_compaction() {
            return true;
        }
        let name_epoch = self.engine.inventory.names().texts().name_epoch();
        let old_readers: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| client.conn.list_name_epoch().is_some_and(|of| of < name_epoch))
            .map(|(key, _)| key)
            .collect();
        for key in &old_readers {
            self.close(*key);
            let reason = "it read a list too slowly, and the names in it have been replaced since";
            self.log.warn(self.engine.instant, Kind::Slow, reason);
        }
        old_readers.is_empty()
    }

    /// Closes a connection: it leaves the waiting list, its timer is cancelled, and its memory is
    /// freed. The next reap removes it and releases its reservations.
    fn close(&mut self, key: Key) {
        let client = &mut self.clients[key];
        if std::mem::replace(&mut client.phase, Phase::Dead) == Phase::Dead {
            return;
        }
        let session = client.session.id();
        self.timers.cancel(&mut client.timer, key);
        self.memory.forget(client, key);
        self.clients.stop_waiting(session);
        self.engine.leave_queue(session);
        self.departures.add(key);
    }

    /// Returns whether another turn is due at once.
    pub fn has_work(&self) -> bool {
        self.scheduler.has_work()
            || self.flusher.has_lists()
            || self.departures.has_work()
            || self.watchers.unserved() > 0
            || self.engine.has_work()
    }

    /// Returns when a turn is due even if nothing happens, ends of reservations aside.
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        earlier(earlier(self.timers.next(), self.stop_by), self.engine.next_deadline())
    }

    /// Returns the reading of the wall clock at which the next reservation or wait ends.
    pub fn next_end(&self) -> Option<Time> {
        self.engine.next_end()
    }

    /// Starts to stop the server: lines that have arrived are answered, then all connections are
    /// closed. Returns `false` if it was stopping already.
    pub fn stop(&mut self) -> bool {
        if self.stop_by.is_some() {
            return false;
        }
        self.stop_by = Some(self.engine.instant.plus_ms(STOP_GRACE_MS));
        self.engine.end_all_waits();
        for key in self.clients.keys() {
            let client = &mut self.clients[key];
            if client.phase == Phase::Linger {
                self.close(key);
            } else {
                client.conn.set_readable(false);
                self.scheduler.enqueue(&mut client.slot, key);
            }
        }
        true
    }

    /// Returns whether the server was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop_by.is_some()
    }

    /// Returns whether the server was asked to stop and has ended: all connections are closed and
    /// no listener is left, or the grace period is over.
    pub fn is_over(&self, no_listeners: bool) -> bool {
        let is_done = no_listeners && self.clients.is_empty() && !self.departures.has_leavers();
        self.stop_by.is_some_and(|by| is_done || by <= self.engine.instant)
    }

    /// Makes everything durable and seals the journal, after the last turn.
    ///
    /// # Errors
    /// The journal was deleted or cannot be written, or another server uses it.
    pub fn finish(&mut self) -> Result<(), journal::Error> {
        self.engine.finish()
    }
}

/// Access to the state, for the loop and for tests.
impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Returns the inventory.
    pub fn inventory(&self) -> &Inventory {
        &self.engine.inventory
    }

    /// Returns the observer.
    pub fn observer(&mut self) -> &mut O {
        &mut self.engine.observer
    }

    /// Returns the time of this turn.
    pub fn time(&self) -> Time {
        self.engine.now.wall
    }

    /// Returns whether the wall clock is far ahead and not followed yet.
    pub fn is_clock_unconfirmed(&self) -> bool {
        self.engine.is_clock_unconfirmed()
    }

    /// Confirms the wall clock. It is followed from the next turn on.
    pub fn confirm_clock(&mut self) {
        self.engine.confirm_clock();
    }

    /// Adds missing names, all in one turn, and returns their number.
    ///
    /// # Errors
    /// They exceed `--max-resources`. Then none was added.
    pub fn add_names(&mut self, names: Vec<String>) -> Result<usize, AddNamesError> {
        self.engine.add_names(names)
    }

    /// Starts to reload an inventory file, which takes several turns. A reload in progress is
    /// abandoned.
    pub fn reload(&mut self, file: Box<dyn Source>) {
        self.engine.reload(file);
    }

    /// Abandons the reload in progress, if there is one, and closes its file.
    pub fn abandon_reload(&mut self) {
        self.engine.abandon_reload();
    }

    /// Sets the maximal work per turn on due work, for tests.
    pub fn set_backlog_work(&mut self, piece: u64) {
        self.engine.inventory.set_backlog_work(piece);
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

//! The loop: one thread, one poll, everything in it.
//!
//! One turn, always in this order:
//!
//! 1. poll, without waiting if there is work, else until the next deadline;
//! 2. read the clock, once;
//! 3. mark what is ready and queue it, no work yet;
//! 4. end what is due, so that a command at *t* sees ends ≤ *t* as gone;
//! 5. serve each queued connection within its budget: read, lines, decide, apply, reply;
//!    then tell those who wait what has become of it;
//! 6. commit: one write and one sync for the whole turn;
//! 7. flush replies, and after them notices: nobody, not even a reader, learns what could still vanish;
//! 8. reap what is closed;
//! 9. accept, last, so that no event of this turn can be for a newcomer;
//!    then a piece of a compaction, if one is due, and the alarm for the next end.
//!
//! Architecture invariants: no thread, no lock, no busy wait, no mio type
//! outside this folder. A connection's interest follows from its state;
//! nothing but `Conn` remembers readiness.

mod client;
mod net;
mod wake;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::{debug, error, info, warn};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::clock::{Clock, Tick, Time, Zone, tick};
use crate::commands::parse::Moment;
use crate::commands::{self, Desk, Figures, Session};
use crate::conn::Conn;
use crate::inventory::event::Batch;
use crate::inventory::queue::Outcome;
use crate::inventory::{Inventory, SessionId};
use crate::journal::{self, DiskStorage};
use crate::limits::{
    ACCEPT_BUDGET, ACCEPT_RETRY_MS, COMPACT_PIECE_BYTES, LINGER_MS, LIST_ROWS_MAX, LISTENERS_MAX,
    LOG_QUIET_MS, NUDGE_MS, READ_BUDGET_BYTES, REFUSED_MAX, STOP_GRACE_MS, WORK_BUDGET,
};
use crate::store::{self, Store};
use client::{Client, Phase, bury, converse, enqueue, has_more, send};
use net::{Accepted, Listener};
use wake::{Alarm, Signal, Signals};

pub use net::bind;
pub use wake::outlive_file_size_limit;

/// What the loop is told at the start.
pub struct Config {
    pub max_clients: usize,
    pub idle_timeout_ms: Option<u64>,
    pub stall_timeout_ms: u64,
    /// Read again on SIGHUP.
    pub inventory_file: Option<PathBuf>,
    /// As `ESTADO` shows it.
    pub fsync: String,
}

/// Connections at the most, as the tokens have it.
pub const CLIENTS_MAX: usize = 1 << KEY_BITS;
const KEY_BITS: u32 = 20;

const SIGNALS: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);
const LISTENERS: usize = usize::MAX - 1 - LISTENERS_MAX;

type Key = usize;

/// Key and generation: an event for a connection that is gone must not be
/// taken for the one that has its place now.
fn token(key: Key, session: SessionId) -> Token {
    Token((session.0 as usize) << KEY_BITS | key)
}

/// The server.
pub struct Reactor {
    poll: Poll,
    listeners: Vec<Listener>,
    signals: Signals,
    alarm: Alarm,
    clients: Slab<Client>,
    run_queue: VecDeque<Key>,
    /// Who has cost a lot the last time: one of them a turn, after the others.
    slow_queue: VecDeque<Key>,
    /// Served in this turn: to be flushed after the commit.
    served: Vec<Key>,
    dead: Vec<Key>,
    /// Connections that are sent a list which keeps rows in memory.
    listing: Vec<Key>,
    /// Connections that watch.
    watching: Vec<Key>,
    /// Connections that wait, to find them when they are granted.
    waiting: BTreeMap<SessionId, Key>,
    /// Stalls, idleness and lingering, one entry a connection at the most.
    deadlines: BTreeSet<(Tick, Key)>,
    refused: usize,
    last_session: u64,
    accept_again: Option<Tick>,
    sync_by: Option<Tick>,
    stopping: Option<Tick>,
    /// Until then the same is not logged again, for what strangers provoke.
    foreign_quiet: Tick,
    full_quiet: Tick,
    slow_quiet: Tick,
    started: Tick,
    now: Tick,
    scratch: Vec<u8>,
    inventory: Inventory,
    batch: Batch,
    store: Store<DiskStorage>,
    clock: Clock,
    zone: Zone,
    config: Config,
}

/// What the loop is made of.
pub struct Parts {
    pub listeners: Vec<std::net::TcpListener>,
    pub inventory: Inventory,
    pub batch: Batch,
    pub store: Store<DiskStorage>,
    pub clock: Clock,
    pub zone: Zone,
    pub config: Config,
}

impl Reactor {
    /// Registers everything with a new poll.
    ///
    /// # Errors
    /// The system has no descriptors or memory for it.
    pub fn new(parts: Parts) -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let signals = Signals::register(poll.registry(), SIGNALS)?;
        let alarm = Alarm::register(poll.registry(), ALARM)?;
        let mut listeners = Vec::new();
        for (at, socket) in parts.listeners.into_iter().enumerate() {
            listeners.push(Listener::register(socket, poll.registry(), Token(LISTENERS + at))?);
        }
        let now = tick();
        Ok(Reactor {
            poll,
            listeners,
            signals,
            alarm,
            clients: Slab::new(),
            run_queue: VecDeque::new(),
            slow_queue: VecDeque::new(),
            served: Vec::new(),
            dead: Vec::new(),
            listing: Vec::new(),
            watching: Vec::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            refused: 0,
            last_session: 0,
            accept_again: None,
            sync_by: None,
            stopping: None,
            foreign_quiet: now,
            full_quiet: now,
            slow_quiet: now,
            started: now,
            now,
            scratch: vec![0; READ_BUDGET_BYTES],
            inventory: parts.inventory,
            batch: parts.batch,
            store: parts.store,
            clock: parts.clock,
            zone: parts.zone,
            config: parts.config,
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
        self.store.fill_tail().map_err(journal_error)?;
        while !self.is_over() {
            match self.poll.poll(&mut events, self.patience()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(format!("poll: {error}")),
            }
            self.turn(&events).map_err(journal_error)?;
        }
        self.store.commit(&mut self.batch).map_err(journal_error)?;
        self.store.sync().map_err(journal_error)
    }

    fn turn(&mut self, events: &Events) -> Result<(), journal::Error> {
        self.now = tick();
        let now = self.clock.now();
        let signalled = self.mark(events, now);
        self.inventory.advance(now, &self.zone, &mut self.batch);
        if signalled {
            self.heed_signals(now);
        }
        self.serve_queue(now);
        self.tell_waiters(now);
        self.commit()?;
        self.flush_served();
        self.check_deadlines();
        self.reap(now);
        self.accept();
        self.maintain(now)?;
        self.set_alarm();
        Ok(())
    }

    /// How long the poll may wait: not at all if there is work, else until the
    /// next deadline on the monotonic clock; for ever if there is none. Ends
    /// of reservations are the alarm's.
    fn patience(&self) -> Option<Duration> {
        let has_work = !self.run_queue.is_empty()
            || !self.slow_queue.is_empty()
            || !self.batch.is_empty()
            || self.inventory.has_outcomes()
            || self.store.wants_compaction(&self.inventory)
            || (self.accept_again.is_none() && self.listeners.iter().any(Listener::is_ready));
        if has_work {
            return Some(Duration::ZERO);
        }
        let first = self.deadlines.first().map(|(when, _)| *when);
        let all = [first, self.accept_again, self.sync_by, self.stopping];
        let next = all.into_iter().flatten().min()?;
        Some(tick().until(next))
    }

    /// Returns whether there was a signal.
    fn mark(&mut self, events: &Events, now: Time) -> bool {
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
                Token(at) => {
                    let key = at & (CLIENTS_MAX - 1);
                    let Some(client) = self.clients.get_mut(key) else { continue };
                    if token(key, client.session.id()) != event.token() {
                        continue;
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        client.conn.set_readable(event.is_read_closed() || event.is_error());
                    }
                    // After a half-close a reset shows in nothing but this, and
                    // who waits must be out of the queue before it is granted
                    // anything.
                    let listens = client.conn.is_eof() || client.session.is_waiting();
                    if listens && (event.is_error() || event.is_write_closed()) {
                        self.inventory.leave_queue(client.session.id(), now);
                        bury(client, key, &mut self.dead);
                        continue;
                    }
                    if event.is_writable() || event.is_write_closed() || event.is_error() {
                        client.conn.set_writable();
                    }
                    enqueue(&mut self.run_queue, client, key);
                }
            }
        }
        signalled
    }

    /// After the ends, for what a reload adds is stamped with this turn's time.
    fn heed_signals(&mut self, now: Time) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Stop => self.stop(),
                Signal::Reload => self.reload(now),
            }
        }
    }

    /// Serves everything that is queued now; what is queued meanwhile is the
    /// next turn's.
    fn serve_queue(&mut self, now: Time) {
        for _ in 0..self.run_queue.len() {
            let Some(key) = self.run_queue.pop_front() else { break };
            match self.clients.get(key) {
                Some(client) if client.costly => self.slow_queue.push_back(key),
                _ => self.serve_one(key, now),
            }
        }
        if let Some(key) = self.slow_queue.pop_front() {
            self.serve_one(key, now);
        }
    }

    fn serve_one(&mut self, key: Key, now: Time) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.queued = false;
        match client.phase {
            Phase::Open => self.serve(key, now),
            Phase::Closing => {}
            Phase::Linger => self.discard(key),
            Phase::Dead => return,
        }
        self.served.push(key);
    }

    /// One connection's share of a turn: one read, and its lines.
    fn serve(&mut self, key: Key, now: Time) {
        let clients = self.clients.len() - self.refused;
        let uptime_s = (self.now.0 - self.started.0) / 1000;
        let (config, clock, store) = (&self.config, &self.clock, &self.store);
        let figures = || Figures {
            clients,
            max_clients: config.max_clients,
            uptime_s,
            clock_behind_ms: clock.behind_ms(),
            fsync: config.fsync.clone(),
            journal_bytes: store.journal_bytes(),
        };
        let client = &mut self.clients[key];
        if client.conn.wants_read() {
            match client.conn.fill(&mut self.scratch) {
                Ok(0) => {}
                Ok(_) => client.heard = self.now,
                Err(error) => {
                    debug!("a client is gone: {error}");
                    self.inventory.leave_queue(client.session.id(), now);
                    return bury(client, key, &mut self.dead);
                }
            }
        }
        let mut desk = Desk {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: store.history(),
            moment: Moment { now, zone: &self.zone },
            figures: &figures,
        };
        let was_watching = client.session.is_watching();
        let lists_before = client.conn.rows();
        desk.inventory.take_work();
        let foreign = converse(client, &mut desk);
        client.costly = self.inventory.take_work() > WORK_BUDGET;
        if client.session.is_watching() && !was_watching {
            self.watching.push(key);
        }
        if client.conn.rows() > lists_before {
            self.bound_lists(key);
        }
        if foreign && self.now >= self.foreign_quiet {
            self.foreign_quiet = self.now.plus_ms(LOG_QUIET_MS);
            warn!(
                "closed a connection that speaks another protocol (HTTP, TLS or mail); more of these are not logged for a minute"
            );
        }
        let client = &mut self.clients[key];
        if client.session.is_waiting() {
            self.waiting.insert(client.session.id(), key);
            if client.conn.take_interrupt() {
                self.inventory.interrupt(client.session.id(), now);
            }
            if self.stopping.is_some() {
                self.inventory.end_all_waits();
            }
        }
        if client.conn.is_eof() && client.due.is_none() && self.stopping.is_none() {
            self.nudge(key);
        }
        self.end_in_turn(key, now);
        let client = &mut self.clients[key];
        let is_done = !client.session.is_waiting() && !has_more(client);
        if client.phase == Phase::Open && self.stopping.is_some() && is_done {
            client.phase = Phase::Closing;
        }
        if client.phase == Phase::Open && client.conn.may_run() && has_more(client) {
            enqueue(&mut self.run_queue, client, key);
        }
    }

    /// A connection that has ended, and is owed nothing, releases what it held
    /// in its turn, so that the next one in this very turn may have it; one
    /// that is still to be told something does at the reap.
    fn end_in_turn(&mut self, key: Key, now: Time) {
        let client = &mut self.clients[key];
        if client.phase == Phase::Closing && client.conn.is_eof() && client.conn.is_flushed() {
            let moment = Moment { now, zone: &self.zone };
            let mut desk = side_desk(&mut self.inventory, &mut self.batch, &self.store, moment);
            commands::leave(&client.session, &mut desk);
            bury(client, key, &mut self.dead);
        }
    }

    /// Writes something to a half-closed connection that waits, or holds
    /// something while it watches: one that is gone answers with a reset.
    fn nudge(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let session = client.session.id();
        client.due = None;
        if let Some(place) = self.inventory.waiting_place(session) {
            commands::tell_place(&client.session, place, client.conn.out());
            self.served.push(key);
        } else if client.session.is_watching() && self.inventory.has_bound(session) {
            net::probe(client.conn.stream());
            self.served.push(key);
        } else {
            return;
        }
        client.due = Some(self.now.plus_ms(NUDGE_MS));
    }

    /// Tells those who wait what has become of it.
    fn tell_waiters(&mut self, now: Time) {
        for (session, outcome) in self.inventory.take_outcomes() {
            let Some(key) = self.waiting.get(&session).copied() else { continue };
            let Some(client) = self.clients.get_mut(key) else { continue };
            // Who does not read is spared the notices, not the reply.
            if matches!(outcome, Outcome::Place(_)) && !client.conn.may_run() {
                continue;
            }
            let moment = Moment { now, zone: &self.zone };
            let desk = side_desk(&mut self.inventory, &mut self.batch, &self.store, moment);
            commands::resolve(&mut client.session, &outcome, &desk, client.conn.out());
            self.served.push(key);
            if !client.session.is_waiting() {
                self.waiting.remove(&session);
                client.due = None;
                // Its next lines were held back.
                enqueue(&mut self.run_queue, client, key);
            }
        }
    }

    /// Keeps the rows of lists under way within bounds: over them the reader
    /// that has taken nothing for longest is closed.
    fn bound_lists(&mut self, newest: Key) {
        let clients = &self.clients;
        self.listing.retain(|key| {
            *key != newest && clients.get(*key).is_some_and(|client| client.conn.rows() > 0)
        });
        self.listing.push(newest);
        let mut rows: usize = self.listing.iter().map(|key| clients[*key].conn.rows()).sum();
        while rows > LIST_ROWS_MAX {
            let others = self.listing.iter().filter(|key| **key != newest);
            let slowest =
                others.copied().min_by_key(|key| self.clients[*key].blocked.unwrap_or(self.now));
            let Some(slowest) = slowest else { return };
            rows -= self.clients[slowest].conn.rows();
            self.listing.retain(|key| *key != slowest);
            self.note_slow("reads a long list too slowly");
            bury(&mut self.clients[slowest], slowest, &mut self.dead);
        }
    }

    /// Reads what a peer still sends after the last reply, to throw it away.
    fn discard(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let read =
            if client.conn.wants_read() { client.conn.fill(&mut self.scratch) } else { Ok(0) };
        client.conn.drop_input();
        // Our side is shut: an answer to a telnet option cannot be sent any more.
        client.conn.out().clear();
        if read.is_err() || client.conn.is_eof() {
            bury(client, key, &mut self.dead);
        } else if client.conn.wants_read() {
            enqueue(&mut self.run_queue, client, key);
        }
    }

    fn commit(&mut self) -> Result<(), journal::Error> {
        if !self.batch.is_empty() {
            self.store.commit(&mut self.batch)?;
            self.served.extend(&self.watching);
        }
        if self.sync_by.is_some_and(|by| by <= self.now) {
            self.store.sync()?;
            self.sync_by = None;
        }
        if self.sync_by.is_none() {
            self.sync_by = self.store.sync_within_ms().map(|ms| self.now.plus_ms(ms));
        }
        Ok(())
    }

    fn flush_served(&mut self) {
        let mut served = std::mem::take(&mut self.served);
        for key in served.drain(..) {
            self.flush(key);
        }
        self.served = served;
    }

    /// Sends what a connection is owed and sees what is next for it.
    fn flush(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.phase == Phase::Dead {
            return;
        }
        match send(client, self.store.history(), &self.zone) {
            Ok(_) if client.conn.is_flushed() => {
                if client.blocked.take().is_some() {
                    client.heard = self.now;
                }
            }
            Ok(0) => client.blocked = client.blocked.or(Some(self.now)),
            Ok(_) => client.blocked = Some(self.now),
            Err(error) => {
                debug!("a client is gone: {error}");
                return bury(client, key, &mut self.dead);
            }
        }
        if client.conn.is_flushed() && client.phase == Phase::Closing {
            let at_once = client.conn.is_eof() || self.stopping.is_some();
            if at_once || client.conn.stream().shutdown(std::net::Shutdown::Write).is_err() {
                return bury(client, key, &mut self.dead);
            }
            client.phase = Phase::Linger;
            client.due = Some(self.now.plus_ms(LINGER_MS));
            client.conn.drop_input();
        }
        client.conn.tidy();
        let goes_on = client.phase == Phase::Open && client.conn.is_drained() && has_more(client);
        let tells = client.phase == Phase::Open
            && client.conn.is_drained()
            && client.session.is_behind(self.store.history());
        let lingers = client.phase == Phase::Linger && client.conn.wants_read();
        if goes_on || tells || lingers || client.conn.wants_write() {
            enqueue(&mut self.run_queue, client, key);
        }
        self.arm(key);
    }

    /// When a connection is to be looked at even if nothing happens.
    fn deadline(&self, client: &Client) -> Option<Tick> {
        let stall = client.blocked.map(|since| since.plus_ms(self.config.stall_timeout_ms));
        // Who still reads a reply is not idle; for who reads none of it there is the stall.
        let may_idle = client.phase == Phase::Open && client.blocked.is_none();
        let idle = self.config.idle_timeout_ms.filter(|_| may_idle);
        let idle = idle.map(|ms| client.heard.plus_ms(ms));
        [stall, client.due, idle].into_iter().flatten().min()
    }

    /// Sees that the connection's deadline is in the set, or an earlier one:
    /// one that moves away is looked at when the old one fires.
    fn arm(&mut self, key: Key) {
        let client = &self.clients[key];
        let Some(deadline) = self.deadline(client) else { return };
        match client.armed {
            Some(armed) if armed <= deadline => return,
            Some(armed) => self.deadlines.remove(&(armed, key)),
            None => false,
        };
        self.clients[key].armed = Some(deadline);
        self.deadlines.insert((deadline, key));
    }

    fn check_deadlines(&mut self) {
        while let Some((when, key)) = self.deadlines.first().copied() {
            if when > self.now {
                return;
            }
            self.deadlines.pop_first();
            self.clients[key].armed = None;
            match self.deadline(&self.clients[key]) {
                Some(deadline) if deadline <= self.now => self.give_up_or_nudge(key),
                _ => self.arm(key),
            }
        }
    }

    fn give_up_or_nudge(&mut self, key: Key) {
        let client = &self.clients[key];
        let is_open = client.phase == Phase::Open;
        if is_open && client.due.is_some_and(|due| due <= self.now) {
            self.nudge(key);
            return self.flush_served();
        }
        self.give_up(key);
    }

    /// A deadline has passed. Who holds something by the connection itself
    /// is not idle, however quiet.
    fn give_up(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let is_idle = client.phase == Phase::Open && client.conn.is_flushed();
        let holds = client.session.is_watching()
            || client.session.is_waiting()
            || self.inventory.has_bound(client.session.id());
        if is_idle && holds {
            client.heard = self.now;
            return self.arm(key);
        }
        match is_idle {
            true => debug!("closed a client that was idle"),
            false if client.phase == Phase::Linger => {}
            false => self.note_slow("took none of its output"),
        }
        bury(&mut self.clients[key], key, &mut self.dead);
    }

    fn reap(&mut self, now: Time) {
        let dead = std::mem::take(&mut self.dead);
        // First all of them leave the queue, so that none is granted what
        // another of them releases.
        for key in &dead {
            let session = self.clients[*key].session.id();
            if self.waiting.remove(&session).is_some() {
                self.inventory.leave_queue(session, now);
            }
        }
        for key in dead {
            let client = self.clients.remove(key);
            if let Some(armed) = client.armed {
                self.deadlines.remove(&(armed, key));
            }
            self.refused -= usize::from(client.refused);
            self.listing.retain(|listing| *listing != key);
            self.watching.retain(|watching| *watching != key);
            let moment = Moment { now, zone: &self.zone };
            let mut desk = side_desk(&mut self.inventory, &mut self.batch, &self.store, moment);
            commands::leave(&client.session, &mut desk);
            // A descriptor is free again.
            self.accept_again = None;
        }
    }

    fn accept(&mut self) {
        if self.accept_again.is_some_and(|when| when > self.now) {
            return;
        }
        self.accept_again = None;
        for at in 0..self.listeners.len() {
            for _ in 0..ACCEPT_BUDGET {
                match self.listeners[at].accept() {
                    Accepted::Client(stream) => self.welcome(stream),
                    Accepted::Nobody => break,
                    Accepted::OutOfDescriptors => {
                        self.note_full("no descriptors are left");
                        self.accept_again = Some(self.now.plus_ms(ACCEPT_RETRY_MS));
                        break;
                    }
                    Accepted::Refused => self.note_full("no descriptors are left"),
                }
            }
        }
        if self.stopping.is_some() {
            let waits = self.accept_again.is_none();
            self.listeners.retain(|listener| waits && listener.is_ready());
        }
    }

    fn welcome(&mut self, stream: TcpStream) {
        let refused = self.clients.len() - self.refused >= self.config.max_clients;
        if refused {
            self.note_full("--max-clients is reached");
            if self.refused >= REFUSED_MAX {
                return net::turn_away(stream);
            }
        }
        if self.clients.len() == self.clients.capacity() {
            // Doubling would leave up to half of the table empty.
            self.clients.reserve_exact(self.clients.len() / 8 + 16);
        }
        self.last_session += 1;
        let session = SessionId(self.last_session);
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let client = entry.insert(Client {
            conn: Conn::new(stream),
            session: Session::new(session),
            phase: Phase::Open,
            queued: false,
            costly: false,
            unfinished: false,
            refused,
            heard: self.now,
            blocked: None,
            armed: None,
            due: None,
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = token(key, session);
        if let Err(error) = self.poll.registry().register(client.conn.stream(), token, interest) {
            error!("a client could not be registered: {error}");
            self.clients.remove(key);
            return;
        }
        if refused {
            self.refused += 1;
            client.phase = Phase::Closing;
            commands::no_room(client.conn.out());
            return self.flush(key);
        }
        // Its first line is mostly there already.
        enqueue(&mut self.run_queue, client, key);
        self.arm(key);
    }

    fn note_full(&mut self, why: &str) {
        if self.now >= self.full_quiet {
            self.full_quiet = self.now.plus_ms(LOG_QUIET_MS);
            warn!("clients are turned away: {why}; this is not logged again for a minute");
        }
    }

    fn note_slow(&mut self, why: &str) {
        if self.now >= self.slow_quiet {
            self.slow_quiet = self.now.plus_ms(LOG_QUIET_MS);
            warn!("closed a client that {why}; this is not logged again for a minute");
        }
    }

    /// What can wait until everybody is served.
    fn maintain(&mut self, now: Time) -> Result<(), journal::Error> {
        if !self.store.is_compacting() && self.batch.is_empty() {
            self.inventory.tidy();
        }
        if self.batch.is_empty() && self.store.wants_compaction(&self.inventory) {
            if let Some(error) = self.store.compact(&self.inventory, now, COMPACT_PIECE_BYTES)? {
                warn!("the journal was not compacted: {error}");
            } else if !self.store.is_compacting() {
                info!("the journal was compacted to {} bytes", self.store.journal_bytes());
            }
        }
        Ok(())
    }

    fn set_alarm(&mut self) {
        if let Err(error) = self.alarm.set(self.inventory.next_deadline()) {
            error!("the alarm could not be set: {error}");
        }
    }

    /// Answers what was received, then ends.
    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        info!("stopping: answering what was received; a second signal ends at once");
        self.stopping = Some(self.now.plus_ms(STOP_GRACE_MS));
        // Who has connected by now has perhaps said something, too.
        self.listeners.iter_mut().for_each(Listener::set_ready);
        self.inventory.end_all_waits();
        for (key, client) in &mut self.clients {
            if client.phase == Phase::Linger {
                bury(client, key, &mut self.dead);
                continue;
            }
            client.conn.set_readable(false);
            enqueue(&mut self.run_queue, client, key);
        }
    }

    fn is_over(&self) -> bool {
        let is_done = self.clients.is_empty() && self.listeners.is_empty();
        self.stopping.is_some_and(|by| is_done || by <= self.now)
    }

    /// Takes up new names of the inventory file.
    fn reload(&mut self, now: Time) {
        let Some(path) = &self.config.inventory_file else {
            return warn!("SIGHUP: there is no --inventory file to read again");
        };
        let names = store::read_inventory_file(path);
        let added =
            names.and_then(|names| store::ensure(&mut self.inventory, names, now, &mut self.batch));
        // Somebody may wait for what is new.
        self.inventory.settle(now, &self.zone, &mut self.batch);
        match added {
            Ok(count) => info!("SIGHUP: {count} new resources from {}", path.display()),
            Err(error) => error!("SIGHUP: {error}; nothing of that file was taken"),
        }
    }
}

/// A desk for what is done for a connection beside its lines: nobody asks
/// for figures there.
fn side_desk<'a>(
    inventory: &'a mut Inventory,
    batch: &'a mut Batch,
    store: &'a Store<DiskStorage>,
    moment: Moment<'a>,
) -> Desk<'a> {
    Desk { inventory, batch, history: store.history(), moment, figures: &Figures::default }
}

fn journal_error(error: journal::Error) -> String {
    error.to_string()
}

//! What a turn of the loop does for its clients: lines in, changes to the
//! journal, replies out. The reactor says what time it is, which sockets are
//! ready and who has come; nothing here polls, reads a clock or names a
//! socket, so that a test can run it on streams, a disk and a clock of its own.
//!
//! A turn is, in this order: [`Service::start_turn`], [`Service::set_ready`] for each
//! that is ready, [`Service::expire_due`], [`Service::serve_queue`], [`Service::finish_turn`], then
//! [`Service::add_client`] for each that has come, and [`Service::maintain`].
//!
//! Architecture invariants: no mio type, no clock read, no file. Nothing is
//! flushed before the commit of what it tells. Streams and disk are parameters, and
//! the server's program has one kind of each.

mod client;
mod crowd;
mod deadlines;
mod flush;
mod leaving;
mod memory;
mod reload;
mod serve;
mod trace;
mod waiting;
mod watching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};

use log::{error, info, warn};
use slab::Slab;

use crate::commands::parse::RequestTime;
use crate::commands::words::escape_for_log;
use crate::commands::{self, CommandContext, NoRoom, Notices, Session, Stats};
use crate::conn::{BufferPool, Conn};
use crate::inventory::event::Batch;
use crate::inventory::{Deadlines, Inventory, SessionId};
use crate::journal::{self, Storage};
use crate::limits::{
    BATCH_EVENTS, CLOCK_CHECK_MS, CLOCK_CONFIRM_MS, CLOCK_DOUBTFUL_MS, CLOCK_FAR_MS, COMPACT_AFTER,
    COMPACT_MIN_BYTES, COMPACT_PIECE_BYTES, DIRECTORY_CHECK_MS, KEEP_ALIVES_ENDED, LOG_QUIET_MS,
    OLD_FILE_KEPT_MS, READ_BUDGET_BYTES, REFUSED_MAX, SEAL_AFTER_MS, STOP_GRACE_MS,
    WRITE_BUDGET_BYTES,
};
use crate::store::{self, State, Store};
use crate::time::{Clock, ClockReading, MonotonicMs, Round, Time, Zone, earlier};
use client::{Client, Phase, enqueue, mark_dead};
use crowd::Crowd;
use leaving::Leaver;
use memory::Memory;
use reload::Reload;
use trace::Trace;

pub use crowd::{CrowdLimits, Peer};
pub use trace::Step;

/// Where a connection is kept; given again once it is reaped.
pub type Key = usize;

/// What a connection's stream can do besides reading and writing without
/// blocking.
pub trait Stream: Read + Write {
    /// Ends our side: after what was written the peer reads the end.
    ///
    /// # Errors
    /// The connection is gone.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Sends what is not part of the text, to a half-closed peer to whom there
    /// is nothing to say: one that has closed altogether answers with a reset.
    fn probe(&mut self);
}

/// What a poll has said of a socket. All but `read_closed` are hints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ready {
    pub readable: bool,
    pub writable: bool,
    /// Whether urgent data (telnet's Synch) has arrived.
    pub urgent: bool,
    /// The peer has closed its side.
    pub read_closed: bool,
    /// Nothing can be written any more.
    pub write_closed: bool,
    pub error: bool,
}

/// What the service is told at the start.
pub struct Config {
    pub max_clients: usize,
    pub crowd: CrowdLimits,
    /// Maximal number of bytes that all connections together may keep in buffers and lists.
    pub max_output_memory: u64,
    pub idle_timeout_ms: Option<u64>,
    pub stall_timeout_ms: u64,
    /// As `ESTADO` shows it.
    pub fsync: String,
    pub compaction: Compaction,
    /// Connections that are answered together while no sync is to be waited for, at least 1.
    pub share_clients: usize,
}

/// When the journal is compacted, and how much of it in a turn.
#[derive(Clone, Copy, Debug)]
pub struct Compaction {
    /// No journal is compacted that has grown by less.
    pub min_bytes: u64,
    /// Bytes of the snapshot that are written in a turn.
    pub piece_bytes: usize,
}

impl Default for Compaction {
    fn default() -> Compaction {
        Compaction { min_bytes: COMPACT_MIN_BYTES, piece_bytes: COMPACT_PIECE_BYTES }
    }
}

/// The clients and what they work on.
pub struct Service<T: Stream, S: Storage> {
    clients: Slab<Client<T>>,
    run_queue: VecDeque<Key>,
    /// Newcomers: after the others, and no more in a turn than it has time for.
    new_queue: VecDeque<Key>,
    /// Who has cost a lot of late: likewise, and last.
    slow_queue: VecDeque<Key>,
    /// Clients whose next line is known to be costly, served last.
    costly_queue: VecDeque<Key>,
    /// Whether the last turn ended before these three queues got their share.
    rest_is_owed: bool,
    /// Work of this turn so far, or of one of these three queues.
    turn_work: u64,
    /// Served and not answered yet: to be flushed after the next commit.
    served: Vec<Key>,
    /// Clients in the middle of a list that can be sent more of it. They share the bytes that a
    /// turn may send.
    listed: VecDeque<Key>,
    /// How many have had something to say in this turn.
    queued_in_turn: usize,
    /// Events and replies of this turn.
    done_in_turn: usize,
    /// Something was committed in this turn: those who watch are to be told.
    has_news: bool,
    /// What each of them is sent in this turn, in bytes, where there is more.
    write_share: usize,
    /// Connections found closed since the last reap.
    dead: Vec<Key>,
    /// Closed connections that are not removed yet.
    dying: VecDeque<Key>,
    /// Closed connections whose reservations are not all released yet.
    leavers: VecDeque<Leaver>,
    memory: Memory,
    crowd: Crowd,
    /// Watching connections, the least recently served first.
    watching: VecDeque<Key>,
    /// How many of them, from the first on, may have notices to be sent.
    untold: usize,
    /// How many of them are left in this round, which finds the oldest event still needed.
    lag_round: usize,
    /// The oldest event of this round not yet sent to a watcher that reads its output.
    lag_from: Option<u64>,
    notices: Notices,
    /// Connections that wait, to find them when they are granted.
    waiting: BTreeMap<SessionId, Key>,
    /// Stalls, idleness and lingering, one entry a connection at the most.
    deadlines: BTreeSet<(MonotonicMs, Key)>,
    refused: usize,
    last_session: u64,
    sync_by: Option<MonotonicMs>,
    /// The time of the last commit.
    committed: MonotonicMs,
    stopping: Option<MonotonicMs>,
    /// Until then the same is not logged again, for what strangers provoke.
    foreign_quiet: MonotonicMs,
    full_quiet: MonotonicMs,
    slow_quiet: MonotonicMs,
    started: MonotonicMs,
    /// The moment of this turn.
    now: ClockReading,
    tick: MonotonicMs,
    scratch: Vec<u8>,
    spare: BufferPool,
    inventory: Inventory,
    batch: Batch,
    store: Store<S>,
    /// The reload of the inventory file in progress.
    reload: Option<Reload>,
    /// What was done for clients since the last piece of a compaction.
    done_since_piece: usize,
    /// Until then the file that the last one has left behind stays whole.
    old_file_until: MonotonicMs,
    /// When the names in the data directory are checked next.
    check_directory_at: MonotonicMs,
    clock: Clock,
    /// That it is, was logged.
    clock_doubtful: bool,
    /// Whether the warning that the wall clock is far ahead and not confirmed has been logged.
    clock_unconfirmed: bool,
    zone: Zone,
    config: Config,
    trace: Trace,
}

impl<T: Stream, S: Storage> Service<T, S> {
    /// A service without clients, over a state that is settled. `wall` and
    /// `tick` are what the clocks say.
    pub fn new(
        mut state: State<S>,
        mut clock: Clock,
        (wall, tick): (Time, MonotonicMs),
        zone: Zone,
        config: Config,
    ) -> Service<T, S> {
        let now = clock.observe(wall, tick);
        state.store.compact_from(config.compaction.min_bytes);
        state.inventory.set_monotonic(tick);
        state.inventory.restart_keep_alives();
        Service {
            clients: Slab::new(),
            run_queue: VecDeque::new(),
            new_queue: VecDeque::new(),
            slow_queue: VecDeque::new(),
            costly_queue: VecDeque::new(),
            rest_is_owed: false,
            turn_work: 0,
            served: Vec::new(),
            listed: VecDeque::new(),
            queued_in_turn: 0,
            done_in_turn: 0,
            has_news: false,
            write_share: WRITE_BUDGET_BYTES,
            dead: Vec::new(),
            dying: VecDeque::new(),
            leavers: VecDeque::new(),
            memory: Memory::new(config.max_output_memory),
            crowd: Crowd::new(config.crowd),
            watching: VecDeque::new(),
            untold: 0,
            lag_round: 0,
            lag_from: None,
            notices: Notices::default(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            refused: 0,
            last_session: 0,
            sync_by: None,
            committed: tick,
            stopping: None,
            foreign_quiet: tick,
            full_quiet: tick,
            slow_quiet: tick,
            started: tick,
            now,
            tick,
            scratch: vec![0; READ_BUDGET_BYTES],
            spare: BufferPool::default(),
            inventory: state.inventory,
            batch: state.batch,
            store: state.store,
            reload: None,
            done_since_piece: 0,
            old_file_until: tick,
            check_directory_at: tick,
            clock,
            clock_doubtful: false,
            clock_unconfirmed: false,
            zone,
            config,
            trace: Trace::default(),
        }
    }

    /// What is reserved.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// What was done since the last call, in order; nothing at the first call,
    /// with which the following begins.
    pub fn take_steps(&mut self) -> Vec<Step> {
        self.trace.take()
    }

    /// Sets the maximal work per turn on due work, for tests.
    pub fn set_backlog_work(&mut self, piece: u64) {
        self.inventory.set_backlog_work(piece);
    }

    /// Commits what the start has settled, and fills the journal's spare tail before the first
    /// client has to wait for it: for a new journal all of it is one sync.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn prepare(&mut self) -> Result<(), journal::Error> {
        self.store.commit(&mut self.batch)?;
        self.store.fill_tail()
    }

    /// Begins a turn at what the clocks say: all of it happens at one moment.
    pub fn start_turn(&mut self, wall: Time, tick: MonotonicMs) {
        self.tick = tick;
        self.now = self.clock.observe(wall, tick);
        self.inventory.set_monotonic(tick);
        self.turn_work = 0;
        self.memory.start_turn();
    }

    /// Notes that a connection's stream may be ready, and queues it. No work
    /// here: who is marked later in this turn must be known to be gone before
    /// anybody is served. What is said of a connection that is gone is passed over.
    pub fn set_ready(&mut self, key: Key, session: SessionId, ready: Ready) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.session.id() != session {
            return;
        }
        if ready.readable || ready.read_closed || ready.error {
            client.conn.set_readable(ready.read_closed || ready.error);
        }
        if ready.urgent {
            client.conn.set_urgent();
        }
        // After a half-close a reset shows in nothing but this, and who waits
        // must be out of the queue before it is granted anything.
        let listens = client.conn.is_eof() || client.session.is_waiting();
        if listens && (ready.error || ready.write_closed) {
            self.inventory.leave_queue(session, self.now);
            self.trace.note(Step::LeftQueue(session));
            return mark_dead(client, key, &mut self.dead);
        }
        client.broken |= ready.error || ready.write_closed;
        if ready.writable || ready.write_closed || ready.error {
            client.conn.set_writable();
        }
        let is_watcher = client.session.is_watching() && client.phase == Phase::Open;
        if is_watcher && ready == (Ready { writable: true, ..Ready::default() }) {
            // Watchers that can be sent more do not need a turn of their own, not even a thousand
            // of them.
            return self.look_at_watchers();
        }
        enqueue(&mut self.run_queue, client, key);
    }

    /// Ends what is due, each at its own time, so that a command at *t* sees
    /// ends ≤ *t* as gone. Returns whether the clock was set, so that an alarm
    /// by [`Service::next_end`] does not hold any more.
    pub fn expire_due(&mut self) -> bool {
        let was_set = self.handle_clock_step();
        self.inventory.advance(self.now, &self.zone, &mut self.batch);
        // Their events have the time of this turn, so everything due earlier must come first.
        let is_due = self.inventory.next_keep_alive().is_some_and(|at| at <= self.tick);
        if is_due && !self.inventory.is_behind() {
            self.inventory.expire_keep_alives(self.now, KEEP_ALIVES_ENDED, &mut self.batch);
            self.inventory.grant_waiters(self.now, &self.zone, &mut self.batch);
        }
        self.trace.note(Step::EndedDue);
        if self.reload.is_some() {
            self.go_on_with_reload();
        }
        was_set
    }

    /// Returns the time of this turn.
    pub fn time(&self) -> Time {
        self.now.wall
    }

    /// Returns whether the wall clock is far ahead and not followed yet.
    pub fn is_clock_unconfirmed(&self) -> bool {
        self.clock.is_unconfirmed()
    }

    /// Confirms the wall clock. The server follows it from the next turn on.
    pub fn confirm_clock(&mut self) {
        self.clock.confirm();
    }

    /// Moves what counts elapsed time along with a wall clock that was set,
    /// and logs what is the matter with it.
    fn handle_clock_step(&mut self) -> bool {
        let was_unconfirmed = self.clock_unconfirmed;
        if was_unconfirmed != self.clock.is_unconfirmed() {
            self.log_unconfirmed_clock();
        }
        let step_ms = self.clock.take_step();
        if step_ms != 0 {
            // Without floats: what prints them is large, and nothing else needs it.
            let (sign, by_ms) = (if step_ms < 0 { '-' } else { '+' }, step_ms.unsigned_abs());
            let (by_s, by_ms) = (by_ms / 1000, by_ms % 1000);
            warn!(
                "the clock was set by {sign}{by_s}.{by_ms:03} s; the ends of leases are moved along"
            );
            self.inventory.clock_was_set(step_ms, self.now);
            self.trace.note(Step::ClockSet(step_ms));
        }
        let was_doubtful = self.clock_doubtful;
        self.clock_doubtful = self.clock.behind_ms() > CLOCK_DOUBTFUL_MS;
        if self.clock_doubtful && !was_doubtful {
            let behind_s = self.clock.behind_ms() / 1000;
            warn!(
                "the clock is {behind_s} s behind what was told already; until it gets there time stands still"
            );
            if self.clock.behind_ms() > CLOCK_FAR_MS {
                warn!(
                    "if the system's clock is right, the time in the journal is wrong: stop the server and run `reservad reset-time`"
                );
            }
        }
        step_ms != 0
            || self.clock_doubtful != was_doubtful
            || self.clock_unconfirmed != was_unconfirmed
    }

    /// Logs that the wall clock has become unconfirmed, or that it is followed again.
    #[cold]
    fn log_unconfirmed_clock(&mut self) {
        let ahead_ms = self.clock.unconfirmed_ms();
        self.clock_unconfirmed = ahead_ms.is_some();
        match ahead_ms {
            Some(ahead_ms) => {
                let (time, zone) = (self.now.wall, &self.zone);
                warn!(
                    "not following the system's clock, which reads {}: it is {} s ahead of the last known time, {}; time continues from there and nothing ends by that clock until systemd-timesyncd has set it or it has run for {} s",
                    zone.text(time.plus_ms(ahead_ms), Round::Down),
                    ahead_ms / 1000,
                    zone.text(time, Round::Down),
                    CLOCK_CONFIRM_MS / 1000,
                );
            }
            None => warn!("following the system's clock again: it was confirmed or set back"),
        }
    }

    /// Whether what comes in the next moment may go into this turn's commit, too: a
    /// sync costs as much as dozens of requests, and few of them are waiting for it
    /// while nobody sends.
    pub fn may_gather(&self) -> bool {
        !self.batch.is_empty() && self.batch.len() < BATCH_EVENTS && self.store.syncs_commits()
    }

    /// Commits what was served, and only then tells of it; then removes who is
    /// gone. Returns whether somebody was.
    ///
    /// # Errors
    /// The journal could not be written: nothing of what was not committed was told,
    /// and the caller must stop.
    pub fn finish_turn(&mut self) -> Result<bool, journal::Error> {
        self.commit()?;
        if std::mem::take(&mut self.has_news) {
            self.look_at_watchers();
        }
        self.sync_if_due()?;
        self.flush_served();
        if self.untold > 0 {
            self.tell_watchers();
        }
        self.flush_lists();
        let done = std::mem::take(&mut self.done_in_turn);
        self.done_since_piece += if done == 0 { COMPACT_AFTER } else { done };
        self.check_deadlines();
        Ok(self.reap())
    }

    /// Commits what was served so far and tells those who were of it.
    fn answer(&mut self) -> Result<(), journal::Error> {
        self.commit()?;
        self.flush_served();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), journal::Error> {
        self.tell_waiters();
        self.done_in_turn += self.served.len() + self.batch.len();
        if !self.batch.is_empty() {
            self.has_news = true;
            self.committed = self.tick;
            // Before anything is written: another server may be at work on the journal.
            self.check_directory()?;
        }
        self.store.commit(&mut self.batch)?;
        self.trace.note(Step::Committed);
        Ok(())
    }

    fn sync_if_due(&mut self) -> Result<(), journal::Error> {
        if self.sync_by.is_some_and(|by| by <= self.tick) {
            self.store.sync()?;
            self.sync_by = None;
        }
        if self.sync_by.is_none() {
            self.sync_by = self.store.sync_within_ms().map(|ms| self.tick.plus_ms(ms));
        }
        Ok(())
    }

    /// Takes a connection that has just come. `register` is given its stream and
    /// under what it is to be marked.
    pub fn add_client(
        &mut self,
        stream: T,
        peer: Peer,
        register: impl FnOnce(&mut T, Key, SessionId) -> io::Result<()>,
    ) {
        let refusal = self.refusal(peer);
        if let Some(why) = refusal
            && self.refused >= REFUSED_MAX
        {
            return reject(stream, why);
        }
        if self.clients.len() == self.clients.capacity() {
            // Doubling would leave up to half of the table empty.
            self.clients.reserve_exact(self.clients.len() / 8 + 16);
        }
        self.last_session += 1;
        let session = SessionId(self.last_session);
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let session_of = Session::from(session, peer.origin());
        let client = entry.insert(Client::new(Conn::new(stream), session_of, self.tick));
        if let Err(error) = register(client.conn.stream(), key, session) {
            error!("a client could not be registered: {error}");
            self.clients.remove(key);
            return;
        }
        if let Some(why) = refusal {
            client.refused = true;
            self.refused += 1;
            return self.send_away(key, why);
        }
        // Its first line is mostly there already.
        enqueue(&mut self.run_queue, client, key);
        self.arm(key);
        self.crowd.join(peer);
    }

    /// Returns why one more connection from this peer cannot be served, if it cannot.
    fn refusal(&mut self, peer: Peer) -> Option<NoRoom> {
        if self.clients.len() - self.refused >= self.config.max_clients {
            self.note_full("--max-clients is reached");
            Some(NoRoom::Full)
        } else if self.memory.is_full() {
            self.note_full("--max-output-memory is reached");
            Some(NoRoom::Full)
        } else if !self.crowd.has_room(peer) {
            self.note_full("an address has reached --max-per-address");
            Some(NoRoom::Address)
        } else {
            None
        }
    }

    /// Closes a connection that is sent nothing but the reason.
    fn send_away(&mut self, key: Key, why: NoRoom) {
        let client = &mut self.clients[key];
        if client.phase == Phase::Dead {
            return;
        }
        self.crowd.has_spoken(client.peer(), client.session.id(), key);
        client.phase = Phase::Closing;
        commands::no_room(why, client.conn.out());
        self.flush(key);
    }

    /// What can wait until everybody is served.
    ///
    /// # Errors
    /// The journal is not to be trusted any more: the caller must stop.
    pub fn maintain(&mut self) -> Result<(), journal::Error> {
        if !self.store.is_compacting() && self.batch.is_empty() && self.may_tidy() {
            self.inventory.compact_ids();
        }
        if self.may_shrink() {
            self.store.shrink_old_file();
        }
        self.check_directory()?;
        if self.batch.is_empty() && self.seal_at().is_some_and(|when| when <= self.tick) {
            self.store.seal()?;
        }
        let is_due = self.batch.is_empty() && self.done_since_piece >= COMPACT_AFTER;
        if is_due && self.store.wants_compaction(&self.inventory) {
            self.done_since_piece = 0;
            let piece_bytes = self.config.compaction.piece_bytes;
            let done = self.store.compact(&self.inventory, self.now.wall, piece_bytes)?;
            if let Some(error) = done {
                warn!("the journal was not compacted: {}", escape_for_log(&error.to_string()));
            } else if !self.store.is_compacting() {
                self.old_file_until = self.tick.plus_ms(OLD_FILE_KEPT_MS);
                info!("the journal was compacted to {} bytes", self.store.journal_bytes());
            }
        }
        self.log_notices();
        Ok(())
    }

    fn log_notices(&mut self) {
        for notice in self.store.take_notices() {
            warn!("{}", escape_for_log(&notice.to_string()));
        }
    }

    /// Checks, once a minute at most, that the data directory is still this server's.
    fn check_directory(&mut self) -> Result<(), journal::Error> {
        if self.check_directory_at <= self.tick {
            self.check_directory_at = self.tick.plus_ms(DIRECTORY_CHECK_MS);
            self.store.confirm_directory()?;
        }
        Ok(())
    }

    /// Returns when to seal the journal; `None` if it must not be sealed now.
    fn seal_at(&self) -> Option<MonotonicMs> {
        self.store.wants_seal().then(|| self.committed.plus_ms(SEAL_AFTER_MS))
    }

    /// Whether the file that a compaction has left behind is to give space back now.
    fn may_shrink(&self) -> bool {
        let is_time = || self.old_file_until <= self.tick || self.store.is_old_file_small();
        self.store.has_old_file() && (is_time() || self.store.is_mostly_history(&self.inventory))
    }

    /// Whether ids may be given anew. Lists under way keep the names that are then
    /// forgotten; who still reads one that keeps those of the last time is closed, so
    /// that there is never more than one table of old names beside the one in use.
    fn may_tidy(&mut self) -> bool {
        if !self.inventory.wants_compaction() {
            return true;
        }
        let name_epoch = self.inventory.names().texts().name_epoch();
        let is_old = |conn: &Conn<T>| conn.list_name_epoch().is_some_and(|of| of < name_epoch);
        let mut closed = 0;
        for (key, client) in self.clients.iter_mut().filter(|(_, client)| is_old(&client.conn)) {
            mark_dead(client, key, &mut self.dead);
            closed += 1;
        }
        if closed > 0 {
            self.note_slow("still reads a list of names that are mostly gone");
        }
        // They are reaped in the next turn.
        closed == 0
    }

    /// Whether another turn is due at once.
    pub fn has_work(&self) -> bool {
        !self.run_queue.is_empty()
            || self.has_rest()
            || !self.listed.is_empty()
            || !self.batch.is_empty()
            || !self.dead.is_empty()
            || !self.dying.is_empty()
            || !self.leavers.is_empty()
            || self.untold > 0
            || self.inventory.has_outcomes()
            || self.inventory.has_backlog()
            || self.reload.is_some()
            || self.may_shrink()
            || self.store.wants_compaction(&self.inventory)
    }

    /// When a turn is due even if nothing happens, ends of reservations aside.
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        let mut next = MonotonicMs::MAX;
        let mut add = |when: Option<MonotonicMs>| next = next.min(when.unwrap_or(MonotonicMs::MAX));
        add(self.deadlines.first().map(|(when, _)| *when));
        add(self.inventory.next_keep_alive());
        add(self.sync_by);
        add(self.stopping);
        add(self.seal_at());
        add(self.store.has_old_file().then_some(self.old_file_until));
        add(self.is_clock_unconfirmed().then(|| self.tick.plus_ms(CLOCK_CHECK_MS)));
        (!next.is_never()).then_some(next)
    }

    /// When something ends, or somebody's wait: what the wall clock then says.
    pub fn next_end(&self) -> Option<Time> {
        let Deadlines { dated, monotonic } = self.inventory.deadlines();
        let dated = dated.map(|time| self.clock.wall_at_time(time));
        let monotonic = monotonic.map(|time| self.clock.wall_at(time));
        earlier(dated, monotonic)
    }

    /// Begins to stop: what was received is answered, then everybody is closed.
    /// Returns whether that is new.
    pub fn stop(&mut self) -> bool {
        if self.stopping.is_some() {
            return false;
        }
        self.stopping = Some(self.tick.plus_ms(STOP_GRACE_MS));
        self.inventory.end_all_waits();
        self.trace.note(Step::EndedWaits);
        for (key, client) in &mut self.clients {
            if client.phase == Phase::Linger {
                mark_dead(client, key, &mut self.dead);
                continue;
            }
            client.conn.set_readable(false);
            enqueue(&mut self.run_queue, client, key);
        }
        true
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Whether it was told to stop and everybody is served, or has had the time
    /// for it. `nobody_comes`: no listener is left.
    pub fn is_over(&self, nobody_comes: bool) -> bool {
        let is_done = nobody_comes && self.clients.is_empty() && self.leavers.is_empty();
        self.stopping.is_some_and(|by| is_done || by <= self.tick)
    }

    /// Makes everything durable and seals the journal, when the server stops. Notices that the journal
    /// was deleted now, at the latest.
    ///
    /// # Errors
    /// The journal could not be written, or another server works on it.
    pub fn finish(&mut self) -> Result<(), journal::Error> {
        self.store.confirm_directory()?;
        self.log_notices();
        self.store.commit(&mut self.batch)?;
        self.store.sync()?;
        self.store.seal()
    }

    /// Adds missing names, all in one turn, and returns their number.
    ///
    /// # Errors
    /// There is no room for all of them; then none was added.
    pub fn add_names(&mut self, names: Vec<String>) -> Result<usize, String> {
        let added = store::ensure(&mut self.inventory, names, self.now.wall, &mut self.batch);
        // Somebody may wait for what is new.
        self.inventory.grant_waiters(self.now, &self.zone, &mut self.batch);
        added
    }

    /// Logs, once a minute at most, that clients are turned away.
    pub fn note_full(&mut self, why: &str) {
        if self.tick >= self.full_quiet {
            self.full_quiet = self.tick.plus_ms(LOG_QUIET_MS);
            warn!("clients are turned away: {why}; this is not logged again for a minute");
        }
    }

    fn note_slow(&mut self, why: &str) {
        if self.tick >= self.slow_quiet {
            self.slow_quiet = self.tick.plus_ms(LOG_QUIET_MS);
            warn!("closed a client that {why}; this is not logged again for a minute");
        }
    }
}

/// Says that there is no room and closes at once. If the client has already
/// sent something a reset may overtake the word; there is no room to wait.
pub fn reject(mut stream: impl Stream, why: NoRoom) {
    let mut text = Vec::new();
    commands::no_room(why, &mut text);
    let _ = stream.write(&text);
    let _ = stream.shutdown_write();
}

/// A desk for what is done for a connection beside its lines: nobody asks
/// for figures there.
fn side_desk<'a, S: Storage>(
    inventory: &'a mut Inventory,
    batch: &'a mut Batch,
    store: &'a Store<S>,
    request_time: RequestTime<'a>,
) -> CommandContext<'a> {
    CommandContext {
        inventory,
        batch,
        history: store.history(),
        request_time,
        stats: &Stats::default,
    }
}

#[cfg(test)]
mod tests;

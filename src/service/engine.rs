//! The engine: everything that a command works on, whichever client sent it.
//!
//! It holds the inventory, uncommitted events, the store, the clock and the zone.
//! It knows no connection, only sessions.
//!
//! Invariant: all of a turn happens at the time [`Engine::now`].

use log::warn;

use super::client::Client;
use super::maintenance::Maintenance;
use super::observer::{Observer, Step};
use super::reload::Reload;
use crate::commands::parse::RequestTime;
use crate::commands::{self, CommandContext, Stats};
use crate::inventory::event::Batch;
use crate::inventory::{Deadlines, Ending, Inventory, SessionId};
use crate::journal::{self, Storage};
use crate::limits::{
    BATCH_EVENTS, CLOCK_CHECK_MS, CLOCK_CONFIRM_MS, CLOCK_DOUBTFUL_MS, CLOCK_FAR_MS,
    KEEP_ALIVES_ENDED,
};
use crate::store::{self, AddNamesError, State, Store};
use crate::time::{Clock, ClockReading, MonotonicMs, Round, Time, Zone, earlier};

/// The state that commands work on.
pub struct Engine<S: Storage, O> {
    pub inventory: Inventory,
    pub batch: Batch,
    pub store: Store<S>,
    pub zone: Zone,
    clock: Clock,
    /// The time of this turn.
    pub now: ClockReading,
    /// The time of this turn on the monotonic clock, for timeouts.
    pub instant: MonotonicMs,
    started_at: MonotonicMs,
    logged_clock: ClockState,
    pub(super) maintenance: Maintenance,
    /// The reload of the inventory file in progress.
    pub(super) reload: Option<Reload>,
    pub observer: O,
}

/// The state of the wall clock, as far as the log reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClockState {
    Followed,
    /// It is noticeably behind a time that was already shown.
    Behind,
    /// It is far ahead and not confirmed.
    Unconfirmed,
}

impl ClockState {
    fn of(clock: &Clock) -> ClockState {
        match clock.is_unconfirmed() {
            true => ClockState::Unconfirmed,
            false if clock.behind_ms() > CLOCK_DOUBTFUL_MS => ClockState::Behind,
            false => ClockState::Followed,
        }
    }
}

/// Figures of the service for `ESTADO`, which the engine does not know.
pub struct ServiceStats<'a> {
    pub clients: usize,
    pub max_clients: usize,
    pub fsync: &'a str,
}

impl<S: Storage, O: Observer> Engine<S, O> {
    /// Returns an engine for a state after [`State::catch_up`]. `wall` and `instant` are readings
    /// of the system's clocks.
    pub fn new(
        state: State<S>,
        mut clock: Clock,
        (wall, instant): (Time, MonotonicMs),
        zone: Zone,
        observer: O,
    ) -> Engine<S, O> {
        let State { store, mut inventory, batch } = state;
        let now = clock.observe(wall, instant);
        inventory.set_monotonic(instant);
        inventory.restart_keep_alives();
        Engine {
            inventory,
            batch,
            store,
            zone,
            clock,
            now,
            instant,
            started_at: instant,
            logged_clock: ClockState::Followed,
            maintenance: Maintenance::new(instant),
            reload: None,
            observer,
        }
    }

    /// Starts a turn at these readings of the system's clocks.
    pub fn start_turn(&mut self, wall: Time, instant: MonotonicMs) {
        self.instant = instant;
        self.now = self.clock.observe(wall, instant);
        self.inventory.set_monotonic(instant);
    }

    /// Ends reservations and waits that are due, each at its own time. Returns whether the clock
    /// was set or its state has changed, so that an alarm for [`Engine::next_end`] may be wrong.
    pub fn expire_due(&mut self) -> bool {
        let was_set = self.handle_clock_step();
        self.inventory.advance(self.now, &self.zone, &mut self.batch);
        // Their events have the time of this turn, so everything due earlier must come first.
        let is_due = self.inventory.next_keep_alive().is_some_and(|at| at <= self.instant);
        if is_due && !self.inventory.is_behind() {
            self.inventory.expire_keep_alives(self.now, KEEP_ALIVES_ENDED, &mut self.batch);
            self.grant_waiters();
        }
        self.observer.note(Step::EndedDue);
        self.continue_reload();
        was_set
    }

    /// Moves the ends of leases and waits after the wall clock was set, and logs the state of the
    /// clock when it changes. Returns whether either has happened.
    fn handle_clock_step(&mut self) -> bool {
        let state = ClockState::of(&self.clock);
        let before = std::mem::replace(&mut self.logged_clock, state);
        if before != state && [before, state].contains(&ClockState::Unconfirmed) {
            self.log_unconfirmed_clock();
        }
        let step_ms = self.clock.take_step();
        if step_ms != 0 {
            self.log_clock_step(step_ms);
            self.inventory.clock_was_set(step_ms, self.now);
            self.observer.note(Step::ClockSet(step_ms));
        }
        if before != state && state == ClockState::Behind {
            self.log_clock_behind();
        }
        step_ms != 0 || before != state
    }

    #[cold]
    fn log_clock_step(&self, step_ms: i64) {
        // Without floating point, whose formatting code nothing else needs.
        let (sign, by_ms) = (if step_ms < 0 { '-' } else { '+' }, step_ms.unsigned_abs());
        let (by_s, by_ms) = (by_ms / 1000, by_ms % 1000);
        warn!("the clock was set by {sign}{by_s}.{by_ms:03} s; the ends of leases move with it");
    }

    #[cold]
    fn log_clock_behind(&self) {
        let behind_ms = self.clock.behind_ms();
        let behind_s = behind_ms / 1000;
        warn!(
            "the clock is {behind_s} s behind a time already shown to clients; time stands still until it catches up"
        );
        if behind_ms > CLOCK_FAR_MS {
            warn!(
                "if the system's clock is right, the time in the journal is wrong: stop the server and run `reservad reset-time`"
            );
        }
    }

    /// Logs that the wall clock is not followed any more, or followed again.
    #[cold]
    fn log_unconfirmed_clock(&self) {
        let Some(ahead_ms) = self.clock.unconfirmed_ms() else {
            return warn!("following the system's clock again: it was confirmed or set back");
        };
        let time = self.now.wall;
        warn!(
            "not following the system's clock, which reads {}: it is {} s ahead of the last known time, {}; time continues from there, and nothing ends by that clock until systemd-timesyncd has set it or it has run for {} s",
            self.zone.text(time.plus_ms(ahead_ms), Round::Down),
            ahead_ms / 1000,
            self.zone.text(time, Round::Down),
            CLOCK_CONFIRM_MS / 1000,
        );
    }

    /// Returns whether the wall clock is far ahead and not followed yet.
    pub fn is_clock_unconfirmed(&self) -> bool {
        self.clock.is_unconfirmed()
    }

    /// Confirms the wall clock. It is followed from the next turn on.
    pub fn confirm_clock(&mut self) {
        self.clock.confirm();
    }

    /// Runs lines of a client. Returns whether its peer speaks another protocol, and the work done.
    pub fn run_lines<T>(&mut self, client: &mut Client<T>, service: &ServiceStats) -> (bool, u64) {
        let (clock, store) = (&self.clock, &self.store);
        let uptime_s = (self.instant.0 - self.started_at.0) / 1000;
        let stats = || Stats {
            clients: service.clients,
            max_clients: service.max_clients,
            uptime_s,
            clock_behind_ms: clock.behind_ms(),
            clock_unconfirmed_ms: clock.unconfirmed_ms(),
            fsync: service.fsync.to_owned(),
            journal: store.journal_id().to_string(),
            journal_bytes: store.journal_bytes(),
        };
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: store.history(),
            request_time: RequestTime { now: self.now, zone: &self.zone },
            stats: &stats,
        };
        context.inventory.take_work();
        let is_foreign = client.run_lines(&mut context, &mut self.observer);
        (is_foreign, self.inventory.take_work())
    }

    /// Returns the context for work other than a client's lines. It has no figures for `ESTADO`.
    pub fn context(&mut self) -> CommandContext<'_> {
        CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: self.store.history(),
            request_time: RequestTime { now: self.now, zone: &self.zone },
            stats: &Stats::default,
        }
    }

    /// Grants waiting requests for which resources have become free.
    pub fn grant_waiters(&mut self) {
        self.inventory.grant_waiters(self.now, &self.zone, &mut self.batch);
    }

    /// Removes a closed connection from the waiting list.
    pub fn leave_queue(&mut self, session: SessionId) {
        self.inventory.leave_queue(session, self.now);
        self.observer.note(Step::LeftQueue(session));
    }

    /// Ends the wait of a connection that has interrupted it.
    pub fn interrupt(&mut self, session: SessionId) {
        self.inventory.interrupt(session, self.now);
        self.observer.note(Step::Interrupted(session));
    }

    /// Ends all waits, because the server stops.
    pub fn end_all_waits(&mut self) {
        self.inventory.end_all_waits();
        self.observer.note(Step::EndedWaits);
    }

    /// Ends up to `most` reservations bound to a connection. Returns whether none is left.
    pub fn release(&mut self, session: SessionId, ending: Ending, most: usize) -> bool {
        let is_done = commands::leave(session, ending, most, &mut self.context());
        if is_done {
            self.observer.note(Step::Left(session));
        }
        is_done
    }

    /// Adds missing names, all in one turn, and returns their number.
    ///
    /// # Errors
    /// They exceed `--max-resources`. Then none was added.
    pub fn add_names(&mut self, names: Vec<String>) -> Result<usize, AddNamesError> {
        let added = store::ensure(&mut self.inventory, names, self.now.wall, &mut self.batch);
        // A request may be waiting for a new name.
        self.grant_waiters();
        added
    }

    /// Returns whether the batch is full.
    pub fn is_batch_full(&self) -> bool {
        self.batch.len() >= BATCH_EVENTS
    }

    /// Returns whether replies may be sent before the commit of the turn, because there is nothing
    /// to sync first.
    pub fn may_answer(&self) -> bool {
        self.batch.is_empty() || !self.store.syncs_commits()
    }

    /// Returns whether further lines may join the commit of this turn, so that they share one sync.
    /// A sync takes as long as dozens of requests.
    pub fn may_gather(&self) -> bool {
        !self.batch.is_empty() && !self.is_batch_full() && self.store.syncs_commits()
    }

    /// Returns whether another turn is due at once.
    #[inline]
    pub fn has_work(&self) -> bool {
        !self.batch.is_empty()
            || self.inventory.has_outcomes()
            || self.inventory.has_backlog()
            || self.reload.is_some()
            || self.has_maintenance()
    }

    /// Returns when a turn is due even if nothing happens, ends of reservations aside.
    #[inline]
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        let unconfirmed = self.clock.is_unconfirmed();
        let check = unconfirmed.then(|| self.instant.plus_ms(CLOCK_CHECK_MS));
        let next = earlier(self.inventory.next_keep_alive(), check);
        earlier(next, self.next_maintenance())
    }

    /// Returns the reading of the wall clock at which the next reservation or wait ends.
    pub fn next_end(&self) -> Option<Time> {
        let Deadlines { dated, monotonic } = self.inventory.deadlines();
        let dated = dated.map(|time| self.clock.wall_at_time(time));
        let monotonic = monotonic.map(|time| self.clock.wall_at(time));
        earlier(dated, monotonic)
    }

    /// Commits the events so far. Returns whether there were any. `replies` is the number of
    /// clients that are answered after it.
    ///
    /// # Errors
    /// The journal cannot be written. The caller must stop without sending anything.
    pub fn commit(&mut self, replies: usize) -> Result<bool, journal::Error> {
        let has_events = self.prepare_commit(replies)?;
        self.store.commit(&mut self.batch)?;
        self.observer.note(Step::Committed);
        Ok(has_events)
    }
}

//! The passage of time: expiry, grants, timed-out waits, and steps of the wall clock.
//!
//! Each of these happens at its own time. Everything due at one time happens in this order:
//! expiries, the grants that they allow, timed-out waits, notices of positions. When more is due
//! than one turn can do (a million reservations can end at one instant), the rest is left for the
//! next turns, and meanwhile the inventory [is behind](Inventory::is_behind). The remaining work
//! concerns only some resources. A command that does not touch these ([`Inventory::is_settled`])
//! may run first. All others must wait; otherwise they would see reservations that are over, or
//! take a resource that an older request is about to get.

use std::collections::VecDeque;

use super::event::Batch;
use super::queue::Outcome;
use super::sorted_list::SortedList;
use super::{Deadlines, Event, Inventory, Number, Reservation, ResourceId};
use crate::limits::BACKLOG_WORK;
use crate::time::{ClockReading, Time, Zone, earlier};

/// Bound on the work of the grants after all commands of a turn, as a multiple of
/// [`Backlog::piece`].
const PIECES_PER_TURN: u64 = 4;

/// Work that the passage of time has made due and that is not done yet.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Maximal work per turn; see [`Inventory::work`].
    piece: u64,
    /// Work left in this turn for grants after commands.
    left: u64,
    /// The time of the due work in progress.
    instant: Option<ClockReading>,
    /// Whether expiries, grants and notices of positions are done for `instant`, so that only
    /// timed-out waits are left.
    has_granted: bool,
    /// Steps of the wall clock still to apply, in order.
    steps: VecDeque<Step>,
    /// Whether the last turn left work.
    is_behind: bool,
    /// The last event and the time of the latest turn that left work.
    left_at: (u64, Time),
    /// Lower bound of the times of further events.
    floor: Time,
    /// How far the monotonic clock was ahead of the wall clock in the last turn.
    delay_ms: i64,
}

impl Default for Backlog {
    fn default() -> Backlog {
        Backlog {
            piece: BACKLOG_WORK,
            left: PIECES_PER_TURN * BACKLOG_WORK,
            instant: None,
            has_granted: false,
            steps: VecDeque::new(),
            is_behind: false,
            left_at: (0, Time::MIN),
            floor: Time::MIN,
            delay_ms: 0,
        }
    }
}

/// A step of the wall clock.
#[derive(Debug)]
struct Step {
    by_ms: i64,
    /// Readings of the clocks after the step.
    now: ClockReading,
    /// The ends of leases that are not moved yet, once the step has begun.
    unmoved: Option<SortedList<(Time, Number)>>,
}

impl Inventory {
    /// Sets the work per turn for due work; for tests.
    pub fn set_backlog_work(&mut self, piece: u64) {
        (self.backlog.piece, self.backlog.left) = (piece, PIECES_PER_TURN * piece);
    }

    /// Returns whether due work was left for the next turn. If so, call [`Inventory::advance`]
    /// again, and until then run only commands that are [settled](Inventory::is_settled).
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.backlog.is_behind
    }

    /// Returns whether [`Inventory::advance`] has work now, independent of the time.
    pub fn has_backlog(&self) -> bool {
        self.backlog.is_behind || self.has_unannounced_positions()
    }

    /// Applies everything that is due up to `now`, each at its own time: expiries, then the grants
    /// that they allow, then timed-out waits. If that is more than one turn can do, the inventory
    /// [is behind](Inventory::is_behind) afterwards. Call it at the start of each turn. Commands of
    /// that turn must use the time `now`.
    #[inline]
    pub fn advance(&mut self, now: ClockReading, zone: &Zone, batch: &mut Batch) {
        let delay_ms = now.monotonic.ms() - now.wall.ms();
        let caught_up = std::mem::replace(&mut self.backlog.delay_ms, delay_ms) > delay_ms;
        if caught_up {
            // The wall clock has advanced again after it stood still. Until then, a request with a
            // length would have ended later than it does now, so it may now fit before a booking.
            self.queue.retry_all();
        }
        // Most turns have nothing to do here.
        let is_idle = self.queue.is_empty()
            && !self.backlog.is_behind
            && self.backlog.steps.is_empty()
            && self.next_due(now).is_none();
        let is_done = is_idle || self.advance_piece(now, zone, batch);
        self.backlog.left = PIECES_PER_TURN * self.backlog.piece;
        self.reset_position_work();
        if is_done && self.has_unannounced_positions() {
            self.announce_positions(now);
        }
    }

    /// Returns whether everything was done.
    fn advance_piece(&mut self, now: ClockReading, zone: &Zone, batch: &mut Batch) -> bool {
        let end = self.work().saturating_add(self.backlog.piece);
        if self.backlog.is_behind && self.backlog.left_at.0 != self.last_event() {
            // Commands have caused events since that turn, and later events must not have an
            // earlier time.
            self.backlog.floor = self.backlog.floor.max(self.backlog.left_at.1);
        }
        let is_done = self.do_due_work(now, end, zone, batch);
        self.leave_backlog(!is_done, now);
        is_done
    }

    /// Records whether work is left.
    fn leave_backlog(&mut self, is_behind: bool, now: ClockReading) {
        self.backlog.is_behind = is_behind;
        match is_behind {
            true => self.backlog.left_at = (self.last_event(), now.wall),
            false => self.backlog.floor = Time::MIN,
        }
    }

    /// Does due work until [`Inventory::work`] reaches `end`. Returns whether all of it was done.
    fn do_due_work(&mut self, now: ClockReading, end: u64, zone: &Zone, batch: &mut Batch) -> bool {
        loop {
            if let Some(then) = self.backlog.instant {
                if !self.do_work_at(then, end, zone, batch) {
                    return false;
                }
                (self.backlog.instant, self.backlog.has_granted) = (None, false);
            }
            if !self.backlog.steps.is_empty() {
                match self.step_clock(end, batch) {
                    None => return false,
                    // No event has a time between the old clock and the new one.
                    then => self.backlog.instant = then,
                }
                continue;
            }
            match self.next_due(now) {
                Some(then) => self.backlog.instant = Some(then),
                None if self.queue.pass.can_continue(self.is_full()) => {
                    self.backlog.instant = Some(now);
                }
                None => return true,
            }
        }
    }

    /// Does the work due at one time. Returns whether all of it was done.
    fn do_work_at(&mut self, then: ClockReading, end: u64, zone: &Zone, batch: &mut Batch) -> bool {
        while let Some((_, number)) = self.due(then) {
            if self.work() >= end {
                return false;
            }
            self.apply_due(then.wall, Event::Expired { number }, batch);
        }
        let left = end.saturating_sub(self.work());
        if !self.grant_piece(then, zone, left, batch) {
            return false;
        }
        if !std::mem::replace(&mut self.backlog.has_granted, true) {
            self.announce_first_positions(then);
        }
        while let Some(ticket) = self.queue.due(then) {
            if self.work() >= end {
                return false;
            }
            self.add_work(1);
            self.end_wait(ticket, Outcome::TimedOut);
        }
        self.announce_if_due(then);
        self.announce_first_positions(then);
        true
    }

    /// Grants waiters that fit now. Call it after every command.
    #[inline]
    pub fn grant_waiters(&mut self, now: ClockReading, zone: &Zone, batch: &mut Batch) {
        if !self.queue.is_empty() {
            self.grant_freed(now, zone, batch);
        }
    }

    fn grant_freed(&mut self, now: ClockReading, zone: &Zone, batch: &mut Batch) {
        // Work that is left over must be done first, in the next turn.
        if !self.backlog.is_behind && !self.queue.pass.is_over() {
            let before = self.work();
            let left = self.backlog.left;
            if !self.grant_piece(now, zone, left.min(self.backlog.piece), batch) {
                self.backlog.instant = Some(now);
                self.leave_backlog(true, now);
            }
            self.backlog.left = left.saturating_sub(self.work() - before);
        }
        if !self.backlog.is_behind {
            self.announce_first_positions(now);
        }
    }

    /// Sets the earliest time for events of the first [`Inventory::advance`], which is the time of
    /// the last event before a start. After a crash in the middle of a step of the clock, leases
    /// may have ended before events that were already committed.
    pub fn set_first_time(&mut self, time: Time) {
        self.backlog.floor = time;
    }

    /// Applies an event that has become due.
    pub(super) fn apply_due(&mut self, time: Time, event: Event, batch: &mut Batch) {
        self.apply_and_log(time.max(self.backlog.floor), event, batch);
    }

    /// Returns the next instants at which a reservation or a wait ends.
    #[inline(always)]
    pub fn deadlines(&self) -> Deadlines {
        let first = |ends: &SortedList<(Time, Number)>| ends.first().map(|(until, _)| *until);
        let (end, lease) = (first(&self.ends), first(&self.leases));
        let waits = self.queue.deadlines();
        Deadlines { dated: earlier(end, waits.dated), monotonic: earlier(lease, waits.monotonic) }
    }

    /// Returns the reservation with the earliest end up to `now`.
    pub fn due(&self, now: ClockReading) -> Option<(Time, Number)> {
        let dated = self.ends.first().filter(|(until, _)| *until <= now.wall);
        let lease = self.leases.first().filter(|(until, _)| *until <= now.monotonic);
        earlier(dated, lease).copied()
    }

    /// Returns the next instant up to `now` at which something is due.
    fn next_due(&self, now: ClockReading) -> Option<ClockReading> {
        let next = self.deadlines();
        let dated = next.dated.filter(|time| *time <= now.wall);
        let monotonic = next.monotonic.filter(|time| *time <= now.monotonic);
        let next = earlier(dated, monotonic)?;
        Some(ClockReading { wall: next.min(now.wall), monotonic: next })
    }

    /// Records that the wall clock was set by `by_ms` milliseconds and now reads `now`. Leases and
    /// waits measure elapsed time, so their ends move by the same amount. Dates stay where they are
    /// on the new clock. The next [`Inventory::advance`] does this work.
    ///
    /// A lease that would overlap a booking ends where the booking begins, because the booking was
    /// promised its dates.
    pub fn clock_was_set(&mut self, by_ms: i64, now: ClockReading) {
        self.backlog.steps.push_back(Step { by_ms, now, unmoved: None });
    }

    /// Applies the next step of the clock. Returns the readings after it, or `None` if work is
    /// left.
    fn step_clock(&mut self, end: u64, batch: &mut Batch) -> Option<ClockReading> {
        let step = self.backlog.steps.front()?;
        let (by_ms, now) = (step.by_ms, step.now);
        // Reservations that are over by the new clock end first. No waiter gets a resource that a
        // lease still holds.
        while let Some((until, number)) = self.ends.first().copied().filter(|it| it.0 <= now.wall) {
            if self.work() >= end {
                return None;
            }
            self.apply_due(until, Event::Expired { number }, batch);
        }
        if self.backlog.steps[0].unmoved.is_none() {
            self.backlog.steps[0].unmoved = Some(std::mem::take(&mut self.leases));
        }
        loop {
            let unmoved = self.backlog.steps[0].unmoved.as_ref();
            let Some((_, number)) = unmoved.and_then(SortedList::first).copied() else { break };
            if self.work() >= end {
                return None;
            }
            self.move_lease(number, by_ms, now.wall, batch);
        }
        self.backlog.steps.pop_front();
        self.queue.shift_clock(by_ms);
        self.queue.retry_all();
        Some(now)
    }

    fn move_lease(&mut self, number: Number, by_ms: i64, now: Time, batch: &mut Batch) {
        let lease = &self.reservations[&number];
        let until = lease.until.plus_ms(by_ms).min(Time::LATEST);
        let next_start = self.obstacle_to_extension(lease, until).map(|(_, booking)| booking.from);
        let until = next_start.unwrap_or(until);
        let event = match until <= now {
            true => Event::Expired { number },
            false => Event::Renewed { number, until, lease: true, keep_alive_ms: None },
        };
        self.apply_due(now, event, batch);
    }

    /// Removes an end from its index.
    pub(super) fn forget_end(&mut self, lease: bool, end: (Time, Number)) {
        let steps = self.backlog.steps.iter_mut().filter(|_| lease);
        let unmoved = steps.filter_map(|step| step.unmoved.as_mut());
        if unmoved.into_iter().any(|unmoved| unmoved.remove(&end).is_some()) {
            return;
        }
        self.ends_of(lease).remove(&end);
    }

    /// Iterates over the ends of leases that a step of the clock has not moved yet.
    pub(super) fn unmoved(&self) -> impl Iterator<Item = &(Time, Number)> {
        self.backlog
            .steps
            .iter()
            .filter_map(|step| step.unmoved.as_ref())
            .flat_map(SortedList::iter)
    }

    /// Returns whether no due work concerns a resource: no reservation of it has to end, none of
    /// its leases has to be moved, and no request waits for it.
    pub fn is_settled(&self, id: ResourceId, now: ClockReading) -> bool {
        if !self.backlog.is_behind {
            return true;
        }
        // Bookings do not overlap, so if any has ended, the first has.
        let first = self.schedules[id.index()].iter().next();
        let first = first.and_then(|booking| self.reservations.get(&booking.number));
        first.is_none_or(|first| !self.is_stale(first, now)) && !self.is_waited_for(id)
    }

    /// Returns whether due work up to `now` will change a reservation.
    pub fn is_stale(&self, reservation: &Reservation, now: ClockReading) -> bool {
        if !self.backlog.is_behind {
            return false;
        }
        let is_to_move = reservation.lease && !self.backlog.steps.is_empty();
        let clock = if reservation.lease { now.monotonic } else { now.wall };
        is_to_move || reservation.until <= clock
    }
}

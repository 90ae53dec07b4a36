//! The passing of time: ends, grants, waits that are over, and a clock that was set.
//!
//! Each thing happens at its own moment, and all of a moment in this order: ends, the grants that
//! they allow, waits that are over, places. There may be more of it than a turn has time for, a
//! million ends at one instant: then it is left and gone on with in the next turn, and meanwhile
//! the inventory [is behind](Inventory::is_behind). What still has to happen concerns some resources;
//! a command that has nothing to do with them ([`Inventory::is_settled`]) may go before, the others
//! must wait, or they would see what is over, or take what an older request is to be granted.

use std::collections::VecDeque;

use super::event::Batch;
use super::names::ResourceId;
use super::queue::Outcome;
use super::runs::Runs;
use super::{Deadlines, Event, Inventory, Number, Reservation};
use crate::clock::{Now, Time, Zone, earlier};
use crate::limits::BACKLOG_WORK;

/// Pieces that the grants after all commands of a turn may take together.
const TURNS_PIECES: u64 = 4;

/// What the passing of time has brought and was not worked off.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Work that one turn does of it at the most; see [`Inventory::work`].
    piece: u64,
    /// Work that is left in this turn for grants after commands.
    left: u64,
    /// The moment that is being worked off.
    moment: Option<Now>,
    /// Its ends and grants are done, and places told; waits that are over are left.
    has_granted: bool,
    /// Steps of the wall clock that come next, in order.
    steps: VecDeque<Step>,
    /// It was left before everything was done.
    is_behind: bool,
    /// The last event, and the time of the turn, when it was left last.
    left_at: (u64, Time),
    /// No event has an earlier time than this.
    floor: Time,
    /// How far the steady clock was ahead of the time, the last time.
    delay_ms: i64,
}

impl Default for Backlog {
    fn default() -> Backlog {
        Backlog {
            piece: BACKLOG_WORK,
            left: TURNS_PIECES * BACKLOG_WORK,
            moment: None,
            has_granted: false,
            steps: VecDeque::new(),
            is_behind: false,
            left_at: (0, Time::DAWN),
            floor: Time::DAWN,
            delay_ms: 0,
        }
    }
}

/// A step of the wall clock.
#[derive(Debug)]
struct Step {
    by_ms: i64,
    /// What the clocks said afterwards.
    now: Now,
    /// Its leases are being moved; these are left.
    unmoved: Option<Runs<(Time, Number)>>,
}

impl Inventory {
    /// Bounds the work of one turn for what happens by itself; for tests.
    pub fn set_backlog_work(&mut self, piece: u64) {
        (self.backlog.piece, self.backlog.left) = (piece, TURNS_PIECES * piece);
    }

    /// Whether something that has happened by itself, or what it allows, is left for the next turn:
    /// then call [`Inventory::advance`] again, and meanwhile run nothing that is not
    /// [settled](Inventory::is_settled).
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.backlog.is_behind
    }

    /// Whether [`Inventory::advance`] has something to do now whatever the time is.
    pub fn has_backlog(&self) -> bool {
        self.backlog.is_behind || self.has_places_to_tell()
    }

    /// Applies what is due up to `now`, each at its own time: ends, then the
    /// grants that they allow, then waits that are over. If that is more than one turn has time
    /// for, [`Inventory::is_behind`] afterwards.
    #[inline]
    pub fn advance(&mut self, now: Now, zone: &Zone, batch: &mut Batch) {
        let delay_ms = now.steady.ms() - now.time.ms();
        let caught_up = std::mem::replace(&mut self.backlog.delay_ms, delay_ms) > delay_ms;
        if caught_up {
            // A length from now on ends earlier than it did while the time stood, and may fit
            // before what is booked.
            self.queue.try_everybody();
        }
        // Most turns have nothing to do here.
        let is_idle = self.queue.is_empty()
            && !self.backlog.is_behind
            && self.backlog.steps.is_empty()
            && self.next_moment(now).is_none();
        let is_done = is_idle || self.advance_piece(now, zone, batch);
        self.backlog.left = TURNS_PIECES * self.backlog.piece;
        self.new_turn_for_places();
        if is_done && self.has_places_to_tell() {
            self.tell_places(now);
        }
    }

    /// Returns whether everything was done.
    fn advance_piece(&mut self, now: Now, zone: &Zone, batch: &mut Batch) -> bool {
        let end = self.work().saturating_add(self.backlog.piece);
        if self.backlog.is_behind && self.backlog.left_at.0 != self.last_event() {
            // What has happened meanwhile has that turn's time, and times do not go back.
            self.backlog.floor = self.backlog.floor.max(self.backlog.left_at.1);
        }
        let is_done = self.work_off(now, end, zone, batch);
        self.leave_backlog(!is_done, now);
        is_done
    }

    /// Notes whether something is left.
    fn leave_backlog(&mut self, is_behind: bool, now: Now) {
        self.backlog.is_behind = is_behind;
        match is_behind {
            true => self.backlog.left_at = (self.last_event(), now.time),
            false => self.backlog.floor = Time::DAWN,
        }
    }

    /// Returns whether everything was done.
    fn work_off(&mut self, now: Now, end: u64, zone: &Zone, batch: &mut Batch) -> bool {
        loop {
            if let Some(then) = self.backlog.moment {
                if !self.pass(then, end, zone, batch) {
                    return false;
                }
                (self.backlog.moment, self.backlog.has_granted) = (None, false);
            }
            if !self.backlog.steps.is_empty() {
                match self.step_clock(end, batch) {
                    None => return false,
                    // Nothing has a time between the old clock and the new one.
                    then => self.backlog.moment = then,
                }
                continue;
            }
            match self.next_moment(now) {
                Some(then) => self.backlog.moment = Some(then),
                None if self.queue.pass.can_go_on(self.is_full()) => {
                    self.backlog.moment = Some(now);
                }
                None => return true,
            }
        }
    }

    /// What happens by itself at a moment. Returns whether that was all.
    fn pass(&mut self, then: Now, end: u64, zone: &Zone, batch: &mut Batch) -> bool {
        while let Some((_, number)) = self.due(then) {
            if self.work() >= end {
                return false;
            }
            self.apply_due(then.time, Event::Expired { number }, batch);
        }
        let left = end.saturating_sub(self.work());
        if !self.grant_piece(then, zone, left, batch) {
            return false;
        }
        if !std::mem::replace(&mut self.backlog.has_granted, true) {
            self.tell_first_places(then);
        }
        while let Some(ticket) = self.queue.due(then) {
            if self.work() >= end {
                return false;
            }
            self.add_work(1);
            self.end_wait(ticket, Outcome::TimedOut);
        }
        self.begin_telling(then);
        self.tell_first_places(then);
        true
    }

    /// Grants what fits now, after something has become free. Call it after
    /// every command and every end.
    #[inline]
    pub fn settle(&mut self, now: Now, zone: &Zone, batch: &mut Batch) {
        if !self.queue.is_empty() {
            self.grant_freed(now, zone, batch);
        }
    }

    fn grant_freed(&mut self, now: Now, zone: &Zone, batch: &mut Batch) {
        // What is left of an earlier moment comes first, in the next turn.
        if !self.backlog.is_behind && !self.queue.pass.is_over() {
            let before = self.work();
            let left = self.backlog.left;
            if !self.grant_piece(now, zone, left.min(self.backlog.piece), batch) {
                self.backlog.moment = Some(now);
                self.leave_backlog(true, now);
            }
            self.backlog.left = left.saturating_sub(self.work() - before);
        }
        if !self.backlog.is_behind {
            self.tell_first_places(now);
        }
    }

    /// Makes an event of the backlog so.
    pub(super) fn apply_due(&mut self, time: Time, event: Event, batch: &mut Batch) {
        self.enact(time.max(self.backlog.floor), event, batch);
    }

    /// When something happens by itself: an end, or a wait that is over.
    #[inline]
    pub fn deadlines(&self) -> Deadlines {
        let first = |ends: &Runs<(Time, Number)>| ends.first().map(|(until, _)| *until);
        let (end, lease) = (first(&self.ends), first(&self.leases));
        let waits = self.queue.deadlines();
        Deadlines { dated: earlier(end, waits.dated), steady: earlier(lease, waits.steady) }
    }

    /// The next reservation whose end has come, in order of ends.
    pub fn due(&self, now: Now) -> Option<(Time, Number)> {
        let dated = self.ends.first().filter(|(until, _)| *until <= now.time);
        let lease = self.leases.first().filter(|(until, _)| *until <= now.steady);
        earlier(dated, lease).copied()
    }

    /// The next moment up to `now` at which something happens by itself.
    fn next_moment(&self, now: Now) -> Option<Now> {
        let next = self.deadlines();
        let dated = next.dated.filter(|time| *time <= now.time);
        let steady = next.steady.filter(|time| *time <= now.steady);
        let next = earlier(dated, steady)?;
        Some(Now { time: next.min(now.time), steady: next })
    }

    /// The wall clock was set by so much, and says `now`: what counts elapsed
    /// time goes on as before, so its end is told anew; what has dates is
    /// where the clock now says. [`Inventory::advance`], which comes next, does that.
    ///
    /// A lease that would run into a booking ends where that begins: no two
    /// may overlap, and the booking was promised its dates.
    pub fn clock_was_set(&mut self, by_ms: i64, now: Now) {
        self.backlog.steps.push_back(Step { by_ms, now, unmoved: None });
    }

    /// Works off a step of the clock. Returns the moment after it if that was all.
    fn step_clock(&mut self, end: u64, batch: &mut Batch) -> Option<Now> {
        let step = self.backlog.steps.front()?;
        let (by_ms, now) = (step.by_ms, step.now);
        // Over by the clock as it is now; nobody is granted what a lease has.
        while let Some((until, number)) = self.ends.first().copied().filter(|it| it.0 <= now.time) {
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
            let Some((_, number)) = unmoved.and_then(Runs::first).copied() else { break };
            if self.work() >= end {
                return None;
            }
            self.move_lease(number, by_ms, now.time, batch);
        }
        self.backlog.steps.pop_front();
        self.queue.shift_clock(by_ms);
        self.queue.try_everybody();
        Some(now)
    }

    fn move_lease(&mut self, number: Number, by_ms: i64, now: Time, batch: &mut Batch) {
        let lease = &self.reservations[&number];
        let until = lease.until.plus_ms(by_ms).min(Time::LATEST);
        let booked = self.in_the_way(lease, until).map(|(_, booking)| booking.from);
        let until = booked.unwrap_or(until);
        let event = match until <= now {
            true => Event::Expired { number },
            false => Event::Renewed { number, until, lease: true, keep_alive_ms: None },
        };
        self.apply_due(now, event, batch);
    }

    /// Forgets an end that is kept.
    pub(super) fn forget_end(&mut self, lease: bool, end: (Time, Number)) {
        let steps = self.backlog.steps.iter_mut().filter(|_| lease);
        let unmoved = steps.filter_map(|step| step.unmoved.as_mut());
        if unmoved.into_iter().any(|unmoved| unmoved.remove(&end).is_some()) {
            return;
        }
        self.ends_of(lease).remove(&end);
    }

    /// The ends of leases that a step of the clock has not moved yet.
    pub(super) fn unmoved(&self) -> impl Iterator<Item = &(Time, Number)> {
        self.backlog.steps.iter().filter_map(|step| step.unmoved.as_ref()).flat_map(Runs::iter)
    }

    /// Whether nothing that is still to happen by itself concerns a resource: no end on it is due, no
    /// lease on it is to be moved, and nobody waits for it.
    pub fn is_settled(&self, id: ResourceId, now: Now) -> bool {
        if !self.backlog.is_behind {
            return true;
        }
        // They do not overlap: if any has ended the first has.
        let first = self.booked[id as usize].iter().next();
        let first = first.and_then(|booking| self.reservations.get(&booking.number));
        first.is_none_or(|first| !self.is_stale(first, now)) && !self.is_waited_for(id)
    }

    /// Whether a reservation is not what it will be when everything has happened up to `now`.
    pub fn is_stale(&self, reservation: &Reservation, now: Now) -> bool {
        if !self.backlog.is_behind {
            return false;
        }
        let is_to_move = reservation.lease && !self.backlog.steps.is_empty();
        let clock = if reservation.lease { now.steady } else { now.time };
        is_to_move || reservation.until <= clock
    }
}

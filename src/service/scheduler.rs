//! The order in which clients are served, and how much work one turn does.
//!
//! A client with cheap lines is served first. Three kinds are deferred: new clients, whose cost is
//! not known; clients that were costly in the last seconds; and clients whose next line is known to
//! be costly. Each kind gets [`WORK_BUDGET`] per turn, so a new client waits neither for slow
//! clients nor for a costly line.
//!
//! Invariant: a client with [`Slot::is_queued`] is in exactly one of the queues. A queue may also
//! contain keys of clients that were removed.

use std::collections::VecDeque;

use super::Key;
use crate::limits::{SLOW_MS, TURN_WORK, WORK_BUDGET};
use crate::time::MonotonicMs;

/// The scheduler's record of one client.
#[derive(Debug, Default)]
pub struct Slot {
    is_queued: bool,
    /// Until when the client is served after others, because it was costly. `None` until it has run
    /// a line.
    slow_until: Option<MonotonicMs>,
    /// The cost of the next line, if that line was put off because it is costly; otherwise 0.
    deferred_cost: u32,
}

impl Slot {
    /// Returns whether the client has not run a line yet.
    pub fn is_new(&self) -> bool {
        self.slow_until.is_none()
    }

    /// Returns whether the next line was put off because it is costly.
    pub fn is_deferred(&self) -> bool {
        self.deferred_cost > 0
    }

    /// Puts the next line off because of its cost, or ends that with 0.
    pub fn set_deferred_cost(&mut self, cost: u32) {
        self.deferred_cost = cost;
    }
}

/// The queues of clients to be served.
#[derive(Debug, Default)]
pub struct Scheduler {
    run: VecDeque<Key>,
    new: VecDeque<Key>,
    slow: VecDeque<Key>,
    /// Clients whose next line is costly.
    costly: VecDeque<Key>,
    /// Whether the last turn ended before the deferred clients were served.
    owes_deferred: bool,
    /// Work done on the run queue in this turn, or on one of the deferred queues.
    work: u64,
}

impl Scheduler {
    /// Starts a turn.
    pub fn start_turn(&mut self) {
        self.work = 0;
    }

    /// Queues a client, unless it is queued.
    #[inline]
    pub fn enqueue(&mut self, slot: &mut Slot, key: Key) {
        if !std::mem::replace(&mut slot.is_queued, true) {
            self.run.push_back(key);
        }
    }

    /// Queues a client that has more lines after its share of a turn.
    pub fn requeue(&mut self, slot: &mut Slot, key: Key) {
        if !slot.is_deferred() {
            self.enqueue(slot, key);
        } else if !std::mem::replace(&mut slot.is_queued, true) {
            self.costly.push_back(key);
        }
    }

    /// Records that a client was taken from its queue to be served.
    pub fn dequeued(slot: &mut Slot) {
        slot.is_queued = false;
    }

    /// Returns the number of clients in the run queue.
    pub fn run_len(&self) -> usize {
        self.run.len()
    }

    /// Takes the next client from the run queue.
    pub fn next(&mut self) -> Option<Key> {
        self.run.pop_front()
    }

    /// Adds a client from the run queue to a deferred queue, if it belongs there. Returns whether
    /// it does.
    #[inline]
    pub fn defer(&mut self, slot: &Slot, key: Key, now: MonotonicMs) -> bool {
        let queue = match slot.slow_until {
            _ if slot.is_deferred() => &mut self.costly,
            None => &mut self.new,
            Some(until) if until > now => &mut self.slow,
            Some(_) => return false,
        };
        queue.push_back(key);
        true
    }

    /// Adds the work that a client's lines have caused.
    #[inline]
    pub fn charge(&mut self, slot: &mut Slot, work: u64, now: MonotonicMs) {
        self.work += work;
        if work > WORK_BUDGET {
            slot.slow_until = Some(now.plus_ms(SLOW_MS));
        } else if work > 0 && slot.slow_until.is_none() {
            slot.slow_until = Some(now);
        }
    }

    /// Returns whether the run queue has used its budget of this turn.
    pub fn is_spent(&self) -> bool {
        self.work > TURN_WORK
    }

    /// Returns whether any client is deferred.
    pub fn has_deferred(&self) -> bool {
        !self.new.is_empty() || !self.slow.is_empty() || !self.costly.is_empty()
    }

    /// Returns whether any client is queued.
    pub fn has_work(&self) -> bool {
        !self.run.is_empty() || self.has_deferred()
    }

    /// Records that this turn ends before the deferred clients are served. The next turn serves
    /// them first.
    pub fn owe_deferred(&mut self) {
        self.owes_deferred = true;
    }

    /// Returns whether the last turn ended before the deferred clients were served.
    pub fn owes_deferred(&self) -> bool {
        self.owes_deferred
    }

    /// Returns whether the last turn ended before the deferred clients were served, and resets
    /// this.
    pub fn take_owed(&mut self) -> bool {
        std::mem::take(&mut self.owes_deferred)
    }

    /// Starts to serve one of the deferred queues with a new budget.
    pub fn start_queue(&mut self) {
        self.work = 0;
    }

    /// Takes the next new client, unless the budget is used.
    pub fn next_new(&mut self) -> Option<Key> {
        if self.work > WORK_BUDGET { None } else { self.new.pop_front() }
    }

    /// Takes the next slow client, unless the budget is used.
    pub fn next_slow(&mut self) -> Option<Key> {
        if self.work > WORK_BUDGET { None } else { self.slow.pop_front() }
    }

    /// Returns the number of clients whose next line is costly.
    pub fn costly_len(&self) -> usize {
        self.costly.len()
    }

    /// Takes the next client with a costly line, unless that line exceeds the budget after others.
    pub fn next_costly<'a>(&mut self, slot: impl Fn(Key) -> Option<&'a Slot>) -> Option<Key> {
        let key = self.costly.front().copied()?;
        let cost = slot(key).map_or(0, |slot| slot.deferred_cost);
        if self.work > 0 && self.work + u64::from(cost) > WORK_BUDGET {
            return None;
        }
        self.costly.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonotonicMs = MonotonicMs(1);

    /// Returns the slot of a client that has run a cheap line.
    fn regular() -> Slot {
        Slot { slow_until: Some(NOW), ..Slot::default() }
    }

    #[test]
    fn client_is_queued_once_until_it_is_served() {
        let mut scheduler = Scheduler::default();
        let mut slot = regular();
        scheduler.enqueue(&mut slot, 7);
        scheduler.enqueue(&mut slot, 7);
        scheduler.requeue(&mut slot, 7);
        assert_eq!((scheduler.next(), scheduler.next()), (Some(7), None));
        Scheduler::dequeued(&mut slot);
        scheduler.enqueue(&mut slot, 7);
        assert_eq!(scheduler.next(), Some(7));
    }

    #[test]
    fn new_slow_and_costly_clients_are_deferred_to_their_queues() {
        let mut scheduler = Scheduler::default();
        let (new, mut slow, mut costly) = (Slot::default(), regular(), regular());
        scheduler.charge(&mut slow, WORK_BUDGET + 1, NOW);
        costly.set_deferred_cost(9);
        assert!(!scheduler.defer(&regular(), 1, NOW));
        assert!(scheduler.defer(&new, 2, NOW));
        assert!(scheduler.defer(&slow, 3, NOW));
        assert!(scheduler.defer(&costly, 4, NOW));
        assert!(!scheduler.defer(&slow, 3, NOW.plus_ms(SLOW_MS)), "it is slow for a while only");
        scheduler.start_queue();
        assert_eq!((scheduler.next_new(), scheduler.next_slow()), (Some(2), Some(3)));
        assert_eq!(scheduler.next_costly(|_| Some(&costly)), Some(4));
        assert!(!scheduler.has_work());
    }

    #[test]
    fn deferred_queue_stops_at_its_budget() {
        let mut scheduler = Scheduler::default();
        let mut slot = Slot::default();
        (1..=2).for_each(|key| assert!(scheduler.defer(&Slot::default(), key, NOW)));
        assert_eq!(scheduler.next_new(), Some(1));
        scheduler.charge(&mut slot, WORK_BUDGET + 1, NOW);
        assert_eq!(scheduler.next_new(), None);
        scheduler.start_queue();
        assert_eq!(scheduler.next_new(), Some(2));
    }

    #[test]
    fn first_costly_line_runs_whatever_it_costs() {
        let mut scheduler = Scheduler::default();
        let mut costly = regular();
        costly.set_deferred_cost(u32::MAX);
        (1..=2).for_each(|key| assert!(scheduler.defer(&costly, key, NOW)));
        scheduler.start_queue();
        assert_eq!(scheduler.next_costly(|_| Some(&costly)), Some(1));
        scheduler.charge(&mut regular(), 1, NOW);
        assert_eq!(scheduler.next_costly(|_| Some(&costly)), None);
    }
}

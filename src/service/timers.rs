//! The timers of clients: stalls, idleness, lingering, and probes of half-closed connections.
//!
//! A client has at most one entry, which is handled lazily. When a deadline moves into the future,
//! the old entry stays, fires and is set again, so activity of a client costs nothing.
//!
//! Invariant: an entry is in the queue if and only if it is recorded in the client's [`Timer`].

use std::collections::BTreeSet;

use super::Key;
use crate::time::MonotonicMs;

/// The timer of one client.
#[derive(Debug)]
pub struct Timer {
    /// The time of its entry in the queue; [`MonotonicMs::MAX`] without an entry.
    at: MonotonicMs,
}

impl Timer {
    /// Returns a timer that is not set.
    pub fn new() -> Timer {
        Timer { at: MonotonicMs::MAX }
    }
}

/// The timers of all clients.
#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeSet<(MonotonicMs, Key)>,
}

impl Timers {
    /// Ensures that a timer fires at `deadline` or earlier.
    #[inline]
    pub fn set(&mut self, timer: &mut Timer, key: Key, deadline: MonotonicMs) {
        if deadline < timer.at {
            self.cancel(timer, key);
            timer.at = deadline;
            self.queue.insert((deadline, key));
        }
    }

    /// Cancels a timer.
    pub fn cancel(&mut self, timer: &mut Timer, key: Key) {
        if !timer.at.is_never() {
            self.queue.remove(&(timer.at, key));
            timer.at = MonotonicMs::MAX;
        }
    }

    /// Returns the client whose timer is due. It stays due until it is cancelled.
    pub fn due(&self, now: MonotonicMs) -> Option<Key> {
        self.queue.first().filter(|(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// Returns when the next timer fires.
    pub fn next(&self) -> Option<MonotonicMs> {
        self.queue.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_moves_only_to_an_earlier_deadline() {
        let (mut timers, mut timer) = (Timers::default(), Timer::new());
        timers.set(&mut timer, 1, MonotonicMs(50));
        timers.set(&mut timer, 1, MonotonicMs(90));
        assert_eq!(timers.next(), Some(MonotonicMs(50)));
        timers.set(&mut timer, 1, MonotonicMs(20));
        assert_eq!(timers.next(), Some(MonotonicMs(20)));
        assert_eq!(timers.queue.len(), 1);
    }

    #[test]
    fn due_timers_are_returned_in_order_until_cancelled() {
        let (mut timers, mut early, mut late) = (Timers::default(), Timer::new(), Timer::new());
        timers.set(&mut late, 1, MonotonicMs(30));
        timers.set(&mut early, 2, MonotonicMs(10));
        assert_eq!(timers.due(MonotonicMs(9)), None);
        assert_eq!(timers.due(MonotonicMs(30)), Some(2));
        timers.cancel(&mut early, 2);
        assert_eq!(timers.due(MonotonicMs(30)), Some(1));
        timers.cancel(&mut late, 1);
        timers.cancel(&mut late, 1);
        assert_eq!((timers.due(MonotonicMs(30)), timers.next()), (None, None));
    }

    #[test]
    fn deadline_never_sets_no_timer() {
        let (mut timers, mut timer) = (Timers::default(), Timer::new());
        timers.set(&mut timer, 1, MonotonicMs::MAX);
        assert_eq!(timers.next(), None);
    }
}

//! Checks of the queue for tests.

use super::list::Queue;
use super::ranks::Ranks;
use super::waiter::{Waiter, Want};
use crate::inventory::{Candidates, Inventory};
use crate::time::{ClockReading, Zone};

impl Inventory {
    /// Checks the invariants of the queue without its indexes.
    ///
    /// # Panics
    /// If one does not hold.
    pub(in crate::inventory) fn check_queue(&self) {
        for (ticket, waiter) in &self.queue.waiters {
            let is_indexed = |id| self.queue.by_name.contains(&(id, *ticket));
            assert!(waiter.names().all(is_indexed), "{ticket:?} is not indexed");
            let is_complex = waiter.only_name().is_none();
            assert_eq!(self.queue.complex.contains(ticket), is_complex);
            self.check_watch(*ticket);
        }
        self.check_matches();
        self.queue.check_counts();
    }

    fn check_matches(&self) {
        let (queue, texts) = (&self.queue, self.names.texts());
        for pattern in queue.patterns.ids() {
            let matcher = queue.patterns.pattern(pattern).matcher();
            for id in self.ids() {
                let expected = matcher.matches(texts.folded(id));
                let found = queue.patterns.is_match(pattern, id, texts);
                assert_eq!(found, expected, "wrong match set at {id}");
            }
        }
    }

    /// Returns whether a waiter could be granted now. Between two commands none can, unless
    /// [`Inventory::is_behind`].
    pub fn some_waiter_fits(&self, now: ClockReading, zone: &Zone) -> bool {
        let work = self.work.get();
        let found =
            !self.is_full() && self.queue.waiters.values().any(|it| self.fits(it, now, zone));
        self.work.set(work);
        found
    }

    fn fits(&self, waiter: &Waiter, now: ClockReading, zone: &Zone) -> bool {
        let Ok(interval) = waiter.request.when.interval(now, zone) else { return false };
        let mut candidates = Candidates::new(self);
        for want in &waiter.wants {
            match want {
                Want::Name(id) => candidates.add_name(*id),
                Want::Pattern(id) => {
                    candidates.add_pattern(self.queue.patterns.pattern(*id));
                }
            }
        }
        candidates.place(interval).is_ok()
    }
}

impl Queue {
    fn check_counts(&self) {
        let complex = self.waiters.values().filter(|waiter| waiter.only_name().is_none());
        let targets: usize = complex.map(|waiter| waiter.wants.len()).sum();
        assert_eq!(self.complex_targets, targets);
        assert_eq!(self.complex_targets_of.values().sum::<usize>(), targets);
        let ranked: usize = self.by_only_name.values().map(Ranks::len).sum();
        assert_eq!(ranked + self.complex.len(), self.waiters.len());
        let uses = self.waiters.values().flat_map(Waiter::patterns).count();
        assert_eq!(self.patterns.uses(), uses);
        assert!(!self.waiters.is_empty() || self.patterns.len() == 0, "unused pattern");
    }
}

//! Going back from a time that never was (`reservad reset-time`).

use std::rc::Rc;

use super::{Inventory, Number, Reservation};
use crate::clock::Time;

impl Inventory {
    /// Brings what counts elapsed time back from `then`, the last time of a clock that was
    /// ahead, to `now`: a lease has left what it had left then, and what has no end and
    /// began after `now` has begun now. Dates stay as they are. Returns the numbers of
    /// those that were changed.
    ///
    /// This is no event. It is for a server that is stopped, and whoever calls it writes a
    /// snapshot of the result.
    pub fn bring_back(&mut self, then: Time, now: Time) -> Vec<Number> {
        let goes_on = |one: &Reservation| one.lease || (one.until.is_never() && one.from > now);
        let all: Vec<_> =
            self.reservations.iter().filter(|it| it.from <= then && goes_on(it)).cloned().collect();
        let mut changed = Vec::new();
        for old in all {
            let mut new = Reservation::clone(&old);
            new.from = old.from.min(now);
            if old.lease {
                let left_ms = old.until.ms().saturating_sub(then.ms()).max(1);
                new.until = now.plus_ms(left_ms);
            }
            self.end(old.number);
            let until = new.until;
            let is_free = |id: &_| self.overlap(*id, new.from, until).is_none();
            // All that ended before `then` has ended, so nothing is in the way; what is not
            // as it should be is left as it is.
            if new.targets().iter().all(is_free) {
                changed.push(new.number);
                self.insert(Rc::new(new));
            } else {
                self.insert(old);
            }
        }
        changed
    }
}

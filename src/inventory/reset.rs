//! Moves reservations back in time, for `reservad reset-time`.

use std::rc::Rc;

use super::{Inventory, Number, Reservation};
use crate::time::Time;

impl Inventory {
    /// Moves leases and reservations without an end from `then`, the last time of a clock that was
    /// ahead, back to `now`, and returns the numbers of those that changed. A lease keeps the time
    /// that it had left at `then`. A start after `now` becomes `now`. Reservations with dates
    /// do not change.
    ///
    /// The change is not an event; the caller must write a snapshot of the result.
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
            let interval = new.interval();
            let is_free = |id: &_| self.overlap(*id, interval).is_none();
            // Reservations that ended before `then` are gone, so nothing can be in the way. If the
            // journal contradicts this, the reservation stays as it is.
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

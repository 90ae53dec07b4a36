//! Reservations that a connection keeps alive (`hasta=salir por=D`). Each ends when its connection
//! sends `SALIR`, or `D` after it was granted or last renewed. Losing the connection does not end
//! it earlier.
//!
//! `D` is measured on the monotonic clock, and moving a deadline is not an event. The journal holds
//! `D` alone, so after a restart a reservation lives on for `D`.

use std::rc::Rc;

use super::event::Batch;
use super::{Event, Inventory, Number, Reservation, SessionId};
use crate::time::{ClockReading, MonotonicMs};

/// How a reservation is kept alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepAlive {
    /// The time that it lives without a renewal, in milliseconds, at least
    /// [`KEEP_ALIVE_MIN_MS`](crate::limits::KEEP_ALIVE_MIN_MS).
    pub ms: i64,
    /// The time at which it ends unless it is renewed. Set when the reservation enters the
    /// inventory.
    pub deadline: MonotonicMs,
}

impl KeepAlive {
    /// Returns a keep-alive whose deadline is set once its reservation enters the inventory.
    pub fn of_ms(ms: i64) -> KeepAlive {
        KeepAlive { ms, deadline: MonotonicMs::MAX }
    }
}

impl Inventory {
    /// Sets the reading of the monotonic clock from which deadlines count.
    pub fn set_monotonic(&mut self, reading: MonotonicMs) {
        self.monotonic = reading;
    }

    /// Returns the earliest deadline of a reservation that is kept alive.
    pub fn next_keep_alive(&self) -> Option<MonotonicMs> {
        self.keep_alives.first().map(|(deadline, _)| *deadline)
    }

    /// Returns how long a reservation lives without a renewal, in milliseconds; `None` if it has no
    /// known end.
    pub fn left_ms(&self, reservation: &Reservation, now: ClockReading) -> Option<i64> {
        if let Some(keep_alive) = reservation.keep_alive() {
            return Some(keep_alive.deadline.0.saturating_sub(self.monotonic.0).cast_signed());
        }
        let now = if reservation.lease { now.monotonic } else { now.wall };
        (!reservation.until.is_never()).then(|| reservation.until.ms() - now.ms())
    }

    /// Ends up to `most` reservations that were not renewed in time. The rest can wait for the next
    /// turn, since nobody can observe a deadline to the millisecond.
    pub fn expire_keep_alives(&mut self, now: ClockReading, most: usize, batch: &mut Batch) {
        let mut count = 0;
        while count < most
            && let Some((deadline, number)) = self.keep_alives.first().copied()
            && deadline <= self.monotonic
        {
            self.apply_and_log(now.wall, Event::Expired { number }, batch);
            count += 1;
        }
    }

    /// Renews a reservation that is kept alive, and binds it to this connection.
    pub fn keep_alive(&mut self, number: Number, session: SessionId) {
        self.set_deadline(number);
        self.rebind(number, session);
    }

    /// Restarts all deadlines from now, after a start of the server.
    pub fn restart_keep_alives(&mut self) {
        let all: Vec<_> = self.keep_alives.iter().map(|(_, number)| *number).collect();
        all.into_iter().for_each(|number| self.set_deadline(number));
    }

    /// Restarts the deadline of a reservation, if it has one.
    pub(super) fn set_deadline(&mut self, number: Number) {
        let Some(reservation) = self.reservations.get_mut(&number) else { return };
        let Some(old) = reservation.keep_alive() else { return };
        let deadline = self.monotonic.plus_ms(old.ms.unsigned_abs());
        Rc::make_mut(reservation).detail(|details| {
            details.keep_alive = Some(KeepAlive { deadline, ..old });
        });
        self.keep_alives.remove(&(old.deadline, number));
        self.keep_alives.insert((deadline, number));
    }
}

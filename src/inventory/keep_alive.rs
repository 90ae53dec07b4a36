//! Reservations that a connection keeps alive (`hasta=salir por=D`): each ends when its connection
//! says `SALIR`, or `D` after it was granted or last renewed. A connection that is merely lost does
//! not end it earlier.
//!
//! `D` is measured on the monotonic clock, and a deadline that moves is not an event: the journal
//! has `D` alone, so after a start a reservation lives on for `D`.

use std::rc::Rc;

use super::event::Batch;
use super::{Event, Inventory, Number, Reservation, SessionId};
use crate::clock::{Now, Tick};

/// How a reservation is kept alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepAlive {
    /// How long it lives without a renewal, in milliseconds, at least
    /// [`KEEP_ALIVE_MIN_MS`](crate::limits::KEEP_ALIVE_MIN_MS).
    pub ms: i64,
    /// When it ends unless it is renewed. Set when the reservation enters the inventory.
    pub deadline: Tick,
}

impl KeepAlive {
    /// One whose deadline is set once its reservation enters the inventory.
    pub fn of_ms(ms: i64) -> KeepAlive {
        KeepAlive { ms, deadline: Tick::NEVER }
    }
}

impl Inventory {
    /// Sets what the monotonic clock says; deadlines count from it.
    pub fn set_monotonic(&mut self, tick: Tick) {
        self.monotonic = tick;
    }

    /// When the next reservation ends that nobody renews.
    pub fn next_keep_alive(&self) -> Option<Tick> {
        self.keep_alives.first().map(|(deadline, _)| *deadline)
    }

    /// Returns how long a reservation lives if nobody renews it, in milliseconds; `None` where no
    /// end is known.
    pub fn left_ms(&self, reservation: &Reservation, now: Now) -> Option<i64> {
        if let Some(keep_alive) = reservation.keep_alive() {
            return Some(keep_alive.deadline.0.saturating_sub(self.monotonic.0).cast_signed());
        }
        let now = if reservation.lease { now.steady } else { now.time };
        (!reservation.until.is_never()).then(|| reservation.until.ms() - now.ms())
    }

    /// Ends the reservations that were not renewed in time, at most `most` of them: a
    /// deadline in milliseconds is nothing that anybody could hold against the next turn.
    pub fn expire_keep_alives(&mut self, now: Now, most: usize, batch: &mut Batch) {
        let mut count = 0;
        while count < most
            && let Some((deadline, number)) = self.keep_alives.first().copied()
            && deadline <= self.monotonic
        {
            self.enact(now.time, Event::Expired { number }, batch);
            count += 1;
        }
    }

    /// Renews a reservation that is kept alive, and binds it to this connection.
    pub fn keep_alive(&mut self, number: Number, session: SessionId) {
        self.set_deadline(number);
        self.rebind(number, session);
    }

    /// Counts every deadline from now: the server has just started.
    pub fn restart_keep_alives(&mut self) {
        let all: Vec<_> = self.keep_alives.iter().map(|(_, number)| *number).collect();
        all.into_iter().for_each(|number| self.set_deadline(number));
    }

    /// Counts the deadline of a reservation, if it has one, from now.
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

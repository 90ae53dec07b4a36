//! Clients that wait for a reservation: their notices, their replies, and whether they are still
//! there.
//!
//! The queue of waiting requests belongs to the inventory, and the reply format to the session.
//! The service keeps only the way from a session to its connection ([`Clients::waiter`]).
//!
//! [`Clients::waiter`]: super::clients::Clients::waiter

use super::observer::{Observer, Step};
use super::{Key, Service, Stream};
use crate::commands;
use crate::inventory::queue::Outcome;
use crate::journal::Storage;
use crate::limits::HALF_CLOSED_PROBE_MS;
use crate::time::MonotonicMs;

impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Records that a line has started to wait. While the server stops, the wait ends at once.
    pub(super) fn start_waiting(&mut self, key: Key) {
        self.clients.set_waiting(key);
        let client = &mut self.clients[key];
        if client.conn.take_interrupt() {
            self.engine.interrupt(client.session.id());
        }
        if self.stop_by.is_some() {
            self.engine.end_all_waits();
        }
    }

    /// Sends waiters their outcomes: new positions, grants, and the ends of their waits.
    pub(super) fn notify_waiters(&mut self) {
        for (session, outcome) in self.engine.inventory.take_outcomes() {
            let Some((key, client)) = self.clients.waiter(session) else { continue };
            // A client that does not read its output is not sent new positions, but it gets the
            // reply.
            if matches!(outcome, Outcome::PositionChanged(_)) && !client.conn.may_run() {
                self.engine.observer.note(Step::WithheldPosition(session));
                continue;
            }
            let context = self.engine.context();
            commands::resolve(&mut client.session, &outcome, &context, client.conn.out());
            self.flusher.push(key);
            if !client.session.is_waiting() {
                client.close_at = MonotonicMs::MAX;
                // Its next lines were held back.
                self.scheduler.enqueue(&mut client.slot, key);
                self.clients.stop_waiting(session);
            }
        }
    }

    /// Schedules a probe of a connection that is half-closed and not probed yet.
    pub(super) fn probe_if_half_closed(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let is_half_closed = client.conn.is_eof()
            // Some of its input may be unread while it waits.
            || client.session.is_waiting() && client.conn.is_read_closed();
        if !is_half_closed || !client.close_at.is_never() || self.stop_by.is_some() {
            return;
        }
        let session = &client.session;
        let blocks_others = session.is_waiting()
            || session.is_watching() && self.engine.inventory.has_bound(session.id());
        if blocks_others {
            // After the flush of this turn, so that its replies come first.
            client.close_at = self.engine.instant;
        }
    }

    /// Writes something to a half-closed connection that waits, or that watches and holds a
    /// reservation. If the peer is gone, its host answers with a reset.
    pub(super) fn probe_half_closed(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let session = client.session.id();
        client.close_at = MonotonicMs::MAX;
        if let Some(position) = self.engine.inventory.announced_position(session) {
            commands::push_position(&client.session, position, client.conn.out());
            self.engine.observer.note(Step::SentPositionAgain(session));
        } else if client.session.is_watching() && self.engine.inventory.has_bound(session) {
            client.conn.stream().probe();
        } else {
            return;
        }
        self.flusher.push(key);
        client.close_at = self.engine.instant.plus_ms(HALF_CLOSED_PROBE_MS);
    }
}

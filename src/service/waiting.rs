//! Those who wait: what they are told, and whether they are still there.

use super::client::enqueue;
use super::{Key, Service, Step, Stream, side_desk};
use crate::commands;
use crate::commands::parse::RequestTime;
use crate::inventory::queue::Outcome;
use crate::journal::Storage;
use crate::limits::NUDGE_MS;
use crate::time::MonotonicMs;

impl<T: Stream, S: Storage> Service<T, S> {
    /// Tells those who wait what has become of it.
    pub(super) fn tell_waiters(&mut self) {
        for (session, outcome) in self.inventory.take_outcomes() {
            let Some(key) = self.waiting.get(&session).copied() else { continue };
            let Some(client) = self.clients.get_mut(key) else { continue };
            // Who does not read is spared the notices, not the reply.
            if matches!(outcome, Outcome::PositionChanged(_)) && !client.conn.may_run() {
                self.trace.note(Step::Spared(session));
                continue;
            }
            let request_time = RequestTime { now: self.now, zone: &self.zone };
            let context =
                side_desk(&mut self.inventory, &mut self.batch, &self.store, request_time);
            commands::resolve(&mut client.session, &outcome, &context, client.conn.out());
            self.served.push(key);
            if !client.session.is_waiting() {
                self.waiting.remove(&session);
                client.close_at = MonotonicMs::MAX;
                // Its next lines were held back.
                enqueue(&mut self.run_queue, client, key);
            }
        }
    }

    /// Whether a half-closed connection keeps something from others, so that it
    /// matters if it is gone.
    pub(super) fn may_be_gone(&self, key: Key) -> bool {
        let session = &self.clients[key].session;
        session.is_waiting() || session.is_watching() && self.inventory.has_bound(session.id())
    }

    /// Writes something to a half-closed connection that waits, or holds
    /// something while it watches: one that is gone answers with a reset.
    pub(super) fn probe_half_closed(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let session = client.session.id();
        client.close_at = MonotonicMs::MAX;
        if let Some(place) = self.inventory.announced_position(session) {
            commands::tell_place(&client.session, place, client.conn.out());
            self.trace.note(Step::ToldAgain(session));
            self.served.push(key);
        } else if client.session.is_watching() && self.inventory.has_bound(session) {
            client.conn.stream().probe();
            self.served.push(key);
        } else {
            return;
        }
        client.close_at = self.tick.plus_ms(NUDGE_MS);
    }
}

//! Deadlines of connections: clients that stall, are idle or linger are closed, and half-closed
//! ones are probed.

use log::debug;

use super::client::{Phase, Rest};
use super::observer::Observer;
use super::throttle::Kind;
use super::{Key, Service, Stream};
use crate::journal::Storage;
use crate::limits::DEADLINES_A_TURN;

impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Sets the timer of a client to its deadline.
    pub(super) fn arm(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let deadline = client.deadline(self.config.stall_timeout_ms, self.config.idle_timeout_ms);
        self.timers.set(&mut client.timer, key, deadline);
    }

    /// Handles timers that are due. Those beyond the limit of a turn are due in the next turn,
    /// which follows at once.
    pub(super) fn check_deadlines(&mut self) {
        for _ in 0..DEADLINES_A_TURN {
            let Some(key) = self.timers.due(self.engine.instant) else { break };
            let client = &mut self.clients[key];
            self.timers.cancel(&mut client.timer, key);
            let deadline =
                client.deadline(self.config.stall_timeout_ms, self.config.idle_timeout_ms);
            match deadline <= self.engine.instant {
                true => self.probe_or_close(key),
                false => self.arm(key),
            }
        }
        if self.flusher.len() > 0 {
            self.flush_served();
        }
    }

    /// Handles a deadline that has passed.
    fn probe_or_close(&mut self, key: Key) {
        let client = &mut self.clients[key];
        if client.phase == Phase::Open && client.close_at <= self.engine.instant {
            self.probe_half_closed(key);
            return self.arm(key);
        }
        let is_idle = client.phase == Phase::Open && client.conn.is_flushed();
        // A client that holds something through the connection itself is never idle.
        let is_in_use = client.rest == Rest::HeldBack
            || client.session.is_watching()
            || client.session.is_waiting()
            || self.engine.inventory.has_bound(client.session.id());
        if is_idle && is_in_use {
            client.last_read_at = self.engine.instant;
            return self.arm(key);
        }
        if is_idle {
            debug!("closed connection {}: idle", client.session.id().0);
        } else if client.phase != Phase::Linger {
            self.log.warn(self.engine.instant, Kind::Slow, "it did not read its output");
        }
        self.close(key);
    }
}

//! Deadlines of connections: stalls, idleness, lingering, and looking whether
//! a half-closed one is still there. At most one each is in the set, looked at
//! lazily: a deadline that has moved away is put back when the old one fires.

use log::debug;

use super::client::{Client, Phase, mark_dead};
use super::{Key, Service, Stream};
use crate::journal::Storage;
use crate::limits::DEADLINES_A_TURN;
use crate::time::MonotonicMs;

impl<T: Stream, S: Storage> Service<T, S> {
    /// When a connection is to be looked at even if nothing happens.
    fn deadline(&self, client: &Client<T>) -> MonotonicMs {
        let stall = client.write_blocked_since.plus_ms(self.config.stall_timeout_ms);
        // Who still reads a reply is not idle; for who reads none of it there is the stall.
        let may_idle = client.phase == Phase::Open && client.write_blocked_since.is_never();
        let idle = self.config.idle_timeout_ms.filter(|_| may_idle);
        let idle = idle.map_or(MonotonicMs::MAX, |ms| client.last_read_at.plus_ms(ms));
        stall.min(client.close_at).min(idle)
    }

    /// Sees that the connection's deadline is in the set, or an earlier one.
    pub(super) fn arm(&mut self, key: Key) {
        let client = &self.clients[key];
        let (armed, deadline) = (client.timer_at, self.deadline(client));
        if armed <= deadline {
            return;
        }
        if !armed.is_never() {
            self.deadlines.remove(&(armed, key));
        }
        self.clients[key].timer_at = deadline;
        self.deadlines.insert((deadline, key));
    }

    pub(super) fn check_deadlines(&mut self) {
        // The rest is still due in the next turn, which follows at once.
        for _ in 0..DEADLINES_A_TURN {
            let Some((when, key)) = self.deadlines.first().copied() else { break };
            if when > self.tick {
                break;
            }
            self.deadlines.pop_first();
            self.clients[key].timer_at = MonotonicMs::MAX;
            match self.deadline(&self.clients[key]) <= self.tick {
                true => self.give_up_or_nudge(key),
                false => self.arm(key),
            }
        }
        if !self.served.is_empty() {
            self.flush_served();
        }
    }

    fn give_up_or_nudge(&mut self, key: Key) {
        let client = &self.clients[key];
        let is_open = client.phase == Phase::Open;
        if is_open && client.close_at <= self.tick {
            self.probe_half_closed(key);
            return self.arm(key);
        }
        self.give_up(key);
    }

    /// A deadline has passed. Who holds something by the connection itself
    /// is not idle, however quiet.
    fn give_up(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let is_idle = client.phase == Phase::Open && client.conn.is_flushed();
        let holds = client.is_held_back
            || client.session.is_watching()
            || client.session.is_waiting()
            || self.inventory.has_bound(client.session.id());
        if is_idle && holds {
            client.last_read_at = self.tick;
            return self.arm(key);
        }
        match is_idle {
            true => debug!("closed a client that was idle"),
            false if client.phase == Phase::Linger => {}
            false => self.note_slow("took none of its output"),
        }
        mark_dead(&mut self.clients[key], key, &mut self.dead);
    }
}

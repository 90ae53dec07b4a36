//! Deadlines of connections: stalls, idleness, lingering, and looking whether
//! a half-closed one is still there. At most one each is in the set, looked at
//! lazily: a deadline that has moved away is put back when the old one fires.

use log::debug;

use super::client::{Client, Phase, bury};
use super::{Key, Service, Stream};
use crate::clock::Tick;
use crate::journal::Storage;

impl<T: Stream, S: Storage> Service<T, S> {
    /// When a connection is to be looked at even if nothing happens.
    fn deadline(&self, client: &Client<T>) -> Option<Tick> {
        let stall = client.blocked.map(|since| since.plus_ms(self.config.stall_timeout_ms));
        // Who still reads a reply is not idle; for who reads none of it there is the stall.
        let may_idle = client.phase == Phase::Open && client.blocked.is_none();
        let idle = self.config.idle_timeout_ms.filter(|_| may_idle);
        let idle = idle.map(|ms| client.heard.plus_ms(ms));
        [stall, client.due, idle].into_iter().flatten().min()
    }

    /// Sees that the connection's deadline is in the set, or an earlier one.
    pub(super) fn arm(&mut self, key: Key) {
        let client = &self.clients[key];
        let Some(deadline) = self.deadline(client) else { return };
        match client.armed {
            Some(armed) if armed <= deadline => return,
            Some(armed) => self.deadlines.remove(&(armed, key)),
            None => false,
        };
        self.clients[key].armed = Some(deadline);
        self.deadlines.insert((deadline, key));
    }

    pub(super) fn check_deadlines(&mut self) {
        while let Some((when, key)) = self.deadlines.first().copied() {
            if when > self.tick {
                return;
            }
            self.deadlines.pop_first();
            self.clients[key].armed = None;
            match self.deadline(&self.clients[key]) {
                Some(deadline) if deadline <= self.tick => self.give_up_or_nudge(key),
                _ => self.arm(key),
            }
        }
    }

    fn give_up_or_nudge(&mut self, key: Key) {
        let client = &self.clients[key];
        let is_open = client.phase == Phase::Open;
        if is_open && client.due.is_some_and(|due| due <= self.tick) {
            self.nudge(key);
            self.flush_served();
            return self.arm(key);
        }
        self.give_up(key);
    }

    /// A deadline has passed. Who holds something by the connection itself
    /// is not idle, however quiet.
    fn give_up(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let is_idle = client.phase == Phase::Open && client.conn.is_flushed();
        let holds = client.session.is_watching()
            || client.session.is_waiting()
            || self.inventory.has_bound(client.session.id());
        if is_idle && holds {
            client.heard = self.tick;
            return self.arm(key);
        }
        match is_idle {
            true => debug!("closed a client that was idle"),
            false if client.phase == Phase::Linger => {}
            false => self.note_slow("took none of its output"),
        }
        bury(&mut self.clients[key], key, &mut self.dead);
    }
}

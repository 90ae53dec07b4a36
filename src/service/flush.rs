//! Sending, after the commit.

use log::debug;

use super::client::{Phase, bury, enqueue, has_more, send};
use super::{Key, Service, Step, Stream};
use crate::clock::Tick;
use crate::journal::Storage;
use crate::limits::{
    LINGER_MS, TURN_WRITE_BYTES, WRITE_BUDGET_BYTES, WRITE_LIST_BYTES, WRITE_MIN_BYTES,
};

impl<T: Stream, S: Storage> Service<T, S> {
    pub(super) fn flush_served(&mut self) {
        let mut served = std::mem::take(&mut self.served);
        let share = TURN_WRITE_BYTES / served.len().max(self.queued_in_turn).max(1);
        self.write_share = share.clamp(WRITE_MIN_BYTES, WRITE_BUDGET_BYTES);
        for key in served.drain(..) {
            match self.clients.get(key) {
                Some(client) if client.conn.list_generation().is_some() => self.listed.push(key),
                _ => self.flush(key),
            }
        }
        self.served = served;
    }

    /// A turn's share for as many lists as there is time for; who is left is
    /// before these in the next turn.
    pub(super) fn flush_lists(&mut self) {
        let lists = std::mem::take(&mut self.listed);
        let fit = lists.len().min(TURN_WRITE_BYTES / WRITE_LIST_BYTES);
        self.write_share = (TURN_WRITE_BYTES / fit.max(1)).min(WRITE_BUDGET_BYTES);
        let (now, later) = lists.split_at(fit);
        for key in later {
            if let Some(client) = self.clients.get_mut(*key) {
                enqueue(&mut self.run_queue, client, *key);
            }
        }
        now.iter().for_each(|key| self.flush(*key));
    }

    /// Sends what a connection is owed and sees what is next for it.
    pub(super) fn flush(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.phase == Phase::Dead {
            return;
        }
        match send(client, self.store.history(), &self.zone, self.write_share) {
            Ok(_) if client.conn.is_flushed() => {
                if !std::mem::replace(&mut client.blocked, Tick::NEVER).is_never() {
                    client.heard = self.tick;
                }
            }
            Ok(0) => client.blocked = client.blocked.min(self.tick),
            Ok(_) => client.blocked = self.tick,
            Err(error) => {
                debug!("a client is gone: {error}");
                // Others are perhaps served before it is reaped.
                self.inventory.leave_queue(client.session.id(), self.now);
                self.trace.note(Step::LeftQueue(client.session.id()));
                return bury(client, key, &mut self.dead);
            }
        }
        if client.conn.is_flushed() && client.phase == Phase::Closing {
            let at_once = client.conn.is_eof() || self.stopping.is_some();
            if at_once || client.conn.stream().shutdown_write().is_err() {
                return bury(client, key, &mut self.dead);
            }
            client.phase = Phase::Linger;
            client.due = self.tick.plus_ms(LINGER_MS);
            client.conn.drop_input();
        }
        client.conn.tidy(&mut self.spare);
        let is_open = client.phase == Phase::Open && client.conn.is_drained();
        let goes_on = is_open && has_more(client);
        let is_flushed = client.conn.is_flushed();
        let tells = is_open && client.session.can_be_told(self.store.history(), is_flushed);
        let lingers = client.phase == Phase::Linger && client.conn.wants_read();
        if goes_on || tells || lingers || client.conn.wants_write() {
            enqueue(&mut self.run_queue, client, key);
        }
        self.arm(key);
    }
}

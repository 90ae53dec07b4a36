//! Sending, after the commit.

use log::debug;

use super::client::{Client, Phase, enqueue, has_more, mark_dead, send};
use super::{Key, Service, Step, Stream};
use crate::journal::Storage;
use crate::limits::{
    LINGER_MS, TURN_WRITE_BYTES, WRITE_BUDGET_BYTES, WRITE_LIST_BYTES, WRITE_MIN_BYTES,
};
use crate::time::MonotonicMs;

impl<T: Stream, S: Storage> Service<T, S> {
    pub(super) fn flush_served(&mut self) {
        let mut served = std::mem::take(&mut self.served);
        let share = TURN_WRITE_BYTES / served.len().max(self.queued_in_turn).max(1);
        self.write_share = share.clamp(WRITE_MIN_BYTES, WRITE_BUDGET_BYTES);
        for key in served.drain(..) {
            match self.clients.get_mut(key) {
                Some(client) if client.conn.list_name_epoch().is_some() => {
                    if !std::mem::replace(&mut client.listed, true) {
                        self.listed.push_back(key);
                    }
                }
                _ => {
                    self.flush(key);
                }
            }
        }
        self.served = served;
    }

    /// A turn's share for as many lists as there is time for; who is left is
    /// before these in the next turn.
    pub(super) fn flush_lists(&mut self) {
        if self.listed.is_empty() {
            return;
        }
        let fit = self.listed.len().min(TURN_WRITE_BYTES / WRITE_LIST_BYTES);
        self.write_share = (TURN_WRITE_BYTES / fit.max(1)).min(WRITE_BUDGET_BYTES);
        for _ in 0..fit {
            let Some(key) = self.listed.pop_front() else { return };
            // The slot may hold another connection by now.
            let is_it = |client: &mut Client<T>| std::mem::take(&mut client.listed);
            if self.clients.get_mut(key).is_some_and(is_it) {
                self.flush(key);
            }
        }
    }

    /// Sends pending output of a connection and updates its state. Returns the number of bytes
    /// sent.
    pub(super) fn flush(&mut self, key: Key) -> usize {
        let Some(client) = self.clients.get_mut(key) else { return 0 };
        if client.phase == Phase::Dead {
            return 0;
        }
        let history = self.store.history();
        let sent = send(client, history, &mut self.notices, &self.zone, self.write_share);
        match sent {
            Ok(_) if client.conn.is_flushed() => {
                if !std::mem::replace(&mut client.write_blocked_since, MonotonicMs::MAX).is_never()
                {
                    client.last_read_at = self.tick;
                }
            }
            Ok(0) => client.write_blocked_since = client.write_blocked_since.min(self.tick),
            Ok(_) => client.write_blocked_since = self.tick,
            Err(error) => {
                debug!("a client is gone: {error}");
                // Others are perhaps served before it is reaped.
                self.inventory.leave_queue(client.session.id(), self.now);
                self.trace.note(Step::LeftQueue(client.session.id()));
                mark_dead(client, key, &mut self.dead);
                return 0;
            }
        }
        let sent = sent.unwrap_or(0);
        if client.conn.is_flushed() && client.phase == Phase::Closing {
            let at_once = client.conn.is_eof() || self.stopping.is_some();
            if at_once || client.conn.stream().shutdown_write().is_err() {
                mark_dead(client, key, &mut self.dead);
                return sent;
            }
            client.phase = Phase::Linger;
            client.close_at = self.tick.plus_ms(LINGER_MS);
            client.conn.drop_input();
        }
        client.conn.release(&mut self.spare);
        if client.is_at_rest() {
            self.arm(key);
            return sent;
        }
        let keeps = client.retained > 0 || client.conn.keeps_memory();
        let is_open = client.phase == Phase::Open && client.conn.is_drained();
        let goes_on = is_open && has_more(client);
        let is_flushed = client.conn.is_flushed();
        let tells = is_open && client.session.can_be_told(self.store.history(), is_flushed);
        let lingers = client.phase == Phase::Linger && client.conn.wants_read();
        let sends = tells || client.conn.wants_write();
        let is_watcher = client.phase == Phase::Open && client.session.is_watching();
        if goes_on || lingers || sends && !is_watcher {
            enqueue(&mut self.run_queue, client, key);
        } else if sends {
            self.look_at_watchers();
        }
        self.arm(key);
        if keeps {
            self.bound_memory(key);
        }
        sent
    }
}

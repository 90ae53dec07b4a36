//! Sending replies after the commit, shared out among the clients of a turn.

use std::collections::VecDeque;

use log::debug;

use super::client::Phase;
use super::observer::Observer;
use super::watching::Feed;
use super::{Key, Service, Stream};
use crate::journal::Storage;
use crate::limits::{
    LINGER_MS, TURN_WRITE_BYTES, WRITE_BUDGET_BYTES, WRITE_LIST_BYTES, WRITE_MIN_BYTES,
};

/// The clients to be sent something, and the write quotas.
///
/// A turn sends up to [`TURN_WRITE_BYTES`] of replies and as much of lists. Each client gets an
/// equal quota of that.
#[derive(Debug, Default)]
pub struct Flusher {
    /// Clients that were served and not answered yet. They are flushed after the next commit.
    served: Vec<Key>,
    /// Clients with an unfinished list, the least recently flushed first.
    lists: VecDeque<Key>,
    /// The number of clients that share the bytes of this turn.
    expected: usize,
}

impl Flusher {
    /// Sets the number of clients to be served in this turn.
    pub fn expect(&mut self, clients: usize) {
        self.expected = clients;
    }

    /// Queues a client to be flushed after the next commit.
    pub fn push(&mut self, key: Key) {
        self.served.push(key);
    }

    /// Returns the number of clients to be flushed after the next commit.
    pub fn len(&self) -> usize {
        self.served.len()
    }

    /// Queues a client with an unfinished list, unless it is queued.
    pub fn push_list(&mut self, is_queued: &mut bool, key: Key) {
        if !std::mem::replace(is_queued, true) {
            self.lists.push_back(key);
        }
    }

    /// Returns whether any list is unfinished.
    pub fn has_lists(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Takes the clients to be flushed, for [`Flusher::give_back`], and the quota of each in bytes.
    fn take(&mut self) -> (Vec<Key>, usize) {
        let quota = quota(self.served.len().max(self.expected));
        (std::mem::take(&mut self.served), quota)
    }

    /// Returns the emptied list of clients, so that its memory is used again.
    fn give_back(&mut self, served: Vec<Key>) {
        debug_assert!(self.served.is_empty() && served.is_empty());
        self.served = served;
    }

    /// Returns the number of lists that a turn has time for, and the quota of each in bytes.
    fn list_quota(&self) -> (usize, usize) {
        let count = self.lists.len().min(TURN_WRITE_BYTES / WRITE_LIST_BYTES);
        (count, (TURN_WRITE_BYTES / count.max(1)).min(WRITE_BUDGET_BYTES))
    }
}

/// Returns the bytes that each of some clients may be sent in a turn.
pub fn quota(clients: usize) -> usize {
    (TURN_WRITE_BYTES / clients.max(1)).clamp(WRITE_MIN_BYTES, WRITE_BUDGET_BYTES)
}

impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Flushes the clients that were served.
    pub(super) fn flush_served(&mut self) {
        let (mut served, quota) = self.flusher.take();
        for key in served.drain(..) {
            match self.clients.get_mut(key) {
                Some(client) if client.conn.list_name_epoch().is_some() => {
                    self.flusher.push_list(&mut client.is_list_queued, key);
                }
                _ => {
                    self.flush(key, quota);
                }
            }
        }
        self.flusher.give_back(served);
    }

    /// Sends a part of as many lists as the turn has time for. The next turn begins with the
    /// others.
    pub(super) fn flush_lists(&mut self) {
        if !self.flusher.has_lists() {
            return;
        }
        let (count, quota) = self.flusher.list_quota();
        for _ in 0..count {
            let Some(key) = self.flusher.lists.pop_front() else { return };
            // The key may belong to another connection by now, which is then not queued.
            let client = self.clients.get_mut(key);
            if client.is_some_and(|client| std::mem::take(&mut client.is_list_queued)) {
                self.flush(key, quota);
            }
        }
    }

    /// Sends output of a client, about `quota` bytes, and decides how the client continues. Returns
    /// the number of bytes sent.
    pub(super) fn flush(&mut self, key: Key, quota: usize) -> usize {
        let Some(client) = self.clients.get_mut(key) else { return 0 };
        if client.phase == Phase::Dead {
            return 0;
        }
        let mut feed = Feed {
            history: self.engine.store.history(),
            notices: &mut self.watchers.notices,
            zone: &self.engine.zone,
        };
        let sent = match client.send(&mut feed, quota) {
            Ok(sent) => sent,
            Err(error) => {
                self.lose(key, &error);
                return 0;
            }
        };
        client.note_sent(sent, self.engine.instant);
        if client.phase == Phase::Closing && client.conn.is_flushed() {
            self.shut_down(key);
        }
        let client = &mut self.clients[key];
        if client.phase == Phase::Dead {
            return sent;
        }
        client.conn.release(&mut self.memory.pool);
        if client.is_at_rest() {
            self.arm(key);
        } else {
            self.continue_after_flush(key);
        }
        sent
    }

    /// Closes a connection that was lost.
    pub(super) fn lose(&mut self, key: Key, error: &std::io::Error) {
        debug!("lost connection {}: {error}", self.clients[key].session.id().0);
        self.close(key);
    }

    /// Shuts down our side of a connection whose output is sent, or closes it at once if the peer
    /// has done the same or the server stops.
    fn shut_down(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let at_once = client.conn.is_eof() || self.stop_by.is_some();
        if at_once || client.conn.stream().shutdown_write().is_err() {
            return self.close(key);
        }
        client.phase = Phase::Linger;
        client.close_at = self.engine.instant.plus_ms(LINGER_MS);
        client.conn.drop_input();
    }

    /// Queues a client that has more to do, and counts its memory.
    fn continue_after_flush(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let history = self.engine.store.history();
        let is_open = client.phase == Phase::Open;
        let is_drained = is_open && client.conn.is_drained();
        let runs = is_drained && client.has_more();
        let notifies = is_drained && client.session.can_notify(history, client.conn.is_flushed());
        let sends = notifies || client.conn.wants_write();
        let lingers = client.phase == Phase::Linger && client.conn.wants_read();
        let is_watcher = is_open && client.session.is_watching();
        let keeps_memory = client.retained > 0 || client.conn.keeps_memory();
        if runs || lingers || sends && !is_watcher {
            self.scheduler.enqueue(&mut client.slot, key);
        } else if sends {
            self.watchers.notify_all();
        }
        self.arm(key);
        if keeps_memory {
            self.bound_memory(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_is_an_equal_part_of_the_turn_within_its_bounds() {
        assert_eq!(quota(0), WRITE_BUDGET_BYTES);
        assert_eq!(quota(1), WRITE_BUDGET_BYTES);
        assert_eq!(quota(16), TURN_WRITE_BYTES / 16);
        assert_eq!(quota(1_000_000), WRITE_MIN_BYTES);
    }

    #[test]
    fn first_batch_of_a_turn_gets_no_larger_quota_than_the_last() {
        let mut flusher = Flusher::default();
        flusher.expect(64);
        flusher.push(1);
        let (mut served, each) = flusher.take();
        assert_eq!((&served[..], each), (&[1][..], TURN_WRITE_BYTES / 64));
        served.clear();
        flusher.give_back(served);
    }

    #[test]
    fn list_is_queued_once_and_many_lists_take_several_turns() {
        let mut flusher = Flusher::default();
        let mut is_queued = false;
        flusher.push_list(&mut is_queued, 1);
        flusher.push_list(&mut is_queued, 1);
        assert_eq!(flusher.list_quota(), (1, WRITE_BUDGET_BYTES));
        (2..1000).for_each(|key| flusher.push_list(&mut false, key));
        let most = TURN_WRITE_BYTES / WRITE_LIST_BYTES;
        assert_eq!(flusher.list_quota(), (most, WRITE_LIST_BYTES));
    }
}

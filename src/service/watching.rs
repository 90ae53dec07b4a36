//! Sends notices to watchers, after everything else in a turn. A turn serves as many as it has time
//! for, and the next turn continues with the others.

use super::{Key, Service, Stream};
use crate::journal::Storage;
use crate::limits::{TURN_WRITE_BYTES, WATCHERS_A_TURN, WRITE_BUDGET_BYTES, WRITE_MIN_BYTES};

impl<T: Stream, S: Storage> Service<T, S> {
    /// Marks all watchers as having notices to be sent.
    pub(super) fn look_at_watchers(&mut self) {
        self.untold = self.watching.len();
    }

    /// Sends notices to as many watchers as the turn has time for, each up to its quota. A watcher
    /// that was served goes to the end of the list.
    pub(super) fn tell_watchers(&mut self) {
        let share = TURN_WRITE_BYTES / self.untold.max(1);
        self.write_share = share.clamp(WRITE_MIN_BYTES, WRITE_BUDGET_BYTES);
        let mut bytes = TURN_WRITE_BYTES;
        for _ in 0..self.untold.min(WATCHERS_A_TURN) {
            if bytes == 0 {
                return;
            }
            let Some(key) = self.watching.pop_front() else { return };
            self.watching.push_back(key);
            self.untold -= 1;
            if self.wants_notices(key) {
                // A system call costs as much as sending `WRITE_MIN_BYTES`.
                bytes = bytes.saturating_sub(self.flush(key).max(WRITE_MIN_BYTES));
            }
            self.note_lag(key);
        }
    }

    /// Records which events a watcher still needs after it was served. Nothing is held for a
    /// watcher that does not read its output, because it has had its chance.
    fn note_lag(&mut self, key: Key) {
        let watcher = self.clients.get(key).filter(|client| client.conn.is_writable());
        let next = watcher.and_then(|client| client.session.next_notice());
        self.lag_from = self.lag_from.into_iter().chain(next).min();
        self.lag_round = self.lag_round.saturating_sub(1);
        if self.lag_round == 0 {
            self.lag_round = self.watching.len();
            self.store.history_mut().set_needed(self.lag_from.take());
        }
    }

    fn wants_notices(&self, key: Key) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let history = self.store.history();
        let is_flushed = client.conn.is_flushed();
        client.conn.wants_write()
            || client.conn.may_run() && client.session.can_be_told(history, is_flushed)
    }
}

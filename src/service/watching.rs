//! Those who watch: what has happened is told to them after everything else in a turn, to one
//! after the other as far as the turn has time for it, and to the others in the next one.

use super::{Key, Service, Stream};
use crate::journal::Storage;
use crate::limits::{TURN_WRITE_BYTES, WATCHERS_A_TURN, WRITE_BUDGET_BYTES, WRITE_MIN_BYTES};

impl<T: Stream, S: Storage> Service<T, S> {
    /// Something may be sent to some of those who watch.
    pub(super) fn look_at_watchers(&mut self) {
        self.untold = self.watching.len();
    }

    /// Tells as many as a turn has time for, each its share; who has had its share is behind all
    /// others.
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
                // A call of the system costs as much as some of them.
                bytes = bytes.saturating_sub(self.flush(key).max(WRITE_MIN_BYTES));
            }
            self.note_lag(key);
        }
    }

    /// Notes what a watcher that has had its share still needs of the history. One that does not
    /// take what it is sent has had its chance, and nothing is held for it.
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

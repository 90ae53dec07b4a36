//! Watchers: sending them notices of events, after everything else in a turn. A turn serves as many
//! as it has time for, and the next turn continues with the others.

use std::collections::VecDeque;

use super::observer::Observer;
use super::{Key, Service, Stream, flush};
use crate::commands::Notices;
use crate::journal::Storage;
use crate::limits::{TURN_WRITE_BYTES, WATCHERS_A_TURN, WRITE_MIN_BYTES};
use crate::store::History;
use crate::time::Zone;

/// The source of notices: events, with a cache of the notices made of them.
pub struct Feed<'a> {
    pub history: &'a History,
    pub notices: &'a mut Notices,
    pub zone: &'a Zone,
}

/// The connections that watch events.
///
/// Invariant: `unserved` and `lag_round` are at most the length of `queue`.
#[derive(Default)]
pub struct Watchers {
    /// The least recently served first.
    queue: VecDeque<Key>,
    /// The number of watchers at the front of the queue that may have notices to be sent.
    unserved: usize,
    /// Whether events were committed since the last call of [`Watchers::notify_news`].
    has_news: bool,
    /// The number of watchers left in the round that finds the oldest event still needed.
    lag_round: usize,
    /// The oldest event of this round that a watcher that reads its output still needs.
    lag_from: Option<u64>,
    pub notices: Notices,
}

impl Watchers {
    /// Adds a watcher.
    pub fn add(&mut self, key: Key) {
        self.queue.push_back(key);
        self.notify_all();
    }

    /// Removes the watchers that `is_open` does not confirm.
    pub fn retain(&mut self, is_open: impl Fn(Key) -> bool) {
        self.queue.retain(|key| is_open(*key));
        self.lag_round = self.lag_round.min(self.queue.len());
        // The position in the queue is lost, so all are visited again.
        self.notify_all();
    }

    /// Marks all watchers as having notices to be sent.
    pub fn notify_all(&mut self) {
        self.unserved = self.queue.len();
    }

    /// Records that events were committed.
    pub fn note_events(&mut self) {
        self.has_news = true;
    }

    /// Marks all watchers as having notices if events were committed.
    pub fn notify_news(&mut self) {
        if std::mem::take(&mut self.has_news) {
            self.notify_all();
        }
    }

    /// Returns how many watchers may have notices to be sent.
    pub fn unserved(&self) -> usize {
        self.unserved
    }

    /// Takes the next watcher, and moves it to the end of the queue.
    fn next(&mut self) -> Option<Key> {
        self.unserved = self.unserved.checked_sub(1)?;
        let key = self.queue.pop_front()?;
        self.queue.push_back(key);
        Some(key)
    }

    /// Records the next event that a served watcher needs. At the end of a round, returns the
    /// oldest event that any of them needs.
    fn note_lag(&mut self, next: Option<u64>) -> Option<Option<u64>> {
        self.lag_from = self.lag_from.into_iter().chain(next).min();
        self.lag_round = self.lag_round.saturating_sub(1);
        (self.lag_round == 0).then(|| {
            self.lag_round = self.queue.len();
            self.lag_from.take()
        })
    }
}

impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Sends notices to as many watchers as the turn has time for, each up to its quota.
    pub(super) fn notify_watchers(&mut self) {
        let unserved = self.watchers.unserved();
        let quota = flush::quota(unserved);
        let mut bytes = TURN_WRITE_BYTES;
        for _ in 0..unserved.min(WATCHERS_A_TURN) {
            if bytes == 0 {
                return;
            }
            let Some(key) = self.watchers.next() else { return };
            if self.wants_notices(key) {
                // A system call takes as long as sending `WRITE_MIN_BYTES`.
                bytes = bytes.saturating_sub(self.flush(key, quota).max(WRITE_MIN_BYTES));
            }
            self.note_lag(key);
        }
    }

    /// Records which events a watcher still needs after it was served. No events are held for a
    /// watcher that does not read its output.
    fn note_lag(&mut self, key: Key) {
        let watcher = self.clients.get(key).filter(|client| client.conn.is_writable());
        let next = watcher.and_then(|client| client.session.next_notice());
        if let Some(oldest) = self.watchers.note_lag(next) {
            self.engine.store.history_mut().set_needed(oldest);
        }
    }

    fn wants_notices(&self, key: Key) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let history = self.engine.store.history();
        let is_flushed = client.conn.is_flushed();
        client.conn.wants_write()
            || client.conn.may_run() && client.session.can_notify(history, is_flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_are_served_round_robin_until_each_was_served_once() {
        let mut watchers = Watchers::default();
        (1..=3).for_each(|key| watchers.add(key));
        assert_eq!((watchers.next(), watchers.next()), (Some(1), Some(2)));
        watchers.note_events();
        watchers.notify_news();
        let order: Vec<_> = std::iter::from_fn(|| watchers.next()).collect();
        assert_eq!(order, [3, 1, 2], "the least recently served is first");
        watchers.notify_news();
        assert_eq!(watchers.unserved(), 0, "there is nothing new");
    }

    #[test]
    fn oldest_event_needed_is_known_after_each_round() {
        let mut watchers = Watchers::default();
        (1..=3).for_each(|key| watchers.add(key));
        assert_eq!(watchers.note_lag(Some(9)), Some(Some(9)), "no round has started yet");
        assert_eq!(watchers.note_lag(Some(7)), None);
        assert_eq!(watchers.note_lag(None), None);
        assert_eq!(watchers.note_lag(Some(8)), Some(Some(7)));
        assert_eq!(watchers.note_lag(None), None, "the next round has started");
    }

    #[test]
    fn removed_watchers_are_not_served() {
        let mut watchers = Watchers::default();
        (1..=3).for_each(|key| watchers.add(key));
        watchers.retain(|key| key != 2);
        let order: Vec<_> = std::iter::from_fn(|| watchers.next()).collect();
        assert_eq!(order, [1, 3]);
    }
}

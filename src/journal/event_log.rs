//! [`Log`], the store's interface to a journal. [`Journal`] implements it with files.

use super::{
    Error, Extent, Journal, JournalId, Notice, Record, Rejection, Report, Storage, SyncPolicy,
};

/// A durable sequence of numbered events, whose beginning can be replaced by a snapshot of the
/// state.
///
/// An implementation decides how events become durable: the medium, its space and the sync policy.
/// An error of a call that writes means that nothing can be relied on any more, unless the call's
/// documentation says otherwise; the caller must then stop without acknowledging anything.
pub trait Log: Sized {
    /// Where the log is kept.
    type Medium;

    /// Opens the log, or creates it, and hands its records to `on_record` in their order. When this
    /// returns, all of them are durable.
    fn replay(
        medium: Self::Medium,
        policy: SyncPolicy,
        on_record: impl FnMut(Record<'_>) -> Result<(), Rejection>,
    ) -> Result<(Self, Report), Error>;

    /// Returns the identity of the history.
    fn id(&self) -> JournalId;

    /// Appends events as one commit; see [`Journal::commit`].
    fn append(
        &mut self,
        first: u64,
        payloads: &str,
        extents: impl ExactSizeIterator<Item = impl Into<Extent>>,
    ) -> Result<(), Error>;

    /// Returns when appended events become durable.
    fn policy(&self) -> SyncPolicy;

    /// Returns whether appended events may not be durable yet.
    fn is_dirty(&self) -> bool;

    /// Makes all appended events durable.
    fn sync(&mut self) -> Result<(), Error>;

    /// Returns whether to seal the log when it becomes idle.
    fn wants_seal(&self) -> bool;

    /// Records durably that nothing is missing; see [`Journal::seal`].
    fn seal(&mut self) -> Result<(), Error>;

    /// Returns the number of the last event.
    fn last_number(&self) -> u64;

    /// Returns the number of the last event in the snapshot.
    fn base_number(&self) -> u64;

    /// Returns the bytes in use.
    fn used_bytes(&self) -> u64;

    /// Returns the bytes of the events since the snapshot.
    fn bytes_since_snapshot(&self) -> u64;

    /// Begins a snapshot.
    ///
    /// An error of this call or of [`Log::flush_snapshot`] abandons the snapshot and leaves the log
    /// as it was, unless [`Log::is_poisoned`].
    fn begin_snapshot(&mut self) -> Result<(), Error>;

    /// Returns whether a snapshot is in progress. The log may abandon it when space is needed.
    fn has_snapshot(&self) -> bool;

    /// Adds a record to the snapshot, in memory.
    fn append_to_snapshot(&mut self, payload: &str);

    /// Returns the bytes of the snapshot that are only in memory.
    fn buffered_snapshot_bytes(&self) -> usize;

    /// Writes the buffered part of the snapshot.
    fn flush_snapshot(&mut self) -> Result<(), Error>;

    /// Replaces everything up to event `base`, the last one, by the snapshot.
    fn finish_snapshot(&mut self, base: u64) -> Result<(), Error>;

    /// Returns whether the log failed and must not be used any more.
    fn is_poisoned(&self) -> bool;

    /// Returns the bytes that a snapshot has made free and that are still allocated; `None` if
    /// there are none.
    fn garbage_bytes(&self) -> Option<u64>;

    /// Frees up to `max_bytes` of this space, or all of it if that is `None`.
    fn free_garbage(&mut self, max_bytes: Option<u64>);

    /// Checks that no other process has taken the log.
    fn confirm_ownership(&mut self) -> Result<(), Error>;

    /// Prepares space for later events, in an idle moment.
    fn prepare_space(&mut self) -> Result<(), Error>;

    /// Returns the problems since the last call.
    fn take_notices(&mut self) -> Vec<Notice>;
}

impl<S: Storage> Log for Journal<S> {
    type Medium = S;

    fn replay(
        medium: S,
        policy: SyncPolicy,
        on_record: impl FnMut(Record<'_>) -> Result<(), Rejection>,
    ) -> Result<(Self, Report), Error> {
        Journal::open(medium, policy, on_record)
    }

    fn id(&self) -> JournalId {
        self.id
    }

    fn append(
        &mut self,
        first: u64,
        payloads: &str,
        extents: impl ExactSizeIterator<Item = impl Into<Extent>>,
    ) -> Result<(), Error> {
        self.commit(first, payloads, extents)
    }

    fn policy(&self) -> SyncPolicy {
        self.policy
    }

    fn is_dirty(&self) -> bool {
        Journal::is_dirty(self)
    }

    fn sync(&mut self) -> Result<(), Error> {
        Journal::sync(self)
    }

    fn wants_seal(&self) -> bool {
        Journal::wants_seal(self)
    }

    fn seal(&mut self) -> Result<(), Error> {
        Journal::seal(self).map(|_| ())
    }

    fn last_number(&self) -> u64 {
        self.last_number
    }

    fn base_number(&self) -> u64 {
        self.base_number
    }

    fn used_bytes(&self) -> u64 {
        Journal::used_bytes(self)
    }

    fn bytes_since_snapshot(&self) -> u64 {
        Journal::bytes_since_snapshot(self)
    }

    fn begin_snapshot(&mut self) -> Result<(), Error> {
        Journal::begin_snapshot(self)
    }

    fn has_snapshot(&self) -> bool {
        Journal::has_snapshot(self)
    }

    fn append_to_snapshot(&mut self, payload: &str) {
        self.snapshot_append(payload);
    }

    fn buffered_snapshot_bytes(&self) -> usize {
        self.snapshot_buffered_bytes()
    }

    fn flush_snapshot(&mut self) -> Result<(), Error> {
        self.snapshot_flush(usize::MAX).map(|_| ())
    }

    fn finish_snapshot(&mut self, base: u64) -> Result<(), Error> {
        Journal::finish_snapshot(self, base)
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned().is_some()
    }

    fn garbage_bytes(&self) -> Option<u64> {
        self.unlinked_bytes()
    }

    fn free_garbage(&mut self, max_bytes: Option<u64>) {
        match max_bytes {
            Some(max_bytes) => self.shrink_unlinked(max_bytes),
            None => self.close_unlinked(),
        }
    }

    fn confirm_ownership(&mut self) -> Result<(), Error> {
        self.confirm_directory()
    }

    fn prepare_space(&mut self) -> Result<(), Error> {
        self.fill_tail().map(|_| ())
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        Journal::take_notices(self)
    }
}

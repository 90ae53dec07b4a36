//! Compaction: a snapshot is written beside the journal, a piece at a time, and replaces it with
//! one rename. Until then, commits go to the old file.

use std::io;

use super::error::Action;
use super::record::{self, Seal};
use super::storage::{Storage, StorageFile};
use super::tail::{fill_blank, spare_end};
use super::{Error, JOURNAL_FILE, Journal, NEW_JOURNAL_FILE, Notice, SealState, SyncPolicy};

/// A snapshot is synced each time this much has been written. With less, nearly every turn would
/// sync, and each sync waits for whatever the file system has started to write. With more, the last
/// sync would be long on a slow disk.
const SNAPSHOT_SYNC_BYTES: u64 = 1 << 20;

/// The unit in which the kernel writes.
const PAGE_BYTES: u64 = 4096;

/// A snapshot in progress.
pub(super) struct Snapshot<F> {
    file: F,
    /// Formatted records that are not written yet.
    buffer: Vec<u8>,
    written_bytes: u64,
    /// The file is durable up to here.
    synced_bytes: u64,
    records: u64,
}

impl<F: StorageFile> Snapshot<F> {
    fn write(&mut self, max_bytes: usize) -> io::Result<()> {
        let count = self.buffer.len().min(max_bytes);
        self.file.write_fully(&self.buffer[..count], self.written_bytes)?;
        self.written_bytes += count as u64;
        self.buffer.drain(..count);
        Ok(())
    }

    /// Writes, starts the writeback, and syncs from time to time, so that the last sync is short.
    fn flush(&mut self, max_bytes: usize) -> io::Result<()> {
        // Only whole pages, because the last one will be written to again.
        let before = self.written_bytes - self.written_bytes % PAGE_BYTES;
        self.write(max_bytes)?;
        let whole = self.written_bytes - self.written_bytes % PAGE_BYTES;
        self.file.start_writeback(before, whole - before);
        if self.written_bytes - self.synced_bytes >= SNAPSHOT_SYNC_BYTES {
            self.file.sync_data()?;
            self.synced_bytes = self.written_bytes;
        }
        Ok(())
    }
}

/// An open file that has lost its name, and whose space is freed when it is closed.
///
/// Its space is freed in pieces, because closing a file of hundreds of megabytes, or renaming
/// another file over it, takes the kernel a tenth of a second.
pub(super) struct Unlinked<F> {
    file: F,
    bytes: u64,
}

impl<S: Storage> Journal<S> {
    /// Returns the bytes of the file that was taken out of use and still has its space; `None` if
    /// there is none.
    pub fn unlinked_bytes(&self) -> Option<u64> {
        self.unlinked.as_ref().map(|old| old.bytes)
    }

    /// Closes that file. Its space is free when no other process has it open.
    pub fn close_unlinked(&mut self) {
        self.unlinked = None;
    }

    /// Cuts up to `max_bytes` off the end of that file, also for a process that is copying it.
    /// Errors are ignored: the kernel frees the rest when the file is closed.
    pub fn shrink_unlinked(&mut self, max_bytes: u64) {
        let Some(mut old) = self.unlinked.take() else { return };
        old.bytes = old.bytes.saturating_sub(max_bytes);
        if old.file.set_size(old.bytes).is_ok() && old.bytes > 0 {
            self.unlinked = Some(old);
        }
    }

    /// Returns whether a snapshot is in progress.
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Begins a snapshot in `journal.new`. Replaces an old `journal.new`.
    ///
    /// An error of this call or of the other `snapshot_` calls abandons the snapshot and leaves the
    /// journal usable, because a disk without space for a second file is no reason to stop. Only a
    /// failure from the rename on poisons the journal.
    ///
    /// # Panics
    /// If a snapshot is in progress.
    pub fn begin_snapshot(&mut self) -> Result<(), Error> {
        self.check_health()?;
        assert!(self.snapshot.is_none(), "a snapshot is in progress");
        self.may_replace()??;
        let path = self.storage.path_of(NEW_JOURNAL_FILE);
        let created = self.storage.create(NEW_JOURNAL_FILE);
        let file = created.map_err(|e| Error::io(Action::Create, path, e))?;
        let buffer = record::header(self.id, true);
        self.snapshot =
            Some(Snapshot { file, buffer, written_bytes: 0, synced_bytes: 0, records: 0 });
        Ok(())
    }

    /// Adds a record to the snapshot, in memory. Records are numbered from 1. If something changes
    /// after its record was added, the caller adds another record of it.
    ///
    /// # Panics
    /// If no snapshot is in progress, or on an invalid payload as in [`Journal::commit`].
    pub fn snapshot_append(&mut self, payload: &str) {
        record::assert_payloads(payload);
        record::assert_payload(payload.as_bytes(), 0);
        let snapshot = self.snapshot.as_mut().expect("a snapshot is in progress");
        snapshot.records += 1;
        record::push_snapshot(&mut snapshot.buffer, snapshot.records, payload.as_bytes());
    }

    /// Returns the bytes of the snapshot that are only in memory.
    pub fn snapshot_buffered_bytes(&self) -> usize {
        self.snapshot.as_ref().map_or(0, |s| s.buffer.len())
    }

    /// Writes up to `max_bytes` of the snapshot, and syncs them from time to time. Returns how many
    /// bytes are still in memory. An error abandons the snapshot.
    ///
    /// # Panics
    /// If no snapshot is in progress.
    pub fn snapshot_flush(&mut self, max_bytes: usize) -> Result<usize, Error> {
        self.check_health()?;
        let snapshot = self.snapshot.as_mut().expect("a snapshot is in progress");
        let reserve = check_reserve(&self.storage, snapshot.buffer.len().min(max_bytes));
        let flushed = reserve.and_then(|()| snapshot.flush(max_bytes));
        let left = snapshot.buffer.len();
        self.or_abandon(flushed)?;
        Ok(left)
    }

    /// Completes the snapshot, which must hold the state after event `base_number`, and replaces
    /// the journal by it, durably with every policy. Later commits go to the new file.
    ///
    /// If it fails before the rename, the snapshot is abandoned and the journal stays as it was.
    /// Otherwise the journal is poisoned, and the next open finds either the old or the new file.
    ///
    /// # Panics
    /// If no snapshot is in progress, or if `base_number` is not the last event.
    pub fn finish_snapshot(&mut self, base_number: u64) -> Result<(), Error> {
        self.check_health()?;
        assert_eq!(base_number, self.last_number, "the snapshot is not of the last event");
        let completed = self.complete_snapshot(base_number);
        let (end_bytes, filled_bytes) = self.or_abandon(completed)?;
        if let Err(error) = self.may_replace()? {
            let _ = self.abandon_snapshot();
            return Err(error);
        }
        let renamed = self.storage.rename(NEW_JOURNAL_FILE, JOURNAL_FILE);
        self.or_poison(Action::ReplaceJournal, renamed)?;
        let synced = self.storage.sync_directory();
        self.or_poison(Action::SyncDirectoryOf, synced)?;
        if let Some(snapshot) = self.snapshot.take() {
            let file = std::mem::replace(&mut self.file, snapshot.file);
            self.unlinked = Some(Unlinked { file, bytes: self.filled_bytes });
            self.snapshot_bytes = end_bytes;
            self.end_bytes = end_bytes;
            self.synced_bytes = end_bytes;
            self.filled_bytes = filled_bytes;
            self.allocated_bytes = filled_bytes;
            self.seal_state = SealState::Sealed;
            self.base_number = base_number;
        }
        Ok(())
    }

    /// Writes the rest of the snapshot with its end, a seal and a spare tail, and syncs the file.
    /// Returns where the snapshot and where the tail end.
    fn complete_snapshot(&mut self, base_number: u64) -> io::Result<(u64, u64)> {
        let snapshot = self.snapshot.as_mut().expect("a snapshot is in progress");
        record::push_end(&mut snapshot.buffer, snapshot.records, base_number);
        let end = snapshot.written_bytes + snapshot.buffer.len() as u64;
        // The whole file is synced before it gets its name, so the seal needs no sync of its own.
        record::push_seal(&mut snapshot.buffer, Seal { last: base_number, end });
        check_reserve(&self.storage, snapshot.buffer.len())?;
        snapshot.write(usize::MAX)?;
        let mut filled = snapshot.written_bytes;
        if self.policy != SyncPolicy::Never {
            fill_blank(&snapshot.file, &mut filled, spare_end(&self.storage, end))?;
        }
        snapshot.file.sync_data()?;
        Ok((end, filled))
    }

    /// Abandons the snapshot in progress, if there is one.
    ///
    /// # Errors
    /// `journal.new` could not be removed. This is harmless, because the next open removes it.
    pub fn abandon_snapshot(&mut self) -> Result<(), Error> {
        let Some(snapshot) = self.snapshot.take() else { return Ok(()) };
        let path = self.storage.path_of(NEW_JOURNAL_FILE);
        let removed = self.storage.remove(NEW_JOURNAL_FILE);
        // A file that could not be removed is truncated as well, because it has no use.
        self.unlinked = Some(Unlinked { file: snapshot.file, bytes: snapshot.written_bytes });
        removed.map_err(|e| Error::io(Action::Remove, path, e))
    }

    /// Frees the space of a snapshot in progress and of a replaced file, all at once. Returns false
    /// if there is neither.
    pub(super) fn give_up_space(&mut self) -> bool {
        if self.snapshot.is_some() {
            let path = self.storage.path_of(NEW_JOURNAL_FILE);
            self.notices.push(Notice::SnapshotAbandoned { path });
            // A file that could not be removed is truncated below.
            let _ = self.abandon_snapshot();
        }
        match self.unlinked.take() {
            // Truncated, because a process that is copying the file would keep its space.
            Some(old) => old.file.set_size(0).is_ok(),
            None => false,
        }
    }

    /// Abandons the snapshot if writing it failed.
    fn or_abandon<T>(&mut self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|e| {
            let at = self.snapshot.as_ref().map_or(0, |s| s.written_bytes);
            let path = self.storage.path_of(NEW_JOURNAL_FILE);
            // The first error is the one to report.
            let _ = self.abandon_snapshot();
            Error::io_at(Action::Write, path, at, e)
        })
    }
}

/// Checks that writing this much more of a snapshot leaves enough disk space for commits: the next
/// step of the journal's tail, and that of the snapshot's own.
fn check_reserve(storage: &impl Storage, bytes: usize) -> io::Result<()> {
    let reserve = 2 * storage.spare_step_bytes();
    let wanted = bytes as u64 + reserve;
    match storage.free_bytes()? {
        Some(free) if free < wanted => {
            let reason = format!(
                "only {free} bytes are free on the disk, and {reserve} are reserved for commits"
            );
            Err(io::Error::new(io::ErrorKind::StorageFull, reason))
        }
        _ => Ok(()),
    }
}

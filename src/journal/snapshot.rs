//! Compaction: a snapshot is written beside the journal, a piece at a time, and takes its place in
//! one rename. Commits go on in the old file until then.

use std::io;

use super::record;
use super::storage::{Storage, StorageFile};
use super::{
    Error, JOURNAL_FILE, Journal, NEW_JOURNAL_FILE, Notice, SyncPolicy, fill_blank, write_fully,
};

/// At most so much of a snapshot is left to a sync, and one more call's. Less would be a sync in
/// every turn, and each waits for what the file system has begun for others; more would be long on
/// a disk that is slower than the snapshot is made.
const SNAPSHOT_SYNC_BYTES: u64 = 1 << 20;

/// What the system writes at a time.
const PAGE_BYTES: u64 = 4096;

/// A snapshot that is being written.
pub(super) struct Snapshot<F> {
    file: F,
    /// Formatted and not written yet.
    buffer: Vec<u8>,
    written_bytes: u64,
    /// Up to here it is durable.
    synced_bytes: u64,
    records: u64,
}

impl<F: StorageFile> Snapshot<F> {
    fn write(&mut self, max_bytes: usize) -> io::Result<()> {
        let count = self.buffer.len().min(max_bytes);
        write_fully(&self.file, &self.buffer[..count], self.written_bytes)?;
        self.written_bytes += count as u64;
        self.buffer.drain(..count);
        Ok(())
    }

    /// Writes, lets the disk begin with it, and waits for the disk once in a while: it must not
    /// be left with all of it at the end.
    fn flush(&mut self, max_bytes: usize) -> io::Result<()> {
        // Whole pages: the last one is still to be written to.
        let begun = self.written_bytes - self.written_bytes % PAGE_BYTES;
        self.write(max_bytes)?;
        let whole = self.written_bytes - self.written_bytes % PAGE_BYTES;
        self.file.begin_sync(begun, whole - begun);
        if self.written_bytes - self.synced_bytes >= SNAPSHOT_SYNC_BYTES {
            self.file.sync_data()?;
            self.synced_bytes = self.written_bytes;
        }
        Ok(())
    }
}

/// A file that has lost its name, and is there as long as it is open.
///
/// Its space is given back a piece at a time: to close a file of hundreds of megabytes, or to put
/// another in its place while nobody has it open, takes the system a tenth of a second.
pub(super) struct Nameless<F> {
    file: F,
    bytes: u64,
}

impl<S: Storage> Journal<S> {
    /// Whether there is a file that was taken out of use and has not given its space back yet.
    pub fn has_nameless(&self) -> bool {
        self.nameless.is_some()
    }

    /// Bytes of it; 0 if there is none.
    pub fn nameless_bytes(&self) -> u64 {
        self.nameless.as_ref().map_or(0, |old| old.bytes)
    }

    /// Closes it, which frees all of it at once. Who has it open may read it to its end.
    pub fn close_nameless(&mut self) {
        self.nameless = None;
    }

    /// Cuts at most `max_bytes` off the file that was taken out of use, also for who is just
    /// copying it. Nothing here depends on it, so whatever goes wrong is left to the system, which frees the rest of a file that is closed.
    pub fn shrink_nameless(&mut self, max_bytes: u64) {
        let Some(mut old) = self.nameless.take() else { return };
        old.bytes = old.bytes.saturating_sub(max_bytes);
        if old.file.set_size(old.bytes).is_ok() && old.bytes > 0 {
            self.nameless = Some(old);
        }
    }

    /// Whether a snapshot was begun and neither finished nor abandoned.
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Begins a snapshot in `journal.new`, in the place of any leftover.
    ///
    /// An error of this call or of the other `snapshot_` calls abandons the snapshot and leaves
    /// the journal as it was and healthy: a disk that has no room for a second file is no reason
    /// to stop. Only what fails from the rename on poisons the journal.
    ///
    /// Panics if there is one in progress.
    pub fn begin_snapshot(&mut self) -> Result<(), Error> {
        self.healthy()?;
        assert!(self.snapshot.is_none(), "a snapshot is in progress");
        self.may_replace()??;
        let path = self.storage.path_of(NEW_JOURNAL_FILE);
        let created = self.storage.create(NEW_JOURNAL_FILE);
        let file = created.map_err(|e| Error::io("create", path, e))?;
        let buffer = record::header(self.id, true);
        self.snapshot =
            Some(Snapshot { file, buffer, written_bytes: 0, synced_bytes: 0, records: 0 });
        Ok(())
    }

    /// Adds a record to the snapshot in memory. Records are numbered from 1. What changes after
    /// its record was added is the caller's to add again as a further record.
    ///
    /// Panics if there is no snapshot in progress, or on a payload as in [`Journal::commit`].
    pub fn snapshot_append(&mut self, payload: &str) {
        record::assert_payloads(payload);
        record::assert_payload(payload.as_bytes(), 0);
        let snapshot = self.snapshot.as_mut().expect("a snapshot is in progress");
        snapshot.records += 1;
        record::push_snapshot(&mut snapshot.buffer, snapshot.records, payload.as_bytes());
    }

    /// Bytes of the snapshot that are still in memory.
    pub fn snapshot_buffered_bytes(&self) -> usize {
        self.snapshot.as_ref().map_or(0, |s| s.buffer.len())
    }

    /// Writes at most `max_bytes` of the snapshot, and syncs what has come together, so that the
    /// sync at the end is short; returns how many bytes are still in memory. `Err` has abandoned the snapshot.
    ///
    /// Panics if there is no snapshot in progress.
    pub fn snapshot_flush(&mut self, max_bytes: usize) -> Result<usize, Error> {
        self.healthy()?;
        let snapshot = self.snapshot.as_mut().expect("a snapshot is in progress");
        let room = leave_reserve(&self.storage, snapshot.buffer.len().min(max_bytes));
        let done = room.and_then(|()| snapshot.flush(max_bytes));
        let left = snapshot.buffer.len();
        self.or_abandon("write", done)?;
        Ok(left)
    }

    /// Completes the snapshot, which must hold the state after event `base_number`, and puts it in
    /// the place of the journal, durably whatever the policy. Later commits go to the new file.
    ///
    /// If it fails before the rename, the snapshot is abandoned and the journal goes on as it was;
    /// else the journal is poisoned, and the next open finds the old file or the new one, whole.
    ///
    /// Panics if there is no snapshot in progress, or if `base_number` is not the last committed
    /// event.
    pub fn finish_snapshot(&mut self, base_number: u64) -> Result<(), Error> {
        self.healthy()?;
        assert_eq!(base_number, self.last_number, "the snapshot is not of the last event");
        let snapshot = self.snapshot.as_mut().expect("a snapshot is in progress");
        record::push_end(&mut snapshot.buffer, snapshot.records, base_number);
        let end_bytes = snapshot.written_bytes + snapshot.buffer.len() as u64;
        // The whole file is synced before it gets its name, so a seal costs nothing.
        record::push_seal(&mut snapshot.buffer, base_number, end_bytes);
        let fill = self.policy != SyncPolicy::Never;
        let step = self.storage.spare_step_bytes();
        let target = (end_bytes + step / 2).next_multiple_of(step);
        let mut filled = 0;
        let room = leave_reserve(&self.storage, snapshot.buffer.len());
        let done = room.and_then(|()| snapshot.write(usize::MAX)).and_then(|()| {
            filled = snapshot.written_bytes;
            if fill {
                fill_blank(&snapshot.file, &mut filled, target)?;
            }
            snapshot.file.sync_data()
        });
        self.or_abandon("write", done)?;
        if let Err(error) = self.may_replace()? {
            let _ = self.abandon_snapshot();
            return Err(error);
        }
        let renamed = self.storage.rename(NEW_JOURNAL_FILE, JOURNAL_FILE);
        self.fatal("put the finished snapshot in the place of", renamed)?;
        let synced = self.storage.sync_folder();
        self.fatal("sync the folder of", synced)?;
        if let Some(snapshot) = self.snapshot.take() {
            let file = std::mem::replace(&mut self.file, snapshot.file);
            self.nameless = Some(Nameless { file, bytes: self.filled_bytes });
            self.snapshot_bytes = end_bytes;
            self.end_bytes = end_bytes;
            self.synced_bytes = end_bytes;
            self.filled_bytes = filled;
            self.allocated_bytes = filled;
            self.is_sealed = true;
            self.base_number = base_number;
        }
        Ok(())
    }

    /// Gives up a snapshot in progress, if there is one. `Err` only says that `journal.new` could
    /// not be removed; it does no harm, and the next open removes it.
    pub fn abandon_snapshot(&mut self) -> Result<(), Error> {
        let Some(snapshot) = self.snapshot.take() else { return Ok(()) };
        let path = self.storage.path_of(NEW_JOURNAL_FILE);
        let removed = self.storage.remove(NEW_JOURNAL_FILE);
        // Of a file that keeps its name this is cut off as well: it is of no use.
        self.nameless = Some(Nameless { file: snapshot.file, bytes: snapshot.written_bytes });
        removed.map_err(|e| Error::io("remove", path, e))
    }

    /// Frees the space of a snapshot in progress and of a replaced file, all at once. Returns false
    /// if there is neither.
    pub(super) fn give_up_space(&mut self) -> bool {
        if self.snapshot.is_some() {
            let path = self.storage.path_of(NEW_JOURNAL_FILE);
            self.notices.push(Notice::SnapshotGivenUp { path });
            // A file that keeps its name is truncated as well.
            let _ = self.abandon_snapshot();
        }
        match self.nameless.take() {
            // A process that has it open to copy it would keep the space as well.
            Some(old) => old.file.set_size(0).is_ok(),
            None => false,
        }
    }

    fn or_abandon(&mut self, action: &'static str, done: io::Result<()>) -> Result<(), Error> {
        done.map_err(|e| {
            let at = self.snapshot.as_ref().map_or(0, |s| s.written_bytes);
            let path = self.storage.path_of(NEW_JOURNAL_FILE);
            // That the removal fails too adds nothing: the first error is the one to tell.
            let _ = self.abandon_snapshot();
            Error::io_at(action, path, at, e)
        })
    }
}

/// Fails if writing this much more of a snapshot would leave less disk space than commits need: the
/// next step of the journal's tail, and that of the snapshot's own.
fn leave_reserve(storage: &impl Storage, bytes: usize) -> io::Result<()> {
    let reserve = 2 * storage.spare_step_bytes();
    let wanted = bytes as u64 + reserve;
    match storage.free_bytes()? {
        Some(free) if free < wanted => {
            let reason = format!(
                "only {free} bytes are free on the disk, and {reserve} are left to \
                 reservations"
            );
            Err(io::Error::new(io::ErrorKind::StorageFull, reason))
        }
        _ => Ok(()),
    }
}

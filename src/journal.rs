//! The journal: numbered text records that are on disk before anyone is notified of them.
//!
//! * [`Journal::commit`] makes records durable together: one write, one checksum and one sync for
//!   all of them (group commit). Recovery restores all of a commit or nothing of it.
//! * [`Journal::open`] replays the records, cuts a torn tail, and refuses a damaged file.
//! * A seal after the last commit proves that nothing is missing ([`Journal::seal`]).
//! * A snapshot, written in pieces beside the journal, replaces it with one rename
//!   ([`Journal::begin_snapshot`] … [`Journal::finish_snapshot`]).
//! * [`Log`] is what the store needs of a journal.
//!
//! Format, recovery table and promises are in `docs/journal.md`.
//!
//! Architecture invariants: this module never knows what a record means, never reads a clock,
//! never logs, never starts a thread and never retries a failed write or sync: after one, the
//! journal is *poisoned* and every call that could write fails.

mod backup;
mod directory;
mod disk;
mod error;
mod event_log;
mod evidence;
mod id;
mod marker;
mod reader;
mod record;
mod recover;
mod report;
mod snapshot;
mod storage;
mod tail;

use std::io;
use std::time::Duration;

pub use backup::{Backup, backup};
pub use disk::{DiskStorage, LOCK_FILE, open_regular_file};
pub use error::{Action, Error, Notice};
pub use event_log::Log;
pub use id::JournalId;
pub use marker::{MARKER_FILE, begin_again};
pub use record::{Extent, FORMAT_VERSION, MAX_LINE_BYTES, MAX_PAYLOAD_BYTES};
pub use report::{Corruption, Disposition, Evidence, Record, Rejection, Report};
pub use storage::{LockState, NameState, Storage, StorageFile};

use marker::Marker;
use record::Seal;
use snapshot::{Snapshot, Unlinked};

/// The name of the journal in its directory.
pub const JOURNAL_FILE: &str = "journal";

/// The name of a snapshot in progress.
pub const NEW_JOURNAL_FILE: &str = "journal.new";

/// The spare tail is filled up to the next multiple of this. Small enough that filling does not
/// hold up a commit noticeably on an SD card that writes 10 MB/s (26 ms), large enough that only
/// one commit in some 2,500 pays for it. `docs/journal.md` has the measurements.
pub const FILL_STEP_BYTES: u64 = 256 * 1024;

/// The tail is not filled after a commit of more than this, because the cost of a large commit in
/// filled space is that of new space.
const FILL_COMMIT_BYTES: usize = 128 * 1024;

/// The buffer of commits is shrunk to this size after a larger commit.
const KEEP_BUFFER_BYTES: usize = 256 * 1024;

/// Bytes rewritten at a time when a journal is opened.
const REWRITE_BYTES: usize = 16 * 1024;

/// When a commit is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Every commit is synced before [`Journal::commit`] returns. Nothing acknowledged is ever
    /// lost.
    Always,
    /// The caller calls [`Journal::sync`] this often while [`Journal::is_dirty`]. A killed process
    /// loses nothing, a power cut at most the commits of this long.
    Every(Duration),
    /// The kernel decides. A killed process loses nothing, a power cut the commits of half a minute
    /// or more.
    Never,
}

/// An open journal.
///
/// It must be the only one in its directory, which [`DiskStorage::lock`] guarantees.
pub struct Journal<S: Storage> {
    storage: S,
    file: S::File,
    id: JournalId,
    policy: SyncPolicy,
    /// The commit being written; kept for its memory.
    lines: Vec<u8>,
    /// Number of the last committed event.
    last_number: u64,
    /// Number of the last event in the file's snapshot.
    base_number: u64,
    /// Bytes of header and snapshot. `snapshot_bytes <= end_bytes <= filled_bytes <=
    /// allocated_bytes`.
    snapshot_bytes: u64,
    /// The offset of the next commit.
    end_bytes: u64,
    /// The end of the blank space that begins at `end_bytes`, or after a seal there.
    filled_bytes: u64,
    /// Writes to the file before this offset cannot run out of disk space.
    allocated_bytes: u64,
    seal_state: SealState,
    /// The file is durable up to here. At most `end_bytes`.
    synced_bytes: u64,
    /// The first error of a write or sync.
    poisoned: Option<String>,
    snapshot: Option<Snapshot<S::File>>,
    /// The file that a snapshot has replaced, or that an abandoned snapshot has left.
    unlinked: Option<Unlinked<S::File>>,
    /// Problems that the owner has not taken yet.
    notices: Vec<Notice>,
}

/// Whether the last commit is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SealState {
    /// No seal, and no attempt to write one since the last commit.
    Unsealed,
    /// No seal, because the disk was too full for it.
    NoSpace,
    /// A durable seal follows the last commit.
    Sealed,
}

/// A callback for records where speed does not matter. As a trait object, so that the code that
/// reads a journal is compiled once for all of these.
type OnRecord<'a> = dyn FnMut(Record<'_>) -> Result<(), Rejection> + 'a;

/// Reads a journal without changing anything. `on_record` rejects records that the program could
/// not replay; `|_| Ok(())` accepts all.
///
/// While a server is running on the directory, the commit that is being written may be reported as
/// a torn tail, never as damage.
pub fn check<S: Storage>(
    storage: &S,
    mut on_record: impl FnMut(Record<'_>) -> Result<(), Rejection>,
) -> Result<Report, Error> {
    let path = storage.path_of(JOURNAL_FILE);
    match storage.open_to_read(JOURNAL_FILE).map_err(|e| Error::io(Action::Open, &path, e))? {
        Some(file) => recover::scan(&file, path.clone(), &mut on_record as &mut OnRecord)
            .map_err(|e| Error::io(Action::Read, &path, e)),
        None => Ok(Report::of_missing(path)),
    }
}

impl<S: Storage> Journal<S> {
    /// Opens the journal of a directory, or creates one, and hands every good record to `on_record`
    /// in the order of the file. When this returns, all of them are durable, a torn tail is durably
    /// removed, and the report describes it.
    ///
    /// # Errors
    /// The records handed over must be discarded. [`Error::Refused`] (damage) leaves every file as
    /// it was.
    pub fn open(
        storage: S,
        policy: SyncPolicy,
        on_record: impl FnMut(Record<'_>) -> Result<(), Rejection>,
    ) -> Result<(Journal<S>, Report), Error> {
        let path = storage.path_of(JOURNAL_FILE);
        let found = storage.open(JOURNAL_FILE).map_err(|e| Error::io(Action::Open, &path, e))?;
        let Some(file) = found else {
            return Journal::create(storage, policy, Report::of_missing(path));
        };
        let report = recover::scan(&file, path.clone(), on_record)
            .map_err(|e| Error::io(Action::Read, &path, e))?;
        if report.fresh {
            return Journal::create(storage, policy, report);
        }
        let end = report.end_bytes;
        let disposition = report.bad.as_ref().map(|bad| bad.disposition);
        if let Some(Disposition::Refused(_)) = disposition {
            return Err(Error::Refused(Box::new(report)));
        }
        let marker = marker::check(&storage, &path, report.id)?;
        if disposition == Some(Disposition::Cut) {
            file.set_size(end)
                .map_err(|e| Error::io_at(Action::CutTornTail, path.clone(), end, e))?;
        }
        // Syncs the cut as well, because old records must not reappear behind new ones.
        make_durable(&file, &path, report.synced_bytes, end)?;
        let leftover = storage.path_of(NEW_JOURNAL_FILE);
        storage.remove(NEW_JOURNAL_FILE).map_err(|e| Error::io(Action::Remove, leftover, e))?;
        // The process that created or renamed this file may have been killed before it did this.
        storage.sync_directory().map_err(|e| Error::io(Action::SyncDirectoryOf, &path, e))?;
        let id = report.id.expect("a journal that is neither new nor refused has an identity");
        if marker != Marker::Good {
            marker::write(&storage, id)?;
        }
        Ok((Journal::of_durable(storage, file, id, policy, &report), report))
    }

    /// Creates a journal where there is none, or only one whose creation was interrupted.
    fn create(storage: S, policy: SyncPolicy, report: Report) -> Result<(Self, Report), Error> {
        let path = report.path.clone();
        let leftover = storage.path_of(NEW_JOURNAL_FILE);
        let found = storage.open_to_read(NEW_JOURNAL_FILE);
        if found.map_err(|e| Error::io(Action::Open, &leftover, e))?.is_some() {
            return Err(Error::OnlyLeftover { path, leftover });
        }
        marker::check_absent(&storage, &path)?;
        let id = JournalId::random();
        let header = record::header(id, false);
        let created = storage.create(JOURNAL_FILE);
        let file = created.map_err(|e| Error::io(Action::Create, &path, e))?;
        file.write_fully(&header, 0).map_err(|e| Error::io(Action::Write, &path, e))?;
        file.sync_data().map_err(|e| Error::io(Action::Sync, &path, e))?;
        storage.sync_directory().map_err(|e| Error::io(Action::SyncDirectoryOf, &path, e))?;
        // Written after the journal: a crash in between leaves a journal without a marker, which is
        // valid, and never a marker without a journal.
        marker::write(&storage, id)?;
        let size = header.len() as u64;
        let report = Report {
            id: Some(id),
            snapshot_bytes: size,
            end_bytes: size,
            synced_bytes: size,
            file_bytes: size,
            ..report
        };
        Ok((Journal::of_durable(storage, file, id, policy, &report), report))
    }

    /// Returns the journal of a report whose contents are durable.
    fn of_durable(
        storage: S,
        file: S::File,
        id: JournalId,
        policy: SyncPolicy,
        report: &Report,
    ) -> Self {
        let filled = if report.bad.is_some() { report.end_bytes } else { report.file_bytes };
        Journal {
            storage,
            file,
            id,
            policy,
            lines: Vec::new(),
            last_number: report.last_number,
            base_number: report.base_number,
            snapshot_bytes: report.snapshot_bytes,
            end_bytes: report.end_bytes,
            filled_bytes: filled,
            allocated_bytes: filled,
            seal_state: if report.is_sealed { SealState::Sealed } else { SealState::Unsealed },
            synced_bytes: report.end_bytes,
            poisoned: None,
            snapshot: None,
            unlinked: None,
            notices: Vec::new(),
        }
    }

    /// Writes records as one commit, and syncs them if the policy is [`SyncPolicy::Always`]. Nobody
    /// may be notified of the records before this returns `Ok`. Without records it does nothing.
    ///
    /// `first` is the number of the first record. `payloads` holds their concatenated payloads, and
    /// `extents` the end of each and the part that is not written.
    ///
    /// If the disk is full, a snapshot in progress is abandoned to free space, with a [`Notice`].
    ///
    /// # Errors
    /// The journal is poisoned. The next open may find the commit or not.
    ///
    /// # Panics
    /// If `first` is not the next number, or if a payload contains an LF, TAB or NUL, begins with
    /// `"` or is longer than [`MAX_PAYLOAD_BYTES`].
    pub fn commit(
        &mut self,
        first: u64,
        payloads: &str,
        extents: impl ExactSizeIterator<Item = impl Into<Extent>>,
    ) -> Result<(), Error> {
        assert_eq!(first, self.last_number + 1, "event number");
        self.check_health()?;
        let records = extents.len() as u64;
        if records == 0 {
            return Ok(());
        }
        record::assert_payloads(payloads);
        let start =
            record::put_commit(&mut self.lines, first, self.synced_bytes, payloads, extents);
        let bytes = self.lines.len() - start;
        let end = self.end_bytes + bytes as u64;
        if end > self.allocated_bytes {
            self.allocate(end)?;
        }
        // A seal is overwritten completely, because no commit is shorter.
        self.seal_state = SealState::Unsealed;
        let written = self.file.write_fully(&self.lines[start..], self.end_bytes);
        self.or_poison(Action::Write, written)?;
        self.end_bytes = end;
        self.last_number += records;
        self.lines.clear();
        self.lines.shrink_to(KEEP_BUFFER_BYTES);
        if self.end_bytes > self.filled_bytes {
            self.filled_bytes = self.end_bytes;
            if bytes <= FILL_COMMIT_BYTES {
                self.extend_tail()?;
            }
        }
        if self.policy == SyncPolicy::Always { self.sync() } else { Ok(()) }
    }

    /// Makes everything committed durable. Does nothing if it already is.
    ///
    /// # Errors
    /// The journal is poisoned, because the kernel may have dropped the data that it could not
    /// write.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.check_health()?;
        if self.is_dirty() {
            self.sync_file()?;
        }
        Ok(())
    }

    /// Records durably, after the last commit, that everything so far is complete. Damage can then
    /// be distinguished from a torn tail, and a whole copy from one that lacks its end. The next
    /// commit overwrites the seal. Returns whether a seal was written.
    ///
    /// If the disk is too full, the journal stays unsealed without an error.
    ///
    /// # Errors
    /// The journal is poisoned.
    pub fn seal(&mut self) -> Result<bool, Error> {
        if self.is_sealed() {
            return Ok(false);
        }
        // Before the seal is written, because the seal may reach the disk at any moment after that.
        self.sync()?;
        let mut line = Vec::new();
        record::push_seal(&mut line, Seal { last: self.last_number, end: self.end_bytes });
        match self.file.write_fully(&line, self.end_bytes) {
            Err(e) if tail::is_full(&e) => {
                self.seal_state = SealState::NoSpace;
                return Ok(false);
            }
            written => self.or_poison(Action::Seal, written)?,
        }
        self.filled_bytes = self.filled_bytes.max(self.end_bytes + line.len() as u64);
        self.allocated_bytes = self.allocated_bytes.max(self.filled_bytes);
        self.sync_file()?;
        self.seal_state = SealState::Sealed;
        Ok(true)
    }

    /// Returns whether a durable seal proves that everything is complete.
    pub fn is_sealed(&self) -> bool {
        self.seal_state == SealState::Sealed
    }

    /// Returns whether to seal the journal when it becomes idle. Dirty commits are left to their
    /// sync. Without syncs, the journal is only sealed when the server stops. A seal that did not
    /// fit on the disk is not tried again before the next commit.
    pub fn wants_seal(&self) -> bool {
        self.policy != SyncPolicy::Never
            && !self.is_dirty()
            && self.seal_state == SealState::Unsealed
    }

    fn sync_file(&mut self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        self.or_poison(Action::Sync, synced)?;
        self.synced_bytes = self.end_bytes;
        Ok(())
    }

    /// Returns whether a commit may not be durable yet.
    pub fn is_dirty(&self) -> bool {
        self.synced_bytes < self.end_bytes
    }

    /// Returns the first error of a write or sync, after which nothing can be written any more.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// Returns the problems to log, oldest first. Each is returned once.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Returns the identity of the history.
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// Returns the policy given to [`Journal::open`].
    pub fn policy(&self) -> SyncPolicy {
        self.policy
    }

    /// Returns the number of the last committed event, 0 before the first.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Returns the number of the last event in the snapshot; 0 without one. The later events are in
    /// the file one by one.
    pub fn base_number(&self) -> u64 {
        self.base_number
    }

    /// Returns the bytes in use: header, snapshot and committed events, without the spare tail.
    pub fn used_bytes(&self) -> u64 {
        self.end_bytes
    }

    /// Returns the bytes of header and snapshot.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes
    }

    /// Returns the bytes of the events committed since the snapshot, or since the beginning.
    pub fn bytes_since_snapshot(&self) -> u64 {
        self.end_bytes - self.snapshot_bytes
    }

    fn check_health(&self) -> Result<(), Error> {
        match &self.poisoned {
            None => Ok(()),
            Some(first) => Err(Error::Poisoned(first.clone())),
        }
    }

    /// Poisons the journal if writing it failed.
    fn or_poison<T>(&mut self, action: Action, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|e| {
            let path = self.storage.path_of(JOURNAL_FILE);
            let error = Error::io_at(action, path, self.end_bytes, e);
            self.poisoned = Some(error.to_string());
            error
        })
    }
}

/// Makes the replayed part of a file, up to `end`, and its size durable.
///
/// The part from `from` on, which is not known to be synced, is written again first. An earlier
/// process may have died of a failed sync, after which the kernel shows the correct bytes but will
/// not write them.
fn make_durable<F: StorageFile>(file: &F, path: &str, from: u64, end: u64) -> Result<(), Error> {
    let mut offset = from;
    let mut rewrite = || {
        let mut buf = vec![0; REWRITE_BYTES.min((end - from) as usize)];
        while offset < end {
            let count = buf.len().min((end - offset) as usize);
            file.read_fully(&mut buf[..count], offset)?;
            file.write_fully(&buf[..count], offset)?;
            offset += count as u64;
        }
        file.sync_data()
    };
    rewrite().map_err(|e| Error::io_at(Action::MakeDurable, path.to_string(), offset, e))
}

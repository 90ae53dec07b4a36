//! The journal: numbered text records that are on disk before anyone is notified of them.
//!
//! * Records become durable together with [`Journal::commit`]: one write, one checksum and one sync
//!   for all of them (group commit). A commit is the unit of recovery, which restores all or none of
//!   it.
//! * [`Journal::open`] replays what is there, cuts a torn tail, and refuses a damaged file.
//! * A seal after the last commit proves that nothing is missing ([`Journal::seal`]).
//! * A snapshot, written in pieces beside the journal, takes its place in one rename
//!   ([`Journal::begin_snapshot`] … [`Journal::finish_snapshot`]).
//!
//! Format, recovery table and promises are in `docs/journal.md`.
//!
//! Architecture invariants: this module never knows what a record means, never reads a clock,
//! never logs, never starts a thread and never retries a failed write or sync: after one, the
//! journal is *poisoned* and every call that could write fails.

mod backup;
mod error;
mod id;
mod marker;
mod record;
mod recover;
mod snapshot;
mod storage;

use std::io;
use std::time::Duration;

pub use backup::{Backup, backup};
pub use error::{Error, Notice};
pub use id::JournalId;
pub use marker::{MARKER_FILE, begin_again};
pub use record::{Extent, FORMAT_VERSION, MAX_LINE_BYTES, MAX_PAYLOAD_BYTES};
pub use recover::{Corruption, Disposition, Evidence, Record, Report};
pub use storage::{
    DiskStorage, LOCK_FILE, LockState, NameState, Storage, StorageFile, open_regular_file,
};

use marker::Marker;
use snapshot::{Nameless, Snapshot};

/// The journal's name in its folder.
pub const JOURNAL_FILE: &str = "journal";

/// The name of a snapshot that is not finished yet.
pub const NEW_JOURNAL_FILE: &str = "journal.new";

/// The spare tail is filled up to the next multiple of this. Small enough that filling does not
/// hold up a commit noticeably on an SD card that writes 10 MB/s (26 ms), large enough that only
/// one commit in some 2,500 pays for it. `docs/journal.md` has the measurements.
pub const FILL_STEP_BYTES: u64 = 256 * 1024;

/// Blank space is written in pieces of this size, from the stack.
const FILL_PIECE_BYTES: usize = 16 * 1024;

/// After a commit of more than this there is no filling: space that is written twice costs as
/// much then as space that is new.
const FILL_COMMIT_BYTES: usize = 128 * 1024;

/// Buffers are given back down to this size after a larger commit.
const KEEP_BUFFER_BYTES: usize = 256 * 1024;

/// When a commit is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Every commit, before [`Journal::commit`] returns. Nothing acknowledged is ever lost.
    Always,
    /// The caller calls [`Journal::sync`] this often while [`Journal::is_dirty`]. A killed process
    /// loses nothing, a power cut at most this long.
    Every(Duration),
    /// The system decides. A killed process loses nothing, a power cut some half a minute or more.
    Never,
}

/// An open journal. It must be the only one on its folder: take the folder with
/// [`DiskStorage::lock`].
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
    /// Where the next commit goes.
    end_bytes: u64,
    /// The end of the blank part, which begins at `end_bytes`, with a seal there or not.
    filled_bytes: u64,
    /// Writes to the file before this offset cannot run out of disk space.
    allocated_bytes: u64,
    /// Whether there is a durable seal at `end_bytes`.
    is_sealed: bool,
    /// Up to here the file is durable. `<= end_bytes`.
    synced_bytes: u64,
    /// The first error of a write or sync.
    poisoned: Option<String>,
    snapshot: Option<Snapshot<S::File>>,
    /// What a snapshot has taken the place of, or what an abandoned one has left.
    nameless: Option<Nameless<S::File>>,
    /// Problems for the owner to log.
    notices: Vec<Notice>,
}

/// Receives records where speed does not matter. A trait object, so that the code that reads a
/// journal is compiled only once for all of these.
type OnRecord<'a> = dyn FnMut(Record<'_>) -> Result<(), String> + 'a;

/// Judges a journal and changes nothing, not even its folder. Give it a callback that refuses
/// what the program could not replay, or `|_| Ok(())`.
///
/// On the folder of a running server the commit that is being written right now may show as a torn
/// tail, never as damage.
pub fn check<S: Storage>(
    storage: &S,
    mut on_record: impl FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Report, Error> {
    let path = storage.path_of(JOURNAL_FILE);
    match storage.open_to_read(JOURNAL_FILE).map_err(|e| Error::io("open", &path, e))? {
        Some(file) => recover::scan(&file, path.clone(), &mut on_record as &mut OnRecord)
            .map_err(|e| Error::io("read", &path, e)),
        None => Ok(Report::of_nothing(path)),
    }
}

impl<S: Storage> Journal<S> {
    /// Opens the journal of a folder, or makes one, and hands every good record to `on_record`
    /// in the order of the file. When this returns, all that was handed over is durable, a torn
    /// tail is durably gone, and the report says what was cut.
    ///
    /// On `Err` the records handed over so far must be forgotten. [`Error::Refused`] (damage)
    /// leaves every file as it was.
    pub fn open(
        storage: S,
        policy: SyncPolicy,
        on_record: impl FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<(Journal<S>, Report), Error> {
        let path = storage.path_of(JOURNAL_FILE);
        let found = storage.open(JOURNAL_FILE).map_err(|e| Error::io("open", &path, e))?;
        let Some(file) = found else {
            return Journal::create(storage, policy, Report::of_nothing(path));
        };
        let report = recover::scan(&file, path.clone(), on_record)
            .map_err(|e| Error::io("read", &path, e))?;
        if report.fresh {
            return Journal::create(storage, policy, report);
        }
        let end = report.end_bytes;
        let verdict = report.bad.as_ref().map(|bad| bad.verdict);
        if let Some(Disposition::Refused(_)) = verdict {
            return Err(Error::Refused(Box::new(report)));
        }
        let marker = marker::look(&storage, &path, report.id)?;
        if verdict == Some(Disposition::Cut) {
            file.set_size(end)
                .map_err(|e| Error::io_at("cut the torn tail of", path.clone(), end, e))?;
        }
        // With the cut: a stale record must be gone for good before a new one is written.
        make_durable(&file, &path, report.synced_bytes, end)?;
        let leftover = storage.path_of(NEW_JOURNAL_FILE);
        storage.remove(NEW_JOURNAL_FILE).map_err(|e| Error::io("remove", leftover, e))?;
        // The name too: whoever made or renamed this file may have been killed before doing so.
        storage.sync_folder().map_err(|e| Error::io("sync the folder of", &path, e))?;
        // A file that is neither refused nor fresh has a good header.
        let id = report.id.expect("the identity of a journal that was read");
        if marker != Marker::Good {
            marker::write(&storage, id)?;
        }
        Ok((Journal::over(storage, file, id, policy, &report), report))
    }

    /// A new journal in the place of none, or of one whose creation was interrupted.
    fn create(storage: S, policy: SyncPolicy, report: Report) -> Result<(Self, Report), Error> {
        let path = report.path.clone();
        let leftover = storage.path_of(NEW_JOURNAL_FILE);
        let found = storage.open_to_read(NEW_JOURNAL_FILE);
        if found.map_err(|e| Error::io("open", &leftover, e))?.is_some() {
            return Err(Error::OnlyLeftover { path, leftover });
        }
        marker::must_be_absent(&storage, &path)?;
        let id = JournalId::random();
        let header = record::header(id, false);
        let file = storage.create(JOURNAL_FILE).map_err(|e| Error::io("create", &path, e))?;
        write_fully(&file, &header, 0).map_err(|e| Error::io("write", &path, e))?;
        file.sync_data().map_err(|e| Error::io("sync", &path, e))?;
        storage.sync_folder().map_err(|e| Error::io("sync the folder of", &path, e))?;
        // Written after the journal. A crash before this leaves a journal without a marker, which
        // is fine.
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
        Ok((Journal::over(storage, file, id, policy, &report), report))
    }

    /// The state after everything in the report was made durable.
    fn over(storage: S, file: S::File, id: JournalId, policy: SyncPolicy, report: &Report) -> Self {
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
            is_sealed: report.is_sealed,
            synced_bytes: report.end_bytes,
            poisoned: None,
            snapshot: None,
            nameless: None,
            notices: Vec::new(),
        }
    }

    /// Writes records as one commit, and syncs them if the policy is [`SyncPolicy::Always`].
    /// `first` is the number of the first. `payloads` holds their payloads concatenated, and
    /// `extents` the end of each and any part not to be written. Nobody may be notified of the
    /// records before this returns `Ok`. Without records it does nothing.
    ///
    /// If the disk is full, a snapshot in progress is discarded to make room, with a [`Notice`].
    ///
    /// On `Err` the journal is poisoned, and the commit may or may not be there after the next
    /// open.
    ///
    /// Panics if `first` is not the next number, or if a payload has an LF, TAB or NUL, begins with `"` or
    /// is longer than [`MAX_PAYLOAD_BYTES`].
    pub fn commit(
        &mut self,
        first: u64,
        payloads: &str,
        extents: impl ExactSizeIterator<Item = impl Into<Extent>>,
    ) -> Result<(), Error> {
        assert_eq!(first, self.last_number + 1, "event number");
        self.healthy()?;
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
        self.is_sealed = false;
        let written = write_fully(&self.file, &self.lines[start..], self.end_bytes);
        self.fatal("write", written)?;
        self.end_bytes = end;
        self.last_number += records;
        let is_large = bytes > FILL_COMMIT_BYTES;
        self.lines.clear();
        self.lines.shrink_to(KEEP_BUFFER_BYTES);
        if self.end_bytes > self.filled_bytes {
            self.filled_bytes = self.end_bytes;
            if !is_large {
                self.fill()?;
            }
        }
        if self.policy == SyncPolicy::Always { self.sync() } else { Ok(()) }
    }

    /// Allocates disk space for a commit that ends at `end`, before any of it is written. If the
    /// disk is full, gives up a snapshot in progress and the file that the last one has replaced.
    #[cold]
    #[inline(never)]
    fn allocate(&mut self, end: u64) -> Result<(), Error> {
        let mut found = self.try_allocate(end);
        if found.as_ref().is_err_and(is_out_of_space) && self.give_up_space() {
            found = self.try_allocate(end);
        }
        self.fatal("allocate space in", found)
    }

    fn try_allocate(&mut self, end: u64) -> io::Result<()> {
        let from = self.allocated_bytes;
        // Ahead of the end, because each commit without a spare tail would need two calls.
        let step = self.spare_end(end);
        for target in [step, end] {
            match self.file.allocate(from, target - from) {
                Ok(()) => {
                    self.allocated_bytes = target;
                    return Ok(());
                }
                Err(e) if target == step && is_full(&e) => {}
                Err(e) if e.kind() == io::ErrorKind::Unsupported => break,
                Err(e) => return Err(e),
            }
        }
        // Space that was written to is allocated as well.
        fill_blank(&self.file, &mut self.filled_bytes, step)?;
        self.allocated_bytes = self.allocated_bytes.max(self.filled_bytes);
        if self.allocated_bytes < end {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Returns the problems to log, oldest first. Each is returned once.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Checks that this process still owns the directory, and that the journal has not been deleted
    /// or replaced under its name. Problems become a [`Notice`]. Meant to be called from time to
    /// time.
    ///
    /// Errors: [`Error::LockLost`], which poisons the journal.
    pub fn confirm_directory(&mut self) -> Result<(), Error> {
        self.healthy()?;
        if let Err(error) = self.may_replace()? {
            self.notices.push(Notice::Directory(error));
        }
        Ok(())
    }

    /// Checks whether a snapshot may replace the journal. Returns `Ok(Err(_))` if it may not now,
    /// and `Err` if another process owns the directory, which poisons the journal.
    fn may_replace(&mut self) -> Result<Result<(), Error>, Error> {
        let lock = self.storage.path_of(LOCK_FILE);
        match self.storage.confirm_lock() {
            Ok(LockState::Held) => {}
            Ok(LockState::Retaken) => self.notices.push(Notice::LockRetaken { path: lock }),
            Ok(LockState::Lost) => {
                let error = Error::LockLost { path: lock };
                self.poisoned = Some(error.to_string());
                return Err(error);
            }
            Err(e) => return Ok(Err(Error::io("check the lock on", lock, e))),
        }
        let path = self.storage.path_of(JOURNAL_FILE);
        match self.storage.compare(JOURNAL_FILE, &self.file) {
            Ok(NameState::Same) => Ok(Ok(())),
            Ok(NameState::Missing) => {
                self.notices.push(Notice::JournalMissing { path });
                Ok(Ok(()))
            }
            Ok(NameState::Other) => Ok(Err(Error::JournalReplaced { path })),
            Err(e) => Ok(Err(Error::io("look for", path, e))),
        }
    }

    /// Makes everything committed durable; does nothing if it is. On `Err` the journal is
    /// poisoned: the system may have thrown away what it could not write.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.healthy()?;
        if self.is_dirty() {
            self.sync_file()?;
        }
        Ok(())
    }

    /// Records durably, after the last commit, that everything so far is complete. Damage can then
    /// be distinguished from a torn tail, and a whole copy from one that lacks its end. The next
    /// commit overwrites the seal. Returns whether a seal was written.
    ///
    /// A disk that is too full is not an error; the journal stays unsealed. Any other error poisons
    /// it.
    pub fn seal(&mut self) -> Result<bool, Error> {
        if self.is_sealed {
            return Ok(false);
        }
        // Before the seal is written, because the seal may reach the disk at any moment after that.
        self.sync()?;
        let mut line = Vec::new();
        record::push_seal(&mut line, self.last_number, self.end_bytes);
        match write_fully(&self.file, &line, self.end_bytes) {
            Err(e) if is_full(&e) => return Ok(false),
            written => self.fatal("seal", written)?,
        }
        self.filled_bytes = self.filled_bytes.max(self.end_bytes + line.len() as u64);
        self.allocated_bytes = self.allocated_bytes.max(self.filled_bytes);
        self.sync_file()?;
        self.is_sealed = true;
        Ok(true)
    }

    /// Returns whether a durable seal proves that everything is complete.
    pub fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Fills the spare tail if less than half a step of it is left, so that later commits do not
    /// have to; true if there was something to do. Meant for idle moments: after a start, or after
    /// replies were sent. With [`SyncPolicy::Always`] it ends with a sync, with the other policies
    /// the next sync covers it. On `Err` the journal is poisoned.
    pub fn fill_tail(&mut self) -> Result<bool, Error> {
        self.healthy()?;
        let low = self.filled_bytes - self.end_bytes < self.storage.spare_step_bytes() / 2;
        if !low || self.policy == SyncPolicy::Never || !self.fill()? {
            return Ok(false);
        }
        if self.policy == SyncPolicy::Always {
            self.sync_file()?;
        }
        Ok(true)
    }

    /// Extends the blank tail by at least half a step, up to a multiple of the step. A disk too
    /// full for it is no error: spare space is a convenience. False if nothing could be added.
    /// Without syncs a tail would be of no use.
    fn fill(&mut self) -> Result<bool, Error> {
        if self.policy == SyncPolicy::Never {
            return Ok(false);
        }
        let before = self.filled_bytes;
        let target = self.spare_end(self.end_bytes);
        let result = fill_blank(&self.file, &mut self.filled_bytes, target);
        self.allocated_bytes = self.allocated_bytes.max(self.filled_bytes);
        self.fatal("fill the spare tail of", result)?;
        Ok(self.filled_bytes > before)
    }

    /// Returns the first multiple of the step that leaves at least half a step after `end`.
    fn spare_end(&self, end: u64) -> u64 {
        let step = self.storage.spare_step_bytes();
        (end + step / 2).next_multiple_of(step)
    }

    fn sync_file(&mut self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        self.fatal("sync", synced)?;
        self.synced_bytes = self.end_bytes;
        Ok(())
    }

    /// Whether something committed is not known to be durable.
    pub fn is_dirty(&self) -> bool {
        self.synced_bytes < self.end_bytes
    }

    /// The first error of a write or sync, after which nothing can be written any more.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// Returns the identity of the history.
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// The policy given to [`Journal::open`].
    pub fn policy(&self) -> SyncPolicy {
        self.policy
    }

    /// Number of the last committed event, 0 before the first.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Number of the last event that the file holds only within its snapshot; 0 without one. The
    /// events from the next one on are in the file one by one.
    pub fn base_number(&self) -> u64 {
        self.base_number
    }

    /// Bytes in use: header, snapshot and committed events, without the spare tail.
    pub fn used_bytes(&self) -> u64 {
        self.end_bytes
    }

    /// Bytes of header and snapshot.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes
    }

    /// Bytes of the events committed since the snapshot, or since the beginning.
    pub fn bytes_since_snapshot(&self) -> u64 {
        self.end_bytes - self.snapshot_bytes
    }

    fn healthy(&self) -> Result<(), Error> {
        match &self.poisoned {
            None => Ok(()),
            Some(first) => Err(Error::Poisoned(first.clone())),
        }
    }

    /// Gives an error its context and poisons the journal with it.
    fn fatal<T>(&mut self, action: &'static str, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|e| {
            let path = self.storage.path_of(JOURNAL_FILE);
            let error = Error::io_at(action, path, self.end_bytes, e);
            self.poisoned = Some(error.to_string());
            error
        })
    }
}

impl Report {
    fn of_nothing(path: String) -> Report {
        Report {
            path,
            fresh: true,
            id: None,
            snapshot_records: 0,
            snapshot_bytes: 0,
            base_number: 0,
            last_number: 0,
            end_bytes: 0,
            synced_bytes: 0,
            file_bytes: 0,
            is_sealed: false,
            bad: None,
        }
    }
}

/// Makes what was replayed, up to `end`, and the end of the file durable.
///
/// What is not known to be synced, from `from` on, is written again first: an earlier process may
/// have died of a failed sync, after which the system shows the right bytes but believes that it
/// has written them.
fn make_durable<F: StorageFile>(file: &F, path: &str, from: u64, end: u64) -> Result<(), Error> {
    let mut offset = from;
    let mut rewrite = || {
        let mut buf = vec![0; FILL_PIECE_BYTES.min((end - from) as usize)];
        while offset < end {
            let count = buf.len().min((end - offset) as usize);
            recover::read_exactly(file, &mut buf[..count], offset)?;
            write_fully(file, &buf[..count], offset)?;
            offset += count as u64;
        }
        file.sync_data()
    };
    rewrite().map_err(|e| Error::io_at("make durable", path.to_string(), offset, e))
}

/// Writes all of `data`, in as many calls as it takes.
fn write_fully<F: StorageFile>(file: &F, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        match file.write_at(data, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                data = &data[count..];
                offset += count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes blank space from `filled` up to `target`, and advances `filled`. Stops without an error
/// when the disk is full.
///
/// Never inlined, so that its buffer of blanks is not part of the stack frame of every commit.
#[cold]
#[inline(never)]
fn fill_blank<F: StorageFile>(file: &F, filled: &mut u64, target: u64) -> io::Result<()> {
    let blank = [b'\n'; FILL_PIECE_BYTES];
    while *filled < target {
        let count = blank.len().min((target - *filled) as usize);
        match write_fully(file, &blank[..count], *filled) {
            Ok(()) => *filled += count as u64,
            Err(e) if is_full(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Returns whether a file cannot grow, because the disk is full or a limit forbids it.
fn is_full(e: &io::Error) -> bool {
    is_out_of_space(e) || e.kind() == io::ErrorKind::FileTooLarge
}

/// Returns whether freeing space of another file could help.
fn is_out_of_space(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

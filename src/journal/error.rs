//! What can go wrong, told so that the reader knows what to do next.

use std::fmt::{self, Display};
use std::io;

use super::id::JournalId;
use super::recover::{Corruption, Disposition, Evidence, Report};

/// Why a call of the journal failed. Its text is one line that says what to do, where there is
/// something to do. Whether the journal can still be used is told by
/// [`poisoned`](super::Journal::poisoned).
#[derive(Debug)]
pub enum Error {
    /// The disk did not do it. `action` reads on from "cannot".
    Io { action: &'static str, path: String, offset_bytes: Option<u64>, source: io::Error },
    /// The journal is damaged, or of another format; nothing was changed.
    Refused(Box<Report>),
    /// There is no journal, but an unfinished new one: somebody moved or deleted the journal.
    OnlyLeftover { path: String, leftover: String },
    /// The journal is missing or empty in a directory that was in use.
    Lost { path: String, marker: String },
    /// The journal is not the one that the marker of its directory names.
    OtherJournal { path: String, found: JournalId, marker: String, wanted: JournalId },
    /// A new journal was requested for a directory that has one.
    NotNew { path: String },
    /// There is no journal to copy.
    Missing { path: String },
    /// A copy would replace this file.
    Exists { path: String },
    /// Another process has the folder.
    Locked { path: String },
    /// Another process has taken the directory, after its lock file was deleted.
    LockLost { path: String },
    /// Another file now has the journal's name.
    JournalReplaced { path: String },
    /// An earlier write or sync failed (told again), so nothing may be relied on any more.
    Poisoned(String),
}

/// Actions of [`Error::Io`] that fail because of the directory that was named.
pub(super) const OPEN_DIRECTORY: &str = "open the data directory";
pub(super) const LOCK: &str = "lock";

impl Error {
    pub(super) fn io(action: &'static str, path: impl Display, source: io::Error) -> Error {
        Error::Io { action, path: path.to_string(), offset_bytes: None, source }
    }

    pub(super) fn io_at(action: &'static str, path: String, offset: u64, e: io::Error) -> Error {
        Error::Io { action, path, offset_bytes: Some(offset), source: e }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, path, offset_bytes: None, source } => {
                let remedy = remedy(action, source.kind());
                write!(f, "cannot {action} {path}: {source}{remedy}")
            }
            Error::Io { action, path, offset_bytes: Some(offset), source } => {
                let remedy = remedy(action, source.kind());
                write!(f, "cannot {action} {path} at byte {offset}: {source}{remedy}")
            }
            Error::Refused(report) => refused(f, report),
            Error::OnlyLeftover { path, leftover } => write!(
                f,
                "{path} is missing, but {leftover} is there: the journal was moved or deleted; \
                 bring it back, or to begin with nothing delete {leftover} too"
            ),
            Error::Lost { path, marker } => write!(
                f,
                "{path} is missing or empty, but {marker} records that there was a journal: restore \
                 it from a backup, or start with an empty journal with --new"
            ),
            Error::OtherJournal { path, found, marker, wanted } => write!(
                f,
                "{path} has the id {found}, but {marker} records that the journal of this directory \
                 is {wanted}: restore that journal, or delete {marker} to use this one"
            ),
            Error::NotNew { path } => write!(
                f,
                "{path} exists, but --new requires a directory without a journal: leave out --new, or \
                 name another directory"
            ),
            Error::LockLost { path } => write!(
                f,
                "cannot use this journal any more: {path} was deleted, and another process has \
                 locked a new one and uses the directory"
            ),
            Error::JournalReplaced { path } => write!(
                f,
                "{path} is not the file that the server writes to; stop the server before you \
                 replace its journal"
            ),
            Error::Missing { path } => write!(
                f,
                "{path}: there is no journal; name the server's directory with --data-dir, or if \
                 this is it, bring the journal back from a backup"
            ),
            Error::Exists { path } => write!(
                f,
                "{path} already exists, and a backup does not replace files: name another \
                 directory, or move that file away"
            ),
            Error::Locked { path } => write!(
                f,
                "another process uses this data folder (it holds the lock on {path}); \
                 stop it, or choose another folder"
            ),
            Error::Poisoned(first) => write!(f, "the journal failed before: {first}"),
        }
    }
}

/// Returns what to do about a full disk or a data directory that cannot be used.
fn remedy(action: &str, kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::StorageFull {
        return "; make room on its disk";
    }
    if ![OPEN_DIRECTORY, LOCK].contains(&action) {
        return "";
    }
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; let the server's user write there, or name another directory with --data-dir"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::NotFound => {
            "; name another directory with --data-dir"
        }
        _ => "",
    }
}

/// A problem that does not stop the journal.
#[derive(Debug)]
pub enum Notice {
    /// The disk had no room for a commit, so the snapshot in progress was discarded.
    SnapshotGivenUp { path: String },
    /// The lock file was deleted or replaced, and no other process has taken the directory since.
    LockRetaken { path: String },
    /// The journal has no name in its directory any more. The next snapshot restores it.
    JournalMissing { path: String },
    /// The directory could not be checked.
    Directory(Error),
}

impl Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::SnapshotGivenUp { path } => write!(
                f,
                "stopped a compaction: the disk is full, and reservations needed the space of {path}"
            ),
            Notice::LockRetaken { path } => write!(
                f,
                "{path} was deleted or replaced while the server was running; it is locked again. \
                 Never delete it, because another server could then use the same directory"
            ),
            Notice::JournalMissing { path } => write!(
                f,
                "{path} was deleted or moved while the server was running; reservations made from now \
                 on are lost at the next stop unless a compaction happens first"
            ),
            Notice::Directory(error) => write!(f, "{error}"),
        }
    }
}

fn refused(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let Report { path, end_bytes, bad: Some(bad), .. } = report else {
        return write!(f, "{} is refused", report.path);
    };
    let Disposition::Refused(why) = bad.verdict else {
        return write!(f, "{path}: {bad}");
    };
    write!(f, "{path}: {bad}; nothing was changed; ")?;
    match why {
        Evidence::Version => write!(f, "use a version of the program that knows this format"),
        Evidence::Snapshot | Evidence::Header => write!(f, "bring back a good copy of this file"),
        Evidence::Synced { .. }
        | Evidence::Sealed { .. }
        | Evidence::NotContinued { .. }
        | Evidence::OutOfOrder
        | Evidence::Rejected => write!(
            f,
            "bring back a good copy of this file, or keep a copy of it and, with no server running \
             on it, give up all {} bytes after the last good commit: \
             truncate --size={end_bytes} {path}",
            bad.tail_bytes
        ),
    }
}

impl Corruption {
    /// What lies after the last good commit, in words: `12 bytes with the beginning of 1 commit`.
    pub fn tail(&self) -> String {
        let Corruption { tail_bytes, readable_commits, .. } = self;
        match readable_commits {
            1 => format!("{tail_bytes} bytes with the beginning of 1 commit"),
            _ => format!("{tail_bytes} bytes with the beginnings of {readable_commits} commits"),
        }
    }
}

impl Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Corruption { offset_bytes, line, reason, verdict, .. } = self;
        write!(f, "byte {offset_bytes}, line {line}: {reason}; ")?;
        match verdict {
            Disposition::Cut => write!(f, "a torn tail of {}, never acknowledged", self.tail()),
            Disposition::Refused(Evidence::Synced { number, offset_bytes }) => write!(
                f,
                "damage: this place had been synced when event {number} was written \
                 at byte {offset_bytes}"
            ),
            Disposition::Refused(Evidence::Sealed { number, offset_bytes }) => write!(
                f,
                "damage: this place had been synced when the journal was sealed \
                 after event {number} at byte {offset_bytes}"
            ),
            Disposition::Refused(Evidence::NotContinued { offset_bytes }) => write!(
                f,
                "damage: the record at byte {offset_bytes} does not continue this journal, so \
                 something other than the server wrote to the file"
            ),
            Disposition::Refused(Evidence::OutOfOrder | Evidence::Rejected) => {
                write!(f, "damage: the record is as it was written, no crash does this")
            }
            Disposition::Refused(Evidence::Snapshot) => write!(f, "damage inside the snapshot"),
            Disposition::Refused(Evidence::Header) => {
                write!(f, "damage to the header, or another file")
            }
            Disposition::Refused(Evidence::Version) => write!(f, "another format"),
        }
    }
}

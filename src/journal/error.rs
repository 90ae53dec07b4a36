//! Errors and notices of the journal, with what to do about them.

use std::fmt::{self, Display};
use std::io;

use super::JournalId;
use super::report::{Disposition, Evidence, Report};

/// Why a call of the journal failed. Its text is one line.
///
/// [`poisoned`](super::Journal::poisoned) returns whether the journal can still be used.
#[derive(Debug)]
pub enum Error {
    /// An operation on a file or directory failed.
    Io { action: Action, path: String, offset_bytes: Option<u64>, source: io::Error },
    /// The journal is damaged or of another format. Nothing was changed.
    Refused(Box<Report>),
    /// There is no journal, but an unfinished new one: the journal was moved or deleted.
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
    /// Another process has locked the directory.
    Locked { path: String },
    /// Another process has taken the directory, after its lock file was deleted.
    LockLost { path: String },
    /// Another file has taken the journal's name.
    JournalReplaced { path: String },
    /// An earlier write or sync failed, with this error. Nothing can be relied on any more.
    Poisoned(String),
}

/// The operation that failed. Displayed as the words after "cannot".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    AllocateSpace,
    CheckLock,
    Create,
    CutTornTail,
    FillTail,
    Find,
    Lock,
    MakeDirectory,
    MakeDurable,
    Open,
    OpenDirectory,
    Read,
    ReadMode,
    Remove,
    RenameCopy,
    ReplaceJournal,
    Seal,
    Sync,
    SyncDirectory,
    SyncDirectoryOf,
    Write,
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::AllocateSpace => "allocate space in",
            Action::CheckLock => "check the lock on",
            Action::Create => "create",
            Action::CutTornTail => "cut the torn tail of",
            Action::FillTail => "fill the spare tail of",
            Action::Find => "find",
            Action::Lock => "lock",
            Action::MakeDirectory => "create the directory",
            Action::MakeDurable => "make durable",
            Action::Open => "open",
            Action::OpenDirectory => "open the data directory",
            Action::Read => "read",
            Action::ReadMode => "read the mode of",
            Action::Remove => "remove",
            Action::RenameCopy => "rename the copy to",
            Action::ReplaceJournal => "replace by the finished snapshot",
            Action::Seal => "seal",
            Action::Sync => "sync",
            Action::SyncDirectory => "sync the directory",
            Action::SyncDirectoryOf => "sync the directory of",
            Action::Write => "write",
        })
    }
}

impl Action {
    /// Returns what to do about a full disk, or about a data directory that cannot be used.
    fn remedy(self, kind: io::ErrorKind) -> &'static str {
        if kind == io::ErrorKind::StorageFull {
            return "; free space on its disk";
        }
        if !matches!(self, Action::OpenDirectory | Action::Lock) {
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
}

impl Error {
    pub(super) fn io(action: Action, path: impl Display, source: io::Error) -> Error {
        Error::Io { action, path: path.to_string(), offset_bytes: None, source }
    }

    pub(super) fn io_at(action: Action, path: String, offset: u64, source: io::Error) -> Error {
        Error::Io { action, path, offset_bytes: Some(offset), source }
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
            Error::Io { action, path, offset_bytes, source } => {
                write!(f, "cannot {action} {path}")?;
                if let Some(offset) = offset_bytes {
                    write!(f, " at byte {offset}")?;
                }
                write!(f, ": {source}{}", action.remedy(source.kind()))
            }
            Error::Refused(report) => fmt_refused(f, report),
            Error::OnlyLeftover { path, leftover } => write!(
                f,
                "{path} is missing, but {leftover} exists: the journal was moved or deleted; \
                 restore it, or delete {leftover} as well to start with an empty journal"
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
                "{path} exists, but --new requires a directory without a journal: omit --new, or \
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
                "{path}: there is no journal; name the server's directory with --data-dir, or \
                 restore the journal from a backup"
            ),
            Error::Exists { path } => write!(
                f,
                "{path} already exists, and a backup does not replace files: name another \
                 directory, or move that file away"
            ),
            Error::Locked { path } => write!(
                f,
                "another process uses this data directory (it holds the lock on {path}); stop it, or \
                 name another directory with --data-dir"
            ),
            Error::Poisoned(first) => write!(f, "the journal failed before: {first}"),
        }
    }
}

fn fmt_refused(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let Report { path, end_bytes, bad: Some(bad), .. } = report else {
        // A backup that does not match its journal has no bad place.
        return write!(f, "{}: the copy is incomplete", report.path);
    };
    let Disposition::Refused(evidence) = bad.disposition else {
        return write!(f, "{path}: {bad}");
    };
    write!(f, "{path}: {bad}; nothing was changed; ")?;
    match evidence {
        Evidence::Version => write!(f, "use a version of the program that reads this format"),
        Evidence::Snapshot | Evidence::Header => write!(f, "restore a good copy of this file"),
        Evidence::Synced { .. }
        | Evidence::Sealed { .. }
        | Evidence::NotContinued { .. }
        | Evidence::OutOfOrder
        | Evidence::Rejected => write!(
            f,
            "restore a good copy of this file; or keep a copy of it and, with no server running on \
             it, give up all {} bytes after the last good commit: \
             truncate --size={end_bytes} {path}",
            bad.tail_bytes
        ),
    }
}

/// A problem that does not stop the journal.
#[derive(Debug)]
pub enum Notice {
    /// The disk had no space for a commit, so the snapshot in progress was abandoned.
    SnapshotAbandoned { path: String },
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
            Notice::SnapshotAbandoned { path } => write!(
                f,
                "stopped a compaction: the disk is full, and a commit needed the space of {path}"
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

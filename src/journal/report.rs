//! The result of reading a journal: its records, its extent, and the first bad place.

use std::fmt::{self, Display};

use super::JournalId;

/// A record handed over by a replay, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// Part of the snapshot at the start of a compacted file. Numbers are 1, 2, 3… within it.
    Snapshot { number: u64, payload: &'a str },
    /// The end of the snapshot, which holds the state after event `base`.
    SnapshotEnd { base: u64 },
    /// An event of a commit with a correct checksum. Numbers have no gaps. If the caller rejects
    /// one, the earlier ones of its commit are not good either; see [`Report::last_number`].
    Event { number: u64, payload: &'a str },
}

/// The reason why the caller of a replay does not accept a record.
///
/// Converts from anything that can be displayed, so that `?` works in callbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: String,
}

impl<T: Display> From<T> for Rejection {
    fn from(reason: T) -> Rejection {
        Rejection { reason: reason.to_string() }
    }
}

/// The contents and state of a journal file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The file.
    pub path: String,
    /// Whether there is no journal yet, or only one whose creation was interrupted.
    pub fresh: bool,
    /// The identity of the history, if there is a journal with a readable header.
    pub id: Option<JournalId>,
    /// Good records of the snapshot, 0 if there is none.
    pub snapshot_records: u64,
    /// Bytes from the start of the file to the end of the header or snapshot.
    pub snapshot_bytes: u64,
    /// Number of the last event that is in the snapshot, 0 if there is none.
    pub base_number: u64,
    /// Number of the last good event, [`Report::base_number`] if there is none after it.
    pub last_number: u64,
    /// Bytes from the start of the file to the end of the last good commit.
    pub end_bytes: u64,
    /// Bytes known to be synced, from the seal, the last good commit or a snapshot. 0 in a file
    /// with only a header, because the sync at its creation may have failed.
    pub synced_bytes: u64,
    /// Size of the file, with the spare tail.
    pub file_bytes: u64,
    /// Whether a seal proves that nothing was committed after the last good event. Without one,
    /// events at the end may be missing.
    pub is_sealed: bool,
    /// The first bad place, if there is one.
    pub bad: Option<Corruption>,
}

impl Report {
    /// Returns the report of a file that does not exist.
    pub(super) fn of_missing(path: String) -> Report {
        Report { path, fresh: true, ..Report::default() }
    }
}

/// The first bad place of a journal, and its consequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// Offset of the bad line from the start of the file.
    pub offset_bytes: u64,
    /// The number of that line, from 1.
    pub line: u64,
    /// The reason why that line is bad.
    pub reason: String,
    /// Bytes from the end of the last good commit to the end of the last line that is not blank,
    /// which a cut would remove.
    pub tail_bytes: u64,
    /// Number of commits after the last good one whose head is readable.
    pub readable_commits: u64,
    pub disposition: Disposition,
}

/// How a bad place is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It is a torn tail, which was never acknowledged as durable. Everything after the last good
    /// commit is cut.
    Cut,
    /// It is damage. Nothing is changed, and the journal does not open.
    Refused(Evidence),
}

/// Why a bad place cannot be a torn tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The commit at `offset_bytes`, whose first event is `number`, records that the bad place had
    /// been synced before it was written.
    Synced { number: u64, offset_bytes: u64 },
    /// The seal at `offset_bytes`, after event `number`, proves that the bad place had been synced.
    Sealed { number: u64, offset_bytes: u64 },
    /// The record at `offset_bytes`, after a seal, does not continue the journal. The server never
    /// writes such a record there, so something else wrote to the file.
    NotContinued { offset_bytes: u64 },
    /// The checksum is correct and the record is out of order, which no crash causes.
    OutOfOrder,
    /// The caller rejected the record.
    Rejected,
    /// It is in the snapshot, which was synced before the file got its name.
    Snapshot,
    /// It is in the header, which was synced before anything was written after it.
    Header,
    /// The file has another format version.
    Version,
}

impl Disposition {
    /// Returns whether a commit that is being written at the moment may look like this.
    pub(super) fn may_change(self) -> bool {
        matches!(
            self,
            Disposition::Cut
                | Disposition::Refused(Evidence::Synced { .. } | Evidence::Sealed { .. })
        )
    }
}

impl Corruption {
    /// Describes the part after the last good commit: `12 bytes with the beginning of 1 commit`.
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
        write!(f, "byte {}, line {}: {}; ", self.offset_bytes, self.line, self.reason)?;
        match self.disposition {
            Disposition::Cut => write!(f, "a torn tail of {}, never acknowledged", self.tail()),
            Disposition::Refused(evidence) => evidence.fmt(f),
        }
    }
}

impl Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::Synced { number, offset_bytes } => write!(
                f,
                "damage: this place had been synced when event {number} was written at byte \
                 {offset_bytes}"
            ),
            Evidence::Sealed { number, offset_bytes } => write!(
                f,
                "damage: this place had been synced when the journal was sealed after event \
                 {number} at byte {offset_bytes}"
            ),
            Evidence::NotContinued { offset_bytes } => write!(
                f,
                "damage: the record at byte {offset_bytes} does not continue this journal, so \
                 something other than the server wrote to the file"
            ),
            Evidence::OutOfOrder | Evidence::Rejected => {
                write!(f, "damage: the record has a correct checksum, so no crash caused this")
            }
            Evidence::Snapshot => write!(f, "damage inside the snapshot"),
            Evidence::Header => write!(f, "damage to the header, or not a journal"),
            Evidence::Version => write!(f, "another format"),
        }
    }
}

//! The search after the last good commit for evidence that a bad place is not a torn tail.

use std::io;

use super::Evidence;
use super::reader::CHUNK_BYTES;
use super::record::{Head, Line, MARK, MARK_AT, MAX_LINE_BYTES, Seal, parse};
use super::storage::StorageFile;

/// The contents of a file after its last good commit.
pub(super) struct Rest {
    /// Commits whose head is readable.
    pub readable: u64,
    pub evidence: Option<Evidence>,
    /// The end of the last line that is not blank.
    pub content_end: u64,
}

impl Rest {
    /// Searches everything from `from`, the end of the last good commit, for heads of commits and
    /// for seals with a correct checksum. One that records a sync beyond `from` proves damage.
    ///
    /// If there is a seal at `from`, `sealed` is the number of the event before it. A record after
    /// it that does not continue the journal proves damage as well.
    ///
    /// Records are also found in the middle of a line, because the LF before them may be broken.
    /// Payloads cannot be mistaken for records, because they contain no mark.
    pub fn search<F: StorageFile>(
        file: &F,
        from: u64,
        file_bytes: u64,
        sealed: Option<u64>,
    ) -> io::Result<Rest> {
        let mut rest = Rest { readable: 0, evidence: None, content_end: from };
        let mut buf = Vec::new();
        let mut at = from;
        while at < file_bytes {
            let step = (file_bytes - at).min(CHUNK_BYTES as u64) as usize;
            let wanted = (file_bytes - at).min((CHUNK_BYTES + MAX_LINE_BYTES) as u64) as usize;
            buf.resize(wanted, 0);
            file.read_fully(&mut buf, at)?;
            if let Some(last) = buf.iter().rposition(|b| *b != b'\n') {
                // Includes its LF, if it has one.
                rest.content_end = file_bytes.min(at + last as u64 + 2);
            }
            // A record has a single mark, after its checksum. The first one can be at `MARK_AT`.
            let marks = buf.get(MARK_AT..).unwrap_or_default();
            for start in memchr::memchr_iter(MARK, marks).take_while(|start| *start < step) {
                let line = &buf[start..buf.len().min(start + MAX_LINE_BYTES)];
                if let Some(end) = memchr::memchr(b'\n', line)
                    && let Ok(record) = parse(&line[..end])
                {
                    rest.readable += u64::from(matches!(record, Line::Commit(_)));
                    let evidence = evidence(record, at + start as u64, from, sealed);
                    rest.evidence = rest.evidence.or(evidence);
                }
            }
            at += step as u64;
        }
        Ok(rest)
    }
}

/// Returns the evidence of damage in a record at `offset_bytes`, for [`Rest::search`].
fn evidence(
    record: Line<'_>,
    offset_bytes: u64,
    from: u64,
    sealed: Option<u64>,
) -> Option<Evidence> {
    match record {
        Line::Commit(Head { first: number, synced, .. }) if synced > from => {
            Some(Evidence::Synced { number, offset_bytes })
        }
        Line::Seal(Seal { last: number, end }) if end > from => {
            Some(Evidence::Sealed { number, offset_bytes })
        }
        _ => {
            let is_stray = sealed.is_some_and(|last| !may_follow_seal(record, last, from));
            is_stray.then_some(Evidence::NotContinued { offset_bytes })
        }
    }
}

/// Returns whether a crash can leave this record somewhere after a seal that follows event `last`
/// at the offset `end`.
///
/// Commits overwrite a seal, and all of them up to the next sync have its offset as `synced`. If
/// the first of them is lost, the seal and the others remain.
fn may_follow_seal(record: Line<'_>, last: u64, end: u64) -> bool {
    match record {
        Line::Commit(head) => head.first > last && head.synced >= end,
        Line::Seal(seal) => seal.end >= end,
        Line::Snapshot { .. } | Line::End { .. } => false,
    }
}

//! Reads a journal back: replays its good records, and decides whether the first bad place is a
//! torn tail, which is cut, or damage to something acknowledged, which is refused. Nothing here
//! writes. All cases are in the table of `docs/journal.md`.

use std::io;

use super::evidence::Rest;
use super::reader::{Reader, Span};
use super::record::{
    FORMAT_VERSION, Head, Line, MAX_HEADER_BYTES, MAX_LINE_BYTES, NEW_HEADER_BYTES, PayloadError,
    Payloads, Seal, Unreadable, is_torn_header, other_version, parse, parse_header,
};
use super::storage::StorageFile;
use super::{Corruption, Disposition, Evidence, Record, Rejection, Report};

/// Reads a journal from its start to its end or to the first bad place, and judges that place.
/// Fails only if the disk cannot be read.
///
/// A server may be writing to the file. A bad place is therefore read again as long as this yields
/// more good commits. If a later commit is visible, the earlier ones are complete.
pub(super) fn scan<F: StorageFile>(
    file: &F,
    path: String,
    on_record: impl FnMut(Record<'_>) -> Result<(), Rejection>,
) -> io::Result<Report> {
    let file_bytes = file.size()?;
    let report = Report { path, file_bytes, ..Report::default() };
    let reader = Reader::new(file, file_bytes, 0, 0);
    let mut scan = Scan { reader, report, end_lines: 0, buffer: String::new(), on_record };
    let mut stop = scan.run();
    loop {
        match stop {
            Ok(()) => return Ok(scan.report),
            Err(Stop::Io(e)) => return Err(e),
            Err(Stop::Corruption { at, reason, evidence }) => scan.judge(at, reason, evidence)?,
        }
        let end = scan.report.end_bytes;
        let may_change = scan.report.bad.as_ref().is_some_and(|bad| bad.disposition.may_change());
        if !may_change {
            return Ok(scan.report);
        }
        let judged = scan.report.bad.take();
        stop = scan.resume();
        // Without further good commits, the first decision is final.
        let is_undecided = matches!(stop, Err(Stop::Corruption { evidence: None, .. }));
        if scan.report.end_bytes == end && is_undecided {
            scan.report.bad = judged;
            scan.report.is_sealed = false;
            return Ok(scan.report);
        }
    }
}

/// Why a scan stopped before the end of the file.
enum Stop {
    Io(io::Error),
    /// If there is no evidence yet, the rest of the file decides.
    Corruption {
        at: Span,
        reason: String,
        evidence: Option<Evidence>,
    },
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Stop {
        Stop::Io(e)
    }
}

impl Stop {
    fn torn_or_damaged<T>(at: Span, reason: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Corruption { at, reason: reason.into(), evidence: None })
    }

    fn damaged<T>(at: Span, reason: impl Into<String>, evidence: Evidence) -> Result<T, Stop> {
        Err(Stop::Corruption { at, reason: reason.into(), evidence: Some(evidence) })
    }

    fn out_of_order<T>(at: Span, reason: impl Into<String>) -> Result<T, Stop> {
        Stop::damaged(at, reason, Evidence::OutOfOrder)
    }
}

struct Scan<'f, F, C> {
    reader: Reader<'f, F>,
    report: Report,
    /// Number of lines up to [`Report::end_bytes`].
    end_lines: u64,
    /// Buffer for payloads that are assembled.
    buffer: String,
    on_record: C,
}

impl<F: StorageFile, C: FnMut(Record<'_>) -> Result<(), Rejection>> Scan<'_, F, C> {
    fn run(&mut self) -> Result<(), Stop> {
        if self.header()? {
            self.snapshot()?;
            self.report.synced_bytes = self.reader.offset();
        }
        if !self.report.fresh {
            self.report.snapshot_bytes = self.reader.offset();
            self.set_end();
            self.commits()?;
        }
        Ok(())
    }

    /// Marks everything that was read as good.
    fn set_end(&mut self) {
        self.report.end_bytes = self.reader.offset();
        self.end_lines = self.reader.lines();
    }

    /// Reads the file again from the end of the last good commit.
    fn resume(&mut self) -> Result<(), Stop> {
        let file = self.reader.file;
        self.report.file_bytes = file.size()?;
        self.report.is_sealed = false;
        let Report { file_bytes, end_bytes, .. } = self.report;
        self.reader = Reader::new(file, file_bytes, end_bytes, self.end_lines);
        self.commits()
    }

    /// Adds the bad place to the report, with the evidence in the rest of the file.
    fn judge(&mut self, at: Span, reason: String, evidence: Option<Evidence>) -> io::Result<()> {
        let report = &mut self.report;
        let sealed = report.is_sealed.then_some(report.last_number);
        let rest = Rest::search(self.reader.file, report.end_bytes, report.file_bytes, sealed)?;
        let evidence = evidence.or(rest.evidence);
        report.is_sealed = false;
        report.bad = Some(Corruption {
            offset_bytes: at.offset,
            line: at.line,
            reason,
            tail_bytes: rest.content_end - report.end_bytes,
            readable_commits: rest.readable,
            disposition: evidence.map_or(Disposition::Cut, Disposition::Refused),
        });
        Ok(())
    }

    /// Reads the first line. Returns whether a snapshot must follow.
    fn header(&mut self) -> Result<bool, Stop> {
        let start = Span { offset: 0, bytes: 0, line: 1, ended: false };
        let size = self.report.file_bytes;
        let head = self.reader.peek_start(MAX_HEADER_BYTES)?;
        let line = memchr::memchr(b'\n', head).map(|end| &head[..end]);
        if let Some((id, is_snapshot)) = line.and_then(parse_header) {
            let bytes = line.map_or(0, <[u8]>::len) as u64 + 1;
            self.reader.skip_lines(bytes, 1);
            self.report.id = Some(id);
            return Ok(is_snapshot);
        }
        if size <= NEW_HEADER_BYTES as u64 && is_torn_header(head) {
            self.report.fresh = true;
            return Ok(false);
        }
        if let Some(version) = other_version(head) {
            let reason =
                format!("it has format version {version}, and this program reads {FORMAT_VERSION}");
            return Stop::damaged(start, reason, Evidence::Version);
        }
        Stop::damaged(start, "the first line is not the header of a journal", Evidence::Header)
    }

    fn snapshot(&mut self) -> Result<(), Stop> {
        loop {
            let damaged = |at, reason: &str| Stop::damaged(at, reason, Evidence::Snapshot);
            self.reader.release();
            let Some(at) = self.reader.next_line()? else {
                return damaged(self.reader.here(), "the file ends inside the snapshot");
            };
            match parse(self.reader.bytes(at)) {
                _ if !at.ended => return damaged(at, "the file ends inside a snapshot record"),
                Ok(Line::Snapshot { number, payload })
                    if number == self.report.snapshot_records + 1 =>
                {
                    let payload = to_text(at, payload)?;
                    deliver(&mut self.on_record, at, Record::Snapshot { number, payload })?;
                    self.report.snapshot_records = number;
                }
                Ok(Line::End { count, base }) if count == self.report.snapshot_records => {
                    self.report.base_number = base;
                    self.report.last_number = base;
                    return deliver(&mut self.on_record, at, Record::SnapshotEnd { base });
                }
                Ok(_) => return damaged(at, "a snapshot record is missing or out of order"),
                Err(Unreadable::Broken(reason) | Unreadable::Foreign(reason)) => {
                    return damaged(at, reason);
                }
            }
        }
    }

    /// Reads commits to the end of the file. Blank lines are the spare tail, and a seal may precede
    /// it. Each commit begins where the previous one ended, so if a commit follows blank lines,
    /// something in between is lost. If one follows a seal, the commit that overwrote the seal is
    /// lost.
    fn commits(&mut self) -> Result<(), Stop> {
        let mut blank: Option<Span> = None;
        loop {
            self.reader.release();
            let Some(at) = self.reader.next_line()? else { return Ok(()) };
            if at.bytes == 0 {
                blank.get_or_insert(at);
                self.reader.skip_blank();
            } else if let Some(blank) = blank {
                return Stop::torn_or_damaged(blank, "data after blank lines");
            } else if self.report.is_sealed {
                return Stop::torn_or_damaged(at, "data after a seal");
            } else if at.bytes >= MAX_LINE_BYTES {
                return Stop::torn_or_damaged(at, "a line longer than the maximum");
            } else if !at.ended {
                return Stop::torn_or_damaged(at, "the file ends inside a line");
            } else {
                self.commit_or_seal(at)?;
            }
        }
    }

    /// Reads the commit or the seal that begins with this line. A commit is handed over only if all
    /// of it is good.
    fn commit_or_seal(&mut self, at: Span) -> Result<(), Stop> {
        let head = match parse(self.reader.bytes(at)) {
            Ok(Line::Commit(head)) => head,
            Ok(Line::Seal(seal)) => return self.seal(at, seal),
            Ok(_) => return Stop::out_of_order(at, "a snapshot record among the events"),
            Err(Unreadable::Broken(reason)) => return Stop::torn_or_damaged(at, reason),
            Err(Unreadable::Foreign(reason)) => return Stop::out_of_order(at, reason),
        };
        self.check_order(at, &head)?;
        let Some(lines) = self.reader.peek_lines(head.bytes)? else {
            return Stop::torn_or_damaged(at, "the file ends inside a commit");
        };
        let bytes = self.reader.bytes(lines);
        if crc32fast::hash(bytes) != head.crc {
            let reason = match bytes.contains(&0) {
                true => "NUL bytes in a commit",
                false => "wrong checksum of the lines of a commit",
            };
            return Stop::torn_or_damaged(lines, reason);
        }
        self.events(lines, head.synced)
    }

    /// Reads a seal. The end of the last good commit stays before it, where the next commit will be
    /// written.
    fn seal(&mut self, at: Span, seal: Seal) -> Result<(), Stop> {
        let wanted = Seal { last: self.report.last_number, end: at.offset };
        if seal != wanted {
            let reason = format!(
                "a seal of event {} at byte {} instead of event {} at byte {}",
                seal.last, seal.end, wanted.last, wanted.end
            );
            return Stop::out_of_order(at, reason);
        }
        self.report.synced_bytes = seal.end;
        self.report.is_sealed = true;
        Ok(())
    }

    /// Checks that a head is that of the next commit.
    fn check_order(&self, at: Span, head: &Head) -> Result<(), Stop> {
        let wanted = self.report.last_number.checked_add(1);
        if wanted != Some(head.first) {
            let wanted = wanted.unwrap_or(u64::MAX);
            return Stop::out_of_order(at, format!("event {} instead of {wanted}", head.first));
        }
        let least = self.report.synced_bytes.max(self.report.snapshot_bytes);
        if !(least..=at.offset).contains(&head.synced) {
            let (synced, most) = (head.synced, at.offset);
            let reason = format!(
                "it records a sync up to byte {synced}, outside the possible range {least} to {most}"
            );
            return Stop::out_of_order(at, reason);
        }
        match head.bytes {
            0 => Stop::out_of_order(at, "a commit without events"),
            _ => Ok(()),
        }
    }

    /// Hands over the events of a good commit.
    fn events(&mut self, lines: Span, synced: u64) -> Result<(), Stop> {
        let text = to_text(lines, self.reader.bytes(lines))?;
        let mut payloads = Payloads::new(text, &mut self.buffer);
        let mut at = Span { bytes: 0, ..lines };
        let mut last = self.report.last_number;
        while let Some(next) = payloads.next() {
            let (payload, bytes) =
                next.or_else(|error| Stop::out_of_order(at, payload_reason(error)))?;
            at.bytes = bytes;
            let Some(number) = last.checked_add(1) else {
                return Stop::out_of_order(at, "more events than there are numbers");
            };
            deliver(&mut self.on_record, at, Record::Event { number, payload })?;
            last = number;
            at = Span { offset: at.offset + bytes as u64 + 1, line: at.line + 1, bytes: 0, ..at };
        }
        self.reader.skip_lines(lines.bytes as u64, at.line - lines.line);
        self.report.last_number = last;
        self.report.synced_bytes = synced;
        self.set_end();
        Ok(())
    }
}

/// Hands one record to the caller. Its checksum is correct, so a rejection means damage.
fn deliver(
    on_record: &mut impl FnMut(Record<'_>) -> Result<(), Rejection>,
    at: Span,
    record: Record<'_>,
) -> Result<(), Stop> {
    on_record(record).or_else(|rejection| Stop::damaged(at, rejection.reason, Evidence::Rejected))
}

/// Converts bytes with a correct checksum into text.
fn to_text(at: Span, bytes: &[u8]) -> Result<&str, Stop> {
    str::from_utf8(bytes)
        .or_else(|_| Stop::out_of_order(at, "a correct checksum over text that is not UTF-8"))
}

fn payload_reason(error: PayloadError) -> &'static str {
    match error {
        PayloadError::NoEnd => "the last line of a commit has no end",
        PayloadError::NothingToRepeat => "a repeat mark with nothing before it",
        PayloadError::TooLong => "a payload longer than the maximum",
    }
}

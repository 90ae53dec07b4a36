//! Reading a journal back: which records are good, where the first bad place is, and whether what
//! lies from there on is a torn tail (cut) or damage to something acknowledged (refused). Nothing
//! here writes. The table of all cases is in `docs/journal.md`.

use std::io;

use super::JournalId;
use super::record::{
    FORMAT_VERSION, HEADER_WORD, Head, Line, MARK, MARK_AT, MAX_HEADER_BYTES, MAX_LINE_BYTES,
    MAX_PAYLOAD_BYTES, NEW_HEADER_BYTES, Payloads, Seal, Unreadable, find_lf, is_torn_header,
    parse, parse_header,
};
use super::storage::StorageFile;

/// Bytes read at a time: large enough that the cost of a call does not count, small enough for
/// the smallest machine. Longer than a line, so that one more read always ends a line.
const CHUNK_BYTES: usize = 256 * 1024;
const _: () = assert!(CHUNK_BYTES > MAX_LINE_BYTES);

/// What replay hands to its caller, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// Part of the snapshot at the start of a compacted file; numbered 1, 2, 3… within it.
    Snapshot { number: u64, payload: &'a str },
    /// The snapshot is complete; it holds everything up to and with event `base`.
    SnapshotEnd { base: u64 },
    /// An event whose whole commit has a right checksum. Numbers have no gaps. Should the caller
    /// not accept one, those before it in its commit are not good either: see [`Report::last_number`].
    Event { number: u64, payload: &'a str },
}

/// What was found in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: String,
    /// There is no journal yet, or one that was being created when the machine stopped.
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
    /// Size of the file, spare tail included.
    pub file_bytes: u64,
    /// Whether a seal proves that nothing was committed after the last good event. Without one,
    /// events at the end may be missing.
    pub is_sealed: bool,
    /// The first bad place, if there is one.
    pub bad: Option<Corruption>,
}

/// The first bad place of a journal, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// Where the bad line begins, in bytes from the start of the file.
    pub offset_bytes: u64,
    /// The number of that line, as an editor counts them.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Bytes from the end of the last good commit to the end of the last line that is not blank:
    /// what would be lost by a cut.
    pub tail_bytes: u64,
    /// Commits after the last good one whose beginning can still be read.
    pub readable_commits: u64,
    pub verdict: Disposition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The torn tail of commits that were never acknowledged as durable: everything after the
    /// last good commit is cut.
    Cut,
    /// Damage: nothing is changed and the journal does not open.
    Refused(Evidence),
}

/// Why a bad place cannot be a torn tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The commit at `offset_bytes`, whose first event is `number`, says that the bad place had been
    /// synced before it was written.
    Synced { number: u64, offset_bytes: u64 },
    /// The seal at `offset_bytes`, after event `number`, proves that the bad bytes had been synced.
    Sealed { number: u64, offset_bytes: u64 },
    /// The record at `offset_bytes`, after a seal, does not continue the journal. The server never
    /// writes such a record there, so the file was changed by something else.
    NotContinued { offset_bytes: u64 },
    /// The checksum is right and the record is out of order: no crash does this.
    OutOfOrder,
    /// The caller did not accept the record.
    Rejected,
    /// It lies in the snapshot, which was synced before the file got its name.
    Snapshot,
    /// It lies in the header, which was synced before anything was written after it.
    Header,
    /// The file has another format version.
    Version,
}

/// Why the scan stopped before the end of the file.
enum Stop {
    Io(io::Error),
    /// With no `why` the rest of the file decides.
    Corruption {
        at: Span,
        reason: String,
        why: Option<Evidence>,
    },
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Stop {
        Stop::Io(e)
    }
}

impl Stop {
    fn torn_or_damaged<T>(at: Span, reason: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Corruption { at, reason: reason.into(), why: None })
    }

    fn damaged<T>(at: Span, reason: impl Into<String>, why: Evidence) -> Result<T, Stop> {
        Err(Stop::Corruption { at, reason: reason.into(), why: Some(why) })
    }
}

/// Reads a journal from the start to its end or to the first bad place, and judges that. `Err` is
/// a failure to read the disk, and nothing else.
///
/// A server may be writing to the file. What seems bad is therefore read again, until that leads no
/// further: who has seen a later commit finds the earlier ones whole.
pub(super) fn scan<F: StorageFile>(
    file: &F,
    path: String,
    on_record: impl FnMut(Record<'_>) -> Result<(), String>,
) -> io::Result<Report> {
    let file_bytes = file.size()?;
    let report = Report {
        path,
        fresh: false,
        id: None,
        snapshot_records: 0,
        snapshot_bytes: 0,
        base_number: 0,
        last_number: 0,
        end_bytes: 0,
        synced_bytes: 0,
        file_bytes,
        is_sealed: false,
        bad: None,
    };
    let reader = Reader::new(file, file_bytes);
    let mut scan = Scan { reader, report, end_lines: 0, payload: String::new(), on_record };
    let mut stop = scan.run();
    loop {
        match stop {
            Ok(()) => return Ok(scan.report),
            Err(Stop::Io(e)) => return Err(e),
            Err(Stop::Corruption { at, reason, why }) => scan.judge(at, reason, why)?,
        }
        let end = scan.report.end_bytes;
        let may_change = scan.report.bad.as_ref().is_some_and(|bad| bad.verdict.may_change());
        if !may_change {
            return Ok(scan.report);
        }
        let judged = scan.report.bad.take();
        stop = scan.run_on();
        // What was seen now is judged as well, unless it is as undecided as before.
        let is_undecided = matches!(stop, Err(Stop::Corruption { why: None, .. }));
        if scan.report.end_bytes == end && is_undecided {
            scan.report.bad = judged;
            scan.report.is_sealed = false;
            return Ok(scan.report);
        }
    }
}

impl Disposition {
    /// Whether what is being written just now may look like this.
    fn may_change(self) -> bool {
        matches!(
            self,
            Disposition::Cut
                | Disposition::Refused(Evidence::Synced { .. } | Evidence::Sealed { .. })
        )
    }
}

struct Scan<'f, F, C> {
    reader: Reader<'f, F>,
    report: Report,
    /// How many lines there are up to [`Report::end_bytes`].
    end_lines: u64,
    /// Place for a payload that is put together.
    payload: String,
    on_record: C,
}

impl<F: StorageFile, C: FnMut(Record<'_>) -> Result<(), String>> Scan<'_, F, C> {
    fn run(&mut self) -> Result<(), Stop> {
        if self.header()? {
            self.snapshot()?;
            self.report.synced_bytes = self.reader.next;
        }
        if !self.report.fresh {
            self.report.snapshot_bytes = self.reader.next;
            self.end_here();
            self.commits()?;
        }
        Ok(())
    }

    /// All up to here is good.
    fn end_here(&mut self) {
        self.report.end_bytes = self.reader.next;
        self.end_lines = self.reader.lines;
    }

    /// Reads on after the last good commit, as the file is now.
    fn run_on(&mut self) -> Result<(), Stop> {
        let file = self.reader.file;
        self.report.file_bytes = file.size()?;
        self.report.is_sealed = false;
        let mut reader = Reader::new(file, self.report.file_bytes);
        reader.buf_offset = self.report.end_bytes;
        reader.keep = reader.buf_offset;
        reader.next = reader.buf_offset;
        reader.lines = self.end_lines;
        self.reader = reader;
        self.commits()
    }

    /// Notes the bad place, and what the rest of the file says of it.
    fn judge(&mut self, at: Span, reason: String, why: Option<Evidence>) -> io::Result<()> {
        let report = &mut self.report;
        let sealed = report.is_sealed.then_some(report.last_number);
        let rest = look_on(self.reader.file, report.end_bytes, report.file_bytes, sealed)?;
        report.is_sealed = false;
        report.bad = Some(Corruption {
            offset_bytes: at.offset,
            line: at.line,
            reason,
            tail_bytes: rest.content_end - report.end_bytes,
            readable_commits: rest.readable,
            verdict: why.or(rest.evidence).map_or(Disposition::Cut, Disposition::Refused),
        });
        Ok(())
    }

    /// Reads the first line; true if a snapshot must follow.
    fn header(&mut self) -> Result<bool, Stop> {
        let start = Span { offset: 0, bytes: 0, line: 1, ended: false };
        let size = self.report.file_bytes;
        let head = self.reader.peek(MAX_HEADER_BYTES)?;
        let line = find_lf(head).map(|end| &head[..end]);
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
            let reason = format!(
                "it has format version {version}, and this program knows version {FORMAT_VERSION}"
            );
            return Stop::damaged(start, reason, Evidence::Version);
        }
        Stop::damaged(start, "the first line is not a journal's header", Evidence::Header)
    }

    fn snapshot(&mut self) -> Result<(), Stop> {
        loop {
            let damaged = |at, reason: &str| Stop::damaged(at, reason, Evidence::Snapshot);
            self.reader.keep = self.reader.next;
            let Some(at) = self.reader.next_line()? else {
                return damaged(self.reader.here(), "the file ends inside the snapshot");
            };
            match parse(self.reader.bytes(at)) {
                _ if !at.ended => return damaged(at, "the snapshot breaks off"),
                Ok(Line::Snapshot { number, payload })
                    if number == self.report.snapshot_records + 1 =>
                {
                    let payload = text(at, payload)?;
                    deliver(&mut self.on_record, at, Record::Snapshot { number, payload })?;
                    self.report.snapshot_records = number;
                }
                Ok(Line::End { count, base }) if count == self.report.snapshot_records => {
                    self.report.base_number = base;
                    self.report.last_number = base;
                    return deliver(&mut self.on_record, at, Record::SnapshotEnd { base });
                }
                Ok(_) => return damaged(at, "a record of the snapshot is missing or out of order"),
                Err(Unreadable::Broken(reason) | Unreadable::Foreign(reason)) => {
                    return damaged(at, reason);
                }
            }
        }
    }

    /// Reads commits to the end of the file. Blank lines are the spare tail, and a seal may precede
    /// it. A commit begins where the previous one ended, so a commit after blank lines means that
    /// something in between is lost. One after a seal means that the commit that overwrote the seal
    /// is lost.
    fn commits(&mut self) -> Result<(), Stop> {
        let mut blank: Option<Span> = None;
        loop {
            self.reader.keep = self.reader.next;
            let Some(at) = self.reader.next_line()? else { return Ok(()) };
            if at.bytes == 0 {
                blank.get_or_insert(at);
                self.reader.skip_blank();
            } else if let Some(blank) = blank {
                return Stop::torn_or_damaged(blank, "blank space, and more after it");
            } else if self.report.is_sealed {
                return Stop::torn_or_damaged(at, "more after a seal");
            } else if at.bytes >= MAX_LINE_BYTES {
                return Stop::torn_or_damaged(at, "a line longer than any record");
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
            Ok(_) => {
                let reason = "a record of a snapshot among the events";
                return Stop::damaged(at, reason, Evidence::OutOfOrder);
            }
            Err(Unreadable::Broken(reason)) => return Stop::torn_or_damaged(at, reason),
            Err(Unreadable::Foreign(reason)) => {
                return Stop::damaged(at, reason, Evidence::OutOfOrder);
            }
        };
        self.in_order(at, &head)
            .or_else(|reason| Stop::damaged(at, reason, Evidence::OutOfOrder))?;
        let Some(lines) = self.reader.span(head.bytes)? else {
            return Stop::torn_or_damaged(at, "the file ends inside a commit");
        };
        let bytes = self.reader.bytes(lines);
        if crc32fast::hash(bytes) != head.crc {
            let reason = match bytes.contains(&0) {
                true => "NUL bytes in a commit",
                false => "wrong checksum of a commit's lines",
            };
            return Stop::torn_or_damaged(lines, reason);
        }
        self.events(lines, head.synced)
    }

    /// Records a good seal. The good part still ends before it, where the next commit will be
    /// written.
    fn seal(&mut self, at: Span, seal: Seal) -> Result<(), Stop> {
        let wanted = Seal { last: self.report.last_number, end: at.offset };
        if seal != wanted {
            let reason = format!(
                "a seal of event {} @{} where that of event {} @{} could be",
                seal.last, seal.end, wanted.last, wanted.end
            );
            return Stop::damaged(at, reason, Evidence::OutOfOrder);
        }
        self.report.synced_bytes = seal.end;
        self.report.is_sealed = true;
        Ok(())
    }

    /// Whether a good head is that of the commit that must come next.
    fn in_order(&self, at: Span, head: &Head) -> Result<(), String> {
        let wanted = self.report.last_number.checked_add(1);
        if wanted != Some(head.first) {
            let wanted = wanted.unwrap_or(u64::MAX);
            return Err(format!("event {} where event {wanted} should be", head.first));
        }
        let least = self.report.synced_bytes.max(self.report.snapshot_bytes);
        if !(least..=at.offset).contains(&head.synced) {
            let (synced, most) = (head.synced, at.offset);
            return Err(format!("it says @{synced}, which can only be @{least} to @{most}"));
        }
        if head.bytes == 0 {
            return Err("a commit without events".to_owned());
        }
        Ok(())
    }

    /// Hands over the events of a commit that is good.
    fn events(&mut self, lines: Span, synced: u64) -> Result<(), Stop> {
        let text = text(lines, self.reader.bytes(lines))?;
        let mut payloads = Payloads::new(text, &mut self.payload);
        let mut at = Span { bytes: 0, ..lines };
        let mut last = self.report.last_number;
        while let Some(next) = payloads.next() {
            let (payload, bytes) =
                next.or_else(|reason| Stop::damaged(at, reason, Evidence::OutOfOrder))?;
            at.bytes = bytes;
            if payload.len() > MAX_PAYLOAD_BYTES {
                return Stop::damaged(at, "a payload longer than any", Evidence::OutOfOrder);
            }
            let Some(number) = last.checked_add(1) else {
                return Stop::damaged(
                    at,
                    "more events than there are numbers",
                    Evidence::OutOfOrder,
                );
            };
            deliver(&mut self.on_record, at, Record::Event { number, payload })?;
            last = number;
            at = Span { offset: at.offset + bytes as u64 + 1, line: at.line + 1, bytes: 0, ..at };
        }
        self.reader.skip_lines(lines.bytes as u64, at.line - lines.line);
        self.report.last_number = last;
        self.report.synced_bytes = synced;
        self.end_here();
        Ok(())
    }
}

/// Gives one record to the caller. Its checksum is right, so whatever is wrong with it now is
/// damage.
fn deliver(
    on_record: &mut impl FnMut(Record<'_>) -> Result<(), String>,
    at: Span,
    record: Record<'_>,
) -> Result<(), Stop> {
    on_record(record).or_else(|reason| Stop::damaged(at, reason, Evidence::Rejected))
}

/// What is there as text. Its checksum is right, too.
fn text(at: Span, bytes: &[u8]) -> Result<&str, Stop> {
    let reason = "a right checksum over text that is not UTF-8";
    std::str::from_utf8(bytes).or_else(|_| Stop::damaged(at, reason, Evidence::OutOfOrder))
}

/// The version of a header of ours that says another one.
fn other_version(head: &[u8]) -> Option<u32> {
    let rest = head.strip_prefix(HEADER_WORD)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    matches!(rest.get(digits), Some(b' ' | b'\n')).then_some(())?;
    let version: u32 = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    (version != FORMAT_VERSION).then_some(version)
}

/// What the rest of a file holds after its last good commit.
struct Rest {
    readable: u64,
    evidence: Option<Evidence>,
    /// The end of the last line that is not blank.
    content_end: u64,
}

/// Searches everything from `from`, the end of the last good commit, for heads of commits and seals
/// with a correct checksum. One that records a sync beyond `from` proves damage.
///
/// If there is a seal at `from`, `sealed` is the number of the event that it follows. A record that
/// does not continue the journal after it proves damage as well.
///
/// Searches the middle of lines as well, because a broken byte may be the LF before one. Event text
/// cannot be mistaken for one, because it contains no mark.
fn look_on<F: StorageFile>(
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
        read_exactly(file, &mut buf, at)?;
        if let Some(last) = buf.iter().rposition(|b| *b != b'\n') {
            // With its LF, if it has one.
            rest.content_end = file_bytes.min(at + last as u64 + 2);
        }
        // The mark follows the checksum, so a search from there finds each head once.
        let marks = buf.get(MARK_AT..).unwrap_or_default();
        for start in memchr::memchr_iter(MARK, marks).take_while(|start| *start < step) {
            let line = &buf[start..buf.len().min(start + MAX_LINE_BYTES)];
            let Some(end) = find_lf(line) else { continue };
            let offset_bytes = at + start as u64;
            let Ok(record) = parse(&line[..end]) else { continue };
            rest.readable += u64::from(matches!(record, Line::Commit(_)));
            let evidence = match record {
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
            };
            rest.evidence = rest.evidence.or(evidence);
        }
        at += step as u64;
    }
    Ok(rest)
}

/// Returns whether a crash can leave this record somewhere after a seal that follows event `last`
/// at the offset `end`. Commits overwrite a seal, and all of them up to the next sync have the seal's
/// offset as `synced`. If the first of them is lost and the seal is still there, the others remain.
fn may_follow_seal(record: Line<'_>, last: u64, end: u64) -> bool {
    match record {
        Line::Commit(head) => head.first > last && head.synced >= end,
        Line::Seal(seal) => seal.end >= end,
        Line::Snapshot { .. } | Line::End { .. } => false,
    }
}

/// Where a line is in the file, its LF not counted; or where some lines are, with their LFs.
#[derive(Debug, Clone, Copy)]
struct Span {
    offset: u64,
    bytes: usize,
    line: u64,
    /// Whether its LF was found.
    ended: bool,
}

/// Reads a file line by line through one buffer, which holds everything from `keep` on.
struct Reader<'f, F> {
    file: &'f F,
    file_bytes: u64,
    buf: Vec<u8>,
    /// File offset of `buf[0]`.
    buf_offset: u64,
    /// Bytes before this file offset are not asked for any more.
    keep: u64,
    /// File offset of the next line.
    next: u64,
    /// Lines read so far.
    lines: u64,
}

impl<'f, F: StorageFile> Reader<'f, F> {
    fn new(file: &'f F, file_bytes: u64) -> Self {
        Reader { file, file_bytes, buf: Vec::new(), buf_offset: 0, keep: 0, next: 0, lines: 0 }
    }

    /// The bytes of a line that is not before `keep`.
    fn bytes(&self, at: Span) -> &[u8] {
        let start = (at.offset - self.buf_offset) as usize;
        &self.buf[start..start + at.bytes]
    }

    /// The next line, or what there is of one that has no LF or is too long for a record.
    fn next_line(&mut self) -> io::Result<Option<Span>> {
        loop {
            let start = (self.next - self.buf_offset) as usize;
            let rest = self.buf.get(start..).unwrap_or_default();
            let lf = find_lf(&rest[..rest.len().min(MAX_LINE_BYTES)]);
            let at_end = self.buf_offset + self.buf.len() as u64 >= self.file_bytes;
            if lf.is_none() && rest.len() < MAX_LINE_BYTES && !at_end {
                self.read_on()?;
                continue;
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let bytes = lf.unwrap_or(rest.len().min(MAX_LINE_BYTES));
            let line = self.lines + 1;
            let span = Span { offset: self.next, bytes, line, ended: lf.is_some() };
            self.skip_lines(bytes as u64 + u64::from(span.ended), 1);
            return Ok(Some(span));
        }
    }

    /// The next `bytes`, some lines of them; `None` if the file has no more so many.
    fn span(&mut self, bytes: u64) -> io::Result<Option<Span>> {
        let Some(end) = self.next.checked_add(bytes).filter(|end| *end <= self.file_bytes) else {
            return Ok(None);
        };
        while self.buf_offset + (self.buf.len() as u64) < end {
            self.read_on()?;
        }
        let bytes = bytes as usize;
        Ok(Some(Span { offset: self.next, bytes, line: self.lines + 1, ended: true }))
    }

    /// The first bytes of the file, at most `count`.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.buf.is_empty() && self.file_bytes > 0 {
            self.read_on()?;
        }
        Ok(&self.buf[..self.buf.len().min(count)])
    }

    fn skip_lines(&mut self, bytes: u64, lines: u64) {
        self.next += bytes;
        self.lines += lines;
    }

    /// Skips the blank lines at hand, at once instead of one by one.
    fn skip_blank(&mut self) {
        let rest = &self.buf[(self.next - self.buf_offset) as usize..];
        let blank = rest.iter().take_while(|b| **b == b'\n').count() as u64;
        self.next += blank;
        self.lines += blank;
    }

    /// The place after the last line.
    fn here(&self) -> Span {
        Span { offset: self.next, bytes: 0, line: self.lines + 1, ended: false }
    }

    fn read_on(&mut self) -> io::Result<()> {
        self.buf.drain(..(self.keep - self.buf_offset) as usize);
        self.buf_offset = self.keep;
        let have = self.buf.len();
        let offset = self.buf_offset + have as u64;
        let more = (self.file_bytes - offset).min(CHUNK_BYTES as u64) as usize;
        self.buf.resize(have + more, 0);
        read_exactly(self.file, &mut self.buf[have..], offset)
    }
}

pub(super) fn read_exactly<F: StorageFile>(
    file: &F,
    mut buf: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, offset) {
            Ok(0) => {
                let kind = io::ErrorKind::UnexpectedEof;
                return Err(io::Error::new(kind, "the file became shorter while it was read"));
            }
            Ok(count) => {
                buf = &mut buf[count..];
                offset += count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

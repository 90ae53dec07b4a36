//! The target `journal`: a data directory with arbitrary content is opened. It is accepted, or
//! refused with an existing offset and without any change. The accepted content is that of a naive
//! parser, and opens again to the same state.

use reservad::conn::Eol;
use reservad::journal::{
    self, Corruption, Disposition, Error, Evidence, JOURNAL_FILE, JournalId, NEW_JOURNAL_FILE,
    Record, Report,
};
use reservad::limits::NUMBER_MAX;
use reservad::text::is_hidden;
use reservad::time::ClockReading;

use super::disk::MemoryDisk;
use super::server::{Peer, START, Server, dump};

/// The content of the directory, and what is known of it.
#[derive(Default)]
struct Directory {
    journal: Vec<u8>,
    new_journal: Option<Vec<u8>>,
    /// The journal before it was damaged, if it is known.
    whole: Option<Whole>,
}

/// A journal that the server could have written.
#[derive(Default)]
struct Whole {
    bytes: Vec<u8>,
    /// The offset at which the header and the snapshot end.
    snapshot_end: usize,
    /// The offsets at which the commits end.
    commit_ends: Vec<usize>,
    /// The offset of the seal.
    seal_start: Option<usize>,
}

impl Whole {
    /// Returns the offset at which the last commit ends, or the snapshot.
    fn content_end(&self) -> usize {
        self.seal_start.unwrap_or(self.bytes.len())
    }
}

/// Opens the journal in `data`. After a line `%new` follows the content of an unfinished new
/// journal. If `data` begins with `%script`, it describes a journal as for [`script`].
pub fn run(data: &[u8]) {
    let directory = match data.strip_prefix(b"%script\n") {
        Some(lines) => script(lines),
        None => raw(data),
    };
    let opened = examine(&directory);
    if let Some(whole) = &directory.whole {
        damage_is_judged(whole, &directory.journal, opened.as_ref());
    }
}

fn raw(data: &[u8]) -> Directory {
    const MARK: &[u8] = b"\n%new\n";
    let at = data.windows(MARK.len()).position(|window| window == MARK);
    let (journal, new) = match at {
        Some(at) => (&data[..=at], Some(data[at + MARK.len()..].to_vec())),
        None => (data, None),
    };
    Directory { journal: journal.to_vec(), new_journal: new, whole: None }
}

/// Builds a journal from lines:
///
/// | line | effect |
/// | --- | --- |
/// | `=ADDED A` | a record of a snapshot |
/// | `.5` | the end of the snapshot, which holds everything up to event 5 |
/// | `+ADDED A` | the next event, within a commit |
/// | `>ADDED A` | the next event, the last of its commit |
/// | `$` | a seal, which the next commit overwrites |
/// | `!snap 7 …` | this text, with its checksum |
/// | `?7 45 ADDED A` | a commit of this event, with the number 7 and `@45` |
/// | `\|…` | this line, unchanged |
/// | `%new` | the unfinished new journal follows |
/// | `~cut 100` | truncates the file there |
/// | `~flip 100 7` | changes a byte by a value |
/// | `~zero 100 50` | overwrites 50 bytes with NUL |
/// | `~blank 100 50` | overwrites 50 bytes with LF |
/// | `~tail 512` | appends LFs |
/// | `~copy 100 200 50` | copies 50 bytes from 100 to 200 |
///
/// A payload that does not begin with a digit gets a time. Damage is applied at the end, in order,
/// and its offsets count modulo the length of the file.
fn script(data: &[u8]) -> Directory {
    const MOST_LINES: usize = 60;
    let mut writer = Writer::default();
    let mut new_journal = None;
    let mut damage = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(MOST_LINES) {
        match line {
            b"%new" => new_journal = Some(b"unfinished".to_vec()),
            [b'~', order @ ..] => damage.push(str::from_utf8(order).unwrap_or_default()),
            [kind, text @ ..] => writer.line(*kind, text),
            [] => {}
        }
    }
    let (whole, is_ours) = writer.finish();
    let mut journal = whole.bytes.clone();
    // The expected result is known only for journals that the server could have written.
    let mut can_judge = is_ours && new_journal.is_none();
    for order in damage {
        can_judge &= do_damage(order, &mut journal);
    }
    Directory { journal, new_journal, whole: can_judge.then_some(whole) }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    snapshot_records: u64,
    snapshot_end: usize,
    commit_ends: Vec<usize>,
    seal_start: Option<usize>,
    last_event: u64,
    /// The payloads of the current commit.
    open: Vec<Vec<u8>>,
    /// Whether the script contains lines that the server would not write.
    is_foreign: bool,
}

impl Writer {
    fn line(&mut self, kind: u8, text: &[u8]) {
        if matches!(kind, b'|' | b'!' | b'?' | b'=' | b'.' | b'>' | b'$')
            && let Some(start) = self.seal_start.take()
        {
            self.bytes.truncate(start);
        }
        match kind {
            b'$' => {
                self.header(false);
                self.is_foreign |= self.snapshot_end == 0;
                let start = self.bytes.len();
                self.signed(format!("seal {} @{start}", self.last_event).as_bytes());
                self.seal_start = Some(start);
            }
            b'|' => {
                self.is_foreign = true;
                self.bytes.extend_from_slice(text);
                self.bytes.push(b'\n');
            }
            b'!' => {
                self.is_foreign = true;
                self.header(false);
                self.signed(text);
            }
            b'?' => {
                self.is_foreign = true;
                self.header(false);
                let text = str::from_utf8(text).unwrap_or_default();
                let mut words = text.splitn(3, ' ');
                let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
                let (first, synced) = (number(), number());
                let payload = payload(words.next().unwrap_or_default().as_bytes());
                self.put_commit(first, synced, &[payload]);
            }
            b'=' => {
                self.header(true);
                self.is_foreign |= self.snapshot_end > 0;
                self.snapshot_records += 1;
                let fields = format!("snap {} ", self.snapshot_records);
                self.signed(&[fields.as_bytes(), &payload(text)].concat());
            }
            b'.' => {
                self.header(true);
                self.is_foreign |= self.snapshot_end > 0;
                let base = str::from_utf8(text).ok().and_then(|text| text.parse::<u32>().ok());
                self.last_event = u64::from(base.unwrap_or_default());
                let fields = format!("end {} {}", self.snapshot_records, self.last_event);
                self.signed(fields.as_bytes());
                self.snapshot_end = self.bytes.len();
            }
            b'+' => self.open.push(payload(text)),
            b'>' => {
                self.open.push(payload(text));
                self.commit();
            }
            _ => {}
        }
    }

    fn header(&mut self, snapshot: bool) {
        if self.bytes.is_empty() {
            let header = header(snapshot);
            self.bytes.extend_from_slice(&header);
            self.snapshot_end = if snapshot { 0 } else { header.len() };
        }
    }

    fn signed(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(format!("{:08x}\t", crc(body)).as_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.push(b'\n');
    }

    /// Everything before a commit was synced when it was written.
    fn commit(&mut self) {
        self.header(false);
        self.is_foreign |= self.snapshot_end == 0;
        let payloads = std::mem::take(&mut self.open);
        self.put_commit(self.last_event + 1, self.bytes.len() as u64, &payloads);
        self.last_event += payloads.len() as u64;
        self.commit_ends.push(self.bytes.len());
    }

    fn put_commit(&mut self, first: u64, synced: u64, payloads: &[Vec<u8>]) {
        let mut lines = Vec::new();
        let mut first_word: Option<&[u8]> = None;
        for payload in payloads {
            let word = payload.split(|byte| *byte == b' ').next().unwrap_or_default();
            match first_word == Some(word) && !word.is_empty() {
                true => lines.extend([b"\"", &payload[word.len()..]].concat()),
                false => lines.extend(payload),
            }
            first_word = Some(word);
            lines.push(b'\n');
        }
        let fields = format!("commit {first} {} {:08x} @{synced}", lines.len(), crc(&lines));
        self.signed(fields.as_bytes());
        self.bytes.extend(lines);
    }

    fn finish(mut self) -> (Whole, bool) {
        self.header(false);
        let Writer { bytes, snapshot_end, commit_ends, seal_start, .. } = self;
        // Payloads contain no TAB.
        let heads = bytes.split(|byte| *byte == b'\n').filter(|line| line.get(8) == Some(&b'\t'));
        let marks = bytes.iter().filter(|byte| **byte == b'\t').count();
        let is_ours = !self.is_foreign && snapshot_end > 0 && heads.count() == marks;
        (Whole { bytes, snapshot_end, commit_ends, seal_start }, is_ours)
    }
}

/// Returns the first line of a journal.
fn header(snapshot: bool) -> Vec<u8> {
    let kind = if snapshot { "snapshot " } else { "" };
    let line = format!("reservad-journal 3 0123456789abcdef {kind}");
    format!("{line}{:08x}\n", crc(line.as_bytes())).into_bytes()
}

fn payload(text: &[u8]) -> Vec<u8> {
    let time: &[u8] = match text {
        [b'0'..=b'9', ..] => b"",
        _ => b"2026-10-24T21:59:00.000Z ",
    };
    [time, text].concat()
}

/// Returns the CRC-32, computed bit by bit and not by the crate that the journal uses.
fn crc(body: &[u8]) -> u32 {
    !body.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Applies a damage. Returns false if the expected result is unknown.
fn do_damage(order: &str, bytes: &mut Vec<u8>) -> bool {
    let mut words = order.split(' ');
    let kind = words.next().unwrap_or_default();
    let mut number = || words.next().and_then(|word| word.parse::<u16>().ok()).unwrap_or(1);
    let at = usize::from(number()) % bytes.len().max(1);
    match kind {
        "cut" => bytes.truncate(at),
        "flip" => {
            let by = number().to_le_bytes()[0];
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= by);
        }
        "zero" => bytes.iter_mut().skip(at).take(usize::from(number())).for_each(|byte| *byte = 0),
        "blank" => {
            bytes.iter_mut().skip(at).take(usize::from(number())).for_each(|byte| *byte = b'\n');
        }
        "tail" => bytes.resize(bytes.len() + at, b'\n'),
        "copy" => {
            let to = usize::from(number()) % bytes.len().max(1);
            let count = usize::from(number());
            let piece: Vec<_> = bytes.iter().skip(at).take(count).copied().collect();
            bytes.iter_mut().skip(to).zip(piece).for_each(|(byte, new)| *byte = new);
            // A record in the place of another is not a torn write.
            return false;
        }
        _ => {}
    }
    true
}

/// The result of opening a journal.
struct Opened {
    report: Report,
    dump: String,
}

fn disk(directory: &Directory, read_bytes: usize) -> MemoryDisk {
    let mut files = vec![(JOURNAL_FILE, &directory.journal[..])];
    files.extend(directory.new_journal.as_ref().map(|new| (NEW_JOURNAL_FILE, &new[..])));
    MemoryDisk::new(&files, read_bytes)
}

/// Opens a journal, in all ways that must have the same result.
fn examine(directory: &Directory) -> Option<Opened> {
    let mut delivered = Vec::new();
    let disk_now = disk(directory, usize::MAX);
    let checked = journal::check(&disk_now, |record| {
        delivered.push(show(record));
        Ok(())
    });
    let checked = checked.expect("an error of the disk in memory");
    is_in_the_file(&checked, directory.journal.len());
    let (plain, unfinished) = plain(&directory.journal);
    let most = [&plain[..], &unfinished].concat();
    assert!(most.starts_with(&delivered), "{delivered:#?}\nis not a prefix of\n{most:#?}");
    let (server, opened) = match Server::open(disk_now.clone(), START) {
        Ok(opened) => opened,
        Err(error) => {
            is_a_line(&error.to_string());
            match error {
                Error::Refused(report) => is_in_the_file(&report, directory.journal.len()),
                Error::OnlyLeftover { .. } => {
                    assert!(checked.fresh && directory.new_journal.is_some());
                }
                other => panic!("an error of the disk in memory: {other}"),
            }
            assert_eq!(disk_now.bytes(JOURNAL_FILE).as_ref(), Some(&directory.journal), "refused");
            assert_eq!(disk_now.bytes(NEW_JOURNAL_FILE), directory.new_journal, "refused");
            return None;
        }
    };
    let report = opened.report;
    is_in_the_file(&report, directory.journal.len().max(report.end_bytes as usize));
    assert_eq!(checked.bad, report.bad, "check and open differ");
    assert_eq!(delivered, plain, "the records of the naive parser");
    assert!(numbers(&delivered).is_sorted_by(|a, b| a < b), "a number was issued twice");
    assert_eq!(disk_now.bytes(NEW_JOURNAL_FILE), None, "an unfinished journal remains");
    server.inventory.check();
    let opened = Opened { report, dump: dump(&server.inventory) };
    opens_again(disk_now, &opened, server.now);
    short_reads_and_no_tail(directory, &opened);
    check_usable(server);
    Some(opened)
}

fn show(record: Record) -> String {
    match record {
        Record::Snapshot { number, payload } => format!("snap {number} {payload}"),
        Record::SnapshotEnd { base } => format!("end {base}"),
        Record::Event { number, payload } => format!("event {number} {payload}"),
    }
}

/// Returns the confirmation numbers in the order in which they were issued.
fn numbers(records: &[String]) -> Vec<u64> {
    let number = |record: &String| {
        let mut words = record.split(' ').skip(3);
        words.next().filter(|word| *word == "RESERVED")?;
        words.next()?.strip_prefix('#')?.parse().ok()
    };
    records.iter().filter_map(number).collect()
}

fn is_in_the_file(report: &Report, size: usize) {
    assert!(report.snapshot_bytes <= report.end_bytes && report.end_bytes <= size as u64);
    assert!(report.synced_bytes <= report.end_bytes && report.base_number <= report.last_number);
    let Some(bad) = &report.bad else { return };
    is_a_line(&bad.to_string());
    let Corruption { offset_bytes, line, tail_bytes, disposition, .. } = bad;
    assert!((report.end_bytes..=size as u64).contains(offset_bytes), "byte {offset_bytes}");
    assert!(*line >= 1 && report.end_bytes + tail_bytes <= size as u64, "{bad:?}");
    if let Disposition::Refused(
        Evidence::Synced { offset_bytes, .. } | Evidence::Sealed { offset_bytes, .. },
    ) = disposition
    {
        assert!(*offset_bytes < size as u64, "evidence at byte {offset_bytes}");
    }
}

/// Checks that a message can be printed on a terminal and in the log.
fn is_a_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn opens_again(disk: MemoryDisk, opened: &Opened, now: ClockReading) {
    let (server, again) = Server::open(disk, START).expect("a journal that has been opened before");
    assert_eq!(again.report.bad, None, "a torn tail that was cut");
    assert_eq!(dump(&server.inventory), opened.dump, "opened again");
    assert_eq!(server.now, now);
}

/// Opens the journal from a disk with short reads, and without its torn tail.
fn short_reads_and_no_tail(directory: &Directory, opened: &Opened) {
    let (server, slow) =
        Server::open(disk(directory, 13), START).expect("a journal that has been opened before");
    // Each new journal has an identity of its own.
    let id = if opened.report.fresh { slow.report.id } else { opened.report.id };
    assert_eq!(slow.report, Report { id, ..opened.report.clone() }, "with short reads");
    assert_eq!(dump(&server.inventory), opened.dump, "with short reads");
    if directory.journal.len() as u64 >= opened.report.end_bytes {
        let good = &directory.journal[..opened.report.end_bytes as usize];
        let disk = MemoryDisk::new(&[(JOURNAL_FILE, good)], usize::MAX);
        let (server, alone) =
            Server::open(disk, START).expect("a journal that has been opened before");
        assert_eq!(alone.report.bad, None, "the good part alone");
        assert_eq!(dump(&server.inventory), opened.dump, "the good part alone");
    }
}

/// Checks that the server can be used, compacted and restarted.
fn check_usable(mut server: Server) {
    // The number of a forged journal may be just below the bound.
    if server.inventory.last_number().0.max(server.inventory.last_event()) > NUMBER_MAX - 100 {
        return;
    }
    let mut peer = Peer::new(1, Eol::Lf);
    reservad::store::end_orphans(&mut server.inventory, server.now.wall, &mut server.batch);
    server.pass(0);
    // A forged journal may contain names that no client can send. Any reply is correct.
    let is_odd = dump(&server.inventory).contains(is_hidden);
    let lines = ["ALTA una más", "RESERVAR una más por=1h", "RESERVAS", "CANCELAR una más"];
    for line in lines {
        let reply = server.say(&mut peer, line.as_bytes());
        if !is_odd {
            super::reply::check(&reply, Eol::Lf);
        }
    }
    server.inventory.check();
    server.commit();
    let was = dump(&server.inventory);
    server.compact();
    let disk = server.disk;
    let (server, opened) = Server::open(disk, START).expect("a journal that was just written");
    assert_eq!(opened.report.bad, None);
    assert_eq!(dump(&server.inventory), was, "after a compaction");
}

/// Parses a journal naively. Returns the records of all complete commits up to the first defect,
/// and those of the commit with the defect.
fn plain(file: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut all, mut commit) = (Vec::new(), Vec::new());
    plain_records(file, &mut all, &mut commit);
    (all, commit)
}

fn plain_records(file: &[u8], all: &mut Vec<String>, commit: &mut Vec<String>) {
    let mut lines = Lines { file, at: 0 };
    let mut last_event = 0;
    match lines.next().and_then(plain_header) {
        Some(false) => {}
        Some(true) => {
            let Some(base) = plain_snapshot(&mut lines, all) else { return };
            last_event = base;
        }
        None => return,
    }
    let (mut start, mut least) = (lines.at as u64, lines.at as u64);
    while let Some(head) = lines.next().and_then(signed_body).and_then(head_fields) {
        let (first, bytes, sum, synced) = head;
        let Some(body) = usize::try_from(bytes).ok().and_then(|it| file[lines.at..].get(..it))
        else {
            return;
        };
        let is_next = u64::checked_add(last_event, 1) == Some(first);
        if !is_next || !(least..=start).contains(&synced) || crc(body) != sum || body.is_empty() {
            return;
        }
        plain_events(body, &mut last_event, commit);
        if !body.ends_with(b"\n") || commit.len() as u64 != last_event - (first - 1) {
            return;
        }
        if commit.len() != body.iter().filter(|byte| **byte == b'\n').count() {
            return;
        }
        all.append(commit);
        lines.at += body.len();
        (start, least) = (lines.at as u64, synced);
    }
}

/// Returns whether a snapshot follows; `None` if the line is not a header.
fn plain_header(line: &[u8]) -> Option<bool> {
    let (body, sum) = str::from_utf8(line).ok()?.rsplit_once(' ')?;
    let body = format!("{body} ");
    (sum == format!("{:08x}", crc(body.as_bytes()))).then_some(())?;
    let rest = body.strip_prefix("reservad-journal 3 ")?;
    let (id, kind) = rest.split_once(' ')?;
    JournalId::parse(id)?;
    match kind {
        "" => Some(false),
        "snapshot " => Some(true),
        _ => None,
    }
}

/// Returns the events of a commit up to the first defect.
fn plain_events(body: &[u8], last_event: &mut u64, commit: &mut Vec<String>) {
    let Ok(body) = str::from_utf8(body) else { return };
    let mut first_word = String::new();
    for line in body.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { return };
        let payload = match line.strip_prefix('"') {
            Some(_) if first_word.is_empty() => return,
            Some(rest) => format!("{first_word}{rest}"),
            None => line.to_owned(),
        };
        if payload.len() > journal::MAX_PAYLOAD_BYTES {
            return;
        }
        if !line.starts_with('"') {
            first_word = payload.split(' ').next().unwrap_or_default().to_owned();
        }
        let Some(number) = last_event.checked_add(1) else { return };
        *last_event = number;
        commit.push(format!("event {number} {payload}"));
    }
}

fn plain_snapshot(lines: &mut Lines, all: &mut Vec<String>) -> Option<u64> {
    for count in 0u64.. {
        let body = str::from_utf8(signed_body(lines.next()?)?).ok()?;
        if let Some(base) = body.strip_prefix(&format!("end {count} ")) {
            let base = plain_number(base)?;
            all.push(format!("end {base}"));
            return Some(base);
        }
        let payload = body.strip_prefix(&format!("snap {} ", count + 1))?;
        all.push(format!("snap {} {payload}", count + 1));
    }
    None
}

/// Returns the complete lines of a file.
struct Lines<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.file[self.at..];
        let lf = rest.iter().position(|byte| *byte == b'\n')?;
        self.at += lf + 1;
        Some(&rest[..lf]).filter(|line| line.len() < journal::MAX_LINE_BYTES)
    }
}

fn signed_body(line: &[u8]) -> Option<&[u8]> {
    let (sum, body) = line.split_at_checked(9)?;
    (sum == format!("{:08x}\t", crc(body)).as_bytes()).then_some(body)
}

/// The first event, the number of bytes, their checksum, and the synced offset.
fn head_fields(body: &[u8]) -> Option<(u64, u64, u32, u64)> {
    let text = str::from_utf8(body).ok()?;
    let words: Vec<_> = text.strip_prefix("commit ")?.split(' ').collect();
    let [first, bytes, sum, synced] = words[..] else { return None };
    let crc = u32::from_str_radix(sum, 16).ok().filter(|crc| format!("{crc:08x}") == sum)?;
    let synced = plain_number(synced.strip_prefix('@')?)?;
    Some((plain_number(first)?, plain_number(bytes)?, crc, synced))
}

/// Parses a number without sign and leading zeros.
fn plain_number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Checks that damage to synced data is refused, and that damage to the last commit alone is a torn
/// tail before which nothing is lost.
fn damage_is_judged(whole: &Whole, damaged: &[u8], opened: Option<&Opened>) {
    let intact = Directory { journal: whole.bytes.clone(), ..Directory::default() };
    // The events may be impossible to replay.
    if Server::open(disk(&intact, usize::MAX), START).is_err() {
        return;
    }
    let same = whole.bytes.iter().zip(damaged).take_while(|(was, is)| was == is).count();
    let content_end = whole.content_end();
    if same == whole.bytes.len() {
        let report = &opened.expect("an undamaged journal was refused").report;
        assert_eq!(report.end_bytes as usize, content_end, "records were lost");
        // The rest of a truncated file may follow the seal.
        let is_alone = damaged[same..].iter().all(|byte| *byte == b'\n');
        assert_eq!(report.is_sealed, whole.seal_start.is_some() && is_alone, "the seal");
        return;
    }
    let good_end = whole.commit_ends.iter().copied().filter(|end| *end <= same).max();
    let good_end = good_end.unwrap_or(whole.snapshot_end);
    let last_start = whole.commit_ends.iter().rev().nth(1).copied().unwrap_or(whole.snapshot_end);
    // The last commit records that everything before it was synced, including its seal.
    let is_intact = |start: usize, end| damaged.get(start..end) == Some(&whole.bytes[start..end]);
    let has_commits = !whole.commit_ends.is_empty();
    let by_commit = has_commits && same < last_start && is_intact(last_start, content_end);
    let by_seal = same < content_end && is_intact(content_end, whole.bytes.len());
    let was_acknowledged = by_commit || whole.seal_start.is_some() && by_seal;
    let last_proof = whole.seal_start.unwrap_or(last_start);
    let is_in_snapshot = same < whole.snapshot_end && damaged.len() > header(false).len();
    match opened {
        Some(opened) => {
            let end = opened.report.end_bytes as usize;
            assert!(!opened.report.is_sealed || same < whole.snapshot_end, "damaged but sealed");
            assert!(!was_acknowledged, "damage at byte {same} was cut at {end}");
            assert!(!is_in_snapshot, "damage at byte {same} of the snapshot was not found");
            assert!(
                same < whole.snapshot_end || end == good_end,
                "cut at {end} instead of {good_end}"
            );
        }
        None => assert!(same < last_proof, "a torn tail at byte {same} was refused"),
    }
}

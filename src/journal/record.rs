//! The parts of the file, and how they are written and parsed. No files here.
//!
//! ```text
//! reservad-journal 3 <16 hex: identity> [snapshot ]<8 hex: CRC-32 of what precedes it>
//! <8 hex: CRC-32 of the rest>⇥commit <first event> <bytes of its lines> <CRC-32 of them> @<synced>
//! <payload>                   each event of the commit; " stands for the first word of the one before
//! <8 hex>⇥snap <number> <payload>
//! <8 hex>⇥end <count> <base>
//! <8 hex>⇥seal <last event> @<end of the last commit>
//! ```
//!
//! A TAB (⇥) follows the checksum of every line that is not a payload, and no payload contains one.
//! So text sent by a client can never be mistaken for such a line, wherever in a damaged file the
//! search for one begins.
//!
//! A commit has one checksum for all of its events, because it is good or bad as a whole. A
//! checksum, a number and a time for each event would be two thirds of the file. The head has a
//! checksum of its own, so that it can be trusted when the events cannot be read.

use std::ops::Range;

use super::JournalId;

/// The format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 3;

/// What the first line begins with, whatever the version.
pub(super) const HEADER_WORD: &[u8] = b"reservad-journal ";

/// The beginning of the first line of a file of this version.
const HEADER_VERSION: &[u8] = b"reservad-journal 3 ";

/// Precedes the checksum in the header of a compacted file. A reader that finds the first snapshot
/// record broken could not know otherwise that the numbers do not begin at 1.
const SNAPSHOT_WORD: &[u8] = b"snapshot ";

/// Hex digits of the identity.
const ID_DIGITS: usize = 16;

/// Bytes of the header of a file that begins with event 1.
pub(super) const NEW_HEADER_BYTES: usize = HEADER_VERSION.len() + ID_DIGITS + 1 + CRC_DIGITS + 1;

/// Maximal length of a header in bytes.
pub(super) const MAX_HEADER_BYTES: usize = NEW_HEADER_BYTES + SNAPSHOT_WORD.len();

/// Longest line, its LF included. An event names at most 32 resources of 128 bytes and a note: a
/// tenth of this. The bound keeps a damaged file from being read into memory as one line.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Room for checksum, kind and the numbers of a line at their longest, rounded up.
const MAX_FIELDS_BYTES: usize = 128;

/// Longest payload of a record.
pub const MAX_PAYLOAD_BYTES: usize = MAX_LINE_BYTES - MAX_FIELDS_BYTES;

/// Hex digits of the checksum.
const CRC_DIGITS: usize = 8;

/// Follows the checksum of every line that is not a payload. No payload contains it.
pub(super) const MARK: u8 = b'\t';

/// Offset of the mark in such a line.
pub(super) const MARK_AT: usize = CRC_DIGITS;

/// Stands in the place of a payload's first word, up to its first space, where that is the one of
/// the payload before: mostly the time. No payload begins with it.
const REPEAT_MARK: u8 = b'"';

/// A line that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Commit(Head),
    Snapshot { number: u64, payload: &'a [u8] },
    End { count: u64, base: u64 },
    Seal(Seal),
}

/// The first line of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Number of its first event.
    pub first: u64,
    /// Bytes of the lines that follow, with their LFs.
    pub bytes: u64,
    /// CRC-32 of them.
    pub crc: u32,
    /// Up to which byte of the file all was durable before this commit was written.
    pub synced: u64,
}

/// A record that everything before it is complete, and was durable before the seal was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    /// The number of the last event.
    pub last: u64,
    /// The offset where the last commit ends and the seal begins.
    pub end: u64,
}

/// Why a line is not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The bytes are not those that were written: a torn write does this, and so does damage.
    Broken(&'static str),
    /// The checksum is right and yet the fields are none of ours: no torn write does this.
    Foreign(&'static str),
}

/// Reads one line, given without its LF.
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, Unreadable> {
    let Some(body) = checked_body(line) else {
        return Err(Unreadable::Broken(if line.contains(&0) {
            "NUL bytes where a record should be"
        } else if line.len() > CRC_DIGITS && line[MARK_AT] == MARK {
            "wrong checksum"
        } else {
            "not a record"
        }));
    };
    parse_body(body).ok_or(Unreadable::Foreign("a right checksum over fields that are not known"))
}

/// What follows the checksum, if the checksum is right.
fn checked_body(line: &[u8]) -> Option<&[u8]> {
    let (wanted, rest) = take_crc(line)?;
    let body = rest.strip_prefix(&[MARK])?;
    (crc32fast::hash(body) == wanted).then_some(body)
}

fn parse_body(body: &[u8]) -> Option<Line<'_>> {
    if let Some(rest) = body.strip_prefix(b"commit ") {
        let (first, rest) = take_number(rest)?;
        let (bytes, rest) = take_number(rest.strip_prefix(b" ")?)?;
        let (crc, rest) = take_crc(rest.strip_prefix(b" ")?)?;
        let (synced, rest) = take_number(rest.strip_prefix(b" @")?)?;
        rest.is_empty().then_some(Line::Commit(Head { first, bytes, crc, synced }))
    } else if let Some(rest) = body.strip_prefix(b"snap ") {
        let (number, rest) = take_number(rest)?;
        Some(Line::Snapshot { number, payload: rest.strip_prefix(b" ")? })
    } else if let Some(rest) = body.strip_prefix(b"seal ") {
        let (last, rest) = take_number(rest)?;
        let (end, rest) = take_number(rest.strip_prefix(b" @")?)?;
        rest.is_empty().then_some(Line::Seal(Seal { last, end }))
    } else {
        let (count, rest) = take_number(body.strip_prefix(b"end ")?)?;
        let (base, rest) = take_number(rest.strip_prefix(b" ")?)?;
        rest.is_empty().then_some(Line::End { count, base })
    }
}

/// Parses the first line, without its LF. Returns the identity, and whether a snapshot follows.
pub(super) fn parse_header(line: &[u8]) -> Option<(JournalId, bool)> {
    let rest = line.strip_prefix(HEADER_VERSION)?;
    let (digits, rest) = rest.split_at_checked(ID_DIGITS)?;
    let id = JournalId::parse(str::from_utf8(digits).ok()?)?;
    let rest = rest.strip_prefix(b" ")?;
    let (is_snapshot, rest) = match rest.strip_prefix(SNAPSHOT_WORD) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let (crc, rest) = take_crc(rest)?;
    let body = &line[..line.len() - CRC_DIGITS];
    (rest.is_empty() && crc32fast::hash(body) == crc).then_some((id, is_snapshot))
}

/// Returns whether this may be a new journal whose creation was interrupted: a prefix of a header,
/// or the result of a power cut, with NULs in place of lost bytes.
pub(super) fn is_torn_header(found: &[u8]) -> bool {
    let is_digit = |byte: u8| HEX_VALUES[usize::from(byte)] < 16;
    let fits = |(at, byte): (usize, &u8)| match at.checked_sub(HEADER_VERSION.len()) {
        _ if *byte == 0 => true,
        None => HEADER_VERSION[at] == *byte,
        Some(ID_DIGITS) => *byte == b' ',
        _ if at == NEW_HEADER_BYTES - 1 => *byte == b'\n',
        Some(_) => is_digit(*byte),
    };
    let is_whole = found.len() == NEW_HEADER_BYTES && !found.contains(&0);
    found.len() <= NEW_HEADER_BYTES && !is_whole && found.iter().enumerate().all(fits)
}

/// Returns the first line of a file.
pub(super) fn header(id: JournalId, is_snapshot: bool) -> Vec<u8> {
    let snapshot: &[u8] = if is_snapshot { SNAPSHOT_WORD } else { b"" };
    let mut line = [HEADER_VERSION, id.to_string().as_bytes(), b" ", snapshot].concat();
    let crc = crc_digits(crc32fast::hash(&line));
    line.extend_from_slice(&crc);
    line.push(b'\n');
    line
}

/// The hex digits of a checksum and what follows them.
fn take_crc(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(CRC_DIGITS)?;
    let (mut crc, mut all) = (0, 0);
    for &digit in digits {
        let value = HEX_VALUES[usize::from(digit)];
        all |= value;
        crc = crc << 4 | u32::from(value);
    }
    (all < 16).then_some((crc, rest))
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What a byte stands for as a hex digit, 255 if it is none. Whether one is a letter cannot be
/// guessed: to branch on it was a tenth of a replay.
const HEX_VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < HEX_DIGITS.len() {
        values[HEX_DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// A decimal number as we write it (no sign, no leading zero) and what follows it.
fn take_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value: u64 = 0;
    let mut digits = 0;
    while let Some(digit @ b'0'..=b'9') = text.get(digits) {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        digits += 1;
    }
    let is_number = digits == 1 || (digits > 1 && text[0] != b'0');
    is_number.then(|| (value, &text[digits..]))
}

/// The end of a payload among concatenated payloads, and a part of it that is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    pub end: usize,
    /// Empty, or within the payload and after its first word.
    pub left_out: Range<usize>,
}

impl From<(usize, Range<usize>)> for Extent {
    fn from((end, left_out): (usize, Range<usize>)) -> Extent {
        Extent { end, left_out }
    }
}

impl From<usize> for Extent {
    /// Returns the extent of a payload that is written as a whole.
    fn from(end: usize) -> Extent {
        Extent { end, left_out: 0..0 }
    }
}

impl Extent {
    /// Returns the parts of a payload, from `start` on, that are written: before and after the part
    /// that is left out.
    fn parts<'a>(&self, start: usize, payloads: &'a [u8]) -> [&'a [u8]; 2] {
        match self.left_out.is_empty() {
            true => [&payloads[start..self.end], b""],
            false => {
                [&payloads[start..self.left_out.start], &payloads[self.left_out.end..self.end]]
            }
        }
    }
}

/// Puts one commit into `out`, in the place of what is there: the number of its first event, up to
/// where all was synced, the payloads run together and where each of them ends. Returns where in
/// `out` it begins: its head is only known after its lines, and stands right before them.
pub(super) fn put_commit(
    out: &mut Vec<u8>,
    first: u64,
    synced: u64,
    payloads: &str,
    extents: impl Iterator<Item = impl Into<Extent>>,
) -> usize {
    out.clear();
    out.reserve(2 * MAX_FIELDS_BYTES + payloads.len() + payloads.len() / 8);
    out.resize(MAX_FIELDS_BYTES, 0);
    put_lines(out, payloads.as_bytes(), extents);
    let lines = &out[MAX_FIELDS_BYTES..];
    let (bytes, crc) = (lines.len(), crc32fast::hash(lines));
    let end = out.len();
    begin_line(out);
    push_number(out, "commit ", first);
    push_number(out, " ", bytes as u64);
    out.push(b' ');
    out.extend_from_slice(&crc_digits(crc));
    push_number(out, " @", synced);
    finish_line(out, end);
    let start = MAX_FIELDS_BYTES - (out.len() - end);
    out.copy_within(end.., start);
    out.truncate(end);
    start
}

fn put_lines(out: &mut Vec<u8>, payloads: &[u8], extents: impl Iterator<Item = impl Into<Extent>>) {
    let (mut start, mut word) = (0, 0..0);
    for extent in extents {
        let extent = extent.into();
        let [payload, after] = extent.parts(start, payloads);
        assert_payload(payload, after.len());
        let before = &payloads[word.clone()];
        match payload.strip_prefix(before) {
            Some(rest) if !before.is_empty() && (rest.is_empty() || rest[0] == b' ') => {
                out.push(REPEAT_MARK);
                out.extend_from_slice(rest);
            }
            _ => {
                out.extend_from_slice(payload);
                word = start..start + first_word(payload);
            }
        }
        if !after.is_empty() {
            out.extend_from_slice(after);
        }
        out.push(b'\n');
        start = extent.end;
    }
}

/// Bytes of the first word.
fn first_word(payload: &[u8]) -> usize {
    memchr::memchr(b' ', payload).unwrap_or(payload.len())
}

/// Reads the lines of a commit back: payloads as they were. Most are as they stand there; those with
/// a ditto mark are put together in one place, for a start reads millions of them.
pub(super) struct Payloads<'a> {
    /// The lines that are not read yet.
    rest: &'a str,
    /// What a ditto mark stands for.
    word: &'a str,
    place: &'a mut String,
}

impl<'a> Payloads<'a> {
    pub(super) fn new(lines: &'a str, place: &'a mut String) -> Payloads<'a> {
        Payloads { rest: lines, word: "", place }
    }

    /// The next payload and the bytes of its line without the LF; `None` at the end.
    ///
    /// # Errors
    /// The line is none of ours.
    pub(super) fn next(&mut self) -> Option<Result<(&str, usize), &'static str>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(bytes) = find_lf(self.rest.as_bytes()) else {
            return Some(Err("the last line of a commit has no end"));
        };
        let line = &self.rest[..bytes];
        self.rest = &self.rest[bytes + 1..];
        let Some(after_word) = line.strip_prefix(REPEAT_MARK as char) else {
            self.word = &line[..first_word(line.as_bytes())];
            return Some(Ok((line, bytes)));
        };
        if self.word.is_empty() {
            return Some(Err("a ditto mark with nothing before it"));
        }
        self.place.clear();
        self.place.extend([self.word, after_word]);
        Some(Ok((self.place, bytes)))
    }
}

/// Index of the first LF, eight bytes at a time: half of the time of a replay would go here.
pub(super) fn find_lf(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    const LFS: u64 = u64::from_ne_bytes([b'\n'; 8]);
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // A byte equal to LF becomes 0; subtracting 1 carries into its top bit. Bytes above a
        // found one may be wrong, the lowest is always right.
        let zeroed = u64::from_le_bytes(*word) ^ LFS;
        let found = zeroed.wrapping_sub(ONES) & !zeroed & TOPS;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let done = words.len() * 8;
    rest.iter().position(|b| *b == b'\n').map(|index| done + index)
}

pub(super) fn push_snapshot(out: &mut Vec<u8>, number: u64, payload: &[u8]) {
    let line = out.len();
    out.reserve(MAX_FIELDS_BYTES + payload.len());
    begin_line(out);
    push_number(out, "snap ", number);
    out.push(b' ');
    out.extend_from_slice(payload);
    finish_line(out, line);
}

pub(super) fn push_end(out: &mut Vec<u8>, count: u64, base: u64) {
    let line = out.len();
    begin_line(out);
    push_number(out, "end ", count);
    push_number(out, " ", base);
    finish_line(out, line);
}

pub(super) fn push_seal(out: &mut Vec<u8>, last: u64, end: u64) {
    let line = out.len();
    begin_line(out);
    push_number(out, "seal ", last);
    push_number(out, " @", end);
    finish_line(out, line);
}

/// Room for the checksum, which [`finish_line`] puts in.
fn begin_line(out: &mut Vec<u8>) {
    out.extend_from_slice(b"00000000\t");
}

fn push_number(out: &mut Vec<u8>, before: &str, number: u64) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Puts the checksum into the line that begins there, and ends it.
fn finish_line(out: &mut Vec<u8>, line: usize) {
    let line = &mut out[line..];
    debug_assert!(line.len() < MAX_LINE_BYTES);
    let (digits, body) = line.split_at_mut(CRC_DIGITS + 1);
    digits[..CRC_DIGITS].copy_from_slice(&crc_digits(crc32fast::hash(body)));
    out.push(b'\n');
}

fn crc_digits(mut crc: u32) -> [u8; CRC_DIGITS] {
    let mut digits = [0; CRC_DIGITS];
    for place in digits.iter_mut().rev() {
        *place = HEX_DIGITS[(crc & 15) as usize];
        crc >>= 4;
    }
    digits
}

/// Panics (a bug of the caller) on payloads that would not come back as they were.
pub(super) fn assert_payloads(payloads: &str) {
    // The lowest byte, which is found many bytes at a time, nearly always says that none is there.
    let lowest = payloads.bytes().fold(u8::MAX, u8::min);
    let is_unfit = lowest < b' ' && memchr::memchr3(b'\n', MARK, 0, payloads.as_bytes()).is_some();
    assert!(!is_unfit, "payload with an LF, TAB or NUL: {payloads:?}");
}

/// Panics (a bug of the caller) on a payload that would not come back as it was.
pub(super) fn assert_payload(payload: &[u8], more_bytes: usize) {
    let bytes = payload.len() + more_bytes;
    assert!(bytes <= MAX_PAYLOAD_BYTES, "payload of {bytes} bytes");
    assert!(payload.first() != Some(&REPEAT_MARK), "payload that begins with a ditto mark");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A commit of these, and what is read of it.
    fn round_trip(payloads: &[&str]) -> (String, Vec<String>) {
        let mut out = b"what was there".to_vec();
        let ends = payloads.iter().scan(0, |end, payload| {
            *end += payload.len();
            Some(*end)
        });
        let start = put_commit(&mut out, u64::MAX, u64::MAX, &payloads.concat(), ends);
        let text = String::from_utf8(out.split_off(start)).unwrap();
        let (head, lines) = text.split_once('\n').unwrap();
        let (bytes, crc) = (lines.len() as u64, crc32fast::hash(lines.as_bytes()));
        let head_of_it = Head { first: u64::MAX, bytes, crc, synced: u64::MAX };
        assert_eq!(parse(head.as_bytes()), Ok(Line::Commit(head_of_it)));
        let mut place = String::new();
        let mut read = Payloads::new(lines, &mut place);
        let mut found = Vec::new();
        while let Some(next) = read.next() {
            found.push(next.unwrap().0.to_owned());
        }
        (lines.to_owned(), found)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let rows: &[(&[&str], &str)] = &[
            (&["ñ x", "yz"], "ñ x\nyz\n"),
            (&["now a", "now b", "now", "now c"], "now a\n\" b\n\"\n\" c\n"),
            (&["now a", "no b", "nowhere", "now c"], "now a\nno b\nnowhere\nnow c\n"),
            (&["a b", "a  c", "aa", " a", " b", "", "", "a"], "a b\n\"  c\naa\n a\n b\n\n\na\n"),
            (&["x", "x", "y y", "y y"], "x\n\"\ny y\n\" y\n"),
        ];
        for (payloads, lines) in rows {
            assert_eq!(
                round_trip(payloads),
                (lines.to_string(), payloads.iter().map(|p| p.to_string()).collect())
            );
        }
        let mut out = Vec::new();
        push_snapshot(&mut out, 7, b"");
        assert_eq!(parse(&out[..out.len() - 1]), Ok(Line::Snapshot { number: 7, payload: b"" }));
        out.clear();
        push_end(&mut out, 7, 0);
        assert_eq!(parse(&out[..out.len() - 1]), Ok(Line::End { count: 7, base: 0 }));
        out.clear();
        push_seal(&mut out, 7, 300);
        let seal = Seal { last: 7, end: 300 };
        assert_eq!(parse(&out[..out.len() - 1]), Ok(Line::Seal(seal)));
    }

    /// A commit must overwrite a seal completely.
    #[test]
    fn no_commit_is_shorter_than_the_seal_before_it() {
        for number in [0, 9, 99, u64::MAX - 1] {
            for end in [NEW_HEADER_BYTES as u64, 99, 999_999, u64::MAX] {
                let (mut seal, mut commit) = (Vec::new(), Vec::new());
                push_seal(&mut seal, number, end);
                let start = put_commit(&mut commit, number + 1, end, "", [0].into_iter());
                assert!(commit.len() - start > seal.len(), "event {number} at {end}");
            }
        }
    }

    #[test]
    fn every_bit_of_a_header_counts() {
        let id = JournalId(0x0123_4567_89ab_cdef);
        for is_snapshot in [false, true] {
            let line = header(id, is_snapshot);
            assert_eq!(line.len() == NEW_HEADER_BYTES, !is_snapshot);
            assert!(line.len() <= MAX_HEADER_BYTES);
            let line = line.strip_suffix(b"\n").unwrap();
            assert_eq!(parse_header(line), Some((id, is_snapshot)));
            for bit in 0..line.len() * 8 {
                let mut line = line.to_vec();
                line[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(parse_header(&line), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn part_that_is_left_out_is_not_written() {
        let mut out = Vec::new();
        let payloads = "now a #1 Sala 1now b #2 Sala 2 c=dnow e";
        let extents = [
            Extent { end: 15, left_out: 8..15 },
            Extent { end: 34, left_out: 23..30 },
            Extent::from(payloads.len()),
        ];
        let start = put_commit(&mut out, 1, 45, payloads, extents.into_iter());
        let text = String::from_utf8(out.split_off(start)).unwrap();
        assert_eq!(text.split_once('\n').unwrap().1, "now a #1\n\" b #2 c=d\n\" e\n");
    }

    #[test]
    fn lines_that_are_none_of_ours_are_told() {
        for (lines, good) in [("a", 0), ("a\nb", 1), ("\"\n", 0), ("\" x\n", 0), ("\n\" x\n", 1)] {
            let mut place = String::new();
            let mut read = Payloads::new(lines, &mut place);
            for _ in 0..good {
                assert!(matches!(read.next(), Some(Ok(_))), "{lines:?}");
            }
            assert!(matches!(read.next(), Some(Err(_))), "{lines:?}");
        }
    }

    #[test]
    #[should_panic(expected = "begins with a ditto mark")]
    fn a_payload_that_would_be_taken_for_a_ditto_mark_is_not_written() {
        round_trip(&["a b", "\" b"]);
    }

    #[test]
    fn lf_is_found_as_the_plain_way_finds_it() {
        let mut state: u64 = 42;
        for round in 0..20_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let bytes: Vec<u8> = (0..round % 40)
                .map(|i| [9, 10, 11, 0x8a, 0, 255, 138, b'a'][(state >> (i % 60)) as usize % 8])
                .map(|b| if b == 10 && round % 3 > 0 { 12 } else { b })
                .collect();
            assert_eq!(find_lf(&bytes), bytes.iter().position(|b| *b == b'\n'), "{bytes:?}");
        }
    }

    #[test]
    fn a_right_checksum_does_not_excuse_wrong_fields() {
        let bodies = [
            "",
            "commit",
            "commit ",
            "commit 1",
            "commit 1 2 0a1b2c3d",
            "commit 1 2 0a1b2c3 @0",
            "commit 1 2 0A1b2c3d @0",
            "commit 01 2 0a1b2c3d @0",
            "commit -1 2 0a1b2c3d @0",
            "commit 1 +2 0a1b2c3d @0",
            "commit 1 2 0a1b2c3d 0",
            "commit 1 2 0a1b2c3d @",
            "commit 1 2 0a1b2c3d @0 ",
            "commit 18446744073709551616 2 0a1b2c3d @0",
            "snap 1",
            "snap x y",
            "end 1",
            "end 1 2 ",
            "end 1 2 3",
            "seal 1",
            "seal 1 2",
            "seal 1 @2 ",
            "seal 1 @02",
            "Commit 1 2 0a1b2c3d @0",
            "other 1",
        ];
        for body in bodies {
            let line = format!("{:08x}\t{body}", crc32fast::hash(body.as_bytes()));
            let result = parse(line.as_bytes());
            assert!(matches!(result, Err(Unreadable::Foreign(_))), "{line}: {result:?}");
        }
    }

    #[test]
    fn every_way_to_be_broken() {
        let good = format!("{:08x}\tend 1 2", crc32fast::hash(b"end 1 2"));
        assert!(parse(good.as_bytes()).is_ok());
        let upper = good.to_uppercase();
        let spaced = good.replace('\t', " ");
        let cases: [&[u8]; 7] = [
            b"",
            b"1",
            b"12345678",
            b"12345678\t",
            upper.as_bytes(),
            spaced.as_bytes(),
            &good.as_bytes()[1..],
        ];
        for line in cases {
            assert!(matches!(parse(line), Err(Unreadable::Broken(_))), "{line:?}");
        }
    }
}

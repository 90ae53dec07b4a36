//! The lines of a journal file: how they are written and parsed.
//!
//! ```text
//! reservad-journal 3 <16 hex: identity> [snapshot ]<8 hex: CRC-32 of what precedes it>
//! <8 hex: CRC-32 of the rest>⇥commit <first event> <bytes of its lines> <CRC-32 of them> @<synced>
//! <payload>                   each event of the commit; " repeats the first word of the line before
//! <8 hex>⇥snap <number> <payload>
//! <8 hex>⇥end <count> <base>
//! <8 hex>⇥seal <last event> @<end of the last commit>
//! ```
//!
//! A TAB (⇥) follows the checksum of every line that is not a payload, and no payload contains one.
//! So text sent by a client cannot be mistaken for such a line, even if the search for one begins
//! in the middle of a damaged line.
//!
//! A commit has one checksum for all of its events, because it is good or bad as a whole. A
//! checksum, a number and a time for each event would be two thirds of the file. The head has a
//! checksum of its own, so that it can be trusted when the events cannot be read.

mod commit;
#[cfg(test)]
mod tests;

use super::JournalId;

pub use commit::Extent;
pub(super) use commit::{PayloadError, Payloads, put_commit};

/// The format that is written, and the only one that is read.
pub const FORMAT_VERSION: u32 = 3;

/// The beginning of the first line in every version.
pub(super) const HEADER_WORD: &[u8] = b"reservad-journal ";

/// The beginning of the first line in this version.
const HEADER_VERSION: &[u8] = b"reservad-journal 3 ";

/// Precedes the checksum in the header of a compacted file. Without it, a file whose first snapshot
/// record is broken would look like one that begins with event 1.
const SNAPSHOT_WORD: &[u8] = b"snapshot ";

/// Hex digits of the identity.
const ID_DIGITS: usize = 16;

/// Bytes of the header of a file that begins with event 1.
pub(super) const NEW_HEADER_BYTES: usize = HEADER_VERSION.len() + ID_DIGITS + 1 + CRC_DIGITS + 1;

/// Maximal length of a header in bytes.
pub(super) const MAX_HEADER_BYTES: usize = NEW_HEADER_BYTES + SNAPSHOT_WORD.len();

/// Maximal length of a line in bytes, with its LF. An event names at most 32 resources of 128 bytes
/// and a note, a tenth of this. The limit bounds the memory for one line of a damaged file.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Maximal length of the checksum, kind and numbers of a line, rounded up.
const MAX_FIELDS_BYTES: usize = 128;

/// Maximal length of a payload in bytes.
pub const MAX_PAYLOAD_BYTES: usize = MAX_LINE_BYTES - MAX_FIELDS_BYTES;

/// Hex digits of a checksum.
const CRC_DIGITS: usize = 8;

/// Follows the checksum of every line that is not a payload. No payload contains it.
pub(super) const MARK: u8 = b'\t';

/// Offset of the mark in such a line.
pub(super) const MARK_AT: usize = CRC_DIGITS;

/// Replaces the first word of a payload, up to its first space, where it equals that of the payload
/// before; usually the time. No payload begins with it.
const REPEAT_MARK: u8 = b'"';

/// A parsed line that is neither a header nor a payload of a commit.
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
    /// CRC-32 of these lines.
    pub crc: u32,
    /// The offset up to which the file was durable before this commit was written.
    pub synced: u64,
}

/// A record which states that everything before it is complete, and was durable before the seal was
/// written.
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
    /// The bytes are not those that were written, because of a torn write or of damage.
    Broken(&'static str),
    /// The checksum is correct, but the fields are unknown. No torn write causes this.
    Foreign(&'static str),
}

/// Parses one line, given without its LF.
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
    parse_body(body).ok_or(Unreadable::Foreign("unknown fields with a correct checksum"))
}

/// Returns the part after the checksum, if the checksum is correct.
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

/// Returns the version in a header of another version.
pub(super) fn other_version(head: &[u8]) -> Option<u32> {
    let rest = head.strip_prefix(HEADER_WORD)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    matches!(rest.get(digits), Some(b' ' | b'\n')).then_some(())?;
    let version: u32 = str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    (version != FORMAT_VERSION).then_some(version)
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

/// Parses a checksum. Returns it and the rest.
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

/// The value of each byte as a hex digit; 255 for all other bytes. A table, because processors
/// cannot predict branches on random digits, which took a tenth of a replay.
const HEX_VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < HEX_DIGITS.len() {
        values[HEX_DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Parses a decimal number without sign and leading zeros. Returns it and the rest.
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

/// Returns the first line of a file.
pub(super) fn header(id: JournalId, is_snapshot: bool) -> Vec<u8> {
    let snapshot: &[u8] = if is_snapshot { SNAPSHOT_WORD } else { b"" };
    let mut line = [HEADER_VERSION, id.to_string().as_bytes(), b" ", snapshot].concat();
    let crc = crc_digits(crc32fast::hash(&line));
    line.extend_from_slice(&crc);
    line.push(b'\n');
    line
}

/// Appends a snapshot record.
pub(super) fn push_snapshot(out: &mut Vec<u8>, number: u64, payload: &[u8]) {
    let line = out.len();
    out.reserve(MAX_FIELDS_BYTES + payload.len());
    begin_line(out);
    push_number(out, "snap ", number);
    out.push(b' ');
    out.extend_from_slice(payload);
    finish_line(out, line);
}

/// Appends the end of a snapshot of `count` records that holds the events up to `base`.
pub(super) fn push_end(out: &mut Vec<u8>, count: u64, base: u64) {
    let line = out.len();
    begin_line(out);
    push_number(out, "end ", count);
    push_number(out, " ", base);
    finish_line(out, line);
}

/// Appends a seal.
pub(super) fn push_seal(out: &mut Vec<u8>, seal: Seal) {
    let line = out.len();
    begin_line(out);
    push_number(out, "seal ", seal.last);
    push_number(out, " @", seal.end);
    finish_line(out, line);
}

/// Appends a placeholder of the checksum, which [`finish_line`] replaces.
fn begin_line(out: &mut Vec<u8>) {
    out.extend_from_slice(b"00000000\t");
}

#[inline]
fn push_number(out: &mut Vec<u8>, before: &str, number: u64) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes the checksum of the line that begins at `line`, and appends its LF.
#[inline]
fn finish_line(out: &mut Vec<u8>, line: usize) {
    let line = &mut out[line..];
    debug_assert!(line.len() < MAX_LINE_BYTES);
    let (digits, body) = line.split_at_mut(CRC_DIGITS + 1);
    digits[..CRC_DIGITS].copy_from_slice(&crc_digits(crc32fast::hash(body)));
    out.push(b'\n');
}

fn crc_digits(mut crc: u32) -> [u8; CRC_DIGITS] {
    let mut digits = [0; CRC_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = HEX_DIGITS[(crc & 15) as usize];
        crc >>= 4;
    }
    digits
}

/// Panics if a payload contains a byte that it must not contain.
#[inline]
pub(super) fn assert_payloads(payloads: &str) {
    let is_invalid = memchr::memchr3(b'\n', MARK, 0, payloads.as_bytes()).is_some();
    assert!(!is_invalid, "payload with an LF, TAB or NUL: {payloads:?}");
}

/// Panics if a payload, of which `more_bytes` are elsewhere, is too long or begins with a repeat
/// mark.
#[inline]
pub(super) fn assert_payload(payload: &[u8], more_bytes: usize) {
    let bytes = payload.len() + more_bytes;
    assert!(bytes <= MAX_PAYLOAD_BYTES, "payload of {bytes} bytes");
    assert!(payload.first() != Some(&REPEAT_MARK), "payload that begins with a repeat mark");
}

//! One line of the file: how a record is written and how it is read back. No files here.
//!
//! ```text
//! <8 hex: CRC-32 of the rest> event <number> +<left> @<synced> <payload>
//! <8 hex>                     snap <number> <payload>
//! <8 hex>                     end <count> <base>
//! ```

/// The format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What the first line begins with, whatever the version.
pub(super) const HEADER_WORD: &[u8] = b"reservad-journal ";

/// First line of a file that begins with event 1.
pub(super) const HEADER: &[u8] = b"reservad-journal 1\n";

/// First line of a compacted file. It says so in the header, because a reader that finds the
/// first snapshot record broken could not know otherwise that the numbers do not begin at 1.
pub(super) const HEADER_SNAPSHOT: &[u8] = b"reservad-journal 1 snapshot\n";

/// Longest line, its LF included. An event names at most 32 resources of 128 bytes and a note: a
/// tenth of this. The bound keeps a damaged file from being read into memory as one line.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Room for checksum, kind and the numbers of a line at their longest, rounded up.
const MAX_FIELDS_BYTES: usize = 128;

/// Longest payload of a record.
pub const MAX_PAYLOAD_BYTES: usize = MAX_LINE_BYTES - MAX_FIELDS_BYTES;

/// Hex digits of the checksum.
const CRC_DIGITS: usize = 8;

/// What every event line has after its checksum; the search for records in a damaged file looks
/// for it.
pub(super) const EVENT_MARK: &[u8] = b" event ";

/// A line that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Event { number: u64, left: u64, synced: u64, payload: &'a [u8] },
    Snapshot { number: u64, payload: &'a [u8] },
    End { count: u64, base: u64 },
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
        } else if line.len() > CRC_DIGITS && line[CRC_DIGITS] == b' ' {
            "wrong checksum"
        } else {
            "not a record"
        }));
    };
    parse_body(body).ok_or(Unreadable::Foreign("a right checksum over fields that are not known"))
}

/// What follows the checksum, if the checksum is right.
fn checked_body(line: &[u8]) -> Option<&[u8]> {
    let (crc, rest) = line.split_at_checked(CRC_DIGITS)?;
    let body = rest.strip_prefix(b" ")?;
    let mut wanted: u32 = 0;
    for &digit in crc {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        wanted = wanted << 4 | u32::from(value);
    }
    (crc32fast::hash(body) == wanted).then_some(body)
}

fn parse_body(body: &[u8]) -> Option<Line<'_>> {
    if let Some(rest) = body.strip_prefix(b"event ") {
        let (number, rest) = take_number(rest)?;
        let (left, rest) = take_number(rest.strip_prefix(b" +")?)?;
        let (synced, rest) = take_number(rest.strip_prefix(b" @")?)?;
        Some(Line::Event { number, left, synced, payload: rest.strip_prefix(b" ")? })
    } else if let Some(rest) = body.strip_prefix(b"snap ") {
        let (number, rest) = take_number(rest)?;
        Some(Line::Snapshot { number, payload: rest.strip_prefix(b" ")? })
    } else {
        let (count, rest) = take_number(body.strip_prefix(b"end ")?)?;
        let (base, rest) = take_number(rest.strip_prefix(b" ")?)?;
        rest.is_empty().then_some(Line::End { count, base })
    }
}

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

/// The records of one commit: the number of the first, up to where all was synced, the payloads
/// run together and where each of them ends.
pub(super) fn push_events(
    out: &mut Vec<u8>,
    first: u64,
    synced: u64,
    payloads: &[u8],
    ends: impl ExactSizeIterator<Item = usize>,
) {
    let count = ends.len();
    // The same in all of them.
    let synced = format!(" @{synced} ");
    out.reserve(payloads.len() + count * (MAX_FIELDS_BYTES / 2));
    let mut start = 0;
    for (at, end) in ends.enumerate() {
        assert_length(end - start);
        let line = out.len();
        out.extend_from_slice(b"00000000 event ");
        out.extend_from_slice(itoa::Buffer::new().format(first + at as u64).as_bytes());
        out.extend_from_slice(b" +");
        out.extend_from_slice(itoa::Buffer::new().format(count - at - 1).as_bytes());
        out.extend_from_slice(synced.as_bytes());
        out.extend_from_slice(&payloads[start..end]);
        finish_line(out, line);
        start = end;
    }
}

pub(super) fn push_snapshot(out: &mut Vec<u8>, number: u64, payload: &[u8]) {
    push_line(out, payload, [("snap ", number)], " ");
}

pub(super) fn push_end(out: &mut Vec<u8>, count: u64, base: u64) {
    push_line(out, b"", [("end ", count), (" ", base)], "");
}

fn push_line<const FIELDS: usize>(
    out: &mut Vec<u8>,
    payload: &[u8],
    fields: [(&str, u64); FIELDS],
    gap: &str,
) {
    let line = out.len();
    out.reserve(MAX_FIELDS_BYTES + payload.len());
    out.extend_from_slice(b"00000000 ");
    for (before, number) in fields {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    out.extend_from_slice(gap.as_bytes());
    out.extend_from_slice(payload);
    finish_line(out, line);
}

/// Puts the checksum into the line that begins there, and ends it.
fn finish_line(out: &mut Vec<u8>, line: usize) {
    let line = &mut out[line..];
    debug_assert!(line.len() < MAX_LINE_BYTES);
    let (digits, body) = line.split_at_mut(CRC_DIGITS + 1);
    let mut crc = crc32fast::hash(body);
    for place in digits[..CRC_DIGITS].iter_mut().rev() {
        *place = b"0123456789abcdef"[(crc & 15) as usize];
        crc >>= 4;
    }
    out.push(b'\n');
}

/// Panics (a bug of the caller) on payloads that would not come back as they were.
pub(super) fn assert_payloads(payloads: &str) {
    let unfit = memchr::memchr2(b'\n', 0, payloads.as_bytes());
    assert!(unfit.is_none(), "payload with an LF or NUL: {payloads:?}");
}

/// Panics (a bug of the caller) on a payload that is too long to come back.
pub(super) fn assert_length(bytes: usize) {
    assert!(bytes <= MAX_PAYLOAD_BYTES, "payload of {bytes} bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        for synced in [0, 7, 10, u64::MAX] {
            out.clear();
            let payloads = "ñ xyz".as_bytes();
            push_events(&mut out, u64::MAX - 1, synced, payloads, [4, 6].into_iter());
            assert!(out.len() < 2 * MAX_FIELDS_BYTES);
            let lines: Vec<_> = out.split(|byte| *byte == b'\n').map(parse).collect();
            let event = |number, left, payload: &'static str| {
                Ok(Line::Event { number, left, synced, payload: payload.as_bytes() })
            };
            let want = [event(u64::MAX - 1, 1, "ñ x"), event(u64::MAX, 0, "yz")];
            assert_eq!(lines[..2], want);
        }
        out.clear();
        push_snapshot(&mut out, 7, b"");
        assert_eq!(parse(&out[..out.len() - 1]), Ok(Line::Snapshot { number: 7, payload: b"" }));
        out.clear();
        push_end(&mut out, 7, 0);
        assert_eq!(parse(&out[..out.len() - 1]), Ok(Line::End { count: 7, base: 0 }));
    }

    #[test]
    fn a_right_checksum_does_not_excuse_wrong_fields() {
        let bodies = [
            "",
            "event",
            "event ",
            "event 1",
            "event 1 +0 @0",
            "event 01 +0 @0 x",
            "event -1 +0 @0 x",
            "event 1 0 @0 x",
            "event 1 +0 0 x",
            "event 1 +0 @ x",
            "event 18446744073709551616 +0 @0 x",
            "snap 1",
            "snap x y",
            "end 1",
            "end 1 2 ",
            "end 1 2 3",
            "Event 1 +0 @0 x",
            "other 1",
        ];
        for body in bodies {
            let line = format!("{:08x} {body}", crc32fast::hash(body.as_bytes()));
            let result = parse(line.as_bytes());
            assert!(matches!(result, Err(Unreadable::Foreign(_))), "{line}: {result:?}");
        }
    }

    #[test]
    fn every_way_to_be_broken() {
        let good = format!("{:08x} end 1 2", crc32fast::hash(b"end 1 2"));
        assert!(parse(good.as_bytes()).is_ok());
        let upper = good.to_uppercase();
        let cases: [&[u8]; 6] =
            [b"", b"1", b"12345678", b"12345678 ", upper.as_bytes(), &good.as_bytes()[1..]];
        for line in cases {
            assert!(matches!(parse(line), Err(Unreadable::Broken(_))), "{line:?}");
        }
    }
}

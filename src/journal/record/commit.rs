//! The lines of a commit: how payloads are written and parsed.

use std::ops::Range;

use super::{
    MAX_FIELDS_BYTES, MAX_PAYLOAD_BYTES, REPEAT_MARK, assert_payload, begin_line, crc_digits,
    finish_line, push_number,
};

/// The end of a payload among concatenated payloads, and the part of it that is not written.
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
    /// Returns the written parts of a payload that begins at `start`: those before and after the
    /// part that is left out.
    fn parts<'a>(&self, start: usize, payloads: &'a [u8]) -> [&'a [u8]; 2] {
        match self.left_out.is_empty() {
            true => [&payloads[start..self.end], b""],
            false => {
                [&payloads[start..self.left_out.start], &payloads[self.left_out.end..self.end]]
            }
        }
    }
}

/// Replaces the contents of `out` by one commit. Returns the offset in `out` at which it begins:
/// the head depends on the lines, so the lines are written first, after a gap for the head.
///
/// `first` is the number of the first event, `synced` the offset up to which the file is durable,
/// and `payloads` the concatenated payloads with their `extents`.
pub(in super::super) fn put_commit(
    out: &mut Vec<u8>,
    first: u64,
    synced: u64,
    payloads: &str,
    extents: impl Iterator<Item = impl Into<Extent>>,
) -> usize {
    out.clear();
    out.reserve(2 * MAX_FIELDS_BYTES + payloads.len() + payloads.len() / 8);
    out.extend_from_slice(&[0; MAX_FIELDS_BYTES]);
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
                word = start..start + first_word_len(payload);
            }
        }
        if !after.is_empty() {
            out.extend_from_slice(after);
        }
        out.push(b'\n');
        start = extent.end;
    }
}

fn first_word_len(payload: &[u8]) -> usize {
    memchr::memchr(b' ', payload).unwrap_or(payload.len())
}

/// Why a line of a commit is not a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum PayloadError {
    /// The last line has no LF.
    NoEnd,
    /// A repeat mark without a line before it.
    NothingToRepeat,
    /// The payload is longer than [`MAX_PAYLOAD_BYTES`].
    TooLong,
}

/// Parses the lines of a commit into payloads.
///
/// Most payloads are slices of the lines. Those with a repeat mark are assembled in one reused
/// buffer, because a start parses millions of them.
pub(in super::super) struct Payloads<'a> {
    /// The lines that are not parsed yet.
    rest: &'a str,
    /// The word that a repeat mark stands for.
    word: &'a str,
    buffer: &'a mut String,
}

impl<'a> Payloads<'a> {
    pub(in super::super) fn new(lines: &'a str, buffer: &'a mut String) -> Payloads<'a> {
        Payloads { rest: lines, word: "", buffer }
    }

    /// Returns the next payload, and the length of its line without the LF; `None` at the end.
    pub(in super::super) fn next(&mut self) -> Option<Result<(&str, usize), PayloadError>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(bytes) = memchr::memchr(b'\n', self.rest.as_bytes()) else {
            return Some(Err(PayloadError::NoEnd));
        };
        let line = &self.rest[..bytes];
        self.rest = &self.rest[bytes + 1..];
        let payload = match line.strip_prefix(REPEAT_MARK as char) {
            None => {
                self.word = &line[..first_word_len(line.as_bytes())];
                line
            }
            Some(_) if self.word.is_empty() => return Some(Err(PayloadError::NothingToRepeat)),
            Some(after_word) => {
                self.buffer.clear();
                self.buffer.extend([self.word, after_word]);
                self.buffer.as_str()
            }
        };
        match payload.len() {
            0..=MAX_PAYLOAD_BYTES => Some(Ok((payload, bytes))),
            _ => Some(Err(PayloadError::TooLong)),
        }
    }
}

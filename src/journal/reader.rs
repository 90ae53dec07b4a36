//! Reads a file line by line, in chunks.

use std::io;

use super::record::MAX_LINE_BYTES;
use super::storage::StorageFile;

/// Bytes per read: large enough that the cost of a call does not count, small enough for the
/// smallest host. Longer than a line, so that at most one more read completes a line.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
const _: () = assert!(CHUNK_BYTES > MAX_LINE_BYTES);

/// The place of a line, without its LF, or of several lines with their LFs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub offset: u64,
    pub bytes: usize,
    /// The number of the first line.
    pub line: u64,
    /// Whether its LF was found.
    pub ended: bool,
}

/// Reads a file line by line through one buffer, which holds everything from `keep` on.
pub(super) struct Reader<'f, F> {
    pub file: &'f F,
    file_bytes: u64,
    buf: Vec<u8>,
    /// File offset of `buf[0]`.
    buf_offset: u64,
    /// Bytes before this file offset are not needed any more.
    keep: u64,
    /// File offset of the next line.
    next: u64,
    /// Lines read so far.
    lines: u64,
}

impl<'f, F: StorageFile> Reader<'f, F> {
    /// Returns a reader that starts at `offset`, after `lines` lines.
    pub fn new(file: &'f F, file_bytes: u64, offset: u64, lines: u64) -> Self {
        let buf = Vec::new();
        Reader { file, file_bytes, buf, buf_offset: offset, keep: offset, next: offset, lines }
    }

    /// Returns the file offset of the next line.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// Returns the number of lines read.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Returns the place of the next line.
    pub fn here(&self) -> Span {
        Span { offset: self.next, bytes: 0, line: self.lines + 1, ended: false }
    }

    /// Returns the bytes at a place that was read since the last [`Reader::release`].
    pub fn bytes(&self, at: Span) -> &[u8] {
        let start = (at.offset - self.buf_offset) as usize;
        &self.buf[start..start + at.bytes]
    }

    /// Allows the buffer to drop everything before the next line.
    pub fn release(&mut self) {
        self.keep = self.next;
    }

    /// Reads the next line. If it has no LF or is too long for a record, reads its beginning.
    pub fn next_line(&mut self) -> io::Result<Option<Span>> {
        loop {
            let start = (self.next - self.buf_offset) as usize;
            let rest = self.buf.get(start..).unwrap_or_default();
            let lf = memchr::memchr(b'\n', &rest[..rest.len().min(MAX_LINE_BYTES)]);
            let at_end = self.buf_offset + self.buf.len() as u64 >= self.file_bytes;
            if lf.is_none() && rest.len() < MAX_LINE_BYTES && !at_end {
                self.read_chunk()?;
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

    /// Reads the next `bytes`, which are whole lines, without skipping them; `None` if the file has
    /// fewer.
    pub fn peek_lines(&mut self, bytes: u64) -> io::Result<Option<Span>> {
        let Some(end) = self.next.checked_add(bytes).filter(|end| *end <= self.file_bytes) else {
            return Ok(None);
        };
        while self.buf_offset + (self.buf.len() as u64) < end {
            self.read_chunk()?;
        }
        let bytes = bytes as usize;
        Ok(Some(Span { offset: self.next, bytes, line: self.lines + 1, ended: true }))
    }

    /// Returns the first bytes of the file, at most `count`. Called before anything else is read.
    pub fn peek_start(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.buf.is_empty() && self.file_bytes > 0 {
            self.read_chunk()?;
        }
        Ok(&self.buf[..self.buf.len().min(count)])
    }

    /// Skips lines that were read.
    pub fn skip_lines(&mut self, bytes: u64, lines: u64) {
        self.next += bytes;
        self.lines += lines;
    }

    /// Skips the blank lines in the buffer, all at once.
    pub fn skip_blank(&mut self) {
        let rest = &self.buf[(self.next - self.buf_offset) as usize..];
        let blank = rest.iter().take_while(|b| **b == b'\n').count() as u64;
        self.skip_lines(blank, blank);
    }

    fn read_chunk(&mut self) -> io::Result<()> {
        self.buf.drain(..(self.keep - self.buf_offset) as usize);
        self.buf_offset = self.keep;
        let have = self.buf.len();
        let offset = self.buf_offset + have as u64;
        let more = (self.file_bytes - offset).min(CHUNK_BYTES as u64) as usize;
        self.buf.resize(have + more, 0);
        self.file.read_fully(&mut self.buf[have..], offset)
    }
}

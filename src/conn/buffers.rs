//! The input and output buffers of a connection, and a pool of unused ones.

use std::ops::Range;

use crate::limits::{POOL_BUFFER_BYTES, POOL_BUFFERS};

/// The buffers of a connection. A connection without input and output has none, which saves most
/// of the memory of an idle connection.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub input: Input,
    pub output: Output,
}

impl Buffers {
    pub fn is_empty(&self) -> bool {
        self.input.unread() == 0 && self.output.pending() == 0
    }

    /// Returns the bytes of memory that the buffers occupy.
    pub fn retained_bytes(&self) -> usize {
        size_of::<Buffers>() + self.input.bytes.capacity() + self.output.bytes.capacity()
    }

    fn largest_capacity(&self) -> usize {
        self.input.bytes.capacity().max(self.output.bytes.capacity())
    }

    fn clear(&mut self) {
        self.input.bytes.clear();
        (self.input.taken, self.input.searched) = (0, 0);
        self.output.clear();
    }
}

/// Bytes received, without telnet sequences.
///
/// Invariant: `taken <= searched <= bytes.len()`.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// The number of bytes at the front that were taken as lines.
    taken: usize,
    /// The number of bytes at the front that were searched for a line feed.
    searched: usize,
}

impl Input {
    /// Returns the number of bytes that were received and not taken.
    pub fn unread(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Returns the bytes that were received and not taken.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Returns the position after the bytes taken so far.
    pub fn position(&self) -> usize {
        self.taken
    }

    /// Returns the position after the last byte.
    pub fn end(&self) -> usize {
        self.bytes.len()
    }

    pub fn slice(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Returns the byte at a position that holds one.
    pub fn byte(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    pub fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the position of the next line feed.
    pub fn find_line_feed(&self) -> Option<usize> {
        memchr::memchr(b'\n', &self.bytes[self.searched..]).map(|at| self.searched + at)
    }

    /// Takes all bytes before a position. With an earlier position than [`Input::position`], the
    /// bytes in between are put back.
    pub fn take_to(&mut self, position: usize) {
        self.taken = position;
        self.searched = position;
    }

    /// Records that no line feed has arrived yet.
    pub fn set_searched(&mut self) {
        self.searched = self.bytes.len();
    }

    /// Drops everything, and the memory with it.
    pub fn drop_all(&mut self) {
        *self = Input::default();
    }

    /// Drops the bytes that were taken.
    pub fn drop_taken(&mut self) {
        drop_front(&mut self.bytes, self.taken);
        self.searched -= self.taken;
        self.taken = 0;
    }

    /// Removes the last character of the line that is being received.
    pub fn erase_character(&mut self) {
        let is_first = |byte: &u8| !matches!(byte, 0x80..=0xBF);
        let start = self.open_line();
        let last = self.bytes[start..].iter().rposition(is_first).unwrap_or(0);
        self.truncate(start + last);
    }

    /// Removes the line that is being received.
    pub fn erase_line(&mut self) {
        self.truncate(self.open_line());
    }

    /// Returns the start of the line that is being received.
    fn open_line(&self) -> usize {
        self.taken + memchr::memrchr(b'\n', self.rest()).map_or(0, |lf| lf + 1)
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.searched = self.searched.min(len);
    }
}

/// Bytes to be sent.
///
/// Invariant: `sent <= bytes.len()`.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// The number of bytes at the front that were sent.
    sent: usize,
}

impl Output {
    /// Returns the number of bytes that are still to be sent.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Returns the buffer, to append a reply.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Reserves memory if the output is empty.
    pub fn reserve_if_empty(&mut self, bytes: usize) {
        if self.bytes.is_empty() {
            self.bytes.reserve(bytes);
        }
    }

    /// Returns the next bytes to be sent, up to `most`.
    pub fn unsent(&self, most: usize) -> &[u8] {
        &self.bytes[self.sent..self.bytes.len().min(self.sent + most)]
    }

    /// Records that the first bytes of [`Output::unsent`] were sent.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.pending() == 0 {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    /// Frees memory of bytes that were sent.
    pub fn shrink(&mut self) {
        if self.pending() == 0 {
            *self = Output::default();
        } else if self.sent >= self.pending() {
            // At least half of the buffer is sent, so moving the rest costs less than sending did.
            // This bounds the buffer of a peer that never catches up completely.
            drop_front(&mut self.bytes, self.sent);
            self.sent = 0;
        }
    }
}

/// Removes `count` bytes from the front, and most of the memory if little is left, so that half a
/// line does not keep the memory of a burst.
fn drop_front(buffer: &mut Vec<u8>, count: usize) {
    buffer.drain(..count);
    if buffer.capacity() / 4 > buffer.len() {
        buffer.shrink_to_fit();
    }
}

/// Empty buffers for reuse, so that an active connection does not allocate at every line.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "boxes move between connections and the pool unchanged")]
pub struct BufferPool(Vec<Box<Buffers>>);

impl BufferPool {
    /// Takes buffers from the pool, if there are any.
    pub(super) fn get(&mut self) -> Option<Box<Buffers>> {
        self.0.pop()
    }

    /// Clears buffers and keeps them, unless they are large or the pool is full.
    #[inline]
    pub(super) fn put(&mut self, mut buffers: Box<Buffers>) {
        if buffers.largest_capacity() <= POOL_BUFFER_BYTES && self.0.len() < POOL_BUFFERS {
            buffers.clear();
            self.0.push(buffers);
        }
    }
}

#[cfg(test)]
impl Input {
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
impl Output {
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
impl BufferPool {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn are_all_empty(&self) -> bool {
        self.0.iter().all(|buffers| buffers.is_empty())
    }
}

//! One connection: reading, the telnet filter, lines, buffers and writing.
//!
//! A connection knows no command and no poll. It is generic over the stream, so that tests can
//! script one with short reads, would-block and failures.
//!
//! | file | owns |
//! | --- | --- |
//! | `transport.rs` | the stream and its readiness |
//! | `framing.rs`, `telnet.rs` | lines, and the telnet sequences between them |
//! | `buffers.rs` | input, output and the pool of unused buffers |
//!
//! Invariants: the output exceeds [`OUTPUT_HIGH_BYTES`] by at most one reply, and the input
//! exceeds [`INPUT_HIGH_BYTES`] by at most one read. Empty buffers are released.

mod buffers;
mod framing;
mod telnet;
mod transport;

use std::io::{self, Read, Write};
use std::ops::Range;

use crate::limits::{INPUT_HIGH_BYTES, LIST_PIECE_BYTES, OUTPUT_HIGH_BYTES, OUTPUT_LOW_BYTES};
use buffers::Buffers;
use framing::Framing;
use transport::Transport;

pub use buffers::BufferPool;
pub use framing::{Eol, Frame};

/// A list that is rendered while it is sent, because it may be long.
pub trait ReplyStream {
    /// Appends about `bytes` of text. Returns `false` if that was the last of it.
    fn fill(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool;

    /// Returns the bytes of memory that it keeps, which count towards the bound over all
    /// connections. May include shared memory, so that the sum is never too small.
    fn retained_bytes(&self) -> usize {
        0
    }

    /// Returns the epoch of the names that it keeps in memory.
    fn name_epoch(&self) -> u64 {
        u64::MAX
    }
}

/// A connection.
pub struct Conn<S> {
    transport: Transport<S>,
    framing: Framing,
    /// `None` while both buffers are empty, except during a turn.
    buffers: Option<Box<Buffers>>,
    /// The list that is being sent after the output.
    list: Option<Box<dyn ReplyStream>>,
}

impl<S> Conn<S> {
    /// Returns a connection that counts as ready until a call would block.
    pub fn new(stream: S) -> Conn<S> {
        Conn {
            transport: Transport::new(stream),
            framing: Framing::new(),
            buffers: None,
            list: None,
        }
    }

    /// Returns the stream, to register it.
    pub fn stream(&mut self) -> &mut S {
        self.transport.stream()
    }

    /// Records that reading may return something.
    pub fn set_readable(&mut self, read_closed: bool) {
        self.transport.set_readable(read_closed);
    }

    /// Records that urgent data has arrived. This holds for good.
    pub fn set_urgent(&mut self) {
        self.transport.set_urgent();
    }

    /// Records that writing may go on.
    pub fn set_writable(&mut self) {
        self.transport.set_writable();
    }

    /// Records that nothing reaches the peer any more.
    pub fn set_write_closed(&mut self) {
        self.transport.set_write_closed();
    }

    /// Returns whether the peer has closed its side and all of its input was read.
    pub fn is_eof(&self) -> bool {
        self.transport.is_eof()
    }

    /// Returns whether the peer has closed its side. Some of its input may be unread.
    pub fn is_read_closed(&self) -> bool {
        self.transport.is_read_closed()
    }

    /// Returns whether nothing reaches the peer any more.
    pub fn is_write_closed(&self) -> bool {
        self.transport.is_write_closed()
    }

    #[inline]
    fn buffers(&mut self) -> &mut Buffers {
        self.buffers.get_or_insert_default()
    }

    /// Returns the number of bytes that were received and not taken.
    fn unread(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.input.unread())
    }

    /// Returns whether the peer has interrupted the last line (telnet's Ctrl-C) since the last
    /// call. An interrupt before that line does not count.
    pub fn take_interrupt(&mut self) -> bool {
        let position = self.buffers.as_ref().map_or(0, |buffers| buffers.input.position());
        self.framing.telnet.take_interrupt(position)
    }

    /// Returns the ending of the last line.
    pub fn eol(&self) -> Eol {
        self.framing.eol()
    }

    /// Returns the number of bytes of output, without the rest of a list.
    pub fn pending(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.output.pending())
    }

    /// Returns whether all output is sent.
    pub fn is_flushed(&self) -> bool {
        self.pending() == 0 && self.list.is_none()
    }

    /// Returns whether the next line may run. Replies are sent in order, so no line runs during a
    /// list, nor while the peer does not read its replies.
    pub fn may_run(&self) -> bool {
        self.list.is_none() && self.pending() < OUTPUT_HIGH_BYTES
    }

    /// Returns whether there may be something to read, and memory for it.
    #[inline]
    pub fn wants_read(&self) -> bool {
        self.transport.is_readable()
            && self.pending() < OUTPUT_HIGH_BYTES
            && self.unread() < INPUT_HIGH_BYTES
    }

    /// Returns whether there is output that the stream may accept.
    pub fn wants_write(&self) -> bool {
        self.transport.is_writable() && !self.is_flushed()
    }

    /// Returns whether the peer has read everything written to it, as far as is known.
    pub fn is_writable(&self) -> bool {
        self.transport.is_writable()
    }

    /// Returns whether the output is low enough for a paused peer to continue.
    pub fn is_drained(&self) -> bool {
        self.list.is_none() && self.pending() <= OUTPUT_LOW_BYTES
    }

    /// Returns whether this connection keeps memory for input, output or a list.
    pub fn keeps_memory(&self) -> bool {
        self.buffers.is_some() || self.list.is_some()
    }

    /// Returns the bytes of memory that this connection keeps for input, output and its list.
    pub fn retained_bytes(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.retained_bytes())
            + self.list.as_ref().map_or(0, |list| list.retained_bytes())
    }

    /// Drops all input and output, because the connection is not used any more.
    pub fn abandon(&mut self) {
        self.buffers = None;
        self.list = None;
    }

    /// Returns whether there is input that has not been run.
    pub fn has_input(&self) -> bool {
        self.unread() > 0
    }

    /// Returns the epoch of the names that the list in progress keeps; `None` without a list.
    pub fn list_name_epoch(&self) -> Option<u64> {
        self.list.as_ref().map(|list| list.name_epoch())
    }

    /// Returns the output, to append a reply.
    pub fn out(&mut self) -> &mut Vec<u8> {
        self.buffers().output.bytes()
    }

    /// Sends a list after the present output.
    pub fn start_list(&mut self, list: Box<dyn ReplyStream>) {
        debug_assert!(self.list.is_none(), "a list within a list");
        self.list = Some(list);
        self.refill();
    }

    /// Returns the bytes of a line that [`Conn::next_frame`] has found, and the output for its
    /// reply.
    #[inline]
    pub fn line(&mut self, at: Range<usize>) -> (&[u8], &mut Vec<u8>) {
        let buffers = self.buffers();
        (buffers.input.slice(at), buffers.output.bytes())
    }

    /// Puts back the line that [`Conn::next_frame`] found at `start`. The next call finds it again.
    pub fn put_back(&mut self, start: usize) {
        self.buffers().input.take_to(start);
    }

    /// Drops all input that has not been run.
    pub fn drop_input(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            self.framing.drop_input(&mut buffers.input);
        }
    }

    /// Takes the next frame; `None` if none is complete. The position of a line is valid until the
    /// next read.
    #[inline]
    pub fn next_frame(&mut self) -> Option<Frame> {
        let input = &mut self.buffers.get_or_insert_default().input;
        self.framing.next_frame(input, self.transport.is_eof())
    }

    /// Renders the next piece of the list, if there is room.
    fn refill(&mut self) {
        while let Some(list) = &mut self.list {
            let output = &mut self.buffers.get_or_insert_default().output;
            let room = LIST_PIECE_BYTES.saturating_sub(output.pending());
            if room == 0 {
                return;
            }
            if !list.fill(room, output.bytes()) {
                self.list = None;
            }
        }
    }

    /// Takes buffers from the pool, before a read.
    pub fn acquire(&mut self, pool: &mut BufferPool) {
        if self.buffers.is_none() {
            self.buffers = pool.get();
        }
    }

    /// Releases memory that is not needed: empty buffers to the pool, or the part of the buffers
    /// that was taken or sent.
    pub fn release(&mut self, pool: &mut BufferPool) {
        if let Some(buffers) = self.buffers.take_if(|buffers| buffers.is_empty()) {
            self.framing.telnet.input_dropped(buffers.input.position());
            return pool.put(buffers);
        }
        let Some(buffers) = &mut self.buffers else { return };
        buffers.output.shrink();
        if buffers.input.unread() == 0 {
            self.framing.drop_input(&mut buffers.input);
        } else if buffers.input.position() > 0 {
            self.framing.telnet.input_compacted(buffers.input.position());
            buffers.input.drop_taken();
        }
    }
}

impl<S: Read> Conn<S> {
    /// Reads once, up to the size of `scratch`, and returns the number of bytes. Returns 0 at the
    /// end of input and when nothing has arrived.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn fill(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let count = self.transport.read(scratch)?;
        if count > 0 {
            let buffers = self.buffers.get_or_insert_default();
            // Enough for the usual replies to that many lines.
            buffers.output.reserve_if_empty(2 * count);
            self.framing.telnet.receive(&scratch[..count], buffers);
        }
        Ok(count)
    }
}

impl<S: Write> Conn<S> {
    /// Writes until everything is sent, the stream is full, or `quota` bytes are sent. Returns the
    /// number of bytes.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn flush(&mut self, quota: usize) -> io::Result<usize> {
        let mut total = 0;
        while self.wants_write() && total < quota {
            let output = &mut self.buffers.get_or_insert_default().output;
            let count = self.transport.write(output.unsent(quota - total))?;
            output.advance(count);
            total += count;
            if output.pending() == 0 {
                self.refill();
            }
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests;

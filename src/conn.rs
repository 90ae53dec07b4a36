//! One connection's bytes: reading, the telnet filter, lines, and writing.
//!
//! Knows no command and no poll; it is generic over the stream, so that tests
//! can script one (short reads, would-block, failures). The service tells it
//! when the socket may be ready; it remembers until a call says otherwise,
//! for an edge-triggered poll says it once.
//!
//! Invariants: output never grows by more than one command's reply over
//! [`OUTPUT_HIGH_BYTES`], input never over [`INPUT_HIGH_BYTES`] and one read;
//! both give their memory back when they are empty.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;

use crate::limits::{
    INPUT_HIGH_BYTES, LINE_ENDLESS_BYTES, LINE_MAX_BYTES, LIST_PIECE_BYTES, OUTPUT_HIGH_BYTES,
    OUTPUT_LOW_BYTES, SPARE_BUFFERS, SPARE_BYTES,
};

/// How a line ends; its reply ends the same way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eol {
    Lf,
    CrLf,
}

impl Eol {
    /// The bytes of the ending.
    pub fn as_str(self) -> &'static str {
        match self {
            Eol::Lf => "\n",
            Eol::CrLf => "\r\n",
        }
    }
}

/// What the input holds next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A line without its ending: where it lies, for [`Conn::line`].
    Line(Range<usize>),
    /// A line over [`LINE_MAX_BYTES`] has ended; it was dropped.
    TooLong,
    /// [`LINE_ENDLESS_BYTES`] without an ending: this peer cannot be talked to.
    Endless,
    /// The input ended within a line.
    Cut,
    /// Ctrl-D at the start of a line.
    EndOfTransmission,
    /// The first byte is that of a TLS handshake.
    Tls,
}

/// Text that is made while it is sent: a list that may be long.
pub trait ReplyStream {
    /// Appends about `bytes` of text; `false` when that was the last of it.
    fn fill(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool;

    /// Returns the bytes of memory that it keeps, which count towards the bound over all
    /// connections. May include shared memory, so that the sum is never too small.
    fn retained_bytes(&self) -> usize {
        0
    }

    /// Of what age the names are that it keeps in memory.
    fn name_epoch(&self) -> u64 {
        u64::MAX
    }
}

/// What is on its way in and out of a connection. Who says nothing and is owed nothing has
/// none, which is most of what such a one would weigh.
#[derive(Debug, Default)]
struct Buffers {
    /// Bytes after the telnet filter; those before `taken` are done with.
    input: Vec<u8>,
    taken: usize,
    /// Up to here there is no LF.
    searched: usize,
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
}

impl Buffers {
    /// Bytes that were received and are not done with.
    fn unread(&self) -> usize {
        self.input.len() - self.taken
    }

    /// Bytes that are to be sent.
    fn pending(&self) -> usize {
        self.output.len() - self.sent
    }

    fn is_empty(&self) -> bool {
        self.unread() == 0 && self.pending() == 0
    }

    fn clear(&mut self) {
        self.input.clear();
        self.output.clear();
        (self.taken, self.searched, self.sent) = (0, 0, 0);
    }

    /// Returns the start of the line that is still being received.
    fn open_line(&self) -> usize {
        let unread = &self.input[self.taken..];
        self.taken + memchr::memrchr(b'\n', unread).map_or(0, |lf| lf + 1)
    }

    /// Removes the last character of the open line (telnet's EC).
    fn erase_character(&mut self) {
        let is_first = |byte: &u8| !matches!(byte, 0x80..=0xBF);
        let start = self.open_line();
        let last = self.input[start..].iter().rposition(is_first).unwrap_or(0);
        self.cut_back(start + last);
    }

    /// Removes the open line (telnet's EL).
    fn erase_line(&mut self) {
        self.cut_back(self.open_line());
    }

    fn cut_back(&mut self, len: usize) {
        self.input.truncate(len);
        self.searched = self.searched.min(len);
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        self.searched = self.taken;
    }
}

/// Buffers that no connection needs at the moment: a few, so that those who talk do
/// not ask the system's allocator at every line.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they go from one to the other as they are")]
pub struct BufferPool(Vec<Box<Buffers>>);

impl BufferPool {
    fn put(&mut self, mut buffers: Box<Buffers>) {
        let is_small = buffers.input.capacity().max(buffers.output.capacity()) <= SPARE_BYTES;
        if is_small && self.0.len() < SPARE_BUFFERS {
            buffers.clear();
            self.0.push(buffers);
        }
    }
}

/// Where the telnet filter stands (RFC 854).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Telnet {
    Data,
    /// After IAC.
    Command,
    /// After IAC and this WILL, WONT, DO or DONT.
    Option(u8),
    /// In a subnegotiation.
    Sub,
    /// In a subnegotiation, after IAC.
    SubCommand,
}

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const EL: u8 = 248;
const EC: u8 = 247;
const IP: u8 = 244;
const SE: u8 = 240;

const END_OF_TRANSMISSION: u8 = 4;
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection: a stream and what is on its way in and out.
pub struct Conn<S> {
    stream: S,
    /// None where they would be empty, but in between.
    buffers: Option<Box<Buffers>>,
    /// Bytes of an over-long line that were dropped so far; 0 when there is none.
    dropped: usize,
    source: Option<Box<dyn ReplyStream>>,
    telnet: Telnet,
    eol: Eol,
    last_dropped: u8,
    /// Nothing was taken yet.
    fresh: bool,
    readable: bool,
    writable: bool,
    /// The poll has said that the peer's side is closed: a short read does
    /// then not mean that the socket is empty.
    read_closed: bool,
    /// Whether urgent data has arrived at least once. A read stops at the urgent mark, so a short
    /// read no longer means that the socket is empty.
    urgent: bool,
    eof: bool,
    /// Where in the input IAC IP has come last (Ctrl-C in telnet).
    interrupted: Option<u32>,
}

impl<S> Conn<S> {
    /// A connection that is taken to be ready until a call says otherwise.
    pub fn new(stream: S) -> Conn<S> {
        Conn {
            stream,
            buffers: None,
            dropped: 0,
            source: None,
            telnet: Telnet::Data,
            eol: Eol::Lf,
            last_dropped: 0,
            fresh: true,
            readable: true,
            writable: true,
            read_closed: false,
            urgent: false,
            eof: false,
            interrupted: None,
        }
    }

    /// The stream, to register it.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The poll says that reading may give something.
    pub fn set_readable(&mut self, read_closed: bool) {
        self.readable = true;
        self.read_closed |= read_closed;
    }

    /// Marks the stream as carrying urgent data, for good.
    pub fn set_urgent(&mut self) {
        self.readable = true;
        self.urgent = true;
    }

    /// The poll says that writing may go on.
    pub fn set_writable(&mut self) {
        self.writable = true;
    }

    /// Whether the peer has closed its side and everything of it was read.
    pub fn is_eof(&self) -> bool {
        self.eof
    }

    /// Whether the poll has said that the peer's side is closed; something of
    /// what it sent may be unread.
    pub fn is_read_closed(&self) -> bool {
        self.read_closed
    }

    fn buffers(&mut self) -> &mut Buffers {
        self.buffers.get_or_insert_default()
    }

    /// Bytes that were received and are not done with.
    fn unread(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.unread())
    }

    /// Whether the peer has interrupted, since the last call, what the last
    /// line that was taken has begun: an interrupt before that line was for
    /// something else.
    pub fn take_interrupt(&mut self) -> bool {
        let taken = self.buffers.as_ref().map_or(0, |buffers| buffers.taken);
        self.interrupted.take().is_some_and(|at| at as usize >= taken)
    }

    /// The ending of the line that was taken last.
    pub fn eol(&self) -> Eol {
        self.eol
    }

    /// Bytes of output that wait for the peer; the rest of a list not counted.
    pub fn pending(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.pending())
    }

    /// Whether everything that was said to the peer is sent.
    pub fn is_flushed(&self) -> bool {
        self.pending() == 0 && self.source.is_none()
    }

    /// Whether the next line may be run: replies go in order, so not during
    /// a list, and not for a peer that does not take what it asked for.
    pub fn may_run(&self) -> bool {
        self.source.is_none() && self.pending() < OUTPUT_HIGH_BYTES
    }

    /// Whether a read makes sense now: the socket may have something, and
    /// there is room for it.
    pub fn wants_read(&self) -> bool {
        self.readable
            && !self.eof
            && self.pending() < OUTPUT_HIGH_BYTES
            && self.unread() < INPUT_HIGH_BYTES
    }

    /// Whether a write makes sense now.
    pub fn wants_write(&self) -> bool {
        self.writable && !self.is_flushed()
    }

    /// Returns whether the peer has read everything written to it, as far as is known.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether output has sunk so far that a paused peer is taken up again.
    pub fn is_drained(&self) -> bool {
        self.source.is_none() && self.pending() <= OUTPUT_LOW_BYTES
    }

    /// Returns whether this connection keeps memory for input, output or a list.
    pub fn keeps_memory(&self) -> bool {
        self.buffers.is_some() || self.source.is_some()
    }

    /// Returns the bytes of memory that this connection keeps for input, output and its list.
    pub fn retained_bytes(&self) -> usize {
        let buffers = self.buffers.as_ref().map_or(0, |buffers| {
            size_of::<Buffers>() + buffers.input.capacity() + buffers.output.capacity()
        });
        buffers + self.source.as_ref().map_or(0, |source| source.retained_bytes())
    }

    /// Drops all unread input and unsent output, because the connection is not used any more.
    pub fn abandon(&mut self) {
        self.buffers = None;
        self.source = None;
    }

    /// Returns whether input is left that has not been run.
    pub fn has_input(&self) -> bool {
        self.unread() > 0
    }

    /// Of what age the names are that the list under way keeps in memory.
    pub fn list_name_epoch(&self) -> Option<u64> {
        self.source.as_ref().map(|source| source.name_epoch())
    }

    /// The output, to append a reply.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.buffers().output
    }

    /// Sends a list next, after what is in the output.
    pub fn set_source(&mut self, source: Box<dyn ReplyStream>) {
        debug_assert!(self.source.is_none(), "a list within a list");
        self.source = Some(source);
        self.refill();
    }

    /// The bytes of a line that [`Conn::next_frame`] has found, with the
    /// output for its reply.
    pub fn line(&mut self, at: Range<usize>) -> (&[u8], &mut Vec<u8>) {
        let buffers = self.buffers();
        (&buffers.input[at], &mut buffers.output)
    }

    /// Puts back the line that [`Conn::next_frame`] found at `start`. The next call finds it again.
    pub fn put_back(&mut self, start: usize) {
        let buffers = self.buffers();
        buffers.taken = start;
        buffers.searched = start;
    }

    /// Forgets what was received and not run.
    pub fn drop_input(&mut self) {
        let Some(buffers) = &mut self.buffers else { return };
        let taken = std::mem::take(&mut buffers.taken);
        buffers.searched = 0;
        buffers.input = Vec::new();
        self.keep_interrupt(taken);
    }

    /// What is left of an interrupt when input is let go of that was taken so far.
    fn keep_interrupt(&mut self, taken: usize) {
        self.interrupted = self.interrupted.filter(|at| *at as usize >= taken).map(|_| 0);
    }

    /// Takes the next line, or what stands in its place; `None` when there
    /// is no whole one. The range is good until the next read.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let buffers = self.buffers.get_or_insert_default();
        if let (Some(first), 0) = (buffers.input.get(buffers.taken), self.dropped) {
            let fresh = std::mem::replace(&mut self.fresh, false);
            if fresh && *first == TLS_HANDSHAKE {
                return Some(Frame::Tls);
            }
            if *first == END_OF_TRANSMISSION {
                buffers.take(1);
                return Some(Frame::EndOfTransmission);
            }
        }
        match find_lf(&buffers.input, buffers.searched) {
            Some(lf) => Some(self.take_line(lf)),
            None => self.no_line(),
        }
    }

    fn take_line(&mut self, lf: usize) -> Frame {
        let buffers = self.buffers.get_or_insert_default();
        let start = buffers.taken;
        let before = if lf > start { buffers.input[lf - 1] } else { self.last_dropped };
        let has_cr = before == b'\r' && (lf > start || self.dropped > 0);
        self.eol = if has_cr { Eol::CrLf } else { Eol::Lf };
        buffers.take(lf + 1 - start);
        let end = if has_cr && lf > start { lf - 1 } else { lf };
        let was_dropped = std::mem::take(&mut self.dropped);
        self.last_dropped = 0;
        // The CR of the ending may have been dropped with the line.
        let length = was_dropped + end - start - usize::from(has_cr && lf == start);
        match length {
            _ if length > LINE_ENDLESS_BYTES => Frame::Endless,
            _ if was_dropped > 0 || length > LINE_MAX_BYTES => Frame::TooLong,
            _ => Frame::Line(start..end),
        }
    }

    /// There is no LF in the input: drop what can only be too long, see
    /// whether it will ever end.
    fn no_line(&mut self) -> Option<Frame> {
        let buffers = self.buffers.get_or_insert_default();
        let rest = buffers.unread();
        buffers.searched = buffers.input.len();
        // One more than a line may have: a CR that may belong to the ending.
        if self.dropped > 0 || rest > LINE_MAX_BYTES + 1 {
            self.dropped += rest;
            self.last_dropped = buffers.input.last().copied().unwrap_or(self.last_dropped);
            self.drop_input();
        }
        // A CR may still turn out to be part of the ending.
        if self.dropped > LINE_ENDLESS_BYTES + usize::from(self.last_dropped == b'\r') {
            return Some(Frame::Endless);
        }
        if !self.eof {
            return None;
        }
        if std::mem::take(&mut self.dropped) > 0 {
            return Some(Frame::TooLong);
        }
        let buffers = self.buffers();
        let is_blank = buffers.input[buffers.taken..].iter().all(|b| matches!(b, b' ' | b'\t'));
        self.drop_input();
        (!is_blank).then_some(Frame::Cut)
    }

    /// Makes the next piece of the list under way, if there is room.
    fn refill(&mut self) {
        while let Some(source) = &mut self.source {
            let buffers = self.buffers.get_or_insert_default();
            let room = LIST_PIECE_BYTES.saturating_sub(buffers.pending());
            if room == 0 {
                return;
            }
            if !source.fill(room, &mut buffers.output) {
                self.source = None;
            }
        }
    }

    /// Takes memory for what is about to come from others that do not need theirs.
    pub fn acquire(&mut self, spare: &mut BufferPool) {
        if self.buffers.is_none() {
            self.buffers = spare.0.pop();
        }
    }

    /// Lets go of memory that is not needed: of the buffers, when nothing is on its way, and
    /// of what is done with in them.
    pub fn release(&mut self, spare: &mut BufferPool) {
        if let Some(buffers) = self.buffers.take_if(|buffers| buffers.is_empty()) {
            self.keep_interrupt(buffers.taken);
            return spare.put(buffers);
        }
        let Some(buffers) = &mut self.buffers else { return };
        if buffers.pending() == 0 {
            buffers.output = Vec::new();
            buffers.sent = 0;
        } else if buffers.sent >= buffers.pending() {
            // A reader that never quite catches up must not make it grow for
            // ever; only this late, moving costs less than the sending did.
            drop_front(&mut buffers.output, buffers.sent);
            buffers.sent = 0;
        }
        if buffers.unread() == 0 {
            self.drop_input();
        } else if buffers.taken > 0 {
            drop_front(&mut buffers.input, buffers.taken);
            let taken = buffers.taken as u32;
            self.interrupted = self.interrupted.and_then(|at| at.checked_sub(taken));
            buffers.searched -= buffers.taken;
            buffers.taken = 0;
        }
    }
}

impl<S: Read> Conn<S> {
    /// Reads once, at most `scratch` bytes, through the telnet filter.
    /// Returns how many bytes came; 0 for none now or none any more.
    ///
    /// # Errors
    /// Any but would-block and interrupted: the connection is dead.
    pub fn fill(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let count = match self.stream.read(scratch) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        if count == 0 {
            self.eof = true;
        } else if count < scratch.len() && !self.read_closed && !self.urgent {
            // The read has emptied the socket. More data will cause an event.
            self.readable = false;
        }
        let output = &mut self.buffers().output;
        if output.is_empty() {
            // Room at once for what such lines are mostly answered with.
            output.reserve(2 * count);
        }
        self.filter(&scratch[..count]);
        Ok(count)
    }

    fn filter(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.telnet == Telnet::Data {
                let plain = memchr::memchr(IAC, bytes).unwrap_or(bytes.len());
                self.buffers().input.extend_from_slice(&bytes[..plain]);
                bytes = &bytes[plain..];
                if !bytes.is_empty() {
                    self.telnet = Telnet::Command;
                    bytes = &bytes[1..];
                }
            } else {
                self.telnet = self.telnet_byte(*first);
                bytes = rest;
            }
        }
    }

    /// One byte of a telnet sequence. Every offer and demand is declined,
    /// also DO TIMING-MARK, after which telnet shows output again; refusals
    /// are not answered, for that could go on for ever.
    fn telnet_byte(&mut self, byte: u8) -> Telnet {
        match (self.telnet, byte) {
            (Telnet::Command, WILL | WONT | DO | DONT) => Telnet::Option(byte),
            (Telnet::Command, SB) => Telnet::Sub,
            (Telnet::Command, IAC) => {
                self.buffers().input.push(IAC);
                Telnet::Data
            }
            (Telnet::Command, byte) => {
                match byte {
                    // Input is far from so long: see the module's page.
                    IP => self.interrupted = Some(self.buffers().input.len() as u32),
                    EC => self.buffers().erase_character(),
                    EL => self.buffers().erase_line(),
                    _ => {}
                }
                Telnet::Data
            }
            (Telnet::Option(DO), option) => {
                self.out().extend_from_slice(&[IAC, WONT, option]);
                Telnet::Data
            }
            (Telnet::Option(WILL), option) => {
                self.out().extend_from_slice(&[IAC, DONT, option]);
                Telnet::Data
            }
            (Telnet::Option(_), _) => Telnet::Data,
            (Telnet::Sub, IAC) => Telnet::SubCommand,
            (Telnet::SubCommand, SE) => Telnet::Data,
            (Telnet::Sub | Telnet::SubCommand, _) => Telnet::Sub,
            (Telnet::Data, _) => unreachable!("the filter copies data itself"),
        }
    }
}

impl<S: Write> Conn<S> {
    /// Writes until everything is sent, the socket is full, or `share` bytes
    /// went. Returns how many did.
    ///
    /// # Errors
    /// Any but would-block and interrupted: the connection is dead.
    pub fn flush(&mut self, share: usize) -> io::Result<usize> {
        let mut total = 0;
        while self.wants_write() && total < share {
            let buffers = self.buffers.get_or_insert_default();
            let end = buffers.output.len().min(buffers.sent + share - total);
            match self.stream.write(&buffers.output[buffers.sent..end]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    buffers.sent += count;
                    total += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(error),
            }
            if buffers.pending() == 0 {
                buffers.output.clear();
                buffers.sent = 0;
                self.refill();
            }
        }
        Ok(total)
    }
}

/// Takes `count` bytes off the front, and the memory with them once that is
/// the most of it: half a line must not keep what a burst has needed.
fn drop_front(buffer: &mut Vec<u8>, count: usize) {
    buffer.drain(..count);
    if buffer.capacity() / 4 > buffer.len() {
        buffer.shrink_to_fit();
    }
}

fn find_lf(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at)
}

#[cfg(test)]
mod tests;

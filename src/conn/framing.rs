//! Framing: splits the input of a connection into lines.

use std::ops::Range;

use super::buffers::Input;
use super::telnet::Telnet;
use crate::limits::{LINE_ENDLESS_BYTES, LINE_MAX_BYTES};

const END_OF_TRANSMISSION: u8 = 4;
const TLS_HANDSHAKE: u8 = 0x16;

/// The ending of a line. The reply to a line has the same ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eol {
    Lf,
    CrLf,
}

impl Eol {
    /// Returns the bytes of the ending.
    pub fn as_str(self) -> &'static str {
        match self {
            Eol::Lf => "\n",
            Eol::CrLf => "\r\n",
        }
    }
}

/// The next unit of input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// The position of a line without its ending, for [`Conn::line`](super::Conn::line).
    Line(Range<usize>),
    /// A line longer than [`LINE_MAX_BYTES`], which was dropped.
    TooLong,
    /// [`LINE_ENDLESS_BYTES`] without an ending. The peer does not speak this protocol.
    Endless,
    /// The input ended within a line.
    Cut,
    /// Ctrl-D at the start of a line.
    EndOfTransmission,
    /// The first byte of the connection is that of a TLS handshake.
    Tls,
}

/// The state of the line protocol between two frames.
#[derive(Debug)]
pub(super) struct Framing {
    pub telnet: Telnet,
    eol: Eol,
    /// The number of bytes dropped so far of a line that is too long; 0 without such a line.
    dropped: usize,
    last_dropped: u8,
    /// Whether no frame was returned yet.
    fresh: bool,
}

impl Framing {
    pub fn new() -> Framing {
        Framing { telnet: Telnet::new(), eol: Eol::Lf, dropped: 0, last_dropped: 0, fresh: true }
    }

    /// Returns the ending of the last line.
    pub fn eol(&self) -> Eol {
        self.eol
    }

    /// Takes the next frame; `None` if none is complete.
    #[inline]
    pub fn next_frame(&mut self, input: &mut Input, is_eof: bool) -> Option<Frame> {
        if let (Some(first), 0) = (input.rest().first(), self.dropped) {
            let fresh = std::mem::replace(&mut self.fresh, false);
            if fresh && *first == TLS_HANDSHAKE {
                return Some(Frame::Tls);
            }
            if *first == END_OF_TRANSMISSION {
                input.take_to(input.position() + 1);
                return Some(Frame::EndOfTransmission);
            }
        }
        match input.find_line_feed() {
            Some(lf) => Some(self.take_line(input, lf)),
            None => self.no_line(input, is_eof),
        }
    }

    /// Takes the line that ends with the line feed at `lf`.
    fn take_line(&mut self, input: &mut Input, lf: usize) -> Frame {
        let start = input.position();
        let before = if lf > start { input.byte(lf - 1) } else { self.last_dropped };
        let has_cr = before == b'\r' && (lf > start || self.dropped > 0);
        self.eol = if has_cr { Eol::CrLf } else { Eol::Lf };
        input.take_to(lf + 1);
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

    /// Handles input without a line feed: drops a line that is already too long, and reports one
    /// that has no end.
    fn no_line(&mut self, input: &mut Input, is_eof: bool) -> Option<Frame> {
        input.set_searched();
        let rest = input.unread();
        // One byte more than a line may have, because a CR may belong to the ending.
        if self.dropped > 0 || rest > LINE_MAX_BYTES + 1 {
            self.dropped += rest;
            self.last_dropped = input.rest().last().copied().unwrap_or(self.last_dropped);
            self.drop_input(input);
        }
        if self.dropped > LINE_ENDLESS_BYTES + usize::from(self.last_dropped == b'\r') {
            return Some(Frame::Endless);
        }
        if !is_eof {
            return None;
        }
        if std::mem::take(&mut self.dropped) > 0 {
            return Some(Frame::TooLong);
        }
        let is_blank = input.rest().iter().all(|byte| matches!(byte, b' ' | b'\t'));
        self.drop_input(input);
        (!is_blank).then_some(Frame::Cut)
    }

    /// Drops all input.
    pub fn drop_input(&mut self, input: &mut Input) {
        self.telnet.input_dropped(input.position());
        input.drop_all();
    }
}

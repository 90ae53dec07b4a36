//! A non-blocking stream and its readiness.
//!
//! The poll is edge-triggered: it reports readiness once. The transport remembers it until a call
//! would block.

use std::io::{self, ErrorKind, Read, Write};

/// A stream and its readiness.
pub(super) struct Transport<S> {
    stream: S,
    readable: bool,
    writable: bool,
    /// Whether the poll has reported that the peer closed its side. A short read then does not mean
    /// that the socket is empty.
    read_closed: bool,
    /// Whether the poll has reported that nothing reaches the peer any more. It does so only once.
    write_closed: bool,
    /// Whether urgent data has arrived at least once. A read stops at the urgent mark, so a short
    /// read no longer means that the socket is empty.
    urgent: bool,
    eof: bool,
}

impl<S> Transport<S> {
    /// Returns a transport that counts as ready until a call would block.
    pub fn new(stream: S) -> Transport<S> {
        Transport {
            stream,
            readable: true,
            writable: true,
            read_closed: false,
            write_closed: false,
            urgent: false,
            eof: false,
        }
    }

    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Records that a read may return something.
    pub fn set_readable(&mut self, read_closed: bool) {
        self.readable = true;
        self.read_closed |= read_closed;
    }

    /// Records that urgent data has arrived. This holds for good.
    pub fn set_urgent(&mut self) {
        self.readable = true;
        self.urgent = true;
    }

    /// Records that a write may accept something.
    pub fn set_writable(&mut self) {
        self.writable = true;
    }

    /// Records that nothing reaches the peer any more.
    pub fn set_write_closed(&mut self) {
        self.writable = true;
        self.write_closed = true;
    }

    /// Returns whether a read may return something.
    pub fn is_readable(&self) -> bool {
        self.readable && !self.eof
    }

    /// Returns whether a write may accept something.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Returns whether the poll has reported that the peer closed its side.
    pub fn is_read_closed(&self) -> bool {
        self.read_closed
    }

    /// Returns whether the poll has reported that nothing reaches the peer any more.
    pub fn is_write_closed(&self) -> bool {
        self.write_closed
    }

    /// Returns whether the peer has closed its side and all of its input was read.
    pub fn is_eof(&self) -> bool {
        self.eof
    }
}

impl<S: Read> Transport<S> {
    /// Reads once and returns the number of bytes. Returns 0 at the end of input and when nothing
    /// has arrived.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
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
        Ok(count)
    }
}

impl<S: Write> Transport<S> {
    /// Writes once and returns the number of bytes, which is 0 if the write would block or was
    /// interrupted.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

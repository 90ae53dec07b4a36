//! A simulated socket. Sent data arrives in pieces of any size, and the client reads when it likes.
//! Each call may be short, be interrupted, block, or find that the peer has closed. Events are
//! reported once, as by an edge-triggered poll.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use reservad::service::{Ready, Stream};

use super::journal_end;
use support::Rng;
use support::sim_disk::SimDisk;

/// A connection with both of its ends.
pub struct Wire {
    rng: Rng,
    /// Whether reads and writes are sometimes short, interrupted or blocked.
    moody: bool,
    /// Sent by the client and not arrived yet.
    up: VecDeque<u8>,
    arrived: VecDeque<u8>,
    /// Whether the client has closed its side.
    fin: bool,
    fin_arrived: bool,
    /// Whether the client has closed, so that any write is answered with a reset.
    closed: bool,
    reset: bool,
    /// The number of bytes that the server can write before it would block.
    room: usize,
    is_full: bool,
    /// The number of bytes written and not read by the client.
    unread: usize,
    /// The output that was not checked yet, in pieces with the last event on disk at the time of
    /// the write. A turn that flushes in batches writes at several times.
    written: Vec<(Vec<u8>, u64)>,
    /// The number of disk steps at the last write.
    disk_steps: u64,
    /// The events that the poll will report.
    ready: Ready,
    pub server_shut: bool,
    pub server_gone: bool,
    pub probed: usize,
    pub interruptions: usize,
}

impl Wire {
    pub fn new(rng: Rng, moody: bool, room: usize) -> Wire {
        Wire {
            rng,
            moody,
            up: VecDeque::new(),
            arrived: VecDeque::new(),
            fin: false,
            fin_arrived: false,
            closed: false,
            reset: false,
            room,
            is_full: false,
            unread: 0,
            written: Vec::new(),
            disk_steps: 0,
            ready: Ready::default(),
            server_shut: false,
            server_gone: false,
            probed: 0,
            interruptions: 0,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.up.extend(bytes);
    }

    /// Closes the side of the client.
    pub fn finish(&mut self) {
        self.fin = true;
    }

    /// Closes the connection. To the server it is a half-close until it writes.
    pub fn close(&mut self) {
        self.fin = true;
        self.closed = true;
    }

    pub fn reset(&mut self) {
        self.reset = true;
        self.ready.readable = true;
        self.ready.read_closed = true;
        self.ready.write_closed = true;
        self.ready.error = true;
    }

    /// Stops all short, interrupted and blocked calls.
    pub fn stop_faults(&mut self) {
        self.moody = false;
        self.room = self.room.max(1 << 20);
    }

    pub fn is_finished(&self) -> bool {
        self.fin || self.reset
    }

    /// Lets up to `most` sent bytes arrive, and after the last one the end of the stream.
    pub fn deliver(&mut self, most: usize) {
        let count = most.min(self.up.len());
        if count > 0 {
            self.arrived.extend(self.up.drain(..count));
            self.ready.readable = true;
        }
        if self.fin && self.up.is_empty() && !self.fin_arrived {
            self.fin_arrived = true;
            self.ready.readable = true;
            self.ready.read_closed = true;
        }
    }

    /// Lets the client read up to `most` bytes.
    pub fn take(&mut self, most: usize) {
        let count = most.min(self.unread);
        self.unread -= count;
        self.room += count;
        if self.is_full && self.room > 0 && most > 0 {
            self.is_full = false;
            self.ready.writable = true;
        }
    }

    /// Takes the output since the last call, in pieces with the last event on disk at that time.
    pub fn judge(&mut self) -> Vec<(Vec<u8>, u64)> {
        std::mem::take(&mut self.written)
    }

    /// Takes the events of the poll.
    pub fn take_ready(&mut self) -> Ready {
        std::mem::take(&mut self.ready)
    }

    pub fn is_quiet(&self) -> bool {
        self.up.is_empty() && self.unread == 0 && self.ready == Ready::default()
    }
}

/// The server's end of a connection.
pub struct End {
    pub wire: Rc<RefCell<Wire>>,
    pub disk: SimDisk,
    /// Whether the policy guarantees written data only, without a sync.
    pub lax: bool,
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.wire.borrow_mut();
        if wire.reset && wire.arrived.is_empty() {
            // After the end of the stream a read does not report a reset.
            return if wire.fin_arrived { Ok(0) } else { Err(ErrorKind::ConnectionReset.into()) };
        }
        if wire.moody && wire.rng.one_in(12) {
            wire.interruptions += 1;
            return Err(ErrorKind::Interrupted.into());
        }
        if wire.arrived.is_empty() {
            return if wire.fin_arrived { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let mut count = buf.len().min(wire.arrived.len());
        if wire.moody && wire.rng.one_in(3) {
            // As if the rest had arrived just after the read.
            count = if wire.rng.one_in(2) { 1 } else { 1 + wire.rng.below(count) };
        }
        for (to, from) in buf.iter_mut().zip(wire.arrived.drain(..count)) {
            *to = from;
        }
        wire.ready.readable |= !wire.arrived.is_empty();
        Ok(count)
    }
}

impl Write for End {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let wire = &mut *self.wire.borrow_mut();
        if !self.disk.spend_step() {
            // Without power nothing is sent.
            return Ok(data.len());
        }
        if wire.reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if wire.closed {
            wire.reset();
            return Ok(data.len());
        }
        if wire.moody && wire.rng.one_in(12) {
            wire.interruptions += 1;
            return Err(ErrorKind::Interrupted.into());
        }
        if wire.moody && wire.rng.one_in(12) {
            wire.ready.writable = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if wire.room == 0 {
            wire.is_full = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut count = data.len().min(wire.room);
        if wire.moody && wire.rng.one_in(3) {
            count = 1 + wire.rng.below(count);
        }
        let data = &data[..count];
        let steps = self.disk.steps();
        match wire.written.last_mut() {
            Some((last, _)) if wire.disk_steps == steps => last.extend_from_slice(data),
            _ => wire.written.push((data.to_vec(), journal_end(&self.disk, !self.lax))),
        }
        wire.disk_steps = steps;
        wire.room -= count;
        wire.unread += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    fn shutdown_write(&mut self) -> io::Result<()> {
        let wire = &mut *self.wire.borrow_mut();
        if wire.reset {
            return Err(ErrorKind::NotConnected.into());
        }
        wire.server_shut = true;
        Ok(())
    }

    fn probe(&mut self) {
        let wire = &mut *self.wire.borrow_mut();
        wire.probed += 1;
        if wire.closed {
            wire.reset();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.wire.borrow_mut().server_gone = true;
    }
}

//! A socket without a network: what the client has sent arrives in pieces of
//! any size, what the server writes is taken when the client likes, and each
//! call may be short, be interrupted, would block, or find the peer gone. The
//! events are those of an edge-triggered poll: told once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use reservad::service::{Ready, Stream};

use super::journal_end;
use support::Rng;
use support::sim_disk::SimDisk;

/// Both ends of a connection and what is between them.
pub struct Wire {
    rng: Rng,
    /// Reads and writes are short, interrupted, or would block for no reason.
    moody: bool,
    /// Sent by the client, not there yet.
    up: VecDeque<u8>,
    arrived: VecDeque<u8>,
    /// The client has shut its side, after what it has sent.
    fin: bool,
    fin_arrived: bool,
    /// The client has closed: whatever is written to it is answered with a reset.
    closed: bool,
    reset: bool,
    /// How much more the server can write before it would block.
    room: usize,
    is_full: bool,
    /// Written and not taken by the client.
    unread: usize,
    /// Written and not judged: pieces, each with the last event that was on disk when it
    /// was written. A turn that answers in shares writes at several such moments.
    written: Vec<(Vec<u8>, u64)>,
    /// How much the disk had done at the last of them.
    disk_steps: u64,
    /// The events of a poll that are to be told.
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

    /// The client shuts its side.
    pub fn finish(&mut self) {
        self.fin = true;
    }

    /// The client is gone: to the server that is a half-close until it writes.
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

    /// From now on all goes at once.
    pub fn be_kind(&mut self) {
        self.moody = false;
        self.room = self.room.max(1 << 20);
    }

    pub fn is_finished(&self) -> bool {
        self.fin || self.reset
    }

    /// Lets up to `most` bytes of what was sent arrive, and after all of it the end.
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

    /// The client takes up to `most` bytes.
    pub fn take(&mut self, most: usize) {
        let count = most.min(self.unread);
        self.unread -= count;
        self.room += count;
        if self.is_full && self.room > 0 && most > 0 {
            self.is_full = false;
            self.ready.writable = true;
        }
    }

    /// What was written since the last call, each piece with the last event that was on
    /// disk then.
    pub fn judge(&mut self) -> Vec<(Vec<u8>, u64)> {
        std::mem::take(&mut self.written)
    }

    /// What the poll has to tell, once.
    pub fn take_ready(&mut self) -> Ready {
        std::mem::take(&mut self.ready)
    }

    pub fn is_quiet(&self) -> bool {
        self.up.is_empty() && self.unread == 0 && self.ready == Ready::default()
    }
}

/// The server's end.
pub struct End {
    pub wire: Rc<RefCell<Wire>>,
    pub disk: SimDisk,
    /// Promises are of what is written, not of what is synced.
    pub lax: bool,
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.wire.borrow_mut();
        if wire.reset && wire.arrived.is_empty() {
            // After the end of the input a reset does not show here any more.
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
            // As if the rest had come just after the read.
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
            // Nothing leaves a machine that is off.
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

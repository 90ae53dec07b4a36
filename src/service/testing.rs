//! Scripted connections and a server on them, for the unit tests of this module.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use super::{Compaction, Config, CrowdLimits, Key, Observer, Ready, Service, Step, Stream};
use crate::inventory::{Origin, SessionId};
use crate::journal::DiskStorage;
use crate::limits::OUTPUT_MEMORY_DEFAULT;
use crate::time::{MonotonicMs, Time};

/// A server that records its steps.
pub type Server = Service<Peer, DiskStorage, Recorder>;

/// The steps since they were last taken.
#[derive(Default)]
pub struct Recorder(Vec<Step>);

impl Recorder {
    pub fn take(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.0)
    }
}

impl Observer for Recorder {
    fn note(&mut self, step: Step) {
        self.0.push(step);
    }
}

/// The state of a connection's other end.
pub struct End {
    /// Bytes sent to the server that it has not read.
    sent: Vec<u8>,
    /// Text received from the server.
    received: String,
    /// Whether the connection is lost.
    is_lost: bool,
    /// Bytes that it still accepts.
    accepts: usize,
}

/// A stream. A clone of it is its other end.
#[derive(Clone)]
pub struct Peer(Rc<RefCell<End>>);

impl Peer {
    pub fn new() -> Peer {
        let end =
            End { sent: Vec::new(), received: String::new(), is_lost: false, accepts: usize::MAX };
        Peer(Rc::new(RefCell::new(end)))
    }

    /// Sends text to the server.
    pub fn send(&self, line: &str) {
        self.0.borrow_mut().sent.extend_from_slice(line.as_bytes());
    }

    /// Loses the connection.
    pub fn disconnect(&self) {
        self.0.borrow_mut().is_lost = true;
    }

    /// Sets the number of bytes that are still accepted.
    pub fn accept(&self, bytes: usize) {
        self.0.borrow_mut().accepts = bytes;
    }

    /// Returns the text received since the last call.
    pub fn received(&self) -> String {
        std::mem::take(&mut self.0.borrow_mut().received)
    }
}

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let sent = std::mem::take(&mut self.0.borrow_mut().sent);
        buf[..sent.len()].copy_from_slice(&sent);
        match self.0.borrow().is_lost {
            _ if !sent.is_empty() => Ok(sent.len()),
            true => Err(ErrorKind::ConnectionReset.into()),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let end = &mut *self.0.borrow_mut();
        if end.is_lost {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = data.len().min(end.accepts);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        end.accepts -= taken;
        end.received.push_str(str::from_utf8(&data[..taken]).unwrap());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Peer {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn probe(&mut self) {}
}

pub const NOW: (Time, MonotonicMs) = (Time::from_ms(1_795_363_200_000), MonotonicMs(1));

/// A configuration with few clients, each answered by itself.
pub fn config() -> Config {
    Config {
        max_clients: 9,
        crowd: CrowdLimits { per_address: 1000, silent_per_address: 1000, silent: 1000 },
        max_output_memory: OUTPUT_MEMORY_DEFAULT,
        idle_timeout_ms: None,
        stall_timeout_ms: 1000,
        fsync: "in-memory".to_owned(),
        compaction: Compaction::default(),
        flush_batch: 1,
    }
}

/// Runs a turn in which these connections are ready, in this order.
pub fn turn(server: &mut Server, ready: &[(Key, SessionId)]) {
    turn_at(server, NOW.1, ready);
}

/// Runs a turn at another time.
pub fn turn_at(server: &mut Server, instant: MonotonicMs, ready: &[(Key, SessionId)]) {
    server.start_turn(NOW.0.plus_ms((instant.0 - NOW.1.0) as i64), instant);
    for (key, session) in ready {
        let ready = Ready { readable: true, writable: true, ..Ready::default() };
        server.set_ready(*key, *session, ready);
    }
    server.expire_due();
    server.serve_queue().unwrap();
    server.finish_turn().unwrap();
}

/// Adds a client that has run a line, and returns it with the arguments of `set_ready`.
pub fn join(server: &mut Server) -> (Peer, (Key, SessionId)) {
    let (peer, mut place) = (Peer::new(), (0, SessionId::GONE));
    peer.send("AYUDA SALIR\n");
    server.add_client(peer.clone(), Origin::LOCAL, |_, key, session| {
        place = (key, session);
        Ok(())
    });
    turn(server, &[]);
    assert!(peer.received().starts_with("OK "));
    (peer, place)
}

//! An echo server: it reads lines and writes them back. Its throughput is the limit for any server
//! with the same loop on the same machine.
//!
//! With `answers` after the port it replies as reservad would, but looks nothing up and stores
//! nothing. That is the limit for a server whose replies have this length.
//!
//! Like reservad it has a single thread and an edge-triggered poll, and makes one read and one
//! write per ready connection and turn.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

/// The maximum that is read from a connection in one turn, as in the server.
const READ_BYTES: usize = 32 << 10;
const LISTENER: Token = Token(usize::MAX);

struct Conn {
    stream: TcpStream,
    /// Received but not yet written back: an incomplete line, or data that the peer does not read.
    kept: Vec<u8>,
    readable: bool,
    writable: bool,
    /// Whether the peer has closed its side. A short read is then not the last one.
    closed: bool,
    /// The last reply to `RESERVAR`.
    number: u64,
}

/// Replies without any state behind them.
#[derive(Default)]
struct Answering {
    number: u64,
    out: Vec<u8>,
}

impl Answering {
    /// Returns the replies to complete lines.
    fn to(&mut self, lines: &[u8], held: &mut u64) -> &[u8] {
        self.out.clear();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            let line = &lines[start..end];
            start = end + 1;
            let (verb, name) = line.split_at(memchr::memchr(b' ', line).unwrap_or(line.len()));
            let mut digits = itoa::Buffer::new();
            match verb {
                b"RESERVAR" => {
                    self.number += 1;
                    *held = self.number;
                    self.out.extend_from_slice(b"OK RESERVADO #");
                }
                b"CANCELAR" => self.out.extend_from_slice(b"OK CANCELADO #"),
                _ => {
                    let count = name.split(|byte| *byte == b',').count();
                    self.out.extend_from_slice(b"OK ALTA ");
                    self.out.extend_from_slice(digits.format(count).as_bytes());
                    self.out.push(b'\n');
                    continue;
                }
            }
            self.out.extend_from_slice(digits.format(*held).as_bytes());
            self.out.extend_from_slice(name);
            self.out.push(b'\n');
        }
        &self.out
    }
}

fn main() -> ExitCode {
    let Some(port) = std::env::args().nth(1).and_then(|text| text.parse().ok()) else {
        eprintln!("usage: echo PORT [answers]");
        return ExitCode::from(2);
    };
    let answers = std::env::args().nth(2).is_some_and(|word| word == "answers");
    match serve(port, answers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16, answers: bool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut conns: Slab<Conn> = Slab::new();
    let mut scratch = vec![0; READ_BYTES];
    // Connections with more input than one turn reads. The poll does not report them again.
    let mut again: Vec<usize> = Vec::new();
    let mut answering = Answering::default();
    loop {
        let timeout = (!again.is_empty()).then_some(std::time::Duration::ZERO);
        if let Err(error) = poll.poll(&mut events, timeout) {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
            continue;
        }
        let mut ready = std::mem::take(&mut again);
        let mut comes = false;
        for event in &events {
            comes |= event.token() == LISTENER;
            let key = event.token().0;
            if let Some(conn) = conns.get_mut(key) {
                conn.readable |= event.is_readable();
                conn.closed |= event.is_read_closed();
                conn.writable |= event.is_writable();
                ready.push(key);
            }
        }
        for key in ready {
            let Some(conn) = conns.get_mut(key) else { continue };
            match conn.turn(&mut scratch, answers.then_some(&mut answering)) {
                Ok(true) if conn.readable && conn.writable => again.push(key),
                Ok(true) => {}
                Ok(false) | Err(_) => drop(conns.remove(key)),
            }
        }
        // Only on an event, because a call that finds no client is not part of an echo. (It would
        // also make a lone client a third faster in a virtual machine, by keeping the kernel's tick
        // running.)
        if comes {
            accept(&listener, &poll, &mut conns)?;
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, conns: &mut Slab<Conn>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let entry = conns.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(entry.key()), interest)?;
        entry.insert(Conn {
            stream,
            kept: Vec::new(),
            readable: false,
            writable: true,
            closed: false,
            number: 0,
        });
    }
}

impl Conn {
    /// Makes one read and one write. Returns false when the peer has closed the connection.
    fn turn(&mut self, scratch: &mut [u8], answering: Option<&mut Answering>) -> io::Result<bool> {
        if !self.kept.is_empty() && !self.write_kept()? {
            return Ok(true);
        }
        if !self.readable {
            return Ok(true);
        }
        let count = match self.stream.read(scratch) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) => return self.handle_error(error, true),
        };
        self.readable = self.closed || count == scratch.len();
        let mut read = &scratch[..count];
        if let Some(answering) = answering {
            // The load generator sends complete lines.
            read = answering.to(read, &mut self.number);
        }
        if self.kept.is_empty() && read.ends_with(b"\n") {
            let sent = match self.stream.write(read) {
                Ok(sent) => sent,
                Err(error) => {
                    self.handle_error(error, false)?;
                    0
                }
            };
            self.kept.extend_from_slice(&read[sent..]);
            self.writable &= sent == read.len();
        } else {
            self.kept.extend_from_slice(read);
            self.write_kept()?;
        }
        Ok(true)
    }

    /// Writes the complete lines in the buffer. Returns false if some are left.
    fn write_kept(&mut self) -> io::Result<bool> {
        let end = memchr::memrchr(b'\n', &self.kept).map_or(0, |at| at + 1);
        if end == 0 {
            return Ok(true);
        }
        if !self.writable {
            return Ok(false);
        }
        let sent = match self.stream.write(&self.kept[..end]) {
            Ok(sent) => sent,
            Err(error) => self.handle_error(error, false).map(|_| 0)?,
        };
        self.writable &= sent == end;
        self.kept.drain(..sent);
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
        Ok(sent == end)
    }

    /// Turns "would block" into `Ok(true)`, which keeps the connection. An event will follow.
    fn handle_error(&mut self, error: io::Error, reading: bool) -> io::Result<bool> {
        match error.kind() {
            ErrorKind::WouldBlock if reading => self.readable = false,
            ErrorKind::WouldBlock => self.writable = false,
            ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
        Ok(true)
    }
}

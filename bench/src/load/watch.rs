//! Changes at a fixed rate, and many watchers. This is an open loop: each change has a time at
//! which it is requested whether or not the server keeps up, and latencies of notices count from
//! that time.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::drive::{Figures, Meter, histogram, record};
use crate::prepare::{Helper, connect};
use crate::talk::{Message, Pair, Talk};

const SCRATCH_BYTES: usize = 64 << 10;

struct Watcher {
    stream: TcpStream,
    /// An incomplete line.
    input: Vec<u8>,
    /// The number of the next event.
    next: u64,
}

struct Watch {
    poll: Poll,
    watchers: Vec<Watcher>,
    writer: TcpStream,
    pair: Pair,
    begun: Instant,
    /// The number of requested changes.
    asked: u64,
    /// The last event before the first change.
    base: u64,
    interval: Duration,
}

/// Makes `rate` changes per second beside `count` watchers. An operation is a change.
///
/// # Errors
/// A wrong reply or notice, or a connection that fails.
pub fn run(
    port: u16,
    count: usize,
    rate: u32,
    (warmup, measured): (Duration, Duration),
    pid: Option<u32>,
) -> Result<Figures, String> {
    let mut watch = Watch::new(port, count, rate).map_err(|error| error.to_string())?;
    watch.run_for(warmup)?;
    let meter = Meter::start(pid).map_err(|error| error.to_string())?;
    let before = watch.asked;
    let latency = watch.run_for(measured)?;
    meter.stop(watch.asked - before, latency).map_err(|error| error.to_string())
}

impl Watch {
    fn new(port: u16, count: usize, rate: u32) -> Result<Watch, String> {
        let text = |error: std::io::Error| error.to_string();
        Helper::new(port)?.add_rooms(1)?;
        let poll = Poll::new().map_err(text)?;
        let mut watchers = Vec::new();
        let mut base = 0;
        for key in 0..count {
            let mut socket = connect(port)?;
            base = begin(&mut socket)?;
            let stream = register(socket, key, &poll).map_err(text)?;
            watchers.push(Watcher { stream, input: Vec::new(), next: base + 1 });
        }
        let writer = register(connect(port)?, count, &poll).map_err(text)?;
        let pair = Pair::new("Habitación 1", "Habitación 1");
        let interval = Duration::from_secs(1) / rate;
        let begun = Instant::now();
        Ok(Watch { poll, watchers, writer, pair, begun, asked: 0, base, interval })
    }

    /// Makes changes for a time and returns the latencies of the notices received meanwhile.
    fn run_for(&mut self, time: Duration) -> Result<hdrhistogram::Histogram<u64>, String> {
        let end = Instant::now() + time;
        let mut latency = histogram();
        let mut events = Events::with_capacity(1024);
        while Instant::now() < end {
            self.change()?;
            // No sleep: this process has the processor to itself, and a timeout is not exact
            // enough.
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => done.map_err(|error| format!("the poll failed: {error}"))?,
            }
            for event in events.iter().filter(|event| event.is_readable()) {
                match self.watchers.get_mut(event.token().0) {
                    Some(watcher) => {
                        let (begun, interval, base) = (self.begun, self.interval, self.base);
                        watcher.receive(&mut |number| {
                            let due = begun + interval * (number - base - 1) as u32;
                            record(&mut latency, due.elapsed(), 1);
                        })?;
                    }
                    None => self.receive()?,
                }
            }
        }
        Ok(latency)
    }

    /// Requests the changes that are due.
    fn change(&mut self) -> Result<(), String> {
        let mut lines = Vec::new();
        while self.begun + self.interval * self.asked as u32 <= Instant::now() {
            self.pair.ask(&mut lines);
            self.asked += 1;
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.writer.write_all(&lines).map_err(|error| format!("writing failed: {error}"))
    }

    /// Reads the replies to the changes. An incomplete line is an error. It needs no buffer,
    /// because it cannot occur as long as the server keeps up.
    fn receive(&mut self) -> Result<(), String> {
        let mut scratch = [0; SCRATCH_BYTES];
        let Some(count) = read(&mut self.writer, &mut scratch)? else { return Ok(()) };
        let mut rest = &scratch[..count];
        while !rest.is_empty() {
            match self.pair.receive(rest)? {
                (_, Message::Part) => return Err("half a reply".to_owned()),
                (used, _) => rest = &rest[used..],
            }
        }
        Ok(())
    }
}

impl Watcher {
    /// Reads the available notices and calls `note` with the number of each.
    fn receive(&mut self, note: &mut impl FnMut(u64)) -> Result<(), String> {
        let mut scratch = [0; SCRATCH_BYTES];
        while let Some(count) = read(&mut self.stream, &mut scratch)? {
            self.input.extend_from_slice(&scratch[..count]);
            let mut used = 0;
            while let Some(lf) = memchr::memchr(b'\n', &self.input[used..]) {
                let line = &self.input[used..used + lf];
                let wanted = format!("* {} ", self.next);
                if !line.starts_with(wanted.as_bytes()) {
                    return Err(format!("wanted \"{wanted}\", got \"{}\"", line.escape_ascii()));
                }
                note(self.next);
                self.next += 1;
                used += lf + 1;
            }
            self.input.drain(..used);
            if count < scratch.len() {
                break;
            }
        }
        Ok(())
    }
}

/// Turns "would block" into `None`.
fn read(stream: &mut TcpStream, scratch: &mut [u8]) -> Result<Option<usize>, String> {
    match stream.read(scratch) {
        Ok(0) => Err("the server has closed a connection".to_owned()),
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(format!("reading failed: {error}")),
    }
}

/// Starts to watch and returns the number of the last event.
fn begin(socket: &mut std::net::TcpStream) -> Result<u64, String> {
    socket.write_all(b"OBSERVAR\n").map_err(|error| error.to_string())?;
    let mut scratch = [0; 256];
    let count = socket.read(&mut scratch).map_err(|error| error.to_string())?;
    let reply = String::from_utf8_lossy(&scratch[..count]);
    let number = reply.strip_prefix("OK OBSERVANDO tras=").map(str::trim_end);
    number.and_then(|text| text.parse().ok()).ok_or_else(|| format!("no watch: {reply}"))
}

fn register(socket: std::net::TcpStream, key: usize, poll: &Poll) -> std::io::Result<TcpStream> {
    socket.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(socket);
    poll.registry().register(&mut stream, Token(key), Interest::READABLE)?;
    Ok(stream)
}

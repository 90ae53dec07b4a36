//! The closed loop: every connection keeps a fixed number of requests in flight, and sends the next
//! request when it has received and checked a reply.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::talk::{Message, Talk};
use crate::usage::cpu_ns;

/// Longer latencies are recorded as this one.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
const SCRATCH_BYTES: usize = 256 << 10;

/// When a run ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// A time after a warm-up.
    Time { warmup: Duration, measured: Duration },
    /// A number of operations. The run ends with the last reply.
    Operations(u64),
}

/// The results of a run.
pub struct Figures {
    /// Operations, counted by replies: each reply of a pair counts as half an operation.
    pub operations: u64,
    pub seconds: f64,
    /// Latencies of single requests in nanoseconds.
    pub latency: Histogram<u64>,
    /// The processor time of the server and of this program.
    pub server_cpu_ns: Option<u64>,
    pub own_cpu_ns: u64,
}

/// Returns a histogram of latencies in nanoseconds with a precision of 0.1 %.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("bounds are in order")
}

/// Adds `count` latencies.
pub fn record(histogram: &mut Histogram<u64>, latency: Duration, count: u64) {
    let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    histogram.saturating_record_n(ns.max(1), count);
}

/// The counters at the start of the measurement.
pub struct Meter {
    pid: Option<u32>,
    begun: Instant,
    server_ns: Option<u64>,
    own_ns: u64,
}

impl Meter {
    pub fn start(pid: Option<u32>) -> io::Result<Meter> {
        let own_ns = cpu_ns(std::process::id())?;
        let server_ns = pid.map(cpu_ns).transpose()?;
        Ok(Meter { pid, begun: Instant::now(), server_ns, own_ns })
    }

    pub fn stop(self, operations: u64, latency: Histogram<u64>) -> io::Result<Figures> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let server_ns = self.pid.map(cpu_ns).transpose()?;
        let spent = |(after, before): (u64, u64)| after.saturating_sub(before);
        Ok(Figures {
            operations,
            seconds,
            latency,
            server_cpu_ns: server_ns.zip(self.server_ns).map(spent),
            own_cpu_ns: cpu_ns(std::process::id())? - self.own_ns,
        })
    }
}

struct Conn<T> {
    stream: TcpStream,
    talk: T,
    /// The beginning of an incomplete reply.
    input: Vec<u8>,
    output: Vec<u8>,
    /// The times at which requests were sent, each with their number, oldest first.
    sent: VecDeque<(Instant, u64)>,
    writable: bool,
}

/// The state that all connections share.
struct Tally {
    replies: u64,
    /// The number of requests that may still be sent.
    budget: u64,
    in_flight: u64,
    latency: Histogram<u64>,
}

/// Runs the conversations on these connections. With `spins` the loop polls without sleeping, so
/// that the server never has to wake this process.
///
/// # Errors
/// A wrong reply, or a connection that fails.
pub fn drive<T: Talk>(
    parties: Vec<(std::net::TcpStream, T)>,
    depth: usize,
    until: Until,
    pid: Option<u32>,
    spins: bool,
) -> Result<Figures, String> {
    let patience = if spins { Duration::ZERO } else { Duration::from_secs(1) };
    let broken = |error: io::Error| format!("the poll failed: {error}");
    let mut poll = Poll::new().map_err(broken)?;
    let mut conns = Vec::new();
    for (key, (stream, talk)) in parties.into_iter().enumerate() {
        conns.push(Conn::new(stream, talk, key, &poll).map_err(broken)?);
    }
    let budget = match until {
        Until::Time { .. } => u64::MAX,
        Until::Operations(count) => count * T::REQUESTS,
    };
    let mut tally = Tally { replies: 0, budget, in_flight: 0, latency: histogram() };
    let mut meter = Meter::start(pid).map_err(broken)?;
    let mut phases = Phases::new(until);
    for conn in &mut conns {
        conn.begin(depth, &mut tally)?;
    }
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; SCRATCH_BYTES];
    loop {
        match phases.next(&tally) {
            Phase::Going => {}
            Phase::Warm => {
                (tally.replies, tally.latency) = (0, histogram());
                meter = Meter::start(pid).map_err(broken)?;
            }
            Phase::Over => break,
        }
        match poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            done => done.map_err(broken)?,
        }
        for event in &events {
            let conn = &mut conns[event.token().0];
            conn.writable |= event.is_writable();
            if event.is_readable() || !conn.output.is_empty() {
                conn.turn(&mut scratch, &mut tally)?;
            }
        }
    }
    meter.stop(tally.replies / T::REQUESTS, tally.latency).map_err(broken)
}

enum Phase {
    Going,
    /// Whether the warm-up is over.
    Warm,
    Over,
}

/// Decides when the measurement starts and when the run ends.
struct Phases {
    until: Until,
    begun: Instant,
    warm: bool,
}

impl Phases {
    fn new(until: Until) -> Phases {
        Phases { until, begun: Instant::now(), warm: matches!(until, Until::Operations(_)) }
    }

    fn next(&mut self, tally: &Tally) -> Phase {
        let (warmup, measured) = match self.until {
            Until::Operations(_) if tally.budget == 0 && tally.in_flight == 0 => {
                return Phase::Over;
            }
            Until::Operations(_) => return Phase::Going,
            Until::Time { warmup, measured } => (warmup, measured),
        };
        let passed = self.begun.elapsed();
        if !self.warm && passed >= warmup {
            (self.warm, self.begun) = (true, Instant::now());
            return Phase::Warm;
        }
        if self.warm && passed >= measured { Phase::Over } else { Phase::Going }
    }
}

impl<T: Talk> Conn<T> {
    fn new(stream: std::net::TcpStream, talk: T, key: usize, poll: &Poll) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(key), interest)?;
        let (input, output) = (Vec::new(), Vec::new());
        Ok(Conn { stream, talk, input, output, sent: VecDeque::new(), writable: true })
    }

    /// Sends the first requests.
    fn begin(&mut self, depth: usize, tally: &mut Tally) -> Result<(), String> {
        self.ask(depth as u64, Instant::now(), tally);
        self.flush()
    }

    fn ask(&mut self, wanted: u64, now: Instant, tally: &mut Tally) {
        let count = wanted.min(tally.budget);
        tally.budget -= count;
        tally.in_flight += count;
        (0..count).for_each(|_| self.talk.ask(&mut self.output));
        if count > 0 && !T::QUEUES {
            self.sent.push_back((now, count));
        }
    }

    /// Reads and checks the available replies, and sends as many requests.
    fn turn(&mut self, scratch: &mut [u8], tally: &mut Tally) -> Result<(), String> {
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err("the server has closed a connection".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("reading failed: {error}")),
            };
            self.take(&scratch[..count], tally)?;
            // The socket is empty. An event reports further input.
            if count < scratch.len() {
                break;
            }
        }
        self.flush()
    }

    fn take(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
        let now = Instant::now();
        let mut input = std::mem::take(&mut self.input);
        let whole = if input.is_empty() {
            bytes
        } else {
            input.extend_from_slice(bytes);
            &input
        };
        let (used, replies) = self.receive_all(whole, tally)?;
        self.input = whole[used..].to_vec();
        self.settle(replies, now, tally);
        self.ask(replies, now, tally);
        Ok(())
    }

    /// Returns the number of bytes consumed and the number of replies in them.
    fn receive_all(&mut self, input: &[u8], tally: &mut Tally) -> Result<(usize, u64), String> {
        let (mut used, mut replies) = (0, 0);
        while used < input.len() {
            let (count, message) = self.talk.receive(&input[used..])?;
            used += count;
            match message {
                Message::Part if used < input.len() => break,
                Message::Part | Message::Notice => continue,
                Message::Reply => {}
                Message::Granted(ns) => record(&mut tally.latency, Duration::from_nanos(ns), 1),
            }
            replies += 1;
        }
        Ok((used, replies))
    }

    /// Records the latencies of the oldest requests.
    fn settle(&mut self, mut replies: u64, now: Instant, tally: &mut Tally) {
        tally.in_flight -= replies;
        tally.replies += replies;
        while replies > 0
            && let Some((sent, count)) = self.sent.front_mut()
        {
            let answered = replies.min(*count);
            record(&mut tally.latency, now - *sent, answered);
            *count -= answered;
            replies -= answered;
            if *count == 0 {
                self.sent.pop_front();
            }
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.writable && !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) if count == self.output.len() => self.output.clear(),
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("writing failed: {error}")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talk::Fixed;
    use std::net::{Ipv4Addr, TcpListener};
    use std::rc::Rc;

    /// Replies to a number of lines on each of several connections, each reply in pieces.
    fn server(connections: usize, reply: &'static [u8]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_nodelay(true).unwrap();
                std::thread::spawn(move || {
                    let mut scratch = [0; 1000];
                    while let Ok(count @ 1..) = stream.read(&mut scratch) {
                        for _ in scratch[..count].iter().filter(|byte| **byte == b'\n') {
                            for piece in reply.chunks(3) {
                                stream.write_all(piece).unwrap();
                            }
                        }
                    }
                });
            }
        });
        port
    }

    fn run(reply: &'static [u8], depth: usize) -> Result<Figures, String> {
        let port = server(3, reply);
        let step = || (b"a\n".to_vec(), Rc::from(&b"reply\n"[..]));
        let party = |_| {
            let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            (stream, Fixed::<2>::new(vec![step(), step()]))
        };
        drive((0..3).map(party).collect(), depth, Until::Operations(100), None, false)
    }

    #[test]
    fn an_operation_is_a_pair_of_requests() {
        for depth in [1, 16] {
            let figures = run(b"reply\n", depth).unwrap();
            assert_eq!(figures.operations, 100);
            assert_eq!(figures.latency.len(), 200, "each request has a latency");
            assert!(figures.server_cpu_ns.is_none() && figures.own_cpu_ns > 0);
        }
    }

    #[test]
    fn wrong_reply_ends_the_run() {
        assert!(run(b"replies\n", 1).is_err_and(|error| error.contains("wanted")));
    }
}

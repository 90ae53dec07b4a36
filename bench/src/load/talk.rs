//! Requests and expected replies, in the protocol of each server.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::Write;
use std::rc::Rc;
use std::time::Instant;

/// The kind of the first message in the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// An incomplete reply.
    Part,
    /// A notice, which does not answer a request.
    Notice,
    /// The reply to the oldest request.
    Reply,
    /// The grant to a request that waited, with the nanoseconds since the release that made it
    /// possible.
    Granted(u64),
}

/// An unexpected reply.
pub type Wrong = String;

/// The client side of a protocol.
pub trait Talk {
    /// The number of requests in one operation.
    const REQUESTS: u64 = 2;
    /// Whether only [`Message::Granted`] has a latency, because a request is answered with a
    /// position.
    const QUEUES: bool = false;

    /// Appends the next request. It is called once per reply.
    fn ask(&mut self, out: &mut Vec<u8>);

    /// Checks the first message of the input. Returns its length and its kind.
    ///
    /// # Errors
    /// It is not the expected reply to the oldest request.
    fn receive(&mut self, input: &[u8]) -> Result<(usize, Message), Wrong>;
}

/// Returns the first line with its ending.
fn first_line(input: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'\n', input).map(|lf| &input[..=lf])
}

fn wrong(wanted: &[u8], got: &[u8]) -> Wrong {
    let show = |bytes: &[u8]| bytes[..bytes.len().min(120)].escape_ascii().to_string();
    format!("wanted \"{}\", got \"{}\"", show(wanted), show(got))
}

/// Splits off a decimal number.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits]
        .iter()
        .fold(0u64, |sum, digit| sum.wrapping_mul(10) + u64::from(digit - b'0'));
    (digits > 0).then_some((value, &text[digits..]))
}

/// A fixed sequence of requests whose replies are known to the byte.
pub struct Fixed<const REQUESTS: u64> {
    /// Requests with their replies. Long replies are shared by all connections.
    steps: Vec<(Vec<u8>, Rc<[u8]>)>,
    asked: usize,
    received: usize,
    /// The number of bytes received of the current reply.
    matched: usize,
}

impl<const REQUESTS: u64> Fixed<REQUESTS> {
    pub fn new(steps: Vec<(Vec<u8>, Rc<[u8]>)>) -> Self {
        assert_eq!(steps.len() as u64, REQUESTS);
        Fixed { steps, asked: 0, received: 0, matched: 0 }
    }
}

impl<const N: u64> Talk for Fixed<N> {
    const REQUESTS: u64 = N;

    fn ask(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.steps[self.asked].0);
        self.asked = (self.asked + 1) % self.steps.len();
    }

    fn receive(&mut self, input: &[u8]) -> Result<(usize, Message), Wrong> {
        let wanted = &self.steps[self.received].1[self.matched..];
        let count = wanted.len().min(input.len());
        if wanted[..count] != input[..count] {
            return Err(wrong(wanted, input));
        }
        if count < wanted.len() {
            self.matched += count;
            return Ok((count, Message::Part));
        }
        self.matched = 0;
        self.received = (self.received + 1) % self.steps.len();
        Ok((count, Message::Reply))
    }
}

/// A reservation and its cancellation by name, repeatedly.
pub struct Pair {
    reserve: Vec<u8>,
    cancel: Vec<u8>,
    /// The text of both replies after the number.
    tail: Vec<u8>,
    asked: u64,
    received: u64,
    last: u64,
}

impl Pair {
    /// Takes the target as it is requested, and the name as the server prints it.
    pub fn new(target: &str, name: &str) -> Pair {
        Pair {
            reserve: format!("RESERVAR {target}\n").into(),
            cancel: format!("CANCELAR {name}\n").into(),
            tail: format!(" {name}\n").into(),
            asked: 0,
            received: 0,
            last: 0,
        }
    }

    /// Returns the same with the target as it is requested in both requests.
    pub fn folded(target: &str, name: &str) -> Pair {
        Pair { cancel: format!("CANCELAR {target}\n").into(), ..Pair::new(target, name) }
    }
}

impl Talk for Pair {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let cancels = self.asked % 2 == 1;
        out.extend_from_slice(if cancels { &self.cancel } else { &self.reserve });
        self.asked += 1;
    }

    fn receive(&mut self, input: &[u8]) -> Result<(usize, Message), Wrong> {
        let Some(line) = first_line(input) else { return Ok((0, Message::Part)) };
        let cancels = self.received % 2 == 1;
        let head: &[u8] = if cancels { b"OK CANCELADO #" } else { b"OK RESERVADO #" };
        let Some((got, tail)) = line.strip_prefix(head).and_then(number) else {
            return Err(wrong(head, line));
        };
        if tail != self.tail {
            return Err(wrong(&self.tail, line));
        }
        // A number is never issued twice, and the last reservation is the one that is cancelled.
        if if cancels { got != self.last } else { got <= self.last } {
            return Err(format!("number {got} after {}", self.last));
        }
        self.last = got;
        self.received += 1;
        Ok((line.len(), Message::Reply))
    }
}

/// The next target to reserve, and the text of the reply after the number.
pub trait Choice {
    fn choose(&mut self, request: &mut Vec<u8>, tail: &mut Vec<u8>);
}

/// Reservations that are cancelled by the number in the reply.
pub struct ByNumber<C> {
    choice: C,
    /// The reservations to cancel next: numbers with the tails of their replies.
    held: VecDeque<(u64, Vec<u8>)>,
    /// The expected replies, oldest first: for a cancellation its number, and the tail.
    wanted: VecDeque<(Option<u64>, Vec<u8>)>,
    last: u64,
}

impl<C: Choice> ByNumber<C> {
    pub fn new(choice: C) -> Self {
        ByNumber { choice, held: VecDeque::new(), wanted: VecDeque::new(), last: 0 }
    }
}

impl<C: Choice> Talk for ByNumber<C> {
    fn ask(&mut self, out: &mut Vec<u8>) {
        if let Some((number, tail)) = self.held.pop_front() {
            writeln!(out, "CANCELAR #{number}").expect("memory");
            self.wanted.push_back((Some(number), tail));
        } else {
            let mut tail = Vec::new();
            self.choice.choose(out, &mut tail);
            self.wanted.push_back((None, tail));
        }
    }

    fn receive(&mut self, input: &[u8]) -> Result<(usize, Message), Wrong> {
        let Some(line) = first_line(input) else { return Ok((0, Message::Part)) };
        let Some((cancels, tail)) = self.wanted.pop_front() else {
            return Err(wrong(b"nothing", line));
        };
        let head: &[u8] = if cancels.is_some() { b"OK CANCELADO #" } else { b"OK RESERVADO #" };
        let Some((got, rest)) = line.strip_prefix(head).and_then(number) else {
            return Err(wrong(head, line));
        };
        // The reply to a reservation ends with its interval, the reply to a cancellation does not.
        let is_right = match cancels {
            Some(number) => number == got && tail.starts_with(rest.trim_ascii_end()),
            None => got > self.last && rest.starts_with(&tail),
        };
        if !is_right {
            return Err(wrong(&tail, line));
        }
        if cancels.is_none() {
            self.last = got;
            self.held.push_back((got, tail));
        }
        Ok((line.len(), Message::Reply))
    }
}

/// The free hours of one resource between its bookings. An hour is used again after its last
/// reservation was cancelled, because the operations of one connection end in order.
pub struct FreeHours {
    name: String,
    free: VecDeque<u32>,
}

impl FreeHours {
    /// Takes hours as numbered by [`hour`], at least as many as there are requests in flight.
    pub fn new(name: String, hours: impl Iterator<Item = u32>) -> FreeHours {
        FreeHours { name, free: hours.collect() }
    }
}

impl Choice for FreeHours {
    fn choose(&mut self, request: &mut Vec<u8>, tail: &mut Vec<u8>) {
        let at = self.free.pop_front().expect("an hour for each request in flight");
        self.free.push_back(at);
        let (name, from, until) = (&self.name, hour(at), hour(at + 1));
        writeln!(request, "RESERVAR {name} desde={from}Z hasta={until}Z").expect("memory");
        write!(tail, " {name} desde={from}").expect("memory");
    }
}

/// Random resources, in hours that belong to one connection, so that requests never collide.
pub struct AnyResource {
    resources: u32,
    hours: VecDeque<u32>,
    state: u64,
}

impl AnyResource {
    pub fn new(resources: u32, hours: impl Iterator<Item = u32>, seed: u64) -> AnyResource {
        // The state of this generator must not be 0.
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        AnyResource { resources, hours: hours.collect(), state }
    }

    /// Returns a random number from 1 to the number of resources (xorshift64*).
    fn roll(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let high = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * u64::from(self.resources)) >> 32) + 1
    }
}

impl Choice for AnyResource {
    fn choose(&mut self, request: &mut Vec<u8>, tail: &mut Vec<u8>) {
        let at = self.hours.pop_front().expect("an hour for each request in flight");
        self.hours.push_back(at);
        let (which, from, until) = (self.roll(), hour(at), hour(at + 1));
        writeln!(request, "RESERVAR Habitación {which} desde={from}Z hasta={until}Z")
            .expect("memory");
        write!(tail, " Habitación {which} desde={from}").expect("memory");
    }
}

/// Prints the start of an hour, counted from 2030, without a zone. Months have 28 days here, so
/// that no calendar is needed and all hours differ.
pub fn hour(at: u32) -> String {
    let (day, hour) = (at / 24, at % 24);
    let (month, day) = (day / 28, day % 28);
    let (year, month) = (2030 + month / 12, month % 12);
    format!("{year}-{:02}-{:02}T{hour:02}:00:00", month + 1, day + 1)
}

/// Jobs of beanstalkd's default tube, taken and given back.
pub struct Jobs {
    taking: Taking,
    held: VecDeque<u64>,
    /// For each expected reply, oldest first, whether it is to giving a job back.
    wanted: VecDeque<bool>,
}

/// The pair of requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// `reserve` and `release`, which are not logged.
    Ready,
    /// `put` and `delete`, which are logged.
    New,
}

impl Jobs {
    /// A request for a new job.
    pub const PUT: &str = "put 0 0 3600 1\r\nx\r\n";

    pub fn new(taking: Taking) -> Jobs {
        Jobs { taking, held: VecDeque::new(), wanted: VecDeque::new() }
    }
}

impl Talk for Jobs {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let held = self.held.pop_front();
        self.wanted.push_back(held.is_some());
        match (held, self.taking) {
            (Some(id), Taking::Ready) => write!(out, "release {id} 0 0\r\n").expect("memory"),
            (Some(id), Taking::New) => write!(out, "delete {id}\r\n").expect("memory"),
            (None, Taking::Ready) => out.extend_from_slice(b"reserve\r\n"),
            (None, Taking::New) => out.extend_from_slice(Jobs::PUT.as_bytes()),
        }
    }

    fn receive(&mut self, input: &[u8]) -> Result<(usize, Message), Wrong> {
        let Some(line) = first_line(input) else { return Ok((0, Message::Part)) };
        let Some(gives_back) = self.wanted.front() else { return Err(wrong(b"nothing", line)) };
        let (head, tail): (&[u8], &[u8]) = match (gives_back, self.taking) {
            (true, Taking::Ready) => (b"RELEASED\r\n", b""),
            (true, Taking::New) => (b"DELETED\r\n", b""),
            (false, Taking::Ready) => (b"RESERVED ", b" 1\r\nx\r\n"),
            (false, Taking::New) => (b"INSERTED ", b"\r\n"),
        };
        let Some(rest) = input.strip_prefix(head) else { return Err(wrong(head, line)) };
        let mut used = head.len();
        if !gives_back {
            let Some((id, rest)) = number(rest) else { return Err(wrong(b"a number", line)) };
            if rest.len() < tail.len() && tail.starts_with(rest) {
                return Ok((0, Message::Part));
            }
            if !rest.starts_with(tail) {
                return Err(wrong(tail, rest));
            }
            used = input.len() - rest.len() + tail.len();
            self.held.push_back(id);
        }
        self.wanted.pop_front();
        Ok((used, Message::Reply))
    }
}

/// All connections wait for one resource, hold it for a moment and wait again. Measures the time
/// from a release to the next grant.
pub struct Queuer {
    name: String,
    held: Option<u64>,
    /// The time of the last release.
    released: Rc<Cell<Option<Instant>>>,
}

impl Queuer {
    pub fn new(name: String, released: Rc<Cell<Option<Instant>>>) -> Queuer {
        Queuer { name, held: None, released }
    }
}

impl Talk for Queuer {
    const QUEUES: bool = true;

    fn ask(&mut self, out: &mut Vec<u8>) {
        match self.held {
            None => writeln!(out, "RESERVAR {} espera=7d", self.name).expect("memory"),
            Some(number) => {
                writeln!(out, "CANCELAR #{number}").expect("memory");
                self.released.set(Some(Instant::now()));
            }
        }
    }

    fn receive(&mut self, input: &[u8]) -> Result<(usize, Message), Wrong> {
        let Some(line) = first_line(input) else { return Ok((0, Message::Part)) };
        if line.starts_with(b"* COLA ") && self.held.is_none() {
            return Ok((line.len(), Message::Notice));
        }
        let head: &[u8] = if self.held.is_some() { b"OK CANCELADO #" } else { b"OK RESERVADO #" };
        let Some((got, tail)) = line.strip_prefix(head).and_then(number) else {
            return Err(wrong(head, line));
        };
        if tail.trim_ascii() != self.name.as_bytes() {
            return Err(wrong(self.name.as_bytes(), line));
        }
        match self.held.take() {
            None => {
                self.held = Some(got);
                let waited = self.released.get().map_or(0, |at| at.elapsed().as_nanos() as u64);
                Ok((line.len(), Message::Granted(waited)))
            }
            Some(held) if held == got => Ok((line.len(), Message::Reply)),
            Some(held) => Err(format!("number {got} cancelled instead of {held}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(talk: &mut impl Talk, requests: usize) -> String {
        let mut out = Vec::new();
        (0..requests).for_each(|_| talk.ask(&mut out));
        String::from_utf8(out).unwrap()
    }

    /// Feeds replies in pieces of some bytes and returns the number of complete replies.
    fn tell(talk: &mut impl Talk, replies: &str, piece: usize) -> Result<usize, Wrong> {
        let (mut input, mut received) = (Vec::new(), 0);
        for bytes in replies.as_bytes().chunks(piece) {
            input.extend_from_slice(bytes);
            while !input.is_empty() {
                let (used, what) = talk.receive(&input)?;
                input.drain(..used);
                match what {
                    Message::Part => break,
                    Message::Notice => {}
                    Message::Reply | Message::Granted(_) => received += 1,
                }
            }
        }
        Ok(received)
    }

    /// Correct replies are accepted however they are split, and each wrong one is an error.
    fn check<T: Talk>(make: impl Fn() -> T, requests: &[&str], right: &[&str], wrong: &[&[&str]]) {
        for piece in 1..40 {
            let mut talk = make();
            for (request, reply) in requests.iter().zip(right) {
                assert_eq!(ask(&mut talk, 1), *request);
                assert_eq!(tell(&mut talk, reply, piece), Ok(1), "{reply} in pieces of {piece}");
            }
        }
        for replies in wrong {
            let mut talk = make();
            let outcome = replies.iter().try_for_each(|reply| {
                ask(&mut talk, 1);
                tell(&mut talk, reply, 1000).map(|_| ())
            });
            assert!(outcome.is_err(), "{replies:?} were taken for right");
        }
    }

    #[test]
    fn replies_of_a_pair_are_checked() {
        check(
            || Pair::new("sala 1", "Sala 1"),
            &["RESERVAR sala 1\n", "CANCELAR Sala 1\n", "RESERVAR sala 1\n"],
            &["OK RESERVADO #7 Sala 1\n", "OK CANCELADO #7 Sala 1\n", "OK RESERVADO #9 Sala 1\n"],
            &[
                &["ERR 409 ocupada\n"],
                &["OK RESERVADO #7 Sala 2\n"],
                &["OK RESERVADO #7 Sala 1\n", "OK CANCELADO #8 Sala 1\n"],
                &[
                    "OK RESERVADO #7 Sala 1\n",
                    "OK CANCELADO #7 Sala 1\n",
                    "OK RESERVADO #7 Sala 1\n",
                ],
            ],
        );
    }

    #[test]
    fn a_booking_is_cancelled_by_its_number() {
        let booked =
            "OK RESERVADO #7 Sala 1 desde=2030-01-01T01:00:00Z hasta=2030-01-01T02:00:00Z\n";
        check(
            || ByNumber::new(FreeHours::new("Sala 1".to_owned(), [1].into_iter())),
            &[
                "RESERVAR Sala 1 desde=2030-01-01T01:00:00Z hasta=2030-01-01T02:00:00Z\n",
                "CANCELAR #7\n",
            ],
            &[booked, "OK CANCELADO #7 Sala 1\n"],
            &[
                &["OK RESERVADO #7 Sala 1 desde=2030-01-01T02:00:00Z hasta=-\n"],
                &[booked, "OK CANCELADO #8 Sala 1\n"],
                &[booked, "OK CANCELADO #7 Sala 2\n"],
            ],
        );
    }

    #[test]
    fn jobs_are_given_back_by_number() {
        check(
            || Jobs::new(Taking::Ready),
            &["reserve\r\n", "release 7 0 0\r\n", "reserve\r\n"],
            &["RESERVED 7 1\r\nx\r\n", "RELEASED\r\n", "RESERVED 8 1\r\nx\r\n"],
            &[
                &["RESERVED 7 1\r\ny\r\n"],
                &["TIMED_OUT\r\n"],
                &["RESERVED 7 1\r\nx\r\n", "BURIED\r\n"],
            ],
        );
        check(
            || Jobs::new(Taking::New),
            &[Jobs::PUT, "delete 7\r\n"],
            &["INSERTED 7\r\n", "DELETED\r\n"],
            &[&["BURIED 7\r\n"], &["INSERTED 7\r\n", "NOT_FOUND\r\n"]],
        );
    }

    #[test]
    fn fixed_replies_are_compared_to_the_byte() {
        let step = |ask: &str, reply: &str| (ask.into(), Rc::from(reply.as_bytes()));
        check(
            || Fixed::<2>::new(vec![step("a\n", "one\ntwo\n"), step("b\n", "three\n")]),
            &["a\n", "b\n", "a\n"],
            &["one\ntwo\n", "three\n", "one\ntwo\n"],
            &[&["one\ntwx\n"], &["one\ntwo\n", "one\n"]],
        );
    }

    #[test]
    fn positions_before_the_grant_are_notices() {
        let granted = "* COLA 2 Sala 1\n* COLA 1 Sala 1\nOK RESERVADO #7 Sala 1\n";
        check(
            || Queuer::new("Sala 1".to_owned(), Rc::default()),
            &["RESERVAR Sala 1 espera=7d\n", "CANCELAR #7\n"],
            &[granted, "OK CANCELADO #7 Sala 1\n"],
            &[&["OK RESERVADO #7 Sala 2\n"], &[granted, "* COLA 1 Sala 1\n"]],
        );
    }

    #[test]
    fn hours_are_all_different() {
        let all: std::collections::BTreeSet<_> = (0..20_000).map(hour).collect();
        assert_eq!(all.len(), 20_000);
        assert_eq!(
            (hour(0), hour(25)),
            ("2030-01-01T00:00:00".into(), "2030-01-02T01:00:00".into())
        );
        assert_eq!(hour(24 * 28 * 12 + 1), "2031-01-01T01:00:00");
    }
}

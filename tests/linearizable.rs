//! Checks that histories of concurrent clients over real sockets, with crashes of the server, are
//! linearizable: each request appears to take effect at one instant between its sending and its
//! reply. The checker is that of `todc-utils`. This file has the sequential specification: the
//! effect of one request on a pair of resources.
//!
//! A history is checked separately for each pair of resources, because no request concerns two
//! pairs. Numbers are compared across all pairs. A request that a crash left without a reply has
//! taken effect before the crash or not at all. Therefore the state of the checker is the set of
//! all possible states.
//!
//! `RESERVAD_SEED` repeats the random choices, `RESERVAD_HISTORIES` sets the number of histories.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use support::{Client, Rng, Server, TempDir, seed, temp_dir};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

// ---------------------------------------------------------------------------------------------
// The specification.

/// A reservation of one or both resources of the pair. Its number is unknown if the reply was lost
/// and no later reply contained it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Held {
    tag: u64,
    number: Option<u64>,
    /// Whether it is bound to its connection, so that it ends with the server.
    bound: bool,
}

/// The reservations of the two resources, and the highest known number.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
struct Pair {
    held: [Option<Held>; 2],
    last: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Ask {
    /// A reservation with a unique tag as its note.
    Reserve {
        tag: u64,
        which: [bool; 2],
        bound: bool,
    },
    Cancel(u64),
    /// The cancellation of one resource by its name.
    Leave(usize),
    Verify(u64),
    /// The reservations, by `RESERVAS`.
    List,
    /// The free resources, by `LISTAR`.
    Free,
    /// A kill and restart of the server.
    Crash,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    /// No reply was received.
    Unknown,
    /// The number of a reservation, or a successful change.
    Ok(u64),
    /// 409 with the number of the conflicting reservation.
    Taken(u64),
    /// 408: the wait has timed out.
    TimedOut,
    /// 410 for a number or 404 for a name that is not reserved.
    Over,
    /// Number and tag of each resource.
    Bookings([Option<(u64, u64)>; 2]),
    AreFree([bool; 2]),
    Restarted,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Request {
    ask: Ask,
    outcome: Outcome,
}

impl Pair {
    fn holds(&self, number: u64) -> bool {
        self.held.iter().flatten().any(|held| held.number == Some(number))
    }

    /// Returns the state in which a resource is reserved under a number, if that is possible. An
    /// unknown number becomes known.
    fn seen(&self, at: usize, number: u64) -> Option<Pair> {
        let held = self.held[at].as_ref()?;
        match held.number {
            Some(known) => (known == number).then(|| self.clone()),
            None if self.holds(number) => None,
            None => {
                let mut pair = self.clone();
                for held in pair.held.iter_mut().flatten().filter(|other| other.tag == held.tag) {
                    held.number = Some(number);
                }
                pair.last = pair.last.max(number);
                Some(pair)
            }
        }
    }

    /// Returns the states in which a number is active, including those in which it was unknown.
    fn with_number(&self, number: u64) -> Vec<Pair> {
        let mut states: Vec<_> = (0..2).filter_map(|at| self.seen(at, number)).collect();
        states.dedup();
        states
    }

    fn without(&self, goes: impl Fn(&Held) -> bool) -> Pair {
        let held = self.held.clone().map(|held| held.filter(|held| !goes(held)));
        Pair { held, last: self.last }
    }

    /// Returns the state after a grant, if all resources are free.
    fn reserve(&self, ask: &Ask, number: Option<u64>) -> Option<Pair> {
        let Ask::Reserve { tag, which, bound } = *ask else { return None };
        let mut pair = self.clone();
        for at in (0..2).filter(|at| which[*at]) {
            if pair.held[at].is_some() {
                return None;
            }
            pair.held[at] = Some(Held { tag, number, bound });
        }
        if let Some(number) = number {
            if number <= pair.last {
                return None;
            }
            pair.last = number;
        }
        Some(pair)
    }

    /// Returns the possible states after a request with an outcome, or none if the outcome is
    /// impossible.
    fn after(&self, Request { ask, outcome }: &Request) -> Vec<Pair> {
        match (ask, outcome) {
            (Ask::Reserve { .. }, Outcome::Ok(number)) => {
                self.reserve(ask, Some(*number)).into_iter().collect()
            }
            (Ask::Reserve { which, .. }, Outcome::Taken(number)) => {
                let taken = (0..2).filter(|at| which[*at]);
                let mut states: Vec<_> = taken.filter_map(|at| self.seen(at, *number)).collect();
                states.dedup();
                states
            }
            (Ask::Reserve { .. }, Outcome::TimedOut) => vec![self.clone()],
            (Ask::Reserve { .. }, Outcome::Unknown) => {
                self.reserve(ask, None).into_iter().collect()
            }
            (Ask::Cancel(number), Outcome::Ok(_) | Outcome::Unknown) => {
                let states = self.with_number(*number);
                states
                    .iter()
                    .map(|pair| pair.without(|held| held.number == Some(*number)))
                    .collect()
            }
            (Ask::Leave(at), Outcome::Ok(number)) => {
                self.seen(*at, *number).map(|pair| pair.left(*at)).into_iter().collect()
            }
            (Ask::Leave(at), Outcome::Unknown) => vec![self.left(*at)],
            (Ask::Leave(at), Outcome::Over) => self.only_if(self.held[*at].is_none()),
            (Ask::Verify(number), Outcome::Ok(_)) => self.with_number(*number),
            (Ask::Cancel(number) | Ask::Verify(number), Outcome::Over) => {
                self.only_if(!self.holds(*number))
            }
            (Ask::List, Outcome::Bookings(bookings)) => self.listed(bookings).into_iter().collect(),
            (Ask::Free, Outcome::AreFree(free)) => {
                self.only_if((0..2).all(|at| self.held[at].is_none() == free[at]))
            }
            (Ask::Crash, Outcome::Restarted) => vec![self.without(|held| held.bound)],
            (_, Outcome::Unknown) => Vec::new(),
            _ => panic!("{ask:?} is not answered by {outcome:?}"),
        }
    }

    fn only_if(&self, holds: bool) -> Vec<Pair> {
        if holds { vec![self.clone()] } else { Vec::new() }
    }

    fn left(&self, at: usize) -> Pair {
        let mut pair = self.clone();
        pair.held[at] = None;
        pair
    }

    fn listed(&self, bookings: &[Option<(u64, u64)>; 2]) -> Option<Pair> {
        let mut pair = self.clone();
        for (at, row) in bookings.iter().enumerate() {
            match (&pair.held[at], row) {
                (None, None) => {}
                (Some(held), Some((number, tag))) if held.tag == *tag => {
                    pair = pair.seen(at, *number)?;
                }
                _ => return None,
            }
        }
        Some(pair)
    }
}

/// The specification for the checker, whose state is the set of possible states.
struct Possible;

impl Specification for Possible {
    type State = BTreeSet<Pair>;
    type Operation = Request;

    fn init() -> BTreeSet<Pair> {
        BTreeSet::from([Pair::default()])
    }

    fn apply(request: &Request, states: &BTreeSet<Pair>) -> (bool, BTreeSet<Pair>) {
        let mut after: BTreeSet<_> = states.iter().flat_map(|pair| pair.after(request)).collect();
        if request.outcome == Outcome::Unknown {
            after.extend(states.iter().cloned());
        }
        (!after.is_empty(), after)
    }
}

type Actions = Vec<(usize, Action<Request>)>;

/// Returns the index of the first action up to which a history is not linearizable, if there is
/// one. Any prefix of a linearizable history is linearizable, with its pending requests as unknown.
fn violation(actions: &Actions) -> Option<usize> {
    let is_linearizable = |end: usize| {
        let mut part = actions[..end].to_vec();
        let mut open = BTreeMap::new();
        for (client, action) in &part {
            match action {
                Action::Call(request) => open.insert(*client, request.clone()),
                Action::Response(_) => open.remove(client),
            };
        }
        part.extend(open.into_iter().map(|(client, call)| (client, Action::Response(call))));
        part.is_empty() || WGLChecker::<Possible>::is_linearizable(History::from_actions(part))
    };
    if is_linearizable(actions.len()) {
        return None;
    }
    let (mut good, mut bad) = (0, actions.len());
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        *if is_linearizable(middle) { &mut good } else { &mut bad } = middle;
    }
    Some(good)
}

fn check(unit: usize, actions: &Actions) {
    if let Some(at) = violation(actions) {
        for (client, action) in &actions[at.saturating_sub(40)..=at] {
            println!("{client} {action:?}");
        }
        panic!("pair {unit}: no order of the requests explains the last of these answers");
    }
}

// ---------------------------------------------------------------------------------------------
// Tests of the specification.

fn reserve(tag: u64, which: [bool; 2], outcome: Outcome) -> Request {
    Request { ask: Ask::Reserve { tag, which, bound: false }, outcome }
}

fn request(ask: Ask, outcome: Outcome) -> Request {
    Request { ask, outcome }
}

/// Returns a history from requests with the times of their calls and replies.
fn history(requests: &[(usize, usize, Request)]) -> Actions {
    let mut actions = Vec::new();
    for (client, (call, response, request)) in requests.iter().enumerate() {
        actions.push((*call, (client, Action::Call(request.clone()))));
        actions.push((*response, (client, Action::Response(request.clone()))));
    }
    actions.sort_by_key(|(time, _)| *time);
    actions.into_iter().map(|(_, action)| action).collect()
}

const BOTH: [bool; 2] = [true, true];
const FIRST: [bool; 2] = [true, false];
const SECOND: [bool; 2] = [false, true];

#[test]
fn checker_accepts_linearizable_histories() {
    let ok = Outcome::Ok;
    let bookings = |bookings| request(Ask::List, Outcome::Bookings(bookings));
    let crash = || request(Ask::Crash, Outcome::Restarted);
    let bound = Ask::Reserve { tag: 1, which: FIRST, bound: true };
    let good = [
        // Refused because of a concurrent grant.
        vec![(0, 5, reserve(1, BOTH, ok(1))), (1, 4, reserve(2, FIRST, Outcome::Taken(1)))],
        // Without a reply, with and without effect.
        vec![
            (0, 3, reserve(1, FIRST, Outcome::Unknown)),
            (4, 5, crash()),
            (6, 7, bookings([Some((7, 1)), None])),
            (8, 9, request(Ask::Cancel(7), ok(7))),
            (10, 11, bookings([None, None])),
        ],
        vec![(0, 3, reserve(1, FIRST, Outcome::Unknown)), (4, 5, bookings([None, None]))],
        // One resource was cancelled and the other was not.
        vec![
            (0, 1, reserve(1, BOTH, ok(1))),
            (2, 3, request(Ask::Leave(0), ok(1))),
            (4, 5, bookings([None, Some((1, 1))])),
            (6, 7, reserve(2, FIRST, ok(2))),
            (8, 9, request(Ask::Verify(1), ok(1))),
        ],
        // Bound to a connection, so that it ends with the server.
        vec![(0, 1, request(bound, ok(1))), (2, 3, crash()), (4, 5, bookings([None, None]))],
    ];
    for requests in good {
        assert_eq!(violation(&history(&requests)), None, "{requests:?}");
    }
}

#[test]
fn checker_rejects_other_histories() {
    let ok = Outcome::Ok;
    let bookings = |bookings| request(Ask::List, Outcome::Bookings(bookings));
    let crash = || request(Ask::Crash, Outcome::Restarted);
    let unknown = || reserve(1, FIRST, Outcome::Unknown);
    let bad = [
        // Granted twice.
        vec![(0, 5, reserve(1, BOTH, ok(1))), (1, 4, reserve(2, FIRST, ok(2)))],
        // A list that misses the last request.
        vec![(0, 1, reserve(1, FIRST, ok(1))), (2, 3, bookings([None, None]))],
        // Half of a request for both resources.
        vec![(0, 3, reserve(1, BOTH, ok(1))), (1, 2, bookings([Some((1, 1)), None]))],
        // Refused because of a reservation that had ended.
        vec![
            (0, 1, reserve(1, FIRST, ok(1))),
            (2, 3, request(Ask::Cancel(1), ok(1))),
            (4, 5, reserve(2, FIRST, Outcome::Taken(1))),
        ],
        // Acknowledged but lost in a crash.
        vec![(0, 1, reserve(1, FIRST, ok(1))), (2, 3, crash()), (4, 5, bookings([None, None]))],
        // Cancelled but present after a crash.
        vec![
            (0, 1, reserve(1, FIRST, ok(1))),
            (2, 3, request(Ask::Cancel(1), ok(1))),
            (4, 5, crash()),
            (6, 7, request(Ask::Verify(1), ok(1))),
        ],
        // Absent after the crash but present later, when it cannot take effect any more.
        vec![
            (0, 1, unknown()),
            (2, 3, crash()),
            (4, 5, bookings([None, None])),
            (6, 7, bookings([Some((1, 1)), None])),
        ],
        // Observed by one client and then not by another.
        vec![
            (0, 9, unknown()),
            (1, 2, bookings([Some((1, 1)), None])),
            (3, 4, bookings([None, None])),
        ],
        // A repeated number, and a number out of order.
        vec![(0, 1, reserve(1, FIRST, ok(1))), (2, 3, reserve(2, SECOND, ok(1)))],
        vec![(0, 1, reserve(1, FIRST, ok(2))), (2, 3, reserve(2, SECOND, ok(1)))],
        // Bound to a connection of a killed server.
        vec![
            (0, 1, request(Ask::Reserve { tag: 1, which: FIRST, bound: true }, ok(1))),
            (2, 3, crash()),
            (4, 5, request(Ask::Free, Outcome::AreFree(SECOND))),
        ],
    ];
    for requests in bad {
        assert!(violation(&history(&requests)).is_some(), "{requests:?}");
    }
}

// ---------------------------------------------------------------------------------------------
// Histories of real servers.

const PAIRS: usize = 3;
const CLIENTS: usize = 5;
const LIVES: usize = 4;
/// The number of requests of a client between two crashes.
const REQUESTS: usize = 150;

/// The history of all clients, in order.
#[derive(Default)]
struct Log {
    actions: [Actions; PAIRS],
    /// Known numbers by pair, so that clients change the reservations of other clients.
    numbers: [Vec<u64>; PAIRS],
    tags: u64,
    answers: usize,
    unanswered: usize,
}

impl Log {
    fn call(&mut self, unit: usize, client: usize, ask: &Ask) {
        let call = request(ask.clone(), Outcome::Unknown);
        self.actions[unit].push((client, Action::Call(call)));
    }

    fn response(&mut self, unit: usize, client: usize, ask: Ask, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            self.unanswered += 1;
        } else {
            self.answers += 1;
        }
        if let (Ask::Reserve { .. }, Outcome::Ok(number)) = (&ask, &outcome) {
            self.numbers[unit].push(*number);
        }
        self.actions[unit].push((client, Action::Response(request(ask, outcome))));
    }
}

fn name(unit: usize, at: usize) -> String {
    format!("P{unit} {at}")
}

/// Generates a request for a pair and records its call.
fn draw(rng: &mut Rng, log: &Mutex<Log>, unit: usize, client: usize) -> (Ask, String) {
    let mut log = log.lock().unwrap();
    let recent = log.numbers[unit].iter().rev().take(4).copied().collect::<Vec<_>>();
    let number = if recent.is_empty() { None } else { Some(rng.pick(&recent)) };
    let (ask, line) = match (rng.below(10), number) {
        (0 | 1, Some(number)) => (Ask::Cancel(number), format!("CANCELAR #{number}")),
        (2, Some(number)) => (Ask::Verify(number), format!("VERIFICAR #{number}")),
        (3, _) => {
            let at = rng.below(2);
            (Ask::Leave(at), format!("CANCELAR {}", name(unit, at)))
        }
        (4, _) => (Ask::List, format!("RESERVAS P{unit} *")),
        (5, _) => (Ask::Free, format!("LISTAR P{unit} *")),
        _ => {
            log.tags += 1;
            let (tag, which) = (log.tags, rng.pick(&[FIRST, SECOND, BOTH]));
            let bound = rng.one_in(6);
            let names: Vec<_> = (0..2).filter(|at| which[*at]).map(|at| name(unit, at)).collect();
            let mut line = format!("RESERVAR {} nota={tag}", names.join(", "));
            if bound {
                line += " hasta=salir";
            }
            if rng.one_in(30) {
                line += " espera=1s";
            }
            (Ask::Reserve { tag, which, bound }, line)
        }
    };
    log.call(unit, client, &ask);
    (ask, line)
}

/// Returns the outcome of a request, which is unknown if the connection ends first.
fn execute(client: &mut Client, ask: &Ask, line: &str) -> Outcome {
    if !client.try_send(format!("{line}\n")) {
        return Outcome::Unknown;
    }
    let mut reply = client.try_line();
    while reply.as_ref().is_some_and(|line| line.starts_with("* COLA ")) {
        reply = client.try_line();
    }
    let Some(reply) = reply else { return Outcome::Unknown };
    if let Some(count) = reply.strip_prefix("OK ").filter(|_| matches!(ask, Ask::List | Ask::Free))
    {
        let count: usize = count.split(' ').next().unwrap().parse().unwrap();
        let bookings: Option<Vec<_>> = (0..count).map(|_| client.try_line()).collect();
        return bookings.map_or(Outcome::Unknown, |bookings| list(ask, &bookings));
    }
    match (reply.get(..7).unwrap(), ask) {
        ("OK RESE" | "OK CANC" | "OK VIGE", _) => Outcome::Ok(number(&reply)),
        ("ERR 409", Ask::Reserve { .. }) => Outcome::Taken(number(&reply)),
        ("ERR 408", Ask::Reserve { .. }) => Outcome::TimedOut,
        ("ERR 410", Ask::Cancel(_) | Ask::Verify(_)) | ("ERR 404", Ask::Leave(_)) => Outcome::Over,
        _ => panic!("{line}: {reply}"),
    }
}

/// Returns the first number in a reply.
fn number(reply: &str) -> u64 {
    let (_, rest) = reply.split_once('#').unwrap_or_else(|| panic!("{reply}"));
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn list(ask: &Ask, lines: &[String]) -> Outcome {
    let at = |name: &str| -> usize { name.rsplit(' ').next().unwrap().parse().unwrap() };
    if *ask == Ask::Free {
        let mut free = [false; 2];
        lines.iter().for_each(|line| free[at(line)] = true);
        return Outcome::AreFree(free);
    }
    let mut bookings = [None; 2];
    for line in lines {
        let fields: Vec<_> = line.split('\t').collect();
        let row = (number(fields[0]), fields[5].parse().unwrap());
        assert_eq!(bookings[at(fields[1])].replace(row), None, "two at one time: {lines:?}");
    }
    Outcome::Bookings(bookings)
}

/// Runs a client on one connection, to which some reservations are bound, until the server is
/// killed or all requests are sent.
fn run_client(
    address: SocketAddr,
    me: usize,
    mut rng: Rng,
    log: &Mutex<Log>,
    on_reply: &Sender<()>,
) -> Option<Client> {
    let mut client = Client::from_stream(TcpStream::connect(address).ok()?);
    for _ in 0..REQUESTS {
        let unit = rng.below(PAIRS);
        let (ask, line) = draw(&mut rng, log, unit, me);
        let outcome = execute(&mut client, &ask, &line);
        let is_over = outcome == Outcome::Unknown;
        log.lock().unwrap().response(unit, me, ask, outcome);
        if is_over {
            return None;
        }
        let _ = on_reply.send(());
    }
    Some(client)
}

/// Runs clients with several servers on one journal, each of which is killed.
fn record(rng: &mut Rng, directory: &TempDir) -> Log {
    let rooms = directory.path().join("rooms");
    let names: Vec<_> = (0..2 * PAIRS).map(|n| name(n / 2, n % 2)).collect();
    std::fs::write(&rooms, names.join("\n")).unwrap();
    let arguments = ["--inventory", rooms.to_str().unwrap()];
    let log = Arc::new(Mutex::new(Log::default()));
    let mut server = Server::durable(directory.path(), &arguments);
    for life in 1..=LIVES {
        let (on_reply, reply_events) = channel();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|me| {
                let (address, rng) = (server.address, Rng(rng.next_u64()));
                let (log, on_reply) = (Arc::clone(&log), on_reply.clone());
                spawn(move || run_client(address, me, rng, &log, &on_reply))
            })
            .collect();
        drop(on_reply);
        // With the last server all clients send all of their requests.
        if life < LIVES {
            let moment = rng.below(CLIENTS * REQUESTS);
            reply_events.iter().take(moment).for_each(drop);
            server.signal("KILL");
        }
        let kept: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let everyone = |log: &mut Log, act: &dyn Fn(&mut Log, usize)| {
            (0..PAIRS).for_each(|unit| act(log, unit));
        };
        everyone(&mut log.lock().unwrap(), &|log, unit| log.call(unit, CLIENTS, &Ask::Crash));
        server.kill();
        drop(kept);
        server = Server::durable(directory.path(), &arguments);
        everyone(&mut log.lock().unwrap(), &|log, unit| {
            log.response(unit, CLIENTS, Ask::Crash, Outcome::Restarted);
        });
    }
    let mut client = server.connect();
    for unit in 0..PAIRS {
        let mut log = log.lock().unwrap();
        log.call(unit, CLIENTS, &Ask::List);
        let bookings = execute(&mut client, &Ask::List, &format!("RESERVAS P{unit} *"));
        log.response(unit, CLIENTS, Ask::List, bookings);
    }
    server.stop();
    Arc::into_inner(log).unwrap().into_inner().unwrap()
}

#[test]
fn concurrent_clients_and_crashes_make_linearizable_histories() {
    let mut rng = Rng(seed());
    let histories = std::env::var("RESERVAD_HISTORIES");
    let histories = histories.map_or(6, |count| count.parse().unwrap());
    let (mut answers, mut unanswered) = (0, 0);
    for _ in 0..histories {
        let log = record(&mut rng, &temp_dir());
        let mut numbers: Vec<_> = log.numbers.concat();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "a number was issued twice");
        for (unit, actions) in log.actions.iter().enumerate() {
            check(unit, actions);
        }
        answers += log.answers;
        unanswered += log.unanswered;
    }
    println!("{histories} histories, {answers} answers, {unanswered} requests without one");
    assert!(unanswered > 0, "no crash during a request");
}

//! The server without sockets against the naive model: random commands of many connections in
//! virtual time, in the order of the loop's turns. All sent lines are compared.
//!
//! `MODEL_SEQUENCES` sets the number of sequences (default 10,000), `MODEL_SEED` their seed. A
//! failure prints the seed of its sequence and all lines of it.

use std::collections::BTreeMap;

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Flow, Notices, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::{Capacity, Ending, Inventory, ResourceId, SessionId};
use reservad::journal::DiskStorage;
use reservad::limits::{BACKLOG_WORK, KEEP_ALIVES_ENDED};
use reservad::store::Store;
use reservad::time::{ClockReading, MonotonicMs, Time, Zone};
use support::Rng;
use support::generator::{Generator, HOLDERS, ROOMS};
use support::reference::{Command, End, Lang, Line, Model, Request, Start};

/// 2026-10-24T21:59:30Z, which is half a minute before the day on which daylight saving time ends
/// in Madrid.
const START_MS: i64 = 1_792_879_170_000;

/// A connection without a socket.
struct Peer {
    session: Session,
    eol: Eol,
    /// Whether the connection is known to be lost. No line of it is run and nothing is sent to it.
    gone: bool,
    out: Vec<u8>,
}

/// One sequence: the server without sockets, and the model.
struct Run {
    seed: u64,
    generator: Generator,
    zone: Zone,
    inventory: Inventory,
    batch: Batch,
    store: Store<DiskStorage>,
    model: Model,
    peers: BTreeMap<u64, Peer>,
    most_peers: usize,
    last_session: u64,
    now: i64,
    transcript: Vec<String>,
    seen: Seen,
}

/// How often each situation has occurred.
#[derive(Default)]
struct Seen {
    commands: usize,
    waits: usize,
    granted_later: usize,
    timed_out: usize,
    notices: usize,
    places: usize,
    booked_as_answered: usize,
    pieces: usize,
    keep_alives: usize,
    renewed_keep_alives: usize,
    ended_keep_alives: usize,
    codes: BTreeMap<u16, usize>,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.commands += other.commands;
        self.waits += other.waits;
        self.granted_later += other.granted_later;
        self.timed_out += other.timed_out;
        self.notices += other.notices;
        self.places += other.places;
        self.booked_as_answered += other.booked_as_answered;
        self.pieces += other.pieces;
        self.keep_alives += other.keep_alives;
        self.renewed_keep_alives += other.renewed_keep_alives;
        self.ended_keep_alives += other.ended_keep_alives;
        for (code, count) in &other.codes {
            *self.codes.entry(*code).or_default() += count;
        }
    }
}

/// Prints how to repeat a failure, and the lines of the sequence.
impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MODEL_SEED={} MODEL_SEQUENCES=1, so far:", self.seed);
            eprintln!("{}", self.transcript.join("\n"));
        }
    }
}

impl Run {
    fn new(seed: u64, zones: &[Zone]) -> Run {
        let mut rng = Rng(seed);
        let zone = zones[rng.below(zones.len())].clone();
        let small = rng.one_in(5);
        let (resources, reservations) = if small { (6, 2) } else { (100, 100) };
        let model = Model::new(zone.clone(), resources, reservations);
        let capacity = Capacity { resources: resources as u32, reservations: reservations as u32 };
        // Sometimes many waiters, so that there are positions after the tenth.
        let crowd = rng.one_in(30);
        let most_peers = if crowd { 30 } else { rng.pick(&[3, 5, 10]) };
        let mut run = Run {
            seed,
            generator: Generator { rng, zone: zone.clone(), crowd, keyed: Vec::new() },
            zone,
            inventory: Inventory::new(capacity),
            batch: Batch::default(),
            store: Store::in_memory(),
            model,
            peers: BTreeMap::new(),
            most_peers,
            last_session: 0,
            now: START_MS,
            transcript: Vec::new(),
            seen: Seen::default(),
        };
        // The budget is usually so small that due work takes many turns.
        let piece = run.generator.rng.pick(&[1, 10, 60, 200, BACKLOG_WORK]);
        run.inventory.set_backlog_work(piece);
        run.greet();
        let count = run.generator.rng.pick(&[1, 1, 2, 2, 3, 5]);
        let names = ROOMS[..count].iter().map(|room| (*room).to_owned()).collect();
        run.command(1, &Command::Add(names));
        run
    }

    fn greet(&mut self) {
        while self.peers.len() < self.most_peers {
            self.last_session += 1;
            let session = Session::new(SessionId(self.last_session));
            let eol = if self.generator.rng.one_in(4) { Eol::CrLf } else { Eol::Lf };
            let peer = Peer { session, eol, gone: false, out: Vec::new() };
            self.peers.insert(self.last_session, peer);
            self.model.connect(self.last_session);
            if self.generator.rng.one_in(2) {
                let name = self.generator.rng.pick(&HOLDERS).to_owned();
                self.command(self.last_session, &Command::IAm(name));
            }
        }
    }

    fn note(&mut self, text: String) {
        self.transcript.push(text);
    }

    fn time(&self) -> Time {
        Time::from_ms(self.now)
    }

    /// Runs a turn of the loop, in the order of the reactor.
    fn turn(&mut self) {
        self.pass();
        let monotonic_ms = (self.now - START_MS).unsigned_abs();
        self.inventory.set_monotonic(MonotonicMs(monotonic_ms));
        self.model.monotonic_ms = monotonic_ms;
        let mut dead = Vec::new();
        // The reset of a waiter is found before anything else is done.
        for session in self.model.waiting() {
            if self.generator.rng.one_in(60) {
                self.note(format!("{session} is reset"));
                self.inventory.leave_queue(SessionId(session), ClockReading::at(self.time()));
                self.model.leave_queue(session, self.now);
                self.hang_up(session, &mut dead);
            }
        }
        self.inventory.advance(ClockReading::at(self.time()), &self.zone, &mut self.batch);
        self.catch_up();
        let now = ClockReading::at(self.time());
        self.inventory.expire_keep_alives(now, KEEP_ALIVES_ENDED, &mut self.batch);
        self.inventory.grant_waiters(now, &self.zone, &mut self.batch);
        self.catch_up();
        self.model.advance(self.now);
        self.model.end_keep_alives(self.now);
        self.check();
        for _ in 0..self.generator.rng.pick(&[0, 1, 1, 2, 3]) {
            self.serve(&mut dead);
            self.check();
        }
        self.tell_waiters();
        self.store.commit(&mut self.batch).unwrap();
        self.tell_watchers();
        self.reap(&dead);
        self.check();
        self.greet();
        self.compare();
    }

    /// Does the remaining due work, in several turns.
    fn catch_up(&mut self) {
        while self.inventory.is_behind() {
            self.seen.pieces += 1;
            self.inventory.check();
            self.inventory.advance(ClockReading::at(self.time()), &self.zone, &mut self.batch);
        }
    }

    /// Advances the time, often to just before or after the next deadline.
    fn pass(&mut self) {
        let kept_alive =
            self.model.next_keep_alive().map(|monotonic_ms| START_MS + monotonic_ms.cast_signed());
        let due = self.model.next_time().into_iter().chain(kept_alive).min();
        let due = due.filter(|_| self.generator.rng.one_in(3));
        self.now = match due {
            Some(due) => self.now.max(due + self.generator.rng.pick(&[-1, 0, 0, 1, 700])),
            None => {
                let steps = [0, 0, 0, 0, 1, 400, 1_000, 5_000];
                let leaps = [1_000, 61_000, 3_600_000, 86_400_000];
                let leap = self.generator.rng.one_in(14);
                self.now
                    + if leap {
                        self.generator.rng.pick(&leaps)
                    } else {
                        self.generator.rng.pick(&steps)
                    }
            }
        };
        self.note(format!("-- {}", self.now - START_MS));
    }

    fn hang_up(&mut self, session: u64, dead: &mut Vec<u64>) {
        self.peers.get_mut(&session).unwrap().gone = true;
        dead.push(session);
    }

    /// Lets a connection send a line or an interrupt, or end.
    fn serve(&mut self, dead: &mut Vec<u64>) {
        let here: Vec<u64> =
            self.peers.iter().filter(|(_, peer)| !peer.gone).map(|(id, _)| *id).collect();
        if here.is_empty() {
            return;
        }
        let me = here[self.generator.rng.below(here.len())];
        if self.generator.rng.one_in(40) {
            self.note(format!("{me} hangs up"));
            return self.hang_up(me, dead);
        }
        if self.peers[&me].session.is_waiting() {
            // Lines after a wait are held back.
            if self.generator.rng.one_in(6) {
                self.note(format!("{me} interrupts"));
                self.inventory.interrupt(SessionId(me), ClockReading::at(self.time()));
                self.model.interrupt(me, self.now);
            }
            return;
        }
        let command = self.generator.draw(&self.model, self.now);
        let reply = self.command(me, &command);
        if matches!(command, Command::Quit) {
            self.hang_up(me, dead);
        }
        if let Command::Reserve(request) = &command
            && request.key.is_some()
        {
            self.generator.keyed.push(request.clone());
        }
        if let (Command::When(targets, _, end), Some(answer)) = (command, reply.strip_prefix("OK "))
            && self.generator.rng.one_in(2)
        {
            let start = answer.split(' ').next().unwrap();
            let start = self.zone.parse(start, self.time()).expect("a time").ms();
            self.book_as_answered(me, targets, start, end);
        }
    }

    /// Books the result of `CUANDO` at once, which must be granted.
    fn book_as_answered(&mut self, me: u64, targets: Vec<String>, start: i64, end: End) {
        let start = Start::At(start);
        let request = Request { targets, start, end, wait_ms: None, key: None, note: None };
        let is_full = self.model.is_full();
        let reply = self.command(me, &Command::Reserve(request));
        assert!(reply.starts_with("OK ") || is_full, "not granted as answered: {reply}");
        self.seen.booked_as_answered += usize::from(!is_full);
    }

    /// Runs a line on the server and the model, and returns the first line of the reply.
    fn command(&mut self, me: u64, command: &Command) -> String {
        let lang = self.generator.rng.pick(&[Lang::Es, Lang::En]);
        let line = self.generator.write(command, lang);
        self.note(format!("{me}> {line}"));
        self.seen.commands += 1;
        let zone = self.zone.clone();
        let stats = Stats::default;
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: self.store.history(),
            request_time: RequestTime {
                now: ClockReading::at(Time::from_ms(self.now)),
                zone: &zone,
            },
            stats: &stats,
        };
        let peer = self.peers.get_mut(&me).unwrap();
        let before = peer.out.len();
        let after = commands::run(
            line.as_bytes(),
            peer.eol,
            &mut peer.session,
            &mut context,
            &mut peer.out,
        );
        match after {
            Flow::Next => {}
            Flow::List(mut list) => while list.fill(50, &mut peer.out) {},
            Flow::Close => assert!(matches!(command, Command::Quit)),
            Flow::Leave | Flow::Later(_) => panic!("{line:?} was deferred"),
            Flow::Foreign => panic!("{line:?} was taken for another protocol"),
        }
        let reply = String::from_utf8(peer.out[before..].to_vec()).unwrap();
        self.catch_up();
        self.seen.waits += usize::from(reply.starts_with("* "));
        self.note(format!("{me}< {}", reply.trim_end()));
        self.model.run(me, command, lang, self.now);
        reply
    }

    fn tell_waiters(&mut self) {
        for (session, outcome) in self.inventory.take_outcomes() {
            let Some(peer) = self.peers.get_mut(&session.0).filter(|peer| !peer.gone) else {
                continue;
            };
            let stats = Stats::default;
            let context = CommandContext {
                inventory: &mut self.inventory,
                batch: &mut self.batch,
                history: self.store.history(),
                request_time: RequestTime {
                    now: ClockReading::at(Time::from_ms(self.now)),
                    zone: &self.zone,
                },
                stats: &stats,
            };
            let before = peer.out.len();
            commands::resolve(&mut peer.session, &outcome, &context, &mut peer.out);
            let output = String::from_utf8(peer.out[before..].to_vec()).unwrap();
            self.seen.places += usize::from(output.starts_with("* "));
            self.transcript.push(format!("{}< {}", session.0, output.trim_end()));
        }
    }

    fn tell_watchers(&mut self) {
        for peer in self.peers.values_mut().filter(|peer| !peer.gone) {
            // In pieces, as for a slow reader.
            let before = peer.out.len();
            while peer.session.is_behind(self.store.history()) {
                let history = self.store.history();
                commands::notices(
                    &mut peer.session,
                    history,
                    &mut Notices::default(),
                    &self.zone,
                    30,
                    &mut peer.out,
                );
            }
            let output = peer.out[before..].iter().filter(|byte| **byte == b'\n').count();
            self.seen.notices += output;
        }
        self.model.notify_watchers(self.model.last_event());
    }

    /// Removes all lost connections from the queue before any of them releases a reservation.
    fn reap(&mut self, dead: &[u64]) {
        for session in dead {
            self.inventory.leave_queue(SessionId(*session), ClockReading::at(self.time()));
            self.model.leave_queue(*session, self.now);
        }
        for session in dead {
            let peer = self.peers.get_mut(session).unwrap();
            let stats = Stats::default;
            let mut context = CommandContext {
                inventory: &mut self.inventory,
                batch: &mut self.batch,
                history: self.store.history(),
                request_time: RequestTime {
                    now: ClockReading::at(Time::from_ms(self.now)),
                    zone: &self.zone,
                },
                stats: &stats,
            };
            commands::leave(peer.session.id(), Ending::Lost, usize::MAX, &mut context);
            self.catch_up();
            self.model.leave(*session, self.now);
        }
        // The effects are sent now and not in the next turn, to be compared.
        self.tell_waiters();
    }

    fn check(&self) {
        self.inventory.check();
        assert!(
            !self.inventory.some_waiter_fits(ClockReading::at(self.time()), &self.zone),
            "a waiter fits"
        );
    }

    /// Checks that all connections were sent exactly the lines of the model.
    fn compare(&mut self) {
        let mut want: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
        for (session, line, _) in self.model.take_output() {
            want.entry(session).or_default().push(line);
        }
        let mut peers = std::mem::take(&mut self.peers);
        for (session, peer) in &mut peers {
            let want = want.remove(session).unwrap_or_default();
            let output = String::from_utf8(std::mem::take(&mut peer.out)).unwrap();
            let output: Vec<_> = output.split_inclusive(peer.eol.as_str()).collect();
            for (at, want) in want.iter().enumerate() {
                let got = output.get(at).copied().unwrap_or("nothing");
                let line = got.strip_suffix(peer.eol.as_str()).unwrap_or(got);
                match want {
                    _ if peer.gone && at >= output.len() => {}
                    Line::Is(want) => assert_eq!(line, want, "to {session}"),
                    Line::Error(code, parts) => {
                        let is_code = line.starts_with(&format!("ERR {code} "));
                        let has_all = parts.iter().all(|part| line.contains(part.as_str()));
                        assert!(is_code && has_all, "to {session}: {line}; want {want:?}");
                        *self.seen.codes.entry(*code).or_default() += 1;
                    }
                }
            }
            let more = output.get(want.len()..).unwrap_or_default();
            assert!(more.is_empty(), "to {session}: {more:?} and nothing was due");
            assert!(
                peer.gone || peer.session.is_waiting() == self.model.waiting().contains(session)
            );
        }
        peers.retain(|_, peer| !peer.gone);
        self.peers = peers;
        self.greet();
        assert_eq!(self.inventory.last_number().0, self.model.last_number());
        assert_eq!(self.inventory.last_event(), self.model.last_event());
    }
}

fn run_sequence(seed: u64, zones: &[Zone]) -> Seen {
    let mut run = Run::new(seed, zones);
    let turns = if run.generator.crowd { 60 } else { 10 + run.generator.rng.below(12) };
    for _ in 0..turns {
        run.turn();
    }
    let mut seen = std::mem::take(&mut run.seen);
    let of = |what| run.model.counts.get(what).copied().unwrap_or(0);
    (seen.granted_later, seen.timed_out) = (of("granted later"), of("waits timed out"));
    seen.keep_alives = of("kept alive");
    seen.renewed_keep_alives = of("renewed for the same length");
    seen.ended_keep_alives = of("not renewed in time");
    seen
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn all_replies_match_the_model() {
    let first = number("MODEL_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_nanos() as u64
    });
    let count = number("MODEL_SEQUENCES").unwrap_or(10_000);
    println!("MODEL_SEED={first} MODEL_SEQUENCES={count}");
    let zones = [Zone::utc(), Zone::named("Europe/Madrid").expect("a zone database")];
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get() as u64).min(count);
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let part = |thread: u64| {
            let zones = &zones;
            move || {
                let mut seen = Seen::default();
                for at in (thread..count).step_by(threads as usize) {
                    seen.add(&run_sequence(first.wrapping_add(at), zones));
                }
                seen
            }
        };
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(part(thread))).collect();
        for one in all {
            match one.join() {
                Ok(more) => seen.add(&more),
                Err(reason) => std::panic::resume_unwind(reason),
            }
        }
    });
    let Seen {
        commands,
        waits,
        granted_later,
        timed_out,
        notices,
        places,
        booked_as_answered,
        pieces,
        keep_alives,
        renewed_keep_alives,
        ended_keep_alives,
        codes,
    } = &seen;
    println!(
        "{commands} commands, {waits} waits, {granted_later} granted later, {timed_out} timed out, \
         {places} new places, {notices} notices, {booked_as_answered} booked as answered, \
         {pieces} pieces left, {keep_alives} kept alive, {renewed_keep_alives} renewed for the \
         same length, {ended_keep_alives} not renewed in time, errors {codes:?}"
    );
    if count >= 10_000 {
        let all =
            [*waits, *granted_later, *timed_out, *notices, *places, *booked_as_answered, *pieces];
        let keep_alives = [*keep_alives, *renewed_keep_alives, *ended_keep_alives];
        assert!(all.iter().all(|one| *one > 1_000), "the random commands do not reach everything");
        assert!(keep_alives.iter().all(|one| *one > 100), "too few keep-alive reservations");
        for code in [400, 401, 403, 404, 409, 410, 503] {
            assert!(codes.get(&code).is_some_and(|seen| *seen > 100), "too few {code}");
        }
    }
}

/// A server without sockets on which single lines are run.
struct Talk {
    run: Run,
}

impl Talk {
    fn new(reservations: u32) -> Talk {
        let mut run = Run::new(0, &[Zone::utc()]);
        run.inventory = Inventory::new(Capacity { resources: 2_000, reservations });
        run.peers.clear();
        Talk { run }
    }

    /// Runs a line on a new connection and returns the reply.
    fn say(&mut self, line: &str) -> String {
        let run = &mut self.run;
        run.last_session += 1;
        let session = Session::new(SessionId(run.last_session));
        let peer = Peer { session, eol: Eol::Lf, gone: false, out: Vec::new() };
        let peer = run.peers.entry(run.last_session).or_insert(peer);
        let stats = Stats::default;
        let mut context = CommandContext {
            inventory: &mut run.inventory,
            batch: &mut run.batch,
            history: run.store.history(),
            request_time: RequestTime {
                now: ClockReading::at(Time::from_ms(run.now)),
                zone: &run.zone,
            },
            stats: &stats,
        };
        let mut out = Vec::new();
        commands::run(line.as_bytes(), Eol::Lf, &mut peer.session, &mut context, &mut out);
        run.inventory.check();
        String::from_utf8(out).unwrap().trim_end().to_owned()
    }

    /// Takes the lines sent to waiters, each with the number of its connection.
    fn output(&mut self) -> Vec<String> {
        self.run.tell_waiters();
        self.run
            .peers
            .iter_mut()
            .filter_map(|(id, peer)| {
                let out = String::from_utf8(std::mem::take(&mut peer.out)).unwrap();
                (!out.is_empty()).then(|| format!("{id} {}", out.trim_end()))
            })
            .collect()
    }
}

/// A resource that is released while the server is full is granted later.
#[test]
fn waiter_is_granted_when_the_server_is_no_longer_full() {
    let mut talk = Talk::new(2);
    talk.run.last_session = 0;
    talk.say("ALTA Sala 1..3");
    assert_eq!(talk.say("RESERVAR Sala 1, Sala 2"), "OK RESERVADO #1 Sala 1, Sala 2");
    assert_eq!(talk.say("RESERVAR Sala 1 espera=1h"), "* COLA 1 Sala 1");
    assert_eq!(talk.say("RESERVAR Sala 3"), "OK RESERVADO #2 Sala 3");
    assert_eq!(talk.say("CANCELAR Sala 1"), "OK CANCELADO #1 Sala 1");
    assert!(talk.output().is_empty(), "the server is full");
    assert_eq!(talk.say("CANCELAR Sala 3"), "OK CANCELADO #2 Sala 3");
    assert_eq!(talk.output(), ["3 OK RESERVADO #3 Sala 1"]);
}

/// Regression test: its start moves with the time, past a reservation that has just ended. It was
/// treated like a request with dates, which an end at its start cannot free.
#[test]
fn pattern_waiter_after_its_start_is_granted_at_an_end() {
    let mut talk = Talk::new(10);
    talk.run.last_session = 0;
    talk.say("ALTA Sala 1");
    assert!(talk.say("RESERVAR Sala 1 por=1m").starts_with("OK RESERVADO #1 "));
    assert_eq!(talk.say("RESERVAR Sala * desde=ahora espera=1h"), "* COLA 1 Sala *");
    let run = &mut talk.run;
    run.now += 60_000;
    run.inventory.advance(ClockReading::at(run.time()), &run.zone, &mut run.batch);
    let output = talk.output();
    assert!(output[0].starts_with("3 OK RESERVADO #2 Sala 1 desde="), "{output:?}");
}

/// So many resources at once that every waiter is tried, still in order.
#[test]
fn hundred_new_rooms_are_granted_oldest_first() {
    let mut talk = Talk::new(1_000);
    talk.run.last_session = 0;
    talk.say("ALTA Sala 1");
    talk.say("RESERVAR Sala 1");
    for place in 1..=3 {
        assert_eq!(talk.say("RESERVAR Sala * espera=1h"), format!("* COLA {place} Sala *"));
    }
    assert_eq!(talk.say("ALTA Sala 2..101"), "OK ALTA 100");
    let want = ["3 OK RESERVADO #2 Sala 2", "4 OK RESERVADO #3 Sala 3", "5 OK RESERVADO #4 Sala 4"];
    assert_eq!(talk.output(), want);
}

/// Ids are compacted when most of them belong to removed rooms.
#[test]
fn queue_survives_the_compaction_of_ids() {
    let mut talk = Talk::new(1_000);
    talk.run.last_session = 0;
    talk.say("ALTA Taller 1..1200");
    talk.say("ALTA Sala 1, Sala 2");
    talk.say("RESERVAR Sala 1, Sala 2");
    assert_eq!(talk.say("RESERVAR Sala 2 espera=1h"), "* COLA 1 Sala 2");
    assert_eq!(talk.say("RESERVAR Sala 2 espera=1h"), "* COLA 2 Sala 2");
    let names: Vec<String> = (1..=1200).map(|n| format!("Taller {n}")).collect();
    for some in names.chunks(32) {
        assert_eq!(
            talk.say(&format!("BAJA {}", some.join(", "))),
            format!("OK BAJA {}", some.len())
        );
    }
    let last =
        |talk: &Talk| (0..).map_while(|id| talk.run.inventory.next_resource(ResourceId(id))).max();
    let before = last(&talk);
    talk.run.inventory.compact_ids();
    assert!(last(&talk) < before, "the ids were compacted");
    assert_eq!(talk.say("CANCELAR Sala 2"), "OK CANCELADO #1 Sala 2");
    assert_eq!(talk.output(), ["4 OK RESERVADO #2 Sala 2", "5 * COLA 1 Sala 2"]);
}

/// Returns the resources in order, and whether their ids have gaps.
fn rooms(inventory: &Inventory) -> (Vec<String>, bool) {
    let next = |id: &ResourceId| inventory.next_resource(id.next());
    let ids: Vec<_> = std::iter::successors(inventory.next_resource(ResourceId(0)), next).collect();
    let name = |id: &ResourceId| inventory.names().texts().name(*id).to_owned();
    (ids.iter().map(name).collect(), ids.last().is_some_and(|last| last.index() >= ids.len()))
}

/// Reservations and waiters of that time are found at every step.
#[test]
fn ids_are_compacted_in_pieces() {
    let mut talk = Talk::new(1_000);
    talk.run.inventory = Inventory::new(Capacity { resources: 21_000, reservations: 1_000 });
    talk.run.last_session = 0;
    talk.say("ALTA Sala 1..10000");
    talk.say("ALTA Aula 1..10000");
    talk.say("RESERVAR Sala 7777, Aula 9999");
    for room in (2..=10_000).step_by(400) {
        talk.say(&format!("RESERVAR Aula {room} desde=2030-01-01 noches=1"));
        talk.say(&format!("RESERVAR Aula {room} desde=2031-01-01 noches=1"));
    }
    assert_eq!(talk.say("RESERVAR Aula 9999 espera=1h"), "* COLA 1 Aula 9999");
    let odd = |n: &u32| n % 2 == 1 && *n != 7777 && *n != 9999;
    let gone: Vec<_> = (1..=10_000).filter(odd).map(|n| format!("Sala {n}, Aula {n}")).collect();
    for some in gone.chunks(16) {
        assert_eq!(
            talk.say(&format!("BAJA {}", some.join(", "))),
            format!("OK BAJA {}", 2 * some.len())
        );
    }
    let begun = rooms(&talk.run.inventory).0.len();
    assert_eq!(talk.say("BAJA Sala 4, Sala 6, Sala 8, Sala 10, Sala 12"), "OK BAJA 5");
    assert!(talk.run.inventory.wants_compaction(), "{begun}");
    let mut pieces = 0;
    while rooms(&talk.run.inventory).1 {
        let before = rooms(&talk.run.inventory).0;
        talk.run.inventory.compact_ids();
        talk.run.inventory.check();
        assert_eq!(rooms(&talk.run.inventory).0, before, "after {pieces} pieces");
        pieces += 1;
        let room = 2 + pieces * 400;
        talk.say(&format!("CANCELAR Aula {room} desde=2030-01-01"));
        assert_eq!(talk.say(&format!("ALTA Nueva {pieces}")), "OK ALTA 1");
        assert!(talk.say(&format!("RESERVAR Nueva {pieces}")).starts_with("OK RESERVADO #"));
        assert!(pieces < 100, "the list ends although resources are added");
    }
    assert!(pieces > 3, "not all {begun} at once");
    assert_eq!(talk.say("CANCELAR #1"), "OK CANCELADO #1 Sala 7777, Aula 9999");
    let granted = talk.output().join("\n");
    assert!(granted.contains(" Aula 9999"), "{granted}");
    talk.run.inventory.check();
}

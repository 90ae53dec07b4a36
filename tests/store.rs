//! The inventory and its store, without sockets. Random commands in virtual time are compared with
//! the replayed journal, with compactions, restarts and power cuts in between, and questions about
//! time are compared with a model of lists and loops.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::rc::Rc;

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Flow, Notices, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::pattern::Pattern;
use reservad::inventory::{
    Capacity, Earliest, End, Ending, Event, Grant, Interval, Inventory, Number, Origin, Principal,
    Request, Reservation, ResourceId, Selector, SessionId, Start, When,
};
use reservad::journal::{self, Journal, SyncPolicy};
use reservad::limits::{KEPT_TEXT_MAX_BYTES, TARGETS_MAX};
use reservad::store::{self, History, Store};
use reservad::time::{ClockReading, Round, Time, Zone};
use support::sim_disk::{Faults, SimDisk};
use support::{Rng, seed};

const CAPACITY: Capacity = Capacity { resources: 400, reservations: 200 };

/// 2026-11-22T16:00:00Z.
const START_MS: i64 = 1_795_363_200_000;

/// Returns everything that must survive a restart. Ids may change, names may not.
fn dump(inventory: &Inventory) -> String {
    let mut text =
        format!("events {} numbers {}\n", inventory.last_event(), inventory.last_number());
    let texts = inventory.names().texts();
    let mut next = ResourceId(0);
    while let Some(id) = inventory.next_resource(next) {
        writeln!(text, "{}", texts.name(id)).unwrap();
        next = id.next();
    }
    let mut after = Number(0);
    while let Some(one) = inventory.next_reservation(after) {
        let names: Vec<_> = one.targets().iter().map(|id| texts.name(*id)).collect();
        let bound = one.session().is_some();
        writeln!(
            text,
            "#{} {names:?} {} {} lease {} bound {bound} {:?} {:?} {:?}",
            one.number,
            one.from.ms(),
            one.until.ms(),
            one.lease,
            one.holder,
            one.note(),
            one.key(),
        )
        .unwrap();
        after = one.number;
    }
    text
}

/// Runs one line to the end of its reply. Returns whether the connection continues.
fn run(
    inventory: &mut Inventory,
    batch: &mut Batch,
    session: &mut Session,
    now: Time,
    line: &str,
) -> (String, bool) {
    let zone = Zone::utc();
    let stats = Stats::default;
    let history = History::default();
    let mut context = CommandContext {
        inventory,
        batch,
        history: &history,
        request_time: RequestTime { now: ClockReading::at(now), zone: &zone },
        stats: &stats,
    };
    let mut out = Vec::new();
    let continues = match commands::run(line.as_bytes(), Eol::Lf, session, &mut context, &mut out) {
        Flow::Next => true,
        Flow::List(mut list) => {
            while list.fill(700, &mut out) {}
            true
        }
        Flow::Close => false,
        Flow::Leave | Flow::Later(_) => panic!("{line:?} was deferred"),
        Flow::Foreign => panic!("{line:?} was taken for another protocol"),
    };
    (String::from_utf8(out).unwrap(), continues)
}

/// Returns the lists that a client sees.
fn seen(inventory: &mut Inventory, now: Time) -> String {
    let mut session = Session::new(SessionId(u64::MAX));
    let mut batch = Batch::default();
    let lines = ["RESERVAS", "LISTAR", "LISTAR sala * por=90m", "ESTADO"];
    let all = lines.map(|line| run(inventory, &mut batch, &mut session, now, line).0);
    assert!(batch.is_empty());
    all.concat()
}

/// A server without sockets.
struct World {
    rng: Rng,
    disk: SimDisk,
    policy: SyncPolicy,
    store: Store<SimDisk>,
    inventory: Inventory,
    batch: Batch,
    sessions: Vec<Session>,
    last_session: u64,
    last_room: usize,
    /// Requests with a `clave=`, to be repeated.
    keyed: Vec<String>,
    now: Time,
    /// The state after the last acknowledged commit.
    committed: String,
    /// The highest number in a reply.
    last_number: Number,
    compactions: usize,
    tidied: usize,
    crashes: usize,
    granted: usize,
}

/// The error after which the process must stop.
#[derive(Debug)]
struct Stopped;

impl World {
    fn new(seed: u64, policy: SyncPolicy) -> World {
        let disk = SimDisk::new(4096, seed);
        let (store, inventory, _) = Store::open(disk.clone(), policy, CAPACITY).unwrap();
        let committed = dump(&inventory);
        let mut world = World {
            rng: Rng(seed),
            disk,
            policy,
            store,
            inventory,
            batch: Batch::default(),
            sessions: Vec::new(),
            last_session: 0,
            last_room: 0,
            keyed: Vec::new(),
            now: Time::from_ms(START_MS),
            committed,
            last_number: Number(0),
            compactions: 0,
            tidied: 0,
            crashes: 0,
            granted: 0,
        };
        world.greet();
        world
    }

    fn greet(&mut self) {
        while self.sessions.len() < 5 {
            self.last_session += 1;
            self.sessions.push(Session::new(SessionId(self.last_session)));
        }
    }

    /// Runs one turn of the loop, in the reactor's order.
    fn turn(&mut self) -> Result<(), Stopped> {
        let step_ms = self.rng.pick(&[0, 1, 700, 20_000, 600_000, 7_200_000]);
        self.now = self.now.plus_ms(step_ms);
        self.inventory.advance(ClockReading::at(self.now), &Zone::utc(), &mut self.batch);
        let mut numbers = Vec::new();
        for _ in 0..self.rng.below(6) {
            let line = self.line();
            numbers.extend(self.command(&line));
        }
        if self.rng.one_in(10) {
            self.renovate();
        }
        self.inventory.check();
        self.commit()?;
        for number in numbers {
            assert!(
                number > self.last_number,
                "#{number} was issued again after #{}",
                self.last_number
            );
            self.last_number = number;
        }
        if self.rng.one_in(12) {
            self.hang_up();
        }
        if !self.batch.is_empty() {
            return Ok(());
        }
        if !self.store.is_compacting() {
            let last = |inventory: &Inventory| {
                (0..).map_while(|id| inventory.next_resource(ResourceId(id))).max()
            };
            let before = last(&self.inventory);
            self.inventory.compact_ids();
            self.tidied += usize::from(last(&self.inventory) < before);
        }
        if self.store.is_compacting() || self.rng.one_in(12) {
            self.compact()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Stopped> {
        self.store.commit(&mut self.batch).map_err(|_| Stopped)?;
        self.committed = dump(&self.inventory);
        // A spare tail would make a replay slow here.
        if self.policy == SyncPolicy::Never || self.rng.one_in(10) {
            self.compare();
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), Stopped> {
        let piece_bytes = self.rng.pick(&[1, 400, 4_000, 20_000]);
        let outcome = self.store.compact(&self.inventory, self.now, piece_bytes);
        if outcome.map_err(|_| Stopped)?.is_none() && !self.store.is_compacting() {
            self.compactions += 1;
            self.compare();
        }
        Ok(())
    }

    /// Checks that the replayed journal equals the inventory, for the program and for a client.
    fn compare(&mut self) {
        let mut copy = Inventory::new(CAPACITY);
        let report =
            journal::check(&self.disk, |record| store::replay(&mut copy, record).map(|_| ()));
        let report = report.unwrap();
        assert_eq!(report.bad, None);
        copy.check();
        assert_eq!(dump(&copy), dump(&self.inventory), "the journal says something else");
        assert_eq!(seen(&mut copy, self.now), seen(&mut self.inventory, self.now));
    }

    /// Closes a connection without a command.
    fn hang_up(&mut self) {
        let session = self.sessions.swap_remove(self.rng.below(self.sessions.len()));
        let zone = Zone::utc();
        let request_time = RequestTime { now: ClockReading::at(self.now), zone: &zone };
        let stats = Stats::default;
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: self.store.history(),
            request_time,
            stats: &stats,
        };
        commands::leave(session.id(), Ending::Lost, usize::MAX, &mut context);
        self.greet();
    }

    /// Kills the process or cuts the power, and starts a new process.
    fn restart(&mut self, power_cut: bool) {
        self.crashes += 1;
        let attempted = dump(&self.inventory);
        if power_cut {
            self.disk.lose_power();
        }
        let (store, inventory, opened) =
            Store::open(self.disk.clone(), self.policy, CAPACITY).expect("the journal opens");
        let found = dump(&inventory);
        assert!(
            found == self.committed || (power_cut && found == attempted),
            "found:\n{found}\nacknowledged:\n{}",
            self.committed
        );
        assert!(opened.last_time <= self.now);
        (self.store, self.inventory) = (store, inventory);
        self.batch = Batch::default();
        self.sessions.clear();
        self.greet();
        store::end_orphans(&mut self.inventory, opened.last_time, &mut self.batch);
        self.inventory.advance(ClockReading::at(self.now), &Zone::utc(), &mut self.batch);
        self.commit().unwrap();
        assert!(!dump(&self.inventory).contains("bound true"), "an orphan lives on");
        self.compare();
    }

    /// Runs one random command of a random connection. Returns its number, if it got one.
    fn command(&mut self, line: &str) -> Option<Number> {
        let at = self.rng.below(self.sessions.len());
        let before = self.inventory.last_number();
        let session = &mut self.sessions[at];
        let (reply, continues) = run(&mut self.inventory, &mut self.batch, session, self.now, line);
        assert!(reply.starts_with("OK ") || reply.starts_with("ERR "), "{line}: {reply}");
        assert!(!reply.starts_with("ERR 400"), "{line}: {reply}");
        if !continues {
            self.sessions.swap_remove(at);
            self.greet();
        }
        if self.inventory.last_number() == before {
            return None;
        }
        self.granted += 1;
        assert_eq!(self.inventory.last_number(), before.next());
        // A retry with a date would some day be a request for the past.
        if line.contains("clave=") && !line.contains("=20") {
            self.keyed.push(line.to_owned());
        }
        assert!(reply.starts_with(&format!("OK RESERVADO #{} ", before.next())), "{line}: {reply}");
        Some(before.next())
    }

    /// Adds rooms and removes most of them, which leaves holes in the ids.
    fn renovate(&mut self) {
        let (first, last) = (self.last_room + 1, self.last_room + 90);
        self.last_room = last;
        self.command(&format!("ALTA Ala {first}..{last}"));
        for part in [first..first + 30, first + 30..first + 60, first + 60..last] {
            let names: Vec<_> = part.map(|room| format!("Ala {room}")).collect();
            self.command(&format!("BAJA {}", names.join(", ")));
        }
    }

    fn line(&mut self) -> String {
        if !self.keyed.is_empty() && self.rng.one_in(15) {
            return self.keyed[self.rng.below(self.keyed.len())].clone();
        }
        match self.rng.below(100) {
            0..22 => self.cancel(),
            22..30 => self.add(),
            30..34 => self.remove(),
            34..38 => format!("SOY {}", self.rng.pick(&["ana", "luis", "Zoë"])),
            38..40 => "SALIR".to_owned(),
            40..43 => "RESERVAS *1* titular=ana".to_owned(),
            43..47 => format!("VERIFICAR #{}", 1 + self.rng.below(self.last_number.0 as usize + 2)),
            47..54 => {
                let number = 1 + self.rng.below(self.last_number.0 as usize + 2);
                format!("RENOVAR #{number} por={}m", 1 + self.rng.below(900))
            }
            _ => self.reserve(),
        }
    }

    fn name(&mut self) -> Option<String> {
        let from = ResourceId::at(self.rng.below(self.last_room + 1));
        let id =
            self.inventory.next_resource(from).or(self.inventory.next_resource(ResourceId(0)))?;
        Some(self.inventory.names().texts().name(id).to_owned())
    }

    fn reserve(&mut self) -> String {
        let mut targets = BTreeSet::new();
        for _ in 0..self.rng.pick(&[1, 1, 1, 2, 3, 7]) {
            targets.insert(match self.rng.below(4) {
                0 => self.rng.pick(&["*", "Sala *", "boveda *", "*7*"]).to_owned(),
                _ => self.name().unwrap_or("nada".to_owned()),
            });
        }
        let targets: Vec<_> = targets.into_iter().collect();
        let mut line = format!("RESERVAR {}", targets.join(", "));
        let zone = Zone::utc();
        let mut from = self.now;
        if self.rng.one_in(4) {
            from = self.now.plus_ms(1000 * self.rng.below(200_000) as i64 - 3_000_000);
            write!(line, " desde={}", zone.text(from, Round::Down)).unwrap();
        }
        match self.rng.below(8) {
            0 => {}
            1 => line += " hasta=salir",
            2 => line += " noches=2",
            3 => {
                let until = from.plus_ms(5_000_000 + 1000 * self.rng.below(50_000) as i64);
                write!(line, " hasta={}", zone.text(until, Round::Down)).unwrap();
            }
            _ => write!(line, " por={}m", 60 + self.rng.below(900)).unwrap(),
        }
        if self.rng.one_in(3) {
            line += self.rng.pick(&[
                r#" nota="dos adultos""#,
                r#" nota="dice \"sí\" y \\ 🏗""#,
                r#" nota=" from=1970 ""#,
                " nota=ñandú",
            ]);
        }
        if self.rng.one_in(4) {
            write!(line, " clave=k{}", self.rng.below(12)).unwrap();
        }
        line
    }

    fn cancel(&mut self) -> String {
        if self.rng.one_in(2) {
            return format!("CANCELAR {}", self.name().unwrap_or("nada".to_owned()));
        }
        let after = self.rng.below(self.last_number.0 as usize + 1) as u64;
        match self.inventory.next_reservation(Number(after)) {
            Some(one) => format!("CANCELAR #{}", one.number),
            None => "CANCELAR #1".to_owned(),
        }
    }

    fn add(&mut self) -> String {
        let count = self.rng.pick(&[1, 5, 15]);
        let first = self.last_room + 1;
        self.last_room += count;
        match self.rng.below(4) {
            // The name may have existed before.
            0 => format!("ALTA Sala {}", 1 + self.rng.below(first)),
            1 => format!("ALTA Bo\u{301}veda {first}..{}", self.last_room),
            _ => format!("ALTA Sala {first}..{}", self.last_room),
        }
    }

    fn remove(&mut self) -> String {
        let most = self.rng.pick(&[1, 10, 32]);
        let mut names = Vec::new();
        let mut next = ResourceId::at(self.rng.below(self.last_room + 1));
        while let Some(id) = self.inventory.next_resource(next).filter(|_| names.len() < most) {
            let is_free = self.inventory.overlap(id, Interval::ALL).is_none();
            if is_free || self.rng.one_in(40) {
                names.push(self.inventory.names().texts().name(id).to_owned());
            }
            next = id.next();
        }
        match names.is_empty() {
            true => "BAJA nada".to_owned(),
            false => format!("BAJA {}", names.join(", ")),
        }
    }
}

#[test]
fn replayed_journal_equals_the_inventory_and_a_restart_changes_nothing() {
    let seed = seed();
    let (mut tidied, mut compactions, mut granted) = (0, 0, 0);
    for round in 0..2 {
        let mut world = World::new(seed.wrapping_add(round), SyncPolicy::Never);
        for _ in 0..500 {
            world.turn().unwrap();
            if world.rng.one_in(150) {
                world.restart(false);
            }
        }
        tidied += world.tidied;
        compactions += world.compactions;
        granted += world.granted;
    }
    println!("{granted} granted, {compactions} compactions, {tidied} times tidied");
    assert!(granted > 100 && compactions > 10 && tidied > 0, "not all situations have occurred");
}

#[test]
fn power_cut_at_any_step_keeps_acknowledged_changes() {
    let seed = seed();
    let (mut crashes, mut compactions) = (0, 0);
    for round in 0..3 {
        let mut world = World::new(seed.wrapping_add(round), SyncPolicy::Always);
        for _ in 0..30 {
            let steps = world.rng.below(60) as u64;
            world.disk.set_faults(Faults { power_at: Some(steps), ..Faults::default() });
            while world.turn().is_ok() {}
            world.restart(true);
        }
        crashes += world.crashes;
        compactions += world.compactions;
    }
    println!("{crashes} power cuts, {compactions} compactions");
    assert!(compactions > 0, "not all situations have occurred");
}

/// Each kind of change happens between any two pieces of a compaction, each piece one record. Both
/// visited and unvisited items must be correct in the snapshot.
#[test]
fn every_change_at_every_step_of_a_compaction() {
    let begin = [
        "ALTA Sala 1..5, Libre 1, Libre 2, Libre 3",
        "RESERVAR Sala 1",
        "RESERVAR Sala 2, Sala 3 por=1h nota=dos",
        "RESERVAR Sala 4 desde=2030-01-01 noches=1",
        "RESERVAR Sala 5 hasta=salir",
        "RESERVAR Libre 3",
        "CANCELAR #5",
    ];
    let changes: [&[&str]; 15] = [
        &["CANCELAR #1"],
        &["CANCELAR #2"],
        &["CANCELAR Sala 2"],
        &["CANCELAR Sala 3", "RESERVAR Sala 3"],
        &["RENOVAR #1 por=9d"],
        &["RENOVAR #2 por=2h"],
        &["RENOVAR #4 por=2h", "CANCELAR #4"],
        &["CANCELAR #3", "BAJA Sala 4"],
        &["BAJA Libre 1"],
        &["BAJA Libre 2", "ALTA Libre 2"],
        &["ALTA Nueva", "RESERVAR Nueva, Libre 1", "CANCELAR Nueva"],
        &["RESERVAR Libre 1 por=1s", "+2000"],
        &["RESERVAR Libre 3", "CANCELAR #6", "BAJA Libre 3"],
        &["+3600000"],
        &["SALIR"],
    ];
    let mut moments = 0;
    for change in changes {
        for at in 0.. {
            let disk = SimDisk::new(4096, 1);
            let (mut store, mut inventory, _) =
                Store::open(disk.clone(), SyncPolicy::Never, CAPACITY).unwrap();
            let mut batch = Batch::default();
            let mut session = Session::new(SessionId(1));
            let mut now = Time::from_ms(START_MS);
            let mut apply_and_log =
                |store: &mut Store<SimDisk>, inventory: &mut Inventory, line: &str| {
                    match line.strip_prefix('+') {
                        Some(ms) => {
                            now = now.plus_ms(ms.parse().unwrap());
                            inventory.advance(ClockReading::at(now), &Zone::utc(), &mut batch);
                        }
                        None => {
                            let (reply, _) = run(inventory, &mut batch, &mut session, now, line);
                            assert!(reply.starts_with("OK "), "{line}: {reply}");
                        }
                    }
                    assert!(!batch.is_empty(), "{line} changes nothing");
                    store.commit(&mut batch).unwrap();
                };
            for line in begin {
                apply_and_log(&mut store, &mut inventory, line);
            }
            let start = Time::from_ms(START_MS);
            let piece = |store: &mut Store<SimDisk>, inventory: &Inventory| {
                assert!(store.compact(inventory, start, 1).unwrap().is_none());
                store.is_compacting()
            };
            if !(0..at).all(|_| piece(&mut store, &inventory)) {
                break;
            }
            for line in change {
                apply_and_log(&mut store, &mut inventory, line);
                piece(&mut store, &inventory);
            }
            while store.is_compacting() && piece(&mut store, &inventory) {}
            let mut copy = Inventory::new(CAPACITY);
            let report =
                journal::check(&disk, |record| store::replay(&mut copy, record).map(|_| ()));
            assert_eq!(report.unwrap().bad, None, "{change:?} after {at} pieces");
            assert_eq!(dump(&copy), dump(&inventory), "{change:?} after {at} pieces");
            copy.check();
            moments += 1;
        }
    }
    assert!(moments > 100, "{moments}");
}

/// Changes behind the cursor are written with each piece. So constant changes can neither delay the
/// end of a compaction nor make it large.
#[test]
fn compaction_ends_despite_constant_changes() {
    let disk = SimDisk::new(4096, 1);
    let (mut store, mut inventory, _) =
        Store::open(disk.clone(), SyncPolicy::Never, CAPACITY).unwrap();
    let mut batch = Batch::default();
    let mut session = Session::new(SessionId(1));
    let now = Time::from_ms(START_MS);
    let mut say = |store: &mut Store<SimDisk>, inventory: &mut Inventory, line: &str| {
        let (reply, _) = run(inventory, &mut batch, &mut session, now, line);
        assert!(reply.starts_with("OK "), "{line}: {reply}");
        store.commit(&mut batch).unwrap();
    };
    say(&mut store, &mut inventory, "ALTA Sala 1..50");
    for room in 1..=50 {
        say(&mut store, &mut inventory, &format!("RESERVAR Sala {room}"));
    }
    let mut pieces = 0;
    loop {
        assert!(store.compact(&inventory, now, 64).unwrap().is_none());
        if !store.is_compacting() {
            break;
        }
        assert!(!store.has_old_file(), "the journal is in use");
        pieces += 1;
        assert!(pieces < 1000, "the compaction does not end");
        let names: Vec<_> = (1..=9).map(|n| format!("Ala {pieces} {n}")).collect();
        say(&mut store, &mut inventory, &format!("ALTA {}", names.join(", ")));
        say(&mut store, &mut inventory, &format!("BAJA {}", names.join(", ")));
    }
    let mut copy = Inventory::new(CAPACITY);
    journal::check(&disk, |record| store::replay(&mut copy, record).map(|_| ())).unwrap();
    assert_eq!(dump(&copy), dump(&inventory));
    assert!(store.has_old_file());
    store.shrink_old_file();
    assert!(!store.has_old_file(), "the journal was small");
}

/// A forged journal may hold what no client can send, and a snapshot writes it in a longer form:
/// with quotes, and with the start time. If that did not fit in the snapshot, the server stopped
/// while it was running.
#[test]
fn event_too_long_for_a_snapshot_is_not_replayed() {
    let time = "2026-11-22T16:48:54.123Z";
    let names: Vec<_> = (1..=TARGETS_MAX + 1).map(|n| format!("{n}{}", "x".repeat(120))).collect();
    let note = |bytes: usize| format!("{} note={}", names[0], "\\".repeat(bytes));
    let several =
        |count: usize| format!("{} note={}", names[..count].join(", "), "\\".repeat(9000));
    let cases = [
        (note(KEPT_TEXT_MAX_BYTES), None),
        (note(KEPT_TEXT_MAX_BYTES + 1), Some("24577 bytes of text, more than any")),
        (several(TARGETS_MAX), None),
        (several(TARGETS_MAX + 1), Some("33 names, and no reservation has more than 32")),
    ];
    for (reserved, refusal) in cases {
        let mut texts: Vec<_> = names.iter().map(|name| format!("{time} ADDED {name}")).collect();
        texts.push(format!("{time} RESERVED #1 {reserved}"));
        let ends = texts.iter().scan(0, |end, text| {
            *end += text.len();
            Some(*end)
        });
        let ends: Vec<_> = ends.collect();
        let disk = SimDisk::new(4096, 1);
        let (mut journal, _) = Journal::open(disk.clone(), SyncPolicy::Never, |_| Ok(())).unwrap();
        journal.commit(1, &texts.concat(), ends.into_iter()).unwrap();
        drop(journal);
        let opened = Store::open(disk.clone(), SyncPolicy::Never, CAPACITY);
        let (mut store, inventory, _) = match (opened, refusal) {
            (Ok(opened), None) => opened,
            (Err(error), Some(expected)) if error.to_string().contains(expected) => continue,
            (opened, expected) => panic!("{:?}, instead of {expected:?}", opened.err()),
        };
        // Three times, because the next snapshot must not be longer.
        for _ in 0..3 {
            loop {
                let now = Time::from_ms(START_MS);
                assert!(store.compact(&inventory, now, 1 << 20).unwrap().is_none());
                if !store.is_compacting() {
                    break;
                }
            }
            let content = disk.content("journal").unwrap();
            let header = content.split(|byte| *byte == b'\n').next().unwrap();
            assert!(header.windows(10).any(|word| word == b" snapshot "));
            let opened = Store::open(disk.clone(), SyncPolicy::Never, CAPACITY);
            let (next, again, _) = opened.unwrap();
            assert_eq!(dump(&again), dump(&inventory));
            store = next;
        }
    }
}

/// The longest event that a client can cause is replayed.
#[test]
fn longest_event_is_replayed() {
    let disk = SimDisk::new(4096, 1);
    let (mut store, mut inventory, _) =
        Store::open(disk.clone(), SyncPolicy::Never, CAPACITY).unwrap();
    let mut batch = Batch::default();
    let mut session = Session::new(SessionId(1));
    let now = Time::from_ms(START_MS);
    // Each syllable folds to three letters, and the reservation is as long as possible.
    let names: Vec<_> = (10..42).map(|n| format!("{n}{}", "각".repeat(42))).collect();
    let patterns: Vec<_> = (10..42).map(|n| format!("{n}{}*", "각".repeat(31))).collect();
    let quotes = "\\\"".repeat(200);
    let lines = [
        format!("ALTA {}", names[..16].join(", ")),
        format!("ALTA {}", names[16..].join(", ")),
        format!("SOY {}", "á".repeat(32)),
        format!(
            "RESERVAR {} clave=\"{}\" nota=\"{quotes}\"",
            patterns.join(", "),
            "\\\"".repeat(60)
        ),
    ];
    for line in &lines {
        let (reply, _) = run(&mut inventory, &mut batch, &mut session, now, line);
        assert!(reply.starts_with("OK "), "{} bytes: {reply}", line.len());
    }
    let longest = batch.iter().map(|(_, _, text)| text.len()).max().unwrap();
    assert!(longest > 14_000, "{longest}");
    store.commit(&mut batch).unwrap();
    drop(store);
    let (_, again, _) = Store::open(disk, SyncPolicy::Never, CAPACITY).unwrap();
    assert_eq!(dump(&again), dump(&inventory));
}

/// A retry with its `clave=` gets the same reply and changes nothing.
#[test]
fn retry_from_another_connection_does_not_bind_the_reservation() {
    let mut inventory = Inventory::new(CAPACITY);
    let mut batch = Batch::default();
    let now = Time::from_ms(START_MS);
    let mut say =
        |session: &mut Session, line: &str| run(&mut inventory, &mut batch, session, now, line).0;
    let (mut one, mut other) = (Session::new(SessionId(1)), Session::new(SessionId(2)));
    say(&mut one, "ALTA Sala 1");
    say(&mut one, "SOY ana");
    say(&mut other, "SOY ana");
    assert_eq!(say(&mut one, "RESERVAR Sala 1 clave=k"), "OK RESERVADO #1 Sala 1\n");
    assert_eq!(say(&mut other, "RESERVAR Sala 1 clave=k"), "OK RESERVADO #1 Sala 1\n");
    inventory.check();
    assert_eq!(inventory.reservation(Number(1)).unwrap().session(), None);
}

const HOUR_MS: i64 = 3_600_000;

/// All bookings as a list. Every question is a loop.
struct Model {
    names: Vec<String>,
    bookings: Vec<(ResourceId, Interval, Number)>,
}

impl Model {
    fn overlap(&self, id: ResourceId, interval: Interval) -> Option<Number> {
        let own = self.bookings.iter().filter(|one| one.0 == id);
        let first = own.filter(|one| one.1.overlaps(interval)).min_by_key(|one| one.1.from);
        first.map(|one| one.2)
    }

    fn id(&self, name: &str) -> ResourceId {
        ResourceId::at(self.names.iter().position(|other| other == name).unwrap())
    }

    fn place(&self, selectors: &[Selector], interval: Interval) -> Option<Vec<ResourceId>> {
        let named = selectors.iter().filter_map(|selector| match selector {
            Selector::Name(name) => Some(self.id(name)),
            Selector::Pattern(..) => None,
        });
        let mut taken: Vec<_> = named.collect();
        if taken.iter().any(|id| self.overlap(*id, interval).is_some()) {
            return None;
        }
        let mut chosen = Vec::new();
        for selector in selectors {
            chosen.push(match selector {
                Selector::Name(name) => self.id(name),
                Selector::Pattern(pattern, _) => {
                    let stars = pattern.as_str();
                    let id = (0..self.names.len()).map(ResourceId::at).find(|id| {
                        let name = self.names[id.index()].to_lowercase();
                        matches(stars, &name)
                            && !taken.contains(id)
                            && self.overlap(*id, interval).is_none()
                    })?;
                    taken.push(id);
                    id
                }
            });
        }
        Some(chosen)
    }
}

/// Matches by trying everything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            let rest = rest.to_owned();
            (0..=tail.len()).any(|at| match rest.contains('*') {
                true => matches(&rest, &tail[at..]),
                false => tail[at..] == rest,
            })
        }),
    }
}

struct Question {
    selectors: Vec<Selector<'static>>,
    when: When,
    from: Time,
}

fn ask(rng: &mut Rng, model: &Model) -> Question {
    let at = |rng: &mut Rng| Time::from_ms(START_MS + HOUR_MS * rng.below(200) as i64);
    let mut ids: Vec<_> = (0..model.names.len()).collect();
    rng.shuffle(&mut ids);
    let mut selectors = Vec::new();
    for _ in 0..1 + rng.below(3) {
        if rng.one_in(2) {
            let text = rng.pick(&["*", "Sala *", "Taller *", "*a*1", "sala 2"]);
            let pattern = Pattern::new(text).unwrap();
            selectors.push(Selector::Pattern(pattern, text.to_owned().into()));
        } else if let Some(id) = ids.pop() {
            selectors.push(Selector::Name(model.names[id].clone().into()));
        }
    }
    let from = at(rng);
    let end = match rng.below(8) {
        0 => End::Open,
        1 => End::Until(at(rng).plus_ms(100 * HOUR_MS)),
        2 | 3 => End::Nights(1 + rng.below(3) as u32),
        _ => End::For(HOUR_MS * (1 + rng.below(30) as i64)),
    };
    Question { selectors, when: When { start: Start::At(from), end }, from }
}

#[test]
fn free_resources_and_times_agree_with_a_simple_model() {
    let mut rng = Rng(seed());
    let zone = Zone::utc();
    let principal = Principal { session: SessionId(1), origin: Origin::LOCAL, holder: None };
    let (mut at_once, mut later, mut never) = (0, 0, 0);
    for _ in 0..12 {
        let mut inventory = Inventory::new(CAPACITY);
        let names = ["Sala 1", "Taller 1", "Sala 2", "Sala 21", "Taller 2"].map(str::to_owned);
        for name in names.clone() {
            inventory.apply(Event::Added { name });
        }
        let mut model = Model { names: names.to_vec(), bookings: Vec::new() };
        for _ in 0..60 {
            let Question { selectors, when, from } = ask(&mut rng, &model);
            let Ok(until) = when.until(from, &zone) else { continue };
            if from >= until {
                continue;
            }
            let interval = Interval { from, until };
            let placed = inventory.candidates(&selectors).unwrap().place(interval).ok();
            let expected = model.place(&selectors, interval);
            assert_eq!(placed.as_deref(), expected.as_deref());
            for id in (0..names.len()).map(ResourceId::at) {
                let found = inventory.overlap(id, interval).map(|booking| booking.number);
                assert_eq!(found, model.overlap(id, interval));
            }
            for stars in ["*", "sala *", "*1"] {
                let pattern = Pattern::new(stars).unwrap();
                let bits = inventory.free_bits(Some(&pattern), interval);
                let free = |id: &usize| {
                    matches(stars, &names[*id].to_lowercase())
                        && model.overlap(ResourceId::at(*id), interval).is_none()
                };
                let want = (0..names.len()).filter(free).map(|id| 1 << id).sum();
                assert_eq!(bits, [want], "{stars}");
            }
            // Every booking is on whole hours, so if anything fits, it fits at a whole hour.
            let fits = |start: Time| {
                let until = when.until(start, &zone).ok().filter(|until| start < *until)?;
                model.place(&selectors, Interval { from: start, until })
            };
            let hours = (0..700).map(|hour| from.plus_ms(hour * HOUR_MS));
            let first = hours.clone().find(|start| fits(*start).is_some());
            let earliest = inventory.candidates(&selectors).unwrap().earliest(&when, from, &zone);
            match (earliest, first) {
                (Earliest::At(start), Some(first)) => {
                    assert_eq!(start, first, "{when:?} {selectors:?} {:?}", model.bookings);
                    let half_before = start.plus_ms(-HOUR_MS / 2);
                    assert!(half_before < from || fits(half_before).is_none());
                    *(if start == from { &mut at_once } else { &mut later }) += 1;
                    let until = when.until(start, &zone).unwrap();
                    let when = When { start: Start::At(start), end: when.end };
                    let request = Request {
                        selectors: selectors.into(),
                        when,
                        interval: Interval { from: start, until },
                        note: None,
                        key: None,
                        wait_ms: None,
                    };
                    let granted = inventory.reserve(&request, &principal, &zone);
                    let Ok(Grant::New(new)) = granted else {
                        panic!("not granted at the announced time: {granted:?}")
                    };
                    // Only a third of the grants are applied, so that the inventory does not fill up.
                    if rng.one_in(3) && !until.is_never() {
                        book(&mut inventory, &mut model, new);
                    }
                }
                (Earliest::Never, None) => never += 1,
                (expected, first) => panic!("{expected:?}, but the model returns {first:?}"),
            }
            if rng.one_in(6) {
                cancel_one(&mut rng, &mut inventory, &mut model);
            }
            inventory.check();
        }
    }
    println!("{at_once} at once, {later} later, {never} never");
    assert!(at_once > 20 && later > 20 && never > 5, "not all situations have occurred");
}

/// A thousand watchers without a matching event once each read 10,000 events in one turn.
#[test]
fn events_that_do_not_match_a_watcher_are_read_in_pieces() {
    const ROOM_BYTES: usize = 4096;
    let (now, zone) = (Time::from_ms(1_795_363_200_000), Zone::utc());
    let mut history = History::default();
    let mut inventory = Inventory::new(CAPACITY);
    let mut batch = Batch::default();
    let mut session = Session::new(SessionId(1));
    let mut out = Vec::new();
    let mut context = CommandContext {
        inventory: &mut inventory,
        batch: &mut batch,
        history: &history,
        request_time: RequestTime { now: ClockReading::at(now), zone: &zone },
        stats: &Stats::default,
    };
    commands::run(b"OBSERVAR nada*", Eol::Lf, &mut session, &mut context, &mut out);
    out.clear();
    let text = "2026-11-22T16:48:54.123Z ADDED Sala 1";
    (1..=1000).for_each(|number| history.push(number, text));
    let (mut calls, mut kept) = (0, Notices::default());
    while session.is_behind(&history) {
        commands::notices(&mut session, &history, &mut kept, &zone, ROOM_BYTES, &mut out);
        calls += 1;
    }
    assert_eq!((calls, out.len()), ((1000 * text.len()).div_ceil(ROOM_BYTES), 0));
}

/// A request that was refused with a full explanation once matched its pattern five times.
#[test]
fn name_is_matched_with_a_pattern_once() {
    const NAMES: u64 = 1000;
    let mut inventory = Inventory::new(CAPACITY);
    for n in 0..NAMES {
        inventory.apply(Event::Added { name: format!("Sala {n}") });
    }
    let (now, zone) = (Time::from_ms(1_795_363_200_000), Zone::utc());
    let principal = Principal { session: SessionId(1), origin: Origin::LOCAL, holder: None };
    let request = Request {
        selectors: [Selector::Pattern(Pattern::new("*l*99*9").unwrap(), "*l*99*9".into())].into(),
        when: When { start: Start::Default, end: End::For(HOUR_MS) },
        interval: Interval { from: now, until: now.plus_ms(HOUR_MS) },
        note: None,
        key: None,
        wait_ms: None,
    };
    inventory.take_work();
    let Ok(Grant::New(new)) = inventory.reserve(&request, &principal, &zone) else { panic!() };
    assert_eq!(inventory.take_work(), NAMES, "the last one matches");
    inventory.apply(Event::Reserved(new));
    assert!(inventory.reserve(&request, &principal, &zone).is_err());
    // The other work is for the name that matches.
    assert!((NAMES..NAMES + 10).contains(&inventory.take_work()));
}

fn book(inventory: &mut Inventory, model: &mut Model, new: Rc<Reservation>) {
    for id in new.targets() {
        model.bookings.push((*id, new.interval(), new.number));
    }
    inventory.apply(Event::Reserved(new));
}

fn cancel_one(rng: &mut Rng, inventory: &mut Inventory, model: &mut Model) {
    if model.bookings.is_empty() {
        return;
    }
    let (id, _, number) = model.bookings.swap_remove(rng.below(model.bookings.len()));
    inventory.apply(Event::Cancelled { number, targets: [id].as_slice().into() });
}

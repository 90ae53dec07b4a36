//! One run of the simulation: several servers, one after the other on the same disk, their clients,
//! and the model.

mod clients;
mod judge;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use reservad::inventory::Capacity;
use reservad::journal::{
    Error, FILL_STEP_BYTES, JOURNAL_FILE, LockState, NEW_JOURNAL_FILE, NameState, SyncPolicy,
};
use reservad::limits::{BACKLOG_WORK, OUTPUT_MEMORY_DEFAULT, STALL_DEFAULT_MS};
use reservad::service::{Compaction, Config, CrowdLimits, Observer, Ready, Service, Step};
use reservad::store::{self, Opened, Reset, State};
use reservad::time::{Clock, ClockReading, MonotonicMs, Time, Zone};

use super::peer::Peer;
use super::seen::Seen;
use super::state::{Sessions, assert_no_overlap, dump, replay};
use super::wire::End;
use support::Rng;
use support::generator::{Generator, ROOMS};
use support::reference::Model;
use support::sim_disk::{Faults, SimDisk};

type Server = Service<End, SimDisk, Steps>;

/// The steps of the server since they were last taken.
#[derive(Default)]
pub struct Steps(Vec<Step>);

impl Steps {
    fn take(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.0)
    }
}

impl Observer for Steps {
    fn note(&mut self, step: Step) {
        self.0.push(step);
    }
}

/// 2026-10-24T21:59:30Z, which is half a minute before the day on which daylight saving time ends
/// in Madrid.
const SIXTY_YEARS_MS: i64 = 60 * 365 * 86_400_000;
const START_MS: i64 = 1_792_879_170_000;

pub struct Run {
    pub step: usize,
    pub seen: Seen,
    generator: Generator,
    disk: SimDisk,
    /// Whether the disk has a limit, so that it may be too full for a seal or a spare tail.
    lacks_room: bool,
    policy: SyncPolicy,
    capacity: Capacity,
    compaction: Compaction,
    flush_batch: usize,
    /// The budget of a turn for ends, clock steps and grants.
    backlog_work: u64,
    rooms: Vec<String>,
    most_peers: usize,
    moody: bool,
    /// The clocks of the system.
    wall: i64,
    monotonic_ms: u64,
    /// The time as the server must see it, and the monotonic clock at that time.
    now: i64,
    monotonic: i64,
    seen_monotonic_ms: u64,
    /// The monotonic time at which the wall clock was first seen far ahead and not trusted, and by
    /// how much.
    astray: Option<(u64, i64)>,
    /// Whether the clock was confirmed.
    confirmed: bool,
    /// The steps of the wall clock that the model has not applied yet.
    unapplied_step_ms: i64,
    model: Model,
    /// The states that a restart may find: the model after each commit that may be the last one on
    /// disk, with the number of its last event.
    candidates: Vec<(u64, Model)>,
    /// The last event of the server while it is behind the model.
    done: Option<u64>,
    /// The last event that any client has received or seen the effect of.
    received_event: u64,
    /// With a sync interval, the last event of a commit that is older than the interval.
    safe_event: u64,
    /// The times and last events of the commits that are not older.
    unsafe_events: Vec<(u64, u64)>,
    received_number: u64,
    received_notices: HashMap<(u64, bool), String>,
    peers: Vec<Peer>,
    newcomers: Vec<Peer>,
    stop: bool,
    /// Whether the disk becomes full as soon as a snapshot is started.
    fills_up: bool,
    quiet: bool,
    transcript: Option<Vec<String>>,
}

/// The way in which a server ends.
struct Ended;

impl Run {
    pub fn new(seed: u64, zones: &[Zone], keeps_transcript: bool) -> Run {
        let mut rng = Rng(seed);
        let zone = zones[rng.below(zones.len())].clone();
        let most = if rng.one_in(6) { 2 } else { 60 };
        let capacity = Capacity { resources: 6, reservations: most };
        let policy = match rng.below(10) {
            0 => SyncPolicy::Never,
            1 => SyncPolicy::Every(Duration::from_millis(1_000)),
            _ => SyncPolicy::Always,
        };
        let compaction = match rng.one_in(4) {
            true => Compaction::default(),
            false => Compaction {
                min_bytes: rng.pick(&[300, 1_000, 4_000]),
                piece_bytes: rng.pick(&[1, 100, 400]),
            },
        };
        let rooms = ROOMS[..rng.pick(&[1, 2, 2, 3, 5])].iter().map(|room| (*room).to_owned());
        let rooms = rooms.collect();
        let model = Model::new(zone.clone(), 6, most as usize);
        let disk = SimDisk::new(rng.pick(&[64, 512, 4096]), rng.next_u64());
        disk.set_step(rng.pick(&[64, 64, 1_000, FILL_STEP_BYTES]));
        let crowd = rng.one_in(20);
        let flush_batch = rng.pick(&[1, 2, 3, 64]);
        let backlog_work = rng.pick(&[1, 10, 60, BACKLOG_WORK, BACKLOG_WORK]);
        Run {
            step: 0,
            seen: Seen::default(),
            disk,
            lacks_room: false,
            policy,
            capacity,
            compaction,
            flush_batch,
            backlog_work,
            rooms,
            most_peers: if crowd { 16 } else { rng.pick(&[2, 4, 7]) },
            moody: !rng.one_in(4),
            generator: Generator { rng, zone, crowd, keyed: Vec::new() },
            wall: START_MS,
            monotonic_ms: 1_000_000,
            now: START_MS,
            monotonic: START_MS,
            seen_monotonic_ms: 1_000_000,
            astray: None,
            confirmed: false,
            unapplied_step_ms: 0,
            candidates: vec![(0, model.clone())],
            done: None,
            model,
            received_event: 0,
            safe_event: 0,
            unsafe_events: Vec::new(),
            received_number: 0,
            received_notices: HashMap::new(),
            peers: Vec::new(),
            newcomers: Vec::new(),
            stop: false,
            fills_up: false,
            quiet: false,
            transcript: keeps_transcript.then(Vec::new),
        }
    }

    pub fn transcript(&self) -> &[String] {
        self.transcript.as_deref().unwrap_or_default()
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(text());
        }
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.generator.rng
    }

    /// Runs a few servers, each until its end.
    pub fn live(&mut self) {
        for _ in 0..self.rng().pick(&[2, 3, 4]) {
            let mut server = self.start();
            self.plan_faults();
            let turns = 10 + self.rng().below(50);
            let ended = (0..turns).any(|_| self.turn(&mut server).is_err());
            if !ended && self.rng().one_in(3) {
                self.disk.set_faults(Faults::default());
                self.fills_up = false;
                let _ = self.stop(&mut server);
            }
            drop(server);
            self.crash();
        }
        let mut server = self.start();
        self.disk.set_faults(Faults::default());
        self.fills_up = false;
        for _ in 0..10 {
            assert!(self.turn(&mut server).is_ok(), "an error without a fault");
        }
        self.settle_down(&mut server);
        for (what, many) in std::mem::take(&mut self.model.counts) {
            self.seen.count(what, many);
        }
        self.seen.count("reservations", self.model.last_number() as usize);
    }

    /// Schedules faults of the disk, counted from now.
    fn plan_faults(&mut self) {
        let size = self.disk.with_live(JOURNAL_FILE, <[u8]>::len).unwrap_or(0);
        let used = self.disk.used_bytes();
        let rng = &mut self.generator.rng;
        self.fills_up = false;
        let no_allocation = rng.one_in(3);
        let short_writes = rng.one_in(4);
        let mut faults = Faults { short_writes, no_allocation, ..Faults::default() };
        match rng.below(16) {
            0..5 => faults.power_at = Some(rng.below(250) as u64),
            5 => faults.write_fails_at = Some(rng.below(30) as u64),
            6 => faults.sync_fails_at = Some(rng.below(20) as u64),
            7 => faults.name_fails_at = Some(rng.below(3) as u64),
            8 => faults.room_bytes = Some(size + rng.below(600)),
            // Before or after the reserve is reached, because other processes also use the disk.
            9 => faults.disk_bytes = Some(used + rng.below(1 << 20)),
            10 | 11 | 14 | 15 => self.fills_up = true,
            12 => faults.lock = Some(rng.pick(&[LockState::Retaken, LockState::Lost])),
            13 => faults.renamed = Some(rng.pick(&[NameState::Missing, NameState::Other])),
            _ => {}
        }
        self.lacks_room = faults.room_bytes.is_some();
        self.disk.set_faults(faults);
    }

    /// Classifies an error of the disk for the statistics.
    fn count_failure(&mut self, error: &str) {
        let what = match error {
            _ if error.contains("the power") => return,
            _ if error.contains("write failed") => "failed writes",
            _ if error.contains("sync failed") => "failed syncs",
            _ if error.contains("no storage space") => "full disks",
            _ if error.contains("another process has locked") => "directories that were taken",
            _ => return,
        };
        self.seen.one(what);
    }

    /// Ends the server by a kill or a power cut.
    fn crash(&mut self) {
        if self.disk.is_off() && !self.generator.rng.one_in(4) || self.generator.rng.one_in(3) {
            self.note(|| "== power cut".to_owned());
            self.seen.one("power cuts");
            self.disk.lose_power();
            if self.policy != SyncPolicy::Always {
                // Only commits older than the interval are guaranteed.
                self.received_event = self.safe_event;
                self.received_number = 0;
                self.received_notices.clear();
            }
        } else {
            self.note(|| "== killed".to_owned());
            self.seen.one("kills");
            self.disk.lose_process();
        }
        self.seen.count("journals without their name", self.disk.take_strange_names());
        self.peers.clear();
        self.newcomers.clear();
        self.unsafe_events.clear();
        self.stop = false;
        let down_ms = [0, 10, 2_000, 65_000, 4_000_000, 90_000_000, -300, -65_000, -4_000_000];
        self.wall += match self.generator.rng.one_in(10) {
            true => SIXTY_YEARS_MS,
            false => self.generator.rng.pick(&down_ms),
        };
        self.monotonic_ms += 1_000;
    }

    /// Starts until one start succeeds.
    fn start(&mut self) -> Server {
        for attempt in 0.. {
            if self.rng().one_in(3) {
                self.damage_a_copy();
            }
            if self.rng().one_in(6) {
                self.reset_time();
            }
            if attempt < 2 && self.rng().one_in(3) {
                self.plan_faults_of_a_start();
            }
            match self.open() {
                Ok(server) => return server,
                Err(error) => {
                    self.note(|| format!("== no start: {error}"));
                    self.seen.one("failed starts");
                    self.count_failure(&error);
                    self.crash();
                }
            }
        }
        unreachable!("attempts do not end")
    }

    /// Resets the journal's time to the wall clock, as `reservad reset-time` does.
    fn reset_time(&mut self) {
        self.disk.set_faults(Faults::default());
        let reset = store::reset_time(self.disk.clone(), Time::from_ms(self.wall));
        let Reset { report, last_time, changed } = reset.expect("a disk without a fault");
        self.take_candidate(report.last_number);
        assert_eq!(changed.is_some(), self.wall < last_time.ms());
        if changed.is_some() {
            let by_ms = last_time.ms() - self.wall;
            self.note(|| format!("== back by {by_ms} ms"));
            self.seen.one("journals brought back");
            self.model.reset_time(last_time.ms(), self.wall);
            self.candidates = vec![(report.last_number, self.model.clone())];
        }
    }

    fn plan_faults_of_a_start(&mut self) {
        let rng = &mut self.generator.rng;
        let mut faults = Faults { short_writes: rng.one_in(4), ..Faults::default() };
        match rng.below(5) {
            0 | 1 => faults.power_at = Some(rng.below(12) as u64),
            2 => faults.write_fails_at = Some(rng.below(4) as u64),
            3 => faults.sync_fails_at = Some(rng.below(3) as u64),
            _ => faults.room_bytes = Some(rng.below(400)),
        }
        self.lacks_room = faults.room_bytes.is_some();
        self.disk.set_faults(faults);
    }

    /// Starts a server as the program does, and checks the replayed state.
    fn open(&mut self) -> Result<Server, String> {
        let opened = State::open(self.disk.clone(), self.policy, self.capacity);
        let (mut state, Opened { report, last_time }) = match opened {
            Ok(opened) => opened,
            Err(Error::Refused(report)) => panic!("an undamaged journal was refused: {report:?}"),
            Err(error) => return Err(error.to_string()),
        };
        self.note(|| format!("== start: {report:?}"));
        self.seen.count("torn tails", usize::from(report.bad.is_some()));
        state.inventory.set_backlog_work(self.backlog_work);
        self.adopt(report.last_number, report.base_number);
        assert_no_overlap(&state.inventory);
        assert_eq!(
            dump(&state.inventory, Sessions::Known),
            self.model.dump(),
            "the replayed state"
        );
        assert!(
            state.inventory.last_number().0 >= self.received_number,
            "a number will come again"
        );
        let mut clock = Clock::new(last_time);
        let at = (Time::from_ms(self.wall), MonotonicMs(self.monotonic_ms));
        self.confirmed = last_time == Time::MIN || self.rng().one_in(2);
        if self.confirmed {
            clock.confirm();
        }
        let now = clock.observe(at.0, at.1);
        let floor = if last_time == Time::MIN { self.wall } else { last_time.ms() };
        self.astray = None;
        self.now = if self.is_astray(self.wall - floor) { floor } else { floor.max(self.wall) };
        assert_eq!(now.wall.ms(), self.now, "what time it is at the start");
        (self.monotonic, self.seen_monotonic_ms, self.unapplied_step_ms) =
            (self.now, self.monotonic_ms, 0);
        let is_new = state.inventory.last_event() == 0;
        let names = if is_new { self.rooms.clone() } else { Vec::new() };
        self.model.advance(self.now);
        self.model.add_missing(&names);
        self.seen.count("ends", (self.model.last_event() - report.last_number) as usize);
        self.note_candidate();
        state.catch_up(names, now, &self.generator.zone).map_err(|error| error.to_string())?;
        let config = Config {
            max_clients: 1000,
            crowd: CrowdLimits { per_address: 1000, silent_per_address: 1000, silent: 1000 },
            max_output_memory: OUTPUT_MEMORY_DEFAULT,
            idle_timeout_ms: None,
            stall_timeout_ms: STALL_DEFAULT_MS,
            fsync: "simulated".to_owned(),
            compaction: self.compaction,
            flush_batch: self.flush_batch,
        };
        let mut server = Server::new(state, clock, at, self.generator.zone.clone(), config);
        server.prepare().map_err(|error| error.to_string())?;
        self.forget_candidates();
        let lives_on = self.model.kept_alive().len();
        self.seen.count("kept alive over a start", lives_on);
        assert_eq!(dump(server.inventory(), Sessions::Known), self.model.dump(), "at the start");
        match self.disk.is_off() {
            true => Err("the power is off".to_owned()),
            false => Ok(server),
        }
    }

    /// Returns the model for a replayed state, which must be that after a commit and contain
    /// everything that a client has received.
    fn adopt(&mut self, last: u64, base: u64) {
        self.take_candidate(last);
        self.model.monotonic_ms = self.monotonic_ms;
        self.model.restart(base);
        self.note_candidate();
    }

    fn take_candidate(&mut self, last: u64) {
        let received = self.received_event;
        assert!(
            last >= received,
            "event {received} was received, and {last} is the last one on disk"
        );
        let found = self.candidates.iter().position(|(end, _)| *end == last);
        let Some(found) = found else {
            let ends: Vec<_> = self.candidates.iter().map(|(end, _)| *end).collect();
            panic!("event {last} is not the end of a commit; these are: {ends:?}");
        };
        if self.candidates.len() > 1 {
            let survived = found + 1 == self.candidates.len();
            self.seen.one(match survived {
                true => "commits that survived unacknowledged",
                false => "commits lost unacknowledged",
            });
        }
        self.model = self.candidates.swap_remove(found).1;
        self.candidates = vec![(last, self.model.clone())];
    }

    /// Records that the current state may be on disk after a crash.
    fn note_candidate(&mut self) {
        let last = self.done.unwrap_or(self.model.last_event());
        if self.candidates.last().is_some_and(|(end, _)| *end >= last) {
            return;
        }
        let model = match last == self.model.last_event() {
            true => &self.model,
            false => {
                let found = self.model.after_events.iter().flatten().find(|(end, _)| *end == last);
                &found.expect("a state of the model").1
            }
        };
        let mut model = model.clone();
        model.after_events = None;
        self.candidates.push((last, model));
    }

    /// Records that the last commit cannot be lost any more.
    fn forget_candidates(&mut self) {
        if self.policy == SyncPolicy::Always {
            self.candidates.drain(..self.candidates.len() - 1);
        }
    }

    /// Damages synced data before the last commit on a copy of the disk. Opening it must fail with
    /// the offset and change nothing.
    fn damage_a_copy(&mut self) {
        let disk = self.disk.copy();
        disk.lose_process();
        let (_, report) = replay(&disk);
        let synced = report.synced_bytes as usize;
        if synced == 0 {
            return;
        }
        // After a seal, damage to the last commit is detected too.
        self.seen.count("sealed journals", usize::from(report.is_sealed));
        let at = self.rng().below(synced);
        if self.rng().one_in(2) {
            let bit = 1 << self.rng().below(8);
            disk.damage(JOURNAL_FILE, |bytes| bytes[at] ^= bit);
            self.seen.one("flipped bits");
        } else {
            let sector = at / 512 * 512..(at / 512 * 512 + 512).min(synced);
            let filling = self.rng().pick(&[0, b'\n', 0xff, b'x']);
            disk.damage(JOURNAL_FILE, |bytes| bytes[sector].fill(filling));
            self.seen.one("lost sectors");
        }
        let (before, good) = (disk.content(JOURNAL_FILE), self.disk.content(JOURNAL_FILE));
        // The first byte that differs, because a sector may begin with the bytes that overwrite it.
        let differs = |(is, was): (&u8, &u8)| is != was;
        let mut both = before.iter().flatten().zip(good.iter().flatten());
        let Some(at) = both.position(differs) else { return };
        let policy = self.policy;
        match State::open(disk.clone(), policy, self.capacity) {
            Err(Error::Refused(report)) => {
                let bad = report.bad.as_ref().expect("a bad place");
                assert!(bad.offset_bytes <= at as u64, "byte {at} is damaged: {bad:?}");
                let text = Error::Refused(report.clone()).to_string();
                let place = format!("byte {}", bad.offset_bytes);
                assert!(text.contains(&report.path) && text.contains(&place), "{text}");
                assert!(disk.content(JOURNAL_FILE) == before, "a refusal changes nothing");
                self.seen.one("refused starts");
            }
            Err(error) => panic!("byte {at} of {synced} is damaged, but: {error}"),
            Ok((state, _)) => {
                let served = dump(&state.inventory, Sessions::Known);
                panic!("byte {at} of {synced} is damaged, but the journal opens with {served}");
            }
        }
    }

    /// Runs a turn of the loop, in the order of the reactor.
    fn turn(&mut self, server: &mut Server) -> Result<(), Ended> {
        self.step += 1;
        self.seen.one("turns");
        if !self.quiet {
            self.act();
        }
        self.pass(server);
        self.move_bytes();
        if self.astray.is_some() && self.rng().one_in(30) {
            self.confirmed = true;
            server.confirm_clock();
        }
        server.start_turn(Time::from_ms(self.wall), MonotonicMs(self.monotonic_ms));
        let step_ms = self.observe_clocks();
        self.model.monotonic_ms = self.monotonic_ms;
        let step_ms = self.catch_up(server, step_ms)?;
        self.mark(server);
        server.expire_due();
        if std::mem::take(&mut self.stop) {
            server.stop();
        }
        let has_snapshot = |run: &Run| run.disk.with_live(NEW_JOURNAL_FILE, |_| ()).is_some();
        let had_snapshot = has_snapshot(self);
        let before = self.model.last_event();
        let served = server.serve_queue();
        // The disk fills up before a commit that can still be saved by giving up the snapshot.
        let snapshot_bytes = self.disk.with_live(NEW_JOURNAL_FILE, <[u8]>::len).unwrap_or(0);
        if self.fills_up && snapshot_bytes > 0 && server.inventory().last_event() > before {
            self.fills_up = false;
            self.disk.fill_up();
        }
        let ran = served.and_then(|()| server.finish_turn());
        // Only commits can remove it.
        if had_snapshot && ran.is_ok() && !has_snapshot(self) {
            self.seen.one("snapshots given up for a commit");
        }
        let steps = server.observer().take();
        let is_set = steps.iter().any(|step| matches!(step, Step::ClockSet(_)));
        assert_eq!(is_set, step_ms.is_some(), "a step of the clock: {step_ms:?}");
        self.follow(steps, ran.is_ok());
        self.judge();
        let outcome = ran.and_then(|_| {
            self.check(server);
            self.welcome(server);
            self.maintain(server)
        });
        if let Err(error) = outcome {
            self.note(|| format!("== {error}"));
            self.seen.one("failed turns");
            self.count_failure(&error.to_string());
            return Err(Ended);
        }
        if self.disk.is_off() {
            return Err(Ended);
        }
        self.age_commits();
        Ok(())
    }

    /// Does the due work, in several turns without lines if necessary. The model does it at once.
    /// Returns the step of the clock that the model still has to apply.
    fn catch_up(
        &mut self,
        server: &mut Server,
        step_ms: Option<i64>,
    ) -> Result<Option<i64>, Ended> {
        // Grants after a line are made in one turn, by the model as well.
        server.set_backlog_work(self.backlog_work);
        server.expire_due();
        if !server.inventory().is_behind() {
            server.set_backlog_work(BACKLOG_WORK);
            return Ok(step_ms);
        }
        self.seen.one("turns that were cut");
        // The events after the last commit may become durable before any event of the due work.
        self.model.after_events = Some(vec![(self.model.last_event(), self.model.clone())]);
        let mut step_ms = step_ms;
        let mut outcome = Ok(());
        while outcome.is_ok() && server.inventory().is_behind() {
            if self.is_calm(server) {
                outcome = self.commit_a_piece(server, &mut step_ms);
            }
            server.start_turn(Time::from_ms(self.wall), MonotonicMs(self.monotonic_ms));
            server.expire_due();
        }
        (self.model.after_events, self.done) = (None, None);
        server.set_backlog_work(BACKLOG_WORK);
        outcome.map(|()| step_ms)
    }

    /// Returns whether the end of a turn only commits and sends, and finds no lost connection.
    fn is_calm(&self, server: &Server) -> bool {
        let is_here = |peer: &Peer| {
            let wire = peer.wire.borrow();
            !peer.over && !wire.is_finished() && !wire.server_shut
        };
        let is_due =
            server.next_deadline().is_some_and(|due| due <= MonotonicMs(self.monotonic_ms));
        !is_due && self.peers.iter().all(is_here)
    }

    fn commit_a_piece(
        &mut self,
        server: &mut Server,
        step_ms: &mut Option<i64>,
    ) -> Result<(), Ended> {
        self.note(|| "-- a piece".to_owned());
        self.done = Some(server.inventory().last_event());
        let ran = server.finish_turn();
        let steps = server.observer().take();
        let is_set = steps.iter().any(|step| matches!(step, Step::ClockSet(_)));
        assert_eq!(is_set, step_ms.take().is_some(), "a step of the clock");
        let is_quiet = |step: &Step| {
            matches!(
                step,
                Step::ClockSet(_) | Step::EndedDue | Step::WithheldPosition(_) | Step::Committed
            )
        };
        assert!(steps.iter().all(is_quiet), "{steps:?}");
        self.follow(steps, ran.is_ok());
        self.judge();
        self.seen.one("pieces that were committed");
        if let Err(error) = ran {
            self.note(|| format!("== {error}"));
            self.seen.one("failed turns");
            self.count_failure(&error.to_string());
            return Err(Ended);
        }
        if self.disk.is_off() { Err(Ended) } else { Ok(()) }
    }

    /// Computes naively the time that the server must see, and the step of the wall clock to apply
    /// now.
    fn observe_clocks(&mut self) -> Option<i64> {
        let elapsed_ms = (self.monotonic_ms - self.seen_monotonic_ms).cast_signed();
        self.seen_monotonic_ms = self.monotonic_ms;
        self.monotonic += elapsed_ms;
        if self.is_astray(self.wall - self.monotonic) {
            self.seen.one("turns with a clock that is not trusted");
            self.now = self.monotonic;
            self.model.lag = 0;
            return (self.unapplied_step_ms.abs() >= 500)
                .then(|| std::mem::take(&mut self.unapplied_step_ms));
        }
        self.now = self.now.max(self.wall);
        if self.wall == self.now {
            self.unapplied_step_ms += self.now - self.monotonic;
            self.monotonic = self.now;
        } else {
            self.seen.one("turns with a clock that is behind");
        }
        self.model.lag = self.monotonic - self.now;
        (self.unapplied_step_ms.abs() >= 500).then(|| std::mem::take(&mut self.unapplied_step_ms))
    }

    /// Returns whether a wall clock that is far ahead must not be trusted: for ten minutes without
    /// a step, unless it is confirmed.
    fn is_astray(&mut self, ahead_ms: i64) -> bool {
        let was = self.astray.take();
        if std::mem::take(&mut self.confirmed) || ahead_ms <= 86_400_000 {
            return false;
        }
        let same = was.filter(|(_, then_ms)| (then_ms - ahead_ms).abs() <= 60_000);
        let (since, then_ms) = same.unwrap_or((self.monotonic_ms, ahead_ms));
        self.astray = (self.monotonic_ms - since < 600_000).then_some((since, then_ms));
        self.astray.is_some()
    }

    fn maintain(&mut self, server: &mut Server) -> Result<(), Error> {
        let size = |run: &Run| run.disk.with_live(JOURNAL_FILE, <[u8]>::len);
        let before = size(self);
        server.maintain()?;
        let has_snapshot =
            self.disk.with_live(JOURNAL_FILE, |it| it[35..].starts_with(b" snapshot "));
        // No other fault affects this file here.
        if before != size(self) && has_snapshot == Some(true) {
            self.seen.one("compactions");
        }
        Ok(())
    }

    /// Checks that after a turn only commits younger than the interval are unsynced.
    fn age_commits(&mut self) {
        let SyncPolicy::Every(interval) = self.policy else { return };
        let last = self.candidates.last().map_or(0, |(last, _)| *last);
        self.unsafe_events.push((self.monotonic_ms, last));
        let old = self.monotonic_ms.saturating_sub(interval.as_millis() as u64);
        let safe_event = &mut self.safe_event;
        self.unsafe_events.retain(|(at, event)| {
            if *at <= old {
                *safe_event = (*safe_event).max(*event);
            }
            *at > old
        });
    }

    fn mark(&mut self, server: &mut Server) {
        let start = self.generator.rng.below(self.peers.len().max(1));
        let count = self.peers.len();
        for at in 0..count {
            let peer = &self.peers[(start + at) % count];
            let ready = peer.wire.borrow_mut().take_ready();
            if ready != Ready::default() {
                let session = reservad::inventory::SessionId(peer.session);
                server.set_ready(peer.key, session, ready);
            }
        }
    }

    /// Advances the time, often to just before or after the next deadline.
    fn pass(&mut self, server: &Server) {
        let ends = self.model.next_time().map(|due| due - self.now);
        let deadline = server.next_deadline().map(|due| due.0 as i64 - self.monotonic_ms as i64);
        let due = [ends, deadline].into_iter().flatten().min();
        let rng = &mut self.generator.rng;
        let ms = match due.filter(|_| rng.one_in(3)) {
            Some(due) => due + rng.pick(&[-1, 0, 0, 1, 700]),
            None if self.quiet || !rng.one_in(14) => rng.pick(&[0, 0, 0, 0, 1, 400, 1_000, 5_000]),
            None => rng.pick(&[1_000, 61_000, 3_600_000, 86_400_000]),
        };
        let ms = ms.max(0);
        self.wall += ms;
        self.monotonic_ms += ms as u64;
        if !self.quiet && rng.one_in(60) {
            let by = rng.pick(&[1, 300, 499, 500, 700, 5_000, 61_000, 3_600_000, 86_400_000]);
            self.wall += if rng.one_in(2) { by } else { -by };
        }
        if !self.quiet && rng.one_in(200) {
            self.wall += rng.pick(&[86_400_001, 200_000_000, SIXTY_YEARS_MS]);
        }
        if !self.quiet && self.astray.is_some() && rng.one_in(20) {
            self.wall = self.now + rng.pick(&[-700, 0, 700, 86_400_000]);
        }
        let now = self.wall - START_MS;
        self.note(|| format!("-- {now}"));
    }

    fn move_bytes(&mut self) {
        for peer in &mut self.peers {
            let mut wire = peer.wire.borrow_mut();
            wire.deliver(peer.up);
            wire.take(peer.down);
            if wire.server_shut && self.generator.rng.one_in(2) {
                wire.finish();
            }
        }
    }

    /// Accepts the pending connections.
    fn welcome(&mut self, server: &mut Server) {
        for mut peer in std::mem::take(&mut self.newcomers) {
            let lax = self.policy != SyncPolicy::Always;
            let end = End { wire: Rc::clone(&peer.wire), disk: self.disk.clone(), lax };
            server.add_client(end, reservad::inventory::Origin::LOCAL, |_, key, session| {
                (peer.key, peer.session) = (key, session.0);
                Ok(())
            });
            self.model.connect(peer.session);
            self.peers.push(peer);
        }
    }

    fn check(&mut self, server: &Server) {
        let inventory = server.inventory();
        inventory.check();
        let now = ClockReading {
            wall: Time::from_ms(self.now),
            monotonic: Time::from_ms(self.monotonic),
        };
        assert!(!inventory.some_waiter_fits(now, &self.generator.zone), "a waiter fits");
        assert_eq!(inventory.last_number().0, self.model.last_number());
        assert_eq!(inventory.last_event(), self.model.last_event());
        if self.generator.rng.one_in(20) {
            self.compare(server);
        }
    }

    /// Checks that the live state, the model and the replayed state are equal.
    fn compare(&mut self, server: &Server) {
        let inventory = server.inventory();
        assert_no_overlap(inventory);
        assert_eq!(dump(inventory, Sessions::Known), self.model.dump());
        let (replayed, report) = replay(&self.disk);
        if report.last_number == inventory.last_event() && !self.disk.is_off() {
            let same = dump(&replayed, Sessions::Bound) == dump(inventory, Sessions::Bound);
            assert!(same, "live and replayed state differ");
        }
    }

    /// Stops the server. All lines are answered, and all events are on disk.
    fn stop(&mut self, server: &mut Server) -> Result<(), Ended> {
        self.note(|| "== stop".to_owned());
        self.quiet = true;
        self.newcomers.clear();
        self.stop = true;
        while !server.is_over(true) {
            self.turn(server)?;
        }
        self.quiet = false;
        let finished = server.finish();
        self.note_candidate();
        finished.map_err(|_| Ended)?;
        let (_, report) = replay(&self.disk);
        let is_whole = report.is_sealed && report.bad.is_none();
        // The disk may be too full for a seal.
        assert!(is_whole || self.lacks_room, "a stopped server has left {report:?}");
        self.candidates.drain(..self.candidates.len() - 1);
        self.received_event = self.model.last_event();
        self.seen.one("stops");
        Ok(())
    }

    /// Lets all clients read without sending, until all expected lines are received.
    fn settle_down(&mut self, server: &mut Server) {
        self.note(|| "== quiet".to_owned());
        self.quiet = true;
        let mut calm = 0;
        for _ in 0..600 {
            for peer in &mut self.peers {
                (peer.up, peer.down) = (usize::MAX, usize::MAX);
                peer.wire.borrow_mut().stop_faults();
            }
            assert!(self.turn(server).is_ok(), "an error without a fault");
            let quiet = self.peers.iter().all(|peer| peer.wire.borrow().is_quiet());
            calm = if quiet && !server.has_work() { calm + 1 } else { 0 };
            if calm == 3 {
                break;
            }
        }
        assert_eq!(calm, 3, "the run does not end");
        self.compare(server);
        let waiting = self.model.waiting();
        for peer in &self.peers {
            let session = peer.session;
            let waits = waiting.contains(&session);
            assert!(peer.frames.is_empty() || waits, "{session} is not served");
            let left = (&peer.wants, &peer.notices);
            assert!(peer.is_content() || peer.over, "{session} did not receive {left:?}");
        }
    }
}

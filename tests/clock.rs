//! Clocks that are set, stand still, start in 1970, or are far ahead: with virtual clocks, and with
//! the real server under libfaketime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::queue::Outcome;
use reservad::inventory::{Capacity, Event, Inventory, Number, SessionId};
use reservad::store::History;
use reservad::time::{Clock, ClockReading, MonotonicMs, Round, Time, Zone};
use support::{Server, TempDir, command, has, temp_dir};

const HOUR_MS: i64 = 3_600_000;
const NOON: i64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z

/// A server without sockets. The test sets its two clocks.
struct World {
    inventory: Inventory,
    replayed: Inventory,
    clock: Clock,
    wall: i64,
    monotonic_ms: u64,
    now: ClockReading,
    sessions: Vec<Session>,
    /// The lines of the journal, one per event.
    journal: Vec<String>,
    outcomes: Vec<(u64, String)>,
}

fn empty() -> Inventory {
    Inventory::new(Capacity { resources: 100, reservations: 100 })
}

impl World {
    fn new() -> World {
        let mut world = World {
            inventory: empty(),
            replayed: empty(),
            clock: Clock::new(Time::MIN),
            wall: NOON,
            monotonic_ms: 1_000,
            now: ClockReading::at(Time::MIN),
            sessions: (1..=4).map(|id| Session::new(SessionId(id))).collect(),
            journal: Vec::new(),
            outcomes: Vec::new(),
        };
        world.turn(|_, _| {});
        world.say(0, "ALTA Sala 1, Sala 2");
        world
    }

    /// Restarts the server, after a time that only the wall clock has measured.
    fn restart(&mut self, later_ms: i64) {
        self.restart_with(later_ms, Clock::new(self.now.wall));
    }

    fn restart_with(&mut self, later_ms: i64, clock: Clock) {
        self.wall += later_ms;
        self.monotonic_ms = 5;
        self.clock = clock;
        self.inventory = std::mem::replace(&mut self.replayed, empty());
        for line in &self.journal {
            let (_, event) = Event::decode(line, &self.replayed).unwrap();
            self.replayed.apply(event);
        }
        self.turn(|_, _| {});
    }

    /// Runs one turn of the loop: reads the clock, ends what is due, and does `work`.
    fn turn(&mut self, work: impl FnOnce(&mut World, &mut Batch)) {
        let zone = Zone::utc();
        let before = self.now;
        self.now = self.clock.observe(Time::from_ms(self.wall), MonotonicMs(self.monotonic_ms));
        assert!(self.now.wall >= before.wall, "time never runs backwards");
        let mut batch = Batch::default();
        let step_ms = self.clock.take_step();
        if step_ms != 0 {
            self.inventory.clock_was_set(step_ms, self.now);
        }
        self.inventory.advance(self.now, &zone, &mut batch);
        work(self, &mut batch);
        for (_, parts) in batch.for_journal() {
            let text = parts.concat();
            let (time, event) = Event::decode(&text, &self.replayed).unwrap();
            assert!(time <= self.now.wall, "{text}");
            assert_eq!(self.replayed.admits(&event), Ok(()), "{text}");
            self.replayed.apply(event);
            self.journal.push(text);
        }
        for (session, outcome) in self.inventory.take_outcomes() {
            match outcome {
                Outcome::Granted(it) => self.outcomes.push((session.0, format!("#{}", it.number))),
                Outcome::PositionChanged(_) => continue,
                other => self.outcomes.push((session.0, format!("{other:?}"))),
            }
            // Notices are tested elsewhere. Here, only its lines continue.
            self.sessions[session.0 as usize - 1] = Session::new(session);
        }
        self.inventory.check();
    }

    /// Runs one line of a session, and returns the reply.
    fn say(&mut self, session: usize, line: &str) -> String {
        let mut out = Vec::new();
        self.turn(|world, batch| {
            let zone = Zone::utc();
            let history = History::default();
            let stats = || Stats {
                clock_behind_ms: world.clock.behind_ms(),
                clock_unconfirmed_ms: world.clock.unconfirmed_ms(),
                ..Stats::default()
            };
            let mut context = CommandContext {
                inventory: &mut world.inventory,
                batch,
                history: &history,
                request_time: RequestTime { now: world.now, zone: &zone },
                stats: &stats,
            };
            let session = &mut world.sessions[session];
            commands::run(line.as_bytes(), Eol::Lf, session, &mut context, &mut out);
        });
        String::from_utf8(out).unwrap()
    }

    /// Advances both clocks, one second per turn.
    fn pass_s(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.wall += 1_000;
            self.monotonic_ms += 1_000;
            self.turn(|_, _| {});
        }
    }

    /// Sets the wall clock.
    fn set_by(&mut self, ms: i64) {
        self.wall += ms;
        self.turn(|_, _| {});
    }

    fn is_live(&self, number: u64) -> bool {
        self.inventory.reservation(Number(number)).is_some()
    }

    /// Returns for how many seconds of the monotonic clock a reservation still lives.
    fn lives_s(&mut self, number: u64, at_most: i64) -> i64 {
        (0..at_most)
            .find(|_| {
                let over = !self.is_live(number);
                if !over {
                    self.pass_s(1);
                }
                over
            })
            .unwrap_or(at_most)
    }

    fn until(&self, number: u64) -> String {
        Zone::utc().text(self.inventory.reservation(Number(number)).unwrap().until, Round::Up)
    }
}

/// Steps of every size, in both directions and in sequence, do not change how long a lease lives.
#[test]
fn lease_keeps_its_duration_when_the_wall_clock_is_set() {
    let steps = [0, 400, -400, 900, -900, 5_000, -5_000, HOUR_MS, -HOUR_MS, 30 * 24 * HOUR_MS];
    for first in steps {
        for second in steps {
            let mut world = World::new();
            let reply = world.say(0, "RESERVAR Sala 1 por=10m");
            assert!(reply.starts_with("OK RESERVADO #1 Sala 1 desde="), "{reply}");
            world.pass_s(120);
            world.set_by(first);
            world.pass_s(60);
            world.set_by(second);
            let valid = world.say(1, "VERIFICAR #1");
            let left = valid.trim_end().rsplit_once("quedan=").expect(&valid).1;
            let left: i64 = left.strip_suffix('s').unwrap().parse().unwrap();
            assert!((418..=421).contains(&left), "{first} {second}: {valid}");
            let lived = world.lives_s(1, 10_000);
            assert!((419..=421).contains(&lived), "{first} {second}: {lived}");
        }
    }
}

#[test]
fn reservation_with_dates_follows_the_wall_clock() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 desde=2026-11-22T13:00 hasta=2026-11-22T14:00");
    world.say(0, "RESERVAR Sala 2 hasta=2026-11-22T15:00");
    assert!(world.say(0, "VERIFICAR #1").starts_with("ERR 409 "));
    world.set_by(HOUR_MS + 1_000);
    assert!(world.say(0, "VERIFICAR #1").starts_with("OK VIGENTE #1 Sala 1 quedan=3599s"));
    world.set_by(HOUR_MS);
    assert!(world.say(0, "VERIFICAR #1").starts_with("ERR 410 "));
    assert!(world.is_live(2));
    world.set_by(HOUR_MS);
    assert!(!world.is_live(2));
    // Each end has its own time, as after downtime.
    let ends: Vec<_> = world.journal.iter().filter(|line| line.contains("EXPIRED")).collect();
    assert!(ends[0].starts_with("2026-11-22T14:00:00.000Z EXPIRED #1"), "{ends:?}");
    assert!(ends[1].starts_with("2026-11-22T15:00:00.000Z EXPIRED #2"), "{ends:?}");
}

/// The clock is set back by an hour. Time stands still and is reported as doubtful, dates wait for
/// the wall clock, and durations continue, also those that start meanwhile.
#[test]
fn durations_continue_and_dates_wait_while_the_wall_clock_is_behind() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 2 hasta=2026-11-22T12:30");
    world.pass_s(60);
    world.set_by(-HOUR_MS);
    let status = world.say(0, "ESTADO");
    assert!(status.contains("clock=doubtful, 3600s behind"), "{status}");
    assert!(status.contains("time=2026-11-22T12:01:00+00:00"), "{status}");
    let reply = world.say(0, "RESERVAR Sala 1 por=5m");
    assert!(reply.starts_with("OK RESERVADO #2 "), "{reply}");
    assert!(world.say(1, "RESERVAR Sala 1 por=2m espera=10m").starts_with("* COLA 1 "));
    assert!(world.say(2, "RESERVAR Sala 1 por=2m espera=6m").starts_with("* COLA 2 "));
    assert_eq!(world.lives_s(2, 10_000), 300);
    assert_eq!(world.outcomes, [(2, "#3".to_owned())]);
    world.pass_s(60);
    assert_eq!(world.outcomes[1], (3, "TimedOut".to_owned()));
    assert_eq!(world.lives_s(3, 10_000), 60);
    // Its date is 12:30, and the wall clock reads 11:08.
    assert_eq!(world.lives_s(1, 10_000), 3600 + 29 * 60 - 300 - 120);
    assert!(world.say(0, "ESTADO").contains("clock=ok"));
}

#[test]
fn lease_longer_than_the_wait_for_the_wall_clock_gets_a_new_end() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 por=3h");
    assert_eq!(world.until(1), "2026-11-22T15:00:00+00:00");
    world.set_by(-HOUR_MS);
    world.pass_s(60);
    world.say(0, "RESERVAR Sala 2 por=3h");
    world.pass_s(3600);
    assert_eq!(world.until(1), "2026-11-22T14:00:00+00:00");
    assert_eq!(world.until(2), "2026-11-22T14:01:00+00:00");
    let last = world.journal.last().unwrap();
    assert!(last.contains("RENEWED #2 until=2026-11-22T14:01:00.000Z lease=yes"), "{last}");
}

/// Two guarantees conflict: the booking has its dates, and no two reservations may overlap. So the
/// lease ends early.
#[test]
fn lease_moved_into_a_booking_ends_at_its_start() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 por=30m");
    world.say(0, "RESERVAR Sala 1 desde=2026-11-22T14:20 hasta=2026-11-22T15:00");
    world.say(0, "RESERVAR Sala 2 por=30m");
    world.say(0, "RESERVAR Sala 2 desde=2026-11-22T13:20 hasta=2026-11-22T15:00");
    world.set_by(2 * HOUR_MS);
    assert_eq!(world.until(1), "2026-11-22T14:20:00+00:00");
    assert!(!world.is_live(3), "the booking has begun by the clock as it is now");
    assert!(world.say(0, "VERIFICAR #4").starts_with("OK VIGENTE"));
}

/// The lease holds the room until its real end. A waiter is not granted the room because the old
/// end has passed on the new clock.
#[test]
fn step_of_the_clock_grants_no_waiter_a_leased_room() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 por=10m");
    world.say(0, "RESERVAR Sala 1 desde=2026-11-22T12:30 hasta=2026-11-22T12:45");
    assert!(world.say(1, "RESERVAR Sala 1 por=5m espera=1h").starts_with("* COLA 1 "));
    world.set_by(HOUR_MS);
    assert_eq!(world.outcomes, []);
    assert!(world.is_live(1) && !world.is_live(2));
    assert_eq!(world.lives_s(1, 10_000), 600);
    assert_eq!(world.outcomes, [(2, "#3".to_owned())]);
}

#[test]
fn wait_keeps_its_duration_when_the_wall_clock_is_set() {
    for step_ms in [HOUR_MS, -HOUR_MS] {
        let mut world = World::new();
        world.say(0, "RESERVAR Sala 1");
        world.say(1, "RESERVAR Sala 1 espera=10m");
        world.pass_s(60);
        world.set_by(step_ms);
        world.pass_s(539);
        assert_eq!(world.outcomes, [], "{step_ms}");
        world.pass_s(2);
        assert_eq!(world.outcomes, [(2, "TimedOut".to_owned())], "{step_ms}");
    }
}

/// A small host without a battery for its clock starts in 1970, and the network sets its clock two
/// minutes later.
#[test]
fn start_in_1970_keeps_leases_and_dates() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 por=1h");
    world.say(0, "RESERVAR Sala 2 hasta=2026-11-22T12:30");
    world.say(0, "RESERVAR Sala 2 desde=2026-11-22T13:00 hasta=2026-11-22T14:00");
    let real_after_ms = 20 * 60_000;
    world.restart(-world.wall + 9_000);
    assert_eq!(world.now.wall.ms(), NOON, "the last time in the journal is the floor");
    assert!(world.say(0, "ESTADO").contains("clock=doubtful, "), "ESTADO reports it");
    world.pass_s(120);
    for number in 1..=3 {
        assert!(world.is_live(number), "nothing ends early: #{number}");
    }
    assert!(world.say(0, "VERIFICAR #3").starts_with("ERR 409 "), "nothing starts early");
    let reply = world.say(0, "RESERVAR Sala 2 hasta=2026-11-22T12:20");
    assert!(reply.starts_with("ERR 409 "), "{reply}");
    world.set_by(NOON + real_after_ms - world.wall);
    assert!(world.say(0, "ESTADO").contains("clock=ok"));
    assert_eq!(world.lives_s(2, 10_000), 600, "its date");
    // The lease has lost the time that the server ran: two minutes before the jump, ten after it.
    assert_eq!(world.lives_s(1, 10_000), 3600 - 120 - 600);
    assert!(world.is_live(3));
}

/// The journal of a first start in 1970 continues in the present.
#[test]
fn journal_that_starts_in_1970_continues_in_the_present() {
    let mut world = World::new();
    world.wall = 20_000;
    world.clock = Clock::new(Time::MIN);
    world.now = ClockReading::at(Time::MIN);
    world.turn(|_, _| {});
    world.say(0, "RESERVAR Sala 1 por=10m");
    assert_eq!(world.until(1), "1970-01-01T00:10:20+00:00");
    world.pass_s(120);
    world.clock.confirm();
    world.set_by(NOON - world.wall);
    assert_eq!(world.until(1), "2026-11-22T12:08:00+00:00");
    assert_eq!(world.lives_s(1, 10_000), 480);
}

/// If the clock is behind at the start, a lease continues from the last time in the journal.
#[test]
fn restart_while_the_clock_is_behind_ends_nothing_early() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 por=10m");
    world.pass_s(60);
    world.set_by(-HOUR_MS);
    world.say(0, "ALTA Sala 3");
    world.restart(5_000);
    assert_eq!(world.lives_s(1, 10_000), 540);
}

const DAY_MS: i64 = 24 * HOUR_MS;
const SIXTY_YEARS_MS: i64 = 60 * 365 * DAY_MS;

/// After a start far ahead with some commands the clock is corrected. Nothing has ended, and no
/// wrong time is in the journal.
#[test]
fn start_sixty_years_ahead_ends_nothing_and_leaves_no_trace() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 hasta=2026-11-22T13:00");
    world.say(0, "RESERVAR Sala 1 desde=2026-11-23T12:00 hasta=2026-11-24T12:00");
    world.say(0, "RESERVAR Sala 2 por=1h");
    world.restart(SIXTY_YEARS_MS);
    let status = world.say(0, "ESTADO");
    assert!(status.contains("clock=unconfirmed, 1892160000s ahead"), "{status}");
    assert!(status.contains("time=2026-11-22T12:00:00+00:00"), "{status}");
    world.pass_s(120);
    assert!(world.say(0, "ALTA Sala 3").starts_with("OK "));
    let reply = world.say(0, "RESERVAR Sala 3 por=1h");
    assert!(reply.contains("hasta=2026-11-22T13:02:00+00:00"), "{reply}");
    assert!(world.say(0, "VERIFICAR #1").starts_with("OK VIGENTE"));
    assert!(
        world.say(0, "CUANDO Sala 1 por=1h").starts_with("OK 2026-11-22T13:00:00+00:00 Sala 1")
    );
    // The host was switched off for ten minutes.
    world.set_by(600_000 - SIXTY_YEARS_MS);
    let status = world.say(0, "ESTADO");
    assert!(status.contains("clock=ok"), "{status}");
    assert!(status.contains("time=2026-11-22T12:12:00+00:00"), "{status}");
    assert!((1..=4).all(|number| world.is_live(number)));
    assert!(world.journal.iter().all(|line| line.starts_with("2026-11-22T12:")));
    assert_eq!(world.lives_s(1, 10_000), 48 * 60, "its date");
    assert_eq!(world.lives_s(4, 10_000), 3600 - 48 * 60, "its length");
    assert!(world.is_live(2));
}

/// The clock of a host that was off for a weekend is correct but unconfirmed.
#[test]
fn due_reservations_end_within_ten_minutes_after_a_long_downtime() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 hasta=2026-11-22T13:00");
    world.say(0, "RESERVAR Sala 1 desde=2026-11-23T12:00 hasta=2026-11-24T12:00");
    world.say(0, "RESERVAR Sala 2 por=1h");
    world.restart(3 * DAY_MS);
    assert!(world.say(1, "RESERVAR Sala 1 por=2h espera=1d").starts_with("* COLA 1 "));
    world.pass_s(599);
    assert!(world.is_live(1) && world.is_live(2));
    assert!(world.say(0, "ESTADO").contains("clock=unconfirmed, 259200s ahead"));
    world.pass_s(1);
    assert!(world.say(0, "ESTADO").contains("clock=ok"));
    assert_eq!(world.now.wall.ms(), NOON + 3 * DAY_MS + 600_000);
    let ends: Vec<_> = world.journal.iter().filter(|line| line.contains("EXPIRED")).collect();
    assert!(ends[0].starts_with("2026-11-22T13:00:00.000Z EXPIRED #1"), "{ends:?}");
    assert!(ends[1].starts_with("2026-11-24T12:00:00.000Z EXPIRED #2"), "{ends:?}");
    assert_eq!(world.outcomes, [(2, "#4".to_owned())], "the waiter has the room from then on");
    assert_eq!(world.until(4), "2026-11-25T14:10:00+00:00");
    // The downtime was unknown, so that the lease has run for ten minutes.
    assert_eq!(world.until(3), "2026-11-25T13:00:00+00:00");
}

#[test]
fn start_with_a_synchronised_clock_ends_due_reservations_at_once() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 hasta=2026-11-24T12:00");
    world.say(0, "RESERVAR Sala 2 por=1h");
    let mut clock = Clock::new(world.now.wall);
    clock.confirm();
    world.restart_with(3 * DAY_MS, clock);
    assert!(world.say(0, "ESTADO").contains("clock=ok"));
    assert!(!world.is_live(1) && !world.is_live(2), "downtime counts");
}

/// The clock is set ahead by two days while the server runs. Reservations end as without the step,
/// until the time service confirms the clock.
#[test]
fn step_while_running_is_followed_when_confirmed() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 hasta=2026-11-22T12:05");
    world.say(0, "RESERVAR Sala 1 desde=2026-11-22T12:06 hasta=2026-11-22T13:00");
    world.say(0, "RESERVAR Sala 2 por=30m");
    world.set_by(2 * DAY_MS);
    assert!(world.say(0, "ESTADO").contains("clock=unconfirmed, 172800s ahead"));
    assert_eq!(world.lives_s(1, 1_000), 300);
    world.pass_s(60);
    assert!(world.say(0, "VERIFICAR #2").starts_with("OK VIGENTE"));
    world.clock.confirm();
    world.pass_s(1);
    assert!(world.say(0, "ESTADO").contains("clock=ok"));
    assert!(!world.is_live(2));
    assert_eq!(world.lives_s(3, 10_000), 1800 - 361, "a length");
}

/// The clock is set again before it was confirmed, so that the ten minutes start again.
#[test]
fn setting_the_clock_restarts_its_confirmation() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 hasta=2026-11-22T14:00");
    world.restart(SIXTY_YEARS_MS);
    world.pass_s(500);
    world.set_by(-SIXTY_YEARS_MS / 2);
    world.pass_s(599);
    assert!(world.is_live(1));
    assert!(world.say(0, "ESTADO").contains("clock=unconfirmed, "));
    world.pass_s(1);
    assert!(!world.is_live(1));
    assert!(world.say(0, "ESTADO").contains("clock=ok"));
}

/// The time continues and never decreases.
#[test]
fn clock_behind_and_then_far_ahead_is_not_followed() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 hasta=2026-11-22T12:09");
    world.say(0, "RESERVAR Sala 2 por=5m");
    world.set_by(-HOUR_MS);
    world.pass_s(60);
    world.set_by(SIXTY_YEARS_MS);
    assert!(world.say(0, "ESTADO").contains("time=2026-11-22T12:01:00+00:00"));
    assert_eq!(world.lives_s(2, 10_000), 240);
    assert_eq!(world.lives_s(1, 10_000), 240);
    world.set_by(HOUR_MS - SIXTY_YEARS_MS);
    let status = world.say(0, "ESTADO");
    assert!(status.contains("clock=ok"), "{status}");
    assert!(status.contains("time=2026-11-22T12:09:00+00:00"), "{status}");
}

/// The alarm is a time of the wall clock even while the server does not follow it.
#[test]
fn alarm_uses_the_wall_clock_even_while_unconfirmed() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 hasta=2026-11-22T13:00");
    let end = Time::from_ms(NOON + HOUR_MS);
    assert_eq!(world.clock.wall_at_time(end), end);
    world.set_by(SIXTY_YEARS_MS);
    world.pass_s(60);
    assert_eq!(world.clock.wall_at_time(end), end.plus_ms(SIXTY_YEARS_MS));
    assert_eq!(world.clock.wall_at(end), end.plus_ms(SIXTY_YEARS_MS));
}

#[test]
fn sleep_of_the_machine_is_elapsed_time() {
    let mut world = World::new();
    world.say(0, "RESERVAR Sala 1 por=1h");
    world.say(1, "RESERVAR Sala 1 por=1h espera=2h");
    world.wall += 90 * 60_000;
    world.monotonic_ms += 90 * 60_000;
    world.turn(|_, _| {});
    assert!(!world.is_live(1) && world.is_live(2));
    assert_eq!(world.lives_s(2, 10_000), 30 * 60, "granted when the first had ended");
}

// The real server with a wall clock of its own.

/// A wall clock for one program. A file holds how far it is ahead of the machine's.
struct FakeClock {
    directory: TempDir,
    library: String,
}

impl FakeClock {
    /// Returns `None` without libfaketime.
    fn new() -> Option<FakeClock> {
        if !has("faketime") {
            return None;
        }
        let shown = Command::new("faketime").args(["-f", "+0", "env"]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let library = shown.lines().find_map(|line| line.strip_prefix("LD_PRELOAD=")).unwrap();
        let clock = FakeClock { directory: temp_dir(), library: library.to_owned() };
        clock.set(0);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }

    /// Sets how far the wall clock is ahead of the machine's.
    fn set(&self, ahead_s: i64) {
        let new = self.directory.path().join("clock.new");
        std::fs::write(&new, format!("{ahead_s:+}\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn start(&self, data: &Path) -> Server {
        let mut command = command(&[
            "--data-dir",
            data.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--time-zone",
            "UTC",
        ]);
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_NO_CACHE", "1");
        command
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Server::spawn(&mut command)
    }
}

#[test]
fn server_keeps_the_length_of_a_lease_when_its_clock_is_set() {
    let Some(clock) = FakeClock::new() else { return };
    for ahead_s in [7200, -7200] {
        let directory = temp_dir();
        clock.set(0);
        let mut server = clock.start(directory.path());
        let mut waiter = server.connect();
        let mut client = server.connect();
        let begun = Instant::now();
        assert!(client.say("RESERVE Habitación 1 for=4s").starts_with("OK RESERVED #1 "));
        waiter.send("RESERVE Habitación 1 for=1h wait=1m\n");
        assert!(waiter.line().starts_with("* QUEUE 1 "));
        clock.set(ahead_s);
        let valid = client.say("VERIFY #1");
        assert!(valid.starts_with("OK VALID #1 Habitación 1 left="), "{valid}");
        let status = client.list("STATUS").join("\n");
        if ahead_s > 0 {
            server.wait_log("the clock was set by +7");
            assert!(status.contains("clock=ok"), "{status}");
        } else {
            server.wait_log("behind a time already shown");
            assert!(status.contains("clock=doubtful, 7"), "{status}");
        }
        // No client sends anything, so an alarm must end it.
        assert!(waiter.line().starts_with("OK RESERVED #2 "));
        let lasted = begun.elapsed().as_millis();
        assert!(lasted >= 3_400, "it ended early, after {lasted} ms");
        assert!(client.say("VERIFY #1").starts_with("ERR 410 "));
        server.stop();
    }
}

#[test]
fn server_starts_in_1970_and_follows_the_network_time() {
    let Some(clock) = FakeClock::new() else { return };
    let directory = temp_dir();
    let server = clock.start(directory.path());
    let mut client = server.connect();
    let now_s = i64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(),
    )
    .unwrap();
    let at = |seconds: i64| {
        Zone::utc()
            .text(Time::from_ms((now_s + seconds) * 1000), Round::Down)
            .replace("+00:00", "Z")
    };
    client.say("RESERVE Habitación 1 for=1h");
    client.say(&format!("RESERVE Habitación 2 until={}", at(1800)));
    client.say(&format!("RESERVE Habitación 3 from={} until={}", at(600), at(1200)));
    server.kill();

    clock.set(30 - now_s);
    let mut server = clock.start(directory.path());
    server.wait_log("behind a time already shown");
    let mut client = server.connect();
    let status = client.list("STATUS").join("\n");
    assert!(status.contains("clock=doubtful, "), "{status}");
    assert!(client.say("VERIFY #1").starts_with("OK VALID #1 "));
    assert!(client.say("VERIFY #2").starts_with("OK VALID #2 "));
    assert!(client.say("VERIFY #3").starts_with("ERR 409 "));
    clock.set(700);
    let status = client.list("STATUS").join("\n");
    assert!(status.contains("clock=ok"), "{status}");
    assert!(client.say("VERIFY #1").starts_with("OK VALID #1 "));
    assert!(client.say("VERIFY #2").starts_with("OK VALID #2 "));
    assert!(client.say("VERIFY #3").starts_with("OK VALID #3 "), "the reservation is active");
    server.stop();
}

/// After a start sixty years ahead with one command and a correction of the clock nothing has
/// changed.
#[test]
fn server_survives_a_start_sixty_years_ahead() {
    let Some(clock) = FakeClock::new() else { return };
    let directory = temp_dir();
    let server = clock.start(directory.path());
    let mut client = server.connect();
    assert!(client.say("RESERVE Habitación 1 until=2085-01-01").starts_with("OK RESERVED #1 "));
    server.kill();

    clock.set(SIXTY_YEARS_MS / 1000);
    let mut server = clock.start(directory.path());
    server.wait_log("nothing ends by that clock");
    let mut client = server.connect();
    let status = client.list("STATUS").join("\n");
    assert!(status.contains("clock=unconfirmed, 189"), "{status}");
    // No client sends anything until it ends, so that the alarm must wake the server.
    assert!(client.say("WATCH").starts_with("OK "));
    assert!(client.say("RESERVE Habitación 2 for=1s").starts_with("OK RESERVED #2 "));
    assert!(client.line().contains(" RESERVED #2 "));
    assert!(client.line().contains(" EXPIRED #2 "));
    server.kill();

    clock.set(0);
    let server = clock.start(directory.path());
    let mut client = server.connect();
    let status = client.list("STATUS").join("\n");
    assert!(status.contains("clock=ok"), "{status}");
    assert!(client.say("VERIFY #1").starts_with("OK VALID #1 "));
    server.stop();
}

//! A server without sockets, with a virtual clock and a disk in memory.

use std::fmt::Write;
use std::sync::OnceLock;

use reservad::commands::parse::{Command, RequestTime, ScannedStr, parse};
use reservad::commands::words::find_verb;
use reservad::commands::{self, CommandContext, Flow, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::{Capacity, Deadlines, Inventory, Number, ResourceId, SessionId};
use reservad::journal::{Error, SyncPolicy};
use reservad::store::{Opened, Store};
use reservad::text::Verb;
use reservad::time::{Clock, ClockReading, MonotonicMs, Time, Zone};

use super::disk::MemoryDisk;

/// Small, so that inputs reach both limits.
const CAPACITY: Capacity = Capacity { resources: 60, reservations: 20 };

/// 2026-10-24T21:59:30Z, which is half a minute before the day on which daylight saving time ends
/// in Madrid.
pub const START: Time = Time::from_ms(1_792_879_170_000);

/// A zone with daylight saving time, in which errors with dates are most likely.
pub fn zone() -> &'static Zone {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    ZONE.get_or_init(|| Zone::named("Europe/Madrid").expect("a zone database"))
}

/// A connection without a socket.
pub struct Peer {
    pub session: Session,
    pub eol: Eol,
    /// Whether the server has closed the connection.
    pub closed: bool,
}

impl Peer {
    pub fn new(id: u64, eol: Eol) -> Peer {
        Peer { session: Session::new(SessionId(id)), eol, closed: false }
    }
}

pub struct Server {
    pub disk: MemoryDisk,
    pub inventory: Inventory,
    pub batch: Batch,
    pub store: Store<MemoryDisk>,
    pub now: ClockReading,
    clock: Clock,
    /// The two clocks of the system.
    wall: Time,
    monotonic: MonotonicMs,
}

impl Server {
    /// Returns a server without a journal.
    pub fn in_memory() -> Server {
        let disk = MemoryDisk::new(&[], usize::MAX);
        Server::over(disk, Store::in_memory(), Inventory::new(CAPACITY), START, START)
    }

    /// Returns a server that has replayed the journal. It makes no syncs and therefore has no spare
    /// tail, which would take most of a fuzzer's time.
    pub fn open(disk: MemoryDisk, wall: Time) -> Result<(Server, Opened), Error> {
        let (store, inventory, opened) = Store::open(disk.clone(), SyncPolicy::Never, CAPACITY)?;
        Ok((Server::over(disk, store, inventory, wall, opened.last_time), opened))
    }

    fn over(
        disk: MemoryDisk,
        store: Store<MemoryDisk>,
        inventory: Inventory,
        wall: Time,
        floor: Time,
    ) -> Server {
        let (mut clock, monotonic) = (Clock::new(floor), MonotonicMs(0));
        let now = clock.observe(wall, monotonic);
        Server { disk, inventory, batch: Batch::default(), store, now, clock, wall, monotonic }
    }

    /// Advances both clocks, within the range of the calendar.
    pub fn pass(&mut self, ms: i64) {
        const YEAR_2200: Time = Time::from_ms(7_258_118_400_000);
        let ms = ms.clamp(0, (YEAR_2200.ms() - self.wall.ms()).max(0));
        self.wall = self.wall.plus_ms(ms);
        self.monotonic = self.monotonic.plus_ms(ms.unsigned_abs());
        self.update_time();
    }

    /// Steps the wall clock.
    pub fn set_clock(&mut self, by_ms: i64) {
        const YEAR_2000: Time = Time::from_ms(946_684_800_000);
        self.wall = self.wall.plus_ms(by_ms).max(YEAR_2000);
        self.pass(0);
    }

    /// Returns the wall clock.
    pub fn wall(&self) -> Time {
        self.wall
    }

    /// Returns the time until the next deadline.
    pub fn idle_ms(&self) -> i64 {
        let Deadlines { dated, monotonic } = self.inventory.deadlines();
        let dated = dated.map(|time| self.clock.wall_at_time(time));
        let monotonic = monotonic.map(|time| self.clock.wall_at(time));
        let next = dated.into_iter().chain(monotonic).min();
        next.map_or(0, |next| next.ms().saturating_sub(self.wall.ms()))
    }

    /// Reads the clocks and applies the time, as the loop does at the start of a turn.
    fn update_time(&mut self) {
        self.now = self.clock.observe(self.wall, self.monotonic);
        let step_ms = self.clock.take_step();
        if step_ms != 0 {
            self.inventory.clock_was_set(step_ms, self.now);
        }
        self.inventory.advance(self.now, zone(), &mut self.batch);
        assert_eq!(self.inventory.due(self.now), None, "an end that is due");
    }

    /// Runs a line and returns the complete reply.
    pub fn say(&mut self, peer: &mut Peer, line: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let eol = peer.eol;
        let session = &mut peer.session;
        match self.with_context(|context| commands::run(line, eol, session, context, &mut out)) {
            Flow::Next => {}
            // In small pieces, as for a slow reader.
            Flow::List(mut list) => while list.fill(100, &mut out) {},
            Flow::Close => peer.closed = true,
            Flow::Leave | Flow::Later(_) => unreachable!("nothing here is done in pieces"),
            Flow::Foreign => {
                assert!(out.is_empty(), "a foreign protocol was answered");
                peer.closed = true;
            }
        }
        out
    }

    /// Calls `work` with a command context.
    pub fn with_context<T>(&mut self, work: impl FnOnce(&mut CommandContext) -> T) -> T {
        let stats = Stats::default;
        work(&mut CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: self.store.history(),
            request_time: RequestTime { now: self.now, zone: zone() },
            stats: &stats,
        })
    }

    /// Returns the texts of the events that are not committed yet, as the journal will contain
    /// them.
    pub fn texts(&self) -> Vec<(u64, String)> {
        let texts = self.batch.for_journal().map(|(_, parts)| parts.concat());
        self.batch.iter().map(|(number, _, _)| number).zip(texts).collect()
    }

    pub fn commit(&mut self) {
        self.store.commit(&mut self.batch).expect("an error of the disk in memory");
    }

    /// Writes a snapshot of everything, in small pieces.
    pub fn compact(&mut self) {
        self.compact_piece();
        while self.store.is_compacting() {
            self.compact_piece();
        }
    }

    pub fn compact_piece(&mut self) {
        let done = self.store.compact(&self.inventory, self.now.wall, 64);
        assert!(matches!(done, Ok(None)), "an error of the disk in memory: {done:?}");
    }
}

/// Returns whether a line adds too many names to be fast enough for a fuzzer.
pub fn is_too_much(line: &[u8]) -> bool {
    const MOST: usize = 300;
    let Ok(line) = str::from_utf8(line) else { return false };
    let (word, rest) = ScannedStr::of(line).split_word();
    let Some((verb @ Verb::Add, lang)) = find_verb(word) else { return false };
    let request_time = RequestTime { now: ClockReading::at(START), zone: zone() };
    let mut joined = String::new();
    let command = parse(verb, rest, lang, request_time, &mut joined);
    matches!(command, Ok(Command::Add(names)) if names.len() > MOST)
}

/// Prints the state that must survive a restart. It contains names, because ids may change.
pub fn dump(inventory: &Inventory) -> String {
    let mut text =
        format!("events {} numbers {}\n", inventory.last_event(), inventory.last_number());
    let texts = inventory.names().texts();
    let mut next = ResourceId(0);
    while let Some(id) = inventory.next_resource(next) {
        text.push_str(texts.name(id));
        text.push('\n');
        next = id.next();
    }
    let mut after = Number(0);
    while let Some(one) = inventory.next_reservation(after) {
        let names: Vec<_> = one.targets().iter().map(|id| texts.name(*id)).collect();
        let interval = (one.from.ms(), one.until.ms(), one.lease, one.session().is_some());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "#{} {names:?} {interval:?}", one.number);
        let _ = writeln!(text, "{:?} {:?} {:?}", one.holder, one.note(), one.key());
        after = one.number;
    }
    text
}

//! The server without its sockets, clock and disk.

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

/// Small, so that both bounds are met.
const CAPACITY: Capacity = Capacity { resources: 60, reservations: 20 };

/// 2026-10-24T21:59:30Z: in Madrid half a minute before the day on which the
/// clock goes back.
pub const START: Time = Time::from_ms(1_792_879_170_000);

/// A zone whose clock is changed, where dates go wrong most easily.
pub fn zone() -> &'static Zone {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    ZONE.get_or_init(|| Zone::named("Europe/Madrid").expect("a zone database"))
}

/// A connection without its socket.
pub struct Peer {
    pub session: Session,
    pub eol: Eol,
    /// No line of it is run any more.
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
    /// What the two clocks of the system say.
    wall: Time,
    tick: MonotonicMs,
}

impl Server {
    /// One that keeps nothing.
    pub fn in_memory() -> Server {
        let disk = MemoryDisk::new(&[], usize::MAX);
        Server::over(disk, Store::in_memory(), Inventory::new(CAPACITY), START, START)
    }

    /// One that begins with what the journal says. Without syncs, so that it
    /// keeps no spare tail, which would cost a fuzzer most of its time.
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
        let (mut clock, tick) = (Clock::new(floor), MonotonicMs(0));
        let now = clock.observe(wall, tick);
        Server { disk, inventory, batch: Batch::default(), store, now, clock, wall, tick }
    }

    /// Time goes on by so much, within the calendar.
    pub fn pass(&mut self, ms: i64) {
        const YEAR_2200: Time = Time::from_ms(7_258_118_400_000);
        let ms = ms.clamp(0, (YEAR_2200.ms() - self.wall.ms()).max(0));
        self.wall = self.wall.plus_ms(ms);
        self.tick = self.tick.plus_ms(ms.unsigned_abs());
        self.heed_clock();
    }

    /// Somebody sets the wall clock by so much.
    pub fn set_clock(&mut self, by_ms: i64) {
        const YEAR_2000: Time = Time::from_ms(946_684_800_000);
        self.wall = self.wall.plus_ms(by_ms).max(YEAR_2000);
        self.pass(0);
    }

    /// What the wall clock says.
    pub fn wall(&self) -> Time {
        self.wall
    }

    /// How long it is until something happens by itself.
    pub fn idle_ms(&self) -> i64 {
        let Deadlines { dated, monotonic } = self.inventory.deadlines();
        let dated = dated.map(|time| self.clock.wall_at_time(time));
        let monotonic = monotonic.map(|time| self.clock.wall_at(time));
        let next = dated.into_iter().chain(monotonic).min();
        next.map_or(0, |next| next.ms().saturating_sub(self.wall.ms()))
    }

    /// Applies what the clocks now say, as the loop does at the start of a turn.
    fn heed_clock(&mut self) {
        self.now = self.clock.observe(self.wall, self.tick);
        let step_ms = self.clock.take_step();
        if step_ms != 0 {
            self.inventory.clock_was_set(step_ms, self.now);
        }
        self.inventory.advance(self.now, zone(), &mut self.batch);
        assert_eq!(self.inventory.due(self.now), None, "an end that has come");
    }

    /// Runs one line and returns all of its reply.
    pub fn say(&mut self, peer: &mut Peer, line: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let eol = peer.eol;
        let session = &mut peer.session;
        match self.at_desk(|context| commands::run(line, eol, session, context, &mut out)) {
            Flow::Next => {}
            // Piece by piece, as for one that reads slowly.
            Flow::List(mut list) => while list.fill(100, &mut out) {},
            Flow::Close => peer.closed = true,
            Flow::Leave | Flow::Later(_) => unreachable!("nothing here is done in pieces"),
            Flow::Foreign => {
                assert!(out.is_empty(), "another protocol was answered");
                peer.closed = true;
            }
        }
        out
    }

    /// Does something that needs a desk.
    pub fn at_desk<T>(&mut self, work: impl FnOnce(&mut CommandContext) -> T) -> T {
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
        self.store.commit(&mut self.batch).expect("memory does not fail");
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
        assert!(matches!(done, Ok(None)), "memory does not fail: {done:?}");
    }
}

/// Whether a line asks for so many new names that a fuzzer would do little else.
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

/// Everything that must survive a restart. Ids may differ, names may not.
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

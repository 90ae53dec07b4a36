//! Micro-benchmarks of the parts of a request: framing, parser, decision and its application, the
//! whole command, the journal's record, replay. They use the public interface of the library,
//! without sockets and disk.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use divan::{Bencher, black_box, counter::ItemsCount};
use reservad::commands::parse::{RequestTime, ScannedStr, parse};
use reservad::commands::{self, CommandContext, Session, Stats};
use reservad::conn::{BufferPool, Conn, Eol, Frame};
use reservad::inventory::event::Batch;
use reservad::inventory::{
    Capacity, Event, Grant, Inventory, Origin, Principal, Request, SessionId, cancellations,
};
use reservad::journal::{self, Journal, Storage, StorageFile, SyncPolicy};
use reservad::store::{History, replay};
use reservad::text::Verb;
use reservad::time::{ClockReading, Time, Zone};

fn main() {
    divan::main();
}

const LINES: [(&str, &str); 8] = [
    ("exact", "RESERVAR Habitación 7"),
    ("folded", "reservar habitacion 7"),
    ("pattern", "RESERVAR hab*"),
    ("dated", "RESERVAR Habitación 7 desde=2030-01-01T10:00:00Z hasta=2030-01-01T11:00:00Z"),
    ("noted", "RESERVAR Habitación 7 por=2h nota=\"dos adultos\" clave=abc"),
    ("name", "CANCELAR Habitación 7"),
    ("number", "CANCELAR #1234567"),
    ("list", "LISTAR"),
];

/// A server's state without its sockets.
struct House {
    inventory: Inventory,
    batch: Batch,
    history: History,
    session: Session,
    zone: Zone,
    now: ClockReading,
    out: Vec<u8>,
}

impl House {
    fn new(rooms: usize) -> House {
        let mut house = House {
            inventory: Inventory::new(Capacity { resources: 1 << 20, reservations: 1 << 20 }),
            batch: Batch::default(),
            history: History::default(),
            session: Session::new(SessionId(1)),
            zone: Zone::utc(),
            now: ClockReading::at(Time::from_ms(1_795_363_200_000)),
            out: Vec::new(),
        };
        for first in (0..rooms).step_by(10_000) {
            let last = rooms.min(first + 10_000);
            house.say(&format!("ALTA Habitación {}..{last}", first + 1));
            assert!(house.out.starts_with(b"OK ALTA"), "{}", house.out.escape_ascii());
        }
        house
    }

    fn request_time(&self) -> RequestTime<'_> {
        RequestTime { now: self.now, zone: &self.zone }
    }

    fn say(&mut self, line: &str) {
        self.out.clear();
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: &self.history,
            request_time: RequestTime { now: self.now, zone: &self.zone },
            stats: &Stats::default,
        };
        let line = line.as_bytes();
        commands::run(line, Eol::Lf, &mut self.session, &mut context, &mut self.out);
        self.batch.clear();
    }
}

fn read<'a>(
    line: &'a str,
    request_time: RequestTime<'a>,
    joined: &'a mut String,
) -> commands::parse::Command<'a> {
    let (word, rest) = ScannedStr::of(line).split_word();
    let (verb, lang) = Verb::find(word).expect("a verb");
    match parse(verb, rest, lang, request_time, joined) {
        Ok(command) => command,
        Err(fault) => panic!("{line}: {}", fault.text),
    }
}

#[divan::bench(args = LINES.map(|(name, _)| name))]
fn parser(bencher: Bencher, name: &str) {
    let house = House::new(0);
    let line = LINES.iter().find(|(other, _)| *other == name).expect("a line").1;
    bencher.bench_local(|| {
        black_box(read(black_box(line), house.request_time(), &mut String::new()));
    });
}

/// A stream that returns the same bytes at each read.
struct Tap(Vec<u8>);

impl Read for Tap {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(buf.len());
        buf[..count].copy_from_slice(&self.0[..count]);
        Ok(count)
    }
}

impl Write for Tap {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Finds and takes the lines of one read.
#[divan::bench(args = [1, 16, 64])]
fn framing(bencher: Bencher, lines: usize) {
    let mut conn = Conn::new(Tap("RESERVAR Habitación 17\n".repeat(lines).into_bytes()));
    let mut scratch = vec![0; 32 << 10];
    let mut spare = BufferPool::default();
    bencher.counter(ItemsCount::new(lines)).bench_local(|| {
        conn.acquire(&mut spare);
        conn.fill(&mut scratch).expect("a tap");
        while let Some(Frame::Line(at)) = conn.next_frame() {
            black_box(conn.line(at));
        }
        conn.release(&mut spare);
    });
}

/// Decides and applies a reservation and its cancellation, and writes their texts for the journal.
#[divan::bench(args = [10, 100_000])]
fn decide_and_apply_pair(bencher: Bencher, rooms: usize) {
    let mut house = House::new(rooms);
    let principal = Principal { session: SessionId(1), origin: Origin::LOCAL, holder: None };
    let (mut joined, mut also_joined) = (String::new(), String::new());
    let zone = house.zone.clone();
    let request_time = RequestTime { now: house.now, zone: &zone };
    let reserve = match read("RESERVAR Habitación 7", request_time, &mut joined) {
        commands::parse::Command::Reserve(request) => request,
        other => panic!("{other:?}"),
    };
    let cancel = match read("CANCELAR Habitación 7", request_time, &mut also_joined) {
        commands::parse::Command::Cancel(wanted) => wanted,
        other => panic!("{other:?}"),
    };
    bencher.bench_local(|| {
        apply_reserve(&mut house, &reserve, &principal);
        let released = house.inventory.cancel(&cancel, &principal).expect("it is ours");
        for event in cancellations(&released) {
            house.inventory.apply_and_log(house.now.wall, event, &mut house.batch);
        }
        house.batch.clear();
    });
}

fn apply_reserve(house: &mut House, request: &Request, principal: &Principal) {
    let granted = house.inventory.reserve(request, principal, &house.zone);
    let Ok(Grant::New(reservation)) = granted else { panic!("{granted:?}") };
    house.inventory.apply_and_log(house.now.wall, Event::Reserved(reservation), &mut house.batch);
}

/// Runs a pair of lines, from the bytes to the replies.
#[divan::bench(args = ["Habitación 7", "habitacion 7"], consts = [10, 100_000])]
fn command_pair<const ROOMS: usize>(bencher: Bencher, name: &str) {
    let mut house = House::new(ROOMS);
    let (reserve, cancel) = (format!("RESERVAR {name}"), format!("CANCELAR {name}"));
    bencher.bench_local(|| {
        house.say(&reserve);
        house.say(&cancel);
    });
    assert!(house.out.starts_with(b"OK CANCELADO"), "{}", house.out.escape_ascii());
}

/// Reserves the first of many resources that match.
#[divan::bench(args = [10, 1_000, 100_000])]
fn command_pair_by_pattern(bencher: Bencher, rooms: usize) {
    let mut house = House::new(rooms);
    bencher.bench_local(|| {
        house.say("RESERVAR hab*");
        house.say("CANCELAR Habitación 1");
    });
    assert!(house.out.starts_with(b"OK CANCELADO"), "{}", house.out.escape_ascii());
}

/// Makes the first piece of a long list: the table of free resources, and 32 KiB of text.
#[divan::bench(args = [3, 1_000, 100_000])]
fn command_list(bencher: Bencher, rooms: usize) {
    let mut house = House::new(rooms);
    bencher.bench_local(|| house.say("LISTAR"));
    assert!(house.out.starts_with(format!("OK {rooms} DISP").as_bytes()));
}

/// A directory that keeps one file in memory, or discards all writes.
#[derive(Clone, Default)]
struct Memory {
    bytes: Rc<RefCell<Vec<u8>>>,
    forgets: bool,
}

impl Storage for Memory {
    type File = Memory;

    fn open(&self, _: &str) -> io::Result<Option<Memory>> {
        Ok((!self.bytes.borrow().is_empty()).then(|| self.clone()))
    }

    fn open_to_read(&self, name: &str) -> io::Result<Option<Memory>> {
        if name == journal::JOURNAL_FILE { self.open(name) } else { Ok(None) }
    }

    fn create(&self, name: &str) -> io::Result<Memory> {
        // Other files than the journal are not kept.
        Ok(if name == journal::JOURNAL_FILE { self.clone() } else { Memory::default() })
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn path_of(&self, name: &str) -> String {
        name.to_owned()
    }
}

impl StorageFile for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.borrow();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        if !self.forgets {
            let mut bytes = self.bytes.borrow_mut();
            let (start, end) = (offset as usize, offset as usize + data.len());
            let size = bytes.len().max(end);
            bytes.resize(size, 0);
            bytes[start..end].copy_from_slice(data);
        }
        Ok(data.len())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.bytes.borrow_mut().resize(size as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

const PAYLOAD: &str = "2026-11-22T20:00:00.123Z RESERVED #1234567 Habitación 17";

/// A commit of so many records on a disk that costs nothing: formatting and checksums.
#[divan::bench(args = [1, 16, 1_000])]
fn journal_commit(bencher: Bencher, records: usize) {
    let disk = Memory { forgets: true, ..Memory::default() };
    let opened = Journal::open(disk, SyncPolicy::Never, |_| Ok(()));
    let (mut journal, _) = opened.expect("memory");
    let payloads = PAYLOAD.repeat(records);
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        let ends = (1..=records).map(|count| count * PAYLOAD.len());
        let ends: Vec<_> = ends.collect();
        journal.commit(journal.last_number() + 1, &payloads, ends.into_iter()).expect("memory");
    });
}

/// The replay of so many events, pairs of a reservation and its cancellation on ten rooms.
#[divan::bench(args = [10_000])]
fn journal_replay(bencher: Bencher, events: usize) {
    let disk = Memory::default();
    let opened = Journal::open(disk.clone(), SyncPolicy::Never, |_| Ok(()));
    let (mut journal, _) = opened.expect("memory");
    for number in 1..=events as u64 {
        let room = |pair: u64| pair % 10 + 1;
        let pair = number.saturating_sub(11) / 2;
        let text = match number {
            1..=10 => format!("ADDED Habitación {number}"),
            _ if number % 2 == 1 => format!("RESERVED #{} Habitación {}", pair + 1, room(pair)),
            _ => format!("CANCELLED #{}", pair + 1),
        };
        let text = format!("2026-11-22T20:00:00.123Z {text}");
        journal.commit(number, &text, [text.len()].into_iter()).expect("memory");
    }
    bencher.counter(ItemsCount::new(events)).bench_local(|| {
        let mut inventory = Inventory::new(Capacity { resources: 1 << 20, reservations: 1 << 20 });
        let report = journal::check(&disk, |record| replay(&mut inventory, record).map(|_| ()));
        assert!(report.expect("memory").bad.is_none());
        assert_eq!(inventory.last_event(), events as u64);
    });
}

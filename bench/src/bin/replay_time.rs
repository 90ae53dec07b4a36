//! How long a start takes over a journal of a million events: the scan, the
//! reading of each event, and the inventory that comes of it.
//!
//! ```sh
//! cargo run --release --example replay_time -- FOLDER [EVENTS]
//! ```
//!
//! The folder must not exist; it is removed at the end.

use std::path::Path;
use std::time::Instant;

use reservad::inventory::Capacity;
use reservad::journal::{self, DiskStorage, Error, Journal, SyncPolicy};
use reservad::store::State;
use reservad::time::{Time, print_utc};

const ROUNDS: usize = 7;
const BEGIN_MS: i64 = 1_795_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| "replay_time".to_owned());
    let folder = Path::new(&folder);
    let events: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    assert!(!folder.exists(), "{} exists", folder.display());
    println!("medians of {ROUNDS}, and all of them:");
    let half = events / 2;
    measure(folder, "pairs over 1,000 rooms", 1_000, half, pair)?;
    measure(folder, "bookings of 1,000 rooms, all live", 1_000, events, booking)?;
    measure(folder, "one booking for each of as many rooms", half, half, booking)?;
    // The same work, but what is asked for lies beside what was asked for before.
    measure(folder, "the same, one room after the other", half, half, booking_in_order)?;
    Ok(())
}

/// Appends the events that one request leads to: its number, how many rooms there are.
type Request = fn(&mut Writer, u64, u64);

/// No two in a row are neighbours.
fn any_room(number: u64, rooms: u64) -> u64 {
    number * 7_919 % rooms + 1
}

fn pair(journal: &mut Writer, number: u64, rooms: u64) {
    let room = any_room(number, rooms);
    journal.append(&format!("RESERVED #{number} Habitación {room}"));
    journal.append(&format!("CANCELLED #{number}"));
}

fn booking(journal: &mut Writer, number: u64, rooms: u64) {
    book(journal, number, any_room(number, rooms));
}

fn booking_in_order(journal: &mut Writer, number: u64, rooms: u64) {
    book(journal, number, (number - 1) % rooms + 1);
}

fn book(journal: &mut Writer, number: u64, room: u64) {
    let from = BEGIN_MS + number.cast_signed() * HOUR_MS / 100;
    let (from, until) = (utc(from), utc(from + 5 * HOUR_MS));
    journal.append(&format!("RESERVED #{number} Habitación {room} from={from} until={until}"));
}

fn measure(
    folder: &Path,
    what: &str,
    rooms: u64,
    requests: u64,
    request: Request,
) -> Result<(), Error> {
    let events = write(folder, rooms, requests, request)?;
    let capacity = Capacity { resources: u32::MAX, reservations: u32::MAX };
    let (mut times, mut scans) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        journal::check(&DiskStorage::at(folder), |_| Ok(()))?;
        scans.push(start.elapsed().as_millis());
        let start = Instant::now();
        let (state, _) = State::open(DiskStorage::lock(folder)?, SyncPolicy::Never, capacity)?;
        times.push(start.elapsed().as_millis());
        assert_eq!(state.inventory.last_event(), events);
    }
    times.sort_unstable();
    scans.sort_unstable();
    let (whole, scan) = (times[ROUNDS / 2], scans[ROUNDS / 2]);
    println!("{what}: {events} events in {whole} ms, {scan} of it the scan; {times:?} {scans:?}");
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
    Ok(())
}

/// Writes the journal; returns how many events it has. Synced now and then,
/// as with an interval.
fn write(folder: &Path, rooms: u64, requests: u64, request: Request) -> Result<u64, Error> {
    let (journal, _) = Journal::open(DiskStorage::lock(folder)?, SyncPolicy::Never, |_| Ok(()))?;
    let mut writer = Writer { journal, events: 0 };
    for room in 1..=rooms {
        writer.append(&format!("ADDED Habitación {room}"));
    }
    for number in 1..=requests {
        request(&mut writer, number, rooms);
        if number % 100_000 == 0 {
            writer.journal.sync()?;
        }
    }
    Ok(writer.events)
}

struct Writer {
    journal: Journal<DiskStorage>,
    events: u64,
}

impl Writer {
    /// A few events in each second.
    fn now(&self) -> String {
        utc(BEGIN_MS + self.events.cast_signed() * 123)
    }

    /// Commits of one record, as under light load.
    fn append(&mut self, event: &str) {
        let text = format!("{} {event}", self.now());
        self.events += 1;
        let ends = [text.len()].into_iter();
        self.journal.commit(self.events, &text, ends).expect("the journal can be written");
    }
}

fn utc(ms: i64) -> String {
    print_utc(Time::from_ms(ms)).to_string()
}

//! Measures a start with a journal of a million events: the scan of the file, and the parsing and
//! application of the events.
//!
//! ```sh
//! cargo run --release --bin replay_time -- DIRECTORY [EVENTS]
//! ```
//!
//! The directory must not exist. It is removed at the end.

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
    let directory = args.next().unwrap_or_else(|| "replay_time".to_owned());
    let directory = Path::new(&directory);
    let events: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    assert!(!directory.exists(), "{} exists", directory.display());
    println!("medians of {ROUNDS} rounds, and all rounds:");
    let half = events / 2;
    measure(directory, "pairs over 1,000 rooms", 1_000, half, pair)?;
    measure(directory, "bookings of 1,000 rooms, none cancelled", 1_000, events, booking)?;
    measure(directory, "one booking of each room", half, half, booking)?;
    // The same work with better locality.
    measure(directory, "the same, in the order of the rooms", half, half, booking_in_order)?;
    Ok(())
}

/// Appends the events of one request, given its number and the number of rooms.
type Request = fn(&mut Writer, u64, u64);

/// Spreads the numbers over the rooms, so that consecutive requests want distant rooms.
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
    directory: &Path,
    what: &str,
    rooms: u64,
    requests: u64,
    request: Request,
) -> Result<(), Error> {
    let events = write(directory, rooms, requests, request)?;
    let capacity = Capacity { resources: u32::MAX, reservations: u32::MAX };
    let (mut times, mut scans) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        journal::check(&DiskStorage::at(directory), |_| Ok(()))?;
        scans.push(start.elapsed().as_millis());
        let start = Instant::now();
        let (state, _) = State::open(DiskStorage::lock(directory)?, SyncPolicy::Never, capacity)?;
        times.push(start.elapsed().as_millis());
        assert_eq!(state.inventory.last_event(), events);
    }
    times.sort_unstable();
    scans.sort_unstable();
    let (whole, scan) = (times[ROUNDS / 2], scans[ROUNDS / 2]);
    println!(
        "{what}: {events} events in {whole} ms, of which the scan {scan} ms; {times:?} {scans:?}"
    );
    std::fs::remove_dir_all(directory).expect("cannot remove the directory");
    Ok(())
}

/// Writes the journal and returns its number of events. It is synced from time to time, as with a
/// sync interval.
fn write(directory: &Path, rooms: u64, requests: u64, request: Request) -> Result<u64, Error> {
    let (journal, _) = Journal::open(DiskStorage::lock(directory)?, SyncPolicy::Never, |_| Ok(()))?;
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
    /// Returns the timestamp of the next event. There are about eight events per second.
    fn now(&self) -> String {
        utc(BEGIN_MS + self.events.cast_signed() * 123)
    }

    /// Commits a single event, as under light load.
    fn append(&mut self, event: &str) {
        let text = format!("{} {event}", self.now());
        self.events += 1;
        let ends = [text.len()].into_iter();
        self.journal.commit(self.events, &text, ends).expect("cannot write the journal");
    }
}

fn utc(ms: i64) -> String {
    print_utc(Time::from_ms(ms)).to_string()
}

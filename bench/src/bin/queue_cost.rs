//! What a release costs with so many who wait: the cancellation, the grant to
//! the oldest, and the new places. Best and median of all releases.
//!
//! ```sh
//! cargo run --release --example queue_cost
//! ```

use std::time::{Duration, Instant};

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::history::History;
use reservad::inventory::{Capacity, Inventory, SessionId};
use reservad::time::{ClockReading, Time, Zone};

struct Bench {
    inventory: Inventory,
    batch: Batch,
    now: Time,
    last_session: u64,
}

impl Bench {
    fn say(&mut self, session: &mut Session, line: &str) {
        let zone = Zone::utc();
        let history = History::default();
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: &history,
            request_time: RequestTime { now: ClockReading::at(self.now), zone: &zone },
            stats: &Stats::default,
        };
        commands::run(line.as_bytes(), Eol::Lf, session, &mut context, &mut Vec::new());
        self.batch.clear();
    }

    fn newcomer(&mut self, line: &str) {
        self.last_session += 1;
        let mut session = Session::new(SessionId(self.last_session));
        if line.contains("clave=") {
            self.say(&mut session, "SOY ana");
        }
        self.say(&mut session, line);
    }
}

/// Prints the cost of a reservation and its cancellation beside `count` waiters whose patterns
/// compete for the one free resource, and alone; the best of 100 averages. `#` in `line` is the number of the waiter.
fn measure_contended(name: &str, count: usize, line: &str) {
    const PAIRS: u32 = 100;
    let capacity = Capacity { resources: 1 << 20, reservations: 1 << 20 };
    let mut bench = Bench {
        inventory: Inventory::new(capacity),
        batch: Batch::default(),
        now: Time::from_ms(1_795_363_200_000),
        last_session: 0,
    };
    bench.newcomer("ALTA Sala 1, Sala 2");
    bench.newcomer("RESERVAR Sala 2");
    let mut client = Session::new(SessionId(0));
    let zone = Zone::utc();
    let mut pair = |bench: &mut Bench| {
        let best = (0..100).map(|_| {
            let begun = Instant::now();
            for _ in 0..PAIRS {
                bench.say(&mut client, "RESERVAR Sala 1");
                bench.say(&mut client, "CANCELAR Sala 1");
                bench.inventory.advance(ClockReading::at(bench.now), &zone, &mut bench.batch);
            }
            begun.elapsed() / PAIRS
        });
        best.min().unwrap()
    };
    let alone = pair(&mut bench);
    for n in 0..count {
        bench.newcomer(&line.replace('#', &n.to_string()));
    }
    assert!(bench.inventory.queue().len() == count, "not all wait");
    let beside = pair(&mut bench);
    println!("{name:40} {count:6} wait: pair {beside:?}; {alone:?} alone");
}

/// All wait for what they say; `#` in a line is the number of the waiter.
fn measure(what: &str, count: usize, line: &str, more: &[&str]) {
    let capacity = Capacity { resources: 1 << 20, reservations: 1 << 20 };
    let mut bench = Bench {
        inventory: Inventory::new(capacity),
        batch: Batch::default(),
        now: Time::from_ms(1_795_363_200_000),
        last_session: 0,
    };
    bench.newcomer("ALTA Sala 1, Sala 2, Taller 1..9990");
    bench.newcomer("RESERVAR Sala 1");
    bench.newcomer("RESERVAR Sala 2");
    for n in 0..9990 {
        if line.contains("Taller") {
            bench.newcomer(&format!("RESERVAR Taller {}", n + 1));
        }
    }
    let begun = Instant::now();
    for n in 0..count {
        bench.newcomer(&line.replace('#', &(n % 9990 + 1).to_string()));
    }
    let queued = begun.elapsed() / count as u32;
    for line in more {
        bench.newcomer(line);
    }
    assert!(bench.inventory.queue().len() == count + more.len(), "not all wait");
    let mut admin = Session::new(SessionId(0));
    bench.say(&mut admin, "SOY ana");
    let rounds = 50.min(count / 2);
    let mut all: Vec<Duration> = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        bench.say(&mut admin, "CANCELAR Sala 1");
        all.push(begun.elapsed());
        bench.inventory.take_outcomes();
    }
    all.sort();
    let zone = Zone::utc();
    let later = bench.now.plus_ms(10_000);
    let begun = Instant::now();
    bench.inventory.advance(ClockReading::at(later), &zone, &mut bench.batch);
    let telling = begun.elapsed();
    let told = bench.inventory.take_outcomes().len();
    let (best, median) = (all[0], all[all.len() / 2]);
    println!(
        "{what:40} {count:6} wait: release {best:?} best {median:?} median; \
         {queued:?} to queue; {telling:?} to tell {told} new places"
    );
}

fn main() {
    for count in [100, 1_000] {
        let same = "RESERVAR Sala 1*, S*1 espera=7d";
        measure_contended("two patterns with one free match", count, same);
        let lengths = "RESERVAR Sala 1*, S*1 por=1#m espera=7d";
        measure_contended("the same for different lengths", count, lengths);
        let dated = "RESERVAR Sala 1*, S*1 desde=2027-01-01 espera=7d";
        measure_contended("the same from a date", count, dated);
    }
    for count in [100, 1_000, 10_000] {
        measure("one room by name", count, "RESERVAR Sala 1 espera=7d", &[]);
        let late = ["RESERVAR Sala 2* espera=7d"; 10];
        measure("the same, ten patterns behind", count, "RESERVAR Sala 1 espera=7d", &late);
        measure("one room by a pattern", count, "RESERVAR Sala 1* espera=7d", &[]);
        measure("one room with a key", count, "RESERVAR Sala 1 espera=7d clave=k#", &[]);
        let dated = "RESERVAR Sala 1 desde=2027-01-01 espera=7d";
        measure("one room from a date", count, dated, &[]);
        let others = ["RESERVAR Sala 1 espera=7d"; 100];
        measure(
            "everybody another room, 100 for one",
            count,
            "RESERVAR Taller # espera=7d",
            &others,
        );
        let both = ["RESERVAR Sala 1* espera=7d"; 100];
        measure(
            "everybody another room, 100 a pattern",
            count,
            "RESERVAR Taller # espera=7d",
            &both,
        );
    }
}

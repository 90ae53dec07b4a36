//! Measures requests beside many waiters: a release with the grant to the oldest waiter and the new
//! positions, and a pair of requests while the patterns of all waiters compete for one free
//! resource.
//!
//! ```sh
//! cargo run --release --bin queue_cost
//! ```

use std::time::{Duration, Instant};

use reservad::time::ClockReading;
use reservad_bench::Bench;

const WORKSHOPS: usize = 9_990;

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
        let release =
            Release { what: "one room by name", count, line: "RESERVAR Sala 1 espera=7d" };
        release.measure(&[]);
        let patterns = ["RESERVAR Sala 2* espera=7d"; 10];
        Release { what: "the same, ten patterns behind", ..release }.measure(&patterns);
        let line = "RESERVAR Sala 1* espera=7d";
        Release { what: "one room by a pattern", count, line }.measure(&[]);
        let line = "RESERVAR Sala 1 espera=7d clave=k#";
        Release { what: "one room with a key", count, line }.measure(&[]);
        let line = "RESERVAR Sala 1 desde=2027-01-01 espera=7d";
        Release { what: "one room from a date", count, line }.measure(&[]);
        let line = "RESERVAR Taller # espera=7d";
        let others = ["RESERVAR Sala 1 espera=7d"; 100];
        Release { what: "each another room, 100 for one", count, line }.measure(&others);
        let others = ["RESERVAR Sala 1* espera=7d"; 100];
        Release { what: "each another room, 100 a pattern", count, line }.measure(&others);
    }
}

/// One case: `count` waiters that send `line`, in which `#` stands for the number of the waiter.
#[derive(Clone, Copy)]
struct Release {
    what: &'static str,
    count: usize,
    line: &'static str,
}

impl Release {
    /// Measures the case with other waiters behind.
    fn measure(self, others: &[&str]) {
        let mut bench = self.reserved_rooms();
        let start = Instant::now();
        for n in 0..self.count {
            bench.run_as_ana(&self.line.replace('#', &(n % WORKSHOPS + 1).to_string()));
        }
        let queued = start.elapsed() / self.count as u32;
        for line in others {
            bench.run_as_ana(line);
        }
        assert_eq!(bench.inventory.queue().len(), self.count + others.len(), "waiters");
        let times = measure_releases(&mut bench, 50.min(self.count / 2));
        let (best, median) = (times[0], times[times.len() / 2]);
        let (positions, notifying) = notify_positions(&mut bench);
        println!(
            "{:36} {:6} waiters: release {best:?} best {median:?} median; {queued:?} to queue; \
             {notifying:?} to report {positions} new positions",
            self.what, self.count
        );
    }

    /// Returns a bench in which every room that is waited for is reserved.
    fn reserved_rooms(self) -> Bench {
        let mut bench = Bench::new();
        bench.run_as_ana(&format!("ALTA Sala 1, Sala 2, Taller 1..{WORKSHOPS}"));
        bench.run_as_ana("RESERVAR Sala 1");
        bench.run_as_ana("RESERVAR Sala 2");
        if self.line.contains("Taller") {
            (1..=WORKSHOPS).for_each(|n| drop(bench.run_as_ana(&format!("RESERVAR Taller {n}"))));
        }
        bench
    }
}

/// Releases the room several times and returns the times, sorted.
fn measure_releases(bench: &mut Bench, rounds: usize) -> Vec<Duration> {
    let mut ana = bench.connect();
    bench.run(&mut ana, "SOY ana");
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        bench.run(&mut ana, "CANCELAR Sala 1");
        times.push(start.elapsed());
        bench.inventory.take_outcomes();
    }
    times.sort();
    times
}

/// Lets ten seconds pass, after which all positions are reported. Returns their number and the
/// time.
fn notify_positions(bench: &mut Bench) -> (usize, Duration) {
    let later = ClockReading::at(bench.now.plus_ms(10_000));
    let start = Instant::now();
    bench.inventory.advance(later, &bench.zone, &mut bench.batch);
    let time = start.elapsed();
    (bench.inventory.take_outcomes().len(), time)
}

/// Measures a reservation and its cancellation beside `count` waiters whose patterns compete for
/// one free resource, and alone. Takes the best of 100 averages. In `line`, `#` stands for the
/// number of the waiter.
fn measure_contended(what: &str, count: usize, line: &str) {
    let mut bench = Bench::new();
    bench.run_as_ana("ALTA Sala 1, Sala 2");
    bench.run_as_ana("RESERVAR Sala 2");
    let alone = measure_pair(&mut bench);
    for n in 0..count {
        bench.run_as_ana(&line.replace('#', &n.to_string()));
    }
    assert_eq!(bench.inventory.queue().len(), count, "waiters");
    let beside = measure_pair(&mut bench);
    println!("{what:36} {count:6} waiters: pair {beside:?}; {alone:?} alone");
}

fn measure_pair(bench: &mut Bench) -> Duration {
    const PAIRS: u32 = 100;
    let mut client = bench.connect();
    let now = ClockReading::at(bench.now);
    let averages = (0..100).map(|_| {
        let start = Instant::now();
        for _ in 0..PAIRS {
            bench.run(&mut client, "RESERVAR Sala 1");
            bench.run(&mut client, "CANCELAR Sala 1");
            bench.inventory.advance(now, &bench.zone, &mut bench.batch);
        }
        start.elapsed() / PAIRS
    });
    averages.min().expect("a hundred averages")
}

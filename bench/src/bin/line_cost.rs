//! What the costliest single lines cost, over so many resources with names of
//! 118 characters: nobody else is served while a line runs. The median of a
//! few runs of each, and the work that the inventory has counted for it.
//!
//! ```sh
//! cargo run --release --example line_cost
//! ```

use std::time::{Duration, Instant};

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Flow, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::history::History;
use reservad::inventory::{Capacity, Inventory, SessionId};
use reservad::limits::{PATTERNS_ALWAYS, PATTERNS_BYTES};
use reservad::time::{ClockReading, Time, Zone};

struct Bench {
    inventory: Inventory,
    batch: Batch,
    now: Time,
    last_session: u64,
}

impl Bench {
    /// As many resources with long names that nearly match hostile patterns.
    fn new(count: usize) -> Bench {
        let capacity = Capacity { resources: 1 << 20, reservations: 1 << 20 };
        let mut bench = Bench {
            inventory: Inventory::new(capacity),
            batch: Batch::default(),
            now: Time::from_ms(1_795_363_200_000),
            last_session: 0,
        };
        let stem = "a".repeat(112);
        for start in (0..count).step_by(10_000) {
            let line = format!("ALTA {stem}{start:06}..{:06}", start + 9_999.min(count - 1));
            assert!(bench.newcomer(&line).starts_with("OK"), "{line}");
        }
        bench
    }

    fn newcomer(&mut self, line: &str) -> String {
        self.last_session += 1;
        let mut session = Session::new(SessionId(self.last_session));
        self.say(&mut session, "SOY ana");
        self.say(&mut session, line)
    }

    /// The first 80 characters of the reply.
    fn say(&mut self, session: &mut Session, line: &str) -> String {
        let zone = Zone::utc();
        let history = History::default();
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: &history,
            request_time: RequestTime { now: ClockReading::at(self.now), zone: &zone },
            stats: &Stats::default,
        };
        let mut out = Vec::new();
        let after = commands::run(line.as_bytes(), Eol::Lf, session, &mut context, &mut out);
        drop::<Flow>(after);
        self.batch.clear();
        String::from_utf8_lossy(&out).chars().take(80).collect()
    }

    fn measure(&mut self, what: &str, line: &str) {
        const ROUNDS: usize = 5;
        let mut all: Vec<Duration> = Vec::new();
        let mut reply = String::new();
        for _ in 0..ROUNDS {
            self.inventory.take_work();
            let begun = Instant::now();
            reply = self.newcomer(line);
            all.push(begun.elapsed());
        }
        all.sort();
        let (median, work) = (all[ROUNDS / 2], self.inventory.work());
        println!("{what:44} {median:10.1?} {work:9} looks  {}", reply.trim_end());
    }
}

/// Pieces that nearly match everywhere, another pattern for each `n`.
fn hostile(n: usize, end: &str) -> String {
    format!("*{}*{}*{end}", "a".repeat(40 + n % 8), "a".repeat(1 + n / 8))
}

/// As many of them as a line may have beside so many names.
fn many(bench: &Bench, end: &str) -> String {
    let most = (PATTERNS_BYTES / bench.inventory.names().bytes()).clamp(PATTERNS_ALWAYS, 32);
    (0..most).map(|n| hostile(n, end)).collect::<Vec<_>>().join(", ")
}

fn questions(bench: &mut Bench, what: &str, last: &str) {
    println!("-- {what}");
    bench.measure("LISTAR, no match", &format!("LISTAR *{}b*{}b*", "a".repeat(50), "a".repeat(8)));
    bench.measure("LISTAR, a prefix", "LISTAR Sala *");
    bench.measure("RESERVAS, no match", &format!("RESERVAS *{}b*", "a".repeat(59)));
    bench.measure("RESERVAR one, no match", &format!("RESERVAR *{}b*", "a".repeat(59)));
    bench.measure("RESERVAR one, the last", &format!("RESERVAR *{}*{last} nota=x", "a".repeat(59)));
    let all = many(bench, last);
    bench.measure("RESERVAR many, only the last matches", &format!("RESERVAR {all}"));
    bench.measure("CUANDO many, only the last matches", &format!("CUANDO {all} por=1h"));
    let all = many(bench, &format!("{last}*"));
    bench.measure("RESERVAR many, the same, no tail", &format!("RESERVAR {all}"));
    let all = many(bench, "");
    bench.measure("CUANDO many, all match", &format!("CUANDO {all} por=9h"));
    bench.measure(
        "RESERVAR many, all match, far ahead",
        &format!("RESERVAR {all} desde=2028-01-01 por=1h"),
    );
}

fn main() {
    for count in [20_000, 100_000] {
        println!("== {count} resources");
        let mut bench = Bench::new(count);
        let last = format!("{:06}", count - 1);
        questions(&mut bench, "all free", &last);
        bench.measure("ALTA of 9999 and a bad name", "ALTA x1..9999, a?b");
        bench.measure("ALTA of 10,000 that exist", "ALTA x1..9999");
        bench.measure("the same again", "ALTA x1..9999");
        let stem = "a".repeat(112);
        for first in (0..count).step_by(30) {
            let names: Vec<_> =
                (first..count.min(first + 30)).map(|n| format!("{stem}{n:06}")).collect();
            bench.newcomer(&format!("RESERVAR {}", names.join(",")));
        }
        questions(&mut bench, "all taken", &last);
        let mut bench = Bench::new(count);
        for n in 0..20_000 {
            let from = bench.now.plus_ms(3_600_000 * (2 * n + 1));
            let until = from.plus_ms(3_600_000);
            let zone = Zone::utc();
            let (from, until) = (
                zone.text(from, reservad::time::Round::Down),
                zone.text(until, reservad::time::Round::Down),
            );
            bench.newcomer(&format!("RESERVAR {stem}{last} desde={from} hasta={until}"));
        }
        questions(&mut bench, "20,000 bookings of the last", &last);
        bench.measure("CUANDO by name, 20,000 short gaps", &format!("CUANDO {stem}{last} por=2h"));
        bench.measure("CANCELAR by name", &format!("CANCELAR {stem}{last}"));
    }
}

//! Measures the costliest single lines beside many resources with names of 118 characters. No other
//! client is served while a line runs. Prints the median time of a few runs, the work that the
//! inventory counts for the line, and the beginning of the reply.
//!
//! ```sh
//! cargo run --release --bin line_cost
//! ```

use std::time::{Duration, Instant};

use reservad::limits::{PATTERNS_ALWAYS, PATTERNS_BYTES};
use reservad::time::Round;
use reservad_bench::Bench;

/// The part that all names have in common.
const STEM_CHARS: usize = 112;
const BOOKINGS: i64 = 20_000;
const HOUR_MS: i64 = 3_600_000;

fn main() {
    for count in [20_000, 100_000] {
        println!("== {count} resources");
        let last = format!("{:06}", count - 1);
        let mut bench = with_resources(count);
        measure_queries(&mut bench, "all free", &last);
        measure(&mut bench, "ALTA of 9999 and an invalid name", "ALTA x1..9999, a?b");
        measure(&mut bench, "ALTA of 9999", "ALTA x1..9999");
        measure(&mut bench, "ALTA of 9999 that exist", "ALTA x1..9999");
        reserve_all(&mut bench, count);
        measure_queries(&mut bench, "all reserved", &last);

        let mut bench = with_resources(count);
        let name = format!("{}{last}", "a".repeat(STEM_CHARS));
        book_every_other_hour(&mut bench, &name);
        measure_queries(&mut bench, &format!("{BOOKINGS} bookings of the last"), &last);
        let when = format!("CUANDO {name} por=2h");
        measure(&mut bench, "CUANDO by name, gaps too short", &when);
        measure(&mut bench, "CANCELAR by name", &format!("CANCELAR {name}"));
    }
}

/// Returns a bench with long names that differ in their last six digits.
fn with_resources(count: usize) -> Bench {
    let mut bench = Bench::new();
    let stem = "a".repeat(STEM_CHARS);
    for start in (0..count).step_by(10_000) {
        let line = format!("ALTA {stem}{start:06}..{:06}", start + 9_999.min(count - 1));
        assert!(bench.run_as_ana(&line).starts_with("OK"), "{line}");
    }
    bench
}

fn reserve_all(bench: &mut Bench, count: usize) {
    let stem = "a".repeat(STEM_CHARS);
    for first in (0..count).step_by(30) {
        let names = first..count.min(first + 30);
        let names: Vec<_> = names.map(|n| format!("{stem}{n:06}")).collect();
        bench.run_as_ana(&format!("RESERVAR {}", names.join(",")));
    }
}

fn book_every_other_hour(bench: &mut Bench, name: &str) {
    for n in 0..BOOKINGS {
        let from = bench.now.plus_ms(HOUR_MS * (2 * n + 1));
        let until = bench.zone.text(from.plus_ms(HOUR_MS), Round::Down);
        let from = bench.zone.text(from, Round::Down);
        bench.run_as_ana(&format!("RESERVAR {name} desde={from} hasta={until}"));
    }
}

/// Measures lines whose patterns nearly match everywhere. `last` is the end of the last name.
fn measure_queries(bench: &mut Bench, state: &str, last: &str) {
    println!("-- {state}");
    let a59 = "a".repeat(59);
    let no_match = format!("LISTAR *{}b*{}b*", "a".repeat(50), "a".repeat(8));
    measure(bench, "LISTAR, no match", &no_match);
    measure(bench, "LISTAR, a prefix", "LISTAR Sala *");
    measure(bench, "RESERVAS, no match", &format!("RESERVAS *{a59}b*"));
    measure(bench, "RESERVAR one pattern, no match", &format!("RESERVAR *{a59}b*"));
    let line = format!("RESERVAR *{a59}*{last} nota=x");
    measure(bench, "RESERVAR one pattern, the last matches", &line);
    let patterns = costly_patterns(bench, last);
    measure(bench, "RESERVAR many, only the last matches", &format!("RESERVAR {patterns}"));
    measure(bench, "CUANDO many, only the last matches", &format!("CUANDO {patterns} por=1h"));
    let patterns = costly_patterns(bench, &format!("{last}*"));
    measure(bench, "RESERVAR many, the same with a final *", &format!("RESERVAR {patterns}"));
    let patterns = costly_patterns(bench, "");
    measure(bench, "CUANDO many, all match", &format!("CUANDO {patterns} por=9h"));
    let line = format!("RESERVAR {patterns} desde=2028-01-01 por=1h");
    measure(bench, "RESERVAR many, all match, far ahead", &line);
}

/// Returns different costly patterns, as many as a line may contain beside this number of names.
fn costly_patterns(bench: &Bench, end: &str) -> String {
    let count = (PATTERNS_BYTES / bench.inventory.names().bytes()).clamp(PATTERNS_ALWAYS, 32);
    let pattern = |n: usize| format!("*{}*{}*{end}", "a".repeat(40 + n % 8), "a".repeat(1 + n / 8));
    (0..count).map(pattern).collect::<Vec<_>>().join(", ")
}

fn measure(bench: &mut Bench, what: &str, line: &str) {
    const ROUNDS: usize = 5;
    let mut times: Vec<Duration> = Vec::new();
    let mut reply = String::new();
    for _ in 0..ROUNDS {
        bench.inventory.take_work();
        let start = Instant::now();
        reply = bench.run_as_ana(line);
        times.push(start.elapsed());
    }
    times.sort();
    let (median, work) = (times[ROUNDS / 2], bench.inventory.work());
    let reply: String = reply.chars().take(80).collect();
    println!("{what:44} {median:10.1?} {work:9} work  {}", reply.trim_end());
}

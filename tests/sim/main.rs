//! Deterministic simulation of the whole server except the poll, in virtual time: the real
//! connections, grammar, inventory, store and journal run on simulated sockets and on a disk that
//! can lose power. All lines that clients receive are compared with those of the naive model, and
//! everything that a client has received must survive each crash.
//!
//! `SIM_SEEDS` sets the number of runs, `SIM_SEED` the seed of the first one. A run that fails is
//! repeated with a transcript.

mod peer;
mod run;
mod seen;
mod state;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use reservad::time::Zone;
use run::Run;
use seen::Seen;
use state::journal_end;

/// The default number of runs, which take about a minute on two cores in the dev profile.
const SEEDS: u64 = 4_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs a simulation. If it fails, repeats it with a transcript.
fn simulate(seed: u64, zones: &[Zone]) -> Seen {
    let mut run = Run::new(seed, zones, false);
    match catch_unwind(AssertUnwindSafe(|| run.live())) {
        Ok(()) => std::mem::take(&mut run.seen),
        Err(reason) => {
            eprintln!("SIM_SEED={seed} SIM_SEEDS=1 failed in step {}; transcript:", run.step);
            let mut again = Run::new(seed, zones, true);
            let _ = catch_unwind(AssertUnwindSafe(|| again.live()));
            eprintln!("{}", again.transcript().join("\n"));
            eprintln!("SIM_SEED={seed} SIM_SEEDS=1: failed in step {}", run.step);
            resume_unwind(reason)
        }
    }
}

#[test]
fn simulated_servers_match_the_model() {
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_nanos() as u64
    });
    println!("SIM_SEED={first} SIM_SEEDS={count}");
    let began = std::time::Instant::now();
    let zones = [Zone::utc(), Zone::named("Europe/Madrid").expect("a zone database")];
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get() as u64).min(count);
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let part = |thread: u64| {
            let zones = &zones;
            move || {
                let mut seen = Seen::default();
                for at in (thread..count).step_by(threads as usize) {
                    seen.add(&simulate(first.wrapping_add(at), zones));
                }
                seen
            }
        };
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(part(thread))).collect();
        for one in all {
            match one.join() {
                Ok(more) => seen.add(&more),
                Err(reason) => resume_unwind(reason),
            }
        }
    });
    println!("{count} runs in {:.1} s: {seen}", began.elapsed().as_secs_f64());
    if count >= 500 {
        seen.assert_all();
    }
}

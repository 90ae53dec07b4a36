//! Coverage of the simulation: how often each situation has occurred.

use std::collections::BTreeMap;
use std::fmt;

/// The number of occurrences of each situation.
#[derive(Default)]
pub struct Seen(BTreeMap<&'static str, usize>);

/// The situations that must occur.
const MUST: [&str; 52] = [
    "turns",
    "steps of the clock",
    "turns with a clock that is behind",
    "turns with a clock that is not trusted",
    "journals brought back",
    "turns that were cut",
    "pieces that were committed",
    "kept alive",
    "renewed for the same length",
    "not renewed in time",
    "kept alive over a start",
    "kept alive by another connection",
    "kept alive without a connection",
    "waits for several patterns",
    "waits for names and patterns",
    "waits for dates",
    "granted by a pattern",
    "lines run",
    "received lines",
    "notices",
    "granted later",
    "waits timed out",
    "reservations",
    "ends",
    "commits",
    "compactions",
    "power cuts",
    "kills",
    "stops",
    "stalled clients",
    "failed turns",
    "failed starts",
    "torn tails",
    "commits that survived unacknowledged",
    "commits lost unacknowledged",
    "refused starts",
    "flipped bits",
    "lost sectors",
    "sealed journals",
    "full disks",
    "snapshots given up for a commit",
    "directories that were taken",
    "journals without their name",
    "failed writes",
    "failed syncs",
    "resets",
    "half-closes",
    "closes",
    "interrupted calls",
    "interrupts",
    "repeated positions",
    "probes",
];

impl Seen {
    pub fn count(&mut self, what: &'static str, many: usize) {
        debug_assert!(MUST.contains(&what), "{what}");
        *self.0.entry(what).or_default() += many;
    }

    pub fn one(&mut self, what: &'static str) {
        self.count(what, 1);
    }

    pub fn add(&mut self, other: &Seen) {
        other.0.iter().for_each(|(what, many)| self.count(what, *many));
    }

    pub fn assert_all(&self) {
        for what in MUST {
            let is_seen = self.0.get(what).is_some_and(|many| *many > 0);
            assert!(is_seen, "no {what}: the simulation does not reach everything");
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(|(what, many)| format!("{many} {what}")).collect();
        f.write_str(&all.join(", "))
    }
}

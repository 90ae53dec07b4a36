//! Random histories on a disk that loses power.

use crate::{commit, try_commit};
use reservad::journal::{Disposition, Error, Journal, Record, SyncPolicy};
use std::time::Duration;
use support::Rng;
use support::sim_disk::{Faults, SimDisk};

/// The expected contents: event n is `history[n - 1]`.
struct Model {
    history: Vec<String>,
    /// Numbers of the last event of every attempted commit, and 0.
    commit_ends: Vec<usize>,
    /// Events up to here are acknowledged as durable.
    acknowledged: usize,
}

#[derive(Default, Debug)]
struct Tally {
    power_cuts: u32,
    torn: u32,
    unacknowledged_kept: u32,
    unacknowledged_lost: u32,
    snapshots: u32,
    poisoned: u32,
    sealed: u32,
    found_sealed: u32,
}

struct Run {
    seed: u64,
    disk: SimDisk,
    rng: Rng,
    model: Model,
    policy: SyncPolicy,
    /// The number of events in the current snapshot.
    visited: usize,
    tally: Tally,
}

impl Run {
    fn new(seed: u64, page: usize, policy: SyncPolicy) -> Run {
        let model = Model { history: Vec::new(), commit_ends: vec![0], acknowledged: 0 };
        let (disk, rng) = (SimDisk::new(page, seed), Rng(seed ^ 0xabcd));
        Run { seed, disk, rng, model, policy, visited: 0, tally: Tally::default() }
    }

    /// Opens the journal, and compares its contents with the acknowledged events. Returns `None` if
    /// the power failed meanwhile.
    fn open(&mut self) -> Option<Journal<SimDisk>> {
        let mut found: Vec<String> = Vec::new();
        let seed = self.seed;
        let result = Journal::open(self.disk.clone(), self.policy, |record| {
            match record {
                Record::Snapshot { payload, .. } => found.push(payload.to_string()),
                Record::SnapshotEnd { base } => assert_eq!(found.len() as u64, base, "{seed}"),
                Record::Event { number, payload } => {
                    found.push(payload.to_string());
                    assert_eq!(found.len() as u64, number, "seed {seed}");
                }
            }
            Ok(())
        });
        let (journal, report) = match result {
            Ok(opened) => opened,
            Err(Error::Io { .. }) => return None,
            Err(e) => panic!("seed {seed}: {e}"),
        };
        let model = &mut self.model;
        assert!(found.len() >= model.acknowledged, "seed {seed}: acknowledged events are lost");
        assert!(model.history.starts_with(&found), "seed {seed}: something else came back");
        assert!(model.commit_ends.contains(&found.len()), "seed {seed}: half a commit came back");
        assert_eq!(journal.last_number(), found.len() as u64, "seed {seed}");
        if let Some(bad) = report.bad {
            assert_eq!(bad.disposition, Disposition::Cut);
            self.tally.torn += 1;
        }
        self.tally.found_sealed += u32::from(report.is_sealed);
        self.tally.unacknowledged_kept += u32::from(found.len() > model.acknowledged);
        self.tally.unacknowledged_lost += u32::from(found.len() < model.history.len());
        model.history = found;
        model.commit_ends.retain(|end| *end <= model.history.len());
        model.acknowledged = model.history.len();
        self.visited = 0;
        Some(journal)
    }

    fn payload(&mut self) -> String {
        let number = self.model.history.len() + 1;
        let length = match self.rng.below(8) {
            0 => 0,
            1 => self.rng.below(1500),
            _ => self.rng.below(90),
        };
        let mut text = format!("payload {number} of {} ", self.rng.next_u64() % 1000);
        // Text that looks like a record must not be mistaken for one.
        let filler = ["ñ", "x", " ", " commit ", "0"][self.rng.below(5)];
        while text.len() < length {
            text.push_str(filler);
        }
        text
    }

    fn commit(&mut self, journal: &mut Journal<SimDisk>) -> Result<(), Error> {
        let before = self.model.history.len();
        for _ in 0..1 + self.rng.below(4) {
            let payload = self.payload();
            self.model.history.push(payload);
        }
        self.model.commit_ends.push(self.model.history.len());
        let payloads: Vec<_> = self.model.history[before..].iter().map(String::as_str).collect();
        try_commit(journal, &payloads)?;
        if self.policy == SyncPolicy::Always {
            self.model.acknowledged = self.model.history.len();
        }
        Ok(())
    }

    fn visit(&mut self, journal: &mut Journal<SimDisk>, count: usize) {
        let end = self.model.history.len().min(self.visited + count);
        for payload in &self.model.history[self.visited..end] {
            journal.snapshot_append(payload);
        }
        self.visited = end;
    }

    /// Does one random operation of a journal's owner.
    fn act(&mut self, journal: &mut Journal<SimDisk>) -> Result<(), Error> {
        match self.rng.below(16) {
            0 => {
                journal.sync()?;
                self.model.acknowledged = self.model.history.len();
                assert!(!journal.is_dirty());
            }
            1 if self.rng.one_in(2) => drop(journal.fill_tail()?),
            1 => {
                journal.seal()?;
                // Everything before the snapshot was synced.
                self.model.acknowledged = self.model.history.len();
                self.tally.sealed += u32::from(journal.is_sealed());
            }
            2 | 3 if !journal.has_snapshot() => {
                self.visited = 0;
                journal.begin_snapshot()?;
            }
            2 | 3 => {
                let count = self.rng.below(9);
                self.visit(journal, count);
                let most = self.rng.below(3000);
                journal.snapshot_flush(most)?;
            }
            4 if journal.has_snapshot() => {
                self.visit(journal, usize::MAX / 2);
                journal.finish_snapshot(self.model.history.len() as u64)?;
                self.model.acknowledged = self.model.history.len();
                self.tally.snapshots += 1;
            }
            5 if journal.has_snapshot() && self.rng.one_in(4) => journal.abandon_snapshot()?,
            _ => self.commit(journal)?,
        }
        Ok(())
    }

    /// Acts until something fails, at most `count` times.
    fn live(&mut self, journal: &mut Journal<SimDisk>, count: usize) {
        for _ in 0..count {
            if self.act(journal).is_err() {
                if journal.poisoned().is_some() {
                    self.tally.poisoned += 1;
                    assert!(matches!(try_commit(journal, &["x"]), Err(Error::Poisoned(_))));
                    assert!(matches!(journal.sync(), Err(Error::Poisoned(_))));
                }
                break;
            }
        }
    }

    fn random_faults(&mut self) -> Faults {
        let mut faults = Faults { short_writes: self.rng.one_in(3), ..Faults::default() };
        let many = if faults.short_writes { 3000 } else { 60 };
        let at = Some(self.rng.below(many) as u64);
        match self.rng.below(8) {
            0 => faults.sync_fails_at = Some(self.rng.below(12) as u64),
            1 => faults.write_fails_at = at,
            2 => faults.room_bytes = Some(self.rng.below(20_000)),
            3 => faults.name_fails_at = Some(self.rng.below(4) as u64),
            4 => {}
            _ => faults.power_at = at,
        }
        faults
    }

    fn history(&mut self) {
        for _ in 0..6 {
            let faults = self.random_faults();
            self.disk.set_faults(faults);
            if let Some(mut journal) = self.open() {
                let count = self.rng.below(40);
                self.live(&mut journal, count);
            }
            // One of three is a kill without a power cut, after which the page cache is as it was.
            if !self.rng.one_in(3) {
                self.disk.lose_power();
                self.tally.power_cuts += 1;
            } else {
                self.disk.set_faults(Faults::default());
            }
        }
        self.disk.lose_power();
        assert!(self.open().is_some());
    }
}

#[test]
fn random_histories_keep_acknowledged_events() {
    let first: u64 = std::env::var("JOURNAL_SEED").map_or(1, |s| s.parse().unwrap());
    let count: u64 = std::env::var("JOURNAL_RUNS").map_or(150, |s| s.parse().unwrap());
    println!("seeds {first}..{} (JOURNAL_SEED, JOURNAL_RUNS)", first + count);
    let mut total = Tally::default();
    for seed in first..first + count {
        let page = [512, 4096][seed as usize % 2];
        let policies =
            [SyncPolicy::Always, SyncPolicy::Never, SyncPolicy::Every(Duration::from_secs(1))];
        let mut run = Run::new(seed, page, policies[seed as usize % 3]);
        run.history();
        total.power_cuts += run.tally.power_cuts;
        total.torn += run.tally.torn;
        total.unacknowledged_kept += run.tally.unacknowledged_kept;
        total.unacknowledged_lost += run.tally.unacknowledged_lost;
        total.snapshots += run.tally.snapshots;
        total.poisoned += run.tally.poisoned;
        total.sealed += run.tally.sealed;
        total.found_sealed += run.tally.found_sealed;
    }
    println!("{total:?}");
    // The simulation must have covered every case.
    let Tally { torn, snapshots, poisoned, sealed, found_sealed, .. } = total;
    let Tally { unacknowledged_kept, unacknowledged_lost, .. } = total;
    if count >= 150 {
        let kinds = [torn, unacknowledged_kept, unacknowledged_lost, snapshots, poisoned];
        for seen in kinds.into_iter().chain([sealed, found_sealed]) {
            assert!(seen > 20, "{total:?}");
        }
    }
}

/// Compacts with commits between the pieces. The power fails at every step, each with several
/// outcomes.
#[test]
fn power_cut_at_every_step_of_a_compaction() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let mut step = 0;
        loop {
            let mut done = false;
            for outcome in 0..25 {
                let mut run = Run::new(step * 1000 + outcome, 512, policy);
                let mut journal = run.open().unwrap();
                for _ in 0..3 {
                    run.commit(&mut journal).unwrap();
                }
                run.disk.set_faults(Faults { power_at: Some(step), ..Faults::default() });
                done = compact(&mut run, &mut journal).is_ok();
                drop(journal);
                run.disk.lose_power();
                let journal = run.open().unwrap();
                assert_eq!(run.disk.names(), ["journal", "journal.id"], "no leftover");
                assert!(!done || journal.base_number() > 0);
            }
            if done {
                break;
            }
            step += 1;
        }
        assert!(step > 8, "only {step} steps");
    }
}

fn compact(run: &mut Run, journal: &mut Journal<SimDisk>) -> Result<(), Error> {
    journal.begin_snapshot()?;
    run.visit(journal, 2);
    journal.snapshot_flush(100)?;
    run.commit(journal)?;
    run.visit(journal, usize::MAX / 2);
    journal.snapshot_flush(usize::MAX)?;
    journal.finish_snapshot(run.model.history.len() as u64)?;
    run.model.acknowledged = run.model.history.len();
    run.commit(journal)
}

/// The power fails at every step of the first creation.
#[test]
fn power_cut_at_every_step_of_the_first_start() {
    for step in 0..12 {
        for outcome in 0..30 {
            let mut run = Run::new(step * 1000 + outcome, 512, SyncPolicy::Always);
            run.disk.set_faults(Faults { power_at: Some(step), ..Faults::default() });
            if let Some(mut journal) = run.open() {
                run.live(&mut journal, 3);
            }
            run.disk.lose_power();
            assert!(run.open().is_some());
        }
    }
}

/// A process is killed between the rename and the sync of the directory. The next one must not rely
/// on a name that a power cut can revert.
#[test]
fn rename_that_was_not_synced_is_synced_by_the_next_open() {
    for outcome in 0..40 {
        let mut run = Run::new(outcome, 512, SyncPolicy::Always);
        let mut journal = run.open().unwrap();
        run.commit(&mut journal).unwrap();
        journal.begin_snapshot().unwrap();
        run.visit(&mut journal, usize::MAX / 2);
        // The rename succeeds, and the sync of the directory fails.
        run.disk.set_faults(Faults { name_fails_at: Some(1), ..Faults::default() });
        assert!(journal.finish_snapshot(run.model.history.len() as u64).is_err());
        assert!(matches!(journal.begin_snapshot(), Err(Error::Poisoned(_))));
        drop(journal);
        run.disk.set_faults(Faults::default());
        let mut journal = run.open().unwrap();
        assert!(journal.base_number() > 0);
        run.commit(&mut journal).unwrap();
        drop(journal);
        run.disk.lose_power();
        run.open().unwrap();
    }
}

/// After a failed sync the kernel shows bytes that it will never write. A process that replays them
/// must make them durable first.
#[test]
fn unsynced_bytes_in_the_cache_are_made_durable() {
    for outcome in 0..40 {
        let mut run = Run::new(outcome, 512, SyncPolicy::Always);
        let mut journal = run.open().unwrap();
        run.commit(&mut journal).unwrap();
        run.disk.set_faults(Faults { sync_fails_at: Some(0), ..Faults::default() });
        assert!(run.commit(&mut journal).is_err());
        let tried = run.model.history.len();
        drop(journal);
        run.disk.set_faults(Faults::default());
        let journal = run.open().unwrap();
        assert_eq!(journal.last_number(), tried as u64, "the cache has it");
        drop(journal);
        run.disk.lose_power();
        assert_eq!(run.open().unwrap().last_number(), tried as u64);
    }
}

/// The same for the header, whose sync may fail at the creation. A power cut during the first
/// commit once kept its later pages and not the first one, and the journal was refused because of
/// NULs in place of the header.
#[test]
fn unsynced_header_is_made_durable() {
    for outcome in 0..40 {
        let mut run = Run::new(outcome, 512, SyncPolicy::Always);
        run.disk.set_faults(Faults { sync_fails_at: Some(0), ..Faults::default() });
        assert!(run.open().is_none());
        run.disk.set_faults(Faults::default());
        let mut journal = run.open().unwrap();
        run.disk.set_faults(Faults { power_at: Some(1), ..Faults::default() });
        run.model.history.push("long ".repeat(400));
        run.model.commit_ends.push(1);
        assert!(try_commit(&mut journal, &[&run.model.history[0]]).is_err());
        drop(journal);
        run.disk.lose_power();
        run.open().unwrap();
    }
}

/// The old rest of a cut tail must be gone before anything new is written. Otherwise a later power
/// cut could bring old records back behind new ones.
#[test]
fn cut_is_durable_before_the_next_commit() {
    for outcome in 0..200 {
        let mut run = Run::new(outcome, 512, SyncPolicy::Never);
        let torn = crate::recovery::torn_middle();
        run.disk.put("journal", &torn.content);
        run.model.history = torn.payloads;
        run.model.commit_ends = (0..=run.model.history.len()).collect();
        let mut journal = run.open().unwrap();
        assert_eq!(journal.last_number(), 1);
        // As long as the torn record, so that the old ones would follow it without a gap.
        run.model.history.push(torn.same_length);
        run.model.commit_ends.push(2);
        commit(&mut journal, &[&run.model.history[1]]);
        drop(journal);
        run.disk.lose_power();
        run.open().unwrap();
    }
}

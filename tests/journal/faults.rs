//! Disks that fail without a power cut, and the calls of a caller that make no sense.

use crate::disk::{Faults, SimDisk};
use crate::{commit, replay, try_commit};
use reservad::journal::{Error, FILL_STEP_BYTES, Journal, Storage, SyncPolicy};
use std::time::Duration;

fn assert_poisoned<S: Storage>(journal: &mut Journal<S>, context: &str) {
    let told = journal.poisoned().expect("poisoned").to_string();
    assert!(told.contains(context), "{told}");
    let results = [
        try_commit(journal, &["more"]),
        journal.sync(),
        journal.fill_tail().map(drop),
        journal.seal().map(drop),
        journal.begin_snapshot(),
    ];
    for result in results {
        assert!(matches!(result, Err(Error::Poisoned(first)) if first == told));
    }
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let disk = SimDisk::new(512, 5);
    disk.set_faults(Faults { short_writes: true, ..Faults::default() });
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Never).unwrap();
    let long = "x".repeat(5000);
    commit(&mut journal, &["a", &long, "b"]);
    drop(journal);
    let (_, records, report) = replay(disk, SyncPolicy::Never).unwrap();
    assert_eq!(records, ["1 a".to_string(), format!("2 {long}"), "3 b".to_string()]);
    assert_eq!(report.bad, None);
}

#[test]
fn a_failed_write_poisons() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    commit(&mut journal, &["a"]);
    let at = journal.used_bytes();
    disk.set_faults(Faults { write_fails_at: Some(0), ..Faults::default() });
    let error = try_commit(&mut journal, &["b"]).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write sim/journal at byte {at}: write failed"));
    disk.set_faults(Faults::default());
    assert_poisoned(&mut journal, "cannot write sim/journal");
    drop(journal);
    assert_eq!(replay(disk, SyncPolicy::Always).unwrap().1, ["1 a"]);
}

#[test]
fn a_full_disk_poisons_when_a_commit_has_no_room() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    commit(&mut journal, &["a"]);
    let room = disk.content("journal").unwrap().len();
    disk.set_faults(Faults { room_bytes: Some(room), ..Faults::default() });
    let mut acknowledged = 1;
    let long = "x".repeat(10_000);
    let error = loop {
        match try_commit(&mut journal, &[&long]) {
            Ok(()) => acknowledged += 1,
            Err(e) => break e,
        }
    };
    assert!(error.to_string().contains("cannot write sim/journal at byte"), "{error}");
    assert!(acknowledged > 5, "the spare tail was room enough for some");
    assert_poisoned(&mut journal, "cannot write");
    drop(journal);
    disk.set_faults(Faults::default());
    assert_eq!(replay(disk, SyncPolicy::Always).unwrap().1.len(), acknowledged);
}

#[test]
fn a_disk_too_full_for_the_tail_still_takes_the_commit() {
    let disk = SimDisk::new(512, 0);
    disk.set_faults(Faults { room_bytes: Some(1000), ..Faults::default() });
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    assert!(!journal.fill_tail().unwrap() || disk.content("journal").unwrap().len() <= 1000);
    commit(&mut journal, &["a"]);
    commit(&mut journal, &["b"]);
    drop(journal);
    assert_eq!(replay(disk, SyncPolicy::Always).unwrap().1, ["1 a", "2 b"]);
}

#[test]
fn a_failed_sync_poisons() {
    for policy in [SyncPolicy::Always, SyncPolicy::Every(Duration::from_secs(1))] {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
        disk.set_faults(Faults { sync_fails_at: Some(0), ..Faults::default() });
        let error = try_commit(&mut journal, &["a"]).and_then(|()| journal.sync()).unwrap_err();
        assert!(error.to_string().starts_with("cannot sync sim/journal at byte"), "{error}");
        disk.set_faults(Faults::default());
        assert!(journal.is_dirty());
        assert_poisoned(&mut journal, "cannot sync");
    }
}

#[test]
fn a_failed_fill_poisons() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    disk.set_faults(Faults { write_fails_at: Some(0), ..Faults::default() });
    let error = journal.fill_tail().unwrap_err();
    assert!(error.to_string().contains("cannot fill the spare tail of"), "{error}");
    assert_poisoned(&mut journal, "cannot fill");
}

/// Compaction may fail; the service goes on with the journal that it has.
#[test]
fn a_snapshot_that_fails_is_abandoned() {
    let faults = [
        Faults { write_fails_at: Some(0), ..Faults::default() },
        Faults { sync_fails_at: Some(0), ..Faults::default() },
        Faults { room_bytes: Some(40), ..Faults::default() },
    ];
    for fault in faults {
        for in_pieces in [true, false] {
            let disk = SimDisk::new(512, 0);
            let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
            commit(&mut journal, &["a"]);
            journal.begin_snapshot().unwrap();
            // More than there is room for, and so much that a piece is synced.
            (0..20).for_each(|_| journal.snapshot_append(&"state".repeat(12_000)));
            disk.set_faults(fault.clone());
            let error = if in_pieces {
                journal.snapshot_flush(usize::MAX).unwrap_err()
            } else {
                journal.finish_snapshot(1).unwrap_err()
            };
            assert!(error.to_string().contains("cannot write sim/journal.new"), "{error}");
            assert!(!journal.has_snapshot());
            assert_eq!(journal.poisoned(), None);
            assert_eq!(disk.names(), ["journal"]);
            disk.set_faults(Faults::default());
            commit(&mut journal, &["b"]);
            drop(journal);
            assert_eq!(replay(disk, SyncPolicy::Always).unwrap().1, ["1 a", "2 b"]);
        }
    }
}

/// However large a snapshot is: no call holds the loop up for all of it.
#[test]
fn a_snapshot_is_synced_and_what_it_replaces_is_freed_in_pieces() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        for finishes in [true, false] {
            let disk = SimDisk::new(4096, 0);
            let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
            for _ in 0..30 {
                commit(&mut journal, &[&"history".repeat(9_000)]);
            }
            let old_bytes = disk.content("journal").unwrap().len();
            journal.begin_snapshot().unwrap();
            for _ in 0..100 {
                journal.snapshot_append(&"state".repeat(12_000));
                assert_eq!(journal.snapshot_flush(usize::MAX).unwrap(), 0);
            }
            match finishes {
                true => journal.finish_snapshot(30).unwrap(),
                false => journal.abandon_snapshot().unwrap(),
            }
            let (most_synced, nothing_cut) = disk.longest_calls();
            assert!((1 << 20..=(1 << 20) + 400_000).contains(&most_synced), "{most_synced}");
            assert_eq!(nothing_cut, 0);
            let new = disk.content("journal");
            let mut pieces = 0;
            while journal.has_nameless() {
                journal.shrink_nameless(100_000);
                pieces += 1;
            }
            assert_eq!(disk.longest_calls().1, 100_000);
            let freed = if finishes { old_bytes } else { 6_000_000 };
            assert_eq!(pieces, freed.div_ceil(100_000) + usize::from(!finishes));
            assert_eq!(disk.content("journal"), new, "what is in use is not cut");
        }
    }
}

/// It has no name any more, so nothing depends on it.
#[test]
fn a_replaced_file_that_cannot_be_cut_is_left_to_the_system() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    journal.begin_snapshot().unwrap();
    journal.finish_snapshot(0).unwrap();
    disk.set_faults(Faults { power_at: Some(0), ..Faults::default() });
    journal.shrink_nameless(1);
    assert!(!journal.has_nameless());
    assert_eq!(journal.poisoned(), None);
}

#[test]
fn a_rename_that_fails_poisons() {
    for failing in 0..2 {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
        commit(&mut journal, &["a"]);
        journal.begin_snapshot().unwrap();
        journal.snapshot_append("state");
        disk.set_faults(Faults { name_fails_at: Some(failing), ..Faults::default() });
        journal.finish_snapshot(1).unwrap_err();
        disk.set_faults(Faults::default());
        assert!(matches!(try_commit(&mut journal, &["b"]), Err(Error::Poisoned(_))));
        drop(journal);
        let records = replay(disk, SyncPolicy::Always).unwrap().1;
        let expected: &[&str] = if failing == 0 { &["1 a"] } else { &["snap 1 state", "base 1"] };
        assert_eq!(records, expected);
    }
}

#[test]
fn commits_are_synced_as_the_policy_says() {
    let every = SyncPolicy::Every(Duration::from_secs(1));
    for (policy, dirty) in [(SyncPolicy::Always, false), (every, true), (SyncPolicy::Never, true)] {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
        assert!(!journal.is_dirty());
        let steps = disk.steps();
        commit(&mut journal, &[]);
        journal.sync().unwrap();
        assert_eq!(disk.steps(), steps, "nothing to do, nothing done");
        commit(&mut journal, &["a"]);
        assert_eq!(journal.is_dirty(), dirty);
        journal.sync().unwrap();
        assert!(!journal.is_dirty());
        assert_eq!(journal.policy(), policy);
    }
}

#[test]
fn one_commit_is_one_write_and_one_sync() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    assert!(journal.fill_tail().unwrap());
    assert!(!journal.fill_tail().unwrap(), "filled already");
    let size = disk.content("journal").unwrap().len();
    assert_eq!(size as u64, FILL_STEP_BYTES);
    for _ in 0..100 {
        let steps = disk.steps();
        commit(&mut journal, &["a", "b", "c"]);
        assert_eq!(disk.steps(), steps + 2);
    }
    assert_eq!(disk.content("journal").unwrap().len(), size, "the size does not change");
    drop(journal);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    assert!(!journal.fill_tail().unwrap(), "the tail is known after a restart");
}

#[test]
fn the_tail_after_a_cut_is_blank_again() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    commit(&mut journal, &["a"]);
    drop(journal);
    let mut content = disk.content("journal").unwrap();
    content.resize(3 * FILL_STEP_BYTES as usize, b'?');
    let disk = SimDisk::with("journal", &content);
    let (mut journal, _, report) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    assert!(report.bad.is_some());
    journal.fill_tail().unwrap();
    commit(&mut journal, &["b"]);
    let content = disk.content("journal").unwrap();
    assert_eq!(content.len() as u64, FILL_STEP_BYTES);
    assert!(content[journal.used_bytes() as usize..].iter().all(|b| *b == b'\n'));
}

#[test]
fn a_fresh_journal_opens_without_filling() {
    let disk = SimDisk::new(512, 0);
    let (journal, records, report) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    assert!(report.fresh && records.is_empty());
    assert_eq!(journal.used_bytes(), disk.content("journal").unwrap().len() as u64);
    assert_eq!(disk.steps(), 4, "create, write, sync, sync the folder");
}

#[test]
#[should_panic(expected = "event number")]
fn a_number_out_of_order_is_a_bug() {
    let (mut journal, _, _) = replay(SimDisk::new(512, 0), SyncPolicy::Always).unwrap();
    let _ = journal.commit(2, "x", [1].into_iter());
}

#[test]
#[should_panic(expected = "payload with an LF, TAB or NUL")]
fn a_payload_of_two_lines_is_a_bug() {
    let (mut journal, _, _) = replay(SimDisk::new(512, 0), SyncPolicy::Always).unwrap();
    commit(&mut journal, &["x\ny"]);
}

#[test]
#[should_panic(expected = "not of the last event")]
fn a_snapshot_of_another_event_is_a_bug() {
    let (mut journal, _, _) = replay(SimDisk::new(512, 0), SyncPolicy::Always).unwrap();
    journal.begin_snapshot().unwrap();
    let _ = journal.finish_snapshot(1);
}

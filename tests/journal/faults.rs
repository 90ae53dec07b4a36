//! Disks that fail without a power cut, and invalid calls.

use crate::{commit, replay, try_commit};
use reservad::journal::{
    Error, FILL_STEP_BYTES, Journal, LockState, NameState, Notice, Storage, SyncPolicy,
};
use std::time::Duration;
use support::sim_disk::{Faults, SimDisk};

fn assert_poisoned<S: Storage>(journal: &mut Journal<S>, context: &str) {
    let reason = journal.poisoned().expect("poisoned").to_string();
    assert!(reason.contains(context), "{reason}");
    let results = [
        try_commit(journal, &["more"]),
        journal.sync(),
        journal.fill_tail().map(drop),
        journal.seal().map(drop),
        journal.begin_snapshot(),
    ];
    for result in results {
        assert!(matches!(result, Err(Error::Poisoned(first)) if first == reason));
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
fn failed_write_poisons_the_journal() {
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
fn full_disk_poisons_the_journal_when_a_commit_has_no_space() {
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
    let reason = "cannot allocate space in sim/journal at byte";
    assert!(error.to_string().contains(reason), "{error}");
    assert!(acknowledged > 5, "some commits fit into the spare tail");
    assert_poisoned(&mut journal, reason);
    drop(journal);
    disk.set_faults(Faults::default());
    assert_eq!(replay(disk, SyncPolicy::Always).unwrap().1.len(), acknowledged);
}

#[test]
fn commit_succeeds_on_a_disk_too_full_for_the_tail() {
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
fn failed_sync_poisons_the_journal() {
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
fn failed_fill_poisons_the_journal() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    disk.set_faults(Faults { write_fails_at: Some(0), ..Faults::default() });
    let error = journal.fill_tail().unwrap_err();
    assert!(error.to_string().contains("cannot fill the spare tail of"), "{error}");
    assert_poisoned(&mut journal, "cannot fill");
}

/// A compaction may fail. The service continues with its journal.
#[test]
fn failed_snapshot_is_abandoned() {
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
            // More than fits, and enough that a piece is synced.
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
            assert_eq!(disk.names(), ["journal", "journal.id"]);
            disk.set_faults(Faults::default());
            commit(&mut journal, &["b"]);
            drop(journal);
            assert_eq!(replay(disk, SyncPolicy::Always).unwrap().1, ["1 a", "2 b"]);
        }
    }
}

/// The state of a compaction when the disk becomes full.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Taken {
    Nothing,
    /// A snapshot is in progress.
    Snapshot,
    /// A snapshot is in progress, and its file cannot be removed.
    StuckSnapshot,
    /// A snapshot is finished, and the file that it has replaced still exists.
    OldFile,
}

/// Commits until the disk is full. Returns the number of commits acknowledged since the compaction,
/// and whether a notice reported a discarded snapshot.
fn commit_until_full(taken: Taken, faults: &Faults, policy: SyncPolicy) -> (usize, bool) {
    let disk = SimDisk::new(4096, 0);
    disk.set_faults(faults.clone());
    let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
    let line = "x".repeat(10_000);
    (0..100).for_each(|_| commit(&mut journal, &[&line]));
    if taken != Taken::Nothing {
        journal.begin_snapshot().unwrap();
        for _ in 0..10 {
            (0..3).for_each(|_| journal.snapshot_append(&line));
            journal.snapshot_flush(usize::MAX).unwrap();
        }
    }
    if taken == Taken::StuckSnapshot {
        disk.set_faults(Faults { name_fails_at: Some(0), ..faults.clone() });
    }
    if taken == Taken::OldFile {
        journal.finish_snapshot(100).unwrap();
        assert!(journal.unlinked_bytes().is_some());
    }
    let mut acknowledged = 0;
    while try_commit(&mut journal, &[&line]).is_ok() {
        acknowledged += 1;
    }
    assert!(journal.poisoned().is_some_and(|why| why.contains("cannot allocate space in")));
    assert!(!journal.has_snapshot() && journal.unlinked_bytes().is_none());
    let notices = journal.take_notices();
    drop(journal);
    disk.set_faults(Faults::default());
    let (journal, _, report) = replay(disk, policy).unwrap();
    assert_eq!((journal.last_number(), report.bad), (100 + acknowledged as u64, None));
    (acknowledged, matches!(notices[..], [Notice::SnapshotAbandoned { .. }]))
}

/// Regression test: a snapshot took the last space of the disk, and the server stopped at the next
/// commit.
#[test]
fn compaction_yields_its_space_to_commits() {
    let every = SyncPolicy::Every(Duration::from_secs(1));
    for policy in [SyncPolicy::Always, every, SyncPolicy::Never] {
        for no_allocation in [false, true] {
            let disk_bytes = Some(2_500_000);
            let faults = Faults { disk_bytes, no_allocation, ..Faults::default() };
            let (alone, said) = commit_until_full(Taken::Nothing, &faults, policy);
            assert!(alone > 100 && !said, "{alone}");
            for taken in [Taken::Snapshot, Taken::StuckSnapshot, Taken::OldFile] {
                let (count, said) = commit_until_full(taken, &faults, policy);
                assert!(count >= alone, "{taken:?} {policy:?}: {count} of {alone}");
                assert_eq!(said, taken != Taken::OldFile, "{taken:?}");
            }
        }
    }
}

/// A snapshot stops before the disk is full, because other processes write to it as well.
#[test]
fn snapshot_leaves_the_reserve_for_commits() {
    for finishes in [false, true] {
        let disk = SimDisk::new(4096, 0);
        let disk_bytes = 3_000_000;
        disk.set_faults(Faults { disk_bytes: Some(disk_bytes), ..Faults::default() });
        let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
        commit(&mut journal, &["a"]);
        journal.begin_snapshot().unwrap();
        let line = "x".repeat(10_000);
        let mut written = 0;
        let error = loop {
            journal.snapshot_append(&line);
            let done = match finishes && disk_bytes - disk.used_bytes() < 600_000 {
                true => {
                    (0..20).for_each(|_| journal.snapshot_append(&line));
                    journal.finish_snapshot(1).map(|()| panic!("finished"))
                }
                false => journal.snapshot_flush(usize::MAX),
            };
            match done {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("bytes are free on the disk"), "{error}");
        assert!(written > 100, "{written}");
        assert!(!journal.has_snapshot() && journal.poisoned().is_none());
        assert!(disk_bytes - disk.used_bytes() >= 2 * FILL_STEP_BYTES as usize);
        commit(&mut journal, &["b"]);
    }
}

/// Regression test: another server with the same directory lost acknowledged events when this one
/// replaced the journal with its snapshot.
#[test]
fn directory_that_another_process_has_taken_is_not_written() {
    let taken = || Faults { lock: Some(LockState::Lost), ..Faults::default() };
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    commit(&mut journal, &["a"]);
    let before = disk.content("journal");
    for at_begin in [true, false] {
        let disk = disk.copy();
        let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
        if at_begin {
            disk.set_faults(taken());
            assert!(matches!(journal.begin_snapshot(), Err(Error::LockLost { .. })));
        } else {
            journal.begin_snapshot().unwrap();
            journal.snapshot_append("state");
            disk.set_faults(taken());
            assert!(matches!(journal.finish_snapshot(1), Err(Error::LockLost { .. })));
        }
        assert_poisoned(&mut journal, "another process has locked a new one");
        assert_eq!(disk.content("journal"), before);
    }
    disk.set_faults(taken());
    assert!(matches!(journal.confirm_directory(), Err(Error::LockLost { .. })));
    assert_poisoned(&mut journal, "another process has locked a new one");
}

#[test]
fn deleted_lock_file_is_created_again_with_a_notice() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    commit(&mut journal, &["a"]);
    for at_begin in [true, false] {
        let retaken = Faults { lock: Some(LockState::Retaken), ..Faults::default() };
        if at_begin {
            disk.set_faults(retaken);
            journal.begin_snapshot().unwrap();
        } else {
            disk.set_faults(retaken);
            journal.snapshot_append("state");
            journal.finish_snapshot(1).unwrap();
        }
        let notices = journal.take_notices();
        assert!(matches!(notices[..], [Notice::LockRetaken { .. }]), "{notices:?}");
    }
    assert_eq!(journal.base_number(), 1);
    assert!(journal.take_notices().is_empty());
}

/// Another process has replaced the journal with a backup, or has deleted it.
#[test]
fn replaced_journal_is_kept_and_a_deleted_one_is_restored() {
    for (name, reason) in
        [(NameState::Other, "is not the file"), (NameState::Missing, "was deleted")]
    {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
        commit(&mut journal, &["a"]);
        journal.begin_snapshot().unwrap();
        journal.snapshot_append("state");
        disk.set_faults(Faults { renamed: Some(name), ..Faults::default() });
        journal.confirm_directory().unwrap();
        let notices = journal.take_notices();
        assert!(notices[0].to_string().contains(reason), "{notices:?}");
        let before = disk.content("journal");
        let finished = journal.finish_snapshot(1);
        match name {
            NameState::Missing => finished.unwrap(),
            _ => {
                let error = finished.unwrap_err();
                assert!(error.to_string().contains(reason), "{error}");
                assert_eq!(disk.content("journal"), before);
                assert_eq!(disk.content("journal.new"), None);
            }
        }
        assert_eq!(journal.poisoned(), None);
        commit(&mut journal, &["b"]);
    }
}

/// However large a snapshot is, no call delays the loop for all of it.
#[test]
fn snapshot_is_synced_in_pieces_and_the_replaced_file_is_freed_in_pieces() {
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
            while journal.unlinked_bytes().is_some() {
                journal.shrink_unlinked(100_000);
                pieces += 1;
            }
            assert_eq!(disk.longest_calls().1, 100_000);
            let freed = if finishes { old_bytes } else { 6_000_000 };
            assert_eq!(pieces, freed.div_ceil(100_000) + usize::from(!finishes));
            assert_eq!(disk.content("journal"), new, "the file in use is not truncated");
        }
    }
}

/// The file has no name any more, so that nothing depends on it.
#[test]
fn replaced_file_that_cannot_be_truncated_is_closed() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    journal.begin_snapshot().unwrap();
    journal.finish_snapshot(0).unwrap();
    disk.set_faults(Faults { power_at: Some(0), ..Faults::default() });
    journal.shrink_unlinked(1);
    assert!(journal.unlinked_bytes().is_none());
    assert_eq!(journal.poisoned(), None);
}

#[test]
fn failed_rename_poisons_the_journal() {
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
fn commits_are_synced_according_to_the_policy() {
    let every = SyncPolicy::Every(Duration::from_secs(1));
    for (policy, dirty) in [(SyncPolicy::Always, false), (every, true), (SyncPolicy::Never, true)] {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
        assert!(!journal.is_dirty());
        let steps = disk.steps();
        commit(&mut journal, &[]);
        journal.sync().unwrap();
        assert_eq!(disk.steps(), steps, "no work is done");
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
fn tail_after_a_cut_is_blank() {
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
fn new_journal_opens_without_filling_the_tail() {
    let disk = SimDisk::new(512, 0);
    let (journal, records, report) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    assert!(report.fresh && records.is_empty());
    assert_eq!(journal.used_bytes(), disk.content("journal").unwrap().len() as u64);
    assert_eq!(disk.steps(), 8, "create, write, sync, sync the directory; the same for the marker");
}

#[test]
#[should_panic(expected = "event number")]
fn number_out_of_order_panics() {
    let (mut journal, _, _) = replay(SimDisk::new(512, 0), SyncPolicy::Always).unwrap();
    let _ = journal.commit(2, "x", [1].into_iter());
}

#[test]
#[should_panic(expected = "payload with an LF, TAB or NUL")]
fn payload_of_two_lines_panics() {
    let (mut journal, _, _) = replay(SimDisk::new(512, 0), SyncPolicy::Always).unwrap();
    commit(&mut journal, &["x\ny"]);
}

#[test]
#[should_panic(expected = "not of the last event")]
fn snapshot_of_another_event_panics() {
    let (mut journal, _, _) = replay(SimDisk::new(512, 0), SyncPolicy::Always).unwrap();
    journal.begin_snapshot().unwrap();
    let _ = journal.finish_snapshot(1);
}

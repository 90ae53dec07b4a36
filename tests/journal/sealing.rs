//! Seals: the damage that they prove, how they are overwritten, and the effects of power cuts.

use crate::recovery::Growing;
use crate::{HEADER, SNAPSHOT_HEADER, commit, line, replay, replay_bytes, try_commit, written};
use reservad::journal::{Disposition, Error, Evidence, FILL_STEP_BYTES, SyncPolicy, check};
use std::time::Duration;
use support::sim_disk::{Faults, SimDisk};

const POLICIES: [SyncPolicy; 3] =
    [SyncPolicy::Always, SyncPolicy::Every(Duration::from_secs(1)), SyncPolicy::Never];

/// Returns a sealed journal of three commits without its spare tail, and the range of the last
/// commit.
fn sealed(policy: SyncPolicy, compacted: bool) -> (Vec<u8>, usize, usize) {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
    commit(&mut journal, &["uno"]);
    if compacted {
        journal.begin_snapshot().unwrap();
        journal.snapshot_append("state");
        journal.finish_snapshot(1).unwrap();
    }
    commit(&mut journal, &["dos", "tres ñ"]);
    let start = journal.used_bytes() as usize;
    commit(&mut journal, &["cuatro", "cinco"]);
    assert!(journal.seal().unwrap());
    let end = journal.used_bytes() as usize;
    let mut content = disk.content("journal").unwrap();
    let blank = content.iter().rev().take_while(|byte| **byte == b'\n').count();
    content.truncate(content.len() - blank + 1);
    (content, start, end)
}

fn disposition(content: &[u8]) -> (Option<Disposition>, bool) {
    let disk = SimDisk::with("journal", content);
    let report = check(&disk, |_| Ok(())).unwrap();
    (report.bad.map(|bad| bad.disposition), report.is_sealed)
}

/// Regression test: a wrong bit in the last commit of a journal that was sealed at a regular stop
/// was cut as a torn tail.
#[test]
fn every_wrong_bit_before_a_seal_is_damage() {
    for policy in POLICIES {
        for compacted in [false, true] {
            let (content, start, end) = sealed(policy, compacted);
            let mut of_the_last = 0;
            for tail in [&b""[..], b"\n\n\n\n\n"] {
                for bit in 0..end * 8 {
                    let mut content = [&content, tail].concat();
                    content[bit / 8] ^= 1 << (bit % 8);
                    let (disposition, is_sealed) = disposition(&content);
                    assert!(
                        matches!(disposition, Some(Disposition::Refused(_))),
                        "bit {bit}: {disposition:?}"
                    );
                    assert!(!is_sealed);
                    if bit / 8 >= start {
                        let last = 5;
                        let why = Evidence::Sealed { number: last, offset_bytes: end as u64 };
                        assert_eq!(disposition, Some(Disposition::Refused(why)), "bit {bit}");
                        of_the_last += 1;
                    }
                }
            }
            assert_eq!(of_the_last, 2 * 8 * (end - start));
            // The seal is lost, and no commit is.
            for bit in end * 8..content.len() * 8 {
                let mut content = content.clone();
                content[bit / 8] ^= 1 << (bit % 8);
                assert!(!disposition(&content).1, "bit {bit}");
                match replay_bytes(&content) {
                    Ok((_, report)) => assert_eq!(report.end_bytes as usize, end, "bit {bit}"),
                    Err(error) => panic!("bit {bit}: {error}"),
                }
            }
        }
    }
}

#[test]
fn truncated_copy_is_not_sealed() {
    for compacted in [false, true] {
        let (content, _, _) = sealed(SyncPolicy::Always, compacted);
        assert_eq!(disposition(&content), (None, true));
        for end in 0..content.len() {
            let (_, is_sealed) = disposition(&content[..end]);
            assert!(!is_sealed, "cut at {end}");
        }
    }
}

#[test]
fn malformed_seals() {
    let one = written(1, 45, &["x"]);
    let end = HEADER.len() + one.len();
    let seal = |last: u64, end: usize| line(&format!("seal {last} @{end}"));
    let two = written(2, end as u64, &["y"]);
    let join = |parts: &[&str]| format!("{HEADER}{}", parts.concat());
    let good = seal(1, end);
    let damage = |why| Some(Disposition::Refused(why));
    let out_of_order = damage(Evidence::OutOfOrder);
    let cut = Some(Disposition::Cut);
    let broken = one.replace("\nx", "\ny");
    let sealed = damage(Evidence::Sealed { number: 1, offset_bytes: end as u64 });
    let unended = good.trim_end();
    let snapshot = format!("{SNAPSHOT_HEADER}{}", line("end 0 7"));
    let cases = [
        ("sealed", join(&[&one, &good]), (None, true)),
        ("sealed with a tail", join(&[&one, &good, "\n\n\n"]), (None, true)),
        ("no event", join(&[&seal(0, HEADER.len())]), (None, true)),
        ("a snapshot alone", snapshot.clone(), (None, false)),
        ("a sealed snapshot", snapshot.clone() + &seal(7, snapshot.len()), (None, true)),
        ("not sealed", join(&[&one, "\n\n"]), (None, false)),
        ("another event", join(&[&one, &seal(2, end)]), (out_of_order, false)),
        ("another place", join(&[&one, &seal(1, end - 1)]), (out_of_order, false)),
        ("no end", join(&[&one, unended]), (cut, false)),
        ("torn", join(&[&one, &good[..12], "\n\n\n"]), (cut, false)),
        ("a whole commit behind it", join(&[&one, &good, &two]), (cut, false)),
        ("the rest of one behind it", join(&[&one, &good, "rest of y\n"]), (cut, false)),
        ("two", join(&[&one, &good, &good]), (cut, false)),
        ("after blank space", join(&[&one, "\n", &good]), (cut, false)),
        ("after a broken commit", join(&[&broken, &good]), (sealed, false)),
        ("after lost commits", join(&[&"\n".repeat(one.len()), &good]), (sealed, false)),
        ("in the middle of a line", join(&[&one.replace('\n', "?"), &good]), (sealed, false)),
        ("in a snapshot", SNAPSHOT_HEADER.to_string() + &good, (damage(Evidence::Snapshot), false)),
    ];
    for (name, content, expected) in cases {
        assert_eq!(disposition(content.as_bytes()), expected, "{name}:\n{content}");
    }
}

/// The server overwrites a seal, so another program must have appended to a sealed journal.
#[test]
fn a_journal_appended_to_a_sealed_one_is_damage() {
    let not_continued = |disposition| {
        matches!(disposition, Some(Disposition::Refused(Evidence::NotContinued { .. })))
    };
    for policy in POLICIES {
        for compacted in [false, true] {
            let (content, ..) = sealed(policy, compacted);
            let snapshot = SNAPSHOT_HEADER.to_string() + &line("snap 1 x") + &line("end 1 1");
            for tail in ["", "\n\n\n"] {
                for appended in [&content, &content[..content.len() / 2], snapshot.as_bytes()] {
                    let (disposition, is_sealed) =
                        disposition(&[&content, tail.as_bytes(), appended].concat());
                    assert!(
                        not_continued(disposition) && !is_sealed,
                        "{policy:?}: {disposition:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn seal_takes_one_write_and_one_sync() {
    for policy in POLICIES {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
        commit(&mut journal, &["a"]);
        journal.sync().unwrap();
        let (steps, used) = (disk.steps(), journal.used_bytes());
        assert!(!journal.is_sealed());
        assert!(journal.seal().unwrap());
        assert_eq!((disk.steps(), journal.used_bytes()), (steps + 2, used));
        assert!(!journal.seal().unwrap() && journal.is_sealed());
        assert_eq!(disk.steps(), steps + 2, "{policy:?}");
        drop(journal);
        let (mut journal, _, report) = replay(disk.clone(), policy).unwrap();
        assert!(report.is_sealed && journal.is_sealed());
        let steps = disk.steps();
        assert!(!journal.seal().unwrap());
        assert_eq!(disk.steps(), steps, "it was sealed by the one before");
        commit(&mut journal, &["b"]);
        assert!(!journal.is_sealed());
    }
}

/// Unsynced data must be synced before the seal can reach the disk.
#[test]
fn data_before_a_seal_is_synced_first() {
    let disk = SimDisk::new(512, 0);
    let every = SyncPolicy::Every(Duration::from_secs(1));
    let (mut journal, _, _) = replay(disk.clone(), every).unwrap();
    commit(&mut journal, &["a"]);
    assert!(journal.is_dirty());
    let steps = disk.steps();
    assert!(journal.seal().unwrap());
    assert_eq!(disk.steps(), steps + 3, "a sync, the seal, and its sync");
    assert!(!journal.is_dirty());
}

/// Therefore seals do not make a journal grow.
#[test]
fn next_commit_overwrites_the_seal() {
    for policy in POLICIES {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
        journal.fill_tail().unwrap();
        for number in 1..=20 {
            commit(&mut journal, &[if number % 2 == 0 { "" } else { "payload" }]);
            journal.seal().unwrap();
        }
        let content = disk.content("journal").unwrap();
        if policy != SyncPolicy::Never {
            assert_eq!(content.len() as u64, FILL_STEP_BYTES);
        }
        let text = String::from_utf8(content).unwrap();
        assert_eq!(text.matches("\tseal ").count(), 1);
        let (_, records, report) = replay(disk, policy).unwrap();
        assert_eq!((records.len(), report.bad, report.is_sealed), (20, None, true));
    }
}

/// The power fails at every step of a commit, its seal and the commit after it.
#[test]
fn power_cut_around_a_seal_leaves_a_good_journal() {
    let long = "long ".repeat(300);
    for policy in POLICIES {
        for step in 0..12 {
            for outcome in 0..60 {
                let disk = SimDisk::new(512, step * 1000 + outcome);
                let (mut journal, _, _) = replay(disk.clone(), policy).unwrap();
                commit(&mut journal, &[&long]);
                journal.sync().unwrap();
                disk.set_faults(Faults { power_at: Some(step), ..Faults::default() });
                let mut promised = 1;
                let mut run = || -> Result<(), Error> {
                    journal.seal()?;
                    try_commit(&mut journal, &["b"])?;
                    journal.sync()?;
                    promised = 2;
                    journal.seal()?;
                    try_commit(&mut journal, &[&long, "c"])?;
                    journal.sync()?;
                    promised = 4;
                    journal.seal().map(|_| ())
                };
                let _ = run();
                drop(journal);
                disk.lose_power();
                let (mut journal, records, report) = replay(disk.clone(), policy)
                    .unwrap_or_else(|error| panic!("step {step}, outcome {outcome}: {error}"));
                assert!(records.len() >= promised, "step {step}, outcome {outcome}: {report:?}");
                commit(&mut journal, &["d"]);
                journal.seal().unwrap();
                drop(journal);
                let (_, again, report) = replay(disk, policy).unwrap();
                assert_eq!((again.len(), report.bad), (records.len() + 1, None));
            }
        }
    }
}

#[test]
fn disk_too_full_for_a_seal_is_not_an_error() {
    for room in [0, 7] {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Never).unwrap();
        commit(&mut journal, &["a"]);
        let room_bytes = Some(journal.used_bytes() as usize + room);
        disk.set_faults(Faults { room_bytes, ..Faults::default() });
        assert!(!journal.seal().unwrap());
        assert!(!journal.is_sealed() && journal.poisoned().is_none());
        disk.set_faults(Faults::default());
        commit(&mut journal, &["b"]);
        drop(journal);
        let (_, records, report) = replay(disk, SyncPolicy::Never).unwrap();
        assert_eq!((records.len(), report.bad), (2, None));
    }
}

#[test]
fn failed_seal_poisons_the_journal() {
    let faults = [
        Faults { write_fails_at: Some(0), ..Faults::default() },
        Faults { sync_fails_at: Some(0), ..Faults::default() },
    ];
    for fault in faults {
        let disk = SimDisk::new(512, 0);
        let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
        commit(&mut journal, &["a"]);
        disk.set_faults(fault);
        journal.seal().unwrap_err();
        assert!(journal.poisoned().is_some() && !journal.is_sealed());
    }
}

#[test]
fn identity_is_random_and_stable() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, report) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    let id = journal.id();
    assert_eq!(report.id, Some(id));
    commit(&mut journal, &["a"]);
    journal.begin_snapshot().unwrap();
    journal.finish_snapshot(1).unwrap();
    assert!(journal.is_sealed(), "a snapshot ends with a seal");
    drop(journal);
    let (journal, _, report) = replay(disk, SyncPolicy::Always).unwrap();
    assert_eq!((journal.id(), report.id, report.is_sealed), (id, Some(id), true));
    let (other, _, _) = replay(SimDisk::new(512, 0), SyncPolicy::Always).unwrap();
    assert_ne!(other.id(), id);
}

#[test]
fn damage_before_a_seal_is_reported_with_the_seal_as_evidence() {
    let (mut content, _, end) = sealed(SyncPolicy::Always, false);
    content[end - 2] ^= 1;
    let error = replay_bytes(&content).unwrap_err().to_string();
    let reason =
        format!("when the journal was sealed after event 5 at byte {end}; nothing was changed");
    assert!(error.contains(&reason), "{error}");
}

/// The check reads the seal, half of the commit that overwrites it, or a later state.
#[test]
fn seal_overwritten_during_a_check_is_not_damage() {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    let mut states = Vec::new();
    for payloads in [&["uno"][..], &["dos", "tres"], &["cuatro"]] {
        let start = journal.used_bytes() as usize;
        commit(&mut journal, payloads);
        states.push((start, disk.content("journal").unwrap()));
        journal.seal().unwrap();
        states.push((start, disk.content("journal").unwrap()));
    }
    states.iter_mut().for_each(|(_, content)| content.truncate(600));
    let (_, last) = states.last().unwrap().clone();
    // From each sealed state, through each part of the next two commits.
    for at in [1, 3] {
        let (_, sealed) = &states[at];
        for later in [at + 1, 5] {
            let (start, written) = &states[later];
            for torn in *start..600 {
                let half = [&written[..torn], &sealed[torn..]].concat();
                for moments in [
                    vec![sealed.clone(), half.clone(), last.clone()],
                    vec![half.clone(), last.clone()],
                    vec![half.clone(), half.clone(), last.clone()],
                ] {
                    let growing = Growing::through(moments);
                    let report = check(&growing, |_| Ok(())).unwrap();
                    let disposition = report.bad.map(|bad| bad.disposition);
                    assert!(
                        matches!(disposition, None | Some(Disposition::Cut)),
                        "{at} {later} {torn}"
                    );
                    let committed = [0, 0, 1, 1, 3, 4][at];
                    assert!(report.last_number >= committed, "{at} {later} {torn}");
                }
            }
        }
    }
}

//! The marker of a directory in use, which detects that its journal was deleted or emptied.

use crate::{commit, replay};
use reservad::journal::{
    Error, JOURNAL_FILE, MARKER_FILE, NEW_JOURNAL_FILE, Storage, SyncPolicy, begin_again,
};
use support::sim_disk::{Faults, SimDisk};

const POLICY: SyncPolicy = SyncPolicy::Always;

/// Returns a disk with a journal of one event.
fn used() -> SimDisk {
    let disk = SimDisk::new(512, 0);
    let (mut journal, _, _) = replay(disk.clone(), POLICY).unwrap();
    commit(&mut journal, &["a"]);
    disk
}

fn assert_lost(disk: &SimDisk) {
    let before = disk.names();
    match replay(disk.clone(), POLICY) {
        Err(error @ Error::Lost { .. }) => {
            let message = error.to_string();
            assert!(message.contains("--new") && message.contains("sim/journal.id"), "{message}");
        }
        other => panic!("{:?}", other.map(|(_, records, _)| records).map_err(|e| e.to_string())),
    }
    assert_eq!(disk.names(), before);
}

#[test]
fn no_new_journal_is_created_where_one_was_deleted_or_emptied() {
    let disk = used();
    let whole = disk.content(JOURNAL_FILE).unwrap();
    disk.remove(JOURNAL_FILE).unwrap();
    assert_lost(&disk);
    for emptied in [&b""[..], b"reserv", b"\0\0\0\0"] {
        disk.put(JOURNAL_FILE, emptied);
        assert_lost(&disk);
        assert_eq!(disk.content(JOURNAL_FILE).unwrap(), emptied);
    }
    // The restored journal is accepted.
    disk.put(JOURNAL_FILE, &whole);
    assert_eq!(replay(disk, POLICY).unwrap().1, ["1 a"]);
}

#[test]
fn new_journal_is_created_where_one_is_requested() {
    for emptied in [None, Some(&b"reserv"[..])] {
        let disk = used();
        let marker = disk.content(MARKER_FILE);
        disk.remove(JOURNAL_FILE).unwrap();
        emptied.into_iter().for_each(|bytes| disk.put(JOURNAL_FILE, bytes));
        begin_again(&disk).unwrap();
        assert!(replay(disk.clone(), POLICY).unwrap().1.is_empty());
        assert_ne!(disk.content(MARKER_FILE), marker);
        disk.remove(JOURNAL_FILE).unwrap();
        assert_lost(&disk);
    }
    // Also in a directory that was never used.
    let disk = SimDisk::new(512, 0);
    begin_again(&disk).unwrap();
    assert!(replay(disk, POLICY).unwrap().1.is_empty());
}

#[test]
fn existing_journal_is_not_replaced_on_request() {
    let disk = used();
    let steps = disk.steps();
    assert!(matches!(begin_again(&disk), Err(Error::NotNew { .. })));
    disk.damage(JOURNAL_FILE, |bytes| bytes[0] ^= 1);
    assert!(matches!(begin_again(&disk), Err(Error::NotNew { .. })));
    assert_eq!(disk.steps(), steps);
    disk.remove(JOURNAL_FILE).unwrap();
    disk.put(NEW_JOURNAL_FILE, b"half");
    assert!(matches!(begin_again(&disk), Err(Error::OnlyLeftover { .. })));
    assert_eq!(disk.names(), [MARKER_FILE, NEW_JOURNAL_FILE]);
}

/// Such as a backup of another directory, or confused directories.
#[test]
fn journal_of_another_directory_is_refused_with_both_ids() {
    let disk = used();
    let other = used().content(JOURNAL_FILE).unwrap();
    disk.put(JOURNAL_FILE, &other[..other.len() - 3]);
    let steps = disk.steps();
    let Err(error) = replay(disk.clone(), POLICY) else { panic!("opened") };
    let Error::OtherJournal { found, wanted, .. } = &error else { panic!("{error}") };
    assert!(String::from_utf8_lossy(&other).contains(&found.to_string()), "{error}");
    assert_eq!(disk.content(MARKER_FILE).unwrap(), format!("{wanted}\n").as_bytes());
    let message = error.to_string();
    assert!(
        message.contains(&found.to_string()) && message.contains(&wanted.to_string()),
        "{message}"
    );
    assert_eq!(disk.steps(), steps, "nothing is cut");
    disk.remove(MARKER_FILE).unwrap();
    replay(disk, POLICY).unwrap();
}

/// The journal comes from a backup, from a version without markers, or from a start that was
/// killed.
#[test]
fn missing_or_invalid_marker_is_rewritten() {
    for marker in [None, Some(&b""[..]), Some(b"0123456789abcde"), Some(b"0123456789abcdeg\n")] {
        let disk = SimDisk::with(JOURNAL_FILE, &used().content(JOURNAL_FILE).unwrap());
        marker.into_iter().for_each(|bytes| disk.put(MARKER_FILE, bytes));
        let open = || {
            let steps = disk.steps();
            assert_eq!(replay(disk.clone(), POLICY).unwrap().1, ["1 a"]);
            (disk.content(MARKER_FILE).unwrap(), disk.steps() - steps)
        };
        let (written, steps) = open();
        assert_eq!((written.len(), written[16]), (17, b'\n'));
        let (again, steps_again) = open();
        assert_eq!(again, written);
        assert!(steps_again < steps, "it is written once");
    }
}

/// A crash while a directory or its first journal is created never makes the next start fail.
#[test]
fn power_cut_at_every_step_of_creating_a_journal() {
    let mut last = 0;
    for step in 0.. {
        let mut done = false;
        for outcome in 0..40 {
            let disk = SimDisk::new(512, step * 1000 + outcome);
            disk.put(MARKER_FILE, b"0123456789abcdef\n");
            disk.set_faults(Faults { power_at: Some(step), ..Faults::default() });
            let prepared = begin_again(&disk).is_ok();
            done = prepared && replay(disk.clone(), POLICY).is_ok();
            disk.lose_power();
            match replay(disk.clone(), POLICY) {
                Ok((_, records, _)) => assert!(records.is_empty()),
                // The directory is unchanged, and the operator repeats the command.
                Err(Error::Lost { .. }) => assert!(!prepared),
                Err(error) => panic!("{error}"),
            }
        }
        last = step;
        if done {
            break;
        }
    }
    assert!(last >= 10, "only {last} steps");
}

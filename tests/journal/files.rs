//! Journals in real files, and their exact contents.

use crate::{HEADER, SNAPSHOT_HEADER, commit, replay};
use reservad::journal::{
    Backup, DiskStorage, Error, Journal, LOCK_FILE, Storage, StorageFile, SyncPolicy, backup, check,
};
use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{fs, io};
use support::temp_dir;

fn open(directory: &Path) -> (Journal<DiskStorage>, Vec<String>) {
    let storage = DiskStorage::lock(directory).unwrap();
    let (journal, records, report) = replay(storage, SyncPolicy::Always).unwrap();
    assert_eq!(report.bad, None);
    (journal, records)
}

fn text(directory: &Path) -> String {
    fs::read_to_string(directory.join("journal")).unwrap().trim_end().to_string()
}

/// Returns the text of the journal with a fixed identity.
fn example(directory: &Path) -> String {
    let text = text(directory);
    let (header, rest) = text.split_once('\n').unwrap();
    let of_example = if header.contains("snapshot") { SNAPSHOT_HEADER } else { HEADER };
    assert_eq!(header.len() + 1, of_example.len());
    format!("{of_example}{rest}")
}

/// The exact file, which is also the example of the documentation.
#[test]
fn format_is_as_documented() {
    let directory = temp_dir();
    let (mut journal, _) = open(directory.path());
    commit(
        &mut journal,
        &[
            "2026-11-22T16:48:54.123Z ADDED Habitación 1",
            "2026-11-22T16:48:54.123Z ADDED Habitación 2",
        ],
    );
    commit(&mut journal, &["2026-11-22T16:50:01.007Z RESERVED #1 Habitación 1"]);
    journal.seal().unwrap();
    let events = example(directory.path());
    journal.begin_snapshot().unwrap();
    journal.snapshot_append("2026-11-22T17:00:00.000Z ADDED Habitación 1");
    journal.snapshot_append("2026-11-22T17:00:00.000Z ADDED Habitación 2");
    journal.snapshot_append(
        "2026-11-22T17:00:00.000Z RESERVED #1 Habitación 1 from=2026-11-22T16:50:01.007Z",
    );
    journal.snapshot_append("2026-11-22T17:00:00.000Z NUMBERED #1");
    journal.finish_snapshot(3).unwrap();
    commit(&mut journal, &["2026-11-22T17:02:33.480Z CANCELLED #1"]);
    journal.seal().unwrap();
    let compacted = example(directory.path());
    println!("{events}\n\n{compacted}");
    let docs = include_str!("../../docs/journal.md");
    for example in [events, compacted] {
        assert!(docs.contains(&format!("```text\n{example}\n")), "not in the docs:\n{example}");
    }
}

#[test]
fn committed_records_are_replayed_after_a_restart() {
    let directory = temp_dir();
    let (mut journal, records) = open(directory.path());
    assert!(records.is_empty());
    commit(&mut journal, &["a", "b"]);
    commit(&mut journal, &["c"]);
    drop(journal);
    let (mut journal, records) = open(directory.path());
    assert_eq!(records, ["1 a", "2 b", "3 c"]);
    assert_eq!((journal.last_number(), journal.base_number()), (3, 0));
    journal.begin_snapshot().unwrap();
    journal.snapshot_append("a+b+c");
    assert!(journal.snapshot_buffered_bytes() > 0);
    while journal.snapshot_flush(10).unwrap() > 0 {}
    commit(&mut journal, &["d"]);
    journal.snapshot_append("+d");
    journal.finish_snapshot(4).unwrap();
    assert_eq!((journal.base_number(), journal.bytes_since_snapshot()), (4, 0));
    assert_eq!(journal.snapshot_bytes(), journal.used_bytes());
    commit(&mut journal, &["e"]);
    assert!(journal.bytes_since_snapshot() > 0);
    drop(journal);
    let (journal, records) = open(directory.path());
    assert_eq!(records, ["snap 1 a+b+c", "snap 2 +d", "base 4", "5 e"]);
    assert_eq!((journal.last_number(), journal.base_number()), (5, 4));
    assert!(!directory.path().join("journal.new").exists());
}

#[test]
fn abandoned_snapshot_leaves_no_file() {
    let directory = temp_dir();
    let (mut journal, _) = open(directory.path());
    commit(&mut journal, &["a"]);
    journal.begin_snapshot().unwrap();
    journal.snapshot_append("half");
    journal.snapshot_flush(usize::MAX).unwrap();
    journal.abandon_snapshot().unwrap();
    journal.abandon_snapshot().unwrap();
    assert!(!directory.path().join("journal.new").exists());
    commit(&mut journal, &["b"]);
    drop(journal);
    assert_eq!(open(directory.path()).1, ["1 a", "2 b"]);
}

#[test]
fn leftover_snapshot_is_removed() {
    let directory = temp_dir();
    let (mut journal, _) = open(directory.path());
    commit(&mut journal, &["a"]);
    journal.begin_snapshot().unwrap();
    journal.snapshot_flush(usize::MAX).unwrap();
    drop(journal);
    assert!(directory.path().join("journal.new").exists());
    assert_eq!(open(directory.path()).1, ["1 a"]);
    assert!(!directory.path().join("journal.new").exists());
}

#[test]
fn leftover_without_a_journal_is_kept() {
    let directory = temp_dir();
    let storage = DiskStorage::lock(directory.path()).unwrap();
    fs::write(directory.path().join("journal.new"), "x").unwrap();
    let Err(error) = replay(storage, SyncPolicy::Always) else { panic!("opened") };
    assert!(matches!(error, Error::OnlyLeftover { .. }), "{error}");
    assert!(
        directory.path().join("journal.new").exists() && !directory.path().join("journal").exists()
    );
}

#[test]
fn files_are_readable_by_the_owner_only() {
    let directory = temp_dir();
    let state = directory.path().join("state");
    let deep = state.join("reservad");
    let (mut journal, _) = open(&deep);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&deep.join("journal")), 0o600);
    assert_eq!(mode(&deep.join(LOCK_FILE)), 0o600);
    journal.begin_snapshot().unwrap();
    journal.finish_snapshot(0).unwrap();
    assert_eq!(mode(&deep.join("journal")), 0o600);
}

#[test]
fn directory_is_locked_by_one_process() {
    let directory = temp_dir();
    let (journal, _) = open(directory.path());
    let error = DiskStorage::lock(directory.path()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains("another process uses this data directory"), "{error}");
    drop(journal);
    assert!(directory.path().join(LOCK_FILE).exists(), "the lock file stays");
    open(directory.path());
}

#[test]
fn check_needs_no_lock_and_creates_nothing() {
    let directory = temp_dir();
    let data = directory.path().join("data");
    let report = check(&DiskStorage::at(&data), |_| Ok(())).unwrap();
    assert!(report.fresh && !data.exists());
    let (mut journal, _) = open(&data);
    commit(&mut journal, &["a"]);
    let report = check(&DiskStorage::at(&data), |_| Ok(())).unwrap();
    assert_eq!((report.last_number, report.bad), (1, None));
    assert_eq!(report.end_bytes, journal.used_bytes());
}

/// A journal that the server truncates while it is copied, because a compaction has replaced it.
struct Replaced {
    content: Vec<u8>,
    /// The number of opened files that are truncated.
    cut: usize,
    opened: Cell<usize>,
}

struct ReplacedFile {
    content: Vec<u8>,
    size: u64,
}

impl StorageFile for ReplacedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.content.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        panic!("a backup has written to its source")
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        panic!("a backup has cut its source")
    }

    fn sync_data(&self) -> io::Result<()> {
        panic!("a backup has synced its source")
    }
}

impl Storage for Replaced {
    type File = ReplacedFile;

    fn open(&self, _: &str) -> io::Result<Option<ReplacedFile>> {
        panic!("a backup has opened its source to write")
    }

    fn open_to_read(&self, _: &str) -> io::Result<Option<ReplacedFile>> {
        let opened = self.opened.replace(self.opened.get() + 1);
        let size = self.content.len() as u64;
        let mut content = self.content.clone();
        if opened <= self.cut {
            content.truncate(content.len() / 2);
        }
        Ok(Some(ReplacedFile { content, size }))
    }

    fn create(&self, _: &str) -> io::Result<ReplacedFile> {
        panic!("a backup has created something beside its source")
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        panic!("a backup has renamed something beside its source")
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        panic!("a backup has removed something beside its source")
    }

    fn sync_directory(&self) -> io::Result<()> {
        panic!("a backup has synced its source")
    }

    fn path_of(&self, name: &str) -> String {
        format!("replaced/{name}")
    }
}

#[test]
fn backup_starts_again_when_its_source_is_truncated() {
    let directory = temp_dir();
    let (mut journal, _) = open(&directory.path().join("source"));
    commit(&mut journal, &["a", "b"]);
    commit(&mut journal, &["c"]);
    let content = text(&directory.path().join("source")) + "\n";
    for cut in [0, 1, 3, 9] {
        let to = directory.path().join(format!("{cut}"));
        let source = Replaced { content: content.clone().into_bytes(), cut, opened: Cell::new(0) };
        let mut records = 0;
        let done = backup(&source, &to, |_| {
            records += 1;
            Ok(())
        });
        match done {
            Ok(Backup { source, copy }) => {
                assert_eq!((copy.last_number, copy.is_sealed, records), (3, true, 3));
                assert_eq!((source.is_sealed, copy.id), (false, Some(journal.id())));
                assert!(text(&to).starts_with(content.trim_end()));
            }
            Err(error) => {
                assert!(error.to_string().contains("became shorter"), "{error}");
                assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
            }
        }
        assert_eq!(to.join("journal").exists(), cut < 9, "cut {cut} times");
    }
}

#[test]
fn backup_whose_events_are_rejected_gets_no_name() {
    let directory = temp_dir();
    let (mut journal, _) = open(&directory.path().join("source"));
    commit(&mut journal, &["a"]);
    let to = directory.path().join("copy");
    let source = DiskStorage::at(directory.path().join("source"));
    let error = backup(&source, &to, |_| Err("no such room".into())).unwrap_err();
    assert!(error.to_string().contains("source/journal: byte "), "{error}");
    assert!(error.to_string().contains("no such room"), "{error}");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
}

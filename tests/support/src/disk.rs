//! The files of a data directory as tests read them, small disks, and servers under strace.

use std::path::Path;
use std::process::{Command, Stdio};

use reservad::inventory::{Capacity, Inventory};
use reservad::journal::{self, DiskStorage};
use reservad::store;
use reservad::time::{Time, parse_utc};

use super::skip::skip;
use super::{Server, has, program, temp_dir};
use tempfile::TempDir;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Reads the journal's events with their numbers, without the server's own parser. Checks that
/// numbers have no gaps and times never decrease.
pub fn events(directory: &Path) -> Vec<(u64, String)> {
    history(directory).0
}

/// Reads the events since the last compaction, and the number of the last event.
pub fn history(directory: &Path) -> (Vec<(u64, String)>, u64) {
    let text = std::fs::read_to_string(directory.join("journal")).unwrap();
    let mut lines = text.trim_end_matches('\n').lines();
    assert!(lines.next().unwrap().starts_with("reservad-journal 3 "));
    let mut events = Vec::new();
    let (mut snapped, mut last, mut last_time) = (0, 0, Time::MIN);
    while let Some(line) = lines.next() {
        let (_, body) = line.split_once('\t').expect("a line with a checksum");
        let words: Vec<_> = line[..8].split(' ').chain(body.split(' ')).collect();
        let number: u64 = words[2].parse().unwrap();
        match words[1] {
            "snap" => {
                snapped += 1;
                assert_eq!(number, snapped, "{line}");
            }
            "end" => {
                assert_eq!(number, snapped, "{line}");
                last = words[3].parse().unwrap();
            }
            "commit" => {
                assert_eq!(number, last + 1, "a gap in the events: {line}");
                let mut bytes: usize = words[3].parse().unwrap();
                let mut first_word = "";
                while bytes > 0 {
                    let line = lines.next().unwrap();
                    bytes -= line.len() + 1;
                    let text = match line.strip_prefix('"') {
                        Some(rest) => format!("{first_word}{rest}"),
                        None => {
                            first_word = line.split(' ').next().unwrap();
                            line.to_owned()
                        }
                    };
                    let (time, _) = stamped(&text);
                    assert!(last_time <= time, "the time decreases: {line}");
                    last_time = time;
                    last += 1;
                    events.push((last, text));
                }
            }
            "seal" => {
                assert_eq!((number, lines.next()), (last, None), "{line}");
            }
            other => panic!("{other}: {line}"),
        }
    }
    (events, last)
}

/// Returns whether the journal with this text begins with a snapshot.
pub fn is_compacted(journal: &str) -> bool {
    journal.lines().next().is_some_and(|header| header.contains(" snapshot "))
}

/// Splits an event into its time and the rest.
pub fn stamped(event: &str) -> (Time, &str) {
    let (stamp, rest) = event.split_once(' ').unwrap();
    (parse_utc(stamp).unwrap(), rest)
}

/// Replays the journal in a directory and checks all invariants of the inventory.
pub fn check_replay(directory: &Path) {
    let mut inventory = Inventory::new(CAPACITY);
    let report = journal::check(&DiskStorage::at(directory), |record| {
        store::replay(&mut inventory, record).map(|_| ())
    });
    assert_eq!(report.unwrap().bad, None);
    inventory.check();
}

pub const CAPACITY: Capacity = Capacity { resources: 1 << 20, reservations: 1 << 20 };

/// Returns whether strace works on this machine, and records the calling test as skipped if not.
pub fn can_trace() -> bool {
    if !has("strace") {
        return false;
    }
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output().unwrap();
    if !tried.status.success() {
        skip(format_args!("strace does not work: {}", text(&tried.stderr)));
    }
    tried.status.success()
}

/// Starts the server under strace, which writes to `trace`. The server remains a child of the test.
pub fn traced(directory: &Path, trace: &Path, options: &[&str], arguments: &[&str]) -> Server {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-ttt", "-o", text_of(trace)]).args(options);
    strace.arg(program("reservad"));
    strace.args([
        "--data-dir",
        text_of(directory),
        "--listen",
        "127.0.0.1:0",
        "--time-zone",
        "UTC",
    ]);
    strace.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    Server::spawn(&mut strace)
}

/// A small tmpfs, which is unmounted when the value is dropped.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts a file system, or records the calling test as skipped.
    pub fn new(bytes: usize) -> Option<SmallDisk> {
        let directory = temp_dir();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none", text_of(directory.path())]);
        match mount.output() {
            Ok(done) if done.status.success() => Some(SmallDisk(directory)),
            Ok(done) => {
                skip(format_args!("mount: {}", text(&done.stderr).trim()));
                None
            }
            Err(error) => {
                skip(format_args!("mount: {error}"));
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

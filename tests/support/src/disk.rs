//! The server's files as the tests look at them, and disks that are small or fail.

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

/// The journal's events by number, read without the program's own reader.
/// Their numbers have no gaps, in a snapshot too, and their times never go back.
pub fn events(folder: &Path) -> Vec<(u64, String)> {
    history(folder).0
}

/// The events since the last compaction, and the number of the last event of all.
pub fn history(folder: &Path) -> (Vec<(u64, String)>, u64) {
    let text = std::fs::read_to_string(folder.join("journal")).unwrap();
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
                    assert!(last_time <= time, "time goes back: {line}");
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

/// The stamp of an event and what follows it.
pub fn stamped(event: &str) -> (Time, &str) {
    let (stamp, rest) = event.split_once(' ').unwrap();
    (parse_utc(stamp).unwrap(), rest)
}

/// Replays the journal of a folder and checks every invariant.
pub fn check_replay(folder: &Path) {
    let mut inventory = Inventory::new(CAPACITY);
    let report = journal::check(&DiskStorage::at(folder), |record| {
        store::replay(&mut inventory, record).map(|_| ())
    });
    assert_eq!(report.unwrap().bad, None);
    inventory.check();
}

pub const CAPACITY: Capacity = Capacity { resources: 1 << 20, reservations: 1 << 20 };

/// Whether strace can trace here.
pub fn can_trace() -> bool {
    if !has("strace") {
        return false;
    }
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output().unwrap();
    if !tried.status.success() {
        skip(format_args!("strace may not trace here: {}", text(&tried.stderr)));
    }
    tried.status.success()
}

/// The server under strace, which writes to `trace`. It stays our child.
pub fn traced(folder: &Path, trace: &Path, options: &[&str], arguments: &[&str]) -> Server {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-ttt", "-o", text_of(trace)]).args(options);
    strace.arg(program("reservad"));
    strace.args(["--data-dir", text_of(folder), "--listen", "127.0.0.1:0", "--time-zone", "UTC"]);
    strace.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    Server::spawn(&mut strace)
}

/// A file system in memory that goes with the test.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    pub fn new(bytes: usize) -> Option<SmallDisk> {
        let folder = temp_dir();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none", text_of(folder.path())]);
        match mount.output() {
            Ok(done) if done.status.success() => Some(SmallDisk(folder)),
            Ok(done) => {
                skip(format_args!("mount says {}", text(&done.stderr).trim()));
                None
            }
            Err(error) => {
                skip(format_args!("mount: {error}"));
                None
            }
        }
    }
}

impl SmallDisk {
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

//! The descendants of a process, found in `/proc`, and signals for them.
//!
//! A process group is not enough, because `setsid`, a shell with job control and every daemon leave
//! it. A process cannot leave its ancestors: if it loses its parent, it becomes a child of the
//! nearest ancestor that is a subreaper, as the keeper is (`keeper.rs`).
//!
//! A scan of `/proc` is not a snapshot. Processes that are created or orphaned during the scan may
//! be missing. So scans are repeated to find processes to signal, and never used to conclude that
//! none is left. For that, the subreaper must have no child left.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// A living process.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: Pid,
    /// Start time in clock ticks since the boot. Distinguishes this process from a later one with
    /// the same number.
    start: u64,
    pub name: String,
}

/// An error for a process that must not be signalled, because it belongs to another user.
#[derive(Debug, PartialEq, Eq)]
pub struct NotPermitted;

impl Process {
    /// Sends a signal. A process that has ended meanwhile is not an error.
    pub fn signal(&self, signal: Signal) -> Result<(), NotPermitted> {
        let sent = match pidfd_open(self.pid, PidfdFlags::empty()) {
            // The number was reused.
            Ok(_) if Stat::read(self.pid).is_none_or(|stat| stat.start != self.start) => Ok(()),
            Ok(handle) => pidfd_send_signal(handle, signal),
            Err(Errno::SRCH) => Ok(()),
            // There is no descriptor left, or the kernel is too old.
            Err(_) => kill_process(self.pid, signal),
        };
        match sent {
            Err(Errno::PERM) => Err(NotPermitted),
            _ => Ok(()),
        }
    }
}

/// Returns the living descendants of `root`, without `root`, or none if `/proc` cannot be read.
pub fn descendants(root: Pid) -> Vec<Process> {
    let all = stats().unwrap_or_default();
    let parents: HashMap<i32, i32> = all.iter().map(|stat| (stat.pid, stat.parent)).collect();
    let root = root.as_raw_pid();
    let mut known: HashMap<i32, bool> = HashMap::from([(root, true)]);
    all.into_iter()
        .filter(|stat| {
            stat.is_alive && stat.pid != root && descends(stat.pid, &parents, &mut known)
        })
        .filter_map(|stat| {
            Some(Process { pid: Pid::from_raw(stat.pid)?, start: stat.start, name: stat.name })
        })
        .collect()
}

/// Returns whether the ancestors of a process include the root. `known` contains the root and the
/// results so far.
fn descends(pid: i32, parents: &HashMap<i32, i32>, known: &mut HashMap<i32, bool>) -> bool {
    let (mut at, mut path) = (pid, HashSet::new());
    let descends = loop {
        if let Some(answer) = known.get(&at) {
            break *answer;
        }
        // Numbers that were reused during the scan can form a cycle.
        match parents.get(&at) {
            Some(parent) if path.insert(at) => at = *parent,
            _ => break false,
        }
    };
    known.extend(path.into_iter().map(|at| (at, descends)));
    descends
}

/// Returns whether a process has children, including zombies.
pub fn has_children(pid: Pid) -> bool {
    let all = stats().unwrap_or_default();
    all.iter().any(|stat| stat.parent == pid.as_raw_pid())
}

/// Some fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    start: u64,
    is_alive: bool,
    name: String,
}

impl Stat {
    fn read(pid: Pid) -> Option<Self> {
        // The name of a process need not be UTF-8.
        Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses `PID (NAME) STATE PARENT …`. The name may contain any character and ends at the last
    /// `)`.
    fn parse(line: &[u8]) -> Option<Self> {
        let (open, close) =
            (line.iter().position(|b| *b == b'(')?, line.iter().rposition(|b| *b == b')')?);
        let pid = str::from_utf8(&line[..open]).ok()?.trim().parse().ok()?;
        let name = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
        let rest = str::from_utf8(&line[close + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let parent = fields.get(1)?.parse().ok()?;
        let threads: u64 = fields.get(17)?.parse().ok()?;
        let start = fields.get(19)?.parse().ok()?;
        // A process whose main thread has ended looks dead while its other threads still run.
        let is_alive = !matches!(*fields.first()?, "Z" | "X") || threads > 1;
        Some(Stat { pid, parent, start, is_alive, name })
    }
}

fn stats() -> io::Result<Vec<Stat>> {
    let processes = fs::read_dir("/proc")?.flatten();
    let parse = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name.as_encoded_bytes().first()?.is_ascii_digit().then_some(())?;
        Stat::parse(&fs::read(entry.path().join("stat")).ok()?)
    };
    Ok(processes.filter_map(parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a line of `/proc/PID/stat` up to the start time.
    fn line(head: &str, threads: u32) -> Vec<u8> {
        format!("{head} 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 {threads} 0 777 0").into_bytes()
    }

    #[test]
    fn stat_with_any_name_is_parsed() {
        let cases = [
            ("5 (sh) S 7", 1, true),
            ("5 (a) Z 1 7 (b) R 7", 1, true),
            ("5 ( ) ( x) T 7", 1, true),
            ("5 (sh) Z 7", 1, false),
            ("5 (main thread ended) Z 7", 2, true),
            ("5 (sh) X 7", 0, false),
        ];
        for (head, threads, is_alive) in cases {
            let stat = Stat::parse(&line(head, threads)).expect(head);
            assert_eq!((stat.pid, stat.parent, stat.start), (5, 7, 777), "{head}");
            assert_eq!(stat.is_alive, is_alive, "{head}");
        }
        for bad in [&b""[..], b"5", b"5 (x", b") (", b"5 (x) S"] {
            assert_eq!(Stat::parse(bad), None);
        }
    }

    #[test]
    fn only_descendants_of_the_root_are_found() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (8, 9), (9, 8)]);
        for (pid, expected) in [(3, true), (4, true), (5, false), (8, false), (77, false)] {
            let mut known = HashMap::from([(2, true)]);
            assert_eq!(descends(pid, &parents, &mut known), expected, "{pid}");
        }
    }
}

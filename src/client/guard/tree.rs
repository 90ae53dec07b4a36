//! The descendants of a process: who they are, and signals for all of them.
//!
//! A process group is not enough: `setsid`, a shell with job control and every daemon leave it.
//! What nobody can leave is the descent: whoever loses its parent becomes a child of the nearest
//! ancestor that is a subreaper, which the keeper is (`keeper.rs`).
//!
//! A scan of `/proc` is no snapshot: who is born or orphaned while it runs may be missing. So it
//! serves to find whom to signal, again and again, and never to conclude that nobody is left;
//! that is said by the system alone, when the subreaper has no child any more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// A process that lives.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: Pid,
    /// When it was started, in ticks since the machine was. Tells it from a later process that
    /// was given the same number.
    start: u64,
    pub name: String,
}

/// The system does not let us signal a process: it runs as somebody else.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl Process {
    /// Sends it a signal. That it has ended meanwhile is no failure.
    pub fn signal(&self, signal: Signal) -> Result<(), Refused> {
        let sent = match pidfd_open(self.pid, PidfdFlags::empty()) {
            // The handle is that of the process which has the number now.
            Ok(_) if Stat::of(self.pid).is_none_or(|stat| stat.start != self.start) => Ok(()),
            Ok(handle) => pidfd_send_signal(handle, signal),
            Err(Errno::SRCH) => Ok(()),
            // No descriptor is left, or the system is too old.
            Err(_) => kill_process(self.pid, signal),
        };
        match sent {
            Err(Errno::PERM) => Err(Refused),
            _ => Ok(()),
        }
    }
}

/// The living descendants of `root`, without itself. Empty where `/proc` cannot be read.
pub fn descendants(root: Pid) -> Vec<Process> {
    let all = stats().unwrap_or_default();
    let parents: HashMap<i32, i32> = all.iter().map(|stat| (stat.pid, stat.parent)).collect();
    let root = root.as_raw_pid();
    let mut known: HashMap<i32, bool> = HashMap::from([(root, true)]);
    all.into_iter()
        .filter(|stat| stat.lives && stat.pid != root && descends(stat.pid, &parents, &mut known))
        .filter_map(|stat| {
            Some(Process { pid: Pid::from_raw(stat.pid)?, start: stat.start, name: stat.name })
        })
        .collect()
}

/// Whether this process has the known root among its ancestors.
fn descends(pid: i32, parents: &HashMap<i32, i32>, known: &mut HashMap<i32, bool>) -> bool {
    let (mut at, mut path) = (pid, HashSet::new());
    let descends = loop {
        if let Some(answer) = known.get(&at) {
            break *answer;
        }
        // Numbers given again while they were read could make a circle.
        match parents.get(&at) {
            Some(parent) if path.insert(at) => at = *parent,
            _ => break false,
        }
    };
    known.extend(path.into_iter().map(|at| (at, descends)));
    descends
}

/// Whether this process has children, dead ones included.
pub fn has_children(pid: Pid) -> bool {
    let all = stats().unwrap_or_default();
    all.iter().any(|stat| stat.parent == pid.as_raw_pid())
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    start: u64,
    lives: bool,
    name: String,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        // Bytes: the name of a process is any bytes.
        Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `PID (NAME) STATE PARENT …`; the name may be anything and ends with the last `)`.
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
        // A process whose first thread has ended looks dead while its other threads work.
        let lives = !matches!(*fields.first()?, "Z" | "X") || threads > 1;
        Some(Stat { pid, parent, start, lives, name })
    }
}

fn stats() -> io::Result<Vec<Stat>> {
    let processes = fs::read_dir("/proc")?.flatten();
    let of = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name.as_encoded_bytes().first()?.is_ascii_digit().then_some(())?;
        Stat::parse(&fs::read(entry.path().join("stat")).ok()?)
    };
    Ok(processes.filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of `/proc/PID/stat` up to the time of the start.
    fn line(head: &str, threads: u32) -> Vec<u8> {
        format!("{head} 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 {threads} 0 777 0").into_bytes()
    }

    #[test]
    fn stat_is_read_behind_any_name() {
        let rows = [
            ("5 (sh) S 7", 1, true),
            ("5 (a) Z 1 7 (b) R 7", 1, true),
            ("5 ( ) ( x) T 7", 1, true),
            ("5 (sh) Z 7", 1, false),
            ("5 (main thread ended) Z 7", 2, true),
            ("5 (sh) X 7", 0, false),
        ];
        for (head, threads, lives) in rows {
            let stat = Stat::parse(&line(head, threads)).expect(head);
            assert_eq!((stat.pid, stat.parent, stat.start), (5, 7, 777), "{head}");
            assert_eq!(stat.lives, lives, "{head}");
        }
        for bad in [&b""[..], b"5", b"5 (x", b") (", b"5 (x) S"] {
            assert_eq!(Stat::parse(bad), None);
        }
    }

    #[test]
    fn descent_is_followed_to_the_root_and_no_further() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (8, 9), (9, 8)]);
        for (pid, expected) in [(3, true), (4, true), (5, false), (8, false), (77, false)] {
            let mut known = HashMap::from([(2, true)]);
            assert_eq!(descends(pid, &parents, &mut known), expected, "{pid}");
        }
    }
}

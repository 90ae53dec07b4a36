//! Keeps the rooms apart: each file may name only the rooms that
//! docs/architecture.md gives it, and only some may touch the world.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Room, the rooms it may name, and the outside words it may use.
const ROOMS: [(&str, &[&str], &[&str]); 10] = [
    ("limits", &[], &[]),
    ("text", &["limits"], &[]),
    ("time", &["text", "limits"], &["jiff", "rustix", "SystemTime"]),
    ("inventory", &["text", "time", "limits"], &["hashbrown", "unicode_normalization"]),
    ("conn", &["limits"], &[]),
    ("commands", &["text", "time", "conn", "inventory", "limits"], &[]),
    ("journal", &[], &["crc32fast", "rustix", "std::fs"]),
    ("store", &["time", "commands", "inventory", "journal", "limits"], &["std::fs"]),
    (
        "service",
        &["time", "commands", "conn", "inventory", "journal", "limits", "store"],
        &["log", "slab"],
    ),
    (
        "reactor",
        &["time", "commands", "inventory", "journal", "limits", "service", "store"],
        &["log", "mio", "rustix", "signal_hook", "std::fs", "std::net"],
    ),
];

/// Words of the outside world that not every room may use.
const WORLD: [&str; 12] = [
    "jiff",
    "rustix",
    "SystemTime",
    "hashbrown",
    "unicode_normalization",
    "crc32fast",
    "log",
    "mio",
    "signal_hook",
    "slab",
    "std::fs",
    "std::net",
];

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of each room, without comments and unit tests.
fn code() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&source, &mut paths);
    paths.retain(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    let mut rooms: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for path in paths {
        let inner = path.strip_prefix(&source).unwrap().with_extension("");
        let room = inner.iter().next().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let lines = lines.collect::<Vec<_>>().join("\n");
        rooms.entry(room).or_default().push((path, lines));
    }
    rooms
}

/// Whether a word stands in the code as a path's beginning.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + word.len()..];
        let apart = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        apart && (after.starts_with("::") || (word.contains("::") || word == "SystemTime"))
    })
}

#[test]
fn modules_depend_only_on_modules_below() {
    let code = code();
    for (room, may, _) in ROOMS {
        for (path, text) in &code[room] {
            for (other, ..) in ROOMS {
                let named = text.contains(&format!("crate::{other}"))
                    || text.contains(&format!("crate::{{{other}"));
                assert!(
                    !named || other == room || may.contains(&other),
                    "{} names {other}; docs/architecture.md says what {room} may name",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn modules_use_only_their_external_crates() {
    let code = code();
    for (room, _, may) in ROOMS {
        for (path, text) in &code[room] {
            for word in WORLD {
                let is_local = text.contains(&format!("fn {word}"));
                assert!(
                    !names(text, word) || may.contains(&word) || is_local,
                    "{} uses {word}; docs/architecture.md says what {room} may use",
                    path.display()
                );
            }
        }
    }
}

/// Time is an argument everywhere else, so that tests and replay decide what
/// time it is.
#[test]
fn only_the_loop_and_the_program_read_clocks() {
    for (room, files) in code() {
        if ["time", "reactor", "startup", "offline", "client"].contains(&room.as_str()) {
            continue;
        }
        for (path, text) in files {
            let asks = text.contains("read_clocks") || text.contains("MonotonicMs::now");
            assert!(!asks, "{} reads a clock", path.display());
        }
    }
}

/// That the compiler is told; it sees more than a search would.
#[test]
fn unsafe_code_is_forbidden() {
    let manifest = include_str!("../Cargo.toml");
    assert!(manifest.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
}

#[test]
fn server_has_no_threads() {
    for (room, files) in code() {
        for (path, text) in files {
            let shown = path.display();
            let is_server = room != "client";
            assert!(!(is_server && text.contains("thread::")), "{shown} names a thread");
            assert!(!(is_server && text.contains("Mutex")), "{shown} names a lock");
        }
    }
}

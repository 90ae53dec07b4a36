//! Runs the fuzz targets over their corpora without a fuzzer. The corpora contain examples and all
//! inputs that ever failed. `fuzz/README.md` describes the properties that the targets check.

use std::fs;
use std::path::Path;

use reservad_fuzz as targets;

/// Runs a target over its corpus, in the order of the names.
fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).expect("the target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    for path in paths {
        let data = fs::read(&path).expect("a file of the corpus");
        if let Err(failure) = std::panic::catch_unwind(|| run(&data)) {
            eprintln!("in {}", path.display());
            std::panic::resume_unwind(failure);
        }
    }
}

#[test]
fn grammar() {
    replay("grammar", targets::grammar::run);
}

#[test]
fn framing() {
    replay("framing", targets::framing::run);
}

#[test]
fn journal() {
    replay("journal", targets::journal::run);
}

#[test]
fn commands() {
    replay("commands", targets::commands::run);
}

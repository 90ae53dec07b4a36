//! Records tests that cannot run here. The harness shows them as passed, so each is also recorded
//! in a file that the last test binary, `zz_skipped`, prints.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// Returns the path of the list of skipped tests.
pub fn notes() -> PathBuf {
    super::program_dir().join("skipped-tests")
}

/// Records that the calling test is skipped.
pub fn skip(why: impl Display) {
    println!("skipped: {why}");
    let file = std::env::current_exe().expect("the path of this test");
    let file = file.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
    let suite = file.rsplit_once('-').map_or(&*file, |(suite, _hash)| suite);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    let file = OpenOptions::new().create(true).append(true).open(notes());
    // A single write, because tests of several threads record at the same time.
    let line = format!("{suite}::{test}: {why}\n");
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a place for notes");
}

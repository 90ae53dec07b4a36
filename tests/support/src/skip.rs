//! Records the tests that cannot run on this machine. The test harness shows them as passed, so
//! each is also recorded in a file, which the last test binary, `zz_skipped`, prints.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use super::program_dir;

/// Returns the path of the list of skipped tests.
pub fn list_path() -> PathBuf {
    program_dir().join("skipped-tests")
}

/// Records the calling test as skipped.
pub fn skip(reason: impl Display) {
    println!("skipped: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    // A single write, because tests in several threads record at the same time.
    let line = format!("{}::{test}: {reason}\n", suite());
    let file = OpenOptions::new().create(true).append(true).open(list_path());
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("cannot record a skip");
}

/// Returns whether a test that cannot run is a failure, as in continuous integration.
pub fn is_forbidden() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Returns the name of the running test binary, without the hash that cargo appends.
fn suite() -> String {
    let path = std::env::current_exe().expect("the path of the running test");
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').map_or(&*name, |(suite, _hash)| suite).to_owned()
}

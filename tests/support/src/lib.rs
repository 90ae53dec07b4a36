//! The harness of the integration tests and the fuzz targets: real servers and clients on one side,
//! a simulated disk, a model and a generator of random commands on the other.
//!
//! No test sleeps and hopes. A server is ready when it logs its address, and a reply has arrived
//! when it was read. Every wait has a generous limit, [`PATIENCE`], that turns a hang into a
//! failure.

mod client;
pub mod dialog;
pub mod disk;
pub mod generator;
mod random;
pub mod reference;
mod server;
pub mod sim_disk;
pub mod skip;
pub mod terminal;
pub mod view;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

pub use client::{Client, narrow};
pub use random::{Rng, seed};
pub use server::{Server, command, fill_journal};
pub use tempfile::TempDir;

/// The time limit of every wait.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Returns a new directory that is removed when the value is dropped.
pub fn temp_dir() -> TempDir {
    // Reduced by the umask, as for any directory. By default nobody else could enter it.
    let permissions = Permissions::from_mode(0o777);
    let mut builder = tempfile::Builder::new();
    builder.prefix("reservad-test-").permissions(permissions).tempdir().expect("a new directory")
}

/// Returns the path of a program of this package, `reservad` or `reserva`.
///
/// `env!("CARGO_BIN_EXE_reservad")` is set for integration tests only, not for this crate.
pub fn program(name: &str) -> PathBuf {
    program_dir().join(name)
}

/// Returns the directory of the programs. The running test is in its subdirectory `deps`.
fn program_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    test.ancestors().nth(2).expect("two directories above the test").to_owned()
}

/// Waits for a process to end.
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `is_done` returns true. `condition` describes it in the failure's message.
pub fn until(condition: &str, mut is_done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        assert!(Instant::now() < deadline, "timed out: {condition}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns whether a program is installed, and records the calling test as skipped if not. With
/// `CI=true` a missing program is a failure.
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    });
    assert!(found || !skip::is_forbidden(), "{program} is missing; .ci/run installs it");
    if !found {
        skip::skip(format_args!("needs {program}"));
    }
    found
}

/// Returns a date in 2030 or later, a different one for each number.
pub fn day(number: usize) -> String {
    format!("{}-{:02}-{:02}", 2030 + number / 336, number / 28 % 12 + 1, number % 28 + 1)
}

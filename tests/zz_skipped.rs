//! Prints the tests that were skipped, with their reasons, because the test harness shows them as
//! passed. It runs after all other test binaries because of its name.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use support::skip;

fn main() {
    let text = match std::fs::read_to_string(skip::list_path()) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => panic!("{}: {error}", skip::list_path().display()),
    };
    let skipped: BTreeSet<_> = text.lines().collect();
    println!("\n{} tests were skipped\n", skipped.len());
    skipped.iter().for_each(|line| println!("  {line}"));
    if !text.is_empty() {
        std::fs::remove_file(skip::list_path()).expect("cannot remove the list");
    }
}

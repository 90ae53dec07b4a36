//! How long a journal of a million records takes to open.
//!
//! ```sh
//! cargo run --release --example replay_time -- FOLDER [RECORDS]
//! ```
//!
//! The folder must not exist; it is removed at the end.

use std::path::PathBuf;
use std::time::Instant;

use reservad::journal::{DiskStorage, Error, Journal, Record, SyncPolicy};

fn main() -> Result<(), Error> {
    let mut args = std::env::args();
    let folder =
        args.nth(1).map_or_else(|| std::env::temp_dir().join("replay_time"), PathBuf::from);
    let records = args.next().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    assert!(!folder.exists(), "{} exists", folder.display());
    write(&folder, records)?;
    for _ in 0..5 {
        let start = Instant::now();
        let (mut events, mut bytes) = (0u64, 0);
        let storage = DiskStorage::lock(&folder)?;
        let (journal, _) = Journal::open(storage, SyncPolicy::Never, |record| {
            if let Record::Event { payload, .. } = record {
                events += 1;
                bytes += payload.len();
            }
            Ok(())
        })?;
        let ms = start.elapsed().as_millis();
        let used = journal.used_bytes();
        println!("{events} records, {used} bytes in the file, {bytes} of them payload: {ms} ms");
    }
    std::fs::remove_dir_all(&folder).expect("removing the folder");
    Ok(())
}

/// Commits of one record, as under light load. Synced now and then, as with an interval.
fn write(folder: &PathBuf, records: u64) -> Result<(), Error> {
    let storage = DiskStorage::lock(folder)?;
    let (mut journal, _) = Journal::open(storage, SyncPolicy::Never, |_| Ok(()))?;
    for number in 1..=records {
        let room = number % 50 + 1;
        journal.append(
            number,
            &format!("2026-11-22T16:48:54.123Z RESERVED #{number} Habitación {room}"),
        );
        journal.commit()?;
        if number % 100_000 == 0 {
            journal.sync()?;
        }
    }
    Ok(())
}

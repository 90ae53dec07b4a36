//! The journal through its interface: what it writes, replays and survives.

mod crash;
mod faults;
mod files;
mod marker;
mod recovery;
mod sealing;

use reservad::journal::{Error, Journal, JournalId, Record, Report, Storage, SyncPolicy};
use support::sim_disk::SimDisk;

/// The identity in the headers of the files of tests.
pub const ID: JournalId = JournalId(0x0123_4567_89ab_cdef);
pub const HEADER: &str = "reservad-journal 3 0123456789abcdef 18901257\n";
pub const SNAPSHOT_HEADER: &str = "reservad-journal 3 0123456789abcdef snapshot 9713aa50\n";

/// Opens a journal. Returns the replayed records as text.
pub fn replay<S: Storage>(
    storage: S,
    policy: SyncPolicy,
) -> Result<(Journal<S>, Vec<String>, Report), Error> {
    let mut records = Vec::new();
    let (journal, report) = Journal::open(storage, policy, |record| {
        records.push(in_words(record));
        Ok(())
    })?;
    Ok((journal, records, report))
}

pub fn in_words(record: Record<'_>) -> String {
    match record {
        Record::Snapshot { number, payload } => format!("snap {number} {payload}"),
        Record::SnapshotEnd { base } => format!("base {base}"),
        Record::Event { number, payload } => format!("{number} {payload}"),
    }
}

/// Opens a journal with the given content.
pub fn replay_bytes(content: &[u8]) -> Result<(Vec<String>, Report), Error> {
    let disk = SimDisk::with("journal", content);
    replay(disk, SyncPolicy::Always).map(|(_, records, report)| (records, report))
}

/// Commits payloads together.
pub fn commit<S: Storage>(journal: &mut Journal<S>, payloads: &[&str]) {
    try_commit(journal, payloads).unwrap();
}

pub fn try_commit<S: Storage>(journal: &mut Journal<S>, payloads: &[&str]) -> Result<(), Error> {
    let ends = payloads.iter().scan(0, |end, payload| {
        *end += payload.len();
        Some(*end)
    });
    let ends: Vec<_> = ends.collect();
    journal.commit(journal.last_number() + 1, &payloads.concat(), ends.into_iter())
}

/// Returns a line with its checksum.
pub fn line(body: &str) -> String {
    format!("{:08x}\t{body}\n", crc32fast::hash(body.as_bytes()))
}

/// Returns a commit with these payloads, each line as it is.
pub fn written(first: u64, synced: u64, payloads: &[&str]) -> String {
    let lines: String = payloads.iter().map(|payload| format!("{payload}\n")).collect();
    let crc = crc32fast::hash(lines.as_bytes());
    line(&format!("commit {first} {} {crc:08x} @{synced}", lines.len())) + &lines
}

//! Comparison of the states on disk and in memory.

use std::fmt::Write;

use reservad::inventory::{Capacity, Event, Inventory, Number, ResourceId};
use reservad::journal::{self, JOURNAL_FILE, Record, Report};
use reservad::store;
use reservad::time::Time;

use support::sim_disk::SimDisk;

/// How connections appear in a dump.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// The connection to which a reservation is bound.
    Known,
    /// Only whether a reservation is bound, as after a restart.
    Bound,
}

/// Prints the state that must survive a restart, as [`support::reference::Model::dump`] does.
pub fn dump(inventory: &Inventory, sessions: Sessions) -> String {
    let mut text = format!("events {} numbers {}", inventory.last_event(), inventory.last_number());
    let texts = inventory.names().texts();
    let mut next = ResourceId(0);
    while let Some(id) = inventory.next_resource(next) {
        write!(text, "\n{}", texts.name(id)).unwrap();
        next = id.next();
    }
    let mut after = Number(0);
    while let Some(one) = inventory.next_reservation(after) {
        let names: Vec<_> = one.targets().iter().map(|id| texts.name(*id)).collect();
        let session = match (sessions, one.session()) {
            (Sessions::Known, session) => format!("{:?}", session.map(|session| session.0)),
            (Sessions::Bound, session) => format!("{}", session.is_some()),
        };
        let key = one.key().map(|key| &key.text);
        write!(
            text,
            "\n#{} {names:?} {} {} {} {session} {:?} {:?} {key:?} {:?}",
            one.number,
            one.from.ms(),
            one.until.ms(),
            one.lease,
            one.holder.as_deref(),
            one.note(),
            one.keep_alive().map(|it| it.ms),
        )
        .unwrap();
        after = one.number;
    }
    text
}

/// Checks each pair of reservations of a room for an overlap.
pub fn assert_no_overlap(inventory: &Inventory) {
    let mut all = Vec::new();
    let mut after = Number(0);
    while let Some(one) = inventory.next_reservation(after) {
        for other in &all {
            let other: &std::rc::Rc<reservad::inventory::Reservation> = other;
            let shared = one.targets().iter().any(|id| other.targets().contains(id));
            let apart = one.until <= other.from || other.until <= one.from;
            assert!(!shared || apart, "#{} and #{} overlap", one.number, other.number);
        }
        after = one.number;
        all.push(one.clone());
    }
}

/// Replays the live image of the disk, and checks that numbers have no gaps and times never
/// decrease.
pub fn replay(disk: &SimDisk) -> (Inventory, Report) {
    let mut inventory = Inventory::new(Capacity { resources: u32::MAX, reservations: u32::MAX });
    let mut last: Option<u64> = None;
    let mut time = Time::MIN;
    let report = journal::check(disk, |record| {
        match record {
            Record::SnapshotEnd { base } => last = Some(base),
            Record::Event { number, payload } => {
                assert!(last.is_none_or(|last| number == last + 1), "a gap before {number}");
                last = Some(number);
                let (at, _) =
                    Event::decode(payload, &inventory).map_err(|error| error.to_string())?;
                assert!(at >= time, "the time of event {number} is before the last one's");
                time = at;
            }
            Record::Snapshot { .. } => {}
        }
        store::replay(&mut inventory, record).map(|_| ())
    });
    (inventory, report.expect("a disk that can be read"))
}

/// Returns the last event in the durable or the live image of the journal, or 0.
pub fn journal_end(disk: &SimDisk, durable: bool) -> u64 {
    match durable {
        true => disk.with_durable(JOURNAL_FILE, last_event).unwrap_or(0),
        false => disk.with_live(JOURNAL_FILE, last_event).unwrap_or(0),
    }
}

fn last_event(bytes: &[u8]) -> u64 {
    const BLANK: [u8; 4096] = [b'\n'; 4096];
    let mut end = bytes.len();
    while end >= BLANK.len() && bytes[end - BLANK.len()..end] == BLANK {
        end -= BLANK.len();
    }
    let text = &bytes[..end];
    let mut line_end = text.len();
    // Search backwards for the header of the last commit, or the end of the snapshot.
    loop {
        let start = text[..line_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = str::from_utf8(&text[start..line_end]).unwrap_or_default();
        let words: Vec<_> = line.split([' ', '\t']).take(4).collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        match words.get(1) {
            Some(&"commit") if line.get(8..9) == Some("\t") => {
                let (Some(first), Some(count)) = (number(2), number(3)) else { return 0 };
                let lines = bytes.get(line_end + 1..).and_then(|rest| rest.get(..count as usize));
                let Some(lines) = lines.filter(|lines| !lines.contains(&0)) else { return 0 };
                return first + lines.iter().filter(|byte| **byte == b'\n').count() as u64 - 1;
            }
            Some(&"end") if line.get(8..9) == Some("\t") => return number(3).unwrap_or(0),
            _ if start == 0 => return 0,
            _ => line_end = start - 1,
        }
    }
}

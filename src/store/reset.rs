//! Moves the time of a journal back to the present, for `reservad reset-time`.

use super::Store;
use crate::inventory::{Capacity, Number};
use crate::journal::{Error, Report, Storage, SyncPolicy};
use crate::limits::COMPACT_PIECE_BYTES;
use crate::time::Time;

/// The result of [`reset_time`].
#[derive(Debug)]
pub struct Reset {
    pub report: Report,
    /// The last time in the journal before the call.
    pub last_time: Time,
    /// The reservations that were moved; `None` if the journal was not ahead and was not
    /// written.
    pub changed: Option<Vec<Number>>,
}

/// Moves the last time of a journal back to `now`, if it is later. Does this by a compaction,
/// because the only time in a snapshot is that of its writing. Numbers of reservations and events
/// continue.
///
/// # Errors
/// As [`Journal::open`](crate::journal::Journal::open), or the snapshot cannot be written. Then the
/// journal is as it was.
pub fn reset_time<S: Storage>(storage: S, now: Time) -> Result<Reset, Error> {
    let capacity = Capacity { resources: u32::MAX, reservations: u32::MAX };
    let (mut store, mut inventory, opened) = Store::open(storage, SyncPolicy::Always, capacity)?;
    let (report, last_time) = (opened.report, opened.last_time);
    if last_time <= now {
        return Ok(Reset { report, last_time, changed: None });
    }
    let changed = inventory.bring_back(last_time, now);
    loop {
        if let Some(error) = store.compact(&inventory, now, COMPACT_PIECE_BYTES)? {
            return Err(error);
        }
        if !store.is_compacting() {
            return Ok(Reset { report, last_time, changed: Some(changed) });
        }
    }
}

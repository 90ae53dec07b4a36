//! Compaction: writes a snapshot of the inventory in pieces while the server runs.
//!
//! It visits the resources and then the reservations, in order. If something behind the cursor
//! changes, the change is added as a further record; everything ahead of the cursor is visited in
//! its state at that time. So at its end the snapshot equals the inventory, and no turn has to wait
//! for all of it.

use crate::inventory::event::{Batch, Subject};
use crate::inventory::{Event, Inventory, Number, ResourceId};
use crate::journal::{Error, Log};
use crate::limits::{COMPACT_MOST_TIMES, COMPACT_SOON_MS};
use crate::time::Time;

/// Decides when to compact, and keeps the position of a compaction in progress.
pub(super) struct Compactor {
    cursor: Option<Cursor>,
    /// The next compaction starts when the log has grown by this.
    threshold_bytes: u64,
    /// The threshold unless compactions follow each other too soon.
    min_bytes: u64,
    /// When the last compaction ended.
    finished_at: Time,
    /// For the records; kept for its memory.
    text: String,
}

/// The position of a snapshot in the inventory.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// The next resource to visit.
    Resources(ResourceId),
    /// All resources are visited, and the reservations up to this one.
    Reservations(Number),
}

impl Cursor {
    /// Returns whether an event changes something that was already visited.
    fn is_behind(self, subject: Subject) -> bool {
        match (self, subject) {
            (Cursor::Resources(next), Subject::Name(id)) => id < next,
            (Cursor::Resources(_), _) => false,
            (_, Subject::NewName | Subject::Name(_)) => true,
            (Cursor::Reservations(last), Subject::Reservation(number)) => number <= last,
            // A new reservation has the highest number, so it is ahead.
            (_, Subject::NewReservation | Subject::Count) => false,
        }
    }

    /// Returns the event that creates the next item, if there is one here, and the cursor after it;
    /// `None` at the end.
    fn visit(self, inventory: &Inventory) -> Option<(Option<Event>, Cursor)> {
        match self {
            Cursor::Resources(next) => Some(match inventory.next_resource(next) {
                None => (None, Cursor::Reservations(Number(0))),
                Some(id) => {
                    let name = inventory.names().texts().name(id).to_owned();
                    (Some(Event::Added { name }), Cursor::Resources(id.next()))
                }
            }),
            Cursor::Reservations(last) => {
                let next = inventory.next_reservation(last)?;
                Some((Some(Event::Reserved(next.clone())), Cursor::Reservations(next.number)))
            }
        }
    }
}

impl Compactor {
    /// Returns a compactor that starts when a log has grown by `min_bytes`.
    pub fn new(min_bytes: u64) -> Compactor {
        Compactor {
            cursor: None,
            threshold_bytes: min_bytes,
            min_bytes,
            finished_at: Time::MIN,
            text: String::new(),
        }
    }

    /// Sets by how many bytes a log must grow before it is compacted.
    pub fn set_min_bytes(&mut self, min_bytes: u64) {
        self.min_bytes = min_bytes;
        self.threshold_bytes = min_bytes;
    }

    /// Returns whether a compaction is in progress.
    pub fn is_running(&self) -> bool {
        self.cursor.is_some()
    }

    /// Returns whether the log has grown enough, and more than two thirds of its events are
    /// history.
    pub fn is_due(&self, log: &impl Log, inventory: &Inventory) -> bool {
        let live = (inventory.names().len() + inventory.reservation_count()) as u64;
        let history = log.last_number() - log.base_number();
        log.bytes_since_snapshot() >= self.threshold_bytes && history > 2 * live
    }

    /// Adds the changes of a commit to the snapshot in progress, as far as they are behind the
    /// cursor.
    pub fn add_commit(&mut self, log: &mut impl Log, batch: &Batch) {
        if !log.has_snapshot() && self.cursor.take().is_some() {
            // The disk is full, and the commit has taken the space of the snapshot.
            self.threshold_bytes = 2 * log.bytes_since_snapshot();
        }
        let Some(cursor) = self.cursor else { return };
        for (_, parts) in batch.for_journal().filter(|(subject, _)| cursor.is_behind(*subject)) {
            self.text.clear();
            self.text.extend(parts);
            log.append_to_snapshot(&self.text);
        }
    }

    /// Starts a compaction, or does the next piece of it; see [`super::LogStore::compact`].
    pub fn run_piece(
        &mut self,
        log: &mut impl Log,
        inventory: &Inventory,
        now: Time,
        piece_bytes: usize,
    ) -> Result<Option<Error>, Error> {
        let next = match self.cursor {
            None => log.begin_snapshot().map(|()| Some(Cursor::Resources(ResourceId(0)))),
            Some(cursor) => self.write_piece(log, cursor, inventory, now, piece_bytes),
        };
        match next {
            Ok(cursor) => {
                self.cursor = cursor;
                if cursor.is_none() {
                    self.put_off_next(now);
                }
                Ok(None)
            }
            Err(error) if log.is_poisoned() => Err(error),
            Err(error) => {
                self.cursor = None;
                self.threshold_bytes = 2 * log.bytes_since_snapshot();
                Ok(Some(error))
            }
        }
    }

    /// Visits items until a piece is full, and writes it. After the last reservation the snapshot
    /// replaces the log.
    fn write_piece(
        &mut self,
        log: &mut impl Log,
        mut cursor: Cursor,
        inventory: &Inventory,
        now: Time,
        piece_bytes: usize,
    ) -> Result<Option<Cursor>, Error> {
        let full = log.buffered_snapshot_bytes() + piece_bytes;
        while log.buffered_snapshot_bytes() < full {
            let Some((event, next)) = cursor.visit(inventory) else {
                let last = inventory.last_number();
                self.add_record(log, inventory, now, &Event::Numbered { last });
                log.finish_snapshot(inventory.last_event())?;
                return Ok(None);
            };
            if let Some(event) = event {
                self.add_record(log, inventory, now, &event);
            }
            cursor = next;
        }
        // Writes everything, because the changes behind the cursor must not accumulate.
        log.flush_snapshot()?;
        Ok(Some(cursor))
    }

    fn add_record(&mut self, log: &mut impl Log, inventory: &Inventory, now: Time, event: &Event) {
        self.text.clear();
        inventory.encode(now, event, &mut self.text);
        log.append_to_snapshot(&self.text);
    }

    /// Sets the threshold of the next compaction: the minimum, or twice the last one if that was
    /// reached soon, because each compaction costs the same few syncs, which delay all clients.
    fn put_off_next(&mut self, now: Time) {
        let since_ms = now.ms().saturating_sub(self.finished_at.ms());
        self.threshold_bytes = match since_ms < COMPACT_SOON_MS {
            true => (2 * self.threshold_bytes).min(COMPACT_MOST_TIMES * self.min_bytes),
            false => self.min_bytes,
        };
        self.finished_at = now;
    }
}

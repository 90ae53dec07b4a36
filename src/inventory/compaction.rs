//! Compaction of resource ids: closes the gaps that removed resources leave, in pieces.

use std::rc::Rc;

use super::{Inventory, ResourceId};
use crate::limits::{COMPACT_IDS_MIN, COMPACT_IDS_WORK, NAMES_CHUNK};

/// The progress of a compaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdCompaction {
    /// The next chunk of names to fill. The ids before it have no gaps.
    chunk: usize,
    /// The first id that still has to move. All ids from the chunk up to here belong to removed
    /// resources.
    next: ResourceId,
    /// The number of ids at the end of the last piece.
    ids: usize,
}

impl Inventory {
    /// Returns whether at least half of the ids belong to removed resources and no compaction has
    /// begun.
    pub fn wants_compaction(&self) -> bool {
        self.compaction.is_none()
            && self.schedules.len() >= COMPACT_IDS_MIN
            && self.schedules.len() >= 2 * self.names.len()
    }

    /// Compacts ids once at least half of them belong to removed resources, one piece per call. Ids
    /// before the cursor are final; those behind it are still the old ones.
    ///
    /// Must not be called between a decision and its `apply`, nor while waiters are being tried.
    pub fn compact_ids(&mut self) {
        if self.is_behind() {
            return;
        }
        if self.wants_compaction() {
            self.names.start_compaction();
            let next = ResourceId(0);
            self.compaction = Some(IdCompaction { chunk: 0, next, ids: self.schedules.len() });
        }
        let Some(IdCompaction { ids, .. }) = self.compaction else { return };
        // The cursor must move faster than resources are added.
        let mut work = COMPACT_IDS_WORK + 2 * (self.schedules.len() - ids);
        while let Some(compaction) = self.compaction.take() {
            if work == 0 {
                self.compaction = Some(IdCompaction { ids: self.schedules.len(), ..compaction });
                return;
            }
            work = work.saturating_sub(self.fill_chunk(compaction));
        }
    }

    /// Moves live resources into the next chunk and returns the work.
    fn fill_chunk(&mut self, IdCompaction { chunk, next, ids }: IdCompaction) -> usize {
        let live: Vec<_> = self.ids_from(next).take(NAMES_CHUNK).collect();
        self.names.remap(chunk, &live);
        let mut work = live.len();
        for (new, old) in (chunk * NAMES_CHUNK..).map(ResourceId::at).zip(&live) {
            if new != *old {
                work += self.remap(*old, new);
            }
        }
        let Some(last) = live.last().filter(|_| live.len() == NAMES_CHUNK) else {
            let count = chunk * NAMES_CHUNK + live.len();
            self.names.truncate(count);
            self.schedules.truncate(count);
            self.truncate_queue(ResourceId::at(count));
            return work;
        };
        self.compaction = Some(IdCompaction { chunk: chunk + 1, next: last.next(), ids });
        // Skipping a gap is cheap.
        work + (last.next().0 - next.0) as usize / 16
    }

    /// Moves a resource to a lower id, which must be unused, and returns the work.
    fn remap(&mut self, old: ResourceId, new: ResourceId) -> usize {
        self.schedules.swap(old.index(), new.index());
        let mut bookings = 0;
        for booking in self.schedules[new.index()].iter() {
            bookings += 1;
            let Some(owner) = self.reservations.get_mut(&booking.number) else { continue };
            Rc::make_mut(owner).remap(old, new);
        }
        bookings + self.remap_waiters(old, new)
    }
}

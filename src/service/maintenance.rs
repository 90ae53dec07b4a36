//! Maintenance of the journal: syncs, seals, compaction, and the check of the data directory.

use log::{info, warn};

use super::engine::Engine;
use super::observer::Observer;
use crate::journal::{self, Storage};
use crate::limits::{COMPACT_AFTER, DIRECTORY_CHECK_MS, OLD_FILE_KEPT_MS, SEAL_AFTER_MS};
use crate::text::escape_for_log;
use crate::time::MonotonicMs;

/// When the next maintenance is due.
#[derive(Debug)]
pub struct Maintenance {
    /// When commits must be synced, with a sync interval.
    sync_at: Option<MonotonicMs>,
    /// The time of the last commit.
    committed_at: MonotonicMs,
    /// When the names in the data directory are checked next.
    check_directory_at: MonotonicMs,
    /// The time until which the file that a compaction has replaced stays whole.
    old_file_until: MonotonicMs,
    /// Events and replies of this turn.
    done_in_turn: usize,
    /// Events and replies since the last piece of a compaction.
    done_since_piece: usize,
}

impl Maintenance {
    pub fn new(now: MonotonicMs) -> Maintenance {
        Maintenance {
            sync_at: None,
            committed_at: now,
            check_directory_at: now,
            old_file_until: now,
            done_in_turn: 0,
            done_since_piece: 0,
        }
    }

    /// Counts the turn towards the next piece of a compaction. After a turn without clients a piece
    /// is due at once.
    pub fn finish_turn(&mut self) {
        let done = std::mem::take(&mut self.done_in_turn);
        self.done_since_piece += if done == 0 { COMPACT_AFTER } else { done };
    }

    /// Returns whether clients have had as much time since the last piece as a piece takes.
    fn may_compact(&self) -> bool {
        self.done_since_piece >= COMPACT_AFTER
    }
}

impl<S: Storage, O: Observer> Engine<S, O> {
    /// Prepares a commit. Returns whether there are events to commit.
    pub(super) fn prepare_commit(&mut self, replies: usize) -> Result<bool, journal::Error> {
        self.maintenance.done_in_turn += replies + self.batch.len();
        if self.batch.is_empty() {
            return Ok(false);
        }
        self.maintenance.committed_at = self.instant;
        // Before anything is written, because another server may be using the journal.
        self.check_directory()?;
        Ok(true)
    }

    /// Syncs commits whose interval is over.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn sync_if_due(&mut self) -> Result<(), journal::Error> {
        if self.maintenance.sync_at.is_some_and(|at| at <= self.instant) {
            self.store.sync()?;
            self.maintenance.sync_at = None;
        }
        if self.maintenance.sync_at.is_none() {
            let within_ms = self.store.sync_within_ms();
            self.maintenance.sync_at = within_ms.map(|ms| self.instant.plus_ms(ms));
        }
        Ok(())
    }

    /// Does a piece of maintenance, after all clients of a turn are served.
    ///
    /// # Errors
    /// The journal can no longer be trusted, and the caller must stop.
    pub fn maintain(&mut self, piece_bytes: usize) -> Result<(), journal::Error> {
        if self.may_shrink() {
            self.store.shrink_old_file();
        }
        self.check_directory()?;
        if self.batch.is_empty() && self.seal_at().is_some_and(|at| at <= self.instant) {
            self.store.seal()?;
        }
        if self.batch.is_empty()
            && self.maintenance.may_compact()
            && self.store.wants_compaction(&self.inventory)
        {
            self.compact(piece_bytes)?;
        }
        self.log_notices();
        Ok(())
    }

    /// Does one piece of a compaction.
    fn compact(&mut self, piece_bytes: usize) -> Result<(), journal::Error> {
        self.maintenance.done_since_piece = 0;
        let failed = self.store.compact(&self.inventory, self.now.wall, piece_bytes)?;
        if let Some(error) = failed {
            warn!("gave up compacting the journal: {}", escape_for_log(&error.to_string()));
        } else if !self.store.is_compacting() {
            self.maintenance.old_file_until = self.instant.plus_ms(OLD_FILE_KEPT_MS);
            info!("compacted the journal to {} bytes", self.store.journal_bytes());
        }
        Ok(())
    }

    /// Returns whether maintenance needs another turn at once.
    #[inline]
    pub fn has_maintenance(&self) -> bool {
        self.may_shrink() || self.store.wants_compaction(&self.inventory)
    }

    /// Returns when maintenance is due even if nothing happens.
    pub fn next_maintenance(&self) -> Option<MonotonicMs> {
        let old_file = self.store.has_old_file().then_some(self.maintenance.old_file_until);
        let next = crate::time::earlier(self.maintenance.sync_at, self.seal_at());
        crate::time::earlier(next, old_file)
    }

    /// Checks, once a minute at most, that the data directory is still this server's.
    fn check_directory(&mut self) -> Result<(), journal::Error> {
        if self.maintenance.check_directory_at <= self.instant {
            self.maintenance.check_directory_at = self.instant.plus_ms(DIRECTORY_CHECK_MS);
            self.store.confirm_directory()?;
        }
        Ok(())
    }

    /// Returns when to seal the journal; `None` if it must not be sealed now.
    #[inline]
    fn seal_at(&self) -> Option<MonotonicMs> {
        self.store.wants_seal().then(|| self.maintenance.committed_at.plus_ms(SEAL_AFTER_MS))
    }

    /// Returns whether the file that a compaction has replaced may be freed now.
    #[inline]
    fn may_shrink(&self) -> bool {
        let is_kept = || self.instant < self.maintenance.old_file_until;
        self.store.has_old_file()
            && (!is_kept()
                || self.store.is_old_file_small()
                || self.store.is_mostly_history(&self.inventory))
    }

    fn log_notices(&mut self) {
        for notice in self.store.take_notices() {
            warn!("{}", escape_for_log(&notice.to_string()));
        }
    }

    /// Commits the events of the start, and fills the journal's spare tail before the first client
    /// has to wait for it.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn prepare(&mut self) -> Result<(), journal::Error> {
        self.store.commit(&mut self.batch)?;
        self.store.fill_tail()
    }

    /// Makes everything durable and seals the journal when the server stops.
    ///
    /// # Errors
    /// The journal was deleted or cannot be written, or another server uses it.
    pub fn finish(&mut self) -> Result<(), journal::Error> {
        self.store.confirm_directory()?;
        self.log_notices();
        self.store.commit(&mut self.batch)?;
        self.store.sync()?;
        self.store.seal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_of_a_compaction_is_due_after_an_idle_turn_or_enough_work() {
        let mut maintenance = Maintenance::new(MonotonicMs(0));
        assert!(!maintenance.may_compact());
        maintenance.done_in_turn = COMPACT_AFTER / 2;
        maintenance.finish_turn();
        assert!(!maintenance.may_compact());
        maintenance.done_in_turn = COMPACT_AFTER / 2;
        maintenance.finish_turn();
        assert!(maintenance.may_compact());
        maintenance.done_since_piece = 0;
        maintenance.finish_turn();
        assert!(maintenance.may_compact(), "nobody was served");
    }
}

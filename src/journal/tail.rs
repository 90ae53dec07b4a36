//! The space after the last commit: allocation, so that a commit cannot run out of disk space half
//! way, and the spare tail of blank lines, which makes syncs cheaper.

use std::io;

use super::error::Action;
use super::storage::{Storage, StorageFile};
use super::{Error, Journal, SyncPolicy};

/// Size of the pieces in which blank space is written. A piece is on the stack.
const BLANK_PIECE_BYTES: usize = 16 * 1024;

impl<S: Storage> Journal<S> {
    /// Allocates disk space for a commit that ends at `end`, before any of it is written. If the
    /// disk is full, gives up a snapshot in progress and the file that the last one has replaced.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate(&mut self, end: u64) -> Result<(), Error> {
        let mut allocated = self.try_allocate(end);
        if allocated.as_ref().is_err_and(is_out_of_space) && self.give_up_space() {
            allocated = self.try_allocate(end);
        }
        self.or_poison(Action::AllocateSpace, allocated)
    }

    fn try_allocate(&mut self, end: u64) -> io::Result<()> {
        let from = self.allocated_bytes;
        // Up to a multiple of the step, because otherwise each commit without a spare tail would
        // need two system calls.
        let step = spare_end(&self.storage, end);
        for target in [step, end] {
            match self.file.allocate(from, target - from) {
                Ok(()) => {
                    self.allocated_bytes = target;
                    return Ok(());
                }
                Err(e) if target == step && is_full(&e) => {}
                Err(e) if e.kind() == io::ErrorKind::Unsupported => break,
                Err(e) => return Err(e),
            }
        }
        // Space that was written to is allocated as well.
        fill_blank(&self.file, &mut self.filled_bytes, step)?;
        self.allocated_bytes = self.allocated_bytes.max(self.filled_bytes);
        if self.allocated_bytes < end {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Fills the spare tail if less than half a step of it is left, so that later commits need not.
    /// Returns whether it did. Meant for idle moments, after a start or after replies were sent.
    ///
    /// With [`SyncPolicy::Always`] this ends with a sync; with the other policies the next sync
    /// covers it. An error poisons the journal.
    pub fn fill_tail(&mut self) -> Result<bool, Error> {
        self.check_health()?;
        let is_low = self.filled_bytes - self.end_bytes < self.storage.spare_step_bytes() / 2;
        if !is_low || self.policy == SyncPolicy::Never || !self.extend_tail()? {
            return Ok(false);
        }
        if self.policy == SyncPolicy::Always {
            self.sync_file()?;
        }
        Ok(true)
    }

    /// Extends the spare tail by at least half a step, up to a multiple of the step. Returns
    /// whether it grew: a disk that is too full is not an error, and without syncs a tail has no
    /// use.
    #[inline]
    pub(super) fn extend_tail(&mut self) -> Result<bool, Error> {
        if self.policy == SyncPolicy::Never {
            return Ok(false);
        }
        let before = self.filled_bytes;
        let target = spare_end(&self.storage, self.end_bytes);
        let result = fill_blank(&self.file, &mut self.filled_bytes, target);
        self.allocated_bytes = self.allocated_bytes.max(self.filled_bytes);
        self.or_poison(Action::FillTail, result)?;
        Ok(self.filled_bytes > before)
    }
}

/// Returns the first multiple of the step that leaves at least half a step after `end`.
pub(super) fn spare_end(storage: &impl Storage, end: u64) -> u64 {
    let step = storage.spare_step_bytes();
    (end + step / 2).next_multiple_of(step)
}

/// Writes blank space from `filled` up to `target`, and advances `filled`. Stops without an error
/// when the disk is full.
///
/// Never inlined, so that its buffer is not part of the stack frame of every commit.
#[cold]
#[inline(never)]
pub(super) fn fill_blank<F: StorageFile>(
    file: &F,
    filled: &mut u64,
    target: u64,
) -> io::Result<()> {
    let blank = [b'\n'; BLANK_PIECE_BYTES];
    while *filled < target {
        let count = blank.len().min((target - *filled) as usize);
        match file.write_fully(&blank[..count], *filled) {
            Ok(()) => *filled += count as u64,
            Err(e) if is_full(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Returns whether a file cannot grow, because the disk is full or a limit forbids it.
pub(super) fn is_full(e: &io::Error) -> bool {
    is_out_of_space(e) || e.kind() == io::ErrorKind::FileTooLarge
}

/// Returns whether freeing the space of another file could help.
fn is_out_of_space(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

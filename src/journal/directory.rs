//! Checks that the directory and the journal's name in it still belong to this process.

use super::error::Action;
use super::storage::{LockState, NameState, Storage};
use super::{Error, JOURNAL_FILE, Journal, LOCK_FILE, Notice};

impl<S: Storage> Journal<S> {
    /// Checks that this process still owns the directory, and that the journal has not been deleted
    /// or replaced under its name. Problems become a [`Notice`]. Meant to be called from time to
    /// time.
    ///
    /// # Errors
    /// [`Error::LockLost`], which poisons the journal.
    pub fn confirm_directory(&mut self) -> Result<(), Error> {
        self.check_health()?;
        if let Err(error) = self.may_replace()? {
            self.notices.push(Notice::Directory(error));
        }
        Ok(())
    }

    /// Checks whether a snapshot may replace the journal. Returns `Ok(Err(_))` if it may not now,
    /// and `Err` if another process owns the directory, which poisons the journal.
    pub(super) fn may_replace(&mut self) -> Result<Result<(), Error>, Error> {
        let lock = self.storage.path_of(LOCK_FILE);
        match self.storage.confirm_lock() {
            Ok(LockState::Held) => {}
            Ok(LockState::Retaken) => self.notices.push(Notice::LockRetaken { path: lock }),
            Ok(LockState::Lost) => {
                let error = Error::LockLost { path: lock };
                self.poisoned = Some(error.to_string());
                return Err(error);
            }
            Err(e) => return Ok(Err(Error::io(Action::CheckLock, lock, e))),
        }
        let path = self.storage.path_of(JOURNAL_FILE);
        match self.storage.compare(JOURNAL_FILE, &self.file) {
            Ok(NameState::Same) => Ok(Ok(())),
            Ok(NameState::Missing) => {
                self.notices.push(Notice::JournalMissing { path });
                Ok(Ok(()))
            }
            Ok(NameState::Other) => Ok(Err(Error::JournalReplaced { path })),
            Err(e) => Ok(Err(Error::io(Action::Find, path, e))),
        }
    }
}

//! The marker, a small file that records that a directory has a journal, and which one. A journal
//! that was deleted or emptied is thus not mistaken for a new directory.
//!
//! The marker is written after the journal, and removed before a new journal is created. A crash
//! can leave a journal without a marker, which the next open writes, but never a marker without a
//! journal.

use std::io;

use super::error::Action;
use super::storage::{Storage, StorageFile};
use super::{Error, JOURNAL_FILE, JournalId, NEW_JOURNAL_FILE, recover};

/// The name of the marker in the directory. It holds the journal's id and an LF.
pub const MARKER_FILE: &str = "journal.id";

const MARKER_BYTES: usize = 17;

/// The state of the marker beside the journal that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Good,
    /// It does not exist, or writing it was interrupted.
    Unwritten,
}

/// Removes the marker of a directory whose journal is missing or empty, so that a new journal can
/// be created. The caller must hold the lock of the directory.
///
/// # Errors
/// [`Error::NotNew`] if there is a journal, [`Error::OnlyLeftover`] if there is an
/// unfinished snapshot, [`Error::Io`].
pub fn begin_again(storage: &impl Storage) -> Result<(), Error> {
    let path = storage.path_of(JOURNAL_FILE);
    let found =
        storage.open_to_read(JOURNAL_FILE).map_err(|e| Error::io(Action::Open, &path, e))?;
    if let Some(file) = found {
        let report = recover::scan(&file, path.clone(), |_| Ok(()));
        if !report.map_err(|e| Error::io(Action::Read, &path, e))?.fresh {
            return Err(Error::NotNew { path });
        }
    }
    let leftover = storage.path_of(NEW_JOURNAL_FILE);
    let found = storage.open_to_read(NEW_JOURNAL_FILE);
    if found.map_err(|e| Error::io(Action::Open, &leftover, e))?.is_some() {
        return Err(Error::OnlyLeftover { path, leftover });
    }
    let marker = storage.path_of(MARKER_FILE);
    storage.remove(MARKER_FILE).map_err(|e| Error::io(Action::Remove, &marker, e))?;
    storage.sync_directory().map_err(|e| Error::io(Action::SyncDirectoryOf, &marker, e))
}

/// Reads the marker of the journal at `path`, whose id is `id` if it has one.
///
/// # Errors
/// [`Error::OtherJournal`] if the marker names another journal.
pub(super) fn check(
    storage: &impl Storage,
    path: &str,
    id: Option<JournalId>,
) -> Result<Marker, Error> {
    match (read(storage)?, id) {
        (Some(Some(wanted)), Some(found)) if wanted != found => Err(Error::OtherJournal {
            path: path.to_owned(),
            found,
            marker: storage.path_of(MARKER_FILE),
            wanted,
        }),
        (Some(Some(_)), _) => Ok(Marker::Good),
        _ => Ok(Marker::Unwritten),
    }
}

/// Checks that no marker records a journal, before one is created at `path`.
///
/// # Errors
/// [`Error::Lost`] if there is a marker.
pub(super) fn check_absent(storage: &impl Storage, path: &str) -> Result<(), Error> {
    match read(storage)? {
        None => Ok(()),
        Some(_) => Err(Error::Lost { path: path.to_owned(), marker: storage.path_of(MARKER_FILE) }),
    }
}

/// Writes the marker of a durable journal. Replaces one whose writing was interrupted.
pub(super) fn write(storage: &impl Storage, id: JournalId) -> Result<(), Error> {
    let path = storage.path_of(MARKER_FILE);
    let file = storage.create(MARKER_FILE).map_err(|e| Error::io(Action::Create, &path, e))?;
    file.write_fully(format!("{id}\n").as_bytes(), 0)
        .and_then(|()| file.sync_data())
        .and_then(|()| storage.sync_directory())
        .map_err(|e| Error::io(Action::Write, path, e))
}

/// Returns the id in the marker; `None` if there is no marker, `Some(None)` if it cannot be parsed.
fn read(storage: &impl Storage) -> Result<Option<Option<JournalId>>, Error> {
    let path = storage.path_of(MARKER_FILE);
    let read = || -> io::Result<Option<Option<JournalId>>> {
        let Some(file) = storage.open_to_read(MARKER_FILE)? else { return Ok(None) };
        let mut bytes = [0; MARKER_BYTES];
        if file.size()? != MARKER_BYTES as u64 {
            return Ok(Some(None));
        }
        file.read_fully(&mut bytes, 0)?;
        let digits = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
        Ok(Some(digits.and_then(JournalId::parse)))
    };
    read().map_err(|e| Error::io(Action::Read, path, e))
}

//! Reloads the inventory file while clients are connected, one piece per turn. The whole file is
//! read first, then its names are looked up, and only then missing ones are added, so a file with
//! an error changes nothing. Room for the missing names is reserved as soon as they are counted,
//! whatever clients add meanwhile.

use std::fmt::{self, Display, Formatter};
use std::vec::IntoIter;

use log::{error, info};

use super::engine::Engine;
use super::observer::Observer;
use crate::inventory_file::{InventoryFile, InventoryFileError};
use crate::journal::Storage;
use crate::limits::{RELOAD_ADDED, RELOAD_LINES};
use crate::store::AddNamesError;
use crate::text::escape_for_log;

/// A reload in progress.
pub struct Reload {
    shown: String,
    stage: Stage,
}

enum Stage {
    Reading(Box<dyn Source>),
    LookingUp { names: IntoIter<String>, missing: Vec<String> },
    Adding { missing: IntoIter<String>, added: usize },
}

/// The source of the names.
pub trait Source {
    /// Returns its name for the log.
    fn shown(&self) -> &str;

    /// Reads a piece, as [`InventoryFile::read_piece`] does.
    ///
    /// # Errors
    /// The whole source is invalid.
    fn read_piece(&mut self, most: usize) -> Result<Option<Vec<String>>, InventoryFileError>;
}

impl<R: std::io::Read> Source for InventoryFile<R> {
    fn shown(&self) -> &str {
        self.shown()
    }

    fn read_piece(&mut self, most: usize) -> Result<Option<Vec<String>>, InventoryFileError> {
        self.read_piece(most)
    }
}

/// Why a reload is abandoned.
enum ReloadError {
    File(InventoryFileError),
    AddNames(AddNamesError),
}

impl Display for ReloadError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ReloadError::File(error) => write!(f, "{error}"),
            ReloadError::AddNames(error) => write!(f, "{error}"),
        }
    }
}

impl From<InventoryFileError> for ReloadError {
    fn from(error: InventoryFileError) -> ReloadError {
        ReloadError::File(error)
    }
}

impl From<AddNamesError> for ReloadError {
    fn from(error: AddNamesError) -> ReloadError {
        ReloadError::AddNames(error)
    }
}

impl<S: Storage, O: Observer> Engine<S, O> {
    /// Starts to reload an inventory file. Turns follow until it is done, which is then logged. A
    /// reload in progress is abandoned; names that it has added stay.
    pub fn reload(&mut self, file: Box<dyn Source>) {
        self.abandon_reload();
        self.reload = Some(Reload { shown: file.shown().to_owned(), stage: Stage::Reading(file) });
    }

    /// Abandons the reload in progress, if there is one, and closes its file.
    pub fn abandon_reload(&mut self) {
        self.inventory.promise_resources(0);
        self.reload = None;
    }

    /// Does the next piece of the reload.
    #[inline]
    pub(super) fn continue_reload(&mut self) {
        if let Some(reload) = self.reload.take() {
            self.reload_next_piece(reload);
        }
    }

    #[cold]
    fn reload_next_piece(&mut self, Reload { shown, stage }: Reload) {
        match self.reload_piece(stage) {
            Ok(Stage::Adding { missing, added }) if missing.len() == 0 => {
                let noun = if added == 1 { "resource" } else { "resources" };
                info!("SIGHUP: added {added} {noun} from {}", escape_for_log(&shown));
            }
            Ok(stage) => self.reload = Some(Reload { shown, stage }),
            Err(error) => {
                self.abandon_reload();
                error!(
                    "SIGHUP: {}; nothing was added from the file",
                    escape_for_log(&error.to_string())
                );
            }
        }
    }

    /// Does one piece and returns the next stage.
    fn reload_piece(&mut self, stage: Stage) -> Result<Stage, ReloadError> {
        match stage {
            Stage::Reading(mut file) => Ok(match file.read_piece(RELOAD_LINES)? {
                Some(names) => Stage::LookingUp { names: names.into_iter(), missing: Vec::new() },
                None => Stage::Reading(file),
            }),
            Stage::LookingUp { mut names, mut missing } => {
                let piece = names.by_ref().take(RELOAD_LINES);
                missing.extend(piece.filter(|name| self.inventory.names().find(name).is_none()));
                if names.len() > 0 {
                    return Ok(Stage::LookingUp { names, missing });
                }
                self.inventory.promise_resources(missing.len());
                self.inventory.add(Vec::new()).map_err(AddNamesError::from)?;
                Ok(Stage::Adding { missing: missing.into_iter(), added: 0 })
            }
            // A request that waits for a new name must be granted it before later ones.
            Stage::Adding { .. } if self.inventory.is_behind() => Ok(stage),
            Stage::Adding { mut missing, mut added } => {
                let piece = missing.by_ref().take(RELOAD_ADDED).collect();
                self.inventory.promise_resources(missing.len());
                added += self.add_names(piece)?;
                Ok(Stage::Adding { missing, added })
            }
        }
    }
}

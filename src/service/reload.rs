//! Taking up the inventory file while everybody is connected: in pieces, one a turn. First all of
//! it is read, then its names are looked up, and only then those that are missing are added, so a
//! file with an error changes nothing. They have room from when they are counted, whatever clients
//! add meanwhile.

use std::vec::IntoIter;

use log::{error, info};

use super::{Service, Stream};
use crate::commands::words::plain;
use crate::journal::Storage;
use crate::limits::{RELOAD_ADDED, RELOAD_LINES};
use crate::store::{self, InventoryFile};

/// An inventory file that is being taken up.
pub(super) struct Reload {
    shown: String,
    stage: Stage,
}

enum Stage {
    Reading(Box<dyn Source>),
    LookingUp { names: IntoIter<String>, missing: Vec<String> },
    Adding { missing: IntoIter<String>, added: usize },
}

/// Where the names come from.
pub trait Source {
    /// What it is called in the log.
    fn shown(&self) -> &str;

    /// As [`InventoryFile::read_piece`].
    ///
    /// # Errors
    /// One line that says what is wrong and where.
    fn read_piece(&mut self, most: usize) -> Result<Option<Vec<String>>, String>;
}

impl<R: std::io::Read> Source for InventoryFile<R> {
    fn shown(&self) -> &str {
        self.shown()
    }

    fn read_piece(&mut self, most: usize) -> Result<Option<Vec<String>>, String> {
        self.read_piece(most)
    }
}

impl<T: Stream, S: Storage> Service<T, S> {
    /// Begins to take up an inventory file: turns follow until that is done, which is then logged.
    /// One that is being taken up already is given up; what was added of it stays.
    pub fn reload(&mut self, file: Box<dyn Source>) {
        self.give_up_reload();
        self.reload = Some(Reload { shown: file.shown().to_owned(), stage: Stage::Reading(file) });
    }

    /// Stops taking up an inventory file, if one is being taken up, and closes it.
    pub fn give_up_reload(&mut self) {
        self.inventory.promise_resources(0);
        self.reload = None;
    }

    /// Does a piece of it.
    #[cold]
    pub(super) fn go_on_with_reload(&mut self) {
        let Some(Reload { shown, stage }) = self.reload.take() else { return };
        match self.reload_piece(stage) {
            Ok(Stage::Adding { missing, added }) if missing.len() == 0 => {
                info!("SIGHUP: {added} new resources from {}", plain(&shown));
            }
            Ok(stage) => self.reload = Some(Reload { shown, stage }),
            Err(error) => {
                self.give_up_reload();
                error!("SIGHUP: {}; nothing of that file was taken", plain(&error));
            }
        }
    }

    /// Returns how it goes on.
    fn reload_piece(&mut self, stage: Stage) -> Result<Stage, String> {
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
                self.inventory.add(Vec::new()).map_err(|refusal| store::no_room(&refusal))?;
                Ok(Stage::Adding { missing: missing.into_iter(), added: 0 })
            }
            // Somebody older may wait for what is new.
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

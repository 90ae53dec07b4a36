//! The state of a server without its clients.

use std::fmt::{self, Display, Formatter};

use super::{Opened, Store};
use crate::inventory::event::Batch;
use crate::inventory::{Capacity, Ending, Event, Inventory, Refusal, SessionId};
use crate::journal::{Error, Storage, SyncPolicy};
use crate::time::{ClockReading, Time, Zone};

/// An inventory, its store, and the events that are not committed yet.
pub struct State<S: Storage> {
    pub store: Store<S>,
    pub inventory: Inventory,
    pub batch: Batch,
}

impl<S: Storage> State<S> {
    /// Returns an empty state that is kept in memory only.
    pub fn in_memory(capacity: Capacity) -> State<S> {
        let (store, inventory) = (Store::in_memory(), Inventory::new(capacity));
        State { store, inventory, batch: Batch::default() }
    }

    /// Opens a journal, or creates one, and replays it. The batch then holds the end of
    /// reservations that were bound to a connection of the previous server.
    ///
    /// # Errors
    /// As [`Journal::open`](crate::journal::Journal::open).
    pub fn open(
        storage: S,
        policy: SyncPolicy,
        capacity: Capacity,
    ) -> Result<(State<S>, Opened), Error> {
        let (store, inventory, opened) = Store::open(storage, policy, capacity)?;
        let mut state = State { store, inventory, batch: Batch::default() };
        end_orphans(&mut state.inventory, opened.last_time, &mut state.batch);
        state.inventory.set_first_time(opened.last_time);
        Ok((state, opened))
    }

    /// Expires everything due up to `now`, each at its own time, and adds the missing names. All
    /// events are in the batch, to be committed before a client is served.
    ///
    /// # Errors
    /// The names exceed the capacity of the inventory.
    pub fn catch_up(
        &mut self,
        names: Vec<String>,
        now: ClockReading,
        zone: &Zone,
    ) -> Result<(), AddNamesError> {
        // All at once, because no client is connected that would have to wait.
        self.inventory.advance(now, zone, &mut self.batch);
        while self.inventory.is_behind() {
            self.inventory.advance(now, zone, &mut self.batch);
        }
        ensure(&mut self.inventory, names, now.wall, &mut self.batch).map(|_| ())
    }
}

/// Ends the reservations that were bound to a connection of the previous server, at the last time
/// in the journal.
pub fn end_orphans(inventory: &mut Inventory, last_time: Time, batch: &mut Batch) {
    for number in inventory.bound_to(SessionId::GONE, Ending::Lost, usize::MAX) {
        inventory.apply_and_log(last_time, Event::Expired { number }, batch);
    }
}

/// Adds the missing ones of these names. Returns how many were added.
///
/// # Errors
/// They exceed the capacity of the inventory. None was added.
pub fn ensure(
    inventory: &mut Inventory,
    names: Vec<String>,
    now: Time,
    batch: &mut Batch,
) -> Result<usize, AddNamesError> {
    let missing: Vec<_> =
        names.into_iter().filter(|name| inventory.names().find(name).is_none()).collect();
    let events = inventory.add(missing)?;
    let count = events.len();
    events.into_iter().for_each(|event| inventory.apply_and_log(now, event, batch));
    Ok(count)
}

/// Why names of an inventory file cannot be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddNamesError {
    /// There would be more resources than this, the maximum.
    TooMany(u32),
    /// A name is invalid or occurs twice. Reading the file excludes this.
    Invalid,
}

impl From<Refusal> for AddNamesError {
    fn from(refusal: Refusal) -> AddNamesError {
        match refusal {
            Refusal::TooManyResources(max) => AddNamesError::TooMany(max),
            _ => AddNamesError::Invalid,
        }
    }
}

impl Display for AddNamesError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AddNamesError::TooMany(max) => {
                write!(f, "there would be more than the {max} resources of --max-resources")
            }
            AddNamesError::Invalid => write!(f, "the names cannot be added"),
        }
    }
}

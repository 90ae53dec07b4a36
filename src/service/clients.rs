//! The table of connections.
//!
//! Invariants: `rejected` is the number of clients with [`Client::is_rejected`]. `waiting` contains
//! only sessions of open connections.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::Key;
use super::client::{Client, Phase};
use crate::inventory::SessionId;

/// All connections, by key.
pub struct Clients<T> {
    slab: Slab<Client<T>>,
    rejected: usize,
    /// Connections that wait for a reservation. The queue of waiting requests knows only sessions.
    waiting: BTreeMap<SessionId, Key>,
    last_session: SessionId,
}

impl<T> Clients<T> {
    /// Returns an empty table.
    pub fn new() -> Clients<T> {
        Clients {
            slab: Slab::new(),
            rejected: 0,
            waiting: BTreeMap::new(),
            last_session: SessionId(0),
        }
    }

    /// Returns the number of connections that are served, without those that are being rejected.
    pub fn served_len(&self) -> usize {
        self.slab.len() - self.rejected
    }

    /// Returns the number of connections that are being rejected.
    pub fn rejected_len(&self) -> usize {
        self.rejected
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub fn contains(&self, key: Key) -> bool {
        self.slab.contains(key)
    }

    pub fn get(&self, key: Key) -> Option<&Client<T>> {
        self.slab.get(key)
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut Client<T>> {
        self.slab.get_mut(key)
    }

    /// Returns a connection, unless its key belongs to another session by now.
    pub fn of_session(&mut self, key: Key, session: SessionId) -> Option<&mut Client<T>> {
        self.slab.get_mut(key).filter(|client| client.session.id() == session)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &Client<T>)> {
        self.slab.iter()
    }

    pub fn keys(&self) -> Vec<Key> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    /// Returns a session id that was not used before. Later ones are higher.
    pub fn new_session(&mut self) -> SessionId {
        self.last_session = SessionId(self.last_session.0 + 1);
        self.last_session
    }

    /// Adds a connection and returns its key.
    pub fn insert(&mut self, client: Client<T>) -> Key {
        if self.slab.len() == self.slab.capacity() {
            // Doubling would leave up to half of the table empty.
            self.slab.reserve_exact(self.slab.len() / 8 + 16);
        }
        self.slab.insert(client)
    }

    /// Marks a connection as one that is only sent the reason why it is rejected.
    pub fn reject(&mut self, key: Key) {
        self.slab[key].is_rejected = true;
        self.rejected += 1;
    }

    /// Records that a connection waits for a reservation.
    pub fn set_waiting(&mut self, key: Key) {
        self.waiting.insert(self.slab[key].session.id(), key);
    }

    /// Records that a connection does not wait any more.
    pub fn stop_waiting(&mut self, session: SessionId) {
        self.waiting.remove(&session);
    }

    /// Returns the connection of a session that waits for a reservation.
    pub fn waiter(&mut self, session: SessionId) -> Option<(Key, &mut Client<T>)> {
        let key = self.waiting.get(&session).copied()?;
        self.slab.get_mut(key).map(|client| (key, client))
    }

    /// Removes a closed connection.
    pub fn remove(&mut self, key: Key) -> Client<T> {
        let client = self.slab.remove(key);
        debug_assert!(client.phase == Phase::Dead, "an open connection was removed");
        self.rejected -= usize::from(client.is_rejected);
        client
    }

    /// Removes a connection that was never served.
    pub fn discard(&mut self, key: Key) {
        self.slab.remove(key);
    }
}

impl<T> Index<Key> for Clients<T> {
    type Output = Client<T>;

    fn index(&self, key: Key) -> &Client<T> {
        &self.slab[key]
    }
}

impl<T> IndexMut<Key> for Clients<T> {
    fn index_mut(&mut self, key: Key) -> &mut Client<T> {
        &mut self.slab[key]
    }
}

#[cfg(test)]
impl<T> Clients<T> {
    /// Returns the number of connections.
    pub fn len(&self) -> usize {
        self.slab.len()
    }
}

//! The memory that connections keep for buffers and lists, which is bounded in total. Beyond the
//! bound, the connection without progress for the longest time is closed. This never affects a
//! connection that reads its replies and sends whole lines, because it keeps no memory.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{Client, mark_dead};
use super::{Key, Service, Step, Stream};
use crate::journal::Storage;
use crate::time::MonotonicMs;

/// Accounts for the memory of all connections.
#[derive(Debug)]
pub struct Memory {
    most: u64,
    retained: u64,
    /// Maximal number of bytes before some of it must be sent in this turn.
    turn_limit: u64,
    /// Connections that still kept memory after they were served, by the time of their last
    /// progress.
    holders: BTreeSet<(MonotonicMs, Key)>,
    /// The same by connection. Not in the connections, because few of them have an entry.
    since: BTreeMap<Key, MonotonicMs>,
}

impl Memory {
    /// Returns an account with a bound in bytes.
    pub fn new(most: u64) -> Memory {
        Memory {
            most,
            retained: 0,
            turn_limit: most / 8,
            holders: BTreeSet::new(),
            since: BTreeMap::new(),
        }
    }

    /// Returns whether the bound is reached.
    pub fn is_full(&self) -> bool {
        self.retained > self.most
    }

    /// Starts a turn.
    pub fn start_turn(&mut self) {
        self.turn_limit = self.retained + self.most / 8;
    }

    /// Returns whether the connections served in this turn keep so much that the others must wait
    /// until some of it is sent, which happens only after the next sync.
    pub fn has_grown(&self) -> bool {
        self.retained > self.turn_limit
    }

    /// Updates the bytes that a connection keeps.
    pub fn count<T>(&mut self, client: &mut Client<T>) {
        // No list has 4 GiB of rows.
        let bytes = u32::try_from(client.conn.retained_bytes()).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut client.retained, bytes);
        self.retained = self.retained + u64::from(bytes) - u64::from(before);
    }

    /// Updates since when a connection that keeps memory has made no progress; see `count`.
    fn rank(&mut self, client: &Client<impl Sized>, key: Key) {
        let since =
            (client.retained > 0).then(|| client.write_blocked_since.min(client.last_read_at));
        let before = match since {
            Some(since) => self.since.insert(key, since),
            None => self.since.remove(&key),
        };
        if before == since {
            return;
        }
        if let Some(before) = before {
            self.holders.remove(&(before, key));
        }
        if let Some(since) = since {
            self.holders.insert((since, key));
        }
    }

    /// Removes a connection.
    pub fn forget(&mut self, client: &mut Client<impl Sized>, key: Key) {
        client.conn.abandon();
        self.count(client);
        self.rank(client, key);
    }
}

impl<T: Stream, S: Storage> Service<T, S> {
    /// Enforces the bound on memory after a connection was served.
    pub(super) fn bound_memory(&mut self, key: Key) {
        let client = &mut self.clients[key];
        self.memory.count(client);
        self.memory.rank(client, key);
        while self.memory.is_full()
            && let Some((_, slowest)) = self.memory.holders.first().copied()
        {
            let client = &mut self.clients[slowest];
            let session = client.session.id();
            self.memory.forget(client, slowest);
            mark_dead(client, slowest, &mut self.dead);
            // Others are perhaps served before it is reaped.
            self.inventory.leave_queue(session, self.now);
            self.trace.note(Step::LeftQueue(session));
            self.note_slow("made the least recent progress when --max-output-memory was reached");
        }
    }
}

#[cfg(test)]
impl Memory {
    /// Returns whether no connection keeps any memory.
    pub fn is_empty(&self) -> bool {
        self.retained == 0 && self.holders.is_empty() && self.since.is_empty()
    }
}

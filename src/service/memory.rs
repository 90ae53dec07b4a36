//! What connections keep in memory: buffers, and the lists that they are sent. All of it together
//! is bounded. Beyond the bound the connection that has made no progress for longest is closed,
//! which is never one that takes its replies and sends whole lines: it keeps nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{Client, bury};
use super::{Key, Service, Step, Stream};
use crate::clock::Tick;
use crate::journal::Storage;

/// The memory of all connections.
#[derive(Debug)]
pub struct Memory {
    most: u64,
    retained: u64,
    /// As much as may be kept before this turn has to send some of it.
    turn_limit: u64,
    /// Those that keep something after they were served, by when they have last made progress.
    holders: BTreeSet<(Tick, Key)>,
    /// The same by connection. Here, because hardly any keeps something.
    since: BTreeMap<Key, Tick>,
}

impl Memory {
    /// With a bound in bytes.
    pub fn new(most: u64) -> Memory {
        Memory {
            most,
            retained: 0,
            turn_limit: most / 8,
            holders: BTreeSet::new(),
            since: BTreeMap::new(),
        }
    }

    /// Whether connections keep as much as they may.
    pub fn is_full(&self) -> bool {
        self.retained > self.most
    }

    /// A turn begins.
    pub fn start_turn(&mut self) {
        self.turn_limit = self.retained + self.most / 8;
    }

    /// Whether those who were served in this turn keep so much that the others have to wait until
    /// it is sent: before a sync nothing is.
    pub fn has_grown(&self) -> bool {
        self.retained > self.turn_limit
    }

    /// Counts what a connection keeps now.
    pub fn count<T>(&mut self, client: &mut Client<T>) {
        // No list has 4 GiB of rows.
        let bytes = u32::try_from(client.conn.retained_bytes()).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut client.retained, bytes);
        self.retained = self.retained + u64::from(bytes) - u64::from(before);
    }

    /// Notes since when a connection that keeps something has made no progress; see `count`.
    fn rank(&mut self, client: &Client<impl Sized>, key: Key) {
        let since = (client.retained > 0).then(|| client.blocked.min(client.heard));
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

    /// Forgets a connection that goes.
    pub fn forget(&mut self, client: &mut Client<impl Sized>, key: Key) {
        client.conn.abandon();
        self.count(client);
        self.rank(client, key);
    }
}

impl<T: Stream, S: Storage> Service<T, S> {
    /// Keeps the memory of all connections within its bound, after this one was served.
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
            bury(client, slowest, &mut self.dead);
            // Others are perhaps served before it is reaped.
            self.inventory.leave_queue(session, self.now);
            self.trace.note(Step::LeftQueue(session));
            self.note_slow("made no progress for longest, because --max-output-memory is reached");
        }
    }
}

#[cfg(test)]
impl Memory {
    /// Whether no connection keeps anything.
    pub fn is_empty(&self) -> bool {
        self.retained == 0 && self.holders.is_empty() && self.since.is_empty()
    }
}

//! The memory that connections keep for buffers and lists, which is bounded in total. Beyond the
//! bound, the connection without progress for the longest time is closed. This never affects a
//! connection that reads its replies and sends whole lines, because it keeps no memory.
//!
//! Invariant: `retained` is the sum of [`Client::retained`].

use std::collections::{BTreeMap, BTreeSet};

use super::client::Client;
use super::observer::Observer;
use super::throttle::Kind;
use super::{Key, Service, Stream};
use crate::conn::BufferPool;
use crate::journal::Storage;
use crate::limits::READ_BUDGET_BYTES;
use crate::time::MonotonicMs;

/// Accounts for the memory of all connections, and holds buffers for reuse.
#[derive(Debug)]
pub struct Memory {
    /// Buffers that no connection needs at the moment.
    pub pool: BufferPool,
    /// The buffer for one read, of any connection.
    pub scratch: Vec<u8>,
    /// The bound in bytes.
    most: u64,
    /// The bytes that all connections keep.
    retained: u64,
    /// The bytes above which no more clients are served in this turn.
    turn_limit: u64,
    /// Connections that still kept memory after they were last served, by the time of their last
    /// progress.
    by_progress: BTreeSet<(MonotonicMs, Key)>,
    /// The same by connection. Few connections have an entry.
    progress_of: BTreeMap<Key, MonotonicMs>,
}

impl Memory {
    /// Returns an account with a bound in bytes.
    pub fn new(most: u64) -> Memory {
        Memory {
            pool: BufferPool::default(),
            scratch: vec![0; READ_BUDGET_BYTES],
            most,
            retained: 0,
            turn_limit: most / 8,
            by_progress: BTreeSet::new(),
            progress_of: BTreeMap::new(),
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

    /// Updates the rank of a connection by its last progress, after [`Memory::count`].
    fn rank(&mut self, client: &Client<impl Sized>, key: Key) {
        let progress =
            (client.retained > 0).then(|| client.write_blocked_since.min(client.last_read_at));
        let before = match progress {
            Some(progress) => self.progress_of.insert(key, progress),
            None => self.progress_of.remove(&key),
        };
        if before == progress {
            return;
        }
        if let Some(before) = before {
            self.by_progress.remove(&(before, key));
        }
        if let Some(progress) = progress {
            self.by_progress.insert((progress, key));
        }
    }

    /// Drops the memory of a connection that is closed.
    pub fn forget(&mut self, client: &mut Client<impl Sized>, key: Key) {
        client.conn.abandon();
        self.count(client);
        self.rank(client, key);
    }
}

impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Enforces the bound on memory after a connection was served.
    pub(super) fn bound_memory(&mut self, key: Key) {
        let client = &mut self.clients[key];
        self.memory.count(client);
        self.memory.rank(client, key);
        while self.memory.is_full()
            && let Some((_, slowest)) = self.memory.by_progress.first().copied()
        {
            self.close(slowest);
            let reason =
                "--max-output-memory was reached, and it had made no progress for the longest time";
            self.log.warn(self.engine.instant, Kind::Slow, reason);
        }
    }
}

#[cfg(test)]
impl Memory {
    /// Returns whether no connection keeps any memory.
    pub fn is_empty(&self) -> bool {
        self.retained == 0 && self.by_progress.is_empty() && self.progress_of.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Session;
    use crate::conn::Conn;
    use crate::inventory::SessionId;

    fn client(output: usize, now: u64) -> Client<()> {
        let session = Session::new(SessionId(1));
        let mut client = Client::new(Conn::new(()), session, MonotonicMs(now));
        client.conn.out().resize(output, b'x');
        client
    }

    #[test]
    fn account_follows_each_connection_and_ranks_them_by_progress() {
        let mut memory = Memory::new(1000);
        let (mut late, mut early) = (client(400, 9), client(400, 5));
        for (key, client) in [(1, &mut late), (2, &mut early)] {
            memory.count(client);
            memory.rank(client, key);
        }
        assert_eq!(memory.by_progress.first(), Some(&(MonotonicMs(5), 2)));
        assert!(memory.has_grown() && !memory.is_full());
        memory.start_turn();
        assert!(!memory.has_grown());
        late.conn.out().resize(1000, b'x');
        memory.count(&mut late);
        assert!(memory.is_full());
        memory.forget(&mut late, 1);
        memory.forget(&mut early, 2);
        assert!(memory.is_empty());
    }
}

//! Counts connections by their address, and limits those that have not sent a line.
//!
//! The number of connections that have not sent a line yet is bounded. When there are too many, the
//! oldest of them is closed. A legitimate client sends its first line as soon as it is connected,
//! so an attacker would have to fill the whole bound within that moment to affect it. Refusing the
//! newest instead would let idle connections keep all others out.

use std::collections::{BTreeSet, HashMap};

use super::Key;
use crate::inventory::{Origin, SessionId};

/// Bounds on the number of connections.
#[derive(Clone, Copy, Debug)]
pub struct CrowdLimits {
    /// Connections of one address.
    pub per_address: usize,
    /// Connections of one address that have not sent a line yet.
    pub silent_per_address: usize,
    /// All connections that have not sent a line yet.
    pub silent: usize,
}

/// The accepted connections, by address.
#[derive(Debug)]
pub struct Crowd {
    limits: CrowdLimits,
    /// The number of connections of each origin but this host.
    by_address: HashMap<Origin, usize>,
    /// Connections that were served once and have not sent a line. A lower session is an older
    /// connection. A new connection is not counted before it was served, because its line may have
    /// arrived already.
    silent: BTreeSet<(SessionId, Key)>,
    silent_by_address: BTreeSet<(Origin, SessionId, Key)>,
}

impl Crowd {
    /// Returns an empty crowd.
    pub fn new(limits: CrowdLimits) -> Crowd {
        Crowd {
            limits,
            by_address: HashMap::new(),
            silent: BTreeSet::new(),
            silent_by_address: BTreeSet::new(),
        }
    }

    /// Returns whether one more connection of this origin is within the bounds. Connections of this
    /// host are not counted by address, because tunnels and proxies make all of them local.
    pub fn has_room(&self, origin: Origin) -> bool {
        let count = self.by_address.get(&origin).copied().unwrap_or(0);
        origin == Origin::LOCAL || count < self.limits.per_address
    }

    /// Adds an accepted connection.
    pub fn join(&mut self, origin: Origin) {
        if origin != Origin::LOCAL {
            *self.by_address.entry(origin).or_default() += 1;
        }
    }

    /// Records that a connection was served and had not sent a line. Returns the oldest of these,
    /// to be closed, if there are too many of them.
    pub fn note_silent(&mut self, origin: Origin, session: SessionId, key: Key) -> Option<Key> {
        if !self.silent.insert((session, key)) {
            return None;
        }
        if origin != Origin::LOCAL {
            self.silent_by_address.insert((origin, session, key));
            let range = (origin, SessionId(0), 0)..=(origin, SessionId(u64::MAX), Key::MAX);
            let mut all = self.silent_by_address.range(range);
            let oldest = all.next().map(|(.., key)| *key);
            if all.nth(self.limits.silent_per_address - 1).is_some() {
                return oldest;
            }
        }
        match self.silent.len() > self.limits.silent {
            true => self.silent.first().map(|(_, key)| *key),
            false => None,
        }
    }

    /// Records that a connection has sent a line.
    pub fn note_line(&mut self, origin: Origin, session: SessionId, key: Key) {
        self.silent.remove(&(session, key));
        self.silent_by_address.remove(&(origin, session, key));
    }

    /// Removes a connection.
    pub fn leave(&mut self, origin: Origin, session: SessionId, key: Key) {
        self.note_line(origin, session, key);
        if let Some(count) = self.by_address.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd() -> Crowd {
        Crowd::new(CrowdLimits { per_address: 4, silent_per_address: 2, silent: 5 })
    }

    #[test]
    fn bound_applies_to_each_address_but_not_to_this_host() {
        let mut crowd = crowd();
        for n in 0..4 {
            assert!(crowd.has_room(Origin(7)));
            crowd.join(Origin(7));
            crowd.note_line(Origin(7), SessionId(n + 1), n as Key);
        }
        assert!(!crowd.has_room(Origin(7)));
        assert!(crowd.has_room(Origin(8)) && crowd.has_room(Origin::LOCAL));
        crowd.leave(Origin(7), SessionId(2), 1);
        assert!(crowd.has_room(Origin(7)));
        assert_eq!(crowd.by_address.len(), 1);
        (0..4).filter(|n| *n != 1).for_each(|n| {
            crowd.leave(Origin(7), SessionId(n + 1), n as Key);
        });
        assert!(crowd.by_address.is_empty(), "addresses without connections are forgotten");
    }

    fn come(crowd: &mut Crowd, origin: Origin, session: SessionId, key: Key) -> Option<Key> {
        crowd.join(origin);
        crowd.note_silent(origin, session, key)
    }

    #[test]
    fn oldest_silent_connection_of_the_address_is_closed_and_then_the_oldest_of_all() {
        let mut crowd = crowd();
        assert_eq!(come(&mut crowd, Origin::LOCAL, SessionId(1), 10), None);
        assert_eq!(come(&mut crowd, Origin(7), SessionId(2), 20), None);
        assert_eq!(come(&mut crowd, Origin(7), SessionId(3), 30), None);
        assert_eq!(come(&mut crowd, Origin(7), SessionId(4), 40), Some(20));
        crowd.leave(Origin(7), SessionId(2), 20);
        assert_eq!(come(&mut crowd, Origin(8), SessionId(5), 50), None);
        assert_eq!(come(&mut crowd, Origin(8), SessionId(6), 60), None);
        assert_eq!(come(&mut crowd, Origin(9), SessionId(7), 70), Some(10));
        crowd.leave(Origin::LOCAL, SessionId(1), 10);
        // A connection that has sent a line is never closed for its age.
        crowd.note_line(Origin(7), SessionId(3), 30);
        assert_eq!(come(&mut crowd, Origin(9), SessionId(8), 80), None);
        assert_eq!(come(&mut crowd, Origin::LOCAL, SessionId(9), 90), Some(40));
    }
}

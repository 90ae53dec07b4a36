//! Counts connections by their address, and limits those that have not sent a line.
//!
//! A connection without a line yet uses one of the places. When there are too many of these, the
//! oldest is closed. A legitimate client sends its first line as soon as it is connected, so an
//! attacker would have to fill the whole bound within that moment to affect it. Refusing the newest
//! instead would let idle connections keep all others out.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;

use super::Key;
use crate::inventory::{Origin, SessionId};

/// The address of a connection, as far as connections are counted by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Peer {
    /// This host. Tunnels and proxies make all connections appear to come from here, so these are
    /// not counted by address.
    Local,
    /// An address or network that counts as one. The caller chooses the encoding.
    Address(NonZeroU64),
}

impl Peer {
    /// Returns the peer with this number. Zero stands for the network `::/64`, which has no
    /// clients.
    pub fn address(number: u64) -> Peer {
        Peer::Address(NonZeroU64::new(number).unwrap_or(NonZeroU64::MAX))
    }

    /// Returns the peers that the inventory counts under this origin.
    pub fn of(Origin(number): Origin) -> Peer {
        NonZeroU64::new(number).map_or(Peer::Local, Peer::Address)
    }

    /// Returns the origin under which the inventory counts it.
    pub fn origin(self) -> Origin {
        match self {
            Peer::Local => Origin::LOCAL,
            Peer::Address(number) => Origin(number.get()),
        }
    }
}

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
    by_address: HashMap<NonZeroU64, usize>,
    /// Connections that were looked at and have not sent a line yet. A lower session is an older
    /// connection. The line of a new one may have arrived already, so it is not counted at first.
    silent: BTreeSet<(SessionId, Key)>,
    silent_by_address: BTreeSet<(NonZeroU64, SessionId, Key)>,
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

    /// Returns whether one more connection from this peer is within the bounds.
    pub fn has_room(&self, peer: Peer) -> bool {
        match peer {
            Peer::Local => true,
            Peer::Address(address) => self.count(address) < self.limits.per_address,
        }
    }

    fn count(&self, address: NonZeroU64) -> usize {
        self.by_address.get(&address).copied().unwrap_or(0)
    }

    /// Counts a connection that has come.
    pub fn join(&mut self, peer: Peer) {
        if let Peer::Address(address) = peer {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    /// Notes that a connection was looked at and had not sent a line. Returns one of these that is
    /// to be closed, if there are too many of them.
    pub fn note_silent(&mut self, peer: Peer, session: SessionId, key: Key) -> Option<Key> {
        if !self.silent.insert((session, key)) {
            return None;
        }
        if let Peer::Address(address) = peer {
            self.silent_by_address.insert((address, session, key));
            let range = (address, SessionId(0), 0)..=(address, SessionId(u64::MAX), Key::MAX);
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
    pub fn has_spoken(&mut self, peer: Peer, session: SessionId, key: Key) {
        self.silent.remove(&(session, key));
        if let Peer::Address(address) = peer {
            self.silent_by_address.remove(&(address, session, key));
        }
    }

    /// Removes a connection.
    pub fn leave(&mut self, peer: Peer, session: SessionId, key: Key) {
        self.has_spoken(peer, session, key);
        if let Peer::Address(address) = peer
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
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
            assert!(crowd.has_room(Peer::address(7)));
            crowd.join(Peer::address(7));
            crowd.has_spoken(Peer::address(7), SessionId(n + 1), n as Key);
        }
        assert!(!crowd.has_room(Peer::address(7)));
        assert!(crowd.has_room(Peer::address(8)) && crowd.has_room(Peer::Local));
        crowd.leave(Peer::address(7), SessionId(2), 1);
        assert!(crowd.has_room(Peer::address(7)));
        assert_eq!(crowd.by_address.len(), 1);
        (0..4).filter(|n| *n != 1).for_each(|n| {
            crowd.leave(Peer::address(7), SessionId(n + 1), n as Key);
        });
        assert!(crowd.by_address.is_empty(), "addresses without connections are forgotten");
    }

    fn come(crowd: &mut Crowd, peer: Peer, session: SessionId, key: Key) -> Option<Key> {
        crowd.join(peer);
        crowd.note_silent(peer, session, key)
    }

    #[test]
    fn oldest_silent_connection_of_the_address_is_closed_and_then_the_oldest_of_all() {
        let mut crowd = crowd();
        assert_eq!(come(&mut crowd, Peer::Local, SessionId(1), 10), None);
        assert_eq!(come(&mut crowd, Peer::address(7), SessionId(2), 20), None);
        assert_eq!(come(&mut crowd, Peer::address(7), SessionId(3), 30), None);
        assert_eq!(come(&mut crowd, Peer::address(7), SessionId(4), 40), Some(20));
        crowd.leave(Peer::address(7), SessionId(2), 20);
        assert_eq!(come(&mut crowd, Peer::address(8), SessionId(5), 50), None);
        assert_eq!(come(&mut crowd, Peer::address(8), SessionId(6), 60), None);
        assert_eq!(come(&mut crowd, Peer::address(9), SessionId(7), 70), Some(10));
        crowd.leave(Peer::Local, SessionId(1), 10);
        // A connection that has sent a line is never closed for its age.
        crowd.has_spoken(Peer::address(7), SessionId(3), 30);
        assert_eq!(come(&mut crowd, Peer::address(9), SessionId(8), 80), None);
        assert_eq!(come(&mut crowd, Peer::Local, SessionId(9), 90), Some(40));
    }
}

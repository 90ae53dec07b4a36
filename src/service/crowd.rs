//! Where connections come from, and how many there are of each.
//!
//! A connection that has said nothing costs a place. Of these the oldest is closed when there are
//! too many: who is at work sends its first line as soon as it is connected, so a crowd would have
//! to fill the whole bound in that moment to harm it. Refusing the newest instead would let a crowd
//! that sits there keep everybody else out.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;

use super::Key;
use crate::inventory::{Origin, SessionId};

/// Where a connection comes from, as far as connections are counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Peer {
    /// This host. Tunnels and proxies make all connections look like this one, so these are not
    /// counted by address.
    Local,
    /// An address that counts as one, in a form that the caller chooses.
    Address(NonZeroU64),
}

impl Peer {
    /// An address as a number. Zero stands for the network `::/64`, from which nobody comes.
    pub fn address(number: u64) -> Peer {
        Peer::Address(NonZeroU64::new(number).unwrap_or(NonZeroU64::MAX))
    }

    /// The same as the inventory counts it.
    pub fn origin(self) -> Origin {
        match self {
            Peer::Local => Origin::LOCAL,
            Peer::Address(number) => Origin(number.get()),
        }
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct CrowdLimits {
    /// Of one address.
    pub per_address: usize,
    /// Of one address, that have not sent a line yet.
    pub silent_per_address: usize,
    /// Of all, that have not sent a line yet.
    pub silent: usize,
}

/// Connections that have been let in, by where they come from.
#[derive(Debug)]
pub struct Crowd {
    limits: CrowdLimits,
    by_address: HashMap<NonZeroU64, usize>,
    /// Those that were looked at and have not sent a line yet; a lower session is an older
    /// connection. A newcomer's line may be there already, so at first it is not one of them.
    silent: BTreeSet<(SessionId, Key)>,
    silent_by_address: BTreeSet<(NonZeroU64, SessionId, Key)>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(limits: CrowdLimits) -> Crowd {
        Crowd {
            limits,
            by_address: HashMap::new(),
            silent: BTreeSet::new(),
            silent_by_address: BTreeSet::new(),
        }
    }

    /// Whether one more may come from there.
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

    /// It has sent a line.
    pub fn has_spoken(&mut self, peer: Peer, session: SessionId, key: Key) {
        self.silent.remove(&(session, key));
        if let Peer::Address(address) = peer {
            self.silent_by_address.remove(&(address, session, key));
        }
    }

    /// It is gone.
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
    fn one_address_has_only_so_many_connections_and_this_host_as_many_as_it_likes() {
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
        assert!(crowd.by_address.is_empty(), "an address without connections is forgotten");
    }

    fn come(crowd: &mut Crowd, peer: Peer, session: SessionId, key: Key) -> Option<Key> {
        crowd.join(peer);
        crowd.note_silent(peer, session, key)
    }

    #[test]
    fn oldest_silent_connection_of_the_address_goes_first_and_then_the_oldest_of_all() {
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
        // Who has said something is not silent, however old.
        crowd.has_spoken(Peer::address(7), SessionId(3), 30);
        assert_eq!(come(&mut crowd, Peer::address(9), SessionId(8), 80), None);
        assert_eq!(come(&mut crowd, Peer::Local, SessionId(9), 90), Some(40));
    }
}

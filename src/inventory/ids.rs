//! The ids that the inventory hands out or is given, each a type of its own.

use std::fmt;

/// The position of a resource in inventory order. Valid until
/// [`Inventory::compact_ids`](super::Inventory::compact_ids) changes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ResourceId(pub u32);

impl ResourceId {
    pub const MAX: ResourceId = ResourceId(u32::MAX);

    /// Returns the id of a position. No inventory has more than `u32::MAX` resources.
    pub fn at(index: usize) -> ResourceId {
        ResourceId(index as u32)
    }

    /// Returns the position, to index a table of resources.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the id of the next position.
    pub fn next(self) -> ResourceId {
        ResourceId(self.0 + 1)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A confirmation number: 1, 2, 3… It is also the fencing token of its reservation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Number(pub u64);

impl Number {
    pub const MAX: Number = Number(u64::MAX);

    /// Returns the number that is issued after this one.
    pub fn next(self) -> Number {
        Number(self.0 + 1)
    }
}

/// Prints the digits alone, without `#`.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection. Its id is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Stands for every connection of an earlier run of the server.
    pub const GONE: SessionId = SessionId(0);
}

/// The origin of a connection, such as its address. Some limits count all connections of one origin
/// together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin(pub u64);

impl Origin {
    /// The server's own host.
    pub const LOCAL: Origin = Origin(0);
}

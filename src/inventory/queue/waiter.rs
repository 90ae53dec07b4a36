//! A waiting request, its targets, and the outcomes of waiting.

use std::rc::Rc;

use smallvec::SmallVec;

use super::patterns::PatternId;
use super::watch::Watch;
use crate::inventory::{
    IdempotencyKey, Principal, Request, Reservation, ResourceId, Start, Target,
};
use crate::time::Time;

/// The order of waiters. The older of two has the lower ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(in crate::inventory) struct Ticket(pub u64);

impl Ticket {
    pub const MIN: Ticket = Ticket(0);
    pub const MAX: Ticket = Ticket(u64::MAX);

    /// Returns the next ticket.
    pub fn next(self) -> Ticket {
        Ticket(self.0 + 1)
    }
}

/// The targets of a request that is about to wait.
#[derive(Debug)]
pub struct Wants {
    pub targets: Vec<Target>,
}

/// One target of a waiting request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    Name(ResourceId),
    Pattern(PatternId),
}

/// A waiting request. A connection has at most one.
#[derive(Debug)]
pub(super) struct Waiter {
    pub principal: Principal,
    pub request: Request<'static>,
    pub wants: SmallVec<[Want; 1]>,
    pub key: Option<IdempotencyKey>,
    /// The end of the wait, on the clock of the queue.
    pub deadline: Time,
    /// The end of the requested interval, after which a grant is pointless. [`Time::MAX`] if it
    /// moves with the grant.
    pub request_end: Time,
    /// The position that was announced to the client last.
    pub announced: usize,
    /// What blocks the request.
    pub watch: Watch,
}

impl Waiter {
    /// Returns whether the interval begins at the grant, so that a resource that is taken now
    /// cannot be granted.
    pub fn is_from_now(&self) -> bool {
        self.request.when.start == Start::Default
    }

    /// Returns the resource if the request has one name and no other target.
    pub fn only_name(&self) -> Option<ResourceId> {
        match self.wants[..] {
            [Want::Name(id)] => Some(id),
            _ => None,
        }
    }

    /// Returns whether any target is a pattern.
    pub fn has_pattern(&self) -> bool {
        self.patterns().next().is_some()
    }

    /// Iterates over the targets that are patterns.
    pub fn patterns(&self) -> impl Iterator<Item = PatternId> + '_ {
        self.wants.iter().filter_map(|want| match want {
            Want::Name(_) => None,
            Want::Pattern(id) => Some(*id),
        })
    }

    /// Iterates over the targets that are names.
    pub fn names(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.wants.iter().filter_map(|want| match want {
            Want::Name(id) => Some(*id),
            Want::Pattern(_) => None,
        })
    }
}

/// An event of a wait that its client has to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The reservation as it was granted. It may have changed or ended since.
    Granted(Rc<Reservation>),
    /// The wait has reached its time limit, or the client has interrupted it.
    TimedOut,
    /// A resource that the request names was removed.
    Removed(String),
    /// The server is stopping.
    Stopping,
    /// The wait goes on at this position. The next request to be granted has position 1.
    PositionChanged(usize),
}

/// A bound on waiting requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitLimit {
    /// The number of waiting requests.
    Waiters,
    /// The number of targets of all requests that want more than one name.
    Targets,
    /// The number of these targets in the requests from one address, with its bound.
    TargetsOfAddress(usize),
    /// The number of different patterns.
    Patterns,
    /// The memory for the resources that patterns match.
    MatchBytes,
}

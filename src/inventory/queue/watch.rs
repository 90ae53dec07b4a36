//! What blocks each waiter, so that a change only reaches waiters that it may help.
//!
//! A waiter that does not fit watches the first obstacle, in the order in which resources are
//! chosen (names, then patterns from left to right):
//! - a name that is taken now, if the request begins now, until the resource is free now;
//! - a name with another booking in the way, until that booking is gone or shortened;
//! - a pattern without any free match, until a resource that it matches becomes free;
//! - a pattern whose free matches were all chosen for earlier targets, until a resource becomes
//!   free that this pattern or an earlier one matches.
//!
//! Taking a resource never helps. The choice is greedy, so each choice only moves on to a later
//! resource, and the others stay. It follows that a request which failed with a set of free
//! resources also fails with any part of it. A release can therefore only help if its reservation
//! existed at the last try. Otherwise its resource was free in that try, or is still blocked by
//! what blocked it then. Each watched pattern keeps the number of the last reservation at that time
//! ([`Patterns::mark_tried`](super::patterns::Patterns::mark_tried)), and releases of later
//! reservations do not reach its waiters. A reservation and its cancellation therefore cost the
//! same however many waiters compete for too few matches.
//!
//! Time alone frees nothing. An interval that begins at the grant only moves forward, and every
//! obstacle goes with an event. All waiters are tried again in the two exceptions, when the wall
//! clock was set and when it has caught up.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::list::Queue;
use super::patterns::PatternId;
use super::waiter::Ticket;
use crate::inventory::{Inventory, Number, ResourceId};
use crate::time::{ClockReading, Time, Zone};

/// What blocks a waiter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Watch {
    /// Nothing yet. The request was not tried.
    Nothing,
    /// The resource is taken now.
    Taken(ResourceId),
    /// This booking of the resource.
    Booking(ResourceId, Number),
    /// None of these patterns has a free match for the request.
    Patterns {
        patterns: SmallVec<[PatternId; 1]>,
        /// The requested start; `None` if the request begins at the grant.
        start: Option<Time>,
        /// Whether there are free matches, which were chosen for earlier targets. Otherwise one
        /// pattern is watched, and has no free match at all.
        is_contended: bool,
    },
}

impl Watch {
    /// Returns the watched patterns.
    fn patterns(&self) -> &[PatternId] {
        match self {
            Watch::Patterns { patterns, .. } => patterns,
            _ => &[],
        }
    }
}

/// Waiters by the name or booking that they watch. Waiters that watch patterns are listed with
/// these ([`Patterns::watchers`](super::patterns::Patterns::watchers)).
#[derive(Debug, Default)]
pub(super) struct WatchIndex {
    taken: BTreeSet<(ResourceId, Ticket)>,
    bookings: BTreeSet<(ResourceId, Number, Ticket)>,
}

impl WatchIndex {
    /// Returns whether a waiter watches a taken resource.
    pub fn has_taken(&self, id: ResourceId) -> bool {
        self.next_taken(id, Ticket::MIN).is_some()
    }

    /// Returns the first waiter from a ticket on that watches a taken resource.
    pub fn next_taken(&self, id: ResourceId, from: Ticket) -> Option<Ticket> {
        let mut rest = self.taken.range((id, from)..=(id, Ticket::MAX));
        rest.next().map(|(_, ticket)| *ticket)
    }

    /// Returns whether a waiter watches a booking.
    pub fn has_booking(&self, id: ResourceId, number: Number) -> bool {
        self.next_booking(id, number, Ticket::MIN).is_some()
    }

    /// Returns the first waiter from a ticket on that watches a booking.
    pub fn next_booking(&self, id: ResourceId, number: Number, from: Ticket) -> Option<Ticket> {
        let mut rest = self.bookings.range((id, number, from)..=(id, number, Ticket::MAX));
        rest.next().map(|(_, _, ticket)| *ticket)
    }
}

impl Queue {
    /// Changes what blocks a waiter.
    pub(super) fn set_watch(&mut self, ticket: Ticket, watch: Watch) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        if waiter.watch == watch {
            return;
        }
        match &watch {
            Watch::Nothing => {}
            Watch::Taken(id) => drop(self.watches.taken.insert((*id, ticket))),
            Watch::Booking(id, number) => {
                self.watches.bookings.insert((*id, *number, ticket));
            }
            Watch::Patterns { patterns, start, .. } => {
                patterns.iter().for_each(|it| self.patterns.watch(*it, ticket, *start));
            }
        }
        match &waiter.watch {
            Watch::Nothing => {}
            Watch::Taken(id) => drop(self.watches.taken.remove(&(*id, ticket))),
            Watch::Booking(id, number) => {
                self.watches.bookings.remove(&(*id, *number, ticket));
            }
            // The start of a request does not change, so patterns in both stay as they are.
            Watch::Patterns { patterns, start, .. } => {
                let dropped = patterns.iter().filter(|it| !watch.patterns().contains(it));
                dropped.for_each(|it| self.patterns.unwatch(*it, ticket, *start));
            }
        }
        waiter.watch = watch;
    }

    /// Makes a waiter that was tried watch its obstacle. `last` is the number of the last
    /// reservation.
    pub(super) fn block(&mut self, ticket: Ticket, watch: Watch, last: Number) {
        self.set_watch(ticket, watch);
        if let Some(waiter) = self.waiters.get(&ticket) {
            waiter.watch.patterns().iter().for_each(|it| self.patterns.mark_tried(*it, last));
        }
    }

    /// Changes the id of a resource in all watches.
    pub(super) fn remap_watches(&mut self, old: ResourceId, new: ResourceId) {
        while let Some(ticket) = self.watches.next_taken(old, Ticket::MIN) {
            self.set_watch(ticket, Watch::Taken(new));
        }
        let bookings = (old, Number(0), Ticket::MIN)..=(old, Number::MAX, Ticket::MAX);
        let bookings: Vec<_> = self.watches.bookings.range(bookings).copied().collect();
        for (_, number, ticket) in bookings {
            self.set_watch(ticket, Watch::Booking(new, number));
        }
        self.pass.remap(old, new);
    }
}

impl Inventory {
    /// Makes a new waiter, which does not fit, watch its obstacle.
    pub(super) fn watch_obstacle(&mut self, ticket: Ticket, now: ClockReading, zone: &Zone) {
        let waiter = &self.queue.waiters[&ticket];
        let interval = waiter.request.when.interval(now, zone);
        let obstacle = interval.ok().and_then(|it| self.fit_waiter(waiter, it, None).err());
        match obstacle {
            Some(watch) => self.queue.block(ticket, watch, self.last_number),
            // Cannot happen. If it does, the next pass grants the waiter.
            None => self.queue.retry_all(),
        }
    }

    /// Checks for tests that the index lists the watch of a waiter.
    pub(super) fn check_watch(&self, ticket: Ticket) {
        let queue = &self.queue;
        match &queue.waiters[&ticket].watch {
            Watch::Nothing => panic!("{ticket:?} watches nothing"),
            Watch::Taken(id) => assert!(queue.watches.taken.contains(&(*id, ticket))),
            Watch::Booking(id, number) => {
                assert!(queue.watches.bookings.contains(&(*id, *number, ticket)));
            }
            Watch::Patterns { patterns, start, .. } => {
                for pattern in patterns {
                    let watchers = queue.patterns.watchers(*pattern).expect("a watched pattern");
                    let set = if start.is_some() { &watchers.dated } else { &watchers.from_now };
                    assert!(set.contains(&ticket));
                }
            }
        }
    }
}

//! What blocks each waiter, so that a change only reaches waiters that it may help.
//!
//! A waiter that does not fit watches the first obstacle, in the order in which resources are
//! chosen (names, then patterns from left to right):
//! - a name that is taken at a time of the request, until the resource is free at that time, or
//!   now once that time has passed;
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
//! same however many waiters compete for too few matches. The same holds for waiters for one name
//! that want the same time, because none is tried while the resource is taken at that time.
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
    /// The resource is taken.
    Taken(ResourceId, TakenAt),
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

/// A time of a request at which a named resource is taken. As long as it is, the request cannot be
/// granted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum TakenAt {
    /// At every time until the grant, because the request begins at the grant.
    Now,
    /// At this time, and now once it has passed.
    Time(Time),
}

impl TakenAt {
    const MAX: TakenAt = TakenAt::Time(Time::MAX);

    /// Returns the time at which the resource must become free.
    pub fn time(self, now: Time) -> Time {
        match self {
            TakenAt::Now => now,
            TakenAt::Time(time) => time.max(now),
        }
    }

    /// Returns the next value in order.
    pub fn next(self) -> TakenAt {
        match self {
            TakenAt::Now => TakenAt::Time(Time::MIN),
            TakenAt::Time(time) => TakenAt::Time(time.plus_ms(1)),
        }
    }
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

/// Waiters by the taken resource that they watch. Waiters that watch patterns are listed with these
/// ([`Patterns::watchers`](super::patterns::Patterns::watchers)).
#[derive(Debug, Default)]
pub(super) struct WatchIndex {
    taken: BTreeSet<(ResourceId, TakenAt, Ticket)>,
}

impl WatchIndex {
    /// Returns whether a release that ends at `until` may help a waiter for a resource. A watched
    /// time is never later than the end of the booking that covers it.
    pub fn may_gain(&self, id: ResourceId, until: Time) -> bool {
        let first = self.next_group(id, TakenAt::Now);
        first.is_some_and(|(at, _)| at < TakenAt::Time(until))
    }

    /// Returns the first watched time of a resource from `from` on, with its first waiter.
    pub fn next_group(&self, id: ResourceId, from: TakenAt) -> Option<(TakenAt, Ticket)> {
        let mut rest = self.taken.range((id, from, Ticket::MIN)..=(id, TakenAt::MAX, Ticket::MAX));
        rest.next().map(|(_, at, ticket)| (*at, *ticket))
    }

    /// Returns the first waiter from a ticket on that watches a resource at this time.
    pub fn next_waiter(&self, id: ResourceId, at: TakenAt, from: Ticket) -> Option<Ticket> {
        let mut rest = self.taken.range((id, at, from)..=(id, at, Ticket::MAX));
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
            Watch::Taken(id, at) => drop(self.watches.taken.insert((*id, *at, ticket))),
            Watch::Patterns { patterns, start, .. } => {
                patterns.iter().for_each(|it| self.patterns.watch(*it, ticket, *start));
            }
        }
        match &waiter.watch {
            Watch::Nothing => {}
            Watch::Taken(id, at) => drop(self.watches.taken.remove(&(*id, *at, ticket))),
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
        while let Some((at, ticket)) = self.watches.next_group(old, TakenAt::Now) {
            self.set_watch(ticket, Watch::Taken(new, at));
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
            Watch::Taken(id, at) => assert!(queue.watches.taken.contains(&(*id, *at, ticket))),
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

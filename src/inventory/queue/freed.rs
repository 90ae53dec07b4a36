//! The resources that have become free, and how far the waiters that they may help have been
//! tried.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::mem;

use super::list::Queue;
use super::patterns::PatternId;
use super::waiter::Ticket;
use super::watch::TakenAt;
use crate::inventory::{Booking, Number, ResourceId};
use crate::time::Time;

/// Waiters that a change may have helped. They are tried in the order of their tickets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Group {
    /// All waiters.
    All,
    /// The waiters that watch a resource at this time. They are skipped once it is taken again.
    Taken(ResourceId, TakenAt),
    /// The waiters that watch a pattern and want to begin now. Freed resources before this id are
    /// taken again. When all freed resources are, the remaining waiters are skipped.
    FromNow(PatternId, ResourceId),
    /// The waiters that watch a pattern and want dates.
    Dated(PatternId),
}

/// A pass over the waiters that freed resources may help. It can be interrupted and continued at
/// any point.
///
/// A freed resource is first `fresh`. While the waiters that watch it are looked for, it is
/// `scanned`. Then it is `matched` with the watched patterns. When all groups of waiters that it may help are in the heap, it is
/// `freed` until the pass is over.
#[derive(Debug)]
pub(in crate::inventory) struct Pass {
    pub(super) fresh: BTreeSet<ResourceId>,
    /// The resource that is scanned, and the watched time from which the scan continues.
    pub(super) scanned: Option<(ResourceId, TakenAt)>,
    pub(super) has_fresh_all: bool,
    pub(super) matched: BTreeSet<ResourceId>,
    /// The last watched pattern with which `matched` was compared.
    pub(super) matched_up_to: Option<PatternId>,
    pub(super) freed: BTreeSet<ResourceId>,
    /// Whether the pass visits all waiters.
    pub(super) is_for_all: bool,
    /// The bounds of the time that has become free.
    pub(super) first: Time,
    pub(super) last: Time,
    /// The lowest number of a reservation from which a resource was freed.
    pub(super) lowest: Number,
    /// The groups of waiters, by their next ticket.
    pub(super) heap: BinaryHeap<Reverse<(Ticket, Group)>>,
}

impl Default for Pass {
    fn default() -> Pass {
        Pass {
            fresh: BTreeSet::new(),
            scanned: None,
            has_fresh_all: false,
            matched: BTreeSet::new(),
            matched_up_to: None,
            freed: BTreeSet::new(),
            is_for_all: false,
            first: Time::MAX,
            last: Time::MIN,
            lowest: Number::MAX,
            heap: BinaryHeap::new(),
        }
    }
}

impl Pass {
    /// Returns whether no waiter is left to try.
    pub fn is_over(&self) -> bool {
        self.heap.is_empty() && !self.has_groups_to_find()
    }

    /// Returns whether a waiter can be tried now. None can while the inventory is full.
    pub fn can_continue(&self, is_full: bool) -> bool {
        !is_full && !self.is_over()
    }

    /// Returns whether freed resources are left whose waiters are not all in the heap.
    pub(super) fn has_groups_to_find(&self) -> bool {
        self.has_fresh() || !self.matched.is_empty()
    }

    /// Returns whether freed resources are left whose waiters were not looked for.
    pub(super) fn has_fresh(&self) -> bool {
        self.has_fresh_all || !self.fresh.is_empty() || self.scanned.is_some()
    }

    /// Returns the resource to scan, and the watched time from which on.
    pub(super) fn next_to_scan(&mut self) -> Option<(ResourceId, TakenAt)> {
        if self.scanned.is_none() {
            self.scanned = self.fresh.pop_first().map(|id| (id, TakenAt::Now));
        }
        self.scanned
    }

    /// Records that all groups of the scanned resource were found.
    pub(super) fn end_scan(&mut self, id: ResourceId) {
        self.scanned = None;
        self.matched.insert(id);
    }

    /// Restarts from the beginning. Used when the inventory is full.
    pub(super) fn restart(&mut self) {
        self.fresh.append(&mut self.matched);
        self.fresh.append(&mut self.freed);
        self.fresh.extend(self.scanned.take().map(|(id, _)| id));
        self.has_fresh_all |= mem::take(&mut self.is_for_all);
        self.matched_up_to = None;
        self.heap.clear();
    }

    /// Forgets the freed resources of a pass that is over.
    pub(super) fn finish(&mut self) {
        if !self.freed.is_empty() || self.is_for_all {
            *self = Pass::default();
        }
    }

    /// Changes the id of a resource. No pass may be under way.
    pub(super) fn remap(&mut self, old: ResourceId, new: ResourceId) {
        debug_assert!(self.heap.is_empty() && self.freed.is_empty() && self.matched.is_empty());
        debug_assert!(self.scanned.is_none());
        if self.fresh.remove(&old) {
            self.fresh.insert(new);
        }
    }

    /// Forgets the ids from `count` on.
    pub(super) fn truncate(&mut self, count: ResourceId) {
        self.fresh.split_off(&count);
    }
}

impl Queue {
    /// Records that a booking is gone, or has lost `[from, until)`.
    #[inline]
    pub(in crate::inventory) fn free(&mut self, id: ResourceId, freed: Booking) {
        if !self.waiters.is_empty() {
            self.record_freed(id, freed);
        }
    }

    fn record_freed(&mut self, id: ResourceId, Booking { from, until, number }: Booking) {
        if self.watches.may_gain(id, until) || self.patterns.may_gain(id, number) {
            self.pass.fresh.insert(id);
            self.pass.first = self.pass.first.min(from);
            self.pass.last = self.pass.last.max(until);
            self.pass.lowest = self.pass.lowest.min(number);
        }
    }

    /// Records a new resource, as if it had been taken until now.
    pub(in crate::inventory) fn add(&mut self, id: ResourceId) {
        self.free(id, Booking { from: Time::MIN, until: Time::MAX, number: Number(0) });
    }

    /// Makes the next pass try all waiters.
    pub(in crate::inventory) fn retry_all(&mut self) {
        self.pass.has_fresh_all = !self.waiters.is_empty();
    }

    /// Returns the first watched time of a freed resource from `from` on that may have become free,
    /// with its first waiter.
    pub(super) fn next_freed_group(
        &self,
        id: ResourceId,
        from: TakenAt,
        now: Time,
    ) -> Option<(TakenAt, Ticket)> {
        let (first, last) = (self.pass.first, self.pass.last);
        let is_due = |(at, _): &(TakenAt, Ticket)| *at <= TakenAt::Time(now);
        let next = self.watches.next_group(id, from)?;
        if is_due(&next) {
            return Some(next);
        }
        let next = self.watches.next_group(id, from.max(TakenAt::Time(first)))?;
        (is_due(&next) || next.0 < TakenAt::Time(last)).then_some(next)
    }

    /// Puts a group in the heap if it has a waiter from a ticket on.
    pub(super) fn push_group(&mut self, group: Group, from: Ticket) {
        if let Some(ticket) = self.next_of(group, from) {
            self.pass.heap.push(Reverse((ticket, group)));
        }
    }

    /// Returns the first waiter of a group from a ticket on.
    pub(super) fn next_of(&self, group: Group, from: Ticket) -> Option<Ticket> {
        match group {
            Group::All => self.waiters.range(from..).next().map(|(ticket, _)| *ticket),
            Group::Taken(id, at) => self.watches.next_waiter(id, at, from),
            Group::FromNow(pattern, _) => {
                self.patterns.watchers(pattern)?.from_now.range(from..).next().copied()
            }
            Group::Dated(pattern) => {
                self.patterns.watchers(pattern)?.dated.range(from..).next().copied()
            }
        }
    }
}

//! The positions of waiting requests, and their announcement.
//!
//! A position is one more than the number of older requests that want one of the same resources.
//! Any two patterns count as wanting the same resource.
//!
//! Most requests want one resource by its name, and their position is a rank. The few others,
//! called complex, are compared with each other by tests of bits. The first ten positions are
//! announced at once, all others every ten seconds. Both are bounded by the work of a turn, and the
//! next turns continue.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::waiter::{Outcome, Ticket, Waiter, Want};
use crate::inventory::{Candidates, Inventory, ResourceId};
use crate::limits::{POSITIONS_AT_ONCE, POSITIONS_EVERY_MS, POSITIONS_WORK, RELEASES_ONE_BY_ONE};
use crate::time::{ClockReading, Time};

/// The number of names that are compared with the patterns of a waiter that has left, to announce
/// the positions of their first waiters at once.
const NAMES_AT_ONCE: usize = 4_096;

/// The number of resources for which the list of complex requests that want them is cached.
const WANTING_KEPT: usize = 256;

/// Changed positions that are not announced yet.
#[derive(Debug)]
pub(super) struct PositionChanges {
    /// Resources whose waiters have moved up.
    changed: BTreeSet<ResourceId>,
    /// Whether waiters with patterns have moved up.
    patterns_changed: bool,
    /// The first waiters with patterns that want one of the `changed` resources.
    affected: BTreeSet<Ticket>,
    /// The time to announce all positions, on the monotonic clock.
    announce_at: Option<Time>,
    /// The next waiter, while all positions are being announced.
    announcing: Option<Ticket>,
    /// The work left in this turn.
    work: u64,
}

impl Default for PositionChanges {
    fn default() -> PositionChanges {
        PositionChanges {
            changed: BTreeSet::new(),
            patterns_changed: false,
            affected: BTreeSet::new(),
            announce_at: None,
            announcing: None,
            work: POSITIONS_WORK,
        }
    }
}

impl PositionChanges {
    /// Returns the time to announce all positions, on the monotonic clock.
    pub fn announce_at(&self) -> Option<Time> {
        self.announce_at
    }

    /// Moves the announcement after the wall clock was set.
    pub fn shift_clock(&mut self, by_ms: i64) {
        self.announce_at = self.announce_at.map(|at| at.plus_ms(by_ms));
    }

    /// Records that the waiters that name a resource have moved up.
    pub fn mark_changed(&mut self, id: ResourceId) {
        self.changed.insert(id);
    }

    fn is_empty(&self) -> bool {
        !self.patterns_changed && self.changed.is_empty() && self.affected.is_empty()
    }

    /// Drops all announcements, when no request waits any more.
    pub fn clear(&mut self) {
        *self = PositionChanges { work: self.work, ..PositionChanges::default() };
    }

    /// Changes the id of a resource.
    pub fn remap(&mut self, old: ResourceId, new: ResourceId) {
        if self.changed.remove(&old) {
            self.changed.insert(new);
        }
    }

    /// Forgets the ids from `count` on.
    pub fn truncate(&mut self, count: ResourceId) {
        self.changed.split_off(&count);
    }
}

impl Inventory {
    /// Returns the number of waiting requests that want one of the same resources as a new request.
    pub fn waiting_for(&self, candidates: &Candidates) -> usize {
        let queue = &self.queue;
        if queue.is_empty() {
            return 0;
        }
        let any = candidates.has_pattern().then(|| candidates.any_match());
        let is_wanted = |id: ResourceId| {
            let matches = || any.as_ref().is_some_and(|any| any.binary_search(&id).is_ok());
            candidates.names().any(|name| name == id) || matches()
        };
        self.add_work(queue.by_only_name.len() / 4);
        let named: usize = match &any {
            None => candidates.names().map(|id| self.rank(id, Ticket::MAX)).sum(),
            Some(_) => {
                let wanted = queue.by_only_name.iter().filter(|(id, _)| is_wanted(**id));
                wanted.map(|(_, ranks)| ranks.len()).sum()
            }
        };
        let complex = queue.complex.iter().filter(|ticket| {
            let other = &queue.waiters[ticket];
            self.add_work(1 + other.wants.len() / 4);
            (any.is_some() && other.has_pattern())
                || other.names().any(is_wanted)
                || candidates.names().any(|name| self.wants(other, name))
        });
        named + complex.count()
    }

    /// Returns the number of older waiters that want this resource by its name and nothing else.
    fn rank(&self, id: ResourceId, ticket: Ticket) -> usize {
        self.add_work(1);
        self.queue.by_only_name.get(&id).map_or(0, |ranks| ranks.before(ticket))
    }

    /// Returns whether a waiter wants this resource, by its name or by a pattern.
    fn wants(&self, waiter: &Waiter, id: ResourceId) -> bool {
        waiter.wants.iter().any(|want| match want {
            Want::Name(name) => *name == id,
            Want::Pattern(pattern) => {
                self.queue.patterns.is_match(*pattern, id, self.names.texts())
            }
        })
    }

    /// Returns the complex requests that want this resource, oldest first.
    fn wanting(&self, id: ResourceId) -> Rc<[Ticket]> {
        let queue = &self.queue;
        if let Some(cached) = queue.wanting.borrow().get(&id) {
            return Rc::clone(cached);
        }
        self.add_work(queue.complex_targets / 8);
        let all = queue.complex.iter().filter(|ticket| self.wants(&queue.waiters[ticket], id));
        let all: Rc<[Ticket]> = all.copied().collect();
        let mut cache = queue.wanting.borrow_mut();
        if cache.len() >= WANTING_KEPT {
            cache.clear();
        }
        cache.insert(id, Rc::clone(&all));
        all
    }

    /// Returns the position of a waiter. The count stops at `bound` older requests.
    pub(super) fn position(&self, ticket: Ticket, bound: usize) -> usize {
        let waiter = &self.queue.waiters[&ticket];
        match waiter.only_name() {
            Some(id) => 1 + self.older_for_name(ticket, id, bound),
            None => 1 + self.older_than_complex(ticket, waiter, bound),
        }
    }

    /// Returns the number of older requests for the only resource that a waiter wants.
    fn older_for_name(&self, ticket: Ticket, id: ResourceId, bound: usize) -> usize {
        let older = self.rank(id, ticket);
        if older >= bound || self.queue.complex.first().is_none_or(|first| *first > ticket) {
            return older;
        }
        older + self.wanting(id).partition_point(|other| *other < ticket)
    }

    /// Returns the number of older requests that want one of the resources of a complex one.
    fn older_than_complex(&self, ticket: Ticket, waiter: &Waiter, bound: usize) -> usize {
        let queue = &self.queue;
        let mut older = 0;
        for other in queue.complex.range(..ticket) {
            older += usize::from(self.is_shared(waiter, &queue.waiters[other]));
            if older >= bound {
                return older;
            }
        }
        if !waiter.has_pattern() {
            return older + waiter.names().map(|id| self.rank(id, ticket)).sum::<usize>();
        }
        self.add_work(queue.by_only_name.len() / 2);
        let union = queue.patterns.union_of(waiter.patterns());
        for (id, ranks) in &queue.by_only_name {
            let is_match = || union.get(*id).unwrap_or_else(|| self.wants(waiter, *id));
            if waiter.names().any(|name| name == *id) || is_match() {
                older += ranks.before(ticket);
            }
            if older >= bound {
                break;
            }
        }
        older
    }

    /// Returns whether two complex requests want one of the same resources.
    fn is_shared(&self, one: &Waiter, other: &Waiter) -> bool {
        if one.has_pattern() && other.has_pattern() {
            self.add_work(1);
            return true;
        }
        let mut tested = 0;
        let mut has = |waiter: &Waiter, id| {
            tested += waiter.wants.len();
            self.wants(waiter, id)
        };
        let found = one.names().any(|id| has(other, id)) || other.names().any(|id| has(one, id));
        self.add_work(1 + tested / 16);
        found
    }

    /// Records that waiters have moved up because one with patterns has left.
    pub(super) fn mark_changed_by_patterns(&mut self, left: &Waiter) {
        self.queue.positions.patterns_changed = true;
        if self.queue.positions.work == 0 {
            return;
        }
        let texts = self.names.texts();
        let (mut found, mut from, mut tested) = (Vec::new(), ResourceId(0), 0);
        while found.len() < RELEASES_ONE_BY_ONE && tested < NAMES_AT_ONCE {
            let next = self.queue.by_name.range((from, Ticket::MIN)..).next();
            let Some((id, _)) = next.copied() else { break };
            let is_match = |pattern| self.queue.patterns.is_match(pattern, id, texts);
            if left.patterns().any(is_match) {
                found.push(id);
            }
            tested += 1;
            from = id.next();
        }
        let work = tested * left.wants.len() / 8;
        self.add_work(work);
        self.queue.positions.work = self.queue.positions.work.saturating_sub(work as u64);
        self.queue.positions.changed.extend(found);
    }

    /// Announces the first positions that have changed, and schedules the announcement of all
    /// others.
    pub(in crate::inventory) fn announce_first_positions(&mut self, now: ClockReading) {
        if self.queue.positions.is_empty() {
            return;
        }
        if self.queue.len() > POSITIONS_AT_ONCE && self.queue.positions.announce_at.is_none() {
            self.queue.positions.announce_at = Some(now.monotonic.plus_ms(POSITIONS_EVERY_MS));
        }
        let before = self.work();
        let end = before + self.queue.positions.work;
        while self.work() < end
            && let Some(id) = self.queue.positions.changed.pop_first()
        {
            self.announce_first_of(id);
        }
        if self.queue.positions.changed.is_empty() && self.work() < end {
            let mut affected = std::mem::take(&mut self.queue.positions.affected);
            if std::mem::take(&mut self.queue.positions.patterns_changed) {
                affected.extend(self.queue.with_pattern.iter().take(POSITIONS_AT_ONCE));
            }
            affected.into_iter().for_each(|ticket| self.announce_if_first(ticket));
        }
        let spent = self.work() - before;
        self.queue.positions.work = self.queue.positions.work.saturating_sub(spent);
    }

    /// Announces their positions to the first waiters that name a resource, and records the first
    /// waiters with patterns that want it.
    fn announce_first_of(&mut self, id: ResourceId) {
        self.add_work(1);
        let first = self.queue.with_pattern.iter().take(POSITIONS_AT_ONCE);
        let affected = first.filter(|ticket| self.wants(&self.queue.waiters[ticket], id));
        let affected: Vec<_> = affected.copied().collect();
        self.queue.positions.affected.extend(affected);
        let named = self.queue.by_name.range((id, Ticket::MIN)..=(id, Ticket::MAX));
        let named: Vec<_> = named.take(POSITIONS_AT_ONCE).map(|(_, ticket)| *ticket).collect();
        named.into_iter().for_each(|ticket| self.announce_if_first(ticket));
    }

    fn announce_if_first(&mut self, ticket: Ticket) {
        if !self.queue.waiters.contains_key(&ticket) {
            return;
        }
        let position = self.position(ticket, POSITIONS_AT_ONCE);
        if position <= POSITIONS_AT_ONCE {
            self.announce(ticket, position);
        }
    }

    /// Begins to announce all changed positions if it is time to.
    pub(in crate::inventory) fn announce_if_due(&mut self, now: ClockReading) {
        if self.queue.positions.announce_at.is_some_and(|at| at <= now.monotonic) {
            self.queue.positions.announce_at = None;
            self.queue.positions.announcing = Some(Ticket::MIN);
            self.continue_announcing();
        }
    }

    /// Restores the work that a turn has for positions.
    pub(in crate::inventory) fn reset_position_work(&mut self) {
        self.queue.positions.work = POSITIONS_WORK;
    }

    /// Continues the announcements that the last turn left.
    pub(in crate::inventory) fn announce_positions(&mut self, now: ClockReading) {
        self.announce_first_positions(now);
        self.continue_announcing();
    }

    /// Announces changed positions, from where the last call stopped, until the work is used up.
    fn continue_announcing(&mut self) {
        let Some(first) = self.queue.positions.announcing else { return };
        let end = self.work() + self.queue.positions.work;
        let mut next = first;
        while let Some((ticket, _)) = self.queue.waiters.range(next..).next() {
            let ticket = *ticket;
            if self.work() >= end {
                self.queue.positions.announcing = Some(ticket);
                self.queue.positions.work = 0;
                return;
            }
            self.add_work(4);
            let position = self.position(ticket, usize::MAX);
            self.announce(ticket, position);
            next = ticket.next();
        }
        self.queue.positions.work = end - self.work().min(end);
        self.queue.positions.announcing = None;
    }

    /// Returns whether positions are left to announce in the next turn.
    #[inline]
    pub(in crate::inventory) fn has_unannounced_positions(&self) -> bool {
        let positions = &self.queue.positions;
        positions.announcing.is_some() || !self.queue.is_empty() && !positions.is_empty()
    }

    fn announce(&mut self, ticket: Ticket, position: usize) {
        let Some(waiter) = self.queue.waiters.get_mut(&ticket) else { return };
        if waiter.announced != position {
            waiter.announced = position;
            let outcome = Outcome::PositionChanged(position);
            self.queue.outcomes.push((waiter.principal.session, outcome));
        }
    }
}

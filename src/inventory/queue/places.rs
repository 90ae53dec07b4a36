//! The places of waiting requests. A place is one more than the number of older requests that want
//! one of the same resources. Any two patterns count as wanting the same.
//!
//! Most requests want one resource by its name, and their place is a rank. The few others, called
//! complex, are compared with them by tests of bits. The first ten places are announced at once,
//! all others every ten seconds, in pieces. When more changes at once than a turn can announce, the
//! next turns announce the rest of the first ten.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::{Outcome, Ticket, Waiter, Want};
use crate::inventory::{Candidates, Inventory, ResourceId};
use crate::limits::{PLACES_AT_ONCE, PLACES_EVERY_MS, PLACES_WORK, RELEASES_ONE_BY_ONE};
use crate::time::{ClockReading, Time};

/// After a waiter with a pattern has left, the number of names whose first waiters are told their
/// new places at once.
const NAMES_AT_ONCE: usize = 4_096;

/// Resources for which the list of complex requests that want them is cached.
const WANTING_KEPT: usize = 256;

/// Changed places that are not announced yet.
#[derive(Debug)]
pub(super) struct News {
    /// Resources whose waiters have moved up.
    moved: BTreeSet<ResourceId>,
    /// Whether waiters with patterns have moved up.
    patterns_moved: bool,
    /// The first waiters with patterns that want one of the moved resources.
    concerned: BTreeSet<Ticket>,
    /// When those further back are told their places, by the steady clock.
    tell_at: Option<Time>,
    /// The next waiter to announce a place to, while all places are announced.
    telling: Option<Ticket>,
    /// Work left in this turn for places.
    work: u64,
}

impl Default for News {
    fn default() -> News {
        News {
            moved: BTreeSet::new(),
            patterns_moved: false,
            concerned: BTreeSet::new(),
            tell_at: None,
            telling: None,
            work: PLACES_WORK,
        }
    }
}

impl News {
    pub fn tell_at(&self) -> Option<Time> {
        self.tell_at
    }

    pub fn shift(&mut self, by_ms: i64) {
        self.tell_at = self.tell_at.map(|at| at.plus_ms(by_ms));
    }

    pub fn note_moved(&mut self, id: ResourceId) {
        self.moved.insert(id);
    }

    fn has_moved(&self) -> bool {
        self.patterns_moved || !self.moved.is_empty() || !self.concerned.is_empty()
    }

    pub fn forget(&mut self) {
        self.moved.clear();
        self.concerned.clear();
        self.patterns_moved = false;
        (self.tell_at, self.telling) = (None, None);
    }

    pub fn remap(&mut self, old: ResourceId, new: ResourceId) {
        if self.moved.remove(&old) {
            self.moved.insert(new);
        }
    }

    pub fn truncate(&mut self, count: ResourceId) {
        self.moved.split_off(&count);
    }
}

impl Inventory {
    /// How many wait for something of these: who waited for them now would be
    /// behind so many.
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
            None => candidates.names().map(|id| self.ranked(id, Ticket::MAX)).sum(),
            Some(_) => {
                let selectors = queue.by_only_name.iter().filter(|(id, _)| is_wanted(**id));
                selectors.map(|(_, ranks)| ranks.len()).sum()
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
    fn ranked(&self, id: ResourceId, ticket: Ticket) -> usize {
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
        if let Some(kept) = queue.wanting.borrow().get(&id) {
            return Rc::clone(kept);
        }
        self.add_work(queue.complex_targets / 8);
        let all = queue.complex.iter().filter(|ticket| self.wants(&queue.waiters[ticket], id));
        let all: Rc<[Ticket]> = all.copied().collect();
        let mut kept = queue.wanting.borrow_mut();
        if kept.len() >= WANTING_KEPT {
            kept.clear();
        }
        kept.insert(id, Rc::clone(&all));
        all
    }

    /// Returns one more than the number of older waiters that want one of the same resources. Stops
    /// counting at `bound`.
    pub(super) fn place_of(&self, ticket: Ticket, bound: usize) -> usize {
        let queue = &self.queue;
        let waiter = &queue.waiters[&ticket];
        if let Some(id) = waiter.only_name() {
            let ahead = self.ranked(id, ticket);
            if ahead >= bound || queue.complex.first().is_none_or(|first| *first > ticket) {
                return 1 + ahead;
            }
            return 1 + ahead + self.wanting(id).partition_point(|other| *other < ticket);
        }
        let mut ahead = 0;
        for other in queue.complex.range(..ticket) {
            ahead += usize::from(self.meet(waiter, &queue.waiters[other]));
            if ahead >= bound {
                return 1 + ahead;
            }
        }
        if waiter.has_pattern() {
            self.add_work(queue.by_only_name.len() / 2);
            let union = queue.patterns.union_of(waiter.patterns());
            for (id, ranks) in &queue.by_only_name {
                let is_match = || match union.get(*id) {
                    Some(is_match) => is_match,
                    None => self.wants(waiter, *id),
                };
                if waiter.names().any(|name| name == *id) || is_match() {
                    ahead += ranks.before(ticket);
                }
                if ahead >= bound {
                    break;
                }
            }
            return 1 + ahead;
        }
        1 + ahead + waiter.names().map(|id| self.ranked(id, ticket)).sum::<usize>()
    }

    /// Returns whether two complex requests want one of the same resources.
    fn meet(&self, one: &Waiter, other: &Waiter) -> bool {
        if one.has_pattern() && other.has_pattern() {
            self.add_work(1);
            return true;
        }
        let mut looked_at = 0;
        let mut has = |waiter: &Waiter, id| {
            looked_at += waiter.wants.len();
            self.wants(waiter, id)
        };
        let found = one.names().any(|id| has(other, id)) || other.names().any(|id| has(one, id));
        self.add_work(1 + looked_at / 16);
        found
    }

    /// Records whose places have changed because a waiter with patterns has left.
    pub(super) fn note_moved_by_patterns(&mut self, gone: &Waiter) {
        self.queue.places.patterns_moved = true;
        if self.queue.places.work == 0 {
            return;
        }
        let texts = self.names.texts();
        let (mut found, mut from, mut looked_at) = (Vec::new(), ResourceId(0), 0);
        while found.len() < RELEASES_ONE_BY_ONE && looked_at < NAMES_AT_ONCE {
            let next = self.queue.by_name.range((from, 0)..).next();
            let Some((id, _)) = next.copied() else { break };
            let is_match = |pattern| self.queue.patterns.is_match(pattern, id, texts);
            if gone.patterns().any(is_match) {
                found.push(id);
            }
            looked_at += 1;
            from = id.next();
        }
        let work = (looked_at * gone.wants.len() / 8) as u64;
        self.add_work(work as usize);
        self.queue.places.work = self.queue.places.work.saturating_sub(work);
        self.queue.places.moved.extend(found);
    }

    /// Announces the new places of the first waiters for resources that have moved up, and
    /// schedules the announcement for all others.
    pub(in crate::inventory) fn tell_first_places(&mut self, now: ClockReading) {
        if !self.queue.places.has_moved() {
            return;
        }
        if self.queue.len() > PLACES_AT_ONCE && self.queue.places.tell_at.is_none() {
            self.queue.places.tell_at = Some(now.monotonic.plus_ms(PLACES_EVERY_MS));
        }
        let before = self.work();
        let end = before + self.queue.places.work;
        while self.work() < end
            && let Some(id) = self.queue.places.moved.pop_first()
        {
            self.tell_first_of(id);
        }
        if self.queue.places.moved.is_empty() && self.work() < end {
            let mut concerned = std::mem::take(&mut self.queue.places.concerned);
            if std::mem::take(&mut self.queue.places.patterns_moved) {
                concerned.extend(self.queue.with_pattern.iter().take(PLACES_AT_ONCE));
            }
            concerned.into_iter().for_each(|ticket| self.tell_if_first(ticket));
        }
        let spent = self.work() - before;
        self.queue.places.work = self.queue.places.work.saturating_sub(spent);
    }

    /// Announces their places to the first waiters that name a resource, and records which of those
    /// with patterns want it.
    fn tell_first_of(&mut self, id: ResourceId) {
        self.add_work(1);
        let first = self.queue.with_pattern.iter().take(PLACES_AT_ONCE);
        let concerned = first.filter(|ticket| self.wants(&self.queue.waiters[ticket], id));
        let concerned: Vec<_> = concerned.copied().collect();
        self.queue.places.concerned.extend(concerned);
        let named = self.queue.by_name.range((id, 0)..=(id, Ticket::MAX));
        let named: Vec<_> = named.take(PLACES_AT_ONCE).map(|(_, ticket)| *ticket).collect();
        named.into_iter().for_each(|ticket| self.tell_if_first(ticket));
    }

    fn tell_if_first(&mut self, ticket: Ticket) {
        if !self.queue.waiters.contains_key(&ticket) {
            return;
        }
        let place = self.place_of(ticket, PLACES_AT_ONCE);
        if place <= PLACES_AT_ONCE {
            self.tell(ticket, place);
        }
    }

    /// Begins to announce all changed places if it is time to.
    pub(in crate::inventory) fn begin_telling(&mut self, now: ClockReading) {
        if self.queue.places.tell_at.is_some_and(|tell_at| tell_at <= now.monotonic) {
            self.queue.places.tell_at = None;
            self.queue.places.telling = Some(0);
            self.tell_on();
        }
    }

    /// Restores the work that a turn has for places.
    pub(in crate::inventory) fn new_turn_for_places(&mut self) {
        self.queue.places.work = PLACES_WORK;
    }

    /// Continues the announcement that the last turn left.
    pub(in crate::inventory) fn tell_places(&mut self, now: ClockReading) {
        self.tell_first_places(now);
        self.tell_on();
    }

    /// Announces changed places, from where the last call stopped, until the work is used up.
    fn tell_on(&mut self) {
        let Some(first) = self.queue.places.telling else { return };
        let end = self.work() + self.queue.places.work;
        let mut next = first;
        while let Some((ticket, _)) = self.queue.waiters.range(next..).next() {
            let ticket = *ticket;
            if self.work() >= end {
                self.queue.places.telling = Some(ticket);
                self.queue.places.work = 0;
                return;
            }
            self.add_work(4);
            let place = self.place_of(ticket, usize::MAX);
            self.tell(ticket, place);
            next = ticket + 1;
        }
        self.queue.places.work = end - self.work().min(end);
        self.queue.places.telling = None;
    }

    /// Returns whether places have to be announced in the next turn.
    #[inline]
    pub(in crate::inventory) fn has_places_to_tell(&self) -> bool {
        let places = &self.queue.places;
        places.telling.is_some() || !self.queue.is_empty() && places.has_moved()
    }

    fn tell(&mut self, ticket: Ticket, place: usize) {
        let Some(waiter) = self.queue.waiters.get_mut(&ticket) else { return };
        if waiter.told != place {
            waiter.told = place;
            self.queue.outcomes.push((waiter.principal.session, Outcome::PositionChanged(place)));
        }
    }
}

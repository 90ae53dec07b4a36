//! The patterns of waiting requests, each kept once with the resources that it matches.
//!
//! A pattern is matched with all names once, when the first request with it begins to wait. New
//! names are matched when the next pass over freed resources needs them. After that, a match is a
//! test of a bit, and the next match is found by scanning words.
//!
//! A match set may contain ids of removed resources, which iterations must skip. Ids from
//! `evaluated` on are not in a set yet, and are matched by their name.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::mem;

use super::freed::Pass;
use super::match_set::MatchSet;
use super::waiter::Ticket;
use crate::inventory::names::NameTexts;
use crate::inventory::pattern::Pattern;
use crate::inventory::{Number, ResourceId};
use crate::limits::WAIT_MATCH_BYTES;
use crate::time::Time;

/// The id of a pattern that at least one waiting request has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PatternId(u32);

/// The waiters that watch a pattern.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// Waiters that want to begin at once.
    pub from_now: BTreeSet<Ticket>,
    /// Waiters that want dates.
    pub dated: BTreeSet<Ticket>,
    /// The starts of `dated`.
    starts: BTreeSet<(Time, Ticket)>,
    /// The number of the last reservation at the last try of a waiter. Releases of later
    /// reservations help none of them.
    tried_at: Number,
}

impl Watchers {
    fn len(&self) -> usize {
        self.from_now.len() + self.dated.len()
    }

    /// Returns the earliest start of the waiters that want dates.
    pub fn first_start(&self) -> Option<Time> {
        self.starts.first().map(|(start, _)| *start)
    }
}

/// A pattern with its matches and watchers.
#[derive(Debug)]
struct Interned {
    pattern: Pattern,
    /// The number of targets of waiting requests with this pattern.
    uses: usize,
    matches: MatchSet,
    /// The lowest id that `matches` does not cover.
    evaluated: ResourceId,
    watchers: Watchers,
}

/// The union of the matches of some patterns.
pub(super) struct Union {
    words: Vec<u64>,
    ids: ResourceId,
}

impl Union {
    /// Returns whether any of the patterns matches; `None` if the id is not covered for all of
    /// them.
    pub fn get(&self, id: ResourceId) -> Option<bool> {
        let bit = |word: &u64| word >> (id.0 % 64) & 1 == 1;
        (id < self.ids).then(|| self.words.get(id.index() / 64).is_some_and(bit))
    }
}

/// The patterns of all waiting requests.
#[derive(Debug, Default)]
pub struct Patterns {
    slots: Vec<Option<Interned>>,
    by_text: HashMap<Box<str>, PatternId>,
    /// Free slots. The lowest is used first.
    free: BinaryHeap<Reverse<u32>>,
    /// Bytes of all match sets.
    bytes: usize,
    /// The patterns that have watchers.
    watched: BTreeSet<PatternId>,
    /// A superset of the matches of all watched patterns.
    union: Vec<u64>,
    /// The lowest id that `union` does not cover.
    union_ids: ResourceId,
    /// Patterns that are no longer watched but may still be part of `union`.
    unwatched: usize,
    /// The number of the last reservation at the last try of any waiter with a pattern.
    tried_at: Number,
}

impl Patterns {
    /// Returns the number of different patterns.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Returns the bytes of all match sets.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the id of a pattern that a waiting request has.
    pub fn find(&self, pattern: &Pattern) -> Option<PatternId> {
        self.by_text.get(pattern.as_str()).copied()
    }

    fn get(&self, id: PatternId) -> &Interned {
        self.slots[id.0 as usize].as_ref().expect("a pattern lives as long as its requests")
    }

    fn get_mut(&mut self, id: PatternId) -> &mut Interned {
        self.slots[id.0 as usize].as_mut().expect("a pattern lives as long as its requests")
    }

    /// Adds a use of a pattern. `matches` lists the resources among the first `ids` that it
    /// matches.
    pub fn intern(
        &mut self,
        pattern: &Pattern,
        matches: &[ResourceId],
        ids: ResourceId,
    ) -> PatternId {
        if let Some(id) = self.find(pattern) {
            self.get_mut(id).uses += 1;
            return id;
        }
        let slot = self.free.pop().map_or(self.slots.len() as u32, |Reverse(slot)| slot);
        if slot as usize == self.slots.len() {
            self.slots.push(None);
        }
        let id = PatternId(slot);
        let matches = MatchSet::new(matches.to_vec(), ids);
        self.bytes += matches.bytes();
        self.by_text.insert(pattern.as_str().into(), id);
        let watchers = Watchers::default();
        let pattern = pattern.clone();
        self.slots[slot as usize] =
            Some(Interned { pattern, uses: 1, matches, evaluated: ids, watchers });
        id
    }

    /// Drops a use of a pattern.
    pub fn release(&mut self, id: PatternId) {
        let interned = self.get_mut(id);
        interned.uses -= 1;
        if interned.uses == 0 {
            debug_assert_eq!(interned.watchers.len(), 0);
            self.bytes -= interned.matches.bytes();
            let interned = self.slots[id.0 as usize].take();
            let text = interned.map(|interned| interned.pattern);
            self.by_text.remove(text.as_ref().map_or("", Pattern::as_str));
            self.free.push(Reverse(id.0));
        }
    }

    /// Returns whether a pattern matches a resource.
    pub fn is_match(&self, pattern: PatternId, id: ResourceId, texts: &NameTexts) -> bool {
        let interned = self.get(pattern);
        match id < interned.evaluated {
            true => interned.matches.contains(id),
            false => interned.pattern.matches(texts.folded(id)),
        }
    }

    /// Returns whether any pattern matches a resource, and the number of patterns tested.
    pub fn any_match(&self, id: ResourceId, texts: &NameTexts) -> (bool, usize) {
        let mut tested = 0;
        let found = self.by_text.values().any(|pattern| {
            tested += 1;
            self.is_match(*pattern, id, texts)
        });
        (found, tested)
    }

    /// Returns the first id, in order, that a pattern matches and that passes the test.
    pub fn find_match(
        &self,
        pattern: PatternId,
        first: ResourceId,
        ids: ResourceId,
        texts: &NameTexts,
        mut test: impl FnMut(ResourceId) -> bool,
    ) -> Option<ResourceId> {
        let interned = self.get(pattern);
        interned.matches.find(first, &mut test).or_else(|| {
            let rest = (interned.evaluated.max(first).0..ids.0).map(ResourceId);
            rest.into_iter().find(|id| interned.pattern.matches(texts.folded(*id)) && test(*id))
        })
    }

    /// Returns the work of a search through all matches of a pattern, without the tests of the
    /// matches.
    pub fn search_work(&self, pattern: PatternId, ids: ResourceId) -> usize {
        let interned = self.get(pattern);
        let words = match &interned.matches {
            MatchSet::Sparse(_) => 0,
            MatchSet::Dense(words) => words.len() / 8,
        };
        words + (ids.0 - interned.evaluated.0) as usize
    }

    /// Matches a pattern with up to `most` new names and returns their number. It is 0 if the set
    /// is up to date or may not grow.
    pub fn extend(
        &mut self,
        pattern: PatternId,
        ids: ResourceId,
        most: usize,
        texts: &NameTexts,
    ) -> usize {
        let may_grow = self.bytes <= WAIT_MATCH_BYTES;
        let interned = self.get_mut(pattern);
        let first = interned.evaluated;
        if first >= ids || !may_grow {
            return 0;
        }
        let before = interned.matches.bytes();
        let end = ids.min(ResourceId(first.0.saturating_add(most as u32)));
        for id in (first.0..end.0).map(ResourceId) {
            if interned.pattern.matches(texts.folded(id)) {
                interned.matches.push(id);
            }
        }
        interned.matches.choose_form(end);
        interned.evaluated = end;
        let after = interned.matches.bytes();
        self.bytes = self.bytes + after - before;
        (end.0 - first.0) as usize
    }

    /// Iterates over all patterns.
    pub(super) fn ids(&self) -> impl Iterator<Item = PatternId> + '_ {
        self.by_text.values().copied()
    }

    /// Returns the total number of uses of all patterns.
    pub(super) fn uses(&self) -> usize {
        self.slots.iter().flatten().map(|interned| interned.uses).sum()
    }

    /// Returns the pattern with this id.
    pub(super) fn pattern(&self, id: PatternId) -> &Pattern {
        &self.get(id).pattern
    }

    /// Returns the union of the matches of these patterns, for ids that all of them cover.
    pub(super) fn union_of(&self, patterns: impl Iterator<Item = PatternId>) -> Union {
        let mut union = Union { words: Vec::new(), ids: ResourceId::MAX };
        for pattern in patterns {
            let interned = self.get(pattern);
            interned.matches.add_to(&mut union.words);
            union.ids = union.ids.min(interned.evaluated);
        }
        union
    }

    /// Returns the waiters that watch a pattern.
    pub(super) fn watchers(&self, pattern: PatternId) -> Option<&Watchers> {
        Some(&self.slots.get(pattern.0 as usize)?.as_ref()?.watchers)
    }

    /// Adds a waiter that watches a pattern, with its start if it wants dates.
    pub(super) fn watch(&mut self, pattern: PatternId, ticket: Ticket, start: Option<Time>) {
        let watchers = &mut self.get_mut(pattern).watchers;
        let is_first = watchers.len() == 0;
        match start {
            None => drop(watchers.from_now.insert(ticket)),
            Some(start) => {
                watchers.dated.insert(ticket);
                watchers.starts.insert((start, ticket));
            }
        }
        if is_first {
            self.watched.insert(pattern);
            self.add_to_union(pattern);
        }
    }

    /// Adds the matches of a pattern that is now watched to the union.
    fn add_to_union(&mut self, pattern: PatternId) {
        if self.watched.len() == 1 {
            self.union.clear();
            self.unwatched = 0;
            self.union_ids = ResourceId::MAX;
        }
        let mut union = mem::take(&mut self.union);
        let interned = self.get(pattern);
        interned.matches.add_to(&mut union);
        self.union_ids = self.union_ids.min(interned.evaluated);
        self.union = union;
    }

    /// Reverses [`Patterns::watch`].
    pub(super) fn unwatch(&mut self, pattern: PatternId, ticket: Ticket, start: Option<Time>) {
        let watchers = &mut self.get_mut(pattern).watchers;
        match start {
            None => drop(watchers.from_now.remove(&ticket)),
            Some(start) => {
                watchers.dated.remove(&ticket);
                watchers.starts.remove(&(start, ticket));
            }
        }
        if watchers.len() == 0 {
            self.watched.remove(&pattern);
            self.unwatched += 1;
            if self.unwatched > 2 * self.watched.len() + 64 {
                self.rebuild_union();
            }
        }
    }

    /// Recomputes the union of the watched patterns.
    pub(super) fn rebuild_union(&mut self) {
        let mut union = mem::take(&mut self.union);
        union.fill(0);
        self.union_ids = ResourceId::MAX;
        self.unwatched = 0;
        for pattern in &self.watched {
            let interned = self.get(*pattern);
            interned.matches.add_to(&mut union);
            self.union_ids = self.union_ids.min(interned.evaluated);
        }
        self.union = union;
    }

    /// Records that waiters that watch a pattern were tried, or were skipped because nothing was
    /// free for them. `last` is the number of the last reservation.
    pub(super) fn mark_tried(&mut self, pattern: PatternId, last: Number) {
        let slot = self.slots.get_mut(pattern.0 as usize);
        if let Some(interned) = slot.and_then(Option::as_mut) {
            interned.watchers.tried_at = last;
            self.tried_at = last;
        }
    }

    /// Returns whether a resource that was freed from a reservation may help a waiter that watches
    /// any pattern.
    pub(super) fn may_gain(&self, id: ResourceId, number: Number) -> bool {
        if self.watched.is_empty() || number > self.tried_at {
            return false;
        }
        let bit = |word: &u64| word >> (id.0 % 64) & 1 == 1;
        id >= self.union_ids || self.union.get(id.index() / 64).is_some_and(bit)
    }

    /// Returns the first resource of a pass that may help the waiters that watch a pattern, and the
    /// number of resources tested.
    pub(super) fn first_gain(
        &self,
        pattern: PatternId,
        pass: &Pass,
        texts: &NameTexts,
    ) -> (Option<ResourceId>, u64) {
        if pass.lowest > self.get(pattern).watchers.tried_at {
            return (None, 0);
        }
        let mut tested = 0;
        let found = pass.matched.iter().copied().find(|id| {
            tested += 1;
            self.is_match(pattern, *id, texts)
        });
        (found, tested)
    }

    /// Returns the first watched pattern after another.
    pub(super) fn watched_after(&self, last: Option<PatternId>) -> Option<PatternId> {
        let first = last.map_or(0, |last| last.0 + 1);
        self.watched.range(PatternId(first)..).next().copied()
    }

    /// Moves a resource to a lower id. Returns the number of sets that changed.
    pub(super) fn remap(&mut self, old: ResourceId, new: ResourceId, texts: &NameTexts) -> usize {
        for interned in self.slots.iter_mut().flatten() {
            let is_match = match old < interned.evaluated {
                true => interned.matches.contains(old),
                false if new < interned.evaluated => interned.pattern.matches(texts.folded(new)),
                false => continue,
            };
            interned.matches.remap(old, new, is_match);
        }
        // The union covers no ids until it is recomputed.
        self.union_ids = ResourceId(0);
        self.len()
    }

    /// Forgets the ids from `count` on.
    pub(super) fn truncate(&mut self, count: ResourceId) {
        let mut bytes = 0;
        for interned in self.slots.iter_mut().flatten() {
            interned.matches.truncate(count);
            interned.evaluated = interned.evaluated.min(count);
            bytes += interned.matches.bytes();
        }
        self.bytes = bytes;
        self.rebuild_union();
    }
}

//! The patterns of waiting requests, each kept once with the resources that it matches.
//!
//! A pattern is matched with all names once, when the first request with it begins to wait, and
//! with new names when a request asks for them. After that, a match is a test of a bit, and the
//! next match is found by scanning words.
//!
//! Sets may hold ids of resources that were removed; iterations must skip them. Ids from
//! `evaluated` on are not in a set yet, and are matched by their name.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::Ticket;
use crate::inventory::names::NameTexts;
use crate::inventory::pattern::Pattern;
use crate::inventory::{Number, ResourceId};
use crate::limits::WAIT_MATCH_BYTES;
use crate::time::Time;

/// The id of a pattern that at least one waiting request has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PatternId(u32);

/// A set of resource ids: a sorted list while it is sparse, a bitmap when it is dense.
#[derive(Debug)]
enum MatchSet {
    Sparse(Vec<ResourceId>),
    Dense(Vec<u64>),
}

/// A bitmap is used from one match in this many ids on, where it is no larger than a list.
const DENSE_FROM: usize = 32;

impl MatchSet {
    fn new(sorted: Vec<ResourceId>, ids: ResourceId) -> MatchSet {
        let mut set = MatchSet::Sparse(sorted);
        set.choose_form(ids);
        set
    }

    fn choose_form(&mut self, ids: ResourceId) {
        if let MatchSet::Sparse(sorted) = self {
            if sorted.len() * DENSE_FROM > ids.index() {
                let mut words = vec![0; (ids.index()).div_ceil(64)];
                sorted.iter().for_each(|id| words[id.index() / 64] |= 1 << (id.0 % 64));
                *self = MatchSet::Dense(words);
            } else {
                sorted.shrink_to_fit();
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            MatchSet::Sparse(sorted) => 4 * sorted.capacity(),
            MatchSet::Dense(words) => 8 * words.capacity(),
        }
    }

    fn contains(&self, id: ResourceId) -> bool {
        match self {
            MatchSet::Sparse(sorted) => sorted.binary_search(&id).is_ok(),
            MatchSet::Dense(words) => {
                words.get(id.index() / 64).is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
            }
        }
    }

    /// Adds an id that is higher than all others.
    fn push(&mut self, id: ResourceId) {
        match self {
            MatchSet::Sparse(sorted) => sorted.push(id),
            MatchSet::Dense(words) => {
                let at = id.index() / 64;
                if words.len() <= at {
                    words.resize(at + 1, 0);
                }
                words[at] |= 1 << (id.0 % 64);
            }
        }
    }

    /// Returns the first id from `first` on, in order, that passes the test.
    fn find(
        &self,
        first: ResourceId,
        mut test: impl FnMut(ResourceId) -> bool,
    ) -> Option<ResourceId> {
        match self {
            MatchSet::Sparse(sorted) => {
                let at = sorted.partition_point(|id| *id < first);
                sorted[at..].iter().copied().find(|id| test(*id))
            }
            MatchSet::Dense(words) => {
                let start = first.index() / 64;
                let mut mask = u64::MAX << (first.0 % 64);
                for (at, word) in words.iter().enumerate().skip(start) {
                    let mut bits = word & std::mem::replace(&mut mask, u64::MAX);
                    while bits != 0 {
                        let id = ResourceId((at * 64) as u32 + bits.trailing_zeros());
                        if test(id) {
                            return Some(id);
                        }
                        bits &= bits - 1;
                    }
                }
                None
            }
        }
    }

    /// Moves an id down to a lower one. All ids in between must be unused.
    fn remap(&mut self, old: ResourceId, new: ResourceId, is_match: bool) {
        match self {
            MatchSet::Sparse(sorted) => {
                let start = sorted.partition_point(|id| *id < new);
                let end = sorted.partition_point(|id| *id <= old);
                sorted.splice(start..end, is_match.then_some(new));
            }
            MatchSet::Dense(words) => {
                for (id, is_set) in [(old, false), (new, is_match)] {
                    let Some(word) = words.get_mut(id.index() / 64) else { continue };
                    let bit = 1 << (id.0 % 64);
                    *word = if is_set { *word | bit } else { *word & !bit };
                }
            }
        }
    }

    fn truncate(&mut self, count: ResourceId) {
        match self {
            MatchSet::Sparse(sorted) => sorted.truncate(sorted.partition_point(|id| *id < count)),
            MatchSet::Dense(words) => {
                words.truncate((count.index()).div_ceil(64));
                if let Some(last) = words.last_mut().filter(|_| !count.0.is_multiple_of(64)) {
                    *last &= (1 << (count.0 % 64)) - 1;
                }
            }
        }
    }

    fn add_to(&self, union: &mut Vec<u64>) {
        let reserve = |union: &mut Vec<u64>, words| {
            if union.len() < words {
                union.resize(words, 0);
            }
        };
        match self {
            MatchSet::Sparse(sorted) => {
                reserve(union, sorted.last().map_or(0, |last| last.index() / 64 + 1));
                sorted.iter().for_each(|id| union[id.index() / 64] |= 1 << (id.0 % 64));
            }
            MatchSet::Dense(words) => {
                reserve(union, words.len());
                union.iter_mut().zip(words).for_each(|(all, word)| *all |= word);
            }
        }
    }
}

/// Waiters blocked until a resource that one pattern matches becomes free.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// Waiters that want to begin at once.
    pub from_now: BTreeSet<Ticket>,
    /// Waiters that want dates.
    pub dated: BTreeSet<Ticket>,
    /// The starts of `dated`.
    starts: BTreeSet<(Time, Ticket)>,
    /// The number of the last reservation when one of them was last tried. Releases of later
    /// reservations do not help them.
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
    free: std::collections::BinaryHeap<Reverse<u32>>,
    /// Bytes of all match sets.
    bytes: usize,
    watched: BTreeSet<PatternId>,
    /// A superset of the matches of all watched patterns.
    union: Vec<u64>,
    /// The lowest id that `union` does not cover.
    union_ids: ResourceId,
    /// Patterns that are no longer watched but may still be part of `union`.
    unwatched: usize,
    /// The highest number up to which a release may help a waiter.
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
    pub fn some_match(&self, id: ResourceId, texts: &NameTexts) -> (bool, usize) {
        let mut looked_at = 0;
        let found = self.by_text.values().any(|pattern| {
            looked_at += 1;
            self.is_match(*pattern, id, texts)
        });
        (found, looked_at)
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

    /// Returns the cost of a search through all matches of a pattern, in words or ids, without the
    /// cost of testing the matches.
    pub fn search_work(&self, pattern: PatternId, ids: ResourceId) -> usize {
        let interned = self.get(pattern);
        let words = match &interned.matches {
            MatchSet::Sparse(_) => 0,
            MatchSet::Dense(words) => words.len() / 8,
        };
        words + (ids.0 - interned.evaluated.0) as usize
    }

    /// Matches a pattern with up to `most` new names and returns their number; 0 if its set is up
    /// to date or may not grow.
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

    /// Adds a waiter for the matches of a pattern, with its start if it wants dates.
    pub(super) fn watch(&mut self, pattern: PatternId, ticket: Ticket, start: Option<Time>) {
        let watchers = &mut self.get_mut(pattern).watchers;
        let is_first = watchers.len() == 0;
        match start {
            None => {
                watchers.from_now.insert(ticket);
            }
            Some(start) => {
                watchers.dated.insert(ticket);
                watchers.starts.insert((start, ticket));
            }
        }
        if is_first {
            self.watched.insert(pattern);
            let interned = self.slots[pattern.0 as usize].as_ref().expect("it was just watched");
            self.union_ids = match self.watched.len() {
                1 => {
                    self.union.clear();
                    self.unwatched = 0;
                    interned.evaluated
                }
                _ => self.union_ids.min(interned.evaluated),
            };
            interned.matches.add_to(&mut self.union);
        }
    }

    /// Reverses [`Patterns::watch`].
    pub(super) fn unwatch(&mut self, pattern: PatternId, ticket: Ticket, start: Option<Time>) {
        let watchers = &mut self.get_mut(pattern).watchers;
        match start {
            None => {
                watchers.from_now.remove(&ticket);
            }
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
        let mut union = std::mem::take(&mut self.union);
        union.fill(0);
        self.union_ids = ResourceId::MAX;
        self.unwatched = 0;
        for pattern in &self.watched {
            let interned = self.slots[pattern.0 as usize].as_ref().expect("it is watched");
            interned.matches.add_to(&mut union);
            self.union_ids = self.union_ids.min(interned.evaluated);
        }
        self.union = union;
    }

    /// Records that waiters that watch a pattern were tried, or were passed over because nothing
    /// was free for them, when this was the number of the last reservation.
    pub(super) fn mark_tried(&mut self, pattern: PatternId, last: Number) {
        let slot = self.slots.get_mut(pattern.0 as usize);
        if let Some(interned) = slot.and_then(Option::as_mut) {
            interned.watchers.tried_at = last;
            self.tried_at = last;
        }
    }

    /// Returns the number of the last reservation whose release may help the waiters that watch a
    /// pattern.
    pub(super) fn tried_at(&self, pattern: PatternId) -> Number {
        self.get(pattern).watchers.tried_at
    }

    /// Returns whether the release of a resource from a reservation may help the waiters that
    /// watch a pattern.
    pub(super) fn may_gain(&self, id: ResourceId, number: Number) -> bool {
        if self.watched.is_empty() || number > self.tried_at {
            return false;
        }
        let bit = |word: &u64| word >> (id.0 % 64) & 1 == 1;
        id >= self.union_ids || self.union.get(id.index() / 64).is_some_and(bit)
    }

    /// Returns the next watched pattern.
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

    /// The ids from `count` on are not in use any more.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn match_set_is_a_set_in_either_form() {
        for step in [1, 3, 40, 200] {
            let ids: Vec<ResourceId> = (0..1_000).step_by(step).map(ResourceId).collect();
            let mut set = MatchSet::new(ids.clone(), ResourceId(1_000));
            let is_dense = matches!(set, MatchSet::Dense(_));
            assert_eq!(is_dense, step < DENSE_FROM, "{step}");
            set.push(ResourceId(1_003));
            let mut want: BTreeSet<_> = ids.into_iter().collect();
            want.insert(ResourceId(1_003));
            let all = |set: &MatchSet| {
                let mut all = Vec::new();
                set.find(ResourceId(0), |id| {
                    all.push(id);
                    false
                });
                all
            };
            assert!(all(&set).into_iter().eq(want.iter().copied()));
            for first in [0, 1, 63, 64, 65, 999, 1_003, 1_004, 9_000].map(ResourceId) {
                assert_eq!(set.find(first, |_| true), want.range(first..).next().copied());
            }
            // 400 moves down to 390, over removed ids, and 401 to 391.
            let (was, next) = (set.contains(ResourceId(400)), set.contains(ResourceId(401)));
            want.retain(|id| !(390..=401).contains(&id.0));
            want.extend(
                [(ResourceId(390), was), (ResourceId(391), next)]
                    .iter()
                    .filter(|it| it.1)
                    .map(|it| it.0),
            );
            (391..400).rev().map(ResourceId).for_each(|gone| set.remap(gone, gone, false));
            set.remap(ResourceId(400), ResourceId(390), was);
            set.remap(ResourceId(401), ResourceId(391), next);
            set.truncate(ResourceId(1_000));
            want.remove(&ResourceId(1_003));
            assert!(all(&set).into_iter().eq(want.iter().copied()), "{step}");
            assert!((0..1_100).map(ResourceId).all(|id| set.contains(id) == want.contains(&id)));
        }
    }
}

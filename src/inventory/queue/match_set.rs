//! Sets of resource ids that grow at the end.

use crate::inventory::ResourceId;

/// A set of resource ids, as a sorted list while it is sparse and as a bitmap when it is dense.
#[derive(Debug)]
pub(super) enum MatchSet {
    Sparse(Vec<ResourceId>),
    Dense(Vec<u64>),
}

/// A bitmap is used if at least one in this many ids is in the set. It is then no larger than a
/// list.
const DENSE_FROM: usize = 32;

impl MatchSet {
    /// Creates a set from ids in ascending order. `ids` is the number of ids in use.
    pub fn new(sorted: Vec<ResourceId>, ids: ResourceId) -> MatchSet {
        let mut set = MatchSet::Sparse(sorted);
        set.choose_form(ids);
        set
    }

    /// Changes a list to a bitmap if the bitmap is not larger.
    pub fn choose_form(&mut self, ids: ResourceId) {
        if let MatchSet::Sparse(sorted) = self {
            if sorted.len() * DENSE_FROM > ids.index() {
                let mut words = vec![0; ids.index().div_ceil(64)];
                sorted.iter().for_each(|id| words[id.index() / 64] |= 1 << (id.0 % 64));
                *self = MatchSet::Dense(words);
            } else {
                sorted.shrink_to_fit();
            }
        }
    }

    /// Returns the memory of the set.
    pub fn bytes(&self) -> usize {
        match self {
            MatchSet::Sparse(sorted) => 4 * sorted.capacity(),
            MatchSet::Dense(words) => 8 * words.capacity(),
        }
    }

    /// Returns whether an id is in the set.
    pub fn contains(&self, id: ResourceId) -> bool {
        match self {
            MatchSet::Sparse(sorted) => sorted.binary_search(&id).is_ok(),
            MatchSet::Dense(words) => {
                words.get(id.index() / 64).is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
            }
        }
    }

    /// Adds an id that is higher than all others.
    pub fn push(&mut self, id: ResourceId) {
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
    pub fn find(
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
    pub fn remap(&mut self, old: ResourceId, new: ResourceId, is_match: bool) {
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

    /// Removes all ids from `count` on.
    pub fn truncate(&mut self, count: ResourceId) {
        match self {
            MatchSet::Sparse(sorted) => sorted.truncate(sorted.partition_point(|id| *id < count)),
            MatchSet::Dense(words) => {
                words.truncate(count.index().div_ceil(64));
                if let Some(last) = words.last_mut().filter(|_| !count.0.is_multiple_of(64)) {
                    *last &= (1 << (count.0 % 64)) - 1;
                }
            }
        }
    }

    /// Sets the bits of all ids in a bitmap.
    pub fn add_to(&self, union: &mut Vec<u64>) {
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
            let moved = [(ResourceId(390), was), (ResourceId(391), next)];
            want.extend(moved.iter().filter(|it| it.1).map(|it| it.0));
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

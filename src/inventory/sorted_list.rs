//! A sorted collection with little memory overhead. Items lie in runs of up to [`RUN`]. Keys that
//! are inserted in ascending order, such as numbers and dates, fill the runs completely, whereas
//! the nodes of a B-tree would stay half empty.
//!
//! A lookup is two binary searches, one over the runs and one in a run. Appending the highest key
//! moves nothing.

use std::fmt::Debug;
use std::ops::Index;
use std::rc::Rc;

use super::schedule::Booking;
use super::{Number, Reservation};
use crate::time::Time;

/// The most items in a run. Moving half of a run costs about as much as finding an item.
const RUN: usize = 128;

/// A run keeps the memory for this many items. Otherwise it would allocate at every other change.
const FEW: usize = 8;

/// An item that contains its key.
pub trait Keyed {
    type Key: Ord + Copy + Debug;

    /// Returns the key.
    fn key(&self) -> Self::Key;

    /// Returns the most keys that there can be from `first` to `last`, both included.
    fn keys_between(_first: Self::Key, _last: Self::Key) -> usize {
        usize::MAX
    }
}

impl<A: Ord + Copy + Debug, B: Ord + Copy + Debug> Keyed for (A, B) {
    type Key = (A, B);

    fn key(&self) -> (A, B) {
        *self
    }
}

impl Keyed for Booking {
    type Key = Time;

    fn key(&self) -> Time {
        self.from
    }
}

impl Keyed for Rc<Reservation> {
    type Key = Number;

    fn key(&self) -> Number {
        self.number
    }

    fn keys_between(first: Number, last: Number) -> usize {
        usize::try_from(last.0 - first.0).map_or(usize::MAX, |between| between.saturating_add(1))
    }
}

/// Items in ascending order of their keys. Each key occurs once.
#[derive(Debug)]
pub struct SortedList<T: Keyed> {
    /// Only the last run may be empty.
    runs: Vec<Run<T>>,
    len: usize,
}

#[derive(Debug)]
struct Run<T: Keyed> {
    /// A lower bound of the keys of this run, above all keys of the runs before.
    floor: T::Key,
    items: Vec<T>,
}

impl<T: Keyed> Run<T> {
    /// Returns the index of a key, or the index at which to insert it.
    #[inline]
    fn search(&self, key: T::Key) -> Result<usize, usize> {
        // No more items than this can precede the key. If no key is missing, it is the last of
        // them.
        let most = self.items.len().min(T::keys_between(self.floor, key.max(self.floor)));
        let up_to_it = &self.items[..most];
        match up_to_it.last() {
            None => Err(0),
            // The common case: the key follows all others.
            Some(last) if last.key() < key => Err(most),
            Some(last) if last.key() == key => Ok(most - 1),
            _ => up_to_it.binary_search_by_key(&key, T::key),
        }
    }

    /// Inserts an item. Grows by an eighth, so that a run that stays as it is wastes little.
    #[inline]
    fn insert(&mut self, at: usize, item: T) {
        if self.items.len() == self.items.capacity() {
            let more = (self.items.len() / 8).max(4);
            self.items.reserve_exact(more.min(RUN - self.items.len()));
        }
        self.floor = self.floor.min(item.key());
        // Appending is the common case, and `insert` is never inlined.
        match at == self.items.len() {
            true => self.items.push(item),
            false => self.items.insert(at, item),
        }
    }

    /// Inserts an item and returns the upper half.
    fn split(&mut self, at: usize, item: T) -> Vec<T> {
        let mut items = self.items.split_off(RUN / 2);
        items.reserve_exact(RUN / 16);
        match at.checked_sub(RUN / 2) {
            Some(at) => items.insert(at, item),
            None => self.insert(at, item),
        }
        self.items.shrink_to(RUN * 9 / 16);
        items
    }
}

impl<T: Keyed> Default for SortedList<T> {
    fn default() -> SortedList<T> {
        SortedList { runs: Vec::new(), len: 0 }
    }
}

impl<T: Keyed> SortedList<T> {
    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the item with the lowest key.
    pub fn first(&self) -> Option<&T> {
        self.runs.first()?.items.first()
    }

    /// Iterates over all items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.runs.iter().flat_map(|run| &run.items)
    }

    /// Iterates over the items from `key` on, in order.
    pub fn from(&self, key: T::Key) -> impl Iterator<Item = &T> {
        let at = self.run_of(key);
        let rest = self.runs.get(at..).unwrap_or_default();
        let skipped = rest.first().map_or(0, |run| run.search(key).unwrap_or_else(|at| at));
        rest.iter().flat_map(|run| &run.items).skip(skipped)
    }

    /// Returns the last item up to `key`, which is included.
    pub fn last_up_to(&self, key: T::Key) -> Option<&T> {
        let at = self.run_of(key);
        let run = self.runs.get(at)?;
        let end = run.search(key).map_or_else(|at| at, |at| at + 1);
        match end {
            // The floor may be lower than all items of its run.
            0 => self.runs[..at].last()?.items.last(),
            _ => run.items.get(end - 1),
        }
    }

    /// Returns the item with this key.
    #[inline]
    pub fn get(&self, key: &T::Key) -> Option<&T> {
        let run = self.runs.get(self.run_of(*key))?;
        run.search(*key).ok().map(|at| &run.items[at])
    }

    /// Returns the item with this key. Its key must not be changed.
    pub fn get_mut(&mut self, key: &T::Key) -> Option<&mut T> {
        let at = self.run_of(*key);
        let run = self.runs.get_mut(at)?;
        run.search(*key).ok().map(|at| &mut run.items[at])
    }

    /// Returns whether an item has this key.
    pub fn contains_key(&self, key: &T::Key) -> bool {
        self.get(key).is_some()
    }

    /// Adds an item, whose key must be new.
    #[inline]
    pub fn insert(&mut self, item: T) {
        let key = item.key();
        let at = self.run_of(key);
        self.len += 1;
        let Some(run) = self.runs.get_mut(at) else {
            return self.runs.push(Run { floor: key, items: vec![item] });
        };
        let place = run.search(key).unwrap_or_else(|place| place);
        if run.items.len() < RUN {
            return run.insert(place, item);
        }
        let items = match place {
            // A new run, so that ascending keys leave full runs behind.
            RUN => {
                let mut items = Vec::with_capacity(RUN);
                items.push(item);
                items
            }
            _ => run.split(place, item),
        };
        let floor = items[0].key();
        self.runs.insert(at + 1, Run { floor, items });
    }

    /// Removes and returns the item with this key.
    #[inline]
    pub fn remove(&mut self, key: &T::Key) -> Option<T> {
        let at = self.run_of(*key);
        let run = self.runs.get_mut(at)?;
        let place = run.search(*key).ok()?;
        let item = run.items.remove(place);
        self.len -= 1;
        if run.items.capacity() > FEW && run.items.len() < run.items.capacity() / 4 {
            run.items.shrink_to(run.items.capacity() / 2);
        }
        if self.runs.len() > 1 {
            self.join(at);
            self.join(at.saturating_sub(1));
        }
        Some(item)
    }

    /// Joins a run with the next one if it is empty or both together have at most half of [`RUN`].
    fn join(&mut self, at: usize) {
        let [run, next, ..] = &mut self.runs[at..] else { return };
        if run.items.is_empty() {
            self.runs.remove(at);
        } else if run.items.len() + next.items.len() <= RUN / 2 {
            run.items.append(&mut next.items);
            self.runs.remove(at + 1);
        }
    }

    /// Returns the index of the run that would hold a key; 0 if there are no runs.
    #[inline]
    fn run_of(&self, key: T::Key) -> usize {
        match self.runs.last() {
            // The newest items are used the most.
            Some(last) if last.floor <= key => self.runs.len() - 1,
            _ => self.runs.partition_point(|run| run.floor <= key).saturating_sub(1),
        }
    }
}

impl<T: Keyed> Index<&T::Key> for SortedList<T> {
    type Output = T;

    /// # Panics
    /// If no item has this key.
    #[inline]
    fn index(&self, key: &T::Key) -> &T {
        self.get(key).expect("every index refers to an existing item")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use support::Rng;

    use super::*;

    /// Compares with a `BTreeSet`.
    #[test]
    fn sorted_list_behaves_like_a_btree_set() {
        let mut rng = Rng(7);
        let mut next = move |bound: u64| rng.below(bound as usize) as u64;
        for (span, adds) in [(40, 5), (3_000, 6), (100_000, 9), (100_000, 3)] {
            let (mut runs, mut set) = (SortedList::default(), BTreeSet::new());
            for round in 0..20_000u64 {
                // Some keys are the highest, as new numbers are.
                let key = if next(4) == 0 { (span + round, 0) } else { (next(span), next(2)) };
                if next(10) < adds {
                    if set.insert(key) {
                        runs.insert(key);
                    }
                } else {
                    let key = set.range(key..).next().copied().unwrap_or(key);
                    assert_eq!(runs.remove(&key).is_some(), set.remove(&key));
                }
                assert_eq!((runs.len(), runs.first()), (set.len(), set.first()));
                let key = (next(span), 0);
                assert_eq!(runs.get(&key), set.get(&key));
                assert_eq!(runs.last_up_to(key), set.range(..=key).next_back());
                assert!(runs.from(key).take(3).eq(set.range(key..).take(3)));
            }
            assert!(runs.iter().eq(set.iter()));
            let (last, before) = runs.runs.split_last().unwrap();
            assert!(before.iter().all(|run| !run.items.is_empty() && run.items.len() <= RUN));
            assert!(last.items.len() <= RUN);
            assert!(runs.runs.is_sorted_by_key(|run| run.floor));
        }
    }

    #[test]
    fn ascending_keys_leave_full_runs() {
        let mut runs = SortedList::default();
        (0..10 * RUN).for_each(|key| runs.insert((key, 0)));
        assert!(runs.runs.iter().all(|run| run.items.capacity() < RUN * 9 / 8));
        assert_eq!(runs.runs.len(), 10);
    }
}

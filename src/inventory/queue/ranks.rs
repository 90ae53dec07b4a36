//! The ranks of the waiters for one resource. A list of tickets has the counts of a Fenwick tree
//! (Peter Fenwick, "A new data structure for cumulative frequency tables", 1994). New waiters are
//! always the youngest, so nothing is inserted in the middle.

use super::waiter::Ticket;

/// Tickets in ascending order. Counts the tickets before each in O(log n).
#[derive(Debug, Default)]
pub struct Ranks {
    /// Includes removed tickets, until these are half of all.
    tickets: Vec<Ticket>,
    /// For entry `i`, counted from 1, the number of live tickets among the `i & -i` entries up to
    /// it.
    tree: Vec<u32>,
    len: usize,
}

/// Returns the lowest set bit.
fn low_bit(at: usize) -> usize {
    at & at.wrapping_neg()
}

impl Ranks {
    /// Returns the number of tickets.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds the youngest ticket.
    pub fn push(&mut self, ticket: Ticket) {
        debug_assert!(self.tickets.last().is_none_or(|last| *last < ticket));
        self.tickets.push(ticket);
        let at = self.tickets.len();
        let mut count = 1;
        let mut below = at - 1;
        while below > at - low_bit(at) {
            count += self.tree[below - 1];
            below -= low_bit(below);
        }
        self.tree.push(count);
        self.len += 1;
    }

    /// Returns the number of tickets older than this one, which need not be in the list.
    pub fn before(&self, ticket: Ticket) -> usize {
        self.count(self.tickets.partition_point(|other| *other < ticket))
    }

    /// Returns the number of live tickets among the first entries.
    fn count(&self, mut entries: usize) -> usize {
        let mut count = 0;
        while entries > 0 {
            count += self.tree[entries - 1] as usize;
            entries -= low_bit(entries);
        }
        count
    }

    /// Removes a ticket, which must be in the list.
    pub fn remove(&mut self, ticket: Ticket) {
        let Ok(found) = self.tickets.binary_search(&ticket) else { return };
        let mut at = found + 1;
        while at <= self.tree.len() {
            self.tree[at - 1] -= 1;
            at += low_bit(at);
        }
        self.len -= 1;
        if self.tickets.len() > 2 * self.len + 16 {
            self.compact();
        }
    }

    /// Drops the entries of removed tickets.
    fn compact(&mut self) {
        let is_live = |at: usize| self.count(at + 1) > self.count(at);
        let tickets = self.tickets.iter().enumerate().filter(|(at, _)| is_live(*at));
        let tickets: Vec<_> = tickets.map(|(_, ticket)| *ticket).collect();
        *self = Ranks::default();
        tickets.into_iter().for_each(|ticket| self.push(ticket));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use support::Rng;

    use super::*;

    #[test]
    fn rank_equals_a_plain_count() {
        let mut rng = Rng(11);
        let mut next = move |bound: u64| rng.below(bound as usize) as u64;
        for leaves in [2, 5, 9] {
            let (mut ranks, mut set) = (Ranks::default(), BTreeSet::new());
            for round in 1..4_000u64 {
                let ticket = Ticket(next(3 * round));
                match set.range(ticket..).next().copied().filter(|_| next(10) < leaves) {
                    Some(ticket) => {
                        set.remove(&ticket);
                        ranks.remove(ticket);
                    }
                    None => {
                        set.insert(Ticket(3 * round));
                        ranks.push(Ticket(3 * round));
                    }
                }
                assert_eq!(ranks.len(), set.len());
                assert_eq!(ranks.before(ticket), set.range(..ticket).count());
            }
            assert!(ranks.tickets.len() <= 2 * set.len() + 16);
        }
    }
}

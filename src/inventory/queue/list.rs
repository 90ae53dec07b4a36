//! The list of waiting requests with its indexes, independent of the inventory.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::freed::Pass;
use super::patterns::Patterns;
use super::positions::PositionChanges;
use super::ranks::Ranks;
use super::waiter::{Outcome, Ticket, WaitLimit, Waiter, Wants};
use super::watch::{Watch, WatchIndex};
use crate::inventory::{
    Deadlines, IdempotencyKey, Origin, Principal, ResourceId, SessionId, Target,
};
use crate::limits::{
    WAIT_MATCH_BYTES, WAIT_PATTERNS_MAX, WAIT_TARGETS_MAX, WAIT_TARGETS_PER_ADDRESS,
    WAIT_TARGETS_PER_HOST, WAITERS_MAX,
};
use crate::time::{ClockReading, Time, earlier};

/// The waiting requests of an inventory. They are kept in memory only, because a wait ends with its
/// connection.
#[derive(Debug, Default)]
pub struct Queue {
    pub(super) waiters: BTreeMap<Ticket, Waiter>,
    /// Waiters by each resource that they name.
    pub(super) by_name: BTreeSet<(ResourceId, Ticket)>,
    /// Waiters for one name and nothing else, which are the majority.
    pub(super) by_only_name: BTreeMap<ResourceId, Ranks>,
    /// All other waiters.
    pub(super) complex: BTreeSet<Ticket>,
    /// The waiters of `complex` that have a pattern.
    pub(super) with_pattern: BTreeSet<Ticket>,
    pub(super) patterns: Patterns,
    pub(super) by_session: BTreeMap<SessionId, Ticket>,
    /// Waiters with an idempotency key.
    by_key: BTreeSet<(HolderKey, Ticket)>,
    /// The time limits of the waits.
    deadlines: BTreeSet<(Time, Ticket)>,
    /// The known ends of the requested intervals.
    request_ends: BTreeSet<(Time, Ticket)>,
    /// The number of targets of the waiters in `complex`.
    pub(super) complex_targets: usize,
    pub(super) complex_targets_of: HashMap<Origin, usize>,
    /// The amount by which the clock of the queue is behind the monotonic clock. It changes when
    /// the wall clock is set.
    clock_offset_ms: i64,
    pub(super) watches: WatchIndex,
    pub(in crate::inventory) pass: Pass,
    pub(super) positions: PositionChanges,
    /// Cache of the waiters in `complex` that want a resource.
    pub(super) wanting: RefCell<HashMap<ResourceId, Rc<[Ticket]>>>,
    pub(super) outcomes: Vec<(SessionId, Outcome)>,
    last_ticket: Ticket,
}

/// The holder and the idempotency key of a request.
type HolderKey = (Option<Rc<str>>, Box<str>);

fn holder_key(key: &IdempotencyKey, principal: &Principal) -> HolderKey {
    (principal.holder.clone(), key.text.clone())
}

impl Queue {
    /// Returns the number of waiting requests.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Returns whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Returns whether any waiting request has a pattern.
    pub fn has_patterns(&self) -> bool {
        !self.with_pattern.is_empty()
    }

    /// Iterates over the waiters with the same holder and idempotency key, oldest first.
    pub(super) fn with_key(
        &self,
        key: &IdempotencyKey,
        principal: &Principal,
    ) -> impl Iterator<Item = (Ticket, &Waiter)> {
        let key = holder_key(key, principal);
        let all = self.by_key.range((key.clone(), Ticket::MIN)..=(key, Ticket::MAX));
        all.map(|(_, ticket)| (*ticket, &self.waiters[ticket]))
    }

    /// Returns the oldest waiter that names a resource.
    pub(super) fn first_by_name(&self, id: ResourceId) -> Option<Ticket> {
        let mut all = self.by_name.range((id, Ticket::MIN)..=(id, Ticket::MAX));
        all.next().map(|(_, ticket)| *ticket)
    }

    /// Returns whether a waiter names this resource.
    pub(super) fn is_named(&self, id: ResourceId) -> bool {
        self.first_by_name(id).is_some()
    }

    /// Returns the times at which a wait ends or positions have to be announced.
    #[inline(always)]
    pub(in crate::inventory) fn deadlines(&self) -> Deadlines {
        if self.is_empty() {
            return Deadlines::default();
        }
        let first = |times: &BTreeSet<(Time, Ticket)>| times.first().map(|(time, _)| *time);
        let deadline = first(&self.deadlines).map(|time| time.plus_ms(self.clock_offset_ms));
        Deadlines {
            dated: first(&self.request_ends),
            monotonic: earlier(deadline, self.positions.announce_at()),
        }
    }

    /// Returns the next waiter whose time limit or requested interval is over.
    pub(in crate::inventory) fn due(&self, now: ClockReading) -> Option<Ticket> {
        let own_clock = self.own_clock(now);
        let deadline = self.deadlines.first().filter(|(time, _)| *time <= own_clock);
        let request_end = self.request_ends.first().filter(|(time, _)| *time <= now.wall);
        earlier(deadline, request_end).map(|(_, ticket)| *ticket)
    }

    /// Returns the reading of the clock of the queue, which measures the time limits of waits.
    pub(super) fn own_clock(&self, now: ClockReading) -> Time {
        now.monotonic.plus_ms(-self.clock_offset_ms)
    }

    /// Moves everything that measures elapsed time, after the wall clock was set.
    pub(in crate::inventory) fn shift_clock(&mut self, by_ms: i64) {
        self.clock_offset_ms += by_ms;
        self.positions.shift_clock(by_ms);
    }

    /// Returns the bound that one more request would exceed, if any. `ids` is the number of
    /// resource ids in use.
    pub(super) fn exceeded_limit(
        &self,
        wants: &Wants,
        principal: &Principal,
        ids: usize,
    ) -> Option<WaitLimit> {
        if self.waiters.len() >= WAITERS_MAX {
            return Some(WaitLimit::Waiters);
        }
        if matches!(wants.targets[..], [Target::Resource(_)]) {
            return None;
        }
        let count = wants.targets.len();
        if self.complex_targets + count > WAIT_TARGETS_MAX {
            return Some(WaitLimit::Targets);
        }
        let of_address = match principal.origin {
            Origin::LOCAL => WAIT_TARGETS_PER_HOST,
            _ => WAIT_TARGETS_PER_ADDRESS,
        };
        let used = self.complex_targets_of.get(&principal.origin).copied().unwrap_or(0);
        if used + count > of_address {
            return Some(WaitLimit::TargetsOfAddress(of_address));
        }
        self.exceeded_pattern_limit(wants, ids)
    }

    fn exceeded_pattern_limit(&self, wants: &Wants, ids: usize) -> Option<WaitLimit> {
        let mut patterns = self.patterns.len();
        let mut bytes = self.patterns.bytes();
        for target in &wants.targets {
            let Target::AnyOf(pattern, matches) = target else { continue };
            if self.patterns.find(pattern).is_none() {
                patterns += 1;
                bytes += (4 * matches.len()).min(ids / 8 + 8);
            }
        }
        match () {
            () if patterns > WAIT_PATTERNS_MAX => Some(WaitLimit::Patterns),
            () if bytes > WAIT_MATCH_BYTES => Some(WaitLimit::MatchBytes),
            () => None,
        }
    }

    /// Adds the youngest waiter and returns its ticket.
    pub(super) fn push(&mut self, waiter: Waiter) -> Ticket {
        let ticket = self.last_ticket.next();
        self.last_ticket = ticket;
        self.by_name.extend(waiter.names().map(|id| (id, ticket)));
        match waiter.only_name() {
            Some(id) => self.by_only_name.entry(id).or_default().push(ticket),
            None => self.insert_complex(ticket, &waiter),
        }
        self.by_session.insert(waiter.principal.session, ticket);
        if let Some(key) = &waiter.key {
            self.by_key.insert((holder_key(key, &waiter.principal), ticket));
        }
        self.deadlines.insert((waiter.deadline, ticket));
        if !waiter.request_end.is_never() {
            self.request_ends.insert((waiter.request_end, ticket));
        }
        self.waiters.insert(ticket, waiter);
        ticket
    }

    /// Removes a waiter. The uses of its patterns are left to the caller.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        self.set_watch(ticket, Watch::Nothing);
        let waiter = self.waiters.remove(&ticket)?;
        for id in waiter.names() {
            self.by_name.remove(&(id, ticket));
            self.positions.mark_changed(id);
        }
        match waiter.only_name() {
            Some(id) => self.remove_rank(id, ticket),
            None => self.remove_complex(ticket, &waiter),
        }
        self.by_session.remove(&waiter.principal.session);
        if let Some(key) = &waiter.key {
            self.by_key.remove(&(holder_key(key, &waiter.principal), ticket));
        }
        self.deadlines.remove(&(waiter.deadline, ticket));
        self.request_ends.remove(&(waiter.request_end, ticket));
        if self.waiters.is_empty() {
            self.pass = Pass::default();
            self.positions.clear();
        }
        Some(waiter)
    }

    fn remove_rank(&mut self, id: ResourceId, ticket: Ticket) {
        let Some(ranks) = self.by_only_name.get_mut(&id) else { return };
        ranks.remove(ticket);
        if ranks.len() == 0 {
            self.by_only_name.remove(&id);
        }
    }

    fn insert_complex(&mut self, ticket: Ticket, waiter: &Waiter) {
        self.complex.insert(ticket);
        if waiter.has_pattern() {
            self.with_pattern.insert(ticket);
        }
        let count = waiter.wants.len();
        self.complex_targets += count;
        *self.complex_targets_of.entry(waiter.principal.origin).or_default() += count;
        self.wanting.get_mut().clear();
    }

    fn remove_complex(&mut self, ticket: Ticket, waiter: &Waiter) {
        self.complex.remove(&ticket);
        self.with_pattern.remove(&ticket);
        let count = waiter.wants.len();
        self.complex_targets -= count;
        if let Some(used) = self.complex_targets_of.get_mut(&waiter.principal.origin) {
            *used -= count;
            if *used == 0 {
                self.complex_targets_of.remove(&waiter.principal.origin);
            }
        }
        self.wanting.get_mut().clear();
    }
}

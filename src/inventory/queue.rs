//! Requests that wait (`espera=`), first come, first served.
//!
//! When something becomes free, every waiter whose whole request now fits is granted, oldest first.
//! Nothing is held in part, so waiters cannot deadlock. Between two commands no waiter fits.
//! Therefore a new request can be tried at once, because every older one has been tried since the
//! last change. While [`Inventory::is_behind`], this holds only for resources that no request waits
//! for.
//!
//! The work is proportional to the change:
//! - [`list`] has the waiting requests and their indexes;
//! - [`watch`] records what blocks each waiter, so that a change only reaches waiters it may help;
//! - [`freed`] and [`grants`] try these waiters after something has become free, and [`fitting`]
//!   chooses their resources;
//! - [`patterns`] keeps each pattern once, with the [set](match_set) of resources that it matches;
//! - [`positions`] computes positions in the queue, with [`ranks`] for the waiters for one name.

mod check;
mod fitting;
mod freed;
mod grants;
mod list;
mod match_set;
mod patterns;
mod positions;
mod ranks;
mod waiter;
mod watch;

use smallvec::SmallVec;

use super::{
    End, IdempotencyKey, Interval, Inventory, Principal, Refusal, Request, ResourceId, Selector,
    SessionId, Start, Target, When,
};
use crate::time::{ClockReading, Time, Zone};
pub use list::Queue;
pub use waiter::{Outcome, WaitLimit, Wants};
use waiter::{Ticket, Waiter, Want};
use watch::Watch;

impl Inventory {
    /// Returns the queue of waiting requests.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Checks that a request may wait.
    pub(super) fn check_wait(&self, wants: &Wants, principal: &Principal) -> Result<(), Refusal> {
        match self.queue.exceeded_limit(wants, principal, self.schedules.len()) {
            None => Ok(()),
            Some(limit) => Err(Refusal::WaitLimitReached(limit)),
        }
    }

    /// Adds a request that does not fit to the end of the queue, and returns its position. `wants`
    /// must have been found at `now`.
    pub fn wait(
        &mut self,
        request: Request,
        wants: Wants,
        principal: Principal,
        now: ClockReading,
        zone: &Zone,
    ) -> usize {
        let when = fixed(request.when, request.interval);
        let deadline = self.queue.own_clock(now).plus_ms(request.wait_ms.unwrap_or(0));
        let request_end = match (when.start, when.end) {
            (Start::Default, End::Until(until)) => until,
            (Start::Default, _) => Time::MAX,
            _ => when.until(when.from(now.wall), zone).unwrap_or(Time::MAX),
        };
        let key = request.idempotency_key();
        let wants = self.intern(&wants);
        let ticket = self.queue.push(Waiter {
            principal,
            request: Request { when, ..request.into_owned() },
            wants,
            key,
            deadline,
            request_end,
            announced: 0,
            watch: Watch::Nothing,
        });
        self.watch_obstacle(ticket, now, zone);
        let position = self.position(ticket, usize::MAX);
        if let Some(waiter) = self.queue.waiters.get_mut(&ticket) {
            waiter.announced = position;
        }
        position
    }

    /// Adds a use of each pattern, and returns the targets with the ids of the patterns.
    fn intern(&mut self, wants: &Wants) -> SmallVec<[Want; 1]> {
        let ids = ResourceId::at(self.schedules.len());
        let targets = wants.targets.iter().map(|target| match target {
            Target::Resource(id) => Want::Name(*id),
            Target::AnyOf(pattern, matches) => {
                Want::Pattern(self.queue.patterns.intern(pattern, matches, ids))
            }
        });
        targets.collect()
    }

    /// Returns the idempotency key and request of the oldest waiter with the same holder and key.
    pub(super) fn waiting_key(
        &self,
        key: &IdempotencyKey,
        principal: &Principal,
    ) -> Option<&IdempotencyKey> {
        self.queue.with_key(key, principal).next().and_then(|(_, waiter)| waiter.key.as_ref())
    }

    /// Removes a waiter from the queue.
    fn remove_waiter(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.queue.remove(ticket)?;
        if waiter.has_pattern() {
            self.mark_changed_by_patterns(&waiter);
            waiter.patterns().for_each(|pattern| self.queue.patterns.release(pattern));
        }
        Some(waiter)
    }

    /// Ends a wait and records its outcome.
    pub(super) fn end_wait(&mut self, ticket: Ticket, outcome: Outcome) {
        if let Some(waiter) = self.remove_waiter(ticket) {
            self.queue.outcomes.push((waiter.principal.session, outcome));
        }
    }

    /// Ends the wait of a closed connection, without an outcome.
    pub fn leave_queue(&mut self, session: SessionId, now: ClockReading) {
        if let Some(ticket) = self.queue.by_session.get(&session).copied() {
            self.remove_waiter(ticket);
            self.announce_first_positions(now);
        }
    }

    /// Ends the wait of a connection as if it had reached its time limit.
    pub fn interrupt(&mut self, session: SessionId, now: ClockReading) {
        if let Some(ticket) = self.queue.by_session.get(&session).copied() {
            self.end_wait(ticket, Outcome::TimedOut);
            self.announce_first_positions(now);
        }
    }

    /// Ends all waits, because the server is stopping.
    pub fn end_all_waits(&mut self) {
        while let Some((ticket, _)) = self.queue.waiters.first_key_value() {
            self.end_wait(*ticket, Outcome::Stopping);
        }
        self.queue.positions.clear();
    }

    /// Ends the waits of requests that name a resource, because it is removed.
    pub(super) fn end_waits_for(&mut self, id: ResourceId) {
        let name = self.names.texts().name(id).to_owned();
        while let Some(ticket) = self.queue.first_by_name(id) {
            self.end_wait(ticket, Outcome::Removed(name.clone()));
        }
        self.queue.wanting.get_mut().remove(&id);
    }

    /// Returns the targets as text, with the names of resources as the inventory has them.
    pub fn target_text(&self, targets: &[Target], selectors: &[Selector]) -> String {
        let texts = targets.iter().zip(selectors).map(|(target, selector)| match target {
            Target::Resource(id) => self.names.texts().name(*id),
            Target::AnyOf(..) => selector.text(),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// Returns whether there are outcomes to send.
    pub fn has_outcomes(&self) -> bool {
        !self.queue.outcomes.is_empty()
    }

    /// Returns the outcomes of waits since the last call, in order.
    pub fn take_outcomes(&mut self) -> Vec<(SessionId, Outcome)> {
        std::mem::take(&mut self.queue.outcomes)
    }

    /// Returns the position that was announced last to a connection, if it waits.
    pub fn announced_position(&self, session: SessionId) -> Option<usize> {
        let ticket = self.queue.by_session.get(&session)?;
        self.queue.waiters.get(ticket).map(|waiter| waiter.announced)
    }

    /// Returns whether a waiter wants this resource, by its name or by a pattern.
    pub fn is_waited_for(&self, id: ResourceId) -> bool {
        if self.queue.is_named(id) {
            return true;
        }
        let (found, tested) = self.queue.patterns.any_match(id, self.names.texts());
        self.add_work(tested / 8);
        found
    }

    /// Changes the id of a resource in all waiters that want it, and returns the number of changes.
    /// Must not be called while [`Inventory::is_behind`], nor before the outcomes have been taken,
    /// because grants hold the old ids.
    pub(super) fn remap_waiters(&mut self, old: ResourceId, new: ResourceId) -> usize {
        let is_grant = |(_, outcome): &(SessionId, Outcome)| matches!(outcome, Outcome::Granted(_));
        debug_assert!(!self.queue.outcomes.iter().any(is_grant));
        let queue = &mut self.queue;
        queue.wanting.get_mut().clear();
        let all = queue.by_name.range((old, Ticket::MIN)..=(old, Ticket::MAX));
        let tickets: Vec<_> = all.map(|(_, ticket)| *ticket).collect();
        for ticket in &tickets {
            queue.by_name.remove(&(old, *ticket));
            queue.by_name.insert((new, *ticket));
            let waiter = queue.waiters.get_mut(ticket).expect("the index lists only waiters");
            let is_old = |want: &&mut Want| **want == Want::Name(old);
            waiter.wants.iter_mut().filter(is_old).for_each(|want| *want = Want::Name(new));
        }
        if let Some(ranks) = queue.by_only_name.remove(&old) {
            queue.by_only_name.insert(new, ranks);
        }
        queue.remap_watches(old, new);
        queue.positions.remap(old, new);
        tickets.len() + queue.patterns.remap(old, new, self.names.texts()) / 4
    }

    /// Forgets the ids from `count` on.
    pub(super) fn truncate_queue(&mut self, count: ResourceId) {
        self.queue.pass.truncate(count);
        self.queue.positions.truncate(count);
        self.queue.patterns.truncate(count);
    }
}

/// Returns the interval of a waiting request. `desde=ahora` is replaced by the time of the request,
/// and a length after it by the resulting end. Computed again later, from a wall clock that is
/// behind, the end could be earlier, and the request fit at once.
fn fixed(when: When, interval: Interval) -> When {
    let start = Start::At(interval.from);
    match (when.start, when.end) {
        (Start::Now, End::For(_)) => When { start, end: End::Until(interval.until) },
        (Start::Now, _) => When { start, ..when },
        _ => when,
    }
}

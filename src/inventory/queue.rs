//! Requests that wait (`espera=`): first come, first served.
//!
//! When something becomes free, every waiter whose whole request now fits is granted, oldest first.
//! Nothing is held in part, so waiters cannot deadlock. Between two commands no waiter fits.
//! Therefore a new request can be tried at once: every older one has been tried since the last
//! change. While [`Inventory::is_behind`], this holds only for resources that no request waits for.
//!
//! The work is proportional to the change:
//! - [`watch`] records what blocks each waiter, so that a change only reaches waiters it may help;
//! - [`patterns`] keeps each pattern once, with the resources that it matches;
//! - [`places`] ranks the waiters for one name, and compares only the few that want more.

mod patterns;
mod places;
mod ranks;
mod watch;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use smallvec::SmallVec;

use super::{
    Candidates, Deadlines, End, IdempotencyKey, Interval, Inventory, Origin, Principal, Refusal,
    Request, Reservation, ResourceId, Selector, SessionId, Start, Target, When,
};
use crate::limits::{
    WAIT_MATCH_BYTES, WAIT_PATTERNS_MAX, WAIT_TARGETS_MAX, WAIT_TARGETS_PER_ADDRESS,
    WAIT_TARGETS_PER_HOST, WAITERS_MAX,
};
use crate::time::{ClockReading, Time, Zone, earlier};
use patterns::{PatternId, Patterns};
use ranks::Ranks;
use watch::{Pass, Watch};

/// The order of waiters. The older of two has the lower ticket.
pub type Ticket = u64;

/// What a request that is about to wait asks for.
#[derive(Debug)]
pub struct Wants {
    pub targets: Vec<Target>,
}

/// One target of a waiting request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    Name(ResourceId),
    Pattern(PatternId),
}

/// A waiting request. A connection has no more than one.
#[derive(Debug)]
struct Waiter {
    principal: Principal,
    request: Request<'static>,
    wants: SmallVec<[Want; 1]>,
    key: Option<IdempotencyKey>,
    /// The end of the wait on the clock of the queue; see [`Queue::clock_offset_ms`].
    patience: Time,
    /// When what it asks for would be over.
    own_end: Time,
    /// The place that it was told last.
    told: usize,
    /// What blocks it.
    watch: Watch,
}

impl Waiter {
    /// Whether what it wants begins when it is granted, so that it cannot be
    /// granted anything that is taken now.
    fn is_from_now(&self) -> bool {
        self.request.when.start == Start::Default
    }

    /// Returns the resource if it asks for one name and nothing else.
    fn only_name(&self) -> Option<ResourceId> {
        match self.wants[..] {
            [Want::Name(id)] => Some(id),
            _ => None,
        }
    }

    fn has_pattern(&self) -> bool {
        self.patterns().next().is_some()
    }

    fn patterns(&self) -> impl Iterator<Item = PatternId> + '_ {
        self.wants.iter().filter_map(|want| match want {
            Want::Name(_) => None,
            Want::Pattern(id) => Some(*id),
        })
    }

    fn names(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.wants.iter().filter_map(|want| match want {
            Want::Name(id) => Some(*id),
            Want::Pattern(_) => None,
        })
    }
}

/// What has become of a wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As it was granted: when its connection is told, it may have changed or
    /// even ended already.
    Granted(Rc<Reservation>),
    /// Its time is up, or it was interrupted.
    TimedOut,
    /// A resource that it named was taken out.
    Removed(String),
    /// The server is stopping.
    Stopping,
    /// It goes on, at this place; 1 is next.
    PositionChanged(usize),
}

/// The bound on waiting requests that is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitLimit {
    /// The number of waiting requests.
    Waiters,
    /// The number of targets of requests that want more than one name.
    Targets,
    /// The same for requests from one address.
    TargetsOfAddress(usize),
    /// The number of different patterns.
    Patterns,
    /// The memory for the resources that patterns match.
    MatchBytes,
}

/// The queue of an inventory. In memory only: a wait ends with its connection.
#[derive(Debug, Default)]
pub struct Queue {
    waiters: BTreeMap<Ticket, Waiter>,
    /// Waiters by each resource that they name.
    by_name: BTreeSet<(ResourceId, Ticket)>,
    /// Waiters for one resource by its name and nothing else, which are the majority.
    by_only_name: BTreeMap<ResourceId, Ranks>,
    /// All other waiters.
    complex: BTreeSet<Ticket>,
    /// The waiters of `complex` that have a pattern.
    with_pattern: BTreeSet<Ticket>,
    patterns: Patterns,
    by_session: BTreeMap<SessionId, Ticket>,
    /// Those with a `clave=`, by holder and key.
    by_key: BTreeSet<(KeyOf, Ticket)>,
    patience: BTreeSet<(Time, Ticket)>,
    /// Those that are known.
    own_ends: BTreeSet<(Time, Ticket)>,
    /// The number of targets of the waiters in `complex`.
    complex_targets: usize,
    complex_targets_of: HashMap<Origin, usize>,
    /// The amount by which the clock of the queue is behind the monotonic clock. It changes when
    /// the wall clock is set.
    clock_offset_ms: i64,
    /// What blocks each waiter.
    index: watch::Index,
    pub(super) pass: Pass,
    places: places::News,
    /// Cache of the waiters in `complex` that want a resource.
    wanting: RefCell<HashMap<ResourceId, Rc<[Ticket]>>>,
    outcomes: Vec<(SessionId, Outcome)>,
    last_ticket: Ticket,
}

/// Under what a request with a key waits.
type KeyOf = (Option<Rc<str>>, Box<str>);

fn key_of(key: &IdempotencyKey, principal: &Principal) -> KeyOf {
    (principal.holder.clone(), key.text.clone())
}

impl Queue {
    /// Those who wait under the same key of the same holder, oldest first.
    fn under(
        &self,
        key: &IdempotencyKey,
        principal: &Principal,
    ) -> impl Iterator<Item = (Ticket, &Waiter)> {
        let key = key_of(key, principal);
        let all = self.by_key.range((key.clone(), 0)..=(key, Ticket::MAX));
        all.map(|(_, ticket)| (*ticket, &self.waiters[ticket]))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Returns the first waiter after a ticket that names a resource.
    fn next_by_name(&self, id: ResourceId, after: Ticket) -> Option<Ticket> {
        let mut rest = self.by_name.range((id, after + 1)..=(id, Ticket::MAX));
        rest.next().map(|(_, ticket)| *ticket)
    }

    /// Returns whether a waiter names this resource.
    pub(super) fn is_named(&self, id: ResourceId) -> bool {
        self.next_by_name(id, 0).is_some()
    }

    /// Returns whether a waiter has a pattern.
    pub fn has_patterns(&self) -> bool {
        !self.with_pattern.is_empty()
    }

    /// When the queue has something to do by itself.
    #[inline]
    pub(super) fn deadlines(&self) -> Deadlines {
        if self.is_empty() {
            return Deadlines::default();
        }
        let first = |ends: &BTreeSet<(Time, Ticket)>| ends.first().map(|(time, _)| *time);
        let patience = first(&self.patience).map(|time| time.plus_ms(self.clock_offset_ms));
        Deadlines {
            dated: first(&self.own_ends),
            monotonic: earlier(patience, self.places.tell_at()),
        }
    }

    /// The next wait whose time is up.
    pub(super) fn due(&self, now: ClockReading) -> Option<Ticket> {
        let steady = now.monotonic.plus_ms(-self.clock_offset_ms);
        let patience = self.patience.first().filter(|(time, _)| *time <= steady);
        let own_end = self.own_ends.first().filter(|(time, _)| *time <= now.wall);
        earlier(patience, own_end).map(|(_, ticket)| *ticket)
    }

    /// What counts elapsed time is that much later on a clock that was set.
    pub(super) fn shift_clock(&mut self, by_ms: i64) {
        self.clock_offset_ms += by_ms;
        self.places.shift(by_ms);
    }

    /// Returns the bound that one more request would exceed, if any.
    fn limit(&self, wants: &Wants, principal: &Principal, ids: usize) -> Option<WaitLimit> {
        if self.waiters.len() >= WAITERS_MAX {
            return Some(WaitLimit::Waiters);
        }
        let count = wants.targets.len();
        if matches!(wants.targets[..], [Target::Resource(_)]) {
            return None;
        }
        let of_address = match principal.origin {
            Origin::LOCAL => WAIT_TARGETS_PER_HOST,
            _ => WAIT_TARGETS_PER_ADDRESS,
        };
        let has = self.complex_targets_of.get(&principal.origin).copied().unwrap_or(0);
        let mut new = 0;
        let mut bytes = self.patterns.bytes();
        for target in &wants.targets {
            let Target::AnyOf(pattern, matches) = target else { continue };
            if self.patterns.find(pattern).is_none() {
                new += 1;
                bytes += (4 * matches.len()).min(ids / 8 + 8);
            }
        }
        match () {
            () if self.complex_targets + count > WAIT_TARGETS_MAX => Some(WaitLimit::Targets),
            () if has + count > of_address => Some(WaitLimit::TargetsOfAddress(of_address)),
            () if self.patterns.len() + new > WAIT_PATTERNS_MAX => Some(WaitLimit::Patterns),
            () if bytes > WAIT_MATCH_BYTES => Some(WaitLimit::MatchBytes),
            () => None,
        }
    }

    fn insert(&mut self, ticket: Ticket, waiter: Waiter) {
        for id in waiter.names() {
            self.by_name.insert((id, ticket));
        }
        match waiter.only_name() {
            Some(id) => self.by_only_name.entry(id).or_default().push(ticket),
            None => {
                self.complex.insert(ticket);
                self.complex_targets += waiter.wants.len();
                *self.complex_targets_of.entry(waiter.principal.origin).or_default() +=
                    waiter.wants.len();
                self.wanting.get_mut().clear();
            }
        }
        if waiter.has_pattern() {
            self.with_pattern.insert(ticket);
        }
        self.by_session.insert(waiter.principal.session, ticket);
        if let Some(key) = &waiter.key {
            self.by_key.insert((key_of(key, &waiter.principal), ticket));
        }
        self.patience.insert((waiter.patience, ticket));
        if !waiter.own_end.is_never() {
            self.own_ends.insert((waiter.own_end, ticket));
        }
        self.waiters.insert(ticket, waiter);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        self.set_watch(ticket, Watch::Nothing);
        let waiter = self.waiters.remove(&ticket)?;
        for id in waiter.names() {
            self.by_name.remove(&(id, ticket));
            self.places.note_moved(id);
        }
        match waiter.only_name() {
            Some(id) => {
                if let Some(ranks) = self.by_only_name.get_mut(&id) {
                    ranks.remove(ticket);
                    if ranks.len() == 0 {
                        self.by_only_name.remove(&id);
                    }
                }
            }
            None => {
                self.complex.remove(&ticket);
                self.complex_targets -= waiter.wants.len();
                if let Some(count) = self.complex_targets_of.get_mut(&waiter.principal.origin) {
                    *count -= waiter.wants.len();
                    if *count == 0 {
                        self.complex_targets_of.remove(&waiter.principal.origin);
                    }
                }
                self.wanting.get_mut().clear();
            }
        }
        if waiter.has_pattern() {
            self.with_pattern.remove(&ticket);
        }
        self.by_session.remove(&waiter.principal.session);
        if let Some(key) = &waiter.key {
            self.by_key.remove(&(key_of(key, &waiter.principal), ticket));
        }
        self.patience.remove(&(waiter.patience, ticket));
        self.own_ends.remove(&(waiter.own_end, ticket));
        if self.waiters.is_empty() {
            self.forget_freed();
            self.places.forget();
        }
        Some(waiter)
    }
}

impl Inventory {
    /// Returns the queue of waiting requests.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Checks that a request may wait.
    pub(super) fn check_wait(&self, wants: &Wants, principal: &Principal) -> Result<(), Refusal> {
        match self.queue.limit(wants, principal, self.schedules.len()) {
            None => Ok(()),
            Some(limit) => Err(Refusal::TooMuchWaits(limit)),
        }
    }

    /// Adds a request that does not fit to the end of the queue, and returns its place. `wants`
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
        let steady = now.monotonic.plus_ms(-self.queue.clock_offset_ms);
        let patience = steady.plus_ms(request.wait_ms.unwrap_or(0));
        let own_end = match (when.start, when.end) {
            (Start::Default, End::Until(until)) => until,
            (Start::Default, _) => Time::MAX,
            _ => when.until(when.from(now.wall), zone).unwrap_or(Time::MAX),
        };
        let key = request.idempotency_key();
        let request = Request { when, ..request.into_owned() };
        let ids = ResourceId::at(self.schedules.len());
        let wants = wants.targets.iter().map(|target| match target {
            Target::Resource(id) => Want::Name(*id),
            Target::AnyOf(pattern, matches) => {
                Want::Pattern(self.queue.patterns.intern(pattern, matches, ids))
            }
        });
        let wants = wants.collect();
        self.queue.last_ticket += 1;
        let ticket = self.queue.last_ticket;
        let watch = Watch::Nothing;
        let waiter = Waiter { principal, request, wants, key, patience, own_end, told: 0, watch };
        self.queue.insert(ticket, waiter);
        self.watch_what_blocks(ticket, now, zone);
        let place = self.place_of(ticket, usize::MAX);
        if let Some(waiter) = self.queue.waiters.get_mut(&ticket) {
            waiter.told = place;
        }
        place
    }

    /// The request of a waiter with the same holder and key, if one waits.
    pub(super) fn waits_under(
        &self,
        key: &IdempotencyKey,
        principal: &Principal,
    ) -> Option<&IdempotencyKey> {
        self.queue.under(key, principal).next().and_then(|(_, waiter)| waiter.key.as_ref())
    }

    /// This waiter and those with the same holder, key and request.
    fn same_request(&self, ticket: Ticket) -> Vec<Ticket> {
        let waiter = &self.queue.waiters[&ticket];
        let Some(key) = &waiter.key else { return vec![ticket] };
        let all = self.queue.under(key, &waiter.principal);
        all.filter(|(_, other)| other.key == waiter.key).map(|(ticket, _)| ticket).collect()
    }

    /// Removes a waiter from the queue.
    fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.queue.remove(ticket)?;
        if waiter.has_pattern() {
            self.note_moved_by_patterns(&waiter);
            waiter.patterns().for_each(|pattern| self.queue.patterns.release(pattern));
        }
        Some(waiter)
    }

    /// Ends a wait and records its outcome.
    pub(super) fn end_wait(&mut self, ticket: Ticket, outcome: Outcome) {
        if let Some(waiter) = self.leave(ticket) {
            self.queue.outcomes.push((waiter.principal.session, outcome));
        }
    }

    /// Ends the wait of a connection that is gone; nobody is to be told.
    pub fn leave_queue(&mut self, session: SessionId, now: ClockReading) {
        if let Some(ticket) = self.queue.by_session.get(&session).copied() {
            self.leave(ticket);
            self.tell_first_places(now);
        }
    }

    /// Ends the wait of a connection as if its time were up.
    pub fn interrupt(&mut self, session: SessionId, now: ClockReading) {
        if let Some(ticket) = self.queue.by_session.get(&session).copied() {
            self.end_wait(ticket, Outcome::TimedOut);
            self.tell_first_places(now);
        }
    }

    /// Ends every wait: the server is stopping.
    pub fn end_all_waits(&mut self) {
        while let Some((ticket, _)) = self.queue.waiters.first_key_value() {
            self.end_wait(*ticket, Outcome::Stopping);
        }
        self.queue.places.forget();
    }

    /// Targets as they are told: names as the inventory has them.
    pub fn target_text(&self, targets: &[Target], selectors: &[Selector]) -> String {
        let texts = targets.iter().zip(selectors).map(|(target, selector)| match target {
            Target::Resource(id) => self.names.texts().name(*id),
            Target::AnyOf(..) => selector.text(),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// Ends the waits for a resource that is taken out.
    pub(super) fn end_waits_for(&mut self, id: ResourceId) {
        let name = self.names.texts().name(id).to_owned();
        while let Some(ticket) = self.queue.next_by_name(id, 0) {
            self.end_wait(ticket, Outcome::Removed(name.clone()));
        }
        self.queue.wanting.get_mut().remove(&id);
    }

    /// Whether somebody is to be told of a wait.
    pub fn has_outcomes(&self) -> bool {
        !self.queue.outcomes.is_empty()
    }

    /// What has become of waits since the last call, in order.
    pub fn take_outcomes(&mut self) -> Vec<(SessionId, Outcome)> {
        std::mem::take(&mut self.queue.outcomes)
    }

    /// The place that a connection which waits was told last.
    pub fn waiting_place(&self, session: SessionId) -> Option<usize> {
        let ticket = self.queue.by_session.get(&session)?;
        self.queue.waiters.get(ticket).map(|waiter| waiter.told)
    }

    /// Returns whether a waiter wants this resource, by its name or by a pattern.
    pub fn is_waited_for(&self, id: ResourceId) -> bool {
        if self.queue.is_named(id) {
            return true;
        }
        let (found, looked_at) = self.queue.patterns.some_match(id, self.names.texts());
        self.add_work(looked_at / 8);
        found
    }

    /// Changes the id of a resource in all waiters that want it, and returns the number of changes.
    /// Must not be called while [`Inventory::is_behind`], nor before all grants have been reported,
    /// because those hold the ids of their time.
    pub(super) fn renumber_waiters(&mut self, old: ResourceId, new: ResourceId) -> usize {
        let is_grant = |(_, outcome): &(SessionId, Outcome)| matches!(outcome, Outcome::Granted(_));
        debug_assert!(!self.queue.outcomes.iter().any(is_grant));
        let queue = &mut self.queue;
        queue.wanting.get_mut().clear();
        let all = queue.by_name.range((old, 0)..=(old, Ticket::MAX));
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
        queue.renumber_watches(old, new);
        queue.places.remap(old, new);
        tickets.len() + queue.patterns.remap(old, new, self.names.texts()) / 4
    }

    /// The ids from `count` on are not in use any more.
    pub(super) fn truncate_queue(&mut self, count: ResourceId) {
        self.queue.pass.truncate(count);
        self.queue.places.truncate(count);
        self.queue.patterns.truncate(count);
    }

    /// Checks the invariants of the queue without its indexes, for tests.
    pub(super) fn check_queue(&self) {
        let queue = &self.queue;
        let mut complex = 0;
        for (ticket, waiter) in &queue.waiters {
            assert!(!matches!(waiter.watch, Watch::Nothing), "{ticket} watches nothing");
            for id in waiter.names() {
                assert!(queue.by_name.contains(&(id, *ticket)));
            }
            if waiter.only_name().is_none() {
                complex += waiter.wants.len();
                assert!(queue.complex.contains(ticket));
            }
            self.check_watch(*ticket);
        }
        for pattern in queue.patterns.ids() {
            let matcher = queue.patterns.pattern(pattern).matcher();
            for id in self.ids() {
                let want = matcher.matches(self.names.texts().folded(id));
                let got = queue.patterns.is_match(pattern, id, self.names.texts());
                assert_eq!(got, want, "wrong match set at {id}");
            }
        }
        let uses = queue.waiters.values().flat_map(Waiter::patterns).count();
        assert_eq!(queue.patterns.uses(), uses);
        assert_eq!(queue.complex_targets, complex);
        assert_eq!(queue.complex_targets_of.values().sum::<usize>(), complex);
        let ranked: usize = queue.by_only_name.values().map(Ranks::len).sum();
        assert_eq!(ranked + queue.complex.len(), queue.waiters.len());
        assert!(!queue.waiters.is_empty() || queue.patterns.len() == 0, "unused pattern");
    }

    /// Returns whether a waiter could be granted now, for tests. Between two commands none can,
    /// unless [`Inventory::is_behind`].
    pub fn some_waiter_fits(&self, now: ClockReading, zone: &Zone) -> bool {
        let work = self.work.get();
        let found =
            !self.is_full() && self.queue.waiters.values().any(|it| self.fits(it, now, zone));
        self.work.set(work);
        found
    }

    fn fits(&self, waiter: &Waiter, now: ClockReading, zone: &Zone) -> bool {
        let Ok(interval) = waiter.request.when.interval(now, zone) else { return false };
        let mut candidates = Candidates::new(self);
        for want in &waiter.wants {
            match want {
                Want::Name(id) => candidates.add_name(*id),
                Want::Pattern(id) => {
                    candidates.add_pattern(self.queue.patterns.pattern(*id));
                }
            }
        }
        candidates.place(interval).is_ok()
    }
}

/// A wait that says `desde=ahora` means the moment at which it was said, and
/// with a length the very end that did not fit then: counted anew, from a wall
/// clock that is behind, it could be earlier and fit at once.
fn fixed(when: When, interval: Interval) -> When {
    let start = Start::At(interval.from);
    match (when.start, when.end) {
        (Start::Now, End::For(_)) => When { start, end: End::Until(interval.until) },
        (Start::Now, _) => When { start, ..when },
        _ => when,
    }
}

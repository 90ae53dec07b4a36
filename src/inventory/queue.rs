//! Those who wait (`espera=`): first come, first served.
//!
//! Whatever makes room grants every waiter, oldest first, whose whole request
//! now fits; nothing is held in part, so nobody can block in a circle.
//! Between two commands no waiter fits, which is why a newcomer may simply be
//! tried: every older one has been tried since the last change.
//!
//! Large queues are cheap: a release looks at those who named what was
//! released, and as soon as that is taken again, at nobody else who wants it
//! from now on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use super::decide::{Request, Wanted, Who};
use super::event::Batch;
use super::fit::{Start, Target, Term, When};
use super::names::ResourceId;
use super::pattern::Pattern;
use super::{Deadlines, Event, Inventory, Key, Reservation, SessionId};
use crate::clock::{Now, Time, Zone};
use crate::limits::{PLACES_AT_ONCE, PLACES_BUDGET, PLACES_EVERY_MS, RELEASES_ONE_BY_ONE};

/// Who came first has the lower one.
pub type Ticket = u64;

/// Somebody who waits. A connection waits for one thing at a time.
#[derive(Debug)]
struct Waiter {
    who: Who,
    request: Request<'static>,
    targets: Vec<Target>,
    key: Option<Key>,
    /// Until when it waits, by the steady clock.
    patience: Time,
    /// When what it asks for would be over.
    own_end: Time,
    /// The place that it was told last.
    told: usize,
}

impl Waiter {
    /// Whether what it wants begins when it is granted, so that it cannot be
    /// granted anything that is taken now.
    fn is_from_now(&self) -> bool {
        self.request.when.start == Start::Unsaid
    }

    fn has_pattern(&self) -> bool {
        has_pattern(&self.targets)
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.targets.iter().filter_map(|target| match target {
            Target::Named(_) => None,
            Target::Any(pattern) => Some(pattern),
        })
    }

    fn names(&self) -> impl Iterator<Item = ResourceId> + '_ {
        names(&self.targets)
    }
}

fn has_pattern(targets: &[Target]) -> bool {
    targets.iter().any(|target| matches!(target, Target::Any(_)))
}

fn names(targets: &[Target]) -> impl Iterator<Item = ResourceId> + '_ {
    targets.iter().filter_map(|target| match target {
        Target::Named(id) => Some(*id),
        Target::Any(_) => None,
    })
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
    Place(usize),
}

/// Tickets of those who want to begin now, and of those who want dates.
#[derive(Debug, Default)]
struct Index<K: Ord> {
    from_now: BTreeSet<(K, Ticket)>,
    dated: BTreeSet<(K, Ticket)>,
}

impl<K: Ord + Copy> Index<K> {
    fn set(&mut self, from_now: bool) -> &mut BTreeSet<(K, Ticket)> {
        if from_now { &mut self.from_now } else { &mut self.dated }
    }

    /// The first ticket of a key after one; only dated ones if `only_dated`.
    fn next(&self, key: K, after: Ticket, only_dated: bool) -> Option<Ticket> {
        let range = (key, after + 1)..=(key, Ticket::MAX);
        let dated = self.dated.range(range.clone()).next();
        let now = if only_dated { None } else { self.from_now.range(range).next() };
        dated.into_iter().chain(now).map(|(_, ticket)| *ticket).min()
    }
}

/// The queue of an inventory. In memory only: a wait ends with its connection.
#[derive(Debug, Default)]
pub struct Queue {
    waiters: BTreeMap<Ticket, Waiter>,
    by_name: Index<ResourceId>,
    /// Those with a pattern, under the one key there is.
    by_pattern: Index<()>,
    by_session: BTreeMap<SessionId, Ticket>,
    /// Those with a `clave=`, by holder and key.
    by_key: BTreeSet<(KeyOf, Ticket)>,
    patience: BTreeSet<(Time, Ticket)>,
    /// Those that are known.
    own_ends: BTreeSet<(Time, Ticket)>,
    /// What has become free since the last [`Inventory::settle`], and before
    /// that if the server has been full since.
    freed: BTreeSet<ResourceId>,
    /// Resources whose waiters have moved up since.
    moved: BTreeSet<ResourceId>,
    /// The patterns of those who have left since.
    patterns_moved: Vec<Pattern>,
    /// When those further back are told their places, by the steady clock.
    tell_at: Option<Time>,
    /// From whom on, where the last time has ended.
    tell_from: Ticket,
    outcomes: Vec<(SessionId, Outcome)>,
    last_ticket: Ticket,
    /// How far the steady clock was ahead of the time, the last time.
    delay_ms: i64,
}

/// Under what a request with a key waits.
type KeyOf = (Option<Rc<str>>, Box<str>);

fn key_of(key: &Key, who: &Who) -> KeyOf {
    (who.holder.clone(), key.key.clone())
}

impl Queue {
    /// Those who wait under the same key of the same holder, oldest first.
    fn under(&self, key: &Key, who: &Who) -> impl Iterator<Item = (Ticket, &Waiter)> {
        let key = key_of(key, who);
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

    /// What was noted for those who wait, once nobody does.
    fn forget_moves(&mut self) {
        if !self.freed.is_empty() || !self.patterns_moved.is_empty() {
            self.freed.clear();
            self.patterns_moved.clear();
        }
    }

    /// Notes that a resource may have become free.
    pub(super) fn free(&mut self, id: ResourceId) {
        if !self.waiters.is_empty() {
            self.freed.insert(id);
        }
    }

    /// When the queue has something to do by itself.
    pub(super) fn deadlines(&self) -> Deadlines {
        let first = |ends: &BTreeSet<(Time, Ticket)>| ends.first().map(|(time, _)| *time);
        let patience = first(&self.patience);
        Deadlines {
            dated: first(&self.own_ends),
            steady: patience.into_iter().chain(self.tell_at).min(),
        }
    }

    /// The next wait whose time is up.
    fn due(&self, now: Now) -> Option<Ticket> {
        let patience = self.patience.first().filter(|(time, _)| *time <= now.steady);
        let own_end = self.own_ends.first().filter(|(time, _)| *time <= now.time);
        patience.into_iter().chain(own_end).min().map(|(_, ticket)| *ticket)
    }

    /// What counts elapsed time is that much later on a clock that was set.
    fn shift(&mut self, by_ms: i64) {
        let moved = |time: Time| time.plus_ms(by_ms);
        let patience = std::mem::take(&mut self.patience);
        self.patience = patience.into_iter().map(|(at, ticket)| (moved(at), ticket)).collect();
        for waiter in self.waiters.values_mut() {
            waiter.patience = moved(waiter.patience);
        }
        self.tell_at = self.tell_at.map(moved);
    }

    fn insert(&mut self, ticket: Ticket, waiter: Waiter) {
        let from_now = waiter.is_from_now();
        for id in waiter.names() {
            self.by_name.set(from_now).insert((id, ticket));
        }
        if waiter.has_pattern() {
            self.by_pattern.set(from_now).insert(((), ticket));
        }
        self.by_session.insert(waiter.who.session, ticket);
        if let Some(key) = &waiter.key {
            self.by_key.insert((key_of(key, &waiter.who), ticket));
        }
        self.patience.insert((waiter.patience, ticket));
        if !waiter.own_end.is_never() {
            self.own_ends.insert((waiter.own_end, ticket));
        }
        self.waiters.insert(ticket, waiter);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        let from_now = waiter.is_from_now();
        for id in waiter.names() {
            self.by_name.set(from_now).remove(&(id, ticket));
            self.moved.insert(id);
        }
        if waiter.has_pattern() {
            self.by_pattern.set(from_now).remove(&((), ticket));
            self.patterns_moved.extend(waiter.patterns().cloned());
        }
        self.by_session.remove(&waiter.who.session);
        if let Some(key) = &waiter.key {
            self.by_key.remove(&(key_of(key, &waiter.who), ticket));
        }
        self.patience.remove(&(waiter.patience, ticket));
        self.own_ends.remove(&(waiter.own_end, ticket));
        Some(waiter)
    }

    fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        if let Some(waiter) = self.remove(ticket) {
            self.outcomes.push((waiter.who.session, outcome));
        }
    }
}

impl Inventory {
    /// Who waits.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// How many wait for something of these: who waited for them now would be
    /// behind so many.
    pub fn waiting_for(&self, targets: &[Target]) -> usize {
        self.ahead_of(targets, Ticket::MAX, usize::MAX)
    }

    /// Puts a request that does not fit into the queue, as its youngest, and
    /// returns its place. Its targets were found at `now`.
    pub fn wait(
        &mut self,
        request: Request,
        targets: Vec<Target>,
        who: Who,
        now: Now,
        zone: &Zone,
    ) -> usize {
        let when = fixed(request.when, request.from, request.until);
        let patience = now.steady.plus_ms(request.wait_ms.unwrap_or(0));
        let own_end = match (when.start, when.term) {
            (Start::Unsaid, Term::Until(until)) => until,
            (Start::Unsaid, _) => Time::NEVER,
            _ => when.until(when.from(now.time), zone).unwrap_or(Time::NEVER),
        };
        let key = request.full_key();
        let request = Request { when, ..request.into_owned() };
        self.queue.last_ticket += 1;
        let ticket = self.queue.last_ticket;
        let waiter = Waiter { who, request, targets, key, patience, own_end, told: 0 };
        self.queue.insert(ticket, waiter);
        let place = self.place_of(ticket, usize::MAX);
        if let Some(waiter) = self.queue.waiters.get_mut(&ticket) {
            waiter.told = place;
        }
        place
    }

    /// The request of a waiter with the same holder and key, if one waits.
    pub(super) fn waits_under(&self, key: &Key, who: &Who) -> Option<&Key> {
        self.queue.under(key, who).next().and_then(|(_, waiter)| waiter.key.as_ref())
    }

    /// Grants what fits now, after something has become free. Call it after
    /// every command and every end.
    #[inline]
    pub fn settle(&mut self, now: Now, zone: &Zone, batch: &mut Batch) {
        match self.queue.is_empty() {
            true => self.queue.forget_moves(),
            false => self.grant_freed(now, zone, batch),
        }
    }

    fn grant_freed(&mut self, now: Now, zone: &Zone, batch: &mut Batch) {
        let mut freed = Vec::new();
        if !self.is_full() {
            freed.extend(&self.queue.freed);
        }
        let mut last = 0;
        // What does not fit now fits no better after a grant: not tried again
        // for everybody who asks the same.
        let mut hopeless = HashSet::new();
        while !freed.is_empty() && !self.is_full() {
            let Some(ticket) = self.next_candidate(&freed, last, now.time) else {
                self.queue.freed.clear();
                break;
            };
            last = ticket;
            self.try_grant(ticket, &freed, &mut hopeless, (now, zone), batch);
        }
        self.tell_first_places(now);
    }

    /// The oldest waiter after `last` that what was freed may help.
    fn next_candidate(&self, freed: &[ResourceId], last: Ticket, now: Time) -> Option<Ticket> {
        let queue = &self.queue;
        if freed.len() > RELEASES_ONE_BY_ONE {
            return queue.waiters.range(last + 1..).next().map(|(ticket, _)| *ticket);
        }
        let is_free = |id: &ResourceId| self.overlap(*id, now, now.plus_ms(1)).is_none();
        let named = freed.iter().filter_map(|id| queue.by_name.next(*id, last, !is_free(id))).min();
        let free: Vec<_> = freed.iter().copied().filter(is_free).collect();
        let from_now = self.next_by_pattern(&queue.by_pattern.from_now, &free, last, named);
        let dated = self.next_by_pattern(&queue.by_pattern.dated, freed, last, named);
        [named, from_now, dated].into_iter().flatten().min()
    }

    /// The first waiter after `last`, and before `bound`, with a pattern for
    /// one of these resources.
    fn next_by_pattern(
        &self,
        tickets: &BTreeSet<((), Ticket)>,
        ids: &[ResourceId],
        last: Ticket,
        bound: Option<Ticket>,
    ) -> Option<Ticket> {
        if ids.is_empty() {
            return None;
        }
        let bound = bound.unwrap_or(Ticket::MAX);
        let mut rest = tickets.range(((), last + 1)..).map(|(_, ticket)| *ticket);
        rest.by_ref().take_while(|ticket| *ticket < bound).find(|ticket| {
            self.queue.waiters[ticket].targets.iter().any(|target| self.may_be(target, ids))
        })
    }

    /// Whether a pattern matches one of these.
    fn may_be(&self, target: &Target, ids: &[ResourceId]) -> bool {
        let texts = self.names.texts();
        match target {
            Target::Named(_) => false,
            Target::Any(pattern) => ids.iter().any(|id| pattern.matches(texts.folded(*id))),
        }
    }

    fn try_grant(
        &mut self,
        ticket: Ticket,
        freed: &[ResourceId],
        hopeless: &mut HashSet<(String, Time, Time)>,
        (now, zone): (Now, &Zone),
        batch: &mut Batch,
    ) {
        let Some(waiter) = self.queue.waiters.get(&ticket) else { return };
        let Ok((from, until)) = waiter.request.when.interval(now, zone) else { return };
        if !self.may_help(freed, &waiter.targets, from, until) {
            return;
        }
        let is_set = waiter.targets.len() > 1;
        // In the order written: patterns are chosen from left to right.
        let asked = is_set.then(|| {
            let texts: Vec<_> = waiter.request.wanted.iter().map(Wanted::text).collect();
            (texts.join(","), from, until)
        });
        if asked.as_ref().is_some_and(|asked| hopeless.contains(asked)) {
            return;
        }
        let Ok(ids) = self.place(&waiter.targets, from, until) else {
            hopeless.extend(asked);
            return;
        };
        // A retry with the same key waits too; what is bound to a connection
        // goes to the one that asked last.
        let same = self.same_request(ticket);
        let who = match same.last().and_then(|last| self.queue.waiters.get(last)) {
            Some(last) => last.who.clone(),
            None => waiter.who.clone(),
        };
        let request = Request { from, until, ..waiter.request.clone() };
        let granted = Rc::new(self.granted(&request, &ids, waiter.key.clone(), &who));
        self.enact(now.time, Event::Reserved(Rc::clone(&granted)), batch);
        for ticket in same {
            self.queue.end(ticket, Outcome::Granted(Rc::clone(&granted)));
        }
    }

    /// Whether something that was freed, and is free in that interval, is among
    /// the targets: nothing else can have made them fit.
    fn may_help(&self, freed: &[ResourceId], targets: &[Target], from: Time, until: Time) -> bool {
        let texts = self.names.texts();
        let wants = |id: ResourceId| {
            targets.iter().any(|target| match target {
                Target::Named(name) => *name == id,
                Target::Any(pattern) => pattern.matches(texts.folded(id)),
            })
        };
        freed.len() > RELEASES_ONE_BY_ONE
            || freed.iter().any(|id| self.overlap(*id, from, until).is_none() && wants(*id))
    }

    /// This waiter and those with the same holder, key and request.
    fn same_request(&self, ticket: Ticket) -> Vec<Ticket> {
        let waiter = &self.queue.waiters[&ticket];
        let Some(key) = &waiter.key else { return vec![ticket] };
        let all = self.queue.under(key, &waiter.who);
        all.filter(|(_, other)| other.key == waiter.key).map(|(ticket, _)| ticket).collect()
    }

    /// Applies what is due up to `now`, each at its own time: ends, then the
    /// grants that they allow, then waits that are over.
    pub fn advance(&mut self, now: Now, zone: &Zone, batch: &mut Batch) {
        let delay_ms = now.steady.ms() - now.time.ms();
        let caught_up = std::mem::replace(&mut self.queue.delay_ms, delay_ms) > delay_ms;
        if caught_up {
            self.all_may_fit();
        }
        while let Some(then) = self.next_moment(now) {
            self.pass(then, zone, batch);
        }
        if caught_up {
            self.settle(now, zone, batch);
        }
    }

    /// What happens by itself at a moment.
    fn pass(&mut self, then: Now, zone: &Zone, batch: &mut Batch) {
        while let Some((_, number)) = self.due(then) {
            self.enact(then.time, Event::Expired { number }, batch);
        }
        self.settle(then, zone, batch);
        while let Some(ticket) = self.queue.due(then) {
            self.queue.end(ticket, Outcome::TimedOut);
        }
        if self.queue.tell_at.is_some_and(|tell_at| tell_at <= then.steady) {
            let more = !self.tell_all_places();
            self.queue.tell_at = more.then(|| then.steady.plus_ms(PLACES_EVERY_MS));
        }
        self.tell_first_places(then);
    }

    /// The next moment up to `now` at which something happens by itself.
    fn next_moment(&self, now: Now) -> Option<Now> {
        let next = self.deadlines();
        let dated = next.dated.filter(|time| *time <= now.time);
        let steady = next.steady.filter(|time| *time <= now.steady);
        let next = dated.into_iter().chain(steady).min()?;
        Some(Now { time: next.min(now.time), steady: next })
    }

    /// The wall clock has caught up: a length from now on ends earlier than it
    /// did while the time stood, and may fit before what is booked.
    fn all_may_fit(&mut self) {
        if !self.queue.is_empty() {
            let all: Vec<_> = self.ids().collect();
            self.queue.freed.extend(all);
        }
    }

    /// The wall clock was set by so much, and says `now`: what counts elapsed
    /// time goes on as before, so its end is told anew; what has dates is
    /// where the clock now says.
    ///
    /// A lease that would run into a booking ends where that begins: no two
    /// may overlap, and the booking was promised its dates.
    pub fn clock_was_set(&mut self, by_ms: i64, now: Now, zone: &Zone, batch: &mut Batch) {
        // Over by the clock as it is now; nobody is granted what a lease has.
        while let Some((until, number)) = self.ends.first().copied().filter(|it| it.0 <= now.time) {
            self.enact(until, Event::Expired { number }, batch);
        }
        let leases: Vec<_> = self.leases.iter().map(|(_, number)| *number).collect();
        for number in leases {
            let lease = &self.reservations[&number];
            let until = lease.until.plus_ms(by_ms).min(Time::LATEST);
            let booked = self.in_the_way(lease, until).map(|(_, booking)| booking.from);
            let until = booked.unwrap_or(until);
            let event = match until <= now.time {
                true => Event::Expired { number },
                false => Event::Renewed { number, until, lease: true, keep_alive_ms: None },
            };
            self.enact(now.time, event, batch);
        }
        self.queue.shift(by_ms);
        self.all_may_fit();
        // Nothing has a time between the old clock and the new one.
        self.pass(now, zone, batch);
    }

    /// Ends the wait of a connection that is gone; nobody is to be told.
    pub fn leave_queue(&mut self, session: SessionId, now: Now) {
        if let Some(ticket) = self.queue.by_session.get(&session).copied() {
            self.queue.remove(ticket);
            self.tell_first_places(now);
        }
    }

    /// Ends the wait of a connection as if its time were up.
    pub fn interrupt(&mut self, session: SessionId, now: Now) {
        if let Some(ticket) = self.queue.by_session.get(&session).copied() {
            self.queue.end(ticket, Outcome::TimedOut);
            self.tell_first_places(now);
        }
    }

    /// Ends every wait: the server is stopping.
    pub fn end_all_waits(&mut self) {
        while let Some((ticket, _)) = self.queue.waiters.first_key_value() {
            self.queue.end(*ticket, Outcome::Stopping);
        }
        self.queue.moved.clear();
        self.queue.patterns_moved.clear();
    }

    /// Targets as they are told: names as the inventory has them.
    pub fn target_text(&self, targets: &[Target], wanted: &[Wanted]) -> String {
        let texts = targets.iter().zip(wanted).map(|(target, wanted)| match target {
            Target::Named(id) => self.names.texts().name(*id),
            Target::Any(_) => wanted.text(),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// Ends the waits for a resource that is taken out.
    pub(super) fn end_waits_for(&mut self, id: ResourceId) {
        let name = self.names.texts().name(id).to_owned();
        while let Some(ticket) = self.queue.by_name.next(id, 0, false) {
            self.queue.end(ticket, Outcome::Removed(name.clone()));
        }
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

    /// One more than the older waiters that want something of the same, not
    /// counted beyond `bound`.
    fn place_of(&self, ticket: Ticket, bound: usize) -> usize {
        1 + self.ahead_of(&self.queue.waiters[&ticket].targets, ticket, bound)
    }

    /// The waiters older than `ticket` that want something of these; patterns
    /// count as wanting what they match, and something of each other's.
    fn ahead_of(&self, targets: &[Target], ticket: Ticket, bound: usize) -> usize {
        let queue = &self.queue;
        if has_pattern(targets) {
            let older = queue.waiters.range(..ticket);
            let meets = |(_, other): &(&Ticket, &Waiter)| self.meet(targets, &other.targets);
            return older.filter(meets).take(bound).count();
        }
        let ids: Vec<_> = names(targets).collect();
        let by_name = ids.iter().flat_map(|id| {
            let sets = [&queue.by_name.from_now, &queue.by_name.dated];
            let range = (*id, 0)..(*id, ticket);
            sets.into_iter().flat_map(move |set| set.range(range.clone()).take(bound))
        });
        let by_name = by_name.map(|(_, ticket)| *ticket);
        // Who shares a name is counted by that already.
        let is_apart = |other: &Waiter| !other.names().any(|id| ids.contains(&id));
        let sets = [&queue.by_pattern.from_now, &queue.by_pattern.dated];
        let patterns = sets.into_iter().flat_map(|set| set.range(..((), ticket)));
        let by_pattern = patterns.filter(|(_, other)| {
            let other = &queue.waiters[other];
            is_apart(other) && self.meet(targets, &other.targets)
        });
        let by_pattern = by_pattern.take(bound).count();
        match ids[..] {
            [_] => by_name.count() + by_pattern,
            _ => by_name.collect::<BTreeSet<_>>().len() + by_pattern,
        }
    }

    /// Whether two sets of targets want something of the same.
    fn meet(&self, one: &[Target], other: &[Target]) -> bool {
        let texts = self.names.texts();
        let may_take = |one: &[Target], other: &[Target]| {
            one.iter().any(|target| match target {
                Target::Named(id) => names(other).any(|name| name == *id),
                Target::Any(pattern) => names(other).any(|id| pattern.matches(texts.folded(id))),
            })
        };
        (has_pattern(one) && has_pattern(other)) || may_take(one, other) || may_take(other, one)
    }

    /// Tells those at the front of what has moved their new places, and sees
    /// that the others are told before long.
    fn tell_first_places(&mut self, now: Now) {
        let mut moved = std::mem::take(&mut self.queue.moved);
        let patterns = std::mem::take(&mut self.queue.patterns_moved);
        let pattern_moved = !patterns.is_empty();
        moved.extend(self.waited_for(&patterns));
        let mut front = BTreeSet::new();
        for id in &moved {
            let mut last = 0;
            for _ in 0..PLACES_AT_ONCE {
                let Some(ticket) = self.queue.by_name.next(*id, last, false) else { break };
                front.insert(ticket);
                last = ticket;
            }
        }
        if !moved.is_empty() || pattern_moved {
            let ids: Vec<_> = moved.iter().copied().collect();
            let concerns = |ticket: &Ticket| {
                let targets = &self.queue.waiters[ticket].targets;
                pattern_moved || targets.iter().any(|target| self.may_be(target, &ids))
            };
            let sets = [&self.queue.by_pattern.from_now, &self.queue.by_pattern.dated];
            let all = sets.into_iter().flat_map(|set| set.iter().take(PLACES_AT_ONCE));
            front.extend(all.map(|(_, ticket)| *ticket).filter(concerns));
        }
        for ticket in front {
            let place = self.place_of(ticket, PLACES_AT_ONCE);
            if place <= PLACES_AT_ONCE {
                self.tell(ticket, place);
            }
        }
        let has_more = self.queue.len() > PLACES_AT_ONCE;
        if (pattern_moved || !moved.is_empty()) && has_more && self.queue.tell_at.is_none() {
            self.queue.tell_at = Some(now.steady.plus_ms(PLACES_EVERY_MS));
        }
    }

    /// The names that somebody waits for and one of these patterns matches, as
    /// many as can be told of at once.
    fn waited_for(&self, patterns: &[Pattern]) -> Vec<ResourceId> {
        let by_name = &self.queue.by_name;
        let mut found = Vec::new();
        let mut from = 0;
        while !patterns.is_empty() && found.len() < RELEASES_ONE_BY_ONE {
            let sets = [&by_name.from_now, &by_name.dated];
            let next = sets.into_iter().filter_map(|set| set.range((from, 0)..).next()).min();
            let Some((id, _)) = next else { break };
            let folded = self.names.texts().folded(*id);
            if patterns.iter().any(|pattern| pattern.matches(folded)) {
                found.push(*id);
            }
            from = id + 1;
        }
        found
    }

    /// Tells everybody whose place has changed, and whether that was all: the
    /// work of one call is bounded, and the next goes on where it has ended.
    fn tell_all_places(&mut self) -> bool {
        let first = std::mem::take(&mut self.queue.tell_from);
        let mut budget = PLACES_BUDGET;
        let mut ranks: BTreeMap<ResourceId, usize> = BTreeMap::new();
        // Of those before: how many have a pattern, how many only names.
        let (mut patterns, mut named) = (0, 0);
        let tickets: Vec<_> = self.queue.waiters.keys().copied().collect();
        for ticket in tickets {
            let waiter = &self.queue.waiters[&ticket];
            let has_pattern = waiter.has_pattern();
            let mut ahead = 0;
            let mut names = 0;
            for id in waiter.names() {
                let rank = ranks.entry(id).or_default();
                ahead += *rank;
                *rank += 1;
                names += 1;
            }
            let place = match has_pattern {
                // All who have a pattern count as wanting something of the same,
                // and of names only those who name the same one thing.
                true if named == 0 => Some(patterns + 1),
                false if patterns == 0 && names == 1 => Some(ahead + 1),
                _ if ticket < first => None,
                _ if budget == 0 => {
                    self.queue.tell_from = ticket;
                    return false;
                }
                _ => {
                    let cost = if has_pattern { patterns + named } else { patterns + ahead };
                    budget = budget.saturating_sub(cost.max(64));
                    Some(self.place_of(ticket, usize::MAX))
                }
            };
            if let Some(place) = place {
                self.tell(ticket, place);
            }
            *(if has_pattern { &mut patterns } else { &mut named }) += 1;
        }
        true
    }

    fn tell(&mut self, ticket: Ticket, place: usize) {
        let Some(waiter) = self.queue.waiters.get_mut(&ticket) else { return };
        if waiter.told != place {
            waiter.told = place;
            self.queue.outcomes.push((waiter.who.session, Outcome::Place(place)));
        }
    }

    /// A resource has another id: those who wait for it go along. Not while a
    /// grant is yet to be told, for that has the ids of its moment; but then its
    /// event is yet to be committed, too.
    pub(super) fn renumber_waiters(&mut self, old: ResourceId, new: ResourceId) {
        let is_grant = |(_, outcome): &(SessionId, Outcome)| matches!(outcome, Outcome::Granted(_));
        debug_assert!(!self.queue.outcomes.iter().any(is_grant));
        let Queue { waiters, by_name, freed, moved, .. } = &mut self.queue;
        for index in [&mut by_name.from_now, &mut by_name.dated] {
            let all = (old, 0)..=(old, Ticket::MAX);
            let tickets: Vec<_> = index.range(all).map(|(_, ticket)| *ticket).collect();
            for ticket in tickets {
                index.remove(&(old, ticket));
                index.insert((new, ticket));
                let waiter = waiters.get_mut(&ticket).expect("the index says what the queue says");
                let is_old =
                    |target: &&mut Target| matches!(target, Target::Named(id) if *id == old);
                waiter.targets.iter_mut().filter(is_old).for_each(|it| *it = Target::Named(new));
            }
        }
        for ids in [freed, moved] {
            if ids.remove(&old) {
                ids.insert(new);
            }
        }
    }

    /// The ids from `count` on are not in use any more.
    pub(super) fn truncate_queue(&mut self, count: ResourceId) {
        self.queue.freed.split_off(&count);
        self.queue.moved.split_off(&count);
    }

    /// Whether a waiter could be granted at this moment, which between two
    /// commands none can; for tests.
    pub fn some_waiter_fits(&self, now: Now, zone: &Zone) -> bool {
        !self.is_full()
            && self.queue.waiters.values().any(|waiter| {
                let interval = waiter.request.when.interval(now, zone);
                interval.is_ok_and(|(from, until)| self.place(&waiter.targets, from, until).is_ok())
            })
    }
}

/// A wait that says `desde=ahora` means the moment at which it was said, and
/// with a length the very end that did not fit then: counted anew, from a wall
/// clock that is behind, it could be earlier and fit at once.
fn fixed(when: When, from: Time, until: Time) -> When {
    let start = Start::At(from);
    match (when.start, when.term) {
        (Start::Now, Term::For(_)) => When { start, term: Term::Until(until) },
        (Start::Now, _) => When { start, ..when },
        _ => when,
    }
}

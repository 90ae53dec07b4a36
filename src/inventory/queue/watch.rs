//! Records what blocks each waiter, and grants waiters after something has become free.
//!
//! A waiter that does not fit watches the first obstacle, in the order in which resources are
//! chosen (names, then patterns from left to right):
//! - a name that is taken now, if it wants to begin now: until the resource is free now;
//! - a name with another booking in the way: until that booking goes or is shortened;
//! - a pattern without any free match: until a resource that it matches becomes free;
//! - a pattern whose free matches were all chosen for its other patterns: until a resource becomes
//!   free that this pattern or one before it matches. The choice is greedy, so taking a resource
//!   never helps: each choice only moves on to a later one, and the choices for the others stay.
//!
//! The same holds for a release that only restores what a failed try had: if the booking that is
//! gone was made after the last try, its resource was free in that try, or is still blocked by
//! what blocked it then. So each watched pattern keeps the number of the last reservation at the
//! time of the last try ([`Patterns::mark_tried`]), and the releases of later reservations do not
//! reach its waiters. However many waiters compete for too few matches, a reservation and its
//! cancellation beside them cost what they cost alone.
//!
//! Time alone frees nothing. An interval that begins at the grant only moves forward, and every
//! obstacle goes with an event. The exceptions (the wall clock was set, or has caught up) retry all
//! waiters.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::mem;
use std::rc::Rc;

use smallvec::SmallVec;

use super::patterns::PatternId;
use super::{Outcome, Queue, Ticket, Waiter, Want};
use crate::inventory::event::Batch;
use crate::inventory::{Booking, Event, Ids, Interval, Inventory, Number, Request, ResourceId};
use crate::limits::RELEASES_ONE_BY_ONE;
use crate::time::{ClockReading, Time, Zone};

/// Names matched with a pattern between two checks of the remaining work.
const EXTEND_PIECE: usize = 1_000;

/// What blocks a waiter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Watch {
    /// Not tried yet.
    Nothing,
    /// The resource is taken now.
    Taken(ResourceId),
    /// This booking of the resource.
    Booking(ResourceId, Number),
    /// No match of these patterns is free for it. `is_alone` if its one pattern has no free match
    /// at all; otherwise the free matches were chosen for its other patterns.
    Patterns { patterns: SmallVec<[PatternId; 1]>, start: Option<Time>, is_alone: bool },
}

/// Waiters by what they watch. Those that watch patterns are listed in [`Patterns`].
#[derive(Debug, Default)]
pub(super) struct Index {
    taken: BTreeSet<(ResourceId, Ticket)>,
    bookings: BTreeSet<(ResourceId, Number, Ticket)>,
}

/// Waiters, in the order of their tickets, that a change may have helped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Source {
    /// All waiters.
    All,
    /// Waiters that watch a taken resource. Empty once it is taken again.
    Taken(ResourceId),
    /// Waiters that watch a booking that is gone.
    Booking(ResourceId, Number),
    /// Waiters that watch a pattern and want to begin now. Freed resources before this id are taken
    /// again; the source is empty once all of them are.
    FromNow(PatternId, ResourceId),
    /// Waiters that watch a pattern and want dates.
    Dated(PatternId),
}

/// Freed resources, each with the lowest number of a reservation that it was freed from.
#[derive(Debug, Default)]
struct Freed(BTreeMap<ResourceId, Number>);

impl Freed {
    fn add(&mut self, id: ResourceId, number: Number) {
        let lowest = self.0.entry(id).or_insert(number);
        *lowest = number.min(*lowest);
    }

    /// Moves all resources of another set to this one.
    fn append(&mut self, other: &mut Freed) {
        mem::take(&mut other.0).into_iter().for_each(|(id, number)| self.add(id, number));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// Iterates over the resources in inventory order.
    fn ids(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.0.keys().copied()
    }
}

/// The resources that have become free, and how far the waiters that they may help have been tried.
/// It can be interrupted and continued at any point.
#[derive(Debug)]
pub(in crate::inventory) struct Pass {
    /// Freed resources for which no source exists yet.
    fresh: Freed,
    fresh_bookings: Vec<(ResourceId, Number)>,
    everybody: bool,
    /// Resources for which sources are being made. The watched patterns up to `sorted_up_to` are
    /// done.
    sorting: Freed,
    sorted_up_to: Option<PatternId>,
    /// Resources for which all sources exist.
    freed: Freed,
    freed_bookings: Vec<(ResourceId, Number)>,
    is_for_everybody: bool,
    /// Bounds of the time that has become free.
    first: Time,
    last: Time,
    /// The next ticket of each source.
    heap: BinaryHeap<Reverse<(Ticket, Source)>>,
}

impl Default for Pass {
    fn default() -> Pass {
        Pass {
            fresh: Freed::default(),
            fresh_bookings: Vec::new(),
            everybody: false,
            sorting: Freed::default(),
            sorted_up_to: None,
            freed: Freed::default(),
            freed_bookings: Vec::new(),
            is_for_everybody: false,
            first: Time::MAX,
            last: Time::MIN,
            heap: BinaryHeap::new(),
        }
    }
}

impl Pass {
    /// Returns whether there are no waiters to try.
    pub fn is_over(&self) -> bool {
        self.heap.is_empty() && self.sorting.is_empty() && !self.has_fresh()
    }

    /// Returns whether a waiter can be tried now.
    pub fn can_go_on(&self, is_full: bool) -> bool {
        !is_full && !self.is_over()
    }

    fn has_fresh(&self) -> bool {
        self.everybody || !self.fresh.is_empty() || !self.fresh_bookings.is_empty()
    }

    /// Restarts from the beginning, when there is room for another reservation again.
    fn start_over(&mut self) {
        self.fresh.append(&mut self.sorting);
        self.fresh.append(&mut self.freed);
        self.fresh_bookings.append(&mut self.freed_bookings);
        self.everybody |= mem::take(&mut self.is_for_everybody);
        self.sorted_up_to = None;
        self.heap.clear();
    }

    fn clear(&mut self) {
        if !self.freed.is_empty() || !self.freed_bookings.is_empty() || self.is_for_everybody {
            *self = Pass::default();
        }
    }

    fn remap(&mut self, old: ResourceId, new: ResourceId) {
        debug_assert!(self.heap.is_empty() && self.freed.is_empty() && self.sorting.is_empty());
        if let Some(number) = self.fresh.0.remove(&old) {
            self.fresh.add(new, number);
        }
        for (id, _) in &mut self.fresh_bookings {
            *id = if *id == old { new } else { *id };
        }
    }

    pub(super) fn truncate(&mut self, count: ResourceId) {
        self.fresh.0.split_off(&count);
    }
}

impl Queue {
    /// Records that a booking is gone, or has lost `[from, until)`.
    #[inline]
    pub(in crate::inventory) fn free(&mut self, id: ResourceId, freed: Booking) {
        if !self.waiters.is_empty() {
            self.note_freed(id, freed);
        }
    }

    fn note_freed(&mut self, id: ResourceId, Booking { from, until, number }: Booking) {
        let pass = &mut self.pass;
        let watchers = (id, number, 0)..=(id, number, Ticket::MAX);
        let mut is_watched = false;
        if self.index.bookings.range(watchers).next().is_some() {
            pass.fresh_bookings.push((id, number));
            is_watched = true;
        }
        is_watched |= self.index.taken.range((id, 0)..=(id, Ticket::MAX)).next().is_some();
        if is_watched || self.patterns.may_gain(id, number) {
            pass.fresh.add(id, number);
            pass.first = pass.first.min(from);
            pass.last = pass.last.max(until);
        }
    }

    /// Adds a new resource, as if it had been taken until now.
    pub(in crate::inventory) fn add(&mut self, id: ResourceId) {
        self.free(id, Booking { from: Time::MIN, until: Time::MAX, number: Number(0) });
    }

    /// Records that all waiters have to be tried.
    pub(in crate::inventory) fn try_everybody(&mut self) {
        self.pass.everybody = !self.waiters.is_empty();
    }

    /// Forgets all freed resources, when the last waiter has left.
    pub(super) fn forget_freed(&mut self) {
        self.pass = Pass::default();
    }

    /// Changes what blocks a waiter.
    pub(super) fn set_watch(&mut self, ticket: Ticket, watch: Watch) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        if waiter.watch == watch {
            return;
        }
        match &watch {
            Watch::Nothing => {}
            Watch::Taken(id) => {
                self.index.taken.insert((*id, ticket));
            }
            Watch::Booking(id, number) => {
                self.index.bookings.insert((*id, *number, ticket));
            }
            Watch::Patterns { patterns, start, .. } => {
                for pattern in patterns {
                    self.patterns.watch(*pattern, ticket, *start);
                }
            }
        }
        let kept = |pattern: &PatternId| match &watch {
            Watch::Patterns { patterns, .. } => patterns.contains(pattern),
            _ => false,
        };
        match &waiter.watch {
            Watch::Nothing => {}
            Watch::Taken(id) => {
                self.index.taken.remove(&(*id, ticket));
            }
            Watch::Booking(id, number) => {
                self.index.bookings.remove(&(*id, *number, ticket));
            }
            // The start of a request does not change.
            Watch::Patterns { patterns, start, .. } => {
                for pattern in patterns.iter().filter(|pattern| !kept(pattern)) {
                    self.patterns.unwatch(*pattern, ticket, *start);
                }
            }
        }
        waiter.watch = watch;
    }

    pub(super) fn renumber_watches(&mut self, old: ResourceId, new: ResourceId) {
        let taken: Vec<_> =
            self.index.taken.range((old, 0)..=(old, Ticket::MAX)).map(|it| it.1).collect();
        for ticket in taken {
            self.set_watch(ticket, Watch::Taken(new));
        }
        let bookings = (old, Number(0), 0)..=(old, Number::MAX, Ticket::MAX);
        let bookings: Vec<_> = self.index.bookings.range(bookings).copied().collect();
        for (_, number, ticket) in bookings {
            self.set_watch(ticket, Watch::Booking(new, number));
        }
        self.pass.remap(old, new);
    }

    /// Returns the first waiter of a source from a ticket on.
    fn next_of(&self, source: Source, from: Ticket) -> Option<Ticket> {
        let last = Ticket::MAX;
        match source {
            Source::All => self.waiters.range(from..).next().map(|(ticket, _)| *ticket),
            Source::Taken(id) => {
                self.index.taken.range((id, from)..=(id, last)).next().map(|it| it.1)
            }
            Source::Booking(id, number) => {
                let rest = (id, number, from)..=(id, number, last);
                self.index.bookings.range(rest).next().map(|it| it.2)
            }
            Source::FromNow(pattern, _) => {
                self.patterns.watchers(pattern)?.from_now.range(from..).next().copied()
            }
            Source::Dated(pattern) => {
                self.patterns.watchers(pattern)?.dated.range(from..).next().copied()
            }
        }
    }

    fn push_source(&mut self, source: Source, from: Ticket) {
        if let Some(ticket) = self.next_of(source, from) {
            self.pass.heap.push(Reverse((ticket, source)));
        }
    }
}

impl Inventory {
    /// Makes a new waiter, which does not fit, watch its obstacle.
    pub(super) fn watch_what_blocks(&mut self, ticket: Ticket, now: ClockReading, zone: &Zone) {
        let waiter = &self.queue.waiters[&ticket];
        let watch = match waiter.request.when.interval(now, zone) {
            Ok(interval) => self.fit_waiter(waiter, interval, None).err(),
            Err(_) => None,
        };
        match watch {
            Some(watch) => self.watch(ticket, watch),
            // Cannot happen. If it does, the next pass grants the waiter.
            None => self.queue.try_everybody(),
        }
    }

    /// Makes a waiter that does not fit now watch its obstacle.
    fn watch(&mut self, ticket: Ticket, watch: Watch) {
        let patterns = match &watch {
            Watch::Patterns { patterns, .. } => patterns.clone(),
            _ => SmallVec::new(),
        };
        self.queue.set_watch(ticket, watch);
        for pattern in patterns {
            self.queue.patterns.mark_tried(pattern, self.last_number);
        }
    }

    /// Grants waiters that fit in what has become free until `work` is used up. Returns whether all
    /// of them were tried.
    pub(in crate::inventory) fn grant_piece(
        &mut self,
        now: ClockReading,
        zone: &Zone,
        work: u64,
        batch: &mut Batch,
    ) -> bool {
        let end = self.work().saturating_add(work);
        loop {
            if self.queue.pass.is_over() {
                self.queue.pass.clear();
                return true;
            }
            // Freed resources are kept until there is room for another reservation.
            if self.is_full() {
                self.queue.pass.start_over();
                return true;
            }
            if self.work() >= end {
                return false;
            }
            if self.queue.pass.has_fresh() || !self.queue.pass.sorting.is_empty() {
                self.make_sources(now.wall, end);
                continue;
            }
            if let Some(Reverse((ticket, source))) = self.queue.pass.heap.pop() {
                self.try_next(ticket, source, now, zone, batch);
            }
        }
    }

    /// Makes the sources of the waiters that newly freed resources may help.
    fn make_sources(&mut self, now: Time, end: u64) {
        if !self.sort_by_resource(now, end) {
            return;
        }
        let ids = ResourceId::at(self.schedules.len());
        let texts = self.names.texts();
        let queue = &mut self.queue;
        let mut has_new = false;
        while let Some(pattern) = queue.patterns.watched_after(queue.pass.sorted_up_to) {
            if self.work.get() >= end {
                return;
            }
            let extended = queue.patterns.extend(pattern, ids, EXTEND_PIECE, texts);
            self.work.set(self.work.get() + 1 + extended as u64);
            has_new |= extended > 0;
            if extended == EXTEND_PIECE {
                continue;
            }
            let mut looked_at = 0;
            let tried_at = queue.patterns.tried_at(pattern);
            let found = queue.pass.sorting.0.iter().find(|(id, number)| {
                looked_at += 1;
                **number <= tried_at && queue.patterns.is_match(pattern, **id, texts)
            });
            self.work.set(self.work.get() + looked_at / 4);
            if let Some((&id, _)) = found {
                queue.push_source(Source::FromNow(pattern, id), 0);
                let first = queue.patterns.watchers(pattern).and_then(|them| them.first_start());
                if first.is_some_and(|first| first < queue.pass.last) {
                    queue.push_source(Source::Dated(pattern), 0);
                }
            }
            queue.pass.sorted_up_to = Some(pattern);
        }
        if has_new {
            queue.patterns.rebuild_union();
        }
        queue.pass.sorted_up_to = None;
        queue.pass.freed.append(&mut queue.pass.sorting);
    }

    /// Makes the sources that are indexed by resource. Returns whether all of them were made.
    fn sort_by_resource(&mut self, now: Time, end: u64) -> bool {
        if !self.queue.pass.has_fresh() {
            return true;
        }
        // All of the resources have to be matched with the watched patterns.
        self.queue.pass.sorted_up_to = None;
        if mem::take(&mut self.queue.pass.everybody) {
            self.queue.pass.is_for_everybody = true;
            self.queue.push_source(Source::All, 0);
        }
        while let Some((id, number)) = self.queue.pass.fresh_bookings.pop() {
            self.add_work(1);
            self.queue.push_source(Source::Booking(id, number), 0);
            self.queue.pass.freed_bookings.push((id, number));
        }
        while let Some((id, number)) = self.queue.pass.fresh.0.pop_first() {
            self.add_work(1);
            if self.is_free_at(id, now) {
                self.queue.push_source(Source::Taken(id), 0);
            }
            self.queue.pass.sorting.add(id, number);
            if self.work() >= end {
                return self.queue.pass.fresh.is_empty();
            }
        }
        true
    }

    fn is_free_at(&self, id: ResourceId, now: Time) -> bool {
        self.overlap(id, Interval { from: now, until: now.plus_ms(1) }).is_none()
    }

    /// Tries the next waiter of a source, and puts the source back.
    fn try_next(
        &mut self,
        ticket: Ticket,
        source: Source,
        now: ClockReading,
        zone: &Zone,
        batch: &mut Batch,
    ) {
        self.add_work(1);
        match self.queue.next_of(source, ticket) {
            // No waiter is left in the source, and perhaps none has that pattern any more.
            None => return,
            Some(next) if next > ticket => {
                return self.queue.pass.heap.push(Reverse((next, source)));
            }
            Some(_) => {}
        }
        // An older waiter may have taken the freed resource again.
        let source = match source {
            Source::Taken(id) if !self.is_free_at(id, now.wall) => return,
            Source::FromNow(pattern, id) => match self.next_free(pattern, id, now.wall) {
                Some(id) => Source::FromNow(pattern, id),
                None => return self.queue.patterns.mark_tried(pattern, self.last_number),
            },
            other => other,
        };
        self.try_grant(ticket, source, now, zone, batch);
        self.queue.push_source(source, ticket + 1);
    }

    /// Returns the first freed resource from `id` on that a pattern matches and that is free now.
    fn next_free(&self, pattern: PatternId, id: ResourceId, now: Time) -> Option<ResourceId> {
        let mut rest = self.queue.pass.freed.0.range(id..).map(|(id, _)| *id);
        rest.find(|id| {
            self.add_work(1);
            self.is_free_at(*id, now)
                && self.queue.patterns.is_match(pattern, *id, self.names.texts())
        })
    }

    fn try_grant(
        &mut self,
        ticket: Ticket,
        source: Source,
        now: ClockReading,
        zone: &Zone,
        batch: &mut Batch,
    ) {
        let Some(waiter) = self.queue.waiters.get(&ticket) else { return };
        let Ok(interval) = waiter.request.when.interval(now, zone) else { return };
        let helped = match source {
            // The freed time is before the requested start or after the end. A start that has
            // passed is not moved to now here, because a booking that ends now was in its way.
            Source::Dated(_)
                if self.queue.pass.last <= waiter.request.when.from(now.wall)
                    || interval.until <= self.queue.pass.first =>
            {
                return;
            }
            Source::FromNow(pattern, _) | Source::Dated(pattern) => {
                if !self.may_help(pattern, interval) {
                    return self.queue.patterns.mark_tried(pattern, self.last_number);
                }
                Some(pattern)
            }
            _ => None,
        };
        let ids = match self.fit_waiter(waiter, interval, helped) {
            Ok(ids) => ids,
            Err(watch) => return self.watch(ticket, watch),
        };
        // A retry with the same key waits as well. A reservation bound to a connection goes to the
        // latest retry.
        let same = self.same_request(ticket);
        let principal = match same.last().and_then(|last| self.queue.waiters.get(last)) {
            Some(last) => last.principal.clone(),
            None => waiter.principal.clone(),
        };
        let request = Request { interval, ..waiter.request.clone() };
        let granted = Rc::new(self.granted(&request, &ids, waiter.key.clone(), &principal));
        self.apply_due(now.wall, Event::Reserved(Rc::clone(&granted)), batch);
        for ticket in same {
            self.end_wait(ticket, Outcome::Granted(Rc::clone(&granted)));
        }
    }

    /// Returns whether a freed resource that a pattern matches is free in an interval.
    fn may_help(&self, pattern: PatternId, interval: Interval) -> bool {
        let pass = &self.queue.pass;
        if pass.freed.len() > RELEASES_ONE_BY_ONE {
            return true;
        }
        let is_match = |id| self.queue.patterns.is_match(pattern, id, self.names.texts());
        let mut looked_at = 0;
        let found = pass.freed.ids().any(|id| {
            looked_at += 1;
            self.overlap(id, interval).is_none() && is_match(id)
        });
        self.add_work(looked_at / 4);
        found
    }

    /// Returns resources for everything a waiter wants, as [`Inventory::place`] chooses them, or
    /// what blocks it. `helped` is the watched pattern that a freed resource matches.
    fn fit_waiter(
        &self,
        waiter: &Waiter,
        interval: Interval,
        helped: Option<PatternId>,
    ) -> Result<Ids, Watch> {
        let mut chosen = Ids::new();
        /// Placeholder for a resource that a pattern has still to choose.
        const NOT_YET: ResourceId = ResourceId::MAX;
        self.add_work(waiter.wants.len() / 2);
        for want in &waiter.wants {
            let Want::Name(id) = want else {
                chosen.push(NOT_YET);
                continue;
            };
            if let Some(booking) = self.overlap(*id, interval) {
                let is_taken = waiter.is_from_now() && booking.from <= interval.from;
                return Err(match is_taken {
                    true => Watch::Taken(*id),
                    false => Watch::Booking(*id, booking.number),
                });
            }
            chosen.push(*id);
        }
        // For a pattern that it watches alone, only the freed resources can be free.
        let mut only_freed = match &waiter.watch {
            Watch::Patterns { is_alone: true, .. } => {
                helped.filter(|_| self.queue.pass.freed.len() <= RELEASES_ONE_BY_ONE)
            }
            _ => None,
        };
        for (at, want) in waiter.wants.iter().enumerate() {
            let Want::Pattern(pattern) = want else { continue };
            let is_helped = only_freed.take_if(|only| only == pattern).is_some();
            let found = match is_helped {
                true => self.choose_freed(*pattern, &chosen, interval),
                false => self.choose_match(*pattern, &chosen, interval),
            };
            match found {
                Ok(id) => chosen[at] = id,
                Err(is_contended) => {
                    let mut patterns = SmallVec::new();
                    for want in &waiter.wants[..=at] {
                        if let Want::Pattern(other) = want
                            && (is_contended || other == pattern)
                            && !patterns.contains(other)
                        {
                            patterns.push(*other);
                        }
                    }
                    let said = waiter.request.when.from(interval.from);
                    let start = (!waiter.is_from_now()).then_some(said);
                    return Err(Watch::Patterns { patterns, start, is_alone: !is_contended });
                }
            }
        }
        Ok(chosen)
    }

    /// Returns the first resource, in inventory order, that a pattern matches and that is free and
    /// not chosen yet. If there is none, returns whether a match was chosen already.
    fn choose_match(
        &self,
        pattern: PatternId,
        chosen: &[ResourceId],
        interval: Interval,
    ) -> Result<ResourceId, bool> {
        let ids = ResourceId::at(self.schedules.len());
        let (mut is_contended, mut looked_at) = (false, 0);
        let texts = self.names.texts();
        let found = self.queue.patterns.find_match(pattern, ResourceId(0), ids, texts, |id| {
            looked_at += 1;
            let is_free = self.is_live(id) && self.overlap(id, interval).is_none();
            let is_chosen = is_free && chosen.contains(&id);
            is_contended |= is_chosen;
            is_free && !is_chosen
        });
        let searched =
            if found.is_some() { 0 } else { self.queue.patterns.search_work(pattern, ids) };
        self.add_work(1 + looked_at / 4 + searched);
        found.ok_or(is_contended)
    }

    /// Does the same among the freed resources.
    fn choose_freed(
        &self,
        pattern: PatternId,
        chosen: &[ResourceId],
        interval: Interval,
    ) -> Result<ResourceId, bool> {
        let mut is_contended = false;
        let texts = self.names.texts();
        let found = self.queue.pass.freed.ids().find(|id| {
            let is_free = self.is_live(*id)
                && self.overlap(*id, interval).is_none()
                && self.queue.patterns.is_match(pattern, *id, texts);
            let is_chosen = is_free && chosen.contains(id);
            is_contended |= is_chosen;
            is_free && !is_chosen
        });
        self.add_work(1 + self.queue.pass.freed.len() / 4);
        found.ok_or(is_contended)
    }

    /// Checks that the index holds what a waiter watches, and that it does block it, for tests.
    pub(super) fn check_watch(&self, ticket: Ticket) {
        let queue = &self.queue;
        let waiter = &queue.waiters[&ticket];
        match &waiter.watch {
            Watch::Nothing => {}
            Watch::Taken(id) => assert!(queue.index.taken.contains(&(*id, ticket))),
            Watch::Booking(id, number) => {
                assert!(queue.index.bookings.contains(&(*id, *number, ticket)));
            }
            Watch::Patterns { patterns, start, .. } => {
                for pattern in patterns {
                    let them =
                        queue.patterns.watchers(*pattern).expect("a pattern that is watched");
                    let set = if start.is_some() { &them.dated } else { &them.from_now };
                    assert!(set.contains(&ticket));
                }
            }
        }
    }
}

//! When a request fits: intervals, and the one predicate that booking,
//! listing and "when is it free" all ask.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::rc::Rc;

use smallvec::SmallVec;

use super::names::ResourceId;
use super::pattern::{Matcher, Pattern};
use super::queue::Wants;
use super::{Booking, Ids, Inventory, Schedule};
use crate::time::{ClockReading, Time, TimeError, Zone};

/// How long something is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Until somebody cancels it.
    Open,
    /// Until the connection ends (`hasta=salir`).
    Quit,
    /// Until the connection sends `SALIR`, or this many milliseconds after the last renewal
    /// (`hasta=salir por=D`).
    KeepAlive(i64),
    /// Until an instant.
    Until(Time),
    /// For so many milliseconds.
    For(i64),
    /// Until the first instant of the day so many days after the first one.
    Nights(u32),
}

/// Where an interval begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Nothing was said: now.
    Default,
    /// `desde=ahora`.
    Now,
    /// `desde=` an instant.
    At(Time),
}

/// The interval that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct When {
    pub start: Start,
    pub term: End,
}

/// Why an interval makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WhenError {
    /// The end is not after the start.
    Backwards,
    /// The end has passed.
    Past,
    /// Beyond the calendar, or a day that the zone does not have.
    Time(TimeError),
}

impl When {
    /// Its start if it were granted at `now`.
    pub fn from(&self, now: Time) -> Time {
        match self.start {
            Start::Default | Start::Now => now,
            Start::At(time) => time,
        }
    }

    /// Its end if it began at `from`.
    pub fn until(&self, from: Time, zone: &Zone) -> Result<Time, TimeError> {
        match self.term {
            End::Open | End::Quit | End::KeepAlive(_) => Ok(Time::MAX),
            End::Until(until) => Ok(until),
            End::Nights(nights) => zone.night_end(from, nights),
            End::For(ms) => match from.plus_ms(ms) {
                until if until > Time::LATEST => Err(TimeError::OutOfRange),
                until => Ok(until),
            },
        }
    }

    /// Returns the half-open interval `[from, until)` that it means at `now`. The interval is not
    /// empty and does not begin before `now`: a start that has passed becomes `now`. The end is
    /// computed from the start as written.
    ///
    /// # Errors
    /// If the end has passed or is not after the start, or a time is beyond the calendar.
    pub fn interval(&self, now: ClockReading, zone: &Zone) -> Result<(Time, Time), WhenError> {
        let from = self.from(now.wall);
        let counted_from = if self.is_lease() { now.monotonic } else { from };
        let until = self.until(counted_from, zone).map_err(WhenError::Time)?;
        if until <= now.wall {
            Err(WhenError::Past)
        } else if until <= from {
            Err(WhenError::Backwards)
        } else {
            Ok((from.max(now.wall), until))
        }
    }

    /// Whether it is counted in elapsed time from the grant on.
    pub fn is_lease(&self) -> bool {
        matches!((self.start, self.term), (Start::Default | Start::Now, End::For(_)))
    }
}

/// One thing a request asks for.
#[derive(Clone, Debug)]
pub enum Target {
    /// This resource.
    Named(ResourceId),
    /// Any one free resource that matches.
    Any(Pattern),
}

/// Why targets are not all free.
#[derive(Clone, Copy, Debug)]
pub struct Conflict {
    /// Which of the targets.
    pub target: usize,
    /// With what, for a name; a pattern collides with all that it matches.
    pub booking: Option<Booking>,
}

/// When a request would fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Earliest {
    At(Time),
    /// Not before something ends that has no end.
    Never,
    /// The search was broken off: it would take too long.
    Unknown,
}

/// When a refused request would fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextFit {
    /// For the interval as it was asked for.
    AsAsked(Earliest),
    /// Never as it was asked for, because its end is fixed and a booking extends up to it. The same
    /// length fits from this time on.
    SameLength(Time),
}

/// What one request asks for. It may ask the same of its patterns again and
/// again; every name is held against each of them once.
pub struct Sought<'a> {
    inventory: &'a Inventory,
    goals: SmallVec<[Goal<'a>; 1]>,
}

enum Goal<'a> {
    Named(ResourceId),
    Any(Matches<'a>),
}

/// The resources that a pattern matches, found as far as somebody has asked.
struct Matches<'a> {
    inventory: &'a Inventory,
    pattern: &'a Pattern,
    matcher: Matcher<'a>,
    found: RefCell<Vec<ResourceId>>,
    /// The first that was not looked at.
    next: Cell<ResourceId>,
}

impl Matches<'_> {
    fn get(&self, at: usize) -> Option<ResourceId> {
        let mut found = self.found.borrow_mut();
        while found.len() <= at {
            let mut rest = self.inventory.ids_from(self.next.get());
            let id = rest.find(|id| self.inventory.is_match(&self.matcher, *id));
            self.next.set(id.map_or(ResourceId::MAX, |id| id + 1));
            found.push(id?);
        }
        Some(found[at])
    }

    /// In inventory order.
    fn iter(&self) -> impl Iterator<Item = ResourceId> {
        (0..).map_while(|at| self.get(at))
    }
}

impl<'a> Sought<'a> {
    /// Nothing yet.
    pub fn new(inventory: &'a Inventory) -> Sought<'a> {
        Sought { inventory, goals: SmallVec::new() }
    }

    /// Asks for this resource, too.
    pub fn add_name(&mut self, id: ResourceId) {
        self.goals.push(Goal::Named(id));
    }

    /// Asks for one of those that match, too. Returns whether there are any.
    pub fn add_pattern(&mut self, pattern: &'a Pattern) -> bool {
        let (inventory, matcher) = (self.inventory, pattern.matcher());
        let (found, next) = (RefCell::default(), Cell::new(0));
        let matches = Matches { inventory, pattern, matcher, found, next };
        let is_something = matches.get(0).is_some();
        self.goals.push(Goal::Any(matches));
        is_something
    }

    /// How many resources a [`Sought::place`] looks at, at the most.
    fn looked_through(&self) -> usize {
        let looks = self.goals.iter().map(|goal| match goal {
            Goal::Named(_) => 1,
            Goal::Any(matches) => 1 + matches.found.borrow().len(),
        });
        looks.sum()
    }

    /// What any of the patterns matches, in inventory order.
    pub(super) fn any_match(&self) -> Rc<[ResourceId]> {
        let mut is_any = vec![false; self.inventory.booked.len()];
        for goal in &self.goals {
            if let Goal::Any(matches) = goal {
                matches.iter().for_each(|id| is_any[id as usize] = true);
            }
        }
        let any = is_any.iter().enumerate().filter(|(_, is_any)| **is_any);
        any.map(|(id, _)| id as ResourceId).collect()
    }

    /// Returns the targets in an owned form, with all resources that the patterns match.
    pub fn wants(&self) -> Wants {
        let targets = self.goals.iter().map(|goal| match goal {
            Goal::Named(id) => Target::Named(*id),
            Goal::Any(matches) => Target::Any(matches.pattern.clone()),
        });
        let matches = self.goals.iter().filter_map(|goal| match goal {
            Goal::Named(_) => None,
            Goal::Any(matches) => Some(matches.iter().collect()),
        });
        Wants { targets: targets.collect(), matches: matches.collect() }
    }

    /// Returns whether any target is a pattern.
    pub fn has_pattern(&self) -> bool {
        self.goals.iter().any(|goal| matches!(goal, Goal::Any(_)))
    }

    /// Iterates over the resources that it asks for by name.
    pub fn names(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.goals.iter().filter_map(|goal| match goal {
            Goal::Named(id) => Some(*id),
            Goal::Any(_) => None,
        })
    }

    /// What [`Inventory::place`] says of these targets.
    pub fn place(&self, from: Time, until: Time) -> Result<Ids, Conflict> {
        let goals = self.goals.iter().map(|goal| match goal {
            Goal::Named(id) => Ok(*id),
            Goal::Any(matches) => Err(matches),
        });
        choose(self.inventory, goals, (from, until), |matches, is_free| {
            matches.iter().find(is_free)
        })
    }

    /// The earliest start on a whole second, `from` or later, at which
    /// [`Sought::place`] would succeed for that long. On a whole second
    /// because that is how it is told: what is told must be granted.
    ///
    /// What is busy at a start stays so until its booking ends, for ends only
    /// move with starts; so it is enough to look at the times at which one of
    /// those that are busy fits again.
    pub fn earliest(&self, when: &When, from: Time, zone: &Zone) -> Earliest {
        const AT_LEAST: usize = 2;
        let mut search = Search { sought: self, when, zone, spent: 0, any: None };
        let mut start = from.ceil_s();
        for round in 0.. {
            if round >= AT_LEAST && search.spent > SEARCH_BUDGET {
                break;
            }
            let Some(until) = search.until(start) else { return Earliest::Never };
            let Err(conflict) = self.place(start, until) else {
                return Earliest::At(start);
            };
            search.spent += self.looked_through();
            let next = match (&self.goals[conflict.target], conflict.booking) {
                (Goal::Named(id), Some(_)) => search.next_fit(*id, start),
                _ => search.next_release(start),
            };
            match next {
                Some(next) => start = next,
                None => return Earliest::Never,
            }
        }
        Earliest::Unknown
    }

    /// Returns when a request that does not fit in an interval would fit: `earliest` as it was
    /// asked or, if its end is fixed and no start before that fits, for the same length.
    pub fn next_fit(
        &self,
        earliest: Earliest,
        when: &When,
        (from, until): (Time, Time),
        zone: &Zone,
    ) -> NextFit {
        let is_fixed = matches!(when.term, End::Until(_)) && from < until;
        if earliest == Earliest::Never && is_fixed {
            let term = End::For(until.ms() - from.ms());
            if let Earliest::At(start) = self.earliest(&When { term, ..*when }, from, zone) {
                return NextFit::SameLength(start);
            }
        }
        NextFit::AsAsked(earliest)
    }

    /// What is in the way of a target that has found nothing. Of what a
    /// pattern matches and is busy in `[from, until)` it is the one that is
    /// free the longest before that where there is no end, else the one that
    /// is free again first.
    pub fn nearest(
        &self,
        conflict: Conflict,
        from: Time,
        until: Time,
    ) -> Option<(ResourceId, Booking)> {
        let matches = match &self.goals[conflict.target] {
            Goal::Named(id) => return Some((*id, conflict.booking?)),
            Goal::Any(matches) => matches,
        };
        let busy =
            matches.iter().filter_map(|id| Some((id, self.inventory.overlap(id, from, until)?)));
        let free_until = |booking: &Booking| match until.is_never() {
            true => booking.from.max(from),
            false => from,
        };
        busy.min_by_key(|(_, booking)| (Reverse(free_until(booking)), booking.until))
    }
}

/// Chooses resources for goals that are a name or a pattern, all free in an
/// interval; see [`Inventory::place`]. `find` finds the first match that is
/// free.
fn choose<P>(
    inventory: &Inventory,
    goals: impl Iterator<Item = Result<ResourceId, P>> + Clone,
    (from, until): (Time, Time),
    find: impl Fn(&P, &dyn Fn(&ResourceId) -> bool) -> Option<ResourceId>,
) -> Result<Ids, Conflict> {
    /// In the place of what a pattern is yet to choose.
    const NOT_YET: ResourceId = ResourceId::MAX;
    let mut chosen = Ids::new();
    for (at, goal) in goals.clone().enumerate() {
        let id = goal.unwrap_or(NOT_YET);
        if id != NOT_YET
            && let Some(booking) = inventory.overlap(id, from, until)
        {
            return Err(Conflict { target: at, booking: Some(booking) });
        }
        chosen.push(id);
    }
    for (at, goal) in goals.enumerate() {
        if let Err(pattern) = goal {
            let is_free = |id: &ResourceId| {
                inventory.overlap(*id, from, until).is_none() && !chosen.contains(id)
            };
            let found = find(&pattern, &is_free);
            chosen[at] = found.ok_or(Conflict { target: at, booking: None })?;
        }
    }
    Ok(chosen)
}

/// Steps of one search for a time that fits, in resources looked at: a few
/// milliseconds. A client cannot make the others wait longer than that.
const SEARCH_BUDGET: usize = 100_000;

/// A search for a time that fits, and the steps that it has taken.
struct Search<'a, 's> {
    sought: &'a Sought<'s>,
    when: &'a When,
    zone: &'a Zone,
    spent: usize,
    /// What any of the patterns matches, once that has been asked.
    any: Option<Rc<[ResourceId]>>,
}

impl Search<'_, '_> {
    /// The end for a start; none beyond the calendar.
    fn until(&self, start: Time) -> Option<Time> {
        let until = self.when.until(start, self.zone).ok()?;
        (start < until && start <= Time::LATEST).then_some(until)
    }

    /// When a resource by itself would fit, or some time before that if that
    /// takes too many steps; never before `start`.
    fn next_fit(&mut self, id: ResourceId, mut start: Time) -> Option<Time> {
        // The calendar costs more than a look at a resource.
        let step = if matches!(self.when.term, End::Nights(_)) { 8 } else { 1 };
        loop {
            let until = self.until(start)?;
            match self.sought.inventory.overlap(id, start, until) {
                None => return Some(start),
                Some(booking) if booking.until.is_never() => return None,
                Some(booking) => start = booking.until.ceil_s(),
            }
            self.spent += step;
            self.sought.inventory.add_work(step);
            if self.spent > SEARCH_BUDGET {
                return Some(start);
            }
        }
    }

    /// When the first of the resources that any pattern matches, and that are
    /// busy at a start, fits again.
    fn next_release(&mut self, from: Time) -> Option<Time> {
        let any = Rc::clone(self.any.get_or_insert_with(|| self.sought.any_match()));
        self.spent += any.len();
        self.sought.inventory.add_work(any.len());
        let all = any.iter().filter_map(|id| self.next_fit(*id, from));
        all.filter(|next| *next > from).min()
    }
}

/// Bytes of a name that count as one unit of work.
const BYTES_A_LOOK: usize = 16;

impl Inventory {
    /// The first booking of a resource that overlaps `[from, until)`.
    pub fn overlap(&self, id: ResourceId, from: Time, until: Time) -> Option<Booking> {
        self.booked[id as usize].first_overlap(from, until)
    }

    /// Returns the maximal cost of listing free resources: one unit for each resource, and with a
    /// pattern also the bytes of their names.
    pub fn list_cost(&self, has_pattern: bool) -> usize {
        self.booked.len() + if has_pattern { self.match_cost() } else { 0 }
    }

    /// Returns the maximal cost of a request with this many patterns: matching the names and, where
    /// nothing is free, the bookings that the search visits before it stops.
    pub fn choice_cost(&self, patterns: usize) -> usize {
        let matched = patterns * self.match_cost();
        let searched = matched.saturating_mul(self.reservations.len()).min(SEARCH_BUDGET);
        matched + searched
    }

    /// Returns the maximal cost of matching a pattern with every name.
    fn match_cost(&self) -> usize {
        self.booked.len() + self.names.bytes() / BYTES_A_LOOK
    }

    /// Returns an upper bound of the bookings of the resource with that name; 0 if there is none.
    pub fn bookings_at_most(&self, name: &[u8]) -> usize {
        let found = str::from_utf8(name).ok().and_then(|name| self.names.find(name));
        found.map_or(0, |id| self.booked[id as usize].len())
    }

    /// Whether a name matches; what it costs is counted.
    pub(super) fn is_match(&self, matcher: &Matcher, id: ResourceId) -> bool {
        let folded = self.names.texts().folded(id);
        self.add_work(1 + folded.len() / BYTES_A_LOOK);
        matcher.matches(folded)
    }

    /// Chooses resources for the targets, all free in `[from, until)`: names
    /// first, then patterns from left to right, each the first in inventory
    /// order that is free and not yet taken. In the order of the targets.
    /// What is not free is not even looked at: this is for who waits.
    pub fn place(&self, targets: &[Target], from: Time, until: Time) -> Result<Ids, Conflict> {
        let goals = targets.iter().map(|target| match target {
            Target::Named(id) => Ok(*id),
            Target::Any(pattern) => Err(pattern),
        });
        choose(self, goals, (from, until), |pattern, is_free| {
            let matcher = pattern.matcher();
            self.ids_from(0).filter(is_free).find(|id| self.is_match(&matcher, *id))
        })
    }

    /// What these targets ask for.
    pub fn sought<'a>(&'a self, targets: &'a [Target]) -> Sought<'a> {
        let mut sought = Sought::new(self);
        for target in targets {
            match target {
                Target::Named(id) => sought.add_name(*id),
                Target::Any(pattern) => drop(sought.add_pattern(pattern)),
            }
        }
        sought
    }

    /// A bit for each resource id that is free in `[from, until)` and matches.
    pub fn free_bits(&self, pattern: Option<&Pattern>, from: Time, until: Time) -> Vec<u64> {
        self.add_work(self.booked.len());
        let matcher = pattern.map(Pattern::matcher);
        let mut bits = vec![0u64; self.booked.len().div_ceil(64)];
        for (id, booked) in self.booked.iter().enumerate() {
            let is_free = match booked {
                Schedule::Gone => false,
                Schedule::Free => true,
                busy => busy.first_overlap(from, until).is_none(),
            };
            let is_match = || matcher.as_ref().is_none_or(|it| self.is_match(it, id as ResourceId));
            if is_free && is_match() {
                bits[id / 64] |= 1 << (id % 64);
            }
        }
        bits
    }
}

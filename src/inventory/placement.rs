//! Chooses the resources for a request, and finds the time at which it would fit. Reserving,
//! `CUANDO` and refusals all use the same choice, [`Candidates::place`].

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::rc::Rc;

use smallvec::SmallVec;

use super::pattern::{Matcher, Pattern};
use super::queue::Wants;
use super::schedule::Schedule;
use super::{Booking, End, Ids, Interval, Inventory, ResourceId, When};
use crate::time::{Time, Zone};

/// A selector with the resources that it stands for, in an owned form.
#[derive(Clone, Debug)]
pub enum Target {
    /// This resource.
    Resource(ResourceId),
    /// Any one of the resources that match the pattern, in inventory order.
    AnyOf(Pattern, Vec<ResourceId>),
}

/// The collision of a request with existing reservations.
#[derive(Clone, Copy, Debug)]
pub struct Conflict {
    /// The index of the selector that finds no free resource.
    pub selector: usize,
    /// The booking in the way of a name; `None` for a pattern, whose matches all have one in the
    /// way.
    pub booking: Option<Booking>,
}

/// The earliest time at which a request would fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Earliest {
    At(Time),
    /// It has to wait for a reservation without an end.
    Never,
    /// The search was stopped, because it would have taken too long.
    Unknown,
}

/// When a refused request would fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextFit {
    /// With the end that was requested.
    AsAsked(Earliest),
    /// Never with the requested end, because a booking extends up to it. An interval of the same
    /// length fits from this time on.
    SameLength(Time),
}

/// The resources that the selectors of one request stand for. Each pattern is matched with each
/// name at most once, also if the candidates are searched several times.
pub struct Candidates<'a> {
    inventory: &'a Inventory,
    choices: SmallVec<[Choice<'a>; 1]>,
}

/// The resources of one selector.
enum Choice<'a> {
    Resource(ResourceId),
    AnyOf(Matches<'a>),
}

/// The matches of a pattern, which are found when they are needed.
struct Matches<'a> {
    inventory: &'a Inventory,
    pattern: &'a Pattern,
    matcher: Matcher<'a>,
    found: RefCell<Vec<ResourceId>>,
    /// The first resource that the pattern was not matched with.
    next: Cell<ResourceId>,
}

impl Matches<'_> {
    fn get(&self, at: usize) -> Option<ResourceId> {
        let mut found = self.found.borrow_mut();
        while found.len() <= at {
            let mut rest = self.inventory.ids_from(self.next.get());
            let id = rest.find(|id| self.inventory.matches(Some(&self.matcher), *id));
            self.next.set(id.map_or(ResourceId::MAX, ResourceId::next));
            found.push(id?);
        }
        Some(found[at])
    }

    /// Iterates over the matches in inventory order.
    fn iter(&self) -> impl Iterator<Item = ResourceId> {
        (0..).map_while(|at| self.get(at))
    }
}

impl<'a> Candidates<'a> {
    /// Creates an empty set of candidates.
    pub fn new(inventory: &'a Inventory) -> Candidates<'a> {
        Candidates { inventory, choices: SmallVec::new() }
    }

    /// Adds a selector that names this resource.
    pub fn add_name(&mut self, id: ResourceId) {
        self.choices.push(Choice::Resource(id));
    }

    /// Adds a selector with a pattern. Returns whether the pattern matches any resource.
    pub fn add_pattern(&mut self, pattern: &'a Pattern) -> bool {
        let (inventory, matcher) = (self.inventory, pattern.matcher());
        let (found, next) = (RefCell::default(), Cell::default());
        let matches = Matches { inventory, pattern, matcher, found, next };
        let has_match = matches.get(0).is_some();
        self.choices.push(Choice::AnyOf(matches));
        has_match
    }

    /// Returns an upper bound of the resources that one [`Candidates::place`] looks at.
    fn place_cost(&self) -> usize {
        let costs = self.choices.iter().map(|choice| match choice {
            Choice::Resource(_) => 1,
            Choice::AnyOf(matches) => 1 + matches.found.borrow().len(),
        });
        costs.sum()
    }

    /// Returns the resources that any of the patterns matches, in inventory order.
    pub(super) fn any_match(&self) -> Rc<[ResourceId]> {
        let mut is_match = vec![false; self.inventory.schedules.len()];
        for choice in &self.choices {
            if let Choice::AnyOf(matches) = choice {
                matches.iter().for_each(|id| is_match[id.index()] = true);
            }
        }
        let all = is_match.iter().enumerate().filter(|(_, is_match)| **is_match);
        all.map(|(index, _)| ResourceId::at(index)).collect()
    }

    /// Returns the candidates in an owned form.
    pub fn wants(&self) -> Wants {
        let targets = self.choices.iter().map(|choice| match choice {
            Choice::Resource(id) => Target::Resource(*id),
            Choice::AnyOf(matches) => {
                Target::AnyOf(matches.pattern.clone(), matches.iter().collect())
            }
        });
        Wants { targets: targets.collect() }
    }

    /// Returns whether any selector is a pattern.
    pub fn has_pattern(&self) -> bool {
        self.choices.iter().any(|choice| matches!(choice, Choice::AnyOf(_)))
    }

    /// Iterates over the resources that are selected by name.
    pub fn names(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.choices.iter().filter_map(|choice| match choice {
            Choice::Resource(id) => Some(*id),
            Choice::AnyOf(_) => None,
        })
    }

    /// Chooses one resource for each selector, in their order, all of them free in the interval.
    /// Names come first. Then each pattern, from left to right, gets the first match in inventory
    /// order that is free and not chosen yet.
    pub fn place(&self, interval: Interval) -> Result<Ids, Conflict> {
        /// Placeholder for a resource that a pattern has still to choose.
        const NOT_YET: ResourceId = ResourceId::MAX;
        let mut chosen = Ids::new();
        for (selector, choice) in self.choices.iter().enumerate() {
            let Choice::Resource(id) = choice else {
                chosen.push(NOT_YET);
                continue;
            };
            if let Some(booking) = self.inventory.overlap(*id, interval) {
                return Err(Conflict { selector, booking: Some(booking) });
            }
            chosen.push(*id);
        }
        for (selector, choice) in self.choices.iter().enumerate() {
            let Choice::AnyOf(matches) = choice else { continue };
            let is_free = |id: &ResourceId| {
                self.inventory.overlap(*id, interval).is_none() && !chosen.contains(id)
            };
            let found = matches.iter().find(is_free);
            chosen[selector] = found.ok_or(Conflict { selector, booking: None })?;
        }
        Ok(chosen)
    }

    /// Returns the earliest start from `from` on at which [`Candidates::place`] succeeds. Starts
    /// are whole seconds, because they are printed as such, and a start that is printed must fit.
    ///
    /// A later start never has an earlier end, so a resource that is busy at a start stays busy
    /// until its booking ends. Therefore only the times at which a busy resource fits again have to
    /// be tried.
    pub fn earliest(&self, when: &When, from: Time, zone: &Zone) -> Earliest {
        const ROUNDS_MIN: usize = 2;
        let mut search = Search { candidates: self, when, zone, spent: 0, any: None };
        let mut start = from.ceil_s();
        for round in 0.. {
            if round >= ROUNDS_MIN && search.spent > SEARCH_BUDGET {
                break;
            }
            let Some(interval) = search.interval(start) else { return Earliest::Never };
            let Err(conflict) = self.place(interval) else {
                return Earliest::At(start);
            };
            search.spent += self.place_cost();
            let next = match (&self.choices[conflict.selector], conflict.booking) {
                (Choice::Resource(id), Some(_)) => search.next_fit(*id, start),
                _ => search.next_release(start),
            };
            match next {
                Some(next) => start = next,
                None => return Earliest::Never,
            }
        }
        Earliest::Unknown
    }

    /// Returns when a request that does not fit in its interval would fit. This is `earliest`, the
    /// result of [`Candidates::earliest`]. If no start fits because the end is fixed, it is the
    /// earliest start for an interval of the same length.
    pub fn next_fit(
        &self,
        earliest: Earliest,
        when: &When,
        Interval { from, until }: Interval,
        zone: &Zone,
    ) -> NextFit {
        let is_fixed = matches!(when.end, End::Until(_)) && from < until;
        if earliest == Earliest::Never && is_fixed {
            let end = End::For(until.ms() - from.ms());
            if let Earliest::At(start) = self.earliest(&When { end, ..*when }, from, zone) {
                return NextFit::SameLength(start);
            }
        }
        NextFit::AsAsked(earliest)
    }

    /// Returns the booking in the way of a selector that found nothing. For a pattern, this is the
    /// booking of the match that is closest to being free. Without an end of the interval, that is
    /// the match which stays free the longest, otherwise the one which is free again first.
    pub fn nearest(&self, conflict: Conflict, interval: Interval) -> Option<(ResourceId, Booking)> {
        let matches = match &self.choices[conflict.selector] {
            Choice::Resource(id) => return Some((*id, conflict.booking?)),
            Choice::AnyOf(matches) => matches,
        };
        let busy =
            matches.iter().filter_map(|id| Some((id, self.inventory.overlap(id, interval)?)));
        let free_until = |booking: &Booking| match interval.is_open() {
            true => booking.from.max(interval.from),
            false => interval.from,
        };
        busy.min_by_key(|(_, booking)| (Reverse(free_until(booking)), booking.until))
    }
}

/// The most resources that one search for a time looks at, which takes a few milliseconds. Other
/// clients have to wait meanwhile.
const SEARCH_BUDGET: usize = 100_000;

/// A search for a time that fits.
struct Search<'a, 's> {
    candidates: &'a Candidates<'s>,
    when: &'a When,
    zone: &'a Zone,
    /// The number of resources that were looked at.
    spent: usize,
    /// The result of [`Candidates::any_match`] once it is known.
    any: Option<Rc<[ResourceId]>>,
}

impl Search<'_, '_> {
    /// Returns the interval for a start; `None` beyond the calendar.
    fn interval(&self, start: Time) -> Option<Interval> {
        let until = self.when.until(start, self.zone).ok()?;
        let interval = Interval { from: start, until };
        (start < until && start <= Time::LATEST).then_some(interval)
    }

    /// Returns the first start from `start` on at which one resource fits, or an earlier time if
    /// the budget is used up before it is found.
    fn next_fit(&mut self, id: ResourceId, mut start: Time) -> Option<Time> {
        // The calendar costs more than a look at a resource.
        let step = if matches!(self.when.end, End::Nights(_)) { 8 } else { 1 };
        loop {
            let interval = self.interval(start)?;
            match self.candidates.inventory.overlap(id, interval) {
                None => return Some(start),
                Some(booking) if booking.until.is_never() => return None,
                Some(booking) => start = booking.until.ceil_s(),
            }
            self.spent += step;
            self.candidates.inventory.add_work(step);
            if self.spent > SEARCH_BUDGET {
                return Some(start);
            }
        }
    }

    /// Returns the first time after `from` at which one of the resources that patterns match
    /// becomes free, of those that are busy at `from`.
    fn next_release(&mut self, from: Time) -> Option<Time> {
        let any = Rc::clone(self.any.get_or_insert_with(|| self.candidates.any_match()));
        self.spent += any.len();
        self.candidates.inventory.add_work(any.len());
        let all = any.iter().filter_map(|id| self.next_fit(*id, from));
        all.filter(|next| *next > from).min()
    }
}

/// The bytes of a name that cost one unit of work.
const BYTES_PER_WORK: usize = 16;

impl Inventory {
    /// Returns the first booking of a resource that overlaps an interval.
    #[inline]
    pub fn overlap(&self, id: ResourceId, interval: Interval) -> Option<Booking> {
        self.schedules[id.index()].first_overlap(interval)
    }

    /// Returns the maximal cost of listing free resources: one unit for each resource, and with a
    /// pattern also the bytes of their names.
    pub fn list_cost(&self, has_pattern: bool) -> usize {
        self.schedules.len() + if has_pattern { self.match_cost() } else { 0 }
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
        self.schedules.len() + self.names.bytes() / BYTES_PER_WORK
    }

    /// Returns an upper bound of the bookings of the resource with that name; 0 without such a
    /// resource.
    pub fn bookings_at_most(&self, name: &[u8]) -> usize {
        let found = str::from_utf8(name).ok().and_then(|name| self.names.find(name));
        found.map_or(0, |id| self.schedules[id.index()].len())
    }

    /// Returns whether a pattern matches the name of a resource, and counts the work. Every
    /// resource matches if there is no pattern.
    pub(super) fn matches(&self, matcher: Option<&Matcher>, id: ResourceId) -> bool {
        let Some(matcher) = matcher else { return true };
        let folded = self.names.texts().folded(id);
        self.add_work(1 + folded.len() / BYTES_PER_WORK);
        matcher.matches(folded)
    }

    /// Returns a bitmap of the resources that are free in an interval and match, by their ids.
    pub fn free_bits(&self, pattern: Option<&Pattern>, interval: Interval) -> Vec<u64> {
        self.add_work(self.schedules.len());
        let matcher = pattern.map(Pattern::matcher);
        let mut bits = vec![0u64; self.schedules.len().div_ceil(64)];
        for (index, schedule) in self.schedules.iter().enumerate() {
            let is_free = match schedule {
                Schedule::Removed => false,
                Schedule::Free => true,
                reserved => reserved.first_overlap(interval).is_none(),
            };
            if is_free && self.matches(matcher.as_ref(), ResourceId::at(index)) {
                bits[index / 64] |= 1 << (index % 64);
            }
        }
        bits
    }
}

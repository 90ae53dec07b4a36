//! When a request fits: intervals, and the one predicate that booking,
//! listing and "when is it free" all ask.

use std::cmp::Reverse;

use super::names::{Pattern, ResourceId};
use super::{Booked, Booking, Inventory};
use crate::clock::{Now, Time, TimeError, Zone};

/// How long something is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Term {
    /// Until somebody cancels it.
    Open,
    /// Until the connection ends (`hasta=salir`).
    Quit,
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
    Unsaid,
    /// `desde=ahora`.
    Now,
    /// `desde=` an instant.
    At(Time),
}

/// The interval that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct When {
    pub start: Start,
    pub term: Term,
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
            Start::Unsaid | Start::Now => now,
            Start::At(time) => time,
        }
    }

    /// Its end if it began at `from`.
    pub fn until(&self, from: Time, zone: &Zone) -> Result<Time, TimeError> {
        match self.term {
            Term::Open | Term::Quit => Ok(Time::NEVER),
            Term::Until(until) => Ok(until),
            Term::Nights(nights) => zone.night_end(from, nights),
            Term::For(ms) => match from.plus_ms(ms) {
                until if until > Time::LATEST => Err(TimeError::OutOfRange),
                until => Ok(until),
            },
        }
    }

    /// The half-open interval `[from, until)` that it means at `now`. It is
    /// not empty, and its end is ahead of `now`.
    pub fn interval(&self, now: Now, zone: &Zone) -> Result<(Time, Time), WhenError> {
        let from = self.from(now.time);
        let counted_from = if self.is_lease() { now.steady } else { from };
        let until = self.until(counted_from, zone).map_err(WhenError::Time)?;
        let now = now.time;
        if from >= until {
            return Err(if until <= now { WhenError::Past } else { WhenError::Backwards });
        }
        if until <= now { Err(WhenError::Past) } else { Ok((from, until)) }
    }

    /// Whether it is counted in elapsed time from the grant on.
    pub fn is_lease(&self) -> bool {
        matches!((self.start, self.term), (Start::Unsaid | Start::Now, Term::For(_)))
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

/// Steps of one search for a time that fits, in resources looked at: a few
/// milliseconds. A client cannot make the others wait longer than that.
const SEARCH_BUDGET: usize = 100_000;

/// A search for a time that fits, and the steps that it has taken.
struct Search<'a> {
    inventory: &'a Inventory,
    when: &'a When,
    zone: &'a Zone,
    spent: usize,
}

impl Search<'_> {
    /// The end for a start; none beyond the calendar.
    fn until(&self, start: Time) -> Option<Time> {
        let until = self.when.until(start, self.zone).ok()?;
        (start < until && start <= Time::LATEST).then_some(until)
    }

    /// When a resource by itself would fit, or some time before that if that
    /// takes too many steps; never before `start`.
    fn next_fit(&mut self, id: ResourceId, mut start: Time) -> Option<Time> {
        // The calendar costs more than a look at a resource.
        let step = if matches!(self.when.term, Term::Nights(_)) { 8 } else { 1 };
        loop {
            let until = self.until(start)?;
            match self.inventory.overlap(id, start, until) {
                None => return Some(start),
                Some(booking) if booking.until.is_never() => return None,
                Some(booking) => start = booking.until.ceil_s(),
            }
            self.spent += step;
            self.inventory.add_work(step);
            if self.spent > SEARCH_BUDGET {
                return Some(start);
            }
        }
    }

    /// When the first of the resources that any pattern matches, and that are
    /// busy at a start, fits again.
    fn next_release(&mut self, targets: &[Target], from: Time) -> Option<Time> {
        let inventory = self.inventory;
        let patterns = targets.iter().filter_map(|target| match target {
            Target::Any(pattern) => Some(pattern),
            Target::Named(_) => None,
        });
        let all = patterns.flat_map(|pattern| inventory.matching(pattern));
        all.filter_map(|id| self.next_fit(id, from)).filter(|next| *next > from).min()
    }
}

impl Inventory {
    /// The first booking of a resource that overlaps `[from, until)`.
    pub fn overlap(&self, id: ResourceId, from: Time, until: Time) -> Option<Booking> {
        self.booked[id as usize].first_overlap(from, until)
    }

    /// Chooses resources for the targets, all free in `[from, until)`: names
    /// first, then patterns from left to right, each the first in inventory
    /// order that is free and not yet taken. In the order of the targets.
    pub fn place(
        &self,
        targets: &[Target],
        from: Time,
        until: Time,
    ) -> Result<Vec<ResourceId>, Conflict> {
        let mut chosen: Vec<Option<ResourceId>> = vec![None; targets.len()];
        for (at, target) in targets.iter().enumerate() {
            if let Target::Named(id) = target {
                if let Some(booking) = self.overlap(*id, from, until) {
                    return Err(Conflict { target: at, booking: Some(booking) });
                }
                chosen[at] = Some(*id);
            }
        }
        for (at, target) in targets.iter().enumerate() {
            if let Target::Any(pattern) = target {
                let is_free = |id: &ResourceId| {
                    self.overlap(*id, from, until).is_none() && !chosen.contains(&Some(*id))
                };
                let found = self.matching(pattern).find(is_free);
                chosen[at] = Some(found.ok_or(Conflict { target: at, booking: None })?);
            }
        }
        Ok(chosen.into_iter().flatten().collect())
    }

    /// The earliest start on a whole second, `from` or later, at which
    /// [`Inventory::place`] would succeed for that long. On a whole second
    /// because that is how it is told: what is told must be granted.
    ///
    /// What is busy at a start stays so until its booking ends, for ends only
    /// move with starts; so it is enough to look at the times at which one of
    /// those that are busy fits again.
    pub fn earliest(&self, targets: &[Target], when: &When, from: Time, zone: &Zone) -> Earliest {
        const AT_LEAST: usize = 2;
        let patterns = targets.iter().filter(|target| matches!(target, Target::Any(_))).count();
        let cost = targets.len() + patterns * self.booked.len();
        let mut search = Search { inventory: self, when, zone, spent: 0 };
        let mut start = from.ceil_s();
        for round in 0.. {
            if round >= AT_LEAST && search.spent > SEARCH_BUDGET {
                break;
            }
            search.spent += cost;
            let Some(until) = search.until(start) else { return Earliest::Never };
            let Err(conflict) = self.place(targets, start, until) else {
                return Earliest::At(start);
            };
            let next = match (&targets[conflict.target], conflict.booking) {
                (Target::Named(id), Some(_)) => search.next_fit(*id, start),
                _ => search.next_release(targets, start),
            };
            match next {
                Some(next) => start = next,
                None => return Earliest::Never,
            }
        }
        Earliest::Unknown
    }

    /// Of what a pattern matches and is busy in `[from, until)`: the one that
    /// is free the longest before that where there is no end, else the one
    /// that is free again first.
    pub fn nearest(
        &self,
        pattern: &Pattern,
        from: Time,
        until: Time,
    ) -> Option<(ResourceId, Booking)> {
        let busy = self.matching(pattern);
        let busy = busy.filter_map(|id| Some((id, self.overlap(id, from, until)?)));
        let free_until = |booking: &Booking| match until.is_never() {
            true => booking.from.max(from),
            false => from,
        };
        busy.min_by_key(|(_, booking)| (Reverse(free_until(booking)), booking.until))
    }

    /// A bit for each resource id that is free in `[from, until)` and matches.
    pub fn free_bits(&self, pattern: Option<&Pattern>, from: Time, until: Time) -> Vec<u64> {
        self.add_work(self.booked.len());
        let mut bits = vec![0u64; self.booked.len().div_ceil(64)];
        for (id, booked) in self.booked.iter().enumerate() {
            let is_free = match booked {
                Booked::Gone => false,
                Booked::Free => true,
                busy => busy.first_overlap(from, until).is_none(),
            };
            let texts = self.names.texts();
            if is_free && pattern.is_none_or(|pattern| pattern.matches(texts.folded(id as u32))) {
                bits[id / 64] |= 1 << (id % 64);
            }
        }
        bits
    }
}

//! Chooses the resources for a waiting request, or finds what blocks it.

use smallvec::SmallVec;

use super::patterns::PatternId;
use super::waiter::{Waiter, Want};
use super::watch::{TakenAt, Watch};
use crate::inventory::{Ids, Interval, Inventory, ResourceId};
use crate::limits::RELEASES_ONE_BY_ONE;
use crate::time::Time;

/// Placeholder for a resource that is still to be chosen for a pattern.
const NOT_CHOSEN: ResourceId = ResourceId::MAX;

/// The error of a pattern: none of its matches is both free and not chosen yet.
struct NoMatch {
    /// Whether a free match was chosen for an earlier target.
    is_contended: bool,
}

impl Inventory {
    /// Returns resources for all targets of a waiter, as
    /// [`Candidates::place`](crate::inventory::Candidates::place) chooses them. `gained` is the
    /// watched pattern that a freed resource matches.
    ///
    /// # Errors
    /// What blocks the waiter, if it does not fit.
    pub(super) fn fit_waiter(
        &self,
        waiter: &Waiter,
        interval: Interval,
        gained: Option<PatternId>,
    ) -> Result<Ids, Watch> {
        let mut chosen = self.choose_names(waiter, interval)?;
        // Only freed resources can be free for a pattern that had no free match at all.
        let mut only_freed = match &waiter.watch {
            Watch::Patterns { is_contended: false, .. } => {
                gained.filter(|_| self.queue.pass.freed.len() <= RELEASES_ONE_BY_ONE)
            }
            _ => None,
        };
        for (at, want) in waiter.wants.iter().enumerate() {
            let Want::Pattern(pattern) = want else { continue };
            let found = match only_freed.take_if(|only| only == pattern) {
                Some(_) => self.choose_freed(*pattern, &chosen, interval),
                None => self.choose_match(*pattern, &chosen, interval),
            };
            chosen[at] = found.map_err(|error| pattern_watch(waiter, at, interval.from, &error))?;
        }
        Ok(chosen)
    }

    /// Returns the resources that a waiter names, with [`NOT_CHOSEN`] for each pattern.
    fn choose_names(&self, waiter: &Waiter, interval: Interval) -> Result<Ids, Watch> {
        self.add_work(waiter.wants.len() / 2);
        let chosen = waiter.wants.iter().map(|want| {
            let Want::Name(id) = want else { return Ok(NOT_CHOSEN) };
            match self.overlap(*id, interval) {
                None => Ok(*id),
                Some(booking) if booking.from > interval.from => {
                    Err(Watch::Taken(*id, TakenAt::Time(booking.from)))
                }
                Some(_) if waiter.is_from_now() => Err(Watch::Taken(*id, TakenAt::Now)),
                // The requested start, even if it has passed, so that equal requests are one group.
                Some(_) => {
                    let start = waiter.request.when.from(interval.from);
                    Err(Watch::Taken(*id, TakenAt::Time(start)))
                }
            }
        });
        chosen.collect()
    }

    /// Returns the first resource, in inventory order, that a pattern matches and that is free and
    /// not chosen yet.
    fn choose_match(
        &self,
        pattern: PatternId,
        chosen: &[ResourceId],
        interval: Interval,
    ) -> Result<ResourceId, NoMatch> {
        let ids = ResourceId::at(self.schedules.len());
        let (mut is_contended, mut tested) = (false, 0);
        let texts = self.names.texts();
        let found = self.queue.patterns.find_match(pattern, ResourceId(0), ids, texts, |id| {
            tested += 1;
            let is_free = self.is_live(id) && self.overlap(id, interval).is_none();
            let is_chosen = is_free && chosen.contains(&id);
            is_contended |= is_chosen;
            is_free && !is_chosen
        });
        let searched =
            if found.is_some() { 0 } else { self.queue.patterns.search_work(pattern, ids) };
        self.add_work(1 + tested / 4 + searched);
        found.ok_or(NoMatch { is_contended })
    }

    /// Does the same as `choose_match`, but looks only at freed resources.
    fn choose_freed(
        &self,
        pattern: PatternId,
        chosen: &[ResourceId],
        interval: Interval,
    ) -> Result<ResourceId, NoMatch> {
        let mut is_contended = false;
        let texts = self.names.texts();
        let found = self.queue.pass.freed.iter().copied().find(|id| {
            let is_free = self.is_live(*id)
                && self.overlap(*id, interval).is_none()
                && self.queue.patterns.is_match(pattern, *id, texts);
            let is_chosen = is_free && chosen.contains(id);
            is_contended |= is_chosen;
            is_free && !is_chosen
        });
        self.add_work(1 + self.queue.pass.freed.len() / 4);
        found.ok_or(NoMatch { is_contended })
    }

    /// Returns whether a freed resource that a pattern matches is free in an interval, or too many
    /// were freed to test each.
    pub(super) fn may_gain_in(&self, pattern: PatternId, interval: Interval) -> bool {
        let freed = &self.queue.pass.freed;
        if freed.len() > RELEASES_ONE_BY_ONE {
            return true;
        }
        let mut tested = 0;
        let found = freed.iter().any(|id| {
            tested += 1;
            self.overlap(*id, interval).is_none()
                && self.queue.patterns.is_match(pattern, *id, self.names.texts())
        });
        self.add_work(tested / 4);
        found
    }
}

/// Returns the watch of a waiter whose target `at`, a pattern, has no match.
fn pattern_watch(waiter: &Waiter, at: usize, from: Time, error: &NoMatch) -> Watch {
    let mut patterns = SmallVec::new();
    let earlier = if error.is_contended { &waiter.wants[..at] } else { &[] };
    for want in earlier.iter().chain([&waiter.wants[at]]) {
        if let Want::Pattern(pattern) = want
            && !patterns.contains(pattern)
        {
            patterns.push(*pattern);
        }
    }
    let start = (!waiter.is_from_now()).then(|| waiter.request.when.from(from));
    Watch::Patterns { patterns, start, is_contended: error.is_contended }
}

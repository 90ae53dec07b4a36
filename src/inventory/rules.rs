//! The rules: which events fulfil a command, or why it is refused. These functions change nothing.
//! They expect an inventory in which everything due up to `now` has been applied.

use std::collections::HashMap;
use std::rc::Rc;

use smallvec::{SmallVec, smallvec};

use super::names::fold;
use super::pattern::Pattern;
use super::placement::{Candidates, Conflict};
use super::queue::Wants;
use super::schedule::Schedule;
use super::{
    Busy, Cancel, Earliest, End, Event, IdempotencyKey, Ids, Interval, Inventory, KeepAlive,
    NextFit, Number, Principal, Refusal, Request, Reservation, ResourceId, Selector, Start, When,
};
use crate::limits::{CANCEL_BOOKINGS_MAX, PATTERNS_ALWAYS, PATTERNS_BYTES};
use crate::time::{ClockReading, Time, Zone};

/// The outcome of a request that is not refused.
#[derive(Debug)]
pub enum Grant {
    New(Rc<Reservation>),
    /// The same request was granted before, with the same key.
    Duplicate(Number),
    /// It does not fit, and waits for these.
    Wait(Wants),
}

/// The resources that a cancellation releases, each with its reservation, in the order of the
/// request.
pub type Released = SmallVec<[(Number, ResourceId); 1]>;

impl Inventory {
    /// Decides on a request for a reservation, at the time at which its interval was computed.
    pub fn reserve(
        &self,
        request: &Request,
        principal: &Principal,
        zone: &Zone,
    ) -> Result<Grant, Refusal> {
        let candidates = self.candidates(&request.selectors)?;
        let key = request.idempotency_key();
        if let Some(key) = &key
            && let Some(number) = self.granted_before(key, principal)?
        {
            return Ok(Grant::Duplicate(number));
        }
        if let Some(key) = &key
            && let Some(waiting) = self.waiting_key(key, principal)
            && waiting.request != key.request
        {
            return Err(Refusal::KeyWaiting(key.text.to_string()));
        }
        if self.is_full() {
            return Err(Refusal::TooManyReservations(self.capacity.reservations));
        }
        match candidates.place(request.interval) {
            Ok(ids) => Ok(Grant::New(Rc::new(self.granted(request, &ids, key, principal)))),
            Err(_) if request.wait_ms.is_some() => {
                let wants = candidates.wants();
                self.check_wait(&wants, principal).map(|()| Grant::Wait(wants))
            }
            Err(conflict) => {
                let interval = request.interval;
                let earliest = candidates.earliest(&request.when, interval.from, zone);
                let fit = candidates.next_fit(earliest, &request.when, interval, zone);
                Err(self.busy(&request.selectors, interval, &candidates, conflict, fit))
            }
        }
    }

    /// Returns the reservation that fulfils a request with these resources.
    pub(super) fn granted(
        &self,
        request: &Request,
        ids: &[ResourceId],
        key: Option<IdempotencyKey>,
        principal: &Principal,
    ) -> Reservation {
        let mut new = Reservation::new(self.last_number.next(), ids, request.interval);
        new.lease = request.when.is_lease();
        new.holder = principal.holder.clone();
        let keep_alive = match request.when.end {
            End::KeepAlive(ms) => Some(KeepAlive::of_ms(ms)),
            _ => None,
        };
        let is_bound = keep_alive.is_some() || request.when.end == End::Quit;
        let session = is_bound.then_some(principal.session);
        if request.note.is_some() || key.is_some() || session.is_some() {
            new.detail(|details| {
                details.note = request.note.as_deref().map(Box::from);
                details.key = key;
                details.session = session;
                details.keep_alive = keep_alive;
            });
        }
        new
    }

    /// Finds the resources that selectors stand for.
    ///
    /// # Errors
    /// If a name does not exist or is repeated, a pattern matches nothing, or there are too many
    /// patterns.
    pub fn candidates<'a>(
        &'a self,
        selectors: &'a [Selector<'_>],
    ) -> Result<Candidates<'a>, Refusal> {
        self.check_patterns(selectors)?;
        let mut named = Ids::new();
        let mut candidates = Candidates::new(self);
        for selector in selectors {
            match selector {
                Selector::Name(name) => {
                    let id = self.named(name)?;
                    if named.contains(&id) {
                        return Err(Refusal::Duplicate(name.to_string()));
                    }
                    named.push(id);
                    candidates.add_name(id);
                }
                Selector::Pattern(pattern, text) => {
                    if !candidates.add_pattern(pattern) {
                        return Err(Refusal::NoMatch(text.to_string()));
                    }
                }
            }
        }
        Ok(candidates)
    }

    /// Checks that matching the patterns with all names does not take too long for other clients.
    fn check_patterns(&self, selectors: &[Selector]) -> Result<(), Refusal> {
        let patterns = selectors.iter().filter(|one| matches!(one, Selector::Pattern(..))).count();
        if patterns <= PATTERNS_ALWAYS {
            return Ok(());
        }
        let most = (PATTERNS_BYTES / self.names.bytes().max(1)).max(PATTERNS_ALWAYS);
        if patterns > most { Err(Refusal::TooManyPatterns { patterns, most }) } else { Ok(()) }
    }

    fn named(&self, name: &str) -> Result<ResourceId, Refusal> {
        // Most names are spelled as in the inventory, so that they need not be folded.
        let exact = self.names.find_exact(name.as_bytes());
        let id = exact.or_else(|| self.names.find(name));
        id.ok_or_else(|| Refusal::NoResource(name.to_owned()))
    }

    /// Returns the reservation that was granted for the same request with the same key.
    fn granted_before(
        &self,
        key: &IdempotencyKey,
        principal: &Principal,
    ) -> Result<Option<Number>, Refusal> {
        let Some(holder) = &principal.holder else {
            return Err(Refusal::KeyNeedsHolder);
        };
        let index = format!("{holder}\n{}", key.text);
        let Some(number) = self.keys.get(index.as_str()).copied() else {
            return Ok(None);
        };
        match self.reservations[&number].key() {
            Some(old) if old.request == key.request => Ok(Some(number)),
            _ => Err(Refusal::KeyUsed { key: key.text.to_string(), number }),
        }
    }

    /// Returns the refusal of a request that does not fit.
    fn busy(
        &self,
        selectors: &[Selector],
        interval: Interval,
        candidates: &Candidates,
        conflict: Conflict,
        fit: NextFit,
    ) -> Refusal {
        let pattern = match &selectors[conflict.selector] {
            Selector::Name(_) => None,
            Selector::Pattern(_, text) => Some(text.to_string()),
        };
        let held = candidates.nearest(conflict, interval).map(|(id, booking)| {
            (self.name_of(id), booking, Rc::clone(&self.reservations[&booking.number]))
        });
        Refusal::Busy(Box::new(Busy {
            pattern,
            held,
            from: interval.from,
            open: interval.is_open(),
            fit,
            queue: self.waiting_for(candidates),
        }))
    }

    fn name_of(&self, id: ResourceId) -> String {
        self.names.texts().name(id).to_owned()
    }

    /// Returns the resources that a cancellation releases, with their reservations.
    pub fn cancel(&self, cancelled: &[Cancel], principal: &Principal) -> Result<Released, Refusal> {
        let mut released = Released::new();
        let mut release = |number, id| match released.contains(&(number, id)) {
            true => Err(Refusal::Duplicate(self.name_of(id))),
            false => {
                released.push((number, id));
                Ok(())
            }
        };
        for one in cancelled {
            match one {
                Cancel::Number(number) => {
                    let ids = self.live(*number)?.targets();
                    ids.iter().try_for_each(|id| release(*number, *id))?;
                }
                Cancel::Name(name) => {
                    let id = self.named(name)?;
                    let (number, _) = self.reservation_to_cancel(id, principal)?;
                    release(number, id)?;
                }
            }
        }
        Ok(released)
    }

    /// Returns the live reservation with a number.
    ///
    /// # Errors
    /// If the number was never issued or the reservation is over.
    pub fn live(&self, number: Number) -> Result<&Rc<Reservation>, Refusal> {
        match self.reservations.get(&number) {
            Some(reservation) => Ok(reservation),
            None if number == Number(0) || number > self.last_number => {
                Err(Refusal::NeverIssued(number))
            }
            None => Err(Refusal::Expired(number)),
        }
    }

    /// Returns the reservation to release when a resource is cancelled by its name: one of the
    /// caller's, or else one without an owner. Also returns whether it holds nothing else. Looks at
    /// no more than [`CANCEL_BOOKINGS_MAX`] bookings.
    #[inline]
    pub fn reservation_to_cancel(
        &self,
        id: ResourceId,
        principal: &Principal,
    ) -> Result<(Number, bool), Refusal> {
        // The common case, in which there is nothing to choose.
        if let Schedule::One(one) = &self.schedules[id.index()] {
            self.add_work(1);
            let reservation = &self.reservations[&one.number];
            return match principal.can_modify(reservation) {
                true => Ok((one.number, reservation.targets().len() == 1)),
                false => Err(Refusal::not_yours(self.name_of(id), reservation)),
            };
        }
        let number = self.choose_cancelled(id, principal)?;
        Ok((number, self.reservations[&number].targets().len() == 1))
    }

    #[cold]
    fn choose_cancelled(&self, id: ResourceId, principal: &Principal) -> Result<Number, Refusal> {
        let mut bookings = self.schedules[id.index()].iter();
        let (mut own, mut unowned, mut first) = (Vec::new(), Vec::new(), None);
        for booking in bookings.by_ref().take(CANCEL_BOOKINGS_MAX) {
            self.add_work(1);
            let reservation = &self.reservations[&booking.number];
            first.get_or_insert(reservation);
            if reservation.holder.is_none() {
                unowned.push(booking.number);
            } else if reservation.holder == principal.holder {
                own.push(booking.number);
            }
        }
        let is_all = bookings.next().is_none();
        let is_own_known = is_all || principal.holder.is_none();
        let numbers = if own.is_empty() && is_own_known { unowned } else { own };
        let name = || self.name_of(id);
        match (numbers.len(), first) {
            (2.., _) => Err(Refusal::Several { name: name(), numbers, is_all }),
            (_, Some(_)) if !is_all => Err(Refusal::TooManyToSearch(name())),
            (1, _) => Ok(numbers[0]),
            (_, Some(first)) => Err(Refusal::not_yours(name(), first)),
            (_, None) => Err(Refusal::NotReserved(name())),
        }
    }

    /// Moves the end of a whole reservation. A length counts from now, or from the start if that is
    /// in the future. Returns no event if the reservation is already kept alive for the same
    /// length.
    pub fn renew(
        &self,
        number: Number,
        end: End,
        now: ClockReading,
        zone: &Zone,
    ) -> Result<Option<Event>, Refusal> {
        let old = self.live(number)?;
        let keep_alive_ms = match end {
            End::KeepAlive(ms) => Some(ms),
            _ => None,
        };
        if keep_alive_ms.is_some() && old.keep_alive().map(|old| old.ms) == keep_alive_ms {
            return Ok(None);
        }
        let has_begun = old.from <= now.wall;
        let counted_from = if has_begun { now.monotonic } else { old.from };
        let when = When { start: Start::At(counted_from), end };
        let until = when.until(counted_from, zone).map_err(|_| Refusal::OutOfRange)?;
        if until <= old.from {
            return Err(Refusal::EndsTooEarly { number, from: old.from });
        }
        if let Some((id, booking)) = self.obstacle_to_extension(old, until) {
            let next = Rc::clone(&self.reservations[&booking.number]);
            return Err(Refusal::NoExtension { number, name: self.name_of(id), booking, next });
        }
        let lease = matches!(end, End::For(_)) && has_begun;
        Ok(Some(Event::Renewed { number, until, lease, keep_alive_ms }))
    }

    /// Returns the earliest start, a whole second, at which a request would be granted at once, and
    /// the resources that it would get.
    pub fn when(
        &self,
        selectors: &[Selector],
        when: &When,
        now: Time,
        zone: &Zone,
    ) -> Result<(Time, Ids), Refusal> {
        let candidates = self.candidates(selectors)?;
        let from = when.from(now).max(now);
        let earliest = candidates.earliest(when, from, zone);
        let start = match earliest {
            Earliest::At(start) => start,
            Earliest::Never | Earliest::Unknown => from.ceil_s(),
        };
        let until = when.until(start, zone).map_err(|_| Refusal::OutOfRange)?;
        if start > Time::LATEST {
            return Err(Refusal::OutOfRange);
        }
        let interval = Interval { from: start, until };
        match candidates.place(interval) {
            Ok(ids) => Ok((start, ids)),
            Err(conflict) => {
                let fit = candidates.next_fit(earliest, when, interval, zone);
                Err(self.busy(selectors, interval, &candidates, conflict, fit))
            }
        }
    }

    /// Checks that a reservation is in force at `now`, on `name` if one is given. Returns it with
    /// the resources to list.
    pub fn verify(
        &self,
        number: Number,
        name: Option<&str>,
        now: Time,
    ) -> Result<(&Reservation, Ids), Refusal> {
        let id = name.map(|name| self.named(name)).transpose()?;
        let reservation = self.live(number)?;
        let ids = match id {
            None => Ids::from_slice(reservation.targets()),
            Some(id) if reservation.targets().contains(&id) => smallvec![id],
            Some(id) => return Err(Refusal::NotPartOf { number, name: self.name_of(id) }),
        };
        if reservation.from > now {
            return Err(Refusal::NotYetActive { number, from: reservation.from });
        }
        Ok((reservation, ids))
    }

    /// Adds resources, all or none. Their names must have been checked.
    pub fn add(&self, names: Vec<String>) -> Result<Vec<Event>, Refusal> {
        self.add_work(names.len());
        let mut folded = HashMap::with_capacity(names.len());
        for name in &names {
            if let Some(id) = self.names.find(name) {
                return Err(Refusal::Exists { name: name.clone(), existing: self.name_of(id) });
            }
            match folded.insert(fold(name), name) {
                Some(same) if same == name => return Err(Refusal::Duplicate(name.clone())),
                Some(same) => {
                    let existing = same.clone();
                    return Err(Refusal::Exists { name: name.clone(), existing });
                }
                None => {}
            }
        }
        let count = self.names.len() + self.promised + names.len();
        if count > self.capacity.resources as usize {
            return Err(Refusal::TooManyResources(self.capacity.resources));
        }
        Ok(names.into_iter().map(|name| Event::Added { name }).collect())
    }

    /// Removes resources, all or none.
    pub fn remove(&self, names: &[String]) -> Result<Vec<Event>, Refusal> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let id = self.named(name)?;
            if let Some(booking) = self.schedules[id.index()].iter().next() {
                let name = self.name_of(id);
                return Err(Refusal::StillReserved { name, number: booking.number });
            }
            if ids.contains(&id) {
                return Err(Refusal::Duplicate(name.clone()));
            }
            ids.push(id);
        }
        Ok(ids.into_iter().map(|id| Event::Removed { id }).collect())
    }

    /// Returns the bookings that overlap an interval, each as a resource and its reservation, in
    /// inventory order and by start. A pattern and a holder restrict them.
    pub fn bookings(
        &self,
        pattern: Option<&Pattern>,
        holder: Option<&str>,
        interval: Interval,
    ) -> Vec<(ResourceId, Rc<Reservation>)> {
        self.add_work(self.schedules.len());
        let matcher = pattern.map(Pattern::matcher);
        let reserved = self.ids().filter(|id| self.is_reserved(*id));
        reserved
            .filter(|id| self.matches(matcher.as_ref(), *id))
            .flat_map(|id| self.schedules[id.index()].iter().map(move |booking| (id, booking)))
            .inspect(|_| self.add_work(1))
            .filter(|(_, booking)| booking.interval().overlaps(interval))
            .map(|(id, booking)| (id, &self.reservations[&booking.number]))
            .filter(|(_, one)| holder.is_none_or(|holder| one.holder.as_deref() == Some(holder)))
            .map(|(id, one)| (id, Rc::clone(one)))
            .collect()
    }
}

/// Returns one event for each reservation that loses resources, in the order of the request.
pub fn cancellations(released: &[(Number, ResourceId)]) -> impl Iterator<Item = Event> {
    let is_first = |(at, (number, _)): &(usize, &(Number, ResourceId))| {
        released[..*at].iter().all(|(other, _)| other != number)
    };
    released.iter().enumerate().filter(is_first).map(|(_, (number, _))| {
        let own = released.iter().filter(|(other, _)| other == number);
        Event::Cancelled { number: *number, targets: own.map(|(_, id)| *id).collect() }
    })
}

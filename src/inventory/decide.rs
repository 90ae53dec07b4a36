//! The rules: what a request leads to. Every function looks at the inventory
//! as it is at `now` (all ends up to then applied) and answers with the
//! events that would fulfil the request whole, or with a refusal; it changes
//! nothing.

use std::borrow::Cow;
use std::fmt::Write;
use std::rc::Rc;

use smallvec::{SmallVec, smallvec};

use super::booked::Schedule;
use super::fit::{Conflict, Earliest, End, NextFit, Sought, Start, When};
use super::names::{ResourceId, fold};
use super::pattern::Pattern;
use super::queue::{WaitLimit, Wants};
use super::{
    Booking, Event, Ids, Inventory, KeepAlive, Key, Number, Origin, Reservation, SessionId,
};
use crate::limits::{CANCEL_LOOKS, PATTERNS_ALWAYS, PATTERNS_BYTES};
use crate::text::push_quoted;
use crate::time::{ClockReading, Time, Zone};

/// A target as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted<'a> {
    Name(Cow<'a, str>),
    /// The pattern, and its text for messages.
    Pattern(Pattern, Cow<'a, str>),
}

impl Wanted<'_> {
    fn into_owned(self) -> Wanted<'static> {
        match self {
            Wanted::Name(text) => Wanted::Name(Cow::Owned(text.into_owned())),
            Wanted::Pattern(pattern, text) => {
                Wanted::Pattern(pattern, Cow::Owned(text.into_owned()))
            }
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        match self {
            Wanted::Name(text) | Wanted::Pattern(_, text) => text,
        }
    }
}

/// Whose command it is.
#[derive(Clone, Debug)]
pub struct Principal {
    pub session: SessionId,
    pub origin: Origin,
    pub holder: Option<Rc<str>>,
}

impl Principal {
    /// Whether these may change that reservation: one without a holder is
    /// anybody's, else it is its holder's.
    pub fn can_modify(&self, reservation: &Reservation) -> bool {
        reservation.holder.is_none() || reservation.holder == self.holder
    }
}

/// A request for a reservation. Its interval has been checked at `now`.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub wanted: SmallVec<[Wanted<'a>; 1]>,
    pub when: When,
    pub from: Time,
    pub until: Time,
    pub note: Option<String>,
    pub key: Option<String>,
    /// `espera=`: how long to wait if it does not fit.
    pub wait_ms: Option<i64>,
}

impl<'a> Request<'a> {
    /// Of nothing but these: from now on, until somebody cancels it.
    pub fn from_now(wanted: SmallVec<[Wanted<'a>; 1]>, now: Time) -> Request<'a> {
        let when = When { start: Start::Default, term: End::Open };
        let (from, until) = (now, Time::MAX);
        Request { wanted, when, from, until, note: None, key: None, wait_ms: None }
    }

    /// The same to keep.
    pub fn into_owned(self) -> Request<'static> {
        let wanted = self.wanted.into_iter().map(Wanted::into_owned).collect();
        Request { wanted, ..self }
    }

    /// Its key with what it asks for under it. How long it would wait is not
    /// part of that.
    pub fn full_key(&self) -> Option<Key> {
        let key = self.key.as_deref()?;
        Some(Key { key: key.into(), request: self.canonical().into() })
    }

    /// The same text for every way to write the same request.
    fn canonical(&self) -> String {
        let mut targets: Vec<_> = self.wanted.iter().map(|wanted| fold(wanted.text())).collect();
        targets.sort();
        // The one sign of the grammar that folding can bring up: `≠` without
        // its stroke. It would read like an option.
        let mut text = targets.join(", ").replace('=', "≠");
        // Writing to a String cannot fail.
        let _ = match self.when.start {
            Start::Default => Ok(()),
            Start::Now => write!(text, " from=now"),
            Start::At(from) => write!(text, " from={}", from.ms()),
        };
        let _ = match self.when.term {
            End::Open => Ok(()),
            End::Quit => write!(text, " until=quit"),
            End::KeepAlive(ms) => write!(text, " until=quit for={ms}"),
            End::Until(until) => write!(text, " until={}", until.ms()),
            End::For(ms) => write!(text, " for={ms}"),
            End::Nights(nights) => write!(text, " nights={nights}"),
        };
        if let Some(note) = &self.note {
            push_quoted(" note=", note, &mut text);
        }
        text
    }
}

/// What a reservation request leads to.
#[derive(Debug)]
pub enum Grant {
    New(Rc<Reservation>),
    /// The same request was granted before, with the same `clave=`.
    Duplicate(Number),
    /// It does not fit, and is to wait for these.
    Wait(Wants),
}

/// What a cancellation takes: a whole reservation or one resource of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cancel<'a> {
    Number(Number),
    Name(Cow<'a, str>),
}

/// What a cancellation releases: numbers and resources, in the order asked.
pub type Released = SmallVec<[(Number, ResourceId); 1]>;

/// Why something cannot be done; the code stands beside each.
#[derive(Debug)]
pub enum Refusal {
    /// 404: no resource has this name.
    NoResource(String),
    /// 404: no resource matches this pattern.
    NoMatch(String),
    /// 404: this number was never issued.
    NeverIssued(Number),
    /// 410: it was issued and is over.
    Expired(Number),
    /// 400: the same resource or reservation twice.
    Duplicate(String),
    /// 409: busy.
    Busy(Box<Busy>),
    /// 401: a key needs a holder.
    KeyNeedsHolder,
    /// 409: that key stands for another request.
    KeyUsed { key: String, number: Number },
    /// 409: that key stands for another request, which waits.
    KeyWaiting(String),
    /// 403: somebody else's.
    NotYours { what: String, number: Number, holder: String },
    /// 404: the resource exists but has no reservation.
    NotReserved(String),
    /// 409: the name could mean any of these reservations, and perhaps more.
    Several { name: String, numbers: Vec<Number>, is_all: bool },
    /// 409: the resource has too many reservations to choose one by the name.
    TooManyToSearch(String),
    /// 404: the reservation has no such resource.
    NotPartOf { number: Number, name: String },
    /// 409: a renewal would run into the next booking.
    NoExtension { number: Number, name: String, booking: Booking, next: Rc<Reservation> },
    /// 400: the new end is not after the start.
    EndsTooEarly { number: Number, from: Time },
    /// 410: those events are not held any more, or have not happened yet.
    HistoryGone { asked: u64, floor: u64, last: u64 },
    /// 400: beyond the calendar.
    OutOfRange,
    /// 409: in force later.
    NotYetActive { number: Number, from: Time },
    /// 409: a resource with this name (or one that reads the same) exists.
    Exists { name: String, existing: String },
    /// 409: still reserved.
    StillReserved { name: String, number: Number },
    /// 429: patterns to hold against all names, and how many that may be.
    TooManyPatterns { patterns: usize, most: usize },
    /// 429: a bound on waiting requests is reached.
    TooMuchWaits(WaitLimit),
    /// 503: as many resources as the server may have.
    TooManyResources(u32),
    /// 503: as many reservations as the server may have.
    TooManyReservations(u32),
}

/// A request that collides, as far as its refusal tells of it.
struct Asked<'a> {
    wanted: &'a [Wanted<'a>],
    from: Time,
    until: Time,
}

/// What a busy target collides with, and when the request would fit.
#[derive(Debug)]
pub struct Busy {
    /// The pattern, if it is one that found nothing.
    pub pattern: Option<String>,
    /// The resource, the booking in the way and the reservation it belongs
    /// to. Of what a pattern matches, the one that is nearest to being free;
    /// none if all are taken by the request itself.
    pub held: Option<(String, Booking, Rc<Reservation>)>,
    /// The start that was asked for.
    pub from: Time,
    /// Whether the request has no end; then one would perhaps make it fit.
    pub open: bool,
    pub fit: NextFit,
    /// How many wait for something of the same already.
    pub queue: usize,
}

impl Inventory {
    /// Returns whether and how a request is granted, at the time at which its interval was checked.
    pub fn reserve(
        &self,
        request: &Request,
        principal: &Principal,
        zone: &Zone,
    ) -> Result<Grant, Refusal> {
        let sought = self.resolve(&request.wanted)?;
        let key = request.full_key();
        if let Some(key) = &key
            && let Some(number) = self.granted_before(key, principal)?
        {
            return Ok(Grant::Duplicate(number));
        }
        if let Some(key) = &key
            && let Some(waiting) = self.waits_under(key, principal)
            && waiting.request != key.request
        {
            return Err(Refusal::KeyWaiting(key.key.to_string()));
        }
        if self.is_full() {
            return Err(Refusal::TooManyReservations(self.capacity.reservations));
        }
        match sought.place(request.from, request.until) {
            Ok(ids) => Ok(Grant::New(Rc::new(self.granted(request, &ids, key, principal)))),
            Err(_) if request.wait_ms.is_some() => {
                let wants = sought.wants();
                self.check_wait(&wants, principal).map(|()| Grant::Wait(wants))
            }
            Err(conflict) => {
                let (from, until) = (request.from, request.until);
                let earliest = sought.earliest(&request.when, from, zone);
                let fit = sought.next_fit(earliest, &request.when, (from, until), zone);
                let asked = Asked { wanted: &request.wanted, from, until };
                Err(self.busy(asked, &sought, conflict, fit))
            }
        }
    }

    pub(super) fn granted(
        &self,
        request: &Request,
        ids: &[ResourceId],
        key: Option<Key>,
        principal: &Principal,
    ) -> Reservation {
        let number = self.last_number + 1;
        let mut new = Reservation::new(number, ids, request.from, request.until);
        new.lease = request.when.is_lease();
        new.holder = principal.holder.clone();
        let keep_alive = match request.when.term {
            End::KeepAlive(ms) => Some(KeepAlive::of_ms(ms)),
            _ => None,
        };
        let is_bound = keep_alive.is_some() || request.when.term == End::Quit;
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

    /// Finds the resources that are named; a pattern must match something.
    fn resolve<'a>(&'a self, wanted: &'a [Wanted<'_>]) -> Result<Sought<'a>, Refusal> {
        self.check_patterns(wanted)?;
        let mut named = Ids::new();
        let mut sought = Sought::new(self);
        for one in wanted {
            match one {
                Wanted::Name(name) => {
                    let id = self.named(name)?;
                    if named.contains(&id) {
                        return Err(Refusal::Duplicate(name.to_string()));
                    }
                    named.push(id);
                    sought.add_name(id);
                }
                Wanted::Pattern(pattern, text) => {
                    if !sought.add_pattern(pattern) {
                        return Err(Refusal::NoMatch(text.to_string()));
                    }
                }
            }
        }
        Ok(sought)
    }

    /// Whether so many patterns may be held against all names: nobody else is
    /// served meanwhile.
    fn check_patterns(&self, wanted: &[Wanted]) -> Result<(), Refusal> {
        let patterns = wanted.iter().filter(|one| matches!(one, Wanted::Pattern(..))).count();
        if patterns <= PATTERNS_ALWAYS {
            return Ok(());
        }
        let most = (PATTERNS_BYTES / self.names.bytes().max(1)).max(PATTERNS_ALWAYS);
        if patterns > most { Err(Refusal::TooManyPatterns { patterns, most }) } else { Ok(()) }
    }

    fn named(&self, name: &str) -> Result<ResourceId, Refusal> {
        self.names.find(name).ok_or_else(|| Refusal::NoResource(name.to_owned()))
    }

    fn granted_before(&self, key: &Key, principal: &Principal) -> Result<Option<Number>, Refusal> {
        let Some(holder) = &principal.holder else {
            return Err(Refusal::KeyNeedsHolder);
        };
        let full_key = format!("{holder}\n{}", key.key);
        let Some(number) = self.keys.get(full_key.as_str()).copied() else {
            return Ok(None);
        };
        match self.reservations[&number].key() {
            Some(old) if old.request == key.request => Ok(Some(number)),
            _ => Err(Refusal::KeyUsed { key: key.key.to_string(), number }),
        }
    }

    fn busy(&self, asked: Asked, sought: &Sought, conflict: Conflict, fit: NextFit) -> Refusal {
        let pattern = match &asked.wanted[conflict.target] {
            Wanted::Name(_) => None,
            Wanted::Pattern(_, text) => Some(text.to_string()),
        };
        let held = sought.nearest(conflict, asked.from, asked.until);
        let held = held.map(|(id, booking)| {
            let name = self.names.texts().name(id).to_owned();
            (name, booking, Rc::clone(&self.reservations[&booking.number]))
        });
        Refusal::Busy(Box::new(Busy {
            pattern,
            held,
            from: asked.from,
            open: asked.until.is_never(),
            fit,
            queue: self.waiting_for(sought),
        }))
    }

    /// What a cancellation releases.
    pub fn cancel(&self, wanted: &[Cancel], principal: &Principal) -> Result<Released, Refusal> {
        let mut released = Released::new();
        let mut release = |number, id| match released.contains(&(number, id)) {
            true => Err(Refusal::Duplicate(self.names.texts().name(id).to_owned())),
            false => {
                released.push((number, id));
                Ok(())
            }
        };
        for one in wanted {
            match one {
                Cancel::Number(number) => {
                    let ids = self.cancel_number(*number, principal)?;
                    ids.iter().try_for_each(|id| release(*number, *id))?;
                }
                Cancel::Name(name) => {
                    let (number, id) = self.cancel_name(name, principal)?;
                    release(number, id)?;
                }
            }
        }
        Ok(released)
    }

    fn cancel_number(
        &self,
        number: Number,
        principal: &Principal,
    ) -> Result<&[ResourceId], Refusal> {
        let reservation = self.live(number)?;
        if !principal.can_modify(reservation) {
            return Err(not_yours(format!("#{number}"), reservation));
        }
        Ok(reservation.targets())
    }

    /// The live reservation of a number, or how it is not.
    pub fn live(&self, number: Number) -> Result<&Rc<Reservation>, Refusal> {
        match self.reservations.get(&number) {
            Some(reservation) => Ok(reservation),
            None if number == 0 || number > self.last_number => Err(Refusal::NeverIssued(number)),
            None => Err(Refusal::Expired(number)),
        }
    }

    fn cancel_name(
        &self,
        name: &str,
        principal: &Principal,
    ) -> Result<(Number, ResourceId), Refusal> {
        let id = self.named(name)?;
        self.cancel_one(id, principal).map(|(number, _)| (number, id))
    }

    /// Returns the reservation to release when a resource is cancelled by its name: one of the
    /// caller's, or else one without an owner. Also returns whether it holds nothing else. Looks at
    /// no more than [`CANCEL_LOOKS`] bookings.
    pub fn cancel_one(
        &self,
        id: ResourceId,
        principal: &Principal,
    ) -> Result<(Number, bool), Refusal> {
        // Nearly always there is one, and nothing to choose.
        if let Schedule::One(one) = &self.booked[id as usize] {
            self.add_work(1);
            let reservation = &self.reservations[&one.number];
            return match principal.can_modify(reservation) {
                true => Ok((one.number, reservation.targets().len() == 1)),
                false => Err(not_yours(self.names.texts().name(id).to_owned(), reservation)),
            };
        }
        let number = self.choose_cancelled(id, principal)?;
        Ok((number, self.reservations[&number].targets().len() == 1))
    }

    #[cold]
    fn choose_cancelled(&self, id: ResourceId, principal: &Principal) -> Result<Number, Refusal> {
        let name = || self.names.texts().name(id).to_owned();
        let mut bookings = self.booked[id as usize].iter();
        let (mut yours, mut nobodys, mut first) = (Vec::new(), Vec::new(), None);
        for booking in bookings.by_ref().take(CANCEL_LOOKS) {
            self.add_work(1);
            let reservation = &self.reservations[&booking.number];
            first.get_or_insert(reservation);
            if reservation.holder.is_none() {
                nobodys.push(booking.number);
            } else if reservation.holder == principal.holder {
                yours.push(booking.number);
            }
        }
        let is_all = bookings.next().is_none();
        let are_yours_known = is_all || principal.holder.is_none();
        let numbers = if yours.is_empty() && are_yours_known { nobodys } else { yours };
        match (numbers.len(), first) {
            (2.., _) => Err(Refusal::Several { name: name(), numbers, is_all }),
            (_, Some(_)) if !is_all => Err(Refusal::TooManyToSearch(name())),
            (1, _) => Ok(numbers[0]),
            (_, Some(first)) => Err(not_yours(name(), first)),
            (_, None) => Err(Refusal::NotReserved(name())),
        }
    }

    /// Moves the end of a whole reservation. A length counts from now, or from the start if that is
    /// in the future. Returns no event if the reservation is already kept alive for the same
    /// length.
    pub fn renew(
        &self,
        number: Number,
        term: End,
        principal: &Principal,
        now: ClockReading,
        zone: &Zone,
    ) -> Result<Option<Event>, Refusal> {
        let old = self.live(number)?;
        if !principal.can_modify(old) {
            return Err(not_yours(format!("#{number}"), old));
        }
        let keep_alive_ms = match term {
            End::KeepAlive(ms) => Some(ms),
            _ => None,
        };
        if keep_alive_ms.is_some() && old.keep_alive().map(|old| old.ms) == keep_alive_ms {
            return Ok(None);
        }
        let has_begun = old.from <= now.wall;
        let counted_from = if has_begun { now.monotonic } else { old.from };
        let when = When { start: Start::At(counted_from), term };
        let until = when.until(counted_from, zone).map_err(|_| Refusal::OutOfRange)?;
        if until <= old.from {
            return Err(Refusal::EndsTooEarly { number, from: old.from });
        }
        if let Some((id, booking)) = self.in_the_way(old, until) {
            let name = self.names.texts().name(id).to_owned();
            let next = Rc::clone(&self.reservations[&booking.number]);
            return Err(Refusal::NoExtension { number, name, booking, next });
        }
        let lease = matches!(term, End::For(_)) && has_begun;
        Ok(Some(Event::Renewed { number, until, lease, keep_alive_ms }))
    }

    /// The earliest start, on a whole second, at which this would be granted
    /// at once, and what would be.
    pub fn when(
        &self,
        wanted: &[Wanted],
        when: &When,
        now: Time,
        zone: &Zone,
    ) -> Result<(Time, Ids), Refusal> {
        let sought = self.resolve(wanted)?;
        let from = when.from(now).max(now);
        let earliest = sought.earliest(when, from, zone);
        let start = match earliest {
            Earliest::At(start) => start,
            Earliest::Never | Earliest::Unknown => from.ceil_s(),
        };
        let until = when.until(start, zone).map_err(|_| Refusal::OutOfRange)?;
        if start > Time::LATEST {
            return Err(Refusal::OutOfRange);
        }
        match sought.place(start, until) {
            Ok(ids) => Ok((start, ids)),
            Err(conflict) => {
                let fit = sought.next_fit(earliest, when, (start, until), zone);
                let asked = Asked { wanted, from: start, until };
                Err(self.busy(asked, &sought, conflict, fit))
            }
        }
    }

    /// Whether a reservation is in force at `now`, on `name` if one is given.
    /// Answers with it and the resources to tell.
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
            Some(id) => {
                let name = self.names.texts().name(id).to_owned();
                return Err(Refusal::NotPartOf { number, name });
            }
        };
        if reservation.from > now {
            return Err(Refusal::NotYetActive { number, from: reservation.from });
        }
        Ok((reservation, ids))
    }

    /// New resources, all or none. The names have been checked.
    pub fn add(&self, names: Vec<String>) -> Result<Vec<Event>, Refusal> {
        self.add_work(names.len());
        let mut folded = std::collections::HashMap::with_capacity(names.len());
        for name in &names {
            let existing = self.names.find(name).map(|id| self.names.texts().name(id));
            if let Some(existing) = existing {
                let existing = existing.to_owned();
                return Err(Refusal::Exists { name: name.clone(), existing });
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
        if self.names.len() + self.promised + names.len() > self.capacity.resources as usize {
            return Err(Refusal::TooManyResources(self.capacity.resources));
        }
        Ok(names.into_iter().map(|name| Event::Added { name }).collect())
    }

    /// Takes resources out, all or none.
    pub fn remove(&self, names: &[String]) -> Result<Vec<Event>, Refusal> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let id = self.named(name)?;
            if let Some(booking) = self.booked[id as usize].iter().next() {
                let name = self.names.texts().name(id).to_owned();
                return Err(Refusal::StillReserved { name, number: booking.number });
            }
            if ids.contains(&id) {
                return Err(Refusal::Duplicate(name.clone()));
            }
            ids.push(id);
        }
        Ok(ids.into_iter().map(|id| Event::Removed { id }).collect())
    }

    /// Which reservation each booking belongs to, of the resources that match,
    /// in inventory order and by start: those that overlap `[from, until)`.
    pub fn bookings(
        &self,
        pattern: Option<&Pattern>,
        holder: Option<&str>,
        from: Time,
        until: Time,
    ) -> Vec<(ResourceId, Rc<Reservation>)> {
        self.add_work(self.booked.len());
        let matcher = pattern.map(Pattern::matcher);
        let wanted = |id: &ResourceId| matcher.as_ref().is_none_or(|it| self.is_match(it, *id));
        let busy = self.ids().filter(|id| self.is_reserved(*id)).filter(wanted);
        busy.flat_map(|id| self.booked[id as usize].iter().map(move |booking| (id, booking)))
            .inspect(|_| self.add_work(1))
            .filter(|(_, booking)| booking.from < until && from < booking.until)
            .map(|(id, booking)| (id, &self.reservations[&booking.number]))
            .filter(|(_, one)| holder.is_none_or(|holder| one.holder.as_deref() == Some(holder)))
            .map(|(id, one)| (id, Rc::clone(one)))
            .collect()
    }
}

/// One event for each reservation that loses resources, in the order asked.
pub fn cancellations(released: &[(Number, ResourceId)]) -> impl Iterator<Item = Event> {
    let is_first = |(at, (number, _)): &(usize, &(Number, ResourceId))| {
        released[..*at].iter().all(|(other, _)| other != number)
    };
    released.iter().enumerate().filter(is_first).map(|(_, (number, _))| {
        let own = released.iter().filter(|(other, _)| other == number);
        Event::Cancelled { number: *number, targets: own.map(|(_, id)| *id).collect() }
    })
}

/// Returns the refusal of a change to a reservation of another holder.
pub fn not_yours(what: String, reservation: &Reservation) -> Refusal {
    let holder = reservation.holder.as_deref().unwrap_or("-").to_owned();
    Refusal::NotYours { what, number: reservation.number, holder }
}

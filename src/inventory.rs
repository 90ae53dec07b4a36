//! The inventory: resources, who has reserved what for when, and the rules.
//!
//! Everything here is pure: time is an argument, nothing is read or written
//! elsewhere, and the same events give the same inventory, live and on
//! replay. [`decide`] says what may happen (`&self`, answers with an
//! [`Event`] or a refusal), [`Inventory::apply`] makes it so.
//!
//! Invariants (checked by [`Inventory::check`]):
//! - the reservations of one resource do not overlap as half-open intervals;
//! - the indexes (`booked`, `ends`, `leases`, `bound`, `keys`) say what `reservations` says;
//! - a number is never issued twice, events are counted without gaps.

mod booked;
pub mod decide;
pub mod event;
pub mod fit;
pub mod history;
mod keep_alive;
pub mod names;
mod passing;
pub mod pattern;
pub mod queue;
mod reset;
mod runs;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::slice;

pub use booked::Booking;
use booked::Schedule;
pub use decide::{Refusal, Request, Wanted};
pub use event::Event;
pub use fit::{Earliest, End, NextFit, When};
pub use keep_alive::KeepAlive;
use names::{Names, ResourceId};
use passing::Backlog;
use queue::Queue;
use runs::SortedList;
use smallvec::SmallVec;

use crate::limits::{NAMES_CHUNK, NUMBER_MAX, TIDY_MIN_IDS, TIDY_WORK};
use crate::time::{MonotonicMs, Time};

/// A confirmation number: 1, 2, 3…; also the fencing token of what it grants.
pub type Number = u64;

/// A connection, as far as the inventory knows it: never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Any connection of a server that is no more.
    pub const GONE: SessionId = SessionId(0);
}

/// The origin of a connection. Some bounds count all connections of one origin together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin(pub u64);

impl Origin {
    /// The server's own host.
    pub const LOCAL: Origin = Origin(0);
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It sent `SALIR`. All reservations bound to it end.
    Quit,
    /// It was lost. Reservations that it keeps alive live on until their deadline.
    Lost,
}

/// Some resources, mostly one or a few.
pub type Ids = SmallVec<[ResourceId; 4]>;

/// An idempotency key and the request that it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    pub key: Box<str>,
    /// The request in a form that is the same for every way to write it.
    pub request: Box<str>,
}

/// What most reservations do not have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Details {
    pub note: Option<Box<str>>,
    pub key: Option<Key>,
    /// `hasta=salir`: the connection with which it ends.
    pub session: Option<SessionId>,
    /// Set for `hasta=salir por=D`, which also ends when nobody renews it.
    pub keep_alive: Option<KeepAlive>,
    /// All its resources, if it is on several.
    targets: Box<[ResourceId]>,
}

/// A stretch of time, `[from, until)`, on one or more resources.
///
/// There may be a million of them: with the two counts of the `Rc` it is made
/// to fit into a piece of 80 bytes of the allocator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    pub number: Number,
    pub from: Time,
    /// [`Time::MAX`] where no end is known, also for `hasta=salir`.
    pub until: Time,
    pub holder: Option<Rc<str>>,
    /// None where all of them would be empty.
    pub details: Option<Box<Details>>,
    /// Its first resource; see [`Reservation::targets`].
    target: ResourceId,
    /// Asked for by a length from now on (`por=`): counts elapsed time, so it
    /// ends by the steady clock, and its end is moved when the wall clock is set.
    pub lease: bool,
}

impl Reservation {
    /// One on these resources (at least one) and without all that is optional.
    pub fn new(number: Number, targets: &[ResourceId], from: Time, until: Time) -> Reservation {
        let target = targets[0];
        let (holder, details, lease) = (None, None, false);
        let mut new = Reservation { number, from, until, holder, details, target, lease };
        if targets.len() > 1 {
            new.set_targets(targets);
        }
        new
    }

    /// What it is on, in the order that was asked for: nearly always one resource.
    pub fn targets(&self) -> &[ResourceId] {
        match &self.details {
            Some(details) if !details.targets.is_empty() => &details.targets,
            _ => slice::from_ref(&self.target),
        }
    }

    fn set_targets(&mut self, targets: &[ResourceId]) {
        self.target = targets[0];
        self.detail(|details| {
            details.targets = if targets.len() > 1 { targets.into() } else { Box::default() };
        });
    }

    /// One of its resources has another id now.
    fn remap(&mut self, old: ResourceId, new: ResourceId) {
        let further = self.details.iter_mut().flat_map(|details| &mut details.targets);
        for id in further.chain([&mut self.target]).filter(|id| **id == old) {
            *id = new;
        }
    }

    /// Whether these are some of its resources, none of them twice.
    fn holds_each_once(&self, some: &[ResourceId]) -> bool {
        let is_new = |(at, id): (usize, &ResourceId)| !some[..at].contains(id);
        some.iter().all(|id| self.targets().contains(id)) && some.iter().enumerate().all(is_new)
    }

    /// Changes something of its details.
    pub fn detail(&mut self, change: impl FnOnce(&mut Details)) {
        let mut details = self.details.take().map_or_else(Details::default, |details| *details);
        change(&mut details);
        self.details = (details != Details::default()).then(|| Box::new(details));
    }

    /// The note, if there is one.
    pub fn note(&self) -> Option<&str> {
        self.details.as_ref()?.note.as_deref()
    }

    /// The idempotency key, if there is one.
    pub fn key(&self) -> Option<&Key> {
        self.details.as_ref()?.key.as_ref()
    }

    /// The connection with which it ends, if it does (`hasta=salir`).
    pub fn session(&self) -> Option<SessionId> {
        self.details.as_ref()?.session
    }

    /// Returns how it is kept alive; `None` unless it was made with `hasta=salir por=D`.
    pub fn keep_alive(&self) -> Option<KeepAlive> {
        self.details.as_ref()?.keep_alive
    }
}

/// The next instants at which something happens by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deadlines {
    /// By what time it is.
    pub dated: Option<Time>,
    /// By the steady clock; see [`ClockReading`].
    pub monotonic: Option<Time>,
}

/// How much the inventory may hold.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub resources: u32,
    pub reservations: u32,
}

/// The state of the server. See the module's page for its invariants.
#[derive(Debug)]
pub struct Inventory {
    names: Names,
    /// By [`ResourceId`].
    booked: Vec<Schedule>,
    reservations: SortedList<Rc<Reservation>>,
    /// The deadlines: every end that is known, of those that are not leases.
    ends: SortedList<(Time, Number)>,
    /// The ends of leases, which count elapsed time.
    leases: SortedList<(Time, Number)>,
    /// `hasta=salir` reservations by connection.
    bound: SortedList<(SessionId, Number)>,
    /// Reservations that their connection keeps alive. `owned` does not list these.
    kept_alive_by: SortedList<(SessionId, Number)>,
    /// Deadlines of reservations that are kept alive, on the monotonic clock.
    keep_alives: SortedList<(MonotonicMs, Number)>,
    /// Number of resources for which room is reserved.
    promised: usize,
    /// Reading of the monotonic clock in this turn.
    monotonic: MonotonicMs,
    /// Idempotency keys, by holder and key with a LF between.
    keys: HashMap<Box<str>, Number>,
    queue: Queue,
    backlog: Backlog,
    gaps: Option<IdCompaction>,
    last_number: Number,
    last_event: u64,
    capacity: Capacity,
    /// Names (16 bytes of a long one) and bookings that questions have looked
    /// at; see [`Inventory::take_work`].
    work: Cell<u64>,
}

/// How far [`Inventory::tidy`] has come.
#[derive(Clone, Copy, Debug)]
struct IdCompaction {
    /// The next chunk of names to fill; before it there are no gaps.
    chunk: usize,
    /// The first id that is not renumbered; from the chunk up to here all are gone.
    next: ResourceId,
    /// How many ids there were the last time.
    ids: usize,
}

impl Inventory {
    /// An inventory with nothing in it.
    pub fn new(capacity: Capacity) -> Inventory {
        Inventory {
            names: Names::default(),
            booked: Vec::new(),
            reservations: SortedList::default(),
            ends: SortedList::default(),
            leases: SortedList::default(),
            bound: SortedList::default(),
            kept_alive_by: SortedList::default(),
            keep_alives: SortedList::default(),
            promised: 0,
            monotonic: MonotonicMs(0),
            keys: HashMap::new(),
            queue: Queue::default(),
            backlog: Backlog::default(),
            gaps: None,
            last_number: 0,
            last_event: 0,
            capacity,
            work: Cell::new(0),
        }
    }

    /// How much was looked at since the last call: what commands have cost,
    /// in names and bookings. Not part of the state.
    pub fn take_work(&self) -> u64 {
        self.work.take()
    }

    /// How much was looked at since the last [`Inventory::take_work`].
    pub fn work(&self) -> u64 {
        self.work.get()
    }

    /// Counts what was looked at, or done besides.
    pub fn add_work(&self, looked_at: usize) {
        self.work.set(self.work.get() + looked_at as u64);
    }

    /// The names of the resources.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The live reservation of a number.
    pub fn reservation(&self, number: Number) -> Option<&Rc<Reservation>> {
        self.reservations.get(&number)
    }

    /// How many reservations are live or still ahead.
    pub fn reservation_count(&self) -> usize {
        self.reservations.len()
    }

    /// Whether it holds as many reservations as it may.
    pub fn is_full(&self) -> bool {
        self.reservations.len() >= self.capacity.reservations as usize
    }

    /// The last confirmation number that was issued; 0 before the first.
    pub fn last_number(&self) -> Number {
        self.last_number
    }

    /// The number of the last event; 0 before the first.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }

    /// Continues the count of events after a snapshot.
    pub fn set_last_event(&mut self, number: u64) {
        self.last_event = number;
    }

    /// Where the end of a reservation is kept.
    fn ends_of(&mut self, lease: bool) -> &mut SortedList<(Time, Number)> {
        if lease { &mut self.leases } else { &mut self.ends }
    }

    /// Whether a resource has a reservation, now or later.
    fn is_reserved(&self, id: ResourceId) -> bool {
        !matches!(self.booked[id as usize], Schedule::Free | Schedule::Gone)
    }

    /// Returns whether a resource exists and has not been removed.
    pub fn is_live(&self, id: ResourceId) -> bool {
        self.booked.get(id as usize).is_some_and(|booked| !matches!(booked, Schedule::Gone))
    }

    /// The live resources in inventory order.
    fn ids(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.ids_from(0)
    }

    /// Those from an id on.
    fn ids_from(&self, first: ResourceId) -> impl Iterator<Item = ResourceId> + '_ {
        let rest = self.booked.get(first as usize..).unwrap_or_default();
        let live = |(booked, _): &(&Schedule, ResourceId)| !matches!(booked, Schedule::Gone);
        rest.iter().zip(first..).filter(live).map(|(_, id)| id)
    }

    /// Makes an event so. Live and on replay this is all that happens.
    ///
    /// The event must fit this inventory: live it comes from a decision on
    /// it, on replay it went through [`Inventory::admits`].
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Numbered { last } => self.last_number = self.last_number.max(last),
            Event::Added { name } => {
                let id = self.names.add(&name);
                debug_assert_eq!(id as usize, self.booked.len());
                // A table that doubles is half empty after it.
                if self.booked.len() == self.booked.capacity() {
                    self.booked.reserve_exact(16 + self.booked.len() / 8);
                }
                self.booked.push(Schedule::Free);
                self.queue.add(id);
            }
            Event::Removed { id } => {
                self.end_waits_for(id);
                self.names.remove(id);
                self.booked[id as usize] = Schedule::Gone;
            }
            Event::Reserved(new) => self.insert(new),
            Event::Cancelled { number, targets } => self.release(number, &targets),
            Event::Renewed { number, until, lease, keep_alive_ms } => {
                self.move_end(number, until, lease, keep_alive_ms);
            }
            Event::Expired { number } => self.end(number),
        }
        self.last_event += 1;
    }

    /// Whether an event that was read fits this inventory; else what is wrong.
    pub fn admits(&self, event: &Event) -> Result<(), String> {
        match event {
            Event::Numbered { last } => admits_number(*last),
            Event::Added { name } => match self.names.find(name) {
                None => Ok(()),
                Some(_) => Err(format!("resource '{name}' exists already")),
            },
            Event::Removed { id } if self.is_reserved(*id) => {
                Err(format!("resource '{}' is reserved", self.names.texts().name(*id)))
            }
            Event::Removed { .. } => Ok(()),
            Event::Reserved(new) => self.admits_reservation(new),
            Event::Cancelled { number, targets } => match self.reservations.get(number) {
                Some(old) if old.holds_each_once(targets) => Ok(()),
                _ => Err(format!("reservation #{number} does not hold that")),
            },
            Event::Renewed { number, until, .. } => match self.reservations.get(number) {
                None => Err(format!("there is no reservation #{number}")),
                Some(old) if *until <= old.from => Err(format!("#{number} ends before it begins")),
                Some(old) => match self.in_the_way(old, *until) {
                    None => Ok(()),
                    Some((_, other)) => Err(format!("#{number} and #{} overlap", other.number)),
                },
            },
            Event::Expired { number } if self.reservations.contains_key(number) => Ok(()),
            Event::Expired { number } => Err(format!("there is no reservation #{number}")),
        }
    }

    fn admits_reservation(&self, new: &Reservation) -> Result<(), String> {
        let number = new.number;
        if new.from >= new.until {
            return Err(format!("reservation #{number} ends before it begins"));
        }
        admits_number(number)?;
        if number <= self.last_number {
            return Err(format!("number #{number} was issued before"));
        }
        if full_key(new).is_some_and(|full_key| self.keys.contains_key(&full_key)) {
            return Err(format!("the key of reservation #{number} is that of another one"));
        }
        for (at, id) in new.targets().iter().enumerate() {
            let name = self.names.texts().name(*id);
            if let Some(other) = self.booked[*id as usize].first_overlap(new.from, new.until) {
                return Err(format!("#{number} and #{} overlap on '{name}'", other.number));
            }
            if new.targets()[..at].contains(id) {
                return Err(format!("#{number} has '{name}' twice"));
            }
        }
        Ok(())
    }

    fn insert(&mut self, new: Rc<Reservation>) {
        let number = new.number;
        let booking = Booking { from: new.from, until: new.until, number };
        for id in new.targets() {
            self.booked[*id as usize].insert(booking);
        }
        if !new.until.is_never() {
            self.ends_of(new.lease).insert((new.until, number));
        }
        self.last_number = self.last_number.max(number);
        let has_details = new.details.is_some();
        if has_details {
            self.insert_details(&new);
        }
        self.reservations.insert(new);
        if has_details {
            self.set_deadline(number);
        }
    }

    /// Indexes what most reservations do not have.
    fn insert_details(&mut self, new: &Reservation) {
        if let Some(session) = new.session() {
            self.owners(new.keep_alive().is_some()).insert((session, new.number));
        }
        if let Some(full_key) = full_key(new) {
            self.keys.insert(full_key, new.number);
        }
    }

    /// What keeps a reservation from lasting until then: the one of its
    /// resources that is booked again first, and that booking.
    fn in_the_way(&self, old: &Reservation, until: Time) -> Option<(ResourceId, Booking)> {
        if until <= old.until {
            return None;
        }
        let ids = old.targets().iter();
        let all = ids.filter_map(|id| Some((*id, self.overlap(*id, old.until, until)?)));
        all.min_by_key(|(_, booking)| booking.from)
    }

    /// An end that is given takes the place of the connection's end, too.
    fn move_end(&mut self, number: Number, until: Time, lease: bool, keep_alive_ms: Option<i64>) {
        let Some(reservation) = self.reservations.get_mut(&number) else { return };
        let reservation = Rc::make_mut(reservation);
        let old_until = std::mem::replace(&mut reservation.until, until);
        let was_lease = std::mem::replace(&mut reservation.lease, lease);
        let (old_session, old_keep_alive) = (reservation.session(), reservation.keep_alive());
        let session = keep_alive_ms.map(|_| SessionId::GONE);
        if session.is_some() || old_session.is_some() {
            reservation.detail(|details| {
                details.session = session;
                details.keep_alive = keep_alive_ms.map(KeepAlive::of_ms);
            });
        }
        for id in reservation.targets() {
            self.booked[*id as usize].set_until(reservation.from, until);
            if until < old_until {
                self.queue.free(*id, Booking { from: until, until: old_until, number });
            }
        }
        self.forget_end(was_lease, (old_until, number));
        if !until.is_never() {
            self.ends_of(lease).insert((until, number));
        }
        if let Some(session) = old_session {
            self.owners(old_keep_alive.is_some()).remove(&(session, number));
        }
        if let Some(old) = old_keep_alive {
            self.keep_alives.remove(&(old.deadline, number));
        }
        if let Some(session) = session {
            self.kept_alive_by.insert((session, number));
            self.set_deadline(number);
        }
    }

    /// Takes these resources out of a reservation; the rest stays.
    fn release(&mut self, number: Number, targets: &[ResourceId]) {
        // Nearly always it is all of it: found once, and put back if not.
        let Some(mut old) = self.reservations.remove(&number) else { return };
        if targets != old.targets() {
            let mut left = Ids::from_slice(old.targets());
            left.retain(|id| !targets.contains(id));
            if !left.is_empty() {
                let Reservation { from, until, .. } = *old;
                for id in targets {
                    self.booked[*id as usize].remove(from);
                    self.queue.free(*id, Booking { from, until, number });
                }
                Rc::make_mut(&mut old).set_targets(&left);
                return self.reservations.insert(old);
            }
        }
        self.forget(&old);
    }

    fn end(&mut self, number: Number) {
        if let Some(old) = self.reservations.remove(&number) {
            self.forget(&old);
        }
    }

    /// What else is kept of a reservation that was taken out.
    fn forget(&mut self, old: &Reservation) {
        let Reservation { number, from, until, .. } = *old;
        for id in old.targets() {
            self.booked[*id as usize].remove(from);
            self.queue.free(*id, Booking { from, until, number });
        }
        if !until.is_never() {
            self.forget_end(old.lease, (until, number));
        }
        if old.details.is_some() {
            self.forget_details(old);
        }
    }

    fn forget_details(&mut self, old: &Reservation) {
        if let Some(session) = old.session() {
            self.owners(old.keep_alive().is_some()).remove(&(session, old.number));
        }
        if let Some(keep_alive) = old.keep_alive() {
            self.keep_alives.remove(&(keep_alive.deadline, old.number));
        }
        if let Some(full_key) = full_key(old) {
            self.keys.remove(&full_key);
        }
    }

    /// Moves a `hasta=salir` reservation to another connection (a retry with
    /// its `clave=` came from there). Not an event: connections do not
    /// outlive the server.
    pub fn rebind(&mut self, number: Number, session: SessionId) {
        let Some(reservation) = self.reservations.get_mut(&number) else { return };
        // Only what is bound to a connection moves; the rest is bound to none.
        let Some(old) = reservation.session() else { return };
        let is_kept_alive = reservation.keep_alive().is_some();
        Rc::make_mut(reservation).detail(|details| details.session = Some(session));
        let owners = self.owners(is_kept_alive);
        owners.remove(&(old, number));
        owners.insert((session, number));
    }

    /// Returns up to `most` reservations that end with a connection that ended this way, oldest
    /// first.
    pub fn bound_to(&self, session: SessionId, ending: Ending, most: usize) -> Vec<Number> {
        let kept_alive = matches!(ending, Ending::Quit).then_some(&self.kept_alive_by);
        let sets = [Some(&self.bound), kept_alive].into_iter().flatten();
        sets.flat_map(|set| owned_by(set, session)).take(most).collect()
    }

    /// Whether a connection has `hasta=salir` reservations.
    pub fn has_bound(&self, session: SessionId) -> bool {
        [&self.bound, &self.kept_alive_by]
            .into_iter()
            .any(|set| owned_by(set, session).next().is_some())
    }

    /// Returns the index from connections to their `hasta=salir` reservations.
    fn owners(&mut self, is_kept_alive: bool) -> &mut SortedList<(SessionId, Number)> {
        if is_kept_alive { &mut self.kept_alive_by } else { &mut self.bound }
    }

    /// Sets the number of resources for which room is reserved, so that others cannot take it.
    pub fn promise_resources(&mut self, count: usize) {
        self.promised = count;
    }

    /// Whether most ids are of resources that are gone, and nothing is done
    /// about it yet.
    pub fn wants_tidy(&self) -> bool {
        self.gaps.is_none()
            && self.booked.len() >= TIDY_MIN_IDS
            && self.booked.len() >= 2 * self.names.len()
    }

    /// Closes the gaps that removed resources left in the ids once they are the larger part, one
    /// piece per call. Ids before the cursor have no gaps; ids behind it are still the old ones.
    ///
    /// Must not be called between a decision and its `apply`, nor while waiters are being tried.
    pub fn compact_ids(&mut self) {
        if self.is_behind() {
            return;
        }
        if self.wants_tidy() {
            self.names.begin_renumbering();
            self.gaps = Some(IdCompaction { chunk: 0, next: 0, ids: self.booked.len() });
        }
        let Some(IdCompaction { ids, .. }) = self.gaps else { return };
        // New ones must not come faster than the cursor.
        let mut work = TIDY_WORK + 2 * (self.booked.len() - ids);
        while let Some(gaps) = self.gaps.take() {
            if work == 0 {
                self.gaps = Some(IdCompaction { ids: self.booked.len(), ..gaps });
                return;
            }
            work = work.saturating_sub(self.close_gaps(gaps));
        }
    }

    /// One chunk of names moves up to the cursor. Returns what was looked at.
    fn close_gaps(&mut self, IdCompaction { chunk, next, ids }: IdCompaction) -> usize {
        let live: Vec<_> = self.ids_from(next).take(NAMES_CHUNK).collect();
        self.names.remap(chunk, &live);
        let mut work = live.len();
        for (new, old) in (chunk as ResourceId * NAMES_CHUNK as ResourceId..).zip(&live) {
            if new != *old {
                work += self.remap(*old, new);
            }
        }
        let Some(last) = live.last().filter(|_| live.len() == NAMES_CHUNK) else {
            let count = chunk * NAMES_CHUNK + live.len();
            self.names.truncate(count);
            self.booked.truncate(count);
            self.truncate_queue(count as ResourceId);
            return work;
        };
        self.gaps = Some(IdCompaction { chunk: chunk + 1, next: last + 1, ids });
        // To pass over a gap is cheap.
        work + (last + 1 - next) as usize / 16
    }

    /// Gives a resource the id of a gap before it; how many bookings it has.
    fn remap(&mut self, old: ResourceId, new: ResourceId) -> usize {
        self.booked.swap(old as usize, new as usize);
        let mut bookings = 0;
        for booking in self.booked[new as usize].iter() {
            bookings += 1;
            let Some(owner) = self.reservations.get_mut(&booking.number) else { continue };
            Rc::make_mut(owner).remap(old, new);
        }
        bookings + self.renumber_waiters(old, new)
    }

    /// The number of the oldest reservation with a number over `after`.
    pub fn next_reservation(&self, after: Number) -> Option<&Rc<Reservation>> {
        self.reservations.from(after + 1).next()
    }

    /// The first live resource with an id of at least `from`.
    pub fn next_resource(&self, from: ResourceId) -> Option<ResourceId> {
        let rest = self.booked.get(from as usize..)?;
        let ahead = rest.iter().position(|booked| !matches!(booked, Schedule::Gone))?;
        Some(from + ahead as ResourceId)
    }

    /// Checks every invariant of the module, the slow way; for tests.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check(&self) {
        let mut bookings = 0;
        for id in self.ids() {
            let mut last = Time::MIN;
            for booking in self.booked[id as usize].iter() {
                assert!(last <= booking.from && booking.from < booking.until, "overlap on {id}");
                last = booking.until;
                let owner = &self.reservations[&booking.number];
                assert_eq!((owner.from, owner.until), (booking.from, booking.until));
                assert!(owner.targets().contains(&id));
                bookings += 1;
            }
        }
        let all = || self.reservations.iter();
        let held: usize = all().map(|one| one.targets().len()).sum();
        assert_eq!(bookings, held, "a booking without its resource or the reverse");
        for (is_lease, ends) in [(false, &self.ends), (true, &self.leases)] {
            let known = all().filter(|one| one.lease == is_lease && !one.until.is_never());
            let mut known: Vec<_> = known.map(|one| (one.until, one.number)).collect();
            known.sort_unstable();
            let mut kept: Vec<_> = ends.iter().copied().collect();
            if is_lease {
                kept.extend(self.unmoved());
                kept.sort_unstable();
            }
            assert_eq!(kept, known, "index of ends differs from the reservations");
        }
        for (is_kept_alive, set) in [(false, &self.bound), (true, &self.kept_alive_by)] {
            let owned = all().filter(|one| one.keep_alive().is_some() == is_kept_alive);
            let owned = owned.filter_map(|one| Some((one.session()?, one.number)));
            let mut owned: Vec<_> = owned.collect();
            owned.sort_unstable();
            assert!(set.iter().eq(&owned), "index of connections differs from the reservations");
        }
        let kept_alive = all().filter_map(|one| Some((one.keep_alive()?.deadline, one.number)));
        let mut kept_alive: Vec<_> = kept_alive.collect();
        kept_alive.sort_unstable();
        assert!(self.keep_alives.iter().eq(&kept_alive), "index of deadlines is incomplete");
        assert_eq!(self.keys.len(), all().filter_map(|one| full_key(one)).count());
        assert!(all().all(|one| one.number <= self.last_number));
        assert_eq!(self.names.len(), self.ids().count());
        self.check_queue();
    }
}

fn owned_by(
    set: &SortedList<(SessionId, Number)>,
    session: SessionId,
) -> impl Iterator<Item = Number> {
    let all = set.from((session, 0)).take_while(move |(owner, _)| *owner == session);
    all.map(|(_, number)| *number)
}

/// Whether a number leaves others to be issued after it.
fn admits_number(number: Number) -> Result<(), String> {
    match number {
        ..=NUMBER_MAX => Ok(()),
        _ => Err(format!("#{number} is beyond what can ever have been issued")),
    }
}

/// Holder and key in one text; a holder has no LF.
fn full_key(reservation: &Reservation) -> Option<Box<str>> {
    let holder = reservation.holder.as_deref()?;
    Some(format!("{holder}\n{}", reservation.key()?.key).into())
}

//! Applies events, and checks that an event that was read from a journal fits.

use std::rc::Rc;

use super::event::EventError;
use super::{
    Booking, Event, Ids, Interval, Inventory, KeepAlive, Number, Reservation, ResourceId, Schedule,
    SessionId, SortedList,
};
use crate::limits::NUMBER_MAX;
use crate::time::Time;

impl Inventory {
    /// Applies an event, live or on replay. All changes that survive a restart happen here.
    ///
    /// The event must fit this inventory: live it comes from a decision on it, on replay it has
    /// passed [`Inventory::admits`].
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Numbered { last } => self.last_number = self.last_number.max(last),
            Event::Added { name } => self.add_resource(&name),
            Event::Removed { id } => {
                self.end_waits_for(id);
                self.names.remove(id);
                self.schedules[id.index()] = Schedule::Removed;
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

    fn add_resource(&mut self, name: &str) {
        let id = self.names.add(name);
        debug_assert_eq!(id.index(), self.schedules.len());
        // Doubling would leave half of the table unused.
        if self.schedules.len() == self.schedules.capacity() {
            self.schedules.reserve_exact(16 + self.schedules.len() / 8);
        }
        self.schedules.push(Schedule::Free);
        self.queue.add(id);
    }

    /// Adds a reservation to all indexes.
    #[inline]
    pub(super) fn insert(&mut self, new: Rc<Reservation>) {
        let number = new.number;
        let booking = Booking { from: new.from, until: new.until, number };
        for id in new.targets() {
            self.schedules[id.index()].insert(booking);
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

    /// Adds the optional parts of a reservation to their indexes.
    fn insert_details(&mut self, new: &Reservation) {
        if let Some(session) = new.session() {
            self.owners(new.keep_alive().is_some()).insert((session, new.number));
        }
        if let Some(key) = new.key_index() {
            self.keys.insert(key, new.number);
        }
    }

    /// Moves the end of a reservation. A reservation that was bound to a connection is bound to it
    /// no longer.
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
            self.schedules[id.index()].set_until(reservation.from, until);
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

    /// Takes resources out of a reservation, which ends if none is left.
    fn release(&mut self, number: Number, targets: &[ResourceId]) {
        // Usually all resources are released, and a single search is enough.
        let Some(mut old) = self.reservations.remove(&number) else { return };
        if targets != old.targets() {
            let mut left = Ids::from_slice(old.targets());
            left.retain(|id| !targets.contains(id));
            if !left.is_empty() {
                self.free_schedules(&old, targets);
                Rc::make_mut(&mut old).set_targets(&left);
                return self.reservations.insert(old);
            }
        }
        self.forget(&old);
    }

    /// Ends a reservation.
    pub(super) fn end(&mut self, number: Number) {
        if let Some(old) = self.reservations.remove(&number) {
            self.forget(&old);
        }
    }

    /// Removes a reservation from all other indexes.
    #[inline]
    fn forget(&mut self, old: &Reservation) {
        self.free_schedules(old, old.targets());
        if !old.until.is_never() {
            self.forget_end(old.lease, (old.until, old.number));
        }
        if old.details.is_some() {
            self.forget_details(old);
        }
    }

    /// Removes the bookings of a reservation from some of its resources.
    #[inline]
    fn free_schedules(&mut self, old: &Reservation, targets: &[ResourceId]) {
        let Reservation { number, from, until, .. } = *old;
        for id in targets {
            self.schedules[id.index()].remove(from);
            self.queue.free(*id, Booking { from, until, number });
        }
    }

    fn forget_details(&mut self, old: &Reservation) {
        if let Some(session) = old.session() {
            self.owners(old.keep_alive().is_some()).remove(&(session, old.number));
        }
        if let Some(keep_alive) = old.keep_alive() {
            self.keep_alives.remove(&(keep_alive.deadline, old.number));
        }
        if let Some(key) = old.key_index() {
            self.keys.remove(&key);
        }
    }

    /// Moves a `hasta=salir` reservation to another connection, from which a retry with its key
    /// came. This is not an event, because no connection outlives the server.
    pub fn rebind(&mut self, number: Number, session: SessionId) {
        let Some(reservation) = self.reservations.get_mut(&number) else { return };
        // A reservation that is bound to no connection stays so.
        let Some(old) = reservation.session() else { return };
        let is_kept_alive = reservation.keep_alive().is_some();
        Rc::make_mut(reservation).detail(|details| details.session = Some(session));
        let owners = self.owners(is_kept_alive);
        owners.remove(&(old, number));
        owners.insert((session, number));
    }

    /// Returns the index from connections to their `hasta=salir` reservations.
    fn owners(&mut self, is_kept_alive: bool) -> &mut SortedList<(SessionId, Number)> {
        if is_kept_alive { &mut self.kept_alive_by } else { &mut self.bound }
    }

    /// Returns the index of ends for leases or for all other reservations.
    pub(super) fn ends_of(&mut self, lease: bool) -> &mut SortedList<(Time, Number)> {
        if lease { &mut self.leases } else { &mut self.ends }
    }

    /// Returns the first booking that prevents a reservation from lasting until `until`, with its
    /// resource.
    pub(super) fn obstacle_to_extension(
        &self,
        old: &Reservation,
        until: Time,
    ) -> Option<(ResourceId, Booking)> {
        if until <= old.until {
            return None;
        }
        let extension = Interval { from: old.until, until };
        let ids = old.targets().iter();
        let all = ids.filter_map(|id| Some((*id, self.overlap(*id, extension)?)));
        all.min_by_key(|(_, booking)| booking.from)
    }

    /// Checks that an event that was read fits this inventory.
    pub fn admits(&self, event: &Event) -> Result<(), EventError> {
        let name = |id: ResourceId| self.names.texts().name(id).to_owned();
        match event {
            Event::Numbered { last } => check_number(*last),
            Event::Added { name } => match self.names.find(name) {
                None => Ok(()),
                Some(_) => Err(EventError::ResourceExists(name.clone())),
            },
            Event::Removed { id } if self.is_reserved(*id) => {
                Err(EventError::ResourceReserved(name(*id)))
            }
            Event::Removed { .. } => Ok(()),
            Event::Reserved(new) => self.admits_reservation(new),
            Event::Cancelled { number, targets } => match self.reservations.get(number) {
                Some(old) if old.holds_each_once(targets) => Ok(()),
                _ => Err(EventError::NotHeld(*number)),
            },
            Event::Renewed { number, until, .. } => match self.reservations.get(number) {
                None => Err(EventError::NoReservation(*number)),
                Some(old) if *until <= old.from => Err(EventError::EndsBeforeStart(*number)),
                Some(old) => match self.obstacle_to_extension(old, *until) {
                    None => Ok(()),
                    Some((_, Booking { number: other, .. })) => {
                        Err(EventError::Overlap { number: *number, other, name: None })
                    }
                },
            },
            Event::Expired { number } if self.reservations.contains_key(number) => Ok(()),
            Event::Expired { number } => Err(EventError::NoReservation(*number)),
        }
    }

    fn admits_reservation(&self, new: &Reservation) -> Result<(), EventError> {
        let number = new.number;
        if new.from >= new.until {
            return Err(EventError::EndsBeforeStart(number));
        }
        check_number(number)?;
        if number <= self.last_number {
            return Err(EventError::NumberIssued(number));
        }
        if new.key_index().is_some_and(|key| self.keys.contains_key(&key)) {
            return Err(EventError::KeyUsed(number));
        }
        for (at, id) in new.targets().iter().enumerate() {
            let name = || self.names.texts().name(*id).to_owned();
            if let Some(Booking { number: other, .. }) = self.overlap(*id, new.interval()) {
                return Err(EventError::Overlap { number, other, name: Some(name()) });
            }
            if new.targets()[..at].contains(id) {
                return Err(EventError::Duplicate { number, name: name() });
            }
        }
        Ok(())
    }
}

/// Checks that other numbers can be issued after this one.
fn check_number(number: Number) -> Result<(), EventError> {
    match number.0 {
        ..=NUMBER_MAX => Ok(()),
        _ => Err(EventError::NumberTooHigh(number)),
    }
}

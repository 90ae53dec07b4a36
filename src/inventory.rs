//! The inventory: resources, their reservations, and the rules.
//!
//! Everything here is pure. Time is an argument, nothing is read or written elsewhere, and the same
//! events give the same inventory, live and on replay. The rules decide on a command without
//! changing anything. They return an [`Event`] or a [`Refusal`], and [`Inventory::apply`] applies
//! the event.
//!
//! Invariants, which [`Inventory::check`] verifies:
//! - the reservations of one resource do not overlap;
//! - the indexes (`schedules`, `ends`, `leases`, `bound`, `keys`) agree with `reservations`;
//! - a number is never issued twice, and events are counted without gaps.

mod apply;
mod check;
mod compaction;
pub mod event;
mod ids;
mod interval;
mod keep_alive;
pub mod names;
mod passing;
pub mod pattern;
mod placement;
pub mod queue;
mod refusal;
mod request;
mod reservation;
mod reset;
mod rules;
mod schedule;
mod sorted_list;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::time::{MonotonicMs, Time};
use compaction::IdCompaction;
use names::Names;
use passing::Backlog;
use queue::Queue;
use schedule::Schedule;
use sorted_list::SortedList;

pub use event::Event;
pub use ids::{Number, Origin, ResourceId, SessionId};
pub use interval::{End, Interval, Start, When, WhenError};
pub use keep_alive::KeepAlive;
pub use placement::{Candidates, Earliest, NextFit, Target};
pub use refusal::{Busy, Refusal};
pub use request::{Cancel, Principal, Request, Selector};
pub use reservation::{Details, IdempotencyKey, Ids, Reservation};
pub use rules::{Grant, Released, cancellations};
pub use schedule::Booking;

/// The way in which a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It sent `SALIR`. All reservations bound to it end.
    Quit,
    /// It was lost. Reservations that it keeps alive live on until their deadline.
    Lost,
}

/// The next instants at which something becomes due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deadlines {
    /// By the wall clock.
    pub dated: Option<Time>,
    /// By the monotonic clock; see [`ClockReading`](crate::time::ClockReading).
    pub monotonic: Option<Time>,
}

/// The maximal size of an inventory.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub resources: u32,
    pub reservations: u32,
}

/// The state of the server. The module's documentation lists its invariants.
#[derive(Debug)]
pub struct Inventory {
    names: Names,
    /// The bookings of each resource, by [`ResourceId`].
    schedules: Vec<Schedule>,
    reservations: SortedList<Rc<Reservation>>,
    /// The known ends of reservations that are not leases.
    ends: SortedList<(Time, Number)>,
    /// The ends of leases, by the monotonic clock.
    leases: SortedList<(Time, Number)>,
    /// `hasta=salir` reservations by connection.
    bound: SortedList<(SessionId, Number)>,
    /// Reservations that their connection keeps alive, which `bound` does not list.
    kept_alive_by: SortedList<(SessionId, Number)>,
    /// The deadlines of reservations that are kept alive.
    keep_alives: SortedList<(MonotonicMs, Number)>,
    /// The number of resources that are about to be added and count against the capacity already.
    promised: usize,
    /// The reading of the monotonic clock in this turn.
    monotonic: MonotonicMs,
    /// Idempotency keys, by [`Reservation::key_index`].
    keys: HashMap<Box<str>, Number>,
    queue: Queue,
    backlog: Backlog,
    compaction: Option<IdCompaction>,
    last_number: Number,
    last_event: u64,
    capacity: Capacity,
    /// See [`Inventory::take_work`]. Not part of the state.
    work: Cell<u64>,
}

impl Inventory {
    /// Creates an empty inventory.
    pub fn new(capacity: Capacity) -> Inventory {
        Inventory {
            names: Names::default(),
            schedules: Vec::new(),
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
            compaction: None,
            last_number: Number(0),
            last_event: 0,
            capacity,
            work: Cell::new(0),
        }
    }

    /// Returns the work since the last call and resets it. A unit of work is one name (16 bytes of
    /// a long one) or booking that was looked at.
    pub fn take_work(&self) -> u64 {
        self.work.take()
    }

    /// Returns the work since the last [`Inventory::take_work`].
    pub fn work(&self) -> u64 {
        self.work.get()
    }

    /// Adds to the work.
    pub fn add_work(&self, units: usize) {
        self.work.set(self.work.get() + units as u64);
    }

    /// Returns the names of the resources.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Returns the live reservation with a number.
    pub fn reservation(&self, number: Number) -> Option<&Rc<Reservation>> {
        self.reservations.get(&number)
    }

    /// Returns the number of reservations in force or ahead.
    pub fn reservation_count(&self) -> usize {
        self.reservations.len()
    }

    /// Returns whether it has the maximum of reservations.
    pub fn is_full(&self) -> bool {
        self.reservations.len() >= self.capacity.reservations as usize
    }

    /// Returns the last confirmation number that was issued; 0 before the first.
    pub fn last_number(&self) -> Number {
        self.last_number
    }

    /// Returns the number of the last event; 0 before the first.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }

    /// Continues the count of events after a snapshot.
    pub fn set_last_event(&mut self, number: u64) {
        self.last_event = number;
    }

    /// Returns whether a resource has a reservation, in force or ahead.
    fn is_reserved(&self, id: ResourceId) -> bool {
        !matches!(self.schedules[id.index()], Schedule::Free | Schedule::Removed)
    }

    /// Returns whether a resource exists and has not been removed.
    pub fn is_live(&self, id: ResourceId) -> bool {
        let schedule = self.schedules.get(id.index());
        schedule.is_some_and(|schedule| !matches!(schedule, Schedule::Removed))
    }

    /// Iterates over the live resources in inventory order.
    fn ids(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.ids_from(ResourceId(0))
    }

    /// Iterates over the live resources from an id on.
    fn ids_from(&self, first: ResourceId) -> impl Iterator<Item = ResourceId> + '_ {
        let rest = self.schedules.get(first.index()..).unwrap_or_default();
        let live = |(schedule, _): &(&Schedule, u32)| !matches!(schedule, Schedule::Removed);
        rest.iter().zip(first.0..).filter(live).map(|(_, id)| ResourceId(id))
    }

    /// Returns the first live resource from an id on.
    pub fn next_resource(&self, from: ResourceId) -> Option<ResourceId> {
        self.ids_from(from).next()
    }

    /// Returns the oldest reservation with a number over `after`.
    pub fn next_reservation(&self, after: Number) -> Option<&Rc<Reservation>> {
        self.reservations.from(after.next()).next()
    }

    /// Returns up to `most` reservations that end with a connection that ended this way, oldest
    /// first.
    pub fn bound_to(&self, session: SessionId, ending: Ending, most: usize) -> Vec<Number> {
        let kept_alive = matches!(ending, Ending::Quit).then_some(&self.kept_alive_by);
        let sets = [Some(&self.bound), kept_alive].into_iter().flatten();
        sets.flat_map(|set| owned_by(set, session)).take(most).collect()
    }

    /// Returns whether a connection has `hasta=salir` reservations.
    pub fn has_bound(&self, session: SessionId) -> bool {
        [&self.bound, &self.kept_alive_by]
            .into_iter()
            .any(|set| owned_by(set, session).next().is_some())
    }

    /// Sets the number of resources that are about to be added, so that nobody else can take their
    /// share of the capacity.
    pub fn promise_resources(&mut self, count: usize) {
        self.promised = count;
    }
}

fn owned_by(
    set: &SortedList<(SessionId, Number)>,
    session: SessionId,
) -> impl Iterator<Item = Number> {
    let all = set.from((session, Number(0))).take_while(move |(owner, _)| *owner == session);
    all.map(|(_, number)| *number)
}

//! The bookings of one resource, in order.

use std::slice;

use super::sorted_list::SortedList;
use super::{Interval, Number};
use crate::time::Time;

/// A reservation of one resource: its interval and its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Booking {
    pub from: Time,
    pub until: Time,
    pub number: Number,
}

impl Booking {
    /// Returns its interval.
    pub fn interval(&self) -> Interval {
        Interval { from: self.from, until: self.until }
    }
}

/// The bookings of one resource, by start. Most resources have none or one.
#[derive(Debug)]
pub(super) enum Schedule {
    /// The resource was removed.
    Removed,
    Free,
    One(Booking),
    /// Up to [`FEW`], in one vector.
    Few(Vec<Booking>),
    Many(Box<SortedList<Booking>>),
}

/// The most bookings that are kept in one vector. An insertion or removal moves all that follow.
const FEW: usize = 64;

impl Schedule {
    /// Returns the first booking that overlaps an interval.
    ///
    /// Bookings do not overlap each other. Of those that begin before the interval or with it, only
    /// the last one can reach into it.
    #[inline]
    pub fn first_overlap(&self, interval: Interval) -> Option<Booking> {
        let from = interval.from;
        let overlaps = |booking: &&Booking| booking.interval().overlaps(interval);
        let found = match self {
            Schedule::Many(many) => {
                let before = many.last_up_to(from).filter(overlaps);
                before.or_else(|| many.from(from).next().filter(overlaps))
            }
            few => {
                let few = few.as_slice();
                let ahead = match few.last() {
                    // Usually the interval begins after all bookings have begun.
                    Some(last) if last.from <= from => few.len(),
                    _ => few.partition_point(|booking| booking.from <= from),
                };
                few[ahead.saturating_sub(1)..].iter().take(2).find(overlaps)
            }
        };
        found.copied()
    }

    /// Returns the number of bookings.
    pub fn len(&self) -> usize {
        match self {
            Schedule::Many(many) => many.len(),
            few => few.as_slice().len(),
        }
    }

    /// Iterates over the bookings by start.
    pub fn iter(&self) -> impl Iterator<Item = &Booking> {
        let many = match self {
            Schedule::Many(many) => Some(many.iter()),
            _ => None,
        };
        self.as_slice().iter().chain(many.into_iter().flatten())
    }

    /// Returns the bookings, or none for [`Schedule::Many`].
    fn as_slice(&self) -> &[Booking] {
        match self {
            Schedule::Removed | Schedule::Free | Schedule::Many(_) => &[],
            Schedule::One(one) => slice::from_ref(one),
            Schedule::Few(few) => few,
        }
    }

    /// Adds a booking that overlaps no other.
    pub fn insert(&mut self, booking: Booking) {
        match self {
            Schedule::Removed => unreachable!("a removed resource cannot be reserved"),
            Schedule::Free => *self = Schedule::One(booking),
            Schedule::One(one) => {
                // Three, because a new reservation can reuse memory of that size when the vector
                // has outgrown it.
                let mut both = Vec::with_capacity(3);
                both.extend([*one, booking]);
                both.sort_unstable_by_key(|booking| booking.from);
                *self = Schedule::Few(both);
            }
            Schedule::Few(few) if few.len() < FEW => {
                if few.len() == few.capacity() {
                    few.reserve_exact(2 + few.len() / 8);
                }
                few.insert(few.partition_point(|other| other.from < booking.from), booking);
            }
            Schedule::Few(few) => {
                let mut many = Box::<SortedList<Booking>>::default();
                few.iter().chain([&booking]).for_each(|booking| many.insert(*booking));
                *self = Schedule::Many(many);
            }
            Schedule::Many(many) => many.insert(booking),
        }
    }

    /// Moves the end of the booking that starts at `from`.
    pub fn set_until(&mut self, from: Time, until: Time) {
        let booking = match self {
            Schedule::Removed | Schedule::Free => None,
            Schedule::One(one) => Some(one),
            Schedule::Few(few) => few.iter_mut().find(|booking| booking.from == from),
            Schedule::Many(many) => many.get_mut(&from),
        };
        if let Some(booking) = booking {
            booking.until = until;
        }
    }

    /// Removes the booking that starts at `from`.
    pub fn remove(&mut self, from: Time) {
        match self {
            Schedule::Removed | Schedule::Free | Schedule::One(_) => *self = Schedule::Free,
            Schedule::Few(few) => {
                few.retain(|booking| booking.from != from);
                if let [one] = few[..] {
                    *self = Schedule::One(one);
                }
            }
            Schedule::Many(many) => {
                many.remove(&from);
                // Well below the limit, so that it does not change form at every other booking.
                if many.len() <= FEW / 2 {
                    *self = Schedule::Few(many.iter().copied().collect());
                }
            }
        }
    }
}

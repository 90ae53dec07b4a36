//! The bookings of one resource, in order.

use std::slice;

use super::Number;
use super::runs::SortedList;
use crate::time::Time;

/// A reservation as one resource sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Booking {
    pub from: Time,
    pub until: Time,
    pub number: Number,
}

impl Booking {
    fn overlaps(&self, from: Time, until: Time) -> bool {
        self.from < until && from < self.until
    }
}

/// The bookings of one resource, by start. Most have none or one.
#[derive(Debug)]
pub(super) enum Schedule {
    /// The resource was taken out.
    Gone,
    Free,
    One(Booking),
    /// Up to [`FEW`] in one piece.
    Few(Vec<Booking>),
    Many(Box<SortedList<Booking>>),
}

/// More are not moved along when one comes or goes in the middle.
const FEW: usize = 64;

impl Schedule {
    /// The first booking that overlaps `[from, until)`.
    ///
    /// Bookings do not overlap, so at most one of those that have started at
    /// `from` reaches into the interval.
    pub fn first_overlap(&self, from: Time, until: Time) -> Option<Booking> {
        let overlaps = |booking: &&Booking| booking.overlaps(from, until);
        let found = match self {
            Schedule::Many(many) => {
                let before = many.last_up_to(from).filter(overlaps);
                before.or_else(|| many.from(from).next().filter(overlaps))
            }
            few => {
                let few = few.as_slice();
                let ahead = match few.last() {
                    // Most often it comes after all others.
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

    /// All bookings in order of their start.
    pub fn iter(&self) -> impl Iterator<Item = &Booking> {
        let many = match self {
            Schedule::Many(many) => Some(many.iter()),
            _ => None,
        };
        self.as_slice().iter().chain(many.into_iter().flatten())
    }

    /// All bookings, but of [`Schedule::Many`] none.
    fn as_slice(&self) -> &[Booking] {
        match self {
            Schedule::Gone | Schedule::Free | Schedule::Many(_) => &[],
            Schedule::One(one) => slice::from_ref(one),
            Schedule::Few(few) => few,
        }
    }

    pub fn insert(&mut self, booking: Booking) {
        match self {
            Schedule::Gone => unreachable!("a resource that is gone cannot be reserved"),
            Schedule::Free => *self = Schedule::One(booking),
            Schedule::One(one) => {
                // What a list of three leaves behind when it grows fits a
                // reservation.
                let mut both = Vec::with_capacity(3);
                both.extend([*one, booking]);
                both.sort_unstable_by_key(|booking| booking.from);
                *self = Schedule::Few(both);
            }
            Schedule::Few(few) if few.len() < FEW => {
                if few.len() == few.capacity() {
                    few.reserve_exact(2 + few.len() / 8);
                }
                few.insert(place(few, booking.from), booking);
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
            Schedule::Gone | Schedule::Free => None,
            Schedule::One(one) => Some(one),
            Schedule::Few(few) => few.iter_mut().find(|booking| booking.from == from),
            Schedule::Many(many) => many.get_mut(&from),
        };
        if let Some(booking) = booking {
            booking.until = until;
        }
    }

    /// Takes out the booking that starts at `from`.
    pub fn remove(&mut self, from: Time) {
        match self {
            Schedule::Gone | Schedule::Free | Schedule::One(_) => *self = Schedule::Free,
            Schedule::Few(few) => {
                few.retain(|booking| booking.from != from);
                if let [one] = few[..] {
                    *self = Schedule::One(one);
                }
            }
            Schedule::Many(many) => {
                many.remove(&from);
                // Well below, so that one more and one less is no work.
                if many.len() <= FEW / 2 {
                    *self = Schedule::Few(many.iter().copied().collect());
                }
            }
        }
    }
}

/// Where a booking with that start comes among these.
fn place(few: &[Booking], from: Time) -> usize {
    few.partition_point(|booking| booking.from < from)
}

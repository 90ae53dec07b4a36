//! The reasons for which a request is refused, and the code of each on the wire. Their texts are in
//! `commands`, because the inventory knows no language.

use std::rc::Rc;

use super::queue::WaitLimit;
use super::{Booking, NextFit, Number, Reservation};
use crate::time::Time;

/// The reason why a request is refused.
#[derive(Debug)]
pub enum Refusal {
    /// No resource has this name.
    NoResource(String),
    /// No resource matches this pattern.
    NoMatch(String),
    /// This number was never issued.
    NeverIssued(Number),
    /// The reservation with this number is over.
    Expired(Number),
    /// The same resource or reservation is given twice.
    Duplicate(String),
    /// A resource is not free.
    Busy(Box<Busy>),
    /// A key needs a holder.
    KeyNeedsHolder,
    /// The key was used for another request, which was granted.
    KeyUsed { key: String, number: Number },
    /// The key was used for another request, which is waiting.
    KeyWaiting(String),
    /// The reservation belongs to somebody else. `what` is the number or name in the request.
    NotYours { what: String, number: Number, holder: String },
    /// The resource has no reservation.
    NotReserved(String),
    /// The name could mean any of these reservations, and more unless `is_all`.
    Several { name: String, numbers: Vec<Number>, is_all: bool },
    /// The resource has too many reservations to choose one by the name.
    TooManyToSearch(String),
    /// The reservation does not hold this resource.
    NotPartOf { number: Number, name: String },
    /// The renewal would overlap the next booking of a resource.
    NoExtension { number: Number, name: String, booking: Booking, next: Rc<Reservation> },
    /// The new end is not after the start.
    EndsTooEarly { number: Number, from: Time },
    /// The events after `asked` are no longer held, or have not happened yet.
    HistoryGone { asked: u64, floor: u64, last: u64 },
    /// A time is beyond the calendar.
    OutOfRange,
    /// The reservation starts later.
    NotYetActive { number: Number, from: Time },
    /// A resource has this name, or one with the same folded form.
    Exists { name: String, existing: String },
    /// The resource has a reservation.
    StillReserved { name: String, number: Number },
    /// The request has more patterns than may be matched with all names at a time.
    TooManyPatterns { patterns: usize, most: usize },
    /// A limit of waiting requests is reached.
    WaitLimitReached(WaitLimit),
    /// The server has the maximum of resources.
    TooManyResources(u32),
    /// The server has the maximum of reservations.
    TooManyReservations(u32),
}

impl Refusal {
    /// Returns its code on the wire.
    pub fn code(&self) -> u16 {
        match self {
            Refusal::Duplicate(_) | Refusal::EndsTooEarly { .. } | Refusal::OutOfRange => 400,
            Refusal::KeyNeedsHolder => 401,
            Refusal::NotYours { .. } => 403,
            Refusal::NoResource(_)
            | Refusal::NoMatch(_)
            | Refusal::NeverIssued(_)
            | Refusal::NotReserved(_)
            | Refusal::NotPartOf { .. } => 404,
            Refusal::Busy(_)
            | Refusal::KeyUsed { .. }
            | Refusal::KeyWaiting(_)
            | Refusal::Several { .. }
            | Refusal::TooManyToSearch(_)
            | Refusal::NotYetActive { .. }
            | Refusal::NoExtension { .. }
            | Refusal::Exists { .. }
            | Refusal::StillReserved { .. } => 409,
            Refusal::Expired(_) | Refusal::HistoryGone { .. } => 410,
            Refusal::TooManyPatterns { .. } | Refusal::WaitLimitReached(_) => 429,
            Refusal::TooManyResources(_) | Refusal::TooManyReservations(_) => 503,
        }
    }

    /// Returns the refusal of a change to a reservation of another holder.
    pub fn not_yours(what: String, reservation: &Reservation) -> Refusal {
        let holder = reservation.holder.as_deref().unwrap_or("-").to_owned();
        Refusal::NotYours { what, number: reservation.number, holder }
    }
}

/// The booking that a request collides with, and the time at which the request would fit.
#[derive(Debug)]
pub struct Busy {
    /// The pattern, if no match of a pattern is free.
    pub pattern: Option<String>,
    /// The name of the resource, the booking in the way and its reservation. For a pattern, those
    /// of the match that is closest to being free; `None` if the request itself takes all matches.
    pub held: Option<(String, Booking, Rc<Reservation>)>,
    /// The start of the request.
    pub from: Time,
    /// Whether the request has no end. With an end it might fit.
    pub open: bool,
    pub fit: NextFit,
    /// The number of requests that wait for some of the same resources.
    pub queue: usize,
}

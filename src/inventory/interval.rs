//! Intervals of time, and how a request describes the one that it asks for.

use crate::time::{ClockReading, Time, TimeError, Zone};

/// A half-open interval, `[from, until)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    pub from: Time,
    /// [`Time::MAX`] if no end is known.
    pub until: Time,
}

impl Interval {
    /// All of time.
    pub const ALL: Interval = Interval { from: Time::MIN, until: Time::MAX };

    /// Returns the interval from `from` on, without a known end.
    pub fn starting_at(from: Time) -> Interval {
        Interval { from, until: Time::MAX }
    }

    /// Returns whether the two have an instant in common.
    pub fn overlaps(self, other: Interval) -> bool {
        self.from < other.until && other.from < self.until
    }

    /// Returns whether no end is known.
    pub fn is_open(self) -> bool {
        self.until.is_never()
    }
}

/// The end that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// When somebody cancels the reservation.
    Open,
    /// When the connection ends (`hasta=salir`).
    Quit,
    /// When the connection sends `SALIR`, or this many milliseconds after the last renewal
    /// (`hasta=salir por=D`).
    KeepAlive(i64),
    /// At an instant.
    Until(Time),
    /// This many milliseconds after the start.
    For(i64),
    /// At the first instant of the day that comes this many days after the start.
    Nights(u32),
}

/// The start that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// None was given: the instant of the grant.
    Default,
    /// The instant of the request (`desde=ahora`).
    Now,
    /// The instant of `desde=`.
    At(Time),
}

/// An interval as a request describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct When {
    pub start: Start,
    pub end: End,
}

/// The reason why a requested interval is invalid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WhenError {
    /// The end is not after the start.
    Backwards,
    /// The end has passed.
    Past,
    /// A time is beyond the calendar, or a day does not exist in the zone.
    Time(TimeError),
}

impl When {
    /// Returns the start of a grant at `now`.
    pub fn from(&self, now: Time) -> Time {
        match self.start {
            Start::Default | Start::Now => now,
            Start::At(time) => time,
        }
    }

    /// Returns the end for a start at `from`.
    pub fn until(&self, from: Time, zone: &Zone) -> Result<Time, TimeError> {
        match self.end {
            End::Open | End::Quit | End::KeepAlive(_) => Ok(Time::MAX),
            End::Until(until) => Ok(until),
            End::Nights(nights) => zone.night_end(from, nights),
            End::For(ms) => match from.plus_ms(ms) {
                until if until > Time::LATEST => Err(TimeError::OutOfRange),
                until => Ok(until),
            },
        }
    }

    /// Returns the interval of a grant at `now`. It is not empty and does not start before `now`: a
    /// start that has passed becomes `now`. The end is computed from the start as written.
    ///
    /// # Errors
    /// If the end has passed or is not after the start, or a time is beyond the calendar.
    pub fn interval(&self, now: ClockReading, zone: &Zone) -> Result<Interval, WhenError> {
        let from = self.from(now.wall);
        let counted_from = if self.is_lease() { now.monotonic } else { from };
        let until = self.until(counted_from, zone).map_err(WhenError::Time)?;
        if until <= now.wall {
            Err(WhenError::Past)
        } else if until <= from {
            Err(WhenError::Backwards)
        } else {
            Ok(Interval { from: from.max(now.wall), until })
        }
    }

    /// Returns whether it is a lease, which measures elapsed time from the grant on.
    pub fn is_lease(&self) -> bool {
        matches!((self.start, self.end), (Start::Default | Start::Now, End::For(_)))
    }
}

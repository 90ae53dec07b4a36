//! Instants, in milliseconds since 1970.

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
///
/// Invariant: either [`Time::MAX`], [`Time::MIN`], or in the years that can be printed, which are
/// 1970 to 9999 up to the offset of a zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Time(pub(super) i64);

impl Time {
    /// Later than every instant: the end of reservations without an end.
    pub const MAX: Time = Time(i64::MAX);
    /// Earlier than every instant.
    pub const MIN: Time = Time(i64::MIN);
    /// The last instant that a client or a file can name: the end of the year 9999.
    pub const LATEST: Time = Time(253_402_300_799_999);

    /// Returns the instant `ms` milliseconds after the epoch.
    pub const fn from_ms(ms: i64) -> Time {
        Time(ms)
    }

    /// Returns the milliseconds since the epoch.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Returns this instant moved by `ms`, limited to [`Time::MIN`] and [`Time::MAX`].
    pub const fn plus_ms(self, ms: i64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// Returns the first whole second that is not before this instant.
    pub const fn ceil_s(self) -> Time {
        match self.0.checked_add(999) {
            Some(ms) => Time(ms.div_euclid(1000) * 1000),
            None => self,
        }
    }

    /// Returns whether this is [`Time::MAX`].
    pub const fn is_never(self) -> bool {
        self.0 == i64::MAX
    }
}

//! Points of the system's monotonic clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point of the monotonic clock, in milliseconds since the machine was started.
///
/// It measures elapsed time, which includes the time that the machine sleeps. The clock cannot be
/// set, and is not related to the time of day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MonotonicMs(pub u64);

impl MonotonicMs {
    /// Later than every point, for deadlines that are not set.
    pub const MAX: MonotonicMs = MonotonicMs(u64::MAX);

    /// Reads the monotonic clock.
    #[inline]
    pub fn now() -> MonotonicMs {
        let now = clock_gettime(ClockId::Boottime);
        MonotonicMs(now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000)
    }

    /// Returns whether this is [`MonotonicMs::MAX`].
    pub const fn is_never(self) -> bool {
        self.0 == u64::MAX
    }

    /// Returns the point `ms` milliseconds later.
    pub fn plus_ms(self, ms: u64) -> MonotonicMs {
        MonotonicMs(self.0.saturating_add(ms))
    }

    /// Returns the time from here to `then`, zero if `then` has passed.
    pub fn until(self, then: MonotonicMs) -> Duration {
        Duration::from_millis(then.0.saturating_sub(self.0))
    }
}

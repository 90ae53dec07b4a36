//! The clock for the lifetime of a reservation, and a timer on it.

use std::io;
use std::ops::{Add, Sub};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// A time of `CLOCK_BOOTTIME`, which cannot be set and which includes the time that a host is
/// suspended. The clock of the server runs on while a laptop with the client is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
        BootTime(Duration::new(time.tv_sec.unsigned_abs(), nanoseconds))
    }

    pub fn from_millis(milliseconds: u64) -> Self {
        BootTime(Duration::from_millis(milliseconds))
    }

    pub fn as_millis(self) -> u128 {
        self.0.as_millis()
    }

    /// Returns the time from `earlier` until this time, or zero if it is in fact later.
    pub fn saturating_duration_since(self, earlier: BootTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = BootTime;

    /// Saturates, because the user may give a duration of any length.
    fn add(self, duration: Duration) -> BootTime {
        BootTime(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for BootTime {
    type Output = BootTime;

    /// Saturates at the time of the boot.
    fn sub(self, duration: Duration) -> BootTime {
        BootTime(self.0.saturating_sub(duration))
    }
}

/// A timer for a [`BootTime`]. The timeouts of `poll` do not include the time that the host is
/// suspended.
pub struct Timer(OwnedFd);

impl Timer {
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Timer(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// Makes the timer readable from this time on, which may have passed already. `None` disarms
    /// it.
    pub fn set(&self, at: Option<BootTime>) {
        // All zeros would disarm it.
        let at = at.map(|at| at.0.max(Duration::from_nanos(1))).unwrap_or_default();
        let it_value = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        // Cannot fail for a valid time.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

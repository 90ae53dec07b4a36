//! The server's clock, derived from the wall clock and the monotonic clock of the system.

use std::time::{SystemTime, UNIX_EPOCH};

use super::confirm::ForwardJump;
use super::{MonotonicMs, Time};
use crate::limits::CLOCK_FAR_MS;

/// The wall clock counts as set when it differs from elapsed time by at least this. A lease ends
/// too early or too late by less than this.
const STEP_MS: i64 = 500;

/// The server's time at one moment, as the wall clock gives it and as elapsed time gives it.
///
/// Invariant: `wall <= monotonic`. They differ only while the wall clock is behind a time that was
/// already shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockReading {
    /// The time to show and to log: the wall clock, but never earlier than a time that was already
    /// shown. It stands still while the wall clock is behind.
    pub wall: Time,
    /// The time that decides when lengths of time are over (`por=` from now on, `espera=`): `wall`
    /// as long as that advances, and `wall` plus the elapsed time while it stands still. This is an
    /// instant and not a [`MonotonicMs`].
    pub monotonic: Time,
}

impl ClockReading {
    /// Returns the reading of a clock that is not behind.
    pub const fn at(time: Time) -> ClockReading {
        ClockReading { wall: time, monotonic: time }
    }
}

/// The server's clock. Pure: [`read_clocks`] reads the system's clocks, and [`Clock::observe`]
/// takes their readings.
///
/// Its time never goes back. If the wall clock is set back, `wall` stands still until the wall
/// clock has reached it, and `monotonic` advances meanwhile. After that, [`Clock::take_step`]
/// returns by how much the wall clock was set in total, so that leases and waits, which measure
/// elapsed time, can be moved.
///
/// A wall clock that is more than [`CLOCK_FAR_MS`] ahead is not followed until it is confirmed.
/// Until then the time advances by elapsed time, so it is never later than the real time.
#[derive(Debug)]
pub struct Clock {
    /// The last reading, or the floor before the first one.
    now: ClockReading,
    /// The system's clocks at the last reading.
    observed: Option<(Time, MonotonicMs)>,
    /// The steps of the wall clock that [`Clock::take_step`] has not returned yet, in total.
    step_ms: i64,
    /// Set while the wall clock is far ahead and not confirmed.
    jump: Option<ForwardJump>,
    /// Whether the next reading is followed, however far ahead it is.
    is_confirmed: bool,
}

impl Clock {
    /// Returns a clock that never reads less than `floor`, the last time in the journal. If that is
    /// [`Time::MIN`], because the journal has no time, the first reading is followed.
    pub fn new(floor: Time) -> Clock {
        Clock {
            now: ClockReading::at(floor),
            observed: None,
            step_ms: 0,
            jump: None,
            is_confirmed: false,
        }
    }

    /// Returns the earliest time that the next reading can give; `None` if there is no limit.
    pub fn floor(&self) -> Option<Time> {
        (self.now.wall != Time::MIN).then_some(self.now.wall)
    }

    /// Returns the time, given the readings of the system's clocks. Called once per turn, so that
    /// everything in a turn happens at one time.
    #[inline]
    pub fn observe(&mut self, wall: Time, monotonic: MonotonicMs) -> ClockReading {
        let by_elapsed = match self.observed {
            // No time has elapsed since the floor, as far as is known.
            None => self.now.wall,
            Some((_, last)) => {
                self.now.monotonic.plus_ms(monotonic.0.saturating_sub(last.0).cast_signed())
            }
        };
        // The usual case, that the clock neither is nor was far ahead, is decided here without a
        // call.
        if wall > by_elapsed.plus_ms(CLOCK_FAR_MS) || self.jump.is_some() {
            self.jump = self.jump(wall.0.saturating_sub(by_elapsed.0), monotonic);
        }
        self.is_confirmed = false;
        let before = self.observed.replace((wall, monotonic));
        self.now = if self.jump.is_some() {
            ClockReading::at(by_elapsed)
        } else if wall < self.now.wall {
            ClockReading { wall: self.now.wall, monotonic: by_elapsed }
        } else {
            if before.is_some() {
                self.step_ms += wall.0 - by_elapsed.0;
            }
            ClockReading::at(wall)
        };
        self.now
    }

    /// Returns the jump that a reading belongs to, if it is so far ahead that it must not be
    /// followed yet.
    #[cold]
    fn jump(&self, ahead_ms: i64, monotonic: MonotonicMs) -> Option<ForwardJump> {
        if self.is_confirmed || self.now.wall == Time::MIN {
            return None;
        }
        ForwardJump::of(self.jump, ahead_ms, monotonic)
    }

    /// Confirms the wall clock. The next reading is followed, however far ahead it is.
    pub fn confirm(&mut self) {
        self.is_confirmed = true;
    }

    /// Returns whether the wall clock is far ahead and not confirmed.
    pub fn is_unconfirmed(&self) -> bool {
        self.jump.is_some()
    }

    /// Returns how far ahead the wall clock is, in milliseconds, while it is not confirmed;
    /// `None` when it is followed.
    pub fn unconfirmed_ms(&self) -> Option<i64> {
        let (wall, _) = self.observed.filter(|_| self.jump.is_some())?;
        Some(wall.0.saturating_sub(self.now.wall.0))
    }

    /// Returns by how much the wall clock was set since the last call, in milliseconds. Returns 0
    /// while the wall clock is behind. Steps of less than half a second add up until they reach it.
    pub fn take_step(&mut self) -> i64 {
        match self.step_ms {
            step_ms if step_ms.abs() < STEP_MS => 0,
            _ => std::mem::take(&mut self.step_ms),
        }
    }

    /// Returns how far the wall clock is behind a time that was already shown, in milliseconds;
    /// usually 0.
    pub fn behind_ms(&self) -> i64 {
        self.observed.map_or(0, |(wall, _)| self.now.wall.0.saturating_sub(wall.0).max(0))
    }

    /// Returns the reading of the wall clock at the moment when [`ClockReading::monotonic`] reaches
    /// `monotonic`, if the wall clock is not set before.
    pub fn wall_at(&self, monotonic: Time) -> Time {
        let (wall, _) = self.observed.unwrap_or((self.now.wall, MonotonicMs(0)));
        monotonic.plus_ms(wall.0.saturating_sub(self.now.monotonic.0))
    }

    /// Returns the reading of the wall clock at the moment when [`ClockReading::wall`] reaches
    /// `time`, if the wall clock is not set before.
    pub fn wall_at_time(&self, time: Time) -> Time {
        match self.jump {
            None => time,
            // The time advances by elapsed time.
            Some(_) => self.wall_at(time),
        }
    }
}

/// Reads the wall clock and the monotonic clock at one moment.
pub fn read_clocks() -> (Time, MonotonicMs) {
    const AT_ONCE_MS: u64 = 10;
    loop {
        let before = MonotonicMs::now();
        let wall = read_wall();
        let after = MonotonicMs::now();
        // A delay between the readings would look like a step of the clock.
        if after.0 - before.0 <= AT_ONCE_MS {
            return (wall, after);
        }
    }
}

/// Returns how far the kernel's wall clock is ahead of the one that this process is shown, in
/// milliseconds. They differ only under a tool such as libfaketime. The kernel's timers follow the
/// kernel's clock.
pub fn skew_ms() -> i64 {
    use rustix::time::{ClockId, clock_gettime};
    const SAME_MS: i64 = 100;
    let kernel = clock_gettime(ClockId::Realtime);
    let kernel_ms = kernel.tv_sec * 1000 + kernel.tv_nsec / 1_000_000;
    match kernel_ms - read_wall().0 {
        skew_ms if skew_ms.abs() < SAME_MS => 0,
        skew_ms => skew_ms,
    }
}

/// Reads the wall clock, truncated to milliseconds.
#[inline]
fn read_wall() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time(i64::try_from(since.as_millis()).unwrap_or(0)),
        Err(_) => Time(0),
    }
}

/// Returns the earlier of two instants, either of which may be missing.
///
/// Each turn computes a dozen of these, and a chain of iterators costs several times as much.
#[inline]
pub fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the readings of a clock whose floor is 1,000,000, for pairs of wall and monotonic
    /// readings: both times, how far the wall clock is behind, and by how much it was set.
    fn readings(clocks: &[(i64, u64)]) -> Vec<(i64, i64, i64, i64)> {
        let mut clock = Clock::new(Time(1_000_000));
        let readings = clocks.iter().map(|(wall, monotonic)| {
            let now = clock.observe(Time(*wall), MonotonicMs(*monotonic));
            assert!(now.monotonic >= now.wall);
            (now.wall.0, now.monotonic.0, clock.behind_ms(), clock.take_step())
        });
        readings.collect()
    }

    #[test]
    fn time_follows_the_wall_clock() {
        assert_eq!(
            readings(&[(1_000_500, 7), (1_000_600, 107), (1_090_600, 90_107)]),
            [
                (1_000_500, 1_000_500, 0, 0),
                (1_000_600, 1_000_600, 0, 0),
                (1_090_600, 1_090_600, 0, 0)
            ]
        );
    }

    /// The first reading may be behind the journal, too.
    #[test]
    fn time_stands_still_while_the_wall_clock_is_behind_and_elapsed_time_does_not() {
        assert_eq!(
            readings(&[(400_000, 0), (405_000, 5_000), (1_001_000, 601_000)]),
            [
                (1_000_000, 1_000_000, 600_000, 0),
                (1_000_000, 1_005_000, 595_000, 0),
                // 600 s have elapsed while the time stood still.
                (1_001_000, 1_001_000, 0, -600_000),
            ]
        );
    }

    #[test]
    fn wall_clock_that_is_set_ahead_is_followed_and_the_step_is_returned() {
        assert_eq!(
            readings(&[(2_000_000, 0), (5_601_000, 1_000), (5_602_000, 2_000)]),
            [
                (2_000_000, 2_000_000, 0, 0),
                (5_601_000, 5_601_000, 0, 3_600_000),
                (5_602_000, 5_602_000, 0, 0),
            ]
        );
    }

    #[test]
    fn clock_that_begins_in_1970_is_behind_until_the_network_sets_it() {
        let floor = 1_764_000_000_000;
        let mut clock = Clock::new(Time(floor));
        let at_boot = clock.observe(Time(9_000), MonotonicMs(9_000));
        assert_eq!((at_boot, clock.behind_ms()), (ClockReading::at(Time(floor)), floor - 9_000));
        let later = clock.observe(Time(129_000), MonotonicMs(129_000));
        assert_eq!((later.wall.0, later.monotonic.0), (floor, floor + 120_000));
        assert_eq!(clock.take_step(), 0);
        let set = clock.observe(Time(floor + 900_000), MonotonicMs(130_000));
        assert_eq!((set, clock.behind_ms()), (ClockReading::at(Time(floor + 900_000)), 0));
        assert_eq!(clock.take_step(), 900_000 - 121_000);
    }

    #[test]
    fn small_steps_add_up_until_they_are_returned() {
        let mut clock = Clock::new(Time(0));
        let mut steps = Vec::new();
        for at in 0..12 {
            clock.observe(Time(10_000 + 1_100 * at), MonotonicMs(1_000 * at.cast_unsigned()));
            steps.push(clock.take_step());
        }
        assert_eq!(steps, [0, 0, 0, 0, 0, 500, 0, 0, 0, 0, 500, 0]);
    }

    #[test]
    fn sleep_of_the_machine_is_no_step_of_the_clock() {
        let slept = readings(&[(2_000_000, 5_000), (38_000_000, 36_005_000)]);
        assert_eq!(slept[1], (38_000_000, 38_000_000, 0, 0));
    }

    #[test]
    fn wall_clock_at_a_later_monotonic_time_is_predicted() {
        let mut clock = Clock::new(Time(1_000_000));
        clock.observe(Time(1_200_000), MonotonicMs(0));
        assert_eq!(clock.wall_at(Time(1_260_000)), Time(1_260_000));
        // Set back by an hour, and ten seconds on.
        let now = clock.observe(Time(1_200_000 - 3_600_000 + 10_000), MonotonicMs(10_000));
        assert_eq!(now, ClockReading { wall: Time(1_200_000), monotonic: Time(1_210_000) });
        assert_eq!(clock.wall_at(Time(1_260_000)), Time(1_260_000 - 3_600_000));
    }

    #[test]
    fn system_clocks_do_not_go_back() {
        let (wall, monotonic) = read_clocks();
        let (later, next) = read_clocks();
        assert!(wall.0 > 0 && later >= wall && next >= monotonic);
    }
}

//! The server's clock. Only this module reads the system's clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Time;
use super::confirm::Leap;
use crate::limits::CLOCK_FAR_MS;

/// A time as shown to clients and as used for measuring.
///
/// Invariant: `steady` is never before `time`, and is after it only while the wall clock is behind
/// a time that was already shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockReading {
    /// The wall clock, but never before a time that was already shown.
    pub wall: Time,
    /// The same on a clock that does not stop while `time` waits for a wall
    /// clock that was set back. What counts elapsed time (`por=` from now on,
    /// `espera=`) ends by this one.
    pub monotonic: Time,
}

impl ClockReading {
    /// A moment at which all is well with the clock.
    pub const fn at(time: Time) -> ClockReading {
        ClockReading { wall: time, monotonic: time }
    }
}

/// The server's clock, derived from two clocks of the system. Pure; [`read`] reads the system's
/// clocks.
///
/// Time never runs backwards. When the wall clock is set back, time stands still at the last value
/// until the wall clock reaches it. Elapsed time meanwhile goes on, on a clock that cannot be set.
/// When the wall clock is no longer behind, [`Clock::take_step`] returns by how much it was set in
/// total, so that leases and waits, which measure elapsed time, can be moved.
///
/// A wall clock that is more than [`CLOCK_FAR_MS`](crate::limits::CLOCK_FAR_MS) ahead is
/// not followed until it is confirmed. Until then time runs on from where it was, by
/// elapsed time, so it is never later than the real time.
#[derive(Debug)]
pub struct Clock {
    now: ClockReading,
    seen: Option<(Time, MonotonicMs)>,
    step_ms: i64,
    /// Set while the wall clock is far ahead and not confirmed.
    leap: Option<Leap>,
    /// Whether the next reading is followed, however far ahead it is.
    is_confirmed: bool,
}

/// The wall clock counts as set when it is off by more than this against elapsed time. A lease ends
/// too early or late by no more than that.
const STEP_MS: i64 = 500;

impl Clock {
    /// Returns a clock that never reads less than `floor`, the last time in the journal. If that is
    /// [`Time::MIN`], because the journal has no time, the first reading is followed.
    pub fn new(floor: Time) -> Clock {
        Clock {
            now: ClockReading::at(floor),
            seen: None,
            step_ms: 0,
            leap: None,
            is_confirmed: false,
        }
    }

    /// Returns the earliest time that the next reading can give; `None` if there is no limit.
    pub fn floor(&self) -> Option<Time> {
        (self.now.wall != Time::MIN).then_some(self.now.wall)
    }

    /// Returns the time when the wall clock reads `wall` and the monotonic one `tick`. Called once
    /// per turn, so that everything in a turn happens at one time.
    pub fn observe(&mut self, wall: Time, tick: MonotonicMs) -> ClockReading {
        let steady = match self.seen {
            // Nothing is known about the past, so both clocks start equal.
            None => self.now.wall,
            Some((_, last)) => {
                self.now.monotonic.plus_ms(tick.0.saturating_sub(last.0).cast_signed())
            }
        };
        // Once a turn: not far ahead, and was not.
        if wall > steady.plus_ms(CLOCK_FAR_MS) || self.leap.is_some() {
            self.leap = self.leap(wall.0.saturating_sub(steady.0), tick);
        }
        self.is_confirmed = false;
        let seen = self.seen.replace((wall, tick));
        self.now = if self.leap.is_some() {
            ClockReading::at(steady)
        } else if wall < self.now.wall {
            ClockReading { wall: self.now.wall, monotonic: steady }
        } else {
            if seen.is_some() {
                self.step_ms += wall.0 - steady.0;
            }
            ClockReading::at(wall)
        };
        self.now
    }

    /// Returns the leap that a reading belongs to, if it is so far ahead that it must not be
    /// followed yet.
    #[cold]
    fn leap(&self, ahead_ms: i64, tick: MonotonicMs) -> Option<Leap> {
        if self.is_confirmed || self.now.wall == Time::MIN {
            return None;
        }
        Leap::of(self.leap, ahead_ms, tick)
    }

    /// Confirms the wall clock. The next reading is followed, however far ahead it is.
    pub fn confirm(&mut self) {
        self.is_confirmed = true;
    }

    /// Returns whether the wall clock is far ahead and not confirmed.
    pub fn is_unconfirmed(&self) -> bool {
        self.leap.is_some()
    }

    /// Returns how far ahead the wall clock is, in milliseconds, while it is not confirmed;
    /// `None` when it is followed.
    pub fn unconfirmed_ms(&self) -> Option<i64> {
        let (wall, _) = self.seen.filter(|_| self.leap.is_some())?;
        Some(wall.0.saturating_sub(self.now.wall.0))
    }

    /// By how much the wall clock was set since the last call, in
    /// milliseconds, as far as time goes on after it; 0 for less than half a
    /// second, which is kept for the next time.
    pub fn take_step(&mut self) -> i64 {
        match self.step_ms {
            step_ms if step_ms.abs() < STEP_MS => 0,
            _ => std::mem::take(&mut self.step_ms),
        }
    }

    /// Returns how far the wall clock is behind a time that was already shown, in milliseconds;
    /// usually 0.
    pub fn behind_ms(&self) -> i64 {
        self.seen.map_or(0, |(wall, _)| self.now.wall.0.saturating_sub(wall.0).max(0))
    }

    /// Returns what the wall clock will read at a monotonic time, if it is not set before.
    pub fn wall_at(&self, steady: Time) -> Time {
        let (wall, _) = self.seen.unwrap_or((self.now.wall, MonotonicMs(0)));
        steady.plus_ms(wall.0.saturating_sub(self.now.monotonic.0))
    }

    /// Returns what the wall clock will read at `time` if nobody sets it before.
    pub fn wall_at_time(&self, time: Time) -> Time {
        match self.leap {
            None => time,
            // Time advances with the monotonic clock.
            Some(_) => self.wall_at(time),
        }
    }
}

/// Reads the wall clock and the steady one, at one moment.
pub fn read() -> (Time, MonotonicMs) {
    const AT_ONCE_MS: u64 = 10;
    loop {
        let before = tick();
        let wall = wall();
        let after = tick();
        // A delay between the readings would look like a step of the clock.
        if after.0 - before.0 <= AT_ONCE_MS {
            return (wall, after);
        }
    }
}

/// How far the kernel's wall clock is ahead of the one that the program is
/// shown, in milliseconds: 0 but where somebody lets it run at another time
/// than the machine (libfaketime). The kernel's timers go by the kernel's.
pub fn skew_ms() -> i64 {
    use rustix::time::{ClockId, clock_gettime};
    const SAME_MS: i64 = 100;
    let kernel = clock_gettime(ClockId::Realtime);
    let kernel_ms = kernel.tv_sec * 1000 + kernel.tv_nsec / 1_000_000;
    match kernel_ms - wall().0 {
        skew_ms if skew_ms.abs() < SAME_MS => 0,
        skew_ms => skew_ms,
    }
}

/// The wall clock, cut to milliseconds.
fn wall() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time(i64::try_from(since.as_millis()).unwrap_or(0)),
        Err(_) => Time(0),
    }
}

/// Returns the earlier of two instants that may both be missing.
///
/// Every turn asks for a dozen of these, and a chain of iterators costs several times as much.
#[inline]
pub fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A point of the steady clock, in milliseconds since the machine's start; for
/// how long something has gone on, never for what time it is. Nobody can set
/// it, and it goes on while the machine sleeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MonotonicMs(pub u64);

/// Reads the steady clock.
pub fn tick() -> MonotonicMs {
    use rustix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::Boottime);
    MonotonicMs(now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000)
}

impl MonotonicMs {
    /// Later than every point: when something is not to happen at all.
    pub const MAX: MonotonicMs = MonotonicMs(u64::MAX);

    /// Whether this is [`MonotonicMs::MAX`].
    pub const fn is_never(self) -> bool {
        self.0 == u64::MAX
    }

    /// This point moved into the future.
    pub fn plus_ms(self, ms: u64) -> MonotonicMs {
        MonotonicMs(self.0.saturating_add(ms))
    }

    /// How long until `then`, zero if it has passed.
    pub fn until(self, then: MonotonicMs) -> Duration {
        Duration::from_millis(then.0.saturating_sub(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the readings of a clock that has shown 1,000,000, for pairs of wall and monotonic
    /// readings: both times, how far it is behind, and the step it was set by.
    fn told(readings: &[(i64, u64)]) -> Vec<(i64, i64, i64, i64)> {
        let mut clock = Clock::new(Time(1_000_000));
        let told = readings.iter().map(|(wall, tick)| {
            let now = clock.observe(Time(*wall), MonotonicMs(*tick));
            assert!(now.monotonic >= now.wall);
            (now.wall.0, now.monotonic.0, clock.behind_ms(), clock.take_step())
        });
        told.collect()
    }

    #[test]
    fn time_goes_by_as_the_wall_clock_says() {
        assert_eq!(
            told(&[(1_000_500, 7), (1_000_600, 107), (1_090_600, 90_107)]),
            [
                (1_000_500, 1_000_500, 0, 0),
                (1_000_600, 1_000_600, 0, 0),
                (1_090_600, 1_090_600, 0, 0)
            ]
        );
    }

    /// Also over a restart: the first reading may be behind the journal.
    #[test]
    fn a_wall_clock_that_is_behind_is_waited_for_while_lengths_run_on() {
        assert_eq!(
            told(&[(400_000, 0), (405_000, 5_000), (1_001_000, 601_000)]),
            [
                (1_000_000, 1_000_000, 600_000, 0),
                (1_000_000, 1_005_000, 595_000, 0),
                // Lengths have run for 600 s more than time has.
                (1_001_000, 1_001_000, 0, -600_000),
            ]
        );
    }

    #[test]
    fn a_wall_clock_that_is_set_ahead_is_followed_and_tells_by_how_much() {
        assert_eq!(
            told(&[(2_000_000, 0), (5_601_000, 1_000), (5_602_000, 2_000)]),
            [
                (2_000_000, 2_000_000, 0, 0),
                (5_601_000, 5_601_000, 0, 3_600_000),
                (5_602_000, 5_602_000, 0, 0),
            ]
        );
    }

    /// A machine without a clock of its own begins in 1970 and is set later.
    #[test]
    fn a_clock_that_begins_in_1970_is_set_by_the_network() {
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
    fn small_steps_add_up_to_one_that_is_told() {
        let mut clock = Clock::new(Time(0));
        let mut steps = Vec::new();
        for at in 0..12 {
            clock.observe(Time(10_000 + 1_100 * at), MonotonicMs(1_000 * at.cast_unsigned()));
            steps.push(clock.take_step());
        }
        assert_eq!(steps, [0, 0, 0, 0, 0, 500, 0, 0, 0, 0, 500, 0]);
    }

    #[test]
    fn a_machine_that_slept_has_not_had_its_clock_set() {
        let slept = told(&[(2_000_000, 5_000), (38_000_000, 36_005_000)]);
        assert_eq!(slept[1], (38_000_000, 38_000_000, 0, 0));
    }

    #[test]
    fn what_the_wall_clock_will_say_when_a_length_is_over() {
        let mut clock = Clock::new(Time(1_000_000));
        clock.observe(Time(1_200_000), MonotonicMs(0));
        assert_eq!(clock.wall_at(Time(1_260_000)), Time(1_260_000));
        // Set back by an hour, and ten seconds on.
        let now = clock.observe(Time(1_200_000 - 3_600_000 + 10_000), MonotonicMs(10_000));
        assert_eq!(now, ClockReading { wall: Time(1_200_000), monotonic: Time(1_210_000) });
        assert_eq!(clock.wall_at(Time(1_260_000)), Time(1_260_000 - 3_600_000));
    }

    #[test]
    fn the_clocks_of_the_system_are_read_together() {
        let (wall, tick) = read();
        let (later, next) = read();
        assert!(wall.0 > 0 && later >= wall && next >= tick);
    }
}

//! Decides when a wall clock that is far ahead is confirmed.
//!
//! The host may have been off for a weekend, or its clock may be wrong by years; a single
//! reading does not show which. The clock is confirmed when the host's time service has
//! synchronised it ([`is_synchronized`]), or when it has run for a while without being
//! set again.

use rustix::fs::stat;

use super::{MonotonicMs, Time};
use crate::limits::{CLOCK_CONFIRM_MS, CLOCK_FAR_MS, CLOCK_SET_AGAIN_MS};

/// A step of the wall clock to a time far ahead, which is not confirmed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ForwardJump {
    since: MonotonicMs,
    /// How far the wall clock was ahead of elapsed time at `since`.
    ahead_ms: i64,
}

impl ForwardJump {
    /// Returns the jump of a wall clock that is `ahead_ms` ahead of elapsed time, or `None`
    /// if it can be followed. `last` is the jump of the reading before.
    pub(super) fn of(
        last: Option<ForwardJump>,
        ahead_ms: i64,
        now: MonotonicMs,
    ) -> Option<ForwardJump> {
        if ahead_ms <= CLOCK_FAR_MS {
            return None;
        }
        let is_same = |last: &ForwardJump| {
            ahead_ms.saturating_sub(last.ahead_ms).saturating_abs() <= CLOCK_SET_AGAIN_MS
        };
        let jump = last.filter(is_same).unwrap_or(ForwardJump { since: now, ahead_ms });
        (now < jump.since.plus_ms(CLOCK_CONFIRM_MS)).then_some(jump)
    }
}

/// The file that systemd-timesyncd touches each time it synchronises the clock. `adjtimex` would
/// cover every time service, but no small crate has a safe wrapper for it.
const SYNCHRONIZED_FILE: &str = "/run/systemd/timesync/synchronized";

/// Returns whether systemd-timesyncd has synchronised a wall clock that is far ahead of `time` and
/// reads `wall`. Its file must have been touched when the clock was already far ahead.
pub fn is_synchronized(time: Time, wall: Time) -> bool {
    was_touched(SYNCHRONIZED_FILE, time.plus_ms(CLOCK_FAR_MS), wall)
}

/// Returns whether a file was touched after one time and not after another.
fn was_touched(path: &str, after: Time, until: Time) -> bool {
    stat(path).is_ok_and(|file| {
        // Compares whole seconds, because some file systems store no fractions.
        (after.ms().div_euclid(1000) + 1..=until.ms().div_euclid(1000)).contains(&file.st_mtime)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn clock_that_is_at_most_a_day_ahead_is_followed() {
        assert_eq!(ForwardJump::of(None, CLOCK_FAR_MS, MonotonicMs(7)), None);
        assert!(ForwardJump::of(None, CLOCK_FAR_MS + 1, MonotonicMs(7)).is_some());
    }

    #[test]
    fn clock_that_is_set_again_starts_its_trial_again() {
        let first = ForwardJump::of(None, 30 * DAY_MS, MonotonicMs(0));
        let slewed = ForwardJump::of(first, 30 * DAY_MS + CLOCK_SET_AGAIN_MS, MonotonicMs(500_000));
        assert_eq!(slewed, first);
        assert_eq!(ForwardJump::of(slewed, 30 * DAY_MS, MonotonicMs(CLOCK_CONFIRM_MS - 1)), first);
        assert_eq!(ForwardJump::of(slewed, 30 * DAY_MS, MonotonicMs(CLOCK_CONFIRM_MS)), None);
        let again = ForwardJump::of(first, 20 * DAY_MS, MonotonicMs(500_000));
        assert_eq!(again, Some(ForwardJump { since: MonotonicMs(500_000), ahead_ms: 20 * DAY_MS }));
        assert_eq!(ForwardJump::of(again, 20 * DAY_MS, MonotonicMs(CLOCK_CONFIRM_MS)), again);
    }

    #[test]
    fn file_touched_before_the_jump_or_in_the_future_confirms_nothing() {
        let directory = support::temp_dir();
        let path = directory.path().join("touched");
        std::fs::write(&path, "").unwrap();
        let touched = stat(&path).unwrap().st_mtime;
        let at = |seconds: i64| Time::from_ms((touched + seconds) * 1000);
        let path = path.to_str().unwrap();
        assert!(was_touched(path, at(-1), at(0)));
        assert!(was_touched(path, at(-100), at(100)));
        assert!(!was_touched(path, at(0), at(100)), "before the clock was set");
        assert!(!was_touched(path, at(-100), at(-1)), "in the future");
        std::fs::remove_file(path).unwrap();
        assert!(!was_touched(path, at(-100), at(100)), "the file does not exist");
    }
}

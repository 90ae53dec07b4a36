//! When a wall clock that is far ahead is believed.
//!
//! At a start that may be a host that was off for a weekend, or a clock that is years
//! off; one reading does not tell which. It is believed when the host's time service
//! says that it has set it ([`is_synchronized`]), or when it has run for a while
//! without being set again.

use rustix::fs::stat;

use super::{Tick, Time};
use crate::limits::{CLOCK_CONFIRM_MS, CLOCK_FAR_MS, CLOCK_SET_AGAIN_MS};

/// A wall clock that is far ahead and not confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leap {
    since: Tick,
    /// How far it was ahead of elapsed time then.
    ahead_ms: i64,
}

impl Leap {
    /// What is to be waited for, if anything, when the wall clock is `ahead_ms` ahead of
    /// elapsed time; `last` is what was waited for at the last reading.
    pub(super) fn of(last: Option<Leap>, ahead_ms: i64, tick: Tick) -> Option<Leap> {
        if ahead_ms <= CLOCK_FAR_MS {
            return None;
        }
        let is_same = |last: &Leap| {
            ahead_ms.saturating_sub(last.ahead_ms).saturating_abs() <= CLOCK_SET_AGAIN_MS
        };
        let leap = last.filter(is_same).unwrap_or(Leap { since: tick, ahead_ms });
        (tick < leap.since.plus_ms(CLOCK_CONFIRM_MS)).then_some(leap)
    }
}

/// What systemd-timesyncd touches each time that it has synchronised the clock. The
/// kernel's own word (`adjtimex`) cannot be had without `unsafe`; other time services
/// leave no file that says as much.
const SYNCHRONIZED_FILE: &str = "/run/systemd/timesync/synchronized";

/// Whether the wall clock, which is far ahead of `time` and says `wall`, is known to be
/// synchronised: the file was touched when the clock was as far ahead already. One that was
/// touched before it was set ahead says nothing.
pub fn is_synchronized(time: Time, wall: Time) -> bool {
    was_touched(SYNCHRONIZED_FILE, time.plus_ms(CLOCK_FAR_MS), wall)
}

/// Whether a file was touched after one time and not after another.
fn was_touched(path: &str, after: Time, until: Time) -> bool {
    stat(path).is_ok_and(|file| {
        // To the second, as the file systems of all hosts have it.
        (after.ms().div_euclid(1000) + 1..=until.ms().div_euclid(1000)).contains(&file.st_mtime)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn a_clock_that_is_a_day_ahead_is_not_waited_for() {
        assert_eq!(Leap::of(None, CLOCK_FAR_MS, Tick(7)), None);
        assert!(Leap::of(None, CLOCK_FAR_MS + 1, Tick(7)).is_some());
    }

    #[test]
    fn a_clock_that_is_set_again_is_waited_for_from_then_on() {
        let first = Leap::of(None, 30 * DAY_MS, Tick(0));
        let slewed = Leap::of(first, 30 * DAY_MS + CLOCK_SET_AGAIN_MS, Tick(500_000));
        assert_eq!(slewed, first);
        assert_eq!(Leap::of(slewed, 30 * DAY_MS, Tick(CLOCK_CONFIRM_MS - 1)), first);
        assert_eq!(Leap::of(slewed, 30 * DAY_MS, Tick(CLOCK_CONFIRM_MS)), None);
        let again = Leap::of(first, 20 * DAY_MS, Tick(500_000));
        assert_eq!(again, Some(Leap { since: Tick(500_000), ahead_ms: 20 * DAY_MS }));
        assert_eq!(Leap::of(again, 20 * DAY_MS, Tick(CLOCK_CONFIRM_MS)), again);
    }

    /// The time service has touched its file before the clock was set ahead, since then, or
    /// (by a clock that is right again) in the future.
    #[test]
    fn only_what_was_touched_by_the_clock_as_it_is_now_confirms_it() {
        let path = std::env::temp_dir().join(format!("reservad-touched-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let touched = stat(&path).unwrap().st_mtime;
        let at = |seconds: i64| Time::from_ms((touched + seconds) * 1000);
        let path = path.to_str().unwrap();
        assert!(was_touched(path, at(-1), at(0)));
        assert!(was_touched(path, at(-100), at(100)));
        assert!(!was_touched(path, at(0), at(100)), "before the clock was set");
        assert!(!was_touched(path, at(-100), at(-1)), "in the future");
        std::fs::remove_file(path).unwrap();
        assert!(!was_touched(path, at(-100), at(100)), "there is none");
    }
}

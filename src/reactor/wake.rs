//! What wakes the loop besides sockets: signals, and the alarm for the next
//! end of a reservation; and a timer that makes waking cheaper.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use crate::clock::{Tick, Time, skew_ms};
use crate::limits::{FORETICK_US, STREAM_GAP_MS};

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    Stop,
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP as a pipe in the poll, with a flag for each.
pub struct Signals {
    pipe: mio::net::UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    stop_told: bool,
}

impl Signals {
    /// Takes the signals over. A second SIGTERM or SIGINT ends the process at
    /// once, also while it waits for a disk.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let mut pipe = mio::net::UnixStream::from_std(read);
        registry.register(&mut pipe, token, Interest::READABLE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let reload = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        signal_hook::flag::register(SIGHUP, Arc::clone(&reload))?;
        signal_hook::low_level::pipe::register(SIGHUP, write)?;
        Ok(Signals { pipe, stop, reload, stop_told: false })
    }

    /// The next signal that has come, if any.
    pub fn next(&mut self) -> Option<Signal> {
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(1..)) {}
        if self.stop.load(Ordering::Relaxed) && !self.stop_told {
            self.stop_told = true;
            return Some(Signal::Stop);
        }
        self.reload.swap(false, Ordering::Relaxed).then_some(Signal::Reload)
    }
}

/// Makes a write beyond the file size limit (`ulimit -f`, `LimitFSIZE=`) an
/// error of that write, which is told like a full disk; the signal that comes
/// with it would end the process without a word.
pub fn outlive_file_size_limit() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(|_| ())
}

/// A timer on the wall clock. It fires at an instant even if the clock is
/// set or the machine has slept meanwhile, which a poll's timeout would miss;
/// when the clock is set it fires at once, to be set anew.
pub struct Alarm {
    timer: OwnedFd,
    set: Option<Time>,
}

impl Alarm {
    /// Puts an alarm into the poll.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, set: None })
    }

    /// It has fired, or the clock was set: it stands for nothing now.
    pub fn acknowledge(&mut self) {
        let mut count = [0; 8];
        // An error says that the clock was set; both mean "set it again".
        let _ = rustix::io::read(&self.timer, &mut count);
        self.set = None;
    }

    /// What it was set by does not hold any more: it is to be set anew.
    pub fn forget(&mut self) {
        self.set = None;
    }

    /// Fires at that instant, or only when the clock is set. A system call
    /// only if that is another one than before.
    pub fn set(&mut self, when: Option<Time>) -> io::Result<()> {
        let when = when.unwrap_or(Time::LATEST);
        if self.set == Some(when) {
            return Ok(());
        }
        // All zero would disarm it: what is due fires a nanosecond after 1970.
        let ms = when.plus_ms(skew_ms()).ms().max(0);
        let value = Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 + 1 };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        set_once(&self.timer, flags, value)?;
        self.set = Some(when);
        Ok(())
    }
}

fn set_once(timer: &OwnedFd, flags: TimerfdTimerFlags, value: Timespec) -> io::Result<()> {
    let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(timer, flags, &Itimerspec { it_interval: never_again, it_value: value })?;
    Ok(())
}

/// A timer that nobody waits for: it is due before the system's own tick while one request of a lone
/// client follows the other.
///
/// How deep a processor sleeps, or the host of a virtual one, is decided by when its next timer is due
/// (Linux, `Documentation/admin-guide/pm/cpuidle.rst`). That is mostly the tick, milliseconds away; such
/// a client is back in a twentieth of one. What that costs and brings is in `docs/performance.md`.
pub struct Foretick {
    timer: OwnedFd,
    last: Tick,
}

impl Foretick {
    /// Not in the poll: nothing wakes when it fires.
    pub fn new() -> io::Result<Foretick> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Foretick { timer, last: Tick(0) })
    }

    /// A turn has one event, so there will be none in a moment. A system call once in a
    /// millisecond at the most, and none where such turns are far from each other: it would only
    /// cost them.
    pub fn lone_event(&mut self, now: Tick) {
        if now == self.last {
            return;
        }
        let follows = now <= self.last.plus_ms(STREAM_GAP_MS);
        self.last = now;
        if follows {
            let value = Timespec { tv_sec: 0, tv_nsec: FORETICK_US * 1000 };
            // Without it all goes on as well, only slower.
            let _ = set_once(&self.timer, TimerfdTimerFlags::empty(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};
    use rustix::time::timerfd_gettime;

    use super::*;

    const ALARM: Token = Token(7);
    const LONG: Duration = Duration::from_secs(30);

    fn now() -> Time {
        crate::clock::read().0
    }

    fn fires(poll: &mut Poll, within: Duration) -> bool {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(within)).unwrap();
        events.iter().any(|event| event.token() == ALARM)
    }

    #[test]
    fn the_alarm_fires_at_its_instant_and_once() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
        let when = now().plus_ms(50);
        alarm.set(Some(when)).unwrap();
        assert!(fires(&mut poll, LONG));
        assert!(now() >= when, "not before it is due");
        alarm.acknowledge();
        assert!(!fires(&mut poll, Duration::ZERO));
        // The same instant again: after an acknowledgement it stands for nothing.
        alarm.set(Some(when)).unwrap();
        assert!(fires(&mut poll, LONG));
    }

    #[test]
    fn the_alarm_can_be_moved_and_taken_back() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
        alarm.set(Some(Time::LATEST)).unwrap();
        assert!(!fires(&mut poll, Duration::ZERO));
        alarm.set(Some(now().plus_ms(20))).unwrap();
        assert!(fires(&mut poll, LONG));
        alarm.acknowledge();
        alarm.set(Some(now().plus_ms(200))).unwrap();
        alarm.set(None).unwrap();
        assert!(!fires(&mut poll, Duration::from_millis(400)), "it was taken back");
    }

    #[test]
    fn the_foretick_is_set_where_lone_events_follow_each_other() {
        let is_set = |foretick: &Foretick| {
            let left = timerfd_gettime(&foretick.timer).unwrap().it_value;
            assert!(left.tv_sec == 0 && left.tv_nsec <= FORETICK_US * 1000, "{left:?}");
            left.tv_nsec > 0
        };
        let mut foretick = Foretick::new().unwrap();
        for alone in [1000, 1000, 1000 + STREAM_GAP_MS + 1] {
            foretick.lone_event(Tick(alone));
            assert!(!is_set(&foretick), "nothing came soon before {alone}");
        }
        // It may have fired before it is looked at.
        let mut at = 5000;
        let set = (0..10_000).any(|_| {
            at += STREAM_GAP_MS;
            foretick.lone_event(Tick(at));
            is_set(&foretick)
        });
        assert!(set);
        std::thread::sleep(Duration::from_micros(2 * FORETICK_US as u64));
        foretick.lone_event(Tick(at));
        assert!(!is_set(&foretick), "once in a millisecond is enough");
    }

    #[test]
    fn what_is_long_due_fires_at_once() {
        for when in [Time::DAWN, Time::from_ms(-1), Time::from_ms(0), Time::from_ms(1)] {
            let mut poll = Poll::new().unwrap();
            let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
            alarm.set(Some(when)).unwrap();
            assert!(fires(&mut poll, LONG), "{when:?}");
        }
    }
}

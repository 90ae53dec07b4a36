//! Events that wake the loop besides sockets: signals, and the alarm for the next end of a
//! reservation.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use crate::time::{Time, skew_ms};

/// A request made by a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    Stop,
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP as a pipe in the poll, with a flag for each request.
pub struct Signals {
    pipe: mio::net::UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    /// Whether a stop was returned. Later ones end the process; see [`Signals::register`].
    was_stop_returned: bool,
}

impl Signals {
    /// Installs handlers, and adds the pipe to the poll. A second SIGTERM or SIGINT ends the
    /// process at once, even while it waits for a disk.
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
        Ok(Signals { pipe, stop, reload, was_stop_returned: false })
    }

    /// Returns the next request that has arrived.
    pub fn next(&mut self) -> Option<Signal> {
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(1..)) {}
        if self.stop.load(Ordering::Relaxed) && !self.was_stop_returned {
            self.was_stop_returned = true;
            return Some(Signal::Stop);
        }
        self.reload.swap(false, Ordering::Relaxed).then_some(Signal::Reload)
    }
}

/// Turns a write beyond the file size limit (`ulimit -f`, `LimitFSIZE=`) into an error of that
/// write, which is reported like a full disk. By default, SIGXFSZ ends the process without a
/// message.
pub fn outlive_file_size_limit() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(|_| ())
}

/// A timer on the wall clock. Unlike the timeout of a poll, it fires on time even if the clock was
/// set or the machine has slept. When the clock is set it fires at once, and must be set again.
pub struct Alarm {
    timer: OwnedFd,
    /// The time of the alarm; `None` if it must be set again.
    set: Option<Time>,
    /// Whether the system has reported that the clock was set.
    clock_was_set: bool,
}

impl Alarm {
    /// Creates an alarm, and adds it to the poll.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, set: None, clock_was_set: false })
    }

    /// Acknowledges that it has fired or that the clock was set. It must then be set again.
    pub fn acknowledge(&mut self) {
        let mut count = [0; 8];
        let result = rustix::io::read(&self.timer, &mut count);
        // Having nothing to read is not a failure either.
        let _ = self.check_canceled(result);
        self.set = None;
    }

    /// Returns whether the system has reported since the last call that the clock was set. Another
    /// turn must then follow at once: the system reports this only once, perhaps after the turn has
    /// read the clock, and an alarm computed from that reading is wrong.
    pub fn take_clock_set(&mut self) -> bool {
        std::mem::take(&mut self.clock_was_set)
    }

    /// Records whether the result of a call reports that the clock was set. Such a call has been
    /// carried out nevertheless.
    fn check_canceled<T>(&mut self, result: rustix::io::Result<T>) -> io::Result<()> {
        match result {
            Err(Errno::CANCELED) => {
                self.clock_was_set = true;
                Ok(())
            }
            result => Ok(result.map(|_| ())?),
        }
    }

    /// Records that its time is wrong, so that it is set again.
    pub fn forget(&mut self) {
        self.set = None;
    }

    /// Sets the alarm to a time, or only to changes of the clock. Needs no system call if it is set
    /// to that already.
    pub fn set(&mut self, when: Option<Time>) -> io::Result<()> {
        let when = when.unwrap_or(Time::LATEST);
        if self.set == Some(when) {
            return Ok(());
        }
        // A value of zero would disarm the timer, so a nanosecond is added.
        let ms = when.plus_ms(skew_ms()).ms().max(0);
        let value = Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 + 1 };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec { it_interval: never_again, it_value: value };
        let result = timerfd_settime(&self.timer, flags, &value);
        self.check_canceled(result)?;
        self.set = Some(when);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    const ALARM: Token = Token(7);
    const LONG: Duration = Duration::from_secs(30);

    fn now() -> Time {
        crate::time::read_clocks().0
    }

    fn fires(poll: &mut Poll, within: Duration) -> bool {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(within)).unwrap();
        events.iter().any(|event| event.token() == ALARM)
    }

    #[test]
    fn alarm_fires_once_at_its_time() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
        let when = now().plus_ms(50);
        alarm.set(Some(when)).unwrap();
        assert!(fires(&mut poll, LONG));
        assert!(now() >= when, "it fired early");
        alarm.acknowledge();
        assert!(!fires(&mut poll, Duration::ZERO));
        // After an acknowledgement, the same time sets it again.
        alarm.set(Some(when)).unwrap();
        assert!(fires(&mut poll, LONG));
    }

    #[test]
    fn alarm_can_be_moved_and_cancelled() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
        alarm.set(Some(Time::LATEST)).unwrap();
        assert!(!fires(&mut poll, Duration::ZERO));
        alarm.set(Some(now().plus_ms(20))).unwrap();
        assert!(fires(&mut poll, LONG));
        alarm.acknowledge();
        alarm.set(Some(now().plus_ms(200))).unwrap();
        alarm.set(None).unwrap();
        assert!(!fires(&mut poll, Duration::from_millis(400)), "it was cancelled");
    }

    /// The clock was set between the reading of the clock and the call that set the timer. The
    /// system reported that only then, and leases ended by the old clock.
    #[test]
    fn clock_set_is_reported_once_and_is_not_an_error() {
        let poll = Poll::new().unwrap();
        let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
        alarm.set(Some(now().plus_ms(99_000))).unwrap();
        alarm.acknowledge();
        assert!(!alarm.take_clock_set(), "it was not set");
        alarm.check_canceled(Err::<(), _>(Errno::CANCELED)).unwrap();
        assert!(alarm.take_clock_set());
        assert!(!alarm.take_clock_set(), "reported twice");
        assert!(alarm.check_canceled(Err::<(), _>(Errno::INVAL)).is_err());
        assert!(!alarm.take_clock_set());
    }

    #[test]
    fn alarm_in_the_past_fires_at_once() {
        for when in [Time::MIN, Time::from_ms(-1), Time::from_ms(0), Time::from_ms(1)] {
            let mut poll = Poll::new().unwrap();
            let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
            alarm.set(Some(when)).unwrap();
            assert!(fires(&mut poll, LONG), "{when:?}");
        }
    }
}

//! What wakes the loop besides sockets: signals, and the alarm for the next
//! end of a reservation; and a timer that makes waking cheaper.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_getres,
    clock_gettime, timerfd_create, timerfd_settime,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use crate::limits::{FORETICK_NS, SLEEP_US, STREAM_GAP_MS};
use crate::time::{MonotonicMs, Time, skew_ms};

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
    clock_was_set: bool,
}

impl Alarm {
    /// Puts an alarm into the poll.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, set: None, clock_was_set: false })
    }

    /// It has fired, or the clock was set: it stands for nothing now.
    pub fn acknowledge(&mut self) {
        let mut count = [0; 8];
        let told = rustix::io::read(&self.timer, &mut count);
        // Nothing to read any more is no failure either.
        let _ = self.heed(told);
        self.set = None;
    }

    /// Whether the system has told that the clock was set, since the last call. It tells so once, perhaps
    /// after the turn has read the clock: what was set by that reading is then for the wrong moment, and
    /// nothing will wake the loop. So there is to be another turn at once.
    pub fn take_clock_set(&mut self) -> bool {
        std::mem::take(&mut self.clock_was_set)
    }

    /// Notes what a call says of the clock. One that is told so has done its work all the same.
    fn heed<T>(&mut self, told: rustix::io::Result<T>) -> io::Result<()> {
        match told {
            Err(Errno::CANCELED) => {
                self.clock_was_set = true;
                Ok(())
            }
            told => Ok(told.map(|_| ())?),
        }
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
        let told = set_once(&self.timer, flags, value);
        self.heed(told)?;
        self.set = Some(when);
        Ok(())
    }
}

fn set_once(
    timer: &OwnedFd,
    flags: TimerfdTimerFlags,
    value: Timespec,
) -> rustix::io::Result<Itimerspec> {
    let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(timer, flags, &Itimerspec { it_interval: never_again, it_value: value })
}

/// A timer that nobody waits for: it is due just before the system's own tick while one request of a
/// lone client follows the other.
///
/// A processor that falls asleep puts the tick off and takes it up again when it wakes, and each time
/// sets its clock anew (Linux, `Documentation/timers/no_hz.rst`), which in a virtual machine is a way to
/// the host and back. Where another timer is due before the tick, the clock stands as it should.
/// What that brings is in `docs/performance.md`.
pub struct Foretick {
    timer: OwnedFd,
    client: LoneClient,
}

impl Foretick {
    /// Not in the poll: nothing wakes when it fires.
    pub fn new() -> io::Result<Foretick> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // The clock that only the tick moves on.
        let period = clock_getres(ClockId::MonotonicCoarse);
        Ok(Foretick { timer, client: LoneClient::new(ns(period)) })
    }

    /// The poll is about to wait.
    pub fn waits(&mut self) {
        self.client.waits(|| ns(clock_gettime(ClockId::Monotonic)));
    }

    /// A turn has one event, so there will be none in a moment. A system call once in a tick at the
    /// most, and none where it would only cost.
    pub fn lone_event(&mut self, now: MonotonicMs) {
        if let Some(at) = self.client.lone_event(now, || ns(clock_gettime(ClockId::Monotonic))) {
            let value = Timespec { tv_sec: at / NS_PER_S, tv_nsec: at % NS_PER_S };
            // Without it all goes on as well, only slower.
            let _ = set_once(&self.timer, TimerfdTimerFlags::ABSTIME, value);
        }
    }
}

const NS_PER_S: i64 = 1_000_000_000;
const NS_PER_MS: i64 = 1_000_000;

fn ns(at: Timespec) -> i64 {
    at.tv_sec * NS_PER_S + at.tv_nsec
}

/// Requests of a lone client, and whether the processor sleeps between them.
struct LoneClient {
    tick_ns: i64,
    /// When the last event came.
    last: MonotonicMs,
    /// Nothing is to be decided before that.
    due: MonotonicMs,
    sample: Sample,
}

/// A wait by which it is decided.
enum Sample {
    None,
    /// The next one.
    Next,
    /// The one that has begun then, in nanoseconds.
    Since(i64),
}

impl LoneClient {
    fn new(tick_ns: i64) -> LoneClient {
        let tick_ns = tick_ns.max(NS_PER_MS);
        LoneClient { tick_ns, last: MonotonicMs(0), due: MonotonicMs(0), sample: Sample::None }
    }

    fn waits(&mut self, clock: impl Fn() -> i64) {
        if !matches!(self.sample, Sample::None) {
            self.sample = Sample::Since(clock());
        }
    }

    /// When the timer is to fire, if it is to be set, on the same clock.
    fn lone_event(&mut self, now: MonotonicMs, clock: impl Fn() -> i64) -> Option<i64> {
        let follows = now <= self.last.plus_ms(STREAM_GAP_MS);
        self.last = now;
        let sample = std::mem::replace(&mut self.sample, Sample::None);
        if !follows || now < self.due {
            return None;
        }
        let Sample::Since(since) = sample else {
            self.sample = Sample::Next;
            return None;
        };
        let at = clock();
        let next = before_tick(at, self.tick_ns);
        // A timer that is still to fire would hide what waits are like without it.
        self.due = now.plus_ms((next - at) as u64 / NS_PER_MS as u64 + 1);
        (at - since >= SLEEP_US * 1000).then_some(next)
    }
}

/// The last moment before the next tick that is still to come. Ticks are at the multiples of their
/// period.
fn before_tick(at: i64, tick_ns: i64) -> i64 {
    (at + FORETICK_NS) / tick_ns * tick_ns + tick_ns - FORETICK_NS
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
        crate::time::read_clocks().0
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

    /// The clock was set between a turn's look at it and what that turn asked of the timer: the system
    /// told that then and never again, and leases ended by the old clock.
    #[test]
    fn a_clock_that_was_set_is_told_of_once_and_is_no_failure() {
        let poll = Poll::new().unwrap();
        let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
        alarm.set(Some(now().plus_ms(99_000))).unwrap();
        alarm.acknowledge();
        assert!(!alarm.take_clock_set(), "it was not");
        alarm.heed(Err::<(), _>(Errno::CANCELED)).unwrap();
        assert!(alarm.take_clock_set());
        assert!(!alarm.take_clock_set(), "told twice");
        assert!(alarm.heed(Err::<(), _>(Errno::INVAL)).is_err());
        assert!(!alarm.take_clock_set());
    }

    /// A client that asks again so many microseconds after each answer, on a clock of its own;
    /// when the timer was set, and for when.
    fn set_at(client: &mut LoneClient, start: i64, waits_us: &[i64]) -> Vec<(i64, i64)> {
        let mut at = start;
        let mut set = Vec::new();
        for wait in waits_us {
            client.waits(|| at);
            at += wait * 1000;
            let next = client.lone_event(MonotonicMs((at / NS_PER_MS) as u64), || at);
            set.extend(next.map(|next| (at, next)));
        }
        set
    }

    #[test]
    fn the_foretick_is_set_once_a_tick_where_lone_events_follow_each_other() {
        const TICK: i64 = 4 * NS_PER_MS;
        let client = || LoneClient::new(TICK);
        let (short, long, gap) =
            (SLEEP_US - 1, SLEEP_US, STREAM_GAP_MS.cast_signed() * 1000 + 1001);
        let start = 1000 * TICK;
        for (waits, why) in [(short, "the processor hardly sleeps"), (gap, "nothing comes soon")] {
            assert_eq!(set_at(&mut client(), start, &vec![waits; 9999]), [], "{why}");
        }
        let set =
            set_at(&mut client(), start, &vec![long; 100 * TICK as usize / 1000 / long as usize]);
        assert!(set.len() >= 99, "once in a tick: {}", set.len());
        for (at, next) in &set {
            assert!(at < next && next % TICK == TICK - FORETICK_NS, "set at {at} for {next}");
        }
        assert!(set.windows(2).all(|two| two[0].1 < two[1].0), "set again before it was over");
        // What it is like without the timer is what counts, each time.
        let mut both = vec![long; 9];
        both.extend(vec![short; 9999]);
        assert_eq!(set_at(&mut client(), start, &both).len(), 1);
        // A turn with several events comes between: the wait before it is not taken for this one.
        let mut client = client();
        assert_eq!(set_at(&mut client, start, &[long]), []);
        client.waits(|| start);
        assert_eq!(set_at(&mut client, start + NS_PER_MS, &[short]), []);
    }

    #[test]
    fn a_foretick_comes_just_before_the_next_tick() {
        let before = |at| before_tick(at, 4_000_000);
        let first = 4_000_000 - FORETICK_NS;
        assert_eq!([0, 1, first - 1].map(before), [first; 3]);
        assert_eq!([first, first + 1, 4_000_000].map(before), [first + 4_000_000; 3]);
    }

    #[test]
    fn the_foretick_is_a_timer_that_runs() {
        let mut foretick = Foretick::new().unwrap();
        let (at, now) = (ns(clock_gettime(ClockId::Monotonic)), MonotonicMs(5));
        foretick.client.last = now;
        foretick.client.sample = Sample::Since(at - 1_000_000);
        foretick.lone_event(now);
        // It has perhaps fired by now.
        let left = ns(timerfd_gettime(&foretick.timer).unwrap().it_value);
        let mut fired = [0; 8];
        let is_over = rustix::io::read(&foretick.timer, &mut fired).is_ok();
        assert!(is_over || (1..=foretick.client.tick_ns).contains(&left), "{left}");
    }

    #[test]
    fn what_is_long_due_fires_at_once() {
        for when in [Time::MIN, Time::from_ms(-1), Time::from_ms(0), Time::from_ms(1)] {
            let mut poll = Poll::new().unwrap();
            let mut alarm = Alarm::register(poll.registry(), ALARM).unwrap();
            alarm.set(Some(when)).unwrap();
            assert!(fires(&mut poll, LONG), "{when:?}");
        }
    }
}

//! What can happen while a reservation is held, gathered from threads that each wait for one
//! thing: a connection, a signal, the timer, a server that does not answer yet. The main thread,
//! which alone decides, takes one after the other. No thread is ever joined: they end with the
//! process, and a send that fails means that the main thread is leaving.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use signal_hook::consts::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::Signals;

use super::lease::Moment;
use crate::Stop;
use crate::reply::{Gone, Incoming, Part};
use crate::server::{Link, Server};
use crate::texts::Language;

/// Events on their way. Few: a full channel makes the server wait, not us grow.
pub const EVENTS: usize = 64;

/// A peer that vanished without a word is noticed after these 30 seconds of unanswered probes.
/// The server takes 120 s for the same, so a reservation that is bound to the connection is
/// still there when its program has been ended.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 4;
const USER_TIMEOUT_MS: u32 = 30_000;

pub enum Event {
    Signal(i32),
    /// A line of the connection with this number.
    Heard(u64, Part, Vec<u8>),
    Gone(u64, Gone),
    /// What became of an attempt to reach the server again.
    Reached(Result<Link, Stop>),
    /// The time that the timer was set to has come.
    Due,
}

/// The time, on a clock that nobody can set and that goes on while the machine sleeps.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Gives the lines of a connection out as events.
pub fn listen(stream: TcpStream, number: u64, events: SyncSender<Event>) {
    thread::spawn(move || {
        let mut incoming = Incoming::new(stream);
        loop {
            while let Some((part, line)) = incoming.next() {
                if events.send(Event::Heard(number, part, line.to_vec())).is_err() {
                    return;
                }
            }
            if let Err(gone) = incoming.wait() {
                let _ = events.send(Event::Gone(number, gone));
                return;
            }
        }
    });
}

/// Makes each end known to the other in time. What cannot be had only makes that later.
///
/// A peer that vanished is probed for. And if we are killed, the connection is to be reset: an
/// end of what we send alone would be a half-close, after which a watch goes on, and with it a
/// reservation that is bound to the connection.
pub fn make_ends_known(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES);
    let _ = sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MS);
}

/// Ends a connection, and with it the thread that listens to it.
pub fn hang_up(link: &Link) {
    let _ = link.stream.shutdown(Shutdown::Both);
}

/// Tries once to reach the server, after this time.
pub fn reach(server: Server, language: Language, after: Duration, events: SyncSender<Event>) {
    thread::spawn(move || {
        thread::sleep(after);
        let _ = events.send(Event::Reached(Link::open(&server, language)));
    });
}

/// Gives signals out as events: those that are passed on, and the one that tells of a child. Who
/// started us with a signal ignored (`nohup`, `&` in a script) wants it ignored by the program
/// too, so that one is left alone: a handler would be reset when the program starts.
pub fn watch_signals(events: SyncSender<Event>) -> io::Result<()> {
    let passed = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP];
    let ignored = ignored_signals();
    let watched = passed.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(watched.chain([SIGCHLD]))?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// The signals that this process ignores, a bit for each.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// One alarm, which can be set anew.
pub struct Timer {
    timer: OwnedFd,
}

impl Timer {
    pub fn start(events: SyncSender<Event>) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let mut alarms = File::from(timer.try_clone()?);
        thread::spawn(move || {
            let mut count = [0; 8];
            while alarms.read_exact(&mut count).is_ok() && events.send(Event::Due).is_ok() {}
        });
        Ok(Timer { timer })
    }

    /// The one alarm comes at this time, or at once if that is past; never for `None`.
    pub fn set(&self, at: Option<Moment>) -> io::Result<()> {
        // All zeros would turn it off.
        let at = at.map(|at| at.max(Duration::from_nanos(1))).unwrap_or_default();
        let it_value = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}

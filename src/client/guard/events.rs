//! The events while a reservation is held, and waiting for all of them at once: signals, an alarm,
//! connections. Uses no threads, because none can be started at the limit of processes, and a
//! reservation must be kept even then.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::lease::Moment;

/// A peer that vanished without a word is noticed after these 30 seconds of unanswered probes.
/// The server takes 120 s for the same, so a reservation that is bound to the connection is
/// still there when its program has been ended.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 4;
const USER_TIMEOUT_MS: u32 = 30_000;

/// Signals that are passed on to the program.
const PASSED: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// The time, on a clock that nobody can set and that goes on while the machine sleeps.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Waits until at least one descriptor is readable. Returns which ones are.
pub fn readable<const N: usize>(fds: [BorrowedFd<'_>; N]) -> [bool; N] {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    // The only failure is an interruption, and then the caller tries again.
    let _ = poll(&mut polled, None);
    polled.map(|fd| !fd.revents().is_empty())
}

/// Waits up to `limit` until a descriptor is readable. Returns whether it is.
pub fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let limit = Timespec::try_from(limit).ok();
    poll(&mut polled, limit.as_ref()).is_ok_and(|ready| ready > 0)
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

/// A connection in progress. Becomes readable or fails when the outcome is known.
pub struct Connecting {
    stream: TcpStream,
    pub address: SocketAddr,
}

impl Connecting {
    pub fn start(address: SocketAddr) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Connecting { stream: TcpStream::from(socket), address })
    }

    /// Returns the outcome, once it is known.
    pub fn finish(&self) -> Option<io::Result<TcpStream>> {
        let mut polled = [PollFd::new(&self.stream, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut polled, Some(&at_once)).is_ok_and(|ready| ready == 0) {
            return None;
        }
        Some(self.outcome())
    }

    fn outcome(&self) -> io::Result<TcpStream> {
        sockopt::socket_error(&self.stream)??;
        // See `connect_to` in server.rs.
        if self.stream.local_addr()? == self.address {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let _ = self.stream.set_nodelay(true);
        self.stream.try_clone()
    }
}

impl AsFd for Connecting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The signals to be passed on, read from a descriptor.
///
/// A signal that was ignored at the start (`nohup`, `&` in a script) must be ignored by the program
/// as well, so it is left alone.
pub struct Signals {
    source: SignalFd,
}

impl Signals {
    /// Starts to receive signals, including those that were blocked at the start. The program keeps
    /// the original mask, because its process was created before.
    pub fn start() -> io::Result<Self> {
        let ignored = ignored_signals();
        let watched: SigSet = PASSED
            .into_iter()
            .filter(|signal| ignored & (1 << (*signal as i32 - 1)) == 0)
            .collect();
        let mut blocked = watched;
        // With SIGTTOU blocked, taking the terminal back does not stop this process.
        blocked.add(Signal::SIGTTOU);
        blocked.thread_set_mask()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals { source: SignalFd::with_flags(&watched, flags)? })
    }

    pub fn next(&self) -> Option<i32> {
        let signal = self.source.read_signal().ok()??;
        i32::try_from(signal.ssi_signo).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

/// The signals that this process ignores, a bit for each.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// A timer on the clock of [`now`]. The time-outs of `poll` are not enough, because they do not
/// count while the machine sleeps.
pub struct Timer {
    timer: OwnedFd,
}

impl Timer {
    pub fn start() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Timer { timer: timerfd_create(TimerfdClockId::Boottime, flags)? })
    }

    /// Makes it readable from this time on, or at once if the time has passed; never for `None`.
    pub fn set(&self, at: Option<Moment>) {
        // All zeros would turn it off.
        let at = at.map(|at| at.max(Duration::from_nanos(1))).unwrap_or_default();
        let it_value = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        // Cannot fail for any valid time.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

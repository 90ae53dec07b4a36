//! Signals to forward to the program, and waiting for descriptors. There are no threads, because none can be created at the limit of processes, and a reservation must be kept
//! even then.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Signals to forward to the program.
const FORWARDED: [Signal; 9] = [
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

/// A descriptor from which the forwarded signals are read.
///
/// A signal that was ignored when the client was started (by `nohup`, or `&` in a script) is left
/// alone, so that the program ignores it as well.
pub struct Signals(SignalFd);

impl Signals {
    /// Starts to receive signals, including those that were blocked when the client was started.
    /// The program keeps the original mask, because its process was created before.
    pub fn new() -> io::Result<Self> {
        let ignored = ignored_signals();
        let received: SigSet = FORWARDED
            .into_iter()
            .filter(|signal| ignored & (1 << (*signal as i32 - 1)) == 0)
            .collect();
        let mut blocked = received;
        // With SIGTTOU blocked, taking the terminal back does not stop this process.
        blocked.add(Signal::SIGTTOU);
        blocked.thread_set_mask()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals(SignalFd::with_flags(&received, flags)?))
    }

    /// Returns the number of the next pending signal.
    pub fn next(&self) -> Option<i32> {
        let signal = self.0.read_signal().ok()??;
        i32::try_from(signal.ssi_signo).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns the signals that this process ignores, one per bit.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Waits until at least one descriptor is readable. Returns which ones are. All are false if a
/// signal interrupts the wait.
pub fn wait_any_readable<const N: usize>(fds: [BorrowedFd<'_>; N]) -> [bool; N] {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let _ = poll(&mut polled, None);
    polled.map(|fd| !fd.revents().is_empty())
}

/// Waits until a descriptor is readable or the timeout has passed.
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).ok();
    let _ = poll(&mut polled, timeout.as_ref());
}

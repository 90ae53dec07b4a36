//! The keeper, a process between the supervisor and the program. It ensures that no process of the
//! program outlives the reservation, whatever happens to the supervisor.
//!
//! ```text
//! supervisor ──▶ keeper ──▶ program ──▶ …
//! ```
//!
//! The keeper is the parent of the program and a subreaper: every descendant that loses its parent
//! becomes its child, even after `setsid` or a double fork. When the keeper has no child left, no
//! process of the program is left. There is no other race-free way to know that.
//!
//! - It reports to the supervisor when the program ends or stops, and when no process is left.
//! - It kills all processes when the reservation is about to end, in case the supervisor is stopped.
//! - If the supervisor dies, it ends all processes and then the reservation, on the connection that
//!   was handed over. If it may not end some process, it keeps the reservation and renews it.
//! - If the keeper itself is killed, the program is killed with it (`PR_SET_PDEATHSIG`), and the
//!   supervisor, which is a subreaper too, ends the other processes.
//!
//! The process of the program is created first, before the supervisor and the keeper change their
//! signals, and waits for its start ([`become_program`]). So it inherits the signal mask and
//! dispositions with which the client was started. If no process can be created, this is known
//! before anything is reserved.

use std::collections::HashSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use signal_hook::consts::SIGCHLD;

use super::EXIT_SIGNAL;
use super::channel::{Channel, Message};
use super::clock::{BootTime, Timer};
use super::lease::TERM_TO_KILL;
use super::messages::{Handover, KeeperReport, KeeperRequest};
use super::process_tree::{NotPermitted, descendants};
use super::signals::{wait_any_readable, wait_readable};
use crate::client::output::print_message;
use crate::client::reply::escape_for_terminal;
use crate::client::texts::{self, Lang};

/// The `argv[0]` of the keeper and of the process that becomes the program. No user starts the
/// client under such a name.
pub const KEEPER_NAME: &str = "reserva: keeper";
const PROGRAM_NAME: &str = "reserva: program";

/// This executable, even if its file was replaced or removed.
pub const THIS_EXECUTABLE: &str = "/proc/self/exe";

// The exit codes of a shell.
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_RUNNABLE: u8 = 126;

/// Interval between scans for new processes while all processes are being killed.
pub const KILL_INTERVAL: Duration = Duration::from_millis(20);

/// Limit for the server to close the connection after the release by the keeper.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the keeper or becomes the program, if this process was started for that. Returns the exit
/// code, or `None` in a client that was started by a user.
pub fn helper_process(language: Lang) -> Option<u8> {
    let mut arguments = env::args_os();
    let name = arguments.next()?;
    if name == PROGRAM_NAME {
        return Some(become_program(arguments, language));
    }
    (name == KEEPER_NAME).then(|| run_keeper(arguments, language))
}

fn run_keeper(program: impl Iterator<Item = OsString>, language: Lang) -> u8 {
    let Ok(supervisor) = Channel::from_stdin() else {
        return EXIT_NOT_RUNNABLE;
    };
    let keeper = create_program(program)
        .and_then(|(gate, program)| Keeper::new(&supervisor, gate, program, language));
    match keeper {
        Ok(mut keeper) => keeper.run(),
        Err(error) => {
            let _ = supervisor.send(&KeeperReport::Failed(error.to_string()).encode(), None);
            EXIT_NOT_RUNNABLE
        }
    }
}

/// Creates the process that will become the program, as the leader of its own group.
fn create_program(words: impl Iterator<Item = OsString>) -> io::Result<(Channel, Pid)> {
    let (gate, theirs) = Channel::pair()?;
    let mut command = Command::new(THIS_EXECUTABLE);
    command.arg0(PROGRAM_NAME).arg(getpid().to_string()).args(words);
    let child = command.stdin(Stdio::from(theirs)).process_group(0).spawn()?;
    Ok((gate, Pid::from_child(&child)))
}

struct Keeper<'a> {
    supervisor: &'a Channel,
    /// The channel to the program's process before its start.
    gate: Option<Channel>,
    /// The process of the program until its end.
    program: Option<Pid>,
    /// Readable when a child has ended or stopped.
    children: SignalFd,
    timer: Timer,
    language: Lang,
    /// When all processes must be killed, even without a request of the supervisor.
    kill_at: Option<BootTime>,
    /// Whether that time was reached and reported.
    is_expired: bool,
    /// Whether no child is left.
    is_childless: bool,
    /// What to do with which connection if the supervisor dies.
    handover: Option<(OwnedFd, Handover)>,
    /// Processes that were reported because they must not be signalled.
    not_permitted: HashSet<Pid>,
}

impl<'a> Keeper<'a> {
    fn new(
        supervisor: &'a Channel,
        gate: Channel,
        program: Pid,
        language: Lang,
    ) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        // If SIGCHLD were ignored, ends of children would not be reported. The handler never runs.
        signal_hook::flag::register(SIGCHLD, std::sync::Arc::default())?;
        // Signals for the supervisor must not end its keeper.
        SigSet::all().thread_set_mask()?;
        let mut mask = SigSet::empty();
        mask.add(nix::sys::signal::Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let children = SignalFd::with_flags(&mask, flags)?;
        let keeper = Keeper {
            supervisor,
            gate: Some(gate),
            program: Some(program),
            children,
            timer: Timer::new()?,
            language,
            kill_at: None,
            is_expired: false,
            is_childless: false,
            handover: None,
            not_permitted: HashSet::new(),
        };
        keeper.report(&KeeperReport::Ready(program));
        Ok(keeper)
    }

    /// Runs until the supervisor kills this process or dies.
    fn run(&mut self) -> u8 {
        loop {
            self.timer.set(self.next_deadline());
            let fds = [self.supervisor.as_fd(), self.children.as_fd(), self.timer.as_fd()];
            let [has_message, has_children, _] = wait_any_readable(fds);
            if has_children {
                self.reap_and_report();
            }
            if has_message {
                match self.supervisor.receive() {
                    Ok(Some(message)) => self.handle_message(message),
                    Ok(None) | Err(_) => return self.take_over(),
                }
            }
            if !self.is_childless && self.kill_at.is_some_and(|at| at <= BootTime::now()) {
                self.expire();
            }
        }
    }

    fn report(&self, report: &KeeperReport) {
        let _ = self.supervisor.send(&report.encode(), None);
    }

    fn next_deadline(&self) -> Option<BootTime> {
        let next_scan = self.is_expired.then(|| BootTime::now() + KILL_INTERVAL);
        next_scan.or(self.kill_at).filter(|_| !self.is_childless)
    }

    fn handle_message(&mut self, message: Message) {
        let Some(request) = KeeperRequest::decode(&message) else {
            return;
        };
        match request {
            KeeperRequest::Start(_) => {
                if let Some(gate) = self.gate.take() {
                    // A program that cannot start is reported like any other end.
                    let input = message.descriptor.as_ref().map(AsFd::as_fd);
                    let _ = gate.send(&message.fields, input);
                }
            }
            KeeperRequest::Signal(signal) => {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    self.signal_group(signal);
                }
            }
            KeeperRequest::KillAt(at) => self.kill_at = at,
            KeeperRequest::Handover(handover) => {
                self.handover = message.descriptor.map(|connection| (connection, handover));
            }
            KeeperRequest::NoHandover => self.handover = None,
        }
    }

    /// Signals the group of the program. Its number cannot have been reused, because only this
    /// process reaps the program.
    fn signal_group(&self, signal: Signal) {
        let Some(program) = self.program else {
            return;
        };
        if kill_process_group(program, signal) == Err(Errno::PERM) {
            self.report(&KeeperReport::NotPermitted(program));
        }
    }

    /// Reaps children that have ended, and reports changes of the program. Returns whether no child
    /// is left.
    fn reap(&mut self) -> bool {
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if Some(pid) == self.program => self.report_status(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Reports that the program has ended or was stopped.
    fn report_status(&mut self, status: WaitStatus) {
        if let Some(signal) = status.stopping_signal() {
            return self.report(&KeeperReport::Stopped(signal));
        }
        let by_signal = status.terminating_signal().map(|signal| EXIT_SIGNAL + signal);
        let code = status.exit_status().or(by_signal).unwrap_or(EXIT_SIGNAL);
        self.program = None;
        self.report(&KeeperReport::Exited(u8::try_from(code).unwrap_or(1)));
    }

    fn reap_and_report(&mut self) {
        self.is_childless = self.reap();
        if self.program.is_none() {
            let none_left = self.is_childless;
            self.report(if none_left { &KeeperReport::NoneLeft } else { &KeeperReport::SomeLeft });
        }
    }

    /// Kills all processes, because the reservation is about to end and the supervisor has not done
    /// it.
    fn expire(&mut self) {
        if !std::mem::replace(&mut self.is_expired, true) {
            self.report(&KeeperReport::Expired);
        }
        self.signal_all(Signal::KILL);
    }

    fn signal_all(&mut self, signal: Signal) {
        for process in descendants(getpid()) {
            let is_refused = process.signal(signal) == Err(NotPermitted);
            if is_refused && self.not_permitted.insert(process.pid) {
                let values = [&process.pid.to_string(), process.name.as_str()];
                print_message(&texts::CANNOT_END.format(self.language, &values));
            }
        }
    }

    /// Ends all processes and then the reservation, after the supervisor has died. Returns the exit
    /// code.
    fn take_over(&mut self) -> u8 {
        let was_started = self.gate.take().is_none();
        let latest = BootTime::now() + TERM_TO_KILL;
        let kill_at = self.kill_at.map_or(latest, |at| at.min(latest));
        let mut is_childless = self.reap();
        if was_started && !is_childless {
            print_message(texts::SUPERVISOR_KILLED.get(self.language));
            self.signal_all(Signal::TERM);
            self.signal_all(Signal::CONT);
        }
        let mut renewed_at = BootTime::now();
        while !is_childless {
            if BootTime::now() >= kill_at {
                self.signal_all(Signal::KILL);
            }
            self.renew_if_due(&mut renewed_at);
            wait_readable(self.children.as_fd(), KILL_INTERVAL);
            is_childless = self.reap();
        }
        if let Some((connection, handover)) = &self.handover {
            send_line(connection, &handover.release);
            wait_for_close(connection);
        }
        0
    }

    /// Renews the reservation, because processes that may not be killed still run.
    fn renew_if_due(&self, renewed_at: &mut BootTime) {
        if let Some((connection, handover)) = &self.handover
            && let Some(interval) = handover.interval
            && BootTime::now() >= *renewed_at + interval
        {
            *renewed_at = BootTime::now();
            send_line(connection, &handover.renew);
        }
    }
}

/// Sends lines on a connection. Discards replies, which have to be read so that the server does not
/// block.
fn send_line(connection: &OwnedFd, line: &str) {
    let _ = rustix::io::write(connection, line.as_bytes());
    let _ = rustix::io::read(connection, &mut [0; 8 * 1024]);
}

/// Waits until the server has closed the connection.
fn wait_for_close(connection: &OwnedFd) {
    let deadline = BootTime::now() + RELEASE_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(BootTime::now());
        if left.is_zero() {
            return;
        }
        wait_readable(connection.as_fd(), left);
        match rustix::io::read(connection, &mut [0; 8 * 1024]) {
            Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Waits for the start and becomes the program, which will be killed with the keeper. Returns the
/// exit code on failure.
fn become_program(mut arguments: impl Iterator<Item = OsString>, language: Lang) -> u8 {
    let parent = arguments.next();
    let Some(program) = arguments.next() else {
        return EXIT_NOT_RUNNABLE;
    };
    let death_signal = set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
    // The keeper may have died before the death signal was set.
    let has_parent = getppid().map(|pid| OsString::from(pid.to_string())) == parent;
    let message = Channel::from_stdin().and_then(|gate| gate.receive());
    let Ok(Some(Message { fields, descriptor: Some(input) })) = message else {
        return EXIT_NOT_RUNNABLE;
    };
    if !has_parent {
        return EXIT_NOT_RUNNABLE;
    }
    let variables = fields.iter().filter_map(|field| field.split_once('='));
    let error = match death_signal {
        Ok(()) => {
            let mut command = Command::new(&program);
            command.args(arguments).envs(variables).stdin(Stdio::from(input)).exec()
        }
        Err(error) => error,
    };
    print_cannot_run(&program, &error, language);
    if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_RUNNABLE }
}

fn print_cannot_run(program: &OsStr, error: &io::Error, language: Lang) {
    let program = escape_for_terminal(program.as_encoded_bytes());
    print_message(
        &texts::CANNOT_RUN.format(language, &[&program, &texts::reason(language, error)]),
    );
}

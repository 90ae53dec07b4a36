//! The keeper, a process between the wrapper and the program. It ensures that no process of the
//! program outlives the reservation, whatever happens to the wrapper.
//!
//! ```text
//! wrapper ──▶ keeper ──▶ program ──▶ …
//! ```
//!
//! The keeper is the parent of the program and a subreaper: every descendant that loses its parent
//! becomes its child, even after `setsid` or a double fork. When the keeper has no child left, no
//! process of the program is left. There is no other race-free way to know that.
//!
//! - It reports to the wrapper when the program ends or stops, and when no process is left.
//! - It ends everything when the reservation is about to end, in case the wrapper is stopped.
//! - When the wrapper is gone, it ends everything and then the reservation, on the connection that
//!   it was given. If it may not end some process, it keeps the reservation and renews it.
//! - When the keeper itself is killed, the program is killed with it (`PR_SET_PDEATHSIG`), and the
//!   wrapper, which is a subreaper too, ends the other processes.
//!
//! The process of the program is created first, before the wrapper and the keeper change their
//! signals, and waits at its gate ([`become_program`]). So it inherits the signal mask and
//! dispositions with which the wrapper was started. If the system has no process left, that is
//! known before anything is reserved.

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
    Pid, Signal, WaitOptions, getpid, getppid, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use signal_hook::consts::SIGCHLD;

use super::channel::{Channel, Message};
use super::events::{Timer, now, readable, wait_readable};
use super::lease::{GRACE, Moment};
use super::tree::{self, Refused};
use super::{EXIT_SIGNAL, say};
use crate::texts::{self, Language};

/// The names under which we start ourselves. No user gives a program such a name.
pub const AS_KEEPER: &str = "reserva: keeper";
const AS_PROGRAM: &str = "reserva: program";

/// Ourselves, also when the file was replaced or removed since we were started.
pub const OURSELVES: &str = "/proc/self/exe";

/// What shells return for a program that is not there, and for one that cannot be run.
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_RUNNABLE: u8 = 126;

/// Interval between scans for new processes while all processes are being ended.
pub const KILL_PAUSE: Duration = Duration::from_millis(20);

/// How long the server may take to confirm the end of a reservation whose wrapper is gone.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// What we are if we were started by ourselves: the exit code, once that is done.
pub fn other_self(language: Language, report: impl Fn(&OsStr, &io::Error)) -> Option<u8> {
    let mut arguments = env::args_os();
    let name = arguments.next()?;
    if name == AS_PROGRAM {
        return Some(become_program(arguments, report));
    }
    (name == AS_KEEPER).then(|| keep(arguments, language))
}

fn keep(words: impl Iterator<Item = OsString>, language: Language) -> u8 {
    let Ok(wrapper) = Channel::from_stdin() else {
        return EXIT_NOT_RUNNABLE;
    };
    let gate = match start_program(words) {
        Ok((gate, program)) => Keeper::new(&wrapper, gate, program, language),
        Err(error) => Err(error),
    };
    match gate {
        Ok(mut keeper) => keeper.run(),
        Err(error) => {
            let _ = wrapper.send(&["failed", &error.to_string()]);
            EXIT_NOT_RUNNABLE
        }
    }
}

/// Creates the process that will become the program, as the leader of its own group.
fn start_program(words: impl Iterator<Item = OsString>) -> io::Result<(Channel, Pid)> {
    let (gate, theirs) = Channel::pair()?;
    let mut command = Command::new(OURSELVES);
    command.arg0(AS_PROGRAM).arg(getpid().to_string()).args(words);
    let child = command.stdin(Stdio::from(theirs)).process_group(0).spawn()?;
    Ok((gate, Pid::from_child(&child)))
}

struct Keeper<'a> {
    wrapper: &'a Channel,
    /// The channel to the process of the program, which waits for its start; `None` afterwards.
    gate: Option<Channel>,
    /// The process of the program; `None` after its end.
    program: Option<Pid>,
    /// Readable when a child has ended or stopped.
    children: SignalFd,
    timer: Timer,
    language: Language,
    /// When everything must be ended, independently of the wrapper.
    kill_at: Option<Moment>,
    is_expired: bool,
    /// Whether no child is left.
    is_alone: bool,
    /// How to end the reservation without the wrapper.
    will: Option<Will>,
    /// Processes reported to the wrapper because they may not be signalled.
    refused: HashSet<Pid>,
}

/// The connection of the reservation, and the lines to send on it.
struct Will {
    connection: OwnedFd,
    release: String,
    renew: String,
    /// The interval of renewals; `None` if none are needed.
    interval: Option<Duration>,
}

impl<'a> Keeper<'a> {
    fn new(
        wrapper: &'a Channel,
        gate: Channel,
        program: Pid,
        language: Language,
    ) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        // If SIGCHLD were ignored, ends of children would not be reported. The handler never runs.
        signal_hook::flag::register(SIGCHLD, std::sync::Arc::default())?;
        // Signals for the wrapper must not end its keeper.
        SigSet::all().thread_set_mask()?;
        let mut mask = SigSet::empty();
        mask.add(nix::sys::signal::Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let children = SignalFd::with_flags(&mask, flags)?;
        let keeper = Keeper {
            wrapper,
            gate: Some(gate),
            program: Some(program),
            children,
            timer: Timer::start()?,
            language,
            kill_at: None,
            is_expired: false,
            is_alone: false,
            will: None,
            refused: HashSet::new(),
        };
        keeper.tell(&["ready", &program.to_string()]);
        Ok(keeper)
    }

    /// Runs until the wrapper kills this process or is gone.
    fn run(&mut self) -> u8 {
        loop {
            self.timer.set(self.next_moment());
            let fds = [self.wrapper.as_fd(), self.children.as_fd(), self.timer.as_fd()];
            let [has_message, has_children, _] = readable(fds);
            if has_children {
                self.reap_and_tell();
            }
            if has_message {
                match self.wrapper.receive() {
                    Ok(Some(message)) => self.obey(message),
                    Ok(None) | Err(_) => return self.conclude(),
                }
            }
            if !self.is_alone && self.kill_at.is_some_and(|at| at <= now()) {
                self.expire();
            }
        }
    }

    fn tell(&self, fields: &[&str]) {
        let _ = self.wrapper.send(fields);
    }

    fn next_moment(&self) -> Option<Moment> {
        let again = self.is_expired.then(|| now() + KILL_PAUSE);
        again.or(self.kill_at).filter(|_| !self.is_alone)
    }

    fn obey(&mut self, mut message: Message) {
        match message.word() {
            "start" => {
                if let Some(gate) = self.gate.take() {
                    let fields: Vec<&str> = message.fields.iter().map(String::as_str).collect();
                    let input = message.descriptor.as_ref().map(AsFd::as_fd);
                    // A program that cannot start is reported like any other end.
                    let _ = gate.send_with(&fields, input);
                }
            }
            "signal" => {
                let signal = message.number(1).and_then(|number| i32::try_from(number).ok());
                if let Some(signal) = signal.and_then(Signal::from_named_raw) {
                    self.signal_group(signal);
                }
            }
            "lease" => {
                let at = message.number(1).and_then(|at| u64::try_from(at).ok());
                self.kill_at = at.map(Duration::from_millis);
            }
            "will" => {
                let interval = message.number(3).and_then(|ms| u64::try_from(ms).ok());
                self.will = message.descriptor.take().map(|connection| Will {
                    connection,
                    release: message.field(1).to_owned(),
                    renew: message.field(2).to_owned(),
                    interval: interval.map(Duration::from_millis),
                });
            }
            _ => {}
        }
    }

    /// The number cannot have been reused, because only this process reaps the program.
    fn signal_group(&self, signal: Signal) {
        let Some(program) = self.program else {
            return;
        };
        if kill_process_group(program, signal) == Err(Errno::PERM) {
            self.tell(&["refused", &program.to_string()]);
        }
    }

    /// Reaps children that ended, and reports stops. Returns whether no child is left.
    fn reap(&mut self) -> bool {
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if Some(pid) == self.program => {
                    if let Some(signal) = status.stopping_signal() {
                        self.tell(&["stopped", &signal.to_string()]);
                        continue;
                    }
                    let by_signal = status.terminating_signal().map(|n| EXIT_SIGNAL + n);
                    let code = status.exit_status().or(by_signal).unwrap_or(EXIT_SIGNAL);
                    self.program = None;
                    self.tell(&["ended", &code.to_string()]);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    fn reap_and_tell(&mut self) {
        self.is_alone = self.reap();
        if self.program.is_none() {
            self.tell(&[if self.is_alone { "alone" } else { "left" }]);
        }
    }

    /// Ends everything, because the reservation is about to end and the wrapper has not done it.
    fn expire(&mut self) {
        if !std::mem::replace(&mut self.is_expired, true) {
            self.tell(&["expired"]);
        }
        self.signal_all(Signal::KILL);
    }

    fn signal_all(&mut self, signal: Signal) {
        for process in tree::descendants(getpid()) {
            let is_refused = process.signal(signal) == Err(Refused);
            if is_refused && self.refused.insert(process.pid) {
                let pid = process.pid.to_string();
                say(&self.language.say(texts::CANNOT_END, &[&pid, &process.name]));
            }
        }
    }

    /// Ends everything and then the reservation, after the wrapper is gone.
    fn conclude(&mut self) -> u8 {
        let was_started = self.gate.take().is_none();
        let in_time = now() + GRACE;
        let kill_at = self.kill_at.map_or(in_time, |at| at.min(in_time));
        let mut is_alone = self.reap();
        if was_started && !is_alone {
            say(self.language.plain(texts::WRAPPER_GONE));
            self.signal_all(Signal::TERM);
            self.signal_all(Signal::CONT);
        }
        let mut renewed = now();
        while !is_alone {
            if now() >= kill_at {
                self.signal_all(Signal::KILL);
            }
            // Processes that may not be ended still run, so the reservation must go on.
            if let Some(will) = &self.will
                && let Some(interval) = will.interval
                && now() >= renewed + interval
            {
                renewed = now();
                will.say(&will.renew);
            }
            wait_readable(self.children.as_fd(), KILL_PAUSE);
            is_alone = self.reap();
        }
        if let Some(will) = &self.will {
            will.say(&will.release);
            will.hear_the_end();
        }
        0
    }
}

impl Will {
    fn say(&self, line: &str) {
        let _ = rustix::io::write(&self.connection, line.as_bytes());
        // Replies are not needed, but must be read so that the server does not block.
        let _ = rustix::io::read(&self.connection, &mut [0; 8 * 1024]);
    }

    /// Waits until the server has closed the connection.
    fn hear_the_end(&self) {
        let limit = now() + LAST_WORDS_TIMEOUT;
        while let Some(left) = limit.checked_sub(now()).filter(|left| !left.is_zero()) {
            wait_readable(self.connection.as_fd(), left);
            match rustix::io::read(&self.connection, &mut [0; 8 * 1024]) {
                Ok(0) => return,
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// Sets up to die with the keeper, waits for the start, and becomes the program. Returns only on
/// failure.
fn become_program(
    mut arguments: impl Iterator<Item = OsString>,
    report: impl Fn(&OsStr, &io::Error),
) -> u8 {
    let parent = arguments.next();
    let Some(program) = arguments.next() else {
        return EXIT_NOT_RUNNABLE;
    };
    let asked = set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
    // Who died before we asked is not our parent any more.
    let has_parent = getppid().map(|pid| OsString::from(pid.to_string())) == parent;
    let message = Channel::from_stdin().and_then(|gate| gate.receive());
    let Ok(Some(Message { fields, descriptor: Some(input) })) = message else {
        return EXIT_NOT_RUNNABLE;
    };
    if !has_parent {
        return EXIT_NOT_RUNNABLE;
    }
    let variables = fields.iter().filter_map(|field| field.split_once('='));
    let error = match asked {
        Ok(()) => {
            let mut command = Command::new(&program);
            command.args(arguments).envs(variables).stdin(Stdio::from(input)).exec()
        }
        Err(error) => error,
    };
    report(&program, &error);
    if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_RUNNABLE }
}

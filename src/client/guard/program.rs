//! The program that runs under a reservation, as seen by the wrapper: its keeper (`keeper.rs`), its
//! descendants, and the terminal.
//!
//! The program leads its own process group, because its parent's group may contain a whole
//! pipeline, or the script that started the wrapper. At a terminal, that group must be in the
//! foreground. The wrapper gives it the terminal when the program starts or first needs it, and
//! takes it back when the program ends.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpgrp, getpid, kill_current_process_group, kill_process,
    set_child_subreaper, wait,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use super::channel::{Channel, Message};
use super::keeper::{AS_KEEPER, OURSELVES};
use super::lease::Moment;
use super::tree::{self, Process, Refused};

/// A program that wants a terminal which nobody can give it stops again and again, and where
/// nobody could wake us we do not stop with it. This keeps that from being a busy loop.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(100);

/// A report of the keeper.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// A signal stopped the program: Ctrl-Z, or it used a terminal that it does not have.
    Stopped(i32),
    /// The program has ended; the exit code to return for it.
    Ended(u8),
    /// Whether processes of the program are left.
    Left(bool),
    /// The reservation was about to end, and everything is being killed.
    Expired,
    /// A process may not be signalled.
    Refused(Pid),
    /// The keeper itself was killed.
    Gone,
}

pub struct Program {
    keeper: Child,
    channel: Channel,
    keeper_pid: Pid,
    /// The process, and its group.
    pid: Pid,
    /// The keeper was killed, so the wrapper has to end the processes.
    is_orphaned: bool,
    /// Whether this process is a subreaper, and thus the parent of those processes.
    is_subreaper: bool,
    /// The terminal that it can be given.
    terminal: Option<File>,
    /// The program has been given the terminal.
    has_terminal: bool,
    /// Processes that could not be signalled and were reported.
    refused: HashSet<Pid>,
}

impl Program {
    /// Creates the process of the program and its keeper, with the signals inherited by the
    /// wrapper. The program itself runs after [`start`](Self::start).
    pub fn prepare(words: &[OsString]) -> io::Result<Self> {
        // Children inherited from the process that started this one must not be ended.
        let is_subreaper = !tree::has_children(getpid());
        let (channel, theirs) = Channel::pair()?;
        let mut command = Command::new(OURSELVES);
        command.arg0(AS_KEEPER).args(words).stdin(Stdio::from(theirs)).process_group(0);
        let keeper = command.spawn()?;
        // The child holds the other end.
        drop(command);
        if is_subreaper {
            set_child_subreaper(Some(getpid()))?;
        }
        let keeper_pid = Pid::from_child(&keeper);
        let mut program = Program {
            keeper,
            channel,
            keeper_pid,
            pid: keeper_pid,
            is_orphaned: false,
            is_subreaper,
            terminal: None,
            has_terminal: false,
            refused: HashSet::new(),
        };
        let message = program.channel.receive();
        let pid = message.as_ref().ok().and_then(Option::as_ref).and_then(|message| {
            let pid = message.number(1).filter(|_| message.word() == "ready")?;
            Pid::from_raw(i32::try_from(pid).ok()?)
        });
        match (pid, message) {
            (Some(pid), _) => {
                program.pid = pid;
                program.terminal = File::options().read(true).write(true).open("/dev/tty").ok();
                Ok(program)
            }
            (None, Ok(Some(message))) => Err(io::Error::other(message.field(1).to_owned())),
            (None, Ok(None)) => Err(io::Error::other("the keeper has ended")),
            (None, Err(error)) => Err(error),
        }
    }

    /// Starts the program, with these variables in its environment.
    pub fn start(&mut self, variables: [(&str, &str); 3]) -> io::Result<()> {
        // Before it runs: if it were stopped for want of the terminal and continued, it would miss
        // a Ctrl-Z in between. With standard output in a pipe, another process of the wrapper's
        // group (a pager) may need the terminal more than the program does.
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            self.offer_terminal();
        }
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        let [id, resources, until] = &variables;
        self.channel.send_with(&["start", id, resources, until], Some(io::stdin().as_fd()))
    }

    /// Reads a report of the keeper, after its channel has become readable.
    pub fn report(&mut self) -> Option<Report> {
        let Ok(Some(message)) = self.channel.receive() else {
            self.is_orphaned = true;
            return Some(Report::Gone);
        };
        report_of(&message)
    }

    pub fn is_orphaned(&self) -> bool {
        self.is_orphaned
    }

    /// Informs the keeper when everything must have been killed.
    pub fn must_end_at(&self, at: Option<Moment>) {
        let at = at.map_or_else(|| "-".to_owned(), |at| at.as_millis().to_string());
        let _ = self.channel.send(&["lease", &at]);
    }

    /// Informs the keeper what to send on which connection if the wrapper dies. Without a
    /// connection there is nothing to send.
    pub fn leave_will(&self, connection: Option<BorrowedFd<'_>>, words: [&str; 3]) {
        let [release, renew, interval] = words;
        let _ = self.channel.send_with(&["will", release, renew, interval], connection);
    }

    /// Gives the terminal to the program, if it is ours to give; says whether it has it now.
    fn offer_terminal(&mut self) -> bool {
        let Some(terminal) = &self.terminal else {
            return false;
        };
        let Ok(foreground) = tcgetpgrp(terminal) else {
            return false;
        };
        if foreground == getpgrp() && tcsetpgrp(terminal, self.pid).is_ok() {
            self.has_terminal = true;
            return true;
        }
        foreground == self.pid
    }

    /// Takes the terminal back if the program has it.
    pub fn take_terminal_back(&mut self) {
        if let Some(terminal) = &self.terminal
            && std::mem::take(&mut self.has_terminal)
            && tcgetpgrp(terminal) == Ok(self.pid)
        {
            // This process is in the background now and would be stopped if SIGTTOU were not
            // blocked.
            let _ = tcsetpgrp(terminal, getpgrp());
        }
    }

    /// Passes a signal on to the program's process group, as a terminal would.
    pub fn pass(&self, signal: i32) {
        let _ = self.channel.send(&["signal", &signal.to_string()]);
    }

    /// Asks all processes of the program to end, and continues stopped ones so that they can.
    /// Returns those that may not be signalled, each only once.
    pub fn ask_to_end(&mut self) -> Vec<Process> {
        let refused = self.signal_all(Signal::TERM);
        self.signal_all(Signal::CONT);
        refused
    }

    /// Kills all current processes of the program. Returns those that may not be killed, each only
    /// once.
    pub fn kill(&mut self) -> Vec<Process> {
        if !self.is_orphaned {
            // A stopped keeper could not report that no process is left.
            let _ = kill_process(self.keeper_pid, Signal::CONT);
        }
        self.signal_all(Signal::KILL)
    }

    fn signal_all(&mut self, signal: Signal) -> Vec<Process> {
        let all = self.descendants();
        if all.is_empty() {
            // If `/proc` does not list them, at least the group can be signalled.
            self.pass(signal.as_raw());
        }
        let refuses = |process: &Process| process.signal(signal) == Err(Refused);
        let refused: Vec<Process> = all.into_iter().filter(refuses).collect();
        refused.into_iter().filter(|process| self.refused.insert(process.pid)).collect()
    }

    /// Returns the living processes of the program.
    pub fn descendants(&self) -> Vec<Process> {
        match (self.is_orphaned, self.is_subreaper) {
            (false, _) => tree::descendants(self.keeper_pid),
            (true, true) => tree::descendants(getpid()),
            (true, false) => Vec::new(),
        }
    }

    /// Reaps processes after the end of the keeper. Returns whether none is left.
    pub fn reap(&self) -> bool {
        // Without being a subreaper, nothing is known about processes other than the program.
        if !self.is_subreaper {
            return true;
        }
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// The program was stopped. Without a terminal that is somebody's wish and nothing to do for
    /// us. At a terminal it is either that it needs the terminal, or that the whole job is to
    /// stop; then we stop too, so that the shell takes over, and return when we go on.
    pub fn was_stopped(&mut self, signal: i32) -> Stopped {
        if self.terminal.is_none() {
            return Stopped::AndStays;
        }
        let wants_terminal =
            [Signal::TTIN, Signal::TTOU].iter().any(|wanted| wanted.as_raw() == signal);
        if wants_terminal && self.offer_terminal() {
            return Stopped::AndGoesOn;
        }
        stop_ourselves();
        if wants_terminal && !self.offer_terminal() {
            thread::sleep(BACKGROUND_PAUSE);
        }
        Stopped::AndGoesOn
    }

    /// Lets it go on, with the terminal if that was its own and we have it now.
    pub fn go_on(&mut self) {
        if self.has_terminal {
            self.offer_terminal();
        }
        self.pass(Signal::CONT.as_raw());
    }

    /// Ends the keeper when no process of the program is left.
    pub fn dismiss(mut self) {
        self.take_terminal_back();
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

fn report_of(message: &Message) -> Option<Report> {
    let number = message.number(1).and_then(|number| i32::try_from(number).ok());
    match message.word() {
        "stopped" => Some(Report::Stopped(number?)),
        "ended" => Some(Report::Ended(number.and_then(|n| u8::try_from(n).ok()).unwrap_or(1))),
        "alone" => Some(Report::Left(false)),
        "left" => Some(Report::Left(true)),
        "expired" => Some(Report::Expired),
        "refused" => Some(Report::Refused(Pid::from_raw(number?)?)),
        _ => None,
    }
}

/// What follows from a stop.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    AndStays,
    AndGoesOn,
}

/// Stops our own group, as Ctrl-Z does, and returns when it goes on. Not with SIGSTOP: in a
/// group that nobody could wake again (`ssh -t HOST reserva …`) the system ignores this one.
pub fn stop_ourselves() {
    let _ = kill_current_process_group(Signal::TTIN);
}

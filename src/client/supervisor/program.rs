//! The program that runs under a reservation, as seen by the supervisor: its keeper (`keeper.rs`),
//! its processes, and the terminal.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use super::channel::Channel;
use super::clock::BootTime;
use super::keeper::{KEEPER_NAME, THIS_EXECUTABLE};
use super::messages::{Handover, KeeperReport, KeeperRequest};
use super::process_tree::{self, NotPermitted, Process};
use super::terminal::{Terminal, stop_group};

/// A program that needs a terminal which the client cannot lend stops again and again. This pause
/// prevents a busy loop where the client cannot be stopped together with it.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(100);

pub struct Program {
    keeper: Child,
    channel: Channel,
    keeper_pid: Pid,
    /// The process of the program, and its group.
    pid: Pid,
    /// Whether the keeper was killed, so that the supervisor has to end the processes.
    is_orphaned: bool,
    /// Whether this process is a subreaper, and thus becomes the parent of those processes.
    is_subreaper: bool,
    terminal: Terminal,
    /// Processes that were reported because they must not be signalled.
    not_permitted: HashSet<Pid>,
}

/// How the supervisor reacts to a stop of the program.
#[derive(Debug, PartialEq, Eq)]
pub enum StopReaction {
    LeaveStopped,
    Continue,
}

impl Program {
    /// Creates the process of the program and its keeper. They inherit the signals with which the
    /// client was started. The program itself runs after [`start`](Self::start).
    pub fn prepare(words: &[OsString]) -> io::Result<Self> {
        // A client started by `exec` may have children already, which must not be killed.
        let is_subreaper = !process_tree::has_children(getpid());
        let (channel, theirs) = Channel::pair()?;
        let mut command = Command::new(THIS_EXECUTABLE);
        command.arg0(KEEPER_NAME).args(words).stdin(Stdio::from(theirs)).process_group(0);
        let keeper = command.spawn()?;
        // Closes the other end in this process.
        drop(command);
        if is_subreaper {
            set_child_subreaper(Some(getpid()))?;
        }
        let pid = wait_until_ready(&channel)?;
        Ok(Program {
            keeper_pid: Pid::from_child(&keeper),
            keeper,
            channel,
            pid,
            is_orphaned: false,
            is_subreaper,
            terminal: Terminal::open(),
            not_permitted: HashSet::new(),
        })
    }

    /// Starts the program with these variables in its environment.
    pub fn start(&mut self, variables: [(&str, &str); 3]) -> io::Result<()> {
        // Lent before the start, because a program that is stopped for the terminal and continued
        // would miss a Ctrl-Z in between. If standard output is a pipe, another process of the
        // client's group (a pager) may need the terminal more than the program does.
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            self.terminal.lend_to(self.pid);
        }
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        let start = KeeperRequest::Start(variables.into());
        self.channel.send(&start.encode(), Some(io::stdin().as_fd()))
    }

    /// Reads a report of the keeper, after its channel has become readable. Returns `None` if the
    /// keeper has died, and [`is_orphaned`](Self::is_orphaned) is true from then on.
    pub fn read_report(&mut self) -> Option<KeeperReport> {
        let report = self.channel.receive().ok().flatten();
        self.is_orphaned = report.is_none();
        KeeperReport::decode(&report?)
    }

    pub fn is_orphaned(&self) -> bool {
        self.is_orphaned
    }

    fn request(&self, request: &KeeperRequest) {
        // The death of the keeper is reported by `read_report`.
        let _ = self.channel.send(&request.encode(), None);
    }

    /// Sets the time at which the keeper kills all processes by itself.
    pub fn set_kill_at(&self, at: Option<BootTime>) {
        self.request(&KeeperRequest::KillAt(at));
    }

    /// Hands the connection of the reservation over to the keeper, for the case that this process
    /// dies.
    pub fn hand_over(&self, connection: BorrowedFd<'_>, handover: Handover) {
        let request = KeeperRequest::Handover(handover);
        let _ = self.channel.send(&request.encode(), Some(connection));
    }

    /// Revokes the last handover, because its connection is lost.
    pub fn revoke_handover(&self) {
        self.request(&KeeperRequest::NoHandover);
    }

    /// Takes the terminal back if the program has it.
    pub fn take_terminal_back(&mut self) {
        self.terminal.take_back_from(self.pid);
    }

    /// Sends a signal to the program's process group, as a terminal does.
    pub fn forward(&self, signal: i32) {
        self.request(&KeeperRequest::Signal(signal));
    }

    /// Asks all processes of the program to end, and continues stopped ones so that they can.
    /// Returns those that must not be signalled, each only once.
    pub fn terminate(&mut self) -> Vec<Process> {
        let not_permitted = self.signal_all(Signal::TERM);
        self.signal_all(Signal::CONT);
        not_permitted
    }

    /// Kills all current processes of the program. Returns those that must not be killed, each only
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
            // If `/proc` does not list the processes, at least the group can be signalled.
            self.forward(signal.as_raw());
        }
        let is_refused = |process: &Process| process.signal(signal) == Err(NotPermitted);
        let refused: Vec<Process> = all.into_iter().filter(is_refused).collect();
        refused.into_iter().filter(|process| self.not_permitted.insert(process.pid)).collect()
    }

    /// Returns the living processes of the program.
    pub fn descendants(&self) -> Vec<Process> {
        match (self.is_orphaned, self.is_subreaper) {
            (false, _) => process_tree::descendants(self.keeper_pid),
            (true, true) => process_tree::descendants(getpid()),
            (true, false) => Vec::new(),
        }
    }

    /// Reaps processes after the death of the keeper. Returns whether none is left.
    pub fn reap(&self) -> bool {
        // Without being a subreaper, this process cannot know about other processes.
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

    /// Handles a stop of the program by this signal.
    ///
    /// Without a terminal, the stop was requested by a signal, and the program stays stopped. At a
    /// terminal, either the program needs the terminal, or the whole job is stopped. In the second
    /// case the client stops too, so that the shell gets the terminal, and this method returns when
    /// the job is continued.
    pub fn handle_stop(&mut self, signal: i32) -> StopReaction {
        if !self.terminal.exists() {
            return StopReaction::LeaveStopped;
        }
        let needs_terminal =
            [Signal::TTIN, Signal::TTOU].iter().any(|needs| needs.as_raw() == signal);
        if needs_terminal && self.terminal.lend_to(self.pid) {
            return StopReaction::Continue;
        }
        stop_group();
        if needs_terminal && !self.terminal.lend_to(self.pid) {
            thread::sleep(BACKGROUND_PAUSE);
        }
        StopReaction::Continue
    }

    /// Continues the program, with the terminal if it had that before and the client has it now.
    pub fn resume(&mut self) {
        if self.terminal.is_lent() {
            self.terminal.lend_to(self.pid);
        }
        self.forward(Signal::CONT.as_raw());
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

/// Waits for the first report of the keeper. Returns the process of the program.
fn wait_until_ready(channel: &Channel) -> io::Result<Pid> {
    let message = channel.receive()?;
    match message.as_ref().and_then(KeeperReport::decode) {
        Some(KeeperReport::Ready(pid)) => Ok(pid),
        Some(KeeperReport::Failed(reason)) => Err(io::Error::other(reason)),
        _ => Err(io::Error::other("the keeper has ended")),
    }
}

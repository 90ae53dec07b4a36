//! The program that runs under a reservation: its process group, its terminal, its end.
//!
//! The program leads a process group of its own, so that it can be ended with all that it
//! started and with nobody else: in its parent's group there may be a whole pipeline, or the
//! script that started us. Two things follow from it:
//!
//! - It dies with us (`PR_SET_PDEATHSIG`). The signal is asked for by the process that it is for,
//!   between its birth and the program; to run code there takes `unsafe`. So we start ourselves
//!   in its place ([`become_program`]), which asks for it and then turns into the program.
//! - At a terminal its group must be the one in the foreground. We give it the terminal when it
//!   starts, or when it first wants it, and take it back at its end. Taking it back would stop
//!   us, who are in the background then, and not to be stopped takes `unsafe` too; so a child of
//!   ours that joins the program's group for a moment gives it back ([`give_terminal_back`]).

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgid, getpgrp, getpid, getppid,
    kill_current_process_group, kill_process, kill_process_group, set_parent_process_death_signal,
    waitid,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The names under which we start ourselves. No user gives a program such a name.
const AS_PROGRAM: &str = "reserva: program";
const AS_TERMINAL: &str = "reserva: terminal";

/// Ourselves, also when the file was replaced or removed since we were started.
const OURSELVES: &str = "/proc/self/exe";

/// What shells return for a program that is not there, and for one that cannot be run.
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_RUNNABLE: u8 = 126;
/// To be added to the number of the signal that ended a program.
pub const EXIT_SIGNAL: i32 = 128;

/// A program that wants a terminal which nobody can give it stops again and again, and where
/// nobody could wake us we do not stop with it. This keeps that from being a busy loop.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(100);

/// What has become of the program.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Runs,
    /// A signal stopped it: Ctrl-Z, or it wanted a terminal that it does not have.
    Stopped(i32),
    /// It has ended; what we shall return for it.
    Ended(u8),
}

pub struct Program {
    child: Child,
    /// The process, and its group.
    pid: Pid,
    /// The terminal that it can be given.
    terminal: Option<File>,
    /// The program has been given the terminal.
    has_terminal: bool,
}

impl Program {
    /// Starts it. Only the main thread may: the program dies with the thread that started it.
    pub fn start(words: &[OsString], variables: [(&str, &str); 3]) -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        let mut command = Command::new(OURSELVES);
        command.arg0(AS_PROGRAM).arg(getpid().to_string()).args(words);
        command.envs(variables).process_group(0);
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let mut program = Program { child, pid, terminal, has_terminal: false };
        // With standard output in a pipe, somebody of our own group (a pager) may need the
        // terminal more than the program does.
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            program.offer_terminal();
        }
        Ok(program)
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

    /// Passes a signal on: those that a terminal sends to the group, as a terminal would, all
    /// others to the program alone.
    pub fn pass(&self, signal: i32) {
        let Some(signal) = Signal::from_named_raw(signal) else {
            return;
        };
        let of_terminals =
            [Signal::INT, Signal::QUIT, Signal::HUP, Signal::TSTP, Signal::CONT, Signal::WINCH];
        if of_terminals.contains(&signal) {
            self.signal_group(signal);
        } else {
            // It is not reaped yet, so the number is still its own.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Tells the whole group to end. It must be running to hear it.
    pub fn ask_to_end(&self) {
        self.signal_group(Signal::TERM);
        self.signal_group(Signal::CONT);
    }

    pub fn kill(&self) {
        self.signal_group(Signal::KILL);
    }

    fn signal_group(&self, signal: Signal) {
        let _ = kill_process_group(self.pid, signal);
    }

    /// What has become of it. After an end it stays unreaped, which keeps the number of its
    /// group from being given to somebody else.
    pub fn look(&self) -> Fate {
        let look = |options| waitid(WaitId::Pid(self.pid), options | WaitIdOptions::NOHANG);
        if let Ok(Some(status)) = look(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            let by_signal = status.terminating_signal().map(|signal| EXIT_SIGNAL + signal);
            let code = status.exit_status().or(by_signal).and_then(|code| u8::try_from(code).ok());
            return Fate::Ended(code.unwrap_or(u8::MAX));
        }
        match look(WaitIdOptions::STOPPED) {
            Ok(Some(status)) => Fate::Stopped(status.stopping_signal().unwrap_or(0)),
            _ => Fate::Runs,
        }
    }

    /// Whether anybody in its group is alive. The system tells of a group only whether it is
    /// there, and our own unreaped program keeps it there.
    pub fn group_lives(&self) -> bool {
        let Ok(processes) = fs::read_dir("/proc") else {
            return true;
        };
        let stats = processes.flatten().filter_map(|process| {
            let name = process.file_name();
            name.as_encoded_bytes().first()?.is_ascii_digit().then_some(())?;
            // Bytes: the name of a process is any bytes.
            fs::read(process.path().join("stat")).ok()
        });
        let group = self.pid.to_string();
        stats.into_iter().any(|stat| lives_in(&stat, &group))
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
        self.signal_group(Signal::CONT);
    }

    /// After its end: the terminal is ours again, and nothing of it is left.
    pub fn bury(mut self) {
        if self.has_terminal
            && let Some(terminal) = self.terminal.take()
        {
            take_terminal_back(terminal, self.pid);
        }
        let _ = self.child.wait();
    }
}

/// What follows from a stop.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    AndStays,
    AndGoesOn,
}

/// Whether a line of `/proc/PID/stat` tells of a process of this group that is alive: after the
/// name, which may be anything and ends with the last `)`, come state, parent and group.
fn lives_in(stat: &[u8], group: &str) -> bool {
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else {
        return false;
    };
    let fields = String::from_utf8_lossy(&stat[end + 1..]);
    let mut fields = fields.split_ascii_whitespace();
    let (state, _parent, its_group) = (fields.next(), fields.next(), fields.next());
    its_group == Some(group) && !matches!(state, Some("Z" | "X"))
}

/// Stops our own group, as Ctrl-Z does, and returns when it goes on. Not with SIGSTOP: in a
/// group that nobody could wake again (`ssh -t HOST reserva …`) the system ignores this one.
pub fn stop_ourselves() {
    let _ = kill_current_process_group(Signal::TTIN);
}

/// See the head of this file.
fn take_terminal_back(terminal: File, from: Pid) {
    let mut command = Command::new(OURSELVES);
    command.arg0(AS_TERMINAL).stdin(terminal).stdout(Stdio::null());
    // The group is there as long as its leader, the program, is not reaped.
    command.process_group(from.as_raw_pid());
    let _ = command.status();
}

/// What we are if we were started by ourselves: the exit code, once that is done.
pub fn other_self(report: impl Fn(&OsStr, &io::Error)) -> Option<u8> {
    let mut arguments = env::args_os();
    let name = arguments.next()?;
    if name == AS_PROGRAM {
        return Some(become_program(arguments, report));
    }
    (name == AS_TERMINAL).then(give_terminal_back)
}

/// Asks to die with the parent, and becomes the program. Returns only if it cannot.
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
    if !has_parent {
        return EXIT_NOT_RUNNABLE;
    }
    let error = match asked {
        Ok(()) => Command::new(&program).args(arguments).exec(),
        Err(error) => error,
    };
    report(&program, &error);
    if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_RUNNABLE }
}

/// Gives the terminal on standard input to our parent's group, if it is our own group's.
fn give_terminal_back() -> u8 {
    let terminal = io::stdin();
    let is_ours = tcgetpgrp(&terminal).is_ok_and(|foreground| foreground == getpgrp());
    let given = getppid()
        .filter(|_| is_ours)
        .and_then(|parent| getpgid(Some(parent)).ok())
        .map(|group| tcsetpgrp(&terminal, group));
    u8::from(!matches!(given, Some(Ok(()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_read_behind_any_name() {
        let rows: [(&[u8], bool); 7] = [
            (b"5 (sh) S 1 7 5 0", true),
            (b"5 (a) Z 1 7 (b) R 1 7 5", true),
            (b"5 (\xff )) ( x) T 1 7 5", true),
            (b"5 (sh) Z 1 7 5", false),
            (b"5 (sh) S 7 1 7", false),
            (b"5 (sh) S 1 77 5", false),
            (b"", false),
        ];
        for (stat, expected) in rows {
            assert_eq!(lives_in(stat, "7"), expected, "{}", String::from_utf8_lossy(stat));
        }
    }
}

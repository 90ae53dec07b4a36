//! The processes of the program: start, signals, reports of the keeper, and the end.

use std::io;
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};

use super::clock::BootTime;
use super::lease::TERM_TO_KILL;
use super::messages::KeeperReport;
use super::process_tree::Process;
use super::program::{Program, StopReaction};
use super::stage::Stage;
use super::terminal::stop_group;
use super::{EXIT_SIGNAL, INTERRUPT_WAIT, Supervisor};
use crate::client::output::print_message;
use crate::client::reply::escape_for_terminal;
use crate::client::texts::{self, Text};
use crate::{EXIT_LOST, EXIT_OS};

/// Exit code of a killed program.
const EXIT_KILLED: u8 = 137;

/// Limit for the server to end a wait that was interrupted.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest number of processes that a message lists.
const MAX_LISTED: usize = 5;

// The start of the program, and signals for the client.
impl Supervisor<'_> {
    pub(super) fn start_program(&mut self) {
        let resources = self.lease.resources();
        let variables = [
            ("RESERVA_ID", self.lease.number.trim_start_matches('#')),
            ("RESERVA_RECURSOS", resources.as_str()),
            ("RESERVA_HASTA", self.lease.until.as_str()),
        ];
        let Some(program) = &mut self.program else {
            return;
        };
        match program.start(variables) {
            Ok(()) => {
                self.was_started = true;
                self.stage = Stage::Running;
            }
            Err(error) => self.fail_to_start(&error),
        }
    }

    fn fail_to_start(&mut self, error: &io::Error) {
        self.print(texts::NO_PROCESS, &[&error.to_string()]);
        self.abort_start(EXIT_OS);
    }

    /// Ends the run before the program has started.
    fn abort_start(&mut self, code: u8) {
        match self.stage {
            Stage::Reserving => {
                // The server may grant the reservation at this moment, so its reply is needed.
                self.session.send_bytes(&INTERRUPT_WAIT);
                let deadline = BootTime::now() + INTERRUPT_TIMEOUT;
                self.stage = Stage::Interrupted { code, deadline };
            }
            Stage::Interrupted { .. } => self.stage = Stage::Done { code },
            _ => self.release(code),
        }
    }

    pub(super) fn handle_signal(&mut self, signal: i32) {
        let is_fatal = [SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(&signal);
        match (&self.program, self.stage) {
            (Some(program), Stage::Running | Stage::Terminating { .. }) => program.forward(signal),
            // The program has ended, so the signal is for the processes that it left running.
            (_, Stage::Draining { .. }) if is_fatal => self.terminate_children(),
            (Some(program), Stage::Draining { .. }) if signal == SIGCONT => program.forward(signal),
            (_, stage) if stage.is_before_start() && is_fatal => {
                self.abort_start(u8::try_from(EXIT_SIGNAL + signal).unwrap_or(u8::MAX));
            }
            (_, stage) if stage.is_before_start() && signal == SIGTSTP => stop_group(),
            _ => {}
        }
    }
}

// Reports of the keeper.
impl Supervisor<'_> {
    /// Reads and handles a report of the keeper, or its death.
    pub(super) fn handle_keeper(&mut self) {
        let Some(program) = &mut self.program else {
            return;
        };
        match program.read_report() {
            Some(report) => self.handle_report(report),
            None if program.is_orphaned() => self.handle_keeper_death(),
            None => {}
        }
    }

    fn handle_report(&mut self, report: KeeperReport) {
        match report {
            KeeperReport::Exited(_) if self.stage.is_before_start() => self.fail_without_keeper(),
            KeeperReport::Exited(code) if self.stage == Stage::Running => {
                self.stage = Stage::Draining { code, kill_at: None };
                if let Some(program) = &mut self.program {
                    program.take_terminal_back();
                }
            }
            KeeperReport::Stopped(signal) => self.handle_stop(signal),
            KeeperReport::NoneLeft => self.handle_end_of_processes(),
            KeeperReport::SomeLeft => {
                if let Stage::Draining { kill_at: None, .. } = self.stage {
                    self.handle_children();
                }
            }
            KeeperReport::Expired => {
                self.lose_reservation(texts::LOSS_END_NEAR.get(self.language).to_owned());
            }
            KeeperReport::NotPermitted(pid) => {
                self.print(texts::CANNOT_SIGNAL, &[&pid.to_string()]);
            }
            KeeperReport::Exited(_) | KeeperReport::Ready(_) | KeeperReport::Failed(_) => {}
        }
    }

    fn fail_without_keeper(&mut self) {
        self.fail_to_start(&io::Error::other(texts::KEEPER_KILLED.get(self.language)));
    }

    fn handle_stop(&mut self, signal: i32) {
        let Some(program) = &mut self.program else {
            return;
        };
        if program.handle_stop(signal) == StopReaction::Continue {
            // The stop may have taken long. The program only continues if the reservation is still
            // in force.
            let _ = self.run_due(BootTime::now());
            if let (Some(program), Stage::Running) = (&mut self.program, self.stage) {
                program.resume();
            }
        }
    }

    /// Handles processes that the program has left running.
    fn handle_children(&mut self) {
        let Some(program) = &self.program else {
            return;
        };
        let children = program.descendants();
        if !self.settings.waits_for_children {
            if !children.is_empty() {
                self.print(texts::LEFT_RUNNING, &[&list(&children)]);
            }
            self.terminate_children();
        } else if !children.is_empty() && !std::mem::replace(&mut self.reported_children, true) {
            self.print(texts::WAITING_FOR_CHILDREN, &[&list(&children)]);
        }
    }

    /// Handles the death of the keeper, with which the program was killed. Other processes of the
    /// program are children of this process now.
    fn handle_keeper_death(&mut self) {
        if self.stage.is_before_start() {
            return self.fail_without_keeper();
        }
        if let Stage::Running | Stage::Draining { .. } = self.stage {
            print_message(texts::KEEPER_KILLED.get(self.language));
        }
        let code = match self.stage {
            Stage::Running => EXIT_KILLED,
            Stage::Draining { code, .. } => code,
            _ => return,
        };
        self.stage = Stage::Draining { code, kill_at: Some(BootTime::now()) };
    }
}

// The end of the processes.
impl Supervisor<'_> {
    /// Ends the processes that the program has left running: with TERM the first time, and with
    /// KILL the second time or after a while.
    fn terminate_children(&mut self) {
        let Stage::Draining { code, kill_at } = self.stage else {
            return;
        };
        let now = BootTime::now();
        if kill_at.is_some() {
            self.stage = Stage::Draining { code, kill_at: Some(now) };
        } else {
            self.stage = Stage::Draining { code, kill_at: Some(now + TERM_TO_KILL) };
            self.terminate_all();
        }
    }

    /// Handles the loss of the reservation, now or at its end: ends the processes of the program
    /// before that.
    pub(super) fn lose_reservation(&mut self, reason: String) {
        if !self.stage.needs_reservation() {
            return;
        }
        self.loss_reason = reason;
        let latest = BootTime::now() + TERM_TO_KILL;
        let mut kill_at = self.lease.kill_at().map_or(latest, |at| at.min(latest));
        if let Stage::Draining { kill_at: Some(earlier), .. } = self.stage {
            kill_at = kill_at.min(earlier);
        }
        self.stage = Stage::Terminating { kill_at };
        if !self.was_started {
            return self.handle_end_of_processes();
        }
        // After a long stop it may be too late for TERM, which continues stopped processes.
        if BootTime::now() < kill_at {
            self.terminate_all();
        }
    }

    fn terminate_all(&mut self) {
        let not_permitted = self.program.as_mut().map(Program::terminate);
        self.report_not_permitted(&not_permitted.unwrap_or_default());
    }

    /// Kills the processes if it is time. Without a keeper, also detects that none is left.
    pub(super) fn kill_if_due(&mut self, kill_at: BootTime, now: BootTime) {
        if now >= kill_at {
            let not_permitted = self.program.as_mut().map(Program::kill);
            self.report_not_permitted(&not_permitted.unwrap_or_default());
        }
        if self.program.as_ref().is_some_and(|program| program.is_orphaned() && program.reap()) {
            self.handle_end_of_processes();
        }
    }

    fn report_not_permitted(&self, processes: &[Process]) {
        for process in processes {
            let name = escape_for_terminal(process.name.as_bytes());
            self.print(texts::CANNOT_END, &[&process.pid.to_string(), &name]);
        }
    }

    /// Handles the end of the last process of the program.
    fn handle_end_of_processes(&mut self) {
        if let Some(program) = self.program.take() {
            program.dismiss();
        }
        match self.stage {
            Stage::Draining { code, .. } => self.release(code),
            Stage::Terminating { .. } => {
                let text =
                    if self.was_started { texts::LOST_RUNNING } else { texts::LOST_BEFORE_START };
                self.print(text, &[&self.lease.number, &self.loss_reason]);
                if self.session.is_connected() && !self.history.is_replaced {
                    self.release(EXIT_LOST);
                } else {
                    self.stage = Stage::Done { code: EXIT_LOST };
                }
            }
            _ => {}
        }
    }

    /// Ends the run although processes of the program still run without the reservation.
    pub(super) fn give_up_on_processes(&mut self) {
        let left = self.program.as_ref().map(Program::descendants).unwrap_or_default();
        let values = [self.lease.number.as_str(), &self.loss_reason, &list(&left)];
        self.print(texts::STILL_RUNNING, &values);
        self.stage = Stage::Done { code: EXIT_LOST };
    }

    /// Prints a message on standard error.
    pub(super) fn print(&self, text: Text, values: &[&str]) {
        print_message(&text.format(self.language, values));
    }
}

/// Formats processes for a message, as `sleep (4711), sh (4712)`.
fn list(processes: &[Process]) -> String {
    let format = |process: &Process| {
        format!("{} ({})", escape_for_terminal(process.name.as_bytes()), process.pid)
    };
    let mut listed: Vec<String> = processes.iter().take(MAX_LISTED).map(format).collect();
    if processes.len() > MAX_LISTED {
        listed.push(format!("… ({})", processes.len()));
    }
    listed.join(", ")
}

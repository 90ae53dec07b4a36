//! The dialog with the server: queries, their replies, notices, and the loss of the connection.

use std::os::fd::AsFd;
use std::time::Duration;

use reservad::text::{Opt, Verb};

use super::Supervisor;
use super::clock::BootTime;
use super::lease::{LeaseEvent, OkReply, event_number, last_event};
use super::messages::Handover;
use super::run_request::{End, until_quit};
use super::session::{PendingQuery, Query};
use super::stage::Stage;
use crate::client::output::Output;
use crate::client::reply::{LineKind, escape_for_terminal, exit_code_of_err};
use crate::client::texts;
use crate::{EXIT_LOST, Exit};

/// Longest valid reply to a reservation: 32 names of 128 bytes and some words.
const RESERVED_MAX_BYTES: usize = 8 * 1024;

/// Limit for the release, because the program has ended and the user waits for the client.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

// The start of a connection.
impl Supervisor<'_> {
    /// Sends the first query, which is the one for the holder, if there is one. The reservation
    /// follows only if that succeeds.
    pub(super) fn start_reserving(&mut self) {
        if !self.identify() {
            self.reserve();
        }
    }

    /// Sends the name of the holder. Returns whether the request has one.
    fn identify(&mut self) -> bool {
        let Some(holder) = &self.request.holder else {
            return false;
        };
        let line = format!("{} {holder}", Verb::IAm.word(self.request.lang));
        self.session.send(Query::Identify, &line);
        true
    }

    fn reserve(&mut self) {
        let line = match self.end {
            End::Connection => &self.request.reserve_until_quit,
            _ => &self.request.reserve,
        };
        self.session.send(Query::Reserve, line);
    }

    /// Starts a watch of the reservation and checks whether it is in force. A watch can select one
    /// resource or all. On a later connection, the check follows in
    /// [`handle_history`](Self::handle_history).
    fn check(&mut self) {
        let lang = self.request.lang;
        let watch = match self.lease.names.as_str() {
            names if names.contains(", ") => Verb::Watch.word(lang).to_owned(),
            name => format!("{} {name}", Verb::Watch.word(lang)),
        };
        self.session.send(Query::Watch, &watch);
        if self.session.is_first_connection() {
            self.renew();
        }
        self.session.send(Query::Status, Verb::Status.word(lang));
    }

    /// Renews the reservation, or verifies one that is not renewed.
    pub(super) fn renew(&mut self) {
        match self.renewal() {
            Some(line) => self.session.send(Query::Renew, &line),
            None => self.verify(),
        }
    }

    /// Returns the line that renews the reservation, if it is renewed.
    fn renewal(&self) -> Option<String> {
        let (lang, number) = (self.request.lang, &self.lease.number);
        let renew =
            |ttl| format!("{} {number} {}={ttl}", Verb::Renew.word(lang), Opt::For.word(lang));
        match &self.end {
            End::Lease(ttl) => Some(renew(&ttl.text)),
            End::KeepAlive(ttl) => Some(format!("{} {}", renew(&ttl.text), until_quit(lang))),
            End::Connection | End::Fixed => None,
        }
    }

    fn verify(&mut self) {
        let verb = Verb::Verify.word(self.request.lang);
        let line = format!("{verb} {}", self.lease.number);
        self.session.send(Query::Verify, &line);
    }

    /// Continues to reconnect. On a new connection, checks the reservation, also before a release,
    /// because a number in another history must not be cancelled.
    pub(super) fn continue_reconnect(&mut self) {
        if !self.stage.needs_connection() {
            return self.session.stop_reconnecting();
        }
        let Some(connection) = self.session.continue_reconnect() else {
            return;
        };
        self.is_handed_over = false;
        if self.session.attach(connection).is_err() {
            return self.session.schedule_reconnect();
        }
        self.identify();
        self.check();
    }
}

// The loss of the connection.
impl Supervisor<'_> {
    /// Handles the loss of the connection: connects again if the reservation outlives it.
    pub(super) fn lose_connection(&mut self, reason: &str) -> Result<(), Exit> {
        self.may_be_released |= self.session.is_pending(&[Query::Cancel]);
        let Some(connection) = self.session.detach() else {
            return Ok(());
        };
        self.revoke_handover();
        let is_bound = self.end == End::Connection;
        match self.stage {
            Stage::Reserving => {
                return Err(connection.unavailable(texts::LOST_RESERVING, &[reason]));
            }
            Stage::Interrupted { code, .. } => self.stage = Stage::Done { code },
            // The reservation has ended with the connection, as intended.
            Stage::Releasing { code, .. } if is_bound => self.stage = Stage::Done { code },
            stage if stage.needs_reservation() && is_bound => {
                let values = [&connection.name(), reason];
                self.lose_reservation(texts::LOSS_CONNECTION.format(self.language, &values));
            }
            stage if stage.needs_connection() => self.session.schedule_reconnect(),
            _ => {}
        }
        Ok(())
    }

    fn revoke_handover(&mut self) {
        self.is_handed_over = false;
        if let Some(program) = &self.program {
            program.revoke_handover();
        }
    }
}

// Lines of the server.
impl Supervisor<'_> {
    /// Reads and handles lines of the server.
    pub(super) fn handle_session(&mut self) -> Result<(), Exit> {
        let generation = self.session.generation();
        let received = self.session.receive();
        for (kind, line) in received.lines {
            self.handle_line(kind, &line)?;
            let is_done = matches!(self.stage, Stage::Done { .. });
            if is_done || generation != self.session.generation() {
                // The remaining lines belong to a connection that was abandoned.
                return Ok(());
            }
        }
        match received.disconnect {
            Some(reason) => self.lose_connection(&reason.text(self.language)),
            None => Ok(()),
        }
    }

    fn handle_line(&mut self, kind: LineKind, line: &[u8]) -> Result<(), Exit> {
        match kind {
            LineKind::Notice => self.handle_notice(line),
            LineKind::Invalid => match self.session.connection() {
                Some(connection) if self.stage.is_before_grant() => {
                    return Err(connection.not_reservad(line));
                }
                _ => return self.lose_connection(&escape_for_terminal(line)),
            },
            LineKind::Ok | LineKind::Err => {
                if let Some(pending) = self.session.take_pending() {
                    return self.handle_reply(pending, kind == LineKind::Ok, line);
                }
            }
            LineKind::ListHeader(items_left) | LineKind::Item(items_left) => {
                if let LineKind::Item(_) = kind {
                    self.session.add_item(line);
                }
                if items_left == 0 {
                    let items = self.session.take_items();
                    let query = self.session.take_pending().map(|pending| pending.query);
                    if query == Some(Query::Status) {
                        self.handle_history(&items);
                    }
                }
            }
        }
        Ok(())
    }

    fn handle_notice(&mut self, line: &[u8]) {
        if self.stage.is_before_grant() {
            // The position in the queue. Standard output belongs to the program.
            if !self.settings.is_quiet {
                self.print_line(line);
            }
            return;
        }
        let line = String::from_utf8_lossy(line).into_owned();
        if let Some(event) = event_number(&line) {
            self.history.last_event = self.history.last_event.max(event);
        }
        match LeaseEvent::parse(&line, &self.lease.number) {
            Some(LeaseEvent::Ended) => {
                self.lose_reservation(texts::LOSS_ENDED.get(self.language).to_owned());
            }
            // The notice of an own renewal follows its reply, which contains the same end. So this
            // is a renewal by another client.
            Some(LeaseEvent::Renewed(until)) if until != self.lease.until => {
                self.lease.until = until.to_owned();
                self.renew();
            }
            _ => {}
        }
    }

    /// Prints a line of the server on standard error.
    fn print_line(&self, line: &[u8]) {
        let mut output = Output::stderr(self.language);
        let _ = output.line(line).and_then(|()| output.flush());
    }

    fn handle_reply(
        &mut self,
        pending: PendingQuery,
        is_ok: bool,
        line: &[u8],
    ) -> Result<(), Exit> {
        let text = String::from_utf8_lossy(line).into_owned();
        match (pending.query, is_ok) {
            (Query::Identify, true) if self.stage == Stage::Reserving => self.reserve(),
            (Query::Identify, true) if self.lease.number.is_empty() => self.handle_refusal(line),
            (Query::Identify, true) | (Query::Watch, false) | (Query::Quit, _) => {}
            (Query::Watch, true) => self.handle_watch_position(&text),
            // The server cannot report its history.
            (Query::Status, _) => self.handle_history(&[]),
            (Query::Reserve, false) if self.must_fall_back(&text) => {
                self.end = End::Connection;
                self.reserve();
            }
            (Query::Identify | Query::Reserve, false) => self.handle_refusal(line),
            (Query::Reserve, true) => return self.handle_grant(&text, line),
            (Query::Renew | Query::Verify, true) => self.handle_confirmation(pending, &text),
            (Query::Renew | Query::Verify, false) => {
                return self.handle_denial(pending.query, &text);
            }
            (Query::Cancel, _) => self.handle_release(is_ok, &text),
        }
        Ok(())
    }

    /// Returns whether the server does not support the kind of end that is the default, and the
    /// user has not asked for it.
    fn must_fall_back(&self, text: &str) -> bool {
        let is_default = matches!(self.end, End::KeepAlive(_))
            && self.request.reserve_until_quit != self.request.reserve;
        is_default && text.starts_with("ERR 400") && self.stage == Stage::Reserving
    }

    /// Handles an `ERR` to the reservation or to the name of the holder.
    fn handle_refusal(&mut self, line: &[u8]) {
        let code = match self.stage {
            Stage::Reserving => {
                self.print_line(line);
                exit_code_of_err(line)
            }
            Stage::Interrupted { code, .. } => code,
            // The server refuses the holder on a later connection and will refuse renewals. Then
            // the end of the reservation decides.
            _ => return,
        };
        self.stage = Stage::Done { code };
    }

    fn handle_grant(&mut self, text: &str, line: &[u8]) -> Result<(), Exit> {
        // Parts of the reply are sent to the server and passed to the program as environment.
        let is_sound = line.len() <= RESERVED_MAX_BYTES && !text.contains(char::is_control);
        let Some(reply) = OkReply::parse(text).filter(|_| is_sound) else {
            return match self.session.connection() {
                Some(connection) => Err(connection.not_reservad(line)),
                None => Ok(()),
            };
        };
        self.lease.number = reply.number.to_owned();
        self.lease.names = reply.names.to_owned();
        self.lease.until = reply.until().unwrap_or("-").to_owned();
        match self.stage {
            Stage::Interrupted { code, .. } => self.release(code),
            _ => {
                self.stage = Stage::Checking { deadline: BootTime::now() + self.check_timeout() };
                self.check();
            }
        }
        Ok(())
    }

    /// Handles the number of the last event in the reply to a watch. If it is lower than the last
    /// one seen, the server has a different history.
    fn handle_watch_position(&mut self, text: &str) {
        let Some(last) = last_event(text) else {
            return;
        };
        if last < self.history.last_event {
            self.lose_history();
        }
        self.history.last_event = self.history.last_event.max(last);
    }

    /// Handles the status of the server, which contains the identity of its history.
    fn handle_history(&mut self, items: &[String]) {
        let identity = items.iter().find_map(|item| item.strip_prefix("journal="));
        match (&self.history.identity, identity) {
            (Some(known), Some(new)) if known != new => return self.lose_history(),
            (None, Some(new)) => self.history.identity = Some(new.to_owned()),
            _ => {}
        }
        match self.stage {
            _ if self.session.is_first_connection() => {}
            Stage::Releasing { .. } if !self.session.is_pending(&[Query::Cancel]) => self.cancel(),
            stage if stage.needs_reservation() => self.renew(),
            _ => {}
        }
    }

    /// Handles a different history: the server lost its own or was restored from a backup, and the
    /// number may belong to another client.
    fn lose_history(&mut self) {
        let reason = texts::LOSS_HISTORY.get(self.language);
        if let Stage::Releasing { .. } = self.stage {
            self.print(texts::LOST_BEFORE_START, &[&self.lease.number, reason]);
            self.stage = Stage::Done { code: EXIT_LOST };
            return;
        }
        self.history.is_replaced = true;
        if let Some(program) = &self.program {
            program.revoke_handover();
        }
        self.lose_reservation(reason.to_owned());
    }

    /// Handles the confirmation that the reservation is in force, for its whole term or for the
    /// time that is left. The first confirmation starts the program.
    fn handle_confirmation(&mut self, pending: PendingQuery, text: &str) {
        let Some(reply) = OkReply::parse(text) else {
            return;
        };
        if reply.names != self.lease.names {
            // The program needs all its resources, and one was cancelled.
            return self.lose_reservation(texts::LOSS_ENDED.get(self.language).to_owned());
        }
        self.lease.until = reply.until().unwrap_or(&self.lease.until).to_owned();
        match (pending.query, self.end.ttl()) {
            (Query::Renew, Some(ttl)) => self.lease.set_lifetime(pending.sent, Some(ttl)),
            _ => self.lease.set_lifetime(pending.sent, reply.left().unwrap_or_default()),
        }
        self.session.reset_reconnect_delay();
        self.inform_keeper();
        if let Stage::Checking { .. } = self.stage {
            self.start_program();
        }
    }

    /// Informs the keeper how long the reservation lasts and, once per connection, how to renew and
    /// release it.
    fn inform_keeper(&mut self) {
        let (Some(program), Some(connection)) = (&self.program, self.session.connection()) else {
            return;
        };
        program.set_kill_at(self.lease.kill_at());
        if !std::mem::replace(&mut self.is_handed_over, true) {
            let lang = self.request.lang;
            let handover = Handover {
                release: format!(
                    "{} {}\n{}\n",
                    Verb::Cancel.word(lang),
                    self.lease.number,
                    Verb::Quit.word(lang)
                ),
                renew: self.renewal().map(|line| line + "\n").unwrap_or_default(),
                interval: self.end.ttl().map(|ttl| ttl / 3),
            };
            program.hand_over(connection.stream.as_fd(), handover);
        }
    }

    /// Handles an `ERR` to a renewal or check.
    fn handle_denial(&mut self, query: Query, text: &str) -> Result<(), Exit> {
        let code = text.split(' ').nth(1).unwrap_or_default();
        match (query, code) {
            // Another reservation follows. This one is in force until then, and the other one may
            // be cancelled.
            (Query::Renew, "409") => self.verify(),
            (_, "403" | "404" | "410") => {
                let text = escape_for_terminal(text.as_bytes());
                self.lose_reservation(texts::LOSS_REPLY.format(self.language, &[&text]));
            }
            // The server is full or stopping.
            _ => return self.lose_connection(&escape_for_terminal(text.as_bytes())),
        }
        Ok(())
    }
}

// The release.
impl Supervisor<'_> {
    pub(super) fn release(&mut self, code: u8) {
        let latest = BootTime::now() + RELEASE_TIMEOUT;
        let deadline = self.lease.ends_at().map_or(latest, |end| end.min(latest));
        self.stage = Stage::Releasing { code, deadline };
        if self.session.is_connected() {
            self.cancel();
        }
    }

    /// Cancels the reservation. Also needed if it is bound to the connection, because another
    /// client may have renewed it with `for=`.
    fn cancel(&mut self) {
        let lang = self.request.lang;
        self.session
            .send(Query::Cancel, &format!("{} {}", Verb::Cancel.word(lang), self.lease.number));
        if matches!(self.end, End::Connection | End::KeepAlive(_)) {
            self.session.send(Query::Quit, Verb::Quit.word(lang));
        }
    }

    fn handle_release(&mut self, is_ok: bool, text: &str) {
        let Stage::Releasing { code, .. } = self.stage else {
            return;
        };
        self.stage = Stage::Done { code };
        if is_ok || self.may_be_released || code == EXIT_LOST {
            return;
        }
        if ["ERR 404", "ERR 410"].iter().any(|ended| text.starts_with(ended)) {
            let reason = texts::LOSS_ENDED.get(self.language);
            self.print(texts::LOST_BEFORE_START, &[&self.lease.number, reason]);
            self.stage = Stage::Done { code: EXIT_LOST };
        } else {
            self.report_unconfirmed_release();
        }
    }

    pub(super) fn report_unconfirmed_release(&self) {
        self.print(texts::NOT_CONFIRMED, &[&self.lease.number]);
    }
}

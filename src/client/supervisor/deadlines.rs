//! The deadlines of a run: the next one, and the actions at each.

use std::time::Duration;

use super::Supervisor;
use super::clock::BootTime;
use super::keeper::KILL_INTERVAL;
use super::session::{PendingQuery, Query};
use super::stage::Stage;
use crate::client::reply::Disconnect;
use crate::client::texts;
use crate::{EXIT_UNAVAILABLE, Exit};

/// Limit for a reply, after which the connection counts as lost. With a short time to live, the
/// limit is a third of that.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for processes to end after KILL. After that the client gives up on those that it cannot
/// end, because they belong to another user or wait for a device that does not respond.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

impl Supervisor<'_> {
    /// Performs all actions that are due.
    pub(super) fn run_due(&mut self, now: BootTime) -> Result<(), Exit> {
        if self.session.reconnect_at().is_some_and(|at| at <= now) {
            self.continue_reconnect();
        }
        match self.stage {
            Stage::Reserving if self.is_reply_overdue(now) => {
                return self.lose_connection(&self.timeout_text());
            }
            Stage::Interrupted { code, deadline } if now >= deadline => {
                self.stage = Stage::Done { code };
            }
            Stage::Checking { deadline } if now >= deadline => self.abandon_check(),
            Stage::Checking { .. } | Stage::Running | Stage::Draining { .. } => {
                self.maintain_reservation(now);
            }
            Stage::Releasing { code, deadline } if now >= deadline => {
                // A reservation that has reached its end needs no release.
                if self.lease.ends_at().is_none_or(|end| now < end) {
                    self.report_unconfirmed_release();
                }
                self.stage = Stage::Done { code };
            }
            _ => {}
        }
        // The new stage may have actions that are due, too.
        match self.stage {
            Stage::Terminating { kill_at } => {
                self.kill_if_due(kill_at, now);
                if self.stage == (Stage::Terminating { kill_at }) && now >= kill_at + KILL_TIMEOUT {
                    self.give_up_on_processes();
                }
            }
            Stage::Draining { kill_at: Some(kill_at), .. } => self.kill_if_due(kill_at, now),
            _ => {}
        }
        Ok(())
    }

    /// Renews the reservation, or detects that it cannot be kept.
    fn maintain_reservation(&mut self, now: BootTime) {
        let is_due = |time: Option<BootTime>| time.is_some_and(|time| time <= now);
        if is_due(self.lease.term_at()) {
            self.lose_reservation(texts::LOSS_END_NEAR.get(self.language).to_owned());
        } else if self.is_reply_overdue(now) {
            // Returns an error only while reserving.
            let _ = self.lose_connection(&self.timeout_text());
        } else if is_due(self.renew_at()) {
            self.renew();
        }
    }

    /// Ends the run, because the server has granted the reservation but not confirmed it in time.
    fn abandon_check(&mut self) {
        self.print(texts::NOT_CHECKED, &[&self.lease.number, self.session.server_name()]);
        self.release(EXIT_UNAVAILABLE);
        self.stage = Stage::Done { code: EXIT_UNAVAILABLE };
    }

    /// Returns the limit for the reply to the first check of the reservation.
    pub(super) fn check_timeout(&self) -> Duration {
        self.end.ttl().unwrap_or(self.settings.timeout).min(self.settings.timeout)
    }

    fn timeout_text(&self) -> String {
        Disconnect::Timeout.text(self.language)
    }

    /// Returns when the next renewal is due. There is none without a connection, or while the reply
    /// to a renewal or check is pending.
    fn renew_at(&self) -> Option<BootTime> {
        let is_checking = self.session.is_pending(&[Query::Renew, Query::Verify, Query::Status]);
        let can_renew = self.end.ttl().is_some() && self.session.is_connected() && !is_checking;
        self.lease.renew_at().filter(|_| can_renew)
    }

    /// Returns when the reply to the oldest query is overdue.
    fn reply_deadline(&self) -> Option<BootTime> {
        let PendingQuery { query, sent } = self.session.oldest_pending()?;
        let timeout = match (query, self.end.ttl()) {
            (Query::Reserve, _) => self.settings.timeout.saturating_add(self.request.wait),
            (Query::Identify, _) if self.lease.number.is_empty() => self.settings.timeout,
            (_, Some(ttl)) => REPLY_TIMEOUT.min(ttl / 3),
            (_, None) => REPLY_TIMEOUT,
        };
        Some(sent + timeout)
    }

    fn is_reply_overdue(&self, now: BootTime) -> bool {
        self.reply_deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Returns the time of the next action.
    pub(super) fn next_deadline(&self) -> Option<BootTime> {
        // While processes are being killed, new ones are searched for at intervals.
        let next_kill = |kill_at: BootTime| kill_at.max(BootTime::now() + KILL_INTERVAL);
        let of_stage = match self.stage {
            Stage::Reserving => self.reply_deadline(),
            Stage::Interrupted { deadline, .. }
            | Stage::Checking { deadline }
            | Stage::Releasing { deadline, .. } => Some(deadline),
            Stage::Terminating { kill_at } => Some(next_kill(kill_at)),
            Stage::Draining { kill_at, .. } => kill_at.map(next_kill),
            Stage::Running | Stage::Done { .. } => None,
        };
        let of_reservation = if self.stage.needs_reservation() {
            [self.lease.term_at(), self.reply_deadline(), self.renew_at()]
        } else {
            [None; 3]
        };
        let all = of_reservation.into_iter().chain([of_stage, self.session.reconnect_at()]);
        all.flatten().min()
    }
}

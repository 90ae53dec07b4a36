//! Closed connections. Their removal, and the release of their reservations, is spread over as many
//! turns as it takes.

use std::collections::VecDeque;

use log::debug;

use super::client::Phase;
use super::observer::Observer;
use super::{Key, Service, Stream};
use crate::commands;
use crate::inventory::{Ending, SessionId};
use crate::journal::Storage;
use crate::limits::{REAPED_A_TURN, RELEASES_A_TURN, RELEASES_AT_ONCE};

/// The queues of connections that leave.
#[derive(Debug, Default)]
pub struct Departures {
    /// Closed connections that are not removed yet.
    closed: VecDeque<Key>,
    /// Connections whose reservations are not all released yet. Each gets its part in rounds.
    leavers: VecDeque<Leaver>,
}

/// A connection whose reservations are not all released yet.
#[derive(Clone, Copy, Debug)]
struct Leaver {
    session: SessionId,
    /// The connection to answer when all is released, if it has sent `SALIR`.
    asked: Option<Key>,
}

impl Leaver {
    fn ending(&self) -> Ending {
        if self.asked.is_some() { Ending::Quit } else { Ending::Lost }
    }
}

impl Departures {
    /// Adds a connection that was closed.
    pub fn add(&mut self, key: Key) {
        self.closed.push_back(key);
    }

    /// Returns whether there are connections to remove or reservations to release.
    pub fn has_work(&self) -> bool {
        !self.closed.is_empty() || self.has_leavers()
    }

    /// Returns whether reservations of closed connections are still to be released.
    pub fn has_leavers(&self) -> bool {
        !self.leavers.is_empty()
    }
}

impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Releases the reservations of a connection that has ended and has no output, so that a later
    /// client of this turn can have them. For others, a later reap does it.
    pub(super) fn end_in_turn(&mut self, key: Key) {
        let client = &mut self.clients[key];
        if client.phase == Phase::Closing && client.conn.is_eof() && client.conn.is_flushed() {
            client.is_releasing = true;
            let leaver = Leaver { session: client.session.id(), asked: None };
            self.close(key);
            self.release(leaver, RELEASES_AT_ONCE);
        }
    }

    /// Queues a connection that has sent `SALIR` and holds more than is released at once. It gets
    /// its reply when everything is released.
    pub(super) fn leave_later(&mut self, key: Key) {
        let client = &mut self.clients[key];
        client.is_releasing = true;
        let leaver = Leaver { session: client.session.id(), asked: Some(key) };
        self.departures.leavers.push_back(leaver);
    }

    /// Ends up to `most` reservations of a connection. Answers it if none is left, and queues it
    /// otherwise.
    fn release(&mut self, leaver: Leaver, most: usize) {
        if !self.engine.release(leaver.session, leaver.ending(), most) {
            return self.departures.leavers.push_back(leaver);
        }
        let Some(key) = leaver.asked else { return };
        let Some(client) = self.clients.of_session(key, leaver.session) else { return };
        if client.phase == Phase::Leaving {
            let eol = client.conn.eol();
            commands::farewell(&client.session, eol, client.conn.out());
            client.phase = Phase::Closing;
            self.flusher.push(key);
        }
    }

    /// Removes closed connections, and releases some of their reservations. Returns whether any
    /// connection was removed.
    pub(super) fn reap(&mut self) -> bool {
        if !self.departures.has_work() {
            return false;
        }
        let count = self.departures.closed.len().min(REAPED_A_TURN);
        let mut was_watcher = false;
        for _ in 0..count {
            let Some(key) = self.departures.closed.pop_front() else { break };
            was_watcher |= self.remove(key);
        }
        if was_watcher {
            self.watchers.retain(|key| self.clients.contains(key));
        }
        self.release_some();
        count > 0
    }

    /// Removes a connection. Returns whether it was a watcher.
    fn remove(&mut self, key: Key) -> bool {
        let client = self.clients.remove(key);
        let session = client.session.id();
        debug!("closed connection {}", session.0);
        if !client.is_rejected {
            self.crowd.leave(client.session.origin(), session, key);
        }
        if !client.is_releasing {
            self.departures.leavers.push_back(Leaver { session, asked: None });
        }
        client.session.is_watching()
    }

    /// Releases reservations of closed connections in rounds, up to the limit of a turn.
    fn release_some(&mut self) {
        let mut left = RELEASES_A_TURN;
        while left > 0
            && let Some(leaver) = self.departures.leavers.pop_front()
        {
            let events = self.engine.batch.len();
            self.release(leaver, left.min(RELEASES_AT_ONCE));
            left = left.saturating_sub((self.engine.batch.len() - events).max(1));
        }
    }
}

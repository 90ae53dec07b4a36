//! Closing connections. They leave the wait queue at once. Their removal, and the release of their
//! reservations, is spread over as many turns as it takes.

use log::debug;

use super::client::{Phase, mark_dead};
use super::{Key, Service, Step, Stream, side_desk};
use crate::commands;
use crate::commands::parse::RequestTime;
use crate::inventory::{Ending, SessionId};
use crate::journal::Storage;
use crate::limits::{REAPED_A_TURN, RELEASES_A_TURN, RELEASES_AT_ONCE};

/// A connection whose reservations are not all released yet.
#[derive(Clone, Copy, Debug)]
pub struct Leaver {
    session: SessionId,
    /// The connection to answer when all is released, if it has sent `SALIR`.
    asked: Option<Key>,
}

impl<T: Stream, S: Storage> Service<T, S> {
    /// Releases the reservations of a closed connection without pending output at once, so that a
    /// later client of this turn can have them. For others, the next reap does it.
    pub(super) fn end_in_turn(&mut self, key: Key) {
        let client = &mut self.clients[key];
        if client.phase == Phase::Closing && client.conn.is_eof() && client.conn.is_flushed() {
            let session = client.session.id();
            mark_dead(client, key, &mut self.dead);
            self.release_first(key, session);
        }
    }

    /// Releases a first part of the reservations of a connection, and queues the rest.
    fn release_first(&mut self, key: Key, session: SessionId) {
        self.clients[key].leaves = true;
        let leaver = Leaver { session, asked: None };
        match self.release(leaver, RELEASES_AT_ONCE) {
            true => self.has_left(leaver),
            false => self.leavers.push_back(leaver),
        }
    }

    /// Queues a connection that has sent `SALIR` and holds more than is released at once. It gets
    /// its reply when everything is released.
    pub(super) fn leave_later(&mut self, key: Key) {
        let client = &mut self.clients[key];
        client.leaves = true;
        self.leavers.push_back(Leaver { session: client.session.id(), asked: Some(key) });
    }

    /// Ends up to `most` reservations bound to a connection. Returns whether none is left.
    fn release(&mut self, leaver: Leaver, most: usize) -> bool {
        let request_time = RequestTime { now: self.now, zone: &self.zone };
        let mut context =
            side_desk(&mut self.inventory, &mut self.batch, &self.store, request_time);
        let ending = if leaver.asked.is_some() { Ending::Quit } else { Ending::Lost };
        commands::leave(leaver.session, ending, most, &mut context)
    }

    fn has_left(&mut self, leaver: Leaver) {
        self.trace.note(Step::Left(leaver.session));
        let Some(key) = leaver.asked else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        // The slot may hold another connection by now.
        if client.session.id() == leaver.session && client.phase == Phase::Leaving {
            let eol = client.conn.eol();
            commands::farewell(&client.session, eol, client.conn.out());
            client.phase = Phase::Closing;
            self.served.push(key);
        }
    }

    /// Removes closed connections, and releases a part of what they held. Returns whether any
    /// connection was removed.
    pub(super) fn reap(&mut self) -> bool {
        if self.dead.is_empty() && self.dying.is_empty() && self.leavers.is_empty() {
            return false;
        }
        // First all of them leave the queue, so that none is granted what
        // another of them releases.
        for key in std::mem::take(&mut self.dead) {
            let session = self.clients[key].session.id();
            if self.waiting.remove(&session).is_some() {
                self.inventory.leave_queue(session, self.now);
                self.trace.note(Step::LeftQueue(session));
            }
            self.dying.push_back(key);
        }
        let count = self.dying.len().min(REAPED_A_TURN);
        let mut watched = false;
        for _ in 0..count {
            let Some(key) = self.dying.pop_front() else { break };
            watched |= self.remove(key);
        }
        if watched {
            let clients = &self.clients;
            self.watching.retain(|key| clients.contains(*key));
            // The position in the list is lost, so all watchers are visited again.
            self.untold = self.watching.len();
        }
        self.release_some();
        count > 0
    }

    /// Removes a connection. Returns whether it was a watcher.
    fn remove(&mut self, key: Key) -> bool {
        let mut client = self.clients.remove(key);
        self.memory.forget(&mut client, key);
        if !client.timer_at.is_never() {
            self.deadlines.remove(&(client.timer_at, key));
        }
        self.refused -= usize::from(client.refused);
        let session = client.session.id();
        debug!("closed connection {}", session.0);
        if !client.refused {
            self.crowd.leave(client.peer(), session, key);
        }
        if !client.leaves {
            self.leavers.push_back(Leaver { session, asked: None });
        }
        client.session.is_watching()
    }

    /// Releases reservations of closing connections, in rounds, up to the limit of a turn.
    fn release_some(&mut self) {
        let mut left = RELEASES_A_TURN;
        while left > 0
            && let Some(leaver) = self.leavers.pop_front()
        {
            let events = self.batch.len();
            let is_all = self.release(leaver, left.min(RELEASES_AT_ONCE));
            left = left.saturating_sub((self.batch.len() - events).max(1));
            match is_all {
                true => self.has_left(leaver),
                false => self.leavers.push_back(leaver),
            }
        }
    }
}

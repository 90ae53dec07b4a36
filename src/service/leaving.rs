//! Connections that go: they leave the queue at once, and are removed, and what was bound to them
//! is released, in pieces over as many turns as that takes.

use super::client::{Phase, bury};
use super::{Key, Service, Step, Stream, side_desk};
use crate::commands;
use crate::commands::parse::Moment;
use crate::inventory::{Ending, SessionId};
use crate::journal::Storage;
use crate::limits::{REAPED_A_TURN, RELEASES_A_TURN, RELEASES_AT_ONCE};

/// A connection of which something is still to be released.
#[derive(Clone, Copy, Debug)]
pub struct Leaver {
    session: SessionId,
    /// Where it is, if it has said `SALIR` and is to be answered.
    asked: Option<Key>,
}

impl<T: Stream, S: Storage> Service<T, S> {
    /// A connection that has ended, and is owed nothing, releases what it held
    /// in its turn, so that the next one in this very turn may have it; one
    /// that is still to be told something does at the reap.
    pub(super) fn end_in_turn(&mut self, key: Key) {
        let client = &mut self.clients[key];
        if client.phase == Phase::Closing && client.conn.is_eof() && client.conn.is_flushed() {
            let session = client.session.id();
            bury(client, key, &mut self.dead);
            self.release_first(key, session);
        }
    }

    /// Releases a first piece of what is bound to a connection, and notes it for the rest.
    fn release_first(&mut self, key: Key, session: SessionId) {
        self.clients[key].leaves = true;
        let leaver = Leaver { session, asked: None };
        match self.release(leaver, RELEASES_AT_ONCE) {
            true => self.has_left(leaver),
            false => self.leavers.push_back(leaver),
        }
    }

    /// A connection has said `SALIR` and holds more than is released at once: it is answered when
    /// all is.
    pub(super) fn leave_later(&mut self, key: Key) {
        let client = &mut self.clients[key];
        client.leaves = true;
        self.leavers.push_back(Leaver { session: client.session.id(), asked: Some(key) });
    }

    /// Ends at most so many reservations that are bound to a connection. Returns whether that was
    /// all.
    fn release(&mut self, leaver: Leaver, most: usize) -> bool {
        let moment = Moment { now: self.now, zone: &self.zone };
        let mut desk = side_desk(&mut self.inventory, &mut self.batch, &self.store, moment);
        let ending = if leaver.asked.is_some() { Ending::Quit } else { Ending::Lost };
        commands::leave(leaver.session, ending, most, &mut desk)
    }

    fn has_left(&mut self, leaver: Leaver) {
        self.trace.note(Step::Left(leaver.session));
        let Some(key) = leaver.asked else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        // Another one may have its place by now.
        if client.session.id() == leaver.session && client.phase == Phase::Leaving {
            let eol = client.conn.eol();
            commands::farewell(&client.session, eol, client.conn.out());
            client.phase = Phase::Closing;
            self.served.push(key);
        }
    }

    /// Removes who is gone, and releases a piece of what was bound to them. Returns whether
    /// somebody was removed.
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
            // Which of them are still to be looked at is not known any more.
            self.untold = self.watching.len();
        }
        self.release_some();
        count > 0
    }

    /// Removes a connection. Returns whether it watched.
    fn remove(&mut self, key: Key) -> bool {
        let mut client = self.clients.remove(key);
        self.memory.forget(&mut client, key);
        if !client.armed.is_never() {
            self.deadlines.remove(&(client.armed, key));
        }
        self.refused -= usize::from(client.refused);
        let session = client.session.id();
        if !client.refused {
            self.crowd.leave(client.peer(), session, key);
        }
        if !client.leaves {
            self.leavers.push_back(Leaver { session, asked: None });
        }
        client.session.is_watching()
    }

    /// Releases what is bound to those who go: something of each in turn, as much as a turn has
    /// time for.
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

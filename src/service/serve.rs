//! Serving: one read and some lines of each queued client.

use super::client::{Phase, Rest};
use super::engine::ServiceStats;
use super::observer::Observer;
use super::scheduler::Scheduler;
use super::throttle::Kind;
use super::watching::Feed;
use super::{Key, Service, Stream};
use crate::commands::RejectReason;
use crate::journal::{self, Storage};
use crate::limits::LIST_PIECE_BYTES;

impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Serves all clients that are queued now. When the commit is full or the turn's work is done,
    /// the others keep their places in the queue.
    ///
    /// While there is nothing to sync first, clients are answered in batches
    /// ([`Config::flush_batch`](super::Config)), while the data of each client is still in the
    /// processor's cache.
    ///
    /// # Errors
    /// As [`Service::finish_turn`].
    pub fn serve_queue(&mut self) -> Result<(), journal::Error> {
        if self.scheduler.owes_deferred() {
            self.serve_deferred();
        }
        let count = self.scheduler.run_len();
        self.flusher.expect(count);
        for _ in 0..count {
            let is_full = self.engine.is_batch_full() || self.memory.has_grown();
            if is_full || self.scheduler.is_spent() {
                self.scheduler.owe_deferred();
                return Ok(());
            }
            let Some(key) = self.scheduler.next() else { break };
            let now = self.engine.instant;
            match self.clients.get(key) {
                Some(client) if self.scheduler.defer(&client.slot, key, now) => {}
                _ => self.serve_one(key),
            }
            self.answer_batch(key)?;
        }
        if !self.scheduler.take_owed() {
            self.serve_deferred();
        }
        Ok(())
    }

    /// Answers the clients served so far if they make a batch and no sync must come first.
    fn answer_batch(&mut self, key: Key) -> Result<(), journal::Error> {
        if !self.engine.may_answer() {
            if let Some(client) = self.clients.get_mut(key) {
                self.memory.count(client);
            }
        } else if self.flusher.len() >= self.config.flush_batch {
            self.commit()?;
            self.flush_served();
        }
        Ok(())
    }

    #[inline]
    fn serve_deferred(&mut self) {
        self.scheduler.start_queue();
        if self.scheduler.has_deferred() {
            self.serve_deferred_queues();
        }
    }

    /// Serves new clients, then slow ones, and then costly lines, each kind within its budget.
    #[cold]
    fn serve_deferred_queues(&mut self) {
        while let Some(key) = self.scheduler.next_new() {
            self.serve_one(key);
        }
        self.scheduler.start_queue();
        while let Some(key) = self.scheduler.next_slow() {
            self.serve_one(key);
        }
        self.scheduler.start_queue();
        // Clients that queue again have had their share of this turn.
        for _ in 0..self.scheduler.costly_len() {
            let clients = &self.clients;
            let slot = |key| clients.get(key).map(|client| &client.slot);
            let Some(key) = self.scheduler.next_costly(slot) else { break };
            self.serve_one(key);
        }
    }

    fn serve_one(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        Scheduler::dequeued(&mut client.slot);
        match client.phase {
            Phase::Open => self.serve(key),
            Phase::Leaving | Phase::Closing => {}
            Phase::Linger => self.discard(key),
            Phase::Dead => return,
        }
        self.flusher.push(key);
    }

    fn serve(&mut self, key: Key) {
        if self.read(key) {
            self.send_pending_notices(key);
            self.run_lines(key);
            self.update_after_lines(key);
        }
    }

    /// Appends notices of events that an earlier batch of this turn has committed. The watcher's
    /// lines may change its pattern, so this comes first.
    fn send_pending_notices(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let history = self.engine.store.history();
        if client.session.is_behind(history) && client.conn.has_input() {
            let (notices, zone) = (&mut self.watchers.notices, &self.engine.zone);
            client.notify(&mut Feed { history, notices, zone }, LIST_PIECE_BYTES);
        }
    }

    /// Reads once, if there may be something to read. Returns whether the connection is still open.
    fn read(&mut self, key: Key) -> bool {
        let client = &mut self.clients[key];
        if !client.conn.wants_read() {
            return true;
        }
        client.conn.acquire(&mut self.memory.pool);
        match client.conn.fill(&mut self.memory.scratch) {
            Ok(0) => {}
            Ok(_) => client.last_read_at = self.engine.instant,
            Err(error) => {
                self.lose(key, &error);
                return false;
            }
        }
        true
    }

    fn run_lines(&mut self, key: Key) {
        let stats = ServiceStats {
            clients: self.clients.served_len(),
            max_clients: self.config.max_clients,
            fsync: &self.config.fsync,
        };
        let client = &mut self.clients[key];
        let was_watching = client.session.is_watching();
        let was_new = client.slot.is_new();
        let (is_foreign, work) = self.engine.run_lines(client, &stats);
        self.scheduler.charge(&mut client.slot, work, self.engine.instant);
        if let Some(next) = client.session.next_notice() {
            self.engine.store.history_mut().need(next);
            if !was_watching {
                self.watchers.add(key);
            }
        }
        if client.phase == Phase::Leaving {
            self.leave_later(key);
        }
        if was_new {
            self.note_first_look(key);
        }
        if is_foreign {
            let reason = "it speaks another protocol (HTTP, TLS or mail)";
            self.log.warn(self.engine.instant, Kind::Foreign, reason);
        }
    }

    /// Records whether a new client has sent a line. If not, the oldest silent client may have to
    /// be closed.
    fn note_first_look(&mut self, key: Key) {
        let client = &self.clients[key];
        let (origin, session) = (client.session.origin(), client.session.id());
        if !client.slot.is_new() {
            self.crowd.note_line(origin, session, key);
        } else if client.rest == Rest::Nothing
            && let Some(oldest) = self.crowd.note_silent(origin, session, key)
        {
            self.log_rejection("too many connections have sent no command yet");
            self.reject_client(oldest, RejectReason::Silent);
        }
    }

    /// Updates a connection after its lines: it waits, is half-closed, has ended, or continues in
    /// the next turn.
    fn update_after_lines(&mut self, key: Key) {
        let client = &self.clients[key];
        // A reset that arrived together with the end of input looks like a half-close, after which
        // a watcher would stay.
        if client.conn.is_write_closed() && client.conn.is_eof() && !client.has_more() {
            return self.close(key);
        }
        if client.session.is_waiting() {
            self.start_waiting(key);
        }
        self.probe_if_half_closed(key);
        self.end_in_turn(key);
        let client = &mut self.clients[key];
        if client.phase != Phase::Open {
            return;
        }
        let has_more = client.has_more();
        if self.stop_by.is_some() && !client.session.is_waiting() && !has_more {
            client.phase = Phase::Closing;
        } else if has_more && client.conn.may_run() {
            self.scheduler.requeue(&mut client.slot, key);
        }
    }

    /// Reads and drops input that arrives after the last reply.
    fn discard(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let wants_read = client.conn.wants_read();
        let read = if wants_read { client.conn.fill(&mut self.memory.scratch) } else { Ok(0) };
        client.conn.drop_input();
        // Answers to telnet options cannot be sent any more, because our side is shut down.
        client.conn.out().clear();
        if read.is_err() || client.conn.is_eof() {
            self.close(key);
        } else if client.conn.wants_read() {
            self.scheduler.enqueue(&mut client.slot, key);
        }
    }
}

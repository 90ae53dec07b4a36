//! Serving: each connection's share of a turn.

use log::{debug, warn};

use super::client::{Phase, enqueue, has_more, mark_dead, notify, process_lines};
use super::{Key, Service, Step, Stream};
use crate::commands::parse::RequestTime;
use crate::commands::{CommandContext, NoRoom, Stats};
use crate::journal::{self, Storage};
use crate::limits::{
    BATCH_EVENTS, LIST_PIECE_BYTES, LOG_QUIET_MS, SLOW_MS, TURN_WORK, WORK_BUDGET,
};
use crate::time::MonotonicMs;

impl<T: Stream, S: Storage> Service<T, S> {
    /// Serves everything that is queued now; what is queued meanwhile is the
    /// next turn's, or of the next call in this one, for which see
    /// [`Service::may_gather`]. When the turn's commit is full, or its time is
    /// spent, the others keep their places: who has filled it is behind them the
    /// next time.
    ///
    /// While there is nothing that a sync must make durable first there is no reason to
    /// let the first wait for the last: they are answered in shares
    /// ([`Config::share_clients`](super::Config)), while what the system and this program
    /// keep of each is still in the processor's cache.
    ///
    /// # Errors
    /// As [`Service::finish_turn`].
    pub fn serve_queue(&mut self) -> Result<(), journal::Error> {
        if self.rest_is_owed {
            self.serve_rest();
        }
        self.queued_in_turn = self.run_queue.len();
        for _ in 0..self.queued_in_turn {
            let is_full = self.batch.len() >= BATCH_EVENTS || self.memory.has_grown();
            if is_full || self.turn_work > TURN_WORK {
                self.rest_is_owed = true;
                return Ok(());
            }
            let Some(key) = self.run_queue.pop_front() else { break };
            match self.clients.get(key) {
                Some(client) if client.costly > 0 => self.costly_queue.push_back(key),
                Some(client) if client.is_new() => self.new_queue.push_back(key),
                Some(client) if client.slow_until > self.tick => self.slow_queue.push_back(key),
                _ => self.serve_one(key),
            }
            let may_answer = self.batch.is_empty() || !self.store.syncs_commits();
            if !may_answer && let Some(client) = self.clients.get_mut(key) {
                self.memory.count(client);
            }
            if may_answer && self.served.len() >= self.config.share_clients {
                self.answer()?;
            }
        }
        if !std::mem::take(&mut self.rest_is_owed) {
            self.serve_rest();
        }
        Ok(())
    }

    /// Returns whether a client waits to be served after the others.
    pub(super) fn has_rest(&self) -> bool {
        !self.new_queue.is_empty() || !self.slow_queue.is_empty() || !self.costly_queue.is_empty()
    }

    /// Serves new clients, whose cost is unknown, then clients that were costly, and then lines
    /// that are known to be costly. Each kind is served until it has used its budget, but at least
    /// once. A new client thus waits neither for slow clients nor for a costly line.
    #[inline]
    fn serve_rest(&mut self) {
        self.turn_work = 0;
        if self.has_rest() {
            self.serve_queued_rest();
        }
    }

    #[cold]
    fn serve_queued_rest(&mut self) {
        while self.turn_work <= WORK_BUDGET {
            let Some(key) = self.new_queue.pop_front() else { break };
            self.serve_one(key);
        }
        self.turn_work = 0;
        while self.turn_work <= WORK_BUDGET {
            let Some(key) = self.slow_queue.pop_front() else { break };
            self.serve_one(key);
        }
        self.turn_work = 0;
        // Clients that queue again in this turn have had their share.
        for at in 0..self.costly_queue.len() {
            let Some(key) = self.costly_queue.front().copied() else { break };
            let next = self.clients.get(key).map_or(0, |client| client.costly);
            if at > 0 && self.turn_work + u64::from(next) > WORK_BUDGET {
                break;
            }
            self.costly_queue.pop_front();
            self.serve_one(key);
        }
    }

    fn serve_one(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.queued = false;
        match client.phase {
            Phase::Open => self.serve(key),
            Phase::Leaving | Phase::Closing => {}
            Phase::Linger => self.discard(key),
            Phase::Dead => return,
        }
        self.served.push(key);
    }

    /// One connection's share of a turn: one read, its lines, and what follows
    /// from how they have left it.
    fn serve(&mut self, key: Key) {
        if self.read(key) {
            self.send_pending_notices(key);
            self.run_lines(key);
            self.update_after_lines(key);
        }
    }

    /// Tells one that watches what a share before has committed: of what comes now is
    /// perhaps that it watches something else, or nothing any more.
    fn send_pending_notices(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let history = self.store.history();
        if client.session.is_behind(history) && client.conn.has_input() {
            notify(client, history, &mut self.notices, &self.zone, LIST_PIECE_BYTES);
        }
    }

    /// One read. Returns whether the connection is still there.
    fn read(&mut self, key: Key) -> bool {
        let client = &mut self.clients[key];
        if !client.conn.wants_read() {
            return true;
        }
        client.conn.acquire(&mut self.spare);
        match client.conn.fill(&mut self.scratch) {
            Ok(0) => {}
            Ok(_) => client.last_read_at = self.tick,
            Err(error) => {
                debug!("a client is gone: {error}");
                self.inventory.leave_queue(client.session.id(), self.now);
                self.trace.note(Step::LeftQueue(client.session.id()));
                mark_dead(client, key, &mut self.dead);
                return false;
            }
        }
        true
    }

    fn run_lines(&mut self, key: Key) {
        let clients = self.clients.len() - self.refused;
        let uptime_s = (self.tick.0 - self.started.0) / 1000;
        let (config, clock, store) = (&self.config, &self.clock, &self.store);
        let stats = || Stats {
            clients,
            max_clients: config.max_clients,
            uptime_s,
            clock_behind_ms: clock.behind_ms(),
            clock_unconfirmed_ms: clock.unconfirmed_ms(),
            fsync: config.fsync.clone(),
            journal: store.journal_id().to_string(),
            journal_bytes: store.journal_bytes(),
        };
        let client = &mut self.clients[key];
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: store.history(),
            request_time: RequestTime { now: self.now, zone: &self.zone },
            stats: &stats,
        };
        let was_watching = client.session.is_watching();
        let was_new = client.is_new();
        context.inventory.take_work();
        let foreign = process_lines(client, &mut context, &mut self.trace);
        let work = self.inventory.take_work();
        self.turn_work += work;
        if work > WORK_BUDGET {
            client.slow_until = self.tick.plus_ms(SLOW_MS);
        } else if work > 0 && client.is_new() {
            client.slow_until = self.tick;
        }
        if let Some(next) = client.session.next_notice() {
            self.store.history_mut().need(next);
            if !was_watching {
                self.watching.push_back(key);
                self.look_at_watchers();
            }
        }
        if self.clients[key].phase == Phase::Leaving {
            self.leave_later(key);
        }
        if was_new {
            self.note_first_look(key);
        }
        if foreign && self.tick >= self.foreign_quiet {
            self.foreign_quiet = self.tick.plus_ms(LOG_QUIET_MS);
            warn!(
                "closed a connection that speaks another protocol (HTTP, TLS or mail); more of these are not logged for a minute"
            );
        }
    }

    /// Notes whether a newcomer has sent a line. If not, an older one that has said nothing may have
    /// to go for it.
    fn note_first_look(&mut self, key: Key) {
        let client = &self.clients[key];
        let (peer, session) = (client.peer(), client.session.id());
        if !client.is_new() {
            self.crowd.has_spoken(peer, session, key);
        } else if !client.unfinished
            && let Some(oldest) = self.crowd.note_silent(peer, session, key)
        {
            self.note_full("too many connections have sent no command yet");
            self.send_away(oldest, NoRoom::Silent);
        }
    }

    /// What follows from how its lines have left a connection: it waits, it is
    /// half-closed, it has ended, or it goes on in the next turn.
    fn update_after_lines(&mut self, key: Key) {
        let client = &mut self.clients[key];
        // An end of input that a reset had overtaken reads like any other, and
        // one that watches would stay for ever.
        if client.broken && client.conn.is_eof() && !has_more(client) {
            self.inventory.leave_queue(client.session.id(), self.now);
            self.trace.note(Step::LeftQueue(client.session.id()));
            return mark_dead(client, key, &mut self.dead);
        }
        if client.session.is_waiting() {
            self.waiting.insert(client.session.id(), key);
            if client.conn.take_interrupt() {
                self.inventory.interrupt(client.session.id(), self.now);
                self.trace.note(Step::Interrupted(client.session.id()));
            }
            if self.stopping.is_some() {
                self.inventory.end_all_waits();
                self.trace.note(Step::EndedWaits);
            }
        }
        let is_half_closed = client.conn.is_eof()
            // What it has sent before may not all be read while it waits.
            || client.session.is_waiting() && client.conn.is_read_closed();
        if is_half_closed && client.close_at.is_never() && self.stopping.is_none() {
            // After this turn's flush: what it is to be told comes first.
            self.clients[key].close_at =
                if self.may_be_gone(key) { self.tick } else { MonotonicMs::MAX };
        }
        self.end_in_turn(key);
        let client = &mut self.clients[key];
        let is_done = !client.session.is_waiting() && !has_more(client);
        if client.phase == Phase::Open && self.stopping.is_some() && is_done {
            client.phase = Phase::Closing;
        }
        if client.phase == Phase::Open && client.conn.may_run() && has_more(client) {
            let is_costly = client.costly > 0;
            let queue = if is_costly { &mut self.costly_queue } else { &mut self.run_queue };
            enqueue(queue, client, key);
        }
    }

    /// Reads what a peer still sends after the last reply, to throw it away.
    fn discard(&mut self, key: Key) {
        let client = &mut self.clients[key];
        let read =
            if client.conn.wants_read() { client.conn.fill(&mut self.scratch) } else { Ok(0) };
        client.conn.drop_input();
        // Our side is shut: an answer to a telnet option cannot be sent any more.
        client.conn.out().clear();
        if read.is_err() || client.conn.is_eof() {
            mark_dead(client, key, &mut self.dead);
        } else if client.conn.wants_read() {
            enqueue(&mut self.run_queue, client, key);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::io::{self, ErrorKind, Read, Write};
    use std::rc::Rc;

    use super::*;
    use crate::inventory::{Capacity, SessionId};
    use crate::journal::DiskStorage;
    use crate::limits::{HISTORY_EVENTS, OUTPUT_MEMORY_DEFAULT};
    use crate::service::{self, Compaction, Config, CrowdLimits, Ready};
    use crate::store::State;
    use crate::time::{Clock, Time, Zone};

    /// The other end of a connection.
    pub struct End {
        sent: Vec<u8>,
        told: String,
        /// Writing fails, and no more input arrives.
        is_gone: bool,
        /// Bytes that it still takes.
        takes: usize,
    }

    #[derive(Clone)]
    pub struct Peer(Rc<RefCell<End>>);

    impl Peer {
        pub fn new() -> Peer {
            let end =
                End { sent: Vec::new(), told: String::new(), is_gone: false, takes: usize::MAX };
            Peer(Rc::new(RefCell::new(end)))
        }

        pub fn sends(&self, line: &str) {
            self.0.borrow_mut().sent.extend_from_slice(line.as_bytes());
        }

        pub fn goes(&self) {
            self.0.borrow_mut().is_gone = true;
        }

        pub fn takes(&self, bytes: usize) {
            self.0.borrow_mut().takes = bytes;
        }

        pub fn told(&self) -> String {
            std::mem::take(&mut self.0.borrow_mut().told)
        }
    }

    impl Read for Peer {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let sent = std::mem::take(&mut self.0.borrow_mut().sent);
            buf[..sent.len()].copy_from_slice(&sent);
            match self.0.borrow().is_gone {
                _ if !sent.is_empty() => Ok(sent.len()),
                true => Err(ErrorKind::ConnectionReset.into()),
                false => Err(ErrorKind::WouldBlock.into()),
            }
        }
    }

    impl Write for Peer {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let end = &mut *self.0.borrow_mut();
            if end.is_gone {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let taken = data.len().min(end.takes);
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            end.takes -= taken;
            end.told.push_str(str::from_utf8(&data[..taken]).unwrap());
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stream for Peer {
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn probe(&mut self) {}
    }

    pub const NOW: (Time, MonotonicMs) = (Time::from_ms(1_795_363_200_000), MonotonicMs(1));

    /// A configuration with few clients, each answered by itself.
    pub fn config() -> Config {
        Config {
            max_clients: 9,
            crowd: CrowdLimits { per_address: 1000, silent_per_address: 1000, silent: 1000 },
            max_output_memory: OUTPUT_MEMORY_DEFAULT,
            idle_timeout_ms: None,
            stall_timeout_ms: 1000,
            fsync: "in-memory".to_owned(),
            compaction: Compaction::default(),
            share_clients: 1,
        }
    }

    /// Returns a server in memory with Sala 1.
    fn server() -> Service<Peer, DiskStorage> {
        let state = State::in_memory(Capacity { resources: 9, reservations: 9 });
        let mut server = Service::new(state, Clock::new(NOW.0), NOW, Zone::utc(), config());
        server.add_names(vec!["Sala 1".to_owned()]).unwrap();
        server
    }

    /// One turn in which these have sent something, in this order.
    pub fn turn(server: &mut Service<Peer, DiskStorage>, ready: &[(Key, SessionId)]) {
        turn_at(server, NOW.1, ready);
    }

    /// Runs a turn at another time.
    pub fn turn_at(
        server: &mut Service<Peer, DiskStorage>,
        tick: MonotonicMs,
        ready: &[(Key, SessionId)],
    ) {
        server.start_turn(NOW.0.plus_ms((tick.0 - NOW.1.0) as i64), tick);
        for (key, session) in ready {
            let ready = Ready { readable: true, writable: true, ..Ready::default() };
            server.set_ready(*key, *session, ready);
        }
        server.expire_due();
        server.serve_queue().unwrap();
        server.finish_turn().unwrap();
    }

    pub fn join(server: &mut Service<Peer, DiskStorage>) -> (Peer, (Key, SessionId)) {
        let (peer, mut place) = (Peer::new(), (0, SessionId::GONE));
        peer.sends("AYUDA SALIR\n");
        server.add_client(peer.clone(), service::Peer::Local, |_, key, session| {
            place = (key, session);
            Ok(())
        });
        turn(server, &[]);
        assert!(peer.told().starts_with("OK "));
        (peer, place)
    }

    #[test]
    fn each_share_is_answered_before_the_next_is_served() {
        let mut server = server();
        let ((ana, a), (luis, b)) = (join(&mut server), join(&mut server));
        server.take_steps();
        ana.sends("RESERVAR Sala 1\n");
        luis.sends("CANCELAR Sala 1\n");
        turn(&mut server, &[a, b]);
        assert_eq!(ana.told(), "OK RESERVADO #1 Sala 1\n");
        assert_eq!(luis.told(), "OK CANCELADO #1 Sala 1\n");
        let steps = server.take_steps();
        let commits = steps.iter().filter(|step| matches!(step, Step::Committed)).count();
        assert_eq!(commits, 3, "one for each, and that of the turn: {steps:?}");
    }

    /// The one who is found to be gone when its place in the queue is to be told it was granted
    /// what a later share released, for ever: only the end of the turn took it out of the queue.
    #[test]
    fn who_is_gone_is_granted_nothing_that_a_later_share_releases() {
        let mut server = server();
        let ((ana, a), (gone, b)) = (join(&mut server), join(&mut server));
        ana.sends("RESERVAR Sala 1\n");
        turn(&mut server, &[a]);
        gone.sends("RESERVAR Sala 1 espera=1h\n");
        gone.goes();
        ana.sends("CANCELAR Sala 1\n");
        turn(&mut server, &[b, a]);
        assert_eq!(ana.told(), "OK RESERVADO #1 Sala 1\nOK CANCELADO #1 Sala 1\n");
        assert_eq!(server.inventory().reservation_count(), 0);
    }

    #[test]
    fn who_watches_is_told_what_was_before_it_watches_something_else() {
        let mut server = server();
        let ((ana, a), (eva, b)) = (join(&mut server), join(&mut server));
        eva.sends("OBSERVAR\n");
        turn(&mut server, &[b]);
        assert_eq!(eva.told(), "OK OBSERVANDO tras=1\n");
        ana.sends("RESERVAR Sala 1\n");
        eva.sends("OBSERVAR Sala 2*\n");
        turn(&mut server, &[a, b]);
        assert_eq!(eva.told(), "* 2 RESERVADO #1 Sala 1\nOK OBSERVANDO tras=2\n");
    }

    /// The last notice was made as soon as there was room for it in the output, and what it
    /// said to come back with was gone when the peer read it.
    #[test]
    fn who_is_too_far_behind_is_told_so_when_it_reads_and_can_come_back_with_what_it_is_told() {
        // Some that is left in its output, and little: so little is taken up again.
        [1000, 9000].into_iter().for_each(falls_behind_after_it_has_read);
    }

    fn falls_behind_after_it_has_read(bytes: usize) {
        let mut server = server();
        let ((ana, a), (eva, b)) = (join(&mut server), join(&mut server));
        let change = |server: &mut Service<Peer, DiskStorage>, ready: &[_]| {
            ana.sends(&"RESERVAR Sala 1\nCANCELAR Sala 1\n".repeat(25));
            turn(server, ready);
            assert_eq!(ana.told().lines().count(), 50);
        };
        eva.sends("OBSERVAR\n");
        turn(&mut server, &[b]);
        assert_eq!(eva.told(), "OK OBSERVANDO tras=1\n");
        eva.takes(0);
        (0..2 * HISTORY_EVENTS / 50).for_each(|_| change(&mut server, &[a]));
        // It reads a little, and again not for long.
        eva.takes(bytes);
        change(&mut server, &[a, b]);
        change(&mut server, &[a]);
        // It was taken up at every turn, for a notice that could not be made yet.
        assert!(!server.has_work(), "a turn for who takes nothing, after {bytes} bytes");
        (0..2 * HISTORY_EVENTS / 50).for_each(|_| change(&mut server, &[a]));
        eva.takes(usize::MAX);
        turn(&mut server, &[b]);
        let told = eva.told();
        let again = told
            .lines()
            .last()
            .unwrap()
            .strip_prefix("* FIN te has quedado demasiado atrás; sigue con ");
        let again = again.expect("a last notice");
        let (leo, c) = join(&mut server);
        leo.sends(&format!("{again}\n"));
        turn(&mut server, &[c]);
        assert!(leo.told().starts_with("OK OBSERVANDO tras="), "{again}");
    }
}

//! The target `commands`: conversations of several connections, with the passing of time,
//! compactions and restarts. The invariants hold after every step, and the texts of the events
//! replay to the same inventory.

use std::collections::BTreeMap;

use reservad::commands::{self, Notices};
use reservad::conn::Eol;
use reservad::inventory::{Capacity, Ending, Inventory, SessionId};
use reservad::journal::Record;
use reservad::store;
use reservad::time::{Time, parse_duration_ms, parse_utc};

use super::disk::MemoryDisk;
use super::reply;
use super::server::{Peer, START, Server, dump, is_too_much, zone};

/// The maximal number of lines of an input that are executed.
const MOST_STEPS: usize = 100;

/// Executes the lines of `data`:
///
/// | line | step |
/// | --- | --- |
/// | `1 LISTAR` | connection 1 (0 to 9; odd ones end lines with CRLF) sends this line |
/// | `+90s` | time passes |
/// | `.` | time passes until the next end of a reservation or wait |
/// | `^1h` | the clock is set forward by an hour |
/// | `v1h` | the clock is set back by an hour |
/// | `!1` | connection 1 interrupts its wait |
/// | `-1` | connection 1 is lost; its next line opens a new one |
/// | `compact` | a piece of a compaction is made |
/// | `restart` | the server is stopped and started again |
///
/// All other lines are skipped.
pub fn run(data: &[u8]) {
    let mut play = Play::new();
    for line in data.split(|byte| *byte == b'\n').take(MOST_STEPS) {
        play.step(line);
    }
    play.restart();
}

/// A server, its connections, and a replica that is built from its events.
struct Play {
    server: Server,
    peers: BTreeMap<u8, Peer>,
    last_session: u64,
    replica: Inventory,
    last_text_time: Time,
}

impl Play {
    fn new() -> Play {
        let disk = MemoryDisk::new(&[], usize::MAX);
        let (server, _) = Server::open(disk, START).expect("an empty disk");
        Play {
            server,
            peers: BTreeMap::new(),
            last_session: 0,
            replica: empty(),
            last_text_time: Time::MIN,
        }
    }

    /// Runs a turn of the loop for one line.
    fn step(&mut self, line: &[u8]) {
        match line {
            [b'0'..=b'9', b' ', text @ ..] if is_too_much(text) => return,
            [id @ b'0'..=b'9', b' ', text @ ..] => {
                self.say(*id, text);
            }
            [b'+', text @ ..] => self.server.pass(length_ms(text)),
            b"." => self.server.pass(self.server.idle_ms()),
            [b'^', text @ ..] => self.server.set_clock(length_ms(text)),
            [b'v', text @ ..] => self.server.set_clock(-length_ms(text)),
            [b'!', id] => {
                if let Some(peer) = self.peers.get(id) {
                    self.server.inventory.interrupt(peer.session.id(), self.server.now);
                }
            }
            [b'-', id] => self.hang_up(*id),
            b"compact" => self.server.compact_piece(),
            b"restart" => return self.restart(),
            _ => return,
        }
        self.end_turn();
    }

    fn say(&mut self, id: u8, text: &[u8]) {
        let last_session = &mut self.last_session;
        let peer = self.peers.entry(id).or_insert_with(|| {
            *last_session += 1;
            Peer::new(*last_session, if id % 2 == 1 { Eol::CrLf } else { Eol::Lf })
        });
        // The lines of a waiting connection are held back.
        if peer.session.is_waiting() {
            return;
        }
        let reply = self.server.say(peer, text);
        let lines = reply::check(&reply, peer.eol);
        let waits = lines.first().is_some_and(|line| line.starts_with('*'));
        assert_eq!(waits, peer.session.is_waiting(), "{lines:?}");
        if peer.closed {
            self.hang_up(id);
        }
    }

    fn hang_up(&mut self, id: u8) {
        let Some(peer) = self.peers.remove(&id) else { return };
        let session = peer.session.id();
        self.server.inventory.leave_queue(session, self.server.now);
        assert_eq!(
            self.server.inventory.announced_position(session),
            None,
            "a lost connection waits"
        );
        self.server.with_context(|context| {
            commands::leave(peer.session.id(), Ending::Lost, usize::MAX, context)
        });
        assert!(
            !self.server.inventory.has_bound(session),
            "a bound reservation of a lost connection"
        );
    }

    /// Sends notices, checks the state and commits, as at the end of a turn.
    fn end_turn(&mut self) {
        self.tell_waiters();
        let Server { inventory, now, .. } = &self.server;
        inventory.check();
        assert!(!inventory.some_waiter_fits(*now, zone()), "a waiter fits");
        self.replicate();
        self.server.commit();
        self.tell_watchers();
    }

    fn tell_waiters(&mut self) {
        for (session, outcome) in self.server.inventory.take_outcomes() {
            let of = |peer: &&mut Peer| peer.session.id() == session;
            let Some(peer) = self.peers.values_mut().find(of) else { continue };
            let mut out = Vec::new();
            self.server.with_context(|context| {
                commands::resolve(&mut peer.session, &outcome, context, &mut out);
            });
            assert!(reply::check(&out, peer.eol).len() <= 1);
        }
    }

    fn tell_watchers(&mut self) {
        for peer in self.peers.values_mut() {
            let mut out = Vec::new();
            let history = self.server.store.history();
            while peer.session.is_behind(history) {
                commands::notices(
                    &mut peer.session,
                    history,
                    &mut Notices::default(),
                    zone(),
                    100,
                    &mut out,
                );
            }
            let lines = reply::lines(&out, peer.eol);
            assert!(lines.iter().all(|line| line.starts_with("* ")), "{lines:?}");
        }
    }

    /// Applies the texts of the events of this turn to the replica, as on replay.
    fn replicate(&mut self) {
        for (number, payload) in self.server.texts() {
            assert_eq!(number, self.replica.last_event() + 1, "a gap in the events: {payload}");
            let time = payload.split(' ').next().and_then(parse_utc).expect("a time");
            assert!(self.last_text_time <= time && time <= self.server.now.wall, "{payload}");
            self.last_text_time = time;
            let last = self.replica.last_number();
            let record = Record::Event { number, payload: &payload };
            if let Err(rejection) = store::replay(&mut self.replica, record) {
                panic!("{payload} does not fit: {}", rejection.reason);
            }
            let is_new = payload.contains(" RESERVED #");
            let issued = self.replica.last_number().0 - last.0;
            assert_eq!(issued, u64::from(is_new), "numbers issued: {payload}");
        }
        assert_eq!(
            dump(&self.replica),
            dump(&self.server.inventory),
            "live and replayed state differ"
        );
    }

    /// Restarts the server from its journal. Only connections and the reservations bound to them
    /// are lost.
    fn restart(&mut self) {
        let was = dump(&self.server.inventory);
        let opened = Server::open(self.server.disk.clone(), self.server.wall());
        let (server, opened) = opened.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(opened.report.bad, None);
        assert_eq!(dump(&server.inventory), was, "the restart has changed the state");
        self.server = server;
        self.peers.clear();
        let Server { inventory, batch, .. } = &mut self.server;
        store::end_orphans(inventory, opened.last_time, batch);
        assert!(!inventory.has_bound(SessionId::GONE));
        self.server.pass(0);
        self.end_turn();
    }
}

/// Parses a duration, or returns 0.
fn length_ms(text: &[u8]) -> i64 {
    let text = str::from_utf8(text).unwrap_or_default();
    parse_duration_ms(text).unwrap_or(0)
}

fn empty() -> Inventory {
    Inventory::new(Capacity { resources: u32::MAX, reservations: u32::MAX })
}

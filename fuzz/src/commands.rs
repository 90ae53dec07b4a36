//! Whole conversations of several connections, with time passing, compactions
//! and restarts: the invariants hold after every step, and the texts of the
//! events alone make the same inventory again.

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

/// More lines of an input are not played.
const MOST_STEPS: usize = 100;

/// A line of `data` is a step:
///
/// | line | step |
/// | --- | --- |
/// | `1 LISTAR` | connection 1 (0 to 9; the odd ones end lines with CRLF) says this |
/// | `+90s` | so much time passes |
/// | `.` | time passes until something ends, or a wait is over |
/// | `^1h` | somebody sets the clock an hour forward |
/// | `v1h` | somebody sets it an hour back |
/// | `!1` | connection 1 interrupts its wait |
/// | `-1` | connection 1 is gone; the next line of 1 is a new one's |
/// | `compact` | one piece of a compaction |
/// | `restart` | the server is stopped and started again |
///
/// Anything else is skipped.
pub fn run(data: &[u8]) {
    let mut play = Play::new();
    for line in data.split(|byte| *byte == b'\n').take(MOST_STEPS) {
        play.step(line);
    }
    play.restart();
}

/// A server, who is connected to it, and beside it what its events make.
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
        let (server, _) = Server::open(disk, START).expect("there is no journal");
        Play {
            server,
            peers: BTreeMap::new(),
            last_session: 0,
            replica: empty(),
            last_text_time: Time::MIN,
        }
    }

    /// One turn of the loop for one line.
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
        // The lines of one that waits are held back.
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
        assert_eq!(self.server.inventory.waiting_place(session), None, "it is gone, and waits");
        self.server.at_desk(|context| {
            commands::leave(peer.session.id(), Ending::Lost, usize::MAX, context)
        });
        assert!(!self.server.inventory.has_bound(session), "its hasta=salir has not ended");
    }

    /// What the turn has led to is told, checked, and kept.
    fn end_turn(&mut self) {
        self.tell_waiters();
        let Server { inventory, now, .. } = &self.server;
        inventory.check();
        assert!(!inventory.some_waiter_fits(*now, zone()), "somebody waits for what is free");
        self.replicate();
        self.server.commit();
        self.tell_watchers();
    }

    fn tell_waiters(&mut self) {
        for (session, outcome) in self.server.inventory.take_outcomes() {
            let of = |peer: &&mut Peer| peer.session.id() == session;
            let Some(peer) = self.peers.values_mut().find(of) else { continue };
            let mut out = Vec::new();
            self.server.at_desk(|context| {
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

    /// The texts of this turn, applied to another inventory as on replay.
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
        assert_eq!(dump(&self.replica), dump(&self.server.inventory), "live, and replayed");
    }

    /// Stops the server and starts it from its journal: nothing but the
    /// connections is lost, and what was bound to them.
    fn restart(&mut self) {
        let was = dump(&self.server.inventory);
        let opened = Server::open(self.server.disk.clone(), self.server.wall());
        let (server, opened) = opened.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(opened.report.bad, None);
        assert_eq!(dump(&server.inventory), was, "before the restart, and after it");
        self.server = server;
        self.peers.clear();
        let Server { inventory, batch, .. } = &mut self.server;
        store::end_orphans(inventory, opened.last_time, batch);
        assert!(!inventory.has_bound(SessionId::GONE));
        self.server.pass(0);
        self.end_turn();
    }
}

/// The length that is written there; none if there is none.
fn length_ms(text: &[u8]) -> i64 {
    let text = str::from_utf8(text).unwrap_or_default();
    parse_duration_ms(text).unwrap_or(0)
}

fn empty() -> Inventory {
    Inventory::new(Capacity { resources: u32::MAX, reservations: u32::MAX })
}

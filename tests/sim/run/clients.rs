//! The actions of the clients.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::peer::{Frame, Peer};
use super::super::wire::Wire;
use super::Run;
use support::Rng;
use support::generator::HOLDERS;
use support::reference::{Command, Lang};

/// Invalid lines with the codes of their errors and the languages of their verbs.
const BAD: [(&str, u16, Option<Lang>); 14] = [
    ("HOLA", 400, None),
    ("RESERVAR", 400, Some(Lang::Es)),
    ("RESERVE Sala 1 for=0s", 400, Some(Lang::En)),
    ("RESERVAR Sala 1 color=rojo", 400, Some(Lang::Es)),
    ("RESERVAR Sala 1 por=1h por=2h", 400, Some(Lang::Es)),
    ("RESERVAR Sala 1 hasta=2026-02-30", 400, Some(Lang::Es)),
    ("RESERVE Sala 1 wait=8d", 400, Some(Lang::En)),
    ("LISTAR \u{7} Sala", 400, Some(Lang::Es)),
    ("CANCEL \"Sala 1\"", 400, Some(Lang::En)),
    ("CANCELAR *", 400, Some(Lang::Es)),
    ("RENOVAR #1", 400, Some(Lang::Es)),
    ("ADD Sala *", 400, Some(Lang::En)),
    ("VERIFICAR 42", 400, Some(Lang::Es)),
    ("SOY dos palabras más", 400, Some(Lang::Es)),
];

impl Run {
    /// Lets clients act between two turns.
    pub(super) fn act(&mut self) {
        while self.peers.len() + self.newcomers.len() < self.most_peers {
            self.connect();
        }
        for _ in 0..self.rng().pick(&[0, 1, 1, 2, 3]) {
            if !self.peers.is_empty() {
                let at = self.generator.rng.below(self.peers.len());
                self.act_for(at);
            }
        }
    }

    fn connect(&mut self) {
        let rng = &mut self.generator.rng;
        let room = rng.pick(&[40, 400, 1 << 20]);
        let wire = Wire::new(Rng(rng.next_u64()), self.moody && rng.one_in(2), room);
        let eol = if rng.one_in(4) { "\r\n" } else { "\n" };
        let up = rng.pick(&[1, 20, usize::MAX, usize::MAX]);
        let mut peer = Peer::new(Rc::new(RefCell::new(wire)), eol, up, usize::MAX);
        if rng.one_in(2) {
            let name = rng.pick(&HOLDERS).to_owned();
            self.say_command(&mut peer, Command::IAm(name));
        }
        if self.rng().one_in(40) {
            // It requests more than the server buffers for a client that does not read.
            peer.is_greedy = true;
            peer.down = 0;
            for _ in 0..60 {
                self.send(&mut peer, "AYUDA", Frame::Some(Lang::Es));
            }
        }
        self.newcomers.push(peer);
    }

    fn act_for(&mut self, at: usize) {
        let mut peer = self.peers.swap_remove(at);
        let session = peer.session;
        if peer.wire.borrow().is_finished() {
            if self.rng().one_in(10) {
                self.note(|| format!("{session} is reset"));
                self.seen.one("resets");
                peer.wire.borrow_mut().reset();
            }
        } else {
            match self.rng().below(60) {
                0..44 => {
                    for _ in 0..self.rng().pick(&[1, 1, 1, 2, 4]) {
                        self.send_random_line(&mut peer);
                    }
                }
                44 => {
                    self.note(|| format!("{session} shuts its side"));
                    self.seen.one("half-closes");
                    if self.rng().one_in(3) {
                        peer.wire.borrow_mut().send(b"CANCELAR #");
                        peer.frames.push_back(Frame::Cut);
                    }
                    peer.wire.borrow_mut().finish();
                }
                45 => {
                    self.note(|| format!("{session} closes"));
                    self.seen.one("closes");
                    peer.wire.borrow_mut().close();
                }
                46 => {
                    self.note(|| format!("{session} is reset"));
                    self.seen.one("resets");
                    peer.wire.borrow_mut().reset();
                }
                47..50 => {
                    self.note(|| format!("{session} interrupts"));
                    peer.wire.borrow_mut().send(&[255, 244, 255, 253, 6]);
                }
                50..53 => peer.down = self.rng().pick(&[0, 1, 30]),
                _ => peer.down = usize::MAX,
            }
        }
        self.peers.push(peer);
    }

    fn send_random_line(&mut self, peer: &mut Peer) {
        if peer.over {
            return;
        }
        match self.rng().below(40) {
            0 => self.send(peer, "", Frame::Blank),
            1 | 2 => {
                let (text, code, lang) = self.rng().pick(&BAD);
                self.send(peer, text, Frame::Bad(code, lang));
            }
            3 => {
                let (text, lang) = self.rng().pick(&[("AYUDA", Lang::Es), ("STATUS", Lang::En)]);
                self.send(peer, text, Frame::Some(lang));
            }
            4 if self.rng().one_in(3) => {
                peer.frames.push_back(Frame::EndOfTransmission);
                peer.wire.borrow_mut().send(&[4]);
            }
            5 if self.rng().one_in(4) => self.send(peer, "Host: example", Frame::Foreign),
            6 if self.rng().one_in(4) => {
                let long = "x".repeat(4_097);
                self.send(peer, &long, Frame::Bad(413, None));
            }
            _ => {
                let command = self.generator.draw(&self.model, self.now);
                // The model does not know how long the server keeps notices for a slow reader.
                if !(peer.is_greedy && matches!(command, Command::Watch(..))) {
                    self.say_command(peer, command);
                }
            }
        }
    }

    fn say_command(&mut self, peer: &mut Peer, command: Command) {
        let lang = self.rng().pick(&[Lang::Es, Lang::En]);
        if let Command::Reserve(request) = &command
            && request.key.is_some()
        {
            self.generator.keyed.push(request.clone());
        }
        let line = self.generator.write(&command, lang);
        self.send(peer, &line, Frame::Command(command, lang));
    }

    fn send(&mut self, peer: &mut Peer, line: &str, frame: Frame) {
        self.note(|| format!("{}> {line}", peer.session));
        peer.frames.push_back(frame);
        let telnet = self.rng().one_in(30);
        let mut wire = peer.wire.borrow_mut();
        wire.send(line.as_bytes());
        if telnet {
            // A telnet negotiation.
            wire.send(&[255, 251, 31]);
        }
        wire.send(peer.eol.as_bytes());
    }
}

//! The model follows the server, and the output of all clients is compared with that of the model.

use reservad::service::Step;

use super::super::peer::{Frame, Want};
use super::Run;
use support::reference::{Command, Line};

impl Run {
    /// Applies the actions of the server to the model, in the same order.
    pub(super) fn follow(&mut self, steps: Vec<Step>, committed: bool) {
        for step in steps {
            let first = self.model.last_event() + 1;
            self.note(|| format!("{step:?}"));
            match step {
                Step::ClockSet(by_ms) => {
                    self.seen.one("steps of the clock");
                    self.model.set_clock(by_ms, self.now);
                }
                Step::EndedDue => {
                    self.model.advance(self.now);
                    self.model.end_keep_alives(self.now);
                    let ended = self.model.last_event() + 1 - first;
                    self.seen.count("ends", ended as usize);
                }
                Step::Ran(session) => self.ran(session.0, first),
                Step::LeftQueue(session) => self.model.leave_queue(session.0, self.now),
                Step::Interrupted(session) => {
                    self.seen.one("interrupts");
                    self.model.interrupt(session.0, self.now);
                }
                Step::SentPositionAgain(session) => {
                    self.seen.one("repeated positions");
                    self.model.repeat_position(session.0);
                }
                Step::WithheldPosition(session) => {
                    if let Some(peer) = self.peers.iter_mut().find(|it| it.session == session.0) {
                        peer.spared += 1;
                    }
                }
                Step::EndedWaits => self.model.end_waits(),
                Step::Committed => {
                    self.model.notify_watchers(self.done.unwrap_or(self.model.last_event()));
                    self.seen.count(
                        "commits",
                        usize::from(self.candidates.last().unwrap().0 < self.model.last_event()),
                    );
                    self.note_candidate();
                    self.forget_candidates();
                }
                Step::Left(session) => self.model.leave(session.0, self.now),
            }
            self.say(first, step);
        }
        if !committed {
            self.note_candidate();
        }
    }

    /// Takes the output of the model as the expected lines of the clients.
    fn say(&mut self, first: u64, step: Step) {
        // Due work may take several commits. Each line is sent when its own event is durable.
        let by_itself = matches!(step, Step::EndedDue | Step::ClockSet(_));
        for (session, line, after) in self.model.take_output() {
            let is_grant = matches!(&line, Line::Is(text) if text.starts_with("OK "));
            let (first, last) = match by_itself {
                true => (if is_grant { after } else { after + 1 }, after),
                false => (first, self.model.last_event()),
            };
            self.note(|| format!("{session}< {line:?}"));
            let Some(peer) = self.peers.iter_mut().find(|it| it.session == session) else {
                continue;
            };
            let seq = match &line {
                Line::Is(text) => text.strip_prefix("* ").and_then(|rest| rest.split(' ').next()),
                Line::Error(..) => None,
            };
            match (seq.and_then(|seq| seq.parse().ok()), line) {
                (Some(seq), Line::Is(text)) => peer.notices.push_back((seq, text)),
                (_, line) => peer.wants.push_back(Want { line: Some(line), first, last }),
            }
        }
    }

    fn ran(&mut self, session: u64, first: u64) {
        self.seen.one("lines run");
        let peer = self.peers.iter_mut().find(|it| it.session == session).expect("a client");
        let frame = peer.frames.pop_front().expect("a line that was sent");
        let last = self.model.last_event();
        peer.fresh &= matches!(frame, Frame::Cut | Frame::EndOfTransmission);
        let command = match &frame {
            Frame::Command(command, lang) => {
                peer.lang = *lang;
                Some(command.clone())
            }
            Frame::Blank => None,
            Frame::Bad(code, lang) => {
                peer.lang = lang.unwrap_or(peer.lang);
                let line = Some(Line::Error(*code, Vec::new()));
                peer.wants.push_back(Want { line, first, last });
                None
            }
            Frame::Some(lang) => {
                peer.lang = *lang;
                peer.wants.push_back(Want { line: None, first, last });
                None
            }
            Frame::Cut => {
                let line = Some(Line::Error(400, Vec::new()));
                peer.wants.push_back(Want { line, first, last });
                None
            }
            Frame::EndOfTransmission => Some(Command::Quit),
            Frame::Foreign => {
                peer.over = true;
                None
            }
        };
        peer.over |= matches!(command, Some(Command::Quit));
        if peer.over {
            peer.frames.clear();
        }
        let lang = peer.lang;
        if let Some(command) = command {
            self.model.run(session, &command, lang, self.now);
        }
        self.note(|| format!("{session}: {frame:?}"));
    }

    /// Checks the output of all clients.
    pub(super) fn judge(&mut self) {
        for at in 0..self.peers.len() {
            let received = self.peers[at].judge();
            self.received_event = self.received_event.max(received.events);
            let number = received.granted.iter().copied().max().unwrap_or(0);
            self.received_number = self.received_number.max(number);
            self.seen.count("received lines", received.lines);
            self.seen.count("notices", received.notices.len());
            for (seq, text) in received.notices {
                // A repeated notice has the same bytes.
                let is_spanish = ["RESERVADO", "CANCELADO", "RENOVADO", "VENCIDO", "ALTA", "BAJA"]
                    .contains(&text.split(' ').nth(2).unwrap_or_default());
                let before = self.received_notices.entry((seq, is_spanish)).or_insert(text.clone());
                assert_eq!(*before, text, "event {seq} was different before");
            }
        }
        let (seen, quiet) = (&mut self.seen, self.quiet);
        self.peers.retain(|peer| {
            let wire = peer.wire.borrow();
            if wire.server_gone {
                seen.count("interrupted calls", wire.interruptions);
                seen.count("probes", wire.probed);
                seen.count(
                    "stalled clients",
                    usize::from(!quiet && !wire.is_finished() && !peer.over),
                );
            }
            !wire.server_gone
        });
    }
}

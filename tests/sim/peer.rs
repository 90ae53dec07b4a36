//! A simulated client: its lines that were not run yet, and the lines that it must receive.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use reservad::service::Key;

use super::wire::Wire;
use support::reference::{Command, Lang, Line};

/// A line or another input, with its expected effect.
#[derive(Clone, Debug)]
pub enum Frame {
    Command(Command, Lang),
    /// A blank line, which has no reply.
    Blank,
    /// An invalid line: the code of the error, and the language of its verb if it has one.
    Bad(u16, Option<Lang>),
    /// A list whose content the model does not know.
    Some(Lang),
    /// A line without its end at the end of the input, which is an error.
    Cut,
    /// Ctrl-D, which is SALIR in the language of the last verb.
    EndOfTransmission,
    /// Another protocol, which closes the connection without a reply.
    Foreign,
}

/// A line that the client must receive.
#[derive(Debug)]
pub struct Want {
    pub line: Option<Line>,
    /// The first event of the command that caused the line, if there is one.
    pub first: u64,
    /// The last event before the line.
    pub last: u64,
}

pub struct Peer {
    pub key: Key,
    pub session: u64,
    pub wire: Rc<RefCell<Wire>>,
    pub eol: &'static str,
    pub lang: Lang,
    /// Lines that were sent and not run yet.
    pub frames: VecDeque<Frame>,
    /// Expected replies and positions.
    pub wants: VecDeque<Want>,
    /// Expected notices, with the numbers of their events.
    pub notices: VecDeque<(u64, String)>,
    /// Positions that may be missing, because the client did not read.
    pub spared: usize,
    /// Whether no further line is run.
    pub over: bool,
    /// Whether it sends much and reads little.
    pub is_greedy: bool,
    /// Whether no complete line was run, so that the line ending is unknown.
    pub fresh: bool,
    /// The maximal numbers of bytes that arrive and that it reads in a turn.
    pub up: usize,
    pub down: usize,
    got: Vec<u8>,
    /// The remaining items of a list: known ones, and the number of unknown ones.
    list: usize,
    free: usize,
}

/// The facts in the output of a client that concern the whole run.
#[derive(Default)]
pub struct Received {
    /// The last event that the client received or saw the effect of; it must be on disk.
    pub events: u64,
    pub notices: Vec<(u64, String)>,
    pub granted: Vec<u64>,
    pub lines: usize,
}

impl Peer {
    pub fn new(wire: Rc<RefCell<Wire>>, eol: &'static str, up: usize, down: usize) -> Peer {
        Peer {
            key: 0,
            session: 0,
            wire,
            eol,
            lang: Lang::Es,
            frames: VecDeque::new(),
            wants: VecDeque::new(),
            notices: VecDeque::new(),
            spared: 0,
            over: false,
            is_greedy: false,
            fresh: true,
            up,
            down,
            got: Vec::new(),
            list: 0,
            free: 0,
        }
    }

    /// Takes the output of the server and checks that each line is the next expected one.
    pub fn judge(&mut self) -> Received {
        let pieces = self.wire.borrow_mut().judge();
        let mut received = Received::default();
        for (bytes, durable) in pieces {
            self.judge_piece(&bytes, durable, &mut received);
        }
        received
    }

    fn judge_piece(&mut self, bytes: &[u8], durable: u64, received: &mut Received) {
        self.got.extend(bytes);
        let text = std::mem::take(&mut self.got);
        let (plain, rest) = without_telnet(&text);
        let end = plain.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.got = [&plain[end..], rest].concat();
        let whole = str::from_utf8(&plain[..end]).expect("text is UTF-8");
        for line in whole.split_inclusive('\n') {
            let eol = if self.fresh { "\n" } else { self.eol };
            let bare = line.strip_suffix(eol).unwrap_or_else(|| panic!("ends {line:?}"));
            assert!(!bare.ends_with('\r'), "ends {line:?}");
            self.line(bare, durable, received);
            received.lines += 1;
        }
    }

    fn line(&mut self, line: &str, durable: u64, received: &mut Received) {
        if self.free > 0 {
            self.free -= 1;
            return;
        }
        let seq = line.strip_prefix("* ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        if let Some(seq) = seq {
            return self.notice(seq, line, durable, received);
        }
        let want = self.next_want(line);
        assert!(
            want.last <= durable,
            "received {line:?}, of event {}, when {durable} was the last on disk",
            want.last
        );
        received.events = received.events.max(want.last);
        match &want.line {
            Some(want) => check(line, want, self.session),
            None => assert!(line.starts_with("OK "), "to {}: {line}", self.session),
        }
        if self.list > 0 {
            self.list -= 1;
        } else if let Some(count) = list_length(line) {
            match want.line {
                Some(_) => self.list = count,
                None => self.free = count,
            }
        }
        let granted =
            ["OK RESERVADO #", "OK RESERVED #"].iter().find_map(|it| line.strip_prefix(it));
        received
            .granted
            .extend(granted.and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok()));
    }

    fn next_want(&mut self, line: &str) -> Want {
        loop {
            let Some(want) = self.wants.pop_front() else {
                panic!("to {}: {line:?} and nothing was due", self.session);
            };
            let is_place = |line: &str| line.starts_with("* COLA") || line.starts_with("* QUEUE");
            match &want.line {
                Some(Line::Is(place)) if is_place(place) && place != line && self.spared > 0 => {
                    self.spared -= 1;
                }
                _ => return want,
            }
        }
    }

    fn notice(&mut self, seq: u64, line: &str, durable: u64, received: &mut Received) {
        assert_eq!(self.list, 0, "to {}: {line:?} within a list", self.session);
        assert!(seq <= durable, "received {line:?} when {durable} was the last on disk");
        let before = self.wants.iter().find(|want| (want.first..=want.last).contains(&seq));
        assert!(before.is_none(), "to {}: {line:?} before {before:?}", self.session);
        match self.notices.pop_front() {
            Some((_, want)) => assert_eq!(line, want, "to {}", self.session),
            None => panic!("to {}: {line:?} and nothing was due", self.session),
        }
        received.events = received.events.max(seq);
        received.notices.push((seq, line.to_owned()));
    }

    /// Returns whether all expected lines were received.
    pub fn is_content(&self) -> bool {
        let all_spared = self.wants.len() <= self.spared;
        all_spared && self.notices.is_empty() && self.list == 0 && self.free == 0
    }
}

fn check(line: &str, want: &Line, session: u64) {
    match want {
        Line::Is(want) => assert_eq!(line, want, "to {session}"),
        Line::Error(code, parts) => {
            let is_code = line.starts_with(&format!("ERR {code} "));
            let has_all = parts.iter().all(|part| line.contains(part.as_str()));
            assert!(is_code && has_all, "to {session}: {line}; want {want:?}");
        }
    }
}

/// Returns the number of items of a list from its first line.
fn list_length(line: &str) -> Option<usize> {
    let mut words = line.strip_prefix("OK ")?.split(' ');
    let (count, word) = (words.next()?, words.next()?);
    let is_list = word.chars().all(|c| c.is_ascii_uppercase()) && words.next().is_none();
    count.parse().ok().filter(|_| is_list)
}

/// Removes replies to telnet options, and the beginning of one at the end.
fn without_telnet(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != 255 {
            plain.push(bytes[at]);
            at += 1;
        } else if at + 3 <= bytes.len() {
            assert!(matches!(bytes[at + 1], 252 | 254), "only refusals");
            at += 3;
        } else {
            return (plain, &bytes[at..]);
        }
    }
    (plain, &[])
}

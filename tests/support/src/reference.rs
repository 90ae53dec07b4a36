//! The model: a naive implementation of the protocol's semantics with lists and loops, against
//! which tests compare every reply and notice of the server. It shares no code with the inventory.
//! Only the printing of times and the ends of nights use the zone rules of [`reservad::time`].

use std::collections::BTreeMap;
use std::rc::Rc;

use reservad::time::{Round, Time, Zone};

/// The end of a reservation without an end.
pub const NEVER: i64 = i64::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lang {
    Es,
    En,
}

impl Lang {
    pub fn pick<T>(self, es: T, en: T) -> T {
        match self {
            Lang::Es => es,
            Lang::En => en,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    Default,
    Now,
    At(i64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Open,
    Quit,
    /// `hasta=salir por=D`, in milliseconds.
    KeepAlive(i64),
    Until(i64),
    For(i64),
    Nights(u32),
}

#[derive(Clone, Debug)]
pub struct Request {
    /// Names and patterns as they were written.
    pub targets: Vec<String>,
    pub start: Start,
    pub end: End,
    pub wait_ms: Option<i64>,
    pub key: Option<String>,
    pub note: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Item {
    Number(u64),
    Name(String),
}

#[derive(Clone, Debug)]
pub enum Command {
    Reserve(Request),
    Cancel(Vec<Item>),
    Renew(u64, End),
    When(Vec<String>, Start, End),
    List(Option<String>, Start, End),
    Bookings { wanted: Option<String>, holder: Option<String>, from: Start, until: Option<i64> },
    Verify(u64, Option<String>),
    IAm(String),
    Add(Vec<String>),
    Remove(Vec<String>),
    Watch(Option<String>, Option<u64>),
    Quit,
}

/// A line that the server must send.
#[derive(Clone, Debug)]
pub enum Line {
    Is(String),
    /// An error: its code, and texts that the message must contain.
    Error(u16, Vec<String>),
}

fn error(code: u16) -> Line {
    Line::Error(code, Vec::new())
}

fn error_with(code: u16, parts: &[&str]) -> Line {
    Line::Error(code, parts.iter().map(|part| (*part).to_owned()).collect())
}

/// The request under an idempotency key, independent of its spelling.
#[derive(Clone, PartialEq, Debug)]
struct KeyedRequest {
    targets: Vec<String>,
    start: Start,
    end: End,
    note: Option<String>,
}

#[derive(Clone, Debug)]
struct Reservation {
    number: u64,
    rooms: Vec<String>,
    from: i64,
    until: i64,
    holder: Option<String>,
    note: Option<String>,
    key: Option<(String, KeyedRequest)>,
    session: Option<u64>,
    /// Whether its length was given and counted from now. Its end follows the monotonic clock.
    lease: bool,
    /// The keep-alive time in milliseconds, and the monotonic deadline of the next renewal.
    keep_alive: Option<(i64, u64)>,
}

#[derive(Clone, Debug)]
struct Waiter {
    session: u64,
    holder: Option<String>,
    request: Request,
    key: Option<(String, KeyedRequest)>,
    /// The end of the wait, by the monotonic clock.
    wait_until: i64,
    /// The time from which the request can no longer be granted.
    own_end: i64,
    lang: Lang,
    text: String,
    /// The position that was last sent.
    sent_position: usize,
}

#[derive(Clone, Debug)]
struct Watch {
    pattern: Option<String>,
    lang: Lang,
    next: usize,
}

#[derive(Clone, Debug)]
struct Connection {
    session: u64,
    holder: Option<String>,
    watch: Option<Watch>,
}

/// An event as in a notice.
#[derive(Debug)]
struct Event {
    words: (&'static str, &'static str),
    number: Option<u64>,
    rooms: Vec<String>,
    /// Start and end in both languages, if the notice contains them.
    terms: Option<(String, String)>,
}

#[derive(Clone)]
pub struct Model {
    zone: Zone,
    max_rooms: usize,
    max_reservations: usize,
    rooms: Vec<String>,
    live: Vec<Reservation>,
    waiters: Vec<Waiter>,
    connections: Vec<Connection>,
    last_number: u64,
    /// Shared, so that a model is cheap to clone.
    events: Vec<Rc<Event>>,
    /// The smallest number that `tras=` accepts.
    floor: u64,
    /// The lines sent since the last call of `take_output`, with their connections.
    pub sent: Vec<(u64, Line)>,
    /// For each line of `sent`, the number of the last event before it.
    pub sent_after: Vec<u64>,
    /// If set, collects a copy of the model after each event, with the number of the event.
    pub after_events: Option<Vec<(u64, Model)>>,
    /// How often each situation has occurred, to check that the random commands reach all of them.
    pub counts: BTreeMap<&'static str, usize>,
    /// Whether a waiter has left the queue since the positions were sent.
    moved: bool,
    /// When the positions after the tenth are sent.
    positions_due: Option<i64>,
    /// How far the monotonic clock is ahead of the time, which stands still after the wall clock
    /// was set back.
    pub lag: i64,
    /// The previous value of `lag`.
    last_lag: i64,
    /// The monotonic clock.
    pub monotonic_ms: u64,
}

/// Removes case and accents, of the letters that the tests use.
pub fn fold(text: &str) -> String {
    let plain = |c| match c {
        'á' => 'a',
        'é' => 'e',
        'í' => 'i',
        'ó' => 'o',
        'ú' => 'u',
        c => c,
    };
    text.to_lowercase().chars().map(plain).collect()
}

/// Matches by trying all possibilities.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => match name.strip_prefix(head) {
            None => false,
            Some(tail) => (0..=tail.len())
                .filter(|at| tail.is_char_boundary(*at))
                .any(|at| matches(rest, &tail[at..])),
        },
    }
}

fn is_match(pattern: &str, name: &str) -> bool {
    matches(&fold(pattern), &fold(name))
}

fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// Returns whether a reservation has a length that is counted from now.
fn is_lease(start: Start, end: End) -> bool {
    matches!((start, end), (Start::Default | Start::Now, End::For(_)))
}

fn ceil_s(ms: i64) -> i64 {
    (ms + 999) / 1000 * 1000
}

impl Model {
    pub fn new(zone: Zone, max_rooms: usize, max_reservations: usize) -> Model {
        Model {
            zone,
            max_rooms,
            max_reservations,
            rooms: Vec::new(),
            live: Vec::new(),
            waiters: Vec::new(),
            connections: Vec::new(),
            last_number: 0,
            events: Vec::new(),
            floor: 0,
            sent: Vec::new(),
            sent_after: Vec::new(),
            after_events: None,
            counts: BTreeMap::new(),
            moved: false,
            positions_due: None,
            lag: 0,
            last_lag: 0,
            monotonic_ms: 0,
        }
    }

    pub fn connect(&mut self, session: u64) {
        self.connections.push(Connection { session, holder: None, watch: None });
    }

    pub fn rooms(&self) -> &[String] {
        &self.rooms
    }

    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    pub fn last_event(&self) -> u64 {
        self.events.len() as u64
    }

    pub fn is_full(&self) -> bool {
        self.live.len() >= self.max_reservations
    }

    pub fn live_numbers(&self) -> Vec<u64> {
        self.live.iter().map(|one| one.number).collect()
    }

    /// Returns the keep-alive reservations with their keep-alive times.
    pub fn kept_alive(&self) -> Vec<(u64, i64)> {
        let length = |one: &Reservation| Some((one.number, one.keep_alive?.0));
        self.live.iter().filter_map(length).collect()
    }

    pub fn booked_rooms(&self) -> Vec<String> {
        self.live.iter().flat_map(|one| one.rooms.clone()).collect()
    }

    pub fn waiting(&self) -> Vec<u64> {
        self.waiters.iter().map(|waiter| waiter.session).collect()
    }

    /// Returns the next deadline of a keep-alive reservation.
    pub fn next_keep_alive(&self) -> Option<u64> {
        self.live.iter().filter_map(|one| one.keep_alive).map(|(_, deadline)| deadline).min()
    }

    /// Returns the next time at which a reservation or wait ends or positions are sent, except for
    /// keep-alive reservations.
    pub fn next_time(&self) -> Option<i64> {
        let monotonic = self.next_monotonic().map(|time| time - self.lag);
        self.next_dated().into_iter().chain(monotonic).min()
    }

    fn next_dated(&self) -> Option<i64> {
        let ends = self.live.iter().filter(|one| !one.lease).map(|one| one.until);
        let waits = self.waiters.iter().map(|waiter| waiter.own_end);
        ends.chain(waits).filter(|time| *time != NEVER).min()
    }

    fn next_monotonic(&self) -> Option<i64> {
        let ends = self.live.iter().filter(|one| one.lease).map(|one| one.until);
        let waits = self.waiters.iter().map(|waiter| waiter.wait_until);
        ends.chain(waits).chain(self.positions_due).min()
    }

    fn down(&self, ms: i64) -> String {
        self.zone.text(Time::from_ms(ms), Round::Down)
    }

    fn up(&self, ms: i64) -> String {
        self.zone.text(Time::from_ms(ms), Round::Up)
    }

    fn count(&mut self, what: &'static str, many: usize) {
        if many > 0 {
            *self.counts.entry(what).or_default() += many;
        }
    }

    fn send(&mut self, session: u64, line: Line) {
        self.sent.push((session, line));
        self.sent_after.push(self.last_event());
    }

    /// Takes the lines to be sent, each with its connection and the last event before it.
    pub fn take_output(&mut self) -> Vec<(u64, Line, u64)> {
        let after = std::mem::take(&mut self.sent_after);
        let sent = std::mem::take(&mut self.sent).into_iter().zip(after);
        sent.map(|((session, line), after)| (session, line, after)).collect()
    }

    /// Keeps a copy of the model after an event, if the test targets it.
    fn keep_copy(&mut self) {
        if let Some(mut after_events) = self.after_events.take() {
            after_events.push((self.last_event(), self.clone()));
            self.after_events = Some(after_events);
        }
    }

    fn connection(&mut self, session: u64) -> &mut Connection {
        self.connections.iter_mut().find(|connection| connection.session == session).unwrap()
    }

    fn find(&self, name: &str) -> Option<String> {
        self.rooms.iter().find(|room| fold(room) == fold(name)).cloned()
    }

    /// Returns the earliest reservation of a room that overlaps the interval.
    fn overlap(&self, room: &str, from: i64, until: i64) -> Option<&Reservation> {
        let mine = self.live.iter().filter(|one| one.rooms.iter().any(|other| other == room));
        mine.filter(|one| one.from < until && from < one.until).min_by_key(|one| one.from)
    }

    /// Returns a room for each target, or the index of the first target without one.
    fn fit(&self, targets: &[String], from: i64, until: i64) -> Result<Vec<String>, usize> {
        let mut chosen = vec![String::new(); targets.len()];
        for (at, target) in targets.iter().enumerate().filter(|(_, target)| !is_pattern(target)) {
            let room = self.find(target).expect("a known name");
            if self.overlap(&room, from, until).is_some() {
                return Err(at);
            }
            chosen[at] = room;
        }
        for (at, target) in targets.iter().enumerate().filter(|(_, target)| is_pattern(target)) {
            let free = self.rooms.iter().find(|room| {
                is_match(target, room)
                    && !chosen.contains(room)
                    && self.overlap(room, from, until).is_none()
            });
            chosen[at] = free.ok_or(at)?.clone();
        }
        Ok(chosen)
    }

    fn end_of(&self, end: End, from: i64) -> Option<i64> {
        match end {
            End::Open | End::Quit | End::KeepAlive(_) => Some(NEVER),
            End::Until(until) => Some(until),
            End::For(ms) => Some(from + ms),
            End::Nights(nights) => {
                self.zone.night_end(Time::from_ms(from), nights).ok().map(Time::ms)
            }
        }
    }

    fn interval(&self, start: Start, end: End, now: i64) -> Option<(i64, i64)> {
        let from = match start {
            Start::Default | Start::Now => now,
            Start::At(from) => from,
        };
        let counted_from = if is_lease(start, end) { now + self.lag } else { from };
        let until = self.end_of(end, counted_from)?;
        (from < until && until > now).then_some((from.max(now), until))
    }

    /// Returns an error if a name does not exist or occurs twice, or if a pattern matches no room.
    fn unknown(&self, targets: &[String]) -> Option<Line> {
        let mut named = Vec::new();
        for target in targets {
            if is_pattern(target) {
                if !self.rooms.iter().any(|room| is_match(target, room)) {
                    return Some(error(404));
                }
                continue;
            }
            match self.find(target) {
                None => return Some(error(404)),
                Some(room) if named.contains(&room) => return Some(error(400)),
                Some(room) => named.push(room),
            }
        }
        None
    }

    /// Returns the first whole second at which a request fits: now, or when a reservation ends.
    fn earliest(&self, targets: &[String], end: End, from: i64) -> Option<i64> {
        let mut starts = vec![ceil_s(from)];
        let ends = self.live.iter().map(|one| one.until).filter(|until| *until != NEVER);
        starts.extend(ends.map(ceil_s).filter(|start| *start >= from));
        starts.sort();
        starts.into_iter().find(|start| {
            let until = self.end_of(end, *start).filter(|until| start < until);
            until.is_some_and(|until| self.fit(targets, *start, until).is_ok())
        })
    }

    /// Returns the error for a request that does not fit.
    fn busy(
        &self,
        targets: &[String],
        busy_target: usize,
        end: End,
        (from, until): (i64, i64),
        earliest: Option<i64>,
        lang: Lang,
    ) -> Line {
        let is_fixed = matches!(end, End::Until(_)) && from < until;
        let same_length = || self.earliest(targets, End::For(until - from), from);
        let (before, start) = match earliest {
            Some(start) => (lang.pick("libre desde ", "free from "), Some(start)),
            None => (
                lang.pick(
                    "así no cabrá nunca; con esa duración, libre desde ",
                    "cannot fit as requested; that length is free from ",
                ),
                is_fixed.then(same_length).flatten(),
            ),
        };
        let unknown = lang.pick("no se sabe cuándo quedará libre", "no end is known");
        let fits = match start {
            Some(start) => format!("{before}{}", self.up(start)),
            None => unknown.to_owned(),
        };
        let queue = self.waiters.iter();
        let queue =
            queue.filter(|other| self.share_targets(&other.request.targets, targets)).count();
        let queue = match queue {
            0 => String::new(),
            _ => format!("; {}: {queue}", lang.pick("en cola", "in the queue")),
        };
        let target = &targets[busy_target];
        if is_pattern(target) {
            return error_with(409, &[target, &format!("{queue}; {fits}")]);
        }
        let room = self.find(target).expect("a known name");
        let other = self.overlap(&room, from, until).expect("an overlapping reservation");
        let mut text = match lang {
            Lang::Es => format!("ERR 409 «{room}» no está libre: #{}", other.number),
            Lang::En => format!("ERR 409 '{room}' is not free: #{}", other.number),
        };
        if let Some(holder) = &other.holder {
            text += &format!(" {}={holder}", lang.pick("titular", "holder"));
        }
        text += &format!(" {}", self.span(other, lang));
        if let Some(note) = &other.note {
            let note = note.replace('\\', "\\\\").replace('"', "\\\"");
            text += &format!(" {}=\"{note}\"", lang.pick("nota", "note"));
        }
        if until == NEVER && other.from > from {
            let free = self.down(other.from);
            text += &match lang {
                Lang::Es => {
                    format!("; libre hasta {free}: indica un final anterior (por=, hasta=)")
                }
                Lang::En => format!("; free until {free}: give an earlier end (for=, until=)"),
            };
        }
        Line::Is(format!("{text}{queue}; {fits}"))
    }

    /// Prints `desde=… hasta=…`.
    fn span(&self, one: &Reservation, lang: Lang) -> String {
        let from = self.down(one.from);
        let end = self.end(one, lang);
        match lang {
            Lang::Es => format!("desde={from} hasta={end}"),
            Lang::En => format!("from={from} until={end}"),
        }
    }

    fn end(&self, one: &Reservation, lang: Lang) -> String {
        match one.until {
            _ if one.session.is_some() => lang.pick("salir", "quit").to_owned(),
            NEVER => "-".to_owned(),
            until => self.up(until),
        }
    }

    fn deadline(&self, ms: i64) -> (i64, u64) {
        (ms, self.monotonic_ms + ms.unsigned_abs())
    }

    fn reserved(&self, number: u64, start: Start, lang: Lang) -> Line {
        let one = self.live.iter().find(|one| one.number == number).expect("a live reservation");
        let word = lang.pick("RESERVADO", "RESERVED");
        let mut text = format!("OK {word} #{number} {}", one.rooms.join(", "));
        if start != Start::Default || one.until != NEVER || one.session.is_some() {
            text += &format!(" {}{}", self.span(one, lang), length(one, lang));
        }
        Line::Is(text)
    }

    fn record(
        &mut self,
        words: (&'static str, &'static str),
        number: Option<u64>,
        rooms: &[String],
        terms: Option<(String, String)>,
    ) {
        self.events.push(Rc::new(Event { words, number, rooms: rooms.to_vec(), terms }));
    }

    #[allow(clippy::too_many_arguments)] // the parts of a reservation
    fn grant(
        &mut self,
        session: u64,
        holder: Option<String>,
        request: &Request,
        key: Option<(String, KeyedRequest)>,
        rooms: Vec<String>,
        (from, until): (i64, i64),
        now: i64,
    ) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        let keep_alive = match request.end {
            End::KeepAlive(ms) => Some(self.deadline(ms)),
            _ => None,
        };
        self.count("kept alive", usize::from(keep_alive.is_some()));
        let bound = (request.end == End::Quit || keep_alive.is_some()).then_some(session);
        let note = request.note.clone();
        let lease = is_lease(request.start, request.end);
        let one = Reservation {
            number,
            rooms,
            from,
            until,
            holder,
            note,
            key,
            session: bound,
            lease,
            keep_alive,
        };
        let is_plain = until == NEVER && bound.is_none() && from == now;
        let terms = (!is_plain).then(|| {
            let text = |lang| format!(" {}{}", self.span(&one, lang), length(&one, lang));
            (text(Lang::Es), text(Lang::En))
        });
        self.record(("RESERVADO", "RESERVED"), Some(number), &one.rooms.clone(), terms);
        self.live.push(one);
        self.keep_copy();
        number
    }

    fn expire(&mut self, number: u64) {
        let at = self.live.iter().position(|one| one.number == number).expect("a live reservation");
        let one = self.live.remove(at);
        self.record(("VENCIDO", "EXPIRED"), Some(number), &one.rooms, None);
        self.keep_copy();
    }

    /// Grants the requests of all waiters that fit, oldest first.
    fn grant_waiters(&mut self, now: i64) {
        'again: loop {
            if self.is_full() {
                break;
            }
            for at in 0..self.waiters.len() {
                let request = self.waiters[at].request.clone();
                let Some(interval) = self.interval(request.start, request.end, now) else {
                    continue;
                };
                let Ok(rooms) = self.fit(&request.targets, interval.0, interval.1) else {
                    continue;
                };
                let key = self.waiters[at].key.clone();
                let holder = self.waiters[at].holder.clone();
                // All waiters with the same key get the same number. It is bound to the last one.
                let is_same =
                    |other: &Waiter| key.is_some() && other.key == key && other.holder == holder;
                let mut same: Vec<usize> = (0..self.waiters.len())
                    .filter(|other| is_same(&self.waiters[*other]))
                    .collect();
                if same.is_empty() {
                    same.push(at);
                }
                let session = self.waiters[*same.last().unwrap()].session;
                let number = self.grant(session, holder, &request, key, rooms, interval, now);
                for at in same.into_iter().rev() {
                    let waiter = self.waiters.remove(at);
                    self.moved = true;
                    let line = self.reserved(number, waiter.request.start, waiter.lang);
                    self.send(waiter.session, line);
                    self.count("granted later", 1);
                    let has_pattern =
                        waiter.request.targets.iter().any(|target| is_pattern(target));
                    self.count("granted by a pattern", usize::from(has_pattern));
                }
                continue 'again;
            }
            break;
        }
        self.send_positions(now);
    }

    /// Returns the rooms among the targets that are named.
    fn names(&self, targets: &[String]) -> Vec<String> {
        let named = targets.iter().filter(|target| !is_pattern(target));
        named.map(|target| self.find(target).expect("a known name")).collect()
    }

    fn share_targets(&self, one: &[String], other: &[String]) -> bool {
        let (mine, theirs) = (self.names(one), self.names(other));
        let patterns = |targets: &[String]| -> Vec<String> {
            targets.iter().filter(|target| is_pattern(target)).cloned().collect()
        };
        let may = |patterns: &[String], names: &[String]| {
            patterns.iter().any(|pattern| names.iter().any(|name| is_match(pattern, name)))
        };
        let (my_patterns, their_patterns) = (patterns(one), patterns(other));
        mine.iter().any(|name| theirs.contains(name))
            || may(&my_patterns, &theirs)
            || may(&their_patterns, &mine)
            || (!my_patterns.is_empty() && !their_patterns.is_empty())
    }

    fn position(&self, at: usize) -> usize {
        let older = &self.waiters[..at];
        let targets = &self.waiters[at].request.targets;
        1 + older.iter().filter(|other| self.share_targets(&other.request.targets, targets)).count()
    }

    /// Sends the first ten positions now, and the others in ten seconds.
    fn send_positions(&mut self, now: i64) {
        self.send_positions_up_to(10);
        if std::mem::take(&mut self.moved) && self.waiters.len() > 10 {
            self.positions_due = self.positions_due.or(Some(now + self.lag + 10_000));
        }
    }

    fn send_positions_up_to(&mut self, most: usize) {
        for at in 0..self.waiters.len() {
            let position = self.position(at);
            let waiter = &mut self.waiters[at];
            if waiter.sent_position != position && position <= most {
                waiter.sent_position = position;
                let (session, line) = (waiter.session, queue_line(waiter));
                self.send(session, line);
            }
        }
    }

    /// Applies all ends up to `now`, each at its own time.
    pub fn advance(&mut self, now: i64) {
        let monotonic = now + self.lag;
        let caught_up = std::mem::replace(&mut self.last_lag, self.lag) > self.lag;
        loop {
            let dated = self.next_dated().filter(|time| *time <= now);
            let counted = self.next_monotonic().filter(|time| *time <= monotonic);
            let Some(next) = dated.into_iter().chain(counted).min() else { break };
            // The monotonic clock continues while the time stands still.
            let time = next.min(now);
            self.lag = next - time;
            let is_over = |one: &&Reservation| one.until <= if one.lease { next } else { time };
            let mut ended: Vec<u64> =
                self.live.iter().filter(is_over).map(|one| one.number).collect();
            ended.sort();
            ended.into_iter().for_each(|number| self.expire(number));
            self.update_waiters(time);
        }
        self.lag = monotonic - now;
        if caught_up {
            self.grant_waiters(now);
        }
    }

    /// Ends the keep-alive reservations that were not renewed, after all other ends.
    pub fn end_keep_alives(&mut self, now: i64) {
        let mut over: Vec<(u64, u64)> = Vec::new();
        for one in &self.live {
            if let Some((_, deadline)) = one.keep_alive.filter(|(_, it)| *it <= self.monotonic_ms) {
                over.push((deadline, one.number));
            }
        }
        over.sort();
        self.count("not renewed in time", over.len());
        let any = !over.is_empty();
        over.into_iter().for_each(|(_, number)| self.expire(number));
        if any {
            self.grant_waiters(now);
        }
    }

    fn update_waiters(&mut self, time: i64) {
        let monotonic = time + self.lag;
        self.grant_waiters(time);
        let is_up = |it: &Waiter| it.wait_until <= monotonic || it.own_end <= time;
        while let Some(at) = self.waiters.iter().position(is_up) {
            self.time_out(at);
        }
        if self.positions_due.is_some_and(|at| at <= monotonic) {
            self.positions_due = None;
            self.send_positions_up_to(usize::MAX);
        }
        self.send_positions(time);
    }

    /// Handles a step of the wall clock to `now`. Leases keep their lengths, unless they would
    /// overlap a reservation with dates.
    pub fn set_clock(&mut self, by_ms: i64, now: i64) {
        let mut over: Vec<_> =
            self.live.iter().filter(|one| !one.lease && one.until <= now).collect();
        over.sort_by_key(|one| (one.until, one.number));
        let over: Vec<_> = over.into_iter().map(|one| one.number).collect();
        over.into_iter().for_each(|number| self.expire(number));
        let mut leases: Vec<_> = self.live.iter().filter(|one| one.lease).cloned().collect();
        leases.sort_by_key(|one| (one.until, one.number));
        for one in leases {
            let until = one.until + by_ms;
            let is_other = |other: &&Reservation| {
                other.number != one.number
                    && other.rooms.iter().any(|room| one.rooms.contains(room))
            };
            let ahead = self.live.iter().filter(is_other).map(|other| other.from);
            let until = ahead.filter(|from| *from >= one.until).chain([until]).min().unwrap();
            if until <= now {
                self.expire(one.number);
                continue;
            }
            let end = self.up(until);
            let terms = (format!(" hasta={end}"), format!(" until={end}"));
            self.record(("RENOVADO", "RENEWED"), Some(one.number), &one.rooms, Some(terms));
            let lives = self.live.iter_mut().find(|other| other.number == one.number);
            lives.expect("a live reservation").until = until;
            self.keep_copy();
        }
        self.waiters.iter_mut().for_each(|waiter| waiter.wait_until += by_ms);
        self.positions_due = self.positions_due.map(|at| at + by_ms);
        self.update_waiters(now);
    }

    fn time_out(&mut self, at: usize) {
        let waiter = self.waiters.remove(at);
        self.moved = true;
        let text = match waiter.lang {
            Lang::Es => format!("ERR 408 se acabó la espera de {}", waiter.text),
            Lang::En => format!("ERR 408 the wait for {} is over", waiter.text),
        };
        self.count("waits timed out", 1);
        self.send(waiter.session, Line::Is(text));
    }

    /// Handles a connection that is known to be lost: its wait ends.
    pub fn leave_queue(&mut self, session: u64, now: i64) {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.session != session);
        self.moved |= self.waiters.len() < before;
        self.send_positions(now);
    }

    /// Handles a telnet interrupt.
    pub fn interrupt(&mut self, session: u64, now: i64) {
        if let Some(at) = self.waiters.iter().position(|waiter| waiter.session == session) {
            self.time_out(at);
            self.send_positions(now);
        }
    }

    /// Handles a closed connection: the reservations bound to it end, except those kept alive.
    pub fn leave(&mut self, session: u64, now: i64) {
        self.release(session, false, now);
    }

    fn release(&mut self, session: u64, with_kept_alive: bool, now: i64) {
        let is_its = |one: &&Reservation| one.session == Some(session);
        let kept = self.live.iter().filter(is_its).filter(|one| one.keep_alive.is_some()).count();
        self.count("kept alive without a connection", if with_kept_alive { 0 } else { kept });
        let bound = self
            .live
            .iter()
            .filter(is_its)
            .filter(|one| with_kept_alive || one.keep_alive.is_none());
        let mut bound: Vec<_> = bound.map(|one| (one.keep_alive.is_some(), one.number)).collect();
        bound.sort();
        bound.into_iter().for_each(|(_, number)| self.expire(number));
        self.connections.retain(|connection| connection.session != session);
        self.grant_waiters(now);
    }

    /// Ends all waits, because the server stops.
    pub fn end_waits(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            self.send(waiter.session, error(503));
        }
        self.moved = false;
    }

    /// Sends a waiter its position again.
    pub fn repeat_position(&mut self, session: u64) {
        if let Some(waiter) = self.waiters.iter().find(|waiter| waiter.session == session) {
            let line = queue_line(waiter);
            self.send(session, line);
        }
    }

    /// Handles a restart of the server from its journal. `floor` is the last event of the snapshot.
    pub fn restart(&mut self, floor: u64) {
        let bound = |one: &&Reservation| one.session.is_some() && one.keep_alive.is_none();
        let mut bound: Vec<u64> = self.live.iter().filter(bound).map(|one| one.number).collect();
        bound.sort();
        bound.into_iter().for_each(|number| self.expire(number));
        // Keep-alive reservations are counted from the start and belong to no connection.
        let monotonic_ms = self.monotonic_ms;
        for one in self.live.iter_mut() {
            one.keep_alive = one.keep_alive.map(|(ms, _)| (ms, monotonic_ms + ms.unsigned_abs()));
            one.session = one.keep_alive.map(|_| 0);
        }
        self.waiters.clear();
        self.connections.clear();
        self.sent.clear();
        self.sent_after.clear();
        (self.moved, self.positions_due, self.lag, self.last_lag) = (false, None, 0, 0);
        self.floor = floor;
    }

    /// Handles `reservad reset-time`: moves the time from `then` back to `now`. A lease keeps the
    /// time that it had left at `then`, and reservations without an end have begun.
    pub fn reset_time(&mut self, then: i64, now: i64) {
        for one in self.live.iter_mut().filter(|one| one.from <= then) {
            if one.lease {
                one.from = one.from.min(now);
                one.until = now + (one.until - then).max(1);
            } else if one.until == NEVER {
                one.from = one.from.min(now);
            }
        }
    }

    /// Adds the rooms that are missing.
    pub fn add_missing(&mut self, names: &[String]) {
        for name in names {
            if self.find(name).is_none() {
                self.rooms.push(name.clone());
                self.record(("ALTA", "ADD"), None, std::slice::from_ref(name), None);
            }
        }
    }

    /// Prints the state that must survive a restart.
    pub fn dump(&self) -> String {
        let mut text = format!("events {} numbers {}", self.last_event(), self.last_number);
        for room in &self.rooms {
            text += &format!("\n{room}");
        }
        let mut live: Vec<_> = self.live.iter().collect();
        live.sort_by_key(|one| one.number);
        for one in live {
            let key = one.key.as_ref().map(|(key, _)| key);
            text += &format!(
                "\n#{} {:?} {} {} {} {:?} {:?} {:?} {key:?} {:?}",
                one.number,
                one.rooms,
                one.from,
                one.until,
                one.lease,
                one.session,
                one.holder,
                one.note,
                one.keep_alive.map(|(ms, _)| ms),
            );
        }
        text
    }

    /// Sends the watchers their notices up to an event.
    pub fn notify_watchers(&mut self, last: u64) {
        let end = self.events.len().min(last as usize);
        for connection in &mut self.connections {
            let Some(watch) = &mut connection.watch else { continue };
            for (at, one) in self.events.iter().enumerate().take(end).skip(watch.next) {
                if let Some(pattern) = &watch.pattern
                    && !one.rooms.iter().any(|room| is_match(pattern, room))
                {
                    continue;
                }
                let word = watch.lang.pick(one.words.0, one.words.1);
                let number = one.number.map_or(String::new(), |number| format!("#{number} "));
                let terms = match &one.terms {
                    Some((es, en)) => watch.lang.pick(es, en).as_str(),
                    None => "",
                };
                let rooms = one.rooms.join(", ");
                let text = format!("* {} {word} {number}{rooms}{terms}", at + 1);
                self.sent.push((connection.session, Line::Is(text)));
                self.sent_after.push(at as u64 + 1);
            }
            watch.next = watch.next.max(end);
        }
    }

    /// Runs a command of connection `me`.
    pub fn run(&mut self, me: u64, command: &Command, lang: Lang, now: i64) {
        let lines = match command {
            Command::Reserve(request) => vec![self.reserve(me, request, lang, now)],
            Command::Cancel(items) => vec![self.cancel(me, items, lang)],
            Command::Renew(number, end) => vec![self.renew(me, *number, *end, lang, now)],
            Command::When(targets, start, end) => vec![self.when(targets, *start, *end, lang, now)],
            Command::List(wanted, start, end) => {
                self.list(wanted.as_deref(), *start, *end, lang, now)
            }
            Command::Bookings { wanted, holder, from, until } => {
                let from = match from {
                    Start::Default => i64::MIN,
                    Start::Now => now,
                    Start::At(from) => *from,
                };
                let until = until.unwrap_or(NEVER);
                self.bookings(wanted.as_deref(), holder.as_deref(), from, until, lang)
            }
            Command::Verify(number, name) => {
                vec![self.verify(*number, name.as_deref(), lang, now)]
            }
            Command::IAm(name) => {
                self.connection(me).holder = Some(name.clone());
                vec![Line::Is(format!("OK {name}"))]
            }
            Command::Add(names) => vec![self.add(names, lang)],
            Command::Remove(names) => vec![self.remove(names, lang)],
            Command::Watch(wanted, after) => {
                vec![self.watch(me, wanted.as_deref(), *after, lang)]
            }
            Command::Quit => {
                self.send(me, Line::Is(lang.pick("OK ADIÓS", "OK BYE").to_owned()));
                return self.release(me, true, now);
            }
        };
        lines.into_iter().for_each(|line| self.send(me, line));
        self.grant_waiters(now);
    }

    fn reserve(&mut self, me: u64, request: &Request, lang: Lang, now: i64) -> Line {
        let Some(interval) = self.interval(request.start, request.end, now) else {
            return error(400);
        };
        let holder = self.connection(me).holder.clone();
        // Rights are checked first.
        if request.key.is_some() && holder.is_none() {
            return error(401);
        }
        if let Some(line) = self.unknown(&request.targets) {
            return line;
        }
        let key = request.key.clone().map(|key| {
            let mut targets: Vec<_> = request.targets.iter().map(|target| fold(target)).collect();
            targets.sort();
            let note = request.note.clone();
            (key, KeyedRequest { targets, start: request.start, end: request.end, note })
        });
        if let Some((word, keyed)) = &key {
            let is_mine = |other: &Option<(String, KeyedRequest)>, whose: &Option<String>| {
                *whose == holder && other.as_ref().is_some_and(|(other, _)| other == word)
            };
            let lives = self.live.iter_mut().find(|one| is_mine(&one.key, &one.holder));
            if let Some(one) = lives {
                if one.key.as_ref().is_some_and(|(_, other)| other != keyed) {
                    let number = format!("#{}", one.number);
                    return error_with(409, &[word, &number]);
                }
                one.session = one.session.map(|_| me);
                let monotonic_ms = self.monotonic_ms;
                one.keep_alive =
                    one.keep_alive.map(|(ms, _)| (ms, monotonic_ms + ms.unsigned_abs()));
                let number = one.number;
                return self.reserved(number, request.start, lang);
            }
            let waiter_of_key = self.waiters.iter().find(|one| is_mine(&one.key, &one.holder));
            if waiter_of_key
                .is_some_and(|one| one.key.as_ref().is_some_and(|(_, other)| other != keyed))
            {
                return error_with(409, &[word]);
            }
        }
        if self.is_full() {
            return error(503);
        }
        match self.fit(&request.targets, interval.0, interval.1) {
            Ok(rooms) => {
                let number = self.grant(me, holder, request, key, rooms, interval, now);
                self.reserved(number, request.start, lang)
            }
            Err(_) if request.wait_ms.is_some() => self.wait(me, holder, request, key, lang, now),
            Err(busy_target) => {
                let earliest = self.earliest(&request.targets, request.end, interval.0);
                self.busy(&request.targets, busy_target, request.end, interval, earliest, lang)
            }
        }
    }

    fn wait(
        &mut self,
        me: u64,
        holder: Option<String>,
        request: &Request,
        key: Option<(String, KeyedRequest)>,
        lang: Lang,
        now: i64,
    ) -> Line {
        let mut request = request.clone();
        if request.start == Start::Now {
            if let End::For(ms) = request.end {
                request.end = End::Until(now + self.lag + ms);
            }
            request.start = Start::At(now);
        }
        let own_end = match (request.start, request.end) {
            (_, End::Until(until)) => until,
            (Start::At(from), end) => self.end_of(end, from).unwrap_or(NEVER),
            _ => NEVER,
        };
        let wait_until = now + self.lag + request.wait_ms.expect("a waiting time");
        let patterns = request.targets.iter().filter(|target| is_pattern(target)).count();
        let has_both = patterns > 0 && patterns < request.targets.len();
        self.count("waits for several patterns", usize::from(patterns > 1));
        self.count("waits for names and patterns", usize::from(has_both));
        self.count("waits for dates", usize::from(request.start != Start::Default));
        let text: Vec<_> = request
            .targets
            .iter()
            .map(
                |target| {
                    if is_pattern(target) { target.clone() } else { self.find(target).unwrap() }
                },
            )
            .collect();
        let text = text.join(", ");
        let waiter = Waiter {
            session: me,
            holder,
            request,
            key,
            wait_until,
            own_end,
            lang,
            text,
            sent_position: 0,
        };
        self.waiters.push(waiter);
        let last = self.waiters.len() - 1;
        let position = self.position(last);
        self.waiters[last].sent_position = position;
        queue_line(&self.waiters[last])
    }

    /// Returns the live reservation with a number, or the error.
    fn numbered(&self, number: u64) -> Result<&Reservation, Line> {
        match self.live.iter().find(|one| one.number == number) {
            Some(one) => Ok(one),
            None if number == 0 || number > self.last_number => Err(error(404)),
            None => Err(error(410)),
        }
    }

    fn cancel(&mut self, me: u64, items: &[Item], lang: Lang) -> Line {
        let holder = self.connection(me).holder.clone();
        // Rights are checked first.
        let is_others = |item: &Item| match item {
            Item::Number(number) => {
                self.numbered(*number).is_ok_and(|one| one.holder.is_some() && one.holder != holder)
            }
            Item::Name(_) => false,
        };
        if items.iter().any(is_others) {
            return error(403);
        }
        let mut released: Vec<(u64, String)> = Vec::new();
        for item in items {
            let more: Vec<(u64, String)> = match item {
                Item::Number(number) => match self.numbered(*number) {
                    Err(line) => return line,
                    Ok(one) => one.rooms.iter().map(|room| (*number, room.clone())).collect(),
                },
                Item::Name(name) => {
                    let Some(room) = self.find(name) else { return error(404) };
                    let on_it: Vec<_> =
                        self.live.iter().filter(|one| one.rooms.contains(&room)).collect();
                    let of = |whose: &Option<String>| -> Vec<u64> {
                        let theirs = on_it.iter().filter(|one| one.holder == *whose);
                        theirs.map(|one| one.number).collect()
                    };
                    let mut candidates = of(&holder);
                    if candidates.is_empty() {
                        candidates = of(&None);
                    }
                    match candidates[..] {
                        [number] => vec![(number, room)],
                        [] if on_it.is_empty() => return error(404),
                        [] => return error(403),
                        _ => {
                            let numbers: Vec<_> =
                                candidates.iter().map(|number| format!("#{number}")).collect();
                            return Line::Error(409, numbers);
                        }
                    }
                }
            };
            for one in more {
                if released.contains(&one) {
                    return error(400);
                }
                released.push(one);
            }
        }
        let mut text = lang.pick("OK CANCELADO", "OK CANCELLED").to_owned();
        let mut order: Vec<u64> = Vec::new();
        for (at, (number, room)) in released.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            if at == 0 || released[at - 1].0 != *number {
                text += &format!(" #{number}");
            }
            text += &format!(" {room}");
            if !order.contains(number) {
                order.push(*number);
            }
        }
        for number in order {
            let rooms: Vec<String> = released
                .iter()
                .filter(|(other, _)| *other == number)
                .map(|(_, room)| room.clone())
                .collect();
            self.record(("CANCELADO", "CANCELLED"), Some(number), &rooms, None);
            let at = self.live.iter().position(|one| one.number == number).unwrap();
            self.live[at].rooms.retain(|room| !rooms.contains(room));
            if self.live[at].rooms.is_empty() {
                self.live.remove(at);
            }
        }
        Line::Is(text)
    }

    fn renew(&mut self, me: u64, number: u64, end: End, lang: Lang, now: i64) -> Line {
        if let End::Until(until) = end
            && until <= now
        {
            return error(400);
        }
        let holder = self.connection(me).holder.clone();
        let one = match self.numbered(number) {
            Err(line) => return line,
            Ok(one) if one.holder.is_some() && one.holder != holder => return error(403),
            Ok(one) => one.clone(),
        };
        let kept_alive = match end {
            End::KeepAlive(ms) => Some(self.deadline(ms)),
            _ => None,
        };
        let (word, option) = lang.pick(("RENOVADO", "hasta"), ("RENEWED", "until"));
        if kept_alive.is_some() && one.keep_alive.map(|it| it.0) == kept_alive.map(|it| it.0) {
            // Only the deadline changes, which is not an event.
            self.count("renewed for the same length", 1);
            self.count("kept alive by another connection", usize::from(one.session != Some(me)));
            let other = self.live.iter_mut().find(|other| other.number == number);
            let other = other.expect("a live reservation");
            (other.keep_alive, other.session) = (kept_alive, Some(me));
            let (rooms, end) = (one.rooms.join(", "), lang.pick("salir", "quit"));
            let length = length(&one, lang);
            return Line::Is(format!("OK {word} #{number} {rooms} {option}={end}{length}"));
        }
        let has_begun = one.from <= now;
        let counted_from = if has_begun { now + self.lag } else { one.from };
        let until = self.end_of(end, counted_from).expect("a length without nights");
        if until <= one.from {
            return error(400);
        }
        if until > one.until {
            let all = one.rooms.iter().filter_map(|room| self.overlap(room, one.until, until));
            if let Some(next) = all.min_by_key(|next| next.from) {
                return Line::Error(409, vec![format!("#{}", next.number), self.down(next.from)]);
            }
        }
        let bound = Reservation {
            until,
            lease: has_begun && matches!(end, End::For(_)),
            session: kept_alive.map(|_| me),
            keep_alive: kept_alive,
            ..one
        };
        let end = |lang| format!("{}{}", self.end(&bound, lang), length(&bound, lang));
        let terms = (format!(" hasta={}", end(Lang::Es)), format!(" until={}", end(Lang::En)));
        let end = end(lang);
        let rooms = bound.rooms.clone();
        self.record(("RENOVADO", "RENEWED"), Some(number), &rooms, Some(terms));
        let at =
            self.live.iter().position(|other| other.number == number).expect("a live reservation");
        self.live[at] = bound;
        Line::Is(format!("OK {word} #{number} {} {option}={end}", rooms.join(", ")))
    }

    fn when(&self, targets: &[String], start: Start, end: End, lang: Lang, now: i64) -> Line {
        if let Some(line) = self.unknown(targets) {
            return line;
        }
        let from = match start {
            Start::At(from) => from.max(now),
            _ => now,
        };
        match self.earliest(targets, end, from) {
            Some(start) => {
                let until = self.end_of(end, start).unwrap();
                let rooms = self.fit(targets, start, until).unwrap();
                Line::Is(format!("OK {} {}", self.up(start), rooms.join(", ")))
            }
            None => {
                let from = ceil_s(from);
                let until = self.end_of(end, from).unwrap();
                let busy_target = self.fit(targets, from, until).unwrap_err();
                self.busy(targets, busy_target, end, (from, until), None, lang)
            }
        }
    }

    fn matching(&self, wanted: Option<&str>) -> Result<Vec<String>, Line> {
        if let Some(name) = wanted
            && !is_pattern(name)
            && self.find(name).is_none()
        {
            return Err(error(404));
        }
        let all = self.rooms.iter();
        Ok(all.filter(|room| wanted.is_none_or(|it| is_match(it, room))).cloned().collect())
    }

    fn list(
        &self,
        wanted: Option<&str>,
        start: Start,
        end: End,
        lang: Lang,
        now: i64,
    ) -> Vec<Line> {
        let interval = match (start, end) {
            (Start::Default, End::Open) => Some((now, now + 1)),
            _ => self.interval(start, end, now),
        };
        let Some((from, until)) = interval else { return vec![error(400)] };
        let mut rooms = match self.matching(wanted) {
            Ok(rooms) => rooms,
            Err(line) => return vec![line],
        };
        rooms.retain(|room| self.overlap(room, from, until).is_none());
        let word = lang.pick("DISPONIBLES", "AVAILABLE");
        let head = Line::Is(format!("OK {} {word}", rooms.len()));
        std::iter::once(head).chain(rooms.into_iter().map(Line::Is)).collect()
    }

    fn bookings(
        &self,
        wanted: Option<&str>,
        holder: Option<&str>,
        from: i64,
        until: i64,
        lang: Lang,
    ) -> Vec<Line> {
        if from >= until {
            return vec![error(400)];
        }
        let rooms = match self.matching(wanted) {
            Ok(rooms) => rooms,
            Err(line) => return vec![line],
        };
        let mut rows = Vec::new();
        for room in rooms {
            let mut mine: Vec<_> = self
                .live
                .iter()
                .filter(|one| one.rooms.contains(&room))
                .filter(|one| one.from < until && from < one.until)
                .filter(|one| holder.is_none() || one.holder.as_deref() == holder)
                .collect();
            mine.sort_by_key(|one| one.from);
            for one in mine {
                rows.push(format!(
                    "#{}\t{room}\t{}\t{}\t{}\t{}",
                    one.number,
                    one.holder.as_deref().unwrap_or("-"),
                    self.down(one.from),
                    self.end(one, lang),
                    one.note.as_deref().unwrap_or("-"),
                ));
            }
        }
        let head = format!("OK {} {}", rows.len(), lang.pick("RESERVAS", "BOOKINGS"));
        std::iter::once(head).chain(rows).map(Line::Is).collect()
    }

    fn verify(&self, number: u64, name: Option<&str>, lang: Lang, now: i64) -> Line {
        let room = match name {
            Some(name) => match self.find(name) {
                None => return error(404),
                found => found,
            },
            None => None,
        };
        let one = match self.numbered(number) {
            Ok(one) => one,
            Err(line) => return line,
        };
        let rooms = match room {
            None => one.rooms.join(", "),
            Some(room) if one.rooms.contains(&room) => room,
            Some(_) => return error(404),
        };
        if one.from > now {
            return Line::Error(409, vec![self.down(one.from)]);
        }
        let left = match one.until {
            _ if one.keep_alive.is_some() => {
                let (_, deadline) = one.keep_alive.expect("a keep-alive reservation");
                format!("{}s", (deadline - self.monotonic_ms) / 1000)
            }
            NEVER => "-".to_owned(),
            until if one.lease => format!("{}s", (until - now - self.lag) / 1000),
            until => format!("{}s", (until - now) / 1000),
        };
        let (word, option) = lang.pick(("VIGENTE", "quedan"), ("VALID", "left"));
        Line::Is(format!("OK {word} #{number} {rooms} {option}={left}"))
    }

    fn add(&mut self, names: &[String], lang: Lang) -> Line {
        for (at, name) in names.iter().enumerate() {
            if self.find(name).is_some() {
                return error(409);
            }
            let before = names[..at].iter().find(|other| fold(other) == fold(name));
            if let Some(before) = before {
                return error(if before == name { 400 } else { 409 });
            }
        }
        if self.rooms.len() + names.len() > self.max_rooms {
            return error(503);
        }
        for name in names {
            self.rooms.push(name.clone());
            self.record(("ALTA", "ADD"), None, std::slice::from_ref(name), None);
        }
        Line::Is(format!("OK {} {}", lang.pick("ALTA", "ADD"), names.len()))
    }

    fn remove(&mut self, names: &[String], lang: Lang) -> Line {
        let mut rooms: Vec<String> = Vec::new();
        for name in names {
            let Some(room) = self.find(name) else { return error(404) };
            let booked = self.live.iter().filter(|one| one.rooms.contains(&room));
            if let Some(first) = booked.min_by_key(|one| one.from) {
                return error_with(409, &[&format!("#{}", first.number)]);
            }
            if rooms.contains(&room) {
                return error(400);
            }
            rooms.push(room);
        }
        for room in &rooms {
            while let Some(at) = (0..self.waiters.len())
                .find(|at| self.names(&self.waiters[*at].request.targets).contains(room))
            {
                let waiter = self.waiters.remove(at);
                self.moved = true;
                let text = match waiter.lang {
                    Lang::Es => format!("ERR 404 «{room}» ya no existe: se dio de baja"),
                    Lang::En => format!("ERR 404 '{room}' no longer exists: it was removed"),
                };
                self.send(waiter.session, Line::Is(text));
            }
            self.record(("BAJA", "REMOVE"), None, std::slice::from_ref(room), None);
            self.rooms.retain(|other| other != room);
        }
        Line::Is(format!("OK {} {}", lang.pick("BAJA", "REMOVE"), rooms.len()))
    }

    fn watch(&mut self, me: u64, wanted: Option<&str>, after: Option<u64>, lang: Lang) -> Line {
        if let Err(line) = self.matching(wanted) {
            return line;
        }
        let last = self.last_event();
        let after = after.unwrap_or(last);
        if after > last || after < self.floor {
            let again = if after > last { last } else { self.floor };
            let again = format!("{}={again}", lang.pick("OBSERVAR tras", "WATCH after"));
            return error_with(410, &[&again]);
        }
        let pattern = wanted.map(str::to_owned);
        self.connection(me).watch = Some(Watch { pattern, lang, next: after as usize });
        let (word, option) = lang.pick(("OBSERVANDO", "tras"), ("WATCHING", "after"));
        Line::Is(format!("OK {word} {option}={after}"))
    }
}

/// Prints the keep-alive time, if there is one.
fn length(one: &Reservation, lang: Lang) -> String {
    let text = |(ms, _)| format!(" {}={}s", lang.pick("por", "for"), ms / 1000);
    one.keep_alive.map_or(String::new(), text)
}

fn queue_line(waiter: &Waiter) -> Line {
    let word = waiter.lang.pick("COLA", "QUEUE");
    Line::Is(format!("* {word} {} {}", waiter.sent_position, waiter.text))
}

//! `reserva ejecutar TARGETS [options] -- PROGRAM ARGS…`: a program that runs only as long as its
//! reservation is ours.
//!
//! ```text
//!             OK            in force            the program ends
//!  Reserving ────▶ Checking ────────▶ Running ────────────────────▶ Releasing ─▶ its code
//!      │ ERR: 75                         │ lost                        ▲
//!      ▼                                 ▼     TERM, grace, KILL       │ if there is a
//!     end                              Ending ─────────────────────────┘ connection; 76
//! ```
//!
//! What is told apart by how the reservation ends:
//!
//! | end | lost with the connection | after a lost connection | on the way |
//! | --- | --- | --- | --- |
//! | `hasta=salir` | yes | – | notices |
//! | `por=` | no | reconnects, `RENOVAR` | notices, `RENOVAR` at a third of the term |
//! | `hasta=`, `noches=` | no | reconnects, `VERIFICAR` | notices |
//!
//! Each connection begins with a watch and a check behind it, in this order: what happens after
//! the check is a notice, what happened before is in its answer, nothing falls between.
//!
//! The end of the reservation is counted from before the request was sent that the server agreed
//! to, so it is never later here than there. A connection that was lost before the number of the
//! reservation was known ends everything: what it may have left behind (`por=`) runs out.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use signal_hook::consts::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};

use crate::output::Output;
use crate::reply::{Part, shown};
use crate::server::{Link, Server};
use crate::texts::{self, Language};
use crate::{EXIT_IO, EXIT_LOST, EXIT_NOT_OBTAINED, Stop};

#[path = "guard/events.rs"]
mod events;
#[path = "guard/lease.rs"]
mod lease;
#[path = "guard/order.rs"]
mod order;
#[path = "guard/program.rs"]
mod program;

use events::{EVENTS, Event, Timer, now};
use lease::{GRACE, Lease, Moment, News, Said};
use order::End;
pub use order::Order;
pub use program::stop_ourselves;
use program::{EXIT_SIGNAL, Fate, Program, Stopped};

/// How long an answer may take before the connection counts as lost; less where the term is short.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest line that can tell of a reservation: 32 names of 128 bytes, and some words.
const RESERVED_MAX_BYTES: usize = 8 * 1024;

/// How long the release may take: the program has ended, and somebody waits for us.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a wait that was interrupted may take to end.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(3);

/// Between attempts to reach the server again: from the first to the second, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// While a group is ended whose leader is gone already, nobody tells us when the last one is.
const GROUP_PAUSE: Duration = Duration::from_millis(20);

/// "Interrupt Process" of telnet: ends a wait of this connection.
pub const INTERRUPT_WAIT: [u8; 2] = [0xff, 0xf4];

/// What we are if it was us who started us: done then, with this exit code.
pub fn other_self(language: Language) -> Option<u8> {
    program::other_self(|program: &OsStr, error| {
        let program = shown(program.as_encoded_bytes());
        say(&language.say(texts::CANNOT_RUN, &[&program, &language.reason(error)]));
    })
}

/// Reserves, runs the program, releases; the exit code of it all.
pub fn run(order: &Order, server: &Server, language: Language) -> Result<u8, Stop> {
    let link = Link::open(server, language)?;
    let (events, inbox) = sync_channel(EVENTS);
    let failed = |error: io::Error| failure(language, texts::CANNOT_GUARD, &error);
    events::watch_signals(events.clone()).map_err(failed)?;
    let timer = Timer::start(events.clone()).map_err(failed)?;
    let mut guard = Guard::new(order, server, language, events);
    guard.adopt(link)?;
    guard.begin();
    guard.run(&inbox, &timer)
}

fn failure(language: Language, text: texts::Text, error: &io::Error) -> Stop {
    Stop::Error { code: EXIT_IO, text: language.say(text, &[&error.to_string()]) }
}

/// A message on standard error. Not `eprintln!`: with standard error closed it would panic.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "reserva: {text}");
}

/// What was asked and is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Holder,
    Reserve,
    Watch,
    Renew,
    Verify,
    Cancel,
    Quit,
}

/// How far we are. Where there is a code, it is what we shall return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not reserved yet. With a signal: it is to be given up, until that moment at most.
    Reserving(Option<(u8, Moment)>),
    /// Reserved; whether it still is will be answered next.
    Checking,
    Running,
    /// The reservation is lost: the program was told to end, and will be ended at that moment.
    Ending(Moment),
    /// The program has ended, or was never started; the server is told, until that moment at most.
    Releasing(u8, Moment),
    Over(u8),
}

struct Guard<'a> {
    order: &'a Order,
    server: &'a Server,
    language: Language,
    events: SyncSender<Event>,
    stage: Stage,
    lease: Lease,
    program: Option<Program>,
    /// The connection, if there is one, and the number of the last one there was.
    link: Option<Link>,
    links: u64,
    /// Before the next attempt to reach the server.
    pause: Duration,
    /// What the server has still to answer on this connection, and when it was sent.
    asked: VecDeque<(Ask, Moment)>,
    /// The release was sent before, on a connection that was lost.
    was_released: bool,
    /// Why the reservation was lost.
    why: String,
}

impl<'a> Guard<'a> {
    fn new(
        order: &'a Order,
        server: &'a Server,
        language: Language,
        events: SyncSender<Event>,
    ) -> Self {
        Guard {
            order,
            server,
            language,
            events,
            stage: Stage::Reserving(None),
            lease: Lease::default(),
            program: None,
            link: None,
            links: 0,
            pause: FIRST_PAUSE,
            asked: VecDeque::new(),
            was_released: false,
            why: String::new(),
        }
    }

    /// Handles events until one of them is the last.
    fn run(&mut self, inbox: &Receiver<Event>, timer: &Timer) -> Result<u8, Stop> {
        loop {
            self.tick(now());
            if let Stage::Over(code) = self.stage {
                return Ok(code);
            }
            let failed = |error: io::Error| failure(self.language, texts::CANNOT_GUARD, &error);
            timer.set(self.next_moment()).map_err(failed)?;
            // We hold a sender ourselves: there is always another event.
            let Ok(event) = inbox.recv() else { continue };
            self.handle(event)?;
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Signal(SIGCHLD) => self.look(),
            Event::Signal(signal) => self.take_signal(signal),
            Event::Heard(link, part, line) if link == self.links => self.hear(part, &line)?,
            Event::Gone(link, gone) if link == self.links => {
                if let Some(link) = &self.link {
                    let reason = link.reason(&gone);
                    return self.lose_link(&reason);
                }
            }
            Event::Reached(Ok(link)) => self.resume(link)?,
            Event::Reached(Err(_)) => self.reconnect(),
            // Of a connection that was given up.
            Event::Heard(..) | Event::Gone(..) => {}
            Event::Due => {}
        }
        Ok(())
    }

    // -----------------------------------------------------------------------------------------
    // The connection.

    /// Takes a new connection for its own.
    fn adopt(&mut self, link: Link) -> Result<(), Stop> {
        let lost = |error| link.lost(texts::LOST_RESERVING, &crate::reply::Gone::Failed(error));
        let stream = link.stream.try_clone().map_err(lost)?;
        events::make_ends_known(&link.stream);
        self.links += 1;
        events::listen(stream, self.links, self.events.clone());
        self.link = Some(link);
        self.asked.clear();
        Ok(())
    }

    /// Tells whose the reservation is, if it is to be somebody's; says whether it is.
    fn tell_holder(&mut self) -> bool {
        let Some(holder) = &self.order.holder else {
            return false;
        };
        self.ask(Ask::Holder, &format!("{} {holder}", self.order.verbs.iam));
        true
    }

    /// Sends a line. A failed write is left to the listener, who hears what was said before it.
    fn ask(&mut self, ask: Ask, line: &str) {
        self.asked.push_back((ask, now()));
        if let Some(link) = &self.link {
            let _ = (&link.stream).write_all(format!("{line}\n").as_bytes());
        }
    }

    fn is_asking(&self, ask: Ask) -> bool {
        self.asked.iter().any(|(asked, _)| *asked == ask)
    }

    fn reserve(&mut self) {
        self.ask(Ask::Reserve, &self.order.reserve);
    }

    /// The first question: who we are; a refusal of that must not be followed by a reservation.
    fn begin(&mut self) {
        if !self.tell_holder() {
            self.reserve();
        }
    }

    /// Asks for notices of what happens to the reservation, and then whether it is in force. For
    /// a single resource only its own notices come.
    fn check(&mut self) {
        let verbs = self.order.verbs;
        let watch = match self.lease.names.as_str() {
            names if names.contains(", ") => verbs.watch.to_owned(),
            name => format!("{} {name}", verbs.watch),
        };
        self.ask(Ask::Watch, &watch);
        self.renew();
    }

    /// Asks for another term, or where there is none, what is left.
    fn renew(&mut self) {
        let (verbs, number) = (self.order.verbs, &self.lease.number);
        match &self.order.end {
            End::Lease(term, _) => {
                let line = format!("{} {number} {}={term}", verbs.renew, verbs.for_option);
                self.ask(Ask::Renew, &line);
            }
            End::Connection | End::Fixed => self.verify(),
        }
    }

    fn verify(&mut self) {
        let line = format!("{} {}", self.order.verbs.verify, self.lease.number);
        self.ask(Ask::Verify, &line);
    }

    /// The connection is lost.
    fn lose_link(&mut self, reason: &str) -> Result<(), Stop> {
        let Some(link) = self.link.take() else {
            return Ok(());
        };
        events::hang_up(&link);
        self.was_released |= self.is_asking(Ask::Cancel);
        // Nothing that is still on its way from it is ours.
        self.links += 1;
        self.asked.clear();
        match self.stage {
            Stage::Reserving(Some((code, _))) => self.stage = Stage::Over(code),
            Stage::Reserving(None) => {
                return Err(link.unavailable(texts::LOST_RESERVING, &[reason]));
            }
            // It ended with its connection, which is what was wanted.
            Stage::Releasing(code, _) if self.order.end == End::Connection => {
                self.stage = Stage::Over(code);
            }
            Stage::Checking | Stage::Running if self.order.end == End::Connection => {
                self.lose(self.language.say(texts::WHY_CONNECTION, &[&link.name(), reason]));
            }
            Stage::Checking | Stage::Running | Stage::Releasing(..) => self.reconnect(),
            Stage::Ending(_) | Stage::Over(_) => {}
        }
        Ok(())
    }

    /// Tries to reach the server again, as long as there is a reason to.
    fn reconnect(&mut self) {
        if !matches!(self.stage, Stage::Checking | Stage::Running | Stage::Releasing(..)) {
            return;
        }
        events::reach(self.server.clone(), self.language, self.pause, self.events.clone());
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// The server was reached again.
    fn resume(&mut self, link: Link) -> Result<(), Stop> {
        match self.stage {
            Stage::Checking | Stage::Running => {
                self.adopt(link)?;
                self.tell_holder();
                self.check();
            }
            Stage::Releasing(..) => {
                self.adopt(link)?;
                self.tell_holder();
                self.cancel();
            }
            _ => {}
        }
        Ok(())
    }

    // -----------------------------------------------------------------------------------------
    // What the server says.

    fn hear(&mut self, part: Part, line: &[u8]) -> Result<(), Stop> {
        match part {
            Part::Notice => self.notice(line),
            Part::Foreign => match &self.link {
                Some(link) => Err(link.foreign(line)),
                None => Ok(()),
            },
            // A server that is full says so unasked, and closes; the first question waits then.
            Part::Ok | Part::Err => match self.asked.pop_front() {
                Some((ask, sent)) => self.answer(ask, sent, part == Part::Ok, line),
                None => Ok(()),
            },
            // Nothing that we ask for is answered by a list.
            Part::List(_) | Part::Item(_) => Ok(()),
        }
    }

    fn notice(&mut self, line: &[u8]) -> Result<(), Stop> {
        if let Stage::Reserving(_) = self.stage {
            // The place in the queue. Standard output is the program's.
            let mut output = Output::stderr(self.language);
            let _ = output.line(line).and_then(|()| output.flush());
            return Ok(());
        }
        let line = String::from_utf8_lossy(line).into_owned();
        match lease::news(&line, &self.lease.number) {
            Some(News::Over) => self.lose(self.language.plain(texts::WHY_ENDED).to_owned()),
            // A renewal of ours is answered before it is told. This one is somebody else's.
            Some(News::Ends(until)) if until != self.lease.until => {
                self.lease.until = until.to_owned();
                self.renew();
            }
            _ => {}
        }
        Ok(())
    }

    fn answer(&mut self, ask: Ask, sent: Moment, is_ok: bool, line: &[u8]) -> Result<(), Stop> {
        let text = String::from_utf8_lossy(line).into_owned();
        match (ask, is_ok) {
            (Ask::Holder, true) if self.stage == Stage::Reserving(None) => self.reserve(),
            (Ask::Holder, true) if self.lease.number.is_empty() => self.refused(line),
            (Ask::Holder, true) | (Ask::Watch, _) => {}
            (Ask::Holder | Ask::Reserve, false) => self.refused(line),
            (Ask::Reserve, true) => return self.reserved(&text, line),
            (Ask::Renew | Ask::Verify, true) => self.in_force(ask, sent, &text),
            (Ask::Renew | Ask::Verify, false) => return self.not_in_force(ask, &text),
            (Ask::Cancel | Ask::Quit, _) => self.released(is_ok, &text),
        }
        Ok(())
    }

    /// `ERR` to the reservation, or to who we are.
    fn refused(&mut self, line: &[u8]) {
        let code = match self.stage {
            // Later it is a server that does not let us renew; then the term decides.
            Stage::Reserving(None) => EXIT_NOT_OBTAINED,
            Stage::Reserving(Some((code, _))) => code,
            _ => return,
        };
        if code == EXIT_NOT_OBTAINED {
            let mut output = Output::stderr(self.language);
            let _ = output.line(line).and_then(|()| output.flush());
        }
        self.stage = Stage::Over(code);
    }

    fn reserved(&mut self, text: &str, line: &[u8]) -> Result<(), Stop> {
        // What it says travels on, in lines to the server and to the program as its environment.
        let is_sound = line.len() <= RESERVED_MAX_BYTES && !text.contains(char::is_control);
        let Some(said) = Said::of(text).filter(|_| is_sound) else {
            return match &self.link {
                Some(link) => Err(link.foreign(line)),
                None => Ok(()),
            };
        };
        self.lease.number = said.number.to_owned();
        self.lease.names = said.names.to_owned();
        self.lease.until = said.until().unwrap_or("-").to_owned();
        match self.stage {
            Stage::Reserving(Some((code, _))) => self.release(code),
            _ => {
                self.stage = Stage::Checking;
                self.check();
            }
        }
        Ok(())
    }

    /// The reservation is ours: with a new term, or with what is left of it.
    fn in_force(&mut self, ask: Ask, sent: Moment, text: &str) {
        let Some(said) = Said::of(text) else {
            return;
        };
        if said.names != self.lease.names {
            // Part of it was taken away: what is left is not what the program needs.
            return self.lose(self.language.plain(texts::WHY_ENDED).to_owned());
        }
        self.lease.until = said.until().unwrap_or(&self.lease.until).to_owned();
        match (ask, &self.order.end) {
            (Ask::Renew, End::Lease(_, term)) => self.lease.lasts(sent, Some(*term)),
            _ => self.lease.lasts(sent, said.left().unwrap_or_default()),
        }
        self.pause = FIRST_PAUSE;
        if self.stage == Stage::Checking {
            self.start();
        }
    }

    fn not_in_force(&mut self, ask: Ask, text: &str) -> Result<(), Stop> {
        let code = text.split(' ').nth(1).unwrap_or_default();
        match (ask, code) {
            // Somebody has it after us. It is ours until then; and they may go away again.
            (Ask::Renew, "409") => self.verify(),
            (_, "403" | "404" | "410") => {
                self.lose(self.language.say(texts::WHY_SAID, &[&shown(text.as_bytes())]));
            }
            // The server is full, or stopping: as good as not there.
            _ => return self.lose_link(&shown(text.as_bytes())),
        }
        Ok(())
    }

    // -----------------------------------------------------------------------------------------
    // The program.

    fn start(&mut self) {
        let resources = self.lease.resources();
        let variables = [
            ("RESERVA_ID", self.lease.number.trim_start_matches('#')),
            ("RESERVA_RECURSOS", resources.as_str()),
            ("RESERVA_HASTA", self.lease.until.as_str()),
        ];
        match Program::start(&self.order.program, variables) {
            Ok(program) => {
                self.program = Some(program);
                self.stage = Stage::Running;
            }
            Err(error) => {
                say(&self.language.say(texts::CANNOT_GUARD, &[&error.to_string()]));
                self.release(EXIT_IO);
            }
        }
    }

    /// The program ended, or stopped, or goes on.
    fn look(&mut self) {
        let Some(program) = &mut self.program else {
            return;
        };
        match program.look() {
            Fate::Runs => {}
            Fate::Stopped(signal) => {
                if program.was_stopped(signal) == Stopped::AndGoesOn {
                    // It may have been a long stop: first what became of the reservation.
                    self.tick(now());
                    if let (Some(program), Stage::Running) = (&mut self.program, self.stage) {
                        program.go_on();
                    }
                }
            }
            // When the reservation is lost, those whom it left behind are ended too.
            Fate::Ended(_) if matches!(self.stage, Stage::Ending(_)) => {}
            Fate::Ended(code) => {
                self.bury();
                self.release(code);
            }
        }
    }

    fn bury(&mut self) {
        if let Some(program) = self.program.take() {
            program.bury();
        }
    }

    fn take_signal(&mut self, signal: i32) {
        match (&self.program, self.stage) {
            (Some(program), _) => program.pass(signal),
            (None, Stage::Over(_) | Stage::Releasing(..)) => {}
            (None, _) if signal == SIGTSTP => stop_ourselves(),
            // Nobody is there yet whom they could tell something.
            (None, _) if matches!(signal, SIGCONT | SIGWINCH | SIGUSR1 | SIGUSR2) => {}
            (None, _) => self.interrupt(signal),
        }
    }

    /// We are to end before the program has started.
    fn interrupt(&mut self, signal: i32) {
        debug_assert!([SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(&signal));
        let code = u8::try_from(EXIT_SIGNAL + signal).unwrap_or(u8::MAX);
        match self.stage {
            Stage::Reserving(None) => {
                // Not just gone: the reservation may be granted in this moment.
                if let Some(link) = &self.link {
                    let _ = (&link.stream).write_all(&INTERRUPT_WAIT);
                }
                self.stage = Stage::Reserving(Some((code, now() + INTERRUPT_TIMEOUT)));
            }
            Stage::Reserving(Some(_)) => self.stage = Stage::Over(code),
            _ => self.release(code),
        }
    }

    /// The reservation is not ours any more, or will not be when its end comes.
    fn lose(&mut self, why: String) {
        if !matches!(self.stage, Stage::Checking | Stage::Running) {
            return;
        }
        self.why = why;
        let in_time = now() + GRACE;
        let at = self.lease.kill_at().map_or(in_time, |kill_at| kill_at.min(in_time));
        self.stage = Stage::Ending(at);
        // After a long stop it may be too late to let it run on.
        if let Some(program) = self.program.as_ref().filter(|_| now() < at) {
            program.ask_to_end();
        }
    }

    /// Goes on with the end of a program whose reservation is lost.
    fn end(&mut self, at: Moment, time: Moment) {
        if let Some(program) = &self.program {
            if time >= at {
                program.kill();
            }
            if matches!(program.look(), Fate::Ended(_)) && !program.group_lives() {
                self.bury();
            }
        }
        if self.program.is_none() {
            say(&self.language.say(texts::WAS_LOST, &[&self.lease.number, &self.why]));
            match self.link {
                Some(_) => self.release(EXIT_LOST),
                None => self.stage = Stage::Over(EXIT_LOST),
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // The release.

    fn release(&mut self, code: u8) {
        let limit = now() + RELEASE_TIMEOUT;
        let limit = self.lease.ends_at().map_or(limit, |end| end.min(limit));
        self.stage = Stage::Releasing(code, limit);
        if self.link.is_some() {
            self.cancel();
        }
    }

    fn cancel(&mut self) {
        match self.order.end {
            End::Connection => self.ask(Ask::Quit, self.order.verbs.quit),
            End::Lease(..) | End::Fixed => {
                let line = format!("{} {}", self.order.verbs.cancel, self.lease.number);
                self.ask(Ask::Cancel, &line);
            }
        }
    }

    fn released(&mut self, is_ok: bool, text: &str) {
        let Stage::Releasing(code, _) = self.stage else {
            return;
        };
        let was_over = ["ERR 404", "ERR 410"].iter().any(|over| text.starts_with(over));
        self.stage = match () {
            () if is_ok || self.was_released || code == EXIT_LOST => Stage::Over(code),
            () if was_over => {
                let why = self.language.plain(texts::WHY_ENDED);
                say(&self.language.say(texts::WAS_LOST, &[&self.lease.number, why]));
                Stage::Over(EXIT_LOST)
            }
            () => {
                self.warn_unconfirmed();
                Stage::Over(code)
            }
        };
    }

    fn warn_unconfirmed(&self) {
        say(&self.language.say(texts::NOT_CONFIRMED, &[&self.lease.number]));
    }

    // -----------------------------------------------------------------------------------------
    // Time.

    /// Does what is due.
    fn tick(&mut self, time: Moment) {
        match self.stage {
            Stage::Reserving(Some((code, limit))) if time >= limit => {
                self.stage = Stage::Over(code);
            }
            Stage::Reserving(_) | Stage::Over(_) => {}
            Stage::Checking | Stage::Running => self.keep(time),
            Stage::Ending(at) => self.end(at, time),
            Stage::Releasing(code, limit) if time >= limit => {
                // At its own end it needs no confirmation.
                if self.lease.ends_at().is_none_or(|end| time < end) {
                    self.warn_unconfirmed();
                }
                self.stage = Stage::Over(code);
            }
            Stage::Releasing(..) => {}
        }
        // What has just begun may be due as well.
        if let Stage::Ending(at) = self.stage {
            self.end(at, time);
        }
    }

    /// Keeps the reservation, or sees that it cannot be kept.
    fn keep(&mut self, time: Moment) {
        let is_due = |moment: Option<Moment>| moment.is_some_and(|moment| moment <= time);
        if is_due(self.lease.term_at()) {
            self.lose(self.language.plain(texts::WHY_TERM).to_owned());
        } else if is_due(self.answer_limit()) {
            let reason = self.language.plain(texts::TIMED_OUT);
            // While reserving there is no limit, and only then this is an error.
            let _ = self.lose_link(reason);
        } else if is_due(self.renew_at()) {
            self.renew();
        }
    }

    /// When the next renewal is due: not while one is on its way or nobody is there.
    fn renew_at(&self) -> Option<Moment> {
        let is_asking = self.is_asking(Ask::Renew) || self.is_asking(Ask::Verify);
        let renews = matches!(self.order.end, End::Lease(..)) && self.link.is_some() && !is_asking;
        self.lease.renew_at().filter(|_| renews)
    }

    /// When the oldest question has waited too long.
    fn answer_limit(&self) -> Option<Moment> {
        let (_, sent) = self.asked.front()?;
        let patience = match &self.order.end {
            End::Lease(_, term) => ANSWER_TIMEOUT.min(*term / 3),
            End::Connection | End::Fixed => ANSWER_TIMEOUT,
        };
        Some(*sent + patience)
    }

    /// When something will be due next.
    fn next_moment(&self) -> Option<Moment> {
        match self.stage {
            Stage::Reserving(until) => until.map(|(_, limit)| limit),
            Stage::Checking | Stage::Running => {
                let moments = [self.lease.term_at(), self.answer_limit(), self.renew_at()];
                moments.into_iter().flatten().min()
            }
            Stage::Ending(at) => {
                let soon = now() + GROUP_PAUSE;
                Some(if at > now() { at.min(soon) } else { soon })
            }
            Stage::Releasing(_, limit) => Some(limit),
            Stage::Over(_) => None,
        }
    }
}

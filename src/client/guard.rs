//! `reserva ejecutar TARGETS [options] -- PROGRAM ARGS…`: runs a program only while its reservation
//! is held.
//!
//! ```text
//!             OK            in force            the program ends       nothing is left
//!  Reserving ────▶ Checking ────────▶ Running ────────────────▶ Clearing ────▶ Releasing ─▶ its code
//!      │ ERR: 64, 75                     │ lost                   │ lost        ▲
//!      ▼                                 ▼     TERM, grace, KILL  ▼             │ if there is a
//!     end                              Ending ──────────────────────────────────┘ connection; 76
//! ```
//!
//! The kind of end of a reservation decides how it is kept:
//!
//! | end | ends with the connection | after the connection is lost | during the connection |
//! | --- | --- | --- | --- |
//! | (default) `hasta=salir por=1m` | no | reconnects, `RENOVAR` | notices, `RENOVAR` after a third
//! of it |
//! | `hasta=salir` | yes | – | notices |
//! | `por=` | no | reconnects, `RENOVAR` | notices, `RENOVAR` after a third of the term |
//! | `hasta=`, `noches=` | no | reconnects, `VERIFICAR` | notices |
//!
//! Each connection begins with a watch followed by a check, in this order. Events after the check
//! arrive as notices, those before it are in its answer, and none is missed. From the second
//! connection on, the client asks in between for the identity of the history. In a different
//! history, the number may belong to another client, so nothing is renewed there.
//!
//! The end of the reservation is counted from before the granted request was sent, so it is never
//! later here than on the server. If a connection is lost before the number of the reservation is
//! known, the run ends, and a reservation that was made nevertheless (`por=`) expires.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};

use crate::output::Output;
use crate::reply::{Incoming, Part, shown};
use crate::server::{Link, Server};
use crate::texts::{self, Language};
use crate::{EXIT_LOST, EXIT_OS, EXIT_UNAVAILABLE, Settings, Stop, exit_of_refusal};

#[path = "guard/channel.rs"]
mod channel;
#[path = "guard/events.rs"]
mod events;
#[path = "guard/keeper.rs"]
mod keeper;
#[path = "guard/lease.rs"]
mod lease;
#[path = "guard/order.rs"]
mod order;
#[path = "guard/program.rs"]
mod program;
#[path = "guard/tree.rs"]
mod tree;

use events::{Connecting, Signals, Timer, now};
use lease::{GRACE, Lease, Moment, News, Said};
use order::End;
pub use order::{Order, length};
pub use program::stop_ourselves;
use program::{Program, Report, Stopped};
use tree::Process;

/// How long an answer may take before the connection counts as lost; less where the term is short.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest line that can tell of a reservation: 32 names of 128 bytes, and some words.
const RESERVED_MAX_BYTES: usize = 8 * 1024;

/// How long the release may take: the program has ended, and somebody waits for us.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a wait that was interrupted may take to end.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(3);

/// Timeout of one attempt to reconnect to the server.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Between attempts to reach the server again: from the first to the second, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long processes may take to end after a KILL. After that, the client gives up on those that
/// it cannot end, because they belong to another user or wait for a disk that does not answer.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// To be added to the number of the signal that ended a program.
const EXIT_SIGNAL: i32 = 128;

/// Exit code of a program that was killed.
const EXIT_KILLED: u8 = 137;

/// Maximal number of processes named in a message.
const NAMED_PROCESSES: usize = 5;

/// "Interrupt Process" of telnet: ends a wait of this connection.
pub const INTERRUPT_WAIT: [u8; 2] = [0xff, 0xf4];

/// What we are if it was us who started us: done then, with this exit code.
pub fn other_self(language: Language) -> Option<u8> {
    keeper::other_self(language, |program: &OsStr, error| {
        let program = shown(program.as_encoded_bytes());
        say(&language.say(texts::CANNOT_RUN, &[&program, &language.reason(error)]));
    })
}

/// Reserves, runs the program, releases; the exit code of it all.
pub fn run(order: &Order, server: &Server, settings: Settings) -> Result<u8, Stop> {
    let link = Link::open(server, settings.language, settings.timeout)?;
    let failed = |error: io::Error| failure(settings.language, &error);
    // Before any change to the signals, because the program inherits those of this process.
    let program = Program::prepare(&order.program).map_err(failed)?;
    let mut guard = match Sources::start() {
        Ok(sources) => {
            let place = (server.to_string(), link.addresses.clone());
            Guard::new(order, settings, program, sources, place)
        }
        Err(error) => {
            program.dismiss();
            return Err(failed(error));
        }
    };
    let ended = guard.adopt(link).map_err(failed).and_then(|()| guard.run());
    // Whatever still runs now cannot be ended.
    if let Some(program) = guard.program.take() {
        program.dismiss();
    }
    ended
}

fn failure(language: Language, error: &io::Error) -> Stop {
    Stop::Error { code: EXIT_OS, text: language.say(texts::CANNOT_GUARD, &[&error.to_string()]) }
}

/// A message on standard error. Not `eprintln!`: with standard error closed it would panic.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "reserva: {text}");
}

/// Formats processes for a message: `sleep (4711), sh (4712)`.
fn named(processes: &[Process]) -> String {
    let name = |process: &Process| format!("{} ({})", shown(process.name.as_bytes()), process.pid);
    let mut names: Vec<String> = processes.iter().take(NAMED_PROCESSES).map(name).collect();
    if processes.len() > NAMED_PROCESSES {
        names.push(format!("… ({})", processes.len()));
    }
    names.join(", ")
}

/// What was asked and is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Holder,
    Reserve,
    Watch,
    History,
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
    /// Reserved. The answer to whether it still is must come before this time.
    Checking(Moment),
    Running,
    /// The program has ended, but processes that it left behind have not. They are killed from this
    /// time on, if there is one.
    Clearing(u8, Option<Moment>),
    /// The reservation is lost. The program was asked to end, and is killed from this time on.
    Ending(Moment),
    /// The program has ended, or was never started; the server is told, until that moment at most.
    Releasing(u8, Moment),
    Over(u8),
}

/// Event sources other than connections.
struct Sources {
    signals: Signals,
    timer: Timer,
}

impl Sources {
    fn start() -> io::Result<Self> {
        Ok(Sources { signals: Signals::start()?, timer: Timer::start()? })
    }
}

/// A connection, and the state of what arrives on it.
struct Conversation {
    link: Link,
    incoming: Incoming<TcpStream>,
}

/// The state of reconnecting.
enum Reaching {
    /// Waiting until this time before the next attempt.
    Pausing(Moment),
    /// Connecting, with a deadline.
    Trying(Connecting, Moment),
}

struct Guard<'a> {
    order: &'a Order,
    settings: Settings,
    language: Language,
    sources: Sources,
    stage: Stage,
    /// How the reservation ends. A server that is too old may not support the preferred kind.
    end: End,
    lease: Lease,
    program: Option<Program>,
    was_started: bool,
    /// The connection, if there is one, and the number of the last one there was.
    talk: Option<Conversation>,
    links: u64,
    reaching: Option<Reaching>,
    /// Addresses of the server, the next one to try first.
    addresses: Vec<SocketAddr>,
    next_address: usize,
    server_name: String,
    /// Before the next attempt to reach the server.
    pause: Duration,
    /// What the server has still to answer on this connection, and when it was sent.
    asked: VecDeque<(Ask, Moment)>,
    /// The lines received so far of a list.
    rows: Vec<String>,
    /// The identity of the history with the reservation, if the server reports it, and its last
    /// event seen.
    journal: Option<String>,
    last_event: u64,
    /// Whether the keeper knows what to send on this connection.
    has_will: bool,
    /// Whether the server now has another history, in which the number may belong to another
    /// client.
    has_other_history: bool,
    /// Whether the user was informed about processes that the program has left behind.
    has_told_children: bool,
    /// The release was sent before, on a connection that was lost.
    was_released: bool,
    /// Why the reservation was lost.
    why: String,
}

impl<'a> Guard<'a> {
    fn new(
        order: &'a Order,
        settings: Settings,
        program: Program,
        sources: Sources,
        (server_name, addresses): (String, Vec<SocketAddr>),
    ) -> Self {
        Guard {
            order,
            settings,
            language: settings.language,
            sources,
            stage: Stage::Reserving(None),
            end: order.end.clone(),
            lease: Lease::default(),
            program: Some(program),
            was_started: false,
            talk: None,
            links: 0,
            reaching: None,
            addresses,
            next_address: 0,
            server_name,
            pause: FIRST_PAUSE,
            asked: VecDeque::new(),
            rows: Vec::new(),
            journal: None,
            last_event: 0,
            has_will: false,
            has_other_history: false,
            has_told_children: false,
            was_released: false,
            why: String::new(),
        }
    }

    /// Reserves, and handles events until the run is over.
    fn run(&mut self) -> Result<u8, Stop> {
        self.begin();
        loop {
            self.tick(now())?;
            if let Stage::Over(code) = self.stage {
                return Ok(code);
            }
            self.sources.timer.set(self.next_moment());
            let [signals, program, server, reached] = self.wait();
            // After a long stop, first check whether the reservation is still held.
            self.tick(now())?;
            if signals {
                while let Some(signal) = self.sources.signals.next() {
                    self.take_signal(signal);
                }
            }
            if program && let Some(report) = self.program.as_mut().and_then(Program::report) {
                self.take_report(report);
            }
            if server {
                self.listen()?;
            }
            if reached {
                self.try_reach();
            }
        }
    }

    /// Waits for an event or the next deadline. Returns which sources are ready: a signal, a report
    /// of the keeper, a line of the server, a new connection.
    fn wait(&self) -> [bool; 4] {
        let program = self.program.as_ref().filter(|program| !program.is_orphaned());
        let connecting = match &self.reaching {
            Some(Reaching::Trying(connecting, _)) => Some(connecting),
            _ => None,
        };
        let sources = [
            (Some(self.sources.signals.as_fd()), PollFlags::IN),
            (program.map(AsFd::as_fd), PollFlags::IN),
            (self.talk.as_ref().map(|talk| talk.link.stream.as_fd()), PollFlags::IN),
            (connecting.map(AsFd::as_fd), PollFlags::OUT),
            (Some(self.sources.timer.as_fd()), PollFlags::IN),
        ];
        let polled = sources.iter().filter_map(|(fd, flags)| Some((fd.as_ref()?, *flags)));
        let mut polled: Vec<PollFd<'_>> =
            polled.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, flags)).collect();
        let _ = poll(&mut polled, None);
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
        let mut is_ready = |at: usize| {
            let (fd, _) = &sources[at];
            fd.is_some() && ready.next().unwrap_or(false)
        };
        [is_ready(0), is_ready(1), is_ready(2), is_ready(3)]
    }

    // -----------------------------------------------------------------------------------------
    // The connection.

    /// Makes a new connection the current one. Fails if no descriptor is left.
    fn adopt(&mut self, link: Link) -> io::Result<()> {
        events::make_ends_known(&link.stream);
        link.stream.set_nonblocking(true)?;
        let stream = link.stream.try_clone()?;
        self.links += 1;
        self.asked.clear();
        self.rows.clear();
        self.has_will = false;
        self.talk = Some(Conversation { link, incoming: Incoming::new(stream) });
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

    /// Sends a line. Failed writes are ignored here, because reading finds what arrived before
    /// them.
    fn ask(&mut self, ask: Ask, line: &str) {
        self.asked.push_back((ask, now()));
        if let Some(talk) = &self.talk {
            let _ = (&talk.link.stream).write_all(format!("{line}\n").as_bytes());
        }
    }

    fn is_asking(&self, ask: Ask) -> bool {
        self.asked.iter().any(|(asked, _)| *asked == ask)
    }

    fn reserve(&mut self) {
        let line = match self.end {
            End::Connection => &self.order.plain,
            _ => &self.order.reserve,
        };
        self.ask(Ask::Reserve, &line.clone());
    }

    /// The first question: who we are; a refusal of that must not be followed by a reservation.
    fn begin(&mut self) {
        if !self.tell_holder() {
            self.reserve();
        }
    }

    /// Asks for notices about the reservation, and whether it is in force. For a single resource,
    /// only its own notices are requested. Also asks for the identity of the history; on a later
    /// connection, the rest waits for [`learn_history`](Self::learn_history).
    fn check(&mut self) {
        let verbs = self.order.verbs;
        let watch = match self.lease.names.as_str() {
            names if names.contains(", ") => verbs.watch.to_owned(),
            name => format!("{} {name}", verbs.watch),
        };
        self.ask(Ask::Watch, &watch);
        if self.is_first_link() {
            self.renew();
        }
        self.ask(Ask::History, verbs.status);
    }

    /// Returns whether the reservation was made on the current connection.
    fn is_first_link(&self) -> bool {
        self.links == 1
    }

    /// Asks for another term, or where there is none, what is left.
    fn renew(&mut self) {
        match self.renewal() {
            Some(line) => self.ask(Ask::Renew, &line),
            None => self.verify(),
        }
    }

    /// Returns the line that renews the reservation, if it has a term.
    fn renewal(&self) -> Option<String> {
        let (verbs, number) = (self.order.verbs, &self.lease.number);
        let for_term = |term| format!("{} {number} {}={term}", verbs.renew, verbs.for_option);
        match &self.end {
            End::Lease(term, _) => Some(for_term(term)),
            End::Heartbeat(term, _) => Some(format!("{} {}", for_term(term), verbs.until_quit)),
            End::Connection | End::Fixed => None,
        }
    }

    fn verify(&mut self) {
        let line = format!("{} {}", self.order.verbs.verify, self.lease.number);
        self.ask(Ask::Verify, &line);
    }

    /// Reads and handles lines of the server, after the connection has become readable.
    fn listen(&mut self) -> Result<(), Stop> {
        let Some(talk) = &mut self.talk else {
            return Ok(());
        };
        let gone = talk.incoming.wait().err();
        let mut lines = Vec::new();
        while let Some((part, line)) = talk.incoming.next() {
            lines.push((part, line.to_vec()));
        }
        let reason = gone.map(|gone| talk.link.reason(&gone));
        let link = self.links;
        for (part, line) in lines {
            self.hear(part, &line)?;
            if link != self.links || matches!(self.stage, Stage::Over(_)) {
                // The remaining lines belong to a connection that was given up.
                return Ok(());
            }
        }
        match reason {
            Some(reason) => self.lose_link(&reason),
            None => Ok(()),
        }
    }

    /// The connection is lost.
    fn lose_link(&mut self, reason: &str) -> Result<(), Stop> {
        let Some(Conversation { link, .. }) = self.talk.take() else {
            return Ok(());
        };
        if let Some(program) = &self.program {
            program.leave_will(None, ["", "", ""]);
        }
        link.hang_up();
        self.has_will = false;
        self.was_released |= self.is_asking(Ask::Cancel);
        // Nothing that is still on its way from it is ours.
        self.links += 1;
        self.asked.clear();
        let is_bound = self.end == End::Connection;
        match self.stage {
            Stage::Reserving(Some((code, _))) => self.stage = Stage::Over(code),
            Stage::Reserving(None) => {
                return Err(link.unavailable(texts::LOST_RESERVING, &[reason]));
            }
            // It ended with its connection, which is what was wanted.
            Stage::Releasing(code, _) if is_bound => self.stage = Stage::Over(code),
            Stage::Checking(_) | Stage::Running | Stage::Clearing(..) if is_bound => {
                self.lose(self.language.say(texts::WHY_CONNECTION, &[&link.name(), reason]));
            }
            Stage::Ending(_) | Stage::Over(_) => {}
            _ => self.reconnect(),
        }
        Ok(())
    }

    /// Tries to reach the server again, as long as there is a reason to.
    fn reconnect(&mut self) {
        self.reaching = match self.stage {
            Stage::Reserving(_) | Stage::Ending(_) | Stage::Over(_) => None,
            _ => Some(Reaching::Pausing(now() + self.pause)),
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Continues to reconnect.
    fn try_reach(&mut self) {
        let time = now();
        match self.reaching.take() {
            Some(Reaching::Pausing(at)) if at <= time => self.start_reaching(),
            Some(Reaching::Trying(connecting, limit)) => match connecting.finish() {
                Some(Ok(stream)) => self.resume(stream, connecting.address),
                None if time < limit => {
                    self.reaching = Some(Reaching::Trying(connecting, limit));
                }
                Some(Err(_)) | None => self.reconnect(),
            },
            pausing => self.reaching = pausing,
        }
    }

    fn start_reaching(&mut self) {
        let address = self.addresses[self.next_address % self.addresses.len()];
        self.next_address += 1;
        match Connecting::start(address) {
            Ok(connecting) => {
                self.reaching = Some(Reaching::Trying(connecting, now() + REACH_TIMEOUT));
            }
            Err(_) => self.reconnect(),
        }
    }

    /// The server was reached again.
    fn resume(&mut self, stream: TcpStream, address: SocketAddr) {
        let link = Link::of(stream, self.language, self.server_name.clone(), address);
        if matches!(self.stage, Stage::Reserving(_) | Stage::Ending(_) | Stage::Over(_)) {
            return;
        }
        if self.adopt(link).is_err() {
            return self.reconnect();
        }
        self.tell_holder();
        // Before a release as well, because a number in another history must not be cancelled.
        self.check();
    }

    // -----------------------------------------------------------------------------------------
    // What the server says.

    fn hear(&mut self, part: Part, line: &[u8]) -> Result<(), Stop> {
        match part {
            Part::Notice => self.notice(line),
            Part::Foreign => match (&self.talk, self.stage) {
                (Some(talk), Stage::Reserving(_)) => return Err(talk.link.foreign(line)),
                _ => return self.lose_link(&shown(line)),
            },
            // A server that is full says so unasked, and closes; the first question waits then.
            Part::Ok | Part::Err => {
                if let Some((ask, sent)) = self.asked.pop_front() {
                    return self.answer(ask, sent, part == Part::Ok, line);
                }
            }
            Part::List(left) | Part::Item(left) => {
                if let Part::Item(_) = part {
                    self.rows.push(String::from_utf8_lossy(line).into_owned());
                }
                if left == 0 {
                    let rows = std::mem::take(&mut self.rows);
                    if let Some((Ask::History, _)) = self.asked.pop_front() {
                        self.learn_history(&rows);
                    }
                }
            }
        }
        Ok(())
    }

    fn notice(&mut self, line: &[u8]) {
        if let Stage::Reserving(_) = self.stage {
            // The place in the queue. Standard output is the program's.
            if !self.settings.is_quiet {
                let mut output = Output::stderr(self.language);
                let _ = output.line(line).and_then(|()| output.flush());
            }
            return;
        }
        let line = String::from_utf8_lossy(line).into_owned();
        if let Some(event) = lease::event_number(&line) {
            self.last_event = self.last_event.max(event);
        }
        match lease::news(&line, &self.lease.number) {
            Some(News::Over) => self.lose(self.language.plain(texts::WHY_ENDED).to_owned()),
            // A renewal of ours is answered before it is told. This one is somebody else's.
            Some(News::Ends(until)) if until != self.lease.until => {
                self.lease.until = until.to_owned();
                self.renew();
            }
            _ => {}
        }
    }

    fn answer(&mut self, ask: Ask, sent: Moment, is_ok: bool, line: &[u8]) -> Result<(), Stop> {
        let text = String::from_utf8_lossy(line).into_owned();
        match (ask, is_ok) {
            (Ask::Holder, true) if self.stage == Stage::Reserving(None) => self.reserve(),
            (Ask::Holder, true) if self.lease.number.is_empty() => self.refused(line),
            (Ask::Holder, true) | (Ask::Watch, false) => {}
            (Ask::Watch, true) => self.learn_last_event(&text),
            // A server that cannot report its history.
            (Ask::History, _) => self.learn_history(&[]),
            (Ask::Reserve, false) if self.falls_back(&text) => {
                self.end = End::Connection;
                self.reserve();
            }
            (Ask::Holder | Ask::Reserve, false) => self.refused(line),
            (Ask::Reserve, true) => return self.reserved(&text, line),
            (Ask::Renew | Ask::Verify, true) => self.in_force(ask, sent, &text),
            (Ask::Renew | Ask::Verify, false) => return self.not_in_force(ask, &text),
            (Ask::Cancel, _) => self.released(is_ok, &text),
            (Ask::Quit, _) => {}
        }
        Ok(())
    }

    /// Returns whether the server rejects the default kind of end, which the user did not ask for.
    fn falls_back(&self, text: &str) -> bool {
        let is_ours =
            matches!(self.end, End::Heartbeat(..)) && self.order.plain != self.order.reserve;
        is_ours && text.starts_with("ERR 400") && self.stage == Stage::Reserving(None)
    }

    /// `ERR` to the reservation, or to who we are.
    fn refused(&mut self, line: &[u8]) {
        let code = match self.stage {
            Stage::Reserving(None) => {
                let mut output = Output::stderr(self.language);
                let _ = output.line(line).and_then(|()| output.flush());
                exit_of_refusal(line)
            }
            Stage::Reserving(Some((code, _))) => code,
            // Later it is a server that does not let us renew; then the term decides.
            _ => return,
        };
        self.stage = Stage::Over(code);
    }

    fn reserved(&mut self, text: &str, line: &[u8]) -> Result<(), Stop> {
        // What it says travels on, in lines to the server and to the program as its environment.
        let is_sound = line.len() <= RESERVED_MAX_BYTES && !text.contains(char::is_control);
        let Some(said) = Said::of(text).filter(|_| is_sound) else {
            return match &self.talk {
                Some(talk) => Err(talk.link.foreign(line)),
                None => Ok(()),
            };
        };
        self.lease.number = said.number.to_owned();
        self.lease.names = said.names.to_owned();
        self.lease.until = said.until().unwrap_or("-").to_owned();
        match self.stage {
            Stage::Reserving(Some((code, _))) => self.release(code),
            _ => {
                let patience = self.end.term().unwrap_or(self.settings.timeout);
                self.stage = Stage::Checking(now() + patience.min(self.settings.timeout));
                self.check();
            }
        }
        Ok(())
    }

    /// Checks the number of the last event, which the reply to the watch contains. If it is lower
    /// than the last one seen, the history is another one.
    fn learn_last_event(&mut self, text: &str) {
        let Some(last) = lease::last_event(text) else {
            return;
        };
        if last < self.last_event {
            self.lose_history();
        }
        self.last_event = self.last_event.max(last);
    }

    /// Handles the identity of the history, or its absence.
    fn learn_history(&mut self, rows: &[String]) {
        let journal = rows.iter().find_map(|row| row.strip_prefix("journal="));
        match (&self.journal, journal) {
            (Some(ours), Some(theirs)) if ours != theirs => return self.lose_history(),
            (None, Some(theirs)) => self.journal = Some(theirs.to_owned()),
            _ => {}
        }
        match self.stage {
            _ if self.is_first_link() => {}
            Stage::Checking(_) | Stage::Running | Stage::Clearing(..) => self.renew(),
            Stage::Releasing(..) if !self.is_asking(Ask::Cancel) => self.cancel(),
            _ => {}
        }
    }

    /// Handles a different history: the server lost its history or was restored, so the number may
    /// belong to another client.
    fn lose_history(&mut self) {
        let why = self.language.plain(texts::WHY_HISTORY);
        match self.stage {
            Stage::Releasing(..) => {
                self.say_lost(texts::WAS_LOST_BEFORE, why);
                self.stage = Stage::Over(EXIT_LOST);
            }
            _ => {
                self.has_other_history = true;
                if let Some(program) = &self.program {
                    program.leave_will(None, ["", "", ""]);
                }
                self.lose(why.to_owned());
            }
        }
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
        match (ask, self.end.term()) {
            (Ask::Renew, Some(term)) => self.lease.lasts(sent, Some(term)),
            _ => self.lease.lasts(sent, said.left().unwrap_or_default()),
        }
        self.pause = FIRST_PAUSE;
        self.inform_keeper();
        if let Stage::Checking(_) = self.stage {
            self.start();
        }
    }

    /// Informs the keeper until when the reservation lasts, and how to end it without the wrapper.
    fn inform_keeper(&mut self) {
        let (Some(program), Some(talk)) = (&self.program, &self.talk) else {
            return;
        };
        program.must_end_at(self.lease.kill_at());
        if !std::mem::replace(&mut self.has_will, true) {
            let verbs = self.order.verbs;
            let release = format!("{} {}\n{}\n", verbs.cancel, self.lease.number, verbs.quit);
            let renew = self.renewal().map(|line| line + "\n").unwrap_or_default();
            let interval = self.end.term().map(|term| (term / 3).as_millis().to_string());
            let interval = interval.unwrap_or_default();
            program.leave_will(Some(talk.link.stream.as_fd()), [&release, &renew, &interval]);
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
        let Some(program) = &mut self.program else {
            return;
        };
        match program.start(variables) {
            Ok(()) => {
                self.was_started = true;
                self.stage = Stage::Running;
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Handles the failure to start the program.
    fn fail(&mut self, error: &io::Error) {
        say(&self.language.say(texts::CANNOT_GUARD, &[&error.to_string()]));
        self.give_up(EXIT_OS);
    }

    /// Handles a report of the keeper.
    fn take_report(&mut self, report: Report) {
        let is_before = matches!(self.stage, Stage::Reserving(_) | Stage::Checking(_));
        match report {
            Report::Gone | Report::Ended(_) if is_before => {
                self.fail(&io::Error::other(self.language.plain(texts::KEEPER_GONE)));
            }
            Report::Stopped(signal) => self.was_stopped(signal),
            Report::Ended(code) if self.stage == Stage::Running => {
                self.stage = Stage::Clearing(code, None);
                if let Some(program) = &mut self.program {
                    program.take_terminal_back();
                }
            }
            Report::Left(false) => self.all_ended(),
            Report::Left(true) => {
                if let Stage::Clearing(_, None) = self.stage {
                    self.find_left_behind();
                }
            }
            Report::Expired => self.lose(self.language.plain(texts::WHY_TERM).to_owned()),
            Report::Refused(pid) => {
                say(&self.language.say(texts::CANNOT_PASS, &[&pid.to_string()]));
            }
            Report::Gone => self.take_over(),
            Report::Ended(_) => {}
        }
    }

    fn was_stopped(&mut self, signal: i32) {
        let Some(program) = &mut self.program else {
            return;
        };
        if program.was_stopped(signal) == Stopped::AndGoesOn {
            // It may have been a long stop: first what became of the reservation.
            let _ = self.tick(now());
            if let (Some(program), Stage::Running) = (&mut self.program, self.stage) {
                program.go_on();
            }
        }
    }

    /// Handles the end of the program while processes that it started are left.
    fn find_left_behind(&mut self) {
        let Some(program) = &self.program else {
            return;
        };
        let left = program.descendants();
        if !self.settings.waits_for_children {
            if !left.is_empty() {
                say(&self.language.say(texts::LEFT_BEHIND, &[&named(&left)]));
            }
            self.clear();
        } else if !left.is_empty() && !std::mem::replace(&mut self.has_told_children, true) {
            say(&self.language.say(texts::WAITING_FOR, &[&named(&left)]));
        }
    }

    /// Ends the processes that the program has left behind.
    fn clear(&mut self) {
        let Stage::Clearing(code, at) = self.stage else {
            return;
        };
        let time = now();
        self.stage = Stage::Clearing(code, Some(at.map_or(time + GRACE, |_| time)));
        if at.is_none() {
            self.ask_to_end();
        }
    }

    fn ask_to_end(&mut self) {
        let refused = self.program.as_mut().map(Program::ask_to_end);
        self.say_refused(&refused.unwrap_or_default());
    }

    fn kill(&mut self) {
        let refused = self.program.as_mut().map(Program::kill);
        self.say_refused(&refused.unwrap_or_default());
    }

    fn say_refused(&self, refused: &[Process]) {
        for process in refused {
            let pid = process.pid.to_string();
            say(&self.language.say(texts::CANNOT_END, &[&pid, &shown(process.name.as_bytes())]));
        }
    }

    /// Takes over after the keeper was killed, and the program with it. The remaining processes are
    /// children of the wrapper now.
    fn take_over(&mut self) {
        if let Stage::Running | Stage::Clearing(..) = self.stage {
            say(self.language.plain(texts::KEEPER_GONE));
        }
        if self.stage == Stage::Running {
            self.stage = Stage::Clearing(EXIT_KILLED, None);
        }
        if let Stage::Clearing(code, _) = self.stage {
            self.stage = Stage::Clearing(code, Some(now()));
        }
    }

    /// Handles the end of the last process of the program.
    fn all_ended(&mut self) {
        if let Some(program) = self.program.take() {
            program.dismiss();
        }
        match self.stage {
            Stage::Clearing(code, _) => self.release(code),
            Stage::Ending(_) => {
                let text = if self.was_started { texts::WAS_LOST } else { texts::WAS_LOST_BEFORE };
                let why = self.why.clone();
                self.say_lost(text, &why);
                match self.talk {
                    Some(_) if !self.has_other_history => self.release(EXIT_LOST),
                    _ => self.stage = Stage::Over(EXIT_LOST),
                }
            }
            _ => {}
        }
    }

    fn say_lost(&self, text: texts::Text, why: &str) {
        say(&self.language.say(text, &[&self.lease.number, why]));
    }

    fn take_signal(&mut self, signal: i32) {
        let ends = [SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(&signal);
        match (&self.program, self.stage) {
            (Some(program), Stage::Running | Stage::Ending(_)) => program.pass(signal),
            // The program has ended, so the signal is for the remaining processes.
            (_, Stage::Clearing(..)) if ends => self.clear(),
            (_, Stage::Reserving(_) | Stage::Checking(_)) if ends => {
                self.give_up(u8::try_from(EXIT_SIGNAL + signal).unwrap_or(u8::MAX));
            }
            (_, Stage::Reserving(_) | Stage::Checking(_)) if signal == SIGTSTP => stop_ourselves(),
            (Some(program), Stage::Clearing(..)) if signal == SIGCONT => program.pass(signal),
            // No process to pass the signal to.
            _ => {}
        }
    }

    /// We are to end before the program has started.
    fn give_up(&mut self, code: u8) {
        match self.stage {
            Stage::Reserving(None) => {
                // Not just gone: the reservation may be granted in this moment.
                if let Some(talk) = &self.talk {
                    let _ = (&talk.link.stream).write_all(&INTERRUPT_WAIT);
                }
                self.stage = Stage::Reserving(Some((code, now() + INTERRUPT_TIMEOUT)));
            }
            Stage::Reserving(Some(_)) => self.stage = Stage::Over(code),
            _ => self.release(code),
        }
    }

    /// The reservation is not ours any more, or will not be when its end comes.
    fn lose(&mut self, why: String) {
        if !matches!(self.stage, Stage::Checking(_) | Stage::Running | Stage::Clearing(..)) {
            return;
        }
        self.why = why;
        let in_time = now() + GRACE;
        let at = self.lease.kill_at().map_or(in_time, |kill_at| kill_at.min(in_time));
        let at = match self.stage {
            Stage::Clearing(_, Some(begun)) => at.min(begun),
            _ => at,
        };
        self.stage = Stage::Ending(at);
        if !self.was_started {
            return self.all_ended();
        }
        // After a long stop it may be too late to let it run on.
        if now() < at {
            self.ask_to_end();
        }
    }

    /// Continues to end all processes.
    fn end_all(&mut self, at: Moment, time: Moment) {
        if time >= at {
            self.kill();
        }
        if self.program.as_ref().is_some_and(|program| program.is_orphaned() && program.reap()) {
            self.all_ended();
        }
    }

    /// Gives up on processes that cannot be ended and now run without their reservation.
    fn abandon(&mut self) {
        let left = self.program.as_ref().map(Program::descendants).unwrap_or_default();
        say(&self
            .language
            .say(texts::GOES_ON, &[&self.lease.number, &self.why.clone(), &named(&left)]));
        self.stage = Stage::Over(EXIT_LOST);
    }

    // -----------------------------------------------------------------------------------------
    // The release.

    fn release(&mut self, code: u8) {
        let limit = now() + RELEASE_TIMEOUT;
        let limit = self.lease.ends_at().map_or(limit, |end| end.min(limit));
        self.stage = Stage::Releasing(code, limit);
        if self.talk.is_some() {
            self.cancel();
        }
    }

    /// Cancels by number even if the reservation is bound to the connection, because it may have
    /// been turned into an ordinary lease meanwhile.
    fn cancel(&mut self) {
        let verbs = self.order.verbs;
        let line = format!("{} {}", verbs.cancel, self.lease.number);
        self.ask(Ask::Cancel, &line);
        if matches!(self.end, End::Connection | End::Heartbeat(..)) {
            self.ask(Ask::Quit, verbs.quit);
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
                self.say_lost(texts::WAS_LOST_BEFORE, self.language.plain(texts::WHY_ENDED));
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
    fn tick(&mut self, time: Moment) -> Result<(), Stop> {
        if let Some(Reaching::Pausing(at) | Reaching::Trying(_, at)) = &self.reaching
            && *at <= time
        {
            self.try_reach();
        }
        match self.stage {
            Stage::Reserving(Some((code, limit))) if time >= limit => {
                self.stage = Stage::Over(code);
            }
            Stage::Reserving(None) if self.answer_limit().is_some_and(|limit| time >= limit) => {
                return self.lose_link(self.language.plain(texts::TIMED_OUT));
            }
            Stage::Reserving(_) | Stage::Over(_) => {}
            Stage::Checking(limit) if time >= limit => {
                let name = self.server_name.clone();
                say(&self.language.say(texts::NOT_CHECKED, &[&self.lease.number, &name]));
                self.release(EXIT_UNAVAILABLE);
                self.stage = Stage::Over(EXIT_UNAVAILABLE);
            }
            Stage::Checking(_) | Stage::Running | Stage::Clearing(..) => self.keep(time),
            Stage::Ending(_) => {}
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
        match self.stage {
            Stage::Ending(at) => {
                self.end_all(at, time);
                if matches!(self.stage, Stage::Ending(_)) && time >= at + KILL_TIMEOUT {
                    self.abandon();
                }
            }
            Stage::Clearing(_, Some(at)) => self.end_all(at, time),
            _ => {}
        }
        Ok(())
    }

    /// Keeps the reservation, or sees that it cannot be kept.
    fn keep(&mut self, time: Moment) {
        let is_due = |moment: Option<Moment>| moment.is_some_and(|moment| moment <= time);
        if is_due(self.lease.term_at()) {
            self.lose(self.language.plain(texts::WHY_TERM).to_owned());
        } else if is_due(self.answer_limit()) {
            let reason = self.language.plain(texts::TIMED_OUT);
            // Returns an error only while reserving.
            let _ = self.lose_link(reason);
        } else if is_due(self.renew_at()) {
            self.renew();
        }
    }

    /// When the next renewal is due: not while one is on its way or nobody is there.
    fn renew_at(&self) -> Option<Moment> {
        let asks = [Ask::Renew, Ask::Verify, Ask::History];
        let is_asking = asks.into_iter().any(|ask| self.is_asking(ask));
        let renews = self.end.term().is_some() && self.talk.is_some() && !is_asking;
        self.lease.renew_at().filter(|_| renews)
    }

    /// When the oldest question has waited too long.
    fn answer_limit(&self) -> Option<Moment> {
        let (ask, sent) = self.asked.front()?;
        let patience = match (ask, self.end.term()) {
            (Ask::Reserve, _) => self.settings.timeout.saturating_add(self.order.wait),
            (Ask::Holder, _) if self.lease.number.is_empty() => self.settings.timeout,
            (_, Some(term)) => ANSWER_TIMEOUT.min(term / 3),
            (_, None) => ANSWER_TIMEOUT,
        };
        Some(sent.saturating_add(patience))
    }

    /// When something will be due next.
    fn next_moment(&self) -> Option<Moment> {
        let reaching = match &self.reaching {
            Some(Reaching::Pausing(at) | Reaching::Trying(_, at)) => Some(*at),
            None => None,
        };
        let killing = |at: Moment| at.max(now() + keeper::KILL_PAUSE);
        let kept = || [self.lease.term_at(), self.answer_limit(), self.renew_at()];
        let moments = match self.stage {
            Stage::Reserving(None) => [self.answer_limit(), None, None],
            Stage::Reserving(Some((_, limit))) => [Some(limit), None, None],
            Stage::Checking(limit) => {
                return kept().into_iter().flatten().chain(reaching).chain([limit]).min();
            }
            Stage::Running | Stage::Clearing(_, None) => kept(),
            Stage::Clearing(_, Some(at)) => {
                return kept().into_iter().flatten().chain(reaching).chain([killing(at)]).min();
            }
            Stage::Ending(at) => [Some(killing(at)), None, None],
            Stage::Releasing(_, limit) => [Some(limit), None, None],
            Stage::Over(_) => [None; 3],
        };
        moments.into_iter().flatten().chain(reaching).min()
    }
}

//! A conversation at a terminal.
//!
//! Three threads wait, each for one thing that cannot be waited for together with the others:
//! the server, the keyboard, Ctrl-C. They tell the main thread, which alone owns the terminal, so
//! everything about when a prompt is shown is in one place. The keyboard's thread writes to the
//! server itself: if the main thread did, a large paste could leave both sides waiting for the
//! other to read.

use std::io::{self, BufRead, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use crate::output::Output;
use crate::reply::{Gone, Incoming, Part, is_goodbye};
use crate::server::Link;
use crate::texts::{self, LOST_TALKING};
use crate::{EXIT_IO, Stop};

/// How long the server may be silent after our goodbye. Who pressed Ctrl-C wants to be out, and
/// a command that waits would hold the goodbye back.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);

/// Events on their way to the terminal. Few: a full channel makes the server wait, not grow us.
const EVENTS: usize = 16;

/// What the main thread waits for.
enum Event {
    Heard(Part, Vec<u8>),
    Gone(Gone),
    /// A line was typed; it has been sent unless it was blank.
    Typed(Typed),
    /// The keyboard said that no more comes (Ctrl-D).
    InputEnded,
    Interrupted,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Typed {
    Blank,
    Command,
    /// A command after which the server closes.
    Goodbye,
}

/// Talks until the user or the server ends it. 0 after a goodbye, 69 when the connection is lost
/// or the goodbye is not confirmed.
pub fn talk(link: &Link) -> Result<u8, Stop> {
    let (events, inbox) = sync_channel(EVENTS);
    let keyboard = Arc::new(Mutex::new(clone_of(link)?));
    let signals = Signals::new([SIGINT]).map_err(|error| {
        let text = link.language.say(texts::SIGNALS_FAILED, &[&error.to_string()]);
        Stop::Error { code: EXIT_IO, text }
    })?;
    let mut talk = Talk::new(link, Arc::clone(&keyboard));
    talk.greet()?;
    start_listening(clone_of(link)?, events.clone());
    start_watching(signals, events.clone());
    // Last, so that nothing typed is answered before the greeting is on the screen.
    start_typing(keyboard, events);
    talk.run(&inbox)
}

fn clone_of(link: &Link) -> Result<TcpStream, Stop> {
    link.stream.try_clone().map_err(|error| link.lost(LOST_TALKING, &Gone::Failed(error)))
}

// The three threads. None is ever joined: they end with the process. A send that fails means
// that the main thread is leaving.

fn start_listening(stream: TcpStream, events: SyncSender<Event>) {
    thread::spawn(move || {
        let mut incoming = Incoming::new(stream);
        loop {
            while let Some((part, line)) = incoming.next() {
                if events.send(Event::Heard(part, line.to_vec())).is_err() {
                    return;
                }
            }
            if let Err(gone) = incoming.wait() {
                let _ = events.send(Event::Gone(gone));
                return;
            }
        }
    });
}

fn start_watching(mut signals: Signals, events: SyncSender<Event>) {
    thread::spawn(move || {
        for _ in signals.forever() {
            if events.send(Event::Interrupted).is_err() {
                return;
            }
        }
    });
}

fn start_typing(stream: Arc<Mutex<TcpStream>>, events: SyncSender<Event>) {
    thread::spawn(move || {
        let mut keyboard = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = keyboard.read_until(b'\n', &mut line);
            // A line that Ctrl-D cut is not sent: nobody pressed Enter on it. A terminal that
            // fails (it was closed) has nothing more to say either.
            if read.is_err() || line.last() != Some(&b'\n') {
                let _ = events.send(Event::InputEnded);
                return;
            }
            // First told, then sent: the reply must find the main thread waiting for it.
            let typed = kind_of(&line);
            if events.send(Event::Typed(typed)).is_err() {
                return;
            }
            if typed != Typed::Blank {
                send(&stream, &line);
            }
        }
    });
}

/// Writes to the server. A failure is left to the listener, which reads what was said before it.
fn send(stream: &Mutex<TcpStream>, line: &[u8]) {
    let _ = stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(line);
}

fn kind_of(line: &[u8]) -> Typed {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    match words.next() {
        None => Typed::Blank,
        Some(verb) if [&b"SALIR"[..], b"QUIT"].iter().any(|v| verb.eq_ignore_ascii_case(v)) => {
            Typed::Goodbye
        }
        Some(_) => Typed::Command,
    }
}

/// The state of a conversation and its screen.
struct Talk<'a> {
    link: &'a Link,
    stream: Arc<Mutex<TcpStream>>,
    replies: Output,
    words: Output,
    /// Commands sent and not yet answered.
    unanswered: u64,
    /// The cursor stands behind a prompt.
    at_prompt: bool,
    /// A goodbye was sent, typed or ours.
    goodbye_sent: bool,
    /// The last reply was the server's goodbye.
    goodbye_heard: bool,
    /// We are on our way out and wait no longer than [`GOODBYE_TIMEOUT`].
    is_leaving: bool,
}

impl<'a> Talk<'a> {
    fn new(link: &'a Link, stream: Arc<Mutex<TcpStream>>) -> Self {
        Talk {
            link,
            stream,
            replies: Output::stdout(link.language),
            words: Output::beside_replies(link.language),
            unanswered: 0,
            at_prompt: false,
            goodbye_sent: false,
            goodbye_heard: false,
            is_leaving: false,
        }
    }

    fn greet(&mut self) -> Result<(), Stop> {
        let language = self.link.language;
        let connected = language.say(texts::CONNECTED, &[&self.link.name()]);
        let hint = language.plain(texts::HINT);
        self.words.say(&format!("{connected}\n{hint}\n"))?;
        self.prompt()
    }

    /// Handles events until one of them is the last.
    fn run(&mut self, inbox: &Receiver<Event>) -> Result<u8, Stop> {
        loop {
            let event = self.next_event(inbox)?;
            if let Some(code) = self.handle(event)? {
                return Ok(code);
            }
        }
    }

    fn next_event(&self, inbox: &Receiver<Event>) -> Result<Event, Stop> {
        let event = if self.is_leaving {
            inbox.recv_timeout(GOODBYE_TIMEOUT)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        event.map_err(|_| self.link.unavailable(texts::NO_GOODBYE, &[]))
    }

    /// One event; the exit code if it was the last.
    fn handle(&mut self, event: Event) -> Result<Option<u8>, Stop> {
        match event {
            Event::Heard(part, line) => return self.hear(part, &line),
            Event::Gone(gone) => return self.end(&gone).map(Some),
            Event::Typed(typed) => self.note(typed)?,
            Event::InputEnded => {
                self.leave_prompt()?;
                self.say_goodbye();
            }
            Event::Interrupted if self.is_leaving => {
                return Err(self.link.unavailable(texts::NO_GOODBYE, &[]));
            }
            Event::Interrupted => {
                // Also where no prompt is: the terminal has shown `^C`.
                self.words.say("\n")?;
                self.at_prompt = false;
                self.say_goodbye();
            }
        }
        Ok(None)
    }

    /// A line of the server. The prompt comes back when everything sent is answered whole; a
    /// notice, which may come at any time, gives it back if it took it.
    fn hear(&mut self, part: Part, line: &[u8]) -> Result<Option<u8>, Stop> {
        let had_prompt = self.leave_prompt()?;
        if part == Part::Foreign {
            return Err(self.link.foreign(line));
        }
        self.replies.line(line)?;
        self.replies.flush()?;
        if part.ends_reply() {
            self.unanswered = self.unanswered.saturating_sub(1);
            self.goodbye_heard = is_goodbye(line) && part == Part::Ok;
        }
        let all_answered = part.ends_reply() && self.unanswered == 0;
        if all_answered && self.goodbye_heard && self.goodbye_sent {
            return Ok(Some(0));
        }
        if all_answered || had_prompt && part == Part::Notice {
            self.prompt()?;
        }
        Ok(None)
    }

    /// A line was typed: Enter has ended the prompt's line.
    fn note(&mut self, typed: Typed) -> Result<(), Stop> {
        self.at_prompt = false;
        self.goodbye_sent |= typed == Typed::Goodbye;
        if typed != Typed::Blank {
            self.unanswered += 1;
        } else if self.unanswered == 0 {
            self.prompt()?;
        }
        Ok(())
    }

    /// The connection has ended: as it should after a goodbye, else it was lost.
    fn end(&mut self, gone: &Gone) -> Result<u8, Stop> {
        self.leave_prompt()?;
        if self.goodbye_heard { Ok(0) } else { Err(self.link.lost(LOST_TALKING, gone)) }
    }

    /// Asks the server to end. From a thread of its own: the keyboard's may be in the middle of
    /// a write that does not end, and we promised to leave.
    fn say_goodbye(&mut self) {
        self.is_leaving = true;
        self.goodbye_sent = true;
        self.unanswered += 1;
        let line = format!("{}\n", self.link.language.plain(texts::GOODBYE));
        let stream = Arc::clone(&self.stream);
        thread::spawn(move || send(&stream, line.as_bytes()));
    }

    fn prompt(&mut self) -> Result<(), Stop> {
        if self.is_leaving {
            return Ok(());
        }
        self.at_prompt = true;
        self.words.say(self.link.language.plain(texts::PROMPT))
    }

    /// Puts the cursor on a line of its own; says whether there was a prompt to leave.
    fn leave_prompt(&mut self) -> Result<bool, Stop> {
        let had_prompt = std::mem::take(&mut self.at_prompt);
        if had_prompt {
            self.words.say("\n")?;
        }
        Ok(had_prompt)
    }
}

//! A conversation at a terminal.
//!
//! Four threads wait, each for one thing that cannot be waited for together with the others: the
//! server, the keyboard, signals, and a server that does not read. They talk to the main thread,
//! which alone owns the terminal, so everything about when a prompt is shown is in one place. The
//! main thread never writes to the server itself: with a large paste both sides could wait for
//! the other to read.
//!
//! A notice may come while somebody types. Where the terminal can clear a line, we edit that line
//! (`client/line.rs`), so that it can be shown again below the notice. Elsewhere the terminal
//! edits it, and a notice begins on a new line.

use std::io::{self, BufRead, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::guard::{INTERRUPT_WAIT, stop_ourselves};
use crate::line::{Done, Editor, width};
use crate::output::Output;
use crate::reply::{Gone, Incoming, Part, is_goodbye, read_some};
use crate::server::Link;
use crate::terminal::{Keys, columns};
use crate::texts::{self, LOST_TALKING, Language};
use crate::{EXIT_IO, Stop, spawn};

/// How long the server may be silent after our goodbye. Who pressed Ctrl-C wants to be out, and
/// a command that is busy would hold the goodbye back.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);

/// Events on their way to the terminal. Few: a full channel makes the server wait, not grow us.
const EVENTS: usize = 16;

/// What one read of keys may bring: a paste comes in pieces.
const KEYS_BYTES: usize = 4 * 1024;

/// What the main thread waits for.
enum Event {
    Heard(Part, Vec<u8>),
    Gone(Gone),
    /// Keys were pressed, and it is us who edits.
    Keys(Vec<u8>),
    /// A line was typed, and the terminal has edited it.
    Line(Vec<u8>),
    /// The keyboard said that no more comes (Ctrl-D).
    InputEnded,
    Signal(i32),
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
    // Before the mode of the terminal changes: from then on no signal may end us unnoticed.
    let all = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT];
    let signals = Signals::new(all).map_err(|error| {
        let text = link.language.say(texts::SIGNALS_FAILED, &[&error.to_string()]);
        Stop::Error { code: EXIT_IO, text }
    })?;
    let words = Output::beside_replies(link.language);
    let keys = if words.is_terminal() { Keys::start() } else { None };
    let is_edited = keys.is_some();
    let mut talk = Talk::new(link, start_sending(link.language, clone_of(link)?)?, words, keys);
    talk.greet()?;
    start_listening(link.language, clone_of(link)?, events.clone())?;
    start_watching(link.language, signals, events.clone())?;
    // Last, so that nothing typed is answered before the greeting is on the screen.
    if is_edited {
        start_reading_keys(link.language, events)?;
    } else {
        start_reading_lines(link.language, events)?;
    }
    talk.run(&inbox)
}

fn clone_of(link: &Link) -> Result<TcpStream, Stop> {
    link.stream.try_clone().map_err(|error| link.lost(LOST_TALKING, &Gone::Failed(error)))
}

// The four threads. None is ever joined: they end with the process. A send that fails means
// that the main thread is leaving.

fn start_listening(
    language: Language,
    stream: TcpStream,
    events: SyncSender<Event>,
) -> Result<(), Stop> {
    spawn(language, move || {
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
    })
}

fn start_watching(
    language: Language,
    mut signals: Signals,
    events: SyncSender<Event>,
) -> Result<(), Stop> {
    spawn(language, move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })
}

/// Writes to the server what it is given. Without a bound on what waits, because that is what a
/// person typed. A failure is left to the listener, which reads what was said before it.
fn start_sending(language: Language, mut stream: TcpStream) -> Result<Sender<Vec<u8>>, Stop> {
    let (lines, to_send) = channel::<Vec<u8>>();
    spawn(language, move || {
        for line in to_send {
            let _ = stream.write_all(&line);
        }
    })?;
    Ok(lines)
}

fn start_reading_keys(language: Language, events: SyncSender<Event>) -> Result<(), Stop> {
    spawn(language, move || {
        let mut keyboard = io::stdin().lock();
        let mut keys = vec![0; KEYS_BYTES];
        loop {
            // A terminal that fails (it was closed) has nothing more to say.
            let event = match read_some(&mut keyboard, &mut keys) {
                Ok(0) | Err(_) => Event::InputEnded,
                Ok(length) => Event::Keys(keys[..length].to_vec()),
            };
            let is_last = matches!(event, Event::InputEnded);
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    })
}

fn start_reading_lines(language: Language, events: SyncSender<Event>) -> Result<(), Stop> {
    spawn(language, move || {
        let mut keyboard = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = keyboard.read_until(b'\n', &mut line);
            // A line that Ctrl-D cut is not sent: nobody pressed Enter on it.
            let is_last = read.is_err() || line.last() != Some(&b'\n');
            let event = if is_last { Event::InputEnded } else { Event::Line(line) };
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    })
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
    to_server: Sender<Vec<u8>>,
    replies: Output,
    words: Output,
    /// There if it is us who edits what is typed.
    keys: Option<Keys>,
    editor: Editor,
    /// What stands behind the prompt on the screen.
    drawn: String,
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
    fn new(link: &'a Link, to_server: Sender<Vec<u8>>, words: Output, keys: Option<Keys>) -> Self {
        Talk {
            link,
            to_server,
            replies: Output::stdout(link.language),
            words,
            keys,
            editor: Editor::default(),
            drawn: String::new(),
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
            Event::Keys(keys) => self.press(&keys)?,
            Event::Line(line) => self.enter(&line)?,
            Event::InputEnded => self.end_input()?,
            Event::Signal(signal) => self.take_signal(signal)?,
        }
        Ok(None)
    }

    /// Ctrl-D.
    fn end_input(&mut self) -> Result<(), Stop> {
        self.leave_prompt()?;
        self.say_goodbye(b"");
        Ok(())
    }

    fn take_signal(&mut self, signal: i32) -> Result<(), Stop> {
        match signal {
            SIGINT => self.interrupt(),
            SIGTSTP => {
                self.pause_keys();
                stop_ourselves();
                self.resume_keys()
            }
            SIGCONT => self.resume_keys(),
            _ => {
                self.pause_keys();
                // As if we had not been asked: it ends us.
                let _ = emulate_default_handler(signal);
                Ok(())
            }
        }
    }

    /// Ctrl-C ends a command that waits, and the conversation.
    fn interrupt(&mut self) -> Result<(), Stop> {
        if self.is_leaving {
            return Err(self.link.unavailable(texts::NO_GOODBYE, &[]));
        }
        // Also where no prompt is. A terminal that edits has shown `^C` by itself.
        self.words.say(if self.keys.is_some() { "^C\n" } else { "\n" })?;
        self.at_prompt = false;
        let is_waiting = self.unanswered > 0;
        self.say_goodbye(if is_waiting { &INTERRUPT_WAIT } else { b"" });
        Ok(())
    }

    fn pause_keys(&self) {
        if let Some(keys) = &self.keys {
            keys.pause();
        }
    }

    fn resume_keys(&mut self) -> Result<(), Stop> {
        let Some(keys) = &self.keys else {
            return Ok(());
        };
        keys.resume();
        // The shell has written below the prompt, which is gone for us.
        if std::mem::take(&mut self.at_prompt) { self.prompt() } else { Ok(()) }
    }

    /// Keys were pressed. Without a prompt nothing is shown of them before Enter, because other
    /// things are being written there.
    fn press(&mut self, keys: &[u8]) -> Result<(), Stop> {
        for key in keys {
            let before = self.editor.text().len();
            match self.editor.feed(*key) {
                None => {}
                Some(Done::End) => self.end_input()?,
                Some(Done::Line(line)) => {
                    self.show_entered(&line, before)?;
                    self.enter(line.as_bytes())?;
                }
            }
        }
        self.redraw()
    }

    /// Completes what the screen shows of a line: all of it where there was no prompt.
    fn show_entered(&mut self, line: &str, length: usize) -> Result<(), Stop> {
        debug_assert_eq!(length + 1, line.len());
        if !self.at_prompt {
            return self.words.say(line);
        }
        self.show(&line[..length])?;
        self.words.say("\n")
    }

    /// Shows the line as it is now, behind its prompt.
    fn redraw(&mut self) -> Result<(), Stop> {
        let text = self.editor.text().to_owned();
        if self.at_prompt { self.show(&text) } else { Ok(()) }
    }

    fn show(&mut self, text: &str) -> Result<(), Stop> {
        if let Some(added) = text.strip_prefix(&self.drawn) {
            self.words.say(added)?;
        } else {
            let prompt = self.link.language.plain(texts::PROMPT);
            let clear = self.clearing();
            self.words.say(&format!("{clear}{prompt}{text}"))?;
        }
        self.drawn = text.to_owned();
        Ok(())
    }

    /// What clears the rows of the prompt and all behind it.
    fn clearing(&self) -> String {
        let prompt = self.link.language.plain(texts::PROMPT);
        let rows_above = (width(prompt) + width(&self.drawn)).saturating_sub(1) / columns();
        match rows_above {
            0 => "\r\x1b[J".to_owned(),
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        }
    }

    /// Makes room for a line of the server; says whether there was a prompt.
    fn make_room(&mut self) -> Result<bool, Stop> {
        if self.keys.is_none() || !self.at_prompt {
            return self.leave_prompt();
        }
        let clear = self.clearing();
        self.words.say(&clear)?;
        self.at_prompt = false;
        Ok(true)
    }

    /// A line of the server. The prompt comes back when everything sent is answered whole; a
    /// notice, which may come at any time, gives it back if it took it.
    fn hear(&mut self, part: Part, line: &[u8]) -> Result<Option<u8>, Stop> {
        let had_prompt = self.make_room()?;
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

    /// A line was typed: Enter has ended the prompt's line. First it is counted, then sent: the
    /// reply must find us waiting for it.
    fn enter(&mut self, line: &[u8]) -> Result<(), Stop> {
        let typed = kind_of(line);
        self.at_prompt = false;
        self.goodbye_sent |= typed == Typed::Goodbye;
        if typed != Typed::Blank {
            self.unanswered += 1;
            let _ = self.to_server.send(line.to_vec());
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

    /// Asks the server to end, after these bytes.
    fn say_goodbye(&mut self, first: &[u8]) {
        if self.is_leaving {
            return;
        }
        self.is_leaving = true;
        self.goodbye_sent = true;
        self.unanswered += 1;
        let line = format!("{}\n", self.link.language.plain(texts::GOODBYE));
        let _ = self.to_server.send([first, line.as_bytes()].concat());
    }

    fn prompt(&mut self) -> Result<(), Stop> {
        if self.is_leaving {
            return Ok(());
        }
        self.at_prompt = true;
        self.drawn = self.editor.text().to_owned();
        let prompt = self.link.language.plain(texts::PROMPT);
        self.words.say(&format!("{prompt}{}", self.drawn))
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

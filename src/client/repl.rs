//! Interactive mode at a terminal.
//!
//! Four threads each wait for one thing: the server, the keyboard, signals, and room to write to
//! the server. They send events to the main thread, which alone writes to the terminal. The main
//! thread never writes to the server itself, because after a large paste both sides could wait for
//! the other to read.
//!
//! A notice may arrive while the user types. If the terminal can clear a line, the client edits the
//! line itself (`repl/editor.rs`), so that it can print the notice above it. Otherwise the terminal
//! edits the line, and the notice starts on a new one.

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, sync_channel};
use std::time::Duration;

use reservad::text::Verb;
use signal_hook::consts::{SIGCONT, SIGINT, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;

use crate::Exit;
use crate::client::connection::Connection;
use crate::client::output::Output;
use crate::client::reply::{Disconnect, LineKind, is_goodbye};
use crate::client::supervisor::{INTERRUPT_WAIT, stop_group};
use crate::client::texts::{self, LOST_IN_SESSION};

mod completion;
mod editor;
mod events;
mod prompt;
mod raw_mode;

use editor::{Entry, LineEditor};
use events::Event;
use prompt::Prompt;
use raw_mode::RawMode;

/// Limit for the server to confirm QUIT. After Ctrl-C the user wants to leave, and a command in
/// progress would delay the reply.
const QUIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Capacity of the event channel. Small, so that a full channel makes the server wait instead of
/// using memory.
const EVENT_CAPACITY: usize = 16;

/// Runs a session until the user or the server ends it. Returns 0 after a confirmed QUIT. Fails if
/// the connection is lost or QUIT is not confirmed.
pub fn run(connection: &Connection) -> Result<u8, Exit> {
    let language = connection.language;
    let (events, inbox) = sync_channel(EVENT_CAPACITY);
    // Registered before the terminal mode changes, so that no signal ends the process without
    // restoring it.
    let signals = events::register_signals(language)?;
    let output = Output::for_prompt(language);
    let raw_mode = if output.is_terminal() { RawMode::enable() } else { None };
    let edits = raw_mode.is_some();
    let to_server = events::start_sender(language, clone_stream(connection)?)?;
    let prompt = Prompt::new(output, texts::PROMPT.get(language), edits);
    let mut session = Repl::new(connection, to_server, prompt, raw_mode);
    session.greet()?;
    events::start_receiver(language, clone_stream(connection)?, events.clone())?;
    events::start_signal_reader(language, signals, events.clone())?;
    // Started last, so that the greeting appears before the reply to anything that was typed.
    if edits {
        events::start_key_reader(language, events)?;
    } else {
        events::start_line_reader(language, events)?;
    }
    session.run(&inbox)
}

fn clone_stream(connection: &Connection) -> Result<TcpStream, Exit> {
    let lost = |error| connection.lost(LOST_IN_SESSION, &Disconnect::Failed(error));
    connection.stream.try_clone().map_err(lost)
}

/// An interactive session.
struct Repl<'a> {
    connection: &'a Connection,
    to_server: Sender<Vec<u8>>,
    replies: Output,
    prompt: Prompt,
    /// Present if the client edits the line.
    raw_mode: Option<RawMode>,
    editor: LineEditor,
    /// Number of commands without a complete reply.
    unanswered: u64,
    /// Whether QUIT was sent, by the user or by the client.
    sent_quit: bool,
    /// Whether the last reply was that of QUIT.
    received_goodbye: bool,
    /// Whether the client is about to end and waits only for [`QUIT_TIMEOUT`].
    is_leaving: bool,
}

/// A kind of typed line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TypedLine {
    Blank,
    Command,
    Quit,
}

impl TypedLine {
    fn of(line: &[u8]) -> Self {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let Some(first) = words.next() else {
            return TypedLine::Blank;
        };
        let verb = str::from_utf8(first).ok().and_then(Verb::find);
        if verb.is_some_and(|(verb, _)| verb == Verb::Quit) {
            TypedLine::Quit
        } else {
            TypedLine::Command
        }
    }
}

impl<'a> Repl<'a> {
    fn new(
        connection: &'a Connection,
        to_server: Sender<Vec<u8>>,
        prompt: Prompt,
        raw_mode: Option<RawMode>,
    ) -> Self {
        Repl {
            connection,
            to_server,
            replies: Output::stdout(connection.language),
            prompt,
            raw_mode,
            editor: LineEditor::default(),
            unanswered: 0,
            sent_quit: false,
            received_goodbye: false,
            is_leaving: false,
        }
    }

    fn greet(&mut self) -> Result<(), Exit> {
        let language = self.connection.language;
        let connected = texts::CONNECTED.format(language, &[&self.connection.name()]);
        let hint = texts::GREETING_HINT.get(language);
        self.prompt.print(&format!("{connected}\n{hint}\n"))?;
        self.show_prompt()
    }

    /// Handles events until the session ends. Returns the exit code.
    fn run(&mut self, inbox: &Receiver<Event>) -> Result<u8, Exit> {
        loop {
            let event = self.next_event(inbox)?;
            if let Some(code) = self.handle_event(event)? {
                return Ok(code);
            }
        }
    }

    fn next_event(&self, inbox: &Receiver<Event>) -> Result<Event, Exit> {
        let event = if self.is_leaving {
            inbox.recv_timeout(QUIT_TIMEOUT)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        event.map_err(|_| self.connection.unavailable(texts::QUIT_NOT_CONFIRMED, &[]))
    }

    /// Handles an event. Returns the exit code if the session ends with it.
    fn handle_event(&mut self, event: Event) -> Result<Option<u8>, Exit> {
        match event {
            Event::Received(kind, line) => return self.handle_line(kind, &line),
            Event::Disconnected(reason) => return self.handle_disconnect(&reason).map(Some),
            Event::Keys(keys) => self.handle_keys(&keys)?,
            Event::Typed(line) => {
                self.prompt.mark_left();
                self.handle_typed(&line)?;
            }
            Event::InputEnded => self.handle_end_of_input()?,
            Event::Signal(signal) => self.handle_signal(signal)?,
        }
        Ok(None)
    }
}

// The server.
impl Repl<'_> {
    /// Prints a line of the server. The prompt returns when every command has its complete reply,
    /// and after a notice that has interrupted it.
    fn handle_line(&mut self, kind: LineKind, line: &[u8]) -> Result<Option<u8>, Exit> {
        let had_prompt = self.prompt.make_room()?;
        if kind == LineKind::Invalid {
            return Err(self.connection.not_reservad(line));
        }
        self.replies.line(line)?;
        self.replies.flush()?;
        self.editor.completions.learn(kind, line);
        if kind.ends_reply() {
            self.unanswered = self.unanswered.saturating_sub(1);
            self.received_goodbye = is_goodbye(line) && kind == LineKind::Ok;
        }
        let is_all_answered = kind.ends_reply() && self.unanswered == 0;
        if is_all_answered && self.received_goodbye && self.sent_quit {
            return Ok(Some(0));
        }
        if is_all_answered || had_prompt && kind == LineKind::Notice {
            self.show_prompt()?;
        }
        Ok(None)
    }

    /// Handles the end of the connection, which is expected after QUIT.
    fn handle_disconnect(&mut self, reason: &Disconnect) -> Result<u8, Exit> {
        self.prompt.leave()?;
        if self.received_goodbye {
            Ok(0)
        } else {
            Err(self.connection.lost(LOST_IN_SESSION, reason))
        }
    }
}

// The user.
impl Repl<'_> {
    /// Shows the prompt with the line that is being edited, unless the client is about to end.
    fn show_prompt(&mut self) -> Result<(), Exit> {
        if self.is_leaving {
            return Ok(());
        }
        self.prompt.show(self.editor.text(), self.editor.cursor())
    }

    /// Handles keys. While there is no prompt, keys are not shown before Enter, because replies are
    /// being printed.
    fn handle_keys(&mut self, keys: &[u8]) -> Result<(), Exit> {
        for key in keys {
            match self.editor.feed(*key) {
                None => {}
                Some(Entry::End) => self.handle_end_of_input()?,
                Some(Entry::Line(line)) => {
                    self.prompt.accept(&line)?;
                    self.handle_typed(format!("{line}\n").as_bytes())?;
                }
            }
        }
        self.prompt.update(self.editor.text(), self.editor.cursor())
    }

    /// Handles a typed line. It is counted before it is sent, because the reply may arrive at once.
    fn handle_typed(&mut self, line: &[u8]) -> Result<(), Exit> {
        let typed = TypedLine::of(line);
        self.sent_quit |= typed == TypedLine::Quit;
        if typed != TypedLine::Blank {
            self.unanswered += 1;
            let _ = self.to_server.send(line.to_vec());
        } else if self.unanswered == 0 {
            self.show_prompt()?;
        }
        Ok(())
    }

    /// Handles Ctrl-D.
    fn handle_end_of_input(&mut self) -> Result<(), Exit> {
        self.prompt.leave()?;
        self.quit(b"");
        Ok(())
    }

    fn handle_signal(&mut self, signal: i32) -> Result<(), Exit> {
        match signal {
            SIGINT => self.handle_interrupt(),
            SIGTSTP => {
                self.restore_terminal();
                stop_group();
                self.resume_editing()
            }
            SIGCONT => self.resume_editing(),
            _ => {
                self.restore_terminal();
                // Ends the process.
                let _ = emulate_default_handler(signal);
                Ok(())
            }
        }
    }

    /// Handles Ctrl-C, which ends the session and a command that waits in the queue.
    fn handle_interrupt(&mut self) -> Result<(), Exit> {
        if self.is_leaving {
            return Err(self.connection.unavailable(texts::QUIT_NOT_CONFIRMED, &[]));
        }
        // A terminal that edits the line has printed `^C` itself.
        self.prompt.print(if self.raw_mode.is_some() { "^C\n" } else { "\n" })?;
        self.prompt.mark_left();
        let is_waiting = self.unanswered > 0;
        self.quit(if is_waiting { &INTERRUPT_WAIT } else { b"" });
        Ok(())
    }

    /// Sends QUIT after these bytes, and prepares to end.
    fn quit(&mut self, first: &[u8]) {
        if self.is_leaving {
            return;
        }
        self.is_leaving = true;
        self.sent_quit = true;
        self.unanswered += 1;
        let line = format!("{}\n", Verb::Quit.word(self.connection.language));
        let _ = self.to_server.send([first, line.as_bytes()].concat());
    }

    fn restore_terminal(&self) {
        if let Some(raw_mode) = &self.raw_mode {
            raw_mode.suspend();
        }
    }

    /// Continues editing after a stop. The shell has printed below the prompt, so there is a new
    /// one.
    fn resume_editing(&mut self) -> Result<(), Exit> {
        let Some(raw_mode) = &self.raw_mode else {
            return Ok(());
        };
        raw_mode.resume();
        if self.prompt.mark_left() { self.show_prompt() } else { Ok(()) }
    }
}

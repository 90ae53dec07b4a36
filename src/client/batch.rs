//! Batch mode: sends all lines of standard input without waiting, and prints all replies in order.
//!
//! A single loop with bounded buffers waits for input, output and the server at once. This avoids a
//! deadlock in which the client and the server each wait for the other to read. There are no
//! threads, so that the mode also works at the limit of processes.

use std::io::{self, IsTerminal};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::client::command_line;
use crate::client::connection::Connection;
use crate::client::output::{printable, write_error};
use crate::client::reply::{
    Disconnect, LineKind, ReplyReader, exit_code_of_err, is_goodbye, starts_watch,
};
use crate::client::texts::{self, LOST_IN_BATCH};
use crate::{EXIT_IO, EXIT_USAGE, Exit, Settings};

mod input;

use input::{InputChecker, InvalidUtf8, LineCounter};

/// Bytes per read of the input. Bounds the unsent input and, approximately, the unprinted replies.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes that a pipe accepts without blocking when `poll` reports it as writable (`PIPE_BUF`).
const PIPE_BYTES: usize = 4096;

/// Sends every line of standard input and prints every reply. Returns the exit code.
///
/// Ends when the server has answered all lines and closed the connection, which it does after the
/// half-close or after QUIT. Fails as soon as the connection is lost or the server times out.
pub fn run(connection: &Connection, settings: Settings) -> Result<u8, Exit> {
    let failed = |error| connection.lost(texts::LOST_BEFORE_REPLY, &Disconnect::Failed(error));
    connection.stream.set_nonblocking(true).map_err(failed)?;
    Batch::new(connection, settings).run()
}

struct Batch<'a> {
    connection: &'a Connection,
    settings: Settings,
    replies: ReplyReader<&'a TcpStream>,
    input: InputChecker,
    to_send: Vec<u8>,
    to_print: Vec<u8>,
    sent: LineCounter,
    received: ReplySummary,
    /// The end of the input, once it is reached.
    input_end: Option<Result<(), InputError>>,
    is_half_closed: bool,
    /// The end of the connection, once it has ended.
    disconnect: Option<Disconnect>,
    /// Time of the last byte to or from the server.
    last_active: Instant,
    /// The longest `wait=` among the lines without a reply.
    longest_wait: Duration,
}

/// A reason to send no more of the input.
#[derive(Debug)]
enum InputError {
    Failed(io::Error),
    NotUtf8(InvalidUtf8),
}

/// The directions in which the loop can make progress.
#[derive(Default)]
struct Ready {
    input: bool,
    receive: bool,
    send: bool,
    output: bool,
}

impl<'a> Batch<'a> {
    fn new(connection: &'a Connection, settings: Settings) -> Self {
        Batch {
            connection,
            settings,
            replies: ReplyReader::new(&connection.stream),
            input: InputChecker::default(),
            to_send: Vec::new(),
            to_print: Vec::new(),
            sent: LineCounter::default(),
            received: ReplySummary::default(),
            input_end: None,
            is_half_closed: false,
            disconnect: None,
            last_active: Instant::now(),
            longest_wait: Duration::ZERO,
        }
    }

    fn run(&mut self) -> Result<u8, Exit> {
        loop {
            if let Some(reason) = &self.disconnect
                && self.to_print.is_empty()
            {
                return self.exit_code(reason);
            }
            let ready = self.wait();
            if ready.output {
                self.print()?;
            }
            if ready.receive {
                self.receive()?;
            }
            if ready.input {
                self.read_input();
            }
            if ready.send {
                self.send();
            }
        }
    }

    /// Waits until a direction can make progress or the server times out.
    fn wait(&mut self) -> Ready {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let is_open = self.disconnect.is_none();
        let has_room = self.to_print.len() < CHUNK_BYTES;
        let reads_input = is_open && self.input_end.is_none() && self.to_send.is_empty();
        let mut server = PollFlags::empty();
        server.set(PollFlags::IN, is_open && has_room);
        server.set(PollFlags::OUT, is_open && !self.to_send.is_empty());
        let polled = [
            reads_input.then(|| PollFd::new(&stdin, PollFlags::IN)),
            (!server.is_empty()).then(|| PollFd::new(&self.connection.stream, server)),
            (!self.to_print.is_empty()).then(|| PollFd::new(&stdout, PollFlags::OUT)),
        ];
        let deadline = self.deadline().filter(|_| has_room && is_open);
        let Some([input, server, output]) = poll_some(polled, deadline) else {
            self.disconnect = Some(Disconnect::Timeout);
            return Ready::default();
        };
        // The next read finds the end or the error.
        let has_failed = server.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        Ready {
            input: !input.is_empty(),
            receive: server.contains(PollFlags::IN) || has_failed,
            send: server.contains(PollFlags::OUT) && !has_failed,
            output: !output.is_empty(),
        }
    }

    /// Returns when the server times out, while it owes a reply or the end of the connection.
    fn deadline(&self) -> Option<Instant> {
        let owes_end = self.is_half_closed && !self.received.is_watching;
        let owes_reply = self.received.replies < self.sent.commands;
        let timeout = self.settings.timeout.saturating_add(self.longest_wait);
        (owes_reply || owes_end).then(|| self.last_active.checked_add(timeout)).flatten()
    }

    /// Reads the input once.
    fn read_input(&mut self) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let is_end = match rustix::io::read(io::stdin().as_fd(), &mut chunk) {
            Ok(0) => self.input.finish(&mut self.to_send).map(|()| true),
            Ok(length) => self.input.feed(&chunk[..length], &mut self.to_send).map(|()| false),
            Err(Errno::INTR | Errno::AGAIN) => return,
            Err(error) => {
                self.input_end = Some(Err(InputError::Failed(error.into())));
                return self.half_close();
            }
        };
        self.count_commands();
        match is_end {
            Ok(false) => {}
            Ok(true) => self.input_end = Some(Ok(())),
            Err(invalid) => self.input_end = Some(Err(InputError::NotUtf8(invalid))),
        }
        if self.to_send.is_empty() {
            self.half_close();
        }
    }

    /// Counts the commands in the bytes to send.
    fn count_commands(&mut self) {
        if self.received.replies >= self.sent.commands {
            // The server owed no reply until now.
            self.last_active = Instant::now();
            self.longest_wait = Duration::ZERO;
        }
        self.sent.feed(&self.to_send);
        for line in self.to_send.split(|byte| *byte == b'\n').filter(|line| line.contains(&b'=')) {
            let wait = str::from_utf8(line).map_or(Duration::ZERO, command_line::wait_of);
            self.longest_wait = self.longest_wait.max(wait);
        }
    }

    fn send(&mut self) {
        match rustix::io::write(&self.connection.stream, &self.to_send) {
            Ok(length) => {
                self.to_send.drain(..length);
                self.last_active = Instant::now();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The next read finds the reason, and replies that arrived before it.
            Err(_) => self.to_send.clear(),
        }
        if self.to_send.is_empty() {
            self.half_close();
        }
    }

    /// Half-closes the connection if the input has ended.
    fn half_close(&mut self) {
        if self.input_end.is_some() && !std::mem::replace(&mut self.is_half_closed, true) {
            self.last_active = Instant::now();
            let _ = self.connection.stream.shutdown(Shutdown::Write);
        }
    }

    fn receive(&mut self) -> Result<(), Exit> {
        self.disconnect = self.replies.fill().err();
        self.last_active = Instant::now();
        let is_terminal = io::stdout().is_terminal();
        while let Some((kind, line)) = self.replies.next() {
            if kind == LineKind::Invalid {
                let exit = self.connection.not_reservad(line);
                while !self.to_print.is_empty() {
                    self.print()?;
                }
                return Err(exit);
            }
            self.received.add(kind, line);
            if !self.settings.is_quiet || kind == LineKind::Err || self.received.is_watching {
                self.to_print.extend_from_slice(&printable(line, is_terminal));
                self.to_print.push(b'\n');
            }
        }
        Ok(())
    }

    /// Writes as much of the replies as the output accepts without blocking.
    fn print(&mut self) -> Result<(), Exit> {
        let length = self.to_print.len().min(PIPE_BYTES);
        match rustix::io::write(io::stdout().as_fd(), &self.to_print[..length]) {
            Ok(length) => drop(self.to_print.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(write_error(&error.into(), self.connection.language)),
        }
        Ok(())
    }

    /// Returns the exit code after the end of the connection.
    fn exit_code(&self, reason: &Disconnect) -> Result<u8, Exit> {
        let is_answered = self.received.replies >= self.sent.commands;
        let language = self.connection.language;
        match &self.input_end {
            _ if self.received.ends_with_goodbye => Ok(self.received.code),
            Some(Ok(())) if is_answered => Ok(self.received.code),
            Some(Err(InputError::Failed(error))) if is_answered => {
                let message =
                    texts::INPUT_FAILED.format(language, &[&texts::reason(language, error)]);
                Err(Exit::Failure { code: EXIT_IO, message })
            }
            Some(Err(InputError::NotUtf8(invalid))) if is_answered => {
                let InvalidUtf8 { line, byte, value } = invalid;
                let values = [&line.to_string(), &byte.to_string(), &format!("0x{value:02x}")];
                let text = texts::LINE_NOT_UTF8;
                Err(Exit::usage(text.format(language, &values.map(String::as_str))))
            }
            _ => {
                let (replies, lines) = (self.received.replies, self.sent.commands);
                let values = [reason.text(language), replies.to_string(), lines.to_string()];
                let values = values.each_ref().map(String::as_str);
                Err(self.connection.unavailable(LOST_IN_BATCH, &values))
            }
        }
    }
}

/// Polls those descriptors that are present until the deadline. Returns the events of each, which
/// are empty for an absent one, or `None` after the deadline.
fn poll_some<const N: usize>(
    polled: [Option<PollFd<'_>>; N],
    deadline: Option<Instant>,
) -> Option<[PollFlags; N]> {
    let is_present = polled.each_ref().map(Option::is_some);
    let mut polled: Vec<PollFd<'_>> = polled.into_iter().flatten().collect();
    let left = deadline.map(|time| time.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    if poll(&mut polled, timeout.as_ref()) == Ok(0) {
        return None;
    }
    let mut events = polled.iter().map(PollFd::revents);
    let mut next = || events.next().unwrap_or(PollFlags::empty());
    Some(is_present.map(|is_present| if is_present { next() } else { PollFlags::empty() }))
}

/// A summary of the received replies.
#[derive(Default)]
struct ReplySummary {
    replies: u64,
    /// The exit code of the worst ERR. One that must not be repeated is worse than one that may
    /// succeed later.
    code: u8,
    /// Whether the last reply was that of QUIT. Only the last reply counts, because `IAM BYE` has
    /// the reply `OK BYE` too.
    ends_with_goodbye: bool,
    is_watching: bool,
}

impl ReplySummary {
    fn add(&mut self, kind: LineKind, line: &[u8]) {
        self.replies += u64::from(kind.ends_reply());
        if kind == LineKind::Err {
            let code = exit_code_of_err(line);
            self.code = if self.code == EXIT_USAGE { EXIT_USAGE } else { code };
        }
        self.is_watching |= kind == LineKind::Ok && starts_watch(line);
        if kind != LineKind::Notice {
            self.ends_with_goodbye = kind == LineKind::Ok && is_goodbye(line);
        }
    }
}

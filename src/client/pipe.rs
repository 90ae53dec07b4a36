//! Sends all lines of standard input, and prints all replies in order.
//!
//! One loop does both with buffers of a fixed size, and waits for input, output and the server at
//! once. This avoids a deadlock in which the server waits for the client to read while the client
//! waits for the server. Uses no threads, because none can be started at the limit of processes.

use std::io::{self, IsTerminal};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::ask::begins_watch;
use crate::output::{output_failed, rendered};
use crate::reply::{Gone, Incoming, Part, is_goodbye};
use crate::server::Link;
use crate::texts::{self, LOST_PIPING};
use crate::{EXIT_IO, EXIT_USAGE, Settings, Stop, exit_of_refusal, words};

/// Bytes per read of the input, and thus the bound on unsent input; also about the bound on replies
/// not yet printed.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes that a pipe accepts without blocking when `poll` reports it as writable (`PIPE_BUF`).
const PIPE_BYTES: usize = 4096;

/// Sends every line of standard input without waiting for replies, and prints every reply. Ends
/// when the server has answered all lines and closed the connection, which it does after the
/// half-close or after its goodbye. Fails as soon as the connection is lost or the server is silent
/// for too long.
pub fn pipe(link: &Link, settings: Settings) -> Result<u8, Stop> {
    let gone = |error| link.lost(texts::LOST_ASKING, &Gone::Failed(error));
    link.stream.set_nonblocking(true).map_err(gone)?;
    Pipe::new(link, settings).run()
}

struct Pipe<'a> {
    link: &'a Link,
    settings: Settings,
    incoming: Incoming<&'a TcpStream>,
    input: Input,
    to_send: Vec<u8>,
    to_show: Vec<u8>,
    lines: LineCount,
    /// How the input ended, if it has.
    end: Option<Result<(), BadInput>>,
    is_half_closed: bool,
    seen: Seen,
    /// Why the connection has ended, if it has.
    gone: Option<Gone>,
    /// When the server was last active, and the longest wait of the lines that it has not answered
    /// yet.
    active_at: Instant,
    longest_wait: Duration,
}

/// Why no more of the input can be sent.
#[derive(Debug)]
enum BadInput {
    Failed(io::Error),
    NotText(NotText),
}

/// The directions that can make progress.
#[derive(Default)]
struct Ready {
    input: bool,
    server: bool,
    sending: bool,
    output: bool,
}

impl<'a> Pipe<'a> {
    fn new(link: &'a Link, settings: Settings) -> Self {
        Pipe {
            link,
            settings,
            incoming: Incoming::new(&link.stream),
            input: Input::default(),
            to_send: Vec::new(),
            to_show: Vec::new(),
            lines: LineCount::default(),
            end: None,
            is_half_closed: false,
            seen: Seen::default(),
            gone: None,
            active_at: Instant::now(),
            longest_wait: Duration::ZERO,
        }
    }

    fn run(&mut self) -> Result<u8, Stop> {
        loop {
            if let Some(gone) = &self.gone
                && self.to_show.is_empty()
            {
                return self.judge(gone);
            }
            let ready = self.wait();
            if ready.output {
                self.show()?;
            }
            if ready.server {
                self.receive()?;
            }
            if ready.input {
                self.read();
            }
            if ready.sending {
                self.send();
            }
        }
    }

    /// Waits until some direction can make progress, or the server has been silent for too long.
    fn wait(&mut self) -> Ready {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let (is_open, has_room) = (self.gone.is_none(), self.to_show.len() < CHUNK_BYTES);
        let reads = is_open && self.end.is_none() && self.to_send.is_empty();
        let mut server = PollFlags::empty();
        server.set(PollFlags::IN, has_room);
        server.set(PollFlags::OUT, !self.to_send.is_empty());
        let polled = [
            reads.then(|| PollFd::new(&stdin, PollFlags::IN)),
            (is_open && !server.is_empty()).then(|| PollFd::new(&self.link.stream, server)),
            (!self.to_show.is_empty()).then(|| PollFd::new(&stdout, PollFlags::OUT)),
        ];
        let places: Vec<bool> = polled.iter().map(Option::is_some).collect();
        let mut polled: Vec<PollFd<'_>> = polled.into_iter().flatten().collect();
        let limit = self.limit().filter(|_| has_room && is_open);
        let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut polled, timeout.as_ref()) == Ok(0) {
            self.gone = Some(Gone::Silent);
            return Ready::default();
        }
        let mut found = polled.iter().map(PollFd::revents);
        let mut next = |at: usize| {
            if places[at] { found.next().unwrap_or(PollFlags::empty()) } else { PollFlags::empty() }
        };
        let (input, server, output) = (next(0), next(1), next(2));
        // Reading finds the end or the error.
        let failed = server.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        Ready {
            input: !input.is_empty(),
            server: server.contains(PollFlags::IN) || failed,
            sending: server.contains(PollFlags::OUT) && !failed,
            output: !output.is_empty(),
        }
    }

    /// Returns when the server will have been silent for too long, while an answer or its end is
    /// due.
    fn limit(&self) -> Option<Instant> {
        let owes_end = self.is_half_closed && !self.seen.is_watching;
        let owes = self.seen.replies < self.lines.answered || owes_end;
        let patience = self.settings.timeout.saturating_add(self.longest_wait);
        owes.then(|| self.active_at.checked_add(patience)).flatten()
    }

    /// Reads from the input once.
    fn read(&mut self) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = match rustix::io::read(io::stdin().as_fd(), &mut chunk) {
            Ok(0) => self.input.finish(&mut self.to_send).map(|()| true),
            Ok(length) => self.input.take(&chunk[..length], &mut self.to_send).map(|()| false),
            Err(Errno::INTR | Errno::AGAIN) => return,
            Err(error) => {
                self.end = Some(Err(BadInput::Failed(error.into())));
                return self.half_close();
            }
        };
        self.count();
        match read {
            Ok(false) => {}
            Ok(true) => self.end = Some(Ok(())),
            Err(wrong) => self.end = Some(Err(BadInput::NotText(wrong))),
        }
        if self.to_send.is_empty() {
            self.half_close();
        }
    }

    /// Counts the lines about to be sent.
    fn count(&mut self) {
        if self.seen.replies >= self.lines.answered {
            // No answer was due until now.
            self.active_at = Instant::now();
            self.longest_wait = Duration::ZERO;
        }
        self.lines.feed(&self.to_send);
        for line in self.to_send.split(|byte| *byte == b'\n').filter(|line| line.contains(&b'=')) {
            let wait = str::from_utf8(line).map_or(Duration::ZERO, words::wait_of);
            self.longest_wait = self.longest_wait.max(wait);
        }
    }

    fn send(&mut self) {
        match rustix::io::write(&self.link.stream, &self.to_send) {
            Ok(length) => {
                self.to_send.drain(..length);
                self.active_at = Instant::now();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Reading finds the reason, and what the server sent before.
            Err(_) => self.to_send.clear(),
        }
        if self.to_send.is_empty() {
            self.half_close();
        }
    }

    /// Half-closes the connection after everything is sent.
    fn half_close(&mut self) {
        if self.end.is_some() && !std::mem::replace(&mut self.is_half_closed, true) {
            self.active_at = Instant::now();
            let _ = self.link.stream.shutdown(Shutdown::Write);
        }
    }

    fn receive(&mut self) -> Result<(), Stop> {
        self.gone = self.incoming.wait().err();
        self.active_at = Instant::now();
        let is_terminal = io::stdout().is_terminal();
        while let Some((part, line)) = self.incoming.next() {
            if part == Part::Foreign {
                let foreign = self.link.foreign(line);
                while !self.to_show.is_empty() {
                    self.show()?;
                }
                return Err(foreign);
            }
            self.seen.take(part, line);
            if !self.settings.is_quiet || part == Part::Err || self.seen.is_watching {
                self.to_show.extend_from_slice(&rendered(line, is_terminal));
                self.to_show.push(b'\n');
            }
        }
        Ok(())
    }

    /// Writes as much of the replies as the output accepts without blocking.
    fn show(&mut self) -> Result<(), Stop> {
        let length = self.to_show.len().min(PIPE_BYTES);
        match rustix::io::write(io::stdout().as_fd(), &self.to_show[..length]) {
            Ok(length) => drop(self.to_show.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(output_failed(&error.into(), self.link.language)),
        }
        Ok(())
    }

    /// The exit code after the end of the connection.
    fn judge(&self, gone: &Gone) -> Result<u8, Stop> {
        let answered = self.seen.replies >= self.lines.answered;
        let language = self.link.language;
        match &self.end {
            _ if self.seen.goodbye => {}
            Some(Ok(())) if answered => {}
            Some(Err(BadInput::Failed(error))) if answered => {
                let text = language.say(texts::INPUT_FAILED, &[&language.reason(error)]);
                return Err(Stop::Error { code: EXIT_IO, text });
            }
            Some(Err(BadInput::NotText(wrong))) if answered => {
                let NotText { line, byte, value } = wrong;
                let values = [&line.to_string(), &byte.to_string(), &format!("0x{value:02x}")];
                let text = language.say(texts::LINE_NOT_UTF8, &values.map(String::as_str));
                return Err(Stop::Error { code: EXIT_USAGE, text });
            }
            _ => {
                let replies = self.seen.replies.to_string();
                let lines = self.lines.answered.to_string();
                let reason = self.link.reason(gone);
                return Err(self.link.unavailable(LOST_PIPING, &[&reason, &replies, &lines]));
            }
        }
        Ok(self.seen.code)
    }
}

/// What has been received.
#[derive(Default)]
struct Seen {
    replies: u64,
    /// The exit code of the worst refusal. One that is never worth repeating is worse than one that
    /// may succeed later.
    code: u8,
    /// The last reply was the server's goodbye. Only the last one counts: `IAM BYE` is
    /// answered `OK BYE` too, but not closed.
    goodbye: bool,
    is_watching: bool,
}

impl Seen {
    fn take(&mut self, part: Part, line: &[u8]) {
        self.replies += u64::from(part.ends_reply());
        if part == Part::Err {
            let code = exit_of_refusal(line);
            self.code = if self.code == EXIT_USAGE { EXIT_USAGE } else { code };
        }
        self.is_watching |= part == Part::Ok && begins_watch(line);
        if part != Part::Notice {
            self.goodbye = part == Part::Ok && is_goodbye(line);
        }
    }
}

/// The position of a byte in the input that is not UTF-8. Lines and bytes count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotText {
    line: u64,
    byte: usize,
    value: u8,
}

/// Passes the input on line by line, as long as it is UTF-8. Drops a byte order mark at the
/// beginning, which some editors write.
#[derive(Default)]
struct Input {
    /// The beginning of a line without its end.
    held: Vec<u8>,
    has_begun: bool,
    /// The number of whole lines so far.
    lines: u64,
    /// Bytes of the current line that are no longer in `held`.
    passed: usize,
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl Input {
    /// Takes a piece of the input. Whole lines, and lines too long to be held, go to `sent`.
    fn take(&mut self, chunk: &[u8], sent: &mut Vec<u8>) -> Result<(), NotText> {
        self.held.extend_from_slice(chunk);
        if !self.has_begun {
            if self.held.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&self.held) {
                return Ok(());
            }
            self.has_begun = true;
            if self.held.starts_with(BYTE_ORDER_MARK) {
                self.held.drain(..BYTE_ORDER_MARK.len());
                self.passed = BYTE_ORDER_MARK.len();
            }
        }
        let whole = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.pass(whole, sent)?;
        if self.held.len() > CHUNK_BYTES {
            let valid = match str::from_utf8(&self.held) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                _ => self.held.len(),
            };
            self.pass(valid, sent)?;
        }
        Ok(())
    }

    /// Handles the end of the input. The last line counts even without an LF, as in a shell.
    fn finish(&mut self, sent: &mut Vec<u8>) -> Result<(), NotText> {
        let has_open_line = !self.held.is_empty();
        self.pass(self.held.len(), sent)?;
        if has_open_line {
            sent.push(b'\n');
        }
        Ok(())
    }

    /// Passes on `length` of the held bytes, or the lines before the first invalid one.
    fn pass(&mut self, length: usize, sent: &mut Vec<u8>) -> Result<(), NotText> {
        let bytes = &self.held[..length];
        let wrong = str::from_utf8(bytes).err().map(|error| error.valid_up_to());
        let whole_lines = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        let passed = match wrong {
            None => length,
            Some(at) => whole_lines(&bytes[..at]).map_or(0, |at| at + 1),
        };
        let newlines = bytes[..passed].iter().filter(|byte| **byte == b'\n').count();
        self.lines += newlines as u64;
        let line_start = whole_lines(&bytes[..passed]).map_or(0, |at| at + 1);
        let before = if newlines == 0 { self.passed } else { 0 };
        let wrong = wrong.map(|at| NotText {
            line: self.lines + 1,
            byte: before + at - line_start + 1,
            value: bytes[at],
        });
        self.passed = before + passed - line_start;
        sent.extend_from_slice(&bytes[..passed]);
        self.held.drain(..passed);
        wrong.map_or(Ok(()), Err)
    }
}

/// Counts the lines that the server answers, which are all except blank ones.
#[derive(Default)]
struct LineCount {
    answered: u64,
    /// The current line has a byte but not its LF.
    is_open: bool,
    has_text: bool,
    /// The last byte was a CR: nothing before an LF, a control character anywhere else.
    ends_in_cr: bool,
}

impl LineCount {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let answered = self.answered + u64::from(self.has_text);
                *self = LineCount { answered, ..LineCount::default() };
                continue;
            }
            self.is_open = true;
            self.has_text |= self.ends_in_cr || !matches!(byte, b' ' | b'\t' | b'\r');
            self.ends_in_cr = *byte == b'\r';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is sent of an input, and its first error.
    fn checked(chunks: &[&[u8]]) -> (Vec<u8>, Option<NotText>) {
        let (mut input, mut sent) = (Input::default(), Vec::new());
        for chunk in chunks {
            if let Err(wrong) = input.take(chunk, &mut sent) {
                return (sent, Some(wrong));
            }
        }
        let wrong = input.finish(&mut sent).err();
        (sent, wrong)
    }

    #[test]
    fn input_is_sent_up_to_the_first_line_that_is_not_utf8() {
        let bad = |line, byte, value| Some(NotText { line, byte, value });
        let rows: [(&[u8], &[u8], Option<NotText>); 12] = [
            (b"", b"", None),
            (b"a\n\xc3\xa1\n", b"a\n\xc3\xa1\n", None),
            (b"a", b"a\n", None),
            (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", b"a\n\xef\xbb\xbfb\n", None),
            (b"\xef\xbb\xbf", b"", None),
            (b"\xef\xbb", b"", bad(1, 1, 0xef)),
            (b"\xef\xbb\xbfa\xff\n", b"", bad(1, 5, 0xff)),
            (b"a\nb\xe9c\nd\n", b"a\n", bad(2, 2, 0xe9)),
            (b"a\n\n\xff", b"a\n\n", bad(3, 1, 0xff)),
            (b"a\nb\xc3", b"a\n", bad(2, 2, 0xc3)),
            (b"a\xc3\nb\n", b"", bad(1, 2, 0xc3)),
            (b"\xff\xfea\0\n\0", b"", bad(1, 1, 0xff)),
        ];
        for (bytes, sent, wrong) in rows {
            assert_eq!(checked(&[bytes]), (sent.to_vec(), wrong), "{bytes:?}");
            let dripped: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(checked(&dripped), (sent.to_vec(), wrong), "{bytes:?}, dripped");
        }
    }

    /// An endless line is passed on, for the server to reject, instead of being held in memory.
    #[test]
    fn a_long_line_is_not_held() {
        let long = "á".repeat(CHUNK_BYTES);
        let (mut input, mut sent) = (Input::default(), Vec::new());
        input.take(&long.as_bytes()[..long.len() - 1], &mut sent).expect("text");
        assert_eq!(sent.len(), long.len() - 2);
        let wrong = input.take(b"(\n", &mut sent).expect_err("half a character");
        assert_eq!(wrong, NotText { line: 1, byte: long.len() - 1, value: 0xc3 });
    }

    #[test]
    fn lines_that_are_answered_are_counted() {
        let rows: [(&[u8], u64, bool); 10] = [
            (b"", 0, false),
            (b"a\nb\n", 2, false),
            (b"a\nb", 1, true),
            (b"\n\r\n \t \n \r\n", 0, false),
            (b"a\r\n\r\nb\r\n", 2, false),
            (b"\r\r\n", 1, false),
            (b"\r \n", 1, false),
            (b" a \n", 1, false),
            (b"\0\n\xc3\n", 2, false),
            (b"\r", 0, true),
        ];
        for (bytes, answered, is_open) in rows {
            let (mut whole, mut dripped) = (LineCount::default(), LineCount::default());
            whole.feed(bytes);
            bytes.iter().for_each(|byte| dripped.feed(&[*byte]));
            for count in [whole, dripped] {
                assert_eq!((count.answered, count.is_open), (answered, is_open), "{bytes:?}");
            }
        }
    }
}

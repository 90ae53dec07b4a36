//! All lines of standard input, all replies in their order.
//!
//! One thread sends and one receives, each with one buffer of a fixed size, so neither can hold
//! up the other: if both were one thread, a server that waits for us to read would wait for ever
//! while we wait for it to read.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::output::Output;
use crate::reply::{Gone, Incoming, Part, is_goodbye, read_some};
use crate::server::Link;
use crate::texts::{self, LOST_PIPING};
use crate::{EXIT_IO, EXIT_REFUSED, Stop};

/// One read of the input, and so one write to the server.
const CHUNK_BYTES: usize = 64 * 1024;

/// Sends every line of standard input without waiting for replies and prints every reply. Ends
/// when the server has answered all and closed, which it does after our half-close; or at the
/// server's goodbye; or with an error as soon as the connection is lost.
pub fn pipe(link: &Link) -> Result<u8, Stop> {
    let progress = Progress::default();
    let sender = link
        .stream
        .try_clone()
        .map_err(|error| link.lost(texts::LOST_ASKING, &Gone::Failed(error)))?;
    let shared = progress.clone();
    // Never joined: it may be waiting for input that nobody will answer any more.
    thread::spawn(move || send(io::stdin().lock(), &sender, &shared));
    receive(link, &progress)
}

/// How far the sender is. It sets `sent` before it writes, and `end` before it half-closes, so
/// whoever has read the server's answer to either finds it here.
#[derive(Clone, Default)]
struct Progress(Arc<Mutex<Sent>>);

#[derive(Default)]
struct Sent {
    /// Lines that the server has to answer.
    lines: u64,
    /// How the input ended, if it has.
    end: Option<io::Result<()>>,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies the input to the server as it comes and then half-closes. An error of the connection
/// just ends it: the receiver knows more, because it reads what the server said before.
fn send(mut input: impl Read, mut stream: &TcpStream, progress: &Progress) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut lines = LineCount::default();
    let end = loop {
        match read_some(&mut input, &mut buffer) {
            Ok(0) => break Ok(()),
            Err(error) => break Err(error),
            Ok(length) => {
                lines.feed(&buffer[..length]);
                progress.lock().lines = lines.answered;
                if stream.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
        }
    };
    // The last line is run also without its LF, as a shell would. Not after a failed read: it
    // may be half a line.
    if end.is_ok() && lines.is_open {
        lines.feed(b"\n");
        progress.lock().lines = lines.answered;
        if stream.write_all(b"\n").is_err() {
            return;
        }
    }
    progress.lock().end = Some(end);
    let _ = stream.shutdown(Shutdown::Write);
}

/// Prints what comes until the server closes, then judges whether it was all.
fn receive(link: &Link, progress: &Progress) -> Result<u8, Stop> {
    let mut incoming = Incoming::new(&link.stream);
    let mut output = Output::stdout(link.language);
    let mut seen = Seen::default();
    loop {
        while let Some((part, line)) = incoming.next() {
            if part == Part::Foreign {
                output.flush()?;
                return Err(link.foreign(line));
            }
            output.line(line)?;
            seen.take(part, line);
        }
        // Before a wait, so that each reply to a slow producer is seen when it comes.
        output.flush()?;
        if let Err(gone) = incoming.wait() {
            return judge(link, &seen, &progress.lock(), &gone);
        }
    }
}

/// What has been received.
#[derive(Default)]
struct Seen {
    replies: u64,
    refused: bool,
    /// The last reply was the server's goodbye. Only the last one counts: `IAM BYE` is
    /// answered `OK BYE` too, but not closed.
    goodbye: bool,
}

impl Seen {
    fn take(&mut self, part: Part, line: &[u8]) {
        self.replies += u64::from(part.ends_reply());
        self.refused |= part == Part::Err;
        if part != Part::Notice {
            self.goodbye = part == Part::Ok && is_goodbye(line);
        }
    }
}

/// The exit code after the end of the connection.
fn judge(link: &Link, seen: &Seen, sent: &Sent, gone: &Gone) -> Result<u8, Stop> {
    let answered = seen.replies >= sent.lines;
    match &sent.end {
        _ if seen.goodbye => {}
        Some(Ok(())) if answered => {}
        Some(Err(error)) if answered => {
            let text = link.language.say(texts::INPUT_FAILED, &[&link.language.reason(error)]);
            return Err(Stop::Error { code: EXIT_IO, text });
        }
        _ => {
            let (replies, lines) = (seen.replies.to_string(), sent.lines.to_string());
            return Err(link.unavailable(LOST_PIPING, &[&link.reason(gone), &replies, &lines]));
        }
    }
    Ok(if seen.refused { EXIT_REFUSED } else { 0 })
}

/// Counts the lines that the server answers: all but blank ones. A line with a byte 0xFF is not
/// counted either: it is no text but a sequence of telnet, which the server may take away.
#[derive(Default)]
struct LineCount {
    answered: u64,
    /// The current line has a byte but not its LF.
    is_open: bool,
    has_text: bool,
    has_telnet: bool,
    /// The last byte was a CR: nothing before an LF, a control character anywhere else.
    ends_in_cr: bool,
}

impl LineCount {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let answered = self.answered + u64::from(self.has_text && !self.has_telnet);
                *self = LineCount { answered, ..LineCount::default() };
                continue;
            }
            self.is_open = true;
            self.has_text |= self.ends_in_cr || !matches!(byte, b' ' | b'\t' | b'\r');
            self.has_telnet |= *byte == 0xff;
            self.ends_in_cr = *byte == b'\r';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_answered_are_counted() {
        let rows: [(&[u8], u64, bool); 11] = [
            (b"", 0, false),
            (b"a\nb\n", 2, false),
            (b"a\nb", 1, true),
            (b"\n\r\n \t \n \r\n", 0, false),
            (b"a\r\n\r\nb\r\n", 2, false),
            (b"\r\r\n", 1, false),
            (b"\r \n", 1, false),
            (b" a \n", 1, false),
            (b"\0\n\xc3\n", 2, false),
            (b"\xff\xf1\na\n", 1, false),
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

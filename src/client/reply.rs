//! Replies of the server: splits the received bytes into lines and the lines into replies.

use std::fmt::Write;
use std::io::{self, Read};

use reservad::text::{is_emoji_part, is_hidden};

use crate::client::texts::{self, Lang, Text};
use crate::{EXIT_TRY_LATER, EXIT_USAGE};

/// Bytes requested by one read.
const READ_BYTES: usize = 64 * 1024;

/// Far longer than any line of the protocol. Bounds the memory whatever the other end sends.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// The role of a line from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// `* …`, which is not part of a reply.
    Notice,
    /// `OK …`, a complete reply.
    Ok,
    /// `ERR …`, a complete reply.
    Err,
    /// `OK <n> <WORD>`, followed by `n` items.
    ListHeader(u64),
    /// An item of a list, with the number of items that still follow.
    Item(u64),
    /// A line that reservad does not send.
    Invalid,
}

impl LineKind {
    /// Returns whether this line completes a reply.
    pub fn ends_reply(self) -> bool {
        use LineKind::{Err, Item, ListHeader, Ok};
        matches!(self, Ok | Err | ListHeader(0) | Item(0))
    }

    /// Classifies a line outside a list.
    fn of_first_line(line: &[u8]) -> Self {
        let (word, rest) = split_at_space(line);
        match word {
            b"*" => LineKind::Notice,
            b"ERR" => LineKind::Err,
            b"OK" => list_length(rest).map_or(LineKind::Ok, LineKind::ListHeader),
            _ => LineKind::Invalid,
        }
    }
}

/// Classifies lines. Performs no input or output.
#[derive(Debug, Default)]
pub struct ReplyParser {
    items_left: u64,
}

impl ReplyParser {
    /// Classifies the next line, which is passed without its line ending. Items of a list are
    /// recognized by the count alone, because a resource may be called `ERR 1`.
    pub fn feed(&mut self, line: &[u8]) -> LineKind {
        if self.items_left > 0 {
            self.items_left -= 1;
            return LineKind::Item(self.items_left);
        }
        let kind = LineKind::of_first_line(line);
        if let LineKind::ListHeader(items) = kind {
            self.items_left = items;
        }
        kind
    }
}

/// Parses `<n> <WORD IN CAPITALS>`, which follows the `OK` of a list and of no other reply.
fn list_length(rest: &[u8]) -> Option<u64> {
    let (count, word) = split_at_space(rest);
    let (count, word) = (str::from_utf8(count).ok()?, str::from_utf8(word).ok()?);
    let in_capitals = !word.is_empty() && word.chars().all(char::is_uppercase);
    let digits = count.bytes().all(|b| b.is_ascii_digit());
    count.parse().ok().filter(|_| in_capitals && digits)
}

/// Splits a line at its first space.
fn split_at_space(line: &[u8]) -> (&[u8], &[u8]) {
    let space = line.iter().position(|b| *b == b' ');
    space.map_or((line, &[]), |at| (&line[..at], &line[at + 1..]))
}

/// Returns whether a line is the reply to QUIT, after which the server closes the connection.
pub fn is_goodbye(line: &[u8]) -> bool {
    line == "OK ADIÓS".as_bytes() || line == b"OK BYE"
}

/// Returns whether an `OK` is the reply to a watch, which notices follow.
pub fn starts_watch(line: &[u8]) -> bool {
    [&b"OK OBSERVANDO tras="[..], b"OK WATCHING after="].iter().any(|ok| line.starts_with(ok))
}

/// Returns the exit code for an `ERR`.
pub fn exit_code_of_err(line: &[u8]) -> u8 {
    match line.strip_prefix(b"ERR ").and_then(|rest| rest.get(..3)) {
        Some(b"408" | b"409" | b"429" | b"503") => EXIT_TRY_LATER,
        // Codes of later versions count by their class, as in HTTP.
        Some([b'5', ..]) => EXIT_TRY_LATER,
        _ => EXIT_USAGE,
    }
}

/// A reason why no more lines arrive.
#[derive(Debug)]
pub enum Disconnect {
    /// Nothing arrived in time.
    Timeout,
    /// The server closed the connection.
    Closed,
    /// Reading or writing failed.
    Failed(io::Error),
    /// A line exceeded the limit.
    LineTooLong,
}

impl Disconnect {
    /// Returns the reason as text for the user.
    pub fn text(&self, language: Lang) -> String {
        let text: Text = match self {
            Disconnect::Timeout => texts::TIMED_OUT,
            Disconnect::Closed => texts::CLOSED,
            Disconnect::LineTooLong => texts::LINE_TOO_LONG,
            Disconnect::Failed(error) => return texts::reason(language, error),
        };
        text.get(language).to_owned()
    }
}

/// Reads lines from the server and classifies them.
///
/// [`next`](Self::next) never blocks, and [`fill`](Self::fill) never returns a line, so the caller
/// can flush its output exactly when it is about to block.
pub struct ReplyReader<R> {
    source: R,
    parser: ReplyParser,
    buffer: Vec<u8>,
    /// Start of the first line that was not returned yet.
    start: usize,
    /// End of the bytes after `start` that are known to contain no LF, so that a line that arrives
    /// in small pieces is not scanned repeatedly.
    searched: usize,
}

impl<R: Read> ReplyReader<R> {
    pub fn new(source: R) -> Self {
        let (parser, buffer) = (ReplyParser::default(), Vec::new());
        ReplyReader { source, parser, buffer, start: 0, searched: 0 }
    }

    /// Returns the next complete line without its LF or CRLF. A line cut off by the end of the
    /// connection is never returned: `#4` might have been `#42`.
    pub fn next(&mut self) -> Option<(LineKind, &[u8])> {
        let Some(length) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let (start, end) = (self.start, self.searched + length);
        self.start = end + 1;
        self.searched = self.start;
        let line = &self.buffer[start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some((self.parser.feed(line), line))
    }

    /// Reads more bytes, and blocks until there are some.
    pub fn fill(&mut self) -> Result<(), Disconnect> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let held = self.buffer.len();
        if held > MAX_LINE_BYTES {
            return Err(Disconnect::LineTooLong);
        }
        self.buffer.resize(held + READ_BYTES, 0);
        let read = read_uninterrupted(&mut self.source, &mut self.buffer[held..]);
        self.buffer.truncate(held + read.as_ref().map_or(0, |bytes| *bytes));
        match read {
            Ok(0) => Err(Disconnect::Closed),
            Ok(_) => Ok(()),
            // A socket can be reported as readable without having data.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Disconnect::Failed(error)),
        }
    }
}

/// Reads once, and repeats a read that a signal interrupted.
pub fn read_uninterrupted(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Returns a line as text that is safe on a terminal. Control characters, invisible characters and
/// those that reorder text are escaped. TAB is kept, because it separates the fields of a booking, and
/// so are the parts of emoji, because notes may contain them.
pub fn escape_for_terminal(line: &[u8]) -> String {
    let mut escaped = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        for c in chunk.valid().chars() {
            let is_hidden = is_hidden(c) && !is_emoji_part(c);
            if c != '\t' && (c.is_control() || is_hidden) {
                escaped.extend(c.escape_unicode());
            } else {
                escaped.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_classified() {
        let cases: [(&str, LineKind); 22] = [
            ("OK", LineKind::Ok),
            ("OK ana", LineKind::Ok),
            ("OK RESERVADO #42 Habitación 1", LineKind::Ok),
            ("OK ALTA 47", LineKind::Ok),
            ("OK 2026-12-27T12:00:00-03:00 Habitación 2", LineKind::Ok),
            ("OK 3", LineKind::Ok),
            ("OK 3 ", LineKind::Ok),
            ("OK 3 habitaciones", LineKind::Ok),
            ("OK 3 DOS PALABRAS", LineKind::Ok),
            ("OK +3 RESERVAS", LineKind::Ok),
            ("OK  3 RESERVAS", LineKind::Ok),
            ("OK 99999999999999999999 RESERVAS", LineKind::Ok),
            ("OK 0 RESERVAS", LineKind::ListHeader(0)),
            ("OK 3 DISPONIBLES", LineKind::ListHeader(3)),
            ("OK 3 ÁÉÑ", LineKind::ListHeader(3)),
            ("ERR 409 taken", LineKind::Err),
            ("* 7 RESERVADO #43 x", LineKind::Notice),
            ("*x", LineKind::Invalid),
            ("OKAY", LineKind::Invalid),
            ("ERROR", LineKind::Invalid),
            ("", LineKind::Invalid),
            ("SSH-2.0-OpenSSH", LineKind::Invalid),
        ];
        for (line, expected) in cases {
            assert_eq!(ReplyParser::default().feed(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(ReplyParser::default().feed(b"OK 3 \xff"), LineKind::Ok);
    }

    #[test]
    fn list_items_are_recognized_by_the_count_alone() {
        let mut parser = ReplyParser::default();
        let lines: [(&str, LineKind, bool); 9] = [
            ("* 1 ALTA x", LineKind::Notice, false),
            ("OK 4 DISPONIBLES", LineKind::ListHeader(4), false),
            ("ERR 1", LineKind::Item(3), false),
            ("OK 9 RESERVAS", LineKind::Item(2), false),
            ("* 2", LineKind::Item(1), false),
            ("", LineKind::Item(0), true),
            ("OK", LineKind::Ok, true),
            ("OK 0 RESERVAS", LineKind::ListHeader(0), true),
            ("ERR 404 x", LineKind::Err, true),
        ];
        for (line, expected, whole) in lines {
            let kind = parser.feed(line.as_bytes());
            assert_eq!((kind, kind.ends_reply()), (expected, whole), "{line:?}");
        }
    }

    /// Returns one byte per read.
    struct OneByteReader<'a>(&'a [u8]);

    impl Read for OneByteReader<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (first, rest) = self.0.split_at(self.0.len().min(1));
            buffer[..first.len()].copy_from_slice(first);
            self.0 = rest;
            Ok(first.len())
        }
    }

    fn all_lines(source: impl Read) -> (Vec<String>, Disconnect) {
        let mut replies = ReplyReader::new(source);
        let mut lines = Vec::new();
        loop {
            while let Some((_, line)) = replies.next() {
                lines.push(String::from_utf8_lossy(line).into_owned());
            }
            if let Err(disconnect) = replies.fill() {
                return (lines, disconnect);
            }
        }
    }

    #[test]
    fn lines_do_not_depend_on_how_bytes_arrive() {
        let bytes = b"OK 1\nOK 2 X\r\n\n\r\r\nERR cut";
        let expected = ["OK 1", "OK 2 X", "", "\r"];
        for (lines, disconnect) in [all_lines(&bytes[..]), all_lines(OneByteReader(bytes))] {
            assert_eq!(lines, expected);
            assert!(matches!(disconnect, Disconnect::Closed));
        }
    }

    #[test]
    fn endless_line_is_not_buffered() {
        let (lines, disconnect) = all_lines(io::repeat(b'x'));
        assert!(lines.is_empty() && matches!(disconnect, Disconnect::LineTooLong));
    }

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        let cases: [(&[u8], &str); 7] = [
            ("#1\tHabitación 1\t-".as_bytes(), "#1\tHabitación 1\t-"),
            (b"\x1b[2J\x07", "\\u{1b}[2J\\u{7}"),
            (
                "a\u{200b}\u{feff}\u{e0041}\u{2028}".as_bytes(),
                "a\\u{200b}\\u{feff}\\u{e0041}\\u{2028}",
            ),
            ("👩\u{200d}🚀 ❤\u{fe0f}".as_bytes(), "👩\u{200d}🚀 ❤\u{fe0f}"),
            ("\u{9b}31m\u{202e}x".as_bytes(), "\\u{9b}31m\\u{202e}x"),
            (b"\xff\xc3(", "\\xff\\xc3("),
            (b"a\\b", "a\\b"),
        ];
        for (line, expected) in cases {
            assert_eq!(escape_for_terminal(line), expected);
        }
    }

    /// The client once had a list of its own, in which these characters were missing.
    #[test]
    fn all_characters_that_the_server_rejects_are_escaped() {
        for c in ('\u{13430}'..='\u{1343f}')
            .chain('\u{1bca0}'..='\u{1bca3}')
            .chain('\u{1d173}'..='\u{1d17a}')
            .chain(['\u{16fe4}', '\u{1d159}'])
        {
            let escaped = c.escape_unicode().to_string();
            assert_eq!(escape_for_terminal(c.to_string().as_bytes()), escaped);
        }
    }
}

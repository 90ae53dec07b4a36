//! What the server says: from bytes to lines, and from lines to replies.

use std::fmt::Write;
use std::io::{self, Read};

/// One read asks for this much; it holds some thousand replies.
const READ_BYTES: usize = 64 * 1024;

/// Longer than any line of the protocol by far, so that memory stays bounded whatever is at the
/// other end.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What one line of the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `* …`: not an answer to anything.
    Notice,
    /// `OK …`, a whole reply.
    Ok,
    /// `ERR …`, a whole reply.
    Err,
    /// `OK <n> <WORD>`: so many lines follow.
    List(u64),
    /// A line of a list, and how many are still to come after it.
    Item(u64),
    /// Nothing that reservad would say.
    Foreign,
}

impl Part {
    /// Whether a reply is whole with this line.
    pub fn ends_reply(self) -> bool {
        matches!(self, Part::Ok | Part::Err | Part::List(0) | Part::Item(0))
    }
}

/// Finds where replies begin and end. Pure: it is fed lines, it touches nothing.
#[derive(Debug, Default)]
pub struct Parser {
    items_left: u64,
}

impl Parser {
    /// What this line (without its ending) is, given all lines before it. The lines of a list
    /// are told by their count alone: a room may be called `ERR 1`.
    pub fn feed(&mut self, line: &[u8]) -> Part {
        if self.items_left > 0 {
            self.items_left -= 1;
            return Part::Item(self.items_left);
        }
        let part = first_line(line);
        if let Part::List(items) = part {
            self.items_left = items;
        }
        part
    }
}

/// What a line is that does not belong to a list.
fn first_line(line: &[u8]) -> Part {
    let (word, rest) = cut_at_space(line);
    match word {
        b"*" => Part::Notice,
        b"ERR" => Part::Err,
        b"OK" => list_length(rest).map_or(Part::Ok, Part::List),
        _ => Part::Foreign,
    }
}

/// The `n` of `<n> <WORD IN CAPITALS>`, which is how a list and nothing else goes on after `OK`.
fn list_length(rest: &[u8]) -> Option<u64> {
    let (count, word) = cut_at_space(rest);
    let (count, word) = (str::from_utf8(count).ok()?, str::from_utf8(word).ok()?);
    let in_capitals = !word.is_empty() && word.chars().all(char::is_uppercase);
    let digits = count.bytes().all(|b| b.is_ascii_digit());
    count.parse().ok().filter(|_| in_capitals && digits)
}

/// The line up to its first space, and what follows that space.
fn cut_at_space(line: &[u8]) -> (&[u8], &[u8]) {
    let space = line.iter().position(|b| *b == b' ');
    space.map_or((line, &[]), |at| (&line[..at], &line[at + 1..]))
}

/// Whether this reply is the server's goodbye, after which it closes and answers nothing more.
pub fn is_goodbye(line: &[u8]) -> bool {
    line == "OK ADIÓS".as_bytes() || line == b"OK BYE"
}

/// Why no more lines come.
#[derive(Debug)]
pub enum Gone {
    /// Nothing arrived in time.
    Silent,
    Closed,
    Failed(io::Error),
    Endless,
}

/// The lines that come from a server, each with what it is.
///
/// [`next`](Self::next) never waits and [`wait`](Self::wait) never answers, so that the caller
/// can do what must be done before a wait (flush its output) exactly then.
pub struct Incoming<R> {
    source: R,
    parser: Parser,
    buffer: Vec<u8>,
    /// Where the first line not yet given out begins.
    start: usize,
    /// Up to here there is no LF after `start`: a line that drips in is not searched anew.
    searched: usize,
}

impl<R: Read> Incoming<R> {
    pub fn new(source: R) -> Self {
        Incoming { source, parser: Parser::default(), buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// The next line that has come whole, without its LF and without the CR before it, if any.
    /// A line that was cut by the end of the connection is never given out: `#4` might have
    /// been `#42`.
    pub fn next(&mut self) -> Option<(Part, &[u8])> {
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

    /// Waits for more bytes; says why when none will come.
    pub fn wait(&mut self) -> Result<(), Gone> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let held = self.buffer.len();
        if held > MAX_LINE_BYTES {
            return Err(Gone::Endless);
        }
        self.buffer.resize(held + READ_BYTES, 0);
        let read = read_some(&mut self.source, &mut self.buffer[held..]);
        self.buffer.truncate(held + read.as_ref().map_or(0, |bytes| *bytes));
        match read {
            Ok(0) => Err(Gone::Closed),
            Ok(_) => Ok(()),
            // Nothing has arrived after all.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Gone::Failed(error)),
        }
    }
}

/// A read that a signal cannot disturb.
pub fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A line for a person's terminal: what could drive the terminal, turn the order of what is read
/// or not be seen at all is written out. TAB is kept, it separates the fields of a booking.
pub fn shown(line: &[u8]) -> String {
    let mut shown = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c != '\t' && (c.is_control() || is_hidden(c)) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Bidirectional controls, separators of lines, and what has no width or no ink. Not the joiner
/// and the selectors that emoji are made with, which a note may have.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_told_apart() {
        let rows: [(&str, Part); 22] = [
            ("OK", Part::Ok),
            ("OK ana", Part::Ok),
            ("OK RESERVADO #42 Habitación 1", Part::Ok),
            ("OK ALTA 47", Part::Ok),
            ("OK 2026-12-27T12:00:00-03:00 Habitación 2", Part::Ok),
            ("OK 3", Part::Ok),
            ("OK 3 ", Part::Ok),
            ("OK 3 habitaciones", Part::Ok),
            ("OK 3 DOS PALABRAS", Part::Ok),
            ("OK +3 RESERVAS", Part::Ok),
            ("OK  3 RESERVAS", Part::Ok),
            ("OK 99999999999999999999 RESERVAS", Part::Ok),
            ("OK 0 RESERVAS", Part::List(0)),
            ("OK 3 DISPONIBLES", Part::List(3)),
            ("OK 3 ÁÉÑ", Part::List(3)),
            ("ERR 409 taken", Part::Err),
            ("* 7 RESERVADO #43 x", Part::Notice),
            ("*x", Part::Foreign),
            ("OKAY", Part::Foreign),
            ("ERROR", Part::Foreign),
            ("", Part::Foreign),
            ("SSH-2.0-OpenSSH", Part::Foreign),
        ];
        for (line, expected) in rows {
            assert_eq!(Parser::default().feed(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(Parser::default().feed(b"OK 3 \xff"), Part::Ok);
    }

    #[test]
    fn a_list_is_told_by_its_count_alone() {
        let mut parser = Parser::default();
        let lines: [(&str, Part, bool); 9] = [
            ("* 1 ALTA x", Part::Notice, false),
            ("OK 4 DISPONIBLES", Part::List(4), false),
            ("ERR 1", Part::Item(3), false),
            ("OK 9 RESERVAS", Part::Item(2), false),
            ("* 2", Part::Item(1), false),
            ("", Part::Item(0), true),
            ("OK", Part::Ok, true),
            ("OK 0 RESERVAS", Part::List(0), true),
            ("ERR 404 x", Part::Err, true),
        ];
        for (line, expected, whole) in lines {
            let part = parser.feed(line.as_bytes());
            assert_eq!((part, part.ends_reply()), (expected, whole), "{line:?}");
        }
    }

    /// Gives one byte at a time.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (first, rest) = self.0.split_at(self.0.len().min(1));
            buffer[..first.len()].copy_from_slice(first);
            self.0 = rest;
            Ok(first.len())
        }
    }

    fn all_lines(source: impl Read) -> (Vec<String>, Gone) {
        let mut incoming = Incoming::new(source);
        let mut lines = Vec::new();
        loop {
            while let Some((_, line)) = incoming.next() {
                lines.push(String::from_utf8_lossy(line).into_owned());
            }
            if let Err(gone) = incoming.wait() {
                return (lines, gone);
            }
        }
    }

    #[test]
    fn lines_come_out_the_same_however_they_came_in() {
        let bytes = b"OK 1\nOK 2 X\r\n\n\r\r\nERR cut";
        let expected = ["OK 1", "OK 2 X", "", "\r"];
        for (lines, gone) in [all_lines(&bytes[..]), all_lines(Dripping(bytes))] {
            assert_eq!(lines, expected);
            assert!(matches!(gone, Gone::Closed));
        }
    }

    #[test]
    fn an_endless_line_is_not_gathered() {
        let (lines, gone) = all_lines(io::repeat(b'x'));
        assert!(lines.is_empty() && matches!(gone, Gone::Endless));
    }

    #[test]
    fn nothing_that_drives_a_terminal_is_shown() {
        let rows: [(&[u8], &str); 7] = [
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
        for (line, expected) in rows {
            assert_eq!(shown(line), expected);
        }
    }
}

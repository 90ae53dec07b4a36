//! The line that the user edits, with a history. Performs no input or output: it is fed with the
//! bytes that the keys send.
//!
//! `rustyline` does not replace it. Its printer for text above the line has a queue of one message.
//! If the user presses Enter while notices arrive, the printer blocks, or notices change places.

use unicode_width::UnicodeWidthChar;

use super::completion::Completions;

/// The result of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// Enter, with the line.
    Line(String),
    /// Ctrl-D on an empty line.
    End,
}

/// A line and a cursor in it.
#[derive(Debug, Default)]
pub struct LineEditor {
    text: String,
    /// The position of the cursor in bytes.
    cursor: usize,
    /// The first bytes of a character whose other bytes have not arrived yet.
    partial_char: Vec<u8>,
    escape: EscapeState,
    history: History,
    pub completions: Completions,
}

/// The progress in the escape sequence of a key.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum EscapeState {
    #[default]
    None,
    /// After ESC.
    Escape,
    /// After `ESC [` and perhaps a parameter, whose first number is kept.
    Csi { parameter: u8, is_first: bool },
    /// After `ESC O`, before the final byte.
    Ss3,
}

/// The key of an escape sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpecialKey {
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    Delete,
}

const CTRL_A: u8 = 0x01;
const CTRL_B: u8 = 0x02;
const CTRL_D: u8 = 0x04;
const CTRL_E: u8 = 0x05;
const CTRL_F: u8 = 0x06;
const CTRL_K: u8 = 0x0b;
const CTRL_N: u8 = 0x0e;
const CTRL_P: u8 = 0x10;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const ESC: u8 = 0x1b;

impl LineEditor {
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the position of the cursor in bytes.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Handles a typed byte.
    pub fn feed(&mut self, byte: u8) -> Option<Entry> {
        if self.escape != EscapeState::None {
            let (state, key) = self.escape.next(byte);
            self.escape = state;
            if let Some(key) = key {
                self.handle_special(key);
            }
            return None;
        }
        if byte >= 0x80 {
            self.add_partial(byte);
            return None;
        }
        self.partial_char.clear();
        match byte {
            b'\n' | b'\r' => return Some(Entry::Line(self.take_line())),
            CTRL_D if self.text.is_empty() => return Some(Entry::End),
            CTRL_D => self.handle_special(SpecialKey::Delete),
            CTRL_A => self.handle_special(SpecialKey::Home),
            CTRL_B => self.handle_special(SpecialKey::Left),
            CTRL_E => self.handle_special(SpecialKey::End),
            CTRL_F => self.handle_special(SpecialKey::Right),
            CTRL_N => self.handle_special(SpecialKey::Down),
            CTRL_P => self.handle_special(SpecialKey::Up),
            BACKSPACE | DELETE => self.delete_to(self.previous_position()),
            CTRL_K => self.text.truncate(self.cursor),
            CTRL_U => self.delete_to(0),
            CTRL_W => self.delete_to(self.word_start()),
            ESC => self.escape = EscapeState::Escape,
            b'\t' => self.complete(),
            0x20.. => self.insert(char::from(byte)),
            _ => {}
        }
        None
    }

    fn handle_special(&mut self, key: SpecialKey) {
        match key {
            SpecialKey::Left => self.cursor = self.previous_position(),
            SpecialKey::Right => self.cursor = self.next_position(),
            SpecialKey::Home => self.cursor = 0,
            SpecialKey::End => self.cursor = self.text.len(),
            SpecialKey::Delete => {
                let end = self.next_position();
                self.text.drain(self.cursor..end);
            }
            SpecialKey::Up => {
                if let Some(line) = self.history.older(&self.text) {
                    self.set_text(line);
                }
            }
            SpecialKey::Down => {
                if let Some(line) = self.history.newer() {
                    self.set_text(line);
                }
            }
        }
    }

    fn take_line(&mut self) -> String {
        self.cursor = 0;
        let line = std::mem::take(&mut self.text);
        self.history.add(&line);
        line
    }

    fn set_text(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
    }

    fn insert(&mut self, c: char) {
        self.text.insert(self.cursor, c);
        self.cursor += c.len_utf8();
    }

    /// Adds a byte of a character that consists of several.
    fn add_partial(&mut self, byte: u8) {
        self.partial_char.push(byte);
        match str::from_utf8(&self.partial_char) {
            Ok(text) => {
                let inserted: Vec<char> = text.chars().filter(|c| !c.is_control()).collect();
                inserted.into_iter().for_each(|c| self.insert(c));
            }
            Err(error) if error.error_len().is_none() => return,
            // Kept visible, and rejected by the server, instead of being dropped.
            Err(_) => self.insert(char::REPLACEMENT_CHARACTER),
        }
        self.partial_char.clear();
    }

    /// Completes the word before the cursor. Without a completion, Tab is a space.
    fn complete(&mut self) {
        match self.completions.complete(&self.text[..self.cursor]) {
            Some(completed) => {
                self.text.replace_range(..self.cursor, &completed);
                self.cursor = completed.len();
            }
            None => self.insert(' '),
        }
    }

    /// Deletes from this position to the cursor.
    fn delete_to(&mut self, start: usize) {
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }

    /// Returns the position before the character in front of the cursor, including its combining
    /// marks.
    fn previous_position(&self) -> usize {
        let before = self.text[..self.cursor].char_indices();
        before.rev().find(|(_, c)| !is_combining(*c)).map_or(0, |(at, _)| at)
    }

    /// Returns the position after the character at the cursor, including its combining marks.
    fn next_position(&self) -> usize {
        let mut after = self.text[self.cursor..].char_indices().skip(1);
        after.find(|(_, c)| !is_combining(*c)).map_or(self.text.len(), |(at, _)| self.cursor + at)
    }

    /// Returns the start of the word in front of the cursor.
    fn word_start(&self) -> usize {
        let before = self.text[..self.cursor].trim_end();
        before.rfind(' ').map_or(0, |at| at + 1)
    }
}

fn is_combining(c: char) -> bool {
    c.width() == Some(0)
}

impl EscapeState {
    /// Returns the state after a byte, and the key if the sequence is complete.
    fn next(self, byte: u8) -> (Self, Option<SpecialKey>) {
        match (self, byte) {
            (EscapeState::Escape, b'[') => {
                (EscapeState::Csi { parameter: 0, is_first: true }, None)
            }
            (EscapeState::Escape, b'O') => (EscapeState::Ss3, None),
            (EscapeState::Csi { parameter, is_first: true }, b'0'..=b'9') => {
                let parameter = parameter.saturating_mul(10).saturating_add(byte - b'0');
                (EscapeState::Csi { parameter, is_first: true }, None)
            }
            (EscapeState::Csi { parameter, .. }, 0x20..=0x3f) => {
                (EscapeState::Csi { parameter, is_first: false }, None)
            }
            (EscapeState::Csi { parameter, .. }, byte) => {
                (EscapeState::None, SpecialKey::of(byte, parameter))
            }
            (EscapeState::Ss3, byte) => (EscapeState::None, SpecialKey::of(byte, 0)),
            _ => (EscapeState::None, None),
        }
    }
}

impl SpecialKey {
    /// Returns the key of a sequence with this final byte. Other keys have no function.
    fn of(byte: u8, parameter: u8) -> Option<Self> {
        match (byte, parameter) {
            (b'A', _) => Some(SpecialKey::Up),
            (b'B', _) => Some(SpecialKey::Down),
            (b'C', _) => Some(SpecialKey::Right),
            (b'D', _) => Some(SpecialKey::Left),
            (b'H', _) | (b'~', 1 | 7) => Some(SpecialKey::Home),
            (b'F', _) | (b'~', 4 | 8) => Some(SpecialKey::End),
            (b'~', 3) => Some(SpecialKey::Delete),
            _ => None,
        }
    }
}

/// The lines that were entered in this session.
#[derive(Debug, Default)]
struct History {
    lines: Vec<String>,
    /// The line that is shown, counted back from the newest; 0 for the one being typed.
    age: usize,
    /// The line being typed while an older one is shown.
    unfinished: String,
}

/// Largest number of lines in the history.
const HISTORY_LINES: usize = 1_000;

impl History {
    /// Adds a line, unless it is blank or equal to the newest one.
    fn add(&mut self, line: &str) {
        self.age = 0;
        if line.trim().is_empty() || self.lines.last().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == HISTORY_LINES {
            self.lines.remove(0);
        }
        self.lines.push(line.to_owned());
    }

    fn older(&mut self, current: &str) -> Option<String> {
        let at = self.lines.len().checked_sub(self.age + 1)?;
        if self.age == 0 {
            self.unfinished = current.to_owned();
        }
        self.age += 1;
        Some(self.lines[at].clone())
    }

    fn newer(&mut self) -> Option<String> {
        self.age = self.age.checked_sub(1)?;
        match self.age {
            0 => Some(std::mem::take(&mut self.unfinished)),
            age => Some(self.lines[self.lines.len() - age].clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_into(editor: &mut LineEditor, keys: &[u8]) -> Vec<Entry> {
        keys.iter().filter_map(|key| editor.feed(*key)).collect()
    }

    #[test]
    fn keys_edit_the_line() {
        let cases: [(&[u8], &str); 29] = [
            (b"LIST", "LIST"),
            ("Habitación".as_bytes(), "Habitación"),
            ("Habitació\x7f\x08n".as_bytes(), "Habitacn"),
            ("a\u{301}\x7fb".as_bytes(), "b"),
            ("日本\x7f".as_bytes(), "日"),
            (b"\x7f\x7fa", "a"),
            (b"abc\x15d", "d"),
            (b"uno dos  \x17", "uno "),
            (b"uno\x17\x17", ""),
            (b"x\x1b[1;5Pb\x1bOPd\x1bfe", "xbde"),
            (b"a\tb", "a b"),
            (b"a\x0c\x12b", "ab"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"a\xc3b", "ab"),
            (b"\xc2\x9b", ""),
            (b"old\nnew", "new"),
            (b"bc\x1b[Da", "bac"),
            (b"bc\x1b[D\x1b[D\x1b[Da\x1b[Cd", "abdc"),
            (b"bc\x1b[Ha\x1b[Fd", "abcd"),
            (b"bc\x1b[1~a\x1b[4~d", "abcd"),
            (b"bc\x1bOHa\x1bOFd", "abcd"),
            (b"bc\x01a\x05d\x02\x02\x06e", "abced"),
            (b"abc\x01\x1b[3~", "bc"),
            (b"abc\x01\x04\x04", "c"),
            (b"abc\x02\x0b", "ab"),
            (b"abc\x02\x15", "c"),
            (b"uno dos\x02\x17", "uno s"),
            ("ma\u{301}s\x02\x02n".as_bytes(), "mna\u{301}s"),
            ("a\u{301}b\x01\x1b[3~".as_bytes(), "b"),
        ];
        for (keys, expected) in cases {
            let mut editor = LineEditor::default();
            type_into(&mut editor, keys);
            assert_eq!(editor.text(), expected, "{keys:?}");
        }
    }

    #[test]
    fn enter_and_ctrl_d_are_reported() {
        let entries = type_into(&mut LineEditor::default(), "á\n\r\u{4}".as_bytes());
        let line = |text: &str| Entry::Line(text.to_owned());
        assert_eq!(entries, [line("á"), line(""), Entry::End]);
    }

    #[test]
    fn history_returns_older_and_newer_lines() {
        const UP: &[u8] = b"\x1b[A";
        const DOWN: &[u8] = b"\x1b[B";
        let mut editor = LineEditor::default();
        type_into(&mut editor, b"one\n \ntwo\ntwo\nthr");
        for (keys, expected) in [
            (DOWN, "thr"),
            (UP, "two"),
            (UP, "one"),
            (UP, "one"),
            (DOWN, "two"),
            (DOWN, "thr"),
            (DOWN, "thr"),
        ] {
            type_into(&mut editor, keys);
            assert_eq!(editor.text(), expected);
        }
        // A changed older line is entered as a new one.
        let entries = type_into(&mut editor, b"\x10\x10!\n");
        assert_eq!(entries, [Entry::Line("one!".to_owned())]);
        type_into(&mut editor, UP);
        assert_eq!(editor.text(), "one!");
    }
}

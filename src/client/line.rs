//! The line that a person is typing, when it is us and not the terminal who edits it. Pure: it
//! is fed what the keys send and touches nothing.
//!
//! Why at all: a notice may come while somebody types. A terminal that edits by itself keeps the
//! unfinished line to itself, so nobody could show it again below the notice.

/// What a key completed.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// Enter: the line, with its LF.
    Line(String),
    /// Ctrl-D on an empty line.
    End,
}

/// A line that grows and shrinks at its end.
#[derive(Debug, Default)]
pub struct Editor {
    text: String,
    /// The beginning of a character whose last bytes have not come yet.
    part: Vec<u8>,
    escape: Escape,
}

/// How far we are in what a key like an arrow sends. All of them are passed over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC [, up to a byte that ends it.
    Parameters,
    /// One more byte.
    Last,
}

const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const ESC: u8 = 0x1b;

impl Editor {
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes one byte of what was typed.
    pub fn feed(&mut self, byte: u8) -> Option<Done> {
        if self.escape != Escape::None {
            self.escape = match (self.escape, byte) {
                (Escape::Begun, b'[') => Escape::Parameters,
                (Escape::Begun, b'O') => Escape::Last,
                (Escape::Parameters, 0x20..=0x3f) => Escape::Parameters,
                _ => Escape::None,
            };
            return None;
        }
        if byte >= 0x80 {
            self.gather(byte);
            return None;
        }
        self.part.clear();
        match byte {
            b'\n' | b'\r' => return Some(Done::Line(std::mem::take(&mut self.text) + "\n")),
            CTRL_D if self.text.is_empty() => return Some(Done::End),
            0x7f | 0x08 => self.erase(),
            CTRL_U => self.text.clear(),
            CTRL_W => self.erase_word(),
            ESC => self.escape = Escape::Begun,
            b'\t' => self.text.push(' '),
            0x20.. => self.text.push(char::from(byte)),
            _ => {}
        }
        None
    }

    /// A byte of a character of several.
    fn gather(&mut self, byte: u8) {
        self.part.push(byte);
        match str::from_utf8(&self.part) {
            Ok(text) => self.text.extend(text.chars().filter(|c| !c.is_control())),
            Err(error) if error.error_len().is_none() => return,
            // To be seen, and refused by the server, rather than to vanish.
            Err(_) => self.text.push(char::REPLACEMENT_CHARACTER),
        }
        self.part.clear();
    }

    /// Takes the last character away, with the marks that stand on it.
    fn erase(&mut self) {
        while self.text.pop().is_some_and(|c| width_of(c) == 0) {}
    }

    fn erase_word(&mut self) {
        let kept = self.text.trim_end();
        self.text.truncate(kept.rfind(' ').map_or(0, |at| at + 1));
    }
}

/// How many columns a text takes, which is only needed to know whether it fits in a row.
pub fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

fn width_of(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_a_line() {
        let rows: [(&[u8], &str); 16] = [
            (b"LIST", "LIST"),
            ("Habitación".as_bytes(), "Habitación"),
            ("Habitació\x7f\x08n".as_bytes(), "Habitacn"),
            ("a\u{301}\x7fb".as_bytes(), "b"),
            ("日本\x7f".as_bytes(), "日"),
            (b"\x7f\x7fa", "a"),
            (b"abc\x15d", "d"),
            (b"uno dos  \x17", "uno "),
            (b"uno\x17\x17", ""),
            (b"a\x1b[Ab\x1b[1;5Cc\x1bOPd\x1bfe", "abcde"),
            (b"a\tb", "a b"),
            (b"a\x01\x0c\x12b\x04", "ab"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"a\xc3b", "ab"),
            (b"\xc2\x9b", ""),
            (b"old\nnew", "new"),
        ];
        for (keys, expected) in rows {
            let mut editor = Editor::default();
            keys.iter().for_each(|key| drop(editor.feed(*key)));
            assert_eq!(editor.text(), expected, "{keys:?}");
        }
    }

    #[test]
    fn enter_and_ctrl_d_complete() {
        let mut editor = Editor::default();
        let mut done: Vec<Done> = Vec::new();
        done.extend("á\n\r\u{4}".bytes().filter_map(|key| editor.feed(key)));
        let line = |text: &str| Done::Line(text.to_owned());
        assert_eq!(done, [line("á\n"), line("\n"), Done::End]);
    }

    #[test]
    fn columns_are_counted() {
        for (text, columns) in [("", 0), ("abc", 3), ("ñandú", 5), ("a\u{301}", 1), ("日本", 4)]
        {
            assert_eq!(width(text), columns, "{text}");
        }
    }
}

//! The prompt and the line behind it, as they are on the screen.

use unicode_width::UnicodeWidthStr;

use super::raw_mode::columns;
use crate::Exit;
use crate::client::output::Output;

pub struct Prompt {
    output: Output,
    label: &'static str,
    /// Whether the client edits the line, and the terminal can clear it.
    is_editable: bool,
    /// Whether the cursor of the terminal is in the line of the prompt.
    is_shown: bool,
    /// The text behind the prompt, and the cursor in it, as they are on the screen.
    text: String,
    cursor: usize,
}

impl Prompt {
    pub fn new(output: Output, label: &'static str, is_editable: bool) -> Self {
        Prompt { output, label, is_editable, is_shown: false, text: String::new(), cursor: 0 }
    }

    /// Prints text of the client.
    pub fn print(&mut self, text: &str) -> Result<(), Exit> {
        self.output.print(text)
    }

    /// Shows the prompt and a text on an empty line of the screen.
    pub fn show(&mut self, text: &str, cursor: usize) -> Result<(), Exit> {
        self.is_shown = true;
        self.draw("", text, cursor)
    }

    /// Shows a changed text behind the prompt, unless the prompt is hidden.
    pub fn update(&mut self, text: &str, cursor: usize) -> Result<(), Exit> {
        if !self.is_shown || (text, cursor) == (&self.text, self.cursor) {
            return Ok(());
        }
        let appended = text.strip_prefix(self.text.as_str());
        match appended.filter(|_| self.cursor == self.text.len() && cursor == text.len()) {
            Some(appended) => {
                self.output.print(appended)?;
                self.text = text.to_owned();
                self.cursor = cursor;
                Ok(())
            }
            None => self.draw(&self.clear_sequence(), text, cursor),
        }
    }

    /// Shows a line that the user has entered, and ends it. Without a prompt, the whole line
    /// appears only now.
    pub fn accept(&mut self, line: &str) -> Result<(), Exit> {
        if !self.is_shown {
            return self.output.print(&format!("{line}\n"));
        }
        self.update(line, line.len())?;
        self.is_shown = false;
        self.output.print("\n")
    }

    /// Makes room for a line of the server: clears the prompt and its text, or starts a new line if
    /// they cannot be cleared. Returns whether the prompt was shown.
    pub fn make_room(&mut self) -> Result<bool, Exit> {
        if !self.is_editable || !self.is_shown {
            return self.leave();
        }
        self.output.print(&self.clear_sequence())?;
        Ok(self.mark_left())
    }

    /// Starts a new line if the prompt is shown. Returns whether it was.
    pub fn leave(&mut self) -> Result<bool, Exit> {
        if self.is_shown {
            self.output.print("\n")?;
        }
        Ok(self.mark_left())
    }

    /// Records that the cursor of the terminal has left the line. Returns whether the prompt was
    /// shown.
    pub fn mark_left(&mut self) -> bool {
        std::mem::take(&mut self.is_shown)
    }

    fn draw(&mut self, clear: &str, text: &str, cursor: usize) -> Result<(), Exit> {
        self.text = text.to_owned();
        self.cursor = cursor;
        let (prompt, position) = (self.label, self.position());
        let to_cursor = position.sequence_from_end(self.width(text.len()), columns());
        self.output.print(&format!("{clear}{prompt}{text}{to_cursor}"))
    }

    /// Returns the escape sequence that clears the prompt and the text, from its first row.
    fn clear_sequence(&self) -> String {
        self.position().clear_sequence(columns())
    }

    fn position(&self) -> Position {
        Position { width: self.width(self.cursor), is_at_end: self.cursor == self.text.len() }
    }

    /// Returns the columns of the prompt and the first bytes of the text.
    fn width(&self, length: usize) -> usize {
        self.label.width() + self.text[..length].width()
    }
}

/// A position of the cursor in the line.
#[derive(Clone, Copy)]
struct Position {
    /// Columns before the cursor, from the start of the prompt.
    width: usize,
    is_at_end: bool,
}

impl Position {
    /// Returns the row, from the first one of the line. At the end of a full row, a terminal leaves
    /// the cursor in that row until the next character.
    fn row(self, columns: usize) -> usize {
        if self.is_at_end { self.width.saturating_sub(1) / columns } else { self.width / columns }
    }

    fn clear_sequence(self, columns: usize) -> String {
        format!("{}\r\x1b[J", up(self.row(columns)))
    }

    /// Returns the escape sequence that moves the cursor here from the end of a line with this
    /// width.
    fn sequence_from_end(self, line_width: usize, columns: usize) -> String {
        if self.is_at_end {
            return String::new();
        }
        let end = Position { width: line_width, is_at_end: true };
        let rows = end.row(columns) - self.row(columns);
        let right = match self.width % columns {
            0 => String::new(),
            column => format!("\x1b[{column}C"),
        };
        format!("{}\r{right}", up(rows))
    }
}

fn up(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_starts_in_the_first_row() {
        let cases = [
            (0, true, "\r\x1b[J"),
            (10, true, "\r\x1b[J"),
            (11, true, "\x1b[1A\r\x1b[J"),
            (9, false, "\r\x1b[J"),
            (10, false, "\x1b[1A\r\x1b[J"),
            (25, false, "\x1b[2A\r\x1b[J"),
        ];
        for (width, is_at_end, expected) in cases {
            let position = Position { width, is_at_end };
            assert_eq!(position.clear_sequence(10), expected, "{width} {is_at_end}");
        }
    }

    #[test]
    fn cursor_moves_back_from_the_end() {
        let cases = [
            (5, 5, true, ""),
            (8, 5, false, "\r\x1b[5C"),
            (10, 9, false, "\r\x1b[9C"),
            (20, 10, false, "\r"),
            (25, 7, false, "\x1b[2A\r\x1b[7C"),
            (25, 0, false, "\x1b[2A\r"),
        ];
        for (line, width, is_at_end, expected) in cases {
            let position = Position { width, is_at_end };
            assert_eq!(position.sequence_from_end(line, 10), expected, "{line} {width}");
        }
    }
}

//! The input of batch mode: checks for UTF-8 and counts commands.

use super::CHUNK_BYTES;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Passes the input on line by line, as long as it is UTF-8. Drops a byte order mark at the
/// beginning, which some editors write.
#[derive(Default)]
pub struct InputChecker {
    /// The beginning of an incomplete line.
    held: Vec<u8>,
    /// Whether the byte order mark, if there is one, has been dropped.
    has_started: bool,
    /// Complete lines so far.
    lines: u64,
    /// Bytes of the current line that were passed on already.
    passed: usize,
}

/// The position of the first invalid byte. Lines and bytes count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUtf8 {
    pub line: u64,
    pub byte: usize,
    pub value: u8,
}

impl InputChecker {
    /// Adds a piece of the input. Appends complete lines, and lines too long to be held, to `sent`.
    pub fn feed(&mut self, chunk: &[u8], sent: &mut Vec<u8>) -> Result<(), InvalidUtf8> {
        self.held.extend_from_slice(chunk);
        if !self.has_started {
            if self.held.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&self.held) {
                return Ok(());
            }
            self.has_started = true;
            if self.held.starts_with(BYTE_ORDER_MARK) {
                self.held.drain(..BYTE_ORDER_MARK.len());
                self.passed = BYTE_ORDER_MARK.len();
            }
        }
        self.pass(end_of_lines(&self.held), sent)?;
        if self.held.len() > CHUNK_BYTES {
            // The last character may be incomplete.
            let valid = match str::from_utf8(&self.held) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                _ => self.held.len(),
            };
            self.pass(valid, sent)?;
        }
        Ok(())
    }

    /// Handles the end of the input. As in a shell, the last line counts even without an LF.
    pub fn finish(&mut self, sent: &mut Vec<u8>) -> Result<(), InvalidUtf8> {
        let has_open_line = !self.held.is_empty();
        self.pass(self.held.len(), sent)?;
        if has_open_line {
            sent.push(b'\n');
        }
        Ok(())
    }

    /// Passes on `length` of the held bytes, or the lines before the first invalid one.
    fn pass(&mut self, length: usize, sent: &mut Vec<u8>) -> Result<(), InvalidUtf8> {
        let bytes = &self.held[..length];
        let invalid_at = str::from_utf8(bytes).err().map(|error| error.valid_up_to());
        let passed = invalid_at.map_or(length, |at| end_of_lines(&bytes[..at]));
        let newlines = bytes[..passed].iter().filter(|byte| **byte == b'\n').count();
        self.lines += newlines as u64;
        let line_start = end_of_lines(&bytes[..passed]);
        let passed_before = if newlines == 0 { self.passed } else { 0 };
        let invalid = invalid_at.map(|at| InvalidUtf8 {
            line: self.lines + 1,
            byte: passed_before + at - line_start + 1,
            value: bytes[at],
        });
        self.passed = passed_before + passed - line_start;
        sent.extend_from_slice(&bytes[..passed]);
        self.held.drain(..passed);
        invalid.map_or(Ok(()), Err)
    }
}

/// Returns the length of the complete lines.
fn end_of_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Counts the lines that the server answers, which are all except blank ones.
#[derive(Default)]
pub struct LineCounter {
    pub commands: u64,
    has_text: bool,
    /// Whether the last byte was a CR, which is part of the line ending before an LF and a control
    /// character elsewhere.
    ends_in_cr: bool,
}

impl LineCounter {
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let commands = self.commands + u64::from(self.has_text);
                *self = LineCounter { commands, ..LineCounter::default() };
                continue;
            }
            self.has_text |= self.ends_in_cr || !matches!(byte, b' ' | b'\t' | b'\r');
            self.ends_in_cr = *byte == b'\r';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the part of an input that is sent, and its first error.
    fn checked(chunks: &[&[u8]]) -> (Vec<u8>, Option<InvalidUtf8>) {
        let (mut input, mut sent) = (InputChecker::default(), Vec::new());
        for chunk in chunks {
            if let Err(invalid) = input.feed(chunk, &mut sent) {
                return (sent, Some(invalid));
            }
        }
        let invalid = input.finish(&mut sent).err();
        (sent, invalid)
    }

    #[test]
    fn input_is_sent_up_to_the_first_line_that_is_not_utf8() {
        let bad = |line, byte, value| Some(InvalidUtf8 { line, byte, value });
        let cases: [(&[u8], &[u8], Option<InvalidUtf8>); 12] = [
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
        for (bytes, sent, invalid) in cases {
            assert_eq!(checked(&[bytes]), (sent.to_vec(), invalid), "{bytes:?}");
            let single_bytes: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(checked(&single_bytes), (sent.to_vec(), invalid), "{bytes:?}, by byte");
        }
    }

    /// A line of any length is passed on and rejected by the server, not held in memory.
    #[test]
    fn long_line_is_not_buffered() {
        let long = "á".repeat(CHUNK_BYTES);
        let (mut input, mut sent) = (InputChecker::default(), Vec::new());
        input.feed(&long.as_bytes()[..long.len() - 1], &mut sent).expect("text");
        assert_eq!(sent.len(), long.len() - 2);
        let invalid = input.feed(b"(\n", &mut sent).expect_err("half a character");
        assert_eq!(invalid, InvalidUtf8 { line: 1, byte: long.len() - 1, value: 0xc3 });
    }

    #[test]
    fn commands_are_counted() {
        let cases: [(&[u8], u64); 10] = [
            (b"", 0),
            (b"a\nb\n", 2),
            (b"a\nb", 1),
            (b"\n\r\n \t \n \r\n", 0),
            (b"a\r\n\r\nb\r\n", 2),
            (b"\r\r\n", 1),
            (b"\r \n", 1),
            (b" a \n", 1),
            (b"\0\n\xc3\n", 2),
            (b"\r", 0),
        ];
        for (bytes, commands) in cases {
            let (mut whole, mut by_byte) = (LineCounter::default(), LineCounter::default());
            whole.feed(bytes);
            bytes.iter().for_each(|byte| by_byte.feed(&[*byte]));
            for count in [whole, by_byte] {
                assert_eq!(count.commands, commands, "{bytes:?}");
            }
        }
    }
}

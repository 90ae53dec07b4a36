//! Where the lines of the server are shown.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};

use crate::reply::shown;
use crate::texts::{self, Language};
use crate::{EXIT_IO, Stop};

/// Gathers this much before it is written without being told to.
const BUFFER_BYTES: usize = 64 * 1024;

/// Standard output or standard error. Lines go out as they came, unless a terminal is there:
/// then only in their harmless form. What was written is seen after [`flush`](Self::flush).
pub struct Output {
    writer: BufWriter<Box<dyn Write>>,
    is_terminal: bool,
    language: Language,
}

impl Output {
    pub fn stdout(language: Language) -> Self {
        Output::new(Box::new(io::stdout()), io::stdout().is_terminal(), language)
    }

    pub fn stderr(language: Language) -> Self {
        Output::new(Box::new(io::stderr()), io::stderr().is_terminal(), language)
    }

    /// For the words around a conversation: on the terminal, beside replies that may go to a file.
    pub fn beside_replies(language: Language) -> Self {
        if io::stdout().is_terminal() { Output::stdout(language) } else { Output::stderr(language) }
    }

    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    fn new(target: Box<dyn Write>, is_terminal: bool, language: Language) -> Self {
        let writer = BufWriter::with_capacity(BUFFER_BYTES, target);
        Output { writer, is_terminal, language }
    }

    /// Writes a line of the server, which is given without its ending.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Stop> {
        let written = self.writer.write_all(&rendered(line, self.is_terminal));
        let written = written.and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|error| output_failed(&error, self.language))
    }

    /// Writes words of our own as they are, and shows them.
    pub fn say(&mut self, words: &str) -> Result<(), Stop> {
        let written = self.writer.write_all(words.as_bytes());
        written.map_err(|error| output_failed(&error, self.language))?;
        self.flush()
    }

    pub fn flush(&mut self) -> Result<(), Stop> {
        self.writer.flush().map_err(|error| output_failed(&error, self.language))
    }
}

/// Returns a line for output: unchanged, or with control characters escaped for a terminal.
pub fn rendered(line: &[u8], is_terminal: bool) -> Cow<'_, [u8]> {
    if is_terminal { Cow::Owned(shown(line).into_bytes()) } else { Cow::Borrowed(line) }
}

/// Nobody to read us any more is no failure, it is how `| head -1` ends.
pub fn output_failed(error: &io::Error, language: Language) -> Stop {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Stop::Silent;
    }
    let text = language.say(texts::OUTPUT_FAILED, &[&language.reason(error)]);
    Stop::Error { code: EXIT_IO, text }
}

//! Standard output and standard error.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};

use crate::client::reply::escape_for_terminal;
use crate::client::texts::{self, Lang};
use crate::{EXIT_IO, Exit};

const BUFFER_BYTES: usize = 64 * 1024;

/// A buffered output for lines of the server. On a terminal, characters that could control it are
/// escaped. Elsewhere, lines are written unchanged.
pub struct Output {
    writer: BufWriter<Box<dyn Write>>,
    is_terminal: bool,
    language: Lang,
}

impl Output {
    pub fn stdout(language: Lang) -> Self {
        Output::new(Box::new(io::stdout()), io::stdout().is_terminal(), language)
    }

    pub fn stderr(language: Lang) -> Self {
        Output::new(Box::new(io::stderr()), io::stderr().is_terminal(), language)
    }

    /// Returns the output for the prompt. If standard output is redirected, it contains only
    /// replies, and the prompt goes to standard error.
    pub fn for_prompt(language: Lang) -> Self {
        if io::stdout().is_terminal() { Output::stdout(language) } else { Output::stderr(language) }
    }

    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    fn new(target: Box<dyn Write>, is_terminal: bool, language: Lang) -> Self {
        let writer = BufWriter::with_capacity(BUFFER_BYTES, target);
        Output { writer, is_terminal, language }
    }

    /// Writes a line of the server, which is passed without its line ending.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Exit> {
        let written = self.writer.write_all(&printable(line, self.is_terminal));
        let written = written.and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|error| write_error(&error, self.language))
    }

    /// Writes text of the client unchanged, and flushes.
    pub fn print(&mut self, text: &str) -> Result<(), Exit> {
        let written = self.writer.write_all(text.as_bytes());
        written.map_err(|error| write_error(&error, self.language))?;
        self.flush()
    }

    pub fn flush(&mut self) -> Result<(), Exit> {
        self.writer.flush().map_err(|error| write_error(&error, self.language))
    }
}

/// Returns a line of the server as it is written to a terminal, or to anything else.
pub fn printable(line: &[u8], is_terminal: bool) -> Cow<'_, [u8]> {
    if is_terminal {
        Cow::Owned(escape_for_terminal(line).into_bytes())
    } else {
        Cow::Borrowed(line)
    }
}

/// Returns the exit for a failed write. An output closed by its reader is not an error, because
/// `| head -1` ends like this.
pub fn write_error(error: &io::Error, language: Lang) -> Exit {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::Quiet;
    }
    let message = texts::OUTPUT_FAILED.format(language, &[&texts::reason(language, error)]);
    Exit::Failure { code: EXIT_IO, message }
}

/// Prints a message of the client on standard error. Unlike `eprintln!`, it does not panic if
/// standard error is closed, so that the exit code is still returned.
pub fn print_message(message: &str) {
    let _ = writeln!(io::stderr(), "reserva: {message}");
}

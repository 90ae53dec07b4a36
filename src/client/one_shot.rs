//! One-shot mode: sends one line, prints its reply, and follows a watch.

use std::io::Write;
use std::time::Instant;

use crate::client::command_line;
use crate::client::connection::Connection;
use crate::client::output::{Output, print_message};
use crate::client::reply::{Disconnect, LineKind, ReplyReader, exit_code_of_err, starts_watch};
use crate::client::texts::{LOST_BEFORE_REPLY, LOST_WATCHING};
use crate::{Exit, Settings};

/// Sends `line` and prints the reply: OK on standard output, ERR on standard error. After an ERR it
/// also prints `hint`. Returns the exit code.
///
/// Notices before the reply go to standard error, so that a script that captures the output gets
/// only the reply. The notices of a watch are printed on standard output until the connection or
/// the process ends.
///
/// The connection stays open in both directions until the reply has arrived. After a half-close the
/// server could end the connection, and with it a reservation with `until=quit`, before the client
/// has read the reply.
pub fn run(
    connection: &Connection,
    line: &str,
    hint: Option<&str>,
    settings: Settings,
) -> Result<u8, Exit> {
    // If the write fails, reading still finds a reply that the server sent before it closed, such
    // as that of a full server.
    let _ = (&connection.stream).write_all(format!("{line}\n").as_bytes());
    OneShot {
        connection,
        settings,
        hint,
        output: Output::stdout(connection.language),
        notices: Output::stderr(connection.language),
        is_watching: false,
    }
    .read_reply(line)
}

struct OneShot<'a> {
    connection: &'a Connection,
    settings: Settings,
    hint: Option<&'a str>,
    output: Output,
    /// Receives the notices that arrive before the reply.
    notices: Output,
    /// Whether the reply was that of a watch.
    is_watching: bool,
}

impl OneShot<'_> {
    fn read_reply(&mut self, command: &str) -> Result<u8, Exit> {
        let timeout = self.settings.timeout;
        let first_timeout = timeout.saturating_add(command_line::wait_of(command));
        let mut deadline = Instant::now().checked_add(first_timeout);
        let mut replies = ReplyReader::new(&self.connection.stream);
        loop {
            while let Some((kind, line)) = replies.next() {
                if let Some(code) = self.handle_line(kind, line)? {
                    return Ok(code);
                }
                // A long list may take longer than the timeout, as long as lines keep arriving.
                if kind != LineKind::Notice {
                    deadline = Instant::now().checked_add(timeout).filter(|_| !self.is_watching);
                }
            }
            self.output.flush()?;
            let lost = |reason: &Disconnect| {
                let text = if self.is_watching { LOST_WATCHING } else { LOST_BEFORE_REPLY };
                self.connection.lost(text, reason)
            };
            if !self.connection.wait_readable(deadline) {
                return Err(lost(&Disconnect::Timeout));
            }
            replies.fill().map_err(|reason| lost(&reason))?;
        }
    }

    /// Prints a line. Returns the exit code if the line is the last one.
    fn handle_line(&mut self, kind: LineKind, line: &[u8]) -> Result<Option<u8>, Exit> {
        let starts_watch = kind == LineKind::Ok && starts_watch(line);
        match kind {
            LineKind::Err => {
                self.output.flush()?;
                self.print_error_line(line);
                if let Some(hint) = self.hint {
                    print_message(hint);
                }
                return Ok(Some(exit_code_of_err(line)));
            }
            LineKind::Invalid => return Err(self.connection.not_reservad(line)),
            LineKind::Notice if !self.is_watching => {
                if !self.settings.is_quiet {
                    self.print_error_line(line);
                }
            }
            _ if self.settings.is_quiet && !self.is_watching && !starts_watch => {}
            _ => self.output.line(line)?,
        }
        self.is_watching |= starts_watch;
        if !kind.ends_reply() || self.is_watching {
            return Ok(None);
        }
        self.output.flush()?;
        Ok(Some(0))
    }

    /// Prints a line on standard error. If it is closed, only the exit code reports the error.
    fn print_error_line(&mut self, line: &[u8]) {
        let _ = self.notices.line(line).and_then(|()| self.notices.flush());
    }
}

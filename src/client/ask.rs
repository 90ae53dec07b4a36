//! One line, one reply; and what follows the reply, if the line asks for notices.

use std::io::Write;
use std::time::Instant;

use crate::output::Output;
use crate::reply::{Gone, Incoming, Part};
use crate::server::Link;
use crate::texts::{LOST_ASKING, LOST_WATCHING};
use crate::{Settings, Stop, exit_of_refusal, words};

/// Sends the line and prints its reply: OK on standard output, ERR on standard error. Notices
/// before the reply go to standard error as well, so that a script that captures the output gets
/// only the reply. Notices of a watch are printed on standard output until the connection ends, or
/// Ctrl-C.
///
/// The connection is closed after the reply, not half-closed before it. After a half-close, the
/// server could end it, and with it a reservation `hasta=salir`, while the reply is still being
/// read.
pub fn ask(link: &Link, line: &str, settings: Settings) -> Result<u8, Stop> {
    // A failed write is not the end: a full server says so and closes without reading. What it
    // said, or that it said nothing, is found by reading.
    let _ = (&link.stream).write_all(format!("{line}\n").as_bytes());
    let patience = settings.timeout.saturating_add(words::wait_of(line));
    let mut limit = Instant::now().checked_add(patience);
    let mut incoming = Incoming::new(&link.stream);
    let mut output = Output::stdout(link.language);
    let mut notices = Output::stderr(link.language);
    let mut is_watching = false;
    loop {
        while let Some((part, line)) = incoming.next() {
            match part {
                Part::Err => return refuse(link, &mut output, line),
                Part::Foreign => return Err(link.foreign(line)),
                Part::Notice if !is_watching => {
                    if !settings.is_quiet {
                        // Standard error is closed, so the notices have no reader.
                        let _ = notices.line(line).and_then(|()| notices.flush());
                    }
                }
                _ if settings.is_quiet && !is_watching && !begins_watch(line) => {}
                _ => output.line(line)?,
            }
            is_watching |= part == Part::Ok && begins_watch(line);
            if part.ends_reply() && !is_watching {
                output.flush()?;
                return Ok(0);
            }
            // A long list may take its time, as long as parts of it keep coming.
            if part != Part::Notice {
                limit = Instant::now().checked_add(settings.timeout).filter(|_| !is_watching);
            }
        }
        output.flush()?;
        let lost = if is_watching { LOST_WATCHING } else { LOST_ASKING };
        if !link.wait_readable(limit) {
            return Err(link.lost(lost, &Gone::Silent));
        }
        incoming.wait().map_err(|gone| link.lost(lost, &gone))?;
    }
}

/// Whether notices follow this `OK`.
pub fn begins_watch(line: &[u8]) -> bool {
    [&b"OK OBSERVANDO tras="[..], b"OK WATCHING after="].iter().any(|ok| line.starts_with(ok))
}

fn refuse(link: &Link, output: &mut Output, line: &[u8]) -> Result<u8, Stop> {
    output.flush()?;
    let mut errors = Output::stderr(link.language);
    // Standard error closed: the exit code still says it.
    let _ = errors.line(line).and_then(|()| errors.flush());
    Ok(exit_of_refusal(line))
}

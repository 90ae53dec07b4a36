//! One line, one reply.

use std::io::Write;

use crate::output::Output;
use crate::reply::{Incoming, Part};
use crate::server::Link;
use crate::texts::LOST_ASKING;
use crate::{EXIT_REFUSED, Stop};

/// Sends the line and prints its reply, OK on standard output and ERR on standard error; notices
/// that come before it go to standard output.
///
/// The connection is closed after the reply and not half-closed before it: half-closed, the
/// server would be free to end it, and with it a reservation `hasta=salir`, while we still read.
pub fn ask(link: &Link, line: &str) -> Result<u8, Stop> {
    // A failed write is not the end: a full server says so and closes without reading. What it
    // said, or that it said nothing, is found by reading.
    let _ = (&link.stream).write_all(format!("{line}\n").as_bytes());
    let mut incoming = Incoming::new(&link.stream);
    let mut output = Output::stdout(link.language);
    loop {
        while let Some((part, line)) = incoming.next() {
            match part {
                Part::Err => return refuse(link, &mut output, line),
                Part::Foreign => return Err(link.foreign(line)),
                _ => output.line(line)?,
            }
            if part.ends_reply() {
                output.flush()?;
                return Ok(0);
            }
        }
        output.flush()?;
        incoming.wait().map_err(|gone| link.lost(LOST_ASKING, &gone))?;
    }
}

fn refuse(link: &Link, output: &mut Output, line: &[u8]) -> Result<u8, Stop> {
    output.flush()?;
    let mut errors = Output::stderr(link.language);
    // Standard error closed: the exit code still says it.
    let _ = errors.line(line).and_then(|()| errors.flush());
    Ok(EXIT_REFUSED)
}

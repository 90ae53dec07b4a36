//! One line, one reply; and what follows the reply, if the line asks for notices.

use std::io::Write;

use crate::output::Output;
use crate::reply::{Incoming, Part};
use crate::server::Link;
use crate::texts::{LOST_ASKING, LOST_WATCHING};
use crate::{EXIT_REFUSED, Stop};

/// Sends the line and prints its reply, OK on standard output and ERR on standard error; notices
/// that come before it go to standard output. After a watch has begun its notices are printed
/// until the connection ends, or Ctrl-C.
///
/// The connection is closed after the reply and not half-closed before it: half-closed, the
/// server would be free to end it, and with it a reservation `hasta=salir`, while we still read.
pub fn ask(link: &Link, line: &str) -> Result<u8, Stop> {
    // A failed write is not the end: a full server says so and closes without reading. What it
    // said, or that it said nothing, is found by reading.
    let _ = (&link.stream).write_all(format!("{line}\n").as_bytes());
    let mut incoming = Incoming::new(&link.stream);
    let mut output = Output::stdout(link.language);
    let mut is_watching = false;
    loop {
        while let Some((part, line)) = incoming.next() {
            match part {
                Part::Err => return refuse(link, &mut output, line),
                Part::Foreign => return Err(link.foreign(line)),
                _ => output.line(line)?,
            }
            is_watching |= part == Part::Ok && begins_watch(line);
            if part.ends_reply() && !is_watching {
                output.flush()?;
                return Ok(0);
            }
        }
        output.flush()?;
        let lost = if is_watching { LOST_WATCHING } else { LOST_ASKING };
        incoming.wait().map_err(|gone| link.lost(lost, &gone))?;
    }
}

/// Whether notices follow this `OK`.
fn begins_watch(line: &[u8]) -> bool {
    [&b"OK OBSERVANDO tras="[..], b"OK WATCHING after="].iter().any(|ok| line.starts_with(ok))
}

fn refuse(link: &Link, output: &mut Output, line: &[u8]) -> Result<u8, Stop> {
    output.flush()?;
    let mut errors = Output::stderr(link.language);
    // Standard error closed: the exit code still says it.
    let _ = errors.line(line).and_then(|()| errors.flush());
    Ok(EXIT_REFUSED)
}

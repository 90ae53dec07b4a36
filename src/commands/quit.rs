//! `SALIR`, `QUIT`, and the release of the reservations bound to a connection.

use super::parse::{Command, ErrorReply, Line};
use super::session::Session;
use super::{CommandContext, Flow};
use crate::conn::Eol;
use crate::inventory::{Ending, Event, SessionId};
use crate::limits::RELEASES_AT_ONCE;

pub const HELP_ES: &[&str] = &["SALIR: termina lo reservado con hasta=salir y cierra la conexión"];

pub const HELP_EN: &[&str] =
    &["QUIT: ends what was reserved with until=quit and closes the connection"];

pub fn parse(line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    line.without_arguments(Command::Quit)
}

/// Runs `SALIR`, or Ctrl-D at the start of a line, which means the same.
pub fn quit(eol: Eol, session: &Session, context: &mut CommandContext, out: &mut Vec<u8>) -> Flow {
    if !leave(session.id(), Ending::Quit, RELEASES_AT_ONCE, context) {
        return Flow::Leave;
    }
    farewell(session, eol, out);
    Flow::Close
}

/// Ends up to `most` `hasta=salir` reservations of a connection that is closing. Those that it
/// keeps alive (`por=`) end only after `SALIR`. Returns whether none is left.
pub fn leave(
    session: SessionId,
    ending: Ending,
    most: usize,
    context: &mut CommandContext,
) -> bool {
    for number in context.inventory.bound_to(session, ending, most) {
        context.apply_and_log(Event::Expired { number });
    }
    context.grant_waiters();
    context.inventory.bound_to(session, ending, 1).is_empty()
}

/// Appends the reply to `SALIR`, after everything bound to the connection is released.
pub fn farewell(session: &Session, eol: Eol, out: &mut Vec<u8>) {
    let text = session.lang.localized("OK ADIÓS", "OK BYE");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(eol.as_str().as_bytes());
}

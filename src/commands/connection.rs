//! Replies to lines that cannot be run, and to connections that are not accepted.

use super::parse::ErrorReply;
use super::session::Session;
use crate::conn::Eol;
use crate::limits::LINE_MAX_BYTES;
use crate::text::localize;

/// Appends the reply to a line that is too long.
pub fn too_long(session: &Session, eol: Eol, out: &mut Vec<u8>) {
    let text = localize!(
        session.lang,
        "la línea supera los {} bytes",
        "the line is longer than {} bytes",
        LINE_MAX_BYTES,
    );
    push_error(&ErrorReply { code: 413, text }, eol, out);
}

/// Appends the reply to a last line without its end. It is not run, because `CANCELAR #42` cut to
/// `CANCELAR #4` would cancel another reservation.
pub fn cut(session: &Session, eol: Eol, out: &mut Vec<u8>) {
    let text = localize!(
        session.lang,
        "la última línea no termina en LF, así que no se ha ejecutado",
        "the last line does not end in LF, so it was not run",
    );
    push_error(&ErrorReply::bad(text), eol, out);
}

/// Why a connection is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RejectReason {
    /// The server has reached the maximum of clients or of memory.
    Full,
    /// The address has reached its maximum of connections.
    Address,
    /// It was the oldest of too many connections without a command.
    Silent,
}

/// Appends the last line to a connection that is rejected, in both languages.
pub fn push_rejection(why: RejectReason, out: &mut Vec<u8>) {
    let text = match why {
        RejectReason::Full => {
            "ERR 503 el servidor está lleno, prueba más tarde / the server is full, try later\n"
        }
        RejectReason::Address => {
            "ERR 503 hay demasiadas conexiones desde tu dirección, cierra alguna / too many connections from your address, close some\n"
        }
        RejectReason::Silent => {
            "ERR 503 hay demasiadas conexiones que no han enviado ninguna orden, y la tuya es la más antigua; conéctate de nuevo y envía una / too many connections have sent no command, and yours is the oldest; connect again and send one\n"
        }
    };
    out.extend_from_slice(text.as_bytes());
}

fn push_error(error: &ErrorReply, eol: Eol, out: &mut Vec<u8>) {
    let line = format!("ERR {} {}{}", error.code, error.text, eol.as_str());
    out.extend_from_slice(line.as_bytes());
}

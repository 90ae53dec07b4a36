//! `SOY`, `IAM`: the holder of the reservations that follow.

use std::rc::Rc;

use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use super::session::Session;
use crate::inventory::names::normalize;
use crate::limits::HOLDER_MAX_BYTES;
use crate::text::{excerpt, localize};

pub const HELP_ES: &[&str] = &["SOY ana: lo que reserves desde ahora es de ana"];

pub const HELP_EN: &[&str] = &["IAM ana: what you reserve from now on belongs to ana"];

pub fn parse(line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let name = normalize(line.targets);
    if name.is_empty() {
        return Err(line.usage("nombre", "name"));
    }
    if name.contains(' ') {
        return Err(ErrorReply::bad(localize!(
            line.lang,
            "el nombre de un titular es una sola palabra, y este servidor no usa contraseñas; escribe, por ejemplo, SOY ana",
            "a holder's name is a single word, and this server uses no passwords; write, for example, IAM ana",
        )));
    }
    if name.len() > HOLDER_MAX_BYTES {
        return Err(line.too_long(&name, name.len(), HOLDER_MAX_BYTES));
    }
    if !name.starts_with(char::is_alphabetic) {
        return Err(ErrorReply::bad(localize!(
            line.lang,
            "el nombre de un titular debe empezar por una letra: «{}»",
            "a holder's name must begin with a letter: '{}'",
            excerpt(&name),
        )));
    }
    Ok(Command::IAm(line.name(&name)?.into_owned()))
}

pub fn run(name: String, session: &mut Session, reply: &mut Reply) {
    reply.text("OK ").line(&name);
    session.principal.holder = Some(Rc::from(name));
}

//! `VERIFICAR`, `VERIFY`: whether a reservation is in force.

use super::CommandContext;
use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use crate::inventory::{Number, Refusal};

pub const HELP_ES: &[&str] = &["VERIFICAR #42 [nombre]: ¿está vigente ahora?"];

pub const HELP_EN: &[&str] = &["VERIFY #42 [name]: is it in force now?"];

pub fn parse(line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let (head, name) = line.targets.split_once(' ').unwrap_or((line.targets, ""));
    let Some(digits) = head.strip_prefix('#') else {
        return Err(line.usage("#número [nombre]", "#number [name]"));
    };
    let number = line.number(digits)?;
    let name = (!name.is_empty()).then(|| line.name(name)).transpose()?;
    Ok(Command::Verify { number, name })
}

/// Replies `OK VIGENTE #42 Habitación 1 quedan=1234s`.
pub fn run(
    number: Number,
    name: Option<&str>,
    context: &CommandContext,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let now = context.request_time.now;
    let (reservation, ids) = context.inventory.verify(number, name, now.wall)?;
    reply.localized("OK VIGENTE ", "OK VALID ");
    reply.target_names(number, &ids, context.inventory.names().texts());
    reply.localized(" quedan=", " left=");
    match context.inventory.left_ms(reservation, now) {
        Some(left_ms) => reply.seconds(left_ms),
        None => reply.text("-"),
    };
    reply.end_line();
    Ok(())
}

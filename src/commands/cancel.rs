//! `CANCELAR`, `CANCEL`.

use smallvec::SmallVec;

use super::CommandContext;
use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use super::session::Session;
use crate::inventory::names::NameTexts;
use crate::inventory::{Cancel, Number, Refusal, ResourceId, cancellations};

pub const HELP_ES: &[&str] =
    &["CANCELAR #42: toda la reserva", "CANCELAR Habitación 1[, …]: libera solo ese recurso"];

pub const HELP_EN: &[&str] =
    &["CANCEL #42: the whole reservation", "CANCEL Room 1[, …]: releases only that resource"];

pub fn parse(line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    if line.targets.is_empty() {
        return Err(line.usage("#número | nombre[, nombre …]", "#number | name[, name …]"));
    }
    let targets = line.each(|item| match item.strip_prefix('#') {
        Some(digits) => Ok(Cancel::Number(line.number(digits)?)),
        None => Ok(Cancel::Name(line.name(item)?)),
    });
    targets.map(Command::Cancel)
}

pub fn run(
    targets: SmallVec<[Cancel; 1]>,
    session: &Session,
    context: &mut CommandContext,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let released = context.inventory.cancel(&targets, &session.principal)?;
    cancellations(&released).for_each(|event| context.apply_and_log(event));
    push_released(&released, context.inventory.names().texts(), reply);
    Ok(())
}

/// Appends `OK CANCELADO #42 Habitación 1[, …]`. A number precedes the first of its names, and is
/// repeated when names of another number come in between.
fn push_released(released: &[(Number, ResourceId)], texts: &NameTexts, reply: &mut Reply) {
    reply.localized("OK CANCELADO", "OK CANCELLED");
    let mut last = None;
    for (number, id) in released {
        if last.is_some() {
            reply.text(",");
        }
        if last != Some(number) {
            reply.text(" ").confirmation_number(*number);
        }
        last = Some(number);
        reply.text(" ").text(texts.name(*id));
    }
    reply.end_line();
}

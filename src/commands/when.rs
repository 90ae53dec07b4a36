//! `CUANDO`, `WHEN`: the earliest time at which a request would be granted.

use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use super::{CommandContext, RequestTime};
use crate::inventory::{Refusal, Selector, When};
use crate::time::Round;

pub const HELP_ES: &[&str] =
    &["CUANDO nombre[, …] [por=|noches=] [desde=]: la primera hora en que se podría reservar"];

pub const HELP_EN: &[&str] =
    &["WHEN name[, …] [for=|nights=] [from=]: the earliest time when this could be reserved"];

pub fn parse(mut line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let selectors = line.selectors()?;
    Ok(Command::When { selectors, when: line.when()? })
}

pub fn run(
    selectors: &[Selector],
    when: &When,
    context: &CommandContext,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let RequestTime { now, zone } = context.request_time;
    let (start, ids) = context.inventory.when(selectors, when, now.wall, zone)?;
    reply.text("OK ").text(&zone.print(start, Round::Up)).text(" ");
    reply.names(&ids, context.inventory.names().texts()).end_line();
    Ok(())
}

//! `ALTA`, `ADD` and `BAJA`, `REMOVE`: the resources.

use super::CommandContext;
use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use crate::inventory::{Event, Refusal};
use crate::limits::ADD_MAX;
use crate::text::{Verb, excerpt, localize};

pub const ADD_HELP_ES: &[&str] =
    &["ALTA nombre[, …]: recursos nuevos; ALTA Habitación 4..50 da de alta 47"];

pub const ADD_HELP_EN: &[&str] = &["ADD name[, …]: new resources; ADD Room 4..50 adds 47"];

pub const REMOVE_HELP_ES: &[&str] = &["BAJA nombre[, …]: quita recursos que no tienen reservas"];

pub const REMOVE_HELP_EN: &[&str] =
    &["REMOVE name[, …]: removes resources that have no reservations"];

pub fn parse_add(line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let items = line.items()?;
    let mut count = 0usize;
    // All items are checked before thousands of names are built.
    for item in &items {
        count = count.saturating_add(count_names(item, &line)?);
        if count > ADD_MAX {
            return Err(ErrorReply::bad(localize!(
                line.lang,
                "una línea da de alta {} recursos como máximo",
                "a line adds at most {} resources",
                ADD_MAX,
            )));
        }
    }
    let mut names = Vec::with_capacity(count);
    for item in items {
        match Range::parse(item) {
            None => names.push(line.name(item)?.into_owned()),
            Some(range) => {
                for n in range.first..=range.last {
                    names.push(line.name(&range.name(n))?.into_owned());
                }
            }
        }
    }
    Ok(Command::Add(names))
}

/// Returns the number of names that an item of `ALTA` stands for. All names of a range are valid if
/// the first and the last one are.
fn count_names(item: &str, line: &Line) -> Result<usize, ErrorReply> {
    let Some(range) = Range::parse(item) else {
        line.name(item)?;
        return Ok(1);
    };
    if range.first > range.last {
        return Err(ErrorReply::bad(localize!(
            line.lang,
            "en «{}» el primer número es mayor que el último",
            "in '{}' the first number is greater than the last",
            excerpt(item),
        )));
    }
    let more = usize::try_from(range.last - range.first);
    let count = more.map_or(usize::MAX, |more| more.saturating_add(1));
    if count <= ADD_MAX {
        line.name(&range.name(range.first))?;
        line.name(&range.name(range.last))?;
    }
    Ok(count)
}

/// `Habitación 4..50`: a name and two numbers. Leading zeros of the first number set the width.
struct Range<'a> {
    name: &'a str,
    first: u64,
    last: u64,
    width: usize,
}

impl Range<'_> {
    /// Parses an item; `None` if it is a plain name.
    fn parse(item: &str) -> Option<Range<'_>> {
        let (head, last) = item.rsplit_once("..")?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let digits = head.len() - head.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (name, first) = head.split_at(digits);
        if !is_number(first) || !is_number(last) {
            return None;
        }
        let width = if first.starts_with('0') { first.len() } else { 0 };
        // Digits that overflow are part of a name.
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        Some(Range { name, first, last, width })
    }

    fn name(&self, n: u64) -> String {
        format!("{}{n:0width$}", self.name, width = self.width)
    }
}

pub fn parse_remove(line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    Ok(Command::Remove(line.names()?))
}

pub fn add(
    names: Vec<String>,
    context: &mut CommandContext,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let events = context.inventory.add(names)?;
    apply(events, Verb::Add, context, reply);
    Ok(())
}

pub fn remove(
    names: &[String],
    context: &mut CommandContext,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let events = context.inventory.remove(names)?;
    apply(events, Verb::Remove, context, reply);
    Ok(())
}

fn apply(events: Vec<Event>, verb: Verb, context: &mut CommandContext, reply: &mut Reply) {
    let word = verb.word(reply.lang);
    reply.text("OK ").text(word).text(" ").number(events.len() as u64).end_line();
    events.into_iter().for_each(|event| context.apply_and_log(event));
}

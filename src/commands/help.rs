//! `AYUDA`, `HELP`.

use super::parse::{Command, ErrorReply, Line, unknown_verb};
use super::reply::Reply;
use super::words::find_verb;
use super::{
    add_remove, bookings, cancel, iam, list, quit, renew, reserve, status, verify, watch, when,
};
use crate::text::{Lang, VERBS, Verb};

pub const HELP_ES: &[&str] = &["AYUDA [verbo]: las órdenes disponibles"];

pub const HELP_EN: &[&str] = &["HELP [verb]: the available commands"];

pub fn parse(line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    if line.targets.is_empty() {
        return Ok(Command::Help(None));
    }
    match find_verb(line.targets) {
        Some((verb, _)) => Ok(Command::Help(Some(verb))),
        None => Err(unknown_verb(line.targets, line.lang)),
    }
}

/// Lists the help of one verb, or the first line of each.
pub fn run(verb: Option<Verb>, reply: &mut Reply) {
    let lang = reply.lang;
    let lines = match verb {
        Some(verb) => of(verb, lang).to_vec(),
        None => VERBS.iter().map(|(verb, ..)| of(*verb, lang)[0]).collect(),
    };
    reply.list(Verb::Help.word(lang), &lines);
}

/// Returns the lines of a verb: its syntax first, then examples.
fn of(verb: Verb, lang: Lang) -> &'static [&'static str] {
    let (es, en) = match verb {
        Verb::Reserve => (reserve::HELP_ES, reserve::HELP_EN),
        Verb::Cancel => (cancel::HELP_ES, cancel::HELP_EN),
        Verb::List => (list::HELP_ES, list::HELP_EN),
        Verb::Bookings => (bookings::HELP_ES, bookings::HELP_EN),
        Verb::Renew => (renew::HELP_ES, renew::HELP_EN),
        Verb::When => (when::HELP_ES, when::HELP_EN),
        Verb::Verify => (verify::HELP_ES, verify::HELP_EN),
        Verb::Watch => (watch::HELP_ES, watch::HELP_EN),
        Verb::IAm => (iam::HELP_ES, iam::HELP_EN),
        Verb::Add => (add_remove::ADD_HELP_ES, add_remove::ADD_HELP_EN),
        Verb::Remove => (add_remove::REMOVE_HELP_ES, add_remove::REMOVE_HELP_EN),
        Verb::Status => (status::HELP_ES, status::HELP_EN),
        Verb::Help => (HELP_ES, HELP_EN),
        Verb::Quit => (quit::HELP_ES, quit::HELP_EN),
    };
    lang.localized(es, en)
}

//! The grammar: a line becomes a [`Command`], or an [`ErrorReply`] with the mistake and its place.
//!
//! ```text
//! VERB [target[, target …]] [option=value …]
//! ```
//!
//! This module splits a line into targets and options and reads their values. What each verb takes
//! is parsed in the file of the verb.

mod line;
mod scan;
mod values;

use std::borrow::Cow;

use smallvec::SmallVec;

use super::words::find_verb;
use super::{
    add_remove, bookings, cancel, help, iam, list, quit, renew, reserve, status, verify, watch,
    when,
};
use crate::inventory::{Cancel, End, Interval, Number, Request, Selector, When};
use crate::text::{Lang, Verb, excerpt, localize};
use crate::time::{ClockReading, Zone};

pub(super) use line::Line;
pub use scan::{ByteClasses, ScannedStr, split_word};
pub use values::name_error;

/// A reply that begins with `ERR`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorReply {
    /// The code, with the meaning that HTTP gives it.
    pub code: u16,
    /// One line for people.
    pub text: String,
}

impl ErrorReply {
    /// Creates the reply to a line that does not follow the grammar.
    pub fn bad(text: String) -> ErrorReply {
        ErrorReply { code: 400, text }
    }
}

/// A line that follows the grammar. It borrows from the line where possible. Names are valid, but
/// were not looked up.
#[derive(Debug)]
pub enum Command<'a> {
    Reserve(Request<'a>),
    Cancel(SmallVec<[Cancel<'a>; 1]>),
    /// Lists the free resources, at present or in an interval.
    List {
        selector: Option<Selector<'a>>,
        interval: Option<Interval>,
    },
    Bookings {
        selector: Option<Selector<'a>>,
        holder: Option<String>,
        interval: Interval,
    },
    Renew {
        number: Number,
        end: End,
    },
    When {
        selectors: SmallVec<[Selector<'a>; 1]>,
        when: When,
    },
    Verify {
        number: Number,
        name: Option<Cow<'a, str>>,
    },
    Watch {
        selector: Option<Selector<'a>>,
        after: Option<u64>,
    },
    IAm(String),
    Add(Vec<String>),
    Remove(Vec<String>),
    Status,
    Help(Option<Verb>),
    Quit,
}

/// The time of a request and the zone of its dates.
#[derive(Clone, Copy, Debug)]
pub struct RequestTime<'a> {
    pub now: ClockReading,
    pub zone: &'a Zone,
}

/// A verb with the text that follows it.
pub(super) struct SplitLine<'a> {
    /// The first word.
    pub word: &'a [u8],
    /// The verb, if it is written exactly as in the table of verbs.
    pub exact: Option<(Verb, Lang)>,
    pub rest: &'a [u8],
    /// The classes of bytes that occur in `rest`.
    pub classes: ByteClasses,
}

impl<'a> SplitLine<'a> {
    #[inline(always)]
    pub fn of(line: &'a [u8]) -> SplitLine<'a> {
        let (word, rest) = split_word(line);
        SplitLine { word, exact: Verb::find_exact(word), rest, classes: ByteClasses::of(rest) }
    }
}

/// Parses a line, which is given whole and split. Sets `lang` to the language of its verb. `joined`
/// is a buffer for targets with more than single spaces between their words.
///
/// # Errors
/// Returns the first mistake in the line, in the language of its verb.
#[inline(always)]
pub(super) fn parse_line<'a>(
    line: &'a [u8],
    split: SplitLine<'a>,
    lang: &mut Lang,
    request_time: RequestTime<'a>,
    joined: &'a mut String,
) -> Result<Command<'a>, ErrorReply> {
    // Nearly all lines begin with a verb in capitals and are plain text.
    if let Some((verb, verb_lang)) = split.exact
        && !split.classes.any(ByteClasses::CONTROL)
        && let Ok(text) = str::from_utf8(split.rest)
    {
        *lang = verb_lang;
        let rest = ScannedStr { text, classes: split.classes };
        return parse(verb, rest, verb_lang, request_time, joined);
    }
    parse_unusual_line(line, lang, request_time, joined)
}

fn parse_unusual_line<'a>(
    line: &'a [u8],
    lang: &mut Lang,
    request_time: RequestTime<'a>,
    joined: &'a mut String,
) -> Result<Command<'a>, ErrorReply> {
    let (text, valid_up_to) = match str::from_utf8(line) {
        Ok(text) => (text, None),
        Err(error) => {
            let valid = &line[..error.valid_up_to()];
            (str::from_utf8(valid).unwrap_or_default(), Some(error.valid_up_to()))
        }
    };
    let (word, rest) = ScannedStr::of(text).split_word();
    let found = find_verb(word);
    if let Some((_, verb_lang)) = found {
        *lang = verb_lang;
    }
    if let Some((position, c)) = find_control(text) {
        return Err(ErrorReply::bad(localize!(
            *lang,
            "carácter de control U+{:04X} en la posición {} de la línea",
            "control character U+{:04X} at position {} of the line",
            c as u32,
            position,
        )));
    }
    if let Some(at) = valid_up_to {
        return Err(ErrorReply::bad(localize!(
            *lang,
            "la línea no es UTF-8 en el byte {}; escribe en UTF-8",
            "the line is not UTF-8 at byte {}; write in UTF-8",
            at + 1,
        )));
    }
    let Some((verb, _)) = found else { return Err(unknown_verb(word, *lang)) };
    parse(verb, rest, *lang, request_time, joined)
}

/// Returns the first control character of a line other than a tab, and its position from 1.
pub fn find_control(line: &str) -> Option<(usize, char)> {
    let mut chars = line.chars().enumerate();
    chars.find(|(_, c)| c.is_control() && *c != '\t').map(|(at, c)| (at + 1, c))
}

/// Returns the error of a word that is not a verb.
pub fn unknown_verb(word: &str, lang: Lang) -> ErrorReply {
    ErrorReply::bad(localize!(
        lang,
        "orden desconocida «{}»; AYUDA muestra las órdenes disponibles",
        "unknown command '{}'; HELP lists the commands",
        excerpt(word),
    ))
}

/// Parses the text after a verb. `joined` is a buffer for targets with more than single spaces
/// between their words.
///
/// # Errors
/// Returns the first mistake, in the language of the verb.
pub fn parse<'a>(
    verb: Verb,
    rest: ScannedStr<'a>,
    lang: Lang,
    request_time: RequestTime<'a>,
    joined: &'a mut String,
) -> Result<Command<'a>, ErrorReply> {
    let line = Line::split(verb, rest, lang, request_time, joined)?;
    match verb {
        Verb::Reserve => reserve::parse(line),
        Verb::Cancel => cancel::parse(line),
        Verb::List => list::parse(line),
        Verb::Bookings => bookings::parse(line),
        Verb::Renew => renew::parse(line),
        Verb::When => when::parse(line),
        Verb::Verify => verify::parse(line),
        Verb::Watch => watch::parse(line),
        Verb::IAm => iam::parse(line),
        Verb::Add => add_remove::parse_add(line),
        Verb::Remove => add_remove::parse_remove(line),
        Verb::Status => status::parse(line),
        Verb::Help => help::parse(line),
        Verb::Quit => quit::parse(line),
    }
}

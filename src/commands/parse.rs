//! The grammar: a line becomes a [`Command`], or a [`ErrorReply`] that says what
//! is wrong with it and where.
//!
//! ```text
//! VERB [target[, target …]] [option=value …]
//! ```

mod text;
mod values;
mod verbs;

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use super::words::{Lang, Opt, Verb, excerpt, find_option, localize};
use crate::inventory::names::check_name;
use crate::inventory::pattern::Pattern;
use crate::inventory::{Cancel, End, Interval, Number, Request, Selector, When};
use crate::limits::{NAME_MAX_BYTES, TARGETS_MAX};
use crate::text::{QuoteError, read_quoted};
use crate::time::{ClockReading, Time, Zone};

use text::skip_spaces;
pub use text::{ByteClasses, ScannedStr, split_word};
pub use values::name_fault;

/// A reply that begins with `ERR`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorReply {
    /// HTTP's number for it.
    pub code: u16,
    /// One line for people.
    pub text: String,
}

impl ErrorReply {
    /// A line that is not understood.
    pub fn bad(text: String) -> ErrorReply {
        ErrorReply { code: 400, text }
    }
}

/// A line that was understood, of which it borrows what it can. Names are
/// checked but not looked up.
#[derive(Debug)]
pub enum Command<'a> {
    Reserve(Request<'a>),
    Cancel(SmallVec<[Cancel<'a>; 1]>),
    /// What is free: at this instant, or in that interval.
    List {
        wanted: Option<Selector<'a>>,
        interval: Option<Interval>,
    },
    Bookings {
        wanted: Option<Selector<'a>>,
        holder: Option<String>,
        from: Time,
        until: Time,
    },
    Renew {
        number: Number,
        term: End,
    },
    When {
        wanted: SmallVec<[Selector<'a>; 1]>,
        when: When,
    },
    Verify {
        number: Number,
        name: Option<Cow<'a, str>>,
    },
    Watch {
        wanted: Option<Selector<'a>>,
        after: Option<u64>,
    },
    IAm(String),
    Add(Vec<String>),
    Remove(Vec<String>),
    Status,
    Help(Option<Verb>),
    Quit,
}

/// What a line is read against: the time of the turn and the server's zone.
#[derive(Clone, Copy, Debug)]
pub struct RequestTime<'a> {
    pub now: ClockReading,
    pub zone: &'a Zone,
}

/// Reads what follows a verb. `joined` is room for targets that are written
/// with more than single spaces.
///
/// # Errors
/// What is wrong with the line, in the language of its verb.
pub fn parse<'a>(
    verb: Verb,
    rest: ScannedStr<'a>,
    lang: Lang,
    request_time: RequestTime,
    joined: &'a mut String,
) -> Result<Command<'a>, ErrorReply> {
    let line = Line::split(verb, rest, lang, joined)?;
    match verb {
        Verb::Reserve => line.reserve(request_time),
        Verb::Cancel => line.cancel(),
        Verb::List => line.list(request_time),
        Verb::Bookings => line.bookings(request_time),
        Verb::Renew => line.renew(request_time),
        Verb::When => line.earliest(request_time),
        Verb::Verify => line.verify(),
        Verb::Watch => line.watch(),
        Verb::IAm => line.iam(),
        Verb::Add => line.add(),
        Verb::Remove => Ok(Command::Remove(line.names()?)),
        Verb::Status => line.alone(Command::Status),
        Verb::Help => line.help(),
        Verb::Quit => line.alone(Command::Quit),
    }
}

/// The control character that makes a line unreadable, and its place, from 1.
pub fn find_control(line: &str) -> Option<(usize, char)> {
    let mut chars = line.chars().enumerate();
    chars.find(|(_, c)| c.is_control() && *c != '\t').map(|(at, c)| (at + 1, c))
}

const SPACES: [char; 2] = [' ', '\t'];

/// A line taken apart: targets as written, options by kind.
struct Line<'a> {
    verb: Verb,
    lang: Lang,
    /// Words up to the first option, with single spaces.
    targets: &'a str,
    options: Vec<(Opt, Option<Cow<'a, str>>)>,
    rest: &'a str,
    marks: ByteClasses,
}

impl<'a> Line<'a> {
    fn split(
        verb: Verb,
        ScannedStr { text, marks }: ScannedStr<'a>,
        lang: Lang,
        joined: &'a mut String,
    ) -> Result<Line<'a>, ErrorReply> {
        let mut line = Line { verb, lang, targets: "", options: Vec::new(), rest: text, marks };
        if !marks.any(ByteClasses::BEYOND_TARGETS) {
            // No gap: at most one space in front and one behind.
            let text = text.strip_prefix(' ').unwrap_or(text);
            line.targets = text.strip_suffix(' ').unwrap_or(text);
            return Ok(line);
        }
        // Where in the text the targets begin and end.
        let mut targets: Option<(usize, usize)> = None;
        let mut has_gaps = false;
        loop {
            line.rest = skip_spaces(line.rest);
            if line.rest.is_empty() {
                break;
            }
            let (end, sign) = word(line.rest);
            if line.rest.starts_with('"') {
                return Err(line.quoted_name());
            }
            match sign {
                Some(at) => line.option(at)?,
                None if !line.options.is_empty() => return Err(line.bare_word(&line.rest[..end])),
                None => {
                    let start = text.len() - line.rest.len();
                    let first = targets.map_or(start, |(first, last)| {
                        has_gaps |= &text[last..start] != " ";
                        first
                    });
                    targets = Some((first, start + end));
                    line.rest = &line.rest[end..];
                }
            }
        }
        if let Some((first, last)) = targets {
            line.targets = &text[first..last];
        }
        if has_gaps {
            let words = line.targets.split(SPACES).filter(|word| !word.is_empty());
            *joined = words.collect::<Vec<_>>().join(" ");
            line.targets = joined;
        }
        Ok(line)
    }

    fn quoted_name(&self) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "las comillas solo van tras el = de una opción (nota=\"…\"); escribe los nombres sin ellas",
            "quotes go only after an option's = (note=\"…\"); write names without them",
        ))
    }

    fn bare_word(&self, word: &str) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "«{}» va después de una opción; escribe primero los nombres y luego las opciones, y entre comillas los valores con espacios (nota=\"…\")",
            "'{}' follows an option; write names first and options last, and quote values with spaces (note=\"…\")",
            excerpt(word),
        ))
    }

    /// Reads `option=value` at the start of the rest; the `=` is at `at`.
    fn option(&mut self, at: usize) -> Result<(), ErrorReply> {
        let (word, value) = (&self.rest[..at], &self.rest[at + 1..]);
        let option = find_option(word).filter(|option| self.verb.options().contains(option));
        let Some(option) = option else { return Err(self.unknown_option(word)) };
        if self.options.iter().any(|(other, _)| *other == option) {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "{}= aparece dos veces",
                "{}= is given twice",
                option.word(self.lang),
            )));
        }
        let (value, rest) = match value.strip_prefix('"') {
            Some(quoted) => self.quoted(option, quoted)?,
            None => self.unquoted(option, value)?,
        };
        self.options.push((option, Some(value)));
        self.rest = rest;
        Ok(())
    }

    fn unknown_option(&self, word: &str) -> ErrorReply {
        let known = self.verb.options().iter();
        let known: Vec<_> = known.map(|option| format!("{}=", option.word(self.lang))).collect();
        let verb = self.verb.word(self.lang);
        if known.is_empty() {
            return ErrorReply::bad(localize!(
                self.lang,
                "{} no lleva opciones, y «{}=» parece una",
                "{} takes no options, and '{}=' looks like one",
                verb,
                excerpt(word),
            ));
        }
        ErrorReply::bad(localize!(
            self.lang,
            "opción desconocida «{}=»; {} admite {}",
            "unknown option '{}='; {} takes {}",
            excerpt(word),
            verb,
            known.join(", "),
        ))
    }

    fn unquoted(&self, option: Opt, value: &'a str) -> Result<(Cow<'a, str>, &'a str), ErrorReply> {
        let end = value.find(SPACES).unwrap_or(value.len());
        let (value, rest) = value.split_at(end);
        if value.contains('"') {
            return Err(self.quotes(option));
        }
        Ok((Cow::Borrowed(value), rest))
    }

    /// A value in quotes, of which the first is already taken.
    fn quoted(&self, option: Opt, text: &'a str) -> Result<(Cow<'a, str>, &'a str), ErrorReply> {
        let read = read_quoted(text).map(|(value, rest)| (Cow::Owned(value), rest));
        read.map_err(|error| match error {
            QuoteError::NotLast => self.quotes(option),
            QuoteError::Escape => self.escape(option),
            QuoteError::Unclosed => ErrorReply::bad(localize!(
                self.lang,
                "faltan las comillas de cierre de {}=",
                "the closing quote of {}= is missing",
                option.word(self.lang),
            )),
        })
    }

    fn quotes(&self, option: Opt) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "en {}= las comillas van justo tras el = y al final del valor; dentro del valor escribe \\\"",
            "in {}= quotes go right after the = and at the end of the value; inside the value write \\\"",
            option.word(self.lang),
        ))
    }

    fn escape(&self, option: Opt) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "en {}=\"…\" tras \\ solo puede ir \" u otra \\",
            "in {}=\"…\" only \" or another \\ may follow a \\",
            option.word(self.lang),
        ))
    }

    #[inline]
    fn value(&mut self, option: Opt) -> Option<Cow<'a, str>> {
        let found = self.options.iter_mut().find(|(other, _)| *other == option);
        found.and_then(|(_, value)| value.take())
    }

    fn usage(&self, usage_es: &str, usage_en: &str) -> ErrorReply {
        let verb = self.verb.word(self.lang);
        let usage = self.lang.localized(usage_es, usage_en);
        ErrorReply::bad(localize!(self.lang, "uso: {} {}", "usage: {} {}", verb, usage))
    }

    fn alone(&self, command: Command<'a>) -> Result<Command<'a>, ErrorReply> {
        if self.targets.is_empty() {
            return Ok(command);
        }
        Err(ErrorReply::bad(localize!(
            self.lang,
            "{} no lleva argumentos; quita «{}»",
            "{} takes no arguments; remove '{}'",
            self.verb.word(self.lang),
            excerpt(self.targets),
        )))
    }

    /// The targets between commas, at most [`TARGETS_MAX`], none empty.
    fn items(&self) -> Result<SmallVec<[&'a str; 1]>, ErrorReply> {
        if self.targets.is_empty() {
            return Err(self.usage("nombre[, nombre …]", "name[, name …]"));
        }
        if !self.marks.any(ByteClasses::COMMA) {
            return Ok(smallvec![self.targets]);
        }
        let items = self.targets.split(',').map(|item| item.trim_matches(' '));
        let items: SmallVec<[_; 1]> = items.collect();
        if items.iter().any(|item| item.is_empty()) {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "falta un nombre junto a una coma en «{}»",
                "a name is missing next to a comma in '{}'",
                excerpt(self.targets),
            )));
        }
        if items.len() > TARGETS_MAX {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "{} nombres son demasiados; una línea admite {} como máximo",
                "{} names are too many; a line takes at most {}",
                items.len(),
                TARGETS_MAX,
            )));
        }
        Ok(items)
    }

    fn name<'n>(&self, text: &'n str) -> Result<Cow<'n, str>, ErrorReply> {
        if !self.marks.any(ByteClasses::UNPLAIN) && (1..=NAME_MAX_BYTES).contains(&text.len()) {
            return Ok(Cow::Borrowed(text));
        }
        check_name(text).map_err(|error| name_fault(text, error, self.lang))
    }

    fn names(&self) -> Result<Vec<String>, ErrorReply> {
        self.items()?.into_iter().map(|item| self.name(item).map(Cow::into_owned)).collect()
    }

    fn wanted(&self, text: &'a str) -> Result<Selector<'a>, ErrorReply> {
        if !self.marks.any(ByteClasses::STAR) || !text.contains('*') {
            return Ok(Selector::Name(self.name(text)?));
        }
        let pattern = Pattern::new(text).map_err(|error| name_fault(text, error, self.lang))?;
        Ok(Selector::Pattern(pattern, Cow::Borrowed(text)))
    }

    fn wanted_list(&self) -> Result<SmallVec<[Selector<'a>; 1]>, ErrorReply> {
        self.each(|item| self.wanted(item))
    }

    /// What each of the targets is.
    fn each<T>(
        &self,
        read: impl Fn(&'a str) -> Result<T, ErrorReply>,
    ) -> Result<SmallVec<[T; 1]>, ErrorReply> {
        let mut all = SmallVec::new();
        for item in self.items()? {
            all.push(read(item)?);
        }
        Ok(all)
    }

    /// The one pattern of a list, if there is one.
    fn one_wanted(&self) -> Result<Option<Selector<'a>>, ErrorReply> {
        if self.targets.is_empty() {
            return Ok(None);
        }
        match self.items()?[..] {
            [one] => self.wanted(one).map(Some),
            _ => Err(self.usage("[patrón] [opciones]", "[pattern] [options]")),
        }
    }
}

/// Where the word at the start of a text ends, and where its first `=` is.
fn word(text: &str) -> (usize, Option<usize>) {
    let mut sign = None;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' | b'\t' => return (at, sign),
            b'=' => sign = sign.or(Some(at)),
            _ => {}
        }
    }
    (text.len(), sign)
}

/// A word that is no verb.
pub fn unknown_verb(word: &str, lang: Lang) -> ErrorReply {
    ErrorReply::bad(localize!(
        lang,
        "orden desconocida «{}»; AYUDA muestra las órdenes disponibles",
        "unknown command '{}'; HELP lists the commands",
        excerpt(word),
    ))
}

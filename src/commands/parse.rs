//! The grammar: a line becomes a [`Command`], or a [`Fault`] that says what
//! is wrong with it and where.
//!
//! ```text
//! VERB [target[, target …]] [option=value …]
//! ```

mod values;
mod verbs;

use super::words::{Lang, Opt, Verb, echo, say};
use crate::clock::{Now, Time, Zone};
use crate::inventory::decide::{Cancel, Request, Wanted};
use crate::inventory::fit::{Term, When};
use crate::inventory::names::{Pattern, check_name};
use crate::limits::TARGETS_MAX;

pub use values::name_fault;

/// A reply that begins with `ERR`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// HTTP's number for it.
    pub code: u16,
    /// One line for people.
    pub text: String,
}

impl Fault {
    /// A line that is not understood.
    pub fn bad(text: String) -> Fault {
        Fault { code: 400, text }
    }
}

/// A line that was understood. Names are checked but not looked up.
#[derive(Debug)]
pub enum Command {
    Reserve(Request),
    Cancel(Vec<Cancel>),
    /// What is free: at this instant, or in that interval.
    List {
        wanted: Option<Wanted>,
        interval: Option<(Time, Time)>,
    },
    Bookings {
        wanted: Option<Wanted>,
        holder: Option<String>,
        from: Time,
        until: Time,
    },
    Renew {
        number: u64,
        term: Term,
    },
    When {
        wanted: Vec<Wanted>,
        when: When,
    },
    Verify {
        number: u64,
        name: Option<String>,
    },
    Watch {
        wanted: Option<Wanted>,
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
pub struct Moment<'a> {
    pub now: Now,
    pub zone: &'a Zone,
}

/// Reads what follows a verb.
pub fn parse(verb: Verb, rest: &str, lang: Lang, moment: Moment) -> Result<Command, Fault> {
    let line = Line::split(verb, rest, lang)?;
    match verb {
        Verb::Reserve => line.reserve(moment),
        Verb::Cancel => line.cancel(),
        Verb::List => line.list(moment),
        Verb::Bookings => line.bookings(moment),
        Verb::Renew => line.renew(moment),
        Verb::When => line.earliest(moment),
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

/// Splits the first word off, spaces and tabs around it dropped.
pub fn first_word(line: &str) -> (&str, &str) {
    let line = line.trim_start_matches(SPACES);
    line.split_once(SPACES).unwrap_or((line, ""))
}

const SPACES: [char; 2] = [' ', '\t'];

/// A line taken apart: targets as written, options by kind.
struct Line<'a> {
    verb: Verb,
    lang: Lang,
    /// Words up to the first option, with single spaces.
    targets: String,
    options: Vec<(Opt, Option<String>)>,
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn split(verb: Verb, rest: &'a str, lang: Lang) -> Result<Line<'a>, Fault> {
        let mut line = Line { verb, lang, targets: String::new(), options: Vec::new(), rest };
        loop {
            line.rest = line.rest.trim_start_matches(SPACES);
            if line.rest.is_empty() {
                return Ok(line);
            }
            let end = line.rest.find(SPACES).unwrap_or(line.rest.len());
            let word = &line.rest[..end];
            if word.starts_with('"') {
                return Err(line.quoted_name());
            }
            match word.find('=') {
                Some(at) => line.option(at)?,
                None if line.options.is_empty() => line.target_word(end),
                None => return Err(line.bare_word(word)),
            }
        }
    }

    fn target_word(&mut self, end: usize) {
        if !self.targets.is_empty() {
            self.targets.push(' ');
        }
        self.targets.push_str(&self.rest[..end]);
        self.rest = &self.rest[end..];
    }

    fn quoted_name(&self) -> Fault {
        Fault::bad(say!(
            self.lang,
            "las comillas van solo tras el = de una opción (nota=\"…\"); los nombres se escriben sin ellas",
            "quotes go only after an option's = (note=\"…\"); names are written without them",
        ))
    }

    fn bare_word(&self, word: &str) -> Fault {
        Fault::bad(say!(
            self.lang,
            "«{}» está después de una opción: primero los nombres, luego las opciones; un valor con espacios va entre comillas (nota=\"…\")",
            "'{}' comes after an option: names first, options last; a value with spaces goes in quotes (note=\"…\")",
            echo(word),
        ))
    }

    /// Reads `option=value` at the start of the rest; the `=` is at `at`.
    fn option(&mut self, at: usize) -> Result<(), Fault> {
        let (word, value) = (&self.rest[..at], &self.rest[at + 1..]);
        let option = Opt::find(word).filter(|option| self.verb.options().contains(option));
        let Some(option) = option else { return Err(self.unknown_option(word)) };
        if self.options.iter().any(|(other, _)| *other == option) {
            return Err(Fault::bad(say!(
                self.lang,
                "{}= está dos veces",
                "{}= is there twice",
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

    fn unknown_option(&self, word: &str) -> Fault {
        let known = self.verb.options().iter();
        let known: Vec<_> = known.map(|option| format!("{}=", option.word(self.lang))).collect();
        let verb = self.verb.word(self.lang);
        if known.is_empty() {
            return Fault::bad(say!(
                self.lang,
                "{} no lleva opciones, y «{}=» lo parece",
                "{} takes no options, and '{}=' looks like one",
                verb,
                echo(word),
            ));
        }
        Fault::bad(say!(
            self.lang,
            "{} no tiene la opción «{}=»; tiene {}",
            "{} has no option '{}='; it has {}",
            verb,
            echo(word),
            known.join(" "),
        ))
    }

    fn unquoted(&self, option: Opt, value: &'a str) -> Result<(String, &'a str), Fault> {
        let end = value.find(SPACES).unwrap_or(value.len());
        let (value, rest) = value.split_at(end);
        if value.contains('"') {
            return Err(self.quotes(option));
        }
        Ok((value.to_owned(), rest))
    }

    /// A value in quotes, of which the first is already taken.
    fn quoted(&self, option: Opt, text: &'a str) -> Result<(String, &'a str), Fault> {
        let mut value = String::new();
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    let rest = &text[at + 1..];
                    let is_apart = rest.is_empty() || rest.starts_with(SPACES);
                    return if is_apart { Ok((value, rest)) } else { Err(self.quotes(option)) };
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => return Err(self.escape(option)),
                },
                '\t' => value.push(' '),
                c => value.push(c),
            }
        }
        Err(Fault::bad(say!(
            self.lang,
            "las comillas de {}= no se cierran",
            "the quotes of {}= do not end",
            option.word(self.lang),
        )))
    }

    fn quotes(&self, option: Opt) -> Fault {
        Fault::bad(say!(
            self.lang,
            "en {}= las comillas van justo tras el = y al final del valor; dentro se escriben \\\"",
            "in {}= quotes go right after the = and at the end of the value; inside they are written \\\"",
            option.word(self.lang),
        ))
    }

    fn escape(&self, option: Opt) -> Fault {
        Fault::bad(say!(
            self.lang,
            "en {}=\"…\" tras \\ solo puede ir \" u otra \\",
            "in {}=\"…\" only \" or another \\ may follow a \\",
            option.word(self.lang),
        ))
    }

    fn value(&mut self, option: Opt) -> Option<String> {
        let found = self.options.iter_mut().find(|(other, _)| *other == option);
        found.and_then(|(_, value)| value.take())
    }

    fn usage(&self, usage_es: &str, usage_en: &str) -> Fault {
        let verb = self.verb.word(self.lang);
        let usage = self.lang.pick(usage_es, usage_en);
        Fault::bad(say!(self.lang, "se escribe {} {}", "it is written {} {}", verb, usage))
    }

    fn alone(&self, command: Command) -> Result<Command, Fault> {
        if self.targets.is_empty() {
            return Ok(command);
        }
        Err(Fault::bad(say!(
            self.lang,
            "{} va solo en su línea, sin «{}»",
            "{} stands alone on its line, without '{}'",
            self.verb.word(self.lang),
            echo(&self.targets),
        )))
    }

    /// The targets between commas, at most [`TARGETS_MAX`], none empty.
    fn items(&self) -> Result<Vec<&str>, Fault> {
        let items: Vec<_> = self.targets.split(',').map(|item| item.trim_matches(' ')).collect();
        if self.targets.is_empty() {
            return Err(self.usage("nombre[, nombre …]", "name[, name …]"));
        }
        if items.iter().any(|item| item.is_empty()) {
            return Err(Fault::bad(say!(
                self.lang,
                "falta un nombre junto a una coma en «{}»",
                "a name is missing beside a comma in '{}'",
                echo(&self.targets),
            )));
        }
        if items.len() > TARGETS_MAX {
            return Err(Fault::bad(say!(
                self.lang,
                "son {} nombres; en una línea caben {}",
                "there are {} names; a line takes {}",
                items.len(),
                TARGETS_MAX,
            )));
        }
        Ok(items)
    }

    fn name(&self, text: &str) -> Result<String, Fault> {
        check_name(text).map_err(|error| name_fault(text, error, self.lang))
    }

    fn names(&self) -> Result<Vec<String>, Fault> {
        self.items()?.into_iter().map(|item| self.name(item)).collect()
    }

    fn wanted(&self, text: &str) -> Result<Wanted, Fault> {
        if !text.contains('*') {
            return Ok(Wanted::Name(self.name(text)?));
        }
        let pattern = Pattern::new(text).map_err(|error| name_fault(text, error, self.lang))?;
        Ok(Wanted::Pattern(pattern, text.to_owned()))
    }

    fn wanted_list(&self) -> Result<Vec<Wanted>, Fault> {
        self.items()?.into_iter().map(|item| self.wanted(item)).collect()
    }

    /// The one pattern of a list, if there is one.
    fn one_wanted(&self) -> Result<Option<Wanted>, Fault> {
        if self.targets.is_empty() {
            return Ok(None);
        }
        match self.items()?[..] {
            [one] => self.wanted(one).map(Some),
            _ => Err(self.usage("[patrón] [opciones]", "[pattern] [options]")),
        }
    }
}

/// A word that is no verb.
pub fn unknown_verb(word: &str, lang: Lang) -> Fault {
    Fault::bad(say!(
        lang,
        "no conozco «{}»; AYUDA dice lo que se puede decir",
        "'{}' is not known; HELP tells what can be said",
        echo(word),
    ))
}

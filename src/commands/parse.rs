//! The grammar: a line becomes a [`Command`], or a [`Fault`] that says what
//! is wrong with it and where.
//!
//! ```text
//! VERB [target[, target …]] [option=value …]
//! ```

use super::words::{Lang, Opt, Verb, echo, say};
use crate::clock::{DurationError, Time, TimeError, Zone, parse_duration_ms};
use crate::inventory::decide::{Cancel, Request, Wanted};
use crate::inventory::fit::{Start, Term, When, WhenError};
use crate::inventory::names::{NameError, Pattern, check_name, is_hidden, normalize};
use crate::limits::{
    ADD_MAX, HOLDER_MAX_BYTES, KEY_MAX_BYTES, NAME_MAX_BYTES, NIGHTS_MAX, NOTE_MAX_BYTES,
    STARS_MAX, TARGETS_MAX, WAIT_MAX_MS,
};

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
    pub now: Time,
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

    fn reserve(mut self, moment: Moment) -> Result<Command, Fault> {
        let wanted = self.wanted_list()?;
        let when = self.when(moment)?;
        let (from, until) = self.interval(&when, moment)?;
        let note = self.text_value(Opt::Note, NOTE_MAX_BYTES)?.filter(|note| !note.is_empty());
        let key = self.text_value(Opt::Key, KEY_MAX_BYTES)?;
        if key.as_ref().is_some_and(String::is_empty) {
            return Err(self.empty(Opt::Key));
        }
        let wait_ms = self.wait()?;
        Ok(Command::Reserve(Request { wanted, when, from, until, note, key, wait_ms }))
    }

    fn wait(&mut self) -> Result<Option<i64>, Fault> {
        let Some(text) = self.value(Opt::Wait) else { return Ok(None) };
        match self.duration(Opt::Wait, &text)? {
            wait_ms if wait_ms <= WAIT_MAX_MS => Ok(Some(wait_ms)),
            _ => Err(Fault::bad(say!(
                self.lang,
                "{}={}: se espera como mucho 7d",
                "{}={}: 7d is the longest wait",
                Opt::Wait.word(self.lang),
                echo(&text),
            ))),
        }
    }

    fn list(mut self, moment: Moment) -> Result<Command, Fault> {
        let wanted = self.one_wanted()?;
        let when = self.when(moment)?;
        if when.term == Term::Quit {
            return Err(self.quit_here());
        }
        let instant = When { start: Start::Unsaid, term: Term::Open };
        let interval = match when == instant {
            true => None,
            false => Some(self.interval(&when, moment)?),
        };
        Ok(Command::List { wanted, interval })
    }

    fn bookings(mut self, moment: Moment) -> Result<Command, Fault> {
        let wanted = self.one_wanted()?;
        let holder = self.value(Opt::Holder).map(|text| normalize(&text));
        if holder.as_ref().is_some_and(String::is_empty) {
            return Err(self.empty(Opt::Holder));
        }
        let from = match self.start(moment)? {
            Start::Unsaid => Time::DAWN,
            Start::Now => moment.now,
            Start::At(from) => from,
        };
        let until = match self.term(moment)? {
            Term::Quit => return Err(self.quit_here()),
            Term::Until(until) => until,
            _ => Time::NEVER,
        };
        if from >= until {
            return Err(self.when_fault(WhenError::Backwards, moment));
        }
        Ok(Command::Bookings { wanted, holder, from, until })
    }

    fn quit_here(&self) -> Fault {
        Fault::bad(say!(
            self.lang,
            "hasta=salir es solo para RESERVAR; aquí hace falta una fecha",
            "until=quit is for RESERVE only; here it takes a date",
        ))
    }

    fn cancel(self) -> Result<Command, Fault> {
        if self.targets.is_empty() {
            return Err(self.usage("#número | nombre[, nombre …]", "#number | name[, name …]"));
        }
        let one = |item: &str| match item.strip_prefix('#') {
            Some(digits) => Ok(Cancel::Number(self.number(digits)?)),
            None => Ok(Cancel::Name(self.name(item)?)),
        };
        Ok(Command::Cancel(self.items()?.into_iter().map(one).collect::<Result<_, _>>()?))
    }

    fn number(&self, digits: &str) -> Result<u64, Fault> {
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::bad(say!(
                self.lang,
                "«#{}» no es un número de reserva; se escribe #42",
                "'#{}' is no confirmation number; it is written #42",
                echo(digits),
            )));
        }
        // More than fits was never issued either.
        digits.parse().map_err(|_| Fault {
            code: 404,
            text: say!(self.lang, "#{} no se ha dado nunca", "#{} was never issued", echo(digits),),
        })
    }

    fn renew(mut self, moment: Moment) -> Result<Command, Fault> {
        let usage = |line: &Self| line.usage("#número por=|hasta=", "#number for=|until=");
        let digits = self.targets.strip_prefix('#').ok_or_else(|| usage(&self))?;
        let number = self.number(digits)?;
        match self.term(moment)? {
            Term::Quit => Err(self.quit_here()),
            Term::Until(until) if until <= moment.now => {
                Err(self.when_fault(WhenError::Past, moment))
            }
            term @ (Term::For(_) | Term::Until(_)) => Ok(Command::Renew { number, term }),
            _ => Err(usage(&self)),
        }
    }

    fn earliest(mut self, moment: Moment) -> Result<Command, Fault> {
        let wanted = self.wanted_list()?;
        Ok(Command::When { wanted, when: self.when(moment)? })
    }

    fn verify(self) -> Result<Command, Fault> {
        let (head, name) = self.targets.split_once(' ').unwrap_or((&self.targets, ""));
        let Some(digits) = head.strip_prefix('#') else {
            return Err(self.usage("#número [nombre]", "#number [name]"));
        };
        let number = self.number(digits)?;
        let name = (!name.is_empty()).then(|| self.name(name)).transpose()?;
        Ok(Command::Verify { number, name })
    }

    fn watch(mut self) -> Result<Command, Fault> {
        let wanted = self.one_wanted()?;
        let after = match self.value(Opt::After) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Fault::bad(say!(
                    self.lang,
                    "{}={} no es un número de suceso",
                    "{}={} is no event number",
                    Opt::After.word(self.lang),
                    echo(&text),
                ))
            })?),
        };
        Ok(Command::Watch { wanted, after })
    }

    fn iam(self) -> Result<Command, Fault> {
        let name = normalize(&self.targets);
        if name.is_empty() {
            return Err(self.usage("nombre", "name"));
        }
        if name.contains(' ') {
            return Err(Fault::bad(say!(
                self.lang,
                "el nombre de un titular es una sola palabra, y este servidor no guarda contraseñas: SOY ana",
                "a holder's name is a single word, and this server keeps no tokens: IAM ana",
            )));
        }
        if name.len() > HOLDER_MAX_BYTES {
            return Err(self.too_long(&name, name.len(), HOLDER_MAX_BYTES));
        }
        if !name.starts_with(char::is_alphabetic) {
            return Err(Fault::bad(say!(
                self.lang,
                "el nombre de un titular empieza por una letra: «{}»",
                "a holder's name begins with a letter: '{}'",
                echo(&name),
            )));
        }
        Ok(Command::IAm(self.name(&name)?))
    }

    fn help(self) -> Result<Command, Fault> {
        if self.targets.is_empty() {
            return Ok(Command::Help(None));
        }
        match Verb::find(&self.targets) {
            Some((verb, _)) => Ok(Command::Help(Some(verb))),
            None => Err(unknown_verb(&self.targets, self.lang)),
        }
    }

    fn add(self) -> Result<Command, Fault> {
        let mut names = Vec::new();
        for item in self.items()? {
            let range = split_range(item);
            let (first, last) = range.as_ref().map_or((0, 0), |range| (range.first, range.last));
            if first > last {
                return Err(Fault::bad(say!(
                    self.lang,
                    "en «{}» el primero es mayor que el último",
                    "in '{}' the first is greater than the last",
                    echo(item),
                )));
            }
            let count =
                usize::try_from(last - first).map_or(usize::MAX, |more| more.saturating_add(1));
            if names.len().saturating_add(count) > ADD_MAX {
                return Err(Fault::bad(say!(
                    self.lang,
                    "en una línea caben como mucho {} altas",
                    "a line adds at most {} resources",
                    ADD_MAX,
                )));
            }
            match range {
                None => names.push(self.name(item)?),
                Some(range) => {
                    for n in first..=last {
                        names.push(self.name(&range.name(n))?);
                    }
                }
            }
        }
        Ok(Command::Add(names))
    }

    fn when(&mut self, moment: Moment) -> Result<When, Fault> {
        Ok(When { start: self.start(moment)?, term: self.term(moment)? })
    }

    fn start(&mut self, moment: Moment) -> Result<Start, Fault> {
        let Some(text) = self.value(Opt::From) else { return Ok(Start::Unsaid) };
        if text.eq_ignore_ascii_case("ahora") || text.eq_ignore_ascii_case("now") {
            return Ok(Start::Now);
        }
        Ok(Start::At(self.instant(Opt::From, &text, moment)?))
    }

    /// The end, of which only one may be said.
    fn term(&mut self, moment: Moment) -> Result<Term, Fault> {
        let ends = [Opt::Until, Opt::For, Opt::Nights];
        let mut given = ends.into_iter().filter_map(|option| Some((option, self.value(option)?)));
        let (first, second) = (given.next(), given.next());
        drop(given);
        let Some((option, text)) = first else { return Ok(Term::Open) };
        if let Some((other, _)) = second {
            return Err(Fault::bad(say!(
                self.lang,
                "{}= y {}= dicen el final dos veces; basta una",
                "{}= and {}= say the end twice; one is enough",
                option.word(self.lang),
                other.word(self.lang),
            )));
        }
        match option {
            Opt::For => self.duration(option, &text).map(Term::For),
            Opt::Nights => self.nights(&text).map(Term::Nights),
            _ if is_quit(&text) => Ok(Term::Quit),
            _ => self.instant(option, &text, moment).map(Term::Until),
        }
    }

    fn nights(&self, text: &str) -> Result<u32, Fault> {
        let nights = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
        match nights.flatten() {
            Some(nights) if (1..=NIGHTS_MAX).contains(&nights) => Ok(nights),
            _ => Err(Fault::bad(say!(
                self.lang,
                "{}={} no es un número de noches, de 1 a {}",
                "{}={} is no number of nights, from 1 to {}",
                Opt::Nights.word(self.lang),
                echo(text),
                NIGHTS_MAX,
            ))),
        }
    }

    fn duration(&self, option: Opt, text: &str) -> Result<i64, Fault> {
        parse_duration_ms(text).map_err(|error| {
            let what = match error {
                DurationError::NoUnit => self.lang.pick("le falta la unidad", "has no unit"),
                DurationError::Form => self.lang.pick("no es una duración", "is no duration"),
                DurationError::Zero => self.lang.pick("no dura nada", "lasts no time"),
                DurationError::TooLong => self.lang.pick("pasa de diez años", "is over ten years"),
            };
            Fault::bad(say!(
                self.lang,
                "{}={}: {}; se escribe 90s, 30m, 2h, 3d o 1h30m",
                "{}={}: {}; it is written 90s, 30m, 2h, 3d or 1h30m",
                option.word(self.lang),
                echo(text),
                what,
            ))
        })
    }

    fn instant(&self, option: Opt, text: &str, moment: Moment) -> Result<Time, Fault> {
        let fault =
            |what: String| Fault::bad(format!("{}={}: {what}", option.word(self.lang), echo(text)));
        let parsed = moment.zone.parse(text, moment.now);
        parsed.map_err(|error| fault(time_error(&error, self.lang)))
    }

    fn interval(&self, when: &When, moment: Moment) -> Result<(Time, Time), Fault> {
        let interval = when.interval(moment.now, moment.zone);
        interval.map_err(|error| self.when_fault(error, moment))
    }

    fn when_fault(&self, error: WhenError, moment: Moment) -> Fault {
        let now = moment.zone.text(moment.now, crate::clock::Round::Down);
        Fault::bad(match error {
            WhenError::Backwards => say!(
                self.lang,
                "el final tiene que ser después del principio",
                "the end must come after the start",
            ),
            WhenError::Past => say!(
                self.lang,
                "ese final ya ha pasado: aquí son las {}",
                "that end has passed: here it is {}",
                now,
            ),
            WhenError::Time(error) => time_error(&error, self.lang),
        })
    }

    /// A free text of at most `max` bytes.
    fn text_value(&mut self, option: Opt, max: usize) -> Result<Option<String>, Fault> {
        let Some(text) = self.value(option) else { return Ok(None) };
        if text.len() > max {
            return Err(self.too_long(option.word(self.lang), text.len(), max));
        }
        if let Some(c) = text.chars().find(|c| is_hidden(*c) && !is_emoji_part(*c)) {
            return Err(Fault::bad(say!(
                self.lang,
                "{}= no puede llevar el carácter U+{:04X}",
                "{}= cannot have the character U+{:04X}",
                option.word(self.lang),
                c as u32,
            )));
        }
        Ok(Some(text))
    }

    fn too_long(&self, what: &str, bytes: usize, max: usize) -> Fault {
        Fault::bad(say!(
            self.lang,
            "«{}» ocupa {} bytes; caben {}",
            "'{}' has {} bytes; {} are the most",
            echo(what),
            bytes,
            max,
        ))
    }

    fn empty(&self, option: Opt) -> Fault {
        let word = option.word(self.lang);
        Fault::bad(say!(self.lang, "{}= está vacía", "{}= is empty", word))
    }
}

fn is_quit(text: &str) -> bool {
    text.eq_ignore_ascii_case("salir") || text.eq_ignore_ascii_case("quit")
}

/// The joiner and the selectors that emoji are made with; harmless in a note.
fn is_emoji_part(c: char) -> bool {
    matches!(c, '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

fn time_error(error: &TimeError, lang: Lang) -> String {
    match error {
        TimeError::Form => say!(
            lang,
            "no es una fecha; se escribe 2026-12-24, 2026-12-24T15:00, 2026-12-24T15:00-03:00 o ahora",
            "is no date; it is written 2026-12-24, 2026-12-24T15:00, 2026-12-24T15:00-03:00 or now",
        ),
        TimeError::NoSuchDate => say!(
            lang,
            "el calendario no tiene esa fecha u hora",
            "the calendar has no such date or time",
        ),
        TimeError::OutOfRange => {
            say!(lang, "fuera de los años 1970 a 9999", "outside the years 1970 to 9999")
        }
        TimeError::Skipped(earlier, later) => say!(
            lang,
            "ese día el reloj se salta esa hora; di {} o {}",
            "that day the clock skips that time; say {} or {}",
            earlier,
            later,
        ),
        TimeError::Twice(earlier, later) => say!(
            lang,
            "ese día el reloj pasa dos veces por esa hora; di {} o {}",
            "that day the clock has that time twice; say {} or {}",
            earlier,
            later,
        ),
    }
}

/// What is wrong with a name, for a reply or for a file.
pub fn name_fault(text: &str, error: NameError, lang: Lang) -> Fault {
    Fault::bad(match error {
        NameError::Empty => say!(lang, "el nombre está vacío", "the name is empty"),
        NameError::TooLong => say!(
            lang,
            "el nombre «{}» ocupa más de {} bytes",
            "the name '{}' has more than {} bytes",
            echo(text),
            NAME_MAX_BYTES,
        ),
        NameError::Forbidden('"') => say!(
            lang,
            "los nombres se escriben sin comillas: «{}»",
            "names are written without quotes: '{}'",
            echo(text),
        ),
        NameError::Forbidden('*') => say!(
            lang,
            "aquí no valen patrones con *: «{}»",
            "patterns with * are not taken here: '{}'",
            echo(text),
        ),
        NameError::Forbidden(c) => say!(
            lang,
            "el nombre «{}» no puede llevar {}",
            "the name '{}' cannot have {}",
            echo(text),
            show_char(c),
        ),
        NameError::Stars => say!(
            lang,
            "el patrón «{}» tiene más de {} asteriscos",
            "the pattern '{}' has more than {} stars",
            echo(text),
            STARS_MAX,
        ),
    })
}

fn show_char(c: char) -> String {
    if c.is_ascii_graphic() { c.to_string() } else { format!("U+{:04X}", c as u32) }
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

/// `Habitación 4..50`: a name and two numbers, the first with leading zeros
/// where they are to be kept.
struct Range<'a> {
    name: &'a str,
    first: u64,
    last: u64,
    width: usize,
}

impl Range<'_> {
    fn name(&self, n: u64) -> String {
        format!("{}{n:0width$}", self.name, width = self.width)
    }
}

fn split_range(item: &str) -> Option<Range<'_>> {
    let (head, last) = item.rsplit_once("..")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let digits = head.len() - head.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (name, first) = head.split_at(digits);
    if !is_number(first) || !is_number(last) {
        return None;
    }
    let width = if first.starts_with('0') { first.len() } else { 0 };
    // Digits that are too many for a number are just part of a name.
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    Some(Range { name, first, last, width })
}

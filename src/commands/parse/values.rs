//! The values of options: times, lengths, free texts; and what is wrong with
//! them or with a name.

use super::{Fault, Line, Moment};
use crate::clock::{DurationError, Time, TimeError, parse_duration_ms};
use crate::commands::words::{Lang, Opt, echo, say};
use crate::inventory::fit::{Start, Term, When, WhenError};
use crate::inventory::names::{NameError, is_hidden};
use crate::limits::{KEEP_ALIVE_MIN_MS, NAME_MAX_BYTES, NIGHTS_MAX, STARS_MAX};

impl Line<'_> {
    pub(super) fn when(&mut self, moment: Moment) -> Result<When, Fault> {
        Ok(When { start: self.start(moment)?, term: self.term(moment)? })
    }

    pub(super) fn start(&mut self, moment: Moment) -> Result<Start, Fault> {
        let Some(text) = self.value(Opt::From) else { return Ok(Start::Unsaid) };
        if text.eq_ignore_ascii_case("ahora") || text.eq_ignore_ascii_case("now") {
            return Ok(Start::Now);
        }
        Ok(Start::At(self.instant(Opt::From, &text, moment)?))
    }

    /// The end, of which only one may be said.
    pub(super) fn term(&mut self, moment: Moment) -> Result<Term, Fault> {
        let ends = [Opt::Until, Opt::For, Opt::Nights];
        let mut given = ends.into_iter().filter_map(|option| Some((option, self.value(option)?)));
        let (first, second) = (given.next(), given.next());
        drop(given);
        let Some((option, text)) = first else { return Ok(Term::Open) };
        if let (Opt::Until, Some((Opt::For, length))) = (option, &second)
            && is_quit(&text)
        {
            return self.keep_alive(length);
        }
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

    /// The length beside `hasta=salir`.
    fn keep_alive(&self, text: &str) -> Result<Term, Fault> {
        match self.duration(Opt::For, text)? {
            ms if ms >= KEEP_ALIVE_MIN_MS => Ok(Term::KeepAlive(ms)),
            _ => Err(Fault::bad(say!(
                self.lang,
                "hasta=salir por={}: por= tiene que ser al menos {}s",
                "until=quit for={}: for= must be at least {}s",
                echo(text),
                KEEP_ALIVE_MIN_MS / 1000,
            ))),
        }
    }

    pub(super) fn nights(&self, text: &str) -> Result<u32, Fault> {
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

    pub(super) fn duration(&self, option: Opt, text: &str) -> Result<i64, Fault> {
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

    pub(super) fn instant(&self, option: Opt, text: &str, moment: Moment) -> Result<Time, Fault> {
        let fault =
            |what: String| Fault::bad(format!("{}={}: {what}", option.word(self.lang), echo(text)));
        let parsed = moment.zone.parse(text, moment.now.time);
        parsed.map_err(|error| fault(time_error(&error, self.lang)))
    }

    pub(super) fn interval(&self, when: &When, moment: Moment) -> Result<(Time, Time), Fault> {
        let interval = when.interval(moment.now, moment.zone);
        interval.map_err(|error| self.when_fault(error, moment))
    }

    pub(super) fn when_fault(&self, error: WhenError, moment: Moment) -> Fault {
        let now = moment.zone.text(moment.now.time, crate::clock::Round::Down);
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
    #[inline]
    pub(super) fn text_value(&mut self, option: Opt, max: usize) -> Result<Option<String>, Fault> {
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
        Ok(Some(text.into_owned()))
    }

    pub(super) fn too_long(&self, what: &str, bytes: usize, max: usize) -> Fault {
        Fault::bad(say!(
            self.lang,
            "«{}» ocupa {} bytes; caben {}",
            "'{}' has {} bytes; {} are the most",
            echo(what),
            bytes,
            max,
        ))
    }

    pub(super) fn empty(&self, option: Opt) -> Fault {
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
            "aquí no valen patrones con *: «{}»; escribe el nombre entero",
            "patterns with * are not taken here: '{}'; write the whole name",
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

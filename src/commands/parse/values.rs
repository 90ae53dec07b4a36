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
                "{}= y {}= indican ambas el final; usa solo una",
                "{}= and {}= both set the end; use only one",
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

    /// Parses the length beside `hasta=salir`.
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
                "{}={}: número de noches no válido; debe ser de 1 a {}",
                "{}={}: invalid number of nights; it must be from 1 to {}",
                Opt::Nights.word(self.lang),
                echo(text),
                NIGHTS_MAX,
            ))),
        }
    }

    pub(super) fn duration(&self, option: Opt, text: &str) -> Result<i64, Fault> {
        parse_duration_ms(text).map_err(|error| {
            let what = match error {
                DurationError::NoUnit => self.lang.pick("falta la unidad", "the unit is missing"),
                DurationError::Form => self.lang.pick("duración no válida", "invalid duration"),
                DurationError::Zero => {
                    self.lang.pick("debe ser mayor que cero", "must be longer than zero")
                }
                DurationError::TooLong => {
                    self.lang.pick("supera los diez años", "longer than ten years")
                }
            };
            Fault::bad(say!(
                self.lang,
                "{}={}: {}; escribe 90s, 30m, 2h, 3d o 1h30m",
                "{}={}: {}; write 90s, 30m, 2h, 3d or 1h30m",
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
                "el final debe ser posterior al principio",
                "the end must be later than the start",
            ),
            WhenError::Past => say!(
                self.lang,
                "ese final ya ha pasado; la hora del servidor es {}",
                "that end has passed; the server's time is {}",
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
                "{}= no puede contener el carácter U+{:04X}",
                "{}= cannot contain the character U+{:04X}",
                option.word(self.lang),
                c as u32,
            )));
        }
        Ok(Some(text.into_owned()))
    }

    pub(super) fn too_long(&self, what: &str, bytes: usize, max: usize) -> Fault {
        Fault::bad(say!(
            self.lang,
            "«{}» ocupa {} bytes; el máximo es {}",
            "'{}' is {} bytes long; the maximum is {}",
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
            "fecha no válida; se espera 2026-12-24, 2026-12-24T15:00, 2026-12-24T15:00-03:00 o ahora",
            "invalid date; expected 2026-12-24, 2026-12-24T15:00, 2026-12-24T15:00-03:00 or now",
        ),
        TimeError::NoSuchDate => {
            say!(lang, "esa fecha u hora no existe", "there is no such date or time",)
        }
        TimeError::OutOfRange => {
            say!(
                lang,
                "la fecha debe estar entre los años 1970 y 9999",
                "the date must be within the years 1970 to 9999"
            )
        }
        TimeError::Skipped(earlier, later) => say!(
            lang,
            "ese día el reloj se salta esa hora; usa {} o {}",
            "the clock skips that time on that day; use {} or {}",
            earlier,
            later,
        ),
        TimeError::Twice(earlier, later) => say!(
            lang,
            "ese día el reloj pasa dos veces por esa hora; usa {} o {}",
            "that time occurs twice on that day; use {} or {}",
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
            "el nombre «{}» supera los {} bytes",
            "the name '{}' is longer than {} bytes",
            echo(text),
            NAME_MAX_BYTES,
        ),
        NameError::Forbidden('"') => say!(
            lang,
            "escribe los nombres sin comillas: «{}»",
            "write names without quotes: '{}'",
            echo(text),
        ),
        NameError::Forbidden('*') => say!(
            lang,
            "aquí no se admiten patrones con *: «{}»; escribe el nombre entero",
            "patterns with * are not allowed here: '{}'; write the whole name",
            echo(text),
        ),
        NameError::Forbidden(c) => say!(
            lang,
            "el nombre «{}» no puede contener {}",
            "the name '{}' cannot contain {}",
            echo(text),
            show_char(c),
        ),
        NameError::Stars => say!(
            lang,
            "el patrón «{}» tiene más de {} asteriscos",
            "the pattern '{}' has more than {} asterisks",
            echo(text),
            STARS_MAX,
        ),
    })
}

fn show_char(c: char) -> String {
    if c.is_ascii_graphic() { c.to_string() } else { format!("U+{:04X}", c as u32) }
}

//! The values of options, and their errors: times, durations, free texts. Also the errors of names.

use super::{ErrorReply, Line};
use crate::inventory::names::NameError;
use crate::inventory::{End, Interval, Start, When, WhenError};
use crate::limits::{KEEP_ALIVE_MIN_MS, NAME_MAX_BYTES, NIGHTS_MAX, STARS_MAX};
use crate::text::{
    DurationError, Lang, Opt, excerpt, is_emoji_part, is_hidden, is_now_word, is_quit_word,
    localize, parse_duration_ms,
};
use crate::time::{Round, Time, TimeError};

impl Line<'_> {
    /// Reads the interval of a request.
    pub fn when(&mut self) -> Result<When, ErrorReply> {
        Ok(When { start: self.start()?, end: self.end()? })
    }

    pub fn start(&mut self) -> Result<Start, ErrorReply> {
        let Some(text) = self.value(Opt::From) else { return Ok(Start::Default) };
        if is_now_word(&text) {
            return Ok(Start::Now);
        }
        Ok(Start::At(self.instant(Opt::From, &text)?))
    }

    /// Reads the end. At most one option may set it, except that `por=` may accompany
    /// `hasta=salir`.
    pub fn end(&mut self) -> Result<End, ErrorReply> {
        let ends = [Opt::Until, Opt::For, Opt::Nights];
        let mut given = ends.into_iter().filter_map(|option| Some((option, self.value(option)?)));
        let (first, second) = (given.next(), given.next());
        drop(given);
        let Some((option, text)) = first else { return Ok(End::Open) };
        if let (Opt::Until, Some((Opt::For, length))) = (option, &second)
            && is_quit_word(&text)
        {
            return self.keep_alive(length);
        }
        if let Some((other, _)) = second {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "{}= y {}= indican ambas el final; usa solo una",
                "{}= and {}= both set the end; use only one",
                option.word(self.lang),
                other.word(self.lang),
            )));
        }
        match option {
            Opt::For => self.duration(option, &text).map(End::For),
            Opt::Nights => self.nights(&text).map(End::Nights),
            _ if is_quit_word(&text) => Ok(End::Quit),
            _ => self.instant(option, &text).map(End::Until),
        }
    }

    /// Parses the length beside `hasta=salir`.
    fn keep_alive(&self, text: &str) -> Result<End, ErrorReply> {
        match self.duration(Opt::For, text)? {
            ms if ms >= KEEP_ALIVE_MIN_MS => Ok(End::KeepAlive(ms)),
            _ => Err(ErrorReply::bad(localize!(
                self.lang,
                "hasta=salir por={}: por= tiene que ser al menos {}s",
                "until=quit for={}: for= must be at least {}s",
                excerpt(text),
                KEEP_ALIVE_MIN_MS / 1000,
            ))),
        }
    }

    fn nights(&self, text: &str) -> Result<u32, ErrorReply> {
        let nights = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
        match nights.flatten() {
            Some(nights) if (1..=NIGHTS_MAX).contains(&nights) => Ok(nights),
            _ => Err(ErrorReply::bad(localize!(
                self.lang,
                "{}={}: número de noches no válido; debe ser de 1 a {}",
                "{}={}: invalid number of nights; it must be from 1 to {}",
                Opt::Nights.word(self.lang),
                excerpt(text),
                NIGHTS_MAX,
            ))),
        }
    }

    pub fn duration(&self, option: Opt, text: &str) -> Result<i64, ErrorReply> {
        parse_duration_ms(text).map_err(|error| {
            let problem = match error {
                DurationError::NoUnit => {
                    self.lang.localized("falta la unidad", "the unit is missing")
                }
                DurationError::Form => {
                    self.lang.localized("duración no válida", "invalid duration")
                }
                DurationError::Zero => {
                    self.lang.localized("debe ser mayor que cero", "must be longer than zero")
                }
                DurationError::TooLong => {
                    self.lang.localized("supera los diez años", "longer than ten years")
                }
            };
            ErrorReply::bad(localize!(
                self.lang,
                "{}={}: {}; escribe 90s, 30m, 2h, 3d o 1h30m",
                "{}={}: {}; write 90s, 30m, 2h, 3d or 1h30m",
                option.word(self.lang),
                excerpt(text),
                problem,
            ))
        })
    }

    fn instant(&self, option: Opt, text: &str) -> Result<Time, ErrorReply> {
        let parsed = self.request_time.zone.parse(text, self.request_time.now.wall);
        parsed.map_err(|error| {
            let (word, problem) = (option.word(self.lang), time_error(&error, self.lang));
            ErrorReply::bad(format!("{word}={}: {problem}", excerpt(text)))
        })
    }

    pub fn interval(&self, when: &When) -> Result<Interval, ErrorReply> {
        let interval = when.interval(self.request_time.now, self.request_time.zone);
        interval.map_err(|error| self.when_error(error))
    }

    pub fn when_error(&self, error: WhenError) -> ErrorReply {
        let now = self.request_time.zone.text(self.request_time.now.wall, Round::Down);
        ErrorReply::bad(match error {
            WhenError::Backwards => localize!(
                self.lang,
                "el final debe ser posterior al principio",
                "the end must be later than the start",
            ),
            WhenError::Past => localize!(
                self.lang,
                "el final ya ha pasado; la hora del servidor es {}",
                "the end has passed; the server's time is {}",
                now,
            ),
            WhenError::Time(error) => time_error(&error, self.lang),
        })
    }

    /// Reads a free text of at most `max` bytes.
    #[inline]
    pub fn text_value(&mut self, option: Opt, max: usize) -> Result<Option<String>, ErrorReply> {
        let Some(text) = self.value(option) else { return Ok(None) };
        if text.len() > max {
            let option = format!("{}=", option.word(self.lang));
            return Err(self.too_long(&option, text.len(), max));
        }
        if let Some(c) = text.chars().find(|c| is_hidden(*c) && !is_emoji_part(*c)) {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "{}= no puede contener el carácter U+{:04X}",
                "{}= cannot contain the character U+{:04X}",
                option.word(self.lang),
                c as u32,
            )));
        }
        Ok(Some(text.into_owned()))
    }

    pub fn too_long(&self, what: &str, bytes: usize, max: usize) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "«{}» ocupa {} bytes; el máximo es {}",
            "'{}' is {} bytes long; the maximum is {}",
            excerpt(what),
            bytes,
            max,
        ))
    }

    pub fn quit_not_allowed(&self) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "{} no admite hasta=salir; escribe una fecha",
            "{} does not take until=quit; write a date",
            self.verb.word(self.lang),
        ))
    }

    pub fn empty(&self, option: Opt) -> ErrorReply {
        let word = option.word(self.lang);
        ErrorReply::bad(localize!(self.lang, "{}= está vacía", "{}= is empty", word))
    }
}

fn time_error(error: &TimeError, lang: Lang) -> String {
    match error {
        TimeError::Form => localize!(
            lang,
            "fecha no válida; se espera 2026-12-24, 2026-12-24T15:00, 2026-12-24T15:00-03:00 o ahora",
            "invalid date; expected 2026-12-24, 2026-12-24T15:00, 2026-12-24T15:00-03:00 or now",
        ),
        TimeError::NoSuchDate => {
            localize!(lang, "esa fecha u hora no existe", "there is no such date or time",)
        }
        TimeError::OutOfRange => {
            localize!(
                lang,
                "la fecha debe estar entre los años 1970 y 9999",
                "the date must be within the years 1970 to 9999"
            )
        }
        TimeError::Skipped(earlier, later) => localize!(
            lang,
            "ese día el reloj se salta esa hora; usa {} o {}",
            "the clock skips that time on that day; use {} or {}",
            earlier,
            later,
        ),
        TimeError::Twice(earlier, later) => localize!(
            lang,
            "ese día el reloj pasa dos veces por esa hora; usa {} o {}",
            "that time occurs twice on that day; use {} or {}",
            earlier,
            later,
        ),
    }
}

/// Returns the error of an invalid name, in a reply or in the inventory file.
pub fn name_error(text: &str, error: NameError, lang: Lang) -> ErrorReply {
    ErrorReply::bad(match error {
        NameError::Empty => localize!(lang, "el nombre está vacío", "the name is empty"),
        NameError::TooLong => localize!(
            lang,
            "el nombre «{}» supera los {} bytes",
            "the name '{}' is longer than {} bytes",
            excerpt(text),
            NAME_MAX_BYTES,
        ),
        NameError::Forbidden('"') => localize!(
            lang,
            "escribe los nombres sin comillas: «{}»",
            "write names without quotes: '{}'",
            excerpt(text),
        ),
        NameError::Forbidden('*') => localize!(
            lang,
            "aquí no se admiten patrones con *: «{}»; escribe el nombre entero",
            "patterns with * are not allowed here: '{}'; write the whole name",
            excerpt(text),
        ),
        NameError::Forbidden(c) => localize!(
            lang,
            "el nombre «{}» no puede contener {}",
            "the name '{}' cannot contain {}",
            excerpt(text),
            show_char(c),
        ),
        NameError::Stars => localize!(
            lang,
            "el patrón «{}» tiene más de {} asteriscos",
            "the pattern '{}' has more than {} asterisks",
            excerpt(text),
            STARS_MAX,
        ),
    })
}

fn show_char(c: char) -> String {
    if c.is_ascii_graphic() { c.to_string() } else { format!("U+{:04X}", c as u32) }
}

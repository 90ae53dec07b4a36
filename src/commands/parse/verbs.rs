//! What each verb takes: from a line taken apart to its command.

use super::{Command, ErrorReply, Line, RequestTime, unknown_verb};
use crate::commands::words::{Opt, excerpt, find_verb, localize};
use crate::inventory::names::normalize;
use crate::inventory::{Cancel, End, Number, Request, Start, When, WhenError};
use crate::limits::{ADD_MAX, HOLDER_MAX_BYTES, KEY_MAX_BYTES, NOTE_MAX_BYTES, WAIT_MAX_MS};
use crate::time::Time;

impl<'a> Line<'a> {
    pub(super) fn reserve(mut self, request_time: RequestTime) -> Result<Command<'a>, ErrorReply> {
        let wanted = self.wanted_list()?;
        if self.options.is_empty() {
            return Ok(Command::Reserve(Request::from_now(wanted, request_time.now.wall)));
        }
        let when = self.when(request_time)?;
        let interval = self.interval(&when, request_time)?;
        let note = self.text_value(Opt::Note, NOTE_MAX_BYTES)?.filter(|note| !note.is_empty());
        let key = self.text_value(Opt::Key, KEY_MAX_BYTES)?;
        if key.as_ref().is_some_and(String::is_empty) {
            return Err(self.empty(Opt::Key));
        }
        let wait_ms = self.wait()?;
        Ok(Command::Reserve(Request { selectors: wanted, when, interval, note, key, wait_ms }))
    }

    pub(super) fn wait(&mut self) -> Result<Option<i64>, ErrorReply> {
        let Some(text) = self.value(Opt::Wait) else { return Ok(None) };
        match self.duration(Opt::Wait, &text)? {
            wait_ms if wait_ms <= WAIT_MAX_MS => Ok(Some(wait_ms)),
            _ => Err(ErrorReply::bad(localize!(
                self.lang,
                "{}={}: la espera máxima es 7d",
                "{}={}: the longest wait is 7d",
                Opt::Wait.word(self.lang),
                excerpt(&text),
            ))),
        }
    }

    pub(super) fn list(mut self, request_time: RequestTime) -> Result<Command<'a>, ErrorReply> {
        let wanted = self.one_wanted()?;
        let when = self.when(request_time)?;
        if matches!(when.end, End::Quit | End::KeepAlive(_)) {
            return Err(self.quit_here());
        }
        let instant = When { start: Start::Default, end: End::Open };
        let interval = match when == instant {
            true => None,
            false => Some(self.interval(&when, request_time)?),
        };
        Ok(Command::List { wanted, interval })
    }

    pub(super) fn bookings(mut self, request_time: RequestTime) -> Result<Command<'a>, ErrorReply> {
        let wanted = self.one_wanted()?;
        let holder = self.value(Opt::Holder).map(|text| normalize(&text).into_owned());
        if holder.as_ref().is_some_and(String::is_empty) {
            return Err(self.empty(Opt::Holder));
        }
        let from = match self.start(request_time)? {
            Start::Default => Time::MIN,
            Start::Now => request_time.now.wall,
            Start::At(from) => from,
        };
        let until = match self.term(request_time)? {
            End::Quit | End::KeepAlive(_) => return Err(self.quit_here()),
            End::Until(until) => until,
            _ => Time::MAX,
        };
        if from >= until {
            return Err(self.when_fault(WhenError::Backwards, request_time));
        }
        Ok(Command::Bookings { wanted, holder, from, until })
    }

    pub(super) fn quit_here(&self) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "{} no admite hasta=salir; escribe una fecha",
            "{} does not take until=quit; write a date",
            self.verb.word(self.lang),
        ))
    }

    fn quit_alone(&self) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "RENOVAR con hasta=salir necesita también por=, por ejemplo hasta=salir por=60s",
            "RENEW with until=quit also needs for=, for example until=quit for=60s",
        ))
    }

    pub(super) fn cancel(self) -> Result<Command<'a>, ErrorReply> {
        if self.targets.is_empty() {
            return Err(self.usage("#número | nombre[, nombre …]", "#number | name[, name …]"));
        }
        let one = |item: &'a str| match item.strip_prefix('#') {
            Some(digits) => Ok(Cancel::Number(self.number(digits)?)),
            None => Ok(Cancel::Name(self.name(item)?)),
        };
        self.each(one).map(Command::Cancel)
    }

    pub(super) fn number(&self, digits: &str) -> Result<Number, ErrorReply> {
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "número de reserva no válido «#{}»; escribe, por ejemplo, #42",
                "invalid reservation number '#{}'; write, for example, #42",
                excerpt(digits),
            )));
        }
        // More than fits was never issued either.
        digits.parse().map(Number).map_err(|_| ErrorReply {
            code: 404,
            text: localize!(self.lang, "#{} no existe", "#{} was never issued", excerpt(digits),),
        })
    }

    pub(super) fn renew(mut self, request_time: RequestTime) -> Result<Command<'a>, ErrorReply> {
        let usage = |line: &Self| line.usage("#número por=|hasta=", "#number for=|until=");
        let digits = self.targets.strip_prefix('#').ok_or_else(|| usage(&self))?;
        let number = self.number(digits)?;
        match self.term(request_time)? {
            End::Quit => Err(self.quit_alone()),
            End::Until(until) if until <= request_time.now.wall => {
                Err(self.when_fault(WhenError::Past, request_time))
            }
            term @ (End::For(_) | End::Until(_) | End::KeepAlive(_)) => {
                Ok(Command::Renew { number, term })
            }
            _ => Err(usage(&self)),
        }
    }

    pub(super) fn earliest(mut self, request_time: RequestTime) -> Result<Command<'a>, ErrorReply> {
        let wanted = self.wanted_list()?;
        Ok(Command::When { wanted, when: self.when(request_time)? })
    }

    pub(super) fn verify(self) -> Result<Command<'a>, ErrorReply> {
        let (head, name) = self.targets.split_once(' ').unwrap_or((self.targets, ""));
        let Some(digits) = head.strip_prefix('#') else {
            return Err(self.usage("#número [nombre]", "#number [name]"));
        };
        let number = self.number(digits)?;
        let name = (!name.is_empty()).then(|| self.name(name)).transpose()?;
        Ok(Command::Verify { number, name })
    }

    pub(super) fn watch(mut self) -> Result<Command<'a>, ErrorReply> {
        let wanted = self.one_wanted()?;
        let after = match self.value(Opt::After) {
            None => None,
            Some(text) => Some(self.event_number(&text)?),
        };
        Ok(Command::Watch { wanted, after })
    }

    fn event_number(&self, text: &str) -> Result<u64, ErrorReply> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "{}={}: número de suceso no válido",
                "{}={}: invalid event number",
                Opt::After.word(self.lang),
                excerpt(text),
            )));
        }
        // More than fits has not happened yet either.
        Ok(text.parse().unwrap_or(u64::MAX))
    }

    pub(super) fn iam(self) -> Result<Command<'a>, ErrorReply> {
        let name = normalize(self.targets);
        if name.is_empty() {
            return Err(self.usage("nombre", "name"));
        }
        if name.contains(' ') {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "el nombre de un titular es una sola palabra, y este servidor no usa contraseñas; escribe, por ejemplo, SOY ana",
                "a holder's name is a single word, and this server uses no tokens; write, for example, IAM ana",
            )));
        }
        if name.len() > HOLDER_MAX_BYTES {
            return Err(self.too_long(&name, name.len(), HOLDER_MAX_BYTES));
        }
        if !name.starts_with(char::is_alphabetic) {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "el nombre de un titular debe empezar por una letra: «{}»",
                "a holder's name must begin with a letter: '{}'",
                excerpt(&name),
            )));
        }
        Ok(Command::IAm(self.name(&name)?.into_owned()))
    }

    pub(super) fn help(self) -> Result<Command<'a>, ErrorReply> {
        if self.targets.is_empty() {
            return Ok(Command::Help(None));
        }
        match find_verb(self.targets) {
            Some((verb, _)) => Ok(Command::Help(Some(verb))),
            None => Err(unknown_verb(self.targets, self.lang)),
        }
    }

    pub(super) fn add(self) -> Result<Command<'a>, ErrorReply> {
        let items = self.items()?;
        let mut count = 0usize;
        // Everything is looked at before thousands of names are made.
        for item in &items {
            count = count.saturating_add(self.count_added(item)?);
            if count > ADD_MAX {
                return Err(ErrorReply::bad(localize!(
                    self.lang,
                    "una línea da de alta {} recursos como máximo",
                    "a line adds at most {} resources",
                    ADD_MAX,
                )));
            }
        }
        let mut names = Vec::with_capacity(count);
        for item in items {
            match split_range(item) {
                None => names.push(self.name(item)?.into_owned()),
                Some(range) => {
                    for n in range.first..=range.last {
                        names.push(self.name(&range.name(n))?.into_owned());
                    }
                }
            }
        }
        Ok(Command::Add(names))
    }

    /// How many names an item of `ALTA` stands for, all of them good if the
    /// first and the last are.
    fn count_added(&self, item: &str) -> Result<usize, ErrorReply> {
        let Some(range) = split_range(item) else {
            self.name(item)?;
            return Ok(1);
        };
        if range.first > range.last {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "en «{}» el primer número es mayor que el último",
                "in '{}' the first number is greater than the last",
                excerpt(item),
            )));
        }
        let more = usize::try_from(range.last - range.first);
        let count = more.map_or(usize::MAX, |more| more.saturating_add(1));
        if count <= ADD_MAX {
            self.name(&range.name(range.first))?;
            self.name(&range.name(range.last))?;
        }
        Ok(count)
    }
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

//! The reply to one command, as it is appended to the output of a connection.

use super::parse::ErrorReply;
use super::refusal;
use crate::conn::Eol;
use crate::inventory::event::push_names;
use crate::inventory::names::NameTexts;
use crate::inventory::{Number, Refusal, Reservation, ResourceId};
use crate::text::Lang;
use crate::time::{FormattedTime, Round, Zone};

/// Appends a reply to an output, in the language of the command and with the line endings of its
/// connection.
pub struct Reply<'a> {
    pub lang: Lang,
    pub eol: Eol,
    pub zone: &'a Zone,
    out: &'a mut Vec<u8>,
}

impl<'a> Reply<'a> {
    #[inline]
    pub fn new(lang: Lang, eol: Eol, zone: &'a Zone, out: &'a mut Vec<u8>) -> Reply<'a> {
        Reply { lang, eol, zone, out }
    }

    /// Returns the output, for a list that appends to it by itself.
    pub fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Appends a text that is the same in both languages.
    #[inline]
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    /// Appends the text of the reply's language.
    #[inline]
    pub fn localized(&mut self, es: &str, en: &str) -> &mut Self {
        self.text(self.lang.localized(es, en))
    }

    /// Appends a count, a code or the number of an event.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    /// Appends `#42`.
    pub fn confirmation_number(&mut self, number: Number) -> &mut Self {
        self.text("#").number(number.0)
    }

    /// Appends a duration in whole seconds, such as `90s`.
    pub fn seconds(&mut self, ms: i64) -> &mut Self {
        self.text(itoa::Buffer::new().format(ms / 1000)).text("s")
    }

    /// Appends the names of resources, with commas between them.
    pub fn names(&mut self, ids: &[ResourceId], texts: &NameTexts) -> &mut Self {
        push_names(ids, texts, |text| self.out.extend_from_slice(text.as_bytes()));
        self
    }

    /// Appends `#42 Habitación 1[, …]`.
    pub fn target_names(
        &mut self,
        number: Number,
        ids: &[ResourceId],
        texts: &NameTexts,
    ) -> &mut Self {
        self.confirmation_number(number).text(" ").names(ids, texts)
    }

    /// Appends `desde=…`, after a space.
    pub fn from(&mut self, reservation: &Reservation) -> &mut Self {
        let from = self.zone.print(reservation.from, Round::Down);
        self.localized(" desde=", " from=").text(&from)
    }

    /// Appends `hasta=…`, after a space, and `por=…` for a reservation that its connection keeps
    /// alive.
    pub fn until(&mut self, reservation: &Reservation) -> &mut Self {
        let end = PrintedEnd::of(reservation, self.lang, self.zone);
        self.localized(" hasta=", " until=").text(&end);
        if let Some(keep_alive) = reservation.keep_alive() {
            self.localized(" por=", " for=").seconds(keep_alive.ms);
        }
        self
    }

    #[inline]
    pub fn end_line(&mut self) {
        self.text(self.eol.as_str());
    }

    /// Appends a whole line.
    pub fn line(&mut self, line: &str) {
        self.text(line).end_line();
    }

    /// Appends the first line of a list, such as `OK 3 DISPONIBLES`.
    pub fn list_head(&mut self, count: usize, word: &str) {
        self.text("OK ").number(count as u64).text(" ").line(word);
    }

    /// Appends a whole list.
    pub fn list(&mut self, word: &str, lines: &[impl AsRef<str>]) {
        self.list_head(lines.len(), word);
        for line in lines {
            self.line(line.as_ref());
        }
    }

    #[cold]
    pub fn error(&mut self, error: &ErrorReply) {
        self.text("ERR ").number(error.code.into()).text(" ").line(&error.text);
    }

    #[cold]
    pub fn refuse(&mut self, refusal: Refusal) {
        let error = refusal::error_reply(refusal, self.lang, self.zone);
        self.error(&error);
    }
}

/// The end of a reservation as replies and lists show it.
pub enum PrintedEnd {
    Word(&'static str),
    Time(FormattedTime),
}

impl PrintedEnd {
    pub fn of(reservation: &Reservation, lang: Lang, zone: &Zone) -> PrintedEnd {
        if reservation.session().is_some() {
            PrintedEnd::Word(lang.localized("salir", "quit"))
        } else if reservation.until.is_never() {
            PrintedEnd::Word("-")
        } else {
            PrintedEnd::Time(zone.print(reservation.until, Round::Up))
        }
    }
}

impl std::ops::Deref for PrintedEnd {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            PrintedEnd::Word(word) => word,
            PrintedEnd::Time(time) => time,
        }
    }
}

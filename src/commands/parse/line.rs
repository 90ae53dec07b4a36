//! A line split into targets and options.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use super::scan::{ByteClasses, ScannedStr, skip_spaces};
use super::{Command, ErrorReply, RequestTime, name_error};
use crate::commands::words::find_option;
use crate::inventory::names::check_name;
use crate::inventory::pattern::Pattern;
use crate::inventory::{Number, Selector};
use crate::limits::{NAME_MAX_BYTES, TARGETS_MAX};
use crate::text::{Lang, Opt, QuoteError, Verb, excerpt, localize, read_quoted};

const SPACES: [char; 2] = [' ', '\t'];

/// A line split into targets, as written, and options.
pub struct Line<'a> {
    pub(super) verb: Verb,
    pub lang: Lang,
    pub request_time: RequestTime<'a>,
    /// The words before the first option, with single spaces between them.
    pub targets: &'a str,
    /// The options. A value is taken when it is read.
    options: Vec<(Opt, Option<Cow<'a, str>>)>,
    /// The text that remains to be split.
    rest: &'a str,
    classes: ByteClasses,
}

impl<'a> Line<'a> {
    pub(super) fn split(
        verb: Verb,
        ScannedStr { text, classes }: ScannedStr<'a>,
        lang: Lang,
        request_time: RequestTime<'a>,
        joined: &'a mut String,
    ) -> Result<Line<'a>, ErrorReply> {
        let options = Vec::new();
        let mut line = Line { verb, lang, request_time, targets: "", options, rest: text, classes };
        if !classes.any(ByteClasses::BEYOND_TARGETS) {
            // Without a gap there is at most one space before and one after the targets.
            let text = text.strip_prefix(' ').unwrap_or(text);
            line.targets = text.strip_suffix(' ').unwrap_or(text);
            return Ok(line);
        }
        let has_gaps = line.split_words(text)?;
        if has_gaps {
            let words = line.targets.split(SPACES).filter(|word| !word.is_empty());
            *joined = words.collect::<Vec<_>>().join(" ");
            line.targets = joined;
        }
        Ok(line)
    }

    /// Splits the words of `text`. Returns whether the targets contain more than single spaces.
    fn split_words(&mut self, text: &'a str) -> Result<bool, ErrorReply> {
        // The bounds of the targets in the text.
        let mut targets: Option<(usize, usize)> = None;
        let mut has_gaps = false;
        loop {
            self.rest = skip_spaces(self.rest);
            if self.rest.is_empty() {
                break;
            }
            let (end, sign) = first_word(self.rest);
            if self.rest.starts_with('"') {
                return Err(self.quoted_name());
            }
            match sign {
                Some(at) => self.option(at)?,
                None if !self.options.is_empty() => {
                    return Err(self.word_after_option(&self.rest[..end]));
                }
                None => {
                    let start = text.len() - self.rest.len();
                    let first = targets.map_or(start, |(first, last)| {
                        has_gaps |= &text[last..start] != " ";
                        first
                    });
                    targets = Some((first, start + end));
                    self.rest = &self.rest[end..];
                }
            }
        }
        if let Some((first, last)) = targets {
            self.targets = &text[first..last];
        }
        Ok(has_gaps)
    }

    /// Reads `option=value` at the start of the rest. `at` is the position of the `=`.
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

    fn quoted_name(&self) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "las comillas solo van tras el = de una opción (nota=\"…\"); escribe los nombres sin ellas",
            "quotes go only after an option's = (note=\"…\"); write names without them",
        ))
    }

    fn word_after_option(&self, word: &str) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "«{}» va después de una opción; escribe primero los nombres y luego las opciones, y entre comillas los valores con espacios (nota=\"…\")",
            "'{}' follows an option; write names first and options last, and quote values with spaces (note=\"…\")",
            excerpt(word),
        ))
    }

    fn unquoted(&self, option: Opt, value: &'a str) -> Result<(Cow<'a, str>, &'a str), ErrorReply> {
        let end = value.find(SPACES).unwrap_or(value.len());
        let (value, rest) = value.split_at(end);
        if value.contains('"') {
            return Err(self.misplaced_quotes(option));
        }
        Ok((Cow::Borrowed(value), rest))
    }

    /// Reads a value after its opening quote.
    fn quoted(&self, option: Opt, text: &'a str) -> Result<(Cow<'a, str>, &'a str), ErrorReply> {
        let read = read_quoted(text).map(|(value, rest)| (Cow::Owned(value), rest));
        read.map_err(|error| match error {
            QuoteError::NotLast => self.misplaced_quotes(option),
            QuoteError::Escape => self.unknown_escape(option),
            QuoteError::Unclosed => ErrorReply::bad(localize!(
                self.lang,
                "faltan las comillas de cierre de {}=",
                "the closing quote of {}= is missing",
                option.word(self.lang),
            )),
        })
    }

    fn misplaced_quotes(&self, option: Opt) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "en {}= las comillas van justo tras el = y al final del valor; dentro del valor escribe \\\"",
            "in {}= quotes go right after the = and at the end of the value; inside the value write \\\"",
            option.word(self.lang),
        ))
    }

    fn unknown_escape(&self, option: Opt) -> ErrorReply {
        ErrorReply::bad(localize!(
            self.lang,
            "en {}=\"…\" tras \\ solo puede ir \" u otra \\",
            "in {}=\"…\" only \" or another \\ may follow a \\",
            option.word(self.lang),
        ))
    }

    /// Takes the value of an option.
    #[inline]
    pub fn value(&mut self, option: Opt) -> Option<Cow<'a, str>> {
        let found = self.options.iter_mut().find(|(other, _)| *other == option);
        found.and_then(|(_, value)| value.take())
    }

    pub fn has_no_options(&self) -> bool {
        self.options.is_empty()
    }

    pub fn usage(&self, usage_es: &str, usage_en: &str) -> ErrorReply {
        let verb = self.verb.word(self.lang);
        let usage = self.lang.localized(usage_es, usage_en);
        ErrorReply::bad(localize!(self.lang, "uso: {} {}", "usage: {} {}", verb, usage))
    }

    /// Returns the command if the verb stands alone on its line.
    pub fn without_arguments(&self, command: Command<'a>) -> Result<Command<'a>, ErrorReply> {
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

    /// Splits the targets at commas. There are at most [`TARGETS_MAX`], and none is empty.
    pub fn items(&self) -> Result<SmallVec<[&'a str; 1]>, ErrorReply> {
        if self.targets.is_empty() {
            return Err(self.usage("nombre[, nombre …]", "name[, name …]"));
        }
        if !self.classes.any(ByteClasses::COMMA) {
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

    /// Checks a name.
    pub fn name<'n>(&self, text: &'n str) -> Result<Cow<'n, str>, ErrorReply> {
        if !self.classes.any(ByteClasses::UNPLAIN) && (1..=NAME_MAX_BYTES).contains(&text.len()) {
            return Ok(Cow::Borrowed(text));
        }
        check_name(text).map_err(|error| name_error(text, error, self.lang))
    }

    pub fn names(&self) -> Result<Vec<String>, ErrorReply> {
        self.items()?.into_iter().map(|item| self.name(item).map(Cow::into_owned)).collect()
    }

    /// Reads a reservation number without its `#`.
    pub fn number(&self, digits: &str) -> Result<Number, ErrorReply> {
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ErrorReply::bad(localize!(
                self.lang,
                "número de reserva no válido «#{}»; escribe, por ejemplo, #42",
                "invalid reservation number '#{}'; write, for example, #42",
                excerpt(digits),
            )));
        }
        // A number that overflows was never issued.
        digits.parse().map(Number).map_err(|_| ErrorReply {
            code: 404,
            text: localize!(self.lang, "#{} no existe", "#{} was never issued", excerpt(digits)),
        })
    }

    fn selector(&self, text: &'a str) -> Result<Selector<'a>, ErrorReply> {
        if !self.classes.any(ByteClasses::STAR) || !text.contains('*') {
            return Ok(Selector::Name(self.name(text)?));
        }
        let pattern = Pattern::new(text).map_err(|error| name_error(text, error, self.lang))?;
        Ok(Selector::Pattern(pattern, Cow::Borrowed(text)))
    }

    pub fn selectors(&self) -> Result<SmallVec<[Selector<'a>; 1]>, ErrorReply> {
        self.each(|item| self.selector(item))
    }

    /// Reads each target.
    pub fn each<T>(
        &self,
        read: impl Fn(&'a str) -> Result<T, ErrorReply>,
    ) -> Result<SmallVec<[T; 1]>, ErrorReply> {
        let mut all = SmallVec::new();
        for item in self.items()? {
            all.push(read(item)?);
        }
        Ok(all)
    }

    /// Returns the only target, if there is one.
    pub fn one_selector(&self) -> Result<Option<Selector<'a>>, ErrorReply> {
        if self.targets.is_empty() {
            return Ok(None);
        }
        match self.items()?[..] {
            [one] => self.selector(one).map(Some),
            _ => Err(self.usage("[patrón] [opciones]", "[pattern] [options]")),
        }
    }
}

/// Returns the end of the first word of a text, and the position of its first `=`.
fn first_word(text: &str) -> (usize, Option<usize>) {
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

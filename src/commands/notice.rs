//! Notices of events for watchers: the text of an event in the journal, translated into the words
//! of the protocol. A notice depends only on that text, so it is the same to the byte each time it
//! is sent.

use std::collections::VecDeque;
use std::fmt::Write;

use crate::inventory::names::fold;
use crate::inventory::pattern::Pattern;
use crate::limits::NOTICES_KEPT;
use crate::text::Lang;
use crate::time::{Round, Zone, parse_utc};

/// Cache of the notices of recent events. Each event is parsed once, and each further watcher only
/// costs a copy.
#[derive(Debug, Default)]
pub struct Notices {
    /// The number of the first event in the cache.
    first: u64,
    kept: VecDeque<Kept>,
    /// Counts the events that were parsed.
    pub made: u64,
}

/// The cached parts of an event.
#[derive(Debug, Default)]
struct Kept {
    /// Its notice in both languages, if a watcher wanted it. Empty if it has none.
    lines: [Option<Box<str>>; 2],
    /// Its names, folded, if a watcher has a pattern.
    folded: Option<Box<[String]>>,
}

impl Notices {
    /// Returns the notice of an event, without its line ending; `None` if no name in it matches.
    /// `text` must be as `Event::encode` writes it.
    pub fn get(
        &mut self,
        number: u64,
        text: &str,
        pattern: Option<&Pattern>,
        lang: Lang,
        zone: &Zone,
    ) -> Option<&str> {
        let at = self.index_of(number);
        let (kept, made) = (&mut self.kept[at], &mut self.made);
        if let Some(pattern) = pattern {
            let folded = kept.folded.get_or_insert_with(|| {
                *made += 1;
                Notice::read(text).map(|notice| notice.folded_names()).unwrap_or_default()
            });
            if !folded.iter().any(|name| pattern.matches(name)) {
                return None;
            }
        }
        let line = kept.lines[lang as usize].get_or_insert_with(|| {
            *made += 1;
            let line = Notice::read(text).map(|notice| notice.line(number, lang, zone));
            line.unwrap_or_default().into()
        });
        Some(&**line).filter(|line| !line.is_empty())
    }

    /// Returns the index of an event. Empties the cache for an event too far from the others.
    fn index_of(&mut self, number: u64) -> usize {
        let end = self.first + self.kept.len() as u64;
        if !(self.first..=end).contains(&number) {
            self.kept.clear();
            self.first = number;
        }
        let mut at = (number - self.first) as usize;
        if at == self.kept.len() {
            self.kept.push_back(Kept::default());
        }
        if self.kept.len() > NOTICES_KEPT {
            self.kept.pop_front();
            self.first += 1;
            at -= 1;
        }
        at
    }
}

/// The parts of the text of an event.
struct Notice<'a> {
    time: &'a str,
    /// Its keyword in the journal, and on the wire in both languages.
    word: &'a str,
    words: (&'static str, &'static str),
    /// The number and the names, as notices contain them.
    body: &'a str,
    names: &'a str,
    terms: &'a str,
}

impl<'a> Notice<'a> {
    /// Parses a text. Returns `None` if watchers get no notice of it.
    fn read(text: &'a str) -> Option<Notice<'a>> {
        let (time, rest) = text.split_once(' ')?;
        let (word, rest) = rest.split_once(' ')?;
        let words = match word {
            "ADDED" => ("ALTA", "ADD"),
            "REMOVED" => ("BAJA", "REMOVE"),
            "RESERVED" => ("RESERVADO", "RESERVED"),
            "CANCELLED" => ("CANCELADO", "CANCELLED"),
            "RENEWED" => ("RENOVADO", "RENEWED"),
            "EXPIRED" => ("VENCIDO", "EXPIRED"),
            _ => return None,
        };
        // Names contain no equals sign, so they end before the word with the first one.
        let terms = rest.find('=').and_then(|at| rest[..at].rfind(' '));
        let (body, terms) = match terms {
            Some(at) if matches!(word, "RESERVED" | "RENEWED") => rest.split_at(at),
            _ => (rest, ""),
        };
        let names = match body.strip_prefix('#') {
            Some(numbered) => numbered.split_once(' ')?.1,
            None => body,
        };
        Some(Notice { time, word, words, body, names, terms })
    }

    fn folded_names(&self) -> Box<[String]> {
        self.names.split(", ").map(fold).collect()
    }

    fn line(&self, number: u64, lang: Lang, zone: &Zone) -> String {
        let (es, en) = self.words;
        let mut line = format!("* {number} {} {}", lang.localized(es, en), self.body);
        let begun = (self.word == "RESERVED").then_some(self.time);
        push_terms(begun, self.terms, lang, zone, &mut line);
        line
    }
}

/// Appends the interval, unless the reservation starts with the event and has no end. `begun` is
/// the time of the event, or `None` for a renewal, whose start is not printed.
fn push_terms(begun: Option<&str>, terms: &str, lang: Lang, zone: &Zone, line: &mut String) {
    // These options precede the quoted ones, which may contain any text.
    let mut words = terms.split(' ').skip(1).peekable();
    let mut value = |option: &str| {
        let value = words.peek()?.strip_prefix(option)?;
        words.next();
        Some(value)
    };
    let from = value("from=").or(begun);
    let until = value("until=").filter(|until| *until != "never");
    let length = value("for=");
    if until.is_none() && from == begun {
        return;
    }
    if let Some(from) = from.and_then(parse_utc) {
        let _ = write!(line, " {}=", lang.localized("desde", "from"));
        line.push_str(&zone.print(from, Round::Down));
    }
    let _ = write!(line, " {}=", lang.localized("hasta", "until"));
    match until.map(|until| (until, parse_utc(until))) {
        Some(("quit", _)) => line.push_str(lang.localized("salir", "quit")),
        Some((_, Some(until))) => line.push_str(&zone.print(until, Round::Up)),
        _ => line.push('-'),
    }
    if let Some(length) = length {
        let _ = write!(line, " {}={length}", lang.localized("por", "for"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(text: &str, pattern: Option<&Pattern>, lang: Lang) -> Option<String> {
        Notices::default().get(7, text, pattern, lang, &Zone::utc()).map(str::to_owned)
    }

    #[test]
    fn event_is_parsed_once_for_all_watchers() {
        let mut notices = Notices::default();
        let text = |n: u64| format!("2026-11-22T16:48:54.123Z RESERVED #{n} Sala {n}");
        for _ in 0..100 {
            for n in 1..=50 {
                let got = notices.get(n, &text(n), None, Lang::Es, &Zone::utc());
                assert_eq!(got, Some(&*format!("* {n} RESERVADO #{n} Sala {n}")));
            }
        }
        assert_eq!(notices.made, 50);
        let pattern = Pattern::new("sala 7").unwrap();
        for _ in 0..100 {
            for n in 1..=50 {
                let got = notices.get(n, &text(n), Some(&pattern), Lang::Es, &Zone::utc());
                assert_eq!(got.is_some(), n == 7);
            }
        }
        assert_eq!(notices.made, 100, "the names of each are cached, too");
    }

    #[test]
    fn cache_is_bounded_and_never_returns_another_event() {
        let mut notices = Notices::default();
        for n in (1..5000).chain([3, 4000, 2, 9_000_000, 1]) {
            let text = format!("2026-11-22T16:48:54.123Z ADDED Sala {n}");
            let got = notices.get(n, &text, None, Lang::En, &Zone::utc());
            assert_eq!(got, Some(&*format!("* {n} ADD Sala {n}")));
            assert!(notices.kept.len() <= NOTICES_KEPT);
        }
    }

    #[test]
    fn texts_of_the_journal_become_notices() {
        let cases = [
            ("ADDED Sala 1", "* 7 ALTA Sala 1"),
            ("REMOVED Sala 1", "* 7 BAJA Sala 1"),
            ("RESERVED #4 Sala 1", "* 7 RESERVADO #4 Sala 1"),
            ("RESERVED #4 Sala 1 from=T until=never", "* 7 RESERVADO #4 Sala 1"),
            ("RESERVED #4 Sala 1 holder=\"a from=2026 until=b\"", "* 7 RESERVADO #4 Sala 1"),
            (
                "RESERVED #4 Sala 1 until=2026-12-24T00:00:00.001Z lease=yes",
                "* 7 RESERVADO #4 Sala 1 desde=2026-11-22T16:48:54+00:00 hasta=2026-12-24T00:00:01+00:00",
            ),
            (
                "RESERVED #4 Sala 1 from=2026-12-24T00:00:00.000Z",
                "* 7 RESERVADO #4 Sala 1 desde=2026-12-24T00:00:00+00:00 hasta=-",
            ),
            (
                "RESERVED #4 Sala 1, Sala 2 from=T until=quit note=\" until=2026 \"",
                "* 7 RESERVADO #4 Sala 1, Sala 2 desde=2026-11-22T16:48:54+00:00 hasta=salir",
            ),
            (
                "RESERVED #4 Sala 1 from=2026-12-24T00:00:00.000Z until=never",
                "* 7 RESERVADO #4 Sala 1 desde=2026-12-24T00:00:00+00:00 hasta=-",
            ),
            (
                "RENEWED #4 Sala 1 until=2026-12-24T00:00:00.001Z lease=yes",
                "* 7 RENOVADO #4 Sala 1 hasta=2026-12-24T00:00:01+00:00",
            ),
            ("RENEWED #4 Sala 1 until=quit for=60s", "* 7 RENOVADO #4 Sala 1 hasta=salir por=60s"),
            (
                "RESERVED #4 Sala 1 from=T until=quit for=60s note=\"for=1\"",
                "* 7 RESERVADO #4 Sala 1 desde=2026-11-22T16:48:54+00:00 hasta=salir por=60s",
            ),
            ("CANCELLED #4 Sala 1", "* 7 CANCELADO #4 Sala 1"),
            ("EXPIRED #4 Sala 1", "* 7 VENCIDO #4 Sala 1"),
        ];
        let time = "2026-11-22T16:48:54.123Z";
        for (text, want) in cases {
            let text = format!("{time} {}", text.replace("from=T", &format!("from={time}")));
            let got = notice(&text, None, Lang::Es);
            assert_eq!(got.as_deref(), Some(want), "{text}");
        }
        let text = format!("{time} CANCELLED #4 Sala 1, Árbol");
        let pattern = Pattern::new("arb*").unwrap();
        let got = notice(&text, Some(&pattern), Lang::En);
        assert_eq!(got.as_deref(), Some("* 7 CANCELLED #4 Sala 1, Árbol"));
        let other = Pattern::new("sala").unwrap();
        assert_eq!(notice(&text, Some(&other), Lang::En), None);
    }
}

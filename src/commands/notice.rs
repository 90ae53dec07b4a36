//! Notices of what has happened, for those who watch: the journal's text of
//! an event in the words of the wire. A notice depends on nothing but that
//! text, so one that is told again is the same to the byte.

use std::fmt::Write;

use super::words::Lang;
use crate::clock::{Round, Zone, parse_utc};
use crate::inventory::names::fold;
use crate::inventory::pattern::Pattern;

/// The notice of an event, without its ending; `None` if no name in it
/// matches. `text` is as `Event::encode` writes it.
pub fn notice(
    number: u64,
    text: &str,
    pattern: Option<&Pattern>,
    lang: Lang,
    zone: &Zone,
) -> Option<String> {
    let (time, rest) = text.split_once(' ')?;
    let (word, rest) = rest.split_once(' ')?;
    let (es, en) = match word {
        "ADDED" => ("ALTA", "ADD"),
        "REMOVED" => ("BAJA", "REMOVE"),
        "RESERVED" => ("RESERVADO", "RESERVED"),
        "CANCELLED" => ("CANCELADO", "CANCELLED"),
        "RENEWED" => ("RENOVADO", "RENEWED"),
        "EXPIRED" => ("VENCIDO", "EXPIRED"),
        _ => return None,
    };
    // No name has an equals sign: what stands before the word with the first are names.
    let terms = rest.find('=').and_then(|at| rest[..at].rfind(' '));
    let (body, terms) = match terms {
        Some(at) if matches!(word, "RESERVED" | "RENEWED") => rest.split_at(at),
        _ => (rest, ""),
    };
    let names = match body.strip_prefix('#') {
        Some(numbered) => numbered.split_once(' ')?.1,
        None => body,
    };
    if let Some(pattern) = pattern
        && !names.split(", ").any(|name| pattern.matches(&fold(name)))
    {
        return None;
    }
    let mut line = format!("* {number} {} {body}", lang.pick(es, en));
    let begun = (word == "RESERVED").then_some(time);
    push_terms(begun, terms, lang, zone, &mut line);
    Some(line)
}

/// The interval, where there is an end or a start that is not the moment of
/// the event; of a renewal, which begins nothing, its new end.
fn push_terms(begun: Option<&str>, terms: &str, lang: Lang, zone: &Zone, line: &mut String) {
    // These two stand before what may have anything in its quotes.
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
        let _ = write!(line, " {}=", lang.pick("desde", "from"));
        line.push_str(&zone.print(from, Round::Down));
    }
    let _ = write!(line, " {}=", lang.pick("hasta", "until"));
    match until.map(|until| (until, parse_utc(until))) {
        Some(("quit", _)) => line.push_str(lang.pick("salir", "quit")),
        Some((_, Some(until))) => line.push_str(&zone.print(until, Round::Up)),
        _ => line.push('-'),
    }
    if let Some(length) = length {
        let _ = write!(line, " {}={length}", lang.pick("por", "for"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_journal_become_notices() {
        let rows = [
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
        for (text, want) in rows {
            let text = format!("{time} {}", text.replace("from=T", &format!("from={time}")));
            let got = notice(7, &text, None, Lang::Es, &Zone::utc());
            assert_eq!(got.as_deref(), Some(want), "{text}");
        }
        let text = format!("{time} CANCELLED #4 Sala 1, Árbol");
        let pattern = Pattern::new("arb*").unwrap();
        let got = notice(7, &text, Some(&pattern), Lang::En, &Zone::utc());
        assert_eq!(got.as_deref(), Some("* 7 CANCELLED #4 Sala 1, Árbol"));
        let other = Pattern::new("sala").unwrap();
        assert_eq!(notice(7, &text, Some(&other), Lang::En, &Zone::utc()), None);
    }
}

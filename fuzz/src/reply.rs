//! What every reply and notice must look like, whatever was asked.

use reservad::conn::Eol;
use reservad::text::is_hidden;

const CODES: [&str; 10] = ["400", "401", "403", "404", "408", "409", "410", "413", "429", "503"];
const LISTS: [&str; 8] =
    ["DISPONIBLES", "AVAILABLE", "RESERVAS", "BOOKINGS", "ESTADO", "STATUS", "AYUDA", "HELP"];
/// An error names what was sent cut short, so it stays short.
const ERROR_MAX_BYTES: usize = 2048;

/// The lines of a text, each with the asked ending and nothing else that a
/// terminal would obey.
pub fn lines(text: &[u8], eol: Eol) -> Vec<&str> {
    let text = str::from_utf8(text).expect("what is said is UTF-8");
    let Some(text) = text.strip_suffix(eol.as_str()) else {
        assert!(text.is_empty(), "the last line has no ending: {text:?}");
        return Vec::new();
    };
    let lines: Vec<_> = text.split(eol.as_str()).collect();
    for line in &lines {
        let is_row = line.starts_with('#');
        let may = |c: char| {
            (is_row && c == '\t') || !c.is_control() && (!is_hidden(c) || is_emoji_part(c))
        };
        assert!(line.chars().all(may), "an unfit character in {line:?}");
    }
    lines
}

/// Notes may have these.
fn is_emoji_part(c: char) -> bool {
    matches!(c, '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

/// The reply to one line: nothing (a blank line), one line, or a list of as
/// many rows as its first line says. Returns its lines.
pub fn check(text: &[u8], eol: Eol) -> Vec<&str> {
    let lines = lines(text, eol);
    let Some((head, rows)) = lines.split_first() else { return lines };
    let words: Vec<_> = head.split(' ').collect();
    match words[..] {
        ["OK", count, word] if LISTS.contains(&word) && count.parse::<usize>().is_ok() => {
            assert_eq!(count, rows.len().to_string(), "{head:?} and then {} rows", rows.len());
            let tabs = if matches!(word, "RESERVAS" | "BOOKINGS") { 5 } else { 0 };
            assert!(rows.iter().all(|row| row.matches('\t').count() == tabs), "{lines:?}");
        }
        ["OK", _, ..] | ["*", "COLA" | "QUEUE", _, _, ..] => assert!(rows.is_empty(), "{lines:?}"),
        ["ERR", code, _, ..] if CODES.contains(&code) => {
            assert!(rows.is_empty() && head.len() <= ERROR_MAX_BYTES, "{lines:?}");
        }
        _ => panic!("this is no reply: {head:?}"),
    }
    lines
}

/// What the reply comes to, the same in both languages: `OK`, `*`, or `ERR`
/// with its code; and how many lines.
pub fn outcome(lines: &[&str]) -> (String, usize) {
    let mut words = lines.first().map_or("", |head| *head).split(' ');
    let first = words.next().unwrap_or_default();
    let code = if first == "ERR" { words.next().unwrap_or_default() } else { "" };
    (format!("{first} {code}"), lines.len())
}

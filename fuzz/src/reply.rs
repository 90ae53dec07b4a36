//! The form of replies and notices.

use reservad::conn::Eol;
use reservad::text::is_hidden;

const CODES: [&str; 10] = ["400", "401", "403", "404", "408", "409", "410", "413", "429", "503"];
const LISTS: [&str; 8] =
    ["DISPONIBLES", "AVAILABLE", "RESERVAS", "BOOKINGS", "ESTADO", "STATUS", "AYUDA", "HELP"];
/// Errors are short, because they contain excerpts of the request only.
const ERROR_MAX_BYTES: usize = 2048;

/// Splits a text into its lines. Checks their endings, and that they contain no control characters.
pub fn lines(text: &[u8], eol: Eol) -> Vec<&str> {
    let text = str::from_utf8(text).expect("UTF-8");
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
        assert!(line.chars().all(may), "a control character in {line:?}");
    }
    lines
}

/// Returns whether a hidden character is allowed in notes.
fn is_emoji_part(c: char) -> bool {
    matches!(c, '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

/// Checks the reply to one line: nothing for a blank line, a single line, or a list with as many
/// items as its first line states. Returns the lines.
pub fn check(text: &[u8], eol: Eol) -> Vec<&str> {
    let lines = lines(text, eol);
    let Some((head, rows)) = lines.split_first() else { return lines };
    let words: Vec<_> = head.split(' ').collect();
    match words[..] {
        ["OK", count, word] if LISTS.contains(&word) && count.parse::<usize>().is_ok() => {
            assert_eq!(count, rows.len().to_string(), "{head:?}, but {} items", rows.len());
            let tabs = if matches!(word, "RESERVAS" | "BOOKINGS") { 5 } else { 0 };
            assert!(rows.iter().all(|row| row.matches('\t').count() == tabs), "{lines:?}");
        }
        ["OK", _, ..] | ["*", "COLA" | "QUEUE", _, _, ..] => assert!(rows.is_empty(), "{lines:?}"),
        ["ERR", code, _, ..] if CODES.contains(&code) => {
            assert!(rows.is_empty() && head.len() <= ERROR_MAX_BYTES, "{lines:?}");
        }
        _ => panic!("not a reply: {head:?}"),
    }
    lines
}

/// Returns the outcome of a reply, which is the same in both languages: `OK`, `*`, or `ERR` with
/// its code, and the number of lines.
pub fn outcome(lines: &[&str]) -> (String, usize) {
    let mut words = lines.first().map_or("", |head| *head).split(' ');
    let first = words.next().unwrap_or_default();
    let code = if first == "ERR" { words.next().unwrap_or_default() } else { "" };
    (format!("{first} {code}"), lines.len())
}

//! From the words of the command line to the line that travels.

use std::ffi::OsString;
use std::time::Duration;

use crate::guard::length;
use crate::reply::shown;
use crate::texts::{self, Language};
use crate::{Stop, usage};

/// Words as text; a word that is not UTF-8 cannot travel.
pub fn as_text(words: &[OsString], language: Language) -> Result<Vec<String>, Stop> {
    let text = |word: &OsString| word.to_str().map(str::to_owned);
    let words: Option<Vec<String>> = words.iter().map(text).collect();
    words.ok_or_else(|| usage(language.plain(texts::NOT_UTF8).to_owned()))
}

/// One line, without its LF, made of the words in their order; or the usage error that says
/// which word cannot be part of a line.
pub fn line(words: &[String], language: Language) -> Result<String, Stop> {
    for word in words {
        if let Some(control) = word.chars().find(|c| c.is_control() && *c != '\t') {
            let name = format!("U+{:04X}", u32::from(control));
            let word = shown(word.as_bytes());
            return Err(usage(language.say(texts::CONTROL_CHARACTER, &[&word, &name])));
        }
    }
    let line = words.iter().map(|word| on_the_wire(word)).collect::<Vec<_>>().join(" ");
    if line.trim().is_empty() {
        // The server answers nothing to a blank line: sending it would be waiting for ever.
        return Err(usage(language.plain(texts::NOTHING_TO_SEND).to_owned()));
    }
    Ok(line)
}

/// Returns how long a line may wait in the queue: its `espera=`, if that is valid.
pub fn wait_of(line: &str) -> Duration {
    let mut words = line.split_ascii_whitespace();
    let wait = words.find_map(|word| {
        let (name, value) = word.split_once('=')?;
        let is_wait = ["espera", "wait"].iter().any(|wait| name.eq_ignore_ascii_case(wait));
        is_wait.then(|| value.trim_matches('"'))
    });
    wait.and_then(length).unwrap_or_default()
}

/// A word as the server wants to read it: the value of `key=value` is quoted where it would not
/// be one word otherwise, because the quotes that a person typed were taken away by the shell.
/// Anything else goes as it is, also a whole line given as one word (its key has spaces).
fn on_the_wire(word: &str) -> String {
    match word.split_once('=') {
        Some((key, value)) if is_key(key) && needs_quotes(value) => {
            format!("{key}={}", quoted(value))
        }
        _ => word.to_owned(),
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && !key.contains(char::is_whitespace) && !key.contains('"')
}

fn needs_quotes(value: &str) -> bool {
    let special = |c: char| c.is_whitespace() || c == '"' || c == '\\';
    (value.is_empty() || value.contains(special)) && !is_quoted(value)
}

/// Whether the value is a whole quoted string of the protocol: who wrote `nota='"dos adultos"'`
/// has quoted it already.
fn is_quoted(value: &str) -> bool {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return false,
            '\\' if !matches!(chars.next(), Some('"' | '\\')) => return false,
            _ => {}
        }
    }
    true
}

/// The value in quotes, with the two escapes that the protocol knows.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_one_line() {
        let rows: [(&[&str], &str); 22] = [
            (&["list"], "list"),
            (&["RESERVAR", "Habitación", "1"], "RESERVAR Habitación 1"),
            (&["RESERVAR", "Habitación 1"], "RESERVAR Habitación 1"),
            (&["R", "x", "nota=dos adultos"], r#"R x nota="dos adultos""#),
            (&["R", "x", "nota=con\ttab"], "R x nota=\"con\ttab\""),
            (&["R", "x", "nota=dos"], "R x nota=dos"),
            (&["R", "x", "nota="], r#"R x nota="""#),
            (&["R", "x", "nota=-"], "R x nota=-"),
            (&["R", "x", "-y", "--", "nota=- "], r#"R x -y -- nota="- ""#),
            (&["R", "x", r#"nota=di "hola""#], r#"R x nota="di \"hola\"""#),
            (&["R", "x", r#"nota=di"hola"#], r#"R x nota="di\"hola""#),
            (&["R", "x", r"nota=a\b"], r#"R x nota="a\\b""#),
            (&["R", "x", r#"nota="dos adultos""#], r#"R x nota="dos adultos""#),
            (&["R", "x", r#"nota="a \" b \\""#], r#"R x nota="a \" b \\""#),
            (&["R", "x", r#"nota="a" b""#], r#"R x nota="\"a\" b\"""#),
            (&["R", "x", r#"nota="a\""#], r#"R x nota="\"a\\\"""#),
            (&["R", "x", r#"nota="a\n b""#], r#"R x nota="\"a\\n b\"""#),
            (&["R", "x", r#"nota=""#], r#"R x nota="\"""#),
            (&["R", "x", r#"nota="""#], r#"R x nota="""#),
            (&["R", "x", "nota=a=b c"], r#"R x nota="a=b c""#),
            (&["R x nota=dos"], "R x nota=dos"),
            (&[r#"R x nota="dos adultos" clave=k"#], r#"R x nota="dos adultos" clave=k"#),
        ];
        for (words, expected) in rows {
            let words: Vec<String> = words.iter().map(|w| w.to_string()).collect();
            assert_eq!(line(&words, Language::English).expect("a line"), expected);
        }
    }

    #[test]
    fn a_wait_is_found_in_a_line() {
        for (line, seconds) in [
            ("RESERVE x", 0),
            ("RESERVE x wait=90s", 90),
            ("RESERVAR x ESPERA=1h por=2h", 3_600),
            ("RESERVE x wait=\"2m\"", 120),
            ("RESERVE x wait=soon", 0),
        ] {
            assert_eq!(wait_of(line), Duration::from_secs(seconds), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_a_line_is_refused() {
        for word in ["a\nb", "a\r", "\0", "\x1b[31m", "\x7f", "\u{85}", "nota=a\nb", "", " \t "] {
            let refused = line(&[word.to_owned()], Language::Spanish);
            assert!(matches!(refused, Err(Stop::Error { code: 64, .. })), "{word:?}");
        }
    }
}

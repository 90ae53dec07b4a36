//! The command line of a request: joins the arguments of the client to one line of the protocol.

use std::ffi::OsString;
use std::time::Duration;

use reservad::text::{Opt, Verb, parse_duration_ms, push_quoted, read_quoted};

use crate::Exit;
use crate::client::reply::escape_for_terminal;
use crate::client::texts::{self, Lang};

/// Options of the client as they may stand, by mistake, after the first word.
const OPTIONS: [&str; 8] =
    ["--server", "-s", "--timeout", "--quiet", "-q", "--wait-children", "--help", "--version"];

/// Converts arguments to text.
pub fn to_utf8(words: &[OsString], language: Lang) -> Result<Vec<String>, Exit> {
    let text = |word: &OsString| word.to_str().map(str::to_owned);
    let words: Option<Vec<String>> = words.iter().map(text).collect();
    words.ok_or_else(|| Exit::usage(texts::NOT_UTF8.get(language).to_owned()))
}

/// Joins words to one line without its LF. Words with control characters are rejected.
pub fn join(words: &[String], language: Lang) -> Result<String, Exit> {
    for word in words {
        if let Some(control) = word.chars().find(|c| c.is_control() && *c != '\t') {
            let name = format!("U+{:04X}", u32::from(control));
            let word = escape_for_terminal(word.as_bytes());
            return Err(Exit::usage(texts::CONTROL_CHARACTER.format(language, &[&word, &name])));
        }
    }
    let line = words.iter().map(|word| requote(word)).collect::<Vec<_>>().join(" ");
    if line.trim().is_empty() {
        // The server does not reply to a blank line.
        return Err(Exit::usage(texts::NOTHING_TO_SEND.get(language).to_owned()));
    }
    Ok(line)
}

/// Returns advice for a command that the server has refused, if the shell or the order of the
/// arguments is a likely reason.
pub fn hint(words: &[String], language: Lang) -> Option<String> {
    let is_option = |word: &&String| {
        OPTIONS.iter().any(|option| *word == option || word.starts_with(&format!("{option}=")))
    };
    if let Some(option) = words.iter().skip(1).find(is_option) {
        return Some(texts::HINT_OPTION.format(language, &[option]));
    }
    // A shell drops `#7` as a comment if it is not quoted.
    let [verb] = words else { return None };
    let (verb, lang) = Verb::find(verb.trim())?;
    let needs_number = matches!(verb, Verb::Cancel | Verb::Renew | Verb::Verify);
    let verb = needs_number.then(|| verb.word(lang))?;
    Some(texts::HINT_NUMBER.format(language, &[verb]))
}

/// Returns the time that a line may wait in the queue: the value of a valid `wait=`, otherwise zero.
pub fn wait_of(line: &str) -> Duration {
    let mut words = line.split_ascii_whitespace();
    let wait = words.find_map(|word| {
        let (name, value) = word.split_once('=')?;
        (Opt::find(name) == Some(Opt::Wait)).then(|| value.trim_matches('"'))
    });
    wait.and_then(parse_duration).unwrap_or_default()
}

/// Quotes the value of `key=value` if the protocol requires it, because the shell has removed the
/// quotes that the user typed. Other words stay unchanged, also a whole line passed as one word,
/// whose "key" contains spaces.
fn requote(word: &str) -> String {
    match word.split_once('=') {
        Some((key, value)) if is_key(key) && needs_quotes(value) => {
            let mut option = String::new();
            push_quoted(&format!("{key}="), value, &mut option);
            option
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

/// Returns whether a value is a complete quoted string of the protocol already, as in
/// `note='"two adults"'`.
fn is_quoted(value: &str) -> bool {
    let quoted = value.strip_prefix('"').map(read_quoted);
    matches!(quoted, Some(Ok((_, ""))))
}

/// Splits a line at the spaces that are not in quotes.
pub fn split(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (None, false, false);
    for (at, c) in line.char_indices() {
        if c.is_ascii_whitespace() && !is_quoted {
            words.extend(start.take().map(|start: usize| &line[start..at]));
            continue;
        }
        start.get_or_insert(at);
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = is_quoted && c == '\\' && !is_escaped;
    }
    words.extend(start.map(|start| &line[start..]));
    words
}

/// Returns a value without its quotes and escapes, if it has any.
pub fn unquote(value: &str) -> String {
    match value.strip_prefix('"').map(read_quoted) {
        Some(Ok((unquoted, ""))) => unquoted,
        _ => value.to_owned(),
    }
}

/// Parses a duration of the protocol, as `90s`, `1h30m` or `3d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let milliseconds = parse_duration_ms(text).ok()?;
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_and_requoted() {
        let cases: [(&[&str], &str); 22] = [
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
        for (words, expected) in cases {
            let words: Vec<String> = words.iter().map(|w| w.to_string()).collect();
            assert_eq!(join(&words, Lang::En).expect("a valid line"), expected);
        }
    }

    #[test]
    fn wait_of_a_line_is_found() {
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
    fn invalid_words_are_rejected() {
        for word in ["a\nb", "a\r", "\0", "\x1b[31m", "\x7f", "\u{85}", "nota=a\nb", "", " \t "] {
            let refused = join(&[word.to_owned()], Lang::Es);
            assert!(matches!(refused, Err(Exit::Failure { code: 64, .. })), "{word:?}");
        }
    }

    #[test]
    fn misplaced_option_or_lost_number_gets_a_hint() {
        let cases: [(&[&str], &str); 8] = [
            (&["LIST", "--quiet"], "--quiet"),
            (&["LIST", "--server=a:1"], "--server=a:1"),
            (&["cancel"], "CANCEL '#7'"),
            (&["RENOVAR "], "RENOVAR '#7'"),
            (&["--quiet"], ""),
            (&["CANCEL", "x"], ""),
            (&["LIST", "--x"], ""),
            (&["QUIT"], ""),
        ];
        for (words, expected) in cases {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            let hint = hint(&words, Lang::En);
            assert_eq!(hint.is_some(), !expected.is_empty(), "{words:?}");
            assert!(hint.unwrap_or_default().contains(expected), "{words:?}");
        }
    }
}

//! What `ejecutar` was asked for: from the words of the command line to the lines that travel and
//! the program to run.

use std::ffi::OsString;
use std::time::Duration;

use crate::texts::{self, Language};
use crate::{Settings, Stop, help, usage, words};

/// A reservation to hold and a program to run under it.
#[derive(Debug)]
pub struct Order {
    pub verbs: &'static Verbs,
    /// What follows `SOY`, if the reservation is to have a holder.
    pub holder: Option<String>,
    /// The line that reserves.
    pub reserve: String,
    /// The same line for a server that does not support [`End::Heartbeat`].
    pub plain: String,
    /// How long the request may wait in the queue.
    pub wait: Duration,
    pub end: End,
    /// The program and its arguments, byte by byte as they were given.
    pub program: Vec<OsString>,
}

/// When the reservation ends if nobody ends it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With the connection (`hasta=salir`).
    Connection,
    /// After `SALIR`, or this long after the last renewal (`hasta=salir por=`).
    Heartbeat(String, Duration),
    /// After a term that is renewed (`por=`), as it was written and as a length.
    Lease(String, Duration),
    /// At a time that stays (`hasta=`, `noches=`).
    Fixed,
}

impl End {
    /// Returns how long it lasts from a renewal, if it can be renewed.
    pub fn term(&self) -> Option<Duration> {
        match self {
            End::Heartbeat(_, term) | End::Lease(_, term) => Some(*term),
            End::Connection | End::Fixed => None,
        }
    }
}

/// How long a reservation without an explicit end outlives a wrapper whose machine has failed,
/// which is also how long the server may be unreachable.
const HEARTBEAT: (&str, Duration) = ("60s", Duration::from_secs(60));

/// The words of one language of the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Verbs {
    pub reserve: &'static str,
    pub iam: &'static str,
    pub watch: &'static str,
    pub renew: &'static str,
    pub verify: &'static str,
    pub cancel: &'static str,
    pub quit: &'static str,
    pub for_option: &'static str,
    pub until_quit: &'static str,
    pub status: &'static str,
}

static SPANISH: Verbs = Verbs {
    reserve: "RESERVAR",
    iam: "SOY",
    watch: "OBSERVAR",
    renew: "RENOVAR",
    verify: "VERIFICAR",
    cancel: "CANCELAR",
    quit: "SALIR",
    for_option: "por",
    until_quit: "hasta=salir",
    status: "ESTADO",
};

static ENGLISH: Verbs = Verbs {
    reserve: "RESERVE",
    iam: "IAM",
    watch: "WATCH",
    renew: "RENEW",
    verify: "VERIFY",
    cancel: "CANCEL",
    quit: "QUIT",
    for_option: "for",
    until_quit: "until=quit",
    status: "STATUS",
};

/// The verb of the wire's language that the first word chooses, if it is this command at all.
fn verbs_of(first: &OsString) -> Option<&'static Verbs> {
    let first = first.to_str()?;
    if first.eq_ignore_ascii_case("ejecutar") {
        Some(&SPANISH)
    } else if first.eq_ignore_ascii_case("run") {
        Some(&ENGLISH)
    } else {
        None
    }
}

impl Order {
    /// Parses a command line; `None` if it is a line for the server. Options of the client may also
    /// follow the verb.
    pub fn of(given: &[OsString], settings: &mut Settings) -> Result<Option<Self>, Stop> {
        let language = settings.language;
        let Some(verbs) = given.first().and_then(verbs_of) else {
            return Ok(None);
        };
        let wrong = |text| usage(language.plain(text).to_owned());
        let dashes = given.iter().position(|word| word == "--");
        let ours = &given[1..dashes.unwrap_or(given.len())];
        if ours.iter().any(|word| word == "--help" || word == "-h") {
            return Err(help(language));
        }
        let dashes = dashes.ok_or_else(|| wrong(texts::NO_PROGRAM))?;
        let program = given[dashes + 1..].to_vec();
        if program.is_empty() {
            return Err(wrong(texts::NO_PROGRAM));
        }
        let mut request = words::as_text(&given[1..dashes], language)?;
        let ours = request.extract_if(.., |word| word.starts_with("--"));
        for option in ours.collect::<Vec<_>>() {
            match option.as_str() {
                "--quiet" => settings.is_quiet = true,
                "--wait-children" => settings.waits_for_children = true,
                _ => return Err(usage(language.say(texts::UNKNOWN_OPTION, &[&option]))),
            }
        }
        if request.iter().all(|word| word.trim().is_empty()) {
            return Err(wrong(texts::NO_TARGETS));
        }
        let request = Request::of(&words::line(&request, language)?, language)?;
        Ok(Some(request.order(verbs, program)))
    }
}

/// The words between the verb and the `--`.
#[derive(Default)]
struct Request {
    /// What travels, in its order.
    line: Vec<String>,
    holder: Option<String>,
    /// `por=`, as written. The server reports invalid values.
    term: Option<String>,
    /// `hasta=salir`.
    is_bound: bool,
    /// `hasta=` with a time, or `noches=`.
    is_fixed: bool,
    wait: Duration,
}

impl Request {
    fn of(line: &str, language: Language) -> Result<Self, Stop> {
        let mut request = Request::default();
        for word in split(line) {
            let Some((name, value)) = word.split_once('=') else {
                request.line.push(word.to_owned());
                continue;
            };
            if request.line.is_empty() {
                return Err(usage(language.plain(texts::NO_TARGETS).to_owned()));
            }
            request.option(word, &name.to_ascii_lowercase(), &unquoted(value), language)?;
        }
        Ok(request)
    }

    /// An option; those that are not ours to understand are the server's to judge.
    fn option(
        &mut self,
        word: &str,
        name: &str,
        value: &str,
        language: Language,
    ) -> Result<(), Stop> {
        match name {
            "titular" | "holder" => {
                self.holder = Some(value.to_owned());
                return Ok(());
            }
            // The program runs now, so now is when the reservation begins; and a key could give
            // one reservation to two programs.
            "desde" | "from" | "clave" | "key" => {
                return Err(usage(language.say(texts::NOT_WITH_A_PROGRAM, &[word])));
            }
            "por" | "for" => self.term = Some(value.to_owned()),
            "hasta" | "until" => {
                let with_us = ["salir", "quit"].iter().any(|v| value.eq_ignore_ascii_case(v));
                if with_us { self.is_bound = true } else { self.is_fixed = true }
            }
            "noches" | "nights" => self.is_fixed = true,
            "espera" | "wait" => self.wait = length(value).unwrap_or_default(),
            _ => {}
        }
        self.line.push(word.to_owned());
        Ok(())
    }

    fn order(mut self, verbs: &'static Verbs, program: Vec<OsString>) -> Order {
        let end = self.end();
        let line = |words: &[String]| format!("{} {}", verbs.reserve, words.join(" "));
        let has_end = self.is_bound || self.is_fixed || self.term.is_some();
        if !has_end {
            self.line.push(verbs.until_quit.to_owned());
        }
        let plain = line(&self.line);
        if !has_end {
            self.line.push(format!("{}={}", verbs.for_option, HEARTBEAT.0));
        }
        Order {
            verbs,
            holder: self.holder,
            reserve: line(&self.line),
            plain,
            wait: self.wait,
            end,
            program,
        }
    }

    fn end(&self) -> End {
        let term = self.term.as_ref().map(|text| (text.clone(), length(text)));
        match (term, self.is_bound, self.is_fixed) {
            (None, false, false) => End::Heartbeat(HEARTBEAT.0.to_owned(), HEARTBEAT.1),
            (None, true, false) => End::Connection,
            (Some((text, Some(term))), true, false) => End::Heartbeat(text, term),
            (Some((text, Some(term))), false, false) => End::Lease(text, term),
            // The server reports ends that exclude each other.
            _ => End::Fixed,
        }
    }
}

/// The words of a line as the protocol cuts them: at spaces that are not in quotes.
fn split(line: &str) -> Vec<&str> {
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

fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else { return value.to_owned() };
    let mut plain = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

/// A length as the protocol writes it: `90s`, `1h30m`, `3d`. `None` for anything else.
pub fn length(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let unit = match after.chars().next()?.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = &after[1..];
    }
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Option<Order>, Stop> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Order::of(&words, &mut Settings::of(Language::English))
    }

    #[test]
    fn words_become_an_order() {
        let lease = |text: &str, seconds| End::Lease(text.into(), Duration::from_secs(seconds));
        let minute = || End::Heartbeat("60s".into(), Duration::from_secs(60));
        let rows: [(&[&str], &str, End, Option<&str>); 10] = [
            (
                &["run", "x", "for=30s", "until=quit", "--", "p"],
                "RESERVE x for=30s until=quit",
                End::Heartbeat("30s".into(), Duration::from_secs(30)),
                None,
            ),
            (&["ejecutar", "x", "--", "p"], "RESERVAR x hasta=salir por=60s", minute(), None),
            (&["Run", "x", "--", "p"], "RESERVE x until=quit for=60s", minute(), None),
            (
                &["RUN", "a b,", "c*", "--", "p"],
                "RESERVE a b, c* until=quit for=60s",
                minute(),
                None,
            ),
            (
                &["run", "x", "FOR=1h30m", "--", "p"],
                "RESERVE x FOR=1h30m",
                lease("1h30m", 5400),
                None,
            ),
            (&["run", "x", "por=nada", "--", "p"], "RESERVE x por=nada", End::Fixed, None),
            (&["run", "x until=QUIT", "--", "p"], "RESERVE x until=QUIT", End::Connection, None),
            (&["run", "x", "noches=2", "--", "p"], "RESERVE x noches=2", End::Fixed, None),
            (
                &["ejecutar", "x", "titular=ana", "nota=por=3s --", "--", "p"],
                "RESERVAR x nota=\"por=3s --\" hasta=salir por=60s",
                minute(),
                Some("ana"),
            ),
            (
                &["run", "x", "holder=ana secret", "por=2s", "--", "p"],
                "RESERVE x por=2s",
                lease("2s", 2),
                Some("ana secret"),
            ),
        ];
        for (words, line, end, holder) in rows {
            let order = of(words).expect("a good line").expect("an order");
            assert_eq!((order.reserve.as_str(), &order.end), (line, &end), "{words:?}");
            let plain = line.strip_suffix(&format!(" {}=60s", order.verbs.for_option));
            assert_eq!(order.plain, plain.unwrap_or(line));
            assert_eq!((order.holder.as_deref(), &*order.program), (holder, &["p".into()][..]));
        }
    }

    #[test]
    fn the_program_is_everything_after_the_first_dashes() {
        let order = of(&["run", "x", "--", "p", "--", "-a", "", "b c"]).unwrap().expect("an order");
        assert_eq!(order.program, ["p", "--", "-a", "", "b c"]);
    }

    #[test]
    fn other_words_are_for_the_server() {
        for words in [&[][..], &["RESERVAR", "run", "--", "p"], &["runs", "x"], &["LIST"]] {
            assert!(of(words).expect("no error").is_none(), "{words:?}");
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let rows: [&[&str]; 10] = [
            &["run"],
            &["run", "x"],
            &["run", "x", "--"],
            &["run", "--", "p"],
            &["run", "", " ", "--", "p"],
            &["run", "por=3s", "--", "p"],
            &["run", "x", "desde=ahora", "--", "p"],
            &["run", "x", "KEY=k", "--", "p"],
            &["run", "x", "clave=\"k\"", "--", "p"],
            &["run", "x\ny", "--", "p"],
        ];
        for words in rows {
            assert!(matches!(of(words), Err(Stop::Error { code: 64, .. })), "{words:?}");
        }
    }

    #[test]
    fn lengths_are_read() {
        for (text, seconds) in [("90s", 90), ("1h30m", 5400), ("3d", 259_200), ("1m1S", 61)] {
            assert_eq!(length(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "3", "s", "0s", "-1s", "1w", "1h30", "99999999999999999999s", "1 s"] {
            assert_eq!(length(text), None, "{text}");
        }
    }
}

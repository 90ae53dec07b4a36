//! The request of `run`: parses the arguments to the lines for the server and the program to run.

use std::ffi::OsString;
use std::time::Duration;

use reservad::text::{Opt, Verb, is_quit_word};

use crate::client::arguments::print_help;
use crate::client::command_line::{self, parse_duration, split, unquote};
use crate::client::texts::{self, Lang, Text};
use crate::{Exit, Settings};

/// A reservation to make and a program to run under it.
#[derive(Debug)]
pub struct RunRequest {
    /// The language of the commands.
    pub lang: Lang,
    /// The arguments of `IAM`, if the reservation has a holder.
    pub holder: Option<String>,
    /// The line that reserves.
    pub reserve: String,
    /// The same line for a server that does not support [`End::KeepAlive`].
    pub reserve_until_quit: String,
    /// How long the request may wait in the queue.
    pub wait: Duration,
    pub end: End,
    /// The program and its arguments, unchanged.
    pub program: Vec<OsString>,
}

/// The end of the reservation if nothing ends it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The end of the connection (`until=quit`).
    Connection,
    /// `QUIT`, or this time after the last renewal (`until=quit for=`).
    KeepAlive(Ttl),
    /// This time after the last renewal (`for=`).
    Lease(Ttl),
    /// A time that is not extended (`until=`, `nights=`).
    Fixed,
}

/// The time from a renewal to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ttl {
    /// The time as the user wrote it.
    pub text: String,
    pub duration: Duration,
}

impl End {
    /// Returns the time from a renewal to the end, if the reservation is renewed.
    pub fn ttl(&self) -> Option<Duration> {
        match self {
            End::KeepAlive(ttl) | End::Lease(ttl) => Some(ttl.duration),
            End::Connection | End::Fixed => None,
        }
    }
}

/// The time to live of a reservation without an explicit end. If the host of the client fails, the
/// reservation ends after this time. The server may be unreachable for almost as long.
const DEFAULT_TTL: (&str, Duration) = ("60s", Duration::from_secs(60));

/// Returns the language of the commands that the first argument selects, or `None` if that is not
/// `run`.
fn language_of_run(first: &OsString) -> Option<Lang> {
    let first = first.to_str()?;
    if first.eq_ignore_ascii_case("ejecutar") {
        Some(Lang::Es)
    } else if first.eq_ignore_ascii_case("run") {
        Some(Lang::En)
    } else {
        None
    }
}

impl RunRequest {
    /// Parses the arguments. Returns `None` if they are a command for the server. Options of the
    /// client that follow the verb change `settings`.
    pub fn parse(arguments: &[OsString], settings: &mut Settings) -> Result<Option<Self>, Exit> {
        let language = settings.language;
        let Some(lang) = arguments.first().and_then(language_of_run) else {
            return Ok(None);
        };
        let usage = |text: Text| Exit::usage(text.get(language).to_owned());
        let separator = arguments.iter().position(|word| word == "--");
        let ours = &arguments[1..separator.unwrap_or(arguments.len())];
        if ours.iter().any(|word| word == "--help" || word == "-h") {
            return Err(print_help(language));
        }
        let program = separator.map(|at| arguments[at + 1..].to_vec()).unwrap_or_default();
        if program.is_empty() {
            return Err(usage(texts::NO_PROGRAM));
        }
        let mut words = command_line::to_utf8(ours, language)?;
        for option in words.extract_if(.., |word| word.starts_with("--")) {
            match option.as_str() {
                "--quiet" => settings.is_quiet = true,
                "--wait-children" => settings.waits_for_children = true,
                _ => return Err(Exit::usage(texts::UNKNOWN_OPTION.format(language, &[&option]))),
            }
        }
        if words.iter().all(|word| word.trim().is_empty()) {
            return Err(usage(texts::NO_TARGETS));
        }
        let options = ReserveOptions::parse(&command_line::join(&words, language)?, language)?;
        Ok(Some(options.into_request(lang, program)))
    }
}

/// Returns the option that binds a reservation to its connection.
pub fn until_quit(lang: Lang) -> String {
    format!("{}={}", Opt::Until.word(lang), lang.localized("salir", "quit"))
}

/// The resources and options between `run` and `--`.
#[derive(Default)]
struct ReserveOptions {
    /// The words to send, in their order.
    line: Vec<String>,
    holder: Option<String>,
    /// The value of `for=`. The server reports an invalid one.
    ttl: Option<String>,
    /// Whether there is `until=quit`.
    until_quit: bool,
    /// Whether there is `until=` with a time, or `nights=`.
    is_fixed: bool,
    wait: Duration,
}

impl ReserveOptions {
    fn parse(line: &str, language: Lang) -> Result<Self, Exit> {
        let mut options = ReserveOptions::default();
        for word in split(line) {
            let Some((name, value)) = word.split_once('=') else {
                options.line.push(word.to_owned());
                continue;
            };
            if options.line.is_empty() {
                return Err(Exit::usage(texts::NO_TARGETS.get(language).to_owned()));
            }
            options.add(word, name, &unquote(value), language)?;
        }
        Ok(options)
    }

    /// Adds an option. The server reports unknown options and invalid values.
    fn add(&mut self, word: &str, name: &str, value: &str, language: Lang) -> Result<(), Exit> {
        match Opt::find(name) {
            Some(Opt::Holder) => {
                self.holder = Some(value.to_owned());
                return Ok(());
            }
            // The program starts now, and with a key two programs could share a reservation.
            Some(Opt::From | Opt::Key) => {
                return Err(Exit::usage(texts::NOT_WITH_RUN.format(language, &[word])));
            }
            Some(Opt::For) => self.ttl = Some(value.to_owned()),
            Some(Opt::Until) if is_quit_word(value) => self.until_quit = true,
            Some(Opt::Until | Opt::Nights) => self.is_fixed = true,
            Some(Opt::Wait) => self.wait = parse_duration(value).unwrap_or_default(),
            _ => {}
        }
        self.line.push(word.to_owned());
        Ok(())
    }

    fn into_request(mut self, lang: Lang, program: Vec<OsString>) -> RunRequest {
        let end = self.end();
        let line = |words: &[String]| format!("{} {}", Verb::Reserve.word(lang), words.join(" "));
        let has_end = self.until_quit || self.is_fixed || self.ttl.is_some();
        if !has_end {
            self.line.push(until_quit(lang));
        }
        let reserve_until_quit = line(&self.line);
        if !has_end {
            self.line.push(format!("{}={}", Opt::For.word(lang), DEFAULT_TTL.0));
        }
        RunRequest {
            lang,
            holder: self.holder,
            reserve: line(&self.line),
            reserve_until_quit,
            wait: self.wait,
            end,
            program,
        }
    }

    fn end(&self) -> End {
        let ttl = |text: &String| Some(Ttl { text: text.clone(), duration: parse_duration(text)? });
        match (self.ttl.as_ref().map(ttl), self.until_quit, self.is_fixed) {
            (None, false, false) => {
                let (text, duration) = DEFAULT_TTL;
                End::KeepAlive(Ttl { text: text.to_owned(), duration })
            }
            (None, true, false) => End::Connection,
            (Some(Some(ttl)), true, false) => End::KeepAlive(ttl),
            (Some(Some(ttl)), false, false) => End::Lease(ttl),
            // The server reports ends that exclude each other.
            _ => End::Fixed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Option<RunRequest>, Exit> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let language = Lang::En;
        let timeout = Duration::from_secs(10);
        let mut settings =
            Settings { language, timeout, is_quiet: false, waits_for_children: false };
        RunRequest::parse(&words, &mut settings)
    }

    fn ttl(text: &str, seconds: u64) -> Ttl {
        Ttl { text: text.to_owned(), duration: Duration::from_secs(seconds) }
    }

    #[test]
    fn arguments_are_parsed_to_a_request() {
        let lease = |text: &str, seconds| End::Lease(ttl(text, seconds));
        let minute = || End::KeepAlive(ttl("60s", 60));
        let cases: [(&[&str], &str, End, Option<&str>); 10] = [
            (
                &["run", "x", "for=30s", "until=quit", "--", "p"],
                "RESERVE x for=30s until=quit",
                End::KeepAlive(ttl("30s", 30)),
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
        for (words, line, end, holder) in cases {
            let request = parse(words).expect("valid arguments").expect("a request");
            assert_eq!((request.reserve.as_str(), &request.end), (line, &end), "{words:?}");
            let until_quit = line.strip_suffix(&format!(" {}=60s", Opt::For.word(request.lang)));
            assert_eq!(request.reserve_until_quit, until_quit.unwrap_or(line));
            let (given_holder, program) = (request.holder.as_deref(), &*request.program);
            assert_eq!((given_holder, program), (holder, &["p".into()][..]));
        }
    }

    #[test]
    fn program_starts_after_the_first_separator() {
        let request = parse(&["run", "x", "--", "p", "--", "-a", "", "b c"]);
        let request = request.expect("valid arguments").expect("a request");
        assert_eq!(request.program, ["p", "--", "-a", "", "b c"]);
    }

    #[test]
    fn other_verbs_are_for_the_server() {
        for words in [&[][..], &["RESERVAR", "run", "--", "p"], &["runs", "x"], &["LIST"]] {
            assert!(parse(words).expect("no error").is_none(), "{words:?}");
        }
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        let cases: [&[&str]; 10] = [
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
        for words in cases {
            assert!(matches!(parse(words), Err(Exit::Failure { code: 64, .. })), "{words:?}");
        }
    }
}

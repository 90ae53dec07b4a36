//! `reserva`: the client that comes with `reservad`.
//!
//! It is a thin one: it knows how lines travel and where a reply ends, and nothing of what they
//! mean. Four ways to use it, chosen in [`run`]:
//!
//! | words | standard input | what happens | where |
//! | --- | --- | --- | --- |
//! | `ejecutar`/`run` … | – | a program is run under a reservation | `client/guard.rs` |
//! | yes | – | one line is sent, its reply printed | `client/ask.rs` |
//! | no | a terminal | a conversation with a prompt | `client/talk.rs` |
//! | no | anything else | all its lines are sent, all replies printed | `client/pipe.rs` |
//!
//! Invariant: the client never acts on what a line asks for, but for the verb that says goodbye.
//! Only `ejecutar`, which is a verb of the client itself and is not sent, knows what a
//! reservation is.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, Command};

#[path = "client/ask.rs"]
mod ask;
#[path = "client/guard.rs"]
mod guard;
#[path = "client/line.rs"]
mod line;
#[path = "client/output.rs"]
mod output;
#[path = "client/pipe.rs"]
mod pipe;
#[path = "client/reply.rs"]
mod reply;
#[path = "client/server.rs"]
mod server;
#[path = "client/talk.rs"]
mod talk;
#[path = "client/terminal.rs"]
mod terminal;
#[path = "client/texts.rs"]
mod texts;
#[path = "client/words.rs"]
mod words;

use guard::Order;
use server::{Link, Server};
use texts::Language;

// Exit codes, as in sysexits where it has one. Keep in step with `--help` and the table in README.
/// The request is wrong and never worth repeating: bad command line or input, or a reply 400, 401,
/// 403, 404, 410 or 413.
const EXIT_USAGE: u8 = 64;
/// No server, or it closed or stopped answering before the whole reply.
const EXIT_UNAVAILABLE: u8 = 69;
/// The system has no process or no descriptor left.
const EXIT_OS: u8 = 71;
/// Standard input or output failed.
const EXIT_IO: u8 = 74;
/// The request may succeed later: a reply 408, 409, 429 or 503.
const EXIT_TRY_LATER: u8 = 75;
/// The reservation for a program was lost.
const EXIT_LOST: u8 = 76;

/// How long a server may be silent, beyond any `wait=`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const DEFAULT_SERVER: &str = "127.0.0.1:12345";
const SERVER_VARIABLE: &str = "RESERVA_SERVER";

/// Why the client ends before its work is done.
#[derive(Debug)]
enum Stop {
    /// With nothing to add: the help was printed, or whoever read our output has gone (`| head`).
    Silent,
    /// With a message on standard error and this exit code.
    Error { code: u8, text: String },
}

fn main() -> ExitCode {
    let language = Language::from_environment(|name| env::var_os(name));
    if let Some(code) = guard::other_self(language) {
        return ExitCode::from(code);
    }
    match run(language) {
        Ok(code) => ExitCode::from(code),
        Err(Stop::Silent) => ExitCode::SUCCESS,
        Err(Stop::Error { code, text }) => {
            // Not `eprintln!`: with standard error closed it would panic and hide the exit code.
            let _ = writeln!(io::stderr(), "reserva: {text}");
            ExitCode::from(code)
        }
    }
}

/// Options for the whole run.
#[derive(Debug, Clone, Copy)]
struct Settings {
    language: Language,
    /// How long the server may be silent, beyond any `wait=`.
    timeout: Duration,
    /// Print no notices, and nothing on success.
    is_quiet: bool,
    /// Keep a reservation until every process that its program started has ended.
    waits_for_children: bool,
}

impl Settings {
    fn of(language: Language) -> Self {
        let timeout = DEFAULT_TIMEOUT;
        Settings { language, timeout, is_quiet: false, waits_for_children: false }
    }
}

/// Everything that can be wrong with the command line is found before the server is bothered.
fn run(language: Language) -> Result<u8, Stop> {
    let arguments = Arguments::parse(language, env::args_os())?;
    let server = server_of(&arguments, language)?;
    let mut settings = arguments.settings(language)?;
    if let Some(order) = Order::of(&arguments.words, &mut settings)? {
        return guard::run(&order, &server, settings);
    }
    let line = match words::as_text(&arguments.words, language)?.as_slice() {
        [] => None,
        words => Some(words::line(words, language)?),
    };
    let link = Link::open(&server, language, settings.timeout)?;
    match line {
        Some(line) => ask::ask(&link, &line, settings),
        None if io::stdin().is_terminal() => talk::talk(&link),
        None => pipe::pipe(&link, settings),
    }
}

/// Returns the server to use: `--server`, or the environment, or the default. As in a shell script,
/// an empty variable counts as unset. A variable that is not UTF-8 is an error.
fn server_of(arguments: &Arguments, language: Language) -> Result<Server, Stop> {
    let bad = |name: &[u8]| usage(language.say(texts::BAD_SERVER, &[&reply::shown(name)]));
    let set = env::var_os(SERVER_VARIABLE).filter(|value| !value.is_empty());
    let name = match (&arguments.server, set) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.into_string().map_err(|name| bad(name.as_encoded_bytes()))?,
        (None, None) => DEFAULT_SERVER.to_owned(),
    };
    Server::parse(&name).ok_or_else(|| bad(name.as_bytes()))
}

/// Returns the exit code for an `ERR`.
fn exit_of_refusal(line: &[u8]) -> u8 {
    match line.strip_prefix(b"ERR ").and_then(|rest| rest.get(..3)) {
        Some(b"408" | b"409" | b"429" | b"503") => EXIT_TRY_LATER,
        // Codes of later versions count by their class, as in HTTP.
        Some([b'5', ..]) => EXIT_TRY_LATER,
        _ => EXIT_USAGE,
    }
}

/// Starts a thread, if the system allows it.
fn spawn(language: Language, work: impl FnOnce() + Send + 'static) -> Result<(), Stop> {
    let spawned = thread::Builder::new().spawn(work);
    spawned.map(drop).map_err(|error| {
        let text = language.say(texts::NO_THREAD, &[&error.to_string()]);
        Stop::Error { code: EXIT_OS, text }
    })
}

fn usage(text: String) -> Stop {
    Stop::Error { code: EXIT_USAGE, text }
}

/// The command line as the rest of the client wants it.
struct Arguments {
    server: Option<String>,
    timeout: Option<String>,
    is_quiet: bool,
    waits_for_children: bool,
    words: Vec<OsString>,
}

impl Arguments {
    /// Reads the command line. `--help` and `--version` are answered here.
    fn parse(language: Language, from: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let mut matches = command(language)
            .try_get_matches_from(from)
            .map_err(|error| explain(&error, language))?;
        Ok(Arguments {
            server: matches.remove_one("server"),
            timeout: matches.remove_one("timeout"),
            is_quiet: matches.get_flag("quiet"),
            waits_for_children: matches.get_flag("wait-children"),
            words: matches.remove_many("words").map_or_else(Vec::new, Iterator::collect),
        })
    }

    fn settings(&self, language: Language) -> Result<Settings, Stop> {
        let bad =
            |text: &str| usage(language.say(texts::BAD_TIMEOUT, &[&reply::shown(text.as_bytes())]));
        let mut settings = Settings::of(language);
        if let Some(text) = &self.timeout {
            settings.timeout = guard::length(text).ok_or_else(|| bad(text))?;
        }
        settings.is_quiet = self.is_quiet;
        settings.waits_for_children = self.waits_for_children;
        Ok(settings)
    }
}

/// The one definition that parsing and `--help` come from.
fn command(language: Language) -> Command {
    let say = |text| language.plain(text);
    let options = say(texts::HELP_OPTIONS);
    let flag = |name: &'static str, short, action, help| {
        Arg::new(name).short(short).long(name).action(action).help(say(help)).help_heading(options)
    };
    Command::new("reserva")
        .version(env!("CARGO_PKG_VERSION"))
        .about(say(texts::HELP_ABOUT))
        .override_usage(say(texts::HELP_USAGE))
        .help_template(say(texts::HELP_TEMPLATE))
        .after_help(say(texts::HELP_MORE))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(
            flag("server", 's', ArgAction::Set, texts::HELP_SERVER)
                .value_name(say(texts::HELP_SERVER_VALUE)),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .action(ArgAction::Set)
                .value_name(say(texts::HELP_TIMEOUT_VALUE))
                .help(say(texts::HELP_TIMEOUT))
                .help_heading(options),
        )
        .arg(flag("quiet", 'q', ArgAction::SetTrue, texts::HELP_QUIET))
        .arg(
            Arg::new("wait-children")
                .long("wait-children")
                .action(ArgAction::SetTrue)
                .help(say(texts::HELP_WAIT_CHILDREN))
                .help_heading(options),
        )
        .arg(flag("help", 'h', ArgAction::Help, texts::HELP_HELP))
        .arg(flag("version", 'V', ArgAction::Version, texts::HELP_VERSION))
        .arg(
            // From the first word on nothing is an option of ours: `nota=-` and `--` belong to
            // the line that is sent.
            Arg::new("words")
                .num_args(0..)
                .value_parser(ValueParser::os_string())
                .trailing_var_arg(true)
                .value_name(say(texts::HELP_WORDS_VALUE))
                .help(say(texts::HELP_WORDS))
                .help_heading(say(texts::HELP_ARGUMENTS)),
        )
}

/// Prints the help.
fn help(language: Language) -> Stop {
    let _ = command(language).print_help();
    Stop::Silent
}

/// clap speaks English only, so its few possible complaints are told again from our own table.
fn explain(error: &clap::Error, language: Language) -> Stop {
    let context = |kind| error.get(kind).map_or_else(String::new, |value| value.to_string());
    let text = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return Stop::Silent;
        }
        ErrorKind::UnknownArgument => {
            let argument = context(ContextKind::InvalidArg);
            language.say(texts::UNKNOWN_OPTION, &[&reply::shown(argument.as_bytes())])
        }
        ErrorKind::InvalidUtf8 => language.plain(texts::NOT_UTF8).to_owned(),
        ErrorKind::InvalidValue => {
            language.say(texts::NO_VALUE, &[&context(ContextKind::InvalidArg)])
        }
        _ => error.to_string(),
    };
    usage(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        command(Language::Spanish).debug_assert();
        command(Language::English).debug_assert();
    }

    #[test]
    fn options_end_at_the_first_word() {
        let rows: [(&[&str], Option<&str>, &[&str]); 9] = [
            (&[], None, &[]),
            (&["--server", "a:1"], Some("a:1"), &[]),
            (&["--server=a", "-s", "b", "LIST"], Some("b"), &["LIST"]),
            (&["RESERVAR", "x", "nota=-"], None, &["RESERVAR", "x", "nota=-"]),
            (&["RESERVAR", "-x", "--help"], None, &["RESERVAR", "-x", "--help"]),
            (&["LIST", "--server", "a"], None, &["LIST", "--server", "a"]),
            (&["--", "-x"], None, &["-x"]),
            (&["run", "x", "--", "p", "--", "-h"], None, &["run", "x", "--", "p", "--", "-h"]),
            (&["--", "run", "x", "--", "--"], None, &["run", "x", "--", "--"]),
        ];
        for (given, server, words) in rows {
            let given = ["reserva"].iter().chain(given).map(OsString::from);
            let got = Arguments::parse(Language::English, given).expect("a good line");
            assert_eq!(
                (got.server.as_deref(), got.words.as_slice()),
                (server, words.iter().map(OsString::from).collect::<Vec<_>>().as_slice())
            );
        }
    }
}

//! The arguments of the client: options, `--help`, and the words of a command.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::client::command_line::parse_duration;
use crate::client::connection::ServerAddress;
use crate::client::reply::escape_for_terminal;
use crate::client::texts::{self, Lang, Text};
use crate::{Exit, Settings};

/// How long the server may be silent, in addition to any `wait=`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const DEFAULT_SERVER: &str = "127.0.0.1:12345";
const SERVER_VARIABLE: &str = "RESERVA_SERVER";

/// The parsed arguments.
pub struct Arguments {
    server: Option<String>,
    timeout: Option<String>,
    is_quiet: bool,
    waits_for_children: bool,
    /// Everything from the first word that is not an option.
    pub words: Vec<OsString>,
}

impl Arguments {
    /// Parses the arguments. Prints the answer to `--help` and `--version`.
    pub fn parse(
        language: Lang,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, Exit> {
        let mut matches = command(language)
            .try_get_matches_from(arguments)
            .map_err(|error| translate(&error, language))?;
        Ok(Arguments {
            server: matches.remove_one("server"),
            timeout: matches.remove_one("timeout"),
            is_quiet: matches.get_flag("quiet"),
            waits_for_children: matches.get_flag("wait-children"),
            words: matches.remove_many("words").map_or_else(Vec::new, Iterator::collect),
        })
    }

    /// Returns the server from `--server`, the environment or the default. As in a shell script, an
    /// empty variable counts as unset.
    pub fn server(&self, language: Lang) -> Result<ServerAddress, Exit> {
        let invalid = |name: &[u8]| {
            Exit::usage(texts::INVALID_SERVER.format(language, &[&escape_for_terminal(name)]))
        };
        let variable = env::var_os(SERVER_VARIABLE).filter(|value| !value.is_empty());
        let name = match (&self.server, variable) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => {
                name.into_string().map_err(|name| invalid(name.as_encoded_bytes()))?
            }
            (None, None) => DEFAULT_SERVER.to_owned(),
        };
        ServerAddress::parse(&name).ok_or_else(|| invalid(name.as_bytes()))
    }

    /// Returns the settings for the run.
    pub fn settings(&self, language: Lang) -> Result<Settings, Exit> {
        let invalid = |text: &str| {
            let text = escape_for_terminal(text.as_bytes());
            Exit::usage(texts::INVALID_TIMEOUT.format(language, &[&text]))
        };
        let timeout = match &self.timeout {
            Some(text) => parse_duration(text).ok_or_else(|| invalid(text))?,
            None => DEFAULT_TIMEOUT,
        };
        let (is_quiet, waits_for_children) = (self.is_quiet, self.waits_for_children);
        Ok(Settings { language, timeout, is_quiet, waits_for_children })
    }
}

/// Prints the help.
pub fn print_help(language: Lang) -> Exit {
    let _ = command(language).print_help();
    Exit::Quiet
}

/// Returns the definition from which arguments are parsed and `--help` is generated.
fn command(language: Lang) -> Command {
    let text = |text: Text| text.get(language);
    let option = |name: &'static str, action, help| {
        let heading = text(texts::HELP_OPTIONS);
        Arg::new(name).long(name).action(action).help(text(help)).help_heading(heading)
    };
    let flag = |name, help| option(name, ArgAction::SetTrue, help);
    Command::new("reserva")
        .version(env!("CARGO_PKG_VERSION"))
        .about(text(texts::HELP_ABOUT))
        .override_usage(text(texts::HELP_USAGE))
        .help_template(text(texts::HELP_TEMPLATE))
        .after_help(text(texts::HELP_MORE))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .args([
            option("server", ArgAction::Set, texts::HELP_SERVER)
                .short('s')
                .value_name(text(texts::HELP_SERVER_VALUE)),
            option("timeout", ArgAction::Set, texts::HELP_TIMEOUT)
                .value_name(text(texts::HELP_TIMEOUT_VALUE)),
            flag("quiet", texts::HELP_QUIET).short('q'),
            flag("wait-children", texts::HELP_WAIT_CHILDREN),
            option("help", ArgAction::Help, texts::HELP_HELP).short('h'),
            option("version", ArgAction::Version, texts::HELP_VERSION).short('V'),
            // Options end at the first word, so that `note=-` and `--` can be part of a command.
            Arg::new("words")
                .num_args(0..)
                .value_parser(ValueParser::os_string())
                .trailing_var_arg(true)
                .value_name(text(texts::HELP_WORDS_VALUE))
                .help(text(texts::HELP_WORDS))
                .help_heading(text(texts::HELP_ARGUMENTS)),
        ])
}

/// Translates an error of clap, which only reports in English.
fn translate(error: &clap::Error, language: Lang) -> Exit {
    let context = |kind| error.get(kind).map_or_else(String::new, |value| value.to_string());
    let message = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return Exit::Quiet;
        }
        ErrorKind::UnknownArgument => {
            let argument = context(ContextKind::InvalidArg);
            texts::UNKNOWN_OPTION.format(language, &[&escape_for_terminal(argument.as_bytes())])
        }
        ErrorKind::InvalidUtf8 => texts::NOT_UTF8.get(language).to_owned(),
        ErrorKind::InvalidValue => {
            texts::NO_VALUE.format(language, &[&context(ContextKind::InvalidArg)])
        }
        _ => error.to_string(),
    };
    Exit::usage(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_definition_is_valid() {
        command(Lang::Es).debug_assert();
        command(Lang::En).debug_assert();
    }

    #[test]
    fn options_end_at_the_first_word() {
        let cases: [(&[&str], Option<&str>, &[&str]); 9] = [
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
        for (given, server, words) in cases {
            let given = ["reserva"].iter().chain(given).map(OsString::from);
            let got = Arguments::parse(Lang::En, given).expect("valid arguments");
            assert_eq!(
                (got.server.as_deref(), got.words.as_slice()),
                (server, words.iter().map(OsString::from).collect::<Vec<_>>().as_slice())
            );
        }
    }
}

//! `reserva`, the command-line client of `reservad`.
//!
//! It knows how lines are framed and where a reply ends, but not what commands mean. [`run`]
//! selects one of four modes:
//!
//! | arguments | standard input | mode | module |
//! | --- | --- | --- | --- |
//! | `run` or `ejecutar` … | – | runs a program under a reservation | `supervisor` |
//! | any others | – | sends them as one line and prints the reply | `one_shot` |
//! | none | a terminal | prompts for commands | `repl` |
//! | none | anything else | sends all lines and prints all replies | `batch` |
//!
//! Only `run`, which is a verb of the client and is never sent, interprets replies. The other modes
//! only recognize the verb that ends a session and the start of a watch.

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

/// The modules of the client, in the directory `client`.
mod client {
    pub mod arguments;
    pub mod batch;
    pub mod command_line;
    pub mod connection;
    pub mod one_shot;
    pub mod output;
    pub mod repl;
    pub mod reply;
    pub mod supervisor;
    pub mod texts;
}

use client::arguments::Arguments;
use client::connection::Connection;
use client::supervisor::RunRequest;
use client::texts::{Lang, language_from_environment};
use client::{batch, command_line, one_shot, output, repl, supervisor};

// Exit codes, from sysexits.h where it has one. `--help` and the table in README list them too.
/// The request is wrong and must not be repeated unchanged: invalid arguments or input, or a reply
/// 400, 401, 403, 404, 410 or 413.
const EXIT_USAGE: u8 = 64;
/// The server cannot be reached, or the connection was lost or silent before the whole reply.
const EXIT_UNAVAILABLE: u8 = 69;
/// The system has no process or descriptor left.
const EXIT_OS: u8 = 71;
/// Reading the input or writing the output failed.
const EXIT_IO: u8 = 74;
/// The request may succeed later: a reply 408, 409, 429 or 503.
const EXIT_TRY_LATER: u8 = 75;
/// The reservation of a running program was lost.
const EXIT_LOST: u8 = 76;

/// An end of the client before its work is done.
#[derive(Debug)]
enum Exit {
    /// Success without further output: the help was printed, or the reader of the output has
    /// closed it (`| head`).
    Quiet,
    /// A message on standard error and an exit code.
    Failure { code: u8, message: String },
}

impl Exit {
    fn usage(message: String) -> Self {
        Exit::Failure { code: EXIT_USAGE, message }
    }
}

/// Options that apply to every mode.
#[derive(Debug, Clone, Copy)]
struct Settings {
    language: Lang,
    /// How long the server may be silent, in addition to any `wait=`.
    timeout: Duration,
    /// Whether to print only errors.
    is_quiet: bool,
    /// Whether `run` holds the reservation until all processes of the program have ended.
    waits_for_children: bool,
}

fn main() -> ExitCode {
    let language = language_from_environment(|name| env::var_os(name));
    if let Some(code) = supervisor::helper_process(language) {
        return ExitCode::from(code);
    }
    match run(language) {
        Ok(code) => ExitCode::from(code),
        Err(Exit::Quiet) => ExitCode::SUCCESS,
        Err(Exit::Failure { code, message }) => {
            output::print_message(&message);
            ExitCode::from(code)
        }
    }
}

/// Runs the client and returns its exit code. All arguments are checked before the client connects.
fn run(language: Lang) -> Result<u8, Exit> {
    let arguments = Arguments::parse(language, env::args_os())?;
    let server = arguments.server(language)?;
    let mut settings = arguments.settings(language)?;
    if let Some(request) = RunRequest::parse(&arguments.words, &mut settings)? {
        return supervisor::run(&request, &server, settings);
    }
    let words = command_line::to_utf8(&arguments.words, language)?;
    let line = match words.as_slice() {
        [] => None,
        words => Some(command_line::join(words, language)?),
    };
    let connection = Connection::open(&server, language, settings.timeout)?;
    match line {
        Some(line) => {
            let hint = command_line::hint(&words, language);
            one_shot::run(&connection, &line, hint.as_deref(), settings)
        }
        None if io::stdin().is_terminal() => repl::run(&connection),
        None => batch::run(&connection, settings),
    }
}

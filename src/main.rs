//! The program `reservad`: the server, and the commands that work on its data while it is stopped.

mod failure;
mod logging;
mod offline;
mod options;
mod startup;

use std::process::ExitCode;

use clap::Parser;
use failure::Failure;
use options::{Cli, Subcommand};
use reservad::text::escape_for_log;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            let reason = failure.to_string();
            logging::write_exit_reason(&format!("reservad: {}", escape_for_log(&reason)));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        None => startup::serve(cli.serve).map(|()| ExitCode::SUCCESS),
        Some(Subcommand::Check { data_dir }) => offline::check(&startup::data_directory(data_dir)?),
        Some(Subcommand::Backup { to, data_dir }) => {
            offline::backup(&startup::data_directory(data_dir)?, &to).map(|()| ExitCode::SUCCESS)
        }
        Some(Subcommand::ResetTime { data_dir }) => {
            offline::reset_time(&startup::data_directory(data_dir)?).map(|()| ExitCode::SUCCESS)
        }
    }
}

//! The command line of `reservad`: options, subcommands, and how their values are parsed.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use log::LevelFilter;
use reservad::journal::SyncPolicy;
use reservad::limits::{
    OUTPUT_MEMORY_MIN, PER_ADDRESS_DEFAULT, RESERVATIONS_DEFAULT, RESOURCES_DEFAULT,
};
use reservad::time::{DurationError, Zone, parse_duration_ms};

const AFTER_HELP: &str = "\
Without options the server listens on 127.0.0.1:12345, keeps its data in $STATE_DIRECTORY,
otherwise in $XDG_STATE_HOME/reservad or ~/.local/state/reservad, and starts with three
sample rooms. Connect with `reserva`, `nc 127.0.0.1 12345` or telnet, and send AYUDA or HELP.

SIGTERM and SIGINT stop the server after it has answered what it received; a second signal
stops it at once. SIGHUP reads the --inventory file again.
Exit status: 0 stopped, 2 wrong usage, 1 any other error, with the reason on stderr.";

const CHECK_HELP: &str = "\
A server seals its journal when it stops or has been idle for a second, and `reservad backup`
seals its copy. A copy that was cut short has no seal. A journal without a seal is normal
while a server is running on it, or after a crash.
Exit status: 0 good and sealed, 3 good up to its end but without a seal (or with a torn
tail), 2 wrong usage, 1 damaged, missing or unreadable.";

const BACKUP_HELP: &str = "\
The server may be running. The copy holds everything that it has acknowledged.
To restore, stop the server and replace its journal with DIR/journal, or start a server
with --data-dir DIR.
Exit status: 0 copied, 2 wrong usage, 1 any other error, with no copy left behind.";

const RESET_HELP: &str = "\
Set the system's clock and copy the directory first. Reservations that ended by the wrong
clock stay ended. Leases (for=) keep the time that they had left. Reservations without an end
continue from now. Dates do not change. Watchers can continue from the last event only.";

/// A reservation server for rooms, boards and rigs: plain lines of text over TCP.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Subcommand>,
    #[command(flatten)]
    pub serve: Serve,
}

#[derive(clap::Subcommand)]
pub enum Subcommand {
    /// Check that the journal is good and complete, without changing it
    #[command(after_help = CHECK_HELP, override_usage = "reservad check [--data-dir DIR]")]
    Check {
        /// Check the journal in this directory
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Copy the journal, also of a running server: checked, sealed and synced
    #[command(after_help = BACKUP_HELP, override_usage = "reservad backup --to DIR [--data-dir DIR]")]
    Backup {
        /// Create the copy in this directory, which must not hold a journal
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Copy the journal in this directory
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Move the journal's time back to the present after a wrong clock; stop the server first
    #[command(after_help = RESET_HELP, override_usage = "reservad reset-time [--data-dir DIR]")]
    ResetTime {
        /// Change the journal in this directory
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

/// The options of the server.
#[derive(Args)]
pub struct Serve {
    /// Listen on this address, HOST:PORT; can be repeated; port 0 picks a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:12345", value_parser = parse_address)]
    pub listen: Vec<Addresses>,
    /// Keep the data in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "in_memory")]
    pub data_dir: Option<PathBuf>,
    /// Start with an empty journal in a directory whose journal was deleted or emptied
    #[arg(long, conflicts_with = "in_memory")]
    pub new: bool,
    /// Keep all data in memory only; it is lost when the server stops
    #[arg(long)]
    pub in_memory: bool,
    /// Create the resources in this file, one per line, if missing; read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// Sync changes to disk always (before each reply), never, or at an interval such as 1s
    #[arg(long, value_name = "WHEN", default_value = "always", value_parser = parse_fsync)]
    pub fsync: SyncPolicy,
    /// Serve at most this many clients [default: the limit of open files minus 30, minus 2 per listener]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients: Option<u32>,
    /// Serve at most this many clients per address (IPv6: per /64), not counting this host
    #[arg(long, value_name = "N", default_value_t = PER_ADDRESS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_address: u32,
    /// Hold at most this much output that clients have not read, in bytes or with K, M or G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub max_output_memory: u64,
    /// Hold at most this many resources
    #[arg(long, value_name = "N", default_value_t = RESOURCES_DEFAULT)]
    pub max_resources: u32,
    /// Hold at most this many live reservations
    #[arg(long, value_name = "N", default_value_t = RESERVATIONS_DEFAULT)]
    pub max_reservations: u32,
    /// Close clients that sent nothing for this long and hold nothing [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub idle_timeout: Option<Duration>,
    /// Close clients that read none of their replies for this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1m")]
    pub stall_timeout: Duration,
    /// Read and print dates in this zone, an IANA name [default: the system's]
    #[arg(long, value_name = "ZONE", value_parser = Zone::named)]
    pub time_zone: Option<Zone>,
    /// Log at this level and above: off, error, warn, info, debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: LevelFilter,
    /// Allow addresses other than loopback, where every client may do everything
    #[arg(long)]
    pub allow_anonymous: bool,
}

/// The addresses of one `--listen`: a host name may have several.
#[derive(Clone, Debug)]
pub struct Addresses(pub Vec<SocketAddr>);

/// Why the value of an option is invalid.
#[derive(Debug)]
enum ValueError {
    NoAddress,
    Address(io::Error),
    Duration(DurationError),
    Fsync(DurationError),
    NotASize,
    SizeTooSmall,
    SizeTooLarge,
    Level,
}

impl Display for ValueError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::NoAddress => write!(f, "the host has no address"),
            ValueError::Address(error) => {
                write!(f, "{error}; expected HOST:PORT, such as 127.0.0.1:12345 or [::1]:0")
            }
            ValueError::Duration(error) => f.write_str(duration_reason(*error)),
            ValueError::Fsync(error) => {
                write!(f, "expected always, never or a duration: {}", duration_reason(*error))
            }
            ValueError::NotASize => {
                write!(f, "expected a number of bytes, such as 268435456, 256M or 1G")
            }
            ValueError::SizeTooSmall => write!(f, "the minimum is {OUTPUT_MEMORY_MIN} bytes (1M)"),
            ValueError::SizeTooLarge => write!(f, "the number is too large; use 16G or less"),
            ValueError::Level => write!(f, "expected off, error, warn, info or debug"),
        }
    }
}

impl std::error::Error for ValueError {}

fn duration_reason(error: DurationError) -> &'static str {
    match error {
        DurationError::NoUnit => "the unit is missing; write 90s, 30m, 2h, 3d or 1h30m",
        DurationError::Form => "invalid duration; write 90s, 30m, 2h, 3d or 1h30m",
        DurationError::Zero => "must be longer than zero; write 90s, 30m, 2h, 3d or 1h30m",
        DurationError::TooLong => "longer than ten years",
    }
}

fn parse_address(text: &str) -> Result<Addresses, ValueError> {
    let addresses: Vec<_> = text.to_socket_addrs().map_err(ValueError::Address)?.collect();
    match addresses.is_empty() {
        true => Err(ValueError::NoAddress),
        false => Ok(Addresses(addresses)),
    }
}

fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let ms = parse_duration_ms(text).map_err(ValueError::Duration)?;
    Ok(Duration::from_millis(ms.unsigned_abs()))
}

/// Parses a number of bytes, optionally with the unit K, M or G.
fn parse_size(text: &str) -> Result<u64, ValueError> {
    let upper = text.to_ascii_uppercase();
    let (digits, shift) = match upper.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, 10 * (1 + "KMG".find(&upper[digits.len()..]).unwrap_or(0))),
        None => (&*upper, 0),
    };
    let bytes = digits.parse::<u64>().map_err(|_| ValueError::NotASize)?;
    match bytes.checked_mul(1 << shift) {
        Some(bytes) if bytes >= OUTPUT_MEMORY_MIN => Ok(bytes),
        Some(_) => Err(ValueError::SizeTooSmall),
        None => Err(ValueError::SizeTooLarge),
    }
}

fn parse_level(text: &str) -> Result<LevelFilter, ValueError> {
    text.parse().map_err(|_| ValueError::Level)
}

fn parse_fsync(text: &str) -> Result<SyncPolicy, ValueError> {
    match text {
        "always" => Ok(SyncPolicy::Always),
        "never" => Ok(SyncPolicy::Never),
        text => match parse_duration_ms(text) {
            Ok(ms) => Ok(SyncPolicy::Every(Duration::from_millis(ms.unsigned_abs()))),
            Err(error) => Err(ValueError::Fsync(error)),
        },
    }
}

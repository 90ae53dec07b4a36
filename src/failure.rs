//! Why the program ends, with its exit status.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use reservad::inventory_file::InventoryFileError;
use reservad::journal;
use reservad::limits::LISTENERS_MAX;
use reservad::store::AddNamesError;

/// Why the program ends before it is stopped. Its text is one line.
#[derive(Debug)]
pub enum Failure {
    /// The address can be reached from other hosts, and `--allow-anonymous` is missing.
    Exposed(SocketAddr),
    /// More addresses to listen on than [`LISTENERS_MAX`].
    TooManyListeners(usize),
    /// No data directory is given, neither by an option nor by the environment.
    NoDataDirectory,
    /// The environment variable TZ names an unknown zone.
    UnknownTz(String),
    /// The file with the system's time zone cannot be read.
    UnreadableLocaltime(PathBuf),
    /// The system's clock was never set. The field is its time.
    ClockNotSet(String),
    /// The limit of open files is too low for the listeners.
    DescriptorLimit {
        limit: u64,
        listeners: usize,
        needed: u64,
    },
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    Journal(journal::Error),
    InventoryFile(InventoryFileError),
    AddNames(AddNamesError),
    /// A system call failed at the start.
    Start(io::Error),
    /// The running server failed.
    Run(String),
}

impl Failure {
    /// Returns the exit status: 2 for wrong usage, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Exposed(_)
            | Failure::TooManyListeners(_)
            | Failure::NoDataDirectory
            | Failure::UnknownTz(_)
            | Failure::UnreadableLocaltime(_) => 2,
            Failure::ClockNotSet(_)
            | Failure::DescriptorLimit { .. }
            | Failure::Listen { .. }
            | Failure::Journal(_)
            | Failure::InventoryFile(_)
            | Failure::AddNames(_)
            | Failure::Start(_)
            | Failure::Run(_) => 1,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Exposed(address) => write!(
                f,
                "{address} can be reached from other hosts, where anybody could reserve, cancel and \
                 remove everything; add --allow-anonymous to allow that, or listen on 127.0.0.1 or \
                 [::1]"
            ),
            Failure::TooManyListeners(count) => write!(
                f,
                "{count} addresses to listen on are too many; the maximum is {LISTENERS_MAX}"
            ),
            Failure::NoDataDirectory => write!(
                f,
                "no data directory: $HOME is not set; name a directory with --data-dir, or use \
                 --in-memory"
            ),
            Failure::UnknownTz(tz) => write!(
                f,
                "unknown time zone '{tz}' in the environment variable TZ: use an IANA name such as \
                 America/Montevideo, or UTC, and check that the package tzdata is installed"
            ),
            Failure::UnreadableLocaltime(path) => write!(
                f,
                "cannot read the time zone in {}: install the package tzdata, or use --time-zone \
                 with an IANA name such as America/Montevideo, or UTC",
                path.display()
            ),
            Failure::ClockNotSet(time) => {
                write!(f, "the system's clock reads {time}: set it first")
            }
            Failure::DescriptorLimit { limit, listeners, needed } => write!(
                f,
                "the limit of {limit} open files is too low for {listeners} listening sockets: at \
                 least {needed} are needed; raise it (ulimit -n, LimitNOFILE=) or listen on fewer \
                 addresses"
            ),
            Failure::Listen { address, source } => {
                write!(f, "cannot listen on {address}: {source}{}", listen_remedy(source.kind()))
            }
            Failure::Journal(error) => write!(f, "{error}"),
            Failure::InventoryFile(error @ InventoryFileError::Io { .. }) => {
                write!(f, "cannot read the file of --inventory: {error}")
            }
            Failure::InventoryFile(error) => write!(f, "{error}"),
            Failure::AddNames(error) => write!(f, "{error}"),
            Failure::Start(error) => write!(f, "cannot start: {error}"),
            Failure::Run(reason) => write!(f, "{reason}"),
        }
    }
}

fn listen_remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => {
            "; another program uses it, perhaps another reservad; choose another port with --listen, or port 0"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege; choose a higher one with --listen"
        }
        _ => "",
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Failure {
        Failure::Journal(error)
    }
}

impl From<InventoryFileError> for Failure {
    fn from(error: InventoryFileError) -> Failure {
        Failure::InventoryFile(error)
    }
}

impl From<AddNamesError> for Failure {
    fn from(error: AddNamesError) -> Failure {
        Failure::AddNames(error)
    }
}

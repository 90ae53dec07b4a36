//! The server's program: arguments, log, open, replay, bind, run, exit code.

mod logging;
mod startup;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use log::{LevelFilter, info, warn};
use reservad::commands::words::escape_for_log;
use reservad::inventory::{Capacity, Inventory};
use reservad::journal;
use reservad::journal::{DiskStorage, Disposition, Report, SyncPolicy};
use reservad::limits::{
    CLOCK_UNSET_MS, DESCRIPTORS_RESERVED, LISTENER_DESCRIPTORS, LISTENERS_MAX, OUTPUT_MEMORY_MIN,
    PER_ADDRESS_DEFAULT, RESERVATIONS_DEFAULT, RESOURCES_DEFAULT, SHARE_CLIENTS, SILENT_LEAST,
    SILENT_OF_ADDRESS, STALL_DEFAULT_MS,
};
use reservad::reactor::{CLIENTS_MAX, Reactor, bind, outlive_file_size_limit};
use reservad::service::{Compaction, Config, CrowdLimits, Service};
use reservad::store::{self, Opened, State};
use reservad::time::{self, Clock, DurationError, Round, Time, Zone, parse_duration_ms};
use startup::system_zone;

/// What a server without data and without --inventory starts with.
const SAMPLE: [&str; 3] = ["Habitación 1", "Habitación 2", "Habitación 3"];

/// A reservation server for rooms, boards and rigs: plain lines of text over TCP.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    serve: Serve,
}

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

#[derive(Subcommand)]
enum Sub {
    /// Check that the journal is good and complete, without changing it
    #[command(after_help = CHECK_HELP, override_usage = "reservad check [--data-dir DIR]")]
    Check {
        /// The folder with the data
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Copy the journal, also of a running server: checked, sealed and synced
    #[command(after_help = BACKUP_HELP, override_usage = "reservad backup --to DIR [--data-dir DIR]")]
    Backup {
        /// Directory for the copy, created if missing; it must not hold a journal
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// The folder with the data
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Bring the journal's time back to the present after a wrong clock; stop the server first
    #[command(after_help = RESET_HELP, override_usage = "reservad reset-time [--data-dir DIR]")]
    ResetTime {
        /// The folder with the data
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

const RESET_HELP: &str = "\
Set the system's clock and copy the directory first. Reservations that ended by the wrong
clock stay ended. Leases (for=) keep the time that they had left. Reservations without an end
continue from now. Dates do not change. Watchers can continue from the last event only.";

#[derive(Args)]
struct Serve {
    /// Listen on this address, HOST:PORT; can be repeated; port 0 picks a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:12345", value_parser = parse_address)]
    listen: Vec<Addresses>,
    /// Keep the data in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "in_memory")]
    data_dir: Option<PathBuf>,
    /// Start with an empty journal in a directory whose journal was deleted or emptied
    #[arg(long, conflicts_with = "in_memory")]
    new: bool,
    /// Keep no journal: all data is lost at the end
    #[arg(long)]
    in_memory: bool,
    /// Create the resources in this file, one per line, if missing; read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// Sync changes to disk always (before each reply), never, or at an interval such as 1s
    #[arg(long, value_name = "WHEN", default_value = "always", value_parser = parse_fsync)]
    fsync: SyncPolicy,
    /// Serve at most this many clients [default: the descriptor limit minus 30, and 2 per listener]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: Option<u32>,
    /// Serve at most this many clients per address (IPv6: per /64), not counting this host
    #[arg(long, value_name = "N", default_value_t = PER_ADDRESS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..))]
    max_per_address: u32,
    /// Memory for replies that clients have not read yet, in bytes or with K, M or G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    max_output_memory: u64,
    /// Hold at most this many resources
    #[arg(long, value_name = "N", default_value_t = RESOURCES_DEFAULT)]
    max_resources: u32,
    /// Hold at most this many live reservations
    #[arg(long, value_name = "N", default_value_t = RESERVATIONS_DEFAULT)]
    max_reservations: u32,
    /// Close clients that sent nothing for this long and have nothing bound to their connection [default: none]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_timeout: Option<Duration>,
    /// Close clients that read none of their replies for this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1m")]
    stall_timeout: Duration,
    /// Read and print dates in this zone, an IANA name [default: the system's]
    #[arg(long, value_name = "ZONE", value_parser = Zone::named)]
    time_zone: Option<Zone>,
    /// Log down to this level: off, error, warn, info, debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    log_level: LevelFilter,
    /// Allow addresses other than loopback, where every client may do everything
    #[arg(long)]
    allow_anonymous: bool,
}

/// What one --listen means: a host name may have several addresses.
#[derive(Clone, Debug)]
struct Addresses(Vec<SocketAddr>);

fn parse_address(text: &str) -> Result<Addresses, String> {
    match text.to_socket_addrs().map(Iterator::collect::<Vec<_>>) {
        Ok(addresses) if !addresses.is_empty() => Ok(Addresses(addresses)),
        Ok(_) => Err("the host has no address".to_owned()),
        Err(error) => {
            Err(format!("{error}; expected HOST:PORT, such as 127.0.0.1:12345 or [::1]:0"))
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let form = "write 90s, 30m, 2h, 3d or 1h30m";
    let ms = parse_duration_ms(text).map_err(|error| match error {
        DurationError::NoUnit => format!("the unit is missing; {form}"),
        DurationError::Form => format!("invalid duration; {form}"),
        DurationError::Zero => format!("must be longer than zero; {form}"),
        DurationError::TooLong => "longer than ten years".to_owned(),
    })?;
    Ok(Duration::from_millis(ms.unsigned_abs()))
}

/// Parses a number of bytes, optionally with the unit K, M or G.
fn parse_size(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let (digits, shift) = match upper.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, 10 * (1 + "KMG".find(&upper[digits.len()..]).unwrap_or(0))),
        None => (&*upper, 0),
    };
    let bytes = digits
        .parse::<u64>()
        .map_err(|_| "expected a number of bytes, such as 268435456, 256M or 1G".to_owned())?;
    match bytes.checked_mul(1 << shift) {
        Some(bytes) if bytes >= OUTPUT_MEMORY_MIN => Ok(bytes),
        Some(_) => Err(format!("the minimum is {OUTPUT_MEMORY_MIN} bytes (1M)")),
        None => Err("the number is too large; use 16G or less".to_owned()),
    }
}

fn parse_level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "it is one of off, error, warn, info, debug".to_owned())
}

fn parse_fsync(text: &str) -> Result<SyncPolicy, String> {
    match text {
        "always" => Ok(SyncPolicy::Always),
        "never" => Ok(SyncPolicy::Never),
        text => parse_duration(text)
            .map(SyncPolicy::Every)
            .map_err(|error| format!("expected always, never or a duration: {error}")),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Sub::Check { data_dir }) => data_folder(data_dir).and_then(|folder| check(&folder)),
        Some(Sub::Backup { to, data_dir }) => {
            data_folder(data_dir).and_then(|folder| backup(&folder, &to))
        }
        Some(Sub::ResetTime { data_dir }) => {
            data_folder(data_dir).and_then(|folder| reset_time(&folder)).map(|()| ExitCode::SUCCESS)
        }
        None => {
            check_exposure(&cli.serve).and_then(|()| serve(cli.serve)).map(|()| ExitCode::SUCCESS)
        }
    };
    match done {
        Ok(code) => code,
        Err(Failure { code, reason }) => {
            logging::say_farewell(&format!("reservad: {}", escape_for_log(&reason)));
            ExitCode::from(code)
        }
    }
}

/// Why the program ends, and with which status.
struct Failure {
    code: u8,
    reason: String,
}

impl From<String> for Failure {
    fn from(reason: String) -> Failure {
        Failure { code: 1, reason }
    }
}

/// Whoever reaches the port may do everything, so by default it is this host.
fn check_exposure(options: &Serve) -> Result<(), Failure> {
    let mut all = options.listen.iter().flat_map(|addresses| &addresses.0);
    match all.find(|address| !address.ip().is_loopback()) {
        Some(open) if !options.allow_anonymous => Err(Failure {
            code: 2,
            reason: format!(
                "{open} can be reached from other hosts, where anybody could reserve, cancel and remove everything; add --allow-anonymous to allow that, or listen on 127.0.0.1 or [::1]"
            ),
        }),
        _ => Ok(()),
    }
}

fn serve(options: Serve) -> Result<(), Failure> {
    start_log(options.log_level);
    outlive_file_size_limit().map_err(|error| format!("cannot start: {error}"))?;
    let zone = options.time_zone.clone().map_or_else(zone_of_system, Ok)?;
    let (mut state, mut clock) = open(&options)?;
    // Before anything is written: a start that fails must not count as the first one.
    let addresses: Vec<_> = options.listen.iter().flat_map(|list| list.0.clone()).collect();
    // Before listening, because a client that is accepted must be served.
    let max_clients = max_clients(options.max_clients, addresses.len())?;
    let listeners = listen(&addresses)?;
    let names = first_names(&options, &state)?;
    let at = time::read_clocks();
    if clock.floor().is_some_and(|floor| time::is_synchronized(floor, at.0)) {
        clock.confirm();
    }
    state.catch_up(names, clock.observe(at.0, at.1), &zone)?;
    let (resources, reservations) =
        (state.inventory.names().len(), state.inventory.reservation_count());
    let config = Config {
        max_clients,
        crowd: crowd_limits(max_clients, options.max_per_address),
        max_output_memory: options.max_output_memory,
        idle_timeout_ms: options.idle_timeout.map(to_ms),
        stall_timeout_ms: to_ms(options.stall_timeout),
        fsync: match options.fsync {
            _ if options.in_memory => "in-memory".to_owned(),
            SyncPolicy::Always => "always".to_owned(),
            SyncPolicy::Never => "never".to_owned(),
            SyncPolicy::Every(interval) => format!("{}s", interval.as_secs()),
        },
        compaction: Compaction::default(),
        share_clients: SHARE_CLIENTS,
    };
    let service = Service::new(state, clock, at, zone, config);
    let mut reactor = Reactor::new(listeners, service, options.inventory)
        .map_err(|error| format!("cannot start: {error}"))?;
    for address in reactor.addresses().map_err(|error| format!("cannot start: {error}"))? {
        info!("listening on {address}");
    }
    info!(
        "{resources} resources, {reservations} live reservations, room for {max_clients} clients"
    );
    let done = reactor.run();
    // The system takes it all back at once; a million reservations take a while one by one.
    std::mem::forget(reactor);
    done?;
    info!("stopped");
    Ok(())
}

fn crowd_limits(max_clients: usize, per_address: u32) -> CrowdLimits {
    let per_address = usize::try_from(per_address).unwrap_or(usize::MAX);
    CrowdLimits {
        per_address,
        silent_per_address: per_address.div_ceil(SILENT_OF_ADDRESS),
        silent: (max_clients - max_clients / SILENT_OF_ADDRESS).max(SILENT_LEAST.min(max_clients)),
    }
}

/// Returns the system's zone, with a warning in the log where nothing names one.
fn zone_of_system() -> Result<Zone, Failure> {
    let tz = std::env::var_os("TZ");
    let found = system_zone(tz.as_deref(), Path::new("/etc/localtime"));
    let (zone, warning) = found.map_err(|reason| Failure { code: 2, reason })?;
    if let Some(warning) = warning {
        warn!("{warning}");
    }
    Ok(zone)
}

fn start_log(level: LevelFilter) {
    let config = simplelog::ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_target_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    let lines = logging::LineSink::new(std::io::stderr());
    // It can only fail if a log was started before.
    let _ = simplelog::WriteLogger::init(level, config, lines);
}

/// Opens and replays the journal; what its end left undone is in the batch.
fn open(options: &Serve) -> Result<(State<DiskStorage>, Clock), Failure> {
    let capacity =
        Capacity { resources: options.max_resources, reservations: options.max_reservations };
    if options.in_memory {
        info!("keeping everything in memory only");
        return Ok((State::in_memory(capacity), Clock::new(Time::MIN)));
    }
    let folder = data_folder(options.data_dir.clone())?;
    let storage = DiskStorage::lock(&folder).map_err(describe)?;
    warn_of_exposure(&storage);
    if options.new {
        journal::begin_again(&storage).map_err(describe)?;
    }
    let (state, Opened { report, last_time }) =
        State::open(storage, options.fsync, capacity).map_err(describe)?;
    info!("data in {}", escape_for_log(&folder.display().to_string()));
    if let Some(cut) = torn_tail(&report) {
        warn!("{cut}");
    }
    Ok((state, Clock::new(last_time)))
}

/// Describes the torn tail that opening a journal has cut off, if there was one.
fn torn_tail(report: &Report) -> Option<String> {
    let bad = report.bad.as_ref()?;
    Some(format!(
        "{}: a torn tail was cut at byte {} ({}): {}, never acknowledged as durable",
        escape_for_log(&report.path),
        bad.offset_bytes,
        escape_for_log(&bad.reason),
        bad.tail()
    ))
}

/// Warns if other users could change or replace the journal.
fn warn_of_exposure(storage: &DiskStorage) {
    let user = rustix::process::geteuid().as_raw();
    for how in storage.exposures(user).unwrap_or_default() {
        warn!(
            "other users can change the data: {}; make it yours alone (chown, chmod go-w)",
            escape_for_log(&how)
        );
    }
}

/// The resources that are to exist from the start.
fn first_names(options: &Serve, state: &State<DiskStorage>) -> Result<Vec<String>, String> {
    let is_new = state.inventory.last_event() == 0;
    match &options.inventory {
        Some(path) => store::read_inventory_file(path),
        None if is_new => Ok(SAMPLE.map(str::to_owned).to_vec()),
        None => Ok(Vec::new()),
    }
}

fn listen(addresses: &[SocketAddr]) -> Result<Vec<std::net::TcpListener>, Failure> {
    if addresses.len() > LISTENERS_MAX {
        let reason = format!(
            "{} addresses to listen on are too many; the maximum is {LISTENERS_MAX}",
            addresses.len()
        );
        return Err(Failure { code: 2, reason });
    }
    // Where the same port is asked for on an IPv4 address, [::] must leave it free.
    let has_v4 = |port| addresses.iter().any(|other| other.is_ipv4() && other.port() == port);
    let one = |address: &SocketAddr| {
        bind(*address, has_v4(address.port())).map_err(|error| bind_failure(*address, &error))
    };
    addresses.iter().map(one).collect()
}

fn bind_failure(address: SocketAddr, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program uses it, perhaps another reservad; choose another port with --listen, or port 0"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege; choose a higher one with --listen"
        }
        _ => "",
    };
    Failure::from(format!("cannot listen on {address}: {error}{hint}"))
}

/// Raises the soft descriptor limit to the hard one. Returns the number of clients: `asked`, or by
/// default the descriptors left by these listeners and by the server itself.
fn max_clients(asked: Option<u32>, listeners: usize) -> Result<usize, Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let most = descriptors.unwrap_or(u64::MAX);
    let reserved = DESCRIPTORS_RESERVED + LISTENER_DESCRIPTORS * listeners as u64;
    if most <= reserved {
        return Err(Failure::from(format!(
            "the limit of {most} open files is too low for {listeners} listening sockets: at least {} are needed; raise it (ulimit -n, LimitNOFILE=) or listen on fewer addresses",
            reserved + 1
        )));
    }
    let fits = usize::try_from(most - reserved).unwrap_or(usize::MAX).min(CLIENTS_MAX - 64);
    match asked.map(|asked| asked as usize) {
        None => Ok(fits),
        Some(asked) if asked > fits => {
            warn!(
                "--max-clients {asked} is more than the {most} descriptors allow for; raise the limit (ulimit -n)"
            );
            Ok(asked.min(CLIENTS_MAX - 64))
        }
        Some(asked) => Ok(asked),
    }
}

/// Where the data is: what was asked, else what the system names.
fn data_folder(asked: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = asked {
        return Ok(folder);
    }
    if let Some(folders) = named("STATE_DIRECTORY") {
        // systemd gives a list where a unit has several.
        let first = std::env::split_paths(&folders).next();
        return Ok(first.unwrap_or_else(|| PathBuf::from(&folders)));
    }
    if let Some(state) = named("XDG_STATE_HOME").map(PathBuf::from).filter(|it| it.is_absolute()) {
        return Ok(state.join("reservad"));
    }
    match named("HOME") {
        Some(home) => Ok(Path::new(&home).join(".local/state/reservad")),
        None => Err(Failure {
            code: 2,
            reason: "no data directory: $HOME is not set; name a directory with --data-dir, or use --in-memory".to_owned(),
        }),
    }
}

/// The exit status for a good journal without a seal, which may be incomplete.
const UNSEALED: u8 = 3;

/// Runs `reservad check`, and prints the contents of the journal.
fn check(folder: &Path) -> Result<ExitCode, Failure> {
    let mut inventory = unbounded_inventory();
    let report = journal::check(&DiskStorage::at(folder), |record| {
        store::replay(&mut inventory, record).map(|_| ())
    });
    let report = report.map_err(describe)?;
    if report.fresh {
        return Err(describe(journal::Error::Missing { path: report.path }));
    }
    let events = match report.last_number - report.base_number {
        0 => "no events".to_owned(),
        _ => format!("events {} to {}", report.base_number + 1, report.last_number),
    };
    println!(
        "{}: good up to byte {}; {} snapshot records, {events}; {}{}",
        escape_for_log(&report.path),
        report.end_bytes,
        report.snapshot_records,
        contents(&inventory),
        identity(&report),
    );
    match &report.bad {
        None if report.is_sealed => {
            println!("sealed at event {}: complete", report.last_number);
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
        Some(bad) if bad.verdict == Disposition::Cut => {
            println!(
                "a torn tail from byte {} on (line {}: {}), never acknowledged as durable; the next start cuts {}. If a server is running on this directory, it may be writing right now",
                bad.offset_bytes,
                bad.line,
                escape_for_log(&bad.reason),
                bad.tail()
            );
        }
        Some(_) => return Err(describe(journal::Error::Refused(Box::new(report)))),
    }
    println!(
        "ends without a seal: events after {} may be missing, unless a server is running on it or was killed",
        report.last_number
    );
    Ok(ExitCode::from(UNSEALED))
}

/// Runs `reservad backup`, and prints the contents of the copy.
fn backup(folder: &Path, to: &Path) -> Result<ExitCode, Failure> {
    let mut inventory = unbounded_inventory();
    let done = journal::backup(&DiskStorage::at(folder), to, |record| {
        store::replay(&mut inventory, record).map(|_| ())
    });
    let journal::Backup { source, copy } = done.map_err(describe)?;
    println!(
        "{}: copied from {}, sealed at event {}; {} bytes, {}{}",
        escape_for_log(&to.join(journal::JOURNAL_FILE).display().to_string()),
        escape_for_log(&source.path),
        copy.last_number,
        copy.file_bytes,
        contents(&inventory),
        identity(&copy),
    );
    if let Some(bad) = &source.bad {
        println!("left out {} at its end, torn by a crash or still being written", bad.tail());
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns an inventory large enough for the journal of any server.
fn unbounded_inventory() -> Inventory {
    Inventory::new(Capacity { resources: u32::MAX, reservations: u32::MAX })
}

fn contents(inventory: &Inventory) -> String {
    format!(
        "{} resources, {} live reservations",
        inventory.names().len(),
        inventory.reservation_count()
    )
}

fn identity(report: &Report) -> String {
    report.id.map(|id| format!("; journal={id}")).unwrap_or_default()
}

/// Runs `reservad reset-time`, and prints the changes.
fn reset_time(folder: &Path) -> Result<(), Failure> {
    let (now, _) = time::read_clocks();
    let zone = zone_of_system()?;
    let shown = |time| zone.text(time, Round::Down);
    if now < Time::from_ms(CLOCK_UNSET_MS) {
        let reason = format!("the system's clock reads {}: set it first", shown(now));
        return Err(Failure::from(reason));
    }
    // Opening would create a journal where there is none.
    let found = journal::check(&DiskStorage::at(folder), |_| Ok(())).map_err(describe)?;
    if found.fresh {
        return Err(describe(journal::Error::Missing { path: found.path }));
    }
    let storage = DiskStorage::lock(folder).map_err(describe)?;
    let reset = store::reset_time(storage, now).map_err(describe)?;
    if let Some(cut) = torn_tail(&reset.report) {
        println!("{cut}");
    }
    let (path, last_time) =
        (escape_for_log(&reset.report.path).to_string(), shown(reset.last_time));
    match reset.changed {
        None => println!(
            "{path}: nothing to do: its last time, {last_time}, is not after the system's time, {}",
            shown(now)
        ),
        Some(changed) => {
            println!("{path}: moved its time from {last_time} back to {}", shown(now));
            let numbers: Vec<_> = changed.iter().map(|number| format!("#{number}")).collect();
            if !numbers.is_empty() {
                println!("moved to the present: {}", numbers.join(", "));
            }
        }
    }
    Ok(())
}

fn describe(error: journal::Error) -> Failure {
    Failure::from(error.to_string())
}

fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(STALL_DEFAULT_MS)
}

//! The start of the server: data directory, time zone, replay, listeners, and the loop until it
//! stops.

use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{LevelFilter, info, warn};
use reservad::inventory::Capacity;
use reservad::inventory_file::read_inventory_file;
use reservad::journal::{self, DiskStorage, Report, SyncPolicy};
use reservad::limits::{
    DESCRIPTORS_RESERVED, FLUSH_BATCH, LISTENER_DESCRIPTORS, LISTENERS_MAX, SILENT_LEAST,
    SILENT_OF_ADDRESS, STALL_DEFAULT_MS,
};
use reservad::reactor::{CLIENTS_MAX, Reactor, bind, outlive_file_size_limit};
use reservad::service::{Compaction, Config, CrowdLimits, Service};
use reservad::store::{Opened, State};
use reservad::text::escape_for_log;
use reservad::time::{self, Clock, Time, Zone};

use crate::failure::Failure;
use crate::logging;
use crate::options::Serve;

/// The resources of a server that starts without data and without --inventory.
const SAMPLE: [&str; 3] = ["Habitación 1", "Habitación 2", "Habitación 3"];

/// The file with the system's time zone.
const LOCALTIME: &str = "/etc/localtime";

/// Runs the server until it is stopped.
pub fn serve(options: Serve) -> Result<(), Failure> {
    let addresses: Vec<_> = options.listen.iter().flat_map(|list| list.0.clone()).collect();
    if !options.allow_anonymous {
        check_exposure(&addresses)?;
    }
    start_log(options.log_level);
    outlive_file_size_limit().map_err(Failure::Start)?;
    let zone = options.time_zone.clone().map_or_else(system_zone, Ok)?;
    let (mut state, mut clock) = open(&options)?;
    // Listens before anything is written: a start that fails must not count as the first one.
    // Limits the clients before that, because an accepted client must be served.
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
    let service = Service::new(state, clock, at, zone, config(&options, max_clients));
    let mut reactor =
        Reactor::new(listeners, service, options.inventory).map_err(Failure::Start)?;
    for address in reactor.addresses().map_err(Failure::Start)? {
        info!("listening on {address}");
    }
    info!(
        "{resources} resources, {reservations} live reservations, room for {max_clients} clients"
    );
    let result = reactor.run();
    // The kernel frees all memory at once, which is faster than a million reservations one by one.
    std::mem::forget(reactor);
    result.map_err(|error| Failure::Run(error.to_string()))?;
    info!("stopped");
    Ok(())
}

/// Checks that only this host can reach the addresses, because every client may do everything.
fn check_exposure(addresses: &[SocketAddr]) -> Result<(), Failure> {
    match addresses.iter().find(|address| !address.ip().is_loopback()) {
        Some(exposed) => Err(Failure::Exposed(*exposed)),
        None => Ok(()),
    }
}

fn start_log(level: LevelFilter) {
    let config = simplelog::ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_target_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    let lines = logging::LineSink::new(std::io::stderr());
    // Fails only if another log was started before.
    let _ = simplelog::WriteLogger::init(level, config, lines);
}

/// Returns the system's time zone: that of the environment variable TZ if it is set, or else that
/// of `/etc/localtime`. Logs a warning if neither exists and UTC is used.
///
/// # Errors
/// TZ or the file names a zone that cannot be read. Using UTC instead would move every booking.
pub fn system_zone() -> Result<Zone, Failure> {
    let tz = std::env::var_os("TZ");
    let file = zone_file(tz.as_deref());
    // Opening a pipe would wait for a writer, and a device may never end.
    let zone = if file.is_some_and(|path| is_special(&path)) { None } else { Zone::of_system() };
    zone.map_or_else(|| without_zone(tz, Path::new(LOCALTIME)), Ok)
}

/// Returns the file that holds the system's zone, if it is known without the zone database.
fn zone_file(tz: Option<&OsStr>) -> Option<PathBuf> {
    let Some(tz) = tz else { return Some(PathBuf::from(LOCALTIME)) };
    let bytes = tz.as_encoded_bytes();
    let name = bytes.strip_prefix(b":").unwrap_or(bytes);
    name.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(name)))
}

/// Returns whether a path exists and is not a regular file.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// Returns the zone of a system whose own zone cannot be read.
fn without_zone(tz: Option<OsString>, localtime: &Path) -> Result<Zone, Failure> {
    if let Some(tz) = tz {
        return Err(Failure::UnknownTz(tz.to_string_lossy().into_owned()));
    }
    if std::fs::symlink_metadata(localtime).is_ok() {
        return Err(Failure::UnreadableLocaltime(localtime.to_owned()));
    }
    warn!(
        "times are in UTC: {} does not exist and TZ is not set; use --time-zone to choose another zone",
        localtime.display()
    );
    Ok(Zone::utc())
}

/// Opens and replays the journal. The batch of the state holds what the end of the previous server
/// left to do.
fn open(options: &Serve) -> Result<(State<DiskStorage>, Clock), Failure> {
    let capacity =
        Capacity { resources: options.max_resources, reservations: options.max_reservations };
    if options.in_memory {
        info!("keeping everything in memory only");
        return Ok((State::in_memory(capacity), Clock::new(Time::MIN)));
    }
    let directory = data_directory(options.data_dir.clone())?;
    let storage = DiskStorage::lock(&directory)?;
    warn_of_exposure(&storage);
    if options.new {
        journal::begin_again(&storage)?;
    }
    let (state, Opened { report, last_time }) = State::open(storage, options.fsync, capacity)?;
    info!("data in {}", escape_for_log(&directory.display().to_string()));
    if let Some(cut) = torn_tail(&report) {
        warn!("{cut}");
    }
    Ok((state, Clock::new(last_time)))
}

/// Returns the data directory: the requested one, or the first one that the environment names.
pub fn data_directory(requested: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directory) = requested {
        return Ok(directory);
    }
    if let Some(directories) = variable("STATE_DIRECTORY") {
        return Ok(first_path(&directories));
    }
    if let Some(state) = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|it| it.is_absolute())
    {
        return Ok(state.join("reservad"));
    }
    match variable("HOME") {
        Some(home) => Ok(Path::new(&home).join(".local/state/reservad")),
        None => Err(Failure::NoDataDirectory),
    }
}

/// Returns the first path of a list, which systemd sets if a unit has several state directories.
fn first_path(paths: &OsStr) -> PathBuf {
    std::env::split_paths(paths).next().unwrap_or_else(|| PathBuf::from(paths))
}

/// Warns if other users could change or replace the journal.
fn warn_of_exposure(storage: &DiskStorage) {
    let user = rustix::process::geteuid().as_raw();
    for exposure in storage.exposures(user).unwrap_or_default() {
        warn!(
            "other users can change the data: {}; restrict it to its owner (chown, chmod go-w)",
            escape_for_log(&exposure)
        );
    }
}

/// Describes the torn tail that opening a journal has cut off, if there was one.
pub fn torn_tail(report: &Report) -> Option<String> {
    let bad = report.bad.as_ref()?;
    Some(format!(
        "{}: a torn tail was cut at byte {} ({}): {}, never acknowledged as durable",
        escape_for_log(&report.path),
        bad.offset_bytes,
        escape_for_log(&bad.reason),
        bad.tail()
    ))
}

/// Returns the names of the resources to create if missing.
fn first_names(options: &Serve, state: &State<DiskStorage>) -> Result<Vec<String>, Failure> {
    let is_new = state.inventory.last_event() == 0;
    match &options.inventory {
        Some(path) => Ok(read_inventory_file(path)?),
        None if is_new => Ok(SAMPLE.map(str::to_owned).to_vec()),
        None => Ok(Vec::new()),
    }
}

/// Raises the soft descriptor limit to the hard one. Returns the number of clients: `requested`, or
/// by default the descriptors left by these listeners and by the server itself.
fn max_clients(requested: Option<u32>, listeners: usize) -> Result<usize, Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let limit = descriptors.unwrap_or(u64::MAX);
    let reserved = DESCRIPTORS_RESERVED + LISTENER_DESCRIPTORS * listeners as u64;
    if limit <= reserved {
        return Err(Failure::DescriptorLimit { limit, listeners, needed: reserved + 1 });
    }
    let fits = usize::try_from(limit - reserved).unwrap_or(usize::MAX).min(CLIENTS_MAX - 64);
    match requested.map(|requested| requested as usize) {
        None => Ok(fits),
        Some(requested) if requested > fits => {
            warn!(
                "--max-clients {requested} is more than the limit of {limit} open files allows; raise the limit (ulimit -n)"
            );
            Ok(requested.min(CLIENTS_MAX - 64))
        }
        Some(requested) => Ok(requested),
    }
}

fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    if addresses.len() > LISTENERS_MAX {
        return Err(Failure::TooManyListeners(addresses.len()));
    }
    // If an IPv4 address has the same port, [::] must leave it free.
    let has_v4 = |port| addresses.iter().any(|other| other.is_ipv4() && other.port() == port);
    let listen = |address: &SocketAddr| {
        bind(*address, has_v4(address.port()))
            .map_err(|source| Failure::Listen { address: *address, source })
    };
    addresses.iter().map(listen).collect()
}

fn config(options: &Serve, max_clients: usize) -> Config {
    Config {
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
        flush_batch: FLUSH_BATCH,
    }
}

fn crowd_limits(max_clients: usize, per_address: u32) -> CrowdLimits {
    let per_address = usize::try_from(per_address).unwrap_or(usize::MAX);
    CrowdLimits {
        per_address,
        silent_per_address: per_address.div_ceil(SILENT_OF_ADDRESS),
        silent: (max_clients - max_clients / SILENT_OF_ADDRESS).max(SILENT_LEAST.min(max_clients)),
    }
}

fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(STALL_DEFAULT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tz_is_an_error() {
        for tz in ["Amrica/Montevideo", "3", "Europe/Madrid x"] {
            let failure = without_zone(Some(tz.into()), Path::new("/nowhere")).err().unwrap();
            let text = failure.to_string();
            assert!(text.contains(tz) && text.contains("IANA"), "{text}");
            assert_eq!(failure.exit_code(), 2);
        }
        use std::os::unix::ffi::OsStrExt;
        let tz = Some(OsStr::from_bytes(b"\xFF").to_owned());
        assert!(without_zone(tz, Path::new("/nowhere")).is_err());
    }

    #[test]
    fn missing_localtime_is_utc_and_an_unreadable_one_is_an_error() {
        let zone = without_zone(None, Path::new("/nowhere/localtime")).unwrap();
        assert_eq!(zone.name(), "UTC");
        let error = without_zone(None, Path::new("/dev/null")).err().unwrap().to_string();
        assert!(error.contains("/dev/null") && error.contains("--time-zone"), "{error}");
    }
}

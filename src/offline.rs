//! The commands `check`, `backup` and `reset-time`, which work on a data directory without serving.

use std::path::Path;
use std::process::ExitCode;

use reservad::inventory::{Capacity, Inventory};
use reservad::journal::{self, Backup, DiskStorage, Disposition, Report};
use reservad::limits::CLOCK_UNSET_MS;
use reservad::store;
use reservad::text::escape_for_log;
use reservad::time::{self, Round, Time};

use crate::failure::Failure;
use crate::startup::{system_zone, torn_tail};

/// The exit status for a good journal without a seal, which may be incomplete.
const UNSEALED: u8 = 3;

/// Runs `reservad check`, and prints the state of the journal.
pub fn check(directory: &Path) -> Result<ExitCode, Failure> {
    let mut inventory = unbounded_inventory();
    let report = journal::check(&DiskStorage::at(directory), |record| {
        store::replay(&mut inventory, record).map(|_| ())
    })?;
    if report.fresh {
        return Err(journal::Error::Missing { path: report.path }.into());
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
        Some(bad) if bad.disposition == Disposition::Cut => {
            println!(
                "a torn tail from byte {} on (line {}: {}), never acknowledged as durable; the next start cuts {}. If a server is running on this directory, it may be writing right now",
                bad.offset_bytes,
                bad.line,
                escape_for_log(&bad.reason),
                bad.tail()
            );
        }
        Some(_) => return Err(journal::Error::Refused(Box::new(report)).into()),
    }
    println!(
        "ends without a seal: events after {} may be missing, unless a server is running on it or was killed",
        report.last_number
    );
    Ok(ExitCode::from(UNSEALED))
}

/// Runs `reservad backup`, and prints the contents of the copy.
pub fn backup(directory: &Path, to: &Path) -> Result<(), Failure> {
    let mut inventory = unbounded_inventory();
    let Backup { source, copy } = journal::backup(&DiskStorage::at(directory), to, |record| {
        store::replay(&mut inventory, record).map(|_| ())
    })?;
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
        println!(
            "left out {} at the end of the journal: torn by a crash, or being written during the copy",
            bad.tail()
        );
    }
    Ok(())
}

/// Runs `reservad reset-time`, and prints the changes.
pub fn reset_time(directory: &Path) -> Result<(), Failure> {
    let (now, _) = time::read_clocks();
    let zone = system_zone()?;
    let shown = |time| zone.text(time, Round::Down);
    if now < Time::from_ms(CLOCK_UNSET_MS) {
        return Err(Failure::ClockNotSet(shown(now)));
    }
    // Checked first, because opening creates a missing journal.
    let found = journal::check(&DiskStorage::at(directory), |_| Ok(()))?;
    if found.fresh {
        return Err(journal::Error::Missing { path: found.path }.into());
    }
    let reset = store::reset_time(DiskStorage::lock(directory)?, now)?;
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

//! Measures the memory per resource and per live reservation, in bytes of the process's anonymous
//! memory. A million of them are added. The result is the maximum over the upper half, which
//! includes the moments at which a table has just grown. The texts of the names are subtracted.
//!
//! ```sh
//! cargo run --release --bin weight -- [COUNT]
//! ```

use std::process::Command;
use std::rc::Rc;

use reservad::inventory::{Capacity, Event, Interval, Inventory, Number, Reservation, ResourceId};
use reservad::time::Time;

/// The number of measurements in the upper half of the count.
const SAMPLES: u32 = 50;

/// Kind, description, and the number of reservations per resource.
const KINDS: [(&str, &str, u32); 8] = [
    ("resource", "a resource", 0),
    ("open", "without an end", 1),
    ("lease", "with an end, a lease", 1),
    ("dated", "with dates, in order, 1 per resource", 1),
    ("dated", "with dates, in order, 2 per resource", 2),
    ("dated", "with dates, in order, 5 per resource", 5),
    ("dated", "with dates, in order, 1,000 per resource", 1_000),
    ("mixed", "with dates, in no order, 1,000 per resource", 1_000),
];

fn main() {
    let mut args = std::env::args();
    let program = args.next().expect("the name of the program");
    let count: u32 = args.next().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    if let (Some(kind), Some(per_resource)) = (args.next(), args.next()) {
        let per_resource = per_resource.parse().expect("a number");
        return println!("{:.0}", weigh(&kind, count, per_resource));
    }
    // Each in a process of its own, because memory that one frees would serve the next.
    for (kind, what, per_resource) in KINDS {
        let args = [&count.to_string(), kind, &per_resource.to_string()];
        let output = Command::new(&program).args(args).output().expect("the program runs again");
        println!("{what}: {} bytes", String::from_utf8_lossy(&output.stdout).trim());
    }
}

/// Returns the bytes per resource if `per_resource` is 0, otherwise per reservation.
fn weigh(kind: &str, count: u32, per_resource: u32) -> f64 {
    let mut inventory = Inventory::new(Capacity { resources: count, reservations: count });
    let empty = anonymous_bytes();
    let mut name_bytes = 0;
    let mut max: f64 = 0.0;
    let step = count / 2 / SAMPLES;
    for added in 1..=count.checked_div(per_resource).unwrap_or(count) {
        let name = format!("Habitación {added}");
        name_bytes += name.len();
        inventory.apply(Event::Added { name });
        if per_resource == 0 && added > count / 2 && added % step == 0 {
            let bytes = anonymous_bytes() - empty - name_bytes as f64;
            max = max.max(bytes / f64::from(added));
        }
    }
    if per_resource == 0 {
        return max;
    }
    let without = anonymous_bytes();
    for number in 1..=count {
        inventory.apply(Event::Reserved(Rc::new(reservation(kind, number, count / per_resource))));
        if number > count / 2 && number % step == 0 {
            max = max.max((anonymous_bytes() - without) / f64::from(number));
        }
    }
    inventory.check();
    max
}

fn reservation(kind: &str, number: u32, rooms: u32) -> Reservation {
    const BEGIN_MS: i64 = 1_795_000_000_000;
    // A permutation without order, because the modulus is a prime.
    let place = match kind {
        "mixed" => (u64::from(number) * 7_368_787 % 15_485_863) as u32,
        _ => number,
    };
    let room = if kind == "mixed" { number % rooms } else { place % rooms };
    let from = Time::from_ms(BEGIN_MS + i64::from(place) * 1_000);
    let until = match kind {
        "open" => Time::MAX,
        _ => from.plus_ms(if kind == "mixed" { 500 } else { 1_000 * i64::from(rooms) }),
    };
    let mut new =
        Reservation::new(Number(u64::from(number)), &[ResourceId(room)], Interval { from, until });
    new.lease = kind == "lease";
    new
}

/// Returns the anonymous memory of this process in bytes, as the kernel counts it.
fn anonymous_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024.0
}

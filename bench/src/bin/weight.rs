//! What a resource and a live reservation weigh, in bytes of the process's own
//! memory: the most of what is found while there come to be a million, so that
//! a table that has just grown counts as it is then. The names of resources
//! are not counted once.
//!
//! ```sh
//! cargo run --release --example weight -- [COUNT]
//! ```

use std::process::Command;
use std::rc::Rc;

use reservad::inventory::{Capacity, Event, Interval, Inventory, Number, Reservation, ResourceId};
use reservad::time::Time;

/// Looks at the memory so many times, in the upper half of the count.
const LOOKS: u32 = 50;

const KINDS: [(&str, &str, u32); 8] = [
    ("resource", "a resource", 0),
    ("open", "without an end", 1),
    ("lease", "with an end, a lease", 1),
    ("dated", "with dates, in order, 1 to a resource", 1),
    ("dated", "with dates, in order, 2 to a resource", 2),
    ("dated", "with dates, in order, 5 to a resource", 5),
    ("dated", "with dates, in order, 1,000 to a resource", 1_000),
    ("mixed", "with dates, in no order, 1,000 to a resource", 1_000),
];

fn main() {
    let mut args = std::env::args();
    let program = args.next().expect("a program has a name");
    let count: u32 = args.next().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    if let (Some(kind), Some(share)) = (args.next(), args.next()) {
        let share = share.parse().expect("a number");
        return println!("{:.0}", weigh(&kind, count, share));
    }
    // A process for each: what one has given back would serve the next.
    for (kind, what, share) in KINDS {
        let args = [&count.to_string(), kind, &share.to_string()];
        let output = Command::new(&program).args(args).output().expect("it can be run again");
        println!("{what}: {} bytes", String::from_utf8_lossy(&output.stdout).trim());
    }
}

fn weigh(kind: &str, count: u32, share: u32) -> f64 {
    let mut inventory = Inventory::new(Capacity { resources: count, reservations: count });
    let empty = anonymous_bytes();
    let mut name_bytes = 0;
    let mut most: f64 = 0.0;
    let step = count / 2 / LOOKS;
    for added in 1..=count.checked_div(share).unwrap_or(count) {
        let name = format!("Habitación {added}");
        name_bytes += name.len();
        inventory.apply(Event::Added { name });
        if share == 0 && added > count / 2 && added % step == 0 {
            let bytes = anonymous_bytes() - empty - name_bytes as f64;
            most = most.max(bytes / f64::from(added));
        }
    }
    if share == 0 {
        return most;
    }
    let without = anonymous_bytes();
    for number in 1..=count {
        inventory.apply(Event::Reserved(Rc::new(reservation(kind, number, count / share))));
        if number > count / 2 && number % step == 0 {
            most = most.max((anonymous_bytes() - without) / f64::from(number));
        }
    }
    inventory.check();
    most
}

fn reservation(kind: &str, number: u32, rooms: u32) -> Reservation {
    const BEGIN_MS: i64 = 1_795_000_000_000;
    // Numbers that jump about and come once each: the modulus is a prime.
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

/// Memory of its own that this process has, as the kernel counts it.
fn anonymous_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024.0
}

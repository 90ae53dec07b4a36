//! Measures the benefit of the journal's spare tail: the time of a small write with its fdatasync
//! when the file grows, and when the write overwrites blank space. Also measures how long it takes
//! to fill that space in steps of several sizes.
//!
//! ```sh
//! cargo run --release --bin fsync_tail -- DIRECTORY
//! ```
//!
//! The directory must be on the disk to measure, not on a tmpfs. Rounds of both kinds alternate, so
//! that other activity on the machine affects both alike.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const ROUNDS: usize = 10;
const WRITES: usize = 200;
const RECORD_BYTES: usize = 100;
const BLANK: u8 = b'\n';

fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = directory.join(format!("fsync_tail.{}", std::process::id()));
    let result = measure(&path);
    fs::remove_file(&path)?;
    result
}

fn measure(path: &Path) -> io::Result<()> {
    let (mut growing, mut filled) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (mut a, mut b) = (writes(path, 0)?, writes(path, WRITES * RECORD_BYTES)?);
        println!(
            "round {round:2}: growing {:6} us, filled {:6} us",
            median(&mut a),
            median(&mut b)
        );
        growing.append(&mut a);
        filled.append(&mut b);
    }
    let (growing, filled) = (median(&mut growing), median(&mut filled));
    println!("median of {} writes of {RECORD_BYTES} bytes, each with fdatasync:", ROUNDS * WRITES);
    println!("  growing file {growing} us, filled tail {filled} us");
    println!("  ratio {:.2}", growing as f64 / filled as f64);
    println!("filling the tail with its fdatasync, median of {ROUNDS}:");
    for kib in [64, 256, 1024, 4096] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let file = empty(path)?;
            let start = Instant::now();
            file.write_all_at(&vec![BLANK; kib * 1024], 0)?;
            file.sync_data()?;
            times.push(start.elapsed().as_micros());
        }
        println!("  {kib:4} KiB: {:6} us", median(&mut times));
    }
    Ok(())
}

/// Returns the times in microseconds of consecutive single writes into a new file whose first
/// `filled` bytes are blank.
fn writes(path: &Path, filled: usize) -> io::Result<Vec<u128>> {
    let file = empty(path)?;
    file.write_all_at(&vec![BLANK; filled], 0)?;
    file.sync_all()?;
    let record = [b'x'; RECORD_BYTES];
    let mut times = Vec::with_capacity(WRITES);
    for index in 0..WRITES {
        let start = Instant::now();
        file.write_all_at(&record, (index * RECORD_BYTES) as u64)?;
        file.sync_data()?;
        times.push(start.elapsed().as_micros());
    }
    Ok(times)
}

fn empty(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

fn median(times: &mut [u128]) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}

//! Power cuts: data that was written and not synced may be lost. A kill alone does not show that,
//! because the kernel writes the data of a dead process. So the trace of the system calls
//! determines which data to remove.

use std::os::unix::fs::FileExt;
use std::path::Path;

use support::Rng;

/// Removes data that was written to the journal since its last successful sync: all of it, the end
/// of it, or, as after a mere kill, nothing. Returns the number of bytes removed.
pub fn cut(trace: &Path, journal: &Path, rng: &mut Rng) -> u64 {
    let trace = String::from_utf8_lossy(&std::fs::read(trace).unwrap()).into_owned();
    let Some((start, end)) = unsynced(&trace) else { return 0 };
    let from = match rng.below(3) {
        0 => end,
        1 => start,
        _ => start + rng.below((end - start) as usize) as u64,
    };
    // The overwritten part was spare space.
    let blank = vec![b'\n'; (end - from) as usize];
    let file = std::fs::OpenOptions::new().write(true).open(journal).unwrap();
    file.write_all_at(&blank, from).unwrap();
    end - from
}

/// Returns the range of the journal that was written since its last sync.
fn unsynced(trace: &str) -> Option<(u64, u64)> {
    let mut range = None;
    for line in trace.lines().filter(|line| line.contains("/journal>")) {
        let (call, result) = line.rsplit_once(" = ").unwrap_or((line, "?"));
        if call.contains(" fdatasync(") && result == "0" {
            range = None;
        } else if call.contains(" pwrite64(")
            && let Ok(count) = result.parse::<u64>()
        {
            let (_, offset) = call.trim_end().trim_end_matches(')').rsplit_once(", ").unwrap();
            let offset: u64 = offset.parse().unwrap();
            let (start, end) = range.unwrap_or((offset, offset));
            range = Some((start.min(offset), end.max(offset + count)));
        }
    }
    range
}

#[test]
fn unsynced_range_is_read_from_the_trace() {
    let write = r#"7 1.5 pwrite64(3</d/journal>, "\n1 = 0, 9) = ", 4, 10) = 4"#;
    let sync = "7 1.6 fdatasync(3</d/journal>) = 0";
    let other = "7 1.6 fdatasync(4</d/journal.new>) = 0";
    let failed = "7 1.6 fdatasync(3</d/journal>) = -1 EIO (Input/output error) (INJECTED)";
    let killed = "7 1.6 fdatasync(3</d/journal>) = ?";
    let further = r#"7 1.5 pwrite64(3</d/journal>, "x", 6, 14) = 6"#;
    assert_eq!(unsynced(&[write, sync].join("\n")), None);
    assert_eq!(unsynced(&[write, other, failed].join("\n")), Some((10, 14)));
    assert_eq!(unsynced(&[sync, write, killed].join("\n")), Some((10, 14)));
    assert_eq!(unsynced(&[write, further].join("\n")), Some((10, 20)));
    assert_eq!(unsynced(&[write, sync, further].join("\n")), Some((14, 20)));
}

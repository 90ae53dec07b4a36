//! The log on standard error, which never makes the loop wait for a reader.
//!
//! A pipe whose reader is stuck, or a terminal that was stopped with Ctrl-S, blocks whoever writes
//! to it. The flag that would prevent this belongs to the open file, which other processes share,
//! so the server asks before each line whether there is room for it. A line that finds none is
//! dropped and counted, and the next one that finds room is preceded by the count.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that is ready takes this much without blocking (PIPE_BUF). A longer line is cut.
const LINE_MAX_BYTES: usize = 4096;

/// How long the reason of a failed start or run waits for a reader before it is given up.
const FAREWELL_S: i64 = 1;

/// Writes whole lines to `T`, and drops those for which it has no room at the moment.
pub struct LineSink<T> {
    target: T,
    line: Vec<u8>,
    dropped: u64,
}

impl<T: Write + AsFd> LineSink<T> {
    /// A sink that has dropped nothing yet.
    pub fn new(target: T) -> LineSink<T> {
        LineSink { target, line: Vec::with_capacity(256), dropped: 0 }
    }

    fn finish_line(&mut self) {
        if self.line.len() > LINE_MAX_BYTES {
            self.line.truncate(LINE_MAX_BYTES - 1);
            self.line.push(b'\n');
        }
        if self.dropped > 0 {
            let count =
                format!("[WARN] {} log lines were dropped: nobody read them\n", self.dropped);
            if self.try_write(count.as_bytes()) {
                self.dropped = 0;
            }
        }
        let line = std::mem::take(&mut self.line);
        self.dropped += u64::from(self.dropped > 0 || !self.try_write(&line));
        self.line = line;
        self.line.clear();
    }

    /// Whether all of the text was taken. What fails otherwise is not tried again: a log that
    /// nobody can be given is no reason to stop.
    fn try_write(&mut self, text: &[u8]) -> bool {
        has_room(&self.target, 0) && self.target.write_all(text).is_ok()
    }
}

impl<T: Write + AsFd> Write for LineSink<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.finish_line();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says why the program ends. Waits a moment for a reader, not for ever.
pub fn say_farewell(reason: &str) {
    let stderr = io::stderr();
    if has_room(&stderr, FAREWELL_S) {
        // A closed stderr is no reason to panic.
        let _ = writeln!(&stderr, "{reason}");
    }
}

/// Whether a line can be written without waiting, now or within some seconds. An error of the
/// stream counts as room: the write will tell, and will not block.
fn has_room(target: &impl AsFd, seconds: i64) -> bool {
    let mut fds = [PollFd::new(target, PollFlags::OUT)];
    let patience = Timespec { tv_sec: seconds, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&patience)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Read, pipe};

    use super::*;

    /// Fills a pipe until it has no room for one more line.
    fn fill(pipe: &mut PipeWriter) -> usize {
        let mut filled = 0;
        while has_room(pipe, 0) {
            pipe.write_all(&[b'x'; LINE_MAX_BYTES]).unwrap();
            filled += LINE_MAX_BYTES;
        }
        filled
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted() {
        let (mut reader, mut writer) = pipe().unwrap();
        let filled = fill(&mut writer);
        let mut sink = LineSink::new(writer);
        for n in 0..3 {
            sink.write_all(format!("lost {n}\n").as_bytes()).unwrap();
        }
        reader.read_exact(&mut vec![0; filled]).unwrap();
        // In pieces, as a logger writes.
        sink.write_all(b"kept").unwrap();
        sink.write_all(b" 3\nkept 4\n").unwrap();
        drop(sink);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "[WARN] 3 log lines were dropped: nobody read them\nkept 3\nkept 4\n");
    }

    #[test]
    fn long_line_is_cut_to_what_a_ready_pipe_takes() {
        let (mut reader, writer) = pipe().unwrap();
        let mut sink = LineSink::new(writer);
        sink.write_all(&[b'y'; 100_000]).unwrap();
        sink.write_all(b"\nshort\n").unwrap();
        drop(sink);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said.len(), LINE_MAX_BYTES + "short\n".len());
        assert!(said.ends_with("y\nshort\n"));
    }
}

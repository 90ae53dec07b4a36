//! The log on standard error. Writing to it never blocks the event loop.
//!
//! A pipe whose reader is stuck, or a terminal stopped with Ctrl-S, blocks its writers. The flag
//! that would prevent this belongs to the open file description, which other processes share. So
//! the server checks before each line whether there is room for it. A line without room is dropped
//! and counted, and the count precedes the next line that is written.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A writable pipe takes this much without blocking (`PIPE_BUF`). Longer lines are truncated.
const LINE_MAX_BYTES: usize = 4096;

/// How long the reason for a failure waits for a reader of standard error, in seconds.
const EXIT_REASON_WAIT_S: i64 = 1;

/// Writes whole lines to `T`, and drops lines that would block.
pub struct LineSink<T> {
    target: T,
    line: Vec<u8>,
    dropped: u64,
}

impl<T: Write + AsFd> LineSink<T> {
    /// Returns a sink on a target.
    pub fn new(target: T) -> LineSink<T> {
        LineSink { target, line: Vec::with_capacity(256), dropped: 0 }
    }

    fn finish_line(&mut self) {
        if self.line.len() > LINE_MAX_BYTES {
            self.line.truncate(LINE_MAX_BYTES - 1);
            self.line.push(b'\n');
        }
        if self.dropped > 0 {
            let count = format!(
                "[WARN] dropped {} log lines: the reader of the log is too slow\n",
                self.dropped
            );
            if self.try_write(count.as_bytes()) {
                self.dropped = 0;
            }
        }
        let line = std::mem::take(&mut self.line);
        self.dropped += u64::from(self.dropped > 0 || !self.try_write(&line));
        self.line = line;
        self.line.clear();
    }

    /// Returns whether the text was written. Errors other than a full pipe are not retried, because
    /// the server must not stop for a log without a reader.
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

/// Writes the reason why the program exits. Waits briefly for a slow reader.
pub fn write_exit_reason(reason: &str) {
    let stderr = io::stderr();
    if has_room(&stderr, EXIT_REASON_WAIT_S) {
        // With a closed standard error there is nowhere to report a failure.
        let _ = writeln!(&stderr, "{reason}");
    }
}

/// Returns whether a line can be written without blocking, now or within `seconds`. An error of the
/// stream counts as room, because the write reports it without blocking.
fn has_room(target: &impl AsFd, seconds: i64) -> bool {
    let mut fds = [PollFd::new(target, PollFlags::OUT)];
    let patience = Timespec { tv_sec: seconds, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&patience)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Read, pipe};

    use super::*;

    /// Fills a pipe until it has no room for another line.
    fn fill(pipe: &mut PipeWriter) -> usize {
        let mut filled = 0;
        while has_room(pipe, 0) {
            pipe.write_all(&[b'x'; LINE_MAX_BYTES]).unwrap();
            filled += LINE_MAX_BYTES;
        }
        filled
    }

    #[test]
    fn lines_without_a_reader_are_dropped_and_counted() {
        let (mut reader, mut writer) = pipe().unwrap();
        let filled = fill(&mut writer);
        let mut sink = LineSink::new(writer);
        for n in 0..3 {
            sink.write_all(format!("lost {n}\n").as_bytes()).unwrap();
        }
        reader.read_exact(&mut vec![0; filled]).unwrap();
        // Written in pieces, as a logger does.
        sink.write_all(b"kept").unwrap();
        sink.write_all(b" 3\nkept 4\n").unwrap();
        drop(sink);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(
            said,
            "[WARN] dropped 3 log lines: the reader of the log is too slow\nkept 3\nkept 4\n"
        );
    }

    #[test]
    fn long_line_is_cut_to_the_size_that_a_pipe_takes() {
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

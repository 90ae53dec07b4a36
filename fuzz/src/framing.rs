//! The target `framing`: the bytes of one connection, split in many ways. The lines, the errors in
//! place of lines, the replies to telnet and the interrupts are the same as those of a naive parser
//! that has the whole input.

use std::io::{self, ErrorKind, Read, Write};

use reservad::conn::{BufferPool, Conn, Eol, Frame};
use reservad::limits::{
    INPUT_HIGH_BYTES, LINE_ENDLESS_BYTES, LINE_MAX_BYTES, OUTPUT_HIGH_BYTES, READ_BUDGET_BYTES,
    WRITE_BUDGET_BYTES,
};
use support::Rng;

/// The maximal size of an expanded input.
const MOST_BYTES: usize = LINE_ENDLESS_BYTES + 2 * LINE_MAX_BYTES;
/// The maximal size of inputs that are split once at every byte.
const SMALL_BYTES: usize = 48;
/// The maximal size of inputs that are also read byte by byte: more than the longest line.
const MIDDLE_BYTES: usize = LINE_MAX_BYTES + 512;
/// The maximal size of inputs that may expand to very many bytes.
const SHORT_BYTES: usize = 8;
/// A byte of an input that is followed by a count and the byte to repeat.
const REPEAT: u8 = 0x01;
/// The reply to every line.
const REPLY: &[u8] = b"OK\n";

/// An item that a connection finds in its input.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Shown {
    Line(Vec<u8>, Eol),
    TooLong(Eol),
    Endless,
    Cut,
    EndOfTransmission,
    Tls,
}

/// The result of reading an input.
#[derive(PartialEq, Eq, Debug)]
struct Reading {
    shown: Vec<Shown>,
    /// The replies to telnet commands.
    answers: Vec<u8>,
}

/// Reads `data`, which the peer sends before it closes its side.
///
/// `0x01 n b` stands for 2^(n mod 14) times the byte b. In a short input, n from 192 to 202 stands
/// for 2^(n − 182) times, which exceeds the longest line. In all inputs that would be too slow for
/// a fuzzer.
pub fn run(data: &[u8]) {
    let bytes = expand(data);
    let (want, ends) = plain(&bytes);
    compare(&bytes, Cuts::every(READ_BUDGET_BYTES), &want);
    let seed = data.iter().fold(1u64, |seed, byte| seed.wrapping_mul(31) + u64::from(*byte));
    compare(&bytes, Cuts::random(17.max(bytes.len() / 500), seed), &want);
    if bytes.len() <= MIDDLE_BYTES {
        compare(&bytes, Cuts::every(1), &want);
        compare(&bytes, Cuts::random(5, !seed), &want);
    }
    if bytes.len() <= SMALL_BYTES {
        for first in 1..bytes.len() {
            compare(&bytes, Cuts { first, ..Cuts::every(READ_BUDGET_BYTES) }, &want);
        }
    }
    if bytes.len() <= INPUT_HIGH_BYTES / 2 {
        for place in 0..want.shown.len().min(3) {
            for tidies in [false, true] {
                held_back(&bytes, place, tidies, &want, &ends);
            }
        }
    }
    floods(&bytes);
}

fn expand(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = data;
    while let [first, more @ ..] = rest {
        rest = more;
        match (*first, more) {
            (REPEAT, [n, byte, more @ ..]) => {
                let big = data.len() <= SHORT_BYTES && (192..=202).contains(n);
                let count = 1 << if big { n - 182 } else { n % 14 };
                bytes.resize(MOST_BYTES.min(bytes.len() + count), *byte);
                rest = more;
            }
            (byte, _) => bytes.push(byte),
        }
    }
    bytes.truncate(MOST_BYTES);
    bytes
}

/// Parses the whole input naively: first telnet, then the lines. Also returns the offset in the
/// text at which each item ends.
fn plain(bytes: &[u8]) -> (Reading, Vec<usize>) {
    let (text, _, answers) = strip_telnet(bytes);
    let (mut shown, mut ends) = (Vec::new(), Vec::new());
    let mut last_eol = Eol::Lf;
    let mut rest = &text[..];
    while !rest.is_empty() {
        let (what, used) = match rest[0] {
            0x16 if rest.len() == text.len() => (Some(Shown::Tls), rest.len()),
            0x04 => (Some(Shown::EndOfTransmission), 1),
            _ => match rest.iter().position(|byte| *byte == b'\n') {
                Some(lf) => (Some(line(&rest[..lf])), lf + 1),
                None => (unended(rest, last_eol), rest.len()),
            },
        };
        rest = &rest[used..];
        if let Some(Shown::Line(_, eol) | Shown::TooLong(eol)) = what {
            last_eol = eol;
        }
        let is_last = matches!(what, Some(Shown::Tls | Shown::Endless));
        ends.extend(what.is_some().then_some(text.len() - rest.len()));
        shown.extend(what);
        if is_last {
            break;
        }
    }
    (Reading { shown, answers }, ends)
}

fn line(text: &[u8]) -> Shown {
    let (text, eol) = match text.strip_suffix(b"\r") {
        Some(text) => (text, Eol::CrLf),
        None => (text, Eol::Lf),
    };
    match text.len() {
        0..=LINE_MAX_BYTES => Shown::Line(text.to_vec(), eol),
        length if length > LINE_ENDLESS_BYTES => Shown::Endless,
        _ => Shown::TooLong(eol),
    }
}

/// Returns the item for a last line without its end. An error for a line that is too long is sent
/// with the line ending that was used last.
fn unended(text: &[u8], last_eol: Eol) -> Option<Shown> {
    let length = text.strip_suffix(b"\r").map_or(text.len(), <[u8]>::len);
    match text.len() {
        _ if length > LINE_ENDLESS_BYTES => Some(Shown::Endless),
        // The excess byte may have been the CR of a line ending.
        bytes if bytes > LINE_MAX_BYTES + 1 => Some(Shown::TooLong(last_eol)),
        _ if text.iter().all(|byte| matches!(byte, b' ' | b'\t')) => None,
        _ => Some(Shown::Cut),
    }
}

/// Returns the text without telnet commands, the offsets of interrupts, and the replies to telnet.
fn strip_telnet(bytes: &[u8]) -> (Vec<u8>, Vec<usize>, Vec<u8>) {
    let (mut text, mut interrupts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = bytes;
    while let [first, more @ ..] = rest {
        rest = match (*first, more) {
            (255, [255, more @ ..]) => {
                text.push(255);
                more
            }
            (255, [250, more @ ..]) => {
                // A subnegotiation lasts until IAC SE. Other commands in it are skipped.
                let mut more = more;
                loop {
                    more = match more {
                        [255, 240, more @ ..] => break more,
                        [255, _, more @ ..] | [_, more @ ..] => more,
                        [] => break more,
                    };
                }
            }
            (255, [verb @ 251..=254, option, more @ ..]) => {
                match verb {
                    253 => answers.extend([255, 252, *option]),
                    251 => answers.extend([255, 254, *option]),
                    _ => {}
                }
                more
            }
            (255, [251..=254]) => &[],
            (255, [command, more @ ..]) => {
                if *command == 244 {
                    interrupts.push(text.len());
                }
                more
            }
            (255, []) => more,
            (byte, more) => {
                text.push(byte);
                more
            }
        };
    }
    (text, interrupts, answers)
}

/// The way in which the input is split.
#[derive(Clone, Debug)]
struct Cuts {
    /// The size of the first piece, or 0 for the same as the others.
    first: usize,
    /// The maximal size of a piece.
    most: usize,
    /// The generator of random sizes. Without it all pieces have the maximal size.
    rng: Option<Rng>,
}

impl Cuts {
    fn every(most: usize) -> Cuts {
        Cuts { first: 0, most, rng: None }
    }

    fn random(most: usize, seed: u64) -> Cuts {
        Cuts { first: 0, most, rng: Some(Rng(seed)) }
    }

    fn next(&mut self) -> usize {
        if self.first > 0 {
            return std::mem::take(&mut self.first);
        }
        match &mut self.rng {
            Some(rng) => 1 + rng.below(self.most),
            None => self.most,
        }
    }
}

/// A socket that returns its input in pieces and accepts a few bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    cuts: Cuts,
    /// Whether every other call would block.
    blocks: bool,
    written: Vec<u8>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.cuts.next().min(buffer.len()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.rest = rest;
        Ok(count)
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.blocks = !self.blocks;
        if self.blocks {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(self.cuts.most.max(7));
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compare(bytes: &[u8], cuts: Cuts, want: &Reading) {
    let got = read(bytes, cuts.clone());
    assert!(got == *want, "split as {cuts:?}:\n{got:?}\nexpected\n{want:?}");
}

fn conn(bytes: &[u8], cuts: Cuts) -> Conn<Pieces<'_>> {
    Conn::new(Pieces { rest: bytes, cuts, blocks: false, written: Vec::new() })
}

/// Reads as the loop does: a read, the lines, a write, and the release of buffers.
fn read(bytes: &[u8], cuts: Cuts) -> Reading {
    let mut scratch = vec![0; READ_BUDGET_BYTES.min(cuts.most.max(cuts.first))];
    let mut conn = conn(bytes, cuts);
    let mut shown = Vec::new();
    let mut spare = BufferPool::default();
    loop {
        conn.acquire(&mut spare);
        conn.set_readable(false);
        conn.set_writable();
        if conn.wants_read() {
            conn.fill(&mut scratch).expect("the simulated socket never fails");
        }
        let is_over = take_frames(&mut conn, &mut shown);
        let took_all = conn.may_run();
        let bound = OUTPUT_HIGH_BYTES + REPLY.len() + scratch.len();
        assert!(conn.pending() <= bound, "{} bytes of output", conn.pending());
        conn.flush(WRITE_BUDGET_BYTES).expect("the simulated socket never fails");
        conn.release(&mut spare);
        if is_over || (conn.is_eof() && took_all) {
            return finish(conn, shown, bytes);
        }
        conn.set_readable(false);
        let goes_on = conn.is_eof() || conn.wants_read() || conn.pending() >= OUTPUT_HIGH_BYTES;
        assert!(goes_on || !took_all, "the connection is never read again");
    }
}

/// Takes and answers the available items. Returns true after an item that closes the connection.
fn take_frames(conn: &mut Conn<Pieces>, shown: &mut Vec<Shown>) -> bool {
    while conn.may_run() {
        let Some(frame) = conn.next_frame() else { return false };
        let what = show(conn, frame);
        let is_last = matches!(what, Shown::Endless | Shown::Tls);
        shown.push(what);
        conn.out().extend_from_slice(REPLY);
        if is_last {
            return true;
        }
    }
    false
}

/// Checks that all replies, including those to telnet, were written completely.
fn finish(mut conn: Conn<Pieces>, mut shown: Vec<Shown>, bytes: &[u8]) -> Reading {
    while !conn.is_flushed() {
        conn.set_writable();
        conn.flush(WRITE_BUDGET_BYTES).expect("the simulated socket never fails");
        if !matches!(shown.last(), Some(Shown::Endless | Shown::Tls)) {
            take_frames(&mut conn, &mut shown);
        }
    }
    let mut answers = Vec::new();
    let mut replies = 0;
    let mut rest = &conn.stream().written[..];
    while let Some(first) = rest.first() {
        let size = if *first == 255 { 3 } else { REPLY.len() };
        let (one, more) = rest.split_at_checked(size).expect("an incomplete reply");
        if one[0] == 255 {
            answers.extend_from_slice(one);
        } else {
            assert_eq!(one, REPLY, "an incomplete reply");
            replies += 1;
        }
        rest = more;
    }
    assert_eq!(replies, shown.len());
    if matches!(shown.last(), Some(Shown::Endless | Shown::Tls)) {
        // Later input may have been read or not.
        let all = strip_telnet(bytes).2;
        assert!(all.starts_with(&answers));
        answers = all;
    }
    Reading { shown, answers }
}

fn show(conn: &mut Conn<Pieces>, frame: Frame) -> Shown {
    let eol = conn.eol();
    match frame {
        Frame::Line(at) => Shown::Line(conn.line(at).0.to_vec(), eol),
        Frame::TooLong => Shown::TooLong(eol),
        Frame::Endless => Shown::Endless,
        Frame::Cut => Shown::Cut,
        Frame::EndOfTransmission => Shown::EndOfTransmission,
        Frame::Tls => Shown::Tls,
    }
}

/// Lets the line at `place` wait, which holds back later input. Nothing of it is lost, and an
/// interrupt after the line is found, also after buffers were released.
fn held_back(bytes: &[u8], place: usize, tidies: bool, want: &Reading, ends: &[usize]) {
    let mut conn = conn(bytes, Cuts::random(64, 7));
    let mut scratch = [0; 64];
    let mut shown = Vec::new();
    let mut spare = BufferPool::default();
    while shown.len() <= place && !conn.is_eof() {
        conn.set_readable(false);
        conn.fill(&mut scratch).expect("the simulated socket never fails");
        while shown.len() <= place {
            let Some(frame) = conn.next_frame() else { break };
            shown.push(show(&mut conn, frame));
            if matches!(shown.last(), Some(Shown::Tls)) {
                return;
            }
        }
        if tidies || shown.len() <= place {
            conn.release(&mut spare);
        }
    }
    // Only a line can wait.
    if !matches!(shown.get(place), Some(Shown::Line(..))) {
        return;
    }
    let is_after = |at: &usize| *at >= ends[place];
    let seen = strip_telnet(&bytes[..bytes.len() - conn.stream().rest.len()]).1;
    assert_eq!(
        conn.take_interrupt(),
        seen.iter().any(is_after),
        "an interrupt that was read with the line"
    );
    while !conn.is_eof() {
        conn.set_readable(false);
        conn.fill(&mut scratch).expect("the simulated socket never fails");
        conn.release(&mut spare);
    }
    let later = &strip_telnet(bytes).1[seen.len()..];
    assert_eq!(
        conn.take_interrupt(),
        later.iter().any(is_after),
        "an interrupt that was read during the wait"
    );
    while let Some(frame) = conn.next_frame() {
        shown.push(show(&mut conn, frame));
    }
    assert_eq!(shown, want.shown, "the lines held back");
}

/// Checks that the input of a connection whose lines are not run is bounded.
fn floods(bytes: &[u8]) {
    let mut conn = conn(bytes, Cuts::every(4096));
    let mut scratch = vec![0; 4096];
    let mut read = 0;
    let mut spare = BufferPool::default();
    while conn.wants_read() && !conn.is_eof() {
        read += conn.fill(&mut scratch).expect("the simulated socket never fails");
        conn.set_readable(false);
        conn.release(&mut spare);
    }
    let (text, _, answers) = strip_telnet(&bytes[..read]);
    assert!(text.len() < INPUT_HIGH_BYTES + scratch.len());
    assert!(answers.len() < OUTPUT_HIGH_BYTES + scratch.len());
    assert_eq!(conn.pending(), answers.len());
}

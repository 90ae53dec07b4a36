//! The bytes of one connection, cut in every way: the lines, what stands in
//! their place, the answers to telnet and the interrupts are those of a plain
//! reading of the whole, however the bytes come in.

use std::io::{self, ErrorKind, Read, Write};

use reservad::conn::{BufferPool, Conn, Eol, Frame};
use reservad::limits::{
    INPUT_HIGH_BYTES, LINE_ENDLESS_BYTES, LINE_MAX_BYTES, OUTPUT_HIGH_BYTES, READ_BUDGET_BYTES,
    WRITE_BUDGET_BYTES,
};

/// More than this is not made of one input.
const MOST_BYTES: usize = LINE_ENDLESS_BYTES + 2 * LINE_MAX_BYTES;
/// Up to this every place is cut once.
const SMALL_BYTES: usize = 48;
/// Up to this every byte is also given alone: more than the longest line.
const MIDDLE_BYTES: usize = LINE_MAX_BYTES + 512;
/// Inputs of up to so many bytes may stand for very many.
const SHORT_BYTES: usize = 8;
/// In an input: the next two bytes say how often which byte is repeated.
const REPEAT: u8 = 0x01;
/// What every line is answered here.
const REPLY: &[u8] = b"OK\n";

/// What a connection shows of its input.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Shown {
    Line(Vec<u8>, Eol),
    TooLong(Eol),
    Endless,
    Cut,
    EndOfTransmission,
    Tls,
}

/// What a reading gives.
#[derive(PartialEq, Eq, Debug)]
struct Reading {
    shown: Vec<Shown>,
    /// What telnet is answered.
    answers: Vec<u8>,
}

/// `data` is what the peer sends before it closes its side; `0x01 n b` in it
/// stands for 2^(n mod 14) times the byte b. In a short input n from 192 to 202 is
/// for 2^(n − 182), up to more than a line may ever have; in every input that
/// would cost a fuzzer all of its time.
pub fn run(data: &[u8]) {
    let bytes = expand(data);
    let (want, ends) = plain(&bytes);
    let all = Cuts::every(READ_BUDGET_BYTES);
    compare(&bytes, all, &want);
    let seed = data.iter().fold(1u64, |seed, byte| seed.wrapping_mul(31) + u64::from(*byte));
    compare(&bytes, Cuts { most: 17.max(bytes.len() / 500), seed, ..all }, &want);
    if bytes.len() <= MIDDLE_BYTES {
        compare(&bytes, Cuts::every(1), &want);
        compare(&bytes, Cuts { most: 5, seed: !seed, ..all }, &want);
    }
    if bytes.len() <= SMALL_BYTES {
        for first in 1..bytes.len() {
            compare(&bytes, Cuts { first, ..all }, &want);
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

/// The naive reading of the whole: first telnet, then the lines.
///
/// Returns with it where in the text each thing that is shown ends.
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

/// A last line without its end; one too long is answered with the last ending
/// that there was.
fn unended(text: &[u8], last_eol: Eol) -> Option<Shown> {
    let length = text.strip_suffix(b"\r").map_or(text.len(), <[u8]>::len);
    match text.len() {
        _ if length > LINE_ENDLESS_BYTES => Some(Shown::Endless),
        // The one more byte might have been the CR of an ending.
        bytes if bytes > LINE_MAX_BYTES + 1 => Some(Shown::TooLong(last_eol)),
        _ if text.iter().all(|byte| matches!(byte, b' ' | b'\t')) => None,
        _ => Some(Shown::Cut),
    }
}

/// The text, where in it an interrupt came, and what telnet is answered.
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
                // A subnegotiation: up to IAC SE, and IAC x stands for itself.
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

/// Where the input is cut.
#[derive(Clone, Copy, Debug)]
struct Cuts {
    /// Bytes of the first piece; 0 for as many as of the others.
    first: usize,
    /// The most bytes of a piece.
    most: usize,
    /// Of the dice that say how many; 0 for always the most.
    seed: u64,
}

impl Cuts {
    fn every(most: usize) -> Cuts {
        Cuts { first: 0, most, seed: 0 }
    }

    fn next(&mut self) -> usize {
        if self.first > 0 {
            return std::mem::take(&mut self.first);
        }
        if self.seed == 0 {
            return self.most;
        }
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        1 + (self.seed >> 33) as usize % self.most
    }
}

/// A socket that gives its bytes in pieces and takes a few at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    cuts: Cuts,
    /// Every other call of it would block.
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
    let got = read(bytes, cuts);
    assert!(got == *want, "cut as {cuts:?}:\n{got:?}\nand not\n{want:?}");
}

fn conn(bytes: &[u8], cuts: Cuts) -> Conn<Pieces<'_>> {
    Conn::new(Pieces { rest: bytes, cuts, blocks: false, written: Vec::new() })
}

/// Reads as the loop does: a read, the lines, a write, memory given back.
fn read(bytes: &[u8], cuts: Cuts) -> Reading {
    let mut conn = conn(bytes, cuts);
    let mut scratch = vec![0; READ_BUDGET_BYTES.min(cuts.most.max(cuts.first))];
    let mut shown = Vec::new();
    let mut spare = BufferPool::default();
    loop {
        conn.acquire(&mut spare);
        conn.set_readable(false);
        conn.set_writable();
        if conn.wants_read() {
            conn.fill(&mut scratch).expect("the pieces do not fail");
        }
        let is_over = take_frames(&mut conn, &mut shown);
        let took_all = conn.may_run();
        let bound = OUTPUT_HIGH_BYTES + REPLY.len() + scratch.len();
        assert!(conn.pending() <= bound, "{} bytes of output", conn.pending());
        conn.flush(WRITE_BUDGET_BYTES).expect("the pieces do not fail");
        conn.release(&mut spare);
        if is_over || (conn.is_eof() && took_all) {
            return finish(conn, shown, bytes);
        }
        conn.set_readable(false);
        let goes_on = conn.is_eof() || conn.wants_read() || conn.pending() >= OUTPUT_HIGH_BYTES;
        assert!(goes_on || !took_all, "it will never be read again");
    }
}

/// Takes and answers what is there; true after what ends a connection at once.
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

/// What was written is every reply and every answer to telnet, none torn.
fn finish(mut conn: Conn<Pieces>, mut shown: Vec<Shown>, bytes: &[u8]) -> Reading {
    while !conn.is_flushed() {
        conn.set_writable();
        conn.flush(WRITE_BUDGET_BYTES).expect("the pieces do not fail");
        if !matches!(shown.last(), Some(Shown::Endless | Shown::Tls)) {
            take_frames(&mut conn, &mut shown);
        }
    }
    let mut answers = Vec::new();
    let mut replies = 0;
    let mut rest = &conn.stream().written[..];
    while let Some(first) = rest.first() {
        let size = if *first == 255 { 3 } else { REPLY.len() };
        let (one, more) = rest.split_at_checked(size).expect("something is torn");
        if one[0] == 255 {
            answers.extend_from_slice(one);
        } else {
            assert_eq!(one, REPLY, "a reply is torn");
            replies += 1;
        }
        rest = more;
    }
    assert_eq!(replies, shown.len());
    if matches!(shown.last(), Some(Shown::Endless | Shown::Tls)) {
        // What comes after that may have been read or not.
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

/// The line at `place` waits, and holds back what is read meanwhile: nothing of
/// that is lost, and an interrupt that came after the line is seen, also once
/// memory was given back.
fn held_back(bytes: &[u8], place: usize, tidies: bool, want: &Reading, ends: &[usize]) {
    let mut conn = conn(bytes, Cuts { seed: 7, ..Cuts::every(64) });
    let mut scratch = [0; 64];
    let mut shown = Vec::new();
    let mut spare = BufferPool::default();
    while shown.len() <= place && !conn.is_eof() {
        conn.set_readable(false);
        conn.fill(&mut scratch).expect("the pieces do not fail");
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
    // Only a line can lead to a wait.
    if !matches!(shown.get(place), Some(Shown::Line(..))) {
        return;
    }
    let is_after = |at: &usize| *at >= ends[place];
    let seen = strip_telnet(&bytes[..bytes.len() - conn.stream().rest.len()]).1;
    assert_eq!(conn.take_interrupt(), seen.iter().any(is_after), "read with the line");
    while !conn.is_eof() {
        conn.set_readable(false);
        conn.fill(&mut scratch).expect("the pieces do not fail");
        conn.release(&mut spare);
    }
    let later = &strip_telnet(bytes).1[seen.len()..];
    assert_eq!(conn.take_interrupt(), later.iter().any(is_after), "read while it waits");
    while let Some(frame) = conn.next_frame() {
        shown.push(show(&mut conn, frame));
    }
    assert_eq!(shown, want.shown, "the lines held back");
}

/// Of a peer that is neither answered nor run no more is read than the bounds.
fn floods(bytes: &[u8]) {
    let mut conn = conn(bytes, Cuts::every(4096));
    let mut scratch = vec![0; 4096];
    let mut read = 0;
    let mut spare = BufferPool::default();
    while conn.wants_read() && !conn.is_eof() {
        read += conn.fill(&mut scratch).expect("the pieces do not fail");
        conn.set_readable(false);
        conn.release(&mut spare);
    }
    let (text, _, answers) = strip_telnet(&bytes[..read]);
    assert!(text.len() < INPUT_HIGH_BYTES + scratch.len());
    assert!(answers.len() < OUTPUT_HIGH_BYTES + scratch.len());
    assert_eq!(conn.pending(), answers.len());
}

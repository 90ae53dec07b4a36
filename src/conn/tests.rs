//! Tests `Conn` on a scripted stream: every split of the input and every failure, without a socket.

use std::collections::VecDeque;
use std::io::ErrorKind;

use support::Rng;

use super::*;
use crate::limits::{LINE_ENDLESS_BYTES, LINE_MAX_BYTES, POOL_BUFFER_BYTES, WRITE_BUDGET_BYTES};

/// The result of the next read.
#[derive(Clone, Debug)]
enum In {
    Bytes(Vec<u8>),
    Block,
    Interrupt,
    Reset,
    Eof,
}

/// The result of the next write.
#[derive(Clone, Copy, Debug)]
enum Out {
    Take(usize),
    Block,
    Interrupt,
    Reset,
}

/// A stream that follows a script. After its end, reads would block and writes take everything.
#[derive(Default)]
struct Script {
    reads: VecDeque<In>,
    writes: VecDeque<Out>,
    written: Vec<u8>,
    write_calls: usize,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reads.pop_front() {
            None | Some(In::Block) => Err(ErrorKind::WouldBlock.into()),
            Some(In::Interrupt) => Err(ErrorKind::Interrupted.into()),
            Some(In::Reset) => Err(ErrorKind::ConnectionReset.into()),
            Some(In::Eof) => {
                // A socket also reports the end again.
                self.reads.push_front(In::Eof);
                Ok(0)
            }
            Some(In::Bytes(mut bytes)) => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                if count < bytes.len() {
                    self.reads.push_front(In::Bytes(bytes.split_off(count)));
                }
                Ok(count)
            }
        }
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_calls += 1;
        let count = match self.writes.pop_front() {
            None => bytes.len(),
            Some(Out::Take(most)) => most.min(bytes.len()),
            Some(Out::Block) => return Err(ErrorKind::WouldBlock.into()),
            Some(Out::Interrupt) => return Err(ErrorKind::Interrupted.into()),
            Some(Out::Reset) => return Err(ErrorKind::ConnectionReset.into()),
        };
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reading(steps: impl IntoIterator<Item = In>) -> Conn<Script> {
    Conn::new(Script { reads: steps.into_iter().collect(), ..Script::default() })
}

fn writing(steps: impl IntoIterator<Item = Out>) -> Conn<Script> {
    Conn::new(Script { writes: steps.into_iter().collect(), ..Script::default() })
}

fn bytes(text: impl AsRef<[u8]>) -> In {
    In::Bytes(text.as_ref().to_vec())
}

/// Returns a frame as text, with the ending that its reply would have.
fn shown(conn: &mut Conn<Script>, frame: Frame) -> String {
    let eol = conn.eol().as_str().escape_debug().to_string();
    match frame {
        Frame::Line(at) => {
            let (line, _) = conn.line(at);
            format!("[{}]{eol}", line.escape_ascii())
        }
        Frame::TooLong => format!("TooLong{eol}"),
        other => format!("{other:?}"),
    }
}

fn take_frames(conn: &mut Conn<Script>, into: &mut Vec<String>) {
    while let Some(frame) = conn.next_frame() {
        into.push(shown(conn, frame));
    }
}

/// Reads the script to its end as the loop does: read, take frames, release memory. Returns the
/// frames and the answers of the telnet filter.
fn drive(conn: &mut Conn<Script>, scratch_bytes: usize) -> (Vec<String>, Vec<u8>) {
    let mut scratch = vec![0; scratch_bytes];
    let mut frames = Vec::new();
    while !conn.stream().reads.is_empty() && !conn.is_eof() {
        conn.set_readable(false);
        conn.fill(&mut scratch).expect("the script has no failure");
        take_frames(conn, &mut frames);
        conn.release(&mut BufferPool::default());
    }
    (frames, conn.out().clone())
}

fn frames_of(input: &[u8]) -> Vec<String> {
    drive(&mut reading([bytes(input), In::Eof]), 1 << 21).0
}

#[test]
fn input_is_split_into_lines_and_other_frames() {
    let long = "x".repeat(LINE_MAX_BYTES);
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("LISTAR\n", &["[LISTAR]\\n"]),
        ("LISTAR\r\n", &["[LISTAR]\\r\\n"]),
        ("a\nb\r\nc\n", &["[a]\\n", "[b]\\r\\n", "[c]\\n"]),
        ("\n", &["[]\\n"]),
        ("\r\n", &["[]\\r\\n"]),
        ("a\r\r\n", &["[a\\r]\\r\\n"]),
        ("a\rb\n", &["[a\\rb]\\n"]),
        ("a\r", &["Cut"]),
        ("a", &["Cut"]),
        ("a\nb", &["[a]\\n", "Cut"]),
        ("a\n \t ", &["[a]\\n"]),
        ("  ", &[]),
        ("\x04", &["EndOfTransmission"]),
        ("a\n\x04b\n", &["[a]\\n", "EndOfTransmission", "[b]\\n"]),
        ("a\x04\n", &["[a\\x04]\\n"]),
        ("\x16\x03\x01\n", &["Tls", "[\\x16\\x03\\x01]\\n"]),
        ("a\n\x16\n", &["[a]\\n", "[\\x16]\\n"]),
        ("á\0\n", &["[\\xc3\\xa1\\x00]\\n"]),
    ];
    for (input, want) in cases {
        assert_eq!(frames_of(input.as_bytes()), *want, "{input:?}");
    }
    assert_eq!(frames_of(format!("{long}\n").as_bytes()), [format!("[{long}]\\n")]);
    assert_eq!(frames_of(format!("{long}\r\n").as_bytes()), [format!("[{long}]\\r\\n")]);
    assert_eq!(frames_of(format!("{long}x\n").as_bytes()), ["TooLong\\n"]);
    assert_eq!(frames_of(format!("{long}x\r\n").as_bytes()), ["TooLong\\r\\n"]);
    assert_eq!(frames_of(format!("{long}\r\r\n").as_bytes()), ["TooLong\\r\\n"]);
    assert_eq!(frames_of(format!("{long}{long}").as_bytes()), ["TooLong\\n"], "cut off at its end");
    assert_eq!(frames_of(format!("{long}\x04{long}\na\n").as_bytes()), ["TooLong\\n", "[a]\\n"]);
}

/// Returns input with every kind of telnet sequence, line endings and unusual bytes.
fn telnet_script() -> Vec<u8> {
    let mut script = b"\xff\xfb\x18LIS\xff\xf1TAR\r\n".to_vec(); // WILL 24, NOP within a word
    script.extend(b"\xff\xfd\x01\xff\xfe\x01\xff\xfc\x1f"); // DO 1, DONT 1, WONT 31
    script.extend(b"uno\n\xff\xfa\x18\x00xterm\nno line\xff\xff\xff\xf0dos\r\n"); // SB … IAC IAC … SE
    script.extend(b"\xff\xf4\xff\xfd\x06tres\r\n"); // IP, DO TIMING-MARK, as Ctrl-C sends
    script.extend(b"dato\xff\xffcrudo\n"); // a doubled IAC is one byte of data
    script.extend(b"\xff\xfd\x0afour\n\xff\xfb\x0dcinco\r\n"); // options that look like LF and CR
    script.extend(b"\r\n\n \n\x04");
    script.extend(b"y".repeat(20));
    script.extend(b"\r\nresto");
    script
}

#[test]
fn telnet_filter_removes_sequences_and_declines_options() {
    let mut conn = reading([In::Bytes(telnet_script()), In::Eof]);
    let (frames, answers) = drive(&mut conn, 1 << 16);
    let want = [
        "[LISTAR]\\r\\n",
        "[uno]\\n",
        "[dos]\\r\\n",
        "[tres]\\r\\n",
        "[dato\\xffcrudo]\\n",
        "[four]\\n",
        "[cinco]\\r\\n",
        "[]\\r\\n",
        "[]\\n",
        "[ ]\\n",
        "EndOfTransmission",
        "[yyyyyyyyyyyyyyyyyyyy]\\r\\n",
        "Cut",
    ];
    assert_eq!(frames, want);
    // DONT 24, WONT 1, WONT TIMING-MARK, WONT 10, DONT 13; refusals get no answer.
    let want = b"\xff\xfe\x18\xff\xfc\x01\xff\xfc\x06\xff\xfc\x0a\xff\xfe\x0d";
    assert_eq!(answers, want);
}

#[test]
fn every_split_of_the_input_gives_the_same_frames() {
    let script = telnet_script();
    let whole = drive(&mut reading([bytes(&script), In::Eof]), 1 << 16);
    for at in 0..=script.len() {
        let (first, second) = script.split_at(at);
        let steps = [first, second].into_iter().filter(|part| !part.is_empty()).map(bytes);
        let split = drive(&mut reading(steps.chain([In::Eof])), 1 << 16);
        assert_eq!(split, whole, "split at {at}");
        for later in at..=script.len() {
            let parts = [&script[..at], &script[at..later], &script[later..]];
            let steps = parts.into_iter().filter(|part| !part.is_empty()).map(bytes);
            let split = drive(&mut reading(steps.chain([In::Eof])), 1 << 16);
            assert_eq!(split, whole, "split at {at} and {later}");
        }
    }
    let drip = script.iter().flat_map(|byte| [bytes([*byte]), In::Block, In::Interrupt]);
    assert_eq!(drive(&mut reading(drip.chain([In::Eof])), 1 << 16), whole, "byte by byte");
    assert_eq!(drive(&mut reading([bytes(&script), In::Eof]), 1), whole, "a buffer of one byte");
}

fn random_script(rng: &mut Rng) -> Vec<u8> {
    const BYTES: &[u8] = b"ab \t\r\n\r\n\x04\x16\0\xff\xff\xfa\xf0\xfb\xfc\xfd\xfe\xf4\xc3\xa1";
    let mut script = Vec::new();
    for _ in 0..rng.below(60) {
        match rng.below(12) {
            // Lengths around the limit.
            0 => script.extend(vec![b'z'; LINE_MAX_BYTES - 2 + rng.below(6)]),
            1 => script.extend(b"\r\n"),
            _ => script.push(BYTES[rng.below(BYTES.len())]),
        }
    }
    script
}

#[test]
fn random_splits_of_random_input_give_the_same_frames() {
    for seed in 0..2000 {
        let mut rng = Rng(seed);
        let script = random_script(&mut rng);
        let whole = drive(&mut reading([bytes(&script), In::Eof]), 1 << 20);
        let mut steps = Vec::new();
        let mut rest = &script[..];
        while !rest.is_empty() {
            let longest = [3, 40, 5000][rng.below(3)];
            let (part, after) = rest.split_at(1 + rng.below(longest.min(rest.len())));
            steps.push(bytes(part));
            rest = after;
        }
        steps.push(In::Eof);
        let split = drive(&mut reading(steps), 1 + rng.below(6000));
        assert_eq!(split, whole, "seed {seed}");
    }
}

#[test]
fn endless_line_is_reported_and_keeps_no_memory() {
    let mut conn = reading([]);
    let mut scratch = vec![0; 1000];
    let mut sent = 0;
    let frame = loop {
        conn.stream().reads.push_back(bytes(vec![b'x'; 1000]));
        conn.set_readable(false);
        sent += conn.fill(&mut scratch).unwrap();
        assert!(sent <= LINE_ENDLESS_BYTES + 1000, "it was not reported in time");
        if let Some(frame) = conn.next_frame() {
            break frame;
        }
        conn.release(&mut BufferPool::default());
        assert!(conn.buffers().input.capacity() <= 2 * (LINE_MAX_BYTES + 1000));
    };
    assert_eq!(frame, Frame::Endless);
    assert!(sent > LINE_ENDLESS_BYTES, "{sent}");
}

#[test]
fn line_after_a_line_that_is_too_long_is_found() {
    let mut script = vec![b'x'; LINE_ENDLESS_BYTES - 100];
    script.extend(b"\r\nLISTAR\n");
    let (frames, _) = drive(&mut reading([bytes(&script), In::Eof]), 4096);
    assert_eq!(frames, ["TooLong\\r\\n", "[LISTAR]\\n"]);
}

#[test]
fn short_read_ends_readiness_unless_the_peer_has_closed() {
    let mut scratch = [0; 8];
    let mut conn = reading([bytes("12345678"), bytes("1234"), bytes("x"), In::Eof]);
    assert!(conn.wants_read());
    assert_eq!(conn.fill(&mut scratch).unwrap(), 8);
    assert!(conn.wants_read(), "a full read may have left something");
    assert_eq!(conn.fill(&mut scratch).unwrap(), 4);
    assert!(!conn.wants_read(), "a short one has not");
    conn.set_readable(true);
    assert_eq!(conn.fill(&mut scratch).unwrap(), 1);
    assert!(conn.wants_read(), "but the end of the stream brings no further event");
    assert!(!conn.is_eof());
    assert_eq!(conn.fill(&mut scratch).unwrap(), 0);
    assert!(conn.is_eof());
    conn.set_readable(true);
    assert!(!conn.wants_read(), "after the end there is nothing to read");
}

#[test]
fn would_block_ends_readiness_and_interrupted_does_not() {
    let mut scratch = [0; 4];
    let mut conn = reading([bytes("1234"), In::Interrupt, In::Block]);
    conn.fill(&mut scratch).unwrap();
    assert_eq!(conn.fill(&mut scratch).unwrap(), 0);
    assert!(conn.wants_read(), "an interrupted read says nothing about the socket");
    assert_eq!(conn.fill(&mut scratch).unwrap(), 0);
    assert!(!conn.wants_read());
    assert!(!conn.is_eof());
}

#[test]
fn failures_are_returned_and_earlier_input_stays() {
    let mut scratch = [0; 64];
    let mut conn = reading([bytes("LISTAR\nRES"), In::Reset]);
    conn.fill(&mut scratch).unwrap();
    assert_eq!(conn.fill(&mut scratch).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(matches!(conn.next_frame(), Some(Frame::Line(_))));
    assert_eq!(conn.next_frame(), None);

    let mut conn = writing([Out::Take(2), Out::Reset]);
    conn.out().extend(b"OK 1\n");
    assert_eq!(conn.flush(WRITE_BUDGET_BYTES).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut conn = writing([Out::Take(0)]);
    conn.out().extend(b"OK 1\n");
    assert_eq!(conn.flush(WRITE_BUDGET_BYTES).unwrap_err().kind(), ErrorKind::WriteZero);
}

#[test]
fn data_and_end_in_one_event_are_both_read() {
    let mut scratch = [0; 64];
    let mut conn = reading([bytes("SALIR\nLIS"), In::Eof]);
    conn.set_readable(true);
    assert_eq!(conn.fill(&mut scratch).unwrap(), 9);
    let frame = conn.next_frame().unwrap();
    assert_eq!(shown(&mut conn, frame), "[SALIR]\\n");
    assert_eq!(conn.next_frame(), None, "more could still come");
    assert!(conn.wants_read());
    assert_eq!(conn.fill(&mut scratch).unwrap(), 0);
    assert_eq!(conn.next_frame(), Some(Frame::Cut));
    assert_eq!(conn.next_frame(), None, "reported once");
}

#[test]
fn flush_continues_after_a_partial_write() {
    let steps = [Out::Take(1), Out::Interrupt, Out::Take(2), Out::Block];
    let mut conn = writing(steps);
    conn.out().extend(b"abcdef");
    assert!(conn.wants_write() && !conn.is_flushed());
    assert_eq!(conn.flush(WRITE_BUDGET_BYTES).unwrap(), 3);
    assert_eq!((conn.pending(), conn.wants_write()), (3, false), "the socket is full");
    assert_eq!(conn.flush(WRITE_BUDGET_BYTES).unwrap(), 0, "no call before an event");
    assert_eq!(conn.stream().write_calls, 4);
    conn.out().extend(b"ghi");
    conn.release(&mut BufferPool::default());
    conn.set_writable();
    assert_eq!(conn.flush(WRITE_BUDGET_BYTES).unwrap(), 6);
    assert!(conn.is_flushed() && !conn.wants_write());
    assert_eq!(conn.stream().written, b"abcdefghi");
}

#[test]
fn output_is_complete_and_in_order_however_it_is_accepted() {
    for seed in 0..500 {
        let mut rng = Rng(seed);
        let mut conn = writing([]);
        let mut want = Vec::new();
        let mut list = None;
        for step in 0..200 {
            for _ in 0..rng.below(4) {
                let take = 1 + rng.below(20_000);
                let all = [Out::Take(take), Out::Take(1), Out::Interrupt, Out::Block];
                conn.stream().writes.push_back(all[rng.below(4)]);
            }
            if conn.may_run() && step < 150 {
                if list.is_none() && rng.below(10) == 0 {
                    let rows = rng.below(3000);
                    let mut text = Vec::new();
                    Rows { next: 0, rows }.fill(usize::MAX, &mut text);
                    want.extend(text);
                    conn.start_list(Box::new(Rows { next: 0, rows }));
                    list = Some(rows);
                } else if conn.is_flushed() || list.is_none() {
                    let reply = vec![b'a' + (step % 26) as u8; rng.below(3000)];
                    want.extend(&reply);
                    conn.out().extend(reply);
                }
            }
            if rng.below(3) > 0 {
                conn.set_writable();
            }
            conn.flush(WRITE_BUDGET_BYTES).unwrap();
            conn.release(&mut BufferPool::default());
            if conn.may_run() {
                list = None;
            }
            assert!(conn.buffers().output.capacity() <= 4 * OUTPUT_HIGH_BYTES, "seed {seed}");
        }
        conn.stream().writes.clear();
        while !conn.is_flushed() {
            conn.set_writable();
            conn.flush(WRITE_BUDGET_BYTES).unwrap();
        }
        assert!(conn.stream().written == want, "seed {seed}");
    }
}

#[test]
fn list_stops_at_the_write_quota() {
    let mut conn = writing([]);
    let rows = 4 * WRITE_BUDGET_BYTES / Rows::ROW_BYTES;
    conn.start_list(Box::new(Rows { next: 0, rows }));
    let went = conn.flush(WRITE_BUDGET_BYTES).unwrap();
    assert!((WRITE_BUDGET_BYTES..WRITE_BUDGET_BYTES + 2 * LIST_PIECE_BYTES).contains(&went));
    assert!(conn.wants_write(), "there is more, and no event will follow");
}

/// A list of rows of equal length.
struct Rows {
    next: usize,
    rows: usize,
}

impl Rows {
    const ROW_BYTES: usize = 20;
}

impl ReplyStream for Rows {
    fn fill(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool {
        let full = out.len().saturating_add(bytes);
        while self.next < self.rows && out.len() < full {
            out.extend(format!("row {:014}\n\n", self.next).as_bytes());
            self.next += 1;
        }
        self.next < self.rows
    }

    fn retained_bytes(&self) -> usize {
        self.rows - self.next
    }
}

#[test]
fn list_is_rendered_while_it_is_sent() {
    let rows = 100_000;
    let mut conn = reading([bytes("LISTAR\nLISTAR\n")]);
    conn.fill(&mut [0; 64]).unwrap();
    assert!(matches!(conn.next_frame(), Some(Frame::Line(_))));
    conn.start_list(Box::new(Rows { next: 0, rows }));
    assert!(!conn.may_run(), "the next line has to wait for the end of the list");
    let mut most = 0;
    while !conn.is_flushed() {
        most = most.max(conn.buffers().output.capacity());
        let room = [Out::Take(700), Out::Take(9000), Out::Block];
        conn.stream().writes.extend(room);
        conn.set_writable();
        conn.flush(WRITE_BUDGET_BYTES).unwrap();
        conn.release(&mut BufferPool::default());
    }
    assert!(most <= 4 * LIST_PIECE_BYTES, "{most}");
    let mut want = Vec::new();
    Rows { next: 0, rows }.fill(usize::MAX, &mut want);
    assert!(conn.stream().written == want);
    assert!(conn.may_run() && conn.is_drained());
    assert!(conn.retained_bytes() < 1000, "the memory of the list is released");
    let frame = conn.next_frame().unwrap();
    assert_eq!(shown(&mut conn, frame), "[LISTAR]\\n");
}

#[test]
fn connection_pauses_above_the_high_water_mark() {
    let mut conn = reading([bytes("a\nb\n")]);
    assert!(conn.wants_read() && conn.may_run());
    conn.out().extend(vec![b'x'; OUTPUT_HIGH_BYTES]);
    assert!(!conn.wants_read() && !conn.may_run() && !conn.is_drained());
    let below = OUTPUT_HIGH_BYTES - OUTPUT_LOW_BYTES;
    conn.stream().writes.extend([Out::Take(below - 1), Out::Block]);
    conn.flush(WRITE_BUDGET_BYTES).unwrap();
    assert!(!conn.is_drained());
    conn.set_writable();
    conn.stream().writes.extend([Out::Take(1), Out::Block]);
    conn.flush(WRITE_BUDGET_BYTES).unwrap();
    assert!(conn.is_drained() && conn.wants_read() && conn.may_run());
}

#[test]
fn unread_input_is_bounded() {
    let mut conn = reading([]);
    let mut scratch = vec![0; 32 << 10];
    while conn.wants_read() {
        conn.stream().reads.push_back(bytes(b"LISTAR\n".repeat(10_000)));
        conn.fill(&mut scratch).unwrap();
    }
    assert!(conn.buffers().input.end() < INPUT_HIGH_BYTES + scratch.len());
    let before = conn.buffers().input.end();
    while conn.unread() >= INPUT_HIGH_BYTES {
        assert!(matches!(conn.next_frame(), Some(Frame::Line(_))));
    }
    assert!(conn.wants_read(), "there is room again");
    conn.release(&mut BufferPool::default());
    assert!(conn.buffers().input.end() < before);
}

#[test]
fn empty_buffers_are_released() {
    let mut conn = reading([bytes(b"LISTAR\n".repeat(1000))]);
    conn.fill(&mut vec![0; 32 << 10]).unwrap();
    for _ in 0..1000 {
        assert!(matches!(conn.next_frame(), Some(Frame::Line(_))));
        conn.out().extend(b"OK 0 DISPONIBLES\n");
    }
    conn.flush(WRITE_BUDGET_BYTES).unwrap();
    conn.release(&mut BufferPool::default());
    assert!(conn.buffers.is_none());
}

/// Connections share memory, but no content.
#[test]
fn pool_passes_empty_buffers_to_the_next_connection() {
    let mut pool = BufferPool::default();
    let mut one = reading([bytes("secret\n")]);
    let mut scratch = [0; 64];
    one.acquire(&mut pool);
    one.fill(&mut scratch).unwrap();
    assert_eq!(one.next_frame(), Some(Frame::Line(0..6)));
    one.out().extend_from_slice(b"reply\n");
    one.flush(usize::MAX).unwrap();
    one.release(&mut pool);
    assert!(one.buffers.is_none());
    assert!(pool.len() == 1 && pool.are_all_empty());

    let mut other = reading([bytes("line\nrest")]);
    other.acquire(&mut pool);
    assert_eq!(pool.len(), 0);
    let buffers = other.buffers();
    assert!(buffers.input.capacity() > 0 && buffers.output.capacity() > 0);
    other.fill(&mut scratch).unwrap();
    assert_eq!(other.next_frame(), Some(Frame::Line(0..4)));
    other.release(&mut pool);
    assert_eq!((other.buffers().input.rest(), pool.len()), (&b"rest"[..], 0));
    assert_eq!(other.buffers().output.capacity(), 0, "unused memory is released");

    other.out().resize(POOL_BUFFER_BYTES + 1, b'x');
    other.flush(usize::MAX).unwrap();
    other.drop_input();
    other.release(&mut pool);
    assert!(other.buffers.is_none() && pool.len() == 0, "large buffers are not kept");
}

#[test]
fn unfinished_line_keeps_little_memory_after_a_burst() {
    let mut burst = b"\n".repeat(60_000);
    burst.extend(b"RESER");
    let mut conn = reading([bytes(burst)]);
    let mut frames = Vec::new();
    while conn.wants_read() {
        conn.fill(&mut vec![0; 32 << 10]).unwrap();
        take_frames(&mut conn, &mut frames);
    }
    conn.release(&mut BufferPool::default());
    assert!(
        conn.buffers().input.capacity() <= 256,
        "{} bytes for 5",
        conn.buffers().input.capacity()
    );
    conn.stream().reads.push_back(bytes("VAR Sala 1\n"));
    conn.set_readable(false);
    conn.fill(&mut [0; 64]).unwrap();
    let frame = conn.next_frame().unwrap();
    assert_eq!(shown(&mut conn, frame), "[RESERVAR Sala 1]\\n");
}

#[test]
fn output_is_bounded_for_a_reader_that_never_catches_up() {
    let mut conn = writing([]);
    let mut sent = 0;
    for _ in 0..20_000 {
        conn.out().extend([b'x'; 1000]);
        sent += 1000;
        // All but the last bytes are sent each time.
        let most = conn.pending() - 10;
        conn.stream().writes.extend([Out::Take(most), Out::Block]);
        conn.set_writable();
        conn.flush(WRITE_BUDGET_BYTES).unwrap();
        conn.release(&mut BufferPool::default());
        assert!(conn.buffers().output.capacity() <= 2 * OUTPUT_HIGH_BYTES, "after {sent} bytes");
    }
    assert_eq!(conn.stream().written.len(), sent - 10);
}

#[test]
fn flush_writes_no_more_than_the_quota() {
    let mut conn = Conn::new(Script::default());
    conn.out().extend_from_slice(&[b'x'; 10_000]);
    assert_eq!(conn.flush(4_000).unwrap(), 4_000);
    assert_eq!(conn.flush(4_000).unwrap(), 4_000);
    assert!(conn.wants_write());
    assert_eq!(conn.flush(4_000).unwrap(), 2_000);
    assert!(conn.is_flushed());
}

//! Tests of writing and parsing records.

use super::commit::{Extent, Payloads, put_commit};
use super::*;

/// Writes a commit of these payloads, and returns its lines and the payloads parsed from them.
fn round_trip(payloads: &[&str]) -> (String, Vec<String>) {
    let mut out = b"earlier contents".to_vec();
    let ends = payloads.iter().scan(0, |end, payload| {
        *end += payload.len();
        Some(*end)
    });
    let start = put_commit(&mut out, u64::MAX, u64::MAX, &payloads.concat(), ends);
    let text = String::from_utf8(out.split_off(start)).unwrap();
    let (head, lines) = text.split_once('\n').unwrap();
    let (bytes, crc) = (lines.len() as u64, crc32fast::hash(lines.as_bytes()));
    let expected = Head { first: u64::MAX, bytes, crc, synced: u64::MAX };
    assert_eq!(parse(head.as_bytes()), Ok(Line::Commit(expected)));
    let mut buffer = String::new();
    let mut read = Payloads::new(lines, &mut buffer);
    let mut found = Vec::new();
    while let Some(next) = read.next() {
        found.push(next.unwrap().0.to_owned());
    }
    (lines.to_owned(), found)
}

#[test]
fn written_records_are_parsed_back() {
    let cases: &[(&[&str], &str)] = &[
        (&["ñ x", "yz"], "ñ x\nyz\n"),
        (&["now a", "now b", "now", "now c"], "now a\n\" b\n\"\n\" c\n"),
        (&["now a", "no b", "nowhere", "now c"], "now a\nno b\nnowhere\nnow c\n"),
        (&["a b", "a  c", "aa", " a", " b", "", "", "a"], "a b\n\"  c\naa\n a\n b\n\n\na\n"),
        (&["x", "x", "y y", "y y"], "x\n\"\ny y\n\" y\n"),
    ];
    for (payloads, lines) in cases {
        assert_eq!(
            round_trip(payloads),
            (lines.to_string(), payloads.iter().map(|p| p.to_string()).collect())
        );
    }
    let mut out = Vec::new();
    push_snapshot(&mut out, 7, b"");
    assert_eq!(parse(&out[..out.len() - 1]), Ok(Line::Snapshot { number: 7, payload: b"" }));
    out.clear();
    push_end(&mut out, 7, 0);
    assert_eq!(parse(&out[..out.len() - 1]), Ok(Line::End { count: 7, base: 0 }));
    out.clear();
    let seal = Seal { last: 7, end: 300 };
    push_seal(&mut out, seal);
    assert_eq!(parse(&out[..out.len() - 1]), Ok(Line::Seal(seal)));
}

#[test]
fn commit_is_longer_than_the_seal_that_it_overwrites() {
    for number in [0, 9, 99, u64::MAX - 1] {
        for end in [NEW_HEADER_BYTES as u64, 99, 999_999, u64::MAX] {
            let (mut seal, mut commit) = (Vec::new(), Vec::new());
            push_seal(&mut seal, Seal { last: number, end });
            let start = put_commit(&mut commit, number + 1, end, "", [0].into_iter());
            assert!(commit.len() - start > seal.len(), "event {number} at {end}");
        }
    }
}

#[test]
fn header_with_any_bit_changed_is_rejected() {
    let id = JournalId(0x0123_4567_89ab_cdef);
    for is_snapshot in [false, true] {
        let line = header(id, is_snapshot);
        assert_eq!(line.len() == NEW_HEADER_BYTES, !is_snapshot);
        assert!(line.len() <= MAX_HEADER_BYTES);
        let line = line.strip_suffix(b"\n").unwrap();
        assert_eq!(parse_header(line), Some((id, is_snapshot)));
        for bit in 0..line.len() * 8 {
            let mut line = line.to_vec();
            line[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_header(&line), None, "bit {bit}");
        }
    }
}

#[test]
fn part_that_is_left_out_is_not_written() {
    let mut out = Vec::new();
    let payloads = "now a #1 Sala 1now b #2 Sala 2 c=dnow e";
    let extents = [
        Extent { end: 15, left_out: 8..15 },
        Extent { end: 34, left_out: 23..30 },
        Extent::from(payloads.len()),
    ];
    let start = put_commit(&mut out, 1, 45, payloads, extents.into_iter());
    let text = String::from_utf8(out.split_off(start)).unwrap();
    assert_eq!(text.split_once('\n').unwrap().1, "now a #1\n\" b #2 c=d\n\" e\n");
}

#[test]
fn invalid_commit_lines_are_errors() {
    for (lines, good) in [("a", 0), ("a\nb", 1), ("\"\n", 0), ("\" x\n", 0), ("\n\" x\n", 1)] {
        let mut buffer = String::new();
        let mut read = Payloads::new(lines, &mut buffer);
        for _ in 0..good {
            assert!(matches!(read.next(), Some(Ok(_))), "{lines:?}");
        }
        assert!(matches!(read.next(), Some(Err(_))), "{lines:?}");
    }
}

#[test]
#[should_panic(expected = "begins with a repeat mark")]
fn payload_that_begins_with_a_repeat_mark_panics() {
    round_trip(&["a b", "\" b"]);
}

#[test]
fn valid_checksum_over_invalid_fields_is_foreign() {
    let bodies = [
        "",
        "commit",
        "commit ",
        "commit 1",
        "commit 1 2 0a1b2c3d",
        "commit 1 2 0a1b2c3 @0",
        "commit 1 2 0A1b2c3d @0",
        "commit 01 2 0a1b2c3d @0",
        "commit -1 2 0a1b2c3d @0",
        "commit 1 +2 0a1b2c3d @0",
        "commit 1 2 0a1b2c3d 0",
        "commit 1 2 0a1b2c3d @",
        "commit 1 2 0a1b2c3d @0 ",
        "commit 18446744073709551616 2 0a1b2c3d @0",
        "snap 1",
        "snap x y",
        "end 1",
        "end 1 2 ",
        "end 1 2 3",
        "seal 1",
        "seal 1 2",
        "seal 1 @2 ",
        "seal 1 @02",
        "Commit 1 2 0a1b2c3d @0",
        "other 1",
    ];
    for body in bodies {
        let line = format!("{:08x}\t{body}", crc32fast::hash(body.as_bytes()));
        let result = parse(line.as_bytes());
        assert!(matches!(result, Err(Unreadable::Foreign(_))), "{line}: {result:?}");
    }
}

#[test]
fn lines_without_a_valid_checksum_are_broken() {
    let good = format!("{:08x}\tend 1 2", crc32fast::hash(b"end 1 2"));
    assert!(parse(good.as_bytes()).is_ok());
    let upper = good.to_uppercase();
    let spaced = good.replace('\t', " ");
    let cases: [&[u8]; 7] = [
        b"",
        b"1",
        b"12345678",
        b"12345678\t",
        upper.as_bytes(),
        spaced.as_bytes(),
        &good.as_bytes()[1..],
    ];
    for line in cases {
        assert!(matches!(parse(line), Err(Unreadable::Broken(_))), "{line:?}");
    }
}

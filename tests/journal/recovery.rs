//! The recovery: every class of input, and damage at every offset.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use crate::{HEADER, SNAPSHOT_HEADER, commit, line, replay, replay_bytes, written};
use reservad::journal::{
    Disposition, Error, Evidence, MAX_PAYLOAD_BYTES, Record, Storage, StorageFile, SyncPolicy,
    check,
};
use support::sim_disk::SimDisk;

/// A small journal without its spare tail, and the offsets of its commits.
struct Sample {
    content: Vec<u8>,
    records: Vec<String>,
    /// For each commit, the offset of its first byte and the index of its first record.
    commits: Vec<(usize, usize)>,
}

fn sample(policy: SyncPolicy, batches: &[&[&str]]) -> Sample {
    let disk = SimDisk::new(512, 0);
    let (mut journal, mut records, _) = replay(disk.clone(), policy).unwrap();
    let mut commits = Vec::new();
    for batch in batches {
        commits.push((journal.used_bytes() as usize, records.len()));
        commit(&mut journal, batch);
        let from = records.len();
        records.extend(batch.iter().enumerate().map(|(i, p)| format!("{} {p}", from + i + 1)));
    }
    let mut content = disk.content("journal").unwrap();
    content.truncate(journal.used_bytes() as usize);
    Sample { content, records, commits }
}

fn small(policy: SyncPolicy) -> Sample {
    sample(policy, &[&["uno"], &["dos", "tres", "cuatro"], &["cinco"], &["seis ñ", "siete"]])
}

/// Returns a journal of three records that were written without a sync, the second of them torn.
pub struct Torn {
    pub content: Vec<u8>,
    pub payloads: Vec<String>,
    /// A payload as long as the torn one.
    pub same_length: String,
}

pub fn torn_middle() -> Torn {
    let [one, two, three] =
        [(1, "one"), (2, "two"), (3, "three")].map(|(number, text)| written(number, 45, &[text]));
    let content = format!("{HEADER}{one}{}{three}", two.replace("two", "tw?"));
    let payloads = ["one", "two", "three"].map(String::from).to_vec();
    Torn { content: content.into_bytes(), payloads, same_length: "new".to_string() }
}

#[derive(Debug, PartialEq)]
enum Found {
    /// This many records, without a bad place.
    Good(usize),
    Fresh,
    /// This many records, and the rest is cut.
    Cut(usize),
    Refused(Evidence),
}

fn found(content: &[u8]) -> Found {
    match replay_bytes(content) {
        Ok((_, report)) if report.fresh => Found::Fresh,
        Ok((records, report)) if report.bad.is_none() => Found::Good(records.len()),
        Ok((records, _)) => Found::Cut(records.len()),
        Err(Error::Refused(report)) => match report.bad.unwrap().disposition {
            Disposition::Refused(why) => Found::Refused(why),
            Disposition::Cut => panic!("refused because of a torn tail"),
        },
        Err(e) => panic!("{e}"),
    }
}

/// Returns commits of one record each, with the offsets that a sync after each one gives.
fn synced_events(count: u64) -> Vec<String> {
    let mut at = HEADER.len();
    let mut lines = Vec::new();
    for number in 1..=count {
        lines.push(written(number, at as u64, &[&format!("payload {number}")]));
        at += lines.last().unwrap().len();
    }
    lines
}

#[test]
fn malformed_headers() {
    let (new, compacted) = (HEADER.as_bytes(), SNAPSHOT_HEADER.as_bytes());
    let nuls = [&new[..30], &[0; 15]].concat();
    let first_page_lost = [&[0; 20], &new[20..]].concat();
    let tail = [new, b"\n\n\n"].concat();
    let after_lf = HEADER.replace("cdef ", "cdef\n");
    let other_id = HEADER.replace("cdef", "cdee");
    let upper = HEADER.replace("cdef", "CDEF");
    let short_id = HEADER.replace("cdef", "cde");
    let snapshot_after_lf = SNAPSHOT_HEADER.replace(" snapshot", "\nsnapshot");
    let not_of_a_snapshot = SNAPSHOT_HEADER.replace("snapshot ", "");
    let header = || Found::Refused(Evidence::Header);
    let cases: &[(&str, &[u8], Found)] = &[
        ("empty", b"", Found::Fresh),
        ("torn", b"reservad-j", Found::Fresh),
        ("torn in the identity", &new[..25], Found::Fresh),
        ("torn to NULs", b"reser\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Found::Fresh),
        ("torn to NULs, of full size", &nuls, Found::Fresh),
        ("torn at its beginning", &first_page_lost, Found::Fresh),
        ("all but the LF", &new[..44], Found::Fresh),
        ("only the header", new, Found::Good(0)),
        ("header and tail", &tail, Found::Good(0)),
        ("torn, then more", b"reservad-j\n\n\n\n\n\n\n\n\n\n\n\n", header()),
        ("NULs", &[0; 100], header()),
        ("another file", b"#!/bin/sh\n", header()),
        ("version 1", b"reservad-journal 1\nwhatever\n", Found::Refused(Evidence::Version)),
        ("version 2", b"reservad-journal 2\nwhatever\n", Found::Refused(Evidence::Version)),
        ("alone", b"reservad-journal 2\n", Found::Refused(Evidence::Version)),
        ("its snapshot", b"reservad-journal 2 snapshot\n", Found::Refused(Evidence::Version)),
        ("later version", b"reservad-journal 4 whatever\n", Found::Refused(Evidence::Version)),
        ("much later", b"reservad-journal 30 x=y\n", Found::Refused(Evidence::Version)),
        ("no version", b"reservad-journal one\n", header()),
        ("no identity", b"reservad-journal 3\n", header()),
        ("another identity", other_id.as_bytes(), header()),
        ("an identity in upper case", upper.as_bytes(), header()),
        ("a short identity", short_id.as_bytes(), header()),
        ("an LF in it", after_lf.as_bytes(), header()),
        ("torn snapshot header", &compacted[..40], header()),
        ("snapshot after an LF", snapshot_after_lf.as_bytes(), header()),
        ("a snapshot's sum", not_of_a_snapshot.as_bytes(), header()),
        ("CR", &[&new[..44], b"\r\n"].concat(), header()),
    ];
    for (name, content, expected) in cases {
        assert_eq!(&found(content), expected, "{name}");
    }
}

#[test]
fn malformed_commits() {
    let e = synced_events(4);
    let unsynced = |n: u64| written(n, 45, &["x"]);
    let end1 = (HEADER.len() + e[0].len()) as u64;
    let synced = |number: u64, at: usize| Evidence::Synced { number, offset_bytes: at as u64 };
    let join = |parts: &[&str]| format!("{HEADER}{}", parts.concat());
    let broken = e[1].replace("payload", "paYload");
    let unsynced_broken = unsynced(2).replace("\nx", "\ny");
    let headless = e[1].replace("commit", "comMit");
    let nul = "\0".repeat(e[1].len());
    let nul_lines = e[1].replace("payload", "\0\0\0\0\0\0\0");
    let blank = "\n".repeat(e[1].len());
    let at3 = HEADER.len() + e[0].len() + e[1].len();
    let long = "x".repeat(200_000);
    let three = written(2, end1, &["payload 2", "payload 3", "payload 4"]);
    let out_of_order = || Found::Refused(Evidence::OutOfOrder);
    // A name may look like the header of a commit or a seal with a checksum, except for the TAB.
    let imitation = line(&format!("commit 9 2 00000000 @{}", end1 + 1)).replace('\t', " ");
    let imitating = written(3, 45, &[&format!("ADDED {}", imitation.trim_end())]);
    let seal = line(&format!("seal 9 @{}", end1 + 1)).replace('\t', " ");
    let seal_imitating = written(3, 45, &[&format!("ADDED {}", seal.trim_end())]);
    let too_long = "x".repeat(MAX_PAYLOAD_BYTES + 1);
    let long_word = format!("{} a", "x".repeat(MAX_PAYLOAD_BYTES - 2));
    let cases = [
        ("all good", join(&[&e[0], &e[1], &e[2], "\n\n"]), Found::Good(3)),
        ("a commit of three", join(&[&e[0], &three]), Found::Good(4)),
        ("broken at the end", join(&[&e[0], &broken]), Found::Cut(1)),
        ("broken at the end, tail", join(&[&e[0], &broken, "\n\n\n"]), Found::Cut(1)),
        ("broken in the middle", join(&[&e[0], &broken, &e[2]]), Found::Refused(synced(3, at3))),
        ("head at the end", join(&[&e[0], &headless]), Found::Cut(1)),
        ("head in the middle", join(&[&e[0], &headless, &e[2]]), Found::Refused(synced(3, at3))),
        ("NUL in the middle", join(&[&e[0], &nul, &e[2]]), Found::Refused(synced(3, at3))),
        ("NUL in lines", join(&[&e[0], &nul_lines, &e[2]]), Found::Refused(synced(3, at3))),
        ("lost in the middle", join(&[&e[0], &blank, &e[2]]), Found::Refused(synced(3, at3))),
        ("NUL at the end", join(&[&e[0], &nul]), Found::Cut(1)),
        ("NUL in lines at the end", join(&[&e[0], &nul_lines]), Found::Cut(1)),
        ("no last LF", join(&[&e[0], e[1].trim_end()]), Found::Cut(1)),
        ("a line of 200 kB at the end", join(&[&e[0], &long, "\n"]), Found::Cut(1)),
        (
            "a line of 200 kB in the middle",
            join(&[&e[0], &long, "\n", &e[2]]),
            Found::Refused(synced(3, HEADER.len() + e[0].len() + 200_001)),
        ),
        (
            "unsynced, broken in the middle",
            join(&[&unsynced(1), &unsynced_broken, &unsynced(3)]),
            { Found::Cut(1) },
        ),
        ("unsynced, lost in the middle", join(&[&unsynced(1), &blank, &unsynced(3)]), {
            Found::Cut(1)
        }),
        ("commit without its end", join(&[&e[0], three.trim_end_matches("payload 4\n")]), {
            Found::Cut(1)
        }),
        (
            "commit without its end, blank, more",
            join(&[&e[0], &three.replace("payload 4", "\n\n"), &written(9, end1, &["x"])]),
            Found::Cut(1),
        ),
        ("a blank line before the last commit", join(&[&e[0], "\n", &e[1]]), Found::Cut(1)),
        (
            "a blank line in a commit",
            join(&[&e[0], &three.replace("\npayload 3", "\n\npayload 3")]),
            { Found::Cut(1) },
        ),
        ("gap", join(&[&e[0], &e[2]]), out_of_order()),
        ("repeat", join(&[&e[0], &e[0]]), out_of_order()),
        ("not from 1", join(&[&unsynced(2)]), out_of_order()),
        ("event 0", join(&[&unsynced(0)]), out_of_order()),
        ("no events", join(&[&written(1, 45, &[]), &unsynced(1)]), out_of_order()),
        ("repeat mark at first", join(&[&written(1, 45, &["\" x", "y"])]), out_of_order()),
        ("a payload that is too long", join(&[&e[0], &written(2, 45, &[&too_long])]), {
            out_of_order()
        }),
        (
            "a payload that is too long for its repeat mark",
            join(&[&e[0], &written(2, 45, &[&long_word, "\" aa"])]),
            out_of_order(),
        ),
        ("payloads as long as can be", join(&[&e[0], &written(2, 45, &[&long_word, "\" b"])]), {
            Found::Good(3)
        }),
        (
            "an imitated head in a good commit",
            join(&[&e[0], &written(2, 45, &["x"]), &imitating]),
            Found::Good(3),
        ),
        (
            "an imitated head after a torn commit",
            join(&[&e[0], &unsynced_broken, &imitating]),
            Found::Cut(1),
        ),
        ("an imitated head alone", join(&[&e[0], "?", &imitation]), Found::Cut(1)),
        (
            "an imitated seal after a torn commit",
            join(&[&e[0], &unsynced_broken, &seal_imitating]),
            Found::Cut(1),
        ),
        ("synced ahead of itself", join(&[&written(1, 46, &["x"])]), out_of_order()),
        ("synced goes back", join(&[&e[0], &e[1], &unsynced(3)]), out_of_order()),
        ("synced before the header's end", join(&[&written(1, 44, &["x"])]), out_of_order()),
        ("an unknown kind", join(&[&line("future 1 2 3")]), out_of_order()),
        ("snapshot record", join(&[&line("snap 1 x")]), out_of_order()),
        ("end record", join(&[&e[0], &line("end 0 1")]), out_of_order()),
        (
            "a lie about synced after a broken line",
            join(&[&e[0], &broken, &written(3, 999_999, &["x"])]),
            Found::Refused(synced(3, at3)),
        ),
        (
            "a lie about bytes",
            join(&[&e[0], &line(&format!("commit 2 {} 00000000 @{end1}", u64::MAX)), &e[1]]),
            Found::Cut(1),
        ),
    ];
    for (name, content, expected) in cases {
        assert_eq!(found(content.as_bytes()), expected, "{name}:\n{content:.300}");
    }
    // Correct checksums over bytes that are not text, and over lines without an end.
    for (lines, reason) in [(&b"\xff\n"[..], "not UTF-8"), (b"x\ny", "no end")] {
        let crc = crc32fast::hash(lines);
        let head = line(&format!("commit 1 {} {crc:08x} @45", lines.len()));
        let content = [HEADER.as_bytes(), head.as_bytes(), lines].concat();
        assert_eq!(found(&content), Found::Refused(Evidence::OutOfOrder), "{reason}");
    }
}

#[test]
fn malformed_snapshots() {
    let s = [line("snap 1 a"), line("snap 2 b"), line("end 2 7")];
    let at = SNAPSHOT_HEADER.len() + s.concat().len();
    let event = written(8, at as u64, &["x"]);
    let join = |parts: &[&str]| format!("{SNAPSHOT_HEADER}{}", parts.concat());
    let end_before_last = line(&format!("end 0 {}", u64::MAX - 1));
    let end_at = (SNAPSHOT_HEADER.len() + end_before_last.len()) as u64;
    let cases = [
        ("good", join(&[&s[0], &s[1], &s[2]]), Found::Good(3)),
        ("good with an event", join(&[&s[0], &s[1], &s[2], &event, "\n"]), Found::Good(4)),
        ("empty snapshot", join(&[&line("end 0 0")]), Found::Good(1)),
        ("empty snapshot with a base", join(&[&line("end 0 5")]), Found::Good(1)),
        ("nothing but the header", join(&[]), Found::Refused(Evidence::Snapshot)),
        ("no end", join(&[&s[0], &s[1]]), Found::Refused(Evidence::Snapshot)),
        ("no end, tail", join(&[&s[0], &s[1], "\n\n"]), Found::Refused(Evidence::Snapshot)),
        ("torn end", join(&[&s[0], &s[1], s[2].trim_end()]), Found::Refused(Evidence::Snapshot)),
        ("end too early", join(&[&s[0], &s[2]]), Found::Refused(Evidence::Snapshot)),
        ("gap", join(&[&s[1], &s[2]]), Found::Refused(Evidence::Snapshot)),
        ("repeat", join(&[&s[0], &s[0], &s[2]]), Found::Refused(Evidence::Snapshot)),
        ("blank line", join(&[&s[0], "\n", &s[1], &s[2]]), Found::Refused(Evidence::Snapshot)),
        ("event inside", join(&[&s[0], &event, &s[1], &s[2]]), Found::Refused(Evidence::Snapshot)),
        (
            "broken",
            join(&[&s[0].replace(" a", " b"), &s[1], &s[2]]),
            Found::Refused(Evidence::Snapshot),
        ),
        (
            "second snapshot",
            join(&[&s[0], &s[1], &s[2], &s[0]]),
            Found::Refused(Evidence::OutOfOrder),
        ),
        (
            "first event broken",
            join(&[&s[0], &s[1], &s[2], &event.replace("commit 8", "commit 7")]),
            Found::Cut(3),
        ),
        (
            "first event torn",
            join(&[&s[0], &s[1], &s[2], &event[..event.len() - 3]]),
            Found::Cut(3),
        ),
        (
            "an event that the snapshot has",
            join(&[&s[0], &s[1], &s[2], &written(1, at as u64, &["x"])]),
            Found::Refused(Evidence::OutOfOrder),
        ),
        (
            "base at the last number",
            join(&[&line(&format!("end 0 {}", u64::MAX)), &written(0, 60, &["x"])]),
            Found::Refused(Evidence::OutOfOrder),
        ),
        (
            "two events where one fits",
            join(&[&end_before_last, &written(u64::MAX, end_at, &["x", "y"])]),
            Found::Refused(Evidence::OutOfOrder),
        ),
    ];
    for (name, content, expected) in cases {
        assert_eq!(found(content.as_bytes()), expected, "{name}:\n{content}");
    }
}

#[test]
fn record_that_the_caller_rejects_is_damage() {
    let sample = small(SyncPolicy::Always);
    for refused in 1..=sample.records.len() as u64 {
        let disk = SimDisk::with("journal", &sample.content);
        let report = check(&disk, |record| match record {
            Record::Event { number, .. } if number == refused => Err("no such room".into()),
            _ => Ok(()),
        });
        let bad = report.unwrap().bad.unwrap();
        assert_eq!(bad.disposition, Disposition::Refused(Evidence::Rejected));
        // The lines before it are the header and the heads of the commits up to its own.
        let heads =
            sample.commits.iter().filter(|(_, records)| *records < refused as usize).count();
        let line = 1 + heads as u64 + refused;
        assert_eq!((bad.line, bad.reason.as_str()), (line, "no such room"));
        let lines = sample.content.split_inclusive(|byte| *byte == b'\n');
        let before: usize = lines.take(line as usize - 1).map(<[u8]>::len).sum();
        assert_eq!(bad.offset_bytes, before as u64);
    }
}

#[test]
fn last_commit_torn_at_every_byte() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let sample = small(policy);
        let (start, records) = *sample.commits.last().unwrap();
        for end in start..sample.content.len() {
            for fill in [None, Some(b'\n'), Some(0)] {
                let mut content = sample.content[..end].to_vec();
                if let Some(fill) = fill {
                    content.resize(sample.content.len() + 100, fill);
                }
                let expected = match fill {
                    // The only byte that was not written is an LF, which was there before.
                    Some(b'\n') if end == sample.content.len() - 1 => {
                        Found::Good(sample.records.len())
                    }
                    Some(b'\n') | None if end == start => Found::Good(records),
                    _ => Found::Cut(records),
                };
                assert_eq!(found(&content), expected, "torn at {end}, fill {fill:?}");
            }
        }
    }
}

/// With any single bit changed, the journal is refused, or the replayed records are the committed
/// ones, without the last commit if the bit is in it.
#[test]
fn every_single_bit_is_detected() {
    every_bit_of(small(SyncPolicy::Always));
    // With one record after it, the wrong byte may be the LF before the only evidence.
    every_bit_of(sample(SyncPolicy::Always, &[&["uno", "dos"], &["tres"], &["cuatro"]]));
}

fn every_bit_of(mut sample: Sample) {
    let (last_start, last_record) = *sample.commits.last().unwrap();
    sample.content.extend_from_slice(&[b'\n'; 40]);
    let mut refused = 0;
    for bit in 0..sample.content.len() * 8 {
        let mut content = sample.content.clone();
        content[bit / 8] ^= 1 << (bit % 8);
        match replay_bytes(&content) {
            Err(Error::Refused(_)) => refused += 1,
            Err(e) => panic!("bit {bit}: {e}"),
            Ok((records, report)) => {
                assert!(bit / 8 >= last_start, "bit {bit} went unnoticed: {report:?}");
                assert!(report.bad.is_some(), "bit {bit} went unnoticed");
                let whole = records == sample.records && bit / 8 >= sample.content.len() - 40;
                let cut = records == sample.records[..last_record];
                assert!(whole || cut, "bit {bit}: {records:?}");
            }
        }
    }
    assert_eq!(refused, last_start * 8);
}

#[test]
fn flip_of_every_bit_of_a_snapshot() {
    let snapshot = [line("snap 1 a"), line("snap 2 b"), line("end 2 7")].concat();
    let alone = format!("{SNAPSHOT_HEADER}{snapshot}");
    let event = written(8, alone.len() as u64, &["x"]);
    for content in [alone.clone(), alone.clone() + "\n\n\n", alone.clone() + &event] {
        for bit in 0..alone.len() * 8 {
            let mut content = content.clone().into_bytes();
            content[bit / 8] ^= 1 << (bit % 8);
            let result = found(&content);
            assert!(matches!(result, Found::Refused(_)), "bit {bit}: {result:?}");
        }
    }
}

/// A sector is lost: it reads as blank, as NULs, or as something else. If a later commit with a
/// readable head records that it had been synced, the journal is refused; otherwise the tail is
/// cut.
#[test]
fn every_lost_sector_is_cut_or_refused() {
    let text = "x".repeat(70);
    let batches: Vec<Vec<&str>> = (0..40).map(|i| vec![text.as_str(); 1 + i % 4]).collect();
    let batches: Vec<&[&str]> = batches.iter().map(Vec::as_slice).collect();
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let sample = sample(policy, &batches);
        let (mut refused, mut cut) = (0, 0);
        for sector in 0..sample.content.len().div_ceil(512) {
            let lost = sector * 512..sample.content.len().min((sector + 1) * 512);
            for fill in [b'\n', 0, 0xff, b'a'] {
                let mut content = sample.content.clone();
                content[lost.clone()].fill(fill);
                let result = found(&content);
                if sector == 0 {
                    assert_eq!(result, Found::Refused(Evidence::Header));
                    continue;
                }
                // The sector may begin with an LF, which is replaced by an LF.
                let first = lost.clone().find(|at| content[*at] != sample.content[*at]).unwrap();
                let &(start, records) =
                    sample.commits.iter().rfind(|(start, _)| *start <= first).unwrap();
                let proof = policy == SyncPolicy::Always
                    && sample.commits.iter().any(|(at, _)| *at > start && *at >= lost.end);
                match result {
                    Found::Refused(Evidence::Synced { .. }) if proof => refused += 1,
                    Found::Cut(served) if !proof => {
                        assert_eq!(served, records);
                        cut += 1;
                    }
                    other => panic!("sector {sector} as {fill:#x}: {other:?}, proof {proof}"),
                }
            }
        }
        assert!(cut > 0);
        assert_eq!(refused > 0, policy == SyncPolicy::Always);
    }
}

/// The evidence may be far behind the bad place, across the chunks in which a file is read.
#[test]
fn evidence_of_damage_is_found_anywhere() {
    let good = written(1, 45, &["x"]);
    let end = HEADER.len() + good.len();
    let proof = written(3, end as u64 + 1, &["y"]);
    let piece = 256 * 1024;
    for near in [end + 1, piece, piece + end, 64 * 1024, 2 * piece + end, 3 * piece] {
        for distance in near.saturating_sub(12).max(end + 1)..near + 12 {
            let mut content = format!("{HEADER}{good}").into_bytes();
            content.push(b'?');
            content.resize(distance, b'\n');
            content.extend_from_slice(proof.as_bytes());
            let why = Evidence::Synced { number: 3, offset_bytes: distance as u64 };
            assert_eq!(found(&content), Found::Refused(why), "at {distance}");
        }
    }
}

#[test]
fn commits_larger_than_a_read_and_records_at_the_limit() {
    let disk = SimDisk::new(4096, 0);
    let (mut journal, _, _) = replay(disk.clone(), SyncPolicy::Never).unwrap();
    let longest = "z".repeat(MAX_PAYLOAD_BYTES);
    let batch: Vec<&str> = (0..40).map(|i| if i % 3 == 0 { "" } else { &longest }).collect();
    commit(&mut journal, &batch);
    commit(&mut journal, &["last"]);
    drop(journal);
    let (_, records, report) = replay(disk, SyncPolicy::Never).unwrap();
    assert_eq!(report.bad, None);
    assert_eq!(records.len(), 41);
    assert!(records.iter().zip(1..).all(|(r, n)| r.starts_with(&format!("{n} "))));
    assert_eq!(records[1], format!("2 {longest}"));
}

#[test]
fn cut_is_reported() {
    let sample = small(SyncPolicy::Always);
    let (start, records) = sample.commits[3];
    let mut content = sample.content[..sample.content.len() - 5].to_vec();
    content.extend_from_slice(&[b'\n'; 1000]);
    let disk = SimDisk::with("journal", &content);
    let before = check(&disk, |_| Ok(())).unwrap();
    assert_eq!(disk.content("journal").unwrap(), content, "check changes nothing");
    let (_, served, report) = replay(disk.clone(), SyncPolicy::Always).unwrap();
    assert_eq!(report, before, "check and open agree");
    assert_eq!(served, sample.records[..records]);
    assert_eq!(disk.content("journal").unwrap(), sample.content[..start]);
    let bad = report.bad.unwrap();
    assert_eq!(report.end_bytes, start as u64);
    assert_eq!(bad.line, 11);
    assert_eq!(bad.tail_bytes, (sample.content.len() - 4 - start) as u64);
    assert_eq!(bad.readable_commits, 1);
    assert_eq!(bad.reason, "wrong checksum of the lines of a commit");
    let (_, served, report) = replay(disk, SyncPolicy::Always).unwrap();
    assert_eq!((served.len(), report.bad), (records, None));
}

#[test]
fn refusal_changes_nothing_and_names_the_remedy() {
    let sample = small(SyncPolicy::Always);
    let mut content = sample.content.clone();
    let (start, _) = sample.commits[1];
    let lines = start + sample.content[start..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    content[lines + 7] ^= 1;
    content.extend_from_slice(b"\n\n");
    let disk = SimDisk::with("journal", &content);
    disk.put("journal.new", b"leftover");
    let steps = disk.steps();
    let Err(error) = replay(disk.clone(), SyncPolicy::Always) else { panic!("opened") };
    assert_eq!(disk.steps(), steps);
    assert_eq!(disk.content("journal").unwrap(), content);
    let (third, _) = sample.commits[2];
    let tail = sample.content.len() - start;
    assert_eq!(
        error.to_string(),
        format!(
            "sim/journal: byte {lines}, line 5: wrong checksum of the lines of a commit; damage: \
             this place had been synced when event 5 was written at byte {third}; nothing was \
             changed; restore a good copy of this file; or keep a copy of it and, with no server \
             running on it, give up all {tail} bytes after the last good commit: truncate --size={start} sim/journal"
        )
    );
}

/// A journal that grows while it is read.
#[derive(Clone)]
pub struct Growing {
    /// The contents at the first read, at the second, and from the last one on. If they are too
    /// short for a read, the disk fails.
    moments: Rc<Vec<Vec<u8>>>,
    reads: Rc<Cell<usize>>,
}

impl Growing {
    pub fn through(moments: Vec<Vec<u8>>) -> Growing {
        Growing { moments: Rc::new(moments), reads: Rc::default() }
    }
}

impl StorageFile for Growing {
    fn size(&self) -> io::Result<u64> {
        Ok(self.moments[0].len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let now = self.reads.replace(self.reads.get() + 1).min(self.moments.len() - 1);
        let fails = || io::Error::other("this disk has failed");
        let rest = self.moments[now].get(offset as usize..).ok_or_else(fails)?;
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        panic!("check has written to a file")
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        panic!("check has truncated a file")
    }

    fn sync_data(&self) -> io::Result<()> {
        panic!("check has synced a file")
    }
}

impl Storage for Growing {
    type File = Growing;

    fn open(&self, _: &str) -> io::Result<Option<Growing>> {
        panic!("check has opened a file for writing")
    }

    fn open_to_read(&self, _: &str) -> io::Result<Option<Growing>> {
        Ok(Some(self.clone()))
    }

    fn create(&self, _: &str) -> io::Result<Growing> {
        panic!("check has created a file")
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        panic!("check has renamed a file")
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        panic!("check has removed a file")
    }

    fn sync_directory(&self) -> io::Result<()> {
        panic!("a check has synced a directory")
    }

    fn path_of(&self, name: &str) -> String {
        format!("growing/{name}")
    }
}

/// The check once read half of a commit and then, while looking on, the whole next one. It took
/// this for damage and recommended to truncate the journal of a running server.
#[test]
fn commit_written_during_a_check_is_no_damage() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let sample = small(policy);
        let size = sample.content.len() + 50;
        let up_to = |end: usize| {
            let mut content = sample.content[..end].to_vec();
            content.resize(size, b'\n');
            content
        };
        let (second, _) = sample.commits[1];
        for torn in second..sample.content.len() {
            // Each read sees half of one commit, half of the next, or everything.
            let (last, _) = sample.commits[3];
            let moments = [
                vec![up_to(torn), up_to(size - 50)],
                vec![up_to(torn), up_to(torn.max(last + 9)), up_to(size - 50)],
            ];
            for moments in moments {
                let growing = Growing { moments: Rc::new(moments), reads: Rc::default() };
                let mut records = Vec::new();
                let report = check(&growing, |record| {
                    records.push(crate::in_words(record));
                    Ok(())
                });
                let report = report.unwrap();
                assert_eq!(report.bad, None, "torn at {torn}");
                // The part of the previous commit that is not written may be an LF, which was there
                // before.
                let is_whole = |(start, _): &(usize, usize)| [*start, *start - 1].contains(&torn);
                match sample.commits.iter().any(is_whole) {
                    true => assert!(sample.records.starts_with(&records)),
                    false => assert_eq!(records, sample.records, "torn at {torn}"),
                }
                assert_eq!(report.last_number, records.len() as u64);
            }
        }
    }
}

/// The second read of a half-written commit once found it complete and rejected, or failed, and the
/// check reported the result of the first read.
#[test]
fn result_of_the_second_read_is_reported() {
    let sample = small(SyncPolicy::Always);
    let (second, _) = sample.commits[1];
    let mut torn = sample.content[..sample.commits[2].0 - 3].to_vec();
    torn.resize(sample.content.len(), b'\n');
    let found = |last: &[u8]| {
        let moments = [&torn, &torn, last].map(<[u8]>::to_vec).to_vec();
        let growing = Growing { moments: Rc::new(moments), reads: Rc::default() };
        check(&growing, |record| match record {
            Record::Event { number: 3, .. } => Err("no such room".into()),
            _ => Ok(()),
        })
    };
    let report = found(&sample.content).unwrap();
    assert_eq!((report.last_number, report.end_bytes), (1, second as u64));
    assert_eq!(report.bad.unwrap().disposition, Disposition::Refused(Evidence::Rejected));
    let error = found(b"").unwrap_err();
    assert!(error.to_string().contains("this disk has failed"), "{error}");
    assert_eq!(found(&torn).unwrap().bad.unwrap().disposition, Disposition::Cut);
}

/// The report once counted the events of a commit before the rejected one, although a start would
/// not replay any of them.
#[test]
fn good_part_ends_with_a_whole_commit() {
    let sample = small(SyncPolicy::Always);
    let disk = SimDisk::with("journal", &sample.content);
    let report = check(&disk, |record| match record {
        Record::Event { number: 3, .. } => Err("no such room".into()),
        _ => Ok(()),
    });
    let report = report.unwrap();
    assert_eq!((report.last_number, report.end_bytes), (1, sample.commits[1].0 as u64));
}

/// A single commit in the tail is reported in the singular.
#[test]
fn tail_is_described_in_words() {
    for (commits, words) in [(0, "the beginnings of 0 commits"), (1, "the beginning of 1 commit")] {
        let head = written(2, 45, &["payload"]);
        let torn = if commits == 0 { "0badc0de" } else { head.trim_end_matches("load\n") };
        let content = format!("{HEADER}{}{torn}", written(1, 45, &["x"]));
        let (_, report) = replay_bytes(content.as_bytes()).unwrap();
        let tail = report.bad.unwrap().tail();
        assert_eq!(tail, format!("{} bytes with {words}", torn.len()));
    }
}

/// Wherever a fault is, `check` and `open` agree, and `check` changes nothing.
#[test]
fn check_and_open_agree() {
    let sample = small(SyncPolicy::Always);
    for byte in 0..sample.content.len() {
        let mut content = sample.content.clone();
        content[byte] ^= 0x20;
        let disk = SimDisk::with("journal", &content);
        let steps = disk.steps();
        let checked = check(&disk, |_| Ok(())).unwrap();
        assert_eq!(disk.steps(), steps);
        match replay(disk, SyncPolicy::Always) {
            Ok((_, _, report)) => assert_eq!(checked, report),
            Err(Error::Refused(report)) => assert_eq!(checked, *report),
            Err(e) => panic!("{e}"),
        }
    }
}

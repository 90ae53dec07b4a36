//! `reservad reset-time`: a journal with times far ahead continues in the present.

use std::path::Path;
use std::process::{Output, Stdio};

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::{Capacity, SessionId};
use reservad::journal::{DiskStorage, SyncPolicy};
use reservad::store::{History, State};
use reservad::time::{ClockReading, Time, Zone};
use support::{Server, command, temp_dir};

const HOUR_MS: i64 = 3_600_000;
const SIXTY_YEARS_MS: i64 = 60 * 365 * 24 * HOUR_MS;

fn present() -> Time {
    reservad::time::read_clocks().0
}

/// Writes a journal that begins an hour ago and continues sixty years ahead. Returns the number of
/// its last event.
fn write_journal(directory: &Path) -> u64 {
    let capacity = Capacity { resources: 100, reservations: 100 };
    // Without the lock, which a child process of another test could inherit for a moment.
    let storage = DiskStorage::at(directory);
    let (mut state, _) = State::open(storage, SyncPolicy::Always, capacity).unwrap();
    let zone = Zone::utc();
    let mut session = Session::new(SessionId(1));
    let mut say = |state: &mut State<DiskStorage>, time: Time, line: &str| {
        let mut out = Vec::new();
        let history = History::default();
        let mut context = CommandContext {
            inventory: &mut state.inventory,
            batch: &mut state.batch,
            history: &history,
            request_time: RequestTime { now: ClockReading::at(time), zone: &zone },
            stats: &Stats::default,
        };
        commands::run(line.as_bytes(), Eol::Lf, &mut session, &mut context, &mut out);
        let reply = String::from_utf8(out).unwrap();
        assert!(reply.starts_with("OK "), "{line}: {reply}");
    };
    let before = present().plus_ms(-HOUR_MS);
    say(&mut state, before, "ADD R1, R2, R3, R4, R5, R6");
    say(&mut state, before, "RESERVE R1 for=3h");
    say(&mut state, before, "RESERVE R2 until=2040-01-01");
    say(&mut state, before, "RESERVE R3 from=2300-01-01 until=2300-02-01");
    state.store.commit(&mut state.batch).unwrap();
    let ahead = before.plus_ms(SIXTY_YEARS_MS);
    state.inventory.clock_was_set(SIXTY_YEARS_MS, ClockReading::at(ahead));
    let ahead = ahead.plus_ms(HOUR_MS);
    state.inventory.advance(ClockReading::at(ahead), &zone, &mut state.batch);
    say(&mut state, ahead, "RESERVE R2 for=1h");
    say(&mut state, ahead, "RESERVE R4");
    say(&mut state, ahead, "RESERVE R5 until=2299-01-01");
    say(&mut state, ahead, "RESERVE R6 until=quit");
    state.store.commit(&mut state.batch).unwrap();
    state.inventory.last_event()
}

fn run(subcommand: &str, directory: &Path) -> Output {
    let mut command = command(&[subcommand, "--data-dir", directory.to_str().unwrap()]);
    command.stdout(Stdio::piped()).output().unwrap()
}

fn stdout_of(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn a_journal_from_the_future_continues_in_the_present() {
    let directory = temp_dir();
    let last_event = write_journal(directory.path());
    let mut server = Server::durable(directory.path(), &[]);
    server.wait_log("run `reservad reset-time`");
    server.stop();
    // The start has ended the reservation that was bound to a connection.
    let last_event = last_event + 1;

    let output = run("reset-time", directory.path());
    let said = stdout_of(&output);
    assert!(said.contains("moved its time from 20"), "{said}");
    assert!(said.ends_with("\nmoved to the present: #1, #4, #5\n"), "{said}");
    let good = run("check", directory.path());
    assert!(stdout_of(&good).contains("5 live reservations"), "{good:?}");
    assert!(stdout_of(&good).contains(" snapshot records, no events; "), "{good:?}");

    for _ in 0..2 {
        let server = Server::durable(directory.path(), &[]);
        let mut client = server.connect();
        let status = client.list("STATUS").join("\n");
        assert!(status.contains("clock=ok"), "{status}");
        assert!(status.contains("last_number=7"), "{status}");
        let left = |reply: String| {
            let left = reply.trim_end().rsplit_once("left=").expect(&reply).1.to_owned();
            left.strip_suffix('s').expect(&left).parse::<i64>().unwrap()
        };
        // One hour of three had passed when the clock was ahead. The duration of the test is
        // unknown.
        assert!((3_600..=7_200).contains(&left(client.say("VERIFY #1"))));
        assert!((1..=3_600).contains(&left(client.say("VERIFY #4"))));
        assert!(client.say("VERIFY #5").starts_with("OK VALID #5 R4"));
        assert!(client.say("VERIFY #2").starts_with("ERR 410 "), "ended reservations stay ended");
        assert!(client.say("VERIFY #7").starts_with("ERR 410 "));
        assert!(client.say("VERIFY #3").starts_with("ERR 409 "), "a date stays where it is");
        assert!(client.say("VERIFY #6").starts_with("ERR 409 "), "also one said meanwhile");
        assert_eq!(
            client.say(&format!("WATCH after={last_event}")),
            format!("OK WATCHING after={last_event}")
        );
        server.stop();
    }
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    assert!(client.say(&format!("WATCH after={last_event}")).starts_with("OK "));
    assert!(client.say("RESERVE R6 for=1h").starts_with("OK RESERVED #8 R6 "));
    let notice = client.line();
    assert!(notice.starts_with(&format!("* {} RESERVED #8 R6 ", last_event + 1)), "{notice}");
    server.stop();
}

#[test]
fn journal_that_is_not_ahead_stays_unchanged() {
    let directory = temp_dir();
    Server::durable(directory.path(), &[]).stop();
    let before = std::fs::read(directory.path().join("journal")).unwrap();
    let output = run("reset-time", directory.path());
    assert!(stdout_of(&output).contains("nothing to do"), "{output:?}");
    assert_eq!(std::fs::read(directory.path().join("journal")).unwrap(), before);
}

#[test]
fn the_time_of_a_running_server_is_not_reset() {
    let directory = temp_dir();
    write_journal(directory.path());
    let server = Server::durable(directory.path(), &[]);
    // At the first reply all events of the start are written.
    server.connect().list("STATUS");
    let before = std::fs::read(directory.path().join("journal")).unwrap();
    let output = run("reset-time", directory.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(str::from_utf8(&output.stderr).unwrap().contains("another"), "{output:?}");
    assert_eq!(std::fs::read(directory.path().join("journal")).unwrap(), before);
    server.stop();
}

#[test]
fn no_journal_is_created_in_an_empty_directory() {
    let directory = temp_dir();
    let missing = directory.path().join("nothing");
    let output = run("reset-time", &missing);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        str::from_utf8(&output.stderr)
            .unwrap()
            .contains("there is no journal; name the server's directory with --data-dir")
    );
    assert!(!missing.exists());
}

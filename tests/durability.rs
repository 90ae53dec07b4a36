//!
//! Acknowledged changes survive any end of the server: kill -9 during a list, during a compaction,
//! at chosen system calls; a disk that is full or fails; a journal that was cut or damaged.
//! `tests/crash/` does the same at random moments under load.
//!
//! `RESERVAD_SEED` repeats the random choices.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::{Inventory, SessionId};
use reservad::journal::{DiskStorage, SyncPolicy};
use reservad::store::Store;
use reservad::time::{ClockReading, Time, Zone};
use support::disk::{
    CAPACITY, SmallDisk, can_trace, check_replay, events, is_compacted, stamped, text, text_of,
    traced,
};
use support::view::bookings;
use support::{Client, PATIENCE, Rng, Server, TempDir, command, day, seed, temp_dir, until};

// ---------------------------------------------------------------------------------------------
// Helpers.

/// Returns everything visible to clients that a restart must not change.
fn state(server: &Server) -> Vec<String> {
    let mut client = server.connect();
    let mut all = client.list("RESERVAS");
    all.extend(client.list("LISTAR"));
    let kept = ["resources=", "reservations=", "last_number=", "last_event="];
    let status = client.list("ESTADO");
    all.extend(status.into_iter().filter(|line| kept.iter().any(|key| line.starts_with(key))));
    all
}

fn status(server: &Server, key: &str) -> u64 {
    let lines = server.connect().list("ESTADO");
    let line = lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap().parse().unwrap()
}

/// Returns every file of a directory with its bytes and the time of its last change.
fn contents(directory: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let file = |entry: std::fs::DirEntry| {
        let changed = entry.metadata().unwrap().modified().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), (bytes, changed))
    };
    entries.map(file).collect()
}

/// Runs the program to its end, for starts that are refused.
fn output(arguments: &[&str]) -> Output {
    let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("the server has started: {arguments:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// The state of a server in the past: the same commands and the same journal, at times that the
/// test sets.
struct Past {
    store: Store<DiskStorage>,
    inventory: Inventory,
    session: Session,
    now: Time,
}

impl Past {
    fn begin(directory: &Path, hours_ago: i64) -> Past {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = Time::from_ms(since.as_millis() as i64).plus_ms(-hours_ago * 3_600_000);
        let storage = DiskStorage::lock(directory).unwrap();
        let (store, inventory, _) = Store::open(storage, SyncPolicy::Never, CAPACITY).unwrap();
        Past { store, inventory, session: Session::new(SessionId(1)), now }
    }

    /// Runs a line and commits its events.
    fn say(&mut self, line: &str) -> String {
        let (zone, mut batch, mut out) = (Zone::utc(), Batch::default(), Vec::new());
        let stats = Stats::default;
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut batch,
            history: self.store.history(),
            request_time: RequestTime { now: ClockReading::at(self.now), zone: &zone },
            stats: &stats,
        };
        commands::run(line.as_bytes(), Eol::Lf, &mut self.session, &mut context, &mut out);
        self.store.commit(&mut batch).unwrap();
        let reply = String::from_utf8(out).unwrap();
        assert!(reply.starts_with("OK "), "{line}: {reply}");
        reply
    }

    /// Adds history that a compaction drops, in long lines, until the journal is larger.
    fn fill(&mut self, bytes: u64) {
        let names: Vec<_> = (0..30).map(|n| format!("{n} {}", "x".repeat(100))).collect();
        let names = names.join(", ");
        self.say(&format!("ALTA {names}"));
        while self.store.journal_bytes() < bytes {
            self.say(&format!("RESERVAR {names}"));
            self.say(&format!("CANCELAR #{}", self.inventory.last_number()));
        }
    }
}

/// Sends lines on one connection without waiting, in portions that fit the buffers. Every reply
/// must be OK.
fn send_in_portions(client: &mut Client, lines: &[String]) {
    for portion in lines.chunks(32) {
        client.send(portion.join("\n") + "\n");
        for line in portion {
            let reply = client.line();
            assert!(reply.starts_with("OK "), "{line}: {reply}");
        }
    }
}

/// Reserves one day after the other, each when the previous one was answered, until the server
/// ends. Returns the number of acknowledged reservations.
fn until_it_ends(server: &Server, first_day: usize) -> usize {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    let note = "x".repeat(250);
    for count in 0..20_000 {
        let line = format!(
            "RESERVAR Habitación 1 desde={} noches=1 nota={note}\n",
            day(first_day + count)
        );
        let _ = stream.get_mut().write_all(line.as_bytes());
        let mut reply = String::new();
        match stream.read_line(&mut reply) {
            Ok(1..) => assert!(reply.starts_with("OK RESERVADO "), "{reply}"),
            _ => return count,
        }
    }
    panic!("it does not end")
}

/// Checks that the server has stopped by itself with status 1 and this reason.
fn stopped_because(server: &mut Server, reason: &str) {
    let status = server.wait();
    let line = server.wait_log("reservad: cannot ");
    assert!(line.contains(reason) && line.contains("journal"), "{line}");
    assert_eq!(status.code(), Some(1), "{status}: {line}");
}

// ---------------------------------------------------------------------------------------------
// Kill -9 at chosen moments.

/// A commit can be interrupted at each of its system calls. No reply was sent then, and earlier
/// commits exist.
#[test]
fn kill_at_each_step_of_a_commit() {
    if !can_trace() {
        return;
    }
    for (call, lost) in [("pwrite64", true), ("fdatasync", false)] {
        let directory = temp_dir();
        let trace = temp_dir();
        Server::durable(directory.path(), &[]).stop();
        for when in [4, 5, 9] {
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let options = ["-e", "trace=pwrite64,fdatasync", "-e", &inject];
            let mut server = traced(directory.path(), &trace.path().join("trace"), &options, &[]);
            let before = status(&server, "reservations") as usize;
            let acknowledged = until_it_ends(&server, before);
            assert_eq!(server.wait().signal(), Some(9));
            let server = Server::durable(directory.path(), &[]);
            let found = status(&server, "reservations") as usize - before;
            // A commit that was written and not synced survives a kill without a reply.
            let unsaid = if lost { 0 } else { 1 };
            assert_eq!(found, acknowledged + unsaid, "killed in {call} {when}");
            server.stop();
        }
        check_replay(directory.path());
    }
}

#[test]
fn kill_between_the_pages_of_a_list() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    let long = "x".repeat(100);
    for first in [1, 10_001] {
        let last = first + 9_999;
        assert_eq!(client.say(&format!("ALTA {long} {first}..{last}")), "OK ALTA 10000");
    }
    let mut reader = server.connect();
    reader.send("LISTAR\n".repeat(10));
    assert_eq!(reader.line(), "OK 20003 DISPONIBLES");
    assert_eq!(reader.line(), "Habitación 1");
    assert!(client.say("RESERVAR Habitación 2").starts_with("OK RESERVADO #1 "));
    let before = state(&server);
    server.kill();
    let mut lines = 0;
    while reader.try_line().is_some() {
        lines += 1;
    }
    assert!(lines < 9 * 20_003, "the lists were not under way any more: {lines} lines");
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(state(&server), before);
    server.stop();
}

// ---------------------------------------------------------------------------------------------
// Compaction.

/// Makes reservations of every kind, and changes some of them.
fn make_reservations(client: &mut Client) {
    let lines = [
        "ALTA Sala 1..40",
        "ALTA Bóveda, Ático",
        "SOY ana",
        r#"RESERVAR Sala 1 nota="dice \"sí\" y \\ también 🏗""#,
        "RESERVAR Sala 2, Sala 3, Sala 4 por=5d clave=k1",
        "CANCELAR Sala 3",
        "RESERVAR Sala 5 desde=2030-01-01 noches=3",
        "RESERVAR Sala 5 desde=2030-01-04 hasta=2030-02-01T10:30 nota=\" from=1970 \"",
        "RESERVAR Sala *, Boveda",
        "CANCELAR #5",
        "SOY luis",
        "RESERVAR sala 9, ATICO clave=\"dos palabras\"",
        "BAJA Sala 33, Sala 34",
        "ALTA Sala 33",
        "RESERVAR Sala 33",
    ];
    send_in_portions(client, &lines.map(str::to_owned));
}

/// Makes the journal mostly history, through a connection.
fn fill_with_history(client: &mut Client, first: u64, pairs: u64) {
    let names: Vec<_> = (0..30).map(|n| format!("{n} {}", "x".repeat(100))).collect();
    let names = names.join(", ");
    let mut lines = vec![format!("ALTA {names}")];
    for number in first..first + pairs {
        lines.push(format!("RESERVAR {names}"));
        lines.push(format!("CANCELAR #{number}"));
    }
    for portion in lines.chunks(8) {
        send_in_portions(client, portion);
    }
}

#[test]
fn compaction_while_running_changes_nothing_visible() {
    let directory = temp_dir();
    let mut server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    make_reservations(&mut client);
    let rows_before = bookings(&server);
    let mut quitter = server.connect();
    assert!(quitter.say("RESERVAR Sala 40 hasta=salir").starts_with("OK "));
    let first = status(&server, "last_number") + 1;
    fill_with_history(&mut client, first, 1_360);
    server.wait_log("compacted the journal");
    let journal = std::fs::read_to_string(directory.path().join("journal")).unwrap();
    assert!(is_compacted(&journal), "{}", &journal[..40]);
    assert!(!directory.path().join("journal.new").exists());
    assert_eq!(quitter.say("SALIR"), "OK ADIÓS");
    assert_eq!(bookings(&server), rows_before);
    let before = state(&server);
    server.kill();
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(state(&server), before);
    assert_eq!(bookings(&server), rows_before);
    events(directory.path());
    check_replay(directory.path());
    let mut client = server.connect();
    client.say("SOY ana");
    let next = status(&server, "last_number") + 1;
    assert!(client.say("RESERVAR Sala 2, Sala 4 por=5d clave=k1").starts_with("ERR 409 "));
    let again = client.say("RESERVAR Sala 4, SALA 3, sala 2 por=5d clave=k1");
    assert!(again.starts_with("OK RESERVADO #2 Sala 2, Sala 4 "), "{again}");
    let new = client.say("RESERVAR Sala 40");
    assert_eq!(new, format!("OK RESERVADO #{next} Sala 40"));
    server.stop();
}

/// Writes a journal that the next start compacts.
fn write_compactable_journal(directory: &Path) {
    let mut past = Past::begin(directory, 5);
    past.say("ALTA Sala 1..200");
    for room in 1..=100 {
        past.say(&format!("RESERVAR Sala {room} por=9d nota=\"reserva {room}\""));
    }
    past.say("BAJA Sala 200");
    past.fill(5 << 20);
}

/// A process that has opened the journal before a compaction, to copy it, can read all of it. A
/// test that copied a server's directory once found the end of the journal missing.
#[test]
fn copy_of_a_journal_during_a_compaction_is_complete() {
    let directory = temp_dir();
    let mut past = Past::begin(directory.path(), 5);
    past.fill(1 << 20);
    let before = std::fs::read(directory.path().join("journal")).unwrap();
    let mut copy = std::fs::File::open(directory.path().join("journal")).unwrap();
    loop {
        assert!(past.store.compact(&past.inventory, past.now, 64 << 10).unwrap().is_none());
        if !past.store.is_compacting() {
            break;
        }
    }
    past.store.shrink_old_file();
    assert!(!past.store.has_old_file(), "it is small");
    assert!(std::fs::read(directory.path().join("journal")).unwrap().len() < before.len() / 2);
    let mut copied = Vec::new();
    copy.read_to_end(&mut copied).unwrap();
    assert!(copied == before, "{} bytes of {} are left", copied.len(), before.len());
}

#[test]
fn kill_at_each_step_of_a_compaction() {
    if !can_trace() {
        return;
    }
    let trace = temp_dir();
    let master = temp_dir();
    write_compactable_journal(master.path());
    let mut want = None;
    // The file and the system call of each step of a compaction, in order.
    let steps = [
        ("journal.new", "?open,openat", 1),
        ("journal.new", "pwrite64", 1),
        ("journal.new", "fdatasync", 1),
        ("journal.new", "?rename,?renameat,renameat2", 1),
        // The first two syncs belong to the start: of the journal and of its marker.
        (".", "fsync", 3),
    ];
    for (file, calls, when) in steps {
        let directory = temp_dir();
        std::fs::copy(master.path().join("journal"), directory.path().join("journal")).unwrap();
        let path =
            if file == "." { directory.path().to_owned() } else { directory.path().join(file) };
        let inject = format!("inject={calls}:signal=KILL:when={when}");
        // The path, or the name if the file is opened relative to the directory.
        let options = ["-P", text_of(&path), "-P", file, "-e", &inject];
        let mut server = traced(directory.path(), &trace.path().join("trace"), &options, &[]);
        let status = server.wait();
        assert_eq!(status.signal(), Some(9), "{calls} on {file}: {}", server.log_so_far());
        let is_compact = std::fs::read(directory.path().join("journal")).unwrap().len() < 1 << 20;
        assert_eq!(is_compact, file == ".", "{calls} on {file}");
        let mut server = Server::durable(directory.path(), &[]);
        if !is_compact {
            server.wait_log("compacted the journal");
        }
        let found = state(&server);
        assert_eq!(*want.get_or_insert(found.clone()), found, "{calls} on {file}");
        assert!(!directory.path().join("journal.new").exists());
        server.stop();
        check_replay(directory.path());
    }
    assert!(want.unwrap().iter().any(|line| line.contains("\tSala 100\t")));
}

#[test]
fn kill_at_any_moment_of_a_compaction() {
    let seed = seed();
    let mut rng = Rng(seed);
    let directory = temp_dir();
    let mut past = Past::begin(directory.path(), 5);
    let long = "y".repeat(90);
    past.say(&format!("ALTA {long} 1..9000"));
    // Two events for each live item, and one more.
    for pair in 0..9_100 {
        past.say(&format!("RESERVAR {long} {}", 1 + pair % 9000));
        past.say(&format!("CANCELAR #{}", past.inventory.last_number()));
    }
    past.say(&format!("RESERVAR {long} 8999 nota=última"));
    drop(past);
    let journal = std::fs::read(directory.path().join("journal")).unwrap();
    let mut want = None;
    let mut caught = 0;
    for _ in 0..6 {
        std::fs::write(directory.path().join("journal"), &journal).unwrap();
        let server = Server::durable(directory.path(), &[]);
        let begun = Instant::now();
        while !directory.path().join("journal.new").exists()
            && begun.elapsed() < Duration::from_secs(5)
        {
            if std::fs::metadata(directory.path().join("journal")).unwrap().len()
                < journal.len() as u64 / 2
            {
                break;
            }
        }
        for _ in 0..rng.below(3_000_000) {
            std::hint::spin_loop();
        }
        server.kill();
        caught += usize::from(directory.path().join("journal.new").exists());
        let server = Server::durable(directory.path(), &[]);
        let found = state(&server);
        assert!(*want.get_or_insert(found.clone()) == found, "the state has changed");
        server.kill();
        check_replay(directory.path());
        let _ = std::fs::remove_file(directory.path().join("journal.new"));
    }
    println!("{caught} of 6 kills fell within a compaction");
    assert!(want.unwrap()[0].ends_with("\túltima"));
}

// ---------------------------------------------------------------------------------------------
// The work of a start.

#[test]
fn reservation_bound_to_a_connection_of_a_dead_server_ends_at_its_last_time() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut bound = server.connect();
    let mut other = server.connect();
    assert!(bound.say("RESERVAR Habitación 1 hasta=salir").starts_with("OK RESERVADO #1 "));
    assert!(bound.say("RESERVAR Habitación 2 hasta=salir").starts_with("OK RESERVADO #2 "));
    assert!(other.say("RESERVAR Habitación 3").starts_with("OK RESERVADO #3 "));
    server.kill();
    let before = events(directory.path());
    let last_time = before.iter().map(|(_, event)| stamped(event).0).max().unwrap();
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(bookings(&server).keys().copied().collect::<Vec<_>>(), [3]);
    let mut client = server.connect();
    assert!(client.say("VERIFICAR #1").starts_with("ERR 410 "));
    assert_eq!(client.list("LISTAR"), ["Habitación 1", "Habitación 2"]);
    server.kill();
    let after = events(directory.path());
    let ends: Vec<_> = after[before.len()..].iter().map(|(_, event)| stamped(event)).collect();
    assert_eq!(ends, [(last_time, "EXPIRED #1"), (last_time, "EXPIRED #2")]);
    // It happens once.
    let server = Server::durable(directory.path(), &[]);
    server.kill();
    assert_eq!(events(directory.path()), after);
}

#[test]
fn leases_that_ended_while_the_server_was_down_end_in_order_at_their_own_times() {
    let directory = temp_dir();
    // Less than a day, so that the clock is followed without being confirmed.
    let mut past = Past::begin(directory.path(), 20);
    past.say("ALTA Sala 1..9");
    let begin = past.now;
    past.say("RESERVAR Sala 1 por=3h");
    past.say("RESERVAR Sala 2 por=1h");
    past.say("RESERVAR Sala 3 por=90m nota=lejos");
    past.say("RESERVAR Sala 4 por=5d");
    past.say("RESERVAR Sala 5 hasta=salir");
    past.now = begin.plus_ms(60_000);
    past.say("RESERVAR Sala 6, Sala 7 por=1s");
    past.say("RESERVAR Sala 8");
    drop(past);
    let before = events(directory.path());
    let server = Server::durable(directory.path(), &[]);
    let (names, numbers): (Vec<_>, Vec<_>) =
        bookings(&server).into_iter().map(|(number, booking)| (booking.names, number)).unzip();
    assert_eq!(numbers, [4, 7], "{names:?}");
    server.kill();
    let after = events(directory.path());
    let ends: Vec<_> = after[before.len()..].iter().map(|(_, event)| stamped(event)).collect();
    let want = [
        (60_000, "EXPIRED #5"),
        (61_000, "EXPIRED #6"),
        (3_600_000, "EXPIRED #2"),
        (5_400_000, "EXPIRED #3"),
        (10_800_000, "EXPIRED #1"),
    ];
    assert_eq!(ends, want.map(|(ms, event)| (begin.plus_ms(ms), event)));
}

#[test]
fn texts_keys_and_numbers_survive_a_kill() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    make_reservations(&mut client);
    // The same name in the other normal form, and a retry in English.
    assert_eq!(client.say("ALTA Bo\u{301}veda 2"), "OK ALTA 1");
    client.say("SOY ana");
    let again = client.say("RESERVE sala 4, sala 2, SALA 3 key=k1 for=5d");
    assert!(again.starts_with("OK RESERVED #2 "), "{again}");
    let before = state(&server);
    assert!(before[0].ends_with("\tdice \"sí\" y \\ también 🏗"), "{}", before[0]);
    assert!(before.iter().any(|line| line == "B\u{f3}veda 2"));
    assert!(before.iter().any(|line| line.ends_with("\t from=1970 ")));
    for _ in 0..2 {
        server_round_trip(&directory, &before);
    }
    drop(server);
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(state(&server), before);
    let mut client = server.connect();
    client.say("SOY ana");
    let again = client.say("RESERVE sala 4, sala 2, SALA 3 key=k1 for=5d");
    assert!(again.starts_with("OK RESERVED #2 Sala 2, Sala 4 "), "{again}");
    let other = client.say("RESERVE sala 2 key=k1 for=5d");
    assert!(other.starts_with("ERR 409 "), "{other}");
    client.say("SOY luis");
    let again = client.say("RESERVAR Ático, Sala 9 clave=\"dos palabras\"");
    assert!(again.starts_with("OK RESERVADO #"), "{again}");
    assert_eq!(state(&server), before);
    server.kill();
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(state(&server), before, "a retry has changed something");
    server.stop();
}

/// Checks that a server on a copy of the directory has the same state.
fn server_round_trip(directory: &TempDir, want: &[String]) {
    let copy = temp_dir();
    std::fs::copy(directory.path().join("journal"), copy.path().join("journal")).unwrap();
    let server = Server::durable(copy.path(), &[]);
    assert_eq!(state(&server), want);
    server.kill();
    let server = Server::durable(copy.path(), &[]);
    assert_eq!(state(&server), want);
    server.kill();
}

/// An end that is due precedes the changes of a signal in the same turn. Here, both arrive while
/// the previous turn waits for its disk.
#[test]
fn times_do_not_go_back_when_a_lease_ends_during_a_reload() {
    if !can_trace() {
        return;
    }
    let (directory, other) = (temp_dir(), temp_dir());
    let (rooms, trace) = (other.path().join("rooms"), other.path().join("trace"));
    std::fs::write(&rooms, "Sala 1\nSala 2\n").unwrap();
    let arguments = ["--inventory", text_of(&rooms)];
    Server::durable(directory.path(), &arguments).stop();
    traced(directory.path(), &trace, &["-e", "trace=fdatasync"], &arguments).stop();
    let at_start = calls(&trace, "fdatasync").len();
    let delay = format!("inject=fdatasync:delay_enter=2000000:when={}", at_start + 2);
    let options = ["-e", "trace=fdatasync", "-e", &delay];
    let mut server = traced(directory.path(), &trace, &options, &arguments);
    let mut client = server.connect();
    assert!(client.say("RESERVAR Sala 1 por=1s").starts_with("OK RESERVADO #1 "));
    client.send("RESERVAR Sala 2\n");
    until("the server waits for the disk", || calls(&trace, "fdatasync").len() == at_start + 2);
    std::fs::write(&rooms, "Sala 1\nSala 2\nSala 3\n").unwrap();
    server.signal("HUP");
    server.wait_log("SIGHUP: added 1 resource ");
    assert_eq!(client.line(), "OK RESERVADO #2 Sala 2");
    assert_eq!(client.list("LISTAR"), ["Sala 1", "Sala 3"]);
    server.kill();
    let all = events(directory.path());
    let last: Vec<_> = all[4..].iter().map(|(_, event)| stamped(event).1).collect();
    assert_eq!(last, ["EXPIRED #1", "ADDED Sala 3"]);
}

// ---------------------------------------------------------------------------------------------
// Torn and damaged journals.

/// Writes a journal whose last commit has five events. Returns where that commit begins and ends.
fn with_a_large_last_commit(directory: &Path) -> (Vec<String>, usize, usize) {
    let server = Server::durable(directory, &[]);
    let mut client = server.connect();
    assert_eq!(client.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    assert_eq!(client.say("RESERVAR Habitación 2"), "OK RESERVADO #2 Habitación 2");
    let before = state(&server);
    let start = status(&server, "journal_bytes") as usize;
    assert_eq!(client.say("ALTA Sala 1..5"), "OK ALTA 5");
    let end = status(&server, "journal_bytes") as usize;
    server.kill();
    (before, start, end)
}

#[test]
fn torn_last_commit_is_cut_as_a_whole_and_reported() {
    let mut rng = Rng(seed());
    let directory = temp_dir();
    let (before, start, end) = with_a_large_last_commit(directory.path());
    let whole = std::fs::read(directory.path().join("journal")).unwrap();
    for case in 0..8 {
        let mut bytes = whole.clone();
        let place = start + 1 + rng.below(end - start - 1);
        let what = match case % 4 {
            0 => {
                bytes.truncate(place);
                "cut"
            }
            1 => {
                bytes[place - 1] ^= 1;
                "one wrong bit"
            }
            2 => {
                bytes[place..end].fill(0);
                "NUL to the end"
            }
            _ => {
                bytes[start..place].fill(b'\n');
                "blank at first"
            }
        };
        let what = format!("{what}, {start} {place} {end}");
        std::fs::write(directory.path().join("journal"), &bytes).unwrap();
        let kept = contents(directory.path());
        let checked = output(&["check", "--data-dir", text_of(directory.path())]);
        let output = text(&checked.stdout);
        assert!(output.contains("a torn tail from byte "), "{what}: {output}");
        assert!(output.contains("events 1 to 5; "), "{what}: {output}");
        assert!(output.contains("ends without a seal"), "{what}: {output}");
        assert_eq!(checked.status.code(), Some(3), "{what}");
        assert_eq!(contents(directory.path()), kept, "check has changed something");
        let mut server = Server::durable(directory.path(), &[]);
        let log = server.log_so_far();
        let line = log.lines().find(|line| line.contains("a torn tail was cut at byte"));
        let line = line.unwrap_or_else(|| panic!("{what}: {log}"));
        assert!(line.contains("WARN") && line.contains("journal"), "{line}");
        assert_eq!(state(&server), before, "{what}");
        let mut client = server.connect();
        assert_eq!(client.say("ALTA Otra"), "OK ALTA 1");
        server.kill();
        check_replay(directory.path());
        assert_eq!(events(directory.path()).len(), 6, "{what}");
    }
}

#[test]
fn damage_before_the_last_commit_is_refused_without_changes() {
    let mut rng = Rng(seed());
    let directory = temp_dir();
    let (_, start, _) = with_a_large_last_commit(directory.path());
    let whole = std::fs::read(directory.path().join("journal")).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let path = directory.path().join("journal");
    for _ in 0..8 {
        let mut bytes = whole.clone();
        let place = header + rng.below(start - header);
        bytes[place] ^= 1 << rng.below(7);
        // The bad line is the head, or the first of the lines that share one checksum.
        let head = (header..=place).rfind(|at| whole[at + 8..].starts_with(b"\tcommit ")).unwrap();
        let lines = head + whole[head..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let line = if place < lines { head } else { lines };
        std::fs::write(&path, &bytes).unwrap();
        let kept = contents(directory.path());
        let checked = output(&["check", "--data-dir", text_of(directory.path())]);
        assert_eq!(contents(directory.path()), kept, "check has changed something");
        let started = output(&["--data-dir", text_of(directory.path()), "--listen", "127.0.0.1:0"]);
        assert_eq!(contents(directory.path())["journal"], kept["journal"]);
        for refused in [&checked, &started] {
            let output = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{output}");
            let last = output.lines().last().unwrap();
            assert!(last.contains(&format!("{}: byte {line}, ", path.display())), "{last}");
            assert!(last.contains("damage") && last.contains("nothing was changed"), "{last}");
            assert!(last.contains("restore a good copy"), "{last}");
        }
        assert_eq!(text(&checked.stderr).lines().last(), text(&started.stderr).lines().last());
    }
    // The last resort in the message works.
    let message = text(&output(&["check", "--data-dir", text_of(directory.path())]).stderr);
    let (_, advice) = message.trim().rsplit_once(": ").unwrap();
    let words: Vec<_> = advice.split(' ').collect();
    assert_eq!(words[0], "truncate", "{message}");
    assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
    Server::durable(directory.path(), &[]).stop();
    check_replay(directory.path());
}

// ---------------------------------------------------------------------------------------------
// A failing disk.

#[test]
fn file_size_limit_stops_the_server_with_the_reason() {
    let directory = temp_dir();
    let script = "ulimit -f 128; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_reservad"), "--data-dir"]);
    shell.args([text_of(directory.path()), "--listen", "127.0.0.1:0", "--time-zone", "UTC"]);
    let mut server = Server::spawn(shell.stdin(Stdio::null()).stderr(Stdio::piped()));
    let acknowledged = until_it_ends(&server, 0);
    assert!(acknowledged > 50, "{acknowledged}");
    stopped_because(&mut server, "File too large");
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(bookings(&server).len(), acknowledged);
    server.stop();
}

#[test]
fn full_disk_stops_the_server_with_the_reason() {
    let Some(disk) = SmallDisk::new(256 << 10) else { return };
    let directory = disk.path();
    std::fs::write(directory.join("ballast"), vec![0; 128 << 10]).unwrap();
    let mut server = Server::durable(directory, &[]);
    let acknowledged = until_it_ends(&server, 0);
    assert!(acknowledged > 50, "{acknowledged}");
    stopped_because(&mut server, "No space left on device (os error 28); free space on its disk");
    // A start succeeds on the full disk, because it has nothing to write.
    let server = Server::durable(directory, &[]);
    assert_eq!(bookings(&server).len(), acknowledged);
    server.kill();
    std::fs::remove_file(directory.join("ballast")).unwrap();
    let mut server = Server::durable(directory, &[]);
    assert_eq!(bookings(&server).len(), acknowledged);
    let reply = server.connect().say("RESERVAR Habitación 2");
    assert_eq!(reply, format!("OK RESERVADO #{} Habitación 2", acknowledged + 1));
    server.signal("TERM");
    assert!(server.wait().success());
    check_replay(directory);
}

/// A disk without space for a snapshot is no reason to stop.
#[test]
fn failed_compaction_is_reported_and_changes_nothing() {
    let master = temp_dir();
    write_compactable_journal(master.path());
    let journal = std::fs::read(master.path().join("journal")).unwrap();
    let Some(disk) = SmallDisk::new(journal.len().next_multiple_of(4096) + (8 << 10)) else {
        return;
    };
    let directory = disk.path();
    std::fs::write(directory.join("journal"), &journal).unwrap();
    // The remaining space is too small for a snapshot of 100 reservations.
    let mut server = Server::durable(directory, &[]);
    server.wait_log("gave up compacting the journal: cannot write");
    assert!(!directory.join("journal.new").exists());
    assert_eq!(bookings(&server).len(), 100);
    server.kill();
}

#[test]
fn failed_sync_stops_the_server_before_it_replies() {
    if !can_trace() {
        return;
    }
    for (arguments, when) in [(&[][..], "6"), (&[][..], "9+"), (&["--fsync", "1s"][..], "2+")] {
        let (directory, trace) = (temp_dir(), temp_dir());
        Server::durable(directory.path(), &[]).stop();
        let inject = format!("inject=fdatasync:error=EIO:when={when}");
        let options = ["-e", "trace=fdatasync", "-e", &inject];
        let mut server = traced(directory.path(), &trace.path().join("trace"), &options, arguments);
        let acknowledged = until_it_ends(&server, 0);
        stopped_because(&mut server, "Input/output error");
        let server = Server::durable(directory.path(), &[]);
        let found = bookings(&server).len();
        match arguments {
            // Written but not synced, so no client may have been notified.
            [] => assert_eq!(found, acknowledged + 1, "{when}"),
            _ => assert!(acknowledged > 0 && found >= acknowledged, "{found} {acknowledged}"),
        }
        server.stop();
        check_replay(directory.path());
    }
}

#[test]
fn failed_write_stops_the_server_before_it_replies() {
    if !can_trace() {
        return;
    }
    for arguments in [&[][..], &["--fsync", "never"], &["--fsync", "1s"]] {
        let (directory, trace) = (temp_dir(), temp_dir());
        Server::durable(directory.path(), &[]).stop();
        let inject = "inject=pwrite64:error=EIO:when=7+";
        let options = ["-e", "trace=pwrite64", "-e", inject];
        let mut server = traced(directory.path(), &trace.path().join("trace"), &options, arguments);
        let acknowledged = until_it_ends(&server, 0);
        stopped_because(&mut server, "Input/output error");
        let server = Server::durable(directory.path(), &[]);
        assert_eq!(bookings(&server).len(), acknowledged, "{arguments:?}");
        server.stop();
    }
}

// ---------------------------------------------------------------------------------------------
// The policies of --fsync.

#[test]
fn kill_without_a_sync_loses_nothing() {
    for fsync in ["never", "1s", "10m"] {
        let directory = temp_dir();
        let server = Server::durable(directory.path(), &["--fsync", fsync]);
        let mut client = server.connect();
        make_reservations(&mut client);
        let before = state(&server);
        server.kill();
        let server = Server::durable(directory.path(), &["--fsync", fsync]);
        assert_eq!(state(&server), before, "{fsync}");
        server.stop();
    }
}

/// Returns the time stamps of a system call in a trace, in seconds.
fn calls(trace: &Path, call: &str) -> Vec<f64> {
    let trace = std::fs::read_to_string(trace).unwrap();
    let call = format!(" {call}(");
    let lines = trace.lines().filter(|line| line.contains(&call));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn interval_policy_syncs_once_seals_and_sleeps() {
    if !can_trace() {
        return;
    }
    let (directory, traces) = (temp_dir(), temp_dir());
    let trace = traces.path().join("trace");
    let server = traced(directory.path(), &trace, &[], &["--fsync", "1s"]);
    let mut client = server.connect();
    let at_start = calls(&trace, "fdatasync").len();
    let writes = calls(&trace, "pwrite64").len();
    for n in 0..3 {
        assert!(client.say(&format!("RESERVAR Habitación {}", n + 1)).starts_with("OK "));
    }
    until("a sync", || calls(&trace, "fdatasync").len() > at_start);
    let written = calls(&trace, "pwrite64")[writes];
    let synced = calls(&trace, "fdatasync")[at_start];
    // The interval has a tolerance for a busy machine.
    assert!((0.8..2.5).contains(&(synced - written)), "synced after {} s", synced - written);
    // To see that nothing happens any more, the test waits for more than twice the interval.
    let settled = Instant::now();
    let size = || std::fs::metadata(&trace).unwrap().len();
    let mut quiet = (size(), Instant::now());
    while quiet.1.elapsed() < Duration::from_millis(2_300) {
        assert!(settled.elapsed() < PATIENCE, "the run does not end");
        std::thread::sleep(Duration::from_millis(50));
        if size() != quiet.0 {
            quiet = (size(), Instant::now());
        }
    }
    let synced = calls(&trace, "fdatasync").len() - at_start;
    assert_eq!(synced, 2, "one sync for all three, and one for the seal");
    assert!(settled.elapsed() < Duration::from_secs(6), "wake-ups of an idle server");
    drop(client);
    server.stop();
}

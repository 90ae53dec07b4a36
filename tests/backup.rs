//! `reservad check` and `reservad backup`: the exit statuses, the detection of truncated copies,
//! and the completeness of backups of a running server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use support::disk::{can_trace, check_replay, history, is_compacted, text, text_of, traced};
use support::view::bookings;
use support::{Client, Server, command, fill_journal, temp_dir, until};

fn run(arguments: &[&str]) -> Output {
    command(arguments).stdout(Stdio::piped()).output().unwrap()
}

/// Returns the exit status and the output of `reservad check`.
fn check(directory: &Path) -> (Option<i32>, String) {
    let done = run(&["check", "--data-dir", text_of(directory)]);
    (done.status.code(), text(&done.stdout) + &text(&done.stderr))
}

fn backup(from: &Path, to: &Path) -> (Option<i32>, String) {
    let done = run(&["backup", "--to", text_of(to), "--data-dir", text_of(from)]);
    (done.status.code(), text(&done.stdout) + &text(&done.stderr))
}

fn figure(server: &Server, key: &str) -> String {
    let lines = server.connect().list("ESTADO");
    let line = lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap().to_owned()
}

/// Returns the state that must survive a restart, also from a backup.
fn state(server: &Server) -> (BTreeMap<u64, support::view::Booking>, Vec<String>, [String; 4]) {
    let keys = ["resources", "last_number", "last_event", "journal"];
    (bookings(server), server.connect().list("LISTAR"), keys.map(|key| figure(server, key)))
}

fn reserve(client: &mut Client, name: &str) {
    assert!(client.say(&format!("RESERVAR {name}")).starts_with("OK RESERVADO "));
}

#[test]
fn status_of_a_check_tells_whether_the_journal_is_complete() {
    let directory = temp_dir();
    let journal = directory.path().join("journal");
    assert_eq!(check(directory.path()).0, Some(1), "no journal");

    let server = Server::durable(directory.path(), &[]);
    reserve(&mut server.connect(), "Habitación 1");
    server.kill();
    let (status, output) = check(directory.path());
    assert_eq!(status, Some(3), "{output}");
    assert!(output.ends_with("may be missing, unless a server is running on it or was killed\n"));

    let server = Server::durable(directory.path(), &[]);
    reserve(&mut server.connect(), "Habitación 2");
    server.stop();
    let (status, output) = check(directory.path());
    assert_eq!(status, Some(0), "{output}");
    assert!(output.contains("\nsealed at event 5: complete\n"), "{output}");

    // No truncated copy passes as complete.
    let good = fs::read(&journal).unwrap();
    let sealed = good.iter().rposition(|byte| *byte != b'\n').unwrap() + 2;
    let (copies, ends) = (temp_dir(), good[..sealed].split(|byte| *byte == b'\n'));
    let mut line_end = 0;
    let mut cuts = Vec::new();
    for line in ends {
        line_end += line.len() + 1;
        cuts.extend([line_end - 1, line_end, line_end + 3]);
    }
    let mut statuses = BTreeMap::new();
    for cut in cuts.into_iter().filter(|cut| *cut < sealed) {
        fs::write(copies.path().join("journal"), &good[..cut]).unwrap();
        let (status, output) = check(copies.path());
        assert!(matches!(status, Some(1 | 3)), "cut at {cut}: {status:?}, {output}");
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert!(statuses[&Some(3)] > 10, "{statuses:?}");
    fs::write(copies.path().join("journal"), &good[..sealed]).unwrap();
    assert_eq!(check(copies.path()).0, Some(0), "the spare tail is not needed");

    // Regression test: a wrong bit in the last commit was cut as "never acknowledged".
    let mut bad = good.clone();
    let place = good.windows(13).position(|it| it == b" RESERVED #2 ").unwrap();
    bad[place + 11] ^= 1;
    fs::write(&journal, &bad).unwrap();
    let (status, output) = check(directory.path());
    assert_eq!(status, Some(1), "{output}");
    assert!(
        output.contains("had been synced when the journal was sealed after event 5"),
        "{output}"
    );
    let started = run(&["--data-dir", text_of(directory.path()), "--listen", "127.0.0.1:0"]);
    assert_eq!(started.status.code(), Some(1));
    assert_eq!(fs::read(&journal).unwrap(), bad, "nothing was changed");
}

/// The server seals when it becomes idle, with one sync, and then sleeps.
#[test]
fn idle_server_seals_its_journal() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    for name in ["Habitación 1", "Habitación 2"] {
        reserve(&mut client, name);
        until("the journal is sealed", || check(directory.path()).0 == Some(0));
    }
    // A kill does not remove the seal.
    server.kill();
    assert_eq!(check(directory.path()).0, Some(0));
    let server = Server::durable(directory.path(), &["--fsync", "1s"]);
    reserve(&mut server.connect(), "Habitación 3");
    until("the journal is sealed", || check(directory.path()).0 == Some(0));
    server.kill();
    let server = Server::durable(directory.path(), &["--fsync", "never"]);
    assert!(server.connect().say("CANCELAR #1").starts_with("OK CANCELADO "));
    server.stop();
    assert_eq!(check(directory.path()).0, Some(0), "at the end it is sealed whatever the policy");
}

/// A start on a sealed journal, and a stop without new events, write nothing.
#[test]
fn sealed_journal_is_not_sealed_again() {
    if !can_trace() {
        return;
    }
    let (directory, traces) = (temp_dir(), temp_dir());
    Server::durable(directory.path(), &[]).stop();
    let before = fs::read(directory.path().join("journal")).unwrap();
    let trace = traces.path().join("trace");
    let mut server = traced(directory.path(), &trace, &["-e", "trace=pwrite64"], &[]);
    server.signal("TERM");
    assert!(server.wait().success());
    assert_eq!(fs::read(directory.path().join("journal")).unwrap(), before);
    assert!(!fs::read_to_string(&trace).unwrap().contains("pwrite64"));
}

/// Regression test: a room whose name was the header of a commit made a torn tail look like damage,
/// so that the server did not start.
#[test]
fn client_text_is_not_parsed_as_a_journal_line() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    let signed =
        |body: &str, sign: char| format!("{:08x}{sign}{body}", crc32fast::hash(body.as_bytes()));
    let bodies = ["commit 99 7 00000000 @999999", "seal 99 @999999"];
    for body in bodies {
        // A TAB never enters a text: names turn it into a space, and all other texts reject it.
        let forged = signed(body, '\t');
        for line in [
            format!("ALTA {forged}"),
            format!("SOY {forged}"),
            format!("SOY \"{forged}\""),
            format!("RESERVAR Habitación 1 nota=\"{forged}\""),
            format!("RESERVAR Habitación 1 clave=\"{forged}\" nota=x"),
        ] {
            let reply = client.say(&line);
            println!("{line}: {reply}");
            assert!(reply.starts_with("ERR 4") || reply.starts_with("OK "), "{line}: {reply}");
        }
        let journal = fs::read_to_string(directory.path().join("journal")).unwrap();
        assert!(!journal.contains(&forged));
        assert!(client.say("BAJA ").starts_with("ERR 400 "), "it is still there");
    }
    let before = state(&server);
    let start: usize = figure(&server, "journal_bytes").parse().unwrap();
    let names = bodies.map(|body| signed(body, ' '));
    let reply = client.say(&format!("ALTA Última, x {}, x {}", names[0], names[1]));
    assert_eq!(reply, "OK ALTA 3");
    server.kill();
    let good = fs::read(directory.path().join("journal")).unwrap();
    let end = good.iter().rposition(|byte| *byte != b'\n').unwrap() + 1;
    for place in [start + 20, end - 3] {
        let mut torn = good.clone();
        torn[place..end].fill(b'\n');
        if place < end - 10 {
            // The lines that look like heads are intact, and the head of their commit is not.
            torn[place + 30..end].copy_from_slice(&good[place + 30..end]);
        }
        fs::write(directory.path().join("journal"), &torn).unwrap();
        let (status, output) = check(directory.path());
        assert_eq!(status, Some(3), "{output}");
        let server = Server::durable(directory.path(), &[]);
        assert_eq!(state(&server), before);
        server.kill();
    }
}

#[test]
fn backup_of_a_stopped_server_starts_with_the_same_state() {
    let (directory, target) = (temp_dir(), temp_dir());
    let to = target.path().join("deep/copy");
    let server = Server::durable(directory.path(), &[]);
    reserve(&mut server.connect(), "Habitación 1 nota=\"años\"");
    let before = state(&server);
    server.kill();
    let journal = directory.path().join("journal");
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o640)).unwrap();
    let original = fs::read(&journal).unwrap();
    // The journal ends without a seal, in the middle of a commit.
    let torn = [original.trim_ascii_end(), b"\n0badc0de\tcommit 5 9"].concat();
    fs::write(&journal, &torn).unwrap();
    let (status, output) = backup(directory.path(), &to);
    assert_eq!(status, Some(0), "{output}");
    assert!(
        output.contains("sealed at event 4; ") && output.contains("1 live reservations"),
        "{output}"
    );
    assert!(output.contains(&format!("journal={}", before.2[3])), "{output}");
    assert!(output.contains("left out 19 bytes with the beginnings of 0 commits"), "{output}");
    assert_eq!(fs::read(&journal).unwrap(), torn, "it only reads");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&to.join("journal")), mode(&to)), (0o640, 0o700));
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1, "a journal and nothing else");
    assert_eq!(check(&to).0, Some(0));
    let server = Server::durable(&to, &[]);
    assert_eq!(state(&server), before);
    server.stop();
}

#[test]
fn backup_replaces_no_file_and_leaves_none_on_failure() {
    let (directory, target) = (temp_dir(), temp_dir());
    let to = target.path().join("copy");
    // There is no journal to copy.
    let (status, output) = backup(directory.path(), &to);
    assert_eq!(status, Some(1), "{output}");
    assert!(
        output.contains("there is no journal; name the server's directory with --data-dir")
            && !to.exists(),
        "{output}"
    );
    Server::durable(directory.path(), &[]).stop();
    // The directory itself, another journal, a link, and the unfinished file of another backup.
    let (status, output) = backup(directory.path(), directory.path());
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("a backup does not replace files"), "{output}");
    assert_eq!(backup(directory.path(), &to).0, Some(0));
    let copy = fs::read(to.join("journal")).unwrap();
    assert_eq!(backup(directory.path(), &to).0, Some(1));
    assert_eq!(fs::read(to.join("journal")).unwrap(), copy);
    let linked = target.path().join("linked");
    fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink("nowhere", linked.join("journal")).unwrap();
    assert_eq!(backup(directory.path(), &linked).0, Some(1));
    let begun = target.path().join("begun");
    fs::create_dir(&begun).unwrap();
    fs::write(begun.join("journal.part"), "x").unwrap();
    let (status, output) = backup(directory.path(), &begun);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("journal.part"), "{output}");
    assert_eq!(fs::read(begun.join("journal.part")).unwrap(), b"x");
    // Damage and unacceptable events are reported as the check reports them.
    let mut bad = fs::read(directory.path().join("journal")).unwrap();
    bad[70] ^= 1;
    fs::write(directory.path().join("journal"), bad).unwrap();
    let new = target.path().join("new");
    let (status, output) = backup(directory.path(), &new);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("damage"), "{output}");
    assert!(check(directory.path()).1.ends_with(&output), "{output}");
    assert_eq!(fs::read_dir(&new).unwrap().count(), 0);
}

/// Makes backups while a client fills the journal until it is compacted.
#[test]
fn backups_of_a_running_server_contain_everything_acknowledged() {
    let (directory, target) = (temp_dir(), temp_dir());
    let mut server = Server::durable(directory.path(), &["--fsync", "never"]);
    let mut client = server.connect();
    reserve(&mut client, "Habitación 1 nota=\"se queda\"");
    let address = server.address;
    let mut copies = Vec::new();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| (0..2).for_each(|_| fill_journal(&mut server)));
        let mut asking = Client::to(address);
        let mut last_event = || -> u64 {
            let lines = asking.list("ESTADO");
            lines.iter().find_map(|line| line.strip_prefix("last_event=")).unwrap().parse().unwrap()
        };
        while !load.is_finished() || copies.len() < 3 {
            let to = target.path().join(copies.len().to_string());
            let before = last_event();
            let (status, output) = backup(directory.path(), &to);
            assert_eq!(status, Some(0), "{output}");
            let (status, output) = check(&to);
            assert_eq!(status, Some(0), "{output}");
            let (events, last) = history(&to);
            assert!((before..=last_event()).contains(&last), "{before}, {last}");
            copies.push((to, events));
        }
        load.join().unwrap();
    });
    println!("{} backups", copies.len());
    for _ in 0..10 {
        reserve(&mut client, "Habitación 2, Habitación 3 por=1h");
        let number = figure(&server, "last_number");
        assert!(client.say(&format!("RENOVAR #{number} por=2h")).starts_with("OK RENOVADO "));
        assert!(client.say("CANCELAR Habitación 3").starts_with("OK CANCELADO "));
        assert!(client.say("CANCELAR Habitación 2").starts_with("OK CANCELADO "));
    }
    let after = figure(&server, "last_event").parse::<u64>().unwrap() - 40;
    let notices = |server: &Server| {
        let mut client = server.connect();
        client.send(format!("OBSERVAR tras={after}\n"));
        assert!(client.line().starts_with("OK OBSERVANDO "));
        (0..40).map(|_| client.line()).collect::<Vec<_>>()
    };
    let told_before = notices(&server);
    assert!(
        told_before.iter().any(|line| line.contains("RENOVADO #") && line.contains("Habitación 3"))
    );
    server.kill();
    let last = target.path().join("last");
    let (status, output) = backup(directory.path(), &last);
    assert_eq!(status, Some(0), "{output}");
    assert!(is_compacted(&fs::read_to_string(last.join("journal")).unwrap()));
    // Two backups agree on the events that both contain.
    let mut known: BTreeMap<u64, String> = history(directory.path()).0.into_iter().collect();
    for (to, events) in copies {
        for (number, event) in events {
            let before = known.entry(number).or_insert_with(|| event.clone());
            assert_eq!(*before, event, "event {number}");
        }
        check_replay(&to);
        let server = Server::durable(&to, &[]);
        let note = bookings(&server)[&1].note.clone();
        assert_eq!(note, "se queda");
        server.kill();
    }
    let (original, restored) =
        (Server::durable(directory.path(), &[]), Server::durable(&last, &[]));
    assert_eq!(state(&original), state(&restored));
    // The history is the same too, including names that the journal omits.
    assert_eq!(notices(&original), told_before);
    assert_eq!(notices(&restored), told_before);
    original.stop();
    restored.stop();
}

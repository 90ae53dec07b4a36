//! The data directory of a running server: moved, taken by another server, full, without
//! descriptors; and a directory whose journal was deleted, emptied or restored.

use std::path::Path;
use std::process::{Command, Stdio};

use reservad::journal::{DiskStorage, Journal, Notice, SyncPolicy};
use support::disk::{SmallDisk, check_replay, events, text_of};
use support::{Client, Server, command, fill_journal, temp_dir, wait};

/// Runs a server that does not start, and returns its message.
fn refused(arguments: &[&str]) -> String {
    let mut child = command(arguments).args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
    assert_eq!(wait(&mut child).code(), Some(1), "{arguments:?}");
    std::io::read_to_string(child.stderr.take().unwrap()).unwrap()
}

fn compactions(server: &mut Server) -> usize {
    server.log_so_far().matches("compacted the journal").count()
}

/// Reserves and cancels until the log contains `text`, or the server ends.
fn churn_until(server: &mut Server, client: &mut Client, text: &str) {
    let names: Vec<_> = (0..30).map(|n| format!("{n} {}", "x".repeat(100))).collect();
    let names = names.join(", ");
    client.send(format!("ALTA {names}\n"));
    let Some(_) = client.try_line() else { return };
    let pair = format!("RESERVAR {names}\nCANCELAR {names}\n");
    for _ in 0..2_000 {
        client.send(pair.as_bytes());
        for _ in 0..2 {
            let Some(reply) = client.try_line() else { return };
            assert!(reply.starts_with("OK "), "{reply}");
        }
        if server.log_so_far().contains(text) {
            return;
        }
    }
    panic!("not logged: {text}; {}", server.log_so_far());
}

// ---------------------------------------------------------------------------------------------
// Two servers.

/// Regression test: the first server replaced the journal of the second one with its snapshot.
#[test]
fn server_keeps_using_a_moved_directory() {
    let directory = temp_dir();
    let (here, moved) = (directory.path().join("data"), directory.path().join("moved"));
    let mut first = Server::durable(&here, &[]);
    assert_eq!(first.connect().say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    std::fs::rename(&here, &moved).unwrap();
    let second = Server::durable(&here, &[]);
    assert_eq!(second.connect().say("RESERVAR Habitación 2"), "OK RESERVADO #1 Habitación 2");
    let before = events(&here);
    fill_journal(&mut first);
    assert_eq!(events(&here), before);
    assert_eq!(second.connect().say("RESERVAR Habitación 3"), "OK RESERVADO #2 Habitación 3");
    second.kill();
    first.stop();
    for (path, free) in [(&here, "Habitación 1"), (&moved, "Habitación 2")] {
        check_replay(path);
        let server = Server::durable(path, &[]);
        assert_eq!(server.connect().list("LISTAR")[0], free);
        server.stop();
    }
    let mut names: Vec<_> =
        std::fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["journal", "journal.id", "lock"]);
}

#[test]
fn deleted_lock_file_is_created_again_with_a_warning() {
    let directory = temp_dir();
    let mut server = Server::durable(directory.path(), &[]);
    std::fs::remove_file(directory.path().join("lock")).unwrap();
    fill_journal(&mut server);
    let log = server.log_so_far();
    assert!(log.contains("lock was deleted or replaced while the server was running"), "{log}");
    let message = refused(&["--data-dir", text_of(directory.path())]);
    assert!(message.contains("another process uses this data"), "{message}");
    server.stop();
}

#[test]
fn journal_that_was_deleted_under_a_server_is_reported_at_its_stop() {
    let directory = temp_dir();
    let here = directory.path().join("data");
    let mut server = Server::durable(&here, &[]);
    assert_eq!(server.connect().say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    std::fs::remove_file(here.join("journal")).unwrap();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log_to_end();
    assert!(log.contains("journal was deleted"), "{log}");
}

/// Two servers use one directory after the lock file was deleted. The journal of the second one is
/// kept.
#[test]
fn server_stops_when_another_takes_its_directory() {
    let directory = temp_dir();
    let mut first = Server::durable(directory.path(), &[]);
    let mut client = first.connect();
    // The lock is checked in the turn of the first reply, which is over when the second arrives.
    (0..2).for_each(|_| assert_eq!(client.say("SOY ana"), "OK ana"));
    std::fs::remove_file(directory.path().join("lock")).unwrap();
    let second = Server::durable(directory.path(), &[]);
    let journal = std::fs::File::open(directory.path().join("journal")).unwrap();
    let inode = |file: std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(&file);
    churn_until(&mut first, &mut client, "another process has locked");
    assert_eq!(first.wait().code(), Some(1));
    let log = first.log_to_end();
    assert!(log.contains("lock was deleted, and another process has locked a new one"), "{log}");
    assert_eq!(
        inode(journal.metadata().unwrap()),
        inode(directory.path().join("journal").metadata().unwrap()),
        "the journal was replaced"
    );
    second.kill();
}

// ---------------------------------------------------------------------------------------------
// Space and descriptors.

/// A snapshot has taken the last space of a real file system.
#[test]
fn commit_takes_the_space_of_a_compaction_on_a_full_disk() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let Some(disk) = SmallDisk::new(4 << 20) else { return };
        let storage = DiskStorage::lock(disk.path().join("data")).unwrap();
        let (mut journal, _) = Journal::open(storage, policy, |_| Ok(())).unwrap();
        let line = "x".repeat(60_000);
        let commit = |journal: &mut Journal<_>| {
            journal.commit(journal.last_number() + 1, &line, [line.len()].into_iter())
        };
        commit(&mut journal).unwrap();
        journal.begin_snapshot().unwrap();
        for _ in 0..20 {
            journal.snapshot_append(&"y".repeat(60_000));
            journal.snapshot_flush(usize::MAX).unwrap();
        }
        // Another process fills the disk.
        let ballast = std::fs::write(disk.path().join("ballast"), vec![0; 4 << 20]);
        assert_eq!(ballast.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        for _ in 0..20 {
            commit(&mut journal).unwrap();
        }
        let notices = journal.take_notices();
        assert!(matches!(notices[..], [Notice::SnapshotAbandoned { .. }]), "{notices:?}");
        assert!(!journal.has_snapshot());
        assert!(!disk.path().join("data/journal.new").exists());
        let storage = DiskStorage::at(disk.path().join("data"));
        let report = reservad::journal::check(&storage, |_| Ok(())).unwrap();
        assert_eq!((report.last_number, report.bad), (21, None));
    }
}

/// Regression test: with 12 listeners and one descriptor left, the server stopped because it could
/// not open its directory to sync it.
#[test]
fn compaction_is_abandoned_without_a_descriptor() {
    const LIMIT: usize = 100;
    for free in [0, 1, 2] {
        let directory = temp_dir();
        let script = format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_reservad"), "--data-dir"]);
        shell.args([text_of(directory.path()), "--max-clients", "100", "--time-zone", "UTC"]);
        shell.args(["--listen", "127.0.0.1:0"].repeat(12));
        let mut server = Server::spawn(shell.stdin(Stdio::null()).stderr(Stdio::piped()));
        // Inherited descriptors may have higher numbers, which the limit does not count.
        let open = |server: &Server| {
            let entries = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.parse::<usize>().unwrap() < LIMIT).count()
        };
        let mut clients = Vec::new();
        while open(&server) < LIMIT - free {
            let mut client = server.connect();
            assert_eq!(client.say("SOY ana"), "OK ana");
            clients.push(client);
        }
        churn_until(&mut server, &mut clients[0], " the journal");
        let log = server.log_so_far();
        if free == 0 {
            let message = "gave up compacting the journal: cannot create";
            assert!(log.contains(message) && log.contains("Too many open files"), "{log}");
        } else {
            assert_eq!(compactions(&mut server), 1, "{log}");
        }
        assert!(clients[1].say("RESERVAR Habitación 1").starts_with("OK RESERVADO #"));
        drop(clients);
        server.stop();
        check_replay(directory.path());
    }
}

// ---------------------------------------------------------------------------------------------
// Missing journals.

#[test]
fn missing_journal_stops_the_start_unless_a_new_one_is_requested() {
    let directory = temp_dir();
    let (journal, data) = (directory.path().join("journal"), text_of(directory.path()));
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(server.connect().say("RESERVAR Habitación 2"), "OK RESERVADO #1 Habitación 2");
    let message = refused(&["--data-dir", data, "--new"]);
    assert!(message.contains("another process uses this data"), "{message}");
    server.stop();
    let message = refused(&["--data-dir", data, "--new"]);
    assert!(
        message.contains("journal exists, but --new requires a directory without a journal"),
        "{message}"
    );
    let backup = std::fs::read(&journal).unwrap();

    std::fs::write(&journal, "").unwrap();
    let emptied = refused(&["--data-dir", data]);
    std::fs::remove_file(&journal).unwrap();
    let deleted = refused(&["--data-dir", data]);
    for message in [emptied, deleted] {
        assert!(message.contains("journal is missing or empty"), "{message}");
        assert!(message.contains("--new") && message.contains("backup"), "{message}");
    }
    assert!(!journal.exists());

    // Into the same directory, and alone into another one.
    let other = temp_dir();
    for place in [directory.path(), other.path()] {
        std::fs::write(place.join("journal"), &backup).unwrap();
        let server = Server::durable(place, &[]);
        let rooms = server.connect().list("LISTAR");
        assert_eq!(rooms, ["Habitación 1", "Habitación 3"]);
        server.stop();
    }

    std::fs::remove_file(&journal).unwrap();
    let server = Server::durable(directory.path(), &["--new"]);
    assert_eq!(server.connect().list("LISTAR").len(), 3);
    server.stop();
    Server::durable(directory.path(), &[]).stop();
    assert_eq!(Path::new(&directory.path().join("journal.id")).metadata().unwrap().len(), 17);
}

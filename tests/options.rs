//! The options, signals and exit codes of the program `reservad`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::SockRef;
use support::{Client, Server, command, fill_journal, temp_dir, until, wait};

/// Runs a program to its end. Returns the exit code, stdout and stderr.
fn outcome(command: &mut Command) -> (i32, String, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let code = wait(&mut child).code().expect("it was not killed");
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (code, out, err)
}

/// Runs a start that fails. Returns the exit code and the last line of stderr.
fn failure(arguments: &[&str]) -> (i32, String) {
    let mut all = vec!["--listen", "127.0.0.1:0"];
    if !arguments.contains(&"--listen") {
        all.extend(arguments);
    } else {
        all = arguments.to_vec();
    }
    let (code, out, err) = outcome(&mut command(&all));
    assert_eq!(out, "", "stdout contains requested output only");
    (code, err.trim_end().lines().last().unwrap_or_default().to_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns the value of `key` in the reply to `ESTADO`.
fn figure(client: &mut Client, key: &str) -> String {
    let lines = client.list("ESTADO");
    let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{key}=")));
    line.unwrap_or_else(|| panic!("no {key} in {lines:?}")).to_owned()
}

fn code_of(reply: &str) -> &str {
    reply.split(' ').take(2).last().unwrap()
}

#[test]
fn help_and_version() {
    let (code, out, err) = outcome(&mut command(&["--help"]));
    assert_eq!((code, err.as_str()), (0, ""));
    for option in [
        "--listen <ADDR>",
        "--data-dir <DIR>",
        "--in-memory",
        "--inventory <FILE>",
        "--fsync <WHEN>",
        "--max-clients <N>",
        "--max-resources <N>",
        "--max-reservations <N>",
        "--idle-timeout <DURATION>",
        "--stall-timeout <DURATION>",
        "--time-zone <ZONE>",
        "--log-level <LEVEL>",
        "--allow-anonymous",
        "check",
        "backup",
        "127.0.0.1:12345",
        "$STATE_DIRECTORY",
        "SIGHUP",
        "Exit status: 0",
    ] {
        assert!(out.contains(option), "{option} is not in --help:\n{out}");
    }
    let (code, out, _) = outcome(&mut command(&["--version"]));
    assert_eq!((code, out), (0, format!("reservad {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_usage_exits_with_2() {
    let cases: &[(&[&str], &str)] = &[
        (&["--bogus"], "--bogus"),
        (&["surplus"], "surplus"),
        (&["--listen", "nonsense"], "HOST:PORT"),
        (&["--listen", "127.0.0.1"], "HOST:PORT"),
        (&["--listen", "127.0.0.1:65536"], "HOST:PORT"),
        (&["--time-zone", "Nowhere/City"], "Nowhere/City"),
        (&["--fsync", "sometimes"], "always, never or a duration"),
        (&["--fsync", "5"], "the unit is missing"),
        (&["--idle-timeout", "0s"], "must be longer than zero"),
        (&["--stall-timeout", "5"], "the unit is missing"),
        (&["--max-clients", "0"], "--max-clients"),
        (&["--max-clients", "many"], "many"),
        (&["--max-resources", "-1"], "-1"),
        (&["--max-reservations", "x"], "--max-reservations"),
        (&["--log-level", "loud"], "expected off, error, warn, info or debug"),
        (&["check", "x"], "reservad check [--data-dir DIR]"),
        (&["--in-memory", "--data-dir", "x"], "--data-dir"),
        (&["check", "--in-memory"], "--in-memory"),
        (&["backup"], "--to <DIR>"),
        (&["backup", "--to"], "--to <DIR>"),
    ];
    for (arguments, said) in cases {
        let (code, out, err) = outcome(&mut command(arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
}

#[test]
fn listens_on_every_address_and_logs_the_real_port() {
    let has_six = TcpListener::bind("[::1]:0").is_ok();
    if !has_six {
        println!("without IPv6: this host has no ::1");
    }
    let six = if has_six { "[::1]:0" } else { "127.0.0.2:0" };
    let server = Server::in_memory(&["--listen", "127.0.0.1:0", "--listen", six]);
    assert_eq!(server.addresses.len(), 2);
    assert_eq!(server.addresses[1].is_ipv6(), has_six);
    for address in &server.addresses {
        assert!(address.ip().is_loopback());
        assert_ne!(address.port(), 0);
        assert_eq!(Client::to(*address).say("SOY ana"), "OK ana");
    }
    // Both have the same rooms.
    let mut first = Client::to(server.addresses[0]);
    let mut second = Client::to(server.addresses[1]);
    assert_eq!(first.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    assert_eq!(code_of(&second.say("RESERVAR Habitación 1")), "409");
    server.stop();
}

#[test]
fn other_addresses_than_loopback_need_allow_anonymous() {
    for open in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0", "192.0.2.1:0"] {
        let (code, reason) = failure(&["--in-memory", "--listen", "127.0.0.1:0", "--listen", open]);
        assert_eq!(code, 2, "{reason}");
        assert!(reason.starts_with(&format!("reservad: {open} ")), "{reason}");
        assert!(reason.contains("--allow-anonymous") && reason.contains("127.0.0.1"), "{reason}");
    }
    let server = Server::in_memory(&["--listen", "0.0.0.0:0", "--allow-anonymous"]);
    let mut client = Client::to(([127, 0, 0, 1], server.address.port()).into());
    assert_eq!(client.say("SOY ana"), "OK ana");
}

/// Returns a server with only these environment variables.
fn with_variables(variables: &[(&str, &Path)]) -> Command {
    let mut command = command(&["--listen", "127.0.0.1:0", "--time-zone", "UTC"]);
    for name in ["STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command
}

#[test]
fn data_directory_comes_from_the_option_or_the_environment() {
    let directory = temp_dir();
    let (state, xdg, home) = (
        directory.path().join("state"),
        directory.path().join("xdg"),
        directory.path().join("home"),
    );
    let two = std::env::join_paths([&state, &xdg]).unwrap();
    let all = [("STATE_DIRECTORY", &*state), ("XDG_STATE_HOME", &*xdg), ("HOME", &*home)];
    let cases: &[(&[(&str, &Path)], &Path)] = &[
        (&all, &state),
        (&all[1..], &xdg.join("reservad")),
        (&all[2..], &home.join(".local/state/reservad")),
        (&[("STATE_DIRECTORY", Path::new(&two))], &state),
        (&[("STATE_DIRECTORY", Path::new("")), all[1]], &xdg.join("reservad")),
        // The specification says that a relative path must be ignored.
        (&[("XDG_STATE_HOME", Path::new("relative")), all[2]], &home.join(".local/state/reservad")),
    ];
    for (variables, want) in cases {
        let mut server = Server::spawn(&mut with_variables(variables));
        assert!(server.log_so_far().contains(&format!("data in {}\n", want.display())));
        assert!(want.join("journal").is_file(), "{variables:?}");
        server.stop();
        let (code, out, _) = outcome(command(&["check"]).envs(variables.iter().copied()));
        assert_eq!(code, 0);
        assert!(out.starts_with(text(&want.join("journal"))), "{out}");
        std::fs::remove_dir_all(want).unwrap();
    }
    let (code, _, err) = outcome(&mut with_variables(&[]));
    assert_eq!(code, 2);
    assert!(err.contains("--data-dir") && err.contains("--in-memory"), "{err}");
}

#[test]
fn in_memory_writes_no_files() {
    let directory = temp_dir();
    for _ in 0..2 {
        let mut command = command(&["--in-memory", "--listen", "127.0.0.1:0"]);
        command.env("HOME", directory.path()).env_remove("STATE_DIRECTORY");
        let server = Server::spawn(command.env_remove("XDG_STATE_HOME"));
        let mut client = server.connect();
        assert_eq!(client.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
        assert_eq!(figure(&mut client, "fsync"), "in-memory");
        server.stop();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn start_logs_addresses_and_counts() {
    let directory = temp_dir();
    let mut server = Server::durable(directory.path(), &[]);
    let log = server.log_so_far();
    assert!(log.contains(&format!("listening on {}\n", server.address)), "{log}");
    assert!(log.contains("3 resources, 0 live reservations"), "{log}");
    server.connect().say("RESERVAR Habitación 1, Habitación 2");
    server.stop();
    let mut server = Server::durable(directory.path(), &["--max-clients", "7"]);
    let log = server.log_so_far();
    assert!(log.contains("3 resources, 1 live reservations, room for 7 clients"), "{log}");
}

/// A line of the log once went to a full pipe, and the loop waited forever, even after SIGTERM.
#[test]
fn full_pipe_at_stderr_does_not_stop_the_server() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = port.to_string();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    let mut server = command(&["--in-memory", "--log-level", "debug", "--listen", &listen]);
    let mut server = server.stderr(writer).spawn().unwrap();
    until("it listens", || TcpStream::connect(port).is_ok());
    // Each of these logs a line at `debug`.
    for _ in 0..50 {
        let mut client = Client::to(port);
        assert_eq!(client.say("SOY ana"), "OK ana");
        client.send("AYUDA\n".repeat(100));
    }
    assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
    assert!(wait(&mut server).success());
    drop(reader);
}

/// Returns an address of this host that is not loopback, if it has one. Sends nothing.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.77:9").ok()?;
    Some(socket.local_addr().unwrap().ip()).filter(|address| !address.is_loopback())
}

#[test]
fn bound_per_address_applies_to_other_addresses_but_not_to_loopback() {
    let limits = ["--max-per-address", "3", "--allow-anonymous"];
    let Some(address) = own_address() else {
        return println!("not tried: this host has no address but loopback");
    };
    let (own, loopback) = (format!("{address}:0"), "127.0.0.1:0");
    let server =
        Server::in_memory(&[&limits[..], &["--listen", &own, "--listen", loopback]].concat());
    let connect = |at: usize| Client::to(server.addresses[at]);
    let speaking = |at: usize| {
        let mut client = connect(at);
        assert_eq!(client.say("SOY ana"), "OK ana");
        client
    };
    let mut from_there: Vec<_> = (0..3).map(|_| speaking(0)).collect();
    let reply = connect(0).rest();
    assert!(
        reply.starts_with("ERR 503 ") && reply.ends_with("from your address, close some\n"),
        "{reply}"
    );
    let from_here: Vec<_> = (0..10).map(|_| speaking(1)).collect();
    // A closed connection makes room.
    drop(from_there.pop());
    until("a place is free again", || {
        let mut client = connect(0);
        client.try_send("SOY eva\n") && client.try_line().is_some_and(|line| line == "OK eva")
    });
    assert_eq!(from_here.len(), 10);
    server.stop();
}

/// Starts a server with a limit of open files and a number of listeners.
fn under_a_limit(files: usize, listeners: usize, directory: &Path) -> Command {
    let mut command = Command::new("sh");
    let limit = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    command.args(["-c", &limit, env!("CARGO_BIN_EXE_reservad")]);
    command.args(["--data-dir", text(directory), "--time-zone", "UTC"]);
    for _ in 0..listeners {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The reserve once ignored the listeners. With 12 of them, clients took the descriptors that the
/// compaction needs, and it stopped the server.
#[test]
fn a_compaction_has_descriptors_with_many_listeners_and_all_places_taken() {
    let directory = temp_dir();
    let mut server = Server::spawn(&mut under_a_limit(100, 12, directory.path()));
    assert!(server.log_so_far().contains("room for 46 clients"), "{}", server.log_so_far());
    let mut crowd: Vec<_> = (0..45)
        .map(|_| {
            let mut client = server.connect();
            assert_eq!(client.say("SOY ana"), "OK ana");
            client
        })
        .collect();
    fill_journal(&mut server);
    assert_eq!(crowd[0].say("SOY eva"), "OK eva");
    server.stop();
}

#[test]
fn too_few_descriptors_for_the_listeners_are_an_error_of_the_start() {
    let directory = temp_dir();
    let done = under_a_limit(54, 12, directory.path()).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("54 open files") && said.contains("55 are needed"), "{said}");
    let server = Server::spawn(&mut under_a_limit(55, 12, directory.path()));
    assert_eq!(server.connect().say("SOY ana"), "OK ana");
    server.stop();
}

#[test]
fn sample_rooms_are_added_to_an_empty_directory_only() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    assert_eq!(client.list("LISTAR"), ["Habitación 1", "Habitación 2", "Habitación 3"]);
    assert_eq!(client.say("BAJA Habitación 1, Habitación 2, Habitación 3"), "OK BAJA 3");
    server.stop();
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(server.connect().say("LISTAR"), "OK 0 DISPONIBLES");
    server.stop();
    // An inventory file replaces them.
    let directory = temp_dir();
    std::fs::write(directory.path().join("rooms"), "Sala\n").unwrap();
    let data = directory.path().join("data");
    let file = directory.path().join("rooms");
    let server = Server::durable(&data, &["--inventory", text(&file)]);
    assert_eq!(server.connect().list("LISTAR"), ["Sala"]);
    server.stop();
    let server = Server::durable(&data, &[]);
    assert_eq!(server.connect().list("LISTAR"), ["Sala"]);
}

#[test]
fn failed_start_leaves_no_sample_rooms() {
    let directory = temp_dir();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().join("data");
    assert_eq!(failure(&["--data-dir", text(&data), "--listen", &address]).0, 1);
    std::fs::write(directory.path().join("rooms"), "Sala\n").unwrap();
    let file = directory.path().join("rooms");
    let server = Server::durable(&data, &["--inventory", text(&file)]);
    assert_eq!(server.connect().list("LISTAR"), ["Sala"]);
}

#[test]
fn inventory_file_adds_missing_resources() {
    let directory = temp_dir();
    let file = directory.path().join("rooms");
    let content =
        "\u{FEFF}# the rooms\r\n\r\nHabitación 1\r\n  Sala   de\treuniones \r\n   \n#x\n\nGrúa/7";
    std::fs::write(&file, content).unwrap();
    let data = directory.path().join("data");
    let server = Server::durable(&data, &["--inventory", text(&file)]);
    let want = ["Habitación 1", "Sala de reuniones", "Grúa/7"];
    assert_eq!(server.connect().list("LISTAR"), want);
    assert_eq!(server.connect().say("RESERVAR Grúa/7"), "OK RESERVADO #1 Grúa/7");
    server.stop();
    // It adds missing names, compares them folded, and removes nothing.
    std::fs::write(&file, "HABITACION 1\nNueva\n").unwrap();
    let server = Server::durable(&data, &["--inventory", text(&file)]);
    let want = ["Habitación 1", "Sala de reuniones", "Nueva"];
    assert_eq!(server.connect().list("LISTAR"), want);
    assert_eq!(figure(&mut server.connect(), "resources"), "4");
    server.stop();
}

#[test]
fn invalid_inventory_file_is_refused_with_file_line_and_reason() {
    let directory = temp_dir();
    let file = directory.path().join("rooms");
    let long = format!("Sala\n{}\n", "x".repeat(129));
    let cases: &[(&[u8], usize, &str)] = &[
        (b"Sala 1\nSala, 2\n", 2, ","),
        (b"# one\n\nSala=2\n", 3, "="),
        (b"Sala *\n", 1, "*"),
        (b"Sala\nx\xff\n", 2, "UTF-8"),
        (long.as_bytes(), 2, "128"),
        ("Habitación 1\nSala\nHABITACION 1\n".as_bytes(), 3, "line 1"),
        ("Sala\u{200B}\n".as_bytes(), 1, "U+200B"),
    ];
    for (content, line, said) in cases {
        std::fs::write(&file, content).unwrap();
        let (code, reason) = failure(&["--in-memory", "--inventory", text(&file)]);
        assert_eq!(code, 1, "{reason}");
        let place = format!("reservad: {}, line {line}: ", file.display());
        assert!(reason.starts_with(&place) && reason.contains(said), "{reason}");
    }
    let missing = directory.path().join("missing");
    let (code, reason) = failure(&["--in-memory", "--inventory", text(&missing)]);
    assert_eq!(code, 1);
    let start = format!("reservad: cannot read the file of --inventory: {}", missing.display());
    assert!(reason.starts_with(&start), "{reason}");
}

#[test]
fn sighup_reloads_the_inventory_file() {
    let directory = temp_dir();
    let file = directory.path().join("rooms");
    std::fs::write(&file, "Sala 1\n").unwrap();
    let data = directory.path().join("data");
    let mut server = Server::durable(&data, &["--inventory", text(&file)]);
    let mut client = server.connect();
    assert_eq!(client.say("RESERVAR Sala 1"), "OK RESERVADO #1 Sala 1");
    std::fs::write(&file, "Sala 2\nsala 1\nSala 3\n").unwrap();
    server.signal("HUP");
    server.wait_log("SIGHUP: added 2 resources");
    assert_eq!(client.list("LISTAR"), ["Sala 2", "Sala 3"]);
    for (bad, said) in [("Sala 4\nSala, 5\n", "line 2"), ("Sala 4\n\u{7}\n", "line 2")] {
        std::fs::write(&file, bad).unwrap();
        server.signal("HUP");
        let log = server.wait_log("nothing was added from the file");
        assert!(log.contains(text(&file)) && log.contains(said), "{log}");
        assert_eq!(client.list("LISTAR"), ["Sala 2", "Sala 3"]);
    }
    std::fs::remove_file(&file).unwrap();
    server.signal("HUP");
    server.wait_log("nothing was added from the file");
    assert_eq!(client.say("VERIFICAR #1"), "OK VIGENTE #1 Sala 1 quedan=-");
    server.stop();
    let server = Server::durable(&data, &[]);
    assert_eq!(
        server.connect().list("LISTAR"),
        ["Sala 2", "Sala 3"],
        "the event is in the journal"
    );
}

#[test]
fn sighup_without_an_inventory_changes_nothing() {
    let mut server = Server::in_memory(&[]);
    server.signal("HUP");
    server.wait_log("no --inventory file");
    assert_eq!(server.connect().list("LISTAR").len(), 3);
    server.stop();
}

#[test]
fn second_server_on_a_data_directory_is_refused() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let (code, reason) = failure(&["--data-dir", text(directory.path())]);
    assert_eq!(code, 1);
    assert!(reason.contains("another process uses this data directory"), "{reason}");
    assert!(reason.contains(text(directory.path())), "{reason}");
    assert_eq!(server.connect().say("SOY ana"), "OK ana");
    server.kill();
    Server::durable(directory.path(), &[]).stop();
}

#[test]
fn port_in_use_is_an_error() {
    let server = Server::in_memory(&[]);
    let address = server.address.to_string();
    let arguments = ["--in-memory", "--listen", &address, "--log-level", "error"];
    let (code, _, err) = outcome(&mut command(&arguments));
    assert_eq!(code, 1);
    assert_eq!(err.lines().count(), 1, "one clear line: {err}");
    assert!(err.starts_with(&format!("reservad: cannot listen on {address}: ")), "{err}");
    assert!(err.contains("--listen"), "it says what to do: {err}");
    assert_eq!(server.connect().say("SOY ana"), "OK ana");
}

#[test]
fn unusable_data_directory_is_an_error() {
    let directory = temp_dir();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let under = directory.path().join("file").join("data");
    let arguments = ["--data-dir", text(&under), "--log-level", "error"];
    let (code, reason) = failure(&arguments);
    assert_eq!(code, 1);
    assert!(reason.starts_with("reservad: cannot ") && reason.contains(text(&under)), "{reason}");
    if rustix::process::geteuid().is_root() {
        println!("not tried: to root every directory is writable");
        return;
    }
    let closed = directory.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o500);
    std::fs::set_permissions(&closed, mode).unwrap();
    let (code, reason) = failure(&["--data-dir", text(&closed)]);
    assert_eq!(code, 1);
    assert!(reason.contains(text(&closed)), "{reason}");
}

#[test]
fn damaged_journal_stops_the_start() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    for n in 1..=20 {
        assert_eq!(code_of(&client.say("RESERVAR Habitación 1")), "RESERVADO");
        assert_eq!(code_of(&client.say(&format!("CANCELAR #{n}"))), "CANCELADO");
    }
    server.stop();
    let journal = directory.path().join("journal");
    let data = text(directory.path());
    let (code, out, err) = outcome(&mut command(&["check", "--data-dir", data]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with(&format!("{}: good up to byte ", journal.display())), "{out}");
    assert!(out.contains("events 1 to 43; 3 resources, 0 live reservations; journal="), "{out}");
    assert!(out.ends_with("\nsealed at event 43: complete\n"), "{out}");

    let good = std::fs::read(&journal).unwrap();
    let place = good.windows(13).position(|bytes| bytes == b" RESERVED #3 ").unwrap();
    let line = good[..place].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let number = good[..line].iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut bad = good.clone();
    bad[place + 1] = b'X';
    std::fs::write(&journal, &bad).unwrap();
    for arguments in [&["check", "--data-dir", data][..], &["--data-dir", data]] {
        let (code, _, err) = outcome(&mut command(arguments));
        assert_eq!(code, 1, "{err}");
        let reason = err.lines().last().unwrap();
        let start = format!("reservad: {}: byte {line}, line {number}: ", journal.display());
        assert!(reason.starts_with(&start), "{reason} does not begin with {start}");
        assert!(reason.contains("nothing was changed"), "{reason}");
        assert!(reason.contains("restore a good copy"), "{reason}");
        assert!(std::fs::read(&journal).unwrap() == bad);
    }
    // A tail that a crash has torn is cut and reported.
    let end = good.windows(6).rposition(|bytes| bytes == b"\tseal ").unwrap() - 8;
    std::fs::write(&journal, &good[..end - 5]).unwrap();
    let (code, out, _) = outcome(&mut command(&["check", "--data-dir", data]));
    assert_eq!(code, 3);
    assert!(out.contains("a torn tail from byte "), "{out}");
    assert!(out.contains("\nends without a seal: events after 42 may be missing"), "{out}");
    let mut server = Server::durable(directory.path(), &[]);
    assert!(server.log_so_far().contains("a torn tail was cut at byte "));
    // The cancellation is lost with it.
    assert_eq!(code_of(&server.connect().say("RESERVAR Habitación 1")), "409");
    server.stop();
}

#[test]
fn check_reports_a_missing_journal() {
    let directory = temp_dir();
    let (code, out, err) = outcome(&mut command(&["check", "--data-dir", text(directory.path())]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("there is no journal; name the server's directory with --data-dir"),
        "{err}"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "and changes nothing");
}

#[test]
fn killed_server_loses_nothing_with_any_fsync_policy() {
    for (when, shown) in [("always", "always"), ("never", "never"), ("1s", "1s"), ("2h", "7200s")] {
        let directory = temp_dir();
        let server = Server::durable(directory.path(), &["--fsync", when]);
        let mut client = server.connect();
        assert_eq!(figure(&mut client, "fsync"), shown);
        assert_eq!(client.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
        server.kill();
        let server = Server::durable(directory.path(), &["--fsync", when]);
        let mut client = server.connect();
        assert_eq!(client.say("VERIFICAR #1"), "OK VIGENTE #1 Habitación 1 quedan=-");
        assert_eq!(client.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
        server.stop();
    }
}

#[test]
fn max_resources_is_enforced() {
    let server = Server::in_memory(&["--max-resources", "5"]);
    let mut client = server.connect();
    assert_eq!(code_of(&client.say("ALTA Sala 1..3")), "503");
    assert_eq!(client.list("LISTAR").len(), 3, "some resources of an ALTA");
    assert_eq!(client.say("ALTA Sala 1..2"), "OK ALTA 2");
    let refused = client.say("ALTA Sala 3");
    assert!(code_of(&refused) == "503" && refused.contains("--max-resources"), "{refused}");
    assert_eq!(client.say("BAJA Sala 1"), "OK BAJA 1");
    assert_eq!(client.say("ALTA Sala 3"), "OK ALTA 1");
    let (code, reason) = failure(&["--in-memory", "--max-resources", "2"]);
    assert_eq!(code, 1);
    assert!(reason.contains("--max-resources") && !reason.contains("TooMany"), "{reason}");
}

#[test]
fn max_reservations_is_enforced() {
    let server = Server::in_memory(&["--max-reservations", "2"]);
    let mut client = server.connect();
    assert_eq!(code_of(&client.say("RESERVAR Habitación 1")), "RESERVADO");
    assert_eq!(code_of(&client.say("RESERVAR Habitación 2 por=1s")), "RESERVADO");
    let refused = client.say("RESERVAR Habitación 3");
    assert!(code_of(&refused) == "503" && refused.contains("--max-reservations"), "{refused}");
    assert_eq!(client.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
    assert_eq!(client.say("RESERVAR Habitación 3"), "OK RESERVADO #3 Habitación 3");
    // Also after one has ended by itself.
    until("there is room", || code_of(&client.say("RESERVAR Habitación 1")) == "RESERVADO");
}

#[test]
fn idle_clients_are_closed_unless_they_hold_something() {
    let server = Server::in_memory(&["--idle-timeout", "1s"]);
    let mut silent = server.connect();
    let mut spoke = server.connect();
    assert_eq!(spoke.say("SOY ana"), "OK ana");
    let mut holds = server.connect();
    assert_eq!(code_of(&holds.say("RESERVAR Habitación 1 hasta=salir")), "RESERVADO");
    let mut held = server.connect();
    assert_eq!(code_of(&held.say("RESERVAR Habitación 2 hasta=salir")), "RESERVADO");
    assert!(silent.is_closed());
    assert!(spoke.is_closed());
    // The clients that hold something stay connected for longer than the timeout.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(holds.say("SOY ana"), "OK ana");
    assert_eq!(held.say("CANCELAR Habitación 2"), "OK CANCELADO #2 Habitación 2");
    assert!(held.is_closed(), "the reservation has ended");
    assert_eq!(holds.list("LISTAR"), ["Habitación 2", "Habitación 3"]);
}

#[test]
fn time_zone_applies_to_replies_and_requests() {
    let server = Server::in_memory(&["--time-zone", "America/Montevideo"]);
    let mut client = server.connect();
    assert_eq!(
        client.say("RESERVAR Habitación 1 desde=2099-01-02T15:00 hasta=2099-01-03T13:00Z"),
        "OK RESERVADO #1 Habitación 1 desde=2099-01-02T15:00:00-03:00 hasta=2099-01-03T10:00:00-03:00"
    );
    assert_eq!(figure(&mut client, "zone"), "America/Montevideo");
}

/// Regression test: an unknown zone in TZ was silently treated as UTC.
#[test]
fn unknown_zone_in_tz_stops_the_start() {
    let with_tz = |tz: &str| {
        let mut server = command(&["--in-memory", "--listen", "127.0.0.1:0"]);
        server.env("TZ", tz).stdin(Stdio::null()).stderr(Stdio::piped());
        server
    };
    for tz in ["Amrica/Montevideo", "/nowhere/zone", "/dev/null", "3", "Europe/Madrid x"] {
        let (code, _, err) = outcome(&mut with_tz(tz));
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(tz) && err.contains("America/Montevideo"), "{err}");
    }
    let cases = [
        ("America/Montevideo", "America/Montevideo"),
        (":America/Montevideo", "America/Montevideo"),
        ("/usr/share/zoneinfo/America/Montevideo", "America/Montevideo"),
        ("", "UTC"),
        ("UTC", "UTC"),
    ];
    for (tz, name) in cases {
        let server = Server::spawn(&mut with_tz(tz));
        assert_eq!(figure(&mut server.connect(), "zone"), name, "{tz}");
    }
    let server = Server::spawn(&mut with_tz("EST5EDT,M3.2.0,M11.1.0"));
    let reply =
        server.connect().say("RESERVAR Habitación 1 desde=2090-07-01T12:00 hasta=2090-07-02");
    assert!(reply.contains("desde=2090-07-01T12:00:00-04:00"), "{reply}");
}

#[test]
fn log_levels_filter_lines() {
    let mut server = Server::in_memory(&["--log-level", "debug"]);
    let mut client = server.connect();
    SockRef::from(&*client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    server.wait_log("lost connection");
    server.stop();
    let server = Server::in_memory(&[]);
    let address = server.address.to_string();
    let silent = ["--in-memory", "--log-level", "off", "--listen", &address];
    let (_, _, err) = outcome(&mut command(&silent));
    assert_eq!(err.lines().count(), 1, "the reason is said all the same: {err}");
}

#[test]
fn sigterm_and_sigint_answer_received_lines() {
    for signal in ["TERM", "INT"] {
        let directory = temp_dir();
        let mut server = Server::durable(directory.path(), &[]);
        let mut quiet = server.connect();
        assert_eq!(quiet.say("SOY eva"), "OK eva");
        let mut half = server.connect();
        half.send("LISTAR sin termin");
        let mut busy = server.connect();
        assert_eq!(busy.say("SOY ana"), "OK ana");
        let lines = 2000;
        let mut waiting = server.while_stopped(|| {
            busy.send("RESERVAR Habitación 1\nCANCELAR Habitación 1\n".repeat(lines));
            // In the backlog and not accepted yet.
            let mut waiting = server.connect();
            waiting.send("RESERVAR Habitación 2\n");
            server.signal(signal);
            waiting
        });
        for n in 1..=lines {
            assert_eq!(code_of(&busy.line()), "RESERVADO", "{n}");
            assert_eq!(code_of(&busy.line()), "CANCELADO", "{n}");
        }
        assert_eq!(code_of(&waiting.line()), "RESERVADO");
        for client in [&mut busy, &mut waiting, &mut quiet, &mut half] {
            assert!(client.is_closed());
        }
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{}", server.log_so_far());
        server.wait_log("stopped");
        let server = Server::durable(directory.path(), &[]);
        assert_eq!(server.connect().list("LISTAR"), ["Habitación 1", "Habitación 3"]);
    }
}

#[test]
fn stop_ends_bound_reservations() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    assert_eq!(code_of(&client.say("RESERVAR Habitación 1 hasta=salir")), "RESERVADO");
    server.stop();
    assert!(client.is_closed());
    let (_, out, _) = outcome(&mut command(&["check", "--data-dir", text(directory.path())]));
    assert!(out.contains(" 0 live reservations"), "{out}");
}

#[test]
fn second_sigterm_exits_at_once() {
    let directory = temp_dir();
    let names: Vec<_> = (0..20_000).map(|n| format!("{n} {}", "x".repeat(100))).collect();
    std::fs::write(directory.path().join("rooms"), names.join("\n")).unwrap();
    let file = directory.path().join("rooms");
    let mut server = Server::in_memory(&["--inventory", text(&file)]);
    // A client with much unread output delays the first signal.
    let mut client = server.connect();
    client.send("LISTAR\n".repeat(50));
    assert_eq!(client.line(), "OK 20000 DISPONIBLES");
    server.signal("TERM");
    server.wait_log("stopping");
    server.signal("TERM");
    let status = server.wait();
    assert_eq!(status.code(), Some(1), "after its grace period it would exit with 0");
}

#[test]
fn client_that_reads_nothing_delays_a_stop_only_briefly() {
    let directory = temp_dir();
    let names: Vec<_> = (0..20_000).map(|n| format!("{n} {}", "x".repeat(100))).collect();
    std::fs::write(directory.path().join("rooms"), names.join("\n")).unwrap();
    let file = directory.path().join("rooms");
    let server = Server::in_memory(&["--inventory", text(&file)]);
    let mut client = server.connect();
    client.send("LISTAR\n".repeat(50));
    assert_eq!(client.line(), "OK 20000 DISPONIBLES");
    server.stop();
}

#[test]
fn closed_stderr_and_sigpipe_do_not_kill_the_server() {
    let mut command = command(&["--in-memory", "--listen", "127.0.0.1:0", "--log-level", "debug"]);
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0);
        if let Some((_, address)) = line.split_once("listening on ") {
            break address.trim_end().parse().unwrap();
        }
    };
    drop(log);
    // All of this is logged.
    for _ in 0..3 {
        let mut foreign = Client::to(address);
        foreign.send("GET / HTTP/1.1\r\n\r\n");
        assert!(foreign.is_closed());
        let mut gone = Client::to(address);
        SockRef::from(&*gone.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let kill = |name: &str| {
        let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
        assert!(status.unwrap().success());
    };
    kill("HUP");
    kill("PIPE");
    // A client that disconnects while the server writes to it.
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all("AYUDA\n".repeat(1000).as_bytes()).unwrap();
    drop(client);
    assert_eq!(Client::to(address).say("SOY ana"), "OK ana");
    kill("TERM");
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn restart_on_the_same_port_at_once() {
    let directory = temp_dir();
    let mut server = Server::durable(directory.path(), &[]);
    let address = server.address.to_string();
    for round in 0..6 {
        // The server closes first, so that its sockets linger.
        let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.say("SOY ana"), "OK ana");
        }
        assert_eq!(clients[0].say("SALIR"), "OK ADIÓS");
        if round % 2 == 0 {
            server.stop()
        } else {
            server.kill()
        }
        server = Server::durable(directory.path(), &["--listen", &address]);
        assert_eq!(server.address.to_string(), address);
        assert!(clients[1].is_closed());
        assert_eq!(server.connect().say("SOY eva"), "OK eva");
    }
}

#[test]
fn both_wildcard_addresses_on_one_port() {
    // The port of a closed listener is free again, for both families.
    let port = Server::in_memory(&[]).address.port();
    let (v4, v6) = (format!("0.0.0.0:{port}"), format!("[::]:{port}"));
    let server = Server::in_memory(&["--allow-anonymous", "--listen", &v4, "--listen", &v6]);
    for address in ["127.0.0.1", "::1"] {
        let address = std::net::SocketAddr::new(address.parse().unwrap(), port);
        assert_eq!(Client::to(address).say("SOY ana"), "OK ana");
    }
    server.stop();
}

//! Attacks that docs/security.md describes: by a client on other clients, the log and the disk, by
//! another user of the host on the data directory, and by a server on the client `reserva`.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::terminal::Terminal;
use support::{Client, Server, command, fill_journal, temp_dir, wait};

/// The maximal latency of other clients.
const FAIR: Duration = Duration::from_secs(2);

/// Returns the maximal latency of a client that sends requests while `work` runs.
fn longest_wait(server: &Server, work: impl FnOnce() + Send) -> Duration {
    let mut longest = Duration::ZERO;
    let mut other = server.connect();
    std::thread::scope(|scope| {
        let busy = scope.spawn(work);
        while !busy.is_finished() {
            let sent = Instant::now();
            assert_eq!(other.say("SOY otro"), "OK otro");
            longest = longest.max(sent.elapsed());
        }
    });
    longest
}

/// Regression test: the matching of a pattern took a step for each pair of characters. One `LISTAR`
/// with 20,000 names that nearly match delayed all clients for seconds.
#[test]
fn costly_patterns_do_not_delay_other_clients() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let name = "a".repeat(120);
    for from in ["00000..09999", "10000..19999"] {
        assert_eq!(client.say(&format!("ALTA {name}{from}")), "OK ALTA 10000");
    }
    let line = format!("LISTAR *{}b*\n", "a".repeat(60));
    let longest = longest_wait(&server, || {
        client.send(line.repeat(16));
        (0..16).for_each(|_| assert_eq!(client.line(), "OK 0 DISPONIBLES"));
    });
    println!("longest wait: {longest:?}");
    assert!(longest < FAIR, "{longest:?}");
}

/// Regression test: a watcher whose pattern matched nothing was taken through the whole history in
/// one turn, which delayed all clients.
#[test]
fn watchers_without_matches_do_not_delay_other_clients() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let names: Vec<_> = (0..30).map(|n| format!("{}{n:02}", "a".repeat(118))).collect();
    for name in &names {
        assert_eq!(client.say(&format!("ALTA {name}")), "OK ALTA 1");
    }
    let all = names.join(", ");
    for number in 1..=200 {
        let got = client.say(&format!("RESERVAR {all}"));
        assert!(got.starts_with("OK RESERVADO"), "{got}");
        client.say(&format!("CANCELAR #{number}"));
    }
    let mut watchers: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let line = format!("OBSERVAR *{}b tras=0\n", "a".repeat(60));
    let longest = longest_wait(&server, || {
        watchers.iter_mut().for_each(|watcher| watcher.send(&line));
        watchers.iter_mut().for_each(|it| assert_eq!(it.line(), "OK OBSERVANDO tras=0"));
    });
    println!("longest wait: {longest:?}");
    assert!(longest < FAIR, "{longest:?}");
    // The watchers still receive later notices.
    assert_eq!(client.say(&format!("ALTA {}b", "a".repeat(60))), "OK ALTA 1");
    for watcher in &mut watchers {
        let notice = watcher.line();
        assert!(notice.ends_with("ab"), "{notice}");
    }
}

/// Regression test: symbolic links in a directory that others may write were followed. The next
/// compaction overwrote the target of `journal.new`.
#[test]
fn links_in_the_data_directory_are_not_followed() {
    let directory = temp_dir();
    let victim = temp_dir();
    let precious = victim.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    let mut server = Server::durable(directory.path(), &[]);
    symlink(&precious, directory.path().join("journal.new")).unwrap();
    fill_journal(&mut server);
    server.stop();
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");

    // An empty journal is replaced, and the target of the link is not.
    let empty = victim.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    std::fs::remove_file(directory.path().join("journal")).unwrap();
    symlink(&empty, directory.path().join("journal")).unwrap();
    Server::durable(directory.path(), &["--new"]).stop();
    assert_eq!(std::fs::read(&empty).unwrap(), b"");

    // The lock file is not created at the target of the link.
    let nowhere = victim.path().join("nowhere");
    std::fs::remove_file(directory.path().join("lock")).unwrap();
    symlink(&nowhere, directory.path().join("lock")).unwrap();
    let error = fails(&["--data-dir", text(directory.path())]);
    assert!(error.contains("it is a symbolic link, and must be a regular file"), "{error}");
    assert!(!nowhere.exists());
}

/// Regression test: a named pipe in place of a file blocked the start, `check`, and on SIGHUP the
/// running server.
#[test]
fn pipe_in_place_of_a_file_does_not_block() {
    let reason = "it is a pipe, and must be a regular file";
    for name in ["journal", "journal.id", "journal.new", "lock"] {
        let directory = temp_dir();
        make_pipe(&directory.path().join(name));
        let error = fails(&["--data-dir", text(directory.path())]);
        assert!(error.contains(reason), "{name}: {error}");
        let error = fails(&["check", "--data-dir", text(directory.path())]);
        assert!(error.contains(reason) || name != "journal", "{error}");
    }
    let directory = temp_dir();
    for data in [directory.path().join("pipe"), directory.path().join("file")] {
        match data.ends_with("pipe") {
            true => make_pipe(&data),
            false => std::fs::write(&data, "").unwrap(),
        }
        let error = fails(&["--data-dir", text(&data)]);
        assert!(error.contains("cannot open the data directory"), "{error}");
        assert!(error.contains("not a directory; name another directory"), "{error}");
        let error = fails(&["check", "--data-dir", text(&data)]);
        assert!(error.contains("Not a directory"), "{error}");
    }
}

/// Regression test: a terminal or device as the inventory blocked the start, and on SIGHUP all
/// clients.
#[test]
fn inventory_must_be_a_regular_file() {
    let directory = temp_dir();
    let inventory = directory.path().join("inventory");
    let _socket = UnixListener::bind(directory.path().join("socket")).unwrap();
    make_pipe(&directory.path().join("pipe"));
    let kinds = [
        (directory.path().join("pipe"), "a pipe"),
        (directory.path().join("socket"), "a socket"),
        (directory.path().to_owned(), "a directory"),
        ("/dev/ptmx".into(), "a device"),
        ("/dev/zero".into(), "a device"),
    ];
    std::fs::write(&inventory, "Sala 1\n").unwrap();
    let mut server = Server::in_memory(&["--inventory", text(&inventory)]);
    for (path, kind) in kinds {
        let reason = format!("it is {kind}, and must be a regular file");
        let error = fails(&["--in-memory", "--inventory", text(&path)]);
        assert!(error.contains(&reason), "{error}");
        std::fs::remove_file(&inventory).unwrap();
        symlink(&path, &inventory).unwrap();
        server.signal("HUP");
        server.wait_log(&format!("{reason}; nothing was added from the file"));
        assert_eq!(server.connect().list("LISTAR"), ["Sala 1"]);
    }
    server.stop();
}

/// Regression test: a file of any length that TZ names was read to its end.
#[test]
fn time_zone_must_be_a_regular_file() {
    let directory = temp_dir();
    make_pipe(&directory.path().join("pipe"));
    for zone in [text(&directory.path().join("pipe")), ":/dev/zero"] {
        let mut command = support::command(&["--in-memory", "--listen", "127.0.0.1:0"]);
        command.env("TZ", zone).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        assert_eq!(support::wait(&mut child).code(), Some(2), "{zone}");
    }
}

#[test]
fn files_are_private_with_any_umask() {
    for umask in ["000", "022", "077"] {
        let directory = temp_dir();
        let data = directory.path().join("made/for/it");
        let script = format!("umask {umask}; exec \"$0\" --listen 127.0.0.1:0 --data-dir \"$1\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_reservad"), text(&data)]);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut server = Server::spawn(&mut command);
        let mode = |name: &str| directory.path().join(name).metadata().unwrap().mode() & 0o7777;
        for made in ["made", "made/for", "made/for/it"] {
            assert_eq!(mode(made), 0o700, "{made}, umask {umask}");
        }
        fill_journal(&mut server);
        for made in ["journal", "lock"] {
            assert_eq!(mode(&format!("made/for/it/{made}")), 0o600, "{made}, umask {umask}");
        }
        server.stop();
    }
}

#[test]
fn files_writable_by_others_cause_a_warning() {
    let directory = temp_dir();
    let journal = directory.path().join("journal");
    let warns = |path: &Path, mode: u32| {
        let reason =
            format!("WARN] other users can change the data: the mode of {}", path.display());
        let before = path.metadata().unwrap().permissions();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let mut server = Server::durable(directory.path(), &[]);
        let log = server.log_so_far();
        server.stop();
        std::fs::set_permissions(path, before).unwrap();
        log.contains(&format!("{reason} is {mode:o}; "))
    };
    Server::durable(directory.path(), &[]).stop();
    for mode in [0o777, 0o1757, 0o775, 0o770, 0o2770] {
        assert!(warns(directory.path(), mode), "{mode:o}");
    }
    for mode in [0o666, 0o602, 0o660] {
        assert!(warns(&journal, mode), "{mode:o}");
    }
    for (path, mode) in [(directory.path(), 0o755), (directory.path(), 0o700), (&journal, 0o644)] {
        assert!(!warns(path, mode), "{} {mode:o}", path.display());
    }
}

/// Returns the characters that control a terminal, change the order of the text, or are invisible:
/// C0 without TAB and LF, DEL, C1, bidirectional controls, line separators, zero-width characters,
/// tags.
fn harmful() -> impl Iterator<Item = char> {
    let ranges = [
        '\u{0}'..='\u{8}',
        '\u{b}'..='\u{1f}',
        '\u{7f}'..='\u{9f}',
        '\u{61c}'..='\u{61c}',
        '\u{200b}'..='\u{200c}',
        '\u{200e}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{2069}',
        '\u{feff}'..='\u{feff}',
        '\u{fff9}'..='\u{fffb}',
        '\u{e0001}'..='\u{e0001}',
        '\u{e0020}'..='\u{e007f}',
    ];
    ranges.into_iter().flatten()
}

#[track_caller]
fn assert_harmless(text: &str, where_from: &str) {
    let found = text.chars().find(|c| harmful().any(|harmful| harmful == *c));
    assert_eq!(found, None, "{where_from}: {text:?}");
}

/// They are neither sent to the client that sent them nor to watchers, waiters or readers of lists,
/// nor written to the log, in any part of a line.
#[test]
fn terminal_control_characters_are_not_sent_to_clients() {
    let mut server = Server::in_memory(&["--log-level", "debug"]);
    let mut watcher = server.connect();
    assert_eq!(watcher.say("OBSERVAR"), "OK OBSERVANDO tras=3");
    let places = [
        "{}",
        "LISTAR{}",
        "LISTAR {}",
        "LISTAR a{}*",
        "ALTA a{}b",
        "ALTA a{}1..2",
        "BAJA {}",
        "RESERVAR Habitación 1 nota=a{}b",
        "RESERVAR Habitación 1 nota=\"a{} b\"",
        "SOY a{}b",
        "RESERVAR Habitación 1 clave=a{}b",
        "RESERVAR Habitación 1 por={}",
        "RESERVAR Habitación 1 desde={}",
        "RESERVAR Habitación 1 {}=1",
        "RESERVAR Habitación 2 espera=1s nota={}",
        "CANCELAR #{}",
        "VERIFICAR #1 {}",
        "OBSERVAR tras={}",
        "RESERVAS titular={}",
        "AYUDA {}",
        "list {}",
    ];
    let mut said = String::new();
    for place in places {
        // Each on a connection of its own, because some close it (Ctrl-D, TLS).
        let all: Vec<_> = harmful().map(|c| place.replace("{}", &c.to_string())).collect();
        for chunk in all.chunks(40) {
            let mut client = server.connect();
            let lines = chunk.join("\n");
            client.send(format!("SOY ana\n{lines}\nRESERVAS\nCANCELAR Habitación 1\n"));
            let reply = client.finish();
            assert_harmless(&reply.replace("\r\n", "\n"), place);
            said += &reply;
        }
    }
    assert!(said.contains("U+001B") && said.contains("\\u{202e}"), "they are escaped");
    let mut client = server.connect();
    for list in ["RESERVAS", "LISTAR", "ESTADO"] {
        client.list(list).iter().for_each(|row| assert_harmless(row, list));
    }
    // The last notice shows that all were read.
    assert_eq!(client.say("ALTA última"), "OK ALTA 1");
    loop {
        let notice = watcher.line();
        assert_harmless(&notice, "notices");
        if notice.ends_with("última") {
            break;
        }
    }
    assert_harmless(&server.log_so_far().replace('\n', ""), "log");
    server.stop();
}

/// The same for the names of directories and files, and for a journal that another user has
/// written.
#[test]
fn terminal_control_characters_are_escaped_in_the_log() {
    let directory = temp_dir();
    let odd = directory.path().join("a\u{1b}[31m\nb\u{202e}");
    let odd_file = directory.path().join("c\u{9b}\nd");
    std::fs::write(&odd_file, "Sala 1\n").unwrap();
    let mut server = Server::durable(&odd, &["--inventory", text(&odd_file)]);
    server.signal("HUP");
    let mut log = server.wait_log("SIGHUP: added 0 resources");
    std::fs::write(&odd_file, "a\u{1b}b\n").unwrap();
    server.signal("HUP");
    log += &server.wait_log("nothing was added from the file");
    log += &server.log_so_far().replace('\n', "");
    assert_harmless(&log, "log");
    assert!(log.contains("a\\u{1b}[31m\\u{a}b\\u{202e}"), "{log}");
    server.stop();

    // A record with a correct checksum and an unknown event.
    let mut journal = std::fs::read(odd.join("journal")).unwrap();
    journal.truncate(journal.iter().position(|byte| *byte == b'\n').unwrap() + 1);
    journal.extend(commit(&["2026-11-22T16:48:54.123Z \u{1b}[31mEVIL x".to_owned()]).bytes());
    std::fs::write(odd.join("journal"), journal).unwrap();
    for arguments in [&["--data-dir", text(&odd)][..], &["check", "--data-dir", text(&odd)]] {
        let said = fails(arguments);
        assert!(said.contains("\\u{1b}[31mEVIL"), "{said}");
        assert_harmless(said.trim_end(), "stderr");
    }
}

/// Returns a line of a journal with its checksum.
fn signed(body: &str) -> String {
    format!("{:08x}\t{body}\n", crc32fast::hash(body.as_bytes()))
}

/// Returns the first line of a journal.
fn header(kind: &str) -> String {
    let line = format!("reservad-journal 3 0123456789abcdef {kind}");
    format!("{line}{:08x}\n", crc32fast::hash(line.as_bytes()))
}

/// Returns the first commit of a journal.
fn commit(payloads: &[String]) -> String {
    let lines = payloads.join("\n") + "\n";
    let crc = crc32fast::hash(lines.as_bytes());
    signed(&format!("commit 1 {} {crc:08x} @45", lines.len())) + &lines
}

/// Regression test: with the highest possible number as its last, the server panicked at the first
/// request, or started again at 0 in a release build.
#[test]
fn journal_with_exhausted_numbers_is_refused() {
    let time = "2026-11-22T16:48:54.123Z";
    let most = u64::MAX;
    let reserved = format!("RESERVED #{most} x from={time} until=never");
    let cases = [
        header("") + &commit(&[format!("{time} ADDED x"), format!("{time} {reserved}")]),
        header("") + &commit(&[format!("{time} NUMBERED #{most}")]),
        header("snapshot ") + &signed(&format!("end 0 {most}")),
    ];
    for journal in cases {
        let directory = temp_dir();
        std::fs::write(directory.path().join("journal"), &journal).unwrap();
        let said = fails(&["--data-dir", text(directory.path())]);
        assert!(said.contains("nothing was changed"), "{journal}: {said}");
        assert_eq!(std::fs::read_to_string(directory.path().join("journal")).unwrap(), journal);
    }
}

/// Errors of every kind contain no paths and nothing else that only the operator may know.
#[test]
fn replies_contain_nothing_about_the_host() {
    let directory = temp_dir();
    let data = directory.path().join("SECRET-data");
    let inventory = directory.path().join("SECRET-inventory");
    std::fs::write(&inventory, "Sala 1\nSala 2\n").unwrap();
    let arguments = ["--inventory", text(&inventory)];
    let mut command = command(&["--data-dir", text(&data), "--listen", "127.0.0.1:0"]);
    let mut server =
        Server::spawn(command.args(arguments).args(["--max-clients", "2"]).env("SECRET", "SECRET"));
    let mut client = server.connect();
    let lines = [
        "ESTADO",
        "AYUDA",
        "AYUDA RESERVAR",
        "LISTAR",
        "RESERVAR Sala 1 clave=k",
        "SOY ana",
        "RESERVAR Sala 1 clave=k nota=n",
        "RESERVAR Sala 1 clave=k",
        "RESERVAR Sala 2",
        "RESERVAR Sala 1 espera=1s",
        "RESERVAS",
        "BAJA Sala 1",
        "ALTA sala 1",
        "ALTA a..b/../../etc",
        "SOY otro",
        "CANCELAR #1",
        "CANCELAR #7",
        "VERIFICAR #1 Sala 2",
        "OBSERVAR tras=99",
        "CUANDO Sala 1",
        "RENOVAR #1 hasta=1999-01-01",
        "../../etc/passwd",
        "LISTAR \u{1}",
    ];
    client.send(format!("{}\n{}\nx", lines.join("\n"), "y".repeat(5000)));
    std::fs::write(&inventory, "a\u{1}\n").unwrap();
    server.signal("HUP");
    server.wait_log("nothing was added from the file");
    let (_second, third) = (server.connect(), server.connect());
    let said = client.finish() + &third.finish();
    for code in ["400", "401", "403", "404", "408", "409", "410", "413", "503"] {
        assert!(said.contains(&format!("ERR {code} ")), "{code} is not among:\n{said}");
    }
    let user = std::env::var("USER").unwrap_or_else(|_| "/root".to_owned());
    let temporary = std::env::temp_dir();
    for secret in ["SECRET", text(&temporary), env!("CARGO_MANIFEST_DIR"), &user, "src/", ".rs"] {
        assert!(!said.contains(secret), "{secret} is disclosed:\n{said}");
    }
    server.stop();
}

/// Returns the numbers and flags of the open descriptors of a process.
fn descriptors(pid: u32) -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let info = std::fs::read_to_string(&path).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let number = path.file_name()?.to_str()?.parse().ok()?;
        Some((number, u32::from_str_radix(flags.trim(), 8).ok()?))
    };
    entries.filter_map(of).collect()
}

/// Returns the descriptors that a program started by the process would inherit.
fn inheritable_descriptors(pid: u32) -> Vec<u32> {
    const CLOEXEC: u32 = 0o2_000_000;
    let open = descriptors(pid).into_iter();
    let mut numbers: Vec<_> =
        open.filter(|(_, flags)| flags & CLOEXEC == 0).map(|(number, _)| number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn descriptors_are_not_inherited() {
    // Without those that this test has inherited from cargo.
    let before = inheritable_descriptors(std::process::id());
    assert!(before.starts_with(&[0, 1, 2]), "{before:?}");
    let directory = temp_dir();
    let mut server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    assert_eq!(client.list("LISTAR").len(), 3);
    // Lock, journal, poll, listener, signals, timer, spare, client.
    assert!(descriptors(server.pid()).len() >= before.len() + 8);
    assert_eq!(inheritable_descriptors(server.pid()), before);
    // After a compaction the journal is another file.
    fill_journal(&mut server);
    assert_eq!(inheritable_descriptors(server.pid()), before);

    let script = "echo $$; read line";
    let mut command = reserva(server.address, &["ejecutar", "*", "--", "sh", "-c", script]);
    let mut launcher = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(launcher.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let mut open: Vec<_> =
        descriptors(pid.trim().parse().unwrap()).into_iter().map(|(number, _)| number).collect();
    open.sort_unstable();
    assert_eq!(open, before);
    drop(launcher.stdin.take());
    wait(&mut launcher);
    server.stop();
}

/// Regression test: `x≠y` folds to `x=y`. A request for one room could be made to look like a
/// request for another room, and the reply was the one to that request.
#[test]
fn name_is_not_parsed_as_an_option() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.say("SOY ana");
    assert_eq!(client.say("ALTA x, x from≠now"), "OK ALTA 2");
    assert!(client.say("RESERVAR x from=now clave=k").starts_with("OK RESERVADO #1 x "));
    assert!(client.say("RESERVAR x from≠now clave=k").starts_with("ERR 409"));
    server.stop();
}

/// Returns the value of a table's cell in the unit of its constant: bytes, milliseconds or a count.
fn figure(cell: &str) -> u64 {
    let words = cell.split([' ', ',']).collect::<Vec<_>>();
    let at = words.iter().position(|word| word.parse::<u64>().is_ok());
    let at = at.unwrap_or_else(|| panic!("no number in {cell:?}"));
    let unit = match words.get(at + 1).copied().unwrap_or_default() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "s" => 1000,
        "d" => 86_400_000,
        _ => 1,
    };
    words[at].parse::<u64>().unwrap() * unit
}

/// The page states the limits of the code, for every limit that an input can reach.
#[test]
fn documented_limits_are_those_of_the_code() {
    macro_rules! constants {
        ($($name:ident),* $(,)?) => {
            [$((stringify!($name), reservad::limits::$name as u64)),*]
        };
    }
    let constants = constants![
        LINE_MAX_BYTES,
        LINE_ENDLESS_BYTES,
        TARGETS_MAX,
        NAME_MAX_BYTES,
        STARS_MAX,
        NOTE_MAX_BYTES,
        KEY_MAX_BYTES,
        HOLDER_MAX_BYTES,
        ADD_MAX,
        RESOURCES_DEFAULT,
        RESERVATIONS_DEFAULT,
        DURATION_MAX_MS,
        NIGHTS_MAX,
        WAIT_MAX_MS,
        WAITERS_MAX,
        WAIT_TARGETS_MAX,
        WAIT_TARGETS_PER_ADDRESS,
        WAIT_TARGETS_PER_HOST,
        WAIT_PATTERNS_MAX,
        WAIT_MATCH_BYTES,
        BACKLOG_WORK,
        EXCERPT_MAX_CHARS,
        DESCRIPTORS_RESERVED,
        LISTENER_DESCRIPTORS,
        REJECTED_MAX,
        PER_ADDRESS_DEFAULT,
        LISTENERS_MAX,
        COMMAND_BUDGET,
        READ_BUDGET_BYTES,
        WORK_BUDGET,
        COSTLY_WORK,
        CANCEL_BOOKINGS_MAX,
        RELEASES_A_TURN,
        REAPED_A_TURN,
        WATCHERS_A_TURN,
        DEADLINES_A_TURN,
        INPUT_HIGH_BYTES,
        OUTPUT_HIGH_BYTES,
        STALL_DEFAULT_MS,
        OUTPUT_MEMORY_DEFAULT,
        HISTORY_EVENTS,
        HISTORY_BYTES,
        HISTORY_LAG_TIMES,
        LOG_QUIET_MS,
        INVENTORY_FILE_MAX_BYTES,
    ];
    let page = include_str!("../docs/security.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let name = cells.get(3)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name, figure(cells[2])))
    });
    let mut of_the_page: Vec<_> = rows.collect();
    let mut of_the_code = constants.to_vec();
    of_the_page.sort_unstable();
    of_the_code.sort_unstable();
    assert_eq!(of_the_page, of_the_code);
}

// ---------------------------------------------------------------------------------------------
// A hostile server.

/// Starts a server that answers each line of each connection with the next text, and then is
/// silent.
fn scripted(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines();
                for answer in answers {
                    let Some(Ok(_)) = lines.next() else { return };
                    let _ = (&stream).write_all(answer.as_bytes());
                }
                // Until the client disconnects.
                let _ = lines.next();
            });
        }
    });
    address
}

fn reserva(address: SocketAddr, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reserva"));
    command.env("LC_ALL", "en").args(["--server", &address.to_string()]).args(words);
    command
}

#[test]
fn client_escapes_control_characters_of_a_server() {
    let row =
        "OK 1 RESERVAS\n#1\t\x1b]0;x\x07\u{9b}31m\u{202e}a\u{200b}\u{e0041}\u{feff}\x7f\r\0z\n";
    let refused = "ERR 409 \x1b[2J\u{200b}z\n";
    let notice = "* 7 \x1b[2J\u{2067}\nOK x\n";
    let foreign = "\x1b[2J\u{2067}\n";
    for (verb, answer) in [
        ("RESERVAS", row),
        ("RESERVAR", refused),
        ("ejecutar", refused),
        ("OBSERVAR", notice),
        ("LISTAR", foreign),
    ] {
        let answers: &'static [&'static str] = Box::leak(Box::new([&*answer.to_owned().leak()]));
        let address = scripted(answers).to_string();
        let program: &[&str] = if verb == "ejecutar" { &["x", "--", "true"] } else { &[] };
        let client = [env!("CARGO_BIN_EXE_reserva"), "--server", &address, verb];
        let Some(mut terminal) = Terminal::run(&[&client[..], program].concat()) else { return };
        let end = if answer.contains('z') { "z" } else { "\\u{2067}" };
        let screen = terminal.expect(end);
        assert!(screen.contains("\\u{1b}"), "{screen:?}");
        assert_harmless(&screen.replace("\r\n", ""), verb);
    }
}

/// The number becomes part of the environment of the program and of lines to the server.
#[test]
fn client_rejects_a_reservation_with_control_characters() {
    for answer in ["OK RESERVADO #1 x\x1b[31m hasta=salir\n", "OK RESERVADO #1 x hasta=\0\n"] {
        let answers: &'static [&'static str] = Box::leak(Box::new([answer]));
        let mut command = reserva(scripted(answers), &["ejecutar", "x", "--", "echo", "ran"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(69), &b""[..]));
        assert_harmless(String::from_utf8_lossy(&output.stderr).trim_end(), "stderr");
    }
}

/// Regression test: a length that no clock can represent ended the client.
#[test]
fn client_accepts_a_reservation_that_outlasts_every_clock() {
    let answers: &[&str] = &[
        "OK RESERVADO #1 x hasta=salir\n",
        "OK OBSERVANDO tras=1\n",
        "OK VIGENTE #1 x quedan=18446744073709551615s\n",
        "OK ADIÓS\n",
    ];
    let mut command = reserva(scripted(answers), &["ejecutar", "x", "--", "echo", "ran"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"ran\n"[..]), "{error}");
}

/// Returns the error of a start that must fail.
fn fails(arguments: &[&str]) -> String {
    let mut all = arguments.to_vec();
    if arguments[0] != "check" {
        all.extend(["--listen", "127.0.0.1:0"]);
    }
    let mut child = command(&all).spawn().unwrap();
    let mut said = String::new();
    let status = wait(&mut child);
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

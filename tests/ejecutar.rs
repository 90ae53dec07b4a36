//! `reserva ejecutar` with the real server and real programs: what the program gets and gives
//! back, how the reservation is kept, and that the program never outlives it.
//!
//! Programs say when they are ready and are waited for; the only lengths of time here are terms
//! of reservations, and how long before their end a program must be gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use support::terminal::Terminal;
use support::{Client, Server, TempDir, temp_dir, until, wait};

/// Returns the wrapper, with empty standard input and captured outputs. SIGINT has its default even
/// if the tests were started with it ignored.
fn wrapper(address: SocketAddr, words: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_reserva")]);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["LC_ALL", "LC_MESSAGES", "LANG"] {
        command.env_remove(variable);
    }
    command.env("RESERVA_SERVER", address.to_string());
    command
}

/// A wrapper that runs.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the wrapper starts");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Running { child, out }
    }

    /// `ejecutar` with this request and a script of the shell.
    fn script(address: SocketAddr, request: &[&str], script: &str) -> Self {
        Running::start(wrapper(address, &with_script(request, script)))
    }

    /// The next line of the program.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        match line.strip_suffix('\n') {
            Some(line) => line.to_owned(),
            None => panic!("the program says nothing more: {:?}", self.message()),
        }
    }

    /// The next line, which is the number of a process.
    #[track_caller]
    fn pid(&mut self) -> u32 {
        self.line().parse().expect("a number")
    }

    fn message(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("its messages");
        stderr.read_to_string(&mut text).expect("text");
        text
    }

    /// A line of standard error.
    fn error_line(&mut self) -> String {
        let stderr = self.child.stderr.as_mut().expect("its messages");
        let mut line = Vec::new();
        let mut byte = [0];
        while stderr.read(&mut byte).expect("a byte") == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for the end: exit code, rest of the output, messages.
    fn end(mut self) -> (Option<i32>, String, String) {
        let status = wait(&mut self.child);
        let mut out = String::new();
        self.out.read_to_string(&mut out).expect("text");
        (status.code(), out, self.message())
    }

    #[track_caller]
    fn ends_with(self, code: i32) -> String {
        let (got, out, err) = self.end();
        assert_eq!(got, Some(code), "{out:?} {err:?}");
        err
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_script<'a>(request: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["ejecutar"], request, &["--", "sh", "-c", script]].concat()
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.expect("kill").success());
}

/// Whether a process is there and no zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn server() -> Server {
    let server = Server::in_memory(&[]);
    assert_eq!(server.connect().say("ALTA placa 1, placa 2"), "OK ALTA 2");
    server
}

/// A server with a folder, and one resource that is on disk.
fn durable(folder: &TempDir) -> Server {
    let server = Server::durable(folder.path(), &[]);
    assert_eq!(server.connect().say("ALTA placa 1"), "OK ALTA 1");
    server
}

/// Waits until nothing is reserved.
#[track_caller]
fn is_free(client: &mut Client) {
    until("all is free", || client.list("RESERVAS").is_empty());
}

// ---------------------------------------------------------------------------------------------
// What the program gets, and gives back.

#[test]
fn the_exit_code_is_the_programs() {
    let server = server();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255)] {
        Running::script(server.address, &["placa 1"], script).ends_with(code);
    }
    for (name, number) in [("TERM", 15), ("KILL", 9), ("PIPE", 13)] {
        let script = format!("kill -s {name} $$");
        Running::script(server.address, &["placa 1"], &script).ends_with(128 + number);
    }
    assert!(server.connect().list("RESERVAS").is_empty(), "released before the end");
}

#[test]
fn a_program_that_cannot_be_run_is_as_in_a_shell() {
    let server = server();
    for (program, code) in [("/no/such/program", 127), ("no-such-program", 127), ("/", 126)] {
        let command = wrapper(server.address, &["run", "placa 1", "--", program]);
        let message = Running::start(command).ends_with(code);
        assert!(message.contains(program) && message.contains("cannot run"), "{message}");
    }
    assert!(server.connect().list("RESERVAS").is_empty());
}

#[test]
fn the_program_knows_its_reservation() {
    let server = server();
    let script = r#"echo "$RESERVA_ID"; echo "$RESERVA_RECURSOS"; echo "$RESERVA_HASTA""#;
    let mut program = Running::script(server.address, &["placa", "1,", "placa 2"], script);
    let lines: Vec<String> = (0..4).map(|_| program.line()).collect();
    assert_eq!(lines, ["1", "placa 1", "placa 2", "salir"]);
    program.ends_with(0);
    let words = ["Run", "placa *", "for=1h", "--", "sh", "-c", script];
    let mut program = Running::start(wrapper(server.address, &words));
    assert_eq!((program.line(), program.line()), ("2".into(), "placa 1".into()));
    assert!(program.line().ends_with("+00:00"));
    program.ends_with(0);
}

#[test]
fn arguments_arrive_byte_by_byte() {
    use std::os::unix::ffi::OsStrExt;
    let server = server();
    let mut command = wrapper(server.address, &["EJECUTAR", "placa 1", "--"]);
    let awkward: [&[u8]; 9] =
        [b"", b"a b", b"$HOME", b"*", b"--", b"-h", b"'\"\\", b"\xff\xfe", "á\n".as_bytes()];
    command.args(["sh", "-c", r#"printf '%s\0' "$@""#, "sh"]);
    command.args(awkward.map(std::ffi::OsStr::from_bytes));
    let output = command.output().expect("it runs");
    let expected: Vec<u8> = awkward.iter().flat_map(|word| [*word, b"\0"].concat()).collect();
    assert_eq!((output.status.code(), output.stdout), (Some(0), expected));
    assert!(output.stderr.is_empty());
}

#[test]
fn standard_input_and_outputs_are_the_programs() {
    let server = server();
    let mut command = wrapper(server.address, &["ejecutar", "placa 1", "--", "sh", "-c"]);
    command.arg("cat; echo error >&2; exit 3").stdin(Stdio::piped());
    let mut running = Running::start(command);
    let bytes = vec![0xc3; 1_000_000];
    let mut stdin = running.child.stdin.take().expect("its input");
    let written = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&written));
    let mut read = Vec::new();
    running.out.read_to_end(&mut read).expect("bytes");
    assert!(read == bytes, "not the same");
    writer.join().expect("no panic").expect("all is read");
    assert_eq!(running.ends_with(3), "error\n");
}

#[test]
fn signals_are_passed_on() {
    let server = server();
    for name in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"] {
        let script =
            format!("trap 'echo {name}; exit 5' {name}; echo ready; while :; do sleep 0.02; done");
        let mut program = Running::script(server.address, &["placa 1"], &script);
        assert_eq!(program.line(), "ready");
        program.signal(name);
        assert_eq!(program.line(), name);
        program.ends_with(5);
    }
    // One that does not care ends as signals end it.
    let mut program = Running::script(server.address, &["placa 1"], "echo ready; exec sleep 60");
    program.line();
    program.signal("TERM");
    program.ends_with(128 + 15);
    is_free(&mut server.connect());
}

/// Terminals and `timeout` signal the whole group, not only the program.
#[test]
fn signals_reach_the_whole_group() {
    let server = server();
    let script = r#"
        sh -c 'trap "echo child; exit" TERM; echo ready; while :; do sleep 0.02; done' &
        trap 'wait; exit 5' TERM; wait"#;
    let mut program = Running::script(server.address, &["placa 1"], script);
    assert_eq!(program.line(), "ready");
    program.signal("TERM");
    assert_eq!(program.line(), "child");
    let message = program.ends_with(5);
    assert!(!message.contains("reserva:"), "{message}");
}

/// `nohup` and `&` in a script say so by starting us with the signal ignored.
#[test]
fn an_ignored_signal_stays_ignored() {
    let server = server();
    let mut shell = Command::new("sh");
    let ours = env!("CARGO_BIN_EXE_reserva");
    let script = r#"trap '' HUP; exec "$0" ejecutar 'placa 1' -- sh -c 'kill -s HUP $$; exit 4'"#;
    shell.args(["-c", script, ours]).env("RESERVA_SERVER", server.address.to_string());
    assert_eq!(shell.status().expect("sh").code(), Some(4));
}

// ---------------------------------------------------------------------------------------------
// The reservation that is not there.

#[test]
fn a_reservation_not_obtained_is_64_or_75() {
    let server = server();
    let mut holder = server.connect();
    assert_eq!(holder.say("RESERVAR placa 1"), "OK RESERVADO #1 placa 1");
    let rows: [(&[&str], &str, i32); 5] = [
        (&["placa 1"], "ERR 409", 75),
        (&["placa 1", "espera=1s"], "ERR 408", 75),
        (&["placa 3"], "ERR 404", 64),
        (&["placa 2", "por=nada"], "ERR 400", 64),
        (&["placa 2", "titular=1"], "ERR 400", 64),
    ];
    for (request, error, code) in rows {
        let message = Running::script(server.address, request, "echo never").ends_with(code);
        assert!(message.contains(error), "{message}");
    }
    assert_eq!(holder.list("RESERVAS").len(), 1);
}

#[test]
fn an_unreachable_server_is_69() {
    let listener = TcpListener::bind("127.0.0.3:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let message = Running::script(address, &["x"], "echo never").ends_with(69);
    assert!(message.contains(&address.to_string()), "{message}");
}

#[test]
fn wrong_use_is_64() {
    let nowhere = "127.0.0.3:1".parse().expect("an address");
    let rows: [&[&str]; 7] = [
        &["run", "x", "--wait", "--", "true"],
        &["ejecutar"],
        &["ejecutar", "x"],
        &["run", "x", "--"],
        &["run", "--", "true"],
        &["run", "x", "clave=k", "--", "true"],
        &["run", "x", "desde=ahora", "--", "true"],
    ];
    for words in rows {
        Running::start(wrapper(nowhere, words)).ends_with(64);
    }
}

#[test]
fn help_may_stand_behind_run() {
    for words in [&["run", "--help"][..], &["ejecutar", "x", "-h", "--", "true"]] {
        let nowhere = "127.0.0.3:1".parse().expect("an address");
        let done = wrapper(nowhere, words).output().expect("the client starts");
        let shown = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && shown.contains("--wait-children"), "{words:?}: {done:?}");
    }
    // What stands behind the `--` is the program's.
    let server = server();
    let mut program =
        Running::start(wrapper(server.address, &["run", "placa 1", "--", "echo", "-h"]));
    assert_eq!(program.line(), "-h");
    program.ends_with(0);
}

#[test]
fn a_wait_is_told_and_ends_with_the_grant() {
    let server = server();
    let mut holder = server.connect();
    holder.say("RESERVAR placa 1");
    for request in [&["placa 1", "espera=60s"][..], &["placa 1", "espera=60s", "por=3s"]] {
        let mut program = Running::script(server.address, request, "echo mine; exit 6");
        assert_eq!(program.error_line(), "* COLA 1 placa 1");
        assert!(holder.say("CANCELAR placa 1").starts_with("OK"));
        assert_eq!(program.line(), "mine");
        program.ends_with(6);
        assert!(holder.say("RESERVAR placa 1").starts_with("OK"));
    }
}

/// A lease counts from its grant, not from when it was asked for.
#[test]
fn a_long_wait_takes_nothing_from_the_lease() {
    let server = server();
    let mut holder = server.connect();
    holder.say("RESERVAR placa 1 por=3s");
    let request = ["placa 1", "espera=60s", "por=2s"];
    Running::script(server.address, &request, "sleep 3; exit 6").ends_with(6);
}

#[test]
fn an_interrupted_wait_leaves_the_queue() {
    let server = server();
    let mut holder = server.connect();
    holder.say("RESERVAR placa 1");
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut program = Running::script(server.address, &["placa 1", "espera=60s"], "echo never");
        program.error_line();
        program.signal(name);
        let (got, out, _) = program.end();
        assert_eq!((got, out.as_str()), (Some(code), ""));
    }
    holder.say("CANCELAR placa 1");
    assert!(holder.list("RESERVAS").is_empty());
}

#[test]
fn a_holder_is_told() {
    let server = server();
    let request = ["placa 1", "titular=ana", "por=1h"];
    let mut program = Running::script(server.address, &request, "echo ready; exec sleep 60");
    program.line();
    let bookings = server.connect().list("RESERVAS");
    assert!(bookings[0].starts_with("#1\tplaca 1\tana\t"), "{bookings:?}");
    assert!(server.connect().say("CANCELAR #1").starts_with("ERR 403"));
    program.signal("TERM");
    program.ends_with(143);
    is_free(&mut server.connect());
}

// ---------------------------------------------------------------------------------------------
// The reservation that is lost.

/// Both ways to hold one, and one of several resources taken away.
#[test]
fn cancelled_by_somebody_else_is_76() {
    let server = server();
    let rows: [(&[&str], &str); 5] = [
        (&["placa 1"], "CANCELAR placa 1"),
        (&["placa 1", "por=1h"], "CANCELAR placa 1"),
        (&["placa 1", "noches=2"], "CANCELAR placa 1"),
        (&["placa 1, placa 2"], "CANCELAR placa 2"),
        (&["placa 1, placa 2", "por=1h"], "CANCELAR placa 2"),
    ];
    for (request, cancel) in rows {
        let script = "trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
        let mut program = Running::script(server.address, request, script);
        program.line();
        assert!(server.connect().say(cancel).starts_with("OK"), "{cancel}");
        assert_eq!(program.line(), "told");
        let message = program.ends_with(76);
        assert!(message.contains("was lost"), "{message}");
        is_free(&mut server.connect());
    }
}

/// Somebody else makes the lease shorter, and longer: it is what the program asked for again.
#[test]
fn a_lease_that_others_move_is_moved_back() {
    let server = server();
    let mut other = server.connect();
    let request = ["placa 1", "por=1h"];
    let mut program = Running::script(server.address, &request, "echo ready; exec sleep 60");
    program.line();
    other.send("OBSERVAR\n");
    other.line();
    assert!(other.say("RENOVAR #1 por=10s").starts_with("OK"));
    assert!(other.line().contains("RENOVADO #1"));
    // Its own renewal follows at once.
    assert!(other.line().contains("RENOVADO #1"));
    let left = other.say("VERIFICAR #1");
    assert!(left.ends_with("quedan=3599s") || left.ends_with("quedan=3600s"), "{left}");
    program.signal("TERM");
    program.ends_with(143);
}

#[test]
fn who_ignores_term_is_killed_with_all_its_group() {
    let server = server();
    let script = "trap '' TERM; sh -c 'echo $$; sleep 600; sleep 600' & echo $$; wait; sleep 600";
    let mut program = Running::script(server.address, &["placa 1", "por=3s"], script);
    let pids = [program.pid(), program.pid()];
    let mut other = server.connect();
    let cancelled = Instant::now();
    assert!(other.say("CANCELAR #1").starts_with("OK"));
    program.ends_with(76);
    assert!(cancelled.elapsed() < Duration::from_secs(4), "{:?}", cancelled.elapsed());
    assert!(!pids.into_iter().any(is_alive));
}

/// The program ends at once, somebody whom it left behind does not want to.
#[test]
fn who_was_left_behind_has_its_grace_and_is_killed() {
    let server = server();
    let script = "(trap 'echo cleaned' TERM; echo ready; while :; do sleep 0.02; done) & wait";
    let mut program = Running::script(server.address, &["placa 1", "por=3s"], script);
    program.line();
    assert!(server.connect().say("CANCELAR #1").starts_with("OK"));
    assert_eq!(program.line(), "cleaned");
    program.ends_with(76);
}

#[test]
fn a_connection_that_holds_is_lost_with_its_server() {
    let server = server();
    let script = "echo ready; exec sleep 600";
    // The shortest term that a connection can keep alive.
    let request = ["placa 1", "hasta=salir", "por=10s"];
    let mut program = Running::script(server.address, &request, script);
    program.line();
    server.kill();
    program.ends_with(76);
}

#[test]
fn a_lease_survives_its_server() {
    for request in [
        &["placa 1", "por=6s"][..],
        &["placa 1", "noches=2"],
        &["placa 1", "por=6s", "titular=ana"],
    ] {
        let folder = temp_dir();
        let server = durable(&folder);
        let address = server.address;
        let script = "echo ready; read line; echo \"$line\"; exit 8";
        let mut command = wrapper(address, &with_script(request, script));
        let mut program = Running::start({
            command.stdin(Stdio::piped());
            command
        });
        program.line();
        server.kill();
        let server = Server::durable(folder.path(), &["--listen", &address.to_string()]);
        let mut client = server.connect();
        // A renewal, or a watch that somebody's cancellation would find, is there again.
        client.send("OBSERVAR\n");
        client.line();
        if request[1] == "por=6s" {
            let renewed = client.line();
            assert!(renewed.contains("RENOVADO"), "{renewed}");
        }
        let mut stdin = program.child.stdin.take().expect("its input");
        stdin.write_all(b"still here\n").expect("it reads");
        assert_eq!(program.line(), "still here");
        program.ends_with(8);
        is_free(&mut server.connect());
        server.stop();
    }
}

/// The server is gone for good, or stands still: the program is over before its lease.
#[test]
fn a_program_ends_before_a_lease_that_cannot_be_renewed() {
    let mut stopped = None;
    for is_killed in [true, false] {
        let server = server();
        let begun = Instant::now();
        let script = "trap '' TERM; echo $$; while :; do sleep 0.05; done";
        let mut program = Running::script(server.address, &["placa 1", "por=3s"], script);
        let pid = program.pid();
        // Before the first renewal: three seconds from the beginning are an upper bound.
        let started = Instant::now();
        if is_killed {
            server.kill();
        } else {
            // The server ends with the test.
            server.signal("STOP");
            stopped = Some(server);
        }
        until("the program has ended", || !is_alive(pid));
        let (most, least) = (begun.elapsed(), started.elapsed());
        program.ends_with(76);
        assert!(least < Duration::from_secs(3) || most < Duration::from_millis(3100), "{most:?}");
        assert!(most > Duration::from_secs(2), "not before it had to: {most:?}");
    }
    drop(stopped);
}

/// Somebody has booked the time after it.
#[test]
fn a_lease_that_cannot_grow_ends_in_time() {
    let server = server();
    let mut other = server.connect();
    let script = "echo ready; exec sleep 600";
    let mut program = Running::script(server.address, &["placa 1", "por=4s"], script);
    program.line();
    let reply = other.say("CUANDO placa 1 por=1h");
    let from = reply.split(' ').nth(1).expect("a time");
    let booked = other.say(&format!("RESERVAR placa 1 desde={from} por=1h"));
    assert!(booked.starts_with("OK"), "{booked}");
    let message = program.ends_with(76);
    assert!(message.contains("its end was near"), "{message}");
}

#[test]
fn a_fixed_end_ends_the_program_before() {
    let server = server();
    let mut other = server.connect();
    let zone_free = other.say("CUANDO placa 1 por=1h");
    let now = zone_free.split(' ').nth(1).expect("a time").to_owned();
    // Six seconds from now, by adding them in the only place where seconds stand.
    let until = add_seconds(&now, 6);
    let request = ["placa 1".to_owned(), format!("hasta={until}")];
    let request: Vec<&str> = request.iter().map(String::as_str).collect();
    let mut program = Running::script(server.address, &request, "echo ready; exec sleep 600");
    program.line();
    program.ends_with(76);
}

/// Adds seconds to `…T12:34:56+00:00`.
fn add_seconds(time: &str, seconds: u64) -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", &format!("{time} {seconds} seconds")])
        .output()
        .expect("date");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

// ---------------------------------------------------------------------------------------------
// The wrapper that is killed.

#[test]
fn a_killed_wrapper_leaves_nothing() {
    let server = server();
    for (request, is_free_at_once) in [(&["placa 1"][..], true), (&["placa 1", "por=2s"], false)] {
        let mut program = Running::script(server.address, request, "echo $$; exec sleep 600");
        let pid = program.pid();
        let mut client = server.connect();
        assert_eq!(client.list("RESERVAS").len(), 1, "{is_free_at_once}");
        program.child.kill().expect("it dies");
        assert_eq!(program.child.wait().expect("its end").signal(), Some(9));
        until("the program is gone", || !is_alive(pid));
        is_free(&mut client);
    }
}

#[test]
fn the_release_is_on_record_before_the_end() {
    let server = server();
    let mut watcher = server.connect();
    watcher.say("OBSERVAR");
    for request in [&["placa 1"][..], &["placa 1", "por=1h"], &["placa 1", "noches=1"]] {
        Running::script(server.address, request, "true").ends_with(0);
        assert!(server.connect().list("RESERVAS").is_empty());
    }
}

/// A server that does not answer holds nobody for ever.
#[test]
fn a_release_that_is_not_answered_is_told() {
    let server = server();
    let request = ["placa 1", "noches=1"];
    let mut program = Running::script(server.address, &request, "echo ready; sleep 1; exit 3");
    program.line();
    server.signal("STOP");
    let message = program.ends_with(3);
    server.signal("CONT");
    assert!(message.contains("did not confirm"), "{message}");
}

// ---------------------------------------------------------------------------------------------
// At a terminal.

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// A script of a shell at a terminal; `$0` is the client.
fn at_terminal(shell: &str, address: SocketAddr, script: &str) -> Option<Terminal> {
    let server = format!("RESERVA_SERVER={address}");
    let client = env!("CARGO_BIN_EXE_reserva");
    Terminal::run(&["env", "LC_ALL=C", &server, shell, "-c", script, client])
}

/// The program reads the terminal and gets its Ctrl-C; the script goes on reading after it.
#[test]
fn the_terminal_is_lent_and_given_back() {
    let server = server();
    let script = r#"
        trap 'echo not for the script' INT
        "$0" ejecutar 'placa 1' -- sh -c '
            trap "echo caught; exit 9" INT; read line; echo "program: $line"; read line'
        echo "code $?"; read line; echo "script: $line""#;
    let Some(mut terminal) = at_terminal("sh", server.address, script) else {
        return;
    };
    terminal.send("one\n");
    terminal.expect("program: one");
    terminal.send(CTRL_C);
    terminal.expect("caught");
    let screen = terminal.expect("code 9");
    assert!(!screen.contains("not for"), "{screen:?}");
    terminal.send("two\n");
    terminal.expect("script: two");
    assert_eq!(terminal.end().0, 0);
}

/// In a pipeline the terminal is lent when the program wants it, and Ctrl-C reaches it before.
#[test]
fn in_a_pipeline_the_terminal_is_lent_when_it_is_wanted() {
    let server = server();
    let script = r#"
        trap : INT
        "$0" ejecutar 'placa 1' -- sh -c 'trap "echo caught; c=1" INT; echo ready;
            until test "$c"; do sleep 0.02; done; read line; echo "program: $line"; exit 3' | (trap '' INT; cat)
        read line; echo "script: $line""#;
    let Some(mut terminal) = at_terminal("sh", server.address, script) else {
        return;
    };
    terminal.expect("ready");
    terminal.send(CTRL_C);
    terminal.expect("caught");
    terminal.send("one\n");
    terminal.expect("program: one");
    terminal.send("two\n");
    terminal.expect("script: two");
    assert_eq!(terminal.end().0, 0);
}

/// Ctrl-Z stops the whole job, the shell has the terminal, and `fg` goes on.
#[test]
fn a_job_stops_and_goes_on() {
    let server = server();
    let script = r#"set -m
        "$0" ejecutar 'placa 1' por=1h -- sh -c 'echo ready; read line; echo "program: $line"; exit 3'
        echo "stopped $?"; read line; echo "script: $line"; fg >/dev/null; echo "code $?""#;
    let Some(mut terminal) = at_terminal("bash", server.address, script) else {
        return;
    };
    terminal.expect("ready");
    terminal.send(CTRL_Z);
    terminal.expect("stopped 1");
    terminal.send("one\n");
    terminal.expect("script: one");
    terminal.send("two\n");
    terminal.expect("program: two");
    terminal.expect("code 3");
    assert_eq!(terminal.end().0, 0);
}

/// Nobody could wake us if we stopped here: a session of our own, no shell above us.
#[test]
fn without_a_shell_nothing_stops_for_ever() {
    let server = server();
    let script =
        r#"exec "$0" ejecutar 'placa 1' -- sh -c 'echo ready; read line; echo "program: $line"'"#;
    let Some(mut terminal) = at_terminal("sh", server.address, script) else {
        return;
    };
    terminal.expect("ready");
    terminal.send(CTRL_Z);
    terminal.send("one\n");
    terminal.expect("program: one");
    assert_eq!(terminal.end().0, 0);
}

/// Ctrl-C in a conversation whose command waits in a queue.
#[test]
fn ctrl_c_ends_a_wait_and_the_conversation() {
    let server = server();
    let mut holder = server.connect();
    holder.say("RESERVAR placa 1");
    let Some(mut terminal) = Terminal::open(&server.address.to_string(), "es_ES") else {
        return;
    };
    terminal.expect("reserva> ");
    terminal.send("RESERVAR placa 1 espera=60s\n");
    terminal.expect("* COLA 1 placa 1");
    terminal.send(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen:?}");
    assert!(screen.contains("ERR 408") && screen.ends_with("OK ADIÓS\r\n"), "{screen:?}");
    holder.say("CANCELAR placa 1");
    assert!(holder.list("RESERVAS").is_empty());
}

/// A job that was stopped for longer than its lease does not run again.
#[test]
fn a_job_that_slept_through_its_lease_does_not_go_on() {
    let server = server();
    let script = r#"set -m
        "$0" ejecutar 'placa 1' por=2s -- sh -c 'trap "echo it ran" TERM CONT; echo ready; read line'
        echo "stopped $?"; read line; fg >/dev/null; echo "code $?""#;
    let Some(mut terminal) = at_terminal("bash", server.address, script) else {
        return;
    };
    terminal.expect("ready");
    terminal.send(CTRL_Z);
    terminal.expect("stopped 1");
    is_free(&mut server.connect());
    terminal.send("one\n");
    let screen = terminal.expect("code 76");
    assert!(!screen.contains("it ran"), "{screen:?}");
    assert_eq!(terminal.end().0, 0);
}

// ---------------------------------------------------------------------------------------------
// No process outlives the reservation.

/// A program with a child in its group, a child in its own session, and an orphan in another one.
/// Each prints its name and number. On USR1 the program ends.
const FAMILY: &str = r#"
    trap 'exit 5' USR1
    sleep 600 & echo "child $!"
    setsid sh -c 'echo "session $$"; exec sleep 600' &
    setsid sh -c '(sh -c "echo orphan \$\$; exec sleep 600" &)'
    echo "program $$"
    while :; do wait; done"#;

/// Returns the processes, once all of them have started.
fn family(
    address: SocketAddr,
    request: &[&str],
) -> (Running, std::collections::BTreeMap<String, u32>) {
    let mut running = Running::script(address, request, FAMILY);
    let members = (0..4).map(|_| {
        let line = running.line();
        let (name, pid) = line.split_once(' ').expect("a name and a number");
        (name.to_owned(), pid.parse().expect("a number"))
    });
    let members = members.collect();
    (running, members)
}

/// The case that was reported.
#[test]
fn a_timeout_ends_all_processes() {
    let server = server();
    let mut shell = Command::new("env");
    shell.args(["--default-signal=INT", "timeout", "1", env!("CARGO_BIN_EXE_reserva")]);
    shell.args(["run", "placa 1", "--", "sh", "-c", "sleep 600 & echo $!; wait"]);
    shell.env("RESERVA_SERVER", server.address.to_string());
    let output = shell.output().expect("timeout");
    assert_eq!(output.status.code(), Some(124));
    let pid = String::from_utf8(output.stdout).expect("text").trim().parse().expect("a number");
    assert!(!is_alive(pid));
    assert!(server.connect().list("RESERVAS").is_empty());
}

#[test]
fn processes_left_at_a_normal_end_are_ended_with_a_message() {
    let server = server();
    let script = "setsid sleep 600 & echo $!; exit 4";
    let mut running = Running::script(server.address, &["placa 1"], script);
    let pid = running.pid();
    let message = running.ends_with(4);
    assert!(message.contains("left processes running"), "{message}");
    assert!(!is_alive(pid));
}

#[test]
fn wait_children_holds_until_they_end() {
    let server = server();
    let script = "setsid sh -c 'echo $$; exec sleep 600' & exit 4";
    let words = ["run", "--wait-children", "placa 1", "--", "sh", "-c", script];
    let mut running = Running::start(wrapper(server.address, &words));
    let pid = running.pid();
    let told = running.error_line();
    assert!(told.contains("kept until they end"), "{told}");
    assert_eq!(server.connect().list("RESERVAS").len(), 1);
    assert!(is_alive(pid));
    signal(pid, "KILL");
    running.ends_with(4);
    // A signal can end the processes that it waits for.
    let mut running = Running::start(wrapper(server.address, &words));
    let pid = running.pid();
    running.error_line();
    running.signal("TERM");
    running.ends_with(4);
    assert!(!is_alive(pid));
    assert!(server.connect().list("RESERVAS").is_empty());
}

/// Processes that never stand still: each starts the next one in a new session and ends. No single
/// scan can catch them all.
#[test]
fn processes_that_keep_forking_are_caught() {
    let server = server();
    let mark = format!("runaway-{}", server.address.port());
    let script = format!(
        "trap '' TERM; export HOP='trap \"\" TERM; : {mark}; sleep 0.01; setsid sh -c \"$HOP\" &'
         for i in 1 2 3 4 5 6 7 8; do setsid sh -c \"$HOP\" & done; echo ready; sleep 600"
    );
    let mut running = Running::script(server.address, &["placa 1", "por=8s"], &script);
    running.line();
    assert!(server.connect().say("CANCELAR placa 1").starts_with("OK"));
    running.ends_with(76);
    let left = Command::new("pgrep").args(["-f", &mark]).output().expect("pgrep");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

/// Whichever process is killed, and however: no process of the program outlives the reservation.
#[test]
fn ways_to_die() {
    const TERM_OF: &[&str] = &["placa 1"];
    const LEASE: &[&str] = &["placa 1", "por=1h"];
    const NIGHT: &[&str] = &["placa 1", "noches=1"];
    const SHORT: &[&str] = &["placa 1", "por=3s"];
    // The shortest term that a connection can keep alive.
    const SHORT_TERM: &[&str] = &["placa 1", "hasta=salir", "por=10s"];
    // Process, signal, kind of reservation, and the exit code of the wrapper, unless it is killed
    // itself.
    let rows: [(&str, &str, &[&str], Option<i32>); 31] = [
        ("wrapper", "TERM", TERM_OF, Some(143)),
        ("wrapper", "TERM", LEASE, Some(143)),
        ("wrapper", "TERM", NIGHT, Some(143)),
        ("wrapper", "HUP", TERM_OF, Some(129)),
        ("wrapper", "HUP", LEASE, Some(129)),
        ("wrapper", "USR1", TERM_OF, Some(5)),
        ("wrapper", "KILL", TERM_OF, None),
        ("wrapper", "KILL", LEASE, None),
        ("wrapper", "KILL", NIGHT, None),
        ("wrapper", "STOP", SHORT, Some(76)),
        ("keeper", "KILL", TERM_OF, Some(137)),
        ("keeper", "KILL", LEASE, Some(137)),
        ("keeper", "TERM", LEASE, Some(5)),
        ("keeper", "STOP", LEASE, Some(76)),
        ("program", "USR1", TERM_OF, Some(5)),
        ("program", "USR1", LEASE, Some(5)),
        ("program", "TERM", LEASE, Some(143)),
        ("program", "HUP", NIGHT, Some(129)),
        ("program", "KILL", TERM_OF, Some(137)),
        ("program", "STOP", LEASE, Some(76)),
        ("child", "KILL", LEASE, Some(5)),
        ("child", "STOP", LEASE, Some(5)),
        ("session", "KILL", LEASE, Some(5)),
        ("orphan", "TERM", TERM_OF, Some(5)),
        ("server", "KILL", SHORT_TERM, Some(76)),
        ("server", "KILL", SHORT, Some(76)),
        ("server", "STOP", SHORT, Some(76)),
        ("server", "STOP", SHORT_TERM, Some(76)),
        ("relay", "CUT", SHORT, Some(76)),
        ("relay", "CUT", SHORT_TERM, Some(76)),
        ("wrapper", "STOP", SHORT_TERM, Some(76)),
    ];
    for (who, how, request, code) in rows {
        let case = format!("{who} {how} {request:?}");
        let server = server();
        let relay = Relay::to(server.address);
        let address = if who == "relay" { relay.address } else { server.address };
        let (mut running, members) = family(address, request);
        let mut client = server.connect();
        let pid = match who {
            "wrapper" => running.child.id(),
            "keeper" => keeper_of(&running),
            "server" => server.pid(),
            "relay" => 0,
            member => members[member],
        };
        match who {
            "relay" => relay.cut(),
            _ => signal(pid, how),
        }
        // A process that survives the signal is ended by what a user would do next.
        match (who, how) {
            ("keeper", "TERM") | ("child" | "session" | "orphan", _) => {
                if how != "STOP" {
                    until(&case, || !is_alive(pid) || who == "keeper");
                }
                assert!(is_alive(members["program"]), "{case}");
                signal(members["program"], "USR1");
            }
            ("keeper" | "program", "STOP") => {
                assert!(client.say("CANCELAR placa 1").starts_with("OK"), "{case}");
            }
            _ => {}
        }
        let is_server_there = who != "server";
        if is_server_there && !matches!((who, how), ("keeper" | "program", "STOP")) {
            is_free(&mut client);
            let alive: Vec<_> = members.iter().filter(|(_, pid)| is_alive(**pid)).collect();
            assert!(alive.is_empty(), "{case}: {alive:?} without a reservation");
        }
        if (who, how) == ("wrapper", "STOP") {
            running.signal("CONT");
        }
        let status = wait(&mut running.child);
        assert_eq!(status.code(), code, "{case}: {:?}", running.message());
        if code.is_none() {
            until(&case, || members.values().all(|pid| !is_alive(*pid)));
        }
        let alive: Vec<_> = members.iter().filter(|(_, pid)| is_alive(**pid)).collect();
        assert!(alive.is_empty(), "{case}: {alive:?} after the wrapper");
        if how == "STOP" && who == "server" {
            server.signal("CONT");
        }
    }
}

/// Returns the keeper of a running wrapper.
fn keeper_of(running: &Running) -> u32 {
    let children = Command::new("pgrep").args(["-P", &running.child.id().to_string()]).output();
    let children = String::from_utf8(children.expect("pgrep").stdout).expect("text");
    children.trim().parse().expect("one child")
}

/// Forwards bytes in both directions until it is cut. Then it reads everything and answers nothing,
/// like a tunnel whose other end is gone.
struct Relay {
    address: SocketAddr,
    is_cut: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Relay {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let is_cut = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let shared = is_cut.clone();
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let far = std::net::TcpStream::connect(server).expect("the server");
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) =
                        (from.try_clone().expect("a clone"), to.try_clone().expect("a clone"));
                    let is_cut = shared.clone();
                    std::thread::spawn(move || {
                        let mut bytes = [0; 4096];
                        while let Ok(length @ 1..) = from.read(&mut bytes) {
                            if is_cut.load(std::sync::atomic::Ordering::SeqCst) {
                                continue;
                            }
                            if to.write_all(&bytes[..length]).is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        Relay { address, is_cut }
    }

    fn cut(&self) {
        self.is_cut.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

// ---------------------------------------------------------------------------------------------
// Signals inherited by the wrapper.

/// Starts a program with these signals blocked and ignored. Needs python3.
fn with_signals(blocked: &str, ignored: &str, words: &[&str]) -> Command {
    let script = format!(
        "import os, signal, sys
for number in {ignored}: signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, {blocked})
os.execvp(sys.argv[1], sys.argv[1:])"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &script]).args(words).stdin(Stdio::null());
    command
}

#[test]
fn the_program_inherits_the_signals_that_the_wrapper_was_started_with() {
    let server = server();
    if !support::has("python3") {
        return;
    }
    let shown = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
    let rows = [
        ("[]", "[]"),
        ("[signal.SIGCHLD]", "[]"),
        ("[]", "[signal.SIGCHLD, signal.SIGHUP]"),
        ("[signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM]", "[signal.SIGINT, signal.SIGCHLD]"),
        ("signal.valid_signals()", "[]"),
    ];
    for (blocked, ignored) in rows {
        let direct = with_signals(blocked, ignored, &shown).output().expect("python3");
        let ours = [env!("CARGO_BIN_EXE_reserva"), "run", "placa 1", "por=1h", "--"];
        let mut command = with_signals(blocked, ignored, &[&ours[..], &shown].concat());
        command.env("RESERVA_SERVER", server.address.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3");
        assert!(wait(&mut child).success(), "{blocked} {ignored}");
        let mut wrapped = String::new();
        child.stdout.take().expect("output").read_to_string(&mut wrapped).expect("text");
        assert_eq!(wrapped, String::from_utf8_lossy(&direct.stdout), "{blocked} {ignored}");
    }
    assert!(server.connect().list("RESERVAS").is_empty());
}

/// Returns a command that runs a copy of the client as an otherwise unused user; `None` if the test
/// may not change the user.
fn other_user(folder: &TempDir, arguments: &[&str]) -> Option<Command> {
    const USER: &str = "54321";
    let client = folder.path().join("reserva");
    std::fs::copy(env!("CARGO_BIN_EXE_reserva"), &client).expect("a copy");
    let can = Command::new("setpriv").args(["--reuid", USER, "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        support::skip::skip("needs root and setpriv");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).args(arguments).arg(client);
    Some(command)
}

#[test]
fn at_the_limit_of_processes_there_is_an_error_and_no_reservation() {
    let (server, folder) = (server(), temp_dir());
    for limit in ["--nproc=1", "--nproc=2"] {
        let Some(mut command) = other_user(&folder, &["prlimit", limit]) else {
            return;
        };
        command.env("RESERVA_SERVER", server.address.to_string());
        let output = command.args(["run", "placa 1", "--", "true"]).output().expect("it runs");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(71), "{limit}: {message}");
        assert!(message.contains("cannot create a process"), "{message}");
    }
    assert!(server.connect().list("RESERVAS").is_empty());
    let mut command = other_user(&folder, &["prlimit", "--nproc=1"]).expect("as before");
    command.env("RESERVA_SERVER", server.address.to_string()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("its input").write_all(b"SOY ana\n").expect("it reads");
    let output = child.wait_with_output().expect("its end");
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"OK ana\n"[..]));
}

/// Starts a wrapper as another user, under a lease of three seconds, with a program that has become
/// root as with sudo and cannot be signalled. Also returns its number; `None` if that is impossible
/// here.
fn under_another_user(server: &Server, folder: &TempDir) -> Option<(Running, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let become_root = folder.path().join("become-root");
    ["/usr/bin/setpriv", "/bin/setpriv"]
        .into_iter()
        .find(|path| std::fs::copy(path, &become_root).is_ok())?;
    let mut command = other_user(folder, &[])?;
    std::fs::set_permissions(&become_root, std::fs::Permissions::from_mode(0o4755)).expect("mode");
    let become_root = become_root.to_str().expect("text");
    command.args(["run", "placa 1", "por=3s", "--", become_root, "--reuid", "0", "--regid", "0"]);
    command.args(["--clear-groups", "sh", "-c", "echo $$; exec sleep 600"]);
    command.env("RESERVA_SERVER", server.address.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command);
    let mut first = String::new();
    running.out.read_line(&mut first).expect("a line");
    let pid = first.trim().parse().ok();
    if pid.is_none() {
        support::skip::skip("set-user-ID programs do not work here");
    }
    Some((running, pid?))
}

/// Waits for renewals, for longer than one term.
fn is_renewed(server: &Server) {
    let mut client = server.connect();
    client.say("OBSERVAR");
    for _ in 0..5 {
        let told = client.line();
        assert!(told.contains("RENOVADO #1"), "{told}");
    }
}

#[test]
fn a_program_of_another_user_keeps_its_reservation_and_is_reported() {
    let (server, folder) = (server(), temp_dir());
    let Some((mut running, pid)) = under_another_user(&server, &folder) else {
        return;
    };
    running.signal("TERM");
    let told = running.error_line();
    assert!(told.contains("cannot send the signal"), "{told}");
    is_renewed(&server);
    assert!(server.connect().say("CANCELAR #1").starts_with("OK"));
    let status = wait(&mut running.child);
    assert!(is_alive(pid));
    // It holds the pipes of the test, too.
    signal(pid, "KILL");
    let message = running.ends_with(76);
    assert!(message.contains("STILL RUN WITHOUT IT"), "{status} {message}");
    assert!(!message.contains("have ended"), "{message}");
}

/// The keeper holds the reservation as long as it cannot end the program.
#[test]
fn a_program_of_another_user_keeps_its_reservation_without_the_wrapper() {
    let (server, folder) = (server(), temp_dir());
    let Some((mut running, pid)) = under_another_user(&server, &folder) else {
        return;
    };
    running.child.kill().expect("it dies");
    is_renewed(&server);
    assert!(is_alive(pid));
    assert_eq!(server.connect().list("RESERVAS").len(), 1);
    signal(pid, "KILL");
    is_free(&mut server.connect());
    let (_, _, message) = running.end();
    assert!(message.contains("cannot end process"), "{message}");
}

/// After another client has turned it into an ordinary lease, the goodbye alone would not end it.
#[test]
fn reservation_renewed_by_another_client_is_released_as_well() {
    let server = server();
    let mut running =
        Running::script(server.address, &["placa 1", "hasta=salir"], "echo a; sleep 600");
    running.line();
    let renewed = server.connect().say("RENOVAR #1 por=1h");
    assert!(renewed.starts_with("OK"), "{renewed}");
    running.signal("TERM");
    running.ends_with(143);
    assert!(server.connect().list("RESERVAS").is_empty());
}

// ---------------------------------------------------------------------------------------------
// Scripted servers.

/// Plays a server. Each script is one connection: the expected lines and the replies to them.
fn played(connections: Vec<Vec<(&'static str, &'static str)>>) -> (SocketAddr, Played) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let thread = std::thread::spawn(move || {
        for script in connections {
            let (stream, _) = listener.accept().expect("a client");
            let mut client = Client::from_stream(stream);
            for (heard, said) in script {
                assert_eq!(client.try_line().as_deref(), Some(heard));
                // The client may be gone before the last reply.
                client.try_send(said);
            }
        }
        // Further connections are refused.
        drop(listener);
    });
    (address, thread)
}

type Played = std::thread::JoinHandle<()>;

const GRANT: (&str, &str) = (
    "RESERVE x until=quit for=60s",
    "OK RESERVED #7 x from=2026-11-22T10:00:00+00:00 until=quit for=60s\n",
);
const WATCH: (&str, &str) = ("WATCH x", "OK WATCHING after=41\n");
const HISTORY: (&str, &str) = ("STATUS", "OK 2 STATUS\nversion=1\njournal=00112233aabbccdd\n");
const RENEWED: (&str, &str) =
    ("RENEW #7 for=60s until=quit", "OK RENEWED #7 x until=quit for=60s\n");

fn run_under(address: SocketAddr, options: &[&str], script: &str) -> Running {
    let words = [options, &["run", "x", "--", "sh", "-c", script]].concat();
    Running::start(wrapper(address, &words))
}

/// After a lost connection or watch the wrapper reconnects, and says goodbye at the end.
#[test]
fn a_held_reservation_outlives_its_connection() {
    let told_off = (
        "RENEW #7 for=60s until=quit",
        "OK RENEWED #7 x until=quit for=60s\n* 42 PROGRESS\n* END you are too far behind; continue with WATCH after=42\n",
    );
    let (address, server) = played(vec![
        vec![GRANT, WATCH, RENEWED, HISTORY],
        vec![("WATCH x", "OK WATCHING after=41\n"), HISTORY, told_off],
        vec![
            ("WATCH x", "OK WATCHING after=42\n"),
            HISTORY,
            (
                "RENEW #7 for=60s until=quit",
                "OK RENEWED #7 x until=quit for=60s\n* 43 CANCELLED #6 x\n",
            ),
            ("CANCEL #7", "OK CANCELLED #7 x\n"),
            ("QUIT", "OK BYE\n"),
        ],
    ]);
    let running = run_under(address, &[], "sleep 2; exit 6");
    running.ends_with(6);
    server.join().expect("the script holds");
}

/// A number in another history may belong to another client, so it is neither renewed nor
/// cancelled.
#[test]
fn another_history_is_a_loss() {
    let other: (&str, &str) = ("STATUS", "OK 1 STATUS\njournal=ffffffffffffffff\n");
    let behind: (&str, &str) = ("WATCH x", "OK WATCHING after=40\n");
    for (watch, history) in
        [(WATCH, other), (behind, HISTORY), (behind, ("STATUS", "ERR 400 no\n"))]
    {
        let (address, server) =
            played(vec![vec![GRANT, WATCH, RENEWED, HISTORY], vec![watch, history]]);
        let running = run_under(address, &[], "exec sleep 600");
        let message = running.ends_with(76);
        assert!(message.contains("lost its history"), "{message}");
        server.join().expect("the script holds");
    }
}

/// The same with the real server: it starts without its history, and another client gets the
/// number.
#[test]
fn a_number_that_was_issued_again_is_left_to_its_new_holder() {
    let server = server();
    let address = server.address;
    let mut running = Running::script(address, &["placa 1", "por=60s"], "echo $$; exec sleep 600");
    let pid = running.pid();
    let mut before = server.connect();
    // The next server must have more events than this one.
    assert!(before.say("ALTA otra 1..20").starts_with("OK"));
    assert!(before.say("RESERVAR otra 1").starts_with("OK"));
    drop(before);
    // A notice shows the wrapper the position in this history.
    assert!(server.connect().say("RENOVAR #1 por=50s").starts_with("OK"));
    until("the wrapper has answered", || server.connect().list("RESERVAS").len() == 2);
    server.kill();
    let server = Server::in_memory(&["--listen", &address.to_string()]);
    let mut other = server.connect();
    assert_eq!(other.say("ALTA placa 1"), "OK ALTA 1");
    assert!(other.say("RESERVAR placa 1 por=1h").starts_with("OK RESERVADO #1"));
    running.ends_with(76);
    assert!(!is_alive(pid));
    let left = other.say("VERIFICAR #1");
    let seconds = left.rsplit_once("quedan=").and_then(|(_, left)| left.strip_suffix('s'));
    let seconds: u64 = seconds.and_then(|seconds| seconds.parse().ok()).expect(&left);
    assert!(seconds > 600, "neither cancelled nor cut short: {left}");
}

/// A server that does not support `hasta=salir por=`, and one that refuses for another reason.
#[test]
fn only_a_400_makes_it_hold_by_the_connection_alone() {
    let (address, server) = played(vec![vec![
        ("RESERVE x until=quit for=60s", "ERR 400 no\n"),
        ("RESERVE x until=quit", "OK RESERVED #7 x from=t until=quit\n"),
        WATCH,
        ("VERIFY #7", "OK VALID #7 x left=-\n"),
        HISTORY,
        ("CANCEL #7", "OK CANCELLED #7 x\n"),
        ("QUIT", "OK BYE\n"),
    ]]);
    run_under(address, &[], "exit 6").ends_with(6);
    server.join().expect("the script holds");
    let (address, server) = played(vec![vec![("RESERVE x until=quit for=60s", "ERR 409 no\n")]]);
    run_under(address, &[], "exit 6").ends_with(75);
    server.join().expect("the script holds");
}

/// After the wrapper is killed, the keeper says goodbye on the same connection, once all have
/// ended.
#[test]
fn the_keeper_says_the_goodbye_of_a_killed_wrapper() {
    let (address, server) = played(vec![vec![
        GRANT,
        WATCH,
        RENEWED,
        HISTORY,
        ("CANCEL #7", "OK CANCELLED #7 x\n"),
        ("QUIT", "OK BYE\n"),
    ]]);
    let mut running = run_under(address, &[], "setsid sleep 600 & echo $!; wait");
    let pid = running.pid();
    running.child.kill().expect("it dies");
    server.join().expect("the script holds");
    assert!(!is_alive(pid));
}

#[test]
fn a_server_that_falls_silent_blocks_nobody() {
    let script = |lines: &[(&'static str, &'static str)]| {
        let mut lines = lines.to_vec();
        // No more answers. The client closes, or goes on sending.
        lines.push(("CANCEL #7", ""));
        lines
    };
    for (lines, code) in [(vec![GRANT], 69), (vec![GRANT, WATCH], 69)] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let lines = script(&lines);
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut client = Client::from_stream(stream);
            for (heard, said) in lines {
                while client.try_line().is_some_and(|line| line != heard) {}
                client.try_send(said);
            }
        });
        let message = run_under(address, &["--timeout", "1s"], "echo never").ends_with(code);
        assert!(message.contains("stopped answering"), "{message}");
        server.join().expect("the script holds");
    }
}

#[test]
fn quiet_prints_nothing_but_errors() {
    let server = server();
    let words = ["--quiet", "run", "placa 1", "por=1h", "--", "true"];
    assert_eq!(Running::start(wrapper(server.address, &words)).ends_with(0), "");
    let mut holder = server.connect();
    holder.say("RESERVAR placa 1");
    let words = ["run", "--quiet", "placa 1", "espera=1s", "--", "true"];
    let message = Running::start(wrapper(server.address, &words)).ends_with(75);
    assert!(message.starts_with("ERR 408"), "{message}");
}

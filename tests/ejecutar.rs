//! `reserva ejecutar` with the real server and real programs: the environment and the exit code of
//! the program, how the reservation is kept, and that no process of the program outlives it.
//!
//! A program prints a line when it is ready, and the test waits for that. The only fixed times are
//! the terms of reservations, and how long before their end a program must have ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use support::terminal::Terminal;
use support::{Client, Server, TempDir, temp_dir, until, wait};

/// Returns a client with empty standard input and captured outputs. SIGINT has its default action
/// even if the tests were started with it ignored.
fn reserva(address: SocketAddr, words: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_reserva")]);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["LC_ALL", "LC_MESSAGES", "LANG"] {
        command.env_remove(variable);
    }
    command.env("RESERVA_SERVER", address.to_string());
    command
}

/// A running client.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the client starts");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Running { child, out }
    }

    /// Starts `ejecutar` with this request and a shell script as its program.
    fn script(address: SocketAddr, request: &[&str], script: &str) -> Self {
        Running::start(reserva(address, &run_arguments(request, script)))
    }

    /// Returns the next line of the program.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        match line.strip_suffix('\n') {
            Some(line) => line.to_owned(),
            None => panic!("the program prints nothing more: {:?}", self.message()),
        }
    }

    /// Returns the next line as the number of a process.
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

    /// Returns the next line of standard error.
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

    /// Waits for the end. Returns the exit code, the rest of the output and the messages.
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

fn run_arguments<'a>(request: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["ejecutar"], request, &["--", "sh", "-c", script]].concat()
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.expect("kill").success());
}

/// Returns whether a process exists and is not a zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn server() -> Server {
    let server = Server::in_memory(&[]);
    assert_eq!(server.connect().say("ALTA placa 1, placa 2"), "OK ALTA 2");
    server
}

/// Returns a server with a data directory and one resource.
fn durable_server(directory: &TempDir) -> Server {
    let server = Server::durable(directory.path(), &[]);
    assert_eq!(server.connect().say("ALTA placa 1"), "OK ALTA 1");
    server
}

/// Waits until there is no reservation.
#[track_caller]
fn wait_until_free(client: &mut Client) {
    until("all is free", || client.list("RESERVAS").is_empty());
}

// ---------------------------------------------------------------------------------------------
// The environment and the exit code of the program.

#[test]
fn exit_code_is_that_of_the_program() {
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
fn program_that_cannot_be_run_is_126_or_127() {
    let server = server();
    for (program, code) in [("/no/such/program", 127), ("no-such-program", 127), ("/", 126)] {
        let command = reserva(server.address, &["run", "placa 1", "--", program]);
        let message = Running::start(command).ends_with(code);
        assert!(message.contains(program) && message.contains("cannot run"), "{message}");
    }
    assert!(server.connect().list("RESERVAS").is_empty());
}

#[test]
fn environment_describes_the_reservation() {
    let server = server();
    let script = r#"echo "$RESERVA_ID"; echo "$RESERVA_RECURSOS"; echo "$RESERVA_HASTA""#;
    let mut program = Running::script(server.address, &["placa", "1,", "placa 2"], script);
    let lines: Vec<String> = (0..4).map(|_| program.line()).collect();
    assert_eq!(lines, ["1", "placa 1", "placa 2", "salir"]);
    program.ends_with(0);
    let words = ["Run", "placa *", "for=1h", "--", "sh", "-c", script];
    let mut program = Running::start(reserva(server.address, &words));
    assert_eq!((program.line(), program.line()), ("2".into(), "placa 1".into()));
    assert!(program.line().ends_with("+00:00"));
    program.ends_with(0);
}

#[test]
fn arguments_are_passed_unchanged() {
    use std::os::unix::ffi::OsStrExt;
    let server = server();
    let mut command = reserva(server.address, &["EJECUTAR", "placa 1", "--"]);
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
fn standard_input_and_outputs_are_passed_unchanged() {
    let server = server();
    let mut command = reserva(server.address, &["ejecutar", "placa 1", "--", "sh", "-c"]);
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
fn signals_are_forwarded() {
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
    // A signal without a handler ends the program.
    let mut program = Running::script(server.address, &["placa 1"], "echo ready; exec sleep 60");
    program.line();
    program.signal("TERM");
    program.ends_with(128 + 15);
    wait_until_free(&mut server.connect());
}

/// As with a terminal or `timeout`.
#[test]
fn signals_are_forwarded_to_the_process_group() {
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

/// As after `nohup`, or `&` in a script.
#[test]
fn ignored_signal_stays_ignored() {
    let server = server();
    let mut shell = Command::new("sh");
    let ours = env!("CARGO_BIN_EXE_reserva");
    let script = r#"trap '' HUP; exec "$0" ejecutar 'placa 1' -- sh -c 'kill -s HUP $$; exit 4'"#;
    shell.args(["-c", script, ours]).env("RESERVA_SERVER", server.address.to_string());
    assert_eq!(shell.status().expect("sh").code(), Some(4));
}

// ---------------------------------------------------------------------------------------------
// The reservation that is not granted.

#[test]
fn refused_reservation_is_64_or_75() {
    let server = server();
    let mut holder = server.connect();
    assert_eq!(holder.say("RESERVAR placa 1"), "OK RESERVADO #1 placa 1");
    let cases: [(&[&str], &str, i32); 5] = [
        (&["placa 1"], "ERR 409", 75),
        (&["placa 1", "espera=1s"], "ERR 408", 75),
        (&["placa 3"], "ERR 404", 64),
        (&["placa 2", "por=nada"], "ERR 400", 64),
        (&["placa 2", "titular=1"], "ERR 400", 64),
    ];
    for (request, error, code) in cases {
        let message = Running::script(server.address, request, "echo never").ends_with(code);
        assert!(message.contains(error), "{message}");
    }
    assert_eq!(holder.list("RESERVAS").len(), 1);
}

#[test]
fn unreachable_server_is_69() {
    let listener = TcpListener::bind("127.0.0.3:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let message = Running::script(address, &["x"], "echo never").ends_with(69);
    assert!(message.contains(&address.to_string()), "{message}");
}

#[test]
fn usage_error_is_64() {
    let nowhere = "127.0.0.3:1".parse().expect("an address");
    let cases: [&[&str]; 7] = [
        &["run", "x", "--wait", "--", "true"],
        &["ejecutar"],
        &["ejecutar", "x"],
        &["run", "x", "--"],
        &["run", "--", "true"],
        &["run", "x", "clave=k", "--", "true"],
        &["run", "x", "desde=ahora", "--", "true"],
    ];
    for words in cases {
        Running::start(reserva(nowhere, words)).ends_with(64);
    }
}

#[test]
fn help_option_may_follow_run() {
    for words in [&["run", "--help"][..], &["ejecutar", "x", "-h", "--", "true"]] {
        let nowhere = "127.0.0.3:1".parse().expect("an address");
        let done = reserva(nowhere, words).output().expect("the client starts");
        let shown = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && shown.contains("--wait-children"), "{words:?}: {done:?}");
    }
    // An option after the `--` belongs to the program.
    let server = server();
    let mut program =
        Running::start(reserva(server.address, &["run", "placa 1", "--", "echo", "-h"]));
    assert_eq!(program.line(), "-h");
    program.ends_with(0);
}

#[test]
fn queue_position_is_printed_until_the_grant() {
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

/// The term of a lease starts when it is granted.
#[test]
fn wait_in_the_queue_does_not_shorten_the_lease() {
    let server = server();
    let mut holder = server.connect();
    holder.say("RESERVAR placa 1 por=3s");
    let request = ["placa 1", "espera=60s", "por=2s"];
    Running::script(server.address, &request, "sleep 3; exit 6").ends_with(6);
}

#[test]
fn interrupted_wait_leaves_the_queue() {
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
fn holder_is_sent_to_the_server() {
    let server = server();
    let request = ["placa 1", "titular=ana", "por=1h"];
    let mut program = Running::script(server.address, &request, "echo ready; exec sleep 60");
    program.line();
    let bookings = server.connect().list("RESERVAS");
    assert!(bookings[0].starts_with("#1\tplaca 1\tana\t"), "{bookings:?}");
    assert!(server.connect().say("CANCELAR #1").starts_with("ERR 403"));
    program.signal("TERM");
    program.ends_with(143);
    wait_until_free(&mut server.connect());
}

// ---------------------------------------------------------------------------------------------
// The lost reservation.

/// For each kind of end, and for one of several resources.
#[test]
fn cancellation_by_another_client_is_76() {
    let server = server();
    let cases: [(&[&str], &str); 5] = [
        (&["placa 1"], "CANCELAR placa 1"),
        (&["placa 1", "por=1h"], "CANCELAR placa 1"),
        (&["placa 1", "noches=2"], "CANCELAR placa 1"),
        (&["placa 1, placa 2"], "CANCELAR placa 2"),
        (&["placa 1, placa 2", "por=1h"], "CANCELAR placa 2"),
    ];
    for (request, cancel) in cases {
        let script = "trap 'echo signalled; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
        let mut program = Running::script(server.address, request, script);
        program.line();
        assert!(server.connect().say(cancel).starts_with("OK"), "{cancel}");
        assert_eq!(program.line(), "signalled");
        let message = program.ends_with(76);
        assert!(message.contains("was lost"), "{message}");
        wait_until_free(&mut server.connect());
    }
}

/// Another client shortens the lease, and the client renews it for the original term.
#[test]
fn lease_changed_by_another_client_wait_for_renewals() {
    let server = server();
    let mut other = server.connect();
    let request = ["placa 1", "por=1h"];
    let mut program = Running::script(server.address, &request, "echo ready; exec sleep 60");
    program.line();
    other.send("OBSERVAR\n");
    other.line();
    assert!(other.say("RENOVAR #1 por=10s").starts_with("OK"));
    assert!(other.line().contains("RENOVADO #1"));
    // The renewal by the client follows immediately.
    assert!(other.line().contains("RENOVADO #1"));
    let left = other.say("VERIFICAR #1");
    assert!(left.ends_with("quedan=3599s") || left.ends_with("quedan=3600s"), "{left}");
    program.signal("TERM");
    program.ends_with(143);
}

#[test]
fn process_group_that_ignores_term_is_killed() {
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

/// The program ends immediately, and a child that it leaves running does not.
#[test]
fn child_left_running_gets_term_before_kill() {
    let server = server();
    let script = "(trap 'echo cleaned' TERM; echo ready; while :; do sleep 0.02; done) & wait";
    let mut program = Running::script(server.address, &["placa 1", "por=3s"], script);
    program.line();
    assert!(server.connect().say("CANCELAR #1").starts_with("OK"));
    assert_eq!(program.line(), "cleaned");
    program.ends_with(76);
}

#[test]
fn death_of_the_server_is_76_with_until_quit() {
    let server = server();
    let script = "echo ready; exec sleep 600";
    // The shortest term that the server accepts with `hasta=salir`.
    let request = ["placa 1", "hasta=salir", "por=10s"];
    let mut program = Running::script(server.address, &request, script);
    program.line();
    server.kill();
    program.ends_with(76);
}

#[test]
fn lease_survives_a_restart_of_the_server() {
    for request in [
        &["placa 1", "por=6s"][..],
        &["placa 1", "noches=2"],
        &["placa 1", "por=6s", "titular=ana"],
    ] {
        let directory = temp_dir();
        let server = durable_server(&directory);
        let address = server.address;
        let script = "echo ready; read line; echo \"$line\"; exit 8";
        let mut command = reserva(address, &run_arguments(request, script));
        let mut program = Running::start({
            command.stdin(Stdio::piped());
            command
        });
        program.line();
        server.kill();
        let server = Server::durable(directory.path(), &["--listen", &address.to_string()]);
        let mut client = server.connect();
        // The client has connected again: it watches, and renews a lease.
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
        wait_until_free(&mut server.connect());
        server.stop();
    }
}

/// The server is killed, or stopped.
#[test]
fn program_ends_before_a_lease_that_cannot_be_renewed() {
    let mut stopped = None;
    for is_killed in [true, false] {
        let server = server();
        let begun = Instant::now();
        let script = "trap '' TERM; echo $$; while :; do sleep 0.05; done";
        let mut program = Running::script(server.address, &["placa 1", "por=3s"], script);
        let pid = program.pid();
        // Before the first renewal, so the lease ends at most three seconds after the start.
        let started = Instant::now();
        if is_killed {
            server.kill();
        } else {
            // Killed at the end of the test.
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

/// Another client has reserved the time after it.
#[test]
fn program_ends_before_a_lease_that_cannot_be_extended() {
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
    assert!(message.contains("it was about to expire"), "{message}");
}

#[test]
fn program_ends_before_a_fixed_end() {
    let server = server();
    let mut other = server.connect();
    let zone_free = other.say("CUANDO placa 1 por=1h");
    let now = zone_free.split(' ').nth(1).expect("a time").to_owned();
    let until = add_seconds(&now, 6);
    let request = ["placa 1".to_owned(), format!("hasta={until}")];
    let request: Vec<&str> = request.iter().map(String::as_str).collect();
    let mut program = Running::script(server.address, &request, "echo ready; exec sleep 600");
    program.line();
    program.ends_with(76);
}

/// Adds seconds to a time like `…T12:34:56+00:00`.
fn add_seconds(time: &str, seconds: u64) -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", &format!("{time} {seconds} seconds")])
        .output()
        .expect("date");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

// ---------------------------------------------------------------------------------------------
// The killed client.

#[test]
fn death_of_the_client_ends_program_and_reservation() {
    let server = server();
    for (request, is_free_at_once) in [(&["placa 1"][..], true), (&["placa 1", "por=2s"], false)] {
        let mut program = Running::script(server.address, request, "echo $$; exec sleep 600");
        let pid = program.pid();
        let mut client = server.connect();
        assert_eq!(client.list("RESERVAS").len(), 1, "{is_free_at_once}");
        program.child.kill().expect("it dies");
        assert_eq!(program.child.wait().expect("its end").signal(), Some(9));
        until("the program is gone", || !is_alive(pid));
        wait_until_free(&mut client);
    }
}

#[test]
fn reservation_is_released_before_the_client_ends() {
    let server = server();
    let mut watcher = server.connect();
    watcher.say("OBSERVAR");
    for request in [&["placa 1"][..], &["placa 1", "por=1h"], &["placa 1", "noches=1"]] {
        Running::script(server.address, request, "true").ends_with(0);
        assert!(server.connect().list("RESERVAS").is_empty());
    }
}

/// The server is stopped, and the client ends nevertheless.
#[test]
fn release_without_a_reply_is_reported() {
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

/// Starts a shell script at a terminal. Its `$0` is the client.
fn at_terminal(shell: &str, address: SocketAddr, script: &str) -> Option<Terminal> {
    let server = format!("RESERVA_SERVER={address}");
    let client = env!("CARGO_BIN_EXE_reserva");
    Terminal::run(&["env", "LC_ALL=C", &server, shell, "-c", script, client])
}

/// The program reads the terminal and receives Ctrl-C. Then the script reads the terminal.
#[test]
fn program_gets_the_terminal_and_returns_it() {
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

/// Before it has the terminal, the program receives Ctrl-C as well.
#[test]
fn program_in_a_pipeline_gets_the_terminal_when_it_reads() {
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

/// Ctrl-Z stops the job, the shell gets the terminal, and `fg` continues the job.
#[test]
fn job_can_be_stopped_and_continued() {
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

/// No shell could continue the client in a session of its own.
#[test]
fn client_without_a_shell_does_not_stop() {
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

/// Ctrl-C in interactive mode, while a command waits in the queue.
#[test]
fn ctrl_c_ends_a_wait_and_the_session() {
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

#[test]
fn job_stopped_beyond_its_lease_does_not_continue() {
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
    wait_until_free(&mut server.connect());
    terminal.send("one\n");
    let screen = terminal.expect("code 76");
    assert!(!screen.contains("it ran"), "{screen:?}");
    assert_eq!(terminal.end().0, 0);
}

// ---------------------------------------------------------------------------------------------
// No process outlives the reservation.

/// A program with a child in its group, a child in its own session, and an orphan in another
/// session.
/// Each prints its name and number. USR1 ends the program.
const PROCESSES: &str = r#"
    trap 'exit 5' USR1
    sleep 600 & echo "child $!"
    setsid sh -c 'echo "session $$"; exec sleep 600' &
    setsid sh -c '(sh -c "echo orphan \$\$; exec sleep 600" &)'
    echo "program $$"
    while :; do wait; done"#;

/// Returns the processes, once all of them have started.
fn start_processes(
    address: SocketAddr,
    request: &[&str],
) -> (Running, std::collections::BTreeMap<String, u32>) {
    let mut running = Running::script(address, request, PROCESSES);
    let members = (0..4).map(|_| {
        let line = running.line();
        let (name, pid) = line.split_once(' ').expect("a name and a number");
        (name.to_owned(), pid.parse().expect("a number"))
    });
    let members = members.collect();
    (running, members)
}

#[test]
fn timeout_command_ends_all_processes() {
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
fn processes_left_running_are_ended_with_a_message() {
    let server = server();
    let script = "setsid sleep 600 & echo $!; exit 4";
    let mut running = Running::script(server.address, &["placa 1"], script);
    let pid = running.pid();
    let message = running.ends_with(4);
    assert!(message.contains("left processes running"), "{message}");
    assert!(!is_alive(pid));
}

#[test]
fn wait_children_keeps_the_reservation_until_they_end() {
    let server = server();
    let script = "setsid sh -c 'echo $$; exec sleep 600' & exit 4";
    let words = ["run", "--wait-children", "placa 1", "--", "sh", "-c", script];
    let mut running = Running::start(reserva(server.address, &words));
    let pid = running.pid();
    let message = running.error_line();
    assert!(message.contains("kept until they end"), "{message}");
    assert_eq!(server.connect().list("RESERVAS").len(), 1);
    assert!(is_alive(pid));
    signal(pid, "KILL");
    running.ends_with(4);
    // A signal for the client ends the processes that it waits for.
    let mut running = Running::start(reserva(server.address, &words));
    let pid = running.pid();
    running.error_line();
    running.signal("TERM");
    running.ends_with(4);
    assert!(!is_alive(pid));
    assert!(server.connect().list("RESERVAS").is_empty());
}

/// Each process starts the next one in a new session and ends. No single scan can find all of them.
#[test]
fn processes_that_keep_forking_are_killed() {
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

/// Signals any process and checks that no process of the program outlives the reservation.
#[test]
fn no_process_outlives_the_reservation_after_any_signal() {
    const DEFAULT: &[&str] = &["placa 1"];
    const LEASE: &[&str] = &["placa 1", "por=1h"];
    const NIGHT: &[&str] = &["placa 1", "noches=1"];
    const SHORT: &[&str] = &["placa 1", "por=3s"];
    // The shortest term that the server accepts with `hasta=salir`.
    const SHORT_TERM: &[&str] = &["placa 1", "hasta=salir", "por=10s"];
    // Process, signal, kind of reservation, and the exit code of the client, unless it is killed
    // itself.
    let cases: [(&str, &str, &[&str], Option<i32>); 31] = [
        ("client", "TERM", DEFAULT, Some(143)),
        ("client", "TERM", LEASE, Some(143)),
        ("client", "TERM", NIGHT, Some(143)),
        ("client", "HUP", DEFAULT, Some(129)),
        ("client", "HUP", LEASE, Some(129)),
        ("client", "USR1", DEFAULT, Some(5)),
        ("client", "KILL", DEFAULT, None),
        ("client", "KILL", LEASE, None),
        ("client", "KILL", NIGHT, None),
        ("client", "STOP", SHORT, Some(76)),
        ("keeper", "KILL", DEFAULT, Some(137)),
        ("keeper", "KILL", LEASE, Some(137)),
        ("keeper", "TERM", LEASE, Some(5)),
        ("keeper", "STOP", LEASE, Some(76)),
        ("program", "USR1", DEFAULT, Some(5)),
        ("program", "USR1", LEASE, Some(5)),
        ("program", "TERM", LEASE, Some(143)),
        ("program", "HUP", NIGHT, Some(129)),
        ("program", "KILL", DEFAULT, Some(137)),
        ("program", "STOP", LEASE, Some(76)),
        ("child", "KILL", LEASE, Some(5)),
        ("child", "STOP", LEASE, Some(5)),
        ("session", "KILL", LEASE, Some(5)),
        ("orphan", "TERM", DEFAULT, Some(5)),
        ("server", "KILL", SHORT_TERM, Some(76)),
        ("server", "KILL", SHORT, Some(76)),
        ("server", "STOP", SHORT, Some(76)),
        ("server", "STOP", SHORT_TERM, Some(76)),
        ("relay", "CUT", SHORT, Some(76)),
        ("relay", "CUT", SHORT_TERM, Some(76)),
        ("client", "STOP", SHORT_TERM, Some(76)),
    ];
    for (process, signal_name, request, code) in cases {
        let case = format!("{process} {signal_name} {request:?}");
        let server = server();
        let relay = Relay::to(server.address);
        let address = if process == "relay" { relay.address } else { server.address };
        let (mut running, members) = start_processes(address, request);
        let mut client = server.connect();
        let pid = match process {
            "client" => running.child.id(),
            "keeper" => keeper_of(&running),
            "server" => server.pid(),
            "relay" => 0,
            member => members[member],
        };
        match process {
            "relay" => relay.cut(),
            _ => signal(pid, signal_name),
        }
        // If the signal ends nothing, the program is ended in another way.
        match (process, signal_name) {
            ("keeper", "TERM") | ("child" | "session" | "orphan", _) => {
                if signal_name != "STOP" {
                    until(&case, || !is_alive(pid) || process == "keeper");
                }
                assert!(is_alive(members["program"]), "{case}");
                signal(members["program"], "USR1");
            }
            ("keeper" | "program", "STOP") => {
                assert!(client.say("CANCELAR placa 1").starts_with("OK"), "{case}");
            }
            _ => {}
        }
        let is_server_there = process != "server";
        if is_server_there && !matches!((process, signal_name), ("keeper" | "program", "STOP")) {
            wait_until_free(&mut client);
            let alive: Vec<_> = members.iter().filter(|(_, pid)| is_alive(**pid)).collect();
            assert!(alive.is_empty(), "{case}: {alive:?} without a reservation");
        }
        if (process, signal_name) == ("client", "STOP") {
            running.signal("CONT");
        }
        let status = wait(&mut running.child);
        assert_eq!(status.code(), code, "{case}: {:?}", running.message());
        if code.is_none() {
            until(&case, || members.values().all(|pid| !is_alive(*pid)));
        }
        let alive: Vec<_> = members.iter().filter(|(_, pid)| is_alive(**pid)).collect();
        assert!(alive.is_empty(), "{case}: {alive:?} after the client");
        if signal_name == "STOP" && process == "server" {
            server.signal("CONT");
        }
    }
}

/// Returns the keeper of a running client.
fn keeper_of(running: &Running) -> u32 {
    let children = Command::new("pgrep").args(["-P", &running.child.id().to_string()]).output();
    let children = String::from_utf8(children.expect("pgrep").stdout).expect("text");
    children.trim().parse().expect("one child")
}

/// Forwards bytes in both directions until it is cut. Then it reads and discards everything, like a
/// tunnel that has lost its other end.
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
// Inherited signals and other users.

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
fn program_inherits_the_signal_mask_and_dispositions() {
    let server = server();
    if !support::has("python3") {
        return;
    }
    let shown = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
    let cases = [
        ("[]", "[]"),
        ("[signal.SIGCHLD]", "[]"),
        ("[]", "[signal.SIGCHLD, signal.SIGHUP]"),
        ("[signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM]", "[signal.SIGINT, signal.SIGCHLD]"),
        ("signal.valid_signals()", "[]"),
    ];
    for (blocked, ignored) in cases {
        let direct = with_signals(blocked, ignored, &shown).output().expect("python3");
        let ours = [env!("CARGO_BIN_EXE_reserva"), "run", "placa 1", "por=1h", "--"];
        let mut command = with_signals(blocked, ignored, &[&ours[..], &shown].concat());
        command.env("RESERVA_SERVER", server.address.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3");
        assert!(wait(&mut child).success(), "{blocked} {ignored}");
        let mut with_client = String::new();
        child.stdout.take().expect("output").read_to_string(&mut with_client).expect("text");
        assert_eq!(with_client, String::from_utf8_lossy(&direct.stdout), "{blocked} {ignored}");
    }
    assert!(server.connect().list("RESERVAS").is_empty());
}

/// Returns a command that runs a copy of the client as a user without other processes; `None` if the
/// test may not change the user.
fn other_user(directory: &TempDir, arguments: &[&str]) -> Option<Command> {
    const USER: &str = "54321";
    let client = directory.path().join("reserva");
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
fn process_limit_is_71_without_a_reservation() {
    let (server, directory) = (server(), temp_dir());
    for limit in ["--nproc=1", "--nproc=2"] {
        let Some(mut command) = other_user(&directory, &["prlimit", limit]) else {
            return;
        };
        command.env("RESERVA_SERVER", server.address.to_string());
        let output = command.args(["run", "placa 1", "--", "true"]).output().expect("it runs");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(71), "{limit}: {message}");
        assert!(message.contains("cannot create a process"), "{message}");
    }
    assert!(server.connect().list("RESERVAS").is_empty());
    let mut command = other_user(&directory, &["prlimit", "--nproc=1"]).expect("as before");
    command.env("RESERVA_SERVER", server.address.to_string()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("its input").write_all(b"SOY ana\n").expect("it reads");
    let output = child.wait_with_output().expect("its end");
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"OK ana\n"[..]));
}

/// Starts a client as another user, under a lease of three seconds, with a program that becomes root
/// (as with sudo) and cannot be signalled. Also returns the number of that process; `None` if this is
/// impossible here.
fn under_another_user(server: &Server, directory: &TempDir) -> Option<(Running, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let become_root = directory.path().join("become-root");
    ["/usr/bin/setpriv", "/bin/setpriv"]
        .into_iter()
        .find(|path| std::fs::copy(path, &become_root).is_ok())?;
    let mut command = other_user(directory, &[])?;
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

/// Waits for more renewals than fit into one term.
fn wait_for_renewals(server: &Server) {
    let mut client = server.connect();
    client.say("OBSERVAR");
    for _ in 0..5 {
        let message = client.line();
        assert!(message.contains("RENOVADO #1"), "{message}");
    }
}

#[test]
fn program_of_another_user_keeps_its_reservation_and_is_reported() {
    let (server, directory) = (server(), temp_dir());
    let Some((mut running, pid)) = under_another_user(&server, &directory) else {
        return;
    };
    running.signal("TERM");
    let message = running.error_line();
    assert!(message.contains("cannot send the signal"), "{message}");
    wait_for_renewals(&server);
    assert!(server.connect().say("CANCELAR #1").starts_with("OK"));
    let status = wait(&mut running.child);
    assert!(is_alive(pid));
    // It holds the pipes of the test, too, so it has to end first.
    signal(pid, "KILL");
    let message = running.ends_with(76);
    assert!(message.contains("STILL RUN WITHOUT IT"), "{status} {message}");
    assert!(!message.contains("have ended"), "{message}");
}

/// The keeper renews the reservation as long as it cannot end the program.
#[test]
fn program_of_another_user_keeps_its_reservation_after_the_death_of_the_client() {
    let (server, directory) = (server(), temp_dir());
    let Some((mut running, pid)) = under_another_user(&server, &directory) else {
        return;
    };
    running.child.kill().expect("it dies");
    wait_for_renewals(&server);
    assert!(is_alive(pid));
    assert_eq!(server.connect().list("RESERVAS").len(), 1);
    signal(pid, "KILL");
    wait_until_free(&mut server.connect());
    let (_, _, message) = running.end();
    assert!(message.contains("cannot end process"), "{message}");
}

/// After `RENOVAR por=` of another client, the reservation does not end with the connection.
#[test]
fn reservation_renewed_by_another_client_is_released() {
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

/// Starts a scripted server. A script lists the expected lines of a connection and the replies.
fn scripted_server(
    connections: Vec<Vec<(&'static str, &'static str)>>,
) -> (SocketAddr, ScriptThread) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let thread = std::thread::spawn(move || {
        for script in connections {
            let (stream, _) = listener.accept().expect("a client");
            let mut client = Client::from_stream(stream);
            for (expected, said) in script {
                assert_eq!(client.try_line().as_deref(), Some(expected));
                // The client may have closed the connection before the last reply.
                client.try_send(said);
            }
        }
        // Refuses further connections.
        drop(listener);
    });
    (address, thread)
}

type ScriptThread = std::thread::JoinHandle<()>;

const GRANT: (&str, &str) = (
    "RESERVE x until=quit for=60s",
    "OK RESERVED #7 x from=2026-11-22T10:00:00+00:00 until=quit for=60s\n",
);
const WATCH: (&str, &str) = ("WATCH x", "OK WATCHING after=41\n");
const HISTORY: (&str, &str) = ("STATUS", "OK 2 STATUS\nversion=1\njournal=00112233aabbccdd\n");
const RENEWED: (&str, &str) =
    ("RENEW #7 for=60s until=quit", "OK RENEWED #7 x until=quit for=60s\n");

fn run_x(address: SocketAddr, options: &[&str], script: &str) -> Running {
    let words = [options, &["run", "x", "--", "sh", "-c", script]].concat();
    Running::start(reserva(address, &words))
}

/// The client connects again after it has lost its connection or its watch, and releases at the end.
#[test]
fn reservation_outlives_its_connection() {
    let end_of_watch = (
        "RENEW #7 for=60s until=quit",
        "OK RENEWED #7 x until=quit for=60s\n* 42 PROGRESS\n* END you are too far behind; continue with WATCH after=42\n",
    );
    let (address, server) = scripted_server(vec![
        vec![GRANT, WATCH, RENEWED, HISTORY],
        vec![("WATCH x", "OK WATCHING after=41\n"), HISTORY, end_of_watch],
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
    let running = run_x(address, &[], "sleep 2; exit 6");
    running.ends_with(6);
    server.join().expect("the script holds");
}

/// A number in another history may belong to another client, so it is neither renewed nor
/// cancelled.
#[test]
fn different_history_is_76() {
    let other: (&str, &str) = ("STATUS", "OK 1 STATUS\njournal=ffffffffffffffff\n");
    let behind: (&str, &str) = ("WATCH x", "OK WATCHING after=40\n");
    for (watch, history) in
        [(WATCH, other), (behind, HISTORY), (behind, ("STATUS", "ERR 400 no\n"))]
    {
        let (address, server) =
            scripted_server(vec![vec![GRANT, WATCH, RENEWED, HISTORY], vec![watch, history]]);
        let running = run_x(address, &[], "exec sleep 600");
        let message = running.ends_with(76);
        assert!(message.contains("lost its history"), "{message}");
        server.join().expect("the script holds");
    }
}

/// The same with the real server, which starts without its history and grants the number again.
#[test]
fn number_issued_again_is_not_cancelled() {
    let server = server();
    let address = server.address;
    let mut running = Running::script(address, &["placa 1", "por=60s"], "echo $$; exec sleep 600");
    let pid = running.pid();
    let mut before = server.connect();
    // The next server must have more events than this one.
    assert!(before.say("ALTA otra 1..20").starts_with("OK"));
    assert!(before.say("RESERVAR otra 1").starts_with("OK"));
    drop(before);
    // The notice of this renewal informs the client of the position in the history.
    assert!(server.connect().say("RENOVAR #1 por=50s").starts_with("OK"));
    until("the client has renewed", || server.connect().list("RESERVAS").len() == 2);
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

/// With a server that does not support `hasta=salir por=`, and one that refuses for another reason.
#[test]
fn only_err_400_makes_the_client_fall_back_to_until_quit() {
    let (address, server) = scripted_server(vec![vec![
        ("RESERVE x until=quit for=60s", "ERR 400 no\n"),
        ("RESERVE x until=quit", "OK RESERVED #7 x from=t until=quit\n"),
        WATCH,
        ("VERIFY #7", "OK VALID #7 x left=-\n"),
        HISTORY,
        ("CANCEL #7", "OK CANCELLED #7 x\n"),
        ("QUIT", "OK BYE\n"),
    ]]);
    run_x(address, &[], "exit 6").ends_with(6);
    server.join().expect("the script holds");
    let (address, server) =
        scripted_server(vec![vec![("RESERVE x until=quit for=60s", "ERR 409 no\n")]]);
    run_x(address, &[], "exit 6").ends_with(75);
    server.join().expect("the script holds");
}

/// On the connection of the client, after all processes have ended.
#[test]
fn keeper_releases_after_the_death_of_the_client() {
    let (address, server) = scripted_server(vec![vec![
        GRANT,
        WATCH,
        RENEWED,
        HISTORY,
        ("CANCEL #7", "OK CANCELLED #7 x\n"),
        ("QUIT", "OK BYE\n"),
    ]]);
    let mut running = run_x(address, &[], "setsid sleep 600 & echo $!; wait");
    let pid = running.pid();
    running.child.kill().expect("it dies");
    server.join().expect("the script holds");
    assert!(!is_alive(pid));
}

#[test]
fn silent_server_after_the_grant_is_69() {
    let script = |lines: &[(&'static str, &'static str)]| {
        let mut lines = lines.to_vec();
        // The server does not reply any more. The client closes, or continues to send.
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
            for (expected, said) in lines {
                while client.try_line().is_some_and(|line| line != expected) {}
                client.try_send(said);
            }
        });
        let message = run_x(address, &["--timeout", "1s"], "echo never").ends_with(code);
        assert!(message.contains("stopped answering"), "{message}");
        server.join().expect("the script holds");
    }
}

#[test]
fn quiet_prints_only_errors() {
    let server = server();
    let words = ["--quiet", "run", "placa 1", "por=1h", "--", "true"];
    assert_eq!(Running::start(reserva(server.address, &words)).ends_with(0), "");
    let mut holder = server.connect();
    holder.say("RESERVAR placa 1");
    let words = ["run", "--quiet", "placa 1", "espera=1s", "--", "true"];
    let message = Running::start(reserva(server.address, &words)).ends_with(75);
    assert!(message.starts_with("ERR 408"), "{message}");
}

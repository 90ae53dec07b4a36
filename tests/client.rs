//! The program `reserva` against scripted servers, over real sockets.
//!
//! A scripted server runs on a thread of the test. It asserts each line of the client and decides,
//! byte by byte, what the client receives. Each wait is for an event and has a limit.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::skip;
use support::terminal::Terminal;

/// Limit for every wait. Exceeding it is a failure.
const TIME_LIMIT: Duration = Duration::from_secs(60);

// ---------------------------------------------------------------------------------------------
// The scripted server.

/// A server that runs a script for its first client.
struct Server {
    address: String,
    thread: JoinHandle<()>,
}

impl Server {
    fn scripted(script: impl FnOnce(Peer) + Send + 'static) -> Self {
        Server::scripted_at("127.0.0.1:0", script).expect("a free port")
    }

    fn scripted_at(address: &str, script: impl FnOnce(Peer) + Send + 'static) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let address = listener.local_addr().expect("its address").to_string();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            script(Peer::new(stream));
        });
        Some(Server { address, thread })
    }

    /// Starts a server that sends `reply` for each line except blank ones, until the client closes.
    fn replying(reply: impl Fn(&str) -> String + Send + 'static) -> Self {
        Server::scripted(move |mut peer| {
            while let Some(line) = peer.line() {
                if !line.trim().is_empty() {
                    peer.send(&reply(&line));
                }
            }
        })
    }

    /// Waits for the end of the script, and fails if one of its assertions did.
    fn join(self) {
        self.thread.join().expect("the script of the server holds");
    }

    fn port(&self) -> &str {
        self.address.rsplit_once(':').expect("a port").1
    }
}

/// The client, as seen by the server.
struct Peer {
    lines: BufReader<TcpStream>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(TIME_LIMIT)).expect("a timeout");
        Peer { lines: BufReader::new(stream) }
    }

    /// Returns the next line without its LF; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).expect("a line in time");
        (length > 0).then(|| line.strip_suffix('\n').expect("a whole line").to_owned())
    }

    fn expect(&mut self, expected: &str) {
        assert_eq!(self.line().as_deref(), Some(expected));
    }

    fn expect_end(&mut self) {
        assert_eq!(self.line(), None);
    }

    fn send(&mut self, text: &str) {
        self.lines.get_mut().write_all(text.as_bytes()).expect("the client reads");
    }

    /// Closes the connection with a reset, which the kernel sends because bytes were not read. The
    /// peek ensures that there are some.
    fn reset(self) {
        let mut byte = [0];
        assert_eq!(self.lines.get_ref().peek(&mut byte).expect("something unread"), 1);
    }
}

/// Returns an address without a listener. It is not on 127.0.0.1, where another test could get the
/// same port.
fn unused_address() -> String {
    let listener = TcpListener::bind("127.0.0.2:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

// ---------------------------------------------------------------------------------------------
// The client under test.

/// Returns a client without the variables of the environment that influence it.
fn client(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reserva"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["LC_ALL", "LC_MESSAGES", "LANG", "RESERVA_SERVER"] {
        command.env_remove(variable);
    }
    command
}

/// Returns a client of this server, with these arguments.
fn to(address: &str, words: &[&str]) -> Command {
    client(&[&["--server", address], words].concat())
}

#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Outcome {
    #[track_caller]
    fn assert(&self, code: i32, out: &str, err: &str) {
        assert_eq!((self.code, &*self.out, &*self.err), (Some(code), out, err));
    }

    /// Asserts the exit code, the output, and parts of the message.
    #[track_caller]
    fn assert_failure(&self, code: i32, out: &str, in_message: &[&str]) {
        assert_eq!((self.code, &*self.out), (Some(code), out), "{self:?}");
        for text in in_message {
            assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        }
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

/// Reads to the end on a thread of its own.
fn read_all(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (done, reading) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("output");
        done.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    reading
}

/// Waits for the end of a client, with a limit.
fn outcome_of(mut child: Child) -> Outcome {
    let out = child.stdout.take().map(read_all);
    let err = child.stderr.take().map(read_all);
    let wait = |reading: Option<Receiver<String>>| match reading.map(|g| g.recv_timeout(TIME_LIMIT))
    {
        Some(text) => text.ok(),
        None => Some(String::new()),
    };
    let (Some(out), Some(err)) = (wait(out), wait(err)) else {
        child.kill().expect("the client can be killed");
        panic!("the client does not end");
    };
    Outcome { code: child.wait().expect("its end").code(), out, err }
}

fn run(mut command: Command) -> Outcome {
    outcome_of(command.spawn().expect("the client starts"))
}

/// Runs a client with this input. The client may end before it has read all of it.
fn run_with(mut command: Command, input: impl Into<Vec<u8>>) -> Outcome {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the client starts");
    let (mut stdin, input) = (child.stdin.take().expect("its input"), input.into());
    thread::spawn(move || stdin.write_all(&input));
    outcome_of(child)
}

// ---------------------------------------------------------------------------------------------
// One-shot mode.

#[test]
fn ok_goes_to_standard_output() {
    let server = Server::scripted(|mut peer| {
        peer.expect("RESERVAR Habitación 1");
        peer.send("OK RESERVADO #42 Habitación 1\n");
        peer.expect_end();
    });
    run(to(&server.address, &["RESERVAR", "Habitación", "1"])).assert(
        0,
        "OK RESERVADO #42 Habitación 1\n",
        "",
    );
    server.join();
}

#[test]
fn err_goes_to_standard_error() {
    let server = Server::replying(|_| "ERR 404 no existe\n".into());
    run(to(&server.address, &["CANCELAR", "x"])).assert(64, "", "ERR 404 no existe\n");
    server.join();
}

/// After a half-close the server could end the connection, and with it a reservation with
/// `hasta=salir`.
#[test]
fn one_shot_does_not_half_close() {
    let server = Server::scripted(|mut peer| {
        peer.expect("RESERVAR x hasta=salir");
        let stream = peer.lines.get_ref();
        // Long enough for a half-close to arrive.
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let early = stream.peek(&mut [0]).expect_err("neither bytes nor an end");
        assert!(matches!(
            early.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ));
        stream.set_read_timeout(Some(TIME_LIMIT)).expect("a timeout");
        peer.send("OK RESERVADO #1 x hasta=salir\n");
        peer.expect_end();
    });
    run(to(&server.address, &["RESERVAR", "x", "hasta=salir"])).assert(
        0,
        "OK RESERVADO #1 x hasta=salir\n",
        "",
    );
    server.join();
}

/// A list whose items look like replies and notices.
const TRICKY_LIST: &str = "OK 6 DISPONIBLES\nERR 1\nOK\nOK 3 RESERVAS\n* 7 x\n\nOK ADIÓS\n";

#[test]
fn list_items_are_recognized_by_the_count_alone() {
    let server = Server::scripted(|mut peer| {
        peer.expect("list");
        peer.send(TRICKY_LIST);
        peer.expect_end();
    });
    run(to(&server.address, &["list"])).assert(0, TRICKY_LIST, "");
    server.join();
}

#[test]
fn reply_may_arrive_byte_by_byte() {
    let server = Server::scripted(|mut peer| {
        peer.expect("list");
        for byte in TRICKY_LIST.bytes() {
            peer.lines.get_mut().write_all(&[byte]).expect("the client reads");
        }
        peer.expect_end();
    });
    run(to(&server.address, &["list"])).assert(0, TRICKY_LIST, "");
    server.join();
}

#[test]
fn notices_before_the_reply_are_not_the_reply() {
    let server = Server::replying(|_| "* COLA 2 x\n* COLA 1 x\nERR 408 nada\n".into());
    run(to(&server.address, &["RESERVAR", "x"])).assert(
        75,
        "",
        "* COLA 2 x\n* COLA 1 x\nERR 408 nada\n",
    );
    server.join();
}

#[test]
fn empty_list_is_a_complete_reply() {
    let server = Server::replying(|_| "OK 0 AVAILABLE\n".into());
    run(to(&server.address, &["LIST"])).assert(0, "OK 0 AVAILABLE\n", "");
    server.join();
}

#[test]
fn quotes_that_the_shell_removed_are_restored() {
    let cases: [(&[&str], &str); 6] = [
        (&["RESERVAR", "x", "nota=dos adultos"], r#"RESERVAR x nota="dos adultos""#),
        (&["RESERVAR", "x", "nota=- "], r#"RESERVAR x nota="- ""#),
        (&["RESERVAR", "x", "nota=-", "--server", "-h"], "RESERVAR x nota=- --server -h"),
        (&["RESERVAR", "x", r#"nota=a "b" \c"#], r#"RESERVAR x nota="a \"b\" \\c""#),
        (&["RESERVAR", "x", r#"nota="ya está""#], r#"RESERVAR x nota="ya está""#),
        (&["RESERVAR", "x", "nota="], r#"RESERVAR x nota="""#),
    ];
    for (words, line) in cases {
        let server = Server::scripted(move |mut peer| {
            peer.expect(line);
            peer.send("OK\n");
        });
        run(to(&server.address, words)).assert(0, "OK\n", "");
        server.join();
    }
}

#[test]
fn connection_lost_in_a_list_is_69() {
    let server = Server::scripted(|mut peer| {
        peer.expect("LISTAR");
        peer.send("OK 3 DISPONIBLES\nHabitación 1\nHabitación 1");
    });
    // An incomplete line is not printed, because it may be the beginning of another name.
    let lost = run(to(&server.address, &["LISTAR"]));
    lost.assert_failure(69, "OK 3 DISPONIBLES\nHabitación 1\n", &[&server.address, "BOOKINGS"]);
    server.join();
}

#[test]
fn connection_lost_before_the_reply_is_69() {
    let server = Server::scripted(|mut peer| peer.expect("LISTAR"));
    run(to(&server.address, &["LISTAR"])).assert_failure(69, "", &[&server.address, "closed"]);
    server.join();
}

/// A full server replies, does not read, and resets the connection.
#[test]
fn reply_of_a_full_server_is_printed() {
    let server = Server::scripted(|mut peer| {
        peer.send("ERR 503 lleno\n");
        peer.reset();
    });
    run(to(&server.address, &["LISTAR"])).assert(75, "", "ERR 503 lleno\n");
    server.join();
}

#[test]
fn other_kind_of_server_is_reported() {
    let server = Server::scripted(|mut peer| {
        peer.send("SSH-2.0-\x1b[2JOpenSSH\r\n");
        peer.line();
    });
    let result = run(to(&server.address, &["LISTAR"]));
    result.assert_failure(69, "", &[&server.address, "SSH-2.0-\\u{1b}[2JOpenSSH", "right port?"]);
    server.join();
}

#[test]
fn unreachable_server_is_69_in_both_languages() {
    let address = unused_address();
    let english = run(to(&address, &["LISTAR"]));
    english.assert_failure(69, "", &[&address, "cannot connect", "refused", "RESERVA_SERVER"]);
    let mut command = to(&address, &["LISTAR"]);
    command.env("LANG", "es_AR.UTF-8");
    run(command).assert_failure(
        69,
        "",
        &[&address, "no se puede conectar", "rechazada", "RESERVA_SERVER"],
    );
    run_with(to(&address, &[]), "LISTAR\n").assert_failure(69, "", &[&address, "cannot connect"]);
    let unknown = run(to("no.such.host.invalid:1", &["LISTAR"]));
    unknown.assert_failure(69, "", &["no.such.host.invalid:1", "cannot find"]);
}

#[test]
fn first_variable_that_is_set_decides_the_language() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], "unknown option"),
        (&[("LANG", "es_ES.UTF-8")], "opción desconocida"),
        (&[("LANG", "es_ES.UTF-8"), ("LC_MESSAGES", "en_US")], "unknown option"),
        (&[("LANG", "en_US"), ("LC_MESSAGES", "es")], "opción desconocida"),
        (&[("LANG", "es"), ("LC_MESSAGES", "es"), ("LC_ALL", "C")], "unknown option"),
        (&[("LANG", "en"), ("LC_MESSAGES", ""), ("LC_ALL", "es_MX")], "opción desconocida"),
    ];
    for (variables, message) in cases {
        let mut command = client(&["--verbose"]);
        command.envs(variables.iter().copied());
        run(command).assert_failure(64, "", &[message, "--verbose"]);
    }
}

#[test]
fn usage_error_is_64_and_contacts_no_server() {
    let address = unused_address();
    let cases: [(&[&str], &str); 13] = [
        (&["--timeout", "soon", "LIST"], "soon"),
        (&["--timeout", "0s", "LIST"], "0s"),
        (&["--bogus"], "--bogus"),
        (&["--server"], "--server"),
        (&["--server", ""], "invalid server"),
        (&["--server", "host:puerto", "LIST"], "host:puerto"),
        (&["--server", "host:0", "LIST"], "host:0"),
        (&["--server", &address, "a\nb"], "U+000A"),
        (&["--server", &address, "a\r"], "U+000D"),
        (&["--server", &address, "nota=\x1b[2J"], "nota=\\u{1b}[2J"),
        (&["--server", &address, "\u{7f}"], "U+007F"),
        (&["--server", &address, ""], "nothing to send"),
        (&["--server", &address, " ", "\t"], "nothing to send"),
    ];
    for (arguments, message) in cases {
        run(client(arguments)).assert_failure(64, "", &[message]);
    }
}

#[cfg(unix)]
#[test]
fn argument_that_is_not_utf8_is_64() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = client(&[]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff"));
    run(command).assert_failure(64, "", &["UTF-8"]);
}

#[test]
fn option_has_priority_over_the_server_of_the_environment() {
    let ok = |_: &str| "OK ana\n".to_owned();
    let server = Server::replying(ok);
    let mut command = client(&["IAM", "ana"]);
    command.env("RESERVA_SERVER", &server.address);
    run(command).assert(0, "OK ana\n", "");
    server.join();

    let server = Server::replying(ok);
    let mut command = to(&server.address, &["IAM", "ana"]);
    command.env("RESERVA_SERVER", unused_address());
    run(command).assert(0, "OK ana\n", "");
    server.join();
}

/// The default is not used instead, because another server may run there.
#[test]
fn server_of_the_environment_that_is_not_utf8_is_64() {
    use std::os::unix::ffi::OsStrExt;
    for words in [&["LIST"][..], &["run", "x", "--", "true"], &[]] {
        let mut command = client(words);
        command.env("RESERVA_SERVER", std::ffi::OsStr::from_bytes(b"h\xff:1"));
        run(command).assert_failure(64, "", &["h\\xff:1", "invalid server"]);
    }
}

/// In one-shot and batch mode. For `run`, see `tests/ejecutar.rs`.
#[test]
fn exit_codes_follow_the_code_of_the_reply() {
    let cases = [(64, [400, 401, 403, 404, 410, 413].as_slice()), (75, &[408, 409, 429, 503])];
    for (exit, codes) in cases {
        for code in codes {
            let reply = format!("ERR {code} x\n");
            let said = reply.clone();
            let server = Server::replying(move |_| said.clone());
            run(to(&server.address, &["x"])).assert(exit, "", &reply);
            server.join();
            let said = reply.clone();
            let server = Server::replying(move |_| said.clone());
            run_with(to(&server.address, &[]), "x\n").assert(exit, &reply, "");
            server.join();
        }
    }
    // An ERR that must not be repeated has priority.
    let reply = |line: &str| if line == "a" { "ERR 404 a\n" } else { "ERR 409 b\n" };
    for input in ["a\nb\n", "b\na\n"] {
        let server = Server::replying(move |line| reply(line).into());
        assert_eq!(run_with(to(&server.address, &[]), input).code, Some(64));
        server.join();
    }
}

/// A server that reads everything and never replies.
#[test]
fn silent_server_is_69() {
    let cases: [(&[&str], &str); 4] = [
        (&["LIST"], ""),
        (&["RESERVE", "x", "wait=1s"], ""),
        (&["run", "x", "--", "echo", "never"], ""),
        (&[], "LIST\nRESERVE x wait=1s\n"),
    ];
    for (words, input) in cases {
        let (gone, wait) = channel::<()>();
        let server = Server::scripted(move |mut peer| {
            while peer.line().is_some() {}
            // After a half-close, the connection is still open.
            wait.recv_timeout(TIME_LIMIT).expect("the client has gone");
        });
        let words = [&["--timeout", "1s"], words].concat();
        let silent = run_with(to(&server.address, &words), input);
        silent.assert_failure(69, "", &[&server.address, "no answer in time"]);
        gone.send(()).expect("the server waits");
        server.join();
    }
}

/// The timeout starts after the time given by `wait=`.
#[test]
fn wait_in_the_queue_extends_the_timeout() {
    for (words, input) in [(&["RESERVE", "x", "wait=60s"][..], ""), (&[], "RESERVE x wait=60s\n")] {
        let server = Server::scripted(|mut peer| {
            peer.line();
            thread::sleep(Duration::from_millis(1500));
            peer.send("OK RESERVED #1 x\n");
        });
        let words = [&["--timeout", "1s"], words].concat();
        run_with(to(&server.address, &words), input).assert(0, "OK RESERVED #1 x\n", "");
        server.join();
    }
}

/// So `x=$(reserva RESERVE …)` captures only the reply.
#[test]
fn notices_of_one_shot_go_to_standard_error() {
    let reply = "* QUEUE 1 x\nOK RESERVED #1 x\n";
    let server = Server::replying(move |_| reply.into());
    run(to(&server.address, &["RESERVE", "x", "wait=1h"])).assert(
        0,
        "OK RESERVED #1 x\n",
        "* QUEUE 1 x\n",
    );
    server.join();
    let server = Server::replying(move |_| reply.into());
    run(to(&server.address, &["--quiet", "RESERVE", "x", "wait=1h"])).assert(0, "", "");
    server.join();
}

#[test]
fn input_must_be_utf8_and_a_byte_order_mark_is_dropped() {
    let cases: [(&[u8], &str, i32, &[&str]); 4] = [
        (b"\xef\xbb\xbfa\n", "OK a\n", 0, &[]),
        (b"a\nb\xffc\nd\n", "OK a\n", 64, &["line 2", "byte 2", "0xff"]),
        (b"a\nSal\xf3n\n", "OK a\n", 64, &["line 2", "byte 4", "0xf3"]),
        (b"\xff\xfea\0\n\0", "", 64, &["line 1", "byte 1"]),
    ];
    for (input, out, code, message) in cases {
        let server = Server::replying(|line| format!("OK {line}\n"));
        run_with(to(&server.address, &[]), input).assert_failure(code, out, message);
        server.join();
    }
}

#[test]
fn host_may_be_a_name_or_ipv6() {
    let server = Server::replying(|_| "OK\n".into());
    // If the first address of the name is ::1, the client tries the second one.
    run(to(&format!("localhost:{}", server.port()), &["x"])).assert(0, "OK\n", "");
    server.join();

    let Some(server) = Server::scripted_at("[::1]:0", |mut peer| {
        peer.expect("x");
        peer.send("OK\n");
    }) else {
        skip::skip("this machine has no IPv6");
        return;
    };
    run(to(&server.address, &["x"])).assert(0, "OK\n", "");
    server.join();
}

#[test]
fn help_is_in_both_languages() {
    let help = run(client(&["--help"]));
    help.assert(0, &help.out, "");
    for text in [
        "Usage: reserva [OPTIONS] [WORDS]...",
        "run TARGETS",
        "Examples:",
        "RESERVA_SERVER",
        "  69 ",
    ] {
        assert!(help.out.contains(text), "{text:?} is not in {}", help.out);
    }
    let mut command = client(&["-h"]);
    command.env("LC_ALL", "es_ES.UTF-8");
    let help = run(command);
    help.assert(0, &help.out, "");
    for text in [
        "Uso: reserva [OPCIONES] [PALABRAS]...",
        "ejecutar OBJETIVOS",
        "Ejemplos:",
        "Opciones:",
        "  69 ",
    ] {
        assert!(help.out.contains(text), "{text:?} is not in {}", help.out);
    }
    let version = concat!("reserva ", env!("CARGO_PKG_VERSION"), "\n");
    run(client(&["--version"])).assert(0, version, "");
}

#[test]
fn refused_command_with_a_likely_mistake_gets_a_hint() {
    let cases: [(&[&str], &str); 3] = [
        (&["LIST", "--quiet"], "options come before the first word"),
        (&["CANCEL"], "put the number in quotes: CANCEL '#7'"),
        (&["CANCEL", "x"], ""),
    ];
    for (words, hint) in cases {
        let server = Server::replying(|_| "ERR 400 no\n".into());
        let outcome = run(to(&server.address, words));
        outcome.assert_failure(64, "", &["ERR 400 no\n", hint]);
        assert_eq!(outcome.err.lines().count(), if hint.is_empty() { 1 } else { 2 });
        server.join();
    }
}

// ---------------------------------------------------------------------------------------------
// Batch mode.

#[test]
fn replies_of_a_batch_are_in_order() {
    let server = Server::scripted(|mut peer| {
        let mut lines = Vec::new();
        while let Some(line) = peer.line() {
            lines.push(line);
        }
        assert_eq!(lines, ["LISTAR", "", " \t", "ESTADO\r", "SOY ana"]);
        peer.send(&format!("{TRICKY_LIST}OK 0 ESTADO\r\nOK ana\n"));
    });
    let outcome = run_with(to(&server.address, &[]), "LISTAR\n\n \t\nESTADO\r\nSOY ana");
    outcome.assert(0, &format!("{TRICKY_LIST}OK 0 ESTADO\nOK ana\n"), "");
    server.join();
}

#[test]
fn exit_code_of_a_batch_reports_an_err() {
    let server =
        Server::replying(
            |line| {
                if line == "b" { "ERR 400 b\n".into() } else { format!("OK {line}\n") }
            },
        );
    run_with(to(&server.address, &[]), "a\nb\nc\n").assert(64, "OK a\nERR 400 b\nOK c\n", "");
    server.join();
}

#[test]
fn empty_input_is_not_an_error() {
    let server = Server::scripted(|mut peer| peer.expect_end());
    run_with(to(&server.address, &[]), "").assert(0, "", "");
    server.join();
}

/// Each line is written after the reply to the one before was printed.
#[test]
fn slow_producer_gets_each_reply_immediately() {
    let server = Server::replying(|line| format!("* nota\nOK 1 LISTA\n{line}\n"));
    let mut child =
        to(&server.address, &[]).stdin(Stdio::piped()).spawn().expect("the client starts");
    let mut stdin = child.stdin.take().expect("its input");
    let mut replies = BufReader::new(child.stdout.take().expect("its output")).lines();
    for line in ["uno", "dos", "tres"] {
        writeln!(stdin, "{line}").expect("it reads");
        let reply: Vec<String> =
            replies.by_ref().take(3).map(|line| line.expect("a line")).collect();
        assert_eq!(reply, ["* nota", "OK 1 LISTA", line]);
    }
    drop(stdin);
    outcome_of(child).assert(0, "", "");
    server.join();
}

/// The server does not read while its replies are not read, so a client that only writes would
/// block.
#[test]
fn batch_of_a_million_lines_does_not_deadlock() {
    const LINES: u64 = 1_000_000;
    let server = Server::scripted(|peer| {
        let mut output = BufWriter::new(peer.lines.get_ref().try_clone().expect("a clone"));
        let mut received = 0;
        for line in peer.lines.lines() {
            writeln!(output, "OK {}", line.expect("a line")).expect("the client reads");
            received += 1;
        }
        output.flush().expect("the client reads");
        assert_eq!(received, LINES);
    });
    let mut child =
        to(&server.address, &[]).stdin(Stdio::piped()).spawn().expect("the client starts");
    let mut stdin = BufWriter::new(child.stdin.take().expect("its input"));
    let producer = thread::spawn(move || {
        for line in 0..LINES {
            writeln!(stdin, "línea {line}").expect("the client reads");
        }
    });
    let replies = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut read = 0;
    for reply in replies {
        assert_eq!(reply.expect("a line"), format!("OK línea {read}"));
        read += 1;
    }
    assert_eq!(read, LINES);
    producer.join().expect("all was written");
    outcome_of(child).assert(0, "", "");
    server.join();
}

/// The replies are much larger than the commands, and are not read at first.
#[test]
fn stalled_reader_loses_no_reply() {
    const LINES: usize = 2_000;
    let body = "x".repeat(4_000);
    let reply = format!("OK 1 LISTA\n{body}\n");
    let server = Server::replying(move |_| reply.clone());
    let mut child =
        to(&server.address, &[]).stdin(Stdio::piped()).spawn().expect("the client starts");
    // The whole input is written before the first reply is read.
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all("a\n".repeat(LINES).as_bytes()).expect("the client reads");
    drop(stdin);
    let outcome = outcome_of(child);
    assert_eq!((outcome.code, &*outcome.err), (Some(0), ""));
    assert_eq!(outcome.out.lines().filter(|line| *line == body).count(), LINES);
    server.join();
}

#[test]
fn batch_that_loses_its_connection_in_a_list_is_69() {
    let server = Server::scripted(|mut peer| {
        while peer.line().is_some() {}
        peer.send("OK a\nOK 2 LISTA\nuno\ndo");
    });
    let lost = run_with(to(&server.address, &[]), "a\nb\n");
    lost.assert_failure(
        69,
        "OK a\nOK 2 LISTA\nuno\n",
        &[&server.address, "complete replies: 1", "lines sent: 2"],
    );
    server.join();
}

/// The client does not wait for input that it could not send.
#[test]
fn batch_that_loses_its_connection_ends_before_its_input() {
    let server = Server::scripted(|mut peer| {
        peer.expect("a");
        peer.send("OK a\n");
    });
    let mut child =
        to(&server.address, &[]).stdin(Stdio::piped()).spawn().expect("the client starts");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(b"a\n").expect("the client reads");
    outcome_of(child).assert_failure(69, "OK a\n", &[&server.address]);
    drop(stdin);
    server.join();
}

/// The server does not read lines after QUIT, so its close becomes a reset.
#[test]
fn lines_after_quit_are_not_reported_as_lost() {
    for (verb, goodbye) in [("SALIR", "OK ADIÓS\n"), ("QUIT", "OK BYE\n")] {
        let server = Server::scripted(move |mut peer| {
            peer.expect("a");
            peer.expect(verb);
            peer.send(&format!("OK a\n{goodbye}"));
        });
        let input = format!("a\n{verb}\n{}", "más\n".repeat(200_000));
        run_with(to(&server.address, &[]), input).assert(0, &format!("OK a\n{goodbye}"), "");
        server.join();
    }
}

/// `IAM BYE` has the reply `OK BYE` too. Only the last reply can be that of QUIT.
#[test]
fn holder_named_bye_hides_no_loss() {
    let server = Server::scripted(|mut peer| {
        while peer.line().is_some() {}
        peer.send("OK BYE\nOK a\n");
    });
    run_with(to(&server.address, &[]), "IAM BYE\na\nb\n").assert_failure(
        69,
        "OK BYE\nOK a\n",
        &["complete replies: 2"],
    );
    server.join();
}

#[test]
fn endless_line_is_rejected_after_earlier_replies() {
    let server = Server::scripted(|mut peer| {
        peer.expect("a");
        peer.lines.read_exact(&mut vec![0; 1 << 20]).expect("a long line");
        peer.send("OK a\nERR 413 larga\n");
        peer.reset();
    });
    let input = [&b"a\n"[..], &vec![b'x'; 16 << 20], b"\nb\n"].concat();
    run_with(to(&server.address, &[]), input).assert_failure(
        69,
        "OK a\nERR 413 larga\n",
        &[&server.address],
    );
    server.join();
}

#[test]
fn other_kind_of_server_is_reported_in_a_batch() {
    let server = Server::scripted(|mut peer| {
        while peer.line().is_some() {}
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    run_with(to(&server.address, &[]), "LIST\n").assert_failure(
        69,
        "",
        &["HTTP/1.1 400 Bad Request"],
    );
    server.join();
}

/// As in `reserva | head -1`.
#[test]
fn closed_output_ends_the_client_quietly() {
    let server = Server::scripted(|mut peer| {
        let stream = peer.lines.get_mut();
        // Until the client closes.
        while stream.write_all(b"OK 1\n").is_ok() {}
    });
    let mut child =
        to(&server.address, &[]).stdin(Stdio::piped()).spawn().expect("the client starts");
    let stdin = child.stdin.take().expect("its input");
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let mut first = String::new();
    output.read_line(&mut first).expect("a line");
    drop(output);
    outcome_of(child).assert(0, "", "");
    assert_eq!(first, "OK 1\n");
    drop(stdin);
    server.join();
}

#[cfg(target_os = "linux")]
#[test]
fn failed_input_or_output_is_74() {
    let server = Server::replying(|_| "OK\n".into());
    let mut command = to(&server.address, &["x"]);
    command.stdout(File::create("/dev/full").expect("/dev/full"));
    run(command).assert_failure(74, "", &["cannot write the output"]);
    server.join();

    let server = Server::replying(|_| "OK\n".into());
    let mut command = to(&server.address, &[]);
    command.stdin(File::open("/").expect("a directory"));
    run(command).assert_failure(74, "", &["cannot read the input"]);
    server.join();
}

/// Without standard error, only the exit code reports the failure.
#[cfg(unix)]
#[test]
fn closed_standard_error_does_not_change_the_exit_code() {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#""$0" --server "$1" LIST 2>&- >&-"#,
        env!("CARGO_BIN_EXE_reserva"),
        &unused_address(),
    ]);
    assert_eq!(shell.status().expect("sh").code(), Some(69));
}

// ---------------------------------------------------------------------------------------------
// Interactive mode.

const PROMPT: &str = "reserva> ";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

#[test]
fn interactive_session() {
    let server = Server::scripted(|mut peer| {
        peer.expect("LISTAR");
        peer.send("OK 2 DISPONIBLES\nHabitación 1\nHab");
        peer.send("itación 2\n");
        peer.expect("x");
        peer.send("ERR 400 \x1b[2Jqué\n");
        peer.expect("salir");
        peer.send("OK ADIÓS\n");
        peer.expect_end();
    });
    let Some(mut terminal) = Terminal::open(&server.address, "es_ES.UTF-8") else {
        return;
    };
    let greeting = terminal.expect(PROMPT);
    assert!(greeting.starts_with(&format!("Conectado a {}.\r\n", server.address)), "{greeting}");
    assert!(greeting.contains("AYUDA") && greeting.contains("SALIR"), "{greeting}");

    // A blank line is not sent, and the prompt returns.
    terminal.send("\n");
    terminal.expect(PROMPT);
    terminal.send("LISTAR\n");
    let list = terminal.expect(PROMPT);
    assert!(
        list.ends_with("OK 2 DISPONIBLES\r\nHabitación 1\r\nHabitación 2\r\nreserva> "),
        "{list}"
    );
    terminal.send("x\n");
    let error = terminal.expect(PROMPT);
    assert!(error.contains("ERR 400 \\u{1b}[2Jqué\r\n"), "{error:?}");
    terminal.send("salir\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0);
    assert!(screen.ends_with("OK ADIÓS\r\n") && !screen.contains(PROMPT), "{screen:?}");
    server.join();
}

/// The server sends half a list, waits for the test, and sends the rest.
#[test]
fn prompt_returns_after_the_complete_list() {
    let (go_on, wait) = channel();
    let server = Server::scripted(move |mut peer| {
        peer.expect("LIST");
        peer.send("OK 2 AVAILABLE\nRoom 1\n");
        wait.recv_timeout(TIME_LIMIT).expect("the test goes on");
        peer.send("Room 2\n");
        peer.expect("QUIT");
        peer.send("OK BYE\n");
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    terminal.send("LIST\n");
    terminal.expect("Room 1\r\n");
    go_on.send(()).expect("the server waits");
    assert_eq!(terminal.expect(PROMPT), "Room 2\r\nreserva> ");
    terminal.send(CTRL_D);
    let (code, screen) = terminal.end();
    assert_eq!((code, screen.as_str()), (0, "\r\nOK BYE\r\n"));
    server.join();
}

#[test]
fn ctrl_c_and_ctrl_d_send_quit() {
    for (keys, language, verb, goodbye) in [
        (CTRL_C, "C", "QUIT", "OK BYE"),
        (CTRL_C, "es_ES", "SALIR", "OK ADIÓS"),
        (CTRL_D, "C", "QUIT", "OK BYE"),
        (CTRL_D, "es_ES", "SALIR", "OK ADIÓS"),
    ] {
        let server = Server::scripted(move |mut peer| {
            peer.expect(verb);
            peer.send(&format!("{goodbye}\n"));
            peer.expect_end();
        });
        let Some(mut terminal) = Terminal::open(&server.address, language) else {
            return;
        };
        terminal.expect(PROMPT);
        terminal.send(keys);
        let (code, screen) = terminal.end();
        assert_eq!(code, 0, "{screen:?}");
        assert!(screen.ends_with(&format!("\r\n{goodbye}\r\n")), "{screen:?}");
        assert!(!screen.contains(PROMPT), "{screen:?}");
        server.join();
    }
}

#[test]
fn ctrl_c_discards_the_typed_line() {
    let server = Server::scripted(|mut peer| {
        peer.expect("QUIT");
        peer.send("OK BYE\n");
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    terminal.send("CANCEL #4");
    terminal.expect("CANCEL #4");
    terminal.send(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!((code, screen.as_str()), (0, "^C\r\nOK BYE\r\n"));
    server.join();
}

#[test]
fn ctrl_c_ends_the_session_with_a_silent_server() {
    let (received, wait) = channel();
    let server = Server::scripted(move |mut peer| {
        peer.expect("RESERVAR x");
        received.send(()).expect("the test waits");
        // The sequence that ends a wait comes first.
        let mut interrupt = [0; 2];
        peer.lines.read_exact(&mut interrupt).expect("two bytes");
        assert_eq!(interrupt, [0xff, 0xf4]);
        peer.expect("QUIT");
        peer.expect_end();
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    terminal.send("RESERVAR x\n");
    // On Ctrl-C, a terminal discards unread input.
    wait.recv_timeout(TIME_LIMIT).expect("the line is sent");
    terminal.send(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, 69, "{screen:?}");
    assert!(screen.contains("did not confirm"), "{screen:?}");
    server.join();
}

/// The message appears without a key.
#[test]
fn lost_connection_is_reported_immediately() {
    let (go_on, wait) = channel::<()>();
    let server = Server::scripted(move |mut peer| {
        peer.expect("SOY BYE");
        peer.send("OK BYE\n");
        peer.expect("LISTAR");
        peer.send("OK 0 DISPONIBLES\n");
        wait.recv_timeout(TIME_LIMIT).expect("the test goes on");
    });
    let Some(mut terminal) = Terminal::open(&server.address, "es_ES") else {
        return;
    };
    for line in ["SOY BYE\n", "LISTAR\n"] {
        terminal.expect(PROMPT);
        terminal.send(line);
    }
    terminal.expect(PROMPT);
    go_on.send(()).expect("the server waits");
    let (code, screen) = terminal.end();
    assert_eq!(code, 69, "{screen:?}");
    let message = format!("\r\nreserva: se perdió la conexión con {}", server.address);
    assert!(screen.starts_with(&message), "{screen:?}");
    server.join();
}

/// The notice appears above the line that is being typed.
#[test]
fn notice_does_not_disturb_the_typed_line() {
    let (go_on, wait) = channel::<()>();
    let server = Server::scripted(move |mut peer| {
        for number in 7..10 {
            wait.recv_timeout(TIME_LIMIT).expect("the test goes on");
            peer.send(&format!("* {number} RESERVED #43 Room 1\n"));
        }
        peer.expect("LIST Habitación 1");
        peer.send("OK 0 AVAILABLE\n");
        peer.expect("QUIT");
        peer.send("OK BYE\n");
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    go_on.send(()).expect("the server waits");
    assert_eq!(terminal.expect(PROMPT), "\r\x1b[J* 7 RESERVED #43 Room 1\r\nreserva> ");
    terminal.send("LIST Habitació");
    terminal.expect("LIST Habitació");
    go_on.send(()).expect("the server waits");
    let shown = terminal.expect("reserva> LIST Habitació");
    assert_eq!(shown, "\r\x1b[J* 8 RESERVED #43 Room 1\r\nreserva> LIST Habitació");
    // The last character has two bytes.
    terminal.send("\x7f\x7f");
    terminal.expect("\r\x1b[Jreserva> LIST Habitac");
    // A line of several cases is cleared completely.
    let long = format!("ión {}", "1".repeat(200));
    terminal.send(&long);
    terminal.expect(&long);
    go_on.send(()).expect("the server waits");
    let shown = terminal.expect(&format!("reserva> LIST Habitac{long}"));
    assert!(shown.starts_with("\x1b[2A\r\x1b[J* 9 RESERVED"), "{shown:?}");
    terminal.send(&format!("{}\n", "\x7f".repeat(199)));
    terminal.expect("LIST Habitación 1\r\nOK 0 AVAILABLE\r\nreserva> ");
    terminal.send(CTRL_D);
    assert_eq!(terminal.end().0, 0);
    server.join();
}

#[test]
fn line_is_edited_with_cursor_history_and_tab() {
    let server = Server::scripted(|mut peer| {
        peer.expect("LIST");
        peer.send("OK 2 AVAILABLE\nHabitación 1\nGPU\n");
        peer.expect("RESERVE GPU ");
        peer.send("OK RESERVED #1 GPU\n");
        peer.expect("LIST");
        peer.send("OK 0 AVAILABLE\n");
        peer.expect("quit ");
        peer.send("OK BYE\n");
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    // The missing letters are inserted with the cursor keys.
    terminal.send("IT\x1b[D\x1b[D");
    terminal.expect("\r\x1b[Jreserva> IT\r\x1b[9C");
    terminal.send("L\x1b[CS\n");
    terminal.expect("LIST\r\nOK 2 AVAILABLE");
    terminal.expect(PROMPT);
    terminal.send("RESERVE g\t");
    terminal.expect("RESERVE GPU ");
    terminal.send("\n");
    terminal.expect("#1 GPU\r\nreserva> ");
    terminal.send("\x1b[A");
    terminal.expect("RESERVE GPU ");
    terminal.send("\x1b[A");
    terminal.expect("\r\x1b[Jreserva> LIST");
    terminal.send("\n");
    terminal.expect("OK 0 AVAILABLE\r\nreserva> ");
    terminal.send("qui\t\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen:?}");
    server.join();
}

#[test]
fn terminal_mode_is_restored() {
    let cases =
        [("quit\n", ""), (CTRL_C, ""), (CTRL_D, ""), ("", "TERM"), ("", "HUP"), ("", "QUIT")];
    for (keys, signal) in cases {
        let server = Server::replying(|line| match line.to_ascii_uppercase().as_str() {
            "QUIT" => "OK BYE\n".into(),
            line => format!("OK {line}\n"),
        });
        let script = r#"before=$(stty -g)
            trap : INT
            sh -c 'trap - INT; echo "pid $$."; exec "$0" --server "$1"' "$0" "$1"
            test "$before" = "$(stty -g)" && echo the same"#;
        let client = env!("CARGO_BIN_EXE_reserva");
        let words = ["env", "TERM=xterm", "LC_ALL=C", "sh", "-c", script, client, &server.address];
        let Some(mut terminal) = Terminal::run(&words) else {
            return;
        };
        terminal.expect("pid ");
        let pid = terminal.expect(".").trim_end_matches('.').to_owned();
        terminal.expect(PROMPT);
        if signal.is_empty() {
            terminal.send(keys);
        } else {
            let killed = Command::new("kill").args(["-s", signal, &pid]).status();
            assert!(killed.expect("kill").success());
        }
        terminal.expect("the same");
        terminal.end();
        server.join();
    }
}

/// A terminal that cannot clear a line edits it itself, and a notice starts a new line.
#[test]
fn dumb_terminal_edits_the_line_itself() {
    let (go_on, wait) = channel::<()>();
    let server = Server::scripted(move |mut peer| {
        wait.recv_timeout(TIME_LIMIT).expect("the test goes on");
        peer.send("* 7 RESERVED #43 Room 1\n");
        peer.expect("LIST");
        peer.send("OK 0 AVAILABLE\n");
    });
    let Some(mut terminal) = Terminal::open_as("dumb", &server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    terminal.send("LI");
    terminal.expect("LI");
    go_on.send(()).expect("the server waits");
    assert_eq!(terminal.expect(PROMPT), "\r\n* 7 RESERVED #43 Room 1\r\nreserva> ");
    terminal.send("ST\n");
    terminal.expect("OK 0 AVAILABLE");
    assert_eq!(terminal.end().0, 69);
    server.join();
}

#[test]
fn one_shot_watch_continues_until_the_connection_ends() {
    let (go_on, wait) = channel::<()>();
    let server = Server::scripted(move |mut peer| {
        peer.expect("OBSERVAR");
        peer.send("OK OBSERVANDO tras=6\n");
        for number in 7..9 {
            wait.recv_timeout(TIME_LIMIT).expect("the test goes on");
            peer.send(&format!("* {number} ALTA x\n"));
        }
    });
    let mut child = to(&server.address, &["OBSERVAR"]).spawn().expect("the client starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    assert_eq!(line(), "OK OBSERVANDO tras=6");
    for number in 7..9 {
        go_on.send(()).expect("the server waits");
        assert_eq!(line(), format!("* {number} ALTA x"));
    }
    outcome_of(child).assert_failure(69, "", &[&server.address, "after=N"]);
    server.join();
}

#[test]
fn prompt_returns_after_a_notice() {
    let (go_on, wait) = channel::<()>();
    let server = Server::scripted(move |mut peer| {
        peer.expect("WATCH");
        peer.send("OK WATCHING after=6\n");
        wait.recv_timeout(TIME_LIMIT).expect("the test goes on");
        peer.send("* 7 RESERVED #43 Room 1\n");
        peer.expect("QUIT");
        peer.lines.get_ref().shutdown(Shutdown::Write).expect("an end");
        peer.expect_end();
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    terminal.send("WATCH\n");
    terminal.expect(PROMPT);
    go_on.send(()).expect("the server waits");
    assert_eq!(terminal.expect(PROMPT), "\r\x1b[J* 7 RESERVED #43 Room 1\r\nreserva> ");
    // The server closes without confirming QUIT.
    terminal.send(CTRL_D);
    assert_eq!(terminal.end().0, 69);
    server.join();
}

#[test]
fn all_commands_of_a_large_paste_are_answered() {
    const LINES: usize = 3_000;
    let server = Server::scripted(|mut peer| {
        for _ in 0..LINES {
            peer.expect("a");
            peer.send(&format!("OK {}\n", "x".repeat(2_000)));
        }
        peer.expect("QUIT");
        peer.send("OK BYE\n");
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    // In pieces that fit into the input queue of a terminal.
    for _ in 0..LINES / 1_000 {
        terminal.send(&"a\n".repeat(1_000));
        terminal.expect(PROMPT);
    }
    terminal.send(CTRL_D);
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen:?}");
    server.join();
}

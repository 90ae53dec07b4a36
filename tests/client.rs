//! The real `reserva` against servers that are played inside the test, over real sockets.
//!
//! A played server is a script on a thread: it asserts what the client sends and decides, byte
//! by byte, what it hears. Nothing here waits for luck: every wait is for a line, an end or a
//! failure, and every one of them is bounded.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::skip;
use support::terminal::Terminal;

/// No wait of a test is longer than this; none should come near.
const PATIENCE: Duration = Duration::from_secs(60);

// ---------------------------------------------------------------------------------------------
// The played server.

/// A server that plays its script to the first client.
struct Server {
    address: String,
    thread: JoinHandle<()>,
}

impl Server {
    fn plays(script: impl FnOnce(Peer) + Send + 'static) -> Self {
        Server::plays_at("127.0.0.1:0", script).expect("a free port")
    }

    fn plays_at(address: &str, script: impl FnOnce(Peer) + Send + 'static) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let address = listener.local_addr().expect("its address").to_string();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            script(Peer::new(stream));
        });
        Some(Server { address, thread })
    }

    /// Answers every line but blank ones with what `reply` says, and closes at the end.
    fn answers(reply: impl Fn(&str) -> String + Send + 'static) -> Self {
        Server::plays(move |mut peer| {
            while let Some(line) = peer.hear() {
                if !line.trim().is_empty() {
                    peer.say(&reply(&line));
                }
            }
        })
    }

    /// Waits for the end of the script, so that its assertions count.
    fn ends(self) {
        self.thread.join().expect("the script of the server holds");
    }

    fn port(&self) -> &str {
        self.address.rsplit_once(':').expect("a port").1
    }
}

/// The client, seen from the server.
struct Peer {
    lines: BufReader<TcpStream>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Peer { lines: BufReader::new(stream) }
    }

    /// The next line without its LF; `None` at the end.
    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).expect("a line in time");
        (length > 0).then(|| line.strip_suffix('\n').expect("a whole line").to_owned())
    }

    fn hears(&mut self, expected: &str) {
        assert_eq!(self.hear().as_deref(), Some(expected));
    }

    fn hears_the_end(&mut self) {
        assert_eq!(self.hear(), None);
    }

    fn say(&mut self, text: &str) {
        self.lines.get_mut().write_all(text.as_bytes()).expect("the client reads");
    }

    /// Closes so that the client gets a reset: there are bytes that nobody read. The peek makes
    /// sure that they are there.
    fn cuts(self) {
        let mut byte = [0];
        assert_eq!(self.lines.get_ref().peek(&mut byte).expect("something unread"), 1);
    }
}

/// An address where nobody listens. Not on 127.0.0.1, where another test may be given this very
/// port in the next moment.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.2:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

// ---------------------------------------------------------------------------------------------
// The client under test.

/// A client with nothing of the tester's environment that it could notice.
fn client(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reserva"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["LC_ALL", "LC_MESSAGES", "LANG", "RESERVA_SERVER"] {
        command.env_remove(variable);
    }
    command
}

/// A client of this server, with these words.
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
    fn is(&self, code: i32, out: &str, err: &str) {
        assert_eq!((self.code, &*self.out, &*self.err), (Some(code), out, err));
    }

    /// The exit code, the output, and what the message must contain.
    #[track_caller]
    fn fails(&self, code: i32, out: &str, in_message: &[&str]) {
        assert_eq!((self.code, &*self.out), (Some(code), out), "{self:?}");
        for text in in_message {
            assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        }
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

/// Reads to the end on a thread.
fn gather(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (done, gathered) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("output");
        done.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    gathered
}

/// Waits for the end of a client, but not for ever.
fn outcome_of(mut child: Child) -> Outcome {
    let out = child.stdout.take().map(gather);
    let err = child.stderr.take().map(gather);
    let wait = |gathered: Option<Receiver<String>>| match gathered.map(|g| g.recv_timeout(PATIENCE))
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

/// Runs it with this input. Writing it may fail: the client may end before it has read all.
fn run_with(mut command: Command, input: impl Into<Vec<u8>>) -> Outcome {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the client starts");
    let (mut stdin, input) = (child.stdin.take().expect("its input"), input.into());
    thread::spawn(move || stdin.write_all(&input));
    outcome_of(child)
}

// ---------------------------------------------------------------------------------------------
// With words: one line, one reply.

#[test]
fn ok_goes_to_standard_output() {
    let server = Server::plays(|mut peer| {
        peer.hears("RESERVAR Habitación 1");
        peer.say("OK RESERVADO #42 Habitación 1\n");
        peer.hears_the_end();
    });
    run(to(&server.address, &["RESERVAR", "Habitación", "1"])).is(
        0,
        "OK RESERVADO #42 Habitación 1\n",
        "",
    );
    server.ends();
}

#[test]
fn err_goes_to_standard_error() {
    let server = Server::answers(|_| "ERR 404 no existe\n".into());
    run(to(&server.address, &["CANCELAR", "x"])).is(64, "", "ERR 404 no existe\n");
    server.ends();
}

/// A half-close would let the server end the connection, and what is `hasta=salir` with it.
#[test]
fn a_question_is_not_half_closed() {
    let server = Server::plays(|mut peer| {
        peer.hears("RESERVAR x hasta=salir");
        let stream = peer.lines.get_ref();
        // The one wait for something not to happen: long enough that it would have.
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let early = stream.peek(&mut [0]).expect_err("neither bytes nor an end");
        assert!(matches!(
            early.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        peer.say("OK RESERVADO #1 x hasta=salir\n");
        peer.hears_the_end();
    });
    run(to(&server.address, &["RESERVAR", "x", "hasta=salir"])).is(
        0,
        "OK RESERVADO #1 x hasta=salir\n",
        "",
    );
    server.ends();
}

/// A list that only its count tells from replies and notices.
const TRICKY_LIST: &str = "OK 6 DISPONIBLES\nERR 1\nOK\nOK 3 RESERVAS\n* 7 x\n\nOK ADIÓS\n";

#[test]
fn a_list_is_read_by_its_count() {
    let server = Server::plays(|mut peer| {
        peer.hears("list");
        peer.say(TRICKY_LIST);
        peer.hears_the_end();
    });
    run(to(&server.address, &["list"])).is(0, TRICKY_LIST, "");
    server.ends();
}

#[test]
fn a_reply_may_come_byte_by_byte() {
    let server = Server::plays(|mut peer| {
        peer.hears("list");
        for byte in TRICKY_LIST.bytes() {
            peer.lines.get_mut().write_all(&[byte]).expect("the client reads");
        }
        peer.hears_the_end();
    });
    run(to(&server.address, &["list"])).is(0, TRICKY_LIST, "");
    server.ends();
}

#[test]
fn notices_before_the_reply_are_not_the_reply() {
    let server = Server::answers(|_| "* COLA 2 x\n* COLA 1 x\nERR 408 nada\n".into());
    run(to(&server.address, &["RESERVAR", "x"])).is(
        75,
        "",
        "* COLA 2 x\n* COLA 1 x\nERR 408 nada\n",
    );
    server.ends();
}

#[test]
fn an_empty_list_is_a_whole_reply() {
    let server = Server::answers(|_| "OK 0 AVAILABLE\n".into());
    run(to(&server.address, &["LIST"])).is(0, "OK 0 AVAILABLE\n", "");
    server.ends();
}

#[test]
fn words_are_quoted_again() {
    let rows: [(&[&str], &str); 6] = [
        (&["RESERVAR", "x", "nota=dos adultos"], r#"RESERVAR x nota="dos adultos""#),
        (&["RESERVAR", "x", "nota=- "], r#"RESERVAR x nota="- ""#),
        (&["RESERVAR", "x", "nota=-", "--server", "-h"], "RESERVAR x nota=- --server -h"),
        (&["RESERVAR", "x", r#"nota=a "b" \c"#], r#"RESERVAR x nota="a \"b\" \\c""#),
        (&["RESERVAR", "x", r#"nota="ya está""#], r#"RESERVAR x nota="ya está""#),
        (&["RESERVAR", "x", "nota="], r#"RESERVAR x nota="""#),
    ];
    for (words, line) in rows {
        let server = Server::plays(move |mut peer| {
            peer.hears(line);
            peer.say("OK\n");
        });
        run(to(&server.address, words)).is(0, "OK\n", "");
        server.ends();
    }
}

#[test]
fn a_connection_lost_in_a_list_is_69() {
    let server = Server::plays(|mut peer| {
        peer.hears("LISTAR");
        peer.say("OK 3 DISPONIBLES\nHabitación 1\nHabitación 1");
    });
    // The line that was cut is not printed: it may be the beginning of another name.
    let lost = run(to(&server.address, &["LISTAR"]));
    lost.fails(69, "OK 3 DISPONIBLES\nHabitación 1\n", &[&server.address, "BOOKINGS"]);
    server.ends();
}

#[test]
fn a_connection_lost_before_the_reply_is_69() {
    let server = Server::plays(|mut peer| peer.hears("LISTAR"));
    run(to(&server.address, &["LISTAR"])).fails(69, "", &[&server.address, "closed"]);
    server.ends();
}

/// A full server does not read what we send; its reset must not hide what it said.
#[test]
fn a_full_server_is_heard() {
    let server = Server::plays(|mut peer| {
        peer.say("ERR 503 lleno\n");
        peer.cuts();
    });
    run(to(&server.address, &["LISTAR"])).is(75, "", "ERR 503 lleno\n");
    server.ends();
}

#[test]
fn another_kind_of_server_is_told() {
    let server = Server::plays(|mut peer| {
        peer.say("SSH-2.0-\x1b[2JOpenSSH\r\n");
        peer.hear();
    });
    let told = run(to(&server.address, &["LISTAR"]));
    told.fails(69, "", &[&server.address, "SSH-2.0-\\u{1b}[2JOpenSSH", "right port?"]);
    server.ends();
}

#[test]
fn nobody_there_is_69_in_both_languages() {
    let address = nowhere();
    let english = run(to(&address, &["LISTAR"]));
    english.fails(69, "", &[&address, "cannot connect", "refused", "RESERVA_SERVER"]);
    let mut command = to(&address, &["LISTAR"]);
    command.env("LANG", "es_AR.UTF-8");
    run(command).fails(69, "", &[&address, "no se puede conectar", "rechazada", "RESERVA_SERVER"]);
    run_with(to(&address, &[]), "LISTAR\n").fails(69, "", &[&address, "cannot connect"]);
    let unknown = run(to("no.such.host.invalid:1", &["LISTAR"]));
    unknown.fails(69, "", &["no.such.host.invalid:1", "cannot find"]);
}

#[test]
fn the_language_is_that_of_the_first_variable_set() {
    let rows: [(&[(&str, &str)], &str); 6] = [
        (&[], "unknown option"),
        (&[("LANG", "es_ES.UTF-8")], "opción desconocida"),
        (&[("LANG", "es_ES.UTF-8"), ("LC_MESSAGES", "en_US")], "unknown option"),
        (&[("LANG", "en_US"), ("LC_MESSAGES", "es")], "opción desconocida"),
        (&[("LANG", "es"), ("LC_MESSAGES", "es"), ("LC_ALL", "C")], "unknown option"),
        (&[("LANG", "en"), ("LC_MESSAGES", ""), ("LC_ALL", "es_MX")], "opción desconocida"),
    ];
    for (variables, message) in rows {
        let mut command = client(&["--verbose"]);
        command.envs(variables.iter().copied());
        run(command).fails(64, "", &[message, "--verbose"]);
    }
}

#[test]
fn wrong_use_is_64_and_contacts_no_server() {
    let nowhere = nowhere();
    let rows: [(&[&str], &str); 13] = [
        (&["--timeout", "soon", "LIST"], "soon"),
        (&["--timeout", "0s", "LIST"], "0s"),
        (&["--bogus"], "--bogus"),
        (&["--server"], "--server"),
        (&["--server", ""], "invalid server"),
        (&["--server", "host:puerto", "LIST"], "host:puerto"),
        (&["--server", "host:0", "LIST"], "host:0"),
        (&["--server", &nowhere, "a\nb"], "U+000A"),
        (&["--server", &nowhere, "a\r"], "U+000D"),
        (&["--server", &nowhere, "nota=\x1b[2J"], "nota=\\u{1b}[2J"),
        (&["--server", &nowhere, "\u{7f}"], "U+007F"),
        (&["--server", &nowhere, ""], "nothing to send"),
        (&["--server", &nowhere, " ", "\t"], "nothing to send"),
    ];
    for (arguments, message) in rows {
        run(client(arguments)).fails(64, "", &[message]);
    }
}

#[cfg(unix)]
#[test]
fn a_word_that_is_not_utf8_is_64() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = client(&[]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff"));
    run(command).fails(64, "", &["UTF-8"]);
}

#[test]
fn the_server_comes_from_the_option_or_the_environment() {
    let ok = |_: &str| "OK ana\n".to_owned();
    let server = Server::answers(ok);
    let mut command = client(&["IAM", "ana"]);
    command.env("RESERVA_SERVER", &server.address);
    run(command).is(0, "OK ana\n", "");
    server.ends();

    let server = Server::answers(ok);
    let mut command = to(&server.address, &["IAM", "ana"]);
    command.env("RESERVA_SERVER", nowhere());
    run(command).is(0, "OK ana\n", "");
    server.ends();
}

/// The default must not be used instead, because another server may run there.
#[test]
fn a_server_in_the_environment_that_is_not_utf8_is_64() {
    use std::os::unix::ffi::OsStrExt;
    for words in [&["LIST"][..], &["run", "x", "--", "true"], &[]] {
        let mut command = client(words);
        command.env("RESERVA_SERVER", std::ffi::OsStr::from_bytes(b"h\xff:1"));
        run(command).fails(64, "", &["h\\xff:1", "invalid server"]);
    }
}

/// One-shot and pipe agree; see `tests/ejecutar.rs` for `run`.
#[test]
fn exit_codes_follow_the_code_of_the_reply() {
    let rows = [(64, [400, 401, 403, 404, 410, 413].as_slice()), (75, &[408, 409, 429, 503])];
    for (exit, codes) in rows {
        for code in codes {
            let reply = format!("ERR {code} x\n");
            let said = reply.clone();
            let server = Server::answers(move |_| said.clone());
            run(to(&server.address, &["x"])).is(exit, "", &reply);
            server.ends();
            let said = reply.clone();
            let server = Server::answers(move |_| said.clone());
            run_with(to(&server.address, &[]), "x\n").is(exit, &reply, "");
            server.ends();
        }
    }
    // Of several refusals, the one not worth repeating decides.
    let reply = |line: &str| if line == "a" { "ERR 404 a\n" } else { "ERR 409 b\n" };
    for input in ["a\nb\n", "b\na\n"] {
        let server = Server::answers(move |line| reply(line).into());
        assert_eq!(run_with(to(&server.address, &[]), input).code, Some(64));
        server.ends();
    }
}

/// A server that reads everything and answers nothing.
#[test]
fn a_silent_server_is_69() {
    let rows: [(&[&str], &str); 4] = [
        (&["LIST"], ""),
        (&["RESERVE", "x", "wait=1s"], ""),
        (&["run", "x", "--", "echo", "never"], ""),
        (&[], "LIST\nRESERVE x wait=1s\n"),
    ];
    for (words, input) in rows {
        let (gone, wait) = channel::<()>();
        let server = Server::plays(move |mut peer| {
            while peer.hear().is_some() {}
            // A half-close is not the end of the connection.
            wait.recv_timeout(PATIENCE).expect("the client has gone");
        });
        let words = [&["--timeout", "1s"], words].concat();
        let silent = run_with(to(&server.address, &words), input);
        silent.fails(69, "", &[&server.address, "no answer in time"]);
        gone.send(()).expect("the server waits");
        server.ends();
    }
}

/// A wait may last; the server only counts as silent beyond it.
#[test]
fn a_wait_does_not_count_as_silence() {
    for (words, input) in [(&["RESERVE", "x", "wait=60s"][..], ""), (&[], "RESERVE x wait=60s\n")] {
        let server = Server::plays(|mut peer| {
            peer.hear();
            thread::sleep(Duration::from_millis(1500));
            peer.say("OK RESERVED #1 x\n");
        });
        let words = [&["--timeout", "1s"], words].concat();
        run_with(to(&server.address, &words), input).is(0, "OK RESERVED #1 x\n", "");
        server.ends();
    }
}

/// `x=$(reserva RESERVE …)` captures only the reply.
#[test]
fn notices_of_a_single_command_go_to_standard_error() {
    let reply = "* QUEUE 1 x\nOK RESERVED #1 x\n";
    let server = Server::answers(move |_| reply.into());
    run(to(&server.address, &["RESERVE", "x", "wait=1h"])).is(
        0,
        "OK RESERVED #1 x\n",
        "* QUEUE 1 x\n",
    );
    server.ends();
    let server = Server::answers(move |_| reply.into());
    run(to(&server.address, &["--quiet", "RESERVE", "x", "wait=1h"])).is(0, "", "");
    server.ends();
}

#[test]
fn input_is_text_and_a_byte_order_mark_is_not_part_of_it() {
    let rows: [(&[u8], &str, i32, &[&str]); 4] = [
        (b"\xef\xbb\xbfa\n", "OK a\n", 0, &[]),
        (b"a\nb\xffc\nd\n", "OK a\n", 64, &["line 2", "byte 2", "0xff"]),
        (b"a\nSal\xf3n\n", "OK a\n", 64, &["line 2", "byte 4", "0xf3"]),
        (b"\xff\xfea\0\n\0", "", 64, &["line 1", "byte 1"]),
    ];
    for (input, out, code, message) in rows {
        let server = Server::answers(|line| format!("OK {line}\n"));
        run_with(to(&server.address, &[]), input).fails(code, out, message);
        server.ends();
    }
}

#[test]
fn a_host_may_be_a_name_or_ipv6() {
    let server = Server::answers(|_| "OK\n".into());
    // Where the name is ::1 first, the second address is tried.
    run(to(&format!("localhost:{}", server.port()), &["x"])).is(0, "OK\n", "");
    server.ends();

    let Some(server) = Server::plays_at("[::1]:0", |mut peer| {
        peer.hears("x");
        peer.say("OK\n");
    }) else {
        skip::skip("this machine has no IPv6");
        return;
    };
    run(to(&server.address, &["x"])).is(0, "OK\n", "");
    server.ends();
}

#[test]
fn help_and_version_speak_both_languages() {
    let help = run(client(&["--help"]));
    help.is(0, &help.out, "");
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
    help.is(0, &help.out, "");
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
    run(client(&["--version"])).is(0, version, "");
}

// ---------------------------------------------------------------------------------------------
// Without words, from a pipe: all lines, all replies.

#[test]
fn a_pipe_is_answered_in_order() {
    let server = Server::plays(|mut peer| {
        let mut heard = Vec::new();
        while let Some(line) = peer.hear() {
            heard.push(line);
        }
        assert_eq!(heard, ["LISTAR", "", " \t", "ESTADO\r", "SOY ana"]);
        peer.say(&format!("{TRICKY_LIST}OK 0 ESTADO\r\nOK ana\n"));
    });
    let outcome = run_with(to(&server.address, &[]), "LISTAR\n\n \t\nESTADO\r\nSOY ana");
    outcome.is(0, &format!("{TRICKY_LIST}OK 0 ESTADO\nOK ana\n"), "");
    server.ends();
}

#[test]
fn the_exit_code_reports_an_err_among_the_replies() {
    let server =
        Server::answers(
            |line| {
                if line == "b" { "ERR 400 b\n".into() } else { format!("OK {line}\n") }
            },
        );
    run_with(to(&server.address, &[]), "a\nb\nc\n").is(64, "OK a\nERR 400 b\nOK c\n", "");
    server.ends();
}

#[test]
fn no_input_is_no_error() {
    let server = Server::plays(|mut peer| peer.hears_the_end());
    run_with(to(&server.address, &[]), "").is(0, "", "");
    server.ends();
}

/// The second line is not written before the reply to the first has come through.
#[test]
fn a_slow_producer_sees_each_reply_at_once() {
    let server = Server::answers(|line| format!("* nota\nOK 1 LISTA\n{line}\n"));
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
    outcome_of(child).is(0, "", "");
    server.ends();
}

/// The server reads nothing more while its replies are not taken, so a client that did not read
/// while it writes would stand still.
#[test]
fn a_million_lines_pass() {
    const LINES: u64 = 1_000_000;
    let server = Server::plays(|peer| {
        let mut output = BufWriter::new(peer.lines.get_ref().try_clone().expect("a clone"));
        let mut heard = 0;
        for line in peer.lines.lines() {
            writeln!(output, "OK {}", line.expect("a line")).expect("the client reads");
            heard += 1;
        }
        output.flush().expect("the client reads");
        assert_eq!(heard, LINES);
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
    outcome_of(child).is(0, "", "");
    server.ends();
}

/// Replies are many times larger than what was asked, and nobody reads them at first.
#[test]
fn a_reader_that_stalls_loses_nothing() {
    const LINES: usize = 2_000;
    let body = "x".repeat(4_000);
    let reply = format!("OK 1 LISTA\n{body}\n");
    let server = Server::answers(move |_| reply.clone());
    let mut child =
        to(&server.address, &[]).stdin(Stdio::piped()).spawn().expect("the client starts");
    // All input is written before the first reply is read.
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all("a\n".repeat(LINES).as_bytes()).expect("the client reads");
    drop(stdin);
    let outcome = outcome_of(child);
    assert_eq!((outcome.code, &*outcome.err), (Some(0), ""));
    assert_eq!(outcome.out.lines().filter(|line| *line == body).count(), LINES);
    server.ends();
}

#[test]
fn a_pipe_lost_in_a_list_is_69() {
    let server = Server::plays(|mut peer| {
        while peer.hear().is_some() {}
        peer.say("OK a\nOK 2 LISTA\nuno\ndo");
    });
    let lost = run_with(to(&server.address, &[]), "a\nb\n");
    lost.fails(
        69,
        "OK a\nOK 2 LISTA\nuno\n",
        &[&server.address, "complete replies: 1", "lines sent: 2"],
    );
    server.ends();
}

/// Without waiting for input that can no longer be sent.
#[test]
fn a_pipe_lost_while_input_is_open_ends_at_once() {
    let server = Server::plays(|mut peer| {
        peer.hears("a");
        peer.say("OK a\n");
    });
    let mut child =
        to(&server.address, &[]).stdin(Stdio::piped()).spawn().expect("the client starts");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(b"a\n").expect("the client reads");
    outcome_of(child).fails(69, "OK a\n", &[&server.address]);
    drop(stdin);
    server.ends();
}

/// After its goodbye the server drops the rest unread, which looks like a reset.
#[test]
fn lines_after_the_goodbye_are_no_loss() {
    for (verb, goodbye) in [("SALIR", "OK ADIÓS\n"), ("QUIT", "OK BYE\n")] {
        let server = Server::plays(move |mut peer| {
            peer.hears("a");
            peer.hears(verb);
            peer.say(&format!("OK a\n{goodbye}"));
        });
        let input = format!("a\n{verb}\n{}", "más\n".repeat(200_000));
        run_with(to(&server.address, &[]), input).is(0, &format!("OK a\n{goodbye}"), "");
        server.ends();
    }
}

/// `IAM BYE` is answered `OK BYE` too; only the last reply can be a goodbye.
#[test]
fn a_name_like_a_goodbye_hides_no_loss() {
    let server = Server::plays(|mut peer| {
        while peer.hear().is_some() {}
        peer.say("OK BYE\nOK a\n");
    });
    run_with(to(&server.address, &[]), "IAM BYE\na\nb\n").fails(
        69,
        "OK BYE\nOK a\n",
        &["complete replies: 2"],
    );
    server.ends();
}

#[test]
fn a_line_without_end_is_told_with_what_came_before() {
    let server = Server::plays(|mut peer| {
        peer.hears("a");
        peer.lines.read_exact(&mut vec![0; 1 << 20]).expect("a long line");
        peer.say("OK a\nERR 413 larga\n");
        peer.cuts();
    });
    let input = [&b"a\n"[..], &vec![b'x'; 16 << 20], b"\nb\n"].concat();
    run_with(to(&server.address, &[]), input).fails(
        69,
        "OK a\nERR 413 larga\n",
        &[&server.address],
    );
    server.ends();
}

#[test]
fn a_pipe_to_another_kind_of_server_is_told() {
    let server = Server::plays(|mut peer| {
        while peer.hear().is_some() {}
        peer.say("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    run_with(to(&server.address, &[]), "LIST\n").fails(69, "", &["HTTP/1.1 400 Bad Request"]);
    server.ends();
}

/// `reserva | head -1`.
#[test]
fn output_closed_early_is_a_quiet_end() {
    let server = Server::plays(|mut peer| {
        let stream = peer.lines.get_mut();
        // Until the client has gone.
        while stream.write_all(b"OK 1\n").is_ok() {}
    });
    let mut child =
        to(&server.address, &[]).stdin(Stdio::piped()).spawn().expect("the client starts");
    let stdin = child.stdin.take().expect("its input");
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let mut first = String::new();
    output.read_line(&mut first).expect("a line");
    drop(output);
    outcome_of(child).is(0, "", "");
    assert_eq!(first, "OK 1\n");
    drop(stdin);
    server.ends();
}

#[cfg(target_os = "linux")]
#[test]
fn failing_input_and_output_are_74() {
    let server = Server::answers(|_| "OK\n".into());
    let mut command = to(&server.address, &["x"]);
    command.stdout(File::create("/dev/full").expect("/dev/full"));
    run(command).fails(74, "", &["cannot write the output"]);
    server.ends();

    let server = Server::answers(|_| "OK\n".into());
    let mut command = to(&server.address, &[]);
    command.stdin(File::open("/").expect("a folder"));
    run(command).fails(74, "", &["cannot read the input"]);
    server.ends();
}

/// The exit code says it all where there is nobody to read the message.
#[cfg(unix)]
#[test]
fn closed_standard_error_changes_no_exit_code() {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#""$0" --server "$1" LIST 2>&- >&-"#,
        env!("CARGO_BIN_EXE_reserva"),
        &nowhere(),
    ]);
    assert_eq!(shell.status().expect("sh").code(), Some(69));
}

// ---------------------------------------------------------------------------------------------
// Without words, at a terminal.

const PROMPT: &str = "reserva> ";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

#[test]
fn a_conversation() {
    let server = Server::plays(|mut peer| {
        peer.hears("LISTAR");
        peer.say("OK 2 DISPONIBLES\nHabitación 1\nHab");
        peer.say("itación 2\n");
        peer.hears("x");
        peer.say("ERR 400 \x1b[2Jqué\n");
        peer.hears("salir");
        peer.say("OK ADIÓS\n");
        peer.hears_the_end();
    });
    let Some(mut terminal) = Terminal::open(&server.address, "es_ES.UTF-8") else {
        return;
    };
    let greeting = terminal.expect(PROMPT);
    assert!(greeting.starts_with(&format!("Conectado a {}.\r\n", server.address)), "{greeting}");
    assert!(greeting.contains("AYUDA") && greeting.contains("SALIR"), "{greeting}");

    // A blank line is not sent and not answered, but the prompt is back.
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
    server.ends();
}

/// The prompt waits for the whole reply: half a list, then a question to the test, then the rest.
#[test]
fn no_prompt_in_the_middle_of_a_list() {
    let (go_on, wait) = channel();
    let server = Server::plays(move |mut peer| {
        peer.hears("LIST");
        peer.say("OK 2 AVAILABLE\nRoom 1\n");
        wait.recv_timeout(PATIENCE).expect("the test goes on");
        peer.say("Room 2\n");
        peer.hears("QUIT");
        peer.say("OK BYE\n");
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
    server.ends();
}

#[test]
fn ctrl_c_and_ctrl_d_say_goodbye() {
    for (keys, language, verb, goodbye) in [
        (CTRL_C, "C", "QUIT", "OK BYE"),
        (CTRL_C, "es_ES", "SALIR", "OK ADIÓS"),
        (CTRL_D, "C", "QUIT", "OK BYE"),
        (CTRL_D, "es_ES", "SALIR", "OK ADIÓS"),
    ] {
        let server = Server::plays(move |mut peer| {
            peer.hears(verb);
            peer.say(&format!("{goodbye}\n"));
            peer.hears_the_end();
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
        server.ends();
    }
}

/// Ctrl-C throws half a line away, as it does everywhere.
#[test]
fn ctrl_c_in_a_line_sends_nothing_of_it() {
    let server = Server::plays(|mut peer| {
        peer.hears("QUIT");
        peer.say("OK BYE\n");
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
    server.ends();
}

/// A server that says nothing holds nobody.
#[test]
fn ctrl_c_leaves_a_silent_server() {
    let (heard, wait) = channel();
    let server = Server::plays(move |mut peer| {
        peer.hears("RESERVAR x");
        heard.send(()).expect("the test waits");
        // What ends a wait comes first.
        let mut interrupt = [0; 2];
        peer.lines.read_exact(&mut interrupt).expect("two bytes");
        assert_eq!(interrupt, [0xff, 0xf4]);
        peer.hears("QUIT");
        peer.hears_the_end();
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    terminal.send("RESERVAR x\n");
    // A terminal throws away what was typed and not yet read when Ctrl-C comes.
    wait.recv_timeout(PATIENCE).expect("the line is sent");
    terminal.send(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, 69, "{screen:?}");
    assert!(screen.contains("did not confirm"), "{screen:?}");
    server.ends();
}

/// Nobody presses Enter here.
#[test]
fn a_lost_connection_is_told_at_once() {
    let (go_on, wait) = channel::<()>();
    let server = Server::plays(move |mut peer| {
        peer.hears("SOY BYE");
        peer.say("OK BYE\n");
        peer.hears("LISTAR");
        peer.say("OK 0 DISPONIBLES\n");
        wait.recv_timeout(PATIENCE).expect("the test goes on");
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
    server.ends();
}

/// What is typed and not yet sent stands below the notice, and goes on from there.
#[test]
fn a_notice_does_not_garble_what_is_typed() {
    let (go_on, wait) = channel::<()>();
    let server = Server::plays(move |mut peer| {
        for number in 7..10 {
            wait.recv_timeout(PATIENCE).expect("the test goes on");
            peer.say(&format!("* {number} RESERVED #43 Room 1\n"));
        }
        peer.hears("LIST Habitación 1");
        peer.say("OK 0 AVAILABLE\n");
        peer.hears("QUIT");
        peer.say("OK BYE\n");
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
    // Two of its characters are taken back, the second of two bytes.
    terminal.send("\x7f\x7f");
    terminal.expect("\r\x1b[Jreserva> LIST Habitac");
    // A line of several rows is cleared whole.
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
    server.ends();
}

/// However the conversation ends, the terminal is as it was before.
#[test]
fn the_terminal_is_left_as_it_was() {
    let rows =
        [("quit\n", ""), (CTRL_C, ""), (CTRL_D, ""), ("", "TERM"), ("", "HUP"), ("", "QUIT")];
    for (keys, signal) in rows {
        let server = Server::answers(|line| match line.to_ascii_uppercase().as_str() {
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
        server.ends();
    }
}

/// Where the terminal cannot clear a line, it edits by itself, and a notice has its own line.
#[test]
fn a_plain_terminal_edits_by_itself() {
    let (go_on, wait) = channel::<()>();
    let server = Server::plays(move |mut peer| {
        wait.recv_timeout(PATIENCE).expect("the test goes on");
        peer.say("* 7 RESERVED #43 Room 1\n");
        peer.hears("LIST");
        peer.say("OK 0 AVAILABLE\n");
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
    server.ends();
}

/// Notices are printed as they come, until the connection ends.
#[test]
fn a_watch_with_words_goes_on() {
    let (go_on, wait) = channel::<()>();
    let server = Server::plays(move |mut peer| {
        peer.hears("OBSERVAR");
        peer.say("OK OBSERVANDO tras=6\n");
        for number in 7..9 {
            wait.recv_timeout(PATIENCE).expect("the test goes on");
            peer.say(&format!("* {number} ALTA x\n"));
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
    outcome_of(child).fails(69, "", &[&server.address, "after=N"]);
    server.ends();
}

/// A notice takes the prompt's line and gives the prompt back.
#[test]
fn a_notice_comes_when_it_comes() {
    let (go_on, wait) = channel::<()>();
    let server = Server::plays(move |mut peer| {
        peer.hears("WATCH");
        peer.say("OK WATCHING after=6\n");
        wait.recv_timeout(PATIENCE).expect("the test goes on");
        peer.say("* 7 RESERVED #43 Room 1\n");
        peer.hears("QUIT");
        peer.lines.get_ref().shutdown(Shutdown::Write).expect("an end");
        peer.hears_the_end();
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    terminal.send("WATCH\n");
    terminal.expect(PROMPT);
    go_on.send(()).expect("the server waits");
    assert_eq!(terminal.expect(PROMPT), "\r\x1b[J* 7 RESERVED #43 Room 1\r\nreserva> ");
    // And a server that closes without its goodbye has not said it.
    terminal.send(CTRL_D);
    assert_eq!(terminal.end().0, 69);
    server.ends();
}

/// Commands typed ahead are all answered, and the goodbye behind them is the last.
#[test]
fn a_large_paste_is_answered_whole() {
    const LINES: usize = 3_000;
    let server = Server::plays(|mut peer| {
        for _ in 0..LINES {
            peer.hears("a");
            peer.say(&format!("OK {}\n", "x".repeat(2_000)));
        }
        peer.hears("QUIT");
        peer.say("OK BYE\n");
    });
    let Some(mut terminal) = Terminal::open(&server.address, "C") else {
        return;
    };
    terminal.expect(PROMPT);
    // In pieces that the line discipline of the terminal can hold.
    for _ in 0..LINES / 1_000 {
        terminal.send(&"a\n".repeat(1_000));
        terminal.expect(PROMPT);
    }
    terminal.send(CTRL_D);
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen:?}");
    server.ends();
}

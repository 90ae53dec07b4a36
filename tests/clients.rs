//! Common clients (`nc`, `socat`, `telnet`, Python) and `reserva` against the real server.
//!
//! Each must receive complete replies and end. A program that runs longer than [`LIMIT_S`] is killed
//! and has failed. Tests of a program that is not installed are skipped, except on CI.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use support::terminal::Terminal;
use support::{Server, has};

/// Limit for a program in seconds.
const LIMIT_S: &str = "60";
/// Exit code of `timeout` for a program that ran longer.
const EXIT_TIMED_OUT: i32 = 124;

/// A program that carries lines between its standard input and output and a TCP connection.
struct Carrier {
    program: &'static str,
    options: &'static [&'static str],
    /// Whether it half-closes the connection when its input ends.
    half_closes: bool,
    /// Whether it ends when the server closes, while its input is open. The others first wait for
    /// more input, or for its end.
    ends_with_server: bool,
}

const fn carrier(
    program: &'static str,
    options: &'static [&'static str],
    half_closes: bool,
    ends_with_server: bool,
) -> Carrier {
    Carrier { program, options, half_closes, ends_with_server }
}

/// All carriers. Those that do not half-close need `SALIR`.
const CARRIERS: [Carrier; 7] = [
    carrier("nc.openbsd", &[], false, false),
    carrier("nc.openbsd", &["-N"], true, false),
    carrier("nc.traditional", &[], false, true),
    carrier("busybox", &["nc"], true, true),
    carrier("ncat", &[], true, false),
    // By default, it waits only half a second after one side has ended.
    carrier("socat", &["-t", "30", "STDIO"], true, false),
    carrier("bash", &["-c", BASH], false, true),
];

/// Sends its input, and prints the output of the server until that closes.
const BASH: &str = r#"exec 3<>"/dev/tcp/$0/$1"; cat >&3 <&0 & cat <&3; kill $!"#;

impl Carrier {
    fn name(&self) -> String {
        format!("{} {}", self.program, self.options.join(" "))
    }

    fn command(&self, server: &Server) -> Command {
        let (host, port) = (server.address.ip().to_string(), server.address.port().to_string());
        let mut command = limited(self.program);
        command.args(self.options);
        match self.program {
            "socat" => command.arg(format!("TCP:{host}:{port}")),
            _ => command.args([host, port]),
        };
        command
    }
}

/// Returns a program with a time limit.
fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([LIMIT_S, program]);
    command
}

/// The outputs and the exit code of a program.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

fn spawn(mut command: Command) -> (Child, ChildStdin) {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the program starts");
    let stdin = child.stdin.take().expect("its input");
    (child, stdin)
}

/// Waits for the end of a program.
#[track_caller]
fn outcome(child: Child, what: &str) -> Outcome {
    let output = child.wait_with_output().expect("its output");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (code, out, err) = (output.status.code(), text(output.stdout), text(output.stderr));
    assert_ne!(code, Some(EXIT_TIMED_OUT), "{what} did not end after {out:.300?}, {err:?}");
    Outcome { code, out, err }
}

/// Runs a program with this input.
#[track_caller]
fn run(command: Command, input: &str, what: &str) -> Outcome {
    let (child, mut stdin) = spawn(command);
    let input = input.to_owned();
    // The program may end before it has read all of it.
    std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    outcome(child, what)
}

/// Waits until a program with open input has printed this text and has ended. Closes the input of a
/// program that does not end with the server.
#[track_caller]
fn ends_with(carrier: &Carrier, mut child: Child, stdin: ChildStdin, expected: &str) {
    let name = carrier.name();
    let mut out = vec![0; expected.len()];
    let read = child.stdout.as_mut().expect("its output").read_exact(&mut out);
    assert!(read.is_ok(), "{name} did not end, or printed too little: {read:?}");
    assert_eq!(String::from_utf8_lossy(&out), expected, "{name}");
    let keyboard = carrier.ends_with_server.then_some(stdin);
    let rest = outcome(child, &name);
    assert_eq!(rest.out, "", "{name}");
    drop(keyboard);
}

fn sample_list() -> String {
    "OK 3 DISPONIBLES\nHabitación 1\nHabitación 2\nHabitación 3\n".to_owned()
}

/// Returns a server with 20,000 more resources, and its reply to `LISTAR`.
fn large_server() -> (Server, String) {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let mut listed = sample_list().replace("OK 3 ", "OK 20003 ");
    for kind in ["Placa", "Sala"] {
        assert_eq!(client.say(&format!("ALTA {kind} 1..10000")), "OK ALTA 10000");
        for number in 1..=10_000 {
            let _ = writeln!(listed, "{kind} {number}");
        }
    }
    (server, listed)
}

// ---------------------------------------------------------------------------------------------
// Programs that carry lines.

#[test]
fn every_carrier_ends_after_a_list_and_quit() {
    let server = Server::in_memory(&[]);
    for carrier in CARRIERS.iter().filter(|carrier| has(carrier.program)) {
        let got = run(carrier.command(&server), "LISTAR\nSALIR\n", &carrier.name());
        assert_eq!(got.out, sample_list() + "OK ADIÓS\n", "{}: {got:?}", carrier.name());
    }
}

#[test]
fn every_carrier_with_open_input_ends_after_quit() {
    let server = Server::in_memory(&[]);
    for carrier in CARRIERS.iter().filter(|carrier| has(carrier.program)) {
        let (child, mut stdin) = spawn(carrier.command(&server));
        stdin.write_all(b"LISTAR\nSALIR\n").expect("it reads");
        ends_with(carrier, child, stdin, &(sample_list() + "OK ADIÓS\n"));
    }
}

#[test]
fn end_of_input_ends_carriers_that_half_close() {
    let server = Server::in_memory(&[]);
    for carrier in CARRIERS.iter().filter(|carrier| carrier.half_closes) {
        if has(carrier.program) {
            let got = run(carrier.command(&server), "LISTAR\n", &carrier.name());
            assert_eq!(got.out, sample_list(), "{}: {got:?}", carrier.name());
        }
    }
}

#[test]
fn list_of_20000_is_complete_with_every_carrier() {
    let (server, listed) = large_server();
    for carrier in CARRIERS.iter().filter(|carrier| has(carrier.program)) {
        let name = carrier.name();
        let got = run(carrier.command(&server), "LISTAR\nSALIR\n", &name);
        let whole = got.out == format!("{listed}OK ADIÓS\n");
        assert!(whole, "{name}: {} bytes of {}", got.out.len(), listed.len());
        if carrier.half_closes {
            let got = run(carrier.command(&server), "LISTAR\n", &name);
            assert!(got.out == listed, "{name}: {} bytes of {}", got.out.len(), listed.len());
        }
    }
}

#[test]
fn every_carrier_reserves_and_cancels() {
    let server = Server::in_memory(&[]);
    let here = CARRIERS.iter().filter(|carrier| has(carrier.program));
    for (at, carrier) in here.enumerate() {
        let number = at + 1;
        let lines =
            format!("RESERVAR Habitación 1\nRESERVE habitacion 1\nCANCELAR #{number}\nSALIR\n");
        let got = run(carrier.command(&server), &lines, &carrier.name());
        let lines: Vec<_> = got.out.lines().collect();
        let [reserved, taken, cancelled, bye] = lines[..] else { panic!("{got:?}") };
        assert_eq!(reserved, format!("OK RESERVADO #{number} Habitación 1"));
        assert!(taken.starts_with(&format!("ERR 409 'Habitación 1' is not free: #{number} ")));
        assert_eq!(cancelled, format!("OK CANCELADO #{number} Habitación 1"));
        assert_eq!(bye, "OK ADIÓS");
    }
}

#[test]
fn client_that_sends_crlf_receives_crlf() {
    let server = Server::in_memory(&[]);
    for program in ["nc.openbsd", "ncat"].into_iter().filter(|program| has(program)) {
        let port = server.address.port().to_string();
        let mut command = limited(program);
        command.args(["-C", "127.0.0.1", &port]);
        let got = run(command, "LISTAR *3\nSALIR\n", program);
        assert_eq!(got.out, "OK 1 DISPONIBLES\r\nHabitación 3\r\nOK ADIÓS\r\n", "{program}");
    }
}

// ---------------------------------------------------------------------------------------------
// Python: a script with a socket, and an HTTP client.

fn python(script: &str, server: &Server) -> Option<Outcome> {
    if !has("python3") {
        return None;
    }
    let mut command = limited("python3");
    command.args(["-c", script, &server.address.port().to_string()]);
    Some(run(command, "", "python3"))
}

#[test]
fn python_script_gets_replies_after_a_half_close() {
    const SCRIPT: &str = r#"
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as s:
    lines = s.makefile("r", encoding="utf-8", newline="\n")
    s.sendall("RESERVAR Habitación 2 nota=\"desde Python\"\n".encode())
    print(lines.readline(), end="")
    s.sendall(b"LISTAR\n")
    for _ in range(int(lines.readline().split()[1])):
        print(lines.readline(), end="")
    s.sendall(b"RESERVAR Habitaci\xc3")
    s.sendall(b"\xb3n 1\nVERIFICAR #2\n")
    s.shutdown(socket.SHUT_WR)
    print(lines.read(), end="")
"#;
    let server = Server::in_memory(&[]);
    let Some(got) = python(SCRIPT, &server) else { return };
    let expected = "OK RESERVADO #1 Habitación 2\nHabitación 1\nHabitación 3\n\
        OK RESERVADO #2 Habitación 1\nOK VIGENTE #2 Habitación 1 quedan=-\n";
    assert_eq!((got.code, got.out.as_str()), (Some(0), expected), "{got:?}");
}

/// Sends what a browser sends when a web page submits a form to the server.
#[test]
fn browser_cannot_reserve() {
    const SCRIPT: &str = r#"
import http.client, sys
for body in ["RESERVAR Habitación 1\n", "\nRESERVAR Habitación 1\nx=1\n"]:
    web = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
    try:
        web.request("POST", "/", body.encode(), {"Content-Type": "text/plain"})
        print(web.getresponse().read())
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as e:
        print("closed")
"#;
    let server = Server::in_memory(&[]);
    let Some(got) = python(SCRIPT, &server) else { return };
    assert_eq!((got.code, got.out.as_str()), (Some(0), "closed\nclosed\n"), "{got:?}");
    assert_eq!(server.connect().say("RESERVAS"), "OK 0 RESERVAS");
}

// ---------------------------------------------------------------------------------------------
// telnet at a terminal.

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

/// Connects with telnet.
fn telnet(server: &Server) -> Option<Terminal> {
    if !has("inetutils-telnet") {
        return None;
    }
    let port = server.address.port().to_string();
    let mut terminal = Terminal::run(&["inetutils-telnet", "127.0.0.1", &port])?;
    terminal.expect("Escape character is '^]'.\r\n");
    Some(terminal)
}

#[test]
fn telnet_sends_accents() {
    let server = Server::in_memory(&[]);
    let Some(mut terminal) = telnet(&server) else { return };
    terminal.send("RESERVAR Habitación 1 nota=\"mañana, sí\"\n");
    let screen = terminal.expect("Habitación 1\r\n");
    assert!(screen.ends_with("OK RESERVADO #1 Habitación 1\r\n"), "{screen:?}");
    terminal.send("RESERVAS\n");
    terminal.expect("OK 1 RESERVAS\r\n#1\tHabitación 1\t-\t");
    terminal.expect("\t-\tmañana, sí\r\n");
    terminal.send("SALIR\n");
    let (_, screen) = terminal.end();
    assert!(screen.contains("OK ADIÓS\r\nConnection closed by foreign host."), "{screen:?}");
}

/// telnet sends an interrupt and asks for a mark, and prints nothing until it gets a reply.
#[test]
fn telnet_session_continues_after_ctrl_c() {
    let server = Server::in_memory(&[]);
    let Some(mut terminal) = telnet(&server) else { return };
    // telnet handles Ctrl-C only some time after its greeting.
    terminal.send("LISTAR Z*\n");
    terminal.expect("OK 0 DISPONIBLES\r\n");
    for keys in [CTRL_C, "RESERVAR Habit\x03", "\x03\x03\x03"] {
        terminal.send(keys);
        terminal.send("LISTAR *3\n");
        terminal.expect("OK 1 DISPONIBLES\r\nHabitación 3\r\n");
    }
    terminal.send("RESERVAS\n");
    terminal.expect("OK 0 RESERVAS\r\n");
    terminal.send(CTRL_D);
    terminal.end();
}

/// telnet discards a part of the list, but later replies arrive.
#[test]
fn telnet_session_continues_after_ctrl_c_in_a_long_list() {
    let (server, _) = large_server();
    let Some(mut terminal) = telnet(&server) else { return };
    terminal.send("LISTAR\n");
    terminal.expect("OK 20003 DISPONIBLES\r\n");
    terminal.send(CTRL_C);
    terminal.send("SOY ana\n");
    terminal.expect("OK ana\r\n");
    terminal.send(CTRL_D);
    terminal.end();
}

#[test]
fn ctrl_d_in_telnet_ends_reservations_until_quit() {
    let server = Server::in_memory(&[]);
    let Some(mut terminal) = telnet(&server) else { return };
    terminal.send("RESERVAR Habitación 1 hasta=salir\n");
    terminal.expect("OK RESERVADO #1 Habitación 1 ");
    terminal.expect(" hasta=salir\r\n");
    terminal.send(CTRL_D);
    let (_, screen) = terminal.end();
    assert!(screen.contains("OK ADIÓS\r\nConnection closed by foreign host."), "{screen:?}");
    assert!(server.connect().say("VERIFICAR #1").starts_with("ERR 410 "));
}

// ---------------------------------------------------------------------------------------------
// reserva.

fn reserva(server: &Server, words: &[&str]) -> Command {
    let mut command = limited(env!("CARGO_BIN_EXE_reserva"));
    command.args(words).env("RESERVA_SERVER", server.address.to_string()).env("LC_ALL", "C");
    command
}

#[test]
fn one_shot_commands() {
    let server = Server::in_memory(&[]);
    let cases: [(&[&str], i32, &str, &str); 9] = [
        (&["RESERVAR", "Habitación", "1"], 0, "OK RESERVADO #1 Habitación 1\n", ""),
        (
            &["reserve", "habitacion 2", "nota=dos \"adultos\""],
            0,
            "OK RESERVED #2 Habitación 2\n",
            "",
        ),
        (&["list"], 0, "OK 1 AVAILABLE\nHabitación 3\n", ""),
        (&["LIST Suite*"], 0, "OK 0 AVAILABLE\n", ""),
        (&["VERIFICAR", "#2"], 0, "OK VIGENTE #2 Habitación 2 quedan=-\n", ""),
        (&["CANCELAR", "#1,", "#2"], 0, "OK CANCELADO #1 Habitación 1, #2 Habitación 2\n", ""),
        (&["CANCEL", "#1"], 64, "", "ERR 410 #1 is over\n"),
        (
            &["dance"],
            64,
            "",
            "ERR 400 orden desconocida «dance»; AYUDA muestra las órdenes disponibles\n",
        ),
        (&["QUIT"], 0, "OK BYE\n", ""),
    ];
    for (words, code, out, err) in cases {
        let got = run(reserva(&server, words), "", "reserva");
        let expected = (Some(code), out, err);
        assert_eq!((got.code, got.out.as_str(), got.err.as_str()), expected, "{words:?}");
    }
    let note = "\tdos \"adultos\"\n";
    let mut client = server.connect();
    client.say("RESERVAR Habitación 2 nota=\"dos \\\"adultos\\\"\"");
    let got = run(reserva(&server, &["RESERVAS"]), "", "reserva");
    assert!(got.out.ends_with(note), "{got:?}");
}

#[test]
fn reserva_prints_a_long_list_completely() {
    let (server, listed) = large_server();
    let got = run(reserva(&server, &["LISTAR"]), "", "reserva");
    assert!(got.out == listed, "{} bytes of {}", got.out.len(), listed.len());
    let got = run(reserva(&server, &[]), "LISTAR\nLISTAR\nLISTAR *\n", "reserva");
    assert!(got.out == listed.repeat(3), "{} bytes of {}", got.out.len(), 3 * listed.len());
}

#[test]
fn batch_of_a_hundred_thousand_lines() {
    let server = Server::in_memory(&[]);
    let (mut lines, mut replies) = (String::new(), String::new());
    for number in 1..=25_000 {
        let _ = write!(
            lines,
            "RESERVAR Habitación 1\nVERIFY #{number}\n\nCANCELAR habitacion 1\nSOY u{number}\n"
        );
        let _ = write!(
            replies,
            "OK RESERVADO #{number} Habitación 1\n\
             OK VALID #{number} Habitación 1 left=-\n\
             OK CANCELADO #{number} Habitación 1\n\
             OK u{number}\n"
        );
    }
    let got = run(reserva(&server, &[]), &lines, "reserva");
    let same = got.out.lines().zip(replies.lines()).take_while(|(got, want)| got == want).count();
    assert!(got.out == replies, "the same up to line {same}: {:?}", got.out.lines().nth(same));
    assert_eq!((got.code, got.err.as_str()), (Some(0), ""));
}

#[test]
fn exit_code_of_a_batch_reports_an_err() {
    let server = Server::in_memory(&[]);
    let got = run(reserva(&server, &[]), "SOY ana\nCANCELAR #1\nSOY luis\n", "reserva");
    let expected = "OK ana\nERR 404 #1 no existe\nOK luis\n";
    assert_eq!((got.code, got.out.as_str()), (Some(64), expected));
}

#[test]
fn interactive_session() {
    const PROMPT: &str = "reserva> ";
    let server = Server::in_memory(&[]);
    let address = server.address.to_string();
    let Some(mut terminal) = Terminal::open(&address, "es_ES.UTF-8") else { return };
    assert!(terminal.expect(PROMPT).starts_with(&format!("Conectado a {address}.\r\n")));
    terminal.send("RESERVAR Habitación 1 hasta=salir\n");
    terminal.expect("OK RESERVADO #1 Habitación 1 ");
    terminal.expect(PROMPT);
    terminal.send("LISTAR\n");
    let screen = terminal.expect(PROMPT);
    assert!(screen.ends_with("OK 2 DISPONIBLES\r\nHabitación 2\r\nHabitación 3\r\nreserva> "));
    terminal.send(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen:?}");
    assert!(screen.ends_with("OK ADIÓS\r\n"), "{screen:?}");
    assert!(server.connect().say("VERIFICAR #1").starts_with("ERR 410 "));
}

/// The message appears without a key.
#[test]
fn death_of_the_server_is_reported_immediately() {
    let server = Server::in_memory(&[]);
    let address = server.address.to_string();
    let Some(mut terminal) = Terminal::open(&address, "es_ES.UTF-8") else { return };
    terminal.expect("reserva> ");
    terminal.send("SOY ana\n");
    terminal.expect("OK ana\r\nreserva> ");
    server.kill();
    let (code, screen) = terminal.end();
    assert_eq!(code, 69, "{screen:?}");
    assert!(
        screen.contains(&format!("reserva: se perdió la conexión con {address}")),
        "{screen:?}"
    );
}

/// The server replies to all received commands, and closes the connections.
#[test]
fn stop_of_the_server_ends_every_carrier() {
    for carrier in CARRIERS.iter().filter(|carrier| has(carrier.program)) {
        let server = Server::in_memory(&[]);
        let (child, mut stdin) = spawn(carrier.command(&server));
        stdin.write_all(b"RESERVAR Habitacion 1\n").expect("it reads");
        support::until("the reservation is made", || {
            server.connect().say("VERIFICAR #1").starts_with("OK VIGENTE #1 ")
        });
        server.stop();
        ends_with(carrier, child, stdin, "OK RESERVADO #1 Habitación 1\n");
    }
}

//! Real clients against the real server: the programs that people have, and ours.
//!
//! What is asked of all of them: nothing is cut short, and nobody is left hanging. A program that
//! has not ended after [`LIMIT_S`] is killed and has failed. One that is not here is skipped, but
//! on CI that is a failure.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use support::terminal::Terminal;
use support::{Server, has};

/// How long a program may take; none should come near.
const LIMIT_S: &str = "60";
/// What `timeout` answers for one that took longer.
const HUNG: i32 = 124;

/// A program that carries lines between its standard input and output and a TCP connection.
struct Carrier {
    program: &'static str,
    options: &'static [&'static str],
    /// It closes its sending side when its input ends.
    half_closes: bool,
    /// It ends when the server closes, though its input goes on. (The others wait for a line more,
    /// or for the end of it, whichever server it is.)
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

/// All carriers there are. Those that do not half-close rely on `SALIR`.
const CARRIERS: [Carrier; 7] = [
    carrier("nc.openbsd", &[], false, false),
    carrier("nc.openbsd", &["-N"], true, false),
    carrier("nc.traditional", &[], false, true),
    carrier("busybox", &["nc"], true, true),
    carrier("ncat", &[], true, false),
    // Told to wait: after either end it would give the other side half a second.
    carrier("socat", &["-t", "30", "STDIO"], true, false),
    carrier("bash", &["-c", BASH], false, true),
];

/// Prints what comes until the server closes, while it sends what it reads.
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

/// A program that is ended if it takes too long.
fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([LIMIT_S, program]);
    command
}

/// What a program has printed, on both channels, and how it ended.
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
    assert_ne!(code, Some(HUNG), "{what} was left hanging after {out:.300?}, {err:?}");
    Outcome { code, out, err }
}

/// Runs a program with this input and then the end of it.
#[track_caller]
fn run(command: Command, input: &str, what: &str) -> Outcome {
    let (child, mut stdin) = spawn(command);
    let input = input.to_owned();
    // It may end before it has read all.
    std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    outcome(child, what)
}

/// Waits until a program whose input goes on has printed this and has ended; those that do not end
/// with the server are then told that there is no more.
#[track_caller]
fn ends_with(carrier: &Carrier, mut child: Child, stdin: ChildStdin, expected: &str) {
    let name = carrier.name();
    let mut out = vec![0; expected.len()];
    let read = child.stdout.as_mut().expect("its output").read_exact(&mut out);
    assert!(read.is_ok(), "{name} was left hanging, or cut short: {read:?}");
    assert_eq!(String::from_utf8_lossy(&out), expected, "{name}");
    let keyboard = carrier.ends_with_server.then_some(stdin);
    let rest = outcome(child, &name);
    assert_eq!(rest.out, "", "{name}");
    drop(keyboard);
}

fn rooms_listed() -> String {
    "OK 3 DISPONIBLES\nHabitación 1\nHabitación 2\nHabitación 3\n".to_owned()
}

/// A server with 20,000 boards more, and what `LISTAR` says of it.
fn large_server() -> (Server, String) {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let mut listed = rooms_listed().replace("OK 3 ", "OK 20003 ");
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
fn a_list_and_a_goodbye_end_every_carrier() {
    let server = Server::in_memory(&[]);
    for carrier in CARRIERS.iter().filter(|carrier| has(carrier.program)) {
        let got = run(carrier.command(&server), "LISTAR\nSALIR\n", &carrier.name());
        assert_eq!(got.out, rooms_listed() + "OK ADIÓS\n", "{}: {got:?}", carrier.name());
    }
}

/// As a person does: the keyboard is still there when the server says goodbye.
#[test]
fn a_goodbye_ends_every_carrier_whose_input_goes_on() {
    let server = Server::in_memory(&[]);
    for carrier in CARRIERS.iter().filter(|carrier| has(carrier.program)) {
        let (child, mut stdin) = spawn(carrier.command(&server));
        stdin.write_all(b"LISTAR\nSALIR\n").expect("it reads");
        ends_with(carrier, child, stdin, &(rooms_listed() + "OK ADIÓS\n"));
    }
}

#[test]
fn the_end_of_the_input_is_enough_for_those_that_half_close() {
    let server = Server::in_memory(&[]);
    for carrier in CARRIERS.iter().filter(|carrier| carrier.half_closes) {
        if has(carrier.program) {
            let got = run(carrier.command(&server), "LISTAR\n", &carrier.name());
            assert_eq!(got.out, rooms_listed(), "{}: {got:?}", carrier.name());
        }
    }
}

#[test]
fn a_list_of_20000_comes_whole_through_every_carrier() {
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

/// What a carrier did is done, and the next one finds it so.
#[test]
fn what_one_carrier_reserves_the_next_one_finds_taken() {
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

/// CRLF for CRLF.
#[test]
fn who_sends_crlf_gets_crlf() {
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
// Python: a script with a socket, and a browser's way of speaking.

fn python(script: &str, server: &Server) -> Option<Outcome> {
    if !has("python3") {
        return None;
    }
    let mut command = limited("python3");
    command.args(["-c", script, &server.address.port().to_string()]);
    Some(run(command, "", "python3"))
}

#[test]
fn a_python_script_talks_and_half_closes() {
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

/// A web page that makes a browser send a form here does not get a room.
#[test]
fn a_browser_reserves_nothing() {
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

/// Connected, with the greeting of telnet itself behind us.
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
fn telnet_shows_what_is_typed_with_its_accents() {
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

/// telnet sends an interrupt and asks for a mark, and shows nothing until that is answered.
#[test]
fn ctrl_c_in_telnet_does_not_hang_the_session() {
    let server = Server::in_memory(&[]);
    let Some(mut terminal) = telnet(&server) else { return };
    // Telnet heeds Ctrl-C only once it is in its loop, a moment after its greeting.
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

/// In the middle of a long list: what telnet throws away is its affair, what comes after is ours.
#[test]
fn ctrl_c_in_a_long_list_leaves_telnet_alive() {
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
fn ctrl_d_ends_telnet_and_what_it_held() {
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
// Our own client.

fn reserva(server: &Server, words: &[&str]) -> Command {
    let mut command = limited(env!("CARGO_BIN_EXE_reserva"));
    command.args(words).env("RESERVA_SERVER", server.address.to_string()).env("LC_ALL", "C");
    command
}

#[test]
fn reserva_with_words() {
    let server = Server::in_memory(&[]);
    let rows: [(&[&str], i32, &str, &str); 9] = [
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
    for (words, code, out, err) in rows {
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
fn reserva_prints_a_long_list_whole() {
    let (server, listed) = large_server();
    let got = run(reserva(&server, &["LISTAR"]), "", "reserva");
    assert!(got.out == listed, "{} bytes of {}", got.out.len(), listed.len());
    let got = run(reserva(&server, &[]), "LISTAR\nLISTAR\nLISTAR *\n", "reserva");
    assert!(got.out == listed.repeat(3), "{} bytes of {}", got.out.len(), 3 * listed.len());
}

#[test]
fn a_hundred_thousand_lines_through_a_pipe() {
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
fn an_err_in_a_pipe_is_told_by_the_exit_code() {
    let server = Server::in_memory(&[]);
    let got = run(reserva(&server, &[]), "SOY ana\nCANCELAR #1\nSOY luis\n", "reserva");
    let expected = "OK ana\nERR 404 #1 no existe\nOK luis\n";
    assert_eq!((got.code, got.out.as_str()), (Some(64), expected));
}

#[test]
fn a_conversation_with_reserva() {
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

/// Nobody presses Enter here.
#[test]
fn a_killed_server_is_told_at_once() {
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

/// A server that is stopped answers what it has received, and its clients end.
#[test]
fn a_stop_lets_every_carrier_go() {
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

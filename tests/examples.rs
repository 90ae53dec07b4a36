//! Runs every example in `docs/protocol.md` and in the two READMEs, each with a new server, and
//! compares the output byte for byte.
//!
//! Three kinds of fenced block are examples:
//!
//! | block | content |
//! | --- | --- |
//! | `session [ZONE]` | lines sent (`> `) and received (`< `) over TCP |
//! | `console` | shell commands (`$ `) and their output |
//! | `terminal` | a conversation of `reserva` at a pseudo-terminal |
//!
//! In a `session`, a name before the sign selects a connection: `luis> `, `luis< `. The lines are
//! processed from top to bottom, and each received line is waited for. At the end no connection may
//! have received further lines. Waits and watches may continue. Special signs:
//!
//! | sign | meaning |
//! | --- | --- |
//! | `⊣` | the end of the input (after a line without LF, or alone), or of the output |
//! | `✗` | the client closes the connection |
//! | `␃` | telnet's interrupt, `IAC IP` |
//! | `⇥` | a tab |
//! | `x… (N bytes)` | a line filled up to N bytes with its last character |
//! | `-- SIGTERM` | (a line) the server receives the signal and stops |
//!
//! Only values that differ between runs are normalised:
//! - The examples begin at [`BEGIN`]. A time in that year matches a time with the same distance from
//!   the start of the run, up to [`SLACK_S`] seconds later. Other times are compared unchanged.
//! - The values of `quedan=` and `left=` may be up to [`SLACK_S`] seconds less.
//! - In `ESTADO`, any number matches for the keys in [`FIGURES`], and any 16 hex digits for
//!   [`IDENTITY`].
//! - The port 12345 stands for the port of the server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use support::terminal::Terminal;
use support::{PATIENCE, Server, has};

/// The time at which the examples begin, and the year whose times are relative to it.
const BEGIN: &str = "2026-11-22T10:00:00-03:00";
const BEGIN_YEAR: &str = "2026-";
const ZONE: &str = "America/Montevideo";
/// The delay relative to the example that is tolerated, in seconds.
const SLACK_S: i64 = 60;
/// Keys of `ESTADO` whose values depend on the build, the machine or the time.
const FIGURES: [&str; 4] = ["version=", "uptime=", "max_clients=", "journal_bytes="];
/// The key of `ESTADO` whose value is random.
const IDENTITY: &str = "journal=";

/// A fenced block of a document.
#[derive(Debug)]
struct Example {
    /// The number of its first line of content, from 1.
    line: usize,
    /// The words after the opening fence.
    info: Vec<String>,
    text: Vec<String>,
}

/// Returns the fenced blocks of a document that have the given kinds.
fn examples(document: &str, kinds: &[&str]) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut open: Option<Example> = None;
    for (at, line) in document.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => examples.extend(open.take()),
            (Some(info), None) => {
                let info = info.split_whitespace().map(str::to_owned).collect();
                open = Some(Example { line: at + 2, info, text: Vec::new() });
            }
            (None, Some(example)) => example.text.push(line.to_owned()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block does not end: {open:?}");
    let is_one = |example: &Example| example.info.first().is_some_and(|it| kinds.contains(&&**it));
    examples.into_iter().filter(is_one).collect()
}

// ---------------------------------------------------------------------------------------------
// Comparison.

/// A part of a line, by the way in which it is compared.
#[derive(PartialEq, Debug)]
enum Piece<'a> {
    Text(&'a str),
    /// A time such as `2026-11-22T10:00:00-03:00`.
    Stamp(&'a str),
    /// The seconds in `quedan=7200s`.
    Left(i64),
}

/// Parses a time at the start of `text`.
fn stamp(text: &str) -> Option<&str> {
    const FORM: &[u8] = b"0000-00-00T00:00:00+00:00";
    let head = text.as_bytes().get(..FORM.len())?;
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'+' => matches!(byte, b'+' | b'-'),
        _ => byte == form,
    };
    head.iter().zip(FORM).all(fits).then(|| &text[..FORM.len()])
}

/// Parses the seconds at the start of `text`, if `before` ends with `quedan=` or `left=`.
fn left(before: &str, text: &str) -> Option<(i64, usize)> {
    if !before.ends_with(" quedan=") && !before.ends_with(" left=") {
        return None;
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, digits))
}

fn pieces(line: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < line.len() {
        let found = match (stamp(&line[at..]), left(&line[..at], &line[at..])) {
            (Some(stamp), _) => Some((Piece::Stamp(stamp), stamp.len())),
            (None, Some((seconds, digits))) => Some((Piece::Left(seconds), digits)),
            (None, None) => None,
        };
        match found {
            Some((piece, length)) => {
                pieces.extend([Piece::Text(&line[start..at]), piece]);
                at += length;
                start = at;
            }
            None => at += line[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    pieces.push(Piece::Text(&line[start..]));
    pieces
}

fn seconds(stamp: &str) -> i64 {
    let time: jiff::Timestamp = stamp.parse().expect("an RFC 3339 time");
    time.as_second()
}

/// Returns whether a line matches the document, in a run that began at `begin_s`.
fn agrees(documented: &str, actual: &str, begin_s: i64) -> bool {
    let masked = |line: &str| -> Option<String> {
        let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if let Some(id) = line.strip_prefix(IDENTITY) {
            return (id.len() == 16 && id.chars().all(is_digit)).then(|| IDENTITY.to_owned());
        }
        let key = FIGURES.into_iter().find(|key| line.starts_with(key))?;
        let mut masked = line[key.len()..].replace(|c: char| c.is_ascii_digit(), "0");
        while masked.contains("00") {
            masked = masked.replace("00", "0");
        }
        Some(format!("{key}{masked}"))
    };
    if let (Some(documented), Some(actual)) = (masked(documented), masked(actual)) {
        return documented == actual;
    }
    let (documented, actual) = (pieces(documented), pieces(actual));
    let agree = |(documented, actual): (&Piece, &Piece)| match (documented, actual) {
        (Piece::Stamp(documented), Piece::Stamp(actual)) if documented.starts_with(BEGIN_YEAR) => {
            let late_s = (seconds(actual) - begin_s) - (seconds(documented) - seconds(BEGIN));
            documented[19..] == actual[19..] && (0..=SLACK_S).contains(&late_s)
        }
        (Piece::Left(documented), Piece::Left(actual)) => {
            (0..=SLACK_S).contains(&(documented - actual))
        }
        (documented, actual) => documented == actual,
    };
    documented.len() == actual.len() && documented.iter().zip(&actual).all(agree)
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

// ---------------------------------------------------------------------------------------------
// `session`: lines over TCP.

const END: char = '⊣';
const GONE: &str = "✗";
const INTERRUPT: &str = "␃";
const TELNET_INTERRUPT: [u8; 2] = [255, 244];

struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    fn to(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).expect("the server takes us");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Peer { stream: BufReader::new(stream) }
    }

    fn send(&mut self, line: &str) -> Result<(), String> {
        let stream = self.stream.get_mut();
        let sent = match line.strip_suffix(END) {
            Some(cut) => {
                let sent = stream.write_all(cut.as_bytes());
                sent.and_then(|()| stream.shutdown(Shutdown::Write))
            }
            None if line == INTERRUPT => stream.write_all(&TELNET_INTERRUPT),
            None => stream.write_all(format!("{}\n", filled(line)).as_bytes()),
        };
        sent.map_err(|error| format!("cannot send {line:?}: {error}"))
    }

    /// Reads the next line, with the signs of the documents. The end of the stream is a line too.
    fn receive(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        read.map_err(|error| format!("nothing comes ({error}), so far {line:?}"))?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.replace('\t', "⇥")),
            None => Ok(format!("{line}{END}")),
        }
    }

    /// Returns the received lines that the example did not contain, up to the end if the server
    /// stops.
    fn rest(&mut self, stops: bool) -> String {
        self.stream.get_mut().set_nonblocking(!stops).expect("it can be set");
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if stops || error.kind() != ErrorKind::WouldBlock => {
                rest.extend(error.to_string().bytes());
            }
            _ => {}
        }
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Waits until the server has answered all earlier lines. The reply to a second line shows that all
/// output of the turn of the first one was sent.
fn settle(server: &Server) -> Result<(), String> {
    let mut peer = Peer::to(server.address);
    for _ in 0..2 {
        peer.send("?")?;
        peer.receive()?;
    }
    Ok(())
}

/// Expands a line such as `LISTAR x… (4096 bytes)`.
fn filled(line: &str) -> String {
    let spelled = || {
        let (text, count) = line.strip_suffix(" bytes)")?.rsplit_once("… (")?;
        let (count, fill) = (count.parse::<usize>().ok()?, text.chars().last()?);
        Some(text.to_owned() + &fill.to_string().repeat(count - text.len()))
    };
    spelled().unwrap_or_else(|| line.to_owned())
}

/// Splits a line into the connection, `>` or `<`, and the text.
fn split_line(line: &str) -> Option<(&str, char, &str)> {
    let at = line.find(['>', '<'])?;
    let (client, text) = (&line[..at], &line[at + 1..]);
    let is_name = client.chars().all(char::is_alphanumeric);
    let sign = line[at..].chars().next()?;
    is_name.then(|| (client, sign, text.strip_prefix(' ').unwrap_or(text)))
}

fn run_session(example: &Example) -> Result<(), String> {
    let zone = example.info.get(1).map_or(ZONE, String::as_str);
    let server = Server::in_memory(&["--time-zone", zone]);
    let begin_s = now_s();
    let mut peers: BTreeMap<&str, Peer> = BTreeMap::new();
    let mut stops = false;
    for (at, line) in example.text.iter().enumerate() {
        let place = |error: String| format!("line {}: {error}", example.line + at);
        if let Some(signal) = line.strip_prefix("-- SIG") {
            server.signal(signal);
            stops = true;
            continue;
        }
        let Some((client, sign, text)) = split_line(line) else {
            return Err(place("it is neither sent nor received".to_owned()));
        };
        if sign == '>' && text == GONE {
            peers.remove(client);
            continue;
        }
        let peer = peers.entry(client).or_insert_with(|| Peer::to(server.address));
        match sign {
            '>' if text.contains(&format!("={BEGIN_YEAR}")) => {
                return Err(place("a date of this year will not stay true".to_owned()));
            }
            '>' => peer.send(text).map_err(place)?,
            _ => {
                let actual = peer.receive().map_err(place)?;
                if !agrees(text, &actual, begin_s) {
                    return Err(place(format!("\n  documented {text}\n  but it is  {actual}")));
                }
            }
        }
    }
    let place = |error: String| format!("end of line {}: {error}", example.line);
    if !stops {
        settle(&server).map_err(place)?;
    }
    for (client, mut peer) in peers {
        match peer.rest(stops) {
            rest if rest.is_empty() => {}
            rest => {
                return Err(place(format!("more came than is documented: {client}< {rest}")));
            }
        }
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// `console` and `terminal`: programs.

/// Replaces the address in the documents by that of the server.
fn with_port(text: &str, server: &Server) -> String {
    let port = server.address.port();
    text.replace("127.0.0.1 12345", &format!("127.0.0.1 {port}"))
        .replace("127.0.0.1:12345", &format!("127.0.0.1:{port}"))
}

/// Runs all commands in one shell, so that `$?` works, with a mark after the output of each.
fn run_console(example: &Example, language: &str) -> Result<(), String> {
    const MARK: &str = "=== done ===";
    if !has("nc") {
        return Ok(());
    }
    let server = Server::in_memory(&["--time-zone", ZONE]);
    let begin_s = now_s();
    let mut script = String::new();
    let mut documented: Vec<&str> = Vec::new();
    for line in &example.text {
        match line.strip_prefix("$ ") {
            Some(command) => {
                if !script.is_empty() {
                    documented.push(MARK);
                }
                let command = with_port(command, &server);
                script += &format!("{command}\nstatus=$?; echo '{MARK}'; (exit $status)\n");
            }
            None => documented.push(line),
        }
    }
    documented.push(MARK);
    let programs =
        std::path::Path::new(env!("CARGO_BIN_EXE_reserva")).parent().expect("a directory");
    let path = std::env::var("PATH").expect("a path");
    let output = Command::new("timeout")
        .args(["60", "sh", "-c", &format!("exec 2>&1\n{script}")])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("LC_ALL", language)
        .env("RESERVA_SERVER", server.address.to_string())
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let actual = String::from_utf8(output.stdout).expect("UTF-8").replace('\t', "⇥");
    let agree = |(documented, actual): (&&str, &str)| {
        agrees(&with_port(documented, &server), actual, begin_s)
    };
    let same_length = documented.len() == actual.lines().count();
    if same_length && documented.iter().zip(actual.lines()).all(agree) {
        return Ok(());
    }
    let documented = documented.join("\n");
    Err(format!("line {}:\n--- documented\n{documented}\n--- but it is\n{actual}", example.line))
}

/// Runs a conversation of the client: `$ reserva`, then the content of the screen.
fn run_terminal(example: &Example, language: &str) -> Result<(), String> {
    const PROMPT: &str = "reserva> ";
    let server = Server::in_memory(&["--time-zone", ZONE]);
    let begin_s = now_s();
    let Some(mut terminal) = Terminal::open(&server.address.to_string(), language) else {
        return Ok(());
    };
    let Some((first, lines)) = example.text.split_first() else { return Ok(()) };
    assert_eq!(first, "$ reserva", "line {}", example.line);
    let mut documented = Vec::new();
    let mut screen = String::new();
    for line in lines {
        documented.push(with_port(line, &server));
        if let Some(typed) = line.strip_prefix(PROMPT) {
            screen += &terminal.expect(PROMPT);
            terminal.send(&format!("{typed}\n"));
        }
    }
    let (code, rest) = terminal.end();
    screen += &rest;
    let actual: Vec<String> = screen.lines().map(|line| line.replace('\t', "⇥")).collect();
    let agree = |(documented, actual): (&String, &String)| agrees(documented, actual, begin_s);
    let same = documented.len() == actual.len() && documented.iter().zip(&actual).all(agree);
    if same && code == 0 {
        return Ok(());
    }
    Err(format!(
        "line {}: exit {code}\n--- documented\n{}\n--- but it is\n{}",
        example.line,
        documented.join("\n"),
        actual.join("\n")
    ))
}

/// Runs all examples of a document. There must be a minimal number of each kind.
fn check(path: &str, language: &str, at_least: &[(&str, usize)]) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let document = std::fs::read_to_string(file).expect("a document");
    for (kind, least) in at_least {
        let count = examples(&document, &[kind]).len();
        assert!(count >= *least, "{path} has {count} examples of {kind}, where are the others?");
    }
    let run = |example: &Example| match example.info[0].as_str() {
        "session" => run_session(example),
        "console" => run_console(example, language),
        _ => run_terminal(example, language),
    };
    let all = examples(&document, &["session", "console", "terminal"]);
    let wrong: Vec<String> = all.iter().filter_map(|example| run(example).err()).collect();
    assert!(wrong.is_empty(), "{path} is not true:\n{}", wrong.join("\n"));
}

#[test]
fn protocol_examples_are_true() {
    check("docs/protocol.md", "C", &[("session", 45)]);
}

#[test]
fn readme_examples_are_true() {
    check("README.md", "C", &[("session", 2), ("console", 5), ("terminal", 1)]);
}

#[test]
fn spanish_readme_examples_are_true() {
    check("README.es.md", "es_ES.UTF-8", &[("session", 2), ("console", 5), ("terminal", 1)]);
}

/// The tables of the READMEs have the options of `--help`, in the same order.
#[test]
fn all_options_are_documented() {
    let output = Command::new(env!("CARGO_BIN_EXE_reservad")).arg("--help").output();
    let help = String::from_utf8(output.expect("the server starts").stdout).expect("UTF-8");
    let option = |text: &str| text.split([' ', '`']).next().map(|word| format!("--{word}"));
    let has: Vec<String> =
        help.lines().filter_map(|line| option(line.strip_prefix("      --")?)).collect();
    assert!(has.len() > 10, "{help}");
    for path in ["README.md", "README.es.md"] {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let readme = std::fs::read_to_string(file).expect("a document");
        let rows = readme.lines().filter_map(|line| option(line.strip_prefix("| `--")?));
        assert_eq!(rows.collect::<Vec<_>>(), has, "{path}");
    }
}

// ---------------------------------------------------------------------------------------------
// Tests of the comparison: false examples must fail.

#[test]
fn comparison_normalises_times_and_figures_only() {
    let begin_s = seconds("2031-05-06T07:08:09-03:00");
    let rows = [
        (true, "OK #1 desde=2026-11-22T10:00:00-03:00", "OK #1 desde=2031-05-06T07:08:09-03:00"),
        (true, "OK #1 desde=2026-11-22T10:00:00-03:00", "OK #1 desde=2031-05-06T07:09:09-03:00"),
        (false, "OK #1 desde=2026-11-22T10:00:00-03:00", "OK #1 desde=2031-05-06T07:08:08-03:00"),
        (false, "OK #1 desde=2026-11-22T10:00:00-03:00", "OK #1 desde=2031-05-06T07:09:10-03:00"),
        (false, "OK #1 desde=2026-11-22T10:00:00-03:00", "OK #1 desde=2031-05-06T10:08:09+00:00"),
        (false, "OK #1 desde=2026-11-22T10:00:00-03:00", "OK #2 desde=2031-05-06T07:08:09-03:00"),
        (true, "hasta=2026-11-22T12:00:00-03:00", "hasta=2031-05-06T09:08:10-03:00"),
        (false, "hasta=2026-11-22T13:00:00-03:00", "hasta=2031-05-06T09:08:10-03:00"),
        (false, "hasta=2026-11-22T13:00:00-03:00", "hasta=-"),
        (true, "hasta=2099-12-24T00:00:00-03:00", "hasta=2099-12-24T00:00:00-03:00"),
        (false, "hasta=2099-12-24T00:00:00-03:00", "hasta=2099-12-24T00:00:01-03:00"),
        (true, "OK VIGENTE #1 x quedan=7200s", "OK VIGENTE #1 x quedan=7199s"),
        (false, "OK VIGENTE #1 x quedan=7200s", "OK VIGENTE #1 x quedan=7201s"),
        (false, "OK VALID #1 x left=7200s", "OK VALID #1 x left=60s"),
        (false, "OK VALID #1 x left=7200s", "OK VALID #1 x left=-"),
        (true, "max_clients=992", "max_clients=1048544"),
        (true, "version=0.1.0", "version=0.12.10"),
        (false, "max_clients=992", "max_clients=none"),
        (false, "clients=1", "clients=2"),
        (false, "uptime=0s", "uptime=0"),
        (true, "journal=0123456789abcdef", "journal=fedcba9876543210"),
        (false, "journal=0123456789abcdef", "journal=fedcba987654321"),
        (false, "journal=0123456789abcdef", "journal=FEDCBA9876543210"),
        (false, "OK", "OK "),
        (false, "OK", ""),
    ];
    for (same, documented, actual) in rows {
        assert_eq!(agrees(documented, actual, begin_s), same, "{documented} | {actual}");
    }
}

#[test]
fn false_example_fails() {
    let rows = [
        (true, "> SOY ana\n< OK ana"),
        (false, "> SOY ana\n< OK Ana"),
        (false, "> SOY ana"),
        (false, "> SOY ana⊣\n< OK ana"),
        (false, "> SALIR\n< OK ADIÓS\n< OK ADIÓS"),
        (false, "> LISTAR desde=2026-12-24\n< OK 3 DISPONIBLES"),
        (false, "SOY ana"),
        // With several connections. `1` is reserved at the start.
        (true, "luis> RESERVE 1 wait=1h\nluis< * QUEUE 1 1"),
        (false, "luis> RESERVE 1 wait=1h\nluis< * QUEUE 2 1"),
        (false, "luis> RESERVE 1 wait=1h"),
        (false, "luis> RESERVE 1 wait=1h\nluis< * QUEUE 1 1\n> CANCEL #1\n< OK CANCELLED #1 1"),
        (true, "luis> WATCH Hall* after=5\nluis< OK WATCHING after=5\n> LIST 1\n< OK 0 AVAILABLE"),
        (true, "luis> WATCH\nluis< OK WATCHING after=5\n> ADD 2\n< OK ADD 1\nluis< * 6 ADD 2"),
        (false, "luis> WATCH\nluis< OK WATCHING after=5\n> ADD 2\n< OK ADD 1\nluis< * 7 ADD 2"),
        (false, "luis> WATCH\nluis< OK WATCHING after=5\n> ADD 2\n< OK ADD 1"),
        (false, "-- SIGTERM\n< OK BYE"),
        (true, "luis> IAM luis\nluis< OK luis\n-- SIGTERM\nluis< ⊣\n< ⊣"),
        (false, "luis> RESERVE 1 wait=1h\nluis< * QUEUE 1 1\n-- SIGTERM\nluis< ⊣"),
    ];
    for (holds, text) in rows {
        let first = "> ADD 1\n< OK ADD 1\n> RESERVE 1\n< OK RESERVED #1 1";
        let document = format!("```session\n{first}\n{text}\n```\n");
        let example = examples(&document, &["session"]).pop().expect("an example");
        assert_eq!(run_session(&example).is_ok(), holds, "{text}");
    }
}

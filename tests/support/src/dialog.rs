//! Scripted conversations with a server.
//!
//! ```text
//! > RESERVAR Sala 1 por=1h          the client without a name sends a line
//! < OK RESERVADO #1 Sala 1 {*}      it must receive this line
//! ana> SALIR                        the client `ana` sends a line
//! ana< OK ADIÓS
//! ana.                              the server has closed the connection of `ana`
//! ana|                              `ana` half-closes its connection and reads to the end
//! ana!                              `ana` disconnects at once, for example while it waits
//! -- a comment
//! ```
//!
//! In a reply `{T}` stands for any time, `{n}` for any number and `{*}` for any text within the
//! line. `⇥` is a tab, in sent lines too. At the end no client may have received further lines.

use super::{Client, Server};
use std::collections::BTreeMap;

/// Runs a script with a new server that has the given arguments.
pub fn check(arguments: &[&str], script: &str) {
    let server = Server::in_memory(arguments);
    run_script(&server, script);
    server.stop();
}

/// Runs a Spanish script three times with new servers: as it is, in English, and with Spanish verbs
/// and English options.
pub fn check_in_both(arguments: &[&str], script: &str) {
    check(arguments, script);
    check(arguments, &in_english(script));
    check(arguments, &with_english_options(script));
}

/// Runs a script with a running server.
pub fn run_script(server: &Server, script: &str) {
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    for (at, line) in script.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with("--") {
            continue;
        }
        let place = || format!("line {} of:\n{script}\nat: {line}", at + 1);
        let end = line.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
        let (name, rest) = line.split_at(end);
        let client = clients.entry(name).or_insert_with(|| server.connect());
        let (mark, rest) = rest.split_at(1);
        let text = rest.strip_prefix(' ').unwrap_or(rest).replace('⇥', "\t");
        match mark {
            ">" => client.send(format!("{text}\n")),
            "<" => {
                let got = client.raw_line();
                let matched = got.strip_suffix('\n').is_some_and(|got| matches(&text, got));
                assert!(matched, "got {got:?}\n{}", place());
            }
            "." => {
                assert_eq!(client.rest(), "", "{}", place());
                clients.remove(name);
            }
            "|" => {
                let rest = clients.remove(name).unwrap().finish();
                assert_eq!(rest, "", "{}", place());
            }
            "!" => drop(clients.remove(name)),
            _ => panic!("{}", place()),
        }
    }
    for (name, client) in clients {
        assert_eq!(client.finish(), "", "unexpected lines for {name:?} in:\n{script}");
    }
}

/// Sends lines on one connection and matches the first line of each reply with a pattern.
pub fn check_cases(client: &mut Client, cases: &[(&str, &str)]) {
    for (line, want) in cases {
        let got = client.say(line);
        assert!(matches(want, &got), "{line:?}\ngot      {got:?}\nexpected {want:?}");
    }
}

/// Returns whether a reply matches a pattern as in scripts.
pub fn matches(want: &str, got: &str) -> bool {
    let Some(at) = ["{T}", "{n}", "{*}"].iter().filter_map(|mark| want.find(mark)).min() else {
        return want == got;
    };
    let (head, mark, tail) = (&want[..at], &want[at..at + 3], &want[at + 3..]);
    let Some(rest) = got.strip_prefix(head) else { return false };
    match mark {
        "{T}" => rest
            .split_at_checked(25)
            .is_some_and(|(time, rest)| is_time(time) && matches(tail, rest)),
        "{n}" => {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            digits > 0 && matches(tail, &rest[digits..])
        }
        _ => {
            let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
            (0..=end).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
        }
    }
}

/// Returns the number of a notice.
pub fn notice_number(notice: &str) -> u64 {
    let number = notice.strip_prefix("* ").and_then(|rest| rest.split(' ').next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("not a notice: {notice}"))
}

/// Reads notices and checks that they have the numbers `from..=to`.
pub fn expect_notices(client: &mut Client, from: u64, to: u64) -> Vec<String> {
    let lines: Vec<_> = (from..=to).map(|_| client.raw_line()).collect();
    let numbers: Vec<_> = lines.iter().map(|line| notice_number(line)).collect();
    assert_eq!(numbers, (from..=to).collect::<Vec<_>>(), "missing or repeated notices");
    lines
}

/// Returns whether a text is a time in RFC 3339 with seconds and an offset.
pub fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd+dd:dd";
    let fits = |(have, want): (char, char)| match want {
        'd' => have.is_ascii_digit(),
        '+' => matches!(have, '+' | '-'),
        want => have == want,
    };
    text.chars().count() == form.len() && text.chars().zip(form.chars()).all(fits)
}

/// Verbs and words of replies in both languages.
const WORDS: [(&str, &str); 25] = [
    ("RESERVADO", "RESERVED"),
    ("RESERVAR", "RESERVE"),
    ("RESERVAS", "BOOKINGS"),
    ("CANCELADO", "CANCELLED"),
    ("CANCELAR", "CANCEL"),
    ("LISTAR", "LIST"),
    ("DISPONIBLES", "AVAILABLE"),
    ("VERIFICAR", "VERIFY"),
    ("VIGENTE", "VALID"),
    ("quedan=", "left="),
    ("RENOVADO", "RENEWED"),
    ("RENOVAR", "RENEW"),
    ("CUANDO", "WHEN"),
    ("OBSERVANDO", "WATCHING"),
    ("OBSERVAR", "WATCH"),
    ("VENCIDO", "EXPIRED"),
    ("* COLA", "* QUEUE"),
    ("SOY", "IAM"),
    ("ALTA", "ADD"),
    ("BAJA", "REMOVE"),
    ("ESTADO", "STATUS"),
    ("AYUDA", "HELP"),
    ("SALIR", "QUIT"),
    ("ADIÓS", "BYE"),
    ("⇥salir⇥", "⇥quit⇥"),
];

const OPTIONS: [(&str, &str); 10] = [
    ("hasta=salir", "until=quit"),
    ("desde=", "from="),
    ("hasta=", "until="),
    ("por=", "for="),
    ("noches=", "nights="),
    ("clave=", "key="),
    ("nota=", "note="),
    ("titular=", "holder="),
    ("espera=", "wait="),
    ("tras=", "after="),
];

fn replaced(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (es, en)| text.replace(es, en))
}

fn in_english(script: &str) -> String {
    replaced(&replaced(script, &WORDS), &OPTIONS)
}

fn with_english_options(script: &str) -> String {
    let is_reply = |line: &str| {
        line.trim_start().trim_start_matches(|c: char| c.is_ascii_alphanumeric()).starts_with('<')
    };
    let lines = script.lines().map(|line| match is_reply(line) {
        true => line.to_owned(),
        false => replaced(line, &OPTIONS),
    });
    lines.collect::<Vec<_>>().join("\n")
}

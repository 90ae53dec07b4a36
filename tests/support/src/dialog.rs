//! Conversations written down as they look at a terminal, held against a
//! server of their own.
//!
//! ```text
//! > RESERVAR Sala 1 por=1h          a line of the only client
//! < OK RESERVADO #1 Sala 1 {*}      what it must be answered
//! ana> SALIR                        a line of another client
//! ana< OK ADIÓS
//! ana.                              that client has been closed, nothing more came
//! ana|                              that client half-closes and reads to the end
//! ana!                              that client goes away at once, in the middle of a wait
//! ```
//!
//! In a reply `{T}` is any time, `{n}` any number, `{*}` any text
//! of that line; `⇥` is a tab, in lines too. What is not expected is a failure: at the end every
//! client must have been sent nothing more.

use super::{Client, Server};
use std::collections::BTreeMap;

/// Holds a conversation with a server that has these arguments.
pub fn check(arguments: &[&str], script: &str) {
    let server = Server::in_memory(arguments);
    converse(&server, script);
    server.stop();
}

/// Holds a Spanish conversation three times, each with a new server: as it
/// is, in English, and with Spanish verbs and English options.
pub fn check_in_both(arguments: &[&str], script: &str) {
    check(arguments, script);
    check(arguments, &in_english(script));
    check(arguments, &with_english_options(script));
}

/// Holds a conversation with a running server.
pub fn converse(server: &Server, script: &str) {
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
        assert_eq!(client.finish(), "", "{name:?} was sent more in:\n{script}");
    }
}

/// Holds the first line that is answered to each line against a pattern,
/// all on one connection.
pub fn check_rows(client: &mut Client, rows: &[(&str, &str)]) {
    for (line, want) in rows {
        let got = client.say(line);
        assert!(matches(want, &got), "{line:?}\nis answered {got:?}\nnot      {want:?}");
    }
}

/// Whether a reply is what a pattern says; see the page above.
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

/// The number of a notice of a change.
pub fn notice_number(notice: &str) -> u64 {
    let number = notice.strip_prefix("* ").and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no notice: {notice}"))
}

/// The notices that come next, which must be those with these numbers.
pub fn told(client: &mut Client, from: u64, to: u64) -> Vec<String> {
    let lines: Vec<_> = (from..=to).map(|_| client.raw_line()).collect();
    let numbers: Vec<_> = lines.iter().map(|line| notice_number(line)).collect();
    assert_eq!(numbers, (from..=to).collect::<Vec<_>>(), "a gap, or twice the same");
    lines
}

/// Whether a text is RFC 3339 with an offset, to the second.
pub fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd+dd:dd";
    let fits = |(have, want): (char, char)| match want {
        'd' => have.is_ascii_digit(),
        '+' => matches!(have, '+' | '-'),
        want => have == want,
    };
    text.chars().count() == form.len() && text.chars().zip(form.chars()).all(fits)
}

/// The vocabulary of the protocol: verbs and words of replies.
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

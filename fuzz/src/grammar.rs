//! The target `grammar`: one line, in both languages. The reply is well formed, the line has the
//! same effect in both, and a parsed command can be written and parsed again.

use std::fmt::Write;

use reservad::commands::parse::{Command, RequestTime, ScannedStr, parse};

use reservad::commands::words::find_verb;
use reservad::conn::Eol;
use reservad::inventory::{Cancel, End, Interval, Selector, Start, When};
use reservad::text::{Lang, Opt, Verb, push_quoted};
use reservad::time::{ClockReading, Round, Time, Zone};

use super::reply;
use super::server::{Peer, START, Server, is_too_much, zone};

/// Similar names, accents, a reservation without an end, and a booking.
const BEFORE: [&str; 6] = [
    "ALTA Habitación 1..3, Sala 1, Sala 11, Árbol",
    "SOY luis",
    "RESERVAR Habitación 1 nota=\"dos adultos\" clave=k1",
    "RESERVAR Sala 1 por=2h",
    "RESERVAR Habitación 2, Sala 11 desde=2026-12-24 noches=3",
    "SOY ana",
];

/// The effects of a line.
struct Said {
    outcome: (String, usize),
    reply: String,
    events: Vec<(u64, String)>,
    waits: bool,
    closed: bool,
}

fn say(line: &[u8], eol: Eol) -> Said {
    let mut server = Server::in_memory();
    let mut peer = Peer::new(1, eol);
    for line in BEFORE {
        let reply = server.say(&mut peer, line.as_bytes());
        assert!(reply.starts_with(b"OK "), "{line} has failed");
    }
    server.commit();
    let text = server.say(&mut peer, line);
    let lines = reply::check(&text, eol);
    server.inventory.check();
    Said {
        outcome: reply::outcome(&lines),
        reply: lines.join("\n"),
        events: server.texts(),
        waits: peer.session.is_waiting(),
        closed: peer.closed,
    }
}

/// Runs the first line of `data`.
pub fn run(data: &[u8]) {
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if is_too_much(line) {
        return;
    }
    let said = say(line, Eol::Lf);
    let with_cr = say(line, Eol::CrLf);
    assert_eq!(said.reply, with_cr.reply, "the reply depends on the line ending");
    let Ok(line) = str::from_utf8(line) else {
        assert!(said.events.is_empty(), "a line that is not UTF-8 has an effect");
        return;
    };
    let (word, rest) = ScannedStr::of(line).split_word();
    let Some((verb, lang)) = find_verb(word) else { return };
    let other = if lang == Lang::Es { Lang::En } else { Lang::Es };
    means_the_same(&said, &format!("{} {}", verb.word(other), rest.text));
    let request_time = RequestTime { now: ClockReading::at(START), zone: zone() };
    if let Ok(command) = parse(verb, rest, lang, request_time, &mut String::new()) {
        for lang in [Lang::Es, Lang::En] {
            written_again(verb, &command, lang, request_time);
        }
    }
}

fn means_the_same(said: &Said, line: &str) {
    let other = say(line.as_bytes(), Eol::Lf);
    let is_help = said.reply.contains(" AYUDA") || said.reply.contains(" HELP");
    assert!(said.outcome == other.outcome || is_help, "{}\n{}", said.reply, other.reply);
    assert_eq!(said.events, other.events, "{line} has other effects");
    if said.outcome.0 == "OK " && !is_help {
        assert_eq!(in_english(&said.reply), in_english(&other.reply), "{line}");
    }
    assert_eq!((said.waits, said.closed), (other.waits, other.closed), "{line}");
}

/// Translates the words of a reply. Words in names and notes are replaced too, in the replies of
/// both languages alike.
fn in_english(reply: &str) -> String {
    const WORDS: [(&str, &str); 16] = [
        ("RESERVADO", "RESERVED"),
        ("CANCELADO", "CANCELLED"),
        ("RENOVADO", "RENEWED"),
        ("DISPONIBLES", "AVAILABLE"),
        ("RESERVAS", "BOOKINGS"),
        ("VIGENTE", "VALID"),
        ("OBSERVANDO", "WATCHING"),
        ("ESTADO", "STATUS"),
        ("ALTA", "ADD"),
        ("BAJA", "REMOVE"),
        ("ADIÓS", "BYE"),
        ("desde=", "from="),
        ("hasta=", "until="),
        ("quedan=", "left="),
        ("tras=", "after="),
        ("salir", "quit"),
    ];
    WORDS.iter().fold(reply.to_owned(), |text, (es, en)| text.replace(es, en))
}

/// Writes a command and parses it again, also with other spaces and case.
fn written_again(verb: Verb, command: &Command, lang: Lang, request_time: RequestTime) {
    let Some(rest) = text_of(command, lang) else { return };
    let mut joined = String::new();
    let again = parse(verb, ScannedStr::of(&rest), lang, request_time, &mut joined);
    let again = again.unwrap_or_else(|fault| panic!("{command:?} as {rest:?}: {}", fault.text));
    assert_eq!(format!("{command:?}"), format!("{again:?}"), "written as {rest:?}");
}

/// Writes the arguments of a command, or returns `None` if a line cannot contain them.
fn text_of(command: &Command, lang: Lang) -> Option<String> {
    let mut text = String::new();
    let out = &mut text;
    match command {
        Command::Reserve(request) => {
            out.push_str(&join(request.selectors.iter().map(Selector::text)));
            push_text(Opt::Key, request.key.as_deref(), lang, out);
            push_text(Opt::Note, request.note.as_deref(), lang, out);
            if let Some(wait_ms) = request.wait_ms {
                push_option(Opt::Wait, format_args!("{}s", wait_ms / 1000), lang, out);
            }
            push_when(&request.when, lang, out);
        }
        Command::Cancel(items) => {
            let texts = items.iter().map(|item| match item {
                Cancel::Number(number) => format!("#{number}"),
                Cancel::Name(name) => name.to_string(),
            });
            out.push_str(&texts.collect::<Vec<_>>().join(" ,"));
        }
        Command::List { .. } => return None,
        Command::Bookings { selector, holder, interval: Interval { from, until } } => {
            out.push_str(&join(selector.iter().map(Selector::text)));
            push_text(Opt::Holder, holder.as_deref(), lang, out);
            if *from != Time::MIN {
                push_time(Opt::From, *from, lang, out);
            }
            if !until.is_never() {
                push_time(Opt::Until, *until, lang, out);
            }
        }
        Command::Renew { number, end } => {
            let _ = write!(out, "#{number}");
            push_end(*end, lang, out);
        }
        Command::When { selectors, when } => {
            out.push_str(&join(selectors.iter().map(Selector::text)));
            push_when(when, lang, out);
        }
        Command::Verify { number, name } => {
            let _ = write!(out, "#{number} {}", name.as_deref().unwrap_or_default());
        }
        Command::Watch { selector, after } => {
            out.push_str(&join(selector.iter().map(Selector::text)));
            if let Some(after) = after {
                push_option(Opt::After, format_args!("{after}"), lang, out);
            }
        }
        Command::IAm(name) => out.push_str(name),
        // A range may expand to more names than a line can contain, and to names that look like
        // ranges.
        Command::Add(names) if names.len() > 32 || names.iter().any(|name| name.contains("..")) => {
            return None;
        }
        Command::Add(names) | Command::Remove(names) => out.push_str(&names.join("\t,  ")),
        Command::Status | Command::Quit | Command::Help(None) => {}
        Command::Help(Some(verb)) => out.push_str(verb.word(lang)),
    }
    Some(text)
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

fn push_option(option: Opt, value: std::fmt::Arguments, lang: Lang, out: &mut String) {
    let word = option.word(lang).to_uppercase();
    let _ = write!(out, " \t{word}={value}");
}

fn push_text(option: Opt, value: Option<&str>, lang: Lang, out: &mut String) {
    if let Some(value) = value {
        out.push(' ');
        push_quoted(&format!("{}=", option.word(lang)), value, out);
    }
}

fn push_time(option: Opt, time: Time, lang: Lang, out: &mut String) {
    let text = Zone::utc().text(time, Round::Down);
    push_option(option, format_args!("{text}"), lang, out);
}

fn push_when(when: &When, lang: Lang, out: &mut String) {
    push_end(when.end, lang, out);
    match when.start {
        Start::Default => {}
        Start::Now => push_option(Opt::From, format_args!("NOW"), lang, out),
        Start::At(time) => push_time(Opt::From, time, lang, out),
    }
}

fn push_end(end: End, lang: Lang, out: &mut String) {
    match end {
        End::Open => {}
        End::Quit => push_option(Opt::Until, format_args!("quit"), lang, out),
        End::KeepAlive(ms) => {
            push_option(Opt::Until, format_args!("quit"), lang, out);
            push_option(Opt::For, format_args!("{}s", ms / 1000), lang, out);
        }
        End::Until(time) => push_time(Opt::Until, time, lang, out),
        End::For(ms) => push_option(Opt::For, format_args!("{}s", ms / 1000), lang, out),
        End::Nights(nights) => push_option(Opt::Nights, format_args!("{nights}"), lang, out),
    }
}

//! The words of the wire in both languages, side by side: verbs, options,
//! and the helpers that choose between them.

use crate::inventory::names::{fold, is_unprintable};

/// The language of a reply: that of the verb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lang {
    Es,
    En,
}

impl Lang {
    /// Chooses the word of this language.
    pub fn localized<T>(self, es: T, en: T) -> T {
        match self {
            Lang::Es => es,
            Lang::En => en,
        }
    }
}

/// Formats the Spanish or the English text with the same arguments.
macro_rules! localize {
    ($lang:expr, $es:literal, $en:literal $(, $arg:expr)* $(,)?) => {
        match $lang {
            $crate::commands::words::Lang::Es => format!($es $(, $arg)*),
            $crate::commands::words::Lang::En => format!($en $(, $arg)*),
        }
    };
}
pub(crate) use localize;

/// What a line asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Reserve,
    Cancel,
    List,
    Bookings,
    Renew,
    When,
    Verify,
    Watch,
    IAm,
    Add,
    Remove,
    Status,
    Help,
    Quit,
}

/// All verbs in the order of `AYUDA`.
pub const VERBS: [(Verb, &str, &str); 14] = [
    (Verb::Reserve, "RESERVAR", "RESERVE"),
    (Verb::Cancel, "CANCELAR", "CANCEL"),
    (Verb::List, "LISTAR", "LIST"),
    (Verb::Bookings, "RESERVAS", "BOOKINGS"),
    (Verb::Renew, "RENOVAR", "RENEW"),
    (Verb::When, "CUANDO", "WHEN"),
    (Verb::Verify, "VERIFICAR", "VERIFY"),
    (Verb::Watch, "OBSERVAR", "WATCH"),
    (Verb::IAm, "SOY", "IAM"),
    (Verb::Add, "ALTA", "ADD"),
    (Verb::Remove, "BAJA", "REMOVE"),
    (Verb::Status, "ESTADO", "STATUS"),
    (Verb::Help, "AYUDA", "HELP"),
    (Verb::Quit, "SALIR", "QUIT"),
];

impl Verb {
    /// The verb that a word is, and in which language, whatever its case and
    /// accents.
    pub fn find(word: &str) -> Option<(Verb, Lang)> {
        if !word.is_ascii() {
            return Verb::find_plain(&fold(word));
        }
        Verb::find_plain(word)
    }

    /// The same without accents.
    fn find_plain(word: &str) -> Option<(Verb, Lang)> {
        Verb::find_by(|verb| word.eq_ignore_ascii_case(verb))
    }

    /// The same written as it is shown.
    pub fn find_exact(word: &[u8]) -> Option<(Verb, Lang)> {
        Verb::find_by(|verb| word == verb.as_bytes())
    }

    fn find_by(is_it: impl Fn(&str) -> bool) -> Option<(Verb, Lang)> {
        VERBS.iter().find_map(|(verb, es, en)| match () {
            () if is_it(es) => Some((*verb, Lang::Es)),
            () if is_it(en) => Some((*verb, Lang::En)),
            () => None,
        })
    }

    /// Reserving and cancelling in either language, written as it is shown, and what
    /// follows the space after it: what nearly all lines are.
    pub fn cut_short(line: &[u8]) -> Option<(Verb, Lang, &[u8])> {
        let cut = |verb, lang, word| line.strip_prefix(word).map(|rest| (verb, lang, rest));
        cut(Verb::Reserve, Lang::Es, b"RESERVAR ".as_slice())
            .or_else(|| cut(Verb::Cancel, Lang::Es, b"CANCELAR "))
            .or_else(|| cut(Verb::Reserve, Lang::En, b"RESERVE "))
            .or_else(|| cut(Verb::Cancel, Lang::En, b"CANCEL "))
    }

    /// The verb's word.
    pub fn word(self, lang: Lang) -> &'static str {
        let row = VERBS.iter().find(|(verb, ..)| *verb == self);
        row.map_or("", |(_, es, en)| lang.localized(es, en))
    }

    /// The options that it takes.
    pub fn options(self) -> &'static [Opt] {
        match self {
            Verb::Reserve => {
                &[Opt::From, Opt::Until, Opt::For, Opt::Nights, Opt::Wait, Opt::Note, Opt::Key]
            }
            Verb::List => &[Opt::From, Opt::Until, Opt::For, Opt::Nights],
            Verb::Bookings => &[Opt::Holder, Opt::From, Opt::Until],
            Verb::Watch => &[Opt::Flow],
            Verb::Renew => &[Opt::For, Opt::Until],
            Verb::When => &[Opt::For, Opt::Nights, Opt::From],
            _ => &[],
        }
    }
}

/// An option of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opt {
    From,
    Until,
    For,
    Nights,
    Wait,
    Key,
    Note,
    Holder,
    Flow,
}

const OPTIONS: [(Opt, &str, &str); 9] = [
    (Opt::From, "desde", "from"),
    (Opt::Until, "hasta", "until"),
    (Opt::For, "por", "for"),
    (Opt::Nights, "noches", "nights"),
    (Opt::Wait, "espera", "wait"),
    (Opt::Key, "clave", "key"),
    (Opt::Note, "nota", "note"),
    (Opt::Holder, "titular", "holder"),
    (Opt::Flow, "tras", "after"),
];

impl Opt {
    /// The option of a word in either language.
    pub fn find(word: &str) -> Option<Opt> {
        if !word.is_ascii() {
            return Opt::find_plain(&fold(word));
        }
        Opt::find_plain(word)
    }

    /// The same without accents.
    fn find_plain(word: &str) -> Option<Opt> {
        let is_it = |of: &str| word.eq_ignore_ascii_case(of);
        OPTIONS.iter().find(|(_, es, en)| is_it(es) || is_it(en)).map(|(option, ..)| *option)
    }

    /// The option's word, without the `=`.
    pub fn word(self, lang: Lang) -> &'static str {
        let row = OPTIONS.iter().find(|(option, ..)| *option == self);
        row.map_or("", |(_, es, en)| lang.localized(es, en))
    }
}

/// What a client sent, made safe to show: escaped, and then at most
/// [`crate::limits::ECHO_MAX_CHARS`] characters, with `…` where it is cut.
pub fn excerpt(text: &str) -> String {
    let mut out = String::new();
    let mut count = 0;
    for c in text.chars() {
        let shown = escaped(c);
        count += shown.chars().count();
        if count > crate::limits::ECHO_MAX_CHARS {
            out.push('…');
            break;
        }
        out += &shown;
    }
    out
}

/// A text from outside (a path, what is in a file) as one line of the log:
/// escaped, not cut.
pub fn escape_for_log(text: &str) -> String {
    text.chars().map(escaped).collect()
}

fn escaped(c: char) -> String {
    let is_plain = c == ' ' || !is_unprintable(c);
    if is_plain { c.to_string() } else { c.escape_unicode().to_string() }
}

//! The words of the protocol in both languages, side by side: verbs, options, and the values that
//! are words.

/// The language of a command, which is that of its verb, and of the reply to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lang {
    Es,
    En,
}

impl Lang {
    /// Returns the value for this language.
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
            $crate::text::Lang::Es => format!($es $(, $arg)*),
            $crate::text::Lang::En => format!($en $(, $arg)*),
        }
    };
}
pub(crate) use localize;

/// A verb, independent of its language.
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

/// All verbs in both languages, in the order in which `AYUDA` lists them.
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
    /// Returns the verb and the language of a word, which may be in either language and any case.
    /// Accents must have been removed.
    pub fn find(word: &str) -> Option<(Verb, Lang)> {
        Verb::find_by(|verb| word.eq_ignore_ascii_case(verb))
    }

    /// Returns the verb and the language of a word that is written in capitals, as in the table.
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

    /// Returns the word of the verb in a language.
    pub fn word(self, lang: Lang) -> &'static str {
        let row = VERBS.iter().find(|(verb, ..)| *verb == self);
        row.map_or("", |(_, es, en)| lang.localized(es, en))
    }

    /// Returns the options that the verb takes.
    pub fn options(self) -> &'static [Opt] {
        match self {
            Verb::Reserve => {
                &[Opt::From, Opt::Until, Opt::For, Opt::Nights, Opt::Wait, Opt::Note, Opt::Key]
            }
            Verb::List => &[Opt::From, Opt::Until, Opt::For, Opt::Nights],
            Verb::Bookings => &[Opt::Holder, Opt::From, Opt::Until],
            Verb::Watch => &[Opt::After],
            Verb::Renew => &[Opt::For, Opt::Until],
            Verb::When => &[Opt::For, Opt::Nights, Opt::From],
            _ => &[],
        }
    }
}

/// An option of a command, independent of its language.
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
    After,
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
    (Opt::After, "tras", "after"),
];

impl Opt {
    /// Returns the option for a word, which may be in either language and any case. Accents must
    /// have been removed.
    pub fn find(word: &str) -> Option<Opt> {
        let is_it = |of: &str| word.eq_ignore_ascii_case(of);
        OPTIONS.iter().find(|(_, es, en)| is_it(es) || is_it(en)).map(|(option, ..)| *option)
    }

    /// Returns the word of the option in a language, without the `=`.
    pub fn word(self, lang: Lang) -> &'static str {
        let row = OPTIONS.iter().find(|(option, ..)| *option == self);
        row.map_or("", |(_, es, en)| lang.localized(es, en))
    }
}

/// Returns whether the value of `desde=` means the present.
pub fn is_now_word(value: &str) -> bool {
    value.eq_ignore_ascii_case("ahora") || value.eq_ignore_ascii_case("now")
}

/// Returns whether the value of `hasta=` binds a reservation to its connection.
pub fn is_quit_word(value: &str) -> bool {
    value.eq_ignore_ascii_case("salir") || value.eq_ignore_ascii_case("quit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_finds_its_verb() {
        for (verb, es, en) in VERBS {
            for (word, lang) in [(es, Lang::Es), (en, Lang::En)] {
                assert_eq!(verb.word(lang), word);
                assert_eq!(Verb::find_exact(word.as_bytes()), Some((verb, lang)));
                assert_eq!(Verb::find(&word.to_lowercase()), Some((verb, lang)));
                assert_eq!(Verb::find_exact(word.to_lowercase().as_bytes()), None);
            }
        }
        assert_eq!(Verb::find("RESERVA"), None);
    }

    #[test]
    fn every_word_finds_its_option() {
        for (option, es, en) in OPTIONS {
            assert_eq!((option.word(Lang::Es), option.word(Lang::En)), (es, en));
            assert_eq!(Opt::find(&es.to_uppercase()), Some(option));
            assert_eq!(Opt::find(en), Some(option));
        }
        assert_eq!(Opt::find("color"), None);
    }
}

//! Verbs and options as people type them, in any case and with or without accents.

use crate::inventory::names::fold;
pub(crate) use crate::text::localize;
pub use crate::text::{Lang, Opt, VERBS, Verb, escape_for_log, excerpt};

/// Returns the verb that a word is, and its language.
pub fn find_verb(word: &str) -> Option<(Verb, Lang)> {
    if word.is_ascii() { Verb::find(word) } else { Verb::find(&fold(word)) }
}

/// Returns the option that a word is.
pub fn find_option(word: &str) -> Option<Opt> {
    if word.is_ascii() { Opt::find(word) } else { Opt::find(&fold(word)) }
}

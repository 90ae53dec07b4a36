//! Verbs and options as people type them, in any case and with or without accents.

use crate::inventory::names::fold;
use crate::text::{Lang, Opt, Verb};

/// Returns the verb for a word, and its language.
pub fn find_verb(word: &str) -> Option<(Verb, Lang)> {
    if word.is_ascii() { Verb::find(word) } else { Verb::find(&fold(word)) }
}

/// Returns the option for a word.
pub fn find_option(word: &str) -> Option<Opt> {
    if word.is_ascii() { Opt::find(word) } else { Opt::find(&fold(word)) }
}

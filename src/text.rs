//! The parts of the protocol's text that server and client share: the words of both languages,
//! durations, quoting, and the characters that are not printed.
//!
//! This is the lowest layer. It knows no inventory and no time, so the client links nothing else
//! of the server.

mod characters;
mod duration;
mod quoting;
mod words;

pub use characters::{escape_for_log, excerpt, is_emoji_part, is_hidden, is_unprintable};
pub use duration::{DurationError, parse_duration_ms};
pub use quoting::{QuoteError, push_quoted, read_quoted};
pub(crate) use words::localize;
pub use words::{Lang, Opt, VERBS, Verb, is_now_word, is_quit_word};

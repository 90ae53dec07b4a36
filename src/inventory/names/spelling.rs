//! The spelling of names: which texts are names, and when two of them are the same.

use std::borrow::Cow;

use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization, is_nfc_quick};

use crate::limits::NAME_MAX_BYTES;
use crate::text::is_unprintable;

/// The reason why a text is not a name, or not a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    Empty,
    /// More than [`NAME_MAX_BYTES`] in NFC.
    TooLong,
    /// A character that a name cannot have.
    Forbidden(char),
    /// A pattern with more than [`STARS_MAX`](crate::limits::STARS_MAX) stars.
    Stars,
}

/// Checks a name and returns it in NFC. Words must be separated by single spaces. The wire allows
/// several, which the caller must replace first.
pub fn check_name(text: &str) -> Result<Cow<'_, str>, NameError> {
    if is_plain_name(text) {
        return Ok(Cow::Borrowed(text));
    }
    let name = normalize(text);
    check_length(&name)?;
    let mut after_space = true;
    for c in name.chars() {
        if is_forbidden(c) || (c == ' ' && after_space) {
            return Err(NameError::Forbidden(c));
        }
        after_space = c == ' ';
    }
    if after_space {
        return Err(NameError::Forbidden(' '));
    }
    // A leading mark would combine with the character that is printed before the name, and a name
    // of accents alone would fold to nothing.
    match name.chars().next() {
        Some(first) if is_combining_mark(first) => Err(NameError::Forbidden(first)),
        _ => Ok(name),
    }
}

/// Returns whether a text is a valid name of ASCII and Latin-1 letters, as most names are. Other
/// texts may be names, too.
pub(super) fn is_plain_name(text: &str) -> bool {
    let mut before = b' ';
    for byte in text.bytes() {
        let is_plain = PLAIN[usize::from(byte)] && !(byte == b' ' && before == b' ');
        if !is_plain {
            return false;
        }
        before = byte;
    }
    before != b' ' && text.len() <= NAME_MAX_BYTES
}

/// Returns whether a plain name may have this byte. A text of such bytes has no forbidden character
/// except for misplaced spaces.
pub const fn is_plain_byte(byte: u8) -> bool {
    PLAIN[byte as usize]
}

/// The bytes of plain names. [`LATIN_1_LEAD`] is the only lead byte among them, so all continuation
/// bytes of a plain name follow it.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = matches!(byte as u8,
            b' '..=b'~' | LATIN_1_LEAD | 0x80..=0xBF if !is_grammar(byte as u8 as char));
        byte += 1;
    }
    plain
};

/// The first byte of U+00C0–U+00FF in UTF-8; the second byte has the rest in its last six bits.
const LATIN_1_LEAD: u8 = 0xC3;

/// The folded forms of U+00C0–U+00FF; 0 for those that do not fold to one ASCII letter.
const LATIN_1: &[u8; 64] =
    b"aaaaaa\0ceeeeiiii\0nooooo\0\0uuuuy\0\0aaaaaa\0ceeeeiiii\0nooooo\0\0uuuuy\0y";

/// Returns whether a journal may have this name. A rule of [`check_name`] that was added later does
/// not apply to existing names, but a name that could be misread is rejected.
pub fn may_be_kept(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX_BYTES
        && !name.contains(|c: char| c.is_control() || is_grammar(c))
        && !name.starts_with(' ')
        && !name.ends_with(' ')
        && normalize(name) == name
}

pub(in crate::inventory) fn check_length(name: &str) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        1..=NAME_MAX_BYTES => Ok(()),
        _ => Err(NameError::TooLong),
    }
}

/// Returns the NFC of a text.
pub fn normalize(text: &str) -> Cow<'_, str> {
    use unicode_normalization::IsNormalized::Yes;
    // No character below U+0300 combines with the one before it.
    const COMBINING_LEAD: u8 = 0xCC;
    if text.bytes().all(|byte| byte < COMBINING_LEAD) || is_nfc_quick(text.chars()) == Yes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfc().collect())
}

/// Returns whether a character has a meaning in the grammar of the wire.
const fn is_grammar(c: char) -> bool {
    matches!(c, ',' | '=' | '"' | '\\' | '*' | '#' | '?')
}

/// Returns whether a name cannot have this character: those of the grammar, and those that are not
/// printed or change how their neighbours appear.
pub fn is_forbidden(c: char) -> bool {
    is_grammar(c) || (c != ' ' && is_unprintable(c))
}

/// Returns whether folding drops this mark.
pub(super) fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}')
}

/// Returns the folded form of a name: decomposed, without accents (U+0300–U+036F), in one case.
/// Mapping to lower, upper and lower case again unifies all forms of a letter, such as `ß`, `ẞ` and
/// `SS`, or the three sigmas. The one exception is the Greek iota subscript, which is dropped like
/// an accent but is a letter of its own in capitals: `α` finds `ᾳ`, and `ΑΙ` does not.
pub fn fold(text: &str) -> String {
    match fold_plain(text, &mut [0; NAME_MAX_BYTES]) {
        Some(folded) => folded.iter().copied().map(char::from).collect(),
        None => fold_all(text),
    }
}

pub(super) fn fold_all(text: &str) -> String {
    let base = text.nfd().filter(|c| !is_accent(*c));
    let upper = base.flat_map(char::to_lowercase).flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).collect()
}

/// Upper bound of the bytes of a folded form per byte of its name. A Hangul syllable of 3 bytes,
/// for example, folds to three characters of 3 bytes each.
pub(super) const FOLDED_TIMES: usize = 4;

/// Buffer for the folded form of a plain name.
pub(super) type FoldBuffer = [u8; NAME_MAX_BYTES];

/// Folds a text without an allocation. Returns `None` if a character does not fold to one ASCII
/// character, or the text is longer than a name.
pub(super) fn fold_plain<'a>(text: &str, folded: &'a mut FoldBuffer) -> Option<&'a [u8]> {
    let mut places = folded.iter_mut();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let letter = match byte {
            LATIN_1_LEAD => LATIN_1[usize::from(bytes.next()? & 0x3F)],
            _ => LOWER[usize::from(byte)],
        };
        if letter == 0 {
            return None;
        }
        *places.next()? = letter;
    }
    let left = places.len();
    Some(&folded[..NAME_MAX_BYTES - left])
}

/// ASCII in lower case; 0 for NUL and bytes beyond ASCII.
const LOWER: [u8; 256] = {
    let mut lower = [0; 256];
    let mut byte = 0;
    while byte < 0x80 {
        lower[byte] = (byte as u8).to_ascii_lowercase();
        byte += 1;
    }
    lower
};

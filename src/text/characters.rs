//! Characters that cannot be printed or cannot be seen, and how they are escaped.

use crate::limits::EXCERPT_MAX_CHARS;

/// Returns whether a character has no visible, stable form of its own: controls, whitespace
/// (including the plain space), hidden characters, private use and noncharacters.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || is_hidden(c)
        || matches!(c,
            '\u{E000}'..='\u{F8FF}'
            | '\u{FDD0}'..='\u{FDEF}'
            | '\u{F0000}'..='\u{10FFFF}')
        || (c as u32) & 0xFFFE == 0xFFFE
}

/// Returns whether a character is invisible or changes how its neighbours appear: zero-width and
/// bidirectional controls, blank letters, the tags that mirror ASCII, and all other format
/// characters of Unicode (Cf), such as U+070F, which draws a line over its neighbours.
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}'
        | '\u{890}' | '\u{891}' | '\u{8E2}' | '\u{115F}' | '\u{1160}'
        | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}'
        | '\u{16FE4}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D159}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}

/// Returns whether a hidden character is part of emoji: the joiner and the variation selectors.
/// They are allowed in notes and keys, where they do no harm.
pub fn is_emoji_part(c: char) -> bool {
    matches!(c, '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

/// Returns a text of a client for a message: escaped, and cut with `…` after
/// [`EXCERPT_MAX_CHARS`] characters.
pub fn excerpt(text: &str) -> String {
    let mut out = String::new();
    let mut count = 0;
    for c in text.chars() {
        let shown = escaped(c);
        count += shown.chars().count();
        if count > EXCERPT_MAX_CHARS {
            out.push('…');
            break;
        }
        out += &shown;
    }
    out
}

/// Escapes a text from outside, such as a path, for one line of the log.
pub fn escape_for_log(text: &str) -> String {
    text.chars().map(escaped).collect()
}

fn escaped(c: char) -> String {
    let is_plain = c == ' ' || !is_unprintable(c);
    if is_plain { c.to_string() } else { c.escape_unicode().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_escapes_and_cuts() {
        assert_eq!(excerpt("Sala 1"), "Sala 1");
        assert_eq!(excerpt("a\u{202E}b\n"), "a\\u{202e}b\\u{a}");
        let long = "ñ".repeat(EXCERPT_MAX_CHARS + 1);
        assert_eq!(excerpt(&long).chars().count(), EXCERPT_MAX_CHARS + 1);
        assert!(excerpt(&long).ends_with('…'));
        assert_eq!(escape_for_log(&long), long);
    }

    #[test]
    fn every_emoji_part_is_hidden() {
        for c in ('\0'..=char::MAX).filter(|c| is_emoji_part(*c)) {
            assert!(is_hidden(c), "{c:?}");
        }
    }
}

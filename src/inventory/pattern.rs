//! Patterns for names, in which `*` stands for any text.
//!
//! Patterns and names are folded, so a pattern matches every spelling of a name. The time for a
//! match is bounded by the two lengths, even if both are chosen to be slow.

use super::names::{NameError, check_length, fold, is_forbidden, normalize};
use crate::limits::STARS_MAX;

/// A folded pattern. `*` stands for any characters, or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// Checks and folds a pattern. A text without `*` matches only itself.
    pub fn new(text: &str) -> Result<Pattern, NameError> {
        let text = normalize(text);
        check_length(&text)?;
        if text.matches('*').count() > STARS_MAX {
            return Err(NameError::Stars);
        }
        match text.chars().find(|&c| c != '*' && is_forbidden(c)) {
            Some(c) => Err(NameError::Forbidden(c)),
            None => Ok(Pattern(fold(&text))),
        }
    }

    /// Returns the folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a folded name matches. For many names, a [`Matcher`] is faster. The time is
    /// linear, because the leftmost occurrence of each piece is as good as any other and the search
    /// of std is linear.
    pub fn matches(&self, folded: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(rest) = folded.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // Both ends first, because most names fail there.
        let Some(mut rest) = rest.strip_suffix(last) else { return false };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }

    /// Prepares the pattern for many names.
    pub fn matcher(&self) -> Matcher<'_> {
        let (head, middle, tail) = self.pieces();
        Matcher { head, tail, middle: middle.map(|one| one.map(Piece::new).collect()) }
    }

    /// Returns the pieces before the first star, between stars, and after the last star. Without a
    /// star there is only the first piece.
    fn pieces(&self) -> (&[u8], Option<impl Iterator<Item = &[u8]>>, &[u8]) {
        let text = self.0.as_bytes();
        let stars = || text.iter().enumerate().filter(|(_, byte)| **byte == b'*').map(|(at, _)| at);
        let (Some(first), Some(last)) = (stars().next(), stars().next_back()) else {
            return (text, None, &[]);
        };
        let between = text[first..last].split(|byte| *byte == b'*').filter(|one| !one.is_empty());
        (&text[..first], Some(between), &text[last + 1..])
    }
}

/// A pattern that is prepared for many names. Each byte of a name takes a few steps, whatever the
/// pattern and the name look like.
pub struct Matcher<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    middle: Option<Vec<Piece<'a>>>,
}

impl Matcher<'_> {
    /// Returns whether a folded name matches.
    pub fn matches(&self, folded: &str) -> bool {
        let Some(middle) = &self.middle else { return folded.as_bytes() == self.head };
        let rest = folded.as_bytes().strip_prefix(self.head);
        // Both ends first, because most names fail there.
        let Some(mut rest) = rest.and_then(|rest| rest.strip_suffix(self.tail)) else {
            return false;
        };
        // The leftmost occurrence of each piece is as good as any later one.
        middle.iter().all(|piece| match piece.end_in(rest) {
            Some(end) => {
                rest = &rest[end..];
                true
            }
            None => false,
        })
    }
}

/// A text between two stars, with a table to search for it (the bit-parallel algorithm Shift-And).
///
/// `memchr::memmem` is faster for most names, but 14 times slower for names and patterns that are
/// chosen to be slow, such as `*zzzzzzzzzzzzzzzzzzzzzzzzzze*` and names of many `z`. The time that
/// one line may take is a promise to the other clients, so the slowest case counts.
struct Piece<'a> {
    /// For each byte its positions among the first 64 of the piece, as bits.
    positions: Box<[u64; 256]>,
    /// The bit of the last of these positions.
    last: u64,
    /// The bytes after the first 64, which are compared one by one.
    rest: &'a [u8],
}

impl<'a> Piece<'a> {
    fn new(text: &'a [u8]) -> Piece<'a> {
        let (begin, rest) = text.split_at(text.len().min(64));
        let mut positions = Box::new([0; 256]);
        for (at, byte) in begin.iter().enumerate() {
            positions[usize::from(*byte)] |= 1 << at;
        }
        Piece { positions, last: 1 << (begin.len() - 1), rest }
    }

    /// Returns the end of the first occurrence in a text. Each bit of `good` stands for a start
    /// that matches so far.
    fn end_in(&self, text: &[u8]) -> Option<usize> {
        let mut good = 0;
        for (at, byte) in text.iter().enumerate() {
            good = (good << 1 | 1) & self.positions[usize::from(*byte)];
            if good & self.last != 0 && text[at + 1..].starts_with(self.rest) {
                return Some(at + 1 + self.rest.len());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_any_text() {
        let cases = [
            ("*", "sala 1", true),
            ("Habitación *", "habitacion 1", true),
            ("Habitación *", "habitacion", false),
            ("*1", "sala 11", true),
            ("*1", "sala 12", false),
            ("s*a*1", "sala 1", true),
            ("s*a*1", "sala 2", false),
            ("*a*a*a*", "aaa", true),
            ("*a*a*a*", "aa", false),
            ("sala 1", "sala 1", true),
            ("sala 1", "sala 11", false),
            ("**", "x", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("ab*bc", "abc", false),
            ("*ab*ab*", "abab", true),
            ("*ab*ba*", "aba", false),
            ("*aab*", "aaaab", true),
        ];
        for (pattern, name, want) in cases {
            let ready = Pattern::new(pattern).unwrap();
            assert_eq!(ready.matches(name), want, "{pattern} {name}");
            assert_eq!(ready.matcher().matches(name), want, "{pattern} {name}");
        }
        assert_eq!(Pattern::new("*****"), Err(NameError::Stars));
        assert_eq!(Pattern::new("a?*"), Err(NameError::Forbidden('?')));
    }

    /// Compares both matchers with an exhaustive one.
    #[test]
    fn matchers_agree_with_exhaustive_search() {
        fn is_match(pattern: &[u8], name: &[u8]) -> bool {
            match pattern.split_first() {
                None => name.is_empty(),
                Some((b'*', rest)) => (0..=name.len()).any(|skip| is_match(rest, &name[skip..])),
                Some((byte, rest)) => name.first() == Some(byte) && is_match(rest, &name[1..]),
            }
        }
        // Every text of up to five of three letters, as the digits of a number.
        let texts = |letters: [char; 3]| {
            (0..3usize.pow(6) * 6).map(move |n| {
                let digit = |at: u32| letters[n / 6 / 3usize.pow(at) % 3];
                (0..=n as u32 % 6).map(digit).collect::<String>()
            })
        };
        let names: Vec<_> = texts(['a', 'b', 'a']).take(300).collect();
        let mut matched = 0;
        for text in texts(['a', 'b', '*']) {
            let Ok(pattern) = Pattern::new(&text) else { continue };
            let matcher = pattern.matcher();
            for name in &names {
                let want = is_match(text.as_bytes(), name.as_bytes());
                assert_eq!(pattern.matches(name), want, "{text} {name}");
                assert_eq!(matcher.matches(name), want, "{text} {name}");
                matched += usize::from(want);
            }
        }
        assert!(matched > 3_000, "{matched} are too few for this test");
    }

    #[test]
    fn piece_may_have_more_than_64_bytes() {
        for length in [1, 2, 63, 64, 65, 126] {
            let piece = "a".repeat(length - 1) + "b";
            let pattern = Pattern::new(&format!("*{piece}*")).unwrap();
            for (name, want) in [
                (piece.clone(), true),
                (format!("a{piece}"), true),
                (format!("ab{piece}c"), true),
                ("a".repeat(128), false),
                (format!("{}c{}", "a".repeat(length - 1), &piece[1..]), false),
            ] {
                assert_eq!(pattern.matcher().matches(&name), want, "{length} {name}");
                assert_eq!(pattern.matches(&name), want, "{length} {name}");
            }
        }
    }
}

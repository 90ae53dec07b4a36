//! Patterns for names: what `*` stands for, held against one name or many.
//!
//! Both sides are folded, so a pattern matches every spelling of a name. How
//! long it takes is bounded by the lengths, whatever a client has made up.

use super::names::{NameError, check_length, fold, is_forbidden, normalize};
use crate::limits::STARS_MAX;

/// A folded pattern: `*` is any run of characters, also none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// Checks and folds a pattern; a text without `*` matches only itself.
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

    /// The folded text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a folded name matches; for many names make a [`Matcher`]. Takes
    /// steps in proportion to the two lengths, whatever they hold: between the stars the leftmost place is
    /// as good as any, and std's search never goes back.
    pub fn matches(&self, folded: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(rest) = folded.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // Both ends before any search: most names end here.
        let Some(mut rest) = rest.strip_suffix(last) else { return false };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }

    /// The pattern made ready to be held against many names.
    pub fn matcher(&self) -> Matcher<'_> {
        let (head, middle, tail) = self.pieces();
        Matcher { head, tail, middle: middle.map(|one| one.map(Piece::new).collect()) }
    }

    /// What stands before the first star, between stars, and after the last
    /// one; without a star there is nothing but the first.
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

/// A pattern that is held against many names: each costs a few steps for a
/// byte of it, whatever the two look like.
pub struct Matcher<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    middle: Option<Vec<Piece<'a>>>,
}

impl Matcher<'_> {
    /// Whether a folded name matches.
    pub fn matches(&self, folded: &str) -> bool {
        let Some(middle) = &self.middle else { return folded.as_bytes() == self.head };
        let rest = folded.as_bytes().strip_prefix(self.head);
        // Both ends before any search: most names end here.
        let Some(mut rest) = rest.and_then(|rest| rest.strip_suffix(self.tail)) else {
            return false;
        };
        // Each piece where it comes first: later is never better.
        middle.iter().all(|piece| match piece.end_in(rest) {
            Some(end) => {
                rest = &rest[end..];
                true
            }
            None => false,
        })
    }
}

/// What stands between two stars.
struct Piece<'a> {
    /// For each byte the places at which the piece has it, as bits: of its
    /// first 64, the rest is compared.
    places: Box<[u64; 256]>,
    /// The bit of the last of those.
    last: u64,
    rest: &'a [u8],
}

impl<'a> Piece<'a> {
    fn new(text: &'a [u8]) -> Piece<'a> {
        let (begin, rest) = text.split_at(text.len().min(64));
        let mut places = Box::new([0; 256]);
        for (at, byte) in begin.iter().enumerate() {
            places[usize::from(*byte)] |= 1 << at;
        }
        Piece { places, last: 1 << (begin.len() - 1), rest }
    }

    /// Where it ends in a text, at its first place. All beginnings that are
    /// still good are followed at once, a bit each.
    fn end_in(&self, text: &[u8]) -> Option<usize> {
        let mut good = 0;
        for (at, byte) in text.iter().enumerate() {
            good = (good << 1 | 1) & self.places[usize::from(*byte)];
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
    fn patterns() {
        let rows = [
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
        for (pattern, name, want) in rows {
            let ready = Pattern::new(pattern).unwrap();
            assert_eq!(ready.matches(name), want, "{pattern} {name}");
            assert_eq!(ready.matcher().matches(name), want, "{pattern} {name}");
        }
        assert_eq!(Pattern::new("*****"), Err(NameError::Stars));
        assert_eq!(Pattern::new("a?*"), Err(NameError::Forbidden('?')));
    }

    /// The two ways to match against a third that tries everything.
    #[test]
    fn patterns_of_few_letters() {
        fn tries(pattern: &[u8], name: &[u8]) -> bool {
            match pattern.split_first() {
                None => name.is_empty(),
                Some((b'*', rest)) => (0..=name.len()).any(|skip| tries(rest, &name[skip..])),
                Some((byte, rest)) => name.first() == Some(byte) && tries(rest, &name[1..]),
            }
        }
        // Every text of up to five letters of three, as digits of a number.
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
                let want = tries(text.as_bytes(), name.as_bytes());
                assert_eq!(pattern.matches(name), want, "{text} {name}");
                assert_eq!(matcher.matches(name), want, "{text} {name}");
                matched += usize::from(want);
            }
        }
        assert!(matched > 3_000, "{matched} are too few to prove anything");
    }

    #[test]
    fn a_piece_may_be_longer_than_a_word_of_bits() {
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

//! One pass over the bytes of a line, which finds out which classes of bytes occur. Most lines
//! contain nothing that needs a second look.

use crate::inventory::names::is_plain_byte;

/// The classes of bytes that occur in a line. If a part of the line is examined later, a class may
/// occur elsewhere, so only its absence is certain.
#[derive(Clone, Copy, Debug)]
pub struct ByteClasses(u8);

impl ByteClasses {
    /// A control character, or a byte that may begin one.
    pub const CONTROL: ByteClasses = ByteClasses(1);
    /// A tab, or two spaces in a row.
    pub const GAP: ByteClasses = ByteClasses(1 << 1);
    pub const EQUALS: ByteClasses = ByteClasses(1 << 2);
    pub const QUOTE: ByteClasses = ByteClasses(1 << 3);
    pub const COMMA: ByteClasses = ByteClasses(1 << 4);
    pub const STAR: ByteClasses = ByteClasses(1 << 5);
    /// Any other byte that a plain name does not contain.
    const OTHER: ByteClasses = ByteClasses(1 << 7);

    /// All classes. A plain name contains none.
    pub const UNPLAIN: ByteClasses = ByteClasses(u8::MAX);
    /// If none of these occurs, the line consists of targets, with single spaces between words.
    pub const BEYOND_TARGETS: ByteClasses =
        ByteClasses(ByteClasses::GAP.0 | ByteClasses::EQUALS.0 | ByteClasses::QUOTE.0);

    const GAP_BIT: u8 = ByteClasses::GAP.0.trailing_zeros() as u8;

    /// Scans a line.
    pub fn of(line: &[u8]) -> ByteClasses {
        let mut classes = 0;
        let mut after_space = 0;
        for byte in line {
            let space = u8::from(*byte == b' ');
            classes |= CLASSES[usize::from(*byte)] | (space & after_space) << ByteClasses::GAP_BIT;
            after_space = space;
        }
        ByteClasses(classes)
    }

    /// Returns whether any of these classes occurs.
    pub fn any(self, of: ByteClasses) -> bool {
        self.0 & of.0 != 0
    }
}

/// The class of each byte.
const CLASSES: [u8; 256] = {
    // The first byte of U+0080–U+009F, and of some letters.
    const C1_LEAD: u8 = 0xC2;
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let class = match byte as u8 {
            b'\t' => ByteClasses::GAP,
            0..b' ' | 0x7F | C1_LEAD => ByteClasses::CONTROL,
            b'=' => ByteClasses::EQUALS,
            b'"' => ByteClasses::QUOTE,
            b',' => ByteClasses::COMMA,
            b'*' => ByteClasses::STAR,
            other if is_plain_byte(other) => ByteClasses(0),
            _ => ByteClasses::OTHER,
        };
        classes[byte] = class.0;
        byte += 1;
    }
    classes
};

/// Part of a line, with the byte classes of the whole line.
#[derive(Clone, Copy, Debug)]
pub struct ScannedStr<'a> {
    pub text: &'a str,
    pub classes: ByteClasses,
}

impl<'a> ScannedStr<'a> {
    /// Scans a whole line.
    pub fn of(line: &'a str) -> ScannedStr<'a> {
        ScannedStr { text: line, classes: ByteClasses::of(line.as_bytes()) }
    }

    /// Splits the first word off, as [`split_word`] does.
    pub fn split_word(self) -> (&'a str, ScannedStr<'a>) {
        let (word, rest) = split_word(self.text.as_bytes());
        let rest_at = self.text.len() - rest.len();
        let word_at = self.text.len() - skip_spaces(self.text).len();
        let word = &self.text[word_at..word_at + word.len()];
        (word, ScannedStr { text: &self.text[rest_at..], ..self })
    }
}

/// Splits off the first word, without the spaces and tabs before it and one after it.
#[inline]
pub fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let start = line.iter().position(|byte| !is_space(*byte)).unwrap_or(line.len());
    let line = &line[start..];
    let end = memchr::memchr2(b' ', b'\t', line).unwrap_or(line.len());
    (&line[..end], line.get(end + 1..).unwrap_or_default())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns a text without leading spaces and tabs.
#[inline]
pub fn skip_spaces(text: &str) -> &str {
    let first = text.bytes().position(|byte| !is_space(byte)).unwrap_or(text.len());
    &text[first..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parse::find_control;
    use crate::inventory::names::check_name;

    /// The parser skips the checks for a class that does not occur.
    #[test]
    fn class_that_is_not_found_does_not_occur() {
        let mut plain = 0;
        for c in ('\0'..='\u{250}').chain(['\u{301}', '字', '\u{10FFFF}']) {
            for line in [format!("{c}"), format!("a {c}b"), format!("a{c} b"), format!("a {c}")] {
                let classes = ByteClasses::of(line.as_bytes());
                let has = |of: char| line.contains(of);
                assert!(
                    classes.any(ByteClasses::CONTROL) || find_control(&line).is_none(),
                    "{line:?}"
                );
                assert!(
                    classes.any(ByteClasses::GAP) || !has('\t') && !line.contains("  "),
                    "{line:?}"
                );
                let signs = [
                    ('=', ByteClasses::EQUALS),
                    ('"', ByteClasses::QUOTE),
                    (',', ByteClasses::COMMA),
                    ('*', ByteClasses::STAR),
                ];
                for (sign, class) in signs {
                    assert_eq!(classes.any(class), has(sign), "{line:?} {sign}");
                }
                let item = line.trim_matches(' ');
                if !classes.any(ByteClasses::UNPLAIN) && !item.is_empty() {
                    assert!(check_name(item).is_ok_and(|name| name == item), "{line:?}");
                    plain += 1;
                }
            }
        }
        assert!(plain > 500, "{plain} are too few to prove anything");
    }
}

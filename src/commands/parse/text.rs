//! A line's text, and what a single look over it has found: most lines have
//! nothing in them that takes a closer one.

use crate::inventory::names::is_plain_byte;

/// What of all that can matter is somewhere in a line. It may be in a part that is
/// looked at later, or not: that there is none is all that can be relied on.
#[derive(Clone, Copy, Debug)]
pub struct ByteClasses(u8);

impl ByteClasses {
    /// A control character, or what may begin one.
    pub const CONTROL: ByteClasses = ByteClasses(1);
    /// A tab, or two spaces one after the other.
    pub const GAP: ByteClasses = ByteClasses(1 << 1);
    pub const EQUALS: ByteClasses = ByteClasses(1 << 2);
    pub const QUOTE: ByteClasses = ByteClasses(1 << 3);
    pub const COMMA: ByteClasses = ByteClasses(1 << 4);
    pub const STAR: ByteClasses = ByteClasses(1 << 5);
    /// Something else that no plain name has.
    const OTHER: ByteClasses = ByteClasses(1 << 7);

    /// All of them: what a plain name has none of.
    pub const UNPLAIN: ByteClasses = ByteClasses(u8::MAX);
    /// What targets are all of the line without, as they stand there.
    pub const BEYOND_TARGETS: ByteClasses =
        ByteClasses(ByteClasses::GAP.0 | ByteClasses::EQUALS.0 | ByteClasses::QUOTE.0);

    const GAP_BIT: u8 = ByteClasses::GAP.0.trailing_zeros() as u8;

    /// Looks over a line.
    pub fn of(line: &[u8]) -> ByteClasses {
        let mut marks = 0;
        let mut after_space = 0;
        for byte in line {
            let space = u8::from(*byte == b' ');
            marks |= MARKS[usize::from(*byte)] | (space & after_space) << ByteClasses::GAP_BIT;
            after_space = space;
        }
        ByteClasses(marks)
    }

    /// Whether there is something of these.
    pub fn any(self, of: ByteClasses) -> bool {
        self.0 & of.0 != 0
    }
}

/// What each byte is.
const MARKS: [u8; 256] = {
    // U+0080–U+009F are written with this one first, as some letters are.
    const C1_LEAD: u8 = 0xC2;
    let mut marks = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mark = match byte as u8 {
            b'\t' => ByteClasses::GAP,
            0..b' ' | 0x7F | C1_LEAD => ByteClasses::CONTROL,
            b'=' => ByteClasses::EQUALS,
            b'"' => ByteClasses::QUOTE,
            b',' => ByteClasses::COMMA,
            b'*' => ByteClasses::STAR,
            other if is_plain_byte(other) => ByteClasses(0),
            _ => ByteClasses::OTHER,
        };
        marks[byte] = mark.0;
        byte += 1;
    }
    marks
};

/// A text with the marks of the line that it is of.
#[derive(Clone, Copy, Debug)]
pub struct ScannedStr<'a> {
    pub text: &'a str,
    pub marks: ByteClasses,
}

impl<'a> ScannedStr<'a> {
    /// A whole line.
    pub fn of(line: &'a str) -> ScannedStr<'a> {
        ScannedStr { text: line, marks: ByteClasses::of(line.as_bytes()) }
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

/// Splits the first word off, spaces and tabs around it dropped.
pub fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let start = line.iter().position(|byte| !is_space(*byte)).unwrap_or(line.len());
    let line = &line[start..];
    let end = memchr::memchr2(b' ', b'\t', line).unwrap_or(line.len());
    (&line[..end], line.get(end + 1..).unwrap_or_default())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without spaces and tabs in front.
pub fn skip_spaces(text: &str) -> &str {
    let first = text.bytes().position(|byte| !is_space(byte)).unwrap_or(text.len());
    &text[first..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parse::find_control;
    use crate::inventory::names::check_name;

    /// Where a mark is missing, the closer look that it saves finds nothing.
    #[test]
    fn what_is_not_marked_is_not_there() {
        let mut plain = 0;
        for c in ('\0'..='\u{250}').chain(['\u{301}', '字', '\u{10FFFF}']) {
            for line in [format!("{c}"), format!("a {c}b"), format!("a{c} b"), format!("a {c}")] {
                let marks = ByteClasses::of(line.as_bytes());
                let has = |of: char| line.contains(of);
                assert!(
                    marks.any(ByteClasses::CONTROL) || find_control(&line).is_none(),
                    "{line:?}"
                );
                assert!(
                    marks.any(ByteClasses::GAP) || !has('\t') && !line.contains("  "),
                    "{line:?}"
                );
                let signs = [
                    ('=', ByteClasses::EQUALS),
                    ('"', ByteClasses::QUOTE),
                    (',', ByteClasses::COMMA),
                    ('*', ByteClasses::STAR),
                ];
                for (sign, mark) in signs {
                    assert_eq!(marks.any(mark), has(sign), "{line:?} {sign}");
                }
                let item = line.trim_matches(' ');
                if !marks.any(ByteClasses::UNPLAIN) && !item.is_empty() {
                    assert!(check_name(item).is_ok_and(|name| name == item), "{line:?}");
                    plain += 1;
                }
            }
        }
        assert!(plain > 500, "{plain} are too few to prove anything");
    }
}

//! The random identity of one history of events.

use std::fmt::{self, Display};

use rustix::rand::{GetRandomFlags, getrandom};

/// Tells one history from another: made with a new journal, and kept over compactions and in
/// backups. Displayed as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalId(pub u64);

impl JournalId {
    /// Returns one that nobody had before, as far as chance goes.
    ///
    /// Panics if the system has no randomness; Linux has some since 3.17, for so few bytes without
    /// an error.
    pub fn random() -> JournalId {
        let mut bytes = [0; 8];
        let filled = getrandom(&mut bytes, GetRandomFlags::empty());
        assert_eq!(filled, Ok(bytes.len()), "getrandom");
        JournalId(u64::from_ne_bytes(bytes))
    }

    /// Parses what `Display` prints.
    pub fn parse(digits: &str) -> Option<JournalId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_one = digits.len() == 16 && digits.bytes().all(is_digit);
        is_one.then(|| u64::from_str_radix(digits, 16).ok().map(JournalId))?
    }
}

impl Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_displayed_is_parsed_and_nothing_else() {
        for id in [JournalId(0), JournalId(0x0123_4567_89ab_cdef), JournalId::random()] {
            assert_eq!(JournalId::parse(&id.to_string()), Some(id));
        }
        for other in ["", "0", "0123456789ABCDEF", "+123456789abcdef", "00123456789abcdef"] {
            assert_eq!(JournalId::parse(other), None, "{other}");
        }
        assert_ne!(JournalId::random(), JournalId::random());
    }
}

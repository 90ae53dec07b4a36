//! The identity of a journal.

use std::fmt::{self, Display};

use rustix::rand::{GetRandomFlags, getrandom};

/// The identity of one history of events. It is random, chosen when a journal is created, and kept
/// across compactions and in backups. Displayed as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalId(pub u64);

impl JournalId {
    /// Returns a new random identity.
    ///
    /// # Panics
    /// If the system has no random numbers. On Linux since 3.17, a request for so few bytes cannot
    /// fail.
    pub fn random() -> JournalId {
        let mut bytes = [0; 8];
        let filled = getrandom(&mut bytes, GetRandomFlags::empty());
        assert_eq!(filled, Ok(bytes.len()), "getrandom");
        JournalId(u64::from_ne_bytes(bytes))
    }

    /// Parses the output of `Display`.
    pub fn parse(digits: &str) -> Option<JournalId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_valid = digits.len() == 16 && digits.bytes().all(is_digit);
        is_valid.then(|| u64::from_str_radix(digits, 16).ok().map(JournalId))?
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
    fn only_the_displayed_form_is_parsed() {
        for id in [JournalId(0), JournalId(0x0123_4567_89ab_cdef), JournalId::random()] {
            assert_eq!(JournalId::parse(&id.to_string()), Some(id));
        }
        for other in ["", "0", "0123456789ABCDEF", "+123456789abcdef", "00123456789abcdef"] {
            assert_eq!(JournalId::parse(other), None, "{other}");
        }
        assert_ne!(JournalId::random(), JournalId::random());
    }
}

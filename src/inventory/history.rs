//! What has happened of late, for those who watch: the texts of the last
//! events, in memory. It is bounded; who asks for more is told where it begins.

use std::collections::VecDeque;

use crate::limits::{HISTORY_BYTES, HISTORY_EVENTS};

/// The last events by number, without gaps.
#[derive(Debug, Default)]
pub struct History {
    /// The number of the last event that is known, also if none is held.
    last: u64,
    texts: VecDeque<Box<str>>,
    bytes: usize,
}

impl History {
    /// Notes an event, the next one.
    pub fn push(&mut self, number: u64, text: &str) {
        debug_assert!(number == self.last + 1, "a gap in the history");
        self.last = number;
        self.bytes += text.len();
        self.texts.push_back(text.into());
        while self.texts.len() > HISTORY_EVENTS || self.bytes > HISTORY_BYTES {
            let Some(oldest) = self.texts.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    /// Begins anew after that event: what came before is gone (a snapshot).
    pub fn restart(&mut self, last: u64) {
        *self = History { last, ..History::default() };
    }

    /// The number of the last event.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The event after which all is held: the oldest that `tras=` may name.
    pub fn floor(&self) -> u64 {
        self.last - self.texts.len() as u64
    }

    /// The text of an event; `None` if it is not held.
    pub fn get(&self, number: u64) -> Option<&str> {
        let at = number.checked_sub(self.floor() + 1)?;
        self.texts.get(usize::try_from(at).ok()?).map(|text| &**text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_last_events_and_knows_where_it_begins() {
        let mut history = History::default();
        history.restart(10);
        assert_eq!((history.floor(), history.last(), history.get(10)), (10, 10, None));
        for number in 11..=10 + HISTORY_EVENTS as u64 + 5 {
            history.push(number, &format!("event {number}"));
        }
        assert_eq!(history.floor(), 15);
        assert_eq!(history.get(15), None);
        assert_eq!(history.get(16), Some("event 16"));
        assert_eq!(history.get(history.last()), Some(&*format!("event {}", history.last())));
        assert_eq!(history.get(history.last() + 1), None);
    }
}

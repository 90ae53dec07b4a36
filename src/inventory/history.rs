//! What has happened of late, for those who watch: the texts of the last
//! events, in memory. It is bounded; who asks for more is told where it begins.

use std::collections::VecDeque;

use crate::limits::{HISTORY_BYTES, HISTORY_EVENTS};

/// The last events by number, without gaps.
#[derive(Debug, Default)]
pub struct History {
    /// The number of the last event that is known, also if none is held.
    last: u64,
    /// How many events are held.
    len: usize,
    /// Bytes of their texts.
    bytes: usize,
    /// Those of the first that are not held any more go when all of it can.
    blocks: VecDeque<Block>,
}

/// Texts of events, run together: one by one they would each cost a call for
/// memory and one to give it back.
#[derive(Debug, Default)]
struct Block {
    /// The number of its first event.
    first: u64,
    texts: String,
    /// Where each text ends.
    ends: Vec<u32>,
}

/// A block is full with so many bytes: a sixty-fourth of all.
const BLOCK_BYTES: usize = HISTORY_BYTES / 64;

impl Block {
    fn get(&self, number: u64) -> Option<&str> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        self.texts.get(start as usize..end as usize)
    }

    fn push(&mut self, text: &str) {
        self.texts.push_str(text);
        // A block and one text more are far from the end of a u32.
        self.ends.push(self.texts.len() as u32);
    }

    fn last(&self) -> u64 {
        self.first + self.ends.len() as u64 - 1
    }
}

impl History {
    /// Notes an event, the next one.
    pub fn push(&mut self, number: u64, text: &str) {
        debug_assert!(number == self.last + 1, "a gap in the history");
        self.last = number;
        self.len += 1;
        self.bytes += text.len();
        match self.blocks.back_mut() {
            Some(block) if block.texts.len() < BLOCK_BYTES => block.push(text),
            _ => self.push_block(number, text),
        }
        while self.len > HISTORY_EVENTS || self.bytes > HISTORY_BYTES {
            self.forget_oldest();
        }
    }

    /// Begins a block, with the memory of one that is not needed any more.
    fn push_block(&mut self, number: u64, text: &str) {
        let floor = self.floor();
        let mut block = match self.blocks.front() {
            Some(oldest) if oldest.last() <= floor => self.blocks.pop_front().unwrap_or_default(),
            _ => Block::default(),
        };
        block.first = number;
        block.texts.clear();
        block.ends.clear();
        block.push(text);
        self.blocks.push_back(block);
    }

    fn forget_oldest(&mut self) {
        self.bytes -= self.get(self.floor() + 1).map_or(0, str::len);
        self.len -= 1;
        // The first of two: the very first goes to who needs its memory.
        if self.blocks.get(1).is_some_and(|block| block.last() <= self.floor()) {
            self.blocks.pop_front();
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
        self.last - self.len as u64
    }

    /// The text of an event; `None` if it is not held.
    pub fn get(&self, number: u64) -> Option<&str> {
        if number <= self.floor() {
            return None;
        }
        let after = self.blocks.partition_point(|block| block.first <= number);
        self.blocks.get(after.checked_sub(1)?)?.get(number)
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

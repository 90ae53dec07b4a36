//! The texts of the last events, in memory, for watchers. The number held is bounded; a watcher
//! that asks for older ones gets an error that states where the history begins.

use std::collections::VecDeque;
use std::ops::Range;

use crate::limits::{HISTORY_BYTES, HISTORY_EVENTS, HISTORY_LAG_TIMES};

/// The last events by number, without gaps.
#[derive(Debug, Default)]
pub struct History {
    /// The number of the last event, even if its text is not held.
    last: u64,
    /// The number of events that are held.
    len: usize,
    /// Bytes of their texts.
    bytes: usize,
    /// The texts. The first block may begin with events that are no longer held.
    blocks: VecDeque<Block>,
    /// An unused block, kept for its memory.
    spare: Block,
    /// The oldest event not yet sent to a watcher that reads its output.
    needed: Option<u64>,
}

/// Texts of consecutive events, concatenated. Separate strings would each need an allocation.
#[derive(Debug, Default)]
struct Block {
    /// The number of the first event.
    first: u64,
    texts: String,
    /// The end of each text.
    ends: Vec<u32>,
}

/// The size of a full block, a sixty-fourth of the whole history.
const BLOCK_BYTES: usize = HISTORY_BYTES / 64;

impl Block {
    fn get(&self, number: u64) -> Option<&str> {
        self.texts.get(self.range(number)?)
    }

    /// Returns the range of the text of an event.
    fn range(&self, number: u64) -> Option<Range<usize>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(start as usize..end as usize)
    }

    fn push(&mut self, texts: &str, ends: impl Iterator<Item = usize>) {
        let start = self.texts.len();
        self.texts.push_str(texts);
        // A block with the texts of one commit is far smaller than 4 GiB.
        self.ends.extend(ends.map(|end| (start + end) as u32));
    }

    fn last(&self) -> u64 {
        self.first + self.ends.len() as u64 - 1
    }
}

impl History {
    /// Adds the next event.
    pub fn push(&mut self, number: u64, text: &str) {
        self.extend(number, text, [text.len()].into_iter());
    }

    /// Adds events: the number of the first one, their texts concatenated, and the end of each
    /// text.
    pub fn extend(&mut self, first: u64, texts: &str, ends: impl ExactSizeIterator<Item = usize>) {
        debug_assert!(first == self.last + 1, "a gap in the history");
        self.last += ends.len() as u64;
        self.len += ends.len();
        self.bytes += texts.len();
        if self.blocks.back().is_none_or(|block| block.texts.len() >= BLOCK_BYTES) {
            self.begin_block(first);
        }
        if let Some(block) = self.blocks.back_mut() {
            block.push(texts, ends);
        }
        self.forget_old();
    }

    /// Sets the oldest event to hold, within [`HISTORY_LAG_TIMES`]; `None` if no watcher lags.
    pub fn set_needed(&mut self, number: Option<u64>) {
        self.needed = number;
    }

    /// Extends the events to hold so that they include this one.
    pub fn need(&mut self, number: u64) {
        self.needed = Some(self.needed.map_or(number, |needed| needed.min(number)));
    }

    /// Drops the events beyond the wide bounds, and those beyond the usual bounds unless a lagging
    /// watcher needs them.
    fn forget_old(&mut self) {
        self.forget_beyond(
            HISTORY_LAG_TIMES * HISTORY_EVENTS,
            HISTORY_LAG_TIMES * HISTORY_BYTES,
            None,
        );
        self.forget_beyond(HISTORY_EVENTS, HISTORY_BYTES, self.needed);
    }

    /// Drops the oldest events beyond these bounds, but none from `needed` on.
    #[inline]
    fn forget_beyond(&mut self, events: usize, bytes: usize, needed: Option<u64>) {
        let before = needed.map_or(u64::MAX, |needed| needed.saturating_sub(self.floor() + 1));
        let mut spare = usize::try_from(before).unwrap_or(usize::MAX);
        let excess = self.len.saturating_sub(events).min(spare);
        self.forget(excess);
        spare -= excess;
        while self.bytes > bytes && spare > 0 {
            self.forget(1);
            spare -= 1;
        }
    }

    fn begin_block(&mut self, first: u64) {
        let mut block = std::mem::take(&mut self.spare);
        block.first = first;
        block.texts.clear();
        block.ends.clear();
        self.blocks.push_back(block);
    }

    /// Drops the oldest `count` events without reading their texts, which are probably not in a CPU
    /// cache.
    fn forget(&mut self, mut count: usize) {
        while count > 0
            && let Some(block) = self.blocks.front()
        {
            let first = self.last - self.len as u64 + 1;
            let dropped = count.min((block.last() + 1 - first) as usize);
            let last = first + dropped as u64 - 1;
            let ranges = block.range(first).zip(block.range(last));
            self.bytes -= ranges.map_or(0, |(first, last)| last.end - first.start);
            self.len -= dropped;
            count -= dropped;
            if block.last() == last {
                self.spare = self.blocks.pop_front().unwrap_or_default();
            }
        }
    }

    /// Drops everything and continues after that event, which is the last of a snapshot.
    pub fn restart(&mut self, last: u64) {
        *self = History { last, ..History::default() };
    }

    /// Returns the number of the last event.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the oldest number that `tras=` may have: all events after it are held.
    pub fn floor(&self) -> u64 {
        self.last - self.len as u64
    }

    /// Returns the text of an event; `None` if it is not held.
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
    fn history_holds_the_last_events() {
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

    #[test]
    fn events_for_a_lagging_watcher_are_held_up_to_a_wider_bound() {
        let mut history = History::default();
        let push = |history: &mut History, count: usize| {
            for _ in 0..count {
                history.push(history.last() + 1, "event");
            }
        };
        push(&mut history, HISTORY_EVENTS);
        history.need(100);
        history.need(200);
        push(&mut history, HISTORY_EVENTS);
        assert_eq!(history.floor(), 99);
        history.set_needed(Some(150));
        push(&mut history, 1);
        assert_eq!(history.floor(), 149);
        push(&mut history, HISTORY_LAG_TIMES * HISTORY_EVENTS);
        assert_eq!(history.last() - history.floor(), (HISTORY_LAG_TIMES * HISTORY_EVENTS) as u64);
        history.set_needed(None);
        push(&mut history, 1);
        assert_eq!(history.last() - history.floor(), HISTORY_EVENTS as u64);
    }
}

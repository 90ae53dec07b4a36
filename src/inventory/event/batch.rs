//! The events of one turn with their texts, and how an event gets there.

use std::ops::Range;
use std::rc::Rc;

use super::{Event, Parts, TimestampCache, push_cancelled, push_reserved};
use crate::inventory::{Ids, Inventory, Number, Reservation, ResourceId};
use crate::limits::EVENT_WORK;
use crate::time::Time;

/// The events of one turn, which one commit makes durable.
#[derive(Debug, Default)]
pub struct Batch {
    /// The number of the first event.
    first: u64,
    changes: Vec<Change>,
    texts: String,
    times: TimestampCache,
}

/// One event of a [`Batch`].
#[derive(Debug)]
struct Change {
    subject: Subject,
    /// Where its text ends. It starts where the one before ends.
    end: usize,
    /// The range that the journal leaves out.
    left_out: Range<usize>,
}

/// The end of a text in a buffer of concatenated texts, and the range that the journal leaves out.
pub type Extent = (usize, Range<usize>);

/// The subject of an event. A batch keeps this instead of the event, so that a reservation that is
/// cancelled in the same turn does not stay in memory until the end of the turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    NewName,
    Name(ResourceId),
    NewReservation,
    Reservation(Number),
    /// The highest number that was issued.
    Count,
}

impl Event {
    fn subject(&self) -> Subject {
        match self {
            Event::Added { .. } => Subject::NewName,
            Event::Removed { id } => Subject::Name(*id),
            Event::Reserved(_) => Subject::NewReservation,
            Event::Cancelled { number, .. }
            | Event::Renewed { number, .. }
            | Event::Expired { number } => Subject::Reservation(*number),
            Event::Numbered { .. } => Subject::Count,
        }
    }
}

impl Batch {
    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Iterates over the events in order: number, subject and text.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Subject, &str)> {
        let mut start = 0;
        (self.first..).zip(&self.changes).map(move |(number, change)| {
            let text = &self.texts[start..change.end];
            start = change.end;
            (number, change.subject, text)
        })
    }

    /// Iterates over the events in order: the subject of each, and its text for the journal in two
    /// parts.
    pub fn for_journal(&self) -> impl Iterator<Item = (Subject, [&str; 2])> {
        let mut start = 0;
        self.changes.iter().map(move |change| {
            let Change { subject, end, left_out } = change;
            let split = if left_out.is_empty() { *end..*end } else { left_out.clone() };
            let parts = [&self.texts[start..split.start], &self.texts[split.end..*end]];
            start = *end;
            (*subject, parts)
        })
    }

    /// Returns the number of the first event, all texts concatenated, and the extent of each.
    pub fn concatenated(&self) -> Option<(u64, &str, impl ExactSizeIterator<Item = Extent>)> {
        let extents = self.changes.iter().map(|change| (change.end, change.left_out.clone()));
        (!self.is_empty()).then_some((self.first, &self.texts, extents))
    }

    /// Removes all events. Gives memory back if this turn needed only a small part of it.
    pub fn clear(&mut self) {
        const KEPT_BYTES: usize = 64 << 10;
        let needed = (4 * self.texts.len()).max(KEPT_BYTES);
        self.changes.clear();
        self.texts.clear();
        if self.texts.capacity() > needed {
            *self = Batch::default();
        }
    }
}

/// An event whose text is in a batch already and that has to be applied next.
pub struct PendingEvent {
    event: Event,
    left_out: Range<usize>,
}

/// Prepare events about one resource, for callers that know its name. Both also return the part
/// that the text and the reply share, such as `#42 Habitación 1`. [`Inventory::apply_logged`] must
/// be called next.
///
/// These are always inlined, because a [`PendingEvent`] is large and would be copied otherwise.
impl Batch {
    /// Prepares the grant of one resource.
    #[inline(always)]
    pub fn write_reserved(
        &mut self,
        time: Time,
        new: Rc<Reservation>,
        name: &str,
    ) -> (PendingEvent, &str) {
        self.texts.push_str(self.times.print(time));
        let Parts { head, left_out } =
            push_reserved(&new, time, |_| name, &mut self.times, &mut self.texts);
        (PendingEvent { event: Event::Reserved(new), left_out }, &self.texts[head])
    }

    /// Prepares the cancellation of one resource. `is_all` says whether the reservation holds no
    /// other.
    #[inline(always)]
    pub fn write_cancelled(
        &mut self,
        time: Time,
        (number, id): (Number, ResourceId),
        name: &str,
        is_all: bool,
    ) -> (PendingEvent, &str) {
        self.texts.push_str(self.times.print(time));
        let targets = Ids::from_slice(&[id]);
        let Parts { head, left_out } =
            push_cancelled(number, &targets, is_all, |_| name, &mut self.texts);
        (PendingEvent { event: Event::Cancelled { number, targets }, left_out }, &self.texts[head])
    }
}

impl Inventory {
    /// Adds a decided event to the batch and applies it.
    pub fn apply_and_log(&mut self, time: Time, event: Event, batch: &mut Batch) {
        let Parts { left_out, .. } =
            self.encode_with(time, &event, &mut batch.times, &mut batch.texts);
        self.apply_logged(PendingEvent { event, left_out }, batch);
    }

    /// Applies an event whose text is in the batch already.
    #[inline(always)]
    pub fn apply_logged(
        &mut self,
        PendingEvent { event, left_out }: PendingEvent,
        batch: &mut Batch,
    ) {
        self.add_work(EVENT_WORK);
        let (subject, end) = (event.subject(), batch.texts.len());
        self.apply(event);
        if batch.is_empty() {
            batch.first = self.last_event();
        }
        batch.changes.push(Change { subject, end, left_out });
    }
}

//! Events of the inventory and their texts. A text is one line without its line ending: the time in
//! UTC, a keyword, and the subject, in the words of the wire where they exist. The history keeps
//! the whole text for notices. The journal leaves out names that a replay knows, which are those of
//! a reservation that is renewed, expires, or is cancelled as a whole.

mod batch;
mod decode;
mod error;

use std::ops::Range;
use std::rc::Rc;

use super::names::NameTexts;
use super::{Ids, Inventory, Number, Reservation, ResourceId};
use crate::text::push_quoted;
use crate::time::{Time, print_utc};

pub use batch::{Batch, Extent, PendingEvent, Subject};
pub use error::EventError;

/// One change of the inventory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A resource was added at the end of the inventory.
    Added { name: String },
    /// A resource without reservations was removed.
    Removed { id: ResourceId },
    /// A request was granted.
    Reserved(Rc<Reservation>),
    /// These resources of a reservation were cancelled. It is over when none is left.
    Cancelled { number: Number, targets: Ids },
    /// The end of a reservation moved, or it is now kept alive for `keep_alive_ms` at a time.
    Renewed { number: Number, until: Time, lease: bool, keep_alive_ms: Option<i64> },
    /// A reservation reached its end.
    Expired { number: Number },
    /// The last confirmation number that was issued. Occurs in snapshots only.
    Numbered { last: Number },
}

impl Event {
    /// Appends the whole text of this event, which happens at `time`. `held` returns the resources
    /// that a reservation still holds.
    fn encode<'a>(
        &self,
        time: Time,
        name: impl Fn(ResourceId) -> &'a str,
        held: impl Fn(Number) -> &'a [ResourceId],
        times: &mut TimestampCache,
        out: &mut String,
    ) -> Parts {
        out.push_str(times.print(time));
        match self {
            Event::Added { name } => out.extend([" ADDED ", name]),
            Event::Removed { id } => out.extend([" REMOVED ", name(*id)]),
            Event::Reserved(new) => return push_reserved(new, time, name, times, out),
            Event::Cancelled { number, targets } => {
                // Compared one by one, because a reservation usually holds a single resource.
                let is_all = held(*number).iter().eq(targets);
                return push_cancelled(*number, targets, is_all, name, out);
            }
            Event::Renewed { number, until, lease, keep_alive_ms } => {
                out.push_str(" RENEWED ");
                let head = push_head(*number, held(*number), name, out);
                match keep_alive_ms {
                    Some(ms) => push_keep_alive(*ms, out),
                    None => out.extend([" until=", times.print(*until)]),
                }
                out.push_str(if *lease { " lease=yes" } else { "" });
                return head;
            }
            Event::Expired { number } => {
                out.push_str(" EXPIRED ");
                return push_head(*number, held(*number), name, out);
            }
            Event::Numbered { last } => {
                out.extend([" NUMBERED #", itoa::Buffer::new().format(last.0)]);
            }
        }
        Parts { head: out.len()..out.len(), left_out: 0..0 }
    }
}

/// Cache of the last printed time. Most events of a turn have the same time.
#[derive(Debug, Default)]
struct TimestampCache(Option<(Time, String)>);

impl TimestampCache {
    #[inline]
    fn print(&mut self, time: Time) -> &str {
        let is_cached = |last: &(Time, String)| last.0 == time;
        if !self.0.as_ref().is_some_and(is_cached) {
            self.0 = None;
        }
        &self.0.get_or_insert_with(|| (time, print_utc(time).to_string())).1
    }
}

/// Ranges of the parts of a text.
struct Parts {
    /// The number of a reservation and its names.
    head: Range<usize>,
    /// The names with the space before them, if the journal leaves them out.
    left_out: Range<usize>,
}

impl Inventory {
    /// Appends the journal's text of an event that is about to be applied.
    pub fn encode(&self, time: Time, event: &Event, out: &mut String) {
        let start = out.len();
        let parts = self.encode_with(time, event, &mut TimestampCache::default(), out);
        if !parts.left_out.is_empty() {
            debug_assert!(parts.left_out.start > start);
            out.replace_range(parts.left_out, "");
        }
    }

    fn encode_with(
        &self,
        time: Time,
        event: &Event,
        times: &mut TimestampCache,
        out: &mut String,
    ) -> Parts {
        let held = |number| match self.reservation(number) {
            Some(reservation) => reservation.targets(),
            None => &[],
        };
        let texts = self.names().texts();
        event.encode(time, |id| texts.name(id), held, times, out)
    }

    /// Returns the whole text of an event that was read from the journal and is about to be
    /// applied, including the names that the journal leaves out. If there are any, the result is in
    /// `buffer`.
    pub fn whole_text<'a>(&self, kept: &'a str, event: &Event, buffer: &'a mut String) -> &'a str {
        let number = match event {
            Event::Cancelled { number, .. }
            | Event::Renewed { number, .. }
            | Event::Expired { number } => *number,
            _ => return kept,
        };
        // Neither a time nor a keyword contains `#`.
        let (Some(sign), Some(old)) = (kept.find('#'), self.reservation(number)) else {
            return kept;
        };
        let digits = kept[sign + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let (before, after) = kept.split_at(sign + 1 + digits);
        if matches!(event, Event::Cancelled { .. }) && !after.is_empty() {
            return kept;
        }
        buffer.clear();
        buffer.extend([before, " "]);
        push_names(old.targets(), self.names().texts(), |text| buffer.push_str(text));
        buffer.push_str(after);
        buffer
    }
}

/// Passes names, and the separators that the wire has between them, to `push`.
pub fn push_names(ids: &[ResourceId], texts: &NameTexts, push: impl FnMut(&str)) {
    push_each(ids, |id| texts.name(id), push);
}

#[inline]
fn push_each<'a>(
    ids: &[ResourceId],
    name: impl Fn(ResourceId) -> &'a str,
    mut push: impl FnMut(&str),
) {
    for (at, id) in ids.iter().enumerate() {
        if at > 0 {
            push(", ");
        }
        push(name(*id));
    }
}

/// Appends the text of [`Event::Reserved`] after its time.
#[inline]
fn push_reserved<'a>(
    new: &Reservation,
    time: Time,
    name: impl Fn(ResourceId) -> &'a str,
    times: &mut TimestampCache,
    out: &mut String,
) -> Parts {
    out.push_str(" RESERVED ");
    let head = push_head(new.number, new.targets(), name, out);
    push_options(new, time, times, out);
    Parts { left_out: 0..0, ..head }
}

/// Appends the text of [`Event::Cancelled`] after its time.
#[inline]
fn push_cancelled<'a>(
    number: Number,
    targets: &[ResourceId],
    is_all: bool,
    name: impl Fn(ResourceId) -> &'a str,
    out: &mut String,
) -> Parts {
    out.push_str(" CANCELLED ");
    let head = push_head(number, targets, name, out);
    match is_all {
        true => head,
        false => Parts { left_out: 0..0, ..head },
    }
}

/// Appends the number and the names that most texts have, and returns their ranges, with all names
/// left out.
#[inline]
fn push_head<'a>(
    number: Number,
    ids: &[ResourceId],
    name: impl Fn(ResourceId) -> &'a str,
    out: &mut String,
) -> Parts {
    let start = out.len();
    out.push('#');
    out.push_str(itoa::Buffer::new().format(number.0));
    let names = out.len();
    out.push(' ');
    push_each(ids, name, |text| out.push_str(text));
    Parts { head: start..out.len(), left_out: names..out.len() }
}

/// Appends what differs from the default: a reservation from the time of the event on, without an
/// end.
#[inline]
fn push_options(new: &Reservation, time: Time, times: &mut TimestampCache, out: &mut String) {
    if new.from != time {
        out.extend([" from=", times.print(new.from)]);
    }
    if let Some(keep_alive) = new.keep_alive() {
        push_keep_alive(keep_alive.ms, out);
    } else if new.session().is_some() {
        out.push_str(" until=quit");
    } else if !new.until.is_never() {
        out.extend([" until=", times.print(new.until)]);
    }
    if new.lease {
        out.push_str(" lease=yes");
    }
    if let Some(holder) = &new.holder {
        push_quoted(" holder=", holder, out);
    }
    if let Some(note) = new.note() {
        push_quoted(" note=", note, out);
    }
    if let Some(key) = new.key() {
        push_quoted(" key=", &key.text, out);
        push_quoted(" request=", &key.request, out);
    }
}

fn push_keep_alive(ms: i64, out: &mut String) {
    out.extend([" until=quit for=", itoa::Buffer::new().format(ms / 1000), "s"]);
}

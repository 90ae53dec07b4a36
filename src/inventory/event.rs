//! Events of the inventory and their text. A text is one line without its line ending: the time in
//! UTC, a keyword, and the subject, in the words of the wire where they exist. The history keeps
//! the whole text for notices. The journal leaves out names that a replay knows, which are those of
//! a reservation that is renewed, expires, or is cancelled as a whole.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

use super::names::{NameTexts, Names, ResourceId, may_be_kept};
use super::{Ids, Inventory, KeepAlive, Key, Number, Reservation, SessionId};
use crate::limits::{
    DURATION_MAX_MS, EVENT_WORK, KEEP_ALIVE_MIN_MS, KEPT_TEXT_MAX_BYTES, TARGETS_MAX,
};
use crate::text::push_quoted;
use crate::time::{Time, parse_utc, print_utc};

/// One change of the inventory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A new resource, at the end of the inventory.
    Added { name: String },
    /// A resource without reservations was taken out.
    Removed { id: ResourceId },
    /// A request was granted.
    Reserved(Rc<Reservation>),
    /// Somebody cancelled these resources of the reservation; with its last
    /// one it is over.
    Cancelled { number: Number, targets: Ids },
    /// Its end moved, later or earlier; or it is now kept alive, for `keep_alive_ms` at a time.
    Renewed { number: Number, until: Time, lease: bool, keep_alive_ms: Option<i64> },
    /// A reservation reached its end.
    Expired { number: Number },
    /// In a snapshot only: the last confirmation number that was issued.
    Numbered { last: Number },
}

impl Event {
    /// Appends the text of this event, which happens at `time`. `held` returns the resources that a
    /// reservation still holds.
    fn encode<'a>(
        &self,
        time: Time,
        name: impl Fn(ResourceId) -> &'a str,
        held: impl Fn(Number) -> &'a [ResourceId],
        times: &mut TimestampCache,
        out: &mut String,
    ) -> Places {
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
                    Some(ms) => encode_keep_alive(*ms, out),
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
                out.extend([" NUMBERED #", itoa::Buffer::new().format(*last)]);
            }
        }
        Places { head: out.len()..out.len(), left_out: 0..0 }
    }

    /// Parses the journal's form of [`Event::encode`]'s text. The event must be the next one for
    /// this inventory.
    ///
    /// # Errors
    /// A description of the mistake in the text.
    pub fn decode(text: &str, inventory: &Inventory) -> Result<(Time, Event), String> {
        let names = inventory.names();
        let (time, rest) = cut(text, b' ').ok_or("no time")?;
        let time = decode_time(time)?;
        let (word, rest) = cut(rest, b' ').ok_or("no event")?;
        let event = match word {
            "ADDED" => Event::Added { name: decode_new_name(rest)? },
            "REMOVED" => Event::Removed { id: find(rest, names)? },
            "RESERVED" => Event::Reserved(Rc::new(decode_reserved(rest, time, names)?)),
            "CANCELLED" => decode_cancelled(rest, inventory)?,
            "RENEWED" => decode_renewed(rest)?,
            "EXPIRED" => Event::Expired { number: decode_number_alone(rest)? },
            "NUMBERED" => Event::Numbered { last: decode_number_alone(rest)? },
            _ => return Err(format!("unknown event '{}'", word.escape_debug())),
        };
        // A holder or a note would show it to everybody who asks for the list.
        match has_control(text) {
            false => Ok((time, event)),
            true => Err("it has a control character".to_owned()),
        }
    }
}

/// The events of one turn with the texts for the journal: what one commit
/// makes durable.
#[derive(Debug, Default)]
pub struct Batch {
    /// The number of the first event.
    first: u64,
    changes: Vec<Change>,
    texts: String,
    times: TimestampCache,
}

/// The time that was printed last: in a turn it is nearly always the same.
#[derive(Debug, Default)]
struct TimestampCache(Option<(Time, String)>);

impl TimestampCache {
    #[inline]
    fn print(&mut self, time: Time) -> &str {
        let is_it = |last: &(Time, String)| last.0 == time;
        if !self.0.as_ref().is_some_and(is_it) {
            self.0 = None;
        }
        &self.0.get_or_insert_with(|| (time, print_utc(time).to_string())).1
    }
}

/// One event of a [`Batch`].
#[derive(Debug)]
struct Change {
    subject: Subject,
    /// Where its text ends; it begins where the one before ends.
    end: usize,
    /// The range that the journal leaves out.
    left_out: Range<usize>,
}

/// The end of a text in a buffer of concatenated texts, and the range that the journal leaves out.
pub type Extent = (usize, Range<usize>);

/// Ranges of the parts of a text.
struct Places {
    /// The number of a reservation and its names.
    head: Range<usize>,
    /// The names with the space before them, where the journal leaves them out.
    left_out: Range<usize>,
}

/// What an event is about. That is all that is kept of it beside its text: what was
/// reserved and cancelled again in a turn is not to stay until its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    NewName,
    Name(ResourceId),
    NewReservation,
    Reservation(Number),
    /// Nothing that is there.
    Count,
}

impl Event {
    /// What it is about.
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
    /// How many events there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The events in order: number, what it is about, and text.
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
    pub fn run_together(&self) -> Option<(u64, &str, impl ExactSizeIterator<Item = Extent>)> {
        let extents = self.changes.iter().map(|change| (change.end, change.left_out.clone()));
        (!self.is_empty()).then_some((self.first, &self.texts, extents))
    }

    /// Empties it for the next turn; gives memory back that this one has not
    /// nearly needed.
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

/// An event whose text is the last one in a batch, and that is to happen next.
pub struct PendingEvent {
    event: Event,
    left_out: Range<usize>,
}

/// Prepare events about one resource, for callers that know its name. Both also return the part that
/// the text and the reply share, such as `#42 Habitación 1`. [`Inventory::apply_logged`] must be called next.
impl Batch {
    /// Prepares the grant of one resource.
    pub fn write_reserved(
        &mut self,
        time: Time,
        new: Rc<Reservation>,
        name: &str,
    ) -> (PendingEvent, &str) {
        self.texts.push_str(self.times.print(time));
        let Places { head, left_out } =
            push_reserved(&new, time, |_| name, &mut self.times, &mut self.texts);
        (PendingEvent { event: Event::Reserved(new), left_out }, &self.texts[head])
    }

    /// Prepares the cancellation of one resource. `is_all` says whether the reservation holds no
    /// other.
    pub fn write_cancelled(
        &mut self,
        time: Time,
        (number, id): (Number, ResourceId),
        name: &str,
        is_all: bool,
    ) -> (PendingEvent, &str) {
        self.texts.push_str(self.times.print(time));
        let targets = Ids::from_slice(&[id]);
        let Places { head, left_out } =
            push_cancelled(number, &targets, is_all, |_| name, &mut self.texts);
        (PendingEvent { event: Event::Cancelled { number, targets }, left_out }, &self.texts[head])
    }
}

impl Inventory {
    /// Makes an event of a decision so, and notes it for the journal.
    pub fn apply_and_log(&mut self, time: Time, event: Event, batch: &mut Batch) {
        let places = self.encode_with(time, &event, &mut batch.times, &mut batch.texts);
        self.apply_logged(PendingEvent { event, left_out: places.left_out }, batch);
    }

    /// Makes an event so that is noted.
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

    /// Appends the journal's text of an event that is about to be applied.
    pub fn encode(&self, time: Time, event: &Event, out: &mut String) {
        let start = out.len();
        let places = self.encode_with(time, event, &mut TimestampCache::default(), out);
        if !places.left_out.is_empty() {
            debug_assert!(places.left_out.start > start);
            out.replace_range(places.left_out, "");
        }
    }

    fn encode_with(
        &self,
        time: Time,
        event: &Event,
        times: &mut TimestampCache,
        out: &mut String,
    ) -> Places {
        let held = |number| match self.reservation(number) {
            Some(reservation) => reservation.targets(),
            None => &[],
        };
        let texts = self.names().texts();
        event.encode(time, |id| texts.name(id), held, times, out)
    }

    /// Returns the whole text of an event that was read from the journal and is about to be
    /// applied, including the names that the journal leaves out. Uses `place` as a buffer if there
    /// are such names.
    pub fn whole_text<'a>(&self, kept: &'a str, event: &Event, place: &'a mut String) -> &'a str {
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
        place.clear();
        place.extend([before, " "]);
        push_names(old.targets(), self.names().texts(), |text| place.push_str(text));
        place.push_str(after);
        place
    }
}

/// Gives names, and what separates them on the wire, to `push`.
pub fn push_names(ids: &[ResourceId], texts: &NameTexts, push: impl FnMut(&str)) {
    push_each(ids, |id| texts.name(id), push);
}

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
fn push_reserved<'a>(
    new: &Reservation,
    time: Time,
    name: impl Fn(ResourceId) -> &'a str,
    times: &mut TimestampCache,
    out: &mut String,
) -> Places {
    out.push_str(" RESERVED ");
    let head = push_head(new.number, new.targets(), name, out);
    encode_terms(new, time, times, out);
    Places { left_out: 0..0, ..head }
}

/// Appends the text of [`Event::Cancelled`] after its time.
fn push_cancelled<'a>(
    number: Number,
    targets: &[ResourceId],
    is_all: bool,
    name: impl Fn(ResourceId) -> &'a str,
    out: &mut String,
) -> Places {
    out.push_str(" CANCELLED ");
    let head = push_head(number, targets, name, out);
    match is_all {
        true => head,
        false => Places { left_out: 0..0, ..head },
    }
}

/// Appends the number and the names that most texts have, and returns their ranges, with all names
/// left out.
fn push_head<'a>(
    number: Number,
    ids: &[ResourceId],
    name: impl Fn(ResourceId) -> &'a str,
    out: &mut String,
) -> Places {
    let start = out.len();
    out.push('#');
    out.push_str(itoa::Buffer::new().format(number));
    let names = out.len();
    out.push(' ');
    push_each(ids, name, |text| out.push_str(text));
    Places { head: start..out.len(), left_out: names..out.len() }
}

/// What is not as most reservations are: from the time of the event on, without an end.
fn encode_terms(new: &Reservation, time: Time, times: &mut TimestampCache, out: &mut String) {
    if new.from != time {
        out.extend([" from=", times.print(new.from)]);
    }
    if let Some(keep_alive) = new.keep_alive() {
        encode_keep_alive(keep_alive.ms, out);
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
        push_quoted(" key=", &key.key, out);
        push_quoted(" request=", &key.request, out);
    }
}

fn encode_keep_alive(ms: i64, out: &mut String) {
    out.extend([" until=quit for=", itoa::Buffer::new().format(ms / 1000), "s"]);
}

/// Parses the length of a keep-alive as `encode_keep_alive` writes it.
fn decode_keep_alive_ms(text: &str) -> Result<i64, String> {
    let ms =
        text.strip_suffix('s').and_then(|digits| digits.parse::<i64>().ok()?.checked_mul(1000));
    let in_range = |ms: &i64| (KEEP_ALIVE_MIN_MS..=DURATION_MAX_MS).contains(ms);
    ms.filter(in_range)
        .ok_or_else(|| format!("invalid length '{}' after for=", text.escape_debug()))
}

fn decode_new_name(text: &str) -> Result<String, String> {
    match may_be_kept(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("'{}' is no name", text.escape_debug())),
    }
}

/// What stands before and after the first such byte, which is ASCII. In texts
/// as short as these a plain search is the fastest.
fn cut(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|other| other == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Whether it has a character of Unicode's class Cc.
fn has_control(text: &str) -> bool {
    // Those beyond ASCII begin with C2. All bytes are looked at, for then it
    // is done many at a time.
    let may_be = |byte: u8| byte < 0x20 || byte == 0x7F || byte == 0xC2;
    let perhaps = text.bytes().fold(false, |any, byte| any | may_be(byte));
    perhaps && text.contains(char::is_control)
}

fn decode_time(text: &str) -> Result<Time, String> {
    parse_utc(text).ok_or_else(|| format!("'{}' is no time", text.escape_debug()))
}

fn find(text: &str, names: &Names) -> Result<ResourceId, String> {
    let none = || format!("there is no resource '{}'", text.escape_debug());
    names.find_exact(text.as_bytes()).ok_or_else(none)
}

fn decode_names(text: &str, names: &Names) -> Result<Ids, String> {
    text.split(", ").map(|name| find(name, names)).collect()
}

/// `#42 rest`; the rest may be missing.
fn decode_number(text: &str) -> Result<(Number, &str), String> {
    let (head, rest) = cut(text, b' ').unwrap_or((text, ""));
    let digits = head.strip_prefix('#').unwrap_or("");
    let number = digits.parse().map_err(|_| format!("'{}' is no number", head.escape_debug()))?;
    Ok((number, rest))
}

/// Parses a reservation number that nothing follows.
fn decode_number_alone(text: &str) -> Result<Number, String> {
    match decode_number(text)? {
        (number, "") => Ok(number),
        (number, rest) => Err(format!("'{}' after #{number}", rest.escape_debug())),
    }
}

fn decode_cancelled(text: &str, inventory: &Inventory) -> Result<Event, String> {
    let (number, text) = decode_number(text)?;
    let targets = match (text, inventory.reservation(number)) {
        // The journal leaves out the names when all resources of the reservation are meant.
        ("", Some(old)) => Ids::from_slice(old.targets()),
        ("", None) => return Err(format!("there is no reservation #{number}")),
        _ => decode_names(text, inventory.names())?,
    };
    Ok(Event::Cancelled { number, targets })
}

fn decode_renewed(text: &str) -> Result<Event, String> {
    let (number, rest) = decode_number(text)?;
    let terms = rest.strip_prefix("until=").ok_or("no until=")?;
    if let Some(length) = terms.strip_prefix("quit for=") {
        let keep_alive_ms = Some(decode_keep_alive_ms(length)?);
        return Ok(Event::Renewed { number, until: Time::MAX, lease: false, keep_alive_ms });
    }
    let (until, lease) = match terms.strip_suffix(" lease=yes") {
        Some(until) => (until, true),
        None => (terms, false),
    };
    let until = decode_time(until)?;
    Ok(Event::Renewed { number, until, lease, keep_alive_ms: None })
}

fn decode_reserved(text: &str, time: Time, names: &Names) -> Result<Reservation, String> {
    let (number, rest) = decode_number(text)?;
    // No name has an equals sign: what stands before the word with the first are names.
    let before = |at| rest[..at].rfind(' ').ok_or("an option and no name");
    let terms = rest.find('=').map_or(Ok(rest.len()), before)?;
    let on = |targets: &[_]| Reservation::new(number, targets, time, Time::MAX);
    let mut new = match &rest[..terms] {
        // No name has a comma.
        one if !one.as_bytes().contains(&b',') => on(&[find(one, names)?]),
        several => on(&decode_names(several, names)?),
    };
    let mut key = None;
    let mut request = None;
    let mut rest = rest[terms..].trim_start();
    while !rest.is_empty() {
        let (option, value, after) = decode_option(rest)?;
        match option {
            "from" => new.from = decode_time(&value)?,
            // The connection is gone with the server that served it.
            "until" if value == "quit" => new.detail(|it| it.session = Some(SessionId::GONE)),
            "until" if value == "never" => new.until = Time::MAX,
            "until" => new.until = decode_time(&value)?,
            "for" => {
                let keep_alive = KeepAlive::of_ms(decode_keep_alive_ms(&value)?);
                new.detail(|it| it.keep_alive = Some(keep_alive));
            }
            "lease" => new.lease = true,
            "holder" => new.holder = Some(value.into()),
            "note" => new.detail(|it| it.note = Some(value.into())),
            "key" => key = Some(value),
            "request" => request = Some(value),
            _ => return Err(format!("unknown option '{}'", option.escape_debug())),
        }
        rest = after;
    }
    if let (Some(key), Some(request)) = (key, request) {
        new.detail(|it| it.key = Some(Key { key: key.into(), request: request.into() }));
    }
    has_room(&new).map(|()| new)
}

/// Whether there is room for it in a snapshot: as much has every one that was granted.
fn has_room(new: &Reservation) -> Result<(), String> {
    let count = new.targets().len();
    if count > TARGETS_MAX {
        return Err(format!("{count} names, and no reservation has more than {TARGETS_MAX}"));
    }
    let bytes = |text: Option<&str>| text.map_or(0, str::len);
    let key = new.key().map_or(0, |key| key.key.len() + key.request.len());
    match bytes(new.holder.as_deref()) + bytes(new.note()) + key {
        ..=KEPT_TEXT_MAX_BYTES => Ok(()),
        bytes => Err(format!("{bytes} bytes of text, more than any reservation has")),
    }
}

/// `option=value rest`, the value perhaps quoted.
fn decode_option(text: &str) -> Result<(&str, Cow<'_, str>, &str), String> {
    let (option, rest) = cut(text, b'=').ok_or("an option without =")?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = cut(rest, b' ').unwrap_or((rest, ""));
        return Ok((option, value.into(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((option, value.into(), quoted[at + 1..].trim_start())),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    Err(format!("the quotes of {}= do not end", option.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Capacity;

    /// What is as most reservations are is not written; what was written before says the same.
    #[test]
    fn what_is_not_said_of_a_reservation_is_what_most_have() {
        let mut inventory = Inventory::new(Capacity { resources: 9, reservations: 9 });
        inventory.apply(Event::Added { name: "Sala 1".to_owned() });
        let at = "2026-11-22T16:48:54.123Z";
        let later = "2026-12-01T00:00:00.000Z";
        let rows = [
            (String::new(), format!(" from={at} until=never")),
            (format!(" until={later}"), format!(" from={at} until={later}")),
            (" until=quit".to_owned(), format!(" from={at} until=quit")),
            (format!(" from={later}"), format!(" from={later} until=never")),
            (
                r#" holder="a from=b" note="c until=\"d""#.to_owned(),
                format!(r#" from={at} until=never holder="a from=b" note="c until=\"d""#),
            ),
        ];
        for (short, long) in rows {
            let head = format!("{at} RESERVED #7 Sala 1");
            let (short, long) = (head.clone() + &short, head + &long);
            let (time, event) = Event::decode(&short, &inventory).expect(&short);
            assert_eq!((time, event.clone()), Event::decode(&long, &inventory).expect(&long));
            let mut text = String::new();
            inventory.encode(time, &event, &mut text);
            assert_eq!(text, short);
        }
    }
}

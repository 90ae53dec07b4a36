//! What can happen to the inventory, and the text that the journal keeps of
//! it. A text is one line without its ending: the time in UTC, a word, and
//! what it is about, in the words of the wire where they exist.

use std::borrow::Cow;
use std::rc::Rc;

use super::names::{NameTexts, Names, ResourceId, may_be_kept};
use super::{Ids, Inventory, Key, Number, Reservation, SessionId};
use crate::clock::{Time, parse_utc, print_utc};
use crate::limits::EVENT_WORK;

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
    /// Its end was moved, later or earlier.
    Renewed { number: Number, until: Time, lease: bool },
    /// A reservation reached its end.
    Expired { number: Number },
    /// In a snapshot only: the last confirmation number that was issued.
    Numbered { last: Number },
}

impl Event {
    /// Appends the journal's text of this event, which happens at `time`.
    /// `held` finds what an ending reservation still holds.
    fn encode<'a>(
        &self,
        time: Time,
        texts: &NameTexts,
        held: impl Fn(Number) -> &'a [ResourceId],
        times: &mut Times,
        out: &mut String,
    ) {
        out.push_str(times.print(time));
        match self {
            Event::Added { name } => out.extend([" ADDED ", name]),
            Event::Removed { id } => out.extend([" REMOVED ", texts.name(*id)]),
            Event::Reserved(new) => {
                push_head(" RESERVED #", new.number, new.targets(), texts, out);
                encode_terms(new, times, out);
            }
            Event::Cancelled { number, targets } => {
                push_head(" CANCELLED #", *number, targets, texts, out);
            }
            Event::Renewed { number, until, lease } => {
                push_head(" RENEWED #", *number, held(*number), texts, out);
                out.extend([" until=", times.print(*until)]);
                out.push_str(if *lease { " lease=yes" } else { "" });
            }
            Event::Expired { number } => {
                push_head(" EXPIRED #", *number, held(*number), texts, out);
            }
            Event::Numbered { last } => {
                out.extend([" NUMBERED #", itoa::Buffer::new().format(*last)]);
            }
        }
    }

    /// Reads what [`Event::encode`] wrote, of an event that was next for this
    /// inventory. An error says what is wrong with the text.
    pub fn decode(text: &str, inventory: &Inventory) -> Result<(Time, Event), String> {
        let names = inventory.names();
        let (time, rest) = cut(text, b' ').ok_or("no time")?;
        let time = decode_time(time)?;
        let (word, rest) = cut(rest, b' ').ok_or("no event")?;
        let event = match word {
            "ADDED" => Event::Added { name: decode_new_name(rest)? },
            "REMOVED" => Event::Removed { id: find(rest, names)? },
            "RESERVED" => Event::Reserved(Rc::new(decode_reserved(rest, names)?)),
            "CANCELLED" => decode_cancelled(rest, inventory)?,
            "RENEWED" => decode_renewed(rest)?,
            "EXPIRED" => Event::Expired { number: decode_number(rest)?.0 },
            "NUMBERED" => Event::Numbered { last: decode_number(rest)?.0 },
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
    changes: Vec<Change>,
    texts: String,
    times: Times,
}

/// The time that was printed last: in a turn it is nearly always the same.
#[derive(Debug, Default)]
struct Times(Option<(Time, String)>);

impl Times {
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
pub struct Change {
    /// The event's number.
    pub number: u64,
    pub subject: Subject,
    /// Where its text ends; it begins where the one before ends.
    end: usize,
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

    /// The changes and their texts in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Change, &str)> {
        let mut start = 0;
        self.changes.iter().map(move |change| {
            let text = &self.texts[start..change.end];
            start = change.end;
            (change, text)
        })
    }

    /// Number of the first, all texts run together, and where each ends.
    pub fn run_together(&self) -> Option<(u64, &str, impl ExactSizeIterator<Item = usize>)> {
        let first = self.changes.first()?;
        Some((first.number, &self.texts, self.changes.iter().map(|change| change.end)))
    }

    /// Empties it for the next turn; gives memory back that this one has not
    /// nearly needed.
    pub fn clear(&mut self) {
        const KEPT_BYTES: usize = 16 << 10;
        let needed = (4 * self.texts.len()).max(KEPT_BYTES);
        self.changes.clear();
        self.texts.clear();
        if self.texts.capacity() > needed {
            *self = Batch::default();
        }
    }
}

impl Inventory {
    /// Makes an event of a decision so, and notes it for the journal.
    pub fn enact(&mut self, time: Time, event: Event, batch: &mut Batch) {
        self.add_work(EVENT_WORK);
        self.encode_with(time, &event, &mut batch.times, &mut batch.texts);
        self.apply(&event);
        let end = batch.texts.len();
        batch.changes.push(Change { number: self.last_event(), subject: event.subject(), end });
    }

    /// Appends the text of an event that is about to happen.
    pub fn encode(&self, time: Time, event: &Event, out: &mut String) {
        self.encode_with(time, event, &mut Times::default(), out);
    }

    fn encode_with(&self, time: Time, event: &Event, times: &mut Times, out: &mut String) {
        let held = |number| match self.reservation(number) {
            Some(reservation) => reservation.targets(),
            None => &[],
        };
        event.encode(time, self.names().texts(), held, times, out);
    }
}

/// Gives names, and what separates them on the wire, to `push`.
pub fn push_names(ids: &[ResourceId], texts: &NameTexts, mut push: impl FnMut(&str)) {
    for (at, id) in ids.iter().enumerate() {
        if at > 0 {
            push(", ");
        }
        push(texts.name(*id));
    }
}

/// The word, the number and the names that most texts begin with.
fn push_head(word: &str, number: Number, ids: &[ResourceId], texts: &NameTexts, out: &mut String) {
    out.push_str(word);
    out.push_str(itoa::Buffer::new().format(number));
    out.push(' ');
    push_names(ids, texts, |text| out.push_str(text));
}

fn encode_terms(new: &Reservation, times: &mut Times, out: &mut String) {
    out.push_str(" from=");
    out.push_str(times.print(new.from));
    match new.until {
        _ if new.session().is_some() => out.push_str(" until=quit"),
        until if until.is_never() => out.push_str(" until=never"),
        until => {
            out.push_str(" until=");
            out.push_str(times.print(until));
        }
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

/// Appends `text` in quotes; inside, `\"` and `\\` are the only escapes.
pub fn push_quoted(option: &str, text: &str, out: &mut String) {
    out.push_str(option);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
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

fn decode_cancelled(text: &str, inventory: &Inventory) -> Result<Event, String> {
    let (number, text) = decode_number(text)?;
    // Nearly always it is all that the reservation has.
    let held = inventory.reservation(number).map_or(&[][..], |old| old.targets());
    let targets = match held {
        [id] if inventory.names().texts().name(*id) == text => Ids::from_slice(held),
        _ => decode_names(text, inventory.names())?,
    };
    Ok(Event::Cancelled { number, targets })
}

fn decode_renewed(text: &str) -> Result<Event, String> {
    let (number, rest) = decode_number(text)?;
    let (_, terms) = rest.split_once(" until=").ok_or("no until=")?;
    let (until, lease) = match terms.strip_suffix(" lease=yes") {
        Some(until) => (until, true),
        None => (terms, false),
    };
    Ok(Event::Renewed { number, until: decode_time(until)?, lease })
}

fn decode_reserved(text: &str, names: &Names) -> Result<Reservation, String> {
    let (number, rest) = decode_number(text)?;
    let before = |(at, _)| rest[..at].strip_suffix(" from").map(str::len);
    let terms = rest.match_indices('=').find_map(before).ok_or("no from=")?;
    let on = |targets: &[_]| Reservation::new(number, targets, Time::DAWN, Time::NEVER);
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
            "until" if value == "never" => new.until = Time::NEVER,
            "until" => new.until = decode_time(&value)?,
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
    Ok(new)
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

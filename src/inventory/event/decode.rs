//! Parses the texts of events as the journal has them.

use std::borrow::Cow;
use std::rc::Rc;

use super::{Event, EventError};
use crate::inventory::names::{Names, may_be_kept};
use crate::inventory::{
    IdempotencyKey, Ids, Interval, Inventory, KeepAlive, Number, Reservation, ResourceId, SessionId,
};
use crate::limits::{DURATION_MAX_MS, KEEP_ALIVE_MIN_MS, KEPT_TEXT_MAX_BYTES, TARGETS_MAX};
use crate::time::{Time, parse_utc};

impl Event {
    /// Parses the text of an event as [`Inventory::encode`] writes it. The event must be the next
    /// one for this inventory.
    pub fn decode(text: &str, inventory: &Inventory) -> Result<(Time, Event), EventError> {
        let names = inventory.names();
        let (time, rest) = split_at_byte(text, b' ').ok_or(EventError::Missing("time"))?;
        let time = decode_time(time)?;
        let (word, rest) = split_at_byte(rest, b' ').ok_or(EventError::Missing("event"))?;
        let event = match word {
            "ADDED" => Event::Added { name: decode_new_name(rest)? },
            "REMOVED" => Event::Removed { id: find(rest, names)? },
            "RESERVED" => Event::Reserved(Rc::new(decode_reserved(rest, time, names)?)),
            "CANCELLED" => decode_cancelled(rest, inventory)?,
            "RENEWED" => decode_renewed(rest)?,
            "EXPIRED" => Event::Expired { number: decode_number_alone(rest)? },
            "NUMBERED" => Event::Numbered { last: decode_number_alone(rest)? },
            _ => return Err(EventError::UnknownEvent(word.to_owned())),
        };
        match has_control(text) {
            false => Ok((time, event)),
            true => Err(EventError::ControlCharacter),
        }
    }
}

fn decode_new_name(text: &str) -> Result<String, EventError> {
    match may_be_kept(text) {
        true => Ok(text.to_owned()),
        false => Err(EventError::InvalidName(text.to_owned())),
    }
}

fn decode_reserved(text: &str, time: Time, names: &Names) -> Result<Reservation, EventError> {
    let (number, rest) = decode_number(text)?;
    // No name has an equals sign, so the names end before the word with the first one.
    let before = |at| rest[..at].rfind(' ').ok_or(EventError::Missing("name before an option"));
    let names_end = rest.find('=').map_or(Ok(rest.len()), before)?;
    let on = |targets: &[_]| Reservation::new(number, targets, Interval::starting_at(time));
    let mut new = match &rest[..names_end] {
        // No name has a comma.
        one if !one.as_bytes().contains(&b',') => on(&[find(one, names)?]),
        several => on(&decode_names(several, names)?),
    };
    decode_options(rest[names_end..].trim_start(), &mut new)?;
    check_size(&new)?;
    Ok(new)
}

fn decode_options(mut rest: &str, new: &mut Reservation) -> Result<(), EventError> {
    let (mut key, mut request) = (None, None);
    while !rest.is_empty() {
        let (option, value, after) = decode_option(rest)?;
        match option {
            "from" => new.from = decode_time(&value)?,
            // The connection ended with its server.
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
            _ => return Err(EventError::UnknownOption(option.to_owned())),
        }
        rest = after;
    }
    if let (Some(text), Some(request)) = (key, request) {
        let key = IdempotencyKey { text: text.into(), request: request.into() };
        new.detail(|it| it.key = Some(key));
    }
    Ok(())
}

/// Checks the limits of every granted reservation, so that it fits into a snapshot.
fn check_size(new: &Reservation) -> Result<(), EventError> {
    let count = new.targets().len();
    if count > TARGETS_MAX {
        return Err(EventError::TooManyTargets(count));
    }
    let bytes = |text: Option<&str>| text.map_or(0, str::len);
    let key = new.key().map_or(0, |key| key.text.len() + key.request.len());
    match bytes(new.holder.as_deref()) + bytes(new.note()) + key {
        ..=KEPT_TEXT_MAX_BYTES => Ok(()),
        bytes => Err(EventError::TooMuchText(bytes)),
    }
}

fn decode_cancelled(text: &str, inventory: &Inventory) -> Result<Event, EventError> {
    let (number, text) = decode_number(text)?;
    let targets = match (text, inventory.reservation(number)) {
        // The journal leaves out the names if all resources of the reservation are meant.
        ("", Some(old)) => Ids::from_slice(old.targets()),
        ("", None) => return Err(EventError::NoReservation(number)),
        _ => decode_names(text, inventory.names())?,
    };
    Ok(Event::Cancelled { number, targets })
}

fn decode_renewed(text: &str) -> Result<Event, EventError> {
    let (number, rest) = decode_number(text)?;
    let end = rest.strip_prefix("until=").ok_or(EventError::Missing("until="))?;
    if let Some(length) = end.strip_prefix("quit for=") {
        let keep_alive_ms = Some(decode_keep_alive_ms(length)?);
        return Ok(Event::Renewed { number, until: Time::MAX, lease: false, keep_alive_ms });
    }
    let (until, lease) = match end.strip_suffix(" lease=yes") {
        Some(until) => (until, true),
        None => (end, false),
    };
    let until = decode_time(until)?;
    Ok(Event::Renewed { number, until, lease, keep_alive_ms: None })
}

/// Parses the length of a keep-alive, such as `30s`.
fn decode_keep_alive_ms(text: &str) -> Result<i64, EventError> {
    let digits = text.strip_suffix('s');
    let ms = digits.and_then(|digits| digits.parse::<i64>().ok()?.checked_mul(1000));
    let in_range = |ms: &i64| (KEEP_ALIVE_MIN_MS..=DURATION_MAX_MS).contains(ms);
    ms.filter(in_range).ok_or_else(|| EventError::InvalidLength(text.to_owned()))
}

fn decode_time(text: &str) -> Result<Time, EventError> {
    parse_utc(text).ok_or_else(|| EventError::InvalidTime(text.to_owned()))
}

fn find(text: &str, names: &Names) -> Result<ResourceId, EventError> {
    names.find_exact(text.as_bytes()).ok_or_else(|| EventError::NoResource(text.to_owned()))
}

fn decode_names(text: &str, names: &Names) -> Result<Ids, EventError> {
    text.split(", ").map(|name| find(name, names)).collect()
}

/// Parses `#42 rest`. The rest may be missing.
fn decode_number(text: &str) -> Result<(Number, &str), EventError> {
    let (head, rest) = split_at_byte(text, b' ').unwrap_or((text, ""));
    let digits = head.strip_prefix('#').unwrap_or("");
    let number = digits.parse().map_err(|_| EventError::InvalidNumber(head.to_owned()))?;
    Ok((Number(number), rest))
}

/// Parses a reservation number that nothing follows.
fn decode_number_alone(text: &str) -> Result<Number, EventError> {
    match decode_number(text)? {
        (number, "") => Ok(number),
        (number, rest) => Err(EventError::Trailing { number, text: rest.to_owned() }),
    }
}

/// Parses `option=value rest`. The value may be in quotes.
fn decode_option(text: &str) -> Result<(&str, Cow<'_, str>, &str), EventError> {
    let (option, rest) =
        split_at_byte(text, b'=').ok_or(EventError::Missing("= after an option"))?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = split_at_byte(rest, b' ').unwrap_or((rest, ""));
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
    Err(EventError::UnclosedQuote(option.to_owned()))
}

/// Splits a text at the first occurrence of an ASCII byte, which belongs to neither part. A plain
/// loop is the fastest for texts this short.
fn split_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|other| other == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Returns whether a text has a control character (Unicode class Cc).
fn has_control(text: &str) -> bool {
    // Control characters beyond ASCII begin with C2. The fold has no early exit, so the compiler
    // can vectorize it.
    let may_be = |byte: u8| byte < 0x20 || byte == 0x7F || byte == 0xC2;
    let perhaps = text.bytes().fold(false, |any, byte| any | may_be(byte));
    perhaps && text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Capacity;

    #[test]
    fn defaults_are_not_written_and_may_be_written_out() {
        let mut inventory = Inventory::new(Capacity { resources: 9, reservations: 9 });
        inventory.apply(Event::Added { name: "Sala 1".to_owned() });
        let at = "2026-11-22T16:48:54.123Z";
        let later = "2026-12-01T00:00:00.000Z";
        let cases = [
            (String::new(), format!(" from={at} until=never")),
            (format!(" until={later}"), format!(" from={at} until={later}")),
            (" until=quit".to_owned(), format!(" from={at} until=quit")),
            (format!(" from={later}"), format!(" from={later} until=never")),
            (
                r#" holder="a from=b" note="c until=\"d""#.to_owned(),
                format!(r#" from={at} until=never holder="a from=b" note="c until=\"d""#),
            ),
        ];
        for (short, long) in cases {
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

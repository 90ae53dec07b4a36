//! Upper bounds of the cost of a line before it is run, in the units of [`Inventory::work`]. They
//! are computed from the bytes of the line, which costs next to nothing.

use super::parse::{ByteClasses, SplitLine};
use super::words::find_verb;
use crate::inventory::Inventory;
use crate::limits::{ADD_MAX, COSTLY_WORK, EVENT_WORK, TARGETS_MAX};
use crate::text::Verb;

/// Returns the maximal cost of a line.
pub fn upper_bound(line: &SplitLine, inventory: &Inventory) -> u32 {
    if !may_begin_costly(line.word) {
        return 0;
    }
    let find = || find_verb(str::from_utf8(line.word).ok()?);
    match line.exact.or_else(find) {
        Some((verb, _)) => cost_of(verb, line.rest, line.classes, inventory),
        None => 0,
    }
}

/// Returns whether a line with this first word may be costly. Tests only the first letter, so that
/// most lines need no lookup in the table of verbs.
fn may_begin_costly(word: &[u8]) -> bool {
    matches!(word[0].to_ascii_uppercase(), b'A' | b'B' | b'C' | b'L' | b'R' | b'W' | 0x80..)
}

fn cost_of(verb: Verb, rest: &[u8], classes: ByteClasses, inventory: &Inventory) -> u32 {
    let cost = match verb {
        Verb::List => inventory.list_cost(has_targets(rest)),
        Verb::Bookings => inventory.list_cost(has_targets(rest)) + bookings(rest, inventory),
        Verb::Reserve | Verb::When if !classes.any(ByteClasses::STAR) => search(rest, inventory),
        Verb::Reserve | Verb::When => match inventory.choice_cost(TARGETS_MAX) {
            // Matching is cheap even with the maximal number of patterns, so the patterns are not
            // counted.
            most if most <= COSTLY_WORK as usize => most,
            _ => match patterns(rest) {
                0 => search(rest, inventory),
                count => inventory.choice_cost(count),
            },
        },
        Verb::Add => added(rest) * EVENT_WORK,
        _ => 0,
    };
    u32::try_from(cost).unwrap_or(u32::MAX)
}

/// Returns the targets as written, which is the text before the first option. Names contain no `=`.
fn targets(rest: &[u8]) -> &[u8] {
    let Some(sign) = memchr::memchr(b'=', rest) else { return rest };
    let word = rest[..sign].iter().rposition(|byte| matches!(byte, b' ' | b'\t'));
    &rest[..word.unwrap_or(0)]
}

fn has_targets(rest: &[u8]) -> bool {
    targets(rest).iter().any(|byte| !matches!(byte, b' ' | b'\t'))
}

fn items(rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    targets(rest).split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn patterns(rest: &[u8]) -> usize {
    if memchr::memchr(b'*', rest).is_none() {
        return 0;
    }
    items(rest).filter(|item| item.contains(&b'*')).count()
}

/// Returns the maximal number of bookings that a list visits.
fn bookings(rest: &[u8], inventory: &Inventory) -> usize {
    match patterns(rest) {
        0 if has_targets(rest) => named_bookings(rest, inventory),
        _ => inventory.reservation_count(),
    }
}

/// Returns the maximal number of bookings that a search for a free interval visits.
fn search(rest: &[u8], inventory: &Inventory) -> usize {
    const COSTLY: u64 = COSTLY_WORK as u64;
    // With so few reservations in total, no search is costly. This is the usual case, and saves
    // looking up names.
    match inventory.reservation_count() as u64 {
        ..=COSTLY => 0,
        _ => named_bookings(rest, inventory),
    }
}

fn named_bookings(rest: &[u8], inventory: &Inventory) -> usize {
    let has_gap =
        |item: &[u8]| item.contains(&b'\t') || memchr::memmem::find(item, b"  ").is_some();
    let bookings = |item| match has_gap(item) {
        // A name with other gaps than single spaces is rare, and counts as one that may have all
        // bookings.
        true => inventory.reservation_count(),
        false => inventory.bookings_at_most(item),
    };
    items(rest).map(bookings).sum()
}

/// Returns the number of names that a line adds, including those of ranges, up to [`ADD_MAX`].
fn added(rest: &[u8]) -> usize {
    let count = items(rest).map(|item| range(item).unwrap_or(1));
    count.fold(0, usize::saturating_add).min(ADD_MAX)
}

/// Returns the number of names in a range such as `Sala 1..50`.
fn range(item: &[u8]) -> Option<usize> {
    let text = str::from_utf8(item).ok()?;
    let (head, last) = text.rsplit_once("..")?;
    let digits = head.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (first, last): (u64, u64) = (head[head.len() - digits..].parse().ok()?, last.parse().ok()?);
    usize::try_from(last.checked_sub(first)?.saturating_add(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Capacity, Event, Interval, Number, Reservation, ResourceId};
    use crate::time::Time;

    /// Returns an inventory of 100 rooms, the first with 6,000 bookings.
    fn inventory() -> Inventory {
        let mut inventory = Inventory::new(Capacity { resources: 1000, reservations: 10_000 });
        for n in 0..100 {
            inventory.apply(Event::Added { name: format!("Sala {n}") });
        }
        for n in 1..=6000 {
            let from = Time::from_ms(n as i64 * 1000);
            let new = Reservation::new(
                Number(n),
                &[ResourceId(0)],
                Interval { from, until: from.plus_ms(1000) },
            );
            inventory.apply(Event::Reserved(new.into()));
        }
        inventory
    }

    #[test]
    fn first_letter_of_every_costly_verb_is_known() {
        for (verb, es, en) in crate::text::VERBS {
            let is_costly = matches!(
                verb,
                Verb::List | Verb::Bookings | Verb::Reserve | Verb::When | Verb::Add
            );
            for word in [es, en, &es.to_lowercase()] {
                assert!(!is_costly || may_begin_costly(word.as_bytes()), "{word}");
            }
        }
        assert!(may_begin_costly("Álta".as_bytes()) && !may_begin_costly(b"VERIFY"));
    }

    #[test]
    fn cost_is_known_before_the_line_is_run() {
        let inventory = inventory();
        let of = |verb, rest: &str| {
            let rest = rest.as_bytes();
            cost_of(verb, rest, ByteClasses::of(rest), &inventory)
        };
        assert_eq!(of(Verb::List, ""), 100);
        assert_eq!(of(Verb::List, "desde=2030-01-01"), 100);
        let matched = of(Verb::List, "*a*");
        assert!((200..400).contains(&matched), "{matched}");
        assert!(of(Verb::Bookings, "") >= 6100);
        assert!(of(Verb::Bookings, "Sala 1") < 400);
        assert!(of(Verb::Bookings, " Sala  0 titular=ana") >= 6100);
        assert_eq!(of(Verb::Reserve, "Sala 1"), 0);
        assert_eq!(of(Verb::Reserve, "SALA 0, Sala 1 por=1h"), 6000);
        assert_eq!(of(Verb::Reserve, "Sala 1 nota=\"a*, b*\""), 0);
        assert!(of(Verb::When, "*a*, *b*") > of(Verb::When, "*a*"));
        assert_eq!(of(Verb::Add, "a, b, c"), 3 * EVENT_WORK as u32);
        assert_eq!(of(Verb::Add, "x 1..50, y"), 51 * EVENT_WORK as u32);
        assert_eq!(of(Verb::Add, "x 0..18446744073709551615"), (ADD_MAX * EVENT_WORK) as u32);
        assert_eq!(of(Verb::Add, "x 5..4"), EVENT_WORK as u32);
        assert_eq!(of(Verb::Cancel, "Sala 0"), 0);
    }
}

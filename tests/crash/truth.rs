//! The state that must exist after a crash, according to the replies to the clients.

use std::collections::{BTreeMap, BTreeSet};

use crate::load::{Asked, Wish, granted, is_brief, leave};
use support::view::{Booking, View};

#[derive(Default)]
pub struct Truth {
    /// The reservations by number.
    pub bookings: BTreeMap<u64, Booking>,
    /// The resources that clients have added and not removed.
    pub added: BTreeSet<String>,
    /// Every number that was ever in a reply.
    numbers: BTreeSet<u64>,
    /// The last number at the start of the server.
    floor: u64,
    /// Requests that the last server left without a reply, with their client.
    unanswered: Vec<(String, Asked)>,
    /// The requests of these that have a key, to be repeated.
    retries: BTreeMap<String, Vec<Asked>>,
    pub figures: Figures,
}

#[derive(Default)]
pub struct Figures {
    pub answers: usize,
    pub acknowledged: usize,
    pub unanswered: usize,
    /// Reservations without a reply that existed after the crash.
    pub done_unsaid: usize,
    /// Retries whose reply had the number from before the crash.
    pub same_number: usize,
}

impl Truth {
    /// Takes the requests that a client with this name has to repeat.
    pub fn retries(&mut self, holder: &str) -> Vec<Asked> {
        self.retries.remove(holder).unwrap_or_default()
    }

    /// Adds the requests and replies of one client, in their order.
    pub fn add(&mut self, holder: &str, log: Vec<Asked>) {
        let mut last = 0;
        for asked in log {
            let Some(answer) = &asked.answer else {
                self.figures.unanswered += 1;
                self.unanswered.push((holder.to_owned(), asked));
                continue;
            };
            self.figures.answers += 1;
            if answer.starts_with("ERR ") {
                self.check_refusal(&asked, answer);
                continue;
            }
            self.figures.acknowledged += 1;
            match &asked.wish {
                Wish::Reserve { note, targets, keyed } => {
                    let (number, booking) = granted(answer, holder, note).unwrap();
                    if *keyed && self.is_known(note, number, &booking) {
                        continue;
                    }
                    assert_eq!(booking.names.len(), targets.len(), "{}: {answer}", asked.line);
                    assert!(number > self.floor.max(last), "#{number} comes late: {answer}");
                    assert!(self.numbers.insert(number), "#{number} was given twice: {answer}");
                    self.bookings.insert(number, booking);
                    last = number;
                }
                Wish::Cancel(number) => {
                    self.bookings.remove(number);
                }
                Wish::Leave(number, name) => {
                    assert_eq!(*answer, format!("OK CANCELADO #{number} {name}"));
                    leave(&mut self.bookings, *number, name);
                }
                Wish::Renew(number, date) => {
                    let (_, until) = answer.split_once(" hasta=").expect("a new end");
                    assert!(until.starts_with(date.as_str()), "{}: {answer}", asked.line);
                    until.clone_into(&mut self.bookings.get_mut(number).unwrap().until);
                }
                Wish::Add(names) => self.added.extend(names.iter().cloned()),
                Wish::Remove(name) => {
                    self.added.remove(name);
                }
                Wish::Quit => {
                    self.bookings
                        .retain(|_, booking| booking.until != "salir" || booking.holder != holder);
                }
            }
        }
    }

    /// Returns whether this reservation is already known under its key. The reply is then the same.
    fn is_known(&mut self, note: &str, number: u64, booking: &Booking) -> bool {
        let Some((known, before)) = self.bookings.iter().find(|(_, booking)| booking.note == note)
        else {
            return false;
        };
        assert_eq!(
            (*known, &before.names),
            (number, &booking.names),
            "a key with two reservations"
        );
        self.figures.same_number += 1;
        true
    }

    /// Checks that a key whose reservation is live is not refused.
    fn check_refusal(&self, asked: &Asked, answer: &str) {
        if let Wish::Reserve { note, keyed: true, .. } = &asked.wish {
            let alive = self.bookings.values().any(|booking| booking.note == *note);
            assert!(!alive, "its key holds already: {}: {answer}", asked.line);
        }
    }

    /// Compares with the lists of a new server, which decide about the requests without a reply.
    pub fn check(&mut self, view: &View) {
        self.check_known(view);
        self.check_unknown(view);
        self.check_resources(view);
        check_overlaps(&view.bookings);
        assert!(self.numbers.last().is_none_or(|last| *last <= view.last_number));
        self.bookings = view.bookings.clone();
        self.floor = view.last_number;
        self.retries.clear();
        for (holder, asked) in self.unanswered.drain(..) {
            if matches!(asked.wish, Wish::Reserve { keyed: true, .. }) {
                self.retries.entry(holder).or_default().push(asked);
            }
        }
    }

    /// Checks that acknowledged reservations are unchanged, except for changes that were requested
    /// and not answered.
    fn check_known(&self, view: &View) {
        for (number, booking) in &self.bookings {
            let found = view.bookings.get(number);
            if booking.until == "salir" {
                assert!(found.is_none(), "#{number} was bound to a connection: {booking:?}");
                continue;
            }
            if is_brief(&booking.note) && booking.until <= view.times.0 {
                assert!(found.is_none(), "#{number} has ended: {booking:?}");
                continue;
            }
            let (mut names, mut until, mut over) =
                (booking.names.clone(), None, is_brief(&booking.note));
            for (_, asked) in &self.unanswered {
                match &asked.wish {
                    Wish::Cancel(of) if of == number => over = true,
                    Wish::Renew(of, date) if of == number => until = Some(date),
                    Wish::Leave(of, name) if of == number => {
                        names.remove(name);
                    }
                    _ => {}
                }
            }
            let Some(found) = found else {
                assert!(over || names.is_empty(), "#{number} is lost: {booking:?}");
                continue;
            };
            let expected = (&booking.holder, &booking.note);
            assert_eq!(expected, (&found.holder, &found.note), "#{number}");
            assert!(
                booking.from.is_empty() || booking.from == found.from,
                "{booking:?}: {found:?}"
            );
            assert!(found.names == booking.names || found.names == names, "{booking:?}: {found:?}");
            let renewed = until.is_some_and(|date| found.until.starts_with(date.as_str()));
            assert!(renewed || found.until == booking.until, "{booking:?}: {found:?}");
        }
    }

    /// Checks that every other reservation was requested, is complete, and exists once.
    fn check_unknown(&mut self, view: &View) {
        let mut open = BTreeMap::new();
        for (holder, asked) in &self.unanswered {
            if let Wish::Reserve { note, targets, .. } = &asked.wish {
                open.insert(note.clone(), (holder.clone(), targets.clone()));
            }
        }
        for (number, booking) in &view.bookings {
            assert_ne!(booking.until, "salir", "#{number} is bound to a connection: {booking:?}");
            if self.bookings.contains_key(number) {
                // Requested twice with its key, and answered once.
                open.remove(&booking.note);
                continue;
            }
            let Some((holder, targets)) = open.remove(&booking.note) else {
                panic!("#{number} was refused, cancelled, or is there twice: {booking:?}");
            };
            assert!(self.numbers.insert(*number), "#{number} was given twice");
            assert!(*number > self.floor, "#{number} comes after #{}", self.floor);
            assert_eq!(holder, booking.holder);
            assert_eq!(booking.names.len(), targets.len(), "#{number} is not whole: {booking:?}");
            let mut named = targets.iter().filter(|target| !target.contains('*'));
            assert!(named.all(|name| booking.names.contains(name)), "{targets:?}: {booking:?}");
            self.figures.done_unsaid += 1;
        }
    }

    /// Checks the clients' own resources: those of one `ALTA` all exist or none of them.
    fn check_resources(&mut self, view: &View) {
        let found = view.resources().into_iter().filter(|name| name.starts_with('c'));
        let mut found: BTreeSet<_> = found.collect();
        let all = found.clone();
        for (_, asked) in &self.unanswered {
            match &asked.wish {
                Wish::Add(names) => {
                    let there = names.iter().filter(|name| found.remove(*name)).count();
                    assert!([0, names.len()].contains(&there), "half of it: {}", asked.line);
                }
                Wish::Remove(name) if !found.contains(name) => {
                    self.added.remove(name);
                }
                _ => {}
            }
        }
        assert_eq!(found, self.added, "resources that were added and not removed");
        self.added = all;
    }
}

/// Checks that no resource is reserved twice for the same time. All times have one zone and form,
/// so they are ordered as texts.
fn check_overlaps(bookings: &BTreeMap<u64, Booking>) {
    let mut by_name: BTreeMap<&str, Vec<(&str, &str, u64)>> = BTreeMap::new();
    for (number, booking) in bookings {
        for name in &booking.names {
            let end = if booking.until == "-" { "9" } else { &booking.until };
            by_name.entry(name).or_default().push((&booking.from, end, *number));
        }
    }
    for (name, mut times) in by_name {
        times.sort_unstable();
        for pair in times.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{name} is reserved twice: {pair:?}");
        }
    }
}

//! A shortcut for the two most frequent lines: `RESERVAR` and `CANCELAR` of one resource, written
//! exactly as in the table of verbs and in the inventory, without options.
//!
//! It gives the same result as the general path without building the command. It saves more than
//! half of the server's instructions for such a line. If it cannot answer `OK`, it changes nothing
//! and leaves the line to the general path. A test of this module compares replies and events of
//! both paths.
//!
//! Rights: a reservation needs none, since it has no key. A cancellation by name uses
//! [`Inventory::reservation_to_cancel`], as the general path does.

use std::rc::Rc;

use super::{CommandContext, Session};
use crate::conn::Eol;
use crate::inventory::{Interval, Inventory, Principal, Reservation, ResourceId};
use crate::text::{Lang, Verb};
use crate::time::Time;

/// Runs a line, or returns `None` if the general path has to run it.
#[inline(always)]
pub fn run(
    line: &[u8],
    eol: Eol,
    session: &mut Session,
    context: &mut CommandContext,
    out: &mut Vec<u8>,
) -> Option<()> {
    // The first line of a connection may be a request of HTTP.
    if session.is_fresh {
        return None;
    }
    let (verb, lang, name) = split(line)?;
    let (id, name) = find(context.inventory, session.last_resource, name)?;
    session.last_resource = id;
    let now = context.request_time.now.wall;
    let (pending, subject) = if verb == Verb::Reserve {
        let new = reserve(context.inventory, id, &session.principal, now)?;
        context.batch.write_reserved(now, new, name)
    } else {
        let (number, is_all) =
            context.inventory.reservation_to_cancel(id, &session.principal).ok()?;
        context.batch.write_cancelled(now, (number, id), name, is_all)
    };
    push_reply(verb, subject, lang, eol, out);
    context.inventory.apply_logged(pending, context.batch);
    session.lang = lang;
    context.grant_waiters();
    Some(())
}

/// Splits a line at the space after one of the two verbs.
fn split(line: &[u8]) -> Option<(Verb, Lang, &[u8])> {
    let strip = |verb, lang, word| line.strip_prefix(word).map(|rest| (verb, lang, rest));
    strip(Verb::Reserve, Lang::Es, b"RESERVAR ".as_slice())
        .or_else(|| strip(Verb::Cancel, Lang::Es, b"CANCELAR "))
        .or_else(|| strip(Verb::Reserve, Lang::En, b"RESERVE "))
        .or_else(|| strip(Verb::Cancel, Lang::En, b"CANCEL "))
}

/// Returns the resource with a name that is written exactly as in the inventory. Tries `guess`
/// first, because many clients cancel the resource that they reserved last.
#[inline]
fn find<'a>(
    inventory: &'a Inventory,
    guess: ResourceId,
    name: &[u8],
) -> Option<(ResourceId, &'a str)> {
    if inventory.is_live(guess) {
        let guessed = inventory.names().texts().name(guess);
        if guessed.as_bytes() == name {
            return Some((guess, guessed));
        }
    }
    inventory.names().find_exact_name(name)
}

/// Returns the reservation that [`Inventory::reserve`] would grant for this resource from now on
/// without an end, if it is free.
#[inline]
fn reserve(
    inventory: &Inventory,
    id: ResourceId,
    principal: &Principal,
    now: Time,
) -> Option<Rc<Reservation>> {
    let interval = Interval::starting_at(now);
    if inventory.is_full() || inventory.overlap(id, interval).is_some() {
        return None;
    }
    let mut new = Reservation::new(inventory.last_number().next(), &[id], interval);
    new.holder = principal.holder.clone();
    Some(Rc::new(new))
}

/// Appends the reply. `subject` is the number and the name, `#42 Habitación 1`.
#[inline]
fn push_reply(verb: Verb, subject: &str, lang: Lang, eol: Eol, out: &mut Vec<u8>) {
    // The compiler copies texts of a known length without a call.
    match (verb, lang) {
        (Verb::Reserve, Lang::Es) => out.extend_from_slice(b"OK RESERVADO "),
        (Verb::Reserve, Lang::En) => out.extend_from_slice(b"OK RESERVED "),
        (_, Lang::Es) => out.extend_from_slice(b"OK CANCELADO "),
        (_, Lang::En) => out.extend_from_slice(b"OK CANCELLED "),
    }
    out.extend_from_slice(subject.as_bytes());
    match eol {
        Eol::Lf => out.push(b'\n'),
        Eol::CrLf => out.extend_from_slice(b"\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parse::RequestTime;
    use crate::commands::{Flow, Stats, run_general};
    use crate::inventory::event::Batch;
    use crate::inventory::{Capacity, SessionId};
    use crate::store::History;
    use crate::time::{ClockReading, Zone};

    /// A server that runs its lines with or without the shortcut.
    struct Server {
        has_shortcut: bool,
        shortcuts: usize,
        inventory: Inventory,
        sessions: Vec<Session>,
    }

    impl Server {
        fn new(has_shortcut: bool) -> Server {
            let inventory = Inventory::new(Capacity { resources: 20, reservations: 4 });
            let sessions = (1..=4).map(|id| Session::new(SessionId(id))).collect();
            Server { has_shortcut, shortcuts: 0, inventory, sessions }
        }

        /// Returns the reply and the events of a line.
        fn run(&mut self, at: usize, line: &str, now_ms: i64) -> (String, Vec<String>) {
            let (zone, history) = (Zone::utc(), History::default());
            let (mut batch, mut out) = (Batch::default(), Vec::new());
            let mut context = CommandContext {
                inventory: &mut self.inventory,
                batch: &mut batch,
                history: &history,
                request_time: RequestTime {
                    now: ClockReading::at(Time::from_ms(now_ms)),
                    zone: &zone,
                },
                stats: &Stats::default,
            };
            let (line, session) = (line.as_bytes(), &mut self.sessions[at]);
            let eol = if at == 0 { Eol::CrLf } else { Eol::Lf };
            let done = match self.has_shortcut {
                true => run(line, eol, session, &mut context, &mut out),
                false => None,
            };
            self.shortcuts += usize::from(done.is_some());
            if done.is_none()
                && let Flow::List(mut list) =
                    run_general(line, eol, session, &mut context, &mut out)
            {
                while list.fill(1000, &mut out) {}
            }
            let events = batch.iter().map(|(number, subject, text)| {
                format!("{number} {subject:?} {text} {:?}", batch.for_journal().collect::<Vec<_>>())
            });
            (String::from_utf8(out).unwrap(), events.collect())
        }
    }

    /// Returns a random line of one of the kinds that the shortcut handles or must leave alone.
    fn random_line(below: &mut impl FnMut(usize) -> usize) -> String {
        const NAMES: [&str; 8] =
            ["Sala 1", "Sala 2", "sala 1", "Árbol", "ARBOL", "Nada", "Sala 1, Sala 2", "#3"];
        let name = NAMES[below(NAMES.len())];
        match below(24) {
            0..8 => format!("RESERVAR {name}"),
            8 => format!("RESERVE {name}"),
            9..16 => format!("CANCELAR {name}"),
            16 => format!("CANCEL {name}"),
            17 => format!("RESERVAR {name} desde=2030-01-01 noches=2"),
            18 => format!("RESERVAR {name} por=10s espera=1h"),
            19 => format!("{} Sala 3", ["ALTA", "BAJA"][below(2)]),
            20 => format!("SOY {}", ["ana", "luis"][below(2)]),
            21 => "RESERVAS".to_owned(),
            22 => format!("reservar {name}"),
            _ => format!("RESERVAR  {name} "),
        }
    }

    /// Two servers run the same random lines, one of them without the shortcut.
    #[test]
    fn shortcut_and_general_path_agree() {
        let mut state = 7u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        let mut shortcuts = 0;
        for _ in 0..500 {
            let (mut with, mut without) = (Server::new(true), Server::new(false));
            for step in 0..40 {
                let line = match step {
                    0 => "ALTA Sala 1..3, Árbol".to_owned(),
                    _ => random_line(&mut below),
                };
                // The first session has no holder.
                let at = if line.starts_with("SOY") { 1 + below(2) } else { below(3) };
                let now_ms = step * 1000;
                let (one, other) = (with.run(at, &line, now_ms), without.run(at, &line, now_ms));
                assert_eq!(one, other, "{line}");
            }
            shortcuts += with.shortcuts;
        }
        assert!(shortcuts > 1000, "{shortcuts} lines are too few to test it");
    }
}

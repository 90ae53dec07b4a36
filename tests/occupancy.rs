//! Checks from the events of a journal that no resource was ever reserved twice at one instant.

use std::collections::HashMap;

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::{Capacity, Inventory, SessionId};
use reservad::store::History;
use reservad::time::{ClockReading, Time, Zone, parse_utc};
use support::{Rng, seed};

const START: Time = Time::from_ms(1_795_363_200_000);
const STEPS: usize = 4_000;

/// A server without sockets: an inventory, the time, and all events.
struct Server {
    inventory: Inventory,
    now: Time,
    events: Vec<String>,
}

impl Server {
    fn new() -> Server {
        let capacity = Capacity { resources: 9, reservations: 1000 };
        let inventory = Inventory::new(capacity);
        let mut server = Server { inventory, now: START, events: Vec::new() };
        assert_eq!(server.run("ALTA Sala 1..4"), "OK ALTA 4\n");
        server
    }

    fn run(&mut self, line: &str) -> String {
        let (zone, mut batch, mut out) = (Zone::utc(), Batch::default(), Vec::new());
        let now = ClockReading::at(self.now);
        self.inventory.advance(now, &zone, &mut batch);
        let mut session = Session::new(SessionId(1));
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut batch,
            history: &History::default(),
            request_time: RequestTime { now, zone: &zone },
            stats: &Stats::default,
        };
        commands::run(line.as_bytes(), Eol::Lf, &mut session, &mut context, &mut out);
        self.events.extend(batch.iter().map(|(_, _, text)| text.to_owned()));
        String::from_utf8(out).unwrap()
    }

    /// Returns an instant between an hour ago and two hours ahead, as a client writes it.
    fn instant(&self, rng: &mut Rng) -> String {
        let offset_ms = (rng.below(180) as i64 - 60) * 60_000;
        Zone::utc().text(self.now.plus_ms(offset_ms), reservad::time::Round::Down)
    }

    fn random_line(&self, rng: &mut Rng) -> String {
        let number = self.inventory.last_number().0.saturating_sub(rng.below(6) as u64);
        let end = match rng.below(4) {
            0 => String::new(),
            1 => format!(" hasta={}", self.instant(rng)),
            _ => format!(" por={}m", 1 + rng.below(150)),
        };
        match rng.below(10) {
            0..=5 => {
                let target = rng.pick(&["Sala 1", "Sala 2", "Sala 3", "Sala *", "Sala 1, Sala *"]);
                let start = match rng.one_in(3) {
                    true => String::new(),
                    false => format!(" desde={}", self.instant(rng)),
                };
                format!("RESERVAR {target}{start}{end}")
            }
            6 => format!("CANCELAR #{number}"),
            7 => format!("CANCELAR Sala {}", 1 + rng.below(4)),
            _ => format!("RENOVAR #{number}{end}"),
        }
    }
}

/// Returns the intervals in which each resource was reserved: `(from, to, number)`.
fn held(events: &[String]) -> HashMap<String, Vec<(Time, Time, u64)>> {
    let mut live: HashMap<u64, (Time, Time, Vec<String>)> = HashMap::new();
    let mut held: HashMap<String, Vec<_>> = HashMap::new();
    for event in events {
        let (time, rest) = event.split_once(' ').unwrap();
        let (word, rest) = rest.split_once(' ').unwrap();
        let time = parse_utc(time).unwrap();
        let Some(rest) = rest.strip_prefix('#') else { continue };
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let number = number.parse().unwrap();
        let options = rest.find('=').map_or(rest.len(), |at| rest[..at].rfind(' ').unwrap_or(0));
        let (names, options) = rest.split_at(options);
        let names = names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned);
        let names: Vec<_> = names.collect();
        let option = |option: &str| {
            let value = options.split(' ').find_map(|word| word.strip_prefix(option));
            value.filter(|value| *value != "never").map(|value| parse_utc(value).unwrap())
        };
        match word {
            "RESERVED" => {
                let until = option("until=").unwrap_or(Time::MAX);
                live.insert(number, (option("from=").unwrap_or(time), until, names));
            }
            "RENEWED" => live.get_mut(&number).unwrap().1 = option("until=").unwrap(),
            "CANCELLED" | "EXPIRED" => {
                let (from, _, all) = live.get_mut(&number).unwrap();
                let gone = if names.is_empty() { all.clone() } else { names };
                all.retain(|name| !gone.contains(name));
                for name in gone.into_iter().filter(|_| *from < time) {
                    held.entry(name).or_default().push((*from, time, number));
                }
                if all.is_empty() {
                    live.remove(&number);
                }
            }
            other => panic!("{other}"),
        }
    }
    for (number, (from, until, names)) in live {
        names
            .into_iter()
            .for_each(|name| held.entry(name).or_default().push((from, until, number)));
    }
    held
}

/// Regression test: a reservation with a start in the past was compared with live reservations
/// only, so that the journal could record two reservations of one room at one time.
#[test]
fn no_resource_is_reserved_twice_in_the_whole_journal() {
    let mut rng = Rng(seed());
    let mut server = Server::new();
    let mut granted_in_the_past = 0;
    for _ in 0..STEPS {
        server.now = server.now.plus_ms(rng.below(20 * 60_000) as i64);
        let line = server.random_line(&mut rng);
        let reply = server.run(&line);
        let said = line.split_once(" desde=").map(|(_, rest)| rest.split(' ').next().unwrap());
        if let Some(said) = said.filter(|_| reply.starts_with("OK RESERVADO")) {
            let said = Zone::utc().parse(said, server.now).unwrap();
            granted_in_the_past += usize::from(said < server.now);
        }
    }
    assert!(granted_in_the_past > 50, "only {granted_in_the_past} grants of a start in the past");
    let mut compared = 0;
    for (name, mut intervals) in held(&server.events) {
        intervals.sort();
        for pair in intervals.windows(2) {
            let [(_, to, one), (from, _, other)] = pair else { unreachable!() };
            assert!(to <= from, "#{one} and #{other} both held {name} at {}", from.ms());
            compared += 1;
        }
    }
    assert!(compared > 100, "only {compared} neighbours were compared");
}

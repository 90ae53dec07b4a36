//! The events that watchers received, over all crashes: each once and in order, and consistent with
//! the lists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use support::view::{Booking, View};
use support::{Client, PATIENCE};

/// Notices with the numbers of their events.
pub type Notices = Vec<(u64, String)>;

#[derive(Default)]
pub struct Story {
    /// The last notices, to compare them with repetitions.
    notices: BTreeMap<u64, String>,
    pub last: u64,
    live: BTreeMap<u64, Tale>,
    resources: BTreeSet<String>,
    last_number: u64,
    /// How often a watcher had to start again without history.
    pub gaps: usize,
}

/// A reservation according to the events.
struct Tale {
    names: BTreeSet<String>,
    /// Empty if the notice does not contain it.
    until: String,
}

/// The number of notices kept for comparison.
const KEPT: usize = 2000;

impl Story {
    /// Adds the notices of one watcher.
    pub fn add(&mut self, notices: Notices) {
        for (number, line) in notices {
            if number <= self.last {
                let before = self.notices.get(&number);
                assert!(before.is_none_or(|before| *before == line), "{before:?} is now {line}");
                continue;
            }
            if number > self.last + 1 {
                return; // The watcher had to skip some; the lists will tell.
            }
            self.take(&line);
            self.last = number;
            self.notices.insert(number, line);
            if self.notices.len() > KEPT {
                self.notices.pop_first();
            }
        }
    }

    fn take(&mut self, line: &str) {
        let mut words = line.splitn(4, ' ');
        let (word, rest) = (words.nth(2).unwrap(), words.next().unwrap());
        if matches!(word, "ALTA" | "BAJA") {
            let fresh = match word {
                "ALTA" => self.resources.insert(rest.to_owned()),
                _ => self.resources.remove(rest),
            };
            assert!(fresh, "a second time: {line}");
            return;
        }
        let (number, rest) = rest.strip_prefix('#').unwrap().split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        let end = rest.find(" desde=").or_else(|| rest.find(" hasta=")).unwrap_or(rest.len());
        let names: BTreeSet<_> = rest[..end].split(", ").map(str::to_owned).collect();
        let until = rest.split_once(" hasta=").map_or("", |(_, until)| until).to_owned();
        match word {
            "RESERVADO" => {
                assert_eq!(number, self.last_number + 1, "numbers have a gap: {line}");
                self.last_number = number;
                let until = if until.is_empty() { "-".to_owned() } else { until };
                self.live.insert(number, Tale { names, until });
            }
            "RENOVADO" => {
                let tale = self.live.get_mut(&number).expect("a live reservation");
                assert_eq!(tale.names, names, "{line}");
                tale.until = until;
            }
            "CANCELADO" | "VENCIDO" => {
                let tale = self.live.get_mut(&number).unwrap_or_else(|| panic!("again: {line}"));
                assert!(names.iter().all(|name| tale.names.remove(name)), "{line}");
                let is_over = tale.names.is_empty();
                assert!(is_over || word == "CANCELADO", "{line}");
                if is_over {
                    self.live.remove(&number);
                }
            }
            _ => panic!("{line}"),
        }
    }

    /// Reads the later events from a new server, and compares all events with its lists.
    pub fn check(&mut self, address: SocketAddr, view: &View) {
        assert!(self.last <= view.last_event, "event {} was received and is missing", self.last);
        if self.last < view.last_event {
            self.add(watch(address, self.last, view.last_event));
        }
        if self.last < view.last_event {
            self.restart(view);
            return;
        }
        let bookings: Vec<_> = view.bookings.iter().map(shown).collect();
        let live = self.live.iter().map(|(n, tale)| (*n, &tale.names, &*tale.until));
        assert_eq!(live.collect::<Vec<_>>(), bookings);
        assert_eq!(self.resources, view.resources());
        assert_eq!(self.last_number, view.last_number);
    }

    /// Starts from the lists, after a compaction has dropped events.
    fn restart(&mut self, view: &View) {
        let tale = |(number, booking): (&u64, &Booking)| {
            (*number, Tale { names: booking.names.clone(), until: booking.until.clone() })
        };
        self.live = view.bookings.iter().map(tale).collect();
        self.resources = view.resources();
        self.last_number = view.last_number;
        self.last = view.last_event;
        self.notices.clear();
        self.gaps += 1;
    }
}

fn shown<'a>((number, booking): (&u64, &'a Booking)) -> (u64, &'a BTreeSet<String>, &'a str) {
    (*number, &booking.names, &booking.until)
}

/// Watches from the event after `after` to the end of the connection or to event `to`. The numbers
/// have no gaps. If the first events are not held any more, it starts with the first one held.
pub fn watch(address: SocketAddr, after: u64, to: u64) -> Notices {
    let mut notices = Notices::new();
    let Ok(stream) = std::net::TcpStream::connect_timeout(&address, PATIENCE) else {
        return notices;
    };
    let mut client = Client::from_stream(stream);
    let mut after = after;
    loop {
        if !client.try_send(format!("OBSERVAR tras={after}\n")) {
            return notices;
        }
        let Some(reply) = client.try_line() else { return notices };
        if reply == format!("OK OBSERVANDO tras={after}") {
            break;
        }
        let (head, held) = reply.rsplit_once("tras=").unwrap();
        assert!(head.starts_with("ERR 410 "), "{reply}");
        let held: u64 = held.parse().unwrap();
        assert!(held > after, "{reply}");
        after = held;
    }
    while after < to {
        let Some(line) = client.try_line() else { break };
        if line.starts_with("* FIN ") {
            break;
        }
        after += 1;
        assert!(line.starts_with(&format!("* {after} ")), "not event {after}: {line}");
        notices.push((after, line));
    }
    notices
}

//! The state of a server as its lists show it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Client, Server};

/// A reservation as `RESERVAS` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Booking {
    pub names: BTreeSet<String>,
    pub holder: String,
    pub note: String,
    pub from: String,
    /// A time as printed, `-` or `salir`.
    pub until: String,
}

/// Returns the reservations by number.
pub fn bookings(server: &Server) -> BTreeMap<u64, Booking> {
    let mut client = server.connect();
    bookings_of(&client.list("RESERVAS"))
}

fn bookings_of(lines: &[String]) -> BTreeMap<u64, Booking> {
    let mut bookings: BTreeMap<u64, Booking> = BTreeMap::new();
    for line in lines {
        let fields: Vec<_> = line.split('\t').collect();
        let number = fields[0].strip_prefix('#').unwrap().parse().unwrap();
        let booking = bookings.entry(number).or_insert_with(|| Booking {
            names: BTreeSet::new(),
            holder: fields[2].to_owned(),
            note: fields[5].to_owned(),
            from: fields[3].to_owned(),
            until: fields[4].to_owned(),
        });
        assert!(booking.names.insert(fields[1].to_owned()), "repeated in a list: {line}");
    }
    bookings
}

/// The state between two events.
pub struct View {
    pub bookings: BTreeMap<u64, Booking>,
    /// The names of the free resources.
    pub free: BTreeSet<String>,
    pub last_number: u64,
    pub last_event: u64,
    pub journal_bytes: u64,
    /// The server's time before and after the state was read, as printed.
    pub times: (String, String),
}

impl View {
    /// Reads the state, again if it changes meanwhile.
    pub fn of(server: &Server) -> View {
        let mut client = server.connect();
        loop {
            let before = stats(&mut client);
            let view = View {
                bookings: bookings_of(&client.list("RESERVAS")),
                free: client.list("LISTAR").into_iter().collect(),
                last_number: before["last_number"].parse().unwrap(),
                last_event: before["last_event"].parse().unwrap(),
                journal_bytes: before["journal_bytes"].parse().unwrap(),
                times: (before["time"].clone(), String::new()),
            };
            let after = stats(&mut client);
            // A lease may have ended in between.
            if after["last_event"] == before["last_event"] {
                let times = (view.times.0, after["time"].clone());
                return View { times, ..view };
            }
        }
    }

    /// Returns the names of all resources, which are free or reserved now.
    pub fn resources(&self) -> BTreeSet<String> {
        let reserved = self.bookings.values().flat_map(|booking| booking.names.iter().cloned());
        reserved.chain(self.free.iter().cloned()).collect()
    }
}

/// Returns the lines of `ESTADO` by key.
fn stats(client: &mut Client) -> BTreeMap<String, String> {
    let lines = client.list("ESTADO");
    let pair = |line: &String| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    lines.iter().map(|line| pair(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

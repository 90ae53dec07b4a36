//! What a server shows of its state, as values.

use std::collections::{BTreeMap, BTreeSet};

use super::{Client, Server};

/// A reservation as `RESERVAS` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub names: BTreeSet<String>,
    pub holder: String,
    pub note: String,
    pub from: String,
    /// An instant as it is printed, `-` or `salir`.
    pub until: String,
}

/// What `RESERVAS` shows, by number.
pub fn rows(server: &Server) -> BTreeMap<u64, Row> {
    let mut client = server.connect();
    rows_of(&client.list("RESERVAS"))
}

fn rows_of(lines: &[String]) -> BTreeMap<u64, Row> {
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    for line in lines {
        let fields: Vec<_> = line.split('\t').collect();
        let number = fields[0].strip_prefix('#').unwrap().parse().unwrap();
        let row = rows.entry(number).or_insert_with(|| Row {
            names: BTreeSet::new(),
            holder: fields[2].to_owned(),
            note: fields[5].to_owned(),
            from: fields[3].to_owned(),
            until: fields[4].to_owned(),
        });
        assert!(row.names.insert(fields[1].to_owned()), "twice in one list: {line}");
    }
    rows
}

/// The whole state at one moment, between two events.
pub struct View {
    pub rows: BTreeMap<u64, Row>,
    /// Resources that are free now, by name.
    pub free: BTreeSet<String>,
    pub last_number: u64,
    pub last_event: u64,
    pub journal_bytes: u64,
    /// The server's time before and after it was asked, as it is printed.
    pub times: (String, String),
}

impl View {
    pub fn of(server: &Server) -> View {
        let mut client = server.connect();
        loop {
            let before = figures(&mut client);
            let view = View {
                rows: rows_of(&client.list("RESERVAS")),
                free: client.list("LISTAR").into_iter().collect(),
                last_number: before["last_number"].parse().unwrap(),
                last_event: before["last_event"].parse().unwrap(),
                journal_bytes: before["journal_bytes"].parse().unwrap(),
                times: (before["time"].clone(), String::new()),
            };
            let after = figures(&mut client);
            // A lease that ended in between would make it a mixture.
            if after["last_event"] == before["last_event"] {
                let times = (view.times.0, after["time"].clone());
                return View { times, ..view };
            }
        }
    }

    /// Every resource that exists: what is not free now is reserved now.
    pub fn resources(&self) -> BTreeSet<String> {
        let reserved = self.rows.values().flat_map(|row| row.names.iter().cloned());
        reserved.chain(self.free.iter().cloned()).collect()
    }
}

/// The lines of `ESTADO` by key.
fn figures(client: &mut Client) -> BTreeMap<String, String> {
    let lines = client.list("ESTADO");
    let pair = |line: &String| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    lines.iter().map(|line| pair(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

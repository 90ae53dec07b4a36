//! The clients of the load. Each uses one connection after another, sends several lines at a time,
//! and keeps a log of its requests and their replies.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Sender;

use support::view::Booking;
use support::{PATIENCE, Rng, day};

/// The effect of a request, as far as the check needs it.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Identified by its note, which no other request has. With a key it may be repeated.
    Reserve {
        note: String,
        targets: Vec<String>,
        keyed: bool,
    },
    Cancel(u64),
    /// Removes one resource from a reservation.
    Leave(u64, String),
    /// The date of the new end.
    Renew(u64, String),
    Add(Vec<String>),
    Remove(String),
    /// Ends the reservations that are bound to the connection.
    Quit,
}

/// A request and its reply, if one arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub wish: Wish,
    pub line: String,
    pub answer: Option<String>,
}

/// Parses the number and the reservation of `OK RESERVADO #42 Sala 1, Sala 2 desde=…`. Fields that
/// are not in the reply are empty.
pub fn granted(reply: &str, holder: &str, note: &str) -> Option<(u64, Booking)> {
    let rest = reply.strip_prefix("OK RESERVADO #")?;
    let (number, rest) = rest.split_once(' ').unwrap();
    let (names, times) = rest.split_once(" desde=").unwrap_or((rest, ""));
    let (from, until) = times.split_once(" hasta=").unwrap_or(("", "-"));
    let booking = Booking {
        names: names.split(", ").map(str::to_owned).collect(),
        holder: holder.to_owned(),
        note: note.to_owned(),
        from: from.to_owned(),
        until: until.to_owned(),
    };
    Some((number.parse().unwrap(), booking))
}

/// Returns whether this is the note of a lease of a second or two, which ends by itself.
pub fn is_brief(note: &str) -> bool {
    note.ends_with('b')
}

pub fn leave(bookings: &mut BTreeMap<u64, Booking>, number: u64, name: &str) {
    if let Some(booking) = bookings.get_mut(&number) {
        booking.names.remove(name);
        if booking.names.is_empty() {
            bookings.remove(&number);
        }
    }
}

/// The rooms for which all clients compete.
pub const ROOMS: usize = 24;

/// The maximal number of resources that a client adds. The journal is compacted when it is twice as
/// long as the live data.
const ADDED_MAX: usize = 30;

/// The number of reservations that the filler holds. They are the last ones of a snapshot and
/// longer than one piece, so what other clients cancel meanwhile is behind the cursor.
const FILLED: usize = 256;

/// One client, which ends with the server.
pub struct Worker {
    pub rng: Rng,
    pub holder: String,
    pub round: usize,
    /// Whether it sometimes waits for resources. Its later lines wait with it.
    pub is_patient: bool,
    /// Whether it only fills the journal, with requests of maximal size.
    pub is_filler: bool,
    /// The reservations that it holds according to the replies.
    pub mine: BTreeMap<u64, Booking>,
    /// The resources that it has added.
    pub added: BTreeSet<String>,
    /// Requests with a key that the last server left without a reply. They are sent first.
    pub retries: Vec<Asked>,
    pub count: usize,
    pub asked: Vec<Asked>,
}

impl Worker {
    pub fn run(mut self, address: SocketAddr, on_reply: Sender<()>) -> Vec<Asked> {
        while self.run_connection(address, &on_reply) {}
        self.asked
    }

    /// Uses one connection. Returns whether to open another one.
    fn run_connection(&mut self, address: SocketAddr, on_reply: &Sender<()>) -> bool {
        let Ok(stream) = TcpStream::connect(address) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let hello = format!("SOY {}\n", self.holder);
        if stream.get_mut().write_all(hello.as_bytes()).is_err() || read(&mut stream).is_none() {
            return false;
        }
        loop {
            let window = self.window();
            let lines: String = window.iter().map(|asked| asked.line.clone() + "\n").collect();
            let start = self.asked.len();
            self.asked.extend(window);
            let sent = stream.get_mut().write_all(lines.as_bytes()).is_ok();
            for at in start..self.asked.len() {
                let Some(reply) = read(&mut stream) else { return false };
                self.update(at, &reply);
                let _ = on_reply.send(());
                if matches!(self.asked[at].wish, Wish::Quit) {
                    return true;
                }
            }
            if !sent {
                return false;
            }
        }
    }

    /// Returns some lines to be sent at once. None of them refers to a resource or number of
    /// another.
    fn window(&mut self) -> Vec<Asked> {
        if !self.retries.is_empty() {
            return std::mem::take(&mut self.retries);
        }
        if self.is_filler {
            return self.fill();
        }
        let mut window = Vec::new();
        let free = self.mine.iter().filter(|(_, booking)| booking.until != "salir");
        let mut free: Vec<_> = free.map(|(number, _)| *number).collect();
        let mut removable: Vec<_> = self.added.iter().cloned().collect();
        for _ in 0..1 + self.rng.below(6) {
            let chance = if free.len() > 4 { 2 } else { 5 };
            if self.rng.one_in(chance) && !free.is_empty() {
                let number = free.swap_remove(self.rng.below(free.len()));
                window.push(self.change(number));
            } else if self.rng.one_in(12) && self.added.len() < ADDED_MAX {
                window.push(self.add());
            } else if self.rng.one_in(12) && !removable.is_empty() {
                let name = removable.swap_remove(self.rng.below(removable.len()));
                window.push(ask(Wish::Remove(name.clone()), format!("BAJA {name}")));
            } else {
                let asked = self.reserve(&mut removable);
                let keyed = matches!(asked.wish, Wish::Reserve { keyed: true, .. });
                if keyed && self.rng.one_in(3) {
                    window.push(asked.clone());
                }
                window.push(asked);
            }
        }
        if self.rng.one_in(30) {
            window.push(ask(Wish::Quit, "SALIR".to_owned()));
        }
        window
    }

    /// Returns a request that changes one of the client's reservations.
    fn change(&mut self, number: u64) -> Asked {
        let names = &self.mine[&number].names;
        let first = names.first().cloned().unwrap();
        // Only by name if the client has no other reservation of that resource.
        let others = self.mine.values().filter(|booking| booking.names.contains(&first)).count();
        match self.rng.below(4) {
            0 => {
                let date = day(self.rng.below(90));
                let line = format!("RENOVAR #{number} hasta={date}");
                ask(Wish::Renew(number, date), line)
            }
            1 if others == 1 => {
                ask(Wish::Leave(number, first.clone()), format!("CANCELAR {first}"))
            }
            _ => ask(Wish::Cancel(number), format!("CANCELAR #{number}")),
        }
    }

    fn add(&mut self) -> Asked {
        let mut names = Vec::new();
        for _ in 0..1 + self.rng.below(3) {
            self.count += 1;
            names.push(format!("{} {}.{}", self.holder, self.round, self.count));
        }
        let line = format!("ALTA {}", names.join(", "));
        ask(Wish::Add(names), line)
    }

    /// Returns a request for rooms that other clients want as well, or for one that only this
    /// client knows.
    fn reserve(&mut self, own: &mut Vec<String>) -> Asked {
        self.count += 1;
        let mut targets = BTreeSet::new();
        for _ in 0..self.rng.pick(&[1, 1, 1, 2, 3]) {
            targets.insert(match self.rng.below(8) {
                0 | 1 => "Sala*".to_owned(),
                2 if !own.is_empty() => own.swap_remove(self.rng.below(own.len())),
                _ => format!("Sala {}", 1 + self.rng.below(ROOMS)),
            });
        }
        let targets: Vec<_> = targets.into_iter().collect();
        let mut note = format!("{}-{}-{}", self.holder, self.round, self.count);
        let mut line = format!("RESERVAR {}", targets.join(", "));
        let mut keyed = self.rng.one_in(3);
        match self.rng.below(8) {
            0 => {
                line += " hasta=salir";
                keyed = false;
            }
            1 => {
                line += self.rng.pick(&[" por=1s", " por=2s"]);
                note.push('b');
                keyed = false;
            }
            2 | 3 => line += " por=300d",
            4 => {}
            _ => line += &format!(" desde={} noches=1", day(self.rng.below(60))),
        }
        if self.is_patient && self.rng.one_in(3) {
            line += " espera=1s";
        }
        line += &format!(" nota={note}");
        if keyed {
            line += &format!(" clave={note}");
        }
        ask(Wish::Reserve { note, targets, keyed }, line)
    }

    /// Returns reservations and cancellations in turn. A quote in a note is escaped in the journal,
    /// and again in the request that is stored with its key.
    fn fill(&mut self) -> Vec<Asked> {
        if !self.mine.is_empty() {
            let cancel = |number: &u64| ask(Wish::Cancel(*number), format!("CANCELAR #{number}"));
            return self.mine.keys().map(cancel).collect();
        }
        let mut window = Vec::new();
        for n in 0..FILLED {
            self.count += 1;
            let tag = format!("{}-{}-{}", self.holder, self.round, self.count);
            let day = day(n);
            let line = format!(
                "RESERVAR {} desde={day} noches=1 clave={tag} nota=\"{tag}{}\"",
                self.holder,
                "\\\"".repeat(220),
            );
            let note = tag + &"\"".repeat(220);
            let targets = vec![self.holder.clone()];
            window.push(ask(Wish::Reserve { note, targets, keyed: false }, line));
        }
        window
    }

    /// Updates the client's state from a reply, so that the next requests make sense.
    fn update(&mut self, at: usize, reply: &str) {
        let asked = &mut self.asked[at];
        asked.answer = Some(reply.to_owned());
        let refusals: &[&str] = match &asked.wish {
            Wish::Reserve { .. } => &["408", "409"],
            // The new end would be before its start, or would overlap another reservation.
            Wish::Renew(..) => &["400", "409"],
            // Another request of the same window has reserved that resource.
            Wish::Leave(..) => &["409"],
            // The resource is reserved.
            Wish::Remove(_) => &["409"],
            Wish::Cancel(_) | Wish::Add(_) | Wish::Quit => &[],
        };
        let code = reply.strip_prefix("ERR ").and_then(|rest| rest.get(..3));
        assert!(
            code.map_or(reply.starts_with("OK "), |code| refusals.contains(&code)),
            "{}: {reply}",
            asked.line
        );
        if code.is_some() {
            return;
        }
        match &asked.wish {
            Wish::Reserve { note, .. } if is_brief(note) => {}
            Wish::Reserve { note, .. } => {
                let (number, booking) = granted(reply, &self.holder, note).unwrap();
                self.mine.insert(number, booking);
            }
            Wish::Cancel(number) => {
                self.mine.remove(number);
            }
            Wish::Leave(number, name) => leave(&mut self.mine, *number, name),
            Wish::Renew(..) => {}
            Wish::Add(names) => self.added.extend(names.iter().cloned()),
            Wish::Remove(name) => {
                self.added.remove(name);
            }
            Wish::Quit => self.mine.retain(|_, booking| booking.until != "salir"),
        }
    }
}

fn ask(wish: Wish, line: String) -> Asked {
    Asked { wish, line, answer: None }
}

/// Reads the next reply, if a whole one arrives. Skips notices of the queue.
fn read(stream: &mut BufReader<TcpStream>) -> Option<String> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.strip_suffix('\n')?;
        if !line.starts_with("* ") {
            return Some(line.to_owned());
        }
    }
}

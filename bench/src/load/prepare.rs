//! Prepares a server for a load: resources, bookings, and connections that only wait or stay idle.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::talk::{Jobs, hour};

/// Requests per batch. They and their replies fit into the buffers of the sockets.
const WINDOW: usize = 128;
/// The maximum number of resources in one `ALTA` line.
const ADD_MAX: u32 = 10_000;
/// Bookings of each resource in the dated load, one every two hours.
const BOOKED_HOURS: u32 = 1_000;
/// The first hour that the random load books itself. Up to 60,000 bookings of a room fit before it.
pub const OWN_HOUR: u32 = 60_000;
/// The resource for which clients wait.
const BUSY: &str = "Ocupada";

/// Connects to a server on this host.
///
/// # Errors
/// The connection cannot be made.
pub fn connect(port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .map_err(|error| format!("cannot connect to port {port}: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// A client for the preparation, which sends lines with replies of one line.
pub struct Helper {
    stream: BufReader<TcpStream>,
}

impl Helper {
    pub fn new(port: u16) -> Result<Helper, String> {
        Ok(Helper { stream: BufReader::new(connect(port)?) })
    }

    /// Sends a line and returns its reply, which must begin with `wanted`.
    pub fn ask(&mut self, line: &str, wanted: &str) -> Result<String, String> {
        self.send(format!("{line}\n").as_bytes())?;
        self.reply(wanted)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.get_mut().write_all(bytes).map_err(|error| format!("writing failed: {error}"))
    }

    fn reply(&mut self, wanted: &str) -> Result<String, String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        read.map_err(|error| format!("reading failed: {error}"))?;
        if line.starts_with(wanted) {
            Ok(line)
        } else {
            Err(format!("wanted \"{wanted}\", got \"{}\"", line.escape_debug()))
        }
    }

    /// Sends many lines whose replies all begin alike.
    fn ask_all(&mut self, lines: impl Iterator<Item = String>, wanted: &str) -> Result<(), String> {
        let mut lines = lines.peekable();
        while lines.peek().is_some() {
            let window: Vec<_> = lines.by_ref().take(WINDOW).collect();
            self.send(window.concat().as_bytes())?;
            for _ in window {
                self.reply(wanted)?;
            }
        }
        Ok(())
    }

    /// Adds `Habitación 1` to `Habitación count`.
    pub fn add_rooms(&mut self, count: u32) -> Result<(), String> {
        let firsts = (0..count).step_by(ADD_MAX as usize);
        let line = |first| {
            let last = count.min(first + ADD_MAX);
            match last - first {
                1 => format!("ALTA Habitación {last}\n"),
                _ => format!("ALTA Habitación {}..{last}\n", first + 1),
            }
        };
        self.ask_all(firsts.map(line), "OK ALTA ")
    }

    /// Adds houses of ten rooms each: `Casa 7 cama 1` to `Casa 7 cama 10`.
    pub fn add_houses(&mut self, count: u32) -> Result<(), String> {
        let lines = (1..=count).map(|house| format!("ALTA Casa {house} cama 1..10\n"));
        self.ask_all(lines, "OK ALTA 10")
    }

    /// Books 1,000 hours of each room, one every two hours.
    pub fn book_each(&mut self, rooms: u32) -> Result<(), String> {
        let all = (1..=rooms).flat_map(|room| (0..BOOKED_HOURS).map(move |at| (room, 2 * at)));
        self.ask_all(all.map(|(room, at)| booking(room, at)), "OK RESERVADO #")
    }

    /// Makes live reservations, spread over the rooms, before and after the `own` hours that begin
    /// at [`OWN_HOUR`].
    pub fn book_all(&mut self, rooms: u32, count: u32, own: u32) -> Result<(), String> {
        if count / rooms > OWN_HOUR {
            return Err(format!("more than {OWN_HOUR} live reservations of a room"));
        }
        let place = |at: u32| match at % 2 {
            0 => OWN_HOUR + own + at / 2,
            _ => OWN_HOUR - 1 - at / 2,
        };
        let lines = (0..count).map(|at| booking(at % rooms + 1, place(at / rooms)));
        self.ask_all(lines, "OK RESERVADO #")
    }

    /// Puts jobs into beanstalkd's default tube.
    pub fn put_jobs(&mut self, count: usize) -> Result<(), String> {
        self.ask_all(std::iter::repeat_n(Jobs::PUT.to_owned(), count), "INSERTED ")
    }
}

fn booking(room: u32, at: u32) -> String {
    format!("RESERVAR Habitación {room} desde={}Z hasta={}Z\n", hour(at), hour(at + 1))
}

/// Returns the free hours between the bookings of [`Helper::book_each`], from the middle.
pub fn free_hours(count: usize) -> impl Iterator<Item = u32> {
    let first = BOOKED_HOURS - (count as u32).min(BOOKED_HOURS - 1);
    (0..count as u32).map(move |at| (first | 1) + 2 * at)
}

/// Opens connections that wait for one reserved resource.
pub fn waiters(port: u16, count: usize) -> Result<Vec<Helper>, String> {
    if count > 0 {
        let mut owner = Helper::new(port)?;
        owner.ask(&format!("ALTA {BUSY}"), "OK ALTA 1")?;
        owner.ask(&format!("RESERVAR {BUSY}"), "OK RESERVADO #")?;
    }
    let line = format!("RESERVAR {BUSY} espera=7d");
    let wait = |_| {
        let mut waiter = Helper::new(port)?;
        waiter.ask(&line, "* COLA ").map(|_| waiter)
    };
    (0..count).map(wait).collect()
}

/// Opens connections that are silent after one request.
pub fn idlers(port: u16, count: usize) -> Result<Vec<Helper>, String> {
    let idle = |_| {
        let mut idler = Helper::new(port)?;
        idler.ask("VERIFICAR #1", "").map(|_| idler)
    };
    (0..count).map(idle).collect()
}

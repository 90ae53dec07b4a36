//! What was acknowledged is there after any end of the server: kill -9 under
//! load, during a list, during a compaction, at chosen system calls; a disk
//! that is full or fails; a journal that was cut or damaged.
//!
//! `RESERVAD_SEED` repeats a run of the dice, `RESERVAD_ROUNDS` asks for more
//! kills under load than `cargo test` has time for.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use common::{Client, Folder, PATIENCE, Rng, Server, command, has, seed, until};
use reservad::clock::{Now, Time, Zone, parse_utc};
use reservad::commands::parse::Moment;
use reservad::commands::{self, Desk, Figures, Session};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::{Capacity, Inventory, SessionId};
use reservad::journal::{self, DiskStorage, SyncPolicy};
use reservad::store::{self, Store};

// ---------------------------------------------------------------- helpers

/// The journal's events by number, read without the program's own reader.
/// Their numbers have no gaps, in a snapshot too, and their times never go back.
fn events(folder: &Path) -> Vec<(u64, String)> {
    history(folder).0
}

/// The events since the last compaction, and the number of the last event of all.
fn history(folder: &Path) -> (Vec<(u64, String)>, u64) {
    let text = std::fs::read_to_string(folder.join("journal")).unwrap();
    let mut lines = text.lines().filter(|line| !line.is_empty());
    assert!(lines.next().unwrap().starts_with("reservad-journal 1"));
    let mut events = Vec::new();
    let (mut snapped, mut last, mut last_time) = (0, 0, Time::DAWN);
    for line in lines {
        let words: Vec<_> = line.splitn(6, ' ').collect();
        let number: u64 = words[2].parse().unwrap();
        match words[1] {
            "snap" => {
                snapped += 1;
                assert_eq!(number, snapped, "{line}");
            }
            "end" => {
                assert_eq!(number, snapped, "{line}");
                last = words[3].parse().unwrap();
            }
            "event" => {
                last += 1;
                assert_eq!(number, last, "a gap in the events: {line}");
                let (time, _) = stamped(words[5]);
                assert!(last_time <= time, "time goes back: {line}");
                last_time = time;
                events.push((number, words[5].to_owned()));
            }
            other => panic!("{other}: {line}"),
        }
    }
    (events, last)
}

/// The stamp of an event and what follows it.
fn stamped(event: &str) -> (Time, &str) {
    let (stamp, rest) = event.split_once(' ').unwrap();
    (parse_utc(stamp).unwrap(), rest)
}

/// Replays the journal of a folder and checks every invariant.
fn check_replay(folder: &Path) {
    let mut inventory = Inventory::new(CAPACITY);
    let report = journal::check(&DiskStorage::at(folder), |record| {
        store::replay(&mut inventory, record).map(|_| ())
    });
    assert_eq!(report.unwrap().bad, None);
    inventory.check();
}

const CAPACITY: Capacity = Capacity { resources: 1 << 20, reservations: 1 << 20 };

/// What a client can see that a restart must not change.
fn state(server: &Server) -> Vec<String> {
    let mut client = server.connect();
    let mut all = client.list("RESERVAS");
    all.extend(client.list("LISTAR"));
    let kept = ["resources=", "reservations=", "last_number=", "last_event="];
    let status = client.list("ESTADO");
    all.extend(status.into_iter().filter(|line| kept.iter().any(|key| line.starts_with(key))));
    all
}

fn status(server: &Server, key: &str) -> u64 {
    let lines = server.connect().list("ESTADO");
    let line = lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap().parse().unwrap()
}

/// Every file of a folder with its bytes and the time of its last change.
fn contents(folder: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let file = |entry: std::fs::DirEntry| {
        let changed = entry.metadata().unwrap().modified().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), (bytes, changed))
    };
    entries.map(file).collect()
}

/// Runs the program to its end; for starts that are refused.
fn output(arguments: &[&str]) -> Output {
    let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it has started: {arguments:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn text_of(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

/// A server as it would have been some time ago: the same commands and the
/// same journal, but in a time of our own.
struct Past {
    store: Store<DiskStorage>,
    inventory: Inventory,
    session: Session,
    now: Time,
}

impl Past {
    fn begin(folder: &Path, hours_ago: i64) -> Past {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = Time::from_ms(since.as_millis() as i64).plus_ms(-hours_ago * 3_600_000);
        let storage = DiskStorage::lock(folder).unwrap();
        let (store, inventory, _) = Store::open(storage, SyncPolicy::Never, CAPACITY).unwrap();
        Past { store, inventory, session: Session::new(SessionId(1)), now }
    }

    /// Says a line and commits what came of it.
    fn say(&mut self, line: &str) -> String {
        let (zone, mut batch, mut out) = (Zone::utc(), Batch::default(), Vec::new());
        let figures = Figures::default;
        let mut desk = Desk {
            inventory: &mut self.inventory,
            batch: &mut batch,
            history: self.store.history(),
            moment: Moment { now: Now::at(self.now), zone: &zone },
            figures: &figures,
        };
        commands::run(line.as_bytes(), Eol::Lf, &mut self.session, &mut desk, &mut out);
        self.store.commit(&mut batch).unwrap();
        let reply = String::from_utf8(out).unwrap();
        assert!(reply.starts_with("OK "), "{line}: {reply}");
        reply
    }

    /// History that a compaction drops: long lines, until the journal is larger.
    fn fill(&mut self, bytes: u64) {
        let names: Vec<_> = (0..30).map(|n| format!("{n} {}", "x".repeat(100))).collect();
        let names = names.join(", ");
        self.say(&format!("ALTA {names}"));
        while self.store.journal_bytes() < bytes {
            self.say(&format!("RESERVAR {names}"));
            self.say(&format!("CANCELAR #{}", self.inventory.last_number()));
        }
    }
}

/// Says lines on one connection without waiting, in portions that fit the
/// buffers; every reply must be OK.
fn pour(client: &mut Client, lines: &[String]) {
    for portion in lines.chunks(32) {
        client.send(portion.join("\n") + "\n");
        for line in portion {
            let reply = client.line();
            assert!(reply.starts_with("OK "), "{line}: {reply}");
        }
    }
}

/// A day of 2030 and later, another for each number.
fn day(number: usize) -> String {
    format!("{}-{:02}-{:02}", 2030 + number / 336, number / 28 % 12 + 1, number % 28 + 1)
}

/// Reserves one day after the other, each when the one before was answered,
/// until the server ends; the number of reservations that were acknowledged.
fn until_it_ends(server: &Server, first_day: usize) -> usize {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    let note = "x".repeat(250);
    for count in 0.. {
        let line = format!(
            "RESERVAR Habitación 1 desde={} noches=1 nota={note}\n",
            day(first_day + count)
        );
        let _ = stream.get_mut().write_all(line.as_bytes());
        let mut reply = String::new();
        match stream.read_line(&mut reply) {
            Ok(1..) => assert!(reply.starts_with("OK RESERVADO "), "{reply}"),
            _ => return count,
        }
    }
    unreachable!()
}

/// It has stopped by itself, with status 1 and a reason that says this.
fn stopped_because(server: &mut Server, reason: &str) {
    let status = server.wait();
    let line = server.wait_log("reservad: cannot ");
    assert!(line.contains(reason) && line.contains("journal"), "{line}");
    assert_eq!(status.code(), Some(1), "{status}: {line}");
}

/// Whether strace can trace here.
fn can_trace() -> bool {
    if !has("strace") {
        return false;
    }
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output().unwrap();
    if !tried.status.success() {
        println!("skipped: strace may not trace here: {}", text(&tried.stderr));
    }
    tried.status.success()
}

/// The server under strace, which writes to `trace`. It stays our child.
fn traced(folder: &Path, trace: &Path, options: &[&str], arguments: &[&str]) -> Server {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-ttt", "-o", text_of(trace)]).args(options);
    strace.arg(env!("CARGO_BIN_EXE_reservad"));
    strace.args(["--data-dir", text_of(folder), "--listen", "127.0.0.1:0", "--time-zone", "UTC"]);
    strace.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    Server::spawn(&mut strace)
}

// ------------------------------------------------------- kill -9 under load

/// What a request asks for, as far as the check needs it.
#[derive(Clone, Debug)]
enum Wish {
    /// Known by its note.
    Reserve {
        note: String,
        targets: Vec<String>,
        bound: bool,
    },
    Cancel(u64),
    /// One resource leaves a reservation.
    Leave(u64, String),
    /// Ends what is bound to the connection.
    Quit,
}

/// A request and its answer, if one came.
struct Asked {
    wish: Wish,
    line: String,
    answer: Option<String>,
}

/// A reservation as the list shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    names: BTreeSet<String>,
    holder: String,
    note: String,
    bound: bool,
}

/// One client of the load; ends when the connection does.
struct Worker {
    rng: Rng,
    holder: String,
    round: usize,
    count: usize,
    /// What it holds, by the answers.
    mine: BTreeMap<u64, Row>,
    asked: Vec<Asked>,
}

const ROOMS: usize = 24;

impl Worker {
    fn run(mut self, address: std::net::SocketAddr, tick: Sender<()>) -> Vec<Asked> {
        while self.converse(address, &tick) {}
        self.asked
    }

    /// One connection; whether another is to follow.
    fn converse(&mut self, address: std::net::SocketAddr, tick: &Sender<()>) -> bool {
        let Ok(stream) = TcpStream::connect(address) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let hello = format!("SOY {}\n", self.holder);
        let mut reply = String::new();
        if stream.get_mut().write_all(hello.as_bytes()).is_err() {
            return false;
        }
        if !matches!(stream.read_line(&mut reply), Ok(1..)) {
            return false;
        }
        loop {
            let window = self.window();
            let lines: String = window.iter().map(|asked| asked.line.clone() + "\n").collect();
            let start = self.asked.len();
            self.asked.extend(window);
            let sent = stream.get_mut().write_all(lines.as_bytes()).is_ok();
            for at in start..self.asked.len() {
                let mut reply = String::new();
                match stream.read_line(&mut reply) {
                    Ok(_) if reply.ends_with('\n') => self.note(at, reply.trim_end()),
                    _ => return false,
                }
                let _ = tick.send(());
                if matches!(self.asked[at].wish, Wish::Quit) {
                    return true;
                }
            }
            if !sent {
                return false;
            }
        }
    }

    /// Some lines that are sent at once. What they name is not touched twice.
    fn window(&mut self) -> Vec<Asked> {
        let mut window = Vec::new();
        let mut free: Vec<_> =
            self.mine.iter().filter(|(_, row)| !row.bound).map(|(number, _)| *number).collect();
        for _ in 0..1 + self.rng.below(6) {
            let chance = if free.len() > 4 { 2 } else { 5 };
            if self.rng.one_in(chance) && !free.is_empty() {
                let number = free.swap_remove(self.rng.below(free.len()));
                window.push(self.cancel(number));
            } else {
                window.push(self.reserve());
            }
        }
        if self.rng.one_in(30) {
            window.push(Asked { wish: Wish::Quit, line: "SALIR".to_owned(), answer: None });
        }
        window
    }

    fn cancel(&mut self, number: u64) -> Asked {
        let names = &self.mine[&number].names;
        let first = names.first().cloned().unwrap();
        // By name it must be the only one of ours on that resource.
        let others = self.mine.values().filter(|row| row.names.contains(&first)).count();
        let (wish, line) = match others == 1 && self.rng.one_in(3) {
            true => (Wish::Leave(number, first.clone()), format!("CANCELAR {first}")),
            false => (Wish::Cancel(number), format!("CANCELAR #{number}")),
        };
        Asked { wish, line, answer: None }
    }

    fn reserve(&mut self) -> Asked {
        self.count += 1;
        let note = format!("{}-{}-{}", self.holder, self.round, self.count);
        let mut targets = BTreeSet::new();
        for _ in 0..self.rng.pick(&[1, 1, 1, 2, 3]) {
            targets.insert(match self.rng.below(4) {
                0 => "Sala*".to_owned(),
                _ => format!("Sala {}", 1 + self.rng.below(ROOMS)),
            });
        }
        let targets: Vec<_> = targets.into_iter().collect();
        let mut line = format!("RESERVAR {} nota={note}", targets.join(", "));
        let bound = self.rng.one_in(8);
        match self.rng.below(4) {
            _ if bound => line += " hasta=salir",
            0 => line += " por=2h",
            1 => {}
            _ => line += &format!(" desde={} noches=1", day(self.rng.below(60))),
        }
        Asked { wish: Wish::Reserve { note, targets, bound }, line, answer: None }
    }

    /// Takes an answer up, so that the next requests make sense.
    fn note(&mut self, at: usize, reply: &str) {
        self.asked[at].answer = Some(reply.to_owned());
        let asked = &self.asked[at];
        match (&asked.wish, granted(reply)) {
            (Wish::Reserve { note, bound, .. }, Some((number, names))) => {
                let (note, bound) = (note.clone(), *bound);
                let row = Row { names, holder: self.holder.clone(), note, bound };
                self.mine.insert(number, row);
            }
            (Wish::Reserve { .. }, None) => {
                assert!(reply.starts_with("ERR 409 "), "{}: {reply}", asked.line);
            }
            (Wish::Cancel(number), _) => {
                assert!(reply.starts_with("OK CANCELADO "), "{}: {reply}", asked.line);
                self.mine.remove(number);
            }
            (Wish::Leave(number, name), _) if reply.starts_with("OK ") => {
                assert_eq!(reply, format!("OK CANCELADO #{number} {name}"));
                leave(&mut self.mine, *number, name);
            }
            // Another of ours came onto that resource in the same window.
            (Wish::Leave(..), _) => assert!(reply.starts_with("ERR 409 "), "{reply}"),
            (Wish::Quit, _) => self.mine.retain(|_, row| !row.bound),
        }
    }
}

fn leave(rows: &mut BTreeMap<u64, Row>, number: u64, name: &str) {
    if let Some(row) = rows.get_mut(&number) {
        row.names.remove(name);
        if row.names.is_empty() {
            rows.remove(&number);
        }
    }
}

/// Number and names of `OK RESERVADO #42 Sala 1, Sala 2 desde=…`.
fn granted(reply: &str) -> Option<(u64, BTreeSet<String>)> {
    let rest = reply.strip_prefix("OK RESERVADO #")?;
    let (number, rest) = rest.split_once(' ').unwrap();
    let names = rest.split(" desde=").next().unwrap();
    Some((number.parse().unwrap(), names.split(", ").map(str::to_owned).collect()))
}

/// What `RESERVAS` shows, by number.
fn rows(server: &Server) -> BTreeMap<u64, Row> {
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    for line in server.connect().list("RESERVAS") {
        let fields: Vec<_> = line.split('\t').collect();
        let number = fields[0].strip_prefix('#').unwrap().parse().unwrap();
        let row = rows.entry(number).or_insert_with(|| Row {
            names: BTreeSet::new(),
            holder: fields[2].to_owned(),
            note: fields[5].to_owned(),
            bound: fields[4] == "salir",
        });
        row.names.insert(fields[1].to_owned());
    }
    rows
}

/// What must be there after a kill, from the answers that came.
#[derive(Default)]
struct Truth {
    rows: BTreeMap<u64, Row>,
    /// Every number that was ever seen.
    numbers: BTreeSet<u64>,
    /// Requests without an answer, by note: these may be there.
    open: BTreeMap<String, (String, Vec<String>)>,
    /// Cancellations without an answer: these may have been done.
    cancelling: BTreeSet<u64>,
    leaving: BTreeSet<(u64, String)>,
    answers: usize,
    acknowledged: usize,
}

impl Truth {
    /// Takes up what one client asked and was told, in its order.
    fn hear(&mut self, holder: &str, asked: Vec<Asked>) {
        for Asked { wish, answer, line } in asked {
            self.answers += usize::from(answer.is_some());
            let done = answer.as_deref().is_some_and(|answer| answer.starts_with("OK "));
            self.acknowledged += usize::from(done);
            match (wish, answer) {
                (Wish::Reserve { note, targets, .. }, None) => {
                    self.open.insert(note, (holder.to_owned(), targets));
                }
                (Wish::Reserve { note, targets, bound }, Some(answer)) => {
                    let Some((number, names)) = granted(&answer) else { continue };
                    assert_eq!(names.len(), targets.len(), "{line}: {answer}");
                    assert!(self.numbers.insert(number), "#{number} was given twice: {line}");
                    let row = Row { names, holder: holder.to_owned(), note, bound };
                    self.rows.insert(number, row);
                }
                (Wish::Cancel(number), Some(_)) => {
                    self.rows.remove(&number);
                }
                (Wish::Cancel(number), None) => {
                    self.cancelling.insert(number);
                }
                (Wish::Leave(number, name), Some(_)) if done => {
                    leave(&mut self.rows, number, &name);
                }
                (Wish::Leave(..), Some(_)) => {}
                (Wish::Leave(number, name), None) => {
                    self.leaving.insert((number, name));
                }
                (Wish::Quit, _) => {}
            }
        }
    }

    /// Compares with what a new server shows, and settles what was open.
    fn check(&mut self, found: BTreeMap<u64, Row>, floor: u64) {
        for (number, row) in &self.rows {
            if row.bound {
                assert!(!found.contains_key(number), "#{number} was bound to a connection");
                continue;
            }
            let mut row = row.clone();
            let left = self.leaving.iter().filter(|(of, _)| of == number);
            let left: Vec<_> = left.map(|(_, name)| name.clone()).collect();
            match found.get(number) {
                Some(shown) if *shown == row => continue,
                Some(shown) => {
                    row.names.retain(|name| !left.contains(name));
                    assert_eq!(*shown, row, "#{number} is not as it was acknowledged");
                }
                None => {
                    row.names.retain(|name| !left.contains(name));
                    let may_be_gone = self.cancelling.contains(number) || row.names.is_empty();
                    assert!(may_be_gone, "#{number} was acknowledged and is lost: {row:?}");
                }
            }
        }
        for (number, row) in &found {
            if self.rows.contains_key(number) {
                continue;
            }
            let asked = self.open.remove(&row.note);
            let Some((holder, targets)) = asked else {
                panic!("#{number} is there, but was refused or cancelled: {row:?}");
            };
            assert!(self.numbers.insert(*number), "#{number} was given twice");
            assert!(*number > floor, "#{number} comes after #{floor}");
            assert_eq!(holder, row.holder);
            assert_eq!(row.names.len(), targets.len(), "#{number} is not whole: {row:?}");
            let named = targets.iter().filter(|target| !target.contains('*'));
            assert!(named.clone().all(|name| row.names.contains(name)), "{targets:?}: {row:?}");
        }
        self.rows = found;
        self.open.clear();
        self.cancelling.clear();
        self.leaving.clear();
    }
}

/// The confirmation numbers in the order of the journal: 1, 2, 3…
fn check_numbers(events: &[(u64, String)]) {
    let mut last = None;
    for (_, event) in events {
        let (_, rest) = stamped(event);
        let Some(rest) = rest.strip_prefix("RESERVED #") else { continue };
        let number: u64 = rest.split(' ').next().unwrap().parse().unwrap();
        assert!(last.is_none_or(|last| number == last + 1), "#{number} after {last:?}");
        last = Some(number);
    }
}

#[test]
fn kill_at_any_moment_under_load() {
    let seed = seed();
    let rounds = std::env::var("RESERVAD_ROUNDS").map_or(25, |rounds| rounds.parse().unwrap());
    let mut rng = Rng(seed);
    let folder = Folder::new();
    let names: Vec<_> = (1..=ROOMS).map(|n| format!("Sala {n}")).collect();
    let inventory = Folder::new();
    std::fs::write(inventory.join("rooms"), names.join("\n")).unwrap();
    let rooms = inventory.join("rooms");
    let arguments = ["--inventory", text_of(&rooms)];
    let mut truth = Truth::default();
    let mut server = Server::durable(folder.path(), &arguments);
    let mut floor = 0;
    for round in 0..rounds {
        let (tick, ticks) = channel();
        let mut workers = Vec::new();
        for n in 0..6 {
            let holder = format!("c{n}");
            let mine = truth.rows.iter().filter(|(_, row)| row.holder == holder);
            let mine = mine.map(|(number, row)| (*number, row.clone())).collect();
            let rng = Rng(rng.next());
            let worker =
                Worker { rng, holder: holder.clone(), round, count: 0, mine, asked: Vec::new() };
            let (address, tick) = (server.address, tick.clone());
            let running = std::thread::spawn(move || worker.run(address, tick));
            workers.push((holder, running));
        }
        for _ in 0..rng.below(500) {
            ticks.recv_timeout(PATIENCE).expect("the load goes on");
        }
        for _ in 0..rng.below(20_000) {
            std::hint::spin_loop();
        }
        server.kill();
        for (holder, running) in workers {
            truth.hear(&holder, running.join().expect("a client saw nothing odd"));
        }
        server = Server::durable(folder.path(), &arguments);
        let log = server.log_so_far();
        assert!(!log.contains("ERROR"), "{log}");
        truth.check(rows(&server), floor);
        floor = status(&server, "last_number");
        assert!(truth.numbers.last().is_none_or(|last| *last <= floor));
        let (events, last_event) = history(folder.path());
        check_numbers(&events);
        assert_eq!(last_event, status(&server, "last_event"));
        check_replay(folder.path());
    }
    server.stop();
    println!(
        "{rounds} kills, {} answers, {} of them OK, last number {floor}",
        truth.answers, truth.acknowledged
    );
    assert!(truth.acknowledged > 10 * rounds, "hardly anything was done between the kills");
}

/// The moments at which a commit can be cut short, one by one: nothing was
/// said of it, and what was said before is there.
#[test]
fn kill_at_each_step_of_a_commit() {
    if !can_trace() {
        return;
    }
    for (call, lost) in [("pwrite64", true), ("fdatasync", false)] {
        let folder = Folder::new();
        let trace = Folder::new();
        Server::durable(folder.path(), &[]).stop();
        for when in [4, 5, 9] {
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let options = ["-e", "trace=pwrite64,fdatasync", "-e", &inject];
            let mut server = traced(folder.path(), &trace.join("trace"), &options, &[]);
            let before = status(&server, "reservations") as usize;
            let acknowledged = until_it_ends(&server, before);
            assert_eq!(server.wait().signal(), Some(9));
            let server = Server::durable(folder.path(), &[]);
            let found = status(&server, "reservations") as usize - before;
            // What was written and not yet synced survives a kill, unsaid.
            let unsaid = if lost { 0 } else { 1 };
            assert_eq!(found, acknowledged + unsaid, "killed in {call} {when}");
            server.stop();
        }
        check_replay(folder.path());
    }
}

#[test]
fn kill_between_the_pages_of_a_list() {
    let folder = Folder::new();
    let server = Server::durable(folder.path(), &[]);
    let mut client = server.connect();
    let long = "x".repeat(100);
    for first in [1, 10_001] {
        let last = first + 9_999;
        assert_eq!(client.say(&format!("ALTA {long} {first}..{last}")), "OK ALTA 10000");
    }
    let mut reader = server.connect();
    reader.send("LISTAR\n".repeat(10));
    assert_eq!(reader.line(), "OK 20003 DISPONIBLES");
    assert_eq!(reader.line(), "Habitación 1");
    assert!(client.say("RESERVAR Habitación 2").starts_with("OK RESERVADO #1 "));
    let before = state(&server);
    server.kill();
    let mut lines = 0;
    while reader.try_line().is_some() {
        lines += 1;
    }
    assert!(lines < 9 * 20_003, "the lists were not under way any more: {lines} lines");
    let server = Server::durable(folder.path(), &[]);
    assert_eq!(state(&server), before);
    server.stop();
}

// --------------------------------------------------------------- compaction

/// Reservations of every kind, some of them changed since.
fn furnish(client: &mut Client) {
    let lines = [
        "ALTA Sala 1..40",
        "ALTA Bóveda, Ático",
        "SOY ana",
        r#"RESERVAR Sala 1 nota="dice \"sí\" y \\ también 🏗""#,
        "RESERVAR Sala 2, Sala 3, Sala 4 por=5d clave=k1",
        "CANCELAR Sala 3",
        "RESERVAR Sala 5 desde=2030-01-01 noches=3",
        "RESERVAR Sala 5 desde=2030-01-04 hasta=2030-02-01T10:30 nota=\" from=1970 \"",
        "RESERVAR Sala *, Boveda",
        "CANCELAR #5",
        "SOY luis",
        "RESERVAR sala 9, ATICO clave=\"dos palabras\"",
        "BAJA Sala 33, Sala 34",
        "ALTA Sala 33",
        "RESERVAR Sala 33",
    ];
    pour(client, &lines.map(str::to_owned));
}

/// Makes the journal mostly history, over a connection.
fn churn(client: &mut Client, first: u64, pairs: u64) {
    let names: Vec<_> = (0..30).map(|n| format!("{n} {}", "x".repeat(100))).collect();
    let names = names.join(", ");
    let mut lines = vec![format!("ALTA {names}")];
    for number in first..first + pairs {
        lines.push(format!("RESERVAR {names}"));
        lines.push(format!("CANCELAR #{number}"));
    }
    for portion in lines.chunks(8) {
        pour(client, portion);
    }
}

#[test]
fn compaction_while_running_changes_nothing_that_can_be_seen() {
    let folder = Folder::new();
    let mut server = Server::durable(folder.path(), &[]);
    let mut client = server.connect();
    furnish(&mut client);
    let rows_before = rows(&server);
    let mut quitter = server.connect();
    assert!(quitter.say("RESERVAR Sala 40 hasta=salir").starts_with("OK "));
    let first = status(&server, "last_number") + 1;
    churn(&mut client, first, 680);
    server.wait_log("the journal was compacted");
    let journal = std::fs::read_to_string(folder.join("journal")).unwrap();
    assert!(journal.starts_with("reservad-journal 1 snapshot\n"), "{}", &journal[..40]);
    assert!(!folder.join("journal.new").exists());
    assert_eq!(quitter.say("SALIR"), "OK ADIÓS");
    assert_eq!(rows(&server), rows_before);
    let before = state(&server);
    server.kill();
    let server = Server::durable(folder.path(), &[]);
    assert_eq!(state(&server), before);
    assert_eq!(rows(&server), rows_before);
    events(folder.path());
    check_replay(folder.path());
    let mut client = server.connect();
    client.say("SOY ana");
    let next = status(&server, "last_number") + 1;
    assert!(client.say("RESERVAR Sala 2, Sala 4 por=5d clave=k1").starts_with("ERR 409 "));
    let again = client.say("RESERVAR Sala 4, SALA 3, sala 2 por=5d clave=k1");
    assert!(again.starts_with("OK RESERVADO #2 Sala 2, Sala 4 "), "{again}");
    let new = client.say("RESERVAR Sala 40");
    assert_eq!(new, format!("OK RESERVADO #{next} Sala 40"));
    server.stop();
}

/// A journal that the next start compacts.
fn ripe(folder: &Path) {
    let mut past = Past::begin(folder, 5);
    past.say("ALTA Sala 1..200");
    for room in 1..=100 {
        past.say(&format!("RESERVAR Sala {room} por=9d nota=\"reserva {room}\""));
    }
    past.say("BAJA Sala 200");
    past.fill(5 << 20);
}

#[test]
fn kill_at_each_step_of_a_compaction() {
    if !can_trace() {
        return;
    }
    let trace = Folder::new();
    let master = Folder::new();
    ripe(master.path());
    let mut want = None;
    // Which file, which call: the steps of a compaction in their order.
    let steps = [
        ("journal.new", "?open,openat", 1),
        ("journal.new", "pwrite64", 1),
        ("journal.new", "fdatasync", 1),
        ("journal.new", "?rename,?renameat,renameat2", 1),
        // The first one is that of the start.
        (".", "fsync", 2),
    ];
    for (file, calls, when) in steps {
        let folder = Folder::new();
        std::fs::copy(master.join("journal"), folder.join("journal")).unwrap();
        let path = if file == "." { folder.path().to_owned() } else { folder.join(file) };
        let inject = format!("inject={calls}:signal=KILL:when={when}");
        let options = ["-P", text_of(&path), "-e", &inject];
        let mut server = traced(folder.path(), &trace.join("trace"), &options, &[]);
        let status = server.wait();
        assert_eq!(status.signal(), Some(9), "{calls} on {file}: {}", server.log_so_far());
        let is_compact = std::fs::read(folder.join("journal")).unwrap().len() < 1 << 20;
        assert_eq!(is_compact, file == ".", "{calls} on {file}");
        let mut server = Server::durable(folder.path(), &[]);
        if !is_compact {
            server.wait_log("the journal was compacted");
        }
        let found = state(&server);
        assert_eq!(*want.get_or_insert(found.clone()), found, "{calls} on {file}");
        assert!(!folder.join("journal.new").exists());
        server.stop();
        check_replay(folder.path());
    }
    assert!(want.unwrap().iter().any(|line| line.contains("\tSala 100\t")));
}

#[test]
fn kill_at_any_moment_of_a_compaction() {
    let seed = seed();
    let mut rng = Rng(seed);
    let folder = Folder::new();
    let mut past = Past::begin(folder.path(), 5);
    let long = "y".repeat(90);
    past.say(&format!("ALTA {long} 1..9000"));
    // Two events for each thing alive, and one more.
    for pair in 0..9_100 {
        past.say(&format!("RESERVAR {long} {}", 1 + pair % 9000));
        past.say(&format!("CANCELAR #{}", past.inventory.last_number()));
    }
    past.say(&format!("RESERVAR {long} 8999 nota=última"));
    drop(past);
    let ripe = std::fs::read(folder.join("journal")).unwrap();
    let mut want = None;
    let mut caught = 0;
    for _ in 0..6 {
        std::fs::write(folder.join("journal"), &ripe).unwrap();
        let server = Server::durable(folder.path(), &[]);
        let begun = Instant::now();
        while !folder.join("journal.new").exists() && begun.elapsed() < Duration::from_secs(5) {
            if std::fs::metadata(folder.join("journal")).unwrap().len() < ripe.len() as u64 / 2 {
                break;
            }
        }
        for _ in 0..rng.below(3_000_000) {
            std::hint::spin_loop();
        }
        server.kill();
        caught += usize::from(folder.join("journal.new").exists());
        let server = Server::durable(folder.path(), &[]);
        let found = state(&server);
        assert!(*want.get_or_insert(found.clone()) == found, "the state has changed");
        server.kill();
        check_replay(folder.path());
        let _ = std::fs::remove_file(folder.join("journal.new"));
    }
    println!("{caught} of 6 kills fell within a compaction");
    assert!(want.unwrap()[0].ends_with("\túltima"));
}

// ------------------------------------------------- what a start has to settle

#[test]
fn what_was_bound_to_a_connection_of_a_dead_server_ends_at_the_last_time_it_knew() {
    let folder = Folder::new();
    let server = Server::durable(folder.path(), &[]);
    let mut bound = server.connect();
    let mut other = server.connect();
    assert!(bound.say("RESERVAR Habitación 1 hasta=salir").starts_with("OK RESERVADO #1 "));
    assert!(bound.say("RESERVAR Habitación 2 hasta=salir").starts_with("OK RESERVADO #2 "));
    assert!(other.say("RESERVAR Habitación 3").starts_with("OK RESERVADO #3 "));
    server.kill();
    let before = events(folder.path());
    let last_time = before.iter().map(|(_, event)| stamped(event).0).max().unwrap();
    let server = Server::durable(folder.path(), &[]);
    assert_eq!(rows(&server).keys().copied().collect::<Vec<_>>(), [3]);
    let mut client = server.connect();
    assert!(client.say("VERIFICAR #1").starts_with("ERR 410 "));
    assert_eq!(client.list("LISTAR"), ["Habitación 1", "Habitación 2"]);
    server.kill();
    let after = events(folder.path());
    let ends: Vec<_> = after[before.len()..].iter().map(|(_, event)| stamped(event)).collect();
    assert_eq!(
        ends,
        [(last_time, "EXPIRED #1 Habitación 1"), (last_time, "EXPIRED #2 Habitación 2")]
    );
    // Once is enough.
    let server = Server::durable(folder.path(), &[]);
    server.kill();
    assert_eq!(events(folder.path()), after);
}

#[test]
fn leases_that_ended_while_the_server_was_down_end_in_order_and_in_their_own_time() {
    let folder = Folder::new();
    let mut past = Past::begin(folder.path(), 48);
    past.say("ALTA Sala 1..9");
    let begin = past.now;
    past.say("RESERVAR Sala 1 por=3h");
    past.say("RESERVAR Sala 2 por=1h");
    past.say("RESERVAR Sala 3 por=90m nota=lejos");
    past.say("RESERVAR Sala 4 por=5d");
    past.say("RESERVAR Sala 5 hasta=salir");
    past.now = begin.plus_ms(60_000);
    past.say("RESERVAR Sala 6, Sala 7 por=1s");
    past.say("RESERVAR Sala 8");
    drop(past);
    let before = events(folder.path());
    let server = Server::durable(folder.path(), &[]);
    let (names, numbers): (Vec<_>, Vec<_>) =
        rows(&server).into_iter().map(|(number, row)| (row.names, number)).unzip();
    assert_eq!(numbers, [4, 7], "{names:?}");
    server.kill();
    let after = events(folder.path());
    let ends: Vec<_> = after[before.len()..].iter().map(|(_, event)| stamped(event)).collect();
    let want = [
        (60_000, "EXPIRED #5 Sala 5"),
        (61_000, "EXPIRED #6 Sala 6, Sala 7"),
        (3_600_000, "EXPIRED #2 Sala 2"),
        (5_400_000, "EXPIRED #3 Sala 3"),
        (10_800_000, "EXPIRED #1 Sala 1"),
    ];
    assert_eq!(ends, want.map(|(ms, event)| (begin.plus_ms(ms), event)));
}

#[test]
fn texts_keys_and_numbers_survive_a_kill() {
    let folder = Folder::new();
    let server = Server::durable(folder.path(), &[]);
    let mut client = server.connect();
    furnish(&mut client);
    // The same name in the other normal form, and an English retry.
    assert_eq!(client.say("ALTA Bo\u{301}veda 2"), "OK ALTA 1");
    client.say("SOY ana");
    let again = client.say("RESERVE sala 4, sala 2, SALA 3 key=k1 for=5d");
    assert!(again.starts_with("OK RESERVED #2 "), "{again}");
    let before = state(&server);
    assert!(before[0].ends_with("\tdice \"sí\" y \\ también 🏗"), "{}", before[0]);
    assert!(before.iter().any(|line| line == "B\u{f3}veda 2"));
    assert!(before.iter().any(|line| line.ends_with("\t from=1970 ")));
    for _ in 0..2 {
        server_round_trip(&folder, &before);
    }
    drop(server);
    let server = Server::durable(folder.path(), &[]);
    assert_eq!(state(&server), before);
    let mut client = server.connect();
    client.say("SOY ana");
    let again = client.say("RESERVE sala 4, sala 2, SALA 3 key=k1 for=5d");
    assert!(again.starts_with("OK RESERVED #2 Sala 2, Sala 4 "), "{again}");
    let other = client.say("RESERVE sala 2 key=k1 for=5d");
    assert!(other.starts_with("ERR 409 "), "{other}");
    client.say("SOY luis");
    let again = client.say("RESERVAR Ático, Sala 9 clave=\"dos palabras\"");
    assert!(again.starts_with("OK RESERVADO #"), "{again}");
    assert_eq!(state(&server), before);
    server.kill();
    let server = Server::durable(folder.path(), &[]);
    assert_eq!(state(&server), before, "a retry has changed something");
    server.stop();
}

/// A copy of the folder as it is now starts with the same state.
fn server_round_trip(folder: &Folder, want: &[String]) {
    let copy = Folder::new();
    std::fs::copy(folder.join("journal"), copy.join("journal")).unwrap();
    let server = Server::durable(copy.path(), &[]);
    assert_eq!(state(&server), want);
    server.kill();
    let server = Server::durable(copy.path(), &[]);
    assert_eq!(state(&server), want);
    server.kill();
}

/// An end that is due comes before what a signal brings in the same turn:
/// here both come while the turn before waits for its disk.
#[test]
fn times_do_not_go_back_when_a_lease_ends_as_the_inventory_file_is_read_again() {
    if !can_trace() {
        return;
    }
    let (folder, other) = (Folder::new(), Folder::new());
    let (rooms, trace) = (other.join("rooms"), other.join("trace"));
    std::fs::write(&rooms, "Sala 1\nSala 2\n").unwrap();
    let arguments = ["--inventory", text_of(&rooms)];
    Server::durable(folder.path(), &arguments).stop();
    traced(folder.path(), &trace, &["-e", "trace=fdatasync"], &arguments).stop();
    let at_start = calls(&trace, "fdatasync").len();
    let delay = format!("inject=fdatasync:delay_enter=2000000:when={}", at_start + 2);
    let options = ["-e", "trace=fdatasync", "-e", &delay];
    let mut server = traced(folder.path(), &trace, &options, &arguments);
    let mut client = server.connect();
    assert!(client.say("RESERVAR Sala 1 por=1s").starts_with("OK RESERVADO #1 "));
    client.send("RESERVAR Sala 2\n");
    until("the disk is waited for", || calls(&trace, "fdatasync").len() == at_start + 2);
    std::fs::write(&rooms, "Sala 1\nSala 2\nSala 3\n").unwrap();
    server.signal("HUP");
    server.wait_log("SIGHUP: 1 new");
    assert_eq!(client.line(), "OK RESERVADO #2 Sala 2");
    assert_eq!(client.list("LISTAR"), ["Sala 1", "Sala 3"]);
    server.kill();
    let all = events(folder.path());
    let last: Vec<_> = all[4..].iter().map(|(_, event)| stamped(event).1).collect();
    assert_eq!(last, ["EXPIRED #1 Sala 1", "ADDED Sala 3"]);
}

// ------------------------------------------------------------ torn and damaged

/// A journal whose last commit has five events, and where that one begins.
fn with_a_large_last_commit(folder: &Path) -> (Vec<String>, usize, usize) {
    let server = Server::durable(folder, &[]);
    let mut client = server.connect();
    assert_eq!(client.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    assert_eq!(client.say("RESERVAR Habitación 2"), "OK RESERVADO #2 Habitación 2");
    let before = state(&server);
    let start = status(&server, "journal_bytes") as usize;
    assert_eq!(client.say("ALTA Sala 1..5"), "OK ALTA 5");
    let end = status(&server, "journal_bytes") as usize;
    server.kill();
    (before, start, end)
}

#[test]
fn a_torn_last_commit_is_cut_as_a_whole_and_told() {
    let mut rng = Rng(seed());
    let folder = Folder::new();
    let (before, start, end) = with_a_large_last_commit(folder.path());
    let whole = std::fs::read(folder.join("journal")).unwrap();
    for case in 0..8 {
        let mut bytes = whole.clone();
        let place = start + 1 + rng.below(end - start - 1);
        let what = match case % 4 {
            0 => {
                bytes.truncate(place);
                "cut"
            }
            1 => {
                bytes[place - 1] ^= 1;
                "one wrong bit"
            }
            2 => {
                bytes[place..end].fill(0);
                "NUL to the end"
            }
            _ => {
                bytes[start..place].fill(b'\n');
                "blank at first"
            }
        };
        let what = format!("{what}, {start} {place} {end}");
        std::fs::write(folder.join("journal"), &bytes).unwrap();
        let kept = contents(folder.path());
        let checked = output(&["check", "--data-dir", text_of(folder.path())]);
        let told = text(&checked.stdout);
        assert!(told.contains("a torn tail from byte "), "{what}: {told}");
        assert!(told.contains("events 1 to 5; "), "{what}: {told}");
        assert!(checked.status.success(), "{what}");
        assert_eq!(contents(folder.path()), kept, "check has changed something");
        let mut server = Server::durable(folder.path(), &[]);
        let log = server.log_so_far();
        let line = log.lines().find(|line| line.contains("a torn tail was cut at byte"));
        let line = line.unwrap_or_else(|| panic!("{what}: {log}"));
        assert!(line.contains("WARN") && line.contains("journal"), "{line}");
        assert_eq!(state(&server), before, "{what}");
        let mut client = server.connect();
        assert_eq!(client.say("ALTA Otra"), "OK ALTA 1");
        server.kill();
        check_replay(folder.path());
        assert_eq!(events(folder.path()).len(), 6, "{what}");
    }
}

#[test]
fn damage_before_the_last_commit_is_refused_and_nothing_is_changed() {
    let mut rng = Rng(seed());
    let folder = Folder::new();
    let (_, start, _) = with_a_large_last_commit(folder.path());
    let whole = std::fs::read(folder.join("journal")).unwrap();
    let header = "reservad-journal 1\n".len();
    let path = folder.join("journal");
    for _ in 0..8 {
        let mut bytes = whole.clone();
        let place = header + rng.below(start - header);
        bytes[place] ^= 1 << rng.below(7);
        // The line that it is in, and the end of the last good commit before.
        let line = whole[..place].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        std::fs::write(&path, &bytes).unwrap();
        let kept = contents(folder.path());
        let checked = output(&["check", "--data-dir", text_of(folder.path())]);
        assert_eq!(contents(folder.path()), kept, "check has changed something");
        let started = output(&["--data-dir", text_of(folder.path()), "--listen", "127.0.0.1:0"]);
        assert_eq!(contents(folder.path())["journal"], kept["journal"]);
        for refused in [&checked, &started] {
            let told = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{told}");
            let last = told.lines().last().unwrap();
            assert!(last.contains(&format!("{}: byte {line}, ", path.display())), "{last}");
            assert!(last.contains("damage") && last.contains("nothing was changed"), "{last}");
            assert!(last.contains("bring back a good copy"), "{last}");
        }
        assert_eq!(text(&checked.stderr).lines().last(), text(&started.stderr).lines().last());
    }
    // What the message tells to do as the last resort works.
    let told = text(&output(&["check", "--data-dir", text_of(folder.path())]).stderr);
    let (_, advice) = told.trim().rsplit_once(": ").unwrap();
    let words: Vec<_> = advice.split(' ').collect();
    assert_eq!(words[0], "truncate", "{told}");
    assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
    Server::durable(folder.path(), &[]).stop();
    check_replay(folder.path());
}

// ------------------------------------------------------------- a failing disk

#[test]
fn a_file_size_limit_stops_the_server_with_the_reason() {
    let folder = Folder::new();
    let script = "ulimit -f 128; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_reservad"), "--data-dir"]);
    shell.args([text_of(folder.path()), "--listen", "127.0.0.1:0", "--time-zone", "UTC"]);
    let mut server = Server::spawn(shell.stdin(Stdio::null()).stderr(Stdio::piped()));
    let acknowledged = until_it_ends(&server, 0);
    assert!(acknowledged > 50, "{acknowledged}");
    stopped_because(&mut server, "File too large");
    let server = Server::durable(folder.path(), &[]);
    assert_eq!(rows(&server).len(), acknowledged);
    server.stop();
}

/// A file system in memory that goes with the test.
struct SmallDisk(Folder);

impl SmallDisk {
    fn new(bytes: usize) -> Option<SmallDisk> {
        let folder = Folder::new();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none", text_of(folder.path())]);
        match mount.output() {
            Ok(done) if done.status.success() => Some(SmallDisk(folder)),
            Ok(done) => {
                println!("skipped: mount says {}", text(&done.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: mount: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_stops_the_server_with_the_reason() {
    let Some(disk) = SmallDisk::new(256 << 10) else { return };
    let folder = disk.0.path();
    std::fs::write(folder.join("ballast"), vec![0; 128 << 10]).unwrap();
    let mut server = Server::durable(folder, &[]);
    let acknowledged = until_it_ends(&server, 0);
    assert!(acknowledged > 50, "{acknowledged}");
    stopped_because(&mut server, "No space left on device");
    // It even starts on the full disk, for it has nothing to write.
    let server = Server::durable(folder, &[]);
    assert_eq!(rows(&server).len(), acknowledged);
    server.kill();
    std::fs::remove_file(folder.join("ballast")).unwrap();
    let mut server = Server::durable(folder, &[]);
    assert_eq!(rows(&server).len(), acknowledged);
    let reply = server.connect().say("RESERVAR Habitación 2");
    assert_eq!(reply, format!("OK RESERVADO #{} Habitación 2", acknowledged + 1));
    server.signal("TERM");
    assert!(server.wait().success());
    check_replay(folder);
}

/// A disk that has no room for a snapshot is no reason to stop.
#[test]
fn a_compaction_that_fails_is_told_and_harms_nothing() {
    let master = Folder::new();
    ripe(master.path());
    let journal = std::fs::read(master.join("journal")).unwrap();
    let Some(disk) = SmallDisk::new(journal.len().next_multiple_of(4096) + (8 << 10)) else {
        return;
    };
    let folder = disk.0.path();
    std::fs::write(folder.join("journal"), &journal).unwrap();
    // Small enough a rest that a snapshot of 100 reservations does not fit.
    let mut server = Server::durable(folder, &[]);
    server.wait_log("the journal was not compacted: cannot write");
    assert!(!folder.join("journal.new").exists());
    assert_eq!(rows(&server).len(), 100);
    server.kill();
}

#[test]
fn a_failed_sync_stops_the_server_before_it_replies() {
    if !can_trace() {
        return;
    }
    for (arguments, when) in [(&[][..], "6"), (&[][..], "9+"), (&["--fsync", "1s"][..], "2+")] {
        let (folder, trace) = (Folder::new(), Folder::new());
        Server::durable(folder.path(), &[]).stop();
        let inject = format!("inject=fdatasync:error=EIO:when={when}");
        let options = ["-e", "trace=fdatasync", "-e", &inject];
        let mut server = traced(folder.path(), &trace.join("trace"), &options, arguments);
        let acknowledged = until_it_ends(&server, 0);
        stopped_because(&mut server, "Input/output error");
        let server = Server::durable(folder.path(), &[]);
        let found = rows(&server).len();
        match arguments {
            // Written, but not known to be synced: nobody may have been told.
            [] => assert_eq!(found, acknowledged + 1, "{when}"),
            _ => assert!(acknowledged > 0 && found >= acknowledged, "{found} {acknowledged}"),
        }
        server.stop();
        check_replay(folder.path());
    }
}

#[test]
fn a_failed_write_stops_the_server_before_it_replies() {
    if !can_trace() {
        return;
    }
    for arguments in [&[][..], &["--fsync", "never"], &["--fsync", "1s"]] {
        let (folder, trace) = (Folder::new(), Folder::new());
        Server::durable(folder.path(), &[]).stop();
        let inject = "inject=pwrite64:error=EIO:when=7+";
        let options = ["-e", "trace=pwrite64", "-e", inject];
        let mut server = traced(folder.path(), &trace.join("trace"), &options, arguments);
        let acknowledged = until_it_ends(&server, 0);
        stopped_because(&mut server, "Input/output error");
        let server = Server::durable(folder.path(), &[]);
        assert_eq!(rows(&server).len(), acknowledged, "{arguments:?}");
        server.stop();
    }
}

// ------------------------------------------------------------------- --fsync

#[test]
fn without_a_sync_a_kill_loses_nothing_either() {
    for fsync in ["never", "1s", "10m"] {
        let folder = Folder::new();
        let server = Server::durable(folder.path(), &["--fsync", fsync]);
        let mut client = server.connect();
        furnish(&mut client);
        let before = state(&server);
        server.kill();
        let server = Server::durable(folder.path(), &["--fsync", fsync]);
        assert_eq!(state(&server), before, "{fsync}");
        server.stop();
    }
}

/// The time stamps of a system call in a trace, in seconds.
fn calls(trace: &Path, call: &str) -> Vec<f64> {
    let trace = std::fs::read_to_string(trace).unwrap();
    let call = format!(" {call}(");
    let lines = trace.lines().filter(|line| line.contains(&call));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn an_interval_syncs_once_in_time_and_then_sleeps() {
    if !can_trace() {
        return;
    }
    let (folder, traces) = (Folder::new(), Folder::new());
    let trace = traces.join("trace");
    let server = traced(folder.path(), &trace, &[], &["--fsync", "1s"]);
    let mut client = server.connect();
    let at_start = calls(&trace, "fdatasync").len();
    let writes = calls(&trace, "pwrite64").len();
    for n in 0..3 {
        assert!(client.say(&format!("RESERVAR Habitación {}", n + 1)).starts_with("OK "));
    }
    until("a sync", || calls(&trace, "fdatasync").len() > at_start);
    let written = calls(&trace, "pwrite64")[writes];
    let synced = calls(&trace, "fdatasync")[at_start];
    // Not at once, and in time, with some room for a busy machine.
    assert!((0.8..2.5).contains(&(synced - written)), "synced after {} s", synced - written);
    // That nothing happens any more can only be seen by watching for a while:
    // more than twice the interval.
    let settled = Instant::now();
    let size = || std::fs::metadata(&trace).unwrap().len();
    let mut quiet = (size(), Instant::now());
    while quiet.1.elapsed() < Duration::from_millis(2_300) {
        assert!(settled.elapsed() < PATIENCE, "it does not come to rest");
        std::thread::sleep(Duration::from_millis(50));
        if size() != quiet.0 {
            quiet = (size(), Instant::now());
        }
    }
    assert_eq!(calls(&trace, "fdatasync").len(), at_start + 1, "one sync for all three");
    assert!(settled.elapsed() < Duration::from_secs(6), "it wakes up though nothing happens");
    drop(client);
    server.stop();
}

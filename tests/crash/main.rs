//!
//! The real server dies at random moments under the load of many clients, again and again on one
//! journal: by kill -9, also during a compaction, on a full disk, by a file size limit, by a system
//! call that fails, by a power cut. After each death, the logs of the clients are compared with the
//! next server.
//!
//! `RESERVAD_CRASH_SECONDS` sets how long each of the three tests runs. `RESERVAD_SEED` repeats the
//! random choices; the moments of death depend on the machine as well. `scripts/crash.sh 2h` runs
//! the tests for long.

mod load;
mod power;
mod story;
mod truth;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use load::{Asked, ROOMS, Worker, is_brief};
use story::{Notices, Story, watch};
use support::disk::{
    SmallDisk, can_trace, check_replay, history, is_compacted, stamped, text_of, traced,
};
use support::view::{Booking, View};
use support::{PATIENCE, Rng, Server, TempDir, has, seed, temp_dir};
use truth::Truth;

/// How long each test runs without `RESERVAD_CRASH_SECONDS`.
const SECONDS: u64 = 10;
/// Clients that compete. In some rounds, one more client fills the journal.
const CLIENTS: usize = 6;
/// The number of these clients that wait for resources.
const PATIENT: [&str; 2] = ["c0", "c1"];
const FILLER: &str = "relleno";
/// The size from which the journal is compacted.
const COMPACT_BYTES: u64 = reservad::limits::COMPACT_MIN_BYTES;

/// How the server dies in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Death {
    /// kill -9 after some replies.
    Kill,
    /// kill -9 while a snapshot is being written or replaces the journal.
    KillInCompaction,
    /// The disk has space for a few more pages.
    FullDisk,
    /// A file size limit a little above the size of the journal.
    FileLimit,
    /// The n-th call of this system call fails, or the process is killed there. Then the power
    /// fails as well.
    Call(&'static str, Fault),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Error(&'static str),
    Killed,
}

/// One journal, and its expected contents.
struct Scene {
    rng: Rng,
    /// The data directory.
    data: PathBuf,
    /// A directory on another disk.
    other: TempDir,
    truth: Truth,
    story: Story,
    /// Size of the journal when the server was started, in bytes.
    journal_bytes: u64,
    rounds: usize,
    in_compactions: usize,
    by_themselves: usize,
    /// Bytes that power cuts have removed.
    cut_bytes: u64,
}

impl Scene {
    /// Adds rooms, and enough names that a snapshot takes more than one turn.
    fn new(rng: Rng, data: &Path) -> Scene {
        let other = temp_dir();
        let mut names: Vec<_> = (1..=ROOMS).map(|n| format!("Sala {n}")).collect();
        names.push(FILLER.to_owned());
        names.extend((0..2000).map(|n| format!("{} {n}", "x".repeat(110))));
        std::fs::write(other.path().join("rooms"), names.join("\n")).unwrap();
        let data = data.to_owned();
        Scene {
            rng,
            data,
            other,
            truth: Truth::default(),
            story: Story::default(),
            journal_bytes: 0,
            rounds: 0,
            in_compactions: 0,
            by_themselves: 0,
            cut_bytes: 0,
        }
    }

    /// Runs the server from its start to its death.
    fn round(&mut self, death: Death) {
        let mut server = self.start(death);
        self.check(&server);
        self.rounds += 1;
        let ballast = self.data.join("ballast");
        if death == Death::FullDisk {
            fill_disk(&ballast, self.rng.below(96 << 10));
        }
        let load = self.begin_load(&server, death);
        match death {
            Death::KillInCompaction => self.await_compaction(&load.reply_events),
            Death::Kill => self.await_answers(&load.reply_events, 600),
            _ => self.await_answers(&load.reply_events, 4_000),
        }
        self.end(&mut server, death);
        for (holder, log) in load.clients {
            self.truth.add(&holder, log.join().expect("a client has failed"));
        }
        for watcher in load.watchers {
            self.story.add(watcher.join().expect("a watcher has failed"));
        }
        self.in_compactions += usize::from(self.data.join("journal.new").exists());
        let _ = std::fs::remove_file(ballast);
        if matches!(death, Death::Call(..)) {
            let (trace, journal) = (self.other.path().join("trace"), self.data.join("journal"));
            self.cut_bytes += power::cut(&trace, &journal, &mut self.rng);
        }
    }

    fn start(&mut self, death: Death) -> Server {
        let rooms = self.other.path().join("rooms");
        let arguments = ["--inventory", text_of(&rooms)];
        match death {
            Death::FileLimit => {
                let limit = self.used_bytes() + (16 << 10) + self.rng.below(96 << 10);
                let mut limited = Command::new("prlimit");
                limited.args([&format!("--fsize={limit}"), env!("CARGO_BIN_EXE_reservad")]);
                limited.args(["--data-dir", text_of(&self.data), "--listen", "127.0.0.1:0"]);
                limited.args(["--time-zone", "UTC"]).args(arguments);
                Server::spawn(limited.stdin(Stdio::null()).stderr(Stdio::piped()))
            }
            Death::Call(call, fault) => {
                // Skips the calls of the start and of the check after it, which reads long lists.
                let first = if call == "sendto" { 150 } else { 40 };
                let when = first + self.rng.below(200);
                let what = match fault {
                    Fault::Error(error) => format!("error={error}"),
                    Fault::Killed => "signal=KILL".to_owned(),
                };
                let inject = format!("inject={call}:{what}:when={when}");
                let trace = format!("trace=pwrite64,fdatasync,{call}");
                let options = ["-y", "-e", &trace, "-e", &inject];
                traced(&self.data, &self.other.path().join("trace"), &options, &arguments)
            }
            _ => Server::durable(&self.data, &arguments),
        }
    }

    /// Returns the bytes of the journal without its spare tail.
    fn used_bytes(&self) -> usize {
        let bytes = std::fs::read(self.data.join("journal")).unwrap_or_default();
        bytes.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 2)
    }

    /// Compares the expected contents with a new server.
    fn check(&mut self, server: &Server) {
        let view = View::of(server);
        self.truth.check(&view);
        self.story.check(server.address, &view);
        let (events, last_event) = history(&self.data);
        assert!(last_event >= view.last_event);
        check_numbers(&events);
        if self.rounds.is_multiple_of(16) {
            check_replay(&self.data);
        }
        self.journal_bytes = view.journal_bytes;
    }

    fn begin_load(&mut self, server: &Server, death: Death) -> Load {
        let address = server.address;
        let (on_reply, reply_events) = channel();
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            clients.push(self.begin_client(server, &format!("c{n}"), &on_reply));
        }
        if !matches!(death, Death::Kill | Death::Call(..)) {
            clients.push(self.begin_client(server, FILLER, &on_reply));
        }
        // One watcher continues where it was, and one starts earlier.
        let last = self.story.last;
        let again = last.saturating_sub(self.rng.below(100) as u64);
        let watchers = [last, again].map(|tras| spawn(move || watch(address, tras, u64::MAX)));
        Load { clients, watchers: watchers.into(), reply_events }
    }

    fn begin_client(&mut self, server: &Server, holder: &str, on_reply: &Sender<()>) -> Client {
        let is_mine = |booking: &Booking| booking.holder == holder && !is_brief(&booking.note);
        let mine = self.truth.bookings.iter().filter(|(_, booking)| is_mine(booking));
        let own = |name: &&String| name.split(' ').next() == Some(holder);
        let worker = Worker {
            rng: Rng(self.rng.next_u64()),
            holder: holder.to_owned(),
            round: self.rounds,
            is_patient: PATIENT.contains(&holder),
            is_filler: holder == FILLER,
            mine: mine.map(|(number, booking)| (*number, booking.clone())).collect(),
            added: self.truth.added.iter().filter(own).cloned().collect(),
            retries: self.truth.retries(holder),
            count: 0,
            asked: Vec::new(),
        };
        let (address, on_reply) = (server.address, on_reply.clone());
        (holder.to_owned(), spawn(move || worker.run(address, on_reply)))
    }

    /// Waits for up to `most` replies and a random moment, or until the server ends.
    fn await_answers(&mut self, reply_events: &Receiver<()>, most: usize) {
        let count = if most > 1000 { most } else { self.rng.below(most) };
        for _ in 0..count {
            match reply_events.recv_timeout(PATIENCE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("the load has stopped"),
            }
        }
        self.spin(20_000);
    }

    /// Waits until a snapshot is begun, at times until it has replaced the journal, and a random
    /// moment. On a busy machine the compaction may be over before it is seen; then the journal has
    /// become smaller.
    fn await_compaction(&mut self, reply_events: &Receiver<()>) {
        let (begun, new) = (Instant::now(), self.data.join("journal.new"));
        let size = || std::fs::metadata(self.data.join("journal")).unwrap().len();
        let mut largest = size();
        while !new.exists() && size() >= largest && begun.elapsed() < PATIENCE / 2 {
            largest = size();
            while reply_events.try_recv().is_ok() {}
            std::hint::spin_loop();
        }
        let to_its_end = self.rng.one_in(2);
        while to_its_end && new.exists() && begun.elapsed() < PATIENCE {
            std::hint::spin_loop();
        }
        self.spin(400_000);
    }

    fn spin(&mut self, most: usize) {
        for _ in 0..self.rng.below(most) {
            std::hint::spin_loop();
        }
    }

    /// Checks that the server has ended by itself with a reason, or kills it.
    fn end(&mut self, server: &mut Server, death: Death) {
        let reason = match death {
            Death::FullDisk => Some("No space left on device"),
            Death::FileLimit => Some("File too large"),
            Death::Call(_, Fault::Error("EIO")) => Some("Input/output error"),
            Death::Call(_, Fault::Error("ENOSPC")) => Some("No space left on device"),
            _ => None,
        };
        // A server that fails has ended when the last client has noticed. A fault that hit only a
        // snapshot does not end it.
        let ended =
            server.ended_within(Duration::from_millis(if reason.is_some() { 500 } else { 0 }));
        let Some(status) = ended else {
            server.signal("KILL");
            assert_eq!(server.wait().signal(), Some(9));
            return;
        };
        self.by_themselves += 1;
        if matches!(death, Death::Call(_, Fault::Killed)) {
            assert_eq!(status.signal(), Some(9), "{status}");
            return;
        }
        let line = server.wait_log("reservad: cannot ");
        let reason = reason.unwrap_or_else(|| panic!("{death:?}: {line}"));
        assert!(line.contains(reason) && line.contains("journal"), "{death:?}: {line}");
        assert_eq!(status.code(), Some(1), "{status}: {line}");
    }

    /// Does the last check, and stops the server.
    fn finish(mut self, what: &str) {
        let rooms = self.other.path().join("rooms");
        let server = Server::durable(&self.data, &["--inventory", text_of(&rooms)]);
        self.check(&server);
        server.stop();
        check_replay(&self.data);
        self.print(what);
        let figures = &self.truth.figures;
        assert!(figures.acknowledged > 10 * self.rounds, "too few requests between the crashes");
    }

    fn print(&self, what: &str) {
        let figures = &self.truth.figures;
        println!(
            "{what}: {} rounds, {} ended by themselves, {} within a compaction, {} bytes lost \
             with the power; {} answers, {} of \
             them OK, {} requests unanswered; {} reservations were there unsaid, {} answered again \
             by their key; event {}, {} watches restarted; nothing lost, nothing twice",
            self.rounds,
            self.by_themselves,
            self.in_compactions,
            self.cut_bytes,
            figures.answers,
            figures.acknowledged,
            figures.unanswered,
            figures.done_unsaid,
            figures.same_number,
            self.story.last,
            self.story.gaps,
        );
    }
}

type Client = (String, JoinHandle<Vec<Asked>>);

struct Load {
    clients: Vec<Client>,
    watchers: Vec<JoinHandle<Notices>>,
    reply_events: Receiver<()>,
}

/// Checks that the confirmation numbers in the journal are 1, 2, 3…
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

/// Fills a disk up to the last `but` bytes.
fn fill_disk(ballast: &Path, but: usize) {
    use std::io::Write;
    let mut file = std::fs::File::create(ballast).unwrap();
    let mut bytes = 0;
    while file.write_all(&[0; 4096]).is_ok() {
        bytes += 4096;
    }
    file.set_len((bytes as u64).saturating_sub(but as u64)).unwrap();
}

/// Runs rounds until the time is over, at least one of each kind.
fn run(what: &str, data: &Path, deaths: &[Death]) {
    let seconds = std::env::var("RESERVAD_CRASH_SECONDS");
    let seconds = seconds.map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let mut rng = Rng(seed());
    let (begun, time) = (Instant::now(), Duration::from_secs(seconds));
    let mut scene = Scene::new(Rng(rng.next_u64()), data);
    while begun.elapsed() < time || scene.rounds < deaths.len() {
        let mut death = deaths[scene.rounds % deaths.len()];
        if death == Death::Kill && scene.journal_bytes > COMPACT_BYTES * 7 / 8 {
            death = Death::KillInCompaction;
        }
        scene.round(death);
        if scene.rounds.is_multiple_of(100) {
            scene.print(what);
        }
    }
    scene.finish(what);
}

#[test]
fn kills_at_random_moments() {
    let directory = temp_dir();
    let mut deaths = [Death::Kill; 8];
    deaths[3] = Death::KillInCompaction;
    run("killed", directory.path(), &deaths);
    let journal = std::fs::read_to_string(directory.path().join("journal")).unwrap();
    assert!(is_compacted(&journal), "the journal was never compacted");
}

#[test]
fn lack_of_space_at_random_moments() {
    let Some(disk) = SmallDisk::new(16 << 20) else { return };
    if has("prlimit") {
        run("out of space", disk.path(), &[Death::FullDisk, Death::FileLimit]);
    }
}

#[test]
fn failing_calls_at_random_moments() {
    if !can_trace() {
        return;
    }
    let directory = temp_dir();
    let deaths = [
        Death::Call("fdatasync", Fault::Error("EIO")),
        Death::Call("pwrite64", Fault::Error("EIO")),
        Death::Call("fdatasync", Fault::Killed),
        Death::Call("pwrite64", Fault::Error("ENOSPC")),
        Death::Call("pwrite64", Fault::Killed),
        Death::Call("sendto", Fault::Killed),
    ];
    run("failing calls", directory.path(), &deaths);
}

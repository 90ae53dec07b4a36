//! What the tests over real sockets share: a server of their own on port 0
//! with its own folder, and a client that speaks lines.
//!
//! Nothing here sleeps for luck: a server is ready when it logs its address,
//! a reply is there when it was read. Every wait has a generous limit that
//! turns a hang into a failure.

pub mod dialog;
pub mod disk;
pub mod generator;
pub mod reference;
pub mod sim_disk;
pub mod skip;
pub mod terminal;
pub mod view;

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub use tempfile::TempDir;

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Returns a new directory that is removed with the value.
pub fn temp_dir() -> TempDir {
    let permissions = Permissions::from_mode(0o777); // less the umask, like any directory
    let mut builder = tempfile::Builder::new();
    builder.prefix("reservad-test-").permissions(permissions).tempdir().expect("a new directory")
}

/// Returns the directory into which cargo has built the programs and, beside it, this test.
pub fn program_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("target/debug").to_owned()
}

/// Returns the path of a program of this package, `reservad` or `reserva`.
pub fn program(name: &str) -> PathBuf {
    program_dir().join(name)
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    log: Receiver<String>,
    seen: String,
}

/// The server's program with arguments, its log on a pipe.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("reservad"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Server {
    /// In memory, in UTC, on a free port, with these arguments too.
    pub fn in_memory(arguments: &[&str]) -> Server {
        let mut all = vec!["--in-memory"];
        all.extend(arguments);
        Server::start(&all)
    }

    /// With its data in `folder`.
    pub fn durable(folder: &Path, arguments: &[&str]) -> Server {
        let mut all = vec!["--data-dir", folder.to_str().unwrap()];
        all.extend(arguments);
        Server::start(&all)
    }

    /// On a free port of 127.0.0.1 and in UTC, unless the arguments say otherwise.
    pub fn start(arguments: &[&str]) -> Server {
        let mut all = arguments.to_vec();
        if !arguments.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        if !arguments.contains(&"--time-zone") {
            all.extend(["--time-zone", "UTC"]);
        }
        Server::spawn(&mut command(&all))
    }

    /// Waits until it says where it listens.
    pub fn spawn(command: &mut Command) -> Server {
        let mut child = command.spawn().expect("the server's program starts");
        let stderr = child.stderr.take().expect("its log is on a pipe");
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let nowhere = "0.0.0.0:0".parse().unwrap();
        let seen = String::new();
        let mut server = Server { child, address: nowhere, addresses: Vec::new(), log, seen };
        // The line after the last address tells the figures.
        loop {
            let line = server.next_log();
            if let Some((_, address)) = line.split_once("listening on ") {
                server.addresses.push(address.parse().unwrap());
            } else if line.contains("room for") {
                break;
            }
        }
        server.address = server.addresses[0];
        server
    }

    fn next_log(&mut self) -> String {
        match self.log.recv_timeout(PATIENCE) {
            Ok(line) => {
                let _ = writeln!(self.seen, "{line}");
                line
            }
            Err(error) => panic!("the server says nothing more ({error}); so far:\n{}", self.seen),
        }
    }

    /// Waits for a log line that contains `text` and returns it.
    pub fn wait_log(&mut self, text: &str) -> String {
        loop {
            let line = self.next_log();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Everything logged so far that was read.
    pub fn log_so_far(&mut self) -> String {
        while let Ok(line) = self.log.try_recv() {
            let _ = writeln!(self.seen, "{line}");
        }
        self.seen.clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> Client {
        Client::to(self.address)
    }

    /// Sends a signal by name, as in `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Kills it with -9. It must not have ended by itself before.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}; log:\n{}", self.log_so_far());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Its status if it ends within this time.
    pub fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + time;
        loop {
            let status = self.child.try_wait().unwrap();
            if status.is_some() || Instant::now() >= end {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it with SIGTERM; it must end with status 0.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}; log:\n{}", self.log_so_far());
    }

    /// A field of /proc/PID/status.
    pub fn proc_status(&self, field: &str) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Waits until it is asleep (`S`) or stopped (`T`).
    pub fn wait_state(&self, state: &str) {
        until(&format!("the server is in state {state}"), || self.proc_status("State:") == state);
    }

    /// Holds it still while `work` is done: it sees all of that at once.
    pub fn while_stopped<T>(&self, work: impl FnOnce() -> T) -> T {
        self.signal("STOP");
        self.wait_state("T");
        let done = work();
        self.signal("CONT");
        done
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.proc_status("VmRSS:").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the journal grow until it is compacted.
pub fn fill_journal(server: &mut Server) {
    let compactions =
        |server: &mut Server| server.log_so_far().matches("the journal was compacted").count();
    let before = compactions(server);
    let mut client = server.connect();
    client.say("SOY relleno");
    client.say("ALTA relleno");
    // Escaped twice in the journal, as the note and within the request.
    let note = "\\\"".repeat(256);
    let pair = format!("RESERVAR relleno clave=k nota=\"{note}\"\nCANCELAR relleno\n");
    for _ in 0..200 {
        client.send(pair.repeat(32));
        for _ in 0..64 {
            let got = client.line();
            assert!(got.starts_with("OK "), "{got}");
        }
        if compactions(server) > before {
            assert_eq!(client.say("BAJA relleno"), "OK BAJA 1");
            return;
        }
    }
    panic!("the journal is not compacted");
}

/// Waits for the end of a process, with a limit.
pub fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < end, "the process does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A connection that speaks lines.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn to(address: SocketAddr) -> Client {
        Client::from_stream(TcpStream::connect(address).unwrap())
    }

    /// Over a socket that was made to measure.
    pub fn from_stream(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a line; whether the connection took it.
    pub fn try_send(&mut self, line: &str) -> bool {
        self.stream.get_mut().write_all(line.as_bytes()).is_ok()
    }

    /// The next line with its ending; empty at the end of the connection.
    pub fn raw_line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    /// The next line without its LF.
    pub fn line(&mut self) -> String {
        let line = self.raw_line();
        match line.strip_suffix('\n') {
            Some(line) => line.to_owned(),
            None => panic!("the connection ended, after {line:?}"),
        }
    }

    /// The next line without its LF; `None` if the connection ends first.
    pub fn try_line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// Sends a line and returns the first line of the reply.
    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.line()
    }

    /// Sends a line that is answered by a list; returns its lines.
    pub fn list(&mut self, line: &str) -> Vec<String> {
        let head = self.say(line);
        self.list_after(&head)
    }

    /// The lines of a list whose first line was read.
    pub fn list_after(&mut self, head: &str) -> Vec<String> {
        let count = head.strip_prefix("OK ").and_then(|rest| rest.split(' ').next());
        let count: usize = count.unwrap().parse().unwrap_or_else(|_| panic!("no list: {head}"));
        (0..count).map(|_| self.line()).collect()
    }

    /// Closes the writing side and reads what still comes, to the end.
    pub fn finish(mut self) -> String {
        let _ = self.stream.get_mut().shutdown(std::net::Shutdown::Write);
        self.rest()
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        String::from_utf8(rest).unwrap()
    }

    /// Whether the server has closed the connection and nothing more comes.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(0) | Err(_))
    }
}

/// A connection with a small receive buffer, that soon takes nothing more.
pub fn narrow(server: &Server) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    Client::from_stream(socket.into())
}

/// A day of 2030 and later, another for each number.
pub fn day(number: usize) -> String {
    format!("{}-{:02}-{:02}", 2030 + number / 336, number / 28 % 12 + 1, number % 28 + 1)
}

/// Waits until `done` says so.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a program is here; on CI a missing one is a failure.
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    });
    let on_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(found || !on_ci, "{program} is missing, and CI skips nothing: see .ci/run");
    if !found {
        skip::skip(format_args!("needs {program}"));
    }
    found
}

/// The seed of a test that draws at random: `RESERVAD_SEED`, else a new one.
/// Printed, so that a failure can be had again.
pub fn seed() -> u64 {
    let asked = std::env::var("RESERVAD_SEED").ok();
    let seed = match asked {
        Some(seed) => seed.parse().expect("RESERVAD_SEED is a number"),
        None => {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.unwrap().as_nanos() as u64
        }
    };
    println!("RESERVAD_SEED={seed}");
    seed
}

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    pub fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

//! A real server process and its log.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::{Client, PATIENCE, program, until, wait};

/// A running server, which is killed when the value is dropped.
pub struct Server {
    child: Child,
    /// The first of `addresses`.
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    log: Receiver<String>,
    /// The lines of the log that were read.
    seen: String,
}

/// Returns a command that starts the server with its log on a pipe.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("reservad"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts a server in memory with the given and the usual arguments; see [`Server::start`].
    pub fn in_memory(arguments: &[&str]) -> Server {
        let mut all = vec!["--in-memory"];
        all.extend(arguments);
        Server::start(&all)
    }

    /// Starts a server with its data in `directory`.
    pub fn durable(directory: &Path, arguments: &[&str]) -> Server {
        let mut all = vec!["--data-dir", directory.to_str().unwrap()];
        all.extend(arguments);
        Server::start(&all)
    }

    /// Starts a server, on a free port of 127.0.0.1 and in UTC unless the arguments say otherwise.
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

    /// Runs a command that starts a server, and waits until the server listens.
    pub fn spawn(command: &mut Command) -> Server {
        let mut child = command.spawn().expect("cannot start the server");
        let stderr = child.stderr.take().expect("the log is not on a pipe");
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
        // This line follows the last address.
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
            Err(error) => panic!("no more lines in the log ({error}); so far:\n{}", self.seen),
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

    /// Returns the log up to now.
    pub fn log_so_far(&mut self) -> String {
        while let Ok(line) = self.log.try_recv() {
            let _ = writeln!(self.seen, "{line}");
        }
        self.seen.clone()
    }

    /// Returns the whole log of a server that has ended.
    pub fn log_to_end(&mut self) -> String {
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
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

    /// Sends a signal by its name without `SIG`, for example `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Sends SIGKILL. Fails if the server has already ended.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}; log:\n{}", self.log_so_far());
    }

    /// Waits for the server to end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Returns the exit status if the server ends within `time`.
    pub fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + time;
        loop {
            let status = self.child.try_wait().unwrap();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM and checks that the exit status is 0.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}; log:\n{}", self.log_so_far());
    }

    /// Returns the first word of a field of `/proc/PID/status`.
    pub fn proc_status(&self, field: &str) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Returns how often the process has gone to sleep.
    pub fn wake_ups(&self) -> u64 {
        self.proc_status("voluntary_ctxt_switches:").parse().unwrap()
    }

    /// Returns the processor time of the process in hundredths of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = text.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Waits until the process is in a state as in `/proc`: asleep (`S`) or stopped (`T`).
    pub fn wait_state(&self, state: &str) {
        until(&format!("the server is in state {state}"), || self.proc_status("State:") == state);
    }

    /// Stops the process while `work` runs, so that the server sees all of its effects at once.
    pub fn while_stopped<T>(&self, work: impl FnOnce() -> T) -> T {
        self.signal("STOP");
        self.wait_state("T");
        let done = work();
        self.signal("CONT");
        done
    }

    /// Returns the resident memory in bytes.
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

/// Sends requests until the server compacts its journal.
pub fn fill_journal(server: &mut Server) {
    let compactions =
        |server: &mut Server| server.log_so_far().matches("compacted the journal").count();
    let before = compactions(server);
    let mut client = server.connect();
    client.say("SOY relleno");
    client.say("ALTA relleno");
    // Escaped twice in the journal: in the note, and in the text of the request.
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
    panic!("the journal was not compacted");
}

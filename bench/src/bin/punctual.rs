//! Measures how late an idle server ends a wait and a lease, and how often it wakes up before.
//!
//! ```sh
//! cargo build --release
//! cargo run --release --manifest-path bench/Cargo.toml --bin punctual -- [PROGRAM [ROUNDS]]
//! ```
//!
//! The times are those at which a client reads the reply: the 408 of a wait, and the grant to a
//! waiter at the end of the lease. They include the transmission of request and reply.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Client(BufReader<TcpStream>);

impl Client {
    fn to(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("cannot connect");
        stream.set_nodelay(true).expect("cannot set TCP_NODELAY");
        Client(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line
    }

    fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).expect("cannot send");
        self.line()
    }
}

/// Returns the system clock in milliseconds.
fn clock_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1000.0
}

/// Returns the number of voluntary context switches of a process.
fn wake_ups(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"));
    let count = line.and_then(|line| line.split_whitespace().nth(1)).expect("a count");
    count.parse().expect("a number")
}

fn report(what: &str, mut late_ms: Vec<f64>) {
    late_ms.sort_by(f64::total_cmp);
    let at = |quantile: f64| late_ms[((late_ms.len() - 1) as f64 * quantile).round() as usize];
    println!(
        "{what}: {} rounds, lateness min {:.2} ms, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        late_ms.len(),
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let program = args.next().unwrap_or("target/release/reservad".to_owned());
    let rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(100);
    let mut server = Command::new(program)
        .args(["--in-memory", "--listen", "127.0.0.1:0", "--time-zone", "UTC"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot start the server");
    let log = BufReader::new(server.stderr.take().expect("the log is on a pipe"));
    let mut log = log.lines().map_while(Result::ok);
    let line = log.find(|line| line.contains("listening on ")).expect("an address");
    let address = line.split("listening on ").nth(1).expect("an address").to_owned();
    // Read to the end, so that the server never blocks on a full pipe.
    std::thread::spawn(move || log.for_each(drop));
    let pid = server.id();

    let mut holder = Client::to(&address);
    let mut waiter = Client::to(&address);
    holder.say("RESERVAR Habitación 2");
    let (mut waits, mut leases) = (Vec::new(), Vec::new());
    let mut woken = 0;
    for round in 0..rounds {
        // Start at different fractions of a second.
        std::thread::sleep(Duration::from_millis(round * 37 % 200));
        let start = Instant::now();
        assert!(waiter.say("RESERVAR Habitación 2 espera=1s").starts_with("* COLA 1 "));
        let before = wake_ups(pid);
        assert!(waiter.line().starts_with("ERR 408 "));
        waits.push(start.elapsed().as_secs_f64() * 1000.0 - 1000.0);
        woken += wake_ups(pid) - before;

        let before_ms = clock_ms();
        assert!(holder.say("RESERVAR Habitación 1 por=1s").starts_with("OK RESERVADO "));
        assert!(waiter.say("RESERVAR Habitación 1 espera=1h").starts_with("* COLA 1 "));
        let before = wake_ups(pid);
        assert!(waiter.line().starts_with("OK RESERVADO "));
        leases.push(clock_ms() - before_ms - 1000.0);
        woken += wake_ups(pid) - before;
        assert!(waiter.say("CANCELAR Habitación 1").starts_with("OK CANCELADO "));
    }
    report("408 after espera=1s", waits);
    report("grant to the next after por=1s", leases);
    let each = woken as f64 / (2 * rounds) as f64;
    println!("{each:.2} wake-ups per second of waiting, including the one at the end");
    server.kill().expect("cannot end the server");
    server.wait().expect("cannot wait for the server");
}

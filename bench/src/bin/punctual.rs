//! How punctual the server is when nothing else happens: how long after its
//! time a wait ends and a lease expires, and whether the server sleeps until
//! then.
//!
//! ```sh
//! cargo build --release
//! cargo run --release --example punctual -- target/release/reservad [ROUNDS]
//! ```
//!
//! Both are timed by what a client reads. A wait has its 408. Of a lease the
//! next in the queue is told: it is granted at the lease's end, and both times
//! are of the system's clock, so the end itself is known to a millisecond.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Client(BufReader<TcpStream>);

impl Client {
    fn to(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("an option");
        Client(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line
    }

    fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).expect("it is sent");
        self.line()
    }
}

/// Milliseconds of the system's clock, as the server has them.
fn clock_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1000.0
}

fn wake_ups(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"));
    let count = line.and_then(|line| line.split_whitespace().nth(1)).expect("a figure");
    count.parse().expect("a number")
}

fn report(what: &str, mut late_ms: Vec<f64>) {
    late_ms.sort_by(f64::total_cmp);
    let at = |share: f64| late_ms[((late_ms.len() - 1) as f64 * share).round() as usize];
    println!(
        "{what}: {} rounds, late by min {:.2} ms, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
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
        .expect("the server starts");
    let log = BufReader::new(server.stderr.take().expect("its log"));
    let mut log = log.lines().map_while(Result::ok);
    let line = log.find(|line| line.contains("listening on ")).expect("an address");
    let address = line.split("listening on ").nth(1).expect("an address").to_owned();
    // Read on, so that it never blocks on its log.
    std::thread::spawn(move || log.for_each(drop));
    let pid = server.id();

    let mut holder = Client::to(&address);
    let mut waiter = Client::to(&address);
    holder.say("RESERVAR Habitación 2");
    let (mut waits, mut leases) = (Vec::new(), Vec::new());
    let mut woken = 0;
    for round in 0..rounds {
        // Not always at the same part of a second.
        std::thread::sleep(Duration::from_millis(round * 37 % 200));
        let asked = Instant::now();
        assert!(waiter.say("RESERVAR Habitación 2 espera=1s").starts_with("* COLA 1 "));
        let before = wake_ups(pid);
        assert!(waiter.line().starts_with("ERR 408 "));
        waits.push(asked.elapsed().as_secs_f64() * 1000.0 - 1000.0);
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
    println!("late includes the way of the request and the reply");
    report("408 after espera=1s", waits);
    report("the next is granted after por=1s", leases);
    let each = woken as f64 / (2 * rounds) as f64;
    println!("the server woke {each:.2} times in a second of waiting, the end itself included");
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

//! Hostile clients beside ten good ones, over real sockets. The good clients, which make and cancel
//! reservations, must be served in time, the server's memory must stay bounded, and after the
//! attack the server must sleep.
//!
//! The default limits allow for other load on the machine. With `HOSTILE_STRICT=1` they are those
//! for two idle cores. An echo server in this process shows the latency that the machine itself
//! adds. `HOSTILE_SECONDS`, `HOSTILE_CLIENTS` and `HOSTILE_KIND` make a run longer, larger, or
//! limited to one kind of client. `scripts/siege.sh` runs it with the strict limits.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use reservad::time::{Round, Time, Zone};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use support::{Client, PATIENCE, Rng, Server, TempDir, seed, temp_dir};

const GOOD_CLIENTS: usize = 10;
const GROWTH_MAX_BYTES: u64 = 64 << 20;

/// The numbers of long and short names. Together they are so short that a line may contain 31
/// patterns.
const LONG_NAMES: usize = 6_500;
const SHORT_NAMES: usize = 20_000;

/// The length of the common beginning of all names, so that patterns nearly match.
const STEM: usize = 112;

const IAC: u8 = 255;
const WILL: u8 = 251;
const DO: u8 = 253;
const IP: u8 = 244;
const SB: u8 = 250;
const TIMING_MARK: u8 = 6;

/// The limits for the latency of a pair of requests of a good client.
struct Bounds {
    p99: Duration,
    max: Duration,
}

impl Bounds {
    /// Returns the limits. The default ones are extended by the time that the server waited for a
    /// processor.
    fn asked(cpu: Duration, wait: Duration) -> Bounds {
        let ms = Duration::from_millis;
        if number("HOSTILE_STRICT", 0.0) != 0.0 {
            return Bounds { p99: ms(50), max: ms(250) };
        }
        let stretch = 1.0 + wait.as_secs_f64() / cpu.as_secs_f64().max(0.001);
        Bounds { p99: ms(250).mul_f64(stretch), max: ms(2_000).mul_f64(stretch) }
    }
}

/// A kind of hostile client.
struct Kind {
    name: &'static str,
    /// Returns the lines that it sends, given its index among its kind.
    says: fn(&mut Rng, usize) -> Vec<u8>,
    /// The number of bytes that it sends at once.
    piece: usize,
    reads: Reads,
    then: Then,
    /// The pause between two rounds.
    pause: Duration,
    /// The number of such clients for each client of a normal kind.
    weight: usize,
}

/// How much of the server's output a client reads.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    All,
    Never,
    /// A number of bytes per round.
    Some(usize),
}

/// The action of a client after its last line.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// It starts again.
    Again,
    /// It stays connected and is silent.
    Stay,
    /// It resets the connection and connects again.
    Reset,
    /// It half-closes, stays for some rounds, and connects again.
    HalfClose(usize),
    /// It sends a byte of urgent data and starts again.
    Urgent,
}

const fn kind(name: &'static str, says: fn(&mut Rng, usize) -> Vec<u8>) -> Kind {
    let pause = Duration::from_millis(10);
    Kind { name, says, piece: 64 << 10, reads: Reads::All, then: Then::Again, pause, weight: 1 }
}

fn kinds() -> Vec<Kind> {
    let ms = Duration::from_millis;
    vec![
        Kind { piece: 1, ..kind("slow drip", |_, n| line(format!("RESERVAR Nada {n} por=9h"))) },
        Kind {
            reads: Reads::Never,
            ..kind("lists never read", |_, _| many("LISTAR\nRESERVAS\n", 200))
        },
        Kind { reads: Reads::Never, ..kind("megabytes behind a wait", behind_a_wait) },
        kind("a line without an end", |_, _| vec![b'x'; 1_100_000]),
        Kind {
            then: Then::Reset,
            pause: ms(2),
            ..kind("resets", |_, _| b"LISTAR\nRESER".to_vec())
        },
        kind("random bytes", |rng, _| (0..2048).map(|_| rng.next_u64() as u8).collect()),
        kind("an endless subnegotiation", |_, _| [&[IAC, SB][..], &[b'x'; 60_000]].concat()),
        Kind {
            reads: Reads::Never,
            ..kind("telnet demands, never read", |_, _| [IAC, DO, 9].repeat(9_000))
        },
        Kind { piece: 1, pause: ms(2), ..kind("telnet split", telnet_words) },
        Kind { then: Then::Urgent, ..kind("urgent and interrupts", interrupts) },
        Kind { then: Then::HalfClose(1), ..kind("other protocols", other_protocols) },
        Kind {
            reads: Reads::Never,
            then: Then::HalfClose(100),
            ..kind("half-closers", half_closers)
        },
        Kind { reads: Reads::Never, then: Then::Stay, ..kind("watchers, never read", watchers) },
        kind("changes", changes),
        kind("ALTA of thousands", large_additions),
        Kind { then: Then::Reset, ..kind("waiters that go", waiters) },
        Kind { then: Then::Stay, ..kind("waiters with patterns", waiters_with_patterns) },
        Kind {
            then: Then::Reset,
            pause: ms(100),
            weight: 4,
            ..kind("waiters with 31 patterns that go", waiters_with_many_patterns)
        },
        Kind {
            then: Then::Reset,
            pause: ms(100),
            weight: 4,
            ..kind("waiters with 32 long names that go", waiters_with_many_names)
        },
        Kind {
            then: Then::HalfClose(50),
            weight: 4,
            ..kind("waiters for Hub and a pattern", waiters_for_hub)
        },
        kind("Hub is taken and cancelled", |_, _| many("RESERVAR Hub\nCANCELAR Hub\n", 8)),
        Kind { then: Then::Stay, weight: 2, ..kind("dated waiters", dated_waiters) },
        kind("pairs of others", pairs),
        Kind {
            then: Then::Reset,
            pause: ms(50),
            ..kind("waiters for many things", greedy_waiters)
        },
        Kind { pause: ms(100), weight: 2, ..kind("ends at one instant", leases) },
        Kind { pause: ms(500), weight: 2, ..kind("dates that end at one instant", dated_ends) },
        Kind {
            then: Then::Reset,
            pause: ms(100),
            weight: 2,
            ..kind("keep-alives that nobody renews", keep_alives)
        },
        kind("CANCELAR on a full room", |_, _| {
            [line("SOY duena".to_owned()), many("CANCELAR Muchas\n", 64)].concat()
        }),
        kind("hostile patterns", |rng, _| costly_patterns(rng)),
        kind("CUANDO over bookings", |_, n| {
            many(["CUANDO Muchas por=3h\n", "CANCELAR Muchas\n"][n % 2], 64)
        }),
        kind("RESERVAS by pattern", |rng, _| line(format!("RESERVAS {}", costly(rng)))),
        kind("AYUDA", |_, _| many("AYUDA\nHELP RESERVE\n", 500)),
        kind("LISTAR", |_, _| many("LISTAR\n", 4)),
        // All send at once and then pause, so that the server does not know them as costly clients.
        Kind {
            pause: ms(400),
            weight: 8,
            ..kind("bursts of costly lists", |rng, _| line(format!("LISTAR {}", costly(rng))))
        },
        Kind {
            reads: Reads::Some(512),
            then: Then::HalfClose(500),
            weight: 2,
            ..kind("slow readers of lists", |_, n| many(["LISTAR\n", "RESERVAS\n"][n % 2], 1))
        },
        Kind {
            reads: Reads::Some(64),
            then: Then::Stay,
            weight: 2,
            ..kind("watchers with filters that read slowly", |_, n| {
                line(format!("OBSERVAR {}", ["*q*9*", "Hub", "Grande *"][n % 3]))
            })
        },
        Kind {
            then: Then::Stay,
            weight: 2,
            ..kind("watchers that read", |_, _| many("OBSERVAR\n", 1))
        },
        Kind {
            then: Then::HalfClose(1),
            ..kind("costly lines before a half-close", lines_put_back)
        },
        Kind { then: Then::Reset, ..kind("costly lines before a reset", lines_put_back) },
        Kind {
            reads: Reads::Never,
            then: Then::Reset,
            ..kind("readers of lists that go", |_, _| many("LISTAR\n", 1))
        },
        Kind { then: Then::Reset, pause: ms(100), ..kind("hang-ups that held a lot", hang_ups) },
        kind("keys and names", keys),
        Kind { then: Then::Stay, ..kind("idle connections", |_, _| Vec::new()) },
    ]
}

fn line(text: String) -> Vec<u8> {
    (text + "\n").into_bytes()
}

fn many(lines: &str, times: usize) -> Vec<u8> {
    lines.repeat(times).into_bytes()
}

fn behind_a_wait(_: &mut Rng, _: usize) -> Vec<u8> {
    many("RESERVAR Tomada espera=7d\n", 1).into_iter().chain(many("AYUDA\n", 400_000)).collect()
}

fn telnet_words(_: &mut Rng, _: usize) -> Vec<u8> {
    let words: [&[u8]; 6] = [
        &[IAC, DO, TIMING_MARK],
        &[IAC, IP],
        b"SOY ana\r\n",
        &[IAC, WILL, 31, IAC, IAC],
        &[IAC, SB, 1, IAC, IAC, 2, IAC, 240],
        b"\r\n",
    ];
    words.concat()
}

fn interrupts(_: &mut Rng, n: usize) -> Vec<u8> {
    let wait = line(format!("RESERVAR Tomada espera=1h nota={n}"));
    [wait, [IAC, IP, IAC, DO, TIMING_MARK].repeat(8)].concat()
}

fn other_protocols(_: &mut Rng, n: usize) -> Vec<u8> {
    let all: [&[u8]; 12] = [
        b"GET /RESERVAR HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /x\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nRESERVAR Buena 1\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nVia: x\r\n\r\n",
        b"\0\0\0\x17\0\x03\0\0user\0x\0database\0x\0\0",
        b"CONNECT x:443 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nDATA\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\nRESERVAR Buena 1\r\n",
    ];
    all[n % all.len()].to_vec()
}

fn half_closers(_: &mut Rng, n: usize) -> Vec<u8> {
    let all = ["LISTAR\n", "RESERVAR Tomada espera=7d hasta=salir\n", "OBSERVAR\n", "RESERVAR Tom"];
    all[n % all.len()].into()
}

fn watchers(_: &mut Rng, n: usize) -> Vec<u8> {
    ["OBSERVAR\n", "OBSERVAR *q*q*q*\n", "WATCH after=1\n"][n % 3].into()
}

fn changes(_: &mut Rng, n: usize) -> Vec<u8> {
    many(&format!("ALTA Nueva {n} 1..16\nBAJA {}\n", names(&format!("Nueva {n} "), 1, 16)), 20)
}

/// Returns `stem1, stem2, …`.
fn names(stem: &str, first: usize, count: usize) -> String {
    let all: Vec<_> = (first..first + count).map(|n| format!("{stem}{n}")).collect();
    all.join(", ")
}

/// Adds many names. One client succeeds at a time and removes its names again.
fn large_additions(_: &mut Rng, n: usize) -> Vec<u8> {
    let mut lines = many(&format!("ALTA Grande 1..9999\nALTA G{n} 1..9999, a?b\n"), 4);
    for first in (1..9999).step_by(32) {
        let count = 32.min(10_000 - first);
        lines.extend(line(format!("BAJA {}", names("Grande ", first, count))));
    }
    lines
}

/// Makes many reservations bound to a connection that ends soon.
fn hang_ups(_: &mut Rng, n: usize) -> Vec<u8> {
    let held = (1..=400).map(|at| format!("RESERVAR Suya {n} {at} hasta=salir\n"));
    let all: String = std::iter::once(format!("ALTA Suya {n} 1..400\n")).chain(held).collect();
    all.into_bytes()
}

fn waiters(rng: &mut Rng, n: usize) -> Vec<u8> {
    match rng.below(3) {
        0 => line(format!("RESERVAR Tomada espera=7d nota={n}")),
        1 => line(format!("RESERVAR Tomada desde=2030-01-{:02} espera=7d", 1 + n % 28)),
        _ => line(format!("RESERVAR Tomada, Buena {} espera=7d", n % GOOD_CLIENTS)),
    }
}

fn waiters_with_patterns(rng: &mut Rng, _: usize) -> Vec<u8> {
    line(format!("RESERVAR Tomada, {}, {} espera=7d", costly(rng), costly(rng)))
}

/// Waits for patterns and names that are compared with those of all other waiters when one leaves.
fn greedy_waiters(rng: &mut Rng, n: usize) -> Vec<u8> {
    let patterns = (0..3).map(|_| costly(rng));
    let names = (0..10).map(|at| format!("{}{:06}", "a".repeat(STEM), (n * 10 + at) % LONG_NAMES));
    let all: Vec<_> = patterns.collect::<Vec<_>>().into_iter().chain(names).collect();
    line(format!("RESERVAR Tomada, {} espera=7d", all.join(", ")))
}

fn waiters_with_many_patterns(rng: &mut Rng, _: usize) -> Vec<u8> {
    let patterns: Vec<_> = (0..31).map(|_| costly(rng)).collect();
    line(format!("RESERVAR Tomada, {} espera=7d", patterns.join(", ")))
}

fn waiters_with_many_names(rng: &mut Rng, n: usize) -> Vec<u8> {
    let first = n * 7 + rng.below(7);
    let names = (0..31).map(|at| long_name(first + at));
    line(format!("RESERVAR Tomada, {} espera=7d", names.collect::<Vec<_>>().join(", ")))
}

/// Waits for a resource, which a granted waiter holds for a moment or until its connection ends.
fn waiters_for_hub(_: &mut Rng, n: usize) -> Vec<u8> {
    line(format!("RESERVAR Hub, *q*q* espera=7d {}", ["por=1s", "hasta=salir"][n % 2]))
}

/// Waits for dates at which a resource is booked.
fn dated_waiters(rng: &mut Rng, n: usize) -> Vec<u8> {
    let (month, day) = (1 + n % 12, 1 + rng.below(28));
    let dates = format!("desde=2028-{month:02}-{day:02} hasta=2028-{month:02}-{day:02}T23:00");
    line(format!("RESERVAR {} {dates} espera=7d", ["Muchas", "Muchas, *q*q*"][n % 2]))
}

/// Reserves and cancels other names than the good clients.
fn pairs(rng: &mut Rng, _: usize) -> Vec<u8> {
    let name = short_name(rng.below(SHORT_NAMES));
    many(&format!("RESERVAR {name}\nCANCELAR {name}\n"), 16)
}

/// Sends costly lines, which run after those of other clients, between cheap lines.
fn lines_put_back(rng: &mut Rng, n: usize) -> Vec<u8> {
    let name = short_name(rng.below(SHORT_NAMES));
    let lines = [
        format!("RESERVAR {name} hasta=salir"),
        format!("LISTAR {}", costly(rng)),
        format!("CANCELAR {name}"),
        format!("CUANDO {}, {} por=1h", costly(rng), costly(rng)),
        format!("RESERVAR {} por=1s", short_name(n)),
        "RESERVAS".to_owned(),
        "RESERV".to_owned(),
    ];
    lines.join("\n").into_bytes()
}

fn long_name(at: usize) -> String {
    format!("{}{:06}", "a".repeat(STEM), at % LONG_NAMES)
}

fn short_name(at: usize) -> String {
    format!("q{}q", at % SHORT_NAMES)
}

/// Makes many reservations that end at one instant.
fn leases(_: &mut Rng, n: usize) -> Vec<u8> {
    let lease = |at| format!("RESERVAR {} por=1s\n", long_name(n * 16 + at));
    (0..16).map(lease).collect::<String>().into_bytes()
}

/// Makes reservations with dates that all end at the second after the next whole second.
fn dated_ends(_: &mut Rng, n: usize) -> Vec<u8> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let end = Time::from_ms((since.as_secs() as i64 + 2) * 1000);
    let end = Zone::utc().text(end, Round::Down);
    let one = |at| format!("RESERVAR {} hasta={end}\n", short_name(n * 512 + at));
    (0..512).map(one).collect::<String>().into_bytes()
}

/// Makes keep-alive reservations, which end together ten seconds after their connection.
fn keep_alives(rng: &mut Rng, _: usize) -> Vec<u8> {
    let first = rng.below(SHORT_NAMES);
    let one = |at| format!("RESERVAR {} hasta=salir por=10s\n", short_name(first + at));
    (0..256).map(one).collect::<String>().into_bytes()
}

/// Returns a pattern that nearly matches every name, at every position.
fn costly(rng: &mut Rng) -> String {
    let (one, other) = (20 + rng.below(30), 1 + rng.below(15));
    format!("*{}*{}*0*", "a".repeat(one), "a".repeat(other))
}

fn costly_patterns(rng: &mut Rng) -> Vec<u8> {
    let last = LONG_NAMES - 1;
    // The final asterisk prevents an early mismatch at the end of the name.
    let mut all = |count: usize| {
        let all: Vec<_> =
            (0..count).map(|_| costly(rng).replace("*0*", &format!("*{last}*"))).collect();
        all.join(", ")
    };
    let lines = [
        format!("RESERVAR {} desde=2031-01-01 por=1h", all(4)),
        format!("CUANDO {} por=1h", all(4)),
        format!("RESERVAR {}", all(32)),
        format!("LISTAR {}b*", all(1)),
        format!("RESERVAR {}b*", all(1)),
    ];
    line(lines.join("\n"))
}

fn keys(rng: &mut Rng, n: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    for _ in 0..32 {
        let key = rng.below(1000);
        lines.extend(line(format!(
            "SOY u{n}k{key}\nRESERVAR Clave desde=2032-01-01 por=1h clave=k{key}"
        )));
    }
    lines
}

/// The connection of a hostile client, and its unsent lines.
struct Foe {
    stream: TcpStream,
    says: Vec<u8>,
    said: usize,
    rounds: usize,
}

impl Foe {
    /// Connects, or returns `None` if the server accepts no connection.
    fn new(address: SocketAddr, kind: &Kind) -> Option<Foe> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).ok()?;
        if kind.reads != Reads::All {
            // Otherwise the kernel would buffer megabytes.
            socket.set_recv_buffer_size(2048).ok()?;
        }
        socket.connect_timeout(&address.into(), Duration::from_secs(1)).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Foe { stream: socket.into(), says: Vec::new(), said: 0, rounds: 0 })
    }

    /// Runs a round. Returns false when the connection has ended.
    fn act(&mut self, kind: &Kind, rng: &mut Rng, n: usize, scratch: &mut [u8]) -> bool {
        let most = match kind.reads {
            Reads::All => scratch.len(),
            Reads::Some(bytes) => bytes,
            Reads::Never => 0,
        };
        if most > 0 {
            match self.stream.read(&mut scratch[..most]) {
                Ok(0) => return false,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return false,
                _ => {}
            }
        }
        if self.said == self.says.len() {
            if self.rounds > 0 && !self.finish(kind) {
                return false;
            }
            if self.rounds == 0 || matches!(kind.then, Then::Again | Then::Urgent) {
                (self.says, self.said) = ((kind.says)(rng, n), 0);
            }
            self.rounds += 1;
        }
        let end = self.says.len().min(self.said + kind.piece);
        match self.stream.write(&self.says[self.said..end]) {
            Ok(count) => self.said += count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        true
    }

    /// Performs the action after the last line. Returns false if it ends the connection.
    fn finish(&mut self, kind: &Kind) -> bool {
        match kind.then {
            Then::Again | Then::Stay => true,
            Then::Urgent => SockRef::from(&self.stream).send_out_of_band(&[242]).is_ok(),
            Then::Reset => {
                let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                false
            }
            Then::HalfClose(rounds) => {
                let _ = self.stream.shutdown(Shutdown::Write);
                self.rounds <= rounds
            }
        }
    }
}

/// Runs all clients of a kind until the end of the attack. Returns the remaining connections.
fn attack(
    address: SocketAddr,
    kind: &Kind,
    count: usize,
    over: &AtomicBool,
    seed: u64,
) -> Vec<Foe> {
    // A low priority, so that the good clients wait for the server and not for this process.
    let _ = rustix::process::setpriority_process(None, 10);
    let mut rng = Rng(seed);
    let mut scratch = vec![0; 256 << 10];
    let mut foes: Vec<Option<Foe>> = (0..count).map(|_| None).collect();
    while !over.load(Ordering::Relaxed) {
        for (n, foe) in foes.iter_mut().enumerate() {
            if foe.is_none() {
                *foe = Foe::new(address, kind);
            }
            if foe.as_mut().is_some_and(|foe| !foe.act(kind, &mut rng, n, &mut scratch)) {
                *foe = None;
            }
        }
        // Leave processor time for the server and the good clients.
        std::thread::sleep(kind.pause);
    }
    // Unread replies could keep the server busy for a long time.
    let stays = kind.reads != Reads::All || kind.then == Then::Stay;
    foes.into_iter().flatten().filter(|_| stays).collect()
}

/// Runs a good client and returns the latencies of its pairs.
fn run_good_client(mut client: Client, n: usize, over: &AtomicBool) -> Vec<Duration> {
    let mut pairs = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let reply = client.say(&format!("RESERVAR Buena {n}"));
        assert!(reply.starts_with("OK RESERVADO #"), "{reply}");
        let reply = client.say(&format!("CANCELAR Buena {n}"));
        assert!(reply.starts_with("OK CANCELADO #"), "{reply}");
        pairs.push(begun.elapsed());
        // The good clients must not be a load themselves.
        std::thread::sleep(Duration::from_millis(5));
    }
    pairs
}

/// Measures the latency that the machine itself adds, with the pairs of [`run_good_client`] and an echo
/// server in this process.
fn ask_an_echo(over: &AtomicBool) -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    other.set_nodelay(true).unwrap();
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; 16];
        while other.read_exact(&mut bytes).is_ok() && other.write_all(&bytes).is_ok() {}
    });
    let (mut pairs, mut bytes) = (Vec::new(), [b'x'; 16]);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        for _ in 0..2 {
            stream.write_all(&bytes).unwrap();
            stream.read_exact(&mut bytes).unwrap();
        }
        pairs.push(begun.elapsed());
        // The same pause as the good clients make.
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(stream);
    echo.join().unwrap();
    pairs
}

/// Returns p50, p99 and the maximum of sorted times.
fn shares(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort();
    let of = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    (of(0.5), of(0.99), of(1.0))
}

/// Returns the server's memory: its proportional share of all pages, and its anonymous memory.
fn memory_bytes(server: &Server) -> (u64, u64) {
    let path = format!("/proc/{}/smaps_rollup", server.pid());
    let text = std::fs::read_to_string(path).unwrap();
    let share = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    let share: u64 = share.trim().trim_end_matches(" kB").parse().unwrap();
    (share * 1024, server.proc_status("RssAnon:").parse::<u64>().unwrap() * 1024)
}

/// Returns how long a process has run, and how long it was ready and waited for a processor. Both
/// are zero if the kernel has no such statistics.
fn cpu_and_wait(server: &Server) -> (Duration, Duration) {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", server.pid()));
    let text = text.unwrap_or_default();
    let mut fields = text.split_whitespace().map(|field| field.parse().unwrap_or(0));
    let mut next = || Duration::from_nanos(fields.next().unwrap_or(0));
    (next(), next())
}

/// Checks that the server sleeps, except for occasional notices.
fn assert_asleep(server: &Server, when: &str) {
    const MOST_WAKE_UPS: u64 = 5;
    let end = Instant::now() + PATIENCE;
    let second = Duration::from_secs(1);
    loop {
        let before = (server.cpu_ticks(), server.wake_ups());
        // Asleep means that nothing happens during this time, so there is no event to wait for.
        std::thread::sleep(second);
        let used = (server.cpu_ticks() - before.0, server.wake_ups() - before.1);
        if used.0 <= 1 && used.1 <= MOST_WAKE_UPS {
            return;
        }
        let what = format!("{} hundredths, {} wake-ups in a second", used.0, used.1);
        assert!(Instant::now() < end, "it does not sleep {when}: {what}");
    }
}

/// Starts a server with long names, a resource that stays reserved, and one with many bookings.
fn besieged(program: impl FnOnce(&[&str]) -> Server) -> (TempDir, Server, Client) {
    let directory = temp_dir();
    let file = directory.path().join("inventory");
    let mut text: String = (0..LONG_NAMES).map(|n| long_name(n) + "\n").collect();
    (0..SHORT_NAMES).for_each(|n| text += &(short_name(n) + "\n"));
    text += "Tomada\nMuchas\nClave\nHub\n";
    (0..GOOD_CLIENTS).for_each(|n| text += &format!("Buena {n}\n"));
    std::fs::write(&file, text).unwrap();
    let (data, file) = (directory.path().join("data"), file.to_str().unwrap().to_owned());
    let arguments = ["--data-dir", data.to_str().unwrap(), "--inventory", &file];
    let server = program(&[&arguments[..], &["--max-resources", "45000"]].concat());
    let mut owner = server.connect();
    assert_eq!(owner.say("SOY duena"), "OK duena");
    assert!(owner.say("RESERVAR Tomada").starts_with("OK RESERVADO"));
    for month in 0..36 {
        let (year, month) = (2027 + month / 12, 1 + month % 12);
        let all = (0..28 * 6).map(|n| {
            let (day, hour) = (1 + n / 6, n % 6 * 4);
            format!("RESERVAR Muchas desde={year}-{month:02}-{day:02}T{hour:02}:00 por=2h\n")
        });
        let all: Vec<_> = all.collect();
        owner.send(all.concat());
        all.iter().for_each(|_| assert!(owner.line().starts_with("OK RESERVADO")));
    }
    (directory, server, owner)
}

/// Runs ten good clients beside hostile clients of the given kinds for a time, and checks the
/// limits.
fn siege(server: &Server, owner: &mut Client, kinds: &[(&Kind, usize)], time: Duration) -> String {
    let (over, seed) = (AtomicBool::new(false), seed());
    let good: Vec<_> = (0..GOOD_CLIENTS).map(|_| server.connect()).collect();
    assert!(owner.say("VERIFICAR #1").starts_with("OK VIGENTE"));
    let before = memory_bytes(server);
    let scheduled = cpu_and_wait(server);
    let mut most = before;
    let mut pairs = Vec::new();
    let (foes, echo) = std::thread::scope(|scope| {
        let over = &over;
        let echo = scope.spawn(|| ask_an_echo(over));
        let hostile: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(at, (kind, count))| {
                let address = server.address;
                scope.spawn(move || attack(address, kind, *count, over, seed + at as u64))
            })
            .collect();
        let good: Vec<_> = good
            .into_iter()
            .enumerate()
            .map(|(n, client)| scope.spawn(move || run_good_client(client, n, over)))
            .collect();
        let end = Instant::now() + time;
        while Instant::now() < end && !good.iter().any(|one| one.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            let now = memory_bytes(server);
            most = (most.0.max(now.0), most.1.max(now.1));
        }
        over.store(true, Ordering::Relaxed);
        good.into_iter()
            .for_each(|one| pairs.extend(one.join().expect("the good clients are served")));
        let foes = hostile.into_iter().flat_map(|kind| kind.join().unwrap());
        (foes.collect::<Vec<_>>(), echo.join().unwrap())
    });
    let (count, (p50, p99, max)) = (pairs.len(), shares(pairs));
    let (_, echo_p99, echo_max) = shares(echo);
    let grown = (most.0 - before.0, most.1 - before.1);
    let (cpu, wait) = cpu_and_wait(server);
    let (cpu, wait) = (cpu - scheduled.0, wait - scheduled.1);
    let report = format!(
        "{count} pairs: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}; \
         an echo: p99 {echo_p99:.1?}, max {echo_max:.1?}; \
         the server computed for {cpu:.1?} and waited for a processor for {wait:.1?}; \
         memory grew by {} KiB (anonymous {} KiB)",
        grown.0 >> 10,
        grown.1 >> 10,
    );
    let bounds = Bounds::asked(cpu, wait);
    assert!(p99 < bounds.p99 && max < bounds.max, "{report}");
    assert!(grown.0.max(grown.1) <= GROWTH_MAX_BYTES, "{report}");
    assert_asleep(server, "beside hostile clients that are idle");
    drop(foes);
    assert_asleep(server, "when the connections are closed");
    assert!(owner.say("VERIFICAR #1").starts_with("OK VIGENTE"));
    report
}

fn number(variable: &str, default: f64) -> f64 {
    let asked = std::env::var(variable).ok();
    asked.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: {text}")))
}

/// Serializes the tests of this file, because they measure times.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn all_attacks_at_once() {
    let _alone = ALONE.lock();
    let (_directory, server, mut owner) = besieged(Server::start);
    let kinds = kinds();
    let weights: usize = kinds.iter().map(|kind| kind.weight).sum();
    let clients = number("HOSTILE_CLIENTS", 250.0) as usize;
    let all: Vec<_> =
        kinds.iter().map(|kind| (kind, (kind.weight * clients).div_ceil(weights))).collect();
    let time = Duration::from_secs_f64(number("HOSTILE_SECONDS", 8.0));
    println!("all at once: {}", siege(&server, &mut owner, &all, time));
    server.stop();
}

/// Runs each kind alone for `HOSTILE_SECONDS`. `HOSTILE_KIND` selects kinds by a part of the name.
#[test]
#[ignore = "takes minutes: run with -- --ignored"]
fn each_attack_alone() {
    let _alone = ALONE.lock();
    let only = std::env::var("HOSTILE_KIND").unwrap_or_default();
    let time = Duration::from_secs_f64(number("HOSTILE_SECONDS", 2.0));
    let count = number("HOSTILE_CLIENTS", 250.0) as usize;
    for kind in kinds().iter().filter(|kind| kind.name.contains(&only)) {
        let (_directory, server, mut owner) = besieged(Server::start);
        println!("{}: {}", kind.name, siege(&server, &mut owner, &[(kind, count)], time));
    }
}

/// With more connections than descriptors, the accepted clients are served.
#[test]
fn flood_of_connections_beyond_the_descriptors() {
    let _alone = ALONE.lock();
    let (_directory, server, mut owner) = besieged(|arguments| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -n 128; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_reservad")]);
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--time-zone", "UTC"]);
        command.args(["--max-clients", "1000"]);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        Server::spawn(&mut command)
    });
    let flood = Kind {
        then: Then::HalfClose(200),
        ..kind("flood", |_, n| ["", "LISTAR\n", "AYUDA"][n % 3].into())
    };
    let time = Duration::from_secs_f64(number("HOSTILE_SECONDS", 3.0));
    println!("a flood: {}", siege(&server, &mut owner, &[(&flood, 250)], time));
    assert!(server.connect().say("SOY eva") == "OK eva", "a place is free again");
}

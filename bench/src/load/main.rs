//! The load generator: a single thread drives many connections, with a fixed number of requests in
//! flight on each. It checks every reply, connects to this host only, and prints one line of JSON.

mod drive;
mod prepare;
mod talk;
mod usage;
mod watch;

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use drive::{Figures, Until, drive};
use prepare::{Helper, OWN_HOUR, connect, free_hours, idlers, waiters};
use talk::{AnyResource, ByNumber, Fixed, FreeHours, Jobs, Pair, Queuer, Taking, Talk, hour};

/// Put a load on a server on 127.0.0.1 and print the results as one line of JSON
#[derive(Parser)]
struct Options {
    #[arg(long, value_enum)]
    protocol: Protocol,
    #[arg(long)]
    port: u16,
    /// Select the kind of requests; servers other than reservad and echo have `exact` only
    #[arg(long, value_enum, default_value = "exact")]
    work: Work,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Set the number of requests in flight on each connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    depth: u16,
    /// Measure for this time
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Run for this time before the measurement
    #[arg(long, default_value_t = 0.3)]
    warmup: f64,
    /// Make exactly this many operations instead, without a warm-up
    #[arg(long)]
    count: Option<u64>,
    /// Report the processor time of the server with this process id
    #[arg(long)]
    pid: Option<u32>,
    /// Set the number of resources (list, random)
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    resources: u32,
    /// Set the number of live reservations (random)
    #[arg(long, default_value_t = 0)]
    live: u32,
    /// Add connections that wait for a resource that stays reserved
    #[arg(long, default_value_t = 0)]
    waiters: usize,
    /// Never sleep, so that the server does not have to wake this process
    #[arg(long)]
    spin: bool,
    /// Add connections that are silent after one request
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Set the changes per second (watch)
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Set the seed (random)
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
enum Protocol {
    Reservad,
    /// The requests of reservad, which must be echoed
    Echo,
    /// SET key value NX and DEL
    Redis,
    /// add and delete
    Memcached,
    /// reserve and release, of any ready job in the default tube
    Beanstalkd,
    /// put and delete, which beanstalkd writes to its log, unlike reserve and release
    BeanstalkdPut,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
enum Work {
    /// Reserve and cancel; each connection has a resource of its own, by its exact name
    Exact,
    /// The same with names in small letters without accents
    Folded,
    /// The same with a pattern for any of ten resources; ten resources per connection
    Pattern,
    /// LISTAR of all resources
    List,
    /// VERIFICAR of a reservation
    Verify,
    /// Book and cancel a free hour of a resource with 1,000 bookings; one resource per connection
    Dated,
    /// Book and cancel random resources; each connection has hours of its own
    Random,
    /// All connections queue for one resource; latencies are from a release to the grant
    Grants,
    /// Make changes at a fixed rate while the connections watch
    Watch,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(figures) => {
            println!("{}", json(&options, &figures));
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("load: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Figures, String> {
    // Kept to the end, because dropping them would close the connections.
    let _waiters = waiters(options.port, options.waiters)?;
    let _idlers = idlers(options.port, options.idle)?;
    match options.protocol {
        Protocol::Reservad => reservad(options),
        Protocol::Echo => echo(options),
        _ if options.work != Work::Exact => {
            Err(format!("{:?} has no work {:?}", options.protocol, options.work))
        }
        Protocol::Redis => go(options, |at| {
            let key = format!("habitacion:{at}");
            let len = key.len();
            let set = format!("*4\r\n$3\r\nSET\r\n${len}\r\n{key}\r\n$1\r\nx\r\n$2\r\nNX\r\n");
            let del = format!("*2\r\n$3\r\nDEL\r\n${len}\r\n{key}\r\n");
            pair_of((set, "+OK\r\n"), (del, ":1\r\n"))
        }),
        Protocol::Memcached => go(options, |at| {
            let add = format!("add habitacion:{at} 0 0 1\r\nx\r\n");
            let delete = format!("delete habitacion:{at}\r\n");
            pair_of((add, "STORED\r\n"), (delete, "DELETED\r\n"))
        }),
        Protocol::Beanstalkd => {
            let jobs = options.connections as usize * usize::from(options.depth);
            Helper::new(options.port)?.put_jobs(jobs)?;
            go(options, |_| Jobs::new(Taking::Ready))
        }
        Protocol::BeanstalkdPut => go(options, |_| Jobs::new(Taking::New)),
    }
}

fn reservad(options: &Options) -> Result<Figures, String> {
    let (connections, depth) = (options.connections, u32::from(options.depth));
    let mut helper = Helper::new(options.port)?;
    match options.work {
        Work::Exact | Work::Folded => {
            helper.add_rooms(connections)?;
            let is_exact = options.work == Work::Exact;
            go(options, |at| match is_exact {
                true => Pair::new(&room(at), &room(at)),
                false => Pair::folded(&folded_room(at), &room(at)),
            })
        }
        Work::Pattern => {
            helper.add_houses(connections)?;
            go(options, |at| Pair::new(&format!("casa {at} *"), &format!("Casa {at} cama 1")))
        }
        Work::List => {
            helper.add_rooms(options.resources)?;
            let names = (1..=options.resources).map(|at| room(at) + "\n").collect::<String>();
            let list = format!("OK {} DISPONIBLES\n{names}", options.resources);
            let list: Rc<[u8]> = list.as_bytes().into();
            go(options, |_| Fixed::<1>::new(vec![(b"LISTAR\n".into(), Rc::clone(&list))]))
        }
        Work::Verify => {
            helper.add_rooms(1)?;
            let reply = helper.ask("RESERVAR Habitación 1", "OK RESERVADO #")?;
            let held = reply.trim_end().trim_start_matches("OK RESERVADO ");
            let valid: Rc<[u8]> = format!("OK VIGENTE {held} quedan=-\n").as_bytes().into();
            let number = held.split(' ').next().unwrap_or_default();
            let ask = format!("VERIFICAR {number}\n");
            go(options, |_| Fixed::<1>::new(vec![(ask.clone().into(), Rc::clone(&valid))]))
        }
        Work::Dated => {
            helper.add_rooms(connections)?;
            helper.book_each(connections)?;
            go(options, |at| ByNumber::new(FreeHours::new(room(at), free_hours(depth as usize))))
        }
        Work::Random => {
            let own_hours = connections * depth;
            helper.add_rooms(options.resources)?;
            helper.book_all(options.resources, options.live, own_hours)?;
            go(options, |at| {
                let first = OWN_HOUR + (at - 1) * depth;
                let hours = first..first + depth;
                let seed = options.seed + u64::from(at);
                ByNumber::new(AnyResource::new(options.resources, hours, seed))
            })
        }
        Work::Grants => {
            helper.add_rooms(1)?;
            let released = Rc::new(Cell::new(None));
            go(options, |_| Queuer::new(room(1), Rc::clone(&released)))
        }
        Work::Watch => {
            drop(helper);
            let time = (seconds(options.warmup), seconds(options.seconds));
            let watchers = connections as usize;
            watch::run(options.port, watchers, options.rate, time, options.pid)
        }
    }
}

/// Returns the requests of reservad with themselves as replies.
fn echo(options: &Options) -> Result<Figures, String> {
    let (from, until) = (hour(0), hour(1));
    let one = |line: &str| Fixed::<1>::new(vec![same(line.to_owned())]);
    let pair = |reserve: String, cancel: String| {
        let lines = [format!("RESERVAR {reserve}\n"), format!("CANCELAR {cancel}\n")];
        Fixed::<2>::new(lines.map(same).into())
    };
    match options.work {
        Work::Exact => go(options, |at| pair(room(at), room(at))),
        Work::Folded => go(options, |at| pair(folded_room(at), folded_room(at))),
        Work::Pattern => {
            go(options, |at| pair(format!("casa {at} *"), format!("Casa {at} cama 1")))
        }
        Work::List => go(options, |_| one("LISTAR\n")),
        Work::Verify => go(options, |_| one("VERIFICAR #1\n")),
        Work::Dated | Work::Random => go(options, |at| {
            let booking = format!("{} desde={from}Z hasta={until}Z", room(at));
            pair(booking, "#1234567".to_owned())
        }),
        Work::Grants | Work::Watch => Err("an echo has no queue and no watchers".to_owned()),
    }
}

fn room(at: u32) -> String {
    format!("Habitación {at}")
}

fn folded_room(at: u32) -> String {
    format!("habitacion {at}")
}

fn same(line: String) -> (Vec<u8>, Rc<[u8]>) {
    let reply = line.as_bytes().into();
    (line.into(), reply)
}

fn pair_of(first: (String, &str), second: (String, &str)) -> Fixed<2> {
    let step = |(ask, reply): (String, &str)| (ask.into_bytes(), Rc::from(reply.as_bytes()));
    Fixed::new(vec![step(first), step(second)])
}

/// Connects all clients and runs their conversations. `talk` gets the number of the connection,
/// from 1.
fn go<T: Talk>(options: &Options, mut talk: impl FnMut(u32) -> T) -> Result<Figures, String> {
    let until = match options.count {
        Some(count) => Until::Operations(count),
        None => Until::Time { warmup: seconds(options.warmup), measured: seconds(options.seconds) },
    };
    let party = |at| connect(options.port).map(|stream| (stream, talk(at)));
    let parties = (1..=options.connections).map(party).collect::<Result<_, _>>()?;
    drive(parties, usize::from(options.depth), until, options.pid, options.spin)
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value.max(0.0))
}

fn json(options: &Options, figures: &Figures) -> String {
    let operations = figures.operations as f64;
    let us = |ns: u64| ns as f64 / 1000.0;
    let quantile = |at: f64| us(figures.latency.value_at_quantile(at));
    let server = |value: fn(f64, f64) -> f64| match figures.server_cpu_ns {
        Some(ns) if figures.operations > 0 => format!("{:.6}", value(ns as f64, operations)),
        _ => "null".to_owned(),
    };
    format!(
        "{{\"protocol\":\"{:?}\",\"work\":\"{:?}\",\"connections\":{},\"depth\":{},\
         \"operations\":{},\"seconds\":{:.6},\"ops_per_s\":{:.1},\
         \"p50_us\":{:.3},\"p99_us\":{:.3},\"p999_us\":{:.3},\"max_us\":{:.3},\
         \"server_cpu_s\":{},\"cpu_us_per_op\":{},\"load_cpu_s\":{:.6}}}",
        options.protocol,
        options.work,
        options.connections,
        options.depth,
        figures.operations,
        figures.seconds,
        operations / figures.seconds,
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        us(figures.latency.max()),
        server(|ns, _| ns / 1e9),
        server(|ns, operations| ns / 1000.0 / operations),
        figures.own_cpu_ns as f64 / 1e9,
    )
    .to_lowercase()
}

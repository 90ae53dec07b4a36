//! The load generator: one thread, so many connections with so many requests in flight on each, in
//! a closed loop. It checks every reply, talks to this host only, and prints one line of JSON.

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

/// Puts a load on a server on 127.0.0.1 and prints what was measured as one line of JSON.
#[derive(Parser)]
struct Options {
    #[arg(long, value_enum)]
    protocol: Protocol,
    #[arg(long)]
    port: u16,
    /// What is asked (for reservad and echo; the others know `exact` only)
    #[arg(long, value_enum, default_value = "exact")]
    work: Work,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    depth: u16,
    /// How long to measure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How long to go on before measuring begins
    #[arg(long, default_value_t = 0.3)]
    warmup: f64,
    /// Instead: exactly so many operations from the first on
    #[arg(long)]
    count: Option<u64>,
    /// The server's process: its processor time is told
    #[arg(long)]
    pid: Option<u32>,
    /// Resources, for the works list and random
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    resources: u32,
    /// Live reservations, for the work random
    #[arg(long, default_value_t = 0)]
    live: u32,
    /// More connections that wait for a resource that stays busy
    #[arg(long, default_value_t = 0)]
    waiters: usize,
    /// Never sleep: what it costs a server to wake the generator is then not measured
    #[arg(long)]
    spin: bool,
    /// More connections that say nothing after one request
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Changes a second, for the work watch
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// For the work random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
enum Protocol {
    Reservad,
    /// The lines of reservad, expected back
    Echo,
    /// SET key value NX and DEL
    Redis,
    /// add and delete
    Memcached,
    /// reserve and release of any ready job of the default tube
    Beanstalkd,
    /// put and delete, which beanstalkd writes to its log, as it does not the others
    BeanstalkdPut,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
enum Work {
    /// Reserve and cancel, each connection its own resource, by its exact name
    Exact,
    /// The same in small letters without accents
    Folded,
    /// The same, any of ten with a pattern; ten resources for each connection
    Pattern,
    /// LISTAR of all resources
    List,
    /// VERIFICAR of a reservation
    Verify,
    /// Book and cancel a free hour of a resource with a thousand bookings, one resource a connection
    Dated,
    /// Book and cancel an hour of its own of random resources
    Random,
    /// All connections queue for one resource; the latency is from release to grant
    Grants,
    /// Changes at a fixed rate; the connections watch
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
    // Kept to the end: closed, they would not be there.
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

/// The lines that reservad would get, and the same back.
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

/// Connects everybody and lets them talk; `talk` is given 1 for the first connection.
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

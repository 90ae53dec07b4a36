//! Waiting (`espera=`) and watching (`OBSERVAR`) over real sockets: closed and half-closed
//! connections, and the order of grants.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use reservad::limits::{HALF_CLOSED_PROBE_MS, HISTORY_EVENTS};
use reservad::time::{Round, Time, Zone};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use support::{Client, PATIENCE, Rng, Server, seed, temp_dir, until};

const IAC_IP: [u8; 2] = [255, 244];
const DO_TIMING_MARK: [u8; 3] = [255, 253, 6];
const WONT_TIMING_MARK: [u8; 3] = [255, 252, 6];

/// Returns the value of a key of `ESTADO`.
fn figure(client: &mut Client, key: &str) -> String {
    let lines = client.list("ESTADO");
    let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{key}=")));
    line.unwrap_or_else(|| panic!("no {key} in {lines:?}")).to_owned()
}

fn until_waiting(client: &mut Client, count: usize) {
    until(&format!("{count} wait"), || figure(client, "waiting") == count.to_string());
}

fn half_close(client: &mut Client) {
    client.stream().shutdown(Shutdown::Write).unwrap();
}

/// Closes a connection with a reset.
fn reset(mut client: Client) {
    SockRef::from(&*client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Connects with minimal buffers, so that unread output stays in the server and not in the kernel.
fn thin(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads the next line that is not a position.
fn answer(client: &mut Client) -> String {
    loop {
        let line = client.line();
        if !line.starts_with("* COLA ") {
            return line;
        }
    }
}

/// Starts a server whose `Habitación 1` is reserved by the returned connection.
fn taken() -> (Server, Client) {
    let server = Server::in_memory(&[]);
    let mut owner = server.connect();
    assert_eq!(owner.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    (server, owner)
}

#[test]
fn positions_are_sent_at_once_and_on_change_in_the_style_of_the_request() {
    let (server, mut owner) = taken();
    let mut first = server.connect();
    let mut second = server.connect();
    let mut third = server.connect();
    assert_eq!(first.say("RESERVAR habitacion 1 espera=1h"), "* COLA 1 Habitación 1");
    second.send("reserve HABITACION 1, habitación 2 wait=1h\r\n");
    assert_eq!(second.raw_line(), "* QUEUE 2 Habitación 1, Habitación 2\r\n");
    assert_eq!(third.say("RESERVAR Habitación 1 espera=1h"), "* COLA 3 Habitación 1");
    assert!(owner.say("RESERVAR Habitación 1").contains("; en cola: 3; "));
    owner.send("CANCELAR #1\n");
    assert_eq!(owner.line(), "OK CANCELADO #1 Habitación 1");
    assert_eq!(first.line(), "OK RESERVADO #2 Habitación 1");
    assert_eq!(second.raw_line(), "* QUEUE 1 Habitación 1, Habitación 2\r\n");
    assert_eq!(third.line(), "* COLA 2 Habitación 1");
    reset(second);
    assert_eq!(third.line(), "* COLA 1 Habitación 1");
    assert_eq!(first.say("CANCELAR #2"), "OK CANCELADO #2 Habitación 1");
    assert_eq!(third.line(), "OK RESERVADO #3 Habitación 1");
}

#[test]
fn lines_after_a_wait_run_when_it_ends() {
    let (server, mut owner) = taken();
    let mut client = server.connect();
    client.send("RESERVAR Habitación 1 espera=1h\nLISTAR Habitación 1\nVERIFICAR #2\nLIST *\n");
    assert_eq!(client.line(), "* COLA 1 Habitación 1");
    // Positions are not sent within a list, because lines after the wait are not run yet.
    assert_eq!(figure(&mut owner, "waiting"), "1");
    assert_eq!(owner.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
    assert_eq!(client.line(), "OK RESERVADO #2 Habitación 1");
    assert_eq!(client.line(), "OK 0 DISPONIBLES");
    assert_eq!(client.line(), "OK VIGENTE #2 Habitación 1 quedan=-");
    assert_eq!(client.line(), "OK 2 AVAILABLE");
    assert_eq!(client.finish(), "Habitación 2\nHabitación 3\n");
}

/// busybox nc and `nc -N` half-close the connection after their input.
#[test]
fn half_closed_waiter_is_sent_its_position_again_and_granted_in_order() {
    let (server, mut owner) = taken();
    let mut client = server.connect();
    client.send("RESERVAR Habitación 1 espera=1h\nVERIFICAR #2\nSALIR\n");
    half_close(&mut client);
    assert_eq!(client.line(), "* COLA 1 Habitación 1");
    assert_eq!(client.line(), "* COLA 1 Habitación 1", "at once after the half-close");
    let reported = Instant::now();
    assert_eq!(client.line(), "* COLA 1 Habitación 1", "and every ten seconds");
    let after_ms = reported.elapsed().as_millis() as u64;
    assert!(
        (HALF_CLOSED_PROBE_MS - 500..HALF_CLOSED_PROBE_MS * 3 / 2).contains(&after_ms),
        "after {after_ms} ms"
    );
    assert_eq!(owner.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
    let rest = "OK RESERVADO #2 Habitación 1\nOK VIGENTE #2 Habitación 1 quedan=-\nOK ADIÓS\n";
    assert_eq!(client.rest(), rest);
}

#[test]
fn waiter_that_disconnected_is_not_granted() {
    let (server, mut owner) = taken();
    let mut closed = server.connect();
    let mut gone = server.connect();
    let mut last = server.connect();
    assert_eq!(closed.say("RESERVAR Habitación 1 espera=1h"), "* COLA 1 Habitación 1");
    assert_eq!(gone.say("RESERVAR Habitación 1 espera=1h"), "* COLA 2 Habitación 1");
    assert_eq!(last.say("RESERVAR Habitación 1 espera=1h"), "* COLA 3 Habitación 1");
    // A close looks like a half-close until the server writes.
    drop(closed);
    assert_eq!(last.line(), "* COLA 2 Habitación 1");
    // A reset, and in the same turn a release that could have granted the request.
    server.while_stopped(|| {
        owner.send("CANCELAR #1\n");
        reset(gone);
    });
    assert_eq!(owner.line(), "OK CANCELADO #1 Habitación 1");
    assert_eq!(answer(&mut last), "OK RESERVADO #2 Habitación 1");
    assert_eq!(figure(&mut owner, "waiting"), "0");
    assert_eq!(figure(&mut owner, "last_number"), "2");
}

/// When two connections are lost in one turn, the reservation of one is not granted to the other.
#[test]
fn waiters_that_disconnected_together_are_not_granted() {
    let server = Server::in_memory(&[]);
    let mut owner = server.connect();
    let mut gone = server.connect();
    let mut last = server.connect();
    let mut other = server.connect();
    assert!(owner.say("RESERVAR Habitación 1 hasta=salir").starts_with("OK RESERVADO #1 "));
    assert_eq!(gone.say("RESERVAR Habitación 1 espera=1h"), "* COLA 1 Habitación 1");
    assert_eq!(last.say("RESERVAR Habitación 1 espera=1h"), "* COLA 2 Habitación 1");
    server.while_stopped(|| {
        reset(owner);
        reset(gone);
    });
    assert_eq!(answer(&mut last), "OK RESERVADO #2 Habitación 1");
    assert_eq!(figure(&mut other, "last_number"), "2");
}

/// Regression test: if the end of the stream and a reset arrive together, the read returns the end
/// only, after which a watch continues, and the poll reports the reset once. The bound reservation
/// never ended.
#[test]
fn watcher_that_was_reset_holds_no_reservation() {
    let server = Server::in_memory(&[]);
    let mut gone = server.connect();
    let mut next = server.connect();
    assert!(gone.say("RESERVAR Habitación 1 hasta=salir").starts_with("OK RESERVADO #1 "));
    assert_eq!(gone.say("OBSERVAR Habitación 3"), "OK OBSERVANDO tras=4");
    assert_eq!(next.say("RESERVAR Habitación 1 espera=1h"), "* COLA 1 Habitación 1");
    server.while_stopped(|| {
        gone.stream().shutdown(std::net::Shutdown::Write).unwrap();
        reset(gone);
    });
    assert_eq!(answer(&mut next), "OK RESERVADO #2 Habitación 1");
}

/// Regression test: the repeated position that probes a half-closed connection was sent before
/// older positions, so that the positions seemed to rise.
#[test]
fn half_closed_waiter_receives_positions_in_order() {
    let (server, _owner) = taken();
    let mut all: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for (at, client) in all.iter_mut().enumerate() {
        let place = format!("* COLA {} Habitación 1", at + 1);
        assert_eq!(client.say("RESERVAR Habitación 1 espera=1h"), place);
    }
    let mut last = all.pop().unwrap();
    server.while_stopped(|| {
        all.into_iter().for_each(reset);
        half_close(&mut last);
    });
    let notices: Vec<_> = (0..3).map(|_| last.line()).collect();
    let place = |place| format!("* COLA {place} Habitación 1");
    assert_eq!(notices, [place(2), place(1), place(1)]);
}

#[test]
fn telnet_interrupt_ends_a_wait_and_timing_mark_is_answered() {
    let (server, mut owner) = taken();
    let mut client = server.connect();
    assert_eq!(client.say("RESERVAR Habitación 1 espera=1h"), "* COLA 1 Habitación 1");
    client.send(DO_TIMING_MARK);
    let mut mark = [0; 3];
    // The buffer of the reader is empty here.
    client.stream().read_exact(&mut mark).unwrap();
    assert_eq!(mark, WONT_TIMING_MARK);
    assert_eq!(figure(&mut owner, "waiting"), "1");
    client.send("LISTAR Habitación 2\n");
    for byte in IAC_IP {
        client.send([byte]);
    }
    assert_eq!(client.line(), "ERR 408 se acabó la espera de Habitación 1");
    assert_eq!(client.line(), "OK 1 DISPONIBLES");
    assert_eq!(client.line(), "Habitación 2");
    assert_eq!(figure(&mut owner, "waiting"), "0");
}

#[test]
fn impossible_wait_is_refused_at_once() {
    let (_server, mut owner) = taken();
    let rows = [
        ("RESERVAR Habitación 1 espera=8d", "ERR 400 espera=8d: la espera máxima es 7d"),
        ("RESERVE Habitación 1 wait=169h", "ERR 400 wait=169h: the longest wait is 7d"),
        ("RESERVAR Sala 9 espera=5m", "ERR 404 "),
        ("RESERVAR sala* espera=5m", "ERR 404 "),
        ("RESERVAR Habitación 1 espera=5", "ERR 400 "),
        ("RESERVAR Habitación 1 clave=k espera=5m", "ERR 401 "),
        ("RESERVAR Habitación 1 desde=2020-01-01 hasta=2020-01-02 espera=5m", "ERR 400 "),
    ];
    for (line, want) in rows {
        let reply = owner.say(line);
        assert!(reply.starts_with(want), "{line}: {reply}");
    }
    assert_eq!(figure(&mut owner, "waiting"), "0");
    assert_eq!(owner.say("RESERVAR Habitación 1 espera=7d"), "* COLA 1 Habitación 1");
}

#[test]
fn wait_times_out_and_the_next_line_runs() {
    let (server, _owner) = taken();
    let mut client = server.connect();
    let asked = Instant::now();
    client.send("RESERVAR Habitación 1 espera=1s\nVERIFICAR #1\n");
    assert_eq!(client.line(), "* COLA 1 Habitación 1");
    assert_eq!(client.line(), "ERR 408 se acabó la espera de Habitación 1");
    let waited = asked.elapsed();
    // The server counts in whole milliseconds.
    assert!(waited >= Duration::from_millis(999), "after {waited:?} only");
    assert_eq!(client.line(), "OK VIGENTE #1 Habitación 1 quedan=-");
}

#[test]
fn stop_answers_waiters() {
    let (mut server, _owner) = taken();
    let mut spanish = server.connect();
    let mut english = server.connect();
    assert_eq!(spanish.say("RESERVAR Habitación 1 espera=1h"), "* COLA 1 Habitación 1");
    assert_eq!(english.say("RESERVE Habitación 1 wait=1h"), "* QUEUE 2 Habitación 1");
    server.signal("TERM");
    assert!(spanish.rest().starts_with("ERR 503 "));
    assert_eq!(english.rest(), "ERR 503 the server is stopping; ask again\n");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn grants_are_durable_and_waits_are_not() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let mut owner = server.connect();
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(owner.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    assert_eq!(first.say("RESERVAR Habitación 1 espera=1h"), "* COLA 1 Habitación 1");
    assert_eq!(second.say("RESERVAR Habitación 1 espera=1h"), "* COLA 2 Habitación 1");
    assert_eq!(owner.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
    assert_eq!(first.line(), "OK RESERVADO #2 Habitación 1");
    server.kill();
    let server = Server::durable(directory.path(), &[]);
    let mut owner = server.connect();
    assert_eq!(owner.say("VERIFICAR #2"), "OK VIGENTE #2 Habitación 1 quedan=-");
    assert_eq!(figure(&mut owner, "waiting"), "0");
    assert_eq!(owner.say("CANCELAR #2"), "OK CANCELADO #2 Habitación 1");
    assert_eq!(owner.list("LISTAR Habitación 1"), ["Habitación 1"]);
    assert_eq!(figure(&mut owner, "last_number"), "2");
}

#[test]
fn connection_can_wait_and_watch() {
    let (server, mut owner) = taken();
    let mut client = server.connect();
    assert_eq!(client.say("OBSERVAR Habitación 1"), "OK OBSERVANDO tras=4");
    assert_eq!(client.say("RESERVAR Habitación 1 espera=1h"), "* COLA 1 Habitación 1");
    // Notices of other events are sent during the wait.
    let renewed = owner.say("RENOVAR #1 por=1h");
    let end = renewed.split("hasta=").nth(1).unwrap();
    assert_eq!(client.line(), format!("* 5 RENOVADO #1 Habitación 1 hasta={end}"));
    assert_eq!(owner.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
    // The reply precedes the notices of the same event.
    assert_eq!(client.line(), "OK RESERVADO #2 Habitación 1");
    assert_eq!(client.line(), "* 6 CANCELADO #1 Habitación 1");
    assert_eq!(client.line(), "* 7 RESERVADO #2 Habitación 1");
    // A half-close ends neither the reservation nor the watch.
    half_close(&mut client);
    assert_eq!(owner.say("CANCELAR #2"), "OK CANCELADO #2 Habitación 1");
    assert_eq!(client.line(), "* 8 CANCELADO #2 Habitación 1");
    server.stop();
    assert_eq!(client.rest(), "");
}

/// More reservations end at one instant than a turn can process. Lines that concern one of them
/// wait, in order, so that a room is free as soon as its reservation ends, and waiters are granted
/// first.
#[test]
fn lines_run_in_order_after_many_ends_at_one_instant() {
    const COUNT: usize = 6_000;
    let server = Server::in_memory(&[]);
    let mut owner = server.connect();
    assert_eq!(owner.say(&format!("ALTA Sala 1..{COUNT}")), format!("OK ALTA {COUNT}"));
    let mut clock = server.connect();
    let time = clock.list("ESTADO").into_iter().find(|line| line.starts_with("time=")).unwrap();
    let now = Zone::utc().parse(time.strip_prefix("time=").unwrap(), Time::from_ms(0)).unwrap();
    let end = now.plus_ms(10_000);
    let end_text = Zone::utc().text(end, Round::Down);
    let reserve = |n: usize| format!("RESERVAR Sala {n} hasta={end_text}\n");
    owner.send((1..=COUNT).map(reserve).collect::<String>());
    for _ in 1..=COUNT {
        assert!(owner.line().starts_with("OK RESERVADO #"));
    }
    let mut waiter = server.connect();
    assert_eq!(
        waiter.say(&format!("RESERVAR Sala {COUNT} espera=1h")),
        format!("* COLA 1 Sala {COUNT}")
    );
    // Repeated requests before and after the end: each room becomes free exactly at its end.
    let mut taken = 0;
    let mut rng = Rng(seed());
    loop {
        let room = 1 + rng.below(COUNT - 1);
        owner.send(format!("LISTAR Sala {room}\nVERIFICAR #{room}\nESTADO\n"));
        let head = owner.line();
        if head == "OK 1 DISPONIBLES" {
            assert_eq!(owner.line(), format!("Sala {room}"));
        } else {
            assert_eq!(head, "OK 0 DISPONIBLES");
            taken += 1;
        }
        let is_over = owner.line().starts_with("ERR 410 ");
        assert!(is_over || head == "OK 0 DISPONIBLES", "a reserved resource is free");
        let count: usize = owner.line().split(' ').nth(1).unwrap().parse().unwrap();
        let status: Vec<String> = (0..count).map(|_| owner.line()).collect();
        if is_over {
            // A line that was sent after an end runs after all ends of that instant.
            assert!(status.contains(&"reservations=1".to_owned()), "{status:?}");
            break;
        }
    }
    assert!(taken > 0, "the reservations ended before the first request");
    assert_eq!(waiter.line(), format!("OK RESERVADO #{} Sala {COUNT}", COUNT + 1));
}

/// One of the waiters, and its fate.
struct Waiter {
    client: Option<Client>,
    place: usize,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// Is granted the room and cancels it.
    Cancels,
    /// Is granted the room, which another connection cancels.
    IsCancelled,
    /// Is granted the room until its connection ends.
    Leaves,
    /// Is granted the room for a second.
    Expires,
    /// Half-closes while it waits, and is granted the room in order.
    HalfCloses,
    TimesOut,
    Resets,
    Closes,
}

#[test]
fn thousand_waiters_are_granted_once_each_in_order() {
    const COUNT: usize = 1_000;
    let mut rng = Rng(seed());
    let (server, mut owner) = taken();
    let mut waiters = Vec::new();
    for place in 1..=COUNT {
        let fate = match rng.below(100) {
            0..35 => Fate::Cancels,
            35..50 => Fate::IsCancelled,
            50..60 => Fate::Leaves,
            60..68 => Fate::HalfCloses,
            68..80 => Fate::TimesOut,
            80..90 => Fate::Resets,
            _ => Fate::Closes,
        };
        let fate = if matches!(place, 300 | 700) { Fate::Expires } else { fate };
        let options = match fate {
            Fate::Leaves => "espera=1h hasta=salir",
            Fate::Expires => "espera=1h por=1s",
            // Long enough for all waiters to connect before the first of these leaves.
            Fate::TimesOut => "espera=6s",
            _ => "espera=1h",
        };
        let mut client = server.connect();
        let notice = client.say(&format!("RESERVAR Habitación 1 {options}"));
        assert_eq!(notice, format!("* COLA {place} Habitación 1"));
        waiters.push(Waiter { client: Some(client), place, fate });
    }
    // These leave in any order, before the first grant.
    let mut order: Vec<usize> = (0..COUNT).collect();
    rng.shuffle(&mut order);
    let mut there = COUNT;
    for at in order {
        let Waiter { client, fate, .. } = &mut waiters[at];
        match fate {
            Fate::Resets => reset(client.take().unwrap()),
            Fate::Closes => drop(client.take()),
            Fate::HalfCloses => half_close(client.as_mut().unwrap()),
            _ => {}
        }
        if *fate == Fate::TimesOut {
            let reply = answer(client.as_mut().unwrap());
            assert_eq!(reply, "ERR 408 se acabó la espera de Habitación 1");
        }
        there -= usize::from(matches!(fate, Fate::TimesOut | Fate::Resets | Fate::Closes));
    }
    until_waiting(&mut owner, there);
    waiters.retain(|one| !matches!(one.fate, Fate::TimesOut | Fate::Resets | Fate::Closes));
    assert_eq!(waiters.len(), there);
    assert_eq!(owner.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
    for (at, waiter) in waiters.iter_mut().enumerate() {
        let number = at + 2;
        let client = waiter.client.as_mut().unwrap();
        let reply = answer(client);
        let (place, fate) = (waiter.place, waiter.fate);
        let start = format!("OK RESERVADO #{number} Habitación 1");
        assert!(reply.starts_with(&start), "the one at {place}, {fate:?}: {reply}");
        match fate {
            Fate::Cancels => {
                let cancelled = client.say("CANCELAR Habitación 1");
                assert_eq!(cancelled, format!("OK CANCELADO #{number} Habitación 1"));
            }
            Fate::IsCancelled => {
                let cancelled = owner.say(&format!("CANCELAR #{number}"));
                assert_eq!(cancelled, format!("OK CANCELADO #{number} Habitación 1"));
            }
            Fate::HalfCloses => {
                // The connection is answered and closed. The reservation continues.
                assert_eq!(client.rest(), "");
                let cancelled = owner.say(&format!("CANCELAR #{number}"));
                assert_eq!(cancelled, format!("OK CANCELADO #{number} Habitación 1"));
            }
            Fate::Leaves if at % 2 == 0 => reset(waiter.client.take().unwrap()),
            Fate::Leaves => drop(waiter.client.take()),
            _ => {}
        }
    }
    assert_eq!(figure(&mut owner, "waiting"), "0");
    assert_eq!(figure(&mut owner, "last_number"), (there + 1).to_string());
    assert_eq!(owner.list("LISTAR Habitación 1"), ["Habitación 1"]);
    for client in waiters.into_iter().filter_map(|one| one.client) {
        assert_eq!(client.finish(), "", "a connection received more lines");
    }
}

#[test]
fn hundred_watchers_receive_every_notice_once_in_order() {
    let server = Server::in_memory(&[]);
    let mut actor = server.connect();
    let mut watchers: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for watcher in &mut watchers {
        assert_eq!(watcher.say("OBSERVAR"), "OK OBSERVANDO tras=3");
    }
    const ROUNDS: usize = 300;
    for round in 0..ROUNDS {
        let room = 1 + round % 3;
        actor.send(format!("RESERVAR Habitación {room}\nCANCELAR Habitación {room}\n"));
    }
    let mut want = Vec::new();
    for round in 0..ROUNDS {
        let (number, room) = (round + 1, 1 + round % 3);
        assert_eq!(actor.line(), format!("OK RESERVADO #{number} Habitación {room}"));
        assert_eq!(actor.line(), format!("OK CANCELADO #{number} Habitación {room}"));
        want.push(format!("* {} RESERVADO #{number} Habitación {room}", 4 + 2 * round));
        want.push(format!("* {} CANCELADO #{number} Habitación {room}", 5 + 2 * round));
    }
    for watcher in &mut watchers {
        for want in &want {
            assert_eq!(watcher.line(), *want);
        }
    }
    // A new watcher receives the same bytes.
    let mut late = server.connect();
    assert_eq!(late.say("OBSERVAR tras=3"), "OK OBSERVANDO tras=3");
    for want in &want {
        assert_eq!(late.line(), *want);
    }
    // The next line is the reply, so that no notice was repeated.
    for watcher in &mut watchers {
        assert_eq!(watcher.say("SALIR"), "OK ADIÓS");
    }
}

#[test]
fn watcher_that_does_not_read_is_closed_with_a_last_notice_in_bounded_memory() {
    let server = Server::in_memory(&[]);
    let mut actor = server.connect();
    let mut lazy = thin(&server);
    lazy.write_all(b"OBSERVAR\n").unwrap();
    let mut reply = [0; "OK OBSERVANDO tras=3\n".len()];
    lazy.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"OK OBSERVANDO tras=3\n");
    let note = "x".repeat(250);
    let mut churn = |rounds: usize| {
        for _ in 0..rounds {
            let line = format!("RESERVAR Habitación 1 nota={note}\nCANCELAR Habitación 1\n");
            let burst = 50;
            actor.send(line.repeat(burst));
            for _ in 0..2 * burst {
                assert!(actor.line().starts_with("OK "));
            }
        }
    };
    // Fill the history, then exceed it by far.
    churn(HISTORY_EVENTS / 100 + 1);
    let before = server.resident_bytes();
    churn(2 * HISTORY_EVENTS / 100);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "it has grown by {grown} bytes");
    // Notices arrive in order and without a gap up to the last one.
    let (mut next, mut last, mut output) = (4, String::new(), String::new());
    lazy.read_to_string(&mut output).unwrap();
    for line in output.lines() {
        if line.starts_with("* FIN ") {
            last = line.to_owned();
            continue;
        }
        assert_eq!(last, "", "output after the end");
        assert!(line.starts_with(&format!("* {next} ")), "{line} is not {next}");
        next += 1;
    }
    let again = last.split("OBSERVAR ").nth(1).expect("a notice of the end").to_owned();
    let mut back = server.connect();
    let reply = back.say(&format!("OBSERVAR {again}"));
    assert!(reply.starts_with(&format!("OK OBSERVANDO {again}")), "{reply}");
}

#[test]
fn new_request_does_not_overtake_and_unfit_older_waiters_do_not_block() {
    let server = Server::in_memory(&[]);
    let mut owner = server.connect();
    assert!(owner.say("RESERVAR Habitación 1, Habitación 2").starts_with("OK RESERVADO #1 "));
    let mut both = server.connect();
    let mut one = server.connect();
    let mut late = server.connect();
    let line = "RESERVAR Habitación 1, Habitación 2 espera=1h";
    assert_eq!(both.say(line), "* COLA 1 Habitación 1, Habitación 2");
    assert_eq!(one.say("RESERVAR Habitación 1 espera=1h"), "* COLA 2 Habitación 1");
    // Both lines run in one turn, and the waiter is granted before the new request.
    owner.send("CANCELAR Habitación 1\nRESERVAR Habitación 1\n");
    assert_eq!(owner.line(), "OK CANCELADO #1 Habitación 1");
    assert!(owner.line().starts_with("ERR 409 «Habitación 1» no está libre: #2 "));
    assert_eq!(one.line(), "OK RESERVADO #2 Habitación 1");
    assert_eq!(late.say("RESERVAR Habitación * espera=1h"), "OK RESERVADO #3 Habitación 3");
    owner.send("CANCELAR #1\nCANCELAR #2\n");
    assert_eq!(owner.line(), "OK CANCELADO #1 Habitación 2");
    assert_eq!(owner.line(), "OK CANCELADO #2 Habitación 1");
    assert_eq!(both.line(), "OK RESERVADO #4 Habitación 1, Habitación 2");
}

/// A grant and its cancellation in one turn are sent in that order.
#[test]
fn grant_that_is_cancelled_before_it_is_sent_is_still_sent() {
    let (server, mut owner) = taken();
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(first.say("RESERVAR Habitación 1 espera=1h"), "* COLA 1 Habitación 1");
    assert_eq!(second.say("RESERVAR Habitación 1 espera=1h"), "* COLA 2 Habitación 1");
    owner.send("CANCELAR #1\nCANCELAR #2\n");
    assert_eq!(owner.line(), "OK CANCELADO #1 Habitación 1");
    assert_eq!(owner.line(), "OK CANCELADO #2 Habitación 1");
    assert_eq!(answer(&mut first), "OK RESERVADO #2 Habitación 1");
    assert_eq!(answer(&mut second), "OK RESERVADO #3 Habitación 1");
    assert_eq!(first.say("VERIFICAR #2"), "ERR 410 #2 ya terminó");
}

#[test]
fn split_telnet_sequence_does_not_end_a_wait() {
    let (server, mut owner) = taken();
    let mut client = server.connect();
    client.send(b"RESERVAR Habitaci\xc3\xb3n 1 espera=1h\n\xff");
    assert_eq!(client.line(), "* COLA 1 Habitación 1");
    client.stream().write_all(b"\xfb").unwrap();
    client.stream().write_all(b"\xf4").unwrap();
    let mut refusal = [0; 3];
    client.stream().read_exact(&mut refusal).unwrap();
    assert_eq!(refusal, [255, 254, 244], "WILL 244 is an offer, not an interrupt");
    assert_eq!(figure(&mut owner, "waiting"), "1");
}

/// Regression test: an interrupt in the same read as the waiting line was handled before the line
/// and lost. An interrupt before the line does not end the wait.
#[test]
fn interrupt_ends_the_preceding_wait() {
    let (server, mut holder) = taken();
    let line = "RESERVAR Habitación 1 espera=1h\n".as_bytes();
    let mut client = server.connect();
    server.while_stopped(|| client.send([line, b"LISTAR Z*\n\xff\xf4"].concat()));
    assert_eq!(client.line(), "* COLA 1 Habitación 1");
    assert!(client.line().starts_with("ERR 408 "));
    assert_eq!(client.line(), "OK 0 DISPONIBLES");
    let mut early = server.connect();
    server.while_stopped(|| early.send([b"SOY eva\n\xff\xf4", line].concat()));
    assert_eq!(early.line(), "OK eva");
    assert_eq!(early.line(), "* COLA 1 Habitación 1");
    assert_eq!(holder.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
    assert_eq!(early.line(), "OK RESERVADO #2 Habitación 1");
}

/// Regression test: a close looks like a half-close, after which a watch continues. The bound
/// reservation of a closed watcher ended only when the next notice was sent.
#[test]
fn watcher_that_disconnected_does_not_keep_its_bound_reservations() {
    let server = Server::in_memory(&[]);
    let mut watcher = server.connect();
    assert!(watcher.say("RESERVAR Habitación 1 hasta=salir").starts_with("OK RESERVADO #1 "));
    assert!(watcher.say("OBSERVAR Z*").starts_with("OK OBSERVANDO "));
    drop(watcher);
    let mut other = server.connect();
    until("the room is free", || other.say("VERIFICAR #1").starts_with("ERR 410 "));
    // No notice was due. The probe has found the closed connection.
}

/// Regression test: bound reservations were released only at the end of the turn, so that a later
/// line of the same turn was refused.
#[test]
fn end_of_input_is_handled_after_earlier_lines() {
    let server = Server::in_memory(&[]);
    let mut holder = server.connect();
    assert!(holder.say("RESERVAR Habitación 1 hasta=salir").starts_with("OK RESERVADO #1 "));
    let mut next = server.connect();
    assert_eq!(next.say("SOY eva"), "OK eva");
    server.while_stopped(|| {
        drop(holder);
        next.send("RESERVAR Habitación 1\n");
    });
    assert_eq!(next.line(), "OK RESERVADO #2 Habitación 1");
}

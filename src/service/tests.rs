//! Tests of whole turns: their order, and that their work is bounded whatever clients do.

use std::io::Cursor;

use support::temp_dir;

use super::testing::{NOW, Peer, Server, config, join, turn, turn_at};
use super::{Config, CrowdLimits, Key, Service, Step};
use crate::inventory::{Cancel, Capacity, Number, Origin, Principal, SessionId};
use crate::inventory_file::InventoryFile;
use crate::journal::{DiskStorage, SyncPolicy};
use crate::limits::{
    CANCEL_BOOKINGS_MAX, COSTLY_WORK, HISTORY_EVENTS, REAPED_A_TURN, RELEASES_A_TURN,
    RELEASES_AT_ONCE, RELOAD_ADDED, RELOAD_LINES, TURN_WRITE_BYTES, WORK_BUDGET, WRITE_MIN_BYTES,
};
use crate::store::State;
use crate::time::{Clock, MonotonicMs, Time, Zone};

type Joined = (Peer, (Key, SessionId));

const CAPACITY: Capacity = Capacity { resources: 100_000, reservations: 100_000 };

fn server(config: Config) -> Server {
    let state = State::in_memory(CAPACITY);
    let mut server: Server = Service::new(state, Clock::new(NOW.0), NOW, Zone::utc(), config);
    server.add_names(vec!["Sala 1".to_owned()]).unwrap();
    server
}

/// Returns a configuration for many clients.
fn many() -> Config {
    Config { max_clients: 10_000, ..config() }
}

fn add_names(server: &mut Server, count: usize) {
    server.add_names((0..count).map(|n| format!("Placa {n}")).collect()).unwrap();
    turn(server, &[]);
}

fn join_many(server: &mut Server, count: usize) -> Vec<(Peer, (Key, SessionId))> {
    (0..count).map(|_| join(server)).collect()
}

/// Reserves `count` of the names for as long as the connection lasts.
fn bind(server: &mut Server, (peer, place): &(Peer, (Key, SessionId)), count: usize) {
    for n in 0..count {
        peer.send(&format!("RESERVAR Placa {n} hasta=salir\n"));
        if n % 64 == 63 || n + 1 == count {
            turn(server, &[*place]);
        }
    }
    assert_eq!(peer.received().matches("OK RESERVADO").count(), count);
}

/// Returns a server in memory with Sala 1.
fn small_server() -> Server {
    let state = State::in_memory(Capacity { resources: 9, reservations: 9 });
    let mut server: Server = Service::new(state, Clock::new(NOW.0), NOW, Zone::utc(), config());
    server.add_names(vec!["Sala 1".to_owned()]).unwrap();
    server
}

#[test]
fn each_batch_is_answered_before_the_next_is_served() {
    let mut server = small_server();
    let ((ana, a), (luis, b)) = (join(&mut server), join(&mut server));
    server.observer().take();
    ana.send("RESERVAR Sala 1\n");
    luis.send("CANCELAR Sala 1\n");
    turn(&mut server, &[a, b]);
    assert_eq!(ana.received(), "OK RESERVADO #1 Sala 1\n");
    assert_eq!(luis.received(), "OK CANCELADO #1 Sala 1\n");
    let steps = server.observer().take();
    let commits = steps.iter().filter(|step| matches!(step, Step::Committed)).count();
    assert_eq!(commits, 3, "one per batch, and one for the turn: {steps:?}");
}

/// A waiter whose loss was noticed when its position was sent stayed in the queue until the end of
/// the turn, and was granted a resource that a later batch released.
#[test]
fn waiter_that_disconnected_is_not_granted_what_a_later_batch_releases() {
    let mut server = small_server();
    let ((ana, a), (eva, b)) = (join(&mut server), join(&mut server));
    ana.send("RESERVAR Sala 1\n");
    turn(&mut server, &[a]);
    eva.send("RESERVAR Sala 1 espera=1h\n");
    eva.disconnect();
    ana.send("CANCELAR Sala 1\n");
    turn(&mut server, &[b, a]);
    assert_eq!(ana.received(), "OK RESERVADO #1 Sala 1\nOK CANCELADO #1 Sala 1\n");
    assert_eq!(server.inventory().reservation_count(), 0);
}

#[test]
fn watcher_gets_earlier_notices_before_it_changes_what_it_watches() {
    let mut server = small_server();
    let ((ana, a), (eva, b)) = (join(&mut server), join(&mut server));
    eva.send("OBSERVAR\n");
    turn(&mut server, &[b]);
    assert_eq!(eva.received(), "OK OBSERVANDO tras=1\n");
    ana.send("RESERVAR Sala 1\n");
    eva.send("OBSERVAR Sala 2*\n");
    turn(&mut server, &[a, b]);
    assert_eq!(eva.received(), "* 2 RESERVADO #1 Sala 1\nOK OBSERVANDO tras=2\n");
}

/// The last notice was made as soon as there was room for it in the output, so its event number
/// was too old when the peer read it.
#[test]
fn watcher_too_far_behind_gets_an_event_number_that_it_can_continue_with() {
    // More is left in its output than the low-water mark, or less.
    [1000, 9000].into_iter().for_each(falls_behind_after_reading);
}

fn falls_behind_after_reading(bytes: usize) {
    let mut server = small_server();
    let ((ana, a), (eva, b)) = (join(&mut server), join(&mut server));
    let change = |server: &mut Server, ready: &[_]| {
        ana.send(&"RESERVAR Sala 1\nCANCELAR Sala 1\n".repeat(25));
        turn(server, ready);
        assert_eq!(ana.received().lines().count(), 50);
    };
    eva.send("OBSERVAR\n");
    turn(&mut server, &[b]);
    assert_eq!(eva.received(), "OK OBSERVANDO tras=1\n");
    eva.accept(0);
    (0..2 * HISTORY_EVENTS / 50).for_each(|_| change(&mut server, &[a]));
    // It reads a little, and then nothing for a long time.
    eva.accept(bytes);
    change(&mut server, &[a, b]);
    change(&mut server, &[a]);
    // It was once served in every turn, for a notice that could not be made yet.
    assert!(
        !server.has_work(),
        "a turn is due for a client that reads nothing, after {bytes} bytes"
    );
    (0..2 * HISTORY_EVENTS / 50).for_each(|_| change(&mut server, &[a]));
    eva.accept(usize::MAX);
    turn(&mut server, &[b]);
    let received = eva.received();
    let again = received
        .lines()
        .last()
        .unwrap()
        .strip_prefix("* FIN te has quedado demasiado atrás; sigue con ");
    let again = again.expect("a last notice");
    let (leo, c) = join(&mut server);
    leo.send(&format!("{again}\n"));
    turn(&mut server, &[c]);
    assert!(leo.received().starts_with("OK OBSERVANDO tras="), "{again}");
}

#[test]
fn closed_connection_keeps_no_place_in_the_waiting_list_no_timer_and_no_memory() {
    let mut server = small_server();
    let ((ana, a), (eva, b)) = (join(&mut server), join(&mut server));
    ana.send("RESERVAR Sala 1\n");
    eva.send("RESERVAR Sala 1 espera=1h\n");
    eva.accept(0);
    turn(&mut server, &[a, b]);
    assert_eq!(server.inventory().queue().len(), 1);
    assert!(server.timers.next().is_some() && !server.memory.is_empty());
    server.close(b.0);
    server.close(b.0);
    assert_eq!(server.inventory().queue().len(), 0);
    assert!(server.timers.next().is_none() && server.memory.is_empty());
    turn(&mut server, &[]);
    assert_eq!(server.clients.len(), 1);
}

#[test]
fn costly_lines_wait_behind_a_cheap_line_that_came_last() {
    const CROWD: usize = 60;
    let mut server = server(many());
    add_names(&mut server, 2 * COSTLY_WORK as usize);
    let crowd = join_many(&mut server, CROWD);
    let (good, at) = join(&mut server);
    let mut ready: Vec<_> = crowd.iter().map(|(_, place)| *place).collect();
    ready.push(at);
    for (peer, _) in &crowd {
        peer.accept(0);
        peer.send("LISTAR\n");
    }
    good.send("RESERVAR Sala 1\n");
    server.observer().take();
    turn(&mut server, &ready);
    assert_eq!(good.received(), "OK RESERVADO #1 Sala 1\n");
    let ran = |server: &mut Server| {
        let steps = server.observer().take().into_iter();
        steps
            .filter_map(|step| if let Step::Ran(principal) = step { Some(principal) } else { None })
            .collect()
    };
    let first: Vec<SessionId> = ran(&mut server);
    let most = 1 + WORK_BUDGET as usize / (2 * COSTLY_WORK as usize);
    assert_eq!(first[0], at.1, "the cheap line is first, though it came last");
    assert!((2..=1 + most).contains(&first.len()), "{} lines in a turn", first.len());
    // Each of the others has its turn once, and no other client waits for them.
    let mut lists = first.len() - 1;
    for _ in 0..CROWD {
        good.send("CANCELAR Sala 1\nRESERVAR Sala 1\n");
        turn(&mut server, &[at]);
        assert_eq!(good.received().lines().count(), 2);
        let now: Vec<SessionId> = ran(&mut server);
        assert!(now.len() <= 2 + most, "{} lines in a turn", now.len());
        lists += now.len() - 2;
    }
    assert_eq!(lists, CROWD);
    for (peer, place) in &crowd {
        peer.accept(usize::MAX);
        while server.has_work() || !peer.received().contains("Placa 9999\n") {
            turn(&mut server, &[*place]);
        }
    }
}

/// The first line of a new client, in several pieces of input, beside cheap lines.
#[test]
fn line_that_was_put_off_runs_once_and_in_order() {
    let mut server = server(many());
    add_names(&mut server, 2 * COSTLY_WORK as usize);
    let peer = Peer::new();
    peer.send("LISTAR *x*\r\nESTADO nada\nLISTAR *x*\nSALIR\n");
    server.add_client(peer.clone(), Origin::LOCAL, |_, _, _| Ok(()));
    let mut turns = 0;
    while server.has_work() {
        turn(&mut server, &[]);
        turns += 1;
        assert!(turns < 10, "the session does not end");
    }
    let received = peer.received();
    let lines: Vec<_> = received.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 4, "{received}");
    assert_eq!(lines[0], "OK 0 DISPONIBLES\r\n");
    assert!(lines[1].starts_with("ERR 400 "), "{received}");
    assert_eq!(lines[2..], ["OK 0 DISPONIBLES\n", "OK ADIÓS\n"]);
}

#[test]
fn reservations_of_a_lost_connection_are_released_over_several_turns() {
    const BOUND: usize = 3 * RELEASES_A_TURN;
    let mut server = server(many());
    add_names(&mut server, BOUND);
    let owner = join(&mut server);
    bind(&mut server, &owner, BOUND);
    let (good, at) = join(&mut server);
    owner.0.disconnect();
    server.start_turn(NOW.0, NOW.1);
    let gone = super::Ready { error: true, write_closed: true, ..super::Ready::default() };
    server.set_ready(owner.1.0, owner.1.1, gone);
    server.serve_queue().unwrap();
    server.finish_turn().unwrap();
    let mut turns = 0;
    while server.has_work() {
        let before = server.inventory().reservation_count();
        good.send("RESERVAR Sala 1\nCANCELAR Sala 1\n");
        turn(&mut server, &[at]);
        assert_eq!(good.received().lines().count(), 2);
        let released = before - server.inventory().reservation_count();
        assert!(released <= RELEASES_A_TURN, "{released} in a turn");
        turns += 1;
    }
    assert!(turns >= BOUND / RELEASES_A_TURN, "{turns} turns");
    assert_eq!(server.inventory().reservation_count(), 0);
    server.inventory().check();
}

#[test]
fn quit_is_answered_after_everything_is_released() {
    const BOUND: usize = 2 * RELEASES_A_TURN;
    let mut server = server(many());
    add_names(&mut server, BOUND);
    let owner = join(&mut server);
    bind(&mut server, &owner, BOUND);
    owner.0.send("QUIT\r\nRESERVAR Sala 1\n");
    turn(&mut server, &[owner.1]);
    assert!(server.inventory().reservation_count() >= BOUND - RELEASES_A_TURN - RELEASES_AT_ONCE);
    while server.inventory().reservation_count() > 0 {
        assert_eq!(owner.0.received(), "");
        turn(&mut server, &[owner.1]);
    }
    turn(&mut server, &[owner.1]);
    assert_eq!(owner.0.received(), "OK BYE\r\n", "the last reply");
    assert_eq!(server.inventory().reservation_count(), 0);
}

#[test]
fn stop_waits_for_connections_that_are_leaving() {
    const BOUND: usize = 2 * RELEASES_A_TURN;
    let mut server = server(many());
    add_names(&mut server, BOUND);
    let owner = join(&mut server);
    bind(&mut server, &owner, BOUND);
    owner.0.send("SALIR\n");
    turn(&mut server, &[owner.1]);
    server.stop();
    while !server.is_over(true) {
        assert!(server.has_work(), "the server would not wake up");
        turn(&mut server, &[]);
    }
    assert_eq!(owner.0.received(), "OK ADIÓS\n");
    assert_eq!(server.inventory().reservation_count(), 0);
}

/// The next start releases the reservations that the server had not released when it died.
#[test]
fn restart_releases_what_a_leaving_connection_still_held() {
    const BOUND: usize = 3 * RELEASES_A_TURN;
    let directory = temp_dir();
    let open = || {
        let storage = DiskStorage::lock(directory.path()).unwrap();
        State::open(storage, SyncPolicy::Never, CAPACITY).unwrap().0
    };
    let mut server: Server = Service::new(open(), Clock::new(NOW.0), NOW, Zone::utc(), many());
    server.add_names(vec!["Sala 1".to_owned()]).unwrap();
    add_names(&mut server, BOUND);
    let owner = join(&mut server);
    bind(&mut server, &owner, BOUND);
    owner.0.send("SALIR\n");
    turn(&mut server, &[owner.1]);
    turn(&mut server, &[]);
    let left = server.inventory().reservation_count();
    assert!((1..BOUND).contains(&left), "{left} are left");
    drop(server);
    let state = open();
    assert_eq!(state.inventory.reservation_count(), 0);
    // The releases of the last turn were not committed yet.
    assert_eq!(state.batch.len(), left + RELEASES_A_TURN, "one end for each");
    drop(state);
}

/// Its first commit after an idle time once overwrote the records of the other server.
#[test]
fn server_whose_lock_was_taken_while_it_was_idle_writes_nothing() {
    let directory = temp_dir();
    let open = || {
        let storage = DiskStorage::lock(directory.path()).unwrap();
        State::open(storage, SyncPolicy::Never, CAPACITY).unwrap().0
    };
    let start = || Service::new(open(), Clock::new(NOW.0), NOW, Zone::utc(), config());
    let mut first: Server = start();
    add_names(&mut first, 3);
    let (ana, at) = join(&mut first);
    std::fs::remove_file(directory.path().join("lock")).unwrap();
    let mut second: Server = start();
    let (eva, place) = join(&mut second);
    eva.send("RESERVAR Placa 0\n");
    turn(&mut second, &[place]);
    assert_eq!(eva.received(), "OK RESERVADO #1 Placa 0\n");
    let written = std::fs::read(directory.path().join("journal")).unwrap();
    let later = NOW.1.plus_ms(crate::limits::DIRECTORY_CHECK_MS);
    ana.send("RESERVAR Placa 1\n");
    first.start_turn(NOW.0, later);
    first.set_ready(at.0, at.1, super::Ready { readable: true, ..super::Ready::default() });
    first.expire_due();
    first
        .serve_queue()
        .and_then(|()| first.finish_turn())
        .expect_err("another server has the lock");
    first.finish().expect_err("another server has the lock");
    assert_eq!(ana.received(), "");
    assert!(
        std::fs::read(directory.path().join("journal")).unwrap() == written,
        "it wrote something"
    );
    drop((first, second));
}

#[test]
fn connections_lost_at_once_are_removed_over_several_turns() {
    const CROWD: usize = 3 * REAPED_A_TURN;
    let mut server = server(many());
    let crowd = join_many(&mut server, CROWD);
    let (good, at) = join(&mut server);
    server.start_turn(NOW.0, NOW.1);
    let gone = super::Ready { read_closed: true, error: true, ..super::Ready::default() };
    for (peer, (key, session)) in &crowd {
        peer.disconnect();
        peer.send("AYUDA\n");
        server.set_ready(*key, *session, gone);
    }
    server.serve_queue().unwrap();
    server.finish_turn().unwrap();
    let mut turns = 0;
    while server.has_work() {
        let before = server.clients.len();
        good.send("RESERVAR Sala 1\nCANCELAR Sala 1\n");
        turn(&mut server, &[at]);
        assert_eq!(good.received().lines().count(), 2);
        assert!(before - server.clients.len() <= REAPED_A_TURN);
        turns += 1;
    }
    assert!(turns >= 2, "{turns} turns");
    assert_eq!(server.clients.len(), 1);
}

/// With 15,000 watchers, 10,000 events once took a single turn of seconds.
#[test]
fn watchers_are_notified_over_several_turns_and_others_are_answered_in_between() {
    const CROWD: usize = 700;
    const EVENTS: usize = 2_000;
    let mut server = server(many());
    let crowd = join_many(&mut server, CROWD);
    for (n, (peer, place)) in crowd.iter().enumerate() {
        peer.send(["OBSERVAR\n", "WATCH\n", "OBSERVAR Placa 7*\n"][n % 3]);
        turn(&mut server, &[*place]);
        assert!(peer.received().starts_with("OK "));
    }
    let (good, at) = join(&mut server);
    good.send(&format!("ALTA Placa 0..{}\n", EVENTS - 1));
    turn(&mut server, &[at]);
    let received = |peer: &Peer| peer.received().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(received(&good), [format!("OK ALTA {EVENTS}")]);
    let mut notices = vec![0; CROWD];
    let mut turns = 0;
    loop {
        let mut notified = 0;
        for (count, (peer, _)) in notices.iter_mut().zip(&crowd) {
            let lines = received(peer);
            notified += usize::from(!lines.is_empty());
            *count += lines.len();
        }
        assert!(notified <= TURN_WRITE_BYTES / WRITE_MIN_BYTES, "{notified} in a turn");
        if !server.has_work() {
            break;
        }
        // Watchers are also sent the events of these lines.
        if turns < 10 {
            good.send("ESTADO\n");
            turn(&mut server, &[at]);
            assert!(received(&good)[0].starts_with("OK 15 "));
        } else {
            turn(&mut server, &[]);
        }
        turns += 1;
    }
    assert!(turns > 10, "{turns} turns");
    let sevens = (0..EVENTS).filter(|n| n.to_string().starts_with('7')).count();
    for (n, count) in notices.iter().enumerate() {
        assert_eq!(*count, if n % 3 == 2 { sevens } else { EVENTS }, "watcher {n}");
    }
    let reads = server.watchers.notices.made;
    assert!(reads <= 30 * EVENTS as u64, "{EVENTS} texts were parsed {reads} times");
}

#[test]
fn memory_of_all_connections_is_bounded_and_the_slowest_reader_is_closed() {
    const MOST: u64 = 1 << 20;
    let mut server = server(Config { max_output_memory: MOST, ..many() });
    add_names(&mut server, 20_000);
    let (good, at) = join(&mut server);
    let mut readers = Vec::new();
    for n in 0..200 {
        let (peer, place) = join(&mut server);
        peer.send("LISTAR\n");
        peer.accept(2000);
        let now = MonotonicMs(NOW.1.0 + n);
        turn_at(&mut server, now, &[place]);
        while server.has_work() {
            turn_at(&mut server, now, &[]);
        }
        readers.push((peer, place));
        good.send("RESERVAR Sala 1\nCANCELAR Sala 1\n");
        turn_at(&mut server, now, &[at]);
        assert_eq!(good.received().lines().count(), 2, "after {n} readers");
        let retained: usize = server.clients.iter().map(|(_, it)| it.conn.retained_bytes()).sum();
        assert!(retained as u64 <= MOST, "{retained} bytes after {n} readers");
    }
    assert!(server.clients.len() < 100, "{} are left", server.clients.len());
    assert!(server.clients.len() > 20, "{} are left", server.clients.len());
    let (last, place) = &readers[199];
    last.accept(usize::MAX);
    let now = MonotonicMs(NOW.1.0 + 200);
    turn_at(&mut server, now, &[*place]);
    while server.has_work() {
        turn_at(&mut server, now, &[]);
    }
    assert_eq!(last.received().lines().count(), 20_002, "the newest gets its whole list");
    // After all have left, nothing is counted.
    for (peer, (key, session)) in &readers {
        peer.disconnect();
        let gone = super::Ready { error: true, write_closed: true, ..super::Ready::default() };
        server.set_ready(*key, *session, gone);
    }
    while server.has_work() {
        turn_at(&mut server, now, &[]);
    }
    assert_eq!(server.clients.len(), 1);
    assert!(!server.memory.is_full() && server.memory.is_empty());
}

#[test]
fn list_larger_than_the_total_memory_closes_its_connection() {
    let mut server = server(Config { max_output_memory: 10_000, ..many() });
    add_names(&mut server, 20_000);
    let (peer, place) = join(&mut server);
    let (good, at) = join(&mut server);
    peer.accept(1);
    peer.send("LISTAR\n");
    good.send("RESERVAR Sala 1\n");
    turn(&mut server, &[place, at]);
    assert_eq!(good.received(), "OK RESERVADO #1 Sala 1\n");
    turn(&mut server, &[]);
    assert_eq!(server.clients.len(), 1);
}

#[test]
fn connection_over_the_bound_of_its_address_gets_503_and_others_are_served() {
    let crowd = CrowdLimits { per_address: 3, silent_per_address: 2, silent: 100 };
    let mut server = server(Config { crowd, ..many() });
    let come = |server: &mut Server, from: Origin, line: &str| {
        let (peer, mut place) = (Peer::new(), (0, SessionId::GONE));
        peer.send(line);
        server.add_client(peer.clone(), from, |_, key, session| {
            place = (key, session);
            Ok(())
        });
        turn(server, &[]);
        (peer, place)
    };
    let here = Origin(7);
    let mut all: Vec<_> = (0..3).map(|_| come(&mut server, here, "SOY ana\n")).collect();
    assert!(all.iter().all(|(peer, _)| peer.received() == "OK ana\n"));
    let (fourth, _) = come(&mut server, here, "SOY ana\n");
    let received = fourth.received();
    assert!(received.starts_with("ERR 503 ") && received.contains("tu dirección"), "{received}");
    assert!(received.contains("your address"), "{received}");
    assert_eq!(come(&mut server, Origin(8), "SOY eva\n").0.received(), "OK eva\n");
    for _ in 0..10 {
        assert_eq!(come(&mut server, Origin::LOCAL, "SOY luis\n").0.received(), "OK luis\n");
    }
    // A closed connection makes room.
    let (eva, (key, session)) = all.remove(0);
    eva.disconnect();
    server.set_ready(key, session, super::Ready { error: true, ..super::Ready::default() });
    eva.send("AYUDA\n");
    turn(&mut server, &[]);
    turn(&mut server, &[]);
    assert_eq!(come(&mut server, here, "SOY ana\n").0.received(), "OK ana\n");
}

#[test]
fn oldest_silent_connection_is_closed_and_active_ones_stay() {
    let crowd = CrowdLimits { per_address: 100, silent_per_address: 100, silent: 3 };
    let mut server = server(Config { crowd, ..many() });
    let come = |server: &mut Server, line: &str| {
        let peer = Peer::new();
        peer.send(line);
        server.add_client(peer.clone(), Origin::LOCAL, |_, _, _| Ok(()));
        turn(server, &[]);
        peer
    };
    let speaks = come(&mut server, "SOY ana\n");
    let silent: Vec<_> = (0..3).map(|_| come(&mut server, "SOY")).collect();
    assert!(silent.iter().all(|peer| peer.received().is_empty()));
    assert_eq!(speaks.received(), "OK ana\n");
    // A client that sends a line costs no other its place; one more silent client costs the oldest.
    assert_eq!(come(&mut server, "SOY eva\n").received(), "OK eva\n");
    assert!(silent.iter().all(|peer| peer.received().is_empty()));
    assert_eq!(come(&mut server, "SOY").received(), "");
    let received = silent[0].received();
    assert!(received.starts_with("ERR 503 ") && received.contains("sent no command"), "{received}");
    for n in 0..50 {
        assert_eq!(come(&mut server, "SOY eva\n").received(), "OK eva\n", "{n}");
    }
    assert_eq!(speaks.received(), "");
}

/// New clients were once closed as silent although their lines had arrived.
#[test]
fn new_clients_with_a_line_are_all_served_however_many_connect_at_once() {
    let crowd = CrowdLimits { per_address: 100, silent_per_address: 2, silent: 3 };
    let mut server = server(Config { crowd, ..many() });
    let from = |n: u64| if n == 9 { Origin::LOCAL } else { Origin(1 + n % 2) };
    let come = |server: &mut Server, n: u64, line: &str| {
        let peer = Peer::new();
        peer.send(line);
        server.add_client(peer.clone(), from(n), |_, _, _| Ok(()));
        peer
    };
    let good: Vec<_> = (0..10).map(|n| come(&mut server, n, "SOY ana\n")).collect();
    let silent: Vec<_> = (0..10).map(|n| come(&mut server, n, "")).collect();
    turn(&mut server, &[]);
    assert!(good.iter().all(|peer| peer.received() == "OK ana\n"));
    let closed = silent.iter().filter(|peer| peer.received().starts_with("ERR 503 ")).count();
    assert_eq!(closed, 7, "three of all may stay");
}

#[test]
fn cancel_by_name_visits_a_bounded_number_of_bookings() {
    let mut server = server(many());
    let (ana, at) = join(&mut server);
    ana.send("SOY ana\n");
    let from = |n: usize| Time::from_ms(1_900_000_000_000 + n as i64 * 1000);
    for n in 0..3_000 {
        let from = Zone::utc().print(from(n), crate::time::Round::Down).to_string();
        ana.send(&format!("RESERVAR Sala 1 desde={from} por=1s\n"));
        if n % 50 == 49 {
            turn(&mut server, &[at]);
        }
    }
    assert_eq!(ana.received().matches("OK RESERVADO").count(), 3_000);
    let (eva, place) = join(&mut server);
    let (leo, place_of_leo) = join(&mut server);
    eva.send("SOY eva\n");
    turn(&mut server, &[place]);
    eva.received();
    let too_many = "ERR 409 'Sala 1' has more than 1000 reservations, too many to find yours";
    let several = "ERR 409 'Sala 1' has at least 1000 matching reservations: #1, #2";
    for (principal, at, want) in
        [(&ana, at, several), (&eva, place, too_many), (&leo, place_of_leo, too_many)]
    {
        principal.send("CANCEL Sala 1\n");
        turn(&mut server, &[at]);
        let received = principal.received();
        assert!(received.starts_with(want), "{received}");
    }
    for holder in [Some("ana"), Some("eva"), None] {
        let session = SessionId(u64::MAX);
        let principal =
            Principal { session, origin: Origin::LOCAL, holder: holder.map(Into::into) };
        server.inventory().take_work();
        let refused = server.inventory().cancel(&[Cancel::Name("Sala 1".into())], &principal);
        assert!(refused.is_err(), "{holder:?}");
        let work = server.inventory().take_work();
        assert!((1..=10 + CANCEL_BOOKINGS_MAX as u64).contains(&work), "{holder:?}: {work}");
    }
    ana.send("CANCEL #2500\n");
    turn(&mut server, &[at]);
    assert_eq!(ana.received(), "OK CANCELLED #2500 Sala 1\n");
}

/// Input behind the waiting request counts, too.
#[test]
fn waiter_closed_for_its_memory_is_not_granted_what_a_later_line_releases() {
    let mut server = server(Config { max_output_memory: 6_000, ..many() });
    let ((ana, a), (eva, b), (luis, c)) = (join(&mut server), join(&mut server), join(&mut server));
    ana.send("RESERVAR Sala 1\n");
    eva.send(&format!("RESERVAR Sala 1 espera=1h\n{}", "x".repeat(4000)));
    turn_at(&mut server, MonotonicMs(NOW.1.0 + 1), &[a, b]);
    assert!(eva.received().starts_with("* COLA 1 "));
    luis.send(&"y".repeat(4000));
    ana.send("CANCELAR Sala 1\n");
    turn_at(&mut server, MonotonicMs(NOW.1.0 + 2), &[c, a]);
    assert_eq!(ana.received(), "OK RESERVADO #1 Sala 1\nOK CANCELADO #1 Sala 1\n");
    assert_eq!(server.inventory().reservation_count(), 0, "the grant has no owner");
}

fn inventory_file(count: usize) -> Box<InventoryFile<Cursor<String>>> {
    let text = (0..count).map(|n| format!("Placa {n}\n")).collect();
    Box::new(InventoryFile::new("file".to_owned(), Cursor::new(text)))
}

fn resources(server: &Server) -> usize {
    server.inventory().names().len()
}

/// With a million names, a reload once took a single turn of more than a second.
#[test]
fn reload_is_spread_over_several_turns_and_others_are_answered_in_between() {
    const NAMES: usize = 3 * RELOAD_LINES;
    let mut server = server(many());
    let (ana, at) = join(&mut server);
    server.reload(inventory_file(NAMES));
    let (mut turns, mut adding) = (0, 0);
    while server.has_work() {
        let before = resources(&server);
        ana.send("RESERVAR Sala 1\nCANCELAR Sala 1\n");
        turn(&mut server, &[at]);
        assert!(ana.received().ends_with(" Sala 1\n"));
        let added = resources(&server) - before;
        assert!(added <= RELOAD_ADDED, "{added} in a turn");
        turns += 1;
        adding += usize::from(added > 0);
    }
    assert_eq!(resources(&server), NAMES + 1);
    assert_eq!(adding, NAMES / RELOAD_ADDED);
    assert!(turns >= adding + 2 * (NAMES / RELOAD_LINES), "{turns} turns");
    // All names exist now.
    server.reload(inventory_file(NAMES));
    let events = server.inventory().last_event();
    let mut turns = 0;
    while server.has_work() {
        turn(&mut server, &[]);
        turns += 1;
    }
    assert!(turns > 2 * (NAMES / RELOAD_LINES), "{turns} turns");
    assert_eq!(server.inventory().last_event(), events);
}

#[test]
fn reload_reserves_room_for_its_names_whatever_clients_add_meanwhile() {
    let state = State::in_memory(Capacity { resources: 3_000, reservations: 9 });
    let mut server: Server = Service::new(state, Clock::new(NOW.0), NOW, Zone::utc(), many());
    let (ana, at) = join(&mut server);
    server.reload(inventory_file(2_900));
    while resources(&server) == 0 {
        turn(&mut server, &[]);
    }
    ana.send("ALTA Sala 1..200\nALTA Sala 1..100\nALTA Placa 2899\n");
    turn(&mut server, &[at]);
    let received = ana.received();
    let received: Vec<_> = received.lines().map(|line| &line[..7]).collect();
    assert_eq!(received, ["ERR 503", "OK ALTA", "ERR 503"], "the file has yet to add the last one");
    while server.has_work() {
        turn(&mut server, &[]);
    }
    assert_eq!(resources(&server), 3_000);
    // With one name too many nothing is added, and clients have room again.
    ana.send("BAJA Sala 1, Sala 2\n");
    turn(&mut server, &[at]);
    server.reload(inventory_file(2_903));
    while server.has_work() {
        turn(&mut server, &[]);
    }
    assert_eq!(resources(&server), 2_998);
    ana.send("ALTA Sala 1, Sala 2\n");
    turn(&mut server, &[at]);
    assert_eq!(ana.received().lines().last(), Some("OK ALTA 2"));
}

#[test]
fn second_reload_replaces_the_one_in_progress() {
    let mut server = server(many());
    server.reload(inventory_file(5_000));
    while resources(&server) == 1 {
        turn(&mut server, &[]);
    }
    let added = resources(&server);
    let other = InventoryFile::new("other".to_owned(), Cursor::new("Otra\n".to_owned()));
    server.reload(Box::new(other));
    while server.has_work() {
        turn(&mut server, &[]);
    }
    assert_eq!(resources(&server), added + 1, "names already added stay");
    assert!(server.inventory().names().find("Otra").is_some());
}

/// The end of a keep-alive once came first, with the time of the turn, so a waiter whose wait was
/// over was granted the resource.
#[test]
fn keep_alive_ends_after_the_waits_that_were_over_before() {
    let mut server = server(many());
    let ((ana, a), (eva, b)) = (join(&mut server), join(&mut server));
    ana.send("RESERVAR Sala 1 hasta=salir por=10s\n");
    eva.send("RESERVAR Sala 1 espera=5s\n");
    turn(&mut server, &[a, b]);
    assert_eq!(eva.received(), "* COLA 1 Sala 1\n");
    turn_at(&mut server, MonotonicMs(NOW.1.0 + 60_000), &[]);
    assert_eq!(eva.received(), "ERR 408 se acabó la espera de Sala 1\n");
    assert_eq!(server.inventory().reservation_count(), 0);
}

/// Returns a server with two resources and two clients that have sent these lines.
fn two_clients(first: &str, second: &str) -> (Server, [Joined; 2]) {
    let mut server = server(config());
    add_names(&mut server, 2);
    let clients = [join(&mut server), join(&mut server)];
    for ((peer, place), lines) in clients.iter().zip([first, second]) {
        peer.send(lines);
        turn(&mut server, &[*place]);
    }
    (server, clients)
}

#[test]
fn deadline_of_a_kept_reservation_and_an_earlier_end_in_one_turn_are_in_order_of_time() {
    let lines = "RESERVAR Placa 0 por=10s\nRESERVAR Placa 1 hasta=salir por=10s\n";
    let (mut server, _) = two_clients(lines, "ESTADO\n");
    turn_at(&mut server, NOW.1.plus_ms(11_000), &[]);
    assert_eq!(server.inventory().reservation_count(), 0);
    let history = server.engine.store.history();
    let events = (1..=history.last()).map(|number| history.get(number).unwrap());
    let times: Vec<_> = events.map(|text| &text[..24]).collect();
    assert!(times.is_sorted(), "{times:#?}");
}

#[test]
fn deadline_in_the_turn_of_a_clock_step_does_not_shorten_a_lease() {
    let lines = "RESERVAR Placa 0 hasta=salir por=10s\nRESERVAR Placa 1 por=30m\n";
    let waits = "RESERVAR Placa 0, Placa 1 por=1m espera=2h\n";
    let (mut server, [_, (eva, _)]) = two_clients(lines, waits);
    assert_eq!(eva.received(), "* COLA 1 Placa 0, Placa 1\n");
    // Set forward by an hour, in the turn of the deadline.
    server.start_turn(NOW.0.plus_ms(3_610_000), NOW.1.plus_ms(10_000));
    server.expire_due();
    server.serve_queue().unwrap();
    server.finish_turn().unwrap();
    assert_eq!(eva.received(), "");
    let numbers = [1, 2].map(|n| server.inventory().reservation(Number(n)).is_some());
    assert_eq!(numbers, [false, true], "the lease has 29 minutes left");
}

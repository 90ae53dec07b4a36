//! `OBSERVAR`: notices of all events, in order, after the replies and never within a list.

use reservad::time::{Round, Time, Zone};
use std::net::Shutdown;
use support::dialog::{check_cases, check_in_both, notice_number};
use support::{Client, Server, narrow, temp_dir, until};

/// The complete text of a notice of each kind.
#[test]
fn notices_of_all_events() {
    check_in_both(
        &[],
        "w> OBSERVAR
         w< OK OBSERVANDO tras=3
         > ALTA Sala 2, sala  1
         < OK ALTA 2
         w< * 4 ALTA Sala 2
         w< * 5 ALTA sala 1
         > BAJA SALA 2
         < OK BAJA 1
         w< * 6 BAJA Sala 2
         -- without a start and an end, the notice has no dates
         > RESERVAR sala 1
         < OK RESERVADO #1 sala 1
         w< * 7 RESERVADO #1 sala 1
         > SOY ana
         < OK ana
         > RESERVAR Habitación 2, Habitación 1 desde=2090-01-10 hasta=2090-01-20 nota=\"#9 desde= hasta=nunca\" clave=k
         < OK RESERVADO #2 Habitación 2, Habitación 1 desde=2090-01-10T00:00:00+00:00 hasta=2090-01-20T00:00:00+00:00
         w< * 8 RESERVADO #2 Habitación 2, Habitación 1 desde=2090-01-10T00:00:00+00:00 hasta=2090-01-20T00:00:00+00:00
         > RENOVAR #2 hasta=2090-01-15
         < OK RENOVADO #2 Habitación 2, Habitación 1 hasta=2090-01-15T00:00:00+00:00
         w< * 9 RENOVADO #2 Habitación 2, Habitación 1 hasta=2090-01-15T00:00:00+00:00
         -- cancelled by name: the notice has only that resource
         > CANCELAR Habitación 2
         < OK CANCELADO #2 Habitación 2
         w< * 10 CANCELADO #2 Habitación 2
         > CANCELAR #2, #1
         < OK CANCELADO #2 Habitación 1, #1 sala 1
         w< * 11 CANCELADO #2 Habitación 1
         w< * 12 CANCELADO #1 sala 1
         > RESERVAR *, Habitación 1, *3 hasta=salir
         < OK RESERVADO #3 Habitación 2, Habitación 1, Habitación 3 desde={T} hasta=salir
         w< * 13 RESERVADO #3 Habitación 2, Habitación 1, Habitación 3 desde={T} hasta=salir
         > SALIR
         < OK ADIÓS
         w< * 14 VENCIDO #3 Habitación 2, Habitación 1, Habitación 3
         .
         > RESERVAR Habitación 1 desde=2090-01-01
         < OK RESERVADO #4 Habitación 1 desde=2090-01-01T00:00:00+00:00 hasta=-
         w< * 15 RESERVADO #4 Habitación 1 desde=2090-01-01T00:00:00+00:00 hasta=-
         > RESERVAR Habitación 1 por=1s
         < OK RESERVADO #5 Habitación 1 desde={T} hasta={T}
         w< * 16 RESERVADO #5 Habitación 1 desde={T} hasta={T}
         w< * 17 VENCIDO #5 Habitación 1
         -- refused and reading commands cause no notices
         > RESERVAR Habitación 1
         < ERR 409 {*}
         > RENOVAR #4 hasta=2020-01-01
         < ERR 400 {*}
         > CANCELAR #99
         < ERR 404 {*}
         > CUANDO Habitación 1
         < ERR 409 {*}
         > SOY eva
         < OK eva
         -- hasta=salir, and then an end
         > RESERVAR Habitación 2 hasta=salir
         < OK RESERVADO #6 {*}
         w< * 18 RESERVADO #6 Habitación 2 desde={T} hasta=salir
         > RENOVAR #6 hasta=2090-01-01
         < OK RENOVADO #6 Habitación 2 hasta=2090-01-01T00:00:00+00:00
         w< * 19 RENOVADO #6 Habitación 2 hasta=2090-01-01T00:00:00+00:00
         -- a second watcher gets the same notices with tras=
         v> OBSERVAR tras=15
         v< OK OBSERVANDO tras=15
         v< * 16 RESERVADO #5 Habitación 1 desde={T} hasta={T}
         v< * 17 VENCIDO #5 Habitación 1
         v< * 18 RESERVADO #6 Habitación 2 desde={T} hasta=salir
         v< * 19 RENOVADO #6 Habitación 2 hasta=2090-01-01T00:00:00+00:00
         v!
         w!",
    );
}

/// A wait is not an event. The grant follows the release.
#[test]
fn waiting_request_is_in_notices_only_when_granted() {
    check_in_both(
        &[],
        "w> OBSERVAR
         w< OK OBSERVANDO tras=3
         > RESERVAR Habitación 1
         < OK RESERVADO #1 Habitación 1
         w< * 4 RESERVADO #1 Habitación 1
         a> RESERVAR Habitación 1 por=1h espera=10m
         a< * COLA 1 Habitación 1
         b> RESERVAR Habitación 1 espera=1s
         b< * COLA 2 Habitación 1
         b< ERR 408 {*}
         > CANCELAR #1
         < OK CANCELADO #1 Habitación 1
         a< OK RESERVADO #2 Habitación 1 desde={T} hasta={T}
         w< * 5 CANCELADO #1 Habitación 1
         w< * 6 RESERVADO #2 Habitación 1 desde={T} hasta={T}
         -- a watcher that waits gets its reply before the notices
         w> RESERVAR Habitación 1 espera=10m
         w< * COLA 1 Habitación 1
         > CANCELAR #2
         < OK CANCELADO #2 Habitación 1
         w< OK RESERVADO #3 Habitación 1
         w< * 7 CANCELADO #2 Habitación 1
         w< * 8 RESERVADO #3 Habitación 1
         w!",
    );
}

/// A watcher can send commands. Each reply precedes the notice.
#[test]
fn reply_precedes_the_notice() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    // In one packet, so that all run in one turn.
    client.send("RESERVAR Habitación 3\nOBSERVAR\nRESERVAR Habitación 1\nLISTAR\nCANCELAR #2\nALTA Sala 1..2\n");
    for want in [
        "OK RESERVADO #1 Habitación 3",
        "OK OBSERVANDO tras=4",
        "OK RESERVADO #2 Habitación 1",
        "OK 1 DISPONIBLES",
        "Habitación 2",
        "OK CANCELADO #2 Habitación 1",
        "OK ALTA 2",
        "* 5 RESERVADO #2 Habitación 1",
        "* 6 CANCELADO #2 Habitación 1",
        "* 7 ALTA Sala 1",
        "* 8 ALTA Sala 2",
    ] {
        assert_eq!(client.line(), want);
    }
    for round in 3..40 {
        assert_eq!(client.say("RESERVE Sala 1"), format!("OK RESERVED #{round} Sala 1"));
        let event = 2 * round + 3;
        assert_eq!(client.line(), format!("* {event} RESERVADO #{round} Sala 1"));
        assert_eq!(client.say("CANCEL Sala 1"), format!("OK CANCELLED #{round} Sala 1"));
        assert_eq!(client.line(), format!("* {} CANCELADO #{round} Sala 1", event + 1));
    }
    server.stop();
}

/// The end is between two seconds. Reply and notice round it alike.
#[test]
fn notice_has_the_content_of_the_reply() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    assert_eq!(client.say("OBSERVAR"), "OK OBSERVANDO tras=3");
    for round in 1..=10 {
        for line in [
            "RESERVAR Habitación 2, Habitación 1 por=1h".to_owned(),
            format!("RENOVAR #{round} por=7m"),
            format!("CANCELAR #{round}"),
        ] {
            let reply = client.say(&line);
            let notice = client.line();
            let said = notice.splitn(3, ' ').nth(2);
            assert_eq!(reply.strip_prefix("OK "), said, "{line}");
        }
    }
    server.stop();
}

#[test]
fn notices_are_filtered_by_name_and_pattern() {
    check_in_both(
        &[],
        "w> OBSERVAR sala *
         w< OK OBSERVANDO tras=3
         v> OBSERVAR habitacion 2
         v< OK OBSERVANDO tras=3
         > ALTA Sala 1, Ático
         < OK ALTA 2
         w< * 4 ALTA Sala 1
         > RESERVAR Habitación 1
         < OK RESERVADO #1 Habitación 1
         -- a notice has all names of its event if one of them matches
         > RESERVAR Ático, Sala 1, Habitación 2
         < OK RESERVADO #2 Ático, Sala 1, Habitación 2
         w< * 7 RESERVADO #2 Ático, Sala 1, Habitación 2
         v< * 7 RESERVADO #2 Ático, Sala 1, Habitación 2
         > CANCELAR Ático
         < OK CANCELADO #2 Ático
         > CANCELAR Sala 1
         < OK CANCELADO #2 Sala 1
         w< * 9 CANCELADO #2 Sala 1
         > BAJA Sala 1
         < OK BAJA 1
         w< * 10 BAJA Sala 1
         > RENOVAR #2 hasta=2090-01-01
         < OK RENOVADO #2 Habitación 2 hasta=2090-01-01T00:00:00+00:00
         v< * 11 RENOVADO #2 Habitación 2 hasta=2090-01-01T00:00:00+00:00
         -- an invalid OBSERVAR leaves the previous watch unchanged
         v> OBSERVAR Sala 1
         v< ERR 404 {*}Sala 1{*}
         v> OBSERVAR tras=12
         v< ERR 410 {*}tras=11
         v> OBSERVAR tras=x
         v< ERR 400 {*}tras=x{*}
         > CANCELAR #2, #1
         < OK CANCELADO #2 Habitación 2, #1 Habitación 1
         v< * 12 CANCELADO #2 Habitación 2
         -- a new OBSERVAR replaces the previous one, also with past events
         v> OBSERVAR habit*1 tras=5
         v< OK OBSERVANDO tras=5
         v< * 6 RESERVADO #1 Habitación 1
         v< * 13 CANCELADO #1 Habitación 1
         > RESERVAR Habitación 2
         < OK RESERVADO #3 Habitación 2
         > RESERVAR Habitación 1
         < OK RESERVADO #4 Habitación 1
         v< * 15 RESERVADO #4 Habitación 1
         v> OBSERVAR
         v< OK OBSERVANDO tras=15
         > CANCELAR #3
         < OK CANCELADO #3 Habitación 2
         v< * 16 CANCELADO #3 Habitación 2
         -- a name can be removed and added again while it is watched
         > ALTA Sala 9
         < OK ALTA 1
         v< * 17 ALTA Sala 9
         w< * 17 ALTA Sala 9
         w> OBSERVAR sala 9
         w< OK OBSERVANDO tras=17
         > BAJA Sala 9
         < OK BAJA 1
         v< * 18 BAJA Sala 9
         w< * 18 BAJA Sala 9
         > ALTA SALA 9
         < OK ALTA 1
         v< * 19 ALTA SALA 9
         w< * 19 ALTA SALA 9
         > ALTA Sala 99
         < OK ALTA 1
         v< * 20 ALTA Sala 99
         -- OBSERVAR takes one target
         w> OBSERVAR *1, *2
         w< ERR 400 {*}
         w!
         v!",
    );
}

/// Both are those of the line that started the watch.
#[test]
fn notices_use_language_and_line_ending_of_the_request() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let mut other = server.connect();
    let cases = [
        // A line of the watcher or of another client, the reply, and the notice.
        (true, "WATCH\r\n", "OK WATCHING after=3\r\n", ""),
        (
            false,
            "RESERVAR Habitación 1\n",
            "OK RESERVADO #1 Habitación 1\n",
            "* 4 RESERVED #1 Habitación 1\r\n",
        ),
        (true, "SOY ana\n", "OK ana\n", ""),
        (
            true,
            "RESERVAR Habitación 2 hasta=salir desde=2090-01-01\n",
            "OK RESERVADO #2 Habitación 2 desde=2090-01-01T00:00:00+00:00 hasta=salir\n",
            "* 5 RESERVED #2 Habitación 2 from=2090-01-01T00:00:00+00:00 until=quit\r\n",
        ),
        (true, "OBSERVAR\n", "OK OBSERVANDO tras=5\n", ""),
        (
            false,
            "CANCEL #1\r\n",
            "OK CANCELLED #1 Habitación 1\r\n",
            "* 6 CANCELADO #1 Habitación 1\n",
        ),
        (true, "WATCH after=2\n", "OK WATCHING after=2\n", "* 3 ADD Habitación 3\n"),
    ];
    for (own, line, reply, notice) in cases {
        let speaker = if own { &mut client } else { &mut other };
        speaker.send(line);
        assert_eq!(speaker.raw_line(), reply, "{line:?}");
        if !notice.is_empty() {
            assert_eq!(client.raw_line(), notice, "{line:?}");
        }
    }
    server.stop();
}

#[test]
fn invalid_watch_lines_are_refused() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let cases = [
        ("OBSERVAR tras=", "ERR 400 tras={*}"),
        ("WATCH after=", "ERR 400 after={*}"),
        ("OBSERVAR tras=x", "ERR 400 tras=x{*}"),
        ("OBSERVAR tras=-1", "ERR 400 tras=-1{*}"),
        ("OBSERVAR tras=+1", "ERR 400 tras=+1{*}"),
        ("OBSERVAR tras=1.0", "ERR 400 tras=1.0{*}"),
        ("OBSERVAR tras=0x1", "ERR 400 tras=0x1{*}"),
        ("OBSERVAR tras=#1", "ERR 400 tras=#1{*}"),
        ("OBSERVAR tras=١", "ERR 400 tras=١{*}"),
        ("OBSERVAR tras=ahora", "ERR 400 tras=ahora{*}"),
        ("OBSERVAR tras=1 tras=2", "ERR 400 tras= {*}"),
        ("WATCH tras=1 after=1", "ERR 400 after= {*}"),
        ("OBSERVAR tras=1 Habitación 1", "ERR 400 {*}Habitación{*}"),
        ("OBSERVAR desde=2020-01-01", "ERR 400 {*}desde={*}tras={*}"),
        ("WATCH holder=ana", "ERR 400 {*}holder={*}after={*}"),
        ("OBSERVAR Habitación 1, Habitación 2", "ERR 400 {*}"),
        ("OBSERVAR #1", "ERR 400 {*}#1{*}"),
        ("OBSERVAR *****", "ERR 400 {*}*****{*}"),
        ("OBSERVAR \"Habitación 1\"", "ERR 400 {*}"),
        ("OBSERVAR ,", "ERR 400 {*}"),
        ("OBSERVAR Ático", "ERR 404 {*}Ático{*}"),
        ("OBSERVAR Ático tras=0", "ERR 404 {*}Ático{*}"),
        ("OBSERVAR tras=4", "ERR 410 {*}4{*}OBSERVAR tras=3"),
        ("WATCH after=4", "ERR 410 {*}4{*}WATCH after=3"),
        ("OBSERVAR tras=18446744073709551615", "ERR 410 {*}OBSERVAR tras=3"),
        ("OBSERVAR tras=99999999999999999999", "ERR 410 {*}OBSERVAR tras=3"),
    ];
    check_cases(&mut client, &cases);
    // None of these starts a watch, so that no notice follows.
    let mut other = server.connect();
    assert_eq!(other.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    let cases = [
        ("OBSERVAR tras=0003", "OK OBSERVANDO tras=3"),
        ("SOY ana", "* 4 RESERVADO #1 Habitación 1"),
    ];
    check_cases(&mut client, &cases);
    assert_eq!(client.line(), "OK ana");
    server.stop();
}

/// Even if the list takes a long time to send.
#[test]
fn notices_do_not_interrupt_a_list() {
    let server = Server::in_memory(&[]);
    let mut other = server.connect();
    let name = "x".repeat(110);
    for at in 0..3 {
        assert_eq!(other.say(&format!("ALTA {name} {at} 1..10000")), "OK ALTA 10000");
    }
    let mut client = narrow(&server);
    assert_eq!(client.say("OBSERVAR"), "OK OBSERVANDO tras=30003");
    let first = server.while_stopped(|| {
        client.send("LISTAR\n");
        other.send("RESERVAR Habitación 1\nCANCELAR #1\n");
        30_004
    });
    assert_eq!(other.line(), "OK RESERVADO #1 Habitación 1");
    assert_eq!(other.line(), "OK CANCELADO #1 Habitación 1");
    for number in 2..100 {
        assert_eq!(
            other.say("RESERVAR Habitación 1"),
            format!("OK RESERVADO #{number} Habitación 1")
        );
        assert!(other.say("CANCELAR Habitación 1").starts_with("OK "));
    }
    let head = client.line();
    let items = client.list_after(&head);
    assert!((30_002..=30_003).contains(&items.len()), "{head}");
    let is_item = |row: &String| row.starts_with("Habitación ") || row.starts_with(&name);
    assert!(items.iter().all(is_item), "a notice among the items");
    for event in first..first + 198 {
        assert_eq!(notice_number(&client.line()), event);
    }
    assert_eq!(client.say("SALIR"), "OK ADIÓS");
    server.stop();
}

/// A half-closed watcher receives notices until its connection is lost. An incomplete last line is
/// not run.
#[test]
fn half_closed_watcher_keeps_receiving_notices() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let mut watcher = server.connect();
    watcher.send("OBSERVAR *1\nOBSERVAR *2\n");
    watcher.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(watcher.line(), "OK OBSERVANDO tras=3");
    assert_eq!(watcher.line(), "OK OBSERVANDO tras=3");
    for number in 1..4 {
        assert_eq!(
            client.say("RESERVAR Habitación 2"),
            format!("OK RESERVADO #{number} Habitación 2")
        );
        assert!(watcher.line().ends_with(&format!(" RESERVADO #{number} Habitación 2")));
        client.say("CANCELAR Habitación 2");
        assert!(watcher.line().ends_with(&format!(" CANCELADO #{number} Habitación 2")));
    }
    drop(watcher);
    until("the watcher's connection is closed", || {
        client.say("RESERVAR Habitación 2");
        client.say("CANCELAR Habitación 2");
        client.list("ESTADO").contains(&"clients=1".to_owned())
    });
    // SALIR ends the connection even while it watches.
    let mut watcher = server.connect();
    watcher.send("OBSERVAR tras=3\nSALIR\nLISTAR\n");
    let rest = watcher.finish();
    assert!(rest.starts_with("OK OBSERVANDO tras=3\n") && rest.contains("OK ADIÓS\n"), "{rest}");
    assert!(!rest.contains("DISPONIBLES"), "{rest}");
    server.stop();
}

/// Clients that watch or wait are never closed as idle.
#[test]
fn waiters_and_watchers_are_not_idle() {
    let server = Server::in_memory(&["--idle-timeout", "1s"]);
    let mut watcher = server.connect();
    assert_eq!(watcher.say("OBSERVAR"), "OK OBSERVANDO tras=3");
    let mut holder = server.connect();
    assert_eq!(holder.say("RESERVAR Habitación 1 hasta=salir").find("OK RESERVADO #1 "), Some(0));
    let mut waiter = server.connect();
    assert_eq!(waiter.say("RESERVAR Habitación 1 espera=10m"), "* COLA 1 Habitación 1");
    let mut half_closed = server.connect();
    assert_eq!(half_closed.say("WATCH"), "OK WATCHING after=4");
    half_closed.stream().shutdown(Shutdown::Write).unwrap();
    // These are idle for longer than the time limit.
    for _ in 0..3 {
        let mut idle = server.connect();
        assert_eq!(idle.list("LISTAR").len(), 2);
        assert_eq!(idle.rest(), "");
    }
    let mut client = server.connect();
    client.say("CANCELAR #1");
    assert_eq!(waiter.line(), "OK RESERVADO #2 Habitación 1");
    assert!(watcher.line().starts_with("* 4 RESERVADO #1 Habitación 1 desde="));
    for (watcher, words) in
        [(&mut watcher, ["CANCELADO", "RESERVADO"]), (&mut half_closed, ["CANCELLED", "RESERVED"])]
    {
        assert_eq!(watcher.line(), format!("* 5 {} #1 Habitación 1", words[0]));
        assert_eq!(watcher.line(), format!("* 6 {} #2 Habitación 1", words[1]));
    }
    server.stop();
}

/// Reads the notices of a filtered watcher up to an event, and checks that its position is never
/// more than 4,096 events old.
fn follow(watcher: &mut Client, from: u64, to: u64) -> Vec<String> {
    let (mut last, mut notices) = (from, Vec::new());
    while last < to {
        let line = watcher.line();
        assert!(line.starts_with("* ") && !line.starts_with("* END"), "{line}");
        let number = notice_number(&line);
        assert!(number <= last + 4096, "after {last} comes {line}");
        last = number;
        match line.ends_with(" PROGRESS") {
            true if to - last < 4096 => break,
            true => {}
            false => notices.push(line),
        }
    }
    notices
}

fn status(client: &mut Client, key: &str) -> u64 {
    let lines = client.list("STATUS");
    let value = lines.iter().find_map(|line| line.strip_prefix(&format!("{key}=")));
    value.unwrap().parse().unwrap()
}

/// Regression test: two commands of one turn made 20,000 events, and a watcher of another name was
/// closed as lagging before anything could be sent to it.
#[test]
fn burst_of_other_events_does_not_close_a_filtered_watcher() {
    let directory = temp_dir();
    let file = directory.path().join("inventory");
    std::fs::write(&file, "Mesa\n").unwrap();
    let inventory = ["--inventory", file.to_str().unwrap(), "--max-resources", "90000"];
    let server = Server::in_memory(&inventory);
    let mut watcher = server.connect();
    let mut client = server.connect();
    let mut other = server.connect();
    assert_eq!(watcher.say("WATCH Mesa"), "OK WATCHING after=1");

    server.while_stopped(|| {
        client.send("ADD A 1..10000\n");
        other.send("ADD B 1..10000\n");
    });
    assert_eq!((client.line(), other.line()), ("OK ADD 10000".into(), "OK ADD 10000".into()));
    assert_eq!(follow(&mut watcher, 1, 20_001), [""; 0]);

    // Names that a reload of the inventory adds.
    let names: String = (1..=20_000).map(|n| format!("C {n}\n")).collect();
    std::fs::write(&file, format!("Mesa\n{names}")).unwrap();
    server.signal("HUP");
    until("the names exist", || status(&mut client, "resources") == 40_001);
    assert_eq!(follow(&mut watcher, 20_001, 40_001), [""; 0]);

    // Reservations that end at one instant.
    let time =
        client.list("STATUS").into_iter().find_map(|l| Some(l.strip_prefix("time=")?.to_owned()));
    let zone = Zone::utc();
    let now = zone.parse(&time.unwrap(), Time::from_ms(0)).unwrap();
    let end = zone.text(now.plus_ms(4_000), Round::Down);
    for first in (1..=20_000).step_by(500) {
        let lines = (first..first + 500).map(|n| format!("RESERVE C {n} until={end}\n"));
        client.send(lines.collect::<String>());
        (0..500).for_each(|_| assert!(client.line().starts_with("OK RESERVED")));
    }
    let last = status(&mut client, "last_event");
    assert_eq!(follow(&mut watcher, 40_001, last), [""; 0]);
    until("all have ended", || status(&mut client, "reservations") == 0);
    let last = status(&mut client, "last_event");
    assert!(client.say("RESERVE Mesa").starts_with("OK RESERVED #"));
    let mut line = watcher.line();
    while line.ends_with(" PROGRESS") {
        line = watcher.line();
    }
    assert_eq!(line, format!("* {} RESERVED #20001 Mesa", last + 1));
    server.stop();
}

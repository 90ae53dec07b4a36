//! `OBSERVAR tras=`: repeated notices, the bounded history, and watchers that do not read.

use support::dialog::{expect_notices, notice_number, run_script};
use support::{Client, Server, fill_journal, narrow, temp_dir, until};

/// Returns the number of the last event from `ESTADO`.
fn last_event(server: &Server) -> u64 {
    let lines = server.connect().list("ESTADO");
    let line = lines.iter().find_map(|line| line.strip_prefix("last_event="));
    line.unwrap().parse().unwrap()
}

/// Returns the number in an error or last notice after which the watch can continue.
fn resume_number(line: &str) -> u64 {
    let number = line.rsplit(['=']).next().unwrap();
    number.trim_end().parse().unwrap_or_else(|_| panic!("no number to resume from: {line}"))
}

/// A repeated notice has the same bytes, also after a kill, and the numbers have no gaps.
#[test]
fn repeated_notices_are_identical() {
    let directory = temp_dir();
    let arguments = ["--time-zone", "America/New_York"];
    let mut server = Server::durable(directory.path(), &arguments);
    let asks = ["OBSERVAR tras=0\n", "WATCH after=0\r\n", "OBSERVAR *2 tras=0\n"];
    let mut live: Vec<_> = asks
        .iter()
        .map(|ask| {
            let mut client = server.connect();
            client.send(ask);
            assert!(client.raw_line().starts_with("OK "));
            client
        })
        .collect();
    run_script(
        &server,
        "> SOY ana
         < OK ana
         > ALTA Sala 1..5
         < OK ALTA 5
         > BAJA Sala 5
         < OK BAJA 1
         > RESERVAR Habitación 1, Sala 2 nota=\"a \\\"b\\\" hasta=nunca\" clave=k
         < OK {*}
         > RESERVAR Habitación 2 por=1s
         < OK {*}
         > RESERVAR Habitación 3, Habitación 2 desde=2090-11-04T12:00 noches=2
         < OK {*}
         > RENOVAR #3 por=2d
         < OK {*}
         > RESERVAR Sala 1 desde=2020-01-01
         < OK {*}
         > CANCELAR Sala 2
         < OK {*}
         > RESERVAR Sala 3, Sala 2 hasta=salir
         < OK {*}
         a> RESERVAR Sala 4 hasta=salir
         a< OK {*}
         a> RENOVAR #6 hasta=2090-01-01
         a< OK {*}
         > SALIR
         < OK ADIÓS",
    );
    let mut bound = server.connect();
    bound.say("RESERVAR Sala 2 hasta=salir");
    until("the lease has ended", || bound.say("VERIFICAR #2").starts_with("ERR 410 "));
    let last = last_event(&server);
    let first: Vec<Vec<String>> =
        vec![expect_notices(&mut live[0], 1, last), expect_notices(&mut live[1], 1, last), {
            let mut lines = Vec::new();
            while lines.last().is_none_or(|line: &String| !line.contains("VENCIDO #2 Habitación 2"))
            {
                lines.push(live[2].raw_line());
            }
            lines
        }];
    assert!(first[0].iter().all(|line| line.ends_with('\n') && !line.ends_with("\r\n")));
    assert!(first[1].iter().all(|line| line.ends_with("\r\n")));
    assert!(first[0].concat().contains(" VENCIDO #2 Habitación 2\n"));
    assert!(first[1].concat().contains(" RESERVED #5 Sala 3, Sala 2 from="));
    for restart in ["none", "kill", "stop"] {
        match restart {
            "kill" => {
                server.kill();
                server = Server::durable(directory.path(), &arguments);
                // Only the bound reservations have ended.
                assert_eq!(last_event(&server), last + 1);
            }
            "stop" => {
                server.stop();
                server = Server::durable(directory.path(), &arguments);
                assert_eq!(last_event(&server), last + 1);
            }
            _ => {}
        }
        for (ask, first) in asks.iter().zip(&first) {
            let mut client = server.connect();
            client.send(ask);
            assert!(client.raw_line().starts_with("OK "));
            for line in first {
                assert_eq!(client.raw_line(), *line, "after {restart}");
            }
            if restart != "none" {
                let got = client.raw_line();
                let end = if ask.contains("WATCH") {
                    "EXPIRED #7 Sala 2\r\n"
                } else {
                    "VENCIDO #7 Sala 2\n"
                };
                assert_eq!(got, format!("* {} {end}", last + 1));
            }
        }
    }
    let mut client = server.connect();
    assert_eq!(client.say("OBSERVAR"), format!("OK OBSERVANDO tras={}", last + 1));
    assert_eq!(client.say("ALTA Sala 6"), "OK ALTA 1");
    assert_eq!(client.line(), format!("* {} ALTA Sala 6", last + 2));
    server.stop();
}

/// After a compaction and a restart older events are gone. The number in the 410 is accepted.
#[test]
fn history_ends_at_a_compaction_and_a_restart() {
    let directory = temp_dir();
    let mut server = Server::durable(directory.path(), &["--fsync", "never"]);
    fill_journal(&mut server);
    let last = last_event(&server);
    let mut client = server.connect();
    assert_eq!(
        client.say(&format!("OBSERVAR tras={}", last - 100)),
        format!("OK OBSERVANDO tras={}", last - 100)
    );
    let before = expect_notices(&mut client, last - 99, last);
    server.kill();
    let server = Server::durable(directory.path(), &[]);
    let mut client = server.connect();
    for after in [0, 1] {
        let got = client.say(&format!("OBSERVAR tras={after}"));
        assert!(got.starts_with("ERR 410 "), "{got}");
        let back = resume_number(&got);
        assert!(back > last / 2 && back <= last, "{got}, the last is {last}");
        let got = client.say(&format!("OBSERVAR tras={}", back - 1));
        assert!(got.starts_with("ERR 410 "), "{got}");
        assert_eq!(
            client.say(&format!("OBSERVAR tras={back}")),
            format!("OK OBSERVANDO tras={back}")
        );
        let again = expect_notices(&mut client, back + 1, last);
        let held = again.len().min(before.len());
        assert_eq!(again[again.len() - held..], before[before.len() - held..]);
    }
    assert_eq!(client.say("ALTA Sala"), "OK ALTA 1");
    assert_eq!(client.line(), format!("* {} ALTA Sala", last + 1));
    server.stop();
}

/// The history has a limit. The number in the 410 is the oldest one that is accepted.
#[test]
fn history_is_bounded() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    assert_eq!(client.say("ALTA Sala 1..10000"), "OK ALTA 10000");
    assert_eq!(client.say("ALTA Ático 1..10000"), "OK ALTA 10000");
    let got = client.say("OBSERVAR tras=0");
    assert!(got.starts_with("ERR 410 "), "{got}");
    let back = resume_number(&got);
    let got = client.say(&format!("OBSERVAR tras={}", back - 1));
    assert!(got.starts_with("ERR 410 ") && resume_number(&got) == back, "{got}");
    assert_eq!(client.say(&format!("WATCH after={back}")), format!("OK WATCHING after={back}"));
    expect_notices(&mut client, back + 1, 20_003);
    let got = client.say("WATCH after=20004");
    assert!(got.starts_with("ERR 410 ") && resume_number(&got) == 20_003, "{got}");
    assert_eq!(client.say("OBSERVAR tras=20003"), "OK OBSERVANDO tras=20003");
    server.stop();
}

/// A watcher that does not read uses little memory and does not delay other clients. When it reads
/// again, it receives notices without a gap and the number after which to continue, and is closed.
#[test]
fn watcher_that_does_not_read_is_closed() {
    let server = Server::in_memory(&["--stall-timeout", "10m"]);
    let mut client = server.connect();
    // Long names, so that a notice has almost 4 KiB.
    let names: Vec<_> = (10..40).map(|at| format!("{}{at}", "x".repeat(120))).collect();
    let names = names.join(", ");
    for spanish in [true, false] {
        if spanish {
            assert_eq!(client.say(&format!("ALTA {names}")), "OK ALTA 30");
        }
        let mut watcher = narrow(&server);
        let head = watcher.say(if spanish { "OBSERVAR" } else { "WATCH" });
        let start = resume_number(&head);
        let before = server.resident_bytes();
        let mut seen = server.connect();
        assert_eq!(seen.say("OBSERVAR"), format!("OK OBSERVANDO tras={start}"));
        const PAIRS: u64 = 2000;
        for pair in 0..PAIRS {
            client.send(format!("RESERVAR {names}\n"));
            let got = client.line();
            let held = got.split(' ').nth(2).unwrap().to_owned();
            assert!(got.starts_with("OK RESERVADO #"), "{got}");
            assert!(client.say(&format!("CANCELAR {held}")).starts_with("OK CANCELADO "));
            // A watcher that reads receives each notice at once.
            for event in [1, 2] {
                assert_eq!(notice_number(&seen.line()), start + 2 * pair + event);
            }
        }
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes for {} of notices", PAIRS * 2 * 3700);
        let mut expected = start + 1;
        let farewell = loop {
            let line = watcher.line();
            if line.starts_with("* FIN ") || line.starts_with("* END ") {
                break line;
            }
            assert_eq!(notice_number(&line), expected);
            expected += 1;
        };
        assert_eq!(watcher.rest(), "");
        assert!(expected < start + 2 * PAIRS, "it received everything, so the test shows nothing");
        let verb = if spanish { "* FIN {*}OBSERVAR tras={n}" } else { "* END {*}WATCH after={n}" };
        assert!(support::dialog::matches(verb, &farewell), "{farewell}");
        let back = resume_number(&farewell);
        let mut again = server.connect();
        assert_eq!(
            again.say(&format!("OBSERVAR tras={back}")),
            format!("OK OBSERVANDO tras={back}")
        );
        expect_notices(&mut again, back + 1, start + 2 * PAIRS);
    }
    server.stop();
}

/// A watcher whose output is blocked for the stall time is closed. The others are not.
#[test]
fn blocked_watcher_is_closed_in_time() {
    let server = Server::in_memory(&["--stall-timeout", "1s"]);
    let mut client = server.connect();
    let names: Vec<_> = (10..40).map(|at| format!("{}{at}", "x".repeat(120))).collect();
    let names = names.join(", ");
    client.say(&format!("ALTA {names}"));
    let mut watcher = narrow(&server);
    watcher.say("OBSERVAR");
    let mut quiet = server.connect();
    quiet.say("OBSERVAR Habitación *");
    let clients = |client: &mut Client| {
        let lines = client.list("ESTADO");
        lines.iter().find_map(|line| line.strip_prefix("clients=")).unwrap().to_owned()
    };
    assert_eq!(clients(&mut client), "3");
    until("the watcher is closed", || {
        for _ in 0..100 {
            client.send(format!("RESERVAR {names}\nCANCELAR {names}\n"));
            assert!(client.line().starts_with("OK RESERVADO #"));
            assert!(client.line().starts_with("OK CANCELADO #"));
        }
        clients(&mut client) == "2"
    });
    client.say("RESERVAR Habitación 1");
    let mut notice = quiet.line();
    while notice.ends_with(" AVANCE") {
        notice = quiet.line();
    }
    assert!(notice.ends_with(" Habitación 1"), "{notice}");
    server.stop();
}

/// With many watchers and writers, all watchers receive the same notices in order, each once.
#[test]
fn all_watchers_receive_the_same_notices() {
    let server = Server::in_memory(&[]);
    let mut watchers: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for watcher in &mut watchers {
        assert_eq!(watcher.say("OBSERVAR"), "OK OBSERVANDO tras=3");
    }
    let mut writers: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for (at, writer) in writers.iter_mut().enumerate() {
        writer.send(format!(
            "ALTA Sala {at}\n{}",
            format!("RESERVAR Sala {at}\nCANCELAR Sala {at}\n").repeat(50)
        ));
    }
    for writer in &mut writers {
        for _ in 0..101 {
            assert!(writer.line().starts_with("OK "));
        }
    }
    let last = 3 + 10 * 101;
    let first = expect_notices(&mut watchers[0], 4, last);
    for watcher in &mut watchers[1..] {
        assert_eq!(expect_notices(watcher, 4, last), first);
    }
    // The second half is repeated.
    let middle = last / 2;
    let mut late = server.connect();
    assert_eq!(
        late.say(&format!("OBSERVAR tras={middle}")),
        format!("OK OBSERVANDO tras={middle}")
    );
    assert_eq!(expect_notices(&mut late, middle + 1, last), first[(middle - 3) as usize..]);
    server.stop();
}

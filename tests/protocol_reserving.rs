//! Reservations without waiting: conflicts and their errors, keys, and reservations bound to a
//! connection.

use support::dialog::{check, check_in_both, run_script};
use support::{Server, temp_dir, until};

/// Overlapping intervals are refused, adjacent ones are not.
#[test]
fn reservations_of_one_resource_do_not_overlap() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1 desde=2090-01-10 hasta=2090-01-20
         < OK RESERVADO #1 {*}
         > RESERVAR Habitación 1 desde=2090-01-05 hasta=2090-01-10T00:00:01
         < ERR 409 {*}
         > RESERVAR Habitación 1 desde=2090-01-19T23:59:59 hasta=2090-01-25
         < ERR 409 {*}
         > RESERVAR Habitación 1 desde=2090-01-12 hasta=2090-01-13
         < ERR 409 {*}
         > RESERVAR Habitación 1 desde=2090-01-01 hasta=2090-02-01
         < ERR 409 {*}
         > RESERVAR Habitación 1 desde=2090-01-10 hasta=2090-01-20
         < ERR 409 {*}
         > RESERVAR Habitación 1 desde=2090-01-01 noches=10
         < ERR 409 {*}
         > RESERVAR Habitación 1 desde=2090-01-05 hasta=2090-01-10
         < OK RESERVADO #2 {*}
         > RESERVAR Habitación 1 desde=2090-01-20 hasta=2090-01-25
         < OK RESERVADO #3 {*}
         > RESERVAR Habitación 1 hasta=2090-01-05
         < OK RESERVADO #4 {*}
         > RESERVAR Habitación 1 desde=2090-01-25
         < OK RESERVADO #5 {*}
         > RESERVAR Habitación 1 desde=2095-01-01 por=1h
         < ERR 409 {*}#5{*}
         > RESERVAR Habitación 1 desde=9999-12-31T23:00 por=1s
         < ERR 409 {*}#5{*}
         > CANCELAR #1
         < OK CANCELADO #1 Habitación 1
         > RESERVAR Habitación 1 desde=2090-01-10 hasta=2090-01-20
         < OK RESERVADO #6 {*}",
    );
}

/// A request with exact names takes a shortcut. Its replies are the same as on the general path,
/// including refusals and rights.
#[test]
fn all_spellings_of_a_request_are_equivalent() {
    let lines = [
        ("ana", "SOY ana"),
        ("luis", "SOY luis"),
        ("nobody", "RESERVAR Habitación 1"),
        ("ana", "RESERVAR Habitación 1"),
        ("ana", "RESERVAR Habitación 2"),
        ("luis", "CANCELAR Habitación 2"),
        ("luis", "CANCELAR Habitación 1"),
        ("luis", "CANCELAR Habitación 1"),
        ("luis", "RESERVAR Habitación 3 desde=2090-01-01 por=1h"),
        ("ana", "RESERVAR Habitación 3"),
        ("nobody", "RESERVE Habitación 1"),
        ("ana", "ALTA Habitación 4"),
        ("ana", "RESERVAR Habitación 4"),
        ("ana", "CANCEL Habitación 2"),
        ("luis", "RESERVAR Habitación 3 desde=2091-01-01 por=1h"),
        ("luis", "CANCELAR Habitación 3"),
        ("ana", "CANCELAR Habitación 3"),
        ("nobody", "LISTAR Habitación 1"),
        ("ana", "RESERVAR Habitación 5"),
    ];
    let answers = |spell: fn(&str) -> String| -> Vec<String> {
        let server = Server::in_memory(&["--max-reservations=3"]);
        let mut clients = ["ana", "luis", "nobody"].map(|who| (who, server.connect()));
        let answer = |(who, line): &(&str, &str)| {
            let (_, client) = clients.iter_mut().find(|(name, _)| name == who).unwrap();
            let reply = client.say(&spell(line));
            // The rest of a refusal contains times.
            match reply.strip_prefix("ERR ") {
                Some(refusal) => format!("{line}: {}", &refusal[..3]),
                None => format!("{line}: {reply}"),
            }
        };
        lines.iter().map(answer).collect()
    };
    let shown = answers(str::to_owned);
    assert_eq!(shown, answers(str::to_lowercase));
    assert_eq!(shown, answers(|line| line.replace(' ', "  ")));
    for code in ["403", "404", "409", "503"] {
        assert!(shown.iter().any(|answer| answer.ends_with(code)), "{code}: {shown:?}");
    }
}

/// The error contains holder, start, end, note, and the earliest start.
#[test]
fn busy_error_names_the_reservation_and_the_earliest_start() {
    let setup = "ana> SOY ana
         ana< OK ana
         ana> RESERVAR Habitación 1 desde=2090-01-10 hasta=2090-01-20 nota=\"dos adultos\"
         ana< OK RESERVADO #1 {*}
         ana> RESERVAR Habitación 1 desde=2090-01-20 hasta=2090-01-22
         ana< OK RESERVADO #2 {*}
         ana> RESERVAR Habitación 1 desde=2090-01-23 hasta=2090-01-30
         ana< OK RESERVADO #3 {*}
         ana> RESERVAR Habitación 2 desde=2090-01-10 hasta=2090-01-31
         ana< OK RESERVADO #4 {*}
         ana> RESERVAR Habitación 3 desde=2090-01-01
         ana< OK RESERVADO #5 {*}
         > ";
    let day = |day: &str| format!("{{*}}2090-{day}T00:00:00+00:00");
    let holding = "{*}Habitación 1{*}#1{*}ana{*}2090-01-10T00:00:00+00:00{*}2090-01-20T00:00:00+00:00{*}dos adultos";
    let all = "{*}#1{*}";
    let any = format!("{{*}}Habitación *{{*}}{}", &holding[3..]);
    let cases = [
        // A day fits between the second and the third booking, two days do not.
        ("RESERVAR Habitación 1 desde=2090-01-15 por=1d", holding, day("01-22")),
        ("RESERVAR Habitación 1 desde=2090-01-15 por=2d", holding, day("01-30")),
        ("RESERVAR Habitación 1 desde=2090-01-09 por=1d1s", holding, day("01-30")),
        ("RESERVAR Habitación 1 desde=2090-01-12 noches=1", holding, day("01-22")),
        ("RESERVAR Habitación 1 desde=2090-01-12", holding, day("01-30")),
        // With a fixed end the start moves.
        ("RESERVAR Habitación 1 desde=2090-01-15 hasta=2090-01-23", holding, day("01-22")),
        // Several resources must be free at the same time.
        ("RESERVAR Habitación 1, Habitación 2 desde=2090-01-15 por=1d", all, day("01-31")),
        ("RESERVAR Habitación 2, Habitación 1 desde=2090-01-15 por=1d", "{*}#4{*}", day("01-31")),
        // Of a pattern, the resource that becomes free first.
        ("RESERVAR Habitación * desde=2090-01-15 por=1d", &any, day("01-22")),
        ("RESERVAR *, * desde=2090-01-15 por=1d", "{*}", day("01-31")),
    ];
    for (line, with, fits) in &cases {
        check_in_both(&[], &format!("{setup}{line}\n< ERR 409 {with}{fits}{{*}}"));
    }
    // No end is known, so that the error contains only the times of #5.
    check(
        &[],
        &format!(
            "{setup}RESERVAR Habitación 3 desde=2090-01-15 por=1d
             < ERR 409 {{*}}#5 titular=ana desde=2090-01-01T00:00:00+00:00 hasta=-; no se sabe cuándo quedará libre
             > RESERVE Habitación 3 from=2090-01-15 for=1d
             < ERR 409 {{*}}#5 holder=ana from=2090-01-01T00:00:00+00:00 until=-; no end is known
             > RESERVAR Habitación 3, Habitación 1 desde=2090-01-15 por=1d
             < ERR 409 {{*}}no se sabe cuándo quedará libre"
        ),
    );
}

/// The same request is granted at the time in the 409, and at no earlier time.
#[test]
fn start_in_a_busy_error_is_the_earliest() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.say("SOY ana");
    for (room, from, until) in [
        (1, "2090-01-01T08:00", "2090-01-01T10:00"),
        (1, "2090-01-01T11:00", "2090-01-01T13:00"),
        (1, "2090-01-01T13:30", "2090-01-01T14:00"),
        (2, "2090-01-01T08:00", "2090-01-01T11:00"),
        (2, "2090-01-01T12:00", "2090-01-01T12:30"),
        (3, "2090-01-01T09:00", "2090-01-01T15:00"),
    ] {
        let got = client.say(&format!("RESERVAR Habitación {room} desde={from} hasta={until}"));
        assert!(got.starts_with("OK "), "{got}");
    }
    for (targets, length, want) in [
        ("Habitación 1", "por=1h", "10:00"),
        ("Habitación 1", "por=1h1s", "14:00"),
        ("Habitación 1", "por=30m", "10:00"),
        ("Habitación 2", "por=1h", "11:00"),
        ("Habitación 2", "por=2h", "12:30"),
        ("Habitación 1, Habitación 2", "por=30m", "13:00"),
        ("Habitación 1, Habitación 2", "por=31m", "14:00"),
        ("Habitación 1, *", "por=1h", "14:00"),
        ("*, *, *", "por=1s", "15:00"),
        ("Habitación 1, *", "por=30m", "13:00"),
        ("*, *", "por=30m", "13:00"),
    ] {
        let got = client.say(&format!("RESERVAR {targets} desde=2090-01-01T09:00 {length}"));
        assert!(got.starts_with("ERR 409 "), "{targets} {length}: {got}");
        let time = format!("2090-01-01T{want}:00+00:00");
        assert!(got.contains(&format!("; libre desde {time}")), "{targets} {length}: {got}");
        let got = client.say(&format!("RESERVAR {targets} desde={time} {length}"));
        assert!(got.starts_with("OK RESERVADO "), "{targets} {length}: {got}");
        let number = got.split(' ').nth(2).unwrap();
        client.say(&format!("CANCELAR {number}"));
        // A second earlier it does not fit.
        let (hour, minute) = want.split_once(':').unwrap();
        let minutes: u32 = hour.parse::<u32>().unwrap() * 60 + minute.parse::<u32>().unwrap() - 1;
        let before = format!("2090-01-01T{:02}:{:02}:59", minutes / 60, minutes % 60);
        let got = client.say(&format!("RESERVAR {targets} desde={before} {length}"));
        assert!(got.starts_with("ERR 409 "), "{targets} {length} at {before}: {got}");
    }
    server.stop();
}

/// A request without an end conflicts with any later booking. The 409 contains the time until which
/// the resource is free, and that an earlier end would fit.
#[test]
fn busy_error_without_an_end_names_the_free_time() {
    check(
        &[],
        "> RESERVAR Habitación 1 desde=2090-01-10 hasta=2090-01-20
         < OK RESERVADO #1 {*}
         > RESERVAR Habitación 1
         < ERR 409 {*}#1 {*}libre hasta 2090-01-10T00:00:00+00:00{*}por={*}hasta={*}2090-01-20T00:00:00+00:00{*}
         > RESERVE Habitación 1
         < ERR 409 {*}#1 {*}free until 2090-01-10T00:00:00+00:00{*}for={*}until={*}2090-01-20T00:00:00+00:00{*}
         > RESERVAR Habitación 1 hasta=salir
         < ERR 409 {*}libre hasta 2090-01-10T00:00:00+00:00{*}
         > RESERVAR Habitación 1 desde=2090-01-01
         < ERR 409 {*}libre hasta 2090-01-10T00:00:00+00:00{*}
         > RESERVAR Habitación 1 desde=2020-01-01
         < ERR 409 {*}libre hasta 2090-01-10T00:00:00+00:00{*}
         -- with a pattern, the error names the resource that is free the longest
         > ALTA Sala 1..3
         < OK ALTA 3
         > RESERVAR Sala 1 desde=2090-01-01 hasta=2090-01-02
         < OK RESERVADO #2 {*}
         > RESERVAR Sala 2 desde=2090-01-03 hasta=2090-01-09 nota=x
         < OK RESERVADO #3 {*}
         > RESERVAR Sala 3
         < OK RESERVADO #4 Sala 3
         > RESERVAR Sala *
         < ERR 409 {*}Sala *{*}Sala 2{*}#3 {*}nota=\"x\"; libre hasta 2090-01-03T00:00:00+00:00{*}por={*}; libre desde 2090-01-02T00:00:00+00:00
         > RESERVE Sala *
         < ERR 409 {*}Sala *{*}Sala 2{*}#3 {*}note=\"x\"; free until 2090-01-03T00:00:00+00:00{*}for={*}; free from 2090-01-02T00:00:00+00:00
         > RESERVAR Habitación 1 hasta=2090-01-10
         < OK RESERVADO #5 {*}
         -- it is no longer free now, and the error reports the reservation in force
         > RESERVAR Habitación 1
         < ERR 409 {*}#5 {*}; libre desde 2090-01-20T00:00:00+00:00
         > RESERVAR Habitación 1 desde=2090-01-20
         < OK RESERVADO #6 {*}",
    );
}

#[test]
fn retry_with_a_key_is_safe() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1 clave=k1
         < ERR 401 {*}
         ana> SOY ana
         ana< OK ana
         ana> RESERVAR Habitación 1, Habitación 2 por=2h nota=\"a b\" clave=k1
         ana< OK RESERVADO #1 Habitación 1, Habitación 2 desde={T} hasta={T}
         -- order, spelling, spacing and the notation of the length do not matter
         ana> RESERVAR habitacion 2,   HABITACIÓN 1  clave=k1   nota=\"a b\" por=2h
         ana< OK RESERVADO #1 Habitación 1, Habitación 2 desde={T} hasta={T}
         ana> RESERVAR Habitación 1, Habitación 2 por=120m nota=\"a b\" clave=\"k1\"
         ana< OK RESERVADO #1 {*}
         -- from another connection of the same holder
         b> SOY ana
         b< OK ana
         b> RESERVAR Habitación 1, Habitación 2 por=2h nota=\"a b\" clave=k1
         b< OK RESERVADO #1 {*}
         -- a different request under the key is refused, and another key is another request
         ana> RESERVAR Habitación 1 por=2h nota=\"a b\" clave=k1
         ana< ERR 409 {*}#1{*}
         ana> RESERVAR Habitación 1, Habitación 2 por=3h nota=\"a b\" clave=k1
         ana< ERR 409 {*}#1{*}
         ana> RESERVAR Habitación 1, Habitación 2 por=2h nota=\"a  b\" clave=k1
         ana< ERR 409 {*}#1{*}
         ana> RESERVAR Habitación 1, Habitación 2 por=2h clave=k1
         ana< ERR 409 {*}#1{*}
         ana> RESERVAR Habitación 3 clave=k1
         ana< ERR 409 {*}#1{*}
         ana> RESERVAR Habitación 1, Habitación 2 por=2h nota=\"a b\" clave=K1
         ana< ERR 409 {*}Habitación 1{*}
         -- each holder has keys of its own
         luis> SOY luis
         luis< OK luis
         luis> RESERVAR Habitación 3 clave=k1
         luis< OK RESERVADO #2 Habitación 3
         luis> RESERVAR Habitación 3 clave=k1
         luis< OK RESERVADO #2 Habitación 3
         ana> RESERVAR Habitación 3 clave=k2
         ana< ERR 409 {*}luis{*}
         -- the key is free again when the reservation has ended
         ana> CANCELAR #1
         ana< OK CANCELADO #1 Habitación 1, Habitación 2
         ana> RESERVAR Habitación * clave=k1
         ana< OK RESERVADO #3 Habitación 1
         ana> RESERVAR HABITACION * clave=k1
         ana< OK RESERVADO #3 Habitación 1
         ana> RESERVAR Habitación 2 desde=2090-01-01 hasta=2090-01-02 clave=k3
         ana< OK RESERVADO #4 {*}
         ana> RESERVAR Habitación 2 hasta=2090-01-02T00:00:00Z desde=2090-01-01T01:00+01:00 clave=k3
         ana< OK RESERVADO #4 Habitación 2 desde=2090-01-01T00:00:00+00:00 hasta=2090-01-02T00:00:00+00:00
         -- a refused request does not use up the key
         ana> RESERVAR Habitación 3 clave=k4
         ana< ERR 409 {*}
         ana> RESERVAR Habitación 2 clave=k4 hasta=2090-01-01
         ana< OK RESERVADO #5 {*}",
    );
    // In the language of each request.
    check(
        &[],
        "> SOY ana
         < OK ana
         > RESERVAR Habitación 1 desde=2090-01-01 noches=2 clave=k nota=x
         < OK RESERVADO #1 {*}
         > RESERVE habitacion 1 note=x key=k nights=2 from=2090-01-01
         < OK RESERVED #1 Habitación 1 from=2090-01-01T00:00:00+00:00 until=2090-01-03T00:00:00+00:00
         > RESERVAR Habitación 2 hasta=salir clave=q
         < OK RESERVADO #2 {*}
         > RESERVE Habitación 2 until=quit key=q
         < OK RESERVED #2 Habitación 2 from={T} until=quit",
    );
    // A retry is answered even if the server is full.
    check(
        &["--max-reservations", "1"],
        "> SOY ana
         < OK ana
         > RESERVAR Habitación 1 clave=k
         < OK RESERVADO #1 Habitación 1
         > RESERVAR Habitación 2 clave=l
         < ERR 503 {*}
         > RESERVAR Habitación 1 clave=k
         < OK RESERVADO #1 Habitación 1",
    );
}

#[test]
fn key_is_known_after_a_restart() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    run_script(
        &server,
        "> SOY ana
         < OK ana
         > RESERVAR Habitación 1, Habitación 2 nota=\"a \\\"b\\\"\" clave=\"k 1\"
         < OK RESERVADO #1 Habitación 1, Habitación 2
         > CANCELAR Habitación 2
         < OK CANCELADO #1 Habitación 2
         > RESERVAR Habitación 9
         < ERR 404 {*}",
    );
    server.kill();
    let server = Server::durable(directory.path(), &[]);
    run_script(
        &server,
        "> SOY ana
         < OK ana
         > RESERVE habitacion 2, habitacion 1 note=\"a \\\"b\\\"\" key=\"k 1\"
         < OK RESERVED #1 Habitación 1
         > RESERVAR Habitación 1 clave=\"k 1\"
         < ERR 409 {*}#1{*}
         > CANCELAR #1
         < OK CANCELADO #1 Habitación 1
         > RESERVAR Habitación 1 clave=\"k 1\"
         < OK RESERVADO #2 Habitación 1",
    );
    server.stop();
}

#[test]
fn bound_reservation_ends_with_its_connection() {
    check_in_both(
        &[],
        "a> RESERVAR Habitación 1 hasta=salir
         a< OK RESERVADO #1 Habitación 1 desde={T} hasta=salir
         a> RESERVAR Habitación 2
         a< OK RESERVADO #2 Habitación 2
         > RESERVAS
         < OK 2 RESERVAS
         < #1⇥Habitación 1⇥-⇥{T}⇥salir⇥-
         < #2⇥Habitación 2⇥-⇥{T}⇥-⇥-
         > RESERVAR Habitación 1
         < ERR 409 {*}hasta=salir{*}
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan=-
         -- hasta=salir ends before the reply to SALIR; other reservations remain
         a> SALIR
         a< OK ADIÓS
         > VERIFICAR #1
         < ERR 410 {*}
         > VERIFICAR #2
         < OK VIGENTE #2 Habitación 2 quedan=-
         a.
         -- it ends when the server closes a half-closed connection
         b> RESERVAR Habitación 1, Habitación 3 hasta=salir
         b< OK RESERVADO #3 {*}
         b|
         > VERIFICAR #3
         < ERR 410 {*}
         > RESERVAR Habitación 3
         < OK RESERVADO #4 Habitación 3
         -- anybody may cancel a part of it, and the remaining part ends with the connection
         > ALTA Sala 1..2
         < OK ALTA 2
         c> RESERVAR Sala 1, Sala 2 hasta=salir
         c< OK RESERVADO #5 {*}
         > CANCELAR Sala 1
         < OK CANCELADO #5 Sala 1
         c|
         > VERIFICAR #5
         < ERR 410 {*}
         -- with a start in the future it can end before it begins
         d> RESERVAR Sala 1 hasta=salir desde=2090-01-01
         d< OK RESERVADO #6 Sala 1 desde=2090-01-01T00:00:00+00:00 hasta=salir
         d|
         > VERIFICAR #6
         < ERR 410 {*}",
    );
}

/// Ctrl-D, a close and a reset have the same effect as SALIR.
#[test]
fn bound_reservation_ends_however_the_connection_ends() {
    let server = Server::in_memory(&[]);
    let mut watcher = server.connect();
    for how in ["ctrl-d", "close", "reset", "cut", "stranger"] {
        let mut client = server.connect();
        let got = client.say("RESERVE Habitación 1 until=quit");
        assert!(got.starts_with("OK RESERVED "), "{how}: {got}");
        match how {
            "ctrl-d" => {
                client.send([4]);
                assert_eq!(client.rest(), "OK BYE\n");
            }
            "close" => drop(client),
            "reset" => {
                // Closed with unread input.
                client.send("LIST\n");
                assert_eq!(client.line(), "OK 2 AVAILABLE");
                drop(client);
            }
            "cut" => {
                client.send("RESERVAR Habitación 2");
                assert!(client.finish().starts_with("ERR 400 "));
            }
            _ => {
                client.send("Host: x\n");
                assert_eq!(client.rest(), "");
            }
        }
        until(how, || watcher.list("LISTAR").len() == 3);
    }
    server.stop();
}

#[test]
fn bound_reservation_moves_to_the_connection_that_retries() {
    check_in_both(
        &[],
        "a> SOY ana
         a< OK ana
         a> RESERVAR Habitación 1 hasta=salir clave=k
         a< OK RESERVADO #1 Habitación 1 desde={T} hasta=salir
         b> SOY ana
         b< OK ana
         b> RESERVAR Habitación 1 hasta=salir clave=k
         b< OK RESERVADO #1 Habitación 1 desde={T} hasta=salir
         a> SALIR
         a< OK ADIÓS
         a.
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan=-
         -- a different request under the key leaves the binding unchanged
         c> SOY ana
         c< OK ana
         c> RESERVAR Habitación 1 clave=k
         c< ERR 409 {*}
         c|
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan=-
         b> SALIR
         b< OK ADIÓS
         > VERIFICAR #1
         < ERR 410 {*}",
    );
}

/// It ends with the server, and the next start logs it.
#[test]
fn bound_reservation_ends_with_the_server() {
    let directory = temp_dir();
    for crash in [true, false] {
        let server = Server::durable(directory.path(), &[]);
        let mut client = server.connect();
        let got = client.say("RESERVAR Habitación 1 hasta=salir");
        assert!(got.starts_with("OK RESERVADO "), "{got}");
        if crash {
            server.kill()
        } else {
            server.stop()
        }
        let server = Server::durable(directory.path(), &[]);
        let number = got.split(' ').nth(2).unwrap();
        let got = server.connect().say(&format!("VERIFICAR {number}"));
        assert!(got.starts_with("ERR 410 "), "{got}");
        assert_eq!(server.connect().list("LISTAR").len(), 3);
        server.stop();
    }
}

/// Each granted request gets the next number, across restarts, and a refused one gets none.
#[test]
fn numbers_are_never_reused() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    run_script(
        &server,
        "> RESERVAR Habitación 1
         < OK RESERVADO #1 Habitación 1
         > RESERVAR Habitación 1
         < ERR 409 {*}
         > RESERVAR Ático
         < ERR 404 {*}
         > RESERVAR Habitación 2 por=5
         < ERR 400 {*}
         > RESERVAR Habitación 2 clave=k
         < ERR 401 {*}
         > RESERVAR Habitación 2
         < OK RESERVADO #2 Habitación 2
         > CANCELAR #2, #1
         < OK CANCELADO #2 Habitación 2, #1 Habitación 1",
    );
    server.kill();
    let server = Server::durable(directory.path(), &[]);
    run_script(
        &server,
        "> VERIFICAR #2
         < ERR 410 {*}
         > VERIFICAR #3
         < ERR 404 {*}
         > RESERVAR Habitación 3
         < OK RESERVADO #3 Habitación 3",
    );
    server.stop();
    // A regular stop keeps the last number as well.
    let server = Server::durable(directory.path(), &[]);
    run_script(
        &server,
        "> CANCELAR #3
         < OK CANCELADO #3 Habitación 3
         > RESERVAR Habitación 3
         < OK RESERVADO #4 Habitación 3",
    );
    server.stop();
}

/// Of many concurrent requests for a room one is granted, the others are refused with its number,
/// and numbers have no gaps.
#[test]
fn one_of_many_clients_gets_the_room() {
    let server = Server::in_memory(&[]);
    let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for round in 1..=20 {
        for client in &mut clients {
            client.send("RESERVAR Habitación 2\n");
        }
        let replies: Vec<_> = clients.iter_mut().map(support::Client::line).collect();
        let won = format!("OK RESERVADO #{round} Habitación 2");
        assert_eq!(replies.iter().filter(|reply| **reply == won).count(), 1);
        let lost = format!("#{round} ");
        let is_told = |reply: &&String| reply.starts_with("ERR 409 ") && reply.contains(&lost);
        assert_eq!(replies.iter().filter(is_told).count(), 99);
        assert!(clients[0].say(&format!("CANCELAR #{round}")).starts_with("OK CANCELADO "));
    }
    server.stop();
}

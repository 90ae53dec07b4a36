//! `RENOVAR`: a new end of a reservation, and the grants that an earlier end makes possible.

use support::dialog::{check, check_cases, check_in_both, run_script};
use support::{Client, Server, temp_dir, until};

/// Returns the seconds that a reservation has left.
fn left(client: &mut Client, number: u32) -> i64 {
    let got = client.say(&format!("VERIFY #{number}"));
    let left = got.split("left=").nth(1).and_then(|left| left.strip_suffix('s'));
    left.and_then(|left| left.parse().ok()).unwrap_or_else(|| panic!("#{number}: {got}"))
}

#[test]
fn renewal_moves_the_end_later_and_earlier() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1 desde=2090-01-10 hasta=2090-01-20
         < OK RESERVADO #1 {*}
         > RENOVAR #1 hasta=2090-01-25
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-25T00:00:00+00:00
         > RENOVAR #1 hasta=2090-01-15T12:00
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-15T12:00:00+00:00
         -- por= counts from a start in the future
         > RENOVAR #1 por=3d
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-13T00:00:00+00:00
         > RENOVAR #1 por=1h30m
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-10T01:30:00+00:00
         -- the shortest reservation; a repeated renewal is accepted
         > RENOVAR #1 hasta=2090-01-10T00:00:01
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-10T00:00:01+00:00
         > RENOVAR   #1   hasta=\"2090-01-10T00:00:01\"
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-10T00:00:01+00:00
         > RENOVAR #1 hasta=2090-01-20T01:00+01:00
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-20T00:00:00+00:00
         > RESERVAS
         < OK 1 RESERVAS
         < #1⇥Habitación 1⇥-⇥2090-01-10T00:00:00+00:00⇥2090-01-20T00:00:00+00:00⇥-
         -- the released time is free, the added time is not
         > RENOVAR #1 hasta=2090-01-15
         < OK RENOVADO #1 {*}
         > RESERVAR Habitación 1 desde=2090-01-15 hasta=2090-01-18
         < OK RESERVADO #2 {*}
         > CANCELAR #2
         < OK CANCELADO #2 Habitación 1
         > RENOVAR #1 hasta=2090-01-18
         < OK RENOVADO #1 {*}
         > RESERVAR Habitación 1 desde=2090-01-15 hasta=2090-01-18
         < ERR 409 {*}#1 {*}hasta=2090-01-18T00:00:00+00:00{*}
         > RESERVAR Habitación 1 desde=2090-01-18
         < OK RESERVADO #3 {*}",
    );
}

#[test]
fn length_of_an_active_reservation_counts_from_now() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.say("RESERVE Habitación 1 for=1h");
    client.say("RESERVE Habitación 2 from=2020-01-01 until=2090-01-01");
    client.say("RESERVE Habitación 3");
    for (number, length, s) in [
        (1, "2h", 7200),
        (1, "10m", 600),
        (1, "3653d", 3653 * 86400),
        (1, "1d", 86400),
        (2, "3h", 3 * 3600),
        (2, "1d1h", 90_000),
        (3, "5m", 300),
    ] {
        let got = client.say(&format!("RENEW #{number} for={length}"));
        let want = format!("OK RENEWED #{number} Habitación {number} until=");
        assert!(got.starts_with(&want), "{length}: {got}");
        let left = left(&mut client, number);
        assert!((s - 30..=s).contains(&left), "#{number} {length}: {left} s are left");
    }
    server.stop();
}

/// A renewal applies to all resources of a reservation, or to none if one is busy.
#[test]
fn renewal_applies_to_all_resources() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 3, Habitación 1, Habitación 2 desde=2090-01-10 hasta=2090-01-20
         < OK RESERVADO #1 {*}
         > RENOVAR #1 hasta=2090-01-12
         < OK RENOVADO #1 Habitación 3, Habitación 1, Habitación 2 hasta=2090-01-12T00:00:00+00:00
         > LISTAR desde=2090-01-12 por=1d
         < OK 3 DISPONIBLES
         < Habitación 1
         < Habitación 2
         < Habitación 3
         > RESERVAR Habitación 2 desde=2090-01-14 hasta=2090-01-16
         < OK RESERVADO #2 {*}
         > RENOVAR #1 hasta=2090-01-15
         < ERR 409 {*}Habitación 2{*}#2 {*}
         > RESERVAS desde=2090-01-12 hasta=2090-01-14
         < OK 0 RESERVAS
         > RENOVAR #1 hasta=2090-01-14
         < OK RENOVADO #1 Habitación 3, Habitación 1, Habitación 2 hasta=2090-01-14T00:00:00+00:00
         -- without the obstacle it succeeds, and the reply names only the remaining resources
         > CANCELAR #1
         < OK CANCELADO #1 {*}
         > RESERVAR Habitación * , Habitación 2 desde=2090-01-10 hasta=2090-01-14
         < OK RESERVADO #3 Habitación 1, Habitación 2 {*}
         > CANCELAR #2
         < OK CANCELADO #2 Habitación 2
         > RENOVAR #3 hasta=2090-01-16
         < OK RENOVADO #3 Habitación 1, Habitación 2 {*}
         > RESERVAR Habitación 3 desde=2090-01-10 hasta=2090-01-11
         < OK RESERVADO #4 {*}
         > RENOVAR #3 por=6d
         < OK RENOVADO #3 Habitación 1, Habitación 2 hasta=2090-01-16T00:00:00+00:00",
    );
}

/// The refusal names the conflicting reservation and the latest possible end, which is then
/// granted.
#[test]
fn renewal_does_not_overlap_the_next_reservation() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1, Habitación 2 desde=2090-01-01 hasta=2090-01-02
         < OK RESERVADO #1 {*}
         ana> SOY ana
         ana< OK ana
         ana> RESERVAR Habitación 1 desde=2090-01-10 hasta=2090-01-12 nota=\"dos adultos\"
         ana< OK RESERVADO #2 {*}
         ana> RESERVAR Habitación 2 desde=2090-01-05 nota=x
         ana< OK RESERVADO #3 {*}
         > RENOVAR #1 hasta=2090-01-06
         < ERR 409 {*}Habitación 2{*}#3 titular=ana desde=2090-01-05T00:00:00+00:00 hasta=- nota=\"x\"{*}2090-01-05T00:00:00+00:00
         -- of two obstacles the error names the earlier one
         > RENOVAR #1 hasta=2090-01-11
         < ERR 409 {*}Habitación 2{*}#3 {*}2090-01-05T00:00:00+00:00
         > RENOVAR #1 hasta=2090-01-05T00:00:01
         < ERR 409 {*}
         > RENOVAR #1 por=4d1s
         < ERR 409 {*}
         > RENOVAR #1 hasta=2090-01-05
         < OK RENOVADO #1 {*}
         > CANCELAR Habitación 2
         < OK CANCELADO #1 Habitación 2
         > RENOVAR #1 por=3653d
         < ERR 409 {*}Habitación 1{*}#2 titular=ana desde=2090-01-10T00:00:00+00:00 hasta=2090-01-12T00:00:00+00:00 nota=\"dos adultos\"{*}2090-01-10T00:00:00+00:00
         > RENOVAR #1 hasta=2090-01-10
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-10T00:00:00+00:00
         -- a lease must not overlap a booking
         > RESERVAR Habitación 1 por=1h
         < OK RESERVADO #4 {*}
         > RENOVAR #4 hasta=2090-02-01
         < ERR 409 {*}#1 {*}2090-01-01T00:00:00+00:00
         > RENOVAR #4 hasta=2090-01-01
         < OK RENOVADO #4 {*}
         > RESERVAS Habitación 1
         < OK 3 RESERVAS
         < #4⇥Habitación 1⇥-⇥{T}⇥2090-01-01T00:00:00+00:00⇥-
         < #1⇥Habitación 1⇥-⇥2090-01-01T00:00:00+00:00⇥2090-01-10T00:00:00+00:00⇥-
         < #2⇥Habitación 1⇥ana⇥2090-01-10T00:00:00+00:00⇥2090-01-12T00:00:00+00:00⇥dos adultos",
    );
    // The complete text of the refusal.
    check(
        &[],
        "> RESERVAR Habitación 1 desde=2090-01-01 hasta=2090-01-02
         < OK RESERVADO #1 {*}
         > RESERVAR Habitación 1 desde=2090-01-03 hasta=2090-01-04
         < OK RESERVADO #2 {*}
         > RENOVAR #1 hasta=2090-01-04
         < ERR 409 «Habitación 1» no está libre tanto tiempo: #2 desde=2090-01-03T00:00:00+00:00 hasta=2090-01-04T00:00:00+00:00; #1 se puede renovar hasta 2090-01-03T00:00:00+00:00
         > RENEW #1 until=2090-01-04
         < ERR 409 'Habitación 1' is not free for that long: #2 from=2090-01-03T00:00:00+00:00 until=2090-01-04T00:00:00+00:00; #1 can be renewed until 2090-01-03T00:00:00+00:00",
    );
}

#[test]
fn renewal_checks_holder_and_number() {
    check_in_both(
        &[],
        "ana> SOY ana
         ana< OK ana
         ana> RESERVAR Habitación 1 desde=2090-01-01 hasta=2090-01-02
         ana< OK RESERVADO #1 {*}
         > RESERVAR Habitación 2 por=1h
         < OK RESERVADO #2 {*}
         > RENOVAR #1 hasta=2090-01-03
         < ERR 403 {*}#1{*}ana{*}
         luis> SOY luis
         luis< OK luis
         luis> RENOVAR #1 hasta=2090-01-03
         luis< ERR 403 {*}#1{*}ana{*}
         -- anybody may renew a reservation without a holder
         luis> RENOVAR #2 por=2h
         luis< OK RENOVADO #2 {*}
         -- the renewal does not give it a holder
         > RENOVAR #2 por=1h
         < OK RENOVADO #2 {*}
         > RENOVAR #0 por=1h
         < ERR 404 {*}#0{*}
         > RENOVAR #3 por=1h
         < ERR 404 {*}#3{*}
         > RENOVAR #18446744073709551616 hasta=2090-01-03
         < ERR 404 {*}#18446744073709551616{*}
         > CANCELAR #2
         < OK CANCELADO #2 Habitación 2
         > RENOVAR #2 por=1h
         < ERR 410 {*}#2{*}
         -- after SOY with another name the rights are lost
         ana> SOY eva
         ana< OK eva
         ana> RENOVAR #1 hasta=2090-01-03
         ana< ERR 403 {*}ana{*}
         ana> SOY ana
         ana< OK ana
         ana> RENOVAR #1 hasta=2090-01-03
         ana< OK RENOVADO #1 Habitación 1 hasta=2090-01-03T00:00:00+00:00
         > RESERVAS titular=ana
         < OK 1 RESERVAS
         < #1⇥Habitación 1⇥ana⇥2090-01-01T00:00:00+00:00⇥2090-01-03T00:00:00+00:00⇥-",
    );
}

#[test]
fn invalid_renewals_are_refused() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.say("RESERVAR Habitación 1 desde=2090-01-10 hasta=2090-01-20 nota=x");
    client.say("RESERVAR Habitación 2 hasta=2090-01-01");
    let before = client.list("RESERVAS");
    let cases = [
        ("RENOVAR", "{*}RENOVAR #{*}"),
        ("RENEW", "{*}RENEW #{*}"),
        ("RENOVAR por=1h", "{*}RENOVAR #{*}por={*}hasta={*}"),
        ("RENOVAR #1", "{*}por={*}hasta={*}"),
        ("RENEW #1", "{*}for={*}until={*}"),
        ("RENOVAR #1 por=1h hasta=2090-01-15", "{*}hasta={*}por={*}"),
        ("RENEW #1 hasta=2090-01-15 por=1h", "{*}until={*}for={*}"),
        ("RENOVAR #1 por=1h por=2h", "{*}por= {*}"),
        ("RENOVAR #1 por=1h for=1h", "{*}por= {*}"),
        ("RENEW #1 until=2090-01-15 hasta=2090-01-15", "{*}until= {*}"),
        ("RENOVAR #1 hasta=2020-01-01", "{*}{T}"),
        ("RENOVAR #1 hasta=ahora", "{*}{T}"),
        ("RENEW #1 until=now", "{*}{T}"),
        ("RENOVAR #2 hasta=2020-01-01", "{*}{T}"),
        ("RENOVAR #1 hasta=2090-01-10", "{*}#1{*}2090-01-10T00:00:00+00:00{*}"),
        ("RENEW #1 until=2090-01-09", "{*}#1{*}2090-01-10T00:00:00+00:00{*}"),
        ("RENOVAR #1 hasta=salir", "{*}hasta=salir{*}"),
        ("RENOVAR #1 hasta=QUIT", "{*}hasta=salir{*}"),
        ("RENEW #1 until=quit", "{*}until=quit{*}"),
        ("RENOVAR #1 hasta=nunca", "{*}hasta=nunca{*}"),
        ("RENOVAR #1 hasta=-", "{*}hasta=-{*}"),
        ("RENOVAR #1 hasta=", "{*}hasta={*}"),
        ("RENOVAR #1 hasta=2090-02-30", "{*}hasta=2090-02-30{*}"),
        ("RENOVAR #1 hasta=10000-01-01", "{*}hasta=10000-01-01{*}"),
        ("RENOVAR #1 hasta=2090-01-15 12:00", "{*}12:00{*}"),
        ("RENOVAR #1 por=", "{*}por={*}"),
        ("RENOVAR #1 por=10", "{*}por=10{*}"),
        ("RENEW #1 for=0s", "{*}for=0s{*}"),
        ("RENOVAR #1 por=-1h", "{*}por=-1h{*}"),
        ("RENOVAR #1 por=3653d1s", "{*}por=3653d1s{*}"),
        ("RENEW #1 for=4000d", "{*}for=4000d{*}"),
        ("RENOVAR #1 por=99999999999999999999s", "{*}por=99999999999999999999s{*}"),
        ("RENOVAR #1 noches=2", "{*}noches={*}RENOVAR{*}por={*}hasta={*}"),
        ("RENEW #1 nights=2", "{*}nights={*}RENEW{*}for={*}until={*}"),
        ("RENOVAR #1 desde=2090-01-11 hasta=2090-01-15", "{*}desde={*}"),
        ("RENOVAR #1 espera=5m por=1h", "{*}espera={*}"),
        ("RENOVAR #1 por=1h nota=y", "{*}nota={*}"),
        ("RENOVAR #1 por=1h clave=k", "{*}clave={*}"),
        ("RENOVAR 1 por=1h", "{*}#{*}"),
        ("RENOVAR Habitación 1 por=1h", "{*}#{*}"),
        ("RENOVAR * por=1h", "{*}#{*}"),
        ("RENOVAR #* por=1h", "{*}#*{*}"),
        ("RENOVAR # por=1h", "{*}#{*}"),
        ("RENOVAR #-1 por=1h", "{*}#-1{*}"),
        ("RENOVAR #+1 por=1h", "{*}#+1{*}"),
        ("RENOVAR #1x por=1h", "{*}#1x{*}"),
        ("RENOVAR #1, #2 por=1h", "{*}#1, #2{*}"),
        ("RENOVAR #1 #2 por=1h", "{*}#1 #2{*}"),
        ("RENOVAR #1 Habitación 1 por=1h", "{*}#1 Habitación 1{*}"),
        ("RENOVAR ##1 por=1h", "{*}##1{*}"),
        ("RENOVAR \"#1\" por=1h", "{*}"),
        ("RENOVAR #1 \"por=1h\"", "{*}"),
        ("RENOVAR #1 por=\"1h", "{*}por={*}"),
    ];
    for (line, text) in cases {
        check_cases(&mut client, &[(line, &format!("ERR 400 {text}"))]);
    }
    // Beyond the calendar.
    client.say("RESERVAR Habitación 3 desde=9999-12-01 por=1d");
    let cases = [
        ("RENOVAR #3 por=3653d", "ERR 400 {*}9999{*}"),
        ("RENEW #3 for=31d", "ERR 400 {*}9999{*}"),
        ("RENOVAR #3 por=30d23h59m59s", "OK RENOVADO #3 {*}=9999-12-31T23:59:59+00:00"),
        ("CANCELAR #3", "OK {*}"),
    ];
    check_cases(&mut client, &cases);
    assert_eq!(client.list("RESERVAS"), before, "a refused renewal changes nothing");
    server.stop();
}

#[test]
fn ambiguous_and_skipped_local_times() {
    let server = Server::in_memory(&["--time-zone", "America/New_York"]);
    let mut client = server.connect();
    let cases = [
        ("RESERVAR Habitación 1 desde=2090-11-04 por=1h", "OK {*}"),
        (
            "RENOVAR #1 hasta=2090-11-05T01:30",
            "ERR 400 hasta=2090-11-05T01:30: {*}2090-11-05T01:30:00-04:00{*}2090-11-05T01:30:00-05:00",
        ),
        (
            "RENEW #1 until=2090-11-05T01:30",
            "ERR 400 until=2090-11-05T01:30: {*}2090-11-05T01:30:00-04:00{*}2090-11-05T01:30:00-05:00",
        ),
        ("RENOVAR #1 hasta=2090-11-05T01:30-05:00", "OK {*} hasta=2090-11-05T01:30:00-05:00"),
        ("RENOVAR #1 hasta=2090-11-05T01:30-04:00", "OK {*} hasta=2090-11-05T01:30:00-04:00"),
        // The unit `d` has 24 hours, even on this day with 25.
        ("RENOVAR #1 por=2d", "OK {*} hasta=2090-11-05T23:00:00-05:00"),
        ("RESERVAR Habitación 2 desde=2090-03-11T12:00 por=1h", "OK {*}"),
        (
            "RENOVAR #2 hasta=2090-03-12T02:30",
            "ERR 400 {*}2090-03-12T01:30:00-05:00{*}2090-03-12T03:30:00-04:00",
        ),
        ("RENOVAR #2 por=1d", "OK {*} hasta=2090-03-12T13:00:00-04:00"),
        ("RENEW #2 until=2090-03-13", "OK {*} until=2090-03-13T00:00:00-04:00"),
    ];
    check_cases(&mut client, &cases);
    server.stop();
}

/// This also holds for a line that arrived before the end and runs after it.
#[test]
fn expired_lease_is_not_renewed() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let mut other = server.connect();
    for number in 1..=2 {
        client.say("RESERVAR Habitación 1 por=1s");
        server.while_stopped(|| {
            client.send(format!("RENOVAR #{number} por=1h\nRENOVAR #{number} hasta=2090-01-01\n"));
            // The lease ends while the server is stopped.
            std::thread::sleep(std::time::Duration::from_millis(1100));
        });
        for _ in 0..2 {
            let got = client.line();
            assert!(got.starts_with(&format!("ERR 410 #{number} ")), "{got}");
        }
        assert_eq!(other.list("LISTAR").len(), 3);
    }
    server.stop();
}

/// An earlier end frees the resource. Waiters whose whole request fits are granted at once, oldest
/// first.
#[test]
fn earlier_end_grants_waiters() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1, Habitación 2 desde=2090-01-10 hasta=2090-01-20
         < OK RESERVADO #1 {*}
         > RESERVAR Habitación 3 desde=2090-01-10 hasta=2090-01-16
         < OK RESERVADO #2 {*}
         a> RESERVAR Habitación 1, Habitación 3 desde=2090-01-15 hasta=2090-01-18 espera=10m
         a< * COLA 1 Habitación 1, Habitación 3
         b> RESERVAR Habitación 1 desde=2090-01-16 hasta=2090-01-17 espera=10m
         b< * COLA 2 Habitación 1
         c> RESERVAR Habitación * desde=2090-01-18 noches=2 espera=10m
         c< OK RESERVADO #3 Habitación 3 {*}
         c> RESERVAR Habitación * desde=2090-01-18 noches=2 espera=10m
         c< * COLA 3 Habitación *
         -- a later end grants nothing
         > RENOVAR #1 hasta=2090-01-21
         < OK RENOVADO #1 {*}
         -- an earlier end that is not early enough for any waiter
         > RENOVAR #1 hasta=2090-01-19
         < OK RENOVADO #1 {*}
         > ESTADO
         < OK {n} ESTADO
         < version={*}
         < uptime={*}
         < time={*}
         < zone={*}
         < clock={*}
         < resources=3
         < reservations=3
         < waiting=3
         < last_number=3
         < last_event={*}
         < clients={*}
         < max_clients={*}
         < fsync={*}
         < journal={*}
         < journal_bytes={*}
         -- the third waiter fits, and is granted before the two that do not
         > RENOVAR #1 hasta=2090-01-18
         < OK RENOVADO #1 Habitación 1, Habitación 2 hasta=2090-01-18T00:00:00+00:00
         c< OK RESERVADO #4 Habitación 1 desde=2090-01-18T00:00:00+00:00 hasta=2090-01-20T00:00:00+00:00
         -- the first waiter also needs Habitación 3, so the second one is granted
         > RENOVAR #1 hasta=2090-01-15
         < OK RENOVADO #1 {*}
         b< OK RESERVADO #5 Habitación 1 {*}
         > RENOVAR #2 hasta=2090-01-11
         < OK RENOVADO #2 {*}
         > CANCELAR #5
         < OK CANCELADO #5 Habitación 1
         a< OK RESERVADO #6 Habitación 1, Habitación 3 {*}",
    );
}

#[test]
fn shortened_lease_ends_early_and_grants_the_next_waiter() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1 por=3h
         < OK RESERVADO #1 {*}
         a> RESERVAR Habitación 1 por=1h espera=10m
         a< * COLA 1 Habitación 1
         b> RESERVAR Habitación 1 espera=10m
         b< * COLA 2 Habitación 1
         > RENOVAR #1 por=1s
         < OK RENOVADO #1 {*}
         a< OK RESERVADO #2 Habitación 1 desde={T} hasta={T}
         b< * COLA 1 Habitación 1
         a> RENOVAR #2 por=1s
         a< OK RENOVADO #2 {*}
         b< OK RESERVADO #3 Habitación 1",
    );
}

#[test]
fn renewal_adds_an_end() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1
         < OK RESERVADO #1 Habitación 1
         > RESERVAR Habitación 1 desde=2090-01-01 por=1d
         < ERR 409 {*}#1{*}
         > RENOVAR #1 hasta=2090-01-01
         < OK RENOVADO #1 Habitación 1 hasta=2090-01-01T00:00:00+00:00
         > RESERVAR Habitación 1 desde=2090-01-01 por=1d
         < OK RESERVADO #2 {*}
         -- hasta=salir: with an end it survives its connection
         a> RESERVAR Habitación 2 hasta=salir
         a< OK RESERVADO #3 {*}
         a> RENOVAR #3 por=2h
         a< OK RENOVADO #3 Habitación 2 hasta={T}
         a> SALIR
         a< OK ADIÓS
         a.
         > VERIFICAR #3
         < OK VIGENTE #3 Habitación 2 quedan={n}s
         > RESERVAS Habitación 2
         < OK 1 RESERVAS
         < #3⇥Habitación 2⇥-⇥{T}⇥{T}⇥-
         -- the same by another client, and before the reservation begins
         b> RESERVAR Habitación 3 hasta=salir desde=2090-01-01
         b< OK RESERVADO #4 {*}
         > RENOVAR #4 por=1d
         < OK RENOVADO #4 Habitación 3 hasta=2090-01-02T00:00:00+00:00
         b|
         > VERIFICAR #4
         < ERR 409 {*}
         -- a refused renewal leaves it bound to its connection
         c> RESERVAR Habitación 3 hasta=salir noches=1
         c< ERR 400 {*}
         c> RESERVAR Sala hasta=salir
         c< ERR 404 {*}
         > ALTA Sala
         < OK ALTA 1
         c> RESERVAR Sala hasta=salir
         c< OK RESERVADO #5 {*}
         > RENOVAR #5 hasta=2020-01-01
         < ERR 400 {*}
         c|
         > VERIFICAR #5
         < ERR 410 {*}",
    );
}

/// The key still refers to the reservation after a renewal.
#[test]
fn key_finds_a_renewed_reservation() {
    check_in_both(
        &[],
        "> SOY ana
         < OK ana
         > RESERVAR Habitación 1 desde=2090-01-01 por=1d clave=k
         < OK RESERVADO #1 {*}
         > RENOVAR #1 por=2d
         < OK RENOVADO #1 {*}
         > RESERVAR Habitación 1 desde=2090-01-01 por=1d clave=k
         < OK RESERVADO #1 Habitación 1 desde=2090-01-01T00:00:00+00:00 hasta=2090-01-03T00:00:00+00:00
         > RESERVAR Habitación 1 desde=2090-01-01 por=2d clave=k
         < ERR 409 {*}#1{*}",
    );
}

/// It survives a kill, and a compaction with another kill.
#[test]
fn renewal_survives_a_restart() {
    let directory = temp_dir();
    let mut server = Server::durable(directory.path(), &["--fsync", "never"]);
    run_script(
        &server,
        "> RESERVAR Habitación 1, Habitación 2 desde=2090-01-10 hasta=2090-01-20
         < OK RESERVADO #1 {*}
         > RENOVAR #1 hasta=2090-01-15
         < OK RENOVADO #1 {*}
         > RESERVAR Habitación 3 hasta=salir
         < OK RESERVADO #2 {*}
         > RENOVAR #2 hasta=2090-01-01
         < OK RENOVADO #2 {*}
         > RESERVAR Habitación 3 desde=2090-02-01
         < OK RESERVADO #3 {*}
         > RENOVAR #3 por=1d
         < OK RENOVADO #3 {*}
         > RENOVAR #3 hasta=2020-01-01
         < ERR 400 {*}",
    );
    let bookings = |server: &Server| server.connect().list("RESERVAS");
    let want = [
        "#1\tHabitación 1\t-\t2090-01-10T00:00:00+00:00\t2090-01-15T00:00:00+00:00\t-",
        "#1\tHabitación 2\t-\t2090-01-10T00:00:00+00:00\t2090-01-15T00:00:00+00:00\t-",
        "\t2090-01-01T00:00:00+00:00\t-",
        "#3\tHabitación 3\t-\t2090-02-01T00:00:00+00:00\t2090-02-02T00:00:00+00:00\t-",
    ];
    for step in ["before", "killed", "compacted", "killed again"] {
        if step.starts_with("killed") {
            server.kill();
            server = Server::durable(directory.path(), &["--fsync", "never"]);
        } else if step == "compacted" {
            support::fill_journal(&mut server);
        }
        let got = bookings(&server);
        assert_eq!(got.len(), want.len(), "{step}: {got:?}");
        assert!(got.iter().zip(want).all(|(got, want)| got.ends_with(want)), "{step}: {got:?}");
    }
    // It can be renewed again after the replay.
    run_script(
        &server,
        "> RENOVAR #1 hasta=2090-01-17
         < OK RENOVADO #1 Habitación 1, Habitación 2 hasta=2090-01-17T00:00:00+00:00
         > RENOVAR #2 hasta=2090-03-01
         < ERR 409 {*}#3 {*}",
    );
    server.stop();
}

/// A short lease continues as long as it is renewed in time, and then ends.
#[test]
fn lease_lives_as_long_as_it_is_renewed() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.say("RESERVE Habitación 1 for=3s");
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < 3500 {
        let got = client.say("RENEW #1 for=3s");
        assert!(got.starts_with("OK RENEWED #1 Habitación 1 until="), "{got}");
    }
    until("the lease ends", || client.say("VERIFY #1").starts_with("ERR 410 "));
    assert!(client.say("RENEW #1 for=3s").starts_with("ERR 410 "));
    server.stop();
}

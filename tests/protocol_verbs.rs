//! The verbs that reserve, cancel, list and verify, all error codes, and the simplest form of all
//! verbs in both languages.

use support::dialog::{check, check_in_both, matches, run_script};
use support::{Server, until};

/// The simplest form of each verb.
#[test]
fn all_verbs_in_both_languages() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1
         < OK RESERVADO #1 Habitación 1
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan=-
         > LISTAR
         < OK 2 DISPONIBLES
         < Habitación 2
         < Habitación 3
         > RESERVAS
         < OK 1 RESERVAS
         < #1⇥Habitación 1⇥-⇥{T}⇥-⇥-
         > CANCELAR #1
         < OK CANCELADO #1 Habitación 1
         > SOY ana
         < OK ana
         > ALTA Habitación 4..50
         < OK ALTA 47
         > BAJA Habitación 50
         < OK BAJA 1
         > LISTAR *9 por=1h
         < OK 5 DISPONIBLES
         < Habitación 9
         < Habitación 19
         < Habitación 29
         < Habitación 39
         < Habitación 49
         > SALIR
         < OK ADIÓS
         .",
    );
}

#[test]
fn reservation_prints_its_interval() {
    check_in_both(
        &[],
        "-- with an end or a requested start
         > RESERVAR Habitación 1 por=1h
         < OK RESERVADO #1 Habitación 1 desde={T} hasta={T}
         > RESERVAR Habitación 2 desde=2090-01-05T10:00
         < OK RESERVADO #2 Habitación 2 desde=2090-01-05T10:00:00+00:00 hasta=-
         > RESERVAR Habitación 3 desde=ahora
         < OK RESERVADO #3 Habitación 3 desde={T} hasta=-
         > RESERVAR Habitación 1 desde=2090-01-05T10:00 hasta=2090-01-05T12:30:15
         < OK RESERVADO #4 Habitación 1 desde=2090-01-05T10:00:00+00:00 hasta=2090-01-05T12:30:15+00:00
         > RESERVAR Habitación 1 desde=2090-01-06T10:00 por=1h30m
         < OK RESERVADO #5 Habitación 1 desde=2090-01-06T10:00:00+00:00 hasta=2090-01-06T11:30:00+00:00
         > RESERVAR Habitación 1 desde=2090-01-07T15:00 noches=3
         < OK RESERVADO #6 Habitación 1 desde=2090-01-07T15:00:00+00:00 hasta=2090-01-10T00:00:00+00:00
         > RESERVAR Habitación 2 hasta=2090-01-05
         < OK RESERVADO #7 Habitación 2 desde={T} hasta=2090-01-05T00:00:00+00:00
         > ALTA Sala
         < OK ALTA 1
         > RESERVAR Sala hasta=salir
         < OK RESERVADO #8 Sala desde={T} hasta=salir",
    );
}

#[test]
fn reservation_of_several_resources_is_all_or_nothing() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 2
         < OK RESERVADO #1 Habitación 2
         > RESERVAR Habitación 1, Habitación 2, Habitación 3
         < ERR 409 {*}Habitación 2{*}
         > RESERVAR Habitación 1, Ático
         < ERR 404 {*}Ático{*}
         > LISTAR
         < OK 2 DISPONIBLES
         < Habitación 1
         < Habitación 3
         > RESERVAR Habitación 3, Habitación 1
         < OK RESERVADO #2 Habitación 3, Habitación 1
         > RESERVAS
         < OK 3 RESERVAS
         < #2⇥Habitación 1⇥-⇥{T}⇥-⇥-
         < #1⇥Habitación 2⇥-⇥{T}⇥-⇥-
         < #2⇥Habitación 3⇥-⇥{T}⇥-⇥-",
    );
}

#[test]
fn cancellation_by_number_and_by_name() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1, Habitación 2
         < OK RESERVADO #1 Habitación 1, Habitación 2
         > RESERVAR Habitación 3
         < OK RESERVADO #2 Habitación 3
         -- cancelling a name leaves the other resources reserved under the number
         > CANCELAR habitacion 2
         < OK CANCELADO #1 Habitación 2
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan=-
         > VERIFICAR #1 Habitación 2
         < ERR 404 {*}Habitación 2{*}
         -- all targets are cancelled, or none
         > CANCELAR #1, Habitación 2
         < ERR 404 {*}Habitación 2{*}
         > CANCELAR #1, #3
         < ERR 404 {*}#3{*}
         > CANCELAR #1, #1
         < ERR 400 {*}
         > CANCELAR Habitación 3, #2
         < ERR 400 {*}
         > CANCELAR Habitación 3, HABITACION 3
         < ERR 400 {*}
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan=-
         > CANCELAR #1, Habitación 3
         < OK CANCELADO #1 Habitación 1, #2 Habitación 3
         > LISTAR
         < OK 3 DISPONIBLES
         < Habitación 1
         < Habitación 2
         < Habitación 3
         -- ended, never issued, not reserved, unknown
         > CANCELAR #1
         < ERR 410 {*}#1{*}
         > CANCELAR #3
         < ERR 404 {*}#3{*}
         > CANCELAR #0
         < ERR 404 {*}#0{*}
         > CANCELAR #99999999999999999999999
         < ERR 404 #99999999999999999999999 {*}
         > CANCELAR Habitación 1
         < ERR 404 {*}Habitación 1{*}
         > CANCELAR Ático
         < ERR 404 {*}Ático{*}
         -- invalid lines
         > CANCELAR
         < ERR 400 {*}
         > CANCELAR #
         < ERR 400 {*}
         > CANCELAR #1x
         < ERR 400 {*}
         > CANCELAR #-1
         < ERR 400 {*}
         > CANCELAR Habitación *
         < ERR 400 {*}
         > CANCELAR #1 por=1h
         < ERR 400 {*}
         -- numbers are not reused
         > RESERVAR Habitación 1
         < OK RESERVADO #3 Habitación 1",
    );
}

#[test]
fn only_the_holder_can_change_a_reservation() {
    check_in_both(
        &[],
        "ana> SOY ana
         ana< OK ana
         luis> SOY luis
         luis< OK luis
         ana> RESERVAR Habitación 1
         ana< OK RESERVADO #1 Habitación 1
         luis> CANCELAR #1
         luis< ERR 403 {*}ana{*}
         luis> CANCELAR Habitación 1
         luis< ERR 403 {*}ana{*}
         > CANCELAR #1
         < ERR 403 {*}ana{*}
         > CANCELAR Habitación 1
         < ERR 403 {*}ana{*}
         -- anybody may cancel a reservation without a holder
         > RESERVAR Habitación 2
         < OK RESERVADO #2 Habitación 2
         luis> CANCELAR Habitación 2
         luis< OK CANCELADO #2 Habitación 2
         -- a new SOY loses the rights; the reservation keeps its holder
         ana> SOY eva
         ana< OK eva
         ana> CANCELAR #1
         ana< ERR 403 {*}ana{*}
         > SOY ana
         < OK ana
         > CANCELAR #1
         < OK CANCELADO #1 Habitación 1",
    );
}

#[test]
fn cancellation_by_name_prefers_own_then_anonymous_reservations() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1 desde=2090-01-01 hasta=2090-01-02
         < OK RESERVADO #1 {*}
         ana> SOY ana
         ana< OK ana
         ana> RESERVAR Habitación 1 desde=2090-01-03 hasta=2090-01-04
         ana< OK RESERVADO #2 {*}
         luis> SOY luis
         luis< OK luis
         luis> RESERVAR Habitación 1 desde=2090-01-05 hasta=2090-01-06
         luis< OK RESERVADO #3 {*}
         ana> CANCELAR Habitación 1
         ana< OK CANCELADO #2 Habitación 1
         ana> CANCELAR Habitación 1
         ana< OK CANCELADO #1 Habitación 1
         ana> CANCELAR Habitación 1
         ana< ERR 403 {*}luis{*}
         ana> RESERVAR Habitación 1 desde=2090-02-01 hasta=2090-02-02
         ana< OK RESERVADO #4 {*}
         ana> RESERVAR Habitación 1 desde=2090-02-03 hasta=2090-02-04
         ana< OK RESERVADO #5 {*}
         ana> CANCELAR Habitación 1
         ana< ERR 409 {*}#4{*}#5{*}
         ana> CANCELAR #4
         ana< OK CANCELADO #4 Habitación 1
         ana> CANCELAR Habitación 1
         ana< OK CANCELADO #5 Habitación 1",
    );
}

#[test]
fn list_of_resources_free_now_or_for_an_interval() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1 desde=2090-01-05 hasta=2090-01-10
         < OK RESERVADO #1 {*}
         > RESERVAR Habitación 2
         < OK RESERVADO #2 {*}
         > LISTAR
         < OK 2 DISPONIBLES
         < Habitación 1
         < Habitación 3
         -- adjacent intervals do not overlap
         > LISTAR desde=2090-01-01 hasta=2090-01-05
         < OK 2 DISPONIBLES
         < Habitación 1
         < Habitación 3
         > LISTAR desde=2090-01-10 por=1h
         < OK 2 DISPONIBLES
         < Habitación 1
         < Habitación 3
         > LISTAR desde=2090-01-04T23:59:59 por=2s
         < OK 1 DISPONIBLES
         < Habitación 3
         > LISTAR desde=2090-01-09 noches=1
         < OK 1 DISPONIBLES
         < Habitación 3
         > LISTAR desde=2090-01-09
         < OK 1 DISPONIBLES
         < Habitación 3
         > LISTAR hasta=2090-01-06
         < OK 1 DISPONIBLES
         < Habitación 3
         > LISTAR por=1h
         < OK 2 DISPONIBLES
         < Habitación 1
         < Habitación 3
         > LISTAR noches=1
         < OK 2 DISPONIBLES
         < Habitación 1
         < Habitación 3
         > LISTAR desde=ahora
         < OK 1 DISPONIBLES
         < Habitación 3
         -- with a target
         > LISTAR *ITACION 3
         < OK 1 DISPONIBLES
         < Habitación 3
         > LISTAR sala *
         < OK 0 DISPONIBLES
         > LISTAR Habitación 2
         < OK 0 DISPONIBLES
         > LISTAR * desde=2090-01-06 por=1h
         < OK 1 DISPONIBLES
         < Habitación 3
         -- invalid intervals
         > LISTAR desde=2090-01-06 hasta=2090-01-06
         < ERR 400 {*}
         > LISTAR hasta=2090-01-06 por=1h
         < ERR 400 {*}
         > LISTAR hasta=salir
         < ERR 400 {*}
         > LISTAR titular=ana
         < ERR 400 {*}
         > LISTAR nota=x
         < ERR 400 {*}
         > LISTAR Habitación 1, Habitación 2
         < ERR 400 {*}
         > LISTAR *****
         < ERR 400 {*}",
    );
}

#[test]
fn bookings_are_columns_in_order_with_filters() {
    let setup = "ana> SOY ana
         ana< OK ana
         > RESERVAR Habitación 2 desde=2090-03-01 hasta=2090-03-02 nota=\"dos  adultos\"
         < OK RESERVADO #1 {*}
         ana> RESERVAR Habitación 3, Habitación 1 desde=2090-02-01 hasta=2090-02-02
         ana< OK RESERVADO #2 {*}
         > RESERVAR Habitación 2 desde=2090-01-01 hasta=2090-01-02
         < OK RESERVADO #3 {*}
         ana> RESERVAR Habitación 3 hasta=salir desde=2090-05-01
         ana< OK RESERVADO #4 {*}
         > RESERVAR Habitación 1 desde=2090-06-01
         < OK RESERVADO #5 {*}";
    let bookings = [
        "#2⇥Habitación 1⇥ana⇥2090-02-01T00:00:00+00:00⇥2090-02-02T00:00:00+00:00⇥-",
        "#5⇥Habitación 1⇥-⇥2090-06-01T00:00:00+00:00⇥-⇥-",
        "#3⇥Habitación 2⇥-⇥2090-01-01T00:00:00+00:00⇥2090-01-02T00:00:00+00:00⇥-",
        "#1⇥Habitación 2⇥-⇥2090-03-01T00:00:00+00:00⇥2090-03-02T00:00:00+00:00⇥dos  adultos",
        "#2⇥Habitación 3⇥ana⇥2090-02-01T00:00:00+00:00⇥2090-02-02T00:00:00+00:00⇥-",
        "#4⇥Habitación 3⇥ana⇥2090-05-01T00:00:00+00:00⇥salir⇥-",
    ];
    // Filters, and the reservations that must be listed.
    let asked: [(&str, &[usize]); 17] = [
        ("", &[0, 1, 2, 3, 4, 5]),
        (" *", &[0, 1, 2, 3, 4, 5]),
        (" habitacion 2", &[2, 3]),
        (" *1", &[0, 1]),
        (" Sala *", &[]),
        (" titular=ana", &[0, 4, 5]),
        (" titular=nadie", &[]),
        (" *3 titular=ana", &[4, 5]),
        (" desde=2090-02-15", &[1, 3, 5]),
        (" hasta=2090-02-15", &[0, 2, 4]),
        (" desde=2090-01-15 hasta=2090-03-15", &[0, 3, 4]),
        // Intervals are half-open: adjacent ones do not overlap.
        (" desde=2090-01-02 hasta=2090-02-01", &[]),
        (" desde=2090-01-01T23:59:59 hasta=2090-02-01T00:00:01", &[0, 2, 4]),
        (" desde=2095-01-01", &[1, 5]),
        (" * hasta=2090-02-15 titular=\"ana\"", &[0, 4]),
        (" desde=1990-01-01 hasta=1990-01-02", &[]),
        (" desde=ahora hasta=2090-01-15", &[2]),
    ];
    let mut script = setup.to_owned();
    for (filter, wanted) in asked {
        script += &format!("\n> RESERVAS{filter}\n< OK {} RESERVAS", wanted.len());
        for at in wanted {
            script += &format!("\n< {}", bookings[*at]);
        }
    }
    for bad in [
        "desde=2090-01-02 hasta=2090-01-02",
        "hasta=salir",
        "por=1h",
        "noches=1",
        "nota=x",
        "Habitación 1, Habitación 2",
        "titular=",
    ] {
        script += &format!("\n> RESERVAS {bad}\n< ERR 400 {{*}}");
    }
    script += "\n> RESERVAS Ático\n< ERR 404 {*}Ático{*}";
    check_in_both(&[], &script);
}

#[test]
fn verify_checks_number_and_name() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1, Habitación 2 por=2h
         < OK RESERVADO #1 {*}
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1, Habitación 2 quedan=7{n}s
         > VERIFICAR #1 HABITACION 2
         < OK VIGENTE #1 Habitación 2 quedan=7{n}s
         > VERIFICAR #1 Habitación 3
         < ERR 404 {*}
         > VERIFICAR #1 Ático
         < ERR 404 {*}
         > RESERVAR Habitación 3 hasta=salir
         < OK RESERVADO #2 {*}
         > VERIFICAR #2
         < OK VIGENTE #2 Habitación 3 quedan=-
         > RESERVAR Habitación 1 desde=2090-01-01 por=1h
         < OK RESERVADO #3 {*}
         > VERIFICAR #3
         < ERR 409 {*}2090-01-01T00:00:00+00:00{*}
         > VERIFICAR #3 Habitación 1
         < ERR 409 {*}
         > CANCELAR #1
         < OK CANCELADO #1 Habitación 1, Habitación 2
         > VERIFICAR #1
         < ERR 410 {*}#1{*}
         > VERIFICAR #1 Habitación 1
         < ERR 410 {*}#1{*}
         > VERIFICAR #4
         < ERR 404 {*}#4{*}
         > VERIFICAR
         < ERR 400 {*}
         > VERIFICAR Habitación 1
         < ERR 400 {*}
         > VERIFICAR #
         < ERR 400 {*}
         > VERIFICAR #2, #3
         < ERR 400 {*}
         > VERIFICAR #2 por=1h
         < ERR 400 {*}
         > VERIFICAR #2 Habitación *
         < ERR 400 {*}",
    );
}

#[test]
fn lease_expires() {
    let server = Server::in_memory(&[]);
    run_script(
        &server,
        "> SOY ana
         < OK ana
         > RESERVAR Habitación 1 por=1s clave=k
         < OK RESERVADO #1 Habitación 1 desde={T} hasta={T}
         > RESERVAR Habitación 2 por=1h
         < OK RESERVADO #2 {*}",
    );
    let mut client = server.connect();
    until("the lease is over", || client.say("VERIFICAR #1").starts_with("ERR 410 "));
    // After the end no command accepts it, and the key can be used again.
    run_script(
        &server,
        "> VERIFICAR #1 Habitación 1
         < ERR 410 {*}#1{*}
         > CANCELAR #1
         < ERR 410 {*}#1{*}
         > LISTAR
         < OK 2 DISPONIBLES
         < Habitación 1
         < Habitación 3
         > RESERVAS
         < OK 1 RESERVAS
         < #2⇥Habitación 2⇥ana⇥{T}⇥{T}⇥-
         > BAJA Habitación 1
         < OK BAJA 1
         > ALTA Habitación 1
         < OK ALTA 1
         > SOY ana
         < OK ana
         > RESERVAR Habitación 1 clave=k
         < OK RESERVADO #3 Habitación 1",
    );
    server.stop();
}

/// A reservation that begins at the end of another one becomes active at that moment, without a gap
/// or an overlap.
#[test]
fn adjacent_reservations_do_not_overlap() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let first = client.say("RESERVAR Habitación 1 por=1s");
    let end = first.rsplit_once("hasta=").unwrap().1.to_owned();
    // The printed end is rounded up, so that this reservation fits.
    let next = client.say(&format!("RESERVAR Habitación 1 desde={end}"));
    assert_eq!(next, format!("OK RESERVADO #2 Habitación 1 desde={end} hasta=-"));
    assert!(client.say("VERIFICAR #2").starts_with("ERR 409 "));
    until("the second reservation is active", || {
        client.say("VERIFICAR #2").starts_with("OK VIGENTE #2 ")
    });
    assert!(client.say("VERIFICAR #1").starts_with("ERR 410 "));
    server.stop();
}

/// An example of every code, with the text in the language of the verb.
#[test]
fn all_error_codes() {
    check(
        &["--max-resources", "4", "--max-reservations", "2"],
        "> LISTAR por=1
         < ERR 400 por=1: {*}
         > LIST for=1
         < ERR 400 for=1: {*}
         > RESERVAR Habitación 1 clave=k
         < ERR 401 {*}SOY{*}
         > RESERVE Habitación 1 key=k
         < ERR 401 {*}IAM{*}
         ana> SOY ana
         ana< OK ana
         ana> RESERVAR Habitación 1
         ana< OK RESERVADO #1 Habitación 1
         > CANCELAR #1
         < ERR 403 {*}SOY ana
         > CANCEL #1
         < ERR 403 {*}IAM ana{*}
         > RESERVAR Ático
         < ERR 404 no existe {*}Ático{*}
         > RESERVE Ático
         < ERR 404 there is no {*}Ático{*}
         > CANCELAR #2
         < ERR 404 {*}#2 no {*}
         > CANCEL #2
         < ERR 404 #2 was never issued
         > RESERVAR Habitación 1
         < ERR 409 {*}no está libre: #1 titular=ana desde={T} hasta=-{*}
         > RESERVE Habitación 1
         < ERR 409 {*}is not free: #1 holder=ana from={T} until=-{*}
         > RESERVAR Habitación 2
         < OK RESERVADO #2 Habitación 2
         > CANCELAR #2
         < OK CANCELADO #2 Habitación 2
         > CANCELAR #2
         < ERR 410 #2 ya terminó{*}
         > CANCEL #2
         < ERR 410 #2 is over{*}
         > RESERVAR Habitación 2
         < OK RESERVADO #3 Habitación 2
         > RESERVAR Habitación 3
         < ERR 503 {*}2 reservas{*}
         > RESERVE Habitación 3
         < ERR 503 {*}2 reservations{*}
         > ALTA Sala 1..2
         < ERR 503 {*}4 recursos{*}
         > ADD Sala 1..2
         < ERR 503 {*}4 resources{*}
         > ALTA Sala 1
         < OK ALTA 1
         > LISTAR
         < OK 2 DISPONIBLES
         < Habitación 3
         < Sala 1
         -- after an end the limit permits a new reservation
         > CANCELAR #3
         < OK CANCELADO #3 Habitación 2
         > RESERVAR Habitación 3
         < OK RESERVADO #4 Habitación 3",
    );
}

#[test]
fn full_server_refuses_until_a_client_leaves() {
    let server = Server::in_memory(&["--max-clients", "2"]);
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(first.list("LISTAR").len(), 3);
    assert_eq!(second.list("LISTAR").len(), 3);
    let mut third = server.connect();
    let refused = third.rest();
    assert!(matches("ERR 503 {*}\n", &refused) && refused.lines().count() == 1, "{refused:?}");
    assert_eq!(first.list("LISTAR").len(), 3);
    assert_eq!(second.finish(), "");
    until("the next client is served", || {
        let mut next = server.connect();
        next.send("LISTAR\nSALIR\n");
        next.rest().starts_with("OK 3 DISPONIBLES\n")
    });
    server.stop();
}

/// A watcher that keeps reading receives all notices of a burst that exceeds the history.
#[test]
fn burst_of_events_does_not_close_a_reading_watcher() {
    let server = Server::in_memory(&[]);
    let mut watcher = server.connect();
    assert_eq!(watcher.say("OBSERVAR"), "OK OBSERVANDO tras=3");
    let mut other = server.connect();
    other.send("ALTA A1..9999\nALTA B1..9999\nALTA C1..9999\n");
    for number in 4..=3 + 3 * 9999 {
        let line = watcher.line();
        assert!(line.starts_with(&format!("* {number} ALTA ")), "{line}");
    }
    assert_eq!(other.line(), "OK ALTA 9999");
}

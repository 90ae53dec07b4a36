//! Every verb of the protocol's table: what it does and how it answers, in
//! both languages and with the options of either.

mod common;

use common::dialog::{check, check_in_both, converse, matches};
use common::{Server, until};

/// Each row of the table in its plainest form.
#[test]
fn the_table_of_verbs() {
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
fn reserving_prints_an_interval_where_there_is_one() {
    check_in_both(
        &[],
        "-- an end, or a start that was asked for
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
fn reserving_takes_all_or_none_under_one_number() {
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
fn cancelling_by_number_and_by_name() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1, Habitación 2
         < OK RESERVADO #1 Habitación 1, Habitación 2
         > RESERVAR Habitación 3
         < OK RESERVADO #2 Habitación 3
         -- a name leaves its reservation, the rest stays under the number
         > CANCELAR habitacion 2
         < OK CANCELADO #1 Habitación 2
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan=-
         > VERIFICAR #1 Habitación 2
         < ERR 404 {*}Habitación 2{*}
         -- several, all or none
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
         -- over, never issued, nothing to cancel, no such resource
         > CANCELAR #1
         < ERR 410 {*}#1{*}
         > CANCELAR #3
         < ERR 404 {*}#3{*}
         > CANCELAR #0
         < ERR 404 {*}#0{*}
         > CANCELAR #99999999999999999999999
         < ERR 404 {*}
         > CANCELAR Habitación 1
         < ERR 404 {*}Habitación 1{*}
         > CANCELAR Ático
         < ERR 404 {*}Ático{*}
         -- the grammar
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
         -- a number is never used again
         > RESERVAR Habitación 1
         < OK RESERVADO #3 Habitación 1",
    );
}

#[test]
fn a_reservation_is_its_holders() {
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
         -- what nobody holds anybody may cancel
         > RESERVAR Habitación 2
         < OK RESERVADO #2 Habitación 2
         luis> CANCELAR Habitación 2
         luis< OK CANCELADO #2 Habitación 2
         -- who says SOY anew keeps nothing; what was reserved stays with the name
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
fn cancelling_by_name_takes_yours_first_then_nobodys() {
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
fn listing_what_is_free_now_or_for_a_whole_interval() {
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
         -- touching ends are fine
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
         -- a pattern
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
         -- nonsense
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
fn bookings_in_columns_in_order_and_by_filter() {
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
    let rows = [
        "#2⇥Habitación 1⇥ana⇥2090-02-01T00:00:00+00:00⇥2090-02-02T00:00:00+00:00⇥-",
        "#5⇥Habitación 1⇥-⇥2090-06-01T00:00:00+00:00⇥-⇥-",
        "#3⇥Habitación 2⇥-⇥2090-01-01T00:00:00+00:00⇥2090-01-02T00:00:00+00:00⇥-",
        "#1⇥Habitación 2⇥-⇥2090-03-01T00:00:00+00:00⇥2090-03-02T00:00:00+00:00⇥dos  adultos",
        "#2⇥Habitación 3⇥ana⇥2090-02-01T00:00:00+00:00⇥2090-02-02T00:00:00+00:00⇥-",
        "#4⇥Habitación 3⇥ana⇥2090-05-01T00:00:00+00:00⇥salir⇥-",
    ];
    // What is asked, and which of the rows must come.
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
        // Half-open: what only touches does not overlap.
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
            script += &format!("\n< {}", rows[*at]);
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
fn verifying() {
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
fn a_lease_ends_by_itself() {
    let server = Server::in_memory(&[]);
    converse(
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
    // Over at once for every command, and the key is free again.
    converse(
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

/// A dated reservation ends as a lease does, and what begins at that very
/// moment is in force then: there is no gap and no overlap.
#[test]
fn one_ends_as_the_next_begins() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let first = client.say("RESERVAR Habitación 1 por=1s");
    let end = first.rsplit_once("hasta=").unwrap().1.to_owned();
    // The printed end is rounded up, so this one fits.
    let next = client.say(&format!("RESERVAR Habitación 1 desde={end}"));
    assert_eq!(next, format!("OK RESERVADO #2 Habitación 1 desde={end} hasta=-"));
    assert!(client.say("VERIFICAR #2").starts_with("ERR 409 "));
    until("the second is in force", || client.say("VERIFICAR #2").starts_with("OK VIGENTE #2 "));
    assert!(client.say("VERIFICAR #1").starts_with("ERR 410 "));
    server.stop();
}

#[test]
fn saying_who_one_is() {
    let long = "a".repeat(64);
    check_in_both(
        &[],
        &format!(
            "> SOY ana
             < OK ana
             > SOY María-José.2
             < OK María-José.2
             > SOY Nin\u{303}o
             < OK Niño
             > SOY {long}
             < OK {long}
             > SOY {long}a
             < ERR 400 {{*}}64{{*}}
             > SOY
             < ERR 400 {{*}}
             > SOY 7ana
             < ERR 400 {{*}}
             > SOY -ana
             < ERR 400 {{*}}
             > SOY ana luis
             < ERR 400 {{*}}
             > SOY ana,luis
             < ERR 400 {{*}}
             > SOY ana=1
             < ERR 400 {{*}}
             > SOY ana nota=x
             < ERR 400 {{*}}
             > SOY a*
             < ERR 400 {{*}}
             > SOY \"ana\"
             < ERR 400 {{*}}
             -- a refused one changes nothing
             > RESERVAR Habitación 1
             < OK RESERVADO #1 Habitación 1
             > RESERVAS titular={long}
             < OK 1 RESERVAS
             < #1⇥Habitación 1⇥{long}⇥{{T}}⇥-⇥-"
        ),
    );
}

#[test]
fn adding_resources() {
    check_in_both(
        &[],
        "> BAJA Habitación 1, Habitación 2, Habitación 3
         < OK BAJA 3
         > LISTAR
         < OK 0 DISPONIBLES
         > ALTA Placa 01..03, Grúa 🏗, Sala 9..11
         < OK ALTA 7
         > ALTA  Torre   Norte 007..008
         < OK ALTA 2
         > ALTA Z 098..101
         < OK ALTA 4
         > ALTA 8..9
         < OK ALTA 2
         > ALTA Fila 5..5
         < OK ALTA 1
         > LISTAR
         < OK 16 DISPONIBLES
         < Placa 01
         < Placa 02
         < Placa 03
         < Grúa 🏗
         < Sala 9
         < Sala 10
         < Sala 11
         < Torre Norte 007
         < Torre Norte 008
         < Z 098
         < Z 099
         < Z 100
         < Z 101
         < 8
         < 9
         < Fila 5
         -- all or none
         > ALTA Uno, PLACA 02, Dos
         < ERR 409 {*}Placa 02{*}
         > ALTA Uno, grua 🏗
         < ERR 409 {*}Grúa 🏗{*}
         > ALTA Uno, Dos, UNO
         < ERR 409 {*}
         > ALTA Uno, Uno
         < ERR {*}
         > ALTA Uno 1..3, Uno 3..4
         < ERR {*}
         > ALTA Uno, Dos*
         < ERR 400 {*}
         > ALTA Uno, Dos?
         < ERR 400 {*}
         > ALTA Uno,
         < ERR 400 {*}
         > ALTA Uno,,Dos
         < ERR 400 {*}
         > ALTA Uno 5..4
         < ERR 400 {*}
         > ALTA Uno, #2
         < ERR 400 {*}
         > ALTA Uno nota=x
         < ERR 400 {*}
         > ALTA
         < ERR 400 {*}
         > LISTAR Uno*
         < OK 0 DISPONIBLES
         -- a name that was taken out comes back at the end
         > BAJA Placa 01
         < OK BAJA 1
         > ALTA placa 01
         < OK ALTA 1
         > LISTAR *01
         < OK 2 DISPONIBLES
         < Z 101
         < placa 01",
    );
}

#[test]
fn at_most_ten_thousand_are_added_by_one_line() {
    check_in_both(
        &[],
        "> ALTA Uno 1..10001
         < ERR 400 {*}10000{*}
         > ALTA Uno, Uno 1..10000
         < ERR 400 {*}10000{*}
         > ALTA Uno 1..18446744073709551615
         < ERR 400 {*}10000{*}
         > ALTA Uno 0..18446744073709551615
         < ERR 400 {*}10000{*}
         > LISTAR Uno*
         < OK 0 DISPONIBLES
         > ALTA Uno 00001..10000
         < OK ALTA 10000
         > LISTAR Uno *0999
         < OK 1 DISPONIBLES
         < Uno 00999
         > ALTA Dos 1..9999, Dos
         < OK ALTA 10000",
    );
}

#[test]
fn removing_resources() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1
         < OK RESERVADO #1 Habitación 1
         > RESERVAR Habitación 2 desde=2090-01-01 hasta=2090-01-02
         < OK RESERVADO #2 {*}
         > BAJA Habitación 3, Habitación 1
         < ERR 409 {*}Habitación 1{*}#1{*}
         > BAJA Habitación 3, Habitación 2
         < ERR 409 {*}Habitación 2{*}#2{*}
         > BAJA Habitación 3, Ático
         < ERR 404 {*}Ático{*}
         > BAJA Habitación 3, HABITACIÓN 3
         < ERR 400 {*}
         > BAJA Habitación *
         < ERR 400 {*}
         > BAJA #1
         < ERR 400 {*}
         > BAJA
         < ERR 400 {*}
         > BAJA Habitación 3 por=1h
         < ERR 400 {*}
         > LISTAR
         < OK 2 DISPONIBLES
         < Habitación 2
         < Habitación 3
         > CANCELAR #1, #2
         < OK CANCELADO #1 Habitación 1, #2 Habitación 2
         > BAJA habitacion 3, HABITACION 1
         < OK BAJA 2
         > LISTAR
         < OK 1 DISPONIBLES
         < Habitación 2
         > RESERVAR Habitación 1
         < ERR 404 {*}Habitación 1{*}",
    );
}

#[test]
fn the_forms_of_status_and_help() {
    let server = Server::in_memory(&["--max-clients", "77"]);
    for (status, help, reserve) in [("ESTADO", "AYUDA", "RESERVAR"), ("STATUS", "HELP", "RESERVE")]
    {
        let mut client = server.connect();
        let head = client.say(status);
        assert!(matches(&format!("OK {{n}} {status}"), &head), "{head}");
        let lines = client.list_after(&head);
        let keys: Vec<_> = lines.iter().map(|line| line.split_once('=').unwrap().0).collect();
        assert!(keys.iter().all(|key| !key.is_empty() && !key.contains(' ')), "{keys:?}");
        assert!(lines.contains(&"max_clients=77".to_owned()), "{lines:?}");
        assert!(lines.contains(&"resources=3".to_owned()), "{lines:?}");
        assert!(lines.contains(&"reservations=0".to_owned()), "{lines:?}");

        let head = client.say(help);
        assert!(matches(&format!("OK {{n}} {help}"), &head), "{head}");
        let all = client.list_after(&head);
        let english = status == "STATUS";
        let verbs = if english {
            [
                "RESERVE", "CANCEL", "LIST", "BOOKINGS", "VERIFY", "IAM", "ADD", "REMOVE",
                "STATUS", "HELP", "QUIT",
            ]
        } else {
            [
                "RESERVAR",
                "CANCELAR",
                "LISTAR",
                "RESERVAS",
                "VERIFICAR",
                "SOY",
                "ALTA",
                "BAJA",
                "ESTADO",
                "AYUDA",
                "SALIR",
            ]
        };
        for verb in verbs {
            let told = all.iter().any(|line| line.split([' ', ':']).next() == Some(verb));
            assert!(told, "{help} does not tell of {verb}: {all:?}");
            // Of one verb, by its name in either language and in any case.
            let lines = client.list(&format!("{help} {}", verb.to_lowercase()));
            assert!(lines.iter().any(|line| line.starts_with(verb)), "{lines:?}");
        }
        let other = if english { "reservar" } else { "Reserve" };
        assert!(client.list(&format!("{help} {other}"))[0].starts_with(reserve));
        assert!(client.say(&format!("{help} bailar")).starts_with("ERR 400 "));
        assert!(client.say(&format!("{status} todo")).starts_with("ERR 400 "));
        assert!(client.say(&format!("{status} x=1")).starts_with("ERR 400 "));
    }
    server.stop();
}

/// The figures say what is so.
#[test]
fn status_counts() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let figure = |client: &mut common::Client, key: &str| {
        let lines = client.list("ESTADO");
        let found = lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {key} in {lines:?}")).to_owned()
    };
    client.say("RESERVAR Habitación 1, Habitación 2");
    client.say("RESERVAR Habitación 3 por=1h");
    client.say("RESERVAR Habitación 3");
    client.say("CANCELAR #1");
    client.say("ALTA Sala");
    assert_eq!(figure(&mut client, "resources"), "4");
    assert_eq!(figure(&mut client, "reservations"), "1");
    assert_eq!(figure(&mut client, "last_number"), "2");
    assert_eq!(figure(&mut client, "clients"), "1");
    let _other = server.connect();
    until("the other is counted", || figure(&mut client, "clients") == "2");
    assert!(common::dialog::is_time(&figure(&mut client, "time")));
    server.stop();
}

#[test]
fn what_comes_in_a_later_stage_is_not_understood_yet() {
    for line in [
        "RENOVAR #1 por=1h",
        "RENEW #1 for=1h",
        "CUANDO Habitación 1",
        "WHEN Habitación 1",
        "OBSERVAR",
        "WATCH",
        "RESERVAR Habitación 2 espera=5m",
        "RESERVE Habitación 2 wait=5m",
        "LISTAR tras=1",
        "LIST after=1",
    ] {
        check(
            &[],
            &format!(
                "> RESERVAR Habitación 1
                 < OK RESERVADO #1 Habitación 1
                 > {line}
                 < ERR 400 {{*}}
                 > LISTAR
                 < OK 2 DISPONIBLES
                 < Habitación 2
                 < Habitación 3"
            ),
        );
    }
}

/// One case of every code of this stage, its text in the verb's language.
#[test]
fn every_code() {
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
         -- room again as soon as something ends
         > CANCELAR #3
         < OK CANCELADO #3 Habitación 2
         > RESERVAR Habitación 3
         < OK RESERVADO #4 Habitación 3",
    );
}

#[test]
fn a_full_server_says_so_and_takes_the_next_when_one_leaves() {
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
    until("the next is served", || {
        let mut next = server.connect();
        next.send("LISTAR\nSALIR\n");
        next.rest().starts_with("OK 3 DISPONIBLES\n")
    });
    server.stop();
}

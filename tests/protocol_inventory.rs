//! The verbs for holders, resources, statistics and help.

use support::dialog::{check_in_both, matches};
use support::{Client, Server, narrow, temp_dir, until};

#[test]
fn iam_sets_the_holder() {
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
             -- a refused command changes nothing
             > RESERVAR Habitación 1
             < OK RESERVADO #1 Habitación 1
             > RESERVAS titular={long}
             < OK 1 RESERVAS
             < #1⇥Habitación 1⇥{long}⇥{{T}}⇥-⇥-"
        ),
    );
}

#[test]
fn add_creates_resources() {
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
         -- all names are processed, or none
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
         -- a removed name that is added again comes last
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
fn line_adds_at_most_ten_thousand_resources() {
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
fn remove_deletes_resources() {
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
fn forms_of_status_and_help() {
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
            let is_listed = all.iter().any(|line| line.split([' ', ':']).next() == Some(verb));
            assert!(is_listed, "{help} does not contain {verb}: {all:?}");
            // Help for one verb, by its name in both languages and in any case.
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

/// The statistics match the state.
#[test]
fn status_counts_resources_and_clients() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let figure = |client: &mut support::Client, key: &str| {
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
    assert!(support::dialog::is_time(&figure(&mut client, "time")));
    server.stop();
}

/// The names of a list that is read slowly are kept for one compaction of ids only.
#[test]
fn list_survives_one_compaction_of_ids_but_not_two() {
    const ROOMS: usize = 40_000;
    let directory = temp_dir();
    let file = directory.path().join("empty");
    std::fs::write(&file, "").unwrap();
    let mut server = Server::in_memory(&["--inventory", file.to_str().unwrap()]);
    let mut client = server.connect();
    let long = "x".repeat(100);
    let add = |client: &mut Client, letter: char| {
        // More than fits into the buffers of the sockets.
        for first in (1..ROOMS).step_by(10_000) {
            let last = first + 9_999;
            let done = client.say(&format!("ALTA {letter}{long} {first}..{last}"));
            assert_eq!(done, "OK ALTA 10000");
        }
    };
    let remove = |client: &mut Client, letter: char, count: usize| {
        let names: Vec<_> = (1..=count).map(|at| format!("{letter}{long} {at}")).collect();
        for some in names.chunks(32) {
            let done = client.say(&format!("BAJA {}", some.join(", ")));
            assert_eq!(done, format!("OK BAJA {}", some.len()));
        }
    };
    add(&mut client, 'a');
    let mut first = narrow(&server);
    first.send("LISTAR\n");
    assert_eq!(first.line(), "OK 40000 DISPONIBLES");
    add(&mut client, 'b');
    remove(&mut client, 'a', ROOMS);
    let mut second = narrow(&server);
    second.send("LISTAR\n");
    assert_eq!(second.line(), "OK 40000 DISPONIBLES");
    assert!(
        !server.log_so_far().contains("have been replaced since"),
        "it has done nothing wrong yet"
    );
    add(&mut client, 'c');
    remove(&mut client, 'b', ROOMS);
    // The first compaction is over. More removals cause the second one.
    remove(&mut client, 'c', 2_000);
    server.wait_log("have been replaced since");
    for at in 1..=ROOMS {
        assert_eq!(second.line(), format!("b{long} {at}"));
    }
    let read = std::iter::from_fn(|| first.try_line()).count();
    assert!(read < ROOMS, "it is closed amid its list");
}

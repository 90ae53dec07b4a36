//! The forms of `espera=`, and the length of the queue in refusals.

use support::Server;
use support::dialog::{check, check_cases};

/// A refusal contains the number of waiters that would be ahead.
#[test]
fn refusal_contains_the_length_of_the_queue() {
    check(
        &[],
        "> RESERVAR Habitación 1, Habitación 2 hasta=2090-01-01
         < OK RESERVADO #1 {*}
         > RESERVAR Habitación 1 por=1h
         < ERR 409 «Habitación 1» no está libre: #1 desde={T} hasta=2090-01-01T00:00:00+00:00; libre desde 2090-01-01T00:00:00+00:00
         a> RESERVAR Habitación 1 espera=10m
         a< * COLA 1 Habitación 1
         > RESERVAR Habitación 1 por=1h
         < ERR 409 {*}; en cola: 1; libre desde 2090-01-01T00:00:00+00:00
         b> RESERVAR Habitación 1 espera=10m
         b< * COLA 2 Habitación 1
         > RESERVE Habitación 1 for=1h
         < ERR 409 {*}; in the queue: 2; free from 2090-01-01T00:00:00+00:00
         > CUANDO Habitación 1 por=1h
         < OK 2090-01-01T00:00:00+00:00 Habitación 1
         > RESERVAR Habitación 2
         < ERR 409 «Habitación 2» no está libre: #1 desde={T} hasta=2090-01-01T00:00:00+00:00; libre desde 2090-01-01T00:00:00+00:00
         a!
         b!",
    );
}

/// Waiters with matching patterns are counted.
#[test]
fn length_of_the_queue_counts_patterns() {
    check(
        &[],
        "> RESERVAR *, *, * hasta=2090-01-01
         < OK RESERVADO #1 {*}
         a> RESERVAR Habitación 1 espera=10m
         a< * COLA 1 Habitación 1
         b> RESERVAR Habitación * espera=10m
         b< * COLA 2 Habitación *
         > RESERVAR Habitación 1
         < ERR 409 {*}; en cola: 2; {*}
         > RESERVAR Habitación 2
         < ERR 409 {*}; en cola: 1; {*}
         > RESERVE *1
         < ERR 409 {*}; in the queue: 2; {*}
         > RESERVAR *
         < ERR 409 {*}; en cola: 2; {*}
         > RESERVAR Habitación 2, Habitación 1
         < ERR 409 {*}; en cola: 2; {*}
         c> RESERVAR Habitación 2, Habitación 1 espera=10m
         c< * COLA 3 Habitación 2, Habitación 1
         a!
         b!
         c!",
    );
}

#[test]
fn forms_of_a_wait() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    // An invalid wait is refused even if the resource is free.
    for good in
        ["espera=1s", "wait=5m", "espera=7d", "wait=168h", "espera=6d23h59m60s", "espera=\"1h30m\""]
    {
        let got = client.say(&format!("RESERVAR Habitación 1 {good}"));
        assert!(got.starts_with("OK RESERVADO #"), "{good}: {got}");
        client.say("CANCELAR Habitación 1");
    }
    for value in [
        "",
        "5",
        "0",
        "0s",
        "0h0m",
        "-5m",
        "+5m",
        "1.5h",
        "5min",
        "1h30",
        "infinito",
        "siempre",
        "sí",
        "7d1s",
        "8d",
        "169h",
        "604801s",
        "3653d",
        "4000d",
        "99999999999999999999s",
        "9223372036854775807d",
        "2090-01-01",
    ] {
        for busy in [false, true] {
            let mut other = server.connect();
            if busy {
                other.say("RESERVAR Habitación 1 hasta=salir");
            }
            let cases = [
                (
                    format!("RESERVAR Habitación 1 espera={value}"),
                    format!("ERR 400 espera={value}{{*}}"),
                ),
                (
                    format!("RESERVE Habitación 1 for=1h wait={value}"),
                    format!("ERR 400 wait={value}{{*}}"),
                ),
                (
                    format!("RESERVE Habitación 1 espera={value}"),
                    format!("ERR 400 wait={value}{{*}}"),
                ),
            ];
            for (line, want) in &cases {
                check_cases(&mut client, &[(line, want)]);
            }
            other.say("SALIR");
        }
    }
    let cases = [
        ("RESERVAR Habitación 1 espera=7d1s", "ERR 400 {*}7d"),
        ("RESERVAR Habitación 1 espera=5m espera=5m", "ERR 400 espera= {*}"),
        ("RESERVAR Habitación 1 espera=5m wait=5m", "ERR 400 espera= {*}"),
        ("RESERVE Habitación 1 wait=5m por=1h espera=1m", "ERR 400 wait= {*}"),
        ("RESERVAR Habitación 1 espera=5 m", "ERR 400 {*}m{*}"),
        ("RESERVAR Habitación 1 espera 5m", "ERR 404 {*}"),
        ("RESERVAR espera=5m", "ERR 400 {*}"),
        ("RESERVAR Ático espera=5m", "ERR 404 {*}Ático{*}"),
        ("RESERVAR Ático* espera=5m", "ERR 404 {*}Ático*{*}"),
        ("RESERVAR Habitación 1, Habitación 1 espera=5m", "ERR 400 {*}"),
        ("RESERVAR Habitación 1 espera=5m hasta=2020-01-01", "ERR 400 {*}"),
        ("RESERVAR Habitación 1 espera=5m clave=k", "ERR 401 {*}"),
    ];
    check_cases(&mut client, &cases);
    for verb in [
        "CANCELAR #1",
        "LISTAR",
        "RESERVAS",
        "RENOVAR #1 por=1h",
        "CUANDO Habitación 1",
        "VERIFICAR #1",
        "OBSERVAR",
        "SOY ana",
        "ALTA Sala",
        "BAJA Habitación 1",
        "ESTADO",
        "AYUDA",
        "SALIR",
    ] {
        let got = client.say(&format!("{verb} espera=5m"));
        assert!(got.starts_with("ERR 400 ") && got.contains("espera="), "{verb}: {got}");
    }
    for verb in ["CANCEL #1", "LIST", "RENEW #1 for=1h", "WHEN Habitación 1", "WATCH", "QUIT"] {
        let got = client.say(&format!("{verb} wait=5m"));
        assert!(got.starts_with("ERR 400 ") && got.contains("wait="), "{verb}: {got}");
    }
    assert_eq!(client.list("RESERVAS").len(), 0);
    assert_eq!(client.list("LISTAR").len(), 3);
    server.stop();
}

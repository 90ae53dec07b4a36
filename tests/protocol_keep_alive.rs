//! Keep-alive reservations: `hasta=salir por=D`.

use support::dialog::{check, check_in_both};
use support::{Server, temp_dir};

#[test]
fn keep_alive_reservation_ends_with_quit_but_not_with_a_lost_connection() {
    check_in_both(
        &[],
        "a> RESERVAR Habitación 1 hasta=salir por=60s
         a< OK RESERVADO #1 Habitación 1 desde={T} hasta=salir por=60s
         a> RESERVAR Habitación 2 por=1m30s hasta=salir
         a< OK RESERVADO #2 Habitación 2 desde={T} hasta=salir por=90s
         > RESERVAS
         < OK 2 RESERVAS
         < #1⇥Habitación 1⇥-⇥{T}⇥salir⇥-
         < #2⇥Habitación 2⇥-⇥{T}⇥salir⇥-
         -- it collides like a reservation without an end
         > RESERVAR Habitación 1 desde=2090-01-01
         < ERR 409 {*}hasta=salir{*}
         > LISTAR desde=2090-01-01
         < OK 1 DISPONIBLES
         < Habitación 3
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan={n}s
         a> SALIR
         a< OK ADIÓS
         > VERIFICAR #1
         < ERR 410 {*}
         > VERIFICAR #2
         < ERR 410 {*}
         a.
         b> RESERVAR Habitación 1 hasta=salir por=60s
         b< OK RESERVADO #3 Habitación 1 desde={T} hasta=salir por=60s
         b> RESERVAR Habitación 2 hasta=salir
         b< OK RESERVADO #4 Habitación 2 desde={T} hasta=salir
         b!
         > VERIFICAR #3
         < OK VIGENTE #3 Habitación 1 quedan={n}s
         > VERIFICAR #4
         < ERR 410 {*}",
    );
}

#[test]
fn renewal_binds_it_to_the_renewing_connection() {
    check_in_both(
        &[],
        "w> OBSERVAR
         w< OK OBSERVANDO tras={n}
         a> RESERVAR Habitación 1 hasta=salir por=60s
         a< OK RESERVADO #1 Habitación 1 desde={T} hasta=salir por=60s
         w< * {n} RESERVADO #1 Habitación 1 desde={T} hasta=salir por=60s
         -- a renewal with the same length is not an event
         a> RENOVAR #1 hasta=salir por=60s
         a< OK RENOVADO #1 Habitación 1 hasta=salir por=60s
         b> RENOVAR #1 hasta=salir por=1m
         b< OK RENOVADO #1 Habitación 1 hasta=salir por=60s
         a> SALIR
         a< OK ADIÓS
         a.
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan={n}s
         b> RENOVAR #1 hasta=salir por=2m
         b< OK RENOVADO #1 Habitación 1 hasta=salir por=120s
         w< * {n} RENOVADO #1 Habitación 1 hasta=salir por=120s
         -- por= alone makes it an ordinary lease
         b> RENOVAR #1 por=1h
         b< OK RENOVADO #1 Habitación 1 hasta={T}
         w< * {n} RENOVADO #1 Habitación 1 hasta={T}
         b> RENOVAR #1 por=10s hasta=salir
         b< OK RENOVADO #1 Habitación 1 hasta=salir por=10s
         w< * {n} RENOVADO #1 Habitación 1 hasta=salir por=10s
         b> SALIR
         b< OK ADIÓS
         w< * {n} VENCIDO #1 Habitación 1
         b.
         > RESERVAR Habitación 2 desde=2090-01-01 noches=1
         < OK RESERVADO #2 {*}
         > RESERVAR Habitación 2 por=1h
         < OK RESERVADO #3 {*}
         -- it would collide with the later booking
         > RENOVAR #3 hasta=salir por=60s
         < ERR 409 {*}#2{*}
         w!",
    );
}

#[test]
fn retry_under_the_key_moves_it() {
    check_in_both(
        &[],
        "a> SOY ana
         a< OK ana
         a> RESERVAR Habitación 1 hasta=salir por=60s clave=k
         a< OK RESERVADO #1 Habitación 1 desde={T} hasta=salir por=60s
         b> SOY ana
         b< OK ana
         b> RESERVAR Habitación 1 hasta=salir por=60s clave=k
         b< OK RESERVADO #1 Habitación 1 desde={T} hasta=salir por=60s
         b> RESERVAR Habitación 1 hasta=salir por=61s clave=k
         b< ERR 409 {*}
         b> RESERVAR Habitación 1 hasta=salir clave=k
         b< ERR 409 {*}
         a> SALIR
         a< OK ADIÓS
         a.
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan={n}s",
    );
}

#[test]
fn invalid_combinations_are_refused() {
    check(
        &[],
        "> RESERVAR Habitación 1 hasta=salir por=9s
         < ERR 400 hasta=salir por=9s: por= tiene que ser al menos 10s
         > RESERVE Habitación 1 until=quit for=9s
         < ERR 400 until=quit for=9s: for= must be at least 10s
         > RESERVE Habitación 1 until=quit for=60
         < ERR 400 for=60: {*}
         > RESERVAR Habitación 1 hasta=2090-01-01 por=60s
         < ERR 400 hasta= y por= {*}
         > RESERVAR Habitación 1 hasta=salir noches=1
         < ERR 400 hasta= y noches= {*}
         > LISTAR hasta=salir por=60s
         < ERR 400 {*}
         > RESERVAS hasta=salir por=60s
         < ERR 400 {*}
         > RESERVE Habitación 1
         < OK RESERVED #1 Habitación 1
         > RENEW #1 until=quit
         < ERR 400 RENEW with until=quit also needs for=, for example until=quit for=60s
         > RENOVAR #1 hasta=salir
         < ERR 400 RENOVAR con hasta=salir necesita también por=, por ejemplo hasta=salir por=60s",
    );
}

/// After a restart it continues for its keep-alive time and can be renewed.
#[test]
fn keep_alive_reservation_survives_a_restart() {
    let directory = temp_dir();
    for crash in [true, false] {
        let server = Server::durable(directory.path(), &[]);
        let mut client = server.connect();
        let got = client.say("RESERVE Habitación 1 until=quit for=1h");
        assert!(got.starts_with("OK RESERVED #") && got.ends_with("until=quit for=3600s"), "{got}");
        let number = got.split(' ').nth(2).unwrap().to_owned();
        if crash {
            server.kill()
        } else {
            server.stop()
        }
        let server = Server::durable(directory.path(), &[]);
        let mut client = server.connect();
        let got = client.say(&format!("VERIFY {number}"));
        assert!(got.starts_with(&format!("OK VALID {number} Habitación 1 left=")), "{got}");
        let got = client.say(&format!("RENEW {number} until=quit for=1h"));
        assert_eq!(got, format!("OK RENEWED {number} Habitación 1 until=quit for=3600s"));
        assert_eq!(client.say("QUIT"), "OK BYE");
        assert_eq!(server.connect().list("LIST").len(), 3);
        server.stop();
    }
}

/// The shortest keep-alive time is ten seconds, on the real clock.
#[test]
fn keep_alive_reservation_expires_without_renewal() {
    let server = Server::in_memory(&[]);
    let mut watcher = server.connect();
    assert!(watcher.say("WATCH").starts_with("OK WATCHING"));
    let mut waiter = server.connect();
    assert!(server.connect().say("RESERVE Habitación 1 until=quit for=10s").starts_with("OK "));
    waiter.send("RESERVE Habitación 1 wait=1h\n");
    assert_eq!(waiter.line(), "* QUEUE 1 Habitación 1");
    assert!(watcher.line().contains(" RESERVED #1 "));
    assert!(watcher.line().ends_with(" EXPIRED #1 Habitación 1"));
    assert_eq!(waiter.line(), "OK RESERVED #2 Habitación 1");
    server.stop();
}

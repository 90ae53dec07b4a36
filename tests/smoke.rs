//! The most common requests. All details are tested in other files.

use support::Server;

#[test]
fn rooms_are_reserved_listed_and_cancelled() {
    let server = Server::in_memory(&[]);
    let mut ana = server.connect();
    let mut luis = server.connect();
    assert_eq!(ana.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    assert!(luis.say("RESERVAR Habitación 1").starts_with("ERR 409 "));
    assert_eq!(luis.list("LISTAR"), ["Habitación 2", "Habitación 3"]);
    assert_eq!(ana.say("CANCELAR Habitación 1"), "OK CANCELADO #1 Habitación 1");
    assert_eq!(luis.list("LISTAR").len(), 3);
    assert_eq!(luis.say("SALIR"), "OK ADIÓS");
    assert!(luis.is_closed());
    server.stop();
}

/// Regression test: a retry with a `clave=` bound the lease to its connection, so that it was
/// printed as `hasta=salir` and ended at a restart from a snapshot.
#[test]
fn retry_keeps_a_lease_a_lease() {
    let server = Server::in_memory(&[]);
    let mut ana = server.connect();
    assert_eq!(ana.say("SOY ana"), "OK ana");
    let first = ana.say("RESERVAR Habitación 1 por=2h clave=k");
    assert_eq!(ana.say("RESERVAR Habitación 1 por=2h clave=k"), first);
    assert_eq!(ana.say("SALIR"), "OK ADIÓS");
    assert!(server.connect().say("VERIFICAR #1").starts_with("OK VIGENTE #1 Habitación 1 quedan="));
}

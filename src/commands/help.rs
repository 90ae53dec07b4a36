//! The lines of `AYUDA` and `HELP`.

use super::words::{Lang, VERBS, Verb};

/// How a verb is written and what it does, in the order es, en.
fn rows(verb: Verb) -> [&'static [&'static str]; 2] {
    match verb {
        Verb::Reserve => [
            &[
                "RESERVAR nombre[, nombre …] [desde=] [hasta=|por=|noches=] [espera=] [nota=] [clave=]: todo o nada, con un solo número",
                "RESERVAR Habitación 1: desde ahora hasta que se cancele",
                "RESERVAR Habitación * por=2h: cualquiera que esté libre, dos horas",
                "RESERVAR Habitación 1, Sala 2 desde=2026-12-24 noches=3 nota=\"dos adultos\"",
                "RESERVAR Placa 3 hasta=salir: mientras dure esta conexión",
                "RESERVAR GPU * por=2h espera=30m: si no hay, espera en la cola; * COLA indica tu lugar",
                "clave=K (después de SOY): repetir la petición es seguro y da el mismo número",
            ],
            &[
                "RESERVE name[, name …] [from=] [until=|for=|nights=] [wait=] [note=] [key=]: all or nothing, under one number",
                "RESERVE Room 1: from now until it is cancelled",
                "RESERVE Room * for=2h: any one that is free, for two hours",
                "RESERVE Room 1, Hall 2 from=2026-12-24 nights=3 note=\"two adults\"",
                "RESERVE Board 3 until=quit: as long as this connection lasts",
                "RESERVE GPU * for=2h wait=30m: if none is free, wait in the queue; * QUEUE shows your place",
                "key=K (after IAM): repeating the request is safe and returns the same number",
            ],
        ],
        Verb::Cancel => [
            &[
                "CANCELAR #42: toda la reserva",
                "CANCELAR Habitación 1[, …]: libera solo ese recurso",
            ],
            &[
                "CANCEL #42: the whole reservation",
                "CANCEL Room 1[, …]: releases only that resource",
            ],
        ],
        Verb::List => [
            &[
                "LISTAR [patrón] [desde=] [hasta=|por=|noches=]: lo libre ahora, o en todo ese tiempo",
            ],
            &[
                "LIST [pattern] [from=] [until=|for=|nights=]: what is free now, or for all that time",
            ],
        ],
        Verb::Bookings => [
            &[
                "RESERVAS [patrón] [titular=] [desde=] [hasta=]: quién tiene qué; número, nombre, titular, desde, hasta, nota",
            ],
            &[
                "BOOKINGS [pattern] [holder=] [from=] [until=]: who holds what; number, name, holder, from, until, note",
            ],
        ],
        Verb::Renew => [
            &[
                "RENOVAR #42 por=2h|hasta=2026-12-27: mueve el final de toda la reserva, después o antes",
                "por= cuenta desde ahora, o desde su principio si aún no ha llegado",
            ],
            &[
                "RENEW #42 for=2h|until=2026-12-27: moves the end of the whole reservation, later or earlier",
                "for= counts from now, or from its start if that is still ahead",
            ],
        ],
        Verb::When => [
            &[
                "CUANDO nombre[, …] [por=|noches=] [desde=]: la primera hora en que se podría reservar",
            ],
            &[
                "WHEN name[, …] [for=|nights=] [from=]: the earliest time when this could be reserved",
            ],
        ],
        Verb::Verify => [
            &["VERIFICAR #42 [nombre]: ¿está vigente ahora?"],
            &["VERIFY #42 [name]: is it in force now?"],
        ],
        Verb::Watch => [
            &[
                "OBSERVAR [patrón] [tras=]: avisa de cada cambio desde ahora, o desde el suceso tras=",
            ],
            &[
                "WATCH [pattern] [after=]: reports every change from now on, or since the event after=",
            ],
        ],
        Verb::IAm => [
            &["SOY ana: lo que reserves desde ahora es de ana"],
            &["IAM ana: what you reserve from now on belongs to ana"],
        ],
        Verb::Add => [
            &["ALTA nombre[, …]: recursos nuevos; ALTA Habitación 4..50 da de alta 47"],
            &["ADD name[, …]: new resources; ADD Room 4..50 adds 47"],
        ],
        Verb::Remove => [
            &["BAJA nombre[, …]: quita recursos que no tienen reservas"],
            &["REMOVE name[, …]: removes resources that have no reservations"],
        ],
        Verb::Status => [&["ESTADO: estadísticas del servidor"], &["STATUS: server statistics"]],
        Verb::Help => {
            [&["AYUDA [verbo]: las órdenes disponibles"], &["HELP [verb]: the available commands"]]
        }
        Verb::Quit => [
            &["SALIR: termina lo reservado con hasta=salir y cierra la conexión"],
            &["QUIT: ends what was reserved with until=quit and closes the connection"],
        ],
    }
}

/// The lines for one verb, or the first line of each.
pub fn lines(verb: Option<Verb>, lang: Lang) -> Vec<&'static str> {
    let of = |verb| -> &'static [&'static str] {
        let [es, en] = rows(verb);
        lang.localized(es, en)
    };
    match verb {
        Some(verb) => of(verb).to_vec(),
        None => VERBS.iter().map(|(verb, ..)| of(*verb)[0]).collect(),
    }
}

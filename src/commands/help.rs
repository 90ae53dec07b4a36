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
                "RESERVAR GPU * por=2h espera=30m: si no hay, esperar en la cola; * COLA dice el lugar",
                "clave=K (después de SOY): repetir la petición es seguro, da el mismo número",
            ],
            &[
                "RESERVE name[, name …] [from=] [until=|for=|nights=] [wait=] [note=] [key=]: all or nothing, under one number",
                "RESERVE Room 1: from now until it is cancelled",
                "RESERVE Room * for=2h: any one that is free, for two hours",
                "RESERVE Room 1, Hall 2 from=2026-12-24 nights=3 note=\"two adults\"",
                "RESERVE Board 3 until=quit: as long as this connection lasts",
                "RESERVE GPU * for=2h wait=30m: if there is none, wait in the queue; * QUEUE tells the place",
                "key=K (after IAM): repeating the request is safe, it gives the same number",
            ],
        ],
        Verb::Cancel => [
            &[
                "CANCELAR #42: toda la reserva",
                "CANCELAR Habitación 1[, …]: solo ese recurso deja su reserva",
            ],
            &[
                "CANCEL #42: the whole reservation",
                "CANCEL Room 1[, …]: only that resource leaves its reservation",
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
            &["CUANDO nombre[, …] [por=|noches=] [desde=]: lo antes que se podría reservar eso"],
            &["WHEN name[, …] [for=|nights=] [from=]: the earliest that this could be reserved"],
        ],
        Verb::Verify => [
            &["VERIFICAR #42 [nombre]: ¿está vigente ahora?"],
            &["VERIFY #42 [name]: is it in force now?"],
        ],
        Verb::Watch => [
            &[
                "OBSERVAR [patrón] [tras=]: avisa de cada cambio desde ahora, o después del suceso tras=",
            ],
            &[
                "WATCH [pattern] [after=]: tells every change from now on, or after the event after=",
            ],
        ],
        Verb::IAm => [
            &["SOY ana: las reservas que siguen son de ana"],
            &["IAM ana: what is reserved from now on is ana's"],
        ],
        Verb::Add => [
            &["ALTA nombre[, …]: recursos nuevos; ALTA Habitación 4..50 da de alta 47"],
            &["ADD name[, …]: new resources; ADD Room 4..50 adds 47"],
        ],
        Verb::Remove => [
            &["BAJA nombre[, …]: quita recursos que no tienen reservas"],
            &["REMOVE name[, …]: takes out resources that have no reservations"],
        ],
        Verb::Status => [&["ESTADO: cifras del servidor"], &["STATUS: figures of the server"]],
        Verb::Help => {
            [&["AYUDA [verbo]: lo que se puede decir"], &["HELP [verb]: what can be said"]]
        }
        Verb::Quit => [
            &["SALIR: termina lo reservado con hasta=salir y cierra"],
            &["QUIT: ends what was reserved with until=quit, and closes"],
        ],
    }
}

/// The lines for one verb, or the first line of each.
pub fn lines(verb: Option<Verb>, lang: Lang) -> Vec<&'static str> {
    let of = |verb| -> &'static [&'static str] {
        let [es, en] = rows(verb);
        lang.pick(es, en)
    };
    match verb {
        Some(verb) => of(verb).to_vec(),
        None => VERBS.iter().map(|(verb, ..)| of(*verb)[0]).collect(),
    }
}

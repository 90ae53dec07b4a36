//! `RESERVAR`, `RESERVE`.

use std::rc::Rc;

use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use super::session::{Session, Wait};
use super::{CommandContext, RequestTime};
use crate::inventory::names::NameTexts;
use crate::inventory::{Event, Grant, Refusal, Request, Reservation, Start};
use crate::limits::{KEY_MAX_BYTES, NOTE_MAX_BYTES, WAIT_MAX_MS};
use crate::text::{Opt, excerpt, localize};

pub const HELP_ES: &[&str] = &[
    "RESERVAR nombre[, nombre …] [desde=] [hasta=|por=|noches=] [espera=] [nota=] [clave=]: todo o nada, con un solo número",
    "RESERVAR Habitación 1: desde ahora hasta que se cancele",
    "RESERVAR Habitación * por=2h: cualquiera que esté libre, dos horas",
    "RESERVAR Habitación 1, Sala 2 desde=2026-12-24 noches=3 nota=\"dos adultos\"",
    "RESERVAR Placa 3 hasta=salir: mientras dure esta conexión",
    "RESERVAR GPU * por=2h espera=30m: si no hay, espera en la cola; * COLA indica tu lugar",
    "clave=K (después de SOY): repetir la petición es seguro y da el mismo número",
];

pub const HELP_EN: &[&str] = &[
    "RESERVE name[, name …] [from=] [until=|for=|nights=] [wait=] [note=] [key=]: all or nothing, under one number",
    "RESERVE Room 1: from now until it is cancelled",
    "RESERVE Room * for=2h: any one that is free, for two hours",
    "RESERVE Room 1, Hall 2 from=2026-12-24 nights=3 note=\"two adults\"",
    "RESERVE Board 3 until=quit: as long as this connection lasts",
    "RESERVE GPU * for=2h wait=30m: if none is free, wait in the queue; * QUEUE shows your place",
    "key=K (after IAM): repeating the request is safe and returns the same number",
];

pub fn parse(mut line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let selectors = line.selectors()?;
    if line.has_no_options() {
        return Ok(Command::Reserve(Request::from_now(selectors, line.request_time.now.wall)));
    }
    let when = line.when()?;
    let interval = line.interval(&when)?;
    let note = line.text_value(Opt::Note, NOTE_MAX_BYTES)?.filter(|note| !note.is_empty());
    let key = line.text_value(Opt::Key, KEY_MAX_BYTES)?;
    if key.as_ref().is_some_and(String::is_empty) {
        return Err(line.empty(Opt::Key));
    }
    let wait_ms = wait_ms(&mut line)?;
    Ok(Command::Reserve(Request { selectors, when, interval, note, key, wait_ms }))
}

fn wait_ms(line: &mut Line) -> Result<Option<i64>, ErrorReply> {
    let Some(text) = line.value(Opt::Wait) else { return Ok(None) };
    match line.duration(Opt::Wait, &text)? {
        wait_ms if wait_ms <= WAIT_MAX_MS => Ok(Some(wait_ms)),
        _ => Err(ErrorReply::bad(localize!(
            line.lang,
            "{}={}: la espera máxima es 7d",
            "{}={}: the longest wait is 7d",
            Opt::Wait.word(line.lang),
            excerpt(&text),
        ))),
    }
}

/// Grants a request or puts it in the queue. A request that waits is answered with its position.
pub fn run(
    request: Request,
    session: &mut Session,
    context: &mut CommandContext,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let RequestTime { now, zone } = context.request_time;
    let is_dated = request.when.start != Start::Default;
    let reservation = match context.inventory.reserve(&request, &session.principal, zone)? {
        Grant::New(reservation) => {
            context.apply_and_log(Event::Reserved(Rc::clone(&reservation)));
            reservation
        }
        Grant::Duplicate(number) => {
            context.inventory.keep_alive(number, session.id());
            Rc::clone(context.inventory.live(number)?)
        }
        Grant::Wait(wants) => {
            let targets = context.inventory.target_text(&wants.targets, &request.selectors);
            let principal = session.principal.clone();
            let position = context.inventory.wait(request, wants, principal, now, zone);
            let wait = Wait { lang: reply.lang, eol: reply.eol, is_dated, targets };
            reply.line(&wait.notice(position));
            session.wait = Some(Box::new(wait));
            return Ok(());
        }
    };
    push_granted(&reservation, is_dated, context.inventory.names().texts(), reply);
    Ok(())
}

/// Appends `OK RESERVADO #42 Habitación 1[, …] [desde=… hasta=…]`. The interval is included if the
/// reservation has an end, or if a start was requested (`is_dated`).
pub fn push_granted(
    reservation: &Reservation,
    is_dated: bool,
    texts: &NameTexts,
    reply: &mut Reply,
) {
    reply.localized("OK RESERVADO ", "OK RESERVED ");
    reply.target_names(reservation.number, reservation.targets(), texts);
    if is_dated || !reservation.until.is_never() || reservation.session().is_some() {
        reply.from(reservation).until(reservation);
    }
    reply.end_line();
}

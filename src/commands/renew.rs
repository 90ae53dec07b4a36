//! `RENOVAR`, `RENEW`.

use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use super::session::Session;
use super::{CommandContext, RequestTime};
use crate::inventory::{End, Number, Refusal, WhenError};
use crate::text::localize;

pub const HELP_ES: &[&str] = &[
    "RENOVAR #42 por=2h|hasta=2026-12-27: adelanta o retrasa el final de toda la reserva",
    "por= cuenta desde ahora, o desde su principio si aún no ha llegado",
];

pub const HELP_EN: &[&str] = &[
    "RENEW #42 for=2h|until=2026-12-27: moves the end of the whole reservation, later or earlier",
    "for= counts from now, or from its start if that is still ahead",
];

pub fn parse(mut line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let usage = |line: &Line| line.usage("#número por=|hasta=", "#number for=|until=");
    let digits = line.targets.strip_prefix('#').ok_or_else(|| usage(&line))?;
    let number = line.number(digits)?;
    match line.end()? {
        End::Quit => Err(ErrorReply::bad(localize!(
            line.lang,
            "RENOVAR con hasta=salir necesita también por=, por ejemplo hasta=salir por=60s",
            "RENEW with until=quit also needs for=, for example until=quit for=60s",
        ))),
        End::Until(until) if until <= line.request_time.now.wall => {
            Err(line.when_error(WhenError::Past))
        }
        end @ (End::For(_) | End::Until(_) | End::KeepAlive(_)) => {
            Ok(Command::Renew { number, end })
        }
        End::Open | End::Nights(_) => Err(usage(&line)),
    }
}

pub fn run(
    number: Number,
    end: End,
    session: &Session,
    context: &mut CommandContext,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let RequestTime { now, zone } = context.request_time;
    let event = context.inventory.renew(number, end, now, zone)?;
    if let Some(event) = event {
        context.apply_and_log(event);
    }
    if matches!(end, End::KeepAlive(_)) {
        context.inventory.keep_alive(number, session.id());
    }
    let reservation = context.inventory.live(number)?;
    reply.localized("OK RENOVADO ", "OK RENEWED ");
    reply.target_names(number, reservation.targets(), context.inventory.names().texts());
    reply.until(reservation).end_line();
    Ok(())
}

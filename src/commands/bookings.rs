//! `RESERVAS`, `BOOKINGS`: the reservations and their holders.

use std::fmt::Write;
use std::rc::Rc;

use super::list::{begin, pattern_of};
use super::parse::{Command, ErrorReply, Line};
use super::reply::{PrintedEnd, Reply};
use super::{CommandContext, Flow};
use crate::conn::{Eol, ReplyStream};
use crate::inventory::names::{NameTexts, normalize};
use crate::inventory::{
    End, Interval, Refusal, Reservation, ResourceId, Selector, Start, WhenError,
};
use crate::text::{Lang, Opt};
use crate::time::{Round, Time, Zone};

pub const HELP_ES: &[&str] = &[
    "RESERVAS [patrón] [titular=] [desde=] [hasta=]: quién tiene qué; número, nombre, titular, desde, hasta, nota",
];

pub const HELP_EN: &[&str] = &[
    "BOOKINGS [pattern] [holder=] [from=] [until=]: who holds what; number, name, holder, from, until, note",
];

pub fn parse(mut line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let selector = line.one_selector()?;
    let holder = line.value(Opt::Holder).map(|text| normalize(&text).into_owned());
    if holder.as_ref().is_some_and(String::is_empty) {
        return Err(line.empty(Opt::Holder));
    }
    let from = match line.start()? {
        Start::Default => Time::MIN,
        Start::Now => line.request_time.now.wall,
        Start::At(from) => from,
    };
    let until = match line.end()? {
        End::Quit | End::KeepAlive(_) => return Err(line.quit_not_allowed()),
        End::Until(until) => until,
        End::Open | End::For(_) | End::Nights(_) => Time::MAX,
    };
    if from >= until {
        return Err(line.when_error(WhenError::Backwards));
    }
    Ok(Command::Bookings { selector, holder, interval: Interval { from, until } })
}

pub fn run(
    selector: Option<Selector>,
    holder: Option<&str>,
    interval: Interval,
    context: &CommandContext,
    reply: &mut Reply,
) -> Result<Flow, Refusal> {
    let pattern = pattern_of(selector, context)?;
    let rows = context.inventory.bookings(pattern.as_ref(), holder, interval);
    let texts = context.inventory.names().texts().clone();
    let list = BookingList::new(texts, rows, reply);
    Ok(begin(list, reply))
}

/// `OK 1 RESERVAS` and lines of the form `#42⇥name⇥holder⇥desde⇥hasta⇥note`.
struct BookingList {
    texts: NameTexts,
    rows: std::vec::IntoIter<(ResourceId, Rc<Reservation>)>,
    /// The number of rows at the start of the list. Their memory is freed with the list, not as
    /// rows are sent.
    row_count: usize,
    zone: Zone,
    lang: Lang,
    eol: Eol,
}

impl BookingList {
    /// Creates the list and appends its first line.
    fn new(
        texts: NameTexts,
        rows: Vec<(ResourceId, Rc<Reservation>)>,
        reply: &mut Reply,
    ) -> BookingList {
        let (lang, eol, zone, row_count) = (reply.lang, reply.eol, reply.zone, rows.len());
        reply.list_head(row_count, lang.localized("RESERVAS", "BOOKINGS"));
        BookingList { texts, rows: rows.into_iter(), row_count, zone: zone.clone(), lang, eol }
    }

    fn push_row(&self, id: ResourceId, reservation: &Reservation, row: &mut String) {
        let _ = write!(row, "#{}\t{}\t", reservation.number, self.texts.name(id));
        row.push_str(reservation.holder.as_deref().unwrap_or("-"));
        row.push('\t');
        row.push_str(&self.zone.print(reservation.from, Round::Down));
        row.push('\t');
        row.push_str(&PrintedEnd::of(reservation, self.lang, &self.zone));
        row.push('\t');
        row.push_str(reservation.note().unwrap_or("-"));
        row.push_str(self.eol.as_str());
    }
}

impl ReplyStream for BookingList {
    fn fill(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool {
        let full = out.len() + bytes;
        let mut row = String::new();
        while let Some((id, reservation)) = self.rows.next() {
            row.clear();
            self.push_row(id, &reservation, &mut row);
            out.extend_from_slice(row.as_bytes());
            if out.len() >= full {
                return self.rows.len() > 0;
            }
        }
        false
    }

    /// Includes the reservations, which stay in memory while a row refers to them, even after they
    /// end.
    fn retained_bytes(&self) -> usize {
        const ROW_BYTES: usize =
            size_of::<(ResourceId, Rc<Reservation>)>() + size_of::<Reservation>() + 16;
        self.row_count * ROW_BYTES + self.texts.retained_bytes()
    }

    fn name_epoch(&self) -> u64 {
        self.texts.name_epoch()
    }
}

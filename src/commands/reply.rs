//! What is said back: refusals as text, the `OK` lines, and the lists, which
//! are made while they are sent.

use std::fmt::Write;
use std::rc::Rc;

use super::parse::ErrorReply;
use super::words::{Lang, Verb, excerpt, localize};
use super::{push, push_all};
use crate::conn::{Eol, ReplyStream};
use crate::inventory::event::push_names;
use crate::inventory::names::NameTexts;
use crate::inventory::queue::WaitLimit;
use crate::inventory::{Busy, Earliest, NextFit, Number, Refusal, Reservation, ResourceId};
use crate::limits::{
    CANCEL_LOOKS, NAME_MAX_BYTES, WAIT_MATCH_BYTES, WAIT_PATTERNS_MAX, WAIT_TARGETS_MAX,
    WAITERS_MAX,
};
use crate::text::push_quoted;
use crate::time::{FormattedTime, Round, Zone};

/// A refusal as code and text.
pub fn fault(refusal: Refusal, lang: Lang, zone: &Zone) -> ErrorReply {
    let code = refusal.code();
    let text = match refusal {
        Refusal::Busy(busy) => busy_text(&busy, lang, zone),
        Refusal::NotYetActive { number, from } => localize!(
            lang,
            "#{} aún no ha empezado; empieza el {}",
            "#{} has not started; it starts at {}",
            number,
            zone.text(from, Round::Down),
        ),
        Refusal::EndsTooEarly { number, from } => localize!(
            lang,
            "#{} empieza el {}; el final debe ser posterior",
            "#{} starts at {}; the end must be later",
            number,
            zone.text(from, Round::Down),
        ),
        Refusal::NoExtension { number, name, booking, next } => {
            let mut text = localize!(
                lang,
                "«{}» no está libre tanto tiempo: #{}",
                "'{}' is not free for that long: #{}",
                name,
                booking.number
            );
            push_holding(&next, lang, zone, &mut text);
            text + &localize!(
                lang,
                "; #{} se puede renovar hasta {}",
                "; #{} can be renewed until {}",
                number,
                zone.text(booking.from, Round::Down),
            )
        }
        Refusal::Several { name, numbers, is_all } => several_text(&name, &numbers, is_all, lang),
        other => plain_text(other, lang),
    };
    ErrorReply { code, text }
}

fn plain_text(refusal: Refusal, lang: Lang) -> String {
    match refusal {
        Refusal::NoResource(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => localize!(
            lang,
            "no existe «{}»; LISTAR * dice lo que está libre, y una reserva se escribe #{}",
            "there is no '{}'; LIST * tells what is free, and a reservation is written #{}",
            excerpt(&name),
            excerpt(&name),
        ),
        Refusal::NoResource(name) => localize!(
            lang,
            "no existe «{}»; LISTAR * muestra lo que está libre",
            "there is no '{}'; LIST * shows what is free",
            excerpt(&name),
        ),
        Refusal::NoMatch(pattern) => {
            localize!(
                lang,
                "ningún recurso coincide con «{}»",
                "no resource matches '{}'",
                excerpt(&pattern),
            )
        }
        Refusal::NeverIssued(number) => {
            localize!(lang, "#{} no existe", "#{} was never issued", number,)
        }
        Refusal::HistoryGone { asked, floor, last } => localize!(
            lang,
            "tras={} no está disponible; el servidor guarda los sucesos posteriores a {}, hasta el {}; usa OBSERVAR tras={}",
            "after={} is not available; the server keeps the events after {}, up to {}; use WATCH after={}",
            asked,
            floor,
            last,
            if asked > last { last } else { floor },
        ),
        Refusal::Expired(number) => localize!(lang, "#{} ya terminó", "#{} is over", number),
        Refusal::Duplicate(what) => {
            localize!(lang, "«{}» aparece dos veces", "'{}' is given twice", excerpt(&what),)
        }
        Refusal::KeyNeedsHolder => localize!(
            lang,
            "clave= necesita un titular; envía antes SOY nombre",
            "key= needs a holder; send IAM name first",
        ),
        Refusal::KeyUsed { key, number } => localize!(
            lang,
            "la clave «{}» ya es de otra petición tuya, la de #{}; usa otra clave",
            "the key '{}' already belongs to another request of yours, that of #{}; use another key",
            excerpt(&key),
            number,
        ),
        Refusal::KeyWaiting(key) => localize!(
            lang,
            "la clave «{}» ya es de otra petición tuya, que está en espera; usa otra clave",
            "the key '{}' already belongs to another request of yours, which is waiting; use another key",
            excerpt(&key),
        ),
        Refusal::NotYours { what, number, holder } => localize!(
            lang,
            "{}: #{} es de {}; su titular debe decir antes SOY {}",
            "{}: #{} is held by {}; its holder must say IAM {} first",
            excerpt(&what),
            number,
            holder,
            holder,
        ),
        Refusal::NotReserved(name) => {
            localize!(
                lang,
                "«{}» no tiene ninguna reserva",
                "'{}' has no reservation",
                excerpt(&name),
            )
        }
        Refusal::NotPartOf { number, name } => localize!(
            lang,
            "#{} no incluye «{}», o ya no lo incluye",
            "#{} does not include '{}', or no longer does",
            number,
            excerpt(&name),
        ),
        Refusal::Exists { name, existing } => localize!(
            lang,
            "«{}» ya existe como «{}»; no se ha dado de alta nada",
            "'{}' already exists as '{}'; nothing was added",
            excerpt(&name),
            excerpt(&existing),
        ),
        Refusal::StillReserved { name, number } => localize!(
            lang,
            "«{}» tiene reservas, la primera #{}; no se ha dado de baja nada",
            "'{}' has reservations, the first is #{}; nothing was removed",
            excerpt(&name),
            number,
        ),
        Refusal::TooManyPatterns { patterns, most } => localize!(
            lang,
            "{} patrones son demasiados; con tantos recursos, una línea admite {} como máximo",
            "{} patterns are too many; with this many resources, a line takes at most {}",
            patterns,
            most,
        ),
        Refusal::TooMuchWaits(limit) => too_much_waits(limit, lang),
        Refusal::TooManyResources(most) => localize!(
            lang,
            "el servidor está lleno: el límite es de {} recursos (--max-resources)",
            "the server is full: the limit is {} resources (--max-resources)",
            most,
        ),
        Refusal::TooManyReservations(most) => localize!(
            lang,
            "el servidor está lleno: el límite es de {} reservas (--max-reservations)",
            "the server is full: the limit is {} reservations (--max-reservations)",
            most,
        ),
        Refusal::TooManyToSearch(name) => localize!(
            lang,
            "«{}» tiene más de {} reservas, demasiadas para buscar la tuya por el nombre; usa CANCELAR #número",
            "'{}' has more than {} reservations, too many to find yours by the name; use CANCEL #number",
            excerpt(&name),
            CANCEL_LOOKS,
        ),
        Refusal::OutOfRange => {
            localize!(
                lang,
                "la fecha debe estar entre los años 1970 y 9999",
                "the date must be within the years 1970 to 9999"
            )
        }
        Refusal::Busy(_)
        | Refusal::NotYetActive { .. }
        | Refusal::NoExtension { .. }
        | Refusal::EndsTooEarly { .. }
        | Refusal::Several { .. } => String::new(),
    }
}

fn several_text(name: &str, numbers: &[Number], is_all: bool, lang: Lang) -> String {
    const SHOWN: usize = 8;
    let mut list: Vec<_> = numbers.iter().take(SHOWN).map(|n| format!("#{n}")).collect();
    if numbers.len() > SHOWN {
        list.push("…".to_owned());
    }
    localize!(
        lang,
        "«{}» tiene {}{} reservas posibles: {}; usa CANCELAR #número",
        "'{}' has {}{} matching reservations: {}; use CANCEL #number",
        excerpt(name),
        if is_all { "" } else { lang.localized("al menos ", "at least ") },
        numbers.len(),
        list.join(", "),
    )
}

/// What is in the way, and when the request would fit.
fn busy_text(busy: &Busy, lang: Lang, zone: &Zone) -> String {
    let mut text = match (&busy.pattern, &busy.held) {
        (None, Some((name, ..))) => {
            localize!(lang, "«{}» no está libre: ", "'{}' is not free: ", excerpt(name))
        }
        (Some(pattern), Some((name, ..))) => localize!(
            lang,
            "ningún recurso que coincide con «{}» está libre todo ese tiempo; «{}»: ",
            "no resource matching '{}' is free for all that time; '{}': ",
            excerpt(pattern),
            excerpt(name),
        ),
        (pattern, None) => localize!(
            lang,
            "no hay suficientes recursos libres que coincidan con «{}»",
            "not enough free resources match '{}'",
            excerpt(pattern.as_deref().unwrap_or_default()),
        ),
    };
    if let Some((_, booking, reservation)) = &busy.held {
        text += &format!("#{}", booking.number);
        push_holding(reservation, lang, zone, &mut text);
        if busy.open && booking.from > busy.from {
            text += &localize!(
                lang,
                "; libre hasta {}: indica un final anterior (por=, hasta=)",
                "; free until {}: give an earlier end (for=, until=)",
                zone.text(booking.from, Round::Down),
            );
        }
    }
    if busy.queue > 0 {
        text += &localize!(lang, "; en cola: {}", "; in the queue: {}", busy.queue);
    }
    text += &match busy.fit {
        NextFit::AsAsked(Earliest::At(time)) => {
            localize!(lang, "; libre desde {}", "; free from {}", zone.text(time, Round::Up))
        }
        NextFit::SameLength(time) => localize!(
            lang,
            "; así no cabrá nunca; con esa duración, libre desde {}",
            "; never fits as asked; that length is free from {}",
            zone.text(time, Round::Up),
        ),
        NextFit::AsAsked(Earliest::Never) => {
            localize!(lang, "; no se sabe cuándo quedará libre", "; no end is known",)
        }
        NextFit::AsAsked(Earliest::Unknown) => localize!(
            lang,
            "; no queda libre pronto; prueba con otro desde=",
            "; not free soon; try another from=",
        ),
    };
    text
}

/// By whom, since when, until when, the note.
fn push_holding(reservation: &Reservation, lang: Lang, zone: &Zone, text: &mut String) {
    if let Some(holder) = &reservation.holder {
        *text += &localize!(lang, " titular={}", " holder={}", holder);
    }
    text.push(' ');
    push_interval(reservation, lang, zone, text);
    if let Some(note) = reservation.note() {
        push_quoted(lang.localized(" nota=", " note="), &excerpt(note), text);
    }
}

/// `desde=… hasta=…`
fn push_interval(reservation: &Reservation, lang: Lang, zone: &Zone, text: &mut String) {
    text.push_str(lang.localized("desde=", "from="));
    text.push_str(&zone.print(reservation.from, Round::Down));
    text.push_str(lang.localized(" hasta=", " until="));
    text.push_str(&end(reservation, lang, zone));
}

fn end(reservation: &Reservation, lang: Lang, zone: &Zone) -> End {
    if reservation.session().is_some() {
        End::Word(lang.localized("salir", "quit"))
    } else if reservation.until.is_never() {
        End::Word("-")
    } else {
        End::Time(zone.print(reservation.until, Round::Up))
    }
}

/// What is told of an end.
enum End {
    Word(&'static str),
    Time(FormattedTime),
}

impl std::ops::Deref for End {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            End::Word(word) => word,
            End::Time(time) => time,
        }
    }
}

/// `OK RESERVADO #42 Habitación 1[, …] [desde=… hasta=…]`; the interval where
/// there is an end or a start was asked for (`dated`).
pub fn reserved(
    reservation: &Reservation,
    dated: bool,
    texts: &NameTexts,
    lang: Lang,
    zone: &Zone,
    out: &mut Vec<u8>,
) {
    push_number(lang.localized("OK RESERVADO #", "OK RESERVED #"), reservation.number.0, out);
    push(" ", out);
    push_names(reservation.targets(), texts, |text| push(text, out));
    if dated || !reservation.until.is_never() || reservation.session().is_some() {
        push_all(
            [lang.localized(" desde=", " from="), &zone.print(reservation.from, Round::Down)],
            out,
        );
        push_end(reservation, lang, zone, out);
    }
}

/// Appends `hasta=…`, and how long the reservation lives without a renewal.
fn push_end(reservation: &Reservation, lang: Lang, zone: &Zone, out: &mut Vec<u8>) {
    push_all([lang.localized(" hasta=", " until="), &end(reservation, lang, zone)], out);
    if let Some(keep_alive) = reservation.keep_alive() {
        let seconds = keep_alive.ms / 1000;
        push_all([lang.localized(" por=", " for="), itoa::Buffer::new().format(seconds), "s"], out);
    }
}

/// [`reserved`] or [`cancelled`] for one resource without dates, of which number and name
/// are at hand as they are shown, `#42 Habitación 1`, with its ending.
#[inline]
pub fn done_one(verb: Verb, told: &str, lang: Lang, eol: Eol, out: &mut Vec<u8>) {
    // Each by itself: what is of a known length is not copied by a call.
    match (verb, lang) {
        (Verb::Reserve, Lang::Es) => out.extend_from_slice(b"OK RESERVADO "),
        (Verb::Reserve, Lang::En) => out.extend_from_slice(b"OK RESERVED "),
        (_, Lang::Es) => out.extend_from_slice(b"OK CANCELADO "),
        (_, Lang::En) => out.extend_from_slice(b"OK CANCELLED "),
    }
    push(told, out);
    match eol {
        Eol::Lf => out.push(b'\n'),
        Eol::CrLf => out.extend_from_slice(b"\r\n"),
    }
}

/// `OK RENOVADO #42 Habitación 1 hasta=…`
pub fn renewed(
    reservation: &Reservation,
    texts: &NameTexts,
    lang: Lang,
    zone: &Zone,
    out: &mut Vec<u8>,
) {
    push_number(lang.localized("OK RENOVADO #", "OK RENEWED #"), reservation.number.0, out);
    push(" ", out);
    push_names(reservation.targets(), texts, |text| push(text, out));
    push_end(reservation, lang, zone, out);
}

/// `OK CANCELADO #42 Habitación 1[, …]`: the number stands before the first
/// of its names, and again where it changes.
pub fn cancelled(
    released: &[(Number, ResourceId)],
    texts: &NameTexts,
    lang: Lang,
    out: &mut Vec<u8>,
) {
    push(lang.localized("OK CANCELADO", "OK CANCELLED"), out);
    let mut last = None;
    for (number, id) in released {
        if last.is_some() {
            push(",", out);
        }
        if last != Some(number) {
            push_number(" #", number.0, out);
        }
        last = Some(number);
        push_all([" ", texts.name(*id)], out);
    }
}

/// `OK VIGENTE #42 Habitación 1 quedan=1234s`
pub fn valid(
    reservation: &Reservation,
    ids: &[ResourceId],
    left_ms: Option<i64>,
    texts: &NameTexts,
    lang: Lang,
    out: &mut Vec<u8>,
) {
    push_number(lang.localized("OK VIGENTE #", "OK VALID #"), reservation.number.0, out);
    push(" ", out);
    push_names(ids, texts, |text| push(text, out));
    let label = lang.localized(" quedan=", " left=");
    match left_ms {
        Some(left_ms) => push_all([label, itoa::Buffer::new().format(left_ms / 1000), "s"], out),
        None => push_all([label, "-"], out),
    }
}

fn push_number(before: &str, number: u64, out: &mut Vec<u8>) {
    push_all([before, itoa::Buffer::new().format(number)], out);
}

/// `OK 2 DISPONIBLES` and a name a line: the names as they were and a bit
/// for each that was free. A thousand of these cost a thousand bitmaps.
pub struct FreeList {
    texts: NameTexts,
    bits: Vec<u64>,
    next: usize,
    /// Names that are not made into text yet.
    left: usize,
    eol: Eol,
}

impl FreeList {
    /// The list, with its first line appended to `out`.
    pub fn new(texts: NameTexts, bits: Vec<u64>, lang: Lang, eol: Eol, out: &mut Vec<u8>) -> Self {
        let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
        push_head(count as usize, lang.localized("DISPONIBLES", "AVAILABLE"), eol, out);
        FreeList { texts, bits, next: 0, left: count as usize, eol }
    }
}

impl ReplyStream for FreeList {
    fn fill(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool {
        let full = out.len() + bytes;
        // Not twice of it, as growing by itself would take; and for a short list no
        // more than it can be.
        const ROW_MAX_BYTES: usize = NAME_MAX_BYTES + 2;
        out.reserve_exact((bytes + ROW_MAX_BYTES).min(self.left * ROW_MAX_BYTES));
        while let Some(word) = self.bits.get_mut(self.next) {
            while *word != 0 {
                let id = self.next * 64 + word.trailing_zeros() as usize;
                *word &= *word - 1;
                self.left -= 1;
                out.extend_from_slice(self.texts.name(ResourceId::at(id)).as_bytes());
                out.extend_from_slice(self.eol.as_str().as_bytes());
                if out.len() >= full {
                    return true;
                }
            }
            self.next += 1;
        }
        false
    }

    fn retained_bytes(&self) -> usize {
        self.bits.capacity() * size_of::<u64>() + self.texts.retained_bytes()
    }

    fn name_epoch(&self) -> u64 {
        self.texts.name_epoch()
    }
}

/// `OK 1 RESERVAS` and `#42⇥name⇥holder⇥desde⇥hasta⇥note` lines.
pub struct BookingList {
    texts: NameTexts,
    rows: std::vec::IntoIter<(ResourceId, Rc<Reservation>)>,
    /// What it keeps memory for: rows that were sent are not given back singly.
    kept: usize,
    zone: Zone,
    lang: Lang,
    eol: Eol,
}

impl BookingList {
    /// The list, with its first line appended to `out`.
    pub fn new(
        texts: NameTexts,
        rows: Vec<(ResourceId, Rc<Reservation>)>,
        zone: &Zone,
        lang: Lang,
        eol: Eol,
        out: &mut Vec<u8>,
    ) -> Self {
        push_head(rows.len(), lang.localized("RESERVAS", "BOOKINGS"), eol, out);
        let kept = rows.len();
        BookingList { texts, rows: rows.into_iter(), kept, zone: zone.clone(), lang, eol }
    }

    fn row(&self, id: ResourceId, reservation: &Reservation, row: &mut String) {
        let _ = write!(row, "#{}\t{}\t", reservation.number, self.texts.name(id));
        row.push_str(reservation.holder.as_deref().unwrap_or("-"));
        row.push('\t');
        row.push_str(&self.zone.print(reservation.from, Round::Down));
        row.push('\t');
        row.push_str(&end(reservation, self.lang, &self.zone));
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
            self.row(id, &reservation, &mut row);
            out.extend_from_slice(row.as_bytes());
            if out.len() >= full {
                return self.rows.len() > 0;
            }
        }
        false
    }

    /// Includes the reservations, which stay in memory while a row shows them, even after they end.
    fn retained_bytes(&self) -> usize {
        const ROW_BYTES: usize =
            size_of::<(ResourceId, Rc<Reservation>)>() + size_of::<Reservation>() + 16;
        self.kept * ROW_BYTES + self.texts.retained_bytes()
    }

    fn name_epoch(&self) -> u64 {
        self.texts.name_epoch()
    }
}

/// The first line of a list: `OK <n> <WORD>`.
pub fn push_head(count: usize, word: &str, eol: Eol, out: &mut Vec<u8>) {
    push_number("OK ", count as u64, out);
    push_all([" ", word, eol.as_str()], out);
}

fn too_much_waits(limit: WaitLimit, lang: Lang) -> String {
    match limit {
        WaitLimit::Waiters => localize!(
            lang,
            "la cola está llena: ya hay {} peticiones en espera; prueba más tarde, o sin espera=",
            "the queue is full: {} requests are waiting; try later, or without wait=",
            WAITERS_MAX,
        ),
        WaitLimit::Targets => localize!(
            lang,
            "las peticiones en espera ya piden el máximo de {} nombres y patrones; espera un solo nombre, o prueba más tarde",
            "the waiting requests already ask for the maximum of {} names and patterns; wait for a single name, or try later",
            WAIT_TARGETS_MAX,
        ),
        WaitLimit::TargetsOfAddress(most) => localize!(
            lang,
            "las peticiones en espera desde tu dirección ya piden el máximo de {} nombres y patrones; espera un solo nombre, o prueba más tarde",
            "the waiting requests from your address already ask for the maximum of {} names and patterns; wait for a single name, or try later",
            most,
        ),
        WaitLimit::Patterns | WaitLimit::MatchBytes => localize!(
            lang,
            "las peticiones en espera ya tienen el máximo de patrones distintos ({}); espera un nombre, o prueba más tarde",
            "the waiting requests already have the maximum of different patterns ({}); wait for a name, or try later",
            if limit == WaitLimit::Patterns {
                WAIT_PATTERNS_MAX.to_string()
            } else {
                format!("{} MiB", WAIT_MATCH_BYTES >> 20)
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::names::Names;
    use crate::limits::LIST_PIECE_BYTES;

    /// A thousand may read one: growing to twice of what is needed would be too much.
    #[test]
    fn a_piece_of_a_list_takes_no_more_memory_than_it_is_long() {
        let mut names = Names::default();
        for at in 0..1000 {
            names.add(&format!("{} {at}", "x".repeat(100)));
        }
        let mut out = Vec::new();
        let bits = vec![u64::MAX; 1000 / 64];
        let mut list = FreeList::new(names.texts().clone(), bits, Lang::Es, Eol::Lf, &mut out);
        assert!(list.fill(LIST_PIECE_BYTES, &mut out));
        assert!((LIST_PIECE_BYTES..LIST_PIECE_BYTES + 200).contains(&out.len()));
        assert!(out.capacity() < LIST_PIECE_BYTES + 200, "{}", out.capacity());
    }
}

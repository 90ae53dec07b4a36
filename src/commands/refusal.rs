//! Refusals as codes and texts.

use super::parse::ErrorReply;
use super::reply::PrintedEnd;
use crate::inventory::queue::WaitLimit;
use crate::inventory::{Booking, Busy, Earliest, NextFit, Number, Refusal, Reservation};
use crate::limits::{
    CANCEL_BOOKINGS_MAX, WAIT_MATCH_BYTES, WAIT_PATTERNS_MAX, WAIT_TARGETS_MAX, WAITERS_MAX,
};
use crate::text::{Lang, excerpt, localize, push_quoted};
use crate::time::{Round, Time, Zone};

/// Returns the reply to a refused command.
pub fn error_reply(refusal: Refusal, lang: Lang, zone: &Zone) -> ErrorReply {
    let code = refusal.code();
    let text = Texts { lang, zone }.refusal(refusal);
    ErrorReply { code, text }
}

/// The texts of refusals in one language.
#[derive(Clone, Copy)]
struct Texts<'a> {
    lang: Lang,
    zone: &'a Zone,
}

impl Texts<'_> {
    fn refusal(self, refusal: Refusal) -> String {
        match refusal {
            Refusal::NoResource(name) => self.no_resource(&name),
            Refusal::NoMatch(pattern) => self.no_match(&pattern),
            Refusal::NeverIssued(number) => self.never_issued(number),
            Refusal::Expired(number) => self.expired(number),
            Refusal::Duplicate(what) => self.duplicate(&what),
            Refusal::Busy(busy) => self.busy(&busy),
            Refusal::KeyNeedsHolder => self.key_needs_holder(),
            Refusal::KeyUsed { key, number } => self.key_used(&key, number),
            Refusal::KeyWaiting(key) => self.key_waiting(&key),
            Refusal::NotYours { what, number, holder } => self.not_yours(&what, number, &holder),
            Refusal::NotReserved(name) => self.not_reserved(&name),
            Refusal::Several { name, numbers, is_all } => self.several(&name, &numbers, is_all),
            Refusal::TooManyToSearch(name) => self.too_many_to_search(&name),
            Refusal::NotPartOf { number, name } => self.not_part_of(number, &name),
            Refusal::NoExtension { number, name, booking, next } => {
                self.no_extension(number, &name, &booking, &next)
            }
            Refusal::EndsTooEarly { number, from } => self.ends_too_early(number, from),
            Refusal::HistoryGone { asked, floor, last } => self.history_gone(asked, floor, last),
            Refusal::OutOfRange => self.out_of_range(),
            Refusal::NotYetActive { number, from } => self.not_yet_active(number, from),
            Refusal::Exists { name, existing } => self.exists(&name, &existing),
            Refusal::StillReserved { name, number } => self.still_reserved(&name, number),
            Refusal::TooManyPatterns { patterns, most } => self.too_many_patterns(patterns, most),
            Refusal::WaitLimitReached(limit) => self.too_much_waits(limit),
            Refusal::TooManyResources(most) => self.too_many_resources(most),
            Refusal::TooManyReservations(most) => self.too_many_reservations(most),
        }
    }

    fn no_resource(self, name: &str) -> String {
        let name_text = excerpt(name);
        // A reservation number without its `#` is a frequent mistake.
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return localize!(
                self.lang,
                "no existe «{}»; LISTAR * muestra los recursos libres, y una reserva se escribe #{}",
                "there is no '{}'; LIST * shows the free resources, and a reservation is written #{}",
                name_text,
                name_text,
            );
        }
        localize!(
            self.lang,
            "no existe «{}»; LISTAR * muestra los recursos libres",
            "there is no '{}'; LIST * shows the free resources",
            name_text,
        )
    }

    fn no_match(self, pattern: &str) -> String {
        localize!(
            self.lang,
            "ningún recurso coincide con «{}»",
            "no resource matches '{}'",
            excerpt(pattern),
        )
    }

    fn never_issued(self, number: Number) -> String {
        localize!(self.lang, "#{} no existe", "#{} was never issued", number)
    }

    fn expired(self, number: Number) -> String {
        localize!(self.lang, "#{} ya terminó", "#{} is over", number)
    }

    fn duplicate(self, what: &str) -> String {
        localize!(self.lang, "«{}» aparece dos veces", "'{}' is given twice", excerpt(what))
    }

    fn key_needs_holder(self) -> String {
        localize!(
            self.lang,
            "clave= necesita un titular; envía antes SOY nombre",
            "key= needs a holder; send IAM name first",
        )
    }

    fn key_used(self, key: &str, number: Number) -> String {
        localize!(
            self.lang,
            "la clave «{}» ya es de otra petición tuya, la de #{}; usa otra clave",
            "the key '{}' already belongs to another request of yours, that of #{}; use another key",
            excerpt(key),
            number,
        )
    }

    fn key_waiting(self, key: &str) -> String {
        localize!(
            self.lang,
            "la clave «{}» ya es de otra petición tuya, que está en espera; usa otra clave",
            "the key '{}' already belongs to another request of yours, which is waiting; use another key",
            excerpt(key),
        )
    }

    fn not_yours(self, what: &str, number: Number, holder: &str) -> String {
        // A number that the request gave is not repeated.
        let prefix = if what.starts_with('#') { "" } else { &format!("{}: ", excerpt(what)) };
        localize!(
            self.lang,
            "{}#{} es de {}; su titular debe decir antes SOY {}",
            "{}#{} is held by {}; its holder must say IAM {} first",
            prefix,
            number,
            holder,
            holder,
        )
    }

    fn not_reserved(self, name: &str) -> String {
        localize!(
            self.lang,
            "«{}» no tiene ninguna reserva",
            "'{}' has no reservation",
            excerpt(name),
        )
    }

    fn several(self, name: &str, numbers: &[Number], is_all: bool) -> String {
        const SHOWN: usize = 8;
        let mut list: Vec<_> = numbers.iter().take(SHOWN).map(|n| format!("#{n}")).collect();
        if numbers.len() > SHOWN {
            list.push("…".to_owned());
        }
        localize!(
            self.lang,
            "«{}» tiene {}{} reservas posibles: {}; usa CANCELAR #número",
            "'{}' has {}{} matching reservations: {}; use CANCEL #number",
            excerpt(name),
            if is_all { "" } else { self.lang.localized("al menos ", "at least ") },
            numbers.len(),
            list.join(", "),
        )
    }

    fn too_many_to_search(self, name: &str) -> String {
        localize!(
            self.lang,
            "«{}» tiene más de {} reservas, demasiadas para buscar la tuya por el nombre; usa CANCELAR #número",
            "'{}' has more than {} reservations, too many to find yours by the name; use CANCEL #number",
            excerpt(name),
            CANCEL_BOOKINGS_MAX,
        )
    }

    fn not_part_of(self, number: Number, name: &str) -> String {
        localize!(
            self.lang,
            "#{} no incluye «{}», o ya no lo incluye",
            "#{} does not include '{}', or no longer does",
            number,
            excerpt(name),
        )
    }

    fn no_extension(
        self,
        number: Number,
        name: &str,
        booking: &Booking,
        next: &Reservation,
    ) -> String {
        let mut text = localize!(
            self.lang,
            "«{}» no está libre tanto tiempo: #{}",
            "'{}' is not free for that long: #{}",
            name,
            booking.number
        );
        self.push_holding(next, &mut text);
        text + &localize!(
            self.lang,
            "; #{} se puede renovar hasta {}",
            "; #{} can be renewed until {}",
            number,
            self.zone.text(booking.from, Round::Down),
        )
    }

    fn ends_too_early(self, number: Number, from: Time) -> String {
        localize!(
            self.lang,
            "#{} empieza el {}; el final debe ser posterior",
            "#{} starts at {}; the end must be later",
            number,
            self.zone.text(from, Round::Down),
        )
    }

    fn history_gone(self, asked: u64, floor: u64, last: u64) -> String {
        localize!(
            self.lang,
            "tras={} no está disponible; el servidor guarda los sucesos posteriores a {}, hasta el {}; usa OBSERVAR tras={}",
            "after={} is not available; the server keeps the events after {}, up to {}; use WATCH after={}",
            asked,
            floor,
            last,
            if asked > last { last } else { floor },
        )
    }

    fn out_of_range(self) -> String {
        localize!(
            self.lang,
            "la fecha debe estar entre los años 1970 y 9999",
            "the date must be within the years 1970 to 9999"
        )
    }

    fn not_yet_active(self, number: Number, from: Time) -> String {
        localize!(
            self.lang,
            "#{} aún no ha empezado; empieza el {}",
            "#{} has not started; it starts at {}",
            number,
            self.zone.text(from, Round::Down),
        )
    }

    fn exists(self, name: &str, existing: &str) -> String {
        localize!(
            self.lang,
            "«{}» ya existe como «{}»; no se ha dado de alta nada",
            "'{}' already exists as '{}'; nothing was added",
            excerpt(name),
            excerpt(existing),
        )
    }

    fn still_reserved(self, name: &str, number: Number) -> String {
        localize!(
            self.lang,
            "«{}» tiene reservas, la primera #{}; no se ha dado de baja nada",
            "'{}' has reservations, the first is #{}; nothing was removed",
            excerpt(name),
            number,
        )
    }

    fn too_many_patterns(self, patterns: usize, most: usize) -> String {
        localize!(
            self.lang,
            "{} patrones son demasiados; con tantos recursos, una línea admite {} como máximo",
            "{} patterns are too many; with this many resources, a line takes at most {}",
            patterns,
            most,
        )
    }

    fn too_many_resources(self, most: u32) -> String {
        localize!(
            self.lang,
            "el servidor está lleno: el límite es de {} recursos (--max-resources)",
            "the server is full: the limit is {} resources (--max-resources)",
            most,
        )
    }

    fn too_many_reservations(self, most: u32) -> String {
        localize!(
            self.lang,
            "el servidor está lleno: el límite es de {} reservas (--max-reservations)",
            "the server is full: the limit is {} reservations (--max-reservations)",
            most,
        )
    }
}

/// Texts about the limits of the queue.
impl Texts<'_> {
    fn too_much_waits(self, limit: WaitLimit) -> String {
        match limit {
            WaitLimit::Waiters => localize!(
                self.lang,
                "la cola está llena: ya hay {} peticiones en espera; prueba más tarde, o sin espera=",
                "the queue is full: {} requests are waiting; try later, or without wait=",
                WAITERS_MAX,
            ),
            WaitLimit::Targets => localize!(
                self.lang,
                "las peticiones en espera ya piden el máximo de {} nombres y patrones; espera un solo nombre, o prueba más tarde",
                "the waiting requests already ask for the maximum of {} names and patterns; wait for a single name, or try later",
                WAIT_TARGETS_MAX,
            ),
            WaitLimit::TargetsOfAddress(most) => localize!(
                self.lang,
                "las peticiones en espera desde tu dirección ya piden el máximo de {} nombres y patrones; espera un solo nombre, o prueba más tarde",
                "the waiting requests from your address already ask for the maximum of {} names and patterns; wait for a single name, or try later",
                most,
            ),
            WaitLimit::Patterns => self.too_many_waiting_patterns(&WAIT_PATTERNS_MAX.to_string()),
            WaitLimit::MatchBytes => {
                self.too_many_waiting_patterns(&format!("{} MiB", WAIT_MATCH_BYTES >> 20))
            }
        }
    }

    fn too_many_waiting_patterns(self, most: &str) -> String {
        localize!(
            self.lang,
            "las peticiones en espera ya tienen el máximo de patrones distintos ({}); espera un nombre, o prueba más tarde",
            "the waiting requests already have the maximum of different patterns ({}); wait for a name, or try later",
            most,
        )
    }
}

/// Texts about a request that collides: the booking in the way, and when the request would fit.
impl Texts<'_> {
    fn busy(self, busy: &Busy) -> String {
        let mut text = self.busy_target(busy);
        if let Some((_, booking, reservation)) = &busy.held {
            text += &format!("#{}", booking.number);
            self.push_holding(reservation, &mut text);
            if busy.open && booking.from > busy.from {
                text += &localize!(
                    self.lang,
                    "; libre hasta {}: indica un final anterior (por=, hasta=)",
                    "; free until {}: give an earlier end (for=, until=)",
                    self.zone.text(booking.from, Round::Down),
                );
            }
        }
        if busy.queue > 0 {
            text += &localize!(self.lang, "; en cola: {}", "; in the queue: {}", busy.queue);
        }
        text + &self.next_fit(busy.fit)
    }

    fn busy_target(self, busy: &Busy) -> String {
        match (&busy.pattern, &busy.held) {
            (None, Some((name, ..))) => {
                localize!(self.lang, "«{}» no está libre: ", "'{}' is not free: ", excerpt(name))
            }
            (Some(pattern), Some((name, ..))) => localize!(
                self.lang,
                "ningún recurso que coincide con «{}» está libre todo ese tiempo; «{}»: ",
                "no resource matching '{}' is free for all that time; '{}': ",
                excerpt(pattern),
                excerpt(name),
            ),
            (pattern, None) => localize!(
                self.lang,
                "no hay suficientes recursos libres que coincidan con «{}»",
                "not enough free resources match '{}'",
                excerpt(pattern.as_deref().unwrap_or_default()),
            ),
        }
    }

    fn next_fit(self, fit: NextFit) -> String {
        match fit {
            NextFit::AsAsked(Earliest::At(time)) => localize!(
                self.lang,
                "; libre desde {}",
                "; free from {}",
                self.zone.text(time, Round::Up),
            ),
            NextFit::SameLength(time) => localize!(
                self.lang,
                "; así no cabrá nunca; con esa duración, libre desde {}",
                "; cannot fit as requested; that length is free from {}",
                self.zone.text(time, Round::Up),
            ),
            NextFit::AsAsked(Earliest::Never) => {
                localize!(self.lang, "; no se sabe cuándo quedará libre", "; no end is known")
            }
            NextFit::AsAsked(Earliest::Unknown) => localize!(
                self.lang,
                "; no queda libre pronto; prueba con otro desde=",
                "; not free soon; try another from=",
            ),
        }
    }

    /// Appends the holder, the interval and the note of a reservation.
    fn push_holding(self, reservation: &Reservation, text: &mut String) {
        let Texts { lang, zone } = self;
        if let Some(holder) = &reservation.holder {
            *text += &localize!(lang, " titular={}", " holder={}", holder);
        }
        text.push_str(lang.localized(" desde=", " from="));
        text.push_str(&zone.print(reservation.from, Round::Down));
        text.push_str(lang.localized(" hasta=", " until="));
        text.push_str(&PrintedEnd::of(reservation, lang, zone));
        if let Some(note) = reservation.note() {
            push_quoted(lang.localized(" nota=", " note="), &excerpt(note), text);
        }
    }
}

//! The reservation of a run: how long it lasts for certain, and the replies and notices about it.
//! Time is a parameter.

use std::time::Duration;

use super::clock::BootTime;

/// Time between TERM and KILL for a program, if the reservation lasts that long.
pub const TERM_TO_KILL: Duration = Duration::from_secs(5);

/// Time between KILL and the end of the reservation, if its term allows it. KILL takes effect only
/// after some scheduling, and clocks drift.
const KILL_TO_END: Duration = Duration::from_secs(1);

/// A granted reservation.
#[derive(Debug, Default)]
pub struct Lease {
    /// Its number, as `#42`. Empty before the grant.
    pub number: String,
    /// Its resources, separated by `, ` as in the reply.
    pub names: String,
    /// Its end as the server last reported it.
    pub until: String,
    /// The lifetime that is certain; `None` if it has no end apart from its connection.
    lifetime: Option<Lifetime>,
}

#[derive(Debug, Clone, Copy)]
struct Lifetime {
    end: BootTime,
    /// Time from the request to the end.
    length: Duration,
}

impl Lease {
    /// Sets the lifetime that the server has confirmed. It counts from `sent`, the time before the
    /// request was sent, so the end is never later here than on the server.
    pub fn set_lifetime(&mut self, sent: BootTime, length: Option<Duration>) {
        self.lifetime = length.map(|length| Lifetime { end: sent + length, length });
    }

    /// Returns when the reservation has to be renewed, which is after a third of its term.
    pub fn renew_at(&self) -> Option<BootTime> {
        self.lifetime.map(|Lifetime { end, length }| end - length + length / 3)
    }

    /// Returns when the program must get TERM.
    pub fn term_at(&self) -> Option<BootTime> {
        let kill_at = self.kill_at()?;
        self.lifetime.map(|Lifetime { length, .. }| kill_at - TERM_TO_KILL.min(length / 4))
    }

    /// Returns when the program must be killed.
    pub fn kill_at(&self) -> Option<BootTime> {
        self.lifetime.map(|Lifetime { end, length }| end - KILL_TO_END.min(length / 20))
    }

    pub fn ends_at(&self) -> Option<BootTime> {
        self.lifetime.map(|lifetime| lifetime.end)
    }

    /// Returns the resources, one per line.
    pub fn resources(&self) -> String {
        self.names.replace(", ", "\n")
    }
}

/// A reply about a reservation: `OK WORD #42 names key=value …`.
#[derive(Debug, PartialEq, Eq)]
pub struct OkReply<'a> {
    pub number: &'a str,
    pub names: &'a str,
    options: &'a str,
}

impl<'a> OkReply<'a> {
    pub fn parse(line: &'a str) -> Option<Self> {
        let rest = line.strip_prefix("OK ")?.split_once(' ')?.1;
        OkReply::parse_reservation(rest)
    }

    /// Parses `#42 names key=value …`. Names contain no `=`.
    fn parse_reservation(text: &'a str) -> Option<Self> {
        let (number, rest) = text.split_once(' ').unwrap_or((text, ""));
        is_number(number).then_some(())?;
        let options_at = rest.find('=').map_or(rest.len(), |at| rest[..at].rfind(' ').unwrap_or(0));
        let (names, options) = rest.split_at(options_at);
        Some(OkReply { number, names, options })
    }

    pub fn until(&self) -> Option<&'a str> {
        self.option(&["hasta=", "until="])
    }

    /// Returns the remaining time; `Some(None)` if the end is open.
    pub fn left(&self) -> Option<Option<Duration>> {
        match self.option(&["quedan=", "left="])? {
            "-" => Some(None),
            left => left.strip_suffix('s')?.parse().ok().map(|s| Some(Duration::from_secs(s))),
        }
    }

    fn option(&self, names: &[&str]) -> Option<&'a str> {
        let mut words = self.options.split(' ');
        words.find_map(|word| names.iter().find_map(|name| word.strip_prefix(name)))
    }
}

fn is_number(word: &str) -> bool {
    word.strip_prefix('#').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns the number of the event in a notice: `* 7 RESERVADO …`, `* 7 AVANCE`.
pub fn event_number(notice: &str) -> Option<u64> {
    notice.split(' ').nth(1)?.parse().ok()
}

/// Returns the number of the last event before a watch began: `OK OBSERVANDO tras=7`.
pub fn last_event(reply: &str) -> Option<u64> {
    let mut words = reply.split(' ');
    let number = words
        .find_map(|word| ["tras=", "after="].iter().find_map(|option| word.strip_prefix(option)));
    number?.parse().ok()
}

/// A change of a reservation that a notice reports.
#[derive(Debug, PartialEq, Eq)]
pub enum LeaseEvent<'a> {
    /// The reservation, or a part of it, has ended.
    Ended,
    /// It was renewed until this time.
    Renewed(&'a str),
}

impl<'a> LeaseEvent<'a> {
    /// Parses `* <event> WORD #42 …`. Notices about other reservations give `None`.
    pub fn parse(notice: &'a str, number: &str) -> Option<Self> {
        let mut words = notice.splitn(4, ' ').skip(2);
        let (word, rest) = (words.next()?, words.next()?);
        let reply = OkReply::parse_reservation(rest).filter(|reply| reply.number == number)?;
        match word {
            "CANCELADO" | "CANCELLED" | "VENCIDO" | "EXPIRED" => Some(LeaseEvent::Ended),
            "RENOVADO" | "RENEWED" => reply.until().map(LeaseEvent::Renewed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn program_ends_before_the_reservation() {
        for seconds in [1, 2, 3, 10, 60, 3_600, 315_360_000] {
            let sent = BootTime::from_millis(1_000_000);
            let mut lease = Lease::default();
            lease.set_lifetime(sent, Some(seconds * SECOND));
            let at = |time: Option<BootTime>| time.expect("it has an end");
            let (renew, term) = (at(lease.renew_at()), at(lease.term_at()));
            let (kill, end) = (at(lease.kill_at()), at(lease.ends_at()));
            assert_eq!(renew, sent + seconds * SECOND / 3);
            assert!(renew < term && term < kill && kill < end, "{seconds} s");
            // One renewal may fail without TERM for the program.
            assert!(renew + seconds * SECOND / 3 < term || seconds < 3, "{seconds} s");
            assert!(kill.saturating_duration_since(term) <= TERM_TO_KILL);
            assert!(end.saturating_duration_since(kill) <= KILL_TO_END);
            assert_eq!(end, sent + seconds * SECOND);
        }
        let mut endless = Lease::default();
        endless.set_lifetime(BootTime::from_millis(1_000_000), Some(Duration::from_secs(u64::MAX)));
        assert!(endless.renew_at() < endless.term_at() && endless.term_at() < endless.kill_at());
        let mut open = Lease::default();
        open.set_lifetime(BootTime::from_millis(1_000), None);
        assert_eq!((open.renew_at(), open.term_at(), open.kill_at()), (None, None, None));
    }

    #[test]
    fn replies_are_parsed() {
        let reply =
            OkReply::parse("OK RESERVADO #42 Sala 1, Sala 2 desde=a hasta=salir").expect("a reply");
        assert_eq!((reply.number, reply.names), ("#42", "Sala 1, Sala 2"));
        assert_eq!((reply.until(), reply.left()), (Some("salir"), None));
        let reply = OkReply::parse("OK VALID #7 Sala 1 left=12s").expect("a reply");
        assert_eq!((reply.names, reply.left()), ("Sala 1", Some(Some(12 * SECOND))));
        let reply = OkReply::parse("OK VIGENTE #7 Sala 1 quedan=-").expect("a reply");
        assert_eq!((reply.until(), reply.left()), (None, Some(None)));
        let reply = OkReply::parse("OK RESERVADO #42 Sala 1").expect("a reply");
        assert_eq!((reply.names, reply.until()), ("Sala 1", None));
        for line in ["OK ana", "OK", "OK OBSERVANDO tras=5", "OK 2 DISPONIBLES", "OK A B"] {
            assert_eq!(OkReply::parse(line), None, "{line}");
        }
    }

    #[test]
    fn event_numbers_are_parsed() {
        assert_eq!(event_number("* 7 RESERVADO #42 Sala 1"), Some(7));
        assert_eq!(event_number("* 4096 PROGRESS"), Some(4096));
        assert_eq!(event_number("* COLA 1 x"), None);
        assert_eq!(last_event("OK OBSERVANDO tras=12"), Some(12));
        assert_eq!(last_event("OK WATCHING after=0"), Some(0));
        assert_eq!(last_event("OK"), None);
    }

    #[test]
    fn only_notices_about_the_reservation_count() {
        let cases = [
            ("* 7 CANCELADO #42 Sala 1", Some(LeaseEvent::Ended)),
            ("* 7 EXPIRED #42 Sala 1, Sala 2", Some(LeaseEvent::Ended)),
            ("* 7 RENEWED #42 Sala 1 until=t", Some(LeaseEvent::Renewed("t"))),
            ("* 7 RESERVADO #42 Sala 1", None),
            ("* 7 CANCELADO #4 Sala 1", None),
            ("* 7 CANCELADO #421 Sala #42", None),
            ("* 7 ALTA #42 x", None),
            ("* FIN te has quedado demasiado atrás", None),
            ("* COLA 1 x", None),
            ("*", None),
        ];
        for (notice, expected) in cases {
            assert_eq!(LeaseEvent::parse(notice, "#42"), expected, "{notice}");
        }
    }
}

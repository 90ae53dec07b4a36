//! What is known of the reservation that is held: until when it is ours for sure, and so when to
//! renew it and when the program must end. Pure: the time is an argument.

use std::time::Duration;

/// A point in time: how long after the machine was started. Time asleep counts, because the
/// server's clock goes on while a laptop sleeps.
pub type Moment = Duration;

/// How long a program has after TERM until KILL, if the reservation lasts that long.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long before the end of the reservation the program is gone at the latest, where the term
/// allows it: KILL takes effect after some scheduling, and clocks drift.
const MARGIN: Duration = Duration::from_secs(1);

/// A reservation.
#[derive(Debug, Default)]
pub struct Lease {
    /// Its number, as `#42`.
    pub number: String,
    /// Its resources as the reply named them.
    pub names: String,
    /// Its end as the server last wrote it.
    pub until: String,
    /// When it ends at the earliest, and how long it was from then back to when that was asked
    /// for. `None`: not before its connection does.
    end: Option<(Moment, Duration)>,
}

impl Lease {
    /// It lasts at least this long from `sent`, when what the server agreed to was not yet on
    /// its way. `None`: it has no end of its own.
    pub fn lasts(&mut self, sent: Moment, length: Option<Duration>) {
        // What is beyond all time is no reason to fall over.
        self.end = length.map(|length| (sent.saturating_add(length), length));
    }

    /// When to ask for more.
    pub fn renew_at(&self) -> Option<Moment> {
        self.end.map(|(end, length)| end - length + length / 3)
    }

    /// When the program must be told to end.
    pub fn term_at(&self) -> Option<Moment> {
        let kill_at = self.kill_at()?;
        self.end.map(|(_, length)| kill_at - GRACE.min(length / 4))
    }

    /// When the program must be ended, whether it wants or not.
    pub fn kill_at(&self) -> Option<Moment> {
        self.end.map(|(end, length)| end - MARGIN.min(length / 20))
    }

    pub fn ends_at(&self) -> Option<Moment> {
        self.end.map(|(end, _)| end)
    }

    /// A line for each resource.
    pub fn resources(&self) -> String {
        self.names.replace(", ", "\n")
    }
}

/// What an `OK` says about a reservation: `OK WORD #42 names key=value …`.
#[derive(Debug, PartialEq, Eq)]
pub struct Said<'a> {
    pub number: &'a str,
    pub names: &'a str,
    options: &'a str,
}

impl<'a> Said<'a> {
    pub fn of(line: &'a str) -> Option<Self> {
        let rest = line.strip_prefix("OK ")?.split_once(' ')?.1;
        Said::of_rest(rest)
    }

    /// What follows the word: `#42 names key=value …`. No name has a `=` in it.
    fn of_rest(rest: &'a str) -> Option<Self> {
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        is_number(number).then_some(())?;
        let cut = rest.find('=').map_or(rest.len(), |at| rest[..at].rfind(' ').unwrap_or(0));
        let (names, options) = rest.split_at(cut);
        Some(Said { number, names, options })
    }

    pub fn until(&self) -> Option<&'a str> {
        self.option(&["hasta=", "until="])
    }

    /// How much is left of it: `Some(None)` for an open end.
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

/// What a notice `* <event> WORD #42 …` means for a reservation.
#[derive(Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// It is over, or part of it is.
    Over,
    /// It ends then.
    Ends(&'a str),
}

/// The news that a notice has of the reservation with this number.
pub fn news<'a>(notice: &'a str, number: &str) -> Option<News<'a>> {
    let mut words = notice.splitn(4, ' ');
    let (_star, _event, word, rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let said = Said::of_rest(rest).filter(|said| said.number == number)?;
    match word {
        "CANCELADO" | "CANCELLED" | "VENCIDO" | "EXPIRED" => Some(News::Over),
        "RENOVADO" | "RENEWED" => said.until().map(News::Ends),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_program_ends_before_the_reservation() {
        for seconds in [1, 2, 3, 10, 60, 3_600, 315_360_000] {
            let sent = 1_000 * SECOND;
            let mut lease = Lease::default();
            lease.lasts(sent, Some(seconds * SECOND));
            let at = |moment: Option<Moment>| moment.expect("it has an end");
            let (renew, term) = (at(lease.renew_at()), at(lease.term_at()));
            let (kill, end) = (at(lease.kill_at()), at(lease.ends_at()));
            assert_eq!(renew - sent, seconds * SECOND / 3);
            assert!(renew < term && term < kill && kill < end, "{seconds} s");
            // One renewal may be lost without the program being told to end.
            assert!(renew + seconds * SECOND / 3 < term || seconds < 3, "{seconds} s");
            assert!(kill - term <= GRACE && end - kill <= MARGIN);
            assert_eq!(end, sent + seconds * SECOND);
        }
        let mut endless = Lease::default();
        endless.lasts(1_000 * SECOND, Some(Duration::from_secs(u64::MAX)));
        assert!(endless.renew_at() < endless.term_at() && endless.term_at() < endless.kill_at());
        let mut open = Lease::default();
        open.lasts(SECOND, None);
        assert_eq!((open.renew_at(), open.term_at(), open.kill_at()), (None, None, None));
    }

    #[test]
    fn replies_are_taken_apart() {
        let said = Said::of("OK RESERVADO #42 Sala 1, Sala 2 desde=a hasta=salir").expect("said");
        assert_eq!((said.number, said.names), ("#42", "Sala 1, Sala 2"));
        assert_eq!((said.until(), said.left()), (Some("salir"), None));
        let said = Said::of("OK VALID #7 Sala 1 left=12s").expect("said");
        assert_eq!((said.names, said.left()), ("Sala 1", Some(Some(12 * SECOND))));
        let said = Said::of("OK VIGENTE #7 Sala 1 quedan=-").expect("said");
        assert_eq!((said.until(), said.left()), (None, Some(None)));
        let said = Said::of("OK RESERVADO #42 Sala 1").expect("said");
        assert_eq!((said.names, said.until()), ("Sala 1", None));
        for line in ["OK ana", "OK", "OK OBSERVANDO tras=5", "OK 2 DISPONIBLES", "OK A B"] {
            assert_eq!(Said::of(line), None, "{line}");
        }
    }

    #[test]
    fn numbers_of_events_are_read() {
        assert_eq!(event_number("* 7 RESERVADO #42 Sala 1"), Some(7));
        assert_eq!(event_number("* 4096 PROGRESS"), Some(4096));
        assert_eq!(event_number("* COLA 1 x"), None);
        assert_eq!(last_event("OK OBSERVANDO tras=12"), Some(12));
        assert_eq!(last_event("OK WATCHING after=0"), Some(0));
        assert_eq!(last_event("OK"), None);
    }

    #[test]
    fn notices_of_others_are_no_news() {
        let rows = [
            ("* 7 CANCELADO #42 Sala 1", Some(News::Over)),
            ("* 7 EXPIRED #42 Sala 1, Sala 2", Some(News::Over)),
            ("* 7 RENEWED #42 Sala 1 until=t", Some(News::Ends("t"))),
            ("* 7 RESERVADO #42 Sala 1", None),
            ("* 7 CANCELADO #4 Sala 1", None),
            ("* 7 CANCELADO #421 Sala #42", None),
            ("* 7 ALTA #42 x", None),
            ("* FIN te has quedado demasiado atrás", None),
            ("* COLA 1 x", None),
            ("*", None),
        ];
        for (notice, expected) in rows {
            assert_eq!(news(notice, "#42"), expected, "{notice}");
        }
    }
}

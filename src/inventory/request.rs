//! The requests of clients to the inventory: selectors, reservations and cancellations.

use std::borrow::Cow;
use std::fmt::Write;
use std::rc::Rc;

use smallvec::SmallVec;

use super::names::fold;
use super::pattern::Pattern;
use super::{End, IdempotencyKey, Interval, Number, Origin, Reservation, SessionId, Start, When};
use crate::text::push_quoted;
use crate::time::Time;

/// One or more resources as a client names them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector<'a> {
    /// The resource with this name.
    Name(Cow<'a, str>),
    /// Resources that match the pattern, which is also kept as it was written.
    Pattern(Pattern, Cow<'a, str>),
}

impl Selector<'_> {
    fn into_owned(self) -> Selector<'static> {
        match self {
            Selector::Name(text) => Selector::Name(Cow::Owned(text.into_owned())),
            Selector::Pattern(pattern, text) => {
                Selector::Pattern(pattern, Cow::Owned(text.into_owned()))
            }
        }
    }

    /// Returns it as it was written.
    pub fn text(&self) -> &str {
        match self {
            Selector::Name(text) | Selector::Pattern(_, text) => text,
        }
    }
}

/// The client on whose behalf a command runs.
#[derive(Clone, Debug)]
pub struct Principal {
    pub session: SessionId,
    pub origin: Origin,
    pub holder: Option<Rc<str>>,
}

impl Principal {
    /// Returns whether it may change a reservation: everybody may if the reservation has no holder,
    /// otherwise only its holder.
    pub fn can_modify(&self, reservation: &Reservation) -> bool {
        reservation.holder.is_none() || reservation.holder == self.holder
    }
}

/// A request for a reservation.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub selectors: SmallVec<[Selector<'a>; 1]>,
    pub when: When,
    /// The interval of `when` at the time of the request.
    pub interval: Interval,
    pub note: Option<String>,
    pub key: Option<String>,
    /// How long to wait if it does not fit (`espera=`).
    pub wait_ms: Option<i64>,
}

impl<'a> Request<'a> {
    /// Creates a request without options: from now on, until somebody cancels the reservation.
    pub fn from_now(selectors: SmallVec<[Selector<'a>; 1]>, now: Time) -> Request<'a> {
        let when = When { start: Start::Default, end: End::Open };
        let interval = Interval::starting_at(now);
        Request { selectors, when, interval, note: None, key: None, wait_ms: None }
    }

    /// Converts it into an owned request.
    pub fn into_owned(self) -> Request<'static> {
        let selectors = self.selectors.into_iter().map(Selector::into_owned).collect();
        Request { selectors, ..self }
    }

    /// Returns its key with the request in canonical form. The time that it would wait is not part
    /// of that form.
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        let key = self.key.as_deref()?;
        Some(IdempotencyKey { text: key.into(), request: self.canonical().into() })
    }

    /// Returns the same text for every way to write the same request.
    fn canonical(&self) -> String {
        let mut targets: Vec<_> = self.selectors.iter().map(|one| fold(one.text())).collect();
        targets.sort();
        // `≠` folds to `=`, which would look like an option. No other character folds to one of
        // the grammar's.
        let mut text = targets.join(", ").replace('=', "≠");
        // Writing to a String cannot fail.
        let _ = match self.when.start {
            Start::Default => Ok(()),
            Start::Now => write!(text, " from=now"),
            Start::At(from) => write!(text, " from={}", from.ms()),
        };
        let _ = match self.when.end {
            End::Open => Ok(()),
            End::Quit => write!(text, " until=quit"),
            End::KeepAlive(ms) => write!(text, " until=quit for={ms}"),
            End::Until(until) => write!(text, " until={}", until.ms()),
            End::For(ms) => write!(text, " for={ms}"),
            End::Nights(nights) => write!(text, " nights={nights}"),
        };
        if let Some(note) = &self.note {
            push_quoted(" note=", note, &mut text);
        }
        text
    }
}

/// One thing to cancel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cancel<'a> {
    /// A whole reservation.
    Number(Number),
    /// The resource with this name, in the one reservation that it has.
    Name(Cow<'a, str>),
}

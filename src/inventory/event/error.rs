//! The reasons why the text of an event is not accepted on replay.

use std::fmt;

use crate::inventory::Number;
use crate::limits::TARGETS_MAX;

/// The reason why a text is not the next event of an inventory. Texts in it are quotes of the
/// event, escaped when they are printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventError {
    /// A part is missing.
    Missing(&'static str),
    InvalidTime(String),
    InvalidNumber(String),
    InvalidName(String),
    /// The length of a keep-alive is not in range.
    InvalidLength(String),
    UnknownEvent(String),
    UnknownOption(String),
    /// Something follows a number that ends the event.
    Trailing {
        number: Number,
        text: String,
    },
    /// The value of this option has no closing quote.
    UnclosedQuote(String),
    /// A control character in a holder or note would reach everybody who lists reservations.
    ControlCharacter,
    /// More resources than a reservation may have.
    TooManyTargets(usize),
    /// More bytes of text than a reservation may have.
    TooMuchText(usize),
    NoResource(String),
    ResourceExists(String),
    ResourceReserved(String),
    NoReservation(Number),
    /// The reservation does not hold these resources, or one of them is repeated.
    NotHeld(Number),
    EndsBeforeStart(Number),
    /// The number was issued before.
    NumberIssued(Number),
    /// The number is higher than any that can have been issued.
    NumberTooHigh(Number),
    /// Another reservation has the same holder and key.
    KeyUsed(Number),
    /// The resource is listed twice.
    Duplicate {
        number: Number,
        name: String,
    },
    /// Two reservations overlap, on this resource if it is known.
    Overlap {
        number: Number,
        other: Number,
        name: Option<String>,
    },
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        use EventError::*;
        match self {
            Missing(part) => write!(f, "no {part}"),
            InvalidTime(text) => write!(f, "invalid time '{}'", text.escape_debug()),
            InvalidNumber(text) => write!(f, "invalid number '{}'", text.escape_debug()),
            InvalidName(text) => write!(f, "invalid name '{}'", text.escape_debug()),
            InvalidLength(text) => write!(f, "invalid length '{}' after for=", text.escape_debug()),
            UnknownEvent(word) => write!(f, "unknown event '{}'", word.escape_debug()),
            UnknownOption(option) => write!(f, "unknown option '{}'", option.escape_debug()),
            Trailing { number, text } => {
                write!(f, "unexpected '{}' after #{number}", text.escape_debug())
            }
            UnclosedQuote(option) => {
                write!(f, "no closing quote after {}=", option.escape_debug())
            }
            ControlCharacter => f.write_str("it has a control character"),
            TooManyTargets(count) => {
                write!(f, "{count} names, and no reservation has more than {TARGETS_MAX}")
            }
            TooMuchText(bytes) => write!(f, "{bytes} bytes of text, more than any reservation has"),
            NoResource(name) => write!(f, "there is no resource '{}'", name.escape_debug()),
            ResourceExists(name) => write!(f, "resource '{name}' exists already"),
            ResourceReserved(name) => write!(f, "resource '{name}' is reserved"),
            NoReservation(number) => write!(f, "there is no reservation #{number}"),
            NotHeld(number) => write!(f, "reservation #{number} does not hold these resources"),
            EndsBeforeStart(number) => write!(f, "reservation #{number} ends before it starts"),
            NumberIssued(number) => write!(f, "number #{number} was issued before"),
            NumberTooHigh(number) => write!(f, "number #{number} cannot have been issued yet"),
            KeyUsed(number) => write!(f, "another reservation has the key of #{number}"),
            Duplicate { number, name } => write!(f, "#{number} has '{name}' twice"),
            Overlap { number, other, name: Some(name) } => {
                write!(f, "#{number} and #{other} overlap on '{name}'")
            }
            Overlap { number, other, name: None } => write!(f, "#{number} and #{other} overlap"),
        }
    }
}

impl std::error::Error for EventError {}

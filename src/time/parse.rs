//! Parsing of dates and times, as clients send them and as the journal has them.

use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use super::Time;
use super::calendar::{days_in, days_to};

/// Why a text is not an instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimeError {
    /// Not of the form `2026-12-24[T15:00[:00[.000]][Z|±hh:mm]]`, `ahora` or `now`.
    Form,
    /// The form is right, but there is no such date or time of day.
    NoSuchDate,
    /// Outside the years 1970 to 9999.
    OutOfRange,
    /// The zone skips this local time. The fields are the times just before and after the gap, each
    /// with its offset.
    Skipped(String, String),
    /// The zone has this local time twice. The fields are both, each with its offset.
    Twice(String, String),
}

/// Parses the output of [`print_utc`](super::print_utc), and nothing else.
///
/// By hand, because a start parses millions of them.
pub fn parse_utc(text: &str) -> Option<Time> {
    let form: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let separators =
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if separators.iter().any(|(at, byte)| form[*at] != *byte) {
        return None;
    }
    let number = |digits: &[u8]| {
        let plus = |sum, digit: &u8| Some(sum * 10 + i64::from(char::from(*digit).to_digit(10)?));
        digits.iter().try_fold(0i64, plus)
    };
    let (year, month, day) = (number(&form[..4])?, number(&form[5..7])?, number(&form[8..10])?);
    let (hour, minute) = (number(&form[11..13])?, number(&form[14..16])?);
    let (second, ms) = (number(&form[17..19])?, number(&form[20..23])?);
    if day < 1 || day > days_in(year, month)? || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let hours = days_to(year, month, day) * 24 + hour;
    Some(Time(((hours * 60 + minute) * 60 + second) * 1000 + ms))
}

/// A date and perhaps a time of day, as a client sends them.
pub(super) enum Reading {
    /// A date alone.
    Date(Date),
    /// A local time without an offset.
    Local(DateTime),
    /// A time with an offset.
    WithOffset(DateTime, Offset),
}

/// Parses `2026-12-24[T15:00[:00[.000]][Z|±hh:mm]]`.
pub(super) fn parse_reading(text: &str) -> Result<Reading, TimeError> {
    let mut scanner = Scanner(text.as_bytes());
    let date = scanner.date()?;
    if scanner.0.is_empty() {
        return Ok(Reading::Date(date));
    }
    let time = scanner.time_of_day(date)?;
    if scanner.0.is_empty() {
        return Ok(Reading::Local(time));
    }
    scanner.offset().map(|offset| Reading::WithOffset(time, offset)).ok_or(TimeError::Form)
}

/// The unparsed rest of a date or time.
struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    fn date(&mut self) -> Result<Date, TimeError> {
        let year = self.number(4)?;
        self.separator(b"-")?;
        let month = self.number(2)?;
        self.separator(b"-")?;
        let day = self.number(2)?;
        if year < 1970 {
            return Err(TimeError::OutOfRange);
        }
        // The casts lose nothing, because the numbers have four and two digits.
        Date::new(year as i16, month as i8, day as i8).map_err(|_| TimeError::NoSuchDate)
    }

    /// Parses a time of day as in RFC 3339. The seconds may be left out, and a space may replace
    /// the `T`. `24:00` is the first instant of the next day. Fractions are truncated to
    /// milliseconds.
    fn time_of_day(&mut self, date: Date) -> Result<DateTime, TimeError> {
        self.separator(b"Tt ")?;
        let hour = self.number(2)?;
        self.separator(b":")?;
        let minute = self.number(2)?;
        let (mut second, mut ms) = (0, 0);
        if self.separator(b":").is_ok() {
            second = self.number(2)?;
            ms = self.fraction_ms()?;
        }
        if (hour, minute, second, ms) == (24, 0, 0, 0) {
            let next_day = date.tomorrow().map_err(|_| TimeError::OutOfRange)?;
            return Ok(next_day.at(0, 0, 0, 0));
        }
        if hour > 23 || minute > 59 || second > 59 {
            return Err(TimeError::NoSuchDate);
        }
        Ok(date.at(hour as i8, minute as i8, second as i8, ms * 1_000_000))
    }

    /// Parses an optional fraction of a second, and returns it in milliseconds.
    fn fraction_ms(&mut self) -> Result<i32, TimeError> {
        if self.separator(b".").is_err() {
            return Ok(0);
        }
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        if digits.is_empty() {
            return Err(TimeError::Form);
        }
        self.0 = rest;
        let digit = |at: usize| digits.get(at).map_or(0, |digit| i32::from(digit - b'0'));
        Ok(digit(0) * 100 + digit(1) * 10 + digit(2))
    }

    /// Parses `Z`, `±hh:mm` or `±hhmm`, up to ±23:59, which must end the text.
    fn offset(&mut self) -> Option<Offset> {
        let (sign, rest) = match self.0.split_first()? {
            (b'Z' | b'z', []) => return Some(Offset::UTC),
            (b'+', rest) => (1, rest),
            (b'-', rest) => (-1, rest),
            _ => return None,
        };
        self.0 = rest;
        let hours = self.number(2).ok()?;
        // The colon is optional.
        let _ = self.separator(b":");
        let minutes = self.number(2).ok()?;
        if !self.0.is_empty() || hours > 23 || minutes > 59 {
            return None;
        }
        Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
    }

    /// Parses exactly `count` decimal digits.
    fn number(&mut self, count: usize) -> Result<i32, TimeError> {
        let (digits, rest) = self.0.split_at_checked(count).ok_or(TimeError::Form)?;
        let mut value = 0;
        for digit in digits {
            let (b'0'..=b'9') = digit else { return Err(TimeError::Form) };
            value = value * 10 + i32::from(digit - b'0');
        }
        self.0 = rest;
        Ok(value)
    }

    /// Skips one of these bytes.
    fn separator(&mut self, accepted: &[u8]) -> Result<(), TimeError> {
        match self.0.split_first() {
            Some((first, rest)) if accepted.contains(first) => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(TimeError::Form),
        }
    }
}

//! Formatted times, for clients and for the journal.

use std::fmt::{self, Display, Formatter};
use std::ops::Deref;

use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::Time;
use super::calendar::civil_at;

/// How a time is rounded to whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    /// For starts.
    Down,
    /// For ends, so that a client that waits until the printed end is not early.
    Up,
}

/// Formats `time` as in the journal: UTC with milliseconds, `2026-11-22T16:48:54.123Z`.
pub fn print_utc(time: Time) -> FormattedTime {
    let mut text = FormattedTime::new(civil_at(time, Offset::UTC));
    text.push(b'.');
    text.push_digits(time.0.rem_euclid(1000) as u32, 3);
    text.push(b'Z');
    text
}

/// A formatted time, as a string without an allocation.
#[derive(Clone, Copy)]
pub struct FormattedTime {
    bytes: [u8; 25],
    len: u8,
}

impl FormattedTime {
    /// Returns `2026-11-22T16:48:54`, with space for a fraction or an offset.
    pub(super) fn new(civil: DateTime) -> FormattedTime {
        let mut text = FormattedTime { bytes: [0; 25], len: 0 };
        text.push_digits(u32::from(civil.year().unsigned_abs()), 4);
        let fields = [
            (b'-', civil.month()),
            (b'-', civil.day()),
            (b'T', civil.hour()),
            (b':', civil.minute()),
            (b':', civil.second()),
        ];
        for (separator, value) in fields {
            text.push(separator);
            text.push_digits(u32::from(value.unsigned_abs()), 2);
        }
        text
    }

    /// Appends an offset in minutes as `±hh:mm`.
    pub(super) fn push_offset(&mut self, minutes: i32) {
        self.push(if minutes < 0 { b'-' } else { b'+' });
        self.push_digits(minutes.unsigned_abs() / 60, 2);
        self.push(b':');
        self.push_digits(minutes.unsigned_abs() % 60, 2);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    /// Appends a number as exactly `count` digits.
    fn push_digits(&mut self, mut value: u32, count: u8) {
        let start = usize::from(self.len);
        for digit in self.bytes[start..start + usize::from(count)].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
        self.len += count;
    }
}

impl Deref for FormattedTime {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Display for FormattedTime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

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
    let ms = time.0.rem_euclid(1000) as u32;
    text.push(b'0' + (ms / 100) as u8);
    text.push_pair(ms % 100);
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
        let mut text = FormattedTime { bytes: [0; 25], len: 19 };
        text.bytes[..19].copy_from_slice(b"0000-00-00T00:00:00");
        let year = civil.year().unsigned_abs();
        let pairs = [
            (0, (year / 100) as u8),
            (2, (year % 100) as u8),
            (5, civil.month().unsigned_abs()),
            (8, civil.day().unsigned_abs()),
            (11, civil.hour().unsigned_abs()),
            (14, civil.minute().unsigned_abs()),
            (17, civil.second().unsigned_abs()),
        ];
        for (at, value) in pairs {
            text.bytes[at] = b'0' + value / 10;
            text.bytes[at + 1] = b'0' + value % 10;
        }
        text
    }

    /// Appends an offset in minutes as `±hh:mm`.
    pub(super) fn push_offset(&mut self, minutes: i32) {
        self.push(if minutes < 0 { b'-' } else { b'+' });
        self.push_pair(minutes.unsigned_abs() / 60);
        self.push(b':');
        self.push_pair(minutes.unsigned_abs() % 60);
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    /// Appends a number below 100 as two digits.
    #[inline]
    fn push_pair(&mut self, value: u32) {
        self.push(b'0' + (value / 10) as u8);
        self.push(b'0' + (value % 10) as u8);
    }
}

impl Deref for FormattedTime {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Display for FormattedTime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

//! Conversions between instants and civil times, in the proleptic Gregorian calendar.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use super::Time;

pub(super) const DAY_MS: i64 = 86_400_000;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Returns the milliseconds from 1970-01-01T00:00:00 to a civil time.
pub(super) fn civil_ms(civil: DateTime) -> i64 {
    let [month, day, hour, minute, second] =
        [civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()].map(i64::from);
    let hours = days_to(civil.year().into(), month, day) * 24 + hour;
    ((hours * 60 + minute) * 60 + second) * 1000 + i64::from(civil.millisecond())
}

/// Returns an offset in milliseconds.
pub(super) fn offset_ms(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * 1000
}

/// Returns the civil time at an offset, limited to the years 1970 to 9999.
pub(super) fn civil_at(time: Time, offset: Offset) -> DateTime {
    if let Ok(instant) = Timestamp::from_millisecond(time.0) {
        return offset.to_datetime(instant);
    }
    // jiff's instants end a day before the calendar does. For the last days, compute the civil time
    // two days earlier.
    match Timestamp::from_millisecond(time.0.saturating_sub(2 * DAY_MS)) {
        Ok(earlier) => {
            let civil = offset.to_datetime(earlier);
            let day = Date::new(civil.year(), civil.month(), civil.day() + 2);
            day.map_or(DateTime::MAX, |day| day.to_datetime(civil.time()))
        }
        Err(_) if time.0 < 0 => EPOCH,
        Err(_) => DateTime::MAX,
    }
}

/// Returns the days from 1970-01-01 to a date.
pub(super) fn days_to(year: i64, month: i64, day: i64) -> i64 {
    // If the year begins in March, the leap day is its last day, and each five months have 153
    // days.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    const EPOCH_DAYS: i64 = 719_469;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - EPOCH_DAYS
}

/// Returns the number of days of a month; `None` for an invalid month.
pub(super) fn days_in(year: i64, month: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(if is_leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

//! Time zones: how local dates and times are parsed and formatted.
//!
//! `jiff` reads the rules of the zones from the system's database.

use std::fmt::{self, Display, Formatter};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::calendar::{DAY_MS, civil_at, civil_ms, offset_ms};
use super::parse::{Reading, parse_reading};
use super::{FormattedTime, Round, Time, TimeError};

/// A time zone with its rules.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// The error for a name that is not in the system's zone database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownZone(String);

impl Display for UnknownZone {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown time zone '{}': use an IANA name such as America/Montevideo, or UTC, and check \
             that the package tzdata is installed",
            self.0
        )
    }
}

impl std::error::Error for UnknownZone {}

impl Zone {
    /// Returns UTC.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// Returns the system's zone: that of the environment variable TZ if it is set, or else that of
    /// `/etc/localtime`. `None` if TZ or the file is not valid, or if there is neither.
    pub fn of_system() -> Option<Zone> {
        TimeZone::try_system().map(Zone).ok()
    }

    /// Returns the zone of an IANA name such as `America/Montevideo`.
    pub fn named(name: &str) -> Result<Zone, UnknownZone> {
        TimeZone::get(name).map(Zone).map_err(|_| UnknownZone(name.to_owned()))
    }

    /// Returns the IANA name, or `unnamed` if the zone has none.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("unnamed")
    }

    /// Parses an instant in the form of `docs/protocol.md`. `ahora` and `now` are `now`, and a date
    /// alone is the first instant of that day.
    pub fn parse(&self, text: &str, now: Time) -> Result<Time, TimeError> {
        if text.eq_ignore_ascii_case("ahora") || text.eq_ignore_ascii_case("now") {
            return Ok(now);
        }
        match parse_reading(text)? {
            Reading::Date(date) => self.first_instant(date),
            Reading::Local(time) => self.local(time),
            Reading::WithOffset(time, offset) => in_range(civil_ms(time) - offset_ms(offset)),
        }
    }

    /// Returns the end of a stay of some nights: the first instant of the day `nights` days after
    /// the day of `from`.
    pub fn night_end(&self, from: Time, nights: u32) -> Result<Time, TimeError> {
        let day_ms = civil_ms(self.civil(from).date().at(0, 0, 0, 0));
        match day_ms + i64::from(nights) * DAY_MS {
            end_ms if end_ms > Time::LATEST.0 => Err(TimeError::OutOfRange),
            end_ms => self.first_instant(civil_at(Time(end_ms), Offset::UTC).date()),
        }
    }

    /// Formats `time` as in RFC 3339, to the second, with this zone's offset.
    pub fn print(&self, time: Time, round: Round) -> FormattedTime {
        let ms = match round {
            Round::Down => time.0,
            Round::Up => time.0.saturating_add(999),
        };
        let time = Time(ms.min(Time::LATEST.0).div_euclid(1000) * 1000);
        let mut offset = self.offset_at(time);
        // Offsets in RFC 3339 have no seconds, which some zones had up to 1972. The year 10000,
        // which begins in some zones before 9999 ends in UTC, cannot be printed.
        if offset.seconds() % 60 != 0 || time.0 + offset_ms(offset) > Time::LATEST.0 {
            offset = Offset::UTC;
        }
        let mut text = FormattedTime::new(civil_at(time, offset));
        text.push_offset(offset.seconds() / 60);
        text
    }

    /// Formats `time` as [`Zone::print`] does, as a `String`.
    pub fn text(&self, time: Time, round: Round) -> String {
        self.print(time, round).to_string()
    }

    fn offset_at(&self, time: Time) -> Offset {
        let ms = time.0.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
        let instant = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        self.0.to_offset(instant)
    }

    fn civil(&self, time: Time) -> DateTime {
        civil_at(time, self.offset_at(time))
    }

    /// Returns the instant of a local time without an offset.
    fn local(&self, civil: DateTime) -> Result<Time, TimeError> {
        let reading = |offset: Offset| {
            let time = Time(civil_ms(civil) - offset_ms(offset));
            self.text(time, Round::Down)
        };
        match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                in_range(civil_ms(civil) - offset_ms(offset))
            }
            // In a gap the later offset gives the earlier instant.
            AmbiguousOffset::Gap { before, after } => {
                Err(TimeError::Skipped(reading(after), reading(before)))
            }
            AmbiguousOffset::Fold { before, after } => {
                Err(TimeError::Twice(reading(before), reading(after)))
            }
        }
    }

    /// Returns the first instant of a day, even if midnight is skipped or comes twice.
    fn first_instant(&self, day: Date) -> Result<Time, TimeError> {
        let midnight = civil_ms(day.at(0, 0, 0, 0));
        match self.0.to_ambiguous_timestamp(day.at(0, 0, 0, 0)).offset() {
            AmbiguousOffset::Unambiguous { offset }
            | AmbiguousOffset::Fold { before: offset, .. } => {
                in_range(midnight - offset_ms(offset))
            }
            AmbiguousOffset::Gap { before, after } => {
                let earlier = Time(midnight - offset_ms(after));
                let later = Time(midnight - offset_ms(before));
                let start = self.transition_after(earlier).unwrap_or(later);
                // A zone that moved across the date line has skipped a whole day.
                if self.civil(start).date() != day {
                    let text = |time| self.text(time, Round::Down);
                    return Err(TimeError::Skipped(text(earlier), text(later)));
                }
                Ok(start)
            }
        }
    }

    fn transition_after(&self, time: Time) -> Option<Time> {
        let instant = Timestamp::from_millisecond(time.0).ok()?;
        let next = self.0.following(instant).next()?;
        Some(Time(next.timestamp().as_millisecond()))
    }
}

fn in_range(ms: i64) -> Result<Time, TimeError> {
    // A day of slack, because a local time in range may be up to a day outside in UTC.
    if (-DAY_MS..=Time::LATEST.0 + DAY_MS).contains(&ms) {
        Ok(Time(ms.min(Time::LATEST.0)))
    } else {
        Err(TimeError::OutOfRange)
    }
}

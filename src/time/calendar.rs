//! Instants, durations and zones, and how they are parsed and printed.
//!
//! `jiff` reads the zone rules from the system's database.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

const DAY_MS: i64 = 86_400_000;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
///
/// Invariant: either [`Time::MAX`], [`Time::MIN`], or within the years that can be printed
/// (1970–9999, up to the offset of a zone).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Time(pub(super) i64);

impl Time {
    /// Later than every instant: the end of reservations without an end.
    pub const MAX: Time = Time(i64::MAX);
    /// Earlier than every instant.
    pub const MIN: Time = Time(i64::MIN);
    /// The last instant that is accepted from anybody: the end of the year 9999.
    pub const LATEST: Time = Time(253_402_300_799_999);

    /// The instant `ms` milliseconds after the epoch.
    pub const fn from_ms(ms: i64) -> Time {
        Time(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// This instant moved by `ms`; past the ends of time it stays there.
    pub const fn plus_ms(self, ms: i64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// The next whole second, or this one if it is whole.
    pub const fn ceil_s(self) -> Time {
        match self.0.checked_add(999) {
            Some(ms) => Time(ms.div_euclid(1000) * 1000),
            None => self,
        }
    }

    /// Whether this is [`Time::MAX`].
    pub const fn is_never(self) -> bool {
        self.0 == i64::MAX
    }
}

/// Which way a time with milliseconds is printed to the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    /// Starts: the second it lies in.
    Down,
    /// For ends: rounded up, so that nobody who waits until then is early.
    Up,
}

/// Why a text is not an instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimeError {
    /// Not of the form `2026-12-24[T15:00[:00[.000]][Z|±hh:mm]]`, `ahora` or `now`.
    Form,
    /// The form is right, but the calendar or the clock has no such reading.
    NoSuchDate,
    /// Outside the years 1970–9999.
    OutOfRange,
    /// The zone skips this local time; the readings before and after the skip.
    Skipped(String, String),
    /// The zone has this local time twice; both readings.
    Twice(String, String),
}

/// A time zone with its rules.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC, for tests and as the last resort.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// Returns the zone of a POSIX rule like `EST5EDT,M3.2.0,M11.1.0`.
    pub fn posix(rule: &str) -> Option<Zone> {
        TimeZone::posix(rule).map(Zone).ok()
    }

    /// The zone that a file of the system's database describes; none if it does not.
    pub fn of_file(name: &str, bytes: &[u8]) -> Option<Zone> {
        TimeZone::tzif(name, bytes).map(Zone).ok()
    }

    /// The zone of an IANA name like `America/Montevideo`.
    pub fn named(name: &str) -> Result<Zone, String> {
        TimeZone::get(name).map(Zone).map_err(|_| {
            format!("no time zone '{name}' in the system's database: use an IANA name such as America/Montevideo or UTC, and see that the package tzdata is installed")
        })
    }

    /// The zone's name, or `unnamed` for one that came from a file without.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("unnamed")
    }

    /// Reads an instant as section 4 of the protocol has it; `now` is what
    /// `ahora` and `now` mean.
    pub fn parse(&self, text: &str, now: Time) -> Result<Time, TimeError> {
        if text.eq_ignore_ascii_case("ahora") || text.eq_ignore_ascii_case("now") {
            return Ok(now);
        }
        let mut form = Scan(text.as_bytes());
        let date = form.date()?;
        if form.0.is_empty() {
            return self.first_instant(date);
        }
        let time = form.time_of_day(date)?;
        let zone = std::mem::take(&mut form.0);
        if zone.is_empty() {
            return self.local(time);
        }
        let offset = parse_offset(zone).ok_or(TimeError::Form)?;
        in_range(civil_ms(time) - offset_ms(offset))
    }

    /// The first instant of the day `nights` days after the day of `from` in
    /// this zone: the end of a stay of so many nights.
    pub fn night_end(&self, from: Time, nights: u32) -> Result<Time, TimeError> {
        let day_ms = civil_ms(self.civil(from).date().at(0, 0, 0, 0));
        match day_ms + i64::from(nights) * DAY_MS {
            end_ms if end_ms > Time::LATEST.0 => Err(TimeError::OutOfRange),
            end_ms => self.first_instant(civil_at(Time(end_ms), Offset::UTC).date()),
        }
    }

    /// `time` as RFC 3339 with this zone's offset, to the second.
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
        let mut stamp = FormattedTime::new(civil_at(time, offset));
        let minutes = offset.seconds() / 60;
        stamp.mark(if minutes < 0 { b'-' } else { b'+' });
        stamp.digits(minutes.unsigned_abs() / 60, 2);
        stamp.mark(b':');
        stamp.digits(minutes.unsigned_abs() % 60, 2);
        stamp
    }

    /// [`Zone::print`] as a text of its own.
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

    /// A local reading without an offset.
    fn local(&self, civil: DateTime) -> Result<Time, TimeError> {
        let reading = |offset: Offset| {
            let time = Time(civil_ms(civil) - offset_ms(offset));
            self.text(time, Round::Down)
        };
        match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                in_range(civil_ms(civil) - offset_ms(offset))
            }
            // In a gap the later offset gives the earlier reading.
            AmbiguousOffset::Gap { before, after } => {
                Err(TimeError::Skipped(reading(after), reading(before)))
            }
            AmbiguousOffset::Fold { before, after } => {
                Err(TimeError::Twice(reading(before), reading(after)))
            }
        }
    }

    /// The first instant of a day, also where midnight is skipped or comes twice.
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
                // A zone that moved over the date line has skipped whole days.
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

fn civil_ms(civil: DateTime) -> i64 {
    let [month, day, hour, minute, second] =
        [civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()].map(i64::from);
    let hours = days_to(civil.year().into(), month, day) * 24 + hour;
    ((hours * 60 + minute) * 60 + second) * 1000 + i64::from(civil.millisecond())
}

fn offset_ms(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * 1000
}

/// Returns the civil time at an offset, limited to the ends of the calendar.
fn civil_at(time: Time, offset: Offset) -> DateTime {
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

fn in_range(ms: i64) -> Result<Time, TimeError> {
    // A day of slack, because an instant in range in one zone may be a day off in UTC.
    if (-DAY_MS..=Time::LATEST.0 + DAY_MS).contains(&ms) {
        Ok(Time(ms.min(Time::LATEST.0)))
    } else {
        Err(TimeError::OutOfRange)
    }
}

/// `Z`, `±hh:mm` or `±hhmm`, up to ±23:59.
fn parse_offset(text: &[u8]) -> Option<Offset> {
    let (sign, rest) = match text.split_first()? {
        (b'Z' | b'z', []) => return Some(Offset::UTC),
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let mut scan = Scan(rest);
    let hours = scan.number(2).ok()?;
    if scan.0.first() == Some(&b':') {
        scan.0 = &scan.0[1..];
    }
    let minutes = scan.number(2).ok()?;
    if !scan.0.is_empty() || hours > 23 || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// The unparsed rest of a date or time.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    /// Exactly `digits` decimal digits.
    fn number(&mut self, digits: usize) -> Result<i32, TimeError> {
        let (head, rest) = self.0.split_at_checked(digits).ok_or(TimeError::Form)?;
        if !head.iter().all(u8::is_ascii_digit) {
            return Err(TimeError::Form);
        }
        self.0 = rest;
        Ok(head.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0')))
    }

    fn mark(&mut self, marks: &[u8]) -> Result<(), TimeError> {
        match self.0.split_first() {
            Some((first, rest)) if marks.contains(first) => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(TimeError::Form),
        }
    }

    fn date(&mut self) -> Result<Date, TimeError> {
        let year = self.number(4)?;
        self.mark(b"-")?;
        let month = self.number(2)?;
        self.mark(b"-")?;
        let day = self.number(2)?;
        if year < 1970 {
            return Err(TimeError::OutOfRange);
        }
        // All three fit: they have four and two digits.
        Date::new(year as i16, month as i8, day as i8).map_err(|_| TimeError::NoSuchDate)
    }

    /// Parses a time of day as in RFC 3339. The seconds may be left out, and a space may replace
    /// the `T`. `24:00` is the first instant of the next day. Fractions are truncated to
    /// milliseconds.
    fn time_of_day(&mut self, date: Date) -> Result<DateTime, TimeError> {
        self.mark(b"Tt ")?;
        let hour = self.number(2)?;
        self.mark(b":")?;
        let minute = self.number(2)?;
        let (mut second, mut ms) = (0, 0);
        if self.mark(b":").is_ok() {
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
        if self.mark(b".").is_err() {
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
}

/// `time` as the journal has it: UTC with milliseconds,
/// `2026-11-22T16:48:54.123Z`.
pub fn print_utc(time: Time) -> FormattedTime {
    let mut stamp = FormattedTime::new(civil_at(time, Offset::UTC));
    stamp.mark(b'.');
    stamp.digits(time.0.rem_euclid(1000) as u32, 3);
    stamp.mark(b'Z');
    stamp
}

/// A time as it is printed. It needs no memory of its own: a time or two are in
/// nearly everything that is said or kept.
#[derive(Clone, Copy)]
pub struct FormattedTime {
    bytes: [u8; 25],
    len: u8,
}

impl FormattedTime {
    /// `2026-11-22T16:48:54`, and room for what tells its zone.
    fn new(civil: DateTime) -> FormattedTime {
        let mut stamp = FormattedTime { bytes: [0; 25], len: 0 };
        stamp.digits(u32::from(civil.year().unsigned_abs()), 4);
        let rest = [
            (b'-', civil.month()),
            (b'-', civil.day()),
            (b'T', civil.hour()),
            (b':', civil.minute()),
            (b':', civil.second()),
        ];
        for (mark, value) in rest {
            stamp.mark(mark);
            stamp.digits(u32::from(value.unsigned_abs()), 2);
        }
        stamp
    }

    fn mark(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    /// Exactly so many, with leading zeros.
    fn digits(&mut self, mut value: u32, count: u8) {
        let start = usize::from(self.len);
        for place in self.bytes[start..start + usize::from(count)].iter_mut().rev() {
            *place = b'0' + (value % 10) as u8;
            value /= 10;
        }
        self.len += count;
    }
}

impl std::ops::Deref for FormattedTime {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl std::fmt::Display for FormattedTime {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self)
    }
}

/// Reads what [`print_utc`] wrote, to the letter. By hand, because a start
/// reads millions of them.
pub fn parse_utc(text: &str) -> Option<Time> {
    let form: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if marks.iter().any(|(at, mark)| form[*at] != *mark) {
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

/// Returns the number of days of a month of the Gregorian calendar; `None` for an invalid month.
fn days_in(year: i64, month: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(if is_leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Days from 1970-01-01 to a date.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    // A year that begins in March has its odd day at the end, and months of
    // 153 days in five.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    const EPOCH_DAYS: i64 = 719_469;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::named(name).expect("the tests need the package tzdata")
    }

    fn shown(zone: &Zone, text: &str) -> String {
        match zone.parse(text, Time(0)) {
            Ok(time) => zone.text(time, Round::Down),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn instants_in_a_zone_without_summer_time() {
        let zone = zone("America/Montevideo");
        let rows = [
            ("2026-12-24", "2026-12-24T00:00:00-03:00"),
            ("2026-12-24T15:00", "2026-12-24T15:00:00-03:00"),
            ("2026-12-24T15:00:07", "2026-12-24T15:00:07-03:00"),
            ("2026-12-24T15:00Z", "2026-12-24T12:00:00-03:00"),
            ("2026-12-24t15:00z", "2026-12-24T12:00:00-03:00"),
            ("2026-12-24T15:00+02:00", "2026-12-24T10:00:00-03:00"),
            ("2026-12-24T15:00:00-0330", "2026-12-24T15:30:00-03:00"),
            ("9999-12-31", "9999-12-31T00:00:00-03:00"),
            ("2028-02-29", "2028-02-29T00:00:00-03:00"),
            ("2026-02-29", "NoSuchDate"),
            ("2026-13-01", "NoSuchDate"),
            ("2026-12-24T24:00", "2026-12-25T00:00:00-03:00"),
            ("2026-12-24T24:01", "NoSuchDate"),
            ("2026-12-24T15:60", "NoSuchDate"),
            ("1969-12-31", "OutOfRange"),
            ("2026-12-24Z", "Form"),
            ("2026-12-24T15", "Form"),
            ("2026-12-24 15:00:00.5", "2026-12-24T15:00:00-03:00"),
            ("2026-12-24T15:00:00.", "Form"),
            ("2026-1-2", "Form"),
            ("24/12/2026", "Form"),
            ("10000-01-01", "Form"),
            ("2026-12-24T15:00+24:00", "Form"),
            ("", "Form"),
            ("mañana", "Form"),
        ];
        for (text, want) in rows {
            assert_eq!(shown(&zone, text), want, "{text:?}");
        }
    }

    #[test]
    fn local_times_that_are_skipped_or_come_twice_name_both_readings() {
        let new_york = zone("America/New_York");
        assert_eq!(
            new_york.parse("2026-03-08T02:30", Time(0)),
            Err(TimeError::Skipped(
                "2026-03-08T01:30:00-05:00".into(),
                "2026-03-08T03:30:00-04:00".into()
            ))
        );
        assert_eq!(
            new_york.parse("2026-11-01T01:30", Time(0)),
            Err(TimeError::Twice(
                "2026-11-01T01:30:00-04:00".into(),
                "2026-11-01T01:30:00-05:00".into()
            ))
        );
        assert_eq!(shown(&new_york, "2026-11-01T01:30-05:00"), "2026-11-01T01:30:00-05:00");
    }

    #[test]
    fn the_first_instant_of_a_day_is_found_where_midnight_is_odd() {
        // Santiago skips midnight, Havana has it twice, Apia had no 30th at all.
        assert_eq!(shown(&zone("America/Santiago"), "2026-09-06"), "2026-09-06T01:00:00-03:00");
        assert_eq!(shown(&zone("America/Havana"), "2026-11-01"), "2026-11-01T00:00:00-04:00");
        assert!(shown(&zone("Pacific/Apia"), "2011-12-30").starts_with("Skipped"));
    }

    #[test]
    fn nights_are_calendar_days_over_a_change_of_the_clock() {
        let zone = zone("America/New_York");
        let from = zone.parse("2026-03-07T15:00", Time(0)).unwrap();
        let end = zone.night_end(from, 2).unwrap();
        assert_eq!(zone.text(end, Round::Up), "2026-03-09T00:00:00-04:00");
        assert_eq!(end.ms() - from.ms(), 32 * 3_600_000);
    }

    #[test]
    fn ends_are_rounded_up_and_starts_down() {
        let zone = Zone::utc();
        assert_eq!(zone.text(Time(1_001), Round::Up), "1970-01-01T00:00:02+00:00");
        assert_eq!(zone.text(Time(1_999), Round::Down), "1970-01-01T00:00:01+00:00");
        assert_eq!(zone.text(Time(2_000), Round::Up), "1970-01-01T00:00:02+00:00");
        assert_eq!(zone.text(Time::LATEST, Round::Up), "9999-12-31T23:59:59+00:00");
    }

    #[test]
    fn last_hours_of_9999_are_printed_as_the_right_instants() {
        let hour_ms = Time::LATEST.0.div_euclid(3_600_000) * 3_600_000;
        for name in ["Pacific/Kiritimati", "Europe/Madrid", "UTC", "America/Montevideo"] {
            let zone = zone(name);
            for hours in 0..48 {
                let time = Time(hour_ms - hours * 3_600_000);
                for round in [Round::Down, Round::Up] {
                    let text = zone.text(time, round);
                    assert_eq!(zone.parse(&text, Time(0)), Ok(time), "{name} {text}");
                }
            }
        }
        let kiritimati = zone("Pacific/Kiritimati");
        let last = Time(hour_ms - 14 * 3_600_000);
        assert_eq!(kiritimati.text(last, Round::Down), "9999-12-31T23:00:00+14:00");
        assert_eq!(
            kiritimati.text(Time(last.0 + 3_600_000), Round::Down),
            "9999-12-31T10:00:00+00:00"
        );
        assert_eq!(kiritimati.text(Time::LATEST, Round::Up), "9999-12-31T23:59:59+00:00");
    }

    #[test]
    fn journal_times_are_those_of_the_calendar() {
        // Each day of a cycle of 400 years, at a time of day that varies.
        for day in -800_i64..146_097 {
            let ms = day * 86_400_000 + day.abs() * 79_190_003 % 86_400_000;
            let text = print_utc(Time(ms));
            assert_eq!(parse_utc(&text), Some(Time(ms)), "{text}");
        }
        let rows = [
            ("0000-01-01T00:00:00.000Z", Some(-62_167_219_200_000)),
            ("2000-02-29T00:00:00.000Z", Some(951_782_400_000)),
            ("1900-02-29T00:00:00.000Z", None),
            ("2026-00-01T00:00:00.000Z", None),
            ("2026-13-01T00:00:00.000Z", None),
            ("2026-04-31T00:00:00.000Z", None),
            ("2026-04-00T00:00:00.000Z", None),
            ("2026-04-01T24:00:00.000Z", None),
            ("2026-04-01T00:60:00.000Z", None),
            ("2026-04-01T00:00:60.000Z", None),
            ("2026-04-01T00:00:0x.000Z", None),
            ("2026-04-01T00:00:00,000Z", None),
        ];
        for (text, want) in rows {
            assert_eq!(parse_utc(text), want.map(Time), "{text}");
        }
    }

    #[test]
    fn journal_times_come_back_as_they_were_written() {
        for ms in [-3_600_000, 0, 1, 999, 1_764_000_000_123, Time::LATEST.0] {
            let text = print_utc(Time(ms));
            assert_eq!(parse_utc(&text), Some(Time(ms)), "{text}");
        }
        assert_eq!(parse_utc("2026-11-22T16:48:54Z"), None);
        assert_eq!(parse_utc("2026-11-22T16:48:54.123Z "), None);
    }
}

//! Tests of parsing and formatting in zones, and of the times of the journal.

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
    let cases = [
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
    for (text, want) in cases {
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
    assert_eq!(kiritimati.text(Time(last.0 + 3_600_000), Round::Down), "9999-12-31T10:00:00+00:00");
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
    let cases = [
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
    for (text, want) in cases {
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

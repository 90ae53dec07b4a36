//! Durations, instants and nights.

use support::Server;
use support::dialog::{check_cases, check_in_both};

const NEW_YORK: [&str; 2] = ["--time-zone", "America/New_York"];

#[test]
fn durations_are_added_to_the_start() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    for (text, end) in [
        ("1s", "2090-01-01T00:00:01"),
        ("90s", "2090-01-01T00:01:30"),
        ("30m", "2090-01-01T00:30:00"),
        ("2h", "2090-01-01T02:00:00"),
        ("3d", "2090-01-04T00:00:00"),
        ("1h30m", "2090-01-01T01:30:00"),
        ("1d1h1m1s", "2090-01-02T01:01:01"),
        ("100h", "2090-01-05T04:00:00"),
        ("3650d", "2099-12-30T00:00:00"),
    ] {
        let got = client.say(&format!("RESERVAR Habitación 1 desde=2090-01-01 por={text}"));
        let interval = format!("desde=2090-01-01T00:00:00+00:00 hasta={end}+00:00");
        assert!(got.ends_with(&interval), "{text}: {got}");
        client.say("CANCELAR Habitación 1");
    }
    for text in [
        "",
        "10",
        "0",
        "0s",
        "0h0m",
        "-5m",
        "+5m",
        "1.5h",
        "1h30",
        "h",
        "5w",
        "1y",
        "1h1h",
        "5 m",
        "5min",
        "infinito",
        "4000d",
        "3654d",
        "99999999999999999999s",
        "9223372036854775807d",
        "1h-5m",
        "٣h",
        "1h,",
        "0x10s",
        "1e3s",
    ] {
        for line in ["RESERVAR Habitación 1 por=", "LIST for="] {
            let got = client.say(&format!("{line}{text}"));
            assert!(got.starts_with("ERR 400 "), "{line}{text} is answered {got}");
        }
    }
    for nights in ["", "0", "-1", "+1", "1.5", "1d", "x", "99999", "99999999999999999999"] {
        let got = client.say(&format!("RESERVAR Habitación 1 desde=2090-01-01 noches={nights}"));
        assert!(got.starts_with("ERR 400 "), "noches={nights} is answered {got}");
    }
    assert_eq!(client.list("RESERVAS").len(), 0);
    server.stop();
}

#[test]
fn instants_without_offset_are_in_the_zone_of_the_server() {
    let server = Server::in_memory(&NEW_YORK);
    let mut client = server.connect();
    for (text, start) in [
        ("2090-12-24", "2090-12-24T00:00:00-05:00"),
        ("2090-07-24", "2090-07-24T00:00:00-04:00"),
        ("2090-12-24T15:00", "2090-12-24T15:00:00-05:00"),
        ("2090-12-24T15:00:07", "2090-12-24T15:00:07-05:00"),
        ("2090-12-24T15:00:07.5", "2090-12-24T15:00:07-05:00"),
        ("2090-12-24T15:00:07.123456789Z", "2090-12-24T10:00:07-05:00"),
        ("2090-12-24T24:00", "2090-12-25T00:00:00-05:00"),
        ("2090-12-31T24:00:00Z", "2090-12-31T19:00:00-05:00"),
        ("\"2090-12-24 15:00\"", "2090-12-24T15:00:00-05:00"),
        ("\"2090-12-24 15:00:07.25-05:00\"", "2090-12-24T15:00:07-05:00"),
        ("2090-12-24T15:00Z", "2090-12-24T10:00:00-05:00"),
        ("2090-12-24T15:00:07Z", "2090-12-24T10:00:07-05:00"),
        ("2090-12-24T15:00+02:00", "2090-12-24T08:00:00-05:00"),
        ("2090-12-24T15:00:07-03:30", "2090-12-24T13:30:07-05:00"),
        ("2090-12-31T23:00-08:00", "2091-01-01T02:00:00-05:00"),
        ("2092-02-29", "2092-02-29T00:00:00-05:00"),
        // Daylight saving time starts on 12 March: 2:00 becomes 3:00.
        ("2090-03-12", "2090-03-12T00:00:00-05:00"),
        ("2090-03-12T01:59:59", "2090-03-12T01:59:59-05:00"),
        ("2090-03-12T03:00", "2090-03-12T03:00:00-04:00"),
        ("2090-03-12T02:30-05:00", "2090-03-12T03:30:00-04:00"),
        // It ends on 5 November: 2:00 becomes 1:00.
        ("2090-11-05T00:59:59", "2090-11-05T00:59:59-04:00"),
        ("2090-11-05T01:30-04:00", "2090-11-05T01:30:00-04:00"),
        ("2090-11-05T01:30-05:00", "2090-11-05T01:30:00-05:00"),
        ("2090-11-05T02:00", "2090-11-05T02:00:00-05:00"),
        ("9999-12-30", "9999-12-30T00:00:00-05:00"),
    ] {
        let got = client.say(&format!("RESERVAR Habitación 1 desde={text}"));
        assert!(got.ends_with(&format!(" desde={start} hasta=-")), "{text}: {got}");
        client.say("CANCELAR Habitación 1");
    }
    for text in [
        "",
        "hoy",
        "mañana",
        "ahora!",
        "2090",
        "2090-12",
        "2090-1-2",
        "20901224",
        "24/12/2090",
        "2090-12-24T",
        "2090-12-24T15",
        "2090-12-24T1500",
        "2090-12-24T15:0",
        "2090-12-24T15:00:",
        "2090-12-24T15:00:00.",
        "2090-12-24T15:00:00.5x",
        "2090-12-24T15:00.5",
        "2090-12-24T24:01",
        "2090-12-24T24:00:00.001",
        "2090-12-24T25:00",
        "9999-12-31T24:00",
        "2090-12-24T15:60",
        "2090-12-24T15:00:60",
        "2090-12-24T15:00+24:00",
        "2090-12-24T15:00+2",
        "2090-12-24T15:00EST",
        "2090-13-01",
        "2090-00-01",
        "2090-02-29",
        "2090-12-32",
        "2090-12-00",
        "1969-12-31",
        "0000-01-01",
        "10000-01-01",
        "-2090-01-01",
        "2090-12-24T-1:00",
        "2090-12-24 15:00",
    ] {
        for line in ["RESERVAR Habitación 1 desde=", "LIST from=", "RESERVAS hasta="] {
            let got = client.say(&format!("{line}{text}"));
            assert!(got.starts_with("ERR 400 "), "{line}{text} is answered {got}");
        }
    }
    // Errors for skipped and ambiguous local times contain the possible readings.
    check_cases(
        &mut client,
        &[
            (
                "RESERVAR Habitación 1 desde=2090-03-12T02:30",
                "ERR 400 {*}2090-03-12T01:30:00-05:00{*}2090-03-12T03:30:00-04:00{*}",
            ),
            (
                "RESERVE Habitación 1 until=2090-03-12T02:00",
                "ERR 400 {*}2090-03-12T01:00:00-05:00{*}2090-03-12T03:00:00-04:00{*}",
            ),
            (
                "LISTAR desde=2090-11-05T01:30",
                "ERR 400 {*}2090-11-05T01:30:00-04:00{*}2090-11-05T01:30:00-05:00{*}",
            ),
            (
                "BOOKINGS from=2090-11-05T01:00",
                "ERR 400 {*}2090-11-05T01:00:00-04:00{*}2090-11-05T01:00:00-05:00{*}",
            ),
        ],
    );
    assert_eq!(client.list("RESERVAS").len(), 0);
    server.stop();
}

/// A night ends at a local time, whatever its length is.
#[test]
fn nights_end_at_local_times() {
    let server = Server::in_memory(&NEW_YORK);
    let mut client = server.connect();
    for (from, nights, until) in [
        ("2090-12-24", 3, "2090-12-27T00:00:00-05:00"),
        ("2090-12-24T15:00", 3, "2090-12-27T00:00:00-05:00"),
        ("2090-12-24T00:00", 1, "2090-12-25T00:00:00-05:00"),
        ("2090-12-24T23:59:59", 1, "2090-12-25T00:00:00-05:00"),
        ("2090-03-11T15:00", 2, "2090-03-13T00:00:00-04:00"),
        ("2090-11-04T15:00", 2, "2090-11-06T00:00:00-05:00"),
        // The date is in the server's zone.
        ("2090-12-25T01:00Z", 1, "2090-12-25T00:00:00-05:00"),
        ("2092-02-28", 2, "2092-03-01T00:00:00-05:00"),
        ("2090-01-01", 365, "2091-01-01T00:00:00-05:00"),
    ] {
        let got = client.say(&format!("RESERVAR Habitación 1 desde={from} noches={nights}"));
        assert!(got.ends_with(&format!(" hasta={until}")), "{from} {nights}: {got}");
        client.say("CANCELAR Habitación 1");
    }
    // Without a start the night begins on the server's current date.
    let status = client.list("ESTADO");
    let time = status.iter().find_map(|line| line.strip_prefix("time=")).unwrap();
    let got = client.say("RESERVAR Habitación 1 noches=1");
    let until = got.rsplit_once(" hasta=").unwrap().1.to_owned();
    assert!(until.contains("T00:00:00-0"), "{got}");
    assert!(until[..10] > time[..10], "{got} at {time}");
    client.say("CANCELAR Habitación 1");
    let got = client.say(&format!("RESERVAR Habitación 1 desde={} noches=1", &time[..10]));
    // The date may have changed in between.
    assert!(got.ends_with(&format!("hasta={until}")) || got.starts_with("ERR 400 "), "{got}");
    server.stop();
}

#[test]
fn a_start_in_the_past_becomes_now_and_an_end_in_the_past_is_refused() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1 desde=2020-01-01T15:00 hasta=2090-01-01
         < OK RESERVADO #1 Habitación 1 desde={T} hasta=2090-01-01T00:00:00+00:00
         > VERIFICAR #1
         < OK VIGENTE #1 Habitación 1 quedan={n}s
         > RESERVAR Habitación 2 desde=1970-01-01
         < OK RESERVADO #2 Habitación 2 desde={T} hasta=-
         > RESERVAR Habitación 3 hasta=2020-01-01
         < ERR 400 {*}
         > RESERVAR Habitación 3 desde=2020-01-01 por=1h
         < ERR 400 {*}
         > RESERVAR Habitación 3 desde=2020-01-01 noches=3
         < ERR 400 {*}
         > RESERVAR Habitación 3 desde=2020-01-01 hasta=2020-01-02
         < ERR 400 {*}
         > RESERVAR Habitación 3 hasta=ahora
         < ERR 400 {*}
         > RESERVAR Habitación 3 desde=2090-01-02 hasta=2090-01-01
         < ERR 400 {*}
         > RESERVAR Habitación 3 desde=2090-01-01 hasta=2090-01-01
         < ERR 400 {*}
         > RESERVAR Habitación 3 desde=9999-12-31 noches=1
         < ERR 400 {*}
         > RESERVAR Habitación 3 desde=9999-12-31 por=2d
         < ERR 400 {*}
         > RESERVAR Habitación 3 desde=9999-12-31T22:00 por=1h
         < OK RESERVADO #3 Habitación 3 desde=9999-12-31T22:00:00+00:00 hasta=9999-12-31T23:00:00+00:00
         > RESERVAR Habitación 3 desde=9999-12-31T23:00 hasta=9999-12-31T23:59:59
         < OK RESERVADO #4 Habitación 3 desde=9999-12-31T23:00:00+00:00 hasta=9999-12-31T23:59:59+00:00",
    );
}

//! `CUANDO`: the earliest time at which a request fits, which is the same as in a refusal.

use support::dialog::{check_cases, check_in_both};
use support::{Client, Rng, Server, seed};

/// The bookings of the cases below: room, start and end on one day.
const BUSY: [(u32, &str, &str); 8] = [
    (1, "08:00", "10:00"),
    (1, "11:00", "13:00"),
    (1, "13:30", "14:00"),
    (1, "20:00", "21:00"),
    (2, "08:00", "11:00"),
    (2, "12:00", "12:30"),
    (3, "09:00", "15:00"),
    (3, "15:00:01", "16:00"),
];

fn book(client: &mut Client, bookings: &[(u32, &str, &str)]) {
    for (room, from, until) in bookings {
        let day = "2090-01-01T";
        let line = format!("RESERVE Habitación {room} from={day}{from} until={day}{until}");
        let got = client.say(&line);
        assert!(got.starts_with("OK RESERVED #"), "{line}: {got}");
    }
}

/// Returns the seconds since midnight.
fn seconds(time: &str) -> u32 {
    let parts = time.split(':').map(|part| part.parse::<u32>().unwrap());
    parts.chain([0]).take(3).fold(0, |sum, part| sum * 60 + part)
}

fn clock(s: u32) -> String {
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// The answer can be booked at once, with the same resources. A second earlier the request is
/// refused, with the same time in the error.
#[test]
fn earliest_start_and_its_resource() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    book(&mut client, &BUSY);
    let cases = [
        ("Habitación 1", "por=1h", "09:00", "10:00", "Habitación 1"),
        ("Habitación 1", "por=1h", "10:00", "10:00", "Habitación 1"),
        // Gaps that are too short are skipped.
        ("Habitación 1", "por=1h1s", "09:00", "14:00", "Habitación 1"),
        ("Habitación 1", "por=1h", "10:00:01", "14:00", "Habitación 1"),
        ("Habitación 1", "por=30m", "12:00", "13:00", "Habitación 1"),
        ("Habitación 1", "por=31m", "12:00", "14:00", "Habitación 1"),
        ("habitacion 1", "por=6h", "07:00", "14:00", "Habitación 1"),
        ("Habitación 1", "por=6h1s", "07:00", "21:00", "Habitación 1"),
        ("Habitación 3", "por=1s", "09:00", "15:00", "Habitación 3"),
        ("Habitación 3", "por=2s", "09:00", "16:00", "Habitación 3"),
        // Free before all bookings.
        ("Habitación 1", "por=1h", "06:30", "06:30", "Habitación 1"),
        ("Habitación 1", "por=1h30m", "06:30", "06:30", "Habitación 1"),
        ("Habitación 1", "por=1h30m1s", "06:30", "14:00", "Habitación 1"),
        // Without a length it must have no end, which fits after the last booking.
        ("Habitación 1", "", "00:00", "21:00", "Habitación 1"),
        ("Habitación 2", "", "00:00", "12:30", "Habitación 2"),
        ("Habitación *", "", "00:00", "12:30", "Habitación 2"),
        ("*, *", "", "00:00", "16:00", "Habitación 2, Habitación 3"),
        ("Habitación 1, *", "", "00:00", "21:00", "Habitación 1, Habitación 2"),
        // Several resources at the same time.
        ("Habitación 1, Habitación 2", "por=30m", "09:00", "13:00", "Habitación 1, Habitación 2"),
        ("Habitación 2, Habitación 1", "por=31m", "09:00", "14:00", "Habitación 2, Habitación 1"),
        // All three are free only after the last end.
        (
            "Habitación 3, Habitación 1, Habitación 2",
            "por=4h1s",
            "09:00",
            "21:00",
            "Habitación 3, Habitación 1, Habitación 2",
        ),
        // Patterns take the first match in inventory order, after the names.
        ("*", "por=1h", "09:00", "10:00", "Habitación 1"),
        ("*", "por=2h", "09:00", "12:30", "Habitación 2"),
        ("HABITACIÓN *", "por=1h", "11:30", "12:30", "Habitación 2"),
        ("*2", "por=1h", "09:00", "11:00", "Habitación 2"),
        ("*, *", "por=30m", "09:00", "13:00", "Habitación 1, Habitación 2"),
        ("*, *", "por=31m", "09:00", "14:00", "Habitación 1, Habitación 2"),
        ("*, *, *", "por=1s", "09:00", "15:00", "Habitación 1, Habitación 2, Habitación 3"),
        ("*, *, *", "por=2s", "09:00", "16:00", "Habitación 1, Habitación 2, Habitación 3"),
        ("*, Habitación 1", "por=30m", "09:00", "13:00", "Habitación 2, Habitación 1"),
        ("*, Habitación 2", "por=1h", "09:00", "14:00", "Habitación 1, Habitación 2"),
        ("*1, *", "por=1h", "09:00", "14:00", "Habitación 1, Habitación 2"),
        // The first target takes Habitación 1 whenever it is free, so that the second has none.
        ("*, *1", "por=1h", "15:00", "", ""),
        ("*3, *3", "por=1h", "09:00", "", ""),
        ("*, *, *, *", "por=1s", "00:00", "", ""),
        ("Habitación 3, *3", "por=1h", "00:00", "", ""),
        ("Habitación 3, *3", "", "00:00", "", ""),
    ];
    for (targets, length, from, want, names) in cases {
        let from = format!("desde=2090-01-01T{from}");
        let got = client.say(&format!("CUANDO {targets} {length} {from}"));
        let in_english = client.say(&format!("WHEN {targets} {from} {length}"));
        if want.is_empty() {
            assert!(got.starts_with("ERR 409 "), "{targets} {length}: {got}");
            assert!(got.ends_with("no se sabe cuándo quedará libre"), "{targets} {length}: {got}");
            assert!(in_english.starts_with("ERR 409 "), "{in_english}");
            assert!(in_english.ends_with("; no end is known"), "{in_english}");
            continue;
        }
        let time = format!("2090-01-01T{}+00:00", clock(seconds(want)));
        assert_eq!(got, format!("OK {time} {names}"), "{targets} {length} {from}");
        assert_eq!(in_english, got);
        let refused = client.say(&format!("RESERVAR {targets} {length} {from}"));
        if refused.starts_with("ERR 409 ") {
            assert!(refused.ends_with(&format!("; libre desde {time}")), "{targets}: {refused}");
            let before = format!("desde=2090-01-01T{}", clock(seconds(want) - 1));
            let got = client.say(&format!("RESERVAR {targets} {length} {before}"));
            assert!(got.starts_with("ERR 409 "), "{targets} {length} {before}: {got}");
        } else {
            assert!(from.contains(want), "{targets} {length}: {refused}");
            client.say(&format!("CANCELAR {}", refused.split(' ').nth(2).unwrap()));
        }
        let got = client.say(&format!("RESERVAR {targets} {length} desde={time}"));
        let number = got.split(' ').nth(2).unwrap().to_owned();
        assert!(got.starts_with(&format!("OK RESERVADO {number} {names} ")), "{targets}: {got}");
        client.say(&format!("CANCELAR {number}"));
    }
    server.stop();
}

/// With random bookings and queries, the answer can be booked, and the request fits at no earlier
/// end of a booking.
#[test]
fn answer_is_the_earliest_of_all_matches() {
    let mut rng = Rng(seed());
    for _ in 0..6 {
        let server = Server::in_memory(&[]);
        let mut client = server.connect();
        client.say("ADD Sala 1..3");
        let rooms = ["Habitación 1", "Habitación 2", "Habitación 3", "Sala 1", "Sala 2", "Sala 3"];
        let at =
            |minute: usize| format!("2090-01-01T{:02}:{:02}:00+00:00", minute / 60, minute % 60);
        let mut ends = Vec::new();
        for _ in 0..80 {
            let from = rng.below(1200);
            let until = from + 1 + rng.below(90);
            let room = rng.pick(&rooms);
            let line = format!("RESERVE {room} from={} until={}", at(from), at(until));
            if client.say(&line).starts_with("OK ") {
                ends.push(until);
            }
        }
        ends.sort_unstable();
        ends.dedup();
        for _ in 0..40 {
            let all = ["Habitación 1", "Sala 2", "Sala *", "*", "*1", "*2", "Habitación *"];
            let mut targets: Vec<&str> = Vec::new();
            for _ in 0..1 + rng.below(3) {
                let target = rng.pick(&all);
                if target.contains('*') || !targets.contains(&target) {
                    targets.push(target);
                }
            }
            let targets = targets.join(", ");
            let length = match rng.below(8) {
                0 => String::new(),
                1 => "nights=1".to_owned(),
                _ => format!("for={}m", 1 + rng.below(90)),
            };
            let from = rng.below(1200);
            let got = client.say(&format!("WHEN {targets} {length} from={}", at(from)));
            let mut found = None;
            if let Some(answer) = got.strip_prefix("OK ") {
                let (time, names) = answer.split_once(' ').unwrap();
                let got = client.say(&format!("RESERVE {targets} {length} from={time}"));
                assert!(
                    got.contains(&format!(" {names} from={time}")),
                    "{targets} {length}: {got}"
                );
                found = Some(time.to_owned());
                let number = got.split(' ').nth(2).unwrap().to_owned();
                let got = client.say(&format!("CANCEL {number}"));
                assert!(got.starts_with("OK CANCELLED "), "{got}");
            } else {
                assert!(got.starts_with("ERR 409 "), "{targets} {length}: {got}");
            }
            let earlier = [from].into_iter().chain(ends.iter().copied().filter(|end| *end > from));
            let earlier =
                earlier.map(at).take_while(|time| found.as_ref().is_none_or(|it| time < it));
            for time in earlier {
                let refused = client.say(&format!("RESERVE {targets} {length} from={time}"));
                assert!(refused.starts_with("ERR 409 "), "{targets} {length} {time}: {refused}");
                let fits = match &found {
                    Some(found) => refused.ends_with(&format!("; free from {found}")),
                    None => refused.ends_with("; no end is known"),
                };
                assert!(fits, "{targets} {length} {time}: {refused}\nnot {got}");
            }
        }
        server.stop();
    }
}

/// Any number of short gaps is skipped.
#[test]
fn short_gaps_are_skipped() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.say("ADD Sala 1..50");
    let at = |minute: usize| {
        let (day, hour) = (1 + minute / 1440, minute / 60 % 24);
        format!("2090-01-{day:02}T{hour:02}:{:02}:00+00:00", minute % 60)
    };
    // Each room is free for five minutes of each hour, at different times.
    for room in 0..50 {
        for hour in 0..60 {
            let (from, until) = (hour * 60 + room, hour * 60 + room + 55);
            let times = format!("from={} until={}", at(from), at(until));
            client.send(format!("RESERVE Sala {} {times}\n", room + 1));
        }
        for _ in 0..60 {
            assert!(client.line().starts_with("OK RESERVED #"));
        }
    }
    let from = at(60);
    for (targets, length, want) in [
        ("Sala 50", "5m", format!("{} Sala 50", at(104))),
        ("Sala 50", "6m", format!("{} Sala 50", at(59 * 60 + 104))),
        ("Sala *", "5m", format!("{} Sala 6", at(60))),
        ("Sala *", "6m", format!("{} Sala 1", at(59 * 60 + 55))),
        ("Sala *", "10d", format!("{} Sala 1", at(59 * 60 + 55))),
        ("Sala *, Sala *", "6m", format!("{} Sala 1, Sala 2", at(59 * 60 + 56))),
        ("Sala 40, Sala *", "6m", format!("{} Sala 40, Sala 1", at(59 * 60 + 94))),
    ] {
        let got = client.say(&format!("WHEN {targets} for={length} from={from}"));
        assert_eq!(got, format!("OK {want}"), "{targets} {length}");
    }
    let got = client.say(&format!("WHEN Sala *, Sala * from={from}"));
    assert_eq!(got, format!("OK {} Sala 1, Sala 2", at(59 * 60 + 56)));
    server.stop();
}

/// Ends are between two seconds. Answers are rounded up to whole seconds and can be booked.
#[test]
fn starts_are_whole_seconds_from_now() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    for _ in 0..20 {
        let got = client.say("RESERVE Habitación 1 for=1h");
        let until = got.split("until=").nth(1).unwrap().to_owned();
        let got = client.say("WHEN Habitación 1 for=1h");
        assert_eq!(got, format!("OK {until} Habitación 1"));
        assert_eq!(client.say("WHEN Habitación 1"), got);
        assert_eq!(client.say("WHEN Habitación 1 from=2020-01-01 for=1h"), got);
        assert_eq!(client.say("CUANDO Habitación 1 desde=ahora"), got);
        let refused = client.say("RESERVE Habitación 1 for=1h");
        assert!(refused.ends_with(&format!("; free from {until}")), "{refused}");
        let booked = client.say(&format!("RESERVE Habitación 1 for=1h from={until}"));
        assert!(booked.starts_with("OK RESERVED #"), "{booked}");
        // A free resource is free from the next whole second.
        let got = client.say("WHEN * for=2h");
        let time = got.split(' ').nth(1).unwrap();
        let booked = client.say(&format!("RESERVE * for=2h from={time}"));
        assert!(booked.contains(&format!(" Habitación 2 from={time} ")), "{got}: {booked}");
        for number in client.list("BOOKINGS").iter().map(|row| row.split('\t').next().unwrap()) {
            client.say(&format!("CANCEL {number}"));
        }
    }
    server.stop();
}

#[test]
fn requests_that_never_fit() {
    check_in_both(
        &[],
        "ana> SOY ana
         ana< OK ana
         ana> RESERVAR Habitación 1 nota=\"para siempre\"
         ana< OK RESERVADO #1 Habitación 1
         ana> RESERVAR Habitación 2 hasta=salir
         ana< OK RESERVADO #2 {*}
         > CUANDO Habitación 1
         < ERR 409 {*}Habitación 1{*}#1 titular=ana desde={T} hasta=- nota=\"para siempre\"; {*}
         > CUANDO Habitación 1 por=1h desde=2095-01-01
         < ERR 409 {*}#1 {*}
         > CUANDO Habitación 2 noches=1
         < ERR 409 {*}#2 titular=ana desde={T} hasta=salir; {*}
         > CUANDO Habitación 3, Habitación 2
         < ERR 409 {*}Habitación 2{*}#2 {*}
         > CUANDO Habitación *, Habitación *
         < ERR 409 {*}Habitación *{*}
         > CUANDO Habitación *
         < OK {T} Habitación 3
         > CUANDO Ático
         < ERR 404 {*}Ático{*}
         > CUANDO Habitación 3, Ático por=1h
         < ERR 404 {*}Ático{*}
         > CUANDO Ático *
         < ERR 404 {*}Ático *{*}
         > CUANDO Habitación 3, Ático* noches=2
         < ERR 404 {*}Ático*{*}
         -- CUANDO changes nothing
         > RESERVAS
         < OK 2 RESERVAS
         < #1⇥Habitación 1⇥ana⇥{T}⇥-⇥para siempre
         < #2⇥Habitación 2⇥ana⇥{T}⇥salir⇥-
         -- after a renewal with an end, the time is known
         ana> RENOVAR #1 hasta=2090-01-01
         ana< OK RENOVADO #1 {*}
         > CUANDO Habitación 1 por=1h
         < OK 2090-01-01T00:00:00+00:00 Habitación 1
         > CUANDO Habitación 1, Habitación 3
         < OK 2090-01-01T00:00:00+00:00 Habitación 1, Habitación 3
         -- without reservations there is no obstacle
         ana> CANCELAR #1, #2
         ana< OK {*}
         > CUANDO *, *, * desde=2090-05-05T12:00
         < OK 2090-05-05T12:00:00+00:00 Habitación 1, Habitación 2, Habitación 3",
    );
}

#[test]
fn invalid_queries_are_refused() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.say("RESERVAR Habitación 1 desde=9999-12-01 hasta=9999-12-31");
    let many = vec!["*"; 33].join(", ");
    let cases: &[(&str, &str)] = &[
        ("CUANDO", "400 {*}CUANDO nombre{*}"),
        ("WHEN", "400 {*}WHEN name{*}"),
        ("CUANDO por=1h", "400 {*}CUANDO nombre{*}"),
        ("CUANDO ,", "400 {*}"),
        ("CUANDO Habitación 1,", "400 {*}Habitación 1,{*}"),
        ("CUANDO #1", "400 {*}#1{*}"),
        ("CUANDO Habitación ?", "400 {*}?{*}"),
        ("CUANDO \"Habitación 1\"", "400 {*}"),
        ("CUANDO *****", "400 {*}*****{*}"),
        ("CUANDO Habitación 1, habitacion 1", "400 {*}habitacion 1{*}"),
        ("CUANDO Habitación 1 hasta=2090-01-01", "400 {*}hasta={*}por={*}noches={*}desde={*}"),
        ("WHEN Habitación 1 until=quit", "400 {*}until={*}for={*}nights={*}from={*}"),
        ("CUANDO Habitación 1 espera=5m", "400 {*}espera={*}"),
        ("CUANDO Habitación 1 nota=x", "400 {*}nota={*}"),
        ("CUANDO Habitación 1 titular=ana", "400 {*}titular={*}"),
        ("CUANDO Habitación 1 por=1h noches=1", "400 {*}por={*}noches={*}"),
        ("WHEN Habitación 1 nights=1 for=1h", "400 {*}for={*}nights={*}"),
        ("CUANDO Habitación 1 por=1h for=1h", "400 {*}por= {*}"),
        ("CUANDO Habitación 1 desde=ahora from=now", "400 {*}desde= {*}"),
        ("CUANDO Habitación 1 por=10", "400 {*}por=10{*}"),
        ("CUANDO Habitación 1 por=0s", "400 {*}por=0s{*}"),
        ("CUANDO Habitación 1 por=3653d1s", "400 {*}por=3653d1s{*}"),
        ("CUANDO Habitación 1 noches=0", "400 {*}noches=0{*}"),
        ("CUANDO Habitación 1 noches=3654", "400 {*}noches=3654{*}"),
        ("WHEN Habitación 1 nights=+1", "400 {*}nights=+1{*}"),
        ("CUANDO Habitación 1 desde=mañana", "400 {*}desde=mañana{*}"),
        ("CUANDO Habitación 1 desde=10000-01-01", "400 {*}desde=10000-01-01{*}"),
        ("CUANDO Habitación 1 por=1h 2", "400 {*}2{*}"),
        // The end would be beyond the calendar.
        ("CUANDO Habitación 2 desde=9999-12-31 noches=1", "400 {*}9999{*}"),
        ("CUANDO Habitación 2 desde=9999-12-31T23:00 por=1h", "400 {*}9999{*}"),
        // No night is left on the last day of the calendar.
        ("CUANDO Habitación 1 desde=9999-12-01 noches=1", "409 {*}#1 {*}no se sabe{*}"),
        ("WHEN Habitación 1 from=9999-12-02 for=1d", "409 {*}#1 {*}no end is known"),
    ];
    for (line, want) in cases {
        check_cases(&mut client, &[(line, &format!("ERR {want}"))]);
    }
    check_cases(&mut client, &[(&format!("CUANDO {many}"), "ERR 400 {*}33{*}32{*}")]);
    server.stop();
}

#[test]
fn queries_at_the_end_of_the_calendar() {
    check_in_both(
        &[],
        "> RESERVAR Habitación 1 desde=9999-12-30 hasta=9999-12-31T23:59:58
         < OK RESERVADO #1 {*}
         > CUANDO Habitación 1 por=1s desde=9999-12-30
         < OK 9999-12-31T23:59:58+00:00 Habitación 1
         > CUANDO Habitación 1 desde=9999-12-30
         < OK 9999-12-31T23:59:58+00:00 Habitación 1
         > CUANDO Habitación 1 por=2s desde=9999-12-30
         < ERR 409 {*}#1 {*}
         > CUANDO Habitación 2 desde=9999-12-30 noches=1
         < OK 9999-12-30T00:00:00+00:00 Habitación 2
         > CUANDO Habitación 2 desde=9999-12-31T23:59:59
         < OK 9999-12-31T23:59:59+00:00 Habitación 2
         -- booked up to the last instant of the calendar, so no later time is left
         > RESERVAR Habitación 3 desde=9999-12-31 hasta=9999-12-31T23:59:59-05:00
         < OK RESERVADO #2 {*}
         > CUANDO Habitación 3 desde=9999-12-31
         < ERR 409 {*}#2 {*}
         > RESERVAR Habitación 3 desde=9999-12-31T23:59:59
         < ERR 409 {*}#2 {*}
         > CUANDO Habitación 3 por=3653d
         < OK {T} Habitación 3",
    );
}

#[test]
fn nights_across_daylight_saving_changes() {
    let server = Server::in_memory(&["--time-zone", "America/New_York"]);
    let mut client = server.connect();
    // Daylight saving time lasts from 12 March to 5 November.
    let cases = [
        (
            "RESERVAR Habitación 1 desde=2090-03-10 noches=2",
            "OK {*} hasta=2090-03-12T00:00:00-05:00",
        ),
        (
            "RESERVAR Habitación 1 desde=2090-03-13 noches=1",
            "OK {*} hasta=2090-03-14T00:00:00-04:00",
        ),
        (
            "CUANDO Habitación 1 noches=1 desde=2090-03-10",
            "OK 2090-03-12T00:00:00-05:00 Habitación 1",
        ),
        (
            "CUANDO Habitación 1 noches=2 desde=2090-03-10",
            "OK 2090-03-14T00:00:00-04:00 Habitación 1",
        ),
        // The day of the change has 23 hours.
        (
            "CUANDO Habitación 1 por=23h desde=2090-03-10",
            "OK 2090-03-12T00:00:00-05:00 Habitación 1",
        ),
        ("WHEN Habitación 1 for=1d from=2090-03-10", "OK 2090-03-14T00:00:00-04:00 Habitación 1"),
        (
            "RESERVAR Habitación 1 desde=2090-03-12T00:00-05:00 noches=1",
            "OK {*} hasta=2090-03-13T00:00:00-04:00",
        ),
        (
            "RESERVAR Habitación 2 desde=2090-11-04T12:00 noches=1",
            "OK {*} hasta=2090-11-05T00:00:00-04:00",
        ),
        (
            "RESERVAR Habitación 2 desde=2090-11-06 noches=1",
            "OK {*} hasta=2090-11-07T00:00:00-05:00",
        ),
        (
            "CUANDO Habitación 2 noches=1 desde=2090-11-04T13:00",
            "OK 2090-11-05T00:00:00-04:00 Habitación 2",
        ),
        (
            "CUANDO Habitación 2 por=25h desde=2090-11-04T13:00",
            "OK 2090-11-05T00:00:00-04:00 Habitación 2",
        ),
        (
            "CUANDO Habitación 2 por=25h1s desde=2090-11-04T13:00",
            "OK 2090-11-07T00:00:00-05:00 Habitación 2",
        ),
        // Between the two instants with the local time 1:30.
        ("RESERVAR Habitación 3 desde=2090-11-05 hasta=2090-11-05T01:30-04:00", "OK {*}"),
        ("RESERVAR Habitación 3 desde=2090-11-05T01:30-05:00 por=1h", "OK {*}"),
        (
            "CUANDO Habitación 3 por=1h desde=2090-11-05",
            "OK 2090-11-05T01:30:00-04:00 Habitación 3",
        ),
        (
            "CUANDO Habitación 3 por=1h1s desde=2090-11-05",
            "OK 2090-11-05T02:30:00-05:00 Habitación 3",
        ),
        (
            "CUANDO Habitación 3 desde=2090-11-05T01:30",
            "ERR 400 desde=2090-11-05T01:30: {*}2090-11-05T01:30:00-04:00{*}2090-11-05T01:30:00-05:00",
        ),
        (
            "WHEN Habitación 3 from=2090-03-12T02:30",
            "ERR 400 from=2090-03-12T02:30: {*}2090-03-12T01:30:00-05:00{*}2090-03-12T03:30:00-04:00",
        ),
        // A night that starts late ends at the same time.
        (
            "CUANDO Habitación 3 noches=1 desde=2090-11-04T23:59:59",
            "OK 2090-11-04T23:59:59-04:00 Habitación 3",
        ),
        (
            "CUANDO Habitación 3 noches=2 desde=2090-11-04T23:59:59",
            "OK 2090-11-05T02:30:00-05:00 Habitación 3",
        ),
    ];
    check_cases(&mut client, &cases);
    server.stop();
}

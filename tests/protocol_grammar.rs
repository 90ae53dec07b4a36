//! The grammar of the protocol: words, names, patterns, and the language and form of replies.

use support::Server;
use support::dialog::{check, check_cases, check_in_both, matches};

#[test]
fn verbs_in_any_case_and_with_any_accents() {
    check(
        &[],
        "> reservar Habitación 1
         < OK RESERVADO #1 Habitación 1
         > Reserve Habitación 2
         < OK RESERVED #2 Habitación 2
         > cánceLAR #1
         < OK CANCELADO #1 Habitación 1
         > CANCE\u{301}L #2
         < OK CANCELLED #2 Habitación 2
         > lístár *1
         < OK 1 DISPONIBLES
         < Habitación 1
         > liST *1
         < OK 1 AVAILABLE
         < Habitación 1
         > reservás
         < OK 0 RESERVAS
         > bookings
         < OK 0 BOOKINGS
         > verificar #1
         < ERR 410 {*}
         > soy ana
         < OK ana
         > iam ana
         < OK ana
         > àlta Sala
         < OK ALTA 1
         > add Sala 2
         < OK ADD 1
         > baja Sala
         < OK BAJA 1
         > remove Sala 2
         < OK REMOVE 1
         > salir
         < OK ADIÓS
         .
         b> quit
         b< OK BYE
         b.",
    );
}

#[test]
fn verbs_are_matched_whole() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    for line in [
        "RESERVA Habitación 1",
        "RESERVARR Habitación 1",
        "R Habitación 1",
        "LIST* x",
        "LISTAR,",
        "LISTAR=",
        "\"LISTAR\"",
        "RESERVAR=Habitación 1",
        "=",
        "#1",
        "42",
        "*",
        ",",
        "'; DROP",
        "RESERVARHabitación 1",
        "desde=2090-01-01",
        "¿LISTAR?",
        "ЛIST",
    ] {
        let got = client.say(line);
        assert!(got.starts_with("ERR 400 "), "{line:?} is answered {got:?}");
    }
    assert_eq!(client.list("RESERVAS").len(), 0);
    server.stop();
}

/// Replies are in the language of the verb. After an unknown verb it is the language of the last
/// verb of the connection, at first Spanish.
#[test]
fn the_language_follows_the_verb() {
    let (es, en) = ("ERR 400 orden desconocida «bailar»{*}", "ERR 400 unknown command 'bailar'{*}");
    check(
        &[],
        &format!(
            "> bailar
             < {es}
             > LIST por=0s
             < ERR 400 for=0s: must be longer than zero{{*}}
             > bailar
             < {en}
             > LISTAR for=0s
             < ERR 400 por=0s: debe ser mayor que cero{{*}}
             > bailar
             < {es}
             > HELP bailar
             < {en}
             > bailar
             < {en}
             -- a connection of its own
             b> bailar
             b< {es}
             b> LIST Sala *
             b< OK 0 AVAILABLE
             b> LIST\u{7}
             b< ERR 400 {{*}}control{{*}}
             b> QUIT x
             b< ERR 400 QUIT takes no arguments{{*}}"
        ),
    );
}

#[test]
fn spaces_and_tabs_separate_words() {
    check_in_both(
        &[],
        "> ⇥  RESERVAR⇥⇥Habitación   1 ,⇥Habitación⇥2 ⇥ por=1h⇥⇥nota=\"a  b⇥c\" ⇥
         < OK RESERVADO #1 Habitación 1, Habitación 2 desde={T} hasta={T}
         > RESERVAS *1
         < OK 1 RESERVAS
         < #1⇥Habitación 1⇥-⇥{T}⇥{T}⇥a  b c
         > RESERVAR Habitación 3,Sala
         < ERR 404 {*}
         >
         >
         > ⇥ ⇥
         > LISTAR
         < OK 1 DISPONIBLES
         < Habitación 3",
    );
}

#[test]
fn options_in_any_order_and_language_at_most_once() {
    check(
        &[],
        "> RESERVAR Habitación 1 nota=x hasta=2090-01-02 desde=2090-01-01
         < OK RESERVADO #1 Habitación 1 desde=2090-01-01T00:00:00+00:00 hasta=2090-01-02T00:00:00+00:00
         > RESERVE Habitación 1 desde=2090-01-03 UNTIL=2090-01-04 Nóte=x
         < OK RESERVED #2 Habitación 1 from=2090-01-03T00:00:00+00:00 until=2090-01-04T00:00:00+00:00
         > RESERVAR Habitación 2 hasta=quit
         < OK RESERVADO #3 Habitación 2 desde={T} hasta=salir
         > RESERVE Habitación 3 until=SALIR
         < OK RESERVED #4 Habitación 3 from={T} until=quit
         > CANCELAR #3, #4
         < OK CANCELADO #3 Habitación 2, #4 Habitación 3",
    );
    let server = Server::in_memory(&[]);
    let bad = [
        ("RESERVAR Habitación 1 por=1h por=2h", "ERR 400 por= aparece dos veces"),
        ("RESERVE Habitación 1 por=1h for=1h", "ERR 400 for= is given twice"),
        ("RESERVAR Habitación 1 nota= nota=", "ERR 400 nota= {*}"),
        // Unknown options, words after an option, and quoted names are refused with a hint.
        ("RESERVAR Habitación 1 color=rojo", "ERR 400 {*}color={*}"),
        ("RESERVE Habitación 1 color=red", "ERR 400 unknown option 'color='; RESERVE takes {*}"),
        ("RESERVAR Habitación 1 titular=ana", "ERR 400 {*}titular={*}"),
        ("RESERVAR Habitación 1 =x", "ERR 400 {*}"),
        ("RESERVAR Habitación 1 \"nota\"=x", "ERR 400 {*}"),
        ("RESERVAR Habitación 1 nota=dos adultos", "ERR 400 {*}adultos{*}"),
        ("RESERVE Habitación 1 note=two adults", "ERR 400 {*}adults{*}"),
        ("RESERVAR Habitación 1 por=1h, Habitación 2", "ERR 400 {*}"),
        ("RESERVAR Habitación 1 nota= \"x\"", "ERR 400 {*}"),
        ("RESERVAR \"Habitación 1\"", "ERR 400 {*}comillas{*}"),
        ("RESERVE \"Habitación 1\"", "ERR 400 {*}quotes{*}"),
        ("RESERVAR Habitación \"1\"", "ERR 400 {*}comillas{*}"),
        ("RESERVAR Habitación\"1\"", "ERR 400 {*}comillas{*}"),
        ("RESERVAR Habitación 1 por=1h \"Sala\"", "ERR 400 {*}"),
        // Quotes at the beginning and the end of a value, and the escapes \" and \\ only.
        ("RESERVAR Habitación 1 nota=\"x", "ERR 400 {*}nota={*}"),
        ("RESERVAR Habitación 1 nota=\"x\\\"", "ERR 400 {*}nota={*}"),
        ("RESERVAR Habitación 1 nota=\"x\\", "ERR 400 {*}nota={*}"),
        ("RESERVAR Habitación 1 nota=\"x\\n\"", "ERR 400 {*}nota={*}"),
        ("RESERVAR Habitación 1 nota=\"x\"y", "ERR 400 {*}nota={*}"),
        ("RESERVAR Habitación 1 nota=\"x\"\"y\"", "ERR 400 {*}nota={*}"),
        ("RESERVAR Habitación 1 nota=x\"y", "ERR 400 {*}nota={*}"),
        ("RESERVAR Habitación 1 nota=\"x\"por=1h", "ERR 400 {*}nota={*}"),
        // Targets.
        ("RESERVAR", "ERR 400 {*}"),
        ("RESERVAR por=1h", "ERR 400 {*}"),
        ("RESERVAR ,", "ERR 400 {*}"),
        ("RESERVAR , Habitación 1", "ERR 400 {*}"),
        ("RESERVAR Habitación 1,", "ERR 400 {*}"),
        ("RESERVAR Habitación 1,, Habitación 2", "ERR 400 {*}"),
        ("RESERVAR Habitación 1, Habitación 1", "ERR 400 {*}"),
        ("RESERVAR Habitación 1, habitacion 1", "ERR 400 {*}"),
        ("RESERVAR #1", "ERR 400 {*}"),
        // Two ends.
        ("RESERVAR Habitación 1 por=1h noches=1", "ERR 400 {*}"),
        ("RESERVAR Habitación 1 hasta=2090-01-01 por=1h", "ERR 400 {*}"),
        ("RESERVAR Habitación 1 hasta=salir noches=1", "ERR 400 {*}"),
        ("RESERVAR Habitación 1 hasta=2090-01-01 noches=1", "ERR 400 {*}"),
    ];
    let mut client = server.connect();
    check_cases(&mut client, &bad);
    assert_eq!(client.list("LISTAR").len(), 3);
    // Refused requests use no numbers.
    assert_eq!(client.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    server.stop();
}

#[test]
fn quoted_values_keep_their_content() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let long = "ñ".repeat(128);
    let cases = [
        (r#"nota=x"#, "x"),
        (r#"nota="dos adultos""#, "dos adultos"),
        (r#"nota="  a  =  b,  c  ""#, "  a  =  b,  c  "),
        (r#"nota="\"\\\"""#, r#""\""#),
        (r#"nota=C:\temp"#, r"C:\temp"),
        (r#"nota=a=b"#, "a=b"),
        (r#"nota=a,b"#, "a,b"),
        (r#"nota="por=1h""#, "por=1h"),
        (r#"nota="""#, "-"),
        (r#"nota="👩‍👩‍👧 + 🐕""#, "👩‍👩‍👧 + 🐕"),
        (&format!("nota={long}"), &long),
        (r#"nota="x" por="2h""#, "x"),
    ];
    for (option, note) in cases {
        let got = client.say(&format!("RESERVAR Habitación 1 {option}"));
        assert!(got.starts_with("OK RESERVADO #"), "{option} is answered {got}");
        let list = client.list("RESERVAS");
        assert_eq!(list[0].split('\t').nth(5).unwrap(), note, "{option}");
        assert!(client.say("CANCELAR Habitación 1").starts_with("OK "));
    }
    // Limits in the errors: 256 bytes of a note, 64 of a key.
    let got = client.say(&format!("RESERVAR Habitación 1 nota={long}x"));
    assert!(matches("ERR 400 {*}256{*}", &got), "{got}");
    client.say("SOY ana");
    let got = client.say(&format!("RESERVAR Habitación 1 clave={}", "k".repeat(65)));
    assert!(matches("ERR 400 {*}64{*}", &got), "{got}");
    let got = client.say(&format!("RESERVAR Habitación 1 clave={}", "k".repeat(64)));
    assert_eq!(got.split(' ').nth(1), Some("RESERVADO"), "{got}");
    let got = client.say("RESERVAR Habitación 2 clave=");
    assert!(got.starts_with("ERR 400 "), "{got}");
    server.stop();
}

#[test]
fn valid_and_invalid_names() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let longest = "ñ".repeat(64);
    let decomposed = "n\u{303}".repeat(64);
    for name in [
        "x",
        "7",
        "Grúa 🏗 7/B (norte)",
        "-",
        "..",
        "a.b:c;d",
        "O'Higgins",
        "東京",
        "été|été",
        "100% [x] {y} <z> ~ ^ ` $ & @ !",
        &longest,
    ] {
        assert_eq!(client.say(&format!("ALTA {name}")), "OK ALTA 1", "{name:?}");
        assert_eq!(client.list(&format!("LISTAR {name}")), [name]);
        assert_eq!(client.say(&format!("BAJA {name}")), "OK BAJA 1", "{name:?}");
    }
    // The limit of 128 bytes applies to the stored form.
    assert_eq!(client.say(&format!("ALTA {decomposed}")), "OK ALTA 1");
    assert_eq!(client.list("LISTAR ñ*"), [longest.as_str()]);
    assert_eq!(client.say(&format!("BAJA {longest}")), "OK BAJA 1");
    let too_long = format!("{longest}x");
    for name in [
        "a=b",
        "a\"b",
        "a\\b",
        "a*b",
        "a#b",
        "#a",
        "a?",
        "a\u{200B}b",
        "a\u{200D}b",
        "a\u{FEFF}b",
        "a\u{202E}b",
        "a\u{2066}b",
        "a\u{200F}b",
        "a\u{061C}b",
        "a\u{AD}b",
        "a\u{A0}b",
        "a\u{2003}b",
        "a\u{2028}b",
        "a\u{85}b",
        "a\u{FFFF}b",
        "a\u{E000}b",
        "a\u{7F}b",
        "\u{301}",
        "\u{308} \u{301}",
        &too_long,
    ] {
        let got = client.say(&format!("ALTA {name}"));
        assert!(got.starts_with("ERR 400 "), "{name:?} is answered {got:?}");
        let got = client.say(&format!("RESERVAR {name}"));
        assert!(got.starts_with("ERR 40"), "{name:?} is answered {got:?}");
    }
    assert_eq!(client.list("LISTAR").len(), 3);
    server.stop();
}

#[test]
fn name_is_found_in_any_spelling_and_printed_as_stored() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    // Sent decomposed, stored composed.
    assert_eq!(client.say("ALTA Salo\u{301}n Ñandú, Straße 1, ΣΊΣΥΦΟΣ"), "OK ALTA 3");
    let mut number = 0;
    for (asked, kept) in [
        ("Habitación 1", "Habitación 1"),
        ("habitacion 1", "Habitación 1"),
        ("HABITACIÓN 1", "Habitación 1"),
        ("Habitacio\u{301}n 1", "Habitación 1"),
        ("hàbïtâcíõn   1", "Habitación 1"),
        ("salon nandu", "Salón Ñandú"),
        ("SALÓN ÑANDÚ", "Salón Ñandú"),
        ("STRASSE 1", "Straße 1"),
        ("σίσυφος", "ΣΊΣΥΦΟΣ"),
    ] {
        number += 1;
        let got = client.say(&format!("RESERVAR {asked}"));
        assert_eq!(got, format!("OK RESERVADO #{number} {kept}"), "{asked:?}");
        let got = client.say(&format!("VERIFICAR #{number} {asked}"));
        assert_eq!(got, format!("OK VIGENTE #{number} {kept} quedan=-"), "{asked:?}");
        let got = client.say(&format!("CANCELAR {asked}"));
        assert_eq!(got, format!("OK CANCELADO #{number} {kept}"), "{asked:?}");
        // Names with the same folded form cannot coexist.
        let got = client.say(&format!("ALTA Otra, {asked}"));
        assert!(matches(&format!("ERR 409 {{*}}{kept}{{*}}"), &got), "{asked:?}: {got}");
    }
    assert_eq!(client.list("LISTAR Otra*").len(), 0);
    for other in ["Habitación 11", "Habitación", "Habitación1", "Habitación 1."] {
        let got = client.say(&format!("RESERVAR {other}"));
        assert!(got.starts_with("ERR 404 "), "{other:?}: {got}");
    }
    server.stop();
}

#[test]
fn patterns_match_resources_not_taken_by_names() {
    check_in_both(
        &[],
        "> ALTA Sala 1..3
         < OK ALTA 3
         -- names are assigned first, then patterns from left to right; the reply keeps the requested order
         > RESERVAR habit* *, Sala *, Habitación 1, Sala 1
         < OK RESERVADO #1 Habitación 2, Sala 2, Habitación 1, Sala 1
         > RESERVAR *, *
         < OK RESERVADO #2 Habitación 3, Sala 3
         > RESERVAR *
         < ERR 409 {*}
         > RESERVAR Ático *
         < ERR 404 {*}Ático *{*}
         > RESERVAR Sala *, Ático *
         < ERR 404 {*}Ático *{*}
         > CANCELAR Sala 2, Habitación 3
         < OK CANCELADO #1 Sala 2, #2 Habitación 3
         -- all targets are reserved, or none
         > RESERVAR Sala *, Sala *
         < ERR 409 {*}
         > RESERVAR Sala 2, Sala *
         < ERR 409 {*}
         > RESERVAR Sala *, Sala 2
         < ERR 409 {*}
         -- patterns ignore case and accents, and * can match nothing
         > RESERVAR *ÁLA*2*
         < OK RESERVADO #3 Sala 2
         > RESERVAR Habitación 3*
         < OK RESERVADO #4 Habitación 3
         -- only the requested interval counts
         > RESERVAR Sala * desde=2090-01-01 por=1h
         < ERR 409 {*}
         > CANCELAR #3
         < OK CANCELADO #3 Sala 2
         > RESERVAR Sala 2 desde=2090-01-01 por=1h
         < OK RESERVADO #5 {*}
         > RESERVAR Sala * desde=2090-01-01T01:00 por=1h
         < OK RESERVADO #6 Sala 2 {*}
         > RESERVAR Sala * desde=2090-01-01T00:30 por=1h
         < ERR 409 {*}
         -- a pattern takes the resource that was added first
         > BAJA Habitación 3
         < ERR 409 {*}
         > CANCELAR #4, Sala 1
         < OK CANCELADO #4 Habitación 3, #1 Sala 1
         > BAJA Habitación 3
         < OK BAJA 1
         > ALTA Habitación 3
         < OK ALTA 1
         > RESERVAR *, *3
         < OK RESERVADO #7 Sala 1, Habitación 3",
    );
}

#[test]
fn limits_of_targets_and_asterisks() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    assert_eq!(client.say("ALTA S 1..40"), "OK ALTA 40");
    let names = |count: usize| {
        let names: Vec<_> = (1..=count).map(|n| format!("S {n}")).collect();
        names.join(", ")
    };
    for verb in ["RESERVAR", "CANCELAR", "BAJA"] {
        let got = client.say(&format!("{verb} {}", names(33)));
        assert!(matches("ERR 400 {*}32{*}", &got), "{got}");
    }
    assert_eq!(
        client.say(&format!("RESERVAR {}", names(32))),
        format!("OK RESERVADO #1 {}", names(32))
    );
    let got = client.say(&format!("ALTA {}", names(33).replace('S', "T")));
    assert!(matches("ERR 400 {*}32{*}", &got), "{got}");
    let got = client.say(&format!("RESERVAR {}", ["S *"; 33].join(",")));
    assert!(matches("ERR 400 {*}32{*}", &got), "{got}");
    let got = client.say(&format!("RESERVAR {}", ["S *"; 8].join(",")));
    assert!(matches("OK RESERVADO #2 S 33, {*}, S 40", &got), "{got}");
    check_cases(
        &mut client,
        &[
            ("RESERVAR *****", "ERR 400 {*}4{*}"),
            ("LISTAR a*b*c*d*e*", "ERR 400 {*}4{*}"),
            ("RESERVAS *****", "ERR 400 {*}4{*}"),
            ("LISTAR *s*4*0*", "OK 0 DISPONIBLES"),
            ("RESERVAR h*b*1*", "OK RESERVADO #3 Habitación 1"),
            ("RESERVAR Hab?*", "ERR 400 {*}"),
            ("RESERVAR #*", "ERR 400 {*}"),
        ],
    );
    server.stop();
}

/// Excerpts of a request in errors are escaped and have at most 64 characters.
#[test]
fn excerpts_in_errors_are_cut_and_escaped() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let x = "é".repeat(100);
    assert_eq!(client.say("ALTA Corta"), "OK ALTA 1");
    let long_name = "n".repeat(128);
    assert_eq!(client.say(&format!("ALTA {long_name}")), "OK ALTA 1");
    let longest = |text: &str, c: char| {
        text.split(|other| other != c).map(|run| run.chars().count()).max().unwrap_or(0)
    };
    for line in [
        x.clone(),
        format!("AYUDA {x}"),
        format!("RESERVAR {x}"),
        format!("RESERVAR {}", x.repeat(10)),
        format!("RESERVAR {}*", "é".repeat(60)),
        format!("RESERVAR Corta {x}=1"),
        format!("RESERVAR Corta por={x}"),
        format!("RESERVAR Corta desde={x}"),
        format!("RESERVAR Corta noches={x}"),
        format!("RESERVAR Corta por=1h {x}"),
        format!("RESERVAR Corta nota={}", x.repeat(10)),
        format!("CANCELAR #{x}"),
        format!("CANCELAR {}", "é".repeat(64)),
        format!("VERIFICAR #1 {x}"),
        format!("SOY {x}"),
        format!("SALIR {x}"),
        format!("ESTADO {x}"),
        format!("ALTA {} 2..1", "é".repeat(60)),
    ] {
        let got = client.say(&line);
        assert!(got.starts_with("ERR 4"), "{line}: {got}");
        assert!(longest(&got, 'é') <= 64, "{line}\nis echoed in full: {got}");
    }
    for line in [
        format!("ALTA {long_name}"),
        format!("ALTA Otra, {}", long_name.to_uppercase()),
        format!("CANCELAR {long_name}"),
        format!("RESERVAR {long_name}, {long_name}"),
        format!("VERIFICAR #1 {long_name}"),
    ] {
        let got = client.say(&line);
        assert!(got.starts_with("ERR 4"), "{line}: {got}");
        let most = longest(&got, 'n').max(longest(&got, 'N'));
        assert!(most <= 64, "{line}\nis echoed in full: {got}");
    }
    // Invisible and bidirectional characters are shown by their code points.
    for c in ['\u{200B}', '\u{202E}', '\u{2066}', '\u{FEFF}', '\u{2028}', '\u{A0}'] {
        for line in [format!("a{c}b"), format!("ALTA a{c}b"), format!("RESERVAR Corta por=a{c}b")] {
            let got = client.say(&line);
            assert!(got.starts_with("ERR 400 ") && !got.contains(c), "{line:?}: {got:?}");
        }
    }
    // The excerpt is cut after escaping.
    let got = client.say(&"\u{200B}".repeat(100));
    assert!(got.chars().count() < 64 + 80, "{got}");
    server.stop();
}

/// The note of a reservation is part of a 409, and cannot forge one.
#[test]
fn note_is_escaped_in_an_error() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let note = format!("\\\" hasta=- {}", "z".repeat(200));
    let got = client.say(&format!("RESERVAR Habitación 1 nota=\"{note}\""));
    assert_eq!(got, "OK RESERVADO #1 Habitación 1");
    let got = client.say("RESERVAR Habitación 1");
    assert!(matches("ERR 409 {*}nota=\"\\\" hasta=- z{*}", &got), "{got}");
    assert!(!got.contains(&"z".repeat(65)), "{got}");
    server.stop();
}

//! Tests of names.

use unicode_normalization::UnicodeNormalization;

use super::spelling::*;
use super::*;

#[test]
fn spellings_of_one_name_fold_to_the_same_form() {
    let cases = [
        ("Habitación 1", "habitacion 1"),
        ("HABITACIÓN 1", "habitacion 1"),
        ("Habitacio\u{301}n 1", "Habitación 1"),
        ("ÑANDÚ", "nandu"),
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("Ёлка", "елка"),
        ("İzmir", "izmir"),
        ("STRAẞE", "straße"),
        ("STRAẞE", "STRASSE"),
    ];
    for (a, b) in cases {
        assert_eq!(fold(a), fold(b), "{a} {b}");
        assert_eq!(fold(&fold(a)), fold(a), "folding twice changes nothing: {a}");
    }
    assert_ne!(fold("か"), fold("が"), "a dakuten is no accent");
    assert_ne!(fold("Sala 1"), fold("Sala 11"));
}

/// Capital `ẞ` was once folded differently from `ß`.
#[test]
fn all_cases_of_a_letter_fold_to_the_same_form_except_greek_iota_subscript() {
    let (mut pairs, mut exceptions) = (0, 0);
    for c in '\0'..=char::MAX {
        let folded = fold(&c.to_string());
        assert_eq!(fold(&folded), folded, "folding twice changes nothing: {c:?}");
        let forms = [c.to_uppercase().collect::<String>(), c.to_lowercase().collect()];
        for form in forms.into_iter().filter(|form| *form != c.to_string()) {
            pairs += 1;
            if fold(&form) != folded {
                let has_iota = c.to_string().nfd().any(|c| c == '\u{345}');
                assert!(has_iota, "{c:?} and {form:?} are two names");
                exceptions += 1;
            }
        }
    }
    println!("{pairs} pairs");
    assert!(pairs > 2_700, "{pairs} pairs are too few for this test");
    // U+0345 itself, and the 63 letters that contain it, in their upper case.
    assert_eq!(exceptions, 64);
}

/// The code points with the category Cf in Unicode 16.
#[test]
fn format_characters_are_refused() {
    let ranges = [
        (0xAD, 0xAD),
        (0x600, 0x605),
        (0x61C, 0x61C),
        (0x6DD, 0x6DD),
        (0x70F, 0x70F),
        (0x890, 0x891),
        (0x8E2, 0x8E2),
        (0x180E, 0x180E),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x2064),
        (0x2066, 0x206F),
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB),
        (0x110BD, 0x110BD),
        (0x110CD, 0x110CD),
        (0x13430, 0x1343F),
        (0x1BCA0, 0x1BCA3),
        (0x1D173, 0x1D17A),
        (0xE0001, 0xE0001),
        (0xE0020, 0xE007F),
    ];
    for c in ranges.into_iter().flat_map(|(first, last)| first..=last) {
        let c = char::from_u32(c).unwrap();
        assert_eq!(check_name(&format!("a{c}b")), Err(NameError::Forbidden(c)));
    }
}

#[test]
fn shortcuts_for_plain_names_agree_with_the_general_rules() {
    let mut plain = 0;
    for c in ('\0'..='\u{250}').chain(['\u{301}', 'ﬁ', '字']) {
        for text in [format!("{c}"), format!("a{c}"), format!("a {c} b"), format!("{c}a")] {
            let general = check_name(&format!("{text}字")).is_ok() && !text.ends_with(' ');
            assert_eq!(check_name(&text).is_ok(), general || text == "字", "{text:?}");
            plain += usize::from(is_plain_name(&text));
            if let Some(folded) = fold_plain(&text, &mut [0; NAME_MAX_BYTES]) {
                assert_eq!(folded, fold_all(&text).as_bytes(), "{text:?}");
            }
        }
    }
    assert!(plain > 500, "{plain} are too few for this test");
    let folded = |text: &str| fold_plain(text, &mut [0; NAME_MAX_BYTES]).map(<[u8]>::to_vec);
    assert_eq!(folded("ÁÑÿ z").as_deref(), Some(&b"any z"[..]));
    assert_eq!(folded(&"á".repeat(NAME_MAX_BYTES + 1)), None);
    for text in ["a b", &"á".repeat(NAME_MAX_BYTES / 2)] {
        assert!(is_plain_name(text), "{text}");
    }
    for text in ["", " a", "a ", "a  b", "a\tb", &"x".repeat(NAME_MAX_BYTES + 1)] {
        assert!(!is_plain_name(text), "{text}");
    }
}

#[test]
fn chunk_has_room_for_every_folded_form() {
    for c in '\0'..=char::MAX {
        let folded = fold_all(c.encode_utf8(&mut [0; 4]));
        assert!(folded.len() <= c.len_utf8() * FOLDED_TIMES, "{c:?}");
    }
    // A sequence of letters stays within the same ratio.
    let mut names = Names::default();
    let longest = "각".repeat(NAME_MAX_BYTES / 3);
    for first in ('가'..'힣').take(3 * NAMES_CHUNK) {
        let name: String = [first].into_iter().chain(longest.chars().skip(1)).collect();
        let id = names.add(&name);
        assert_eq!((names.texts().name(id), names.texts().folded(id)), (&*name, &*fold(&name)));
    }
}

#[test]
fn forbidden_names_are_refused() {
    let long = "x".repeat(129);
    let cases = [
        ("", NameError::Empty),
        (long.as_str(), NameError::TooLong),
        ("a,b", NameError::Forbidden(',')),
        ("a=b", NameError::Forbidden('=')),
        ("a\"b", NameError::Forbidden('"')),
        ("a\\b", NameError::Forbidden('\\')),
        ("a*b", NameError::Forbidden('*')),
        ("#1", NameError::Forbidden('#')),
        ("what?", NameError::Forbidden('?')),
        ("a\u{200B}b", NameError::Forbidden('\u{200B}')),
        ("a\u{202E}b", NameError::Forbidden('\u{202E}')),
        ("a\u{FEFF}", NameError::Forbidden('\u{FEFF}')),
        ("a\u{A0}b", NameError::Forbidden('\u{A0}')),
        ("a\u{85}b", NameError::Forbidden('\u{85}')),
        ("a\tb", NameError::Forbidden('\t')),
        ("a  b", NameError::Forbidden(' ')),
        (" a", NameError::Forbidden(' ')),
        ("a ", NameError::Forbidden(' ')),
        ("\u{FFFF}", NameError::Forbidden('\u{FFFF}')),
        ("\u{E001}", NameError::Forbidden('\u{E001}')),
        ("a\u{E0041}", NameError::Forbidden('\u{E0041}')),
        ("Sala\u{2800}1", NameError::Forbidden('\u{2800}')),
        ("\u{20DD}a", NameError::Forbidden('\u{20DD}')),
        ("\u{301}", NameError::Forbidden('\u{301}')),
    ];
    for (text, want) in cases {
        assert_eq!(check_name(text), Err(want), "{text:?}");
    }
    assert_eq!(check_name("Habitacio\u{301}n 1").as_deref(), Ok("Habitación 1"));
    assert_eq!(check_name(&"ñ".repeat(64)).map(|name| name.len()), Ok(128));
    assert!(check_name("Grúa 🏗 7/B (norte)").is_ok());
}

#[test]
fn folding_plain_names_agrees_with_unicode() {
    for c in '\0'..='\u{3FF}' {
        for text in [c.to_string(), format!("A{c}"), format!("{c}b?")] {
            let plain = text.nfd().filter(|c| !is_accent(*c));
            let plain = plain.flat_map(char::to_lowercase).flat_map(char::to_uppercase);
            assert_eq!(fold(&text), plain.flat_map(char::to_lowercase).collect::<String>());
        }
    }
}

/// A folded name must not look like another part of a request.
#[test]
fn folding_creates_no_character_of_the_grammar() {
    let allowed = ('\0'..=char::MAX).filter(|c| !is_forbidden(*c));
    let creating: Vec<_> = allowed
        .filter(|c| *c != ' ' && fold(&c.to_string()).chars().any(|c| c == ' ' || is_forbidden(c)))
        .collect();
    // Its stroke is an accent. `Request::canonical` replaces it.
    assert_eq!(creating, ['≠']);
}

/// A journal that is older than a rule must remain readable.
#[test]
fn journal_may_have_names_that_cannot_be_added() {
    for name in ["Sala\u{2800}1", "\u{20DD}a", "a\u{200B}", "a  b"] {
        assert!(check_name(name).is_err() && may_be_kept(name), "{name:?}");
    }
    for name in ["", "a, b", "a=b", "a\u{1b}", "Habitacio\u{301}n", " a", &"x".repeat(129)] {
        assert!(!may_be_kept(name), "{name:?}");
    }
}

#[test]
fn table_finds_added_names_and_not_removed_ones() {
    let mut names = Names::default();
    let ids: Vec<_> = (0..1000).map(|n| names.add(&format!("Sala {n}"))).collect();
    let snapshot = names.texts().clone();
    names.remove(ids[500]);
    names.add("Última");
    assert_eq!(names.find("SALA 7"), Some(ids[7]));
    assert_eq!(names.find("Sala 500"), None);
    assert_eq!(names.find("ultima"), Some(ResourceId(1000)));
    assert_eq!(names.len(), 1000);
    assert_eq!(snapshot.name(ResourceId(500)), "Sala 500", "a snapshot does not change");
    assert_eq!(snapshot.len(), 1000);
}

//! Completion with Tab: verbs, and the names of resources that the server has listed.

use std::collections::BTreeSet;

use reservad::text::VERBS;

use crate::client::reply::LineKind;

/// Largest number of names to remember.
const MAX_NAMES: usize = 10_000;

#[derive(Debug, Default)]
pub struct Completions {
    names: BTreeSet<String>,
    /// Whether the list that is being received contains names.
    lists_names: bool,
}

impl Completions {
    /// Learns the names in a line of the server: an item of LIST, or the second field of one of
    /// BOOKINGS.
    pub fn learn(&mut self, kind: LineKind, line: &[u8]) {
        let Ok(line) = str::from_utf8(line) else {
            return;
        };
        match kind {
            LineKind::ListHeader(_) => {
                let lists = ["DISPONIBLES", "AVAILABLE", "RESERVAS", "BOOKINGS"];
                self.lists_names = lists.iter().any(|list| line.ends_with(list));
            }
            LineKind::Item(_) if self.lists_names && self.names.len() < MAX_NAMES => {
                let name = line.split('\t').nth(1).unwrap_or(line);
                self.names.insert(name.to_owned());
            }
            _ => {}
        }
    }

    /// Completes the text before the cursor: the first word to a verb, and the last name after
    /// it. With several candidates, completes their common beginning. Returns `None` if that adds
    /// nothing.
    pub fn complete(&self, text: &str) -> Option<String> {
        let Some((verb, name)) = text.split_once(' ') else {
            let is_lower = text.chars().any(char::is_lowercase);
            let verbs = VERBS.iter().flat_map(|(_, spanish, english)| [*spanish, *english]);
            let verb = common_completion(text, verbs)?;
            return Some(if is_lower { verb.to_lowercase() } else { verb });
        };
        let (others, name) = name.split_at(name.rfind(", ").map_or(0, |comma| comma + 2));
        let name = common_completion(name, self.names.iter().map(String::as_str))?;
        Some(format!("{verb} {others}{name}"))
    }
}

/// Returns the longest common beginning of the candidates that start with a text, whatever its
/// case. A single candidate is followed by a space. Returns `None` if the result adds nothing to the text.
fn common_completion<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let mut candidates = candidates.filter(|candidate| starts_with(candidate, text));
    let first = candidates.next()?;
    let mut common = first.len();
    let mut is_single = true;
    for other in candidates {
        is_single = false;
        let mut pairs = first.char_indices().zip(other.chars());
        let end = pairs.find(|((_, a), b)| !a.to_lowercase().eq(b.to_lowercase()));
        common = common.min(end.map_or(first.len().min(other.len()), |((at, _), _)| at));
    }
    let completed = if is_single { format!("{first} ") } else { first[..common].to_owned() };
    (completed.chars().count() > text.chars().count()).then_some(completed)
}

fn starts_with(candidate: &str, text: &str) -> bool {
    let mut candidate = candidate.chars().flat_map(char::to_lowercase);
    text.chars().flat_map(char::to_lowercase).all(|c| candidate.next() == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_listed_names_are_completed() {
        let mut completions = Completions::default();
        let lines: [(LineKind, &str); 8] = [
            (LineKind::ListHeader(3), "OK 3 AVAILABLE"),
            (LineKind::Item(2), "Habitación 1"),
            (LineKind::Item(1), "Habitación 2"),
            (LineKind::Item(0), "GPU"),
            (LineKind::ListHeader(1), "OK 1 BOOKINGS"),
            (LineKind::Item(0), "#1\tPlaca 7\tana\t-\t-\t-"),
            (LineKind::ListHeader(1), "OK 1 STATUS"),
            (LineKind::Item(0), "version=1"),
        ];
        for (kind, line) in lines {
            completions.learn(kind, line.as_bytes());
        }
        let cases = [
            ("can", Some("cancel")),
            ("QUI", Some("QUIT ")),
            ("ayu", Some("ayuda ")),
            ("L", Some("LIST")),
            ("LIST", None),
            ("RESERV", None),
            ("x", None),
            ("", None),
            ("RESERVE g", Some("RESERVE GPU ")),
            ("RESERVAR habi", Some("RESERVAR Habitación ")),
            ("cancel pla", Some("cancel Placa 7 ")),
            ("RESERVE Sala 1, g", Some("RESERVE Sala 1, GPU ")),
            ("CANCEL ver", None),
            ("CANCEL ", None),
        ];
        for (text, expected) in cases {
            assert_eq!(completions.complete(text).as_deref(), expected, "{text}");
        }
    }
}

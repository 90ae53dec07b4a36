//! Names of resources: which are allowed, when two are the same, and the table
//! that keeps them. Patterns for them are in `pattern`.
//!
//! A name is kept as it was written (in NFC) and found by its *folded form*:
//! without case and accents, which two names never share. One table finds
//! what is written as it is kept, another one every other spelling.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use unicode_normalization::char::{
    canonical_combining_class, compose, decompose_canonical, is_combining_mark,
};
use unicode_normalization::is_nfc_quick;

use crate::limits::{NAME_MAX_BYTES, NAMES_CHUNK};
pub use crate::text::is_hidden;
use crate::text::is_unprintable;

/// Index of a resource in inventory order. Valid until [`Names::remap`].
pub type ResourceId = u32;

/// Why a text is no name (or no pattern).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// Nothing there.
    Empty,
    /// Over [`NAME_MAX_BYTES`] in NFC.
    TooLong,
    /// A character that a name cannot have.
    Forbidden(char),
    /// A pattern with more than [`STARS_MAX`](crate::limits::STARS_MAX) stars.
    Stars,
}

/// Checks a name and returns it in NFC. Single inner spaces are the caller's
/// business on the wire (runs count as one); here they are an error.
pub fn check_name(text: &str) -> Result<Cow<'_, str>, NameError> {
    if is_plain_name(text) {
        return Ok(Cow::Borrowed(text));
    }
    let name = normalize(text);
    check_length(&name)?;
    let mut after_space = true;
    for c in name.chars() {
        if is_forbidden(c) || (c == ' ' && after_space) {
            return Err(NameError::Forbidden(c));
        }
        after_space = c == ' ';
    }
    if after_space {
        return Err(NameError::Forbidden(' '));
    }
    // It would stand on what is printed before the name; accents alone would
    // fold to nothing.
    match name.chars().next() {
        Some(first) if is_combining_mark(first) => Err(NameError::Forbidden(first)),
        _ => Ok(name),
    }
}

/// Whether a text is a good name at first sight: ASCII and the letters that
/// Western Europe adds to it, as nearly all names are. What is not may be one, too.
fn is_plain_name(text: &str) -> bool {
    let mut before = b' ';
    for byte in text.bytes() {
        let is_good = PLAIN[usize::from(byte)] && !(byte == b' ' && before == b' ');
        if !is_good {
            return false;
        }
        before = byte;
    }
    before != b' ' && text.len() <= NAME_MAX_BYTES
}

/// Whether a byte may be in a plain name. If all of a text's are, it has nothing
/// that a name cannot have but spaces in the wrong places.
pub const fn is_plain_byte(byte: u8) -> bool {
    PLAIN[byte as usize]
}

/// The bytes of plain names. The others that begin a letter are not among them, so
/// in such a name [`LATIN_1_LEAD`] begins what those that go on stand in.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = matches!(byte as u8,
            b' '..=b'~' | LATIN_1_LEAD | 0x80..=0xBF if !is_grammar(byte as u8 as char));
        byte += 1;
    }
    plain
};

/// The first byte of U+00C0–U+00FF in UTF-8; the second has the rest in its last six bits.
const LATIN_1_LEAD: u8 = 0xC3;

/// What U+00C0–U+00FF fold to; 0 where that is not one ASCII letter.
const LATIN_1: &[u8; 64] =
    b"aaaaaa\0ceeeeiiii\0nooooo\0\0uuuuy\0\0aaaaaa\0ceeeeiiii\0nooooo\0\0uuuuy\0y";

/// Whether a name may be in a journal: one that could be read back wrong may
/// not. What is merely no longer allowed was allowed once.
pub fn may_be_kept(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX_BYTES
        && !name.contains(|c: char| c.is_control() || is_grammar(c))
        && !name.starts_with(' ')
        && !name.ends_with(' ')
        && normalize(name) == name
}

pub(super) fn check_length(name: &str) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        1..=NAME_MAX_BYTES => Ok(()),
        _ => Err(NameError::TooLong),
    }
}

/// NFC of a text.
pub fn normalize(text: &str) -> Cow<'_, str> {
    use unicode_normalization::IsNormalized::Yes;
    // Below U+0300 nothing is composed any further.
    const COMBINING_LEAD: u8 = 0xCC;
    if text.bytes().all(|byte| byte < COMBINING_LEAD) || is_nfc_quick(text.chars()) == Yes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(composed(&decomposed(text)))
}

/// NFD, each character with its combining class. By the crate's functions of
/// characters: its iterators bring the tables of forms that nobody asks for, 60 KB.
fn decomposed(text: &str) -> Vec<(u8, char)> {
    let mut all = Vec::with_capacity(text.len());
    for c in text.chars() {
        decompose_canonical(c, |part| all.push((canonical_combining_class(part), part)));
    }
    for marks in all.split_mut(|(class, _)| *class == 0) {
        // Nearly always one or two.
        for at in 1..marks.len() {
            let place = marks[..at].partition_point(|(class, _)| *class <= marks[at].0);
            marks[place..=at].rotate_right(1);
        }
    }
    all
}

/// NFC of what is decomposed: each character joins the last starter unless one
/// between them, of the same class or none, stands in its way.
fn composed(all: &[(u8, char)]) -> String {
    let mut out: Vec<char> = Vec::with_capacity(all.len());
    let mut starter = None;
    let mut last_class = 0;
    for &(class, c) in all {
        let joined = starter.and_then(|at: usize| {
            let is_next = at + 1 == out.len();
            let is_free = is_next || last_class < class;
            compose(out[at], c).filter(|_| is_free).map(|joined| (at, joined))
        });
        if let Some((at, joined)) = joined {
            out[at] = joined;
            continue;
        }
        if class == 0 {
            starter = Some(out.len());
        }
        last_class = class;
        out.push(c);
    }
    out.into_iter().collect()
}

/// The signs that have a meaning where names stand.
const fn is_grammar(c: char) -> bool {
    matches!(c, ',' | '=' | '"' | '\\' | '*' | '#' | '?')
}

/// Whether a name cannot have this character: the grammar's own, and
/// everything that is not printed or that changes how its neighbours are.
pub fn is_forbidden(c: char) -> bool {
    is_grammar(c) || (c != ' ' && is_unprintable(c))
}

/// The marks that folding drops.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}')
}

/// Returns the folded form of a name: decomposed, without accents (U+0300–U+036F), in one case.
/// Mapping to lower, upper and lower case again unifies all forms of a letter, such as `ß`, `ẞ` and
/// `SS`, or the three sigmas. The one exception is the Greek iota subscript, which is dropped like
/// an accent but is a letter of its own in capitals: `α` finds `ᾳ`, and `ΑΙ` does not.
pub fn fold(text: &str) -> String {
    match fold_plain(text, &mut [0; NAME_MAX_BYTES]) {
        Some(folded) => folded.iter().copied().map(char::from).collect(),
        None => fold_all(text),
    }
}

fn fold_all(text: &str) -> String {
    let plain = decomposed(text).into_iter().map(|(_, c)| c).filter(|c| !is_accent(*c));
    let upper = plain.flat_map(char::to_lowercase).flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).collect()
}

/// No folded form has more than so many times the bytes of its name: Hangul, which
/// is taken apart into three, has three times as many.
const FOLDED_TIMES: usize = 4;

/// Room for the folded form of a plain name.
type Folded = [u8; NAME_MAX_BYTES];

/// [`fold`] without memory, where each letter folds to one of ASCII and the text
/// is no longer than a name; else nothing.
fn fold_plain<'a>(text: &str, folded: &'a mut Folded) -> Option<&'a [u8]> {
    let mut places = folded.iter_mut();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let letter = match byte {
            LATIN_1_LEAD => LATIN_1[usize::from(bytes.next()? & 0x3F)],
            _ => LOWER[usize::from(byte)],
        };
        if letter == 0 {
            return None;
        }
        *places.next()? = letter;
    }
    let left = places.len();
    Some(&folded[..NAME_MAX_BYTES - left])
}

/// ASCII in small letters; 0 for what is beyond it, and for NUL.
const LOWER: [u8; 256] = {
    let mut lower = [0; 256];
    let mut byte = 0;
    while byte < 0x80 {
        lower[byte] = (byte as u8).to_ascii_lowercase();
        byte += 1;
    }
    lower
};

/// Up to [`NAMES_CHUNK`] names and their folded forms, each run together in one text.
#[derive(Clone, Debug, Default)]
struct Chunk {
    names: String,
    folded: String,
    /// In the chunk itself: a name that nobody has asked for of late is one miss of the cache less.
    ends: SmallVec<[(u16, u16); NAMES_CHUNK]>,
}

impl Chunk {
    fn bounds(&self, at: usize) -> ((u16, u16), (u16, u16)) {
        let start = if at == 0 { (0, 0) } else { self.ends[at - 1] };
        (start, self.ends[at])
    }

    fn push(&mut self, name: &str, folded: &str) {
        self.names.push_str(name);
        self.folded.push_str(folded);
        const { assert!(NAMES_CHUNK * NAME_MAX_BYTES * FOLDED_TIMES <= u16::MAX as usize) };
        self.ends.push((self.names.len() as u16, self.folded.len() as u16));
        if self.ends.len() == NAMES_CHUNK {
            self.names.shrink_to_fit();
            self.folded.shrink_to_fit();
        }
    }
}

/// The texts of all names by [`ResourceId`]. Cloning shares the texts, so a
/// list that is being read for long costs what has been added since.
#[derive(Clone, Debug, Default)]
pub struct NameTexts {
    chunks: Vec<Rc<Chunk>>,
    /// How often ids have begun to be given anew. Clones of one generation
    /// share all but their ends, and keep what is gone from the next one.
    name_epoch: u64,
}

impl NameTexts {
    /// The name of a resource as it was written.
    pub fn name(&self, id: ResourceId) -> &str {
        let chunk = &self.chunks[id as usize / NAMES_CHUNK];
        let (start, end) = chunk.bounds(id as usize % NAMES_CHUNK);
        &chunk.names[start.0 as usize..end.0 as usize]
    }

    /// Its folded form.
    pub fn folded(&self, id: ResourceId) -> &str {
        let chunk = &self.chunks[id as usize / NAMES_CHUNK];
        let (start, end) = chunk.bounds(id as usize % NAMES_CHUNK);
        &chunk.folded[start.1 as usize..end.1 as usize]
    }

    /// Returns the bytes that a clone does not share: a pointer to each chunk of names.
    pub fn retained_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Rc<Chunk>>()
    }

    fn push(&mut self, name: &str, folded: &str) {
        if self.chunks.last().is_none_or(|chunk| chunk.ends.len() == NAMES_CHUNK) {
            self.chunks.push(Rc::default());
        }
        if let Some(last) = self.chunks.last_mut() {
            Rc::make_mut(last).push(name, folded);
        }
    }

    /// See [`Names::begin_renumbering`].
    pub fn name_epoch(&self) -> u64 {
        self.name_epoch
    }

    fn len(&self) -> usize {
        match self.chunks.last() {
            None => 0,
            Some(last) => (self.chunks.len() - 1) * NAMES_CHUNK + last.ends.len(),
        }
    }
}

/// What the table keeps of a name. With the hash beside the id the table grows
/// without a look at the texts, which for 100,000 names takes a tenth of the time.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    id: ResourceId,
}

/// What the table places by: it looks at both ends of 64 bits.
fn place_of(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// The table of names: text by id, id by text. Ids are given in order and
/// not reused before [`Names::truncate`].
#[derive(Debug, Default)]
pub struct Names {
    texts: NameTexts,
    /// The live names as they are written: so nearly everybody writes them, and to
    /// fold a name takes longer than to find it.
    exact: HashTable<Slot>,
    /// The live names by folded form.
    folded: HashTable<Slot>,
    keyed: Keyed,
    /// Bytes of the folded forms of the live names.
    bytes: usize,
}

/// A hash that is fast for short texts. Its key is the system's own randomness,
/// so that a client, who sees neither it nor a hash, cannot choose names that collide.
#[derive(Debug)]
struct Keyed(SeedableRandomState);

impl Default for Keyed {
    fn default() -> Keyed {
        let key = RandomState::new().hash_one(());
        Keyed(SeedableRandomState::with_seed(key, SharedSeed::global_random()))
    }
}

impl Keyed {
    fn hash(&self, text: &[u8]) -> u32 {
        let mut hasher = self.0.build_hasher();
        hasher.write(text);
        let hash = hasher.finish();
        // The upper bits are the better ones.
        (hash >> 32) as u32
    }
}

impl Names {
    /// The id of a name, in any spelling with the same folded form.
    pub fn find(&self, text: &str) -> Option<ResourceId> {
        match fold_plain(text, &mut [0; NAME_MAX_BYTES]) {
            Some(folded) => self.find_folded(folded),
            None => self.find_folded(fold_all(text).as_bytes()),
        }
    }

    /// The id of a name that is written just so.
    pub fn find_exact(&self, text: &[u8]) -> Option<ResourceId> {
        self.find_kept(text).map(|(id, _)| id)
    }

    /// The same with the name.
    pub fn find_kept(&self, text: &[u8]) -> Option<(ResourceId, &str)> {
        let hash = self.keyed.hash(text);
        let mut name = "";
        let is_it = |slot: &Slot| {
            slot.hash == hash && {
                name = self.texts.name(slot.id);
                name.as_bytes() == text
            }
        };
        let id = self.exact.find(place_of(hash), is_it)?.id;
        Some((id, name))
    }

    fn find_folded(&self, folded: &[u8]) -> Option<ResourceId> {
        let hash = self.keyed.hash(folded);
        let is_it =
            |slot: &Slot| slot.hash == hash && self.texts.folded(slot.id).as_bytes() == folded;
        self.folded.find(place_of(hash), is_it).map(|slot| slot.id)
    }

    /// Adds a checked name that is not there yet and returns its id.
    pub fn add(&mut self, name: &str) -> ResourceId {
        let folded = fold(name);
        let id = self.texts.len() as ResourceId;
        self.texts.push(name, &folded);
        for (table, text) in [(&mut self.exact, name), (&mut self.folded, &folded)] {
            let hash = self.keyed.hash(text.as_bytes());
            table.insert_unique(place_of(hash), Slot { hash, id }, |slot| place_of(slot.hash));
        }
        self.bytes += folded.len();
        id
    }

    /// Takes a name out; its id stays unused, its text stays until the gap is closed.
    pub fn remove(&mut self, id: ResourceId) {
        self.bytes -= self.texts.folded(id).len();
        for (place, table) in self.places(id) {
            if let Ok(entry) = table.find_entry(place, |slot| slot.id == id) {
                entry.remove();
            }
        }
    }

    /// Where each table has an id.
    fn places(&mut self, id: ResourceId) -> [(u64, &mut HashTable<Slot>); 2] {
        let place = |text: &str| place_of(self.keyed.hash(text.as_bytes()));
        let (exact, folded) = (place(self.texts.name(id)), place(self.texts.folded(id)));
        [(exact, &mut self.exact), (folded, &mut self.folded)]
    }

    /// Begins to give ids anew, so that what is gone can be forgotten: texts
    /// that are cloned from now on are of the next generation.
    pub fn begin_renumbering(&mut self) {
        self.texts.name_epoch += 1;
    }

    /// Gives the next live names, in order, the ids of a chunk. As many as it has
    /// room for, unless they are the last: so none of its old ones is left out.
    pub fn remap(&mut self, chunk: usize, live: &[ResourceId]) {
        if live.is_empty() {
            return;
        }
        let mut texts = Chunk::default();
        for (new, id) in (chunk * NAMES_CHUNK..).zip(live) {
            texts.push(self.texts.name(*id), self.texts.folded(*id));
            for (place, table) in self.places(*id) {
                if let Some(slot) = table.find_mut(place, |slot| slot.id == *id) {
                    slot.id = new as ResourceId;
                }
            }
        }
        self.texts.chunks[chunk] = Rc::new(texts);
    }

    /// Forgets all ids from `count` on, when none of them is live. They are
    /// given again.
    pub fn truncate(&mut self, count: usize) {
        self.texts.chunks.truncate(count.div_ceil(NAMES_CHUNK));
        self.texts.chunks.shrink_to_fit();
    }

    /// The texts, to read or to clone for a list.
    pub fn texts(&self) -> &NameTexts {
        &self.texts
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.exact.len()
    }

    /// Bytes of all folded names: what it takes to hold a pattern against
    /// each of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_are_one_name() {
        let rows = [
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
        for (a, b) in rows {
            assert_eq!(fold(a), fold(b), "{a} {b}");
            assert_eq!(fold(&fold(a)), fold(a), "folding twice changes nothing: {a}");
        }
        assert_ne!(fold("か"), fold("が"), "a dakuten is no accent");
        assert_ne!(fold("Sala 1"), fold("Sala 11"));
    }

    /// Capital `ẞ` was once folded differently from `ß`.
    #[test]
    fn all_cases_of_a_letter_are_one_but_for_the_greek_iota_below() {
        let (mut pairs, mut exceptions) = (0, 0);
        for c in '\0'..=char::MAX {
            let folded = fold(&c.to_string());
            assert_eq!(fold(&folded), folded, "folding twice changes nothing: {c:?}");
            let forms = [c.to_uppercase().collect::<String>(), c.to_lowercase().collect()];
            for form in forms.into_iter().filter(|form| *form != c.to_string()) {
                pairs += 1;
                if fold(&form) != folded {
                    let has_iota = decomposed(&c.to_string()).contains(&(240, '\u{345}'));
                    assert!(has_iota, "{c:?} and {form:?} are two names");
                    exceptions += 1;
                }
            }
        }
        println!("{pairs} pairs");
        assert!(pairs > 2_700, "{pairs} pairs are too few to test the rule");
        // U+0345 itself, and the 63 letters that contain it, in their upper case.
        assert_eq!(exceptions, 64);
    }

    /// The code points with the category Cf in Unicode 16.
    #[test]
    fn no_format_character_is_in_a_name() {
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

    /// Every character that is anything else to the one than to the other, in every
    /// company that matters.
    #[test]
    fn composing_is_the_crates() {
        use unicode_normalization::UnicodeNormalization;
        let marks = [
            '\u{300}', '\u{301}', '\u{323}', '\u{345}', '\u{5b0}', 'a', 'é', '\u{1100}',
            '\u{1161}', '\u{11a8}', '\u{9d7}', '\u{9c7}', '\u{f73}',
        ];
        let is_special =
            |c: &char| canonical_combining_class(*c) != 0 || [*c].iter().copied().nfd().ne([*c]);
        let special = ('\0'..='\u{30000}').filter(is_special);
        // Of 11,172 syllables in Hangul a few are enough.
        let special =
            special.filter(|c| !('가'..='힣').contains(c) || (*c as u32).is_multiple_of(97));
        let mut tried = 0;
        for c in special.chain('A'..='z') {
            for (mark, last) in marks.iter().flat_map(|m| ['\u{323}', 'x'].map(|last| (*m, last))) {
                let text = String::from_iter([c, mark, last]);
                assert_eq!(
                    composed(&decomposed(&text)),
                    text.nfc().collect::<String>(),
                    "{text:?}"
                );
                assert!(decomposed(&text).into_iter().map(|(_, c)| c).eq(text.nfd()), "{text:?}");
                tried += 1;
            }
        }
        assert!(tried > 50_000, "{tried} are too few to prove anything");
    }

    /// The shortcuts for plain names say what the long way says.
    #[test]
    fn plain_names_are_taken_as_the_others() {
        let mut plain = 0;
        for c in ('\0'..='\u{250}').chain(['\u{301}', 'ﬁ', '字']) {
            for text in [format!("{c}"), format!("a{c}"), format!("a {c} b"), format!("{c}a")] {
                let long_way = check_name(&format!("{text}字")).is_ok() && !text.ends_with(' ');
                assert_eq!(check_name(&text).is_ok(), long_way || text == "字", "{text:?}");
                plain += usize::from(is_plain_name(&text));
                if let Some(folded) = fold_plain(&text, &mut [0; NAME_MAX_BYTES]) {
                    assert_eq!(folded, fold_all(&text).as_bytes(), "{text:?}");
                }
            }
        }
        assert!(plain > 500, "{plain} are too few to prove anything");
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
    fn a_chunk_has_room_for_every_folded_form() {
        for c in '\0'..=char::MAX {
            let folded = fold_all(c.encode_utf8(&mut [0; 4]));
            assert!(folded.len() <= c.len_utf8() * FOLDED_TIMES, "{c:?}");
        }
        // Nor do letters grow by standing together.
        let mut names = Names::default();
        let longest = "각".repeat(NAME_MAX_BYTES / 3);
        for first in ('가'..'힣').take(3 * NAMES_CHUNK) {
            let name: String = [first].into_iter().chain(longest.chars().skip(1)).collect();
            let id = names.add(&name);
            assert_eq!((names.texts().name(id), names.texts().folded(id)), (&*name, &*fold(&name)));
        }
    }

    #[test]
    fn names_that_cannot_be() {
        let long = "x".repeat(129);
        let rows = [
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
        for (text, want) in rows {
            assert_eq!(check_name(text), Err(want), "{text:?}");
        }
        assert_eq!(check_name("Habitacio\u{301}n 1").as_deref(), Ok("Habitación 1"));
        assert_eq!(check_name(&"ñ".repeat(64)).map(|name| name.len()), Ok(128));
        assert!(check_name("Grúa 🏗 7/B (norte)").is_ok());
    }

    #[test]
    fn the_table_folds_as_unicode_does() {
        use unicode_normalization::UnicodeNormalization;
        for c in '\0'..='\u{3FF}' {
            for text in [c.to_string(), format!("A{c}"), format!("{c}b?")] {
                let plain = text.nfd().filter(|c| !is_accent(*c));
                let plain = plain.flat_map(char::to_lowercase).flat_map(char::to_uppercase);
                assert_eq!(fold(&text), plain.flat_map(char::to_lowercase).collect::<String>());
            }
        }
    }

    /// Else a folded name could be read as something that no name is.
    #[test]
    fn folding_brings_up_no_sign_of_the_grammar() {
        let allowed = ('\0'..=char::MAX).filter(|c| !is_forbidden(*c));
        let bring_up: Vec<_> = allowed
            .filter(|c| {
                *c != ' ' && fold(&c.to_string()).chars().any(|c| c == ' ' || is_forbidden(c))
            })
            .collect();
        // Its stroke is an accent. `Request::full_key` knows of it.
        assert_eq!(bring_up, ['≠']);
    }

    /// A journal that was written before a rule came must be read after it.
    #[test]
    fn names_that_may_be_kept_are_more_than_those_that_may_be_given() {
        for name in ["Sala\u{2800}1", "\u{20DD}a", "a\u{200B}", "a  b"] {
            assert!(check_name(name).is_err() && may_be_kept(name), "{name:?}");
        }
        for name in ["", "a, b", "a=b", "a\u{1b}", "Habitacio\u{301}n", " a", &"x".repeat(129)] {
            assert!(!may_be_kept(name), "{name:?}");
        }
    }

    #[test]
    fn the_table_finds_what_was_added_and_not_what_was_removed() {
        let mut names = Names::default();
        let ids: Vec<_> = (0..1000).map(|n| names.add(&format!("Sala {n}"))).collect();
        let snapshot = names.texts().clone();
        names.remove(ids[500]);
        names.add("Última");
        assert_eq!(names.find("SALA 7"), Some(ids[7]));
        assert_eq!(names.find("Sala 500"), None);
        assert_eq!(names.find("ultima"), Some(1000));
        assert_eq!(names.len(), 1000);
        assert_eq!(snapshot.name(500), "Sala 500", "a snapshot keeps what it had");
        assert_eq!(snapshot.len(), 1000);
    }
}

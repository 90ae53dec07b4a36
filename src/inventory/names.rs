//! The table of names. A name is kept as it was written (in NFC) and found by its *folded form*,
//! without case and accents, which two names never share. A second index finds names by their exact
//! spelling. `spelling` has the rules for names, and `pattern` the patterns for them.

mod spelling;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::ResourceId;
use crate::limits::{NAME_MAX_BYTES, NAMES_CHUNK};
use spelling::{FOLDED_TIMES, fold_all, fold_plain};

pub(super) use spelling::check_length;
pub use spelling::{
    NameError, check_name, fold, is_forbidden, is_plain_byte, may_be_kept, normalize,
};

/// The table of names, by id and by text. Ids are assigned in order and not reused before
/// [`Names::truncate`].
#[derive(Debug, Default)]
pub struct Names {
    texts: NameTexts,
    /// The live names by exact spelling. Most requests use it, and finding a name is faster than
    /// folding it.
    exact: HashTable<Slot>,
    /// The live names by folded form.
    folded: HashTable<Slot>,
    hasher: KeyedHasher,
    /// Bytes of the folded forms of the live names.
    bytes: usize,
}

impl Names {
    /// Returns the id of a name, in any spelling with the same folded form.
    pub fn find(&self, text: &str) -> Option<ResourceId> {
        match fold_plain(text, &mut [0; NAME_MAX_BYTES]) {
            Some(folded) => self.find_folded(folded),
            None => self.find_folded(fold_all(text).as_bytes()),
        }
    }

    /// Returns the id of a name with exactly this spelling.
    pub fn find_exact(&self, text: &[u8]) -> Option<ResourceId> {
        self.find_exact_name(text).map(|(id, _)| id)
    }

    /// Returns the id and the text of a name with exactly this spelling.
    pub fn find_exact_name(&self, text: &[u8]) -> Option<(ResourceId, &str)> {
        let hash = self.hasher.hash(text);
        let mut name = "";
        let is_match = |slot: &Slot| {
            slot.hash == hash && {
                name = self.texts.name(slot.id);
                name.as_bytes() == text
            }
        };
        let id = self.exact.find(slot_hash(hash), is_match)?.id;
        Some((id, name))
    }

    fn find_folded(&self, folded: &[u8]) -> Option<ResourceId> {
        let hash = self.hasher.hash(folded);
        let is_match =
            |slot: &Slot| slot.hash == hash && self.texts.folded(slot.id).as_bytes() == folded;
        self.folded.find(slot_hash(hash), is_match).map(|slot| slot.id)
    }

    /// Adds a checked name, whose folded form must be new, and returns its id.
    pub fn add(&mut self, name: &str) -> ResourceId {
        let folded = fold(name);
        let id = ResourceId::at(self.texts.len());
        self.texts.push(name, &folded);
        for (table, text) in [(&mut self.exact, name), (&mut self.folded, &folded)] {
            let hash = self.hasher.hash(text.as_bytes());
            table.insert_unique(slot_hash(hash), Slot { hash, id }, |slot| slot_hash(slot.hash));
        }
        self.bytes += folded.len();
        id
    }

    /// Removes a name. Its id stays unused, and its text stays until the ids are compacted.
    pub fn remove(&mut self, id: ResourceId) {
        self.bytes -= self.texts.folded(id).len();
        for (hash, table) in self.slots(id) {
            if let Ok(entry) = table.find_entry(hash, |slot| slot.id == id) {
                entry.remove();
            }
        }
    }

    /// Returns both indexes with the hash of a name in each.
    fn slots(&mut self, id: ResourceId) -> [(u64, &mut HashTable<Slot>); 2] {
        let hash = |text: &str| slot_hash(self.hasher.hash(text.as_bytes()));
        let (exact, folded) = (hash(self.texts.name(id)), hash(self.texts.folded(id)));
        [(exact, &mut self.exact), (folded, &mut self.folded)]
    }

    /// Starts a compaction of the ids, and with it a new [epoch](NameTexts::name_epoch).
    pub fn start_compaction(&mut self) {
        self.texts.name_epoch += 1;
    }

    /// Moves the next live names, in order, into a chunk. They must fill it unless they are the
    /// last ones, so that all names of the chunk have moved already.
    pub fn remap(&mut self, chunk: usize, live: &[ResourceId]) {
        if live.is_empty() {
            return;
        }
        let mut texts = Chunk::default();
        for (new, id) in (chunk * NAMES_CHUNK..).map(ResourceId::at).zip(live) {
            texts.push(self.texts.name(*id), self.texts.folded(*id));
            for (hash, table) in self.slots(*id) {
                if let Some(slot) = table.find_mut(hash, |slot| slot.id == *id) {
                    slot.id = new;
                }
            }
        }
        self.texts.chunks[chunk] = Rc::new(texts);
    }

    /// Frees all ids from `count` on, none of which may be live, so that they are assigned again.
    pub fn truncate(&mut self, count: usize) {
        self.texts.chunks.truncate(count.div_ceil(NAMES_CHUNK));
        self.texts.chunks.shrink_to_fit();
    }

    /// Returns the texts.
    pub fn texts(&self) -> &NameTexts {
        &self.texts
    }

    /// Returns the number of names.
    pub fn len(&self) -> usize {
        self.exact.len()
    }

    /// Returns the bytes of all folded forms, which measure the cost of matching a pattern with all
    /// names.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }
}

/// The texts of all names by [`ResourceId`]. Clones share the chunks, so a list that a client reads
/// slowly costs only the chunks that have changed since.
#[derive(Clone, Debug, Default)]
pub struct NameTexts {
    chunks: Vec<Rc<Chunk>>,
    /// The number of compactions that have started. Clones of one epoch share all chunks but the
    /// last. A clone of an earlier epoch keeps the texts of removed names.
    name_epoch: u64,
}

impl NameTexts {
    /// Returns the name of a resource as it was written.
    #[inline]
    pub fn name(&self, id: ResourceId) -> &str {
        let chunk = &self.chunks[id.index() / NAMES_CHUNK];
        let (start, end) = chunk.bounds(id.index() % NAMES_CHUNK);
        &chunk.names[start.0 as usize..end.0 as usize]
    }

    /// Returns the folded form of the name of a resource.
    pub fn folded(&self, id: ResourceId) -> &str {
        let chunk = &self.chunks[id.index() / NAMES_CHUNK];
        let (start, end) = chunk.bounds(id.index() % NAMES_CHUNK);
        &chunk.folded[start.1 as usize..end.1 as usize]
    }

    /// Returns the bytes that a clone does not share, which are a pointer to each chunk.
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

    /// Returns the number of compactions that have started.
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

/// Up to [`NAMES_CHUNK`] names and their folded forms, both concatenated.
#[derive(Clone, Debug, Default)]
struct Chunk {
    names: String,
    folded: String,
    /// The ends of each name and folded form. They are stored inline, which saves a cache miss for
    /// a name that was not used recently.
    ends: SmallVec<[(u16, u16); NAMES_CHUNK]>,
}

impl Chunk {
    #[inline]
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

/// The entry of a name in an index. With the hash beside the id the index grows without reading the
/// texts, which for 100,000 names takes a tenth of the time.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    id: ResourceId,
}

/// Returns the hash for the index, which uses both ends of the 64 bits.
fn slot_hash(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// A hash function that is fast for short texts. Its key comes from the system's random numbers,
/// and clients see neither the key nor a hash, so they cannot choose names that collide.
#[derive(Debug)]
struct KeyedHasher(SeedableRandomState);

impl Default for KeyedHasher {
    fn default() -> KeyedHasher {
        let key = RandomState::new().hash_one(());
        KeyedHasher(SeedableRandomState::with_seed(key, SharedSeed::global_random()))
    }
}

impl KeyedHasher {
    fn hash(&self, text: &[u8]) -> u32 {
        let mut hasher = self.0.build_hasher();
        hasher.write(text);
        let hash = hasher.finish();
        // The upper bits are better distributed.
        (hash >> 32) as u32
    }
}

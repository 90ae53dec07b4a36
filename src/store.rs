//! The inventory kept in step with its journal: opening and replay, the
//! commit of a turn, compaction while running.
//!
//! A snapshot is written in pieces while the server goes on. It visits the
//! resources and then the reservations in order; what changes behind the
//! cursor is added to it as a further record, what changes ahead of it will
//! be visited as it is then. So at its end it says exactly what the
//! inventory says, and no turn is held up by all of it.

mod inventory_file;
mod reset;

use std::path::Path;

use crate::inventory::event::{Batch, Subject};
use crate::inventory::history::History;
use crate::inventory::{
    Capacity, Ending, Event, Inventory, Number, Refusal, ResourceId, SessionId,
};
use crate::journal::{
    Error, Journal, JournalId, MAX_PAYLOAD_BYTES, Notice, Record, Report, Storage, SyncPolicy,
};
use crate::limits::{
    COMPACT_CLOSE_BYTES, COMPACT_FREE_BYTES, COMPACT_MIN_BYTES, COMPACT_MOST_TIMES,
    COMPACT_SOON_MS, KEPT_TEXT_MAX_BYTES, NAME_MAX_BYTES, NUMBER_MAX, TARGETS_MAX,
};
use crate::time::{ClockReading, Time, Zone};

pub use inventory_file::InventoryFile;
pub use reset::{Reset, reset_time};

/// Times, options and the number of a reservation in the journal: less than this.
const TERMS_BYTES: usize = 256;
const NAMES_BYTES: usize = TARGETS_MAX * (NAME_MAX_BYTES + 2);
// Whatever is replayed can be put into a snapshot.
const _: () = assert!(TERMS_BYTES + NAMES_BYTES + 2 * KEPT_TEXT_MAX_BYTES <= MAX_PAYLOAD_BYTES);

/// The journal of an inventory; or none, for a server that forgets.
pub struct Store<S: Storage> {
    journal: Option<Journal<S>>,
    id: JournalId,
    /// Whether anything was committed or replayed since the last attempt to seal.
    is_unsealed: bool,
    cursor: Option<Cursor>,
    history: History,
    /// No attempt to compact before the journal has grown to this.
    compact_from_bytes: u64,
    /// What that is when nothing has gone wrong and the last one was long ago.
    compact_min_bytes: u64,
    /// When the last one has ended.
    compacted: Time,
    text: String,
}

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// The next resource to visit.
    Resources(ResourceId),
    /// All resources are visited, and the reservations up to this one.
    Reservations(Number),
}

impl Cursor {
    /// Whether an event changes what was already visited.
    fn is_behind(self, subject: Subject) -> bool {
        match (self, subject) {
            (Cursor::Resources(next), Subject::Name(id)) => id < next,
            (Cursor::Resources(_), _) => false,
            (_, Subject::NewName | Subject::Name(_)) => true,
            (Cursor::Reservations(last), Subject::Reservation(number)) => number <= last,
            // A new reservation has the highest number: it is ahead.
            (_, Subject::NewReservation | Subject::Count) => false,
        }
    }
}

/// What opening a journal has found.
#[derive(Debug)]
pub struct Opened {
    pub report: Report,
    /// The latest time in the journal: no time before it is told again.
    pub last_time: Time,
}

/// Replays one record onto an inventory, or says why it does not fit.
/// Returns the record's time, if it has one.
pub fn replay(inventory: &mut Inventory, record: Record) -> Result<Option<Time>, String> {
    replay_and_tell(inventory, record, |_, _, _| {})
}

/// Replays a record as [`replay`] does. `tell` gets each valid record before it is applied, with
/// the inventory.
fn replay_and_tell(
    inventory: &mut Inventory,
    record: Record,
    tell: impl FnOnce(&Inventory, &str, &Event),
) -> Result<Option<Time>, String> {
    let payload = match record {
        Record::SnapshotEnd { base: NUMBER_MAX.. } => {
            return Err("it counts more events than there can have been".to_owned());
        }
        Record::SnapshotEnd { base } => {
            inventory.set_last_event(base);
            return Ok(None);
        }
        Record::Snapshot { payload, .. } | Record::Event { payload, .. } => payload,
    };
    let (time, event) = Event::decode(payload, inventory).map_err(|error| error.to_string())?;
    inventory.admits(&event).map_err(|error| error.to_string())?;
    tell(inventory, payload, &event);
    inventory.apply(event);
    Ok(Some(time))
}

impl<S: Storage> Store<S> {
    /// A store that keeps nothing.
    pub fn in_memory() -> Store<S> {
        Store {
            journal: None,
            id: JournalId::random(),
            is_unsealed: false,
            cursor: None,
            history: History::default(),
            compact_from_bytes: u64::MAX,
            compact_min_bytes: u64::MAX,
            compacted: Time::MIN,
            text: String::new(),
        }
    }

    /// Opens a journal, or makes one, and replays it.
    pub fn open(
        storage: S,
        policy: SyncPolicy,
        capacity: Capacity,
    ) -> Result<(Store<S>, Inventory, Opened), Error> {
        let mut inventory = Inventory::new(capacity);
        let mut last_time = Time::MIN;
        let mut history = History::default();
        let mut text = String::new();
        let (journal, report) = Journal::open(storage, policy, |record| {
            let time = replay_and_tell(&mut inventory, record, |inventory, payload, event| {
                if let Record::Event { number, .. } = record {
                    history.push(number, inventory.whole_text(payload, event, &mut text));
                }
            })?;
            last_time = last_time.max(time.unwrap_or(last_time));
            if let Record::SnapshotEnd { base } = record {
                history.restart(base);
            }
            Ok(())
        })?;
        let store = Store {
            id: journal.id(),
            is_unsealed: !journal.is_sealed(),
            journal: Some(journal),
            cursor: None,
            history,
            compact_from_bytes: COMPACT_MIN_BYTES,
            compact_min_bytes: COMPACT_MIN_BYTES,
            compacted: Time::MIN,
            text: String::new(),
        };
        Ok((store, inventory, Opened { report, last_time }))
    }

    /// The last events that are durable.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the history, to set what watchers still need.
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// Makes a turn's events durable, as the sync policy has it, and empties
    /// the batch. Until this returns nobody may be told of them.
    ///
    /// # Errors
    /// The journal cannot be written. Nothing can be promised any more: the
    /// caller must stop, without a reply.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(journal) = &mut self.journal {
            self.is_unsealed = true;
            if let Some((first, texts, extents)) = batch.run_together() {
                journal.commit(first, texts, extents)?;
            }
            if !journal.has_snapshot() && self.cursor.take().is_some() {
                // The disk is full, and the commit has taken the space of the snapshot.
                self.compact_from_bytes = 2 * journal.bytes_since_snapshot();
            }
            if let Some(cursor) = self.cursor {
                let behind = batch.for_journal().filter(|(subject, _)| cursor.is_behind(*subject));
                for (_, parts) in behind {
                    self.text.clear();
                    self.text.extend(parts);
                    journal.snapshot_append(&self.text);
                }
            }
        }
        if let Some((first, texts, extents)) = batch.run_together() {
            self.history.extend(first, texts, extents.map(|(end, _)| end));
        }
        batch.clear();
        Ok(())
    }

    /// Syncs what was written (`--fsync <interval>`, and at the end).
    pub fn sync(&mut self) -> Result<(), Error> {
        self.journal.as_mut().map_or(Ok(()), Journal::sync)
    }

    /// Returns the identity of the history: that of the journal, or a random one without a journal.
    pub fn journal_id(&self) -> JournalId {
        self.id
    }

    /// Returns whether to seal the journal when it becomes idle. Unsynced commits are left to their
    /// sync. Without syncs, the journal is only sealed when the server stops.
    pub fn wants_seal(&self) -> bool {
        let may_be = |journal: &Journal<S>| {
            journal.policy() != SyncPolicy::Never && !journal.is_dirty() && !journal.is_sealed()
        };
        self.is_unsealed && self.journal.as_ref().is_some_and(may_be)
    }

    /// Records durably that everything so far is complete; see [`Journal::seal`]. After an attempt,
    /// no other is made until the next commit.
    pub fn seal(&mut self) -> Result<(), Error> {
        self.is_unsealed = false;
        self.journal.as_mut().map_or(Ok(()), |journal| journal.seal().map(|_| ()))
    }

    /// How long what was just written may stay unsynced, in milliseconds;
    /// `None` if there is nothing to sync or nobody asked for it.
    pub fn sync_within_ms(&self) -> Option<u64> {
        let journal = self.journal.as_ref().filter(|journal| journal.is_dirty())?;
        match journal.policy() {
            SyncPolicy::Every(interval) => u64::try_from(interval.as_millis()).ok(),
            SyncPolicy::Always | SyncPolicy::Never => None,
        }
    }

    /// Whether each commit is synced before anybody is told of it.
    pub fn syncs_commits(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.policy() == SyncPolicy::Always)
    }

    /// Checks that this server still owns the directory; see [`Journal::confirm_directory`].
    pub fn confirm_directory(&mut self) -> Result<(), Error> {
        self.journal.as_mut().map_or(Ok(()), Journal::confirm_directory)
    }

    /// Returns the problems with the journal since the last call, for the log.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.journal.as_mut().map(Journal::take_notices).unwrap_or_default()
    }

    /// Fills the spare tail of the journal ahead of the writing.
    pub fn fill_tail(&mut self) -> Result<(), Error> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.fill_tail().map(|_| ()))
    }

    /// Bytes of the journal in use; 0 without one.
    pub fn journal_bytes(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::used_bytes)
    }

    /// Compacts a journal that has grown by `min_bytes` since its snapshot;
    /// by [`COMPACT_MIN_BYTES`] if nothing is said.
    pub fn compact_from(&mut self, min_bytes: u64) {
        self.compact_min_bytes = min_bytes;
        self.compact_from_bytes = min_bytes;
    }

    /// Whether a snapshot is being written, so that ids must stay as they are.
    pub fn is_compacting(&self) -> bool {
        self.cursor.is_some()
    }

    /// Whether compaction has something to do: it goes on, or the journal is
    /// mostly history.
    pub fn wants_compaction(&self, inventory: &Inventory) -> bool {
        // One after the other: there is but one file at a time whose space is given back.
        self.is_compacting() || (!self.has_old_file() && self.is_mostly_history(inventory))
    }

    /// Whether a compaction would be worth it.
    pub fn is_mostly_history(&self, inventory: &Inventory) -> bool {
        let Some(journal) = &self.journal else { return false };
        let live = (inventory.names().len() + inventory.reservation_count()) as u64;
        let history = journal.last_number() - journal.base_number();
        journal.bytes_since_snapshot() >= self.compact_from_bytes && history > 2 * live
    }

    /// Whether the file that a compaction has left behind has not given its space back yet.
    pub fn has_old_file(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::has_nameless)
    }

    /// Whether that file is small enough to be closed at once.
    pub fn is_old_file_small(&self) -> bool {
        let bytes = self.journal.as_ref().map_or(0, Journal::nameless_bytes);
        bytes <= COMPACT_CLOSE_BYTES
    }

    /// Gives a piece of that space back, all of it if there is not much.
    pub fn shrink_old_file(&mut self) {
        let is_small = self.is_old_file_small();
        match &mut self.journal {
            Some(journal) if is_small => journal.close_nameless(),
            Some(journal) => journal.shrink_nameless(COMPACT_FREE_BYTES),
            None => {}
        }
    }

    /// One piece of a compaction, of about `piece_bytes`. Call it with an empty batch.
    ///
    /// # Errors
    /// Before the snapshot has taken the journal's place an error only ends
    /// the attempt (`Ok(Some(error))`, for the log); after that the journal
    /// is not to be trusted and the caller must stop.
    pub fn compact(
        &mut self,
        inventory: &Inventory,
        now: Time,
        piece_bytes: usize,
    ) -> Result<Option<Error>, Error> {
        let Some(journal) = &mut self.journal else { return Ok(None) };
        let outcome = match self.cursor {
            None => journal.begin_snapshot().map(|()| Some(Cursor::Resources(ResourceId(0)))),
            Some(cursor) => piece(journal, cursor, inventory, now, piece_bytes, &mut self.text),
        };
        match outcome {
            Ok(cursor) => {
                self.cursor = cursor;
                if cursor.is_none() {
                    self.put_off_next(now);
                }
                Ok(None)
            }
            Err(error) if journal.poisoned().is_some() => Err(error),
            Err(error) => {
                self.cursor = None;
                self.compact_from_bytes = 2 * journal.bytes_since_snapshot();
                Ok(Some(error))
            }
        }
    }

    /// The next compaction is due when the journal has grown by the least that is
    /// worth one; by twice as much as the last time where that comes soon, for
    /// each costs the same few syncs and makes everybody wait for them.
    fn put_off_next(&mut self, now: Time) {
        let since_ms = now.ms().saturating_sub(self.compacted.ms());
        self.compact_from_bytes = match since_ms < COMPACT_SOON_MS {
            true => (2 * self.compact_from_bytes).min(COMPACT_MOST_TIMES * self.compact_min_bytes),
            false => self.compact_min_bytes,
        };
        self.compacted = now;
    }
}

/// Visits what comes next until a piece is full, and writes it; at the end
/// of the reservations the snapshot takes the journal's place.
fn piece<S: Storage>(
    journal: &mut Journal<S>,
    mut cursor: Cursor,
    inventory: &Inventory,
    now: Time,
    piece_bytes: usize,
    text: &mut String,
) -> Result<Option<Cursor>, Error> {
    let full = journal.snapshot_buffered_bytes() + piece_bytes;
    while journal.snapshot_buffered_bytes() < full {
        let (event, next) = match visit(cursor, inventory) {
            Some(step) => step,
            None => {
                let last = inventory.last_number();
                add_record(journal, inventory, now, &Event::Numbered { last }, text);
                journal.finish_snapshot(inventory.last_event())?;
                return Ok(None);
            }
        };
        if let Some(event) = event {
            add_record(journal, inventory, now, &event, text);
        }
        cursor = next;
    }
    // All of it: what changed behind the cursor must not pile up.
    journal.snapshot_flush(usize::MAX)?;
    Ok(Some(cursor))
}

/// What the cursor stands before, as the event that would make it, and where
/// it stands then; `None` at the end.
fn visit(cursor: Cursor, inventory: &Inventory) -> Option<(Option<Event>, Cursor)> {
    match cursor {
        Cursor::Resources(next) => Some(match inventory.next_resource(next) {
            None => (None, Cursor::Reservations(Number(0))),
            Some(id) => {
                let name = inventory.names().texts().name(id).to_owned();
                (Some(Event::Added { name }), Cursor::Resources(id.next()))
            }
        }),
        Cursor::Reservations(last) => {
            let next = inventory.next_reservation(last)?;
            Some((Some(Event::Reserved(next.clone())), Cursor::Reservations(next.number)))
        }
    }
}

fn add_record<S: Storage>(
    journal: &mut Journal<S>,
    inventory: &Inventory,
    now: Time,
    event: &Event,
    text: &mut String,
) {
    text.clear();
    inventory.encode(now, event, text);
    journal.snapshot_append(text);
}

/// What a server is when nobody is connected: its inventory, the journal of
/// it, and what is not committed yet.
pub struct State<S: Storage> {
    pub store: Store<S>,
    pub inventory: Inventory,
    pub batch: Batch,
}

impl<S: Storage> State<S> {
    /// Nothing, kept nowhere.
    pub fn in_memory(capacity: Capacity) -> State<S> {
        let (store, inventory) = (Store::in_memory(), Inventory::new(capacity));
        State { store, inventory, batch: Batch::default() }
    }

    /// Opens a journal, or makes one, and replays it. What the end of the last
    /// server left undone is then in the batch.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open(
        storage: S,
        policy: SyncPolicy,
        capacity: Capacity,
    ) -> Result<(State<S>, Opened), Error> {
        let (store, inventory, opened) = Store::open(storage, policy, capacity)?;
        let mut state = State { store, inventory, batch: Batch::default() };
        end_orphans(&mut state.inventory, opened.last_time, &mut state.batch);
        state.inventory.set_first_time(opened.last_time);
        Ok((state, opened))
    }

    /// Brings everything up to `now`, each end at its own time, and adds the names that are not
    /// there yet. It is in the batch then, to be committed before anybody is served.
    ///
    /// # Errors
    /// There is no room for the names.
    pub fn catch_up(
        &mut self,
        names: Vec<String>,
        now: ClockReading,
        zone: &Zone,
    ) -> Result<(), String> {
        // No client is connected yet that would have to wait.
        self.inventory.advance(now, zone, &mut self.batch);
        while self.inventory.is_behind() {
            self.inventory.advance(now, zone, &mut self.batch);
        }
        ensure(&mut self.inventory, names, now.wall, &mut self.batch).map(|_| ())
    }
}

/// Ends what was bound to a connection of a server that is no more, as of
/// the last time that the journal knows.
pub fn end_orphans(inventory: &mut Inventory, last_time: Time, batch: &mut Batch) {
    for number in inventory.bound_to(SessionId::GONE, Ending::Lost, usize::MAX) {
        inventory.apply_and_log(last_time, Event::Expired { number }, batch);
    }
}

/// Adds the names that are not there yet; returns how many.
///
/// # Errors
/// There is no room for all of them; then none was added.
pub fn ensure(
    inventory: &mut Inventory,
    names: Vec<String>,
    now: Time,
    batch: &mut Batch,
) -> Result<usize, String> {
    let missing: Vec<_> =
        names.into_iter().filter(|name| inventory.names().find(name).is_none()).collect();
    let events = inventory.add(missing).map_err(|refusal| no_room(&refusal))?;
    let count = events.len();
    events.into_iter().for_each(|event| inventory.apply_and_log(now, event, batch));
    Ok(count)
}

/// Describes why missing names cannot be added.
pub fn no_room(refusal: &Refusal) -> String {
    match refusal {
        Refusal::TooManyResources(most) => {
            format!(
                "there are more names than the {most} resources that --max-resources allows for"
            )
        }
        // A file with a duplicate name is refused when it is read.
        _ => "the names cannot be added".to_owned(),
    }
}

/// Reads an inventory file.
///
/// # Errors
/// One line that names the file, the line and the reason.
pub fn read_inventory_file(path: &Path) -> Result<Vec<String>, String> {
    let mut file = InventoryFile::open(path)?;
    loop {
        if let Some(names) = file.read_piece(usize::MAX)? {
            return Ok(names);
        }
    }
}

//! The inventory kept in step with its log: opening and replay, the commit of a turn, compaction
//! while the server runs.

mod compactor;
mod history;
mod reset;
mod state;

use crate::inventory::event::Batch;
use crate::inventory::{Capacity, Event, Inventory};
use crate::journal::{
    Error, Journal, JournalId, Log, MAX_PAYLOAD_BYTES, Notice, Record, Rejection, Report,
    SyncPolicy,
};
use crate::limits::{
    COMPACT_CLOSE_BYTES, COMPACT_FREE_BYTES, COMPACT_MIN_BYTES, KEPT_TEXT_MAX_BYTES,
    NAME_MAX_BYTES, NUMBER_MAX, TARGETS_MAX,
};
use crate::time::Time;

use compactor::Compactor;
pub use history::History;
pub use reset::{Reset, reset_time};
pub use state::{AddNamesError, State, end_orphans, ensure};

/// Maximal length of the times, options and number of a reservation in the journal.
const TERMS_BYTES: usize = 256;
const NAMES_BYTES: usize = TARGETS_MAX * (NAME_MAX_BYTES + 2);
// Whatever is replayed can be put into a snapshot.
const _: () = assert!(TERMS_BYTES + NAMES_BYTES + 2 * KEPT_TEXT_MAX_BYTES <= MAX_PAYLOAD_BYTES);

/// A store whose log is a journal in files.
pub type Store<S> = LogStore<Journal<S>>;

/// The log of an inventory, or nothing for a server that keeps its data in memory only.
pub struct LogStore<L: Log> {
    log: Option<L>,
    id: JournalId,
    history: History,
    compactor: Compactor,
}

/// The result of opening a store.
#[derive(Debug)]
pub struct Opened {
    pub report: Report,
    /// The latest time in the journal. No earlier time is shown again.
    pub last_time: Time,
}

/// Replays one record onto an inventory. Returns the record's time, if it has one.
pub fn replay(inventory: &mut Inventory, record: Record) -> Result<Option<Time>, Rejection> {
    replay_with(inventory, record, |_, _, _| {})
}

/// Replays a record as [`replay`] does. `observe` gets each valid event with its payload before it
/// is applied, with the inventory.
fn replay_with(
    inventory: &mut Inventory,
    record: Record,
    observe: impl FnOnce(&Inventory, &str, &Event),
) -> Result<Option<Time>, Rejection> {
    let payload = match record {
        Record::SnapshotEnd { base: NUMBER_MAX.. } => {
            return Err("the number of the last event is out of range".into());
        }
        Record::SnapshotEnd { base } => {
            inventory.set_last_event(base);
            return Ok(None);
        }
        Record::Snapshot { payload, .. } | Record::Event { payload, .. } => payload,
    };
    let (time, event) = Event::decode(payload, inventory)?;
    inventory.admits(&event)?;
    observe(inventory, payload, &event);
    inventory.apply(event);
    Ok(Some(time))
}

impl<L: Log> LogStore<L> {
    /// Returns a store that keeps nothing.
    pub fn in_memory() -> LogStore<L> {
        LogStore {
            log: None,
            id: JournalId::random(),
            history: History::default(),
            compactor: Compactor::new(u64::MAX),
        }
    }

    /// Opens a log, or creates one, and replays it.
    pub fn open(
        medium: L::Medium,
        policy: SyncPolicy,
        capacity: Capacity,
    ) -> Result<(LogStore<L>, Inventory, Opened), Error> {
        let mut inventory = Inventory::new(capacity);
        let mut last_time = Time::MIN;
        let mut history = History::default();
        let mut text = String::new();
        let (log, report) = L::replay(medium, policy, |record| {
            let time = replay_with(&mut inventory, record, |inventory, payload, event| {
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
        let store = LogStore {
            id: log.id(),
            log: Some(log),
            history,
            compactor: Compactor::new(COMPACT_MIN_BYTES),
        };
        Ok((store, inventory, Opened { report, last_time }))
    }

    /// Returns the last durable events.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the history, to set which events watchers still need.
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// Commits the events of a turn, as the sync policy has it, and empties the batch. Nobody may
    /// be notified of them before this returns.
    ///
    /// # Errors
    /// The log cannot be written. The caller must stop without a reply.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if let Some(log) = &mut self.log
            && let Some((first, texts, extents)) = batch.concatenated()
        {
            log.append(first, texts, extents)?;
            self.compactor.add_commit(log, batch);
        }
        if let Some((first, texts, extents)) = batch.concatenated() {
            self.history.extend(first, texts, extents.map(|(end, _)| end));
        }
        batch.clear();
        Ok(())
    }

    /// Makes all commits durable, for an interval of `--fsync` and at the end.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.log.as_mut().map_or(Ok(()), Log::sync)
    }

    /// Returns the identity of the history: that of the log, or a random one without a log.
    pub fn journal_id(&self) -> JournalId {
        self.id
    }

    /// Returns whether to seal the log when it becomes idle.
    pub fn wants_seal(&self) -> bool {
        self.log.as_ref().is_some_and(Log::wants_seal)
    }

    /// Records durably that everything so far is complete; see [`Journal::seal`].
    pub fn seal(&mut self) -> Result<(), Error> {
        self.log.as_mut().map_or(Ok(()), Log::seal)
    }

    /// Returns how long the last commits may stay unsynced, in milliseconds; `None` if there is
    /// nothing to sync, or if the policy has no interval.
    pub fn sync_within_ms(&self) -> Option<u64> {
        let log = self.log.as_ref().filter(|log| log.is_dirty())?;
        match log.policy() {
            SyncPolicy::Every(interval) => u64::try_from(interval.as_millis()).ok(),
            SyncPolicy::Always | SyncPolicy::Never => None,
        }
    }

    /// Returns whether each commit is synced before anybody is notified of it.
    pub fn syncs_commits(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.policy() == SyncPolicy::Always)
    }

    /// Checks that this server still owns the directory; see [`Journal::confirm_directory`].
    pub fn confirm_directory(&mut self) -> Result<(), Error> {
        self.log.as_mut().map_or(Ok(()), Log::confirm_ownership)
    }

    /// Returns the problems with the log since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.log.as_mut().map(Log::take_notices).unwrap_or_default()
    }

    /// Prepares space for later commits, in an idle moment; see [`Journal::fill_tail`].
    pub fn fill_tail(&mut self) -> Result<(), Error> {
        self.log.as_mut().map_or(Ok(()), Log::prepare_space)
    }

    /// Returns the bytes of the log in use; 0 without a log.
    pub fn journal_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::used_bytes)
    }

    /// Sets by how many bytes the log must grow before it is compacted. The default is
    /// [`COMPACT_MIN_BYTES`].
    pub fn compact_from(&mut self, min_bytes: u64) {
        self.compactor.set_min_bytes(min_bytes);
    }

    /// Returns whether a compaction is in progress, during which ids must not change.
    pub fn is_compacting(&self) -> bool {
        self.compactor.is_running()
    }

    /// Returns whether to call [`LogStore::compact`].
    #[inline]
    pub fn wants_compaction(&self, inventory: &Inventory) -> bool {
        // The space of one replaced file is freed before the next one is replaced.
        self.is_compacting() || (!self.has_old_file() && self.is_mostly_history(inventory))
    }

    /// Returns whether a compaction would be worthwhile.
    pub fn is_mostly_history(&self, inventory: &Inventory) -> bool {
        self.log.as_ref().is_some_and(|log| self.compactor.is_due(log, inventory))
    }

    /// Returns whether the file that a compaction has replaced still has its space.
    pub fn has_old_file(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.garbage_bytes().is_some())
    }

    /// Returns whether that file is small enough to be closed at once.
    pub fn is_old_file_small(&self) -> bool {
        let bytes = self.log.as_ref().and_then(Log::garbage_bytes);
        bytes.unwrap_or(0) <= COMPACT_CLOSE_BYTES
    }

    /// Frees a piece of that file's space, or all of it if it is small.
    pub fn shrink_old_file(&mut self) {
        let max_bytes = (!self.is_old_file_small()).then_some(COMPACT_FREE_BYTES);
        if let Some(log) = &mut self.log {
            log.free_garbage(max_bytes);
        }
    }

    /// Does a piece of a compaction, of about `piece_bytes`. Called with an empty batch.
    ///
    /// Returns the error, for the log, if the compaction was given up and the log is as it was.
    ///
    /// # Errors
    /// The log is poisoned, and the caller must stop.
    pub fn compact(
        &mut self,
        inventory: &Inventory,
        now: Time,
        piece_bytes: usize,
    ) -> Result<Option<Error>, Error> {
        match &mut self.log {
            Some(log) => self.compactor.run_piece(log, inventory, now, piece_bytes),
            None => Ok(None),
        }
    }
}

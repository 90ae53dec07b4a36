//! All limits of the server, with their units and reasons, and the relations between them.
//!
//! The unit is the last part of a name. A limit without a unit counts things. A limit that a client
//! can reach is part of the error that it gets. docs/security.md lists these.

// The contents of a line.

/// Maximal length of a line without its ending. Enough for 32 names of 120 bytes, and small enough
/// to buffer one line per client.
pub const LINE_MAX_BYTES: usize = 4096;
/// Length without a line ending after which a connection is closed, because it does not speak this
/// protocol.
pub const LINE_ENDLESS_BYTES: usize = 1 << 20;
/// Maximal length of a resource name (in NFC).
pub const NAME_MAX_BYTES: usize = 128;
/// Maximal length of a note, which is a sentence.
pub const NOTE_MAX_BYTES: usize = 256;
/// Maximal length of an idempotency key. Enough for a UUID or the last part of a job's URL.
pub const KEY_MAX_BYTES: usize = 64;
/// Maximal length of a holder name.
pub const HOLDER_MAX_BYTES: usize = 64;
/// Maximal number of targets of a command. Bounds the work of one request.
pub const TARGETS_MAX: usize = 32;
/// Maximal number of `*` in a pattern, more than people write.
pub const STARS_MAX: usize = 4;
/// Bytes of names that the patterns of one line may be compared with. This takes about 20 ms, in
/// which no other client is served. Enough for 32 patterns and 25,000 names of 20 bytes.
pub const PATTERNS_BYTES: usize = 16 << 20;
/// Number of patterns that a line may contain regardless of [`PATTERNS_BYTES`].
pub const PATTERNS_ALWAYS: usize = 4;
/// Maximal number of resources that one `ALTA` adds. Their events are one commit.
pub const ADD_MAX: usize = 10_000;
/// Maximal duration: ten years, with leap days.
pub const DURATION_MAX_MS: i64 = 3_653 * 86_400_000;
/// Maximal number of nights, which is the same duration.
pub const NIGHTS_MAX: u32 = 3_653;
/// Minimal `por=` beside `hasta=salir`. With less, a pause of the network would end reservations.
pub const KEEP_ALIVE_MIN_MS: i64 = 10_000;
/// Maximal `espera=`: a week.
pub const WAIT_MAX_MS: i64 = 7 * 86_400_000;
/// Maximal number of characters of a client's input that an error repeats.
pub const EXCERPT_MAX_CHARS: usize = 64;

// The inventory and the journal.

/// Maximal number of a reservation or an event. A next number always exists, and a million per
/// second would take 290,000 years to reach it. A journal with a higher number is damaged.
pub const NUMBER_MAX: u64 = u64::MAX / 2;
/// Maximal bytes of holder, note, key and request of a reservation in a journal together, somewhat
/// more than a request can lead to. A snapshot contains them escaped, in one record.
pub const KEPT_TEXT_MAX_BYTES: usize = 6 * LINE_MAX_BYTES;
/// Default of `--max-resources`, which needs up to about 100 MB of memory.
pub const RESOURCES_DEFAULT: u32 = 1 << 20;
/// Default of `--max-reservations`, which counts live ones.
pub const RESERVATIONS_DEFAULT: u32 = 1 << 20;
/// Maximal size of the `--inventory` file. Enough for [`RESOURCES_DEFAULT`] names of maximal
/// length, and as much again for comments.
pub const INVENTORY_FILE_MAX_BYTES: u64 = 256 << 20;
/// Lines of the `--inventory` file that a reload reads in one turn, and names that it looks up in
/// one turn. Each takes some milliseconds.
pub const RELOAD_LINES: usize = 4_000;
/// Resources that a reload adds in one turn. Together they cost [`WORK_BUDGET`].
pub const RELOAD_ADDED: usize = WORK_BUDGET as usize / EVENT_WORK;
/// Names that are stored in one chunk. Lists share chunks with the table of names. Each list keeps
/// a pointer per chunk, and a copy of the last chunk when a name is added to it.
pub const NAMES_CHUNK: usize = 64;
/// Number of resource ids below which they are not compacted.
pub const COMPACT_IDS_MIN: usize = 1024;
/// Names and bookings that a compaction of ids moves in one turn. Each resource added since the
/// last turn raises the number by as much again. Takes one or two milliseconds.
pub const COMPACT_IDS_WORK: usize = 2_000;
/// Number of past events that `OBSERVAR tras=` can start from.
pub const HISTORY_EVENTS: usize = 16 << 10;
/// Bytes of the texts of these events, which a small host can spare.
pub const HISTORY_BYTES: usize = 2 << 20;
/// Multiple of these two bounds that is kept while a watcher that reads its output has not been
/// sent everything. One command causes up to [`ADD_MAX`] events, which are sent over several turns.
pub const HISTORY_LAG_TIMES: usize = 8;
/// Events without a notice after which a watcher with a pattern is sent its position, so that its
/// `tras=` does not become too old.
pub const PROGRESS_EVERY: u64 = 4096;
/// Number of events whose notices are cached for further watchers. Watchers that keep up stay
/// within this range.
pub const NOTICES_KEPT: usize = 1_024;

// Connections.

/// Maximal number of listening addresses.
pub const LISTENERS_MAX: usize = 256;
/// Length of the listen queue. A burst of this many connections needs no retries.
pub const BACKLOG: i32 = 1024;
/// Descriptors not available to clients, apart from listeners: standard streams (3), the poll (1),
/// signals (5), the timer (1), the lock, the journal, its successor and the file it replaces (4),
/// the data directory (1), the inventory file (1), and clients that are being rejected.
pub const DESCRIPTORS_RESERVED: u64 = 30;
/// Descriptors of a listener: its socket, and a spare one for rejecting a client when none is left.
pub const LISTENER_DESCRIPTORS: u64 = 2;
/// Default of `--max-per-address`. More than the programs of one host usually have open.
pub const PER_ADDRESS_DEFAULT: u32 = 256;
/// Bounds the connections that have not sent a line yet: to one in this many of each address, and
/// to all but one in this many in total. The others are left for clients that send lines.
pub const SILENT_OF_ADDRESS: usize = 4;
/// Number of connections without a line that are always allowed, because people type slowly.
pub const SILENT_LEAST: usize = 16;
/// Connections over a limit that are sent `ERR 503` with time to read it. Further ones are closed
/// right after the write.
pub const REJECTED_MAX: usize = 12;
/// Default of `--stall-timeout`, after which a client that reads none of its output is closed.
pub const STALL_DEFAULT_MS: u64 = 60_000;
/// Time for a peer to close its side after the last reply, so that no reset overtakes the reply.
pub const LINGER_MS: u64 = 2_000;
/// Interval at which a half-closed connection is probed. A waiter is sent its position, and a
/// watcher that holds a reservation a byte of urgent data.
pub const HALF_CLOSED_PROBE_MS: u64 = 10_000;
/// Time for peers to read their replies when the server stops.
pub const STOP_GRACE_MS: u64 = 5_000;
/// Time after which accepting is tried again when no descriptors were left and none was closed.
pub const ACCEPT_RETRY_MS: u64 = 1_000;
/// Time without data after which a connection is probed by the system (TCP keepalive). With the
/// two limits below, a lost peer is detected after two minutes.
pub const KEEPALIVE_IDLE_S: u64 = 60;
/// Interval of keepalive probes.
pub const KEEPALIVE_INTERVAL_S: u64 = 15;
/// Number of unanswered keepalive probes after which a connection ends.
pub const KEEPALIVE_PROBES: u32 = 4;
/// Time that sent data may stay unacknowledged before a connection ends (`TCP_USER_TIMEOUT`).
pub const USER_TIMEOUT_MS: u32 = 120_000;
/// Time in which each kind of log line that clients can cause is logged at most once.
pub const LOG_QUIET_MS: u64 = 60_000;

// Memory of connections.

/// Input not run yet above which a connection is not read: a little more than a line. With one read
/// more, this is the memory that each waiting connection may use.
pub const INPUT_HIGH_BYTES: usize = 5 << 10;
/// Output above which a connection is neither read nor run (the high-water mark).
pub const OUTPUT_HIGH_BYTES: usize = 16 << 10;
/// Output below which a paused connection continues (the low-water mark).
pub const OUTPUT_LOW_BYTES: usize = 8 << 10;
/// Size of the pieces in which a list is rendered, approximately.
pub const LIST_PIECE_BYTES: usize = 16 << 10;
/// Memory of one reader of a list of 100,000 names, besides the shared names: a piece of text, a
/// bit and a part of a pointer per name, and one chunk of names.
pub const LIST_READER_BYTES: usize = 64 << 10;
/// Pairs of input and output buffers that are kept for reuse, up to an eighth of a megabyte.
pub const POOL_BUFFERS: usize = 64;
/// Capacity above which a buffer is not kept for reuse, because it was needed for an unusual line.
pub const POOL_BUFFER_BYTES: usize = 1 << 10;
/// Default of `--max-output-memory`: buffers and unfinished lists of all connections. Beyond it,
/// the connection without progress for the longest time is closed. Enough for a thousand readers of
/// a million names, or for two readers of a million rows.
pub const OUTPUT_MEMORY_DEFAULT: u64 = 256 << 20;
/// Minimum of `--max-output-memory`, enough for a few lists.
pub const OUTPUT_MEMORY_MIN: u64 = 1 << 20;

// One turn of the loop. The bounds keep a turn at some milliseconds, whatever clients do.

/// Connections of one listener accepted in one turn.
pub const ACCEPT_BUDGET: usize = 256;
/// Bytes read from one connection in one turn.
pub const READ_BUDGET_BYTES: usize = 8 << 10;
/// Lines of one connection run in one turn.
pub const COMMAND_BUDGET: usize = 64;
/// Work of one connection's lines in one turn. The unit is one name or booking that is visited; 16
/// bytes of a long name count as one.
pub const WORK_BUDGET: u64 = 50_000;
/// Work of all connections in one turn, without those that are deferred. The others keep their
/// places in the queue.
pub const TURN_WORK: u64 = 8 * WORK_BUDGET;
/// Work of one event in this unit: its text, its journal record and its notices. So a client that
/// causes thousands of events counts as costly, too.
pub const EVENT_WORK: usize = 50;
/// Estimated work above which a line is costly. Costly lines run after all others. A turn runs at
/// least one of them, and no more than fit into [`WORK_BUDGET`]. A thousand lines just below this
/// take about as long as a person notices.
pub const COSTLY_WORK: u32 = 5_000;
/// Time for which a client that has exceeded [`WORK_BUDGET`] is served after the others. Long
/// enough for hundreds of such clients to be served in turn.
pub const SLOW_MS: u64 = 10_000;
/// Maximal number of bookings of one resource that `CANCELAR` by name visits, which takes a tenth
/// of a millisecond. With more, the client must give the number.
pub const CANCEL_BOOKINGS_MAX: usize = 1_000;
/// Events of one commit above which further lines wait for the next turn.
pub const BATCH_EVENTS: usize = 4096;
/// Number of clients that are answered together while there is nothing to sync first. With 1,000
/// clients, 16 to 128 are equally fast; one by one and all at once cost a tenth more.
pub const FLUSH_BATCH: usize = 64;
/// How often a turn polls for further requests before a sync.
pub const GATHER_ROUNDS: usize = 64;
/// How long a turn polls for further requests before a sync, which takes about as long.
pub const GATHER_MS: u64 = 2;
/// Bytes sent to all connections in one turn, shared equally among those with output.
pub const TURN_WRITE_BYTES: usize = 1 << 20;
/// Maximal bytes sent to one connection in one turn, if few have output.
pub const WRITE_BUDGET_BYTES: usize = 256 << 10;
/// Minimal quota of one connection. A smaller one would cost mostly system calls.
pub const WRITE_MIN_BYTES: usize = 4 << 10;
/// Minimal quota of one list. With more lists than fit into a turn, the others are sent in the next
/// turn. The system's buffers accept megabytes of each list, so many small quotas would make a long
/// turn.
pub const WRITE_LIST_BYTES: usize = 64 << 10;
/// Watchers checked for new notices in one turn. [`TURN_WRITE_BYTES`] bounds the bytes sent to
/// them.
pub const WATCHERS_A_TURN: usize = 2_048;
/// Timers of connections handled in one turn.
pub const DEADLINES_A_TURN: usize = 1_000;
/// Closed connections removed in one turn. The system takes some microseconds for each.
pub const REAPED_A_TURN: usize = 256;
/// Reservations of closed connections that are released in one turn, which takes one or two
/// milliseconds.
pub const RELEASES_A_TURN: usize = 2_000;
/// Reservations released for one closed connection before the next one gets its part.
pub const RELEASES_AT_ONCE: usize = 500;
/// Reservations that end in one turn because they were not renewed in time.
pub const KEEP_ALIVES_ENDED: usize = 1024;
/// Work of one turn on expiries, steps of the clock, and grants of freed resources. Enough for
/// 2,000 expiries, a few milliseconds with their commit.
pub const BACKLOG_WORK: u64 = 100_000;

// Waiting requests.

/// Waiters at the front of a queue that are sent a new position at once.
pub const POSITIONS_AT_ONCE: usize = 10;
/// Interval at which all other waiters are sent a new position.
pub const POSITIONS_EVERY_MS: i64 = 10_000;
/// Work of one turn on announcing positions, a few milliseconds.
pub const POSITIONS_WORK: u64 = 50_000;
/// Maximal number of waiting requests.
pub const WAITERS_MAX: usize = 131_072;
/// Maximal number of targets of waiting requests that want more than one resource by its name. Each
/// such request is compared with the others when its position is announced, which takes some
/// milliseconds at most.
pub const WAIT_TARGETS_MAX: usize = 16_384;
/// Maximal number of these targets for the clients of one address: 64 requests of 32 targets.
pub const WAIT_TARGETS_PER_ADDRESS: usize = 2_048;
/// Maximal number of these targets for the clients on the server's own host, which may be all
/// clients.
pub const WAIT_TARGETS_PER_HOST: usize = 12_288;
/// Maximal number of different patterns of waiting requests. Each is matched with every new
/// resource.
pub const WAIT_PATTERNS_MAX: usize = 4_096;
/// Memory for the matches of these patterns. Enough for all of them with 100,000 resources.
pub const WAIT_MATCH_BYTES: usize = 64 << 20;
/// Maximal number of resources freed at one time that are tested one by one for a waiter. With
/// more, a full search for the waiter is cheaper.
pub const RELEASES_ONE_BY_ONE: usize = 64;

// The clock.

/// How far the wall clock may be behind a time already shown before the log and `ESTADO` report it.
/// Smaller differences are normal corrections by a time service.
pub const CLOCK_DOUBTFUL_MS: i64 = 1000;
/// The start of 2026, before this program was written, in milliseconds since 1970. A wall clock
/// that reads less was never set.
pub const CLOCK_UNSET_MS: i64 = 1_767_225_600_000;
/// How far ahead the wall clock may be before it is not followed until it is confirmed. Corrections
/// are minutes, or hours after a mistaken time zone. A larger difference means a long downtime or a
/// wrong clock.
pub const CLOCK_FAR_MS: i64 = 86_400_000;
/// Time without being set again after which a clock that is far ahead is confirmed. A host that
/// gets the time from the network has it by then.
pub const CLOCK_CONFIRM_MS: u64 = 600_000;
/// How far a clock that is far ahead must move against elapsed time to count as set again. Services
/// that slew a clock move it by less within [`CLOCK_CONFIRM_MS`]: chrony by 50 s, the kernel by
/// 0.3 s.
pub const CLOCK_SET_AGAIN_MS: i64 = 60_000;
/// Interval at which the server checks whether a clock has been confirmed.
pub const CLOCK_CHECK_MS: u64 = 5_000;

// Maintenance of the journal.

/// Time without a commit after which the journal is sealed. Longer than the pauses of busy clients,
/// so that it causes no more syncs for them, and short enough for a copy made by hand after the
/// last command.
pub const SEAL_AFTER_MS: u64 = 1_000;
/// Growth of the journal after which it is compacted.
pub const COMPACT_MIN_BYTES: u64 = 4 << 20;
/// Time between two compactions below which the next one waits for twice as much growth.
pub const COMPACT_SOON_MS: i64 = 10_000;
/// Maximal multiple of [`COMPACT_MIN_BYTES`] that a compaction waits for. 64 MiB are replayed in a
/// third of a second.
pub const COMPACT_MOST_TIMES: u64 = 16;
/// Bytes of a snapshot that are rendered, written and synced in one turn. Takes about a
/// millisecond, and several on a slow card.
pub const COMPACT_PIECE_BYTES: usize = 64 << 10;
/// Events and replies after which the next piece is written, which take about as long as the piece.
/// So clients get at least half of the time. Without clients, each turn writes a piece.
pub const COMPACT_AFTER: usize = 128;
/// Bytes of the replaced file that are freed in one turn. Takes less than a millisecond; freeing
/// 300 MB at once takes 100.
pub const COMPACT_FREE_BYTES: u64 = 1 << 20;
/// Maximal size of a replaced file that is closed at once, which takes some milliseconds.
pub const COMPACT_CLOSE_BYTES: u64 = 32 << 20;
/// Time for which a larger replaced file stays whole, unless the next compaction waits for it.
/// An operator may have started to copy it before it was replaced.
pub const OLD_FILE_KEPT_MS: u64 = 60_000;
/// Interval of the check that the lock file and the journal still have their names. The check takes
/// two system calls and never causes a turn.
pub const DIRECTORY_CHECK_MS: u64 = 60_000;

const _: () = {
    assert!(LINE_MAX_BYTES < LINE_ENDLESS_BYTES);
    assert!(LINE_MAX_BYTES + 2 < INPUT_HIGH_BYTES, "a whole line must fit into the input buffer");
    assert!(READ_BUDGET_BYTES > LINE_MAX_BYTES, "one read must be able to complete a line");
    assert!(TURN_WORK > BATCH_EVENTS as u64 * EVENT_WORK as u64, "a commit must fit into a turn");
    assert!((COSTLY_WORK as u64) < WORK_BUDGET, "a costly line must be deferred before it is slow");
    assert!(WRITE_MIN_BYTES <= WRITE_LIST_BYTES && WRITE_LIST_BYTES <= WRITE_BUDGET_BYTES);
    assert!(WRITE_BUDGET_BYTES <= TURN_WRITE_BYTES);
    assert!(NAME_MAX_BYTES + NOTE_MAX_BYTES * 2 + KEY_MAX_BYTES < LINE_MAX_BYTES);
    // A folded request, or one whose quotes are escaped twice, beside the rest of its line.
    assert!(5 * LINE_MAX_BYTES < KEPT_TEXT_MAX_BYTES);
    assert!(NIGHTS_MAX as i64 * 86_400_000 <= DURATION_MAX_MS);
    assert!(OUTPUT_LOW_BYTES < OUTPUT_HIGH_BYTES);
    assert!(PROGRESS_EVERY < HISTORY_EVENTS as u64, "a position that is sent must still be held");
    assert!(HISTORY_LAG_TIMES * HISTORY_EVENTS > 2 * (ADD_MAX + BATCH_EVENTS));
    assert!(LIST_PIECE_BYTES <= OUTPUT_HIGH_BYTES);
    let kept = 100_000 / 8 + 100_000 / NAMES_CHUNK * 8 + NAMES_CHUNK * (2 * NAME_MAX_BYTES + 8);
    assert!(OUTPUT_HIGH_BYTES + LINE_MAX_BYTES + kept <= LIST_READER_BYTES);
    assert!(OUTPUT_MEMORY_MIN <= OUTPUT_MEMORY_DEFAULT);
    let running = 3 + 1 + 5 + 1 + 4 + 1 + 1;
    assert!(running + REJECTED_MAX as u64 <= DESCRIPTORS_RESERVED);
    let names_bytes = RESOURCES_DEFAULT as u64 * (NAME_MAX_BYTES as u64 + 2);
    assert!(INVENTORY_FILE_MAX_BYTES > names_bytes, "the file of a full server must be readable");
    assert!(ADD_MAX <= RESOURCES_DEFAULT as usize);
    assert!(BACKLOG_WORK < BATCH_EVENTS as u64 * EVENT_WORK as u64, "there must be room for lines");
    assert!(RELEASES_AT_ONCE <= RELEASES_A_TURN);
    assert!(WAIT_TARGETS_PER_ADDRESS >= TARGETS_MAX && WAIT_TARGETS_PER_HOST < WAIT_TARGETS_MAX);
    assert!(WAIT_PATTERNS_MAX >= 100 * TARGETS_MAX);
    assert!(CLOCK_DOUBTFUL_MS < CLOCK_FAR_MS && CLOCK_CHECK_MS < CLOCK_CONFIRM_MS);
    assert!(COMPACT_PIECE_BYTES as u64 <= COMPACT_MIN_BYTES);
};

//! Every limit of the server in one place, each with its reason, and the
//! relations between them, which the compiler asserts.
//!
//! Units stand last in a name. A limit that a client can meet is told in the
//! error that it gets.

/// Longest line in bytes, its ending not counted: room for 32 names of 120
/// bytes, far above what people type, small enough to hold one per client.
pub const LINE_MAX_BYTES: usize = 4096;
/// A peer that sends this much without a line ending does not speak this
/// protocol: it is told so and closed.
pub const LINE_ENDLESS_BYTES: usize = 1 << 20;

/// Longest resource name in bytes (NFC).
pub const NAME_MAX_BYTES: usize = 128;
/// Longest note in bytes: a sentence.
pub const NOTE_MAX_BYTES: usize = 256;
/// Longest idempotency key in bytes: a UUID fits, so does a job URL's tail.
pub const KEY_MAX_BYTES: usize = 64;
/// Longest holder name in bytes.
pub const HOLDER_MAX_BYTES: usize = 64;
/// Most targets in one command: one line of names, and the bound of the
/// work that one request can ask for.
pub const TARGETS_MAX: usize = 32;
/// Most `*` in one pattern: more than people write.
pub const STARS_MAX: usize = 4;
/// Bytes of names that the patterns of one line may be held against, all
/// together: some 20 ms, in which nobody else is served. 32 patterns fit
/// beside 25,000 names of 20 bytes.
pub const PATTERNS_BYTES: usize = 16 << 20;
/// So many patterns a line may have however many names there are.
pub const PATTERNS_ALWAYS: usize = 4;
/// Most resources that one `ALTA` line may add: its events are one commit.
pub const ADD_MAX: usize = 10_000;
/// Longest duration: ten years of days, leap days counted in full.
pub const DURATION_MAX_MS: i64 = 3_653 * 86_400_000;
/// Shortest `por=` beside `hasta=salir`. With less, a pause of the network would end reservations.
pub const KEEP_ALIVE_MIN_MS: i64 = 10_000;
/// Most nights, the same ten years.
pub const NIGHTS_MAX: u32 = 3_653;
/// What a client sent is echoed at most this long, in characters.
pub const ECHO_MAX_CHARS: usize = 64;

/// No confirmation number and no event number is greater, so that there is always
/// a next one: a million a second reach it in 290,000 years. A journal that says
/// more is not one of ours.
pub const NUMBER_MAX: u64 = u64::MAX / 2;

/// Bytes of holder, note, key and request that a reservation in a journal may have, all together:
/// somewhat more than any request leads to. With all of it escaped it must fit a record, for a
/// snapshot writes it anew.
pub const KEPT_TEXT_MAX_BYTES: usize = 6 * LINE_MAX_BYTES;

/// Default for `--max-resources`: about 100 MB of memory at the most.
pub const RESOURCES_DEFAULT: u32 = 1 << 20;
/// Largest `--inventory` file: as many of the longest names as the default
/// allows for, and as much again for comments.
pub const INVENTORY_FILE_MAX_BYTES: u64 = 256 << 20;
/// Lines of the `--inventory` file read in one turn of a reload, or names of it looked up, which
/// takes some milliseconds.
pub const RELOAD_LINES: usize = 4_000;
/// New resources of that file added in one turn. They cost as much as one client may.
pub const RELOAD_ADDED: usize = WORK_BUDGET as usize / EVENT_WORK;
/// Default for `--max-reservations`, in live ones.
pub const RESERVATIONS_DEFAULT: u32 = 1 << 20;
/// Descriptors not available to clients, apart from listeners: standard streams (3), the poll (1),
/// signals (5), the timer (1), the lock, the journal, its successor and the file it replaces (4), the
/// data directory (1), the inventory file (1), and clients that are being rejected.
pub const DESCRIPTORS_RESERVED: u64 = 30;
/// Descriptors of a listener: its socket, and a spare one for rejecting a client when none is left.
pub const LISTENER_DESCRIPTORS: u64 = 2;
/// Default for `--max-per-address`. More than the programs of one host usually have open.
pub const PER_ADDRESS_DEFAULT: u32 = 256;
/// One in four connections of an address, and three in four of all, may have sent no line yet. The
/// rest of the places is left for clients that do.
pub const SILENT_OF_ADDRESS: usize = 4;
/// This many may have sent no line yet, even with few clients, because people at `nc` type slowly.
pub const SILENT_LEAST: usize = 16;
/// Connections over the limit that are told `ERR 503` with time to read it;
/// more than that at one time are told and closed at once.
pub const REFUSED_MAX: usize = 12;
/// Listen backlog: a burst of this many connects is taken without a retry.
pub const BACKLOG: i32 = 1024;
/// Connections accepted in one turn, so that a flood does not own it.
pub const ACCEPT_BUDGET: usize = 256;

/// Bytes taken from one socket in one turn.
pub const READ_BUDGET_BYTES: usize = 8 << 10;
/// Lines run for one connection in one turn, then it is the next one's.
pub const COMMAND_BUDGET: usize = 64;
/// Bytes written to one socket in one turn, if few have something to read.
pub const WRITE_BUDGET_BYTES: usize = 256 << 10;
/// Bytes written to all of them in one turn, shared out among those who have
/// something to read: a few milliseconds where the system has to find the memory
/// for it.
pub const TURN_WRITE_BYTES: usize = 1 << 20;
/// The least that such a share is: less would be mostly system calls.
pub const WRITE_MIN_BYTES: usize = 4 << 10;
/// The least for whoever is sent a list. If there are more of them than a turn
/// has shares of this size, the others are the next turn's: the system's buffers
/// take megabytes of each, and a thousand small shares would be a long turn, too.
pub const WRITE_LIST_BYTES: usize = 64 << 10;
/// Names (16 bytes of a long one) and bookings looked at by one connection's
/// commands in a turn after which it is the next one's, some milliseconds.
pub const WORK_BUDGET: u64 = 50_000;
/// The same for all connections of a turn together, who have not spent so much
/// before: the others keep their places for the next one. Some milliseconds.
pub const TURN_WORK: u64 = 8 * WORK_BUDGET;
/// Work above which a line is costly, as far as that is known before it runs. Costly lines run
/// after all others, and per turn no more of them than fit into [`WORK_BUDGET`], but at least one.
/// A thousand lines just below this take about as long as a person notices.
pub const COSTLY_WORK: u32 = 5_000;
/// What one event counts among these: its text, the journal's record of it, the
/// notices. Who makes thousands in a line is costly, too.
pub const EVENT_WORK: usize = 50;
/// Who has spent that much is served for so long after those who have not,
/// and no more of them in a turn than fit once more into [`WORK_BUDGET`]. Long,
/// for hundreds may take turns at it.
pub const SLOW_MS: u64 = 10_000;
/// Bookings of one resource that `CANCELAR` by name visits to find the one that is meant, in a
/// tenth of a millisecond. Beyond it, the client has to give the number.
pub const CANCEL_LOOKS: usize = 1_000;
/// Reservations of closed connections that are released in one turn, a millisecond or two. The next
/// turns release the rest.
pub const RELEASES_A_TURN: usize = 2_000;
/// Reservations released for one closed connection before the next one gets its share.
pub const RELEASES_AT_ONCE: usize = 500;
/// Closed connections removed in one turn. The system takes some microseconds for each.
pub const REAPED_A_TURN: usize = 256;
/// Deadlines of connections handled in one turn.
pub const DEADLINES_A_TURN: usize = 1_000;
/// Watchers checked for new notices in one turn. [`TURN_WRITE_BYTES`] bounds the bytes sent to
/// them.
pub const WATCHERS_A_TURN: usize = 2_048;
/// Events whose notices are cached for further watchers. Watchers that keep up stay within this
/// range.
pub const NOTICES_KEPT: usize = 1_024;
/// Addresses that may be listened on.
pub const LISTENERS_MAX: usize = 256;
/// Events of one turn's commit above which the rest waits for the next: a
/// turn is not to become long because many clients add thousands of rooms.
pub const BATCH_EVENTS: usize = 4096;
/// Connections that are answered together while no sync is to be waited for. Measured with 1,000
/// of them: 16 to 128 are alike, all at once costs a tenth more, one by one as well.
pub const FLUSH_BATCH: usize = 64;
/// How often in a turn it is looked whether more has come that the same sync can
/// make durable.
pub const GATHER_ROUNDS: usize = 64;
/// A turn gathers for so long at the most, in milliseconds as the clock cuts them: about as
/// long as a sync takes.
pub const GATHER_MS: u64 = 2;
/// Longest wait: a week.
pub const WAIT_MAX_MS: i64 = 7 * 86_400_000;
/// Waiters at the front of a queue that are told a new place at once.
pub const PLACES_AT_ONCE: usize = 10;
/// Those further back are told at most this often.
pub const PLACES_EVERY_MS: i64 = 10_000;
/// Work (see [`WORK_BUDGET`]) for announcing places in one turn, a few milliseconds.
pub const PLACES_WORK: u64 = 50_000;
/// Maximal number of waiting requests.
pub const WAITERS_MAX: usize = 131_072;
/// Maximal number of targets of waiting requests that want more than one resource by its name. Each
/// such request is compared with the others when its place is announced, which takes no more than
/// some milliseconds.
pub const WAIT_TARGETS_MAX: usize = 16_384;
/// The same for the clients of one address: 64 requests of 32 targets.
pub const WAIT_TARGETS_PER_ADDRESS: usize = 2_048;
/// The same for the clients on the server's own host, which may be all clients.
pub const WAIT_TARGETS_PER_HOST: usize = 12_288;
/// Maximal number of different patterns of waiting requests. Each is matched with every new
/// resource.
pub const WAIT_PATTERNS_MAX: usize = 4_096;
/// Memory for the matches of these patterns. Enough for all of them with 100,000 resources.
pub const WAIT_MATCH_BYTES: usize = 64 << 20;
/// Work of one turn on expiries, steps of the clock, and grants of freed resources. Enough for
/// 2,000 expiries, a few milliseconds with their commit.
pub const BACKLOG_WORK: u64 = 100_000;
/// A half-closed waiter is told its place this often, and a half-closed watcher
/// that holds something by its connection is probed, to see whether they are
/// still there.
pub const NUDGE_MS: u64 = 10_000;
/// Up to this many resources freed at one time, each is tested whether it helps a waiter before a
/// full search for the waiter. With more, the full search is cheaper.
pub const RELEASES_ONE_BY_ONE: usize = 64;
/// Events that `OBSERVAR tras=` can go back, at the most.
pub const HISTORY_EVENTS: usize = 16 << 10;
/// The same in bytes of their texts; a small host can spare so much.
pub const HISTORY_BYTES: usize = 2 << 20;
/// Multiple of these bounds that is held while a watcher that reads its output has not been sent
/// all of it. One command makes up to 10,000 events, which are sent over several turns.
pub const HISTORY_LAG_TIMES: usize = 8;
/// Events without a notice after which a watcher with a pattern is sent its position, so that its
/// `tras=` does not become too old.
pub const PROGRESS_EVERY: u64 = 4096;
/// Bytes read but not yet run above which a socket is not read: a line and
/// some. With one read more this is what each of thousands that wait may hold.
pub const INPUT_HIGH_BYTES: usize = 5 << 10;
/// Pairs of buffers, for what comes and what goes, that are kept for the next who talks: an eighth
/// of a megabyte at the most.
pub const SPARE_BUFFERS: usize = 64;
/// A buffer with more room is not kept: who needed it was not as others are.
pub const SPARE_BYTES: usize = 1 << 10;
/// Output waiting for a peer above which nothing of it is read or run.
pub const OUTPUT_HIGH_BYTES: usize = 16 << 10;
/// Output below which a paused peer is taken up again.
pub const OUTPUT_LOW_BYTES: usize = 8 << 10;
/// A list is turned into text in pieces of about this size.
pub const LIST_PIECE_BYTES: usize = 16 << 10;
/// Names whose texts lie together. Lists share these chunks with the table: each
/// keeps a pointer for every one of them, and for itself the last one as it was,
/// once a name is added to it.
pub const NAMES_CHUNK: usize = 64;
/// What one reader of a list of 100,000 names may keep, besides the names: a
/// piece of text, a bit and a share of a pointer for each name, and for itself
/// those names that others have joined since in one chunk.
pub const LIST_READER_BYTES: usize = 64 << 10;
/// With fewer ids, gaps in them are not worth closing.
pub const TIDY_MIN_IDS: usize = 1024;
/// Names and bookings that get new ids in a turn, and as many again for each
/// resource that has come since: a millisecond or two.
pub const TIDY_WORK: usize = 2_000;
/// Default for `--max-output-memory`, in bytes: buffers and unfinished lists of all connections.
/// Beyond it, the connection without progress for the longest time is closed. Enough for a thousand
/// readers of a million names, or for two readers of a million rows.
pub const OUTPUT_MEMORY_DEFAULT: u64 = 256 << 20;
/// Minimum of `--max-output-memory`, enough for a few lists.
pub const OUTPUT_MEMORY_MIN: u64 = 1 << 20;

/// A peer that takes none of its output for this long is closed.
pub const STALL_DEFAULT_MS: u64 = 60_000;
/// After the last reply the peer has this long to close its side, so that
/// no reset overtakes the reply.
pub const LINGER_MS: u64 = 2_000;
/// Time that a stop gives to peers to take what they are owed.
pub const STOP_GRACE_MS: u64 = 5_000;
/// Reservations without a renewal in time that are ended in one turn.
pub const KEEP_ALIVES_ENDED: usize = 1024;

/// After running out of descriptors with nothing closing, look again.
pub const ACCEPT_RETRY_MS: u64 = 1_000;
/// At most one log line of a kind in this time for what strangers provoke.
pub const LOG_QUIET_MS: u64 = 60_000;
/// Idle time before keepalive probes, in seconds; with the probes below a
/// dead peer is known after two minutes.
pub const KEEPALIVE_IDLE_S: u64 = 60;
/// Seconds between keepalive probes.
pub const KEEPALIVE_INTERVAL_S: u64 = 15;
/// Unanswered probes that end a connection.
pub const KEEPALIVE_PROBES: u32 = 4;
/// Data unacknowledged for this long ends a connection (TCP_USER_TIMEOUT).
pub const USER_TIMEOUT_MS: u32 = 120_000;

/// How far the wall clock may be behind what was told before that is said, in
/// milliseconds: what the network's time corrects by itself is not worth a word.
pub const CLOCK_DOUBTFUL_MS: i64 = 1000;

/// The start of 2026, in milliseconds since 1970, which is before this program was written. A wall
/// clock that reads less was never set.
pub const CLOCK_UNSET_MS: i64 = 1_767_225_600_000;

/// A wall clock that is ahead by more than this, in milliseconds, is not followed until it is
/// confirmed. Corrections are minutes, or hours after a mistaken time zone. A larger difference
/// means a long downtime or a wrong clock.
pub const CLOCK_FAR_MS: i64 = 86_400_000;

/// A clock that is far ahead is confirmed after it has run for this long, in milliseconds, without
/// being set again. A host that gets the time from the network has it by then.
pub const CLOCK_CONFIRM_MS: u64 = 600_000;

/// A clock that has moved by more than this against elapsed time, in milliseconds, was set again.
/// Daemons that slew a clock move it by less in that time: chrony by 50 s, the kernel by 0.3 s.
pub const CLOCK_SET_AGAIN_MS: i64 = 60_000;

/// Interval, in milliseconds, at which the server checks whether a clock has been confirmed.
pub const CLOCK_CHECK_MS: u64 = 5_000;

/// A journal is sealed after this long without a commit, in milliseconds. Longer than the pauses
/// between the commands of busy clients, so that they cause no more syncs; short enough that a copy
/// made by hand after the last command is sealed.
pub const SEAL_AFTER_MS: u64 = 1_000;
/// A journal smaller than this is not worth compacting.
pub const COMPACT_MIN_BYTES: u64 = 4 << 20;
/// A compaction that comes so soon after the one before is one too many: the next
/// waits for twice as much growth, at the most for so many times the least.
pub const COMPACT_SOON_MS: i64 = 10_000;
/// See [`COMPACT_SOON_MS`]: 64 MiB, which are replayed in a third of a second.
pub const COMPACT_MOST_TIMES: u64 = 16;
/// Snapshot bytes that are made, written and synced in a turn while compacting:
/// about a millisecond, and some of a slow card.
pub const COMPACT_PIECE_BYTES: usize = 64 << 10;
/// A piece is due in every turn in which nobody is served; else when the turns
/// since the last one have had so many events and as many replies as make this
/// many together. They have then taken about as long as a piece does, so the
/// clients lose half of the time at the most.
pub const COMPACT_AFTER: usize = 128;
/// Bytes that the old file gives back in a turn: under a millisecond where freeing
/// 300 MB takes a tenth of a second.
pub const COMPACT_FREE_BYTES: u64 = 1 << 20;
/// An old file of no more than this is closed at once: some milliseconds.
pub const COMPACT_CLOSE_BYTES: u64 = 32 << 20;
/// A larger one is left whole for so long, unless the next compaction waits for it: it may
/// be that somebody is copying it, who has opened it while it was the journal.
pub const OLD_FILE_KEPT_MS: u64 = 60_000;

/// Interval, in milliseconds, of the check that the lock file and the journal still have their
/// names. The check takes two system calls and never causes a turn.
pub const DIRECTORY_CHECK_MS: u64 = 60_000;

const _: () = {
    assert!(LINE_MAX_BYTES < LINE_ENDLESS_BYTES);
    assert!(LINE_MAX_BYTES + 2 < INPUT_HIGH_BYTES, "a whole line must fit the input buffer");
    assert!(TURN_WORK > BATCH_EVENTS as u64 * EVENT_WORK as u64, "a full commit is not that much");
    assert!(WRITE_MIN_BYTES <= WRITE_LIST_BYTES && WRITE_LIST_BYTES <= WRITE_BUDGET_BYTES);
    assert!(WRITE_BUDGET_BYTES <= TURN_WRITE_BYTES);
    assert!(NAME_MAX_BYTES + NOTE_MAX_BYTES * 2 + KEY_MAX_BYTES < LINE_MAX_BYTES);
    // A request, folded or its quotes escaped twice, beside the rest of its line.
    assert!(5 * LINE_MAX_BYTES < KEPT_TEXT_MAX_BYTES);
    assert!(OUTPUT_LOW_BYTES < OUTPUT_HIGH_BYTES);
    assert!(PROGRESS_EVERY < HISTORY_EVENTS as u64, "a position that is sent must still be held");
    assert!(HISTORY_LAG_TIMES * HISTORY_EVENTS > 2 * (ADD_MAX + BATCH_EVENTS));
    assert!(LIST_PIECE_BYTES <= OUTPUT_HIGH_BYTES);
    let kept = 100_000 / 8 + 100_000 / NAMES_CHUNK * 8 + NAMES_CHUNK * (2 * NAME_MAX_BYTES + 8);
    assert!(OUTPUT_HIGH_BYTES + LINE_MAX_BYTES + kept <= LIST_READER_BYTES);
    let running = 3 + 1 + 5 + 1 + 4 + 1 + 1;
    assert!(running + REFUSED_MAX as u64 <= DESCRIPTORS_RESERVED);
    let names_bytes = RESOURCES_DEFAULT as u64 * (NAME_MAX_BYTES as u64 + 2);
    assert!(INVENTORY_FILE_MAX_BYTES > names_bytes, "the file of a full server must be readable");
    assert!(ADD_MAX <= RESOURCES_DEFAULT as usize);
    assert!(BACKLOG_WORK < BATCH_EVENTS as u64 * EVENT_WORK as u64, "there is room for commands");
    assert!(WAIT_TARGETS_PER_ADDRESS >= TARGETS_MAX && WAIT_TARGETS_PER_HOST < WAIT_TARGETS_MAX);
    assert!(WAIT_PATTERNS_MAX >= 100 * TARGETS_MAX);
};

//! reservad: a reservation server for small hosts.
//!
//! The modules, from the bottom up. Each uses only those before it:
//!
//! 1. [`limits`]: every limit, with its reason.
//! 2. [`text`]: words, durations, quoting and hidden characters, shared with the client.
//! 3. [`time`]: instants, zones and the server's clock. Only this module reads a clock.
//! 4. [`inventory`]: resources, reservations and the rules. It is pure: the time is an argument, a
//!    decision returns events, and only `apply` changes the state.
//! 5. [`conn`]: the bytes of one connection: framing, telnet, buffers.
//! 6. [`journal`]: records on disk and their recovery. It knows no event.
//! 7. [`store`]: the inventory kept in step with its journal.
//! 8. [`commands`]: the grammar and the replies, in two languages.
//! 9. [`inventory_file`]: the file that lists resources to create.
//! 10. [`service`]: the clients and their turns, on any stream and any disk.
//! 11. [`reactor`]: the loop: poll, sockets, signals.
//!
//! Invariants:
//! - No two live reservations of a resource overlap.
//! - With `--fsync always`, a reply is sent when its change is on disk.
//! - Replay is `apply` alone, so a later change of a rule cannot change the past.
//! - Only `time` reads a clock, and only `reactor` names a socket.

pub mod commands;
pub mod conn;
pub mod inventory;
pub mod inventory_file;
pub mod journal;
pub mod limits;
pub mod reactor;
pub mod service;
pub mod store;
pub mod text;
pub mod time;

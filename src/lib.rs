//! reservad: a reservation server for small hosts.
//!
//! The rooms, in reading order:
//!
//! 1. [`time`]: instants, durations, zones; the one place that reads a clock.
//! 2. [`inventory`]: resources, reservations and the rules; pure, time is an
//!    argument. `decide` functions answer with events, `apply` enacts them.
//! 3. [`commands`]: the grammar and the replies, in two languages.
//! 4. [`conn`]: one connection's bytes: framing, telnet, buffers.
//! 5. [`journal`]: records on disk and their recovery; knows no event.
//! 6. [`store`]: the inventory kept in step with its journal.
//! 7. [`service`]: the clients and their turn, on any stream and disk.
//! 8. [`reactor`]: the loop: poll, sockets, signals.
//!
//! Invariants that hold everywhere:
//! - No two live reservations of one resource overlap.
//! - What a client is told is on disk before it is told (`--fsync always`).
//! - Replay is `apply` alone, so a later change of a rule cannot change the past.
//! - Nothing but `time` reads a clock, nothing but `reactor` names a socket.

pub mod commands;
pub mod conn;
pub mod inventory;
pub mod journal;
pub mod limits;
pub mod reactor;
pub mod service;
pub mod store;
pub mod text;
pub mod time;

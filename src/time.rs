//! Time: instants, durations, time zones, and the server's clock.
//!
//! Everything else takes the time as an argument, so that tests and replay control it. Only
//! [`read_clocks`] and [`MonotonicMs::now`] read a clock.

mod calendar;
mod confirm;
mod format;
mod instant;
mod monotonic;
mod parse;
mod server;
#[cfg(test)]
mod tests;
mod zone;

pub use crate::text::{DurationError, parse_duration_ms};
pub use confirm::is_synchronized;
pub use format::{FormattedTime, Round, print_utc};
pub use instant::Time;
pub use monotonic::MonotonicMs;
pub use parse::{TimeError, parse_utc};
pub use server::{Clock, ClockReading, earlier, read_clocks, skew_ms};
pub use zone::{UnknownZone, Zone};

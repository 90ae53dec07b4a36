//! Time. `calendar` parses and prints instants, durations and zones. `server` derives the server's
//! time from the system's clocks. `confirm` decides when a wall clock that is far ahead can be
//! trusted.
//!
//! Everything else takes the time as an argument, so that tests and replay control it.

mod calendar;
mod confirm;
mod server;

pub use crate::text::{DurationError, parse_duration_ms};
pub use calendar::{FormattedTime, Round, Time, TimeError, Zone, parse_utc, print_utc};
pub use confirm::is_synchronized;
pub use server::{Clock, ClockReading, MonotonicMs, earlier, read, skew_ms, tick};

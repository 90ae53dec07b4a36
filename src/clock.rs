//! Time. `calendar` reads and prints instants, durations and zones; `server`
//! makes of the system's clocks what time it is to the server, with `confirm`, which says
//! when one that is far ahead is believed.
//!
//! Everything else takes the time as an argument, so that tests and replay
//! decide what time it is.

mod calendar;
mod confirm;
mod server;

pub use calendar::{
    DurationError, Round, Stamp, Time, TimeError, Zone, parse_duration_ms, parse_utc, print_utc,
};
pub use confirm::is_synchronized;
pub use server::{Clock, Now, Tick, earlier, read, skew_ms, tick};

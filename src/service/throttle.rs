//! Log lines that clients can cause, each kind at most once a minute.

use log::warn;

use crate::limits::LOG_QUIET_MS;
use crate::time::MonotonicMs;

/// A kind of throttled log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Clients are rejected.
    Rejected,
    /// A client was closed because it is too slow.
    Slow,
    /// A client speaks another protocol.
    Foreign,
}

/// The log, with the time until which each kind is suppressed.
#[derive(Debug)]
pub struct ThrottledLog {
    quiet_until: [MonotonicMs; 3],
}

impl ThrottledLog {
    /// Returns a log that suppresses nothing yet.
    pub fn new() -> ThrottledLog {
        ThrottledLog { quiet_until: [MonotonicMs(0); 3] }
    }

    /// Logs a line, unless one of its kind was logged within the last minute.
    pub fn warn(&mut self, now: MonotonicMs, kind: Kind, reason: &str) {
        if self.admits(now, kind) {
            let subject = match kind {
                Kind::Rejected => "rejecting clients",
                Kind::Slow | Kind::Foreign => "closed a client",
            };
            warn!("{subject}: {reason}; not logged again for a minute");
        }
    }

    /// Returns whether a line of this kind may be logged, and if so suppresses the following ones.
    fn admits(&mut self, now: MonotonicMs, kind: Kind) -> bool {
        let quiet_until = &mut self.quiet_until[kind as usize];
        let admits = now >= *quiet_until;
        if admits {
            *quiet_until = now.plus_ms(LOG_QUIET_MS);
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_logged_once_a_minute() {
        let mut log = ThrottledLog::new();
        let (start, minute) = (MonotonicMs(5), MonotonicMs(5 + LOG_QUIET_MS));
        assert!(log.admits(start, Kind::Slow));
        assert!(log.admits(start, Kind::Rejected));
        assert!(!log.admits(start.plus_ms(LOG_QUIET_MS - 1), Kind::Slow));
        assert!(log.admits(minute, Kind::Slow));
        assert!(!log.admits(minute, Kind::Slow));
    }
}

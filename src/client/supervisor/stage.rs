//! The stages of a run.

use super::clock::BootTime;

/// The stage of a run. An exit code in a stage is the one that the run will return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The server has not granted the reservation yet.
    Reserving,
    /// The run was interrupted in the stage before. The server may still grant the reservation, and
    /// has to answer before the deadline.
    Interrupted { code: u8, deadline: BootTime },
    /// The server has granted the reservation. It has to confirm before the deadline that the
    /// reservation is still in force.
    Checking { deadline: BootTime },
    /// The program runs.
    Running,
    /// The program has ended, and processes that it left running have not. They are killed at this
    /// time, if there is one.
    Draining { code: u8, kill_at: Option<BootTime> },
    /// The reservation is lost. The program got TERM and is killed at this time.
    Terminating { kill_at: BootTime },
    /// No process of the program is left. The server has to confirm the release before the
    /// deadline.
    Releasing { code: u8, deadline: BootTime },
    /// The run is over.
    Done { code: u8 },
}

impl Stage {
    /// Returns whether the server has not granted the reservation yet.
    pub fn is_before_grant(self) -> bool {
        matches!(self, Stage::Reserving | Stage::Interrupted { .. })
    }

    /// Returns whether the program was not started yet.
    pub fn is_before_start(self) -> bool {
        self.is_before_grant() || matches!(self, Stage::Checking { .. })
    }

    /// Returns whether the reservation is needed and must be kept in force.
    pub fn needs_reservation(self) -> bool {
        matches!(self, Stage::Checking { .. } | Stage::Running | Stage::Draining { .. })
    }

    /// Returns whether a lost connection is of use and is replaced.
    pub fn needs_connection(self) -> bool {
        self.needs_reservation() || matches!(self, Stage::Releasing { .. })
    }
}

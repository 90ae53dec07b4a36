//! The steps of a turn, in order, for a test that runs a model of the server beside it.

use crate::inventory::SessionId;

/// One step of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The wall clock was set by this many milliseconds, and the ends of leases were moved.
    ClockSet(i64),
    /// Reservations and waits that were due have ended, and waiters were granted what that freed.
    EndedDue,
    /// A frame of this connection was run.
    Ran(SessionId),
    /// A connection was closed and left the waiting list, if it was in it.
    LeftQueue(SessionId),
    /// A connection has interrupted its wait, if it still waits.
    Interrupted(SessionId),
    /// The position of a half-closed connection was sent again, as a probe.
    SentPositionAgain(SessionId),
    /// A connection that does not read was not sent its new position.
    WithheldPosition(SessionId),
    /// All waits were ended, because the server stops.
    EndedWaits,
    /// Everything so far is committed, so it may be sent from here on.
    Committed,
    /// Everything bound to a closed connection is released.
    Left(SessionId),
}

/// An observer of the steps. The server's program has none, which is `()`.
pub trait Observer {
    /// Receives a step right after it was done.
    fn note(&mut self, step: Step);
}

impl Observer for () {
    fn note(&mut self, _: Step) {}
}

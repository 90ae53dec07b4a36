//! What was done, step by step, for who follows it: a test that holds a model
//! of the server beside it needs the order in which things happened.

use crate::inventory::SessionId;

/// One step of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The wall clock was set by so many milliseconds: ends of leases were moved along.
    ClockSet(i64),
    /// What was due has ended, and what that allows was granted.
    EndedDue,
    /// A line was run, or what stands in its place.
    Ran(SessionId),
    /// A connection is known to be gone: it waits for nothing any more.
    LeftQueue(SessionId),
    /// A connection has interrupted its wait, if it still waits.
    Interrupted(SessionId),
    /// A half-closed connection that waits is told its place again.
    ToldAgain(SessionId),
    /// A connection that does not read was not told its new place.
    Spared(SessionId),
    /// Every wait was ended, for the server stops.
    EndedWaits,
    /// Everything up to here is committed; what is flushed from here on may tell of it.
    Committed,
    /// What was bound to a connection has ended.
    Left(SessionId),
}

/// The steps since they were last taken; none are kept before that.
#[derive(Debug, Default)]
pub struct Trace(Option<Vec<Step>>);

impl Trace {
    /// Keeps a step, if anybody follows.
    pub fn note(&mut self, step: Step) {
        if let Some(steps) = &mut self.0 {
            steps.push(step);
        }
    }

    /// The steps since the last call. From the first call on they are kept.
    pub fn take(&mut self) -> Vec<Step> {
        self.0.replace(Vec::new()).unwrap_or_default()
    }
}

//! One connection: its phase, its lines and its notices.

use std::io;

use super::Stream;
use super::observer::{Observer, Step};
use super::scheduler::Slot;
use super::timers::Timer;
use super::watching::Feed;
use crate::commands::{self, CommandContext, Flow, Session};
use crate::conn::{Conn, Frame};
use crate::limits::{BATCH_EVENTS, COMMAND_BUDGET, LIST_PIECE_BYTES, WORK_BUDGET};
use crate::time::MonotonicMs;

/// The phase of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Lines are read and run.
    Open,
    /// It has sent `SALIR`. No more lines are run, and the reply is sent after everything bound to
    /// it is released.
    Leaving,
    /// No more lines are run. It is shut down when its output is sent.
    Closing,
    /// The output is sent and our side is shut down. The peer has some time to close its side, so
    /// that no reset overtakes the last reply.
    Linger,
    /// It is closed, and is removed by a later reap.
    Dead,
}

/// Why lines that have arrived were not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// All of them were run.
    Nothing,
    /// A budget was spent, or the peer must read its replies first.
    OverBudget,
    /// The next line waits until more of the work that is due is done.
    HeldBack,
}

/// A connection with the state that the service keeps for it.
pub struct Client<T> {
    pub conn: Conn<T>,
    pub session: Session,
    pub phase: Phase,
    pub rest: Rest,
    pub slot: Slot,
    pub timer: Timer,
    /// Whether it is in the queue of unfinished lists.
    pub is_list_queued: bool,
    /// Whether the release of everything bound to it has started.
    pub is_releasing: bool,
    /// Whether it is only sent the reason why it is rejected.
    pub is_rejected: bool,
    /// The bytes of its buffers and lists, as last counted by [`Memory`](super::memory::Memory).
    pub retained: u32,
    /// When it last sent something, or the peer had accepted all of its output.
    pub last_read_at: MonotonicMs,
    /// Since when the peer has accepted none of its output; [`MonotonicMs::MAX`] if it has.
    pub write_blocked_since: MonotonicMs,
    /// In phase [`Phase::Linger`], when it is closed. For a half-closed connection, when it is
    /// probed again.
    pub close_at: MonotonicMs,
}

/// How running lines continues after one frame.
enum Progress {
    Next,
    Stop,
    /// The peer speaks another protocol.
    Foreign,
}

impl<T> Client<T> {
    /// Returns a connection that was just accepted.
    pub fn new(conn: Conn<T>, session: Session, now: MonotonicMs) -> Client<T> {
        Client {
            conn,
            session,
            phase: Phase::Open,
            rest: Rest::Nothing,
            slot: Slot::default(),
            timer: Timer::new(),
            is_list_queued: false,
            is_releasing: false,
            is_rejected: false,
            retained: 0,
            last_read_at: now,
            write_blocked_since: MonotonicMs::MAX,
            close_at: MonotonicMs::MAX,
        }
    }

    /// Returns whether nothing is left to do, which is usual after its lines: they have run, and
    /// the replies are sent. A watcher is never at rest.
    pub fn is_at_rest(&self) -> bool {
        let keeps = self.retained > 0 || self.conn.keeps_memory();
        !keeps && self.phase == Phase::Open && !self.session.is_watching() && !self.has_more()
    }

    /// Returns whether there is input to read or to run.
    #[inline]
    pub fn has_more(&self) -> bool {
        self.rest != Rest::Nothing || self.conn.wants_read()
    }

    /// Returns when the connection is closed or probed if nothing happens until then.
    pub fn deadline(&self, stall_ms: u64, idle_ms: Option<u64>) -> MonotonicMs {
        let stall = self.write_blocked_since.plus_ms(stall_ms);
        // A peer that reads a reply is not idle, and one that does not read it is stalled.
        let may_idle = self.phase == Phase::Open && self.write_blocked_since.is_never();
        let idle = idle_ms.filter(|_| may_idle);
        let idle = idle.map_or(MonotonicMs::MAX, |ms| self.last_read_at.plus_ms(ms));
        stall.min(self.close_at).min(idle)
    }

    /// Runs lines until no complete one is left, the budget is spent, or the peer must read first.
    /// A line that is known to be costly is put off, unless one was put off before. Returns whether
    /// the peer speaks another protocol.
    pub fn run_lines(
        &mut self,
        context: &mut CommandContext,
        observer: &mut impl Observer,
    ) -> bool {
        self.rest = Rest::Nothing;
        if self.phase != Phase::Open {
            return false;
        }
        self.session.allow_costly(self.slot.is_deferred());
        for _ in 0..COMMAND_BUDGET {
            match self.run_next(context, observer) {
                Progress::Next => {}
                Progress::Stop => return false,
                Progress::Foreign => return true,
            }
        }
        self.rest = Rest::OverBudget;
        false
    }

    #[inline]
    fn run_next(&mut self, context: &mut CommandContext, observer: &mut impl Observer) -> Progress {
        if self.session.is_waiting() {
            return Progress::Stop;
        }
        let is_spent =
            context.batch.len() >= BATCH_EVENTS || context.inventory.work() > WORK_BUDGET;
        if is_spent || !self.conn.may_run() {
            self.rest = Rest::OverBudget;
            return Progress::Stop;
        }
        let Some(frame) = self.conn.next_frame() else {
            // A watcher stays after its half-close.
            if self.conn.is_eof() && !self.session.is_watching() {
                self.phase = Phase::Closing;
            }
            return Progress::Stop;
        };
        context.inventory.add_work(1);
        if context.inventory.is_behind() && self.hold_back(&frame, context) {
            return Progress::Stop;
        }
        match self.run_frame(frame, context) {
            Flow::Later(_) => Progress::Stop,
            flow => {
                observer.note(Step::Ran(self.session.id()));
                self.follow(flow)
            }
        }
    }

    /// Puts a line back if work that is due could change its reply. Returns whether it was put
    /// back.
    #[cold]
    fn hold_back(&mut self, frame: &Frame, context: &CommandContext) -> bool {
        let Frame::Line(at) = frame else { return false };
        let (line, _) = self.conn.line(at.clone());
        if commands::is_settled(line, &mut self.session, context) {
            return false;
        }
        self.conn.put_back(at.start);
        self.rest = Rest::HeldBack;
        true
    }

    #[inline]
    fn run_frame(&mut self, frame: Frame, context: &mut CommandContext) -> Flow {
        let eol = self.conn.eol();
        let session = &mut self.session;
        match frame {
            Frame::Line(at) => {
                let start = at.start;
                let (line, out) = self.conn.line(at);
                let flow = commands::run(line, eol, session, context, out);
                if let Flow::Later(cost) = flow {
                    self.conn.put_back(start);
                    self.slot.set_deferred_cost(cost);
                    self.rest = Rest::OverBudget;
                } else if self.slot.is_deferred() {
                    self.slot.set_deferred_cost(0);
                    session.allow_costly(false);
                }
                flow
            }
            Frame::EndOfTransmission => commands::quit(eol, session, context, self.conn.out()),
            Frame::TooLong => {
                commands::too_long(session, eol, self.conn.out());
                Flow::Next
            }
            Frame::Endless => {
                commands::too_long(session, eol, self.conn.out());
                Flow::Close
            }
            Frame::Cut => {
                commands::cut(session, eol, self.conn.out());
                Flow::Next
            }
            Frame::Tls => Flow::Foreign,
        }
    }

    fn follow(&mut self, flow: Flow) -> Progress {
        match flow {
            Flow::Next | Flow::Later(_) => Progress::Next,
            Flow::List(list) => {
                self.conn.start_list(list);
                Progress::Next
            }
            Flow::Leave => {
                self.phase = Phase::Leaving;
                Progress::Stop
            }
            Flow::Close => {
                self.phase = Phase::Closing;
                Progress::Stop
            }
            Flow::Foreign => {
                self.phase = Phase::Closing;
                Progress::Foreign
            }
        }
    }

    /// Appends notices for a watcher, up to `room` bytes. They follow the replies and never
    /// interrupt a list.
    pub fn notify(&mut self, feed: &mut Feed, room: usize) {
        if self.phase != Phase::Open || !self.conn.may_run() || !self.session.is_watching() {
            return;
        }
        let (session, out) = (&mut self.session, self.conn.out());
        let flow = commands::notices(session, feed.history, feed.notices, feed.zone, room, out);
        if matches!(flow, Flow::Close) {
            self.phase = Phase::Closing;
        }
    }

    /// Updates the timeouts after a flush.
    pub fn note_sent(&mut self, sent: usize, now: MonotonicMs) {
        if self.conn.is_flushed() {
            if !std::mem::replace(&mut self.write_blocked_since, MonotonicMs::MAX).is_never() {
                self.last_read_at = now;
            }
        } else if sent == 0 {
            self.write_blocked_since = self.write_blocked_since.min(now);
        } else {
            self.write_blocked_since = now;
        }
    }
}

impl<T: Stream> Client<T> {
    /// Sends output, about `quota` bytes, and returns the number of bytes sent.
    ///
    /// A watcher that accepts its notices is sent further ones at once, so that a burst of events
    /// does not outrun a watcher that keeps reading.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send(&mut self, feed: &mut Feed, quota: usize) -> io::Result<usize> {
        let mut total = 0;
        loop {
            self.notify(feed, quota.min(LIST_PIECE_BYTES));
            let sent = self.conn.flush(quota)?;
            total += sent;
            let accepts_more = sent > 0 && self.conn.is_flushed() && total < quota;
            let is_open = self.phase == Phase::Open;
            if !accepts_more || !is_open || !self.session.is_behind(feed.history) {
                return Ok(total);
            }
        }
    }
}

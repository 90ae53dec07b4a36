//! One connection as the service has it: its phase, its lines, its notices.

use std::collections::VecDeque;
use std::io;

use super::trace::{Step, Trace};
use super::{Key, Peer, Stream};
use crate::commands::{self, CommandContext, Flow, Notices, Session};
use crate::conn::{Conn, Frame};
use crate::inventory::history::History;
use crate::limits::{BATCH_EVENTS, COMMAND_BUDGET, LIST_PIECE_BYTES, WORK_BUDGET};
use crate::time::{MonotonicMs, Zone};

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Lines are read and run.
    Open,
    /// It has sent `SALIR`. No more lines are run, and the reply is sent after everything bound to
    /// it is released.
    Leaving,
    /// Nothing more is run; what was said is still sent.
    Closing,
    /// All was sent and our side is shut; the peer has until then to close
    /// its own, so that no reset overtakes the last reply.
    Linger,
    /// To be reaped.
    Dead,
}

/// A connection with what the service keeps of it.
pub struct Client<T> {
    pub conn: Conn<T>,
    pub session: Session,
    pub phase: Phase,
    /// In the run queue or the slow one.
    pub queued: bool,
    /// Until then it is served after the others, for a share of a turn has cost
    /// more than [`WORK_BUDGET`]; for ever until it has run a line.
    pub slow_until: MonotonicMs,
    /// Lines were left because of a budget or the high-water mark.
    pub unfinished: bool,
    /// Whether a line waits until more of the work that is due is done.
    pub is_held_back: bool,
    /// The cost of its next line, if that line was put off because it is costly; otherwise 0.
    pub costly: u32,
    /// Whether it is in the queue of `flush_lists`.
    pub listed: bool,
    /// Whether the release of everything bound to it has begun.
    pub leaves: bool,
    /// The poll has said that nothing reaches the peer any more, and will not
    /// say so again.
    pub broken: bool,
    /// Over `--max-clients`: here only to be told so.
    pub refused: bool,
    /// The bytes of its buffers and lists that [`Memory`] has counted.
    pub retained: u32,
    /// When bytes last came in, or the peer had taken all that it was owed.
    pub last_read_at: MonotonicMs,
    /// Since when the peer has taken nothing of what it is owed; never, if it has.
    pub write_blocked_since: MonotonicMs,
    /// The deadline that is in `deadlines` for it, if one is.
    pub timer_at: MonotonicMs,
    /// Lingering: until when. Half-closed: when something is written to it
    /// again, to see whether it is still there.
    pub close_at: MonotonicMs,
}

impl<T> Client<T> {
    /// Whether it has not run a line yet, so that nobody knows what it costs.
    pub fn is_new(&self) -> bool {
        self.slow_until.is_never()
    }

    /// Where it comes from.
    pub fn peer(&self) -> Peer {
        Peer::of(self.session.origin())
    }

    /// Returns whether nothing is left to do for it, which is usual after its lines: they have run,
    /// and the replies are sent. A watcher is never at rest.
    pub fn is_at_rest(&self) -> bool {
        let keeps = self.retained > 0 || self.conn.keeps_memory();
        !keeps && self.phase == Phase::Open && !self.session.is_watching() && !has_more(self)
    }

    /// A connection that has just come.
    pub fn new(conn: Conn<T>, session: Session, tick: MonotonicMs) -> Client<T> {
        Client {
            conn,
            session,
            phase: Phase::Open,
            queued: false,
            slow_until: MonotonicMs::MAX,
            unfinished: false,
            is_held_back: false,
            costly: 0,
            listed: false,
            leaves: false,
            broken: false,
            refused: false,
            retained: 0,
            last_read_at: tick,
            write_blocked_since: MonotonicMs::MAX,
            timer_at: MonotonicMs::MAX,
            close_at: MonotonicMs::MAX,
        }
    }
}

/// Runs lines until no whole one is left, the budget is spent, or the peer must read first. A line
/// that is known to be costly is put off instead; if one was, the first line may cost anything.
/// Returns whether the peer speaks another protocol.
pub fn process_lines<T>(
    client: &mut Client<T>,
    context: &mut CommandContext,
    trace: &mut Trace,
) -> bool {
    (client.unfinished, client.is_held_back) = (false, false);
    if client.phase != Phase::Open {
        return false;
    }
    client.session.allow_costly(client.costly > 0);
    for _ in 0..COMMAND_BUDGET {
        if client.session.is_waiting() {
            return false;
        }
        let is_spent =
            context.batch.len() >= BATCH_EVENTS || context.inventory.work() > WORK_BUDGET;
        if is_spent || !client.conn.may_run() {
            client.unfinished = true;
            return false;
        }
        let Some(frame) = client.conn.next_frame() else {
            // One that watches goes on after its half-close.
            if client.conn.is_eof() && !client.session.is_watching() {
                client.phase = Phase::Closing;
            }
            return false;
        };
        context.inventory.add_work(1);
        let eol = client.conn.eol();
        let session = &mut client.session;
        if let Frame::Line(at) = &frame
            && context.inventory.is_behind()
            && !commands::is_settled(client.conn.line(at.clone()).0, session, context)
        {
            client.conn.put_back(at.start);
            (client.unfinished, client.is_held_back) = (true, true);
            return false;
        }
        let after = match frame {
            Frame::Line(at) => {
                let start = at.start;
                let (line, out) = client.conn.line(at);
                let after = commands::run(line, eol, session, context, out);
                if let Flow::Later(cost) = after {
                    client.conn.put_back(start);
                    (client.costly, client.unfinished) = (cost, true);
                    return false;
                }
                if client.costly > 0 {
                    client.costly = 0;
                    client.session.allow_costly(false);
                }
                after
            }
            Frame::EndOfTransmission => commands::quit(eol, session, context, client.conn.out()),
            Frame::TooLong => {
                commands::too_long(session, eol, client.conn.out());
                Flow::Next
            }
            Frame::Endless => {
                commands::too_long(session, eol, client.conn.out());
                Flow::Close
            }
            Frame::Cut => {
                commands::cut(session, eol, client.conn.out());
                Flow::Next
            }
            Frame::Tls => Flow::Foreign,
        };
        trace.note(Step::Ran(client.session.id()));
        match after {
            Flow::Next | Flow::Later(_) => {}
            Flow::List(list) => client.conn.start_list(list),
            Flow::Leave => {
                client.phase = Phase::Leaving;
                return false;
            }
            Flow::Close | Flow::Foreign => {
                client.phase = Phase::Closing;
                return matches!(after, Flow::Foreign);
            }
        }
    }
    client.unfinished = true;
    false
}

/// Appends the notices that a watcher has room for: after the replies, and
/// never between the lines of a list.
pub fn notify<T>(
    client: &mut Client<T>,
    history: &History,
    kept: &mut Notices,
    zone: &Zone,
    room: usize,
) {
    if client.phase != Phase::Open || !client.conn.may_run() || !client.session.is_watching() {
        return;
    }
    let out = client.conn.out();
    let after = commands::notices(&mut client.session, history, kept, zone, room, out);
    if matches!(after, Flow::Close) {
        client.phase = Phase::Closing;
    }
}

/// Sends what a client is owed, about `share` bytes at the most. One that
/// watches and takes what it is told is told more at once, up to that: a burst
/// of events must not outrun who keeps reading.
pub fn send<T: Stream>(
    client: &mut Client<T>,
    history: &History,
    kept: &mut Notices,
    zone: &Zone,
    share: usize,
) -> io::Result<usize> {
    let mut total = 0;
    loop {
        notify(client, history, kept, zone, share.min(LIST_PIECE_BYTES));
        let sent = client.conn.flush(share)?;
        total += sent;
        let takes_more = sent > 0 && client.conn.is_flushed() && total < share;
        if !takes_more || client.phase != Phase::Open || !client.session.is_behind(history) {
            return Ok(total);
        }
    }
}

pub fn has_more<T>(client: &Client<T>) -> bool {
    client.unfinished || client.conn.wants_read()
}

pub fn enqueue<T>(run_queue: &mut VecDeque<Key>, client: &mut Client<T>, key: Key) {
    if !client.queued {
        client.queued = true;
        run_queue.push_back(key);
    }
}

pub fn mark_dead<T>(client: &mut Client<T>, key: Key, dead: &mut Vec<Key>) {
    if client.phase != Phase::Dead {
        client.phase = Phase::Dead;
        dead.push(key);
    }
}

//! The protocol: reads one line, executes its command and appends the reply.
//!
//! [`run`] parses a line ([`parse`]), checks the rights of the client ([`authorize`]) and executes
//! the command in the file of its verb. Socket, disk and clock are not known here; everything that
//! a command needs is in its [`CommandContext`].

mod add_remove;
mod authorize;
mod bookings;
mod cancel;
mod connection;
mod cost;
mod help;
mod iam;
mod list;
mod notice;
pub mod parse;
mod quit;
mod refusal;
mod renew;
mod reply;
mod reserve;
mod session;
mod settled;
mod shortcut;
mod status;
mod verify;
mod watch;
mod when;
pub mod words;

use crate::conn::{Eol, ReplyStream};
use crate::inventory::event::Batch;
use crate::inventory::{Event, Inventory, Refusal};
use crate::limits::COSTLY_WORK;
use crate::store::History;
use authorize::authorize;
pub use connection::{RejectReason, cut, push_rejection, too_long};
pub use notice::Notices;
pub use parse::name_error;
use parse::{Command, RequestTime, SplitLine, parse_line};
pub use quit::{farewell, leave, quit};
use reply::Reply;
pub use session::{Session, push_position, resolve};
pub use status::Stats;
pub use watch::notices;

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// The state that a command reads and changes, and the time of the request.
pub struct CommandContext<'a> {
    pub inventory: &'a mut Inventory,
    pub batch: &'a mut Batch,
    pub history: &'a History,
    pub request_time: RequestTime<'a>,
    pub stats: &'a dyn Fn() -> Stats,
}

impl CommandContext<'_> {
    /// Grants waiting requests that fit after a command.
    fn grant_waiters(&mut self) {
        self.inventory.grant_waiters(self.request_time.now, self.request_time.zone, self.batch);
    }

    fn apply_and_log(&mut self, event: Event) {
        self.inventory.apply_and_log(self.request_time.now.wall, event, self.batch);
    }
}

/// The way in which a connection continues after a line.
pub enum Flow {
    /// The next line can run.
    Next,
    /// The rest of a list, whose first piece is in the output, comes before the next line.
    List(Box<dyn ReplyStream>),
    /// The connection closes when its output is sent.
    Close,
    /// The connection closes after everything bound to it is released; see [`leave`]. Nothing is
    /// sent until then.
    Leave,
    /// The connection closes without a reply, because the peer speaks another protocol.
    Foreign,
    /// The line was not run, because its estimated cost, given here, is more than is allowed now.
    Later(u32),
}

/// Runs one line and appends its reply to `out`.
#[inline]
pub fn run(
    line: &[u8],
    eol: Eol,
    session: &mut Session,
    context: &mut CommandContext,
    out: &mut Vec<u8>,
) -> Flow {
    match shortcut::run(line, eol, session, context, out) {
        Some(()) => Flow::Next,
        None => run_general(line, eol, session, context, out),
    }
}

/// Runs a line without the shortcut.
#[inline(always)]
fn run_general(
    line: &[u8],
    eol: Eol,
    session: &mut Session,
    context: &mut CommandContext,
    out: &mut Vec<u8>,
) -> Flow {
    let line = match session.is_fresh {
        // Some editors begin text files, which may be piped here, with a byte order mark.
        true => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
        false => line,
    };
    let split = SplitLine::of(line);
    if split.word.is_empty() {
        return Flow::Next;
    }
    if (session.is_fresh || split.word.ends_with(b":")) && is_foreign(line, session.is_fresh) {
        return Flow::Foreign;
    }
    if !session.allows_costly {
        let cost = cost::upper_bound(&split, context.inventory);
        if cost > COSTLY_WORK {
            return Flow::Later(cost);
        }
    }
    session.is_fresh = false;
    let mut joined = String::new();
    let parsed = parse_line(line, split, &mut session.lang, context.request_time, &mut joined);
    let mut reply = Reply::new(session.lang, eol, context.request_time.zone, out);
    let executed = match parsed {
        Ok(command) => execute(command, session, context, &mut reply),
        Err(error) => {
            reply.error(&error);
            return Flow::Next;
        }
    };
    executed.unwrap_or_else(|refusal| {
        reply.refuse(refusal);
        Flow::Next
    })
}

/// Executes a command. A refused command changes nothing and appends nothing.
fn execute(
    command: Command,
    session: &mut Session,
    context: &mut CommandContext,
    reply: &mut Reply,
) -> Result<Flow, Refusal> {
    authorize(&session.principal, &command, context.inventory)?;
    match command {
        Command::Reserve(request) => reserve::run(request, session, context, reply)?,
        Command::Cancel(targets) => cancel::run(targets, session, context, reply)?,
        Command::Renew { number, end } => renew::run(number, end, session, context, reply)?,
        Command::Add(names) => add_remove::add(names, context, reply)?,
        Command::Remove(names) => add_remove::remove(&names, context, reply)?,
        Command::List { selector, interval } => {
            return list::run(selector, interval, context, reply);
        }
        Command::Bookings { selector, holder, interval } => {
            return bookings::run(selector, holder.as_deref(), interval, context, reply);
        }
        Command::When { selectors, when } => when::run(&selectors, &when, context, reply)?,
        Command::Verify { number, name } => verify::run(number, name.as_deref(), context, reply)?,
        Command::Watch { selector, after } => watch::run(selector, after, session, context, reply)?,
        Command::IAm(name) => iam::run(name, session, reply),
        Command::Status => status::run(context, reply),
        Command::Help(verb) => help::run(verb, reply),
        Command::Quit => return Ok(quit(reply.eol, session, context, reply.out())),
    }
    context.grant_waiters();
    Ok(Flow::Next)
}

/// Returns whether a line may run while [`Inventory::is_behind`], because work that is still due
/// cannot change its effect or its reply. Lines with errors always may.
#[cold]
pub fn is_settled(line: &[u8], session: &mut Session, context: &CommandContext) -> bool {
    let mut lang = session.lang;
    let mut joined = String::new();
    let split = SplitLine::of(line);
    let parsed = parse_line(line, split, &mut lang, context.request_time, &mut joined);
    let now = context.request_time.now;
    parsed.map_or(true, |command| settled::is_settled(&command, context.inventory, now))
}

/// Returns whether a line is an HTTP request line at the start of a connection, or an HTTP header
/// anywhere. A web page can make a browser send text here, which must not reserve anything.
fn is_foreign(line: &[u8], is_first: bool) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    if let Some((b':', name)) = words.clone().next().and_then(|first| first.split_last()) {
        return !name.is_empty() && name.iter().all(is_name);
    }
    let mut words = words;
    is_first
        && match (words.next(), words.next(), words.next(), words.next()) {
            (Some(_), Some(_), Some(version), None) => version.starts_with(b"HTTP/"),
            // A request of HTTP/0.9 has no version.
            (Some(method), Some(path), None, _) => {
                HTTP_METHODS.contains(&method) && path.starts_with(b"/")
            }
            _ => false,
        }
}

/// The methods of HTTP requests. None of them is a verb.
const HTTP_METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT"];

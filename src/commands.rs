//! The language of the wire: one line in, one reply out.
//!
//! [`run`] reads a line, decides, makes the events so and appends the reply.
//! It names no socket, no file and no clock; what it needs of the world is
//! in its [`CommandContext`].

mod cost;
mod help;
mod notice;
pub mod parse;
mod reply;
mod session;
mod settled;
pub mod words;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::fast::RandomState;

use crate::conn::{Eol, ReplyStream};
use crate::inventory::event::{Batch, push_names};
use crate::inventory::history::History;
use crate::inventory::names::{check_name, fold};
use crate::inventory::pattern::Pattern;
use crate::inventory::{
    End, Ending, Event, Grant, Interval, Inventory, Refusal, Request, Reservation, Selector,
    SessionId, Start, cancellations,
};
use crate::limits::{
    CLOCK_DOUBTFUL_MS, COSTLY_WORK, LINE_MAX_BYTES, LIST_PIECE_BYTES, RELEASES_AT_ONCE,
};
pub use notice::Notices;
use parse::{
    ByteClasses, Command, ErrorReply, RequestTime, ScannedStr, find_control, parse, split_word,
};
pub use session::{Session, notices, resolve, tell_place};
use session::{Wait, Watch};
use words::{Lang, Verb, excerpt, find_verb, localize};

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// Figures that only the loop knows, for `ESTADO`.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub clients: usize,
    pub max_clients: usize,
    pub uptime_s: u64,
    pub clock_behind_ms: i64,
    /// How far the wall clock is ahead while it is not confirmed.
    pub clock_unconfirmed_ms: Option<i64>,
    /// `always`, `never`, an interval, or `in-memory`.
    pub fsync: String,
    /// The identity of the journal, as 16 hex digits.
    pub journal: String,
    pub journal_bytes: u64,
}

/// What a command works on: the state and the moment.
pub struct CommandContext<'a> {
    pub inventory: &'a mut Inventory,
    pub batch: &'a mut Batch,
    pub history: &'a History,
    pub request_time: RequestTime<'a>,
    pub stats: &'a dyn Fn() -> Stats,
}

impl CommandContext<'_> {
    /// Grants what a command has made room for.
    fn grant_waiters(&mut self) {
        self.inventory.grant_waiters(self.request_time.now, self.request_time.zone, self.batch);
    }

    fn apply_and_log(&mut self, event: Event) {
        self.inventory.apply_and_log(self.request_time.now.wall, event, self.batch);
    }
}

/// What comes after a reply.
pub enum Flow {
    /// The next line.
    Next,
    /// A list goes on; its first part is in the output.
    List(Box<dyn ReplyStream>),
    /// The connection is closed when its output is sent.
    Close,
    /// The connection closes after everything bound to it is released; see [`leave`]. Nothing is
    /// sent until then.
    Leave,
    /// Not one of ours (a browser, a mail server): closed without a word.
    Foreign,
    /// The line was not run, because it may cost this much, which is more than is allowed now.
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
    // The first line may be that of a browser.
    if !session.fresh && at_once(line, eol, session, context, out).is_some() {
        return Flow::Next;
    }
    run_other(line, eol, session, context, out)
}

/// Runs a line that the fast path does not handle.
#[inline(always)]
fn run_other(
    line: &[u8],
    eol: Eol,
    session: &mut Session,
    context: &mut CommandContext,
    out: &mut Vec<u8>,
) -> Flow {
    let line = match session.fresh {
        // Some editors put a byte order mark at the start of a text file, which may be piped here.
        true => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
        false => line,
    };
    let (word, rest) = split_word(line);
    if word.is_empty() {
        return Flow::Next;
    }
    let fresh = std::mem::replace(&mut session.fresh, false);
    if (fresh || word.ends_with(b":")) && is_foreign(line, fresh) {
        return Flow::Foreign;
    }
    let (exact, marks) = (Verb::find_exact(word), ByteClasses::of(rest));
    if !session.allows_costly && cost::may_begin_costly(word) {
        let verb = exact.or_else(|| find_verb(str::from_utf8(word).ok()?));
        let cost =
            verb.map_or(0, |(verb, _)| cost::upper_bound(verb, rest, marks, context.inventory));
        if cost > COSTLY_WORK {
            session.fresh = fresh;
            return Flow::Later(cost);
        }
    }
    match understand(line, (exact, rest, marks), session, context.request_time, &mut String::new())
    {
        Ok(command) => execute(command, session.lang, eol, session, context, out),
        Err(fault) => {
            push_fault(&fault, eol, out);
            Flow::Next
        }
    }
}

/// Returns whether a line may run while [`Inventory::is_behind`], because work that is still due
/// cannot change its effect or its reply. Lines with errors always may.
#[cold]
pub fn is_settled(line: &[u8], session: &mut Session, context: &CommandContext) -> bool {
    let lang = session.lang;
    let mut joined = String::new();
    let (word, rest) = split_word(line);
    let (exact, marks) = (Verb::find_exact(word), ByteClasses::of(rest));
    let understood =
        understand(line, (exact, rest, marks), session, context.request_time, &mut joined);
    session.lang = lang;
    let now = context.request_time.now;
    understood.map_or(true, |command| settled::is_settled(&command, context.inventory, now))
}

/// Reserves or cancels one resource if the line is nothing but one of these verbs and a
/// name, both as they are shown, and it can be done: nearly every line. What is not done
/// here is looked at as any other line is.
#[inline(always)]
fn at_once(
    line: &[u8],
    eol: Eol,
    session: &mut Session,
    context: &mut CommandContext,
    out: &mut Vec<u8>,
) -> Option<()> {
    let (verb, lang, name) = cut_short(line)?;
    let (id, name) = context.inventory.find_kept(session.near, name)?;
    session.near = id;
    let now = context.request_time.now.wall;
    let (written, told) = if verb == Verb::Reserve {
        let new = context.inventory.reserve_one(id, &session.principal, now)?;
        context.batch.write_reserved(now, new, name)
    } else {
        let (number, is_all) = context.inventory.cancel_one(id, &session.principal).ok()?;
        context.batch.write_cancelled(now, (number, id), name, is_all)
    };
    reply::done_one(verb, told, lang, eol, out);
    context.inventory.apply_logged(written, context.batch);
    session.lang = lang;
    context.grant_waiters();
    Some(())
}

/// Reserving and cancelling in either language, written as it is shown, and what
/// follows the space after it: what nearly all lines are.
fn cut_short(line: &[u8]) -> Option<(Verb, Lang, &[u8])> {
    let cut = |verb, lang, word| line.strip_prefix(word).map(|rest| (verb, lang, rest));
    cut(Verb::Reserve, Lang::Es, b"RESERVAR ".as_slice())
        .or_else(|| cut(Verb::Cancel, Lang::Es, b"CANCELAR "))
        .or_else(|| cut(Verb::Reserve, Lang::En, b"RESERVE "))
        .or_else(|| cut(Verb::Cancel, Lang::En, b"CANCEL "))
}

/// An HTTP request line where a conversation begins, or a header anywhere: a
/// web page can make a browser send lines here, and must not reserve anything.
fn is_foreign(line: &[u8], fresh: bool) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    if let Some((b':', name)) = words.clone().next().and_then(|first| first.split_last()) {
        return !name.is_empty() && name.iter().all(is_word);
    }
    let mut words = words;
    fresh
        && match (words.next(), words.next(), words.next(), words.next()) {
            (Some(_), Some(_), Some(version), None) => version.starts_with(b"HTTP/"),
            // A request of HTTP/0.9 has no version.
            (Some(method), Some(path), None, _) => {
                HTTP_METHODS.contains(&method) && path.starts_with(b"/")
            }
            _ => false,
        }
}

/// The methods with which HTTP requests begin. None of them is a verb.
const HTTP_METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT"];

/// Reads a line, given whole, in the language of its verb, which the session then has. `exact` is
/// the verb if it is written as it is shown, and `rest` what follows it, with its marks.
#[inline(always)]
fn understand<'a>(
    line: &'a [u8],
    (exact, rest, marks): (Option<(Verb, Lang)>, &'a [u8], ByteClasses),
    session: &mut Session,
    request_time: RequestTime,
    joined: &'a mut String,
) -> Result<Command<'a>, ErrorReply> {
    // Nearly all that come here: a verb as it is shown, and nothing that is not text.
    if let Some((verb, lang)) = exact
        && !marks.any(ByteClasses::CONTROL)
        && let Ok(text) = str::from_utf8(rest)
    {
        session.lang = lang;
        return parse(verb, ScannedStr { text, marks }, lang, request_time, joined);
    }
    let (text, broken) = match str::from_utf8(line) {
        Ok(text) => (text, None),
        Err(error) => {
            let whole = &line[..error.valid_up_to()];
            (str::from_utf8(whole).unwrap_or_default(), Some(error.valid_up_to()))
        }
    };
    let (word, rest) = ScannedStr::of(text).split_word();
    let found = find_verb(word);
    if let Some((_, lang)) = found {
        session.lang = lang;
    }
    let lang = session.lang;
    if let Some((place, c)) = find_control(text) {
        return Err(ErrorReply::bad(localize!(
            lang,
            "carácter de control U+{:04X} en la posición {} de la línea",
            "control character U+{:04X} at position {} of the line",
            c as u32,
            place,
        )));
    }
    if let Some(at) = broken {
        return Err(ErrorReply::bad(localize!(
            lang,
            "la línea no es UTF-8 en el byte {}; escribe en UTF-8",
            "the line is not UTF-8 at byte {}; write in UTF-8",
            at + 1,
        )));
    }
    let Some((verb, lang)) = found else { return Err(parse::unknown_verb(word, lang)) };
    parse(verb, rest, lang, request_time, joined)
}

fn execute(
    command: Command,
    lang: Lang,
    eol: Eol,
    session: &mut Session,
    context: &mut CommandContext,
    out: &mut Vec<u8>,
) -> Flow {
    match command {
        Command::List { wanted, interval } => {
            return match list(wanted, interval, lang, eol, context, out) {
                Ok(after) => after,
                Err(refusal) => refuse(refusal, lang, eol, context, out),
            };
        }
        Command::Bookings { wanted, holder, from, until } => {
            return match bookings(
                wanted,
                holder.as_deref(),
                Interval { from, until },
                lang,
                eol,
                context,
                out,
            ) {
                Ok(after) => after,
                Err(refusal) => refuse(refusal, lang, eol, context, out),
            };
        }
        Command::Watch { wanted, after } => {
            return match watch(wanted, after, lang, eol, session, context) {
                Ok(line) => {
                    push_line(&line, eol, out);
                    Flow::Next
                }
                Err(refusal) => refuse(refusal, lang, eol, context, out),
            };
        }
        Command::Status => push_list(&status(context), Verb::Status.word(lang), eol, out),
        Command::Help(verb) => {
            push_list(&help::lines(verb, lang), Verb::Help.word(lang), eol, out);
        }
        Command::Quit => return quit(eol, session, context, out),
        Command::Reserve(request) => {
            if let Err(refusal) = reserve(request, lang, eol, session, context, out) {
                return refuse(refusal, lang, eol, context, out);
            }
        }
        command => {
            if let Err(refusal) = change(command, lang, session, context, out) {
                return refuse(refusal, lang, eol, context, out);
            }
            push(eol.as_str(), out);
        }
    }
    context.grant_waiters();
    Flow::Next
}

/// The commands with a reply of one line, which they append without its ending;
/// nothing where they are refused.
fn change(
    command: Command,
    lang: Lang,
    session: &mut Session,
    context: &mut CommandContext,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    match command {
        Command::Cancel(wanted) => {
            let released = context.inventory.cancel(&wanted, &session.principal)?;
            cancellations(&released).for_each(|event| context.apply_and_log(event));
            reply::cancelled(&released, context.inventory.names().texts(), lang, out);
        }
        Command::Renew { number, term } => {
            let RequestTime { now, zone } = context.request_time;
            if let Some(event) =
                context.inventory.renew(number, term, &session.principal, now, zone)?
            {
                context.apply_and_log(event);
            }
            if matches!(term, End::KeepAlive(_)) {
                context.inventory.keep_alive(number, session.id());
            }
            if let Some(reservation) = context.inventory.reservation(number) {
                reply::renewed(reservation, context.inventory.names().texts(), lang, zone, out);
            }
        }
        Command::When { wanted, when } => {
            let RequestTime { now, zone } = context.request_time;
            let (start, ids) = context.inventory.when(&wanted, &when, now.wall, zone)?;
            push_all(["OK ", &zone.print(start, crate::time::Round::Up), " "], out);
            push_names(&ids, context.inventory.names().texts(), |text| push(text, out));
        }
        Command::Verify { number, name } => {
            let now = context.request_time.now;
            let (reservation, ids) = context.inventory.verify(number, name.as_deref(), now.wall)?;
            let left_ms = context.inventory.left_ms(reservation, now);
            reply::valid(reservation, &ids, left_ms, context.inventory.names().texts(), lang, out);
        }
        Command::IAm(name) => {
            push_all(["OK ", &name], out);
            session.principal.holder = Some(Rc::from(name));
        }
        Command::Add(names) => {
            let count = apply_and_log_all(context.inventory.add(names)?, context);
            push_all(["OK ", Verb::Add.word(lang), " ", &count.to_string()], out);
        }
        Command::Remove(names) => {
            let count = apply_and_log_all(context.inventory.remove(&names)?, context);
            push_all(["OK ", Verb::Remove.word(lang), " ", &count.to_string()], out);
        }
        _ => unreachable!("the other commands answer in `execute`"),
    }
    Ok(())
}

fn apply_and_log_all(events: Vec<Event>, context: &mut CommandContext) -> usize {
    let count = events.len();
    events.into_iter().for_each(|event| context.apply_and_log(event));
    count
}

/// Grants a request, or lets it wait: then the reply is the notice of its place.
fn reserve(
    request: Request,
    lang: Lang,
    eol: Eol,
    session: &mut Session,
    context: &mut CommandContext,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let RequestTime { now, zone } = context.request_time;
    let dated = request.when.start != Start::Default;
    let reservation = match context.inventory.reserve(&request, &session.principal, zone)? {
        Grant::New(reservation) => {
            context.apply_and_log(Event::Reserved(Rc::clone(&reservation)));
            reservation
        }
        Grant::Duplicate(number) => {
            context.inventory.keep_alive(number, session.id());
            Rc::clone(context.inventory.live(number)?)
        }
        Grant::Wait(wants) => {
            let text = context.inventory.target_text(&wants.targets, &request.selectors);
            let principal = session.principal.clone();
            let place = context.inventory.wait(request, wants, principal, now, zone);
            let wait = Wait { lang, eol, dated, targets: text };
            push_line(&wait.notice(place), eol, out);
            session.wait = Some(Box::new(wait));
            return Ok(());
        }
    };
    push_reserved(&reservation, dated, lang, eol, context, out);
    Ok(())
}

fn push_reserved(
    reservation: &Reservation,
    dated: bool,
    lang: Lang,
    eol: Eol,
    context: &CommandContext,
    out: &mut Vec<u8>,
) {
    let texts = context.inventory.names().texts();
    reply::reserved(reservation, dated, texts, lang, context.request_time.zone, out);
    push(eol.as_str(), out);
}

/// The pattern of a list; a plain name must exist, as everywhere.
fn list_pattern(
    wanted: Option<Selector>,
    context: &CommandContext,
) -> Result<Option<Pattern>, Refusal> {
    match wanted {
        None => Ok(None),
        Some(Selector::Pattern(pattern, _)) => Ok(Some(pattern)),
        Some(Selector::Name(name)) => match context.inventory.names().find(&name) {
            Some(_) => Ok(Pattern::new(&name).ok()),
            None => Err(Refusal::NoResource(name.into_owned())),
        },
    }
}

fn list(
    wanted: Option<Selector>,
    interval: Option<Interval>,
    lang: Lang,
    eol: Eol,
    context: &CommandContext,
    out: &mut Vec<u8>,
) -> Result<Flow, Refusal> {
    let pattern = list_pattern(wanted, context)?;
    // This instant is the shortest interval there is.
    let now = context.request_time.now.wall;
    let interval = interval.unwrap_or(Interval { from: now, until: now.plus_ms(1) });
    let bits = context.inventory.free_bits(pattern.as_ref(), interval);
    let texts = context.inventory.names().texts().clone();
    Ok(start(reply::FreeList::new(texts, bits, lang, eol, out), out))
}

fn bookings(
    wanted: Option<Selector>,
    holder: Option<&str>,
    interval: Interval,
    lang: Lang,
    eol: Eol,
    context: &CommandContext,
    out: &mut Vec<u8>,
) -> Result<Flow, Refusal> {
    let pattern = list_pattern(wanted, context)?;
    let rows = context.inventory.bookings(pattern.as_ref(), holder, interval);
    let texts = context.inventory.names().texts().clone();
    let zone = context.request_time.zone;
    Ok(start(reply::BookingList::new(texts, rows, zone, lang, eol, out), out))
}

/// Watches from now on, or from after an event that is still held.
fn watch(
    wanted: Option<Selector>,
    after: Option<u64>,
    lang: Lang,
    eol: Eol,
    session: &mut Session,
    context: &CommandContext,
) -> Result<String, Refusal> {
    let pattern = list_pattern(wanted, context)?;
    let last = context.inventory.last_event();
    let after = after.unwrap_or(last);
    if after < context.history.floor() || after > last {
        return Err(Refusal::HistoryGone { asked: after, floor: context.history.floor(), last });
    }
    session.watch = Some(Box::new(Watch { pattern, lang, eol, next: after + 1, told: after }));
    Ok(localize!(lang, "OK OBSERVANDO tras={}", "OK WATCHING after={}", after))
}

/// Makes the first piece of a list; most end there. Less of one where replies
/// wait already, so that they and the list are not more than a list is.
fn start(mut list: impl ReplyStream + 'static, out: &mut Vec<u8>) -> Flow {
    match list.fill(LIST_PIECE_BYTES.saturating_sub(out.len()), out) {
        true => Flow::List(Box::new(list)),
        false => Flow::Next,
    }
}

/// `key=value` lines; the keys are the same in both languages.
fn status(context: &CommandContext) -> Vec<String> {
    let stats = (context.stats)();
    let inventory = &context.inventory;
    let clock = match (stats.clock_unconfirmed_ms, stats.clock_behind_ms) {
        (Some(ahead_ms), _) => format!("unconfirmed, {}s ahead", ahead_ms / 1000),
        (None, ..=CLOCK_DOUBTFUL_MS) => "ok".to_owned(),
        (None, behind_ms) => format!("doubtful, {}s behind", behind_ms / 1000),
    };
    vec![
        format!("version={}", env!("CARGO_PKG_VERSION")),
        format!("uptime={}s", stats.uptime_s),
        format!(
            "time={}",
            context.request_time.zone.text(context.request_time.now.wall, crate::time::Round::Down)
        ),
        format!("zone={}", context.request_time.zone.name()),
        format!("clock={clock}"),
        format!("resources={}", inventory.names().len()),
        format!("reservations={}", inventory.reservation_count()),
        format!("waiting={}", inventory.queue().len()),
        format!("last_number={}", inventory.last_number()),
        format!("last_event={}", inventory.last_event()),
        format!("clients={}", stats.clients),
        format!("max_clients={}", stats.max_clients),
        format!("fsync={}", stats.fsync),
        format!("journal={}", stats.journal),
        format!("journal_bytes={}", stats.journal_bytes),
    ]
}

/// `SALIR`, also as Ctrl-D.
pub fn quit(eol: Eol, session: &Session, context: &mut CommandContext, out: &mut Vec<u8>) -> Flow {
    if !leave(session.id(), Ending::Quit, RELEASES_AT_ONCE, context) {
        return Flow::Leave;
    }
    farewell(session, eol, out);
    Flow::Close
}

/// Appends the reply to `SALIR`, after everything bound to the connection is released.
pub fn farewell(session: &Session, eol: Eol, out: &mut Vec<u8>) {
    push_line(session.lang.localized("OK ADIÓS", "OK BYE"), eol, out);
}

/// Ends up to `most` `hasta=salir` reservations of a connection that is closing. Those that it
/// keeps alive (`por=`) end only after `SALIR`. Returns whether none is left.
pub fn leave(
    session: SessionId,
    ending: Ending,
    most: usize,
    context: &mut CommandContext,
) -> bool {
    for number in context.inventory.bound_to(session, ending, most) {
        context.apply_and_log(Event::Expired { number });
    }
    context.grant_waiters();
    context.inventory.bound_to(session, ending, 1).is_empty()
}

/// The reply to a line that is too long.
pub fn too_long(session: &Session, eol: Eol, out: &mut Vec<u8>) {
    let text = localize!(
        session.lang,
        "la línea supera los {} bytes",
        "the line is longer than {} bytes",
        LINE_MAX_BYTES,
    );
    push_fault(&ErrorReply { code: 413, text }, eol, out);
}

/// The reply to a last line without its end, which is not run: `CANCELAR
/// #42` cut to `CANCELAR #4` would be another reservation.
pub fn cut(session: &Session, eol: Eol, out: &mut Vec<u8>) {
    let text = localize!(
        session.lang,
        "la última línea no termina en LF, así que no se ha ejecutado",
        "the last line does not end in LF, so it was not run",
    );
    push_fault(&ErrorReply::bad(text), eol, out);
}

/// Why a connection is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoom {
    /// The server has as many clients, or uses as much memory, as it may.
    Full,
    /// Its address has as many connections as one address may have.
    Address,
    /// It was the oldest of too many connections without a command.
    Silent,
}

/// The farewell to a connection that there is no room for.
pub fn no_room(why: NoRoom, out: &mut Vec<u8>) {
    let text = match why {
        NoRoom::Full => {
            "ERR 503 el servidor está lleno, prueba más tarde / the server is full, try later"
        }
        NoRoom::Address => {
            "ERR 503 hay demasiadas conexiones desde tu dirección, cierra alguna / too many connections from your address, close some"
        }
        NoRoom::Silent => {
            "ERR 503 hay demasiadas conexiones que no han enviado ninguna orden, y la tuya es la más antigua; conéctate de nuevo y envía una / too many connections have sent no command, and yours is the oldest; connect again and send one"
        }
    };
    push_line(text, Eol::Lf, out);
}

fn refuse(
    refusal: Refusal,
    lang: Lang,
    eol: Eol,
    context: &CommandContext,
    out: &mut Vec<u8>,
) -> Flow {
    push_fault(&reply::fault(refusal, lang, context.request_time.zone), eol, out);
    Flow::Next
}

fn push_fault(fault: &ErrorReply, eol: Eol, out: &mut Vec<u8>) {
    push_line(&format!("ERR {} {}", fault.code, fault.text), eol, out);
}

fn push_line(line: &str, eol: Eol, out: &mut Vec<u8>) {
    push_all([line, eol.as_str()], out);
}

fn push(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}

fn push_all<'a>(texts: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) {
    texts.into_iter().for_each(|text| push(text, out));
}

fn push_list(lines: &[impl AsRef<str>], word: &str, eol: Eol, out: &mut Vec<u8>) {
    reply::push_head(lines.len(), word, eol, out);
    for line in lines {
        push_line(line.as_ref(), eol, out);
    }
}

/// Parses an inventory file line by line: one name per line, `#` comments and blank lines.
#[derive(Default)]
pub struct NameReader {
    lines: usize,
    names: Vec<String>,
    /// The line number of each name.
    places: Vec<usize>,
    /// Indexes of names by the hash of their folded form, or the next free value above it.
    seen: HashMap<u64, usize, RandomState>,
}

impl NameReader {
    /// Parses the next line, without its ending.
    ///
    /// # Errors
    /// A description of the mistake.
    pub fn read(&mut self, line: &[u8]) -> Result<(), String> {
        self.lines += 1;
        let line = str::from_utf8(line).map_err(|_| "not UTF-8; save the file as UTF-8")?;
        let line = line.strip_prefix('\u{FEFF}').filter(|_| self.lines == 1).unwrap_or(line);
        let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let line = words.collect::<Vec<_>>().join(" ");
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let checked = check_name(&line);
        let name = checked.map_err(|error| parse::name_fault(&line, error, Lang::En).text)?;
        let folded = fold(&name);
        let mut hash = self.seen.hasher().hash_one(&folded);
        while let Some(at) = self.seen.get(&hash) {
            if fold(&self.names[*at]) == folded {
                let first = self.places[*at];
                return Err(format!("'{}' is the same name as in line {first}", excerpt(&name)));
            }
            hash = hash.wrapping_add(1);
        }
        self.seen.insert(hash, self.names.len());
        self.places.push(self.lines);
        self.names.push(name.into_owned());
        Ok(())
    }

    /// Returns the number of the last line, from 1.
    pub fn line_number(&self) -> usize {
        self.lines.max(1)
    }

    /// Takes the names read so far.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.names)
    }
}

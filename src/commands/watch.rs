//! `OBSERVAR`, `WATCH`, and the notices for a watcher.

use super::list::pattern_of;
use super::notice::Notices;
use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use super::session::Session;
use super::{CommandContext, Flow};
use crate::conn::Eol;
use crate::inventory::pattern::Pattern;
use crate::inventory::{Refusal, Selector};
use crate::limits::PROGRESS_EVERY;
use crate::store::History;
use crate::text::{Lang, Opt, excerpt, localize};
use crate::time::Zone;

pub const HELP_ES: &[&str] =
    &["OBSERVAR [patrón] [tras=]: avisa de cada cambio desde ahora, o desde el suceso tras="];

pub const HELP_EN: &[&str] =
    &["WATCH [pattern] [after=]: reports every change from now on, or since the event after="];

pub fn parse(mut line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let selector = line.one_selector()?;
    let after = match line.value(Opt::After) {
        None => None,
        Some(text) => Some(event_number(&text, line.lang)?),
    };
    Ok(Command::Watch { selector, after })
}

fn event_number(text: &str, lang: Lang) -> Result<u64, ErrorReply> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ErrorReply::bad(localize!(
            lang,
            "{}={}: número de suceso no válido",
            "{}={}: invalid event number",
            Opt::After.word(lang),
            excerpt(text),
        )));
    }
    // A number that overflows refers to a future event, too.
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// Starts to watch from now on, or from after an event that is still in the history.
pub fn run(
    selector: Option<Selector>,
    after: Option<u64>,
    session: &mut Session,
    context: &CommandContext,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let pattern = pattern_of(selector, context)?;
    let (floor, last) = (context.history.floor(), context.inventory.last_event());
    let after = after.unwrap_or(last);
    if after < floor || after > last {
        return Err(Refusal::HistoryGone { asked: after, floor, last });
    }
    let (lang, eol) = (reply.lang, reply.eol);
    session.watch = Some(Box::new(Watch { pattern, lang, eol, next: after + 1, reported: after }));
    reply.localized("OK OBSERVANDO tras=", "OK WATCHING after=").number(after).end_line();
    Ok(())
}

/// The subscription of a connection to events.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) pattern: Option<Pattern>,
    pub(super) lang: Lang,
    pub(super) eol: Eol,
    /// The number of the next event to examine.
    pub(super) next: u64,
    /// The number of the last event that was reported.
    pub(super) reported: u64,
}

/// Appends notices of events on disk until the watcher has all of them, or until about `room` bytes
/// of events were examined or appended. Events that its pattern does not match count, because they
/// cost time, too.
///
/// Returns [`Flow::Close`] if the next event of the watcher is no longer in the history. The last
/// line then names the event to continue after. That number goes out of date while the line waits,
/// so the line is appended only after all earlier output is sent.
pub fn notices(
    session: &mut Session,
    history: &History,
    kept: &mut Notices,
    zone: &Zone,
    room: usize,
    out: &mut Vec<u8>,
) -> Flow {
    let Some(watch) = &mut session.watch else { return Flow::Next };
    let full = out.len() + room;
    let mut examined = 0;
    while watch.next <= history.last() && out.len() < full && examined < room {
        let Some(text) = history.get(watch.next) else {
            if !out.is_empty() {
                return Flow::Next;
            }
            Reply::new(watch.lang, watch.eol, zone, out)
                .localized(
                    "* FIN te has quedado demasiado atrás; sigue con OBSERVAR tras=",
                    "* END you are too far behind; continue with WATCH after=",
                )
                .number(history.floor())
                .end_line();
            return Flow::Close;
        };
        examined += text.len();
        watch.push_notice(text, kept, zone, out);
    }
    Flow::Next
}

impl Watch {
    /// Appends the notice of the next event, or the watcher's position if no event matched for
    /// long.
    fn push_notice(&mut self, text: &str, kept: &mut Notices, zone: &Zone, out: &mut Vec<u8>) {
        let mut reply = Reply::new(self.lang, self.eol, zone, out);
        if let Some(line) = kept.get(self.next, text, self.pattern.as_ref(), self.lang, zone) {
            reply.line(line);
            self.reported = self.next;
        } else if self.next - self.reported >= PROGRESS_EVERY {
            reply.text("* ").number(self.next).localized(" AVANCE", " PROGRESS").end_line();
            self.reported = self.next;
        }
        self.next += 1;
    }
}

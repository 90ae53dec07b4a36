//! What a connection is to the commands: who speaks, in which language, and
//! what it is told without asking: its place in the queue, what it watches.

use super::notice::Notices;
use super::words::{Lang, excerpt, localize};
use super::{CommandContext, Flow, push_line, push_reserved};
use crate::conn::Eol;
use crate::inventory::history::History;
use crate::inventory::pattern::Pattern;
use crate::inventory::queue::Outcome;
use crate::inventory::{Origin, Principal, ResourceId, SessionId};
use crate::limits::PROGRESS_EVERY;
use crate::time::Zone;

/// What a connection is to the commands.
#[derive(Debug)]
pub struct Session {
    pub(super) principal: Principal,
    pub(super) lang: Lang,
    /// No line has come yet.
    pub(super) fresh: bool,
    /// Whether lines that may cost more than [`COSTLY_WORK`](crate::limits::COSTLY_WORK) run; see
    /// [`Flow::Later`].
    pub(super) allows_costly: bool,
    /// What it has named last, perhaps; see [`Inventory::find_kept`].
    ///
    /// [`Inventory::find_kept`]: crate::inventory::Inventory::find_kept
    pub(super) near: ResourceId,
    pub(super) watch: Option<Box<Watch>>,
    pub(super) wait: Option<Box<Wait>>,
}

/// How a connection that waits is to be answered.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) lang: Lang,
    pub(super) eol: Eol,
    pub(super) dated: bool,
    /// What it waits for, for its notices.
    pub(super) targets: String,
}

/// What a connection watches (`OBSERVAR`).
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) pattern: Option<Pattern>,
    pub(super) lang: Lang,
    pub(super) eol: Eol,
    /// The number of the next event to tell.
    pub(super) next: u64,
    /// The number of the last event that it was sent.
    pub(super) told: u64,
}

impl Session {
    /// A new connection: nobody yet, in Spanish until a verb says otherwise.
    pub fn new(id: SessionId) -> Session {
        Session {
            principal: Principal { session: id, origin: Origin::LOCAL, holder: None },
            lang: Lang::Es,
            fresh: true,
            allows_costly: true,
            near: ResourceId(0),
            watch: None,
            wait: None,
        }
    }

    /// Returns the session of a connection from this origin.
    pub fn from(id: SessionId, origin: Origin) -> Session {
        let mut session = Session::new(id);
        session.principal.origin = origin;
        session
    }

    /// Sets whether its next lines may be costly, as far as that is known before they run.
    pub fn allow_costly(&mut self, is_allowed: bool) {
        self.allows_costly = is_allowed;
    }

    /// Whether it waits for notices, so that it is not over with its input.
    pub fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    /// Whether it waits for a reservation, and its next lines with it.
    pub fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// Returns the number of the next event to send to a watcher.
    pub fn next_notice(&self) -> Option<u64> {
        self.watch.as_ref().map(|watch| watch.next)
    }

    /// Whether there are events that it was not told of.
    pub fn is_behind(&self, history: &History) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.next <= history.last())
    }

    /// Whether a notice can be made for it now. The last one, for who is too far
    /// behind, is made when all before it is sent; see [`notices`].
    pub fn can_be_told(&self, history: &History, is_flushed: bool) -> bool {
        let is_held = |watch: &Watch| watch.next > history.floor();
        self.is_behind(history) && (is_flushed || self.watch.as_deref().is_some_and(is_held))
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.principal.origin
    }

    /// Which connection it is.
    pub fn id(&self) -> SessionId {
        self.principal.session
    }
}

impl Wait {
    pub(super) fn notice(&self, place: usize) -> String {
        format!("* {} {place} {}", self.lang.localized("COLA", "QUEUE"), self.targets)
    }
}

/// Appends the notice of a place to a connection that waits.
pub fn tell_place(session: &Session, place: usize, out: &mut Vec<u8>) {
    if let Some(wait) = &session.wait {
        push_line(&wait.notice(place), wait.eol, out);
    }
}

/// Tells a connection what has become of its wait.
pub fn resolve(
    session: &mut Session,
    outcome: &Outcome,
    context: &CommandContext,
    out: &mut Vec<u8>,
) {
    let Some(wait) = session.wait.take() else { return };
    let line = match outcome {
        Outcome::PositionChanged(place) => {
            push_line(&wait.notice(*place), wait.eol, out);
            session.wait = Some(wait);
            return;
        }
        Outcome::Granted(granted) => {
            return push_reserved(granted, wait.dated, wait.lang, wait.eol, context, out);
        }
        Outcome::TimedOut => localize!(
            wait.lang,
            "ERR 408 se acabó la espera de {}",
            "ERR 408 the wait for {} is over",
            wait.targets,
        ),
        Outcome::Removed(name) => localize!(
            wait.lang,
            "ERR 404 «{}» ya no existe: se dio de baja",
            "ERR 404 '{}' no longer exists: it was removed",
            excerpt(name),
        ),
        Outcome::Stopping => localize!(
            wait.lang,
            "ERR 503 el servidor se detiene; vuelve a pedirlo",
            "ERR 503 the server is stopping; ask again",
        ),
    };
    push_line(&line, wait.eol, out);
}

/// Appends notices of what is on disk until the watcher is told all, or about
/// `room` bytes of events were looked at or told: what its pattern does not
/// match costs time, too. `Close` for one that is too slow: what it should be
/// told next is not held any more. That is said when all before it is sent, for
/// the number to come back with goes stale while it waits.
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
    let mut looked_at = 0;
    while watch.next <= history.last() && out.len() < full && looked_at < room {
        let Some(text) = history.get(watch.next) else {
            if !out.is_empty() {
                return Flow::Next;
            }
            let line = localize!(
                watch.lang,
                "* FIN te has quedado demasiado atrás; sigue con OBSERVAR tras={}",
                "* END you are too far behind; continue with WATCH after={}",
                history.floor(),
            );
            push_line(&line, watch.eol, out);
            return Flow::Close;
        };
        looked_at += text.len();
        let pattern = watch.pattern.as_ref();
        if let Some(line) = kept.get(watch.next, text, pattern, watch.lang, zone) {
            push_line(line, watch.eol, out);
            watch.told = watch.next;
        } else if watch.next - watch.told >= PROGRESS_EVERY {
            let word = watch.lang.localized("AVANCE", "PROGRESS");
            push_line(&format!("* {} {word}", watch.next), watch.eol, out);
            watch.told = watch.next;
        }
        watch.next += 1;
    }
    Flow::Next
}

//! The state of a connection as far as commands are concerned: holder, language, wait and watch.

use super::CommandContext;
use super::reply::Reply;
use super::reserve::push_granted;
use super::watch::Watch;
use crate::conn::Eol;
use crate::inventory::queue::Outcome;
use crate::inventory::{Origin, Principal, ResourceId, SessionId};
use crate::store::History;
use crate::text::{Lang, excerpt, localize};
use crate::time::Zone;

/// The state of a connection.
#[derive(Debug)]
pub struct Session {
    pub(super) principal: Principal,
    /// The language of the last verb.
    pub(super) lang: Lang,
    /// Whether no command was received yet.
    pub(super) is_fresh: bool,
    /// Whether lines that may cost more than [`COSTLY_WORK`](crate::limits::COSTLY_WORK) are run;
    /// see [`Flow::Later`](super::Flow::Later).
    pub(super) allows_costly: bool,
    /// The resource that the last command named, which may have been removed since. A guess for
    /// the next command; see the module `shortcut`.
    pub(super) last_resource: ResourceId,
    pub(super) watch: Option<Box<Watch>>,
    pub(super) wait: Option<Box<Wait>>,
}

impl Session {
    /// Creates the session of a connection from this host. It has no holder, and speaks Spanish
    /// until its first verb.
    pub fn new(id: SessionId) -> Session {
        Session::from(id, Origin::LOCAL)
    }

    /// Creates the session of a connection from an origin.
    pub fn from(id: SessionId, origin: Origin) -> Session {
        Session {
            principal: Principal { session: id, origin, holder: None },
            lang: Lang::Es,
            is_fresh: true,
            allows_costly: true,
            last_resource: ResourceId(0),
            watch: None,
            wait: None,
        }
    }

    /// Returns the id of the connection.
    pub fn id(&self) -> SessionId {
        self.principal.session
    }

    /// Returns where the connection comes from.
    pub fn origin(&self) -> Origin {
        self.principal.origin
    }

    /// Sets whether lines with a costly estimate may run from now on.
    pub fn allow_costly(&mut self, is_allowed: bool) {
        self.allows_costly = is_allowed;
    }

    /// Returns whether it watches, so that it stays open after the end of its input.
    pub fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    /// Returns whether it waits for a reservation. Its next lines wait, too.
    pub fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// Returns the number of the next event to send to a watcher.
    pub fn next_notice(&self) -> Option<u64> {
        self.watch.as_ref().map(|watch| watch.next)
    }

    /// Returns whether there are events that a watcher has not examined.
    pub fn is_behind(&self, history: &History) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.next <= history.last())
    }

    /// Returns whether a watcher may get a notice or its last line now. A watcher that is too far
    /// behind gets its last line after all other output is sent; see [`notices`](super::notices).
    pub fn can_notify(&self, history: &History, is_flushed: bool) -> bool {
        let is_held = |watch: &Watch| watch.next > history.floor();
        self.is_behind(history) && (is_flushed || self.watch.as_deref().is_some_and(is_held))
    }
}

/// The wait of a connection, with the parts of the request that its notices and its reply need.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) lang: Lang,
    pub(super) eol: Eol,
    /// Whether the request has a start.
    pub(super) is_dated: bool,
    /// The names and patterns of the request.
    pub(super) targets: String,
}

impl Wait {
    pub(super) fn notice(&self, position: usize) -> String {
        format!("* {} {position} {}", self.lang.localized("COLA", "QUEUE"), self.targets)
    }

    fn reply<'a>(&self, zone: &'a Zone, out: &'a mut Vec<u8>) -> Reply<'a> {
        Reply::new(self.lang, self.eol, zone, out)
    }
}

/// Appends the position of a waiting request: `* COLA 3 Sala 1`.
pub fn push_position(session: &Session, position: usize, out: &mut Vec<u8>) {
    if let Some(wait) = &session.wait {
        out.extend_from_slice(wait.notice(position).as_bytes());
        out.extend_from_slice(wait.eol.as_str().as_bytes());
    }
}

/// Appends the outcome of a wait, or its new position, to the output of the waiting connection.
pub fn resolve(
    session: &mut Session,
    outcome: &Outcome,
    context: &CommandContext,
    out: &mut Vec<u8>,
) {
    let Some(wait) = session.wait.take() else { return };
    let mut reply = wait.reply(context.request_time.zone, out);
    let line = match outcome {
        Outcome::PositionChanged(position) => {
            reply.line(&wait.notice(*position));
            session.wait = Some(wait);
            return;
        }
        Outcome::Granted(granted) => {
            let texts = context.inventory.names().texts();
            return push_granted(granted, wait.is_dated, texts, &mut reply);
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
    reply.line(&line);
}

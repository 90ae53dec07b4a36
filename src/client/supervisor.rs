//! `run`: runs a program only while its reservation is in force.
//!
//! ```text
//!             OK            in force            the program ends        no process is left
//!  Reserving ────▶ Checking ────────▶ Running ────────────────▶ Draining ────▶ Releasing ─▶ its code
//!      │ ERR: 64, 75                     │ lost                   │ lost         ▲
//!      ▼                                 ▼     TERM, then KILL    ▼              │ if there is a
//!    Done                            Terminating ────────────────────────────────┘ connection; 76
//! ```
//!
//! How the reservation is kept depends on its end:
//!
//! | end | ends with the connection | after the connection is lost | meanwhile |
//! | --- | --- | --- | --- |
//! | none given: `until=quit for=60s` | no | reconnect, `RENEW` | watch, `RENEW` after a third of it |
//! | `until=quit` | yes | – | watch |
//! | `for=` | no | reconnect, `RENEW` | watch, `RENEW` after a third of it |
//! | `until=`, `nights=` | no | reconnect, `VERIFY` | watch |
//!
//! Each connection starts with a watch followed by a check, in this order, so that no event is
//! missed: later ones arrive as notices, and earlier ones are reflected in the reply to the check.
//! From the second connection on, the client asks in between for the identity of the history. In a
//! different history the number may belong to another client, so nothing is renewed there.
//!
//! The end of the reservation is counted from before the granted request was sent, so it is never
//! later here than on the server. If the connection is lost before the number of the reservation is
//! known, the run ends, and a reservation that was granted nevertheless (`for=`) expires.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};

use crate::client::connection::{Connection, ServerAddress};
use crate::client::texts::{self, Lang};
use crate::{EXIT_OS, Exit, Settings};

mod channel;
mod clock;
mod deadlines;
mod keeper;
mod lease;
mod messages;
mod process_tree;
mod processes;
mod program;
mod replies;
mod run_request;
mod session;
mod signals;
mod stage;
mod terminal;

use clock::{BootTime, Timer};
pub use keeper::helper_process;
use lease::Lease;
use program::Program;
use run_request::End;
pub use run_request::RunRequest;
use session::Session;
use signals::Signals;
use stage::Stage;
pub use terminal::stop_group;

/// Added to the number of the signal that ended a program.
const EXIT_SIGNAL: i32 = 128;

/// "Interrupt Process" of telnet, which ends a wait on this connection.
pub const INTERRUPT_WAIT: [u8; 2] = [0xff, 0xf4];

/// Reserves, runs the program and releases. Returns the exit code.
pub fn run(request: &RunRequest, server: &ServerAddress, settings: Settings) -> Result<u8, Exit> {
    let connection = Connection::open(server, settings.language, settings.timeout)?;
    let cannot_run = |error: io::Error| system_error(settings.language, &error);
    // Created before any change of the signals, which its process inherits.
    let program = Program::prepare(&request.program).map_err(cannot_run)?;
    let sources = match EventSources::new() {
        Ok(sources) => sources,
        Err(error) => {
            program.dismiss();
            return Err(cannot_run(error));
        }
    };
    let session = Session::new(settings.language, server.to_string(), connection.addresses.clone());
    let mut supervisor = Supervisor::new(request, settings, program, sources, session);
    let attached = supervisor.session.attach(connection).map_err(cannot_run);
    let result = attached.and_then(|()| supervisor.run());
    // Processes that still run now cannot be ended.
    if let Some(program) = supervisor.program.take() {
        program.dismiss();
    }
    result
}

fn system_error(language: Lang, error: &io::Error) -> Exit {
    let message = texts::NO_PROCESS.format(language, &[&error.to_string()]);
    Exit::Failure { code: EXIT_OS, message }
}

/// The event sources that last for the whole run.
struct EventSources {
    signals: Signals,
    timer: Timer,
}

impl EventSources {
    fn new() -> io::Result<Self> {
        Ok(EventSources { signals: Signals::new()?, timer: Timer::new()? })
    }
}

/// The event sources with a pending event.
struct Ready {
    signals: bool,
    keeper: bool,
    session: bool,
    reconnect: bool,
}

/// A run: the state machine of [`Stage`], and everything that it acts on.
struct Supervisor<'a> {
    request: &'a RunRequest,
    settings: Settings,
    language: Lang,
    sources: EventSources,
    session: Session,
    stage: Stage,
    /// The kind of end in use. Differs from the request if the server does not support that one.
    end: End,
    lease: Lease,
    history: History,
    /// The program until all its processes have ended.
    program: Option<Program>,
    was_started: bool,
    /// Whether the keeper has the current connection.
    is_handed_over: bool,
    /// Whether the user was informed about processes that the program has left running.
    reported_children: bool,
    /// Whether the release was sent on a connection that was lost afterwards.
    may_be_released: bool,
    /// Why the reservation was lost.
    loss_reason: String,
}

/// The history of the server in which the reservation was made.
#[derive(Default)]
struct History {
    /// Its identity, if the server reports one.
    identity: Option<String>,
    /// The last event seen in it.
    last_event: u64,
    /// Whether the server has a different history now, in which the number of the reservation may
    /// belong to another client.
    is_replaced: bool,
}

impl<'a> Supervisor<'a> {
    fn new(
        request: &'a RunRequest,
        settings: Settings,
        program: Program,
        sources: EventSources,
        session: Session,
    ) -> Self {
        Supervisor {
            request,
            settings,
            language: settings.language,
            sources,
            session,
            stage: Stage::Reserving,
            end: request.end.clone(),
            lease: Lease::default(),
            history: History::default(),
            program: Some(program),
            was_started: false,
            is_handed_over: false,
            reported_children: false,
            may_be_released: false,
            loss_reason: String::new(),
        }
    }

    /// Reserves, and handles events until the run is over. Returns the exit code.
    fn run(&mut self) -> Result<u8, Exit> {
        self.start_reserving();
        loop {
            self.run_due(BootTime::now())?;
            if let Stage::Done { code } = self.stage {
                return Ok(code);
            }
            self.sources.timer.set(self.next_deadline());
            let ready = self.wait();
            // The host may have been suspended, and the reservation may have ended meanwhile.
            self.run_due(BootTime::now())?;
            if ready.signals {
                while let Some(signal) = self.sources.signals.next() {
                    self.handle_signal(signal);
                }
            }
            if ready.keeper {
                self.handle_keeper();
            }
            if ready.session {
                self.handle_session()?;
            }
            if ready.reconnect {
                self.continue_reconnect();
            }
        }
    }

    /// Waits for an event or the next deadline.
    fn wait(&self) -> Ready {
        let keeper = self.program.as_ref().filter(|program| !program.is_orphaned());
        let sources: [(Option<BorrowedFd<'_>>, PollFlags); 5] = [
            (Some(self.sources.signals.as_fd()), PollFlags::IN),
            (keeper.map(AsFd::as_fd), PollFlags::IN),
            (self.session.socket(), PollFlags::IN),
            (self.session.connecting_socket(), PollFlags::OUT),
            (Some(self.sources.timer.as_fd()), PollFlags::IN),
        ];
        let polled = sources.iter().filter_map(|(fd, flags)| Some((fd.as_ref()?, *flags)));
        let mut polled: Vec<PollFd<'_>> =
            polled.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, flags)).collect();
        let _ = poll(&mut polled, None);
        let mut events = polled.iter().map(|fd| !fd.revents().is_empty());
        let [signals, keeper, session, reconnect, _timer] =
            sources.map(|(fd, _)| fd.is_some() && events.next().unwrap_or(false));
        Ready { signals, keeper, session, reconnect }
    }
}

//! A server's commands and inventory without sockets, journal and clock, for the programs that
//! measure them.

use reservad::commands::parse::RequestTime;
use reservad::commands::{self, CommandContext, Session, Stats};
use reservad::conn::Eol;
use reservad::inventory::event::Batch;
use reservad::inventory::{Capacity, Inventory, SessionId};
use reservad::store::History;
use reservad::time::{ClockReading, Time, Zone};

/// An inventory on which single lines are run.
pub struct Bench {
    pub inventory: Inventory,
    pub batch: Batch,
    /// The time of every line. It does not advance by itself.
    pub now: Time,
    pub zone: Zone,
    last_session: u64,
}

impl Bench {
    /// Returns an empty inventory with room for a million resources and reservations.
    #[expect(clippy::new_without_default, reason = "measuring programs name what they start with")]
    pub fn new() -> Bench {
        let capacity = Capacity { resources: 1 << 20, reservations: 1 << 20 };
        Bench {
            inventory: Inventory::new(capacity),
            batch: Batch::default(),
            now: Time::from_ms(1_795_363_200_000),
            zone: Zone::utc(),
            last_session: 0,
        }
    }

    /// Returns the session of a new connection.
    pub fn connect(&mut self) -> Session {
        self.last_session += 1;
        Session::new(SessionId(self.last_session))
    }

    /// Runs a line on a new connection, as the holder `ana`, and returns the reply.
    pub fn run_as_ana(&mut self, line: &str) -> String {
        let mut session = self.connect();
        self.run(&mut session, "SOY ana");
        self.run(&mut session, line)
    }

    /// Runs a line and returns the reply, of a list the first line. The events are discarded.
    pub fn run(&mut self, session: &mut Session, line: &str) -> String {
        let history = History::default();
        let mut context = CommandContext {
            inventory: &mut self.inventory,
            batch: &mut self.batch,
            history: &history,
            request_time: RequestTime { now: ClockReading::at(self.now), zone: &self.zone },
            stats: &Stats::default,
        };
        let mut out = Vec::new();
        commands::run(line.as_bytes(), Eol::Lf, session, &mut context, &mut out);
        self.batch.clear();
        String::from_utf8(out).expect("replies are UTF-8")
    }
}

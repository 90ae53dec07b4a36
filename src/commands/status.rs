//! `ESTADO`, `STATUS`: the statistics of the server.

use super::CommandContext;
use super::parse::{Command, ErrorReply, Line, RequestTime};
use super::reply::Reply;
use crate::inventory::Inventory;
use crate::limits::CLOCK_DOUBTFUL_MS;
use crate::text::Verb;
use crate::time::Round;

pub const HELP_ES: &[&str] = &["ESTADO: estadísticas del servidor"];

pub const HELP_EN: &[&str] = &["STATUS: server statistics"];

pub fn parse(line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    line.without_arguments(Command::Status)
}

pub fn run(context: &CommandContext, reply: &mut Reply) {
    let stats = (context.stats)();
    let lines = stats.lines(context.inventory, context.request_time);
    reply.list(Verb::Status.word(reply.lang), &lines);
}

/// Statistics that only the loop knows. Those of the inventory are read from it.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub clients: usize,
    pub max_clients: usize,
    pub uptime_s: u64,
    /// How far the wall clock is behind the server's time.
    pub clock_behind_ms: i64,
    /// How far the wall clock is ahead while it is not confirmed.
    pub clock_unconfirmed_ms: Option<i64>,
    /// `always`, `never`, an interval, or `in-memory`.
    pub fsync: String,
    /// The identity of the journal, as 16 hex digits.
    pub journal: String,
    pub journal_bytes: u64,
}

impl Stats {
    /// Returns the lines of the reply, `key=value`. The keys are the same in both languages.
    fn lines(&self, inventory: &Inventory, RequestTime { now, zone }: RequestTime) -> Vec<String> {
        vec![
            format!("version={}", env!("CARGO_PKG_VERSION")),
            format!("uptime={}s", self.uptime_s),
            format!("time={}", zone.text(now.wall, Round::Down)),
            format!("zone={}", zone.name()),
            format!("clock={}", self.clock()),
            format!("resources={}", inventory.names().len()),
            format!("reservations={}", inventory.reservation_count()),
            format!("waiting={}", inventory.queue().len()),
            format!("last_number={}", inventory.last_number()),
            format!("last_event={}", inventory.last_event()),
            format!("clients={}", self.clients),
            format!("max_clients={}", self.max_clients),
            format!("fsync={}", self.fsync),
            format!("journal={}", self.journal),
            format!("journal_bytes={}", self.journal_bytes),
        ]
    }

    fn clock(&self) -> String {
        match (self.clock_unconfirmed_ms, self.clock_behind_ms) {
            (Some(ahead_ms), _) => format!("unconfirmed, {}s ahead", ahead_ms / 1000),
            (None, ..=CLOCK_DOUBTFUL_MS) => "ok".to_owned(),
            (None, behind_ms) => format!("doubtful, {}s behind", behind_ms / 1000),
        }
    }
}

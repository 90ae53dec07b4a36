//! Admission: accepts connections, and rejects those over a limit.

use std::io;

use log::error;

use super::client::{Client, Phase};
use super::observer::Observer;
use super::throttle::Kind;
use super::{Key, Service, Stream};
use crate::commands::{self, RejectReason, Session};
use crate::conn::Conn;
use crate::inventory::{Origin, SessionId};
use crate::journal::Storage;
use crate::limits::{REJECTED_MAX, WRITE_MIN_BYTES};

impl<T: Stream, S: Storage, O: Observer> Service<T, S, O> {
    /// Adds a connection that was just accepted. `register` adds its stream to the poll, with the
    /// arguments of [`Service::set_ready`].
    pub fn add_client(
        &mut self,
        stream: T,
        origin: Origin,
        register: impl FnOnce(&mut T, Key, SessionId) -> io::Result<()>,
    ) {
        let rejection = self.rejection(origin);
        if let Some(reason) = rejection
            && self.clients.rejected_len() >= REJECTED_MAX
        {
            return reject(stream, reason);
        }
        let session = self.clients.new_session();
        let state = Session::from(session, origin);
        let key = self.clients.insert(Client::new(Conn::new(stream), state, self.engine.instant));
        let client = &mut self.clients[key];
        if let Err(error) = register(client.conn.stream(), key, session) {
            error!("cannot add connection {} to the poll: {error}", session.0);
            return self.clients.discard(key);
        }
        if let Some(reason) = rejection {
            self.clients.reject(key);
            return self.reject_client(key, reason);
        }
        // Usually the first line of the client has arrived already.
        self.scheduler.enqueue(&mut client.slot, key);
        self.arm(key);
        self.crowd.join(origin);
    }

    /// Returns the reason why one more connection of this origin cannot be served, if there is one.
    fn rejection(&mut self, origin: Origin) -> Option<RejectReason> {
        if self.clients.served_len() >= self.config.max_clients {
            self.log_rejection("--max-clients is reached");
            Some(RejectReason::Full)
        } else if self.memory.is_full() {
            self.log_rejection("--max-output-memory is reached");
            Some(RejectReason::Full)
        } else if !self.crowd.has_room(origin) {
            self.log_rejection("an address has reached --max-per-address");
            Some(RejectReason::Address)
        } else {
            None
        }
    }

    /// Sends a connection the reason why it is rejected, and closes it.
    pub(super) fn reject_client(&mut self, key: Key, reason: RejectReason) {
        let client = &mut self.clients[key];
        if client.phase == Phase::Dead {
            return;
        }
        self.crowd.note_line(client.session.origin(), client.session.id(), key);
        client.phase = Phase::Closing;
        commands::push_rejection(reason, client.conn.out());
        self.flush(key, WRITE_MIN_BYTES);
    }

    /// Logs, once a minute at most, that clients are rejected.
    pub fn log_rejection(&mut self, reason: &str) {
        self.log.warn(self.engine.instant, Kind::Rejected, reason);
    }
}

/// Sends the reason why a connection is rejected, and closes it at once. If the client has already
/// sent something, a reset may overtake the reason.
pub fn reject(mut stream: impl Stream, reason: RejectReason) {
    let mut text = Vec::new();
    commands::push_rejection(reason, &mut text);
    let _ = stream.write(&text);
    let _ = stream.shutdown_write();
}

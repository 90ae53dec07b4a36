//! A reservation and its optional parts.

use std::rc::Rc;
use std::slice;

use smallvec::SmallVec;

use super::{Interval, KeepAlive, Number, ResourceId, SessionId};
use crate::time::Time;

/// A few resources, usually one.
pub type Ids = SmallVec<[ResourceId; 4]>;

/// An idempotency key and the request that was made with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey {
    /// The key as the client gave it.
    pub text: Box<str>,
    /// The request in a canonical form, which is the same for every way to write it.
    pub request: Box<str>,
}

/// The parts that most reservations do not have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Details {
    pub note: Option<Box<str>>,
    pub key: Option<IdempotencyKey>,
    /// The connection with which it ends (`hasta=salir`).
    pub session: Option<SessionId>,
    /// Set for `hasta=salir por=D`, which also ends if it is not renewed in time.
    pub keep_alive: Option<KeepAlive>,
    /// All its resources if there are several; otherwise empty.
    targets: Box<[ResourceId]>,
}

/// An interval of time on one or more resources.
///
/// There may be a million of them. With the two counts of its `Rc` it fits into an allocation of 80
/// bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    pub number: Number,
    pub from: Time,
    /// [`Time::MAX`] if no end is known, which includes `hasta=salir`.
    pub until: Time,
    pub holder: Option<Rc<str>>,
    /// `None` if all of them are empty.
    pub details: Option<Box<Details>>,
    /// The first resource; see [`Reservation::targets`].
    target: ResourceId,
    /// Whether it is a lease: granted for a length from now on (`por=`). A lease measures elapsed
    /// time, so it ends by the monotonic clock, and its end moves when the wall clock is set.
    pub lease: bool,
}

impl Reservation {
    /// Creates a reservation without any optional part.
    ///
    /// # Panics
    /// If `targets` is empty.
    pub fn new(number: Number, targets: &[ResourceId], interval: Interval) -> Reservation {
        let mut new = Reservation {
            number,
            from: interval.from,
            until: interval.until,
            holder: None,
            details: None,
            target: targets[0],
            lease: false,
        };
        if targets.len() > 1 {
            new.set_targets(targets);
        }
        new
    }

    /// Returns its interval.
    pub fn interval(&self) -> Interval {
        Interval { from: self.from, until: self.until }
    }

    /// Returns its resources in the order of the request, usually one.
    pub fn targets(&self) -> &[ResourceId] {
        match &self.details {
            Some(details) if !details.targets.is_empty() => &details.targets,
            _ => slice::from_ref(&self.target),
        }
    }

    pub(super) fn set_targets(&mut self, targets: &[ResourceId]) {
        self.target = targets[0];
        self.detail(|details| {
            details.targets = if targets.len() > 1 { targets.into() } else { Box::default() };
        });
    }

    /// Changes the id of one of its resources.
    pub(super) fn remap(&mut self, old: ResourceId, new: ResourceId) {
        let further = self.details.iter_mut().flat_map(|details| &mut details.targets);
        for id in further.chain([&mut self.target]).filter(|id| **id == old) {
            *id = new;
        }
    }

    /// Returns whether it holds all of these resources and none of them is repeated.
    pub(super) fn holds_each_once(&self, some: &[ResourceId]) -> bool {
        let is_new = |(at, id): (usize, &ResourceId)| !some[..at].contains(id);
        some.iter().all(|id| self.targets().contains(id)) && some.iter().enumerate().all(is_new)
    }

    /// Changes its details.
    pub fn detail(&mut self, change: impl FnOnce(&mut Details)) {
        let mut details = self.details.take().map_or_else(Details::default, |details| *details);
        change(&mut details);
        self.details = (details != Details::default()).then(|| Box::new(details));
    }

    /// Returns the note.
    pub fn note(&self) -> Option<&str> {
        self.details.as_ref()?.note.as_deref()
    }

    /// Returns the idempotency key.
    pub fn key(&self) -> Option<&IdempotencyKey> {
        self.details.as_ref()?.key.as_ref()
    }

    /// Returns the connection with which it ends (`hasta=salir`).
    pub fn session(&self) -> Option<SessionId> {
        self.details.as_ref()?.session
    }

    /// Returns how it is kept alive; `None` unless it was made with `hasta=salir por=D`.
    pub fn keep_alive(&self) -> Option<KeepAlive> {
        self.details.as_ref()?.keep_alive
    }

    /// Returns the holder and the key in one text, under which the key is indexed. A holder has no
    /// line feed.
    pub(super) fn key_index(&self) -> Option<Box<str>> {
        let holder = self.holder.as_deref()?;
        Some(format!("{holder}\n{}", self.key()?.text).into())
    }
}

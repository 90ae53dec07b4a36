//! Grants waiters after something has become free.

use std::cmp::Reverse;
use std::rc::Rc;

use super::freed::Group;
use super::patterns::PatternId;
use super::waiter::{Outcome, Ticket, Waiter};
use crate::inventory::event::Batch;
use crate::inventory::{Event, Ids, Interval, Inventory, Request, ResourceId};
use crate::time::{ClockReading, Time, Zone};

/// Names matched with a pattern between two checks of the remaining work.
const EXTEND_PIECE: usize = 1_000;

impl Inventory {
    /// Grants the waiters that now fit until `work` is used up. Returns whether all of them were
    /// tried.
    pub(in crate::inventory) fn grant_piece(
        &mut self,
        now: ClockReading,
        zone: &Zone,
        work: u64,
        batch: &mut Batch,
    ) -> bool {
        let end = self.work().saturating_add(work);
        Granting { inventory: self, now, zone, batch }.run(end)
    }
}

/// The grants of one time.
struct Granting<'a> {
    inventory: &'a mut Inventory,
    now: ClockReading,
    zone: &'a Zone,
    batch: &'a mut Batch,
}

impl Granting<'_> {
    /// Tries waiters until the work reaches `end`. Returns whether all of them were tried.
    fn run(&mut self, end: u64) -> bool {
        loop {
            let is_full = self.inventory.is_full();
            let pass = &mut self.inventory.queue.pass;
            if pass.is_over() {
                pass.finish();
                return true;
            }
            // Freed resources are kept until there is room for another reservation.
            if is_full {
                pass.restart();
                return true;
            }
            if self.inventory.work.get() >= end {
                return false;
            }
            if pass.has_groups_to_find() {
                self.find_groups(end);
            } else if let Some(Reverse((ticket, group))) = pass.heap.pop() {
                self.try_next(ticket, group);
            }
        }
    }

    /// Puts the groups of waiters that freed resources may help in the heap, until the work reaches
    /// `end`.
    fn find_groups(&mut self, end: u64) {
        if !self.find_groups_by_id(end) {
            return;
        }
        let inventory = &mut *self.inventory;
        let ids = ResourceId::at(inventory.schedules.len());
        let texts = inventory.names.texts();
        let (queue, work) = (&mut inventory.queue, &inventory.work);
        let mut has_new = false;
        while let Some(pattern) = queue.patterns.watched_after(queue.pass.matched_up_to) {
            if work.get() >= end {
                return;
            }
            let extended = queue.patterns.extend(pattern, ids, EXTEND_PIECE, texts);
            work.set(work.get() + 1 + extended as u64);
            has_new |= extended > 0;
            if extended == EXTEND_PIECE {
                continue;
            }
            let (found, tested) = queue.patterns.first_gain(pattern, &queue.pass, texts);
            work.set(work.get() + tested / 4);
            if let Some(id) = found {
                queue.push_group(Group::FromNow(pattern, id), Ticket::MIN);
                let first = queue.patterns.watchers(pattern).and_then(|them| them.first_start());
                if first.is_some_and(|first| first < queue.pass.last) {
                    queue.push_group(Group::Dated(pattern), Ticket::MIN);
                }
            }
            queue.pass.matched_up_to = Some(pattern);
        }
        if has_new {
            queue.patterns.rebuild_union();
        }
        queue.pass.matched_up_to = None;
        queue.pass.freed.append(&mut queue.pass.matched);
    }

    /// Puts the groups that are indexed by resource in the heap. Returns whether all of them were
    /// found.
    fn find_groups_by_id(&mut self, end: u64) -> bool {
        let inventory = &mut *self.inventory;
        if !inventory.queue.pass.has_fresh() {
            return true;
        }
        // The new resources have to be matched with all watched patterns.
        inventory.queue.pass.matched_up_to = None;
        if std::mem::take(&mut inventory.queue.pass.has_fresh_all) {
            inventory.queue.pass.is_for_all = true;
            inventory.queue.push_group(Group::All, Ticket::MIN);
        }
        let now = self.now.wall;
        while let Some((id, from)) = inventory.queue.pass.next_to_scan() {
            if inventory.work() >= end {
                return false;
            }
            inventory.add_work(1);
            let Some((at, ticket)) = inventory.queue.next_freed_group(id, from, now) else {
                inventory.queue.pass.end_scan(id);
                continue;
            };
            if inventory.is_free_at(id, at.time(now)) {
                inventory.queue.pass.heap.push(Reverse((ticket, Group::Taken(id, at))));
            }
            inventory.queue.pass.scanned = Some((id, at.next()));
        }
        true
    }

    /// Tries the next waiter of a group, and puts the group back.
    fn try_next(&mut self, ticket: Ticket, group: Group) {
        self.inventory.add_work(1);
        match self.inventory.queue.next_of(group, ticket) {
            // The last waiter of the group has left, and perhaps the last one with the pattern.
            None => return,
            Some(next) if next > ticket => {
                return self.inventory.queue.pass.heap.push(Reverse((next, group)));
            }
            Some(_) => {}
        }
        let Some(group) = self.unless_taken_again(group) else { return };
        self.try_grant(ticket, group);
        self.inventory.queue.push_group(group, ticket.next());
    }

    /// Returns the group without the freed resources that an older waiter has taken again; `None`
    /// if none is left.
    fn unless_taken_again(&mut self, group: Group) -> Option<Group> {
        let inventory = &mut *self.inventory;
        match group {
            Group::Taken(id, at) => {
                inventory.is_free_at(id, at.time(self.now.wall)).then_some(group)
            }
            Group::FromNow(pattern, id) => match inventory.next_free(pattern, id, self.now.wall) {
                Some(id) => Some(Group::FromNow(pattern, id)),
                None => {
                    inventory.queue.patterns.mark_tried(pattern, inventory.last_number);
                    None
                }
            },
            _ => Some(group),
        }
    }

    /// Grants a waiter if it fits. Otherwise records what blocks it.
    fn try_grant(&mut self, ticket: Ticket, group: Group) {
        let inventory = &mut *self.inventory;
        let Some(waiter) = inventory.queue.waiters.get(&ticket) else { return };
        let Ok(interval) = waiter.request.when.interval(self.now, self.zone) else { return };
        let gained = match group {
            Group::Dated(_) if !inventory.has_freed_time(waiter, interval, self.now.wall) => return,
            Group::FromNow(pattern, _) | Group::Dated(pattern) => Some(pattern),
            _ => None,
        };
        if let Some(pattern) = gained.filter(|it| !inventory.may_gain_in(*it, interval)) {
            return inventory.queue.patterns.mark_tried(pattern, inventory.last_number);
        }
        match inventory.fit_waiter(waiter, interval, gained) {
            Ok(ids) => self.grant(ticket, interval, &ids),
            Err(watch) => inventory.queue.block(ticket, watch, inventory.last_number),
        }
    }

    /// Grants these resources to a waiter, and to all other waiters with the same idempotency key
    /// and request.
    fn grant(&mut self, ticket: Ticket, interval: Interval, ids: &Ids) {
        let inventory = &mut *self.inventory;
        let waiter = &inventory.queue.waiters[&ticket];
        let same = inventory.same_request(ticket);
        // A reservation that is bound to a connection is bound to that of the latest retry.
        let last = same.last().and_then(|last| inventory.queue.waiters.get(last));
        let principal = last.unwrap_or(waiter).principal.clone();
        let request = Request { interval, ..waiter.request.clone() };
        let granted = Rc::new(inventory.granted(&request, ids, waiter.key.clone(), &principal));
        inventory.apply_due(self.now.wall, Event::Reserved(Rc::clone(&granted)), self.batch);
        for ticket in same {
            inventory.end_wait(ticket, Outcome::Granted(Rc::clone(&granted)));
        }
    }
}

impl Inventory {
    fn is_free_at(&self, id: ResourceId, now: Time) -> bool {
        self.overlap(id, Interval { from: now, until: now.plus_ms(1) }).is_none()
    }

    /// Returns the first freed resource from `first` on that a pattern matches and that is free
    /// now.
    fn next_free(&self, pattern: PatternId, first: ResourceId, now: Time) -> Option<ResourceId> {
        self.queue.pass.freed.range(first..).copied().find(|id| {
            self.add_work(1);
            self.is_free_at(*id, now)
                && self.queue.patterns.is_match(pattern, *id, self.names.texts())
        })
    }

    /// Returns whether any of the freed time is in the interval of a request with dates. A start
    /// that has passed is compared as requested, because a booking that ends now was in its way.
    fn has_freed_time(&self, waiter: &Waiter, interval: Interval, now: Time) -> bool {
        self.queue.pass.last > waiter.request.when.from(now)
            && interval.until > self.queue.pass.first
    }

    /// Returns this waiter and the others with the same holder, idempotency key and request, oldest
    /// first.
    fn same_request(&self, ticket: Ticket) -> Vec<Ticket> {
        let waiter = &self.queue.waiters[&ticket];
        let Some(key) = &waiter.key else { return vec![ticket] };
        let all = self.queue.with_key(key, &waiter.principal);
        all.filter(|(_, other)| other.key == waiter.key).map(|(ticket, _)| ticket).collect()
    }
}

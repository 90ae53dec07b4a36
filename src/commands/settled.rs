//! Decides which commands may run while the inventory is behind: those that work still due cannot
//! affect.

use super::parse::Command;
use crate::inventory::{Cancel, Inventory, Number, Selector};
use crate::time::ClockReading;

/// Returns whether no work still due can change the effect or the reply of a command.
pub fn is_settled(command: &Command, inventory: &Inventory, now: ClockReading) -> bool {
    let is_name_settled = |name: &str| {
        let id = inventory.names().find(name);
        id.is_none_or(|id| inventory.is_settled(id, now))
    };
    let is_selector_settled = |selector: &Selector| match selector {
        Selector::Name(name) => is_name_settled(name),
        Selector::Pattern(..) => false,
    };
    let is_number_settled = |number: Number| match inventory.reservation(number) {
        None => true,
        Some(one) => {
            let mut ids = one.targets().iter();
            !inventory.is_stale(one, now) && ids.all(|id| inventory.is_settled(*id, now))
        }
    };
    match command {
        Command::Help(_) | Command::IAm(_) | Command::Watch { .. } | Command::Quit => true,
        Command::Status => false,
        // Work that is due may free space for a reservation, or free the key.
        Command::Reserve(request) => {
            !inventory.is_full()
                && request.key.is_none()
                && request.selectors.iter().all(is_selector_settled)
        }
        Command::Cancel(targets) => targets.iter().all(|target| match target {
            Cancel::Number(number) => is_number_settled(*number),
            Cancel::Name(name) => is_name_settled(name),
        }),
        Command::List { selector, .. } | Command::Bookings { selector, .. } => {
            selector.as_ref().is_some_and(is_selector_settled)
        }
        Command::When { selectors, .. } => selectors.iter().all(is_selector_settled),
        Command::Renew { number, .. } => is_number_settled(*number),
        Command::Verify { number, .. } => {
            inventory.reservation(*number).is_none_or(|one| !inventory.is_stale(one, now))
        }
        // A request may be waiting for the new name.
        Command::Add(_) => !inventory.queue().has_patterns(),
        Command::Remove(names) => names.iter().all(|name| is_name_settled(name)),
    }
}

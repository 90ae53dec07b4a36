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
    let is_wanted_settled = |wanted: &Selector| match wanted {
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
        // Without the work that is due, the inventory could be full, or the key still be in use.
        Command::Reserve(request) => {
            !inventory.is_full()
                && request.key.is_none()
                && request.selectors.iter().all(is_wanted_settled)
        }
        Command::Cancel(wanted) => wanted.iter().all(|one| match one {
            Cancel::Number(number) => is_number_settled(*number),
            Cancel::Name(name) => is_name_settled(name),
        }),
        Command::List { wanted, .. } | Command::Bookings { wanted, .. } => {
            wanted.as_ref().is_some_and(is_wanted_settled)
        }
        Command::When { wanted, .. } => wanted.iter().all(is_wanted_settled),
        Command::Renew { number, .. } => is_number_settled(*number),
        Command::Verify { number, .. } => {
            inventory.reservation(*number).is_none_or(|one| !inventory.is_stale(one, now))
        }
        // A request may be waiting for the new name.
        Command::Add(_) => !inventory.queue().has_patterns(),
        Command::Remove(names) => names.iter().all(|name| is_name_settled(name)),
    }
}

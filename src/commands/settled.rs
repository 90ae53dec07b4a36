//! Which commands may run while the inventory is behind: those whose answer is the same before and
//! after what still has to happen by itself.

use super::parse::Command;
use crate::clock::Now;
use crate::inventory::Inventory;
use crate::inventory::decide::{Cancel, Wanted};

/// Whether nothing that still has to happen by itself can change what this command does or says.
pub fn is_settled(command: &Command, inventory: &Inventory, now: Now) -> bool {
    let is_name_settled = |name: &str| {
        let id = inventory.names().find(name);
        id.is_none_or(|id| inventory.is_settled(id, now))
    };
    let is_wanted_settled = |wanted: &Wanted| match wanted {
        Wanted::Name(name) => is_name_settled(name),
        Wanted::Pattern(..) => false,
    };
    let is_number_settled = |number: u64| match inventory.reservation(number) {
        None => true,
        Some(one) => {
            let mut ids = one.targets().iter();
            !inventory.is_stale(one, now) && ids.all(|id| inventory.is_settled(*id, now))
        }
    };
    match command {
        Command::Help(_) | Command::IAm(_) | Command::Watch { .. } | Command::Quit => true,
        Command::Status => false,
        // What is due may be what makes it full, and what has the key.
        Command::Reserve(request) => {
            !inventory.is_full()
                && request.key.is_none()
                && request.wanted.iter().all(is_wanted_settled)
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
        // Somebody may wait for what is new.
        Command::Add(_) => !inventory.queue().has_patterns(),
        Command::Remove(names) => names.iter().all(|name| is_name_settled(name)),
    }
}

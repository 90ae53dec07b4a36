//! The rights of clients, checked between parsing and executing a command.

use super::parse::Command;
use crate::inventory::{Cancel, Inventory, Number, Principal, Refusal};

/// Checks whether a principal may run a command.
///
/// A holder's reservations can be cancelled and renewed by that holder alone, and keys belong to a
/// holder. A number that is not live is allowed here, so that the command reports it. A name in
/// `CANCELAR` selects one of several reservations by their holders. That selection is a rule of the
/// inventory, which refuses it with 403 when only others hold the resource.
pub fn authorize(
    principal: &Principal,
    command: &Command,
    inventory: &Inventory,
) -> Result<(), Refusal> {
    match command {
        Command::Reserve(request) if request.key.is_some() && principal.holder.is_none() => {
            Err(Refusal::KeyNeedsHolder)
        }
        Command::Cancel(targets) => targets.iter().try_for_each(|target| match target {
            Cancel::Number(number) => may_modify(principal, *number, inventory),
            Cancel::Name(_) => Ok(()),
        }),
        Command::Renew { number, .. } => may_modify(principal, *number, inventory),
        Command::Reserve(_)
        | Command::List { .. }
        | Command::Bookings { .. }
        | Command::When { .. }
        | Command::Verify { .. }
        | Command::Watch { .. }
        | Command::IAm(_)
        | Command::Add(_)
        | Command::Remove(_)
        | Command::Status
        | Command::Help(_)
        | Command::Quit => Ok(()),
    }
}

fn may_modify(principal: &Principal, number: Number, inventory: &Inventory) -> Result<(), Refusal> {
    match inventory.reservation(number) {
        Some(reservation) if !principal.can_modify(reservation) => {
            Err(Refusal::not_yours(format!("#{number}"), reservation))
        }
        _ => Ok(()),
    }
}

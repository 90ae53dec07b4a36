//! `LISTAR`, `LIST`: the free resources.

use super::parse::{Command, ErrorReply, Line};
use super::reply::Reply;
use super::{CommandContext, Flow};
use crate::conn::{Eol, ReplyStream};
use crate::inventory::names::NameTexts;
use crate::inventory::pattern::Pattern;
use crate::inventory::{End, Interval, Refusal, ResourceId, Selector, Start, When};
use crate::limits::{LIST_PIECE_BYTES, NAME_MAX_BYTES};

pub const HELP_ES: &[&str] = &[
    "LISTAR [patrón] [desde=] [hasta=|por=|noches=]: los recursos libres ahora, o en todo ese tiempo",
];

pub const HELP_EN: &[&str] = &[
    "LIST [pattern] [from=] [until=|for=|nights=]: the resources that are free now, or for all that time",
];

pub fn parse(mut line: Line<'_>) -> Result<Command<'_>, ErrorReply> {
    let selector = line.one_selector()?;
    let when = line.when()?;
    if matches!(when.end, End::Quit | End::KeepAlive(_)) {
        return Err(line.quit_not_allowed());
    }
    let instant = When { start: Start::Default, end: End::Open };
    let interval = match when == instant {
        true => None,
        false => Some(line.interval(&when)?),
    };
    Ok(Command::List { selector, interval })
}

pub fn run(
    selector: Option<Selector>,
    interval: Option<Interval>,
    context: &CommandContext,
    reply: &mut Reply,
) -> Result<Flow, Refusal> {
    let pattern = pattern_of(selector, context)?;
    // The present is the shortest possible interval.
    let now = context.request_time.now.wall;
    let interval = interval.unwrap_or(Interval { from: now, until: now.plus_ms(1) });
    let bits = context.inventory.free_bits(pattern.as_ref(), interval);
    let texts = context.inventory.names().texts().clone();
    let list = FreeList::new(texts, bits, reply);
    Ok(begin(list, reply))
}

/// Returns the pattern of a list. As everywhere, a name without `*` must exist.
pub fn pattern_of(
    selector: Option<Selector>,
    context: &CommandContext,
) -> Result<Option<Pattern>, Refusal> {
    match selector {
        None => Ok(None),
        Some(Selector::Pattern(pattern, _)) => Ok(Some(pattern)),
        Some(Selector::Name(name)) => match context.inventory.names().find(&name) {
            Some(_) => Ok(Pattern::new(&name).ok()),
            None => Err(Refusal::NoResource(name.into_owned())),
        },
    }
}

/// Appends the first piece of a list, which is the whole list in most cases. The piece is smaller
/// if the output already holds replies, so that both together stay within the limit of a list.
pub fn begin(mut list: impl ReplyStream + 'static, reply: &mut Reply) -> Flow {
    let out = reply.out();
    match list.fill(LIST_PIECE_BYTES.saturating_sub(out.len()), out) {
        true => Flow::List(Box::new(list)),
        false => Flow::Next,
    }
}

/// `OK 2 DISPONIBLES` and one name per line. Holds a snapshot: the names at the time of the
/// command, and a bit for each free resource.
struct FreeList {
    texts: NameTexts,
    bits: Vec<u64>,
    /// The index in `bits` of the next word.
    next: usize,
    /// The number of names that remain to be appended.
    left: usize,
    eol: Eol,
}

impl FreeList {
    /// Creates the list and appends its first line.
    fn new(texts: NameTexts, bits: Vec<u64>, reply: &mut Reply) -> FreeList {
        let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
        reply.list_head(count as usize, reply.lang.localized("DISPONIBLES", "AVAILABLE"));
        FreeList { texts, bits, next: 0, left: count as usize, eol: reply.eol }
    }
}

impl ReplyStream for FreeList {
    fn fill(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool {
        let full = out.len() + bytes;
        // Reserving the exact size avoids a buffer of twice the piece.
        const ROW_MAX_BYTES: usize = NAME_MAX_BYTES + 2;
        out.reserve_exact((bytes + ROW_MAX_BYTES).min(self.left * ROW_MAX_BYTES));
        while let Some(word) = self.bits.get_mut(self.next) {
            while *word != 0 {
                let id = self.next * 64 + word.trailing_zeros() as usize;
                *word &= *word - 1;
                self.left -= 1;
                out.extend_from_slice(self.texts.name(ResourceId::at(id)).as_bytes());
                out.extend_from_slice(self.eol.as_str().as_bytes());
                if out.len() >= full {
                    return true;
                }
            }
            self.next += 1;
        }
        false
    }

    fn retained_bytes(&self) -> usize {
        self.bits.capacity() * size_of::<u64>() + self.texts.retained_bytes()
    }

    fn name_epoch(&self) -> u64 {
        self.texts.name_epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::names::Names;
    use crate::text::Lang;
    use crate::time::Zone;

    /// A thousand clients may read a list at the same time.
    #[test]
    fn piece_of_a_list_takes_no_more_memory_than_its_length() {
        let mut names = Names::default();
        for at in 0..1000 {
            names.add(&format!("{} {at}", "x".repeat(100)));
        }
        let mut out = Vec::new();
        let bits = vec![u64::MAX; 1000 / 64];
        let zone = Zone::utc();
        let mut reply = Reply::new(Lang::Es, Eol::Lf, &zone, &mut out);
        let mut list = FreeList::new(names.texts().clone(), bits, &mut reply);
        assert!(list.fill(LIST_PIECE_BYTES, &mut out));
        assert!((LIST_PIECE_BYTES..LIST_PIECE_BYTES + 200).contains(&out.len()));
        assert!(out.capacity() < LIST_PIECE_BYTES + 200, "{}", out.capacity());
    }
}

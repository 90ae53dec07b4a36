//! The mode of the terminal: keys come one by one and unechoed while a conversation lasts, and
//! as before at its end, however it ends. (SIGKILL excepted, which nobody can do anything about.)

use std::env;
use std::io::{self, IsTerminal};
use std::panic;
use std::sync::OnceLock;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// How the terminal was before us. Global, because a panic in any thread must find it.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// A width for terminals that do not tell theirs.
const USUAL_COLUMNS: usize = 80;

/// While this lives, keys come one by one.
pub struct Keys(());

impl Keys {
    /// `None` where the terminal cannot do what editing needs: move the cursor, and clear.
    pub fn start() -> Option<Self> {
        let can_clear = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if !can_clear || !io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        BEFORE.get_or_init(|| before);
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        let keys = Keys(());
        keys.resume().then_some(keys)
    }

    /// Keys one by one, also after a stop. Ctrl-C and Ctrl-Z go on to be signals, and Enter ends
    /// lines as ever.
    pub fn resume(&self) -> bool {
        let Some(mut mode) = BEFORE.get().cloned() else {
            return false;
        };
        mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &mode).is_ok()
    }

    /// As it was before us.
    pub fn pause(&self) {
        restore();
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.get() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
    }
}

pub fn columns() -> usize {
    let columns = tcgetwinsize(io::stdin()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { USUAL_COLUMNS } else { columns }
}

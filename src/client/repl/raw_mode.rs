//! The mode of the terminal in which keys arrive one by one and are not echoed. The previous mode is
//! restored when the session ends, also by a panic or a signal other than SIGKILL.

use std::env;
use std::io::{self, IsTerminal};
use std::panic;
use std::sync::OnceLock;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// The previous mode. Global, because a panic in any thread restores it.
static PREVIOUS_MODE: OnceLock<Termios> = OnceLock::new();

/// The width of a terminal that does not report one.
const DEFAULT_COLUMNS: usize = 80;

/// Keeps the terminal in this mode until it is dropped.
pub struct RawMode(());

impl RawMode {
    /// Returns `None` if the terminal cannot move the cursor and clear lines.
    pub fn enable() -> Option<Self> {
        let can_clear = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if !can_clear || !io::stdin().is_terminal() {
            return None;
        }
        let mode = tcgetattr(io::stdin()).ok()?;
        PREVIOUS_MODE.get_or_init(|| mode);
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        let raw_mode = RawMode(());
        raw_mode.resume().then_some(raw_mode)
    }

    /// Enables the mode again after [`suspend`](Self::suspend). Ctrl-C and Ctrl-Z still send
    /// signals, and Enter still sends LF. Returns whether that succeeded.
    pub fn resume(&self) -> bool {
        let Some(mut mode) = PREVIOUS_MODE.get().cloned() else {
            return false;
        };
        mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &mode).is_ok()
    }

    /// Restores the previous mode for a while.
    pub fn suspend(&self) {
        restore();
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(mode) = PREVIOUS_MODE.get() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, mode);
    }
}

/// Returns the width of the terminal.
pub fn columns() -> usize {
    let columns = tcgetwinsize(io::stdin()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { DEFAULT_COLUMNS } else { columns }
}

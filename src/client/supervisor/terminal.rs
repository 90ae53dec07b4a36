//! The terminal of the client, which is lent to the program.
//!
//! The program leads its own process group, because the group of the client may contain a whole
//! pipeline, or the script that started it. At a terminal, the program's group must be in the
//! foreground. It gets the terminal when the program starts or first needs it, and the client takes
//! it back when the program ends.

use std::fs::File;

use rustix::process::{Pid, Signal, getpgrp, kill_current_process_group};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The controlling terminal, if there is one, and the group that may borrow it.
#[derive(Default)]
pub struct Terminal {
    file: Option<File>,
    is_lent: bool,
}

impl Terminal {
    /// Opens the controlling terminal.
    pub fn open() -> Self {
        let file = File::options().read(true).write(true).open("/dev/tty").ok();
        Terminal { file, is_lent: false }
    }

    /// Returns whether there is a terminal.
    pub fn exists(&self) -> bool {
        self.file.is_some()
    }

    /// Returns whether the terminal was lent and not taken back.
    pub fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Lends the terminal to a process group, if the client has it. Returns whether the group has
    /// the terminal now.
    pub fn lend_to(&mut self, group: Pid) -> bool {
        let Some(terminal) = &self.file else {
            return false;
        };
        let Ok(foreground) = tcgetpgrp(terminal) else {
            return false;
        };
        if foreground == getpgrp() && tcsetpgrp(terminal, group).is_ok() {
            self.is_lent = true;
            return true;
        }
        foreground == group
    }

    /// Takes the terminal back if the group still has it.
    pub fn take_back_from(&mut self, group: Pid) {
        if let Some(terminal) = &self.file
            && std::mem::take(&mut self.is_lent)
            && tcgetpgrp(terminal) == Ok(group)
        {
            // SIGTTOU is blocked. Otherwise it would stop this process, which is in the background.
            let _ = tcsetpgrp(terminal, getpgrp());
        }
    }
}

/// Stops the process group of the client, as Ctrl-Z does, and returns when it is continued.
///
/// SIGSTOP would also stop a group that no shell can continue (`ssh -t HOST reserva …`). SIGTTIN is
/// ignored by the kernel in such a group.
pub fn stop_group() {
    let _ = kill_current_process_group(Signal::TTIN);
}

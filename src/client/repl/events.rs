//! The threads that wait for the server, the keyboard and signals, and send events to the main
//! thread. None of them is joined: they end with the process. If a send fails, the main thread
//! has ended the session.

use std::io::{self, BufRead, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::thread;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::client::reply::{Disconnect, LineKind, ReplyReader, read_uninterrupted};
use crate::client::texts::{self, Lang};
use crate::{EXIT_IO, EXIT_OS, Exit};

/// Bytes per read of the keyboard. A paste can be longer.
const KEYS_BYTES: usize = 4 * 1024;

/// An event for the main thread.
pub enum Event {
    /// A line of the server.
    Received(LineKind, Vec<u8>),
    /// The end of the connection.
    Disconnected(Disconnect),
    /// Bytes from the keyboard, if the client edits the line.
    Keys(Vec<u8>),
    /// A line that the terminal has edited.
    Typed(Vec<u8>),
    /// Ctrl-D, or the end of the terminal.
    InputEnded,
    Signal(i32),
}

/// Registers the signals that [`start_signal_reader`] reads.
pub fn register_signals(language: Lang) -> Result<Signals, Exit> {
    let signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT];
    Signals::new(signals).map_err(|error| {
        let message = texts::SIGNALS_FAILED.format(language, &[&error.to_string()]);
        Exit::Failure { code: EXIT_IO, message }
    })
}

pub fn start_signal_reader(
    language: Lang,
    mut signals: Signals,
    events: SyncSender<Event>,
) -> Result<(), Exit> {
    spawn(language, move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })
}

pub fn start_receiver(
    language: Lang,
    stream: TcpStream,
    events: SyncSender<Event>,
) -> Result<(), Exit> {
    spawn(language, move || {
        let mut replies = ReplyReader::new(stream);
        loop {
            while let Some((kind, line)) = replies.next() {
                if events.send(Event::Received(kind, line.to_vec())).is_err() {
                    return;
                }
            }
            if let Err(reason) = replies.fill() {
                let _ = events.send(Event::Disconnected(reason));
                return;
            }
        }
    })
}

/// Starts the thread that writes to the server. Its queue is unbounded, because it only contains
/// typed lines. If a write fails, the receiver finds the end of the connection.
pub fn start_sender(language: Lang, mut stream: TcpStream) -> Result<Sender<Vec<u8>>, Exit> {
    let (lines, to_send) = channel::<Vec<u8>>();
    spawn(language, move || {
        for line in to_send {
            let _ = stream.write_all(&line);
        }
    })?;
    Ok(lines)
}

pub fn start_key_reader(language: Lang, events: SyncSender<Event>) -> Result<(), Exit> {
    spawn(language, move || {
        let mut keyboard = io::stdin().lock();
        let mut keys = vec![0; KEYS_BYTES];
        loop {
            // An error means that the terminal was closed.
            let event = match read_uninterrupted(&mut keyboard, &mut keys) {
                Ok(0) | Err(_) => Event::InputEnded,
                Ok(length) => Event::Keys(keys[..length].to_vec()),
            };
            let is_last = matches!(event, Event::InputEnded);
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    })
}

pub fn start_line_reader(language: Lang, events: SyncSender<Event>) -> Result<(), Exit> {
    spawn(language, move || {
        let mut keyboard = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = keyboard.read_until(b'\n', &mut line);
            // A line that ends with Ctrl-D instead of Enter is not sent.
            let is_last = read.is_err() || line.last() != Some(&b'\n');
            let event = if is_last { Event::InputEnded } else { Event::Typed(line) };
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    })
}

/// Starts a thread. Fails at the limit of processes.
fn spawn(language: Lang, work: impl FnOnce() + Send + 'static) -> Result<(), Exit> {
    let spawned = thread::Builder::new().spawn(work);
    spawned.map(drop).map_err(|error| {
        let message = texts::NO_THREAD.format(language, &[&error.to_string()]);
        Exit::Failure { code: EXIT_OS, message }
    })
}

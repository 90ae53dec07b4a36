//! A program at a pseudo-terminal, driven by a test. It needs python3, whose `pty` module creates
//! the terminal.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Runs one program at a pseudo-terminal and reads commands line by line, with all texts in hex.
/// `send TEXT` types a text. `expect TEXT` waits for a text and replies `ok` and the screen up to
/// its end. `end` replies `ok`, the exit code and the rest of the screen. A failure is answered
/// with `no`.
const TERMINAL: &str = r#"
import os, pty, select, signal, sys, time
PATIENCE = 60
pid, terminal = pty.fork()
if pid == 0:
    # The dispositions that a shell at a terminal sets, whatever this test has inherited.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
screen, ended = b"", False
def read_more(deadline):
    global screen, ended
    ready = select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]
    if not ready:
        return False
    try:
        data = os.read(terminal, 65536)
    except OSError:
        data = b""
    ended = ended or not data
    screen += data
    return not ended
def answer(*words):
    print(*words, flush=True)
for line in sys.stdin:
    verb, _, text = line.strip().partition(" ")
    text = bytes.fromhex(text)
    deadline = time.monotonic() + PATIENCE
    if verb == "send":
        os.write(terminal, text)
        answer("ok")
    elif verb == "expect":
        while text not in screen and read_more(deadline):
            pass
        seen = screen.find(text) + len(text) if text in screen else 0
        answer("ok" if seen else "no", screen[:seen or None].hex())
        screen = screen[seen:]
    elif verb == "end":
        while read_more(deadline):
            pass
        if not ended:
            answer("no", screen.hex())
            continue
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answer("ok", code, screen.hex())
"#;

/// A program at a terminal.
pub struct Terminal {
    driver: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Terminal {
    /// Starts the client with a server and a language.
    pub fn open(address: &str, language: &str) -> Option<Self> {
        Terminal::open_as("xterm", address, language)
    }

    /// Starts the client at a terminal of a kind.
    pub fn open_as(kind: &str, address: &str, language: &str) -> Option<Self> {
        let (locale, kind) = (format!("LC_ALL={language}"), format!("TERM={kind}"));
        let client = super::program("reserva");
        let client = client.to_str().expect("a path in UTF-8");
        Terminal::run(&["env", &locale, &kind, client, "--server", address])
    }

    /// Starts any program. Returns `None` if python3 is missing; see [`super::has`].
    pub fn run(words: &[&str]) -> Option<Self> {
        let driver = Command::new("python3")
            .args([&["-c", TERMINAL], words].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        match driver {
            Ok(mut driver) => {
                let answers =
                    BufReader::new(driver.stdout.take().expect("the standard output is a pipe"));
                Some(Terminal { driver, answers })
            }
            Err(error) => {
                assert!(!super::skip::is_forbidden(), "python3 is needed: {error}");
                super::skip::skip("needs python3");
                None
            }
        }
    }

    /// Sends a command to the driver and returns its answer without the `ok`.
    #[track_caller]
    fn command(&mut self, verb: &str, text: &str) -> String {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let commands = self.driver.stdin.as_mut().expect("the standard input is a pipe");
        writeln!(commands, "{verb} {hex}").expect("cannot write to the driver");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("cannot read from the driver");
        let (verdict, rest) = answer.trim_end().split_once(' ').unwrap_or((answer.trim_end(), ""));
        assert_eq!(verdict, "ok", "{verb} {text:?}, on the screen: {:?}", from_hex(rest));
        rest.to_owned()
    }

    /// Waits for a text on the screen and returns the output up to its end.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        from_hex(&self.command("expect", text))
    }

    /// Types keys.
    #[track_caller]
    pub fn send(&mut self, keys: &str) {
        self.command("send", keys);
    }

    /// Waits for the program to end. Returns the exit code and the rest of the screen.
    #[track_caller]
    pub fn end(mut self) -> (i32, String) {
        let answer = self.command("end", "");
        drop(self.driver.stdin.take());
        self.driver.wait().expect("cannot wait for the driver");
        let (code, screen) = answer.split_once(' ').unwrap_or((&answer, ""));
        (code.parse().expect("a code"), from_hex(screen))
    }
}

fn from_hex(hex: &str) -> String {
    let pairs = hex.as_bytes().chunks_exact(2).map(|pair| str::from_utf8(pair).expect("ASCII"));
    let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

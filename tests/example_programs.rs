//! The programs in `examples/`, run against a real server.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use support::{Server, program, until};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Returns a command that books a room.
fn book(address: &str, key: &str) -> Command {
    static BUILT: Once = Once::new();
    BUILT.call_once(build_book);
    let mut command = Command::new(program("examples/book"));
    command.args([address, "ana", "Habitación 1", key]).stdin(Stdio::null());
    command
}

/// Builds the example, because cargo builds no examples for a single test binary.
fn build_book() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--example", "book"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cannot run cargo").success());
}

fn output(mut command: Command) -> Output {
    command.output().expect("cannot run the example")
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    until("the example connects", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (stream, _) = accepted.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn book_repeated_with_its_key_gets_the_same_number() {
    let server = Server::in_memory(&[]);
    let address = server.address.to_string();
    let first = output(book(&address, "monday"));
    assert!(first.stdout.starts_with("OK RESERVED #1 Habitación 1 ".as_bytes()), "{first:?}");
    assert_eq!(output(book(&address, "monday")).stdout, first.stdout);
    let other = output(book(&address, "tuesday"));
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    assert!(other.stderr.starts_with(b"ERR 409 "), "{other:?}");
}

/// The first connection is closed without a reply, as if the server had been killed.
#[test]
fn book_retries_after_a_lost_connection() {
    let server = Server::in_memory(&[]);
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = relay.local_addr().unwrap().to_string();
    let command = book(&address, "monday");
    let booking = std::thread::spawn(move || output(command));
    drop(accept(&relay));
    let mut client = accept(&relay);
    let mut upstream = TcpStream::connect(server.address).unwrap();
    let (mut requests, mut replies) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
    let forward = std::thread::spawn(move || std::io::copy(&mut requests, &mut upstream));
    let back = std::thread::spawn(move || std::io::copy(&mut replies, &mut client));
    let done = booking.join().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(done.stdout.starts_with(b"OK RESERVED #1 "), "{done:?}");
    forward.join().unwrap().unwrap();
    server.stop();
    drop(back.join());
}

#[test]
fn with_board_runs_the_command_with_the_name_of_a_board() {
    let server = Server::in_memory(&[]);
    let mut admin = server.connect();
    assert_eq!(admin.say("ADD Board 1, Board 2"), "OK ADD 2");
    admin.say("RESERVE Board 1");
    let run = |command: &str| {
        let programs = program("reserva").parent().unwrap().to_owned();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut script = Command::new(example("with-board.sh"));
        script.args(["sh", "-c", command]).env("PATH", path).env("BOARD_WAIT", "1s");
        script.env("RESERVA_SERVER", server.address.to_string()).output().unwrap()
    };
    let output = run("echo on $BOARD; exit 3");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(3), &b"on Board 2\n"[..]),
        "{output:?}"
    );
    until("the board is released", || admin.list("LIST Board*") == ["Board 2"]);
    admin.say("RESERVE Board 2");
    let output = run("echo not run");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(75), &b""[..]), "{output:?}");
}

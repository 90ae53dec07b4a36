//! Books a resource for an hour and repeats the request until the server has answered it.
//!
//! ```sh
//! cargo run --example book -- 127.0.0.1:12345 ana "Meeting Room 1" monday-0900
//! ```
//!
//! A connection can break after the server has made the reservation and before its reply arrives.
//! The idempotency key (`key=`) makes it safe to send the request again: the server answers a
//! repeated request with the number of the reservation that it made for the first one.

use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

const ATTEMPTS: u32 = 5;
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, holder, resource, key] = &arguments[..] else {
        eprintln!("usage: book HOST:PORT HOLDER RESOURCE KEY");
        return ExitCode::from(64);
    };
    let requests = [format!("IAM {holder}"), format!("RESERVE {resource} for=1h key={key}")];
    for attempt in 1..=ATTEMPTS {
        match send(server, &requests) {
            Ok(reply) if reply.starts_with("OK ") => {
                println!("{reply}");
                return ExitCode::SUCCESS;
            }
            // A refusal is final: the resource is reserved, or the request is wrong.
            Ok(reply) => {
                eprintln!("{reply}");
                return ExitCode::FAILURE;
            }
            Err(error) => eprintln!("attempt {attempt} of {ATTEMPTS}: {error}"),
        }
        sleep(Duration::from_millis(100 << attempt));
    }
    eprintln!("no reply; the reservation may exist: repeat the command with the same key");
    ExitCode::from(75)
}

/// Sends requests on a new connection. Returns the last reply, or the first one that is an error.
fn send(server: &str, requests: &[String]) -> Result<String> {
    let stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut replies = BufReader::new(&stream);
    let mut reply = String::new();
    for request in requests {
        (&stream).write_all(format!("{request}\n").as_bytes())?;
        reply.clear();
        replies.read_line(&mut reply)?;
        // A line without its end is a reply that was cut off.
        if reply.pop() != Some('\n') {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the connection was lost"));
        }
        if reply.starts_with("ERR ") {
            break;
        }
    }
    Ok(reply)
}

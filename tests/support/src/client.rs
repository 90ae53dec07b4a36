//! A client that speaks the line protocol over a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{PATIENCE, Server};

/// A connection on which lines are sent and read.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn to(address: SocketAddr) -> Client {
        Client::from_stream(TcpStream::connect(address).unwrap())
    }

    /// Takes over a connected socket with options of its own.
    pub fn from_stream(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Sends bytes unchanged.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes, and returns false if the connection is broken.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Reads a line with its ending. Returns an empty text at the end of the stream.
    pub fn raw_line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    /// Reads a line and returns it without its LF.
    pub fn line(&mut self) -> String {
        let line = self.raw_line();
        match line.strip_suffix('\n') {
            Some(line) => line.to_owned(),
            None => panic!("the connection ended, after {line:?}"),
        }
    }

    /// Reads a line and returns it without its LF, or `None` if the connection ends first.
    pub fn try_line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// Sends a line and returns the first line of the reply.
    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.line()
    }

    /// Sends a line whose reply is a list, and returns the items.
    pub fn list(&mut self, line: &str) -> Vec<String> {
        let head = self.say(line);
        self.list_after(&head)
    }

    /// Reads the items of a list whose first line is `head`.
    pub fn list_after(&mut self, head: &str) -> Vec<String> {
        let count = head.strip_prefix("OK ").and_then(|rest| rest.split(' ').next());
        let count: usize = count.unwrap().parse().unwrap_or_else(|_| panic!("not a list: {head}"));
        (0..count).map(|_| self.line()).collect()
    }

    /// Shuts down the sending side and reads to the end of the stream.
    pub fn finish(mut self) -> String {
        let _ = self.stream.get_mut().shutdown(std::net::Shutdown::Write);
        self.rest()
    }

    /// Reads to the end of the stream.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        String::from_utf8(rest).unwrap()
    }

    /// Returns whether the server has closed the connection. Waits for the next byte or the end.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(0) | Err(_))
    }
}

/// Connects with a small receive buffer, which is soon full if the test does not read.
pub fn narrow(server: &Server) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    Client::from_stream(socket.into())
}

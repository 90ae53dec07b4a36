//! Message channels between the supervisor, its keeper and the process that becomes the program.
//!
//! All three run this executable. The keeper and the program's process receive messages on their
//! standard input, which is a socket that preserves message boundaries. A message consists of a
//! keyword and fields, and can carry a descriptor, such as the standard input for the program.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Larger than any message. The longest ones contain the names of a reservation and a few words.
const MESSAGE_MAX_BYTES: usize = 32 * 1024;

/// Separates the fields of a message. Arguments and environment variables cannot contain it.
const SEPARATOR: u8 = 0;

/// One end of a channel between two of the processes.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A message, whose first field is the keyword.
#[derive(Debug)]
pub struct Message {
    pub fields: Vec<String>,
    pub descriptor: Option<OwnedFd>,
}

impl Channel {
    /// Returns both ends of a new channel.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Channel(ours), theirs))
    }

    /// Returns the end that this process received as its standard input.
    pub fn from_stdin() -> io::Result<Self> {
        Ok(Channel(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// Sends a message, optionally with a descriptor.
    pub fn send(&self, fields: &[String], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = fields.join(&char::from(SEPARATOR).to_string());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        // A receiver that does not read must not delay the end of a reservation.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| {
            sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut control, flags)
        })?;
        Ok(())
    }

    /// Waits for the next message. Returns `None` when the other end is closed.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        let mut bytes = vec![0; MESSAGE_MAX_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
        });
        let length = match received {
            Ok(received) => received.bytes,
            // The other end closed before it had read everything.
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let text = String::from_utf8_lossy(&bytes[..length]);
        let fields = text.split(char::from(SEPARATOR)).map(str::to_owned).collect();
        Ok(Some(Message { fields, descriptor }))
    }
}

impl Message {
    pub fn keyword(&self) -> &str {
        self.fields.first().map_or("", String::as_str)
    }

    /// Returns a field, or an empty string if there is none at this position.
    pub fn field(&self, at: usize) -> &str {
        self.fields.get(at).map_or("", String::as_str)
    }

    pub fn number<N: FromStr>(&self, at: usize) -> Option<N> {
        self.field(at).parse().ok()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn messages_keep_their_boundaries_and_carry_descriptors() {
        let (ours, theirs) = Channel::pair().expect("a pair");
        let theirs = Channel(theirs);
        let (mut reader, writer) = io::pipe().expect("a pipe");
        ours.send(&["one", "", "á b"].map(str::to_owned), None).expect("sent");
        ours.send(&["two".to_owned()], Some(writer.as_fd())).expect("sent");
        drop((ours, writer));
        let one = theirs.receive().expect("received").expect("a message");
        assert_eq!((one.keyword(), one.field(1), one.field(2)), ("one", "", "á b"));
        assert!(one.descriptor.is_none());
        let two = theirs.receive().expect("received").expect("a message");
        let mut writer = std::fs::File::from(two.descriptor.expect("a descriptor"));
        writer.write_all(b"through").expect("it is the pipe");
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("text");
        assert_eq!(read, "through");
        assert!(theirs.receive().expect("the end").is_none());
    }
}

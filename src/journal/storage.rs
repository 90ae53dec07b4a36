//! The storage of the journal: a directory with files, as two traits. `DiskStorage` implements them
//! for a file system, and tests for a simulated disk that can lose power.

use std::io;

use super::FILL_STEP_BYTES;

/// A directory of files with plain names.
///
/// Changes of *names* (`create`, `rename`, `remove`) are durable after `sync_directory`, and
/// changes of the *contents* of a file after its own `sync_data`.
pub trait Storage {
    type File: StorageFile;

    /// Opens an existing file to read and write; `None` if it does not exist.
    fn open(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// Opens an existing file only to read; `None` if it does not exist.
    fn open_to_read(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// Creates an empty file, in place of an existing one.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Renames a file, and atomically replaces a file with the name `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. It is not an error if it does not exist.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all earlier changes of names durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// Returns the path of a file, for messages.
    fn path_of(&self, name: &str) -> String;

    /// Compares the file that `name` refers to now with the open `file`.
    fn compare(&self, name: &str, file: &Self::File) -> io::Result<NameState> {
        let _ = (name, file);
        Ok(NameState::Same)
    }

    /// Checks that this process still owns the directory. Takes it again if the lock file was
    /// deleted and no other process has taken the directory since.
    fn confirm_lock(&self) -> io::Result<LockState> {
        Ok(LockState::Held)
    }

    /// Returns the step, in bytes, by which the spare tail of a journal grows.
    fn spare_step_bytes(&self) -> u64 {
        FILL_STEP_BYTES
    }

    /// Returns the bytes that can still be allocated on the disk; `None` if unknown.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// The result of comparing the file with a name to a file that was opened under that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameState {
    Same,
    Missing,
    Other,
}

/// The state of the lock of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    Held,
    /// The lock file was deleted or replaced. A new one is locked now.
    Retaken,
    /// Another process holds the lock and owns the directory.
    Lost,
}

/// An open file. Offsets and sizes are in bytes.
pub trait StorageFile {
    fn size(&self) -> io::Result<u64>;

    /// Reads at most `buf.len()` bytes. May read fewer; 0 means the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at most `data.len()` bytes. May write fewer.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize>;

    /// Truncates the file, or extends it with NUL bytes.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes contents and size durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;

    /// Allocates disk space for a range, so that writes to it cannot run out of space. Changes
    /// neither the size nor the contents.
    ///
    /// # Errors
    /// `Unsupported` if the file system cannot do that.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let _ = (offset, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the permission bits, as in `chmod`.
    fn mode(&self) -> io::Result<u32> {
        Ok(0o600)
    }

    /// Starts to write a range to the disk, without waiting, so that a later sync has less to do.
    /// This is only a hint.
    fn start_writeback(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before.
    fn read_fully(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => {
                    let kind = io::ErrorKind::UnexpectedEof;
                    return Err(io::Error::new(kind, "the file became shorter while it was read"));
                }
                Ok(count) => {
                    buf = &mut buf[count..];
                    offset += count as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of `data`, in as many calls as necessary.
    fn write_fully(&self, mut data: &[u8], mut offset: u64) -> io::Result<()> {
        while !data.is_empty() {
            match self.write_at(data, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    data = &data[count..];
                    offset += count as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

//! The storage of the journal: a directory with files. `DiskStorage` is the real one; tests
//! implement the same two traits with a disk that can lose power.
//!
//! `DiskStorage` holds the directory by a descriptor, and opens, renames and removes files relative
//! to it. If the directory is moved, the server goes on writing in it, and never touches whatever
//! takes its path. Every descriptor is closed on exec.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Advice, AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, Stat, fadvise, fallocate, fstat,
    fstatvfs, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::error::{LOCK, OPEN_DIRECTORY};
use super::{Error, FILL_STEP_BYTES, JOURNAL_FILE};

/// The file whose lock marks the owner of the directory. The server never deletes it: a process
/// that waits for the lock of a deleted file and one that creates a new file would both believe
/// that they own the directory.
pub const LOCK_FILE: &str = "lock";

/// How many times a lock file may lose its name while it is being locked before the start fails.
const LOCK_ATTEMPTS: usize = 16;

/// A directory of files with plain names.
///
/// Nothing done to the *names* (`create`, `rename`, `remove`) is durable before `sync_folder`, and
/// nothing done to the *contents* of a file before its own `sync_data`.
pub trait Storage {
    type File: StorageFile;

    /// Opens an existing file to read and write; `None` if there is none.
    fn open(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// Opens an existing file only to read; `None` if there is none.
    fn open_to_read(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// Makes an empty file in the place of the one that is there, if there is one.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives the file `from` the name `to`; what was `to` is replaced in the same instant.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; that there is none is not an error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all earlier changes of names durable.
    fn sync_folder(&self) -> io::Result<()>;

    /// The name as a person would find it, for messages.
    fn path_of(&self, name: &str) -> String;

    /// Returns what `name` refers to now, compared with the open `file`.
    fn compare(&self, name: &str, file: &Self::File) -> io::Result<NameState> {
        let _ = (name, file);
        Ok(NameState::Same)
    }

    /// Checks that this process still owns the directory. Takes it again if the lock file was
    /// deleted and no other process has taken the directory since.
    fn confirm_lock(&self) -> io::Result<LockState> {
        Ok(LockState::Held)
    }

    /// Returns the step, in bytes, by which the spare tail of a journal here grows.
    fn spare_step_bytes(&self) -> u64 {
        FILL_STEP_BYTES
    }

    /// Returns the bytes that can still be allocated on the disk; `None` if unknown.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// What a name refers to, compared with a file that was opened under it.
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

    /// Reads at most `buf.len()` bytes; fewer are allowed, 0 means the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at most `data.len()` bytes; fewer are allowed.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts the file, or lengthens it with NUL bytes.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes contents and size durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves disk space for a range, so that writes to it cannot run out of space. Changes
    /// neither the size nor the contents.
    ///
    /// Errors: `Unsupported` where the file system cannot do that.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let _ = (offset, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the permission bits, as in `chmod`.
    fn mode(&self) -> io::Result<u32> {
        Ok(0o600)
    }

    /// Lets the disk begin with what was written from `offset` on, without waiting for it, so that
    /// a later sync finds less to do. A hint: nothing depends on it.
    fn begin_sync(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }
}

impl StorageFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, data, offset)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let done =
            rustix::io::retry_on_intr(|| fallocate(self, FallocateFlags::KEEP_SIZE, offset, bytes));
        match done {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            done => Ok(done?),
        }
    }

    fn mode(&self) -> io::Result<u32> {
        Ok(self.metadata()?.mode() & 0o777)
    }

    /// Linux begins to write what it is told will not be read soon.
    fn begin_sync(&self, offset: u64, bytes: u64) {
        if let Some(bytes) = NonZeroU64::new(bytes) {
            let _ = fadvise(self, offset, Some(bytes), Advice::DontNeed);
        }
    }
}

/// A directory on a real file system.
#[derive(Debug)]
pub struct DiskStorage {
    /// The path that it was opened by, for messages only.
    folder: PathBuf,
    /// If the directory could not be opened, every use of it returns this error.
    directory: Result<OwnedFd, Errno>,
    /// Directories with new entries that are not known to be durable.
    parents: RefCell<Vec<File>>,
    /// Held open, never read: closing it (also by the end of the process) gives the lock back.
    lock: RefCell<Option<File>>,
}

impl DiskStorage {
    /// Opens the directory as it is, without creating or locking anything. Enough for
    /// [`super::check`].
    pub fn at(folder: impl Into<PathBuf>) -> DiskStorage {
        let folder = folder.into();
        // With O_PATH the directory cannot be synced, but it need not be readable either.
        let directory = open_directory(&folder, OFlags::RDONLY)
            .or_else(|_| open_directory(&folder, OFlags::PATH));
        let (parents, lock) = (RefCell::default(), RefCell::default());
        DiskStorage { folder, directory, parents, lock }
    }

    /// Takes the directory for this process for the lifetime of the value. Creates the directory
    /// (mode 0700) and its parents if they are missing; an existing one keeps its mode. Like all
    /// names, theirs are durable only after `sync_folder`.
    ///
    /// Errors: [`Error::Locked`] if another process has it, [`Error::Io`] for all others.
    pub fn lock(folder: impl Into<PathBuf>) -> Result<DiskStorage, Error> {
        let folder = folder.into();
        let make = || -> io::Result<(OwnedFd, Vec<File>)> {
            let parents = make_folder(&folder)?;
            Ok((open_directory(&folder, OFlags::RDONLY)?, parents))
        };
        let (directory, parents) =
            make().map_err(|e| Error::io(OPEN_DIRECTORY, folder.display(), e))?;
        let path = folder.join(LOCK_FILE);
        let lock = take_lock(directory.as_fd())
            .map_err(|e| Error::io(LOCK, path.display(), e))?
            .ok_or_else(|| Error::Locked { path: path.display().to_string() })?;
        Ok(DiskStorage {
            folder,
            directory: Ok(directory),
            parents: RefCell::new(parents),
            lock: RefCell::new(Some(lock)),
        })
    }

    /// Returns a short text for each reason why users other than `user`, who runs this process,
    /// could change or replace the journal.
    pub fn exposures(&self, user: u32) -> io::Result<Vec<String>> {
        let directory = self.directory()?;
        let mut found = Vec::new();
        let mut look = |path: &Path, stat: Stat| {
            let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
            if owner != user && owner != 0 {
                found.push(format!("{} belongs to user {owner}", path.display()));
            }
            if mode & 0o022 != 0 {
                found.push(format!("the mode of {} is {mode:o}", path.display()));
            }
        };
        look(&self.folder, fstat(directory)?);
        match statat(directory, JOURNAL_FILE, AtFlags::empty()) {
            Ok(stat) => look(&self.folder.join(JOURNAL_FILE), stat),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(found)
    }

    fn directory(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.directory {
            Ok(directory) => Ok(directory.as_fd()),
            Err(errno) => Err((*errno).into()),
        }
    }

    fn existing(&self, name: &str, access: OFlags) -> io::Result<Option<File>> {
        let opened = self.directory().and_then(|directory| open_regular(directory, name, access));
        match opened {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }
}

impl Storage for DiskStorage {
    type File = File;

    fn open(&self, name: &str) -> io::Result<Option<File>> {
        self.existing(name, OFlags::RDWR)
    }

    fn open_to_read(&self, name: &str) -> io::Result<Option<File>> {
        self.existing(name, OFlags::RDONLY)
    }

    /// Always a new file: to empty what is there could be to empty what a link points to.
    fn create(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(openat(self.directory()?, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let directory = self.directory()?;
        Ok(renameat(directory, from, directory, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(self.directory()?, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        rustix::fs::fsync(self.directory()?)?;
        let mut parents = self.parents.borrow_mut();
        for parent in parents.iter() {
            parent.sync_all()?;
        }
        parents.clear();
        Ok(())
    }

    fn path_of(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn compare(&self, name: &str, file: &File) -> io::Result<NameState> {
        compare(self.directory()?, name, file)
    }

    fn confirm_lock(&self) -> io::Result<LockState> {
        let directory = self.directory()?;
        let mut lock = self.lock.borrow_mut();
        let Some(held) = &*lock else { return Ok(LockState::Lost) };
        if compare(directory, LOCK_FILE, held)? == NameState::Same {
            return Ok(LockState::Held);
        }
        match take_lock(directory)? {
            Some(taken) => {
                *lock = Some(taken);
                Ok(LockState::Retaken)
            }
            None => Ok(LockState::Lost),
        }
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let disk = fstatvfs(self.directory()?)?;
        Ok(Some(disk.f_bavail.saturating_mul(disk.f_frsize)))
    }
}

/// Opens a regular file for reading. Never blocks, unlike opening a pipe, which waits for a writer,
/// or reading a terminal.
pub fn open_regular_file(path: &Path) -> io::Result<File> {
    open_regular(CWD, path, OFlags::RDONLY)
}

fn open_regular(
    directory: BorrowedFd,
    name: impl rustix::path::Arg + Copy,
    access: OFlags,
) -> io::Result<File> {
    // Checked before opening, because opening a device can have effects.
    must_be_regular(&statat(directory, name, AtFlags::empty())?)?;
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    must_be_regular(&fstat(&file)?)?;
    Ok(file.into())
}

fn must_be_regular(stat: &Stat) -> io::Result<()> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Symlink => "a symbolic link",
        _ => "something else",
    };
    let reason = format!("it is {what}, and must be a regular file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

fn open_directory(folder: &Path, access: OFlags) -> Result<OwnedFd, Errno> {
    openat(CWD, folder, access | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens or creates the lock file and locks it; `None` if another process has locked it.
///
/// The directory belongs to the process that has locked the file of that name. Between opening and
/// locking, the name may have moved to another file, and then the lock is worthless.
fn take_lock(directory: BorrowedFd) -> io::Result<Option<File>> {
    for _ in 0..LOCK_ATTEMPTS {
        // A link would make a file wherever it points to.
        match statat(directory, LOCK_FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => must_be_regular(&stat)?,
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let lock = File::from(openat(directory, LOCK_FILE, flags, Mode::RUSR | Mode::WUSR)?);
        must_be_regular(&fstat(&lock)?)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        if compare(directory, LOCK_FILE, &lock)? == NameState::Same {
            return Ok(Some(lock));
        }
    }
    Err(io::Error::other("the lock file was replaced repeatedly"))
}

fn compare(directory: BorrowedFd, name: &str, file: &File) -> io::Result<NameState> {
    match statat(directory, name, AtFlags::empty()) {
        Ok(stat) => {
            let file = file.metadata()?;
            let is_same = (stat.st_dev, stat.st_ino) == (file.dev(), file.ino());
            Ok(if is_same { NameState::Same } else { NameState::Other })
        }
        Err(Errno::NOENT) => Ok(NameState::Missing),
        Err(e) => Err(e.into()),
    }
}

/// Creates a directory and its missing parents. Returns the directories that have new entries, to
/// be synced later: a sync after one of a file inside often has nothing left to do.
fn make_folder(folder: &Path) -> io::Result<Vec<File>> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    if let Err(e) = DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        // `File exists` would be true but not helpful.
        let is_file = e.kind() == io::ErrorKind::AlreadyExists;
        return Err(if is_file { io::ErrorKind::NotADirectory.into() } else { e });
    }
    let parent = |made: &&Path| {
        let parent = made.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
    };
    missing.iter().map(parent).collect()
}

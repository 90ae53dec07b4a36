//! Where the journal lives: a directory with files. `DiskStorage` is the real one; tests implement
//! the same two traits with a disk that can lose power.
//!
//! `DiskStorage` holds the directory by a descriptor, and opens, renames and removes files relative
//! to it. A directory that is moved away takes its server along, and whatever gets its path later is
//! never touched. Every descriptor is closed on exec.

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

/// The file whose lock says that a process owns the directory. The server never deletes it: a
/// process that waits on a deleted file and one that makes a new one would both believe they own
/// the directory.
pub const LOCK_FILE: &str = "lock";

/// How often an opened lock file may turn out to have lost its name before the start is given up.
const LOCK_ATTEMPTS: usize = 16;

/// One directory of files, known by plain names.
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

    /// Returns what `name` now stands for, compared with the open `file`.
    fn compare(&self, name: &str, file: &Self::File) -> io::Result<NameState> {
        let _ = (name, file);
        Ok(NameState::Same)
    }

    /// Checks that this process still owns the directory, and takes it again if its lock file was
    /// deleted and nobody else has taken the directory since.
    fn confirm_lock(&self) -> io::Result<LockState> {
        Ok(LockState::Held)
    }

    /// The step in which the spare tail of a journal here grows, in bytes.
    fn spare_step_bytes(&self) -> u64 {
        FILL_STEP_BYTES
    }

    /// Bytes that can still be allocated on the disk; `None` if that is not known.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// What a name stands for, compared with a file that was opened under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameState {
    Same,
    Missing,
    Other,
}

/// What became of the lock of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    Held,
    /// The lock file was deleted or replaced. A new one is locked now.
    Retaken,
    /// Another process holds the lock: it owns the directory.
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

    /// Reserves disk space for these bytes, so that no write to them runs out of it. Changes
    /// neither size nor contents.
    ///
    /// Errors: `Unsupported` where the file system cannot do that.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let _ = (offset, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Who may do what with it, as in `chmod`.
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
    /// The error of a directory that could not be opened is that of each use of it.
    directory: Result<OwnedFd, Errno>,
    /// Directories whose entries were made and are not known to be durable.
    parents: RefCell<Vec<File>>,
    /// Held open, never read: closing it (also by the end of the process) gives the lock back.
    lock: RefCell<Option<File>>,
}

impl DiskStorage {
    /// The directory as it is: nothing is made and nothing is locked. Enough for [`super::check`].
    pub fn at(folder: impl Into<PathBuf>) -> DiskStorage {
        let folder = folder.into();
        let directory = open_directory(&folder, OFlags::PATH);
        let (parents, lock) = (RefCell::default(), RefCell::default());
        DiskStorage { folder, directory, parents, lock }
    }

    /// Takes the directory for this process for as long as the value lives. The directory (mode
    /// 0700) and its parents are made if they are missing; one that is there keeps its mode. Like
    /// all names, theirs are durable after `sync_folder`.
    ///
    /// Errors: [`Error::Locked`] if another process has it, [`Error::Io`] for the rest.
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

    /// Returns why other users could put another journal in the place of this one, or change it: a
    /// few words for each reason. `user` is whose process this is.
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

/// Opens a file to read it, if it is a regular one. Never waits: opening a pipe would last until
/// somebody writes to it, and reading a terminal until somebody types.
pub fn open_regular_file(path: &Path) -> io::Result<File> {
    open_regular(CWD, path, OFlags::RDONLY)
}

fn open_regular(
    directory: BorrowedFd,
    name: impl rustix::path::Arg + Copy,
    access: OFlags,
) -> io::Result<File> {
    // Before it is opened, since opening a device may already do something.
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

/// Opens or makes the lock file and locks it; `None` if another process has locked it.
///
/// Whoever holds the lock of the file that has the name owns the directory. Between opening and
/// locking the name may have gone to another file; the lock is worth nothing then.
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
    Err(io::Error::other("the lock file is being replaced again and again"))
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

/// Makes the directory and what is missing above it. Returns the directories that have new entries
/// now, to be synced: later, because a sync of them after one of a file within often has nothing
/// left to do.
fn make_folder(folder: &Path) -> io::Result<Vec<File>> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    if let Err(e) = DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        // `File exists` would be true, and no help.
        let is_file = e.kind() == io::ErrorKind::AlreadyExists;
        return Err(if is_file { io::ErrorKind::NotADirectory.into() } else { e });
    }
    let parent = |made: &&Path| {
        let parent = made.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
    };
    missing.iter().map(parent).collect()
}

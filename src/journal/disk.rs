//! A directory on a file system, for one process at a time.
//!
//! The directory is held open, and its files are opened, renamed and removed relative to it. If the
//! directory is moved, the server keeps writing in it, and never touches another directory that
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

use super::error::Action;
use super::storage::{LockState, NameState, Storage, StorageFile};
use super::{Error, JOURNAL_FILE};

/// The file whose lock marks the owner of the directory. The server never deletes it: a process
/// that waits for the lock of a deleted file and one that creates a new file would both believe
/// that they own the directory.
pub const LOCK_FILE: &str = "lock";

/// Maximal number of attempts to lock the file, each of which fails if the file loses its name
/// meanwhile.
const LOCK_ATTEMPTS: usize = 16;

/// A directory on a file system.
#[derive(Debug)]
pub struct DiskStorage {
    /// The path by which it was opened, for messages only.
    path: PathBuf,
    /// If the directory could not be opened, every use of it returns this error.
    directory: Result<OwnedFd, Errno>,
    /// Parent directories with new entries that may not be durable yet.
    parents: RefCell<Vec<File>>,
    /// Held open and never read. Closing it, also by the end of the process, releases the lock.
    lock: RefCell<Option<File>>,
}

impl DiskStorage {
    /// Opens a directory without creating or locking anything, to read its files.
    pub fn at(path: impl Into<PathBuf>) -> DiskStorage {
        let path = path.into();
        // With O_PATH the directory cannot be synced, but it need not be readable either.
        let directory =
            open_directory(&path, OFlags::RDONLY).or_else(|_| open_directory(&path, OFlags::PATH));
        let (parents, lock) = (RefCell::default(), RefCell::default());
        DiskStorage { path, directory, parents, lock }
    }

    /// Opens and locks a directory for the lifetime of the value. Creates the directory (mode 0700)
    /// and its parents if they are missing; an existing one keeps its mode. Like all names, theirs
    /// are durable after `sync_directory`.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds the lock, [`Error::Io`] otherwise.
    pub fn lock(path: impl Into<PathBuf>) -> Result<DiskStorage, Error> {
        let path = path.into();
        let make = || -> io::Result<(OwnedFd, Vec<File>)> {
            let parents = make_directory(&path)?;
            Ok((open_directory(&path, OFlags::RDONLY)?, parents))
        };
        let (directory, parents) =
            make().map_err(|e| Error::io(Action::OpenDirectory, path.display(), e))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = take_lock(directory.as_fd())
            .map_err(|e| Error::io(Action::Lock, lock_path.display(), e))?
            .ok_or_else(|| Error::Locked { path: lock_path.display().to_string() })?;
        Ok(DiskStorage {
            path,
            directory: Ok(directory),
            parents: RefCell::new(parents),
            lock: RefCell::new(Some(lock)),
        })
    }

    /// Returns the reasons why users other than `user`, who runs this process, could change or
    /// replace the journal.
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
        look(&self.path, fstat(directory)?);
        match statat(directory, JOURNAL_FILE, AtFlags::empty()) {
            Ok(stat) => look(&self.path.join(JOURNAL_FILE), stat),
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

    /// Always creates a new file. Truncating an existing one would truncate the target of a link.
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

    fn sync_directory(&self) -> io::Result<()> {
        rustix::fs::fsync(self.directory()?)?;
        let mut parents = self.parents.borrow_mut();
        for parent in parents.iter() {
            parent.sync_all()?;
        }
        parents.clear();
        Ok(())
    }

    fn path_of(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
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

    /// Declares the range as not needed soon, whereupon Linux starts to write its pages.
    fn start_writeback(&self, offset: u64, bytes: u64) {
        if let Some(bytes) = NonZeroU64::new(bytes) {
            let _ = fadvise(self, offset, Some(bytes), Advice::DontNeed);
        }
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
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Symlink => "a symbolic link",
        _ => "of an unknown type",
    };
    let reason = format!("it is {kind}, and must be a regular file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

fn open_directory(path: &Path, access: OFlags) -> Result<OwnedFd, Errno> {
    openat(CWD, path, access | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens or creates the lock file and locks it; `None` if another process has locked it.
///
/// The directory belongs to the process that has locked the file of that name. Between opening and
/// locking, the name may have moved to another file, and then the lock is worthless.
fn take_lock(directory: BorrowedFd) -> io::Result<Option<File>> {
    for _ in 0..LOCK_ATTEMPTS {
        // Opening a link would create a file at its target.
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

/// Creates a directory and its missing parents. Returns the directories that have new entries. They
/// are synced after the files inside, because little is then left to write.
fn make_directory(path: &Path) -> io::Result<Vec<File>> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    if let Err(e) = DirBuilder::new().recursive(true).mode(0o700).create(path) {
        // "File exists" would be correct but not helpful.
        let is_file = e.kind() == io::ErrorKind::AlreadyExists;
        return Err(if is_file { io::ErrorKind::NotADirectory.into() } else { e });
    }
    let parent = |made: &&Path| {
        let parent = made.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
    };
    missing.iter().map(parent).collect()
}

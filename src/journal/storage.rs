//! Where the journal lives: a folder with files. `DiskStorage` is the real one; tests implement
//! the same two traits with a disk that can lose power.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::Error;

/// The file whose lock says that a process owns the folder. It is never deleted: a process that
/// waits on a deleted file and one that makes a new one would both believe they own the folder.
pub const LOCK_FILE: &str = "lock";

/// One folder of files, known by plain names.
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

/// A folder on a real file system.
#[derive(Debug)]
pub struct DiskStorage {
    folder: PathBuf,
    /// Folders whose entries were made and are not known to be durable.
    parents: RefCell<Vec<PathBuf>>,
    /// Held open, never read: closing it (also by the end of the process) gives the lock back.
    _lock: Option<File>,
}

impl DiskStorage {
    /// Who else may write in this folder, and so do what they like with the data: a few words, or
    /// `None` if nobody may. `user` is whose process this is.
    pub fn exposure(&self, user: u32) -> io::Result<Option<String>> {
        let folder = fs::metadata(&self.folder)?;
        let (owner, mode) = (folder.uid(), folder.mode() & 0o7777);
        Ok(match () {
            () if owner != user && owner != 0 => Some(format!("it belongs to user {owner}")),
            () if mode & 0o002 != 0 => Some(format!("its mode is {mode:o}")),
            () => None,
        })
    }

    /// The folder as it is: nothing is made and nothing is locked. Enough for [`super::check`].
    pub fn at(folder: impl Into<PathBuf>) -> DiskStorage {
        DiskStorage { folder: folder.into(), parents: RefCell::default(), _lock: None }
    }

    /// Takes the folder for this process for as long as the value lives. The folder (mode 0700)
    /// and its parents are made if they are missing; one that is there keeps its mode. Like all
    /// names, theirs are durable after `sync_folder`.
    ///
    /// Errors: [`Error::Locked`] if another process has it, [`Error::Io`] for the rest.
    pub fn lock(folder: impl Into<PathBuf>) -> Result<DiskStorage, Error> {
        let folder = folder.into();
        let parents =
            make_folder(&folder).map_err(|e| Error::io("make the folder", folder.display(), e))?;
        let path = folder.join(LOCK_FILE);
        // A link would make a file wherever it points to.
        must_be_regular(&path, |path| fs::symlink_metadata(path))
            .map_err(|e| Error::io("open the lock file", path.display(), e))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io("open the lock file", path.display(), e))?;
        match lock.try_lock() {
            Ok(()) => Ok(DiskStorage { folder, parents: RefCell::new(parents), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::Locked { path: path.display().to_string() })
            }
            Err(TryLockError::Error(e)) => Err(Error::io("lock", path.display(), e)),
        }
    }

    fn existing(&self, name: &str, options: &OpenOptions) -> io::Result<Option<File>> {
        let path = self.folder.join(name);
        must_be_regular(&path, |path| fs::metadata(path))?;
        match options.open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl Storage for DiskStorage {
    type File = File;

    fn open(&self, name: &str) -> io::Result<Option<File>> {
        self.existing(name, OpenOptions::new().read(true).write(true))
    }

    fn open_to_read(&self, name: &str) -> io::Result<Option<File>> {
        self.existing(name, OpenOptions::new().read(true))
    }

    /// Always a new file: to empty what is there could be to empty what a link points to.
    fn create(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()?;
        let mut parents = self.parents.borrow_mut();
        for parent in parents.iter() {
            File::open(parent)?.sync_all()?;
        }
        parents.clear();
        Ok(())
    }

    fn path_of(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Refuses what is there and no file: opening a pipe would wait for whoever writes to it.
fn must_be_regular(path: &Path, look: fn(&Path) -> io::Result<Metadata>) -> io::Result<()> {
    match look(path) {
        Ok(found) if !found.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
        }
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes the folder and what is missing above it. Returns the folders that have new entries now,
/// to be synced: later, for a sync of them after one of a file within often has nothing left to do.
fn make_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let parent = |made: &&Path| {
        let parent = made.parent().filter(|p| !p.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_path_buf()
    };
    Ok(missing.iter().map(parent).collect())
}

//! Makes a sealed and verified copy of a journal, even while a server appends to it or compacts it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::error::Action;
use super::record::{self, Seal};
use super::storage::{Storage, StorageFile};
use super::{Disposition, Error, JOURNAL_FILE, OnRecord, Record, Rejection, Report, recover};

/// The name of an unfinished copy. The server never uses it.
const PART_FILE: &str = "journal.part";

/// The server frees the space of a file that a compaction has replaced, even while it is being
/// read, but not within the first minute. A second attempt therefore usually succeeds. All attempts
/// fail only if each takes longer than a minute.
const ATTEMPTS: usize = 5;

/// Bytes copied at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The result of a backup.
#[derive(Debug)]
pub struct Backup {
    /// The journal.
    pub source: Report,
    /// The copy: the journal up to its last good commit, and a seal.
    pub copy: Report,
}

/// Copies the journal up to its last good commit into the directory `to`, which is created if
/// missing. Seals and syncs the copy, and replays it through `on_record` before it gets its name.
///
/// The copy has the identity and the mode of the journal. It contains everything that was
/// acknowledged before the call.
///
/// # Errors
/// [`Error::Exists`] if there is a journal or an unfinished copy in `to`, [`Error::Missing`] if
/// there is no journal to copy, [`Error::Refused`] if the journal is damaged. No error leaves a
/// copy behind.
pub fn backup<S: Storage>(
    from: &S,
    to: &Path,
    mut on_record: impl FnMut(Record<'_>) -> Result<(), Rejection>,
) -> Result<Backup, Error> {
    // Checked before anything is created.
    open(from)?;
    let mut part = Part::create(to)?;
    let mut attempt = 1;
    let source = loop {
        match part.copy(from) {
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::UnexpectedEof && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            report => break report?,
        }
    };
    let copy = part.check(&source, &mut on_record)?;
    part.finish()?;
    Ok(Backup { source, copy })
}

fn open<S: Storage>(from: &S) -> Result<S::File, Error> {
    let path = from.path_of(JOURNAL_FILE);
    let found = from.open_to_read(JOURNAL_FILE).map_err(|e| Error::io(Action::Open, &path, e))?;
    found.ok_or(Error::Missing { path })
}

/// A copy without its final name. Dropping it removes the file.
struct Part {
    directory: PathBuf,
    file: File,
    is_finished: bool,
}

impl Part {
    fn create(directory: &Path) -> Result<Part, Error> {
        let journal = directory.join(JOURNAL_FILE);
        let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        created.map_err(|e| Error::io(Action::MakeDirectory, directory.display(), e))?;
        // Detects a dangling symbolic link, too.
        if fs::symlink_metadata(&journal).is_ok() {
            return Err(Error::Exists { path: journal.display().to_string() });
        }
        let path = directory.join(PART_FILE);
        let mut options = OpenOptions::new();
        let created = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = created.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.display().to_string() },
            _ => Error::io(Action::Create, path.display(), e),
        })?;
        Ok(Part { directory: directory.to_path_buf(), file, is_finished: false })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(PART_FILE)
    }

    /// Copies the good part of the journal, and seals the copy.
    fn copy<S: Storage>(&mut self, from: &S) -> Result<Report, Error> {
        // A compaction may replace the file from here on, but does not change the open one.
        let (file, path) = (open(from)?, from.path_of(JOURNAL_FILE));
        let mut accept_all = |_: Record<'_>| Ok(());
        let report = recover::scan(&file, path.clone(), &mut accept_all as &mut OnRecord)
            .map_err(|e| Error::io(Action::Read, &path, e))?;
        if report.fresh {
            return Err(Error::Missing { path });
        }
        if let Some(bad) = &report.bad
            && bad.disposition != Disposition::Cut
        {
            return Err(Error::Refused(Box::new(report)));
        }
        self.write(0, |part| part.set_len(0))?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < report.end_bytes {
            let count = piece.len().min((report.end_bytes - offset) as usize);
            file.read_fully(&mut piece[..count], offset)
                .map_err(|e| Error::io_at(Action::Read, path.clone(), offset, e))?;
            self.write(offset, |part| part.write_fully(&piece[..count], offset))?;
            offset += count as u64;
        }
        let mode = file.mode().map_err(|e| Error::io(Action::ReadMode, &path, e))?;
        self.seal(&report, mode)?;
        Ok(report)
    }

    /// Seals the copied part of a journal, and sets the mode of the copy.
    fn seal(&self, report: &Report, mode: u32) -> Result<(), Error> {
        let end = report.end_bytes;
        // Everything before the seal must be durable before the seal is written.
        self.write(end, StorageFile::sync_data)?;
        let mut line = Vec::new();
        record::push_seal(&mut line, Seal { last: report.last_number, end });
        self.write(end, |part| part.write_fully(&line, end))?;
        self.write(end, |part| {
            part.set_permissions(Permissions::from_mode(mode))?;
            part.sync_all()
        })
    }

    fn write(
        &self,
        offset: u64,
        action: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let path = self.path().display().to_string();
        action(&self.file).map_err(|e| Error::io_at(Action::Write, path, offset, e))
    }

    /// Reads the copy back, and checks that it is sealed, complete and accepted by `on_record`.
    fn check(&self, source: &Report, on_record: &mut OnRecord) -> Result<Report, Error> {
        let path = self.path().display().to_string();
        let copy = recover::scan(&self.file, path.clone(), on_record)
            .map_err(|e| Error::io(Action::Read, &path, e))?;
        let is_same = (copy.id, copy.last_number, copy.end_bytes)
            == (source.id, source.last_number, source.end_bytes);
        match copy.is_sealed && copy.bad.is_none() && is_same {
            true => Ok(copy),
            // Reports the path of the journal, where the operator will look for the offset.
            false => Err(Error::Refused(Box::new(Report { path: source.path.clone(), ..copy }))),
        }
    }

    /// Gives the copy its final name durably, without replacing another file.
    fn finish(mut self) -> Result<(), Error> {
        let (part, journal) = (self.path(), self.directory.join(JOURNAL_FILE));
        let exists = || Error::Exists { path: journal.display().to_string() };
        match renameat_with(CWD, &part, CWD, &journal, RenameFlags::NOREPLACE) {
            Ok(()) => self.is_finished = true,
            Err(Errno::EXIST) => return Err(exists()),
            // The file system cannot rename without replacing. A hard link does not replace either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(&part, &journal).map_err(|e| match e.kind() {
                    io::ErrorKind::AlreadyExists => exists(),
                    _ => Error::io(Action::RenameCopy, journal.display(), e),
                })?;
            }
            Err(e) => return Err(Error::io(Action::RenameCopy, journal.display(), e.into())),
        }
        let parent = self.directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        for directory in [&self.directory, parent.unwrap_or(Path::new("."))] {
            let synced = File::open(directory).and_then(|it| it.sync_all());
            synced.map_err(|e| Error::io(Action::SyncDirectory, directory.display(), e))?;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_finished {
            // Otherwise the operator would have to delete it by hand.
            let _ = fs::remove_file(self.path());
        }
    }
}

//! A sealed, checked copy of a journal, also of one that a server writes to and compacts meanwhile.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::recover::{self, Record, Report, Verdict};
use super::storage::{Storage, StorageFile};
use super::{Error, JOURNAL_FILE, OnRecord, record, write_fully};

/// The name of a copy that is not finished. No server opens it or makes one.
const PART_FILE: &str = "journal.part";

/// The server gives the space of a file back that a compaction has replaced, also under a reader,
/// but not in the first minute. So one more attempt nearly always does; this many only fail where
/// each takes longer than that.
const ATTEMPTS: usize = 5;

/// Bytes copied at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What a backup has copied.
#[derive(Debug)]
pub struct Backup {
    /// What was found in the journal.
    pub source: Report,
    /// What is in the copy: the same up to the last good commit, and a seal.
    pub copy: Report,
}

/// Copies the journal up to its last whole commit into the directory `to`, which is made if it is
/// missing, seals the copy, syncs it, and replays it through `on_record` before it gets its name. It
/// has the identity of the journal and its mode.
///
/// Everything that was acknowledged before the call is in the copy.
///
/// # Errors
/// [`Error::Exists`] if there is a journal or an unfinished copy in `to`, [`Error::Missing`] if there
/// is nothing to copy, [`Error::Refused`] if the journal is damaged. None leaves a copy behind.
pub fn backup<S: Storage>(
    from: &S,
    to: &Path,
    mut on_record: impl FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Backup, Error> {
    // Before anything is made.
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
            done => break done?,
        }
    };
    let copy = part.check(&source, &mut on_record)?;
    part.finish()?;
    Ok(Backup { source, copy })
}

fn open<S: Storage>(from: &S) -> Result<S::File, Error> {
    let path = from.path_of(JOURNAL_FILE);
    let found = from.open_to_read(JOURNAL_FILE).map_err(|e| Error::io("open", &path, e))?;
    found.ok_or(Error::Missing { path })
}

/// A copy without its final name; removed unless it gets that.
struct Part {
    directory: PathBuf,
    file: File,
    is_finished: bool,
}

impl Part {
    fn create(directory: &Path) -> Result<Part, Error> {
        let journal = directory.join(JOURNAL_FILE);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|e| Error::io("make the directory", directory.display(), e))?;
        // Also where it is a link that leads nowhere.
        if fs::symlink_metadata(&journal).is_ok() {
            return Err(Error::Exists { path: journal.display().to_string() });
        }
        let path = directory.join(PART_FILE);
        let mut options = OpenOptions::new();
        let created = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = created.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.display().to_string() },
            _ => Error::io("create", path.display(), e),
        })?;
        Ok(Part { directory: directory.to_path_buf(), file, is_finished: false })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(PART_FILE)
    }

    /// Copies what is good of the journal now, and seals it.
    fn copy<S: Storage>(&mut self, from: &S) -> Result<Report, Error> {
        // A compaction may replace the file from here on: this one stays as it is.
        let (file, path) = (open(from)?, from.path_of(JOURNAL_FILE));
        let mut accept_all = |_: Record<'_>| Ok(());
        let report = recover::scan(&file, path.clone(), &mut accept_all as &mut OnRecord)
            .map_err(|e| Error::io("read", &path, e))?;
        if report.fresh {
            return Err(Error::Missing { path });
        }
        if let Some(bad) = &report.bad
            && bad.verdict != Verdict::Cut
        {
            return Err(Error::Refused(Box::new(report)));
        }
        self.write(0, |part| part.set_len(0))?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < report.end_bytes {
            let count = piece.len().min((report.end_bytes - offset) as usize);
            recover::read_exactly(&file, &mut piece[..count], offset)
                .map_err(|e| Error::io_at("read", path.clone(), offset, e))?;
            self.write(offset, |part| write_fully(part, &piece[..count], offset))?;
            offset += count as u64;
        }
        // What the seal says must be durable before it is.
        self.write(offset, StorageFile::sync_data)?;
        let mut seal = Vec::new();
        record::push_seal(&mut seal, report.last_number, report.end_bytes);
        self.write(offset, |part| write_fully(part, &seal, offset))?;
        let mode = file.mode().map_err(|e| Error::io("read the mode of", &path, e))?;
        self.write(offset, |part| {
            part.set_permissions(Permissions::from_mode(mode))?;
            part.sync_all()
        })?;
        Ok(report)
    }

    fn write(
        &self,
        offset: u64,
        action: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let path = self.path().display().to_string();
        action(&self.file).map_err(|e| Error::io_at("write", path, offset, e))
    }

    /// Reads the copy back: it is to be all of the source, sealed, and to be accepted.
    fn check(&self, source: &Report, on_record: &mut OnRecord) -> Result<Report, Error> {
        let path = self.path().display().to_string();
        let copy = recover::scan(&self.file, path.clone(), on_record)
            .map_err(|e| Error::io("read", &path, e))?;
        let is_same = (copy.id, copy.last_number, copy.end_bytes)
            == (source.id, source.last_number, source.end_bytes);
        match copy.is_sealed && copy.bad.is_none() && is_same {
            true => Ok(copy),
            // The place is the same in the journal, and that is what it is to be looked for in.
            false => Err(Error::Refused(Box::new(Report { path: source.path.clone(), ..copy }))),
        }
    }

    /// Gives it its name, in the place of nothing, durably.
    fn finish(mut self) -> Result<(), Error> {
        let (part, journal) = (self.path(), self.directory.join(JOURNAL_FILE));
        let exists = || Error::Exists { path: journal.display().to_string() };
        match renameat_with(CWD, &part, CWD, &journal, RenameFlags::NOREPLACE) {
            Ok(()) => self.is_finished = true,
            Err(Errno::EXIST) => return Err(exists()),
            // A file system that does not know how. A second name replaces nothing either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(&part, &journal).map_err(|e| match e.kind() {
                    io::ErrorKind::AlreadyExists => exists(),
                    _ => Error::io("give its name to", journal.display(), e),
                })?;
            }
            Err(e) => return Err(Error::io("give its name to", journal.display(), e.into())),
        }
        let parent = self.directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        for directory in [&self.directory, parent.unwrap_or(Path::new("."))] {
            let synced = File::open(directory).and_then(|it| it.sync_all());
            synced.map_err(|e| Error::io("sync the directory", directory.display(), e))?;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_finished {
            // A leftover would only have to be deleted by hand.
            let _ = fs::remove_file(self.path());
        }
    }
}

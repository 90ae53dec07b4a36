//! The inventory file, which lists resources to create if missing, one per line. It is read in
//! pieces, because it may have a million lines and is reloaded while clients are connected.

mod name_reader;

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Take};
use std::ops::Range;
use std::path::Path;

use crate::journal::open_regular_file;
use crate::limits::INVENTORY_FILE_MAX_BYTES;
pub use name_reader::LineError;
use name_reader::NameReader;

/// Bytes per read of the file.
const READ_BYTES: usize = 64 << 10;

/// Why an inventory file cannot be used.
#[derive(Debug)]
pub enum InventoryFileError {
    /// It cannot be opened or read.
    Io { file: String, source: io::Error },
    /// It is larger than [`INVENTORY_FILE_MAX_BYTES`].
    TooLarge { file: String },
    /// A line is invalid.
    Line { file: String, line: usize, source: LineError },
}

impl Display for InventoryFileError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            InventoryFileError::Io { file, source } => write!(f, "{file}: {source}"),
            InventoryFileError::TooLarge { file } => {
                write!(f, "{file}: it has more than {INVENTORY_FILE_MAX_BYTES} bytes")
            }
            InventoryFileError::Line { file, line, source } => {
                write!(f, "{file}, line {line}: {source}")
            }
        }
    }
}

/// Reads a whole inventory file.
pub fn read_inventory_file(path: &Path) -> Result<Vec<String>, InventoryFileError> {
    let mut file = InventoryFile::open(path)?;
    loop {
        if let Some(names) = file.read_piece(usize::MAX)? {
            return Ok(names);
        }
    }
}

/// An inventory file that is being read.
pub struct InventoryFile<R: Read = Take<File>> {
    /// The name of the file, for messages.
    shown: String,
    source: R,
    /// Number of bytes read so far.
    read_bytes: u64,
    /// The last bytes read. Lines up to `taken` are parsed, and there is no line ending from there
    /// to `searched`.
    unread: Vec<u8>,
    taken: usize,
    searched: usize,
    is_at_end: bool,
    names: NameReader,
}

impl InventoryFile {
    /// Opens a regular file. Anything else is an error, because reading a pipe or a terminal would
    /// block the server.
    pub fn open(path: &Path) -> Result<InventoryFile, InventoryFileError> {
        let shown = path.display().to_string();
        match open_regular_file(path) {
            Ok(file) => Ok(InventoryFile::new(shown, file.take(INVENTORY_FILE_MAX_BYTES + 1))),
            Err(source) => Err(InventoryFileError::Io { file: shown, source }),
        }
    }
}

impl<R: Read> InventoryFile<R> {
    /// Reads from any source. `shown` is its name in messages.
    pub fn new(shown: String, source: R) -> InventoryFile<R> {
        InventoryFile {
            shown,
            source,
            read_bytes: 0,
            unread: Vec::new(),
            taken: 0,
            searched: 0,
            is_at_end: false,
            names: NameReader::default(),
        }
    }

    /// Returns the name of the file for messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Reads up to `most` lines, where a read of the file counts as a line. Returns `None` until
    /// the end of the file is reached, and then all names.
    ///
    /// # Errors
    /// The whole file is invalid.
    pub fn read_piece(&mut self, most: usize) -> Result<Option<Vec<String>>, InventoryFileError> {
        for _ in 0..most {
            if let Some(end) = memchr::memchr(b'\n', &self.unread[self.searched..]) {
                let line = self.taken..self.searched + end;
                (self.taken, self.searched) = (line.end + 1, line.end + 1);
                self.parse_line(line)?;
            } else if self.is_at_end {
                self.parse_line(self.taken..self.unread.len())?;
                return Ok(Some(self.names.take()));
            } else {
                self.read_more()?;
            }
        }
        Ok(None)
    }

    fn parse_line(&mut self, line: Range<usize>) -> Result<(), InventoryFileError> {
        let line = &self.unread[line];
        let parsed = self.names.read(line.strip_suffix(b"\r").unwrap_or(line));
        parsed.map_err(|source| InventoryFileError::Line {
            file: self.shown.clone(),
            line: self.names.line_number(),
            source,
        })
    }

    fn read_more(&mut self) -> Result<(), InventoryFileError> {
        self.unread.drain(..self.taken);
        (self.taken, self.searched) = (0, self.unread.len());
        let before = self.unread.len();
        self.unread.resize(before + READ_BYTES, 0);
        let read = self.source.read(&mut self.unread[before..]);
        self.unread.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(count) => {
                self.is_at_end = count == 0;
                self.read_bytes += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(InventoryFileError::Io { file: self.shown.clone(), source });
            }
        }
        match self.read_bytes > INVENTORY_FILE_MAX_BYTES {
            true => Err(InventoryFileError::TooLarge { file: self.shown.clone() }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a few bytes per read, and each third time an interruption.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(3) {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = self.0.len().min(self.1 % 7 + 1).min(buf.len());
            let (now, rest) = self.0.split_at(count);
            buf[..count].copy_from_slice(now);
            self.0 = rest;
            Ok(count)
        }
    }

    fn read(bytes: &[u8], most: usize) -> Result<Vec<String>, InventoryFileError> {
        let mut file = InventoryFile::new("f".to_owned(), Slow(bytes, 0));
        loop {
            if let Some(names) = file.read_piece(most)? {
                return Ok(names);
            }
        }
    }

    #[test]
    fn names_are_the_same_in_pieces_of_any_size() {
        let text = "\u{FEFF}Sala 1\r\n# una\n\n  Sala \t 2 \nÁrbol\n\u{212B}ngström";
        for most in [1, 2, 3, usize::MAX] {
            let names = read(text.as_bytes(), most).unwrap();
            assert_eq!(names, ["Sala 1", "Sala 2", "Árbol", "Ångström"], "{most}");
            assert_eq!(read(b"", most).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn first_bad_line_is_named_in_pieces_of_any_size() {
        let cases: [(&[u8], &str); 4] = [
            (b"Sala 1\n\nSala, 2\n\xff\n", "f, line 3: "),
            (b"Sala 1\nSala\xff\nSala, 2\n", "f, line 2: not UTF-8; save the file as UTF-8"),
            (b"Sala 1\n# una\nSALA 1\n", "f, line 3: 'SALA 1' is the same name as in line 1"),
            (b"Sala 1\nx\x07", "f, line 2: "),
        ];
        for (bytes, reason) in cases {
            for most in [1, 2, usize::MAX] {
                let error = read(bytes, most).unwrap_err().to_string();
                assert!(error.starts_with(reason), "{error}");
            }
        }
    }

    #[test]
    fn piece_is_limited_to_its_number_of_lines() {
        let text = "Sala\n".repeat(3) + "# una\n";
        let mut file = InventoryFile::new("f".to_owned(), text.as_bytes());
        assert_eq!(file.read_piece(2).unwrap(), None, "a read and a line");
        assert_eq!(file.names.line_number(), 1);
        assert!(file.read_piece(1).unwrap_err().to_string().contains("line 2"));
    }
}

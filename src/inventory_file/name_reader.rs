//! The lines of an inventory file.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::commands::name_error;
use crate::inventory::names::{NameError, check_name, fold};
use crate::text::{Lang, excerpt};

/// Parses an inventory file line by line: one name per line, `#` comments and blank lines.
#[derive(Default)]
pub struct NameReader {
    lines: usize,
    names: Vec<String>,
    /// The line number of each name.
    line_numbers: Vec<usize>,
    /// Indexes of names by the hash of their folded form, or the next free value above it.
    seen: HashMap<u64, usize, RandomState>,
}

/// Why a line is invalid.
#[derive(Debug)]
pub enum LineError {
    NotUtf8,
    /// The line is not a valid name.
    Name {
        line: String,
        error: NameError,
    },
    /// The name is already in the file, in the line `first`.
    Repeated {
        name: String,
        first: usize,
    },
}

impl Display for LineError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LineError::NotUtf8 => write!(f, "not UTF-8; save the file as UTF-8"),
            LineError::Name { line, error } => {
                write!(f, "{}", name_error(line, *error, Lang::En).text)
            }
            LineError::Repeated { name, first } => {
                write!(f, "'{}' is the same name as in line {first}", excerpt(name))
            }
        }
    }
}

impl NameReader {
    /// Parses the next line, without its ending.
    ///
    /// # Errors
    /// The line is invalid.
    pub fn read(&mut self, line: &[u8]) -> Result<(), LineError> {
        self.lines += 1;
        let line = str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
        let line = line.strip_prefix('\u{FEFF}').filter(|_| self.lines == 1).unwrap_or(line);
        let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let line = words.collect::<Vec<_>>().join(" ");
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let name = match check_name(&line) {
            Ok(name) => name,
            Err(error) => return Err(LineError::Name { line, error }),
        };
        let folded = fold(&name);
        let mut hash = self.seen.hasher().hash_one(&folded);
        while let Some(at) = self.seen.get(&hash) {
            if fold(&self.names[*at]) == folded {
                let first = self.line_numbers[*at];
                return Err(LineError::Repeated { name: name.into_owned(), first });
            }
            hash = hash.wrapping_add(1);
        }
        self.seen.insert(hash, self.names.len());
        self.line_numbers.push(self.lines);
        self.names.push(name.into_owned());
        Ok(())
    }

    /// Returns the number of the last line, from 1.
    pub fn line_number(&self) -> usize {
        self.lines.max(1)
    }

    /// Takes the names read so far.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.names)
    }
}

//! A data directory in memory, in which the journal opens the inputs of a fuzzer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use reservad::journal::{Storage, StorageFile};

/// Files by name. Clones share them.
#[derive(Clone)]
pub struct MemoryDisk {
    files: Rc<RefCell<BTreeMap<String, MemoryFile>>>,
    /// The maximal number of bytes of a read, so that readers must loop.
    read_bytes: usize,
}

#[derive(Clone)]
pub struct MemoryFile {
    bytes: Rc<RefCell<Vec<u8>>>,
    read_bytes: usize,
}

impl MemoryDisk {
    pub fn new(files: &[(&str, &[u8])], read_bytes: usize) -> MemoryDisk {
        let disk = MemoryDisk { files: Rc::default(), read_bytes };
        for (name, bytes) in files {
            disk.add(name).bytes.replace(bytes.to_vec());
        }
        disk
    }

    fn add(&self, name: &str) -> MemoryFile {
        let file = MemoryFile { bytes: Rc::default(), read_bytes: self.read_bytes };
        self.files.borrow_mut().insert(name.to_owned(), file.clone());
        file
    }

    /// Returns the bytes of a file if it exists.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.files.borrow().get(name).map(|file| file.bytes.borrow().clone())
    }
}

impl Storage for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, name: &str) -> io::Result<Option<MemoryFile>> {
        Ok(self.files.borrow().get(name).cloned())
    }

    fn open_to_read(&self, name: &str) -> io::Result<Option<MemoryFile>> {
        self.open(name)
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        Ok(self.add(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.borrow_mut();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.borrow_mut().remove(name);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn path_of(&self, name: &str) -> String {
        name.to_owned()
    }
}

impl StorageFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.borrow();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len()).min(self.read_bytes);
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let (mut bytes, start) = (self.bytes.borrow_mut(), offset as usize);
        let end = start + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(data);
        Ok(data.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.bytes.borrow_mut().resize(size as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

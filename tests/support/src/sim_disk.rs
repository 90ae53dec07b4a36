//! A simulated disk that can lose power. Every file has a live image, which processes see, and a
//! durable image, which a sync updates. The names of files have both forms too. A power cut keeps
//! any subset of the unsynced pages, each in any of its versions and torn at any byte, any of the
//! sizes that the file had, and any prefix of the unsynced changes of names. A failed sync discards
//! the data that it should have written, as on Linux.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use reservad::journal::{FILL_STEP_BYTES, LockState, NameState, Storage, StorageFile};

use super::Rng;

#[derive(Default, Clone)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// The contents of the unsynced pages after each write.
    pages: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The sizes since the last sync.
    sizes: Vec<usize>,
    /// Bytes that the next sync has to write.
    unsynced: usize,
    /// The allocated space, which may exceed the size.
    allocated: usize,
    /// The number of open handles. A file without a name is removed with its last handle.
    handles: usize,
}

#[derive(Clone)]
enum NameOp {
    Set(String, usize),
    Rename(String, String),
    Remove(String),
}

/// Future faults. A count is the number of calls of its kind that still succeed.
#[derive(Default, Clone)]
pub struct Faults {
    /// The step at which the power fails: a write, a sync or a change of a name.
    pub power_at: Option<u64>,
    pub write_fails_at: Option<u64>,
    pub sync_fails_at: Option<u64>,
    pub name_fails_at: Option<u64>,
    /// Maximal size of each file. Writes beyond it are short, then fail with ENOSPC.
    pub room_bytes: Option<usize>,
    /// Maximal total size of all files, which includes their pages and their allocated space.
    pub disk_bytes: Option<usize>,
    /// Whether the disk cannot allocate space ahead of writes, like old file systems.
    pub no_allocation: bool,
    /// The effect of another process on the lock file.
    pub lock: Option<LockState>,
    /// The effect of another process on the journal's name.
    pub renamed: Option<NameState>,
    /// Whether every write is short or interrupted.
    pub short_writes: bool,
}

#[derive(Clone)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_ops: Vec<NameOp>,
    page: usize,
    /// The step by which the journal's spare tail grows.
    step: u64,
    faults: Faults,
    dead: bool,
    /// How often a name referred to another file or to none.
    strange_names: usize,
    steps: u64,
    /// The maximal number of bytes that one sync wrote, and that one call truncated.
    most_synced: usize,
    most_cut: usize,
    rng: Rng,
}

#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<World>>);

pub struct SimFile {
    world: Rc<RefCell<World>>,
    inode: usize,
}

fn apply(names: &mut BTreeMap<String, usize>, op: &NameOp) {
    match op {
        NameOp::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameOp::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameOp::Remove(name) => {
            names.remove(name);
        }
    }
}

/// Returns whether the call with this counter fails, and counts it otherwise.
fn countdown(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl World {
    /// Counts a step. Fails if the power is off or fails now.
    fn step(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the power is off"));
        }
        if countdown(&mut self.faults.power_at) {
            self.dead = true;
            return Err(io::Error::other("the power went off"));
        }
        self.steps += 1;
        Ok(())
    }

    fn name_step(&mut self, op: NameOp) -> io::Result<()> {
        self.step()?;
        if countdown(&mut self.faults.name_fails_at) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        apply(&mut self.names, &op);
        self.name_ops.push(op);
        Ok(())
    }

    /// Returns the bytes of all files that have a name or are open.
    fn used(&self) -> usize {
        let named = |inode: usize| self.names.values().any(|other| *other == inode);
        let inodes = self.inodes.iter().enumerate();
        inodes
            .filter(|(at, inode)| inode.handles > 0 || named(*at))
            .map(|(_, inode)| inode.taken(self.page))
            .sum()
    }

    /// Returns the size to which a file can grow on this disk.
    fn most_bytes(&self, inode: usize) -> usize {
        let Some(disk) = self.faults.disk_bytes else { return usize::MAX };
        let taken = self.inodes[inode].taken(self.page);
        let free = disk.saturating_sub(self.used());
        taken + free / self.page * self.page
    }

    fn put(&mut self, inode: usize, data: &[u8], offset: usize) {
        let page = self.page;
        let file = &mut self.inodes[inode];
        let end = offset + data.len();
        let size = file.live.len();
        if end > size {
            file.live.resize(end, 0);
            file.sizes.push(end);
        }
        file.live[offset..end].copy_from_slice(data);
        for index in offset / page..end.div_ceil(page) {
            let bytes = file.live[index * page..file.live.len().min((index + 1) * page)].to_vec();
            file.pages.entry(index).or_default().push(bytes);
        }
    }
}

impl Inode {
    /// Returns the used space on the disk, in whole pages.
    fn taken(&self, page: usize) -> usize {
        self.live.len().max(self.allocated).next_multiple_of(page)
    }

    fn sync(&mut self, page: usize) {
        let least = self.sizes.iter().copied().min().unwrap_or(usize::MAX);
        self.durable.truncate(least);
        self.durable.resize(self.live.len(), 0);
        for index in std::mem::take(&mut self.pages).into_keys() {
            let range =
                (index * page).min(self.live.len())..self.live.len().min((index + 1) * page);
            self.durable[range.clone()].copy_from_slice(&self.live[range]);
        }
        self.sizes.clear();
    }

    fn lose_power(&mut self, page: usize, rng: &mut Rng) {
        let mut sizes = vec![self.durable.len()];
        sizes.append(&mut self.sizes);
        let keep = match rng.below(3) {
            0 => 0,
            1 => sizes.len() - 1,
            _ => rng.below(sizes.len()),
        };
        let mut image = std::mem::take(&mut self.durable);
        image.truncate(sizes[..=keep].iter().copied().min().unwrap_or(0));
        image.resize(sizes[keep], 0);
        let pattern = rng.below(4);
        for (index, versions) in std::mem::take(&mut self.pages) {
            let kept = match pattern {
                0 => true,
                1 => false,
                _ => rng.one_in(2),
            };
            if !kept {
                continue;
            }
            let last = versions.len() - 1;
            let version = &versions[if rng.one_in(2) { last } else { rng.below(last + 1) }];
            let whole = pattern == 0 || !rng.one_in(4);
            let torn = if whole { version.len() } else { rng.below(version.len() + 1) };
            let start = (index * page).min(image.len());
            let end = (index * page + torn).min(image.len());
            image[start..end].copy_from_slice(&version[..end - start]);
        }
        self.live = image.clone();
        self.durable = image;
    }
}

impl SimDisk {
    pub fn new(page: usize, seed: u64) -> SimDisk {
        SimDisk(Rc::new(RefCell::new(World {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_ops: Vec::new(),
            page,
            step: FILL_STEP_BYTES,
            faults: Faults::default(),
            dead: false,
            strange_names: 0,
            steps: 0,
            most_synced: 0,
            most_cut: 0,
            rng: Rng(seed),
        })))
    }

    /// Returns a disk with one durable file.
    pub fn with(name: &str, content: &[u8]) -> SimDisk {
        let disk = SimDisk::new(512, 0);
        disk.put(name, content);
        disk
    }

    /// Sets the step by which the spare tail grows.
    pub fn set_step(&self, bytes: u64) {
        self.0.borrow_mut().step = bytes;
    }

    /// Lets another process use all remaining space.
    pub fn fill_up(&self) {
        let mut world = self.0.borrow_mut();
        world.faults.disk_bytes = Some(world.used());
    }

    /// Adds a durable file.
    pub fn put(&self, name: &str, content: &[u8]) {
        let mut world = self.0.borrow_mut();
        let (live, durable) = (content.to_vec(), content.to_vec());
        world.inodes.push(Inode { live, durable, ..Inode::default() });
        let inode = world.inodes.len() - 1;
        world.names.insert(name.to_string(), inode);
        world.durable_names.insert(name.to_string(), inode);
    }

    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.0.borrow();
        world.names.get(name).map(|inode| world.inodes[*inode].live.clone())
    }

    pub fn names(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    /// Returns the number of writes, syncs and changes of names so far.
    pub fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    /// Returns the maximal number of bytes that one sync wrote, and that one call truncated.
    pub fn longest_calls(&self) -> (usize, usize) {
        let world = self.0.borrow();
        (world.most_synced, world.most_cut)
    }

    /// Returns how often a name referred to another file or to none since the last call.
    pub fn take_strange_names(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().strange_names)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Cuts the power, unless it is off, and restores it.
    pub fn lose_power(&self) {
        let mut world = self.0.borrow_mut();
        let World { inodes, name_ops, durable_names, rng, page, .. } = &mut *world;
        let kept = rng.below(name_ops.len() + 1);
        for op in name_ops.drain(..).take(kept) {
            apply(durable_names, &op);
        }
        for inode in inodes {
            inode.lose_power(*page, rng);
        }
        world.names = world.durable_names.clone();
        world.faults = Faults::default();
        world.dead = false;
    }

    /// Ends the process while the system continues, so that all written data survives.
    pub fn lose_process(&self) {
        let mut world = self.0.borrow_mut();
        world.faults = Faults::default();
        world.dead = false;
    }

    /// Counts a step outside the disk at which the power may fail. Returns whether it is on.
    pub fn spend_step(&self) -> bool {
        self.0.borrow_mut().step().is_ok()
    }

    /// Returns whether the power is off.
    pub fn is_off(&self) -> bool {
        self.0.borrow().dead
    }

    /// Returns another disk with the same content.
    pub fn copy(&self) -> SimDisk {
        SimDisk(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// Calls `look` with the durable image of a file.
    pub fn with_durable<R>(&self, name: &str, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let world = self.0.borrow();
        let inode = *world.durable_names.get(name)?;
        Some(look(&world.inodes[inode].durable))
    }

    /// Calls `look` with the live image of a file.
    pub fn with_live<R>(&self, name: &str, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let world = self.0.borrow();
        let inode = *world.names.get(name)?;
        Some(look(&world.inodes[inode].live))
    }

    /// Damages a file, so that reads differ from what was written.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut [u8])) {
        let mut world = self.0.borrow_mut();
        let inode = world.names[name];
        change(&mut world.inodes[inode].live);
    }

    /// Opens a file.
    fn file(&self, name: &str) -> Option<SimFile> {
        let inode = *self.0.borrow().names.get(name)?;
        Some(self.handle(inode))
    }

    fn handle(&self, inode: usize) -> SimFile {
        self.0.borrow_mut().inodes[inode].handles += 1;
        SimFile { world: self.0.clone(), inode }
    }

    /// Returns the bytes of all files.
    pub fn used_bytes(&self) -> usize {
        self.0.borrow().used()
    }
}

impl Storage for SimDisk {
    type File = SimFile;

    fn open(&self, name: &str) -> io::Result<Option<SimFile>> {
        Ok(self.file(name))
    }

    fn open_to_read(&self, name: &str) -> io::Result<Option<SimFile>> {
        Ok(self.file(name))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        self.remove(name)?;
        let mut world = self.0.borrow_mut();
        let inode = world.inodes.len();
        world.name_step(NameOp::Set(name.to_string(), inode))?;
        world.inodes.push(Inode::default());
        drop(world);
        Ok(self.handle(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.borrow_mut().name_step(NameOp::Rename(from.to_string(), to.to_string()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.0.borrow().names.contains_key(name) {
            return Ok(());
        }
        self.0.borrow_mut().name_step(NameOp::Remove(name.to_string()))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.step()?;
        if countdown(&mut world.faults.name_fails_at) {
            return Err(io::Error::other("directory sync failed"));
        }
        let World { name_ops, durable_names, .. } = &mut *world;
        for op in name_ops.drain(..) {
            apply(durable_names, &op);
        }
        Ok(())
    }

    fn path_of(&self, name: &str) -> String {
        format!("sim/{name}")
    }

    fn compare(&self, _: &str, _: &SimFile) -> io::Result<NameState> {
        let mut world = self.0.borrow_mut();
        world.strange_names += usize::from(world.faults.renamed.is_some());
        Ok(world.faults.renamed.unwrap_or(NameState::Same))
    }

    fn confirm_lock(&self) -> io::Result<LockState> {
        let lock = &mut self.0.borrow_mut().faults.lock;
        match *lock {
            // A lock that was retaken is held from then on.
            Some(LockState::Retaken) => Ok(lock.take().unwrap()),
            state => Ok(state.unwrap_or(LockState::Held)),
        }
    }

    fn spare_step_bytes(&self) -> u64 {
        self.0.borrow().step
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let world = self.0.borrow();
        let free = |disk: usize| disk.saturating_sub(world.used()) as u64;
        Ok(world.faults.disk_bytes.map(free))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Ok(mut world) = self.world.try_borrow_mut() {
            world.inodes[self.inode].handles -= 1;
        }
    }
}

impl StorageFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.world.borrow().inodes[self.inode].live.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.world.borrow();
        let live = &world.inodes[self.inode].live;
        let from = (offset as usize).min(live.len());
        // At most an odd number of bytes at a time, so that readers must loop.
        let count = buf.len().min(live.len() - from).min(100_003);
        buf[..count].copy_from_slice(&live[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let was_on = !world.dead;
        if let Err(e) = world.step() {
            if was_on {
                let part = world.rng.below(data.len() + 1);
                world.put(self.inode, &data[..part], offset as usize);
            }
            return Err(e);
        }
        if countdown(&mut world.faults.write_fails_at) {
            return Err(io::Error::other("write failed"));
        }
        let mut count = data.len();
        if world.faults.short_writes {
            if world.rng.one_in(4) {
                return Err(ErrorKind::Interrupted.into());
            }
            let most = 1 + world.rng.below(300);
            count = count.min(most);
        }
        let size = world.inodes[self.inode].live.len();
        let room = world.faults.room_bytes.map_or(usize::MAX, |room| room.max(size));
        let room = room.min(world.most_bytes(self.inode));
        count = count.min(room.saturating_sub(offset as usize));
        if count == 0 && !data.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        world.put(self.inode, &data[..count], offset as usize);
        world.inodes[self.inode].unsynced += count;
        Ok(count)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.step()?;
        let file = &mut world.inodes[self.inode];
        let cut = file.live.len().saturating_sub(size as usize);
        file.live.resize(size as usize, 0);
        file.allocated = file.allocated.min(size as usize);
        file.sizes.push(size as usize);
        world.most_cut = world.most_cut.max(cut);
        Ok(())
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        if world.faults.no_allocation {
            return Err(ErrorKind::Unsupported.into());
        }
        if world.dead {
            return Err(io::Error::other("the power is off"));
        }
        let end = (offset + bytes) as usize;
        let size = world.inodes[self.inode].live.len();
        let room = world.faults.room_bytes.map_or(usize::MAX, |room| room.max(size));
        if end > room.min(world.most_bytes(self.inode)) {
            return Err(ErrorKind::StorageFull.into());
        }
        let file = &mut world.inodes[self.inode];
        file.allocated = file.allocated.max(end);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.step()?;
        let page = world.page;
        if countdown(&mut world.faults.sync_fails_at) {
            world.inodes[self.inode].pages.clear();
            return Err(io::Error::other("sync failed"));
        }
        let written = std::mem::take(&mut world.inodes[self.inode].unsynced);
        world.most_synced = world.most_synced.max(written);
        world.inodes[self.inode].sync(page);
        Ok(())
    }
}

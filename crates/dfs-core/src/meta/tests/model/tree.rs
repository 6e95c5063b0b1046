//! A file system as simple as can be: maps, vectors, no steps, no limits.

use std::collections::{BTreeMap, VecDeque};

use super::attributes::Facts;
use crate::types::change::Removal;
use crate::types::{ChunkId, RefusalKind, RefusalKind as Kind, Timestamp};

pub(super) type Result<T> = std::result::Result<T, RefusalKind>;

/// A byte of a file, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Byte {
    Zero,
    Chunk(ChunkId, u64),
    Inline(u8),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    File(Vec<Byte>),
    Directory(BTreeMap<String, u64>),
    Link(String),
}

#[derive(Debug, Clone)]
pub(super) struct Trashed {
    pub(super) inode: u64,
    pub(super) path: String,
    pub(super) expires: Timestamp,
}

/// A path seen from an inode.
#[derive(Debug, Clone)]
pub(super) struct Where {
    pub(super) base: u64,
    pub(super) names: Vec<String>,
}

/// A name in a directory, and what has it.
pub(super) struct Slot {
    pub(super) dir: u64,
    pub(super) name: String,
    pub(super) item: Option<u64>,
}

enum End {
    Slot(Slot),
    Item(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) items: BTreeMap<u64, Item>,
    pub(super) trash: BTreeMap<u64, Trashed>,
    pub(super) uploads: Vec<u64>,
    /// By inode, those of items that are gone as well.
    pub(super) facts: BTreeMap<u64, Facts>,
    pub(super) next_inode: u64,
    next_trash: u64,
    /// The members of stripes, data before parity, by each of them.
    pub(super) stripes: BTreeMap<ChunkId, Vec<ChunkId>>,
    /// Directories that have snapshots.
    pub(super) snapped: Vec<u64>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        let root = Item::Directory(BTreeMap::new());
        Tree {
            items: BTreeMap::from([(1, root)]),
            trash: BTreeMap::new(),
            uploads: Vec::new(),
            facts: BTreeMap::from([(1, Facts::ROOT)]),
            next_inode: 2,
            next_trash: 1,
            stripes: BTreeMap::new(),
            snapped: Vec::new(),
        }
    }

    fn dir(&self, id: u64) -> Result<&BTreeMap<String, u64>> {
        match &self.items[&id] {
            Item::Directory(names) => Ok(names),
            _ => Err(Kind::NotADirectory),
        }
    }

    pub(super) fn is_dir(&self, id: u64) -> bool {
        matches!(self.items[&id], Item::Directory(_))
    }

    fn names_of(&mut self, id: u64) -> &mut BTreeMap<String, u64> {
        match self.items.get_mut(&id).unwrap() {
            Item::Directory(names) => names,
            other => panic!("{other:?}"),
        }
    }

    /// The directory that has a directory, and its name there.
    fn parent(&self, id: u64) -> Option<(u64, String)> {
        self.items.iter().find_map(|(parent, item)| match item {
            Item::Directory(names) => {
                let name = names.iter().find(|(_, child)| **child == id)?.0;
                Some((*parent, name.clone()))
            }
            _ => None,
        })
    }

    /// The names from the root to a directory, if it hangs there.
    pub(super) fn path_of(&self, id: u64) -> Option<Vec<String>> {
        if id == 1 {
            return Some(Vec::new());
        }
        let (parent, name) = self.parent(id)?;
        let mut path = self.path_of(parent)?;
        path.push(name);
        Some(path)
    }

    /// One of the directories, and its path if it hangs on the root.
    pub(super) fn directory(&self, pick: u64) -> (u64, Option<Vec<String>>) {
        let dirs: Vec<u64> = self
            .items
            .keys()
            .copied()
            .filter(|id| self.is_dir(*id))
            .collect();
        let id = dirs[pick as usize % dirs.len()];
        (id, self.path_of(id))
    }

    /// The names in a directory.
    pub(super) fn names(&self, dir: u64) -> Vec<String> {
        self.dir(dir)
            .map_or_else(|_| Vec::new(), |names| names.keys().cloned().collect())
    }

    /// The names of files, with the directories they are in.
    pub(super) fn file_names(&self) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for (dir, item) in &self.items {
            let Item::Directory(names) = item else {
                continue;
            };
            for (name, id) in names {
                if matches!(self.items[id], Item::File(_)) {
                    found.push((*dir, name.clone()));
                }
            }
        }
        found
    }

    pub(super) fn links(&self, id: u64) -> usize {
        let named = self.items.values().map(|item| match item {
            Item::Directory(names) => names.values().filter(|child| **child == id).count(),
            _ => 0,
        });
        named.sum::<usize>()
            + self
                .trash
                .values()
                .filter(|entry| entry.inode == id)
                .count()
    }

    fn walk(&self, at: &Where, follow: bool) -> Result<End> {
        if !self.items.contains_key(&at.base) || self.uploads.contains(&at.base) {
            return Err(Kind::NotFound);
        }
        let mut here = at.base;
        let mut todo: VecDeque<String> = at.names.iter().cloned().collect();
        let mut followed = 0;
        while let Some(name) = todo.pop_front() {
            let names = self.dir(here)?;
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    here = match self.parent(here) {
                        Some((parent, _)) => parent,
                        None if here == 1 => 1,
                        None => return Err(Kind::NotFound),
                    };
                    continue;
                }
                _ => {}
            }
            // What a link added may end in nothing but slashes and dots.
            let last = todo.iter().all(|rest| rest.is_empty() || rest == ".");
            let item = names.get(&name).copied();
            match item.map(|id| &self.items[&id]) {
                Some(Item::Link(target)) if follow || !last => {
                    followed += 1;
                    if followed > 40 {
                        return Err(Kind::SymlinkLoop);
                    }
                    if target.starts_with('/') {
                        here = 1;
                    }
                    for part in target.rsplit('/') {
                        todo.push_front(part.to_owned());
                    }
                }
                _ if last => {
                    return Ok(End::Slot(Slot {
                        dir: here,
                        name,
                        item,
                    }));
                }
                None => return Err(Kind::NotFound),
                Some(Item::Directory(_)) => here = item.unwrap(),
                Some(_) => return Err(Kind::NotADirectory),
            }
        }
        Ok(End::Item(here))
    }

    pub(super) fn find(&self, at: &Where, follow: bool) -> Result<u64> {
        match self.walk(at, follow)? {
            End::Item(id) => Ok(id),
            End::Slot(slot) => slot.item.ok_or(Kind::NotFound),
        }
    }

    /// A name in a directory that hangs on the root.
    pub(super) fn slot(&self, at: &Where, nameless: Kind) -> Result<Slot> {
        match self.walk(at, false)? {
            End::Item(_) => Err(nameless),
            End::Slot(slot) if self.path_of(slot.dir).is_none() => Err(Kind::NotFound),
            End::Slot(slot) => Ok(slot),
        }
    }

    /// Whether a directory, or one below it, has snapshots.
    fn has_snapshots(&self, id: u64) -> bool {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            if self.snapped.contains(&id) {
                return true;
            }
            if let Item::Directory(names) = &self.items[&id] {
                todo.extend(names.values());
            }
        }
        false
    }

    fn free(&self, at: &Where) -> Result<Slot> {
        let slot = self.slot(at, Kind::Exists)?;
        if slot.item.is_some() {
            Err(Kind::Exists)
        } else {
            Ok(slot)
        }
    }

    pub(super) fn insert(&mut self, dir: u64, item: Item) -> u64 {
        let facts = self.facts[&dir].of_new(&item);
        self.facts.insert(self.next_inode, facts);
        self.next_inode += 1;
        self.items.insert(self.next_inode - 1, item);
        self.next_inode - 1
    }

    pub(super) fn name(&mut self, slot: &Slot, id: u64) {
        self.names_of(slot.dir).insert(slot.name.clone(), id);
    }

    pub(super) fn unname(&mut self, slot: &Slot) {
        self.names_of(slot.dir).remove(&slot.name);
    }

    /// Removes an item if nothing leads to it, and then what is in it.
    pub(super) fn sweep(&mut self, id: u64) {
        if id == 1 || self.links(id) > 0 || self.uploads.contains(&id) {
            return;
        }
        if let Some(Item::Directory(names)) = self.items.remove(&id) {
            for child in names.values() {
                self.sweep(*child);
            }
        }
    }

    pub(super) fn make_directory(&mut self, at: &Where) -> Result<u64> {
        let slot = self.free(at)?;
        let id = self.insert(slot.dir, Item::Directory(BTreeMap::new()));
        self.name(&slot, id);
        Ok(id)
    }

    pub(super) fn make_directories(&mut self, at: &Where) -> Result<u64> {
        let mut here = Where {
            base: at.base,
            names: Vec::new(),
        };
        let mut id = self.find(&here, true)?;
        for (index, name) in at.names.iter().enumerate() {
            here = Where {
                base: id,
                names: vec![name.clone()],
            };
            id = match self.walk(&here, true)? {
                End::Item(id) => id,
                End::Slot(Slot { item: Some(id), .. }) => {
                    if index + 1 == at.names.len() && !self.is_dir(id) {
                        return Err(Kind::Exists);
                    }
                    id
                }
                End::Slot(slot) if slot.dir == id && slot.name == *name => {
                    self.make_directory(&here)?
                }
                End::Slot(_) => return Err(Kind::NotFound),
            };
        }
        if self.is_dir(id) {
            Ok(id)
        } else {
            Err(Kind::Exists)
        }
    }

    pub(super) fn create(&mut self, at: &Where, exclusive: bool) -> Result<u64> {
        let slot = match self.walk(at, !exclusive)? {
            End::Item(_) if exclusive => return Err(Kind::Exists),
            End::Item(id) => return self.require_file(id),
            End::Slot(slot) => slot,
        };
        match slot.item {
            Some(_) if exclusive => Err(Kind::Exists),
            Some(id) => self.require_file(id),
            None if self.path_of(slot.dir).is_none() => Err(Kind::NotFound),
            None => {
                let id = self.insert(slot.dir, Item::File(Vec::new()));
                self.name(&slot, id);
                Ok(id)
            }
        }
    }

    pub(super) fn require_file(&self, id: u64) -> Result<u64> {
        match &self.items[&id] {
            Item::File(_) => Ok(id),
            Item::Directory(_) => Err(Kind::IsADirectory),
            Item::Link(_) => Err(Kind::NotAFile),
        }
    }

    pub(super) fn symlink(&mut self, at: &Where, target: &str) -> Result<u64> {
        let slot = self.free(at)?;
        let id = self.insert(slot.dir, Item::Link(target.to_owned()));
        self.name(&slot, id);
        Ok(id)
    }

    pub(super) fn link(&mut self, from: &Where, at: &Where) -> Result<u64> {
        let id = self.find(from, false)?;
        if self.is_dir(id) {
            return Err(Kind::IsADirectory);
        }
        let slot = self.free(at)?;
        self.name(&slot, id);
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Where, to: &Where, replace: bool) -> Result<u64> {
        let source = self.slot(from, Kind::NotPermitted)?;
        let id = source.item.ok_or(Kind::NotFound)?;
        let target = self.slot(to, Kind::NotPermitted)?;
        let mut above = Some(target.dir);
        while let Some(dir) = above {
            if dir == id {
                return Err(Kind::IntoItself);
            }
            above = self.parent(dir).map(|(parent, _)| parent);
        }
        if let Some(there) = target.item {
            if !replace {
                return Err(Kind::Exists);
            }
            if there == id {
                return Ok(id);
            }
            if self.is_dir(id) && self.is_dir(there) && self.has_snapshots(there) {
                return Err(Kind::StillNeeded);
            }
            match (self.is_dir(id), &self.items[&there]) {
                (true, Item::Directory(names)) if !names.is_empty() => return Err(Kind::NotEmpty),
                (true, Item::File(_) | Item::Link(_)) => return Err(Kind::NotADirectory),
                (false, Item::Directory(_)) => return Err(Kind::IsADirectory),
                _ => {}
            }
            self.unname(&target);
            self.sweep(there);
        }
        self.unname(&source);
        self.name(&target, id);
        Ok(id)
    }

    pub(super) fn remove(
        &mut self,
        at: &Where,
        what: Removal,
        skip_trash: bool,
        now: Timestamp,
    ) -> Result<()> {
        let slot = self.slot(at, Kind::NotPermitted)?;
        let id = slot.item.ok_or(Kind::NotFound)?;
        match (what, &self.items[&id]) {
            (Removal::File, Item::Directory(_)) => return Err(Kind::IsADirectory),
            (Removal::EmptyDirectory, Item::File(_) | Item::Link(_)) => {
                return Err(Kind::NotADirectory);
            }
            (Removal::EmptyDirectory, Item::Directory(names)) if !names.is_empty() => {
                return Err(Kind::NotEmpty);
            }
            _ => {}
        }
        if self.has_snapshots(id) {
            return Err(Kind::StillNeeded);
        }
        let above = self.path_of(slot.dir).unwrap();
        self.unname(&slot);
        let kept = self.policy(id).trash;
        if skip_trash || kept.is_zero() {
            self.sweep(id);
            return Ok(());
        }
        let path = [above, vec![slot.name]].concat().join("/");
        let expires = now.saturating_add(kept);
        let entry = Trashed {
            inode: id,
            path: format!("/{path}"),
            expires,
        };
        self.trash.insert(self.next_trash, entry);
        self.next_trash += 1;
        Ok(())
    }

    pub(super) fn restore(&mut self, trash: u64, to: Option<&Where>) -> Result<u64> {
        let entry = self.trash.get(&trash).ok_or(Kind::NotFound)?.clone();
        let names = entry.path.split('/').skip(1).map(str::to_owned).collect();
        let was = Where { base: 1, names };
        let slot = self.free(to.unwrap_or(&was))?;
        self.trash.remove(&trash);
        self.name(&slot, entry.inode);
        Ok(entry.inode)
    }

    pub(super) fn drop_trash(&mut self, trash: u64) -> Result<()> {
        let entry = self.trash.remove(&trash).ok_or(Kind::NotFound)?;
        self.sweep(entry.inode);
        Ok(())
    }

    pub(super) fn expire(&mut self, now: Timestamp) {
        let due = self.trash.iter().filter(|(_, entry)| entry.expires <= now);
        for trash in due.map(|(trash, _)| *trash).collect::<Vec<_>>() {
            self.drop_trash(trash).unwrap();
        }
    }
}

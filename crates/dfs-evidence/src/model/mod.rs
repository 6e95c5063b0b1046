//! A namespace as it should be: sequential, plain, in memory, cheap to copy.
//!
//! It knows nothing of how the masters do it. It is told one operation after the other and what
//! each gave, and says whether that is right. Ids are the cluster's choice: the model calls an
//! item by the number of the operation that made it, and learns its id when one is first seen.
//! So the same operations in another order give an equal namespace, and an operation whose answer
//! was lost can be part of it.
//!
//! Files have no bytes here; those of one writer have, in a [`Family`]. Symbolic links and
//! policies are left out; what is removed goes to the trash unless the operation says otherwise,
//! and stays there.

mod admit;
mod family;
mod footprint;
mod plan;
mod shared;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};

pub use admit::Seen;
pub use family::Family;
pub use footprint::Footprint;
use footprint::Key;
use plan::Plan;
use shared::{Numbered, Shared};

use crate::history::Op;

/// What the root is called, and all that was there at the beginning is called less than this.
const FIRST: u64 = 1 << 40;
const ROOT: u64 = 0;
/// Tells ids of the trash from those of inodes.
const OF_TRASH: u64 = 1 << 63;

/// Why an operation is refused, by the stable name of the masters' reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// All reasons that the model knows of. Others depend on what it does not hold.
const REASONS: [&str; 7] = [
    "NotFound",
    "Exists",
    "NotADirectory",
    "IsADirectory",
    "NotEmpty",
    "IntoItself",
    "NotPermitted",
];

/// What an operation gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gave {
    /// Attributes of an item.
    Node(u64),
    /// The names in a directory.
    Names(u64),
    /// An entry of the trash, or none.
    Trash(Option<u64>),
}

/// Directories, files, and what was removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace {
    items: Numbered<Item>,
    trash: Numbered<Trashed>,
    /// By the ids of the cluster.
    inodes: Numbered<u64>,
    trash_ids: Numbered<u64>,
    gone: Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Item {
    inode: Option<u64>,
    /// Names and entries of the trash that lead to it.
    links: u64,
    directory: Option<Directory>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Directory {
    names: Shared<String, u64>,
    directories: u64,
    /// The directory it is in, and its name there.
    place: Option<(u64, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Trashed {
    item: u64,
    path: String,
    id: Option<u64>,
}

/// The ids of items that are gone. They matter to nothing but ids that come again, so namespaces
/// that differ in them alone are equal.
#[derive(Debug, Clone, Default)]
struct Gone(Numbered<()>);

impl PartialEq for Gone {
    fn eq(&self, _: &Gone) -> bool {
        true
    }
}

impl Eq for Gone {}

impl Hash for Gone {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Default for Namespace {
    fn default() -> Namespace {
        Namespace::new()
    }
}

impl Namespace {
    /// With nothing but the root.
    pub fn new() -> Namespace {
        let root = Item {
            inode: None,
            links: 1,
            directory: Some(Directory::default()),
        };
        let mut items = Numbered::default();
        items.insert(ROOT, root);
        Namespace {
            items,
            trash: Numbered::default(),
            inodes: Numbered::default(),
            trash_ids: Numbered::default(),
            gone: Gone::default(),
        }
    }

    /// With these directories, each after the one it is in, and these files.
    pub fn with<D: AsRef<str>, F: AsRef<str>>(directories: &[D], files: &[F]) -> Namespace {
        let mut namespace = Namespace::new();
        let directories = directories.iter().map(|path| Op::Mkdir {
            path: path.as_ref().to_owned(),
        });
        let files = files.iter().map(|path| Op::Create {
            path: path.as_ref().to_owned(),
            exclusive: true,
        });
        for (number, op) in (ROOT + 1..).zip(directories.chain(files)) {
            if let Ok(plan) = namespace.plan(&op, &mut Footprint::off()) {
                namespace.carry_out(&plan, number);
            }
        }
        namespace
    }

    /// Carries out the operation of a number, from 0. One that is refused changes nothing.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn apply(&mut self, op: &Op, number: u64) -> Result<Gave, Refused> {
        let plan = self.plan(op, &mut Footprint::off())?;
        Ok(self.carry_out(&plan, FIRST + number))
    }

    /// Carries out an operation whose answer nobody got. What it put into the trash is gone: to
    /// restore it takes the id that was in the answer.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn apply_unheard(&mut self, op: &Op, number: u64) -> Result<(), Refused> {
        if let Gave::Trash(Some(trash)) = self.apply(op, number)?
            && let Some(entry) = self.trash.remove(trash)
        {
            self.lose(entry.item);
        }
        Ok(())
    }

    /// What the operation would touch now, and whether it would be refused.
    pub fn touch(&self, op: &Op) -> (Footprint, Result<(), Refused>) {
        let mut footprint = Footprint::on();
        let planned = self.plan(op, &mut footprint).map(drop);
        (footprint, planned)
    }

    fn item(&self, item: u64) -> Option<&Directory> {
        self.items.get(item)?.directory.as_ref()
    }

    fn is_directory(&self, item: u64) -> bool {
        self.item(item).is_some()
    }

    fn change_directory(&mut self, item: u64, change: impl FnOnce(&mut Directory)) {
        self.items
            .change(item, |item| item.directory.as_mut().map(change));
    }

    fn carry_out(&mut self, plan: &Plan<'_>, fresh: u64) -> Gave {
        match plan {
            Plan::Show(gave) => *gave,
            Plan::Make {
                dir,
                name,
                directory,
            } => {
                let item = Item {
                    inode: None,
                    links: 1,
                    directory: directory.then(Directory::default),
                };
                self.items.insert(fresh, item);
                self.enter(*dir, name, fresh);
                Gave::Node(fresh)
            }
            Plan::Link { item, dir, name } => {
                self.items.change(*item, |item| item.links += 1);
                self.enter(*dir, name, *item);
                Gave::Node(*item)
            }
            Plan::Move {
                item,
                from: (from, name),
                to: (to, new_name),
                replaced,
            } => {
                if let Some(replaced) = replaced {
                    self.leave(*to, new_name, *replaced);
                    self.drop_link(*replaced);
                }
                self.leave(*from, name, *item);
                self.enter(*to, new_name, *item);
                Gave::Node(*item)
            }
            Plan::Remove {
                item,
                dir,
                name,
                kept,
            } => {
                self.leave(*dir, name, *item);
                let Some(path) = kept else {
                    self.drop_link(*item);
                    return Gave::Trash(None);
                };
                let (item, path) = (*item, path.clone());
                let id = None;
                self.trash.insert(fresh, Trashed { item, path, id });
                Gave::Trash(Some(fresh))
            }
            Plan::Restore { trash, dir, name } => {
                let entry = self.trash.remove(*trash);
                if let Some(id) = entry.as_ref().and_then(|entry| entry.id) {
                    self.trash_ids.remove(id);
                    self.gone.0.insert(id | OF_TRASH, ());
                }
                let item = entry.map_or(ROOT, |entry| entry.item);
                self.enter(*dir, name, item);
                Gave::Node(item)
            }
        }
    }

    fn enter(&mut self, dir: u64, name: &str, item: u64) {
        let is_directory = self.is_directory(item);
        self.change_directory(dir, |above| {
            above.names.insert(name.to_owned(), item);
            above.directories += u64::from(is_directory);
        });
        if is_directory {
            self.change_directory(item, |it| it.place = Some((dir, name.to_owned())));
        }
    }

    fn leave(&mut self, dir: u64, name: &str, item: u64) {
        let is_directory = self.is_directory(item);
        self.change_directory(dir, |above| {
            above.names.remove(name);
            above.directories -= u64::from(is_directory);
        });
        if is_directory {
            self.change_directory(item, |it| it.place = None);
        }
    }

    /// Takes away what nothing leads to but one thing that is out of reach, with all below. What
    /// has other names keeps its count: it is still there.
    fn lose(&mut self, item: u64) {
        let mut doomed = vec![item];
        while let Some(item) = doomed.pop() {
            if self.items.get(item).is_some_and(|item| item.links == 1) {
                doomed.extend(self.take(item));
            }
        }
    }

    /// Takes an item away and gives what is below it.
    fn take(&mut self, item: u64) -> Vec<u64> {
        let taken = self.items.remove(item);
        if let Some(id) = taken.as_ref().and_then(|item| item.inode) {
            self.inodes.remove(id);
            self.gone.0.insert(id, ());
        }
        let directory = taken.and_then(|item| item.directory);
        let names = directory.iter().flat_map(|d| d.names.iter());
        names.map(|(_, below)| *below).collect()
    }

    /// Takes one of the things that lead to an item away, and the item with the last of them.
    fn drop_link(&mut self, item: u64) {
        let mut doomed = vec![item];
        while let Some(item) = doomed.pop() {
            let left = self.items.change(item, |item| {
                item.links = item.links.saturating_sub(1);
                item.links
            });
            if left == Some(0) {
                doomed.extend(self.take(item));
            }
        }
    }
}

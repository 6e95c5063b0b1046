//! What an operation would do: all its checks, in the order of the masters, and no effect.

use super::{Footprint, Gave, Key, Namespace, ROOT, Refused};
use crate::history::Op;

/// What is left to do when all checks are passed.
pub(super) enum Plan<'a> {
    /// Nothing but an answer.
    Show(Gave),
    Make {
        dir: u64,
        name: &'a str,
        directory: bool,
    },
    Link {
        item: u64,
        dir: u64,
        name: &'a str,
    },
    Move {
        item: u64,
        from: (u64, &'a str),
        to: (u64, &'a str),
        replaced: Option<u64>,
    },
    Remove {
        item: u64,
        dir: u64,
        name: &'a str,
        /// The path, if it goes to the trash.
        kept: Option<String>,
    },
    Restore {
        trash: u64,
        dir: u64,
        name: String,
    },
}

/// A name in a directory, and what it leads to.
struct Slot<'a> {
    dir: u64,
    name: &'a str,
    item: Option<u64>,
}

const NOT_FOUND: Refused = Refused("NotFound");
const EXISTS: Refused = Refused("Exists");
const IS_A_DIRECTORY: Refused = Refused("IsADirectory");
const NOT_A_DIRECTORY: Refused = Refused("NotADirectory");
const NOT_EMPTY: Refused = Refused("NotEmpty");
const NOT_PERMITTED: Refused = Refused("NotPermitted");

#[derive(Clone, Copy, PartialEq)]
enum Removal {
    File,
    EmptyDirectory,
    Tree,
}

impl Namespace {
    pub(super) fn plan<'a>(
        &self,
        op: &'a Op,
        touched: &mut Footprint,
    ) -> Result<Plan<'a>, Refused> {
        match op {
            Op::Mkdir { path } => self.make(self.free(path, touched)?, true, touched),
            Op::Create { path, exclusive } => self.create(path, *exclusive, touched),
            Op::Link { from, to } => self.link(from, to, touched),
            Op::Rename { from, to, replace } => self.rename(from, to, *replace, touched),
            Op::Unlink { path, skip_trash } => {
                self.remove(path, Removal::File, *skip_trash, touched)
            }
            Op::Rmdir { path } => self.remove(path, Removal::EmptyDirectory, true, touched),
            Op::RemoveTree { path, skip_trash } => {
                self.remove(path, Removal::Tree, *skip_trash, touched)
            }
            Op::Restore { trash, to } => self.restore(*trash, to.as_deref(), touched),
            Op::Stat { path } => {
                let item = self.find(path, touched)?;
                touched.read(|| Key::Node(item));
                Ok(Plan::Show(Gave::Node(item)))
            }
            Op::List { path } => {
                let item = self.find(path, touched)?;
                touched.read(|| Key::Node(item));
                match self.is_directory(item) {
                    true => Ok(Plan::Show(Gave::Names(item))),
                    false => Err(NOT_A_DIRECTORY),
                }
            }
            _ => Err(Refused("not of the namespace")),
        }
    }

    /// The name that a path ends in; none for the root.
    fn walk<'a>(
        &self,
        path: &'a str,
        touched: &mut Footprint,
    ) -> Result<Option<Slot<'a>>, Refused> {
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        let mut dir = ROOT;
        while let Some(name) = names.next() {
            let directory = self.item(dir).ok_or(NOT_A_DIRECTORY)?;
            touched.read(|| Key::Name(dir, name.to_owned()));
            let item = directory.names.get(name).copied();
            if names.peek().is_none() {
                return Ok(Some(Slot { dir, name, item }));
            }
            dir = item.ok_or(NOT_FOUND)?;
        }
        Ok(None)
    }

    fn slot<'a>(
        &self,
        path: &'a str,
        of_root: Refused,
        touched: &mut Footprint,
    ) -> Result<Slot<'a>, Refused> {
        self.walk(path, touched)?.ok_or(of_root)
    }

    fn free<'a>(&self, path: &'a str, touched: &mut Footprint) -> Result<Slot<'a>, Refused> {
        let slot = self.slot(path, EXISTS, touched)?;
        match slot.item {
            None => Ok(slot),
            Some(_) => Err(EXISTS),
        }
    }

    fn find(&self, path: &str, touched: &mut Footprint) -> Result<u64, Refused> {
        match self.walk(path, touched)? {
            None => Ok(ROOT),
            Some(slot) => slot.item.ok_or(NOT_FOUND),
        }
    }

    fn make<'a>(
        &self,
        slot: Slot<'a>,
        directory: bool,
        touched: &mut Footprint,
    ) -> Result<Plan<'a>, Refused> {
        let Slot { dir, name, .. } = slot;
        touch_entry(dir, name, touched);
        Ok(Plan::Make {
            dir,
            name,
            directory,
        })
    }

    fn create<'a>(
        &self,
        path: &'a str,
        exclusive: bool,
        touched: &mut Footprint,
    ) -> Result<Plan<'a>, Refused> {
        let of_root = if exclusive { EXISTS } else { IS_A_DIRECTORY };
        let slot = self.slot(path, of_root, touched)?;
        match slot.item {
            None => self.make(slot, false, touched),
            Some(_) if exclusive => Err(EXISTS),
            Some(item) if self.is_directory(item) => Err(IS_A_DIRECTORY),
            Some(item) => {
                touched.read(|| Key::Node(item));
                Ok(Plan::Show(Gave::Node(item)))
            }
        }
    }

    fn link<'a>(
        &self,
        from: &str,
        to: &'a str,
        touched: &mut Footprint,
    ) -> Result<Plan<'a>, Refused> {
        let item = self.find(from, touched)?;
        if self.is_directory(item) {
            return Err(IS_A_DIRECTORY);
        }
        let Slot { dir, name, .. } = self.free(to, touched)?;
        touched.read(|| Key::Node(item));
        touched.change(|| Key::Node(item));
        touch_entry(dir, name, touched);
        Ok(Plan::Link { item, dir, name })
    }

    fn rename<'a>(
        &self,
        from: &'a str,
        to: &'a str,
        replace: bool,
        touched: &mut Footprint,
    ) -> Result<Plan<'a>, Refused> {
        let source = self.slot(from, NOT_PERMITTED, touched)?;
        let item = source.item.ok_or(NOT_FOUND)?;
        let target = self.slot(to, NOT_PERMITTED, touched)?;
        let is_directory = self.is_directory(item);
        if is_directory && self.above(target.dir, touched).any(|above| above == item) {
            return Err(Refused("IntoItself"));
        }
        touched.read(|| Key::Node(item));
        if let Some(there) = target.item {
            if !replace {
                return Err(EXISTS);
            }
            if there == item {
                return Ok(Plan::Show(Gave::Node(item)));
            }
            touched.read(|| Key::Node(there));
            touched.change(|| Key::Node(there));
            match (is_directory, self.item(there)) {
                (true, Some(there)) if !there.names.is_empty() => return Err(NOT_EMPTY),
                (true, None) => return Err(NOT_A_DIRECTORY),
                (false, Some(_)) => return Err(IS_A_DIRECTORY),
                _ => {}
            }
        }
        touch_entry(source.dir, source.name, touched);
        touch_entry(target.dir, target.name, touched);
        touched.change(|| Key::Place(item));
        Ok(Plan::Move {
            item,
            from: (source.dir, source.name),
            to: (target.dir, target.name),
            replaced: target.item,
        })
    }

    fn remove<'a>(
        &self,
        path: &'a str,
        what: Removal,
        skip_trash: bool,
        touched: &mut Footprint,
    ) -> Result<Plan<'a>, Refused> {
        let Slot { dir, name, item } = self.slot(path, NOT_PERMITTED, touched)?;
        let item = item.ok_or(NOT_FOUND)?;
        match (what, self.item(item)) {
            (Removal::File, Some(_)) => return Err(IS_A_DIRECTORY),
            (Removal::EmptyDirectory, None) => return Err(NOT_A_DIRECTORY),
            (Removal::EmptyDirectory, Some(directory)) => {
                touched.read(|| Key::Node(item));
                if !directory.names.is_empty() {
                    return Err(NOT_EMPTY);
                }
            }
            _ => {}
        }
        touch_entry(dir, name, touched);
        touched.change(|| Key::Node(item));
        touched.change(|| Key::Place(item));
        if skip_trash && touched.is_wanted() {
            self.touch_below(item, touched);
        }
        let kept = (!skip_trash).then(|| self.path(dir, name, touched));
        Ok(Plan::Remove {
            item,
            dir,
            name,
            kept,
        })
    }

    fn restore<'a>(
        &self,
        id: u64,
        to: Option<&str>,
        touched: &mut Footprint,
    ) -> Result<Plan<'a>, Refused> {
        // That there is none is seen, too.
        touched.read(|| Key::Trash(id));
        let trash = *self.trash_ids.get(id).ok_or(NOT_FOUND)?;
        let entry = self.trash.get(trash).ok_or(NOT_FOUND)?;
        let Slot { dir, name, .. } = self.free(to.unwrap_or(&entry.path), touched)?;
        touch_entry(dir, name, touched);
        touched.read(|| Key::Node(entry.item));
        touched.change(|| Key::Trash(id));
        touched.change(|| Key::Place(entry.item));
        let name = name.to_owned();
        Ok(Plan::Restore { trash, dir, name })
    }

    /// A directory and those above it, up to the root.
    fn above(&self, dir: u64, touched: &mut Footprint) -> impl Iterator<Item = u64> + use<> {
        let mut found = vec![dir];
        let mut here = dir;
        loop {
            touched.read(|| Key::Place(here));
            let Some((above, _)) = self.item(here).and_then(|d| d.place.as_ref()) else {
                return found.into_iter();
            };
            found.push(*above);
            here = *above;
        }
    }

    fn path(&self, dir: u64, name: &str, touched: &mut Footprint) -> String {
        let mut names = vec![name.to_owned()];
        let mut here = dir;
        loop {
            touched.read(|| Key::Place(here));
            let Some((above, name)) = self.item(here).and_then(|d| d.place.as_ref()) else {
                break;
            };
            names.push(name.clone());
            here = *above;
        }
        names.reverse();
        format!("/{}", names.join("/"))
    }

    /// All that goes with a tree.
    fn touch_below(&self, item: u64, touched: &mut Footprint) {
        for (name, below) in self.item(item).into_iter().flat_map(|d| d.names.iter()) {
            touched.change(|| Key::Name(item, name.clone()));
            touched.change(|| Key::Node(*below));
            touched.change(|| Key::Place(*below));
            self.touch_below(*below, touched);
        }
    }
}

fn touch_entry(dir: u64, name: &str, touched: &mut Footprint) {
    touched.change(|| Key::Name(dir, name.to_owned()));
    touched.change(|| Key::Node(dir));
}

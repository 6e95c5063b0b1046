//! What the files of one writer should be: what they hold, and what leads to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::history::{BLOCK_LEN, Block, Node, Op, Output};

/// Files with bytes, all names of them and all entries of the trash. One writer changes them, one
/// thing after the other, so there is no doubt what they should be.
#[derive(Debug, Clone, Default)]
pub struct Family {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    trash: BTreeMap<u64, u64>,
    made: u64,
}

#[derive(Debug, Clone, Default)]
struct File {
    inode: Option<u64>,
    blocks: Arc<Vec<Block>>,
}

impl Family {
    /// What is to be read at a path; nothing if nothing is there.
    pub fn read(&self, path: &str) -> Option<&[Block]> {
        let file = self.files.get(self.names.get(path)?)?;
        Some(&file.blocks)
    }

    /// The paths at which there is a file.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Whether these two paths lead to one file.
    pub fn is_same(&self, one: &str, other: &str) -> bool {
        let one = self.names.get(one);
        one.is_some() && one == self.names.get(other)
    }

    /// Whether nothing else leads to the file at a path: no other name, no entry of the trash.
    pub fn is_only_name(&self, path: &str) -> bool {
        let all = self.names.values().chain(self.trash.values());
        let file = self.names.get(path);
        file.is_some_and(|file| all.filter(|other| *other == file).count() == 1)
    }

    /// The entries of the trash.
    pub fn trash(&self) -> impl Iterator<Item = u64> {
        self.trash.keys().copied()
    }

    /// Whether a block is in any of the files.
    pub fn has(&self, block: &Block) -> bool {
        self.files.values().any(|file| file.blocks.contains(block))
    }

    /// Why an operation would have to be refused, if it would.
    pub fn refuses(&self, op: &Op) -> Option<&'static str> {
        let missing = |path: &String| (!self.names.contains_key(path)).then_some("NotFound");
        let taken = |path: &String| self.names.contains_key(path).then_some("Exists");
        let no_entry = |trash: &u64| (!self.trash.contains_key(trash)).then_some("NotFound");
        match op {
            Op::Append { path, .. }
            | Op::Overwrite { path, .. }
            | Op::Truncate { path, .. }
            | Op::Unlink { path, .. } => missing(path),
            Op::Link { from, to }
            | Op::Rename {
                from,
                to,
                replace: false,
            } => missing(from).or_else(|| taken(to)),
            Op::Rename { from, .. } => missing(from),
            Op::Clone { from, to, replace } => {
                missing(from).or_else(|| (!replace).then(|| taken(to)).flatten())
            }
            Op::Concat { to, from } => missing(to).or_else(|| missing(from)),
            Op::Restore { trash, to } => no_entry(trash).or_else(|| to.as_ref().and_then(taken)),
            Op::DropTrash { trash, .. } => no_entry(trash),
            _ => None,
        }
    }

    /// Carries an operation out that was done and gave `output`, as far as that is known.
    ///
    /// # Errors
    /// What is wrong with it. It is carried out as far as it can be.
    pub fn carry_out(&mut self, op: &Op, output: Option<&Output>) -> Result<(), String> {
        if let Some(reason) = self.refuses(op) {
            return Err(format!("M1: it was done, and {reason} was right"));
        }
        let offset = self.offset(op);
        let touched = self.change(op, output);
        let led_to: BTreeSet<u64> = self
            .names
            .values()
            .chain(self.trash.values())
            .copied()
            .collect();
        self.files.retain(|number, _| led_to.contains(number));
        match (op, output) {
            (_, None) => Ok(()),
            (Op::Append { .. }, Some(Output::Offset(at))) if *at != offset => Err(format!(
                "D1: an append went to block {at} and not to {offset}"
            )),
            (Op::Unlink { skip_trash, .. }, Some(Output::Trash(id)))
                if id.is_some() == *skip_trash =>
            {
                Err(format!("D4: what was removed went to the trash as {id:?}"))
            }
            (_, Some(Output::Node(node))) => self.compare(touched, node),
            _ => Ok(()),
        }
    }

    /// Where an append would go.
    fn offset(&self, op: &Op) -> u64 {
        match op {
            Op::Append { path, .. } => self.read(path).map_or(0, <[Block]>::len) as u64,
            _ => 0,
        }
    }

    /// Does it, and gives the number of the file that it was done to.
    fn change(&mut self, op: &Op, output: Option<&Output>) -> u64 {
        let number = |path: &String| self.names.get(path).copied().unwrap_or_default();
        match op {
            Op::Put { path, .. } => {
                self.made += 1;
                self.names.insert(path.clone(), self.made);
                self.write(self.made, op)
            }
            Op::Append { path, .. } | Op::Overwrite { path, .. } | Op::Truncate { path, .. } => {
                self.write(number(path), op)
            }
            Op::Clone { from, to, .. } => {
                let blocks = self.files.get(&number(from)).map(|f| Arc::clone(&f.blocks));
                self.made += 1;
                let file = File {
                    inode: None,
                    blocks: blocks.unwrap_or_default(),
                };
                self.files.insert(self.made, file);
                self.names.insert(to.clone(), self.made);
                self.made
            }
            Op::Concat { to, from } => {
                let (file, added) = (number(to), number(from));
                let added = self.files.get(&added).map(|f| Arc::clone(&f.blocks));
                self.names.remove(from);
                let file_of = self.files.entry(file).or_default();
                let mut blocks = file_of.blocks.to_vec();
                blocks.extend(added.iter().flat_map(|added| added.iter().copied()));
                file_of.blocks = Arc::new(blocks);
                file
            }
            Op::Link { from, to } => {
                let file = number(from);
                self.names.insert(to.clone(), file);
                file
            }
            Op::Rename { from, to, .. } => {
                let file = number(from);
                // Onto another name of the same file nothing happens.
                if self.names.get(to) != Some(&file) {
                    self.names.remove(from);
                    self.names.insert(to.clone(), file);
                }
                file
            }
            Op::Unlink { path, .. } => {
                let file = self.names.remove(path).unwrap_or_default();
                if let Some(Output::Trash(Some(id))) = output {
                    self.trash.insert(*id, file);
                }
                file
            }
            Op::Restore { trash, to } => {
                let file = self.trash.remove(trash).unwrap_or_default();
                self.names.extend(to.clone().map(|to| (to, file)));
                file
            }
            Op::DropTrash { trash, .. } => self.trash.remove(trash).unwrap_or_default(),
            _ => 0,
        }
    }

    fn write(&mut self, number: u64, op: &Op) -> u64 {
        let file = self.files.entry(number).or_default();
        file.blocks = Arc::new(after(&file.blocks, op));
        number
    }

    /// Compares attributes with those that the file should have, and learns its id.
    fn compare(&mut self, number: u64, seen: &Node) -> Result<(), String> {
        let led_to = self.names.values().chain(self.trash.values());
        let links = led_to.filter(|file| **file == number).count() as u64;
        let Some(file) = self.files.get_mut(&number) else {
            return Ok(());
        };
        let right = Node {
            inode: *file.inode.get_or_insert(seen.inode),
            directory: false,
            size: (file.blocks.len() * BLOCK_LEN) as u64,
            links,
        };
        match right == *seen {
            true => Ok(()),
            false => Err(format!("D1: it gave {seen:?}, and {right:?} was right")),
        }
    }
}

/// What a file holds after a write.
fn after(before: &[Block], op: &Op) -> Vec<Block> {
    let mut blocks = before.to_vec();
    let made = |file: u64, version: u64, first: u64, count: u64| {
        (first..first + count).map(move |place| Block::Data {
            file,
            version,
            place,
        })
    };
    let size = |blocks: u64| usize::try_from(blocks).unwrap_or(usize::MAX);
    match *op {
        Op::Put {
            file,
            version,
            blocks: count,
            ..
        } => made(file, version, 0, count).collect(),
        Op::Append {
            file,
            version,
            blocks: count,
            ..
        } => {
            blocks.extend(made(file, version, 0, count));
            blocks
        }
        Op::Overwrite {
            file,
            version,
            first,
            blocks: count,
            ..
        } => {
            let end = size(first + count).max(blocks.len());
            blocks.resize(end, Block::Hole);
            let places = blocks.iter_mut().skip(size(first));
            for (place, block) in places.zip(made(file, version, first, count)) {
                *place = block;
            }
            blocks
        }
        Op::Truncate { blocks: count, .. } => {
            blocks.resize(size(count), Block::Hole);
            blocks
        }
        _ => blocks,
    }
}

//! A walk through a tree in the cluster, depth first, names in order, in bounded memory: two
//! pages of entries for each level.

use dfs_core::client::{Client, ReadDir};
use dfs_core::types::query::Entry;
use dfs_core::types::{Attr, DfsPath, FileKind, InodeId};

use crate::error::{Doing, Failure, Result};

/// A walk.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    client: &'a Client,
    levels: Vec<Level>,
    /// The directory to go into next.
    enter: Option<DfsPath>,
    /// Names that begin with a dot are passed over, with what is below them.
    skip_hidden: bool,
}

#[derive(Debug)]
struct Level {
    path: DfsPath,
    entries: ReadDir,
    next: Option<Entry>,
}

/// Where a walk is.
#[derive(Debug)]
pub(crate) enum Step {
    /// At something. If it is a directory, what is in it comes next.
    At(Box<Found>),
    /// All below this directory has been seen.
    Left(DfsPath),
}

/// Something found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where it is.
    pub(crate) path: DfsPath,
    /// Its name there.
    pub(crate) name: String,
    /// What it is.
    pub(crate) attr: Attr,
    /// How far below the start, from 1.
    pub(crate) depth: usize,
    /// Nothing comes after it in its directory.
    pub(crate) is_last: bool,
}

impl Found {
    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.attr.kind == FileKind::Directory
    }

    /// Which inode it names.
    pub(crate) fn inode(&self) -> InodeId {
        self.attr.inode
    }
}

impl<'a> Walk<'a> {
    /// A walk through all that is below a directory.
    pub(crate) fn below(client: &'a Client, path: &DfsPath) -> Walk<'a> {
        Walk {
            client,
            levels: Vec::new(),
            enter: Some(path.clone()),
            skip_hidden: false,
        }
    }

    /// The same, passing over hidden names if asked to.
    pub(crate) fn skip_hidden(mut self, skip: bool) -> Walk<'a> {
        self.skip_hidden = skip;
        self
    }

    /// Does not go into the directory that was just found.
    pub(crate) fn stay_out(&mut self) {
        self.enter = None;
    }

    /// The next step; none at the end.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub(crate) async fn next(&mut self) -> Result<Option<Step>> {
        if let Some(path) = self.enter.take() {
            let entries = self.client.read_dir(&path).await;
            let mut level = Level {
                entries: entries.doing("list", &path)?,
                path,
                next: None,
            };
            level.advance(self.skip_hidden).await?;
            self.levels.push(level);
        }
        let depth = self.levels.len();
        let Some(level) = self.levels.last_mut() else {
            return Ok(None);
        };
        let Some(entry) = level.next.take() else {
            let left = self.levels.pop().map(|level| Step::Left(level.path));
            return Ok(left);
        };
        level.advance(self.skip_hidden).await?;
        let found = Found {
            path: child(&level.path, &entry)?,
            name: entry.name.to_string(),
            attr: attr_of(&level.path, entry)?,
            depth,
            is_last: level.next.is_none(),
        };
        self.enter = found.is_directory().then(|| found.path.clone());
        Ok(Some(Step::At(Box::new(found))))
    }
}

impl Level {
    async fn advance(&mut self, skip_hidden: bool) -> Result<()> {
        loop {
            let entry = self.entries.next_entry().await;
            self.next = entry.doing("list", &self.path)?;
            match &self.next {
                Some(entry) if skip_hidden && entry.name.as_str().starts_with('.') => {}
                _ => return Ok(()),
            }
        }
    }
}

/// The path of an entry of `directory`.
///
/// # Errors
/// It is longer than a path can be; what is there is reached from a directory nearer to it.
pub(crate) fn child(directory: &DfsPath, entry: &Entry) -> Result<DfsPath> {
    directory.join(entry.name.clone()).map_err(|error| {
        Failure::refused(format!("cannot go into `{directory}` any further: {error}"))
    })
}

/// The attributes of an entry of `directory` that was listed with them.
///
/// # Errors
/// The master left them out.
pub(crate) fn attr_of(directory: &DfsPath, entry: Entry) -> Result<Attr> {
    let name = entry.name;
    entry.attr.ok_or_else(|| {
        Failure::refused(format!(
            "cannot list `{directory}`: the master did not say what `{name}` is"
        ))
    })
}

//! From this machine into the cluster.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use dfs_core::client::{Client, PutOptions};
use dfs_core::types::attr::SetTime;
use dfs_core::types::change::NewAttr;
use dfs_core::types::{AttrChange, DfsPath, FileKind, Mode, Name};

use super::stream::Local;
use super::target::{Target, stat};
use super::{Crew, JOBS};
use crate::error::{Doing, Failure, Result};
use crate::local;
use crate::output::Tally;
use crate::progress::Progress;
use crate::text::when::from_system;

/// How to upload.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    /// Where to.
    pub(crate) client: &'a Client,
    /// Who is told.
    pub(crate) tally: &'a Tally<'a>,
    /// Who shows how far it is.
    pub(crate) progress: &'a Progress,
    /// Directories as well.
    pub(crate) recursive: bool,
    /// Times and special permissions as well.
    pub(crate) preserve: bool,
    /// Files that exist may be replaced.
    pub(crate) replace: bool,
    /// Files at a time.
    pub(crate) jobs: Option<usize>,
}

/// Something of this machine, and where it goes.
#[derive(Debug)]
struct Item {
    local: PathBuf,
    meta: Metadata,
    remote: DfsPath,
    /// Named on the command line: then it may also be a pipe or a device.
    is_named: bool,
}

impl Upload<'_> {
    /// Uploads everything.
    ///
    /// # Errors
    /// There is no point in going on; other failures are told one by one.
    pub(crate) async fn run(&self, sources: &[PathBuf], target: &Target) -> Result<()> {
        let mut crew = Crew::new(self.jobs.unwrap_or(JOBS), self.tally);
        let mut directories = Vec::new();
        let mut pending = Vec::new();
        for source in sources.iter().rev() {
            pending.extend(self.tally.take(self.named(source, target))?);
        }
        while let Some(item) = pending.pop() {
            let kind = item.meta.file_type();
            if kind.is_dir() {
                let children = self.make_directory(&item).await;
                for child in self.tally.take(children)?.unwrap_or_default().iter().rev() {
                    pending.extend(self.tally.take(self.child(&item, child))?);
                }
                directories.push(item);
            } else if kind.is_symlink() {
                self.tally.take(self.put_link(&item).await)?;
            } else if kind.is_file() || (item.is_named && !kind.is_socket()) {
                self.progress.expect(item.meta.len());
                crew.add(self.put_file(item)).await?;
            } else {
                let path = item.local.display();
                let failure = format!("cannot store `{path}`: neither file, directory nor link");
                self.tally.take::<()>(Err(Failure::refused(failure)))?;
            }
        }
        crew.finish().await?;
        // The deepest first: what is changed in a directory changes its time.
        for directory in directories.iter().rev() {
            self.tally.take(self.finish_directory(directory).await)?;
        }
        Ok(())
    }

    /// Uploads what arrives on standard input.
    ///
    /// # Errors
    /// It cannot be read or stored.
    pub(crate) async fn run_stdin(&self, target: &Target) -> Result<()> {
        let path = target.path();
        if target.is_directory() {
            return Err(Failure::refused(format!("`{path}` is a directory"))
                .hint("standard input has no name: give the path of a file"));
        }
        let mut source = Local::new(tokio::io::stdin(), self.progress);
        let options = PutOptions::new(self.replace);
        let result = self.client.put(path, &mut source, options).await;
        source.judge(result, ("read", "standard input"), ("write", path))?;
        Ok(())
    }

    fn named(&self, source: &Path, target: &Target) -> Result<Item> {
        let shown = source.display().to_string();
        let meta = local::stat(source, !self.recursive).doing("read", &shown)?;
        if meta.is_dir() && !self.recursive {
            return Err(Failure::refused(format!("`{shown}` is a directory"))
                .hint("`dfs put -r` stores directories"));
        }
        let name = source.file_name().map(|name| name_of(name, source));
        Ok(Item {
            local: source.to_owned(),
            meta,
            remote: target.place(name.transpose()?)?,
            is_named: true,
        })
    }

    fn child(&self, directory: &Item, path: &Path) -> Result<Item> {
        let name = path.file_name().unwrap_or_default();
        let joined = directory.remote.join(name_of(name, path)?);
        let remote = joined.map_err(|error| {
            Failure::refused(format!("cannot store `{}`: {error}", path.display()))
        })?;
        Ok(Item {
            local: path.to_owned(),
            meta: local::stat(path, false).doing("read", path.display())?,
            remote,
            is_named: false,
        })
    }

    /// Makes the directory in the cluster; what is in the local one.
    async fn make_directory(&self, item: &Item) -> Result<Vec<PathBuf>> {
        let children = local::list(&item.local).doing("read", item.local.display())?;
        let there = stat(self.client, &item.remote, true).await?;
        if there.is_none_or(|attr| attr.kind != FileKind::Directory) {
            // It is filled before it gets its final permissions.
            let attr = self.new_attr(item.meta.mode() | 0o700);
            let made = self.client.create_dir_with(&item.remote, attr, false).await;
            made.doing("make directory", &item.remote)?;
        }
        Ok(children)
    }

    async fn finish_directory(&self, item: &Item) -> Result<()> {
        if self.preserve || self.permissions(item.meta.mode()) & 0o700 != 0o700 {
            self.set_attributes(item, true).await?;
        }
        Ok(())
    }

    async fn put_file(&self, item: Item) -> Result<()> {
        let shown = item.local.display().to_string();
        let file = local::open(&item.local).await.doing("read", &shown)?;
        let is_regular = item.meta.is_file();
        let options = PutOptions {
            attr: Some(self.new_attr(item.meta.mode())),
            size_hint: is_regular.then_some(item.meta.len()),
            ..PutOptions::new(self.replace)
        };
        let mut source = Local::new(tokio::fs::File::from_std(file), self.progress);
        let result = self.client.put(&item.remote, &mut source, options).await;
        source.judge(result, ("read", &shown), ("write", &item.remote))?;
        if self.preserve && is_regular {
            self.set_attributes(&item, true).await?;
        }
        Ok(())
    }

    async fn put_link(&self, item: &Item) -> Result<()> {
        let shown = item.local.display();
        let link = local::read_link(&item.local).doing("read", shown)?;
        let Some(link) = link.to_str() else {
            let text = format!(
                "cannot store `{}`: its target is not UTF-8",
                item.local.display()
            );
            return Err(Failure::refused(text));
        };
        let there = stat(self.client, &item.remote, false).await?;
        if self.replace && there.is_some_and(|attr| attr.kind == FileKind::Symlink) {
            let removed = self.client.remove_file(&item.remote).await;
            removed.doing("replace", &item.remote)?;
        }
        let made = self.client.symlink(link, &item.remote).await;
        made.doing("write", &item.remote)?;
        match self.preserve {
            true => self.set_attributes(item, false).await,
            false => Ok(()),
        }
    }

    async fn set_attributes(&self, item: &Item, with_mode: bool) -> Result<()> {
        let time = |time: std::io::Result<_>| time.ok().map(from_system).map(SetTime::At);
        let change = AttrChange {
            mode: with_mode.then(|| Mode::new(self.permissions(item.meta.mode()))),
            accessed: time(item.meta.accessed()).filter(|_| self.preserve),
            modified: time(item.meta.modified()).filter(|_| self.preserve),
            ..AttrChange::default()
        };
        let set = self.client.set_attr(&item.remote, change, false).await;
        set.map(drop).doing("set attributes of", &item.remote)
    }

    /// The permissions that are kept: special ones only if asked for.
    fn permissions(&self, mode: u32) -> u32 {
        mode & if self.preserve { 0o7777 } else { 0o777 }
    }

    fn new_attr(&self, mode: u32) -> NewAttr {
        let identity = self.client.config().identity;
        let mut attr = identity.attr(Mode::new(self.permissions(mode)));
        if self.preserve {
            attr.umask = Mode::new(0);
        }
        attr
    }
}

/// The name of a local file as one of the cluster.
fn name_of(name: &std::ffi::OsStr, path: &Path) -> Result<Name> {
    let refuse =
        |reason: String| Failure::refused(format!("cannot store `{}`: {reason}", path.display()));
    let name = name.to_str().ok_or_else(|| {
        refuse("its name is not UTF-8".to_owned())
            .hint("rename it, or store it from standard input")
    })?;
    Name::new(name).map_err(|error| refuse(error.to_string()))
}

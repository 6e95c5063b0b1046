//! Within the cluster.

use dfs_core::client::{Client, PutOptions};
use dfs_core::types::{Attr, DfsPath, FileKind};

use super::target::stat;
use super::{Crew, JOBS};
use crate::error::{Doing, Failure, Result};
use crate::output::Tally;
use crate::walk::{Step, Walk};

/// How to copy.
#[derive(Debug)]
pub(crate) struct Copy<'a> {
    /// Where.
    pub(crate) client: &'a Client,
    /// Who is told.
    pub(crate) tally: &'a Tally<'a>,
    /// Directories as well.
    pub(crate) recursive: bool,
    /// Files that exist may be replaced.
    pub(crate) replace: bool,
    /// Files share their bytes.
    pub(crate) share: bool,
}

impl Copy<'_> {
    /// Copies `from` to `to`, with all below it.
    ///
    /// # Errors
    /// There is no point in going on; failures further down are told one by one.
    pub(crate) async fn run(&self, from: &DfsPath, to: &DfsPath) -> Result<()> {
        let attr = match self.recursive {
            true => self.client.symlink_metadata(from).await,
            false => self.client.metadata(from).await,
        };
        let attr = attr.doing("read", from)?;
        let there = stat(self.client, to, true).await?;
        if there.is_some_and(|there| there.inode == attr.inode) {
            return Err(Failure::refused(format!(
                "`{from}` and `{to}` are the same"
            )));
        }
        match attr.kind {
            FileKind::File => self.copy_file(from.clone(), to.clone()).await,
            FileKind::Symlink => self.copy_link(from, to).await,
            FileKind::Directory if !self.recursive => {
                Err(Failure::refused(format!("`{from}` is a directory"))
                    .hint("`dfs cp -r` copies directories"))
            }
            FileKind::Directory if to.starts_with(from) => Err(Failure::refused(format!(
                "cannot copy `{from}` into itself, to `{to}`"
            ))),
            FileKind::Directory => self.copy_directory(from, &attr, to).await,
        }
    }

    async fn copy_directory(&self, from: &DfsPath, attr: &Attr, to: &DfsPath) -> Result<()> {
        let mut crew = Crew::new(JOBS, self.tally);
        let mut walk = Walk::below(self.client, from);
        self.make_directory(attr, to).await?;
        let mut here = to.clone();
        while let Some(step) = walk.next().await? {
            let found = match step {
                Step::At(found) => *found,
                Step::Left(_) => {
                    here = here.parent().unwrap_or_else(DfsPath::root);
                    continue;
                }
            };
            let name = found.path.name().cloned();
            let target = name.map_or_else(|| Ok(here.clone()), |name| here.join(name));
            let target = target.map_err(|error| {
                Failure::refused(format!("cannot copy `{}`: {error}", found.path))
            })?;
            match found.attr.kind {
                FileKind::File => crew.add(self.copy_file(found.path, target)).await?,
                FileKind::Symlink => {
                    self.tally
                        .take(self.copy_link(&found.path, &target).await)?;
                }
                FileKind::Directory => {
                    let made = self.make_directory(&found.attr, &target).await;
                    match self.tally.take(made)? {
                        Some(()) => here = target,
                        None => walk.stay_out(),
                    }
                }
            }
        }
        crew.finish().await
    }

    async fn make_directory(&self, attr: &Attr, to: &DfsPath) -> Result<()> {
        let there = stat(self.client, to, true).await?;
        if there.is_some_and(|there| there.kind == FileKind::Directory) {
            return Ok(());
        }
        let new = self.client.config().identity.attr(attr.mode);
        let made = self.client.create_dir_with(to, new, false).await;
        made.map(drop).doing("make directory", to)
    }

    async fn copy_file(&self, from: DfsPath, to: DfsPath) -> Result<()> {
        let copied = match self.share {
            true => self
                .client
                .clone_file(&from, &to, self.replace)
                .await
                .map(drop),
            false => {
                let options = PutOptions::new(self.replace);
                self.client.copy(&from, &to, options).await.map(drop)
            }
        };
        copied.doing("copy", format_args!("{from}` to `{to}"))
    }

    async fn copy_link(&self, from: &DfsPath, to: &DfsPath) -> Result<()> {
        let target = self.client.read_link(from).await.doing("read", from)?;
        let made = self.client.symlink(target, to).await;
        made.map(drop).doing("write", to)
    }
}

//! From the cluster to this machine.

use std::path::{Path, PathBuf};

use dfs_core::client::{Client, GetOptions};
use dfs_core::types::{Attr, DfsPath, FileKind};
use tokio::io::AsyncWriteExt;

use super::stream::Local;
use super::{Crew, JOBS};
use crate::error::{Doing, Failure, Result};
use crate::local::{self, Part};
use crate::output::Tally;
use crate::progress::Progress;
use crate::text::when::to_system;
use crate::walk::{Step, Walk};

/// How to download.
#[derive(Debug)]
pub(crate) struct Download<'a> {
    /// Where from.
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

/// A file of the cluster, and where it goes.
struct Item {
    remote: DfsPath,
    attr: Attr,
    local: PathBuf,
    /// A local link there is followed: it was named on the command line. Others are not, or
    /// links that were got before would lead what comes after them out of the target.
    follow: bool,
}

impl Download<'_> {
    /// Downloads everything into or to `target`.
    ///
    /// # Errors
    /// There is no point in going on; other failures are told one by one.
    pub(crate) async fn run(&self, sources: &[DfsPath], target: &Path) -> Result<()> {
        let into = target.is_dir();
        if !into && (sources.len() > 1 || ends_in_slash(target)) {
            let shown = target.display();
            return Err(Failure::refused(format!("`{shown}` is not a directory")));
        }
        for source in sources {
            let local = match source.name() {
                Some(name) if into => target.join(name.as_str()),
                _ => target.to_owned(),
            };
            let done = self.one(source, local, !into).await;
            self.tally.take(done)?;
        }
        Ok(())
    }

    async fn one(&self, source: &DfsPath, local: PathBuf, follow: bool) -> Result<()> {
        let attr = match self.recursive {
            true => self.client.symlink_metadata(source).await,
            false => self.client.metadata(source).await,
        };
        let attr = attr.doing("read", source)?;
        let item = Item {
            remote: source.clone(),
            attr,
            local,
            follow: follow || source.name().is_none(),
        };
        match item.attr.kind {
            FileKind::File => {
                self.progress.expect(item.attr.size);
                self.get_file(item).await
            }
            FileKind::Symlink => self.get_link(&item).await,
            FileKind::Directory if self.recursive => self.get_directory(item).await,
            FileKind::Directory => Err(Failure::refused(format!("`{source}` is a directory"))
                .hint(format!("`dfs get -r {source}` gets it with its contents"))),
        }
    }

    async fn get_directory(&self, top: Item) -> Result<()> {
        let mut crew = Crew::new(self.jobs.unwrap_or(JOBS), self.tally);
        let mut walk = Walk::below(self.client, &top.remote);
        make_directory(&top)?;
        let mut here = top.local.clone();
        let mut directories = vec![top];
        while let Some(step) = walk.next().await? {
            let found = match step {
                Step::At(found) => *found,
                Step::Left(_) => {
                    here.pop();
                    continue;
                }
            };
            let item = Item {
                local: here.join(&found.name),
                remote: found.path,
                attr: found.attr,
                follow: false,
            };
            match item.attr.kind {
                FileKind::File => {
                    self.progress.expect(item.attr.size);
                    crew.add(self.get_file(item)).await?;
                }
                FileKind::Symlink => {
                    self.tally.take(self.get_link(&item).await)?;
                }
                FileKind::Directory => match self.tally.take(make_directory(&item))? {
                    Some(()) => {
                        here.clone_from(&item.local);
                        directories.push(item);
                    }
                    None => walk.stay_out(),
                },
            }
        }
        crew.finish().await?;
        // The deepest first: what is changed in a directory changes its time.
        for directory in directories.iter().rev().filter(|_| self.preserve) {
            let Item { local, attr, .. } = directory;
            let set = local::set_attributes(local, attr.mode.bits(), to_system(attr.modified));
            self.tally
                .take(set.doing("set attributes of", local.display()))?;
        }
        Ok(())
    }

    async fn get_file(&self, item: Item) -> Result<()> {
        let shown = item.local.display().to_string();
        let there = local::stat(&item.local, item.follow).ok();
        if there.is_some() && !self.replace {
            return Err(Failure::refused(format!("`{shown}` exists already")));
        }
        if there.is_some_and(|meta| is_special(&meta)) {
            let file = local::open_special(&item.local)
                .await
                .doing("write", &shown)?;
            return self.fetch(&item.remote, file, &shown).await.map(drop);
        }
        let mode = item.attr.mode.bits();
        let part =
            Part::create(&item.local, mode & 0o777 | 0o600, item.follow).doing("write", &shown)?;
        let file = part.file.try_clone().doing("write", &shown)?;
        self.fetch(&item.remote, file, &shown).await?;
        let finished = match self.preserve {
            true => part.set_attributes(mode, to_system(item.attr.modified)),
            false => Ok(()),
        };
        finished
            .and_then(|()| part.publish())
            .doing("write", &shown)
    }

    async fn fetch(&self, remote: &DfsPath, file: std::fs::File, shown: &str) -> Result<()> {
        let mut sink = Local::new(tokio::fs::File::from_std(file), self.progress);
        let result = self
            .client
            .get(remote, &mut sink, GetOptions::default())
            .await;
        let (_, mut file) = sink.judge(result, ("write", shown), ("read", remote))?;
        // What the machine could not take shows here at the latest.
        file.flush().await.doing("write", shown)
    }

    async fn get_link(&self, item: &Item) -> Result<()> {
        let target = self.client.read_link(&item.remote).await;
        let target = target.doing("read", &item.remote)?;
        if !self.replace && local::stat(&item.local, false).is_ok() {
            let text = format!("`{}` exists already", item.local.display());
            return Err(Failure::refused(text));
        }
        local::symlink(&target, &item.local).doing("write", item.local.display())
    }
}

/// Writes a file of the cluster to standard output.
///
/// # Errors
/// It cannot be read, or nobody wants more of it.
pub(crate) async fn to_stdout(client: &Client, path: &DfsPath, progress: &Progress) -> Result<()> {
    let mut sink = Local::new(tokio::io::stdout(), progress);
    let result = client.get(path, &mut sink, GetOptions::default()).await;
    let (_, mut stdout) = sink.judge(result, ("write", "standard output"), ("read", path))?;
    stdout.flush().await.doing("write", "standard output")
}

fn make_directory(item: &Item) -> Result<()> {
    // Those that may not be written into are filled first.
    let mode = item.attr.mode.bits() & 0o777 | 0o700;
    local::make_directory(&item.local, mode, item.follow)
        .doing("make directory", item.local.display())
}

/// Whether it is a device or a pipe, which is written into.
fn is_special(meta: &std::fs::Metadata) -> bool {
    let kind = meta.file_type();
    !kind.is_file() && !kind.is_dir() && !kind.is_symlink()
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

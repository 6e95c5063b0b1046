//! Where things go, by the rules of `cp`: into a directory that is there, else under that name.

use dfs_core::client::Client;
use dfs_core::error::ErrorKind;
use dfs_core::types::{Attr, DfsPath, FileKind, Name};

use crate::error::{Doing, Failure, Result};
use crate::text::remote::RemotePath;

/// The last argument of `put`, `mv`, `cp` and `ln`.
#[derive(Debug)]
pub(crate) struct Target {
    path: DfsPath,
    is_directory: bool,
}

impl Target {
    /// Looks what is there, for `sources` things to go to it.
    ///
    /// # Errors
    /// Several cannot go under one name; a name with a closing slash must be a directory.
    pub(crate) async fn resolve(
        client: &Client,
        typed: &RemotePath,
        sources: usize,
    ) -> Result<Target> {
        let path = typed.path.clone();
        let found = stat(client, &path, true).await?;
        let is_directory = found
            .as_ref()
            .is_some_and(|a| a.kind == FileKind::Directory);
        if !is_directory && (sources > 1 || typed.is_directory) {
            return Err(match found {
                Some(_) => Failure::refused(format!("`{path}` is not a directory")),
                None => Failure::refused(format!("there is no directory `{path}`"))
                    .hint(format!("`dfs mkdir -p {path}` makes it")),
            });
        }
        Ok(Target { path, is_directory })
    }

    /// Whether it is a directory that is there.
    pub(crate) fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// Its path.
    pub(crate) fn path(&self) -> &DfsPath {
        &self.path
    }

    /// Where something called `name` goes. What has no name, such as `/` or `.`, goes to the
    /// target itself.
    ///
    /// # Errors
    /// The path would be too long.
    pub(crate) fn place(&self, name: Option<Name>) -> Result<DfsPath> {
        match name {
            Some(name) if self.is_directory => self.path.join(name).map_err(|error| {
                Failure::refused(format!("cannot put anything into `{}`: {error}", self.path))
            }),
            _ => Ok(self.path.clone()),
        }
    }
}

/// What is at `path`, if anything.
///
/// # Errors
/// It cannot be found out.
pub(crate) async fn stat(client: &Client, path: &DfsPath, follow: bool) -> Result<Option<Attr>> {
    let attr = match follow {
        true => client.metadata(path).await,
        false => client.symlink_metadata(path).await,
    };
    match attr {
        Ok(attr) => Ok(Some(attr)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("look at", path),
    }
}

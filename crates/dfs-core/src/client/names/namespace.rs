//! Names and attributes: one method, one change or one question.

use crate::client::{Client, IntoLocation, changed_attr, mismatch};
use crate::error::{ErrorKind, Result};
use crate::types::attr::SetTime;
use crate::types::change::{NewAttr, Removal};
use crate::types::{
    Answer, Attr, AttrChange, Change, GroupId, Mode, PolicyChange, Query, TrashId, UserId,
};

impl Client {
    /// Makes a directory.
    ///
    /// # Errors
    /// `Exists`; `NotFound` if the one above is missing.
    pub async fn create_dir(&self, path: impl IntoLocation) -> Result<Attr> {
        let attr = self.config().identity.directory();
        self.create_dir_with(path, attr, false).await
    }

    /// Makes a directory and the missing ones above it. One that exists is no error.
    ///
    /// # Errors
    /// `Invalid` if something on the way is no directory.
    pub async fn create_dir_all(&self, path: impl IntoLocation) -> Result<Attr> {
        let attr = self.config().identity.directory();
        self.create_dir_with(path, attr, true).await
    }

    /// Makes a directory with these attributes; with `parents` also the missing ones above it.
    ///
    /// # Errors
    /// As [`Client::create_dir`] and [`Client::create_dir_all`].
    pub async fn create_dir_with(
        &self,
        path: impl IntoLocation,
        attr: NewAttr,
        parents: bool,
    ) -> Result<Attr> {
        let at = path.into_location()?;
        let change = Change::MakeDirectory { at, attr, parents };
        changed_attr(self.change(change).await?)
    }

    /// Makes an empty file. One that exists is left as it is, unless `exclusive` refuses it.
    ///
    /// # Errors
    /// `Exists` if exclusive; `Invalid` if it is a directory.
    pub async fn create_file(&self, path: impl IntoLocation, exclusive: bool) -> Result<Attr> {
        let change = Change::Create {
            at: path.into_location()?,
            attr: self.config().identity.file(),
            exclusive,
        };
        changed_attr(self.change(change).await?)
    }

    /// Makes a symbolic link at `link` that leads to `target`.
    ///
    /// # Errors
    /// `Exists`; `NotFound` if the directory is missing.
    pub async fn symlink(
        &self,
        target: impl Into<String> + Send,
        link: impl IntoLocation,
    ) -> Result<Attr> {
        let change = Change::Symlink {
            at: link.into_location()?,
            target: target.into(),
            attr: self.config().identity.attr(Mode::SYMLINK),
        };
        changed_attr(self.change(change).await?)
    }

    /// What a symbolic link leads to.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is no link.
    pub async fn read_link(&self, path: impl IntoLocation) -> Result<String> {
        let at = path.into_location()?;
        match self.ask(Query::ReadLink { at }).await? {
            Answer::Target(target) => Ok(target),
            other => Err(mismatch(&other)),
        }
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// `NotFound`; `Exists`; `Invalid` for a directory.
    pub async fn hard_link(
        &self,
        original: impl IntoLocation,
        link: impl IntoLocation,
    ) -> Result<Attr> {
        let change = Change::Link {
            from: original.into_location()?,
            at: link.into_location()?,
        };
        changed_attr(self.change(change).await?)
    }

    /// Moves a name, by the rules of POSIX: a file or an empty directory there is replaced.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it would replace something of another kind or not empty.
    pub async fn rename(&self, from: impl IntoLocation, to: impl IntoLocation) -> Result<()> {
        self.rename_with(from, to, true).await
    }

    /// Moves a name; with `replace` off to a name that is free.
    ///
    /// # Errors
    /// As [`Client::rename`], and `Exists`.
    pub async fn rename_with(
        &self,
        from: impl IntoLocation,
        to: impl IntoLocation,
        replace: bool,
    ) -> Result<()> {
        let change = Change::Rename {
            from: from.into_location()?,
            to: to.into_location()?,
            replace,
        };
        self.change(change).await.map(drop)
    }

    /// Removes a file or symbolic link, into the trash if the policy says so.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a directory.
    pub async fn remove_file(&self, path: impl IntoLocation) -> Result<Option<TrashId>> {
        self.remove(path, Removal::File, false).await
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for anything else, and if it is not empty.
    pub async fn remove_dir(&self, path: impl IntoLocation) -> Result<Option<TrashId>> {
        self.remove(path, Removal::EmptyDirectory, false).await
    }

    /// Removes a directory with all that is below it, into the trash if the policy says so.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_dir_all(&self, path: impl IntoLocation) -> Result<Option<TrashId>> {
        self.remove(path, Removal::Tree, false).await
    }

    /// Removes a name. With `skip_trash` for good; otherwise the answer says what the trash
    /// holds now, if anything.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is not what may be removed.
    pub async fn remove(
        &self,
        path: impl IntoLocation,
        what: Removal,
        skip_trash: bool,
    ) -> Result<Option<TrashId>> {
        let change = Change::Remove {
            at: path.into_location()?,
            what,
            skip_trash,
        };
        Ok(self.change(change).await?.trash)
    }

    /// The attributes of what a path leads to; symbolic links are followed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn metadata(&self, path: impl IntoLocation) -> Result<Attr> {
        self.stat(path, true).await
    }

    /// The attributes of what a path names; a symbolic link at the end is not followed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn symlink_metadata(&self, path: impl IntoLocation) -> Result<Attr> {
        self.stat(path, false).await
    }

    async fn stat(&self, path: impl IntoLocation, follow: bool) -> Result<Attr> {
        let at = path.into_location()?;
        match self.ask(Query::Stat { at, follow }).await? {
            Answer::Attr(attr) => Ok(attr),
            other => Err(mismatch(&other)),
        }
    }

    /// Whether a path leads to anything.
    ///
    /// # Errors
    /// It cannot be found out.
    pub async fn exists(&self, path: impl IntoLocation) -> Result<bool> {
        match self.stat(path, true).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Sets permissions; symbolic links are followed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_permissions(&self, path: impl IntoLocation, mode: Mode) -> Result<Attr> {
        let change = AttrChange {
            mode: Some(mode),
            ..AttrChange::default()
        };
        self.set_attr(path, change, true).await
    }

    /// Sets owner, group or both; symbolic links are followed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_owner(
        &self,
        path: impl IntoLocation,
        owner: Option<UserId>,
        group: Option<GroupId>,
    ) -> Result<Attr> {
        let change = AttrChange {
            owner,
            group,
            ..AttrChange::default()
        };
        self.set_attr(path, change, true).await
    }

    /// Sets times of the last read and change; symbolic links are followed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_times(
        &self,
        path: impl IntoLocation,
        accessed: Option<SetTime>,
        modified: Option<SetTime>,
    ) -> Result<Attr> {
        let change = AttrChange {
            accessed,
            modified,
            ..AttrChange::default()
        };
        self.set_attr(path, change, true).await
    }

    /// Sets attributes; `follow` says whether of what a symbolic link leads to.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_attr(
        &self,
        path: impl IntoLocation,
        change: AttrChange,
        follow: bool,
    ) -> Result<Attr> {
        let change = Change::SetAttr {
            at: path.into_location()?,
            change,
            follow,
        };
        changed_attr(self.change(change).await?)
    }

    /// Sets the length of a file; new bytes are zero.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is no file.
    pub async fn truncate(&self, path: impl IntoLocation, size: u64) -> Result<Attr> {
        let at = path.into_location()?;
        changed_attr(self.change(Change::Truncate { at, size }).await?)
    }

    /// Sets how bytes are kept: those of new files in a directory, or of a file's later writes.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if the policy contradicts itself.
    pub async fn set_policy(&self, path: impl IntoLocation, change: PolicyChange) -> Result<Attr> {
        let at = path.into_location()?;
        let changed = self.change(Change::SetPolicy { at, change }).await?;
        self.inner.policies.clear();
        changed_attr(changed)
    }

    /// Brings something back from the trash, to where it was or to another place.
    ///
    /// # Errors
    /// `NotFound`; `Exists` if something is there.
    pub async fn restore<P: IntoLocation>(&self, trash: TrashId, to: Option<P>) -> Result<Attr> {
        let to = to.map(IntoLocation::into_location).transpose()?;
        changed_attr(self.change(Change::Restore { trash, to }).await?)
    }

    /// Removes something from the trash for good.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn drop_trash(&self, trash: TrashId) -> Result<()> {
        self.change(Change::DropTrash { trash }).await.map(drop)
    }
}

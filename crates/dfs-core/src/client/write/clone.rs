//! Files of the bytes of others: clones and concatenations. No byte is read or written for them.

use super::upload::is_too_large;
use crate::client::{Client, IntoLocation, changed_attr};
use crate::error::{Error, ErrorKind, Result};
use crate::types::change::{CloneTarget, Commit, CommitTarget, NewAttr, WriteOffset};
use crate::types::{Attr, Change, InodeId, Location};

/// Times a large file is cloned anew that was changed while it was cloned.
const CLONES_MAX: u32 = 8;

impl Client {
    /// Makes a file of the bytes of another, as they are at one moment, without copying them; with
    /// the permissions of the other. Later changes of one are not seen in the other.
    ///
    /// # Errors
    /// `NotFound`; `Exists` unless a file there may be replaced; `Invalid` if it is no file, or
    /// if files at the new place are kept in another number of copies; `Conflict` if it changes
    /// all the time.
    pub async fn clone_file(
        &self,
        from: impl IntoLocation,
        to: impl IntoLocation,
        replace: bool,
    ) -> Result<Attr> {
        let (from, at) = (from.into_location()?, to.into_location()?);
        let source = self.metadata(&from).await?;
        let attr = self.config().identity.attr(source.mode);
        let to = CloneTarget::New {
            at: at.clone(),
            attr,
            replace,
        };
        let revision = None;
        let cloned = self.change(Change::Clone { from, to, revision }).await;
        match cloned {
            Err(error) if is_too_large(&error) => {}
            cloned => return changed_attr(cloned?),
        }
        let mut source = source;
        for _ in 1..CLONES_MAX {
            match self.clone_in_parts(&source, (&at, attr), replace).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    source = self.metadata(&source).await?;
                }
                cloned => return cloned,
            }
        }
        self.clone_in_parts(&source, (&at, attr), replace).await
    }

    async fn clone_in_parts(
        &self,
        source: &Attr,
        (at, attr): (&Location, NewAttr),
        replace: bool,
    ) -> Result<Attr> {
        let begin = Change::BeginUpload {
            at: at.clone(),
            attr,
        };
        let upload = changed_attr(self.change(begin).await?)?.inode;
        let published = async {
            self.clone_all(source, upload).await?;
            let target = CommitTarget::Publish {
                upload,
                at: at.clone(),
                replace,
            };
            let commit = Commit {
                target,
                offset: WriteOffset::End,
                pieces: Vec::new(),
                chunks: Vec::new(),
                stripes: Vec::new(),
                revision: None,
            };
            changed_attr(self.change(Change::Commit(commit)).await?)
        };
        let published = published.await;
        if published.is_err() {
            let abandoned = self.change(Change::AbandonUpload { upload }).await;
            if let Err(error) = abandoned {
                tracing::debug!(%upload, %error, "not abandoned; it goes with the session");
            }
        }
        published
    }

    /// Makes all extents of one state of a file part of an upload.
    async fn clone_all(&self, source: &Attr, upload: InodeId) -> Result<()> {
        let mut end = 0;
        while end < source.size {
            let part = Change::Clone {
                from: Location::from(source),
                to: CloneTarget::Upload(upload),
                revision: Some(source.revision),
            };
            let before = end;
            end = self.change(part).await?.offset.unwrap_or(0);
            if end <= before {
                let message = format!("{upload} does not grow while {} is cloned", source.inode);
                return Err(Error::new(ErrorKind::Internal, message));
            }
        }
        Ok(())
    }

    /// Appends whole files to another, in order, all at once or not at all; their names go, past
    /// the trash. Gives the file that grew.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for more than 64 files, what is no file, a file that has other
    /// names, is named twice, or is kept in another number of copies, and for more inline bytes
    /// than the policy allows.
    pub async fn concat<P: IntoLocation>(
        &self,
        to: impl IntoLocation,
        from: impl IntoIterator<Item = P> + Send,
    ) -> Result<Attr> {
        let to = to.into_location()?;
        let from = from.into_iter().map(IntoLocation::into_location);
        let from = from.collect::<Result<Vec<_>>>()?;
        changed_attr(self.change(Change::Concat { to, from }).await?)
    }
}

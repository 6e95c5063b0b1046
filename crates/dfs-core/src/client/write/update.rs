//! Writes to files that exist: at an offset, or at the end.
//!
//! Short ones go into the metadata while there is room for them. A short append that finds no
//! more room takes the bytes at the end out of the metadata and stores both in a chunk, so that
//! a log of short lines becomes chunks, not thousands of extents.

use bytes::{Bytes, BytesMut};

use super::super::{Client, changed_attr};
use super::upload::is_too_large;
use super::{Target, Upload, is_grant_expired};
use crate::error::{ErrorKind, Result};
use crate::types::change::{Commit, CommitTarget, Piece, WriteOffset};
use crate::types::limits::FILE_LEN_MAX;
use crate::types::{Attr, ByteRange, Change, FileKind, Location, Policy, Refusal, RefusalKind};

/// Times an append that takes in the end of the file is tried while others change the file.
const FOLDS_MAX: u32 = 4;

/// A write to a file that exists, with what is known of it. What is known may be old: masters
/// refuse what it misleads to.
#[derive(Debug)]
pub(in crate::client) struct Update<'a> {
    client: &'a Client,
    at: &'a Location,
    attr: Option<Attr>,
}

impl<'a> Update<'a> {
    /// A write to the file at `at`, with its attributes where they are known.
    pub(in crate::client) fn new(
        client: &'a Client,
        at: &'a Location,
        attr: Option<Attr>,
    ) -> Update<'a> {
        Update { client, at, attr }
    }

    /// Adds `bytes` at the end. Gives their offset and the file afterwards.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` if it is no file, `OutOfSpace`, `Unavailable`.
    pub(in crate::client) async fn append(mut self, bytes: Bytes) -> Result<(u64, Attr)> {
        let attr = self.attr().await?;
        if bytes.is_empty() {
            return Ok((attr.size, attr));
        }
        if let Some(done) = self.inline(WriteOffset::End, &bytes).await? {
            return Ok(done);
        }
        if bytes.len() <= attr.policy.inline_max as usize {
            for _ in 0..FOLDS_MAX {
                match self.fold(&bytes).await {
                    Ok(Some(done)) => return Ok(done),
                    Ok(None) => break,
                    Err(error)
                        if error.kind() == ErrorKind::Conflict || is_grant_expired(&error) =>
                    {
                        self.attr = None;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.chunks(WriteOffset::End, bytes).await
    }

    /// Replaces bytes from `offset` on. Gives the file afterwards.
    ///
    /// # Errors
    /// As [`Update::append`].
    pub(in crate::client) async fn write_at(mut self, offset: u64, bytes: Bytes) -> Result<Attr> {
        let attr = self.attr().await?;
        if bytes.is_empty() {
            return Ok(attr);
        }
        let offset = WriteOffset::At(offset);
        if let Some((_, attr)) = self.inline(offset, &bytes).await? {
            return Ok(attr);
        }
        Ok(self.chunks(offset, bytes).await?.1)
    }

    async fn attr(&mut self) -> Result<Attr> {
        let attr = match &self.attr {
            Some(attr) => attr.clone(),
            None => self.client.metadata(self.at).await?,
        };
        match attr.kind {
            FileKind::File => {}
            FileKind::Directory => {
                return Err(Refusal::new(RefusalKind::IsADirectory, self.at).into());
            }
            FileKind::Symlink => return Err(Refusal::new(RefusalKind::NotAFile, self.at).into()),
        }
        self.attr = Some(attr.clone());
        Ok(attr)
    }

    /// Puts the bytes into the metadata, if there is room for them.
    async fn inline(&mut self, offset: WriteOffset, bytes: &Bytes) -> Result<Option<(u64, Attr)>> {
        let attr = self.attr().await?;
        let sum = (attr.inline_bytes as usize).saturating_add(bytes.len());
        if sum > attr.policy.inline_max as usize {
            return Ok(None);
        }
        let commit = Commit {
            target: CommitTarget::File(self.at.clone()),
            offset,
            pieces: vec![Piece::Inline(bytes.clone())],
            chunks: Vec::new(),
            revision: None,
            stripes: Vec::new(),
        };
        match self.client.change(Change::Commit(commit)).await {
            Ok(changed) => {
                let offset = changed.offset.unwrap_or(0);
                Ok(Some((offset, changed_attr(changed)?)))
            }
            Err(error) if is_too_large(&error) => {
                self.attr = None;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores the inline bytes at the end of the file and `bytes` in one chunk. None if there
    /// are no such bytes.
    ///
    /// # Errors
    /// `Conflict` if the file was changed meanwhile.
    async fn fold(&mut self, bytes: &Bytes) -> Result<Option<(u64, Attr)>> {
        let attr = self.attr().await?;
        let begins = attr.size.saturating_sub(u64::from(attr.inline_bytes));
        let range = ByteRange::new(begins, FILE_LEN_MAX.saturating_sub(begins));
        let window = self.client.window(self.at, range).await?;
        let Some((begins, parts)) = window.inline_tail() else {
            return Ok(None);
        };
        let mut whole = BytesMut::new();
        for part in parts.iter().chain([bytes]) {
            whole.extend_from_slice(part);
        }
        let policy: Policy = window.attr.policy;
        let target = Target::Existing {
            at: self.at.clone(),
            offset: WriteOffset::At(begins),
        };
        let length = whole.len() as u64;
        let mut upload = Upload::new(self.client.clone(), target, policy, Some(length));
        upload.write(whole.freeze()).await?;
        let written = upload.finish_chunks(Some(window.attr.revision)).await?;
        let offset = begins + (length - bytes.len() as u64);
        Ok(Some((offset, written.attr)))
    }

    async fn chunks(&mut self, offset: WriteOffset, bytes: Bytes) -> Result<(u64, Attr)> {
        let policy = self.attr().await?.policy;
        let target = Target::Existing {
            at: self.at.clone(),
            offset,
        };
        let hint = Some(bytes.len() as u64);
        let mut again = true;
        loop {
            let mut upload = Upload::new(self.client.clone(), target.clone(), policy, hint);
            let written = async {
                upload.write(bytes.clone()).await?;
                upload.finish_chunks(None).await
            };
            match written.await {
                Err(error) if again && is_grant_expired(&error) && !upload.has_committed() => {
                    again = false;
                }
                written => return written.map(|written| (written.offset, written.attr)),
            }
        }
    }
}

//! How stored bytes become part of a file: the end of an upload, or of a part of it.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Target, Upload, Written};
use crate::client::changed_attr;
use crate::client::write::Update;
use crate::error::{Error, Result};
use crate::types::change::{Changed, Commit, CommitTarget, Piece, WriteOffset};
use crate::types::{Change, RefusalKind};

impl Upload {
    /// Commits what is stored, and goes on.
    pub(super) async fn commit_part(&mut self) -> Result<()> {
        let target = match (&self.target, self.unpublished) {
            (Target::Existing { at, .. }, _) => CommitTarget::File(at.clone()),
            (Target::New { .. }, Some(upload)) => CommitTarget::Upload(upload),
            (Target::New { at, attr, .. }, None) => {
                let begin = Change::BeginUpload {
                    at: at.clone(),
                    attr: *attr,
                };
                let upload = changed_attr(self.client.change(begin).await?)?.inode;
                self.unpublished = Some(upload);
                CommitTarget::Upload(upload)
            }
        };
        self.commit(target, None).await
    }

    async fn commit(&mut self, target: CommitTarget, revision: Option<u64>) -> Result<()> {
        let (mut pieces, mut chunks, mut stripes) = (Vec::new(), Vec::new(), Vec::new());
        for stored in self.stored.drain(..) {
            pieces.extend(stored.data().map(|chunk| Piece::Chunk {
                chunk: chunk.chunk,
                offset: 0,
                length: chunk.length,
            }));
            chunks.extend(stored.chunks);
            stripes.extend(stored.stripe);
        }
        let length: u64 = pieces.iter().map(Piece::length).sum();
        let commit = Commit {
            target,
            offset: self.commit_offset(),
            pieces,
            chunks,
            revision,
            stripes,
        };
        let changed = self.client.change(Change::Commit(commit)).await;
        if changed.as_ref().is_err_and(is_too_few) {
            // The policy has become stricter since it was asked for.
            self.client.inner.policies.clear();
        }
        self.took(changed?, length);
        Ok(())
    }

    fn took(&mut self, changed: Changed, length: u64) {
        self.committed += length;
        self.secured = Instant::now();
        let offset = self.first.take().map_or(changed.offset, |f| f.offset);
        self.first = Some(Changed { offset, ..changed });
    }

    fn commit_offset(&self) -> WriteOffset {
        match &self.target {
            Target::Existing {
                offset: WriteOffset::End,
                ..
            } => WriteOffset::End,
            Target::Existing {
                offset: WriteOffset::At(offset),
                ..
            } => WriteOffset::At(offset.saturating_add(self.committed)),
            Target::New { .. } => WriteOffset::At(self.committed),
        }
    }

    /// Makes everything written so far part of a file that exists; does nothing for a new one.
    ///
    /// # Errors
    /// As [`Upload::finish`].
    pub(in crate::client) async fn flush(&mut self) -> Result<()> {
        if matches!(self.target, Target::New { .. }) || self.bytes == self.committed {
            return Ok(());
        }
        if self.is_all_in_slice() && self.commit_inline().await? {
            return Ok(());
        }
        self.store_all().await?;
        match self.stored.is_empty() {
            true => Ok(()),
            false => self.commit_part().await,
        }
    }

    /// Makes the bytes part of the file, all at once if it is new; a few bytes without a chunk.
    ///
    /// # Errors
    /// What the target refuses; `OutOfSpace`, `Unavailable`.
    pub(in crate::client) async fn finish(&mut self) -> Result<Written> {
        let small = self.is_all_in_slice() && self.unpublished.is_none();
        if small && self.commit_inline().await? {
            return self.written().await;
        }
        self.finish_chunks(None).await
    }

    /// The same without the exception for a few bytes; with `revision` only over that revision
    /// of a file that exists.
    ///
    /// # Errors
    /// As [`Upload::finish`], and `Conflict`.
    pub(in crate::client) async fn finish_chunks(
        &mut self,
        revision: Option<u64>,
    ) -> Result<Written> {
        self.store_all().await?;
        let target = match (&self.target, self.unpublished) {
            (Target::Existing { at, .. }, _) => CommitTarget::File(at.clone()),
            (Target::New { at, replace, .. }, Some(upload)) => CommitTarget::Publish {
                upload,
                at: at.clone(),
                replace: *replace,
            },
            (Target::New { at, attr, replace }, None) => CommitTarget::New {
                at: at.clone(),
                attr: *attr,
                replace: *replace,
            },
        };
        if !self.stored.is_empty() || matches!(self.target, Target::New { .. }) {
            self.commit(target, revision).await?;
            self.unpublished = None;
        }
        self.written().await
    }

    async fn written(&mut self) -> Result<Written> {
        let (offset, attr) = match (self.first.take(), &self.target) {
            (Some(changed), _) => (changed.offset, changed_attr(changed)?),
            (None, Target::Existing { at, .. } | Target::New { at, .. }) => {
                (None, self.client.metadata(at).await?)
            }
        };
        Ok(Written {
            offset: offset.unwrap_or(attr.size),
            attr,
            bytes: self.bytes,
            chunks: self.chunks,
            degraded: self.degraded,
        })
    }

    /// Whether what is not committed is in no chunk.
    fn is_all_in_slice(&self) -> bool {
        self.committed + self.slice.len() as u64 == self.bytes
    }

    /// Commits the slice as it is, if it is short enough. Says whether it did.
    async fn commit_inline(&mut self) -> Result<bool> {
        if self.slice.len() > self.policy.inline_max as usize {
            return Ok(false);
        }
        let bytes = Bytes::copy_from_slice(&self.slice);
        let length = bytes.len() as u64;
        let target = match &self.target {
            Target::Existing { offset, .. } if *offset != WriteOffset::End => return Ok(false),
            Target::Existing { at, .. } => {
                if !bytes.is_empty() {
                    let known = self.first.as_ref().and_then(|first| first.attr.clone());
                    let update = Update::new(&self.client, at, known);
                    let (offset, attr) = update.append(bytes).await?;
                    let changed = Changed {
                        attr: Some(attr),
                        offset: Some(offset),
                        ..Changed::default()
                    };
                    self.took(changed, length);
                    self.slice.clear();
                }
                return Ok(true);
            }
            Target::New { at, attr, replace } => CommitTarget::New {
                at: at.clone(),
                attr: *attr,
                replace: *replace,
            },
        };
        let commit = Commit {
            target,
            offset: WriteOffset::At(0),
            pieces: match bytes.is_empty() {
                true => Vec::new(),
                false => vec![Piece::Inline(bytes)],
            },
            chunks: Vec::new(),
            revision: None,
            stripes: Vec::new(),
        };
        match self.client.change(Change::Commit(commit)).await {
            Ok(changed) => {
                self.took(changed, length);
                self.slice.clear();
                Ok(true)
            }
            // The policy has changed, or the file has its share of the metadata already.
            Err(error) if is_too_large(&error) && length > 0 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether inline bytes were refused for their length.
pub(in crate::client::write) fn is_too_large(error: &Error) -> bool {
    is_refused_as(error, RefusalKind::TooLarge)
}

/// Whether a commit was refused because chunks are on too few data nodes.
pub(in crate::client) fn is_too_few(error: &Error) -> bool {
    is_refused_as(error, RefusalKind::TooFewReplicas)
}

/// Whether a commit was refused because its grant had expired, as it does at once when the masters'
/// time jumps. The chunks are lost, and nothing else was done.
pub(in crate::client) fn is_grant_expired(error: &Error) -> bool {
    is_refused_as(error, RefusalKind::GrantExpired)
}

fn is_refused_as(error: &Error, kind: RefusalKind) -> bool {
    error.refusal().is_some_and(|refusal| refusal.kind == kind)
}

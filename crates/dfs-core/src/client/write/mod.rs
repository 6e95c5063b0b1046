//! Writing: bytes to data nodes, then one commit.

use bytes::Bytes;

use super::{Client, IntoLocation};
use crate::error::{Error, ErrorKind, Result};

/// A file being written: [`AsyncWrite`](tokio::io::AsyncWrite) whose shutdown makes it appear.
#[derive(Debug)]
pub struct FileWriter {}

impl Client {
    /// Adds bytes at the end of a file, and says where they went.
    ///
    /// # Errors
    /// `NotFound`; as [`Client::put`].
    pub async fn append(
        &self,
        path: impl IntoLocation,
        bytes: impl Into<Bytes> + Send,
    ) -> Result<u64> {
        let _ = (path, bytes);
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Replaces bytes of a file from `offset` on; a gap before reads as zero.
    ///
    /// # Errors
    /// `NotFound`; as [`Client::put`].
    pub async fn write_at(
        &self,
        path: impl IntoLocation,
        offset: u64,
        bytes: impl Into<Bytes> + Send,
    ) -> Result<()> {
        let _ = (path, offset, bytes);
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Begins to add bytes at the end of a file; they are added when the writer is flushed or
    /// shut down.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is no file.
    pub async fn appender(&self, path: impl IntoLocation) -> Result<FileWriter> {
        let _ = path;
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }
}

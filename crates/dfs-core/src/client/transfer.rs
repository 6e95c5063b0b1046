//! Whole files: in from any source, out to any sink.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Client, IntoLocation};
use crate::error::{Error, ErrorKind, Result};
use crate::types::change::NewAttr;
use crate::types::{Attr, ByteRange};

/// Longest file or range that [`Client::read`] and [`Client::read_at`] return in one piece.
pub const READ_LEN_MAX: u64 = 256 << 20;

/// Is told how many bytes are done, from time to time and at the end.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(u64) + Send + Sync>);

impl Progress {
    /// Calls `report`, which returns soon.
    pub fn new(report: impl Fn(u64) + Send + Sync + 'static) -> Progress {
        Progress(Arc::new(report))
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

/// How a file is put.
#[derive(Debug, Clone)]
pub struct PutOptions {
    /// Whether a file there may be replaced.
    pub replace: bool,
    /// Its attributes; otherwise those of the client's identity.
    pub attr: Option<NewAttr>,
    /// How many bytes will come, where known: saves round trips, promises nothing.
    pub size_hint: Option<u64>,
    /// Is told how many bytes were read from the source.
    pub progress: Option<Progress>,
}

impl PutOptions {
    /// With nothing but the one choice that can lose something.
    pub fn new(replace: bool) -> PutOptions {
        PutOptions {
            replace,
            attr: None,
            size_hint: None,
            progress: None,
        }
    }
}

/// How a file is got.
#[derive(Debug, Clone, Default)]
pub struct GetOptions {
    /// Only these bytes of it, as far as there are any.
    pub range: Option<ByteRange>,
    /// Is told how many bytes were written to the sink.
    pub progress: Option<Progress>,
}

/// A file that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutSummary {
    /// The file.
    pub attr: Attr,
    /// Its bytes.
    pub bytes: u64,
    /// Its chunks; none if its bytes are kept in the metadata.
    pub chunks: u64,
    /// Chunks with fewer copies than wanted, though enough to be safe: repair makes the rest.
    pub degraded: u64,
}

/// A file, or part of one, that was got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetSummary {
    /// The file.
    pub attr: Attr,
    /// The bytes written to the sink.
    pub bytes: u64,
}

fn unbuilt<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Internal, "not built yet"))
}

impl Client {
    /// Stores all bytes of `source` as a file, which appears whole or not at all.
    ///
    /// # Errors
    /// `Exists` unless it may be replaced; `NotFound` if the directory is missing; `OutOfSpace`;
    /// `Unavailable` if too few data nodes work; what `source` failed with.
    pub async fn put<R>(
        &self,
        path: impl IntoLocation,
        source: R,
        options: PutOptions,
    ) -> Result<PutSummary>
    where
        R: AsyncRead + Unpin + Send,
    {
        let _ = (path, source, options);
        unbuilt()
    }

    /// Writes the bytes of a file to `sink`, verified and in order.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt`; `Unavailable`; `Conflict` if the file was changed in between; what
    /// `sink` failed with.
    pub async fn get<W>(
        &self,
        path: impl IntoLocation,
        sink: &mut W,
        options: GetOptions,
    ) -> Result<GetSummary>
    where
        W: AsyncWrite + Unpin + Send,
    {
        let _ = (path, sink, options);
        unbuilt()
    }

    /// Makes a file with the bytes and permissions of another.
    ///
    /// # Errors
    /// As [`Client::get`] and [`Client::put`].
    pub async fn copy(
        &self,
        from: impl IntoLocation,
        to: impl IntoLocation,
        options: PutOptions,
    ) -> Result<PutSummary> {
        let _ = (from, to, options);
        unbuilt()
    }

    /// All bytes of a file, of [`READ_LEN_MAX`] at most.
    ///
    /// # Errors
    /// `Invalid` if it is longer; else as [`Client::get`].
    pub async fn read(&self, path: impl IntoLocation) -> Result<Bytes> {
        let _ = path;
        unbuilt()
    }

    /// Bytes of a file: `length` of them from `offset` on, or as many as there are.
    ///
    /// # Errors
    /// `Invalid` if `length` is above [`READ_LEN_MAX`]; else as [`Client::get`].
    pub async fn read_at(
        &self,
        path: impl IntoLocation,
        offset: u64,
        length: u64,
    ) -> Result<Bytes> {
        let _ = (path, offset, length);
        unbuilt()
    }

    /// Stores `bytes` as a file; one that exists is replaced.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn write(
        &self,
        path: impl IntoLocation,
        bytes: impl Into<Bytes> + Send,
    ) -> Result<Attr> {
        let _ = (path, bytes);
        unbuilt()
    }
}

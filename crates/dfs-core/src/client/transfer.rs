//! Whole files: in from any source, out to any sink.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::read::RangeReader;
use super::write::{Target, Update, Upload, Written, is_grant_expired, is_too_few};
use super::{Client, IntoLocation, SLICE_LEN};
use crate::error::{Error, ErrorKind, Result};
use crate::types::change::NewAttr;
use crate::types::limits::FILE_LEN_MAX;
use crate::types::{Attr, ByteRange, Location};

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

impl From<Written> for PutSummary {
    fn from(written: Written) -> PutSummary {
        PutSummary {
            attr: written.attr,
            bytes: written.bytes,
            chunks: written.chunks,
            degraded: written.degraded,
        }
    }
}

/// Times a file is read anew that was changed while it was read.
const READS_MAX: u32 = 8;

impl Client {
    /// Stores all bytes of `source` as a file, which appears whole or not at all.
    ///
    /// # Errors
    /// `Exists` unless it may be replaced; `NotFound` if the directory is missing; `OutOfSpace`;
    /// `Unavailable` if too few data nodes work; `Invalid` if `source` failed.
    pub async fn put<R>(
        &self,
        path: impl IntoLocation,
        mut source: R,
        options: PutOptions,
    ) -> Result<PutSummary>
    where
        R: AsyncRead + Unpin + Send,
    {
        let mut upload = self.begin_put(path.into_location()?, &options).await?;
        let fed = async {
            while let Some(slice) = upload.wait(read_slice(&mut source)).await?? {
                upload.write(slice).await?;
                report(&options.progress, upload.bytes());
            }
            upload.finish().await
        };
        let result = fed.await;
        finished(upload, result).await
    }

    /// Writes the bytes of a file to `sink`, verified and in order, and flushes it.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt`; `Unavailable`; `Conflict` if the file was changed in between;
    /// `Invalid` if `sink` failed.
    pub async fn get<W>(
        &self,
        path: impl IntoLocation,
        sink: &mut W,
        options: GetOptions,
    ) -> Result<GetSummary>
    where
        W: AsyncWrite + Unpin + Send + ?Sized,
    {
        let at = path.into_location()?;
        let range = options.range.unwrap_or(WHOLE);
        let mut reader = RangeReader::open(self.clone(), at, range, None, true).await?;
        let attr = reader.attr().clone();
        let mut done = 0;
        while let Some(bytes) = reader.next().await? {
            sink.write_all(&bytes)
                .await
                .map_err(|e| foreign("the sink", e))?;
            done += bytes.len() as u64;
            report(&options.progress, done);
        }
        sink.flush().await.map_err(|e| foreign("the sink", e))?;
        Ok(GetSummary { attr, bytes: done })
    }

    /// Makes a file with the bytes of another, and its permissions unless `options` give others.
    ///
    /// # Errors
    /// As [`Client::get`] and [`Client::put`].
    pub async fn copy(
        &self,
        from: impl IntoLocation,
        to: impl IntoLocation,
        mut options: PutOptions,
    ) -> Result<PutSummary> {
        let (from, to) = (from.into_location()?, to.into_location()?);
        let mut reader = RangeReader::open(self.clone(), from, WHOLE, None, true).await?;
        let mode = reader.attr().mode;
        options
            .attr
            .get_or_insert(self.config().identity.attr(mode));
        options.size_hint = Some(reader.left());
        let mut upload = self.begin_put(to, &options).await?;
        let fed = async {
            while let Some(bytes) = upload.wait(reader.next()).await?? {
                upload.write(bytes).await?;
                report(&options.progress, upload.bytes());
            }
            upload.finish().await
        };
        let result = fed.await;
        finished(upload, result).await
    }

    /// All bytes of a file, of [`READ_LEN_MAX`] at most.
    ///
    /// # Errors
    /// `Invalid` if it is longer; else as [`Client::get`].
    pub async fn read(&self, path: impl IntoLocation) -> Result<Bytes> {
        self.read_range(path.into_location()?, WHOLE).await
    }

    /// The text of a file, of [`READ_LEN_MAX`] bytes at most.
    ///
    /// # Errors
    /// `Invalid` if it is longer, or not UTF-8; else as [`Client::get`].
    pub async fn read_to_string(&self, path: impl IntoLocation) -> Result<String> {
        let bytes = self.read(path).await?;
        String::from_utf8(bytes.into())
            .map_err(|e| Error::with_source(ErrorKind::Invalid, "the file is not text", e))
    }

    /// Bytes of a file: `length` of them from `offset` on, or as many as there are.
    ///
    /// # Errors
    /// `Invalid` if that is more than [`READ_LEN_MAX`]; else as [`Client::get`].
    pub async fn read_at(
        &self,
        path: impl IntoLocation,
        offset: u64,
        length: u64,
    ) -> Result<Bytes> {
        let range = ByteRange::new(offset, length);
        self.read_range(path.into_location()?, range).await
    }

    async fn read_range(&self, at: Location, range: ByteRange) -> Result<Bytes> {
        let mut reads = 0;
        loop {
            let (client, at) = (self.clone(), at.clone());
            let mut reader = RangeReader::open(client, at, range, None, true).await?;
            if reader.left() > READ_LEN_MAX {
                let message = format!(
                    "{} bytes are more than the {READ_LEN_MAX} that are read in one piece",
                    reader.left()
                );
                return Err(Error::invalid(message));
            }
            reads += 1;
            match reader.collect().await {
                Err(error) if error.kind() == ErrorKind::Conflict && reads < READS_MAX => {}
                result => return result,
            }
        }
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
        let (at, bytes) = (path.into_location()?, bytes.into());
        match self.write_once(at.clone(), bytes.clone()).await {
            // The policy had become stricter and is known now, or the grant has expired. The bytes
            // are still here.
            Err(error) if is_too_few(&error) || is_grant_expired(&error) => {
                self.write_once(at, bytes).await
            }
            result => result,
        }
    }

    async fn write_once(&self, at: Location, bytes: Bytes) -> Result<Attr> {
        let mut options = PutOptions::new(true);
        options.size_hint = Some(bytes.len() as u64);
        let mut upload = self.begin_put(at, &options).await?;
        let result = match upload.write(bytes).await {
            Ok(()) => upload.finish().await,
            Err(error) => Err(error),
        };
        Ok(finished(upload, result).await?.attr)
    }

    /// Adds bytes at the end of a file, and says where they went. Up to 64 chunks are added at
    /// once or not at all.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is no file; `OutOfSpace`, `Unavailable`.
    pub async fn append(
        &self,
        path: impl IntoLocation,
        bytes: impl Into<Bytes> + Send,
    ) -> Result<u64> {
        let at = path.into_location()?;
        let update = Update::new(self, &at, None);
        Ok(update.append(bytes.into()).await?.0)
    }

    /// Replaces bytes of a file from `offset` on; a gap before them reads as zero. Up to 64
    /// chunks are replaced at once or not at all.
    ///
    /// # Errors
    /// As [`Client::append`].
    pub async fn write_at(
        &self,
        path: impl IntoLocation,
        offset: u64,
        bytes: impl Into<Bytes> + Send,
    ) -> Result<Attr> {
        let at = path.into_location()?;
        let update = Update::new(self, &at, None);
        update.write_at(offset, bytes.into()).await
    }

    async fn begin_put(&self, at: Location, options: &PutOptions) -> Result<Upload> {
        let policy = self.policy_for(&at).await?;
        let target = Target::New {
            at,
            attr: options.attr.unwrap_or(self.config().identity.file()),
            replace: options.replace,
        };
        let client = self.clone();
        Ok(Upload::new(client, target, policy, options.size_hint))
    }
}

/// Every byte of a file.
pub(super) const WHOLE: ByteRange = ByteRange::new(0, FILE_LEN_MAX);

async fn finished(mut upload: Upload, result: Result<Written>) -> Result<PutSummary> {
    if result.is_err() {
        upload.abandon().await;
    }
    result.map(PutSummary::from)
}

/// The next slice of a source: whole, but for the last; none at the end.
async fn read_slice<R>(source: &mut R) -> Result<Option<Bytes>>
where
    R: AsyncRead + Unpin,
{
    let mut slice = BytesMut::with_capacity(SLICE_LEN);
    while slice.len() < SLICE_LEN {
        let room = SLICE_LEN - slice.len();
        let mut rest = (&mut slice).limit(room);
        let read = source.read_buf(&mut rest).await;
        if read.map_err(|e| foreign("the source", e))? == 0 {
            break;
        }
    }
    Ok((!slice.is_empty()).then(|| slice.freeze()))
}

fn report(progress: &Option<Progress>, done: u64) {
    if let Some(progress) = progress {
        (progress.0)(done);
    }
}

/// The error of a stream that is not ours.
fn foreign(whose: &str, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours.context(whose),
        Err(error) => Error::with_source(ErrorKind::Invalid, format!("{whose} failed"), error),
    }
}

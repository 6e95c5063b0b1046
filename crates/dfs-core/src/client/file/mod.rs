//! Open files.

mod open;

use std::future::Future;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

use super::Client;
use super::read::{RangeReader, Window};
use super::transfer::READ_LEN_MAX;
use super::write::Update;
use crate::error::{Error, ErrorKind, Result};
use crate::types::limits::FILE_LEN_MAX;
use crate::types::{Attr, ByteRange, Location};
pub use open::OpenOptions;

/// An open file: [`AsyncRead`], [`AsyncSeek`], and reads and writes at offsets.
///
/// It stays the same file when its name changes. What it knows of the file's layout it keeps:
/// bytes that others overwrite meanwhile may be seen old for a while; bytes that they append are
/// seen by a read beyond the length known. Each write is a commit: seen whole, and durable, when
/// the method returns.
///
/// It is no `AsyncWrite`: what writes a stream in many short pieces would make a commit of each.
/// Streams go through a [`FileWriter`](super::FileWriter), which gathers them into chunks.
#[derive(Debug)]
pub struct File {
    client: Client,
    at: Location,
    options: OpenOptions,
    known: Mutex<Known>,
    position: u64,
    /// Bytes at `position` that are not yet read.
    current: Bytes,
    reading: Reading,
    seeking: Option<AbortOnDropHandle<Result<u64>>>,
}

#[derive(Debug)]
struct Known {
    attr: Attr,
    window: Option<Arc<Window>>,
}

#[derive(Debug)]
enum Reading {
    Idle(Option<Box<RangeReader>>),
    Busy(AbortOnDropHandle<Result<(Box<RangeReader>, Option<Bytes>)>>),
}

impl File {
    /// The attributes it had when they were last looked up.
    pub fn attr(&self) -> Attr {
        self.known().attr.clone()
    }

    /// The client it was opened by.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The attributes it has now.
    ///
    /// # Errors
    /// `NotFound` if it was removed for good; `Unavailable`.
    pub async fn metadata(&self) -> Result<Attr> {
        let attr = self.client.metadata(&self.at).await?;
        let mut known = self.known();
        if known.attr.revision != attr.revision {
            known.window = None;
        }
        known.attr = attr.clone();
        Ok(attr)
    }

    /// Reads `length` bytes from `offset` on, or as many as there are.
    ///
    /// # Errors
    /// `Denied` if it is not open to read; `Invalid` for more than 256 MiB; `Corrupt`,
    /// `Unavailable`.
    pub async fn read_at(&self, offset: u64, length: u64) -> Result<Bytes> {
        if !self.options.read {
            return Err(Error::new(
                ErrorKind::Denied,
                "the file is not open to read",
            ));
        }
        let range = ByteRange::new(offset, length);
        let mut reader = self.reader(range).await?;
        if reader.left() > READ_LEN_MAX {
            let message = format!("more than {READ_LEN_MAX} bytes are not read in one piece");
            return Err(Error::invalid(message));
        }
        let bytes = reader.collect().await?;
        self.learn(&reader);
        Ok(bytes)
    }

    /// Writes `bytes` at `offset`; a gap before them reads as zero.
    ///
    /// # Errors
    /// `Denied` if it is not open to write; `OutOfSpace`, `Unavailable`.
    pub async fn write_at(&self, offset: u64, bytes: impl Into<Bytes> + Send) -> Result<()> {
        let known = self.known_if(self.options.write)?;
        let update = Update::new(&self.client, &self.at, Some(known));
        let attr = update.write_at(offset, bytes.into()).await?;
        self.written(attr);
        Ok(())
    }

    /// Writes `bytes` at the end, and says where that was.
    ///
    /// # Errors
    /// As [`File::write_at`].
    pub async fn append(&self, bytes: impl Into<Bytes> + Send) -> Result<u64> {
        let known = self.known_if(self.options.write || self.options.append)?;
        let update = Update::new(&self.client, &self.at, Some(known));
        let (offset, attr) = update.append(bytes.into()).await?;
        self.written(attr);
        Ok(offset)
    }

    /// Sets its length; new bytes are zero.
    ///
    /// # Errors
    /// As [`File::write_at`].
    pub async fn set_len(&self, size: u64) -> Result<()> {
        self.known_if(self.options.write)?;
        let attr = self.client.truncate(&self.at, size).await?;
        self.written(attr);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_if(&self, allowed: bool) -> Result<Attr> {
        match allowed {
            true => Ok(self.attr()),
            false => Err(Error::new(
                ErrorKind::Denied,
                "the file is not open to write",
            )),
        }
    }

    /// Forgets the layout: it has just been changed.
    fn written(&self, attr: Attr) {
        let mut known = self.known();
        known.attr = attr;
        known.window = None;
    }

    fn learn(&self, reader: &RangeReader) {
        let mut known = self.known();
        let attr = reader.attr();
        if attr.revision >= known.attr.revision {
            known.attr = attr.clone();
            known.window = Some(reader.window().clone());
        }
    }

    fn reader(&self, range: ByteRange) -> impl Future<Output = Result<RangeReader>> + use<> {
        let (client, at) = (self.client.clone(), self.at.clone());
        let window = self.known().window.clone();
        async move {
            let known = window.filter(|w| range.offset < w.attr.size);
            // Beyond the length known the file may have grown.
            let known_whole = known.clone().filter(|w| range.end() <= w.attr.size);
            let asks = known_whole.is_none();
            let (again, place) = (client.clone(), at.clone());
            match RangeReader::open(client, at, range, known_whole, false).await {
                // While no master answers, what is known is read.
                Err(error) if asks && known.is_some() && error.is_retryable() => {
                    RangeReader::open(again, place, range, known, false).await
                }
                result => result,
            }
        }
    }

    /// Begins to read the next bytes of the stream.
    fn read_next(&mut self, reader: Option<Box<RangeReader>>) -> Reading {
        let opening = {
            let size = self.known().attr.size;
            let rest = match self.position < size {
                true => size - self.position,
                false => FILE_LEN_MAX.saturating_sub(self.position),
            };
            self.reader(ByteRange::new(self.position, rest))
        };
        let reading = async move {
            let mut reader = match reader {
                Some(reader) => reader,
                None => Box::new(opening.await?),
            };
            let bytes = reader.next().await?;
            Ok((reader, bytes))
        };
        Reading::Busy(AbortOnDropHandle::new(tokio::spawn(reading)))
    }

    fn move_to(&mut self, position: u64) {
        if position != self.position {
            self.position = position;
            self.current = Bytes::new();
            self.reading = Reading::Idle(None);
        }
    }
}

impl AsyncRead for File {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.options.read {
            let error = Error::new(ErrorKind::Denied, "the file is not open to read");
            return Poll::Ready(Err(error.into()));
        }
        loop {
            if !this.current.is_empty() {
                let length = this.current.len().min(buffer.remaining());
                buffer.put_slice(this.current.get(..length).unwrap_or_default());
                this.current.advance(length);
                this.position += length as u64;
                return Poll::Ready(Ok(()));
            }
            match &mut this.reading {
                Reading::Idle(reader) => {
                    let reader = reader.take();
                    this.reading = this.read_next(reader);
                }
                Reading::Busy(task) => {
                    let read = ready!(Pin::new(task).poll(cx));
                    this.reading = Reading::Idle(None);
                    let (reader, bytes) = read.map_err(io::Error::other)??;
                    this.learn(&reader);
                    let Some(bytes) = bytes else {
                        return Poll::Ready(Ok(()));
                    };
                    this.current = bytes;
                    this.reading = Reading::Idle(Some(reader));
                }
            }
        }
    }
}

impl AsyncSeek for File {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start");
        match to {
            SeekFrom::Start(position) => this.move_to(position),
            SeekFrom::Current(delta) => {
                let position = this.position.checked_add_signed(delta);
                this.move_to(position.ok_or_else(before)?);
            }
            SeekFrom::End(delta) => {
                let (client, at) = (this.client.clone(), this.at.clone());
                this.seeking = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                    let size = client.metadata(&at).await?.size;
                    size.checked_add_signed(delta)
                        .ok_or_else(|| Error::invalid("a seek before the start"))
                })));
            }
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        if let Some(seeking) = &mut this.seeking {
            let position = ready!(Pin::new(seeking).poll(cx));
            this.seeking = None;
            let position = position.map_err(io::Error::other)??;
            this.move_to(position);
        }
        Poll::Ready(Ok(this.position))
    }
}

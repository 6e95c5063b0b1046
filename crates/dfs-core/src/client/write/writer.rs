//! A file being written, as a stream of bytes.

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::PollSender;

use super::super::{PutSummary, SLICE_LEN};
use super::{Upload, Written};
use crate::error::{Error, ErrorKind, Result};

/// Slices that may wait for the upload.
const QUEUE_LEN: usize = 2;

/// A file being written: an [`AsyncWrite`] whose shutdown makes the bytes part of the file.
///
/// A new file appears when [`FileWriter::close`], or
/// [`shutdown`](tokio::io::AsyncWriteExt::shutdown), has returned `Ok`: whole or not at all. An
/// appender adds what it was given at each flush, and at the end. A writer that is dropped
/// instead publishes nothing more.
pub struct FileWriter {
    slice: BytesMut,
    to_upload: PollSender<Message>,
    state: State,
}

enum Message {
    Bytes(Bytes),
    Flush(oneshot::Sender<()>),
    Finish,
}

enum State {
    Open(JoinHandle<Result<Written>>),
    Flushing(JoinHandle<Result<Written>>, oneshot::Receiver<()>),
    Finishing(JoinHandle<Result<Written>>),
    Done(Result<Written>),
}

impl FileWriter {
    pub(in crate::client) fn new(upload: Upload) -> FileWriter {
        let (to_upload, messages) = mpsc::channel(QUEUE_LEN);
        FileWriter {
            slice: BytesMut::new(),
            to_upload: PollSender::new(to_upload),
            // Not aborted with the writer: it has an upload to give up then.
            state: State::Open(tokio::spawn(drive(upload, messages))),
        }
    }

    /// Makes the bytes part of the file, as `shutdown` does, and says what it is now.
    ///
    /// # Errors
    /// `Exists` if it was to be a new file; `NotFound` if the directory is gone; `OutOfSpace`,
    /// `Unavailable`.
    pub async fn close(mut self) -> Result<PutSummary> {
        let shut = self.shutdown().await;
        match (&self.state, shut) {
            (State::Done(result), _) => result.clone().map(PutSummary::from),
            (_, Err(error)) => Err(from_io(error)),
            (_, Ok(())) => Err(Error::new(ErrorKind::Internal, "a writer was not closed")),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: Message) -> Poll<io::Result<()>> {
        debug_assert!(self.to_upload.get_ref().is_some());
        match self.to_upload.send_item(message) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => self.poll_failure(cx).map(Err),
        }
    }

    /// Waits until the upload can take a message.
    fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.to_upload.poll_reserve(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => self.poll_failure(cx).map(Err),
        }
    }

    /// The upload takes no more: why?
    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Ready(match ready!(self.poll_result(cx)) {
            Ok(_) => io::Error::new(io::ErrorKind::BrokenPipe, "the file is closed already"),
            Err(error) => error.into(),
        })
    }

    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Result<Written>> {
        let result = match &mut self.state {
            State::Open(task) | State::Flushing(task, _) | State::Finishing(task) => {
                match ready!(Pin::new(task).poll(cx)) {
                    Ok(result) => result,
                    Err(stopped) => Err(Error::with_source(
                        ErrorKind::Internal,
                        "a write was stopped",
                        stopped,
                    )),
                }
            }
            State::Done(result) => return Poll::Ready(result.clone()),
        };
        self.state = State::Done(result.clone());
        Poll::Ready(result)
    }

    /// Sends the bytes collected so far.
    fn poll_send_slice(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.slice.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_reserve(cx))?;
        let bytes = self.slice.split().freeze();
        self.poll_send(cx, Message::Bytes(bytes))
    }
}

impl AsyncWrite for FileWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.state {
            State::Open(_) => {}
            State::Flushing(..) => ready!(self.as_mut().poll_flush(cx))?,
            State::Finishing(_) | State::Done(_) => return self.poll_failure(cx).map(Err),
        }
        if self.slice.len() >= SLICE_LEN {
            ready!(self.poll_send_slice(cx))?;
        }
        let room = SLICE_LEN.saturating_sub(self.slice.len());
        let part = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        self.slice.extend_from_slice(part);
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Open(_) => {
                    ready!(self.poll_send_slice(cx))?;
                    ready!(self.poll_reserve(cx))?;
                    let (done, flushed) = oneshot::channel();
                    ready!(self.poll_send(cx, Message::Flush(done)))?;
                    let this = &mut *self;
                    let stopped = State::Done(Err(closed()));
                    this.state = match mem::replace(&mut this.state, stopped) {
                        State::Open(task) => State::Flushing(task, flushed),
                        other => other,
                    };
                }
                State::Flushing(_, flushed) => {
                    let flushed = ready!(Pin::new(flushed).poll(cx));
                    if flushed.is_err() {
                        return self.poll_failure(cx).map(Err);
                    }
                    let this = &mut *self;
                    let stopped = State::Done(Err(closed()));
                    this.state = match mem::replace(&mut this.state, stopped) {
                        State::Flushing(task, _) => State::Open(task),
                        other => other,
                    };
                    return Poll::Ready(Ok(()));
                }
                State::Finishing(_) | State::Done(_) => return self.poll_shutdown(cx),
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Open(_) => {
                    ready!(self.poll_send_slice(cx))?;
                    ready!(self.poll_reserve(cx))?;
                    ready!(self.poll_send(cx, Message::Finish))?;
                    let this = &mut *self;
                    let stopped = State::Done(Err(closed()));
                    this.state = match mem::replace(&mut this.state, stopped) {
                        State::Open(task) => State::Finishing(task),
                        other => other,
                    };
                }
                State::Flushing(..) => ready!(self.as_mut().poll_flush(cx))?,
                State::Finishing(_) | State::Done(_) => {
                    let result = ready!(self.poll_result(cx));
                    return Poll::Ready(result.map(drop).map_err(io::Error::from));
                }
            }
        }
    }
}

/// Feeds an upload until it is finished, or its writer is gone.
async fn drive(mut upload: Upload, mut messages: mpsc::Receiver<Message>) -> Result<Written> {
    let result = feed(&mut upload, &mut messages).await;
    if result.is_err() {
        // The writer learns of it now; giving up may take a while.
        messages.close();
        tokio::spawn(async move { upload.abandon().await });
    }
    result
}

async fn feed(upload: &mut Upload, messages: &mut mpsc::Receiver<Message>) -> Result<Written> {
    while let Some(message) = upload.wait(messages.recv()).await? {
        match message {
            Message::Bytes(bytes) => upload.write(bytes).await?,
            Message::Flush(done) => {
                upload.flush().await?;
                // A writer that no longer waits needs no answer.
                let _ = done.send(());
            }
            Message::Finish => return upload.finish().await,
        }
    }
    Err(closed())
}

fn closed() -> Error {
    Error::invalid("a writer was dropped before it was closed")
}

fn from_io(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::with_source(ErrorKind::Internal, "a write failed", error),
    }
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter")
            .field("slice", &self.slice.len())
            .finish_non_exhaustive()
    }
}

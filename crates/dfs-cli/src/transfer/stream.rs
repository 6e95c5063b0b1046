//! The local end of a transfer: counts bytes, and remembers its own error, which must not be
//! taken for one of the cluster.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{Doing, Result};
use crate::progress::Progress;

/// A source or sink of this machine.
#[derive(Debug)]
pub(crate) struct Local<'a, S> {
    stream: S,
    progress: &'a Progress,
    error: Option<io::Error>,
}

impl<'a, S> Local<'a, S> {
    /// `stream`, whose bytes advance `progress`.
    pub(crate) fn new(stream: S, progress: &'a Progress) -> Local<'a, S> {
        Local {
            stream,
            progress,
            error: None,
        }
    }

    /// The result of a transfer between `local` and `remote`: blames the end that failed.
    ///
    /// # Errors
    /// One of them did.
    pub(crate) fn judge<T>(
        self,
        result: dfs_core::error::Result<T>,
        (verb, local): (&str, &str),
        (remote_verb, remote): (&str, &dyn std::fmt::Display),
    ) -> Result<(T, S)> {
        if let (Err(_), Some(error)) = (&result, self.error) {
            return Err(error).doing(verb, local);
        }
        let value = result.doing(remote_verb, remote)?;
        Ok((value, self.stream))
    }

    fn settle<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let twin = io::Error::new(error.kind(), error.to_string());
            self.error = Some(error);
            twin
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Local<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        Pin::new(&mut this.stream)
            .poll_read(cx, buffer)
            .map(|result| {
                this.progress
                    .advance((buffer.filled().len() - before) as u64);
                this.settle(result)
            })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Local<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream)
            .poll_write(cx, bytes)
            .map(|result| {
                this.progress
                    .advance(result.as_ref().map_or(0, |n| *n as u64));
                this.settle(result)
            })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream)
            .poll_flush(cx)
            .map(|result| this.settle(result))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream)
            .poll_shutdown(cx)
            .map(|result| this.settle(result))
    }
}

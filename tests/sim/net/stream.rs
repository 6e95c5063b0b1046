//! One end of a connection, as the code under test holds it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Net;
use super::state::Side;

pub(super) struct SimStream {
    net: Net,
    connection: u64,
    side: Side,
}

impl SimStream {
    pub(super) fn new(net: Net, connection: u64, side: Side) -> SimStream {
        SimStream {
            net,
            connection,
            side,
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.net.lock();
        state.poll_read(self.connection, self.side, cx, into)
    }
}

impl dfs_core::env::Stream for SimStream {}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.net.lock();
        state.poll_write(self.connection, self.side, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (connection, side) = (self.connection, self.side);
        self.net.act(|state| state.shut(connection, side));
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let (connection, side) = (self.connection, self.side);
        self.net.act(|state| state.close(connection, side));
    }
}

//! A TLS session whose handshake is part of the first read or write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio_rustls::{Accept, TlsStream, client};

use super::verify::peer_of;
use crate::env::{BoxStream, Stream};

/// What a session is on. The session itself reads 4 KiB at a time: without a buffer below it, each
/// of them would be a call of the system.
pub(super) type Wire = BufReader<BoxStream>;

/// Bytes that are taken from the system at a time.
const READ_SIZE: usize = 64 << 10;

/// Most bytes that are given to the system at a time.
const WRITE_SIZE: usize = 256 << 10;

pub(super) fn wire(stream: BoxStream) -> Wire {
    BufReader::with_capacity(READ_SIZE, stream)
}

/// A TLS session.
pub(super) struct LazyStream(State);

enum State {
    Handshake(Box<Accept<Wire>>),
    Ready(Box<TlsStream<Wire>>, Option<Arc<str>>),
    Failed,
}

impl LazyStream {
    pub(super) fn accepted(handshake: Accept<Wire>) -> LazyStream {
        LazyStream(State::Handshake(Box::new(handshake)))
    }

    pub(super) fn dialed(stream: client::TlsStream<Wire>) -> LazyStream {
        LazyStream(ready_state(TlsStream::Client(stream)))
    }

    /// The session, once the handshake is done.
    fn poll_session(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut TlsStream<Wire>>> {
        if let State::Handshake(handshake) = &mut self.0 {
            let done = ready!(Pin::new(&mut **handshake).poll(cx));
            self.0 = State::Failed;
            self.0 = ready_state(TlsStream::Server(done?));
        }
        Poll::Ready(match &mut self.0 {
            State::Ready(session, _) => Ok(session),
            State::Handshake(_) | State::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        })
    }
}

/// A session whose other end has shown who it is.
fn ready_state(mut session: TlsStream<Wire>) -> State {
    match &mut session {
        TlsStream::Client(session) => session.get_mut().1.set_buffer_limit(Some(WRITE_SIZE)),
        TlsStream::Server(session) => session.get_mut().1.set_buffer_limit(Some(WRITE_SIZE)),
    }
    let (_, connection) = session.get_ref();
    let shown: Option<&CertificateDer<'_>> = connection
        .peer_certificates()
        .and_then(|certificates| certificates.first());
    // It was verified in the handshake.
    let peer = shown.and_then(|certificate| peer_of(certificate).ok());
    let identity = peer.map(|peer| Arc::from(peer.to_string()));
    State::Ready(Box::new(session), identity)
}

impl Stream for LazyStream {
    fn identity(&self) -> Option<Arc<str>> {
        match &self.0 {
            State::Ready(_, identity) => identity.clone(),
            State::Handshake(_) | State::Failed => None,
        }
    }
}

impl AsyncRead for LazyStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let session = ready!(self.get_mut().poll_session(cx))?;
        Pin::new(session).poll_read(cx, buf)
    }
}

impl AsyncWrite for LazyStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let session = ready!(self.get_mut().poll_session(cx))?;
        Pin::new(session).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let session = ready!(self.get_mut().poll_session(cx))?;
        Pin::new(session).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = ready!(self.get_mut().poll_session(cx))?;
        Pin::new(session).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = ready!(self.get_mut().poll_session(cx))?;
        Pin::new(session).poll_shutdown(cx)
    }
}

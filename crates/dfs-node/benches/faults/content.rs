//! Bytes that can be told at every offset, and the ends of a stream that watch them go by.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Instant;

const WORD: usize = 8;

/// The word at `index` of the content with this number: found at no other place.
fn word(number: u64, index: u64) -> [u8; WORD] {
    let mixed = (index ^ number.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).to_le_bytes()
}

/// The first bytes of the content with this number.
pub(crate) fn content(number: u64, length: usize) -> Bytes {
    let words = (0..length.div_ceil(WORD) as u64).flat_map(|index| word(number, index));
    words.take(length).collect()
}

/// What both ends of a stream note.
pub(crate) struct Watch {
    /// The last progress, and the longest time without any.
    last: Instant,
    longest: Duration,
    position: u64,
    /// Who is told, and at which offset.
    signal: Option<(u64, oneshot::Sender<()>)>,
}

impl Watch {
    /// Begins to watch; when `at` bytes have gone by the receiver is told.
    pub(crate) fn begin(at: u64) -> (Watch, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let watch = Watch {
            last: Instant::now(),
            longest: Duration::ZERO,
            position: 0,
            signal: Some((at, sender)),
        };
        (watch, receiver)
    }

    /// Takes in progress by `length` bytes.
    pub(crate) fn passed(&mut self, length: usize) {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last);
        self.last = now;
        self.position += length as u64;
        if self
            .signal
            .as_ref()
            .is_some_and(|(at, _)| self.position >= *at)
            && let Some((_, sender)) = self.signal.take()
        {
            // Nobody listens in a run without a fault.
            let _ = sender.send(());
        }
    }

    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }
}

/// A source of `length` bytes of content.
pub(crate) struct Feed<'a> {
    pub(crate) number: u64,
    pub(crate) length: u64,
    pub(crate) watch: &'a mut Watch,
}

impl AsyncRead for Feed<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let begin = self.watch.position;
        let length = (self.length - begin).min(into.remaining() as u64) as usize;
        // Whole words, but for a reader that has less room than one.
        let skip = (begin % WORD as u64) as usize;
        let mut index = begin / WORD as u64;
        let mut done = 0;
        while done < length {
            let word = word(self.number, index);
            let from = if done == 0 { skip } else { 0 };
            let take = (WORD - from).min(length - done);
            into.put_slice(&word[from..from + take]);
            done += take;
            index += 1;
        }
        self.watch.passed(length);
        Poll::Ready(Ok(()))
    }
}

/// A sink that compares every byte.
pub(crate) struct Comparing {
    pub(crate) number: u64,
    pub(crate) watch: Watch,
}

impl AsyncWrite for Comparing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let begin = self.watch.position;
        let skip = (begin % WORD as u64) as usize;
        let (first, rest) = bytes.split_at(if skip == 0 {
            0
        } else {
            (WORD - skip).min(bytes.len())
        });
        let mut index = begin / WORD as u64;
        let mut is_right = true;
        if !first.is_empty() {
            is_right &= first == &word(self.number, index)[skip..skip + first.len()];
            index += 1;
        }
        for part in rest.chunks(WORD) {
            is_right &= part == &word(self.number, index)[..part.len()];
            index += 1;
        }
        if !is_right {
            let message = format!("wrong bytes after {begin}");
            return Poll::Ready(Err(io::Error::other(message)));
        }
        self.watch.passed(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

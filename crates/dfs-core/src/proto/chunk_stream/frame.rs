//! Frames: a fixed head, a header, a payload.
//!
//! ```text
//! offset  bytes
//!      0      1   kind
//!      1      1   zero
//!      2      2   header length, at most FRAME_HEADER_MAX
//!      4      4   payload length, at most FRAME_PAYLOAD_MAX; zero unless the kind is Data
//!      8      4   CRC-32C of the header
//!     12      4   CRC-32C of the twelve bytes before
//!     16      …   header (postcard), then payload (raw; its blocks' CRCs are in the header)
//! ```
//!
//! Numbers are little-endian. Lengths are checked before anything is allocated for them, and the
//! head's own CRC before they are believed at all.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::types::checksum::crc32c;
use crate::types::limits::{FRAME_HEADER_MAX, FRAME_PAYLOAD_MAX};

/// Length of a frame's head in bytes.
const HEAD_LEN: usize = 16;
/// Most buffers given to one vectored write.
const SLICES_MAX: usize = 64;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// The caller asks for something: [`Request`](super::Request).
    Request,
    /// Blocks of a chunk: [`DataHeader`](super::DataHeader) and their bytes.
    Data,
    /// The writer has sent everything: [`Finish`](super::Finish).
    Finish,
    /// "Still here": no header.
    Alive,
    /// The answer, or its beginning: [`Reply`](super::Reply).
    Reply,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            FrameKind::Request => 1,
            FrameKind::Data => 2,
            FrameKind::Finish => 3,
            FrameKind::Alive => 4,
            FrameKind::Reply => 5,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<FrameKind> {
        Some(match code {
            1 => FrameKind::Request,
            2 => FrameKind::Data,
            3 => FrameKind::Finish,
            4 => FrameKind::Alive,
            5 => FrameKind::Reply,
            _ => return None,
        })
    }
}

/// A frame that arrived. Its header is right by its CRC, its payload is not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// The header's bytes.
    pub header: Bytes,
    /// The payload's bytes.
    pub payload: Bytes,
}

/// How long to wait for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until its first byte.
    pub first: Duration,
    /// Between bytes after that.
    pub silence: Duration,
    /// From its first byte to its last.
    pub whole: Duration,
}

/// Reads the next frame; none when the stream ends between two frames.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when patience ran out, [`io::ErrorKind::InvalidData`] for bytes
/// that are no frame, [`io::ErrorKind::UnexpectedEof`] inside one. The stream is useless then.
pub async fn read_frame<R>(stream: &mut R, patience: Patience) -> io::Result<Option<Frame>>
where
    R: AsyncRead + Unpin,
{
    read_one_of(stream, |_| true, patience).await
}

/// The same where only a request may come: nothing is allocated for another frame.
///
/// # Errors
/// As [`read_frame`], and [`io::ErrorKind::InvalidData`] for a frame of another kind.
pub async fn read_request<R>(stream: &mut R, patience: Patience) -> io::Result<Option<Frame>>
where
    R: AsyncRead + Unpin,
{
    read_one_of(stream, |kind| kind == FrameKind::Request, patience).await
}

async fn read_one_of<R>(
    stream: &mut R,
    is_expected: impl FnOnce(FrameKind) -> bool,
    patience: Patience,
) -> io::Result<Option<Frame>>
where
    R: AsyncRead + Unpin,
{
    let mut head = BytesMut::with_capacity(HEAD_LEN);
    let first = stream.read_buf(&mut head);
    if timeout(patience.first, first).await.map_err(silent)?? == 0 {
        return Ok(None);
    }
    let until = Instant::now() + patience.whole;
    fill(stream, &mut head, HEAD_LEN, patience.silence, until).await?;
    let head = Head::decode(&head)?;
    if !is_expected(head.kind) {
        return Err(invalid("a frame of another kind was expected"));
    }

    let mut header = BytesMut::with_capacity(head.header_len);
    fill(
        stream,
        &mut header,
        head.header_len,
        patience.silence,
        until,
    )
    .await?;
    if crc32c(&header) != head.header_checksum {
        return Err(invalid("a frame's header fails its checksum"));
    }
    let mut payload = BytesMut::with_capacity(head.payload_len);
    fill(
        stream,
        &mut payload,
        head.payload_len,
        patience.silence,
        until,
    )
    .await?;
    Ok(Some(Frame {
        kind: head.kind,
        header: header.freeze(),
        payload: payload.freeze(),
    }))
}

/// Reads until `buffer` has `length` bytes, and none beyond.
async fn fill<R>(
    stream: &mut R,
    buffer: &mut BytesMut,
    length: usize,
    silence: Duration,
    until: Instant,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    while buffer.len() < length {
        let missing = length - buffer.len();
        let deadline = until.min(Instant::now() + silence);
        let mut limited = (&mut *buffer).limit(missing);
        let read = timeout_at(deadline, stream.read_buf(&mut limited)).await;
        if read.map_err(silent)?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

struct Head {
    kind: FrameKind,
    header_len: usize,
    payload_len: usize,
    header_checksum: u32,
}

impl Head {
    fn decode(mut bytes: &[u8]) -> io::Result<Head> {
        let checksum = crc32c(bytes.get(..HEAD_LEN - 4).unwrap_or_default());
        let kind = bytes.try_get_u8().ok().and_then(FrameKind::from_code);
        let fields = (|| {
            let zero = bytes.try_get_u8()?;
            let header_len = bytes.try_get_u16_le()?;
            let payload_len = bytes.try_get_u32_le()?;
            let header_checksum = bytes.try_get_u32_le()?;
            Ok((
                zero,
                header_len,
                payload_len,
                header_checksum,
                bytes.try_get_u32_le()?,
            ))
        })();
        let (zero, header_len, payload_len, header_checksum, own_checksum) =
            fields.map_err(|_: bytes::TryGetError| invalid("a frame's head is too short"))?;
        if own_checksum != checksum {
            return Err(invalid("a frame's head fails its checksum"));
        }
        let (Some(kind), 0) = (kind, zero) else {
            return Err(invalid("a frame of an unknown kind"));
        };
        let (header_len, payload_len) = (usize::from(header_len), payload_len as usize);
        let payload_max = if kind == FrameKind::Data {
            FRAME_PAYLOAD_MAX
        } else {
            0
        };
        if header_len > FRAME_HEADER_MAX || payload_len > payload_max {
            return Err(invalid("a frame is too long"));
        }
        Ok(Head {
            kind,
            header_len,
            payload_len,
            header_checksum,
        })
    }
}

/// Head and header of a frame whose payload will be `payload_len` bytes.
///
/// # Errors
/// The header or the payload is too long for a frame.
pub fn encode<T: Serialize>(kind: FrameKind, header: &T, payload_len: usize) -> io::Result<Bytes> {
    let header = postcard::to_stdvec(header).map_err(io::Error::other)?;
    with_head(kind, &header, payload_len)
}

/// The same of a header that is encoded.
pub(crate) fn with_head(kind: FrameKind, header: &[u8], payload_len: usize) -> io::Result<Bytes> {
    let header_len = u16::try_from(header.len()).map_err(io::Error::other)?;
    if header.len() > FRAME_HEADER_MAX || payload_len > FRAME_PAYLOAD_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too long for one frame",
        ));
    }
    let payload_len = u32::try_from(payload_len).map_err(io::Error::other)?;
    let mut frame = BytesMut::with_capacity(HEAD_LEN + header.len());
    frame.put_u8(kind.code());
    frame.put_u8(0);
    frame.put_u16_le(header_len);
    frame.put_u32_le(payload_len);
    frame.put_u32_le(crc32c(header));
    frame.put_u32_le(crc32c(&frame));
    frame.extend_from_slice(header);
    Ok(frame.freeze())
}

/// Writes a frame without a payload.
///
/// # Errors
/// As [`write_buffers`], and a header too long for a frame.
pub async fn write_message<W, T>(
    stream: &mut W,
    kind: FrameKind,
    header: &T,
    stall: Duration,
) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
    T: Serialize,
{
    write_buffers(stream, &[encode(kind, header, 0)?], stall).await
}

/// Writes buffers one after the other, without copying them together, and flushes.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when the other end took no bytes for `stall`.
pub async fn write_buffers<W>(stream: &mut W, buffers: &[Bytes], stall: Duration) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    for group in buffers.chunks(SLICES_MAX) {
        let mut slices: Vec<IoSlice<'_>> = group.iter().map(|b| IoSlice::new(b)).collect();
        let mut rest: &mut [IoSlice<'_>] = &mut slices;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let written = timeout(stall, stream.write_vectored(rest))
                .await
                .map_err(silent)??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, written);
        }
    }
    timeout(stall, stream.flush()).await.map_err(silent)?
}

fn silent(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other end is silent")
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(1),
        silence: Duration::from_secs(1),
        whole: Duration::from_secs(10),
    };

    async fn read(mut bytes: &[u8]) -> io::Result<Option<Frame>> {
        read_frame(&mut bytes, PATIENCE).await
    }

    #[tokio::test]
    async fn a_frame_reads_back_as_it_was_written() {
        let payload = Bytes::from_static(b"block");
        let mut wire = Vec::new();
        let start = encode(FrameKind::Data, &(7u64, vec![9u32]), payload.len()).unwrap();
        write_buffers(&mut wire, &[start, payload.clone()], PATIENCE.silence)
            .await
            .unwrap();

        let frame = read(&wire).await.unwrap().unwrap();

        assert_eq!((frame.kind, &frame.payload), (FrameKind::Data, &payload));
        let header: (u64, Vec<u32>) = postcard::from_bytes(&frame.header).unwrap();
        assert_eq!(header, (7, vec![9]));
    }

    #[tokio::test]
    async fn the_end_of_a_stream_between_frames_is_no_error_but_inside_one_it_is() {
        let frame = encode(FrameKind::Alive, &(), 0).unwrap();
        assert!(read(b"").await.unwrap().is_none());
        for cut in 1..frame.len() {
            let error = read(&frame[..cut]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn any_flipped_bit_of_head_or_header_is_found() {
        let frame = encode(FrameKind::Finish, &(123_456u64, 7u32), 0).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = read(&bad).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "bit {bit}");
        }
    }

    #[tokio::test]
    async fn lengths_over_the_limit_are_refused_with_a_right_checksum_too() {
        let head = |kind: u8, header_len: u16, payload_len: u32| {
            let mut head = vec![kind, 0];
            head.put_u16_le(header_len);
            head.put_u32_le(payload_len);
            head.put_u32_le(0);
            head.put_u32_le(crc32c(&head));
            head
        };
        for bad in [
            head(2, 0, u32::MAX),
            head(2, u16::MAX, 0),
            head(3, 0, 1),
            head(99, 0, 0),
        ] {
            let error = read(&bad).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_request_is_expected_nothing_is_read_of_other_frames_but_their_heads() {
        for kind in [FrameKind::Data, FrameKind::Finish, FrameKind::Reply] {
            let (mut ours, mut theirs) = tokio::io::duplex(64);
            let start = encode(kind, &[7u8; 9].as_slice(), 0).unwrap();
            // The rest never comes.
            theirs.write_all(&start[..HEAD_LEN]).await.unwrap();
            let error = read_request(&mut ours, PATIENCE).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{kind:?}");
        }
        let request = encode(FrameKind::Request, &7u64, 0).unwrap();
        let frame = read_request(&mut &*request, PATIENCE).await.unwrap();
        assert_eq!(frame.unwrap().kind, FrameKind::Request);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_trickles_for_ever_is_given_up() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let frame = encode(FrameKind::Finish, &[7u8; 200].as_slice(), 0).unwrap();
        tokio::spawn(async move {
            for byte in frame {
                theirs.write_all(&[byte]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        let error = read_frame(&mut ours, PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

//! tarpc over a byte stream: bounded frames, postcard inside.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tarpc::client::NewClient;
use tarpc::serde_transport::{self, Transport};
use tokio::task::JoinHandle;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::message::{RaftRpcClient, RaftRpcRequest, RaftRpcResponse};
use crate::env::BoxStream;

/// The largest message: entries of a mebibyte and one more command of up to two, or a frame of
/// a snapshot, with room for their envelopes. A longer one is refused by its length alone.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// Longest time that a request may ask for. tarpc adds it to a clock, and panics over one of years.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests of ours that one connection carries at once.
const REQUESTS_IN_FLIGHT: usize = 64;

type Server = Transport<
    BoxStream,
    tarpc::ClientMessage<RaftRpcRequest>,
    tarpc::Response<RaftRpcResponse>,
    Postcard,
>;

fn framed(stream: BoxStream) -> Framed<BoxStream, LengthDelimitedCodec> {
    let mut codec = LengthDelimitedCodec::new();
    codec.set_max_frame_length(FRAME_BYTES_MAX);
    Framed::new(stream, codec)
}

pub(crate) fn server(stream: BoxStream) -> Server {
    serde_transport::new(framed(stream), Postcard)
}

/// Our end of a connection.
pub(crate) struct Client {
    pub(crate) rpc: RaftRpcClient,
    carries: JoinHandle<()>,
}

impl Client {
    /// Whether the other end is there, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        !self.carries.is_finished()
    }
}

pub(crate) fn client(stream: BoxStream) -> Client {
    let transport = serde_transport::new(framed(stream), Postcard);
    let mut config = tarpc::client::Config::default();
    config.max_in_flight_requests = REQUESTS_IN_FLIGHT;
    config.pending_request_buffer = REQUESTS_IN_FLIGHT;
    let NewClient { client, dispatch } = RaftRpcClient::new(config, transport);
    let carries = tokio::spawn(async move {
        if let Err(error) = dispatch.await {
            tracing::debug!(%error, "a connection broke");
        }
    });
    Client {
        rpc: client,
        carries,
    }
}

/// postcard as tarpc's codec.
pub(crate) struct Postcard;

impl<T: Serialize> tokio_serde::Serializer<T> for Postcard {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, item: &T) -> io::Result<Bytes> {
        let bytes = postcard::to_stdvec(item).map_err(invalid)?;
        Ok(Bytes::from(bytes))
    }
}

impl<T: Received> tokio_serde::Deserializer<T> for Postcard {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, frame: &BytesMut) -> io::Result<T> {
        decode(frame)
    }
}

/// A message of tarpc as it arrives.
pub(crate) trait Received: DeserializeOwned {
    /// Refuses what tarpc does not survive.
    fn check(frame: &[u8]) -> io::Result<()>;
}

impl<T: DeserializeOwned> Received for tarpc::Response<T> {
    fn check(_: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

impl<T: DeserializeOwned> Received for tarpc::ClientMessage<T> {
    fn check(frame: &[u8]) -> io::Result<()> {
        /// How a [`tarpc::ClientMessage`] begins.
        #[derive(Deserialize)]
        enum Begin {
            Request { deadline: Duration },
            Cancel,
        }
        match postcard::take_from_bytes(frame).map_err(invalid)? {
            (Begin::Request { deadline }, _) if deadline > DEADLINE_MAX => {
                Err(invalid("a request asks for too much time"))
            }
            (Begin::Request { .. } | Begin::Cancel, _) => Ok(()),
        }
    }
}

/// The message that a frame is.
pub(crate) fn decode<T: Received>(frame: &[u8]) -> io::Result<T> {
    T::check(frame)?;
    match postcard::take_from_bytes(frame) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(invalid("bytes after a message's end")),
        Err(e) => Err(invalid(e)),
    }
}

fn invalid(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use tarpc::{ClientMessage, Request, context};

    use super::*;

    /// A request as it is sent, that asks for so many seconds.
    fn frame(seconds: u64) -> Vec<u8> {
        let request = ClientMessage::Request(Request {
            context: context::current(),
            id: 7,
            message: (),
        });
        let sent = postcard::to_stdvec(&request).unwrap();
        let (_, rest) = postcard::take_from_bytes::<(u8, Duration)>(&sent).unwrap();
        let begin = (0u8, Duration::from_secs(seconds));
        let begin = postcard::to_stdvec(&begin).unwrap();
        [&begin, rest].concat()
    }

    #[test]
    fn a_request_for_more_time_than_a_day_is_refused() {
        for (seconds, fits) in [(60, true), (3 << 25, false), (u64::MAX, false)] {
            let decoded = decode::<ClientMessage<()>>(&frame(seconds));
            assert_eq!(decoded.is_ok(), fits, "{seconds}");
        }
    }

    // When it does, the check can go.
    #[test]
    fn tarpc_does_not_survive_what_is_refused() {
        let frame = frame(u64::MAX);
        let decoded = || postcard::from_bytes::<ClientMessage<()>>(&frame).is_ok();
        assert!(std::panic::catch_unwind(decoded).is_err());
    }
}

//! tarpc over a byte stream: bounded frames, postcard inside.

use std::io;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::client::NewClient;
use tarpc::serde_transport::{self, Transport};
use tokio::task::JoinHandle;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::incoming::Incoming;
use super::message::{RaftRpcClient, RaftRpcRequest, RaftRpcResponse};
use crate::env::BoxStream;

/// The largest message: entries of a mebibyte and one more command of up to two, or a frame of
/// a snapshot, with room for their envelopes. A longer one is refused by its length alone.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// Requests of ours that one connection carries at once.
const REQUESTS_IN_FLIGHT: usize = 64;

type Server =
    Transport<BoxStream, Incoming<RaftRpcRequest>, tarpc::Response<RaftRpcResponse>, Postcard>;

fn framed(stream: BoxStream) -> Framed<BoxStream, LengthDelimitedCodec> {
    let mut codec = LengthDelimitedCodec::new();
    codec.set_max_frame_length(FRAME_BYTES_MAX);
    Framed::new(stream, codec)
}

pub(crate) fn server(
    stream: BoxStream,
) -> impl tarpc::Transport<
    tarpc::Response<RaftRpcResponse>,
    tarpc::ClientMessage<RaftRpcRequest>,
    TransportError = io::Error,
> {
    let heard: Server = serde_transport::new(framed(stream), Postcard);
    heard.map_ok(tarpc::ClientMessage::from)
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

impl<T: DeserializeOwned> tokio_serde::Deserializer<T> for Postcard {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, frame: &BytesMut) -> io::Result<T> {
        decode(frame)
    }
}

/// The message that a frame is.
pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(frame) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(invalid("bytes after a message's end")),
        Err(e) => Err(invalid(e)),
    }
}

fn invalid(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

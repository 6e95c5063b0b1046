//! tarpc over a stream: length-delimited postcard frames, bounded before they are read.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;

use crate::env::BoxStream;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::serde_transport::{self, Transport};
use tokio_serde::{Deserializer, Serializer};
use tokio_util::codec::LengthDelimitedCodec;

use crate::types::limits::MESSAGE_LEN_MAX;

/// A transport of messages `In` and `Out` over a stream.
pub type Messages<In, Out> = Transport<BoxStream, In, Out, Postcard<In, Out>>;

/// Longest message of whoever is nobody yet: a name and what proves it.
pub const STRANGER_MESSAGE_LEN_MAX: usize = 4 << 10;

/// Messages over `stream`, none longer than [`MESSAGE_LEN_MAX`].
pub fn messages<In, Out>(stream: BoxStream) -> Messages<In, Out>
where
    In: DeserializeOwned,
    Out: Serialize,
{
    messages_of(stream, MESSAGE_LEN_MAX)
}

/// Messages over `stream`, none longer than `most` bytes.
pub fn messages_of<In, Out>(stream: BoxStream, most: usize) -> Messages<In, Out>
where
    In: DeserializeOwned,
    Out: Serialize,
{
    let framed = LengthDelimitedCodec::builder()
        .max_frame_length(most)
        .new_framed(stream);
    serde_transport::new(framed, Postcard(PhantomData))
}

/// Messages as postcard.
#[derive(Debug)]
pub struct Postcard<In, Out>(PhantomData<fn(Out) -> In>);

impl<In: DeserializeOwned, Out> Deserializer<In> for Postcard<In, Out> {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> io::Result<In> {
        decode(bytes)
    }
}

/// The message that bytes are.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(invalid)
}

fn invalid(e: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e.to_string())
}

impl<In, Out: Serialize> Serializer<Out> for Postcard<In, Out> {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, message: &Out) -> io::Result<Bytes> {
        postcard::to_stdvec(message)
            .map(Bytes::from)
            .map_err(invalid)
    }
}

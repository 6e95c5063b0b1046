//! A snapshot on its way: the sending loop, and the receiving half's state.
//!
//! ```text
//! leader ──begin(vote)──▶ follower             a new file
//!        ──frame 0, 1, 2 …──▶                  verified by both, written
//!        ──end(rows, digest, position)──▶      compared, fsynced, switched in
//! ```
//!
//! There is one transfer at a time; beginning another discards it.

use std::sync::Arc;

use openraft::errors::{StreamingError, Unreachable};
use tokio::sync::Mutex;

use super::message::{Begun, End, Part, Refusal};
use super::peers::{Connection, Peers, streaming_error};
use crate::error::Fatal;
use crate::machine::StateMachine;
use crate::state::Digest;
use crate::storage::snapshot::{Cursor, FrameError, Received, Receiver, SnapshotView};
use crate::storage::state_machine::State;
use crate::types::{TypeConfig, Vote};

/// Sends a snapshot and returns the vote that the receiver has afterwards.
pub(crate) async fn send(
    peers: &Peers,
    connection: &Connection,
    vote: Vote,
    view: SnapshotView,
) -> Result<Vote, StreamingError<TypeConfig>> {
    // Each step may make something durable.
    let deadline = peers.config().snapshot_install_timeout;
    let begin = (&vote).into();
    let begun = connection.call(deadline, async move |client, context, header| {
        client.begin_snapshot(context, header, begin).await
    });
    let transfer = match begun.await.map_err(streaming_error)? {
        Begun::Transfer(transfer) => transfer,
        Begun::HigherVote(vote) => return Ok(vote.open()),
    };
    let mut cursor = Cursor::default();
    loop {
        let sequence = cursor.sequence;
        let source = view.clone();
        let next = move || {
            let frame = source.next_frame(&mut cursor);
            (cursor, frame)
        };
        let (advanced, frame) = peers.env().run_blocking(next).await;
        cursor = advanced;
        let frame = match frame {
            Ok(Some(frame)) => frame.into(),
            Ok(None) => break,
            Err(fatal) => {
                peers.failure().stop(fatal.clone());
                return Err(StreamingError::Unreachable(Unreachable::new(&fatal)));
            }
        };
        let part = Part {
            transfer,
            sequence,
            frame,
        };
        let sent = connection.call(deadline, async move |client, context, header| {
            client.snapshot_frame(context, header, part).await
        });
        sent.await.map_err(streaming_error)?;
    }
    let end = End::new(
        transfer,
        &vote,
        cursor.rows,
        cursor.digest.0,
        &view.position,
    );
    let ended = connection.call(deadline, async move |client, context, header| {
        client.end_snapshot(context, header, end).await
    });
    Ok(ended.await.map_err(streaming_error)?.open())
}

/// The receiving half.
pub(crate) struct Incoming<M> {
    state: Arc<State<M>>,
    transfer: Mutex<Transfer>,
}

#[derive(Default)]
struct Transfer {
    id: u64,
    receiver: Option<Receiver>,
}

fn refused(e: FrameError) -> Result<Refusal, Fatal> {
    match e {
        FrameError::Refused(why) => Ok(Refusal::Invalid(why)),
        FrameError::Fatal(fatal) => Err(fatal),
    }
}

impl<M: StateMachine> Incoming<M> {
    pub(crate) fn new(state: Arc<State<M>>) -> Incoming<M> {
        let transfer = Mutex::default();
        Incoming { state, transfer }
    }

    /// Begins a transfer and returns its number.
    pub(crate) async fn begin(&self) -> Result<u64, Fatal> {
        let mut transfer = self.transfer.lock().await;
        let old = transfer.receiver.take();
        let state = self.state.clone();
        let create = move || {
            drop(old);
            state.receive_snapshot()
        };
        transfer.receiver = Some(self.state.env().run_blocking(create).await?);
        transfer.id += 1;
        Ok(transfer.id)
    }

    /// Takes the next frame. One that is not the next ends the transfer.
    pub(crate) async fn frame(&self, part: Part) -> Result<Result<(), Refusal>, Fatal> {
        let mut transfer = self.transfer.lock().await;
        let Some(mut receiver) = transfer.take(part.transfer) else {
            return Ok(Err(unknown_transfer()));
        };
        if receiver.sequence() != part.sequence {
            self.state.env().run_blocking(move || drop(receiver)).await;
            return Ok(Err(Refusal::Invalid("a frame is missing".to_owned())));
        }
        let write = move || receiver.frame(&part.frame).map(|()| receiver);
        match self.state.env().run_blocking(write).await {
            Ok(receiver) => {
                transfer.receiver = Some(receiver);
                Ok(Ok(()))
            }
            Err(e) => refused(e).map(Err),
        }
    }

    /// Completes the transfer.
    pub(crate) async fn end(&self, end: End) -> Result<Result<Received, Refusal>, Fatal> {
        let mut transfer = self.transfer.lock().await;
        let Some(receiver) = transfer.take(end.transfer) else {
            return Ok(Err(unknown_transfer()));
        };
        let position = match end.position() {
            Ok(position) => position,
            Err(e) => return Ok(Err(Refusal::Invalid(e.to_string()))),
        };
        let finish = move || receiver.finish(end.rows, Digest(end.digest), position);
        match self.state.env().run_blocking(finish).await {
            Ok(received) => Ok(Ok(received)),
            Err(e) => refused(e).map(Err),
        }
    }
}

impl Transfer {
    fn take(&mut self, id: u64) -> Option<Receiver> {
        match self.id == id {
            true => self.receiver.take(),
            false => None,
        }
    }
}

fn unknown_transfer() -> Refusal {
    Refusal::Invalid("there is no such transfer of a snapshot".to_owned())
}

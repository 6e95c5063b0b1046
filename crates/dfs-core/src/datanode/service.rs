//! Chunk streams from outside: who may connect, what is asked, and reads.
//!
//! ```text
//! accept ─▶ hello ─▶ request ─▶ read: below      ─▶ next request …
//!                            └▶ write: pipeline ─┘
//! ```
//!
//! A connection that sends something else is closed; one that sends nothing is closed when its
//! place is needed, or after a while. What is allocated for it is bounded by the header of one
//! frame before a request is admitted. Whoever has shown no good permit yet has little time, and
//! few places.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::error::to_stream_error;
use super::permits::Guest;
use super::serving::Purpose;
use super::store::{BlockRun, ReplicaReader, StoreError};
use super::{Shared, gossip, pipeline};
use crate::env::{BoxStream, Connection, Listener};
use crate::node::audit::{Actor, Deed};
use crate::planted::{self, Bug};
use crate::proto::chunk_stream::frame::{
    Frame, FrameKind, encode, read_request, write_buffers, write_message,
};
use crate::proto::chunk_stream::{
    DataHeader, Deadlines, ReadRequest, Reply, Request, StreamError, StreamErrorKind, decode,
};
use crate::proto::hello::{self, HelloReply, Service};
use crate::types::checksum::{block_crcs, verify_blocks};
use crate::types::limits::BLOCK_LEN;
use crate::types::{ByteRange, ChunkId, NodeId};

/// How long to wait when accepting fails: too many open files, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long it may take to write down that somebody is not let in.
const NOTED_WITHIN: Duration = Duration::from_secs(2);

/// Whether a connection can be used for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It can.
    Request,
    /// It cannot: bytes may be on their way that belong to the last one.
    Close,
}

/// Accepts connections until the node stops.
pub(super) async fn accept(shared: Arc<Shared>, mut listener: Box<dyn Listener>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => {
                let Some(permit) = shared.admission.connection().await else {
                    debug!(peer = connection.peer, "too many connections; refused one");
                    continue;
                };
                let serving = Arc::clone(&shared);
                shared.streams.spawn(async move {
                    tokio::select! {
                        biased;
                        () = serving.kill.cancelled() => {}
                        () = serve(&serving, connection) => {}
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(shared: &Arc<Shared>, connection: Connection) {
    let Connection { mut stream, peer } = connection;
    if let Err(error) = serve_requests(shared, &mut stream, &peer).await {
        debug!(peer, %error, "a connection ended");
    }
}

/// Writes down that somebody is not let in, or not to what it asks for. It is not, also if that
/// fails.
async fn not_let_in(shared: &Shared, actor: &Actor, deed: Deed, why: &str) {
    let noted = shared.audit.not_let_in(actor, deed, why);
    // Nobody keeps a place for long because a disk is slow.
    if !matches!(timeout(NOTED_WITHIN, noted).await, Ok(Ok(()))) {
        warn!(
            ?actor,
            why, "somebody was not let in, and it is not in the audit log"
        );
    }
}

async fn serve_requests(
    shared: &Arc<Shared>,
    stream: &mut BoxStream,
    peer: &str,
) -> io::Result<()> {
    let Some((mut guest, mut request)) = introduce(shared, stream, peer).await? else {
        return Ok(());
    };
    loop {
        if serve_request(shared, stream, request).await? == Next::Close {
            drain(stream, shared.config.deadlines.silence).await;
            return Ok(());
        }
        let Some(next) = permitted(shared, stream, (&mut guest, peer)).await? else {
            return Ok(());
        };
        request = next;
    }
}

/// Waits until somebody asks for what it may have; none if it does not.
async fn introduce(
    shared: &Shared,
    stream: &mut BoxStream,
    peer: &str,
) -> io::Result<Option<(Guest, Request)>> {
    let visitor = shared.admission.stranger(peer);
    let introduced = async {
        let Some((mut guest, service)) = greet(shared, stream, peer).await? else {
            return Ok(None);
        };
        if service == Service::Peers {
            gossip::serve(shared, stream, guest.key()).await?;
            return Ok(None);
        }
        let request = permitted(shared, stream, (&mut guest, peer)).await?;
        Ok(request.map(|request| (guest, request)))
    };
    let introduced = timeout(shared.config.deadlines.with_stranger(), introduced);
    let why = tokio::select! {
        introduced = introduced => match introduced {
            Ok(introduced) => return introduced,
            Err(_) => "it showed no good permit in time".to_owned(),
        },
        () = visitor.gives_way() => hello::gave_way().to_string(),
    };
    let actor = Guest::new(stream.identity().as_deref()).actor(peer);
    not_let_in(shared, &actor, Deed::new("silence"), &why).await;
    Ok(None)
}

/// The next request that is permitted, after those that are not were refused; none when the
/// caller has no more.
async fn permitted(
    shared: &Shared,
    stream: &mut BoxStream,
    (guest, peer): (&mut Guest, &str),
) -> io::Result<Option<Request>> {
    while let Some(frame) = next_request(shared, stream).await? {
        let request: Request = decode(&frame, FrameKind::Request)?;
        let refused = refuse(shared, &request).or_else(|| guest.refuse(shared, &request));
        let Some(error) = refused else {
            return Ok(Some(request));
        };
        if error.kind == StreamErrorKind::Denied {
            let (actor, deed) = (guest.actor(peer), deed_of(&request));
            not_let_in(shared, &actor, deed, &error.message).await;
        }
        let is_denied = error.kind == StreamErrorKind::Denied;
        answer(stream, Reply::Failed(error), &shared.config.deadlines).await?;
        if next_after_refusal(&request) == Next::Close {
            drain(stream, shared.config.deadlines.silence).await;
            return Ok(None);
        }
        // Whoever has another permit may come again; who has none does not stay by asking on.
        if is_denied {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Hears the hello, and says who it is and what for if it is welcome.
async fn greet(
    shared: &Shared,
    stream: &mut BoxStream,
    peer: &str,
) -> io::Result<Option<(Guest, Service)>> {
    let idle = shared.admission.idle();
    let hello = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return Ok(None),
        () = idle.closed.cancelled() => return Ok(None),
        hello = hello::hear(stream) => hello,
    };
    let hello = match hello {
        Ok(hello) => hello,
        Err(error) => {
            if let Some(what) = hello::oddity(&error) {
                let somebody = Actor::new("somebody", peer);
                not_let_in(shared, &somebody, Deed::new(what), &error.to_string()).await;
            }
            return Err(error);
        }
    };
    let identity = stream.identity();
    let guest = Guest::new(identity.as_deref());
    let is_insecure = shared.config.security.is_insecure();
    let is_stranger = !is_insecure && !guest.is_known();
    let ours = shared.identity().map(|i| i.cluster);
    let is_peer = is_insecure || ours.is_some_and(|ours| guest.is_data_node_of(ours));
    let refusal = match (hello.service, ours) {
        _ if is_stranger => Some("whoever connects shows a key".to_owned()),
        (Service::Peers, Some(_)) if !is_peer => Some("this is for data nodes".to_owned()),
        (Service::ChunkStream | Service::Peers, Some(_)) if hello.cluster == ours => None,
        (Service::ChunkStream | Service::Peers, Some(ours)) => {
            Some(format!("this is cluster {ours}"))
        }
        (Service::ChunkStream | Service::Peers, None) => Some("not in a cluster yet".to_owned()),
        (other, _) => Some(format!("a data node does not serve {other:?}")),
    };
    if let Some(why) = &refusal {
        let deed = Deed::new(hello.service.name());
        not_let_in(shared, &guest.actor(peer), deed, why).await;
    }
    let welcome = refusal.is_none();
    let reply = match refusal {
        Some(reason) => HelloReply::Refused(reason),
        None => HelloReply::Welcome { cluster: ours },
    };
    hello::answer(stream, &reply).await?;
    Ok(welcome.then_some((guest, hello.service)))
}

/// The next request; none when the caller has no more, or the place is needed.
async fn next_request(shared: &Shared, stream: &mut BoxStream) -> io::Result<Option<Frame>> {
    let idle = shared.admission.idle();
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => Ok(None),
        () = idle.closed.cancelled() => Ok(None),
        frame = read_request(stream, shared.config.deadlines.between_requests()) => frame,
    }
}

async fn serve_request(
    shared: &Arc<Shared>,
    stream: &mut BoxStream,
    request: Request,
) -> io::Result<Next> {
    match request {
        Request::Read(read) => {
            let Some(_permit) = shared.admission.read().await else {
                let busy = busy(shared, "too many reads");
                answer(stream, Reply::Failed(busy), &shared.config.deadlines).await?;
                return Ok(Next::Request);
            };
            let purpose = match read.gives_way {
                true => Purpose::Copy,
                false => Purpose::Awaited,
            };
            let _counted = shared.serving.count(purpose);
            serve_read(shared, stream, &read, purpose).await?;
            Ok(Next::Request)
        }
        Request::Write(write) => {
            let Some(_permit) = shared.admission.write(write.forward.len()).await else {
                let busy = busy(shared, "too many writes");
                answer(stream, Reply::Failed(busy), &shared.config.deadlines).await?;
                return Ok(Next::Close);
            };
            // On behalf of somebody who waits, whichever data node sends it on.
            let _counted = shared.serving.count(Purpose::Awaited);
            pipeline::serve_write(shared, stream, write).await
        }
    }
}

/// Why a request cannot be served at all.
fn refuse(shared: &Shared, request: &Request) -> Option<StreamError> {
    let us = shared.node_or_zero();
    let meant = match request {
        Request::Read(read) => read.node,
        Request::Write(write) => write.node,
    };
    if meant != us {
        let message = format!("{meant} was meant, this is {us}");
        return Some(StreamError::new(us, StreamErrorKind::Unreachable, message));
    }
    let why = request.validate().err()?;
    Some(StreamError::new(us, StreamErrorKind::Invalid, why))
}

/// What it asks for, for the audit log.
fn deed_of(request: &Request) -> Deed {
    match request {
        Request::Read(read) => Deed::new("read").about(read.chunk),
        Request::Write(write) => Deed::new("write").about(write.chunk),
    }
}

/// After a write was refused its bytes may be on their way.
fn next_after_refusal(request: &Request) -> Next {
    match request {
        Request::Read(_) => Next::Request,
        Request::Write(_) => Next::Close,
    }
}

fn busy(shared: &Shared, what: &str) -> StreamError {
    StreamError::new(shared.node_or_zero(), StreamErrorKind::Busy, what)
}

/// Lets the caller read the last answer: to close a connection with unread bytes would take the
/// answer away from it.
async fn drain(stream: &mut BoxStream, patience: Duration) {
    let mut discarded = vec![0; BLOCK_LEN];
    let all = async { while matches!(stream.read(&mut discarded).await, Ok(n) if n > 0) {} };
    // Whether it went away or not, the connection is closed now.
    let _ = timeout(patience, all).await;
}

pub(super) async fn answer<W>(stream: &mut W, reply: Reply, deadlines: &Deadlines) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    write_message(stream, FrameKind::Reply, &reply, deadlines.idle).await
}

/// Does `work` and says "still here" meanwhile.
pub(super) async fn alive_while<W, F>(
    stream: &mut W,
    deadlines: &Deadlines,
    work: F,
) -> io::Result<F::Output>
where
    W: AsyncWrite + Unpin,
    F: Future,
{
    let mut work = Box::pin(work);
    loop {
        match timeout(deadlines.beat(), &mut work).await {
            Ok(output) => return Ok(output),
            Err(_) => write_message(stream, FrameKind::Alive, &(), deadlines.stall).await?,
        }
    }
}

async fn serve_read(
    shared: &Arc<Shared>,
    stream: &mut BoxStream,
    request: &ReadRequest,
    purpose: Purpose,
) -> io::Result<()> {
    let deadlines = &shared.config.deadlines;
    let node = request.node;
    let opened = alive_while(stream, deadlines, open(shared, request)).await?;
    let last = match opened {
        Err(error) => Reply::Failed(error),
        Ok(replica) => {
            let (length, checksum) = (replica.length(), replica.checksum());
            answer(stream, Reply::Reading { length, checksum }, deadlines).await?;
            match send_blocks((shared, purpose), stream, &replica, request.range).await? {
                Ok(()) => Reply::End,
                Err(error) => {
                    note_corrupt(shared, request.chunk, &error);
                    Reply::Failed(to_stream_error(node, &error))
                }
            }
        }
    };
    answer(stream, last, deadlines).await
}

async fn open(shared: &Arc<Shared>, request: &ReadRequest) -> Result<ReplicaReader, StreamError> {
    let ReadRequest {
        node, chunk, range, ..
    } = *request;
    let replica = shared.store.open_in_spite(chunk).await.map_err(|error| {
        note_corrupt(shared, chunk, &error);
        to_stream_error(node, &error)
    })?;
    if range.end() > replica.length() {
        let message = format!("{chunk}: {range} is not in its {} bytes", replica.length());
        return Err(StreamError::new(node, StreamErrorKind::Invalid, message));
    }
    Ok(replica)
}

fn note_corrupt(shared: &Shared, chunk: ChunkId, error: &StoreError) {
    if let StoreError::Corrupt { reason, .. } = error {
        let node: NodeId = shared.node_or_zero();
        warn!(%chunk, %node, reason, "replica failed its checksum; reported");
        shared.corrupt.mark(chunk);
    }
}

/// Sends the blocks of a range, reading ahead by one frame.
///
/// The outer error is one of the stream, the inner one of the replica.
async fn send_blocks(
    (shared, purpose): (&Shared, Purpose),
    stream: &mut BoxStream,
    replica: &ReplicaReader,
    range: ByteRange,
) -> io::Result<Result<(), StoreError>> {
    let deadlines = &shared.config.deadlines;
    let (ahead, mut runs) = mpsc::channel::<BlockRun>(1);
    let read = async move {
        let mut offset = range.offset;
        while offset < range.end() {
            let begun = Instant::now();
            let run = read_verified(replica, ByteRange::new(offset, range.end() - offset)).await?;
            offset = run.offset.saturating_add(run.bytes.len() as u64);
            let took = begun.elapsed();
            if ahead.send(run).await.is_err() {
                break;
            }
            if purpose == Purpose::Copy {
                shared.serving.give_way(took).await;
            }
        }
        Ok(())
    };
    let send = async {
        loop {
            match timeout(deadlines.beat(), runs.recv()).await {
                Err(_) => write_message(stream, FrameKind::Alive, &(), deadlines.stall).await?,
                Ok(None) => return Ok(()),
                Ok(Some(BlockRun {
                    offset,
                    bytes,
                    crcs,
                })) => {
                    let header = DataHeader {
                        offset,
                        checksums: crcs,
                    };
                    let head = encode(FrameKind::Data, &header, bytes.len())?;
                    write_buffers(stream, &[head, bytes], deadlines.idle).await?;
                }
            }
        }
    };
    let mut read = Box::pin(read);
    let mut send = Box::pin(send);
    tokio::select! {
        biased;
        outcome = &mut read => {
            drop(read);
            send.await?;
            Ok(outcome)
        }
        sent = &mut send => match sent {
            // It ends by itself only when all was read.
            Ok(()) => Ok(read.await),
            Err(error) => Err(error),
        },
    }
}

/// Reads blocks, and does not let a bad one out: the good ones before it come first.
async fn read_verified(replica: &ReplicaReader, range: ByteRange) -> Result<BlockRun, StoreError> {
    let block_len = BLOCK_LEN as u64;
    let mut run = match replica.read(range).await {
        // The disk may have no more to say of one block than that it cannot read all of them.
        Err(StoreError::Corrupt { .. }) if range.length > block_len => {
            let to_next_block = block_len - range.offset % block_len;
            let first = ByteRange::new(range.offset, to_next_block);
            replica.read(first).await?
        }
        run => run?,
    };
    if planted::active(Bug::ChecksumNotVerifiedOnRead) {
        run.crcs = block_crcs(&run.bytes);
    }
    match verify_blocks(&run.bytes, &run.crcs) {
        Ok(()) if !run.bytes.is_empty() => Ok(run),
        Ok(()) => Err(StoreError::Invalid(format!("no bytes at {range}"))),
        Err(0) => Err(StoreError::Corrupt {
            chunk: replica.chunk(),
            block: Some(run.offset / block_len),
            reason: "the block fails its checksum".to_owned(),
        }),
        Err(good) => {
            run.bytes.truncate(good * BLOCK_LEN);
            run.crcs.truncate(good);
            Ok(run)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use bytes::Bytes;

    use super::super::store::{ChunkStore, Purpose as For, StoreConfig};
    use super::*;
    use crate::testing::{MemoryDisk, test_env};
    use crate::types::checksum::block_crcs;

    const BLOCKS: u64 = 20;

    #[tokio::test(start_paused = true)]
    async fn a_block_that_the_disk_cannot_read_holds_no_other_back() {
        let disk = MemoryDisk::new(1);
        let mut config = StoreConfig::new("/disk");
        (config.initialize, config.small_chunk_max) = (true, 0);
        config.reserve.bytes = 0;
        let (store, _) = ChunkStore::open(config, test_env(1, &disk)).await.unwrap();
        let (chunk, length) = (ChunkId(1), BLOCKS * BLOCK_LEN as u64);
        let bytes = Bytes::from(vec![7; BLOCKS as usize * BLOCK_LEN]);
        let mut writer = store.create(chunk, length, For::Write).await.unwrap();
        writer
            .write(bytes.clone(), &block_crcs(&bytes))
            .await
            .unwrap();
        writer.finish().await.unwrap();
        let bad = 4096 + 3 * BLOCK_LEN as u64;
        disk.fail_reads_at("/disk/chunks/00/0000000000000001.chunk", bad..bad + 512);

        let replica = store.open_replica(chunk).await.unwrap();
        let (mut offset, mut unread) = (0, Vec::new());
        while offset < length {
            match read_verified(&replica, ByteRange::new(offset, length - offset)).await {
                Ok(run) => offset = run.offset + run.bytes.len() as u64,
                Err(error) => {
                    unread.push(error);
                    offset += BLOCK_LEN as u64;
                }
            }
        }

        assert!(
            matches!(&unread[..], [StoreError::Corrupt { block: Some(3), .. }]),
            "{unread:?}"
        );
    }
}

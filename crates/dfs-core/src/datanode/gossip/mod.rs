//! Gossip: what data nodes tell each other of each other, without masters.
//!
//! ```text
//!            every round, to one drawn by lot
//! n1 ──own record, some of others──▶ n2      both keep what is newer
//!    ◀─own record, some of others─── n2
//! ```
//!
//! What comes of it is advice, and nothing else:
//!
//! - which peers to hold for down: the leader is told with heartbeats, and they are asked last;
//! - which have much to do: of several that have a chunk they are asked after the others;
//! - where a peer listens by now, tried when it cannot be reached where masters say;
//! - where masters are, tried when none of those that are known answers.
//!
//! Nothing here deletes a replica, counts one, or makes anybody a data node. Who gossips shows the
//! papers of a data node that the masters have named.

pub(crate) mod kept;
mod table;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::Shared;
use crate::env::{BoxStream, Env, Timestamp};
use crate::proto::chunk_stream::is_target;
use crate::proto::hello::{self, Hello, Service};
use crate::proto::metadata::NodeAddress;
use crate::proto::peers::{self, MASTERS_MAX, PeerList, Sighting};
use crate::security::kept as files;
use crate::types::{NodeId, NodeKey};
use kept::KeptPeers;
use table::Table;

/// How long a message may take, and the answer to it.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a data node knows of the others. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    table: Arc<Mutex<Table>>,
    interval: Duration,
}

impl Peers {
    /// Of a node that listens at `address`.
    pub(super) fn new(env: &Env, address: String, interval: Duration) -> Peers {
        let table = Table::new(address, env.clock.now().0);
        Peers {
            table: Arc::new(Mutex::new(table)),
            interval,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the masters say of who there is.
    pub(super) fn list(&self, us: NodeId, list: PeerList) {
        self.table().list(Instant::now(), us, list);
    }

    /// The version of the list that it has; zero without one.
    pub(super) fn version(&self) -> u64 {
        self.table().version()
    }

    /// Notes where masters are, as one of them said at a time of theirs.
    pub(super) fn sight(&self, at: Timestamp, masters: &[String]) {
        let addresses = masters.iter().take(MASTERS_MAX).cloned().collect();
        self.table().sight(Sighting { at, addresses });
    }

    /// Notes where masters may be, as somebody says that is no peer.
    pub(super) fn suggest(&self, masters: Vec<String>) {
        self.table().suggest(masters);
    }

    /// The peers that are held for down.
    pub(super) fn down(&self) -> Vec<NodeId> {
        self.table().down(Instant::now(), self.interval)
    }

    /// Where masters were seen by others, the newest first.
    pub(super) fn rumors(&self) -> Vec<String> {
        self.table().rumors()
    }

    /// Where a peer may be, the likeliest place first.
    pub(super) fn addresses(&self, node: NodeId) -> Vec<NodeAddress> {
        self.table().addresses(node)
    }

    /// Puts those first that are likely to answer soon.
    pub(super) fn sort(&self, places: &mut [NodeAddress]) {
        self.table().sort(Instant::now(), self.interval, places);
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<NodeAddress> {
        self.table().peers().collect()
    }

    fn kept(&self) -> KeptPeers {
        let table = self.table();
        let mut masters = table.rumors();
        masters.truncate(MASTERS_MAX);
        KeptPeers::new(table.peers(), masters)
    }
}

/// Gossips until the node stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let gossip = async {
        let mut kept = remembered(&shared).await;
        loop {
            let interval = shared.config.gossip_interval;
            let spread = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX) / 2;
            let late = Duration::from_micros(shared.env.random.below(spread));
            // From three to five quarters of it, so that not all talk at once.
            sleep(interval * 3 / 4 + late).await;
            round(&shared).await;
            keep(&shared, &mut kept).await;
        }
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = gossip => {}
    }
}

/// What was known before the restart. What cannot be read is not needed.
async fn remembered(shared: &Shared) -> KeptPeers {
    let read = files::read::<KeptPeers>(&shared.env, shared.store.home()).await;
    let kept = read.unwrap_or_else(|error| {
        warn!(%error, "what was kept of other data nodes cannot be read; masters tell it again");
        None
    });
    let kept = kept.unwrap_or_default();
    // Unless masters were faster.
    if let Some(identity) = shared.identity()
        && shared.peers.table().peers().next().is_none()
    {
        let (version, peers) = (0, kept.peers());
        shared
            .peers
            .list(identity.node, PeerList { version, peers });
        shared.peers.sight(Timestamp(0), &kept.masters);
    }
    kept
}

/// Keeps what is known, if that is not kept yet.
async fn keep(shared: &Shared, kept: &mut KeptPeers) {
    let now = shared.peers.kept();
    if now == *kept || now == KeptPeers::default() {
        return;
    }
    if let Err(error) = shared.store.require_home().await {
        debug!(%error, "there is no place to keep what is known of other data nodes");
        return;
    }
    match files::write(&shared.env, shared.store.home(), &now).await {
        Ok(()) => *kept = now,
        Err(error) => debug!(%error, "what is known of other data nodes cannot be kept"),
    }
}

/// Talks to one peer.
async fn round(shared: &Shared) {
    let peer = {
        let mut table = shared.peers.table();
        table.begin(shared.serving.running());
        table.draw(&*shared.env.random)
    };
    if let Some(peer) = peer
        && let Err(error) = exchange(shared, peer).await
    {
        debug!(%peer, %error, "a peer does not gossip");
    }
}

async fn exchange(shared: &Shared, peer: NodeId) -> io::Result<()> {
    let mut stream = call(shared, peer).await?;
    let ours = shared.peers.table().tell(&*shared.env.random);
    peers::tell(&mut stream, &ours, MESSAGE_TIMEOUT).await?;
    let theirs = peers::hear(&mut stream, MESSAGE_TIMEOUT).await?;
    if theirs.node != peer {
        let what = format!("{peer} was meant, {} answered", theirs.node);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    shared.peers.table().hear(Instant::now(), theirs);
    Ok(())
}

/// A connection to a peer, wherever it is.
async fn call(shared: &Shared, peer: NodeId) -> io::Result<BoxStream> {
    let cluster = shared.identity().map(|identity| identity.cluster);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in shared.peers.addresses(peer) {
        let hello = Hello::new(Service::Peers, cluster);
        let deadline = shared.config.deadlines.connect;
        match hello::call(&*shared.env.network, &place.address, hello, deadline).await {
            Ok((stream, _)) if is_target(&stream, &place) => return Ok(stream),
            Ok(_) => last = io::Error::other(format!("another listens at {}", place.address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Answers a peer that has shown this key, if it has shown one.
///
/// # Errors
/// It is none, says what is no gossip, or is gone.
pub(super) async fn serve(
    shared: &Shared,
    stream: &mut BoxStream,
    shown: Option<NodeKey>,
) -> io::Result<()> {
    let theirs = peers::hear(stream, MESSAGE_TIMEOUT).await?;
    let ours = {
        let mut table = shared.peers.table();
        if !table.knows(theirs.node, shown) {
            let what = format!("{} is no data node that masters have named", theirs.node);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        table.hear(Instant::now(), theirs);
        table.tell(&*shared.env.random)
    };
    peers::tell(stream, &ours, MESSAGE_TIMEOUT).await?;
    // To close before it has read would take the answer away from it.
    let mut nothing = [0];
    match timeout(MESSAGE_TIMEOUT, stream.read(&mut nothing)).await {
        Ok(ended) => ended.map(|_| ()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

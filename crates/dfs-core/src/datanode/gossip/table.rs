//! What a data node knows of the others: pure, time and chance are arguments.
//!
//! - Who is a data node the masters say. What is told of anybody else is dropped, and who leaves
//!   their list is forgotten.
//! - A sign of life is a newer record of a node, by whichever way it came, or the node itself.
//! - Who has no sign of most of the others is cut off itself, and accuses nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::env::Random;
use crate::proto::metadata::NodeAddress;
use crate::proto::peers::{DOWN_MAX, Gossip, PeerList, PeerRecord, RECORDS_MAX, Sighting};
use crate::types::{NodeId, NodeKey};

/// Most addresses of masters that are taken from others.
const RUMORS_MAX: usize = 16;
/// Without a sign of life for so many rounds a peer is held for down, and for so many more for
/// each time that all records take a message.
const SILENT_ROUNDS: u32 = 8;
/// Who serves fewer streams than these has little to do.
const FEW_STREAMS: u32 = 4;

/// What one node knows of all.
#[derive(Debug)]
pub(super) struct Table {
    own: PeerRecord,
    version: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// Where masters may be, as somebody says that is no peer.
    suggested: Vec<String>,
}

/// Another data node.
#[derive(Debug)]
struct Peer {
    key: NodeKey,
    /// Where the masters say it is.
    address: String,
    /// What it told last, maybe by others.
    record: Option<PeerRecord>,
    /// The last sign of life, or when it was first heard of.
    alive: Instant,
}

impl Table {
    /// Of a node that knows nobody yet. `version` is higher than any it told before, if clocks
    /// are right; if they are not, it hears of it.
    pub(super) fn new(address: String, version: u64) -> Table {
        Table {
            own: PeerRecord {
                node: NodeId(0),
                version,
                address,
                streams: 0,
                masters: Sighting::default(),
            },
            version: 0,
            peers: BTreeMap::new(),
            suggested: Vec::new(),
        }
    }

    /// The version of the list of data nodes that it has; zero without one.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The data nodes that it knows, besides itself.
    pub(super) fn peers(&self) -> impl Iterator<Item = NodeAddress> {
        self.peers.iter().map(|(&node, peer)| NodeAddress {
            node,
            key: peer.key,
            address: peer.address.clone(),
        })
    }

    /// Takes in what the masters say of who there is.
    pub(super) fn list(&mut self, now: Instant, us: NodeId, list: PeerList) {
        self.own.node = us;
        self.version = list.version;
        let others = list.peers.into_iter().filter(|peer| peer.node != us);
        let mut before = std::mem::take(&mut self.peers);
        let keep = |peer: NodeAddress| {
            let known = before.remove(&peer.node).filter(|p| p.key == peer.key);
            let (record, alive) = known.map_or((None, now), |p| (p.record, p.alive));
            let NodeAddress { node, key, address } = peer;
            let peer = Peer {
                key,
                address,
                record,
                alive,
            };
            (node, peer)
        };
        self.peers = others.map(keep).collect();
    }

    /// Notes where masters are, as one of them says.
    pub(super) fn sight(&mut self, masters: Sighting) {
        if masters.at >= self.own.masters.at {
            self.own.masters = masters;
        }
    }

    /// Notes where masters may be; what was suggested before is forgotten.
    pub(super) fn suggest(&mut self, mut masters: Vec<String>) {
        masters.truncate(RUMORS_MAX);
        self.suggested = masters;
    }

    /// Begins a round: its own record is new.
    pub(super) fn begin(&mut self, streams: u32) {
        self.own.version = self.own.version.saturating_add(1);
        self.own.streams = streams;
    }

    /// A peer to talk to.
    pub(super) fn draw(&self, random: &dyn Random) -> Option<NodeId> {
        let count = self.peers.len();
        let chosen = usize::try_from(random.below(count as u64)).unwrap_or(0);
        self.peers.keys().nth(chosen).copied()
    }

    /// Where a peer may be: where the masters say, then where it told that it is.
    pub(super) fn addresses(&self, node: NodeId) -> Vec<NodeAddress> {
        let Some(peer) = self.peers.get(&node) else {
            return Vec::new();
        };
        let told = peer.record.as_ref().map(|record| &record.address);
        let told = told.filter(|told| **told != peer.address);
        let all = [&peer.address].into_iter().chain(told);
        let whole = |address: &String| NodeAddress {
            node,
            key: peer.key,
            address: address.clone(),
        };
        all.map(whole).collect()
    }

    /// What to tell: of itself, and of as many others as there is room for, drawn by lot.
    pub(super) fn tell(&self, random: &dyn Random) -> Gossip {
        let mut others: Vec<&PeerRecord> = self
            .peers
            .values()
            .filter_map(|peer| peer.record.as_ref())
            .collect();
        let room = others.len().min(RECORDS_MAX - 1);
        for at in 0..room {
            let left = (others.len() - at) as u64;
            others.swap(at, at + usize::try_from(random.below(left)).unwrap_or(0));
        }
        let others = others.into_iter().take(room);
        Gossip {
            node: self.own.node,
            records: [&self.own].into_iter().chain(others).cloned().collect(),
        }
    }

    /// Whether a node is one that masters have named, with this key if it has shown one.
    pub(super) fn knows(&self, node: NodeId, shown: Option<NodeKey>) -> bool {
        let peer = self.peers.get(&node);
        peer.is_some_and(|peer| shown.is_none_or(|key| peer.key == key))
    }

    /// Takes in what a peer told that was [known](Table::knows).
    pub(super) fn hear(&mut self, now: Instant, gossip: Gossip) {
        if let Some(teller) = self.peers.get_mut(&gossip.node) {
            teller.alive = now;
        }
        for record in gossip.records {
            if record.node == self.own.node {
                // Of a life before, or not of us at all: what is true is newer.
                if record.version >= self.own.version {
                    self.own.version = record.version.saturating_add(1);
                }
                continue;
            }
            let Some(peer) = self.peers.get_mut(&record.node) else {
                continue;
            };
            let known = peer.record.as_ref().map(|known| known.version);
            if known.is_none_or(|known| known < record.version) {
                peer.record = Some(record);
                peer.alive = now;
            }
        }
    }

    /// How long a peer may give no sign of life.
    pub(super) fn patience(&self, interval: Duration) -> Duration {
        let messages = self.peers.len() / RECORDS_MAX;
        let more = u32::try_from(messages).unwrap_or(u32::MAX);
        interval.saturating_mul(SILENT_ROUNDS.saturating_mul(more.saturating_add(1)))
    }

    /// The peers that gave no sign of life for too long; none if those are most of all.
    pub(super) fn down(&self, now: Instant, interval: Duration) -> Vec<NodeId> {
        let patience = self.patience(interval);
        let silent = |peer: &Peer| now.saturating_duration_since(peer.alive) >= patience;
        let down = self.peers.iter().filter(|(_, peer)| silent(peer));
        let down: Vec<NodeId> = down.map(|(&node, _)| node).collect();
        match down.len() * 2 > self.peers.len() || down.len() > DOWN_MAX {
            true => Vec::new(),
            false => down,
        }
    }

    /// Puts those first that are likely to answer soon: first those that are not held for down,
    /// of these the ones with less to do. Twice as many streams are more; a few are not, so that
    /// an order that has other reasons stays.
    pub(super) fn sort(&self, now: Instant, interval: Duration, places: &mut [NodeAddress]) {
        let down = self.down(now, interval);
        let streams = |node| {
            let record = self.peers.get(&node).and_then(|peer| peer.record.as_ref());
            record.map_or(0, |record| record.streams)
        };
        places.sort_by_key(|place| {
            let doublings = (streams(place.node) / FEW_STREAMS).checked_ilog2();
            (down.contains(&place.node), doublings)
        });
    }

    /// Where others have last heard of masters, the newest first; then what was suggested.
    pub(super) fn rumors(&self) -> Vec<String> {
        let records = self.peers.values().filter_map(|peer| peer.record.as_ref());
        let mut sightings: Vec<&Sighting> = records.map(|record| &record.masters).collect();
        sightings.push(&self.own.masters);
        sightings.sort_by(|a, b| b.cmp(a));
        let mut rumors: Vec<String> = Vec::new();
        let heard = sightings.into_iter().flat_map(|s| &s.addresses);
        let heard = heard.map(|address| (address, RUMORS_MAX));
        let suggested = self.suggested.iter();
        let suggested = suggested.map(|address| (address, 2 * RUMORS_MAX));
        for (address, most) in heard.chain(suggested) {
            if rumors.len() < most && !rumors.contains(address) {
                rumors.push(address.clone());
            }
        }
        rumors
    }
}

#[cfg(test)]
mod tests;

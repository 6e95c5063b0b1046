//! Tests of the client against masters and data nodes that do what a script says.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

mod data;
mod failover;
mod group;
mod master;
mod network;
mod node;
mod slow;
mod stripes;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::{Client, ClientConfig};
use crate::types::limits::CHUNK_SIZE_MIN;
use crate::types::{Attr, FileKind, GroupId, InodeId, Mode, NodeId, Policy, Timestamp, UserId};
use group::Group;
use master::{Fault, Master};
use network::MemoryNetwork;
use node::{DataNode, Mood, Nodes};

/// Attributes of an empty file.
pub(in crate::client) fn attr() -> Attr {
    Attr {
        handle: None,
        inode: InodeId(2),
        kind: FileKind::File,
        mode: Mode::FILE,
        owner: UserId::ROOT,
        group: GroupId(0),
        size: 0,
        links: 1,
        accessed: Timestamp(0),
        modified: Timestamp(0),
        changed: Timestamp(0),
        created: Timestamp(0),
        policy: Policy::DEFAULT,
        revision: 0,
        inline_bytes: 0,
    }
}

/// A cluster in memory: three masters, the first of which leads, and four data nodes.
struct World {
    network: Arc<MemoryNetwork>,
    group: Arc<Mutex<Group>>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    nodes: Arc<Mutex<Nodes>>,
    masters: Vec<Option<Master>>,
    _data_nodes: Vec<DataNode>,
}

impl World {
    async fn start() -> World {
        let policy = Policy {
            chunk_size: 16 * CHUNK_SIZE_MIN,
            ..Policy::DEFAULT
        };
        let network = Arc::new(MemoryNetwork::default());
        let group = Arc::new(Mutex::new(Group::new(policy)));
        let faults = Arc::default();
        let addresses = ["m1:1", "m2:1", "m3:1"].map(str::to_owned);
        let mut masters = Vec::new();
        for address in &addresses {
            let master = Master::start(&network, address, &addresses, &group, &faults);
            masters.push(Some(master.await));
        }
        let nodes = Arc::default();
        let mut data_nodes = Vec::new();
        for id in 1..=4 {
            let node = DataNode::start(&network, id, &nodes).await;
            group.lock().unwrap().nodes.push(node.address.clone());
            data_nodes.push(node);
        }
        let world = World {
            network,
            group,
            faults,
            nodes,
            masters,
            _data_nodes: data_nodes,
        };
        world.elect(0);
        world
    }

    async fn client(&self) -> Client {
        let config = ClientConfig::new(["m1:1", "m2:1", "m3:1"]);
        Client::connect(config, self.network.env()).await.unwrap()
    }

    fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap()
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap()
    }

    fn elect(&self, master: usize) {
        let address = self.masters[master].as_ref().map(|m| m.address.clone());
        self.group().leader = address;
    }

    fn fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    fn mood(&self, node: u32, mood: Mood) {
        self.nodes().moods.insert(NodeId(node), mood);
    }
}

/// Bytes that are different at every offset nearby.
fn pattern(length: usize) -> Bytes {
    let byte = |i: usize| (i.wrapping_mul(31) ^ (i >> 8) ^ (i >> 16)) as u8;
    (0..length).map(byte).collect()
}

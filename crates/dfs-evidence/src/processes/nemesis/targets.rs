//! On whom a fault falls.

use std::collections::BTreeSet;

use dfs_core::client::{ClusterStatus, Liveness};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::{Nemesis, damages, takes};
use crate::faults::{Fault, FaultKind};
use crate::processes::cluster::Role;
use crate::processes::disk::Format;

/// Who, or why nobody.
type Targets = std::result::Result<Vec<usize>, String>;

impl Nemesis {
    pub(super) async fn targets(
        &mut self,
        fault: &Fault,
        leader: Option<usize>,
        random: &mut StdRng,
    ) -> Targets {
        let all = 0..self.cluster.nodes.len();
        let all: Vec<usize> = all
            .filter(|place| self.is_free(fault.kind, *place))
            .collect();
        let masters = self.cluster.places(Role::Master);
        let data_nodes = self.cluster.places(Role::Data);
        match fault.kind {
            FaultKind::KillLeader
            | FaultKind::PauseLeader
            | FaultKind::IsolateLeader
            | FaultKind::OneWay => leader.map(|leader| vec![leader]).ok_or_else(nobody_leads),
            FaultKind::KillAll | FaultKind::PowerAll | FaultKind::RollingRestart => Ok(all),
            // Between whom is decided with the shape of the partition.
            FaultKind::Halves | FaultKind::Bridge | FaultKind::Ring => Ok(Vec::new()),
            FaultKind::KillSome | FaultKind::Delay | FaultKind::Loss => some(&all, 4, random),
            FaultKind::Duplicate | FaultKind::Reorder => some(&all, 4, random),
            FaultKind::PowerOne | FaultKind::SlowDisk => some(&all, 1, random),
            FaultKind::MemoryLimit | FaultKind::HandleLimit => some(&all, 2, random),
            FaultKind::DiskFull | FaultKind::ClockJump => some(&all, 2, random),
            FaultKind::InodesFull => {
                let nodes = self.cluster.nodes.iter().enumerate();
                let few = nodes.filter(|(_, node)| node.disk.format() == Format::Ext4);
                let few = few.map(|(place, _)| place);
                let few: Vec<_> = few.filter(|place| all.contains(place)).collect();
                some(&few, 1, random)
            }
            FaultKind::PauseNode => {
                let others: Vec<_> = all.into_iter().filter(|p| Some(*p) != leader).collect();
                some(&others, 2, random)
            }
            FaultKind::FailedSync => self.alone(fault.kind, &all, random),
            FaultKind::ReturnOfDead | FaultKind::Drain => {
                self.alone(fault.kind, &data_nodes, random)
            }
            FaultKind::SnapshotInstall => {
                let followers: Vec<_> =
                    masters.into_iter().filter(|p| Some(*p) != leader).collect();
                some(&followers, 1, random)
            }
            FaultKind::Membership => self.damaged(&masters, random).await,
            FaultKind::Wipe => match random.random_bool(0.7) {
                true => self.damaged(&data_nodes, random).await,
                false => self.damaged(&masters, random).await,
            },
            FaultKind::BitRot => {
                let places = match random.random_bool(0.7) {
                    true => data_nodes,
                    false => masters,
                };
                let chosen = usize::try_from(self.seed).unwrap_or_default() % places.len().max(1);
                let chosen: Vec<_> = places.get(chosen).copied().into_iter().collect();
                self.damaged(&chosen, random).await
            }
            FaultKind::HarmedQuorum => Err("it is simulated only".to_owned()),
            FaultKind::ClientCrash => {
                let clients: Vec<usize> = (0..self.clients.hosts().len()).collect();
                let free = clients.into_iter().filter(|client| {
                    let same = |a: &super::Active| a.fault.kind == FaultKind::ClientCrash;
                    let mut crashed = self.active.iter().filter(|a| same(a));
                    !crashed.any(|active| active.places.contains(client))
                });
                some(&free.collect::<Vec<_>>(), 1, random)
            }
        }
    }

    /// Whether no fault under way has taken of this node what one of this kind would take.
    fn is_free(&self, kind: FaultKind, place: usize) -> bool {
        let mut active = self.active.iter();
        let same = |other: FaultKind| takes(kind).is_some() && takes(kind) == takes(other);
        !active.any(|active| same(active.fault.kind) && active.places.contains(&place))
    }

    /// One of `places`, unless a fault of this kind is under way.
    fn alone(&self, kind: FaultKind, places: &[usize], random: &mut StdRng) -> Targets {
        match self.active.iter().any(|active| active.fault.kind == kind) {
            true => Err("one at a time".to_owned()),
            false => some(places, 1, random),
        }
    }

    /// One of `places` that may lose its files: all is well, so it is the only one. Rot is found
    /// when it is read, so as long as a data node is rotten no other loses anything: a stripe may
    /// have no member to spare beside the one that rotted.
    async fn damaged(&mut self, places: &[usize], random: &mut StdRng) -> Targets {
        if self.active.iter().any(|active| damages(active.fault.kind)) {
            return Err("one at a time".to_owned());
        }
        self.all_is_well().await?;
        let nodes = &self.cluster.nodes;
        let is_data = |place: usize| nodes.get(place).is_some_and(|node| node.role == Role::Data);
        let is_rotten = |place: usize| nodes.get(place).is_some_and(|node| node.is_rotten);
        let rotten = (0..nodes.len()).find(|place| is_data(*place) && is_rotten(*place));
        let may_lose = |place: &usize| {
            let other = rotten.is_some_and(|rotten| rotten != *place);
            !(other && is_data(*place))
        };
        let places: Vec<usize> = places.iter().copied().filter(may_lose).collect();
        some(&places, 1, random)
    }

    /// Whether every node runs and is heard, one leads, and every chunk has its copies.
    pub(super) async fn all_is_well(&mut self) -> std::result::Result<(), String> {
        for node in &self.cluster.nodes {
            if !node.is_well() {
                return Err(format!("{} is not well", node.name));
            }
        }
        let taken_back = self.cluster.take_back().await;
        taken_back.map_err(|e| format!("a data node cannot be taken back: {e}"))?;
        let status = self.cluster.status().await.map_err(|e| e.to_string())?;
        let masters = self.cluster.masters();
        let data_nodes = self.cluster.places(Role::Data);
        let data_nodes = data_nodes.iter().filter_map(|p| self.cluster.nodes.get(*p));
        let data_nodes: BTreeSet<String> = data_nodes.map(|node| node.address()).collect();
        judge(&status, &masters, &data_nodes)?;
        for node in &mut self.cluster.nodes {
            node.takes_part = true;
        }
        Ok(())
    }
}

fn judge(
    status: &ClusterStatus,
    masters: &[String],
    data_nodes: &BTreeSet<String>,
) -> std::result::Result<(), String> {
    let in_group = |m: &&dfs_core::client::MasterInfo| m.voter && m.log_index.is_some();
    let voters: BTreeSet<_> = status
        .masters
        .iter()
        .filter(in_group)
        .map(|m| &m.address)
        .collect();
    if voters.len() != masters.len() || status.masters.len() != masters.len() {
        return Err(format!(
            "not every master votes and answers: {:?}",
            status.masters
        ));
    }
    if !status.masters.iter().any(|master| master.leader) {
        return Err("nobody leads".to_owned());
    }
    let live = status
        .nodes
        .iter()
        .filter(|node| node.liveness == Liveness::Live);
    let live: BTreeSet<_> = live.map(|node| node.address.clone()).collect();
    if let Some(away) = data_nodes.difference(&live).next() {
        return Err(format!("the data node at {away} is not live"));
    }
    let chunks = status.chunks;
    match chunks.under_replicated + chunks.missing {
        0 if chunks.surveyed => Ok(()),
        0 => Err("the leader has not looked at every chunk yet".to_owned()),
        _ => Err(format!("not every chunk has its copies: {chunks:?}")),
    }
}

fn nobody_leads() -> String {
    "nobody leads".to_owned()
}

/// Between one and `most` of these.
fn some(places: &[usize], most: usize, random: &mut StdRng) -> Targets {
    let count = random.random_range(1..=most);
    let mut chosen: Vec<_> = places.sample(random, count).copied().collect();
    chosen.sort_unstable();
    match chosen.is_empty() {
        true => Err("there is nobody it could fall on".to_owned()),
        false => Ok(chosen),
    }
}

/// All of these in another order.
pub(super) fn shuffled<T: Clone>(all: &[T], random: &mut StdRng) -> Vec<T> {
    let mut all = all.to_vec();
    all.shuffle(random);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::client::{ChunkHealth, MasterInfo};
    use dfs_core::types::ClusterId;

    #[test]
    fn nothing_is_well_before_the_leader_has_looked_at_every_chunk() {
        let mut status = dfs_core::client::ClusterStatus {
            cluster: ClusterId(1),
            term: 1,
            masters: vec![MasterInfo {
                member: 1,
                address: "m:1".to_owned(),
                leader: true,
                voter: true,
                log_index: Some(1),
            }],
            nodes: Vec::new(),
            chunks: ChunkHealth::default(),
            inodes: 1,
        };
        let masters = ["m:1".to_owned()];
        let well = |status: &_| judge(status, &masters, &BTreeSet::new());
        assert!(well(&status).is_err());
        status.chunks.surveyed = true;
        assert_eq!(well(&status), Ok(()));
    }
}

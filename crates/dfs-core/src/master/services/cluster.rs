//! What data nodes tell the leader, and what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use dfs_raft::Consistency;
use dfs_raft::state::View;
use tarpc::context::Context;

use crate::master::leader::{Leading, map};
use crate::master::planners::Intended;
use crate::master::planners::report::{self, Finding};
use crate::master::security::admission::Guest;
use crate::master::security::permits;
use crate::master::shared::{Shared, unexpected};
use crate::master::view::{Fault, NodeRow};
use crate::meta::{Command, Reply, query};
use crate::node::audit::{Actor, Deed};
use crate::proto::cluster::{
    ChunkReport, ClusterRpc, Heartbeat, HeartbeatReply, Registered, Registration, ReportKind,
    ReportReply, Signing, Task, TaskResult,
};
use crate::proto::error::RpcError;
use crate::security::SigningKeys;
use crate::security::capability::{Holder, Operation};
use crate::types::limits::ENTRIES_PER_REPLY_MAX;
use crate::types::{AdminState, ChunkId, NodeEpoch, NodeId, NodeKey, Permit, Refusal, RefusalKind};

/// Serves [`ClusterRpc`].
#[derive(Clone)]
pub(crate) struct ClusterService {
    shared: Arc<Shared>,
    /// Who is at the other end.
    guest: Guest,
    /// The same, for the audit log.
    actor: Arc<Actor>,
}

impl ClusterService {
    pub(crate) fn new(shared: Arc<Shared>, actor: Arc<Actor>, guest: Guest) -> ClusterService {
        ClusterService {
            shared,
            guest,
            actor,
        }
    }

    /// Refuses whoever speaks for another data node than itself.
    async fn require_own_key(&self, key: NodeKey) -> Result<(), RpcError> {
        if self.guest.is_data_node(key) {
            return Ok(());
        }
        let what = "a data node speaks for itself alone";
        let deed = Deed::new("speak-for").about(key);
        let noted = self.shared.audit.not_let_in(&self.actor, deed, what).await;
        noted.map_err(|e| RpcError::Unavailable(e.to_string()))?;
        Err(Refusal::new(RefusalKind::AccessDenied, what).into())
    }

    /// What data nodes verify permits with.
    async fn signing(&self) -> Result<Signing, RpcError> {
        let shared = &self.shared;
        let keys = match shared.config.security.is_insecure() {
            true => SigningKeys::default(),
            false => shared.keys.verifying(shared).await?,
        };
        let now = shared.now();
        Ok(Signing { keys, now })
    }

    /// What lets a data node read what it is to make replicas of, or from.
    async fn permits(
        &self,
        node: NodeId,
        tasks: &[Task],
    ) -> Result<Vec<(ChunkId, Permit)>, RpcError> {
        let Guest::Node(identity, _) = self.guest else {
            return Ok(Vec::new());
        };
        let what = (Holder::Node(identity.node), Operation::Read);
        let mut permits = Vec::new();
        for task in tasks {
            let (chunk, chunks, sources) = match task {
                Task::Copy { chunk, sources, .. } => (*chunk, vec![*chunk], sources.clone()),
                Task::Rebuild { chunk, sources, .. } => {
                    let chunks = sources.iter().map(|source| source.chunk).collect();
                    let nodes = sources.iter().flat_map(|source| source.nodes.clone());
                    (*chunk, chunks, nodes.collect())
                }
                Task::Delete { .. } | Task::Verify { .. } | Task::Scrub | Task::Rewrite { .. } => {
                    continue;
                }
            };
            let nodes = sources.iter().map(|source| source.node).chain([node]);
            let permit = permits::permit(&self.shared, what, chunks, nodes, []).await?;
            permits.push((chunk, permit));
        }
        Ok(permits)
    }

    /// What lets a data node read what it is to rewrite, and write what that becomes.
    async fn rewrite_permits(
        &self,
        tasks: &[Task],
    ) -> Result<Vec<(ChunkId, Permit, Permit)>, RpcError> {
        let Guest::Node(identity, _) = self.guest else {
            return Ok(Vec::new());
        };
        let holder = Holder::Node(identity.node);
        let mut permits = Vec::new();
        for task in tasks {
            let Task::Rewrite {
                sources, targets, ..
            } = task
            else {
                continue;
            };
            let chunks = sources.iter().map(|source| source.chunk);
            let nodes = sources.iter().flat_map(|source| &source.nodes);
            let nodes = nodes.map(|node| node.node);
            let read = (holder, Operation::Read);
            let read = permits::permit(&self.shared, read, chunks, nodes, []).await?;
            let chunks = targets.iter().map(|target| target.chunk);
            let places = targets.iter().flat_map(|target| &target.nodes);
            let nodes = places.clone().map(|node| node.node);
            let write = (holder, Operation::Write);
            let write = permits::permit(&self.shared, write, chunks, nodes, places).await?;
            let first = targets.first().map(|target| target.chunk);
            permits.extend(first.map(|first| (first, read, write)));
        }
        Ok(permits)
    }

    /// The same, by id. One that is not known is for others to refuse.
    async fn require_own(&self, node: NodeId) -> Result<(), RpcError> {
        let known = |leading: &mut Leading| leading.view.node(node).map(|node| node.row.key);
        match self.shared.leading(known)? {
            Some(key) => self.require_own_key(key).await,
            None => Ok(()),
        }
    }
}

/// Does something as the leader for a data node, if the caller is its present incarnation.
fn for_current<T>(
    shared: &Shared,
    (node, epoch): (NodeId, NodeEpoch),
    work: impl FnOnce(&mut Leading) -> T,
) -> Result<T, RpcError> {
    let done = shared.leading(|leading| {
        let current = leading.is_current(node, epoch);
        current.then(|| work(leading))
    })?;
    done.ok_or_else(|| fenced(node, epoch))
}

fn fenced(node: NodeId, epoch: NodeEpoch) -> RpcError {
    RpcError::Fenced(format!("{node} {epoch} is not its present incarnation"))
}

impl ClusterRpc for ClusterService {
    async fn register(
        self,
        _: Context,
        registration: Registration,
    ) -> Result<Registered, RpcError> {
        let shared = &self.shared;
        shared.leading(|_| ())?;
        let cluster = shared.cluster().ok_or_else(|| shared.not_leading())?;
        let Registration {
            key,
            node,
            address,
            topology,
            space,
        } = registration;
        self.require_own_key(key).await?;
        let command = Command::RegisterNode {
            key,
            node,
            address: address.clone(),
            topology: topology.clone(),
            space,
        };
        let registered = match shared.propose(command).await?.value {
            Reply::Node(registered) => registered?,
            other => return Err(unexpected(&other)),
        };
        let (node, epoch) = (registered.node, registered.epoch);
        let reading = shared.read(Consistency::Stale).await?;
        let look = move |view: &View| Ok((query::node(view, node)?, query::node_load(view, node)?));
        let (row, load) = shared.look(reading, look).await?;
        let row = NodeRow {
            node,
            key,
            address,
            topology,
            admin: row.as_ref().map_or(AdminState::InService, |row| row.admin),
            rests_until: row.and_then(|row| row.rests_until),
            epoch,
            space,
            replicas: load.replicas,
            bytes: load.bytes,
        };
        let peers = shared.leading(|leading| {
            leading.registered(row);
            let others = leading.view.nodes();
            let others = others.filter(|other| other.row.node != node);
            others.map(|other| other.address()).collect()
        })?;
        let interval = shared.config.liveness.heartbeat_interval.as_millis();
        Ok(Registered {
            cluster,
            node,
            epoch,
            heartbeat_interval_ms: u32::try_from(interval).unwrap_or(u32::MAX),
            masters: shared.masters(),
            peers,
            signing: self.signing().await?,
        })
    }

    async fn heartbeat(self, _: Context, heartbeat: Heartbeat) -> Result<HeartbeatReply, RpcError> {
        let masters = self.shared.masters();
        let (node, epoch) = (heartbeat.node, heartbeat.epoch);
        self.require_own(node).await?;
        let signing = self.signing().await?;
        let reply = self.shared.leading(|leading| {
            if !leading.heartbeat(&heartbeat) {
                return None;
            }
            let wants = leading.view.node(node).is_some_and(|n| n.wants_report());
            let peers = leading.view.peers();
            let peers = (peers.version != heartbeat.peers).then(|| peers.clone());
            Some(HeartbeatReply {
                rewrites: Vec::new(),
                peers,
                term: leading.term,
                report: wants,
                tasks: leading.tasks.of_node(node),
                permits: Vec::new(),
                masters,
                signing,
            })
        })?;
        let mut reply = reply.ok_or_else(|| fenced(node, epoch))?;
        reply.permits = self.permits(node, &reply.tasks).await?;
        reply.rewrites = self.rewrite_permits(&reply.tasks).await?;
        Ok(reply)
    }

    async fn report(self, _: Context, report: ChunkReport) -> Result<ReportReply, RpcError> {
        let caller = (report.node, report.epoch);
        self.require_own(report.node).await?;
        let term = for_current(&self.shared, caller, |leading| leading.term)?;
        let lists = [report.absent.len(), report.corrupt.len()];
        let longest = lists.into_iter().fold(report.present.len(), usize::max);
        if longest > ENTRIES_PER_REPLY_MAX {
            return Err(RpcError::Unavailable("the report is too long".to_owned()));
        }
        take_in(&self.shared, report).await?;
        Ok(ReportReply { term })
    }

    async fn finished(
        self,
        _: Context,
        node: NodeId,
        epoch: NodeEpoch,
        tasks: Vec<TaskResult>,
    ) -> Result<(), RpcError> {
        let caller = (node, epoch);
        self.require_own(node).await?;
        for_current(&self.shared, caller, |_| ())?;
        let subjects = tasks.iter().filter_map(|ended| subject(&ended.task));
        let chunks = chunks_of(&self.shared, subjects.collect()).await?;
        let taken = for_current(&self.shared, caller, |leading| {
            if !leading.has_room_for_results() {
                return false;
            }
            for ended in &tasks {
                let chunk = subject(&ended.task).and_then(|id| chunks.get(&id));
                leading.finished(node, ended, chunk);
            }
            true
        })?;
        self.shared.results.notify_one();
        match taken {
            true => Ok(()),
            false => Err(RpcError::Unavailable("too many results wait".to_owned())),
        }
    }
}

fn subject(task: &Task) -> Option<ChunkId> {
    match task {
        Task::Copy { chunk, .. } | Task::Rebuild { chunk, .. } | Task::Verify { chunk } => {
            Some(*chunk)
        }
        Task::Delete { .. } | Task::Scrub | Task::Rewrite { .. } => None,
    }
}

/// What the map says of chunks; those it does not know are left out.
async fn chunks_of(
    shared: &Shared,
    ids: Vec<ChunkId>,
) -> Result<BTreeMap<ChunkId, Intended>, RpcError> {
    let reading = shared.read(Consistency::Stale).await?;
    let look = move |view: &View| {
        let mut chunks = BTreeMap::new();
        for id in ids {
            if let Some(chunk) = map::chunk(view, id)? {
                chunks.insert(id, chunk);
            }
        }
        Ok(chunks)
    };
    shared.look(reading, look).await
}

/// Compares a report with the map and keeps the differences. A node that registers anew meanwhile
/// has more to say, or less, so what it said before is not kept.
async fn take_in(shared: &Shared, report: ChunkReport) -> Result<(), RpcError> {
    let (node, caller) = (report.node, (report.node, report.epoch));
    let present = report.present.iter().map(|replica| replica.chunk);
    let lost = report.absent.iter().chain(&report.corrupt).copied();
    let chunks = chunks_of(shared, present.chain(lost).collect()).await?;
    let mut found: Vec<(ChunkId, Finding)> = Vec::new();
    for replica in &report.present {
        let chunk = chunks.get(&replica.chunk);
        found.push((replica.chunk, report::present(node, *replica, chunk)));
    }
    for (list, fault) in [
        (&report.absent, Fault::Missing),
        (&report.corrupt, Fault::Corrupt),
    ] {
        let judge = |id: &ChunkId| (*id, report::lost(node, fault, chunks.get(id)));
        found.extend(list.iter().map(judge));
    }
    let listed: Vec<ChunkId> = found.iter().map(|(chunk, _)| *chunk).collect();
    let note = |leading: &mut Leading| {
        for (chunk, finding) in found {
            leading.note(node, chunk, finding);
        }
    };
    let ReportKind::Full { from, until } = report.kind else {
        return for_current(shared, caller, note);
    };
    let begun = for_current(shared, caller, |leading| {
        let part = leading.view.begin_part(leading.clock, node, from, until)?;
        note(leading);
        Some(part)
    })?;
    let Some(part) = begun else {
        return Ok(());
    };
    miss_the_rest(shared, caller, from, until, listed).await?;
    for_current(shared, caller, |leading| leading.view.end_part(part))
}

/// Notes the replicas a node should have in a range and has not listed.
async fn miss_the_rest(
    shared: &Shared,
    caller: (NodeId, NodeEpoch),
    from: ChunkId,
    until: Option<ChunkId>,
    mut listed: Vec<ChunkId>,
) -> Result<(), RpcError> {
    let node = caller.0;
    listed.sort_unstable();
    let listed = Arc::new(listed);
    let reading = shared.read(Consistency::Stale).await?;
    let mut after = from.0.checked_sub(1).map(ChunkId);
    loop {
        let seen = Arc::clone(&listed);
        let look = move |view: &View| {
            let ids = query::chunks_of_node(view, node, after, ENTRIES_PER_REPLY_MAX)?;
            let last = ids.last().copied();
            let more = ids.len() >= ENTRIES_PER_REPLY_MAX;
            let within = |id: &ChunkId| until.is_none_or(|until| *id < until);
            let missing = ids.into_iter().filter(within);
            let missing = missing.filter(|id| seen.binary_search(id).is_err());
            Ok((missing.collect::<Vec<_>>(), last.filter(|_| more)))
        };
        let (missing, last) = shared.look(reading.clone(), look).await?;
        for_current(shared, caller, |leading| {
            for chunk in missing {
                leading.note(node, chunk, Finding::Fault(Fault::Missing));
            }
        })?;
        match last {
            Some(last) if until.is_none_or(|until| last < until) => after = Some(last),
            Some(_) | None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use super::*;
    use crate::master::tests::{cluster, leader, registration};

    #[tokio::test]
    async fn a_report_of_a_former_incarnation_is_not_taken_for_one_of_the_present() {
        let directory = tempfile::tempdir().unwrap();
        let master = leader(&directory).await;
        let client = cluster(&master).await;
        let register = || client.register(tarpc::context::current(), registration(1));
        let first = register().await.unwrap().unwrap();
        let report = ChunkReport {
            node: first.node,
            epoch: first.epoch,
            kind: ReportKind::Full {
                from: ChunkId(0),
                until: None,
            },
            present: Vec::new(),
            absent: Vec::new(),
            corrupt: Vec::new(),
        };
        // As if it registered while its report was compared with the map.
        register().await.unwrap().unwrap();

        let taken = take_in(&master.shared, report).await;

        assert!(matches!(taken, Err(RpcError::Fenced(_))), "{taken:?}");
        let wants = |leading: &mut Leading| {
            let node = leading.view.node(first.node);
            node.is_some_and(|node| node.wants_report())
        };
        assert!(master.shared.leading(wants).unwrap());
    }
}

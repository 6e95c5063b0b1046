//! Processes that die, stand still, come and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::types::{AdminState, NodeId};
use dfs_evidence::faults::{Fault, FaultKind};

use super::super::cluster::{Cluster, MASTERS, Role, connect};
use super::super::world::Crash;
use super::{Heal, Nemesis, Pick};

/// How long a process that was killed stays away, whatever the fault says; `wanted` says more.
const DOWN: Duration = Duration::from_millis(100);

/// How long a process stands still at least: longer than it takes to elect another leader.
const PAUSE_MIN: Duration = Duration::from_millis(1500);

/// How long a crash waits for something to be in the middle of.
const MIDDLE: Duration = Duration::from_millis(50);

impl Nemesis {
    pub(super) fn kill(
        &mut self,
        fault: Fault,
        pick: &Pick,
        cluster: &mut Cluster,
    ) -> Option<Heal> {
        let mut servers: Vec<usize> = running(cluster);
        let leader = cluster.leader();
        match fault.kind {
            FaultKind::KillLeader => servers = vec![leader?],
            FaultKind::KillSome => {
                pick.shuffle(&mut servers);
                servers.truncate(1 + pick.below(4));
            }
            FaultKind::PowerOne => servers = vec![pick.one(&servers)?],
            _ => {}
        }
        if leader.is_some_and(|leader| servers.contains(&leader)) {
            self.leaders_killed += 1;
        }
        let how = match fault.kind {
            FaultKind::PowerOne | FaultKind::PowerAll => Crash::Power,
            _ => Crash::Kill,
        };
        let together = matches!(fault.kind, FaultKind::KillAll | FaultKind::PowerAll);
        crash_in_the_middle(&servers, how, together, pick, cluster);
        if fault.kind == FaultKind::KillLeader && pick.below(3) == 0 {
            // Back before anyone else can lead.
            for index in &servers {
                cluster.servers[*index].wanted = true;
                cluster.crash(*index, how, Duration::ZERO);
            }
        }
        Some(Heal::Run(servers))
    }

    /// A data node is emptied, one at a time, and taken back: whether it was done or not, since
    /// what was asked may still be done when nobody waits for it any more.
    pub(super) fn drain(
        &mut self,
        fault: Fault,
        pick: &Pick,
        cluster: &mut Cluster,
    ) -> Option<Heal> {
        if self.emptying.is_some() {
            return None;
        }
        let done = Arc::new(AtomicBool::new(false));
        let (told, config) = (Arc::clone(&done), cluster.client_config());
        let (which, asker) = (pick.below(1000), cluster.clients[0]);
        let started = cluster.world.start_beside(asker, move |env| async move {
            let client = connect(config, env).await;
            if let Some(node) = ask_to_empty(&client, which).await {
                tokio::time::sleep(fault.lasts).await;
                let state = AdminState::InService;
                while let Err(error) = client.decide_node(node, state, None).await {
                    tracing::debug!(%error, %node, "not taken back yet");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            told.store(true, Ordering::Relaxed);
        });
        self.emptying = started.then_some(done);
        started.then_some(Heal::Nothing)
    }
}

/// Asks that a data node be emptied; names it once that may have been decided.
async fn ask_to_empty(client: &Client, which: usize) -> Option<NodeId> {
    let mut asked = None;
    for _ in 0..3 {
        let nodes = client.nodes().await.unwrap_or_default();
        let chosen = nodes.get(which % nodes.len().max(1)).map(|node| node.node);
        asked = asked.or(chosen);
        if let Some(node) = asked {
            match client.decide_node(node, AdminState::Draining, None).await {
                Ok(()) => break,
                Err(error) => tracing::debug!(%error, %node, "not emptied"),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    asked
}

/// Crashes servers, most of them in the middle of what they do to their disks, as soon as they do
/// something: between two jobs there is nothing to tear. Together: as soon as one of them does.
fn crash_in_the_middle(
    servers: &[usize],
    how: Crash,
    together: bool,
    pick: &Pick,
    cluster: &mut Cluster,
) {
    let mut left = servers.to_vec();
    for index in servers {
        cluster.servers[*index].wanted = false;
        if pick.below(4) > 0 {
            let disk = cluster.world.disk(cluster.servers[*index].host);
            disk.lose_power_after(1 + pick.below(40) as u64);
        }
    }
    let end = cluster.world.now() + MIDDLE;
    while !left.is_empty() {
        let over = cluster.world.now() >= end;
        let is_off = |cluster: &Cluster, index: usize| {
            let host = cluster.servers[index].host;
            over || cluster.world.disk(host).is_off()
        };
        let all_off = together && left.iter().any(|index| is_off(cluster, *index));
        let (off, on): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|index| all_off || is_off(cluster, *index));
        for index in off {
            cluster.crash(index, how, DOWN);
        }
        left = on;
        if !left.is_empty() {
            cluster.world.step();
        }
    }
}

pub(super) fn pause(
    kind: FaultKind,
    pick: &Pick,
    cluster: &mut Cluster,
) -> Option<(Heal, Duration)> {
    let leader = cluster.leader();
    let index = match kind {
        FaultKind::PauseLeader => leader?,
        _ => {
            let others = running(cluster).into_iter();
            let others: Vec<usize> = others.filter(|i| Some(*i) != leader).collect();
            pick.one(&others)?
        }
    };
    let host = cluster.servers[index].host;
    cluster.world.pause(host, true);
    Some((Heal::Resume(index), PAUSE_MIN))
}

/// The master that waits joins, without a vote until one is free, and is asked out later.
pub(super) fn join_the_spare(cluster: &mut Cluster) -> Option<Heal> {
    let spare = &mut cluster.servers[MASTERS];
    if spare.present {
        return None;
    }
    (spare.present, spare.wanted) = (true, true);
    Some(Heal::Leave(MASTERS))
}

/// What became of asking a master out of the group.
pub(super) type Removal = Arc<Mutex<Option<bool>>>;

/// Has a client ask that a master be removed, until it is, or it is clear that it cannot be.
pub(super) fn ask_out(index: usize, cluster: &mut Cluster) -> Option<(usize, Removal)> {
    let master = cluster.servers[index].probe.master();
    let status = master.and_then(|master| master.status().ok().flatten());
    let member = status?.member.0;
    let removal = Removal::default();
    let (told, config) = (Arc::clone(&removal), cluster.client_config());
    let asker = cluster.clients[0];
    let started = cluster.world.start_beside(asker, |env| async move {
        let client = connect(config, env).await;
        let mut removed = false;
        for _ in 0..20 {
            match client.remove_master(member).await {
                Ok(()) => {
                    removed = true;
                    break;
                }
                Err(error) => tracing::debug!(%error, member, "cannot be removed yet"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        *told.lock().unwrap() = Some(removed);
    });
    started.then_some((index, removal))
}

/// Takes away the machine of a master that is out of the group.
pub(super) fn see_off(leaving: &mut Option<(usize, Removal)>, cluster: &mut Cluster) {
    let Some((index, removal)) = leaving else {
        return;
    };
    let Some(removed) = *removal.lock().unwrap() else {
        return;
    };
    if removed {
        let server = &mut cluster.servers[*index];
        (server.present, server.wanted) = (false, false);
        cluster.crash(*index, Crash::Power, DOWN);
        cluster.wipe(*index);
    }
    *leaving = None;
}

/// A process is away until its absence has consequences.
pub(super) fn away(role: Role, pick: &Pick, cluster: &mut Cluster) -> Option<(Heal, Duration)> {
    let leader = cluster.leader();
    let servers = running(cluster).into_iter();
    let fit = |i: &usize| cluster.servers[*i].role == role && Some(*i) != leader;
    let index = pick.one(&servers.filter(fit).collect::<Vec<_>>())?;
    cluster.servers[index].wanted = false;
    cluster.crash(index, Crash::Kill, DOWN);
    Some((Heal::Run(vec![index]), Duration::from_secs(9)))
}

/// All processes, one after the other.
pub(super) fn rolling(pick: &Pick, cluster: &mut Cluster) -> Option<(Heal, Duration)> {
    let mut servers = running(cluster);
    pick.shuffle(&mut servers);
    let long = Duration::from_secs(2) * u32::try_from(servers.len()).ok()?;
    Some((Heal::Rolling(servers), long))
}

/// Asks the next process to stop, at times; it is started again as any that has ended.
pub(super) fn roll(left: &mut Vec<usize>, cluster: &mut Cluster) {
    if !cluster.world.now().as_millis().is_multiple_of(1500) {
        return;
    }
    if let Some(index) = left.pop() {
        cluster.servers[index].probe.stop();
    }
}

/// Servers that run, and are meant to.
pub(super) fn running(cluster: &Cluster) -> Vec<usize> {
    let all = 0..cluster.servers.len();
    let runs = |index: &usize| {
        let server = &cluster.servers[*index];
        server.present && server.wanted && cluster.world.is_running(server.host)
    };
    all.filter(runs).collect()
}

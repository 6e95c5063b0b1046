//! Processes that die, stand still, come and go.

use std::time::Duration;

use dfs_evidence::faults::{Fault, FaultKind};

use super::super::cluster::{Cluster, MASTERS, Role};
use super::super::world::Crash;
use super::{Heal, Nemesis, Pick};

/// How long a process that was killed stays away, whatever the fault says; `wanted` says more.
const DOWN: Duration = Duration::from_millis(100);

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
        for index in &servers {
            cluster.servers[*index].wanted = false;
            cluster.crash(*index, how, DOWN);
        }
        Some(Heal::Run(servers))
    }
}

pub(super) fn pause(kind: FaultKind, pick: &Pick, cluster: &mut Cluster) -> Option<Heal> {
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
    Some(Heal::Resume(index))
}

/// The master that waits comes for good: without a vote until one is free.
pub(super) fn join_the_spare(cluster: &mut Cluster) -> Option<Heal> {
    let spare = &mut cluster.servers[MASTERS];
    if spare.present {
        return None;
    }
    (spare.present, spare.wanted) = (true, true);
    Some(Heal::Nothing)
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
        server.wanted && cluster.world.is_running(server.host)
    };
    all.filter(runs).collect()
}

//! Disks that are slow, full, failing, damaged or gone; clocks that are wrong.

use std::time::Duration;

use dfs_evidence::faults::FaultKind;

use super::super::cluster::{Cluster, MASTERS, Role};
use super::super::verdict;
use super::super::world::Crash;
use super::processes::running;
use super::{Heal, Nemesis, Pick};

/// How far a wall clock is wrong at most, in milliseconds.
pub(crate) const CLOCK_WRONG_MAX: i64 = 400 * 86_400_000;

/// The size of a disk.
pub(super) const CAPACITY: u64 = 1 << 30;

impl Nemesis {
    /// Flips bits in files of one server.
    pub(super) fn rot(&mut self, pick: &Pick, cluster: &mut Cluster) -> Option<Heal> {
        let masters = cluster.of(Role::Master);
        // Always the same, because rot is found when it is read, which may be much later.
        let master = masters.get(self.victim as usize % MASTERS).copied()?;
        let index = self.choose_victim([master], pick, cluster)?;
        let disk = cluster.world.disk(cluster.servers[index].host).clone();
        let files = disk.files("/");
        let flips = [1, 8, 64][pick.below(3)];
        for _ in 0..flips {
            let path = pick.one(&(0..files.len()).collect::<Vec<_>>())?;
            let path = &files[path];
            let bytes = disk.get(path);
            let mut written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            if pick.below(2) == 0 {
                // What was written last is read first, and may be nowhere else yet.
                written.drain(..written.len().saturating_sub(4096));
            }
            let Some(offset) = pick.one(&written) else {
                continue;
            };
            let mask = 1 << pick.below(8);
            tracing::info!(?path, offset, "a bit flips");
            cluster.servers[index].rotten = true;
            // What is durable may be shorter.
            disk.damage(path, |bytes| {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= mask;
                }
            });
        }
        if !cluster.servers[index].rotten {
            return None;
        }
        if pick.below(2) == 0 {
            // What it has in memory is right; what it reads when it starts is not.
            cluster.crash(index, Crash::Kill, Duration::from_millis(100));
        }
        Some(Heal::Nothing)
    }

    /// Takes a server's disk away and gives it an empty one.
    pub(super) fn wipe(&mut self, pick: &Pick, cluster: &mut Cluster) -> Option<Heal> {
        let masters = cluster.of(Role::Master);
        let index = self.choose_victim(masters, pick, cluster)?;
        cluster.crash(index, Crash::Power, Duration::from_millis(500));
        cluster.wipe(index);
        Some(Heal::Nothing)
    }

    /// A server that may lose what it has: everything else is well, and it is the one data node
    /// of this run to which that happens, or one of these masters.
    fn choose_victim(
        &mut self,
        masters: impl AsRef<[usize]>,
        pick: &Pick,
        cluster: &mut Cluster,
    ) -> Option<usize> {
        let victim = MASTERS + 1 + (self.victim as usize) % cluster.data_nodes;
        let index = match pick.below(2) {
            0 => victim,
            _ => pick.one(masters.as_ref())?,
        };
        (self.active.is_empty() && may_rot(index, cluster)).then_some(index)
    }
}

/// Whether a server may lose what it has: all is well, and nothing else is rotten. What is rotten
/// may find out any time, and be no help then.
pub(super) fn may_rot(index: usize, cluster: &mut Cluster) -> bool {
    let mut others = cluster.servers.iter().enumerate();
    let is_rotten = others.any(|(other, server)| server.rotten && other != index);
    !is_rotten && all_is_well(cluster)
}

/// Everything runs, everyone has caught up, and no chunk lacks a copy.
fn all_is_well(cluster: &mut Cluster) -> bool {
    let meant = cluster.servers.iter().filter(|server| server.present);
    if running(cluster).len() != meant.count() {
        return false;
    }
    let Some(leader) = cluster.leader() else {
        return false;
    };
    let whole = cluster.strength() == Some((MASTERS, cluster.data_nodes));
    let states = cluster.states();
    let most = states.iter().map(|state| state.1.index).max();
    let least = states.iter().map(|state| state.1.index).min();
    let (Some(most), Some(least)) = (most, least) else {
        return false;
    };
    let caught_up = states.len() == cluster.of(Role::Master).len() && most == least;
    whole && caught_up && verdict::unhealthy(cluster, leader).is_empty()
}

/// A disk of one server that runs is slow, fails a sync, or is full.
pub(super) fn trouble(kind: FaultKind, pick: &Pick, cluster: &mut Cluster) -> Option<Heal> {
    let index = pick.one(&running(cluster))?;
    let host = cluster.servers[index].host;
    if kind != FaultKind::SlowDisk {
        cluster.harm(index);
    }
    let disk = cluster.world.disk(host);
    match kind {
        FaultKind::SlowDisk => {
            let by = Duration::from_millis([5, 20, 100][pick.below(3)]);
            cluster.world.slow_disk(host, by);
            Some(Heal::Unslow(host))
        }
        FaultKind::FailedSync => {
            let times = [1, 1, 2, 3][pick.below(4)];
            match pick.below(4) {
                0 => disk.fail_directory_syncs(times),
                1 => disk.fail_writes(times),
                _ => disk.fail_syncs(times),
            }
            Some(Heal::Sync(index))
        }
        FaultKind::HandleLimit => {
            disk.be_short_of_handles(true);
            cluster.servers[index].starved += 1;
            Some(Heal::Handles(index))
        }
        _ => {
            let left = [0, 64 << 10, 4 << 20][pick.below(3)];
            disk.set_capacity(disk.used() + left);
            cluster.servers[index].starved += 1;
            Some(Heal::Room(index, host))
        }
    }
}

/// The wall clock of one server jumps.
pub(super) fn clock_jump(pick: &Pick, cluster: &mut Cluster) -> Option<Heal> {
    let index = pick.one(&running(cluster))?;
    let host = cluster.servers[index].host;
    let far = [500, 10_000, 3_600_000, CLOCK_WRONG_MAX][pick.below(4)];
    let offset = if pick.below(2) == 0 { far } else { -far };
    cluster.world.set_clock(host, offset);
    Some(Heal::Clock(host))
}

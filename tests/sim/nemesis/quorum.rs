//! The hardest case that consensus must withstand, step by step: by chance it would be rare.
//!
//! ```text
//!          behind        harmed                                leader
//!   0 s    is cut off    acknowledges with the leader          leads
//!   2 s    is back       loses power, or the bytes of a        is killed, paused or cut off
//!                        failed sync, or has rot in its log
//!   6 s                                                        is back
//! ```
//!
//! The rot is in what was written in the first of these seconds, with something behind it: what
//! was written last cannot be told from what a crash left of a write.
//!
//! What was acknowledged meanwhile is at the leader for certain. The other two must not go on
//! without it, unless the harmed one has it still.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dfs_core::testing::MemoryDisk;

use super::super::cluster::{Cluster, Role};
use super::super::net::Link;
use super::super::world::Crash;
use super::processes::running;
use super::{Nemesis, Pick, damage};

/// Half of the time for which one follower is behind before the other is harmed.
const BEHIND: Duration = Duration::from_secs(1);
/// How long the leader is away.
const AWAY: Duration = Duration::from_secs(4);

/// What happens to the follower that has what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Power,
    FailedSync,
    Rot,
}

/// How the leader is away.
#[derive(Debug, Clone, Copy)]
enum Absence {
    Killed,
    Paused,
    CutOff,
}

/// What has been done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Apart,
    FurtherApart,
    Away,
    Over,
}

/// One such case.
pub(super) struct HarmedQuorum {
    stage: Stage,
    next: Duration,
    leader: usize,
    harmed: usize,
    harm: Harm,
    absence: Absence,
    /// Those that keep the third one behind, then those that keep the leader away.
    links: Vec<Link>,
    /// The log of the harmed one, as it was when the last stage began.
    log: Log,
    /// A byte of it that was written since, and has others behind it.
    written: Option<(PathBuf, usize)>,
    pick: Pick,
}

/// The files of a log.
type Log = BTreeMap<PathBuf, Vec<u8>>;

impl Nemesis {
    /// Begins it, if there are a leader and two followers; how long it takes.
    pub(super) fn harm_quorum(
        &mut self,
        pick: Pick,
        cluster: &mut Cluster,
    ) -> Option<(HarmedQuorum, Duration)> {
        let leader = cluster.leader()?;
        let masters = running(cluster).into_iter();
        let is_follower = |i: &usize| cluster.servers[*i].role == Role::Master && *i != leader;
        let mut followers: Vec<usize> = masters.filter(is_follower).collect();
        pick.shuffle(&mut followers);
        let [harmed, behind] = followers[..] else {
            return None;
        };
        let harm = match pick.below(4) {
            0 => Harm::Power,
            1 => Harm::FailedSync,
            _ if !self.active.is_empty() || !damage::may_rot(harmed, cluster) => return None,
            _ => Harm::Rot,
        };
        let absence = match pick.below(3) {
            0 => Absence::Killed,
            1 => Absence::Paused,
            _ => Absence::CutOff,
        };
        let host = |index: usize| cluster.servers[index].host;
        let links = Cluster::links(&[host(behind)], &[host(leader), host(harmed)]);
        cluster.world.net.cut(&links);
        if harm == Harm::FailedSync {
            cluster.harm(harmed);
            disk(harmed, cluster).fail_syncs(1 + pick.below(2) as u64);
        }
        let case = HarmedQuorum {
            stage: Stage::Apart,
            next: cluster.world.now() + BEHIND,
            leader,
            harmed,
            harm,
            absence,
            links,
            log: log(disk(harmed, cluster)),
            written: None,
            pick,
        };
        Some((case, BEHIND * 2 + AWAY + Duration::from_millis(100)))
    }
}

impl HarmedQuorum {
    /// Goes on, if it is time.
    pub(super) fn go_on(&mut self, cluster: &mut Cluster) {
        if cluster.world.now() < self.next {
            return;
        }
        match self.stage {
            Stage::Apart => {
                let now = log(disk(self.harmed, cluster));
                self.written = self.pick.one_of(changes(&self.log, &now));
                self.log = now;
                self.next = cluster.world.now() + BEHIND;
                self.stage = Stage::FurtherApart;
            }
            Stage::FurtherApart => {
                self.strike(cluster);
                self.next = cluster.world.now() + AWAY;
                self.stage = Stage::Away;
            }
            Stage::Away => self.end(cluster),
            Stage::Over => {}
        }
    }

    fn strike(&mut self, cluster: &mut Cluster) {
        cluster.world.net.heal(&self.links);
        self.links.clear();
        let disk = disk(self.harmed, cluster).clone();
        disk.fail_syncs(0);
        cluster.healed(cluster.servers[self.harmed].host);
        let mut how = Crash::Power;
        let more = !changes(&self.log, &log(&disk)).is_empty();
        if self.harm == Harm::Rot
            && more
            && let Some((path, offset)) = self.written.take()
            && disk.files("/").contains(&path)
        {
            tracing::info!(?path, offset, "a bit flips in the log");
            cluster.servers[self.harmed].rotten = true;
            disk.flip(&path, offset as u64, 1 << self.pick.below(8));
            how = Crash::Kill;
        }
        cluster.crash(self.harmed, how, Duration::from_millis(50));
        match self.absence {
            Absence::Killed => {
                cluster.servers[self.leader].wanted = false;
                cluster.crash(self.leader, Crash::Kill, Duration::ZERO);
            }
            Absence::Paused => cluster.world.pause(self.host(cluster), true),
            Absence::CutOff => {
                let servers = cluster.servers.iter().map(|server| server.host);
                let others: Vec<_> = servers.collect();
                self.links = Cluster::links(&[self.host(cluster)], &others);
                cluster.world.net.cut(&self.links);
            }
        }
    }

    /// The leader is back.
    pub(super) fn end(&mut self, cluster: &mut Cluster) {
        if self.stage == Stage::Over {
            return;
        }
        self.stage = Stage::Over;
        cluster.want(self.leader);
        cluster.world.pause(self.host(cluster), false);
        cluster.world.net.heal(&self.links);
        disk(self.harmed, cluster).fail_syncs(0);
    }

    fn host(&self, cluster: &Cluster) -> usize {
        cluster.servers[self.leader].host
    }
}

fn disk(index: usize, cluster: &Cluster) -> &MemoryDisk {
    cluster.world.disk(cluster.servers[index].host)
}

fn log(disk: &MemoryDisk) -> Log {
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix("log-"));
        number.is_some_and(|number| number.parse::<u64>().is_ok())
    };
    let files = disk.files("/").into_iter().filter(is_segment);
    files.map(|path| (path.clone(), disk.get(&path))).collect()
}

/// Bytes of files in both that are not the same in both.
fn changes(before: &Log, now: &Log) -> Vec<(PathBuf, usize)> {
    let mut changes = Vec::new();
    for (path, bytes) in now {
        let old = before.get(path).map_or(&[][..], Vec::as_slice);
        let differ = |at: &usize| old.get(*at).is_some_and(|byte| *byte != bytes[*at]);
        let differing = (0..bytes.len()).filter(differ);
        changes.extend(differing.map(|at| (path.clone(), at)));
    }
    changes
}

//! Links that are cut or slow.

use dfs_evidence::faults::FaultKind;

use super::super::cluster::{Cluster, MASTERS, Role};
use super::super::net::{Delay, HostId, Link};
use super::{Heal, Nemesis, Pick};

impl Nemesis {
    pub(super) fn partition(
        &mut self,
        kind: FaultKind,
        pick: &Pick,
        cluster: &mut Cluster,
    ) -> Option<Heal> {
        let mut servers = hosts(cluster);
        pick.shuffle(&mut servers);
        let middle = servers.len() / 2;
        let links = match kind {
            FaultKind::IsolateLeader => {
                let leader = cluster.servers[cluster.leader()?].host;
                self.quorum_cuts += 1;
                // Sometimes clients reach it still: that is the dangerous case.
                let mut others = servers;
                if pick.below(2) == 0 {
                    others.extend(&cluster.clients);
                }
                Cluster::links(&[leader], &others)
            }
            FaultKind::Halves => {
                let (mut left, mut right) =
                    (servers[..middle].to_vec(), servers[middle..].to_vec());
                for client in &cluster.clients {
                    match pick.below(3) {
                        0 => left.push(*client),
                        1 => right.push(*client),
                        _ => {}
                    }
                }
                self.quorum_cuts += u64::from(cuts_a_quorum(&left, &right, cluster));
                Cluster::links(&left, &right)
            }
            FaultKind::OneWay => {
                let leader = cluster.servers[cluster.leader()?].host;
                self.quorum_cuts += 1;
                let heard = pick.below(2) == 0;
                let others = servers.iter().filter(|host| **host != leader);
                let link = |host: &HostId| match heard {
                    true => (*host, leader),
                    false => (leader, *host),
                };
                others.map(link).collect()
            }
            FaultKind::Bridge => {
                let (left, right) = (&servers[..middle], &servers[middle + 1..]);
                // Whoever is the bridge is on both sides.
                let with_bridge = (&servers[..=middle], &servers[middle..]);
                self.quorum_cuts += u64::from(cuts_a_quorum(with_bridge.0, with_bridge.1, cluster));
                Cluster::links(left, right)
            }
            FaultKind::Ring => ring(&servers),
            _ => return None,
        };
        cluster.world.net.cut(&links);
        if pick.below(4) == 0 {
            cluster.world.net.reset(&links);
        }
        Some(Heal::Uncut(links))
    }
}

/// Slow links, some of them or all.
pub(super) fn delay(pick: &Pick, cluster: &mut Cluster) -> Heal {
    let mut all = hosts(cluster);
    all.extend(&cluster.clients);
    let mut links = Cluster::links(&all, &all);
    links.sort_unstable();
    links.dedup();
    if pick.below(2) == 0 {
        pick.shuffle(&mut links);
        links.truncate(links.len() / 4);
    }
    let most = [10, 50, 200, 400][pick.below(4)];
    let least = [0, most / 4][pick.below(2)];
    let delay = Delay { least, most };
    cluster.world.net.delay(&links, Some(delay));
    Heal::Undelay(links)
}

/// The machines of servers that are meant to run.
fn hosts(cluster: &Cluster) -> Vec<HostId> {
    let mut servers = cluster.of(Role::Master);
    servers.extend(cluster.of(Role::DataNode));
    let host = |index: usize| cluster.servers[index].host;
    servers.into_iter().map(host).collect()
}

fn cuts_a_quorum(left: &[HostId], right: &[HostId], cluster: &Cluster) -> bool {
    let masters = |side: &[HostId]| {
        let masters = cluster.of(Role::Master).into_iter();
        let here = masters.filter(|index| side.contains(&cluster.servers[*index].host));
        here.count()
    };
    let Some(leader) = cluster.leader() else {
        return masters(left).max(masters(right)) <= MASTERS / 2;
    };
    let leader = cluster.servers[leader].host;
    if left.contains(&leader) && right.contains(&leader) {
        return false;
    }
    let own = if left.contains(&leader) { left } else { right };
    masters(own) <= MASTERS / 2
}

/// Everyone hears two neighbours only.
fn ring(servers: &[HostId]) -> Vec<Link> {
    let count = servers.len();
    let mut links = Vec::new();
    for (at, from) in servers.iter().enumerate() {
        for (other, to) in servers.iter().enumerate() {
            let apart = (at + count - other) % count;
            if !matches!(apart, 0 | 1) && apart != count - 1 {
                links.push((*from, *to));
            }
        }
    }
    links
}

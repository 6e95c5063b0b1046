//! Who does not hear whom, and who hears badly.

use std::io::Result;
use std::net::Ipv4Addr;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::Nemesis;
use super::targets::shuffled;
use crate::faults::{Fault, FaultKind};
use crate::processes::network::Pair;
use crate::processes::switch::Quality;

impl Nemesis {
    pub(super) async fn partition(
        &mut self,
        fault: &Fault,
        leader: Option<usize>,
        random: &mut StdRng,
    ) -> Result<()> {
        let nodes = self.cluster.nodes.iter().map(|node| node.host.address);
        let mut hosts: Vec<Ipv4Addr> = nodes.collect();
        let leader = leader.and_then(|leader| self.cluster.nodes.get(leader));
        let leader = leader.map(|leader| leader.host.address);
        let clients = self.clients.hosts().iter().map(|host| host.address);
        // Half of the time clients hear everybody: they reach both sides.
        if fault.kind != FaultKind::Ring && random.random_bool(0.5) {
            hosts.extend(clients);
        }
        let hosts = shuffled(&hosts, random);
        let (one, other) = hosts.split_at(hosts.len() / 2);
        let others: Vec<_> = hosts
            .iter()
            .copied()
            .filter(|h| Some(*h) != leader)
            .collect();
        let leader = leader.as_slice();
        let pairs = match fault.kind {
            FaultKind::IsolateLeader => both_ways(&between(leader, &others)),
            FaultKind::OneWay => match random.random_bool(0.5) {
                true => between(leader, &others),
                false => between(&others, leader),
            },
            FaultKind::Bridge => {
                let one = one.get(1..).unwrap_or_default();
                both_ways(&between(one, other))
            }
            FaultKind::Ring => ring(&hosts),
            _ => both_ways(&between(one, other)),
        };
        self.cluster.network.cut(fault.id, pairs).await
    }

    /// Lets what comes from and goes to some nodes pass badly.
    pub(super) async fn worsen(
        &mut self,
        fault: &Fault,
        places: &[usize],
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        let mut quality = Quality::default();
        let share = random.random_range(0.01..0.2);
        match fault.kind {
            FaultKind::Delay => {
                quality.delay = Duration::from_millis(random.random_range(1..150));
                quality.jitter = quality.delay.mul_f64(random.random_range(0.0..1.0));
            }
            FaultKind::Loss => quality.loss = share,
            FaultKind::Duplicate => quality.duplicate = share,
            _ => quality.reorder = share,
        }
        let nodes = self.cluster.nodes.iter().map(|node| node.host.address);
        let clients = self.clients.hosts().iter().map(|host| host.address);
        let all: Vec<_> = nodes.chain(clients).collect();
        let bad: Vec<_> = places.iter().filter_map(|p| all.get(*p).copied()).collect();
        let pairs = both_ways(&between(&bad, &all));
        self.cluster
            .network
            .worsen(fault.id, pairs, quality)
            .await?;
        Ok(Some(format!("{quality:?}")))
    }
}

fn between(from: &[Ipv4Addr], to: &[Ipv4Addr]) -> Vec<Pair> {
    let pairs = from
        .iter()
        .flat_map(|one| to.iter().map(|other| (*one, *other)));
    pairs.filter(|(one, other)| one != other).collect()
}

fn both_ways(pairs: &[Pair]) -> Vec<Pair> {
    let back = pairs.iter().map(|(from, to)| (*to, *from));
    let mut both: Vec<_> = pairs.iter().copied().chain(back).collect();
    both.sort_unstable();
    both.dedup();
    both
}

/// Each hears its two neighbours only.
fn ring(hosts: &[Ipv4Addr]) -> Vec<Pair> {
    let count = hosts.len();
    let is_near = |a: usize, b: usize| (a + 1) % count == b || (b + 1) % count == a;
    let far = |a: usize| (0..count).filter(move |b| *b != a && !is_near(a, *b));
    let pairs = (0..count).flat_map(|a| far(a).map(move |b| (a, b)));
    let host = |place: usize| hosts.get(place).copied();
    pairs
        .filter_map(|(a, b)| Some((host(a)?, host(b)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(count: u8) -> Vec<Ipv4Addr> {
        (1..=count).map(|n| Ipv4Addr::new(10, 77, 0, n)).collect()
    }

    #[test]
    fn in_a_ring_everybody_hears_two() {
        let hosts = hosts(7);
        let cut = ring(&hosts);
        for host in &hosts {
            let heard = hosts
                .iter()
                .filter(|o| *o != host && !cut.contains(&(*host, **o)));
            assert_eq!(heard.count(), 2, "{host}");
        }
    }

    #[test]
    fn what_is_cut_both_ways_is_cut_once_each_way() {
        let hosts = hosts(3);
        assert_eq!(both_ways(&between(&hosts, &hosts)).len(), 6);
        assert_eq!(both_ways(&between(&hosts[..1], &hosts)).len(), 4);
    }
}

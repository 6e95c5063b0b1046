//! Is everything well again, now that everything is healed?

use std::time::Duration;

use super::cluster::{Cluster, MASTERS, Role};

/// How long it may take until all is well.
const RECOVERY: Duration = Duration::from_secs(180);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What is wrong with a cluster that was healed, and how long it took until all was well.
pub(super) fn judge(cluster: &mut Cluster) -> (Vec<String>, Duration) {
    let begin = cluster.world.now();
    let end = begin + RECOVERY;
    let mut ailments = vec!["nobody looked".to_owned()];
    while !ailments.is_empty() && cluster.world.now() < end {
        cluster.run_for(LOOK);
        ailments = find_ailments(cluster);
    }
    let settled = cluster.world.now() - begin;
    let mut found: Vec<String> = ailments
        .into_iter()
        .map(|ailment| format!("P1: after {RECOVERY:?} still: {ailment}"))
        .collect();
    found.extend(check_invariants(cluster));
    (found, settled)
}

/// What is not as it should be.
fn find_ailments(cluster: &mut Cluster) -> Vec<String> {
    let mut found = Vec::new();
    let Some(leader) = cluster.leader() else {
        return vec!["nobody leads".to_owned()];
    };
    match cluster.strength() {
        Some((voters, live)) if voters >= MASTERS && live >= cluster.data_nodes => {}
        strength => found.push(format!("voters and live data nodes are {strength:?}")),
    }
    let states = cluster.states();
    let wanted = cluster.of(Role::Master).len();
    if states.len() != wanted {
        found.push(format!("{} of {wanted} masters run", states.len()));
    }
    let first = states.first().cloned();
    for (name, applied, last, digest) in &states {
        let Some((_, applied1, last1, digest1)) = &first else {
            continue;
        };
        if (applied, last, digest) != (applied1, last1, digest1) || *last != Some(applied.index) {
            found.push(format!(
                "{name} has state {digest} of {applied} in a log up to {last:?}"
            ));
        }
    }
    found.extend(unhealthy(cluster, leader));
    found
}

/// Chunks with fewer good copies than wanted, as the leader says.
pub(super) fn unhealthy(cluster: &mut Cluster, leader: usize) -> Vec<String> {
    let Some(master) = cluster.servers[leader].probe.master() else {
        return vec!["the leader is gone".to_owned()];
    };
    let host = cluster.servers[leader].host;
    // The master must not outlive its process: only the task has it.
    let ask = async move {
        let unhealthy = master.unhealthy_chunks().await;
        unhealthy.map_err(|error| error.to_string())
    };
    match cluster.ask(host, Duration::from_secs(10), ask) {
        Some(Ok(Some(unhealthy))) => unhealthy,
        other => vec![format!("the leader does not say how chunks are: {other:?}")],
    }
}

/// The invariants of the metadata, on every master.
fn check_invariants(cluster: &mut Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for index in cluster.of(Role::Master) {
        let host = cluster.servers[index].host;
        let name = cluster.world.name(host).to_owned();
        let Some(master) = cluster.servers[index].probe.master() else {
            continue;
        };
        let check = async move { master.check().await.map_err(|e| e.to_string()) };
        match cluster.ask(host, Duration::from_secs(30), check) {
            Some(Ok(checked)) => {
                let violations = checked.violations.iter();
                found.extend(violations.map(|v| format!("M4: {name}: {v}")));
            }
            // It has just found out.
            _ if cluster.servers[index].rotten => {}
            other => found.push(format!("M4: {name} cannot be checked: {other:?}")),
        }
    }
    found
}

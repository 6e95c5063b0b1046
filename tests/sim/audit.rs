//! Looks at the disks of data nodes, past the data nodes: what was acknowledged must be there.
//!
//! - **Whenever one starts again:** each replica that the masters count on is there and right,
//!   though the process was killed or the power went. No other replica has to be lost with it
//!   before that shows, and no repair can hide it.
//! - **At the end:** each data node has what the map says, bit by bit, and when time has passed
//!   nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use dfs_core::env::{Disk, Env};
use dfs_core::master::ChunkMap;
use dfs_core::master::planners::Intended;
use dfs_core::testing::{MemoryDisk, test_env};
use dfs_core::types::{ChunkId, NodeId};
use dfs_evidence::checkers::replicas::{Holdings, stripes};
use tokio::runtime::Builder;

use super::cluster::{Cluster, DIRECTORY, Role};
use super::nemesis::CLOCK_WRONG_MAX;

/// How long after a start what is lacking must still be said to be there: a deletion may have
/// been on its way.
const CONFIRMED_AFTER: Duration = Duration::from_millis(1500);
/// How long damage that was pointed out, and space, may take.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_secs(2);
/// How often the map is looked at.
const MAP_LOOK: Duration = Duration::from_millis(500);
/// In milliseconds.
const DAY: i64 = 86_400_000;
/// Chunks that are shown, of many.
const SHOWN: usize = 5;
/// Where no data node has a file of its own, and what is there.
const FOREIGN: (&str, &[u8]) = ("chunks/00/notes.txt", b"a person's only copy");

/// What was found when data nodes started, and is to be compared.
#[derive(Default)]
pub(super) struct Audits {
    /// Not compared yet: there was no leader.
    taken: Vec<(usize, Holdings)>,
    /// Lacking when its data node started.
    suspects: Vec<Suspect>,
    /// How many replicas were read.
    pub(super) replicas: u64,
}

struct Suspect {
    name: String,
    node: NodeId,
    chunk: ChunkId,
    why: String,
    confirm_at: Duration,
}

/// Looks at the disk of a data node that is about to start; what is wrong with how it is opened.
pub(super) fn before_start(cluster: &mut Cluster, index: usize) {
    let host = cluster.servers[index].host;
    let copy = cluster.world.disk(host).copy();
    let foreign = PathBuf::from(DIRECTORY).join(FOREIGN.0);
    let has_place = copy.exists(foreign.parent().unwrap_or(&foreign));
    let has_place = has_place.unwrap_or(false);
    if has_place {
        // The disk may be full.
        copy.set_capacity(u64::MAX);
        copy.put(&foreign, FOREIGN.1);
    }
    // One that cannot be opened does not start either.
    let Ok(holdings) = read(cluster, &copy, &ChunkMap::default()) else {
        return;
    };
    if has_place && !has_bytes(&copy, FOREIGN.1) {
        let name = cluster.world.name(host);
        let wrong = format!("D4: {name} deleted a file it does not know when it started");
        cluster.wrong.push(wrong);
    }
    if !cluster.servers[index].rotten {
        cluster.audits.replicas += holdings.replicas.len() as u64;
        cluster.audits.taken.push((index, holdings));
    }
}

fn has_bytes(disk: &MemoryDisk, bytes: &[u8]) -> bool {
    let files = disk.files("/");
    files.iter().any(|file| disk.get(file) == bytes)
}

/// Compares what was found with what the leader knows. Called at every step.
pub(super) fn compare(cluster: &mut Cluster) {
    let now = cluster.world.now();
    let audits = &cluster.audits;
    let due = audits.suspects.iter().any(|s| s.confirm_at <= now);
    let due = due || now.as_millis().is_multiple_of(MAP_LOOK.as_millis());
    if audits.taken.is_empty() && !due {
        return;
    }
    let Some(map) = map(cluster) else {
        return;
    };
    if let Some(chunk) = map.chunks.values().find(|chunk| is_on_too_few(chunk)) {
        let on = chunk.company();
        let wrong = format!("D6: a chunk is acknowledged that only {on:?} have, or its stripe");
        if !cluster.wrong.contains(&wrong) {
            cluster.wrong.push(wrong);
        }
    }
    for (index, holdings) in std::mem::take(&mut cluster.audits.taken) {
        let name = cluster.world.name(cluster.servers[index].host).to_owned();
        let Some(node) = holdings.node else {
            continue;
        };
        let suspect = |(chunk, why)| Suspect {
            name: name.clone(),
            node,
            chunk,
            why,
            confirm_at: now + CONFIRMED_AFTER,
        };
        let mut lacking = holdings.lacking(&map);
        if !lacking.is_empty() {
            // Until somebody led a client may have written what it got a grant for before.
            let now = now_on_disk(cluster, index);
            lacking.retain(|(chunk, _)| !now.contains(chunk));
        }
        let lacking = lacking.into_iter().map(suspect);
        cluster.audits.suspects.extend(lacking);
    }
    let is_due = |suspect: &mut Suspect| suspect.confirm_at <= now;
    let due: Vec<_> = cluster.audits.suspects.extract_if(.., is_due).collect();
    for Suspect {
        name,
        node,
        chunk,
        why,
        ..
    } in due
    {
        let still = map.chunks.get(&chunk);
        if still.is_some_and(|chunk| chunk.replicas.contains(&node)) {
            cluster.wrong.push(format!(
                "D8: {name} no longer had {chunk} when it started: {why}"
            ));
        }
    }
}

/// What a data node that runs has on its disk, and is right.
fn now_on_disk(cluster: &Cluster, index: usize) -> BTreeSet<ChunkId> {
    let copy = cluster.world.disk(cluster.servers[index].host).copy();
    let Ok(holdings) = read(cluster, &copy, &ChunkMap::default()) else {
        return BTreeSet::new();
    };
    let right = holdings.replicas.into_iter().filter(|(_, is)| is.is_ok());
    right.map(|(chunk, _)| chunk).collect()
}

/// Whether fewer have it than ever should: each is acknowledged when at least two copies are
/// stored, or a member more than it takes; and one is lost at most before all is well again.
fn is_on_too_few(chunk: &Intended) -> bool {
    let (held, wanted) = match &chunk.stripe {
        None => (chunk.replicas.len(), usize::from(chunk.target.0)),
        Some(stripe) => {
            let members = stripe.members.iter();
            let held = members.filter(|member| !member.replicas.is_empty());
            (held.count(), stripe.shape.members())
        }
    };
    held + 1 < wanted
}

/// What every data node must have, and nothing else; everything is healed. Gives what is wrong.
pub(super) fn at_the_end(cluster: &mut Cluster) -> Vec<String> {
    wait_for_scrub(cluster);
    let mut found = lacking(cluster);
    found.extend(unwanted_for_days(cluster));
    found.extend(lacking(cluster));
    found
}

/// What nobody wants, though grants have expired and graces are over.
fn unwanted_for_days(cluster: &mut Cluster) -> Vec<String> {
    // The masters' log is as far ahead as any clock was.
    let set_clocks = |cluster: &Cluster, days| {
        let wrong = CLOCK_WRONG_MAX + days * DAY;
        let hosts = 0..cluster.world.hosts();
        hosts.for_each(|host| cluster.world.set_clock(host, wrong));
    };
    set_clocks(cluster, 2);
    // A data node reports what it has, and the masters give up what is not wanted.
    look_until(cluster, |c| {
        map(c).is_some_and(|map| {
            let unwanted = unwanted(c, &map);
            unwanted.iter().all(|u| map.given_up.contains(&(u.1, u.2)))
        })
    });
    set_clocks(cluster, 4);
    let mut left = None;
    look_until(cluster, |c| {
        left = map(c).map(|map| unwanted(c, &map));
        left.as_ref().is_some_and(Vec::is_empty)
    });
    let Some(left) = left else {
        return vec!["D5: nobody leads when days have passed".to_owned()];
    };
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, chunk, _) in left {
        nodes.entry(name).or_default().push(chunk.to_string());
    }
    let nodes = nodes.into_iter().map(|(name, chunks)| {
        let (count, some) = (chunks.len(), &chunks[..chunks.len().min(SHOWN)]);
        format!("D5: {name} keeps {count} chunks that nobody wants: {some:?}")
    });
    nodes.collect()
}

/// Waits until what rotted is found by the data nodes themselves, though nobody reads it, and
/// mended: they read all they have through in less time than this.
fn wait_for_scrub(cluster: &mut Cluster) {
    look_until(cluster, |cluster| lacking(cluster).is_empty());
}

/// Replicas that are not as the map says.
fn lacking(cluster: &mut Cluster) -> Vec<String> {
    let Some(map) = map(cluster) else {
        return vec!["P1: nobody leads".to_owned()];
    };
    let (mut found, mut nodes) = (Vec::new(), BTreeSet::new());
    let mut read = Vec::new();
    for (name, holdings) in all(cluster, &map) {
        match holdings {
            Ok(holdings) => {
                nodes.extend(holdings.node);
                let lacking = holdings.lacking(&map).into_iter();
                let lacking = lacking.map(|(c, why)| format!("D4: {name} has {c} no more: {why}"));
                found.extend(lacking);
                read.push(holdings);
            }
            Err(why) => found.push(format!("D4: the disk of {name} cannot be read: {why}")),
        }
    }
    found.extend(stripes::complaints(&map, &read));
    for (id, chunk) in &map.chunks {
        let gone = chunk.replicas.iter().find(|node| !nodes.contains(node));
        found.extend(gone.map(|node| format!("D4: {id} is meant to be on {node}, who is gone")));
    }
    found
}

/// Replicas that are on data nodes and not in the map.
fn unwanted(cluster: &mut Cluster, map: &ChunkMap) -> Vec<(String, ChunkId, NodeId)> {
    let mut found = Vec::new();
    for (name, holdings) in all(cluster, &ChunkMap::default()) {
        if let Ok(holdings) = holdings
            && let Some(node) = holdings.node
        {
            let unwanted = holdings.unwanted(map).into_iter();
            found.extend(unwanted.map(|chunk| (name.clone(), chunk, node)));
        }
    }
    found
}

/// Looks now and then, until all is as it should be or patience ends.
fn look_until(cluster: &mut Cluster, mut done: impl FnMut(&mut Cluster) -> bool) {
    let end = cluster.world.now() + PATIENCE;
    while cluster.world.now() < end && !done(cluster) {
        cluster.run_for(LOOK);
    }
}

/// What all data nodes have, by name.
fn all(cluster: &mut Cluster, map: &ChunkMap) -> BTreeMap<String, Result<Holdings, String>> {
    let mut all = BTreeMap::new();
    for index in cluster.of(Role::DataNode) {
        let host = cluster.servers[index].host;
        let copy = cluster.world.disk(host).copy();
        let name = cluster.world.name(host).to_owned();
        all.insert(name, read(cluster, &copy, map));
    }
    all
}

/// The map of the leader, now.
fn map(cluster: &Cluster) -> Option<ChunkMap> {
    let master = cluster.servers[cluster.leader()?].probe.master()?;
    master.chunk_map().ok()
}

/// Reads a disk; of members of stripes in the map also what those are judged by.
fn read(cluster: &Cluster, disk: &MemoryDisk, map: &ChunkMap) -> Result<Holdings, String> {
    cluster.world.log_as("audit");
    let config = cluster.store_config();
    let env: Env = test_env(0, disk);
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output");
    let is_member = |chunk| stripes::is_member(map, chunk);
    let read = runtime.block_on(Holdings::read(config, env, is_member));
    read.map_err(|error| error.to_string())
}

//! `dfs status`: how the cluster is.

use std::time::Duration;

use clap::Args;
use dfs_core::client::{ChunkHealth, ClusterStatus, Liveness, MasterInfo, NodeInfo};
use dfs_core::types::{Scrub, Volume};
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Exit, Failure, Result};
use crate::text::size::{count, human};
use crate::text::table::{Align, Table};
use crate::text::when::{about, age, date, exact};

const EXAMPLES: &str = "\
Examples:
  dfs status
  dfs status --check && echo all well
  dfs status --json | jq .chunks";

/// Show how the cluster is: masters, data nodes, chunks, and what is being repaired.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Exit with 3 if something is being repaired, a node is away, a disk has failed or chunks have
    /// yet to be looked at, with 4 if data is missing.
    #[arg(long)]
    check: bool,

    /// A JSON document.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Document {
    cluster: String,
    health: &'static str,
    masters: Vec<MasterDocument>,
    nodes: Vec<NodeDocument>,
    chunks: ChunkDocument,
    inodes: u64,
}

/// A master, as `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct MasterDocument {
    member: u64,
    address: String,
    leader: bool,
    voter: bool,
    log_index: Option<u64>,
}

/// A data node, as `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct NodeDocument {
    node: u32,
    key: String,
    address: String,
    liveness: &'static str,
    admin: &'static str,
    /// If it rests: when that ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    rests_until: Option<String>,
    zone: String,
    rack: String,
    host: String,
    total: u64,
    used: u64,
    available: u64,
    replicas: u64,
    replica_bytes: u64,
    scrub: ScrubDocument,
    volumes: Vec<VolumeDocument>,
    /// The live data nodes that hold it for down.
    held_down_by: Vec<u32>,
}

/// A directory of a data node, as `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct VolumeDocument {
    volume: u32,
    directory: String,
    /// Why it is out of use; null if it is in use.
    failed: Option<String>,
    /// It is being emptied, to be taken out.
    leaving: bool,
    total: u64,
    used: u64,
    available: u64,
    replicas: u64,
    scrub: ScrubDocument,
}

/// How far replicas were read through, as `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ScrubDocument {
    /// No replica was read through, or written, longer ago; null if some were never read.
    oldest_unchecked_seconds: Option<u64>,
    reading: bool,
    replicas: u64,
    bytes: u64,
    corrupt: u64,
}

#[derive(Serialize)]
struct ChunkDocument {
    surveyed: bool,
    total: u64,
    under_replicated: u64,
    missing: u64,
    repairing: u64,
    reclaiming: u64,
    moving: u64,
    repair_bytes: u64,
    repair_bytes_per_second: u64,
}

/// How a cluster is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Healthy,
    /// The leader has not looked at every chunk yet.
    Unknown,
    Degraded,
    DataMissing,
}

/// Runs it.
pub(crate) async fn run(args: StatusArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let status = client.status().await.doing("look at", "the cluster")?;
    let health = health(&status);
    match args.json {
        true => context.output.json(&document(&status, health))?,
        false => context.output.lines(lines(&status, health))?,
    }
    match (args.check, health) {
        (false, _) | (true, Health::Healthy) => Ok(()),
        (true, Health::Degraded | Health::Unknown) => Err(Failure::Told(Exit::Unavailable)),
        (true, Health::DataMissing) => Err(Failure::Told(Exit::Integrity)),
    }
}

fn health(status: &ClusterStatus) -> Health {
    let led = status.masters.iter().any(|master| master.leader);
    // Masters that lag have answered; only those that have not are away.
    let away = status
        .masters
        .iter()
        .any(|master| master.log_index.is_none());
    let is_well = |node: &NodeInfo| {
        let whole = node.volumes.iter().all(|volume| volume.failed.is_none());
        whole && node.liveness == Liveness::Live
    };
    let nodes_live = status.nodes.iter().all(is_well);
    match status.chunks {
        ChunkHealth { missing: 1.., .. } => Health::DataMissing,
        ChunkHealth {
            under_replicated: 1..,
            ..
        } => Health::Degraded,
        _ if !led || away || !nodes_live => Health::Degraded,
        ChunkHealth {
            surveyed: false, ..
        } => Health::Unknown,
        _ => Health::Healthy,
    }
}

/// What is not as it should be.
fn reasons(status: &ClusterStatus) -> Vec<String> {
    let mut reasons = Vec::new();
    if !status.masters.iter().any(|master| master.leader) {
        reasons.push("no master leads".to_owned());
    }
    let silent = status.masters.iter().filter(|m| m.log_index.is_none());
    reasons.extend(silent.map(|master| format!("m{} does not answer", master.member)));
    for node in &status.nodes {
        if node.liveness != Liveness::Live {
            reasons.push(format!("{} is {}", node.node, liveness(node.liveness)));
        }
        for volume in &node.volumes {
            let (id, directory) = (volume.id, &volume.directory);
            let failed = volume.failed.iter();
            let told = |why| format!("{id} of {}, {directory}, is out of use: {why}", node.node);
            reasons.extend(failed.map(told));
        }
    }
    let chunks = &status.chunks;
    if chunks.missing > 0 {
        let missing = count(chunks.missing, "chunk", "chunks");
        reasons.push(format!("{missing} cannot be read"));
    }
    if chunks.under_replicated > 0 {
        let lacking = count(chunks.under_replicated, "chunk", "chunks");
        reasons.push(format!("copies of {lacking} lack"));
    }
    reasons
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Unknown => "looking through all chunks",
            Health::Degraded => "degraded",
            Health::DataMissing => "data missing",
        }
    }
}

fn lines(status: &ClusterStatus, health: Health) -> Vec<String> {
    let mut lines = vec![format!("cluster {}: {}", status.cluster, health.name())];
    lines.extend(reasons(status).into_iter().map(|why| format!("  {why}")));
    lines.extend([String::new(), "masters".to_owned()]);
    let indented = |table: &Table| {
        let lines = table.lines().into_iter();
        lines.map(|line| format!("  {line}")).collect::<Vec<_>>()
    };
    lines.extend(indented(&master_table(&status.masters)));
    lines.extend([String::new(), "data nodes".to_owned()]);
    lines.extend(indented(&node_table(&status.nodes)));
    lines.extend([String::new(), "chunks".to_owned()]);
    lines.extend(indented(&chunk_table(&status.chunks)));
    lines.extend([String::new(), count(status.inodes, "inode", "inodes")]);
    lines
}

/// The masters as a table.
pub(crate) fn master_table(masters: &[MasterInfo]) -> Table {
    let mut table = Table::with_head([
        ("id", Align::Left),
        ("address", Align::Left),
        ("role", Align::Left),
        ("log", Align::Right),
    ]);
    for master in masters {
        let role = match (master.leader, master.voter) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        };
        let log = master.log_index.map(|index| index.to_string());
        table.row([
            format!("m{}", master.member),
            master.address.clone(),
            role.to_owned(),
            log.unwrap_or_else(|| "no answer".to_owned()),
        ]);
    }
    table
}

/// The data nodes as a table.
pub(crate) fn node_table(nodes: &[NodeInfo]) -> Table {
    let mut table = Table::with_head([
        ("id", Align::Left),
        ("address", Align::Left),
        ("liveness", Align::Left),
        ("state", Align::Left),
        ("used", Align::Right),
        ("available", Align::Right),
        ("replicas", Align::Right),
        ("oldest unchecked", Align::Right),
    ]);
    for node in nodes {
        table.row([
            node.node.to_string(),
            node.address.clone(),
            liveness(node.liveness).to_owned(),
            admin(node),
            human(node.space.used),
            human(node.space.available),
            node.replicas.to_string(),
            unchecked(node.scrub()),
        ]);
    }
    table
}

/// The directories of data nodes as a table.
pub(crate) fn volume_table(nodes: &[NodeInfo]) -> Table {
    let mut table = Table::with_head([
        ("node", Align::Left),
        ("volume", Align::Left),
        ("directory", Align::Left),
        ("used", Align::Right),
        ("available", Align::Right),
        ("replicas", Align::Right),
        ("oldest unchecked", Align::Right),
        ("state", Align::Left),
    ]);
    for node in nodes {
        for volume in &node.volumes {
            let state = match (&volume.failed, volume.leaving, volume.replicas) {
                (Some(why), ..) => format!("failed: {why}"),
                (None, true, 0) => "empty, can be taken out".to_owned(),
                (None, true, _) => "being emptied".to_owned(),
                (None, false, _) => "in use".to_owned(),
            };
            table.row([
                node.node.to_string(),
                volume.id.to_string(),
                volume.directory.clone(),
                human(volume.space.used),
                human(volume.space.available),
                volume.replicas.to_string(),
                unchecked(volume.scrub),
                state,
            ]);
        }
    }
    table
}

fn chunk_table(chunks: &ChunkHealth) -> Table {
    let bad = chunks.under_replicated.saturating_add(chunks.missing);
    let healthy = match chunks.surveyed {
        true => "healthy",
        false => "healthy as far as looked at",
    };
    let mut table = Table::new([Align::Left, Align::Right]);
    for (what, n) in [
        (healthy, chunks.total.saturating_sub(bad)),
        ("under-replicated", chunks.under_replicated),
        ("missing", chunks.missing),
        ("copies being made", chunks.repairing),
        ("of these moved", chunks.moving),
        ("copies to be deleted", chunks.reclaiming),
    ] {
        table.row([what.to_owned(), n.to_string()]);
    }
    if let Some(progress) = progress(chunks) {
        table.row(["left to copy".to_owned(), progress]);
    }
    table
}

/// How much is to be copied, how fast that goes, and how long it takes.
fn progress(chunks: &ChunkHealth) -> Option<String> {
    let (left, rate) = (chunks.repair_bytes, chunks.repair_bytes_per_second);
    let eta = left.checked_div(rate).map(Duration::from_secs);
    match (left, eta) {
        (0, _) => None,
        (left, None) => Some(human(left)),
        (left, Some(eta)) => Some(format!(
            "{}, {} a second, about {}",
            human(left),
            human(rate),
            about(eta)
        )),
    }
}

/// How long ago the replica was read through or written for which that is longest.
pub(crate) fn unchecked(scrub: Scrub) -> String {
    scrub.unchecked.map_or_else(|| "unknown".to_owned(), age)
}

/// What was decided about it, and for how long.
fn admin(node: &NodeInfo) -> String {
    match node.rests_until {
        Some(until) => format!("{} until {}", node.admin, date(until)),
        None => node.admin.to_string(),
    }
}

fn liveness(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Live => "live",
        Liveness::Suspect => "suspect",
        Liveness::Dead => "dead",
    }
}

fn document(status: &ClusterStatus, health: Health) -> Document {
    let chunks = &status.chunks;
    Document {
        cluster: status.cluster.to_string(),
        health: health.name(),
        masters: status.masters.iter().map(MasterDocument::new).collect(),
        nodes: status.nodes.iter().map(NodeDocument::new).collect(),
        chunks: ChunkDocument {
            surveyed: chunks.surveyed,
            total: chunks.total,
            under_replicated: chunks.under_replicated,
            missing: chunks.missing,
            repairing: chunks.repairing,
            reclaiming: chunks.reclaiming,
            moving: chunks.moving,
            repair_bytes: chunks.repair_bytes,
            repair_bytes_per_second: chunks.repair_bytes_per_second,
        },
        inodes: status.inodes,
    }
}

impl MasterDocument {
    /// Of `master`.
    pub(crate) fn new(master: &MasterInfo) -> MasterDocument {
        MasterDocument {
            member: master.member,
            address: master.address.clone(),
            leader: master.leader,
            voter: master.voter,
            log_index: master.log_index,
        }
    }
}

impl NodeDocument {
    /// Of `node`.
    pub(crate) fn new(node: &NodeInfo) -> NodeDocument {
        NodeDocument {
            node: node.node.0,
            key: node.key.to_string(),
            address: node.address.clone(),
            liveness: liveness(node.liveness),
            admin: node.admin.name(),
            rests_until: node.rests_until.map(exact),
            zone: node.topology.zone.clone(),
            rack: node.topology.rack.clone(),
            host: node.topology.host.clone(),
            total: node.space.total,
            used: node.space.used,
            available: node.space.available,
            replicas: node.replicas,
            replica_bytes: node.bytes,
            scrub: ScrubDocument::new(node.scrub()),
            volumes: node.volumes.iter().map(VolumeDocument::new).collect(),
            held_down_by: node.held_down_by.iter().map(|peer| peer.0).collect(),
        }
    }
}

impl VolumeDocument {
    fn new(volume: &Volume) -> VolumeDocument {
        VolumeDocument {
            volume: volume.id.0,
            directory: volume.directory.clone(),
            failed: volume.failed.clone(),
            leaving: volume.leaving,
            total: volume.space.total,
            used: volume.space.used,
            available: volume.space.available,
            replicas: volume.replicas,
            scrub: ScrubDocument::new(volume.scrub),
        }
    }
}

impl ScrubDocument {
    /// Of `scrub`.
    pub(crate) fn new(scrub: Scrub) -> ScrubDocument {
        ScrubDocument {
            oldest_unchecked_seconds: scrub.unchecked.map(|age| age.as_secs()),
            reading: scrub.reading,
            replicas: scrub.replicas,
            bytes: scrub.bytes,
            corrupt: scrub.corrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::types::ClusterId;

    fn status(chunks: ChunkHealth) -> ClusterStatus {
        ClusterStatus {
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
            chunks,
            inodes: 1,
        }
    }

    #[test]
    fn nothing_is_called_healthy_before_every_chunk_was_looked_at() {
        let mut chunks = ChunkHealth {
            total: 3,
            ..ChunkHealth::default()
        };
        assert_eq!(health(&status(chunks)), Health::Unknown);
        chunks.surveyed = true;
        assert_eq!(health(&status(chunks)), Health::Healthy);
    }

    #[test]
    fn what_is_left_to_copy_is_told_with_how_long_it_takes() {
        let mut chunks = ChunkHealth::default();
        assert_eq!(progress(&chunks), None);
        chunks.repair_bytes = 3 << 30;
        assert_eq!(progress(&chunks).unwrap(), "3 GiB");
        chunks.repair_bytes_per_second = 1 << 20;
        let told = progress(&chunks).unwrap();
        assert_eq!(told, "3 GiB, 1 MiB a second, about 51m 12s");
    }

    #[test]
    fn what_is_known_to_be_wrong_is_said_before_every_chunk_was_looked_at() {
        let mut chunks = ChunkHealth {
            under_replicated: 1,
            ..ChunkHealth::default()
        };
        assert_eq!(health(&status(chunks)), Health::Degraded);
        chunks.missing = 1;
        assert_eq!(health(&status(chunks)), Health::DataMissing);
    }

    #[test]
    fn what_is_wrong_is_said_one_by_one() {
        let mut status = status(ChunkHealth::default());
        assert_eq!(reasons(&status), Vec::<String>::new());
        for master in &mut status.masters {
            (master.leader, master.log_index) = (false, None);
        }
        status.chunks.missing = 1;
        status.chunks.under_replicated = 2;
        let told = [
            "no master leads",
            "m1 does not answer",
            "1 chunk cannot be read",
            "copies of 2 chunks lack",
        ];
        assert_eq!(reasons(&status), told);
    }
}

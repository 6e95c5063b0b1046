//! `dfs explain`: where a file is, how each of its chunks is, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use dfs_core::client::{Client, NodeInfo};
use dfs_core::types::query::LayoutSource;
use dfs_core::types::story::{ChunkStory, Doing as Work, Explained, ReplicaState};
use dfs_core::types::{ChunkId, NodeId};
use serde::Serialize;

use super::node::named;
use super::status::{NodeDocument, node_table};
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Exit, Failure, Result};
use crate::text::remote::RemotePath;
use crate::text::size::{count, human};
use crate::text::table::{Align, Table};
use crate::text::when::about;

const EXAMPLES: &str = "\
Examples:
  dfs explain /backup.tar                          where it is, and how it is
  dfs explain /backup.tar --without n3             what would be left if n3 died
  dfs explain /backup.tar --without n3,n4
  dfs explain /backup.tar --json | jq '.chunks[] | select(.lacking > 0)'

Exit status: 0 all copies are there (with `--without`: all could be read), 3 some lack, 4 something
cannot be read.";

/// Explain where a file is kept: its chunks and copies, what is wrong, and what is being done.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// A file of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    /// As if these data nodes were gone for good. May be given several times.
    #[arg(long, value_delimiter = ',', value_name = "NODE")]
    without: Vec<String>,

    /// A JSON document.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Document {
    path: String,
    size: u64,
    health: &'static str,
    /// Bytes that are kept in the metadata, with the masters.
    inline_bytes: u64,
    without: Vec<u32>,
    /// Chunks that would not be readable without these nodes, or are not now.
    lost: usize,
    lacking: usize,
    extents: Vec<ExtentDocument>,
    chunks: Vec<ChunkDocument>,
    nodes: Vec<NodeDocument>,
}

#[derive(Serialize)]
struct ExtentDocument {
    offset: u64,
    length: u64,
    chunk: Option<u64>,
    chunk_offset: u64,
}

#[derive(Serialize)]
struct ChunkDocument {
    chunk: u64,
    length: u64,
    wanted: u8,
    lacking: usize,
    readable: usize,
    /// The first chunk of the stripe that it is a member of, and its data and parity: `4+2`.
    stripe: Option<u64>,
    shape: Option<String>,
    /// Whether it can be made from the others of its stripe.
    rebuildable: bool,
    replicas: Vec<ReplicaDocument>,
    doing: String,
}

#[derive(Serialize)]
struct ReplicaDocument {
    node: u32,
    state: &'static str,
}

/// A chunk, seen as if some data nodes were gone.
struct Seen<'a> {
    story: &'a ChunkStory,
    /// Copies that count, and that can be read.
    counted: usize,
    readable: usize,
    /// Whether the others of its stripe give it.
    rebuildable: bool,
}

impl<'a> Seen<'a> {
    fn new(story: &'a ChunkStory, without: &BTreeSet<NodeId>) -> Seen<'a> {
        let left = story.replicas.iter();
        let left = left.filter(|replica| !without.contains(&replica.node));
        let counted = left.clone().filter(|replica| replica.state.counts());
        Seen {
            story,
            counted: counted.count(),
            readable: left.filter(|replica| replica.state.is_readable()).count(),
            rebuildable: story.stripe.as_ref().is_some_and(|stripe| {
                stripe.readable(|node| without.contains(&node)) >= stripe.shape.data()
            }),
        }
    }

    fn is_lost(&self) -> bool {
        self.readable == 0 && !self.rebuildable
    }

    fn lacking(&self) -> usize {
        usize::from(self.story.target.0).saturating_sub(self.counted)
    }
}

/// Runs it.
pub(crate) async fn run(args: ExplainArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let mut without = BTreeSet::new();
    for name in &args.without {
        without.insert(named(client, name).await?.node);
    }
    let path = &args.path.path;
    let explained = client.explain(path).await.doing("explain", path)?;
    let nodes = holders(client, &explained).await?;
    let chunks = explained.chunks.iter();
    let seen: Vec<Seen<'_>> = chunks.map(|story| Seen::new(story, &without)).collect();
    let lost = seen.iter().filter(|chunk| chunk.is_lost()).count();
    let lacking = seen.iter().filter(|chunk| chunk.lacking() > 0).count();
    if args.json {
        let document = Document {
            path: path.to_string(),
            size: explained.layout.attr.size,
            health: health(lost, lacking),
            inline_bytes: inline_bytes(&explained),
            without: without.iter().map(|node| node.0).collect(),
            lost,
            lacking,
            extents: extents(&explained),
            chunks: seen.iter().map(document).collect(),
            nodes: nodes.iter().map(NodeDocument::new).collect(),
        };
        context.output.json(&document)?;
    } else {
        let head = head(path, &explained, &seen, (lost, lacking), &without);
        context.output.lines(head)?;
        if !seen.is_empty() {
            context
                .output
                .lines(indented(&chunk_table(&explained, &seen)))?;
            context.output.lines(["", "data nodes"])?;
            context.output.lines(indented(&node_table(&nodes)))?;
            context.output.lines(domains(&nodes))?;
        }
    }
    match (lost, lacking) {
        (1.., _) => Err(Failure::Told(Exit::Integrity)),
        (0, 1..) if without.is_empty() => Err(Failure::Told(Exit::Unavailable)),
        _ => Ok(()),
    }
}

fn health(lost: usize, lacking: usize) -> &'static str {
    match (lost, lacking) {
        (1.., _) => "data missing",
        (0, 1..) => "degraded",
        (0, 0) => "healthy",
    }
}

/// The data nodes that have something of it.
async fn holders(client: &Client, explained: &Explained) -> Result<Vec<NodeInfo>> {
    let replicas = explained.chunks.iter().flat_map(|story| &story.replicas);
    let holders: BTreeSet<_> = replicas.map(|replica| replica.node).collect();
    let mut nodes = client.nodes().await.doing("list", "the data nodes")?;
    nodes.retain(|node| holders.contains(&node.node));
    Ok(nodes)
}

fn inline_bytes(explained: &Explained) -> u64 {
    let extents = explained.layout.extents.iter();
    let inline = extents.filter(|extent| matches!(extent.source, LayoutSource::Inline(_)));
    inline
        .map(|extent| extent.length)
        .fold(0, u64::saturating_add)
}

fn head(
    path: &impl std::fmt::Display,
    explained: &Explained,
    seen: &[Seen<'_>],
    (lost, lacking): (usize, usize),
    without: &BTreeSet<NodeId>,
) -> Vec<String> {
    let size = human(explained.layout.attr.size);
    let chunks = |n: usize| count(n as u64, "chunk", "chunks");
    let mut lines = vec![format!("{path}: {size} in {}", chunks(seen.len()))];
    let inline = inline_bytes(explained);
    if inline > 0 {
        let inline = human(inline);
        lines.push(format!("{inline} are in the metadata, on all masters"));
    }
    if seen.is_empty() {
        return lines;
    }
    let nodes: Vec<_> = without.iter().map(ToString::to_string).collect();
    let when = match nodes.is_empty() {
        true => String::new(),
        false => format!("without {}: ", nodes.join(" and ")),
    };
    let what = match (lost, lacking) {
        (1.., _) => format!("{} cannot be read, copies of {lacking} lack", chunks(lost)),
        (0, 1..) => format!("all can be read, copies of {} lack", chunks(lacking)),
        (0, 0) => "all copies are there".to_owned(),
    };
    lines.push(format!("{when}{what}"));
    lines.push(String::new());
    lines
}

/// The chunks by where they first come in the file.
fn chunk_table(explained: &Explained, seen: &[Seen<'_>]) -> Table {
    let by_id: BTreeMap<ChunkId, &Seen<'_>> =
        seen.iter().map(|seen| (seen.story.chunk, seen)).collect();
    let mut table = Table::with_head([
        ("offset", Align::Right),
        ("length", Align::Right),
        ("chunk", Align::Left),
        ("copies", Align::Left),
        ("", Align::Left),
    ]);
    for extent in &explained.layout.extents {
        let (chunk, copies, remark) = match &extent.source {
            LayoutSource::Inline(_) => ("inline".to_owned(), String::new(), String::new()),
            LayoutSource::Chunk { chunk, .. } => match by_id.get(chunk) {
                Some(seen) => (chunk.to_string(), copies(seen.story), remark(seen)),
                None => (chunk.to_string(), String::new(), String::new()),
            },
        };
        let (offset, length) = (extent.offset.to_string(), extent.length.to_string());
        table.row([offset, length, chunk, copies, remark]);
    }
    for stripe in &explained.layout.stripes {
        for member in stripe.members.iter().skip(stripe.shape.data()) {
            let Some(seen) = by_id.get(&member.chunk) else {
                continue;
            };
            let (length, chunk) = (member.length.to_string(), member.chunk.to_string());
            let copies = copies(seen.story);
            table.row(["parity".to_owned(), length, chunk, copies, remark(seen)]);
        }
    }
    table
}

/// `n1 n2 n3(dead)`.
fn copies(story: &ChunkStory) -> String {
    let replicas = story.replicas.iter().map(|replica| match replica.state {
        ReplicaState::Good => replica.node.to_string(),
        state => format!("{}({})", replica.node, state.name()),
    });
    replicas.collect::<Vec<_>>().join(" ")
}

/// What lacks, and what is being done about it.
fn remark(seen: &Seen<'_>) -> String {
    let what = match (seen.readable, seen.lacking()) {
        (0, _) if seen.rebuildable => "lost, made from the others of its stripe".to_owned(),
        (0, _) => "cannot be read".to_owned(),
        (_, 0) => String::new(),
        (_, lacking) => format!("lacks {lacking} of {}", seen.story.target.0),
    };
    let doing = doing(&seen.story.doing);
    match (what.is_empty(), doing.is_empty()) {
        (false, false) => format!("{what}; {doing}"),
        _ => what + &doing,
    }
}

fn doing(work: &Work) -> String {
    match work {
        Work::Nothing => String::new(),
        Work::Waiting { ahead, again } if *again > Duration::ZERO => {
            format!(
                "no place for it now, tried again in {}, {ahead} before it",
                about(*again)
            )
        }
        Work::Waiting { ahead, .. } => format!("waits for repair, {ahead} before it"),
        Work::Copying { to } => format!("being copied to {to}"),
        Work::Moving { from, to } => format!("being moved from {from} to {to}"),
        Work::Recording => "copied, being recorded".to_owned(),
    }
}

/// Where the nodes stand, if that was ever said.
fn domains(nodes: &[NodeInfo]) -> Vec<String> {
    let is_known = |node: &&NodeInfo| {
        let topology = &node.topology;
        !(topology.zone.is_empty() && topology.rack.is_empty() && topology.host.is_empty())
    };
    if nodes.iter().find(is_known).is_none() {
        return Vec::new();
    }
    let mut table = Table::with_head([
        ("id", Align::Left),
        ("zone", Align::Left),
        ("rack", Align::Left),
        ("host", Align::Left),
    ]);
    for node in nodes {
        let topology = &node.topology;
        let domains = [&topology.zone, &topology.rack, &topology.host];
        let domains = domains.map(|name| if name.is_empty() { "-" } else { name }.to_owned());
        table.row([node.node.to_string()].into_iter().chain(domains));
    }
    let head = [String::new(), "failure domains".to_owned()];
    head.into_iter().chain(indented(&table)).collect()
}

fn indented(table: &Table) -> Vec<String> {
    let lines = table.lines().into_iter();
    lines.map(|line| format!("  {line}")).collect()
}

fn extents(explained: &Explained) -> Vec<ExtentDocument> {
    let extents = explained.layout.extents.iter().map(|extent| {
        let (chunk, chunk_offset) = match &extent.source {
            LayoutSource::Chunk { chunk, offset, .. } => (Some(chunk.0), *offset),
            LayoutSource::Inline(_) => (None, 0),
        };
        ExtentDocument {
            offset: extent.offset,
            length: extent.length,
            chunk,
            chunk_offset,
        }
    });
    extents.collect()
}

fn document(seen: &Seen<'_>) -> ChunkDocument {
    let stripe = seen.story.stripe.as_ref();
    let replicas = seen.story.replicas.iter().map(|replica| ReplicaDocument {
        node: replica.node.0,
        state: replica.state.name(),
    });
    ChunkDocument {
        chunk: seen.story.chunk.0,
        length: seen.story.length,
        wanted: seen.story.target.0,
        lacking: seen.lacking(),
        readable: seen.readable,
        stripe: stripe.map(|stripe| stripe.stripe.0),
        shape: stripe.map(|stripe| stripe.shape.to_string()),
        rebuildable: seen.rebuildable,
        replicas: replicas.collect(),
        doing: doing(&seen.story.doing),
    }
}

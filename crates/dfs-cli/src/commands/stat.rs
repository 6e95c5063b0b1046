//! `dfs stat`: all there is to know about something.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::types::query::{LayoutExtent, LayoutSource};
use dfs_core::types::{Attr, ByteRange, ChunkId, DfsPath, FileKind, NodeId, StripeLayout};
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::{Output, Tally};
use crate::text::attr::{AttrDocument, described};
use crate::text::owner::Names;
use crate::text::remote::RemotePath;
use crate::text::table::{Align, Table};

const EXAMPLES: &str = "\
Examples:
  dfs stat /a.txt
  dfs stat --layout /big.iso      where its chunks are
  dfs stat --json /a.txt | jq .size";

/// Show all attributes of something, and where its bytes are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatArgs {
    /// Files, directories and links of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    /// Of what a symbolic link leads to.
    #[arg(long, short = 'L')]
    dereference: bool,

    /// Also the chunks of a file, and the data nodes that are meant to have them.
    #[arg(long)]
    layout: bool,

    /// A JSON document for each path, one a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    attr: AttrDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    extents: Option<Vec<ExtentDocument>>,
}

#[derive(Serialize)]
struct ExtentDocument {
    offset: u64,
    length: u64,
    /// None if the bytes are kept in the metadata.
    chunk: Option<u64>,
    chunk_offset: u64,
    chunk_length: u64,
    nodes: Vec<u32>,
    /// The stripe that the chunk is a member of.
    #[serde(skip_serializing_if = "Option::is_none")]
    stripe: Option<StripeDocument>,
}

#[derive(Serialize)]
struct StripeDocument {
    /// `4+2`.
    shape: String,
    /// Where among the members the chunk is.
    index: usize,
    /// Data, then parity.
    members: Vec<MemberDocument>,
}

#[derive(Serialize)]
struct MemberDocument {
    chunk: u64,
    length: u64,
    nodes: Vec<u32>,
}

/// The chunks of a file.
#[derive(Default)]
struct Chunks {
    extents: Vec<LayoutExtent>,
    stripes: Vec<StripeLayout>,
}

impl Chunks {
    /// The stripe that a chunk is a member of, and where.
    fn stripe_of(&self, chunk: ChunkId) -> Option<(usize, &StripeLayout)> {
        let mut stripes = self.stripes.iter();
        stripes.find_map(|stripe| Some((stripe.index_of(chunk)?, stripe)))
    }
}

/// Runs it.
pub(crate) async fn run(args: StatArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let names = Names::fitting(client).await?;
    let tally = Tally::new(&context.output);
    for (n, path) in args.paths.iter().enumerate() {
        if n > 0 && !args.json {
            context.output.line("")?;
        }
        let shown = show(&args, client, &path.path, &names, &context.output).await;
        tally.take(shown)?;
    }
    tally.finish()
}

async fn show(
    args: &StatArgs,
    client: &Client,
    path: &DfsPath,
    names: &Names,
    output: &Output,
) -> Result<()> {
    let attr = match args.dereference {
        true => client.metadata(path).await,
        false => client.symlink_metadata(path).await,
    };
    let attr = attr.doing("look at", path)?;
    let target = match attr.kind {
        FileKind::Symlink => Some(client.read_link(path).await.doing("read", path)?),
        FileKind::File | FileKind::Directory => None,
    };
    let chunks = match args.layout && attr.kind == FileKind::File {
        true => Some(chunks(client, path, &attr).await?),
        false => None,
    };
    if args.json {
        return output.json(&Document {
            attr: AttrDocument::new(path.to_string(), &attr, target),
            extents: chunks.map(|chunks| {
                let extents = chunks.extents.iter();
                extents.map(|extent| document(&chunks, extent)).collect()
            }),
        });
    }
    let mut table = Table::new([Align::Left, Align::Left]);
    table.row(["path", &output.name(&path.to_string())]);
    for (what, value) in described(&attr, names) {
        table.row([what, &value]);
    }
    if let Some(target) = target {
        table.row(["target", &output.name(&target)]);
    }
    output.lines(table.lines())?;
    match chunks {
        Some(chunks) => output.lines(layout_table(&chunks).lines()),
        None => Ok(()),
    }
}

/// All extents of a file, and the stripes of their chunks.
async fn chunks(client: &Client, path: &DfsPath, attr: &Attr) -> Result<Chunks> {
    let mut chunks = Chunks::default();
    let mut from = 0;
    loop {
        let range = ByteRange::new(from, attr.size.saturating_sub(from));
        let layout = client.layout(path, range).await.doing("look at", path)?;
        chunks.extents.extend(layout.extents);
        for stripe in layout.stripes {
            let first = stripe.members.first().map(|member| member.chunk);
            if first.is_none_or(|first| chunks.stripe_of(first).is_none()) {
                chunks.stripes.push(stripe);
            }
        }
        let end = chunks
            .extents
            .last()
            .map_or(from, |last| last.offset + last.length);
        if !layout.more || end <= from {
            return Ok(chunks);
        }
        from = end;
    }
}

fn document(chunks: &Chunks, extent: &LayoutExtent) -> ExtentDocument {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let (chunk, chunk_offset, chunk_length, nodes) = match &extent.source {
        LayoutSource::Chunk {
            chunk,
            offset,
            length,
            replicas,
        } => (Some(chunk.0), *offset, *length, ids(replicas)),
        LayoutSource::Inline(bytes) => (None, 0, bytes.len() as u64, Vec::new()),
    };
    let stripe = chunk.and_then(|chunk| chunks.stripe_of(ChunkId(chunk)));
    let stripe = stripe.map(|(index, stripe)| StripeDocument {
        shape: stripe.shape.to_string(),
        index,
        members: stripe
            .members
            .iter()
            .map(|member| MemberDocument {
                chunk: member.chunk.0,
                length: member.length,
                nodes: ids(&member.replicas),
            })
            .collect(),
    });
    ExtentDocument {
        offset: extent.offset,
        length: extent.length,
        chunk,
        chunk_offset,
        chunk_length,
        nodes,
        stripe,
    }
}

/// The extents; for chunks of stripes also which of their members each is; then the parity.
fn layout_table(chunks: &Chunks) -> Table {
    let joined = |nodes: &[NodeId]| {
        let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
        nodes.join(" ")
    };
    let mut table = Table::with_head([
        ("offset", Align::Right),
        ("length", Align::Right),
        ("chunk", Align::Left),
        ("nodes", Align::Left),
    ]);
    for extent in &chunks.extents {
        let (chunk, nodes) = match &extent.source {
            LayoutSource::Chunk {
                chunk, replicas, ..
            } => {
                let mut name = chunk.to_string();
                if let Some((index, stripe)) = chunks.stripe_of(*chunk) {
                    name += &format!(" (data {} of {})", index + 1, stripe.shape);
                }
                (name, joined(replicas))
            }
            LayoutSource::Inline(_) => ("inline".to_owned(), "all masters".to_owned()),
        };
        let (offset, length) = (extent.offset.to_string(), extent.length.to_string());
        table.row([offset, length, chunk, nodes]);
    }
    for stripe in &chunks.stripes {
        let parity = stripe.members.iter().skip(stripe.shape.data());
        for (index, member) in (1..).zip(parity) {
            let name = format!("{} (parity {index} of {})", member.chunk, stripe.shape);
            let length = member.length.to_string();
            table.row(["-".to_owned(), length, name, joined(&member.replicas)]);
        }
    }
    table
}

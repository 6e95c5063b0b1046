//! `dfs stat`: all there is to know about something.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::types::query::{LayoutExtent, LayoutSource};
use dfs_core::types::{Attr, ByteRange, DfsPath, FileKind};
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
    let extents = match args.layout && attr.kind == FileKind::File {
        true => Some(extents(client, path, &attr).await?),
        false => None,
    };
    if args.json {
        return output.json(&Document {
            attr: AttrDocument::new(path.to_string(), &attr, target),
            extents: extents.map(|extents| extents.iter().map(document).collect()),
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
    match extents {
        Some(extents) => output.lines(layout_table(&extents).lines()),
        None => Ok(()),
    }
}

/// All extents of a file.
async fn extents(client: &Client, path: &DfsPath, attr: &Attr) -> Result<Vec<LayoutExtent>> {
    let mut extents: Vec<LayoutExtent> = Vec::new();
    let mut from = 0;
    loop {
        let range = ByteRange::new(from, attr.size.saturating_sub(from));
        let layout = client.layout(path, range).await.doing("look at", path)?;
        extents.extend(layout.extents);
        let end = extents
            .last()
            .map_or(from, |last| last.offset + last.length);
        if !layout.more || end <= from {
            return Ok(extents);
        }
        from = end;
    }
}

fn document(extent: &LayoutExtent) -> ExtentDocument {
    let (chunk, chunk_offset, chunk_length, nodes) = match &extent.source {
        LayoutSource::Chunk {
            chunk,
            offset,
            length,
            replicas,
        } => {
            let nodes = replicas.iter().map(|node| node.0).collect();
            (Some(chunk.0), *offset, *length, nodes)
        }
        LayoutSource::Inline(bytes) => (None, 0, bytes.len() as u64, Vec::new()),
    };
    ExtentDocument {
        offset: extent.offset,
        length: extent.length,
        chunk,
        chunk_offset,
        chunk_length,
        nodes,
    }
}

fn layout_table(extents: &[LayoutExtent]) -> Table {
    let mut table = Table::with_head([
        ("offset", Align::Right),
        ("length", Align::Right),
        ("chunk", Align::Left),
        ("nodes", Align::Left),
    ]);
    for extent in extents {
        let (chunk, nodes) = match &extent.source {
            LayoutSource::Chunk {
                chunk, replicas, ..
            } => {
                let nodes: Vec<_> = replicas.iter().map(ToString::to_string).collect();
                (chunk.to_string(), nodes.join(" "))
            }
            LayoutSource::Inline(_) => ("inline".to_owned(), "all masters".to_owned()),
        };
        let (offset, length) = (extent.offset.to_string(), extent.length.to_string());
        table.row([offset, length, chunk, nodes]);
    }
    table
}

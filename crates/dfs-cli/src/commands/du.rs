//! `dfs du`: how large trees are.

use std::collections::BTreeSet;

use clap::{ArgAction, Args};
use dfs_core::client::Client;
use dfs_core::types::{Attr, DfsPath, FileKind};
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::{Output, Tally};
use crate::text::remote::RemotePath;
use crate::text::size::shown;
use crate::walk::{Step, Walk};

const EXAMPLES: &str = "\
Examples:
  dfs du -h /backup         every directory below
  dfs du -sh /backup /logs  only the sums";

/// Sum up the sizes of files.
///
/// Sizes are those of the files, each counted once however many names it has; replicas take as
/// many times the room.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true)]
pub(crate) struct DuArgs {
    /// Directories and files of the cluster.
    #[arg(value_name = "PATH", default_value = "/")]
    paths: Vec<RemotePath>,

    /// Only the sums, not every directory below.
    #[arg(long, short)]
    summarize: bool,

    /// Sizes such as 1.5 GiB.
    #[arg(long, short = 'h')]
    human_readable: bool,

    /// A JSON document for each line, one a line.
    #[arg(long)]
    json: bool,

    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What is in a directory, with all below it.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Sum {
    bytes: u64,
    files: u64,
    directories: u64,
}

#[derive(Serialize)]
struct Document {
    path: String,
    #[serde(flatten)]
    sum: Sum,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.bytes += other.bytes;
        self.files += other.files;
        self.directories += other.directories;
    }
}

/// Runs it.
pub(crate) async fn run(args: DuArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    for path in &args.paths {
        let summed = sum(&args, client, &path.path, &context.output).await;
        tally.take(summed)?;
    }
    tally.finish()
}

async fn sum(args: &DuArgs, client: &Client, path: &DfsPath, output: &Output) -> Result<()> {
    let attr = client.symlink_metadata(path).await;
    let attr = attr.doing("look at", path)?;
    if attr.kind != FileKind::Directory {
        return show(args, output, path, size(&attr));
    }
    let mut walk = Walk::below(client, path);
    let mut seen = BTreeSet::new();
    // One sum for each level that is open.
    let mut open = vec![Sum::default()];
    while let Some(step) = walk.next().await? {
        match step {
            Step::At(found) if found.is_directory() => open.push(Sum::default()),
            Step::At(found) => {
                // Only files with several names can be met again.
                let is_new = found.attr.links < 2 || seen.insert(found.inode());
                if let Some(sum) = open.last_mut().filter(|_| is_new) {
                    sum.add(size(&found.attr));
                }
            }
            Step::Left(directory) => {
                let mut sum = open.pop().unwrap_or_default();
                sum.directories += 1;
                if !args.summarize || open.is_empty() {
                    show(args, output, &directory, sum)?;
                }
                if let Some(above) = open.last_mut() {
                    above.add(sum);
                }
            }
        }
    }
    Ok(())
}

fn size(attr: &Attr) -> Sum {
    Sum {
        bytes: match attr.kind {
            FileKind::File => attr.size,
            FileKind::Directory | FileKind::Symlink => 0,
        },
        files: 1,
        directories: 0,
    }
}

fn show(args: &DuArgs, output: &Output, path: &DfsPath, sum: Sum) -> Result<()> {
    let shown_path = path.to_string();
    match args.json {
        true => output.json(&Document {
            path: shown_path,
            sum,
        }),
        false => {
            let size = shown(sum.bytes, args.human_readable);
            output.line(format_args!("{size:<10}  {}", output.name(&shown_path)))
        }
    }
}

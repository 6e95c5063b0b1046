//! `dfs get`: files of the cluster to this machine.

use std::path::PathBuf;

use clap::Args;
use dfs_core::types::DfsPath;

use crate::context::{ClusterArgs, Context};
use crate::error::Result;
use crate::output::Tally;
use crate::progress::Progress;
use crate::text::remote::RemotePath;
use crate::transfer::download::{Download, to_stdout};

const EXAMPLES: &str = "\
Examples:
  dfs get /a.txt .            as ./a.txt
  dfs get /a.txt b.txt        under another name
  dfs get -rp /backup/src .   a directory, with its times
  dfs get /db.sql - | psql    to standard output";

/// Get files of the cluster.
///
/// Every byte is verified. A file appears under its name when it is complete: one that cannot be
/// read to its end leaves what was there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    sources: Vec<RemotePath>,

    /// Where on this machine; `-` is standard output.
    #[arg(value_name = "LOCAL")]
    target: PathBuf,

    /// Get directories with all below them.
    #[arg(long, short)]
    recursive: bool,

    /// Keep times and exact permissions.
    #[arg(long, short)]
    preserve: bool,

    /// Refuse to replace files.
    #[arg(long, short)]
    no_clobber: bool,

    /// How many files to get at a time [default: 8].
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: GetArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    let progress = Progress::new(&context.output, "getting", Some(0));
    let sources: Vec<DfsPath> = args.sources.into_iter().map(|source| source.path).collect();
    if args.target.as_os_str() == "-" {
        for source in &sources {
            tally.take(to_stdout(client, source, &progress).await)?;
        }
        return tally.finish();
    }
    let download = Download {
        client,
        tally: &tally,
        progress: &progress,
        recursive: args.recursive,
        preserve: args.preserve,
        replace: !args.no_clobber,
        jobs: args.jobs,
    };
    download.run(&sources, &args.target).await?;
    tally.finish()
}

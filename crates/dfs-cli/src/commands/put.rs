//! `dfs put`: files of this machine into the cluster.

use std::path::PathBuf;

use clap::Args;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::local;
use crate::output::Tally;
use crate::progress::Progress;
use crate::text::remote::RemotePath;
use crate::transfer::target::Target;
use crate::transfer::upload::Upload;

const EXAMPLES: &str = "\
Examples:
  dfs put a.txt /                 as /a.txt
  dfs put a.txt /b.txt            under another name
  dfs put *.jpg /photos/          several files into a directory
  dfs put -rp src /backup         a directory, with its times
  pg_dump db | dfs put - /db.sql  what arrives on standard input";

/// Store files of this machine in the cluster.
///
/// A file appears whole or not at all, and replaces one of that name. Into a directory that is
/// there things go under their own names. Symbolic links are stored as links with -r.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PutArgs {
    /// Files and directories of this machine; `-` is standard input.
    #[arg(required = true, value_name = "LOCAL")]
    sources: Vec<PathBuf>,

    /// Where in the cluster.
    #[arg(value_name = "PATH")]
    target: RemotePath,

    /// Store directories with all below them.
    #[arg(long, short)]
    recursive: bool,

    /// Keep times, and set-id and sticky bits.
    #[arg(long, short)]
    preserve: bool,

    /// Refuse to replace files.
    #[arg(long, short)]
    no_clobber: bool,

    /// How many files to store at a time [default: 8].
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: PutArgs, context: &Context) -> Result<()> {
    let from_stdin = args.sources.iter().any(|path| path.as_os_str() == "-");
    if from_stdin && args.sources.len() > 1 {
        return Err(Failure::usage("`-` is the only source where it is one")
            .hint("a local file of that name is `./-`"));
    }
    let tally = Tally::new(&context.output);
    let mut sources = args.sources;
    if !from_stdin {
        // What is not there is told before a cluster is asked.
        sources = readable(sources, &tally)?;
        if sources.is_empty() {
            return tally.finish();
        }
    }
    let client = context.client(&args.cluster).await?;
    let target = Target::resolve(client, &args.target, sources.len()).await?;
    let progress = Progress::new(&context.output, "storing", (!from_stdin).then_some(0));
    let upload = Upload {
        client,
        tally: &tally,
        progress: &progress,
        recursive: args.recursive,
        preserve: args.preserve,
        replace: !args.no_clobber,
        jobs: args.jobs,
    };
    match from_stdin {
        true => upload.run_stdin(&target).await?,
        false => upload.run(&sources, &target).await?,
    }
    tally.finish()
}

/// Those of the sources that exist; the others are told.
fn readable(sources: Vec<PathBuf>, tally: &Tally<'_>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for source in sources {
        let meta = local::stat(&source, false).doing("read", source.display());
        if tally.take(meta)?.is_some() {
            found.push(source);
        }
    }
    Ok(found)
}

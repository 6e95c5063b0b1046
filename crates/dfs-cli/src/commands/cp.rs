//! `dfs cp`: copies within the cluster.

use clap::Args;

use crate::context::{ClusterArgs, Context};
use crate::error::Result;
use crate::output::Tally;
use crate::text::remote::RemotePath;
use crate::transfer::copy::Copy;
use crate::transfer::target::Target;

const EXAMPLES: &str = "\
Examples:
  dfs cp /a.txt /b.txt
  dfs cp -r /src /backup/      into a directory that is there
  dfs cp --reflink /a /b       without copying bytes: both files share them";

/// Copy files within the cluster.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CpArgs {
    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "FROM")]
    sources: Vec<RemotePath>,

    /// Where in the cluster.
    #[arg(value_name = "TO")]
    target: RemotePath,

    /// Copy directories with all below them.
    #[arg(long, short)]
    recursive: bool,

    /// Refuse to replace files.
    #[arg(long, short)]
    no_clobber: bool,

    /// Make files share their bytes instead of copying them; what is written later to one of them
    /// is not seen in the other.
    #[arg(long)]
    reflink: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: CpArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let target = Target::resolve(client, &args.target, args.sources.len()).await?;
    let tally = Tally::new(&context.output);
    let copy = Copy {
        client,
        tally: &tally,
        recursive: args.recursive,
        replace: !args.no_clobber,
        share: args.reflink,
    };
    for source in &args.sources {
        let path = &source.path;
        let copied = match target.place(path.name().cloned()) {
            Ok(to) => copy.run(path, &to).await,
            Err(failure) => Err(failure),
        };
        tally.take(copied)?;
    }
    tally.finish()
}

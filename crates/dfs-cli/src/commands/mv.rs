//! `dfs mv`: other names.

use clap::Args;
use dfs_core::client::Client;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::output::Tally;
use crate::text::remote::RemotePath;
use crate::transfer::target::Target;

const EXAMPLES: &str = "\
Examples:
  dfs mv /a.txt /b.txt
  dfs mv /a.txt /b.txt /archive/   into a directory that is there
  dfs mv -n /new /current          not if /current exists";

/// Move files and directories within the cluster, each at once and whole.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MvArgs {
    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "FROM")]
    sources: Vec<RemotePath>,

    /// Where in the cluster.
    #[arg(value_name = "TO")]
    target: RemotePath,

    /// Refuse to replace anything.
    #[arg(long, short)]
    no_clobber: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: MvArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    // The new name of a directory may well be typed with a closing slash.
    let mut typed = args.target.clone();
    if let [source] = args.sources.as_slice() {
        let attr = client.symlink_metadata(&source.path).await;
        let attr = attr.doing("move", source)?;
        typed.is_directory &= attr.kind != dfs_core::types::FileKind::Directory;
    }
    let target = Target::resolve(client, &typed, args.sources.len()).await?;
    for source in &args.sources {
        let moved = one(client, source, &target, !args.no_clobber).await;
        tally.take(moved)?;
    }
    tally.finish()
}

async fn one(client: &Client, source: &RemotePath, target: &Target, replace: bool) -> Result<()> {
    let to = target.place(source.path.name().cloned())?;
    if to == source.path {
        return Err(Failure::refused(format!(
            "`{source}` and `{to}` are the same"
        )));
    }
    let moved = client.rename_with(&source.path, &to, replace).await;
    moved.doing("move", format_args!("{source}` to `{to}"))
}

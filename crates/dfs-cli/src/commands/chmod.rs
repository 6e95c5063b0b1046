//! `dfs chmod`: permissions.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::types::{Attr, DfsPath, FileKind};

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::Tally;
use crate::text::mode::ModeChange;
use crate::text::remote::RemotePath;
use crate::walk::{Step, Walk};

const EXAMPLES: &str = "\
Examples:
  dfs chmod 640 /a.txt
  dfs chmod u+x,go-w /run.sh
  dfs chmod -R a+rX /public";

/// Set permissions.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChmodArgs {
    /// `755`, or `[ugoa][+-=][rwxXst]` separated by commas.
    #[arg(value_name = "MODE")]
    mode: ModeChange,

    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    /// All below as well; symbolic links are passed over.
    #[arg(long, short = 'R')]
    recursive: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: ChmodArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    for path in &args.paths {
        let changed = one(&args, client, &path.path, &tally).await;
        tally.take(changed)?;
    }
    tally.finish()
}

async fn one(args: &ChmodArgs, client: &Client, path: &DfsPath, tally: &Tally<'_>) -> Result<()> {
    let attr = client.metadata(path).await;
    let attr = attr.doing("change the mode of", path)?;
    change(args, client, path, &attr).await?;
    if !args.recursive || attr.kind != FileKind::Directory {
        return Ok(());
    }
    let mut walk = Walk::below(client, path);
    while let Some(step) = walk.next().await? {
        if let Step::At(found) = step
            && found.attr.kind != FileKind::Symlink
        {
            tally.take(change(args, client, &found.path, &found.attr).await)?;
        }
    }
    Ok(())
}

async fn change(args: &ChmodArgs, client: &Client, path: &DfsPath, attr: &Attr) -> Result<()> {
    let mode = args.mode.apply_to(attr.mode, attr.kind);
    if mode == attr.mode {
        return Ok(());
    }
    let set = client.set_permissions(path, mode).await;
    set.map(drop).doing("change the mode of", path)
}

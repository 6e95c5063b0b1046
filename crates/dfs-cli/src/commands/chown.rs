//! `dfs chown`: owners and groups.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::types::{AttrChange, DfsPath, FileKind};

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::output::Tally;
use crate::text::owner::{Names, Ownership};
use crate::text::remote::RemotePath;
use crate::walk::{Step, Walk};

const EXAMPLES: &str = "\
Examples:
  dfs chown ann /a.txt
  dfs chown -R 1000:1000 /home/ann
  dfs chown :staff /shared";

/// Set owners and groups.
///
/// The cluster keeps numbers; names are those of its users and groups.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChownArgs {
    /// `USER`, `USER:GROUP` or `:GROUP`; names or numbers.
    #[arg(value_name = "OWNER")]
    pub(super) owner: String,

    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<RemotePath>,

    /// All below as well.
    #[arg(long, short = 'R')]
    pub(super) recursive: bool,

    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: ChownArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let names = Names::fitting(client).await?;
    let Ownership { owner, group } = names.parse(&args.owner).map_err(Failure::usage)?;
    let tally = Tally::new(&context.output);
    let change = AttrChange {
        owner,
        group,
        ..AttrChange::default()
    };
    for path in &args.paths {
        let changed = one(&args, client, &path.path, &change, &tally).await;
        tally.take(changed)?;
    }
    tally.finish()
}

async fn one(
    args: &ChownArgs,
    client: &Client,
    path: &DfsPath,
    change: &AttrChange,
    tally: &Tally<'_>,
) -> Result<()> {
    // Below a directory links themselves are changed: they must not lead out of it.
    let set = client.set_attr(path, change.clone(), true).await;
    let attr = set.doing("change the owner of", path)?;
    if !args.recursive || attr.kind != FileKind::Directory {
        return Ok(());
    }
    let mut walk = Walk::below(client, path);
    while let Some(step) = walk.next().await? {
        if let Step::At(found) = step {
            let set = client.set_attr(&found.path, change.clone(), false).await;
            tally.take(set.doing("change the owner of", &found.path))?;
        }
    }
    Ok(())
}

//! `dfs setfacl`: access lists, in the notation of the tools of POSIX.1e.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::types::acl::AclKind;
use dfs_core::types::{Attr, DfsPath, FileKind};

use super::getfacl::lists_of;
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::output::Tally;
use crate::text::acl::{Edit, Entries, Keys};
use crate::text::owner::Names;
use crate::text::remote::RemotePath;
use crate::walk::{Step, Walk};

const EXAMPLES: &str = "\
Examples:
  dfs setfacl -m u:alice:rw- /report.txt
  dfs setfacl -m g:dev:rwx,d:g:dev:rwx /shared      also for what is made in it later
  dfs setfacl -R -m g:dev:rX /shared                X: execution where it makes sense
  dfs setfacl -x u:alice /report.txt
  dfs setfacl -b /report.txt                        permissions alone say all

Entries: u:NAME:RIGHTS g:NAME:RIGHTS, u::RIGHTS g::RIGHTS o::RIGHTS for owner, group and others,
m::RIGHTS for the mask; with `d:` before them of the default list. A mask that is not given is the
widest that makes sense. -b and -k come first, then -x, then -m.";

/// Set who may do what with files and directories.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SetfaclArgs {
    /// Set entries, separated by commas: `u:alice:rw-,d:g:dev:r-x`.
    #[arg(long, short = 'm', value_name = "ENTRIES")]
    modify: Vec<Entries>,

    /// Take entries away, separated by commas: `u:alice,d:g:dev`.
    #[arg(long, short = 'x', value_name = "ENTRIES")]
    remove: Vec<Keys>,

    /// Take all away that permissions cannot say, and the default list.
    #[arg(long, short = 'b')]
    remove_all: bool,

    /// Take the default list away.
    #[arg(long, short = 'k')]
    remove_default: bool,

    /// All below as well; symbolic links are passed over.
    #[arg(long, short = 'R')]
    recursive: bool,

    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: SetfaclArgs, context: &Context) -> Result<()> {
    let named = !args.modify.is_empty() || !args.remove.is_empty();
    if !named && !args.remove_all && !args.remove_default {
        return Err(Failure::usage("nothing to change").hint("pass `-m`, `-x`, `-b` or `-k`"));
    }
    let client = context.client(&args.cluster).await?;
    let names = match named {
        true => Names::fitting(client).await?,
        false => Names::default(),
    };
    let edit = edit(&args, &names).map_err(Failure::usage)?;
    let tally = Tally::new(&context.output);
    for path in &args.paths {
        let changed = one(&args, client, &path.path, &edit, &tally).await;
        tally.take(changed)?;
    }
    tally.finish()
}

fn edit(args: &SetfaclArgs, names: &Names) -> std::result::Result<Edit, String> {
    let mut edit = Edit::default();
    (edit.clear, edit.clear_default) = (args.remove_all, args.remove_default);
    for keys in &args.remove {
        edit.take(keys, names)?;
    }
    for entries in &args.modify {
        edit.set(entries, names)?;
    }
    Ok(edit)
}

async fn one(
    args: &SetfaclArgs,
    client: &Client,
    path: &DfsPath,
    edit: &Edit,
    tally: &Tally<'_>,
) -> Result<()> {
    let attr = client.metadata(path).await;
    let attr = attr.doing("change the access list of", path)?;
    if edit.is_for_directories() && attr.kind != FileKind::Directory {
        return Err(refused(path, "only directories have a default list"));
    }
    change(client, path, &attr, edit).await?;
    if !args.recursive || attr.kind != FileKind::Directory {
        return Ok(());
    }
    let mut walk = Walk::below(client, path);
    while let Some(step) = walk.next().await? {
        if let Step::At(found) = step
            && found.attr.kind != FileKind::Symlink
        {
            tally.take(change(client, &found.path, &found.attr, edit).await)?;
        }
    }
    Ok(())
}

async fn change(client: &Client, path: &DfsPath, attr: &Attr, edit: &Edit) -> Result<()> {
    let before = lists_of(client, path, attr).await?;
    let after = edit.apply_to(&before, attr.kind);
    let after = after.map_err(|why| refused(path, &why))?;
    // The access list is always sent whole: to take it away would give the group what the mask
    // keeps from it.
    if after.access != before.access {
        let set = client.set_acl(path, AclKind::Access, Some(after.access));
        set.await.doing("change the access list of", path)?;
    }
    if after.default != before.default {
        let set = client.set_acl(path, AclKind::Default, after.default);
        set.await.doing("change the default list of", path)?;
    }
    Ok(())
}

fn refused(path: &DfsPath, why: &str) -> Failure {
    Failure::refused(format!("cannot change the access list of `{path}`: {why}"))
}

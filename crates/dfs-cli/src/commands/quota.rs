//! `dfs quota`: how much may be in a directory.

use clap::{Args, Subcommand};
use dfs_core::types::quota::{Limits, QuotaInfo};
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::text::remote::RemotePath;
use crate::text::size::{human, parse_size, shown};
use crate::text::table::{Align, Table};

/// Limit how much may be in a directory with all below it.
///
/// Counted are the bytes of files, once however many copies are kept and without holes, and files,
/// directories and symbolic links. What is in the trash is not counted.
#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    #[command(subcommand)]
    command: QuotaCommand,
}

#[derive(Debug, Subcommand)]
enum QuotaCommand {
    Set(SetArgs),
    Show(ShowArgs),
    Ls(LsArgs),
    Rm(RmArgs),
}

const SET_EXAMPLES: &str = "\
Examples:
  dfs quota set /home/alice --bytes 10GiB --inodes 1M
  dfs quota set /home/alice --inodes 2M        the limit of bytes stays
  dfs quota set /tmp --bytes 0 --force         nothing more, until less is there";

/// Limit a directory. What is there is counted first; then the quota binds. For administrators.
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
struct SetArgs {
    /// A directory of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    #[command(flatten)]
    limits: LimitFlags,

    /// Also below what is there already: then nothing more is taken until less is there.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What to limit.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct LimitFlags {
    /// How many bytes.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes: Option<u64>,

    /// How many files, directories and symbolic links: `5000`, `20k`, `1.5M`.
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    inodes: Option<u64>,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  dfs quota show /home/alice/photos
  dfs quota show --json /home/alice | jq '.entries[0].bytes_used'";

/// Show the quotas that something is counted for: of its directory, and of those above.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// A directory or file of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    /// A JSON document: `entries`, nearest first.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const LS_EXAMPLES: &str = "\
Examples:
  dfs quota ls
  dfs quota ls /home";

/// List the quotas of a directory and of those below it. For administrators.
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct LsArgs {
    /// A directory of the cluster.
    #[arg(value_name = "PATH", default_value = "/")]
    path: RemotePath,

    /// A JSON document: `entries`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RM_EXAMPLES: &str = "\
Examples:
  dfs quota rm /home/alice";

/// Take the quota of a directory away. For administrators.
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
struct RmArgs {
    /// A directory of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A quota, as `--json` shows it.
#[derive(Serialize)]
struct QuotaDocument {
    path: String,
    inode: u64,
    bytes_used: u64,
    bytes_limit: Option<u64>,
    inodes_used: u64,
    inodes_limit: Option<u64>,
    counting: bool,
}

#[derive(Serialize)]
struct QuotasDocument {
    entries: Vec<QuotaDocument>,
}

/// Runs it.
pub(crate) async fn run(args: QuotaArgs, context: &Context) -> Result<()> {
    match args.command {
        QuotaCommand::Set(args) => set(args, context).await,
        QuotaCommand::Show(args) => {
            let client = context.client(&args.cluster).await?;
            let quotas = client.quotas(&args.path.path).await;
            let quotas = quotas.doing("show", &args.path)?;
            if quotas.is_empty() {
                let path = &args.path;
                context
                    .output
                    .note(format_args!("no quota counts `{path}`"));
            }
            print(context, quotas, args.json)
        }
        QuotaCommand::Ls(args) => {
            let client = context.client(&args.cluster).await?;
            let quotas = client.quotas_below(&args.path.path).await;
            print(context, quotas.doing("list", &args.path)?, args.json)
        }
        QuotaCommand::Rm(args) => {
            let client = context.client(&args.cluster).await?;
            let removed = client.remove_quota(&args.path.path).await;
            removed.doing("take the quota from", &args.path)
        }
    }
}

async fn set(args: SetArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let limits = Limits {
        bytes: args.limits.bytes,
        inodes: args.limits.inodes,
    };
    let set = client.set_quota(&args.path.path, limits, args.force).await;
    set.doing("limit", &args.path)?;
    let quotas = client.quotas(&args.path.path).await;
    let quotas = quotas.doing("show", &args.path)?;
    if quotas.first().is_some_and(|quota| quota.counting) {
        context
            .output
            .note("what is there is being counted; the quota binds when that is done");
    }
    Ok(())
}

fn print(context: &Context, quotas: Vec<QuotaInfo>, json: bool) -> Result<()> {
    if json {
        let entries = quotas.into_iter().map(document).collect();
        return context.output.json(&QuotasDocument { entries });
    }
    if quotas.is_empty() {
        return Ok(());
    }
    let head = ["bytes", "limit", "inodes", "limit"].map(|name| (name, Align::Right));
    let tail = [("", Align::Left), ("path", Align::Left)];
    let mut table = Table::with_head(head.into_iter().chain(tail));
    for quota in quotas {
        let limit = |limit: Option<u64>, people: bool| {
            limit.map_or_else(|| "-".to_owned(), |limit| shown(limit, people))
        };
        table.row([
            human(quota.bytes),
            limit(quota.limits.bytes, true),
            quota.inodes.to_string(),
            limit(quota.limits.inodes, false),
            if quota.counting { "counting" } else { "" }.to_owned(),
            context.output.name(&quota.path).into_owned(),
        ]);
    }
    context.output.lines(table.lines())
}

fn document(quota: QuotaInfo) -> QuotaDocument {
    QuotaDocument {
        path: quota.path,
        inode: quota.inode.0,
        bytes_used: quota.bytes,
        bytes_limit: quota.limits.bytes,
        inodes_used: quota.inodes,
        inodes_limit: quota.limits.inodes,
        counting: quota.counting,
    }
}

/// Reads `5000`, `20k`, `1.5M`; these are powers of 1000.
fn parse_count(text: &str) -> std::result::Result<u64, String> {
    let bad = || format!("{text:?} is not a number of files; write 5000, 20k, 1.5M");
    let text = text.trim();
    let factor = match text.chars().last().map(|last| last.to_ascii_lowercase()) {
        Some('k') => 1_000,
        Some('m') => 1_000_000,
        Some('g') => 1_000_000_000,
        _ => 1_u64,
    };
    let number = match factor {
        1 => text,
        _ => text.get(..text.len() - 1).unwrap_or_default(),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 9 {
        return Err(bad());
    }
    let scale = 10_u64.pow(u32::try_from(part.len()).unwrap_or(0));
    let part: u64 = part.parse().map_err(|_| bad())?;
    let part = part.checked_mul(factor).ok_or_else(bad)?;
    if !part.is_multiple_of(scale) {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let whole = whole.checked_mul(factor).ok_or_else(bad)?;
    whole.checked_add(part / scale).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_in_every_usual_form() {
        for (text, count) in [
            ("0", 0),
            ("5000", 5000),
            ("20k", 20_000),
            ("1.5M", 1_500_000),
            ("2g", 2_000_000_000),
        ] {
            assert_eq!(parse_count(text), Ok(count), "{text}");
        }
        for text in [
            "",
            "k",
            "x",
            "-1",
            "1.5",
            "1.0001k",
            "1.2.3",
            "99999999999999999999g",
            "ü",
        ] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }
}

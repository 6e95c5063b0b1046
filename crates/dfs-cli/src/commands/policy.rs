//! `dfs policy`: how the bytes of files are kept.

use std::time::Duration;

use clap::Args;
use dfs_core::types::{PolicyChange, ReplicationTarget, StripeShape};
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::text::attr::{PolicyDocument, described_policy};
use crate::text::remote::RemotePath;
use crate::text::size::parse_size;
use crate::text::when::parse_duration;

const EXAMPLES: &str = "\
Examples:
  dfs policy /photos                       what it is
  dfs policy /photos --replicas 2          for new files in it
  dfs policy /tmp --trash 0                removed files go at once
  dfs policy /videos --chunk-size 256MiB
  dfs policy /archive --ec 4+2             in stripes: 1.5 times the bytes, two losses
  dfs policy /logs --ec 4+2 --ec-after 30d in stripes when a month old
  dfs policy /archive --replicas 3         in copies again";

/// Show or set how the bytes of files are kept.
///
/// A directory's policy is what new files and directories in it get; what is there keeps its own.
/// Set for a file it applies to later writes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PolicyArgs {
    /// A directory or file of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    #[command(flatten)]
    policy: PolicyFlags,

    /// A JSON document.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What to set of a policy.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyFlags {
    /// Copies of each chunk; without --ec all is kept in copies.
    #[arg(long, value_name = "N")]
    replicas: Option<u8>,

    /// Copies on stable storage before a write is done [default: a majority].
    #[arg(long, value_name = "N")]
    replicas_min: Option<u8>,

    /// Largest chunk.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    chunk_size: Option<u64>,

    /// Files up to this size are kept in the metadata, without a chunk.
    #[arg(long, value_name = "SIZE", value_parser = parse_inline)]
    inline_max: Option<u32>,

    /// How long removed files can be restored; 0 removes at once.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    trash: Option<Duration>,

    /// Keep bytes in stripes of K data and M parity chunks, each on a data node of its own: any M
    /// of them may be lost. What is shorter than 64 KiB is kept in M+1 copies.
    #[arg(long, value_name = "K+M")]
    ec: Option<StripeShape>,

    /// With --ec: keep bytes in copies at first, and put them into stripes when their file has not
    /// been changed for so long; 0 writes stripes at once.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ec_after: Option<Duration>,
}

impl PolicyFlags {
    /// The change, if anything is to change.
    pub(crate) fn change(&self) -> Option<PolicyChange> {
        let change = PolicyChange {
            replicas: self.replicas.map(ReplicationTarget),
            replicas_min: self.replicas_min.map(ReplicationTarget),
            chunk_size: self.chunk_size,
            inline_max: self.inline_max,
            trash: self.trash,
            ec: self.ec,
            ec_after: self.ec_after,
        };
        (change != PolicyChange::default()).then_some(change)
    }
}

#[derive(Serialize)]
struct Document {
    path: String,
    policy: PolicyDocument,
}

/// Runs it.
pub(crate) async fn run(args: PolicyArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let path = &args.path.path;
    let attr = match args.policy.change() {
        Some(change) => {
            let set = client.set_policy(path, change).await;
            set.doing("set the policy of", path)?
        }
        None => client.metadata(path).await.doing("look at", path)?,
    };
    if args.json {
        return context.output.json(&Document {
            path: path.to_string(),
            policy: PolicyDocument::new(&attr.policy),
        });
    }
    let policy = described_policy(&attr.policy);
    context.output.line(format_args!("{path}: {policy}"))
}

fn parse_inline(text: &str) -> std::result::Result<u32, String> {
    u32::try_from(parse_size(text)?).map_err(|_| format!("{text:?} is too large"))
}

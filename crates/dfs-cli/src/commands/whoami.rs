//! `dfs whoami`: as whom one is logged in, and where.

use clap::Args;
use serde::Serialize;

use super::user::{UserDocument, described};
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::text::owner::Names;
use crate::text::table::{Align, Table};

const EXAMPLES: &str = "\
Examples:
  dfs whoami
  dfs whoami --json | jq -r .authority     what `dfs login` of somebody else wants to know";

/// Show as whom you are logged in, and to which cluster.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhoamiArgs {
    /// A JSON document.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Document {
    user: UserDocument,
    cluster: String,
    masters: Vec<String>,
    /// None for a cluster without security.
    authority: Option<String>,
}

/// Runs it.
pub(crate) async fn run(args: WhoamiArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let user = client
        .whoami()
        .await
        .doing("find out", "who is logged in")?;
    let names = Names::of_cluster(client).await?;
    let config = client.config();
    let access = config.access.as_ref();
    let authority = access.map(|access| access.authority().to_string());
    if args.json {
        return context.output.json(&Document {
            user: UserDocument::new(&user, &names),
            cluster: client.cluster().to_string(),
            masters: config.masters.clone(),
            authority,
        });
    }
    let mut table = Table::new([Align::Left, Align::Left]);
    for (what, value) in described(&user, &names) {
        table.row([what, &context.output.name(&value)]);
    }
    table.row(["cluster", &client.cluster().to_string()]);
    table.row(["masters", &config.masters.join(",")]);
    table.row([
        "authority",
        authority.as_deref().unwrap_or("none: without security"),
    ]);
    context.output.lines(table.lines())
}

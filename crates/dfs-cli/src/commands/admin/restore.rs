//! `dfs admin restore`: what `dfs-node restore` does, for who has the command at hand.

use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use dfs_core::env::Env;
use dfs_core::master::{MasterConfig, Restored, restore, verify_backup};
use dfs_core::node::Security;

use crate::context::Context;
use crate::error::{Doing, Failure, Result};
use crate::local;

const EXAMPLES: &str = "\
Examples:
  dfs admin restore --check metadata.dfs     whether it is whole
  dfs admin restore metadata.dfs --directory /var/lib/dfs/master --listen 10.0.0.1:7400

For when all masters are lost for good: never into a cluster that lives, and if one of its masters
answers nothing is made. It works on this machine, without a cluster. Then start the master with
`dfs-node master`; it leads alone, data nodes that know its address come back to it with what they
have, and two more masters join it.";

/// Make a master of a backup, where all masters were lost.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RestoreArgs {
    /// What `dfs admin backup` has written.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only read it through.
    #[arg(long)]
    check: bool,

    /// An empty directory for the master, made if there is none.
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    directory: Option<PathBuf>,

    /// Where the master is to listen, best where one was before.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "check")]
    listen: Option<String>,

    /// Where others reach it, if that is another address.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,

    /// The cluster was one without encryption and logins.
    #[arg(long)]
    insecure: bool,
}

/// Runs it.
pub(super) async fn run(args: RestoreArgs, context: &Context) -> Result<()> {
    let shown = args.file.display();
    let file = BufReader::new(local::open(&args.file).await.doing("read", &shown)?);
    let env = Env::real();
    let (Some(directory), Some(listen), false) = (args.directory, args.listen, args.check) else {
        let verified = env.run_blocking(move || verify_backup(file)).await;
        return tell(context, "it is whole", &verified.doing("use", &shown)?);
    };
    if listen.rsplit_once(':').is_none_or(|(_, port)| port == "0") {
        let text = format!("`{listen}` is no address for a master: `host:port`, a fixed port");
        return Err(Failure::usage(text));
    }
    let mut config = MasterConfig::new(directory.clone());
    config.listen.clone_from(&listen);
    config.advertise = args.advertise;
    if args.insecure {
        config.security = Security::Insecure;
    }
    let restored = restore(config, &env, file).await;
    tell(context, "restored", &restored.doing("restore", &shown)?)?;
    let next = format!(
        "start it: dfs-node master --directory {} --listen {listen}",
        directory.display()
    );
    context.output.hint(next);
    Ok(())
}

fn tell(context: &Context, what: &str, restored: &Restored) -> Result<()> {
    context.output.line(format_args!(
        "{what}: metadata of cluster {} as of {}, {} rows, masters at {}",
        restored.cluster,
        restored.rev,
        restored.rows,
        restored.masters.join(", ")
    ))
}

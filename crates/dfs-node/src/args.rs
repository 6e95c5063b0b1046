//! The arguments. What can stand in the configuration file stands in [`settings`](crate::settings).

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::settings::{DataSettings, LogSettings, MasterSettings};

/// Runs the nodes of a distributed file storage system.
///
/// Every setting is taken from its flag, else from its environment variable, else from the
/// configuration file, else it has its default. `--print-config` shows what comes out.
#[derive(Debug, Parser)]
#[command(name = "dfs-node", version, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Found a cluster on the first machine and run its master:
    dfs-node init   --directory /var/lib/dfs/master --listen 10.0.0.1:7400
    dfs-node master --directory /var/lib/dfs/master --listen 10.0.0.1:7400

  It prints a token for masters and one for data nodes. Keep each in a file that only you can read,
  and add a master on each of two more machines:
    dfs-node master --directory /var/lib/dfs/master --listen 10.0.0.2:7400 --join-file masters.token

  Add a data node on each machine:
    dfs-node data --new --directory /var/lib/dfs/data --listen 10.0.0.1:7500 --join-file data.token\
";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Found a new cluster: make the directory of its first master
    Init(MasterArgs),
    /// Run a master
    Master(MasterArgs),
    /// Run a data node
    Data(DataArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct MasterArgs {
    #[command(flatten)]
    pub(crate) settings: MasterSettings,
    #[command(flatten)]
    pub(crate) general: General,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DataArgs {
    /// Make a new data node in an empty directory
    ///
    /// Without it an empty directory is refused, because a disk that is not mounted looks just
    /// like that.
    #[arg(long)]
    pub(crate) new: bool,
    #[command(flatten)]
    pub(crate) settings: DataSettings,
    #[command(flatten)]
    pub(crate) general: General,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct General {
    /// Configuration file (TOML)
    #[arg(long, env = "DFS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the settings as they come out, as a configuration file, and stop
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) log: LogSettings,
}

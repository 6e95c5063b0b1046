//! The arguments. What can stand in the configuration file stands in [`settings`](crate::settings).

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use dfs_core::types::VolumeId;

use crate::settings::{DataSettings, LogSettings, MasterSettings, Period};

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
    dfs-node data --new --directory /var/lib/dfs/data --listen 10.0.0.1:7500 --join-file data.token

  One with several disks, of which each may fail alone:
    dfs-node data --new --dir /disks/a --dir /disks/b --listen 10.0.0.1:7500 --join-file data.token\
";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Found a new cluster: make the directory of its first master
    Init(MasterArgs),
    /// Run a master
    Master(MasterArgs),
    /// Run a data node
    Data(DataArgs),
    /// Make a master of a backup, where all masters were lost
    ///
    /// The directory must be empty, and the masters that were must never run again. Start the
    /// master then; data nodes come back to it once they know its address:
    ///
    ///   dfs-node restore --from backup --directory /var/lib/dfs/master --listen 10.0.0.1:7400
    ///   dfs-node master  --directory /var/lib/dfs/master --listen 10.0.0.1:7400
    #[command(verbatim_doc_comment)]
    Restore(RestoreArgs),
    /// Let an administrator in again whose every key and password is lost
    ///
    /// Run it where a master was stopped, then start the master. It writes a profile that is good
    /// for an hour and changes nothing else:
    ///
    ///   dfs-node recover --directory /var/lib/dfs/master
    ///   dfs user passwd admin --profile /var/lib/dfs/master/recovered.toml
    #[command(verbatim_doc_comment)]
    Recover(RecoverArgs),
    /// List the masters that announce themselves on the local network
    ///
    /// One a line: its cluster, where it is, and the fingerprint of the authority that its papers
    /// are of. Anybody can announce anything: nodes believe the authority in their join token.
    ///
    ///   dfs-node discover
    ///   dfs-node discover --wait 10s --json
    #[command(verbatim_doc_comment)]
    Discover(DiscoverArgs),
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
    /// A volume that is gone for good, and is not missed any more; `dfs node ls --volumes` shows
    /// which is where
    ///
    /// What it held is repaired from other nodes. It is not taken back.
    #[arg(long, value_name = "VOLUME")]
    pub(crate) forget: Vec<VolumeId>,
    #[command(flatten)]
    pub(crate) settings: DataSettings,
    #[command(flatten)]
    pub(crate) general: General,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RestoreArgs {
    /// The backup, as `dfs admin backup` has written it
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Read the backup through, tell what it is of, and make nothing
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) settings: MasterSettings,
    #[command(flatten)]
    pub(crate) general: General,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RecoverArgs {
    /// The directory of a master that does not run
    ///
    /// Of a master that ran to the last and was stopped in order: what others did while it was
    /// away, or in the last moment before it was killed, it may not know.
    #[arg(long, env = "DFS_DIRECTORY", value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// An administrator that may log in; else the one the cluster was founded with
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// A new file for the profile; else `recovered.toml` in the master's directory
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DiscoverArgs {
    /// How long to look
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub(crate) wait: Period,
    /// A JSON document: `entries`
    #[arg(long)]
    pub(crate) json: bool,
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

//! Shows that a planted bug bites, for those that only a group of masters can show.
//!
//! ```console
//! $ cargo run -p dfs-tests --features planted --example planted -- stale-read
//! ```
//!
//! It exits with 0 if the bug was seen and with 1 if not. With `none` nothing is planted, and
//! every scenario must come out clean.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for one at a terminal, which stops when it is surprised"
)]

use std::process::ExitCode;
use std::time::Duration;

use dfs_core::env::Env;
use dfs_core::meta::{Command, MetaMachine};
use dfs_core::planted::{self, Bug};
use dfs_core::testing::{MemoryDisk, test_env};
use dfs_core::types::{Caller, Change, ClientId, Mode, NewAttr, RequestId};
use dfs_raft::testing::Cluster;
use dfs_raft::{Consistency, ReplicaConfig};
use tokio::time::timeout;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Far more than equal states take to be equal.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let name = std::env::args().nth(1).ok_or("which bug? or `none`")?;
    let seen = match name.as_str() {
        "none" => {
            let copies = copies_differ(Change::CloseSession).await?;
            let masters = masters_differ().await?;
            copies || masters || lone_follower_answers().await? || lost_sync_is_believed().await?
        }
        name => {
            let bug = name.parse()?;
            planted::plant(bug);
            run(bug).await?
        }
    };
    println!("{name}: {}", if seen { "seen" } else { "not seen" });
    Ok(ExitCode::from(u8::from(!seen)))
}

async fn run(bug: Bug) -> Result<bool> {
    match bug {
        Bug::DedupLostInSnapshot | Bug::IdCounterNotInSnapshot | Bug::PartialSnapshotInstall => {
            copies_differ(directory("a")?).await
        }
        Bug::ClockInApply => masters_differ().await,
        Bug::StaleRead | Bug::FollowerReadWithoutLeader => lone_follower_answers().await,
        Bug::FailedLogFsyncRetried => lost_sync_is_believed().await,
        _ => Err(format!("for `{bug}` there is no scenario here").into()),
    }
}

fn directory(name: &str) -> Result<Change> {
    Ok(Change::MakeDirectory {
        at: format!("/{name}")
            .parse::<dfs_core::types::DfsPath>()?
            .into(),
        attr: NewAttr::of_mode(Mode::DIRECTORY),
        parents: false,
    })
}

/// Settings that cut the log soon.
fn eager(config: &mut ReplicaConfig) {
    config.log_cut_entries = 10;
    config.log_entries_kept = 5;
    config.log_segment_bytes = 64 << 10;
}

async fn differ(cluster: &Cluster<MetaMachine>) -> bool {
    timeout(PATIENCE, cluster.converged()).await.is_err()
}

async fn propose(cluster: &Cluster<MetaMachine>, command: Command) -> Result<()> {
    let leader = cluster.leader().await;
    cluster.replica(leader).propose(command).await?;
    Ok(())
}

/// Whether a member that was sent a snapshot has another state than the one that sent it.
async fn copies_differ(change: Change) -> Result<bool> {
    let path = tempfile::tempdir()?;
    let make = || MetaMachine;
    let mut cluster = Cluster::start(1, Env::real(), path.path(), make, eager).await?;
    propose(
        &cluster,
        Command::OpenSession {
            caller: Caller::System,
        },
    )
    .await?;
    let request = RequestId {
        client: ClientId(1),
        sequence: 1,
        answered_below: 1,
    };
    propose(
        &cluster,
        Command::Client {
            caller: Caller::System,
            request,
            change,
        },
    )
    .await?;
    for _ in 0..30 {
        propose(
            &cluster,
            Command::OpenSession {
                caller: Caller::System,
            },
        )
        .await?;
    }
    let cut =
        async |cluster: &Cluster<MetaMachine>| cluster.replica(0).status().ok()??.purged.map(drop);
    cluster.eventually("the log is cut", cut).await;
    cluster.add(false).await?;
    Ok(differ(&cluster).await)
}

/// Whether masters that were told the same come to differ.
async fn masters_differ() -> Result<bool> {
    let path = tempfile::tempdir()?;
    let make = || MetaMachine;
    let cluster = Cluster::start(3, Env::real(), path.path(), make, |_| {}).await?;
    propose(
        &cluster,
        Command::OpenSession {
            caller: Caller::System,
        },
    )
    .await?;
    Ok(differ(&cluster).await)
}

/// Whether a follower that nobody can reach answers a linearizable read without what it lacks.
async fn lone_follower_answers() -> Result<bool> {
    let path = tempfile::tempdir()?;
    let make = || MetaMachine;
    let cluster = Cluster::start(3, Env::real(), path.path(), make, |_| {}).await?;
    propose(
        &cluster,
        Command::OpenSession {
            caller: Caller::System,
        },
    )
    .await?;
    cluster.converged().await;
    let leader = cluster.leader().await;
    let follower = if leader == 0 { 1 } else { 0 };
    let _cut = cluster.isolate(follower);
    let rev = cluster
        .replica(leader)
        .propose(Command::OpenSession {
            caller: Caller::System,
        })
        .await?
        .rev;
    let replica = cluster.replica(follower);
    let reading = replica.read(Consistency::Linearizable).await;
    Ok(reading.is_ok_and(|reading| reading.applied < rev))
}

/// Whether a command is acknowledged whose sync has failed.
async fn lost_sync_is_believed() -> Result<bool> {
    let disk = MemoryDisk::new(1);
    let make = || MetaMachine;
    let slow = |config: &mut ReplicaConfig| config.durable_interval = PATIENCE;
    let cluster = Cluster::start(1, test_env(1, &disk), "/".as_ref(), make, slow).await?;
    disk.fail_syncs(1);
    let proposed = cluster
        .replica(0)
        .propose(Command::OpenSession {
            caller: Caller::System,
        })
        .await;
    Ok(proposed.is_ok())
}

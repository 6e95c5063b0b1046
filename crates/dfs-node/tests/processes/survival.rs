//! Everything that was acknowledged is there, whoever was killed.

use std::time::Duration;

use tempfile::tempdir;
use tokio::time::timeout;

use crate::TestResult;
use crate::cluster::{Cluster, name};
use crate::workload::{Workload, progress, verify};

/// Every process is killed in its turn while writers write; then all are killed at once. No
/// acknowledged file may be lost or changed, and writes must go on each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_files_survive_the_kill_of_every_process_in_turn_and_of_all() -> TestResult {
    let directory = tempdir()?;
    let mut cluster = Cluster::found(directory.path(), 3).await?;
    let client = cluster.client().await?;
    let workload = Workload::start(&client, 8).await?;
    progress(&workload, 40).await;

    for place in 0..cluster.places() {
        cluster.kill(place).await?;
        let went_on = timeout(Duration::from_secs(20), progress(&workload, 20)).await;
        assert!(
            went_on.is_ok(),
            "no writes after the kill of {}",
            name(place)
        );
        cluster.start(place, false).await?;
        progress(&workload, 20).await;
    }

    let (acknowledged, failures) = workload.stop().await;
    assert_eq!(
        failures, 0,
        "writes failed although a quorum was there all the time"
    );
    assert!(acknowledged.len() >= 280);
    verify(&client, &acknowledged).await?;

    cluster.kill_and_restart_all().await?;
    let client = cluster.client().await?;
    verify(&client, &acknowledged).await?;
    client
        .write("/load/after", "written after the restart of all")
        .await?;
    cluster.stop().await?;
    Ok(())
}

//! What is deleted frees its space, in the end.

use super::{MIB, TestResult, directory, impatient, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_for_good_waits_to_be_reclaimed_and_no_chunk_is_left_in_the_map()
-> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(3).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(4 * MIB)).await?;
    assert_eq!(client.status().await?.chunks.total, 1);

    let removal = dfs_core::types::change::Removal::File;
    client.remove("/f", removal, true).await?;

    super::eventually("the map is empty", async || {
        Ok(client.status().await?.chunks.total == 0)
    })
    .await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

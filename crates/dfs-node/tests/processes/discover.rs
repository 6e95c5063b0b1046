//! Masters that announce themselves on the local network.

use std::time::Duration;

use dfs_core::security::JoinToken;
use tempfile::tempdir;
use tokio::time::{Instant, sleep};

use crate::TestResult;
use crate::cluster::{Founded, Process, command};

const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// The addresses of masters of a cluster that announce themselves.
async fn found(authority: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let output = command(&["discover", "--wait", "1s", "--json"])
        .output()
        .await?;
    assert!(output.status.success(), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let entries = document["entries"].as_array().cloned().unwrap_or_default();
    let of_it = entries
        .iter()
        .filter(|entry| entry["authority"] == authority);
    let addresses = of_it.filter_map(|entry| entry["address"].as_str());
    Ok(addresses.map(str::to_owned).collect())
}

/// Goal: a token whose addresses are out of date is enough where masters announce themselves.
/// Method: a master that does, and a token that names a port where nobody listens.
#[tokio::test]
async fn a_data_node_joins_masters_that_are_not_where_its_token_says() -> TestResult {
    let directory = tempdir()?;
    let within = |name: &str| directory.path().join(name);
    let (m1, n1) = (within("m1"), within("n1"));
    let founded = Founded::init(&m1, &[]).await?;
    let (m1, n1) = (m1.to_string_lossy(), n1.to_string_lossy());
    let arguments = [
        "master",
        "--directory",
        &m1,
        "--listen",
        &founded.address,
        "--discover",
    ];
    let master = Process::start(&arguments, &within("m1.log")).await?;
    let token = founded.data_token.as_deref().unwrap_or_default();
    let mut token: JoinToken = token.parse()?;
    let authority = token.authority.to_string();
    let began = Instant::now();
    while found(&authority).await? != [master.address()] {
        assert!(began.elapsed() < FOUND_WITHIN, "it is not found");
        sleep(Duration::from_millis(100)).await;
    }
    token.addresses = vec!["127.0.0.1:1".to_owned()];
    let token = token.reveal()?;
    let arguments = [
        "data",
        "--new",
        "--directory",
        &n1,
        "--listen",
        "127.0.0.1:0",
    ];
    let joins = ["--join", &token, "--discover"];

    let node = Process::start(&[&arguments[..], &joins].concat(), &within("n1.log")).await?;

    assert_eq!(node.stop().await?, Some(0));
    // It needs no address and no token when it starts again.
    let again = [&arguments[..1], &arguments[2..], &["--discover"]].concat();
    let node = Process::start(&again, &within("n1.log")).await?;
    assert_eq!(node.stop().await?, Some(0));
    assert_eq!(master.stop().await?, Some(0));
    Ok(())
}

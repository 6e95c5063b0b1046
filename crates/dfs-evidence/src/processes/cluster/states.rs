//! What masters and data nodes end with.

use std::io::{Error, Result};
use std::time::Duration;

use dfs_core::env::Env;
use dfs_core::master::{Master, MasterConfig};
use tokio::time::{Instant, sleep};

use super::{Cluster, RESERVE_MIB, Role};
use crate::processes::tool;

const EQUAL_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

impl Cluster {
    /// Stops everything and opens the masters' directories in this process: all must come to one
    /// state, in which no invariant is broken, and data nodes must have what it says. Gives what
    /// is wrong, a sentence each.
    pub(in crate::processes) async fn stop_and_compare(mut self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        if let Some(client) = self.client.take() {
            client.close().await;
        }
        for node in self.nodes.iter_mut().rev() {
            if let Err(error) = node.stop().await {
                wrong.push(format!("P1: {error}"));
            }
        }
        // Their addresses are ours now.
        tool::run("ip link set switch down").await?;
        let mut masters = Vec::new();
        for node in self.nodes.iter().filter(|node| node.role == Role::Master) {
            tool::run(&format!("ip address add {}/32 dev lo", node.host.address)).await?;
            let mut config = MasterConfig::new(node.disk.directory());
            config.listen = node.address();
            config.reserve = u64::from(RESERVE_MIB) << 20;
            let master = Master::start(config, Env::real()).await;
            match master {
                Ok(master) => masters.push((node.name.clone(), master)),
                Err(error) => wrong.push(format!("M4: {} does not open: {error}", node.name)),
            }
        }
        match become_equal(&masters).await? {
            Ok(()) => {}
            Err(states) => wrong.push(format!("M4: masters differ: {states}")),
        }
        if let Some((_, master)) = masters.first() {
            let map = master.chunk_map().map_err(Error::other)?;
            wrong.extend(self.lacking_replicas(&map).await?);
        }
        for (name, master) in masters {
            let checked = master.check().await.map_err(Error::other)?;
            let violations = checked.violations.iter();
            wrong.extend(violations.map(|violation| format!("M4: {name}: {violation:?}")));
            master.shutdown().await;
        }
        Ok(wrong)
    }
}

/// Waits until all have applied all of their logs and that gave equal states; if they do not,
/// gives the states.
async fn become_equal(masters: &[(String, Master)]) -> Result<std::result::Result<(), String>> {
    let start = Instant::now();
    loop {
        let mut states = Vec::new();
        for (_, master) in masters {
            let status = master.status().map_err(Error::other)?;
            states.extend(status.map(|s| (s.last_log, s.applied, s.digest)));
        }
        let first = states.first().copied();
        let are_equal = states.len() == masters.len() && states.iter().all(|s| Some(*s) == first);
        let is_applied = first.is_some_and(|(last, applied, _)| last == Some(applied.index));
        if are_equal && is_applied {
            return Ok(Ok(()));
        }
        if start.elapsed() > EQUAL_WITHIN {
            return Ok(Err(format!("{states:?}")));
        }
        sleep(POLL).await;
    }
}

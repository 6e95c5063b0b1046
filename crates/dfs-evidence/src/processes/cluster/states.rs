//! What masters and data nodes end with.

use std::time::Duration;

use dfs_core::env::Env;
use dfs_core::master::{Master, MasterConfig};
use tokio::time::{Instant, sleep};

use super::{Cluster, RESERVE, Role};
use crate::processes::tool;

const EQUAL_WITHIN: Duration = Duration::from_secs(60);
pub(super) const POLL: Duration = Duration::from_millis(50);

impl Cluster {
    /// Stops everything and opens the masters' directories in this process: all must come to one
    /// state, in which no invariant is broken, and data nodes must have what it says. Gives what
    /// is wrong, a sentence each; that it cannot be told is wrong, too.
    pub(in crate::processes) async fn stop_and_compare(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(client) = self.client.take() {
            client.close().await;
        }
        for node in self.nodes.iter_mut().rev() {
            if let Err(error) = node.stop().await {
                wrong.push(format!("P1: {error}"));
            }
            if let Err(error) = node.keep_audit_log() {
                wrong.push(format!("A2: unknown: {error}"));
            }
        }
        let (masters, unopened) = self.open_masters().await;
        wrong.extend(unopened);
        if let Err(differ) = become_equal(&masters).await {
            wrong.push(format!("M4: {differ}"));
        }
        wrong.extend(self.compare_replicas(&masters).await);
        for (name, master) in masters {
            match master.check().await {
                Ok(checked) => {
                    let violations = checked.violations.iter();
                    wrong.extend(violations.map(|what| format!("M4: {name}: {what:?}")));
                }
                Err(error) => wrong.push(format!("M4: {name} cannot be checked: {error}")),
            }
            master.shutdown().await;
        }
        wrong
    }

    /// The masters, in this process, and why some are not among them.
    async fn open_masters(&self) -> (Vec<(String, Master)>, Vec<String>) {
        let (mut masters, mut unopened) = (Vec::new(), Vec::new());
        // Their addresses are ours now.
        let down = tool::run("ip link set switch down").await;
        unopened.extend(down.err().map(|e| format!("M4: unknown: {e}")));
        for node in self.nodes.iter().filter(|node| node.role == Role::Master) {
            let address = format!("ip address add {}/32 dev lo", node.host.address);
            let opened = match tool::run(&address).await {
                Ok(_) => {
                    let mut config = MasterConfig::new(node.disk.directory());
                    config.listen = node.address();
                    config.reserve = RESERVE;
                    let master = Master::start(config, Env::real()).await;
                    master.map_err(|e| e.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            match opened {
                Ok(master) => masters.push((node.name.clone(), master)),
                Err(why) => unopened.push(format!("M4: {} does not open: {why}", node.name)),
            }
        }
        (masters, unopened)
    }

    /// Compares what data nodes have with what the first master says that can say it.
    async fn compare_replicas(&self, masters: &[(String, Master)]) -> Vec<String> {
        let maps = masters.iter().map(|(_, master)| master.chunk_map());
        match maps.into_iter().find_map(std::result::Result::ok) {
            Some(map) => self.judge_replicas(&map, masters).await,
            None => vec!["D4: unknown: no master says which replicas there are".to_owned()],
        }
    }
}

/// Waits until all have applied all of their logs and that gave equal states.
///
/// # Errors
/// The states, if they do not; or which of the masters has stopped.
async fn become_equal(masters: &[(String, Master)]) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let mut states = Vec::new();
        for (name, master) in masters {
            let status = master
                .status()
                .map_err(|e| format!("{name} stopped: {e}"))?;
            states.extend(status.map(|s| (s.last_log, s.applied, s.digest)));
        }
        let first = states.first().copied();
        let are_equal = states.len() == masters.len() && states.iter().all(|s| Some(*s) == first);
        let is_applied = first.is_some_and(|(last, applied, _)| last == Some(applied.index));
        if are_equal && is_applied {
            return Ok(());
        }
        if start.elapsed() > EQUAL_WITHIN {
            return Err(format!("masters differ: {states:?}"));
        }
        sleep(POLL).await;
    }
}

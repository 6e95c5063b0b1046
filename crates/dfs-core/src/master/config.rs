//! Settings of a master: plain data, complete, validated once.

use std::path::PathBuf;
use std::time::Duration;

use dfs_raft::ReplicaConfig;

use super::liveness::LivenessConfig;
use super::planners::balance::BalanceConfig;
use super::planners::repair::RepairBudget;
use super::planners::rewrite::RewriteBudget;
use crate::error::Error;
use crate::node::Security;

/// With fewer connections not each kind of caller has a place.
const CONNECTIONS_MIN: usize = 16;

/// Settings of a master. [`MasterConfig::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct MasterConfig {
    /// Settings of its replica of the metadata, its directory among them.
    pub replica: ReplicaConfig,
    /// How it proves who it is.
    pub security: Security,
    /// Where it listens, `host:port`; port 0 chooses a free one.
    pub listen: String,
    /// Where others reach it, if that is another address than it listens at.
    pub advertise: Option<String>,
    /// Voters wanted; who joins beyond them receives the log and has no vote.
    pub group_size: usize,
    /// Bytes kept free on the disk of `replica.directory`: with less the leader refuses what
    /// makes the metadata grow. It is for the log, which is as large as `replica.log_bytes_kept`
    /// and what is on its way, and for removals and repair.
    pub reserve: u64,
    /// Bytes that the audit log may take in `replica.directory`; the oldest lines go.
    pub audit_bytes: u64,
    /// When a silent data node is given up.
    pub liveness: LivenessConfig,
    /// How much repair may cost at a time.
    pub repair: RepairBudget,
    /// How equally full data nodes are to be.
    pub balance: BalanceConfig,
    /// When files are rewritten, and how many at a time.
    pub rewrite: RewriteBudget,
    /// How often the leader looks around.
    pub tick: Duration,
    /// Rows of the chunk map looked at in one tick, in the slow pass over all of it.
    pub pass_rows_per_tick: usize,
    /// The pause between two such passes.
    pub pass_interval: Duration,
    /// How often each data node is asked for a full report.
    pub report_interval: Duration,
    /// Chunk ids set aside by one command.
    pub chunk_ids_per_range: u32,
    /// Connections served at a time; more wait. Clients may have three in four of them.
    pub connections_max: usize,
    /// Requests of one connection served at a time; more are refused.
    pub requests_per_connection_max: usize,
    /// A connection without requests for this long is closed.
    pub idle_timeout: Duration,
}

impl MasterConfig {
    /// The defaults, for a master with its files in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> MasterConfig {
        MasterConfig {
            replica: ReplicaConfig::new(directory),
            security: Security::Papers,
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            group_size: 3,
            reserve: 512 << 20,
            audit_bytes: 1 << 30,
            liveness: LivenessConfig::DEFAULT,
            repair: RepairBudget::DEFAULT,
            balance: BalanceConfig::DEFAULT,
            rewrite: RewriteBudget::DEFAULT,
            tick: Duration::from_millis(250),
            pass_rows_per_tick: 1024,
            pass_interval: Duration::from_secs(5),
            report_interval: Duration::from_secs(6 * 3600),
            chunk_ids_per_range: 4096,
            connections_max: 4096,
            requests_per_connection_max: 256,
            idle_timeout: Duration::from_secs(10 * 60),
        }
    }

    /// Checks that the settings fit together.
    ///
    /// # Errors
    /// They do not; the message names the fields.
    pub fn validate(&self) -> Result<(), Error> {
        self.replica
            .validate()
            .map_err(|e| Error::invalid(e.to_string()))?;
        self.liveness.validate().map_err(Error::invalid)?;
        let zero = [
            (self.group_size == 0, "group_size"),
            (self.tick.is_zero(), "tick"),
            (self.pass_rows_per_tick == 0, "pass_rows_per_tick"),
            (self.chunk_ids_per_range == 0, "chunk_ids_per_range"),
            (
                self.requests_per_connection_max == 0,
                "requests_per_connection_max",
            ),
            (self.audit_bytes == 0, "audit_bytes"),
            (self.repair.copies == 0, "repair.copies"),
            (self.repair.copies_per_node == 0, "repair.copies_per_node"),
            (self.repair.lookups_per_tick == 0, "repair.lookups_per_tick"),
            (self.repair.bytes_per_second == 0, "repair.bytes_per_second"),
            (
                self.repair.bytes_per_second_per_node == 0,
                "repair.bytes_per_second_per_node",
            ),
            (self.balance.threshold == 0, "balance.threshold"),
            (
                self.rewrite.extents_per_tick == 0,
                "rewrite.extents_per_tick",
            ),
        ];
        if let Some((_, field)) = zero.into_iter().find(|(is_zero, _)| *is_zero) {
            return Err(Error::invalid(format!("{field} is zero")));
        }
        match self.connections_max < CONNECTIONS_MIN {
            true => Err(Error::invalid(format!(
                "connections_max is below {CONNECTIONS_MIN}"
            ))),
            false => Ok(()),
        }
    }
}

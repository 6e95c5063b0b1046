//! Settings of a replica: plain data, complete, validated once.

use std::path::PathBuf;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// Settings of a replica. [`ReplicaConfig::new`] has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// Where its files are; one replica per directory.
    pub directory: PathBuf,
    /// How often a leader shows that it is there.
    pub heartbeat_interval: Duration,
    /// A follower that heard nothing for the larger bound plus a random time between the two
    /// asks for an election. A vote that takes a disk longer than the smaller bound does not
    /// count, so disks that are always slower elect nobody.
    pub election_timeout_min: Duration,
    /// See [`election_timeout_min`](Self::election_timeout_min).
    pub election_timeout_max: Duration,
    /// Deadline of a request between members, and of connecting to one.
    pub rpc_timeout: Duration,
    /// Deadline of each step of sending a snapshot, in which the receiver may make it durable.
    pub snapshot_install_timeout: Duration,
    /// How long [`propose`](crate::Replica::propose) waits for its outcome.
    pub propose_timeout: Duration,
    /// How long [`read`](crate::Replica::read) waits for its index.
    pub read_timeout: Duration,
    /// Deadline of a whole [`join`](crate::Replica::join).
    pub join_timeout: Duration,
    /// Largest encoded command, in bytes.
    pub command_bytes_max: usize,
    /// Commands proposed and not answered yet, in bytes; more wait.
    pub proposal_bytes_in_flight_max: usize,
    /// Entries by which the log is cut at a time.
    pub log_cut_entries: u64,
    /// Applied entries kept in the log, for members that were away briefly.
    pub log_entries_kept: u64,
    /// Bytes of entries; if as many entries as above have more, fewer are kept. For a member that
    /// follows slowly or is being brought up to date all that it needs is kept as long as the log
    /// has at most twice as many bytes and four million entries.
    pub log_bytes_kept: u64,
    /// Recent entries held in memory, in bytes.
    pub log_cache_bytes: usize,
    /// Size of a file of the log, in bytes; written in full before it is used.
    pub log_segment_bytes: u64,
    /// redb's cache of the state, in bytes.
    pub state_cache_bytes: usize,
    /// Entries applied in one transaction at most.
    pub apply_entries_max: usize,
    /// Bytes of commands applied in one transaction at most.
    pub apply_bytes_max: usize,
    /// How long applied changes may wait until the state is made durable.
    pub durable_interval: Duration,
    /// Bytes of commands applied after which the state is made durable earlier.
    pub durable_bytes: usize,
    /// A learner this many entries behind the leader is not promoted.
    pub promotion_lag_max: u64,
    /// How long a promotion waits for the learner to come that close.
    pub promotion_timeout: Duration,
    /// A digest is kept at every multiple of this index, to be compared between members.
    pub digest_interval: u64,
    /// How often the leader compares digests.
    pub digest_compare_interval: Duration,
    /// How often all rows are read and verified.
    pub scrub_interval: Duration,
    /// Bytes per second read by that verification.
    pub scrub_bytes_per_second: u64,
    /// A leader whose append to its own log takes longer than this hands leadership over.
    pub slow_append_max: Duration,
    /// Connections served at once; of more, the most idle ones are closed.
    pub connections_max: usize,
    /// A connection without requests for this long is closed.
    pub idle_timeout: Duration,
    /// Requests served at once per connection; more are refused.
    pub requests_per_connection_max: usize,
}

impl ReplicaConfig {
    /// The defaults, for a replica in `directory`.
    ///
    /// A lost leader is replaced after 500 to 600 milliseconds (ADR 8).
    pub fn new(directory: impl Into<PathBuf>) -> ReplicaConfig {
        ReplicaConfig {
            directory: directory.into(),
            heartbeat_interval: Duration::from_millis(50),
            election_timeout_min: Duration::from_millis(200),
            election_timeout_max: Duration::from_millis(300),
            rpc_timeout: Duration::from_secs(2),
            snapshot_install_timeout: Duration::from_secs(120),
            propose_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(3),
            join_timeout: Duration::from_secs(20),
            command_bytes_max: MIB,
            proposal_bytes_in_flight_max: 32 * MIB,
            log_cut_entries: 20_000,
            log_entries_kept: 20_000,
            log_bytes_kept: 256 << 20,
            log_cache_bytes: 8 * MIB,
            log_segment_bytes: 8 << 20,
            state_cache_bytes: 128 * MIB,
            apply_entries_max: 4096,
            apply_bytes_max: 8 * MIB,
            durable_interval: Duration::from_millis(200),
            durable_bytes: 16 * MIB,
            promotion_lag_max: 1000,
            promotion_timeout: Duration::from_secs(30),
            digest_interval: 4096,
            digest_compare_interval: Duration::from_secs(10),
            scrub_interval: Duration::from_secs(24 * 3600),
            scrub_bytes_per_second: 32 << 20,
            slow_append_max: Duration::from_secs(2),
            connections_max: 256,
            idle_timeout: Duration::from_secs(60),
            requests_per_connection_max: 64,
        }
    }

    /// Checks that the settings fit together.
    ///
    /// # Errors
    /// They do not; the message names the fields.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let ms = Duration::from_millis;
        let rules = [
            (
                self.heartbeat_interval < ms(5),
                "heartbeat_interval is below 5 ms",
            ),
            (
                self.election_timeout_min < self.heartbeat_interval * 2,
                "election_timeout_min is below two heartbeat_intervals",
            ),
            (
                self.election_timeout_max <= self.election_timeout_min,
                "election_timeout_max is not above election_timeout_min",
            ),
            (
                self.rpc_timeout < self.heartbeat_interval,
                "rpc_timeout is below heartbeat_interval",
            ),
            (
                self.propose_timeout < ms(1) || self.read_timeout < ms(1),
                "propose_timeout or read_timeout is below 1 ms",
            ),
            (
                self.command_bytes_max == 0 || self.command_bytes_max > 2 * MIB,
                "command_bytes_max is not between 1 byte and 2 MiB",
            ),
            (
                !(self.command_bytes_max..=1 << 30).contains(&self.proposal_bytes_in_flight_max),
                "proposal_bytes_in_flight_max is not between command_bytes_max and 1 GiB",
            ),
            (self.log_cut_entries == 0, "log_cut_entries is 0"),
            (
                self.log_segment_bytes < 4096 || self.log_segment_bytes > 64 << 20,
                "log_segment_bytes is not between 4 KiB and 64 MiB",
            ),
            (
                self.apply_entries_max == 0 || self.apply_bytes_max == 0,
                "apply_entries_max or apply_bytes_max is 0",
            ),
            (
                self.durable_interval < ms(1),
                "durable_interval is below 1 ms",
            ),
            (self.digest_interval == 0, "digest_interval is 0"),
            (
                self.digest_compare_interval < ms(1) || self.scrub_interval < ms(1),
                "digest_compare_interval or scrub_interval is below 1 ms",
            ),
            (
                self.scrub_bytes_per_second == 0,
                "scrub_bytes_per_second is 0",
            ),
            (
                self.slow_append_max < ms(1),
                "slow_append_max is below 1 ms",
            ),
            (self.connections_max < 16, "connections_max is below 16"),
            (
                self.idle_timeout < self.heartbeat_interval,
                "idle_timeout is below heartbeat_interval",
            ),
            (
                self.requests_per_connection_max < 8,
                "requests_per_connection_max is below 8",
            ),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, message)) => Err(InvalidConfig(message)),
            None => Ok(()),
        }
    }
}

/// Settings that do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid replica configuration: {0}")]
pub struct InvalidConfig(pub(crate) &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ReplicaConfig::new("x").validate(), Ok(()));
    }

    #[test]
    fn no_more_bytes_in_flight_are_allowed_than_can_be_counted() {
        let mut config = ReplicaConfig::new("x");
        config.proposal_bytes_in_flight_max = usize::MAX;
        assert!(config.validate().is_err());
    }

    #[test]
    fn an_election_faster_than_heartbeats_is_refused() {
        let mut config = ReplicaConfig::new("x");
        config.election_timeout_min = config.heartbeat_interval;
        assert!(config.validate().is_err());
    }
}

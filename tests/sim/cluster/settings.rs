//! Settings of the simulated cluster: the real ones, small.

use std::time::Duration;

use dfs_core::client::ClientConfig;
use dfs_core::datanode::DataNodeConfig;
use dfs_core::datanode::store::Reserve;
use dfs_core::env::{Random, SeededRandom};
use dfs_core::master::MasterConfig;
use dfs_core::master::liveness::LivenessConfig;
use dfs_core::node::Security;

const KIB: u64 = 1024;
const MIB: usize = 1 << 20;

/// The directory every process has its files in.
pub(crate) const DIRECTORY: &str = "/dfs";

/// What differs from seed to seed.
#[derive(Debug, Clone)]
pub(crate) struct Taste {
    log_kept: u64,
    durable: Duration,
    segment: u64,
    /// Of clients. Mostly long: an operation of which nobody knows costs the judges much.
    patience: Duration,
}

impl Taste {
    /// The taste of a seed.
    pub(crate) fn new(seed: u64) -> Taste {
        let random = SeededRandom::new(seed ^ 0x7461_7374_6500);
        Taste {
            log_kept: [8, 8, 60, 500][random.below(4) as usize],
            durable: Duration::from_millis([50, 500, 3000][random.below(3) as usize]),
            segment: [4, 16, 64, 256][random.below(4) as usize] * KIB,
            patience: Duration::from_secs([3, 10, 30, 30][random.below(4) as usize]),
        }
    }

    /// Settings of a master.
    pub(crate) fn master(&self, address: &str) -> MasterConfig {
        let mut config = MasterConfig::new(DIRECTORY);
        config.security = Security::Insecure;
        config.listen = address.to_owned();
        config.reserve = 16 << 20;
        config.tick = Duration::from_millis(100);
        config.pass_interval = Duration::from_secs(1);
        config.liveness = LivenessConfig {
            heartbeat_interval: Duration::from_millis(500),
            suspect_after: Duration::from_secs(2),
            dead_after: Duration::from_secs(6),
            dead_after_agreed: Duration::from_secs(5),
        };
        // A MiB of a disk of one GiB: replicas move though there are few.
        config.balance.threshold = 1;
        config.rewrite.compact_after = Duration::from_millis(1500);
        config.rewrite.rests_for = Duration::from_secs(3);
        config.report_interval = Duration::from_secs(20);
        config.chunk_ids_per_range = 64;
        let replica = &mut config.replica;
        replica.log_cut_entries = self.log_kept;
        replica.log_entries_kept = self.log_kept;
        replica.log_bytes_kept = 4 << 20;
        replica.log_cache_bytes = MIB;
        replica.log_segment_bytes = self.segment;
        replica.state_cache_bytes = 4 * MIB;
        replica.durable_interval = self.durable;
        replica.digest_interval = 64;
        replica.digest_compare_interval = Duration::from_secs(2);
        replica.scrub_interval = Duration::from_secs(30);
        config
    }

    /// Settings of a data node.
    pub(crate) fn data_node(&self, address: &str, masters: Vec<String>) -> DataNodeConfig {
        let mut config = DataNodeConfig::new(DIRECTORY, masters);
        config.security = Security::Insecure;
        config.listen = address.to_owned();
        config.store.small_chunk_max = 16 * KIB;
        config.store.segment_size = 256 * KIB;
        config.store.index_cache = 2 * MIB;
        config.store.write_behind = 64 * KIB;
        config.store.reserve = Reserve {
            bytes: 8 << 20,
            percent: 1,
        };
        config.limits.buffer_bytes = 64 * MIB;
        config.scrub.period = Duration::from_secs(40);
        config.gossip_interval = Duration::from_millis(500);
        config
    }

    /// Settings of a client.
    pub(crate) fn client(&self, masters: Vec<String>) -> ClientConfig {
        let mut config = ClientConfig::new(masters);
        config.deadlines.operation = self.patience;
        config.budgets.write_bytes = 4 << 20;
        config.budgets.read_bytes = 4 << 20;
        config
    }
}

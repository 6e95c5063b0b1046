//! How fast copies may be made: bytes a second of each node, and of the cluster.
//!
//! A copy begins when those who take part in it owe nothing, and then they owe its bytes, which
//! time pays back. So a large chunk may begin at once, and what comes after it waits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::repair::{PlannedCopy, RepairBudget};
use crate::types::NodeId;

/// For how long a node that did nothing may go beyond its rate.
const BURST: Duration = Duration::from_secs(1);

/// What nodes, and the cluster, may still copy now.
#[derive(Debug, Default)]
pub struct Rates {
    cluster: Account,
    nodes: BTreeMap<NodeId, Account>,
}

impl Rates {
    /// Lets time pass.
    pub fn pass(&mut self, elapsed: Duration, budget: &RepairBudget) {
        self.cluster.earn(elapsed, budget.bytes_per_second);
        for node in self.nodes.values_mut() {
            node.earn(elapsed, budget.bytes_per_second_per_node);
        }
        // Who owes nothing is as one that was never heard of.
        self.nodes.retain(|_, node| node.owed > 0);
    }

    /// Whether a copy may begin.
    pub fn allow(&self, copy: &PlannedCopy) -> bool {
        let free = |node: NodeId| self.nodes.get(&node).is_none_or(Account::is_free);
        self.cluster.is_free() && taking_part(copy).all(free)
    }

    /// Notes that a copy begins.
    pub fn spend(&mut self, copy: &PlannedCopy) {
        self.cluster.spend(copy.length);
        for node in taking_part(copy) {
            self.nodes.entry(node).or_default().spend(copy.length);
        }
    }
}

/// Who makes a copy and who is asked for it first.
fn taking_part(copy: &PlannedCopy) -> impl Iterator<Item = NodeId> {
    copy.helpers().into_iter().chain([copy.to])
}

/// Bytes that were copied and not paid for by time.
#[derive(Debug, Default)]
struct Account {
    owed: u64,
    /// The most that may be owed by one who may begin.
    credit: u64,
}

impl Account {
    fn earn(&mut self, elapsed: Duration, bytes_per_second: u64) {
        self.owed = self.owed.saturating_sub(bytes(elapsed, bytes_per_second));
        self.credit = bytes(BURST, bytes_per_second);
    }

    fn is_free(&self) -> bool {
        self.owed <= self.credit
    }

    fn spend(&mut self, bytes: u64) {
        self.owed = self.owed.saturating_add(bytes);
    }
}

fn bytes(time: Duration, per_second: u64) -> u64 {
    let bytes = time.as_nanos().saturating_mul(per_second.into()) / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ChunkId;

    const MIB: u64 = 1 << 20;
    const BUDGET: RepairBudget = RepairBudget {
        bytes_per_second: 100 * MIB,
        bytes_per_second_per_node: 10 * MIB,
        ..RepairBudget::DEFAULT
    };

    fn copy(from: u32, to: u32, length: u64) -> PlannedCopy {
        PlannedCopy {
            chunk: ChunkId(1),
            length,
            checksum: 0,
            to: NodeId(to),
            replaces: None,
            sources: vec![NodeId(from)],
            recipe: None,
        }
    }

    /// Begins as many copies as may begin in some seconds, and counts them.
    fn copies(from: &[u32], seconds: u64, length: u64) -> u64 {
        let mut rates = Rates::default();
        let mut begun = 0;
        for _ in 0..seconds * 10 {
            rates.pass(Duration::from_millis(100), &BUDGET);
            for &from in from {
                let copy = copy(from, from + 100, length);
                while rates.allow(&copy) {
                    rates.spend(&copy);
                    begun += 1;
                }
            }
        }
        begun
    }

    #[test]
    fn a_node_copies_no_faster_than_its_rate_but_for_a_burst() {
        let begun = copies(&[1], 60, MIB);
        assert!((600..=612).contains(&begun), "{begun}");
        let begun = copies(&[1], 60, 100 * MIB);
        assert!((6..=8).contains(&begun), "{begun}");
    }

    #[test]
    fn all_nodes_together_copy_no_faster_than_the_cluster_may() {
        let nodes: Vec<u32> = (1..=40).collect();
        let begun = copies(&nodes, 10, MIB);
        assert!((1000..=1140).contains(&begun), "{begun}");
    }

    #[test]
    fn a_source_that_is_busy_for_one_is_busy_for_another() {
        let mut rates = Rates::default();
        rates.pass(Duration::from_secs(1), &BUDGET);
        rates.spend(&copy(1, 2, 100 * MIB));
        assert!(!rates.allow(&copy(1, 3, MIB)));
        assert!(!rates.allow(&copy(3, 2, MIB)));
        rates.pass(Duration::from_secs(1), &BUDGET);
        assert!(rates.allow(&copy(3, 4, MIB)));
    }
}

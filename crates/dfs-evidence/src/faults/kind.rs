//! The kinds of faults.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The leader's process is killed (SIGKILL).
    KillLeader,
    /// Some processes are killed, of masters and data nodes.
    KillSome,
    /// All processes are killed at once.
    KillAll,
    /// The machine of one node loses power: what was not synced is lost.
    PowerOne,
    /// All machines lose power at once.
    PowerAll,
    /// The leader's process stands still (SIGSTOP) for longer than an election takes.
    PauseLeader,
    /// A process other than the leader's stands still.
    PauseNode,
    /// The leader is cut off from all other nodes.
    IsolateLeader,
    /// The nodes are in two halves that do not hear each other.
    Halves,
    /// Others do not hear the leader, though it hears them, or the other way round.
    OneWay,
    /// Two halves that hear each other through one node only.
    Bridge,
    /// Every node hears its two neighbours only.
    Ring,
    /// Messages take long, and some longer.
    Delay,
    /// Packets are lost.
    Loss,
    /// Packets arrive twice.
    Duplicate,
    /// Packets arrive in another order.
    Reorder,
    /// Syncs of a disk are slow.
    SlowDisk,
    /// A sync fails with an input/output error.
    FailedSync,
    /// A disk is full.
    DiskFull,
    /// A file system has no inode left.
    InodesFull,
    /// Bits flip in files at rest.
    BitRot,
    /// The wall clock jumps, forwards or backwards.
    ClockJump,
    /// A process has little memory.
    MemoryLimit,
    /// A process may open few files.
    HandleLimit,
    /// Masters join and leave the group.
    Membership,
    /// A master is away until the log it needs is cut, and gets the state as a whole.
    SnapshotInstall,
    /// A node loses all it had and joins anew.
    Wipe,
    /// A data node is away until it is taken for dead, and comes back.
    ReturnOfDead,
    /// A data node is emptied, and taken back before or after it is empty.
    Drain,
    /// A client is killed in the middle of what it does.
    ClientCrash,
    /// All nodes are restarted, one after the other, gently.
    RollingRestart,
    /// Of the two masters that have what was acknowledged last, one loses power, or has rot in
    /// its log, and the other is away, while the third, which has not got it, is back.
    HarmedQuorum,
}

impl FaultKind {
    /// All of them, in the order of tables.
    pub const ALL: [FaultKind; 32] = [
        FaultKind::KillLeader,
        FaultKind::KillSome,
        FaultKind::KillAll,
        FaultKind::PowerOne,
        FaultKind::PowerAll,
        FaultKind::PauseLeader,
        FaultKind::PauseNode,
        FaultKind::IsolateLeader,
        FaultKind::Halves,
        FaultKind::OneWay,
        FaultKind::Bridge,
        FaultKind::Ring,
        FaultKind::Delay,
        FaultKind::Loss,
        FaultKind::Duplicate,
        FaultKind::Reorder,
        FaultKind::SlowDisk,
        FaultKind::FailedSync,
        FaultKind::DiskFull,
        FaultKind::InodesFull,
        FaultKind::BitRot,
        FaultKind::ClockJump,
        FaultKind::MemoryLimit,
        FaultKind::HandleLimit,
        FaultKind::Membership,
        FaultKind::SnapshotInstall,
        FaultKind::Wipe,
        FaultKind::ReturnOfDead,
        FaultKind::Drain,
        FaultKind::ClientCrash,
        FaultKind::RollingRestart,
        FaultKind::HarmedQuorum,
    ];

    /// Its name in schedules, histories and tables: `kill-leader`.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::KillLeader => "kill-leader",
            FaultKind::KillSome => "kill-some",
            FaultKind::KillAll => "kill-all",
            FaultKind::PowerOne => "power-one",
            FaultKind::PowerAll => "power-all",
            FaultKind::PauseLeader => "pause-leader",
            FaultKind::PauseNode => "pause-node",
            FaultKind::IsolateLeader => "isolate-leader",
            FaultKind::Halves => "halves",
            FaultKind::OneWay => "one-way",
            FaultKind::Bridge => "bridge",
            FaultKind::Ring => "ring",
            FaultKind::Delay => "delay",
            FaultKind::Loss => "loss",
            FaultKind::Duplicate => "duplicate",
            FaultKind::Reorder => "reorder",
            FaultKind::SlowDisk => "slow-disk",
            FaultKind::FailedSync => "failed-sync",
            FaultKind::DiskFull => "disk-full",
            FaultKind::InodesFull => "inodes-full",
            FaultKind::BitRot => "bit-rot",
            FaultKind::ClockJump => "clock-jump",
            FaultKind::MemoryLimit => "memory-limit",
            FaultKind::HandleLimit => "handle-limit",
            FaultKind::Membership => "membership",
            FaultKind::SnapshotInstall => "snapshot-install",
            FaultKind::Wipe => "wipe",
            FaultKind::ReturnOfDead => "return-of-dead",
            FaultKind::Drain => "drain",
            FaultKind::ClientCrash => "client-crash",
            FaultKind::RollingRestart => "rolling-restart",
            FaultKind::HarmedQuorum => "harmed-quorum",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<FaultKind, String> {
        let known = FaultKind::ALL.into_iter().find(|k| k.name() == text);
        known.ok_or_else(|| format!("no fault is called `{text}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_are_those_of_json() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
        }
    }
}

//! The faults a person names: one kind, or a group of them.

use std::str::FromStr;

use dfs_evidence::faults::FaultKind;
use dfs_evidence::processes;

/// A kind of fault or a group of kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice(Vec<FaultKind>);

/// Groups, by their names.
const GROUPS: [(&str, &[FaultKind]); 9] = [
    (
        "kill",
        &[
            FaultKind::KillLeader,
            FaultKind::KillSome,
            FaultKind::KillAll,
            FaultKind::ClientCrash,
        ],
    ),
    ("pause", &[FaultKind::PauseLeader, FaultKind::PauseNode]),
    ("power", &[FaultKind::PowerOne, FaultKind::PowerAll]),
    (
        "partition",
        &[
            FaultKind::IsolateLeader,
            FaultKind::Halves,
            FaultKind::OneWay,
            FaultKind::Bridge,
            FaultKind::Ring,
        ],
    ),
    (
        "network",
        &[
            FaultKind::Delay,
            FaultKind::Loss,
            FaultKind::Duplicate,
            FaultKind::Reorder,
        ],
    ),
    (
        "disk",
        &[
            FaultKind::SlowDisk,
            FaultKind::FailedSync,
            FaultKind::DiskFull,
            FaultKind::InodesFull,
            FaultKind::BitRot,
        ],
    ),
    ("clock", &[FaultKind::ClockJump]),
    ("limits", &[FaultKind::MemoryLimit, FaultKind::HandleLimit]),
    (
        "members",
        &[
            FaultKind::Membership,
            FaultKind::SnapshotInstall,
            FaultKind::Wipe,
            FaultKind::ReturnOfDead,
            FaultKind::Drain,
            FaultKind::RollingRestart,
        ],
    ),
];

impl Choice {
    pub(super) fn kinds(&self) -> &[FaultKind] {
        &self.0
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Choice, String> {
        if let Some((_, kinds)) = GROUPS.iter().find(|(name, _)| *name == text) {
            return Ok(Choice(kinds.to_vec()));
        }
        let names = GROUPS.map(|(name, _)| name).join(", ");
        let unknown = |e: String| format!("{e}; groups are {names}");
        let kind = text.parse::<FaultKind>().map_err(unknown)?;
        match processes::kinds().contains(&kind) {
            true => Ok(Choice(vec![kind])),
            false => Err(format!(
                "{kind} is for the simulation only; groups are {names}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_one_group() {
        for kind in processes::kinds() {
            let groups = GROUPS.iter().filter(|(_, kinds)| kinds.contains(&kind));
            assert_eq!(groups.count(), 1, "{kind}");
        }
    }

    #[test]
    fn groups_and_kinds_can_be_named_and_nothing_else() {
        let pause: Choice = "pause".parse().unwrap();
        assert_eq!(
            pause.kinds(),
            [FaultKind::PauseLeader, FaultKind::PauseNode]
        );
        let one: Choice = "bit-rot".parse().unwrap();
        assert_eq!(one.kinds(), [FaultKind::BitRot]);
        assert!("harmed-quorum".parse::<Choice>().is_err());
        assert!("fire".parse::<Choice>().is_err_and(|e| e.contains("fire")));
    }
}

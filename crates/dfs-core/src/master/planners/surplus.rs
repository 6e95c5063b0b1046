//! Copies beyond what is wanted: deleted slowly, each only after a trial.
//!
//! A copy becomes surplus when a node comes back after its chunks were repaired elsewhere. The
//! trial of a surplus copy asks the nodes of enough *other*, confirmed replicas to read theirs
//! through. Only if all of them are right is the command proposed that drops the surplus one,
//! and that command checks the map again. Few trials run at a time, so the return of a rack is
//! no storm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Intended;
use super::spread::spread;
use crate::master::view::ClusterView;
use crate::planted::{self, Bug};
use crate::types::{ChunkId, NodeId};

/// Most trials at a time.
pub const TRIALS_MAX: usize = 16;
/// How long the witnesses of a trial may take.
pub const TRIAL_TIMEOUT: Duration = Duration::from_secs(120);

/// What is to be done about a surplus copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is intended, or gone.
    Settled,
    /// Copies lack: keep it, repair may use it.
    Keep,
    /// Wait: too few other replicas are confirmed.
    Wait,
    /// Ask these nodes to read their replicas through.
    Try(Vec<NodeId>),
}

/// Considers a copy of a chunk on a node that is not meant to have one.
pub fn consider(
    view: &ClusterView,
    node: NodeId,
    chunk: ChunkId,
    intended: Option<&Intended>,
) -> Verdict {
    let Some(intended) = intended else {
        return Verdict::Settled;
    };
    if intended.replicas.contains(&node) {
        return Verdict::Settled;
    }
    if planted::active(Bug::LastCopyDeleted) {
        return Verdict::Try(Vec::new());
    }
    let target = usize::from(intended.target.0).max(1);
    let good = |id: &&NodeId| super::repair::is_good(view, chunk, **id);
    if intended.replicas.iter().filter(good).count() < target {
        return Verdict::Keep;
    }
    let confirmed = |id: &&NodeId| view.confirmed(**id, chunk);
    let witnesses: Vec<NodeId> = intended
        .replicas
        .iter()
        .filter(confirmed)
        .copied()
        .collect();
    if witnesses.len() < target {
        return Verdict::Wait;
    }
    Verdict::Try(witnesses)
}

/// An intended replica beyond what is wanted, and the nodes that make it so: one that is not
/// good if there is one, else the one without which the others are spread most widely, the last
/// of these. None while the others are not all confirmed.
pub fn excess(
    view: &ClusterView,
    chunk: ChunkId,
    intended: &Intended,
) -> Option<(NodeId, Vec<NodeId>)> {
    let target = usize::from(intended.target.0).max(1);
    if intended.replicas.len() <= target {
        return None;
    }
    let bad = |id: &&NodeId| !super::repair::is_good(view, chunk, **id);
    let spread_without = |id: &&NodeId| {
        let others = intended.replicas.iter().filter(|other| other != id);
        spread(view, others.copied())
    };
    let replicas = intended.replicas.iter();
    let victim = replicas.clone().find(bad);
    let victim = victim.or_else(|| replicas.max_by_key(spread_without));
    let victim = victim.copied()?;
    let others = intended.replicas.iter().filter(|id| **id != victim);
    let others = others.filter(|id| view.confirmed(**id, chunk));
    let witnesses: Vec<NodeId> = others.copied().collect();
    (witnesses.len() >= target).then_some((victim, witnesses))
}

#[derive(Debug)]
struct Trial {
    since: Duration,
    witnesses: Vec<NodeId>,
    awaited: BTreeSet<NodeId>,
}

/// The trials of surplus copies: under way, and passed lately.
#[derive(Debug, Default)]
pub struct Trials {
    trials: BTreeMap<(ChunkId, NodeId), Trial>,
}

impl Trials {
    /// Whether another trial may begin.
    pub fn has_room(&self) -> bool {
        self.trials.len() < TRIALS_MAX
    }

    /// Whether a copy is on trial, or has passed.
    pub fn knows(&self, chunk: ChunkId, node: NodeId) -> bool {
        self.trials.contains_key(&(chunk, node))
    }

    /// The copies on trial.
    pub fn copies(&self) -> impl Iterator<Item = (ChunkId, NodeId)> {
        self.trials.keys().copied()
    }

    /// Begins the trial of the copy of `chunk` on `node`.
    pub fn begin(&mut self, chunk: ChunkId, node: NodeId, witnesses: &[NodeId], now: Duration) {
        let trial = Trial {
            since: now,
            witnesses: witnesses.to_vec(),
            awaited: witnesses.iter().copied().collect(),
        };
        self.trials.insert((chunk, node), trial);
    }

    /// A node has read its replica of a chunk through.
    pub fn witnessed(&mut self, chunk: ChunkId, witness: NodeId, right: bool) {
        let of_chunk = (chunk, NodeId(0))..=(chunk, NodeId(u32::MAX));
        let mut failed = Vec::new();
        for (key, trial) in self.trials.range_mut(of_chunk) {
            if right {
                trial.awaited.remove(&witness);
            } else if trial.witnesses.contains(&witness) {
                failed.push(*key);
            }
        }
        for key in failed {
            self.trials.remove(&key);
        }
    }

    /// Ends a trial that has passed: the copy may go, for these others have the right bytes.
    pub fn take_passed(&mut self, chunk: ChunkId, node: NodeId) -> Option<Vec<NodeId>> {
        if !self.trials.get(&(chunk, node))?.awaited.is_empty() {
            return None;
        }
        let trial = self.trials.remove(&(chunk, node))?;
        Some(trial.witnesses)
    }

    /// Ends the trials that took too long; their copies stay.
    pub fn expire(&mut self, now: Duration) {
        self.trials
            .retain(|_, trial| now.saturating_sub(trial.since) < TRIAL_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::view::Fault;
    use crate::master::view::tests::view;
    use crate::proto::metadata::Liveness;
    use crate::types::ReplicationTarget;

    const C: ChunkId = ChunkId(1);

    fn judge(view: &ClusterView, replicas: &[u32]) -> Verdict {
        let intended = Intended {
            length: 10,
            checksum: 7,
            target: ReplicationTarget(2),
            replicas: replicas.iter().copied().map(NodeId).collect(),
            stripe: None,
        };
        consider(view, NodeId(4), C, Some(&intended))
    }

    #[test]
    fn a_copy_goes_only_after_enough_others_were_read_through() {
        let witnesses = [NodeId(1), NodeId(2)];
        assert_eq!(judge(&view(4), &[1, 2]), Verdict::Try(witnesses.to_vec()));
        let mut trials = Trials::default();
        trials.begin(C, NodeId(4), &witnesses, Duration::ZERO);
        trials.witnessed(C, NodeId(1), true);
        trials.witnessed(C, NodeId(1), true);
        assert_eq!(trials.take_passed(C, NodeId(4)), None);
        trials.witnessed(C, NodeId(2), true);
        assert_eq!(trials.take_passed(C, NodeId(4)), Some(witnesses.to_vec()));
        assert_eq!(trials.take_passed(C, NodeId(4)), None);
    }

    #[test]
    fn a_witness_with_wrong_bytes_saves_the_copy() {
        let mut trials = Trials::default();
        trials.begin(C, NodeId(4), &[NodeId(1), NodeId(2)], Duration::ZERO);
        trials.witnessed(C, NodeId(2), false);
        trials.witnessed(C, NodeId(1), true);
        assert!(!trials.knows(C, NodeId(4)));
    }

    #[test]
    fn a_copy_is_kept_while_others_are_lost_and_while_they_are_unconfirmed() {
        let mut lost = view(4);
        lost.add_fault(NodeId(1), C, Fault::Corrupt);
        assert_eq!(judge(&lost, &[1, 2]), Verdict::Keep);
        lost = view(4);
        lost.set_liveness(NodeId(1), Liveness::Dead);
        assert_eq!(judge(&lost, &[1, 2]), Verdict::Keep);
        let mut unsure = view(4);
        unsure.want_report(NodeId(1));
        assert_eq!(judge(&unsure, &[1, 2]), Verdict::Wait);
    }

    #[test]
    fn of_too_many_intended_replicas_a_bad_one_goes_first() {
        let intended = Intended {
            length: 10,
            checksum: 7,
            target: ReplicationTarget(2),
            replicas: [1, 2, 3].map(NodeId).to_vec(),
            stripe: None,
        };
        let excess = |view: &ClusterView| excess(view, C, &intended);
        let mut view = view(3);
        assert_eq!(excess(&view), Some((NodeId(3), vec![NodeId(1), NodeId(2)])));
        view.add_fault(NodeId(1), C, Fault::Missing);
        assert_eq!(excess(&view), Some((NodeId(1), vec![NodeId(2), NodeId(3)])));
        view.want_report(NodeId(2));
        assert_eq!(excess(&view), None);
    }

    #[test]
    fn a_copy_that_became_intended_is_no_surplus() {
        assert_eq!(judge(&view(4), &[1, 4]), Verdict::Settled);
    }

    #[test]
    fn a_trial_that_takes_too_long_ends_and_drops_nothing() {
        let mut trials = Trials::default();
        trials.begin(C, NodeId(4), &[NodeId(1)], Duration::ZERO);
        trials.witnessed(C, NodeId(1), true);
        trials.expire(TRIAL_TIMEOUT);
        assert_eq!(trials.take_passed(C, NodeId(4)), None);
    }
}

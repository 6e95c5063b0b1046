//! stub
use super::cluster::Cluster;
use dfs_evidence::faults::{Fault, FaultKind};
use dfs_evidence::history::Recorder;
use std::collections::BTreeMap;
pub(super) struct Nemesis;
impl Nemesis {
    pub(super) const KINDS: [FaultKind; 1] = [FaultKind::KillLeader];
    pub(super) fn new(_: u64, _: Recorder) -> Nemesis { Nemesis }
    pub(super) fn is_busy(&self) -> bool { false }
    pub(super) fn begin(&mut self, _: Fault, _: &mut Cluster) {}
    pub(super) fn heal_what_is_over(&mut self, _: &mut Cluster) {}
    pub(super) fn heal_everything(&mut self, _: &mut Cluster) {}
    pub(super) fn crashed_clients(&mut self) -> Vec<usize> { vec![] }
    pub(super) fn counts(&self) -> BTreeMap<String, u64> { BTreeMap::new() }
    pub(super) fn carried_out(&self) -> Vec<u32> { vec![] }
}

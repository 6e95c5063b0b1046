//! What is measured, as data.

use dfs_core::types::{PolicyChange, ReplicationTarget};

use super::Area;
use super::floors::Floor;
use super::measure::Unit;

/// Files in a directory of its own, and what is done to each of them, step after step.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// Which group it belongs to.
    pub(crate) area: Area,
    /// What sets it apart from others, after the name of the step.
    pub(crate) label: String,
    /// Operations at a time.
    pub(crate) in_flight: usize,
    /// How many files.
    pub(crate) files: u64,
    /// Bytes of each.
    pub(crate) len: u64,
    /// How they are kept, if not as usual.
    pub(crate) policy: Option<PolicyChange>,
    /// What is done to every file before the next step begins.
    pub(crate) steps: &'static [Step],
}

/// Something done to a file, or next to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Makes it, empty.
    Create,
    /// Asks for its attributes.
    Stat,
    /// Lists a directory of sixteen others.
    List,
    /// Gives it another name.
    Rename,
    /// Removes it by that name, past the trash.
    Unlink,
    /// Stores its bytes.
    Write,
    /// Reads its bytes, verified.
    Read,
    /// Lists the directory that all of them are in.
    ListAll,
}

impl Step {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Create => "create",
            Step::Stat => "stat",
            Step::List => "list 16 entries",
            Step::Rename => "rename",
            Step::Unlink => "unlink",
            Step::Write => "write",
            Step::Read => "read",
            Step::ListAll => "list",
        }
    }

    /// What the machine could do at best in its place.
    pub(crate) fn floor(self, workload: &Workload) -> Floor {
        match (self, self.unit(workload)) {
            (Step::Create | Step::Rename | Step::Unlink, _) => Floor::Fdatasync,
            (Step::Write, Unit::Operations) => Floor::Fdatasync,
            (Step::Write, Unit::Bytes) => Floor::DiskWrite,
            (Step::Read, Unit::Bytes) => Floor::LoopbackStream,
            (Step::Stat | Step::List | Step::ListAll | Step::Read, _) => Floor::RoundTrip,
        }
    }

    /// What its rate counts: bytes of bulk files, else operations.
    pub(crate) fn unit(self, workload: &Workload) -> Unit {
        match (self, workload.area) {
            (Step::Write | Step::Read, Area::Bulk) => Unit::Bytes,
            _ => Unit::Operations,
        }
    }
}

/// How much of everything.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    /// These areas; none named is all.
    pub(crate) areas: Vec<Area>,
    /// Bytes of a bulk file.
    pub(crate) bulk_len: u64,
    /// How many times the usual number of operations.
    pub(crate) factor: u64,
    /// Entries of a large directory to list.
    pub(crate) list_entries: Option<u64>,
}

const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];
const METADATA_STEPS: &[Step] = &[
    Step::Create,
    Step::Stat,
    Step::List,
    Step::Rename,
    Step::Unlink,
];
const SMALL_LENS: [(u64, &str); 2] = [(4 << 10, " 4 KiB"), (64 << 10, " 64 KiB")];

/// All workloads at this scale.
pub(crate) fn plan(scale: &Scale) -> Vec<Workload> {
    let wanted = |area| scale.areas.is_empty() || scale.areas.contains(&area);
    let mut plan = Vec::new();
    if wanted(Area::Metadata) {
        plan.extend(IN_FLIGHT.map(|in_flight| metadata(scale, in_flight)));
        plan.extend(scale.list_entries.map(large_directory));
    }
    if wanted(Area::Bulk) {
        for replicas in [1, 3] {
            plan.extend([1, 4].map(|streams| bulk(scale, replicas, streams)));
        }
    }
    if wanted(Area::Small) {
        for (len, label) in SMALL_LENS {
            plan.extend([1, 16, 64].map(|in_flight| small(scale, len, label, in_flight)));
        }
    }
    plan
}

fn metadata(scale: &Scale, in_flight: usize) -> Workload {
    Workload {
        area: Area::Metadata,
        label: String::new(),
        in_flight,
        files: scale.factor * 256.max(16 * in_flight as u64),
        len: 0,
        policy: None,
        steps: METADATA_STEPS,
    }
}

fn large_directory(entries: u64) -> Workload {
    Workload {
        area: Area::Metadata,
        label: format!(" (directory of {entries})"),
        in_flight: 256,
        files: entries,
        len: 0,
        policy: None,
        steps: &[Step::Create, Step::ListAll],
    }
}

fn bulk(scale: &Scale, replicas: u8, streams: usize) -> Workload {
    Workload {
        area: Area::Bulk,
        label: format!(", {replicas} replicas"),
        in_flight: streams,
        files: streams as u64,
        len: scale.bulk_len,
        policy: Some(PolicyChange {
            replicas: Some(ReplicationTarget(replicas)),
            // All of them, so that the figure is that of all the work.
            replicas_min: Some(ReplicationTarget(replicas)),
            ..PolicyChange::default()
        }),
        steps: &[Step::Write, Step::Read],
    }
}

fn small(scale: &Scale, len: u64, label: &str, in_flight: usize) -> Workload {
    Workload {
        area: Area::Small,
        label: label.to_owned(),
        in_flight,
        files: scale.factor * 128.max(16 * in_flight as u64),
        len,
        policy: None,
        steps: &[Step::Write, Step::Read],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_planned() {
        let mut scale = Scale {
            areas: vec![Area::Bulk],
            bulk_len: 1,
            factor: 1,
            list_entries: Some(9),
        };
        assert!(plan(&scale).iter().all(|w| w.area == Area::Bulk));
        scale.areas.clear();
        let areas = plan(&scale);
        assert_eq!(areas.iter().filter(|w| w.area == Area::Metadata).count(), 5);
        assert!(areas.iter().any(|w| w.area == Area::Small));
        assert!(
            areas
                .iter()
                .all(|w| w.files >= w.in_flight as u64 || w.files == 9)
        );
    }
}

//! Where files of blocks are, and how their bytes are kept there.

use std::time::Duration;

use dfs_core::types::limits::CHUNK_SIZE_MIN;
use dfs_core::types::{PolicyChange, StripeShape};
use rand::seq::IndexedRandom;

use super::super::{TRASH_FOR_LONG, Worker};

/// The directories in which one workload has its files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The name of the workload.
    pub(super) name: &'static str,
    /// All is below this.
    pub(super) root: &'static str,
    /// The directories that have files.
    pub(super) directories: &'static [&'static str],
    /// The one file that all append to.
    pub(super) log: &'static str,
}

/// Files in copies.
pub(super) const PLAIN: Places = Places {
    name: "contents",
    root: "/contents",
    directories: &["/contents"],
    log: "/contents/log",
};

/// Files in stripes.
pub(super) const CODED: Places = Places {
    name: "coded",
    root: "/coded",
    directories: &[NOW, WIDE, LATER],
    log: "/coded/now/log",
};
/// In stripes of 2+1 at once.
const NOW: &str = "/coded/now";
/// In stripes of 3+2, where there are so many data nodes.
const WIDE: &str = "/coded/wide";
/// In copies, and in stripes of 2+1 when nobody has changed them for a moment.
const LATER: &str = "/coded/later";

/// So long nobody must have changed a file before it comes into stripes.
const RESTS_FOR: Duration = Duration::from_secs(2);

/// Paths of a family, by what comes after its name.
const ENDINGS: [&str; 3] = ["", ".a", ".b"];

impl Places {
    /// All paths of a family. It is in one directory, as clones and concatenations are only
    /// among files that are kept alike.
    pub(super) fn paths(&self, family: u64) -> impl Iterator<Item = String> + use<> {
        let directory = self.directory(family);
        ENDINGS
            .iter()
            .map(move |ending| format!("{directory}/f{family}{ending}"))
    }

    pub(super) fn any_path(&self, worker: &mut Worker, family: u64) -> String {
        let ending = ENDINGS.choose(&mut worker.random).unwrap_or(&"");
        let directory = self.directory(family);
        format!("{directory}/f{family}{ending}")
    }

    /// Whether files of a family may become parts of each other: the bytes of short ones are not
    /// in the metadata, of which a file may have only so many.
    pub(super) fn joins(&self, family: u64) -> bool {
        [NOW, LATER].contains(&self.directory(family))
    }

    fn directory(&self, family: u64) -> &'static str {
        let count = self.directories.len().max(1) as u64;
        let chosen = usize::try_from(family % count).unwrap_or(0);
        self.directories.get(chosen).copied().unwrap_or(self.root)
    }

    /// How files below a path are kept, where there are so many data nodes.
    pub(super) fn policy(path: &str, nodes: usize) -> PolicyChange {
        let narrow = StripeShape { data: 2, parity: 1 };
        let shape = match path {
            NOW | LATER => Some(narrow),
            WIDE if nodes < WIDEST.members() => Some(narrow),
            WIDE => Some(WIDEST),
            _ => None,
        };
        PolicyChange {
            // Members have 64 KiB at most; what is a quarter of it is short.
            chunk_size: Some(match path {
                NOW => 2 * CHUNK_SIZE_MIN,
                WIDE => 3 * CHUNK_SIZE_MIN,
                _ => CHUNK_SIZE_MIN,
            }),
            inline_max: [NOW, LATER].contains(&path).then_some(0),
            trash: Some(TRASH_FOR_LONG),
            ec: shape,
            ec_after: (path == LATER).then_some(RESTS_FOR),
            ..PolicyChange::default()
        }
    }
}

/// The widest stripes there are.
const WIDEST: StripeShape = StripeShape { data: 3, parity: 2 };

/// The family of a name.
pub(super) fn family_of(name: &str) -> Option<u64> {
    name.strip_prefix('f')?.split('.').next()?.parse().ok()
}

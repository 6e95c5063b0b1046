//! Opening a store: is it ours, and what did a crash leave?
//!
//! Deletes no replica, only the files of writes that were cut short. What does not belong goes to
//! quarantine and into the report. After a clean
//! stop the index is believed; after any other, what the index may lack is read: names and
//! headers of files, and the records appended since its last commit with all their bytes, as
//! those may be torn. Without an index every header is read and a new index built.

mod adopted;
mod claim;
mod recovery;
pub(super) mod scan;
pub(super) mod siblings;
pub(super) mod stamp;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tracing::{info, warn};

pub(super) use scan::{Found, scan, scan_segment};

use super::Shared;
use super::commit::Segments;
use super::condition::{Condition, Room};
use super::config::StoreConfig;
use super::error::StoreError;
use super::index::{Contents, Index, Scanned};
use super::layout::Paths;
use crate::env::{Disk, Env};
use claim::claim;
use recovery::Recovery;
use siblings::Siblings;
use stamp::Stamp;

/// Findings beyond these are counted only.
const FINDINGS_MAX: usize = 1000;
/// What opening a store found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// The store was new and has been made.
    pub initialized: bool,
    /// It had been closed, so that nothing had to be looked for.
    pub clean: bool,
    /// The index was missing or damaged and was built anew.
    pub index_rebuilt: bool,
    /// Replicas that the index did not have.
    pub adopted: u64,
    /// Replicas that the index had and that are not there.
    pub lost: u64,
    /// What was put in quarantine.
    pub quarantined: u64,
    /// Bytes of all that is in quarantine, now and from before.
    pub quarantine_bytes: u64,
    /// Other damage and foreign files, left where they are.
    pub noticed: u64,
    /// The first of what was lost, put in quarantine or noticed.
    pub findings: Vec<Finding>,
}

/// Something that recovery found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which file or chunk.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
}

impl RecoveryReport {
    /// Takes in what was found in another directory.
    pub fn add(&mut self, other: RecoveryReport) {
        self.initialized |= other.initialized;
        self.clean |= other.clean;
        self.index_rebuilt |= other.index_rebuilt;
        self.adopted += other.adopted;
        self.lost += other.lost;
        self.quarantined += other.quarantined;
        self.quarantine_bytes += other.quarantine_bytes;
        self.noticed += other.noticed;
        self.findings.extend(other.findings);
        self.findings.truncate(FINDINGS_MAX);
    }

    fn find(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        let finding = Finding {
            what: what.into(),
            reason: reason.into(),
        };
        warn!(
            what = finding.what,
            reason = finding.reason,
            "found while opening the store"
        );
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// What a directory looks like that nobody has taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is a store, and may know of others.
    Stamped(Stamp, Option<Siblings>),
    /// It has no stamp, or is not there.
    Unstamped,
}

/// Looks at a directory. Blocks.
pub(super) fn look(disk: &dyn Disk, paths: &Paths) -> Result<Look, StoreError> {
    match stamp::read(disk, paths)? {
        Some(stamp) => Ok(Look::Stamped(stamp, siblings::read(disk, paths)?)),
        None => Ok(Look::Unstamped),
    }
}

/// A store that is ready to be used.
pub(super) struct Recovered {
    pub(super) shared: Arc<Shared>,
    pub(super) segments: Segments,
    pub(super) report: RecoveryReport,
}

/// Opens and recovers. Blocks.
pub(super) fn recover(config: StoreConfig, env: Env) -> Result<Recovered, StoreError> {
    let paths = Paths {
        root: config.directory.clone(),
    };
    let mut report = RecoveryReport::default();
    let disk = Arc::clone(&env.disk);
    let (stamp, lock, initialized) = claim(&*disk, &env, &paths, &config)?;
    report.initialized = initialized;
    let space = disk
        .space(&paths.root)
        .map_err(|e| StoreError::Failed(format!("{}: {e}", paths.root.display())))?;
    let (index, contents) = open_index(&env, &paths, &config, &mut report)?;
    let shared = Arc::new(Shared {
        room: Arc::new(Room::new(config.reserve, space)),
        syncs: Semaphore::new(config.syncs_in_flight),
        stamp: Mutex::new(stamp),
        siblings: Mutex::new(siblings::read(&*disk, &paths)?),
        lock: Mutex::new(Some(lock)),
        parts: AtomicU64::new(env.random.next_u64() >> 1),
        condition: Condition::new(),
        index,
        paths,
        env,
        config,
    });
    report.clean = contents.clean && !report.index_rebuilt;
    let mut recovery = Recovery::new(&shared, report, contents.segments);
    recovery.mark_deleted(&contents.intents)?;
    let next = recovery.run(contents.scanned)?;
    let (report, live) = recovery.into_parts();
    info!(
        ?report,
        replicas = shared.index.totals().replicas,
        "opened the store"
    );
    let segments = Segments::new(Arc::clone(&shared), live, next);
    Ok(Recovered {
        shared,
        segments,
        report,
    })
}

/// Opens the index; puts a damaged one aside and begins a new one.
fn open_index(
    env: &Env,
    paths: &Paths,
    config: &StoreConfig,
    report: &mut RecoveryReport,
) -> Result<(Index, Contents), StoreError> {
    let path = paths.index();
    let failed = |e| StoreError::Failed(format!("{}: {e}", path.display()));
    let open = || Index::open(Arc::clone(&env.disk), path.clone(), config.index_cache);
    let existed = env.disk.exists(&path).map_err(failed)?;
    report.index_rebuilt = !existed && !report.initialized;
    let reason = match open() {
        Ok((index, contents)) => {
            // An index without marks was never committed: a crash came before.
            report.index_rebuilt |= contents.scanned == Scanned::default() && !report.initialized;
            return Ok((index, contents));
        }
        Err(StoreError::OutOfSpace(e)) => return Err(StoreError::OutOfSpace(e)),
        Err(e) => e.to_string(),
    };
    let name = format!("index.redb.{:016x}", env.random.next_u64());
    let target = paths.quarantine().join(&name);
    env.disk.rename(&path, &target).map_err(failed)?;
    for directory in [&paths.quarantine(), &paths.root] {
        env.disk.sync_directory(directory).map_err(failed)?;
    }
    report.index_rebuilt = true;
    report.quarantined += 1;
    report.find(name, reason);
    open()
}

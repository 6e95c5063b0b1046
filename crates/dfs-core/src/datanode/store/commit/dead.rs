//! Runs of deleted records, joined to one.
//!
//! A deleted record keeps a page: its header says how far it is to the next. When many are
//! deleted one by one, pages of headers are most of what is left of a segment. So whenever half
//! of the records in use since the last time are gone, neighbours that are deleted become one
//! record, whose first header says a length that spans them all, and all behind its page becomes
//! a hole. Nothing is copied, and no record that is in use is touched.
//!
//! ```text
//! before   │dead│hole│dead│hole│live ──│dead│hole│      a page each
//! after    │dead│hole ─────────│live ──│dead│hole│      one a run
//! ```
//! The header reaches the disk before the others are made holes. After a crash in between they
//! are behind it and not looked at; the next time they become holes.

use std::sync::Arc;

use crate::datanode::store::Shared;
use crate::datanode::store::error::StoreError;
use crate::datanode::store::layout::{PAGE_LEN, RecordState, ReplicaHeader};
use crate::datanode::store::open::{Found, scan};
use crate::env::{DiskFile, OpenMode};

/// A run of deleted records.
struct Run {
    offset: u64,
    header: ReplicaHeader,
    /// It is of more than one.
    is_joined: bool,
}

/// Joins the deleted records of a segment that nothing is appended to. Blocks.
///
/// # Errors
/// [`StoreError::Failed`], [`StoreError::Busy`].
pub(super) fn join_dead(shared: &Shared, segment: u64) -> Result<(), StoreError> {
    let path = shared.paths.segment(segment);
    let failed = |e: &dyn std::fmt::Display| StoreError::Failed(format!("{}: {e}", path.display()));
    let opened = shared.env.disk.open(&path, OpenMode::ReadWrite);
    let file: Arc<dyn DiskFile> = opened.map_err(|e| StoreError::from_open(&e, &path))?;
    // What is not a record is not touched: it may be one that rotted.
    let found = scan(&*file, PAGE_LEN).map_err(|e| failed(&e))?;
    let runs = runs(found);
    for run in runs.iter().filter(|run| run.is_joined) {
        // In place and within a sector, as every mark.
        let written = file.write_at(&run.header.encode(), run.offset);
        written.map_err(|e| failed(&e))?;
    }
    file.sync().map_err(|e| StoreError::from_sync(&e, &path))?;
    for run in &runs {
        let length = run.header.record_len().saturating_sub(PAGE_LEN);
        if length > 0 {
            let punched = file.punch_hole(run.offset + PAGE_LEN, length);
            punched.map_err(|e| StoreError::from_write(&e, &path))?;
        }
    }
    Ok(())
}

fn runs(found: Vec<Found>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for found in found {
        let Found::Record { offset, header } = found else {
            continue;
        };
        if header.state != RecordState::Deleted {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.offset + run.header.record_len() == offset => {
                let length = run.header.record_len() + header.record_len();
                run.header.cover(length);
                run.is_joined = true;
            }
            _ => runs.push(Run {
                offset,
                header,
                is_joined: false,
            }),
        }
    }
    runs
}

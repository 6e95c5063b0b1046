//! redb may panic where it meets a damaged page: here that becomes an error.
//!
//! Not done here: a write whose panic meets a second one while redb cleans up behind the first
//! ends the process, and nothing can stop that.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Fatal;

/// Does what reads or writes the database. A panic says that the database is damaged, or that the
/// program has a defect; either ends the replica.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Fatal>) -> Result<T, Fatal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Fatal::of_panic(&*panic)))
}

/// Rows up to the end or the first error, each read so.
pub(super) fn guarded_rows<T, I>(rows: I) -> impl Iterator<Item = Result<T, Fatal>>
where
    I: Iterator<Item = Result<T, Fatal>>,
{
    let mut rows = Some(rows);
    std::iter::from_fn(move || {
        let next = rows.as_mut()?;
        let row = guarded(|| next.next().transpose());
        if row.is_err() {
            rows = None;
        }
        row.transpose()
    })
}

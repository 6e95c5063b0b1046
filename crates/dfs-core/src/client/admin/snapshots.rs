//! Snapshots of directories: what one was at a moment. To make and remove them is for
//! administrators; `PATH/.snapshots/NAME` is read like any directory.

use crate::client::{Client, IntoLocation, changed_attr, mismatch};
use crate::error::Result;
use crate::types::snapshot::{SnapshotChange, SnapshotInfo};
use crate::types::{Answer, Attr, Change, Location, Name, Query};

/// How many are listed at a time.
const PAGE_LEN: u32 = 256;

impl Client {
    /// Begins what the first snapshot of a directory needs: all below it is gone through once, in
    /// the background. Where that was done nothing happens.
    ///
    /// # Errors
    /// `Denied` for whoever is no administrator; `NotFound`; `Invalid` if it is no directory.
    pub async fn prepare_snapshots(&self, path: impl IntoLocation) -> Result<()> {
        let at = path.into_location()?;
        self.change_snapshots(at, SnapshotChange::Prepare)
            .await
            .map(drop)
    }

    /// Makes a snapshot of a directory as it is at one moment between call and answer; gives the
    /// directory in it. It copies nothing, however much there is.
    ///
    /// # Errors
    /// `Busy` as long as the directory is not prepared; `Exists` if the name is taken; `Denied`
    /// for whoever is no administrator; `NotFound`; `Invalid` if it is no directory, or has as
    /// many snapshots as it can.
    pub async fn make_snapshot(&self, path: impl IntoLocation, name: &Name) -> Result<Attr> {
        let at = path.into_location()?;
        let name = name.clone();
        let made = self.change_snapshots(at, SnapshotChange::Create { name });
        made.await
    }

    /// Removes a snapshot. It is gone at once; the room of what only it had comes back in steps.
    ///
    /// # Errors
    /// `NotFound` if there is none of that name; `Denied` for whoever is no administrator.
    pub async fn remove_snapshot(&self, path: impl IntoLocation, name: &Name) -> Result<()> {
        let at = path.into_location()?;
        let name = name.clone();
        self.change_snapshots(at, SnapshotChange::Remove { name })
            .await
            .map(drop)
    }

    async fn change_snapshots(&self, at: Location, change: SnapshotChange) -> Result<Attr> {
        changed_attr(self.change(Change::Snapshot { at, change }).await?)
    }

    /// The snapshots of a directory, by name.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever may not list the directory; `Invalid` if it is none.
    pub async fn snapshots(&self, path: impl IntoLocation) -> Result<Vec<SnapshotInfo>> {
        let at = path.into_location()?;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = Query::Snapshots {
                at: at.clone(),
                after,
                limit: PAGE_LEN,
            };
            let page = match self.ask(query).await? {
                Answer::Snapshots(page) => page,
                other => return Err(mismatch(&other)),
            };
            found.extend(page.snapshots);
            after = found.last().map(|last: &SnapshotInfo| last.name.clone());
            if !page.more || after.is_none() {
                return Ok(found);
            }
        }
    }
}

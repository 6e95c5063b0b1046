//! Quotas: how much may be in a directory. To set them is for administrators.

use crate::client::{Client, IntoLocation, mismatch};
use crate::error::Result;
use crate::types::quota::{Limits, QuotaChange, QuotaInfo};
use crate::types::{Answer, Change, Query};

/// How many quotas are looked at at a time.
const PAGE_LEN: u32 = 256;

impl Client {
    /// Limits what may be in a directory with all below it; limits that are not given stay. What
    /// is there already is counted first, which takes moments, or minutes where millions are
    /// below: until then the quota does not bind.
    ///
    /// # Errors
    /// `OutOfSpace` if more is there already, unless `force`: then nothing more is taken until
    /// less is there. `Denied` for whoever is no administrator; `NotFound`; `Invalid` if it is no
    /// directory, or nothing is limited.
    pub async fn set_quota(
        &self,
        path: impl IntoLocation,
        limits: Limits,
        force: bool,
    ) -> Result<()> {
        let at = path.into_location()?;
        let change = QuotaChange::Set { limits, force };
        self.change(Change::Quota { at, change }).await.map(drop)
    }

    /// Takes the quota of a directory away.
    ///
    /// # Errors
    /// `NotFound` if it has none; `Denied` for whoever is no administrator.
    pub async fn remove_quota(&self, path: impl IntoLocation) -> Result<()> {
        let at = path.into_location()?;
        let change = QuotaChange::Remove;
        self.change(Change::Quota { at, change }).await.map(drop)
    }

    /// The quotas that something is counted for, nearest first.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever may not read it.
    pub async fn quotas(&self, path: impl IntoLocation) -> Result<Vec<QuotaInfo>> {
        let at = path.into_location()?;
        match self.ask(Query::Quotas { at }).await? {
            Answer::Quotas(quotas) => Ok(quotas),
            other => Err(mismatch(&other)),
        }
    }

    /// The quotas of a directory and of those below it.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever is no administrator.
    pub async fn quotas_below(&self, path: impl IntoLocation) -> Result<Vec<QuotaInfo>> {
        let at = path.into_location()?;
        let (mut quotas, mut after) = (Vec::new(), None);
        loop {
            let query = Query::QuotasBelow {
                at: at.clone(),
                after,
                limit: PAGE_LEN,
            };
            match self.ask(query).await? {
                Answer::QuotaPage(page) => {
                    quotas.extend(page.quotas);
                    if !page.more || page.last.is_none() {
                        return Ok(quotas);
                    }
                    after = page.last;
                }
                other => return Err(mismatch(&other)),
            }
        }
    }
}

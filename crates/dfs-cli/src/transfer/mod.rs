//! Many files at a time: into the cluster, out of it, and within it.

pub(crate) mod copy;
pub(crate) mod download;
pub(crate) mod stream;
pub(crate) mod target;
pub(crate) mod upload;

use std::future::Future;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::error::Result;
use crate::output::Tally;

/// How many files are on their way at a time, unless said otherwise.
pub(crate) const JOBS: usize = 8;

/// Runs work, several pieces at a time; failures are told and gone on after.
pub(crate) struct Crew<'a, F> {
    running: FuturesUnordered<F>,
    jobs: usize,
    tally: &'a Tally<'a>,
}

impl<'a, F: Future<Output = Result<()>>> Crew<'a, F> {
    /// A crew for `jobs` pieces of work at a time.
    pub(crate) fn new(jobs: usize, tally: &'a Tally<'a>) -> Crew<'a, F> {
        Crew {
            running: FuturesUnordered::new(),
            jobs: jobs.max(1),
            tally,
        }
    }

    /// Begins a piece of work, when there is room for it.
    ///
    /// # Errors
    /// There is no point in going on.
    pub(crate) async fn add(&mut self, work: F) -> Result<()> {
        while self.running.len() >= self.jobs {
            self.next().await?;
        }
        self.running.push(work);
        Ok(())
    }

    /// Waits for all that was begun.
    ///
    /// # Errors
    /// There is no point in going on.
    pub(crate) async fn finish(mut self) -> Result<()> {
        while !self.running.is_empty() {
            self.next().await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<()> {
        if let Some(result) = self.running.next().await {
            self.tally.take(result)?;
        }
        Ok(())
    }
}

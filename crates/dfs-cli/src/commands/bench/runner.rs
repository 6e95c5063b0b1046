//! Runs workloads and times them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dfs_core::client::{Client, GetOptions, PutOptions};
use dfs_core::types::change::Removal;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::measure::{Latencies, Measured, Round, Unit};
use super::workloads::{Step, Workload};
use crate::error::{Doing, Failure, Result};
use crate::output::Output;

/// Files this short are written in one piece.
const ONE_PIECE_MAX: u64 = 1 << 20;
/// Entries of the directory that `Step::List` lists.
const FEW: u64 = 16;

/// Runs workloads, in a directory of its own at the top of the cluster.
#[derive(Debug)]
pub(crate) struct Runner<'a> {
    client: Client,
    rounds: u32,
    output: &'a Output,
    top: String,
}

/// What the workers of one step share.
struct Job {
    client: Client,
    workload: Workload,
    step: Step,
    dir: String,
    bytes: Bytes,
    next: AtomicU64,
}

impl<'a> Runner<'a> {
    /// A runner of so many rounds.
    pub(crate) fn new(client: Client, rounds: u32, output: &'a Output) -> Runner<'a> {
        Runner {
            client,
            rounds,
            output,
            top: format!("/dfs-bench-{}", std::process::id()),
        }
    }

    /// Runs all rounds of a workload; what each of its steps measured.
    ///
    /// # Errors
    /// An operation failed.
    pub(crate) async fn run(&self, workload: &Workload) -> Result<Vec<(Step, Measured)>> {
        // For each step, its rounds.
        let mut rounds: Vec<Vec<Round>> = workload.steps.iter().map(|_| Vec::new()).collect();
        let area = workload.area.name();
        for n in 1..=self.rounds {
            self.output.note(format_args!(
                "{area}{}: {} in flight, round {n} of {}",
                workload.label, workload.in_flight, self.rounds
            ));
            let dir = self.set_up(workload).await?;
            let steps = self.steps(workload, &dir).await;
            let removed = self.client.remove(&self.top, Removal::Tree, true).await;
            for (rounds, round) in rounds.iter_mut().zip(steps?) {
                rounds.push(round);
            }
            removed.doing("remove", &self.top)?;
        }
        let measured = workload.steps.iter().zip(&rounds).map(|(step, rounds)| {
            let measured = Measured::new(step.unit(workload), rounds)?;
            Ok((*step, measured))
        });
        let measured: std::io::Result<_> = measured.collect();
        measured.doing("measure", area)
    }

    async fn set_up(&self, workload: &Workload) -> Result<String> {
        let dir = format!("{}/files", self.top);
        let made = self.client.create_dir_all(&dir).await;
        made.doing("make directory", &dir)?;
        if let Some(policy) = workload.policy {
            let set = self.client.set_policy(&dir, policy).await;
            set.doing("set the policy of", &dir)?;
        }
        if workload.steps.contains(&Step::List) {
            let few = format!("{}/few", self.top);
            let made = self.client.create_dir_all(&few).await;
            made.doing("make directory", &few)?;
            for n in 0..FEW {
                let made = self.client.create_file(format!("{few}/{n}"), true).await;
                made.doing("create in", &few)?;
            }
        }
        Ok(dir)
    }

    async fn steps(&self, workload: &Workload, dir: &str) -> Result<Vec<Round>> {
        let mut rounds = Vec::new();
        for step in workload.steps {
            let in_one_piece = workload.len.min(ONE_PIECE_MAX);
            let job = Job {
                client: self.client.clone(),
                workload: workload.clone(),
                step: *step,
                dir: dir.to_owned(),
                bytes: Bytes::from(vec![7; usize::try_from(in_one_piece).unwrap_or(0)]),
                next: AtomicU64::new(0),
            };
            rounds.push(round(Arc::new(job)).await?);
        }
        Ok(rounds)
    }
}

/// One step over all files, by as many workers as operations are to be in flight.
async fn round(job: Arc<Job>) -> Result<Round> {
    let count = match job.step {
        Step::ListAll => 1,
        _ => job.workload.files,
    };
    let mut workers = JoinSet::new();
    let begin = Instant::now();
    for _ in 0..job
        .workload
        .in_flight
        .min(usize::try_from(count).unwrap_or(usize::MAX))
    {
        let job = job.clone();
        workers.spawn(async move {
            let mut latencies = Latencies::new().doing("measure", &job.dir)?;
            loop {
                let n = job.next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok(latencies);
                }
                let start = Instant::now();
                job.once(n).await?;
                latencies.record(start.elapsed());
            }
        });
    }
    let mut latencies = Latencies::new().doing("measure", &job.dir)?;
    while let Some(worker) = workers.join_next().await {
        let worker = worker.map_err(|_| Failure::refused("a worker of the bench panicked"))?;
        latencies.add(&worker?);
    }
    Ok(Round {
        amount: match (job.step, job.step.unit(&job.workload)) {
            (Step::ListAll, _) => job.workload.files,
            (_, Unit::Operations) => count,
            (_, Unit::Bytes) => count * job.workload.len,
        },
        elapsed: begin.elapsed(),
        latencies,
    })
}

impl Job {
    async fn once(&self, n: u64) -> Result<()> {
        let client = &self.client;
        let path = format!("{}/{n:08}", self.dir);
        let renamed = format!("{path}.renamed");
        let done = match self.step {
            Step::Create => client.create_file(&path, true).await.map(drop),
            Step::Stat => client.metadata(&path).await.map(drop),
            Step::List => self.list(&self.dir.replace("/files", "/few")).await,
            Step::ListAll => self.list(&self.dir).await,
            Step::Rename => client.rename(&path, &renamed).await,
            Step::Unlink => client.remove(&renamed, Removal::File, true).await.map(drop),
            Step::Write if self.workload.len <= ONE_PIECE_MAX => {
                client.write(&path, self.bytes.clone()).await.map(drop)
            }
            Step::Write => {
                let len = self.workload.len;
                let options = PutOptions {
                    size_hint: Some(len),
                    ..PutOptions::new(true)
                };
                let source = tokio::io::repeat(7).take(len);
                client.put(&path, source, options).await.map(drop)
            }
            Step::Read => {
                let mut sink = tokio::io::sink();
                let options = GetOptions::default();
                client.get(&path, &mut sink, options).await.map(drop)
            }
        };
        done.doing(self.step.name(), &path)
    }

    async fn list(&self, dir: &str) -> dfs_core::error::Result<()> {
        let mut entries = self.client.read_dir(dir).await?;
        while entries.next_entry().await?.is_some() {}
        Ok(())
    }
}

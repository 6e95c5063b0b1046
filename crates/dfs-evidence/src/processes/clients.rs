//! Clients: workers of the workloads, in processes that may be killed.
//!
//! A client process writes each event to its own file before anything else happens, so its
//! history survives it. Its times are of the monotonic clock, which all of them share.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dfs_core::client::{Client, Profile};
use dfs_core::env::Env;
use futures::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::network::{Host, Network};
use super::process::{Circumstances, Process};
use crate::history::{Event, Recorder, read};
use crate::workloads::{Worker, Workload, named};

/// The argument after which a program is given what its client is to do.
pub const CLIENT: &str = "--be-a-client";

/// What a client process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Task {
    phase: Phase,
    profile: Profile,
    workloads: Vec<String>,
    /// Workers of each workload.
    workers: u64,
    seed: u64,
    /// Which process it is of all that there are in the run: makes its numbers its own.
    incarnation: u64,
    /// When the run began.
    began: u64,
    history: PathBuf,
}

impl Task {
    /// How long one operation may take, with all its attempts. Some give up before a fault ends,
    /// and do not know what became of it.
    fn patience(&self) -> Duration {
        let turn = match self.phase {
            Phase::Work => self.seed.wrapping_add(self.incarnation) % 3,
            Phase::Prepare | Phase::Conclude => 0,
        };
        Duration::from_secs(match turn {
            1 => 3,
            2 => 20,
            _ => 10,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Prepare,
    Work,
    Conclude,
}

/// How long the beginning and the last look may take: it reads everything.
const PHASE: Duration = Duration::from_secs(300);
/// More operations of unknown outcome than these has no process.
const ACTORS: u64 = 1_000_000;

/// Nanoseconds on the clock that all processes of a machine share.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = now.tv_sec.unsigned_abs();
    seconds * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Is a client process, until it has done what `task` says or is told to stop.
///
/// # Errors
/// It cannot do it, or its history cannot be written.
pub async fn client_main(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut told = signal(SignalKind::terminate())?;
    let telling = Arc::clone(&stop);
    tokio::spawn(async move {
        told.recv().await;
        telling.store(true, Ordering::Relaxed);
    });
    let mut workloads: Vec<Arc<dyn Workload>> = Vec::new();
    for name in &task.workloads {
        let unknown = || Error::other(format!("no workload is called `{name}`"));
        workloads.push(Arc::from(named(name).ok_or_else(unknown)?));
    }
    if task.phase == Phase::Prepare {
        let client = connect(&task).await.map_err(Error::other)?;
        for workload in workloads {
            workload.prepare(&client).await.map_err(Error::other)?;
        }
        return Ok(());
    }
    work(&task, &workloads, &stop).await
}

async fn work(task: &Task, workloads: &[Arc<dyn Workload>], stop: &Arc<AtomicBool>) -> Result<()> {
    let file = File::options()
        .create_new(true)
        .write(true)
        .open(&task.history)?;
    let began = task.began;
    let recorder = Recorder::with_sink(move || now() - began, file);
    let actors = Arc::new(AtomicU64::new(task.incarnation * ACTORS));
    let mut working = Vec::new();
    for (kind, workload) in workloads.iter().enumerate() {
        let workers = match task.phase {
            Phase::Work => task.workers,
            _ => 1,
        };
        for nth in 0..workers {
            let number = task.incarnation * task.workers + nth;
            let seed = task.seed ^ (number << 8) ^ kind as u64;
            let random = StdRng::seed_from_u64(seed);
            let (recorder, actors) = (recorder.clone(), Arc::clone(&actors));
            let (task, workload) = (task.clone(), Arc::clone(workload));
            let (stop, stopped) = (Arc::clone(stop), Arc::clone(stop));
            let make = move |client| Worker::new(number, client, random, recorder, actors, stop);
            working.push(tokio::spawn(async move {
                let worker = make(connect_until(&task, &stopped).await?);
                match task.phase {
                    Phase::Conclude => workload.conclude(worker).await,
                    _ => workload.work(worker).await,
                }
                Ok::<(), Error>(())
            }));
        }
    }
    for ended in join_all(working).await {
        ended.map_err(|e| Error::other(format!("a worker: {e}")))??;
    }
    match recorder.failure() {
        None => Ok(()),
        Some(failure) => Err(Error::other(format!("the history is not whole: {failure}"))),
    }
}

async fn connect(task: &Task) -> dfs_core::error::Result<Client> {
    let mut config = task.profile.config()?;
    config.deadlines.operation = task.patience();
    Client::connect(config, Env::real()).await
}

/// A client, as soon as masters answer. They must, when it is time to stop: all is healed then.
async fn connect_until(task: &Task, stop: &AtomicBool) -> Result<Client> {
    loop {
        let is_late = stop.load(Ordering::Relaxed);
        match connect(task).await {
            Ok(client) => return Ok(client),
            Err(error) if is_late => {
                return Err(Error::other(format!("no master answers: {error}")));
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// What client processes run.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) profile: Profile,
    pub(super) workloads: Vec<String>,
    pub(super) workers: u64,
    pub(super) seed: u64,
    pub(super) began: u64,
    pub(super) directory: PathBuf,
}

/// One host for each client, and the processes on them.
pub(super) struct Clients {
    work: Work,
    hosts: Vec<Host>,
    processes: Vec<Option<Process>>,
    /// Processes so far.
    incarnations: u64,
}

impl Clients {
    /// Makes the hosts. Nothing runs on them yet.
    pub(super) async fn new(network: &mut Network, count: usize, work: Work) -> Result<Clients> {
        let mut hosts = Vec::new();
        for number in 1..=count {
            hosts.push(network.add(&format!("c{number}")).await?);
        }
        Ok(Clients {
            work,
            processes: hosts.iter().map(|_| None).collect(),
            hosts,
            incarnations: 0,
        })
    }

    pub(super) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Starts all clients.
    pub(super) fn start_all(&mut self) -> Result<()> {
        (0..self.hosts.len()).try_for_each(|place| self.start(place))
    }

    /// Starts the client at a place, as another than it was.
    pub(super) fn start(&mut self, place: usize) -> Result<()> {
        let process = self.launch(place, Phase::Work)?;
        if let Some(slot) = self.processes.get_mut(place) {
            *slot = Some(process);
        }
        Ok(())
    }

    /// Kills the client at a place.
    pub(super) async fn kill(&mut self, place: usize) -> Result<()> {
        match self.processes.get_mut(place).and_then(Option::take) {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Tells all clients to stop, and waits until they have.
    pub(super) async fn stop_all(&mut self) -> Result<()> {
        let running = self.processes.iter_mut().filter_map(Option::take);
        let stopping = join_all(running.map(Process::stop)).await;
        for (host, ended) in self.hosts.iter().zip(stopping) {
            let ended = ended.map_err(|e| Error::other(format!("{}: {e}", host.name)))?;
            expect_success(&host.name, ended, &self.work)?;
        }
        Ok(())
    }

    /// Makes what the workloads need.
    pub(super) async fn prepare(&mut self) -> Result<()> {
        self.run_to_end(Phase::Prepare).await
    }

    /// Lets the workloads have their last look.
    pub(super) async fn conclude(&mut self) -> Result<()> {
        self.run_to_end(Phase::Conclude).await
    }

    async fn run_to_end(&mut self, phase: Phase) -> Result<()> {
        let mut process = self.launch(0, phase)?;
        let ended = process.ending(PHASE).await?;
        expect_success(&format!("{phase:?}"), ended, &self.work)
    }

    fn launch(&mut self, place: usize, phase: Phase) -> Result<Process> {
        let host = self.hosts.get(place);
        let host = host.ok_or_else(|| Error::other(format!("there is no client {place}")))?;
        let incarnation = self.incarnations;
        self.incarnations += 1;
        let directory = &self.work.directory;
        let task = Task {
            phase,
            profile: self.work.profile.clone(),
            workloads: self.work.workloads.clone(),
            workers: self.work.workers,
            seed: self.work.seed,
            incarnation,
            began: self.work.began,
            history: directory.join(format!("client-{incarnation:03}.jsonl")),
        };
        let arguments = [CLIENT.to_owned(), serde_json::to_string(&task)?];
        let program = std::env::current_exe()?;
        let log = directory.join("clients.log");
        Process::launch(host, &program, &arguments, &Circumstances::default(), &log)
    }

    /// What all clients wrote down.
    pub(super) fn histories(&self) -> Result<Vec<Vec<Event>>> {
        let mut histories = Vec::new();
        for incarnation in 0..self.incarnations {
            let name = format!("client-{incarnation:03}.jsonl");
            let text = match std::fs::read_to_string(self.work.directory.join(&name)) {
                Ok(text) => text,
                // It was killed before it could write anything down, or had nothing to.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::other(format!("{name}: {error}"))),
            };
            let history = read(&text).map_err(|e| Error::other(format!("{name}: {e}")))?;
            histories.push(history.events);
        }
        Ok(histories)
    }
}

fn expect_success(name: &str, ended: ExitStatus, work: &Work) -> Result<()> {
    if ended.success() {
        return Ok(());
    }
    let log = std::fs::read_to_string(work.directory.join("clients.log")).unwrap_or_default();
    let last = log.lines().last().unwrap_or_default();
    Err(Error::other(format!("client {name}: {ended}: {last}")))
}

//! Data nodes die for good: how long it takes to notice, and to make again what they held, while
//! nothing else is done, and under load.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dfs_core::client::{Client, GetOptions, PutOptions};
use dfs_core::env::{Random, SeededRandom};
use dfs_core::master::MasterConfig;
use dfs_core::proto::metadata::{ClusterStatus, Liveness, NodeInfo};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, MASTERS, name};
use crate::content::{Comparing, Feed, Watch};
use crate::figures::Figure;
use crate::{Outcome, Stage};

const DATA_NODES: usize = 6;
const MIB: u64 = 1 << 20;
/// Bytes of a file that is stored, and of one that the load writes.
const STORED: u64 = 64 * MIB;
const WRITTEN: u64 = 8 * MIB;
const READERS: u64 = 2;
const WRITERS: u64 = 1;
/// How long the load is watched when all is well, before and after.
const CALM: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(1200);
const POLL: Duration = Duration::from_millis(100);

pub(crate) async fn measure(stage: &Stage<'_>) -> Outcome<Vec<Figure>> {
    let mut cluster = Cluster::found(stage.directory, DATA_NODES).await?;
    let client = cluster.client().await?;
    let files = (stage.options.stored * MIB).div_ceil(STORED);
    for number in 0..files {
        put(&client, &path(number), number, STORED).await?;
    }
    await_status(&client, "all copies are made", is_whole).await?;

    let mut floors = vec![disk_rate(stage.directory)?];
    let quiet = Loss::of(&mut cluster, &client, MASTERS, || 0).await?;
    floors.push(disk_rate(stage.directory)?);
    eprintln!("without load: {quiet:?}");

    let load = Load::start(&cluster, files, stage.random.below(u64::MAX)).await?;
    let before = load.rate(CALM).await;
    let busy = Loss::of(&mut cluster, &client, MASTERS + 1, || load.bytes()).await?;
    let after = load.rate(CALM).await;
    load.stop().await?;
    eprintln!("under load: {busy:?}; the load had {before} and {after} MiB/s before and after");

    for number in 0..files {
        get(&client, &path(number), number, STORED).await?;
    }
    cluster.stop().await?;
    let shares = Shares {
        of_allowed: quiet.rate() * 100 / allowed(&floors),
        of_load: busy.foreground * 200 / (before + after).max(1),
    };
    Ok(figures(&quiet, &busy, floors, shares))
}

/// What became of a data node that was killed, from the signal on.
#[derive(Debug)]
struct Loss {
    /// What it held.
    bytes: u64,
    /// When it was given up, when the first copy was made, and the last.
    noticed: Duration,
    first: Duration,
    whole: Duration,
    /// MiB a second of the load while copies were made.
    foreground: u64,
}

impl Loss {
    async fn of(
        cluster: &mut Cluster,
        client: &Client,
        place: usize,
        load: impl Fn() -> u64,
    ) -> Outcome<Loss> {
        let address = cluster.address(place).to_owned();
        let find = |status: &ClusterStatus| -> Option<NodeInfo> {
            let mut nodes = status.nodes.iter();
            nodes.find(|node| node.address == address).cloned()
        };
        let held = find(&client.status().await?).ok_or("it is not registered")?;
        let killed = Instant::now();
        cluster.kill(place).await?;
        let is =
            |status: &ClusterStatus, so: &dyn Fn(NodeInfo) -> bool| find(status).is_some_and(so);
        let given_up = |status: &ClusterStatus| is(status, &|n| n.liveness == Liveness::Dead);
        await_status(client, "it is given up", given_up).await?;
        let (noticed, begun) = (killed.elapsed(), load());
        let copied = |status: &ClusterStatus| is(status, &|n| n.replicas < held.replicas);
        await_status(client, "a copy is made", copied).await?;
        let first = killed.elapsed();
        let all = |status: &ClusterStatus| is_whole(status) && is(status, &|n| n.replicas == 0);
        await_status(client, "all copies are made", all).await?;
        let whole = killed.elapsed();
        eprintln!(
            "{} was killed, and all is whole after {whole:?}",
            name(place)
        );
        Ok(Loss {
            bytes: held.bytes,
            noticed,
            first,
            whole,
            foreground: mib_a_second(load() - begun, whole - noticed),
        })
    }

    /// MiB copied a second, from when it was given up.
    fn rate(&self) -> u64 {
        mib_a_second(self.bytes, self.whole - self.noticed)
    }
}

/// Readers and writers at work.
struct Load {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    tasks: JoinSet<Outcome<()>>,
}

impl Load {
    async fn start(cluster: &Cluster, files: u64, seed: u64) -> Outcome<Load> {
        let (stop, bytes) = (Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for worker in 0..READERS + WRITERS {
            let worker = Worker {
                client: cluster.client().await?,
                number: files + worker,
                random: SeededRandom::new(seed ^ worker),
                stop: Arc::clone(&stop),
                bytes: Arc::clone(&bytes),
            };
            match worker.number - files < READERS {
                true => tasks.spawn(worker.read(files)),
                false => tasks.spawn(worker.write()),
            };
        }
        Ok(Load { stop, bytes, tasks })
    }

    /// Bytes read and written so far.
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// MiB a second, over so long.
    async fn rate(&self, time: Duration) -> u64 {
        let (begun, before) = (Instant::now(), self.bytes());
        sleep(time).await;
        mib_a_second(self.bytes() - before, begun.elapsed())
    }

    async fn stop(mut self) -> Outcome<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(worker) = self.tasks.join_next().await {
            worker??;
        }
        Ok(())
    }
}

struct Worker {
    client: Client,
    number: u64,
    random: SeededRandom,
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
}

impl Worker {
    async fn read(self, files: u64) -> Outcome<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.random.below(files);
            get(&self.client, &path(number), number, STORED).await?;
            self.bytes.fetch_add(STORED, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes one file again and again.
    async fn write(self) -> Outcome<()> {
        while !self.stop.load(Ordering::Relaxed) {
            put(&self.client, &path(self.number), self.number, WRITTEN).await?;
            self.bytes.fetch_add(WRITTEN, Ordering::Relaxed);
        }
        Ok(())
    }
}

async fn put(client: &Client, path: &str, number: u64, length: u64) -> Outcome<()> {
    let (mut watch, _due) = Watch::begin(length);
    let source = Feed {
        number,
        length,
        watch: &mut watch,
    };
    let mut options = PutOptions::new(true);
    options.size_hint = Some(length);
    client.put(path, source, options).await?;
    Ok(())
}

async fn get(client: &Client, path: &str, number: u64, length: u64) -> Outcome<()> {
    let (watch, _due) = Watch::begin(length);
    let mut sink = Comparing { number, watch };
    client.get(path, &mut sink, GetOptions::default()).await?;
    match sink.watch.position() == length {
        true => Ok(()),
        false => Err(format!("{path}: {} bytes of {length}", sink.watch.position()).into()),
    }
}

fn path(number: u64) -> String {
    format!("/{number}")
}

fn is_whole(status: &ClusterStatus) -> bool {
    let chunks = status.chunks;
    chunks.surveyed && chunks.under_replicated + chunks.repairing + chunks.missing == 0
}

/// Waits until the leader says so.
async fn await_status(
    client: &Client,
    what: &str,
    is_so: impl Fn(&ClusterStatus) -> bool,
) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = client.status().await?;
        match is_so(&status) {
            true => return Ok(()),
            false if Instant::now() > deadline => {
                return Err(format!("waited in vain until {what}: {:?}", status.chunks).into());
            }
            false => sleep(POLL).await,
        }
    }
}

/// MiB a second that the disk writes and syncs, a file of a large chunk after the other.
fn disk_rate(directory: &Path) -> Outcome<u64> {
    const FILES: u64 = 16;
    let chunk = vec![7; STORED as usize];
    let begun = Instant::now();
    for number in 0..FILES {
        let path = directory.join(format!("floor{number}"));
        let mut file = std::fs::File::create(&path)?;
        file.write_all(&chunk)?;
        file.sync_data()?;
        std::fs::remove_file(path)?;
    }
    Ok(mib_a_second(FILES * STORED, begun.elapsed()))
}

/// What disk and budget allow, in MiB a second: every copy is made by one of the nodes that are
/// left and read from another.
fn allowed(floors: &[u64]) -> u64 {
    let disk = floors.iter().sum::<u64>() / floors.len().max(1) as u64;
    let budget = MasterConfig::new("").repair;
    let left = DATA_NODES as u64 - 1;
    let budget = (budget.bytes_per_second_per_node * left / 2).min(budget.bytes_per_second);
    disk.min(budget / MIB).max(1)
}

fn mib_a_second(bytes: u64, time: Duration) -> u64 {
    (bytes as f64 / MIB as f64 / time.as_secs_f64().max(0.001)).round() as u64
}

/// Hundredths.
struct Shares {
    of_allowed: u64,
    of_load: u64,
}

fn figures(quiet: &Loss, busy: &Loss, floors: Vec<u64>, shares: Shares) -> Vec<Figure> {
    let times = |what: &str, time: fn(&Loss) -> Duration, how| {
        let what = format!("data node killed for good: {what}");
        Figure::times(what, &[time(quiet), time(busy)], how)
    };
    let rate = |what: &str, rates, how| Figure::amount(what, "MiB/s", rates, how);
    let share = |what: &str, share, how| Figure::amount(what, "%", vec![share], how);
    vec![
        times(
            "until it is given up",
            |loss| loss.noticed,
            "from the signal until the leader says that it is dead; --dead-after is not changed",
        ),
        times(
            "until the first copy",
            |loss| loss.first,
            "until the map counts on another node for the first of its replicas",
        ),
        times(
            "until all is whole",
            |loss| loss.whole,
            "until no chunk lacks a copy; once without load, and once with readers and a writer",
        ),
        rate(
            "copies, without load",
            vec![quiet.rate()],
            "what it held, over the time from when it was given up until all was whole",
        ),
        rate(
            "  disk: written and synced",
            floors,
            "files as long as a chunk, one after the other, by this process, before and after",
        ),
        share(
            "  of what disk and budget allow",
            shares.of_allowed,
            "the budget: each data node makes and serves 128 MiB of copies a second",
        )
        .at_least(50),
        rate(
            "copies, under load",
            vec![busy.rate()],
            "the same with two readers of whole files and a writer, without pauses",
        ),
        share(
            "  of its rate the load keeps",
            shares.of_load,
            "bytes read and written a second while copies are made, of those when all is well, \
             half of it before and half after",
        )
        .at_least(70),
    ]
}

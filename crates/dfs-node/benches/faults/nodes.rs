//! A data node dies, or hangs, in the middle of a file that is read or written.

use std::time::Duration;

use dfs_core::client::{Client, GetOptions, PutOptions};
use dfs_core::env::Random;
use dfs_core::proto::metadata::Liveness;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cluster::{Cluster, MASTERS, name};
use crate::content::{Comparing, Feed, Watch};
use crate::figures::Figure;
use crate::{Outcome, Stage, until};

const DATA_NODES: usize = 4;
const MIB: u64 = 1 << 20;
/// Data nodes of a pipeline.
const PIPELINE: usize = 3;
/// Reads, and writes, that are hit.
const ROUNDS: u64 = 8;
/// How long the data nodes are looked at to see which are at work.
const BUSY_FOR: Duration = Duration::from_millis(10);

/// What happens to a data node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Hung,
}

/// The longest stall of each transfer.
#[derive(Default)]
struct Stalls {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
}

pub(crate) async fn measure(stage: &Stage<'_>, fault: Fault) -> Outcome<Vec<Figure>> {
    let mut cluster = Cluster::found(stage.directory, DATA_NODES).await?;
    all_well(&cluster.client().await?).await?;
    let (mut quiet, mut faulty) = (Stalls::default(), Stalls::default());
    let length = stage.options.mib * MIB;
    for round in 0..ROUNDS {
        let number = 2 * round;
        quiet.writes.push(write(&cluster, number, length).await?);
        quiet.reads.push(read(&cluster, number, length).await?);
        let hit = Hit::plan(stage, fault, length);
        let (place, stall) = hit.in_a_read(&mut cluster, number, length).await?;
        eprintln!("{} {fault:?} in a read: stall {stall:?}", name(place));
        faulty.reads.push(stall);

        let hit = Hit::plan(stage, fault, length);
        let (place, stall) = hit.in_a_write(&mut cluster, number + 1, length).await?;
        eprintln!("{} {fault:?} in a write: stall {stall:?}", name(place));
        faulty.writes.push(stall);
        // What was written meanwhile is whole.
        read(&cluster, number + 1, length).await?;
    }
    cluster.stop().await?;
    Ok(figures(fault, &quiet, &faulty))
}

/// A fault to come.
#[derive(Debug, Clone, Copy)]
struct Hit {
    fault: Fault,
    /// How many bytes of the file go by before.
    at: u64,
    /// Which of the data nodes at work it hits, in the order of how busy they are.
    rank: usize,
}

impl Hit {
    /// Between a fifth and a half of the file.
    fn plan(stage: &Stage<'_>, fault: Fault, length: u64) -> Hit {
        let at = length / 5 + stage.random.below(length * 3 / 10);
        let rank = stage.random.below(PIPELINE as u64) as usize;
        Hit { fault, at, rank }
    }

    /// Hits the data node that sends the most while a file is read.
    async fn in_a_read(
        self,
        cluster: &mut Cluster,
        number: u64,
        length: u64,
    ) -> Outcome<(usize, Duration)> {
        let (watch, due) = Watch::begin(self.at);
        let reading = tokio::spawn(get(cluster.client().await?, number, length, watch));
        self.strike(cluster, due, 0, reading).await
    }

    /// Hits a data node of the pipeline while a file is written.
    async fn in_a_write(
        self,
        cluster: &mut Cluster,
        number: u64,
        length: u64,
    ) -> Outcome<(usize, Duration)> {
        let (watch, due) = Watch::begin(self.at);
        let writing = tokio::spawn(put(cluster.client().await?, number, length, watch));
        self.strike(cluster, due, self.rank, writing).await
    }

    /// Which data node was hit, and the longest stall of the transfer that it was part of.
    async fn strike(
        self,
        cluster: &mut Cluster,
        due: oneshot::Receiver<()>,
        rank: usize,
        transfer: JoinHandle<Outcome<Duration>>,
    ) -> Outcome<(usize, Duration)> {
        due.await?;
        let place = busy(cluster, rank).await?;
        match self.fault {
            Fault::Killed => cluster.kill(place).await?,
            Fault::Hung => cluster.process(place)?.signal("STOP").await?,
        }
        if transfer.is_finished() {
            return Err("the file was too short: all was over before the fault".into());
        }
        let stall = transfer.await?;
        self.heal(cluster, place).await?;
        Ok((place, stall?))
    }

    async fn heal(self, cluster: &mut Cluster, place: usize) -> Outcome<()> {
        match self.fault {
            Fault::Killed => cluster.start(place, false).await?,
            Fault::Hung => cluster.process(place)?.signal("CONT").await?,
        }
        all_well(&cluster.client().await?).await
    }
}

/// The data node that moves the most bytes now, or the one of this rank after it.
async fn busy(cluster: &Cluster, rank: usize) -> Outcome<usize> {
    let moved = || -> Outcome<Vec<u64>> {
        let places = MASTERS..cluster.places();
        places
            .map(|place| bytes_moved(cluster.pid(place).ok_or("a data node has ended")?))
            .collect()
    };
    let before = moved()?;
    sleep(BUSY_FOR).await;
    let mut by: Vec<(u64, usize)> = moved()?
        .into_iter()
        .zip(before)
        .zip(MASTERS..)
        .map(|((after, before), place)| (after - before, place))
        .collect();
    by.sort_unstable();
    by.reverse();
    let chosen = by.get(rank).or(by.first()).ok_or("no data nodes")?;
    Ok(chosen.1)
}

/// Bytes that a process has read and written so far, from and to files and sockets.
fn bytes_moved(id: u32) -> Outcome<u64> {
    let io = std::fs::read_to_string(format!("/proc/{id}/io"))?;
    let values = io.lines().filter_map(|line| {
        line.strip_prefix("rchar: ")
            .or_else(|| line.strip_prefix("wchar: "))
    });
    let mut sum = 0;
    for value in values {
        sum += value.parse::<u64>()?;
    }
    Ok(sum)
}

async fn read(cluster: &Cluster, number: u64, length: u64) -> Outcome<Duration> {
    let (watch, _due) = Watch::begin(length);
    get(cluster.client().await?, number, length, watch).await
}

async fn write(cluster: &Cluster, number: u64, length: u64) -> Outcome<Duration> {
    let (watch, _due) = Watch::begin(length);
    put(cluster.client().await?, number, length, watch).await
}

async fn get(client: Client, number: u64, length: u64, watch: Watch) -> Outcome<Duration> {
    let mut sink = Comparing { number, watch };
    client
        .get(&path(number), &mut sink, GetOptions::default())
        .await?;
    let watch = sink.watch;
    match watch.position() == length {
        true => Ok(watch.longest()),
        false => Err(format!("{} bytes of {length} came", watch.position()).into()),
    }
}

async fn put(client: Client, number: u64, length: u64, mut watch: Watch) -> Outcome<Duration> {
    let mut options = PutOptions::new(false);
    options.size_hint = Some(length);
    let source = Feed {
        number,
        length,
        watch: &mut watch,
    };
    client.put(&path(number), source, options).await?;
    // From the last byte taken to the acknowledgement.
    watch.passed(0);
    Ok(watch.longest())
}

fn path(number: u64) -> String {
    format!("/{number}")
}

/// Waits until every data node is live and every chunk has its copies.
async fn all_well(client: &Client) -> Outcome<()> {
    until(
        "all data nodes are live and all chunks have their copies",
        || async {
            let status = client.status().await?;
            let live = status
                .nodes
                .iter()
                .filter(|node| node.liveness == Liveness::Live);
            let chunks = status.chunks;
            let whole = chunks.surveyed && chunks.under_replicated + chunks.repairing == 0;
            Ok(live.count() == DATA_NODES && whole)
        },
    )
    .await
}

fn figures(fault: Fault, quiet: &Stalls, faulty: &Stalls) -> Vec<Figure> {
    let (which, target) = match fault {
        Fault::Killed => ("data node killed", 500),
        Fault::Hung => ("data node hung", 2000),
    };
    let how_read = "longest time between two pieces that a streaming read delivers, each compared \
                    byte by byte; the fault hits the data node that sends the most at that moment";
    let how_write = "longest time between two pieces that a streaming write takes, and from the \
                     last to the acknowledgement; the fault hits \
                     the head, the middle or the tail of the pipeline";
    let how_quiet = "the same with no fault: what the machine's disk and processors do";
    vec![
        Figure::times(format!("{which}: stall of a read"), &faulty.reads, how_read).at_most(target),
        Figure::times("  no fault: stall of a read", &quiet.reads, how_quiet),
        Figure::times(
            format!("{which}: stall of a write"),
            &faulty.writes,
            how_write,
        )
        .at_most(target),
        Figure::times("  no fault: stall of a write", &quiet.writes, how_quiet),
    ]
}

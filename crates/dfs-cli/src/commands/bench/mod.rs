//! `dfs bench`: how fast it is, next to what the machine can do at all.
//!
//! The floors are measured first, on the same disk, in the same run; then the workloads, which
//! are data ([`workloads`]), one after the other. A figure is the median of several rounds.

mod floors;
mod measure;
mod runner;
mod table;
mod workloads;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dfs_core::client::Client;
use dfs_core::cluster::ClusterBuilder;
use serde::Serialize;

use crate::context::{ClusterArgs, Context, INSECURE, SHAPE, config_of, connect};
use crate::error::{Doing, Result};
use crate::local;
use crate::local::embedded::Embedded;
use crate::text::size::{human, parse_size};

use floors::{Floor, Floors};
use measure::Measured;
use runner::Runner;
use table::{Row, lines};
use workloads::{Scale, Step, Workload, plan};

const EXAMPLES: &str = "\
Examples:
  dfs bench                              on a fresh cluster in a temporary directory
  dfs bench --dir /mnt/nvme --full       on that disk, with 1 GiB files
  dfs bench --only metadata --rounds 9
  dfs bench --cluster --url dfs://m1:7400

Use a release build. Three replicas of everything share this machine unless --cluster is given.";

/// Measure how fast it is, next to what the machine can do at all.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// Only these.
    #[arg(long, value_name = "AREA", value_delimiter = ',')]
    only: Vec<Area>,

    /// Where the fresh cluster and the files of the floors go [default: the temporary directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The configured cluster instead of a fresh one.
    #[arg(long)]
    cluster: bool,

    /// Bytes of a bulk file [default: 32 MiB].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,

    /// Bulk files of 1 GiB, and eight times as many operations.
    #[arg(long)]
    full: bool,

    /// Also list a directory of so many entries.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "100000")]
    list_entries: Option<u64>,

    /// Rounds of everything; figures are those of the middle one.
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// A JSON document: `rows`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: ClusterArgs,
}

/// A group of workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Area {
    /// Names and attributes.
    Metadata,
    /// Large files.
    Bulk,
    /// Small files.
    Small,
}

/// Bulk file length unless said otherwise, and with `--full`.
const BULK_LEN: u64 = 32 << 20;
const BULK_LEN_FULL: u64 = 1 << 30;
/// How many times as many operations `--full` makes.
const FULL_FACTOR: u64 = 8;

#[derive(Serialize)]
struct Document {
    rounds: u32,
    bulk_bytes: u64,
    rows: Vec<Row>,
}

/// A directory that is gone when we are.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in a temporary directory is no one's loss.
        let _ = local::remove_tree(&self.0);
    }
}

/// Runs it.
pub(crate) async fn run(args: BenchArgs, context: &Context) -> Result<()> {
    let output = &context.output;
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch(parent.join(format!("dfs-bench-{}", std::process::id())));
    local::make_directory(&scratch.0, 0o700, false).doing("make directory", scratch.0.display())?;
    let bytes = args.size.unwrap_or(match args.full {
        true => BULK_LEN_FULL,
        false => BULK_LEN,
    });
    if cfg!(debug_assertions) {
        output.note("this is a debug build: its figures say little");
    }
    output.note(format_args!(
        "measuring in `{}`: {} rounds, bulk files of {}",
        scratch.0.display(),
        args.rounds,
        human(bytes)
    ));
    let mut floors = Floors::default();
    output.note("floors");
    let measured = floors.measure(&scratch.0, bytes, args.rounds);
    measured.doing("measure in", scratch.0.display())?;
    let scale = Scale {
        areas: args.only.clone(),
        bulk_len: bytes,
        factor: if args.full { FULL_FACTOR } else { 1 },
        list_entries: args.list_entries,
    };
    let (fresh, client) = cluster(&args, &scratch.0, context).await?;
    let runner = Runner::new(client, args.rounds, output);
    let mut found = Vec::new();
    let mut result = Ok(());
    for workload in plan(&scale) {
        match runner.run(&workload).await {
            Ok(measured) => found.push((workload, measured)),
            Err(failure) => {
                // What was measured until then is still worth seeing.
                result = Err(failure);
                break;
            }
        }
    }
    if let Some(fresh) = fresh {
        result = result.and(fresh.stop().await);
    }
    output.note("floors, once more");
    let measured = floors.measure(&scratch.0, bytes, args.rounds);
    measured.doing("measure in", scratch.0.display())?;
    let floors = floors.measured().doing("measure", "floors")?;
    let rows = rows(&floors, &found);
    match args.json {
        true => output.json(&Document {
            rounds: args.rounds,
            bulk_bytes: bytes,
            rows,
        })?,
        false => output.lines(lines(&rows))?,
    }
    result
}

impl Area {
    /// Its name in tables.
    fn name(self) -> &'static str {
        match self {
            Area::Metadata => "metadata",
            Area::Bulk => "bulk",
            Area::Small => "small",
        }
    }
}

/// The floors, and all that was found held against them.
fn rows(
    floors: &BTreeMap<Floor, Measured>,
    found: &[(Workload, Vec<(Step, Measured)>)],
) -> Vec<Row> {
    let floor_rows = floors.iter().map(|(floor, measured)| {
        let name = floor.name().to_owned();
        Row::new("floor", name, 1, measured, None, floors)
    });
    let steps = found.iter().flat_map(|(workload, steps)| {
        let steps = steps.iter();
        steps.map(move |(step, measured)| (workload, step, measured))
    });
    let step_rows = steps.map(|(workload, step, measured)| {
        let (area, in_flight) = (workload.area.name(), workload.in_flight);
        let name = format!("{}{}", step.name(), workload.label);
        let floor = Some(step.floor(workload));
        Row::new(area, name, in_flight, measured, floor, floors)
    });
    floor_rows.chain(step_rows).collect()
}

/// The cluster to measure: a fresh one in `dir`, or the one that is configured.
async fn cluster(
    args: &BenchArgs,
    dir: &Path,
    context: &Context,
) -> Result<(Option<Embedded>, Client)> {
    if args.cluster {
        return Ok((None, context.client(&args.reach).await?.clone()));
    }
    let dir = dir.join("cluster");
    let fresh = match args.reach.insecure() {
        true => {
            context.output.warning(INSECURE);
            Embedded::start_with(&dir, SHAPE, ClusterBuilder::insecure).await?
        }
        false => Embedded::start(&dir, SHAPE).await?,
    };
    let client = connect(config_of(&fresh.profile())?, args.reach.timeout()).await?;
    Ok((Some(fresh), client))
}

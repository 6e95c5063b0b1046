//! Memory of masters with many files, and of the command that copies a large file.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dfs_core::types::{PolicyChange, ReplicationTarget};
use futures::{TryStreamExt, stream};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, MASTERS};
use crate::content::content;
use crate::figures::Figure;
use crate::{Outcome, Stage};

/// Creates under way at a time.
const IN_FLIGHT: usize = 256;
const FILES_PER_DIRECTORY: u64 = 10_000;
const FILE_LEN: usize = 100;
const REPORT_EVERY: u64 = 100_000;

/// Creates many files, and looks at the masters.
pub(crate) async fn masters(stage: &Stage<'_>) -> Outcome<Vec<Figure>> {
    let files = stage.options.files;
    let cluster = Cluster::found(stage.directory, 3).await?;
    let client = cluster.client().await?;
    for directory in 0..files.div_ceil(FILES_PER_DIRECTORY) {
        client.create_dir_all(&format!("/{directory}")).await?;
    }
    let (began, done) = (Instant::now(), AtomicU64::new(0));
    stream::iter((0..files).map(Ok::<_, dfs_core::error::Error>))
        .try_for_each_concurrent(IN_FLIGHT, |number| {
            let (client, done) = (&client, &done);
            async move {
                let path = format!("/{}/{number}", number / FILES_PER_DIRECTORY);
                client.write(&path, content(number, FILE_LEN)).await?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if done.is_multiple_of(REPORT_EVERY) {
                    eprintln!("{done} files after {:?}", began.elapsed());
                }
                Ok(())
            }
        })
        .await?;
    let (mut now, mut peak) = (Vec::new(), Vec::new());
    for place in 0..MASTERS {
        let id = cluster.pid(place).ok_or("a master has ended")?;
        now.push(memory_of(id, "VmRSS:")?.ok_or("a master has ended")?);
        peak.push(memory_of(id, "VmHWM:")?.ok_or("a master has ended")?);
    }
    cluster.stop().await?;
    Ok(vec![
        Figure::memory(
            format!("{files} files: memory of a master"),
            now,
            "VmRSS of each master after the last create, default settings, 256 creates in flight",
        )
        .at_most(600),
        Figure::memory(
            format!("{files} files: peak memory of a master"),
            peak,
            "VmHWM of each master, likewise",
        )
        .at_most(600),
    ])
}

/// Puts and gets a large file with the command line.
pub(crate) async fn copies(stage: &Stage<'_>) -> Outcome<Vec<Figure>> {
    let dfs = built_command().await?;
    let cluster = Cluster::found(stage.directory, 3).await?;
    let client = cluster.client().await?;
    let one = ReplicationTarget(1);
    let policy = PolicyChange {
        replicas: Some(one),
        replicas_min: Some(one),
        ..PolicyChange::default()
    };
    client.create_dir_all("/one").await?;
    client.set_policy("/one", policy).await?;
    let source = stage.directory.join("source");
    let length = stage.options.gib << 30;
    std::fs::File::create(&source)?.set_len(length)?;
    let masters = cluster.masters().join(",");
    let source = source.to_string_lossy().into_owned();
    let run = async |arguments: &[&str]| -> Outcome<u64> {
        let mut command = Command::new(&dfs);
        command.env("DFS_MASTERS", &masters);
        command
            .env("DFS_PROFILE", cluster.profile())
            .args(arguments);
        peak_of(command).await
    };
    let put = run(&["put", &source, "/one/file"]).await?;
    let stored = client.metadata("/one/file").await?.size;
    let get = run(&["get", "/one/file", "-"]).await?;
    cluster.stop().await?;
    if stored != length {
        return Err(format!("{stored} bytes were stored of {length}").into());
    }
    let how = "last VmHWM seen of the `dfs` process, looked at every 20 ms; one copy of each chunk";
    let gib = stage.options.gib;
    Ok(vec![
        Figure::memory(format!("dfs put of {gib} GiB: peak memory"), vec![put], how).at_most(200),
        Figure::memory(format!("dfs get of {gib} GiB: peak memory"), vec![get], how).at_most(200),
    ])
}

/// Runs a command to its end; its peak memory in MiB.
async fn peak_of(mut command: Command) -> Outcome<u64> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let id = child.id().ok_or("the command has ended")?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak = memory_of(id, "VmHWM:")?.unwrap_or(peak).max(peak);
        sleep(Duration::from_millis(20)).await;
    };
    eprintln!("{command:?}: {status} after {:?}", began.elapsed());
    match status.success() {
        true => Ok(peak),
        false => Err(format!("{command:?}: {status}").into()),
    }
}

/// A line of a process's status, in MiB rounded up; none when the process is ending.
fn memory_of(id: u32, line: &str) -> Outcome<Option<u64>> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let value = status.lines().find_map(|l| l.strip_prefix(line));
    let Some(value) = value else {
        return Ok(None);
    };
    let kib: u64 = value.trim().trim_end_matches("kB").trim().parse()?;
    Ok(Some(kib.div_ceil(1024)))
}

/// Builds `dfs`, which is of another package, and says where it is.
async fn built_command() -> Outcome<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--release", "-p", "dfs-cli"];
    let status = Command::new(cargo).args(build).status().await?;
    if !status.success() {
        return Err(format!("cargo {build:?}: {status}").into());
    }
    Ok(PathBuf::from(env!("CARGO_BIN_EXE_dfs-node")).with_file_name("dfs"))
}

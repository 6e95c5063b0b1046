//! Runs a node until it is told to stop or can go on no longer.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use dfs_core::datanode::store::StoreError;
use dfs_core::datanode::{DataNode, DataNodeConfig, DataNodeError};
use dfs_core::env::{Env, raise_handle_limit};
use dfs_core::error::{Error, ErrorKind};
use dfs_core::master::{Master, MasterConfig};
use dfs_core::proto::hello::{self, Hello, Service};
use dfs_core::types::{ClusterId, Topology};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command, General};
use crate::settings::{DataSettings, File, LogFormat, LogSettings, MasterSettings};

/// Why the daemon ends, for a person and for a script.
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

/// How long a seed is asked whose it is.
const SEED_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause after an attempt to join; doubles up to the maximum.
const JOIN_PAUSE_MIN: Duration = Duration::from_millis(250);
const JOIN_PAUSE_MAX: Duration = Duration::from_secs(5);

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNAVAILABLE: u8 = 3;

impl Failure {
    fn new(code: u8, message: impl fmt::Display) -> Failure {
        Failure {
            message: message.to_string(),
            hint: None,
            code,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Tells the person at the terminal, and gives the exit code.
    #[allow(
        clippy::print_stderr,
        reason = "the last words of a process, after its log"
    )]
    pub(crate) fn report(self) -> ExitCode {
        eprintln!("error: {}", self.message);
        if let Some(hint) = self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match error.kind() {
            ErrorKind::Unavailable { .. } => UNAVAILABLE,
            _ => REFUSED,
        };
        Failure::new(code, error)
    }
}

impl From<DataNodeError> for Failure {
    fn from(error: DataNodeError) -> Failure {
        Failure::new(REFUSED, error)
    }
}

/// Does what the arguments say.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    #[cfg(feature = "planted")]
    warn_of_planted();
    match args.command {
        Command::Init(args) => {
            let Some(settings) = master_settings(args.settings, args.general)? else {
                return Ok(());
            };
            block_on(init(settings))
        }
        Command::Master(args) => {
            let Some(settings) = master_settings(args.settings, args.general)? else {
                return Ok(());
            };
            block_on(master(settings))
        }
        Command::Data(args) => {
            let (file, general) = (read_file(&args.general)?, args.general);
            let settings = args.settings.over(file.data);
            let log = general.log.over(file.log);
            if general.print_config {
                let data = Some(settings);
                return print_config(&File {
                    log: Some(log),
                    master: None,
                    data,
                });
            }
            start_log(&log)?;
            block_on(data(settings, args.new))
        }
    }
}

/// Says which bug the environment has planted, if it names one.
#[cfg(feature = "planted")]
#[allow(clippy::print_stderr, reason = "not to be filtered away")]
fn warn_of_planted() {
    for bug in dfs_core::planted::planted() {
        eprintln!("warning: the bug `{bug}` is planted in this process: it may lose anything");
    }
}

/// The settings of a master; none if they were only to be printed.
fn master_settings(
    flags: MasterSettings,
    general: General,
) -> Result<Option<MasterSettings>, Failure> {
    let file = read_file(&general)?;
    let settings = flags.over(file.master);
    let log = general.log.over(file.log);
    if general.print_config {
        print_config(&File {
            log: Some(log),
            master: Some(settings),
            data: None,
        })?;
        return Ok(None);
    }
    start_log(&log)?;
    Ok(Some(settings))
}

fn read_file(general: &General) -> Result<File, Failure> {
    File::read(general.config.as_deref()).map_err(|e| Failure::new(USAGE, e))
}

fn print_config(file: &File) -> Result<(), Failure> {
    let text = toml::to_string(file).map_err(|e| Failure::new(REFUSED, e))?;
    say(text.trim_end())
}

/// A line of data: the readiness of the node, the identity of a cluster.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|e| Failure::new(REFUSED, format!("cannot write to standard output: {e}")))
}

fn start_log(log: &LogSettings) -> Result<(), Failure> {
    let filter = log.filter.as_deref().unwrap_or("info,openraft=warn");
    let filter = EnvFilter::try_new(filter)
        .map_err(|e| Failure::new(USAGE, format!("the log filter `{filter}` is wrong: {e}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        Some(LogFormat::Json) => builder.json().flatten_event(true).init(),
        _ => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(())
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(REFUSED, format!("cannot start threads: {e}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

fn directory(setting: Option<PathBuf>) -> Result<PathBuf, Failure> {
    setting.ok_or_else(|| {
        Failure::new(USAGE, "no directory is set")
            .hint("pass `--directory DIR`, or set DFS_DIRECTORY or `directory` in the file")
    })
}

fn master_config(settings: &MasterSettings) -> Result<MasterConfig, Failure> {
    let mut config = MasterConfig::new(directory(settings.directory.clone())?);
    if let Some(listen) = &settings.listen {
        config.listen.clone_from(listen);
    }
    config.advertise.clone_from(&settings.advertise);
    if let Some(period) = settings.dead_after {
        config.liveness.dead_after = period.0;
    }
    if let Some(mib) = settings.reserve_mib {
        config.reserve = u64::from(mib) << 20;
    }
    if let Some(mib) = settings.cache_mib {
        config.replica.state_cache_bytes = mib as usize * (1 << 20);
    }
    if let Some(entries) = settings.log_entries {
        config.replica.log_cut_entries = u64::from(entries);
        config.replica.log_entries_kept = u64::from(entries);
    }
    config.connections_max = affordable(config.connections_max, 1, raise_handle_limit());
    Ok(config)
}

/// File handles that are kept for other things than connections.
const HANDLES_KEPT: u64 = 256;
/// However few handles there are, a node takes so many connections.
const CONNECTIONS_MIN: usize = 16;

/// How many connections a node takes that wants so many, each of which needs some file handles:
/// who has none left could not open its own files any more.
fn affordable(wanted: usize, handles_each: u64, handles: Option<u64>) -> usize {
    let Some(handles) = handles else {
        return wanted;
    };
    let most = handles.saturating_sub(HANDLES_KEPT) / handles_each.max(1);
    let most = usize::try_from(most)
        .unwrap_or(usize::MAX)
        .max(CONNECTIONS_MIN);
    if most < wanted {
        tracing::warn!(
            handles,
            connections = most,
            "few files may be open at a time, so fewer connections are taken; raise `ulimit -n`"
        );
    }
    wanted.min(most)
}

/// Everybody who reaches the port has full access: says so where it is more than this machine,
/// whatever the log is for.
#[allow(
    clippy::print_stderr,
    reason = "for a person, and not to be filtered away"
)]
fn warn_if_open(listen: &str) {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|a| a.is_loopback());
    if loopback {
        tracing::info!(%listen, "listening on loopback only; there is no encryption or login yet");
    } else {
        eprintln!(
            "warning: {listen}: NO ENCRYPTION AND NO LOGIN YET: whoever reaches this port can \
             read, change and delete everything; keep it inside a network you trust"
        );
    }
}

async fn init(settings: MasterSettings) -> Result<(), Failure> {
    let config = master_config(&settings)?;
    let directory = config.replica.directory.display().to_string();
    warn_if_open(&config.listen);
    let master = Master::start(config, Env::real()).await?;
    if master.is_member() {
        master.shutdown().await;
        return Err(
            Failure::new(REFUSED, format!("{directory} belongs to a cluster already")).hint(
                format!("run it with `dfs-node master --directory {directory}`"),
            ),
        );
    }
    let cluster = master.found().await?;
    let address = master.address().to_owned();
    master.shutdown().await;
    say(&format!("founded cluster {cluster} in {directory}"))?;
    say(&format!(
        "next: dfs-node master --directory {directory} --listen {address}"
    ))
}

async fn master(settings: MasterSettings) -> Result<(), Failure> {
    let config = master_config(&settings)?;
    let directory = config.replica.directory.display().to_string();
    warn_if_open(&config.listen);
    let mut stop = std::pin::pin!(stop_signal()?);
    let master = Master::start(config, Env::real()).await?;
    let seeds = settings.join.unwrap_or_default();
    if let Some(ours) = master.cluster()
        && let Err(refused) = refuse_another_cluster(&directory, ours, &seeds).await
    {
        master.shutdown().await;
        return Err(refused);
    }
    // One that was interrupted while it joined goes on.
    if !master.is_admitted().await {
        if seeds.is_empty() {
            let failure = match master.cluster() {
                None => Failure::new(REFUSED, format!("{directory} belongs to no cluster yet"))
                    .hint("found one with `dfs-node init`, or join one with `--join HOST:PORT`"),
                Some(ours) => Failure::new(
                    REFUSED,
                    format!("{directory} is not, or no longer, in the group of cluster {ours}"),
                )
                .hint("if it was removed, clear the directory; then join with `--join HOST:PORT`"),
            };
            master.shutdown().await;
            return Err(failure);
        }
        tokio::select! {
            joined = join(&master, &seeds) => joined?,
            () = &mut stop => {
                master.shutdown().await;
                return Ok(());
            }
        }
    }
    if let Some(status) = master.status()? {
        let (member, cluster) = (status.member, status.cluster);
        let address = master.address();
        say(&format!(
            "ready: master {member} of cluster {cluster} at {address}"
        ))?;
    }
    let mut failed = master.failed();
    let failure = tokio::select! {
        () = stop => None,
        reason = failed.wait_for(Option::is_some) => reason.ok().and_then(|r| r.clone()),
    };
    tracing::info!("stopping");
    master.shutdown().await;
    match failure {
        None => Ok(()),
        // With its cause, which may be that the disk is full.
        Some(reason) => Err(Failure::new(
            REFUSED,
            format!("the master stopped: {reason:?}"),
        )),
    }
}

/// Joins, as soon as masters let it: they may be starting, or electing a leader.
async fn join(master: &Master, seeds: &[String]) -> Result<(), Error> {
    let mut pause = JOIN_PAUSE_MIN;
    loop {
        match master.join(seeds).await {
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable { .. }) => {
                tracing::warn!(%error, "no master lets this one join yet; it will ask again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(JOIN_PAUSE_MAX);
            }
            joined => return joined,
        }
    }
}

/// A member that is told to join is where it should be, unless a seed is of another cluster.
async fn refuse_another_cluster(
    directory: &str,
    ours: ClusterId,
    seeds: &[String],
) -> Result<(), Failure> {
    let (service, cluster) = (Service::Metadata, None);
    for seed in seeds {
        let hello = Hello { service, cluster };
        let network = Env::real().network;
        let called = hello::call(&*network, seed, hello, SEED_TIMEOUT).await;
        // One that does not answer is not needed any more.
        if let Ok((_, Some(theirs))) = called
            && theirs != ours
        {
            let what = format!("{directory} belongs to cluster {ours}, {seed} to {theirs}");
            return Err(Failure::new(REFUSED, what)
                .hint("join from an empty directory, or leave out `--join`"));
        }
    }
    Ok(())
}

async fn data(settings: DataSettings, new: bool) -> Result<(), Failure> {
    let masters = settings.masters.unwrap_or_default();
    let mut config = DataNodeConfig::new(directory(settings.directory)?, masters);
    if config.masters.is_empty() {
        return Err(Failure::new(USAGE, "no master is set")
            .hint("pass `--masters HOST:PORT,…`, or set DFS_MASTERS or `masters` in the file"));
    }
    config.store.initialize = new;
    if let Some(listen) = settings.listen {
        config.listen = listen;
    }
    config.advertise = settings.advertise;
    if let Some(mib) = settings.reserve_mib {
        config.store.reserve.bytes = u64::from(mib) << 20;
    }
    config.topology = Topology {
        zone: settings.zone.unwrap_or_default(),
        rack: settings.rack.unwrap_or_default(),
        host: settings.host.unwrap_or_default(),
    };
    // A connection may need a file, and a connection to the next data node.
    config.limits.connections = affordable(config.limits.connections, 3, raise_handle_limit());
    warn_if_open(&config.listen);
    let stop = stop_signal()?;
    let node = DataNode::start(config, Env::real())
        .await
        .map_err(|error| match error {
            DataNodeError::Store(StoreError::Empty(_)) => Failure::from(error)
                .hint("if this is to be a new data node, pass `--new`, this once"),
            error => Failure::from(error),
        })?;
    let mut failed = node.failed();
    let run = async {
        let id = node.joined().await?;
        say(&format!("ready: data node {id} at {}", node.address()))?;
        match failed
            .wait_for(Option::is_some)
            .await
            .map(|reason| reason.clone())
        {
            Ok(Some(reason)) => Err(Failure::from(reason)),
            _ => Ok(()),
        }
    };
    let result = tokio::select! {
        () = stop => Ok(()),
        result = run => result,
    };
    tracing::info!("stopping");
    node.shutdown().await?;
    result
}

/// Resolves when the process is asked to stop: SIGTERM, or Ctrl-C.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |e| Failure::new(REFUSED, format!("cannot watch for signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_file_handles_for_files() {
        assert_eq!(affordable(4096, 3, None), 4096);
        assert_eq!(affordable(4096, 3, Some(524_288)), 4096);
        assert_eq!(affordable(4096, 3, Some(1024)), 256);
        assert_eq!(affordable(4096, 1, Some(1024)), 768);
        assert_eq!(affordable(4096, 3, Some(64)), CONNECTIONS_MIN);
        assert_eq!(affordable(10, 3, Some(64)), 10);
    }
}

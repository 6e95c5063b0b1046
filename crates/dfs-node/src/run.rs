//! Runs a node until it is told to stop or can go on no longer.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command, General};
use crate::data::data;
use crate::discover::discover;
use crate::failure::{Failure, REFUSED, USAGE};
use crate::master::{init, master};
use crate::rescue::recover::recover;
use crate::rescue::restore::{restore, verify};
use crate::settings::{File, LogFormat, LogSettings, MasterSettings};

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
            block_on(data(settings, args.new, args.forget))
        }
        Command::Restore(args) => {
            let (from, check) = (args.from, args.check);
            if check {
                return verify(&from);
            }
            let Some(settings) = master_settings(args.settings, args.general)? else {
                return Ok(());
            };
            block_on(restore(settings, from))
        }
        Command::Recover(args) => block_on(recover(args)),
        Command::Discover(args) => block_on(discover(args)),
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
pub(crate) fn say(line: &str) -> Result<(), Failure> {
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

pub(crate) fn directory(setting: Option<PathBuf>) -> Result<PathBuf, Failure> {
    setting.ok_or_else(|| {
        Failure::new(USAGE, "no directory is set")
            .hint("pass `--directory DIR`, or set DFS_DIRECTORY or `directory` in the file")
    })
}

/// Resolves when the process is asked to stop: SIGTERM, or Ctrl-C.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
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

//! One `dfs-node` process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running daemon; killed when dropped.
pub(crate) struct Process {
    child: Child,
    address: String,
    lines: Lines<BufReader<ChildStdout>>,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfs-node"));
    let log = std::env::var("DFS_LOG").unwrap_or_else(|_| String::from("warn"));
    command
        .args(arguments)
        .env("DFS_LOG", log)
        .kill_on_drop(true);
    command
}

impl Process {
    /// Starts a daemon. Its log goes to `log`.
    pub(crate) fn launch(arguments: &[&str], log: &Path) -> std::io::Result<Process> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)?;
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| std::io::Error::other("no stdout"))?;
        Ok(Process {
            child,
            address: String::new(),
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) async fn start(arguments: &[&str], log: &Path) -> std::io::Result<Process> {
        let mut process = Process::launch(arguments, log)?;
        process.ready().await?;
        Ok(process)
    }

    /// Waits for its readiness line.
    pub(crate) async fn ready(&mut self) -> std::io::Result<()> {
        let line = timeout(READY_WITHIN, self.lines.next_line()).await;
        let line = line.map_err(|_| std::io::Error::other("not ready in time"))??;
        let ready = line.as_deref().filter(|line| line.starts_with("ready:"));
        let Some((_, address)) = ready.and_then(|line| line.rsplit_once(" at ")) else {
            let why = format!("it said {line:?} and not that it is ready");
            return Err(std::io::Error::other(why));
        };
        self.address = address.to_owned();
        Ok(())
    }

    /// Where it is reached, once it is ready.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// SIGKILL: no goodbye, nothing flushed.
    pub(crate) async fn kill(mut self) -> std::io::Result<()> {
        self.child.kill().await
    }

    /// Sends a signal by name: `STOP` hangs the process, `CONT` lets it go on.
    pub(crate) async fn signal(&self, name: &str) -> std::io::Result<()> {
        let id = self.pid();
        let id = id.ok_or_else(|| std::io::Error::other("it has ended"))?;
        let (signal, id) = (format!("-{name}"), id.to_string());
        let sent = Command::new("kill").args([&signal, &id]).status().await?;
        assert!(sent.success(), "kill {signal} {id}: {sent}");
        Ok(())
    }

    /// Waits until it has ended by itself, and gives its exit code.
    pub(crate) async fn ended(&mut self) -> std::io::Result<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }

    /// SIGTERM, and its exit code.
    pub(crate) async fn stop(mut self) -> std::io::Result<Option<i32>> {
        self.signal("TERM").await?;
        Ok(timeout(READY_WITHIN, self.child.wait()).await??.code())
    }
}

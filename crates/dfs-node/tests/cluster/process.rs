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
    _lines: Lines<BufReader<ChildStdout>>,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfs-node"));
    command
        .args(arguments)
        .env("DFS_LOG", "warn")
        .kill_on_drop(true);
    command
}

impl Process {
    /// Starts a daemon and waits for its readiness line. Its log goes to `log`.
    pub(crate) async fn start(arguments: &[&str], log: &Path) -> std::io::Result<Process> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)?;
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| std::io::Error::other("no stdout"))?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = timeout(READY_WITHIN, lines.next_line())
            .await
            .map_err(|_| std::io::Error::other(format!("{arguments:?} is not ready in time")))??;
        let address = ready.as_deref().filter(|line| line.starts_with("ready:"));
        let address = address
            .and_then(|line| line.rsplit_once(" at "))
            .map(|(_, a)| a.to_owned());
        let address = address.ok_or_else(|| {
            std::io::Error::other(format!(
                "{arguments:?} said {ready:?} and not that it is ready"
            ))
        })?;
        Ok(Process {
            child,
            address,
            _lines: lines,
        })
    }

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

    /// SIGTERM, and its exit code.
    pub(crate) async fn stop(mut self) -> std::io::Result<Option<i32>> {
        self.signal("TERM").await?;
        Ok(timeout(READY_WITHIN, self.child.wait()).await??.code())
    }
}

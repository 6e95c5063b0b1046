//! One process in a namespace: killed, paused, starved, its system calls tampered with.

use std::fs::File;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use super::network::Host;
use super::tool;

/// How long a daemon may take to start. It replays its log.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const ATTACHES_WITHIN: Duration = Duration::from_secs(5);

/// What a process is run with.
#[derive(Debug, Clone, Default)]
pub(super) struct Circumstances {
    /// Its monotonic clock is so far ahead.
    pub(super) ahead: Option<Duration>,
    /// A file that says how far its wall clock is off, as libfaketime reads it.
    pub(super) clock: Option<std::path::PathBuf>,
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    tracer: Option<Child>,
}

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

impl Process {
    /// Starts a program on a host. What it says on stderr goes to `log`.
    pub(super) fn launch(
        host: &Host,
        program: &Path,
        arguments: &[String],
        circumstances: &Circumstances,
        log: &Path,
    ) -> Result<Process> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", host.name));
        if let Some(ahead) = circumstances.ahead {
            let ahead = ahead.as_secs().to_string();
            command.args(["unshare", "-T", "--monotonic", &ahead, "--boottime", &ahead]);
        }
        command.arg(program).args(arguments);
        if let Some(clock) = &circumstances.clock {
            command.env("LD_PRELOAD", FAKETIME);
            command.env("FAKETIME_TIMESTAMP_FILE", clock);
            command.env("FAKETIME_CACHE_DURATION", "1");
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(log).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| Error::other("no stdout"))?;
        Ok(Process {
            child,
            lines: BufReader::new(stdout).lines(),
            tracer: None,
        })
    }

    /// Waits until it says that it is ready.
    pub(super) async fn ready(&mut self) -> Result<()> {
        let line = timeout(READY_WITHIN, self.lines.next_line()).await;
        let line = line.map_err(|_| Error::other(format!("not ready in {READY_WITHIN:?}")))??;
        match line.as_deref() {
            Some(line) if line.starts_with("ready:") => Ok(()),
            said => Err(Error::other(format!(
                "it said {said:?}, not that it is ready"
            ))),
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Its id, while it runs.
    fn pid(&self) -> Result<Pid> {
        let id = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        id.ok_or_else(|| Error::other("it has ended"))
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// SIGKILL: no goodbye, nothing flushed.
    pub(super) async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        self.end_trace().await
    }

    /// SIGTERM, and how it ends.
    pub(super) async fn stop(mut self) -> Result<ExitStatus> {
        self.end_trace().await?;
        self.signal(Signal::TERM)?;
        self.ending(ENDS_WITHIN).await
    }

    /// Waits until it ends.
    pub(super) async fn ending(&mut self, within: Duration) -> Result<ExitStatus> {
        let ended = timeout(within, self.child.wait()).await;
        ended.map_err(|_| Error::other(format!("it does not end in {within:?}")))?
    }

    /// Sets a limit, soft only: `nofile=32`, `data=100000000`, or `nofile=unlimited`.
    pub(super) async fn limit(&self, limit: &str) -> Result<()> {
        let pid = self.pid()?.as_raw_pid();
        tool::run(&format!("prlimit --pid {pid} --{limit}:")).await?;
        Ok(())
    }

    /// How much memory of its own it has, in bytes.
    pub(super) fn data(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.ok_or_else(|| Error::other("no VmData"))? * 1024)
    }

    /// Lets its syncs be tampered with, as strace says: `error=EIO:when=3`. What was done to
    /// which is in `trace` once it ends.
    pub(super) async fn tamper(&mut self, how: &str, trace: &Path) -> Result<()> {
        if self.tracer.is_some() {
            return Err(Error::other("its syncs are tampered with already"));
        }
        let pid = self.pid()?.as_raw_pid().to_string();
        let inject = format!("inject=fsync,fdatasync:{how}");
        let tracer = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", &inject])
            .args(["-p", &pid, "-o"])
            .arg(trace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        self.tracer = Some(tracer);
        let start = Instant::now();
        while !self.is_traced()? {
            if start.elapsed() > ATTACHES_WITHIN {
                self.end_trace().await?;
                return Err(Error::other("strace did not attach"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Whether somebody traces each of its threads.
    fn is_traced(&self) -> Result<bool> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid()?))?;
        for thread in threads {
            // A thread may end at any time.
            let status = std::fs::read_to_string(thread?.path().join("status"));
            if status.is_ok_and(|status| status.contains("TracerPid:\t0\n")) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// That it asks libfaketime for the time.
    pub(super) fn has_own_clock(&self) -> Result<()> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid()?))?;
        match maps.contains("libfaketime") {
            true => Ok(()),
            false => Err(Error::other("libfaketime is not loaded")),
        }
    }

    /// Ends the tampering.
    pub(super) async fn end_trace(&mut self) -> Result<()> {
        let Some(mut tracer) = self.tracer.take() else {
            return Ok(());
        };
        if let Some(pid) = tracer.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It lets go of the process and ends; it may have ended with it.
            let _ = kill_process(pid, Signal::INT);
        }
        match timeout(ENDS_WITHIN, tracer.wait()).await {
            Ok(ended) => ended.map(|_| ()),
            Err(_) => tracer.kill().await,
        }
    }
}

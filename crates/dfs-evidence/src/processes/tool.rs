//! Tools of the system: run, with errors that say which.

use std::io::{Error, Result};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// No tool needs longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a command line, split at spaces, and gives what it printed.
pub(super) async fn run(line: &str) -> Result<String> {
    run_with(&line.split_whitespace().collect::<Vec<_>>(), "").await
}

/// Runs a command with input, and gives what it printed.
pub(super) async fn run_with(words: &[&str], input: &str) -> Result<String> {
    let line = words.join(" ");
    let said = timeout(DEADLINE, output(words, input)).await;
    let output = said.map_err(|_| Error::other(format!("`{line}` does not end")))?;
    let output = output.map_err(|e| Error::new(e.kind(), format!("`{line}`: {e}")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        return Err(Error::other(format!("`{line}`: {status}: {}", why.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn output(words: &[&str], input: &str) -> Result<std::process::Output> {
    let (tool, arguments) = words.split_first().ok_or_else(|| Error::other("no tool"))?;
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    child.wait_with_output().await
}

//! The programs with the tests: built once, run as often as there are bugs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Test;

pub(super) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(180);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Passed,
    Failed,
    /// It was still running when its time was over.
    Late,
    /// There is no such test, or it is no test of this bug.
    Unknown,
}

/// A program, and where it is to run.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    directory: PathBuf,
}

/// The programs, by package and target.
#[derive(Debug)]
pub(super) struct Programs(BTreeMap<(String, String), Program>);

impl Programs {
    /// Builds the programs of these tests.
    pub(super) fn build(tests: impl Iterator<Item = Test>) -> Result<Programs> {
        let targets: BTreeSet<(&str, &str)> = tests.map(|test| (test.target, test.path)).collect();
        let mut flags = BTreeSet::new();
        for (target, path) in targets {
            flags.extend(match target {
                "lib" => vec!["--lib".to_owned()],
                "example" => vec![format!("--example={path}")],
                name => vec![format!("--test={name}")],
            });
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // As all tests are built, so that nothing is built twice.
        let mut build = Command::new(cargo);
        build.args(["test", "--workspace", "--all-features", "--no-run"]);
        build.args(["--message-format", "json-render-diagnostics"]);
        let built = build.args(flags).stderr(Stdio::inherit()).output()?;
        if !built.status.success() {
            return Err("the tests cannot be built".into());
        }
        let mut programs = BTreeMap::new();
        for line in String::from_utf8(built.stdout)?.lines() {
            let message: Value = serde_json::from_str(line)?;
            programs.extend(program(&message));
        }
        Ok(Programs(programs))
    }

    /// Runs a test, with a bug if one is named.
    pub(super) fn run(&self, test: Test, bug: Option<&str>) -> Result<Ended> {
        let target = match test.target {
            "lib" => test.package.replace('-', "_"),
            "example" => test.path.to_owned(),
            name => name.to_owned(),
        };
        let program = self.0.get(&(test.package.to_owned(), target));
        let program = program.ok_or_else(|| format!("{test:?} is in no program"))?;
        let mut output = tempfile::tempfile()?;
        let mut command = Command::new(&program.path);
        command.current_dir(&program.directory);
        command.stdin(Stdio::null());
        command
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        if test.target == "example" {
            let status = wait(command.arg(bug.unwrap_or("none")))?;
            let said = said(&mut output)?;
            return Ok(match status.map(|status| status.success()) {
                None => Ended::Late,
                Some(true) if said.contains(": seen") => Ended::Failed,
                Some(false) if said.contains(": not seen") => Ended::Passed,
                Some(_) => Ended::Unknown,
            });
        }
        command.args([test.path, "--exact"]);
        if let Some(bug) = bug {
            command.env("DFS_PLANTED", bug);
        }
        Ok(match wait(&mut command)? {
            None => Ended::Late,
            Some(status) if !status.success() => Ended::Failed,
            Some(_) if said(&mut output)?.contains("1 passed") => Ended::Passed,
            Some(_) => Ended::Unknown,
        })
    }
}

/// The program that a message of cargo tells of.
fn program(message: &Value) -> Option<((String, String), Program)> {
    let path = message.get("executable")?.as_str()?;
    let target = message.get("target")?;
    if !message.get("profile")?.get("test")?.as_bool()? {
        return None;
    }
    let manifest = Path::new(message.get("manifest_path")?.as_str()?);
    let directory = manifest.parent()?.to_owned();
    let name = target.get("name")?.as_str()?.to_owned();
    let package = match directory.file_name()?.to_str()? {
        "tests" => "dfs-tests",
        package => package,
    };
    let path = path.into();
    Some(((package.to_owned(), name), Program { path, directory }))
}

/// Waits until a command ends; none if it took too long.
fn wait(command: &mut Command) -> Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn said(output: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

//! A machine to run commands on: a directory to work in, and a local data directory.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// No command may take longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// A machine of its own, gone at the end.
pub(crate) struct Machine {
    dir: TempDir,
    /// Replaced in what commands print: it differs from run to run.
    hidden: Vec<(String, &'static str)>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Run {
    command: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A `dfs up` that runs; stopped in good order when dropped.
pub(crate) struct Up {
    child: Child,
    pub(crate) masters: String,
    /// How many it says that it has.
    pub(crate) data_nodes: String,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        let hidden = vec![(dir.path().display().to_string(), "[DIR]")];
        Machine { dir, hidden }
    }

    /// The local data directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The directory that commands run in.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Writes a local file.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Reads a local file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.work().join(name)).unwrap()
    }

    /// Hides `text` in what commands print.
    pub(crate) fn hide(&mut self, text: impl Into<String>, by: &'static str) {
        self.hidden.push((text.into(), by));
    }

    /// A command, not started yet.
    pub(crate) fn command<A: AsRef<std::ffi::OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfs"));
        command
            .args(args)
            .current_dir(self.work())
            .env("DFS_HOME", self.home())
            .env_remove("DFS_MASTERS")
            .env_remove("DFS_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command with nothing on its standard input.
    pub(crate) fn dfs<A: AsRef<std::ffi::OsStr>>(&self, args: &[A]) -> Run {
        self.finish(args, self.command(args).spawn().unwrap())
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn ok<A: AsRef<std::ffi::OsStr>>(&self, args: &[A]) -> String {
        let run = self.dfs(args);
        assert_eq!(run.code, Some(0), "{}", self.show(&run));
        String::from_utf8(run.stdout).unwrap()
    }

    /// Runs a command with `input` on its standard input.
    pub(crate) fn dfs_with_input(&self, args: &[&str], input: &[u8]) -> Run {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // A command that wants no more of it closes it.
            scope.spawn(move || stdin.write_all(input));
            self.finish(args, child)
        })
    }

    /// Waits for a command; one that takes too long is killed and has no exit status.
    pub(crate) fn finish<A: AsRef<std::ffi::OsStr>>(&self, args: &[A], mut child: Child) -> Run {
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let args = args.iter().map(|arg| arg.as_ref().to_string_lossy());
        let command = args.collect::<Vec<_>>().join(" ");
        std::thread::scope(|scope| {
            let out = scope.spawn(move || {
                let mut bytes = Vec::new();
                stdout.read_to_end(&mut bytes).map(|_| bytes)
            });
            let err = scope.spawn(move || {
                let mut bytes = Vec::new();
                stderr.read_to_end(&mut bytes).map(|_| bytes)
            });
            let code = wait(&mut child, DEADLINE);
            let stderr = err.join().unwrap().unwrap();
            Run {
                command,
                code,
                stdout: out.join().unwrap().unwrap(),
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
            }
        })
    }

    /// Everything about a run that does not change from run to run.
    pub(crate) fn show(&self, run: &Run) -> String {
        let stdout = String::from_utf8_lossy(&run.stdout);
        let mut text = format!("$ dfs {}\n{stdout}", run.command);
        for line in run.stderr.lines() {
            let _ = writeln!(text, "stderr: {line}");
        }
        match run.code {
            Some(0) => {}
            Some(code) => text.push_str(&format!("exit status: {code}\n")),
            None => text.push_str("killed: it took too long\n"),
        }
        for (hidden, by) in &self.hidden {
            text = text.replace(hidden, by);
        }
        text
    }

    /// Runs commands one after the other; all of them as one snapshot.
    pub(crate) fn script(&self, commands: &[&[&str]]) -> String {
        let runs = commands.iter().map(|args| self.show(&self.dfs(args)));
        runs.collect::<Vec<_>>().join("\n")
    }

    /// Starts `dfs up` and waits until it is ready.
    pub(crate) fn up(&self, args: &[&str]) -> Up {
        // A file takes whatever it says; nobody would empty a pipe.
        let log = self.dir.path().join("up.log");
        let mut command = self.command(&["up"]);
        let command = command.args(args).stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut masters, mut data_nodes) = (String::new(), String::new());
        // Ends with the process at the latest, which is killed with its guard.
        for line in stdout.lines().map(Result::unwrap) {
            if let Some(addresses) = line.strip_prefix("masters") {
                masters = addresses.trim().to_owned();
            }
            if let Some(count) = line.strip_prefix("data nodes") {
                data_nodes = count.trim().to_owned();
            }
            if line == "ready" {
                return Up {
                    child,
                    masters,
                    data_nodes,
                };
            }
        }
        let status = child.wait().unwrap();
        let said = fs::read_to_string(&log).unwrap();
        panic!("`dfs up` ended before it was ready, {status}: {said}");
    }
}

impl Up {
    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; its exit status.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait(&mut self.child, DEADLINE)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal("TERM");
            self.wait();
        }
    }
}

/// Waits for a process up to a deadline, then kills it.
fn wait(child: &mut Child, deadline: Duration) -> Option<i32> {
    let begin = Instant::now();
    while begin.elapsed() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// Bytes that repeat late, so that mixed-up pieces show.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Whether a path exists.
pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(path).is_ok()
}

//! One node: its host, its disk, and the daemon that runs there, or does not.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::PathBuf;
use std::process::ExitStatus;

use dfs_core::node::audit;
use rustix::process::Signal;

use super::audit_logs::EXTENSION;
use crate::processes::disk::Disk;
use crate::processes::network::Host;
use crate::processes::process::{Circumstances, Process};

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::processes) enum Role {
    Master,
    Data,
}

/// A node, and which faults hold it. A fault is known by its number in the schedule.
#[derive(Debug)]
pub(in crate::processes) struct Node {
    pub(in crate::processes) name: String,
    pub(in crate::processes) role: Role,
    pub(in crate::processes) host: Host,
    pub(in crate::processes) disk: Disk,
    pub(in crate::processes) log: PathBuf,
    pub(in crate::processes) circumstances: Circumstances,
    /// It has nothing on its disk: its next start makes it new.
    pub(in crate::processes) is_new: bool,
    /// All was well at some time since it was new: if it is a master, it has a vote.
    pub(in crate::processes) takes_part: bool,
    /// A master that was taken out of the group, and has its old disk.
    pub(in crate::processes) is_removed: bool,
    /// It is told to join whenever it is started, new or not.
    pub(in crate::processes) says_join: bool,
    /// Bits flipped in its files since they were made.
    pub(in crate::processes) is_rotten: bool,
    /// Faults that keep it from running.
    pub(in crate::processes) down: BTreeSet<u32>,
    /// Faults that keep it standing still.
    pub(in crate::processes) paused: BTreeSet<u32>,
    pub(super) has_power: bool,
    /// What took the room on its disk is to go when there is power.
    ballast_goes: bool,
    pub(super) is_ready: bool,
    pub(super) process: Option<Process>,
}

impl Node {
    pub(super) fn new(name: String, role: Role, host: Host, disk: Disk, log: PathBuf) -> Node {
        Node {
            name,
            role,
            host,
            disk,
            log,
            circumstances: Circumstances::default(),
            is_new: true,
            is_rotten: false,
            takes_part: false,
            is_removed: false,
            says_join: false,
            down: BTreeSet::new(),
            paused: BTreeSet::new(),
            has_power: true,
            ballast_goes: false,
            is_ready: false,
            process: None,
        }
    }

    /// Where it is reached.
    pub(in crate::processes) fn address(&self) -> String {
        let port = match self.role {
            Role::Master => 7400,
            Role::Data => 7500,
        };
        format!("{}:{port}", self.host.address)
    }

    /// Its process, if it was started and has not been found dead.
    pub(in crate::processes) fn process(&mut self) -> Result<&mut Process> {
        let name = &self.name;
        let process = self.process.as_mut();
        process.ok_or_else(|| Error::other(format!("{name} does not run")))
    }

    /// Whether it was started and has not been found dead.
    pub(in crate::processes) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it could answer, were it not for the network, and takes part.
    pub(in crate::processes) fn is_well(&self) -> bool {
        self.runs() && self.is_ready && self.paused.is_empty() && !self.is_removed
    }

    /// How its process ended, if it has ended by itself.
    pub(in crate::processes) async fn found_dead(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        let ended = process.ended()?;
        if ended.is_some() {
            process.end_trace().await?;
            self.process = None;
        }
        Ok(ended)
    }

    /// The same as [`kill`](Node::kill); it must run.
    pub(in crate::processes) async fn kill_running(&mut self) -> Result<()> {
        self.process()?;
        self.kill().await
    }

    /// SIGKILL.
    pub(in crate::processes) async fn kill(&mut self) -> Result<()> {
        self.is_ready = false;
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// SIGTERM; it must end well.
    pub(in crate::processes) async fn stop(&mut self) -> Result<()> {
        self.is_ready = false;
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        let ended = process.stop().await;
        let ended = ended.map_err(|e| Error::other(format!("{}: {e}", self.name)))?;
        match ended.success() {
            true => Ok(()),
            false => Err(Error::other(format!("{} ended with {ended}", self.name))),
        }
    }

    /// SIGKILL, and the disk loses what was not synced.
    pub(in crate::processes) async fn power_off(&mut self) -> Result<()> {
        self.kill().await?;
        if self.has_power {
            self.disk.power_off().await?;
            self.has_power = false;
        }
        Ok(())
    }

    pub(super) async fn power_on(&mut self) -> Result<()> {
        if !self.has_power {
            self.disk.power_on().await?;
            self.has_power = true;
            if std::mem::take(&mut self.ballast_goes) {
                self.disk.free()?;
            }
        }
        Ok(())
    }

    /// Kills it, and its files are gone.
    pub(in crate::processes) async fn wipe(&mut self) -> Result<()> {
        self.kill().await?;
        self.power_on().await?;
        self.keep_audit_log()?;
        self.disk.wipe()?;
        (self.is_new, self.is_rotten) = (true, false);
        (self.takes_part, self.is_removed, self.says_join) = (false, false, false);
        Ok(())
    }

    /// Adds what its audit log has to that of its former disks, if it is a master.
    pub(super) fn keep_audit_log(&self) -> Result<()> {
        let directory = self.disk.directory().join(audit::DIRECTORY);
        if self.role == Role::Data || !directory.exists() {
            return Ok(());
        }
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            paths.push(entry?.path());
        }
        paths.sort();
        let path = self.log.with_extension(EXTENSION);
        let mut kept = File::options().create(true).append(true).open(path)?;
        for path in paths {
            kept.write_all(&std::fs::read(path)?)?;
        }
        Ok(())
    }

    /// Holds it still for a fault.
    pub(in crate::processes) fn pause(&mut self, fault: u32) -> Result<()> {
        self.process()?.signal(Signal::STOP)?;
        self.paused.insert(fault);
        Ok(())
    }

    /// Lets it go on, if no other fault holds it.
    pub(in crate::processes) fn go_on(&mut self, fault: u32) -> Result<()> {
        if !self.paused.remove(&fault) || !self.paused.is_empty() {
            return Ok(());
        }
        match &self.process {
            Some(process) => process.signal(Signal::CONT),
            None => Ok(()),
        }
    }

    /// Takes all room on its disk.
    pub(in crate::processes) fn fill_disk(&self) -> Result<()> {
        self.with_power(|| self.disk.fill())
    }

    /// Takes all inodes of its disk.
    pub(in crate::processes) fn fill_inodes(&self) -> Result<()> {
        self.with_power(|| self.disk.fill_inodes())
    }

    /// Gives back what was taken.
    pub(in crate::processes) fn free_disk(&mut self) -> Result<()> {
        self.ballast_goes = !self.has_power;
        match self.has_power {
            true => self.disk.free(),
            false => Ok(()),
        }
    }

    fn with_power(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.has_power {
            true => act(),
            false => Err(Error::other("it has no power")),
        }
    }

    /// Lets its syncs be tampered with, as strace says: `error=EIO:when=3`.
    pub(in crate::processes) async fn tamper(&mut self, how: &str) -> Result<()> {
        let trace = self.trace();
        self.process()?.tamper(how, &trace).await
    }

    /// Whether any of its syncs was tampered with since [`tamper`](Node::tamper).
    pub(in crate::processes) fn was_tampered_with(&self) -> Result<bool> {
        tells_of_tampering(std::fs::read_to_string(self.trace()))
    }

    fn trace(&self) -> PathBuf {
        self.log.with_extension("trace")
    }

    /// Lets go of it who tampered with its system calls.
    pub(in crate::processes) async fn end_trace(&mut self) -> Result<()> {
        match &mut self.process {
            Some(process) => process.end_trace().await,
            None => Ok(()),
        }
    }

    /// Sets its wall clock off by so many seconds; it notices within a second.
    pub(in crate::processes) fn jump(&mut self, seconds: i64) -> Result<()> {
        self.process()?.has_own_clock()?;
        self.set_clock(seconds)
    }

    /// Sets how far its wall clock is off.
    pub(in crate::processes) fn set_clock(&self, seconds: i64) -> Result<()> {
        match &self.circumstances.clock {
            Some(clock) => std::fs::write(clock, format!("{seconds:+}\n")),
            None => Err(Error::other("its clock cannot be set")),
        }
    }

    /// Sets a limit, if it runs.
    pub(in crate::processes) async fn limit(&mut self, limit: &str) {
        if let Some(process) = &self.process {
            // It may just have died of the limit it had.
            let _ = process.limit(limit).await;
        }
    }
}

fn tells_of_tampering(trace: Result<String>) -> Result<bool> {
    match trace {
        Ok(trace) => Ok(trace.contains("(DELAYED)") || trace.contains("(INJECTED)")),
        // Nobody could begin to.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_was_never_begun_tells_of_nothing() {
        let tells = |trace: &str| tells_of_tampering(Ok(trace.to_owned())).unwrap();
        assert!(tells(
            "fdatasync(7) = -1 EIO (Input/output error) (INJECTED)"
        ));
        assert!(tells("fsync(7) = 0 (DELAYED)") && !tells("fsync(7) = 0"));
        assert!(!tells_of_tampering(Err(ErrorKind::NotFound.into())).unwrap());
        assert!(tells_of_tampering(Err(ErrorKind::PermissionDenied.into())).is_err());
    }
}

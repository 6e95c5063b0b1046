//! The local data directory: where a cluster on this machine lives, and who runs it.
//!
//! ```text
//! $DFS_HOME, else $XDG_DATA_HOME/dfs, else ~/.local/share/dfs          0700
//!   lock           held by the process that runs the cluster; its pid inside
//!   serving.toml   how others reach it (0600): written when it serves, removed when it ends
//!   profile.toml   a cluster elsewhere (0600), written by `dfs login` or a person
//!   shape.toml     how many masters and data nodes it was made with
//!   cluster/       their data
//! ```
//!
//! The lock alone decides who is alive: it goes with its process, however that ends. What a
//! process wrote that served, found while the lock is free, is a leftover of one that was killed.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use dfs_core::client::Profile;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Failure, Result};
use crate::local;

/// The directory.
#[derive(Debug, Clone)]
pub(crate) struct Home(PathBuf);

/// How the local cluster is reached while a process runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Serving {
    /// The process.
    pub(crate) pid: u32,
    /// How.
    pub(crate) profile: Profile,
}

/// How large the local cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    /// Masters; fixed for good when it is made.
    pub(crate) masters: usize,
    /// Data nodes; may grow.
    pub(crate) data_nodes: usize,
}

/// Holding it is being the process that runs the local cluster.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Home {
    /// The directory that the environment names.
    ///
    /// # Errors
    /// There is no home directory either.
    pub(crate) fn find() -> Result<Home> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = variable("DFS_HOME").map(PathBuf::from).or_else(|| {
            let share = variable("XDG_DATA_HOME").map(PathBuf::from);
            let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/share"));
            Some(share.or_else(home)?.join("dfs"))
        });
        path.map(Home).ok_or_else(|| {
            Failure::usage("neither HOME nor DFS_HOME is set: no place for a local cluster")
                .hint("name a cluster with `--profile FILE`, or a directory with DFS_HOME")
        })
    }

    /// This directory.
    pub(crate) fn at(path: PathBuf) -> Home {
        Home(path)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the data is.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.0.join("cluster")
    }

    fn profile_path(&self) -> PathBuf {
        self.0.join("profile.toml")
    }

    fn serving_path(&self) -> PathBuf {
        self.0.join("serving.toml")
    }

    fn shape_path(&self) -> PathBuf {
        self.0.join("shape.toml")
    }

    /// The profile, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or is no profile.
    pub(crate) fn profile(&self) -> Result<Option<Profile>> {
        read_toml(&self.profile_path())
    }

    /// Keeps a profile; says where.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write_profile(&self, profile: &Profile) -> Result<PathBuf> {
        local::make_private_directory(&self.0).doing("make directory", self.0.display())?;
        let path = self.profile_path();
        write_toml(&path, profile)?;
        Ok(path)
    }

    /// Removes the profile; says whether there was one.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn remove_profile(&self) -> Result<bool> {
        let path = self.profile_path();
        let there = local::stat(&path, false).is_ok();
        local::remove_file(&path).doing("remove", path.display())?;
        Ok(there)
    }

    /// How the local cluster is reached, if a process said so.
    ///
    /// # Errors
    /// It cannot be read, or is nothing of that kind.
    pub(crate) fn serving(&self) -> Result<Option<Serving>> {
        read_toml(&self.serving_path())
    }

    /// Says how this process is reached.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write_serving(&self, profile: Profile) -> Result<()> {
        let pid = std::process::id();
        write_toml(&self.serving_path(), &Serving { pid, profile })
    }

    /// Removes what a process said that serves no more.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn remove_serving(&self, _lock: &Lock) -> Result<()> {
        let path = self.serving_path();
        local::remove_file(&path).doing("remove", path.display())
    }

    /// How large the cluster is, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or says something else.
    pub(crate) fn shape(&self) -> Result<Option<Shape>> {
        read_toml(&self.shape_path())
    }

    /// Remembers how large the cluster is.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write_shape(&self, shape: Shape, _lock: &Lock) -> Result<()> {
        write_toml(&self.shape_path(), &shape)
    }

    /// Takes the lock, or says that another process has it (its id, if known).
    ///
    /// # Errors
    /// The directory cannot be used.
    pub(crate) fn try_lock(&self) -> Result<std::result::Result<Lock, Option<u32>>> {
        local::make_private_directory(&self.0).doing("make directory", self.0.display())?;
        let path = self.0.join("lock");
        let mut file = local::open_lock(&path).doing("open", path.display())?;
        match file.try_lock() {
            Ok(()) => {
                stamp(&mut file).doing("write", path.display())?;
                Ok(Ok(Lock { _file: file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)
                    .doing("read", path.display())?;
                Ok(Err(pid.trim().parse().ok()))
            }
            Err(TryLockError::Error(error)) => Err(error).doing("lock", path.display()),
        }
    }
}

fn stamp(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The profile in a file.
///
/// # Errors
/// There is none, or it cannot be read or understood.
pub(crate) fn profile_at(path: &Path) -> Result<Profile> {
    let profile = read_toml(path)?;
    profile.ok_or_else(|| Failure::usage(format!("there is no profile at `{}`", path.display())))
}

fn read_toml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>> {
    let text = match local::read_text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.doing("read", path.display())?,
    };
    let value = toml::from_str(&text).map_err(|error| {
        let error = error.message();
        Failure::usage(format!("cannot understand `{}`: {error}", path.display()))
    })?;
    Ok(Some(value))
}

fn write_toml(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = toml::to_string(value).map_err(io::Error::other);
    let written = text.and_then(|text| local::write_private(path, &text));
    written.doing("write", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_to_ask_for_the_lock_hears_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("new/home"));
        let lock = home.try_lock().unwrap().unwrap();
        let holder = home.try_lock().unwrap().unwrap_err();
        assert_eq!(holder, Some(std::process::id()));
        drop(lock);
        assert!(home.try_lock().unwrap().is_ok());
    }

    #[test]
    fn what_a_process_said_goes_with_it_and_a_profile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned());
        let lock = home.try_lock().unwrap().unwrap();
        let profile = Profile::new(vec!["a:1".to_owned()], None);
        home.write_serving(profile.clone()).unwrap();
        home.write_profile(&profile).unwrap();
        let serving = home.serving().unwrap().unwrap();
        assert_eq!(serving.pid, std::process::id());
        for _ in 0..2 {
            home.remove_serving(&lock).unwrap();
        }
        assert_eq!(home.serving().unwrap(), None);
        assert_eq!(home.profile().unwrap(), Some(profile));
        assert!(home.remove_profile().unwrap());
        assert!(!home.remove_profile().unwrap());
    }

    #[test]
    fn a_damaged_profile_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned());
        local::write_private(&home.profile_path(), "masters = 3").unwrap();
        let Err(Failure::Said(message)) = home.profile() else {
            panic!("a number was taken for a list");
        };
        assert!(message.text.contains("profile.toml"), "{}", message.text);
    }
}

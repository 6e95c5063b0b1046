//! The profile of an administrator: a file for the command line.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dfs_core::client::Profile;

use crate::failure::{Failure, REFUSED};

const NAME: &str = "admin.toml";

/// Writes it into a directory, for its owner alone; says where it is.
pub(crate) fn write(directory: &Path, profile: &Profile) -> Result<PathBuf, Failure> {
    let path = directory.join(NAME);
    let text = toml::to_string(profile).map_err(io::Error::other);
    let written = text.and_then(|text| write_private(&path, &text));
    match written {
        Ok(()) => Ok(path),
        Err(e) => {
            let what = format!("cannot write {}: {e}", path.display());
            Err(Failure::new(REFUSED, what))
        }
    }
}

/// Writes it into a new file, for its owner alone.
pub(crate) fn write_new(path: &Path, profile: &Profile) -> Result<(), Failure> {
    let text = toml::to_string(profile).map_err(io::Error::other);
    match text.and_then(|text| create_private(path, &text)) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let what = format!("{} is there already", path.display());
            Err(Failure::new(REFUSED, what).hint("remove it, or name another with `--out FILE`"))
        }
        Err(e) => {
            let what = format!("cannot write {}: {e}", path.display());
            Err(Failure::new(REFUSED, what))
        }
    }
}

/// It is there whole or not at all.
#[allow(clippy::disallowed_methods, reason = "the operator's file")]
fn create_private(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&part)?;
    let written = file.write_all(text.as_bytes());
    let written = written.and_then(|()| file.sync_all());
    // Unlike a renamed one, a second name replaces nothing.
    let named = written.and_then(|()| std::fs::hard_link(&part, path));
    let removed = std::fs::remove_file(&part);
    named.and(removed)
}

#[allow(clippy::disallowed_methods, reason = "the operator's file")]
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_profile_is_for_its_owner_alone_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recovered.toml");
        let profile = |address: &str| Profile::new(vec![address.to_owned()], None);
        assert!(write_new(&path, &profile("m1:1")).is_ok());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("m1:1"), "{text}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write_new(&path, &profile("m2:1")).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

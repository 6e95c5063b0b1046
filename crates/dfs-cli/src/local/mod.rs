//! Files of the person's own machine: what `put` reads, what `get` writes, the client profile.
#![allow(
    clippy::disallowed_methods,
    reason = "the command line works with the files of its user, which no simulator replaces"
)]

pub(crate) mod embedded;
pub(crate) mod home;
pub(crate) mod secret;

use std::fs::{self, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dfs_core::env::Env;

/// Reads a small text file.
///
/// # Errors
/// As the machine says.
pub(crate) fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Writes a small file that only its owner may read, whole or not at all.
///
/// # Errors
/// As the machine says.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let part = Part::create(path, 0o600, true)?;
    (&part.file).write_all(text.as_bytes())?;
    part.file.sync_all()?;
    part.publish()
}

/// Begins a file that only its owner may read, where there is nothing yet.
///
/// # Errors
/// As the machine says.
pub(crate) fn begin_private(path: &Path) -> io::Result<Part> {
    match stat(path, false) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => Part::create(path, 0o600, false),
    }
}

/// Makes a directory that only its owner may enter, with those above it.
///
/// # Errors
/// As the machine says.
pub(crate) fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Makes a directory; one that exists is fine, with `follow` also a link to one.
///
/// # Errors
/// As the machine says.
pub(crate) fn make_directory(path: &Path, mode: u32, follow: bool) -> io::Result<()> {
    let is_there = || stat(path, follow).is_ok_and(|meta| meta.is_dir());
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_there() => Ok(()),
        made => made,
    }
}

/// Removes a file; none there is fine.
///
/// # Errors
/// As the machine says.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes a directory and all below it.
///
/// # Errors
/// As the machine says.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

/// Opens a file to append to it, made if missing.
///
/// # Errors
/// As the machine says.
pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Opens something that is no regular file, such as a device or a pipe, to write into it. That
/// of a pipe waits until someone reads from it.
///
/// # Errors
/// As the machine says.
pub(crate) async fn open_special(path: &Path) -> io::Result<File> {
    let path = path.to_owned();
    let open = move || OpenOptions::new().write(true).open(path);
    Env::real().run_blocking(open).await
}

/// Opens the lock file at `path`, made if missing.
///
/// # Errors
/// As the machine says.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Opens a file to read it. That of a pipe waits until someone writes into it.
///
/// # Errors
/// As the machine says.
pub(crate) async fn open(path: &Path) -> io::Result<File> {
    let path = path.to_owned();
    Env::real().run_blocking(move || File::open(path)).await
}

/// What is at `path`, itself or what it links to.
///
/// # Errors
/// As the machine says.
pub(crate) fn stat(path: &Path, follow: bool) -> io::Result<Metadata> {
    match follow {
        true => fs::metadata(path),
        false => fs::symlink_metadata(path),
    }
}

/// The names in a directory, sorted, so that output and order of work repeat.
///
/// # Errors
/// As the machine says; never a shorter list.
pub(crate) fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// What a symbolic link leads to.
///
/// # Errors
/// As the machine says.
pub(crate) fn read_link(path: &Path) -> io::Result<PathBuf> {
    fs::read_link(path)
}

/// Makes a symbolic link, in place of a file or link that may be there.
///
/// # Errors
/// As the machine says.
pub(crate) fn symlink(target: &str, path: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(target, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
            fs::remove_file(path)?;
            std::os::unix::fs::symlink(target, path)
        }
        made => made,
    }
}

/// Sets permissions and time of the last change.
///
/// # Errors
/// As the machine says.
pub(crate) fn set_attributes(path: &Path, mode: u32, modified: SystemTime) -> io::Result<()> {
    File::open(path)?.set_times(FileTimes::new().set_modified(modified))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The user and group this process runs as.
pub(crate) fn identity() -> (u32, u32) {
    // A process owns its own entry there; where there is none, the files are root's.
    fs::metadata("/proc/self").map_or((0, 0), |meta| (meta.uid(), meta.gid()))
}

/// The permissions that this process leaves out of what it makes.
pub(crate) fn umask() -> u32 {
    // Without a way to ask for it, it is set and set back; what is made in between is private.
    let umask = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    rustix::process::umask(umask);
    umask.bits()
}

/// A file that gets its name when it is complete. Dropped before that, it is removed.
#[derive(Debug)]
pub(crate) struct Part {
    /// To be written.
    pub(crate) file: File,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Part {
    /// Begins a file for `target`, next to it. With `follow` a symbolic link there is followed,
    /// as by any program that opens a file to write it; otherwise it is replaced.
    ///
    /// # Errors
    /// As the machine says.
    pub(crate) fn create(target: &Path, mode: u32, follow: bool) -> io::Result<Part> {
        let target = match fs::canonicalize(target) {
            Ok(existing) if follow => existing,
            Ok(_) => target.to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => target.to_owned(),
            Err(error) => return Err(error),
        };
        let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        for attempt in 0.. {
            // A long name is cut: the whole must be a name as well.
            let name = name.to_string_lossy();
            let short: String = name.chars().take(40).collect();
            let part = format!(".{short}.{}-{attempt}.part", std::process::id());
            let path = target.with_file_name(part);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(mode);
            match options.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {}
                Err(error) => return Err(error),
                Ok(file) => {
                    return Ok(Part {
                        file,
                        path,
                        target,
                        published: false,
                    });
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Sets permissions and time of the last change, before it is published.
    ///
    /// # Errors
    /// As the machine says.
    pub(crate) fn set_attributes(&self, mode: u32, modified: SystemTime) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))?;
        self.file.set_times(FileTimes::new().set_modified(modified))
    }

    /// Gives it its name, replacing what was there.
    ///
    /// # Errors
    /// As the machine says; the part is removed.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)?;
        self.published = true;
        Ok(())
    }

    /// Gives it its name if nothing has that, when it is on stable storage.
    ///
    /// # Errors
    /// As the machine says; the part is removed.
    pub(crate) fn publish_new(self) -> io::Result<()> {
        self.file.sync_all()?;
        // Its first name goes when it is dropped.
        fs::hard_link(&self.path, &self.target)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed here was never given a name that anyone relies on.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_published_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x".repeat(250));
        let part = Part::create(&target, 0o644, true).unwrap();
        (&part.file).write_all(b"half").unwrap();
        drop(part);
        assert!(list(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_new_file_replaces_nothing_and_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let part = begin_private(&first).unwrap();
        (&part.file).write_all(b"half").unwrap();
        assert!(stat(&first, false).is_err());
        (&part.file).write_all(b" and half").unwrap();
        part.publish_new().unwrap();
        assert_eq!(read_text(&first).unwrap(), "half and half");
        assert_eq!(stat(&first, false).unwrap().mode() & 0o777, 0o600);

        assert!(begin_private(&first).is_err());
        let late = begin_private(&second).unwrap();
        symlink("first", &second).unwrap();
        assert!(late.publish_new().is_err());
        assert!(stat(&second, false).unwrap().is_symlink());
        assert_eq!(list(dir.path()).unwrap(), [first, second]);
    }

    #[test]
    fn a_published_part_replaces_what_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        write_private(&file, "old").unwrap();
        symlink("file", &link).unwrap();
        write_private(&link, "new").unwrap();
        assert_eq!(read_text(&file).unwrap(), "new");
        assert!(stat(&link, false).unwrap().is_symlink());
        assert_eq!(stat(&file, true).unwrap().mode() & 0o777, 0o600);

        let part = Part::create(&link, 0o644, false).unwrap();
        part.publish().unwrap();
        assert!(stat(&link, false).unwrap().is_file());
        assert_eq!(read_text(&file).unwrap(), "new");
    }

    #[test]
    fn a_link_to_a_directory_is_one_only_for_who_follows() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink(".", &link).unwrap();
        assert!(make_directory(&link, 0o755, false).is_err());
        assert!(make_directory(&link, 0o755, true).is_ok());
    }
}

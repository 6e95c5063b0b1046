//! A disk that is read and never written: what is changed on it stays in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile, DiskLock, Entry, OpenMode, Space};

/// What is kept of a file that was changed, in pieces of this size.
const PAGE: u64 = 4096;

/// Another disk, on which nothing changes: whoever works on it sees its own changes, which are
/// gone with it. So what a program would do to files can be looked at without doing it.
///
/// Locks are the exception, as they keep others away: they are taken on the disk below.
#[derive(Debug)]
pub struct Overlay {
    below: Arc<dyn Disk>,
    /// Files that were opened or made, and names that are gone.
    names: Mutex<BTreeMap<PathBuf, Option<Arc<OverlaidFile>>>>,
}

impl Overlay {
    /// One over `below`.
    pub fn new(below: Arc<dyn Disk>) -> Overlay {
        Overlay {
            below,
            names: Mutex::default(),
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Arc<OverlaidFile>>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<OverlaidFile>> {
        let mut names = self.names();
        let is_there = match names.get(path) {
            Some(known) => known.is_some(),
            None => self.below.exists(path)?,
        };
        let refused = |kind| Err(io::Error::new(kind, path.display().to_string()));
        match (mode, is_there) {
            (OpenMode::CreateNew, true) => return refused(io::ErrorKind::AlreadyExists),
            (OpenMode::Read | OpenMode::ReadWrite, false) => {
                return refused(io::ErrorKind::NotFound);
            }
            _ => {}
        }
        if let Some(Some(file)) = names.get(path) {
            return Ok(Arc::clone(file));
        }
        let below = match is_there {
            true => Some(self.below.open(path, OpenMode::Read)?),
            false => None,
        };
        let file = Arc::new(OverlaidFile::over(below)?);
        names.insert(path.to_owned(), Some(Arc::clone(&file)));
        Ok(file)
    }
}

impl Disk for Overlay {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, mode)?)
    }

    /// # Errors
    /// It is not there: directories are not made in memory.
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        match self.below.exists(path)? {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::NotFound,
                path.display().to_string(),
            )),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.file(from, OpenMode::ReadWrite)?;
        let mut names = self.names();
        names.insert(from.to_owned(), None);
        names.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.file(path, OpenMode::ReadWrite)?;
        self.names().insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let entries = self.below.list(path)?.into_iter();
        let mut entries: BTreeMap<String, Entry> =
            entries.map(|entry| (entry.name.clone(), entry)).collect();
        for (known, file) in &*self.names() {
            let Some(name) = known.file_name().filter(|_| known.parent() == Some(path)) else {
                continue;
            };
            let name = name.to_string_lossy().into_owned();
            match file {
                None => entries.remove(&name),
                Some(file) => {
                    let entry = Entry {
                        name: name.clone(),
                        length: file.len()?,
                        is_directory: false,
                    };
                    entries.insert(name, entry)
                }
            };
        }
        Ok(entries.into_values().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.names().get(path) {
            Some(known) => Ok(known.is_some()),
            None => self.below.exists(path),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.below.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.below.lock(path)
    }
}

/// A file, and what was changed in it.
#[derive(Debug)]
struct OverlaidFile {
    below: Option<Arc<dyn DiskFile>>,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    length: u64,
    /// Up to here the file below counts, where no page does.
    below: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

/// The part of a page, and of a buffer, that a range of a file is.
struct Piece {
    page: u64,
    /// In the page.
    at: usize,
    /// In the buffer.
    from: usize,
    length: usize,
}

fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let position = offset.saturating_add(from as u64);
        let at = (position % PAGE) as usize;
        let piece = Piece {
            page: position / PAGE,
            at,
            from,
            length: (PAGE as usize - at).min(length - from),
        };
        from += piece.length;
        (piece.length > 0).then_some(piece)
    })
}

impl OverlaidFile {
    fn over(below: Option<Arc<dyn DiskFile>>) -> io::Result<OverlaidFile> {
        let length = below.as_ref().map_or(Ok(0), |below| below.len())?;
        let changed = Mutex::new(Changed {
            length,
            below: length,
            pages: BTreeMap::new(),
        });
        Ok(OverlaidFile { below, changed })
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A whole page, as it is now; what is behind the end is zero.
    fn page(&self, changed: &Changed, page: u64) -> io::Result<Vec<u8>> {
        if let Some(bytes) = changed.pages.get(&page) {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; PAGE as usize];
        let start = page * PAGE;
        let old = changed.below.saturating_sub(start).min(PAGE) as usize;
        if let (Some(below), Some(part @ [_, ..])) = (&self.below, bytes.get_mut(..old)) {
            below.read_at(part, start)?;
        }
        Ok(bytes)
    }

    fn write(&self, changed: &mut Changed, bytes: &[u8], offset: u64) -> io::Result<()> {
        for piece in pieces(offset, bytes.len()) {
            let mut page = self.page(changed, piece.page)?;
            let new = bytes.get(piece.from..piece.from + piece.length);
            if let (Some(old), Some(new)) = (page.get_mut(piece.at..piece.at + piece.length), new) {
                old.copy_from_slice(new);
            }
            changed.pages.insert(piece.page, page);
        }
        Ok(())
    }
}

impl DiskFile for OverlaidFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().length)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let changed = self.changed();
        if offset.saturating_add(buffer.len() as u64) > changed.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for piece in pieces(offset, buffer.len()) {
            let page = self.page(&changed, piece.page)?;
            let part = buffer.get_mut(piece.from..piece.from + piece.length);
            if let (Some(to), Some(from)) = (part, page.get(piece.at..piece.at + piece.length)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut changed = self.changed();
        self.write(&mut changed, bytes, offset)?;
        changed.length = changed
            .length
            .max(offset.saturating_add(bytes.len() as u64));
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changed = self.changed();
        if length < changed.length {
            let cut = length.next_multiple_of(PAGE).min(changed.length);
            self.write(&mut changed, &vec![0; (cut - length) as usize], length)?;
            changed.pages.split_off(&length.div_ceil(PAGE));
            changed.below = changed.below.min(length);
        }
        changed.length = length;
        Ok(())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut changed = self.changed();
        let end = offset.saturating_add(length).min(changed.length);
        let zeros = vec![0; PAGE as usize];
        let mut at = offset;
        while at < end {
            let count = (end - at).min(PAGE) as usize;
            self.write(&mut changed, zeros.get(..count).unwrap_or_default(), at)?;
            at += count as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "the test looks at the disk below"
)]
mod tests {
    use super::*;
    use crate::env::{Random, RealDisk, SeededRandom};

    fn overlay() -> Overlay {
        Overlay::new(Arc::new(RealDisk))
    }

    #[test]
    fn whatever_is_done_to_a_file_is_read_back_and_the_one_below_stays() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("f");
        let below: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &below)?;
        let overlay = overlay();
        let file = overlay.open(&path, OpenMode::ReadWrite)?;
        let random = SeededRandom::new(7);
        let below_max = |max: u64| random.next_u64() % max;
        let mut model = below.clone();
        for step in 0..500 {
            let offset = below_max(model.len() as u64 + 2);
            let length = below_max(9000) as usize;
            let end = offset as usize + length;
            match below_max(5) {
                0 => {
                    file.set_len(offset)?;
                    model.resize(offset as usize, 0);
                }
                1 => {
                    file.punch_hole(offset, length as u64)?;
                    let end = end.min(model.len());
                    model[end.min(offset as usize)..end].fill(0);
                }
                2 => {
                    file.set_len(end as u64)?;
                    model.resize(end, 0);
                }
                _ => {
                    let bytes = vec![step as u8; length];
                    file.write_at(&bytes, offset)?;
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].copy_from_slice(&bytes);
                }
            }
            let mut read = vec![0; file.len()? as usize];
            file.read_at(&mut read, 0)?;
            assert!(read == model, "step {step}");
            assert!(file.read_at(&mut [0], model.len() as u64).is_err());
        }
        let again = overlay.open(&path, OpenMode::Read)?;
        assert_eq!(again.len()?, model.len() as u64);
        assert!(std::fs::read(&path)? == below);
        Ok(())
    }

    #[test]
    fn names_come_and_go_above_and_stay_below() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a"), "a")?;
        std::fs::write(path("b"), "bb")?;
        let overlay = overlay();
        let names = || -> io::Result<Vec<(String, u64)>> {
            let entries = overlay.list(directory.path())?.into_iter();
            Ok(entries.map(|e| (e.name, e.length)).collect())
        };
        overlay.rename(&path("b"), &path("a"))?;
        overlay.open(&path("c"), OpenMode::CreateNew)?.set_len(3)?;
        assert_eq!(names()?, [("a".to_owned(), 2), ("c".to_owned(), 3)]);
        overlay.remove_file(&path("a"))?;
        assert!(!overlay.exists(&path("a"))? && overlay.exists(&path("c"))?);
        assert!(overlay.open(&path("a"), OpenMode::ReadWrite).is_err());
        assert!(overlay.open(&path("c"), OpenMode::CreateNew).is_err());
        assert!(overlay.remove_file(&path("b")).is_err());
        assert_eq!(overlay.open(&path("b"), OpenMode::Create)?.len()?, 0);
        assert!(overlay.create_directory(&path("d")).is_err());
        assert_eq!(std::fs::read_to_string(path("a"))?, "a");
        assert_eq!(std::fs::read_to_string(path("b"))?, "bb");
        assert_eq!(std::fs::read_dir(directory.path())?.count(), 2);
        Ok(())
    }
}

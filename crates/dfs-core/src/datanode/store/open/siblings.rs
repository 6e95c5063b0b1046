//! The volumes of a data node, as each of them remembers all.
//!
//! A disk that is gone cannot say so. So each volume of a node that has several keeps the list of
//! all, and one that does not come up is missed. The list with the highest generation counts:
//! that of a disk which was away is older.

use std::path::Path;

use crate::datanode::store::error::StoreError;
use crate::datanode::store::layout::{Fields, Fixed, FormatError, Paths};
use crate::datanode::store::open::stamp;
use crate::env::{Disk, OpenMode};
use crate::types::VolumeId;

pub(in crate::datanode::store) const MAGIC: &[u8; 8] = b"DFSVOLUM";
/// Most volumes of a node, those it had once included.
pub const VOLUMES_MAX: usize = 64;
/// The length of a path that is kept, for people; a longer one is cut.
const PATH_MAX: usize = 248;
const ENTRY_LEN: usize = 8 + PATH_MAX;
pub(in crate::datanode::store) const LEN: usize = 32 + VOLUMES_MAX * ENTRY_LEN + 4;

/// A volume that its node has, or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// Which.
    pub id: VolumeId,
    /// Where it was last, cut if it is long.
    pub directory: String,
    /// Whether a person has said that it is gone for good.
    pub is_given_up: bool,
}

/// The volumes of a data node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Siblings {
    /// Counts the changes.
    pub generation: u64,
    /// All of them, those that were given up included: no id is given twice.
    pub all: Vec<Sibling>,
}

impl Siblings {
    /// One of them.
    pub fn get(&self, id: VolumeId) -> Option<&Sibling> {
        self.all.iter().find(|sibling| sibling.id == id)
    }

    /// Notes where a volume is.
    ///
    /// # Errors
    /// There are too many.
    pub fn put(&mut self, id: VolumeId, directory: &str) -> Result<(), StoreError> {
        let directory = cut(directory).to_owned();
        let count = self.all.len();
        match self.all.iter_mut().find(|sibling| sibling.id == id) {
            Some(sibling) => sibling.directory = directory,
            None if count >= VOLUMES_MAX => {
                let what = format!("a data node has at most {VOLUMES_MAX} volumes in its life");
                return Err(StoreError::Invalid(what));
            }
            None => self.all.push(Sibling {
                id,
                directory,
                is_given_up: false,
            }),
        }
        Ok(())
    }

    /// The volume that was last at this path, if one that was not given up was.
    pub fn last_at(&self, directory: &str) -> Option<VolumeId> {
        let directory = cut(directory);
        let mut standing = self.all.iter().filter(|sibling| !sibling.is_given_up);
        let found = standing.find(|sibling| sibling.directory == directory);
        found.map(|sibling| sibling.id)
    }

    /// An id that none has, or had.
    pub fn next_id(&self) -> VolumeId {
        let last = self.all.iter().map(|sibling| sibling.id.0).max();
        VolumeId(last.map_or(0, |last| last.saturating_add(1)))
    }

    pub(in crate::datanode::store) fn encode(&self) -> [u8; LEN] {
        let mut out = Fixed::new(MAGIC);
        out.put(&(self.all.len() as u16).to_le_bytes());
        out.put(&0u32.to_le_bytes());
        out.put(&self.generation.to_le_bytes());
        out.put(&0u64.to_le_bytes());
        for sibling in &self.all {
            let path = cut(&sibling.directory).as_bytes();
            out.put(&sibling.id.0.to_le_bytes());
            out.put(&u16::from(sibling.is_given_up).to_le_bytes());
            out.put(&(path.len() as u16).to_le_bytes());
            let mut padded = path.to_vec();
            padded.resize(PATH_MAX, 0);
            out.put(&padded);
        }
        out.seal()
    }

    pub(in crate::datanode::store) fn decode(bytes: &[u8]) -> Result<Siblings, FormatError> {
        let mut fields = Fields::open_sized::<LEN>(bytes, MAGIC)?;
        let count = usize::from(fields.u16()?);
        fields.u32()?;
        let generation = fields.u64()?;
        fields.u64()?;
        if count > VOLUMES_MAX {
            return Err(FormatError::Damaged("too many volumes"));
        }
        let mut all = Vec::new();
        for _ in 0..count {
            let id = VolumeId(fields.u32()?);
            let is_given_up = match fields.u16()? {
                0 => false,
                1 => true,
                _ => return Err(FormatError::Damaged("unknown state")),
            };
            let length = usize::from(fields.u16()?);
            let padded = fields.take::<PATH_MAX>()?;
            let path = padded
                .get(..length)
                .and_then(|path| str::from_utf8(path).ok());
            let directory = path.ok_or(FormatError::Damaged("no path"))?.to_owned();
            all.push(Sibling {
                id,
                directory,
                is_given_up,
            });
        }
        Ok(Siblings { generation, all })
    }
}

/// As much of a path as is kept.
fn cut(path: &str) -> &str {
    path.get(..path.floor_char_boundary(PATH_MAX))
        .unwrap_or(path)
}

/// Reads the list, if there is one. Blocks.
///
/// # Errors
/// It cannot be read, is damaged, or is of a newer format.
pub(in crate::datanode::store) fn read(
    disk: &dyn Disk,
    paths: &Paths,
) -> Result<Option<Siblings>, StoreError> {
    let path = paths.siblings();
    let invalid =
        |e: &dyn std::fmt::Display| StoreError::Invalid(format!("{}: {e}", path.display()));
    if !disk.exists(&path).map_err(|e| invalid(&e))? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenMode::Read).map_err(|e| invalid(&e))?;
    let mut bytes = vec![0; LEN];
    file.read_at(&mut bytes, 0).map_err(|e| invalid(&e))?;
    Siblings::decode(&bytes).map(Some).map_err(|e| invalid(&e))
}

/// Writes the list so that after a crash there is the old one or the new one. Blocks.
///
/// # Errors
/// [`StoreError::OutOfSpace`], [`StoreError::Failed`].
pub(in crate::datanode::store) fn write(
    disk: &dyn Disk,
    paths: &Paths,
    siblings: &Siblings,
) -> Result<(), StoreError> {
    let (new, path): (&Path, &Path) = (&paths.new_siblings(), &paths.siblings());
    stamp::replace(disk, new, path, &siblings.encode())?;
    disk.sync_directory(&paths.root)
        .map_err(|e| StoreError::from_sync(&e, &paths.root))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use super::*;

    fn two() -> Siblings {
        let mut siblings = Siblings::default();
        siblings.put(VolumeId(0), "/a").unwrap();
        siblings.put(VolumeId(3), "/b").unwrap();
        siblings.generation = 7;
        siblings
    }

    #[test]
    fn a_volume_is_found_where_it_was_last_unless_it_was_given_up() {
        let mut siblings = two();
        siblings.put(VolumeId(3), "/c").unwrap();
        assert_eq!(siblings.last_at("/b"), None);
        assert_eq!(siblings.last_at("/c"), Some(VolumeId(3)));
        siblings.all[1].is_given_up = true;
        assert_eq!(siblings.last_at("/c"), None);
        assert_eq!(siblings.next_id(), VolumeId(4), "no id is given twice");
    }

    #[test]
    fn the_list_is_read_back_as_it_was_written_and_no_bit_of_it_may_flip() {
        let mut siblings = two();
        siblings.put(VolumeId(9), &"é".repeat(200)).unwrap();
        let bytes = siblings.encode();
        assert_eq!(Siblings::decode(&bytes), Ok(siblings));
        for at in (0..LEN).step_by(7).chain(0..64) {
            let mut bytes = bytes;
            bytes[at] ^= 4;
            assert!(Siblings::decode(&bytes).is_err(), "{at}");
        }
    }
}

//! The stamp: whose directory this is.
//!
//! A directory gets its [`NodeKey`] when it is made, and its cluster and node id when the masters
//! have answered the first registration. Neither ever changes: a disk that was swapped in from
//! another node or another cluster is recognised, and one that is not mounted has no stamp.

use std::path::Path;
use std::sync::Arc;

use crate::datanode::store::error::StoreError;
use crate::datanode::store::layout::{Fields, Fixed, FormatError, Paths};
use crate::env::{Disk, Env, OpenMode};
use crate::types::{ClusterId, NodeId, NodeKey, VolumeId};

const MAGIC: &[u8; 8] = b"DFSSTAMP";
const STAMP_LEN: usize = 56;

/// Whose directory a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The data node's, random, from when its first directory was made.
    pub key: NodeKey,
    /// Which of its volumes this is.
    pub volume: VolumeId,
    /// The cluster its replicas belong to, once it has joined one.
    pub cluster: Option<ClusterId>,
    /// What the masters call it, once they do.
    pub node: Option<NodeId>,
    /// The version of everything stored in it.
    pub format: u16,
}

impl Stamp {
    /// Of a directory that nobody has.
    pub const NOBODY: Stamp = Stamp {
        key: NodeKey(0),
        volume: VolumeId(0),
        cluster: None,
        node: None,
        format: crate::datanode::store::layout::VERSION,
    };

    pub(in crate::datanode::store) fn encode(&self) -> [u8; STAMP_LEN] {
        let flags = u16::from(self.cluster.is_some()) | (u16::from(self.node.is_some()) << 1);
        let mut out = Fixed::new(MAGIC);
        out.put(&flags.to_le_bytes());
        out.put(&self.volume.0.to_le_bytes());
        out.put(&self.key.0.to_le_bytes());
        out.put(&self.cluster.map_or(0, |c| c.0).to_le_bytes());
        out.put(&self.node.map_or(0, |n| n.0).to_le_bytes());
        out.seal()
    }

    pub(in crate::datanode::store) fn decode(bytes: &[u8]) -> Result<Stamp, FormatError> {
        let mut fields = Fields::open_sized::<STAMP_LEN>(bytes, MAGIC)?;
        let flags = fields.u16()?;
        let volume = VolumeId(fields.u32()?);
        let key = NodeKey(fields.u128()?);
        let cluster = ClusterId(fields.u128()?);
        let node = NodeId(fields.u32()?);
        Ok(Stamp {
            key,
            volume,
            cluster: (flags & 1 != 0).then_some(cluster),
            node: (flags & 2 != 0).then_some(node),
            format: crate::datanode::store::layout::VERSION,
        })
    }
}

/// Reads the stamp, if there is one.
///
/// # Errors
/// It cannot be read, is damaged, or is of a newer format.
pub(in crate::datanode::store) fn read(
    disk: &dyn Disk,
    paths: &Paths,
) -> Result<Option<Stamp>, StoreError> {
    let path = paths.stamp();
    let invalid =
        |e: &dyn std::fmt::Display| StoreError::Invalid(format!("{}: {e}", path.display()));
    if !disk.exists(&path).map_err(|e| invalid(&e))? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenMode::Read).map_err(|e| invalid(&e))?;
    let length = file.len().map_err(|e| invalid(&e))?;
    let mut bytes = vec![0; STAMP_LEN.min(usize::try_from(length).unwrap_or(STAMP_LEN))];
    file.read_at(&mut bytes, 0).map_err(|e| invalid(&e))?;
    Stamp::decode(&bytes).map(Some).map_err(|e| invalid(&e))
}

/// Writes the stamp so that after a crash there is the old one or the new one.
///
/// # Errors
/// [`StoreError::OutOfSpace`] or [`StoreError::Failed`].
pub(in crate::datanode::store) fn write(
    disk: &dyn Disk,
    paths: &Paths,
    stamp: &Stamp,
) -> Result<(), StoreError> {
    replace(disk, &paths.new_stamp(), &paths.stamp(), &stamp.encode())?;
    disk.sync_directory(&paths.root)
        .map_err(|e| StoreError::from_sync(&e, &paths.root))
}

/// Refuses where there is no stamp any more: under the mount point of a disk that is gone there is
/// a directory of another disk, which is none of ours. Blocks.
///
/// # Errors
/// [`StoreError::Failed`].
pub(in crate::datanode::store) fn require(
    disk: &dyn Disk,
    paths: &Paths,
) -> Result<(), StoreError> {
    let path = paths.stamp();
    let why = match disk.exists(&path) {
        Ok(true) => return Ok(()),
        Ok(false) => "it is gone; is the disk mounted?".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(StoreError::Failed(format!("{}: {why}", path.display())))
}

/// The same, of the directory of a store.
///
/// # Errors
/// As [`require`].
pub(in crate::datanode) async fn require_in(root: &Path, env: &Env) -> Result<(), StoreError> {
    let paths = Paths {
        root: root.to_owned(),
    };
    let disk = Arc::clone(&env.disk);
    env.run_blocking(move || require(&*disk, &paths)).await
}

pub(in crate::datanode::store) fn replace(
    disk: &dyn Disk,
    new: &Path,
    path: &Path,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let write = |e| StoreError::from_write(&e, new);
    let open = |e| StoreError::from_open(&e, new);
    let file = disk.open(new, OpenMode::Create).map_err(open)?;
    file.set_len(0).map_err(write)?;
    file.write_at(bytes, 0).map_err(write)?;
    file.sync().map_err(|e| StoreError::from_sync(&e, new))?;
    disk.rename(new, path).map_err(write)
}

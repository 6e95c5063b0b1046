//! Is this directory ours? Takes it, or makes a new store of it.

use super::stamp::{self, Stamp};
use crate::datanode::store::config::{Origin, StoreConfig};
use crate::datanode::store::error::StoreError;
use crate::datanode::store::layout::{FAN_OUT, Paths, VERSION};
use crate::env::{Disk, DiskLock, Env};
use crate::planted::{self, Bug};
use crate::types::{NodeKey, VolumeId};

/// Locks the directory and makes sure that it is a store, or makes it one; says whether it was.
pub(super) fn claim(
    disk: &dyn Disk,
    env: &Env,
    paths: &Paths,
    config: &StoreConfig,
) -> Result<(Stamp, Box<dyn DiskLock>, bool), StoreError> {
    let root = paths.root.display();
    let invalid = |e: &dyn std::fmt::Display| StoreError::Invalid(format!("{root}: {e}"));
    if !disk.exists(&paths.root).map_err(|e| invalid(&e))? {
        if !config.initialize {
            return Err(StoreError::Empty(root.to_string()));
        }
        disk.create_directory(&paths.root)
            .map_err(|e| invalid(&e))?;
    }
    let taken_for_new = planted::active(Bug::UnmountedDiskTakenForNew);
    let initialize = config.initialize || taken_for_new;
    if !initialize && !disk.exists(&paths.stamp()).map_err(|e| invalid(&e))? {
        return Err(StoreError::Empty(root.to_string()));
    }
    let lock = disk.lock(&paths.lock()).map_err(|e| invalid(&e))?;
    if let Some(stamp) = stamp::read(disk, paths)? {
        let is_meant = |origin: Origin| (origin.key, origin.volume) == (stamp.key, stamp.volume);
        if !config.origin.is_none_or(is_meant) {
            return Err(invalid(&"it was exchanged for another while it was opened"));
        }
        return Ok((stamp, lock, false));
    }
    refuse_foreign(disk, paths)?;
    let origin = config.origin.unwrap_or_else(|| Origin {
        key: NodeKey(env.random.next_u128()),
        volume: VolumeId::default(),
    });
    let stamp = Stamp {
        key: origin.key,
        volume: origin.volume,
        cluster: None,
        node: None,
        format: VERSION,
    };
    let directories = [paths.incoming(), paths.segments(), paths.quarantine()];
    let fan_out = (0..FAN_OUT).map(|directory| paths.fan_out(directory));
    for directory in directories.into_iter().chain(fan_out) {
        let made = disk.create_directory(&directory);
        made.map_err(|e| StoreError::from_write(&e, &directory))?;
    }
    // Last, so that a directory with a stamp is complete.
    stamp::write(disk, paths, &stamp)?;
    Ok((stamp, lock, true))
}

/// Refuses to make a store of a directory in which anything is, but what a first start that was
/// cut short leaves.
fn refuse_foreign(disk: &dyn Disk, paths: &Paths) -> Result<(), StoreError> {
    let root = &paths.root;
    let list = |path: &std::path::Path| {
        let entries = disk.list(path);
        entries.map_err(|e| StoreError::Invalid(format!("{}: {e}", path.display())))
    };
    let refuse = |what: &str| {
        Err(StoreError::Invalid(format!(
            "{}: there is no stamp here, but `{what}`: this is no new directory",
            root.display()
        )))
    };
    for entry in list(root)? {
        match (entry.name.as_str(), entry.is_directory) {
            ("LOCK" | "stamp.new", false) | ("lost+found", true) => {}
            (name @ ("incoming" | "segments" | "quarantine"), true) => {
                if let Some(inner) = list(&root.join(name))?.first() {
                    return refuse(&inner.name);
                }
            }
            ("chunks", true) => {
                for fan in list(&paths.chunks())? {
                    let inner = match fan.is_directory {
                        true => list(&paths.chunks().join(&fan.name))?,
                        false => vec![fan],
                    };
                    if let Some(inner) = inner.first() {
                        return refuse(&inner.name);
                    }
                }
            }
            (name, _) => return refuse(name),
        }
    }
    Ok(())
}

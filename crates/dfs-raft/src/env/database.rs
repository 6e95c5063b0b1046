//! A redb database over a [`DiskFile`].

use std::io;
use std::sync::Arc;

use super::disk::DiskFile;

/// Lets redb keep its database in any [`DiskFile`], so that a simulated disk is under it too.
///
/// There is no lock here: the directory it lives in is locked as a whole.
#[derive(Debug)]
pub struct DatabaseFile(pub Arc<dyn DiskFile>);

impl redb::StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}

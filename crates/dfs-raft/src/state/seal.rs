//! Checksums of rows, and the digest of all of them.

use std::fmt;

use crc_fast::{CrcAlgorithm, Digest as Crc};
use twox_hash::XxHash3_128;

use crate::error::Fatal;
use crate::planted::{self, Bug};

const CRC_LEN: usize = 4;

fn row_crc(table: &str, key: &[u8], value: &[u8]) -> [u8; CRC_LEN] {
    let mut crc = Crc::new(CrcAlgorithm::Crc32Iscsi);
    crc.update(table.as_bytes());
    crc.update(key);
    crc.update(value);
    (crc.finalize() as u32).to_le_bytes()
}

/// Appends the checksum of a row to its value.
pub(crate) fn seal(table: &str, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = row_crc(table, key, &value);
    value.extend_from_slice(&crc);
    value
}

/// The value of a sealed row.
///
/// # Errors
/// The checksum is wrong: the database is damaged.
pub(crate) fn unseal<'a>(table: &str, key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Fatal> {
    match sealed.split_last_chunk::<CRC_LEN>() {
        Some((value, crc)) if row_crc(table, key, value) == *crc => Ok(value),
        Some((value, _)) if planted::active(Bug::RowChecksumNotVerified) => Ok(value),
        _ => Err(Fatal::of_state(format!(
            "table `{table}`: the row with key {} fails its checksum",
            key.iter().map(|b| format!("{b:02x}")).collect::<String>(),
        ))),
    }
}

/// A sum of one hash per row: equal states have equal digests.
///
/// It guards against divergence and damage, not against someone who constructs collisions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub u128);

impl Digest {
    /// Counts a row in.
    pub(crate) fn add(&mut self, table: &str, key: &[u8], sealed: &[u8]) {
        self.0 = self.0.wrapping_add(row_hash(table, key, sealed));
    }

    /// Compares the digest of the rows that were read with the one kept.
    pub(crate) fn check(self, kept: Digest) -> Result<(), Fatal> {
        match self == kept {
            true => Ok(()),
            false => Err(Fatal::of_state(format!(
                "the rows of the state have digest {self}, not {kept} as kept: it is damaged"
            ))),
        }
    }

    /// Counts a row out.
    pub(crate) fn subtract(&mut self, table: &str, key: &[u8], sealed: &[u8]) {
        self.0 = self.0.wrapping_sub(row_hash(table, key, sealed));
    }
}

fn row_hash(table: &str, key: &[u8], sealed: &[u8]) -> u128 {
    // The lengths keep ("ab", "c") and ("a", "bc") apart.
    let mut hasher = XxHash3_128::new();
    hasher.write(&[table.len() as u8]);
    hasher.write(table.as_bytes());
    hasher.write(&(key.len() as u32).to_le_bytes());
    hasher.write(key);
    hasher.write(sealed);
    hasher.finish_128()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

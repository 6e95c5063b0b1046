//! Checksums of chunk bytes: CRC-32C, one per block and one for the whole.
//!
//! They are computed once, by the client that writes, and travel with the bytes: every hop, the
//! disk and the client that reads verify them. The whole chunk's checksum is combined from those
//! of its blocks, so no byte is read twice.

use std::sync::LazyLock;

use crc_fast::{CrcAlgorithm, checksum, checksum_combine};

use super::limits::BLOCK_LEN;

/// The CRC-32C of some bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm's results have 32 bits.
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The CRC-32C of each block of `bytes`, which begin at a block; the last may be short.
pub fn block_crcs(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(BLOCK_LEN).map(crc32c).collect()
}

/// How many blocks `length` bytes have.
pub const fn block_count(length: u64) -> u64 {
    length.div_ceil(BLOCK_LEN as u64)
}

/// Compares blocks with their checksums.
///
/// # Errors
/// The index, in `bytes`, of the first block that is not what its checksum says, or whose
/// checksum is missing, or which is missing for its checksum.
pub fn verify_blocks(bytes: &[u8], crcs: &[u32]) -> Result<(), usize> {
    let mut blocks = bytes.chunks(BLOCK_LEN);
    for (index, expected) in crcs.iter().enumerate() {
        match blocks.next() {
            Some(block) if crc32c(block) == *expected => {}
            _ => return Err(index),
        }
    }
    match blocks.next() {
        None => Ok(()),
        Some(_) => Err(crcs.len()),
    }
}

/// The CRC-32C of `a` followed by `b`, from that of each and the length of `b`.
pub fn combine(a: u32, b: u32, b_length: u64) -> u32 {
    let shift = |crc, (bit, matrix): (usize, &Matrix)| match (b_length >> bit) & 1 {
        0 => crc,
        _ => multiply(matrix, crc),
    };
    SHIFTS.iter().enumerate().fold(a, shift) ^ b
}

/// A linear map of checksums: what becomes of each bit.
type Matrix = [u32; 32];

/// What becomes of a checksum when 2^i bytes follow. (The crate can combine too, but works the
/// map out anew each time: 45 µs, ten times what it takes to read a block.)
static SHIFTS: LazyLock<[Matrix; 64]> = LazyLock::new(|| {
    let one_byte = |bit| checksum_combine(CrcAlgorithm::Crc32Iscsi, 1_u64 << bit, 0, 1) as u32;
    let mut shift: Matrix = std::array::from_fn(one_byte);
    std::array::from_fn(|_| {
        let this = shift;
        shift = this.map(|column| multiply(&this, column));
        this
    })
});

fn multiply(matrix: &Matrix, crc: u32) -> u32 {
    let bits = matrix.iter().enumerate();
    bits.fold(0, |sum, (bit, column)| {
        sum ^ (column & 0_u32.wrapping_sub((crc >> bit) & 1))
    })
}

/// The CRC-32C of `length` bytes from those of their blocks.
pub fn combine_blocks(crcs: &[u32], length: u64) -> u32 {
    let mut left = length;
    crcs.iter().fold(0, |whole, crc| {
        let block = left.min(BLOCK_LEN as u64);
        left -= block;
        combine(whole, *crc, block)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "the lengths are known")]
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn block_checksums_combine_to_that_of_the_whole() {
        for length in [
            0,
            1,
            BLOCK_LEN - 1,
            BLOCK_LEN,
            BLOCK_LEN + 1,
            3 * BLOCK_LEN + 7,
        ] {
            let bytes = bytes(length);
            let crcs = block_crcs(&bytes);
            assert_eq!(crcs.len() as u64, block_count(length as u64));
            assert_eq!(combine_blocks(&crcs, length as u64), crc32c(&bytes));
        }
    }

    #[test]
    fn two_parts_of_any_length_combine_to_the_whole() {
        let all = bytes(70_001);
        for cut in [0, 1, 2, 4095, 65_535, 65_536, 70_000, 70_001] {
            let (a, b) = all.split_at(cut);
            assert_eq!(
                combine(crc32c(a), crc32c(b), b.len() as u64),
                crc32c(&all),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_flipped_missing_or_surplus_block_is_named() {
        let mut bytes = bytes(2 * BLOCK_LEN + 5);
        let crcs = block_crcs(&bytes);
        assert_eq!(verify_blocks(&bytes, &crcs), Ok(()));
        assert_eq!(verify_blocks(&bytes, &crcs[..2]), Err(2));
        assert_eq!(verify_blocks(&bytes[..BLOCK_LEN], &crcs), Err(1));
        bytes[BLOCK_LEN] ^= 1;
        assert_eq!(verify_blocks(&bytes, &crcs), Err(1));
    }
}

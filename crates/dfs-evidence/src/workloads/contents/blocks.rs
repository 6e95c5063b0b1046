//! Blocks of 4 KiB that tell which file, which write and which place they are of.

use crate::history::{BLOCK_LEN, Block};

const MARK: u64 = 0x6466_7362_6c6f_636b;

/// The bytes of `blocks` blocks that a write makes, the first of them for place `first`.
pub(super) fn write(file: u64, version: u64, first: u64, blocks: u64) -> Vec<u8> {
    let places = first..first + blocks;
    places.flat_map(|p| fill(file, version, p)).collect()
}

/// What bytes of a file hold. What is left at the end of a length that is no whole number of
/// blocks is bad.
pub(in crate::workloads) fn read(bytes: &[u8]) -> Vec<Block> {
    bytes.chunks(BLOCK_LEN).map(block).collect()
}

fn block(bytes: &[u8]) -> Block {
    if bytes.len() == BLOCK_LEN && bytes.iter().all(|byte| *byte == 0) {
        return Block::Hole;
    }
    let word = |index: usize| {
        let word = bytes.get(index * 8..index * 8 + 8)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    };
    let (Some(file), Some(version), Some(place)) = (word(1), word(2), word(3)) else {
        return Block::Bad;
    };
    match bytes == fill(file, version, place) {
        true => Block::Data {
            file,
            version,
            place,
        },
        false => Block::Bad,
    }
}

/// A head that says what it is, and bytes that follow from the head.
fn fill(file: u64, version: u64, place: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_LEN);
    for word in [MARK, file, version, place] {
        bytes.extend(word.to_le_bytes());
    }
    let mut state = file.rotate_left(40) ^ version.rotate_left(20) ^ place;
    while bytes.len() < BLOCK_LEN {
        // SplitMix64: each bit of the head changes about half of what follows.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_tells_what_it_is_and_one_wrong_bit_is_seen() {
        let mut bytes = write(7, 8, 3, 2);
        bytes.extend([0; BLOCK_LEN]);
        let data = |place| Block::Data {
            file: 7,
            version: 8,
            place,
        };
        assert_eq!(read(&bytes), [data(3), data(4), Block::Hole]);
        for at in (0..BLOCK_LEN).step_by(97) {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            assert_eq!(read(&torn)[0], Block::Bad, "byte {at}");
        }
        assert_eq!(read(&bytes[..BLOCK_LEN + 1])[1], Block::Bad);
    }
}

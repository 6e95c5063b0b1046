//! Erasure coding: how bytes are spread over chunks of which some give all the others.
//!
//! A *stripe* of `K+M` is K data chunks, which hold its bytes one after the other, and M parity
//! chunks. Any K of its *members* give the rest:
//!
//! ```text
//! bytes   |--- c1 ---|--- c2 ---|--- c3 ---|--- c4 --|0     data: the last may be shorter, and
//! parity  |--- c5 ---|--- c6 ---|                           is coded as if zeroes followed
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::id::{ChunkId, NodeId};
use super::limits::{
    BLOCK_LEN, CHUNK_SIZE_MAX, SHARD_UNIT, STRIPE_DATA_MAX, STRIPE_DATA_MIN, STRIPE_PARITY_MAX,
};

/// How parity is computed. Append-only.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Code {
    /// Reed-Solomon over GF(2^16) in the form of Leopard.
    #[default]
    Leopard16,
}

/// How many data and parity chunks a stripe has; printed `4+2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StripeShape {
    /// Chunks that hold the bytes.
    pub data: u8,
    /// Chunks more; so many members may be lost.
    pub parity: u8,
}

/// Something is no shape of a stripe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0:.20}` is no K+M: K is {STRIPE_DATA_MIN} to {STRIPE_DATA_MAX}, M 1 to \
     {STRIPE_PARITY_MAX}, as in 4+2"
)]
pub struct ShapeError(String);

impl StripeShape {
    /// Checks it against the limits.
    ///
    /// # Errors
    /// Says what is possible.
    pub fn validate(&self) -> Result<(), ShapeError> {
        let data = STRIPE_DATA_MIN..=STRIPE_DATA_MAX;
        let parity = 1..=STRIPE_PARITY_MAX;
        match data.contains(&self.data) && parity.contains(&self.parity) {
            true => Ok(()),
            false => Err(ShapeError(self.to_string())),
        }
    }

    /// Chunks that hold the bytes.
    pub fn data(&self) -> usize {
        usize::from(self.data)
    }

    /// All chunks of a stripe.
    pub fn members(&self) -> usize {
        usize::from(self.data) + usize::from(self.parity)
    }

    /// Bytes of each member of a full stripe, where chunks have at most about `chunk_size` bytes
    /// in all: a whole number of blocks.
    pub fn shard_length(&self, chunk_size: u64) -> u64 {
        let part = chunk_size.div_ceil(u64::from(self.data).max(1));
        part.next_multiple_of(BLOCK_LEN as u64)
    }

    /// Bytes of each member but perhaps the last of the data, if a stripe has `bytes` in all: of
    /// all members as few as can be, and even.
    pub fn shard_length_of(&self, bytes: u64) -> u64 {
        let part = bytes.div_ceil(u64::from(self.data).max(1));
        part.next_multiple_of(SHARD_UNIT)
    }

    /// Bytes of the member with this index in a stripe of `bytes` in all; none if that is too
    /// little for the shape.
    pub fn member_length(&self, index: usize, shard_length: u64, bytes: u64) -> Option<u64> {
        if index + 1 != self.data() {
            return Some(shard_length);
        }
        let before = shard_length.checked_mul(u64::from(self.data).saturating_sub(1))?;
        let last = bytes.checked_sub(before)?;
        (1..=shard_length).contains(&last).then_some(last)
    }
}

impl fmt::Display for StripeShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for StripeShape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<StripeShape, ShapeError> {
        let wrong = || ShapeError(text.to_owned());
        let (data, parity) = text.split_once('+').ok_or_else(wrong)?;
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten()
        };
        let shape = StripeShape {
            data: number(data).ok_or_else(wrong)?,
            parity: number(parity).ok_or_else(wrong)?,
        };
        shape.validate().map_err(|_| wrong())?;
        Ok(shape)
    }
}

/// A stripe as its writer stored it. Its members are new chunks of the same commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewStripe {
    /// How parity was computed.
    pub code: Code,
    /// Data and parity.
    pub shape: StripeShape,
    /// Bytes of each member; of the last data chunk the most.
    pub shard_length: u64,
    /// Data chunks in the order of the bytes, then parity chunks.
    pub members: Vec<ChunkId>,
}

impl NewStripe {
    /// Checks what can be said of it without its chunks.
    ///
    /// # Errors
    /// Says what makes no sense.
    pub fn validate(&self) -> Result<(), String> {
        self.shape.validate().map_err(|e| e.to_string())?;
        let (shape, members) = (self.shape, self.members.len());
        if members != shape.members() {
            return Err(format!("a stripe of {shape} with {members} members"));
        }
        let length = self.shard_length;
        if !(1..=CHUNK_SIZE_MAX).contains(&length) || !length.is_multiple_of(SHARD_UNIT) {
            return Err(format!("a stripe whose members have {length} bytes"));
        }
        Ok(())
    }
}

/// A stripe and where its members are meant to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeLayout {
    /// How parity is computed.
    pub code: Code,
    /// Data and parity.
    pub shape: StripeShape,
    /// Bytes of each member; of the last data chunk the most.
    pub shard_length: u64,
    /// Data chunks in the order of the bytes, then parity chunks.
    pub members: Vec<StripeMember>,
}

impl StripeLayout {
    /// Where among the members a chunk is.
    pub fn index_of(&self, chunk: ChunkId) -> Option<usize> {
        self.members.iter().position(|m| m.chunk == chunk)
    }

    /// Whether it can be what it says, as far as can be seen: it comes from a master, and lengths
    /// decide on memory.
    pub fn is_sound(&self) -> bool {
        let new = NewStripe {
            code: self.code,
            shape: self.shape,
            shard_length: self.shard_length,
            members: self.members.iter().map(|member| member.chunk).collect(),
        };
        let last = self.shape.data().saturating_sub(1);
        let fits = |(index, member): (usize, &StripeMember)| match index == last {
            true => (1..=self.shard_length).contains(&member.length),
            false => member.length == self.shard_length,
        };
        new.validate().is_ok() && self.members.iter().enumerate().all(fits)
    }
}

/// A member of a stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeMember {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// The data nodes meant to have it, best choice first.
    pub replicas: Vec<NodeId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: StripeShape = StripeShape { data: 4, parity: 2 };

    #[test]
    fn a_shape_is_read_as_it_is_printed_and_within_the_limits() {
        assert_eq!("4+2".parse(), Ok(SHAPE));
        assert_eq!(SHAPE.to_string(), "4+2");
        assert!("32+8".parse::<StripeShape>().is_ok());
        for wrong in [
            "", "4", "4+", "+2", "1+2", "33+1", "4+0", "4+9", "4+2+1", "+4+2", "4 + 2",
        ] {
            assert!(wrong.parse::<StripeShape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn members_of_a_full_stripe_are_whole_blocks() {
        assert_eq!(SHAPE.shard_length(64 << 20), 16 << 20);
        assert_eq!(SHAPE.shard_length(100_000), 64 << 10);
        let six = StripeShape { data: 6, parity: 3 };
        assert_eq!(six.shard_length(64 << 20) % (64 << 10), 0);
        assert!(six.shard_length(64 << 20) * 6 >= 64 << 20);
    }

    #[test]
    fn every_data_member_of_the_least_that_is_coded_has_a_byte() {
        use crate::types::limits::STRIPE_LEN_MIN;
        for data in STRIPE_DATA_MIN..=STRIPE_DATA_MAX {
            let shape = StripeShape { data, parity: 1 };
            for bytes in STRIPE_LEN_MIN..STRIPE_LEN_MIN + 4096 {
                let shard = shape.shard_length_of(bytes);
                let last = shape.member_length(shape.data() - 1, shard, bytes);
                assert!(last.is_some(), "{shape} of {bytes} bytes");
            }
        }
    }

    #[test]
    fn a_layout_whose_members_do_not_fit_its_shape_is_not_sound() {
        let member = |chunk, length| StripeMember {
            chunk: ChunkId(chunk),
            length,
            checksum: 0,
            replicas: vec![NodeId(1)],
        };
        let sound = StripeLayout {
            code: Code::Leopard16,
            shape: SHAPE,
            shard_length: 128,
            members: [128, 128, 128, 5, 128, 128]
                .into_iter()
                .zip(1..)
                .map(|(length, chunk)| member(chunk, length))
                .collect(),
        };
        assert!(sound.is_sound());
        assert_eq!(sound.index_of(ChunkId(5)), Some(4));
        let mut odd = sound.clone();
        odd.shard_length = 127;
        let mut short = sound.clone();
        short.members.pop();
        let mut long = sound.clone();
        long.members[3].length = 129;
        let mut uneven = sound;
        uneven.members[4].length = 5;
        assert!([odd, short, long, uneven].iter().all(|l| !l.is_sound()));
    }
}

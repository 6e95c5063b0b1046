//! Erasure coding: parity from data, and what is lost from what is left.
//!
//! ```text
//! data   d0 d1 d2 d3 ──encode──▶ p0 p1            all members equally long, a multiple of 64
//! left   d0 ·  d2 d3   ·  p1 ──decode──▶ d1       any K of them
//! ```
//!
//! Members are coded by columns of [`SHARD_UNIT`] bytes: a part
//! of all members, cut there, is coded as the whole is. So nobody needs more memory than for a
//! part, and a reader no more than the blocks it wants.
//!
//! Nothing here says whether bytes are right: those of wrong members give wrong bytes. Members are
//! chunks with checksums of their own, and what was lost has one too.
//!
//! Not done here: which members are read ([`gather`]), where they are kept.

pub mod gather;

use bytes::{Bytes, BytesMut};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::types::checksum::crc32c;
use crate::types::limits::{BLOCK_LEN, SHARD_UNIT};
use crate::types::stripe::{Code, StripeShape};

/// Bytes of each member that are coded at a time: they stay in the caches of the processor.
const COLUMN: usize = BLOCK_LEN;

/// Bytes of each member that are decoded at a time: what the decoder does to find out how the lost
/// are made of those that are left takes as long however many bytes there are.
const DECODED_COLUMN: usize = 8 * BLOCK_LEN;

/// What cannot be coded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Fewer members are left than there is data.
    #[error("{left} of {shape} are left, {} are needed", shape.data)]
    TooFew {
        /// What is left.
        left: usize,
        /// Of which shape.
        shape: StripeShape,
    },
    /// The lengths of members differ, or are none that can be coded.
    #[error("members of {0} bytes cannot be coded together")]
    Uneven(usize),
    /// The coder refuses.
    #[error("the coder refuses: {0}")]
    Coder(String),
}

impl From<reed_solomon_simd::Error> for CodeError {
    fn from(error: reed_solomon_simd::Error) -> CodeError {
        CodeError::Coder(error.to_string())
    }
}

/// A member as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its bytes: of the last data only those that are there.
    pub bytes: Bytes,
    /// CRC-32C of them.
    pub checksum: u32,
}

/// The members of a stripe, from its bytes. It takes long, as [`encode`] does. What has come is let
/// go piece by piece, so that it is not in memory twice.
///
/// # Errors
/// There are too few bytes for the shape, or too many for members of `shard_length`.
pub fn members(
    code: Code,
    shape: StripeShape,
    shard_length: u64,
    come: impl IntoIterator<Item = Bytes>,
) -> Result<Vec<Member>, CodeError> {
    let shard = usize::try_from(shard_length).unwrap_or(usize::MAX);
    let full = shard.saturating_mul(shape.data());
    let mut whole = BytesMut::new();
    for bytes in come {
        if whole.is_empty() {
            whole.reserve(full);
        }
        whole.extend_from_slice(&bytes);
    }
    let length = whole.len();
    if length > full {
        return Err(CodeError::Uneven(length));
    }
    whole.resize(full, 0);
    let mut whole = whole.freeze();
    let data: Vec<Bytes> = (0..shape.data()).map(|_| whole.split_to(shard)).collect();
    let parity = encode(code, shape, &data)?;
    let mut members = Vec::new();
    let all = data.into_iter().chain(parity.into_iter().map(Bytes::from));
    for (index, bytes) in all.enumerate() {
        let own = shape.member_length(index, shard_length, length as u64);
        let own = own.and_then(|own| usize::try_from(own).ok());
        let own = own.ok_or(CodeError::Uneven(length))?;
        let bytes = bytes.slice(..own.min(bytes.len()));
        let checksum = crc32c(&bytes);
        members.push(Member { bytes, checksum });
    }
    Ok(members)
}

/// The parity of data members, all equally long. It takes long: not for a thread that others
/// wait for.
///
/// # Errors
/// There are not as many as the shape says, or not equally long.
pub fn encode(code: Code, shape: StripeShape, data: &[Bytes]) -> Result<Vec<Vec<u8>>, CodeError> {
    let Code::Leopard16 = code;
    let length = data.first().map_or(0, Bytes::len);
    require_even(length, data.iter().map(Bytes::len))?;
    if data.len() != shape.data() {
        let left = data.len();
        return Err(CodeError::TooFew { left, shape });
    }
    let (originals, recoveries) = (shape.data(), usize::from(shape.parity));
    let mut parity: Vec<Vec<u8>> = (0..recoveries)
        .map(|_| Vec::with_capacity(length))
        .collect();
    let mut at = 0;
    let mut encoder: Option<ReedSolomonEncoder> = None;
    while at < length {
        let width = COLUMN.min(length - at);
        let coder = match &mut encoder {
            Some(coder) => {
                coder.reset(originals, recoveries, width)?;
                coder
            }
            None => encoder.insert(ReedSolomonEncoder::new(originals, recoveries, width)?),
        };
        for member in data {
            coder.add_original_shard(part(member, at, width))?;
        }
        let coded = coder.encode()?;
        for (whole, column) in parity.iter_mut().zip(coded.recovery_iter()) {
            whole.extend_from_slice(column);
        }
        at += width;
    }
    Ok(parity)
}

/// A member from others: `left` are the others by their index, at least as many as there is data,
/// all equally long. It takes long, as [`encode`] does.
///
/// # Errors
/// Too few are left, or not equally long.
pub fn decode(
    code: Code,
    shape: StripeShape,
    left: &[(usize, Bytes)],
    lost: usize,
) -> Result<Vec<u8>, CodeError> {
    let length = even_length(left)?;
    if let Some((_, here)) = left.iter().find(|(index, _)| *index == lost) {
        return Ok(here.to_vec());
    }
    let data = decode_data(code, shape, left)?;
    match lost.checked_sub(shape.data()) {
        None => data
            .into_iter()
            .nth(lost)
            .map(Vec::from)
            .ok_or(CodeError::Uneven(length)),
        Some(parity) => encode(code, shape, &data)?
            .into_iter()
            .nth(parity)
            .ok_or(CodeError::Uneven(length)),
    }
}

/// All data members, from any as [`decode`] takes them: what is among them as it is, the rest made
/// at once. It takes long, as [`encode`] does.
///
/// # Errors
/// Too few are left, or not equally long.
pub fn decode_data(
    code: Code,
    shape: StripeShape,
    left: &[(usize, Bytes)],
) -> Result<Vec<Bytes>, CodeError> {
    let Code::Leopard16 = code;
    let length = even_length(left)?;
    let mut used: Vec<&(usize, Bytes)> = left.iter().collect();
    used.sort_by_key(|(index, _)| *index);
    used.dedup_by_key(|(index, _)| *index);
    used.retain(|(index, _)| *index < shape.members());
    used.truncate(shape.data());
    if used.len() < shape.data() {
        let left = used.len();
        return Err(CodeError::TooFew { left, shape });
    }
    whole_data(shape, &used, length)
}

/// All data members from as many members as there is data.
fn whole_data(
    shape: StripeShape,
    used: &[&(usize, Bytes)],
    length: usize,
) -> Result<Vec<Bytes>, CodeError> {
    let (originals, recoveries) = (shape.data(), usize::from(shape.parity));
    let here = |index: usize| {
        let found = used.iter().find(|(other, _)| *other == index);
        found.map(|(_, bytes)| bytes.clone())
    };
    let missing: Vec<usize> = (0..originals).filter(|i| here(*i).is_none()).collect();
    let mut made: Vec<Vec<u8>> = missing.iter().map(|_| Vec::with_capacity(length)).collect();
    let mut at = 0;
    let mut decoder: Option<ReedSolomonDecoder> = None;
    while at < length && !missing.is_empty() {
        let width = DECODED_COLUMN.min(length - at);
        let coder = match &mut decoder {
            Some(coder) => {
                coder.reset(originals, recoveries, width)?;
                coder
            }
            None => decoder.insert(ReedSolomonDecoder::new(originals, recoveries, width)?),
        };
        for (index, bytes) in used {
            let column = part(bytes, at, width);
            match index.checked_sub(originals) {
                None => coder.add_original_shard(*index, column)?,
                Some(parity) => coder.add_recovery_shard(parity, column)?,
            }
        }
        let decoded = coder.decode()?;
        for (whole, index) in made.iter_mut().zip(&missing) {
            let column = decoded.restored_original(*index);
            whole.extend_from_slice(column.ok_or(CodeError::Uneven(length))?);
        }
        at += width;
    }
    let mut made = made.into_iter();
    let all = (0..originals).map(|index| {
        let bytes = here(index).or_else(|| made.next().map(Bytes::from));
        bytes.ok_or(CodeError::Uneven(length))
    });
    all.collect()
}

fn part(bytes: &Bytes, at: usize, width: usize) -> &[u8] {
    bytes.get(at..at + width).unwrap_or_default()
}

/// Bytes of each of the members.
fn even_length(members: &[(usize, Bytes)]) -> Result<usize, CodeError> {
    let length = members.first().map_or(0, |(_, bytes)| bytes.len());
    require_even(length, members.iter().map(|(_, bytes)| bytes.len()))?;
    Ok(length)
}

/// Refuses members that cannot be coded together.
fn require_even(length: usize, all: impl IntoIterator<Item = usize>) -> Result<(), CodeError> {
    let unit = usize::try_from(SHARD_UNIT).unwrap_or(usize::MAX);
    let is_even = length > 0 && length.is_multiple_of(unit);
    match all.into_iter().find(|other| !is_even || *other != length) {
        Some(odd) => Err(CodeError::Uneven(odd)),
        None if !is_even => Err(CodeError::Uneven(length)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

use crate::env::{Random, SeededRandom};

use super::*;

const CODE: Code = Code::Leopard16;

fn coded(seed: u64, shape: StripeShape, length: usize) -> Vec<Bytes> {
    let random = SeededRandom::new(seed);
    let mut data: Vec<Bytes> = Vec::new();
    for _ in 0..shape.data() {
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        data.push(bytes.into());
    }
    let parity = encode(CODE, shape, &data).unwrap();
    data.extend(parity.into_iter().map(Bytes::from));
    data
}

/// Every set of `count` of the first `all` numbers.
fn subsets(all: usize, count: usize) -> Vec<Vec<usize>> {
    let sets = 0_u32..1 << all;
    let sets = sets.filter(|set| set.count_ones() as usize == count);
    sets.map(|set| (0..all).filter(|i| set & (1 << i) != 0).collect())
        .collect()
}

#[test]
fn any_k_members_give_every_other_one() {
    for (data, parity, length) in [
        (2, 1, 64),
        (4, 2, 192),
        (3, 5, 64),
        (6, 3, 128),
        (10, 4, 64),
    ] {
        let shape = StripeShape { data, parity };
        let all = coded(u64::from(data), shape, length);
        for set in subsets(shape.members(), shape.data()) {
            let left: Vec<_> = set.iter().map(|i| (*i, all[*i].clone())).collect();
            for (lost, member) in all.iter().enumerate() {
                let made = decode(CODE, shape, &left, lost).unwrap();
                assert_eq!(made, *member, "{shape}: {lost} from {set:?}");
            }
        }
    }
}

#[test]
fn any_k_members_give_all_data_at_once() {
    let shape = StripeShape { data: 4, parity: 2 };
    let all = coded(11, shape, 192);
    for set in subsets(shape.members(), shape.data()) {
        let left: Vec<_> = set.iter().map(|i| (*i, all[*i].clone())).collect();
        let data = decode_data(CODE, shape, &left).unwrap();
        assert_eq!(data, all[..4], "from {set:?}");
        for index in set.iter().filter(|index| **index < 4) {
            let is_same = data[*index].as_ptr() == all[*index].as_ptr();
            assert!(is_same, "{index} from {set:?} is a copy");
        }
    }
    let few = CodeError::TooFew { left: 3, shape };
    let left: Vec<_> = (3..6).map(|i| (i, all[i].clone())).collect();
    assert_eq!(decode_data(CODE, shape, &left), Err(few));
}

#[test]
fn the_widest_stripe_gives_what_it_lost() {
    let shape = StripeShape {
        data: 32,
        parity: 8,
    };
    let all = coded(7, shape, 256);
    let random = SeededRandom::new(9);
    for _ in 0..50 {
        let mut order: Vec<usize> = (0..40).collect();
        for last in (1..40).rev() {
            order.swap(last, random.below(last as u64 + 1) as usize);
        }
        let left: Vec<_> = order[..32].iter().map(|i| (*i, all[*i].clone())).collect();
        let lost = order[32 + random.below(8) as usize];
        assert_eq!(decode(CODE, shape, &left, lost).unwrap(), all[lost]);
    }
}

#[test]
fn a_part_of_all_members_is_coded_as_the_whole_is() {
    let shape = StripeShape { data: 4, parity: 2 };
    let length = 2 * COLUMN + 640;
    let all = coded(3, shape, length);
    for (from, to) in [
        (0, 64),
        (64, 1024),
        (COLUMN - 64, COLUMN + 128),
        (0, length),
    ] {
        let part = |i: usize| (i, all[i].slice(from..to));
        let left = [part(0), part(2), part(4), part(5)];
        let made = decode(CODE, shape, &left, 1).unwrap();
        assert_eq!(made, all[1][from..to], "{from}..{to}");
    }
}

#[test]
fn too_few_members_and_uneven_ones_are_refused() {
    let shape = StripeShape { data: 2, parity: 2 };
    let all = coded(1, shape, 64);
    let twice = [(0, all[0].clone()), (0, all[0].clone())];
    let few = CodeError::TooFew { left: 1, shape };
    assert_eq!(decode(CODE, shape, &twice, 1), Err(few));
    let uneven = [(0, all[0].clone()), (2, all[2].slice(..32))];
    assert_eq!(decode(CODE, shape, &uneven, 1), Err(CodeError::Uneven(32)));
    let odd = [(0, all[0].slice(..32)), (2, all[2].slice(..32))];
    assert_eq!(decode(CODE, shape, &odd, 1), Err(CodeError::Uneven(32)));
    assert_eq!(encode(CODE, shape, &[]), Err(CodeError::Uneven(0)));
    assert!(decode(CODE, shape, &[], 0).is_err());
}

#[test]
fn parity_keeps_its_bytes() {
    let shape = StripeShape { data: 3, parity: 2 };
    let data: Vec<Bytes> = (0..3_u8)
        .map(|i| {
            (0..64)
                .map(|j| i.wrapping_mul(67).wrapping_add(j))
                .collect()
        })
        .collect();
    let parity = encode(CODE, shape, &data).unwrap();
    let sums: Vec<u32> = parity
        .iter()
        .map(|p| crate::types::checksum::crc32c(p))
        .collect();
    assert_eq!(sums, [1_924_610_044, 4_029_566_655]);
}

#[test]
fn bytes_lie_one_after_the_other_in_the_data_members_and_nothing_padded_is_stored() {
    let shape = StripeShape { data: 4, parity: 2 };
    let bytes: Bytes = (0..70_001_u32).map(|i| i.wrapping_mul(31) as u8).collect();
    let come = [bytes.slice(..1000), bytes.slice(1000..)];
    let shard = shape.shard_length_of(bytes.len() as u64);
    let made = members(CODE, shape, shard, come).unwrap();
    let data: Vec<u8> = made[..4].iter().flat_map(|m| m.bytes.to_vec()).collect();
    assert_eq!(data, bytes);
    let lengths: Vec<_> = made.iter().map(|m| m.bytes.len() as u64).collect();
    let last = bytes.len() as u64 - 3 * shard;
    assert_eq!(lengths, [shard, shard, shard, last, shard, shard]);
    assert!(members(CODE, shape, shard, [bytes.slice(..100)]).is_err());
    assert!(members(CODE, shape, 64, [bytes]).is_err());
}

//! Bytes that are nearly good.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// Longest input that is made.
const LEN_MAX: usize = 8192;
/// Most changes of one input.
const CHANGES_MAX: usize = 4;

/// Lengths and numbers that are too large, as they are encoded.
const BOMBS: &[&[u8]] = &[
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x04],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff],
    &[0, 0, 0, 0x80],
    &[0; 8],
];

/// An input made of those of a corpus.
pub(crate) fn of(corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = corpus.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..=CHANGES_MAX) {
        change(&mut input, corpus, random);
    }
    input.truncate(LEN_MAX);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..7) {
        0 => input.truncate(at),
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.random();
            }
        }
        3 => {
            let mut more = vec![0; random.random_range(1..16)];
            random.fill_bytes(&mut more);
            input.splice(at..at, more);
        }
        4 => {
            let bomb = BOMBS.choose(random).copied().unwrap_or_default();
            let end = (at + bomb.len()).min(input.len());
            input.splice(at..end, bomb.iter().copied());
        }
        5 => {
            let end = random.random_range(at..=input.len());
            input.drain(at..end);
        }
        _ => {
            let other = corpus.choose(random).cloned().unwrap_or_default();
            let from = random.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        }
    }
}

//! Every decoder survives its corpus (`fuzz/corpus`), and what chance makes of it.
//!
//! What is found is printed as a line for the corpus. `DECODERS_SEED` draws other bytes than
//! those of every run.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod mutation;

use std::alloc::System;
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use dfs_tests::decoders::{Decoder, decoders};
use rand::SeedableRng;
use rand::rngs::StdRng;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Inputs that are made for each decoder.
const INPUTS: usize = 4000;
/// Most bytes that a decoder may allocate in all while it is tried with an input, and how many
/// more for each byte of it.
const ALLOCATED_MAX: usize = 32 << 20;
const ALLOCATED_PER_BYTE_MAX: usize = 1 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// The inputs of a file: one a line, in hexadecimal digits.
fn inputs(name: &str) -> Vec<Vec<u8>> {
    let path = corpus().join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(unhex).collect()
}

fn unhex(line: &str) -> Vec<u8> {
    let (digits, rest) = line.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty(), "half a byte in {line}");
    let byte = |[high, low]: &[u8; 2]| {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap();
        (digit(*high) * 16 + digit(*low)) as u8
    };
    digits.iter().map(byte).collect()
}

/// Tries an input, alone: what is allocated is counted of the whole process.
fn check((name, decode): Decoder, input: &[u8]) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let region = Region::new(ALLOCATOR);
    let survived = catch_unwind(|| decode(input)).is_ok();
    let allocated = region.change().bytes_allocated;
    drop(alone);
    let most = ALLOCATED_MAX + ALLOCATED_PER_BYTE_MAX * input.len();
    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(survived, "`{name}` panics over {hex}");
    let taken = format!("{allocated} bytes for {} that arrived", input.len());
    assert!(allocated <= most, "`{name}` takes {taken}: {hex}");
}

#[test]
fn every_decoder_survives_its_corpus_and_what_chance_makes_of_it() {
    let seed = std::env::var("DECODERS_SEED").map_or(7, |seed| seed.parse().unwrap());
    for (name, decode) in decoders() {
        let corpus = inputs(name);
        assert!(!corpus.is_empty(), "`{name}` has no inputs");
        corpus.iter().for_each(|input| check((name, decode), input));
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..INPUTS {
            check((name, decode), &mutation::of(&corpus, &mut random));
        }
    }
}

#[test]
fn every_decoder_has_a_corpus_and_every_corpus_a_decoder() {
    let names = fs::read_dir(corpus()).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".hex").map(str::to_owned)
    });
    let known = decoders();
    let known: BTreeSet<_> = known.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(known.len(), decoders().len(), "two have the same name");
    assert_eq!(names.collect::<Option<BTreeSet<_>>>(), Some(known));
}

#[test]
fn a_decoder_that_panics_or_believes_a_length_is_found_out() {
    fn indexes(bytes: &[u8]) {
        assert!(bytes[usize::from(bytes[0])] < 2);
    }
    fn believes(bytes: &[u8]) {
        let length = u32::from_le_bytes(*bytes.first_chunk().unwrap());
        drop(Vec::<u8>::with_capacity(length as usize));
    }
    check(("indexes", indexes), &[1, 0]);
    check(("believes", believes), &[1, 0, 0, 0]);
    assert!(catch_unwind(|| check(("indexes", indexes), &[2, 0])).is_err());
    assert!(catch_unwind(|| check(("believes", believes), &[0, 0, 0, 4])).is_err());
}

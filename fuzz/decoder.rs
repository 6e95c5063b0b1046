//! One decoder, whose name is in the environment, for libFuzzer: see `run.sh`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static DECODE: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("DFS_DECODER").unwrap_or_default();
    let mut all = dfs_tests::decoders::decoders().into_iter();
    match all.find(|(known, _)| *known == name) {
        Some((_, decode)) => decode,
        None => panic!("DFS_DECODER={name} is no decoder"),
    }
});

fuzz_target!(|bytes: &[u8]| DECODE(bytes));

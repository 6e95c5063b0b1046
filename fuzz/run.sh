#!/usr/bin/env bash
# Gives decoders bytes that libFuzzer makes, for some seconds each: `fuzz/run.sh path 60`, or `all`.
# Needs a nightly compiler and cargo-fuzz. What is found is printed, as a line for the corpus.
# `fuzz/run.sh check` looks whether it could be built, with any compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${2:-60}
names=$(basename -s .hex fuzz/corpus/*.hex)
if [ "${1:-all}" != all ]; then names=$1; fi

# The versions that everything else is built with.
cp Cargo.lock fuzz/Cargo.lock
if [ "${1:-all}" = check ]; then
    exec cargo check --quiet --manifest-path fuzz/Cargo.toml \
        --target-dir "${CARGO_TARGET_DIR:-target}"
fi
cargo +nightly fuzz build --fuzz-dir fuzz --target-dir "${CARGO_TARGET_DIR:-fuzz/work/target}" decoder

for name in $names; do
    work=fuzz/work/$name
    mkdir -p "$work"
    number=0
    while read -r hex; do
        number=$((number + 1))
        printf '%b' "$(sed 's/../\\x&/g' <<<"$hex")" >"$work/kept-$number"
    done < <(grep -v '^#' "fuzz/corpus/$name.hex")
    printf '\n== %s\n' "$name" >&2
    # An allocation of more than 4 MiB is one too many.
    DFS_DECODER=$name cargo +nightly fuzz run --fuzz-dir fuzz \
        --target-dir "${CARGO_TARGET_DIR:-fuzz/work/target}" decoder "$work" -- \
        -max_total_time="$seconds" -max_len=8192 -malloc_limit_mb=4 -timeout=5 \
        -artifact_prefix="$work-" || {
        for found in "$work"-*; do
            printf 'fuzz/corpus/%s.hex: %s\n' "$name" "$(od -An -v -tx1 "$found" | tr -d ' \n')" >&2
        done
        exit 1
    }
done

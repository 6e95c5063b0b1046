#!/usr/bin/env bash
# What is simulated before a change lands: one seed twice, the seeds that are kept, and new ones.
# Which are new depends on the commit, so that each change tries others and can be tried again.
# With the argument `build` it only builds what it needs.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --quiet --config 'build.rustflags=["--cfg","tokio_unstable"]' --profile sim \
    -p dfs-tests --features planted --bin sim
[ "${1:-}" = build ] && exit
sim="${CARGO_TARGET_DIR:-target}/sim/sim"
first=$((16#$(git rev-parse HEAD | cut -c1-6)))

"$sim" run "$first" --length 20 --twice
"$sim" corpus
"$sim" seeds "$first..$((first + ${SEEDS:-60}))" --length 40

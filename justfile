# Every step is one plain command; `just --list` shows them.

# What must pass before a change lands; never rewrites a file. As root, for the attacks on real
# processes.
ci:
    .ci/run

# Rewrites what can be mended by a tool.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

# All tests: units, golden scripts, stories, command line, tidy, doc tests.
test:
    cargo test --workspace --all-features

# The simulation: `just sim run 7`, `just sim seeds 1..100`; see docs/internals/simulation.md.
sim *ARGS:
    cargo run --config 'build.rustflags=["--cfg","tokio_unstable"]' --profile sim -p dfs-tests --features planted --bin sim -- {{ARGS}}

# A bounded part of the simulation: the seeds that are kept, and new ones.
smoke:
    tests/sim/smoke.sh

# The simulation's own tests: one seed twice is the same run.
test-sim:
    cargo test --config 'build.rustflags=["--cfg","tokio_unstable"]' --profile sim -p dfs-tests simulated::

# libFuzzer on one decoder or on all, for seconds each; see docs/internals/fuzzing.md.
fuzz DECODER="all" SECONDS="60":
    fuzz/run.sh {{DECODER}} {{SECONDS}}

deny:
    cargo deny check licenses bans sources

# The benchmark against an embedded cluster.
bench *ARGS:
    cargo run --release -p dfs-cli -- bench {{ARGS}}

# Failover, stalls and memory of real processes that are killed and hung; see `-- --help`.
faults *ARGS:
    cargo bench -p dfs-node --bench faults -- {{ARGS}}

# Each planted bug against the test that finds it: `just caught`, `just caught stale-read`.
caught *BUGS:
    cargo test --workspace --all-features --test caught -- catch {{BUGS}}

# Hours of it, added to the running total in docs/track-record: `just soak 120`, as root. All
# workloads, so files come into stripes and are put together; all faults, drains too; and data
# nodes are evened out when they differ by a hundredth of their room.
soak MINUTES *ARGS:
    cargo build --release -p dfs-node
    DFS_NODE={{justfile_directory()}}/target/release/dfs-node \
        cargo test -p dfs-tests --test chaos -- --minutes {{MINUTES}} \
        --record {{justfile_directory()}}/docs/track-record/processes.jsonl {{ARGS}}

# Thousands of seeds of the simulation, added to the same total: `just soak-sim 1..5001`.
soak-sim SEEDS *ARGS:
    just sim seeds {{SEEDS}} --record docs/track-record/simulation.jsonl {{ARGS}}

#!/usr/bin/env bash
# Plants bugs in the daemons of real processes that are attacked for a minute, up to three times
# each, and says which run found what: `tests/caught/processes.sh`, or with names of bugs. As root.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The bug, what makes it bite, and the only workload, if it takes one.
attacks="
log-without-fsync               power-all,kill-leader
vote-not-durable                kill-some,kill-all
acknowledge-before-quorum       isolate-leader,halves
stale-read                      isolate-leader,halves
dedup-lost-in-snapshot          snapshot-install,kill-leader
repeated-request-executed-twice kill-leader,loss
rename-not-atomic               kill-leader
trash-restored-twice            kill-leader
small-chunk-without-fsync       power-all
chunk-directory-not-synced      power-one,power-all
checksum-not-verified-on-read   bit-rot,kill-leader
permission-cached-after-revoke  kill-leader
answered-before-audited         kill-leader,kill-all
refusals-not-audited            kill-leader
quota-race                      kill-leader
snapshot-loses-reference        kill-leader
unlink-frees-linked-chunks      kill-leader
reclaim-ignores-grants          kill-leader
last-copy-deleted               return-of-dead,wipe
deletion-not-withdrawn          return-of-dead,wipe
stale-epoch-accepted            rolling-restart,pause-node
failed-chunk-fsync-retried      failed-sync,power-one
witness-does-not-read           bit-rot,return-of-dead
repair-counts-corrupt           bit-rot,wipe
rebuilt-from-wrong-members      wipe,return-of-dead
stripe-released-early           kill-leader
compaction-commits-unverified   bit-rot,kill-leader coded
"

cargo build --quiet -p dfs-cli
cargo build --quiet -p dfs-node --features planted
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# So that other builds meanwhile do not change what runs.
cp "${CARGO_TARGET_DIR:-target}"/debug/dfs{,-node} "$work"
cd "$work"

while read -r bug faults workload; do
    if [ -z "$bug" ] || { [ $# -gt 0 ] && [[ " $* " != *" $bug "* ]]; }; then continue; fi
    verdict="not found in 3"
    for seed in 1 2 3; do
        ended=0
        DFS_PLANTED=$bug ./dfs chaos --minutes 1 --faults "$faults" --seed "$seed" \
            ${workload:+--workloads "$workload"} >out 2>err || ended=$?
        # That a promise was broken.
        if [ $ended = 4 ]; then
            verdict="seed $seed: $(grep -hm1 '^broken' out err | cut -c1-160)"
            break
        fi
    done
    printf '%-32s %-29s %s\n' "$bug" "$faults" "$verdict"
done <<<"$attacks"

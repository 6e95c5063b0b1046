#!/usr/bin/env bash
# What the chaos run needs on Debian. (`dfs_evidence::processes::world::TOOLS` says for what.)
set -euo pipefail
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
    e2fsprogs faketime iproute2 mount nftables strace util-linux xfsprogs

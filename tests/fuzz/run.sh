#!/usr/bin/env bash
# Fuzzes the parser, listpacks, the commands, and what is loaded: tests/fuzz/run.sh [SECONDS for each target]
#
# Runs on the stable toolchain (no sanitizer: the engine's unsafe code has its
# own Miri run). Installs cargo-fuzz if it is missing. What is found lies in
# tests/fuzz/artifacts; to replay it:
#
#   cd tests/fuzz && cargo fuzz run -s none --fuzz-dir . TARGET artifacts/TARGET/FILE
set -euo pipefail
seconds="${1:-20}"
cd "$(dirname "$0")"
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
for target in resp listpack commands rdb; do
    mkdir -p "corpus/$target"
    # Seconds for one input.
    case "$target" in rdb) timeout=1 ;; *) timeout=10 ;; esac
    cargo fuzz run -s none --fuzz-dir . "$target" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout="$timeout" -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1
done

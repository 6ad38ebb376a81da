#!/usr/bin/env bash
# Instructions of the engine per request, counted by callgrind: parser alone,
# parser with Shard::apply, or with the node and its boxes (no sockets, no lookup
# of the command).
#
#   benches/instructions.sh [SCENARIO...]
#
# A line says how many there are in all, and how many are Cordis's own: those are
# the same on every machine. The others are the C library's (allocation, copying)
# and memchr's, which choose their code by what the processor offers.
set -euo pipefail
cd "$(dirname "$0")/.."

# The difference of a short and a long run: what starting costs is in both.
few=2000 many=22000
scenarios=("$@")
[ ${#scenarios[@]} -gt 0 ] || scenarios=(parse-get parse-set parse-mset get set mget mset sadd new-sadd hset new-hset new-lpush lpop zadd new-zadd xadd xadd-maxlen
    order1-mget order2-mget order1-mset order2-mset)

if ! built=$(cargo bench -p shards --bench instructions --no-run 2>&1); then
    printf '%s\n' "$built" >&2
    exit 1
fi
program=$(sed -n 's/.*(\([^)]*instructions-[0-9a-f]*\)).*/\1/p' <<< "$built")
profile=$(mktemp)
log=$(mktemp)
trap 'rm -f "$profile" "$log"' EXIT

# All instructions of a run, and the program's own.
count() {
    if ! valgrind --tool=callgrind --callgrind-out-file="$profile" --compress-strings=no \
        --compress-pos=no "$program" "$1" "$2" > "$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
    awk '
        /^ob=/ { own = /\/instructions-[0-9a-f]+$/ }
        /^fn=/ { chosen = /^fn=(<?memchr::|_ZN6memchr)/ }
        # The line behind a call has what the called function costs.
        /^calls=/ { getline; next }
        /^[0-9]/ { all += $2; if (own && !chosen) mine += $2 }
        END { print all + 0, mine + 0 }' "$profile"
}

for scenario in "${scenarios[@]}"; do
    short=$(count "$scenario" "$few")
    long=$(count "$scenario" "$many")
    read -r all mine <<< "$short"
    read -r all_long mine_long <<< "$long"
    printf '%-12s %6d instructions per request, %6d of them its own\n' "$scenario" \
        $(((all_long - all) / (many - few))) $(((mine_long - mine) / (many - few)))
done

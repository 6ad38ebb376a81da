#!/usr/bin/env bash
# Instructions of the engine per request, counted by callgrind: parser alone,
# and parser with Shard::apply (no sockets, no lookup of the command).
#
#   benches/instructions.sh [SCENARIO...]
set -euo pipefail
cd "$(dirname "$0")/.."

few=2000 many=22000
scenarios=("$@")
[ ${#scenarios[@]} -gt 0 ] || scenarios=(parse-get parse-set parse-mset get set mget mset sadd new-sadd hset new-hset new-lpush lpop zadd new-zadd
    order1-mget order2-mget order1-mset order2-mset)
program=$(cargo bench -p shards --bench instructions --no-run 2>&1 | sed -n 's/.*(\([^)]*instructions-[0-9a-f]*\)).*/\1/p')

count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : *//p'
}

for scenario in "${scenarios[@]}"; do
    a=$(count "$scenario" "$few")
    b=$(count "$scenario" "$many")
    printf '%-12s %6d instructions per request\n' "$scenario" $(((b - a) / (many - few)))
done

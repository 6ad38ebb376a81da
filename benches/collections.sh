#!/usr/bin/env bash
# Collections beside redis-server: CPU of the server per request, one shard.
#
#   benches/collections.sh [ROUNDS]
#
# Method as in compare.sh: both servers on CPU 0, redis-benchmark on CPU 1, in
# turn; user+system time of the process over the requests of a run.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
cargo build --release --quiet

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 100); do redis-cli -p "$1" ping >/dev/null 2>&1 && return; sleep 0.05; done; exit 1; }
cpu_us() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/^.*\) /, ""); print ($12 + $13) * 1000000 / hz }' "/proc/$1/stat"; }

redis_port=$(free_port) cordis_port=$(free_port)
taskset -c 0 redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no >/dev/null 2>&1 &
redis_pid=$!
taskset -c 0 target/release/cordis-server --port "$cordis_port" --bind 127.0.0.1 --save '' --shards 1 >/dev/null 2>&1 &
cordis_pid=$!
trap 'kill $redis_pid $cordis_pid 2>/dev/null; wait 2>/dev/null || true' EXIT
for port in $redis_port $cordis_port; do
  wait_for "$port"
  redis-benchmark -p "$port" -P 50 -n 1000000 -r 1000000 -q ZADD big __rand_int__ m:__rand_int__ >/dev/null
  for i in $(seq 0 999); do echo "ZADD zset $i member:$i"; done | redis-cli -p "$port" --pipe >/dev/null
  for i in $(seq 1 10000); do echo "XADD stream $i field value:$i"; done | redis-cli -p "$port" --pipe >/dev/null
  for i in $(seq 0 999); do echo "RPUSH list element:$i"; done | redis-cli -p "$port" --pipe >/dev/null
done

# measure NAME REQUESTS COMMAND...: medians of the rounds' ratios, at pipeline 16
measure() {
  local name=$1 count=$2 line=""
  shift 2
  for _ in $(seq "$rounds"); do
    for server in "$redis_port $redis_pid" "$cordis_port $cordis_pid"; do
      local before after
      before=$(cpu_us "${server#* }")
      taskset -c 1 redis-benchmark -p "${server% *}" -c 50 -n "$count" -P 16 -r 100000 -q "$@" >/dev/null 2>&1
      after=$(cpu_us "${server#* }")
      line+=" $(awk -v a="$before" -v b="$after" -v n="$count" 'BEGIN { printf "%.3f", (b - a) / n }')"
    done
  done
  python3 - "$name" $line <<'PY'
import statistics, sys
name, *figures = sys.argv[1:]
redis, cordis = [float(x) for x in figures[::2]], [float(x) for x in figures[1::2]]
ratio = statistics.median(c / r for r, c in zip(redis, cordis))
print(f"{name:16} redis {statistics.median(redis):6.3f} us  cordis {statistics.median(cordis):6.3f} us  ratio {ratio:.2f}")
PY
}

measure LPUSH 400000 LPUSH pushed xxx
measure LPOP 400000 LPOP pushed
measure HSET 400000 HSET hash field:__rand_int__ xxx
measure SADD 400000 SADD set element:__rand_int__
measure ZADD 400000 ZADD scored __rand_int__ element:__rand_int__
measure "ZRANGE 10/1000" 200000 ZRANGE zset 500 509
measure "LRANGE 100/1000" 60000 LRANGE list 0 99
measure "ZRANK of 632k" 200000 ZRANK big m:__rand_int__
measure "by score of 632k" 100000 ZRANGEBYSCORE big __rand_int__ +inf LIMIT 0 10
measure XADD 400000 XADD added '*' field value
measure "XADD MAXLEN ~" 400000 XADD trimmed MAXLEN '~' 1000 '*' field value
measure "XRANGE 10/10000" 200000 XRANGE stream 5000 + COUNT 10

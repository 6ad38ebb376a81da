#!/usr/bin/env bash
# Cordis beside redis-server: what one request costs the server.
#
#   benches/compare.sh [--rounds N] [--shards N] [--server-cpus LIST] [--client-cpus LIST]
#                      [--size BYTES] [--keys N] [--pipelines "1 16 100"] [--tests "get set incr mset"]
#
# Both servers run at the same time on the same core; redis-benchmark runs on
# another and loads them in turn (A B A B ...), so that a change of the
# machine's speed meets both. CPU per request is user+system time of the whole
# server process from /proc/PID/stat over the requests of one run; quoted are
# medians over the rounds, and the median of the rounds' ratios.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=5 shards=1 server_cpus=0 client_cpus=1 size=32 keys=1000000
pipelines="1 16 100" tests="get set incr mset" memory=yes
while [ $# -gt 0 ]; do
  case "$1" in
    --rounds) rounds=$2 ;;
    --shards) shards=$2 ;;
    --server-cpus) server_cpus=$2 ;;
    --client-cpus) client_cpus=$2 ;;
    --size) size=$2 ;;
    --keys) keys=$2 ;;
    --pipelines) pipelines=$2 ;;
    --tests) tests=$2 ;;
    *) echo "compare.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
for tool in redis-server redis-cli redis-benchmark taskset; do
  command -v "$tool" >/dev/null || { echo "compare.sh: $tool is missing (Debian: redis-server redis-tools util-linux)" >&2; exit 1; }
done
cargo build --release --quiet

work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 100); do redis-cli -p "$1" ping >/dev/null 2>&1 && return; sleep 0.05; done; echo "compare.sh: no server on port $1" >&2; exit 1; }

redis_port=$(free_port)
cordis_port=$(free_port)
taskset -c "$server_cpus" redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >"$work/redis.log" 2>&1 &
redis_pid=$!
pids+=("$redis_pid")
taskset -c "$server_cpus" target/release/cordis-server --port "$cordis_port" --bind 127.0.0.1 --save '' --shards "$shards" --dir "$work" >"$work/cordis.log" 2>&1 &
cordis_pid=$!
pids+=("$cordis_pid")
wait_for "$redis_port"
wait_for "$cordis_port"

cpu_us() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/^.*\) /, ""); print ($12 + $13) * 1000000 / hz }' "/proc/$1/stat"; }
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

preload() { # port: keys key:000000000000 ...
  awk -v n="$keys" -v size="$size" 'BEGIN {
    value = sprintf("%*s", size, ""); gsub(/ /, "x", value)
    for (i = 0; i < n; i++) printf "SET key:%012d %s\r\n", i, value }' |
    taskset -c "$client_cpus" redis-cli -p "$1" --pipe >/dev/null
}

echo "machine: $(nproc) CPUs, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), Linux $(uname -r)"
echo "redis-server $(redis-server --version | sed 's/.*v=\([^ ]*\).*/\1/'), cordis $(git rev-parse --short HEAD), shards $shards, server CPUs $server_cpus, client CPUs $client_cpus, $keys keys, values of $size bytes, $rounds rounds"

before_redis=$(rss_kb "$redis_pid") before_cordis=$(rss_kb "$cordis_pid")
preload "$redis_port"
preload "$cordis_port"
awk -v a="$before_cordis" -v b="$(rss_kb "$cordis_pid")" -v c="$before_redis" -v d="$(rss_kb "$redis_pid")" -v n="$keys" \
  'BEGIN { printf "RSS per key: cordis %.1f B, redis %.1f B, ratio %.2f\n", (b-a)*1024/n, (d-c)*1024/n, (b-a)/(d-c) }'

run() { # port pid test pipeline requests -> "ops/s µs"
  local before after ops arguments=()
  case "$3" in
    get) arguments=(GET key:__rand_int__) ;;
    set) arguments=(SET key:__rand_int__ "$(printf "%${size}s" '' | tr ' ' x)") ;;
    incr) arguments=(INCR counter:__rand_int__) ;;
    mset) arguments=(MSET); for _ in 1 2 3 4 5 6 7 8 9 10; do arguments+=(key:__rand_int__ "$(printf "%${size}s" '' | tr ' ' x)"); done ;;
    mget) arguments=(MGET); for _ in 1 2 3 4 5 6 7 8 9 10; do arguments+=(key:__rand_int__); done ;;
    local) arguments=(GET "{local}:__rand_int__") ;;
    *) echo "compare.sh: unknown test $3" >&2; exit 2 ;;
  esac
  before=$(cpu_us "$2")
  ops=$(taskset -c "$client_cpus" redis-benchmark -p "$1" -c 50 -n "$5" -P "$4" -r "$keys" --csv "${arguments[@]}" 2>/dev/null |
    awk -F'","' 'END { print $2 }' | tr -d '"')
  after=$(cpu_us "$2")
  awk -v ops="$ops" -v us="$(awk -v a="$before" -v b="$after" -v n="$5" 'BEGIN { print (b - a) / n }')" 'BEGIN { print ops, us }'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

printf '%-6s %5s | %12s %12s | %10s %10s | %s\n' test pipe 'cordis op/s' 'redis op/s' 'cordis µs' 'redis µs' 'CPU ratio (rounds)'
for test in $tests; do
  for pipeline in $pipelines; do
    case "$pipeline" in 1) requests=100000 ;; [2-9]) requests=200000 ;; *) requests=1000000 ;; esac
    case "$test" in mset | mget) requests=$((requests / 5)) ;; esac
    : >"$work/rows"
    for _ in $(seq "$rounds"); do
      echo "$(run "$cordis_port" "$cordis_pid" "$test" "$pipeline" "$requests") $(run "$redis_port" "$redis_pid" "$test" "$pipeline" "$requests")" >>"$work/rows"
    done
    awk '{ printf "%.3f\n", $2 / $4 }' "$work/rows" >"$work/ratios"
    printf '%-6s %5s | %12.0f %12.0f | %10.3f %10.3f | %.2f (%s)\n' "$test" "$pipeline" \
      "$(awk '{ print $1 }' "$work/rows" | median)" "$(awk '{ print $3 }' "$work/rows" | median)" \
      "$(awk '{ print $2 }' "$work/rows" | median)" "$(awk '{ print $4 }' "$work/rows" | median)" \
      "$(median <"$work/ratios")" "$(tr '\n' ' ' <"$work/ratios" | sed 's/ $//')"
  done
done

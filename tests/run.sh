#!/usr/bin/env bash
# Installs what the tests need if it is absent, and runs every layer.
#
#   tests/run.sh            all of it, in the doses of CI
#   tests/run.sh --long     hours of it: see tests/README.md
#
# It may be called from any folder, twice, and twice at once.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

fuzz_seconds=20
for argument in "$@"; do
    case "$argument" in
        --long)
            export CORDIS_LONG=1
            fuzz_seconds=3600
            ;;
        *)
            echo "tests/run.sh: unknown argument '$argument'; there is only --long" >&2
            exit 1
            ;;
    esac
done

log="$(mktemp)"
trap 'rm -f "$log"' EXIT
passed=0
failed=0
summary=

# Runs one step and goes on if it fails, so that one run shows all there is to
# mend. Tests are counted one by one; a step without any counts as one.
step() {
    local name=$1 began=$SECONDS tests_passed tests_failed verdict=ok
    shift
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee "$log" || verdict=FAILED
    read -r tests_passed tests_failed < <(
        awk '/^test result: / {
            for (i = 2; i <= NF; i++) {
                if ($i == "passed;") p += $(i - 1)
                if ($i == "failed;") f += $(i - 1)
            }
        } END { print p + 0, f + 0 }' "$log"
    )
    if [ "$verdict" = FAILED ] && [ "$tests_failed" -eq 0 ]; then
        tests_failed=1
    elif [ "$verdict" = ok ] && [ "$tests_passed" -eq 0 ]; then
        tests_passed=1
    fi
    passed=$((passed + tests_passed))
    failed=$((failed + tests_failed))
    summary+="$(printf '%-8s %5d s  %s' "$verdict" $((SECONDS - began)) "$name")"$'\n'
    # Names of failed tests, once more where they are seen.
    if [ "$verdict" = FAILED ]; then
        summary+="$(sed -n 's/^test \(.*\) \.\.\. FAILED$/                   \1/p' "$log")"$'\n'
    fi
}

# One at a time may install; a second caller then finds everything there.
lock="${TMPDIR:-/tmp}/cordis-tests-$(id -u).lock"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# Debian starts a redis-server when the package is installed. A policy that
# forbids services to start is the polite way; where there is a policy already,
# the service is stopped afterwards.
install_packages() {
    local policy=/usr/sbin/policy-rc.d made=no
    if ! command -v apt-get > /dev/null; then
        echo "tests/run.sh: install redis-server 7.0, redis-cli, redis-benchmark, setpriv," \
            "valgrind and python3 with venv; this is not Debian, so it cannot be done from here" >&2
        exit 1
    fi
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" > /dev/null
        as_root chmod +x "$policy"
        made=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        redis-server redis-tools util-linux python3-venv valgrind
    if [ "$made" = yes ]; then
        as_root rm -f "$policy"
    elif command -v service > /dev/null; then
        as_root service redis-server stop || true
    fi
}

install_needed() {
    exec 9> "$lock"
    flock 9
    local program
    for program in redis-server redis-cli redis-benchmark setpriv valgrind python3; do
        if ! command -v "$program" > /dev/null; then
            install_packages
            break
        fi
    done
    if ! tests/.venv/bin/python -c 'import coredis, redis.cache' 2> /dev/null; then
        rm -rf tests/.venv
        python3 -m venv tests/.venv || { install_packages && python3 -m venv tests/.venv; }
        tests/.venv/bin/pip install --quiet --disable-pip-version-check 'redis>=5.3' 'coredis>=5'
    fi
    exec 9>&-
}

printf '== what the tests need\n'
install_needed
redis-server --version

# Ten thousand connections need more descriptors than the usual soft limit.
ulimit -n "$(ulimit -Hn)"

step "format" cargo fmt --all --check
step "clippy" cargo clippy --all-targets --workspace -- -D warnings
# The harness shows the seeds and the servers' output of tests that failed.
step "tests" cargo test --workspace --no-fail-fast
step "instructions" tests/instructions.sh
step "run.sh" cargo test --test cli -- --ignored
step "fuzz, $fuzz_seconds s a target" tests/fuzz/run.sh "$fuzz_seconds"

printf '\n%s\n%d passed, %d failed\n' "$summary" "$passed" "$failed"
[ "$failed" -eq 0 ]

#!/usr/bin/env bash
# The guard of the path every request takes: parser, placement, engine, and what
# goes to another core. Counts instructions, not time, so it says the same on a
# busy machine and on an idle one; fails where a request needs over 2 % more than
# `instructions.txt` has on record.
#
#   tests/instructions.sh                         compares
#   tests/instructions.sh --record REASON...      writes down what has changed
#
# The record belongs into the commit that changes the count. It is of the compiler
# it names: record anew, with that as the reason, when the compiler changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

record=tests/instructions.txt
tolerance_percent=2
reason=
case "${1:-}" in
    --record)
        shift
        reason="$*"
        [ -n "$reason" ] || { echo "tests/instructions.sh: say why the record changes" >&2; exit 1; }
        ;;
    '') ;;
    *)
        echo "tests/instructions.sh: unknown argument '$1'; there is only --record REASON" >&2
        exit 1
        ;;
esac

# Requests of one key on the shard itself, growing and not; then with the node
# that looks where they belong, and on two cores.
scenarios=(get set mget mset new-lpush lpop hset new-hset zadd new-zadd xadd xadd-maxlen
    order1-get order1-set order2-get order2-mget order2-mset)

counted=$(benches/instructions.sh "${scenarios[@]}")
failed=0
for scenario in "${scenarios[@]}"; do
    now=$(awk -v name="$scenario" '$1 == name { print $6 }' <<< "$counted")
    read -r was why < <(awk -v name="$scenario" '
        $1 == name { $1 = ""; last = $0 } END { print last }' "$record")
    verdict=ok
    if [ -z "$now" ]; then
        verdict='NOT COUNTED' failed=1
    elif [ -z "$was" ]; then
        verdict='NOT ON RECORD'
    elif [ $((now * 100)) -gt $((was * (100 + tolerance_percent))) ]; then
        verdict="ROSE from $was"
    elif [ $((now * 100)) -lt $((was * (100 - tolerance_percent))) ]; then
        verdict="fell from $was: lower the record, so that it cannot be lost again"
    elif [ -z "$why" ]; then
        verdict='NO REASON on record' failed=1
    fi
    printf '%-12s %6s  %s\n' "$scenario" "$now" "$verdict"
    case "$verdict" in
        ROSE* | NOT\ ON* | fell*)
            if [ -n "$reason" ]; then
                printf '%-12s %6d  %s\n' "$scenario" "$now" "$reason" >> "$record"
            elif [[ $verdict != fell* ]]; then
                failed=1
            fi
            ;;
    esac
done

compiler=$(rustc --version)
if ! grep -qF "# $compiler" "$record"; then
    echo "The record is of another compiler than $compiler."
fi
if [ "$failed" -ne 0 ]; then
    echo "Make the request cheaper, or record the new count and why it is worth it:" \
        "tests/instructions.sh --record REASON" >&2
fi
exit "$failed"

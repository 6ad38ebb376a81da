#!/bin/sh
# Builds the release server and becomes it. Arguments go to the server; the
# caller's folder stays the current one, so that a relative --dir or
# configuration file means what the caller sees.
set -eu

root=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd)

missing=
for tool in cargo cc git; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
if [ -n "$missing" ]; then
    echo "run.sh: missing:$missing; install a Rust toolchain, a C compiler and git" >&2
    exit 1
fi

# Started from within the workspace, so that its settings (.cargo, toolchain)
# apply whatever the caller's folder is. Progress goes to standard error.
(cd -- "$root" && exec cargo build --quiet --release --package cordis-server)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in
/*) ;;
*) target=$root/$target ;;
esac
exec "$target/release/cordis-server" "$@"

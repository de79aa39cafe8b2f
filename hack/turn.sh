#!/usr/bin/env bash
# Runs a test program of `make test` when it is its turn: hack/turn.sh PROGRAM ARGUMENT... (go test -exec).
#
# test/integration takes longest, and waits for most of that time: it runs beside all others. Of those, two run at a
# time, as each has a control plane, a browser or the race detector to keep a core busy, for some of its time. go test -p
# counts what compiles and what runs alike: without turns, it would compile for as long as it runs, or run too many.
set -euo pipefail
program=${1##*/}
if [[ $program == integration.test ]] || ! command -v flock >/dev/null; then
    exec "$@"
fi
# The first turn, if it is free, or else the second, when that is.
first=$(dirname "${BASH_SOURCE[0]}")/../bin/log/turn
[[ -d ${first%/*} ]] || mkdir -p "${first%/*}"
busy=99
rc=0
flock --nonblock --conflict-exit-code "$busy" --close "$first" "$@" || rc=$?
if (( rc != busy )); then
    exit "$rc"
fi
exec flock --close "$first-2" "$@"

#!/usr/bin/env bash
# Runs a test program of `make test` when it is its turn: hack/turn.sh PROGRAM ARGUMENT... (go test -exec).
#
# test/integration takes longest, and waits for much of that time: it runs beside all others. Those run one after the
# other, as each has a control plane, a browser or the race detector to keep a core busy; two at a time beside it were
# tried, and took as long. When it is through, one of them takes its place. go test -p counts what compiles and what
# runs alike: without turns, it would compile nothing while two tests run, or run too many.
set -euo pipefail
command -v flock >/dev/null || exec "$@"
place=$(realpath "${BASH_SOURCE[0]}")
other=${place%/hack/*}/bin/log/turn # test/integration's
mkdir -p "${other%/*}"

[[ ${1##*/} != integration.test ]] || exec flock --close "$other" "$@"

# run_in PLACE PROGRAM ARGUMENT... ends this script as the program ends, unless the place is taken for two seconds.
run_in() {
    local taken=125 rc=0
    flock --wait 2 --conflict-exit-code "$taken" --close "$@" || rc=$?
    ((rc == taken)) || exit "$rc"
}

for (( ; ; )); do
    run_in "$place" "$@"
    [[ ! -e $other ]] || run_in "$other" "$@"
done

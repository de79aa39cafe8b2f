#!/usr/bin/env bash
# Runs a test program of `make test` when it is its turn: hack/turn.sh PROGRAM ARGUMENT... (go test -exec).
#
# test/integration takes longest, and waits for much of that time: it runs beside all others. Those run one after the
# other, as each has a control plane, a browser or the race detector to keep a core busy; two at a time were tried, and
# took as long. go test -p counts what compiles and what runs alike: without turns, it would compile nothing while two
# tests run, or run too many.
set -euo pipefail
program=${1##*/}
if [[ $program == integration.test ]] || ! command -v flock >/dev/null; then
    exec "$@"
fi
exec flock --close "${BASH_SOURCE[0]}" "$@"
